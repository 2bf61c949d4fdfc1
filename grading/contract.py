"""The answer key: what is graded, in which cases, what is right there, and what known slips give.

    key = Key(seed=0)
    for case in key.cases("fc_backward"):           the smallest first
        case.inputs, case.dout, case.cache          float64; case.fresh(value) is a copy to hand out
        case.truth["dw"].difference(dw, tolerance, floor)           None, or a Difference
        for prediction in key.predictions("fc_backward", case):     what known slips give here

A forward pass must equal a slow reference written from the definition. That is what a gradient
check alone cannot see: a wrong forward pass with its own backward pass. A backward pass must equal
central differences of the reference in float64 with random normal upstream gradients: every
coordinate in small cases, random directions in large ones.

Cases are random but for the seed. No two axes need be equal, and the edges are there: any two axes
take every pair of sizes up to 5, each axis is in the hundreds at least once, several are large at
once, so that code that works in blocks needs more than one; numbers up to 1e300 and down to 1e-300,
float32, labels of 8 bits, read-only, transposed and strided arrays. Inputs keep away from kinks.
At exact ties and at 0 every subgradient is right: to the first maximum, to the last, shared.
"""
import dataclasses
import functools
import itertools
import json
import math

import numpy as np

from . import mistakes, references
from .references import numerical_gradient, slopes

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

    @property
    def shape(self):
        """The shape of the output."""
        return self.array.shape

    def difference(self, actual, tolerance, floor):
        """See Truth."""
        return worst_difference(actual, self.array, self.array, tolerance, floor)


class Digits(Exact):
    """The truth is one array, and even its smallest numbers must be right."""

    def difference(self, actual, tolerance, floor):
        """See Truth."""
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
    """One of several truths: definitions differ."""
    truths: tuple

    @property
    def shape(self):
        """The shape of the output."""
        return self.truths[0].shape

    def difference(self, actual, tolerance, floor):
        """See Truth. The difference is that from the first."""
        found = [truth.difference(actual, tolerance, floor) for truth in self.truths]
        return found[0] if all(found) else None


@dataclasses.dataclass(eq=False)
class Between(Truth):
    """Every number has a lower and an upper limit: any subgradient of ReLU at 0."""
    low: np.ndarray
    high: np.ndarray

    @property
    def shape(self):
        """The shape of the output."""
        return self.low.shape

    def difference(self, actual, tolerance, floor):
        """See Truth."""
        return worst_difference(actual, self.low, self.high, tolerance, floor)


@dataclasses.dataclass(eq=False)
class Ties(Truth):
    """Any subgradient of max pooling at ties. Where windows overlap, their sums cannot be told
    apart: there the bounds and the sum over each channel are what is asked."""
    x: np.ndarray
    pool_param: dict
    dout: np.ndarray

    @property
    def shape(self):
        """The shape of the output."""
        return self.x.shape

    def difference(self, actual, tolerance, floor):
        """See Truth."""
        low, high = np.zeros(self.shape), np.zeros(self.shape)
        for (i, j), rows, columns in references.pool_windows(self.x, self.pool_param):
            window = self.x[:, :, rows, columns]
            share = np.where(window == window.max(axis=(2, 3), keepdims=True),
                             self.dout[:, :, i, j, None, None], 0.0)
            low[:, :, rows, columns] += np.minimum(share, 0)
            high[:, :, rows, columns] += np.maximum(share, 0)
        found = worst_difference(actual, low, high, tolerance, floor)
        if found:
            return found
        if self.pool_param["stride"] < max(self.pool_param["pool_height"],
                                           self.pool_param["pool_width"]):
            sums = self.dout.sum(axis=(2, 3))
            found = worst_difference(actual.sum(axis=(2, 3)), sums, sums, tolerance,
                                     np.abs(self.dout).sum())
            if found:
                found.place = "summed over image {}, channel {}".format(*found.place)
            return found
        for (i, j), rows, columns in references.pool_windows(self.x, self.pool_param):
            owed = self.dout[:, :, i, j]
            found = worst_difference(actual[:, :, rows, columns].sum(axis=(2, 3)), owed, owed,
                                     tolerance, floor)
            if found:
                n, c = found.place
                found.place = f"summed over window {(i, j)} of image {n}, channel {c}"
                return found
        return None


@dataclasses.dataclass(eq=False)
class Slopes(Truth):
    """The truth is known along some directions: Σ gradient·direction = slope."""
    directions: np.ndarray
    slopes: np.ndarray

    @property
    def shape(self):
        """The shape of the output."""
        return self.directions.shape[1:]

    def difference(self, actual, tolerance, floor):
        """See Truth."""
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

    @property
    def shape(self):
        """The shape of the output."""
        return self.right.shape

    def difference(self, actual, tolerance, floor):
        """See Truth."""
        found = self.right.difference(actual, tolerance, floor)
        if found and self.weak.difference(actual, tolerance, floor) is None:
            found.advice = self.advice
        return found


@dataclasses.dataclass(eq=False)
class Broken(Truth):
    """Where `nan` is true the output must not be a number, because something that it depends on is
    none; elsewhere it may be anything."""
    nan: np.ndarray

    @property
    def shape(self):
        """The shape of the output."""
        return self.nan.shape

    def difference(self, actual, tolerance, floor):
        """See Truth."""
        hidden = self.nan & ~np.isnan(actual)
        if not hidden.any():
            return None
        place = tuple(map(int, np.argwhere(hidden)[0]))
        return Difference(place, math.nan, float(actual[place]))


def worst_difference(actual, low, high, tolerance, floor):
    """The place where `actual` is furthest outside of [low, high], or None if nowhere."""
    scale = max(np.abs(low).max(), np.abs(high).max(), floor)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.maximum(low - actual, actual - high)
    error = np.where(np.isfinite(actual), error, np.inf)
    place = np.unravel_index(np.argmax(error), error.shape)
    if error[place] <= tolerance * scale:
        return None
    nearest = low[place] if actual[place] < low[place] else high[place]
    return Difference(tuple(map(int, place)), float(nearest), float(actual[place]))


# ---------------------------------------------------------------- cases

def plain(array):
    """A copy."""
    return np.array(array)


def fortran(array):
    """The same numbers in Fortran order."""
    return np.array(array, order="F")       # always a copy: what is graded may write to it


def strided(array):
    """The same numbers as a view with gaps and negative steps."""
    if array.ndim == 0:
        return array
    room = np.zeros([2 * size for size in array.shape], array.dtype)
    view = room[(slice(None, None, -2),) * array.ndim]
    view[...] = array
    return view


def readonly(array):
    """A copy that cannot be written to."""
    array = array.copy()
    array.flags.writeable = False
    return array


LAYOUTS = {layout.__name__: layout for layout in (plain, fortran, strided, readonly)}


@dataclasses.dataclass(eq=False)
class Case:
    """One set of inputs, and what is right for it. All floating-point arrays are float64."""
    label: str                      # what is special about it; "" for nothing
    inputs: dict                    # argument -> array, number or dict
    truth: dict                     # output -> Truth
    dout: object = None             # upstream gradient; a tuple of two for lstm_step
    cache: object = None            # the published contents of the cache, or None
    dtype: np.dtype = np.dtype(np.float64)
    layout: str = "plain"           # a key of LAYOUTS
    if_wrong: str = "fail"          # "warn": what is wrong here is only a weakness
    if_refused: str = "fail"        # "warn": so is a ValueError, AssertionError or MemoryError here
    advice: str = ""                # the sentence of that warning
    before: dict = None             # inputs of a call to be made just before
    constructor: dict = None        # arguments that build the model of this case
    unit: float = 1.0               # the size of the numbers, where it is not about 1

    def fresh(self, value):
        """A copy of an input, dout or cache in this case's dtype and layout."""
        if isinstance(value, dict):
            return dict(value)
        if isinstance(value, tuple):
            return tuple(self.fresh(part) for part in value)
        if not isinstance(value, (np.ndarray, np.generic)):
            return value
        value = np.asarray(value)
        if value.dtype == np.float64:
            value = value.astype(self.dtype)
        return LAYOUTS[self.layout](value)

    @property
    def size(self):
        """How much there is to look at: the number of all input elements."""
        return sum(np.size(value) for value in self.inputs.values())

    def floor(self, output):
        """The size of an output below which an error does not count."""
        if output == "loss":
            return self.unit
        douts = self.dout if isinstance(self.dout, tuple) else (self.dout,)
        largest = 1.0 if self.dout is None else \
            min(1.0, self.unit) * max(np.abs(dout).max() for dout in douts)
        return FLOOR[self.dtype] * largest

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
    outputs: tuple                  # "out"; "dx", "dw", "db"; "loss", "dx"; of a model, see Case.truth
    forward: str = None             # of a backward pass: the name of its forward pass
    section: str = None             # of docs/derivations.md


@dataclasses.dataclass(frozen=True)
class Raised:
    """The prediction that an exception of this type is raised, with a message like this."""
    exception: str
    message: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
    """What a known slip gives in a case: {output: array or Raised}, only what differs from the
    truth there. An exception is predicted for every output at once."""
    mistake: str
    sentence: str
    outputs: dict


# ---------------------------------------------------------------- how cases are made

@dataclasses.dataclass(frozen=True)
class Layer:
    """A pair of functions of the assignment, or a loss, and how its cases are made."""
    name: str
    file: str
    section: str
    reference: object
    inputs: tuple                   # names of the arguments
    varied: tuple                   # those that have a gradient
    cases: object                   # (layer, rng) -> list of Case
    step: float                     # of the central differences
    outputs: tuple = ("out",)
    douts: tuple = ("dout",)
    cache: tuple = ()               # names of what the published cache holds; () if none is published

    @property
    def is_loss(self):
        """Losses return (loss, dx) at once."""
        return self.name.endswith("_loss")

    @property
    def gradients(self):
        """dx, dw, ...: what the backward pass returns, in order."""
        return tuple("d" + name for name in self.varied)

    @property
    def functions(self):
        """The Functions of this layer."""
        if self.is_loss:
            return Function(self.name, self.file, "loss", self.inputs, ("loss", *self.gradients),
                            section=self.section),
        forward = f"{self.name}_forward"
        return (Function(forward, self.file, "forward", self.inputs, self.outputs,
                         section=self.section),
                Function(f"{self.name}_backward", self.file, "backward", (*self.douts, "cache"),
                         self.gradients, forward, self.section))

    def results(self, **inputs):
        """A tuple of the reference's outputs."""
        results = self.reference(**inputs)
        return results if isinstance(results, tuple) else (results,)


def new_case(layer, rng, inputs, label="", *, dtype=np.float64, layout="plain", dout_scale=1.0,
             one_window=False, long=False, truth=None, scales=None, **flags):
    """A Case of a layer with its truth; `long` ones know their gradients along directions only.

    With one_window, dout is 0 but for one place of each channel: where windows that overlap have
    ties, that alone tells what each of them does.

    truth {output: function of (inputs, dout) or Truth class} replaces what would be computed.

    scales {argument: factor} makes some inputs large or small. The output must follow by the
    largest or smallest of the factors, because the truth is that of the unscaled inputs, multiplied.
    """
    dtype, truth = np.dtype(dtype), truth or {}
    inputs = {name: rounded(value, dtype) for name, value in zip(layer.inputs, inputs)}
    results = layer.results(**inputs)
    douts = [rounded(dout_scale * rng.standard_normal(out.shape), dtype) for out in results]
    if one_window:
        douts = [of_one_window(rng, dout) for dout in douts]
    names = ("loss",) if layer.is_loss else layer.outputs
    expected = {name: truth.get(name, Exact)(out) for name, out in zip(names, results)}
    dout = None if layer.is_loss else douts[0] if len(douts) == 1 else tuple(douts)
    for name, gradient in zip(layer.varied, layer.gradients):
        if gradient in truth:
            expected[gradient] = truth[gradient](inputs, dout)
        else:
            objective = functools.partial(shifted_loss, layer, inputs, douts, name)
            expected[gradient] = gradient_truth(objective, inputs[name].shape, layer.step,
                                                rng if long else None)
    if scales:
        factor = flags["unit"] = next(iter(scales.values()))
        inputs = {name: value * scales.get(name, 1.0) for name, value in inputs.items()}
        expected = {name: Exact(exact.array * (factor / scales.get(name[1:], 1.0)))
                    for name, exact in expected.items()}
    return Case(label, inputs, expected, dout, published_cache(layer, inputs, results), dtype, layout,
                **flags)


def rounded(value, dtype):
    """An input as float64 that `dtype` can hold."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value.astype(dtype).astype(float)
    return value


def of_one_window(rng, dout):
    """dout of one place of each channel; the others are 0."""
    places = np.prod(dout.shape[2:])
    chosen = rng.integers(0, places, dout.shape[:2])[:, :, None] == np.arange(places)
    return np.where(chosen.reshape(dout.shape), dout, 0.0)


def shifted_loss(layer, inputs, douts, name, shifts):
    """Σ dout·out (or the loss itself) for each of the shifts of one input."""
    results = layer.results(**{**inputs, name: inputs[name] + shifts})
    if layer.is_loss:
        return results[0]
    return sum((dout * out).reshape(len(shifts), -1).sum(axis=1)
               for dout, out in zip(douts, results))


def gradient_truth(objective, shape, step, rng=None):
    """The gradient by central differences; with rng, along two random directions alone."""
    if rng is None:
        return Exact(numerical_gradient(objective, shape, step))
    directions = rng.standard_normal((2, *shape))
    directions /= np.abs(directions).max(axis=tuple(range(1, 1 + len(shape))), keepdims=True)
    return Slopes(directions, slopes(objective, directions, step))


def published_cache(layer, inputs, results):
    """What the forward pass's published cache holds in this case, or None."""
    contents = {**inputs, **dict(zip(layer.outputs, results))}
    cache = tuple(contents[name] for name in layer.cache)
    return cache[0] if len(cache) == 1 else cache or None


# The same medium-sized inputs in other guises.
GUISES = (
    ("in Fortran order", {"layout": "fortran"}),
    ("with gaps and negative strides", {"layout": "strided"}),
    ("read-only arrays", {"layout": "readonly"}),
    ("float32", {"dtype": np.float32}),
    ("dout is large, of the order of 1e30", {"dout_scale": 1e30}),
    ("dout is small, of the order of 1e-30", {"dout_scale": 1e-30}),
    ("dout = 0", {"dout_scale": 0.0}),
)


def pairs_of_sizes(axes):
    """25 rows of sizes from 1 to 5 in which any two of six axes take every pair of sizes, once.

    An orthogonal array: modulo 5, lines a + k·b of different slopes k meet once. A seventh
    axis is no line: it meets some pairs twice and some not at all.
    """
    for a, b in np.ndindex(5, 5):
        lines = [a + k * b for k in range(5)] + [b, a + b + a * b]
        yield [1 + line % 5 for line in lines[:axes]]


def swept(layer, rng, draw, axes):
    """Small cases of all pairs of sizes; their gradients are known along directions."""
    return [new_case(layer, rng, draw(rng, *sizes), long=True) for sizes in pairs_of_sizes(axes)]


def broad(layer, rng, draw, *shapes):
    """Cases with several large axes at once: whoever works in blocks needs more than one.

    Few outputs for many products, so that loops written in Python come through in time.
    """
    return [new_case(layer, rng, draw(rng, *sizes), "several axes are large", long=True)
            for sizes in shapes]


def cases_from_shapes(layer, rng, draw, small, long, guises=(0,)):
    """Cases of the shapes in `small` and `long` ({label: sizes}), and guises of some small ones."""
    cases = []
    shapes = list(small.items())
    for label, sizes in shapes:
        cases.append(new_case(layer, rng, draw(rng, *sizes), label))
    for which in guises:
        label, sizes = shapes[which]
        inputs = draw(rng, *sizes)
        for guise, options in GUISES:
            if not (layer.is_loss and "dout_scale" in options):
                cases.append(new_case(layer, rng, inputs, ", ".join(filter(None, (label, guise))),
                                      **options))
    if guises:
        cases += changed_one_by_one(layer, rng, draw(rng, *shapes[0][1]))
    for label, sizes in long.items():
        inputs = draw(rng, *sizes)
        cases.append(new_case(layer, rng, inputs, label, long=True))
        cases.append(new_case(layer, rng, inputs, label + ", float32", long=True,
                              dtype=np.float32))
    return cases


def changed_one_by_one(layer, rng, inputs):
    """Cases that follow a call in which all but one of the arguments were the same, and cases in
    which one number is none: whoever remembers results, or hides a NaN, is seen in these."""
    before = dict(zip(layer.inputs, inputs))
    for name in layer.inputs:
        changed = {**before, name: other_values(before[name])}
        yield new_case(layer, rng, changed.values(), f"only {name} differs from the call before",
                       long=True, before=before)
    for name in layer.varied:
        array = before[name].copy()
        array.flat[-1] = np.nan
        broken = {**before, name: array}
        names = ("loss",) if layer.is_loss else layer.outputs
        truth = {output: Broken(np.isnan(out))
                 for output, out in zip(names, layer.results(**broken))}
        yield Case(f"{name} holds NaN", broken, truth, if_wrong="warn", if_refused="warn",
                   advice=f"does not pass on NaN in {name}: a broken number should be seen, not "
                   "turned into another")


def other_values(value):
    """An argument with other numbers in it; labels and masks in another order; 1x1 windows."""
    if isinstance(value, dict):
        return dict.fromkeys(value, 1)
    if value.dtype.kind == "f":
        return 1.5 - value
    return value[(slice(None, None, -1),) * value.ndim].copy()


def cases_with_zeros(layer, rng, inputs):
    """What a layer gets in a new network: x from a ReLU, biases that are 0."""
    inputs = dict(zip(layer.inputs, inputs))
    changes = {"x as after ReLU": {"x": np.maximum(inputs["x"], 0.0)}}
    if "b" in inputs:
        changes["b = 0"] = {"b": 0 * inputs["b"]}
    return [new_case(layer, rng, {**inputs, **changed}.values(), label)
            for label, changed in changes.items()]


def scaled_cases(layer, rng, inputs, *groups):
    """Large and small numbers for a layer that is linear in each of these groups of arguments."""
    return [new_case(layer, rng, inputs, f"{word} numbers in {' and '.join(group)}",
                     scales=dict.fromkeys(group, factor))
            for group in groups for word, factor in (("large", 2.0 ** 100), ("small", 2.0 ** -100))]


def fc_cases(layer, rng):
    """x (N, D); axes of length 1; x with more axes, which only a warning may follow."""
    def draw(rng, N, D, M):
        return tuple(rng.standard_normal(s) for s in ((N, D), (D, M), (M,)))

    small = {"": (4, 5, 3), "N = 1": (1, 3, 2), "D = 1": (3, 1, 2), "M = 1": (2, 3, 1),
             "N = D = M = 1": (1, 1, 1), "square: N = D = M": (3, 3, 3), "tiny": (2, 1, 1),
             "N = M": (2, 4, 2), "N = D": (2, 2, 3)}
    long = {"N is large": (1030, 2, 3), "D is large": (2, 1030, 3), "M is large": (3, 2, 1030)}
    cases = cases_from_shapes(layer, rng, draw, small, long)
    cases += swept(layer, rng, draw, 3) + broad(layer, rng, draw, (67, 70, 69))
    x, w, b = draw(rng, 3, 4, 2)
    cases += cases_with_zeros(layer, rng, (x, w, b))
    cases += scaled_cases(layer, rng, (x, w, b), ("x", "b"), ("w", "b"))
    cases += [new_case(layer, rng, (x, np.eye(4), rng.standard_normal(4)), "w = I"),
              new_case(layer, rng, (x, 0 * w, b), "w = 0"),
              new_case(layer, rng, draw(rng, 3, 4, 5), "another w for x of this shape")]
    for shape, M in (((2, 2, 3), 2), ((2, 3, 4, 2), 5), ((2, 1, 2, 1, 3), 2)):
        D = int(np.prod(shape[1:]))
        flat = new_case(layer, rng, draw(rng, shape[0], D, M))
        cases.append(with_more_axes(flat, shape))
    return cases


def with_more_axes(case, shape):
    """A case of the fully connected layer with x of more than two axes."""
    x = case.inputs["x"].reshape(shape)
    return dataclasses.replace(
        case, label=f"x with {len(shape)} axes", inputs={**case.inputs, "x": x},
        cache=(x, *case.cache[1:]), if_wrong="warn", if_refused="warn",
        truth={**case.truth, "dx": Exact(case.truth["dx"].array.reshape(shape))},
        advice="takes x of two axes only, as the assignment asks: to take images, flatten each "
               "sample, x.reshape(len(x), -1), and give dx the shape of x")


LAYERS = (
    Layer("fc", "layers", "Fully connected layer", references.fc, ("x", "w", "b"), ("x", "w", "b"),
          fc_cases, 1, cache=("x", "w", "b")),
)
SUBJECTS = {subject.name: subject for subject in LAYERS}
FUNCTIONS = {function.name: function for subject in SUBJECTS.values()
             for function in subject.functions}


# ---------------------------------------------------------------- the key

class Key:
    """The answers for every function, computed when they are asked for, or read from a file."""

    def __init__(self, seed=0):
        self.seed = seed
        self._cases = {}            # subject -> tuple of Case
        self._stored = {}           # (function, number of the case) -> list of Prediction

    def cases(self, name):
        """All cases of a function, the small ones first."""
        subject = next(s for s in SUBJECTS.values() if FUNCTIONS[name] in s.functions)
        if subject.name not in self._cases:
            rng = np.random.default_rng([self.seed, list(SUBJECTS).index(subject.name)])
            with np.errstate(all="ignore"):
                cases = sorted(subject.cases(subject, rng), key=lambda case: case.size)
            self._cases[subject.name] = tuple(cases)
        wanted = FUNCTIONS[name].outputs
        return tuple(case for case in self._cases[subject.name] if set(wanted) <= set(case.truth))

    def predictions(self, name, case):
        """Yields a Prediction for each known slip whose outputs would differ from the truth here."""
        for mistake in mistakes.MISTAKES:
            if mistake.function == name:
                outputs = consequences(mistake, case)
                if outputs:
                    yield Prediction(mistake.name, mistake.sentence, outputs)


def consequences(mistake, case):
    """{output: array or Raised} of a mistake in a case, without what equals the truth."""
    inputs = {name: value.copy() if isinstance(value, (np.ndarray, dict)) else value
              for name, value in case.inputs.items()}
    if mistake.function.endswith("_backward"):
        inputs["dout"] = case.dout
    try:
        with np.errstate(all="ignore"):
            found = mistake.compute(**inputs)
    except (ValueError, IndexError, TypeError, KeyError, AttributeError, ArithmeticError,
            NotImplementedError) as error:
        return dict.fromkeys(mistake.outputs, Raised(type(error).__name__, str(error)))
    if not isinstance(found, dict):
        found = dict(zip(mistake.outputs, [found]))
    arrays = {output: np.asarray(found[output], dtype=float) for output in mistake.outputs
              if output in case.truth}
    return {output: array for output, array in arrays.items() if differs(case, output, array)}


def differs(case, output, array):
    """Whether an output would have been called wrong."""
    truth = case.truth[output]
    return array.shape != truth.shape or truth.difference(
        array, TOLERANCE[case.dtype], case.floor(output)) is not None
