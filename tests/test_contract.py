"""The published contract of the assignment: our files and the course's can take each other's place.

Expected values come from PyTorch, from formulas written here, from the numbers that the course
publishes and from the files in tests/student, never from the functions under test.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch_oracle

import layers
import norm_layers
import rnn
import rnn_layers
from cnn import ConvNet
from fc_net import TwoLayerNet
from rnn import CaptioningRNN
from solver import Solver

ROOT = pathlib.Path(__file__).resolve().parent.parent
close = np.testing.assert_allclose


def normal(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


def assert_contents(cache, *expected):
    """The cache is a tuple of these arrays and dicts."""
    assert type(cache) is tuple and len(cache) == len(expected)
    for part, wanted in zip(cache, expected):
        assert part == wanted if isinstance(wanted, dict) or wanted is None \
            else np.array_equal(part, wanted)


# ---------------------------------------------------------------- caches of the layers

@pytest.mark.parametrize("name, shapes, more", [
    ("fc", [(4, 3), (3, 5), (5,)], []), ("relu", [(4, 3, 2)], []),
    ("conv", [(2, 3, 6, 7), (4, 3, 2, 5)], []),
    ("conv", [(2, 3, 6, 7), (4, 3, 2, 5), 4], [{"stride": 2, "pad": 1}]),
    ("conv", [(2, 3, 6, 7), (4, 3, 2, 5)], [None, {"stride": 2, "pad": 1}]),
    ("conv", [(2, 3, 6, 7), (4, 3, 2, 5), 4], [None]),
    ("max_pool", [(2, 3, 6, 7)], [{"pool_height": 2, "pool_width": 3, "stride": 2}])])
def test_the_cache_of_a_layer_is_its_inputs(name, shapes, more):
    inputs = [*normal(*shapes), *more]
    _, cache = getattr(layers, f"{name}_forward")(*inputs)
    assert_contents((cache,) if name == "relu" else cache, *inputs)


@pytest.mark.parametrize("mode", ["train", "test"])
def test_the_cache_of_dropout_is_that_of_cs231n(mode):
    x, = normal((4, 3))
    param = {"p": 0.6, "mode": mode, "seed": 5}
    out, cache = norm_layers.dropout_forward(x, param)
    assert_contents(cache, param, None if mode == "test" else out / x)


def test_dropout_backward_takes_the_mask_of_a_student():
    dout, = normal((4, 3))
    mask = (np.arange(12).reshape(4, 3) % 3 > 0) / 0.6
    close(norm_layers.dropout_backward(dout, ({"p": 0.6, "mode": "train"}, mask)), dout * mask)


def test_the_cache_of_temporal_fc_holds_its_output_too():
    x, w, b = normal((2, 4, 3), (3, 5), 5)
    out, cache = rnn_layers.temporal_fc_forward(x, w, b)
    close(out, np.einsum("ntd,dm->ntm", x, w) + b, atol=1e-12)
    assert_contents(cache, x, w, b, out)


@pytest.mark.parametrize("name, twin, shapes", [
    ("fc", torch_oracle.fc, [(4, 6), (6, 5), (5,)]),
    ("fc", torch_oracle.fc, [(4, 2, 3), (6, 5), (5,)]),
    ("relu", torch_oracle.relu, [(4, 3, 2)]),
    ("conv", torch_oracle.conv, [(2, 3, 7, 6), (4, 3, 2, 5)])])
def test_backward_passes_take_caches_made_by_hand(name, twin, shapes):
    inputs = normal(*shapes)
    dout, = normal(twin(*map(torch.tensor, inputs)).shape, seed=1)
    _, expected = torch_oracle.gradients(twin, inputs, dout)
    found = getattr(layers, f"{name}_backward")(dout, tuple(inputs) if inputs[1:] else inputs[0])
    for gradient, wanted in zip((found,) if name == "relu" else found, expected, strict=True):
        close(gradient, wanted, atol=1e-12)


def test_temporal_fc_backward_takes_a_cache_made_by_hand():
    x, w, b, dout = normal((2, 4, 3), (3, 5), 5, (2, 4, 5))
    out, expected = torch_oracle.gradients(lambda x, w, b: x @ w + b, (x, w, b), dout)
    found = rnn_layers.temporal_fc_backward(dout, (x, w, b, out))
    for gradient, wanted in zip(found, expected, strict=True):
        close(gradient, wanted, atol=1e-12)


@pytest.mark.parametrize("extra", [{}, {"padding": 0, "name": "pool1"}], ids=["", "more keys"])
@pytest.mark.parametrize("height, width, stride, image", [
    (2, 2, 2, (6, 8)), (3, 3, 2, (7, 9)), (2, 3, 1, (5, 6)), (3, 1, 2, (8, 5)), (2, 2, 2, (5, 7)),
    (2, 3, 4, (9, 12))], ids="tiles overlap flat tall remainder gaps".split())
def test_max_pooling_takes_any_window_and_a_cache_made_by_hand(height, width, stride, image, extra):
    pool_param = {"pool_height": height, "pool_width": width, "stride": stride}
    x = normal((2, 3, *image))[0].round()                       # with ties
    twin = torch_oracle.max_pool(pool_param)
    dout, = normal(twin(torch.tensor(x)).shape, seed=1)
    expected_out, (expected,) = torch_oracle.gradients(twin, [x], dout)
    close(layers.max_pool_forward(x, pool_param | extra)[0], expected_out, atol=0)
    close(layers.max_pool_backward(dout, (x, pool_param | extra)), expected, atol=1e-12)


@pytest.mark.parametrize("dout, change, argument", [
    ((2, 3, 3, 3), {}, "dout"), ((2, 3, 2), {}, "dout"),
    *(((2, 3, 2, 3), change, "pool_param")
      for change in ({"stride": 0}, {"pool_height": 6}, {"pool_width": 1.5}))])
def test_the_errors_of_max_pool_backward_name_it(dout, change, argument):
    cache = np.ones((2, 3, 5, 6)), {"pool_height": 2, "pool_width": 2, "stride": 2} | change
    with pytest.raises(ValueError, match=f"^max_pool_backward: {argument}"):
        layers.max_pool_backward(np.ones(dout), cache)


# ---------------------------------------------------------------- the models

def test_two_layer_net_gives_the_published_losses():
    """CS231n's FullyConnectedNets.ipynb."""
    N, D, H, C = 3, 5, 50, 7
    model = TwoLayerNet(D, H, C, dtype=np.float64)
    for name, low, high, shape in (("W1", -0.7, 0.3, (D, H)), ("b1", -0.1, 0.9, H),
                                   ("W2", -0.3, 0.4, (H, C)), ("b2", -0.9, 0.1, C)):
        model.params[name] = np.linspace(low, high, num=np.prod(shape)).reshape(shape)
    X = np.linspace(-5.5, 4.5, num=N * D).reshape(D, N).T
    close(model.loss(X)[0, [0, -1]], [11.53165108, 16.09215096], atol=1e-8)
    for model.reg, published in ((0.0, 3.4702243556), (1.0, 26.5948426952)):
        assert model.loss(X, np.array([0, 5, 1]))[0] == pytest.approx(published, abs=1e-10)


def test_captioning_rnn_gives_the_published_loss_with_null_as_its_only_special_word():
    """CS231n's RNN_Captioning.ipynb: three words whose ids have a gap."""
    word_to_idx, N, D, W, H, T = {"<NULL>": 0, "cat": 2, "dog": 3}, 10, 20, 30, 40, 13
    model = CaptioningRNN(word_to_idx, input_dim=D, wordvec_dim=W, hidden_dim=H, cell_type="rnn",
                          dtype=np.float64)
    for name, v in model.params.items():
        model.params[name] = np.linspace(-1.4, 1.3, num=v.size).reshape(*v.shape)
    features = np.linspace(-1.5, 0.3, num=N * D).reshape(N, D)
    captions = (np.arange(N * T) % len(word_to_idx)).reshape(N, T)
    assert model.loss(features, captions)[0] == pytest.approx(9.83235591003, abs=1e-10)


def test_captioning_rnn_learns_with_null_as_its_only_special_word():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((6, 8)), rng.integers(0, 5, (6, 4))
    model = CaptioningRNN({"<NULL>": 0, "a": 1, "b": 2, "c": 3, "d": 4}, 8, 6, 10, "rnn", rng=0)
    solver = Solver(model, {"X_train": X, "y_train": y, "X_val": X, "y_val": y}, num_epochs=20,
                    optim_config={"learning_rate": 0.1},
                    metric=lambda model, X, y: (-len(X) * model.loss(X, y)[0], len(X)))
    solver.train()
    assert solver.loss_history[-1] < 0.5 * solver.loss_history[0]


@pytest.mark.parametrize("net, arguments, shapes, X", [
    (TwoLayerNet, (30, 40, 7, 0.5, 0.25),
     {"W1": (30, 40), "b1": (40,), "W2": (40, 7), "b2": (7,)}, (2, 30)),
    (ConvNet, ((2, 9, 10), 30, 4, 40, 7, 0.5, 0.25, np.float64),
     {"W1": (30, 2, 4, 4), "W2": (270, 40), "b2": (40,), "W3": (40, 7), "b3": (7,)},
     (2, 2, 9, 10))])
def test_classifiers_take_their_arguments_in_the_published_order(net, arguments, shapes, X):
    model = net(*arguments)
    assert {name: value.shape for name, value in model.params.items()} == shapes
    weights = [value for name, value in model.params.items() if name[0] == "W"]
    assert [value.std() for value in weights] == pytest.approx([0.5] * len(weights), rel=0.3)
    # Black images have scores of 0: the loss is log 7 and the penalty.
    penalty = 0.5 * 0.25 * sum((value.astype(float) ** 2).sum() for value in weights)
    loss, _ = model.loss(np.zeros(X), np.array([0, 6]))
    assert loss == pytest.approx(np.log(7) + penalty, rel=1e-5)
    dtype = np.float64 if net is ConvNet else np.float32
    assert {value.dtype for value in model.params.values()} == {np.dtype(dtype)}


def test_captioning_rnn_takes_its_arguments_in_the_published_order():
    params = CaptioningRNN({"<NULL>": 0, "cat": 1, "dog": 2}, 20, 30, 40, "rnn", np.float64).params
    assert {name: value.shape for name, value in params.items()} == {
        "W_proj": (20, 40), "b_proj": (40,), "W_embed": (3, 30), "Wx": (30, 40), "Wh": (40, 40),
        "b": (40,), "W_vocab": (40, 3), "b_vocab": (3,)}
    assert all(value.dtype == np.float64 for value in params.values())


# ---------------------------------------------------------------- rnn.py and its layers

VOCABULARY = {"<NULL>": 0, "<START>": 1, "<END>": 2, "<UNK>": 3, "cat": 4, "dog": 5, "sees": 6}
N, T, D, W, H, V = 10, 4, 8, 3, 6, len(VOCABULARY)
# What each function is given in loss(): the shapes of its arguments up to a cache.
GIVEN = {
    "fc_forward": [(N, D), (D, H), (H,)], "fc_backward": [(N, H)],
    "word_embedding_forward": [(N, T), (V, W)], "word_embedding_backward": [(N, T, W)],
    "rnn_forward": [(T, N, W), (N, H), (W, H), (H, H), (H,)], "rnn_backward": [(T, N, H)],
    "temporal_fc_forward": [(N, T, H), (H, V), (V,)], "temporal_fc_backward": [(N, T, V)],
    "temporal_softmax_loss": [(N, T, V), (N, T), (N, T)]}
# Which gradients become twice as large where a function's results do.
ALL = {"W_proj", "b_proj", "W_embed", "Wx", "Wh", "b", "W_vocab", "b_vocab"}
DOUBLED = {"temporal_softmax_loss": ALL, "temporal_fc_backward": ALL,
           "rnn_backward": ALL - {"W_vocab", "b_vocab"}, "word_embedding_backward": {"W_embed"},
           "fc_backward": {"W_proj", "b_proj"}}


def small_model():
    """(model, features, captions); a model that writes every word of its vocabulary."""
    model = CaptioningRNN(VOCABULARY, D, W, H, "rnn", dtype=np.float64)
    for (name, value), new in zip(model.params.items(), normal(
            *[value.shape for value in model.params.values()], seed=16)):
        model.params[name] = new * (2 if value.ndim == 2 else 0.1)
    features, = normal((N, D), seed=4)
    return model, features, np.random.default_rng(5).integers(0, V, (N, T + 1))


@pytest.mark.parametrize("name", GIVEN)
def test_the_loss_is_computed_by_the_function_that_has_the_name_in_rnn(name, monkeypatch):
    model, features, captions = small_model()
    loss, grads = model.loss(features, captions)
    original = getattr(rnn, name)

    def doubled(*args):
        result = original(*args)
        if name.endswith("_forward"):
            return 2 * result[0], *result[1:]
        return tuple(2 * part for part in result) if isinstance(result, tuple) else 2 * result

    monkeypatch.setattr(rnn, name, doubled)
    other_loss, other_grads = model.loss(features, captions)
    if name.endswith("_forward"):
        assert other_loss != pytest.approx(loss, rel=1e-3)
    else:
        assert other_loss == loss * (2 if name == "temporal_softmax_loss" else 1)
        for key, value in grads.items():
            close(other_grads[key], value * (2 if key in DOUBLED[name] else 1), rtol=1e-12)


def test_the_layers_are_given_the_shapes_of_the_course_once_each(monkeypatch):
    model, features, captions = small_model()
    calls = {}

    def recorder(name, function):
        def record(*args):                      # no keyword beyond the course's arguments
            calls.setdefault(name, []).append(args)
            return function(*args)
        return record

    for name in [*GIVEN, "rnn_step_forward"]:
        monkeypatch.setattr(rnn, name, recorder(name, getattr(rnn, name)))
    model.loss(features, captions)
    assert {name: len(args) for name, args in calls.items()} == dict.fromkeys(GIVEN, 1)
    for name, shapes in GIVEN.items():
        args = calls[name][0]
        assert [np.shape(value) for value in args[:len(shapes)]] == shapes, name
        assert len(args) == len(shapes) + name.endswith("_backward"), name
    np.testing.assert_array_equal(calls["word_embedding_forward"][0][0], captions[:, :-1])
    np.testing.assert_array_equal(calls["temporal_softmax_loss"][0][1], captions[:, 1:])
    np.testing.assert_array_equal(calls["temporal_softmax_loss"][0][2], captions[:, 1:] != 0)

    calls.clear()
    model.sample(features, 5)
    assert {len(args) for args in calls["rnn_step_forward"]} == {5}
    for args in calls["rnn_step_forward"]:
        assert [value.shape for value in args] == [(N, W), *GIVEN["rnn_forward"][1:]]
    assert {args[0].shape for args in calls["word_embedding_forward"]} == {(N, 1)}
    assert {args[0].ndim for args in calls["fc_forward"]} == {2}


@pytest.mark.parametrize("name", ["rnn_step_forward", "word_embedding_forward", "fc_forward"])
def test_captions_are_written_by_the_function_that_has_the_name_in_rnn(name, monkeypatch):
    model, features, _ = small_model()
    captions, original = model.sample(features), getattr(rnn, name)
    monkeypatch.setattr(rnn, name, lambda *args: (-original(*args)[0], *original(*args)[1:]))
    assert (model.sample(features) != captions).any()


def greedy(model, features, max_length, banned=()):
    """The likeliest word at every step, one picture and one word at a time."""
    p = model.params
    captions = []
    for row in features:
        h, word, caption = row @ p["W_proj"] + p["b_proj"], VOCABULARY["<START>"], []
        for _ in range(max_length):
            h = np.tanh(p["W_embed"][word] @ p["Wx"] + h @ p["Wh"] + p["b"])
            scores = h @ p["W_vocab"] + p["b_vocab"]
            word = max((id for id in range(V) if id not in banned), key=scores.__getitem__)
            caption.append(word)
        captions.append(caption)
    return np.array(captions)


def test_sample_writes_the_likeliest_words_of_the_whole_vocabulary_also_after_end():
    model, features, _ = small_model()
    captions = model.sample(features)
    np.testing.assert_array_equal(captions, greedy(model, features, 30))
    assert set(captions.ravel()) == set(range(V))               # <NULL>, <START> and <UNK> too
    goes_on = captions[:, 1:][captions[:, :-1] == VOCABULARY["<END>"]]
    assert (goes_on != VOCABULARY["<NULL>"]).any()
    np.testing.assert_array_equal(model.sample(features, 4), captions[:, :4])
    np.testing.assert_array_equal(model.sample(features, max_length=1), captions[:, :1])


def ended(captions):
    """The captions with <NULL> for every word after the first <END>."""
    ends = captions == VOCABULARY["<END>"]
    return np.where(ends.cumsum(axis=1) - ends > 0, VOCABULARY["<NULL>"], captions)


def test_what_goes_beyond_the_course_is_asked_for_by_keyword():
    model, features, _ = small_model()
    stopped = ended(greedy(model, features, 30))
    np.testing.assert_array_equal(model.sample(features, stop=True), stopped)
    np.testing.assert_array_equal(model.sample(features, 9, never=("<UNK>", "cat")),
                                  greedy(model, features, 9, {3, 4}))
    searched = model.sample(features, 30, beam=20)
    np.testing.assert_array_equal(searched, ended(searched))
    assert (searched != stopped).any()
    with pytest.raises(TypeError):
        model.sample(features, 9, True)


# ---------------------------------------------------------------- a student's layers in our tree

EXCHANGES = [("layers",), ("rnn_layers",), ("layers", "rnn_layers")]
NUMBERS = """
import sys
import numpy as np
from cnn import ConvNet
from fc_net import TwoLayerNet
from rnn import CaptioningRNN

out, *cells = sys.argv[1:]
rng = np.random.default_rng(0)
found = {}
X, y = rng.standard_normal((6, 2, 9, 8)), rng.integers(0, 5, 6)
words = {word: i for i, word in enumerate(["<NULL>", "<START>", "<END>", "<UNK>", "cat", "dog"])}
captions = rng.integers(0, 6, (6, 5))
models = {"fc": (TwoLayerNet(144, 7, 5, reg=0.1, dtype=np.float64, rng=1), X, y),
          "conv": (ConvNet((2, 9, 8), 3, 4, 7, 5, reg=0.1, dtype=np.float64, rng=1), X, y)}
for cell in cells:
    model = CaptioningRNN(words, 144, 4, 7, cell, dtype=np.float64, reg=0.1, dropout=0.2, rng=1)
    models[cell] = model, X.reshape(6, -1), captions
for name, (model, *batch) in models.items():
    if name in cells:
        found[name + "/captions"] = model.sample(batch[0], 12)
    else:
        found[name + "/scores"] = model.loss(batch[0])
    loss, grads = model.loss(*batch)
    found.update({name + "/loss": loss} | {name + "/" + key: grad for key, grad in grads.items()})
np.savez(out, **found)
"""


def python(folder, *arguments):
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=folder, capture_output=True,
                          text=True, timeout=120,
                          env=os.environ | {"PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == 0, done.stdout + done.stderr


def numbers(folder, out, *cells):
    """Scores, losses, gradients and captions that the models of a tree compute."""
    python(folder, "-c", NUMBERS, out, *cells)
    with np.load(out) as file:
        return dict(file)


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return numbers(ROOT, tmp_path_factory.mktemp("ours") / "numbers.npz", "rnn", "lstm")


def exchanged(names, folder):
    """A copy of the tree with a student's files of these names."""
    (folder / "data").mkdir(parents=True)
    for path in [*ROOT.glob("*.py"), *(ROOT / "data").glob("*.py")]:
        shutil.copy(path, folder / path.relative_to(ROOT))
    for name in names:
        shutil.copy(ROOT / "tests" / "student" / f"{name}.py", folder)
    return folder


@pytest.mark.parametrize("names", EXCHANGES, ids=" and ".join)
def test_the_models_compute_the_same_with_the_layers_of_a_student(names, ours, tmp_path):
    """The course has no LSTM: with a student's rnn_layers.py, and only then, it may be missing."""
    cells = ["rnn"] if "rnn_layers" in names else ["rnn", "lstm"]
    found = numbers(exchanged(names, tmp_path / "tree"), tmp_path / "numbers.npz", *cells)
    assert found.keys() == {key for key in ours if key.partition("/")[0] in ("fc", "conv", *cells)}
    for key, value in found.items():
        close(value, ours[key], rtol=0, atol=1e-10, err_msg=key)


def test_mnist_train_runs_with_the_layers_of_a_student(tmp_path):
    python(exchanged(EXCHANGES[-1], tmp_path / "tree"), "mnist_train.py", "--quick",
           "--data", "synthetic", "--hidden-sizes", 8, "--epochs", 1, "--out", tmp_path / "out")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["data"] == "synthetic" and metrics["test_accuracy"] > 0.2
