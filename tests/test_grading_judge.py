"""The rules by which the judge decides, one by one; and what it says."""
import functools
import math

import numpy as np
import pytest

import cnn
import fc_net
import layers
import optim
import rnn_layers
from grading import contract, judge

KEY = contract.Key(0)
OURS = {name: getattr(module, name) for module in (layers, rnn_layers, optim, fc_net, cnn)
        for name in contract.FUNCTIONS if hasattr(module, name)}


def verdict_on(name, **functions):
    """The verdict on a function of these; what is not among them is right."""
    function = contract.FUNCTIONS[name]
    needed = {n: OURS[n] for n in (function.forward, name) if n}
    return judge.grade_here({**needed, **functions}, KEY)[name]


def wrapped(name, change):
    """{name: function}: a right function whose result is changed."""
    right = OURS[name]
    return {name: lambda *arguments: change(right(*arguments))}


# ---------------------------------------------------------------- pass and warn

def leaves_two_axes(x, w, b):
    return x @ w + b, (x, w, b)


def zeroes_dout(dout, x):
    dout[x <= 0] = 0
    return dout


def clears_x(x):
    x[x < 0] = 0
    return x.copy(), x


def pops_its_cache(dout, cache):
    return dout * (cache.pop() > 0)


def hides_nan(x):
    return np.where(x > 0, x, 0).astype(x.dtype), x


def adds_to_the_log(epsilon):
    def softmax_loss(x, y):
        p = np.exp(x - x.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        return -np.log(p[np.arange(len(y)), y] + epsilon).mean(), OURS["softmax_loss"](x, y)[1]
    return softmax_loss


def does_not_subtract(x, y):
    p = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    return -np.log(p[np.arange(len(y)), y]).mean(), OURS["softmax_loss"](x, y)[1]


WEAK = [        # a function, what it is, part of what is said
    ("fc_forward", {"fc_forward": leaves_two_axes}, "flatten each sample"),
    ("relu_backward", {"relu_backward": zeroes_dout}, "changes dout"),
    ("relu_forward", {"relu_forward": clears_x}, "changes x"),
    ("relu_backward", {"relu_forward": lambda x: (np.maximum(x, 0), [x]),
                       "relu_backward": pops_its_cache}, "cannot be called twice"),
    ("relu_forward", {"relu_forward": hides_nan}, "does not pass on NaN"),
    ("fc_forward", wrapped("fc_forward", lambda r: (r[0].tolist(), r[1])), "is a list"),
    ("fc_backward", wrapped("fc_backward", lambda r: [r[0].tolist(), *r[1:]]), "dx is a list"),
    ("conv_forward", wrapped("conv_forward", lambda r: (r[0].astype(float), r[1])), "float64 for float32"),
    ("fc_backward", {"fc_backward": lambda dout, cache: [
        g.astype(float) for g in layers.fc_backward(np.float32(dout), [np.float32(a) for a in cache])]},
     "only about 7 digits"),
    ("softmax_loss", {"softmax_loss": adds_to_the_log(1e-10)}, "small number in the log"),
    ("softmax_loss", {"softmax_loss": does_not_subtract}, "710"),
    ("softmax_loss", wrapped("softmax_loss", lambda r: (np.array([r[0]]), r[1])), "array of one number"),
]


@pytest.mark.parametrize("name, functions, said", WEAK, ids=[f"{n}-{s}" for n, _, s in WEAK])
def test_a_weakness_is_a_warning(name, functions, said):
    verdict = verdict_on(name, **functions)
    assert verdict.status == "warn" and said in verdict.diagnosis, verdict
    assert not verdict.mistakes and verdict.case is None


@pytest.mark.parametrize("rule", ["sgd", "sgd_momentum", "rmsprop", "adam"])
def test_a_rule_may_work_in_place(rule):
    def in_place(w, dw, config):
        next_w, config = OURS[rule](w, dw, config)
        w[...] = next_w
        return w, config
    assert verdict_on(rule, **{rule: in_place}).status == "pass"


def test_a_model_without_reg_and_dtype_is_right():
    class TwoLayerNet(fc_net.TwoLayerNet):
        def __init__(self, input_dim, hidden_dim, num_classes):
            super().__init__(input_dim=input_dim, hidden_dim=hidden_dim, num_classes=num_classes)
    assert verdict_on("TwoLayerNet", TwoLayerNet=TwoLayerNet).status == "pass"


def test_a_model_that_takes_reg_must_use_it():
    class TwoLayerNet(fc_net.TwoLayerNet):
        def __init__(self, reg=0, **options):
            super().__init__(**options)
    assert verdict_on("TwoLayerNet", TwoLayerNet=TwoLayerNet).status == "fail"


# ---------------------------------------------------------------- fail

def changes(which):
    def fc_forward(x, w, b):
        out = x.reshape(len(x), -1) @ w + b
        for name, array in (("w", w), ("b", b)):
            if name == which:
                array += 1
        return out, (x, w, b)
    return fc_forward


def remembers(x, w, b, *, kept={}):
    return kept.setdefault((x.tobytes(), w.tobytes(), b.shape), layers.fc_forward(x, w, b))


def returns_a_buffer(name, function=None):
    buffers = {}

    def wrong(*arguments):
        first, *rest = OURS[name](*arguments)
        buffer = buffers.setdefault((first.shape, first.dtype), np.empty_like(first))
        buffer[...] = first
        return buffer, *rest
    return {name: wrong}


def changes_labels(x, y):
    result = OURS["softmax_loss"](x, y)
    y[...] = 0
    return result


def keeps_its_output(x):
    out = np.maximum(x, 0)
    return out, (out, x)


def clears_the_output(dout, cache):
    dx = dout * (cache[1] > 0)
    cache[0][...] = 0
    return dx


WRONG = [
    ("relu_backward", {"relu_forward": keeps_its_output, "relu_backward": clears_the_output},
     "changes the output of relu_forward"),
    ("fc_forward", {"fc_forward": changes("w")}, "changes w in place"),
    ("fc_forward", {"fc_forward": changes("b")}, "changes b in place"),
    ("softmax_loss", {"softmax_loss": changes_labels}, "changes y in place"),
    ("fc_forward", {"fc_forward": remembers}, ""),
    ("fc_forward", returns_a_buffer("fc_forward"), "overwrites the result of an earlier call"),
    ("fc_backward", returns_a_buffer("fc_backward"), "overwrites the gradients"),
    ("relu_backward", {"relu_backward": lambda dout, x: dout * (x > 0) + (dout * (x > 0)) ** 3 * 1e-9},
     "only about"),
    ("fc_backward", {"fc_backward": lambda dout, cache: layers.fc_backward(np.clip(dout, -1e6, 1e6), cache)},
     "is wrong"),
    ("softmax_loss", {"softmax_loss": adds_to_the_log(1e-4)}, "loss"),
    ("fc_forward", {"fc_forward": lambda x, w, b: None}, "returns None"),
    ("fc_forward", {"fc_forward": lambda x, w, b: x}, "not the tuple (out, cache)"),
    ("relu_backward", {"relu_backward": lambda dout, x: (dout * (x > 0),)}, "returns a tuple"),
    ("sgd", {"sgd": lambda w, dw, config: (w, None)}, "for config"),
    ("relu_forward", wrapped("relu_forward", lambda r: (r[0] + 0j, r[1])), "not floating-point"),
    ("relu_forward", wrapped("relu_forward", lambda r: (np.ma.array(r[0]), r[1])), "MaskedArray"),
    ("relu_forward", {"relu_forward": 3}, "is no function but of type int"),
]


@pytest.mark.parametrize("name, functions, said", WRONG, ids=[f"{n}-{s}" for n, _, s in WRONG])
def test_what_is_wrong_fails(name, functions, said):
    verdict = verdict_on(name, **functions)
    if said == "only about":
        assert verdict.status in ("warn", "fail")
        return
    assert verdict.status == "fail" and said in verdict.diagnosis, verdict


def test_what_is_not_there_is_missing():
    verdict = judge.grade_here({"relu_forward": layers.relu_forward}, KEY)
    assert set(verdict) == {"relu_forward"}
    assert judge.grade({}, ["fc_forward"], KEY)["fc_forward"].status == "missing"


# ---------------------------------------------------------------- a backward pass by itself

def raises(*_):
    raise RuntimeError("no idea")


def test_a_right_backward_pass_needs_no_right_forward_pass():
    for forward in (raises, lambda x, w, b: None, lambda x, w, b: (x @ w - b, (x, w))):
        verdict = verdict_on("fc_backward", fc_forward=forward)
        assert verdict.status == "pass", verdict
    assert judge.grade_here({"fc_backward": layers.fc_backward}, KEY)["fc_backward"].status == "pass"
    verdict = judge.grade_here({"relu_backward": zeroes_dout}, KEY)["relu_backward"]
    assert verdict.status == "warn" and "changes dout" in verdict.diagnosis


def test_what_cannot_be_tried_is_not_judged_and_names_the_forward_pass():
    verdict = verdict_on("relu_backward", relu_forward=raises,
                         relu_backward=lambda dout, cache: dout * cache["mask"])
    assert verdict.status == "not judged"
    assert verdict.diagnosis.startswith("relu_forward comes first: it raises RuntimeError: no idea")


def test_what_is_not_written_fails_whatever_its_forward_pass_does():
    def backward(*_):
        raise NotImplementedError

    for forward in (raises, backward, layers.relu_forward):
        verdict = verdict_on("relu_backward", relu_forward=forward, relu_backward=backward)
        assert verdict.status == "fail" and verdict.diagnosis == "not written yet", verdict


def test_a_forward_pass_for_two_axes_is_not_to_blame_for_its_backward_pass():
    def backward(dout, cache):
        x, w, _ = cache
        return dout @ w.T, x.T @ dout, dout.mean(axis=0)

    verdict = verdict_on("fc_backward", fc_forward=leaves_two_axes, fc_backward=backward)
    assert verdict.status == "fail" and verdict.diagnosis.startswith("db: the bias gradient is av")


def test_a_wrong_backward_pass_is_judged_with_the_published_cache():
    verdict = verdict_on("relu_backward", relu_forward=raises, relu_backward=lambda dout, x: dout)
    assert verdict.status == "fail" and "relu_passes_everything" in verdict.mistakes
    assert verdict.diagnosis.startswith("relu_forward raises RuntimeError"), verdict


def test_the_right_gradient_of_a_wrong_forward_pass_is_told_so():
    def forward(x, w):
        out, cache = layers.conv_forward(x, 1.5 * w)
        return out, cache

    def backward(dout, cache):
        dx, dw = layers.conv_backward(dout, cache)
        return dx, 1.5 * dw

    verdict = verdict_on("conv_backward", conv_forward=forward, conv_backward=backward)
    assert verdict.status == "fail"
    assert "the right gradients of the conv_forward of this file" in verdict.diagnosis


def test_a_cache_in_a_global_variable_fails():
    kept = {}

    def forward(x):
        kept["x"] = x
        return np.maximum(x, 0), None

    verdict = verdict_on("relu_backward", relu_forward=forward,
                         relu_backward=lambda dout, cache: dout * (kept["x"] > 0))
    assert verdict.status == "fail"


# ---------------------------------------------------------------- what is said

def test_one_mistake_in_several_outputs_is_one_sentence():
    def backward(dnext_h, cache):
        x, prev_h, Wx, Wh, _ = cache
        return dnext_h @ Wx.T, dnext_h @ Wh.T, x.T @ dnext_h, prev_h.T @ dnext_h, dnext_h.sum(axis=0)
    verdict = verdict_on("rnn_step_backward", rnn_step_backward=backward)
    assert len(verdict.diagnosis.splitlines()) == 1 and len(verdict.mistakes) == 1, verdict
    assert verdict.diagnosis.startswith("dx, dprev_h, dWx, dWh, db: "), verdict


def test_an_unknown_mistake_in_several_outputs_is_one_sentence():
    verdict = verdict_on("fc_backward", **wrapped("fc_backward", lambda r: [1.5 * g for g in r]))
    assert verdict.diagnosis == "dx, dw, db are wrong: it is 1.5 times what is asked for"


def test_the_same_exception_with_other_sizes_is_one_line():
    verdict = verdict_on("fc_forward", fc_forward=lambda x, w, b: (x @ np.ones((len(w) + 1, 2)), 0))
    assert verdict.status == "fail" and len(verdict.diagnosis.splitlines()) == 1, verdict


@pytest.mark.parametrize("change, said", [
    (lambda dx, dw, db: (dw, dx, db), "wrong order: (dw, dx, db)"),
    (lambda dx, dw, db: (dx, dw, 1.001 * db), "1.001 times"),
    (lambda dx, dw, db: (dx, dw, np.stack([3 * db, -2 * db])), "summed over axis 0 it would be right"),
    (lambda dx, dw, db: (dx, dw / len(dw), db), "divided by the length of axis"),
    (lambda dx, dw, db: (dx, dw.sum(axis=0), db), "summed over axis 0, which is to stay"),
    (lambda dx, dw, db: (dx, dw + 0.1 * dw ** 3, db), "an unknown mistake")])
def test_what_a_difference_looks_like(change, said):
    verdict = verdict_on("fc_backward", **wrapped("fc_backward", lambda r: change(*r)))
    assert verdict.status == "fail" and said in verdict.diagnosis, verdict
    assert verdict.case and (said.startswith("wrong order") or len(verdict.diagnosis) < 200)


def test_the_case_shown_is_the_smallest_that_fails():
    def forward(x, w):
        out, cache = layers.conv_forward(x, w)
        return out * (1 if w.shape[2] == w.shape[3] else 2), cache
    verdict = verdict_on("conv_forward", conv_forward=forward)
    sizes = [case.size for case in KEY.cases("conv_forward")
             if case.inputs["w"].shape[2] != case.inputs["w"].shape[3]]
    shown = next(case for case in KEY.cases("conv_forward") if case.describe() == verdict.case)
    assert shown.size == min(sizes) and verdict.place.startswith("out[")
    assert verdict.actual == pytest.approx(2 * verdict.expected)


@pytest.mark.parametrize("error, said", [
    ({"type": "AttributeError", "message": "module 'numpy' has no attribute 'float'.", "line": 3,
      "file": "a.py", "text": "x = np.float(3)"}, "uses np.float"),
    ({"type": "NotImplementedError", "message": ""}, "not written yet"),
    ({"type": "SystemExit", "message": "", "line": 1, "file": "a.py", "text": "quit()"},
     "stops at quit(), left over from debugging (a.py, line 1: quit())"),
    ({"type": "ValueError", "message": "x" * 999}, "raises ValueError: xxx")])
def test_what_is_thrown_is_told_from_the_students_side(error, said):
    assert said in judge.told(error) and len(judge.told(error)) < 300


# ---------------------------------------------------------------- time

SLOW = """
import time
import numpy as np

def relu_forward(x):
    {condition}
        {action}
    return np.maximum(x, 0), x
"""


@functools.cache
def slow(condition, action):
    import pathlib
    import tempfile
    path = pathlib.Path(tempfile.mkdtemp()) / "layers.py"
    path.write_text(SLOW.format(condition=condition, action=action))
    return judge.grade({"layers": path}, ["relu_forward"], KEY, seconds=1)["relu_forward"]


def test_slow_is_not_wrong_and_keeps_what_was_found():
    verdict = slow("while x.size > 1000:", "pass")
    assert verdict.status == "warn" and verdict.timed_out
    assert "too slow for 1 seconds" in verdict.diagnosis and "(" in verdict.case


def test_what_never_ends_fails():
    verdict = slow("while True:", "pass")
    assert verdict.status == "fail" and verdict.timed_out and "endless loop" in verdict.diagnosis


def test_the_budget_of_a_run_is_kept(tmp_path):
    (tmp_path / "layers.py").write_text("def relu_forward(x):\n    while True: pass\n")
    verdicts = judge.grade({"layers": tmp_path / "layers.py"}, ["relu_forward", "fc_forward"], KEY,
                           budget=0.5)
    assert verdicts["relu_forward"].timed_out and verdicts["fc_forward"].status == "not judged"


def test_strict_makes_a_warning_a_failure(tmp_path):
    (tmp_path / "layers.py").write_text("def fc_forward(x, w, b):\n    return x @ w + b, 0\n")
    for strict, status in ((False, "warn"), (True, "fail")):
        assert judge.grade({"layers": tmp_path / "layers.py"}, ["fc_forward"], KEY,
                           strict=strict)["fc_forward"].status == status


def test_same_seed_same_verdicts(tmp_path):
    (tmp_path / "layers.py").write_text("import numpy as np\ndef relu_forward(x):\n"
                                        "    return np.abs(x) + np.random.rand(), object()\n")
    first, second = (judge.grade({"layers": tmp_path / "layers.py"}, ["relu_forward"], contract.Key(0))
                     for _ in range(2))
    assert first == second and math.isfinite(first["relu_forward"].actual)


def test_grading_in_a_notebook_leaves_its_random_numbers_alone():
    np.random.seed(7)
    expected = np.random.random()
    np.random.seed(7)
    verdict_on("relu_forward")
    assert np.random.random() == expected
