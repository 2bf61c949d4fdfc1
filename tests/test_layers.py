"""The layers against PyTorch, against numerical gradients, and against bad input.

test_rnn_layers.py runs the tests of this file on its own layers too.
"""
import collections

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import layers
import torch_oracle as oracle

# forward(*inputs) -> (out, cache) and backward(dout, cache) -> gradients, of floating-point arrays;
# twin is the same function in PyTorch. shapes lists the shapes of the inputs: first a small case in
# which no two axes are equal, then the edges.
Layer = collections.namedtuple("Layer", "forward backward twin shapes")

POOL_CASES = [((2, 3, 6, 8), (2, 2, 2)), ((1, 1, 7, 9), (2, 2, 2)), ((3, 2, 7, 10), (3, 2, 1)),
              ((2, 4, 9, 11), (2, 3, 4)), ((1, 5, 8, 6), (3, 3, 2)), ((4, 1, 5, 7), (5, 7, 1)),
              ((2, 3, 5, 4), (1, 1, 1)), ((3, 2, 11, 6), (1, 4, 3))]
# shapes of x and w, stride, pad
CONV_CASES = [((2, 3, 7, 9), (4, 3, 3, 2), 2, 1), ((2, 1, 10, 11), (3, 1, 7, 7), 3, 2),
              ((1, 2, 8, 5), (4, 2, 3, 4), (2, 1), (0, 2)), ((3, 2, 5, 6), (1, 2, 2, 1), 4, 0),
              ((2, 4, 3, 2), (3, 4, 5, 6), 1, (1, 2))]
PADDING_ALONE = [((1, 3, 4, 6), (2, 3, 1, 1), (3, 2), 3),
                 ((2, 1, 1, 1), (3, 1, 1, 2), (1, 4), (2, 3))]
TOLERANCE = {"float64": 1e-10, "float32": 2e-5}
both_dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def pool_param(pool_height, pool_width, stride):
    return {"pool_height": pool_height, "pool_width": pool_width, "stride": stride}


def conv_param(stride, pad):
    return {"stride": stride, "pad": pad}


def max_pool(sizes, shape):
    param = pool_param(*sizes)
    return Layer(lambda x: layers.max_pool_forward(x, param), layers.max_pool_backward,
                 oracle.max_pool(param), [[shape]])


def conv(stride, pad, x_shape, w_shape):
    """With a bias, stride and pad."""
    param = conv_param(stride, pad)
    return Layer(lambda x, w, b: layers.conv_forward(x, w, b, param), layers.conv_backward,
                 oracle.conv_with(param), [[x_shape, w_shape, w_shape[:1]]])


def conv_without_bias(stride, pad, x_shape, w_shape):
    param = conv_param(stride, pad)
    return Layer(lambda x, w: layers.conv_forward(x, w, conv_param=param),
                 lambda dout, cache: layers.conv_backward(dout, cache)[:2],
                 oracle.conv_with(param), [[x_shape, w_shape]])


def labels(x):
    """Random labels for scores of this shape, always the same."""
    *samples, classes = np.shape(x)
    return np.random.default_rng(0).integers(0, classes, samples)


# A loss returns its gradient at once: a layer whose cache is dx.
LAYERS = {
    "fc": Layer(layers.fc_forward, layers.fc_backward, oracle.fc, [
        [(2, 3, 4, 5), (60, 6), (6,)], [(5, 7), (7, 3), (3,)], [(1, 9), (9, 4), (4,)],
        [(6, 1), (1, 2), (2,)], [(3, 8), (8, 1), (1,)], [(1, 1), (1, 1), (1,)]]),
    "relu": Layer(layers.relu_forward, layers.relu_backward, oracle.relu, [
        [(2, 3, 4, 5)], [(4, 5)], [(1,)], [(3, 1, 2)]]),
    "conv": Layer(layers.conv_forward, layers.conv_backward, oracle.conv, [
        [(2, 3, 7, 9), (4, 3, 5, 6)], [(1, 1, 6, 8), (2, 1, 3, 4)], [(3, 2, 5, 7), (4, 2, 1, 1)],
        [(2, 5, 6, 4), (3, 5, 6, 4)], [(4, 1, 9, 5), (1, 1, 2, 3)], [(1, 6, 10, 11), (5, 6, 4, 2)],
        [(7, 2, 3, 8), (6, 2, 3, 1)], [(1, 1, 1, 1), (1, 1, 1, 1)]]),
    "softmax_loss": Layer(
        lambda x: layers.softmax_loss(x, labels(x)), lambda dout, dx: dout * dx,
        lambda x: F.cross_entropy(x, torch.tensor(labels(x))),
        [[(5, 7)], [(1, 4)], [(8, 1)], [(3, 300)]]),
    "svm_loss": Layer(
        lambda x: layers.svm_loss(x, labels(x)), lambda dout, dx: dout * dx,
        lambda x: oracle.svm_loss(labels(x))(x), [[(5, 7)], [(1, 4)], [(8, 2)], [(3, 300)]]),
    "conv with bias": Layer(layers.conv_forward, layers.conv_backward, torch.conv2d, [
        [(2, 3, 7, 9), (4, 3, 5, 6), (4,)], [(1, 1, 1, 1), (1, 1, 1, 1), (1,)]]),
    **{f"conv {w}, stride {stride}, pad {pad} of {x}": conv(stride, pad, x, w)
       for x, w, stride, pad in CONV_CASES},
    "conv with stride and pad, without bias": conv_without_bias(2, 1, (2, 3, 7, 9), (4, 3, 3, 2)),
    **{f"max_pool {sizes} of {shape}": max_pool(sizes, shape) for shape, sizes in POOL_CASES},
}


@pytest.fixture(params=LAYERS)
def layer(request):
    return LAYERS[request.param]


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


def normal(rng, shape, dtype=np.float64):
    return rng.standard_normal(shape).astype(dtype)


def zeros_and_ties(rng, shape, dtype=np.float64):
    return rng.integers(-1, 2, shape).astype(dtype)


def random_inputs(layer, rng, dtype=np.float64):
    return [normal(rng, shape, dtype) for shape in layer.shapes[0]]


# ---------------------------------------------------------------- against PyTorch

def assert_matches_torch(layer, inputs, rng):
    """Output and all gradients equal PyTorch's, relative to the largest number of each."""
    dtype = inputs[0].dtype
    out, cache = layer.forward(*inputs)
    dout = normal(rng, out.shape, dtype)
    expected_out, expected_gradients = oracle.gradients(layer.twin, inputs, dout)
    for actual, expected in zip([out, *as_tuple(layer.backward(dout, cache))],
                                [expected_out, *expected_gradients], strict=True):
        assert actual.dtype == dtype and actual.shape == expected.shape
        scale = max(1.0, np.abs(expected).max())
        np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype.name] * scale,
                                   err_msg=f"inputs {[value.shape for value in inputs]}")


@both_dtypes
@pytest.mark.parametrize("make", [normal, zeros_and_ties])
def test_output_and_gradients_match_torch(layer, make, dtype):
    rng = np.random.default_rng(0)
    for shapes in layer.shapes:
        assert_matches_torch(layer, [make(rng, shape, dtype) for shape in shapes], rng)


@both_dtypes
@pytest.mark.parametrize("x_shape, w_shape, stride, pad", PADDING_ALONE)
def test_windows_that_see_padding_alone_match_torch(x_shape, w_shape, stride, pad, dtype):
    rng = np.random.default_rng(10)
    layer = conv(stride, pad, x_shape, w_shape)
    assert_matches_torch(layer, random_inputs(layer, rng, dtype), rng)


@both_dtypes
def test_large_scores_match_torch(dtype):
    rng = np.random.default_rng(1)
    for shape, in LAYERS["softmax_loss"].shapes:
        assert_matches_torch(LAYERS["softmax_loss"], [normal(rng, shape, dtype) * dtype(1e4)], rng)


# ---------------------------------------------------------------- against central differences

def test_gradients_match_central_differences(layer):
    rng = np.random.default_rng(2)
    inputs, step = random_inputs(layer, rng), 1e-6
    out, cache = layer.forward(*inputs)
    dout = normal(rng, out.shape)
    for value, gradient in zip(inputs, as_tuple(layer.backward(dout, cache)), strict=True):
        expected = np.empty_like(value)
        for place in np.ndindex(value.shape):
            centre = value[place]
            value[place] = centre + step
            above, _ = layer.forward(*inputs)
            value[place] = centre - step
            below, _ = layer.forward(*inputs)
            value[place] = centre
            expected[place] = np.sum(dout * (above - below)) / (2 * step)
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-8)


# ---------------------------------------------------------------- contracts

def test_arguments_and_cache_are_not_changed(layer):
    rng = np.random.default_rng(3)
    inputs = random_inputs(layer, rng)
    out, cache = layer.forward(*inputs)
    dout = np.asarray(normal(rng, out.shape))
    for array in [*inputs, dout, *as_tuple(cache)]:
        if isinstance(array, np.ndarray):
            array.flags.writeable = False           # writing to it raises an error from here on
    again, _ = layer.forward(*inputs)
    first, second = as_tuple(layer.backward(dout, cache)), as_tuple(layer.backward(dout, cache))
    for a, b in zip([out, *first], [again, *second], strict=True):
        np.testing.assert_array_equal(a, b)
        assert not any(np.shares_memory(a, other) for other in [b, *inputs, dout])


@pytest.mark.parametrize("restride", [
    np.asfortranarray, lambda value: np.flip(np.flip(value).copy()),
    lambda value: np.stack([value, value], axis=-1)[..., 0]], ids=["Fortran", "flipped", "sparse"])
def test_strides_do_not_matter(layer, restride):
    rng = np.random.default_rng(4)
    inputs = random_inputs(layer, rng)
    out, cache = layer.forward(*inputs)
    dout = normal(rng, out.shape)
    expected = [out, *as_tuple(layer.backward(dout, cache))]
    out, cache = layer.forward(*map(restride, inputs))
    actual = [out, *as_tuple(layer.backward(restride(dout), cache))]
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtype_is_kept(layer, dtype):
    rng = np.random.default_rng(5)
    out, cache = layer.forward(*random_inputs(layer, rng, dtype))
    gradients = as_tuple(layer.backward(normal(rng, out.shape, dtype), cache))
    assert {value.dtype for value in (out, *gradients)} == {np.dtype(dtype)}


def test_integers_and_lists_count_as_float64(layer):
    rng = np.random.default_rng(6)
    inputs = [rng.integers(-2, 3, shape) for shape in layer.shapes[0]]
    expected_out, expected_cache = layer.forward(*[value.astype(np.float64) for value in inputs])
    out, cache = layer.forward(*[value.tolist() for value in inputs])
    dout = np.asarray(rng.integers(-9, 9, out.shape))
    for a, b in zip([out, *as_tuple(layer.backward(dout.tolist(), cache))],
                    [expected_out, *as_tuple(layer.backward(dout.astype(float), expected_cache))]):
        assert a.dtype == np.float64
        np.testing.assert_array_equal(a, b)


def test_nan_propagates(layer):
    """From each input to the output, and from the upstream gradient to each gradient."""
    rng = np.random.default_rng(7)
    inputs = random_inputs(layer, rng)
    for place, value in enumerate(inputs):
        with_nan = [*inputs[:place], np.full_like(value, np.nan), *inputs[place + 1:]]
        assert np.isnan(layer.forward(*with_nan)[0]).all()
    out, cache = layer.forward(*inputs)
    for gradient in as_tuple(layer.backward(np.full(out.shape, np.nan), cache)):
        assert np.isnan(gradient).any()


def test_nan_reaches_only_what_depends_on_it():
    nan = np.nan
    np.testing.assert_array_equal(layers.relu_forward([1, nan, -2])[0], [1, nan, 0])
    image = np.zeros((1, 1, 4, 4))
    image[0, 0, 1, 1] = nan
    out, _ = layers.max_pool_forward(image, pool_param(2, 2, 2))
    np.testing.assert_array_equal(np.isnan(out[0, 0]), [[True, False], [False, False]])
    out, _ = layers.conv_forward(image, np.ones((1, 1, 2, 2)))
    np.testing.assert_array_equal(np.isnan(out[0, 0]), [[True] * 2 + [False]] * 2 + [[False] * 3])
    loss, dx = layers.softmax_loss([[1, nan], [1, 2]], [0, 1])
    assert np.isnan(loss) and np.isnan(dx[0]).all() and np.isfinite(dx[1]).all()
    for label in (0, 1):                        # NaN as another class's score, and as its own
        loss, dx = layers.svm_loss([[1, nan, 0], [1, 2, 4]], [label, 1])
        assert np.isnan(loss) and np.isnan(dx[0, :2]).all() and np.isfinite(dx[1]).all()
    out, _ = layers.conv_forward(image, np.ones((1, 1, 2, 2)), None, conv_param(2, 1))
    np.testing.assert_array_equal(np.isnan(out[0, 0]), [[False] * 3, [False, True, False],
                                                        [False] * 3])


def test_a_tie_goes_to_the_first_maximum():
    _, cache = layers.max_pool_forward(np.zeros((1, 1, 3, 3)), pool_param(2, 2, 1))
    dx = layers.max_pool_backward([[[[1, 2], [3, 4]]]], cache)
    np.testing.assert_array_equal(dx[0, 0], [[1, 2, 0], [3, 4, 0], [0, 0, 0]])


@both_dtypes
def test_softmax_loss_is_exact_for_extreme_scores(dtype):
    x = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 0]], dtype)
    assert layers.softmax_loss(x, [0, 1])[0] == 0
    loss, dx = layers.softmax_loss(x, [1, 0])
    assert loss == 2e4
    np.testing.assert_array_equal(dx, [[.5, -.5, 0], [-.5, .5, 0]])


def test_a_margin_of_exactly_one_costs_nothing():
    loss, dx = layers.svm_loss([[3.0, 2, 1, 3.5]], [0])
    assert loss == 1.5
    np.testing.assert_array_equal(dx, [[-1, 0, 0, 1]])


def test_a_bias_is_added_to_every_pixel_and_without_one_there_is_no_gradient_of_it():
    rng = np.random.default_rng(9)
    x, w, b = normal(rng, (2, 3, 6, 5)), normal(rng, (4, 3, 2, 3)), normal(rng, (4,))
    plain, _ = layers.conv_forward(x, w)
    out, cache = layers.conv_forward(x, w, b)
    np.testing.assert_array_equal(out, plain + b[:, None, None])
    assert len(cache) == 4 and cache[3] is None
    out, cache = layers.conv_forward(x, w, None, conv_param(1, 0))
    np.testing.assert_array_equal(out, plain)
    assert cache[2] is None and layers.conv_backward(out, cache)[2] is None
    assert layers.conv_weights_backward(out, cache)[1] is None


@both_dtypes
@pytest.mark.parametrize("name", ["fc", "conv", "conv with bias", *(
    name for name in LAYERS if name.startswith("conv ") and ", stride" in name)])
def test_gradients_of_the_weights_alone_are_those_of_the_backward_pass(name, dtype):
    rng = np.random.default_rng(8)
    for shapes in LAYERS[name].shapes:
        out, cache = LAYERS[name].forward(*[normal(rng, shape, dtype) for shape in shapes])
        dout = normal(rng, out.shape, dtype)
        alone = as_tuple(getattr(layers, f"{name.split()[0]}_weights_backward")(dout, cache))
        for a, b in zip(alone, LAYERS[name].backward(dout, cache)[1:], strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


# ---------------------------------------------------------------- wrong input

def assert_error_names(function, arguments, message):
    """The function raises ValueError: "FUNCTION: MESSAGE...", a message that starts like this."""
    with pytest.raises(ValueError) as error:
        function(*arguments)
    assert str(error.value).startswith(f"{function.__name__}: {message}")


A = np.ones
IMAGES, FILTERS, TWICE = A((2, 3, 6, 7)), A((4, 3, 2, 3)), pool_param(2, 2, 2)
WRONG_CALLS = [
    (layers.fc_forward, (A(5), A((5, 2)), A(2)), "x expects shape (N, D...), got (5,)"),
    (layers.fc_forward, (A((4, 5)), A((6, 2)), A(2)),
     "w expects shape (D, M) with D = 5, got (6, 2)"),
    (layers.fc_forward, (A((4, 5)), A(5), A(2)), "w expects shape (D, M) with D = 5, got (5,)"),
    (layers.fc_forward, (A((4, 5)), A((5, 2)), A(3)), "b expects shape (M"),
    (layers.fc_forward, (A((4, 5)), A((5, 2)), A((1, 2))), "b expects shape (M"),
    (layers.fc_forward, (A((0, 5)), A((5, 2)), A(2)),
     "x expects at least one element, got shape (0, 5)"),
    (layers.fc_forward, ("text", A((5, 2)), A(2)), "x expects real numbers, got dtype <U4"),
    (layers.fc_forward, (A((4, 5)) * 1j, A((5, 2)), A(2)), "x expects real numbers, got dtype c"),
    (layers.fc_forward, ([[1, 2], [3]], A((5, 2)), A(2)), "x expects an array of numbers, got list"),
    (layers.fc_backward, (A((4, 3)), (A((4, 5)), A((5, 2)), A(2))),
     "dout expects shape (4, 2), got (4, 3)"),
    (layers.fc_weights_backward, (A((4, 3)), (A((4, 5)), A((5, 2)), A(2))),
     "dout expects shape (4, 2), got (4, 3)"),
    (layers.relu_forward, (np.ma.masked_less(A(3), 0),),
     "x expects an array of numbers, got MaskedArray"),
    (layers.relu_backward, (A((2, 3)), A((3, 2))),
     "dout expects shape (3, 2), got (2, 3)"),
    (layers.conv_forward, (A((3, 6, 7)), FILTERS), "x expects shape (N, C, H, W), got (3, 6, 7)"),
    (layers.conv_forward, (IMAGES, A((4, 5, 2, 3))),
     "w expects shape (F, C, P, Q) with C = 3, got (4, 5, 2, 3)"),
    (layers.conv_forward, (IMAGES, A((4, 3, 7, 3))),
     "w expects filters no larger than the images of 6x7, got 7x3"),
    (layers.conv_forward, (IMAGES, A((4, 3, 3, 8))),
     "w expects filters no larger than the images of 6x7, got 3x8"),
    (layers.conv_forward, (IMAGES, A((4, 3, 0, 3))), "w expects at least one element"),
    (layers.conv_backward, (A((2, 4, 6, 7)), (IMAGES, FILTERS)),
     "dout expects shape (2, 4, 5, 5), got (2, 4, 6, 7)"),
    (layers.conv_weights_backward, (A((2, 4, 6, 7)), (IMAGES, FILTERS)),
     "dout expects shape (2, 4, 5, 5), got (2, 4, 6, 7)"),
    (layers.conv_forward, (IMAGES, FILTERS, A(3)), "b expects shape (4,), got (3,)"),
    (layers.conv_forward, (IMAGES, FILTERS, A((4, 1))), "b expects shape (4,), got (4, 1)"),
    (layers.conv_forward, (IMAGES, A((4, 3, 9, 3)), None, conv_param(1, 1)),
     "w expects filters no larger than the padded images of 8x9, got 9x3"),
    (layers.conv_forward, (IMAGES, A((4, 3, 7, 3)), None, conv_param(1, (0, 1))),
     "w expects filters no larger than the padded images of 6x9, got 7x3"),
    (layers.conv_forward, (IMAGES, FILTERS, None, {"stride": 2}),
     "conv_param expects a dict with stride, pad, got {'stride': 2}"),
    (layers.conv_forward, (IMAGES, FILTERS, None, 2), "conv_param expects a dict with stride, pad"),
    (layers.conv_forward, (IMAGES, FILTERS, None, conv_param(0, 0)),
     "conv_param['stride'] expects a positive integer, got 0"),
    (layers.conv_forward, (IMAGES, FILTERS, None, conv_param((1, 2, 3), 0)),
     "conv_param['stride'] expects a positive integer, got (1, 2, 3)"),
    (layers.conv_forward, (IMAGES, FILTERS, None, conv_param(1, -1)),
     "conv_param['pad'] expects an integer of at least 0, got -1"),
    (layers.conv_forward, (IMAGES, FILTERS, None, conv_param(1, (1, 0.5))),
     "conv_param['pad'] expects an integer of at least 0, got 0.5"),
    (layers.conv_backward, (A((2, 4, 5, 5)), (IMAGES, FILTERS, None, conv_param(2, 1))),
     "dout expects shape (2, 4, 4, 4), got (2, 4, 5, 5)"),
    (layers.conv_weights_backward, (A((2, 4, 5, 5)), (IMAGES, FILTERS, A(4), conv_param(2, 1))),
     "dout expects shape (2, 4, 4, 4), got (2, 4, 5, 5)"),
    (layers.max_pool_forward, (A((3, 6, 7)), TWICE), "x expects shape (N, C, H, W), got (3, 6, 7)"),
    (layers.max_pool_forward, (IMAGES, pool_param(7, 2, 2)),
     "pool_param expects a window no larger than the images of 6x7, got 7x2"),
    (layers.max_pool_forward, (IMAGES, pool_param(2, 8, 2)),
     "pool_param expects a window no larger than the images of 6x7, got 2x8"),
    (layers.max_pool_forward, (IMAGES, pool_param(2, 2, 0)),
     "pool_param['stride'] expects a positive integer, got 0"),
    (layers.max_pool_forward, (IMAGES, pool_param(2, 2.0, 2)),
     "pool_param['pool_width'] expects a positive integer, got 2.0"),
    (layers.max_pool_forward, (IMAGES, pool_param(True, 2, 2)),
     "pool_param['pool_height'] expects a positive integer, got True"),
    (layers.max_pool_forward, (IMAGES, {"pool_height": 2}),
     "pool_param expects a dict with pool_height, pool_width, stride, got {'pool_height': 2}"),
    (layers.max_pool_forward, (IMAGES, None), "pool_param expects a dict with pool_height"),
    (layers.max_pool_backward, (IMAGES, (IMAGES, TWICE)),
     "dout expects shape (2, 3, 3, 3), got (2, 3, 6, 7)"),
    (layers.max_pool_backward, (IMAGES, (IMAGES, {})), "pool_param expects a dict with pool_height"),
    (layers.max_pool_backward, (IMAGES, (IMAGES, pool_param(7, 2, 2))),
     "pool_param expects a window no larger than the images of 6x7, got 7x2"),
    (layers.softmax_loss, (A((4, 3)), [0, 1, -1, 2]), "y expects 0 to 2, got -1 at index [2]"),
    (layers.softmax_loss, (A((4, 3)), [0, 3, 1, 2]), "y expects 0 to 2, got 3 at index [1]"),
    (layers.softmax_loss, (A((4, 3)), [0.0, 1, 1, 2]), "y expects integers, got dtype float64"),
    (layers.softmax_loss, (A((4, 3)), [True] * 4), "y expects integers, got dtype bool"),
    (layers.softmax_loss, (A((4, 3)), A((4, 3), int)), "y expects shape (4,), got (4, 3)"),
    (layers.softmax_loss, (A((4, 3)), [0, 1, 1]), "y expects shape (4,), got (3,)"),
    (layers.softmax_loss, (A(3), [0]), "x expects shape (N, C), got (3,)"),
    (layers.svm_loss, (A((4, 3)), [0, 1, -1, 2]), "y expects 0 to 2, got -1 at index [2]"),
    (layers.svm_loss, (A((4, 3)), [0.0, 1, 1, 2]), "y expects integers, got dtype float64"),
    (layers.svm_loss, (A((4, 3)), [0, 1, 1]), "y expects shape (4,), got (3,)"),
    (layers.svm_loss, (A(3), [0]), "x expects shape (N, C), got (3,)"),
]


@pytest.mark.parametrize("function, arguments, message", WRONG_CALLS)
def test_wrong_input_is_named(function, arguments, message):
    assert_error_names(function, arguments, message)
