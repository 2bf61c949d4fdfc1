"""What a student sees: the first screen, --watch, the page of --html, and check_gradient."""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree

import numpy as np
import pytest

import layers
import rnn_layers
from autograder import check, check_gradient, numerical_gradient
from grading import contract, judge, page, screen, watch
from grading.courses import COURSES
from grading.judge import Verdict
from grading.report import Report
from test_autograder import GRADER, RIGHT, WRONG_DW, file, run  # noqa: F401, file is a fixture

ROOT = pathlib.Path(__file__).resolve().parent.parent
STUDENT = ROOT / "tests" / "student"
posix = pytest.mark.skipif(os.name != "posix", reason="terminals and signals are others")


def half_written():
    """A student's layers.py: two functions are wrong, one is missing, three are stubs."""
    source = (STUDENT / "layers.py").read_text()
    for name, old, new in (
            ("fc_backward", "x.T.dot(dout)", "x.T.dot(dout) / N"),
            ("relu_backward", "def relu_backward", "def relu_backwards"),
            ("conv_forward", "np.einsum(", "2 * np.einsum("),
            ("conv_backward", "x, w = cache", "raise NotImplementedError"),
            ("max_pool_forward", "    N, C", "    return None\n    N, C"),
            ("max_pool_backward", "    return dx", "    dx = None\n    return dx")):
        before, start, after = source.partition(f"def {name}(")
        source = before + (start + after).replace(old, new, 1)
    return source


# ---------------------------------------------------------------- the first screen

def test_a_half_written_file_fits_on_a_screen(file):
    done = run("--layers", file(half_written(), "half.py"), env={**os.environ, "COLUMNS": "80"})
    lines = done.stdout.splitlines()
    assert done.returncode == 1 and not done.stderr and "\033" not in done.stdout
    assert len(lines) <= 20 and max(map(len, lines)) <= 80, done.stdout
    assert lines[0] == "3 of 9 right: 2 pass, 1 warn, 5 fail, 1 missing (seed 0)"
    assert lines[2] == "fc_backward                 FAIL" and "is divided by N" in lines[3]
    assert "conv_forward                FAIL" in lines
    assert lines[-3:] == ["not written yet, or without a return: conv_backward, max_pool",
                          "missing: relu_backward (not in half.py)",
                          "right: relu_forward, softmax_loss"]


@pytest.mark.long
def test_the_students_files_fit_on_a_screen():
    done = run(STUDENT / "layers.py", STUDENT / "rnn_layers.py")
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) <= 20 and max(map(len, lines)) <= 80, done.stdout
    assert re.match(r"\d+ of \d+ right", lines[0]) and lines[-1].startswith("right: ")


def test_all_verdicts_in_their_order_with_verbose(file):
    lines = run("--layers", file(half_written()), "-v").stdout.splitlines()
    shown = [line.split()[0] for line in lines if re.match(r"\w+ {5,}(pass|warn|FAIL)", line)]
    assert shown == [name for name, function in contract.FUNCTIONS.items()
                     if function.file == "layers" and name != "relu_backward"]
    assert "conv_backward               FAIL (not written yet)" in lines
    assert "3 of 9 right: 2 pass, 1 warn, 5 fail, 1 missing (seed 0)" in lines


def test_a_file_that_is_right_is_said_to_be_right(file):
    done = run("--layers", ROOT / "layers.py")
    count = sum(function.file == "layers" for function in contract.FUNCTIONS.values())
    assert done.returncode == 0 and done.stdout.startswith(
        f"{count} of {count} right: {count} pass (seed 0)\n\nright: fc, relu, conv, max_pool")


def test_a_forgotten_return_is_not_taken_for_an_empty_function(file):
    path = file("def relu_forward(x):\n    out = x * (x > 0)\n\n\n"
                "def fc_forward(x, w, b):\n    raise NotImplementedError\n")
    assert run(path, "fc_forward", "relu_forward").stdout.splitlines()[-1] == (
        "not written yet, or without a return: fc_forward, relu_forward")


def test_one_cause_takes_one_block(file):
    done = run(file(RIGHT + "\nreturn\n", "broken.py"))
    assert done.stdout.count("cannot be imported") == 1, done.stdout
    assert "\nfc, relu                    FAIL\n    broken.py cannot be imported" in done.stdout


@pytest.mark.parametrize("top, said", [
    ("while True: pass", "it is too slow for 1 seconds: is there an\n"),
    ("import os\nos._exit(4)", "it ends Python itself (exit code 4)")])
def test_a_file_that_never_gets_through_its_import_is_tried_once(file, top, said):
    done = run(file(f"{top}\n{RIGHT}", "stuck.py"), "--seconds", "1")
    assert done.stdout.count("cannot be imported") == 1, done.stdout
    assert f"FAIL\n    stuck.py cannot be imported: {said}" in done.stdout


def test_a_backward_pass_is_not_blamed_for_a_forward_pass_that_hangs(file):
    endless = RIGHT.replace("return np.maximum(x, 0), x", "while True: pass")
    lines = run(file(endless), "--seconds", "1").stdout.splitlines()
    assert lines[0] == "2 of 4 right: 2 pass, 1 fail, 1 not judged (seed 0)"
    assert lines[-2:] == ["mend forward first: relu_backward", "right: fc"]


def test_what_an_exception_says_cannot_move_the_cursor(file):
    source = RIGHT.replace("return np.maximum(x, 0), x", "raise ValueError('\\x1b[2J\\x07 end')")
    done = run(file(source), "relu_forward")
    assert "ValueError: ?[2J? end" in done.stdout and "\033" not in done.stdout


@pytest.mark.parametrize("body, is_stub", [
    ("raise NotImplementedError", True), ("pass", True), ("return None, (x, w, b)", True),
    ("out = None  # TODO\n    cache = (x, w, b)\n    return out, cache", True),
    ("raise ValueError", False), ("return x, (x, w, b)", False), ("x @ w + b", True)])
def test_what_counts_as_not_written(file, body, is_stub):
    path = file(f"def fc_forward(x, w, b):\n    {body}\n")
    verdict = judge.grade({"layers": path}, ["fc_forward"], contract.Key(0))["fc_forward"]
    assert verdict.status == "fail" and verdict.is_stub == is_stub


def test_a_gradient_that_is_left_out_is_no_stub(file):
    path = file(RIGHT.replace("dout.sum(axis=0)", "None"))
    verdict = judge.grade({"layers": path}, ["fc_backward"], contract.Key(0))["fc_backward"]
    assert not verdict.is_stub and "None for db" in verdict.diagnosis


@pytest.mark.parametrize("sentence", ["a wrong sum " * 3, "long " * 300, "one\n" * 40])
@pytest.mark.parametrize("width", [40, 80])
def test_the_screen_is_never_longer(sentence, width):
    verdicts = {}
    for number, name in enumerate(contract.FUNCTIONS):
        status = ("fail", "warn", "not judged", "missing", "pass")[number % 5]
        verdicts[name] = Verdict(name, status, f"{name}: {sentence}", "x (2, 3)", "dx[0, 0]", 1, 2)
    lines = screen.overview(Report(verdicts, 12345), "8 of 90 points; ", width)
    assert len(lines) <= screen.HEIGHT and max(map(len, lines)) <= width
    right = sum(verdict.status in ("pass", "warn") for verdict in verdicts.values())
    assert lines[0].startswith(f"8 of 90 points; {right} of {len(verdicts)} right")
    assert sum(line.startswith("fc_forward  ") for line in lines) == 1
    assert any(line.startswith("then: ") for line in lines)


def test_what_is_wrong_comes_before_warnings():
    verdicts = [Verdict("fc_forward", "warn", "slow"), Verdict("fc_backward", "fail", "wrong")]
    lines = screen.overview(Report({v.name: v for v in verdicts}))
    assert [line.split() for line in lines[2:]] == [
        ["fc_backward", "FAIL"], ["wrong"], ["fc_forward", "warn"], ["slow"]]


def test_a_layer_stands_for_its_passes_if_all_share_the_verdict():
    graded = ["conv_forward_naive", "conv_backward_naive", "batchnorm_forward",
              "batchnorm_backward", "batchnorm_backward_alt", "fc_forward", "sgd"]
    assert screen.in_pairs(graded, graded) == ["conv", "batchnorm", "fc_forward", "sgd"]
    assert screen.in_pairs(graded[1:4], graded) == graded[1:4]


@pytest.mark.parametrize("course", COURSES)
def test_nothing_comes_before_what_it_uses(course):
    functions = COURSES[course].functions
    order = list(functions)
    for name, function in functions.items():
        assert function.forward is None or order.index(function.forward) < order.index(name)
    pairs = [("fc", "temporal_fc"), ("affine", "temporal_affine"), ("rnn_step", "rnn"),
             ("lstm_step", "lstm"), ("batchnorm", "spatial_batchnorm")]
    for first, then in pairs:
        if f"{first}_forward" in order and f"{then}_forward" in order:
            assert order.index(f"{first}_backward") < order.index(f"{then}_forward")
    models = [k for k, name in enumerate(order) if functions[name].kind == "model"]
    assert models == list(range(len(order)))[len(order) - len(models):]


@posix
@pytest.mark.parametrize("no_colour", [False, True])
def test_colour_and_progress_on_a_terminal(file, no_colour):
    import pty
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", **({"NO_COLOR": "1"} if no_colour else {})}
    grader = subprocess.Popen([sys.executable, GRADER, file(WRONG_DW), "fc"], stdout=theirs,
                              stderr=theirs, env=environment)
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 4096):
            said += part
    except OSError:                     # Linux says so when the terminal has ended
        pass
    assert grader.wait(timeout=60) == 1
    text = said.decode()
    assert "\r1 of 2 graded" in text
    assert re.search(r"\r2 of 2 graded +\r\r {30}\r1 of 2 right", text)
    assert ("\033[31mFAIL\033[0m" in text) != no_colour and ("\033" in text) != no_colour


@posix
def test_what_was_graded_is_told_when_it_is_interrupted(file, tmp_path):
    endless = RIGHT.replace("return np.maximum(x, 0), x", "while True: pass")
    grader = subprocess.Popen([sys.executable, GRADER, file(endless), "--gradescope",
                               tmp_path / "results.json"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    results = tmp_path / "results.json"
    for _ in range(600):
        time.sleep(0.05)
        if results.is_file() and results.read_text().count('"passed"') == 2:
            break
    grader.send_signal(signal.SIGINT)
    said, errors = grader.communicate(timeout=60)
    assert grader.returncode == 130 and "Traceback" not in errors
    assert said == "stopped after 2 of 4; 2 of 2 right: 2 pass (seed 0)\n\nright: fc\n"


# ---------------------------------------------------------------- --watch

@posix
def test_what_changes_is_graded_again(file, tmp_path):
    path = file(WRONG_DW)
    grader = subprocess.Popen([sys.executable, GRADER, path, "--watch"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
    guard = threading.Timer(120, grader.kill)
    guard.start()

    def said(last, source=None):
        """What it says, once the file holds this, until a line that begins so."""
        if source:
            path.write_text(source)
        lines = []
        while not lines or lines[-1] and not lines[-1].startswith(last):
            lines.append(grader.stdout.readline())
        return "".join(lines)

    first = said("graded")
    assert first.startswith("3 of 4 right") and first.endswith(
        "graded 4 of 4; watching, Ctrl-C ends it\n")
    mended = said("graded", RIGHT)
    assert mended.startswith("4 of 4 right") and "\nturned green: fc_backward\n" in mended
    assert "turned red" not in mended and "graded 1 of 4" in mended
    assert said("waiting", RIGHT + "def half(:\n") == (
        "waiting, this cannot be graded: invalid syntax (student.py, line 16)\n")
    assert said("waiting", "# empty\n") == (
        "waiting, this cannot be graded: it has no function that is known\n")
    assert said("graded", RIGHT + "# the end\n") == "graded 0 of 4; watching, Ctrl-C ends it\n"
    broken = said("graded", RIGHT.replace("np.maximum(x, 0)", "np.maximum(x, 1)"))
    assert "\nturned red: relu_forward\n" in broken and "graded 2 of 4" in broken
    grader.send_signal(signal.SIGINT)
    rest, errors = grader.communicate()
    guard.cancel()
    assert grader.returncode == 1 and not rest and not errors


LINKED = """
import numpy as np
from helpers import flat
SCALE = 1
def fc_forward(x, w, b):
    return flat(x) @ w + b, (x, w, b)      # out
def fc_backward(dout, cache):
    return dout
def temporal_fc_forward(x, w, b):
    return fc_forward(x.reshape(-1, 3), w, b)
def relu_forward(x):
    return np.maximum(x, 0), x
"""


@pytest.mark.parametrize("old, new, changed", [
    ("# out", "# more", ()), ("np.maximum(x, 0)", "np.maximum(x,  0)", ()),
    ("SCALE = 1", "SCALE = 2", "all"), ("return dout", "return 2 * dout", ("fc_backward",)),
    ("@ w + b", "@ w - b", ("fc_forward", "fc_backward", "temporal_fc_forward")),
    ("maximum", "fmax", ("relu_forward",)), (None, "def flat(x):\n    return x.ravel()", "all")])
def test_a_verdict_rests_on_what_the_function_uses(file, tmp_path, old, new, changed):
    helper = file("def flat(x):\n    return x", "helpers.py")
    mine = file(LINKED, "mine.py")
    names = "fc_forward", "fc_backward", "temporal_fc_forward", "relu_forward"
    homes = dict.fromkeys(names, mine)
    before = watch.grounds(homes, contract.FUNCTIONS, files := set())
    assert {mine, helper} <= files
    if old:
        assert LINKED.count(old) == 1
        mine.write_text(LINKED.replace(old, new))
    else:
        helper.write_text(new)
    after = watch.grounds(homes, contract.FUNCTIONS, files)
    assert {name for name in homes if before[name] != after[name]} == set(
        homes if changed == "all" else changed)


def test_a_helper_is_waited_for_that_is_broken_or_not_there_yet(file, tmp_path):
    homes, helper = {"fc_forward": file(LINKED, "mine.py")}, tmp_path / "helpers.py"
    watch.grounds(homes, contract.FUNCTIONS, files := set())
    assert helper in files
    helper.write_text("def flat(x:\n")
    with pytest.raises(SyntaxError):
        watch.grounds(homes, contract.FUNCTIONS, files := set())
    assert helper in files


# ---------------------------------------------------------------- --html

def svgs(text):
    """The pictures in a page."""
    return [xml.etree.ElementTree.fromstring(part)
            for part in re.findall("<svg.*?</svg>", text, flags=re.DOTALL)]


def titles(pictures):
    """What is written above pictures."""
    return [picture.find("text").text for picture in pictures]


def test_the_page_shows_what_is_wrong(file, tmp_path):
    done = run("--layers", file(half_written()), "--html", tmp_path / "report.html", "--json",
               tmp_path / "report.json")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "://" not in text and "<script" not in text
    assert f"<h1>{done.stdout.splitlines()[0]}</h1>" in text
    count = sum(function.file == "layers" for function in contract.FUNCTIONS.values())
    assert text.count("<h2>") == count
    assert "is divided by N" in text and "not written yet" in text
    pictures = svgs(text)
    assert titles(pictures) == ["expected", "actual", "difference, actual − expected"] * 2
    expected, actual, difference = (
        [float(cell.text) for cell in picture.findall("text")[1:-3] if "." in cell.text]
        for picture in pictures[-3:])
    np.testing.assert_allclose(actual, 2 * np.array(expected), rtol=0.02)     # conv_forward
    np.testing.assert_allclose(difference, expected, rtol=0.02)
    fields = json.loads((tmp_path / "report.json").read_text())["results"]["conv_forward"]
    assert set(fields) == {"status", "diagnosis", "case", "place", "expected", "actual",
                           "mistakes", "derivation", "timed_out"}


def test_pictures_where_the_truth_is_no_single_array_or_has_another_shape():
    def halved(dout, cache):
        return layers.max_pool_backward(dout, cache) / 2

    def flat(x, w):
        out, cache = layers.conv_forward(x, w)
        return out.reshape(len(out), -1), cache

    halved.__name__, flat.__name__ = "max_pool_backward", "conv_forward"
    pictures = svgs(page.page(check(layers.max_pool_forward, halved)))
    assert titles(pictures) == ["expected", "actual", "difference, actual − expected"]
    expected, actual = (titles(svgs(page.page(check(flat))))[k] for k in (0, 1))
    assert expected.startswith("expected, shape (") and actual.startswith("actual, shape (")


def test_a_heat_map_of_what_is_large_or_not_finite():
    cells = np.arange(30.0 * 50).reshape(30, 50)
    cells[20, 40] = np.nan
    panel, starts, place = page.shown(cells, (20, 40))
    assert panel.shape == (16, 16) and panel[20 - starts[0], 40 - starts[1]] != 0
    (picture,) = svgs(page.heat_map("a < b", panel, starts, place, page.largest(cells)))
    assert picture.find("text").text == "a < b"
    assert [rect.get("fill") for rect in picture.findall("rect")].count("#bbb") == 1
    (small,) = svgs(page.heat_map("t", np.array([[-np.inf, 2]]), (0, 0), (0, 0), 2.0))
    assert "-inf" in [cell.text for cell in small.findall("text")]


def test_the_colours_of_the_two_signs_differ_in_blue():
    """Red and green, which many people cannot tell apart, play no part."""
    assert page.colour(0) == "#ffffff"
    low, high = (bytes.fromhex(page.colour(sign)[1:]) for sign in (-1, 1))
    assert low[2] - high[2] > 100


# ---------------------------------------------------------------- layers of one's own

RNG = np.random.default_rng(3)
X, W, B = RNG.standard_normal((4, 3)), RNG.standard_normal((3, 2)), RNG.standard_normal(2)


def test_a_numerical_gradient_is_that_of_the_sum_with_dout():
    x, dout = X.astype(np.float32), RNG.standard_normal((4, 2))
    before = x.copy()
    gradient = numerical_gradient(lambda x: x @ W, x, dout)
    np.testing.assert_allclose(gradient, dout @ W.T, rtol=1e-9)
    assert gradient.dtype == np.float64 and (x == before).all()
    np.testing.assert_allclose(numerical_gradient(lambda x: (x ** 3).sum(), X), 3 * X ** 2, 1e-6)
    with pytest.raises(ValueError, match=r"dout expects the shape of f\(x\), \(4, 2\)"):
        numerical_gradient(lambda x: x @ W, x, dout.T)


@pytest.mark.parametrize("forward, backward, inputs", [
    (layers.fc_forward, layers.fc_backward, (X, W, B)),
    (layers.relu_forward, layers.relu_backward, (X,)),
    (layers.max_pool_forward, layers.max_pool_backward,
     (RNG.standard_normal((1, 2, 4, 4)), {"pool_height": 2, "pool_width": 2, "stride": 2})),
    (rnn_layers.lstm_step_forward, rnn_layers.lstm_step_backward,
     (X, *RNG.standard_normal((2, 4, 2)), RNG.standard_normal((3, 8)),
      RNG.standard_normal((2, 8)), RNG.standard_normal(8))),
    (rnn_layers.word_embedding_forward, rnn_layers.word_embedding_backward,
     (np.array([[0, 2, 2]]), W)),
    (layers.softmax_loss, lambda dout, dx: dout * dx, (X, np.array([0, 2, 1, 1]))),
    (np.tanh, lambda dout, x: dout * (1 - np.tanh(x) ** 2), (X,))])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_right_layers(forward, backward, inputs, dtype):
    inputs = [value.astype(dtype) if getattr(value, "dtype", None) == float else value
              for value in inputs]
    before = [np.copy(value) for value in inputs]
    checked = check_gradient(forward, backward, *inputs)
    checked.raise_if_failed()
    assert not checked.failed and "WRONG" not in repr(checked)
    assert len(checked.gradients) == sum(np.asarray(value).dtype == dtype for value in inputs)
    assert all(np.array_equal(value, was) for value, was in zip(inputs, before))


def wrong_backward(change):
    """fc_backward with its three gradients changed."""
    return lambda dout, cache: change(*layers.fc_backward(dout, cache))


@pytest.mark.parametrize("change, words", [
    (lambda dx, dw, db: (dx, dw / 4, db), r"dw +WRONG  relative error 7.5e-01\n    largest "
     r"difference: dw\[\d, \d\] is -?[\d.]+, by central differences -?[\d.]+\ndb +right"),
    (lambda dx, dw, db: (dx, dw, db[:, None]), r"it has shape \(2, 1\), its input \(2,\)"),
    (lambda dx, dw, db: (dx * np.nan, dw, db), r"dx +WRONG  relative error inf"),
    (lambda dx, dw, db: (dx + 1e-3, dw, db), r"dx +WRONG")])
def test_wrong_layers(change, words):
    checked = check_gradient(layers.fc_forward, wrong_backward(change), X, W, B)
    assert checked.failed and re.search(words, repr(checked)), checked
    assert checked._repr_html_().count("WRONG") == 1
    with pytest.raises(AssertionError, match="WRONG"):
        checked.raise_if_failed()


def test_a_gradient_is_left_out_by_none_and_must_not_be_forgotten():
    some = check_gradient(layers.fc_forward, wrong_backward(lambda dx, dw, db: (None, dw, db)),
                          X, W, B)
    assert [each.name for each in some.gradients] == ["dw", "db"]
    with pytest.raises(ValueError, match="3 gradients, of x, w, b; got 2"):
        check_gradient(layers.fc_forward, wrong_backward(lambda dx, dw, db: (dw, db)), X, W, B)


def dropped(x, rng):
    mask = rng.random(x.shape) < 0.5
    return 2 * x * mask, mask


@pytest.mark.parametrize("forward, backward, inputs, words", [
    (layers.relu_forward, lambda dout, x: None, (X,), "backward returns None"),
    (layers.fc_forward, lambda dout, cache: (None, None, None), (X, W, B), "backward returns None"),
    (lambda x: None, lambda dout, x: dout, (X,), "forward returns None"),
    (lambda x: (x.astype(np.float32) ** 2, x), lambda dout, x: 2 * dout * x, (X,), "float32"),
    (lambda x: dropped(x, RNG), lambda dout, mask: 2 * dout * mask, (X,), "other numbers"),
    (layers.relu_forward, layers.relu_backward, ([1.0, 2.0],), "floating-point"),
    (layers.relu_forward, layers.relu_backward, (np.array([1, 2]),), "floating-point")])
def test_what_has_no_gradient_to_compare_is_neither_right_nor_wrong(forward, backward, inputs,
                                                                    words):
    with pytest.raises(ValueError, match=words):
        check_gradient(forward, backward, *inputs)


def test_a_generator_among_the_inputs_draws_the_same_numbers_each_time():
    check_gradient(dropped, lambda dout, mask: 2 * dout * mask, X,
                   np.random.default_rng(0)).raise_if_failed()


def test_gradients_may_come_in_a_list_and_an_input_may_be_one_number():
    check_gradient(layers.fc_forward, lambda dout, cache: list(layers.fc_backward(dout, cache)),
                   X, W, B).raise_if_failed()
    assert "dx is 3" in repr(check_gradient(lambda x: x ** 2, lambda dout, x: 3.0, np.array(1.0)))


def test_any_slope_between_both_sides_is_right_at_a_kink():
    x = X.copy()
    x[0] = 0, 1e-7, -1e-7
    for at_zero in (0, 0.5, 1):
        slope = np.where(x == 0, at_zero, x > 0)
        checked = check_gradient(layers.relu_forward, lambda dout, x, s=slope: dout * s, x)
        assert not checked.failed
        assert "3 of 12 inputs are at a kink" in repr(checked)
    assert check_gradient(layers.relu_forward, lambda dout, x: dout * (x > -2), x).failed
    assert check_gradient(layers.relu_forward,
                          lambda dout, x: dout * np.where(x == 0, 2, x > 0), x).failed
