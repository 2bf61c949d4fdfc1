"""The answer key: what is graded, in which cases, what is right there, and what known slips give.

    key = Key(seed=0)
    for case in key.cases("fc_backward"):           the smallest first
        case.inputs, case.dout, case.cache          float64; case.cast(value) has its dtype
        case.truth["dw"].difference(dw, tolerance, floor)           None, or a Difference
        for prediction in key.predictions("fc_backward", case):     what known slips give here

This module knows no formula: what is right, and what a slip gives, is data. It is computed from
references and mistakes (answers.py), or read from a file: so a hand-out can grade and explain
without containing a solution.
"""
import dataclasses
import functools
import importlib
import itertools
import json
import math

import numpy as np

TOLERANCE = {np.dtype(np.float64): 2e-6, np.dtype(np.float32): 2e-4}
# Where the truth is next to 0, errors are measured against this share of dout instead.
FLOOR = {np.dtype(np.float64): 1e-4, np.dtype(np.float32): 1e-2}


# ---------------------------------------------------------------- what is expected

@dataclasses.dataclass
class Difference:
    """The worst disagreement: the place as a tuple or in words, expected and actual value.

    advice: a sentence, where the actual value is right by the assignment, but weak: a warning.
    """
    place: object
    expected: float
    actual: float
    advice: str = ""


class Truth:
    """What is right for one output: data with a shape, and a method that compares."""

    @property
    def shape(self):
        """The shape of the output: that of the first field."""
        return getattr(self, dataclasses.fields(self)[0].name).shape

    def difference(self, actual, tolerance, floor):
        """None if `actual` (float64, of this shape) agrees, or the worst Difference.

        Errors are measured against the largest number of the truth, or against `floor`.
        """
        raise NotImplementedError


@dataclasses.dataclass(eq=False)
class Exact(Truth):
    """The truth is one array."""
    array: np.ndarray

    def __post_init__(self):
        self.array = np.asarray(self.array, dtype=float)

    def difference(self, actual, tolerance, floor):
        return worst_difference(actual, self.array, self.array, tolerance, floor)


class Digits(Exact):
    """The truth is one array, and even its smallest numbers must be right."""

    def difference(self, actual, tolerance, floor):
        size = np.where(self.array == 0, 1.0, np.abs(self.array))
        expected = self.array / size
        with np.errstate(over="ignore"):
            found = worst_difference(actual / size, expected, expected, tolerance, 0)
        if found:
            found.expected = float(self.array[found.place])
            found.actual = float(actual[found.place])
        return found


@dataclasses.dataclass(eq=False)
class Either(Truth):
    """One of several truths: definitions differ. The difference is that from the first."""
    truths: tuple

    @property
    def shape(self):
        return self.truths[0].shape

    def difference(self, actual, tolerance, floor):
        found = [truth.difference(actual, tolerance, floor) for truth in self.truths]
        return found[0] if all(found) else None


@dataclasses.dataclass(eq=False)
class Between(Truth):
    """Every number has a lower and an upper limit: any subgradient of ReLU at 0."""
    low: np.ndarray
    high: np.ndarray

    def difference(self, actual, tolerance, floor):
        return worst_difference(actual, self.low, self.high, tolerance, floor)


@dataclasses.dataclass(eq=False)
class Shared(Truth):
    """Every number has two limits, and in windows of an image the sum is known: any subgradient of
    max pooling at ties. A window is a row (top, bottom, left, right) of indices, as in slices."""
    low: np.ndarray
    high: np.ndarray
    windows: np.ndarray
    sums: np.ndarray                # (N, C, windows)

    def difference(self, actual, tolerance, floor):
        found = worst_difference(actual, self.low, self.high, tolerance, floor)
        if found:
            return found
        paid = np.stack([actual[:, :, top:bottom, left:right].sum(axis=(2, 3))
                         for top, bottom, left, right in self.windows], axis=2)
        found = worst_difference(paid, self.sums, self.sums, tolerance, floor)
        if found:
            n, c, window = found.place
            top, bottom, left, right = self.windows[window]
            found.place = f"summed over [{n}, {c}, {top}:{bottom}, {left}:{right}]"
        return found


@dataclasses.dataclass(eq=False)
class Slopes(Truth):
    """The truth is known along some directions: Σ gradient·direction = slope."""
    directions: np.ndarray
    slopes: np.ndarray

    @property
    def shape(self):
        return self.directions.shape[1:]

    def difference(self, actual, tolerance, floor):
        for direction, slope in zip(self.directions, self.slopes):
            products = actual * direction
            found = float(products.sum())
            size = max(np.abs(products).sum() / math.sqrt(actual.size), abs(slope), floor)
            if not abs(found - slope) <= tolerance * size:
                return Difference("its sum times a random direction", float(slope), found)
        return None


@dataclasses.dataclass(eq=False)
class Tolerated(Truth):
    """Right by one truth; by another one only weak, which the advice tells."""
    right: Truth
    weak: Truth
    advice: str

    def difference(self, actual, tolerance, floor):
        found = self.right.difference(actual, tolerance, floor)
        if found and self.weak.difference(actual, tolerance, floor) is None:
            found.advice = self.advice
        return found


@dataclasses.dataclass(eq=False)
class Broken(Truth):
    """Where `nan` is true the output must not be a number, because something that it depends on is
    none; elsewhere it may be anything."""
    nan: np.ndarray

    def difference(self, actual, tolerance, floor):
        hidden = self.nan & ~np.isnan(actual)
        if not hidden.any():
            return None
        place = tuple(map(int, np.argwhere(hidden)[0]))
        return Difference(place, math.nan, float(actual[place]))


def worst_difference(actual, low, high, tolerance, floor):
    """The place where `actual` is furthest outside of [low, high], or None if nowhere."""
    most = tolerance * max(high.max(), -low.min(), floor)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.maximum(low - actual, actual - high)
    if error.max() <= most:             # not so, if any number is none
        return None
    error = np.where(np.isfinite(actual), error, np.inf)
    place = np.unravel_index(np.argmax(error), error.shape)
    nearest = low[place] if actual[place] < low[place] else high[place]
    return Difference(tuple(map(int, place)), float(nearest), float(actual[place]))


# ---------------------------------------------------------------- cases

@dataclasses.dataclass(eq=False)
class Case:
    """One set of inputs, and what is right for it. All floating-point arrays are float64."""
    label: str                      # what is special about it; "" for nothing
    inputs: dict                    # argument -> array, number or dict
    truth: dict                     # output -> Truth
    dout: object = None             # upstream gradient; a tuple of two for lstm_step
    cache: object = None            # the published contents of the cache, or None
    dtype: np.dtype = np.dtype(np.float64)
    layout: str = "plain"           # what worker.laid_out knows
    if_wrong: str = "fail"          # "warn": what is wrong here is only a weakness
    if_refused: str = "fail"        # "warn": so is a ValueError, AssertionError or MemoryError here
    advice: str = ""                # the sentence of that warning
    before: dict = None             # inputs of a call to be made just before
    constructor: dict = None        # arguments that build the model of this case
    unit: float = 1.0               # the size of the numbers, where it is not about 1

    def cast(self, value):
        """An input, dout or cache in this case's dtype."""
        if isinstance(value, tuple):
            return tuple(map(self.cast, value))
        if not isinstance(value, (np.ndarray, np.generic)):
            return value
        value = np.asarray(value)
        return value.astype(self.dtype, copy=False) if value.dtype == np.float64 else value

    @functools.cached_property
    def size(self):
        """How much there is to look at: the number of all input elements."""
        return sum(np.size(value) for value in self.inputs.values())

    def floor(self, output):
        """The size of an output below which an error does not count."""
        return self.unit if output == "loss" else FLOOR[self.dtype] * self.largest

    @functools.cached_property
    def largest(self):
        """The size of dout."""
        if self.dout is None:
            return 1.0
        douts = self.dout if isinstance(self.dout, tuple) else (self.dout,)
        return min(1.0, self.unit) * max(np.abs(dout).max() for dout in douts)

    def describe(self):
        """Shapes, and what is special."""
        parts = [f"{name} {value.shape}" if isinstance(value, np.ndarray) else
                 ", ".join(f"{key} {size}" for key, size in value.items())
                 if isinstance(value, dict) else f"{name} {value}"
                 for name, value in self.inputs.items()]
        return ", ".join(parts) + (f"; {self.label}" if self.label else "")


@dataclasses.dataclass(frozen=True)
class Function:
    """A function or class of the assignment."""
    name: str
    file: str                       # "layers", "rnn_layers", ...
    kind: str                       # "forward", "backward", "loss", "rule", "model"
    arguments: tuple                # of a model: those of its method loss
    outputs: tuple                  # "out"; "dx", "dw"; of a model also those of Case.truth
    forward: str = None             # of a backward pass: the name of its forward pass
    section: str = None             # of docs/derivations.md

    @property
    def subject(self):
        """The layer, rule or model that it belongs to: both passes of a layer share their cases."""
        return self.name.removesuffix("_forward").removesuffix("_backward")


@dataclasses.dataclass(frozen=True)
class Raised:
    """An exception that is raised, or predicted. NumPy has many words for shapes that do not fit,
    one for each of its operations: they count as one message."""
    exception: str
    message: str = ""

    def __post_init__(self):
        if self.exception == "ValueError" and any(words in self.message for words in SHAPES_DIFFER):
            object.__setattr__(self, "message", "the shapes do not fit")


SHAPES_DIFFER = ("matmul", "not aligned", "broadcast", "cannot reshape", "shape-mismatch",
                 "zero-size", "empty sequence", "negative dimensions", "does not match",
                 "array element with a sequence", "dimensions must match", "window shape",
                 "expects shape")


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
    """What a known slip gives in a case: {output: array or Raised}, only what differs from the
    truth there. An exception is predicted for every output at once."""
    mistake: str
    sentence: str
    outputs: dict


def other_values(value):
    """An argument with other numbers in it; labels and masks in another order; 1x1 windows."""
    if isinstance(value, dict):
        return dict.fromkeys(value, 1)
    if value.dtype.kind == "f":
        return 1.5 - value
    return value[(slice(None, None, -1),) * value.ndim].copy()


def pair(layer, file, section, inputs, gradients, outputs=("out",), douts=("dout",)):
    """The forward and the backward pass of a layer."""
    forward = f"{layer}_forward"
    return (Function(forward, file, "forward", tuple(inputs), outputs, section=section),
            Function(f"{layer}_backward", file, "backward", (*douts, "cache"), tuple(gradients),
                     forward, section))


STEP = "x prev_h Wx Wh b", "dx dprev_h dWx dWh db"
SENTENCE = "x h0 Wx Wh b", "dx dh0 dWx dWh db"
LSTM_STEP = "x prev_h prev_c Wx Wh b", "dx dprev_h dprev_c dWx dWh db"

FUNCTIONS = {function.name: function for function in (
    *pair("fc", "layers", "Fully connected layer", ("x", "w", "b"), ("dx", "dw", "db")),
    *pair("relu", "layers", "ReLU", ("x",), ("dx",)),
    *pair("conv", "layers", "Convolution", ("x", "w"), ("dx", "dw")),
    *pair("max_pool", "layers", "Max pooling", ("x", "pool_param"), ("dx",)),
    Function("softmax_loss", "layers", "loss", ("x", "y"), ("loss", "dx"),
             section="Softmax and cross-entropy"),
    *pair("rnn_step", "rnn_layers", "Recurrent network", *map(str.split, STEP), ("next_h",),
          ("dnext_h",)),
    *pair("rnn", "rnn_layers", "Back-propagation through time", *map(str.split, SENTENCE), ("h",),
          ("dh",)),
    *pair("lstm_step", "rnn_layers", "LSTM", *map(str.split, LSTM_STEP), ("next_h", "next_c"),
          ("dnext_h", "dnext_c")),
    *pair("lstm", "rnn_layers", "LSTM", *map(str.split, SENTENCE), ("h",), ("dh",)),
    *pair("word_embedding", "rnn_layers", "Word embedding", ("x", "W"), ("dW",)),
    *pair("temporal_fc", "rnn_layers", "Temporal layers", ("x", "w", "b"), ("dx", "dw", "db")),
    Function("temporal_softmax_loss", "rnn_layers", "loss", ("x", "y", "mask"), ("loss", "dx"),
             section="Temporal layers"),
    *(Function(rule, "optim", "rule", ("w", "dw", "config"), ("w",))
      for rule in ("sgd", "sgd_momentum", "rmsprop", "adam")),
    Function("TwoLayerNet", "fc_net", "model", ("X", "y"), ("loss",)),
    Function("ConvNet", "cnn", "model", ("X", "y"), ("loss",)),
    Function("CaptioningRNN", "rnn", "model", ("features", "captions"), ("loss",)),
)}


# ---------------------------------------------------------------- the key

class Key:
    """The answers for every function, computed when they are asked for, or read from a file."""

    def __init__(self, seed=0):
        self.seed = seed
        self._cases = {}            # subject -> tuple of Case
        # Of a key from a file: its arrays, the mistakes' sentences, and of (function, id of the
        # Case) the pairs of a mistake's name and its outputs, packed.
        self._store = self._sentences = self._stored = None

    def cases(self, name):
        """All cases of a function, the small ones first."""
        function = FUNCTIONS[name]
        if function.subject not in self._cases:
            if self._store:
                raise KeyError(f"this key has no answers for {name}")
            self._cases[function.subject] = computed_answers().cases(function.subject, self.seed)
        wanted = set(function.outputs)
        return tuple(case for case in self._cases[function.subject] if wanted <= set(case.truth))

    def predictions(self, name, case):
        """Yields a Prediction for each known slip that would differ from the truth here."""
        if not self._store:
            yield from computed_answers().predictions(name, case)
            return
        for mistake, outputs in self._stored.get((name, id(case)), ()):
            yield Prediction(mistake, self._sentences[mistake], self._store.unpack(outputs))

    def save(self, path, names=None, *, largest=5000, largest_explained=100):
        """Write the answers for `names` (default: all) to an .npz file that holds no formula.

        Cases of more than `largest` numbers are left out, and the predictions of those of more than
        `largest_explained`: failures are explained by small cases.
        """
        store = Store({})
        index = {"seed": self.seed, "sentences": {}, "cases": {}, "predictions": []}
        functions = [FUNCTIONS[name] for name in FUNCTIONS if names is None or name in names]
        for subject in dict.fromkeys(function.subject for function in functions):
            names = [function.name for function in functions if function.subject == subject]
            cases = [case for name in names for case in self.cases(name) if case.size <= largest]
            cases = sorted(dict.fromkeys(cases), key=lambda case: case.size)
            index["cases"][subject] = store.pack(cases)
            for name, (number, case) in itertools.product(names, enumerate(cases)):
                if case.size <= largest_explained and case in self.cases(name):
                    found = list(self.predictions(name, case))
                    index["sentences"].update({p.mistake: p.sentence for p in found})
                    index["predictions"].append([subject, number, name, [
                        (p.mistake, store.pack(p.outputs)) for p in found]])
        text = json.dumps(index, separators=(",", ":")).encode()
        np.savez_compressed(path, index=np.frombuffer(text, np.uint8),
                            **{kind: np.concatenate(parts) for kind, parts in store.parts.items()})

    @classmethod
    def load(cls, path):
        """The key that `save` has written."""
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        index = json.loads(arrays.pop("index").tobytes())
        key = cls(index["seed"])
        key._store = Store(arrays)
        key._sentences = index["sentences"]
        key._cases = {name: key._store.unpack(cases) for name, cases in index["cases"].items()}
        key._stored = {(name, id(key._cases[subject][number])): packed
                       for subject, number, name, packed in index["predictions"]}
        return key


def computed_answers():
    """The module that computes answers; a hand-out with a key in a file does not have it."""
    return importlib.import_module(".answers", __package__)


class Store:
    """What a key is made of as JSON, and its arrays one after the other in one array per dtype."""

    classes = {kind.__name__: kind for kind in (Case, Prediction, Raised, Exact, Digits, Either,
                                                Between, Shared, Slopes, Tolerated, Broken)}

    def __init__(self, arrays):
        self.arrays = arrays
        self.parts, self.used = {}, {}

    def pack(self, value):
        """JSON for a value; its arrays are kept in `parts`."""
        if isinstance(value, np.dtype):
            return {"dtype": value.name}
        if isinstance(value, (np.ndarray, np.generic)):
            kind, start = value.dtype.name, self.used.get(value.dtype.name, 0)
            self.parts.setdefault(kind, []).append(np.ravel(value))
            self.used[kind] = start + value.size
            return {"array": (kind, start, *value.shape)}
        if dataclasses.is_dataclass(value):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return {"class": type(value).__name__, "fields": self.pack(fields)}
        if isinstance(value, dict):
            return {"dict": {name: self.pack(part) for name, part in value.items()}}
        if isinstance(value, (tuple, list)):
            return {"tuple": [self.pack(part) for part in value]}
        return value

    def unpack(self, value):
        """The value that was packed; lists come back as tuples."""
        if not isinstance(value, dict):
            return value
        if "dtype" in value:
            return np.dtype(value["dtype"])
        if "array" in value:
            kind, start, *shape = value["array"]
            return self.arrays[kind][start:start + math.prod(shape)].reshape(shape)
        if "class" in value:
            return self.classes[value["class"]](**self.unpack(value["fields"]))
        if "dict" in value:
            return {name: self.unpack(part) for name, part in value["dict"].items()}
        return tuple(self.unpack(part) for part in value["tuple"])
