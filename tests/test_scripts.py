"""The digit scripts as a user runs them: flags, files, errors, resuming. On data drawn by the tests."""
import gzip
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PICTURES = {
    "mnist_train": {"hidden_sizes.png", "learning_curves.png", "first_layer.png",
                    "confusion_matrix.png", "mistakes.png"},
    "cnn_train": {"learning_curves.png", "filters.png", "feature_maps.png",
                  "confusion_matrix.png", "mistakes.png"},
}
SMALL = {
    "mnist_train": ["--hidden-sizes", "3", "5", "--epochs", "2"],
    "cnn_train": ["--num-filters", "4", "--hidden-dim", "20", "--epochs", "2", "--batch-size", "10"],
}
both_scripts = pytest.mark.parametrize("script", PICTURES)


def run(script, *arguments, expect=0, **options):
    """The finished process of a script; its exit code must be as expected."""
    done = subprocess.run([sys.executable, ROOT / f"{script}.py", *map(str, arguments)],
                          capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def idx(array):
    """An array as the content of an IDX file."""
    head = bytes([0, 0, 8, array.ndim])
    return head + np.array(array.shape, dtype=">u4").tobytes() + array.tobytes()


@pytest.fixture(scope="module")
def tiny_mnist(tmp_path_factory):
    """A folder in MNIST's layout: a bright bar at a height that tells the digit."""
    folder = tmp_path_factory.mktemp("mnist")
    rng = np.random.default_rng(0)
    for part, count in (("train", 5600), ("t10k", 300)):
        labels = rng.integers(0, 10, count).astype(np.uint8)
        images = rng.integers(0, 100, (count, 28, 28)).astype(np.uint8)
        for image, label in zip(images, labels):
            image[2 * label + 4:2 * label + 6, 4:24] = 255
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx(array), 1))
    return folder


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def without_times(metrics):
    metrics.pop("seconds")
    for row in metrics.get("sizes", []):
        row.pop("seconds")
    return metrics


@both_scripts
def test_real_data_from_a_folder(script, tiny_mnist, tmp_path):
    done = run(script, "--data-dir", tiny_mnist, "--out", tmp_path, *SMALL[script])
    assert PICTURES[script] <= set(os.listdir(tmp_path))
    assert all((tmp_path / name).stat().st_size > 5000 for name in PICTURES[script])
    metrics = metrics_of(tmp_path)
    assert metrics["data"] == "real" and metrics["seed"] == 0
    assert {"config", "history", "seconds", "test_accuracy", "val_accuracy"} <= metrics.keys()
    assert [metrics[f"num_{part}"] for part in ("train", "val", "test")] == [600, 5000, 300]
    assert metrics["environment"]["cores"] == os.cpu_count()
    assert metrics["environment"]["numpy"] == np.__version__
    assert "torch" not in metrics["environment"]
    assert metrics["test_accuracy"] > 0.5
    assert f"{metrics['test_accuracy']:.2%} of the test set of MNIST" in done.stdout
    assert "SYNTHETIC" not in done.stdout and done.stderr == ""
    if script == "mnist_train":
        assert [row["hidden_size"] for row in metrics["sizes"]] == [3, 5]
        assert metrics["best_hidden_size"] in (3, 5)


@both_scripts
def test_quick_on_drawn_digits_says_so(script, tmp_path):
    started = time.monotonic()
    done = run(script, "--quick", "--data", "synthetic", "--out", tmp_path)
    assert time.monotonic() - started < 60
    assert "*** SYNTHETIC DATA" in done.stdout and "test set of synthetic digits" in done.stdout
    metrics = metrics_of(tmp_path)
    assert metrics["data"] == "synthetic"
    assert metrics["test_accuracy"] > 0.8


@both_scripts
def test_the_same_seed_gives_the_same_and_resume_equals_never_stopping(
        script, tiny_mnist, tmp_path):
    # Enough epochs for the signal to come before the last one, however slow the machine.
    options = ["--data-dir", tiny_mnist, *SMALL[script], "--seed", 3, "--epochs", 8]
    run(script, *options, "--out", tmp_path / "whole")
    stopped = subprocess.Popen(
        [sys.executable, ROOT / f"{script}.py", *map(str, options), "--out", tmp_path / "stopped"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "epoch 1/8" not in stopped.stdout.readline():
        assert stopped.poll() is None
    stopped.send_signal(signal.SIGINT)
    _, errors = stopped.communicate(timeout=60)
    assert stopped.returncode == 130 and "Traceback" not in errors
    assert "Go on with: python" in errors and errors.strip().endswith("--resume")
    assert not (tmp_path / "stopped" / "metrics.json").exists()
    run(script, *options, "--out", tmp_path / "stopped", "--resume")
    whole, resumed = (metrics_of(tmp_path / name) for name in ("whole", "stopped"))
    assert without_times(whole) == without_times(resumed)
    for name in PICTURES[script]:
        assert (tmp_path / "whole" / name).read_bytes() == \
            (tmp_path / "stopped" / name).read_bytes()
    again = run(script, *options, "--out", tmp_path / "stopped", "--resume")
    assert "This run is finished" in again.stdout


@both_scripts
def test_resume_without_a_checkpoint_starts_afresh_and_says_so(script, tiny_mnist, tmp_path):
    done = run(script, "--data-dir", tiny_mnist, "--out", tmp_path, *SMALL[script], "--resume")
    assert "starting afresh" in done.stdout


@both_scripts
@pytest.mark.parametrize("arguments, message", [
    (["--data-dir", "no/such/folder"], "no/such/folder"),
    (["--epochs", "0"], "--epochs"),
    (["--learning-rate", "-1"], "--learning-rate"),
    (["--data", "synthetic", "--data-dir", "x"], "--data-dir is for real data"),
    (["--no-such-flag"], "--no-such-flag"),
])
def test_wrong_use_is_one_line_and_exit_code_2(script, arguments, message, tmp_path):
    done = run(script, *arguments, "--out", tmp_path, expect=2)
    assert message in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()[-1]) > 20


@both_scripts
def test_a_damaged_checkpoint_and_a_diverging_run_are_one_line(script, tiny_mnist, tmp_path):
    options = ["--data-dir", tiny_mnist, *SMALL[script], "--out", tmp_path]
    done = run(script, *options, "--learning-rate", "1e30", expect=2)
    assert done.stderr.count("\n") == 1 and "try a learning rate" in done.stderr
    checkpoints = tmp_path / "checkpoints"
    name = {"mnist_train": "hidden_3.npz", "cnn_train": "cnn.npz"}[script]
    (checkpoints / name).write_bytes(b"not a checkpoint")
    done = run(script, *options, "--resume", expect=2)
    assert done.stderr.count("\n") == 1 and name in done.stderr and "Delete it" in done.stderr


@both_scripts
def test_a_results_folder_that_cannot_be_made_is_one_line(script, tiny_mnist, tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = run(script, "--data-dir", tiny_mnist, "--out", tmp_path / "file" / "out", expect=2)
    assert done.stderr.count("\n") == 1 and "file" in done.stderr


def test_a_filter_that_does_not_fit_is_one_line(tiny_mnist, tmp_path):
    done = run("cnn_train", "--data-dir", tiny_mnist, "--out", tmp_path, "--filter-size", 28,
               expect=2)
    assert done.stderr.count("\n") == 1 and "1 to 27" in done.stderr


@both_scripts
def test_help_explains_every_flag(script):
    text = run(script, "--help").stdout
    for flag in ("--data", "--data-dir", "--out", "--epochs", "--seed", "--resume", "--quick"):
        assert flag in text
