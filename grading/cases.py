"""How cases are made: the guises of some inputs, all pairs of sizes, and the truth of each.

A forward pass must equal a slow reference written from the definition. That is what a gradient
check alone cannot see: a wrong forward pass with its own backward pass. A backward pass must equal
central differences of the reference in float64 with random normal upstream gradients: every
coordinate in small cases, random directions in large ones.
"""
import dataclasses
import functools

import numpy as np

from . import references
from .contract import Broken, Case, Exact, Slopes, other_values
from .courses import COURSES
from .references import numerical_gradient, slopes


# ---------------------------------------------------------------- subjects

class Subject:
    """A layer, a rule or a model."""

    @functools.cached_property
    def functions(self):
        """Its Functions, of the first course that has them: of a layer both passes."""
        found = {}
        for course in COURSES.values():
            for function in course.functions.values():
                if function.subject == self.name:
                    found.setdefault(function.known_as, function)
        return tuple(found.values())


@dataclasses.dataclass(frozen=True)
class Layer(Subject):
    """A pair of functions of the assignment, or a loss, and how its cases are made."""
    name: str
    reference: object
    fill: object                    # (Cases, rng) -> None
    step: float                     # of the central differences
    cache: tuple = ()               # names of what a published cache holds

    @property
    def is_loss(self):
        """Losses return (loss, dx) at once."""
        return self.functions[0].kind == "loss"

    @property
    def inputs(self):
        """The names of the arguments."""
        return self.functions[0].arguments

    @property
    def outputs(self):
        """What the forward pass returns, or leaves in a dict."""
        return ("loss",) if self.is_loss else self.functions[0].results

    @property
    def gradients(self):
        """dx, dw, ...: what the backward pass returns, in order."""
        return ("dx",) if self.is_loss else self.functions[1].outputs

    @property
    def varied(self):
        """The arguments that have a gradient."""
        return tuple(name[1:] for name in self.gradients)

    def results(self, **inputs):
        """A tuple of the reference's outputs."""
        results = self.reference(**inputs)
        return results if isinstance(results, tuple) else (results,)

    def draw(self, rng):
        """All cases."""
        cases = Cases(self, rng)
        self.fill(cases, rng)
        return cases


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


class Cases(list):
    """The cases of a layer, while they are made. `draw` makes inputs: draw(rng, *sizes)."""

    def __init__(self, layer, rng):
        super().__init__()
        self.layer, self.rng = layer, rng

    def add(self, label, *inputs, dtype=np.float64, layout="plain", dout_scale=1.0,
            one_window=False, long=False, truth=None, scales=None, forward_only=False, **flags):
        """A Case with its truth; `long` ones know their gradients along directions only, and those
        that are forward_only have none.

        With one_window, dout is 0 but for one place of each channel: where windows that overlap
        have ties, that alone tells what each of them does.

        truth {output: function of (inputs, dout) or Truth class} replaces what would be computed.

        scales {argument: factor} makes some inputs larger or smaller by one factor. The output must
        follow by this factor, because the truth is that of the unscaled inputs, multiplied.
        """
        layer, rng, dtype, truth = self.layer, self.rng, np.dtype(dtype), truth or {}
        inputs = {name: rounded(value, dtype) for name, value in zip(layer.inputs, inputs, strict=True)}
        results = layer.results(**inputs)
        returned = results[:len(layer.functions[0].outputs)]
        douts = [rounded(dout_scale * rng.standard_normal(out.shape), dtype) for out in returned]
        if one_window:
            douts = [of_one_window(rng, dout) for dout in douts]
        expected = {name: truth.get(name, Exact)(out) for name, out in zip(layer.outputs, results)}
        dout = None if layer.is_loss else douts[0] if len(douts) == 1 else tuple(douts)
        for name, gradient in zip(layer.varied, layer.gradients):
            if forward_only:
                continue
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
        contents = {**inputs, **dict(zip(layer.outputs, results))}
        cache = tuple(contents[name] for name in layer.cache)
        cache = cache[0] if len(cache) == 1 else cache or None
        self.append(Case(label, inputs, expected, dout, cache, dtype, layout, **flags))

    def add_shapes(self, draw, small, long, guises=(0,), pairs=None, broad=()):
        """Cases of the sizes in `small` and `long` {label: sizes}, and guises of some small ones;
        all pairs of sizes of `pairs` axes, and sizes of which several are large."""
        shapes = list(small.items())
        for label, sizes in shapes:
            self.add(label, *draw(self.rng, *sizes))
        for label, sizes in (shapes[which] for which in guises):
            inputs = draw(self.rng, *sizes)
            for guise, options in GUISES:
                if not (self.layer.is_loss and "dout_scale" in options):
                    self.add(", ".join(filter(None, (label, guise))), *inputs, **options)
        if guises:
            self.add_changed_one_by_one(draw(self.rng, *shapes[0][1]))
        for label, sizes in long.items():
            inputs = draw(self.rng, *sizes)
            self.add(label, *inputs, long=True)
            self.add(label + ", float32", *inputs, long=True, dtype=np.float32)
        if pairs:
            self.add_all_pairs(draw, pairs)
        self.add_broad(draw, *broad)

    def add_changed_one_by_one(self, inputs):
        """Cases that follow a call in which all but one of the arguments were the same, and cases
        in which one number is none: whoever remembers results, or hides a NaN, is seen there."""
        layer, before = self.layer, dict(zip(self.layer.inputs, inputs))
        for name in layer.inputs:
            # A number and its negative are as far from a kink at 0.
            changed = -before[name] if name in layer.varied else other_values(before[name])
            self.add(f"only {name} differs from the call before",
                     *{**before, name: changed}.values(), long=True, before=before)
        for name in layer.varied:
            array = before[name].copy()
            array.flat[-1] = np.nan
            broken = {**before, name: array}
            truth = {output: Broken(np.isnan(out))
                     for output, out in zip(layer.outputs, layer.results(**broken))}
            self.append(Case(f"{name} holds NaN", broken, truth, if_wrong="warn", if_refused="warn",
                             advice=f"does not pass on NaN in {name}: a broken number should be "
                             f"seen, not turned into another"))

    def add_all_pairs(self, draw, axes):
        """Small cases: any two of six axes take every pair of sizes from 1 to 5, once.

        An orthogonal array: modulo 5, lines a + k·b of different slopes k meet once. A seventh
        axis is no line: it meets some pairs twice and some not at all.
        """
        for a, b in np.ndindex(5, 5):
            lines = [a + k * b for k in range(5)] + [b, a + b + a * b]
            sizes = [1 + line % 5 for line in lines[:axes]]
            self.add("", *draw(self.rng, *sizes), long=True)

    def add_broad(self, draw, *shapes):
        """Cases with several large axes at once: whoever works in blocks needs more than one.

        Few outputs for many products, so that loops written in Python come through in time.
        """
        for sizes in shapes:
            self.add("several axes are large", *draw(self.rng, *sizes), long=True)

    def add_zeros(self, inputs):
        """What a layer gets in a new network: x from a ReLU, biases that are 0."""
        inputs = dict(zip(self.layer.inputs, inputs))
        self.add("x as after ReLU", *{**inputs, "x": np.maximum(inputs["x"], 0.0)}.values())
        if "b" in inputs:
            self.add("b = 0", *{**inputs, "b": 0 * inputs["b"]}.values())

    def add_scaled(self, inputs, *groups):
        """Large and small numbers for a layer that is linear in each of these groups."""
        for group in groups:
            for word, factor in (("large", 2.0 ** 100), ("small", 2.0 ** -100)):
                self.add(f"{word} numbers in {' and '.join(group)}", *inputs,
                         scales=dict.fromkeys(group, factor))


def rounded(value, dtype):
    """An input as float64 that `dtype` can hold."""
    if isinstance(value, dict):
        return {key: rounded(part, dtype) for key, part in value.items()}
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


def derived(name, output="dx"):
    """The truth of a gradient by its derivation, where central differences are of no use."""
    gradients = getattr(references, f"{name}_gradients")
    return {output: lambda inputs, dout: Exact(
        gradients(**inputs, **({} if dout is None else {"dout": dout}))[output])}


def normal(rng, *shapes):
    """Random arrays of these shapes."""
    return tuple(rng.standard_normal(shape) for shape in shapes)


DIFFERENT = "numbers of very different sizes"


def of_all_sizes(rng, shape):
    """Numbers of both signs from 1e-300 to 1e300, in random order."""
    size = int(np.prod(shape))
    powers = 10 ** np.linspace(-300, 300, (size + 1) // 2)
    return rng.permutation(np.concatenate([powers, -powers])[:size]).reshape(shape)


def away_from_kinks(rng, shape):
    """Distinct numbers of both signs, in random order, none within 3 of another or 1.5 of 0.

    Central differences with step 1 along directions no larger than 1 cross no kink:
    two numbers come closer by at most 2, and are at least 3.2 apart.
    """
    size = int(np.prod(shape))
    values = 4.0 * (np.arange(size) - size // 2) + 2 + rng.uniform(-0.4, 0.4, size)
    return rng.permutation(values).reshape(shape)


def with_the_last(labels, count):
    """Labels of which the first one is the last class."""
    labels.reshape(-1)[0] = count - 1
    return labels
