from __future__ import print_function, division

from builtins import range
import numpy as np

from layers import *

"""
This file defines layer types that are commonly used for recurrent neural networks.
"""


def rnn_step_forward(x, prev_h, Wx, Wh, b):
    next_h = np.tanh(np.matmul(x, Wx) + np.matmul(prev_h, Wh) + b)
    return next_h, (x, prev_h, Wx, Wh, b, next_h)


def rnn_step_backward(dnext_h, cache):
    x, prev_h, Wx, Wh, b, next_h = cache
    dtanh = (1 - next_h * next_h) * dnext_h
    dx, dWx, db = fc_backward(dtanh, (x, Wx, b))
    dprev_h, dWh, _ = fc_backward(dtanh, (prev_h, Wh, b))
    return dx, dprev_h, dWx, dWh, db


def rnn_forward(x, h0, Wx, Wh, b):
    h, cache = [], []
    prev_h = h0
    for t in range(x.shape[0]):
        prev_h, c = rnn_step_forward(x[t, :, :], prev_h, Wx, Wh, b)
        h += [prev_h]
        cache += [c]
    h = np.concatenate([s[None, :, :] for s in h], axis=0)
    return h, cache


def rnn_backward(dh, cache):
    T = len(cache)
    x, prev_h, Wx, Wh, b, next_h = cache[0]
    dx = np.zeros((T, ) + x.shape, dtype=x.dtype)
    dh0 = np.zeros_like(prev_h)
    dWx, dWh, db = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b)
    for t in range(T - 1, -1, -1):
        dx[t], dh0, a, c, d = rnn_step_backward(dh[t] + dh0, cache[t])
        dWx += a; dWh += c; db += d
    return dx, dh0, dWx, dWh, db


def word_embedding_forward(x, W):
    out, cache = None, None
    out = W[x, :]
    cache = x, W
    return out, cache


def word_embedding_backward(dout, cache):
    x, W = cache
    dW = np.zeros_like(W)
    np.add.at(dW, x, dout)
    return dW


def temporal_fc_forward(x, w, b):
    N, T, D = x.shape
    out, _ = fc_forward(x.reshape(N * T, D), w, b)
    return out.reshape(N, T, -1), (x, w, b, out)


def temporal_fc_backward(dout, cache):
    x, w, b, out = cache
    N, T, D = x.shape
    dx, dw, db = fc_backward(dout.reshape(N * T, -1), (x.reshape(N * T, D), w, b))
    return dx.reshape(N, T, D), dw, db


def temporal_softmax_loss(x, y, mask, verbose=False):
    N, T, V = x.shape
    x_flat, y_flat, mask_flat = x.reshape(-1, V), y.reshape(-1), mask.reshape(-1)
    x_flat = x_flat - x_flat.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(x_flat).sum(axis=1, keepdims=True))
    loss = np.sum(mask_flat * (log_sum[:, 0] - x_flat[range(N*T), y_flat])) / N
    dx = np.exp(x_flat - log_sum)
    dx[range(N*T), y_flat] -= 1
    dx = dx * mask_flat[:, None] / N
    if verbose: print('dx_flat: ', dx.shape)
    return loss, dx.reshape(N, T, V)
