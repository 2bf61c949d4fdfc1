"""The layers of a feed-forward network, each a pair of pure functions.

    NAME_forward(inputs...)     -> (out, cache)
    NAME_backward(dout, cache)  -> the gradients of the inputs, in their order

L is the scalar loss at the end of the network and `dout` is dL/dout. The cache holds what the
backward pass needs: the contents that each docstring names, no matter who put them there. A loss
returns (loss, dx).

Letters, used in every docstring and error message:

    N  samples in the batch         D  features of one sample
    C  channels, or classes         M  features after a fully connected layer
    H  height, W  width             F  filters of a convolution
    HH, WW  height and width of one filter (P and Q in error messages)
    OH, OW  height and width of the output

What holds for all layers: no argument and no cache is changed. float32 stays float32; integers
and lists count as float64. Arrays may have any strides. NaN propagates. A wrong shape, dtype or
label raises ValueError, which names the function and the argument, what was expected and what came.

All gradients are derived in docs/derivations.md.
"""
import collections

import numpy as np

from checks import arrays, gradient, indices, integers, positive_integers


# ---------------------------------------------------------------- fully connected

def fc_forward(x, w, b):
    """Fully connected layer: out = x·w + b.

    Inputs: x (N, d_1, ..., d_k), each sample is flattened to D numbers; w (D, M); b (M,).
    Returns (out, cache): out is (N, M); cache is (x, w, b).
    Source: EECS 545 homework 4, question 1 (a).
    """
    x, w, b = arrays("fc_forward", x=(x, "ND..."), w=(w, "DM"), b=(b, "M"))
    return x.reshape(len(x), -1) @ w + b, (x, w, b)


def fc_backward(dout, cache):
    """Gradients (dx, dw, db) of the fully connected layer, given dout (N, M).

    Derived in docs/derivations.md, "Fully connected layer".
    """
    x, w, b = cache
    dout = gradient("fc_backward", dout, (len(x), w.shape[1]))
    # out_nm = Σ_d x_nd·w_dm + b_m  ⇒  dx_nd = Σ_m dout_nm·w_dm, that is dx = dout·wᵀ
    dx = (dout @ w.T).reshape(x.shape)
    return dx, *fc_weights_backward(dout, cache)


def fc_weights_backward(dout, cache):
    """The gradients (dw, db) alone: the first layer of a network needs no gradient of the data.

    Derived in docs/derivations.md, "Fully connected layer".
    """
    x, w, b = cache
    dout = gradient("fc_weights_backward", dout, (len(x), w.shape[1]))
    # dw_dm = Σ_n x_nd·dout_nm, that is dw = xᵀ·dout
    dw = x.reshape(len(x), -1).T @ dout
    # b_m is added to every sample  ⇒  db_m = Σ_n dout_nm
    db = dout.sum(axis=0)
    return dw, db


# ---------------------------------------------------------------- ReLU

def relu_forward(x):
    """Rectified linear unit: out = max(x, 0), elementwise, for any shape.

    Returns (out, cache): out has the shape of x; cache is x.
    Source: EECS 545 homework 4, question 1 (b).
    """
    x, = arrays("relu_forward", x=(x, "..."))
    # NumPy compares two arrays twice as fast as an array and a number.
    return np.maximum(x, np.zeros_like(x)), x


def relu_backward(dout, cache):
    """Gradient dx of the rectified linear unit, given dout of the shape of x.

    The slope at x = 0 is taken as 0, as in PyTorch.
    Derived in docs/derivations.md, "ReLU".
    """
    x = cache
    dout = gradient("relu_backward", dout, x.shape)
    # out = x where x > 0, else 0  ⇒  dx = dout ⊙ [x > 0]; a product is much faster than np.where
    return dout * (x > 0)


# ---------------------------------------------------------------- convolution

def conv_forward(x, w, b=None, conv_param=None):
    """Convolution layer: every filter slides over every image.

        out[n, f, i, j] = b[f] + Σ_cpq  x[n, c, i·s + p - pad, j·s + q - pad] · w[f, c, p, q]

    with stride s, where x is 0 outside of the image. The kernel is not flipped: mathematically
    this is a filtering (cross-correlation).

    Inputs: x (N, C, H, W); w (F, C, HH, WW); b (F,), or None for no bias; conv_param, a dict with
    'stride' and 'pad', each an integer or a pair (height, width), or None for stride 1 and pad 0.
    Returns (out, cache): out is (N, F, OH, OW) with OH = 1 + (H + 2·pad - HH) // stride and
    OW = 1 + (W + 2·pad - WW) // stride; the remainder is dropped, as in PyTorch.
    cache is (x, w) if only these were given, else (x, w, b, conv_param).
    Source: EECS 545 homework 4, question 1 (c); bias, stride and pad: CS231n, assignment 2.
    """
    x, w = arrays("conv_forward", x=(x, "NCHW"), w=(w, "FCPQ"))
    b = b if b is None else gradient("conv_forward", b, w.shape[:1], "b")
    grid = _conv_grid("conv_forward", x, w, conv_param)
    N, F, (OH, OW) = len(x), len(w), (axis.outputs for axis in grid)
    out = np.empty((N, F, OH * OW), np.result_type(x, w, w if b is None else b))
    for block, columns in _column_blocks(x, w, grid):
        # out[f, p] = Σ_k w[f, k]·columns[k, p], where k is a place in the filter and p a pixel
        np.matmul(w.reshape(F, -1), columns, out=out[block])
        if b is not None:
            out[block] += b[:, None]
    short = b is None and conv_param is None
    return out.reshape(N, F, OH, OW), (x, w) if short else (x, w, b, conv_param)


def conv_backward(dout, cache):
    """Gradients (dx, dw) of the convolution layer, given dout (N, F, OH, OW).

    With a cache of four, (dx, dw, db); db is None where there is no bias.
    Source: EECS 545 homework 4, questions 1 (c) and 6.
    Derived in docs/derivations.md, "Convolution".
    """
    x, w, *more = cache
    F, grid = len(w), _conv_grid("conv_backward", x, w, *more[1:])
    dout = gradient("conv_backward", dout, (len(x), F, *(axis.outputs for axis in grid)))
    dx = np.zeros(x.shape, np.result_type(w, dout))
    for block in _blocks(len(x), w[0].size * dout[0, 0].nbytes):
        # dcolumns[k, p] = Σ_f w[f, k]·dout[f, p]; added up where the columns came from
        # this is dout fully convolved with w
        dcolumns = w.reshape(F, -1).T @ dout[block].reshape(-1, F, dout[0, 0].size)
        _add_columns(dx[block], dcolumns, w, grid)
        del dcolumns                            # before the next block asks for as much memory
    dweights = conv_weights_backward(dout, cache)
    return (dx, *dweights) if more else (dx, dweights)


def conv_weights_backward(dout, cache):
    """The gradient dw alone: the first layer of a network needs no gradient of the data.

    With a cache of four, (dw, db); db is None where there is no bias.
    Derived in docs/derivations.md, "Convolution".
    """
    x, w, *more = cache
    F, grid = len(w), _conv_grid("conv_weights_backward", x, w, *more[1:])
    dout = gradient("conv_weights_backward", dout, (len(x), F, *(axis.outputs for axis in grid)))
    dw = np.zeros((w[0].size, F), np.result_type(x, dout))
    for block, columns in _column_blocks(x, w, grid):
        # dw[f, k] = Σ_p dout[f, p]·columns[k, p]: x filtered with dout
        dout_rows = dout[block].reshape(-1, F, dout[0, 0].size)
        dw += (columns @ dout_rows.transpose(0, 2, 1)).sum(axis=0)
    dw = dw.T.reshape(w.shape)
    if not more:
        return dw
    # b_f is added to every pixel of every image  ⇒  db_f = Σ_nij dout_nfij
    return dw, None if more[0] is None else dout.sum(axis=(0, 2, 3))


# How windows lie on one axis of the images, height or width. For each place in a window, `met` is
# (outputs, pixels): which windows have a pixel there, and these pixels. The others have padding.
_Axis = collections.namedtuple("_Axis", "window pad outputs met")


def _conv_grid(function, x, w, conv_param=None):
    """The two axes of the images, or ValueError in the name of the function."""
    strides, pads = (1, 1), (0, 0)
    if conv_param is not None:
        if not isinstance(conv_param, dict) or not {"stride", "pad"} <= set(conv_param):
            raise ValueError(f"{function}: conv_param expects a dict with stride, pad, "
                             f"got {conv_param!r}")
        strides = _pair(function, "stride", 1, conv_param)
        pads = _pair(function, "pad", 0, conv_param)
    H, W = (size + 2 * pad for size, pad in zip(x.shape[2:], pads))
    if w.shape[2] > H or w.shape[3] > W:
        raise ValueError(f"{function}: w expects filters no larger than the {'padded ' * any(pads)}"
                         f"images of {H}x{W}, got {w.shape[2]}x{w.shape[3]}")
    return [_axis(*sizes) for sizes in zip(x.shape[2:], w.shape[2:], strides, pads)]


def _pair(function, name, least, conv_param):
    """The option of this name for height and width: a pair, or one integer for both."""
    pair = conv_param[name]
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        pair = pair, pair
    return [integers(function, least, **{f"conv_param[{name!r}]": value})[0] for value in pair]


def _axis(size, window, stride, pad):
    """The windows on an axis of this size."""
    count, met = 1 + (size + 2 * pad - window) // stride, []
    for place in range(window):
        # Output o has its pixel o·stride + place - pad there, if 0 <= that < size.
        first = max(0, -((place - pad) // stride))
        pixel = first * stride + place - pad
        many = max(0, min(count - first, -((pixel - size) // stride)))
        met.append((slice(first, first + many), slice(pixel, pixel + many * stride, stride)))
    return _Axis(window, pad, count, met)


# Bytes that are worked on at a time. They stay in the cache; smaller blocks would lose more to the
# calls of NumPy than they gain.
_BLOCK_BYTES = 3 * 1024 * 1024


def _blocks(N, image_bytes):
    """Slices of a batch of N images: as many images each as _BLOCK_BYTES hold, or one."""
    images = max(1, _BLOCK_BYTES // image_bytes)
    return [slice(start, min(start + images, N)) for start in range(0, N, images)]


def _column_blocks(x, w, grid):
    """Yields (block, columns): a slice of the batch, and the windows of its images as columns.

    Column p of an image's (C·HH·WW, OH·OW) matrix is the flattened window of output pixel p.
    All blocks share one buffer: use the columns before the next block is asked for.
    """
    (N, C, H, _), (rows, cols) = x.shape, grid
    blocks = _blocks(N, w[0].size * rows.outputs * cols.outputs * x.itemsize)
    size = blocks[0].stop
    # What is padding is 0 from here on: no block writes there. Row k of an image is at
    # [k % stride, k // stride] of `shifted`, so that the rows of a window are one long run.
    stride = rows.met[0][1].step
    empty = np.zeros if rows.pad or cols.pad else np.empty
    shifted = empty((size, C, cols.window, stride, -(-H // stride), cols.outputs), x.dtype)
    columns = empty((size, C, rows.window, cols.window, rows.outputs, cols.outputs), x.dtype)
    for block in blocks:
        images = block.stop - block.start
        # First every shift by a column of the window, then every shift by a row: two copies
        # in long runs take half the time of one in short runs.
        for rest in range(min(stride, H)):
            xrows = x[block, :, rest::stride]
            for j, (outputs, pixels) in enumerate(cols.met):
                shifted[:images, :, j, rest, :xrows.shape[2], outputs] = xrows[:, :, :, pixels]
        for i, (outputs, pixels) in enumerate(rows.met):
            first, rest = divmod(pixels.start, stride)
            run = slice(first, first + outputs.stop - outputs.start)
            columns[:images, :, i, :, outputs] = shifted[:images, :, :, rest, run]
        yield block, columns[:images].reshape(images, w[0].size, rows.outputs * cols.outputs)


def _add_columns(dx, dcolumns, w, grid):
    """Add the gradients of columns to the pixels they came from: _column_blocks backwards, into dx."""
    (N, C, H, _), (rows, cols) = dx.shape, grid
    dcolumns = dcolumns.reshape(N, *w.shape[1:], rows.outputs, cols.outputs)
    # Row k of an image is at [k % stride, k // stride], so that a window's rows are one long run.
    stride = rows.met[0][1].step
    shifted = np.zeros((N, C, cols.window, stride, -(-H // stride), cols.outputs), dcolumns.dtype)
    for i, (outputs, pixels) in enumerate(rows.met):
        first, rest = divmod(pixels.start, stride)
        run = slice(first, first + outputs.stop - outputs.start)
        shifted[:, :, :, rest, run] += dcolumns[:, :, i, :, outputs]
    for rest in range(min(stride, H)):
        drows = dx[:, :, rest::stride]
        for j, (outputs, pixels) in enumerate(cols.met):
            drows[:, :, :, pixels] += shifted[:, :, j, rest, :drows.shape[2], outputs]


# ---------------------------------------------------------------- max pooling

def max_pool_forward(x, pool_param):
    """Max pooling: the largest value of each window of each channel.

    Inputs: x (N, C, H, W); pool_param, a dict with the positive integers 'pool_height',
    'pool_width' and 'stride'. Windows may overlap (stride below their size) or leave gaps.
    Returns (out, cache): out is (N, C, OH, OW) with OH = 1 + (H - pool_height) // stride and
    OW = 1 + (W - pool_width) // stride; the remainder is dropped, as in PyTorch.
    cache is (x, pool_param).
    """
    x, = arrays("max_pool_forward", x=(x, "NCHW"))
    first, *others = _pool_views(x, *_pool_sizes("max_pool_forward", x, pool_param))
    out = first.copy()
    for view in others:
        np.maximum(out, view, out=out)
    return out, (x, pool_param)


def max_pool_backward(dout, cache):
    """Gradient dx of max pooling, given dout (N, C, OH, OW): each window's dout goes to its maximum.

    A tie goes to the first maximum, row by row, as in PyTorch. Overlapping windows add up.
    Derived in docs/derivations.md, "Max pooling".
    """
    x, pool_param = cache
    sizes = _pool_sizes("max_pool_backward", x, pool_param)
    out, _ = max_pool_forward(x, pool_param)
    dout = gradient("max_pool_backward", dout, out.shape)
    dx = np.zeros(x.shape, dout.dtype)
    overlap = sizes[2] < max(sizes[:2])
    for block in _blocks(len(x), x[0].nbytes):
        unpaid = np.ones(out[block].shape, bool)            # windows whose maximum is yet to come
        for view, dview in zip(_pool_views(x[block], *sizes), _pool_views(dx[block], *sizes)):
            smaller = view < out[block]                     # never of a NaN maximum: first place
            winner = unpaid > smaller                       # unpaid and not smaller
            unpaid &= smaller
            # out = x at the winner  ⇒  dx = dout there, and 0 elsewhere
            if overlap:
                dview += dout[block] * winner
            else:
                np.multiply(dout[block], winner, out=dview)     # a third faster than to add
    return dx


def _pool_sizes(function, x, pool_param):
    """(pool_height, pool_width, stride), or ValueError in the name of the function."""
    names = "pool_height", "pool_width", "stride"
    if not isinstance(pool_param, dict) or not set(names) <= set(pool_param):
        raise ValueError(f"{function}: pool_param expects a dict with {', '.join(names)}, "
                         f"got {pool_param!r}")
    height, width, stride = positive_integers(
        function, **{f"pool_param[{name!r}]": pool_param[name] for name in names})
    if height > x.shape[2] or width > x.shape[3]:
        raise ValueError(f"{function}: pool_param expects a window no larger than the images of "
                         f"{x.shape[2]}x{x.shape[3]}, got {height}x{width}")
    return height, width, stride


def _pool_views(x, pool_height, pool_width, stride):
    """For each place in the window, row by row, a view of x: that place in all windows.

    The maximum of a few large arrays is much faster than that of many small windows.
    """
    H, W = x.shape[2:]
    return [x[:, :, i:H - pool_height + i + 1:stride, j:W - pool_width + j + 1:stride]
            for i in range(pool_height) for j in range(pool_width)]


# ---------------------------------------------------------------- loss

def softmax_loss(x, y):
    """Softmax and cross-entropy, averaged over the batch.

        loss = -1/N Σ_n log p[n, y_n],   p[n] = softmax(x[n])

    Inputs: x (N, C) scores; y (N,) integer labels, 0 <= y < C.
    Returns (loss, dx): loss is a scalar of x's dtype, dx is (N, C).
    Derived in docs/derivations.md, "Softmax and cross-entropy".
    """
    x, = arrays("softmax_loss", x=(x, "NC"))
    N, C = x.shape
    y = indices("softmax_loss", "y", y, (N,), C)
    rows = np.arange(N)
    # log p = x - log Σ_c exp x_c. Subtracting each row's maximum from x changes neither side,
    # and then exp cannot overflow.
    x = x - x.max(axis=1, keepdims=True)
    p = np.exp(x)
    total = p.sum(axis=1, keepdims=True)
    loss = (np.log(total[:, 0]) - x[rows, y]).mean()
    p /= total
    # dL/dx_nc = (p_nc - [c = y_n]) / N
    dx = p
    dx[rows, y] -= 1
    dx /= N
    return loss, dx


def svm_loss(x, y):
    """Multiclass hinge loss of a support vector machine, averaged over the batch.

        loss = 1/N Σ_n Σ_{c ≠ y_n} max(0, x[n, c] - x[n, y_n] + 1)

    Inputs: x (N, C) scores; y (N,) integer labels, 0 <= y < C.
    Returns (loss, dx): loss is a scalar of x's dtype, dx is (N, C). A margin of exactly 0 has the
    slope 0, as in PyTorch.
    Source: CS231n, assignment 1.
    Derived in docs/derivations.md, "Hinge loss".
    """
    x, = arrays("svm_loss", x=(x, "NC"))
    N, C = x.shape
    y = indices("svm_loss", "y", y, (N,), C)
    rows = np.arange(N)
    hinges = np.maximum(x - x[rows, y, None] + 1, 0)
    hinges[rows, y] *= 0                        # the right class costs nothing; NaN stays NaN
    loss = hinges.sum() / N
    # dL/dx_nc = [hinge_nc > 0] / N for a wrong class, and minus the sum of these for the right one
    dx = np.sign(hinges)
    dx[rows, y] -= dx.sum(axis=1)
    dx /= N
    return loss, dx
