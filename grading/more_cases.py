"""Cases of the layers of deeper networks: normalisation, dropout, convolution with a stride,
padding and a bias, the hinge loss.
"""
import dataclasses
import itertools

import numpy as np

from . import references
from .cases import GUISES, Layer, Subject, derived, normal, rounded, with_the_last
from .contract import Between, Case, Dropped, Exact, Following


# ---------------------------------------------------------------- the cases of each layer

def svm_cases(cases, rng):
    """Scores of which no two lie near the margin of 1, and some that lie on it."""
    def draw(rng, N, C):
        # Steps of 0.7, moved by up to 0.05: no difference is within 0.2 of 1.
        x = 0.7 * rng.permuted(np.tile(np.arange(C) - C // 2, (N, 1)), axis=1)
        return x + rng.uniform(-0.05, 0.05, x.shape), with_the_last(rng.integers(0, C, N), C)

    small = {"": (4, 5), "N = 1": (1, 3), "C = 1": (3, 1), "C = 2": (3, 2), "one of two": (1, 2),
             "N = C": (3, 3), "N > C": (5, 2)}
    long = {"N is large": (1030, 3), "C is large": (3, 1030)}
    cases.add_shapes(draw, small, long, pairs=2, broad=((300, 200),))
    x, y = draw(rng, 4, 3)
    cases.add("all labels equal", x, np.full(4, 1))
    cases.add("each label is the last class", x, np.full(4, 2))
    for kind in (np.int32, np.uint8):
        cases.add(f"labels are {kind.__name__}", x, y.astype(kind))
    for offset in (1000, -1000):
        cases.add(f"scores around {offset}", x + offset, y)
    right = references.one_hot(y, 3)
    for lead in (30, -30):
        cases.add(f"the right scores lead by {lead}", x + lead * right, y)

    def any_slope_at_0(inputs, _):
        x, y = inputs["x"], inputs["y"]
        right = references.one_hot(y, x.shape[1])
        least, most = ((1 - right) * (references.margins(x, y) + change > 0)
                       for change in (-1e-6, 1e-6))
        return Between((least - right * most.sum(axis=1, keepdims=True)) / len(x),
                       (most - right * least.sum(axis=1, keepdims=True)) / len(x))

    cases.add("margins of exactly 0", np.array([[1.0, 0, 0], [2, 1, 5], [0, 0, 1]]),
              np.array([0, 0, 2]), truth={"dx": any_slope_at_0})


STRIDE_LEFT_OVER = ("fails where the stride does not divide the image: rows and columns that no "
                    "whole window reaches are left out, 1 + (H + 2·pad - HH) // stride")
# Sizes (N, C, H, W, F, HH, WW, stride, pad).
STRIDED_FILTERS = {
    "": (2, 3, 5, 7, 4, 3, 3, 2, 1), "stride 1, no padding": (2, 2, 4, 5, 3, 2, 3, 1, 0),
    "pad 1": (1, 2, 4, 3, 2, 3, 3, 1, 1), "stride 2": (2, 1, 6, 4, 3, 2, 2, 2, 0),
    "stride 3": (1, 2, 7, 4, 2, 1, 1, 3, 0), "pad 2": (2, 1, 3, 5, 2, 3, 2, 1, 2),
    "pad 3": (1, 1, 2, 3, 1, 2, 3, 1, 3), "1x1 filters": (2, 3, 3, 2, 4, 1, 1, 1, 0),
    "1x1 filters, pad 1": (1, 2, 2, 3, 3, 1, 1, 1, 1),
    "stride 2, pad 1": (1, 1, 4, 6, 1, 2, 2, 2, 1), "everything 1": (1, 1, 1, 1, 1, 1, 1, 1, 0),
    "one pixel, pad 1": (1, 1, 1, 1, 1, 3, 3, 1, 1), "two filters": (1, 1, 2, 2, 2, 2, 2, 1, 0),
    "two images": (2, 1, 2, 2, 1, 2, 2, 1, 0), "two channels": (1, 2, 1, 2, 1, 1, 1, 1, 0),
    "tall filters": (1, 2, 5, 4, 2, 3, 2, 2, 0), "wide filters": (2, 1, 4, 5, 2, 2, 3, 2, 0),
    "the filter is the padded image": (2, 2, 2, 1, 3, 4, 3, 1, 1),
    "stride above the filter": (1, 2, 8, 5, 2, 2, 2, 3, 0),
    "N = C = F": (2, 2, 4, 4, 2, 3, 3, 1, 1),
    "the stride leaves a row over": (1, 2, 6, 5, 2, 3, 3, 2, 1),
    "the stride leaves rows and columns over": (2, 1, 7, 7, 2, 7, 7, 3, 2),
    "the stride leaves a column over, no padding": (1, 1, 4, 5, 2, 2, 2, 2, 0)}


def strided_conv_draw(rng, N, C, H, W, F, HH, WW, stride, pad):
    """Inputs of the convolution with a bias, a stride and padding."""
    return (*normal(rng, (N, C, H, W), (F, C, HH, WW), (F,)), {"stride": stride, "pad": pad})


def strided_conv_cases(cases, rng):
    """Strides and pads that fit, and strides that leave something over."""
    long = {"N is large": (260, 2, 3, 2, 3, 2, 1, 1, 1),
            "C is large": (2, 300, 2, 3, 2, 1, 2, 1, 0),
            "F is large": (2, 1, 3, 2, 300, 2, 2, 1, 0),
            "H is large": (1, 1, 151, 3, 2, 3, 3, 2, 1),
            "images of 28x28": (2, 1, 28, 28, 2, 7, 7, 1, 3),
            "several axes are large": (9, 12, 14, 16, 2, 6, 6, 2, 1)}
    cases.add_shapes(strided_conv_draw, STRIDED_FILTERS, long, guises=(0, 1))
    cases.add_all_pairs(lambda rng, N, C, F, window, stride, windows: strided_conv_draw(
        rng, N, C, window + (windows - 1) * stride, window + windows * stride, F, window, window,
        stride, 0), 6)
    for stride, pad, (HH, WW) in itertools.product((1, 2, 3), (0, 1, 2), ((1, 1), (2, 3), (3, 3))):
        cases.add(f"stride {stride}, pad {pad}", *strided_conv_draw(
            rng, 2, 2, HH + 2 * stride, WW + stride, 3, HH, WW, stride, pad), long=True)
    x, w, b, conv_param = strided_conv_draw(rng, 2, 2, 3, 5, 2, 3, 3, 2, 1)
    cases.add("x as after ReLU", np.maximum(x, 0), w, b, conv_param)
    cases.add("b = 0", x, w, 0 * b, conv_param)
    for case in cases:
        (H, W), (HH, WW) = case.inputs["x"].shape[2:], case.inputs["w"].shape[2:]
        stride, pad = case.inputs["conv_param"]["stride"], case.inputs["conv_param"]["pad"]
        if "NaN" not in case.label and ((H + 2 * pad - HH) % stride or (W + 2 * pad - WW) % stride):
            case.if_refused, case.advice = "warn", STRIDE_LEFT_OVER


def known_gradients(name):
    """Truths by the derivation for groups of numbers that hardly vary: there 1 / √(variance + eps)
    is too curved for central differences."""
    return {gradient: derived(name, gradient)[gradient] for gradient in ("dx", "dgamma", "dbeta")}


def norm_numbers(rng, shape, features):
    """x, gamma and beta of a normalisation; the mean of x is not 0, nor its variance 1."""
    return 1 + 2 * rng.standard_normal(shape), *normal(rng, features, features)


def bn_param_of(rng, count, **options):
    """What batch normalisation is asked for, with values of batches before this one."""
    return {"mode": "train", "eps": 0.05, "momentum": 0.7,
            "running_mean": rng.standard_normal(count),
            "running_var": rng.uniform(0.5, 2, count), **options}


def batchnorm_draw(rng, N, D):
    """Inputs of batch normalisation."""
    return *norm_numbers(rng, (N, D), (D,)), bn_param_of(rng, D)


def add_batchnorm_modes(cases, rng, x, gamma, beta):
    """Default parameters; running values that are not there yet; the mode "test".

    That mode is judged forwards only: CS231n's template fills the cache in the mode "train", its
    notebooks and its networks call the backward pass after nothing else, and right solutions leave
    None in the cache there.
    """
    D, known = len(gamma), known_gradients(cases.layer.name)
    cases.add("the first batch, default parameters", x, gamma, beta, {"mode": "train"})
    cases.add("momentum 0.9", x, gamma, beta, bn_param_of(rng, D, momentum=0.9))
    cases.add("eps 0.5", x, gamma, beta, bn_param_of(rng, D, eps=0.5))
    cases.add("default eps, x varies little", 1e-3 * x, gamma, beta, {"mode": "train"}, truth=known)
    cases.add("x does not vary", 0 * x + 2, gamma, beta, {"mode": "train"}, truth=known)
    cases.add("gamma = 1, beta = 0", x, 0 * gamma + 1, 0 * beta, bn_param_of(rng, D))
    for label, change, options in (
            ("", x, {}), (", other numbers", 3 * x - 2, {}), (", one sample", x[:1], {}),
            (", float32", x, {"dtype": np.float32}), (", running_var = 0", x, {"var": 0.0}),
            (", two samples", x[:2], {})):
        param = bn_param_of(rng, D, mode="test")
        if "var" in options:
            param["running_var"] = np.full(D, options.pop("var"))
        cases.add(f"mode test{label}", change, gamma, beta, param, forward_only=True, **options)


def batchnorm_cases(cases, rng):
    """Sizes (N, D)."""
    small = {"": (4, 5), "N = 2": (2, 3), "N = 1": (1, 3), "D = 1": (3, 1), "N = D": (3, 3),
             "N > D": (6, 2), "two numbers": (2, 1)}
    long = {"N is large": (1030, 3), "D is large": (3, 1030)}
    cases.add_shapes(batchnorm_draw, small, long, pairs=2, broad=((90, 80),))
    add_batchnorm_modes(cases, rng, *norm_numbers(rng, (5, 3), (3,)))


def spatial_batchnorm_cases(cases, rng):
    """Sizes (N, C, H, W)."""
    def draw(rng, N, C, H, W):
        return *norm_numbers(rng, (N, C, H, W), (C,)), bn_param_of(rng, C)

    small = {"": (2, 3, 4, 2), "N = 1": (1, 2, 2, 3), "C = 1": (2, 1, 2, 3),
             "H = W = 1": (4, 3, 1, 1), "two images": (2, 2, 1, 1),
             "two pixels": (1, 2, 1, 2), "N = C": (2, 2, 3, 1), "all equal": (2, 2, 2, 2)}
    long = {"N is large": (260, 2, 2, 3), "C is large": (2, 260, 1, 2),
            "H is large": (2, 2, 100, 3)}
    cases.add_shapes(draw, small, long, pairs=4, broad=((9, 12, 10, 9),))
    add_batchnorm_modes(cases, rng, *norm_numbers(rng, (3, 2, 2, 3), (2,)))


def layernorm_cases(cases, rng):
    """Sizes (N, D)."""
    def draw(rng, N, D):
        return *norm_numbers(rng, (N, D), (D,)), {"eps": 0.05}

    small = {"": (4, 5), "N = 1": (1, 3), "D = 1": (3, 1), "D = 2": (3, 2), "N = D": (3, 3),
             "N > D": (6, 2), "two numbers": (1, 2)}
    long = {"N is large": (1030, 3), "D is large": (3, 1030)}
    cases.add_shapes(draw, small, long, pairs=2, broad=((90, 80),))
    add_plain_norms(cases, *norm_numbers(rng, (3, 6), (6,)))


def add_plain_norms(cases, x, gamma, beta, *more):
    """Default parameters; numbers that vary little or not at all."""
    known = known_gradients(cases.layer.name)
    cases.add("default parameters", x, gamma, beta, *more, {}, truth=known)
    cases.add("eps 0.5", x, gamma, beta, *more, {"eps": 0.5})
    cases.add("default eps, x varies little", 1e-3 * x, gamma, beta, *more, {}, truth=known)
    cases.add("x does not vary", 0 * x + 2, gamma, beta, *more, {}, truth=known)
    cases.add("gamma = 1, beta = 0", x, 0 * gamma + 1, 0 * beta, *more, {"eps": 0.05})


def spatial_groupnorm_cases(cases, rng):
    """Sizes (N, C / G, H, W, G): groups of one channel, one group, several of both."""
    def draw(rng, N, size, H, W, G):
        features = (1, G * size, 1, 1)
        return *norm_numbers(rng, (N, G * size, H, W), features), G, {"eps": 0.05}

    small = {"": (2, 3, 2, 3, 2), "G = C": (2, 1, 2, 3, 3), "G = 1": (3, 2, 2, 1, 1),
             "N = 1": (1, 2, 3, 2, 2), "H = W = 1": (2, 2, 1, 1, 3),
             "two channels": (1, 2, 1, 1, 1), "C / G = G": (2, 2, 1, 2, 2),
             "C = 1": (2, 1, 2, 2, 1)}
    long = {"N is large": (260, 2, 2, 1, 2), "C is large": (2, 60, 1, 2, 4),
            "H is large": (2, 2, 100, 2, 2)}
    cases.add_shapes(draw, small, long, pairs=5, broad=((5, 6, 7, 8, 3),))
    add_plain_norms(cases, *norm_numbers(rng, (2, 4, 2, 3), (1, 4, 1, 1)), 2)


MORE_LAYERS = (
    Layer("batchnorm", references.batchnorm, batchnorm_cases, 1e-4),
    Layer("layernorm", references.layernorm, layernorm_cases, 1e-4),
    Layer("spatial_batchnorm", references.spatial_batchnorm, spatial_batchnorm_cases, 1e-4),
    Layer("spatial_groupnorm", references.spatial_groupnorm, spatial_groupnorm_cases, 1e-4),
    Layer("strided_conv", references.strided_conv, strided_conv_cases, 1,
          ("x", "w", "b", "conv_param")),
    Layer("svm_loss", references.svm_loss, svm_cases, 0.02),
)


@dataclasses.dataclass(frozen=True)
class Dropout(Subject):
    """Dropout. What is kept is a matter of chance: any right function has some properties."""
    name: str = "dropout"

    def draw(self, rng):
        """Every p with and without a seed, and the mode "test"."""
        cases = []
        for shape, p, options in itertools.product(
                ((4, 5), (2, 3, 4, 2), (1, 1), (20, 20), (300, 200)), (0.25, 0.7, 1.0),
                ({"seed": 3}, {})):
            cases.append(self.training(rng, shape, p, options, {}))
        for label, guise in GUISES[:4]:
            cases.append(self.training(rng, (6, 7), 0.6, {"seed": 5}, {"label": label, **guise}))
            cases.append(self.testing(rng, (3, 4), 0.6, {"label": f"mode test, {label}", **guise}))
        for shape, p in (((4, 5), 0.25), ((2, 3, 2, 2), 0.7), ((300, 200), 0.5), ((2, 2), 1.0)):
            cases.append(self.testing(rng, shape, p, {"label": "mode test"}))
        return cases

    def training(self, rng, shape, p, options, flags):
        """A case in the mode "train": the share that is kept, and what becomes of it."""
        x, dout = normal(rng, shape, shape)
        x, dout = (rounded(a, flags.get("dtype", np.float64)) for a in (x + np.sign(x), dout))
        kept, param = rng.random(shape) < p, {"mode": "train", "p": p, **options}
        truth = {"out": Dropped(x / p, p), "dx": Following(dout / p, kept, "out")}
        return self.case({"x": x, "dropout_param": param}, truth, dout, (param, kept / p), flags)

    def testing(self, rng, shape, p, flags):
        """A case in the mode "test": nothing is changed."""
        x, dout = (rounded(a, flags.get("dtype", np.float64)) for a in normal(rng, shape, shape))
        inputs = {"x": x, "dropout_param": {"mode": "test", "p": p}}
        return self.case(inputs, {"out": Exact(x), "dx": Exact(dout)}, dout, None, flags)

    @staticmethod
    def case(inputs, truth, dout, cache, flags):
        """A Case whose results are drawn."""
        flags = {"label": "", **flags, "dtype": np.dtype(flags.get("dtype", np.float64))}
        return Case(inputs=inputs, truth=truth, dout=dout, cache=cache, is_random=True, **flags)
