"""Checks the gradients of any layer against central differences: for layers of your own."""
import copy
import dataclasses
import html
import inspect
import textwrap

import numpy as np

STEP = 1e-5
TOLERANCE = 1e-5            # the relative error from which a gradient is wrong
FLOOR = 1e-4                # gradients that are smaller than this are compared with it
KINK = 1e-3                 # slopes to the left and to the right that differ more: no derivative


def numerical_gradient(f, x, dout=1.0):
    """The gradient of sum(dout * f(x)) with respect to x, by central differences in float64.

    x: an array of any shape; it is not changed. f takes such an array and returns an array, or a
    number. dout: the upstream gradient, of the shape of f(x); 1 for a loss. Returns an array of
    the shape of x. f is called twice for each number in x and must not draw random numbers.
    Raises ValueError if the shapes of dout and f(x) differ.

        numerical_gradient(np.square, np.array([1.0, 2.0]), np.array([1.0, 10.0]))   # [2, 40]
    """
    left, right = slopes(f, np.array(x, dtype=float), np.asarray(dout, dtype=float))
    return (left + right) / 2


def slopes(f, x, dout):
    """The slopes of sum(dout * f(x)) to the left and to the right, for each number in x."""
    middle, left, right = np.array(f(x.copy()), dtype=float), np.empty_like(x), np.empty_like(x)
    if dout.shape != middle.shape:
        raise ValueError(f"dout expects the shape of f(x), {middle.shape}, got {dout.shape}")
    for place in np.ndindex(x.shape):
        for side, step in (left, -STEP), (right, STEP):
            moved = x.copy()
            moved[place] += step * max(1, abs(x[place]))
            # Each difference before the sum: fewer digits are lost.
            side[place] = np.sum(dout * (f(moved) - middle)) / (moved[place] - x[place])
    return left, right


def check_gradient(forward, backward, *inputs):
    """Compare the gradients of a layer with central differences; returns a GradientCheck.

    forward(*inputs) returns (out, cache), with several outputs (out, more, cache), or out alone:
    then the cache is the inputs. backward(dout, cache) returns the gradients of the floating-point
    arrays among the inputs in their order, as one array, a tuple or a list; None is not compared.
    Other inputs, as labels or a dict, have no gradient. All is computed in float64, with a random
    dout of a fixed seed. Raises ValueError if backward returns another number of gradients or
    nothing but None, and for a forward pass that has no slopes to compare with: it returns None,
    draws random numbers, or computes in float32.

        def scale_forward(x, s):
            return x * s, (x, s)

        def scale_backward(dout, cache):
            x, s = cache
            return dout * s, (dout * x).sum(axis=0)

        check_gradient(scale_forward, scale_backward, np.ones((2, 3)), np.ones(3))
    """
    inputs = [np.array(value, dtype=float) if is_float(value) else value for value in inputs]

    asked = [k for k, value in enumerate(inputs) if is_float(value)]
    if not asked:
        raise ValueError("check_gradient expects arrays of floating-point numbers among the "
                         "inputs: no other input has a gradient")

    def outputs(values):
        result = forward(*copy.deepcopy(values))
        *outs, cache = result if isinstance(result, tuple) else \
            (result, values[0] if len(values) == 1 else tuple(values))
        if any(out is None for out in outs):
            raise ValueError("forward returns None: is a return missing?")
        if any(np.asarray(out).dtype in (np.float16, np.float32) for out in outs):
            raise ValueError("forward computes in float32 though its inputs are float64: that is "
                             "too coarse for differences")
        return [np.array(out, dtype=float) for out in outs], cache

    def flat(values):
        return np.concatenate([out.ravel() for out in outputs(values)[0]])

    outs, cache = outputs(inputs)
    if not np.array_equal(flat(inputs), flat(inputs), equal_nan=True):
        raise ValueError("forward returns other numbers for the same inputs, as dropout does "
                         "without a seed: give it a seed or a generator among the inputs")
    rng = np.random.default_rng(0)
    douts = [rng.standard_normal(out.shape) for out in outs]
    upstream = np.concatenate([dout.ravel() for dout in douts])
    gradients = backward(*douts, copy.deepcopy(cache))
    gradients = gradients if isinstance(gradients, (tuple, list)) else (gradients,)
    names = names_of(forward, len(inputs))
    if all(gradient is None for gradient in gradients):
        raise ValueError("backward returns None: is a return missing?")
    if len(gradients) != len(asked):
        raise ValueError(f"backward expects to return {len(asked)} gradients, of "
                         f"{', '.join(names[k] for k in asked)}; got {len(gradients)}")
    compared = []
    for k, gradient in zip(asked, gradients):
        if gradient is not None:
            left, right = slopes(lambda x, k=k: flat([*inputs[:k], x, *inputs[k + 1:]]),
                                 inputs[k], upstream)
            compared.append(compare(f"d{names[k]}", np.asarray(gradient), left, right))
    return GradientCheck(compared)


def is_float(value):
    """Whether an input has a gradient."""
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def names_of(function, count):
    """The names of the first arguments of a function, as far as it has names for them."""
    try:
        names = [name for name, parameter in inspect.signature(function).parameters.items()
                 if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)]
    except (TypeError, ValueError):         # some that are written in C
        names = []
    return [*names, *(f"input{k}" for k in range(len(names), count))]


@dataclasses.dataclass
class Compared:
    """One gradient beside the numerical one."""
    name: str
    error: float                    # relative to the largest number of the two
    is_right: bool
    notes: list                     # sentences


def compare(name, gradient, left, right):
    """A Compared of a gradient and the slopes to both sides."""
    if gradient.shape != left.shape:
        return Compared(name, np.inf, False,
                        [f"it has shape {gradient.shape}, its input {left.shape}"])
    middle = (left + right) / 2
    scale = max(np.abs(middle).max(initial=FLOOR), np.abs(gradient).max(initial=0))
    at_kink = np.abs(right - left) > KINK * scale
    low = np.where(at_kink, np.minimum(left, right), middle)
    high = np.where(at_kink, np.maximum(left, right), middle)
    with np.errstate(invalid="ignore"):
        error = np.maximum(np.maximum(low - gradient, gradient - high), 0) / scale
    error = np.where(np.isfinite(error), error, np.inf)
    worst, notes = float(error.max(initial=0)), []
    if worst > TOLERANCE:
        place = np.unravel_index(np.argmax(error), error.shape)
        # -0 + 0 is 0, which is easier to read.
        notes.append(f"largest difference: {name}{list(map(int, place)) or ''} is "
                     f"{gradient[place] + 0:.6g}, by central differences "
                     f"{middle[place] + 0:.6g}")
    if at_kink.any():
        notes.append(f"{at_kink.sum()} of {at_kink.size} inputs are at a kink, as ReLU's at 0 or a "
                     "tie in max pooling: each slope between those of its two sides is right there")
    return Compared(name, worst, worst <= TOLERANCE, notes)


class GradientCheck:
    """What check_gradient found: `gradients`, a list of Compared; displayed by notebooks."""

    def __init__(self, gradients):
        self.gradients = gradients

    @property
    def failed(self):
        """Whether any gradient is wrong."""
        return not all(gradient.is_right for gradient in self.gradients)

    def raise_if_failed(self):
        """Raise AssertionError with what is wrong, unless every gradient is right."""
        if self.failed:
            raise AssertionError(f"\n{self!r}")

    def rows(self):
        """(name, verdict, relative error, sentences) of each gradient, as text."""
        return [(each.name, "right" if each.is_right else "WRONG", f"{each.error:.1e}", each.notes)
                for each in self.gradients]

    def __repr__(self):
        return "\n".join(line for name, verdict, error, notes in self.rows() for line in (
            f"{name:10} {verdict}  relative error {error}",
            *(textwrap.indent(textwrap.fill(note, 76), "    ") for note in notes)))

    def _repr_html_(self):
        rows = "".join(
            f'<tr><td><code>{html.escape(name)}</code></td><td><b>{verdict}</b></td>'
            f'<td>{error}</td><td style="text-align:left">'
            f'{"<br>".join(map(html.escape, notes))}</td></tr>'
            for name, verdict, error, notes in self.rows())
        return ("<table><tr><th>gradient</th><th></th><th>relative error</th><th></th></tr>"
                f"{rows}</table>")
