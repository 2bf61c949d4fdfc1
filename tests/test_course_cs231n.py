"""--course cs231n: files in CS231n's form pass, known mistakes are refused and named.

tests/cs231n holds right files, written for these tests in the form of the course's templates.
"""
import functools
import json
import math
import pathlib
import re
import subprocess
import sys
import types
import zipfile

import numpy as np
import pytest

import autograder
import layers
import norm_layers
import optim
import rnn_layers
from grading import (answers, contract, judge, mistakes, more_mistakes, references, report,
                     worker)
from grading.courses import COURSES, course, course_of, pair
from mistaken_layers import one_or_all, subject_of, subject_with, with_slip
from test_grading_key import found, is_weak, same, severity

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = ROOT / "tests" / "cs231n"
COURSE = COURSES["cs231n"].functions
KEY = contract.Key(0, "cs231n")


def source_of(file):
    """The text of a right file."""
    return (FILES / f"{file}.py").read_text()


@functools.cache
def functions_in(source):
    """{name: function} of a file's source."""
    module = types.ModuleType("cs231n")
    exec(compile(source, "cs231n.py", "exec"), vars(module))
    return {name: vars(module)[name] for name in COURSE if name in vars(module)}


def verdict_on(name, functions):
    """The verdict on one of these functions."""
    with np.errstate(all="ignore"):
        return judge.grade_one(worker.Direct(functions), name, KEY, math.inf,
                               functools.partial(KEY.cases, name))


# ---------------------------------------------------------------- right

@pytest.mark.parametrize("name", COURSE)
def test_a_file_in_the_form_of_the_course_passes(name):
    verdict = verdict_on(name, functions_in(source_of(COURSE[name].file)))
    assert verdict.status == "pass", verdict


@pytest.mark.parametrize("file, name", [(file, name) for file in ("other_layers", "unusual_layers")
                                        for name in functions_in(source_of(file))])
def test_other_ways_to_write_them_pass(file, name):
    source = source_of(file)
    words = re.search(rf"^# warn {name}: (.*)$", source, re.MULTILINE)
    verdict = verdict_on(name, functions_in(source))
    assert verdict.status == ("warn" if words else "pass"), verdict
    assert not words or words[1] in verdict.diagnosis, verdict


def batch_first(forward, backward):
    """Recurrent layers of ours with the batch in front."""
    def forward_pass(x, *others):
        h, cache = forward(x.swapaxes(0, 1), *others)
        return h.swapaxes(0, 1) if h.ndim == 3 else h, cache    # a wrong one may be one state

    def backward_pass(dh, cache):
        dx, *others = backward(dh.swapaxes(0, 1), cache)
        return dx.swapaxes(0, 1), *others
    return forward_pass, backward_pass


def ours():
    """Our functions under the names of the course."""
    home = {**vars(layers), **vars(norm_layers), **vars(rnn_layers), **vars(optim)}
    names = {name: name.removesuffix("_naive").replace("affine", "fc") for name in COURSE}
    functions = {name: home[own] for name, own in names.items()}
    for layer in ("rnn", "lstm"):
        both = f"{layer}_forward", f"{layer}_backward"
        functions.update(zip(both, batch_first(*(home[name] for name in both))))
    return functions


@pytest.mark.parametrize("name", COURSE)
def test_ours_pass_under_the_names_of_the_course(name):
    verdict = verdict_on(name, ours())
    assert verdict.status == "pass", verdict


def dropout_with(draw):
    """dropout_forward that draws its mask in another way: draw(shape, p, seed)."""
    def dropout_forward(x, dropout_param):
        p, mask = dropout_param["p"], None
        if dropout_param["mode"] == "train":
            mask = (draw(x.shape, p, dropout_param.get("seed")) / p).astype(x.dtype)
        return x.copy() if mask is None else x * mask, (dropout_param, mask)
    return {**functions_in(source_of("layers")), "dropout_forward": dropout_forward}


def of_default_rng(shape, p, seed):
    return np.random.default_rng(seed).random(shape) < p


def without_a_seed(shape, p, seed):
    return np.random.rand(*shape) < p


def of_binomials(shape, p, seed):
    np.random.seed(seed)
    return np.random.binomial(1, p, shape)


@pytest.mark.parametrize("draw", [of_default_rng, of_binomials])
def test_a_mask_may_be_drawn_in_any_way(draw):
    for name in ("dropout_forward", "dropout_backward"):
        assert verdict_on(name, dropout_with(draw)).status == "pass"


def test_the_seed_decides_on_the_mask():
    verdict = verdict_on("dropout_forward", dropout_with(without_a_seed))
    assert verdict.status == "fail" and "other numbers with the same seed" in verdict.diagnosis


def test_a_seed_that_is_left_over_is_seen():
    always = dropout_with(lambda shape, p, seed: of_default_rng(shape, p, seed or 231))
    verdict = verdict_on("dropout_forward", always)
    assert verdict.status == "fail" and "same numbers in every call" in verdict.diagnosis, verdict


def test_a_share_that_is_not_p_is_seen():
    few = dropout_with(lambda shape, p, seed: of_default_rng(shape, p * p, seed) * 1.0)
    verdict = verdict_on("dropout_forward", few)
    assert verdict.status == "fail" and "share of numbers that are kept" in verdict.place, verdict


# ---------------------------------------------------------------- wrong

STATISTICS = """    mu = np.mean(x, axis=1, keepdims=True)
    var = np.var(x, axis=1, keepdims=True)
"""
GROUPS = """    groups = x.reshape(N, G, C // G, H, W)
    mu = groups.mean(axis=(2, 3, 4), keepdims=True)
    var = groups.var(axis=(2, 3, 4), keepdims=True)
"""
OTHER_GROUPS = """    groups = x.reshape(N, C // G, G, H, W)
    mu = groups.mean(axis=(1, 3, 4), keepdims=True)
    var = groups.var(axis=(1, 3, 4), keepdims=True)
"""
AS_BATCH = """mu, var = x.mean(axis=0), x.var(axis=0)
        xhat = (x - mu) / np.sqrt(var + eps)"""
COUNTED = """    num_pos = np.sum(margins > 0, axis=1)
    dx = np.zeros_like(x)
    dx[margins > 0] = 1
"""
CROP = "dx = dxp[:, :, pad:pad + H, pad:pad + W]"
SLIPS = {       # (file, function): [(the right text, the wrong text, words of the diagnosis)]
    ("layers", "affine_forward"): [("dot(w) + b", "dot(w)", "bias is not added")],
    ("layers", "affine_backward"): [
        ("x.reshape(N, -1).T.dot(dout)", "x.reshape(N, -1).T.dot(dout) / N", "divided by N"),
        ("np.sum(dout, axis=0)", "np.mean(dout, axis=0)", "averaged")],
    ("layers", "relu_backward"): [("dout * (x > 0)", "dout * (dout > 0)", "from dout")],
    ("layers", "softmax_loss"): [("dx /= N\n", "pass\n", "dx is not divided by N")],
    ("layers", "svm_loss"): [
        ("margins[np.arange(N), y] = 0", "pass", "right class is counted as well"),
        (COUNTED, COUNTED.replace(">", ">="), "not those that are at least 0"),
        ("np.sum(margins) / N", "np.sum(margins)", "summed over the batch"),
        ("    dx /= N\n", "", "dx is not divided by N"),
        ("+ 1.0", "", "margin of 1 is left out"),
        ("dx[np.arange(N), y] -= num_pos", "dx[np.arange(N), y] -= 1", "gets -1/N"),
        ("dx[np.arange(N), y] -= num_pos", "dx[:, y] -= num_pos", "whole columns")],
    ("layers", "batchnorm_forward"): [
        ("var = x.var(axis=0)", "var = x.var(axis=0, ddof=1)", "divided by N - 1"),
        ("np.sqrt(var + eps)", "np.sqrt(var) + eps", "outside of the root"),
        ("np.sqrt(var + eps)", "np.sqrt(var)", "eps is left out"),
        ("np.sqrt(var + eps)", "var + eps", "divide it by its root"),
        ("momentum * running_mean + (1 - momentum) * mu",
         "(1 - momentum) * running_mean + momentum * mu", "exchanged"),
        ("momentum * running_var + (1 - momentum) * var",
         "momentum * running_var + (1 - momentum) * x.var(axis=0, ddof=1)", "as PyTorch has it"),
        ("xhat = (x - running_mean) / np.sqrt(running_var + eps)", AS_BATCH,
         "it uses the running ones"),
        ("gamma * xhat + beta", "gamma * xhat", "beta is not added"),
        ('bn_param["running_mean"] = running_mean', "pass", "not stored"),
        ("(x - mu) / std", "x / std", "mean is not subtracted")],
    ("layers", "batchnorm_backward"): [
        (" + dmu / N", "", "by way of the mean is left out"),
        (" + dvar * 2 * (x - mu) / N", "", "by way of the variance is left out"),
        ("+ dmu / N", "+ dmu", "by way of the mean is not divided by the number N"),
        ("(x - mu) / N", "(x - mu)", "by way of the variance is not divided by the number N"),
        ("* -0.5 *", "* 0.5 *", "sign of what goes by way of the variance"),
        ("* -0.5 *", "* -1 *", "twice as large"),
        ("dout * xhat", "dout * x", "normalised x̂, not x"),
        ("dout.sum(axis=0)", "dout.mean(axis=0)", "dbeta is averaged"),
        ("dxhat = dout * gamma", "dxhat = dout", "gamma is left out")],
    ("layers", "batchnorm_backward_alt"): [
        (" - dbeta", "", "by way of the mean is left out"),
        (" - xhat * dgamma", "", "by way of the variance is left out"),
        ("dout * xhat", "dout * x", "normalised x̂, not x")],
    ("layers", "layernorm_forward"): [
        (STATISTICS, STATISTICS.replace("axis=1", "axis=0"), "normalised over the batch"),
        ("axis=1, keepdims=True)\n    std", "axis=1, keepdims=True, ddof=1)\n    std", "N - 1"),
        ("np.sqrt(var + eps)", "np.sqrt(var) + eps", "outside of the root")],
    ("layers", "layernorm_backward"): [
        (" - dxhat.sum(axis=1, keepdims=True)", "", "by way of the mean is left out"),
        ("dout * xhat, axis=0", "dout * xhat, axis=1", "summed over the features"),
        ("dout.sum(axis=0)", "dout.sum(axis=1)", "summed over the features")],
    ("layers", "conv_forward_naive"): [
        (" + b[f]", "", "bias is not added"),
        ("i * stride:i * stride + HH, j * stride:j * stride + WW", "i:i + HH, j:j + WW",
         "stride is left out"),
        ("window * w[f]", "window * w[f, :, ::-1, ::-1]", "flipped"),
        ("window * w[f], axis=(1, 2, 3)", "window[:, 0] * w[f, 0], axis=(1, 2)", "first channel")],
    ("layers", "conv_backward_naive"): [
        ("h, v = i * stride, j * stride", "h, v = i, j", "stride is left out on the way back"),
        (CROP, "dx = dxp", "padding is not cut off"),
        (CROP, "dx = dxp[:, :, pad:-pad, pad:-pad]", "empty where pad is 0"),
        (CROP, "dx = dxp[:, :, :H, :W]", "starts at pad"),
        ("dout.sum(axis=(0, 2, 3))", "dout.sum(axis=(0, 2))", "not summed over all axes"),
        ("dout.sum(axis=(0, 2, 3))", "dout.sum(axis=(2, 3))", "not summed over all axes"),
        ("dout.sum(axis=(0, 2, 3))", "dout.sum(axis=0)", "not summed over all axes"),
        ("v:v + WW] += ", "v:v + WW] = ", "+="), ("dw[f] += ", "dw[f] = ", "+=")],
    ("layers", "max_pool_forward_naive"): [
        ("window.max(axis=(2, 3))", "np.maximum(0, window.max(axis=(2, 3)))", "starts at 0")],
    ("layers", "max_pool_backward_naive"): [
        ("j * stride + s] += ", "j * stride + s] = ", "+=")],
    ("layers", "spatial_batchnorm_forward"): [
        ("x.transpose(0, 2, 3, 1).reshape(-1, C)", "x.reshape(-1, C)", "without a transpose"),
        ("out.reshape(N, H, W, C).transpose(0, 3, 1, 2)", "out.reshape(N, C, H, W)",
         "the result is reshaped without a transpose")],
    ("layers", "spatial_batchnorm_backward"): [
        ("dx.reshape(N, H, W, C).transpose(0, 3, 1, 2)", "dx.reshape(N, C, H, W)",
         "the result is reshaped without a transpose")],
    ("layers", "spatial_groupnorm_forward"): [
        (GROUPS, OTHER_GROUPS, "channels of other groups"),
        ("groups = x.reshape(N, G, C // G, H, W)", "groups = x.reshape(N, C // G, G, H, W)",
         "number of groups"),
        ("np.sqrt(var + eps)", "np.sqrt(var) + eps", "outside of the root")],
    ("layers", "spatial_groupnorm_backward"): [
        (" - dxhat.mean(axis=over, keepdims=True)", "", "by way of the mean is left out"),
        ("dout.sum(axis=(0, 2, 3), keepdims=True)", "dout.sum(axis=(0, 2, 3))", "shape (C,)")],
    ("rnn_layers", "rnn_step_backward"): [("(1 - next_h ** 2)", "(1 - next_h)", "not 1 - h")],
    ("rnn_layers", "rnn_forward"): [
        ("prev_h, step_cache = rnn_step_forward(x[:, t, :], prev_h", "prev_h, step_cache = "
         "rnn_step_forward(x[:, 0, :], prev_h", "every step reads x[:, 0], not x[:, t]"),
        ("prev_h = h0", "prev_h = 0 * h0", "h0 is left out")],
    ("rnn_layers", "rnn_backward"): [
        ("dh[:, t] + dprev_h", "dh[:, t]", "does not go on to the step before"),
        ("reversed(range(T))", "range(T)", "runs forwards in time")],
    ("rnn_layers", "lstm_step_backward"): [
        ("dnext_c + dnext_h * o", "dnext_h * o", "dnext_c, is left out")],
    ("rnn_layers", "lstm_backward"): [
        ("dprev_c, cache[t])", "0 * dprev_c, cache[t])", "dnext_c, is left out")],
    ("rnn_layers", "word_embedding_backward"): [
        ("np.add.at(dW, x, dout)", "dW[x] += dout", "once only")],
    ("rnn_layers", "temporal_affine_backward"): [
        ("dout.sum(axis=(0, 1))", "dout.sum(axis=0)", "not summed over time")],
    ("rnn_layers", "temporal_softmax_loss"): [
        ("    dx *= counts[:, None]\n", "", "mask is not applied to the gradient")],
    ("optim", "rmsprop"): [("(1 - decay) * dw ** 2", "dw ** 2", "multiply it by 1 - decay_rate")],
    ("optim", "adam"): [
        ('(1 - config["beta2"] ** config["t"])', "1", "v is not corrected")],
}


@pytest.mark.parametrize("file, name, right, wrong, words", [
    pytest.param(file, name, *slip, id=f"{name}: {slip[1].strip()}"[:70])
    for (file, name), slips in SLIPS.items() for slip in slips])
def test_wrong_functions_are_refused_and_told_why(file, name, right, wrong, words):
    verdict = verdict_on(name, functions_in(rewritten(file, name, (right, wrong))))
    assert verdict.status == "fail" and words in verdict.diagnosis, verdict


def rewritten(file, name, *changes):
    """The source of a right file, with other text in one of its functions."""
    source = source_of(file)
    part = re.search(rf"^def {name}\b.*?(?=^\S|\Z)", source, re.MULTILINE | re.DOTALL)
    text = part[0]
    for right, wrong in changes:
        assert right in text
        text = text.replace(right, wrong)
    return source[:part.start()] + text + source[part.end():]


# What is drawn by chance, and what goes on from a stored state, as a student writes it.
MASK = "(np.random.rand(*x.shape) < p) / p"
IN_TEST, ON_THE_WAY_BACK = "        out = x\n", "(dout * mask)"
DRAWN_AGAIN = '(dout * (np.random.rand(*dout.shape) < dropout_param["p"]) / dropout_param["p"])'
DROPOUT = {     # mistake: (the right text, the wrong text)
    "dropout_does_not_divide": (MASK, "(np.random.rand(*x.shape) < p)"),
    "dropout_multiplies_by_p": (MASK, "(np.random.rand(*x.shape) < p) * p"),
    "dropout_takes_p_for_q": (MASK, "(np.random.rand(*x.shape) < 1 - p) / (1 - p)"),
    "dropout_keeps_1_minus_p": (MASK, "(np.random.rand(*x.shape) > p) / p"),
    "dropout_keeps_1_minus_p_and_does_not_divide": (MASK, "(np.random.rand(*x.shape) > p)"),
    "dropout_divides_by_1_minus_p": (MASK, "(np.random.rand(*x.shape) < p) / (1 - p)"),
    "dropout_drops_nothing": (MASK, "np.ones(x.shape)"),
    "dropout_is_active_in_test": (IN_TEST, f"        out = x * {MASK}\n"),
    "dropout_is_active_in_test_without_dividing": (
        IN_TEST, "        out = x * (np.random.rand(*x.shape) < p)\n"),
    "dropout_scales_in_test": (IN_TEST, "        out = x * p\n"),
    "dropout_backward_forgets_the_mask": (ON_THE_WAY_BACK, "dout"),
    "dropout_backward_divides_without_the_mask": (
        ON_THE_WAY_BACK, '(dout / dropout_param["p"])'),
    "dropout_backward_does_not_divide": (ON_THE_WAY_BACK, "(dout * (mask > 0))"),
    "dropout_backward_divides_twice": (ON_THE_WAY_BACK, '(dout * mask / dropout_param["p"])'),
    "dropout_backward_draws_again": (ON_THE_WAY_BACK, DRAWN_AGAIN),
}
OTHER_KEYS = {  # mistake: the keys of config, and what a student calls them instead
    "sgd_momentum_ignores_velocity": [('"velocity"', '"v"')],
    "rmsprop_ignores_cache": [('"cache"', '"squares"')],
    "adam_ignores_m_v_t": [('"m"', '"first"'), ('"v"', '"second"'), ('"t"', '"steps"')],
    "adam_ignores_m": [('"m"', '"first"')],
    "adam_ignores_v": [('"v"', '"second"')],
    "adam_ignores_t": [('"t"', '"steps"')],
}
WRITTEN = {**{name: [change] for name, change in DROPOUT.items()}, **OTHER_KEYS}
MISTAKES = {mistake.name: mistake for mistake in more_mistakes.MISTAKES}


@pytest.mark.parametrize("mistake", WRITTEN)
def test_mistakes_in_what_is_drawn_or_stored_are_named(mistake):
    function = COURSE[MISTAKES[mistake].function]
    source = rewritten(function.file, function.name, *WRITTEN[mistake])
    verdict = verdict_on(function.name, functions_in(source))
    assert verdict.status == "fail" and mistake in verdict.mistakes, verdict


def test_every_mistake_is_planted_by_a_test():
    assert {*WRITTEN, *(mistake.name for mistake in PLANTED)} == MISTAKES.keys()


# (how a mask is drawn, out, dx that is not divided by p)
NOT_DIVIDED = ((MASK, "x * mask", "dout * (mask != 0)"),
               (MASK, "x * mask", "np.where(mask, dout, 0)"),
               ("np.random.rand(*x.shape) < p", "x * mask / p", "dout * mask"),
               ("(np.random.rand(*x.shape) < p).astype(x.dtype)", "x * mask / p", "dout * mask"),
               ("np.random.binomial(1, p, x.shape)", "x / p * mask", "dout * mask"),
               ("np.random.rand(*x.shape) > p", "np.where(mask, 0, x / p)", "dout * ~mask"))


@pytest.mark.parametrize("mask, out, dx", NOT_DIVIDED)
def test_dropout_that_is_not_divided_on_the_way_back_is_named(mask, out, dx):
    way_there = functions_in(rewritten("layers", "dropout_forward", (MASK, mask),
                                       ("x * mask", out)))
    way_back = functions_in(rewritten("layers", "dropout_backward", (ON_THE_WAY_BACK, f"({dx})")))
    both = {**way_back, "dropout_forward": way_there["dropout_forward"]}
    assert verdict_on("dropout_forward", both).status == "pass"
    named = verdict_on("dropout_backward", both).mistakes
    assert named == ("dropout_backward_does_not_divide",)


def test_it_is_named_without_a_forward_pass():
    """There the mask is known from the published cache."""
    source = rewritten("layers", "dropout_backward", (ON_THE_WAY_BACK, "(dout * (mask > 0))"))
    alone = {"dropout_backward": functions_in(source)["dropout_backward"]}
    named = verdict_on("dropout_backward", alone).mistakes
    assert named == ("dropout_backward_does_not_divide",)


def test_running_values_are_not_taken_for_a_memory():
    """Here out depends on bn_param, which every call changes."""
    source = rewritten("layers", "batchnorm_forward",
                       ("(x - mu) / std", "(x - running_mean) / std"))
    verdict = verdict_on("batchnorm_forward", functions_in(source))
    assert verdict.status == "fail" and "remembers" not in verdict.diagnosis, verdict


def test_time_in_front_is_told():
    def rnn_forward(x, h0, Wx, Wh, b):
        h = [h0]
        for x_t in x:
            h.append(np.tanh(x_t @ Wx + h[-1] @ Wh + b))
        return np.array(h[1:]), x

    verdict = verdict_on("rnn_forward", {"rnn_forward": rnn_forward})
    assert verdict.status == "fail" and "x is (N, T, D)" in verdict.diagnosis, verdict


# ---------------------------------------------------------------- the key

NEW = [f for f in COURSE.values() if f.subject in {layer.name for layer in answers.MORE_LAYERS}]


@pytest.mark.parametrize("layer", answers.MORE_LAYERS, ids=lambda layer: layer.name)
def test_derived_gradients_are_those_of_the_key(layer):
    gradients = getattr(references, f"{layer.name}_gradients")
    name = [f.name for f in NEW if f.subject == layer.name][-1]
    for case in KEY.cases(name):
        if "NaN" not in case.label:
            dout = {} if layer.is_loss else {"dout": case.dout}
            for output, value in gradients(**case.inputs, **dout).items():
                assert found(case, output, value) is None, (output, case.describe())


def test_every_truth_is_a_number():
    for name in COURSE:
        for case in KEY.cases(name):
            for truth in case.truth.values():
                assert np.isfinite(getattr(truth, "array", 0.0)).all(), case.describe()


@pytest.mark.parametrize("function", NEW, ids=lambda function: function.name)
def test_every_mistake_is_seen(function):
    for mistake in more_mistakes.MISTAKES:
        if mistake.function != function.known_as:
            continue
        seen, outputs = set(), set()
        for case in KEY.cases(function.name):
            if case.size > 1500 or ("fail" in seen and outputs == set(mistake.outputs)):
                break
            for output, value in answers.consequences(mistake, case).items():
                outputs.add(output)
                wrong = isinstance(value, contract.Raised) or \
                    value.shape != case.truth[output].shape
                seen.add(case.if_wrong if wrong else severity(case, output, value))
        assert "fail" in seen, mistake.name
        assert outputs == set(mistake.outputs), mistake.name


def test_names_are_not_used_twice():
    names = [m.name for m in (*mistakes.MISTAKES, *more_mistakes.MISTAKES)]
    assert len(set(names)) == len(names) and not any(map(is_weak, names[len(mistakes.MISTAKES):]))


def planted(mistake):
    """(name, {name: function}) of a layer with a slip, made from the table."""
    known_as = mistake.function
    layer = answers.SUBJECTS[known_as.removesuffix("_forward").removesuffix("_backward")]
    names = {f.kind: f for f in reversed(COURSE.values()) if f.subject == layer.name}
    gradients_of = getattr(references, f"{layer.name}_gradients")

    def exact(arguments):
        return {name: in_float64(value) for name, value in zip(layer.inputs, arguments)}

    def loss(*arguments):
        inputs = exact(arguments)
        right = {"loss": layer.reference(**inputs), **gradients_of(**inputs)}
        wrong = with_slip(mistake, known_as, right, inputs)
        return float(wrong["loss"]), wrong["dx"].astype(arguments[0].dtype)

    def forward(*arguments):
        kept = tuple(dict(value) if isinstance(value, dict) else value for value in arguments)
        right = dict(zip(layer.outputs, layer.results(**exact(kept))))
        wrong = with_slip(mistake if known_as.endswith("forward") else None, known_as, right,
                          exact(kept))
        wrong = {name: value.astype(arguments[0].dtype) for name, value in wrong.items()}
        if names["forward"].state:
            argument, *keys = names["forward"].state
            arguments[layer.inputs.index(argument)].update({key: wrong[key] for key in keys})
        return *(wrong[name] for name in names["forward"].outputs), kept

    def backward(dout, kept):
        inputs = {**exact(kept), "dout": dout.astype(float)}
        right = gradients_of(**inputs)
        wrong = with_slip(mistake, known_as, right, inputs)
        return one_or_all([wrong[name].astype(dout.dtype) for name in layer.gradients])

    if layer.is_loss:
        return layer.name, {layer.name: loss}
    functions = {names["forward"].name: forward, names["backward"].name: backward}
    return names["backward" if known_as.endswith("backward") else "forward"].name, functions


def in_float64(value):
    """A value with floating-point arrays as float64."""
    if isinstance(value, dict):
        return {key: in_float64(part) for key, part in value.items()}
    is_float = isinstance(value, np.ndarray) and value.dtype.kind == "f"
    return value.astype(float) if is_float else value


PLANTED = [mistake for mistake in more_mistakes.MISTAKES
           if mistake.function in {f.known_as for f in NEW}]


@pytest.mark.long
@pytest.mark.parametrize("mistake", [
    pytest.param(mistake, marks=pytest.mark.slow if number % 20 else (), id=mistake.name)
    for number, mistake in enumerate(PLANTED)])
def test_known_mistakes_are_named(mistake):
    name, functions = planted(mistake)
    verdict = verdict_on(name, functions)
    assert verdict.status == "fail" and mistake.name in verdict.mistakes, verdict


CALLED = {function.known_as: name for name, function in reversed(COURSE.items())}
SHARED = [mistake for mistake in mistakes.MISTAKES if mistake.function in CALLED]


@pytest.mark.long
@pytest.mark.parametrize("mistake", [
    pytest.param(mistake, marks=pytest.mark.slow if number % 40 else (),
                 id=f"{mistake.function}-{mistake.name}")
    for number, mistake in enumerate(SHARED)])
def test_mistakes_of_both_courses_are_named_in_this_form_too(mistake):
    subject = subject_of(mistake.function).name
    functions = subject_with(subject, mistake)
    if subject in ("rnn", "lstm"):
        functions = dict(zip(functions, batch_first(*functions.values())))
    verdict = verdict_on(CALLED[mistake.function],
                         {CALLED[name]: function for name, function in functions.items()})
    if verdict.status == "warn":
        assert is_weak(mistake.name), verdict
    else:
        assert verdict.status == "fail" and mistake.name in verdict.mistakes, verdict


def test_a_key_from_a_file_is_the_same(tmp_path):
    names = ["rnn_backward", "batchnorm_forward", "dropout_backward", "adam", "svm_loss"]
    KEY.save(tmp_path / "key.npz", names)
    loaded = contract.Key.load(tmp_path / "key.npz")
    assert loaded.course == "cs231n" and loaded.functions is COURSE
    for name in names:
        kept = [case for case in KEY.cases(name) if case.size <= 5000]
        assert len(kept) == len(loaded.cases(name)) > 9
        for case, other in zip(kept, loaded.cases(name)):
            assert same(case.inputs, other.inputs) and same(case.dout, other.dout)
            if case.size <= 60:
                assert [p.mistake for p in KEY.predictions(name, case)] == \
                    [p.mistake for p in loaded.predictions(name, other)]
    assert judge.grade_here({"svm_loss": layers.svm_loss}, loaded)["svm_loss"].status == "pass"


def test_what_both_courses_ask_for_has_the_same_numbers():
    """Time in front or behind, under one name or another."""
    theirs, own = KEY.cases("rnn_forward"), contract.Key(0).cases("rnn_forward")
    assert len(theirs) == len(own)
    for case, other in zip(theirs, own):
        np.testing.assert_array_equal(case.inputs["x"], other.inputs["x"].swapaxes(0, 1))
    assert KEY.cases("affine_forward")[0].inputs.keys() == {"x", "w", "b"}


def test_a_third_course_is_a_table(monkeypatch):
    monkeypatch.setitem(COURSES, "third", course("Third", *pair(
        "linear", "layers", "Fully connected layer", "x w b", "dx dw db", subject="fc")))

    def linear_forward(x, w, b):
        return x.reshape(len(x), -1) @ w - b, (x, w, b)

    verdict = autograder.check(linear_forward, course="third").verdicts["linear_forward"]
    assert verdict.status == "fail" and verdict.diagnosis == "out: the bias is subtracted"


# ---------------------------------------------------------------- the command

def run(*arguments, **options):
    """Run the command; the result has returncode, stdout and stderr."""
    return subprocess.run([sys.executable, str(ROOT / "autograder.py"), *map(str, arguments)],
                          text=True, capture_output=True, **options)


def test_the_command_grades_a_file_of_the_course():
    done = run("--course", "cs231n", "--layers", FILES / "layers.py", "affine", "conv", "dropout")
    assert done.returncode == 0 and "6 of 6 right: 6 pass" in done.stdout, done.stdout
    done = run("--course", "cs231n", FILES / "rnn_layers.py", FILES / "optim.py", "rnn_step",
               "adam")
    assert done.returncode == 0 and "3 of 3 right" in done.stdout, done.stdout
    assert "looks like" not in done.stdout


def test_a_file_of_the_other_course_is_recognised(tmp_path):
    done = run(FILES / "layers.py", "relu")
    assert done.stdout.splitlines()[-1] == "This looks like CS231n: --course cs231n grades it."
    for file in ([ROOT / "layers.py"], ["--layers", ROOT / "layers.py"]):
        done = run("--course", "cs231n", *file, "relu")
        assert "2 of 2 right" in done.stdout, done.stdout
        assert done.stdout.splitlines()[-1] == \
            "This looks like EECS 545: --course eecs545 grades it."
    (tmp_path / "mine.py").write_text("def affine_forward(x, w, b):\n    return None\n")
    done = run(tmp_path / "mine.py")
    assert done.returncode == 2 and "--course cs231n grades it" in done.stderr
    (tmp_path / "mine.py").write_text("def fc_forward(x, w, b):\n    return None\n")
    done = run(tmp_path / "mine.py", "--course", "cs231n")
    assert done.returncode == 2 and "This looks like EECS 545: --course eecs545" in done.stderr


ONE, OTHER = "eecs545", "cs231n"
OUR_OWN = "layers", "norm_layers", "rnn_layers", "optim", "fc_net", "cnn", "rnn"


@pytest.mark.parametrize("files, course, likely", [
    (["layers.py"], OTHER, ONE), (["rnn_layers.py"], OTHER, ONE), (["layers.py"], ONE, None),
    (["norm_layers.py"], ONE, OTHER), (["norm_layers.py"], OTHER, None),
    (["optim.py"], ONE, None), (["optim.py"], OTHER, None),
    ([f"{name}.py" for name in OUR_OWN], ONE, None),
    ([f"{name}.py" for name in OUR_OWN], OTHER, ONE),
    (["tests/cs231n/layers.py"], ONE, OTHER), (["tests/cs231n/layers.py"], OTHER, None),
    (["tests/cs231n/rnn_layers.py"], ONE, OTHER), (["tests/cs231n/optim.py"], ONE, None),
    # The assignment has networks of the same names.
    (["tests/cs231n/layers.py", "fc_net.py", "rnn.py"], ONE, OTHER)])
def test_files_speak_for_a_course(files, course, likely):
    hint = report.hint_on_course([ROOT / file for file in files], course)
    assert hint == (likely and f"This looks like {COURSES[likely].title}: --course {likely} "
                    "grades it." or "")


def test_what_both_courses_ask_for_speaks_for_none():
    common = COURSES[ONE].functions.keys() & COURSES[OTHER].functions.keys()
    assert "relu_forward" in common and "rnn_step_backward" in common
    assert course_of(common, ONE) is course_of(common, OTHER) is course_of((), ONE) is None


def test_the_course_is_written_down(tmp_path):
    for course in COURSES:
        run("--course", course, FILES / "layers.py", "svm_loss" if course == OTHER else "relu",
            "--json", tmp_path / "verdicts.json")
        assert json.loads((tmp_path / "verdicts.json").read_text())["course"] == course


def test_nothing_is_written_to_standard_error(tmp_path):
    """Where a variance is divided by N - 1, one sample gives what is not a number."""
    source = source_of("layers").replace("x.var(axis=0)", "x.var(axis=0, ddof=1)")
    (tmp_path / "layers.py").write_text(source)
    done = run("--course", "cs231n", tmp_path / "layers.py", "batchnorm")
    assert done.returncode == 1 and "divided by N - 1" in done.stdout and not done.stderr


def test_what_a_course_asks_for_is_listed():
    listed = run("--list", "--course", "cs231n").stdout
    assert "spatial_groupnorm_backward  layers.py" in listed and "fc_forward" not in listed
    assert "affine_forward" not in run("--list").stdout
    assert run("--course", "cs999").returncode == 2


def test_check_in_a_notebook():
    functions = functions_in(source_of("layers"))
    checked = autograder.check(functions["affine_forward"], functions["affine_backward"],
                               course="cs231n")
    assert checked.score() == 2
    with pytest.raises(ValueError, match="looks like CS231n: course='cs231n'"):
        autograder.check(functions["affine_forward"])
    with pytest.raises(ValueError, match="course expects"):
        autograder.check(functions["relu_forward"], course="cs999")


def test_the_course_is_kept_in_an_upload_and_in_a_key(tmp_path):
    done = run("affine", "--course", "cs231n", "--make-gradescope", tmp_path / "upload.zip")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "upload.zip") as archive:
        assert b"--course cs231n" in archive.read("run_autograder")
    done = run("affine", "--course", "cs231n", "--make-key", tmp_path / "key.npz")
    assert done.returncode == 0, done.stderr
    done = run("--key", tmp_path / "key.npz", FILES / "layers.py", "affine")
    assert done.returncode == 0 and "2 of 2 right" in done.stdout, done.stdout


def test_a_folder_of_submissions(tmp_path):
    (tmp_path / "students" / "ada").mkdir(parents=True)
    (tmp_path / "students" / "ada" / "layers.py").write_text(source_of("layers"))
    for name, note in (("cs231n", ""), ("eecs545", "This looks like CS231n")):
        done = run("--submissions", tmp_path / "students", "--out", tmp_path / "out", "relu",
                   "--course", name)
        assert done.returncode == 0, done.stderr
        record = json.loads((tmp_path / "out" / "students" / "ada.json").read_text())
        assert record["score"] == 2 and record["note"].startswith(note)
        assert bool(record["note"]) == bool(note) and record["course"] == name
