"""The convolution layer against the question's definitions, written out index by index.

For an image X of H x W and a kernel K of HH x WW, with indices from 0:

    filtering          (X filt K)[i, j]  = Σ_mn X[i + m, j + n] · K[m, n]
    valid convolution  (X valid K)[i, j] = Σ_mn X[i - m + HH - 1, j - n + WW - 1] · K[m, n]
    full convolution   (X full K)[i, j]  = Σ_mn X[i - m, j - n] · K[m, n],   X = 0 outside

The first two have (H - HH + 1) x (W - WW + 1) values, the third (H + HH - 1) x (W + WW - 1).
"""
import tracemalloc

import numpy as np
import pytest

from layers import conv_backward, conv_forward

SHAPES = [((2, 3, 6, 8), (4, 3, 2, 5)), ((1, 1, 5, 4), (2, 1, 3, 2)), ((3, 2, 4, 5), (1, 2, 1, 1)),
          ((2, 1, 4, 6), (3, 1, 4, 6)), ((1, 4, 7, 3), (2, 4, 2, 3))]
both = pytest.mark.parametrize("x_shape, w_shape", SHAPES)


def at(X, i, j):
    """X[i, j], and 0 outside of X."""
    return X[i, j] if 0 <= i < X.shape[0] and 0 <= j < X.shape[1] else 0.0


def from_definition(X, K, height, width, index):
    """Σ_mn X[index(i, m, HH), index(j, n, WW)] · K[m, n] for each i, j."""
    HH, WW = K.shape
    Y = np.zeros((height, width))
    for i, j in np.ndindex(height, width):
        for m, n in np.ndindex(HH, WW):
            Y[i, j] += at(X, index(i, m, HH), index(j, n, WW)) * K[m, n]
    return Y


def filtering(X, K):
    return from_definition(X, K, X.shape[0] - K.shape[0] + 1, X.shape[1] - K.shape[1] + 1,
                           lambda i, m, size: i + m)


def valid(X, K):
    return from_definition(X, K, X.shape[0] - K.shape[0] + 1, X.shape[1] - K.shape[1] + 1,
                           lambda i, m, size: i - m + size - 1)


def full(X, K):
    return from_definition(X, K, X.shape[0] + K.shape[0] - 1, X.shape[1] + K.shape[1] - 1,
                           lambda i, m, size: i - m)


def flipped(K):
    return K[::-1, ::-1]


def case(x_shape, w_shape):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(x_shape), rng.standard_normal(w_shape)
    out, cache = conv_forward(x, w)
    return x, w, out, rng.standard_normal(out.shape), cache


@both
def test_forward_is_filtering_summed_over_channels(x_shape, w_shape):
    x, w, out, _, _ = case(x_shape, w_shape)
    for n, f in np.ndindex(out.shape[:2]):
        expected = sum(filtering(x[n, c], w[f, c]) for c in range(x.shape[1]))
        np.testing.assert_allclose(out[n, f], expected, atol=1e-12)


@both
def test_forward_is_valid_convolution_with_the_flipped_kernel(x_shape, w_shape):
    x, w, out, _, _ = case(x_shape, w_shape)
    for n, f in np.ndindex(out.shape[:2]):
        expected = sum(valid(x[n, c], flipped(w[f, c])) for c in range(x.shape[1]))
        np.testing.assert_allclose(out[n, f], expected, atol=1e-12)


@both
def test_dx_is_the_full_convolution_of_dout_and_the_kernel(x_shape, w_shape):
    x, w, _, dout, cache = case(x_shape, w_shape)
    dx, _ = conv_backward(dout, cache)
    for n, c in np.ndindex(x.shape[:2]):
        expected = sum(full(dout[n, f], w[f, c]) for f in range(len(w)))
        np.testing.assert_allclose(dx[n, c], expected, atol=1e-12)


@both
def test_dx_is_padded_dout_filtered_with_the_flipped_kernel(x_shape, w_shape):
    x, w, _, dout, cache = case(x_shape, w_shape)
    dx, _ = conv_backward(dout, cache)
    HH, WW = w.shape[2:]
    padded = np.pad(dout, ((0, 0), (0, 0), (HH - 1, HH - 1), (WW - 1, WW - 1)))
    for n, c in np.ndindex(x.shape[:2]):
        expected = sum(filtering(padded[n, f], flipped(w[f, c])) for f in range(len(w)))
        np.testing.assert_allclose(dx[n, c], expected, atol=1e-12)


@both
def test_dw_is_x_filtered_with_dout_summed_over_the_batch(x_shape, w_shape):
    x, w, _, dout, cache = case(x_shape, w_shape)
    _, dw = conv_backward(dout, cache)
    for f, c in np.ndindex(w.shape[:2]):
        expected = sum(filtering(x[n, c], dout[n, f]) for n in range(len(x)))
        np.testing.assert_allclose(dw[f, c], expected, atol=1e-12)


@both
@pytest.mark.parametrize("stride", [(2, 3), (3, 1)])
@pytest.mark.parametrize("pad", [(0, 0), (1, 2)])
def test_stride_and_pad_are_a_filtering_of_the_padded_image_at_every_so_many_places(
        x_shape, w_shape, stride, pad):
    rng = np.random.default_rng(2)
    x, w, b = (rng.standard_normal(shape) for shape in (x_shape, w_shape, w_shape[:1]))
    out, cache = conv_forward(x, w, b, {"stride": stride, "pad": pad})
    padded = np.pad(x, ((0, 0), (0, 0), *((size, size) for size in pad)))
    plain, plain_cache = conv_forward(padded, w)
    np.testing.assert_allclose(out, plain[:, :, ::stride[0], ::stride[1]] + b[:, None, None],
                               atol=1e-12)
    dout = rng.standard_normal(out.shape)
    dilated = np.zeros(plain.shape)             # the places that are left out have no gradient
    dilated[:, :, ::stride[0], ::stride[1]] = dout
    dpadded, expected_dw = conv_backward(dilated, plain_cache)
    dx, dw, db = conv_backward(dout, cache)
    H, W = x_shape[2:]
    np.testing.assert_allclose(dx, dpadded[:, :, pad[0]:pad[0] + H, pad[1]:pad[1] + W], atol=1e-12)
    np.testing.assert_allclose(dw, expected_dw, atol=1e-12)
    np.testing.assert_allclose(db, dout.sum(axis=(0, 2, 3)), atol=1e-12)


@pytest.mark.parametrize("pad", [(1, 0), (0, 1), (2, 2)])
def test_padding_is_zero_whatever_the_memory_held(pad, monkeypatch):
    rng = np.random.default_rng(3)
    x, w = rng.standard_normal((3, 2, 5, 6)), rng.standard_normal((4, 2, 3, 2))
    expected, _ = conv_forward(np.pad(x, ((0, 0), (0, 0), *((size, size) for size in pad))), w)
    monkeypatch.setattr(np, "empty", lambda shape, dtype: np.full(shape, np.nan, dtype))
    out, cache = conv_forward(x, w, None, {"stride": 1, "pad": pad})
    np.testing.assert_allclose(out, expected, atol=1e-12)
    assert np.isfinite(conv_backward(out, cache)[1]).all()


def test_a_size_that_the_stride_does_not_divide_is_floored():
    """Size 7, stride 3 and pad 2: floor((W + 2·2 - 7) / 3) + 1 outputs, whatever is left over."""
    for W, outputs in ((7, 2), (8, 2), (9, 3), (10, 3), (11, 3), (12, 4)):
        x, w = np.ones((1, 1, W, W)), np.ones((1, 1, 7, 7))
        out, cache = conv_forward(x, w, None, {"stride": 3, "pad": 2})
        assert out.shape == (1, 1, outputs, outputs)
        assert out[0, 0, 0, 0] == 25 and conv_backward(out, cache)[0].shape == x.shape
    # The last windows begin at -2, 1, 4 and 7: the first and the last see five rows of the image.
    assert out[0, 0, 1, 1] == 49 and out[0, 0, -1, -1] == 25


def test_the_definitions_differ_where_they_should():
    """A kernel of one 1 in a corner tells them apart: it shifts the image, each its own way."""
    X = np.arange(12.0).reshape(3, 4)
    K = np.array([[1.0, 0], [0, 0]])
    np.testing.assert_array_equal(filtering(X, K), X[:-1, :-1])
    np.testing.assert_array_equal(valid(X, K), X[1:, 1:])
    np.testing.assert_array_equal(full(X, K), np.pad(X, ((0, 1), (0, 1))))


# Other values of b and conv_param than a call with x and w alone has.
OPTIONS = [(), (None, {"stride": 1, "pad": 1}), (np.arange(3.0), {"stride": 2, "pad": 0}),
           (np.arange(3.0), {"stride": (2, 3), "pad": (5, 1)})]
with_options = pytest.mark.parametrize("options", OPTIONS, ids=str)


@with_options
@pytest.mark.parametrize("N, size", [(1, 40), (3, 40), (40, 9)])
def test_blocks_of_any_size_give_the_same(monkeypatch, N, size, options):
    """From one image at a time to the whole batch at once."""
    rng = np.random.default_rng(1)
    x, w = rng.standard_normal((N, 2, size, size + 1)), rng.standard_normal((3, 2, 4, 3))
    expected = None
    for block_bytes in (1, 5_000, 50_000, 10 ** 9):
        monkeypatch.setattr("layers._BLOCK_BYTES", block_bytes)
        out, cache = conv_forward(x, w, *options)
        results = [out, *conv_backward(out, cache)[:2 if not options or options[0] is None else 3]]
        expected = expected or results
        for actual, right in zip(results, expected):
            np.testing.assert_allclose(actual, right, atol=1e-10)


@pytest.mark.parametrize("options", [(), (np.float32([1] * 8), {"stride": 1, "pad": 2}),
                                     (None, {"stride": 3, "pad": 1})], ids=str)
@pytest.mark.parametrize("N", [20, 400])
def test_extra_memory_does_not_grow_with_the_batch(N, options):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, 4, 28, 28)).astype(np.float32)
    w = rng.standard_normal((8, 4, 5, 5)).astype(np.float32)
    tracemalloc.start()
    try:
        out, cache = conv_forward(x, w, *options)
        dx, dw, *_ = conv_backward(out, cache)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - out.nbytes - dx.nbytes - dw.nbytes < 8e6
