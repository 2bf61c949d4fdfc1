"""The recurrent layers against PyTorch, against numerical gradients, and against bad input."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F

import rnn_layers

TOLERANCE = {np.float64: 1e-10, np.float32: 5e-5}
both_dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])
# (T, N, D, H): no two equal, and the edges.
SEQUENCES = [(5, 3, 4, 6), (1, 2, 5, 3), (7, 1, 3, 2), (4, 5, 1, 1), (1, 1, 1, 1)]
EMBEDDINGS = [((3, 5), 7, 4), ((1, 1), 2, 3), ((6,), 9, 2), ((2, 3, 4), 5, 1), ((40, 9), 3, 6)]
TEMPORAL = [(3, 5, 4, 7), (1, 1, 1, 1), (2, 1, 6, 3), (4, 16, 2, 1)]


def normal(rng, shape, dtype=np.float64):
    return rng.standard_normal(shape).astype(dtype)


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


def assert_matches(actual, expected, dtype):
    """Equal to the tolerance of the dtype, relative to the largest number expected."""
    assert actual.dtype == dtype and actual.shape == expected.shape
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[dtype] * scale)


def sequence_inputs(rng, sizes, gates=1, dtype=np.float64):
    """(x, h0, Wx, Wh, b) of a recurrent layer."""
    T, N, D, H = sizes
    shapes = (T, N, D), (N, H), (D, gates * H), (H, gates * H), (gates * H,)
    return tuple(normal(rng, shape, dtype) for shape in shapes)


def step_inputs(rng, sizes, gates=1, dtype=np.float64):
    """(x, prev_h, Wx, Wh, b) of one step; for an LSTM (x, prev_h, prev_c, Wx, Wh, b)."""
    x, h, *weights = sequence_inputs(rng, sizes, gates, dtype)
    cells = [normal(rng, h.shape, dtype)] if gates == 4 else []
    return (x[0], h, *cells, *weights)


# ---------------------------------------------------------------- the twins

def torch_order(columns, H):
    """The gates i, f, o, g of the last axis in PyTorch's order i, f, g, o; its own inverse."""
    i, f, third, fourth = (columns[..., k * H:(k + 1) * H] for k in range(4))
    parts = i, f, fourth, third
    return np.concatenate(parts, -1) if isinstance(columns, np.ndarray) else torch.cat(parts, -1)


def torch_recurrent(kind, inputs, dh):
    """(h, gradients of x, h0, Wx, Wh, b) of nn.RNN or nn.LSTM."""
    x, h0, Wx, Wh, b = inputs
    H = h0.shape[1]

    def reorder(columns):
        return torch_order(columns, H) if kind is torch.nn.LSTM else columns

    net = kind(x.shape[2], H).to(torch.tensor(x).dtype)
    with torch.no_grad():
        net.weight_ih_l0.copy_(torch.tensor(reorder(Wx).T))
        net.weight_hh_l0.copy_(torch.tensor(reorder(Wh).T))
        net.bias_ih_l0.copy_(torch.tensor(reorder(b)))
        net.bias_hh_l0.zero_()
    x, h0 = (torch.tensor(value, requires_grad=True) for value in (x, h0))
    state = (h0[None], torch.zeros_like(h0)[None]) if kind is torch.nn.LSTM else h0[None]
    h, _ = net(x, state)
    h.backward(torch.tensor(dh))
    gradients = (x.grad, h0.grad, reorder(net.weight_ih_l0.grad.T),
                 reorder(net.weight_hh_l0.grad.T), reorder(net.bias_ih_l0.grad))
    return h.detach().numpy(), [gradient.numpy() for gradient in gradients]


def torch_gradients(function, inputs, upstream):
    """(outputs, gradients of the inputs) of a torch function, given dL/doutput of each output."""
    tensors = [torch.tensor(value, requires_grad=True) for value in inputs]
    outputs = as_tuple(function(*tensors))
    torch.autograd.backward(outputs, [torch.tensor(value) for value in upstream])
    return ([out.detach().numpy() for out in outputs],
            [tensor.grad.numpy() for tensor in tensors])


def torch_lstm_step(x, prev_h, prev_c, Wx, Wh, b):
    H = prev_h.shape[1]
    weights = (torch_order(columns, H).T for columns in (Wx, Wh))
    return torch._VF.lstm_cell(x, (prev_h, prev_c), *weights, torch_order(b, H),
                               torch.zeros_like(b))


def torch_rnn_step(x, prev_h, Wx, Wh, b):
    return torch._VF.rnn_tanh_cell(x, prev_h, Wx.T, Wh.T, b, torch.zeros_like(b))


# ---------------------------------------------------------------- against PyTorch

@both_dtypes
@pytest.mark.parametrize("sizes", SEQUENCES)
@pytest.mark.parametrize("name, kind, gates", [("rnn", torch.nn.RNN, 1),
                                               ("lstm", torch.nn.LSTM, 4)])
def test_recurrent_layers_match_torch(name, kind, gates, sizes, dtype):
    rng = np.random.default_rng(0)
    inputs = sequence_inputs(rng, sizes, gates, dtype)
    h, cache = getattr(rnn_layers, f"{name}_forward")(*inputs)
    dh = normal(rng, h.shape, dtype)
    expected_h, expected = torch_recurrent(kind, inputs, dh)
    assert_matches(h, expected_h, dtype)
    actual = getattr(rnn_layers, f"{name}_backward")(dh, cache)
    for gradient, expected_gradient in zip(actual, expected, strict=True):
        assert_matches(gradient, expected_gradient, dtype)


@both_dtypes
@pytest.mark.parametrize("sizes", SEQUENCES)
@pytest.mark.parametrize("name, twin, gates", [("rnn_step", torch_rnn_step, 1),
                                               ("lstm_step", torch_lstm_step, 4)])
def test_steps_match_torch(name, twin, gates, sizes, dtype):
    rng = np.random.default_rng(1)
    inputs = step_inputs(rng, sizes, gates, dtype)
    *outputs, cache = getattr(rnn_layers, f"{name}_forward")(*inputs)
    upstream = [normal(rng, out.shape, dtype) for out in outputs]
    expected_outputs, expected = torch_gradients(twin, inputs, upstream)
    actual = getattr(rnn_layers, f"{name}_backward")(*upstream, cache)
    for value, expected_value in zip([*outputs, *actual], [*expected_outputs, *expected],
                                     strict=True):
        assert_matches(value, expected_value, dtype)


@both_dtypes
@pytest.mark.parametrize("shape, V, D", EMBEDDINGS)
def test_word_embedding_matches_torch(shape, V, D, dtype):
    rng = np.random.default_rng(2)
    x, W = rng.integers(0, V, shape), normal(rng, (V, D), dtype)
    out, cache = rnn_layers.word_embedding_forward(x, W)
    dout = normal(rng, out.shape, dtype)
    (expected_out,), (expected,) = torch_gradients(
        lambda weights: F.embedding(torch.tensor(x), weights), [W], [dout])
    assert_matches(out, expected_out, dtype)
    assert_matches(rnn_layers.word_embedding_backward(dout, cache), expected, dtype)


@both_dtypes
@pytest.mark.parametrize("N, T, D, M", TEMPORAL)
def test_temporal_fc_matches_torch(N, T, D, M, dtype):
    rng = np.random.default_rng(3)
    inputs = normal(rng, (N, T, D), dtype), normal(rng, (D, M), dtype), normal(rng, M, dtype)
    out, cache = rnn_layers.temporal_fc_forward(*inputs)
    dout = normal(rng, out.shape, dtype)
    (expected_out,), expected = torch_gradients(
        lambda x, w, b: F.linear(x, w.T, b), inputs, [dout])
    assert_matches(out, expected_out, dtype)
    for gradient, expected_gradient in zip(rnn_layers.temporal_fc_backward(dout, cache), expected,
                                           strict=True):
        assert_matches(gradient, expected_gradient, dtype)


@both_dtypes
@pytest.mark.parametrize("N, T, V", [(3, 5, 7), (1, 1, 2), (4, 1, 3), (2, 6, 1), (50, 9, 1004)])
@pytest.mark.parametrize("counted", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("scale", [1, 1e4])
def test_temporal_softmax_loss_matches_torch(N, T, V, counted, scale, dtype):
    rng = np.random.default_rng(4)
    x, y = normal(rng, (N, T, V), dtype) * dtype(scale), rng.integers(0, V, (N, T))
    mask = rng.random((N, T)) < counted
    scores = torch.tensor(x, requires_grad=True)
    expected = F.cross_entropy(scores.flatten(0, 1), torch.tensor(np.where(mask, y, -100)).flatten(),
                               ignore_index=-100, reduction="sum") / N
    expected.backward()
    for kind in (bool, float, np.int8):
        loss, dx = rnn_layers.temporal_softmax_loss(x, y, mask.astype(kind))
        assert loss.dtype == dtype
        assert loss == pytest.approx(expected.item(), rel=TOLERANCE[dtype], abs=TOLERANCE[dtype])
        assert_matches(dx, scores.grad.numpy(), dtype)


# ---------------------------------------------------------------- against the definition

def numerical_gradient(function, x, upstream, step=1e-6):
    """Central differences of Σ upstream·function(x) at every coordinate of x."""
    gradient = np.empty_like(x)
    for place in np.ndindex(x.shape):
        totals = []
        for sign in (1, -1):
            shifted = x.copy()
            shifted[place] += sign * step
            totals.append(sum(np.sum(d * out) for d, out in zip(upstream, function(shifted))))
        gradient[place] = (totals[0] - totals[1]) / (2 * step)
    return gradient


WORDS = np.array([[1, 0, 1], [3, 1, 1]])
MAKE_INPUTS = {
    "rnn_step": lambda rng, dtype=np.float64: step_inputs(rng, SEQUENCES[0], 1, dtype),
    "rnn": lambda rng, dtype=np.float64: sequence_inputs(rng, SEQUENCES[0], 1, dtype),
    "lstm_step": lambda rng, dtype=np.float64: step_inputs(rng, SEQUENCES[0], 4, dtype),
    "lstm": lambda rng, dtype=np.float64: sequence_inputs(rng, SEQUENCES[0], 4, dtype),
    "word_embedding": lambda rng, dtype=np.float64: (normal(rng, (5, 4), dtype),),
    "temporal_fc": lambda rng, dtype=np.float64: (
        normal(rng, (3, 5, 4), dtype), normal(rng, (4, 2), dtype), normal(rng, 2, dtype)),
}
all_layers = pytest.mark.parametrize("name", MAKE_INPUTS)


def functions(name):
    """(forward, backward) that take and give floating-point arrays only.

    forward(*inputs) -> (outputs, cache); backward(upstream, cache) -> gradients; all tuples.
    """
    layer_forward = getattr(rnn_layers, f"{name}_forward")
    layer_backward = getattr(rnn_layers, f"{name}_backward")

    def forward(*inputs):
        *outputs, cache = layer_forward(*([WORDS] if name == "word_embedding" else []), *inputs)
        return tuple(outputs), cache

    return forward, lambda upstream, cache: as_tuple(layer_backward(*upstream, cache))


@all_layers
def test_gradients_match_differences(name):
    forward, backward = functions(name)
    rng = np.random.default_rng(5)
    inputs = MAKE_INPUTS[name](rng)
    outputs, cache = forward(*inputs)
    upstream = [normal(rng, out.shape) for out in outputs]
    for place, gradient in enumerate(backward(upstream, cache)):
        def of_one_input(value):
            return forward(*inputs[:place], value, *inputs[place + 1:])[0]
        np.testing.assert_allclose(
            gradient, numerical_gradient(of_one_input, inputs[place], upstream), atol=1e-7)


def test_softmax_gradient_matches_differences():
    rng = np.random.default_rng(6)
    x, y, mask = normal(rng, (3, 4, 5)), rng.integers(0, 5, (3, 4)), rng.random((3, 4)) < 0.7
    expected = numerical_gradient(
        lambda scores: [rnn_layers.temporal_softmax_loss(scores, y, mask)[0]], x, [1.0])
    np.testing.assert_allclose(rnn_layers.temporal_softmax_loss(x, y, mask)[1], expected,
                               atol=1e-8)


@pytest.mark.parametrize("name", ["rnn", "lstm"])
def test_a_sequence_is_its_steps(name):
    rng = np.random.default_rng(7)
    gates = 4 if name == "lstm" else 1
    x, h, *weights = sequence_inputs(rng, SEQUENCES[0], gates)
    expected = getattr(rnn_layers, f"{name}_forward")(x, h, *weights)[0]
    state = [h, np.zeros_like(h)][:2 if gates == 4 else 1]
    for t in range(len(x)):
        *state, _ = getattr(rnn_layers, f"{name}_step_forward")(x[t], *state, *weights)
        np.testing.assert_allclose(state[0], expected[t], rtol=0, atol=1e-13)


# ---------------------------------------------------------------- contracts

def flat_arrays(cache):
    """All arrays of a cache."""
    return [value for value in cache if isinstance(value, np.ndarray)]


@all_layers
def test_nothing_is_changed_and_twice_is_the_same(name):
    forward, backward = functions(name)
    rng = np.random.default_rng(8)
    inputs = MAKE_INPUTS[name](rng)
    for value in inputs:
        value.flags.writeable = False
    outputs, cache = forward(*inputs)
    upstream = [normal(rng, out.shape) for out in outputs]
    kept = [value.copy() for value in [*flat_arrays(cache), *upstream]]
    first, second = backward(upstream, cache), backward(upstream, cache)
    for value, original in zip([*flat_arrays(cache), *upstream], kept, strict=True):
        np.testing.assert_array_equal(value, original)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not any(np.shares_memory(a, other)
                       for other in [b, *inputs, *upstream, *flat_arrays(cache)])


@all_layers
def test_strides_do_not_matter(name):
    forward, backward = functions(name)
    rng = np.random.default_rng(9)
    inputs = MAKE_INPUTS[name](rng)
    outputs, cache = forward(*inputs)
    upstream = [normal(rng, out.shape) for out in outputs]
    expected = [*outputs, *backward(upstream, cache)]
    for restride in (np.asfortranarray, lambda value: value[::-1].copy()[::-1],
                     lambda value: np.repeat(value, 2, axis=-1)[..., ::2]):
        outputs, cache = forward(*map(restride, inputs))
        actual = [*outputs, *backward(list(map(restride, upstream)), cache)]
        for a, b in zip(actual, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@all_layers
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtype_is_kept(name, dtype):
    forward, backward = functions(name)
    rng = np.random.default_rng(10)
    outputs, cache = forward(*MAKE_INPUTS[name](rng, dtype))
    gradients = backward([normal(rng, out.shape, dtype) for out in outputs], cache)
    assert {value.dtype for value in (*outputs, *gradients)} == {np.dtype(dtype)}
    loss, dx = rnn_layers.temporal_softmax_loss(
        normal(rng, (2, 3, 4), dtype), rng.integers(0, 4, (2, 3)), np.ones((2, 3)))
    assert loss.dtype == dx.dtype == dtype


@all_layers
def test_lists_of_integers_count_as_float64(name):
    forward, backward = functions(name)
    rng = np.random.default_rng(11)
    inputs = [rng.integers(-2, 3, value.shape) for value in MAKE_INPUTS[name](rng)]
    expected, _ = forward(*[value.astype(np.float64) for value in inputs])
    actual, _ = forward(*[value.tolist() for value in inputs])
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@all_layers
def test_nan_propagates(name):
    forward, backward = functions(name)
    rng = np.random.default_rng(12)
    inputs = MAKE_INPUTS[name](rng)
    inputs[0][:] = np.nan
    outputs, _ = forward(*inputs)
    assert all(np.isnan(out).all() for out in outputs)
    outputs, cache = forward(*MAKE_INPUTS[name](rng))
    gradients = backward([np.full(out.shape, np.nan) for out in outputs], cache)
    assert all(np.isnan(gradient).any() for gradient in gradients)


def test_nan_beside_the_mask_does_not_matter():
    rng = np.random.default_rng(13)
    x, y, mask = normal(rng, (2, 3, 4)), rng.integers(0, 4, (2, 3)), np.ones((2, 3))
    mask[1, 2] = 0
    x[1, 2] = np.nan
    loss, dx = rnn_layers.temporal_softmax_loss(x, y, mask)
    assert np.isfinite(loss) and np.isfinite(dx).all() and not dx[1, 2].any()
    mask[1, 2] = 1
    assert np.isnan(rnn_layers.temporal_softmax_loss(x, y, mask)[0])


@both_dtypes
def test_softmax_loss_is_exact_for_extreme_scores(dtype):
    x = np.array([[[1e4, -1e4, 0], [-1e4, 1e4, 0]]], dtype=dtype)
    loss, dx = rnn_layers.temporal_softmax_loss(x, [[1, 1]], np.ones((1, 2)))
    assert loss == 2e4
    np.testing.assert_array_equal(dx, np.array([[[1, -1, 0], [0, 0, 0]]], dtype=dtype))


def test_saturated_gates_neither_overflow_nor_become_nan():
    x, h0, Wx, Wh, b = (np.zeros(shape, np.float32) for shape in
                        ((2, 2, 1), (2, 3), (1, 12), (3, 12), (12,)))
    x[:] = [[-1e30], [1e30]]
    Wx[:] = 1
    with np.errstate(all="raise", under="ignore"):
        h, cache = rnn_layers.lstm_forward(x, h0, Wx, Wh, b)
        gradients = rnn_layers.lstm_backward(np.ones_like(h), cache)
    np.testing.assert_allclose(h[:, 0], 0, atol=1e-7)
    np.testing.assert_allclose(h[:, 1], np.tanh([[1] * 3, [2] * 3]), rtol=1e-6)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_a_word_that_is_not_used_has_no_gradient():
    _, cache = rnn_layers.word_embedding_forward(WORDS, np.ones((5, 2)))
    dW = rnn_layers.word_embedding_backward(np.ones((2, 3, 2)), cache)
    np.testing.assert_array_equal(dW, [[1, 1], [4, 4], [0, 0], [1, 1], [0, 0]])


# ---------------------------------------------------------------- wrong input

A = np.ones
EMBEDDING_CACHE = rnn_layers.word_embedding_forward(WORDS, A((5, 4)))[1]
RNN_CACHE = rnn_layers.rnn_forward(A((4, 2, 3)), A((2, 5)), A((3, 5)), A((5, 5)), A(5))[1]
LSTM_CACHE = rnn_layers.lstm_forward(A((4, 2, 3)), A((2, 5)), A((3, 20)), A((5, 20)), A(20))[1]
WRONG_CALLS = [
    (lambda: rnn_layers.rnn_step_forward(A((4, 2, 3)), A((2, 5)), A((3, 5)), A((5, 5)), A(5)),
     "rnn_step_forward: x expects 2 axes"),
    (lambda: rnn_layers.rnn_step_forward(A((2, 3)), A((3, 5)), A((3, 5)), A((5, 5)), A(5)),
     r"rnn_step_forward: prev_h expects shape \(2, 5\)"),
    (lambda: rnn_layers.rnn_forward(A((2, 3)), A((2, 5)), A((3, 5)), A((5, 5)), A(5)),
     "rnn_forward: x expects 3 axes"),
    (lambda: rnn_layers.rnn_forward(A((0, 2, 3)), A((2, 5)), A((3, 5)), A((5, 5)), A(5)),
     "rnn_forward: x is empty"),
    (lambda: rnn_layers.rnn_forward(A((4, 2, 3)), A((1, 5)), A((3, 5)), A((5, 5)), A(5)),
     r"rnn_forward: h0 expects shape \(2, 5\)"),
    (lambda: rnn_layers.rnn_forward(A((4, 2, 3)), A((2, 5)), A((4, 5)), A((5, 5)), A(5)),
     r"rnn_forward: Wx expects shape \(3, 5\)"),
    (lambda: rnn_layers.rnn_forward(A((4, 2, 3)), A((2, 5)), A((3, 5)), A((5, 6)), A(5)),
     r"rnn_forward: Wh expects shape \(5, 5\)"),
    (lambda: rnn_layers.rnn_forward(A((4, 2, 3)), A((2, 5)), A((3, 5)), A((5, 5)), A(6)),
     r"rnn_forward: b expects shape \(5,\)"),
    (lambda: rnn_layers.rnn_forward(A((4, 2, 3)) * 1j, A((2, 5)), A((3, 5)), A((5, 5)), A(5)),
     "rnn_forward: x expects real numbers"),
    (lambda: rnn_layers.rnn_backward(A((4, 2, 6)), RNN_CACHE),
     r"rnn_backward: dh expects .*\(4, 2, 5\)"),
    (lambda: rnn_layers.lstm_forward(A((4, 2, 3)), A((2, 5)), A((3, 5)), A((5, 20)), A(20)),
     r"lstm_forward: Wx expects shape \(3, 20\)"),
    (lambda: rnn_layers.lstm_step_forward(A((2, 3)), A((2, 5)), A((2, 4)), A((3, 20)),
                                          A((5, 20)), A(20)),
     r"lstm_step_forward: prev_c expects .*\(2, 5\)"),
    (lambda: rnn_layers.lstm_backward(A((4, 3, 5)), LSTM_CACHE),
     r"lstm_backward: dh expects .*\(4, 2, 5\)"),
    (lambda: rnn_layers.word_embedding_forward([[0, 5]], A((5, 4))),
     r"word_embedding_forward: x expects 0 to 4, got 5 at index \(0, 1\)"),
    (lambda: rnn_layers.word_embedding_forward([-1, 2], A((5, 4))),
     "word_embedding_forward: x expects 0 to 4, got -1 at index 0"),
    (lambda: rnn_layers.word_embedding_forward([[0.0, 1.0]], A((5, 4))),
     "word_embedding_forward: x expects integers"),
    (lambda: rnn_layers.word_embedding_forward(np.zeros((0, 3), int), A((5, 4))),
     "word_embedding_forward: x is empty"),
    (lambda: rnn_layers.word_embedding_forward([[0]], A(5)),
     "word_embedding_forward: W expects 2 axes"),
    (lambda: rnn_layers.word_embedding_backward(A((2, 4, 4)), EMBEDDING_CACHE),
     r"word_embedding_backward: dout expects .*\(2, 3, 4\)"),
    (lambda: rnn_layers.word_embedding_backward(1.0, EMBEDDING_CACHE),
     r"word_embedding_backward: dout expects .*\(2, 3, 4\)"),
    (lambda: rnn_layers.word_embedding_backward(A((2, 3, 3)), EMBEDDING_CACHE),
     r"word_embedding_backward: dout expects .*\(2, 3, 4\)"),
    (lambda: rnn_layers.temporal_fc_forward(A((2, 3)), A((3, 4)), A(4)),
     "temporal_fc_forward: x expects 3 axes"),
    (lambda: rnn_layers.temporal_fc_forward(A((2, 5, 3)), A((4, 4)), A(4)),
     "temporal_fc_forward: w expects 3 rows"),
    (lambda: rnn_layers.temporal_fc_forward(A((2, 5, 3)), A((3, 4)), A(3)),
     r"temporal_fc_forward: b expects shape \(4,\)"),
    (lambda: rnn_layers.temporal_fc_backward(A((2, 5, 3)), (A((2, 5, 3)), A((3, 4)))),
     r"temporal_fc_backward: dout expects .*\(2, 5, 4\)"),
    (lambda: rnn_layers.temporal_softmax_loss(A((2, 3)), [[0]], [[1]]),
     "temporal_softmax_loss: x expects 3 axes"),
    (lambda: rnn_layers.temporal_softmax_loss(A((1, 2, 3)), [[0, 3]], [[1, 1]]),
     r"temporal_softmax_loss: y expects 0 to 2, got 3 at index \(0, 1\)"),
    (lambda: rnn_layers.temporal_softmax_loss(A((1, 2, 3)), [[0]], [[1, 1]]),
     r"temporal_softmax_loss: y expects shape \(1, 2\)"),
    (lambda: rnn_layers.temporal_softmax_loss(A((1, 2, 3)), [[0, 1]], [[1]]),
     r"temporal_softmax_loss: mask expects shape \(1, 2\)"),
    (lambda: rnn_layers.temporal_softmax_loss(A((1, 2, 3)), [[0, 1]], [[1, 0.5]]),
     "temporal_softmax_loss: mask expects booleans, or numbers 0 and 1, got 0.5"),
]


@pytest.mark.parametrize("call, message", WRONG_CALLS, ids=[m for _, m in WRONG_CALLS])
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
