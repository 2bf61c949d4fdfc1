"""What a student sees: the first screen, --watch, the page of --html, and check_gradient."""
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from grading import contract, judge, screen
from grading.courses import COURSES
from grading.judge import Verdict
from grading.report import Report
from test_autograder import GRADER, RIGHT, WRONG_DW, file, run  # noqa: F401, file is a fixture

STUDENT = pathlib.Path(__file__).resolve().parent / "student"
posix = pytest.mark.skipif(os.name != "posix", reason="terminals and signals are others")


def half_written():
    """A student's layers.py: two functions are wrong, one is missing, three are stubs."""
    source = (STUDENT / "layers.py").read_text()
    for name, old, new in (
            ("fc_backward", "x.T.dot(dout)", "x.T.dot(dout) / N"),
            ("relu_backward", "def relu_backward", "def relu_backwards"),
            ("conv_forward", "np.einsum(", "2 * np.einsum("),
            ("conv_backward", "    x, w = cache", "    raise NotImplementedError\n    x, w = cache"),
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
    assert lines[0].startswith("3 of 9 right: 3 pass, 5 fail, 1 missing")
    assert lines[2] == "fc_backward                 FAIL" and "is divided by N" in lines[3]
    assert "conv_forward                FAIL" in lines
    assert lines[-3:] == ["not written yet: conv_backward, max_pool",
                          "missing: relu_backward (not in half.py)",
                          "right: fc_forward, relu_forward, softmax_loss"]


def test_all_verdicts_in_their_order_with_verbose(file):
    lines = run("--layers", file(half_written()), "-v").stdout.splitlines()
    shown = [line.split()[0] for line in lines if re.match(r"\w+ {5,}(pass|FAIL)", line)]
    assert shown == [name for name, function in contract.FUNCTIONS.items()
                     if function.file == "layers" and name != "relu_backward"]
    assert "conv_backward               FAIL (not written yet)" in lines
    assert lines[-3].startswith("3 of 9 right")


def test_a_file_that_is_right_is_said_to_be_right(file):
    done = run("--layers", STUDENT / "layers.py")
    assert done.returncode == 0 and done.stdout == (
        "9 of 9 right: 9 pass (seed 0)\n\nright: fc, relu, conv, max_pool, softmax_loss\n")


def test_one_cause_takes_one_block(file):
    done = run(file(RIGHT + "\nreturn\n", "broken.py"))
    assert done.stdout.count("cannot be imported") == 1, done.stdout
    assert "\nfc, relu                    FAIL\n    broken.py cannot be imported" in done.stdout


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
    assert lines[0].startswith("8 of 90 points; 12 of 29 right")
    assert sum(line.startswith("fc_forward  ") for line in lines) == 1
    assert any(line.startswith("then: ") for line in lines)


def test_what_is_wrong_comes_before_warnings():
    verdicts = [Verdict("fc_forward", "warn", "slow"), Verdict("fc_backward", "fail", "wrong")]
    lines = screen.overview(Report({v.name: v for v in verdicts}))
    assert [line.split() for line in lines[2:]] == [
        ["fc_backward", "FAIL"], ["wrong"], ["fc_forward", "warn"], ["slow"]]


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
    assert "\r1 of 2 graded" in text and "\r2 of 2 graded" in text
    wiped = text[text.index("2 of 2 graded"):].split("\r")[:3]
    assert not wiped[1].strip() and wiped[2].startswith("1 of 2 right")
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
    assert said == "2 of 2 right: 2 pass (seed 0)\n\nright: fc\n"
