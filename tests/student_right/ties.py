# Where the maximum of a window is there twice. A name before two underscores is the student's.
# warn all__max_pool_backward: tie
# warn all_in_loops__max_pool_backward: tie
# warn only_tiled__max_pool_forward: tile
import numpy as np


def all__max_pool_forward(x, pool_param):
    h, w, s = pool_param['pool_height'], pool_param['pool_width'], pool_param['stride']
    N, C, H, W = x.shape
    out = np.zeros((N, C, 1 + (H - h) // s, 1 + (W - w) // s), dtype=x.dtype)
    for i in range(out.shape[2]):
        for j in range(out.shape[3]):
            out[:, :, i, j] = np.max(x[:, :, i*s:i*s+h, j*s:j*s+w], axis=(2, 3))
    return out, (x, pool_param)


def all__max_pool_backward(dout, cache):
    x, pool_param = cache
    h, w, s = pool_param['pool_height'], pool_param['pool_width'], pool_param['stride']
    dx = np.zeros_like(x)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            window = x[:, :, i*s:i*s+h, j*s:j*s+w]
            m = np.max(window, axis=(2, 3), keepdims=True)
            dx[:, :, i*s:i*s+h, j*s:j*s+w] += (window == m) * dout[:, :, i, j][:, :, None, None]
    return dx


all_in_loops__max_pool_forward = all__max_pool_forward


def all_in_loops__max_pool_backward(dout, cache):
    x, pool_param = cache
    h, w, s = pool_param['pool_height'], pool_param['pool_width'], pool_param['stride']
    dx = np.zeros(x.shape, x.dtype)
    for n in range(x.shape[0]):
        for c in range(x.shape[1]):
            for i in range(dout.shape[2]):
                for j in range(dout.shape[3]):
                    best = x[n, c, i*s:i*s+h, j*s:j*s+w].max()
                    for p in range(h):
                        for q in range(w):
                            if x[n, c, i*s+p, j*s+q] == best:
                                dx[n, c, i*s+p, j*s+q] += dout[n, c, i, j]
    return dx


last__max_pool_forward = all__max_pool_forward


def last__max_pool_backward(dout, cache):
    x, pool_param = cache
    h, w, s = pool_param['pool_height'], pool_param['pool_width'], pool_param['stride']
    dx = np.zeros_like(x)
    for n, c, i, j in np.ndindex(dout.shape):
        best, where = -np.inf, None
        for p in range(i*s, i*s + h):
            for q in range(j*s, j*s + w):
                if x[n, c, p, q] >= best:
                    best, where = x[n, c, p, q], (p, q)
        dx[n, c, where[0], where[1]] += dout[n, c, i, j]
    return dx


shared__max_pool_forward = all__max_pool_forward


def shared__max_pool_backward(dout, cache):
    x, pool_param = cache
    h, w, s = pool_param['pool_height'], pool_param['pool_width'], pool_param['stride']
    dx = np.zeros_like(x)
    for i in range(dout.shape[2]):
        for j in range(dout.shape[3]):
            window = x[:, :, i*s:i*s+h, j*s:j*s+w]
            mask = (window == window.max(axis=(2, 3), keepdims=True)).astype(x.dtype)
            mask /= mask.sum(axis=(2, 3), keepdims=True)
            dx[:, :, i*s:i*s+h, j*s:j*s+w] += mask * dout[:, :, i, j, None, None]
    return dx


def only_tiled__max_pool_forward(x, pool_param):
    h, w, s = pool_param['pool_height'], pool_param['pool_width'], pool_param['stride']
    N, C, H, W = x.shape
    assert (H - h) % s == 0 and (W - w) % s == 0, 'the windows do not fit'
    return all__max_pool_forward(x, pool_param)


def only_tiled__max_pool_backward(dout, cache):
    return shared__max_pool_backward(dout, cache)
