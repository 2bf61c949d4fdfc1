"""The answers: cases of every function, with what is right there and what known slips give.

Cases are random but for the seed. No two axes need be equal, and the edges are there: any two axes
take every pair of sizes up to 5, each axis is in the hundreds at least once, several are large at
once, so that code that works in blocks needs more than one; numbers up to 1e300 and down to 1e-300,
float32, labels of 8 bits, read-only, transposed and strided arrays. Inputs keep away from kinks.
At exact ties and at 0 every subgradient is right: to the first maximum, to the last, shared.
"""
import dataclasses
import functools
import itertools
import math

import numpy as np

from . import mistakes, more_mistakes, references
from .cases import (DIFFERENT, Layer, Subject, away_from_kinks, derived, normal, of_all_sizes,
                    rounded, with_the_last)
from .contract import (TOLERANCE, Between, Case, Digits, Either, Exact, Prediction, Raised, Shared,
                       Tolerated, Truth)
from .more_cases import MORE_LAYERS, Dropout


# ---------------------------------------------------------------- the cases of each layer

def fc_draw(rng, N, D, M):
    """Inputs of a fully connected layer."""
    return normal(rng, (N, D), (D, M), (M,))


def fc_cases(cases, rng):
    """x (N, D); axes of length 1; x with more axes, which only a warning may follow."""
    small = {"": (4, 5, 3), "N = 1": (1, 3, 2), "D = 1": (3, 1, 2), "M = 1": (2, 3, 1),
             "N = D = M = 1": (1, 1, 1), "square: N = D = M": (3, 3, 3), "tiny": (2, 1, 1),
             "N = M": (2, 4, 2), "N = D": (2, 2, 3)}
    long = {"N is large": (1030, 2, 3), "D is large": (2, 1030, 3), "M is large": (3, 2, 1030)}
    cases.add_shapes(fc_draw, small, long, pairs=3, broad=((67, 70, 69),))
    x, w, b = fc_draw(rng, 3, 4, 2)
    cases.add_zeros((x, w, b))
    cases.add_scaled((x, w, b), ("x", "b"), ("w", "b"))
    cases.add("w = I", x, np.eye(4), rng.standard_normal(4))
    cases.add("w = 0", x, 0 * w, b)
    cases.add("another w for x of this shape", *fc_draw(rng, 3, 4, 5))
    for shape, M in (((2, 2, 3), 2), ((2, 3, 4, 2), 5), ((2, 1, 2, 1, 3), 2)):
        cases.add("", *fc_draw(rng, shape[0], math.prod(shape[1:]), M))
        cases.append(with_more_axes(cases.pop(), shape))


def with_more_axes(case, shape):
    """A case of the fully connected layer with x of more than two axes."""
    x = case.inputs["x"].reshape(shape)
    return dataclasses.replace(
        case, label=f"x with {len(shape)} axes", inputs={**case.inputs, "x": x},
        cache=(x, *case.cache[1:]), if_wrong="warn", if_refused="warn",
        truth={**case.truth, "dx": Exact(case.truth["dx"].array.reshape(shape))},
        advice="right for x of two axes, but not for more: flatten each "
               "sample, x.reshape(len(x), -1), and give dx the shape of x")


def relu_cases(cases, rng):
    """Any number of axes; numbers of both signs, and 0, where any slope from 0 to 1 is right."""
    def draw(rng, *shape):
        return (away_from_kinks(rng, shape),)

    small = {"": (4, 5), "4 axes": (2, 3, 4, 2), "one axis": (6,), "one number": (1,),
             "two numbers": (2,), "N = 1": (1, 3), "3 axes": (2, 1, 3), "5 axes": (2, 1, 2, 1, 3)}
    long = {"N is large": (1030, 2), "D is large": (2, 1030)}
    cases.add_shapes(draw, small, long, guises=(0, 1), pairs=2, broad=((130, 140),))
    cases.add(DIFFERENT, of_all_sizes(rng, (4, 5)), truth={
        "out": Digits, "dx": lambda i, dout: Digits(references.relu_gradients(i["x"], dout)["dx"])})
    known = derived("relu")
    cases.add("all numbers negative", -np.abs(rng.standard_normal((2, 3))) - 0.1, truth=known)
    cases.add("numbers between 0 and 1", rng.uniform(0.1, 0.9, (2, 3)), truth=known)
    cases.add("numbers above 6", 10 ** rng.uniform(1, 6, (2, 3)), truth=known)
    cases.add("numbers near 0", 1e-8 * away_from_kinks(rng, (2, 3)), truth=known)

    def any_slope_at_0(inputs, dout):
        x = inputs["x"]
        full, at_0 = np.where(x > 0, dout, 0.0), np.where(x == 0, dout, 0.0)
        return Between(full + np.minimum(at_0, 0), full + np.maximum(at_0, 0))

    x = rng.integers(-1, 2, (5, 4)).astype(float)
    x[0, :2] = 0
    cases.add("x holds zeros", x, truth={"dx": any_slope_at_0})


# Wide, tall and square images; wide, tall and square windows.
ORIENTATIONS = ((5, 7), (7, 5), (6, 6)), ((2, 3), (3, 2), (2, 2))
# Sizes (N, C, H, W, F, HH, WW): each axis is once 1, once many, once equal to another.
SMALL_FILTERS = {"": (2, 3, 5, 6, 4, 2, 3), "square, N = C = F": (2, 2, 4, 4, 2, 3, 3),
                 "even filters": (1, 2, 5, 4, 3, 4, 2), "1x1 filters": (2, 3, 4, 3, 2, 1, 1),
                 "filter as large as the image": (2, 2, 3, 4, 3, 3, 4),
                 "N = 1, C = 1": (1, 1, 4, 5, 2, 2, 3), "F = 1": (3, 2, 4, 3, 1, 3, 2),
                 "everything 1": (1, 1, 1, 1, 1, 1, 1),
                 "two pixels": (1, 1, 1, 2, 1, 1, 1), "one row": (1, 1, 1, 3, 1, 1, 2),
                 "one column": (1, 1, 3, 1, 1, 2, 1), "tiny": (1, 1, 2, 2, 1, 1, 2),
                 "two channels": (1, 2, 1, 1, 1, 1, 1), "two filters": (1, 1, 1, 1, 2, 1, 1),
                 "two images": (2, 1, 1, 1, 1, 1, 1), "C > F": (2, 4, 3, 4, 2, 2, 2),
                 "F > C": (1, 2, 3, 4, 5, 2, 2), "H > W": (2, 2, 6, 3, 2, 3, 2),
                 "H = W, HH != WW": (1, 2, 4, 4, 2, 1, 3), "H != W, HH = WW": (2, 1, 3, 5, 2, 2, 2),
                 "tall filters": (1, 1, 5, 3, 2, 4, 1), "odd square filters": (1, 2, 5, 6, 2, 3, 3),
                 "5x5 filters": (1, 1, 6, 7, 1, 5, 5)}
LARGE_FILTERS = {"N is large": (1030, 2, 3, 2, 3, 2, 1), "C is large": (2, 300, 2, 3, 2, 1, 2),
                 "F is large": (2, 1, 3, 2, 300, 2, 2), "H is large": (2, 1, 150, 3, 2, 3, 2),
                 "W is large": (1, 2, 3, 150, 2, 2, 3), "large filters": (1, 1, 40, 35, 2, 33, 34),
                 "7x7 filters, three channels": (2, 3, 11, 12, 4, 7, 7),
                 "11x11 filters": (2, 2, 16, 15, 2, 11, 11),
                 "images of 28x28": (2, 1, 28, 28, 2, 7, 7)}


def conv_cases(cases, rng):
    """Filters of all sizes and orientations; loops over blocks, channels and filters."""
    def draw(rng, N, C, H, W, F, HH, WW):
        return normal(rng, (N, C, H, W), (F, C, HH, WW))

    cases.add_shapes(draw, SMALL_FILTERS, LARGE_FILTERS, guises=(0, 2, 1))
    cases.add_all_pairs(lambda rng, N, C, F, HH, WW, OH, OW:
                        draw(rng, N, C, HH + OH - 1, WW + OW - 1, F, HH, WW), 7)
    # The windows of all images together take 3.5 MB; in the second, those of one image do.
    cases.add_broad(draw, (9, 12, 14, 16, 2, 7, 8), (1, 4, 42, 44, 1, 9, 10),
                    (66, 1, 1, 2, 65, 1, 1), (66, 65, 1, 2, 1, 1, 2), (1, 66, 2, 2, 65, 2, 1),
                    (2050, 1, 1, 2, 2, 1, 1))
    for label, sizes in {"three channels, 3x3 filters": (2, 3, 6, 5, 4, 3, 3),
                         "three channels, 5x5 filters": (2, 3, 8, 9, 4, 5, 5),
                         "7x7 filters": (1, 1, 8, 9, 2, 7, 7),
                         "other filters for images of this shape": (2, 3, 5, 6, 4, 3, 2),
                         "fewer filters for images of this shape": (2, 3, 5, 6, 2, 2, 3),
                         "other images for filters of this shape": (2, 3, 6, 4, 4, 2, 3)}.items():
        cases.add(label, *draw(rng, *sizes), long=True)
    for size, C, F in itertools.product((1, 2, 3, 5), (1, 2, 3), (1, 2, 3)):
        inputs = draw(rng, 3, C, size + 1, size + 2, F, size, size)
        cases.add("square filters", *inputs, long=True)
    for image, window, F in itertools.product(*ORIENTATIONS, (1, 2, 3)):
        cases.add("", *draw(rng, 2, 2, *image, F, *window), long=True)
    x, w = draw(rng, 2, 2, 3, 4, 2, 2, 2)
    cases.add_zeros((x, w))
    cases.add_scaled((x, w), ("x",), ("w",))
    cases.add("positive numbers", np.abs(x), np.abs(w))
    cases.add("negative results", -np.abs(x), np.abs(w))


NOT_TILED = ("fails for windows that do not tile the image: rows and columns that no whole window "
             "reaches are left out, and windows overlap where the stride is smaller than they are")
TIE_PAID_IN_FULL = ("sends the gradient to every tied maximum in full: a window has one dout to "
                    "give, to one of them or shared")
DRAWN_POOLING = ("pool_height", "pool_width", "stride")


def pool_draw(rng, N, C, H, W, *pool):
    """Inputs of max pooling: sizes (N, C, H, W, pool_height, pool_width, stride)."""
    return away_from_kinks(rng, (N, C, H, W)), dict(zip(DRAWN_POOLING, pool))


def max_pool_cases(cases, rng):
    """Windows that tile the image or do not; extreme numbers; ties."""
    tiling = {"": (2, 3, 4, 6, 2, 2, 2), "3x3 windows": (2, 1, 3, 6, 3, 3, 3),
              "1x1 windows": (1, 2, 2, 3, 1, 1, 1), "one window": (1, 1, 2, 2, 2, 2, 2),
              "two windows": (1, 1, 2, 4, 2, 2, 2), "two windows, one above the other":
              (1, 1, 4, 2, 2, 2, 2), "one number": (1, 1, 1, 1, 1, 1, 1),
              "two channels": (1, 2, 1, 1, 1, 1, 1), "two images": (2, 1, 2, 2, 2, 2, 2),
              "4x4 windows": (1, 2, 4, 8, 4, 4, 4), "5x5 windows": (1, 1, 5, 10, 5, 5, 5),
              "N > C": (5, 2, 4, 2, 2, 2, 2)}
    long = {"N is large": (1030, 1, 2, 4, 2, 2, 2), "C is large": (2, 300, 2, 2, 2, 2, 2),
            "H is large": (1, 2, 150, 2, 2, 2, 2), "W is large": (2, 1, 2, 150, 2, 2, 2),
            "the window is large": (3, 4, 40, 40, 20, 20, 20)}
    cases.add_shapes(pool_draw, tiling, long)
    cases.add_all_pairs(lambda rng, N, C, down, right, size:
                        pool_draw(rng, N, C, down * size, right * size, size, size, size), 5)
    cases.add_broad(pool_draw, (2, 3, 68, 70, 2, 2, 2), (67, 66, 2, 2, 2, 2, 2))
    add_untiled(cases, rng)
    add_extreme_pooling(cases, rng)
    add_tied(cases, rng)
    for case in cases:
        height, width, stride = (case.inputs["pool_param"][name] for name in DRAWN_POOLING)
        H, W = case.inputs["x"].shape[2:]
        left_over = (H - height) % stride or (W - width) % stride
        # A function for square windows alone is wrong, and must not hide behind these.
        if left_over or (height == width and stride != height):
            case.if_refused, case.advice = "warn", NOT_TILED


UNTILED = {"the last column is left over": (1, 1, 2, 3, 2, 2, 2),
           "the last row is left over": (1, 1, 3, 2, 2, 2, 2),
           "rows and columns are left over": (2, 3, 5, 7, 2, 2, 2),
           "overlapping windows": (1, 1, 2, 3, 2, 2, 1),
           "overlapping windows of 3x3": (1, 2, 5, 4, 3, 3, 1),
           "overlapping windows, one above the other": (1, 1, 3, 2, 2, 2, 1),
           "overlapping windows of 3x2": (2, 3, 5, 4, 3, 2, 1),
           "windows of 1x3": (1, 2, 4, 6, 1, 3, 3),
           "overlapping windows with stride 2": (2, 2, 5, 7, 3, 3, 2),
           "windows with gaps": (2, 2, 5, 8, 2, 1, 3),
           "1x1 windows with gaps": (1, 2, 4, 5, 1, 1, 2),
           "1x1 windows with gaps, few": (1, 1, 1, 3, 1, 1, 2),
           "windows of 3x1": (2, 1, 6, 3, 3, 1, 3), "windows of 2x3": (1, 2, 5, 7, 2, 3, 2),
           "windows of 3x2": (1, 1, 7, 5, 3, 2, 3),
           "the window is the image": (2, 2, 3, 4, 3, 4, 1),
           "the window is the image, stride 2": (2, 2, 4, 3, 4, 3, 2),
           "stride above the image": (1, 2, 3, 3, 2, 2, 5)}


def add_untiled(cases, rng):
    """Windows that leave something over, overlap, or leave gaps."""
    cases.add_shapes(pool_draw, UNTILED, {"many overlaps": (2, 2, 12, 13, 5, 4, 1)}, guises=(4, 6))
    cases.add_all_pairs(lambda rng, N, C, height, width, stride, right, down: pool_draw(
        rng, N, C, height + down - 1, width + right - 1, height, width, stride), 7)
    for image, window, stride in itertools.product(*ORIENTATIONS, (1, 2, 3)):
        cases.add(f"windows of {window[0]}x{window[1]} with stride {stride}",
                  *pool_draw(rng, 2, 2, *image, *window, stride), long=True)
    for sizes in ((2, 2, 1), (3, 2, 2), (2, 3, 2), (1, 2, 2), (2, 2, 3), (4, 6, 2)):
        cases.add(f"images of this shape with windows of {sizes[0]}x{sizes[1]} and stride "
                  f"{sizes[2]}", *pool_draw(rng, 2, 3, 4, 6, *sizes))


def add_extreme_pooling(cases, rng):
    """Negative, huge, tiny and nearly equal numbers."""
    x = away_from_kinks(rng, (2, 3, 4, 6))
    winners = derived("max_pool")
    digits = {**winners, "out": Digits}
    for label, numbers, truth in (
            ("all numbers negative", x - x.max() - 2, None),
            ("overlapping, all negative", x - x.max() - 2, None),
            ("all numbers positive", x - x.min() + 2, None),
            ("all numbers below -1e6", x - 1e6, None),
            ("all numbers below -1e300", 1e300 * (x - x.max() - 2), winners),
            ("numbers of the order of 1e-200", 1e-200 * x, digits),
            (DIFFERENT, of_all_sizes, digits),
            ("numbers that differ little", 1e6 + 1e-8 * x, digits)):
        sizes = (3, 2, 1) if label.startswith("overlapping") else (2, 2, 2)
        numbers = numbers(rng, x.shape) if callable(numbers) else numbers
        cases.add(label, numbers, dict(zip(DRAWN_POOLING, sizes)), truth=truth)


def add_tied(cases, rng):
    """Several maxima in a window: any of them may get its dout, or all together."""
    def any_winner(inputs, dout):
        return Tolerated(any_subgradient(**inputs, dout=dout),
                         Exact(mistakes.paid_to_every_tie(**inputs, dout=dout)), TIE_PAID_IN_FULL)

    def add(label, x, sizes, **options):
        cases.add(label, x, dict(zip(DRAWN_POOLING, sizes)), truth={"dx": any_winner}, **options)

    add("one window of equal numbers", np.ones((1, 1, 2, 2)), (2, 2, 2))
    add("windows of zeros, as after ReLU", np.zeros((1, 2, 2, 4)), (2, 2, 2))
    add("ties", rng.integers(0, 3, (2, 3, 4, 6)).astype(float), (2, 2, 2))
    ties = rng.integers(0, 3, (2, 2, 5, 8)).astype(float)
    add("ties, windows with gaps", ties, (2, 1, 3))
    for sizes in ((3, 3, 1), (3, 2, 2), (3, 2, 3)):
        label = f"ties, windows of {sizes[0]}x{sizes[1]} with stride {sizes[2]}"
        add(label, ties, sizes)
        for _ in range(3):
            add(label + ", dout of one window alone", ties, sizes, one_window=True)


def any_subgradient(x, pool_param, dout):
    """The truth of max pooling at ties. Where windows overlap, their sums cannot be told apart:
    there the limits of each number and the sum over each image are what is asked."""
    low, high, windows, sums = np.zeros(x.shape), np.zeros(x.shape), [], []
    for (i, j), rows, columns in references.pool_windows(x, pool_param):
        share = mistakes.to_every(x[:, :, rows, columns], dout[:, :, i, j, None, None])
        low[:, :, rows, columns] += np.minimum(share, 0)
        high[:, :, rows, columns] += np.maximum(share, 0)
        windows.append((rows.start, rows.stop, columns.start, columns.stop))
        sums.append(dout[:, :, i, j])
    if pool_param["stride"] < max(pool_param["pool_height"], pool_param["pool_width"]):
        windows, sums = [(0, x.shape[2], 0, x.shape[3])], [dout.sum(axis=(2, 3))]
    return Shared(low, high, np.array(windows), np.stack(sums, axis=2))


SCORES_TOO_LARGE = ("exp overflows for large scores (above 710; above 88 in float32), and "
                    "underflows for very negative ones: subtract each row's largest score first")
PROBABILITY_TOO_SMALL = ("the loss is wrong where the right class has a very small probability: "
                         "log p = x - max - log Σ exp(x - max) is always right")
EPSILON_IN_LOG = ("a small number in the log, an epsilon, makes the loss too small: log p = x - max - "
                  "log Σ exp(x - max) needs none")
SMALLEST_PROBABILITY, LARGEST_EPSILON, LARGEST_SCORE = 1e-6, 1.4e-8, 80


def with_limits_of_exp(case):
    """A case of a loss in which only a warning follows where exp or the log reach their limits.

    An epsilon of 1.4e-8 in the log changes the log of 1e-6 by one part in a thousand.
    """
    x, y = case.inputs["x"], case.inputs["y"]
    log_p = np.take_along_axis(references.log_softmax(x), y[..., None].astype(int), -1)[..., 0]
    log_p = log_p[case.inputs.get("mask", np.ones(y.shape)) != 0]
    right = case.truth["loss"]
    if not isinstance(right, Exact) or np.isnan(x).any():
        return case

    def tolerating(low):
        smaller = Between(np.asarray(low), right.array)
        return {**case.truth, "loss": Tolerated(right, smaller, EPSILON_IN_LOG)}

    if log_p.min(initial=0) < math.log(SMALLEST_PROBABILITY):
        return dataclasses.replace(case, if_wrong="warn", if_refused="warn",
                                   advice=PROBABILITY_TOO_SMALL,
                                   truth=tolerating(0.0))
    if np.abs(x).max() > LARGEST_SCORE:
        return dataclasses.replace(case, if_wrong="warn", if_refused="warn",
                                   advice=SCORES_TOO_LARGE)
    return dataclasses.replace(case, truth=tolerating(
        -np.log(np.exp(log_p) + LARGEST_EPSILON).sum() / len(y)))


def softmax_cases(cases, rng):
    """Labels that repeat or are the last; scores that overflow a careless exp."""
    def draw(rng, N, C, scale=1.0):
        return scale * rng.standard_normal((N, C)), with_the_last(rng.integers(0, C, N), C)

    small = {"": (4, 5), "N = 1": (1, 3), "C = 1": (3, 1), "C = 2": (3, 2), "one of two": (1, 2),
             "N = C": (3, 3), "N > C": (5, 2), "scores around 10": (3, 4, 10.0),
             "scores around 100": (3, 4, 100.0)}
    long = {"N is large": (1030, 3), "C is large": (3, 1030)}
    cases.add_shapes(draw, small, long, pairs=2, broad=((300, 200),))
    x, y = draw(rng, 4, 3)
    cases.add("all labels equal", x, np.full(4, 1))
    cases.add("each label is the last class", x, np.full(4, 2))
    for kind in (np.int32, np.uint8, np.int8, np.int16, np.uint16, np.uint32):
        cases.add(f"labels are {kind.__name__}", x, y.astype(kind))
    for kind, N, C in ((np.uint8, 300, 100), (np.int8, 300, 100), (np.int16, 300, 200)):
        many, labels = draw(rng, N, C)
        cases.add(f"many labels are {kind.__name__}", many, labels.astype(kind), long=True)
    cases.add("all scores 0", np.zeros((2, 3)), np.array([2, 0]))
    for offset in (60, -60):
        cases.add(f"scores around {offset}", x + offset, y)
    for offset in (100, 300, -100, -300):
        cases.add(f"scores around {offset}, float32", x + offset, y, dtype=np.float32)
    exact = derived("softmax_loss")
    for offset, truth in ((1000, None), (-1000, None), (1e5, exact)):
        cases.add(f"scores around {offset:g}", x + offset, y, truth=truth)
    rows = np.array([[-1e3], [-30.0], [800], [1e3]]), np.array([[-70], [-30.0], [20], [70]])
    cases.add("a different offset for each row", x + rows[0], y)
    cases.add("a different offset for each row, within ±70", x + rows[1], y)
    cases.add("the right class has a probability of 1.1e-6",
              np.array([[0, 13.7, 0], [13.7, 0, 0]]), np.array([0, 1]))
    right = references.one_hot(y, 3)
    cases.add("the right scores lead by 30", 30 * right + x, y)
    for gap in (40, 300, 695):
        cases.add(f"the right scores trail by {gap}", x - gap * right, y)
    extreme = np.array([[1e3, -1e3, 0], [-1e3, 1e3, 5], [1e3, 1e3, -1e3], [-1e3, 0, 3]])
    cases.add("scores of ±1000", extreme, np.array([0, 1, 0, 2]), truth=exact)
    cases.add("scores of ±1000, wrong ones lead", extreme, np.array([1, 0, 2, 0]), truth=exact)
    cases.add("", *draw(rng, 2, 2))         # the smallest that shows whether dx is divided by N
    cases[:] = map(with_limits_of_exp, cases)


def rnn_draw(rng, T, N, D, H, scale=1.0, gates=1):
    """Inputs of the recurrent layers; weights small enough for gradients to live long."""
    return (rng.standard_normal((T, N, D)), rng.uniform(-1, 1, (N, H)),
            scale * rng.standard_normal((D, gates * H)) / math.sqrt(D),
            scale * rng.standard_normal((H, gates * H)) / math.sqrt(H),
            0.5 * rng.standard_normal(gates * H))


def step_draw(rng, N, D, H, scale=1.0):
    """Inputs of one time step."""
    x, *others = rnn_draw(rng, 1, N, D, H, scale)
    return (x[0], *others)


def lstm_step_draw(rng, N, D, H, scale=1.0):
    """Inputs of one time step of the LSTM: Wx, Wh and b have 4·H columns."""
    x, prev_h, *weights = rnn_draw(rng, 1, N, D, H, scale, gates=4)
    return (x[0], prev_h, rng.standard_normal((N, H)), *weights)


STEPS = {"": (3, 4, 5), "N = 1": (1, 2, 3), "D = 1": (2, 1, 3), "H = 1": (3, 2, 1),
         "everything 1": (1, 1, 1), "D > H": (2, 5, 2), "D = H": (2, 3, 3), "N = H": (2, 3, 2),
         "N = D": (2, 2, 3), "N = D = H": (3, 3, 3), "large weights": (2, 3, 2, 4.0)}
SENTENCES = {"": (3, 2, 4, 5), "T = 1": (1, 2, 3, 2), "N = 1": (3, 1, 2, 3), "D = 1": (2, 3, 1, 2),
             "H = 1": (3, 2, 2, 1), "everything 1": (1, 1, 1, 1), "two steps": (2, 1, 1, 1),
             "two sentences": (1, 2, 1, 1), "T = N": (2, 2, 3, 2), "D = H": (3, 2, 3, 3),
             "all equal": (2, 2, 2, 2), "D > H": (2, 1, 4, 2), "N > T": (2, 4, 1, 2),
             "large weights": (3, 2, 2, 3, 3.0), "T = 6": (6, 2, 2, 3)}


def rnn_step_cases(cases, rng):
    """Sizes (N, D, H)."""
    long = {"N is large": (1030, 2, 3), "D is large": (2, 300, 3), "H is large": (2, 3, 80)}
    cases.add_shapes(step_draw, STEPS, long, pairs=3, broad=((67, 66, 69),))
    add_extreme_states(cases, step_draw(rng, 2, 3, 4))


def rnn_cases(cases, rng):
    """Sizes (T, N, D, H), time-major."""
    small = {**SENTENCES, "very large weights": (2, 2, 2, 2, 6.0)}
    long = {"T is large": (320, 2, 1, 2), "N is large": (2, 1030, 3, 2),
            "D is large": (2, 3, 100, 2), "H is large": (3, 2, 2, 70)}
    # One large weight for 70 steps would be too curved for central differences.
    cases.add_shapes(rnn_draw, small, long, pairs=4, broad=((3, 67, 66, 69), (70, 66, 2, 1, 0.5)))
    add_extreme_states(cases, rnn_draw(rng, 3, 2, 3, 2))


def add_extreme_states(cases, inputs):
    """Inputs that are 0, sums that saturate tanh, and states that no step has made."""
    far = {"b": np.where(cases.rng.random(inputs[-1].shape) < 0.5, -1e3, 1e3)}
    cases.add_zeros(inputs)
    state, inputs = cases.layer.inputs[1], dict(zip(cases.layer.inputs, inputs))
    for label, change, options in (
            (f"{state} = 0", {state: 0 * inputs[state]}, {}),
            (f"{state} above 1", {state: 3 * inputs[state]}, {}),
            ("sums around ±1000", far, {}),
            ("sums around ±1000, float32", far, {"dtype": np.float32})):
        cases.add(label, *{**inputs, **change}.values(), **options)


def lstm_step_cases(cases, rng):
    """Sizes (N, D, H)."""
    long = {"N is large": (300, 2, 3), "D is large": (2, 100, 3), "H is large": (2, 3, 30)}
    cases.add_shapes(lstm_step_draw, STEPS, long)
    cases.add_all_pairs(lstm_step_draw, 3)
    x, prev_h, prev_c, *weights = lstm_step_draw(rng, 2, 3, 4)
    cases.add("prev_h = 0", x, 0 * prev_h, prev_c, *weights)
    cases.add("prev_c = 0", x, prev_h, 0 * prev_c, *weights)
    cases.add("prev_c above 1", x, prev_h, 4 * prev_c, *weights)
    add_extreme_states(cases, (x, prev_h, prev_c, *weights))


def lstm_cases(cases, rng):
    """Sizes (T, N, D, H), time-major; Wx, Wh and b have 4·H columns."""
    draw = functools.partial(rnn_draw, gates=4)
    long = {"T is large": (40, 2, 1, 2), "N is large": (2, 300, 3, 2), "D is large": (2, 3, 100, 2),
            "H is large": (3, 2, 2, 20)}
    cases.add_shapes(draw, SENTENCES, long, pairs=4, broad=((3, 20, 30, 17),))
    add_extreme_states(cases, draw(rng, 3, 2, 3, 2))


VOCABULARY_TOO_LARGE = ("a vocabulary of 70000 words takes more memory or time than there is: does "
                        "it grow with the square of the vocabulary, as np.eye(V) does?")


def word_embedding_cases(cases, rng):
    """Sizes (N, T, V, D); words that repeat, words that are missing, many words."""
    def draw(rng, N, T, V, D):
        return with_the_last(rng.integers(0, V, (N, T)), V), rng.standard_normal((V, D))

    small = {"": (3, 4, 5, 2), "one word": (1, 1, 1, 1), "two places": (1, 2, 2, 1),
             "words repeat": (2, 3, 2, 3), "words are missing": (1, 2, 6, 3), "N = 1": (1, 4, 3, 2),
             "T = 1": (4, 1, 3, 2), "D = 1": (2, 3, 4, 1), "T = D": (2, 3, 4, 3),
             "V = D": (3, 2, 4, 4)}
    long = {"more than 256 words": (4, 150, 400, 3), "more than 65536 words": (2, 20, 70000, 1),
            "N is large": (1030, 2, 5, 3), "T is large": (2, 1030, 5, 3),
            "D is large": (2, 3, 4, 300)}
    cases.add_shapes(draw, small, long, pairs=4, broad=((67, 70, 300, 66),))
    for kind in (np.int8, np.uint8, np.int16, np.uint16, np.uint32):
        words = rng.integers(0, 100, (60, 5)).astype(kind)
        cases.add(f"words are {kind.__name__}", words, *normal(rng, (100, 50)), long=True)
    cases.add(DIFFERENT, np.array([[3, 1, 0, 2]]), of_all_sizes(rng, (4, 5)),
              truth={"out": Digits, **derived("word_embedding", "dW")})
    cases.add("the same word everywhere", np.full((2, 3), 1), *normal(rng, (3, 2)))
    cases.add("the same word twice", np.array([[1, 1]]), *normal(rng, (2, 1)))
    cases.add("the last word", np.array([[3, 0], [3, 3]]), *normal(rng, (4, 2)))
    words = rng.integers(0, 4, (2, 3)).astype(np.int32)
    cases.add("words are int32", words, *normal(rng, (4, 2)))
    cases.add("words above 65536", np.array([[65536, 69999, 65537], [69999, 0, 1]]),
              *normal(rng, (70000, 1)), long=True)
    cases.add("words above 256", np.array([[299, 256, 257], [299, 0, 1]]), *normal(rng, (300, 2)),
              long=True)
    for case in cases:
        if len(case.inputs["W"]) > 65536:
            case.if_refused, case.advice = "warn", VOCABULARY_TOO_LARGE


def temporal_fc_cases(cases, rng):
    """Sizes (N, T, D, M)."""
    def draw(rng, N, T, D, M):
        return normal(rng, (N, T, D), (D, M), (M,))

    small = {"": (2, 3, 4, 5), "N = 1": (1, 2, 3, 2), "T = 1": (3, 1, 2, 4), "D = 1": (2, 3, 1, 2),
             "M = 1": (2, 3, 2, 1), "everything 1": (1, 1, 1, 1), "two steps": (1, 2, 1, 1),
             "two sentences": (2, 1, 1, 1), "N = T = D = M": (2, 2, 2, 2), "N > T": (4, 2, 3, 2),
             "T = D": (2, 3, 3, 2)}
    long = {"N is large": (1030, 2, 3, 2), "T is large": (2, 1030, 2, 3),
            "D is large": (2, 3, 300, 2), "M is large": (2, 3, 2, 300)}
    inputs = draw(rng, 2, 3, 4, 5)
    cases.add_shapes(draw, small, long, pairs=4, broad=((9, 20, 66, 67),))
    cases.add_zeros(inputs)
    cases.add_scaled(inputs, ("x", "b"), ("w", "b"))


def masked(rng, N, T, V, scale=1.0):
    """Scores, words and a mask."""
    return (scale * rng.standard_normal((N, T, V)), with_the_last(rng.integers(0, V, (N, T)), V),
            rng.random((N, T)) < 0.7)


def unmasked(rng, *sizes):
    """Scores and words that all count."""
    x, y, mask = masked(rng, *sizes)
    return x, y, np.ones_like(mask)


def temporal_softmax_cases(cases, rng):
    """Sizes (N, T, V); masks with empty rows, empty masks, masks that are boolean or numbers."""
    small = {"": (3, 4, 5), "N = 1": (1, 3, 2), "T = 1": (4, 1, 3), "two words": (2, 3, 2),
             "N = T = V": (3, 3, 3), "scores around 100": (2, 3, 4, 100.0)}
    full = {"nothing masked": (2, 3, 4), "one place, nothing masked": (1, 1, 2),
            "two steps, nothing masked": (1, 2, 2), "two sentences, nothing masked": (2, 1, 2)}
    long = {"N is large": (1030, 2, 3), "T is large": (2, 1030, 3),
            "more than 256 words": (2, 3, 400)}
    cases.add_shapes(masked, small, long)
    cases.add_shapes(unmasked, full, {"T is large, nothing masked": (2, 300, 3)}, guises=())
    for draw in (masked, unmasked):
        cases.add_all_pairs(draw, 3)
    for draw in (masked, unmasked):
        cases.add_broad(draw, (90, 9, 70))
    x, y, _ = masked(rng, 3, 4, 3)
    mask = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]], bool)
    for kind in (np.uint8, np.int8, np.int16, np.uint16, np.uint32):
        many, words, counted = masked(rng, 60, 5, 100)
        cases.add(f"words are {kind.__name__}", many, words.astype(kind), counted, long=True)
    for bits in range(16):
        x_4, y_4, _ = masked(rng, 1, 4, 3)
        places = (bits >> np.arange(4) & 1 == 1)[None]
        cases.add("every mask of four places", x_4, y_4, places, long=True)
    cases.add("one row masked as a whole", x, y, mask)
    cases.add("one of two places masked", x[:1, :2], y[:1, :2], np.array([[True, False]]))
    cases.add("everything masked", x, y, np.zeros_like(mask))
    cases.add("mask of floats", x, y, mask.astype(float))
    cases.add("mask of integers", x, y, mask.astype(int))
    cases.add("labels are int32", x, y.astype(np.int32), mask)
    cases.add("all labels equal", x, np.full_like(y, 2), mask)
    for offset in (100, 300, -100, -300):
        cases.add(f"scores around {offset}, float32", x + offset, y, mask, dtype=np.float32)
    for offset in (60, -60, 1000, -1000):
        cases.add(f"scores around {offset}", x + offset, y, mask)
    cases.add("a different offset in each place", x + rng.uniform(-1e3, 1e3, (3, 4, 1)), y, mask)
    cases.add("the right word has a probability of 1.1e-6", np.array([[[0, 13.7], [13.7, 0]]]),
              np.array([[0, 1]]), np.ones((1, 2), bool))
    for gap in (300, 695):
        cases.add(f"the right scores trail by {gap}", x - gap * references.one_hot(y, 3), y, mask)
    cases.add("scores of ±1000", rng.choice([-1e3, 0, 1e3], x.shape), y, mask,
              truth=derived("temporal_softmax_loss"))
    cases[:] = map(with_limits_of_exp, cases)


LAYERS = (
    Layer("fc", references.fc, fc_cases, 1, ("x", "w", "b")),
    Layer("relu", references.relu, relu_cases, 1, ("x",)),
    Layer("conv", references.conv, conv_cases, 1, ("x", "w")),
    Layer("max_pool", references.max_pool, max_pool_cases, 1, ("x", "pool_param")),
    Layer("softmax_loss", references.softmax_loss, softmax_cases, 2e-4),
    Layer("rnn_step", references.rnn_step, rnn_step_cases, 1e-4),
    Layer("rnn", references.rnn, rnn_cases, 1e-4),
    Layer("lstm_step", references.lstm_step, lstm_step_cases, 1e-4),
    Layer("lstm", references.lstm, lstm_cases, 1e-4),
    Layer("word_embedding", references.word_embedding, word_embedding_cases, 1),
    Layer("temporal_fc", references.temporal_fc, temporal_fc_cases, 1, ("x", "w", "b", "out")),
    Layer("temporal_softmax_loss", references.temporal_softmax_loss, temporal_softmax_cases, 2e-4),
)


# ---------------------------------------------------------------- update rules and models

@dataclasses.dataclass(frozen=True)
class Rule(Subject):
    """An update rule, and hyperparameters that let every one of them be seen."""
    name: str
    references: tuple               # of each definition that is in use
    hyperparameters: dict
    state: tuple = ()               # names of what config may hold at the start

    def draw(self, rng):
        """Several steps from random weights, with all hyperparameters or with the defaults."""
        defaults = {"learning_rate": 0.1}
        zeros = dict.fromkeys(self.hyperparameters, 0.0) | defaults
        falling = self.hyperparameters | {"lr_decay": 0.5}
        given, cases = self.hyperparameters, []
        for label, shape, steps, config, options in (
                ("one step", (1,), 1, given, {}),
                ("two steps", (1, 2), 2, given, {}),
                ("five steps", (3, 2), 5, given, {}),
                ("default hyperparameters", (2, 3), 3, defaults, {}),
                ("four axes", (2, 1, 3, 2), 3, given, {}),
                ("thirty steps", (2, 2), 30, given, {}),
                ("many weights", (300, 250), 2, given, {}),
                ("three hundred steps", (2,), 300, given, {}),
                ("hyperparameters of 0", (2, 3), 3, zeros, {}),
                ("a learning rate that falls", (2, 3), 4, falling, {}),
                ("gradients with zeros", (4, 5), 4, given, {"share": 0.3}),
                ("large gradients", (2, 2), 3, given, {"scale": 1e3}),
                ("very large gradients", (2, 2), 3, given, {"scale": 1e30}),
                ("small gradients", (2, 2), 3, given, {"scale": 1e-3}),
                ("gradients as small as the default epsilon", (2, 2), 3, defaults, {"scale": 1e-8}),
                ("with gaps and negative strides", (3, 2), 3, given, {"layout": "strided"}),
                ("float32", (3, 2), 5, given, {"dtype": np.dtype(np.float32)}),
                ("in Fortran order", (3, 2), 3, given, {"layout": "fortran"}),
                ("read-only arrays", (3, 2), 3, given, {"layout": "readonly"}),
                *(("config holds the state of earlier steps", (2, 3), steps, given, {"kept": True})
                  for steps in (1, 3) if self.state)):
            dtype = options.get("dtype", np.dtype(np.float64))
            dws = options.get("scale", 1) * rng.standard_normal((steps, *shape))
            dws = np.where(rng.random(dws.shape) < options.get("share", 1), dws, 0.0)
            inputs = {"w": rounded(rng.standard_normal(shape), dtype), "dws": rounded(dws, dtype),
                      "config": config}
            if "kept" in options:
                inputs["config"] = config | {name: 5 if name == "t" else rng.uniform(0.1, 1, shape)
                                             for name in self.state}
            truth = Either(tuple(Exact(reference(**inputs)) for reference in self.references))
            cases.append(Case(label, inputs, {"w": truth}, dtype=dtype,
                              layout=options.get("layout", "plain")))
        return cases


RULES = (
    Rule("sgd", (references.sgd,), {"learning_rate": 0.3}),
    Rule("sgd_momentum", (references.sgd_momentum, references.sgd_momentum_of_pytorch),
         {"learning_rate": 0.3, "momentum": 0.7}),
    Rule("rmsprop", (references.rmsprop,
                     functools.partial(references.rmsprop, root=references.inside)),
         {"learning_rate": 0.3, "decay_rate": 0.8, "epsilon": 0.05}),
    Rule("adam", (references.adam, functools.partial(references.adam, epsilon_first=True)),
         {"learning_rate": 0.3, "beta1": 0.8, "beta2": 0.95, "epsilon": 0.05}),
)

# CS231n publishes the names in config under which the state is kept, and what velocity is.
STATES = {"sgd": (), "sgd_momentum": ("velocity",), "rmsprop": ("cache",), "adam": ("m", "v", "t")}
RULES_FROM_STATE = tuple(
    Rule(f"{rule.name}_from_state",
         rule.references[:1] if rule.name == "sgd_momentum" else rule.references,
         rule.hyperparameters, STATES[rule.name]) for rule in RULES)

MODEL_GUISES = (("", {}), ("float32", {"dtype": np.dtype(np.float32)}),
                ("with gaps and negative strides", {"layout": "strided"}),
                ("read-only arrays", {"layout": "readonly"}))


@dataclasses.dataclass(frozen=True)
class Model(Subject):
    """A model of the assignment: scores, loss, and the gradient of every parameter."""
    name: str
    drawn: object                   # rng -> (constructor's arguments, label, inputs) of each case
    loss: object
    scores: object                  # None where loss() gives none

    @property
    def data(self):
        """The names of loss()'s arguments."""
        return self.functions[0].arguments

    def draw(self, rng):
        """Small models with random parameters."""
        cases = []
        for arguments, label, drawn in self.drawn(rng):
            # Of many samples one shows what rounding in the model does.
            guises = MODEL_GUISES if label == "N = 1" else \
                MODEL_GUISES[:2] if label in ("", "a large batch") else MODEL_GUISES[:1]
            for guise, options in guises:
                inputs = {name: rounded(value, options.get("dtype", np.float64))
                          for name, value in drawn.items()}
                cases.append(Case(", ".join(filter(None, (label, guise))), inputs,
                                  self.truth(inputs), constructor=arguments, **options))
        return cases

    def truth(self, inputs):
        """Loss, gradients and scores by the references."""
        truth = {}
        if self.scores:
            truth["scores"] = Exact(self.scores(
                **{name: value for name, value in inputs.items() if name not in ("y", "reg")}))
        truth["loss"] = Exact(self.loss(**inputs))
        for name in inputs:
            if name not in (*self.data, "reg", "null"):
                truth[f"d{name}"] = Exact(mistakes.gradient_of(self.loss, name, **inputs))
        return truth


def draw_two_layer(rng):
    """Cases of TwoLayerNet."""
    for label, (N, D, H, C), reg in (("", (3, 5, 4, 2), 0.0), ("with a penalty", (2, 3, 4, 5), 0.3),
                                     ("N = 1", (1, 2, 3, 4), 0.0),
                                     ("a large batch", (70, 2, 3, 2), 0.0),
                                     ("labels are int32", (4, 1, 2, 3), 0.0),
                                     ("N = D = H = C", (3, 3, 3, 3), 0.0),
                                     ("labels are uint8", (300, 2, 2, 3), 0.0)):
        active = np.zeros(1, bool)
        while active.all() or not active.any():     # a dead layer would hide what is wrong
            W1, b1 = rng.standard_normal((D, H)), rng.standard_normal(H)
            X = rng.standard_normal((20 * N, D))
            X = X[np.abs(references.fc(X, W1, b1)).min(axis=1) > 0.05][:N]
            active = references.fc(X, W1, b1) > 0
        kind = np.dtype(label.split()[-1] if label.startswith("labels") else int)
        inputs = {"X": X, "y": rng.integers(0, C, len(X)).astype(kind), "reg": reg,
                  "W1": W1, "b1": b1,
                  "W2": rng.standard_normal((H, C)), "b2": rng.standard_normal(C)}
        yield {"input_dim": D, "hidden_dim": H, "num_classes": C}, label, inputs


def draw_conv_net(rng):
    """Cases of ConvNet."""
    for label, (N, C, H, W, F, size, hidden, classes), reg in (
            ("", (2, 2, 5, 7, 3, 2, 4, 3), 0.0), ("with a penalty", (3, 1, 6, 5, 2, 3, 3, 2), 0.3),
            ("N = 1", (1, 3, 4, 4, 2, 1, 3, 4), 0.0),
            ("N = 1, one channel", (1, 1, 4, 5, 2, 2, 3, 2), 0.0),
            ("labels are int32", (2, 1, 4, 3, 1, 2, 2, 3), 0.0),
            ("a large batch, labels are uint8", (40, 1, 4, 4, 1, 1, 1, 3), 0.0)):
        features = F * ((H - size + 1) // 2) * ((W - size + 1) // 2)
        kind = np.dtype(label.split()[-1] if "labels" in label else int)
        inputs = {"X": rng.standard_normal((20 * N, C, H, W)),
                  "y": rng.integers(0, classes, N).astype(kind), "reg": reg,
                  "W1": rng.standard_normal((F, C, size, size)),
                  "W2": rng.standard_normal((features, hidden)) / math.sqrt(features),
                  "b2": rng.standard_normal(hidden), "W3": rng.standard_normal((hidden, classes)),
                  "b3": rng.standard_normal(classes)}
        inputs["X"] = inputs["X"][distances_to_kinks(inputs) > 0.012][:N]
        yield ({"input_dim": (C, H, W), "num_filters": F, "filter_size": size, "hidden_dim": hidden,
                "num_classes": classes}, label, inputs)


def distances_to_kinks(inputs):
    """(N,): how near each image comes to a kink of ConvNet: a 0 before ReLU, or a tied maximum."""
    filtered = references.conv(inputs["X"], inputs["W1"])
    N = len(filtered)
    pooled = references.max_pool(references.relu(filtered), references.POOL)
    hidden = references.fc(references.rows(pooled), inputs["W2"], inputs["b2"])
    distances = [np.abs(hidden).min(axis=1)]
    for _, rows, columns in references.pool_windows(filtered, references.POOL):
        top = np.sort(filtered[:, :, rows, columns].reshape(N, -1, 4), axis=2)
        # Negative maxima are cut off to 0; there, ties do not matter.
        gap = np.where(top[:, :, 3] > 0, np.minimum(top[:, :, 3] - top[:, :, 2], top[:, :, 3]),
                       -top[:, :, 3])
        distances.append(gap.min(axis=1))
    return np.min(distances, axis=0)


def draw_captioning(rng):
    """Cases of CaptioningRNN; <NULL> is not always word 0."""
    special = ("<NULL>", "<START>", "<END>", "<UNK>")
    for label, (N, T, D, W, H, V), null in (
            ("", (3, 5, 4, 3, 2, 6), 0), ("N = 1", (1, 4, 2, 3, 4, 5), 0),
            ("with a penalty", (1, 3, 2, 2, 3, 5), 0),
            ("<NULL> is word 2", (2, 6, 3, 2, 3, 7), 2), ("one word", (2, 2, 1, 2, 2, 5), 0),
            ("a large batch", (70, 3, 2, 1, 2, 5), 0), ("D = W = H = V", (5, 5, 5, 5, 5, 5), 0),
            ("no padding", (2, 4, 2, 2, 3, 6), 0), ("words are int32", (2, 4, 3, 2, 2, 6), 0)):
        order = [1, 2, 0] if null else [0, 1, 2]
        word_to_idx = {word: order[k] if k < 3 else k
                       for k, word in enumerate([*special, *map(str, range(V - 4))])}
        null = word_to_idx["<NULL>"]
        captions = rng.integers(3, V, (N, T))
        captions[:, 0] = word_to_idx["<START>"]
        captions = captions.astype(np.dtype("int32" if label.endswith("int32") else int))
        lengths = rng.integers(min(2, T - 1), T, N) if label != "no padding" else []
        for n, length in enumerate(lengths):
            captions[n, length] = word_to_idx["<END>"]
            captions[n, length + 1:] = null

        def normal(*shape):
            return rng.standard_normal(shape) / math.sqrt(shape[0])

        yield ({"word_to_idx": word_to_idx, "input_dim": D, "wordvec_dim": W, "hidden_dim": H,
                "cell_type": "rnn"}, label,
               {"features": rng.standard_normal((N, D)), "captions": captions, "null": null,
                "reg": 0.3 if label == "with a penalty" else 0.0,
                "W_proj": normal(D, H), "b_proj": normal(H), "W_embed": rng.standard_normal((V, W)),
                "Wx": normal(W, H), "Wh": normal(H, H), "b": normal(H), "W_vocab": normal(H, V),
                "b_vocab": normal(V)})


MODELS = (
    Model("TwoLayerNet", draw_two_layer, references.two_layer_loss, references.two_layer_scores),
    Model("ConvNet", draw_conv_net, references.conv_net_loss, references.conv_net_scores),
    Model("CaptioningRNN", draw_captioning, references.captioning_loss, None),
)


# ---------------------------------------------------------------- answers

# The numbers of a case depend on the place in this table: what is new goes to its end.
SUBJECTS = {subject.name: subject for subject in (
    *LAYERS, *RULES, *MODELS, *MORE_LAYERS, Dropout(), *RULES_FROM_STATE)}


def cases(name, seed):
    """All cases of a layer, a rule or a model, the small ones first."""
    rng = np.random.default_rng([seed, list(SUBJECTS).index(name)])
    with np.errstate(all="ignore"):
        return tuple(sorted(SUBJECTS[name].draw(rng), key=lambda case: case.size))


def predictions(function, case):
    """Yields a Prediction for each known slip of a Function that differs from the truth here."""
    table = mistakes.MISTAKES + more_mistakes.MISTAKES
    for mistake in mistakes.of_function(table, function.known_as, function.results):
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
        found = dict.fromkeys(mistake.outputs, found)
    arrays = {output: found[output] if isinstance(found[output], Truth) else
              np.asarray(found[output], dtype=float) for output in mistake.outputs
              if output in case.truth}
    return {output: array for output, array in arrays.items() if differs(case, output, array)}


def differs(case, output, array):
    """Whether an output would have been called wrong: an array, or a Truth that is drawn."""
    truth = case.truth[output]
    if isinstance(array, Truth):
        return type(array) is not type(truth) or not all(
            np.array_equal(value, getattr(truth, name)) for name, value in vars(array).items())
    return array.shape != truth.shape or truth.difference(
        array, TOLERANCE[case.dtype], case.floor(output)) is not None
