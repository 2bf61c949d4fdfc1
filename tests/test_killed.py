"""Scripts killed without warning at any moment: resumed, they end as if nothing had happened.

kill -9 leaves no chance to clean up. Whatever moment it hits, in the middle of a step, of a
checkpoint or of a picture, the next run with --resume has to arrive at the same bits.
"""
import functools
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from checkpoint import read_checkpoint
from test_scripts import ROOT, at_once, metrics_of, run, tiny_mnist, without_times

# What each script is asked to do: small, but with several checkpoints on the way. DIGITS stands
# for the folder of the tests' own digits. The deep network of cnn_train has batch normalisation.
DIGITS = "DIGITS"
TASKS = {
    "mnist_train": ["--data-dir", DIGITS, "--hidden-sizes", "3", "40", "--epochs", "3",
                    "--batch-size", "50"],
    "cnn_train": ["--data-dir", DIGITS, "--num-filters", "4", "--filter-size", "5",
                  "--hidden-dim", "20", "--epochs", "3", "--batch-size", "20"],
    "image_captioning": ["--data", "synthetic", "--quick", "--hidden-dim", "16", "--epochs", "4",
                         "--dropout", "0.2"],
    "cnn_train_deep": ["--model", "deep", "--data-dir", DIGITS, "--num-filters", "2",
                       "--hidden-dim", "20", "--epochs", "3", "--batch-size", "50"],
}
CHECKPOINT = {"mnist_train": "hidden_99.npz", "cnn_train": "cnn.npz", "image_captioning": "rnn.npz",
              "cnn_train_deep": "cnn.npz"}
every_task = pytest.mark.parametrize("task", TASKS)
pytestmark = pytest.mark.long

# Run in place of the script: it dies in the middle of writing a file, the killed_write'th one.
KILLED_WHILE_WRITING = """
import builtins, io, os, runpy, signal, sys     # not NumPy: the script sets its threads first

class HalfWritten(io.FileIO):
    def write(self, content):
        super().write(bytes(content)[:len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

script, killed_write = sys.argv[1], int(sys.argv[2])
sys.argv = [script, *sys.argv[3:]]
writes, original = 0, open

def open_or_die(path, *arguments, **options):
    global writes
    writes += str(path).endswith(".tmp")
    if str(path).endswith(".tmp") and writes == killed_write:
        return HalfWritten(path, "wb")
    return original(path, *arguments, **options)

builtins.open = open_or_die
runpy.run_path(script, run_name="__main__")
"""


@pytest.fixture(scope="module")
def whole_runs(tiny_mnist, tmp_path_factory):
    """task -> (folder of a run that nobody disturbed, its seconds), run when first asked for."""
    finished = {}

    def of(task):
        if task not in finished:
            folder = tmp_path_factory.mktemp(task)
            started = time.monotonic()
            run(script_of(task), *command(task, tiny_mnist, folder))
            finished[task] = folder, time.monotonic() - started
        return finished[task]

    return of


def script_of(task):
    return task.removesuffix("_deep")


def command(task, digits, out):
    arguments = [str(digits) if argument == DIGITS else argument for argument in TASKS[task]]
    return ["--out", str(out), "--seed", "5", *arguments]


def killed_at(seconds, task, arguments):
    """Start the script and kill it after so many seconds; whether it was still running."""
    process = subprocess.Popen([sys.executable, ROOT / f"{script_of(task)}.py", *arguments],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    _, errors = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), errors
    return process.returncode != 0


def assert_same_results(actual, expected):
    """Parameters, histories, metrics and pictures are the same bits, and nothing is left over."""
    assert without_times(metrics_of(actual)) == without_times(metrics_of(expected))
    assert files_below(actual) == files_below(expected)
    pictures = list(expected.glob("*.png"))
    assert pictures
    for path in pictures:
        assert (actual / path.name).read_bytes() == path.read_bytes(), path.name
    for path in (expected / "checkpoints").iterdir():
        state, arrays = read_checkpoint(actual / "checkpoints" / path.name)
        expected_state, expected_arrays = read_checkpoint(path)
        for either in (state, expected_state):
            del either["seconds"], either["seconds_history"]
        assert json.dumps(state) == json.dumps(expected_state)
        assert arrays.keys() == expected_arrays.keys()
        for name, array in arrays.items():
            assert array.dtype == expected_arrays[name].dtype
            np.testing.assert_array_equal(array, expected_arrays[name], strict=True)


def files_below(folder):
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def assert_whole(folder):
    """Whatever bears the name of a finished file is one, at any moment."""
    for path in (folder / "checkpoints").glob("*.npz"):
        read_checkpoint(path)
    if (folder / "metrics.json").exists():
        metrics_of(folder)
    for path in folder.glob("*.png"):
        assert path.read_bytes().endswith(b"IEND\xaeB`\x82")


def kill_and_resume(task, digits, whole_run, out, kills, seed):
    """Kill the script `kills` times at random moments, resuming each time; returns how many hit.

    A run that ends before its moment is compared and begun again, so that all moments are met.
    """
    expected, seconds = whole_run
    rng = np.random.default_rng(seed)
    hits, number = 0, 0
    arguments = command(task, digits, out / str(number))
    while hits < kills:
        hit = killed_at(rng.uniform(0.2, 1.0) * seconds, task, [*arguments, "--resume"])
        hits += hit
        assert_whole(out / str(number)) if hit else \
            assert_same_results(out / str(number), expected)
        if not hit:
            number += 1
            arguments = command(task, digits, out / str(number))
    run(script_of(task), *arguments, "--resume")
    assert_same_results(out / str(number), expected)
    return hits


def test_killed_at_random_moments(tiny_mnist, whole_runs, tmp_path):
    def kill_twice(task):
        return kill_and_resume(task, tiny_mnist, whole_runs(task), tmp_path / task,
                               kills=2, seed=0)

    assert at_once(*(functools.partial(kill_twice, task) for task in TASKS)) == [2] * len(TASKS)


@pytest.mark.slow
@every_task
def test_killed_at_fifty_random_moments(task, tiny_mnist, whole_runs, tmp_path, capsys):
    """Each a killed run of its own, resumed and compared."""
    expected, seconds = whole_runs(task)
    rng = np.random.default_rng(1)
    kills = identical = 0
    while kills < 50:
        out = tmp_path / str(kills)
        arguments = command(task, tiny_mnist, out)
        if not killed_at(rng.uniform(0.1, 1.0) * seconds, task, arguments):
            continue
        kills += 1
        if out.exists():
            assert_whole(out)
        run(script_of(task), *arguments, "--resume")
        assert_same_results(out, expected)
        identical += 1
    with capsys.disabled():
        print(f"\n{task}: {kills} kills, {identical} identical")


def writes_to_be_killed():
    """One of each script, the first or one that replaces a checkpoint; with --slow all."""
    for task, always in zip(TASKS, (1, 3, 3, 2)):
        for number in range(1, 9):
            marks = () if number == always else pytest.mark.slow
            yield pytest.param(task, number, marks=marks)


@pytest.mark.parametrize("task, killed_write", list(writes_to_be_killed()))
def test_killed_while_writing_a_file(task, killed_write, tiny_mnist, whole_runs, tmp_path):
    """Half of a checkpoint or picture is on disk when the process dies."""
    expected, _ = whole_runs(task)
    arguments = command(task, tiny_mnist, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_WRITING, ROOT / f"{script_of(task)}.py",
         str(killed_write), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len([path for path in files_below(tmp_path) if path.suffix == ".tmp"]) == 1
    assert_whole(tmp_path)
    run(script_of(task), *arguments, "--resume")
    assert_same_results(tmp_path, expected)


@every_task
def test_what_a_kill_left_behind_is_cleaned_up_by_a_fresh_start(
        task, tiny_mnist, whole_runs, tmp_path):
    expected, _ = whole_runs(task)
    (tmp_path / "checkpoints").mkdir()
    own = f"checkpoints/{CHECKPOINT[task]}"
    for name in (own, f"{own}.tmp", "metrics.json.tmp", "learning_curves.png.tmp", "metrics.json"):
        (tmp_path / name).write_bytes(b"half of")
    run(script_of(task), *command(task, tiny_mnist, tmp_path))
    assert_same_results(tmp_path, expected)
