"""The layers against PyTorch, against numerical gradients, and against bad input."""
import functools

import numpy as np
import pytest

import layers
import torch_oracle as oracle

# (x, further inputs...) shapes in which no two axes are equal, and the edges.
FC_SHAPES = [((5, 7), 3), ((2, 3, 4, 5), 6), ((1, 9), 4), ((6, 1), 2), ((3, 8), 1), ((1, 1), 1)]
CONV_SHAPES = [((2, 3, 7, 9), (4, 3, 5, 6)), ((1, 1, 6, 8), (2, 1, 3, 4)),
               ((3, 2, 5, 7), (4, 2, 1, 1)), ((2, 5, 6, 4), (3, 5, 6, 4)),
               ((4, 1, 9, 5), (1, 1, 2, 3)), ((1, 6, 10, 11), (5, 6, 4, 2)),
               ((7, 2, 3, 8), (6, 2, 3, 1)), ((1, 1, 1, 1), (1, 1, 1, 1))]
POOL_CASES = [((2, 3, 6, 8), (2, 2, 2)), ((1, 1, 7, 9), (2, 2, 2)), ((3, 2, 7, 10), (3, 2, 1)),
              ((2, 4, 9, 11), (2, 3, 4)), ((1, 5, 8, 6), (3, 3, 2)), ((4, 1, 5, 7), (5, 7, 1)),
              ((2, 3, 5, 4), (1, 1, 1)), ((3, 2, 11, 6), (1, 4, 3))]
TOLERANCE = {np.float64: 1e-10, np.float32: 2e-5}
both_dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def pool_param(pool_height, pool_width, stride):
    return {"pool_height": pool_height, "pool_width": pool_width, "stride": stride}


def normal(rng, shape, dtype=np.float64):
    return rng.standard_normal(shape).astype(dtype)


def assert_matches(actual, expected, dtype):
    """Equal to the tolerance of the dtype, relative to the largest number expected."""
    assert actual.dtype == dtype and actual.shape == expected.shape
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


def assert_layer_matches(forward, backward, twin, inputs, dtype, rng):
    """Output and all gradients equal the torch twin's, for a random upstream gradient."""
    out, cache = forward(*inputs)
    dout = normal(rng, out.shape, dtype)
    expected_out, expected_gradients = oracle.gradients(twin, inputs, dout)
    assert_matches(out, expected_out, dtype)
    actual = backward(dout, cache)
    actual = actual if isinstance(actual, tuple) else (actual,)
    assert len(actual) == len(inputs)
    for gradient, expected in zip(actual, expected_gradients):
        assert_matches(gradient, expected, dtype)


def distinct(rng, shape, dtype=np.float64):
    """Random numbers without ties and far from 0, so that no kink is near."""
    values = rng.permutation(np.prod(shape)).reshape(shape) - np.prod(shape) / 2 + 0.25
    return (values / np.sqrt(values.size)).astype(dtype)


# ---------------------------------------------------------------- against PyTorch

@both_dtypes
@pytest.mark.parametrize("x_shape, M", FC_SHAPES)
def test_fc_matches_torch(x_shape, M, dtype):
    rng = np.random.default_rng(0)
    D = int(np.prod(x_shape[1:]))
    inputs = normal(rng, x_shape, dtype), normal(rng, (D, M), dtype), normal(rng, M, dtype)
    assert_layer_matches(layers.fc_forward, layers.fc_backward, oracle.fc, inputs, dtype, rng)


@both_dtypes
@pytest.mark.parametrize("shape", [(4, 5), (1,), (3, 1, 2), (2, 3, 4, 5)])
def test_relu_matches_torch(shape, dtype):
    rng = np.random.default_rng(1)
    x = normal(rng, shape, dtype)
    x.flat[0] = 0
    assert_layer_matches(layers.relu_forward, layers.relu_backward, oracle.relu, (x,), dtype, rng)


@both_dtypes
@pytest.mark.parametrize("x_shape, w_shape", CONV_SHAPES)
def test_conv_matches_torch(x_shape, w_shape, dtype):
    rng = np.random.default_rng(2)
    inputs = normal(rng, x_shape, dtype), normal(rng, w_shape, dtype)
    assert_layer_matches(layers.conv_forward, layers.conv_backward, oracle.conv, inputs, dtype, rng)


@both_dtypes
@pytest.mark.parametrize("shape, sizes", POOL_CASES)
@pytest.mark.parametrize("make", [normal, distinct, lambda rng, shape, dtype:
                                  rng.integers(-1, 2, shape).astype(dtype)],
                         ids=["normal", "distinct", "ties"])
def test_max_pool_matches_torch(shape, sizes, make, dtype):
    rng = np.random.default_rng(3)
    param = pool_param(*sizes)
    assert_layer_matches(lambda x: layers.max_pool_forward(x, param), layers.max_pool_backward,
                         oracle.max_pool(param), (make(rng, shape, dtype),), dtype, rng)


@both_dtypes
@pytest.mark.parametrize("N, C", [(5, 7), (1, 4), (8, 1), (3, 300)])
@pytest.mark.parametrize("scale", [1, 1e4])
def test_softmax_loss_matches_torch(N, C, scale, dtype):
    rng = np.random.default_rng(4)
    x, y = normal(rng, (N, C), dtype) * dtype(scale), rng.integers(0, C, N)
    loss, dx = layers.softmax_loss(x, y)
    expected_loss, expected_dx = oracle.softmax_loss(x, y)
    assert loss == pytest.approx(expected_loss, rel=TOLERANCE[dtype], abs=TOLERANCE[dtype])
    assert_matches(dx, expected_dx, dtype)


def random_case(rng):
    """A random layer with random sizes: (forward, backward, twin, input shapes)."""
    def size(limit):
        return int(rng.integers(1, limit + 1))

    kind = rng.choice(["fc", "relu", "conv", "max_pool"])
    if kind == "fc":
        features = tuple(size(5) for _ in range(size(3)))
        M = size(8)
        return (layers.fc_forward, layers.fc_backward, oracle.fc,
                [(size(6), *features), (int(np.prod(features)), M), (M,)])
    if kind == "relu":
        return (layers.relu_forward, layers.relu_backward, oracle.relu,
                [tuple(size(6) for _ in range(size(4)))])
    N, C, H, W = size(4), size(5), size(12), size(12)
    if kind == "conv":
        return (layers.conv_forward, layers.conv_backward, oracle.conv,
                [(N, C, H, W), (size(6), C, size(H), size(W))])
    param = pool_param(size(H), size(W), size(4))
    return (lambda x: layers.max_pool_forward(x, param), layers.max_pool_backward,
            oracle.max_pool(param), [(N, C, H, W)])


def compare_random_cases(seed, count):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        dtype = [np.float64, np.float32][rng.integers(2)]
        forward, backward, twin, shapes = random_case(rng)
        inputs = tuple(normal(rng, shape, dtype) for shape in shapes)
        assert_layer_matches(forward, backward, twin, inputs, dtype, rng)


def test_random_configurations_match_torch():
    compare_random_cases(seed=5, count=300)


@pytest.mark.slow
def test_many_random_configurations_match_torch():
    compare_random_cases(seed=6, count=4000)


# ---------------------------------------------------------------- against the definition of a derivative

def numerical_gradient(function, x, dout, step=1e-6):
    """Central differences of Σ dout·function(x) at every coordinate of x."""
    gradient = np.empty_like(x)
    for place in np.ndindex(x.shape):
        shifted = x.copy()
        shifted[place] = x[place] + step
        above = np.sum(dout * function(shifted))
        shifted[place] = x[place] - step
        below = np.sum(dout * function(shifted))
        gradient[place] = (above - below) / (2 * step)
    return gradient


NUMERICAL_CASES = {
    "fc": (layers.fc_forward, layers.fc_backward, [(2, 3, 5), (15, 4), (4,)]),
    "relu": (layers.relu_forward, layers.relu_backward, [(3, 4)]),
    "conv": (layers.conv_forward, layers.conv_backward, [(2, 3, 5, 4), (4, 3, 2, 3)]),
    "max_pool": (lambda x: layers.max_pool_forward(x, pool_param(3, 2, 1)),
                 layers.max_pool_backward, [(2, 3, 5, 4)]),
}


@pytest.mark.parametrize("name", NUMERICAL_CASES)
def test_gradients_match_differences(name):
    forward, backward, shapes = NUMERICAL_CASES[name]
    rng = np.random.default_rng(7)
    inputs = [distinct(rng, shape) for shape in shapes]
    out, cache = forward(*inputs)
    dout = normal(rng, out.shape)
    actual = backward(dout, cache)
    actual = actual if isinstance(actual, tuple) else (actual,)
    for place, gradient in enumerate(actual):
        def of_one_input(value):
            return forward(*inputs[:place], value, *inputs[place + 1:])[0]
        np.testing.assert_allclose(
            gradient, numerical_gradient(of_one_input, inputs[place], dout), atol=1e-6)


def test_softmax_gradient_matches_differences():
    rng = np.random.default_rng(8)
    x, y = normal(rng, (4, 6)), rng.integers(0, 6, 4)
    expected = numerical_gradient(lambda scores: layers.softmax_loss(scores, y)[0], x, 1.0)
    np.testing.assert_allclose(layers.softmax_loss(x, y)[1], expected, atol=1e-8)


# ---------------------------------------------------------------- contracts

LAYERS = {
    "fc": (layers.fc_forward, layers.fc_backward, [(3, 2, 5), (10, 4), (4,)]),
    "relu": (layers.relu_forward, layers.relu_backward, [(3, 4, 5)]),
    "conv": (layers.conv_forward, layers.conv_backward, [(2, 3, 6, 7), (4, 3, 2, 3)]),
    "max_pool": (lambda x: layers.max_pool_forward(x, pool_param(2, 2, 2)),
                 layers.max_pool_backward, [(2, 3, 6, 7)]),
    "overlapping max_pool": (lambda x: layers.max_pool_forward(x, pool_param(3, 2, 1)),
                             layers.max_pool_backward, [(2, 3, 6, 7)]),
}
all_layers = pytest.mark.parametrize("name", LAYERS)


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


def flat_arrays(cache):
    """All arrays in a cache, however it is nested."""
    if isinstance(cache, np.ndarray):
        return [cache]
    if isinstance(cache, dict):
        return flat_arrays(list(cache.values()))
    if isinstance(cache, (tuple, list)):
        return [array for part in cache for array in flat_arrays(part)]
    return []


@all_layers
def test_nothing_is_changed_and_twice_is_the_same(name):
    forward, backward, shapes = LAYERS[name]
    rng = np.random.default_rng(9)
    inputs = [normal(rng, shape) for shape in shapes]
    for value in inputs:
        value.flags.writeable = False
    originals = [value.copy() for value in inputs]
    out, cache = forward(*inputs)
    dout = normal(rng, out.shape)
    dout_original = dout.copy()
    kept = [array.copy() for array in flat_arrays(cache)]
    first, second = as_tuple(backward(dout, cache)), as_tuple(backward(dout, cache))
    for value, original in zip([*inputs, dout], [*originals, dout_original]):
        np.testing.assert_array_equal(value, original)
    for array, original in zip(flat_arrays(cache), kept, strict=True):
        np.testing.assert_array_equal(array, original)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.shares_memory(a, b)
        assert not any(np.shares_memory(a, other) for other in [*inputs, dout])


@all_layers
def test_strides_do_not_matter(name):
    forward, backward, shapes = LAYERS[name]
    rng = np.random.default_rng(10)
    inputs = [normal(rng, shape) for shape in shapes]
    out, cache = forward(*inputs)
    dout = normal(rng, out.shape)
    expected = [out, *as_tuple(backward(dout, cache))]

    def every_second(value):
        wide = np.zeros((*value.shape[:-1], 2 * value.shape[-1]))
        wide[..., ::2] = value
        return wide[..., ::2]

    for restride in (np.asfortranarray, every_second, lambda value: value[::-1].copy()[::-1]):
        out, cache = forward(*map(restride, inputs))
        actual = [out, *as_tuple(backward(restride(dout), cache))]
        for a, b in zip(actual, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@all_layers
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtype_is_kept(name, dtype):
    forward, backward, shapes = LAYERS[name]
    rng = np.random.default_rng(11)
    out, cache = forward(*[normal(rng, shape, dtype) for shape in shapes])
    gradients = as_tuple(backward(normal(rng, out.shape, dtype), cache))
    assert [value.dtype for value in (out, *gradients)] == [dtype] * (1 + len(gradients))


def test_softmax_loss_keeps_the_dtype_and_changes_nothing():
    rng = np.random.default_rng(12)
    for dtype in (np.float16, np.float32, np.float64):
        x, y = normal(rng, (4, 5), dtype), rng.integers(0, 5, 4)
        x_original, y_original = x.copy(), y.copy()
        loss, dx = layers.softmax_loss(x, y)
        assert dx.dtype == dtype and loss.dtype == dtype
        np.testing.assert_array_equal(x, x_original)
        np.testing.assert_array_equal(y, y_original)


def test_softmax_loss_of_more_samples_than_float16_can_count():
    N = 70_000                                 # the largest float16 is 65,504
    loss, dx = layers.softmax_loss(np.zeros((N, 2), np.float16), np.zeros(N, int))
    assert loss == pytest.approx(np.log(2), rel=1e-3)
    np.testing.assert_allclose(dx[:, 0], -0.5 / N, rtol=0.05)


def test_float16_sums_go_on_beyond_2048():
    ones = functools.partial(np.ones, dtype=np.float16)
    _, dw, db = layers.fc_backward(ones((10_000, 2)), (ones((10_000, 3)), ones((2, 3)).T))
    assert (db == 10_000).all() and (dw == 10_000).all()
    _, dw = layers.conv_backward(ones((5000, 1, 2, 2)), (ones((5000, 1, 4, 4)), ones((1, 1, 3, 3))))
    assert (dw == 20_000).all() and dw.dtype == np.float16
    assert layers.softmax_loss(np.zeros((2, 9_000), np.float16), [0, 1])[0] == \
        pytest.approx(np.log(9_000), rel=1e-3)


@all_layers
def test_integers_and_lists_count_as_float64(name):
    forward, backward, shapes = LAYERS[name]
    rng = np.random.default_rng(13)
    inputs = [rng.integers(-9, 9, shape) for shape in shapes]
    expected_out, expected_cache = forward(*[value.astype(np.float64) for value in inputs])
    out, cache = forward(*[value.tolist() for value in inputs])
    np.testing.assert_array_equal(out, expected_out)
    dout = rng.integers(-9, 9, out.shape)
    for a, b in zip(as_tuple(backward(dout.tolist(), cache)),
                    as_tuple(backward(dout.astype(np.float64), expected_cache)), strict=True):
        np.testing.assert_array_equal(a, b)


@all_layers
def test_backward_is_linear_in_dout(name):
    forward, backward, shapes = LAYERS[name]
    rng = np.random.default_rng(14)
    out, cache = forward(*[normal(rng, shape) for shape in shapes])
    a, b = normal(rng, out.shape), normal(rng, out.shape)
    for of_sum, of_a, of_b in zip(*(as_tuple(backward(d, cache)) for d in (2 * a - b, a, b))):
        np.testing.assert_allclose(of_sum, 2 * of_a - of_b, atol=1e-12)


def test_first_layers_may_skip_dx():
    rng = np.random.default_rng(15)
    for name in ("fc", "conv"):
        forward, backward, shapes = LAYERS[name]
        out, cache = forward(*[normal(rng, shape) for shape in shapes])
        dout = normal(rng, out.shape)
        _, *expected = backward(dout, cache)
        dx, *actual = backward(dout, cache, needs_dx=False)
        assert dx is None
        for a, b in zip(actual, expected, strict=True):
            np.testing.assert_array_equal(a, b)


# ---------------------------------------------------------------- NaN, infinity, kinks

def test_nan_propagates():
    nan = np.nan
    x = np.array([[1.0, nan, -2.0]])
    np.testing.assert_array_equal(layers.relu_forward(x)[0], [[1, nan, 0]])
    np.testing.assert_array_equal(layers.relu_backward(np.array([[nan, 5.0, 6.0]]), x),
                                  [[nan, 5, 0]])
    assert np.isnan(layers.fc_forward(x, np.ones((3, 2)), np.zeros(2))[0]).all()
    image = np.zeros((1, 1, 4, 4))
    image[0, 0, 1, 1] = nan
    out, cache = layers.max_pool_forward(image, pool_param(2, 2, 2))
    np.testing.assert_array_equal(np.isnan(out[0, 0]), [[True, False], [False, False]])
    dx = layers.max_pool_backward(np.ones((1, 1, 2, 2)), cache)
    np.testing.assert_array_equal(dx[0, 0], [[0, 0, 1, 0], [0, 1, 0, 0],
                                             [1, 0, 1, 0], [0, 0, 0, 0]])
    for place in range(4):                    # NaN is the largest, wherever in the window it is
        window = np.arange(4.0)
        window[place] = nan
        _, cache = layers.max_pool_forward(window.reshape(1, 1, 2, 2), pool_param(2, 2, 2))
        dx = layers.max_pool_backward(np.ones((1, 1, 1, 1)), cache)
        np.testing.assert_array_equal(dx.ravel(), np.arange(4) == place)
    assert np.isnan(layers.conv_forward(image, np.ones((1, 1, 2, 2)))[0]).sum() == 4
    loss, dx = layers.softmax_loss(np.array([[1.0, nan], [1.0, 2.0]]), np.array([0, 1]))
    assert np.isnan(loss) and np.isnan(dx[0]).all() and np.isfinite(dx[1]).all()


def test_infinite_upstream_gradients_stay_where_they_belong():
    x = np.array([-1.0, 0.0, 2.0])
    np.testing.assert_array_equal(layers.relu_backward(np.full(3, np.inf), x), [0, 0, np.inf])
    _, cache = layers.max_pool_forward(np.arange(4.0).reshape(1, 1, 2, 2), pool_param(2, 2, 2))
    dx = layers.max_pool_backward(np.full((1, 1, 1, 1), np.inf), cache)
    np.testing.assert_array_equal(dx[0, 0], [[0, 0], [0, np.inf]])


def test_a_tie_goes_to_the_first_maximum():
    _, cache = layers.max_pool_forward(np.zeros((1, 1, 3, 3)), pool_param(2, 2, 1))
    dx = layers.max_pool_backward(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), cache)
    np.testing.assert_array_equal(dx[0, 0], [[1, 2, 0], [3, 4, 0], [0, 0, 0]])


@both_dtypes
def test_softmax_loss_is_exact_for_extreme_scores(dtype):
    x = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 0]], dtype=dtype)
    assert layers.softmax_loss(x, np.array([0, 1]))[0] == 0
    loss, dx = layers.softmax_loss(x, np.array([1, 0]))
    assert loss == 2e4
    np.testing.assert_array_equal(dx, np.array([[.5, -.5, 0], [-.5, .5, 0]], dtype=dtype))


# ---------------------------------------------------------------- wrong input

A = np.ones
CONV_CACHE = layers.conv_forward(A((2, 3, 6, 7)), A((4, 3, 2, 3)))[1]
POOL_CACHE = layers.max_pool_forward(A((2, 3, 6, 7)), pool_param(2, 2, 2))[1]
WRONG_CALLS = [
    (lambda: layers.fc_forward(A(5), A((5, 2)), A(2)), "x expects 2 or more axes"),
    (lambda: layers.fc_forward(A((4, 5)), A((6, 2)), A(2)), "w expects 5 rows"),
    (lambda: layers.fc_forward(A((4, 5)), A(5), A(2)), "w expects 2 axes"),
    (lambda: layers.fc_forward(A((4, 5)), A((5, 2)), A(3)), r"b expects shape \(2,\)"),
    (lambda: layers.fc_forward(A((4, 5)), A((5, 2)), A((1, 2))), "b expects 1 axes"),
    (lambda: layers.fc_forward(A((0, 5)), A((5, 2)), A(2)), "x is empty"),
    (lambda: layers.fc_forward("text", A((5, 2)), A(2)), "x expects real numbers"),
    (lambda: layers.fc_forward(A((4, 5)) * 1j, A((5, 2)), A(2)), "x expects real numbers"),
    (lambda: layers.fc_forward([[1, 2], [3]], A((5, 2)), A(2)), "x is not an array"),
    (lambda: layers.fc_backward(A((4, 3)), (A((4, 5)), A((5, 2)))), r"dout expects .*\(4, 2\)"),
    (lambda: layers.relu_forward(np.array(["a"])), "x expects real numbers"),
    (lambda: layers.relu_forward(np.ma.masked_less(A(3), 0)), "x is a masked array"),
    (lambda: layers.relu_backward(A((2, 3)), A((3, 2))), r"dout expects .*\(3, 2\)"),
    (lambda: layers.conv_forward(A((3, 6, 7)), A((4, 3, 2, 3))), "x expects 4 axes"),
    (lambda: layers.conv_forward(A((2, 3, 6, 7)), A((4, 5, 2, 3))), "w expects 3 channels"),
    (lambda: layers.conv_forward(A((2, 3, 6, 7)), A((4, 3, 7, 3))), "w expects filters no larger"),
    (lambda: layers.conv_forward(A((2, 3, 6, 7)), A((4, 3, 3, 8))), "w expects filters no larger"),
    (lambda: layers.conv_forward(A((2, 3, 6, 7)), A((4, 3, 0, 3))), "w is empty"),
    (lambda: layers.conv_backward(A((2, 4, 6, 7)), CONV_CACHE), r"dout expects .*\(2, 4, 5, 5\)"),
    (lambda: layers.max_pool_forward(A((3, 6, 7)), pool_param(2, 2, 2)), "x expects 4 axes"),
    (lambda: layers.max_pool_forward(A((2, 3, 6, 7)), pool_param(7, 2, 2)), "window no larger"),
    (lambda: layers.max_pool_forward(A((2, 3, 6, 7)), pool_param(2, 8, 2)), "window no larger"),
    (lambda: layers.max_pool_forward(A((2, 3, 6, 7)), pool_param(2, 2, 0)), "'stride'] expects"),
    (lambda: layers.max_pool_forward(A((2, 3, 6, 7)), pool_param(2, 2.0, 2)), "'pool_width'] exp"),
    (lambda: layers.max_pool_forward(A((2, 3, 6, 7)), pool_param(True, 2, 2)), "'pool_height'] e"),
    (lambda: layers.max_pool_forward(A((2, 3, 6, 7)), {"pool_height": 2}), "with the keys"),
    (lambda: layers.max_pool_forward(A((2, 3, 6, 7)), {**pool_param(2, 2, 2), "pad": 1}),
     "with the keys"),
    (lambda: layers.max_pool_forward(A((2, 3, 6, 7)), None), "with the keys"),
    (lambda: layers.max_pool_backward(A((2, 3, 6, 7)), POOL_CACHE), r"dout .*\(2, 3, 3, 3\)"),
    (lambda: layers.softmax_loss(A((4, 3)), [0, 1, -1, 2]), "y expects 0 to 2, got -1 at index 2"),
    (lambda: layers.softmax_loss(A((4, 3)), [0, 3, 1, 2]), "y expects 0 to 2, got 3 at index 1"),
    (lambda: layers.softmax_loss(A((4, 3)), [0.0, 1, 1, 2]), "y expects integers"),
    (lambda: layers.softmax_loss(A((4, 3)), A((4, 3), int)), r"y expects shape \(4,\)"),
    (lambda: layers.softmax_loss(A((4, 3)), [0, 1, 1]), r"y expects shape \(4,\)"),
    (lambda: layers.softmax_loss(A((4, 3)), [True] * 4), "y expects integers"),
    (lambda: layers.softmax_loss(A(3), [0]), "x expects 2 axes"),
]


@pytest.mark.parametrize("call, message", WRONG_CALLS, ids=[m for _, m in WRONG_CALLS])
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert str(error.value).split(":")[0].endswith(("forward", "backward", "loss"))
