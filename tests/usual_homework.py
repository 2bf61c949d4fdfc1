"""The convolution of W2 as homework usually has it: what tests/benchmark.py compares ours with."""
import numpy as np


def loops_forward(x, w):
    """A sum for each output pixel of each image and filter."""
    N, (F, _, HH, WW) = len(x), w.shape
    OH, OW = x.shape[2] - HH + 1, x.shape[3] - WW + 1
    out = np.zeros((N, F, OH, OW), x.dtype)
    for n in range(N):
        for f in range(F):
            for i in range(OH):
                for j in range(OW):
                    out[n, f, i, j] = np.sum(x[n, :, i:i + HH, j:j + WW] * w[f])
    return out


def loops_backward(dout, x, w):
    """The same loops, spreading each dout back."""
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    HH, WW = w.shape[2:]
    for n, f, i, j in np.ndindex(dout.shape):
        dx[n, :, i:i + HH, j:j + WW] += dout[n, f, i, j] * w[f]
        dw[f] += dout[n, f, i, j] * x[n, :, i:i + HH, j:j + WW]
    return dx, dw


def im2col_indices(x, w):
    """The three index arrays that turn images into columns."""
    C, HH, WW = w.shape[1:]
    OH, OW = x.shape[2] - HH + 1, x.shape[3] - WW + 1
    channel = np.repeat(np.arange(C), HH * WW)[:, None]
    row = np.tile(np.repeat(np.arange(HH), WW), C)[:, None] + np.repeat(np.arange(OH), OW)
    column = np.tile(np.arange(WW), C * HH)[:, None] + np.tile(np.arange(OW), OH)
    return channel, row, column


def im2col_forward(x, w):
    """One matrix product with columns gathered by fancy indices."""
    channel, row, column = im2col_indices(x, w)
    columns = x[:, channel, row, column]
    OH, OW = x.shape[2] - w.shape[2] + 1, x.shape[3] - w.shape[3] + 1
    return (w.reshape(len(w), -1) @ columns).reshape(len(x), len(w), OH, OW)


def im2col_backward(dout, x, w):
    """The columns' gradient scattered by np.add.at."""
    channel, row, column = im2col_indices(x, w)
    columns = x[:, channel, row, column]
    rows = dout.reshape(len(x), len(w), -1)
    dw = (rows @ columns.transpose(0, 2, 1)).sum(axis=0).reshape(w.shape)
    dx = np.zeros_like(x)
    np.add.at(dx, (slice(None), channel, row, column), w.reshape(len(w), -1).T @ rows)
    return dx, dw


def windows_forward(x, w):
    """sliding_window_view and tensordot."""
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))
    return np.tensordot(windows, w, axes=((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)


def windows_backward(dout, x, w):
    """The same for both gradients: dx is the full convolution with the flipped filter."""
    HH, WW = w.shape[2:]
    windows = np.lib.stride_tricks.sliding_window_view(x, (HH, WW), axis=(2, 3))
    dw = np.tensordot(dout, windows, axes=((0, 2, 3), (0, 2, 3)))
    padded = np.pad(dout, ((0, 0), (0, 0), (HH - 1, HH - 1), (WW - 1, WW - 1)))
    spread = np.lib.stride_tricks.sliding_window_view(padded, (HH, WW), axis=(2, 3))
    dx = np.tensordot(spread, w[:, :, ::-1, ::-1], axes=((1, 4, 5), (0, 2, 3)))
    return dx.transpose(0, 3, 1, 2), dw
