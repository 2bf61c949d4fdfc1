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
import numpy as np

from checks import arrays, gradient, indices, positive_integers


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

def conv_forward(x, w):
    """Convolution layer: every filter slides over every image (valid, stride 1, no bias).

        out[n, f, i, j] = Σ_cpq  x[n, c, i + p, j + q] · w[f, c, p, q]

    The kernel is not flipped: mathematically this is a filtering (cross-correlation).

    Inputs: x (N, C, H, W); w (F, C, HH, WW).
    Returns (out, cache): out is (N, F, OH, OW), OH = H - HH + 1, OW = W - WW + 1; cache is (x, w).
    Source: EECS 545 homework 4, question 1 (c).
    """
    x, w = arrays("conv_forward", x=(x, "NCHW"), w=(w, "FCPQ"))
    N, _, H, W = x.shape
    F, _, HH, WW = w.shape
    if HH > H or WW > W:
        raise ValueError(f"conv_forward: w expects filters no larger than the images of {H}x{W}, "
                         f"got {HH}x{WW}")
    out = np.empty((N, F, (H - HH + 1) * (W - WW + 1)), np.result_type(x, w))
    for block, columns in _column_blocks(x, w):
        # out[f, p] = Σ_k w[f, k]·columns[k, p], where k is a place in the filter and p a pixel
        np.matmul(w.reshape(F, -1), columns, out=out[block])
    return out.reshape(N, F, H - HH + 1, W - WW + 1), (x, w)


def conv_backward(dout, cache):
    """Gradients (dx, dw) of the convolution layer, given dout (N, F, OH, OW).

    Source: EECS 545 homework 4, questions 1 (c) and 6.
    Derived in docs/derivations.md, "Convolution".
    """
    x, w = cache
    N, _, H, W = x.shape
    F, _, HH, WW = w.shape
    dout = gradient("conv_backward", dout, (N, F, H - HH + 1, W - WW + 1))
    dx = np.zeros(x.shape, np.result_type(w, dout))
    for block in _blocks(N, w[0].size * dout[0, 0].nbytes):
        # dcolumns[k, p] = Σ_f w[f, k]·dout[f, p]; added up where the columns came from
        # this is dout fully convolved with w
        dcolumns = w.reshape(F, -1).T @ dout[block].reshape(-1, F, dout[0, 0].size)
        _add_columns(dx[block], dcolumns, w)
        del dcolumns                            # before the next block asks for as much memory
    return dx, conv_weights_backward(dout, cache)


def conv_weights_backward(dout, cache):
    """The gradient dw alone: the first layer of a network needs no gradient of the data.

    Derived in docs/derivations.md, "Convolution".
    """
    x, w = cache
    N, _, H, W = x.shape
    F, _, HH, WW = w.shape
    dout = gradient("conv_weights_backward", dout, (N, F, H - HH + 1, W - WW + 1))
    dw = np.zeros((w[0].size, F), np.result_type(x, dout))
    for block, columns in _column_blocks(x, w):
        # dw[f, k] = Σ_p dout[f, p]·columns[k, p]: x filtered with dout
        dout_rows = dout[block].reshape(-1, F, dout[0, 0].size)
        dw += (columns @ dout_rows.transpose(0, 2, 1)).sum(axis=0)
    return dw.T.reshape(w.shape)


# Bytes that are worked on at a time. They stay in the cache; smaller blocks would lose more to the
# calls of NumPy than they gain.
_BLOCK_BYTES = 3 * 1024 * 1024


def _blocks(N, image_bytes):
    """Slices of a batch of N images: as many images each as _BLOCK_BYTES hold, or one."""
    images = max(1, _BLOCK_BYTES // image_bytes)
    return [slice(start, min(start + images, N)) for start in range(0, N, images)]


def _column_blocks(x, w):
    """Yields (block, columns): a slice of the batch, and the windows of its images as columns.

    Column p of an image's (C·HH·WW, OH·OW) matrix is the flattened window of output pixel p.
    All blocks share one buffer: use the columns before the next block is asked for.
    """
    (N, C, H, W), (_, _, HH, WW) = x.shape, w.shape
    OH, OW = H - HH + 1, W - WW + 1
    blocks = _blocks(N, C * HH * WW * OH * OW * x.itemsize)
    size = blocks[0].stop
    shifted = np.empty((size, C, WW, H, OW), x.dtype)
    columns = np.empty((size, C, HH, WW, OH, OW), x.dtype)
    for block in blocks:
        images = block.stop - block.start
        # First every shift by a column of the window, then every shift by a row: two copies
        # in long runs take half the time of one in short runs.
        for j in range(WW):
            shifted[:images, :, j] = x[block, :, :, j:j + OW]
        for i in range(HH):
            columns[:images, :, i] = shifted[:images, :, :, i:i + OH]
        yield block, columns[:images].reshape(images, C * HH * WW, OH * OW)


def _add_columns(dx, dcolumns, w):
    """Add the gradients of columns to the pixels they came from: _column_blocks backwards, into dx."""
    (N, C, H, W), (_, _, HH, WW) = dx.shape, w.shape
    OH, OW = H - HH + 1, W - WW + 1
    dcolumns = dcolumns.reshape(N, C, HH, WW, OH, OW)
    shifted = np.zeros((N, C, WW, H, OW), dcolumns.dtype)
    for i in range(HH):
        shifted[:, :, :, i:i + OH] += dcolumns[:, :, i]
    for j in range(WW):
        dx[:, :, :, j:j + OW] += shifted[:, :, j]


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
