# Type hints, dataclasses, asserts on shapes, helper functions; fc flattens with np.prod.
from __future__ import annotations

import dataclasses
import typing as t

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]


@dataclasses.dataclass
class ConvCache:
    """What conv_backward needs."""
    x: Array
    w: Array


def _flatten(x: Array) -> Array:
    return x.reshape(x.shape[0], int(np.prod(x.shape[1:])))


def fc_forward(x: Array, w: Array, b: Array) -> tuple[Array, tuple]:
    assert w.shape[1:] == b.shape
    return _flatten(x) @ w + b, (x, w, b)


def fc_backward(dout: Array, cache: tuple) -> tuple[Array, Array, Array]:
    x, w, _ = cache
    dx: Array = (dout @ w.T).reshape(*x.shape)
    dw: Array = _flatten(x).T @ dout
    db: Array = np.ones(len(dout), dtype=dout.dtype) @ dout
    assert dx.shape == x.shape and dw.shape == w.shape
    return dx, dw, db


def relu_forward(x: Array) -> tuple[Array, Array]:
    return np.where(np.less(x, 0), np.zeros_like(x), x), x


def relu_backward(dout: Array, cache: Array) -> Array:
    mask = np.greater(cache, 0)
    return np.multiply(dout, mask.astype(dout.dtype))


def _windows(x: Array, h: int, w: int) -> t.Iterator[tuple[int, int, Array]]:
    for i in range(x.shape[2] - h + 1):
        for j in range(x.shape[3] - w + 1):
            yield i, j, x[:, :, i:i + h, j:j + w]


def conv_forward(x: Array, w: Array) -> tuple[Array, ConvCache]:
    (n, _, h, wd), (f, _, hh, ww) = x.shape, w.shape
    out = np.empty((n, f, h - hh + 1, wd - ww + 1), dtype=x.dtype)
    for i, j, window in _windows(x, hh, ww):
        out[:, :, i, j] = np.tensordot(window, w, axes=([1, 2, 3], [1, 2, 3]))
    return out, ConvCache(x, w)


def conv_backward(dout: Array, cache: ConvCache) -> tuple[Array, Array]:
    x, w = cache.x, cache.w
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    size = w.shape[2:]
    for (i, j, window), (_, _, dwindow) in zip(_windows(x, *size), _windows(dx, *size)):
        delta = dout[:, :, i, j]
        dw += np.tensordot(delta, window, axes=([0], [0]))
        dwindow += np.tensordot(delta, w, axes=([1], [0]))
    return dx, dw


def softmax_loss(x: Array, y: npt.NDArray[np.integer]) -> tuple[float, Array]:
    n = len(x)
    picked = (np.arange(n), y)
    logits = x - x.max(axis=-1, keepdims=True)
    log_z = np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    loss = float((log_z.squeeze(-1) - logits[picked]).mean())
    grad = np.exp(logits - log_z) / n
    grad[picked] -= 1 / n
    return loss, grad
