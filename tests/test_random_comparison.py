"""Random configurations: all layers against PyTorch, and what the Solver promises for any options."""
import signal

import numpy as np
import pytest

import torch_oracle as oracle
from fc_net import TwoLayerNet
from rnn import CaptioningRNN
from solver import Solver
from test_layers import LAYERS as FEED_FORWARD
from test_layers import assert_matches_torch, both_dtypes, conv, conv_without_bias, max_pool, normal
from test_norm_layers import ALT, BATCHNORM, SPATIAL, batchnorm, dropout, groupnorm, layernorm
from test_rnn_layers import LAYERS as RECURRENT
from test_rnn_layers import sequence_shapes, step_shapes, temporal_softmax_loss, word_embedding
from test_solver import assert_same_training


def size(rng, limit):
    return int(rng.integers(1, limit + 1))


def sizes(rng, *limits):
    return tuple(size(rng, limit) for limit in limits)


# ---------------------------------------------------------------- layers of random shapes

def random_fc(rng):
    features, M = sizes(rng, *[5] * size(rng, 3)), size(rng, 8)
    return FEED_FORWARD["fc"], [(size(rng, 6), *features), (int(np.prod(features)), M), (M,)]


def random_conv(rng):
    N, C, H, W = sizes(rng, 4, 5, 12, 12)
    return FEED_FORWARD["conv"], [(N, C, H, W), (size(rng, 6), C, size(rng, H), size(rng, W))]


def random_conv_with_options(make):
    """Strides beyond the size of the filter and padding beyond the image are among them."""
    def draw(rng):
        N, C, H, W = sizes(rng, 4, 5, 12, 12)
        stride, pad = sizes(rng, 4, 4), tuple(size - 1 for size in sizes(rng, 5, 5))
        if rng.random() < 0.5:
            stride, pad = stride[0], pad[0]
        rows, columns = np.broadcast_to(pad, 2)
        filters = size(rng, 6), C, size(rng, H + 2 * rows), size(rng, W + 2 * columns)
        layer = make(stride, pad, (N, C, H, W), filters)
        return layer, layer.shapes[0]
    return draw


def random_batchnorm(passes, axes, mode):
    """At least 3 numbers for each mean: the gradient of 2 is almost 0, a difference."""
    def draw(rng):
        shape = (size(rng, 20) + 2, *sizes(rng, *[8, 5, 5][:axes - 1]))
        layer = batchnorm(*passes, [shape], mode, eps=10 ** rng.uniform(-3, 1))
        return layer, layer.shapes[0]
    return draw


def random_layernorm(rng):
    layer = layernorm([(size(rng, 12), size(rng, 30) + 2)], eps=10 ** rng.uniform(-3, 1))
    return layer, layer.shapes[0]


def random_groupnorm(rng):
    N, G, of_each, H, W = sizes(rng, 5, 5, 4, 6, 6)
    layer = groupnorm((N, G * of_each, H + 2, W), G, eps=10 ** rng.uniform(-3, 1))
    return layer, layer.shapes[0]


def random_dropout(rng):
    shape = sizes(rng, *[6] * size(rng, 4))
    mode = str(rng.choice(["train", "test"]))
    return dropout([shape], 1 - rng.random(), mode, size(rng, 1000)), [shape]


def random_max_pool(rng):
    N, C, H, W = sizes(rng, 4, 5, 12, 12)
    return max_pool(sizes(rng, H, W, 4), (N, C, H, W)), [(N, C, H, W)]


def random_temporal_fc(rng):
    N, T, D, M = sizes(rng, 5, 8, 7, 9)
    return RECURRENT["temporal_fc"], [(N, T, D), (D, M), (M,)]


def random_word_embedding(rng):
    V, D = sizes(rng, 12, 7)
    return word_embedding(sizes(rng, *[5] * size(rng, 3)), V, D), [(V, D)]


def random_recurrent(name, shapes, gates):
    return lambda rng: (RECURRENT[name], shapes(*sizes(rng, 8, 5, 7, 9), gates))


# name: function of a random generator that returns a layer and the shapes of its inputs
RANDOM = {
    "fc": random_fc,
    "relu": lambda rng: (FEED_FORWARD["relu"], [sizes(rng, *[6] * size(rng, 4))]),
    "conv": random_conv,
    "conv with options": random_conv_with_options(conv),
    "conv without bias": random_conv_with_options(conv_without_bias),
    "max_pool": random_max_pool,
    "softmax_loss": lambda rng: (FEED_FORWARD["softmax_loss"], [sizes(rng, 20, 30)]),
    "svm_loss": lambda rng: (FEED_FORWARD["svm_loss"], [sizes(rng, 20, 30)]),
    "batchnorm": random_batchnorm(BATCHNORM, 2, "train"),
    "batchnorm_alt": random_batchnorm(ALT, 2, "train"),
    "batchnorm, test": random_batchnorm(BATCHNORM, 2, "test"),
    "spatial_batchnorm": random_batchnorm(SPATIAL, 4, "train"),
    "spatial_batchnorm, test": random_batchnorm(SPATIAL, 4, "test"),
    "layernorm": random_layernorm,
    "spatial_groupnorm": random_groupnorm,
    "dropout": random_dropout,
    "rnn": random_recurrent("rnn", sequence_shapes, 1),
    "lstm": random_recurrent("lstm", sequence_shapes, 4),
    "rnn_step": random_recurrent("rnn_step", step_shapes, 1),
    "lstm_step": random_recurrent("lstm_step", step_shapes, 4),
    "word_embedding": random_word_embedding,
    "temporal_fc": random_temporal_fc,
    "temporal_softmax_loss": lambda rng: (
        temporal_softmax_loss(counted=rng.choice([0, 0.5, 0.9, 1])), [sizes(rng, 6, 8, 40)]),
}
every_layer = pytest.mark.parametrize("name", RANDOM)


def compare(name, dtype, seed, count):
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        layer, shapes = RANDOM[name](rng)
        # A recurrent network with large weights is chaotic: it amplifies rounding errors.
        scale = dtype(10 ** rng.uniform(-3, 3) if name.endswith("loss") else 0.5)
        assert_matches_torch(layer, [scale * normal(rng, shape, dtype) for shape in shapes], rng)


@every_layer
@both_dtypes
def test_random_shapes_match_torch(name, dtype):
    compare(name, dtype, seed=0, count=30)


@pytest.mark.slow
@every_layer
@both_dtypes
def test_a_thousand_random_shapes_match_torch(name, dtype):
    compare(name, dtype, seed=1, count=1000)


@every_layer
def test_a_gradient_that_is_off_by_a_thousandth_is_noticed(name, monkeypatch):
    exact = oracle.gradients

    def slightly_wrong(*arguments):
        out, gradients = exact(*arguments)
        return out, [*gradients[:-1], 1.001 * gradients[-1]]

    monkeypatch.setattr(oracle, "gradients", slightly_wrong)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        compare(name, np.float64, seed=0, count=5)      # one upstream gradient may meet only zeros


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
