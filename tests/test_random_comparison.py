"""Random configurations: all layers against PyTorch, and what the Solver promises for any options."""
import collections
import signal

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import layers
import rnn_layers
import test_rnn_layers as recurrent
import torch_oracle as oracle
from fc_net import TwoLayerNet
from rnn import CaptioningRNN
from solver import Solver
from test_layers import TOLERANCE, assert_layer_matches, assert_matches, normal, random_case
from test_solver import assert_same_training

both_dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])


def size(rng, limit):
    return int(rng.integers(1, limit + 1))


# ---------------------------------------------------------------- one random comparison of each kind

def compare_feed_forward(rng, dtype):
    forward, backward, twin, shapes = random_case(rng)
    inputs = tuple(normal(rng, shape, dtype) for shape in shapes)
    assert_layer_matches(forward, backward, twin, inputs, dtype, rng)


def compare_softmax_loss(rng, dtype):
    N, C = size(rng, 20), size(rng, 30)
    x, y = normal(rng, (N, C), dtype) * dtype(10 ** rng.uniform(-3, 3)), rng.integers(0, C, N)
    loss, dx = layers.softmax_loss(x, y)
    expected_loss, expected_dx = oracle.softmax_loss(x, y)
    assert loss == pytest.approx(expected_loss, rel=TOLERANCE[dtype], abs=TOLERANCE[dtype])
    assert_matches(dx, expected_dx, dtype)


def compare_recurrent(name, kind, gates):
    def compare(rng, dtype):
        inputs = recurrent.sequence_inputs(rng, random_sizes(rng), gates, dtype)
        h, cache = getattr(rnn_layers, f"{name}_forward")(*inputs)
        dh = normal(rng, h.shape, dtype)
        expected_h, expected = recurrent.torch_recurrent(kind, inputs, dh)
        recurrent.assert_matches(h, expected_h, dtype)
        for actual, gradient in zip(getattr(rnn_layers, f"{name}_backward")(dh, cache), expected,
                                    strict=True):
            recurrent.assert_matches(actual, gradient, dtype)
    return compare


def compare_layer(name, twin, make_inputs):
    """A layer of rnn_layers that a torch function of the same arguments imitates."""
    def compare(rng, dtype):
        inputs = make_inputs(rng, dtype)
        *outputs, cache = getattr(rnn_layers, f"{name}_forward")(*inputs)
        upstream = [normal(rng, out.shape, dtype) for out in outputs]
        expected_outputs, expected = recurrent.torch_gradients(twin, inputs, upstream)
        actual = recurrent.as_tuple(getattr(rnn_layers, f"{name}_backward")(*upstream, cache))
        for value, expected_value in zip([*outputs, *actual], [*expected_outputs, *expected],
                                         strict=True):
            recurrent.assert_matches(value, expected_value, dtype)
    return compare


def compare_word_embedding(rng, dtype):
    shape, V = tuple(size(rng, 5) for _ in range(size(rng, 3))), size(rng, 12)
    x, W = rng.integers(0, V, shape), normal(rng, (V, size(rng, 7)), dtype)
    out, cache = rnn_layers.word_embedding_forward(x, W)
    dout = normal(rng, out.shape, dtype)
    (expected_out,), (expected,) = recurrent.torch_gradients(
        lambda weights: F.embedding(torch.tensor(x), weights), [W], [dout])
    recurrent.assert_matches(out, expected_out, dtype)
    recurrent.assert_matches(rnn_layers.word_embedding_backward(dout, cache), expected, dtype)


def compare_temporal_softmax_loss(rng, dtype):
    N, T, V = size(rng, 6), size(rng, 8), size(rng, 40)
    x, y = normal(rng, (N, T, V), dtype) * dtype(10 ** rng.uniform(-3, 3)), rng.integers(0, V, (N, T))
    mask = rng.random((N, T)) < rng.choice([0, 0.5, 0.9, 1])
    scores = torch.tensor(x, requires_grad=True)
    expected = F.cross_entropy(scores.flatten(0, 1), torch.tensor(np.where(mask, y, -100)).flatten(),
                               ignore_index=-100, reduction="sum") / N
    expected.backward()
    loss, dx = rnn_layers.temporal_softmax_loss(x, y, mask)
    tolerance = recurrent.TOLERANCE[dtype]
    assert loss == pytest.approx(expected.item(), rel=tolerance, abs=tolerance)
    recurrent.assert_matches(dx, scores.grad.numpy(), dtype)


def random_sizes(rng):
    """(T, N, D, H)."""
    return tuple(size(rng, limit) for limit in (8, 5, 7, 9))


def temporal_inputs(rng, dtype):
    T, N, D, M = random_sizes(rng)
    return normal(rng, (N, T, D), dtype), normal(rng, (D, M), dtype), normal(rng, M, dtype)


# random_case draws among four layers.
COMPARISONS = {
    "feed-forward": (4, compare_feed_forward),
    "softmax_loss": (1, compare_softmax_loss),
    "rnn": (1, compare_recurrent("rnn", torch.nn.RNN, 1)),
    "lstm": (1, compare_recurrent("lstm", torch.nn.LSTM, 4)),
    "rnn_step": (1, compare_layer("rnn_step", recurrent.torch_rnn_step, lambda rng, dtype:
                                  recurrent.step_inputs(rng, random_sizes(rng), 1, dtype))),
    "lstm_step": (1, compare_layer("lstm_step", recurrent.torch_lstm_step, lambda rng, dtype:
                                   recurrent.step_inputs(rng, random_sizes(rng), 4, dtype))),
    "word_embedding": (1, compare_word_embedding),
    "temporal_fc": (1, compare_layer("temporal_fc", lambda x, w, b: F.linear(x, w.T, b),
                                     temporal_inputs)),
    "temporal_softmax_loss": (1, compare_temporal_softmax_loss),
}


def compare_all(dtype, count, seed):
    """(comparisons by kind, the disagreements among them)."""
    rng = np.random.default_rng(seed)
    names = list(COMPARISONS)
    weights = np.array([weight for weight, _ in COMPARISONS.values()], dtype=float)
    done, disagreements = collections.Counter(), []
    for number in range(count):
        name = names[rng.choice(len(names), p=weights / weights.sum())]
        done[name] += 1
        try:
            COMPARISONS[name][1](np.random.default_rng([seed, number]), dtype)
        except AssertionError as error:
            disagreements.append((name, number, str(error)))
    return done, disagreements


@both_dtypes
def test_a_hundred_random_configurations_match_torch(dtype):
    done, disagreements = compare_all(dtype, count=100, seed=0)
    assert len(done) == len(COMPARISONS) and not disagreements


@pytest.mark.slow
@both_dtypes
def test_ten_thousand_random_configurations_match_torch(dtype, capsys):
    done, disagreements = compare_all(dtype, count=10_000, seed=1)
    with capsys.disabled():
        print(f"\n{dtype.__name__}: {sum(done.values()):,} comparisons, "
              f"{len(disagreements)} disagreements ({dict(done)})")
    assert not disagreements, disagreements[:5]


@pytest.mark.parametrize("name", COMPARISONS)
def test_a_disagreement_is_seen(name, monkeypatch):
    """A layer whose numbers are off by a thousandth is caught by its comparison."""
    for module in (layers, rnn_layers):
        for function in [key for key in vars(module) if key.endswith(("_backward", "_loss"))]:
            monkeypatch.setattr(module, function, slightly_wrong(getattr(module, function)))
    with pytest.raises(AssertionError):
        for seed in range(5):                   # a dout may happen to meet nothing but zeros
            COMPARISONS[name][1](np.random.default_rng(seed), np.float64)


def slightly_wrong(function):
    def wrong(*arguments):
        result = function(*arguments)
        if isinstance(result, tuple):
            return (*result[:-1], result[-1] * result[-1].dtype.type(1.001))
        return result * result.dtype.type(1.001)
    return wrong


# ---------------------------------------------------------------- the Solver with any options

class Watched(TwoLayerNet):
    """Notes the samples it is trained on, and presses Ctrl-C in a step if told so."""

    seen, stop_after = (), None

    def loss(self, X, y=None):
        if y is not None:
            self.seen = [*self.seen, X[:, 0].tolist()]
            if len(self.seen) == self.stop_after:
                signal.raise_signal(signal.SIGINT)
        return super().loss(X, y)


def random_training(rng):
    """(data, options of the Solver), any subset of them given."""
    num_train, num_val = size(rng, 60), size(rng, 20)
    data = {"X_train": normal(rng, (num_train, 4)), "y_train": rng.integers(0, 3, num_train),
            "X_val": normal(rng, (num_val, 4)), "y_val": rng.integers(0, 3, num_val)}
    data["X_train"][:, 0] = np.arange(num_train) / num_train     # tells the samples apart
    every = {
        "update_rule": str(rng.choice(["sgd", "sgd_momentum", "rmsprop", "adam"])),
        "optim_config": {"learning_rate": float(10 ** rng.uniform(-4, -1))},
        "lr_decay": float(rng.uniform(0.3, 1.1)), "batch_size": size(rng, 70),
        "num_train_samples": size(rng, 70), "eval_batch_size": size(rng, 30),
        "seed": size(rng, 1000), "extra_metrics": {"size": lambda model: np.sum(model.params["W1"])},
    }
    chosen = {name: value for name, value in every.items() if rng.random() < 0.7}
    return data, {**chosen, "num_epochs": size(rng, 4)}


def check_solver(rng, folder):
    data, options = random_training(rng)
    weights = size(rng, 1000)

    def solver(**more):
        return Solver(Watched(4, 3, 3, rng=weights, dtype=np.float64), data, **options, **more)

    whole = solver()
    whole.train()
    epochs, batch_size = options["num_epochs"], options.get("batch_size", 100)
    num_train = len(data["X_train"])
    steps = -(-num_train // batch_size)
    assert len(whole.loss_history) == epochs * steps == len(whole.model.seen)
    assert len(whole.train_acc_history) == len(whole.val_acc_history) == epochs
    assert all(len(history) == epochs for history in whole.extra_history.values())
    for epoch in range(epochs):
        batches = whole.model.seen[epoch * steps:(epoch + 1) * steps]
        assert all(len(batch) == batch_size for batch in batches[:-1])
        assert sorted(sum(batches, [])) == sorted(data["X_train"][:, 0].tolist())
    assert whole.best_val_acc == max(whole.val_acc_history)
    assert whole.check_accuracy(data["X_val"], data["y_val"]) == whole.best_val_acc
    assert whole.best_val_acc == np.mean(whole.model.loss(data["X_val"]).argmax(1) == data["y_val"])
    learning_rate = whole.configs["W1"]["learning_rate"]
    first = options.get("optim_config", {}).get("learning_rate")
    if first is not None:
        assert learning_rate == pytest.approx(first * options.get("lr_decay", 1) ** epochs)

    path = folder / f"{rng.integers(2 ** 60)}.npz"
    stopped = solver(checkpoint=path)
    stopped.model.stop_after = int(rng.integers(1, epochs * steps + 1))
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    resumed = solver(checkpoint=path)
    assert resumed.resume()
    resumed.train()
    assert_same_training(whole, resumed)
    assert whole.extra_history == resumed.extra_history
    assert stopped.model.seen + list(resumed.model.seen) == whole.model.seen


@pytest.mark.parametrize("stop_after", [1, 4, 6, 11])
@pytest.mark.parametrize("cell_type", ["rnn", "lstm"])
def test_a_model_that_draws_random_numbers_resumes_to_the_same_bits(cell_type, stop_after, tmp_path):
    """Dropout goes on where it was, and not from the beginning."""
    class Stopped(CaptioningRNN):
        calls = 0

        def loss(self, features, captions):
            self.calls += 1
            if self.calls == stop_after:
                signal.raise_signal(signal.SIGINT)
            return super().loss(features, captions)

    rng = np.random.default_rng(0)
    words = {word: number for number, word in enumerate(["<NULL>", "<START>", "<END>", "a", "b"])}
    data = {f"{kind}_{part}": values for part, count in (("train", 20), ("val", 6))
            for kind, values in (("X", normal(rng, (count, 4))), ("y", rng.integers(0, 5, (count, 6))))}

    def solver(model, **more):
        return Solver(model(words, 4, 3, 5, cell_type, dropout=0.4, feature_dropout=0.3, rng=2), data,
                      batch_size=6, num_epochs=3, metric=lambda model, X, y: (
                          -model.total_loss(X, y)[0], max(1, model.total_loss(X, y)[1])), **more)

    whole = solver(CaptioningRNN)
    whole.train()
    with pytest.raises(KeyboardInterrupt):
        solver(Stopped, checkpoint=tmp_path / "run.npz").train()
    resumed = solver(CaptioningRNN, checkpoint=tmp_path / "run.npz")
    assert resumed.resume()
    resumed.train()
    assert_same_training(whole, resumed)


def test_the_solver_keeps_its_promises_for_any_options(tmp_path):
    for number in range(25):
        check_solver(np.random.default_rng([2, number]), tmp_path)


@pytest.mark.slow
def test_the_solver_keeps_its_promises_for_a_thousand_options(tmp_path):
    for number in range(1000):
        check_solver(np.random.default_rng([3, number]), tmp_path)
