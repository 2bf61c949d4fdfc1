"""The layers of a feed-forward network, each a pair of pure functions.

    NAME_forward(inputs...)     -> (out, cache)
    NAME_backward(dout, cache)  -> the gradients of the inputs, in their order

L is the scalar loss at the end of the network and `dout` is dL/dout. The cache
holds what the backward pass needs and nothing else. Losses return (loss, dx).

Letters, used in every docstring:

    N  samples in the batch         D  features of one sample
    C  channels, or classes         M  features after a fully connected layer
    H  height, W  width             F  filters of a convolution
    HH, WW  height and width of one filter
    OH, OW  height and width of the output

What holds for all of them:

* No argument and no cache is ever changed, and nothing is random. A cache may share
  memory with the inputs and with out: change neither before the backward pass.
* float16, float32 and float64 stay what they are; integers and lists are taken
  as float64. Arrays may have any strides, be read-only or memory-mapped.
* NaN propagates; it is never masked.
* A wrong rank, size, dtype or label raises ValueError, which names the function
  and the argument, what was expected and what came.

The derivations of all gradients are in docs/derivations.md.
"""
import collections
import math
import sys
import weakref

import numpy as np


# ---------------------------------------------------------------- fully connected

def fc_forward(x, w, b):
    """Fully connected layer: out = x·w + b.

    Inputs:
        x: (N, d_1, ..., d_k), each sample is flattened to D = d_1 ⋯ d_k numbers
        w: (D, M)
        b: (M,)
    Returns (out, cache): out is (N, M); cache is (x, w).
    Raises ValueError where the sizes do not fit.
    Source: EECS 545 homework 4, question 1 (a).
    """
    x = as_float_array("fc_forward", "x", x)
    w = as_float_array("fc_forward", "w", w, ndim=2)
    b = as_float_array("fc_forward", "b", b, ndim=1)
    if x.ndim < 2:
        raise ValueError(f"fc_forward: x expects 2 or more axes, (N, features...), "
                         f"got shape {x.shape}")
    rows = x.reshape(len(x), -1)
    if w.shape[0] != rows.shape[1]:
        raise ValueError(f"fc_forward: w expects {rows.shape[1]} rows, one for each feature "
                         f"of x with shape {x.shape}, got shape {w.shape}")
    if b.shape[0] != w.shape[1]:
        raise ValueError(f"fc_forward: b expects shape ({w.shape[1]},) to go with w of shape "
                         f"{w.shape}, got {b.shape}")
    out = multiply(rows, w)
    out += b
    return out, (x, w)


def fc_backward(dout, cache, *, needs_dx=True):
    """Gradients of the fully connected layer.

    Inputs:
        dout: (N, M)
        cache: (x, w) of fc_forward
        needs_dx: False skips dx, which the first layer of a network has no use
            for; None is returned in its place
    Returns (dx, dw, db) with the shapes of x, w and b.
    Derived in docs/derivations.md, "Fully connected layer".
    """
    x, w = as_cache("fc_backward", cache, "N...", "DM",
                    fits=lambda x, w: x.size == len(x) * len(w))
    dout = as_upstream_gradient("fc_backward", dout, (len(x), w.shape[1]))
    rows = x.reshape(len(x), -1)
    # out_nm = Σ_d x_nd·w_dm + b_m  ⇒  dx_nd = Σ_m dout_nm·w_dm, that is dx = dout·wᵀ
    dx = multiply(dout, w.T).reshape(x.shape) if needs_dx else None
    # dw_dm = Σ_n x_nd·dout_nm, that is dw = xᵀ·dout
    dw = multiply(rows.T, dout)
    # b_m is added to every sample  ⇒  db_m = Σ_n dout_nm
    db = total(dout, axis=0)
    return dx, dw, db


# ---------------------------------------------------------------- ReLU

def relu_forward(x):
    """Rectified linear unit: out = max(x, 0), elementwise; any shape.

    Returns (out, cache): out has the shape of x; cache is x.
    Source: EECS 545 homework 4, question 1 (b).
    """
    x = as_float_array("relu_forward", "x", x)
    # Against an array of zeros NumPy takes a loop that is twice as fast as against a 0.
    out = empty(x.shape, x.dtype)
    return np.maximum(x, np.zeros_like(x), out=out), x


def relu_backward(dout, cache):
    """Gradient of the rectified linear unit.

    Inputs: dout with the shape of x; cache from relu_forward.
    Returns dx. The slope at x = 0 is taken as 0, as in PyTorch.
    Derived in docs/derivations.md, "ReLU".
    """
    x, = as_cache("relu_backward", (cache,), "...")
    dout = as_upstream_gradient("relu_backward", dout, x.shape)
    # out = x where x > 0, else 0  ⇒  dx = dout ⊙ [x > 0];
    # "not x <= 0" lets dout through where x is NaN, and never hides it.
    return keep_where(~(x <= 0), dout)


def keep_where(mask, values, out=None):
    """`values` where the mask is True and 0 elsewhere, as np.where(mask, values, 0).

    out: an array of the shape and dtype of `values` to write into, if there is one.
    The bits of each number, read as an integer, times 0 or 1: ten times as fast
    as np.where, and unlike a product of floats it makes 0 of ∞ and NaN.
    """
    out = empty(values.shape, values.dtype) if out is None else out
    if values.dtype.itemsize > 8:
        out[...] = np.where(mask, values, values.dtype.type(0))
        return out
    bits = np.dtype(f"i{values.dtype.itemsize}")
    np.multiply(values.view(bits), mask, out=out.view(bits))
    return out


# ---------------------------------------------------------------- convolution

def conv_forward(x, w):
    """Convolution layer: every filter slides over every image (valid, stride 1).

        out[n, f] = Σ_c  x[n, c] filtered with w[f, c]

    where "filtered" means that the kernel is not flipped (cross-correlation)
    and stays inside the image: OH = H - HH + 1, OW = W - WW + 1. No bias.

    Inputs:
        x: (N, C, H, W)
        w: (F, C, HH, WW)
    Returns (out, cache): out is (N, F, OH, OW); cache is (x, w).
    Raises ValueError where the channels differ or the filter exceeds the image.
    Source: EECS 545 homework 4, question 1 (c).
    """
    x = as_float_array("conv_forward", "x", x, ndim=4)
    w = as_float_array("conv_forward", "w", w, ndim=4)
    if w.shape[1] != x.shape[1]:
        raise ValueError(f"conv_forward: w expects {x.shape[1]} channels (axis 1) as x has, "
                         f"got {w.shape[1]}")
    if w.shape[2] > x.shape[2] or w.shape[3] > x.shape[3]:
        raise ValueError(f"conv_forward: w expects filters no larger than the images of "
                         f"{x.shape[2]}x{x.shape[3]}, got {w.shape[2]}x{w.shape[3]}")
    N, C, H, W = x.shape
    F, _, HH, WW = w.shape
    OH, OW = H - HH + 1, W - WW + 1
    dtype = np.result_type(x, w)
    out = empty((N, F, OH * OW), dtype)
    w_rows = w.astype(dtype, copy=False).reshape(F, C * HH * WW)
    for images, pixels, columns in _column_blocks(x, HH, WW, dtype):
        # out[f, p] = Σ_k w[f, k]·columns[k, p], k running over channel and place in the filter
        np.matmul(w_rows, columns, out=out[images, :, pixels])
    return out.reshape(N, F, OH, OW), (x, w)


def conv_backward(dout, cache, *, needs_dx=True):
    """Gradients of the convolution layer.

    Inputs:
        dout: (N, F, OH, OW)
        cache: (x, w) of conv_forward
        needs_dx: False skips dx, which the first layer of a network has no use
            for; None is returned in its place
    Returns (dx, dw) with the shapes of x and w.
    Source: EECS 545 homework 4, questions 1 (c) and 6.
    Derived in docs/derivations.md, "Convolution".
    """
    x, w = as_cache("conv_backward", cache, "NCHW", "FCPQ")
    N, C, H, W = x.shape
    F, _, HH, WW = w.shape
    OH, OW = H - HH + 1, W - WW + 1
    dout = as_upstream_gradient("conv_backward", dout, (N, F, OH, OW))
    dout = dout.reshape(N, F, OH * OW)
    dtype = np.result_type(x, w, dout)
    w_columns = w.astype(dtype, copy=False).reshape(F, C * HH * WW).T
    dw_columns = np.zeros((C * HH * WW, F), np.result_type(dtype, np.float32))
    dx = zeros(x.shape, dtype) if needs_dx else None
    for images, pixels, columns in _column_blocks(x, HH, WW, dtype):
        dout_block = dout[images, :, pixels]
        # dw[f, k] = Σ_p dout[f, p]·columns[k, p]: x filtered with dout
        dw_columns += total(np.matmul(columns, dout_block.transpose(0, 2, 1)), axis=0)
        if needs_dx:
            # dcolumns[k, p] = Σ_f w[f, k]·dout[f, p]. Added up where the columns
            # came from it is dout fully convolved with w.
            dcolumns = np.matmul(w_columns, dout_block, out=columns)
            rows = slice(pixels.start // OW, pixels.stop // OW + HH - 1)
            _add_columns(dx[images, :, rows], dcolumns, HH, WW)
    return dx, dw_columns.astype(dtype, copy=False).T.reshape(w.shape)


# The columns of a block are to stay in the cache while they are used. A third of this would fit
# a core's own, but then NumPy's calls for each block cost more than the shared one's distance.
_BLOCK_BYTES = 3 * 1024 * 1024


def _column_blocks(x, HH, WW, dtype):
    """The windows of all images as columns of matrices, a cache-sized block at a time.

    x is (N, C, H, W). Yields (images, pixels, columns): a slice of the samples, a
    slice of the OH·OW output pixels, and the (images, C·HH·WW, pixels) matrices
    in which column p is the flattened window of output pixel p. A block is a few
    whole images, or else a few rows of one, so that memory does not grow with the
    batch; it is that of one row, C·HH·WW·OW numbers, at the least. The next block
    takes the place of the matrices: they may be overwritten.
    """
    N, C, H, W = x.shape
    OH, OW = H - HH + 1, W - WW + 1
    row_bytes = C * HH * WW * OW * dtype.itemsize
    block_rows = min(OH, max(1, _BLOCK_BYTES // row_bytes))
    block_images = min(N, max(1, _BLOCK_BYTES // (row_bytes * OH)))
    shifted_buffer = empty((block_images, C, WW, block_rows + HH - 1, OW), dtype)
    columns_buffer = empty((block_images, C, HH, WW, block_rows, OW), dtype)
    x_shifts = _shifts(x, OW, axis=3).transpose(0, 1, 3, 2, 4)
    buffers = {}                                # by size: the last block may be smaller
    for n in range(0, N, block_images):
        for row in range(0, OH, block_rows):
            images, rows = size = min(block_images, N - n), min(block_rows, OH - row)
            if size not in buffers:
                shifted = _leading(shifted_buffer, (images, C, WW, rows + HH - 1, OW))
                columns = _leading(columns_buffer, (images, C, HH, WW, rows, OW))
                buffers[size] = (shifted, columns,
                                 _shifts(shifted, rows, axis=3).transpose(0, 1, 3, 2, 5, 4),
                                 columns.reshape(images, C * HH * WW, rows * OW))
            shifted, columns, row_shifts, matrices = buffers[size]
            # Two copies in long runs cost half of one in short runs: first every
            # shift by a column of the window, then every shift by a row.
            shifted[...] = x_shifts[n:n + images, :, :, row:row + rows + HH - 1]
            columns[...] = row_shifts
            yield slice(n, n + images), slice(row * OW, (row + rows) * OW), matrices


def _leading(buffer, shape):
    """An array of this shape in the first elements of a contiguous buffer."""
    return buffer.reshape(-1)[:np.prod(shape)].reshape(shape)


def _shifts(x, length, axis):
    """A view of all runs of this length along an axis; the place in the run comes last."""
    return np.lib.stride_tricks.sliding_window_view(x, length, axis=axis)


def _add_columns(dx, dcolumns, HH, WW):
    """Add every column of (N, C·HH·WW, OH·OW) matrices to the window of dx that it stands for.

    The way back from _column_blocks, and in two stages like it. Changes dx, (N, C, H, W).
    """
    N, C, H, W = dx.shape
    OH, OW = H - HH + 1, W - WW + 1
    dcolumns = dcolumns.reshape(N, C, HH, WW, OH, OW)
    shifted = empty((N, C, WW, H, OW), dx.dtype)
    shifted[:, :, :, :OH] = dcolumns[:, :, 0]
    shifted[:, :, :, OH:] = 0
    for i in range(1, HH):
        shifted[:, :, :, i:i + OH] += dcolumns[:, :, i]
    for j in range(WW):
        dx[:, :, :, j:j + OW] += shifted[:, :, j]


# ---------------------------------------------------------------- max pooling

def max_pool_forward(x, pool_param):
    """Max pooling: the largest value of each window of each channel.

    Inputs:
        x: (N, C, H, W)
        pool_param: dict with the positive integers 'pool_height', 'pool_width'
            and 'stride'. Windows may overlap (stride below the size) or leave
            gaps (stride above it).
    Returns (out, cache): out is (N, C, OH, OW) with OH = 1 + (H - pool_height) // stride
    and OW = 1 + (W - pool_width) // stride; rows and columns that no whole window
    reaches are dropped, as in PyTorch. cache is (x, out, pool_param).
    Raises ValueError for unknown, missing or impossible entries of pool_param.
    """
    x = as_float_array("max_pool_forward", "x", x, ndim=4)
    pool_height, pool_width, stride = _pool_sizes(pool_param, x.shape[2:])
    views = _pool_views(x, pool_height, pool_width, stride)
    first = next(views)
    out = empty(first.shape, x.dtype)
    np.copyto(out, first)
    for view in views:
        np.maximum(out, view, out=out)
    return out, (x, out, dict(pool_param))


def max_pool_backward(dout, cache):
    """Gradient of max pooling: each window's dout goes to its maximum.

    Inputs: dout (N, C, OH, OW); cache from max_pool_forward.
    Returns dx (N, C, H, W). A tie sends all of its gradient to the first maximum
    in row-major order, as in PyTorch; overlapping windows add up.
    Derived in docs/derivations.md, "Max pooling".
    """
    x, out, pool_param = as_cache(
        "max_pool_backward", cache, "NCHW", "NCPQ", dict, fits=lambda x, out, pool_param:
        out.shape == next(_pool_views(x, *_pool_sizes(pool_param, x.shape[2:]))).shape)
    dout = as_upstream_gradient("max_pool_backward", dout, out.shape)
    pool_height, pool_width, stride = _pool_sizes(pool_param, x.shape[2:])
    dx = empty(x.shape, dout.dtype)
    views = list(zip(_pool_views(x, pool_height, pool_width, stride),
                     _pool_views(dx, pool_height, pool_width, stride)))
    overlap = stride < max(pool_height, pool_width)
    if overlap or dx.size > out.size * len(views):
        dx.fill(0)                              # else every pixel is in one window and written
    any_nan = np.isnan(out).any()
    unpaid = np.ones(out.shape, dtype=bool)
    for place, (view, dx_view) in enumerate(views, start=1):
        if place < len(views):
            winner = view == out
            if any_nan:
                winner |= np.isnan(view)
            winner &= unpaid
            unpaid ^= winner
        else:
            winner = unpaid
        # out = x at the winner  ⇒  dx = dout there, and 0 elsewhere
        if overlap:
            dx_view += keep_where(winner, dout)
        else:
            keep_where(winner, dout, out=dx_view)
    return dx


def _pool_sizes(pool_param, image_size):
    """(pool_height, pool_width, stride), checked against (H, W)."""
    names = ("pool_height", "pool_width", "stride")
    if not isinstance(pool_param, dict) or set(pool_param) != set(names):
        raise ValueError(f"max_pool_forward: pool_param expects a dict with the keys "
                         f"{', '.join(names)}, got {pool_param!r}")
    for name in names:
        value = pool_param[name]
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"max_pool_forward: pool_param[{name!r}] expects a positive "
                             f"integer, got {value!r}")
    pool_height, pool_width, stride = (int(pool_param[name]) for name in names)
    if pool_height > image_size[0] or pool_width > image_size[1]:
        raise ValueError(f"max_pool_forward: pool_param expects a window no larger than the "
                         f"images of {image_size[0]}x{image_size[1]}, "
                         f"got {pool_height}x{pool_width}")
    return pool_height, pool_width, stride


def _pool_views(x, pool_height, pool_width, stride):
    """For each place in the window, row by row, a view of x: that place in all windows."""
    height, width = x.shape[2:]
    for i in range(pool_height):
        for j in range(pool_width):
            yield x[:, :, i:height - pool_height + i + 1:stride,
                    j:width - pool_width + j + 1:stride]


# ---------------------------------------------------------------- loss

def softmax_loss(x, y):
    """Softmax and cross-entropy, averaged over the batch.

        loss = -1/N Σ_n log p[n, y_n],   p[n] = softmax(x[n])

    Inputs:
        x: (N, C) scores
        y: (N,) integer labels, 0 <= y < C
    Returns (loss, dx): loss is a scalar of x's dtype, dx is (N, C).
    Raises ValueError for labels that are not integers or out of range.
    Derived in docs/derivations.md, "Softmax and cross-entropy".
    """
    x = as_float_array("softmax_loss", "x", x, ndim=2)
    N, C = x.shape
    y = as_indices("softmax_loss", "y", y, (N,), C)
    rows = np.arange(N)
    # log p = x - log Σ_c exp x_c. Taking the row's maximum m off first changes
    # nothing, since log Σ exp(x_c) = m + log Σ exp(x_c - m), and overflows never.
    log_p = x - x.max(axis=1, keepdims=True)
    log_p -= np.log(total(np.exp(log_p), axis=1, keepdims=True))
    loss = -log_p[rows, y].mean()
    # dL/dx_nc = (p_nc - [c = y_n]) / N
    dx = np.exp(log_p)
    dx[rows, y] -= 1
    dx *= 1 / N
    return loss, dx


# ---------------------------------------------------------------- sums

def total(x, axis=None, keepdims=False):
    """x.sum(axis), in x's dtype; float16 is added up in float32.

    In float16 itself 2048 + 1 is 2048, so that a long sum would stop growing.
    """
    dtype = np.result_type(x, np.float32)
    return x.sum(axis, dtype=dtype, keepdims=keepdims).astype(x.dtype, copy=False)


# ---------------------------------------------------------------- memory

def empty(shape, dtype):
    """np.empty(shape, dtype), but large arrays reuse memory that nobody refers to any more.

    A fresh array of several MB costs more in page faults than a layer's arithmetic,
    because the allocator hands the memory back to the system each time. An array
    from here gives its block back when it and all its views are gone, which
    Python tells by a weak reference: a result that is held stays untouched.
    Safe for threads: the deque's own operations are atomic.
    """
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    if not _SMALLEST_BLOCK <= size <= _LARGEST_BLOCK:
        return np.empty(shape, dtype)
    block, offset = _free_block(size)
    # A view refers to the first array in its chain of bases whose own base is not an array:
    # that is this one, since its base is a bytearray, and so all views keep it alive.
    array = np.ndarray(shape, dtype, buffer=block, offset=offset)
    _references[id(array)] = weakref.ref(array, _Return(id(array), (block, offset)))
    return array


def zeros(shape, dtype):
    """np.zeros(shape, dtype), in memory from empty()."""
    array = empty(shape, dtype)
    array.fill(0)
    return array


def multiply(a, b):
    """The matrix product a·b of two matrices, in memory from empty()."""
    return np.matmul(a, b, out=empty((a.shape[0], b.shape[1]), np.result_type(a, b)))


_SMALLEST_BLOCK = 64 * 1024
_LARGEST_BLOCK = 16 * 1024 * 1024
_ALIGNMENT = 64                                 # a cache line, and the widest vector register
_free_blocks = collections.deque(maxlen=16)     # the oldest goes when a 17th comes
_references = {}                                # weak references act only while they are kept


class _Return:
    """Called when an array has died: its block is free again."""

    def __init__(self, key, block):
        self.key, self.block = key, block

    def __call__(self, reference):
        # Another array may have the same id by now, but not while this one is listed.
        _references.pop(self.key, None)
        _free_blocks.append(self.block)


def _free_block(size):
    """(block, offset) of so many bytes from the offset on, from the free ones if one fits."""
    for _ in range(len(_free_blocks)):
        try:
            block, offset = _free_blocks.popleft()
        except IndexError:                      # another thread was faster
            break
        if len(block) == size + _ALIGNMENT:
            return block, offset
        _free_blocks.append((block, offset))
    block = bytearray(size + _ALIGNMENT)
    address = np.frombuffer(block, np.uint8).__array_interface__["data"][0]
    return block, -address % _ALIGNMENT


# ---------------------------------------------------------------- what models share

def checked_sizes(model, **sizes):
    """The named sizes of a model as a list of Python integers, which do not overflow.

    Raises ValueError unless each is a positive integer.
    """
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 1:
            raise ValueError(f"{model}: {name} expects a positive integer, got {size!r}")
    return [int(size) for size in sizes.values()]


def check_options(model, reg, dtype):
    """(reg, dtype) of a model as a float and a numpy.dtype, or ValueError."""
    if not is_number(reg, least=0):
        raise ValueError(f"{model}: reg expects a number of at least 0, got {reg!r}")
    try:
        known = np.dtype(dtype)
    except (TypeError, ValueError):
        known = None
    if dtype is None or known is None or known.kind != "f":
        raise ValueError(f"{model}: dtype expects float16, float32 or float64, got {dtype!r}")
    return float(reg), known


def is_number(value, least=-sys.float_info.max):
    """Whether this is a finite real number of at least so much; True and False are none."""
    value = value.item() if isinstance(value, np.generic) else value
    return isinstance(value, (int, float)) and not isinstance(value, bool) and \
        least <= value <= sys.float_info.max


def random_generator(model, rng):
    """The numpy.random.Generator that `rng`, such a generator or a seed, stands for, or ValueError."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError):
        raise ValueError(f"{model}: rng expects a numpy.random.Generator, an integer of at least 0 "
                         f"or None, got {rng!r}") from None


def initial_weights(rng, shape, inputs, weight_scale, dtype):
    """Normal random weights; their standard deviation is weight_scale, or √(2 / inputs) for None.

    √(2 / inputs) keeps the size of the activations from one ReLU layer to the
    next (He et al., "Delving deep into rectifiers", 2015). Raises ValueError for a
    scale that is no number of at least 0 and for more weights than can be addressed.
    """
    if weight_scale is not None and not is_number(weight_scale, least=0):
        raise ValueError(f"weights: weight_scale expects None or a number of at least 0, "
                         f"got {weight_scale!r}")
    if math.prod(map(int, shape)) > np.iinfo(np.intp).max // 8:
        raise ValueError(f"weights: the sizes of the model ask for an array of shape {shape}, "
                         "which no memory holds")
    scale = np.sqrt(2 / inputs) if weight_scale is None else weight_scale
    return (scale * rng.standard_normal(shape)).astype(dtype)


# ---------------------------------------------------------------- arguments

def as_float_array(function, name, value, ndim=None):
    """`value` as a floating-point array, not copied if it is one already.

    Integers and booleans become float64. Raises ValueError, in the name of
    `function` and its argument `name`, for anything else that is not real
    numbers, for a rank other than `ndim` and for an array without elements.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(f"{function}: {name} is a masked array, whose mask would be ignored: "
                         "fill it first")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{function}: {name} is not an array of numbers: {error}") from None
    if array.dtype.kind in "biu":
        array = array.astype(np.float64)
    if array.dtype.kind != "f":
        raise ValueError(f"{function}: {name} expects real numbers, got dtype {array.dtype}")
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{function}: {name} expects {ndim} axes, got shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{function}: {name} is empty: its shape is {array.shape}")
    return array


def as_upstream_gradient(function, dout, shape, name="dout"):
    """`dout` as a floating-point array of just this shape, or ValueError."""
    dout = as_float_array(function, name, dout)
    if dout.shape != shape:
        raise ValueError(f"{function}: {name} expects the shape of the output, {shape}, "
                         f"got {dout.shape}")
    return dout


def as_cache(function, cache, *parts, fits=lambda *values: True):
    """`cache` if it is what a forward pass returns, else ValueError.

    `parts` says of each part what it is: a type, or for an array of floating-point numbers a
    letter for each axis; axes of one letter are as long as each other, and "..." at the end
    stands for any further ones. `fits(*values)` says what letters cannot.
    """
    sizes = {}

    def is_(value, part):
        if isinstance(part, type):
            return isinstance(value, part)
        letters = part.removesuffix("...")
        return isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray) \
            and value.dtype.kind == "f" and value.size > 0 \
            and (value.ndim == len(letters) or value.ndim > len(letters) < len(part)) \
            and all(sizes.setdefault(letter, size) == size
                    for letter, size in zip(letters, value.shape))

    if not isinstance(cache, tuple) or len(cache) != len(parts) \
            or not all(map(is_, cache, parts)) or not fits(*cache):
        raise ValueError(f"{function}: cache expects what the forward pass of this layer returned, "
                         f"got {_described(cache)}")
    return cache


def _described(value):
    """Type and shape of an array, the same of each part of a tuple, else the type."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_described, value))})"
    if isinstance(value, np.ndarray):
        return f"{type(value).__name__} {value.dtype} {value.shape}"
    return type(value).__name__


def as_indices(function, name, value, shape, upper):
    """`value` as an array of indices of this shape with 0 <= value < upper, or ValueError.

    A shape of None stands for any that is not empty.
    NumPy alone would take -1 for the last entry without a word.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(f"{function}: {name} is a masked array, whose mask would be ignored: "
                         "fill it first")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{function}: {name} is not an array of integers: {error}") from None
    if array.dtype.kind not in "iu":
        raise ValueError(f"{function}: {name} expects integers, got dtype {array.dtype}")
    if array.size == 0:
        raise ValueError(f"{function}: {name} is empty: its shape is {array.shape}")
    if shape is not None and array.shape != shape:
        raise ValueError(f"{function}: {name} expects shape {shape}, got {array.shape}")
    outside = (array < 0) | (array >= upper)
    if outside.any():
        place = tuple(int(i) for i in np.argwhere(outside)[0])
        raise ValueError(f"{function}: {name} expects 0 to {upper - 1}, "
                         f"got {array[place]} at index {place if len(place) > 1 else place[0]}")
    return array.astype(np.intp, copy=False)    # np.take has no use for unsigned ones
