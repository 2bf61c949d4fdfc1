"""A campaign of wrong and unusual calls: each works correctly or names the argument that is wrong.

What works as if it were a plain array: lists, read-only and memory-mapped arrays, any strides and
byte order, subclasses without a mask, integers and booleans. All else raises ValueError or
TypeError that names the function and the argument. Caches are left out: a layer unpacks what a
forward pass returned, and does not examine it.
"""
import functools
import importlib
import sys
import tempfile

import numpy as np
import pytest

import layers
import norm_layers
import optim
import rnn_layers
from cnn import ConvNet
from fc_net import TwoLayerNet
from rnn import CaptioningRNN
from solver import DivergedError, Solver, accuracy
from test_scripts import message, run

RNG = np.random.default_rng(0)
POOL = {"pool_height": 2, "pool_width": 2, "stride": 2}


def whole(*shape):
    """Small whole numbers, which every numeric type holds exactly, as float64."""
    return RNG.integers(0, 4, shape).astype(np.float64)


# ---------------------------------------------------------------- layers, argument by argument

def pair(forward, **inputs):
    """(function, good arguments) of a forward pass, and of the backward pass with its cache."""
    *outputs, cache = forward(**inputs)
    backward = getattr(sys.modules[forward.__module__], forward.__name__.replace("forward", "backward"))
    gradients = (whole(*out.shape) for out in outputs)
    names = backward.__code__.co_varnames[:backward.__code__.co_argcount]
    return (forward, inputs), (backward, dict(zip(names, [*gradients, cache], strict=True)))


X, IMAGES, SENTENCES, STATE = whole(3, 5), whole(2, 3, 6, 7), whole(4, 2, 3), whole(2, 5)
RNN_WEIGHTS, LSTM_WEIGHTS = (dict(Wx=whole(3, gates * 5), Wh=whole(5, gates * 5), b=whole(gates * 5))
                             for gates in (1, 4))
WORDS = np.array([[1, 0, 1], [3, 1, 1]])
VOCABULARY = {word: number for number, word in enumerate(["<NULL>", "<START>", "<END>", "a", "b"])}
RULES = optim.sgd, optim.sgd_momentum, optim.rmsprop, optim.adam
MODEL = TwoLayerNet(5, 4, 3, rng=0, dtype=np.float64)
CAPTIONER = CaptioningRNN(VOCABULARY, 5, 4, 3, "lstm", rng=0, dtype=np.float64)
CONV = {"stride": 2, "pad": (1, 0)}
BATCH = {"mode": "train", "running_mean": whole(5), "running_var": whole(5)}
# function, good arguments; every array among them will be replaced by wrong and unusual ones
CALLS = [
    *pair(layers.fc_forward, x=X, w=whole(5, 2), b=whole(2)),
    *pair(layers.relu_forward, x=X),
    *pair(layers.conv_forward, x=IMAGES, w=whole(4, 3, 2, 3)),
    *pair(layers.conv_forward, x=IMAGES, w=whole(4, 3, 2, 3), b=whole(4), conv_param=CONV),
    *pair(layers.max_pool_forward, x=IMAGES, pool_param=POOL),
    (layers.softmax_loss, dict(x=X, y=np.array([0, 4, 2]))),
    (layers.svm_loss, dict(x=X, y=np.array([0, 4, 2]))),
    *pair(norm_layers.batchnorm_forward, x=X, gamma=whole(5), beta=whole(5), bn_param=BATCH),
    (norm_layers.batchnorm_backward_alt, dict(dout=X, cache=norm_layers.batchnorm_forward(
        X, whole(5), whole(5), BATCH)[1])),
    *pair(norm_layers.layernorm_forward, x=X, gamma=whole(5), beta=whole(5), ln_param={}),
    *pair(norm_layers.spatial_batchnorm_forward, x=IMAGES, gamma=whole(3), beta=whole(3),
          bn_param={"mode": "test"}),
    *pair(norm_layers.spatial_groupnorm_forward, x=whole(2, 6, 4, 3), gamma=whole(1, 6, 1, 1),
          beta=whole(1, 6, 1, 1), G=3, gn_param={}),
    *pair(norm_layers.dropout_forward, x=X, dropout_param={"p": 0.5, "mode": "train", "seed": 0}),
    *pair(rnn_layers.rnn_step_forward, x=SENTENCES[0], prev_h=STATE, **RNN_WEIGHTS),
    *pair(rnn_layers.rnn_forward, x=SENTENCES, h0=STATE, **RNN_WEIGHTS),
    *pair(rnn_layers.lstm_step_forward, x=SENTENCES[0], prev_h=STATE, prev_c=STATE, **LSTM_WEIGHTS),
    *pair(rnn_layers.lstm_forward, x=SENTENCES, h0=STATE, **LSTM_WEIGHTS),
    *pair(rnn_layers.word_embedding_forward, x=WORDS, W=whole(5, 4)),
    *pair(rnn_layers.temporal_fc_forward, x=SENTENCES, w=whole(3, 4), b=whole(4)),
    (rnn_layers.temporal_softmax_loss,
     dict(x=whole(2, 3, 5), y=WORDS, mask=np.array([[1.0, 1, 0], [1, 0, 0]]))),
    *((rule, dict(w=whole(3, 2), dw=whole(3, 2))) for rule in RULES),
    (MODEL.loss, dict(X=X, y=np.array([0, 2, 1]))),
    (ConvNet((3, 6, 7), 2, 3, 4, 3, rng=0, dtype=np.float64).loss, dict(X=IMAGES, y=np.array([0, 2]))),
    (CAPTIONER.loss, dict(features=X, captions=np.array([[1, 3, 2, 0], [1, 4, 3, 2], [1, 2, 0, 0]]))),
    (CAPTIONER.sample, dict(features=X)),
    (accuracy, dict(model=MODEL, X=X, y=np.array([0, 2, 1]))),
]


def wrong_arrays(good):
    """What nobody can take for an array of numbers of this shape."""
    wrong = {
        "None": None, "text": "text", "bytes": b"text", "a dict": {}, "a set": {1.0, 2.0},
        "a function": len, "a generator": (value for value in [1.0]),
        "strings": good.astype(str), "objects": good.astype(object), "complex": good * 1j,
        "dates": good.astype("datetime64[s]"), "a record": np.zeros(good.shape, [("a", float)]),
        "a ragged list": [[1.0, 2.0], [3.0]], "a list with None": [1.0, None],
        "masked": np.ma.masked_equal(good, 1), "empty": good[:0],
    }
    if good.dtype.kind == "i":
        wrong |= {"floats": good.astype(float), "booleans": good > 0, "negative": -1 - good,
                  "out of range": good + 5, "far out of range": good.astype(np.uint64) + 2 ** 63}
    return wrong


def wrong_shapes(good):
    wrong = {"an axis more": np.stack([good] * 3), "a number": good.dtype.type(1), "reversed": good.T,
             "one sample more": np.concatenate([good, good[-1:]]),
             "one column more": np.concatenate([good, good[..., -1:]], axis=-1)}
    return {label: array for label, array in wrong.items() if array.shape != good.shape}


# What is no mistake: the shapes that a layer takes besides that of its good argument.
ANY_SHAPE = "an axis more", "a number", "reversed", "one sample more", "one column more"
ALLOWED = {(function, name, label) for function, name, labels in [
    ("relu_forward", "x", ANY_SHAPE), ("word_embedding_forward", "x", ANY_SHAPE),
    ("word_embedding_forward", "W", ANY_SHAPE[2:]), ("fc_forward", "x", ["one sample more"]),
    ("conv_forward", "x", ANY_SHAPE[3:]), ("conv_forward", "w", ANY_SHAPE[3:]),
    ("conv_forward", "b", ["None"]),
    ("max_pool_forward", "x", ANY_SHAPE[2:]), ("softmax_loss", "x", ["one column more"]),
    ("svm_loss", "x", ["one column more"]), ("batchnorm_forward", "x", ["one sample more"]),
    ("layernorm_forward", "x", ["one sample more"]), ("dropout_forward", "x", ANY_SHAPE),
    ("spatial_batchnorm_forward", "x", ANY_SHAPE[3:]),
    ("spatial_groupnorm_forward", "x", ANY_SHAPE[3:]),
    ("rnn_forward", "x", ["one sample more"]), ("lstm_forward", "x", ["one sample more"]),
    ("temporal_fc_forward", "x", ["one sample more"]),
    ("temporal_softmax_loss", "x", ["one column more"]), ("loss", "y", ["None"]),
    ("loss", "captions", ["one column more"]), ("sample", "features", ["one sample more"]),
] for label in labels}
# Who speaks where it is not the function itself.
SPEAKERS = {"TwoLayerNet": "(TwoLayerNet|softmax_loss)", "ConvNet": "(ConvNet|softmax_loss)",
            "accuracy": "(accuracy|TwoLayerNet)"}


def array_calls(make):
    """(function, arguments, name) for every array argument and every replacement."""
    for function, good in CALLS:
        for name, value in good.items():
            if isinstance(value, np.ndarray) and name != "cache":
                for label, replacement in make(value).items():
                    if (function.__name__, name, label) not in ALLOWED:
                        yield pytest.param(function, {**good, name: replacement}, name,
                                           id=f"{function.__qualname__}: {name} is {label}")


def assert_refused(call, message):
    """ValueError or TypeError with this message, a regular expression."""
    with pytest.raises((ValueError, TypeError), match=message) as error:
        call()
    assert type(error.value) in (ValueError, TypeError)


def expects(function, *names):
    owner = function.__qualname__.split(".")[0]
    return rf"^{SPEAKERS.get(owner, owner)}: ({'|'.join(names)}) expects "


@pytest.mark.parametrize("function, arguments, name", list(array_calls(wrong_arrays)))
def test_a_wrong_array_is_named(function, arguments, name):
    assert_refused(lambda: function(**arguments), expects(function, name))


@pytest.mark.parametrize("function, arguments, name", list(array_calls(wrong_shapes)))
def test_shapes_that_do_not_fit_are_named(function, arguments, name):
    """Of two arrays that disagree either may be named: nobody knows which one is wrong."""
    assert_refused(lambda: function(**arguments), expects(function, *arguments))


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
    return {
        "a list": good.tolist(), "read-only": read_only(good), "mapped": memory_mapped(good),
        "in Fortran order": np.asfortranarray(good),
        "extended precision": good.astype(np.longdouble if good.dtype.kind == "f" else good.dtype),
        "every second": np.repeat(good, 2, axis=-1)[..., ::2],
        "backwards": good[::-1].copy()[::-1], "a subclass": good.view(Tagged),
        "big-endian": good.astype(good.dtype.newbyteorder(">")),
        "not aligned": np.frombuffer(b"\0" + good.tobytes(), np.uint8)[1:].view(good.dtype)
                         .reshape(good.shape),
        "int8": good.astype(np.int8), "uint64": good.astype(np.uint64),
        "broadcast": np.broadcast_to(good, (2, *good.shape))[1],
    }


def numbers_in(result):
    """All arrays and numbers of a result, however nested."""
    if isinstance(result, str):
        return []
    if isinstance(result, (dict, tuple)):
        parts = result.values() if isinstance(result, dict) else result
        return [number for part in parts for number in numbers_in(part)]
    return [np.asarray(result)]


@pytest.mark.parametrize("function, arguments, name", list(array_calls(unusual_arrays)))
def test_an_unusual_array_works(function, arguments, name):
    good = next(good for f, good in CALLS if f == function and good.keys() == arguments.keys()
                and all(good[other] is arguments[other] for other in good if other != name))
    for actual, expected in zip(numbers_in(function(**arguments)), numbers_in(function(**good)),
                                strict=True):
        np.testing.assert_allclose(actual.astype(float), expected.astype(float), atol=1e-12)


# ---------------------------------------------------------------- options of layers, rules and models

NOT_NUMBERS = {"None": None, "text": "text", "a list": [1], "a dict": {}, "complex": 1j, "NaN": np.nan,
               "infinite": np.inf, "a boolean": True, "negative": -1}
NOT_SHARES = {**NOT_NUMBERS, "one": 1, "one and a half": 1.5}
NOT_SIZES = {**NOT_NUMBERS, "zero": 0, "a half": 0.5, "a float": 2.0}


def wrong(call, message, **options):
    """A call and its message, where {} is the option's name, for each option=(label -> wrong value)."""
    for name, values in options.items():
        for label, value in values.items():
            yield pytest.param(functools.partial(call, **{name: value}), message.format(name),
                               id=f"{message[1:].split(':')[0]}: {name} is {label}")


def sizes(*names):
    return dict.fromkeys(names, NOT_SIZES)


def pool(**options):
    layers.max_pool_forward(IMAGES, {**POOL, **options})


def conv(**options):
    layers.conv_forward(IMAGES, whole(4, 3, 2, 3), None, {**CONV, **options})


def batchnorm(**options):
    norm_layers.batchnorm_forward(X, whole(5), whole(5), {**BATCH, **options})


def spatial_batchnorm(**options):
    norm_layers.spatial_batchnorm_forward(IMAGES, whole(3), whole(3), {"mode": "test", **options})


def groupnorm(G=3, **options):
    norm_layers.spatial_groupnorm_forward(IMAGES, whole(1, 3, 1, 1), whole(1, 3, 1, 1), G, options)


def dropout(**options):
    norm_layers.dropout_forward(X, {"p": 0.5, "mode": "train", **options})


def step(rule, **config):
    rule(whole(3, 2), whole(3, 2), config)


def wrong_options():
    """(call, message) for one wrong option at a time."""
    max_pool = functools.partial(layers.max_pool_forward, IMAGES)
    yield from wrong(pool, r"^max_pool_forward: pool_param\['{}'\] expects ", **sizes(*POOL))
    yield from wrong(pool, "^max_pool_forward: pool_param expects a window no larger than ",
                     pool_height={"too large": 7}, pool_width={"too large": 8})
    yield from wrong(max_pool, "^max_pool_forward: {} expects a dict with ", pool_param={
        "None": None, "a list": [2, 2, 2], "empty": {}, "a number": 2, "text": "stride",
        "without stride": {"pool_height": 2, "pool_width": 2}})

    not_strides = {**NOT_SIZES, "a pair with 0": (1, 0), "three": (1, 1, 1),
                   "a float pair": (1, 2.0), "an array": np.array([1, 1])}
    not_pads = {label: value for label, value in not_strides.items() if label != "zero"
                and label != "a pair with 0"} | {"negative in a pair": (0, -1)}
    yield from wrong(conv, r"^conv_forward: conv_param\['{}'\] expects ", stride=not_strides,
                     pad=not_pads)
    not_dicts = {"a list": [1, 0], "text": "stride", "a number": 2,
                 "a set": {"mode", "stride", "pad"}}
    yield from wrong(functools.partial(layers.conv_forward, IMAGES, whole(4, 3, 2, 3)),
                     "^conv_forward: {} expects a dict with ", conv_param={
                         **not_dicts, "empty": {}, "without pad": {"stride": 1}})
    not_modes = {"None": None, "unknown": "eval", "a boolean": True, "a list": ["train"],
                 "empty": ""}
    not_running = {"short": whole(4), "None": None, "complex": whole(5) * 1j, "text": "text",
                   "masked": np.ma.masked_equal(whole(5), 1), "a number": 1.0}
    for call in (batchnorm, spatial_batchnorm):
        yield from wrong(call, rf"^{call.__name__}_forward: bn_param\['{{}}'\] expects ",
                         mode=not_modes, momentum=NOT_SHARES, eps=NOT_NUMBERS, running_mean=not_running,
                         running_var=not_running)
    yield from wrong(groupnorm, r"^spatial_groupnorm_forward: gn_param\['{}'\] expects ",
                     eps=NOT_NUMBERS)
    yield from wrong(groupnorm, "^spatial_groupnorm_forward: {} expects ", G={
        **NOT_SIZES, "no divisor": 2, "too many": 6})
    yield from wrong(lambda eps: norm_layers.layernorm_forward(X, whole(5), whole(5), {"eps": eps}),
                     r"^layernorm_forward: ln_param\['{}'\] expects ", eps=NOT_NUMBERS)
    yield from wrong(dropout, r"^dropout_forward: dropout_param\['{}'\] expects ", mode=not_modes,
                     p={**NOT_NUMBERS, "zero": 0, "above one": 1.5},
                     seed={"negative": -1, "a half": 0.5, "text": "text", "a boolean": True},
                     rng={"a seed": 3, "text": "text", "the old kind": np.random.RandomState(0)})
    for layer, good, name in (
            (norm_layers.batchnorm_forward, (X, whole(5), whole(5)), "bn_param"),
            (norm_layers.layernorm_forward, (X, whole(5), whole(5)), "ln_param"),
            (norm_layers.spatial_groupnorm_forward,
             (IMAGES, whole(1, 3, 1, 1), whole(1, 3, 1, 1), 3), "gn_param"),
            (norm_layers.dropout_forward, (X,), "dropout_param")):
        yield from wrong(functools.partial(layer, *good),
                         rf"^{layer.__name__}: {{}} expects a dict",
                         **{name: {**not_dicts, "None": None}})

    hyperparameters = {
        "sgd": {"learning_rate": NOT_NUMBERS},
        "sgd_momentum": {"learning_rate": NOT_NUMBERS, "momentum": NOT_SHARES},
        "rmsprop": {"learning_rate": NOT_NUMBERS, "decay_rate": NOT_SHARES, "epsilon": NOT_NUMBERS},
        "adam": {"beta1": NOT_SHARES, "beta2": NOT_SHARES,
                 **dict.fromkeys(("learning_rate", "epsilon", "weight_decay", "t"), NOT_NUMBERS)}}
    not_states = {"text": "text", "short": whole(2, 2), "complex": whole(3, 2) * 1j,
                  "masked": np.ma.masked_equal(whole(3, 2), 1), "a number": 1.0}
    states = {"sgd": [], "sgd_momentum": ["velocity"], "rmsprop": ["cache"], "adam": ["m", "v"]}
    for rule in RULES:
        name = rule.__name__
        yield from wrong(functools.partial(step, rule), rf"^{name}: config\['{{}}'\] expects ",
                         **hyperparameters[name], **dict.fromkeys(states[name], not_states))
        yield from wrong(functools.partial(rule, X, X), f"^{name}: {{}} (expects|knows) ", config={
            "a list": [0.1], "text": "text", "a number": 0.1, "an unknown name": {"lr": 0.1},
            "names that cannot be sorted": {"lr": 0.1, 7: 1}})

    yield from wrong(TwoLayerNet, "^TwoLayerNet: {} expects ", reg=NOT_NUMBERS,
                     **sizes("input_dim", "hidden_dim", "num_classes"))
    yield from wrong(ConvNet, "^ConvNet: {} expects ", reg=NOT_NUMBERS, input_dim={
        "None": None, "two sizes": (28, 28), "four": (1, 1, 28, 28), "a number": 28, "text": "123"},
        **sizes("num_filters", "hidden_dim", "num_classes"),
        filter_size={**NOT_SIZES, "too large": 28})
    yield from wrong(ConvNet, "^ConvNet: C expects ", input_dim={
        "of no channels": (0, 28, 28), "of a float": (1.0, 28, 28)})
    captioner = functools.partial(CaptioningRNN, VOCABULARY)
    yield from wrong(captioner, "^CaptioningRNN: {} expects ", reg=NOT_NUMBERS,
                     dropout=NOT_SHARES, feature_dropout=NOT_SHARES,
                     cell_type={"unknown": "gru", "None": None, "a number": 4, "a list": ["rnn"]},
                     **sizes("input_dim", "wordvec_dim", "hidden_dim"))
    yield from wrong(CaptioningRNN, "^CaptioningRNN: {} expects ", word_to_idx={
        "None": None, "a list": [*VOCABULARY], "empty": {}, "text": "<NULL>", "a number": 5,
        "without <NULL>": {"<START>": 0, "<END>": 1}})
    sample = functools.partial(CAPTIONER.sample, X)
    yield from wrong(sample, "^CaptioningRNN.sample: {} expects ", **sizes("max_length", "beam"))
    no_start, no_end = (functools.partial(CaptioningRNN({"<NULL>": 0, word: 1}, 5, 4, 3).sample, X)
                        for word in ("<END>", "<START>"))
    message = "^CaptioningRNN.sample: word_to_idx expects the words <START> "
    yield from wrong(no_start, message, max_length={"for no <START>": 3})
    yield from wrong(no_end, message, stop={"for no <END>": True}, beam={"for no <END>": 2})
    for call in (TwoLayerNet, ConvNet, captioner, sample):      # Python's own message
        yield from wrong(call, "'{}'", momentum={"no keyword": 0.9})


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
    changed = array.copy()
    changed.flat[-1] = value
    return changed


def train_on(**data):
    train(data={**good_data(), **data})


def wrong_trainings():
    """(call, message) for one wrong argument of the Solver at a time."""
    yield from wrong(
        train, r"^Solver: {}\b", lr_decay=NOT_NUMBERS,
        seed={"None": None, "text": "text", "negative": -1, "a boolean": True, "a list": [1]},
        update_rule={"unknown": "adamm", "None": None, "a list": ["adam"], "a number": 3,
                     "private": "_checked", "a module's": "math"},
        **sizes("batch_size", "num_epochs", "num_train_samples", "eval_batch_size"))
    yield from wrong(lambda learning_rate: train(optim_config={"learning_rate": learning_rate}),
                     "^(Solver|sgd): .*config.*{}", learning_rate=NOT_NUMBERS)
    yield from wrong(train, "'{}'", momentum={"no keyword": 0.9})
    yield from wrong(train, "^sgd: config knows ", optim_config={"unknown": {"lr": 0.1}})
    for name, good in good_data().items():
        yield from wrong(train_on, "^Solver: data .*{}", **{name: {
            "None": None, "a number": 3, "empty": [], "a set": {1, 2}, "a generator": iter([1]),
            "one short": good[:-1]}})
        yield from wrong(train, f"^Solver: data expects {name} to hold samples, got None", data={
            f"without {name}": {key: value for key, value in good_data().items() if key != name}})
        if name.startswith("y"):
            yield from wrong(train_on, r"^\w+: y expects ", **{name: {
                "floats": good.astype(float), "negative": with_entry(good, -1),
                "out of range": with_entry(good, 3), "strings": good.astype(str),
                "a column": good[:, None], "one-hot": np.eye(3)[good],
                "masked": np.ma.masked_equal(good, 1), "booleans": good > 0}})
        else:
            yield from wrong(train_on, "^TwoLayerNet: X expects ", **{name: {
                "strings": good.astype(str), "complex": good * 1j, "masked": np.ma.masked_less(good, 0),
                "too wide": np.hstack([good, good])}})
    solver, X, y = train(), good_data()["X_val"], good_data()["y_val"]
    yield from wrong(functools.partial(solver.check_accuracy, X), r"^Solver: .*\b{}\b", y={
        "short": y[:-1], "None": None})
    yield from wrong(functools.partial(solver.check_accuracy, y=y), r"^Solver: .*\b{}\b", X={
        "empty": X[:0], "None": None})


@pytest.mark.parametrize("call, message", [*wrong_options(), *wrong_trainings()])
def test_a_wrong_option_is_named(call, message):
    assert_refused(call, message)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["X_train", "X_val"])
def test_data_that_are_not_finite_end_training(name, value):
    data = good_data()
    data[name] = with_entry(data[name], value)
    with pytest.raises(DivergedError, match="data|learning rate"):
        train(data=data)


# ---------------------------------------------------------------- what works and looks as if it might not

@pytest.mark.parametrize("rule", RULES)
def test_a_learning_rate_of_zero_stands_still(rule):
    w, dw = whole(3, 2), whole(3, 2) + 1
    np.testing.assert_array_equal(rule(w, dw, {"learning_rate": 0})[0], w)


@pytest.mark.parametrize("model, sizes", [
    (TwoLayerNet, [100, 90, 80]), (ConvNet, [(1, 28, 28), 4, 12, 5, 3]),
    (CaptioningRNN, [VOCABULARY, 100, 100, 100, "lstm"])])
def test_sizes_of_small_types_do_not_overflow(model, sizes):
    small = [np.int8(size) if isinstance(size, int) else size for size in sizes]
    expected = model(*sizes, rng=0).params
    for name, value in model(*small, rng=0).params.items():
        np.testing.assert_array_equal(value, expected[name], strict=True)


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
    "--data": ["imaginary", "", "REAL"], "--out": [""], "--data-dir": [""],
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
    _, told, last = message(capsys.readouterr().err).rpartition(f"{script}.py: error: ")
    named = "2" if command[-1] == "2" else {"--epoc": "--epochs"}.get(command[0], command[0])
    assert told and named in last, last


@pytest.mark.parametrize("script, arguments, expected", [
    ("mnist_train", ["--hidden-sizes", "1" + "0" * 14], "not enough memory"),
    ("cnn_train", ["--hidden-dim", "1" + "0" * 12], "not enough memory"),
    ("cnn_train", ["--filter-size", "29"], "filter_size expects less than 28"),
    ("image_captioning", ["--hidden-dim", "1" + "0" * 12], "not enough memory"),
])
def test_sizes_that_do_not_fit_are_one_message(script, arguments, expected, tmp_path):
    done = run(script, "--quick", "--data", "synthetic", "--epochs", "1", "--out", tmp_path,
               *arguments, expect=2)
    assert expected in done.stderr


def test_the_campaign_is_as_large_as_promised():
    wrong_calls = [*array_calls(wrong_arrays), *array_calls(wrong_shapes), *wrong_options(),
                   *wrong_trainings(), *WRONG_COMMANDS]
    assert len(wrong_calls) >= 1500 and len(list(array_calls(unusual_arrays))) >= 500
