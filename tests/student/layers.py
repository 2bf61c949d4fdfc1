"""
A student's own solution of homework 4, layers.py: what the assignment asks for and nothing else.

tests/test_contract.py puts this file in the place of ours: every model must run with it. So it
imports nothing of this project, checks nothing, and fc takes a matrix only.
"""
import numpy as np


def fc_forward(x, w, b):
    """x: (N, D), w: (D, M), b: (M,). Returns out (N, M) and the cache."""
    N, D = x.shape
    out = x.dot(w) + b
    cache = (x, w, b)
    return out, cache


def fc_backward(dout, cache):
    """dout: (N, M). Returns dx (N, D), dw (D, M), db (M,)."""
    x, w, b = cache
    N, D = x.shape
    dx = dout.dot(w.T)
    dw = x.T.dot(dout)
    db = np.sum(dout, axis=0)
    return dx, dw, db


def relu_forward(x):
    """x of any shape."""
    out = x.copy()
    out[out < 0] = 0
    cache = x
    return out, cache


def relu_backward(dout, cache):
    x = cache
    dx = dout.copy()
    dx[x <= 0] = 0
    return dx


def conv_forward(x, w):
    """x: (N, C, H, W), w: (F, C, HH, WW). Valid filtering, stride 1, no bias."""
    N, C, H, W = x.shape
    F, _, HH, WW = w.shape
    H_out = H - HH + 1
    W_out = W - WW + 1
    out = np.zeros((N, F, H_out, W_out), dtype=x.dtype)
    for i in range(HH):
        for j in range(WW):
            out += np.einsum('nchw,fc->nfhw', x[:, :, i:i + H_out, j:j + W_out], w[:, :, i, j])
    cache = (x, w)
    return out, cache


def conv_backward(dout, cache):
    """dout: (N, F, H_out, W_out). Returns dx and dw."""
    x, w = cache
    F, _, HH, WW = w.shape
    _, _, H_out, W_out = dout.shape
    dx = np.zeros_like(x)
    dw = np.zeros_like(w)
    for i in range(HH):
        for j in range(WW):
            window = x[:, :, i:i + H_out, j:j + W_out]
            dw[:, :, i, j] = np.tensordot(dout, window, axes=([0, 2, 3], [0, 2, 3]))
            dx[:, :, i:i + H_out, j:j + W_out] += np.einsum('nfhw,fc->nchw', dout, w[:, :, i, j])
    return dx, dw


def max_pool_forward(x, pool_param):
    """pool_param: dict with pool_height, pool_width and stride."""
    N, C, H, W = x.shape
    ph, pw, s = pool_param['pool_height'], pool_param['pool_width'], pool_param['stride']
    H_out = 1 + (H - ph) // s
    W_out = 1 + (W - pw) // s
    out = np.zeros((N, C, H_out, W_out), dtype=x.dtype)
    for i in range(H_out):
        for j in range(W_out):
            window = x[:, :, i * s:i * s + ph, j * s:j * s + pw]
            out[:, :, i, j] = np.max(window, axis=(2, 3))
    cache = (x, pool_param)
    return out, cache


def max_pool_backward(dout, cache):
    x, pool_param = cache
    N, C, H, W = x.shape
    ph, pw, s = pool_param['pool_height'], pool_param['pool_width'], pool_param['stride']
    _, _, H_out, W_out = dout.shape
    dx = np.zeros_like(x)
    n, c = np.arange(N)[:, None], np.arange(C)[None, :]
    for i in range(H_out):
        for j in range(W_out):
            window = x[:, :, i * s:i * s + ph, j * s:j * s + pw].reshape(N, C, -1)
            dwindow = np.zeros_like(window)
            dwindow[n, c, np.argmax(window, axis=2)] = dout[:, :, i, j]
            dx[:, :, i * s:i * s + ph, j * s:j * s + pw] += dwindow.reshape(N, C, ph, pw)
    return dx


def softmax_loss(x, y):
    """x: (N, C) scores, y: (N,) labels. Returns the loss and dx."""
    N = x.shape[0]
    shifted = x - np.max(x, axis=1, keepdims=True)
    log_probs = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    loss = -np.sum(log_probs[np.arange(N), y]) / N
    dx = np.exp(log_probs)
    dx[np.arange(N), y] -= 1
    dx /= N
    return loss, dx
