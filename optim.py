"""Update rules of gradient descent, in rising complexity.

    rule(w, dw, config) -> (next_w, config)

`w` and `dw` are arrays of one shape. Every hyperparameter and every piece of
state is in the dict `config`, so that saving it saves the rule; what it lacks
gets its default. Rules are pure: neither w, dw nor config is changed, and the
config returned is a new one, to be handed to the next call.

All rules keep the dtype of w. They write into memory that nobody refers to any more
(layers.empty), because fresh memory costs more than the arithmetic. Each gives PyTorch's
trajectory as long as the step size is constant; sgd_momentum says where they part
after that, and why.
"""
import math

import numpy as np

from layers import as_float_array, empty, is_number


def sgd(w, dw, config=None):
    """Gradient descent: w ← w - learning_rate · dw.

    config: learning_rate (0.01).
    Raises ValueError for unknown entries, impossible values and shapes that differ.
    """
    w, dw, config = _completed("sgd", w, dw, config, learning_rate=1e-2)
    next_w = empty(w.shape, w.dtype)
    np.multiply(dw, -config["learning_rate"], out=next_w)
    next_w += w
    return next_w, config


def sgd_momentum(w, dw, config=None):
    """Gradient descent with momentum: a ball that rolls downhill and keeps its speed.

        velocity ← momentum · velocity - learning_rate · dw
        w ← w + velocity                                     or, with nesterov,
        w ← w + momentum · velocity - learning_rate · dw

    config: learning_rate (0.01), momentum (0.9), nesterov (False);
    state: velocity, in units of w.

    PyTorch keeps velocity / -learning_rate instead. That is the same until the
    learning rate changes: then PyTorch rescales the speed gathered so far at
    once, while here only new gradients feel the change, as in CS231n and in
    Sutskever et al., "On the importance of initialization and momentum", 2013.
    Raises ValueError for unknown entries, impossible values and shapes that differ.
    """
    w, dw, config = _completed("sgd_momentum", w, dw, config, state=("velocity",),
                               learning_rate=1e-2, momentum=0.9, nesterov=False)
    learning_rate, momentum = config["learning_rate"], config["momentum"]
    velocity, next_w = empty(w.shape, w.dtype), empty(w.shape, w.dtype)
    np.multiply(config["velocity"], momentum, out=velocity)
    step = np.multiply(dw, learning_rate, out=next_w)
    velocity -= step
    if config["nesterov"]:
        np.subtract(momentum * velocity, step, out=next_w)
        next_w += w
    else:
        np.add(w, velocity, out=next_w)
    config["velocity"] = velocity
    return next_w, config


def rmsprop(w, dw, config=None):
    """RMSProp: each weight's step is divided by the recent size of its gradient.

        cache ← decay_rate · cache + (1 - decay_rate) · dw²
        w ← w - learning_rate · dw / (√cache + epsilon)

    config: learning_rate (0.01), decay_rate (0.99), epsilon (1e-8); state: cache.
    Raises ValueError for unknown entries, impossible values and shapes that differ.
    Source: Hinton, "Neural networks for machine learning", lecture 6e, 2012.
    """
    w, dw, config = _completed("rmsprop", w, dw, config, state=("cache",),
                               learning_rate=1e-2, decay_rate=0.99, epsilon=1e-8)
    learning_rate, decay_rate = config["learning_rate"], config["decay_rate"]
    next_w, cache = empty(w.shape, w.dtype), empty(w.shape, w.dtype)
    for w_, dw_, old_cache, cache_, next_w_ in _blocks(w, dw, config["cache"], cache, next_w):
        cache_[:] = decay_rate * old_cache + (1 - decay_rate) * (dw_ * dw_)
        next_w_[:] = w_ - learning_rate * dw_ / (np.sqrt(cache_) + config["epsilon"])
    config["cache"] = cache
    return next_w, config


def adam(w, dw, config=None):
    """Adam: momentum and RMSProp together, corrected for their start at zero.

        t ← t + 1
        m ← beta1 · m + (1 - beta1) · dw
        v ← beta2 · v + (1 - beta2) · dw²
        w ← (1 - learning_rate · weight_decay) · w
            - learning_rate · m̂ / (√v̂ + epsilon),   m̂ = m / (1 - beta1ᵗ),  v̂ = v / (1 - beta2ᵗ)

    config: learning_rate (0.001), beta1 (0.9), beta2 (0.999), epsilon (1e-8),
    weight_decay (0, decoupled from the gradient); state: m, v, t.
    Raises ValueError for unknown entries, impossible values and shapes that differ.
    Source: Kingma and Ba, "Adam", 2015, algorithm 1; Loshchilov and Hutter,
    "Decoupled weight decay regularization", 2019.
    """
    w, dw, config = _completed("adam", w, dw, config, state=("m", "v"),
                               learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8,
                               weight_decay=0.0, t=0)
    learning_rate, beta1, beta2 = config["learning_rate"], config["beta1"], config["beta2"]
    config["t"] = t = config["t"] + 1
    # The two corrections are scalars: apply them to scalars, not to arrays.
    step_size = learning_rate * math.sqrt(1 - beta2 ** t) / (1 - beta1 ** t)
    epsilon = config["epsilon"] * math.sqrt(1 - beta2 ** t)
    shrink = 1 - learning_rate * config["weight_decay"]
    next_w, m, v = (empty(w.shape, w.dtype) for _ in range(3))
    for w_, dw_, old_m, old_v, m_, v_, next_w_ in _blocks(
            w, dw, config["m"], config["v"], m, v, next_w):
        # Each line is one pass; until the last one, next_w_ holds what lies between.
        np.multiply(beta1, old_m, out=m_)
        m_ += np.multiply(1 - beta1, dw_, out=next_w_)
        np.multiply(dw_, dw_, out=next_w_)
        next_w_ *= 1 - beta2
        np.multiply(beta2, old_v, out=v_)
        v_ += next_w_
        np.sqrt(v_, out=next_w_)
        next_w_ += epsilon
        np.divide(m_, next_w_, out=next_w_)
        next_w_ *= -step_size
        next_w_ += w_ if shrink == 1 else shrink * w_
    config["m"], config["v"] = m, v
    return next_w, config


def _blocks(*arrays, size=32 * 1024):
    """Walk through equally shaped arrays in pieces whose intermediate results stay in the cache.

    Yields a tuple of 1-d pieces, one of each array; those of contiguous arrays are views.
    """
    flat = [array.reshape(-1) for array in arrays]
    for start in range(0, flat[0].size, size):
        yield tuple(array[start:start + size] for array in flat)


# What each number may be: (smallest, smallest allowed itself?, upper limit, never reached).
_LIMITS = {
    "learning_rate": (0, False, math.inf), "epsilon": (0, True, math.inf),
    "weight_decay": (0, True, math.inf), "momentum": (0, True, 1),
    "decay_rate": (0, True, 1), "beta1": (0, True, 1), "beta2": (0, True, 1),
    "t": (0, True, math.inf),
}


def _completed(rule, w, dw, config, state=(), **defaults):
    """(w, dw, config): floating-point arrays, and a checked copy in which nothing is missing.

    Numbers become Python's own, because a NumPy float64 scalar would turn
    float32 weights into float64. State that is missing starts at zero.
    """
    w, dw = as_float_array(rule, "w", w), as_float_array(rule, "dw", dw)
    if w.shape != dw.shape:
        raise ValueError(f"{rule}: dw expects the shape of w, {w.shape}, got {dw.shape}")
    config = {} if config is None else config
    if not isinstance(config, dict):
        raise ValueError(f"{rule}: config expects a dict, got {config!r}")
    unknown = set(config) - set(defaults) - set(state)
    if unknown:
        raise ValueError(f"{rule}: config knows {', '.join([*defaults, *state])}; "
                         f"got {', '.join(sorted(map(repr, unknown)))}")
    completed = {name: _checked_number(rule, name, config.get(name, default), default)
                 for name, default in defaults.items()}
    smallest = np.finfo(w.dtype).tiny
    if 0 < completed.get("epsilon", 0) < smallest:
        raise ValueError(f"{rule}: config['epsilon'] expects 0 or at least {smallest:.1e} for "
                         f"{w.dtype} weights, got {completed['epsilon']}")
    for name in state:
        value = config.get(name)
        if value is None:
            value = np.zeros_like(w)
        value = as_float_array(rule, f"config[{name!r}]", value)
        if value.shape != w.shape:
            raise ValueError(f"{rule}: config[{name!r}] expects the shape of w, {w.shape}, "
                             f"got {value.shape}")
        completed[name] = value
    return w, dw, completed


def _checked_number(rule, name, value, default):
    """`value` as the Python type of its default, or ValueError."""
    kind = type(default)
    if kind is bool:
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError(f"{rule}: config[{name!r}] expects True or False, got {value!r}")
        return bool(value)
    if not is_number(value):
        raise ValueError(f"{rule}: config[{name!r}] expects a number, got {value!r}")
    number = kind(value)
    lower, lower_allowed, upper = _LIMITS[name]
    if not (lower < number < upper or (lower_allowed and number == lower)) or number != value:
        least = f"at least {lower}" if lower_allowed else f"above {lower}"
        raise ValueError(f"{rule}: config[{name!r}] expects a number {least} and "
                         f"below {upper}, got {value!r}")
    return number
