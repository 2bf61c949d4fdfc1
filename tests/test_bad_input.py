"""A campaign of wrong and unusual calls: each works correctly or names the argument that is wrong.

What works as if it were a plain array: lists, read-only and memory-mapped arrays, any strides and
byte order, subclasses without a mask, integers and booleans. All else raises ValueError or
TypeError. Nothing gives a wrong number, and NumPy's own errors are never the answer.
"""
import functools
import importlib
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import pytest

import layers
import optim
import rnn_layers
from cnn import ConvNet
from fc_net import TwoLayerNet
from rnn import CaptioningRNN
from solver import DivergedError, Solver, accuracy

ROOT = pathlib.Path(__file__).resolve().parent.parent
RNG = np.random.default_rng(0)
POOL = {"pool_height": 2, "pool_width": 2, "stride": 2}


def whole(*shape):
    """Small whole numbers, which every numeric type holds exactly, as float64."""
    return RNG.integers(0, 4, shape).astype(np.float64)


# ---------------------------------------------------------------- layers, argument by argument

def backward(forward, *inputs):
    """(backward function, its good arguments): dout and the cache of this forward pass."""
    *outputs, cache = forward(*inputs)
    module = sys.modules[forward.__module__]
    function = getattr(module, forward.__name__.replace("forward", "backward"))
    names = [name for name in function.__code__.co_varnames[:function.__code__.co_argcount]]
    return function, dict(zip(names, [*(whole(*out.shape) for out in outputs), cache], strict=True))


X, W, B = whole(3, 5), whole(5, 2), whole(2)
IMAGES, FILTERS = whole(2, 3, 6, 7), whole(4, 3, 2, 3)
SENTENCES, STATE = whole(4, 2, 3), whole(2, 5)
RNN_WEIGHTS, LSTM_WEIGHTS = ([whole(3, gates * 5), whole(5, gates * 5), whole(gates * 5)]
                             for gates in (1, 4))
WORDS, VECTORS = np.array([[1, 0, 1], [3, 1, 1]]), whole(5, 4)
VOCABULARY = {word: number for number, word in enumerate(["<NULL>", "<START>", "<END>", "a", "b"])}
# function -> good arguments; every array among them will be replaced by wrong and unusual ones
CALLS = [
    (layers.fc_forward, dict(x=X, w=W, b=B)),
    backward(layers.fc_forward, X, W, B),
    (layers.relu_forward, dict(x=X)),
    backward(layers.relu_forward, X),
    (layers.conv_forward, dict(x=IMAGES, w=FILTERS)),
    backward(layers.conv_forward, IMAGES, FILTERS),
    (layers.max_pool_forward, dict(x=IMAGES, pool_param=POOL)),
    backward(layers.max_pool_forward, IMAGES, POOL),
    (layers.softmax_loss, dict(x=X, y=np.array([0, 4, 2]))),
    (rnn_layers.rnn_step_forward,
     dict(zip(("x", "prev_h", "Wx", "Wh", "b"), (SENTENCES[0], STATE, *RNN_WEIGHTS)))),
    backward(rnn_layers.rnn_step_forward, SENTENCES[0], STATE, *RNN_WEIGHTS),
    (rnn_layers.rnn_forward, dict(zip(("x", "h0", "Wx", "Wh", "b"),
                                      (SENTENCES, STATE, *RNN_WEIGHTS)))),
    backward(rnn_layers.rnn_forward, SENTENCES, STATE, *RNN_WEIGHTS),
    (rnn_layers.lstm_step_forward, dict(zip(("x", "prev_h", "prev_c", "Wx", "Wh", "b"),
                                            (SENTENCES[0], STATE, whole(2, 5), *LSTM_WEIGHTS)))),
    backward(rnn_layers.lstm_step_forward, SENTENCES[0], STATE, whole(2, 5), *LSTM_WEIGHTS),
    (rnn_layers.lstm_forward, dict(zip(("x", "h0", "Wx", "Wh", "b"),
                                       (SENTENCES, STATE, *LSTM_WEIGHTS)))),
    backward(rnn_layers.lstm_forward, SENTENCES, STATE, *LSTM_WEIGHTS),
    (rnn_layers.word_embedding_forward, dict(x=WORDS, W=VECTORS)),
    backward(rnn_layers.word_embedding_forward, WORDS, VECTORS),
    (rnn_layers.temporal_fc_forward, dict(x=SENTENCES, w=whole(3, 4), b=whole(4))),
    backward(rnn_layers.temporal_fc_forward, SENTENCES, whole(3, 4), whole(4)),
    (rnn_layers.temporal_softmax_loss,
     dict(x=whole(2, 3, 5), y=WORDS, mask=np.array([[1.0, 1, 0], [1, 0, 0]]))),
    *((rule, dict(w=whole(3, 2), dw=whole(3, 2)))
      for rule in (optim.sgd, optim.sgd_momentum, optim.rmsprop, optim.adam)),
    (TwoLayerNet(5, 4, 3, rng=0, dtype=np.float64).loss, dict(X=X, y=np.array([0, 2, 1]))),
    (ConvNet((3, 6, 7), 2, 3, 4, 3, rng=0, dtype=np.float64).loss,
     dict(X=IMAGES, y=np.array([0, 2]))),
    (CaptioningRNN(VOCABULARY, 5, 4, 3, rng=0, dtype=np.float64).loss,
     dict(features=X, captions=np.array([[1, 3, 2, 0], [1, 4, 3, 2], [1, 2, 0, 0]]))),
    (CaptioningRNN(VOCABULARY, 5, 4, 3, "lstm", rng=0, dtype=np.float64).sample, dict(features=X)),
    (accuracy, dict(model=TwoLayerNet(5, 4, 3, rng=0, dtype=np.float64), X=X,
                    y=np.array([0, 2, 1]))),
]


def wrong_arrays(good):
    """What nobody can take for an array of numbers of this shape."""
    labels = good.dtype.kind == "i"
    wrong = {
        "None": None, "text": "text", "bytes": b"text", "a dict": {}, "a set": {1.0, 2.0},
        "a function": len, "a generator": (value for value in [1.0]),
        "strings": good.astype(str), "objects": good.astype(object), "complex": good * 1j,
        "dates": good.astype("datetime64[s]"), "a record": np.zeros(good.shape, [("a", float)]),
        "a ragged list": [[1.0, 2.0], [3.0]], "a list with None": [1.0, None],
        "masked": np.ma.masked_equal(good, 1), "empty": good[:0],
        "an axis more": np.stack([good] * 3), "a number": good.dtype.type(1),
        "one sample more": np.concatenate([good, good[-1:]]),
        "one column more": np.concatenate([good, good[..., -1:]], axis=-1),
    }
    if labels:
        wrong |= {"floats": good.astype(float), "booleans": good > 0, "negative": -1 - good,
                  "out of range": good + 5, "far out of range": good.astype(np.uint64) + 2 ** 63}
    return wrong


# What is no mistake: the shapes that a layer takes besides that of its good argument.
ALLOWED = {
    ("fc_forward", "x", "one sample more"), ("softmax_loss", "x", "one column more"),
    ("conv_forward", "x", "one sample more"), ("conv_forward", "x", "one column more"),
    ("conv_forward", "w", "one sample more"), ("conv_forward", "w", "one column more"),
    ("max_pool_forward", "x", "one sample more"), ("max_pool_forward", "x", "one column more"),
    ("relu_forward", "x", "an axis more"), ("relu_forward", "x", "a number"),
    ("relu_forward", "x", "one sample more"), ("relu_forward", "x", "one column more"),
    ("word_embedding_forward", "x", "an axis more"), ("word_embedding_forward", "x", "a number"),
    ("word_embedding_forward", "x", "one sample more"),
    ("word_embedding_forward", "x", "one column more"),
    ("word_embedding_forward", "W", "one sample more"),
    ("word_embedding_forward", "W", "one column more"),
    ("temporal_fc_forward", "x", "one sample more"),
    ("rnn_forward", "x", "one sample more"), ("lstm_forward", "x", "one sample more"),
    ("temporal_softmax_loss", "x", "one column more"),
    ("temporal_softmax_loss", "mask", "booleans"), ("loss", "y", "None"),
    ("sample", "features", "one sample more"), ("loss", "captions", "one column more"),
}
# Where sizes have to agree, it is the label that does not fit.
NAMED_INSTEAD = {
    ("softmax_loss", "x", "one sample more"): "y", ("loss", "X", "one sample more"): "y",
    ("temporal_softmax_loss", "x", "one sample more"): "y", ("accuracy", "X", "one sample more"): "y",
}
WRONG_CACHES = {
    "None": None, "a number": 3.0, "empty": (), "text": "text", "one array": whole(7, 7),
    "three arrays": (X, X, X), "of convolution": (IMAGES, FILTERS), "a dict": {"x": X},
    "of one float": (X, 2.0), "shapes": ((2, 3), (4, 5)),
}


def array_calls(make):
    """(label, function, arguments, name) for every array argument and every replacement."""
    for function, good in CALLS:
        for name, value in good.items():
            if isinstance(value, np.ndarray) and name != "cache":
                for label, replacement in make(value).items():
                    if (function.__name__, name, label) not in ALLOWED:
                        named = NAMED_INSTEAD.get((function.__name__, name, label), name)
                        yield pytest.param(
                            function, {**good, name: replacement}, named,
                            id=f"{function.__qualname__}: {name} is {label}")


def assert_named(call, name):
    """ValueError or TypeError that says the name, in a message of ours: one that says who speaks."""
    with pytest.raises((ValueError, TypeError)) as error:
        call()
    message = str(error.value)
    assert re.search(rf"\b{re.escape(name)}\b", message, re.IGNORECASE), message
    assert ": " in message, message
    assert type(error.value) in (ValueError, TypeError)


@pytest.mark.parametrize("function, arguments, name", list(array_calls(wrong_arrays)))
def test_a_wrong_array_is_named(function, arguments, name):
    assert_named(lambda: function(**arguments), name)


@pytest.mark.parametrize("function, arguments, cache", [
    pytest.param(function, {**good, "cache": cache}, cache,
                 id=f"{function.__name__}: cache is {label}")
    for function, good in CALLS if "cache" in good for label, cache in WRONG_CACHES.items()
    if (function.__name__, label) != ("conv_backward", "of convolution") and
    (function.__name__, label) != ("relu_backward", "one array")])
def test_a_wrong_cache_is_named(function, arguments, cache):
    assert_named(lambda: function(**arguments), "cache")


def damaged_caches(function, cache):
    """(label, cache) with one part of a right cache shortened or of another type."""
    parts = cache if isinstance(cache, tuple) else (cache,)
    for place, part in enumerate(parts):
        if not isinstance(part, np.ndarray):
            continue
        damaged = {f"shorter in axis {axis}": np.delete(part, 0, axis) for axis in range(part.ndim)}
        if function is layers.max_pool_backward:    # it drops rows and columns that it cannot use
            damaged.pop("shorter in axis 2")
            damaged.pop("shorter in axis 3")
        damaged |= {"complex": part * 1j, "of objects": part.astype(object),
                    "masked": np.ma.masked_less(part, 0), "a list": part.tolist()}
        if part.dtype.kind == "i":
            damaged |= {"negative": part - 100, "too large": part + 100, "float": part + 0.5}
        for label, value in damaged.items():
            whole_cache = (*parts[:place], value, *parts[place + 1:])
            yield f"part {place} {label}", \
                whole_cache if isinstance(cache, tuple) else whole_cache[0]


@pytest.mark.parametrize("function, arguments", [
    pytest.param(function, {**good, "cache": cache}, id=f"{function.__name__}: cache with {label}")
    for function, good in CALLS if "cache" in good
    for label, cache in damaged_caches(function, good["cache"])])
def test_a_cache_that_does_not_fit_itself_or_dout_is_named(function, arguments):
    with pytest.raises(ValueError, match=rf"^{function.__name__}: (cache|d\w+) "):
        function(**arguments)


# ---------------------------------------------------------------- unusual arrays that work

class Tagged(np.ndarray):
    """A subclass that changes nothing."""


def memory_mapped(good):
    with tempfile.NamedTemporaryFile() as file:
        file.write(good.tobytes())
        file.flush()
        return np.memmap(file.name, good.dtype, mode="r", shape=good.shape)


def read_only(good):
    copy = good.copy()
    copy.flags.writeable = False
    return copy


def unusual_arrays(good):
    """The same numbers in other clothes."""
    unusual = {
        "a list": good.tolist(), "read-only": read_only(good), "mapped": memory_mapped(good),
        "in Fortran order": np.asfortranarray(good),
        "every second": np.repeat(good, 2, axis=-1)[..., ::2],
        "backwards": good[::-1].copy()[::-1], "a subclass": good.view(Tagged),
        "big-endian": good.astype(good.dtype.newbyteorder(">")),
        "not aligned": np.frombuffer(b"\0" + good.tobytes(), np.uint8)[1:].view(good.dtype)
                         .reshape(good.shape),
        "int8": good.astype(np.int8), "uint64": good.astype(np.uint64),
        "broadcast": np.broadcast_to(good, (2, *good.shape))[1],
    }
    if good.dtype.kind == "f":
        unusual |= {"extended precision": good.astype(np.longdouble)}
    return unusual


def numbers_in(result):
    """All arrays and numbers of a result, however nested."""
    if isinstance(result, dict):
        return [number for value in result.values() for number in numbers_in(value)]
    if isinstance(result, (tuple, list)):
        return [number for value in result for number in numbers_in(value)]
    return [] if result is None else [np.asarray(result)]


@pytest.mark.parametrize("function, arguments, name", list(array_calls(unusual_arrays)))
def test_an_unusual_array_works(function, arguments, name):
    good = next(arguments for f, arguments in CALLS if f == function)
    for actual, expected in zip(numbers_in(function(**arguments)), numbers_in(function(**good)),
                                strict=True):
        np.testing.assert_allclose(actual.astype(float), expected.astype(float), atol=1e-12)


# ---------------------------------------------------------------- options of layers, rules and models

NOT_NUMBERS = {"None": None, "text": "text", "a list": [1], "a dict": {}, "complex": 1j, "NaN": np.nan,
               "infinite": np.inf, "a boolean": True, "beyond floats": 10 ** 400}
NOT_POSITIVE = {**NOT_NUMBERS, "zero": 0, "negative": -1}
NOT_SIZES = {**NOT_POSITIVE, "a half": 0.5, "a float": 2.0}
del NOT_SIZES["beyond floats"]


def named(label, call, name, *arguments, **keywords):
    return pytest.param(functools.partial(call, *arguments, **keywords), name, id=label)


def wrong_options():
    """(call, name of the argument) for one wrong option at a time."""
    for name in POOL:
        for label, value in {**NOT_SIZES, "too large": 8}.items():
            if (name, label) != ("stride", "too large"):
                yield named(f"pool_param[{name}] is {label}", layers.max_pool_forward, "pool_param",
                            IMAGES, {**POOL, name: value})
    for label, value in {"None": None, "a list": [2, 2, 2], "empty": {}, "a number": 2,
                         "one key more": {**POOL, "padding": 1}, "text": "stride"}.items():
        yield named(f"pool_param is {label}", layers.max_pool_forward, "pool_param", IMAGES, value)

    rules = {optim.sgd: ["learning_rate"], optim.sgd_momentum: ["learning_rate", "momentum"],
             optim.rmsprop: ["learning_rate", "decay_rate", "epsilon"],
             optim.adam: ["learning_rate", "beta1", "beta2", "epsilon", "weight_decay", "t"]}
    states = {optim.sgd_momentum: ["velocity"], optim.rmsprop: ["cache"], optim.adam: ["m", "v"]}
    w = whole(3, 2)
    for rule, numbers in rules.items():
        for name in numbers:
            wrong = {**NOT_NUMBERS, "negative": -1}
            if name == "learning_rate":
                wrong["zero"] = 0
            if name in ("momentum", "decay_rate", "beta1", "beta2"):
                wrong["one"] = 1
            if name == "t":
                wrong["a half"] = 0.5
            for label, value in wrong.items():
                yield named(f"{rule.__name__}: {name} is {label}", rule, name, w, w, {name: value})
        for name in states.get(rule, []):
            for label, value in {"text": "text", "short": whole(2, 2), "complex": w * 1j,
                                 "masked": np.ma.masked_equal(w, 1), "a number": 1.0}.items():
                yield named(f"{rule.__name__}: {name} is {label}", rule, name, w, w, {name: value})
        for label, value in {"a list": [0.1], "text": "text", "a number": 0.1,
                             "an unknown name": {"lr": 0.1},
                             "names that cannot be sorted": {"lr": 0.1, 7: 1}}.items():
            yield named(f"{rule.__name__}: config is {label}", rule, "config", w, w, value)

    models = {TwoLayerNet: ["input_dim", "hidden_dim", "num_classes"],
              ConvNet: ["num_filters", "filter_size", "hidden_dim", "num_classes"]}
    for model, sizes in models.items():
        for name in sizes:
            for label, value in NOT_SIZES.items():
                yield named(f"{model.__name__}: {name} is {label}", model, name, **{name: value})
            yield named(f"{model.__name__}: {name} is huge", model,
                        "filter_size" if name == "filter_size" else "sizes", **{name: 10 ** 30})
        for name in ("reg", "weight_scale"):
            for label, value in {**NOT_NUMBERS, "negative": -1}.items():
                if (name, label) != ("weight_scale", "None"):
                    yield named(f"{model.__name__}: {name} is {label}", model, name, **{name: value})
        for label, value in {"None": None, "int": int, "text": "text", "complex": complex,
                             "an array": whole(2)}.items():
            yield named(f"{model.__name__}: dtype is {label}", model, "dtype", dtype=value)
        for label, value in {"text": "text", "negative": -1, "a half": 0.5, "a dict": {}}.items():
            yield named(f"{model.__name__}: rng is {label}", model, "rng", rng=value)
        yield named(f"{model.__name__}: unknown keyword", model, "'dropout'", dropout=0.5)
    for label, value in {"None": None, "two sizes": (28, 28), "four": (1, 1, 28, 28), "a number": 28,
                         "text": "123"}.items():
        yield named(f"ConvNet: input_dim is {label}", ConvNet, "input_dim", value)
    for name in ("input_dim", "wordvec_dim", "hidden_dim"):
        for label, value in NOT_SIZES.items():
            yield named(f"CaptioningRNN: {name} is {label}", CaptioningRNN, name, VOCABULARY,
                        **{name: value})
    for name in ("reg", "weight_scale", "dropout", "feature_dropout"):
        for label, value in {**NOT_NUMBERS, "negative": -1}.items():
            if (name, label) != ("weight_scale", "None"):
                yield named(f"CaptioningRNN: {name} is {label}", CaptioningRNN, name, VOCABULARY,
                            **{name: value})
    for name, wrong in (("dtype", (int, "text", None)), ("rng", ("text", -1, {})),
                        ("cell_type", ("gru", None, 4, ["rnn"])), ("dropout", (1, 1.0)),
                        ("'layers'", (2,))):
        for value in wrong:
            yield named(f"CaptioningRNN: {name} is {value}", CaptioningRNN, name, VOCABULARY,
                        **{name.strip("'"): value})
    for label, value in {"None": None, "a list": list(VOCABULARY), "empty": {}, "text": "words",
                         "with a gap": {**VOCABULARY, "c": 9},
                         "with a letter": {**VOCABULARY, "c": "x"},
                         "with a list": {**VOCABULARY, "c": []},
                         "with a fraction": {**VOCABULARY, "<NULL>": 0.0},
                         "without <END>": {"<NULL>": 0, "<START>": 1}, "a number": 5}.items():
        yield named(f"word_to_idx is {label}", CaptioningRNN, "word_to_idx", value)
    sample = CaptioningRNN(VOCABULARY, 5, 4, 3, rng=0).sample
    for name, wrong in (("max_length", NOT_SIZES), ("beam", NOT_SIZES),
                        ("temperature", {**NOT_NUMBERS, "negative": -1}),
                        ("length_norm", {**NOT_NUMBERS, "negative": -1}),
                        ("rng", {"text": "text", "negative": -1})):
        for label, value in wrong.items():
            more = {"temperature": 1.0} if name == "rng" else {}
            yield named(f"sample: {name} is {label}", sample, name, X, **{name: value}, **more)
    for label, value in {"zero channels": (0, 28, 28), "a float": (1.0, 28, 28)}.items():
        yield named(f"ConvNet: input_dim has {label}", ConvNet, "C", value)


@pytest.mark.parametrize("call, name", list(wrong_options()))
def test_a_wrong_option_is_named(call, name):
    if name.startswith("'"):                    # an unknown keyword: Python's own message names it
        with pytest.raises(TypeError, match=name):
            call()
    else:
        assert_named(call, name)


# ---------------------------------------------------------------- Solver

def good_data(num_train=12, num_val=5):
    rng = np.random.default_rng(1)
    return {"X_train": rng.standard_normal((num_train, 5)), "y_train": rng.integers(0, 3, num_train),
            "X_val": rng.standard_normal((num_val, 5)), "y_val": rng.integers(0, 3, num_val)}


def train(model=None, data=None, **options):
    """A short training from the first call to the last."""
    options = {"batch_size": 4, "num_epochs": 2, **options}
    solver = Solver(model or TwoLayerNet(5, 4, 3, rng=0), data or good_data(), **options)
    solver.train()
    return solver


def with_entry(array, value):
    changed = array.astype(type(value)) if isinstance(value, str) else array.copy()
    changed.flat[-1] = value
    return changed


def wrong_trainings():
    """(call, name) for one wrong argument of the Solver at a time."""
    for name in ("batch_size", "num_epochs", "num_train_samples", "eval_batch_size"):
        for label, value in NOT_SIZES.items():
            yield named(f"{name} is {label}", train, name, **{name: value})
    for label, value in NOT_POSITIVE.items():
        yield named(f"lr_decay is {label}", train, "lr_decay", lr_decay=value)
        yield named(f"learning_rate is {label}", train, "learning_rate",
                    optim_config={"learning_rate": value})
    for label, value in {"None": None, "text": "text", "negative": -1, "a half": 0.5,
                         "a boolean": True, "a list": [1]}.items():
        yield named(f"seed is {label}", train, "seed", seed=value)
    for label, value in {"unknown": "adamm", "None": None, "a list": ["adam"], "a number": 3,
                         "private": "_blocks", "a module's": "math"}.items():
        yield named(f"update_rule is {label}", train, "update_rule", update_rule=value)
    for name in ("optim_config", "extra_metrics"):
        for label, value in {"a list": [1], "text": "text", "a number": 3}.items():
            yield named(f"{name} is {label}", train, name, **{name: value})
    yield named("optim_config is unknown", train, "config", optim_config={"lr": 0.1})
    yield named("an extra metric is no function", train, "extra_metrics", extra_metrics={"a": 1})
    yield named("an extra metric is None", train, "extra_metrics", extra_metrics={"a": None})
    for label, value in {"None": None, "text": "accuracy", "a number": 3,
                         "counting nothing": lambda model, X, y: (0, 0)}.items():
        yield named(f"metric is {label}", train, "metric", metric=value)
    for label, value in {"a number": 3, "a list": ["run.npz"], "a file": sys.stdout}.items():
        yield named(f"checkpoint is {label}", train, "checkpoint", checkpoint=value)
    for label, value in {"a class": TwoLayerNet, "a number": 3, "a function": len}.items():
        yield named(f"model is {label}", train, "model", value)
    for label, value in {"a list": [1], "text": "text", "a number": 3}.items():
        yield named(f"data is {label}", train, "data", None, value)
    yield named("unknown keyword", train, "'momentum'", momentum=0.9)
    good = good_data()
    for name in good:
        yield named(f"{name} is missing", train, name, None,
                    {key: value for key, value in good.items() if key != name})
        for label, value in {"None": None, "a number": 3, "text": "text", "empty": [],
                             "a dict": {0: 1}, "a set": {1, 2}, "a generator": iter([1]),
                             "one short": good[name][:-1], "a ragged list": [[1], [1, 2]],
                             "objects": good[name].astype(object)}.items():
            other = name.replace("y_", "X_") if label == "empty" else name
            yield named(f"{name} is {label}", train, "data" if label == "one short" else other,
                        None, {**good, name: value})
    for part in ("train", "val"):
        X, y = good[f"X_{part}"], good[f"y_{part}"]
        for label, value in {"floats": y.astype(float), "negative": with_entry(y, -1),
                             "out of range": with_entry(y, 3), "strings": y.astype(str),
                             "a column": y[:, None], "one-hot": np.eye(3)[y],
                             "masked": np.ma.masked_equal(y, 1), "booleans": y > 0}.items():
            yield named(f"y_{part} is {label}", train, "y", None, {**good, f"y_{part}": value})
        for label, value in {"strings": X.astype(str), "complex": X * 1j,
                             "masked": np.ma.masked_less(X, 0)}.items():
            yield named(f"X_{part} is {label}", train, "X", None, {**good, f"X_{part}": value})
        yield named(f"X_{part} is too wide", train, "x", None,
                    {**good, f"X_{part}": np.hstack([X, X])})
    for label, arguments, name in (
            ("X is empty", (X[:0], y[:0]), "X"), ("y is short", (X, y[:-1]), "y"),
            ("X is None", (None, y), "X"), ("num_samples is 0", (X, y, 0), "num_samples"),
            ("num_samples is negative", (X, y, -1), "num_samples"),
            ("num_samples is a float", (X, y, 2.0), "num_samples")):
        yield named(f"check_accuracy: {label}", lambda *a: train().check_accuracy(*a), name,
                    *arguments)
    yield named("resume without a checkpoint", lambda: train().resume(), "checkpoint")


@pytest.mark.parametrize("call, name", list(wrong_trainings()))
def test_a_wrong_argument_of_the_solver_is_named(call, name):
    if name.startswith("'"):
        with pytest.raises(TypeError, match=name):
            call()
    else:
        assert_named(call, name)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["X_train", "X_val"])
def test_data_that_are_not_finite_end_training(name, value):
    data = good_data()
    data[name] = with_entry(data[name], value)
    with pytest.raises(DivergedError, match="data|learning rate"):
        train(data=data)


# ---------------------------------------------------------------- what works and looks as if it might not

def test_numpy_numbers_among_the_options_survive_a_checkpoint(tmp_path):
    options = dict(batch_size=np.int64(4), num_epochs=np.int32(2), lr_decay=np.float32(0.5),
                   seed=np.uint8(3), optim_config={"learning_rate": np.float32(0.1)},
                   checkpoint=bytes(tmp_path / "run.npz"))
    trained = train(**options)
    again = Solver(TwoLayerNet(5, 4, 3, rng=9), good_data(), **options)
    assert again.resume() and again.loss_history == trained.loss_history


def test_a_rule_without_a_name_is_a_rule(tmp_path):
    rule = functools.partial(optim.adam)
    assert train(update_rule=rule, checkpoint=tmp_path / "a.npz").loss_history == \
        train(update_rule="adam").loss_history


@pytest.mark.parametrize("make", [
    lambda value: value.tolist(), read_only, memory_mapped, np.asfortranarray,
    lambda value: value.astype(value.dtype.newbyteorder(">"))],
    ids=["lists", "read-only", "memory-mapped", "Fortran order", "big-endian"])
def test_the_solver_takes_unusual_arrays(make):
    expected = train(TwoLayerNet(5, 4, 3, rng=0, dtype=np.float64))
    actual = train(TwoLayerNet(5, 4, 3, rng=0, dtype=np.float64),
                   {name: make(value) for name, value in good_data().items()})
    assert actual.loss_history == expected.loss_history
    assert actual.val_acc_history == expected.val_acc_history


@pytest.mark.parametrize("options", [
    {"batch_size": 10 ** 30}, {"num_train_samples": 10 ** 30}, {"eval_batch_size": 1},
    {"batch_size": 1}, {"batch_size": 12}, {"batch_size": 11}, {"lr_decay": 1.5}], ids=str)
def test_extreme_options_work(options):
    solver = train(**options)
    assert len(solver.loss_history) == 2 * solver.batches_per_epoch
    assert np.isfinite(solver.loss_history).all()


# ---------------------------------------------------------------- command lines

WRONG_FLAGS = {
    "--epochs": ["0", "-1", "1.5", "many", "", "nan", "1e3"],
    "--batch-size": ["0", "-1", "0.5", "", "all"],
    "--seed": ["-1", "0.5", "x", ""],
    "--learning-rate": ["0", "-0.1", "nan", "inf", "-inf", "fast", "1,5", ""],
    "--lr-decay": ["0", "-1", "nan", "x"],
    "--reg": ["-1", "nan", "inf", "x"],
    "--data": ["imaginary", "", "REAL"],
    "--out": [""], "--data-dir": [""],
    "--resume": ["yes"], "--quick": ["1"], "--no-such-flag": ["1"], "--epoc": ["x"],
}
WRONG_FLAGS_OF = {
    "mnist_train": {"--hidden-sizes": ["0", "-3", "x", "2.5", "", "3,5"]},
    "cnn_train": {"--num-filters": ["0", "-1", "x"], "--filter-size": ["0", "2.5", ""],
                  "--hidden-dim": ["0", "x"]},
    "image_captioning": {"--hidden-dim": ["0", "x"], "--wordvec-dim": ["-1"], "--beam": ["0", "2.5"],
                         "--max-length": ["0"], "--overfit": ["0", "all"], "--cell": ["gru", ""],
                         "--dropout": ["1", "-0.1", "nan", "x"], "--feature-dropout": ["1", "x"]},
}
WRONG_COMMANDS = [(script, [flag, value]) for script, more in WRONG_FLAGS_OF.items()
                  for flag, values in {**WRONG_FLAGS, **more}.items() for value in values] + [
    (script, arguments) for script in WRONG_FLAGS_OF
    for arguments in (["--epochs"], ["--data"], ["extra"], ["--data", "synthetic", "--data-dir", "x"],
                      ["--seed", "1", "2"])]


@pytest.mark.parametrize("script, command", WRONG_COMMANDS, ids=str)
def test_a_wrong_command_line_is_one_line_that_names_the_flag(script, command, capsys):
    module = importlib.import_module(script)
    with pytest.raises(SystemExit) as error:
        # Joined with "=" a value may start with a dash.
        module.arguments(["=".join(command)] if len(command) == 2 else command)
    assert error.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    named = {"--epoc": "--epochs", "extra": "extra"}.get(command[0], command[0])
    if command[-2:] == ["1", "2"]:
        named = "2"
    assert last.startswith(f"{script}.py: error: ") and named in last, last


@pytest.mark.parametrize("script, arguments, message", [
    ("mnist_train", ["--hidden-sizes", "1" + "0" * 30], "shape (784, 1000"),
    ("mnist_train", ["--hidden-sizes", "1" + "0" * 14], "not enough memory"),
    ("cnn_train", ["--num-filters", "1" + "0" * 30], "the sizes of the model"),
    ("cnn_train", ["--hidden-dim", "1" + "0" * 12], "not enough memory"),
    ("cnn_train", ["--filter-size", "29"], "filter_size expects 1 to 27"),
    ("image_captioning", ["--hidden-dim", "1" + "0" * 12], "not enough memory"),
])
def test_sizes_that_do_not_fit_are_one_line(script, arguments, message, tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / f"{script}.py", "--quick", "--data", "synthetic", "--epochs", "1",
         "--out", tmp_path, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert message in done.stderr


def test_the_campaign_is_as_large_as_promised():
    wrong = [*array_calls(wrong_arrays), *wrong_options(), *wrong_trainings(), *WRONG_COMMANDS]
    assert len(wrong) >= 300 and len(list(array_calls(unusual_arrays))) >= 300


@pytest.mark.parametrize("model, sizes", [
    (TwoLayerNet, [100, 90, 80]), (ConvNet, [(1, 28, 28), 4, 12, 5, 3]),
    (CaptioningRNN, [{"<NULL>": 0, "<START>": 1, "<END>": 2}, 100, 100, 100, "lstm"])])
def test_sizes_of_small_types_do_not_overflow(model, sizes):
    small = [np.int8(size) if isinstance(size, int) else size for size in sizes]
    expected = model(*sizes, rng=0).params
    for name, value in model(*small, rng=0).params.items():
        np.testing.assert_array_equal(value, expected[name], strict=True)
