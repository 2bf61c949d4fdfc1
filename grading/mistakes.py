"""Known slips, as data: what each of them computes in place of the reference.

A slip is one entry however many outputs it reaches. `compute` takes the inputs of the function (and
dout, for a backward pass) and returns an array, or a dict {output: array} if there are several
outputs. Where the slip raises an exception in a student's code, it raises here.
"""
import dataclasses

import numpy as np

from . import references as right
from .references import rows


@dataclasses.dataclass(frozen=True)
class Mistake:
    """What a function with a known slip returns in place of some of its outputs."""
    name: str
    function: str
    outputs: tuple
    sentence: str
    compute: object                 # (inputs..., dout) -> array or {output: array}


def entries(function, *table):
    """Mistakes of one function, from rows of (name, outputs, sentence, compute)."""
    return [Mistake(name, function, tuple(outputs.split()), sentence, compute)
            for name, outputs, sentence, compute in table]


def changed(gradients, **wrong):
    """A compute that changes some of the right gradients: output -> (array, inputs) -> array."""
    def compute(**inputs):
        found = gradients(**inputs)
        return {name: change(found[name], inputs) for name, change in wrong.items()}
    return compute


def gradient_of(loss, name, **inputs):
    """The gradient of a model's loss with respect to one of its inputs."""
    def objective(shifts):
        return loss(**{**inputs, name: inputs[name] + shifts})

    return right.numerical_gradient(objective, inputs[name].shape, 1e-3)


def paid_to_every_tie(x, pool_param, dout):
    """dx of max pooling when every maximum of a window gets its dout in full."""
    dx = np.zeros(x.shape)
    for (i, j), rows, columns in right.pool_windows(x, pool_param):
        window = x[:, :, rows, columns]
        dx[:, :, rows, columns] += (window == window.max(axis=(2, 3), keepdims=True)) \
            * dout[:, :, i, j, None, None]
    return dx


FULLY_CONNECTED = [*entries(
    "fc_forward",
    ("fc_without_bias", "out", "the bias is not added",
     lambda x, w, b: right.fc(rows(x), w, 0 * b)),
    ("fc_with_negative_bias", "out", "the bias is subtracted",
     lambda x, w, b: right.fc(rows(x), w, -b)),
), *entries(
    "fc_backward",
    ("fc_does_not_transpose_w", "dx", "w is not transposed: dx = dout·wᵀ",
     lambda x, w, b, dout: (dout @ w).reshape(x.shape)),
    ("fc_reshapes_w", "dx", "w is reshaped where it should be transposed: w.T, not w.reshape(M, D)",
     lambda x, w, b, dout: (dout @ w.reshape(w.shape[::-1])).reshape(x.shape)),
    ("fc_averages_db", "db", "the bias gradient is averaged over the batch, not summed",
     lambda x, w, b, dout: dout.mean(axis=0)),
)]

MISTAKES = [*FULLY_CONNECTED]
