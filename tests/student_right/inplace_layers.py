# Works in place wherever it can. The values are right.
# warn relu_forward: changes x
# warn relu_backward: changes dout
# warn softmax_loss: changes x
# warn max_pool_forward: changes pool_param
# warn conv_backward: changes dout
# warn temporal_softmax_loss: changes x
# warn rnn_backward: changes dh
import numpy as np


def relu_forward(x):
    x[x < 0] = 0
    return x, x


def relu_backward(dout, cache):
    dout[cache <= 0] = 0
    return dout


def softmax_loss(x, y):
    x -= np.max(x, axis=1, keepdims=True)
    loss = np.mean(np.log(np.exp(x).sum(axis=1)) - x[np.arange(x.shape[0]), y])
    dx = np.exp(x)
    dx /= dx.sum(axis=1, keepdims=True)
    dx[np.arange(x.shape[0]), y] -= 1
    dx /= x.shape[0]
    return loss, dx


def max_pool_forward(x, pool_param):
    H, W = x.shape[2:]
    p, q, s = pool_param['pool_height'], pool_param['pool_width'], pool_param['stride']
    pool_param['H_out'] = 1 + (H - p) // s
    pool_param['W_out'] = 1 + (W - q) // s
    out = np.zeros(x.shape[:2] + (pool_param['H_out'], pool_param['W_out']), x.dtype)
    for i in range(pool_param['H_out']):
        for j in range(pool_param['W_out']):
            out[..., i, j] = x[..., i*s:i*s + p, j*s:j*s + q].max(axis=(2, 3))
    return out, (x, pool_param)


def max_pool_backward(dout, cache):
    x, pool_param = cache
    p, q, s = pool_param['pool_height'], pool_param['pool_width'], pool_param['stride']
    N, C = x.shape[:2]
    dx = np.zeros_like(x)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            flat = x[..., i*s:i*s + p, j*s:j*s + q].reshape(N*C, p*q)
            k = np.argmax(flat, axis=1).reshape(N, C)
            for n in range(N):
                for c in range(C):
                    dx[n, c, i*s + k[n, c]//q, j*s + k[n, c]%q] += dout[n, c, i, j]
    return dx


def conv_forward(x, w):
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))
    return np.tensordot(windows, w, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2), (x, w)


def conv_backward(dout, cache):
    x, w = cache
    OH, OW = dout.shape[2:]
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for p in range(w.shape[2]):
        for q in range(w.shape[3]):
            part = x[:, :, p:p+OH, q:q+OW]
            dw[:, :, p, q] = np.einsum('nfij,ncij->fc', dout, part)
            dx[:, :, p:p+OH, q:q+OW] += np.einsum('nfij,fc->ncij', dout, w[:, :, p, q])
    dout *= 0      # free it
    return dx, dw


def temporal_softmax_loss(x, y, mask, verbose=False):
    N, T, V = x.shape
    rows = np.arange(N)[:, None], np.arange(T)[None, :], y
    x -= x.max(axis=2, keepdims=True)
    x -= np.log(np.exp(x).sum(axis=2, keepdims=True))
    loss = -(x[rows] * mask).sum() / N
    dx = np.exp(x)
    dx[rows] -= 1
    dx *= mask[:, :, None]
    dx /= N
    return loss, dx


def rnn_forward(x, h0, Wx, Wh, b):
    h = np.zeros((x.shape[0],) + h0.shape, x.dtype)
    prev = h0
    for t in range(x.shape[0]):
        h[t] = np.tanh(x[t] @ Wx + prev @ Wh + b)
        prev = h[t]
    return h, (x, h0, Wx, Wh, b, h)


def rnn_backward(dh, cache):
    x, h0, Wx, Wh, b, h = cache
    dx = np.zeros_like(x)
    dWx, dWh, db = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)
    for t in range(x.shape[0] - 1, -1, -1):
        prev = h[t - 1] if t > 0 else h0
        da = dh[t] * (1 - h[t] ** 2)
        dx[t] = da @ Wx.T
        dWx += x[t].T @ da
        dWh += prev.T @ da
        db += da.sum(axis=0)
        if t > 0:
            dh[t - 1] += da @ Wh.T
        else:
            dh0 = da @ Wh.T
    return dx, dh0, dWx, dWh, db
