# Caches of every kind: dicts, named tuples, objects, closures. Classes as helpers.
# warn fc_forward: flatten
import collections

import numpy as np

PoolCache = collections.namedtuple('PoolCache', 'x pool_param out_height out_width winners')


class Linear:
    def __init__(self, w, b):
        self.w = w
        self.b = b

    def forward(self, x):
        assert x.ndim == 2, "expected a batch of vectors"
        self.x = x
        return x @ self.w + self.b

    def backward(self, dout):
        self.dw = self.x.T @ dout
        self.db = dout.sum(0)
        return dout @ self.w.T


def fc_forward(x, w, b):
    layer = Linear(w, b)
    return layer.forward(x), layer


def fc_backward(dout, cache):
    if isinstance(cache, tuple):
        x, w, b = cache
        cache = Linear(w, b)
        cache.forward(x)
    dx = cache.backward(dout)
    return dx, cache.dw, cache.db


def relu_forward(x):
    positive = x > 0
    out = np.where(positive, x, 0 * x)

    def back(dout):
        return np.where(positive, dout, np.zeros_like(dout))
    return out, back


def relu_backward(dout, cache):
    return cache(dout)


def conv_forward(x, w):
    cache = {'x': x, 'w': w, 'out_shape': (len(x), len(w), x.shape[2] - w.shape[2] + 1,
                                           x.shape[3] - w.shape[3] + 1)}
    out = np.zeros(cache['out_shape'], dtype=np.result_type(x, w))
    for p in range(w.shape[2]):
        for q in range(w.shape[3]):
            shifted = x[:, :, p:p + out.shape[2], q:q + out.shape[3]]
            out += np.moveaxis(np.tensordot(w[:, :, p, q], shifted, axes=(1, 1)), 0, 1)
    return out, cache


def conv_backward(dout, cache):
    x, w = cache['x'], cache['w']
    OH, OW = cache['out_shape'][2:]
    dx, dw = np.zeros(x.shape, x.dtype), np.empty(w.shape, w.dtype)
    for p in range(w.shape[2]):
        for q in range(w.shape[3]):
            shifted = x[:, :, p:p + OH, q:q + OW]
            dw[:, :, p, q] = (dout[:, :, None] * shifted[:, None]).sum(axis=(0, 3, 4))
            part = dout[:, :, None] * w[None, :, :, p, q, None, None]
            dx[:, :, p:p + OH, q:q + OW] += part.sum(1)
    return dx, dw


def max_pool_forward(x, pool_param):
    h, w, s = pool_param['pool_height'], pool_param['pool_width'], pool_param['stride']
    OH, OW = 1 + (x.shape[2] - h) // s, 1 + (x.shape[3] - w) // s
    out = np.zeros(x.shape[:2] + (OH, OW), x.dtype)
    winners = np.zeros(out.shape, int)
    for i in range(OH):
        for j in range(OW):
            flat = x[:, :, i*s:i*s+h, j*s:j*s+w].reshape(*x.shape[:2], -1)
            winners[:, :, i, j] = flat.argmax(-1)
            out[:, :, i, j] = flat.max(-1)
    return out, PoolCache(x, pool_param, OH, OW, winners)


def max_pool_backward(dout, cache):
    w, s = cache.pool_param['pool_width'], cache.pool_param['stride']
    dx = np.zeros(cache.x.shape, cache.x.dtype)
    for n, c, i, j in np.ndindex(*dout.shape):
        row, column = divmod(cache.winners[n, c, i, j], w)
        dx[n, c, i*s + row, j*s + column] += dout[n, c, i, j]
    return dx
