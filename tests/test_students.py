"""Submissions as students write them: what is right is not refused, and what is wrong is named.

student_right/*.py       right functions; comments at the top say which of them deserve a warning,
                         and words that it must hold. A function "a__b" is the b of student a.
student_right/submission a whole submission, with everything that people leave in
student_wrong/slips.py   changes of a line to those, and words that the diagnosis must hold
student_wrong/functions  wrong functions, with those words as docstrings
"""
import contextlib
import functools
import io
import math
import pathlib
import re
import sys
import types

import numpy as np
import pytest

import layers
import mistaken_layers
import optim
import rnn_layers
from grading import contract, judge, worker
from grading.contract import FUNCTIONS
from grading.mistakes import MISTAKES
from stealthy_layers import STEALTHY
from student_wrong import functions as wrong_functions
from student_wrong.slips import SLIPS
from unusual_layers import UNUSUAL

pytestmark = pytest.mark.long       # hundreds of submissions
STUDENTS = pathlib.Path(__file__).resolve().parent / "student_right"
KEY = contract.Key(0)


def verdict_on(name, functions):
    """The verdict on one of these functions, which may print: the others are there to be called."""
    with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
        return judge.grade_one(worker.Direct(functions), name, KEY, math.inf,
                               functools.partial(KEY.cases, name))


# ---------------------------------------------------------------- right

def written(source, file):
    """{(student, name): function} of a file's source."""
    module = types.ModuleType(f"{file}_of_a_student")
    sys.modules[module.__name__] = module           # dataclasses look there
    exec(compile(source, f"{file}.py", "exec"), vars(module))
    found = {}
    for key, value in vars(module).items():
        student, _, name = key.rpartition("__")
        if name in FUNCTIONS and getattr(value, "__module__", None) == module.__name__:
            found[student, name] = value
    return found


def with_forward(found, student, name):
    """A function of a student, and the forward pass that it needs."""
    names = filter(None, (FUNCTIONS[name].forward, name))
    return {each: found[student, each] for each in names}


@functools.cache
def source_of(file):
    """The text of a right file."""
    return (STUDENTS / f"{file}.py").read_text()


def wanted_of(source):
    """{function: (status, words)} from the comments at the top of a file; the others pass."""
    return {name: (status, words) for status, name, words in
            re.findall(r"^# (pass|warn|fail) (\w+): (.+)$", source, re.MULTILINE)}


def marks(name, file=None):
    """[pytest.mark.slow] for what takes long; the same function of a quick file is always tried."""
    slow = name.startswith(("conv", "max_pool", "lstm")) and name.endswith("_backward")
    slow_file = file in ("loops_layers", "loops_rnn_layers", "float64_layers")
    return [pytest.mark.slow] if slow and file not in QUICK or slow_file else []


QUICK = ("plain_layers", "split_rnn_layers")


def right_functions():
    """(file, student, name) of every right function."""
    for path in sorted(STUDENTS.glob("*.py")):
        for student, name in written(source_of(path.stem), path.stem):
            yield pytest.param(path.stem, student, name, marks=marks(name, path.stem),
                               id="-".join(filter(None, (path.stem, student, name))))


RIGHT = list(right_functions())


@pytest.mark.parametrize("file, student, name", RIGHT)
def test_right_functions_are_not_refused(file, student, name):
    found = written(source_of(file), file)
    status, words = wanted_of(source_of(file)).get(f"{student}__{name}" if student else name,
                                                   ("pass", ""))
    verdict = verdict_on(name, with_forward(found, student, name))
    assert verdict.status == status and words in verdict.diagnosis, verdict


def test_there_are_enough_right_functions():
    assert len(RIGHT) >= 140


def oracle_inputs(name, rng):
    """Arguments of a function or rule of ours, for which a right one gives the same numbers."""
    subject = mistaken_layers.subject_of(name).name
    N, T, D, H = 3, 4, 5, 2
    x, words = rng.standard_normal((N, T, D)), rng.integers(0, 6, (N, T))
    gates = 4 * H if subject.startswith("lstm") else H
    weights = [rng.standard_normal(shape) for shape in ((D, gates), (H, gates), (gates,))]
    states = [rng.standard_normal((N, H)) for _ in range(2)]
    images = rng.standard_normal((2, 3, 6, 7))
    pool = {"pool_height": 2, "pool_width": 3, "stride": 2}
    return {
        "fc": (x[:, 0], rng.standard_normal((D, H)), rng.standard_normal(H)), "relu": (x,),
        "conv": (images, rng.standard_normal((4, 3, 2, 3))), "max_pool": (images, pool),
        "softmax_loss": (x[:, 0], words[:, 0] % D), "rnn_step": (x[:, 0], states[0], *weights),
        "lstm_step": (x[:, 0], *states, *weights), "rnn": (x.swapaxes(0, 1), states[0], *weights),
        "lstm": (x.swapaxes(0, 1), states[0], *weights),
        "word_embedding": (words, rng.standard_normal((6, D))),
        "temporal_fc": (x, rng.standard_normal((D, H)), rng.standard_normal(H)),
        "temporal_softmax_loss": (x, words % D, words > 1),
    }.get(subject, (x, 3 + x ** 2, {"learning_rate": 0.1}))


@pytest.mark.parametrize("file, student, name", [
    p.values for p in RIGHT if FUNCTIONS[p.values[2]].kind != "model"])
def test_right_functions_give_the_numbers_of_our_own(file, student, name):
    """So that "right" does not rest on what the grader says."""
    theirs = with_forward(written(source_of(file), file), student, name)
    ours = {**vars(layers), **vars(rnn_layers), **vars(optim)}

    def results(functions):
        rng = np.random.default_rng(1)
        arguments = oracle_inputs(name, rng)
        forward = functions[FUNCTIONS[name].forward or name](*arguments)
        if FUNCTIONS[name].forward is None:
            return forward if FUNCTIONS[name].kind == "loss" else forward[:-1]
        douts = [rng.standard_normal(np.shape(out)) for out in forward[:-1]]
        gradients = functions[name](*douts, forward[-1])
        return gradients if isinstance(gradients, tuple) else (gradients,)

    with contextlib.redirect_stdout(io.StringIO()):
        for actual, expected in zip(results(theirs), results(ours), strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("file", ["layers", "rnn_layers", "optim", "fc_net", "rnn"])
def test_a_whole_submission_in_its_process(file):
    """Its own layers stand beside its models; what is imported in vain costs nothing."""
    path = STUDENTS / "submission" / f"{file}.py"
    names = [name for name, function in FUNCTIONS.items()
             if function.file == file and not name.startswith("lstm")]
    wanted = wanted_of(path.read_text())
    for name, verdict in judge.grade({file: path}, names, KEY).items():
        status, words = wanted.get(name, ("pass", ""))
        assert verdict.status == status and words in verdict.diagnosis, verdict


# ---------------------------------------------------------------- wrong

def changed(source, name, right, wrong):
    """The source with one change in the function or class of this name."""
    part = re.search(rf"^(def|class) {name}\b.*?(?=^\S|\Z)", source, re.MULTILINE | re.DOTALL)
    assert right in part[0], (name, right)
    return source[:part.start()] + part[0].replace(right, wrong, 1) + source[part.end():]


def wrong_ones():
    """(functions, name, words) of every wrong function, made when they are asked for."""
    def of_slip(file, key, right, wrong):
        student, _, name = key.rpartition("__")
        found = written(changed(source_of(file), key, right, wrong), file)
        return with_forward(found, student, name)

    def of_function(name, function):
        needed = FUNCTIONS[name].forward
        return {**({needed: vars(layers)[needed]} if needed else {}), name: function}

    for (file, key), changes in SLIPS.items():
        name = key.split("__")[-1]
        for right, wrong, words in changes:
            yield pytest.param(functools.partial(of_slip, file, key, right, wrong), name, words,
                               id=f"{key}: {wrong.strip()}"[:70],
                               marks=marks(name, file) * name.endswith("_backward"))
    for key, function in vars(wrong_functions).items():
        name = key.split("__")[-1]
        if name in FUNCTIONS:
            yield pytest.param(functools.partial(of_function, name, function), name,
                               function.__doc__, id=key, marks=marks(name))


WRONG = list(wrong_ones())


@pytest.mark.parametrize("make, name, words", WRONG)
def test_wrong_functions_are_refused_and_told_why(make, name, words):
    verdict = verdict_on(name, make())
    assert verdict.status == "fail" and words in verdict.diagnosis, verdict


def test_there_are_enough_wrong_functions():
    assert len(WRONG) >= 200


# ---------------------------------------------------------------- unusual and stealthy

@pytest.mark.parametrize("functions, wanted, label", [
    pytest.param(*entry, marks=marks([*entry[0]][-1]), id=entry[2]) for entry in UNUSUAL])
def test_right_but_unusual(functions, wanted, label):
    for name in functions:
        verdict = verdict_on(name, functions)
        assert verdict.status == wanted, verdict


@pytest.mark.parametrize("functions, name, wanted, label", [
    pytest.param(*entry, marks=marks(entry[1]), id=entry[3]) for entry in STEALTHY])
def test_wrong_in_one_corner(functions, name, wanted, label):
    verdict = verdict_on(name, functions)
    assert verdict.status == wanted, verdict


WEAK = re.compile("(softmax|temporal_loss)_(adds|clips_at|takes_log)|fc_(does_not_)?flatten|"
                  "fc_leaves_dx_flat|shifts_by_the_global_maximum|overflows$|pool_pays_every_tie")


# All of them take minutes: every fortieth is planted in .ci/run, the others with --slow.
@pytest.mark.parametrize("mistake", [
    pytest.param(mistake, marks=pytest.mark.slow if number % 40 else (),
                 id=f"{mistake.function}-{mistake.name}")
    for number, mistake in enumerate(MISTAKES)])
def test_known_mistakes_are_named(mistake):
    subject = mistaken_layers.subject_of(mistake.function).name
    verdict = verdict_on(mistake.function, mistaken_layers.subject_with(subject, mistake))
    if verdict.status == "warn":
        assert WEAK.search(mistake.name), verdict
    else:
        assert verdict.status == "fail" and mistake.name in verdict.mistakes, verdict


@pytest.mark.slow
@pytest.mark.parametrize("name", {function.subject: None for function in FUNCTIONS.values()})
def test_the_references_and_their_gradients_pass(name):
    for verdict in judge.grade_here(mistaken_layers.subject_with(name, None), KEY).values():
        assert verdict.status == "pass", verdict
