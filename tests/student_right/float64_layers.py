# np.zeros and np.ones as they come: float32 goes in, float64 comes out.
# warn relu_forward: float64
# warn relu_backward: float64
# warn conv_forward: float64
# warn conv_backward: float64
# warn max_pool_forward: float64
# warn max_pool_backward: float64
# warn softmax_loss: float64
# warn rnn_forward: float64
# warn rnn_backward: float64
# warn word_embedding_backward: float64
import numpy as np


def relu_forward(x):
    out = np.zeros(x.shape)
    out += np.maximum(x, 0)
    return out, x


def relu_backward(dout, cache):
    mask = np.ones(cache.shape)
    mask[cache < 0] = 0
    return mask * dout


def conv_forward(x, w):
    n_x, d_x, h_x, w_x = x.shape
    n_w, d_w, h_w, w_w = w.shape
    out = np.zeros((n_x, n_w, h_x-h_w+1, w_x-w_w+1))
    for n in range(n_x):
        for i in range(out.shape[2]):
            for j in range(out.shape[3]):
                cut = x[n, :, i:i+h_w, j:j+w_w]
                out[n, :, i, j] = (cut[None] * w).sum(axis=(1, 2, 3))
    return out, (x, w)


def conv_backward(dout, cache):
    x, w = cache
    h_w, w_w = w.shape[2], w.shape[3]
    dx = np.zeros(x.shape)
    dw = np.zeros(w.shape)
    for n in range(x.shape[0]):
        for i in range(dout.shape[2]):
            for j in range(dout.shape[3]):
                d = dout[n, :, i, j].reshape(-1, 1, 1, 1)
                dw += x[n, :, i:i+h_w, j:j+w_w] * d
                dx[n, :, i:i+h_w, j:j+w_w] += np.sum(w * d, axis=0)
    return dx, dw


def max_pool_forward(x, pool_param):
    N, C, H, W = x.shape
    PH, PW, S = pool_param['pool_height'], pool_param['pool_width'], pool_param['stride']
    H_out = int(np.floor((H - PH) / S)) + 1
    W_out = int(np.floor((W - PW) / S)) + 1
    out = np.zeros([N, C, H_out, W_out])
    for i in range(H_out):
        for j in range(W_out):
            out[:, :, i, j] = np.max(np.max(x[:, :, S*i:S*i+PH, S*j:S*j+PW], axis=3), axis=2)
    return out, (x, pool_param)


def max_pool_backward(dout, cache):
    x, pool_param = cache
    PH, PW, S = pool_param['pool_height'], pool_param['pool_width'], pool_param['stride']
    dx = np.zeros(x.shape)
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            for i in range(dout.shape[2]):
                for j in range(dout.shape[3]):
                    cut = x[n, c, S*i:S*i+PH, S*j:S*j+PW]
                    ind = np.argwhere(cut == np.max(cut))[0]
                    dx[n, c, S*i+ind[0], S*j+ind[1]] += dout[n, c, i, j]
    return dx


def softmax_loss(x, y):
    probabilities = np.zeros(x.shape)
    loss = 0
    for i in range(x.shape[0]):
        c = np.max(x[i])
        probabilities[i] = np.exp(x[i] - c)
        loss += np.log(np.sum(probabilities[i])) + c - x[i, y[i]]
        probabilities[i] /= np.sum(probabilities[i])
        probabilities[i, y[i]] -= 1
    return loss / x.shape[0], probabilities / x.shape[0]


def rnn_forward(x, h0, Wx, Wh, b):
    T, N, D = x.shape
    H = b.shape[0]
    h = np.zeros((T+1, N, H))
    h[0] = h0
    for t in range(T):
        h[t+1] = np.tanh(np.dot(x[t], Wx) + np.dot(h[t], Wh) + b)
    return h[1:], (x, h, Wx, Wh)


def rnn_backward(dh, cache):
    x, h, Wx, Wh = cache
    T, N, D = x.shape
    dx, dWx = np.zeros(x.shape), np.zeros(Wx.shape)
    dWh, db = np.zeros(Wh.shape), np.zeros(Wh.shape[0])
    flow = np.zeros(h[0].shape)
    for t in range(T)[::-1]:
        flow = (flow + dh[t]) * (1 - h[t+1]*h[t+1])
        dx[t] = np.dot(flow, Wx.T)
        dWx += np.dot(x[t].T, flow)
        dWh += np.dot(h[t].T, flow)
        db += np.sum(flow, axis=0)
        flow = np.dot(flow, Wh.T)
    return dx, flow, dWx, dWh, db


def word_embedding_forward(x, W):
    return W[x], (x, W)


def word_embedding_backward(dout, cache):
    x, W = cache
    dW = np.zeros(W.shape)
    for n in range(x.shape[0]):
        for t in range(x.shape[1]):
            dW[x[n, t]] += dout[n, t]
    return dW
