# Index arrays for im2col, and the same idea for pooling; caches carry more than was asked for.
import numpy as np


def get_indices(C, H, W, HH, WW, stride=1):
    out_h = (H - HH) // stride + 1
    out_w = (W - WW) // stride + 1
    i0 = np.tile(np.repeat(np.arange(HH), WW), C)
    j0 = np.tile(np.arange(WW), HH * C)
    i1 = stride * np.repeat(np.arange(out_h), out_w)
    j1 = stride * np.tile(np.arange(out_w), out_h)
    i = i0.reshape(-1, 1) + i1.reshape(1, -1)
    j = j0.reshape(-1, 1) + j1.reshape(1, -1)
    k = np.repeat(np.arange(C), HH * WW).reshape(-1, 1)
    return k, i, j, out_h, out_w


def conv_forward(x, w):
    N, C, H, W = x.shape
    F, _, HH, WW = w.shape
    k, i, j, out_h, out_w = get_indices(C, H, W, HH, WW)
    cols = x[:, k, i, j].transpose(1, 2, 0).reshape(C * HH * WW, -1)
    res = w.reshape(F, -1) @ cols
    out = res.reshape(F, out_h, out_w, N).transpose(3, 0, 1, 2)
    return out, (x, w, cols)


def conv_backward(dout, cache):
    x, w, cols = cache
    N, C, H, W = x.shape
    F, _, HH, WW = w.shape
    k, i, j, out_h, out_w = get_indices(C, H, W, HH, WW)
    dout_flat = dout.transpose(1, 2, 3, 0).reshape(F, -1)
    dw = (dout_flat @ cols.T).reshape(w.shape)
    dcols = (w.reshape(F, -1).T @ dout_flat).reshape(C * HH * WW, -1, N).transpose(2, 0, 1)
    dx = np.zeros(x.shape, dtype=x.dtype)
    np.add.at(dx, (slice(None), k, i, j), dcols)
    return dx, dw


def max_pool_forward(x, pool_param):
    N, C, H, W = x.shape
    ph, pw, stride = pool_param["pool_height"], pool_param["pool_width"], pool_param["stride"]
    _, i, j, out_h, out_w = get_indices(1, H, W, ph, pw, stride)
    cols = x.reshape(N * C, H, W)[:, i, j]
    arg = cols.argmax(axis=1)
    out = cols.max(axis=1).reshape(N, C, out_h, out_w)
    return out, (x, pool_param, arg)


def max_pool_backward(dout, cache):
    x, pool_param, arg = cache
    N, C, H, W = x.shape
    ph, pw, stride = pool_param["pool_height"], pool_param["pool_width"], pool_param["stride"]
    _, i, j, out_h, out_w = get_indices(1, H, W, ph, pw, stride)
    dx = np.zeros((N * C, H, W), dtype=x.dtype)
    which = np.arange(N * C)[:, None]
    pixel = np.arange(out_h * out_w)[None, :]
    np.add.at(dx, (which, i[arg, pixel], j[arg, pixel]), dout.reshape(N * C, -1))
    return dx.reshape(x.shape)
