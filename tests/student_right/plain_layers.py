# What most people hand in: N-d fc, loops over output pixels, the batch at once.
import numpy as np


def fc_forward(x, w, b):
    x_flat = x.reshape(x.shape[0], -1)
    out = np.dot(x_flat, w) + b
    cache = (x, w, b)
    return out, cache


def fc_backward(dout, cache):
    x, w, b = cache
    dx = np.dot(dout, w.T).reshape(x.shape)
    dw = np.dot(x.reshape(x.shape[0], -1).T, dout)
    db = np.sum(dout, axis=0)
    return dx, dw, db


def relu_forward(x):
    return np.maximum(0, x), x


def relu_backward(dout, cache):
    return dout * (cache >= 0)


def conv_forward(x, w):
    N, C, H, W = x.shape
    F, _, HH, WW = w.shape
    out = np.zeros((N, F, H - HH + 1, W - WW + 1), dtype=x.dtype)
    w_rows = w.reshape(F, -1)
    for r in range(H - HH + 1):
        for s in range(W - WW + 1):
            patch = x[:, :, r:r + HH, s:s + WW].reshape(N, -1)
            out[:, :, r, s] = patch.dot(w_rows.T)
    cache = (x, w)
    return out, cache


def conv_backward(dout, cache):
    x, w = cache
    N, C, H, W = x.shape
    F, _, HH, WW = w.shape
    w_rows = w.reshape(F, -1)
    dx = np.zeros(x.shape, dtype=x.dtype)
    dw_rows = np.zeros(w_rows.shape, dtype=w.dtype)
    for r in range(dout.shape[2]):
        for s in range(dout.shape[3]):
            patch = x[:, :, r:r + HH, s:s + WW].reshape(N, -1)
            d = dout[:, :, r, s]
            dw_rows += d.T.dot(patch)
            dx[:, :, r:r + HH, s:s + WW] += d.dot(w_rows).reshape(N, C, HH, WW)
    return dx, dw_rows.reshape(w.shape)


def max_pool_forward(x, pool_param):
    N, C, H, W = x.shape
    ph, pw, s = pool_param['pool_height'], pool_param['pool_width'], pool_param['stride']
    H2 = int((H - ph) / s) + 1
    W2 = int((W - pw) / s) + 1
    out = np.empty((N, C, H2, W2), dtype=x.dtype)
    for i in range(H2):
        for j in range(W2):
            out[:, :, i, j] = np.amax(x[:, :, i*s:i*s+ph, j*s:j*s+pw], axis=(-1, -2))
    return out, (x, pool_param)


def max_pool_backward(dout, cache):
    x, pool_param = cache
    N, C, H, W = x.shape
    ph, pw, s = pool_param['pool_height'], pool_param['pool_width'], pool_param['stride']
    dx = np.zeros_like(x)
    for n in range(N):
        for c in range(C):
            for i in range(dout.shape[2]):
                for j in range(dout.shape[3]):
                    k = x[n, c, i*s:i*s+ph, j*s:j*s+pw].argmax()
                    dx[n, c, i*s + k // pw, j*s + k % pw] += dout[n, c, i, j]
    return dx


def softmax_loss(x, y):
    shifted_logits = x - np.max(x, axis=1, keepdims=True)
    Z = np.sum(np.exp(shifted_logits), axis=1, keepdims=True)
    log_probs = shifted_logits - np.log(Z)
    probs = np.exp(log_probs)
    N = x.shape[0]
    loss = -np.sum(log_probs[np.arange(N), y]) / N
    dx = probs.copy()
    dx[np.arange(N), y] -= 1
    dx /= N
    return loss, dx
