"""Layers that normalise or drop, each a pair of pure functions as in layers.py.

    NAME_forward(inputs..., param)  -> (out, cache)
    NAME_backward(dout, cache)      -> the gradients of the arrays among the inputs, in their order

A normalisation takes groups of numbers, moves the mean of each group to 0 and its variance to 1,
and lets the network choose a scale gamma and a shift beta:

    x̂ = (x - μ) / σ,   σ = √(variance + eps),   out = gamma ⊙ x̂ + beta

The four differ in what a group is:

    batch normalisation           all samples of one feature
    layer normalisation           all features of one sample
    spatial batch normalisation   all samples and pixels of one channel
    spatial group normalisation   all pixels of some channels of one sample

Names, arguments and caches of dropout are those of CS231n's assignment 2; the caches of the
normalisations, which it leaves open, are named in each docstring.

Letters: N samples, D features; C channels, H height, W width; G groups of channels.

What layers.py promises of its layers holds here too, with one exception, which the assignment
publishes: batch normalisation in the mode 'train' puts new running values into the caller's dict
bn_param. It puts new arrays there and leaves the old ones as they are. Dropout draws from the
caller's generator if it is given one.

All gradients are derived in docs/derivations.md.
"""
import numpy as np

from checks import arrays, gradient, integers, number


# ---------------------------------------------------------------- batch normalisation

def batchnorm_forward(x, gamma, beta, bn_param):
    """Batch normalisation: each feature is normalised over the samples of the batch.

        train:  μ_d = 1/N Σ_n x_nd,   σ_d² = 1/N Σ_n (x_nd - μ_d)² + eps
        test:   μ and σ² from the running values, which the mode 'train' averages over batches:
                running ← momentum·running + (1 - momentum)·batch

    The running variance is that of the batch, divided by N (PyTorch's is divided by N - 1, and its
    momentum is one minus this one).

    Inputs: x (N, D); gamma, beta (D,); bn_param, a dict with 'mode', which is 'train' or 'test',
    and perhaps 'eps' (1e-5), 'momentum' (0.9), 'running_mean' and 'running_var' (D,) (zeros).
    The mode 'train' stores new arrays as bn_param['running_mean'] and bn_param['running_var'].
    Returns (out, cache): out is (N, D); cache is (x̂, gamma, σ, mode), with σ (D,).
    Source: Ioffe and Szegedy, "Batch normalization", 2015; CS231n, assignment 2.
    """
    x, gamma, beta = arrays("batchnorm_forward", x=(x, "ND"), gamma=(gamma, "D"), beta=(beta, "D"))
    return _batchnorm("batchnorm_forward", x, gamma, beta, bn_param)


def batchnorm_backward(dout, cache):
    """Gradients (dx, dgamma, dbeta) of batch normalisation, given dout (N, D), step by step.

    Derived in docs/derivations.md, "Batch normalisation".
    """
    x_hat, gamma, sigma, mode = cache
    dout = gradient("batchnorm_backward", dout, x_hat.shape)
    # out_nd = gamma_d·x̂_nd + beta_d  ⇒  dgamma_d = Σ_n dout_nd·x̂_nd,  dbeta_d = Σ_n dout_nd
    dgamma = (dout * x_hat).sum(axis=0)
    dbeta = dout.sum(axis=0)
    dx_hat = dout * gamma
    if mode == "test":                          # μ and σ do not depend on x
        return dx_hat / sigma, dgamma, dbeta
    N, centred = len(x_hat), x_hat * sigma
    # x̂ = (x - μ)/σ and σ = √v  ⇒  dv_d = -½ Σ_n dx̂_nd·(x_nd - μ_d) / σ_d³
    dvariance = -0.5 * (dx_hat * centred).sum(axis=0) / sigma ** 3
    # μ stands in x̂; what it adds to v is Σ_n (x_nd - μ_d) = 0
    dmean = -dx_hat.sum(axis=0) / sigma
    # x stands in x̂, in v = 1/N Σ_n (x_nd - μ_d)² + eps and in μ = 1/N Σ_n x_nd
    dx = dx_hat / sigma + dvariance * 2 * centred / N + dmean / N
    return dx, dgamma, dbeta


def batchnorm_backward_alt(dout, cache):
    """The same gradients (dx, dgamma, dbeta), from one simplified formula: faster.

    Derived in docs/derivations.md, "Batch normalisation".
    """
    return _batchnorm_backward("batchnorm_backward_alt", dout, cache)


def spatial_batchnorm_forward(x, gamma, beta, bn_param):
    """Batch normalisation of images: each channel is normalised over all samples and pixels.

    Inputs: x (N, C, H, W); gamma, beta (C,); bn_param as in batchnorm_forward, with running values
    (C,).
    Returns (out, cache): out is (N, C, H, W); cache is (x̂, gamma, σ, mode), with σ (C,).
    Source: CS231n, assignment 2.
    """
    x, gamma, beta = arrays("spatial_batchnorm_forward", x=(x, "NCHW"), gamma=(gamma, "C"),
                            beta=(beta, "C"))
    return _batchnorm("spatial_batchnorm_forward", x, gamma, beta, bn_param)


def spatial_batchnorm_backward(dout, cache):
    """Gradients (dx, dgamma, dbeta) of batch normalisation of images, given dout (N, C, H, W).

    Derived in docs/derivations.md, "Batch normalisation".
    """
    return _batchnorm_backward("spatial_batchnorm_backward", dout, cache)


def _batchnorm(function, x, gamma, beta, bn_param):
    """Both forward passes: x (N, D) or (N, D, H, W), normalised over all axes but the second."""
    mode = _mode(function, "bn_param", bn_param)
    eps = _eps(function, "bn_param", bn_param)
    momentum = number(function, "bn_param['momentum']", bn_param.get("momentum", 0.9), below=1)
    running = [gradient(function, bn_param.get(name, np.zeros(len(gamma), x.dtype)), gamma.shape,
                        f"bn_param['{name}']") for name in ("running_mean", "running_var")]
    if mode == "train":
        over = _all_but_the_second(x)
        mean = x.mean(axis=over)
        centred = x - _spread(mean, x)
        variance = (centred * centred).mean(axis=over)
        for name, old, new in zip(("running_mean", "running_var"), running, (mean, variance)):
            bn_param[name] = momentum * old + (1 - momentum) * new
    else:
        mean, variance = running
        centred = x - _spread(mean, x)
    sigma = np.sqrt(variance + eps)
    x_hat = centred / _spread(sigma, x)
    return x_hat * _spread(gamma, x) + _spread(beta, x), (x_hat, gamma, sigma, mode)


def _batchnorm_backward(function, dout, cache):
    """Both backward passes, by the simplified formula.

    Derived in docs/derivations.md, "Batch normalisation".
    """
    x_hat, gamma, sigma, mode = cache
    dout = gradient(function, dout, x_hat.shape)
    over = _all_but_the_second(x_hat)
    dgamma = (dout * x_hat).sum(axis=over)
    dbeta = dout.sum(axis=over)
    dx = dout
    if mode == "train":                         # else μ and σ do not depend on x
        # With M numbers in a group, dx = gamma/σ·(dout - dbeta/M - x̂·dgamma/M): what is left of
        # dout has the mean 0, and is orthogonal to x̂
        M = dout.size // len(gamma)
        dx = dout - _spread(dbeta / M, dout) - x_hat * _spread(dgamma / M, dout)
    return dx * _spread(gamma / sigma, dout), dgamma, dbeta


def _all_but_the_second(x):
    """The axes of x without axis 1, that of features or channels."""
    return 0, *range(2, x.ndim)


def _spread(values, x):
    """One number for each index of axis 1, in a shape that meets x (N, D) or (N, C, H, W)."""
    return values.reshape(-1, *[1] * (x.ndim - 2))


# ---------------------------------------------------------------- layer normalisation

def layernorm_forward(x, gamma, beta, ln_param):
    """Layer normalisation: each sample is normalised over its features, in training and after it.

        μ_n = 1/D Σ_d x_nd,   σ_n² = 1/D Σ_d (x_nd - μ_n)² + eps

    Inputs: x (N, D); gamma, beta (D,); ln_param, a dict with perhaps 'eps' (1e-5).
    Returns (out, cache): out is (N, D); cache is (x̂, gamma, σ), with σ (N, 1).
    Source: Ba, Kiros and Hinton, "Layer normalization", 2016; CS231n, assignment 2.
    """
    x, gamma, beta = arrays("layernorm_forward", x=(x, "ND"), gamma=(gamma, "D"), beta=(beta, "D"))
    x_hat, sigma = _normalised(x, _eps("layernorm_forward", "ln_param", ln_param))
    return x_hat * gamma + beta, (x_hat, gamma, sigma)


def layernorm_backward(dout, cache):
    """Gradients (dx, dgamma, dbeta) of layer normalisation, given dout (N, D).

    Derived in docs/derivations.md, "Layer normalisation".
    """
    x_hat, gamma, sigma = cache
    dout = gradient("layernorm_backward", dout, x_hat.shape)
    # out_nd = gamma_d·x̂_nd + beta_d  ⇒  dgamma_d = Σ_n dout_nd·x̂_nd,  dbeta_d = Σ_n dout_nd
    dgamma = (dout * x_hat).sum(axis=0)
    dbeta = dout.sum(axis=0)
    return _normalised_backward(dout * gamma, x_hat, sigma), dgamma, dbeta


def spatial_groupnorm_forward(x, gamma, beta, G, gn_param):
    """Group normalisation: the channels of each sample in G groups, each group normalised.

    Channels 0 to C/G - 1 are the first group, and so on. With one group it is layer normalisation
    of an image.

    Inputs: x (N, C, H, W); gamma, beta (1, C, 1, 1); G, a divisor of C; gn_param, a dict with
    perhaps 'eps' (1e-5).
    Returns (out, cache): out is (N, C, H, W); cache is (x̂, gamma, σ, G), with σ (N, G, 1).
    Source: Wu and He, "Group normalization", 2018; CS231n, assignment 2.
    """
    x, = arrays("spatial_groupnorm_forward", x=(x, "NCHW"))
    N, C, _, _ = x.shape
    gamma = gradient("spatial_groupnorm_forward", gamma, (1, C, 1, 1), "gamma")
    beta = gradient("spatial_groupnorm_forward", beta, (1, C, 1, 1), "beta")
    G, = integers("spatial_groupnorm_forward", 1, G=G)
    if C % G:
        raise ValueError(f"spatial_groupnorm_forward: G expects a divisor of {C} channels, got {G}")
    x_hat, sigma = _normalised(x.reshape(N, G, -1),
                               _eps("spatial_groupnorm_forward", "gn_param", gn_param))
    x_hat = x_hat.reshape(x.shape)
    return x_hat * gamma + beta, (x_hat, gamma, sigma, G)


def spatial_groupnorm_backward(dout, cache):
    """Gradients (dx, dgamma, dbeta) of group normalisation, given dout (N, C, H, W).

    Derived in docs/derivations.md, "Group normalisation".
    """
    x_hat, gamma, sigma, G = cache
    dout = gradient("spatial_groupnorm_backward", dout, x_hat.shape)
    # out_nchw = gamma_c·x̂_nchw + beta_c  ⇒  dgamma_c = Σ_nhw dout·x̂,  dbeta_c = Σ_nhw dout
    dgamma = (dout * x_hat).sum(axis=(0, 2, 3), keepdims=True)
    dbeta = dout.sum(axis=(0, 2, 3), keepdims=True)
    groups = len(dout), G, -1
    dx = _normalised_backward((dout * gamma).reshape(groups), x_hat.reshape(groups), sigma)
    return dx.reshape(dout.shape), dgamma, dbeta


def _normalised(x, eps):
    """(x̂, σ): x with mean 0 and variance 1 along its last axis; σ keeps that axis."""
    centred = x - x.mean(axis=-1, keepdims=True)
    sigma = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + eps)
    return centred / sigma, sigma


def _normalised_backward(dx_hat, x_hat, sigma):
    """dx of x̂ = (x - μ)/σ along the last axis.

    Derived in docs/derivations.md, "Layer normalisation".
    """
    # dx = (dx̂ - mean(dx̂) - x̂·mean(dx̂ ⊙ x̂)) / σ: σ and μ depend on all numbers of the group
    mean = dx_hat.mean(axis=-1, keepdims=True)
    along = (dx_hat * x_hat).mean(axis=-1, keepdims=True)
    return (dx_hat - mean - x_hat * along) / sigma


# ---------------------------------------------------------------- dropout

def dropout_forward(x, dropout_param):
    """Dropout: in training each number is kept with probability p and divided by p, else 0.

        train:  out = x ⊙ mask,  mask = 1/p where a coin says so, else 0        test:  out = x

    Divided by p ("inverted dropout"), each number keeps its mean, and nothing has to be done in
    the mode 'test'.

    Inputs: x of any shape; dropout_param, a dict with 'p', the probability to keep a number
    (0 < p <= 1; CS231n's since 2017, PyTorch's is one minus this one), 'mode', which is 'train' or
    'test', and perhaps 'rng', a numpy.random.Generator to draw from, or 'seed', an integer, which
    drops the same numbers in every call.
    Returns (out, cache): out has the shape of x; cache is (dropout_param, mask), mask None in the
    mode 'test'.
    Source: Srivastava et al., "Dropout", 2014; CS231n, assignment 2.
    """
    x, = arrays("dropout_forward", x=(x, "..."))
    mode = _mode("dropout_forward", "dropout_param", dropout_param)
    p, rng = _coin("dropout_forward", dropout_param)
    if mode == "test":
        return x.copy(), (dropout_param, None)
    mask = (rng.random(x.shape, dtype=np.float32) >= 1 - p).astype(x.dtype)
    mask /= p
    return x * mask, (dropout_param, mask)


def dropout_backward(dout, cache):
    """Gradient dx of dropout, given dout of the shape of x: the same numbers are dropped.

    Derived in docs/derivations.md, "Dropout".
    """
    _, mask = cache
    if mask is None:
        dout, = arrays("dropout_backward", dout=(dout, "..."))
        return dout.copy()
    dout = gradient("dropout_backward", dout, mask.shape)
    # out = x ⊙ mask, and the coins do not depend on x  ⇒  dx = dout ⊙ mask
    return dout * mask


# ---------------------------------------------------------------- options

def _mode(function, name, param):
    """The mode of a dict of options, 'train' or 'test', or ValueError."""
    if not isinstance(param, dict) or "mode" not in param:
        raise ValueError(f"{function}: {name} expects a dict with mode, got {param!r:.80}")
    if not isinstance(param["mode"], str) or param["mode"] not in ("train", "test"):
        raise ValueError(f"{function}: {name}['mode'] expects 'train' or 'test', "
                         f"got {param['mode']!r}")
    return param["mode"]


def _eps(function, name, param):
    """What is added to a variance, from a dict of options, or ValueError."""
    if not isinstance(param, dict):
        raise ValueError(f"{function}: {name} expects a dict, got {param!r:.80}")
    return number(function, f"{name}['eps']", param.get("eps", 1e-5))


def _coin(function, param):
    """(p, the generator to draw from) of dropout_param, or ValueError."""
    p, rng, seed = (param.get(name) for name in ("p", "rng", "seed"))
    if number(function, "dropout_param['p']", p) > 1 or p == 0:
        raise ValueError(f"{function}: dropout_param['p'] expects more than 0 and at most 1, "
                         f"got {p!r}")
    if rng is not None and not isinstance(rng, np.random.Generator):
        raise ValueError(f"{function}: dropout_param['rng'] expects a numpy.random.Generator, "
                         f"got {rng!r:.80}")
    if rng is None and seed is not None:
        seed, = integers(function, 0, **{"dropout_param['seed']": seed})
    return float(p), np.random.default_rng(seed) if rng is None else rng
