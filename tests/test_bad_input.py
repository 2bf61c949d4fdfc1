"""A campaign of wrong and unusual calls: each works correctly or names the argument that is wrong.

What works as if it were a plain array: lists, read-only and memory-mapped arrays, any strides and
byte order, subclasses without a mask, integers and booleans. All else raises ValueError or
TypeError. Nothing gives a wrong number, and NumPy's own errors are never the answer.
"""
import functools
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import pytest

import experiment
import layers
import optim
import rnn_layers
from cnn import ConvNet
from fc_net import TwoLayerNet
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
    words = message.replace("[", " ").replace(":", " ").replace(",", " ").split()
    assert name.lower() in [word.strip("'()").lower() for word in words], message
    assert ": " in message, message
    assert type(error.value) in (ValueError, TypeError)


@pytest.mark.parametrize("function, arguments, name", array_calls(wrong_arrays))
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


@pytest.mark.parametrize("function, arguments, name", array_calls(unusual_arrays))
def test_an_unusual_array_works(function, arguments, name):
    good = next(arguments for f, arguments in CALLS if f == function)
    for actual, expected in zip(numbers_in(function(**arguments)), numbers_in(function(**good)),
                                strict=True):
        np.testing.assert_allclose(actual.astype(float), expected.astype(float), atol=1e-12)
