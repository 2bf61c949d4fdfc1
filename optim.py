"""Update rules of gradient descent, from the simplest to Adam.

    rule(w, dw, config) -> (next_w, config)

w and dw are arrays of one shape. Every hyperparameter and every piece of state is in the dict
`config`, so saving it saves the rule; missing entries get their defaults. Rules are pure: w, dw
and config are not changed, and the new config goes into the next call. The dtype of w is kept.

`schedule(done)` gives the factors of a step's learning rate and momentum, where `done` is the share
of all steps that came before: see one_cycle.

Each rule gives PyTorch's trajectory as long as the learning rate is constant; sgd_momentum says
where they part after that, and why. Every rule raises ValueError for shapes that differ, for
unknown entries of config and for values outside of their range.
"""
import math
from typing import NamedTuple

import numpy as np

from checks import arrays, gradient, number


def sgd(w, dw, config=None):
    """Gradient descent: w ← w - learning_rate · dw.

    config: learning_rate (0.01).
    """
    w, dw, config = _checked("sgd", w, dw, config, learning_rate=1e-2)
    next_w = -config["learning_rate"] * dw
    next_w += w
    return next_w, config


def sgd_momentum(w, dw, config=None):
    """Gradient descent with momentum: a ball that rolls downhill and keeps its speed.

        velocity ← momentum · velocity - learning_rate · dw
        w ← w + velocity                                     or, with nesterov,
        w ← w + momentum · velocity - learning_rate · dw

    config: learning_rate (0.01), momentum (0.9), nesterov (False); state: velocity, in units of w.

    PyTorch keeps velocity / -learning_rate instead. That is the same until the learning rate
    changes: then PyTorch rescales the speed gathered so far, while here only new gradients feel
    the change, as in CS231n and in Sutskever et al., "On the importance of initialization and
    momentum", 2013.
    """
    w, dw, config = _checked("sgd_momentum", w, dw, config, state=("velocity",),
                             learning_rate=1e-2, momentum=0.9, nesterov=False)
    step = config["learning_rate"] * dw
    velocity = config["velocity"] = config["momentum"] * config["velocity"] - step
    if config["nesterov"]:
        return w + config["momentum"] * velocity - step, config
    return w + velocity, config


def rmsprop(w, dw, config=None):
    """RMSProp: the step of each weight is divided by the recent size of its gradient.

        cache ← decay_rate · cache + (1 - decay_rate) · dw²
        w ← w - learning_rate · dw / (√cache + epsilon)

    config: learning_rate (0.01), decay_rate (0.99), epsilon (1e-8); state: cache.
    Source: Hinton, "Neural networks for machine learning", lecture 6e, 2012.
    """
    w, dw, config = _checked("rmsprop", w, dw, config, state=("cache",),
                             learning_rate=1e-2, decay_rate=0.99, epsilon=1e-8)
    decay_rate = config["decay_rate"]
    cache = config["cache"] = decay_rate * config["cache"] + (1 - decay_rate) * dw * dw
    return w - config["learning_rate"] * dw / (np.sqrt(cache) + config["epsilon"]), config


def adam(w, dw, config=None):
    """Adam: momentum and RMSProp together, corrected for their start at zero.

        t ← t + 1
        m ← beta1 · m + (1 - beta1) · dw
        v ← beta2 · v + (1 - beta2) · dw²
        w ← (1 - learning_rate · weight_decay) · w
            - learning_rate · m̂ / (√v̂ + epsilon),   m̂ = m / (1 - beta1ᵗ),  v̂ = v / (1 - beta2ᵗ)

    config: learning_rate (0.001), beta1 (0.9), beta2 (0.999), epsilon (1e-8),
    weight_decay (0, decoupled from the gradient); state: m, v, t.
    Source: Kingma and Ba, "Adam", 2015, algorithm 1; Loshchilov and Hutter,
    "Decoupled weight decay regularization", 2019.
    """
    w, dw, config = _checked("adam", w, dw, config, state=("m", "v"), learning_rate=1e-3,
                             beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0, t=0)
    learning_rate, beta1, beta2 = config["learning_rate"], config["beta1"], config["beta2"]
    t = config["t"] = config["t"] + 1
    m = config["m"] = beta1 * config["m"] + (1 - beta1) * dw
    v = config["v"] = beta2 * config["v"] + (1 - beta2) * dw * dw
    # m̂ / (√v̂ + epsilon), both corrections moved to scalars: two passes over the arrays less
    correction = math.sqrt(1 - beta2 ** t)
    step_size = learning_rate * correction / (1 - beta1 ** t)
    step = step_size * m / (np.sqrt(v) + config["epsilon"] * correction)
    return (1 - learning_rate * config["weight_decay"]) * w - step, config


class one_cycle(NamedTuple):        # named as a function, because what it makes is one
    """A schedule: the learning rate rises to its full size, then falls to nearly 0.

        one_cycle(warm_up=0.25)(done) -> (factor of the learning rate, factor of the momentum)

    warm_up: share of the steps in which the rate rises, from `start` times its full size to all of
    it; then it falls to `end` times that; both along half a cosine. momentum: what the momentum
    (beta1 of Adam) is multiplied by where the rate is highest; the two move against each other.

    Source: Smith and Topin, "Super-convergence: very fast training of neural networks using large
    learning rates", 2018.
    """
    warm_up: float = 0.25
    start: float = 0.04
    end: float = 0.0
    momentum: float = 1.0

    def __call__(self, done):
        rises = done < self.warm_up
        way = done / self.warm_up if rises else (done - self.warm_up) / (1 - self.warm_up)
        height = (1 - math.cos(math.pi * way)) / 2 if rises else (1 + math.cos(math.pi * way)) / 2
        low = self.start if rises else self.end
        return low + (1 - low) * height, 1 + (self.momentum - 1) * height


# Hyperparameters that are shares; all others have no upper limit.
_BELOW_ONE = "momentum", "decay_rate", "beta1", "beta2"


def _checked(rule, w, dw, config, state=(), **defaults):
    """(w, dw, config): arrays of one shape, and a new config in which nothing is missing.

    State that is missing starts at zero. Numbers become Python's own, because a float64 scalar of
    NumPy would turn float32 weights into float64.
    """
    w, = arrays(rule, w=(w, "..."))
    dw = gradient(rule, dw, w.shape, "dw").astype(w.dtype, copy=False)
    config = {} if config is None else config
    if not isinstance(config, dict):
        raise ValueError(f"{rule}: config expects a dict, got {config!r}")
    unknown = [name for name in config if name not in (*defaults, *state)]
    if unknown:
        raise ValueError(f"{rule}: config knows {', '.join([*defaults, *state])}, got {unknown[0]!r}")
    checked = {}
    for name, default in defaults.items():
        value = config.get(name, default)
        limit = 1 if name in _BELOW_ONE else math.inf
        checked[name] = bool(value) if isinstance(default, bool) else type(default)(
            number(rule, f"config[{name!r}]", value, below=limit))
    for name in state:
        value = config.get(name)
        checked[name] = np.zeros_like(w) if value is None else gradient(
            rule, value, w.shape, f"config[{name!r}]").astype(w.dtype, copy=False)
    return w, dw, checked
