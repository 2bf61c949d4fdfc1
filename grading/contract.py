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

from .courses import COURSES, DEFAULT

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

    def given(self, seen):
        """The truth where other outputs {name: array} have been seen: most do not depend on any."""
        return self

    def turned(self):
        """The truth of the output with its first two axes exchanged."""
        name = dataclasses.fields(self)[0].name
        return dataclasses.replace(self, **{name: getattr(self, name).swapaxes(0, 1)})


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

    def turned(self):
        return dataclasses.replace(self, directions=self.directions.swapaxes(1, 2))


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


@dataclasses.dataclass(eq=False)
class Dropped(Truth):
    """Each number is that of `values` or 0, and about a share p of them is kept."""
    values: np.ndarray
    p: float

    def difference(self, actual, tolerance, floor):
        nearest = np.where(actual == 0, 0.0, self.values)
        found = worst_difference(actual, nearest, nearest, tolerance, floor)
        if found:
            return found
        share, spread = np.mean(actual != 0), math.sqrt(self.p * (1 - self.p) / actual.size)
        if abs(share - self.p) > 5 * spread:        # by chance once in two million
            return Difference("the share of numbers that are kept", self.p, float(share))
        return None


@dataclasses.dataclass(eq=False)
class Following(Truth):
    """Each number is that of `values` where another output, `leader`, is not 0, and else 0. `kept`
    says where, if that output is not seen."""
    values: np.ndarray
    kept: np.ndarray
    leader: str

    def difference(self, actual, tolerance, floor):
        followed = np.where(self.kept, self.values, 0.0)
        return worst_difference(actual, followed, followed, tolerance, floor)

    def given(self, seen):
        leader = seen.get(self.leader)
        if leader is None or leader.shape != self.shape:
            return self
        return dataclasses.replace(self, kept=leader != 0)


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
    is_random: bool = False         # whether the results are drawn

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
        return ", ".join(told_sizes(self.inputs)) + (f"; {self.label}" if self.label else "")

    def turned(self, names):
        """This case with the first two axes of some arrays exchanged; dout is one of them."""
        def of(values):
            return values and {name: value.swapaxes(0, 1) if name in names else value
                               for name, value in values.items()}

        return dataclasses.replace(
            self, inputs=of(self.inputs), before=of(self.before),
            dout=None if self.dout is None else self.dout.swapaxes(0, 1),
            truth={name: truth.turned() if name in names else truth
                   for name, truth in self.truth.items()})


def told_sizes(values):
    """Yields a name and a shape, or a number, for each of the values; dicts are not named."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from told_sizes(value)
        else:
            yield f"{name} {value.shape if isinstance(value, np.ndarray) else value}"


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
    """What a known slip gives in a case: {output: array, Truth or Raised}, only what differs from
    the truth there. An exception is predicted for every output at once."""
    mistake: str
    sentence: str
    outputs: dict

    def turned(self, names, words):
        """The same with the first two axes of some arrays exchanged, in the words of a course."""
        sentence = self.sentence
        for ours, theirs in words:
            sentence = sentence.replace(ours, theirs)
        return Prediction(self.mistake, sentence, {
            name: value.swapaxes(0, 1) if name in names and np.ndim(value) == 3 else value
            for name, value in self.outputs.items()})


def other_values(value):
    """An argument with other numbers in it; labels and masks in another order; 1x1 windows."""
    if isinstance(value, dict):
        return {key: 1 if isinstance(part, int) else part / 2 if isinstance(part, float) else part
                for key, part in value.items()}
    if not isinstance(value, np.ndarray):
        return value
    if value.dtype.kind == "f":
        return 1.5 - value
    return value[(slice(None, None, -1),) * value.ndim].copy()


FUNCTIONS = COURSES[DEFAULT].functions


# ---------------------------------------------------------------- the key

class Key:
    """The answers for every function of a course, computed when they are asked for, or read from a
    file."""

    def __init__(self, seed=0, course=DEFAULT):
        self.seed, self.course = seed, course
        self.functions = COURSES[course].functions
        self._cases = {}            # subject -> tuple of Case
        # Of a key from a file: its arrays, the mistakes' sentences, and of (function, id of the
        # Case) the pairs of a mistake's name and its outputs, packed.
        self._store = self._sentences = self._stored = None

    def cases(self, name):
        """All cases of a function, the small ones first."""
        function = self.functions[name]
        if function.subject not in self._cases:
            if self._store:
                raise KeyError(f"this key has no answers for {name}")
            cases = computed_answers().cases(function.subject, self.seed)
            if function.turned:
                cases = tuple(case.turned(function.turned) for case in cases)
            self._cases[function.subject] = cases
        wanted = set(function.results)
        return tuple(case for case in self._cases[function.subject] if wanted <= set(case.truth))

    def answered(self):
        """The names of the functions that have answers: all, but in a key from a file."""
        return [name for name, function in self.functions.items()
                if not self._store or function.subject in self._cases]

    def predictions(self, name, case):
        """Yields a Prediction for each known slip that would differ from the truth here."""
        if not self._store:
            function, words = self.functions[name], COURSES[self.course].words
            turned = case.turned(function.turned) if function.turned else case
            for prediction in computed_answers().predictions(function, turned):
                yield prediction.turned(function.turned, words)
            return
        for mistake, outputs in self._stored.get((name, id(case)), ()):
            yield Prediction(mistake, self._sentences[mistake], self._store.unpack(outputs))

    def explains(self, name, case):
        """Whether predictions are known here: a stored key has them for small cases alone."""
        return not self._store or (name, id(case)) in self._stored

    def save(self, path, names=None, *, largest=5000, largest_explained=100):
        """Write the answers for `names` (default: all) to an .npz file that holds no formula.

        Cases of more than `largest` numbers are left out, and the predictions of those of more than
        `largest_explained`: failures are explained by small cases.
        """
        store = Store({})
        index = {"seed": self.seed, "course": self.course, "sentences": {}, "cases": {},
                 "predictions": []}
        functions = [function for name, function in self.functions.items()
                     if names is None or name in names]
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
        key = cls(index["seed"], index["course"])
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
                                                Between, Shared, Slopes, Tolerated, Broken, Dropped,
                                                Following)}

    def __init__(self, arrays):
        self.arrays = arrays
        self.parts, self.used, self.packed = {}, {}, {}

    def pack(self, value):
        """JSON for a value; its arrays are kept in `parts`."""
        if isinstance(value, np.dtype):
            return {"dtype": value.name}
        if isinstance(value, (np.ndarray, np.generic)):
            kind, start = value.dtype.name, self.used.get(value.dtype.name, 0)
            same = kind, value.shape, value.tobytes()       # caches hold what inputs hold
            if same not in self.packed:
                self.parts.setdefault(kind, []).append(np.ravel(value))
                self.used[kind] = start + value.size
                self.packed[same] = {"array": (kind, start, *value.shape)}
            return self.packed[same]
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
