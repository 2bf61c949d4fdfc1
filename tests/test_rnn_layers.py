"""The recurrent layers against PyTorch, against numerical gradients, and against bad input."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F

import rnn_layers
# pytest runs these tests again here, with this file's layers.
from test_layers import (  # noqa: F401
    A, Layer, assert_error_names, assert_matches_torch, both_dtypes, labels, normal,
    test_arguments_and_cache_are_not_changed, test_dtype_is_kept,
    test_gradients_match_central_differences, test_integers_and_lists_count_as_float64,
    test_nan_propagates, test_output_and_gradients_match_torch, test_strides_do_not_matter)

# (T, N, D, H): first a case in which no two are equal, then the edges.
SEQUENCES = [(5, 3, 4, 6), (1, 2, 5, 3), (7, 1, 3, 2), (4, 5, 1, 1), (1, 1, 1, 1)]
EMBEDDINGS = [((3, 5), 7, 4), ((1, 1), 2, 3), ((6,), 9, 2), ((2, 3, 4), 5, 1), ((40, 9), 3, 6)]


# ---------------------------------------------------------------- the layers and their twins

def sequence_shapes(T, N, D, H, gates):
    """Of x, h0, Wx, Wh and b."""
    return [(T, N, D), (N, H), (D, gates * H), (H, gates * H), (gates * H,)]


def step_shapes(T, N, D, H, gates):
    """Of x, prev_h, Wx, Wh and b, and for an LSTM prev_c after prev_h."""
    states = [(N, H)] * (2 if gates == 4 else 1)
    return [(N, D), *states, (D, gates * H), (H, gates * H), (gates * H,)]


def torch_net(kind, x, state, Wx, Wh, b):
    """What nn.RNN, nn.LSTM or one of their cells returns with these weights."""
    if kind in (torch.nn.LSTM, torch.nn.LSTMCell):
        Wx, Wh, b = (torch_order(columns) for columns in (Wx, Wh, b))
    net = kind(len(Wx), len(Wh)).to(x.dtype)
    weights = {"weight_ih": Wx.T, "weight_hh": Wh.T, "bias_ih": b, "bias_hh": torch.zeros_like(b)}
    weights = dict(zip(dict(net.named_parameters()), weights.values(), strict=True))
    return torch.func.functional_call(net, weights, (x, state))


def torch_order(columns):
    """The gates i, f, o, g of the last axis in PyTorch's order i, f, g, o."""
    i, f, o, g = columns.chunk(4, dim=-1)
    return torch.cat([i, f, g, o], dim=-1)


def torch_lstm(x, h0, *weights):
    return torch_net(torch.nn.LSTM, x, (h0[None], torch.zeros_like(h0)[None]), *weights)[0]


def torch_lstm_step(x, prev_h, prev_c, *weights):
    return torch.stack(torch_net(torch.nn.LSTMCell, x, (prev_h, prev_c), *weights))


def lstm_step_forward(*inputs):
    """Both outputs of the step as one array."""
    next_h, next_c, cache = rnn_layers.lstm_step_forward(*inputs)
    return np.stack([next_h, next_c]), cache


def word_embedding(words_shape, V, D):
    words = np.random.default_rng(0).integers(0, V, words_shape)
    return Layer(lambda W: rnn_layers.word_embedding_forward(words, W),
                 rnn_layers.word_embedding_backward, lambda W: F.embedding(torch.tensor(words), W),
                 [[(V, D)]])


def temporal_softmax_loss(counted, kind=bool):
    """The loss where this share of the words counts, with a mask of this kind."""
    def mask(x):
        return np.random.default_rng(1).random(np.shape(x)[:2]) < counted

    def twin(x):
        y = torch.tensor(np.where(mask(x), labels(x), -100)).flatten()
        return F.cross_entropy(x.flatten(0, 1), y, ignore_index=-100, reduction="sum") / len(x)

    return Layer(lambda x: rnn_layers.temporal_softmax_loss(x, labels(x), mask(x).astype(kind)),
                 lambda dout, dx: dout * dx, twin,
                 [[(3, 5, 7)], [(1, 1, 2)], [(4, 1, 3)], [(2, 6, 1)], [(50, 9, 1004)]])


LAYERS = {
    "rnn": Layer(rnn_layers.rnn_forward, rnn_layers.rnn_backward,
                 lambda x, h0, *weights: torch_net(torch.nn.RNN, x, h0[None], *weights)[0],
                 [sequence_shapes(*sizes, gates=1) for sizes in SEQUENCES]),
    "rnn_step": Layer(rnn_layers.rnn_step_forward, rnn_layers.rnn_step_backward,
                      lambda *inputs: torch_net(torch.nn.RNNCell, *inputs),
                      [step_shapes(*sizes, gates=1) for sizes in SEQUENCES]),
    "lstm": Layer(rnn_layers.lstm_forward, rnn_layers.lstm_backward, torch_lstm,
                  [sequence_shapes(*sizes, gates=4) for sizes in SEQUENCES]),
    "lstm_step": Layer(lstm_step_forward,
                       lambda dout, cache: rnn_layers.lstm_step_backward(*dout, cache),
                       torch_lstm_step, [step_shapes(*sizes, gates=4) for sizes in SEQUENCES]),
    "temporal_fc": Layer(rnn_layers.temporal_fc_forward, rnn_layers.temporal_fc_backward,
                         lambda x, w, b: F.linear(x, w.T, b), [
                             [(N, T, D), (D, M), (M,)] for N, T, D, M in
                             [(3, 5, 4, 7), (1, 1, 1, 1), (2, 1, 6, 3), (4, 16, 2, 1)]]),
    "temporal_softmax_loss": temporal_softmax_loss(counted=0.6),
    **{f"word_embedding {sizes}": word_embedding(*sizes) for sizes in EMBEDDINGS},
}


@pytest.fixture(params=LAYERS)
def layer(request):
    return LAYERS[request.param]


# ---------------------------------------------------------------- for single layers

@both_dtypes
@pytest.mark.parametrize("counted", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("kind", [bool, float, np.int8])
@pytest.mark.parametrize("scale", [1, 1e4])
def test_masks_and_large_scores_match_torch(counted, kind, scale, dtype):
    rng = np.random.default_rng(0)
    x = normal(rng, (3, 5, 7), dtype) * dtype(scale)
    assert_matches_torch(temporal_softmax_loss(counted, kind), [x], rng)


@pytest.mark.parametrize("name, gates", [("rnn", 1), ("lstm", 4)])
def test_a_sequence_is_its_steps(name, gates):
    rng = np.random.default_rng(1)
    x, h, *weights = (normal(rng, shape) for shape in sequence_shapes(*SEQUENCES[0], gates))
    expected, _ = getattr(rnn_layers, f"{name}_forward")(x, h, *weights)
    state = [h, np.zeros_like(h)] if name == "lstm" else [h]
    for t in range(len(x)):
        *state, _ = getattr(rnn_layers, f"{name}_step_forward")(x[t], *state, *weights)
        np.testing.assert_allclose(state[0], expected[t], rtol=0, atol=1e-13)


def test_scores_of_words_that_do_not_count_are_ignored():
    rng = np.random.default_rng(2)
    x, mask = normal(rng, (2, 3, 4)), np.ones((2, 3))
    mask[1, 2] = 0
    x[1, 2] = np.nan
    loss, dx = rnn_layers.temporal_softmax_loss(x, labels(x), mask)
    assert np.isfinite(loss) and np.isfinite(dx).all() and not dx[1, 2].any()


@both_dtypes
def test_softmax_loss_is_exact_for_extreme_scores(dtype):
    x = np.array([[[1e4, -1e4, 0], [-1e4, 1e4, 0]]], dtype)
    loss, dx = rnn_layers.temporal_softmax_loss(x, [[1, 1]], np.ones((1, 2)))
    assert loss == 2e4
    np.testing.assert_array_equal(dx, [[[1, -1, 0], [0, 0, 0]]])


def test_saturated_gates_neither_overflow_nor_become_nan():
    x, h0, Wx, Wh, b = (np.zeros(shape, np.float32) for shape in sequence_shapes(2, 2, 1, 3, gates=4))
    x[:] = [[-1e30], [1e30]]
    Wx[:] = 1
    with np.errstate(all="raise", under="ignore"):
        h, cache = rnn_layers.lstm_forward(x, h0, Wx, Wh, b)
        gradients = rnn_layers.lstm_backward(np.ones_like(h), cache)
    np.testing.assert_allclose(h[:, 0], 0, atol=1e-7)
    np.testing.assert_allclose(h[:, 1], np.tanh([[1] * 3, [2] * 3]), rtol=1e-6)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_the_gradient_of_a_word_is_the_sum_over_its_places():
    _, cache = rnn_layers.word_embedding_forward([[1, 0, 1], [3, 1, 1]], np.ones((5, 2)))
    dW = rnn_layers.word_embedding_backward(np.ones((2, 3, 2)), cache)
    np.testing.assert_array_equal(dW, [[1, 1], [4, 4], [0, 0], [1, 1], [0, 0]])


# ---------------------------------------------------------------- wrong input

def ones(shapes, wrong=()):
    """Arrays of these shapes, except for the wrong ones, a dict from place to shape."""
    return [A(shape) for shape in (dict(enumerate(shapes)) | dict(wrong)).values()]


RNN, LSTM = sequence_shapes(4, 2, 3, 5, gates=1), sequence_shapes(4, 2, 3, 5, gates=4)
RNN_STEP, LSTM_STEP = step_shapes(4, 2, 3, 5, gates=1), step_shapes(4, 2, 3, 5, gates=4)
*_, RNN_CACHE = rnn_layers.rnn_forward(*ones(RNN))
*_, LSTM_CACHE = rnn_layers.lstm_forward(*ones(LSTM))
*_, RNN_STEP_CACHE = rnn_layers.rnn_step_forward(*ones(RNN_STEP))
*_, LSTM_STEP_CACHE = rnn_layers.lstm_step_forward(*ones(LSTM_STEP))
*_, EMBEDDING_CACHE = rnn_layers.word_embedding_forward([[1, 0, 1], [3, 1, 1]], A((5, 4)))
*_, FC_CACHE = rnn_layers.temporal_fc_forward(A((2, 5, 3)), A((3, 4)), A(4))
WRONG_CALLS = [
    (rnn_layers.rnn_step_forward, ones(RNN_STEP, {0: (4, 2, 3)}),
     "x expects shape (N, D), got (4, 2, 3)"),
    (rnn_layers.rnn_step_forward, ones(RNN_STEP, {1: (3, 5)}),
     "prev_h expects shape (N, H) with N = 2, got (3, 5)"),
    (rnn_layers.rnn_step_backward, (A((2, 6)), RNN_STEP_CACHE),
     "dnext_h expects shape (2, 5), got (2, 6)"),
    (rnn_layers.rnn_forward, ones(RNN, {0: (2, 3)}), "x expects shape (T, N, D), got (2, 3)"),
    (rnn_layers.rnn_forward, ones(RNN, {0: (0, 2, 3)}),
     "x expects at least one element, got shape (0, 2, 3)"),
    (rnn_layers.rnn_forward, ones(RNN, {1: (1, 5)}),
     "h0 expects shape (N, H) with N = 2, got (1, 5)"),
    (rnn_layers.rnn_forward, ones(RNN, {2: (4, 5)}),
     "Wx expects shape (D, H) with D = 3, H = 5, got (4, 5)"),
    (rnn_layers.rnn_forward, ones(RNN, {3: (5, 6)}),
     "Wh expects shape (H, H) with H = 5, got (5, 6)"),
    (rnn_layers.rnn_forward, ones(RNN, {4: (6,)}), "b expects shape (H"),
    (rnn_layers.rnn_backward, (A((4, 2, 6)), RNN_CACHE),
     "dh expects shape (4, 2, 5), got (4, 2, 6)"),
    (rnn_layers.lstm_step_forward, ones(LSTM_STEP, {2: (2, 4)}),
     "prev_c expects shape (N, H) with N = 2, H = 5, got (2, 4)"),
    (rnn_layers.lstm_step_backward, (A((2, 5)), A((2, 4)), LSTM_STEP_CACHE),
     "dnext_c expects shape (2, 5), got (2, 4)"),
    (rnn_layers.lstm_forward, ones(LSTM, {2: (3, 5)}),
     "Wx expects shape (D, 4H) with D = 3, H = 5, got (3, 5)"),
    (rnn_layers.lstm_forward, ones(LSTM, {4: (21,)}), "b expects shape (4H"),
    (rnn_layers.lstm_backward, (A((4, 3, 5)), LSTM_CACHE),
     "dh expects shape (4, 2, 5), got (4, 3, 5)"),
    (rnn_layers.word_embedding_forward, ([[0, 5]], A((5, 4))),
     "x expects 0 to 4, got 5 at index [0, 1]"),
    (rnn_layers.word_embedding_forward, ([-1, 2], A((5, 4))),
     "x expects 0 to 4, got -1 at index [0]"),
    (rnn_layers.word_embedding_forward, ([[0.0, 1.0]], A((5, 4))),
     "x expects integers, got dtype float64"),
    (rnn_layers.word_embedding_forward, ([[0]], A(5)), "W expects shape (V, D), got (5,)"),
    (rnn_layers.word_embedding_backward, (A((2, 4, 4)), EMBEDDING_CACHE),
     "dout expects shape (2, 3, 4), got (2, 4, 4)"),
    (rnn_layers.word_embedding_backward, (1.0, EMBEDDING_CACHE),
     "dout expects shape (2, 3, 4), got ()"),
    (rnn_layers.temporal_fc_forward, (A((2, 3)), A((3, 4)), A(4)),
     "x expects shape (N, T, D), got (2, 3)"),
    (rnn_layers.temporal_fc_forward, (A((2, 5, 3)), A((4, 4)), A(4)),
     "w expects shape (D, M) with D = 3, got (4, 4)"),
    (rnn_layers.temporal_fc_forward, (A((2, 5, 3)), A((3, 4)), A(3)), "b expects shape (M"),
    (rnn_layers.temporal_fc_backward, (A((2, 5, 3)), FC_CACHE),
     "dout expects shape (2, 5, 4), got (2, 5, 3)"),
    (rnn_layers.temporal_softmax_loss, (A((2, 3)), [[0]], [[1]]),
     "x expects shape (N, T, V), got (2, 3)"),
    (rnn_layers.temporal_softmax_loss, (A((1, 2, 3)), [[0, 3]], [[1, 1]]),
     "y expects 0 to 2, got 3 at index [0, 1]"),
    (rnn_layers.temporal_softmax_loss, (A((1, 2, 3)), [[0]], [[1, 1]]),
     "y expects shape (1, 2), got (1, 1)"),
    (rnn_layers.temporal_softmax_loss, (A((1, 2, 3)), [[0, 1]], [[1]]),
     "mask expects shape (N, T) with N = 1, T = 2, got (1, 1)"),
    (rnn_layers.temporal_softmax_loss, (A((1, 2, 3)), [[0, 1]], [[1, 0.5]]),
     "mask expects booleans, or numbers 0 and 1"),
]


@pytest.mark.parametrize("function, arguments, message", WRONG_CALLS)
def test_wrong_input_is_named(function, arguments, message):
    assert_error_names(function, arguments, message)
