"""Normalisation and dropout against PyTorch, against numerical gradients, and against bad input."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F

import norm_layers
# pytest runs these tests again here, with this file's layers.
from test_layers import (  # noqa: F401
    A, Layer, assert_error_names, both_dtypes, normal, test_arguments_and_cache_are_not_changed,
    test_dtype_is_kept, test_gradients_match_central_differences,
    test_integers_and_lists_count_as_float64, test_nan_propagates,
    test_output_and_gradients_match_torch, test_strides_do_not_matter)

MATRICES = [(5, 4), (2, 1), (3, 7), (40, 3)]
# No pixel and sample may be alone in its channel: PyTorch refuses what is always 0.
PICTURES = [(2, 3, 4, 5), (1, 2, 1, 3), (2, 1, 1, 1), (6, 5, 3, 2)]
# Channels and groups
GROUPS = [((2, 6, 4, 5), 3), ((1, 4, 3, 2), 1), ((3, 5, 1, 2), 5), ((2, 8, 3, 1), 2)]
TEST, TRAIN = {"mode": "test"}, {"mode": "train"}


# ---------------------------------------------------------------- the layers and their twins

def running_values(x):
    """A mean and a variance for each feature or channel of x, always the same."""
    x = np.asarray(x)
    dtype = x.dtype if x.dtype.kind == "f" else np.float64
    rng = np.random.default_rng(0)
    return (rng.standard_normal(x.shape[1]).astype(dtype),
            rng.uniform(0.2, 3, x.shape[1]).astype(dtype))


def batchnorm(forward, backward, shapes, mode="train", **options):
    def with_options(x, gamma, beta):
        mean, variance = running_values(x)
        return forward(x, gamma, beta, {"mode": mode, "running_mean": mean,
                                        "running_var": variance, **options})

    def twin(x, gamma, beta):
        mean, variance = map(torch.tensor, running_values(x.detach().numpy()))
        return F.batch_norm(x, mean, variance, gamma, beta, training=mode == "train",
                            eps=options.get("eps", 1e-5))

    return Layer(with_options, backward, twin,
                 [[shape, shape[1:2], shape[1:2]] for shape in shapes])


def layernorm(shapes, **options):
    return Layer(lambda *inputs: norm_layers.layernorm_forward(*inputs, options),
                 norm_layers.layernorm_backward,
                 lambda x, *weights: F.layer_norm(x, x.shape[1:], *weights,
                                                  eps=options.get("eps", 1e-5)),
                 [[shape, shape[1:], shape[1:]] for shape in shapes])


def groupnorm(shape, G, **options):
    weights = (1, shape[1], 1, 1)
    return Layer(lambda *inputs: norm_layers.spatial_groupnorm_forward(*inputs, G, options),
                 norm_layers.spatial_groupnorm_backward,
                 lambda x, gamma, beta: F.group_norm(x, G, gamma.flatten(), beta.flatten(),
                                                     eps=options.get("eps", 1e-5)),
                 [[shape, weights, weights]])


def dropout(shapes, p, mode="train", seed=3):
    def twin(x):
        coins = np.random.default_rng(seed).random(x.shape, dtype=np.float32) >= 1 - p
        return x * torch.tensor(coins) / p if mode == "train" else x * 1

    return Layer(lambda x: norm_layers.dropout_forward(x, {"p": p, "mode": mode, "seed": seed}),
                 norm_layers.dropout_backward, twin, [[shape] for shape in shapes])


BATCHNORM = norm_layers.batchnorm_forward, norm_layers.batchnorm_backward
ALT = norm_layers.batchnorm_forward, norm_layers.batchnorm_backward_alt
SPATIAL = norm_layers.spatial_batchnorm_forward, norm_layers.spatial_batchnorm_backward
LAYERS = {
    "batchnorm": batchnorm(*BATCHNORM, MATRICES),
    "batchnorm, eps 0.3": batchnorm(*BATCHNORM, MATRICES, eps=0.3),
    "batchnorm, test": batchnorm(*BATCHNORM, [*MATRICES, (1, 3)], "test"),
    "batchnorm_alt": batchnorm(*ALT, MATRICES, eps=0.01),
    "batchnorm_alt, test": batchnorm(*ALT, [*MATRICES, (1, 3)], "test", eps=0.01),
    "spatial_batchnorm": batchnorm(*SPATIAL, PICTURES),
    "spatial_batchnorm, test": batchnorm(*SPATIAL, PICTURES, "test", eps=0.2),
    "layernorm": layernorm([*MATRICES, (1, 6)]),
    "layernorm, eps 0.3": layernorm(MATRICES, eps=0.3),
    **{f"groupnorm of {shape}, G {G}": groupnorm(shape, G) for shape, G in GROUPS},
    "groupnorm, eps 0.3": groupnorm((2, 4, 3, 5), 2, eps=0.3),
    "dropout": dropout([(6, 5), (3, 2, 4), (7,), (2, 1, 3, 2)], p=0.7),
    "dropout, p 1": dropout([(6, 5)], p=1),
    "dropout, test": dropout([(6, 5), (3,)], p=0.7, mode="test"),
}


@pytest.fixture(params=LAYERS)
def layer(request):
    return LAYERS[request.param]


def weights(x):
    """gamma and beta for x."""
    return np.random.default_rng(1).standard_normal((2, x.shape[1]))


# ---------------------------------------------------------------- normalisation

@both_dtypes
@pytest.mark.parametrize("shape", [(50, 4), (6, 3, 5, 7)])
def test_both_backward_passes_of_batchnorm_agree(shape, dtype):
    """The step-by-step form also serves images, with a row for each pixel."""
    rng = np.random.default_rng(2)
    x, dout = (normal(rng, shape, dtype) * 3 + 1 for _ in range(2))
    gamma, beta = weights(x).astype(dtype)

    def rows(x):
        return np.moveaxis(x, 1, -1).reshape(-1, shape[1])

    _, cache = norm_layers.batchnorm_forward(rows(x), gamma, beta, {"mode": "train"})
    direct = norm_layers.batchnorm_backward(rows(dout), cache)
    simple = norm_layers.batchnorm_backward_alt(rows(dout), cache)
    for a, b in zip(direct, simple, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 if dtype == np.float64 else 1e-4)
    if len(shape) == 4:
        _, cache = norm_layers.spatial_batchnorm_forward(x, gamma, beta, {"mode": "train"})
        dx, *rest = norm_layers.spatial_batchnorm_backward(dout, cache)
        for a, b in zip((rows(dx), *rest), direct, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 if dtype == np.float64 else 1e-3)


@pytest.mark.parametrize("forward, shape, axes", [
    (norm_layers.batchnorm_forward, (9, 4), (0,)),
    (norm_layers.spatial_batchnorm_forward, (3, 4, 2, 5), (0, 2, 3))])
def test_running_values_are_averaged_over_batches_and_used_in_the_mode_test(forward, shape, axes):
    rng = np.random.default_rng(3)
    mean, variance, bn_param = np.zeros(4), np.zeros(4), {"mode": "train", "momentum": 0.8}
    for _ in range(5):
        x = normal(rng, shape) * 2 + 3
        before = {name: bn_param[name].copy() for name in bn_param if name.startswith("running")}
        kept = [bn_param[name] for name in before]
        forward(x, *weights(x), bn_param)
        for old, copy in zip(kept, before.values()):        # new arrays, the old ones as they were
            np.testing.assert_array_equal(old, copy)
        mean = 0.8 * mean + 0.2 * x.mean(axis=axes)
        variance = 0.8 * variance + 0.2 * x.var(axis=axes)
        np.testing.assert_allclose(bn_param["running_mean"], mean, rtol=0, atol=1e-12)
        np.testing.assert_allclose(bn_param["running_var"], variance, rtol=0, atol=1e-12)
    gamma, beta = weights(x)
    tested = {**bn_param, "mode": "test"}
    out, _ = forward(x, gamma, beta, tested)
    spread = (-1, *[1] * (len(shape) - 2))
    expected = [values.reshape(spread) for values in (gamma, beta, mean, variance)]
    np.testing.assert_allclose(out, expected[0] * (x - expected[2]) / np.sqrt(expected[3] + 1e-5)
                               + expected[1], rtol=0, atol=1e-12)
    assert tested.keys() == bn_param.keys()
    assert all(tested[name] is bn_param[name] for name in ("running_mean", "running_var"))


def test_running_values_are_those_of_pytorch_but_for_its_factor_of_the_variance():
    x = normal(np.random.default_rng(4), (7, 3))
    mean, variance = map(torch.tensor, running_values(x))
    bn_param = {"mode": "train", "momentum": 0.7, "running_mean": mean.numpy().copy(),
                "running_var": np.zeros(3)}
    norm_layers.batchnorm_forward(x, *weights(x), bn_param)
    variance[:] = 0
    F.batch_norm(torch.tensor(x), mean, variance, training=True, momentum=0.3)
    np.testing.assert_allclose(bn_param["running_mean"], mean.numpy(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(bn_param["running_var"], variance.numpy() * 6 / 7, rtol=0,
                               atol=1e-12)


def test_running_values_keep_the_dtype_of_x_and_the_batch_may_be_one_sample():
    bn_param = {"mode": "train"}
    x = normal(np.random.default_rng(5), (1, 3), np.float32)
    gamma, beta = weights(x).astype(np.float32)
    out, cache = norm_layers.batchnorm_forward(x, gamma, beta, bn_param)
    np.testing.assert_array_equal(out, [beta])
    assert not norm_layers.batchnorm_backward(np.ones_like(x), cache)[0].any()
    assert {bn_param[name].dtype for name in ("running_mean", "running_var")} == {np.dtype("f4")}


@pytest.mark.parametrize("name", ["batchnorm", "spatial_batchnorm", "layernorm", "groupnorm"])
def test_a_large_mean_does_not_spoil_the_variance(name):
    """Σ x² / N - μ² would be wrong by more than the variance itself."""
    rng = np.random.default_rng(6)
    shape = {"batchnorm": (40, 6), "layernorm": (6, 40)}.get(name, (8, 4, 3, 5))
    noise = rng.integers(-8, 9, shape)          # with 2¹⁶ exact in float32
    forward = {"batchnorm": BATCHNORM[0], "spatial_batchnorm": SPATIAL[0],
               "layernorm": norm_layers.layernorm_forward}.get(name)
    for dtype, tolerance in ((np.float32, 3e-3), (np.float64, 1e-9)):
        one, zero = np.ones(shape[1], dtype), np.zeros(shape[1], dtype)
        if name == "groupnorm":
            spread = (1, -1, 1, 1)
            outs = [norm_layers.spatial_groupnorm_forward(
                (noise + shift).astype(dtype), one.reshape(spread), zero.reshape(spread), 2, {})[0]
                for shift in (0, 2 ** 16)]
        else:
            outs = [forward((noise + shift).astype(dtype), one, zero, {"mode": "train"})[0]
                    for shift in (0, 2 ** 16)]
        np.testing.assert_allclose(*outs, rtol=0, atol=tolerance)


def test_nan_reaches_only_the_group_it_is_in():
    x = normal(np.random.default_rng(7), (3, 4, 2, 5))
    x[1, 2, 0, 3] = np.nan
    one, zero = np.ones(4), np.zeros(4)

    def spoiled(out):
        return {tuple(place) for place in np.argwhere(np.isnan(out))}

    out, _ = SPATIAL[0](x, one, zero, {"mode": "train"})
    assert spoiled(out) == {place for place in np.ndindex(x.shape) if place[1] == 2}
    out, _ = SPATIAL[0](x, one, zero, {"mode": "test"})
    assert spoiled(out) == {(1, 2, 0, 3)}
    out, _ = norm_layers.spatial_groupnorm_forward(x, one.reshape(1, 4, 1, 1),
                                                   zero.reshape(1, 4, 1, 1), 2, {})
    assert spoiled(out) == {place for place in np.ndindex(x.shape)
                            if place[0] == 1 and place[1] > 1}
    matrix = x[:, :, 0, 3]
    out, _ = norm_layers.batchnorm_forward(matrix, one, zero, {"mode": "train"})
    assert spoiled(out) == {(n, 2) for n in range(3)}
    out, _ = norm_layers.layernorm_forward(matrix, one, zero, {})
    assert spoiled(out) == {(1, d) for d in range(4)}


def test_group_normalisation_with_one_group_is_layer_normalisation_of_the_image():
    x = normal(np.random.default_rng(8), (3, 4, 2, 5))
    gamma, beta = weights(x).reshape(2, 1, 4, 1, 1)
    out, _ = norm_layers.spatial_groupnorm_forward(x, gamma, beta, 1, {})
    flat = x.reshape(3, -1)
    expected, _ = norm_layers.layernorm_forward(
        flat, *(np.broadcast_to(value, (1, 4, 2, 5)).reshape(-1) for value in (gamma, beta)), {})
    np.testing.assert_allclose(out.reshape(3, -1), expected, rtol=0, atol=1e-12)


# ---------------------------------------------------------------- dropout

@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
def test_dropout_keeps_numbers_with_probability_p_and_their_mean(p):
    x = np.ones((500, 400))
    out, (param, mask) = norm_layers.dropout_forward(x, {"p": p, "mode": "train", "seed": 0})
    assert set(np.unique(out)) == {0, 1 / p}
    assert (out != 0).mean() == pytest.approx(p, abs=0.01)
    assert out.mean() == pytest.approx(1, abs=0.02)
    np.testing.assert_array_equal(mask, out)
    np.testing.assert_array_equal(norm_layers.dropout_backward(3 * x, (param, mask)), 3 * mask)


def test_a_seed_drops_the_same_numbers_and_a_generator_goes_on():
    x, options = np.ones((20, 30)), {"p": 0.5, "mode": "train"}

    def drop(**more):
        return norm_layers.dropout_forward(x, {**options, **more})[0]

    np.testing.assert_array_equal(drop(seed=3), drop(seed=3))
    assert (drop(seed=3) != drop(seed=4)).any() and (drop() != drop()).any()
    rng = np.random.default_rng(3)
    first, second = drop(rng=rng), drop(rng=rng)
    np.testing.assert_array_equal(first, drop(seed=3))
    assert (first != second).any()
    np.testing.assert_array_equal(second, drop(rng=_after_one(x)))
    state = rng.bit_generator.state
    drop(mode="test", rng=rng)
    assert rng.bit_generator.state == state


def _after_one(x):
    """The generator with seed 3 after one call."""
    rng = np.random.default_rng(3)
    rng.random(x.shape, dtype=np.float32)
    return rng


def test_dropout_leaves_numpys_global_generator_alone():
    state = np.random.get_state()[1].copy()
    for more in ({}, {"seed": 1}):
        norm_layers.dropout_forward(A((3, 4)), {"p": 0.5, "mode": "train", **more})
    np.testing.assert_array_equal(np.random.get_state()[1], state)


# ---------------------------------------------------------------- wrong input

MATRIX, IMAGES, FOUR = A((3, 4)), A((2, 6, 3, 5)), A(4)
SIX, PER_CHANNEL = A(6), A((1, 6, 1, 1))
WRONG_CALLS = [
    (BATCHNORM[0], (A(4), FOUR, FOUR, TRAIN), "x expects shape (N, D), got (4,)"),
    (BATCHNORM[0], (MATRIX, A(3), FOUR, TRAIN), "gamma expects shape (D,) with D = 4, got (3,)"),
    (BATCHNORM[0], (MATRIX, FOUR, A((1, 4)), TRAIN),
     "beta expects shape (D,) with D = 4, got (1, 4)"),
    (BATCHNORM[0], (MATRIX, FOUR, FOUR, {}), "bn_param expects a dict with mode, got {}"),
    (BATCHNORM[0], (MATRIX, FOUR, FOUR, "train"), "bn_param expects a dict with mode, got 'train'"),
    (BATCHNORM[0], (MATRIX, FOUR, FOUR, {"mode": "eval"}),
     "bn_param['mode'] expects 'train' or 'test', got 'eval'"),
    (BATCHNORM[0], (MATRIX, FOUR, FOUR, {**TRAIN, "momentum": 1.1}),
     "bn_param['momentum'] expects a number of at least 0 and below 1, got 1.1"),
    (BATCHNORM[0], (MATRIX, FOUR, FOUR, {**TEST, "running_var": A(3)}),
     "bn_param['running_var'] expects shape (4,), got (3,)"),
    (BATCHNORM[1], (A((4, 3)), (MATRIX, FOUR, FOUR, "train")),
     "dout expects shape (3, 4), got (4, 3)"),
    (ALT[1], (A((4, 3)), (MATRIX, FOUR, FOUR, "train")), "dout expects shape (3, 4), got (4, 3)"),
    (SPATIAL[0], (MATRIX, FOUR, FOUR, TRAIN), "x expects shape (N, C, H, W), got (3, 4)"),
    (SPATIAL[0], (IMAGES, FOUR, FOUR, TRAIN), "gamma expects shape (C,) with C = 6, got (4,)"),
    (SPATIAL[0], (IMAGES, SIX, SIX, {**TEST, "eps": -1}),
     "bn_param['eps'] expects a number of at least 0, got -1"),
    (SPATIAL[1], (MATRIX, (IMAGES, SIX, SIX, "train")),
     "dout expects shape (2, 6, 3, 5), got (3, 4)"),
    (norm_layers.layernorm_forward, (MATRIX, FOUR, A(3), {}),
     "beta expects shape (D,) with D = 4, got (3,)"),
    (norm_layers.layernorm_forward, (MATRIX, FOUR, FOUR, None),
     "ln_param expects a dict, got None"),
    (norm_layers.layernorm_backward, (A(3), (MATRIX, FOUR, A((3, 1)))),
     "dout expects shape (3, 4), got (3,)"),
    (norm_layers.spatial_groupnorm_forward, (IMAGES, SIX, PER_CHANNEL, 2, {}),
     "gamma expects shape (1, 6, 1, 1), got (6,)"),
    (norm_layers.spatial_groupnorm_forward, (IMAGES, PER_CHANNEL, PER_CHANNEL, 4, {}),
     "G expects a divisor of 6 channels, got 4"),
    (norm_layers.spatial_groupnorm_forward, (IMAGES, PER_CHANNEL, PER_CHANNEL, 0, {}),
     "G expects a positive integer, got 0"),
    (norm_layers.spatial_groupnorm_backward,
     (A((2, 6, 5, 3)), (IMAGES, PER_CHANNEL, A((2, 2, 1)), 2)),
     "dout expects shape (2, 6, 3, 5), got (2, 6, 5, 3)"),
    (norm_layers.dropout_forward, (MATRIX, TRAIN),
     "dropout_param['p'] expects a number of at least 0, got None"),
    (norm_layers.dropout_forward, (MATRIX, {**TRAIN, "p": 0}),
     "dropout_param['p'] expects more than 0 and at most 1, got 0"),
    (norm_layers.dropout_forward, (MATRIX, {**TRAIN, "p": 1.5}),
     "dropout_param['p'] expects more than 0 and at most 1, got 1.5"),
    (norm_layers.dropout_forward, (MATRIX, {"p": 0.5}), "dropout_param expects a dict with mode"),
    (norm_layers.dropout_forward, (MATRIX, {**TRAIN, "p": 0.5, "seed": -1}),
     "dropout_param['seed'] expects an integer of at least 0, got -1"),
    (norm_layers.dropout_forward, (MATRIX, {**TRAIN, "p": 0.5, "rng": 3}),
     "dropout_param['rng'] expects a numpy.random.Generator, got 3"),
    (norm_layers.dropout_backward, (A((4, 3)), ({**TRAIN, "p": 0.5}, MATRIX)),
     "dout expects shape (3, 4), got (4, 3)"),
]


@pytest.mark.parametrize("function, arguments, message", WRONG_CALLS)
def test_wrong_input_is_named(function, arguments, message):
    assert_error_names(function, arguments, message)
