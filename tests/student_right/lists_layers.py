# Lists of arrays where an array is asked for; np.array() of them would be one call more.
# warn relu_forward: list
# warn rnn_forward: list
# warn rnn_backward: list
# warn temporal_fc_forward: list
# warn temporal_fc_backward: list
# warn word_embedding_forward: list
# warn word_embedding_backward: list
import numpy as np


def relu_forward(x):
    out = [np.maximum(sample, 0) for sample in x]
    return out, x


def relu_backward(dout, cache):
    return np.array([d * (sample > 0) for d, sample in zip(dout, cache)])


def rnn_forward(x, h0, Wx, Wh, b):
    h = [h0]
    for x_t in x:
        h.append(np.tanh(x_t @ Wx + h[-1] @ Wh + b))
    return h[1:], (x, h, Wx, Wh)


def rnn_backward(dh, cache):
    x, h, Wx, Wh = cache
    dx = []
    dWx, dWh, db = 0, 0, 0
    carried = np.zeros_like(h[0])
    for t in range(len(x) - 1, -1, -1):
        da = (dh[t] + carried) * (1 - h[t + 1] ** 2)
        dx.insert(0, da @ Wx.T)
        carried = da @ Wh.T
        dWx = dWx + x[t].T @ da
        dWh = dWh + h[t].T @ da
        db = db + da.sum(0)
    return dx, carried, dWx, dWh, db


def temporal_fc_forward(x, w, b):
    out = [sentence @ w + b for sentence in x]
    return out, (x, w, b)


def temporal_fc_backward(dout, cache):
    x, w, b = cache
    dx = [d @ w.T for d in dout]
    dw = sum(sentence.T @ d for sentence, d in zip(x, dout))
    return dx, dw, dout.sum(axis=0).sum(axis=0)


def word_embedding_forward(x, W):
    return [[W[word] for word in sentence] for sentence in x], (x, W)


def word_embedding_backward(dout, cache):
    x, W = cache
    dW = [np.zeros_like(row) for row in W]
    for sentence, douts in zip(x, dout):
        for word, d in zip(sentence, douts):
            dW[word] += d
    return dW
