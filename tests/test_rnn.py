"""The captioning network: gradients, a PyTorch twin, sampling against plain loops, learning."""
import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from rnn import CaptioningRNN
from solver import Solver

WORDS = ["<NULL>", "<START>", "<END>", "<UNK>", "a", "b", "c"]
WORD_TO_IDX = {word: i for i, word in enumerate(WORDS)}
NULL, START, END, UNK = range(4)
CAPTIONS = np.array([[START, 4, 5, END, NULL], [START, 6, 6, 6, END], [START, END, 0, 0, 0]])
both_cells = pytest.mark.parametrize("cell", ["rnn", "lstm"])


def small_net(cell="rnn", **options):
    options = {"input_dim": 5, "wordvec_dim": 3, "hidden_dim": 4, "cell_type": cell, "rng": 0,
               "dtype": np.float64} | options
    return CaptioningRNN(WORD_TO_IDX, **options)


def features(N=3, D=5):
    return np.random.default_rng(1).standard_normal((N, D))


def test_biases_start_at_zero_but_for_open_forget_gates():
    assert not small_net("rnn").params["b"].any()
    np.testing.assert_array_equal(small_net("lstm").params["b"].reshape(4, 4),
                                  [[0] * 4, [1] * 4, [0] * 4, [0] * 4])


# ---------------------------------------------------------------- loss and gradients

def torch_loss(model, X, captions):
    """(loss, gradients) of a twin made of torch's own Embedding, RNN or LSTM and cross-entropy."""
    p = {name: torch.tensor(value, requires_grad=True) for name, value in model.params.items()}
    H = model.hidden_dim
    h0 = (torch.tensor(X) @ p["W_proj"] + p["b_proj"])[None]
    words = torch.tensor(captions)
    vectors = nn.functional.embedding(words[:, :-1], p["W_embed"])
    order = np.r_[0:2 * H, 3 * H:4 * H, 2 * H:3 * H]        # ours i f o g, torch's i f g o
    Wx, Wh, b = (p["Wx"], p["Wh"], p["b"]) if model.cell_type == "rnn" else \
        (p["Wx"][:, order], p["Wh"][:, order], p["b"][order])
    weights = [Wx.T.contiguous(), Wh.T.contiguous(), b, torch.zeros_like(b)]
    if model.cell_type == "rnn":
        h, _ = torch.rnn_tanh(vectors, h0, weights, True, 1, 0.0, False, False, True)
    else:
        h, _, _ = torch.lstm(vectors, [h0, torch.zeros_like(h0)], weights, True, 1, 0.0, False,
                             False, True)
    scores = h @ p["W_vocab"] + p["b_vocab"]
    loss = nn.functional.cross_entropy(scores.flatten(0, 1), words[:, 1:].flatten(),
                                       ignore_index=NULL, reduction="sum") / len(X)
    penalty = sum((value ** 2).sum() for name, value in p.items() if name.startswith("W"))
    loss = loss + 0.5 * model.reg * penalty
    loss.backward()
    return loss.item(), {name: value.grad.numpy() for name, value in p.items()}


@both_cells
@pytest.mark.parametrize("reg", [0.0, 0.2])
@pytest.mark.parametrize("captions", [CAPTIONS, CAPTIONS[:, :2], CAPTIONS[:1],
                                      np.full((3, 4), UNK)],
                         ids=["mixed", "one word", "one caption", "repeated"])
def test_loss_and_gradients_match_torch(cell, reg, captions):
    model = small_net(cell, reg=reg)
    X = features(len(captions))
    loss, grads = model.loss(X, captions)
    expected_loss, expected = torch_loss(model, X, captions)
    assert loss == pytest.approx(expected_loss, abs=1e-12)
    assert list(grads) == list(model.params)
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, expected[name], atol=1e-10, err_msg=name)


@both_cells
def test_gradients_match_differences(cell):
    model = small_net(cell, reg=0.1)
    X, rng = features(), np.random.default_rng(2)
    _, grads = model.loss(X, CAPTIONS)
    for name, value in model.params.items():
        direction = rng.standard_normal(value.shape)
        losses = []
        for sign in (1, -1):
            model.params[name] = value + sign * 1e-6 * direction
            losses.append(model.loss(X, CAPTIONS)[0])
        model.params[name] = value
        slope = (losses[0] - losses[1]) / 2e-6
        assert slope == pytest.approx(np.vdot(grads[name], direction), abs=1e-7), name


def test_captions_without_a_word_to_predict():
    model = small_net()
    loss, grads = model.loss(features(2), np.array([[START, NULL], [START, NULL]]))
    assert loss == 0 and all(not grad.any() for grad in grads.values())
    assert model.total_loss(features(2), np.array([[START, NULL]] * 2)) == (0.0, 0)


@both_cells
def test_total_loss_is_the_loss_without_average(cell):
    model = small_net(cell)
    loss, words = model.total_loss(features(), CAPTIONS)
    assert words == 3 + 4 + 1
    assert loss == pytest.approx(3 * model.loss(features(), CAPTIONS)[0])


def test_dropout_is_random_in_training_only_and_right_on_average():
    model = small_net(dropout=0.4, feature_dropout=0.3)
    losses = [model.loss(features(), CAPTIONS)[0] for _ in range(2)]
    assert losses[0] != losses[1]
    assert model.total_loss(features(), CAPTIONS) == model.total_loss(features(), CAPTIONS)
    np.testing.assert_array_equal(model.sample(features(), 6), model.sample(features(), 6))
    dropped, kept = model._drop(np.ones((200, 500)), 0.4)
    assert set(np.unique(dropped)) == {0, 1 / 0.6}
    assert dropped.mean() == pytest.approx(1, abs=0.02)


def test_dropout_draws_from_the_generator_that_the_model_has_now():
    """The Solver gives a copy of the model another one for each share of a mini-batch."""
    model = small_net(dropout=0.4, feature_dropout=0.3)
    other, state = copy.copy(model), model.rng.bit_generator.state
    other.rng = np.random.default_rng(7)
    loss, _ = other.loss(features(), CAPTIONS)
    assert model.rng.bit_generator.state == state
    model.rng = np.random.default_rng(7)
    assert model.loss(features(), CAPTIONS)[0] == loss


@both_cells
def test_gradients_with_dropout_match_differences(cell):
    """With the generator set back, the same numbers are dropped again."""
    model = small_net(cell, dropout=0.4, feature_dropout=0.3)
    state = model.rng.bit_generator.state

    def loss_and_grads():
        model.rng.bit_generator.state = state
        return model.loss(features(), CAPTIONS)

    _, grads = loss_and_grads()
    rng = np.random.default_rng(3)
    for name, value in model.params.items():
        direction = rng.standard_normal(value.shape)
        losses = []
        for sign in (1, -1):
            model.params[name] = value + sign * 1e-6 * direction
            losses.append(loss_and_grads()[0])
        model.params[name] = value
        assert (losses[0] - losses[1]) / 2e-6 == pytest.approx(
            np.vdot(grads[name], direction), abs=1e-7), name


def test_a_resumed_training_with_dropout_equals_one_that_never_stopped(tmp_path):
    data = {"X_train": features(30), "y_train": np.tile(CAPTIONS, (10, 1)),
            "X_val": features(3), "y_val": CAPTIONS}

    def solver(epochs):
        model = small_net(dropout=0.5)
        return Solver(model, data, update_rule="adam", num_epochs=epochs, batch_size=7,
                      metric=lambda m, X, y: (-m.total_loss(X, y)[0], len(y)),
                      checkpoint=tmp_path / "checkpoint.npz")

    whole = solver(4)
    whole.train()
    (tmp_path / "checkpoint.npz").unlink()
    solver(2).train()
    resumed = solver(4)
    assert resumed.resume()
    resumed.train()
    assert resumed.loss_history == whole.loss_history
    for name, value in whole.model.params.items():
        np.testing.assert_array_equal(resumed.model.params[name], value)


# ---------------------------------------------------------------- sampling

NEVER = ("<NULL>", "<START>", "<UNK>")


def step_by_hand(model, h, c, word):
    """(h, c, scores) after one word, written for clarity; c is None for the plain cell."""
    p, H = model.params, model.hidden_dim
    a = p["W_embed"][word] @ p["Wx"] + h @ p["Wh"] + p["b"]
    if c is None:
        h = np.tanh(a)
    else:
        i, f, o = (1 / (1 + np.exp(-a[k * H:(k + 1) * H])) for k in range(3))
        c = f * c + i * np.tanh(a[3 * H:])
        h = o * np.tanh(c)
    return h, c, h @ p["W_vocab"] + p["b_vocab"]


def start_by_hand(model, x):
    h = x @ model.params["W_proj"] + model.params["b_proj"]
    return h, np.zeros_like(h) if model.cell_type == "lstm" else None


def greedy_by_hand(model, x, max_length, banned=(), end=None):
    """The likeliest word at every step, up to the word `end`, then <NULL>."""
    (h, c), word, caption = start_by_hand(model, x), START, []
    while len(caption) < max_length and word != end:
        h, c, scores = step_by_hand(model, h, c, word)
        scores[list(banned)] = -np.inf
        word = int(scores.argmax())
        caption.append(word)
    return caption + [NULL] * (max_length - len(caption))


def log_probability(model, x, caption):
    """Of a caption that ends with <END> or is cut off, among captions without NEVER."""
    (h, c), word, total = start_by_hand(model, x), START, 0.0
    for next_word in caption:
        h, c, scores = step_by_hand(model, h, c, word)
        scores[[NULL, START, UNK]] = -np.inf
        total += scores[next_word] - np.log(np.sum(np.exp(scores)))
        word = next_word
        if word == END:
            break
    return total


@both_cells
@pytest.mark.parametrize("seed", range(5))
def test_greedy_decoding_equals_a_plain_loop(cell, seed):
    model, X = small_net(cell, rng=seed), features(6)
    np.testing.assert_array_equal(model.sample(X, 7), [greedy_by_hand(model, x, 7) for x in X])
    np.testing.assert_array_equal(
        model.sample(X, 7, stop=True, never=NEVER),
        [greedy_by_hand(model, x, 7, (NULL, START, UNK), END) for x in X])


def all_captions(max_length, words=(4, 5, 6)):
    """Every caption: some words, then <END>, or max_length words."""
    for length in range(max_length):
        for start in itertools.product(words, repeat=length):
            yield (*start, END)
    yield from itertools.product(words, repeat=max_length)


@both_cells
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_finds_the_likeliest_of_all_captions(cell, seed):
    model = small_net(cell, rng=seed, weight_scale=1.0)
    X, max_length = features(4), 3
    found = model.sample(X, max_length, beam=100, never=NEVER)
    for x, caption in zip(X, found):
        best = max(all_captions(max_length), key=lambda words: log_probability(model, x, words))
        assert tuple(word for word in caption if word != NULL) == best


@both_cells
def test_a_beam_is_at_least_as_likely_as_greedy_on_average(cell):
    model = small_net(cell, rng=3, weight_scale=1.0)
    X = features(40)
    totals = [sum(log_probability(model, x, caption[caption != NULL]) for x, caption in
                  zip(X, model.sample(X, 6, stop=True, beam=beam, never=NEVER))) for beam in (1, 4)]
    assert totals[1] >= totals[0]


@both_cells
@pytest.mark.parametrize("options", [{"stop": True}, {"beam": 3}])
def test_captions_hold_words_then_end_then_padding(cell, options):
    model = small_net(cell, weight_scale=2.0)
    captions = model.sample(features(50), 8, never=NEVER, **options)
    assert captions.shape == (50, 8)
    for caption in captions.tolist():
        length = caption.index(END) if END in caption else 8
        assert not {NULL, START, UNK} & set(caption[:length])
        assert set(caption[length + 1:]) <= {NULL}


# ---------------------------------------------------------------- the rest

@pytest.mark.parametrize("options, message", [
    ({"cell_type": "gru"}, "cell_type expects"), ({"hidden_dim": 0}, "hidden_dim expects"),
    ({"dropout": 1}, "dropout expects"), ({"reg": -1}, "reg expects")])
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        small_net(**options)


@pytest.mark.parametrize("X, captions, message", [
    (features(3, 4), CAPTIONS, "features expects 5 columns"),
    (features(2), CAPTIONS, "captions expects a row"),
    (features(3), CAPTIONS[:, :1], "captions expects a row"),
    (features(3), CAPTIONS + 3, "captions expects 0 to 6")])
def test_batches_are_checked(X, captions, message):
    with pytest.raises(ValueError, match=message):
        small_net().loss(X, captions)


@pytest.mark.parametrize("words, options, message", [
    (WORD_TO_IDX, {"max_length": 0}, "max_length expects"), (WORD_TO_IDX, {"beam": 0}, "beam expects"),
    ({"<NULL>": 0, "a": 1}, {}, "word_to_idx expects the words <START>"),
    ({"<NULL>": 0, "<START>": 1}, {"stop": True}, "to stop at it, <END>")])
def test_what_sampling_needs_is_checked(words, options, message):
    with pytest.raises(ValueError, match=message):
        CaptioningRNN(words, 5, 3, 4).sample(features(), **options)


@both_cells
def test_a_few_captions_can_be_overfitted(cell):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((6, 5))
    captions = np.full((6, 6), NULL)
    captions[:, 0] = START
    captions[:, 1:4] = rng.integers(4, 7, (6, 3))
    captions[:, 4] = END
    model = small_net(cell, hidden_dim=30, dtype=np.float32)
    data = {"X_train": X, "y_train": captions, "X_val": X, "y_val": captions}
    solver = Solver(model, data, update_rule="adam", optim_config={"learning_rate": 1e-2},
                    num_epochs=150, batch_size=6,
                    metric=lambda m, X, y: (-m.total_loss(X, y)[0], len(y)))
    solver.train()
    assert solver.loss_history[-1] < 0.1
    np.testing.assert_array_equal(model.sample(X, 5, stop=True), captions[:, 1:])
