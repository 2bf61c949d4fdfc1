"""What arguments may be. A check raises ValueError: "FUNCTION: ARGUMENT expects ..., got ..."."""
import functools
import math
import re

import numpy as np


def arrays(function, **arguments):
    """The arguments as a tuple of floating-point arrays whose axes agree by letter.

    Each argument is name=(value, axes), for example x=(x, "NCHW"), w=(w, "FCPQ"): axes of the
    same letter are equally long. "4H" is four times as long as "H", "D..." means all remaining
    axes together, D elements, and "..." alone any shape. Integers and booleans become float64.
    """
    sizes, checked = {}, []
    for name, (value, axes) in arguments.items():
        array = _array(function, name, value)
        if array.dtype.kind in "biu":
            array = array.astype(np.float64)
        if array.dtype.kind != "f":
            raise ValueError(f"{function}: {name} expects real numbers, got dtype {array.dtype}")
        checked.append(array)
        known = dict(sizes)
        if axes != "..." and not _agrees(array.shape, axes, sizes):
            agreed = ", ".join(f"{letter} = {size}" for letter, size in known.items() if letter in axes)
            wanted = ", ".join(_split(axes)) + "," * (len(_split(axes)) == 1)
            raise ValueError(f"{function}: {name} expects shape ({wanted}){agreed and ' with '}{agreed}, "
                             f"got {array.shape}")
    return tuple(checked)


def _agrees(shape, axes, sizes):
    """Whether a shape has these axes, as long as `sizes` says; notes the letters that are new there."""
    axes = _split(axes)
    if axes[-1].endswith("...") and len(shape) > len(axes):
        shape = (*shape[:len(axes) - 1], math.prod(shape[len(axes) - 1:]))
    for axis, size in zip(axes, shape):
        times = int(axis[0]) if axis[0].isdigit() else 1
        if sizes.setdefault(axis.strip("0123456789."), size // times) * times != size:
            return False
    return len(axes) == len(shape)


@functools.cache
def _split(axes):
    """["N", "4H", "D..."] for "N4HD..."."""
    return re.findall(r"\d?[A-Z](?:\.\.\.)?", axes)


def gradient(function, dout, shape, name="dout"):
    """`dout` as a floating-point array of this shape: that of the output, or of the weights."""
    dout, = arrays(function, **{name: (dout, "...")})
    if dout.shape != shape:
        raise ValueError(f"{function}: {name} expects shape {shape}, got {dout.shape}")
    return dout


def indices(function, name, value, shape, upper):
    """`value` as an array of integers from 0 to upper - 1, of this shape unless it is None.

    NumPy alone would silently take -1 for the last entry.
    """
    array = _array(function, name, value)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{function}: {name} expects integers, got dtype {array.dtype}")
    if shape is not None and array.shape != shape:
        raise ValueError(f"{function}: {name} expects shape {shape}, got {array.shape}")
    outside = np.argwhere((array < 0) | (array >= upper)).tolist()
    if outside:
        raise ValueError(f"{function}: {name} expects 0 to {upper - 1}, "
                         f"got {array[tuple(outside[0])]} at index {outside[0]}")
    return array.astype(np.intp, copy=False)


def positive_integers(function, **values):
    """The values as Python integers, which cannot overflow as NumPy's can."""
    return integers(function, 1, **values)


def integers(function, least, **values):
    """The values, at least 0 or 1, as Python integers, which cannot overflow as NumPy's can."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            kind = "a positive integer" if least else "an integer of at least 0"
            raise ValueError(f"{function}: {name} expects {kind}, got {value!r}")
    return [int(value) for value in values.values()]


def number(function, name, value, below=math.inf):
    """`value`, at least 0 and below a limit, as a Python float: NumPy's would make float32 float64."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)) \
            or not 0 <= value < below:
        limit = f" and below {below}" * (below < math.inf)
        raise ValueError(f"{function}: {name} expects a number of at least 0{limit}, got {value!r}")
    return float(value)


def _array(function, name, value):
    """`value` as an array with at least one element. A mask would be ignored, so it is refused."""
    try:
        array = np.asarray(value)
    except ValueError:                          # rows of different lengths
        array = None
    if array is None or isinstance(value, np.ma.MaskedArray):
        raise ValueError(f"{function}: {name} expects an array of numbers, got {type(value).__name__}")
    if array.size == 0:
        raise ValueError(f"{function}: {name} expects at least one element, got shape {array.shape}")
    return array
