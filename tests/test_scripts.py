"""The digit scripts as a user runs them: flags, files, errors, resuming. On data drawn by the tests."""
import gzip
import importlib
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import cnn_train
import mnist_train
from fc_net import TwoLayerNet

ROOT = pathlib.Path(__file__).resolve().parent.parent
PICTURES = {
    "mnist_train": {"hidden_sizes.png", "learning_curves.png", "first_layer.png",
                    "confusion_matrix.png", "mistakes.png"},
    "cnn_train": {"learning_curves.png", "filters.png", "feature_maps.png",
                  "confusion_matrix.png", "mistakes.png"},
}
SMALL = {
    "mnist_train": ["--hidden-sizes", "3", "5", "--epochs", "2", "--batch-size", "20",
                    "--learning-rate", "0.1"],
    "cnn_train": ["--num-filters", "4", "--hidden-dim", "20", "--epochs", "2", "--batch-size", "10"],
}
both_scripts = pytest.mark.parametrize("script", PICTURES)


def run(script, *arguments, expect=0, **options):
    """The finished process of a script; its exit code must be as expected.

    If that is 2, stderr is the error message without its line breaks.
    """
    done = subprocess.run([sys.executable, ROOT / f"{script}.py", *map(str, arguments)],
                          capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == expect, done.stdout + done.stderr
    if expect == 2:
        done.stderr = message(done.stderr)
    return done


def message(errors):
    """The only message on standard error as one line; its lines have at most 100 characters."""
    assert errors.startswith(("error: ", "usage: ")) and "Traceback" not in errors, errors
    assert errors.count("error: ") == 1, errors
    assert all(len(line) <= 100 or " " not in line for line in errors.splitlines()), errors
    return " ".join(errors.split())


def at_once(*jobs):
    """The results of functions that wait for processes, run side by side."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda job: job(), jobs))


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


@pytest.fixture(scope="module")
def small_runs(tiny_mnist, tmp_path_factory):
    """script -> (finished process, its folder) of a small run, made when first asked for."""
    made = {}

    def of(script):
        if script not in made:
            folder = tmp_path_factory.mktemp(script)
            made[script] = run(script, "--data-dir", tiny_mnist, *SMALL[script],
                               "--out", folder), folder
        return made[script]

    return of


@pytest.fixture
def finished(small_runs, tmp_path):
    """script -> tmp_path, which then holds the results of a small run."""
    return lambda script: shutil.copytree(small_runs(script)[1], tmp_path, dirs_exist_ok=True)


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


def without_times(metrics):
    metrics.pop("seconds")
    metrics.pop("seconds_to", None)
    for row in metrics.get("sizes", []):
        row.pop("seconds")
    return metrics


@both_scripts
def test_real_data_from_a_folder(script, small_runs):
    done, folder = small_runs(script)
    assert PICTURES[script] <= set(os.listdir(folder))
    assert all((folder / name).stat().st_size > 5000 for name in PICTURES[script])
    metrics = metrics_of(folder)
    assert metrics["data"] == "real" and metrics["seed"] == 0
    assert {"config", "history", "seconds", "test_accuracy", "val_accuracy"} <= metrics.keys()
    assert [share for share, seconds in metrics["seconds_to"].items() if seconds is not None] == \
        [share for share in metrics["seconds_to"]
         if float(share[:-1]) / 100 <= metrics["val_accuracy"]]
    assert [metrics[f"num_{part}"] for part in ("train", "val", "test")] == [600, 5000, 300]
    assert metrics["environment"]["cores"] == os.cpu_count()
    if sys.platform == "linux" and os.uname().machine == "x86_64":
        assert metrics["environment"]["processor"] in pathlib.Path("/proc/cpuinfo").read_text()
        assert metrics["environment"]["processor"]
    assert metrics["environment"]["numpy"] == np.__version__
    assert "torch" not in metrics["environment"]
    assert metrics["test_accuracy"] > 0.5
    assert f"{metrics['test_accuracy']:.2%} of the test set of MNIST" in done.stdout
    assert "SYNTHETIC" not in done.stdout and done.stderr == ""
    assert ("The loss on the screen includes the L2 penalty" in done.stdout) == \
        (metrics["config"]["reg"] > 0)
    assert "Replacing" not in done.stdout
    assert all(len(line) <= 100 for line in done.stdout.splitlines())
    if script == "mnist_train":
        assert [row["hidden_size"] for row in metrics["sizes"]] == [3, 5]
        assert [line[:5] for line in done.stdout.splitlines() if "epoch" in line] == \
            ["[1/3]", "[2/3]", "[3/3]"]
        assert metrics["best_hidden_size"] in (3, 5)


@pytest.mark.long
def test_quick_on_drawn_digits_says_so_and_has_a_folder_of_its_own(tmp_path):
    for script in PICTURES:
        before = os.times()
        done = run(script, "--quick", "--data", "synthetic", cwd=tmp_path,
                   env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"})
        # 20 seconds are promised. Only computing counts: a busy machine fails nobody.
        assert os.times().children_user - before.children_user < 20
        assert "*** SYNTHETIC DATA" in done.stdout
        assert "test set of drawn digits" in done.stdout
        assert done.stdout.splitlines()[-1].startswith("These were drawn digits")
        assert all(len(line) <= 100 for line in done.stdout.splitlines())
        assert len(done.stdout.splitlines()) <= 40
        metrics = metrics_of(tmp_path / "results" / f"{script}_quick")
        assert metrics["data"] == "synthetic"
        assert metrics["test_accuracy"] > 0.8
    assert len(os.listdir(tmp_path / "results")) == 2


@pytest.mark.parametrize("script", [*PICTURES, "image_captioning", "transfer_learning"])
def test_a_quick_run_never_replaces_the_whole_one(script):
    if script == "transfer_learning":
        pytest.importorskip("torchvision")
    arguments = importlib.import_module(script).arguments
    assert arguments([]).out == os.path.join("results", script)
    more = [["--overfit", "9"]] if script == "image_captioning" else []
    for flags in ([], ["--resume"], *more):
        assert arguments(["--quick", *flags]).out == os.path.join("results", f"{script}_quick")


def started(script, *arguments):
    """A running script whose first checkpoint is there."""
    process = subprocess.Popen([sys.executable, ROOT / f"{script}.py", *map(str, arguments)],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    checkpoints = pathlib.Path(arguments[arguments.index("--out") + 1]) / "checkpoints"
    while not list(checkpoints.glob("*.npz")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    return process


@pytest.mark.long
@both_scripts
def test_the_same_seed_gives_the_same_and_resume_equals_never_stopping(
        script, tiny_mnist, tmp_path):
    # Enough epochs for the signal to come before the last one, however slow the machine.
    options = ["--data-dir", tiny_mnist, *SMALL[script], "--seed", 3, "--epochs", 8]

    def stop_and_resume():
        stopped = started(script, *options, "--out", tmp_path / "stopped")
        stopped.send_signal(signal.SIGINT)
        _, errors = stopped.communicate(timeout=60)
        assert stopped.returncode == 130 and "Traceback" not in errors
        assert not (tmp_path / "stopped" / "metrics.json").exists()
        # The command that it prints does go on.
        command = shlex.split(errors.partition("Go on with: ")[2])
        assert command[-1] == "--resume"
        subprocess.run(command, check=True, capture_output=True, timeout=120)

    at_once(lambda: run(script, *options, "--out", tmp_path / "whole"), stop_and_resume)
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
@pytest.mark.parametrize("arguments, expected", [
    (["--data-dir", "no/such/folder"], "no/such/folder"),
    (["--epochs", "two"], "argument --epochs: expects a whole number of at least 1, got 'two'"),
    (["--data", "synthetic", "--quick", "--init", "no/such/file"],
     "there is no checkpoint no/such/file"),
    (["--learning-rate", "-1"], "--learning-rate"),
    (["--data", "synthetic", "--data-dir", "x"], "--data-dir is for real data"),
    (["--no-such-flag"], "--no-such-flag"),
])
def test_wrong_use_is_one_message_and_exit_code_2(script, arguments, expected, tmp_path):
    done = run(script, *arguments, "--out", tmp_path, expect=2)
    assert expected in done.stderr
    assert not list(tmp_path.iterdir())


@both_scripts
def test_a_damaged_checkpoint_and_a_diverging_run_are_one_line(script, tiny_mnist, tmp_path):
    options = ["--data-dir", tiny_mnist, *SMALL[script], "--out", tmp_path]
    done = run(script, *options, "--learning-rate", "1e30", expect=2)
    assert "try a learning rate ten times smaller than 1e+30" in done.stderr
    assert not re.search(r"\d{20}", done.stdout + done.stderr)
    checkpoints = tmp_path / "checkpoints"
    name = {"mnist_train": "hidden_3.npz", "cnn_train": "cnn.npz"}[script]
    (checkpoints / name).write_bytes(b"not a checkpoint")
    done = run(script, *options, "--resume", expect=2)
    assert name in done.stderr and "Delete it" in done.stderr


@both_scripts
def test_a_results_folder_that_cannot_be_made_is_one_line(script, tiny_mnist, tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = run(script, "--data-dir", tiny_mnist, "--out", tmp_path / "file" / "out", expect=2)
    assert "the results folder cannot be used: " in done.stderr and "file" in done.stderr


def test_hidden_sizes_with_commas_are_answered_in_words(tmp_path):
    done = run("mnist_train", "--hidden-sizes", "16,32", "--out", tmp_path, expect=2)
    assert "expects whole numbers separated by spaces, got '16,32'" in done.stderr


# ---------------------------------------------------------------- the deep network

def test_each_network_has_its_own_defaults():
    small, deep, chosen = (cnn_train.arguments(flags.split()) for flags in (
        "", "--model deep", "--model deep --epochs 7 --shift 0"))
    assert (small.model, small.epochs, small.num_filters, small.shift, small.shares) == \
        ("small", 3, 32, 0, 2)
    assert deep.shares == 1 and deep.shift > 0
    assert (chosen.epochs, chosen.shift, chosen.learning_rate) == (7, 0, deep.learning_rate)
    assert not any(isinstance(value, cnn_train.ByModel) for value in vars(deep).values())


def test_the_deep_network_on_real_data(tiny_mnist, tmp_path):
    # Not shifted: here a shift makes one digit of another.
    done = run("cnn_train", "--model", "deep", "--shift", 0, "--num-filters", 4, "--hidden-dim", 20,
               "--epochs", 2, "--batch-size", 10, "--data-dir", tiny_mnist, "--out", tmp_path)
    assert PICTURES["cnn_train"] <= set(os.listdir(tmp_path))
    metrics = metrics_of(tmp_path)
    assert metrics["config"]["model"] == "deep" and metrics["test_accuracy"] > 0.5
    assert f"{metrics['test_accuracy']:.2%} of the test set of MNIST" in done.stdout
    assert done.stderr == ""
    done = run("cnn_train", "--data-dir", tiny_mnist, "--out", tmp_path, "--resume", expect=2)
    assert "of another training (model: deep then, small now)" in done.stderr


@pytest.mark.parametrize("flags, expected", [
    (["--shares", 2], "shares expects 1 for a model with batch normalisation"),
    (["--filter-size", 4], "filter_size expects an odd number"), (["--shift", -1], "--shift")])
def test_what_the_deep_network_cannot_do_is_one_line(flags, expected, tiny_mnist, tmp_path):
    done = run("cnn_train", "--model", "deep", *flags, "--data-dir", tiny_mnist, "--out",
               tmp_path / "new", expect=2)
    assert expected in done.stderr and not (tmp_path / "new").exists()


def test_shifted_digits_move_whole_and_as_the_mini_batch_decides():
    images = np.random.default_rng(0).random((60, 1, 6, 5))
    shifted = cnn_train.Shifted(images, 2, seed=3)
    assert len(shifted) == 60
    order, more = np.random.default_rng(1).permutation(60), np.random.default_rng(2).permutation(60)
    moves = set()
    for index, image in zip(order, shifted[order]):
        padded = np.pad(images[index, 0], 2)
        found = [(i, j) for i in range(5) for j in range(5)
                 if (padded[i:i + 6, j:j + 5] == image[0]).all()]
        assert len(found) == 1 and image.shape == (1, 6, 5)
        moves |= set(found)
    assert len(moves) > 15                      # of 25
    np.testing.assert_array_equal(shifted[order], shifted[order])
    back, other = np.argsort(order), np.argsort(more)
    assert (shifted[order][back] != shifted[more][other]).any(axis=(1, 2, 3)).mean() > 0.8
    assert (shifted[order] != cnn_train.Shifted(images, 2, seed=4)[order]).any()
    np.testing.assert_array_equal(cnn_train.Shifted(images, 0, seed=3)[order], images[order])


def test_a_filter_that_does_not_fit_is_one_line(tiny_mnist, tmp_path):
    done = run("cnn_train", "--data-dir", tiny_mnist, "--out", tmp_path, "--filter-size", 28,
               expect=2)
    assert "less than 28" in done.stderr


@both_scripts
def test_help_explains_every_flag(script):
    text = run(script, "--help").stdout
    for flag in ("--data", "--data-dir", "--out", "--epochs", "--seed", "--resume", "--init", "--quick"):
        assert flag in text


# ---------------------------------------------------------------- nothing is lost

@both_scripts
@pytest.mark.parametrize("mistake", [["--data-dir", "no/such/folder"], ["--filter-size", "99"]])
def test_a_mistake_does_not_cost_the_finished_run(
        script, mistake, tiny_mnist, finished, tmp_path):
    if script == "mnist_train" and "--filter-size" in mistake:
        mistake = ["--hidden-sizes", "0"]
    finished(script)
    options = ["--data-dir", tiny_mnist, *SMALL[script], "--out", tmp_path]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    run(script, *options, *mistake, expect=2)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.long
def test_a_fresh_run_removes_its_own_files_only(tiny_mnist, tmp_path):
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    for name in ("mine.npz", "hidden_7.npz", "hidden_7.npz.tmp"):
        (checkpoints / name).write_text("x")
    run("mnist_train", "--data-dir", tiny_mnist, *SMALL["mnist_train"], "--out", tmp_path)
    assert {path.name for path in checkpoints.iterdir()} - {"best_3.npz", "best_5.npz"} == \
        {"mine.npz", "hidden_3.npz", "hidden_5.npz"}


def test_a_folder_with_the_results_of_another_script_is_refused(tiny_mnist, finished, tmp_path):
    finished("mnist_train")
    before = (tmp_path / "metrics.json").read_bytes()
    done = run("cnn_train", "--data-dir", tiny_mnist, *SMALL["cnn_train"], "--out", tmp_path,
               expect=2)
    assert "holds the results of mnist_train" in done.stderr
    assert (tmp_path / "metrics.json").read_bytes() == before


@pytest.mark.long
@both_scripts
def test_two_runs_do_not_share_a_folder(script, tiny_mnist, tmp_path):
    options = ["--data-dir", tiny_mnist, *SMALL[script], "--epochs", 1000, "--out", tmp_path]
    first = started(script, *options)
    second = run(script, *options, expect=2)
    assert "in use by another run" in second.stderr
    assert first.poll() is None
    first.kill()                                # who is dead holds nothing
    first.communicate()
    run(script, *options[:-4], "--out", tmp_path)


@pytest.mark.long
@both_scripts
def test_a_run_over_another_says_first_what_it_replaces(script, tiny_mnist, finished, tmp_path):
    finished(script)
    lines = run(script, "--data-dir", tiny_mnist, *SMALL[script], "--out",
                tmp_path).stdout.splitlines()
    replacing = [f"Replacing the finished run in {tmp_path}: its checkpoints, metrics.json and "
                 "pictures." in " ".join(lines[place:place + 2]) for place in range(len(lines))]
    assert sum(replacing) >= 1
    assert replacing.index(True) < [" epoch 2/2 " in f" {line}" for line in lines].index(True)


@pytest.mark.long
@both_scripts
def test_a_training_starts_from_the_parameters_of_another(script, tiny_mnist, finished, tmp_path):
    finished(script)
    name = {"mnist_train": "hidden_5.npz", "cnn_train": "cnn.npz"}[script]
    options = ["--data-dir", tiny_mnist, *SMALL[script], "--learning-rate", 0.001, "--init",
               tmp_path / "checkpoints" / name]
    size = ["--hidden-sizes", 5] if script == "mnist_train" else []
    before = metrics_of(tmp_path)["history"]
    # Over itself, too: the parameters are read before the folder is made ready.
    run(script, *options, *size, "--out", tmp_path)
    after = metrics_of(tmp_path)["history"]
    assert len(after["loss"]) == len(before["loss"]) and after["loss"][0] < 0.8 * before["loss"][0]
    other = ["--hidden-sizes", 5, 7] if script == "mnist_train" else ["--hidden-dim", 21]
    done = run(script, *options, *other, "--out", tmp_path / "new", expect=2)
    assert "is of another network: " in done.stderr
    assert not (tmp_path / "new").exists()


@both_scripts
def test_a_refused_resume_leaves_nothing_behind(script, tiny_mnist, finished, tmp_path):
    finished(script)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = run(script, "--data", "synthetic", "--quick", *SMALL[script], "--out", tmp_path, "--resume",
               expect=2)
    assert "data: MNIST then, drawn digits now" in done.stderr
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.long
def test_a_hidden_size_can_be_added_to_a_finished_run(tiny_mnist, finished, tmp_path):
    finished("mnist_train")
    done = run("mnist_train", "--data-dir", tiny_mnist, *SMALL["mnist_train"], "--out", tmp_path,
               "--hidden-sizes", 3, 5, 40, "--resume")
    assert metrics_of(tmp_path)["best_hidden_size"] == 40
    assert "[3/4] 40 units  epoch" in done.stdout
    assert "[1/4] 3 units  epoch" not in done.stdout and "Replacing" not in done.stdout


@both_scripts
def test_a_finished_run_is_drawn_again_and_keeps_its_metrics(
        script, tiny_mnist, finished, tmp_path):
    finished(script)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for path in tmp_path.glob("*.png"):
        path.unlink()
    done = run(script, "--data-dir", tiny_mnist, *SMALL[script], "--out", tmp_path, "--resume")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert "This run is finished: its pictures are drawn again." in done.stdout
    assert "epoch" not in done.stdout and "Replacing" not in done.stdout
    assert f"\n{metrics_of(tmp_path)['seconds']:.0f} seconds." in done.stdout


def test_the_weights_of_the_first_layer_have_a_key_and_are_counted():
    model = TwoLayerNet(28 * 28, 70, 10, rng=0)
    model.params["W2"][:10] = 0                 # these 10 say nothing
    figure = mnist_train.first_layer_figure(model, "MNIST")
    *pictures, bar = figure.axes
    assert "60 of the 70 hidden units" in figure.get_suptitle() and len(pictures) == 60
    first = pictures[0].images[0].get_array().ravel()
    assert any(np.allclose(first, weights / abs(weights).max())
               for weights in model.params["W1"].T[10:])
    assert "red" in bar.get_xlabel() and "blue" in bar.get_xlabel()


@both_scripts
def test_settings_are_not_mixed(script, tiny_mnist, finished, tmp_path):
    finished(script)
    options = ["--data-dir", tiny_mnist, *SMALL[script], "--out", tmp_path]
    done = run(script, *options, "--reg", 0.5, "--resume", expect=2)
    assert "another training" in done.stderr and "then, 0.5 now" in done.stderr
    done = run(script, *options, "--epochs", 1, "--resume", expect=2)
    assert "epochs of the schedule: 2 then, 1 now" in done.stderr


@pytest.mark.long
@both_scripts
def test_a_finished_run_of_other_data_is_not_taken_for_this_one(
        script, tiny_mnist, finished, tmp_path):
    finished(script)
    same, other = tmp_path / "same digits", tmp_path / "other digits"
    shutil.copytree(tiny_mnist, same)
    shutil.copytree(tiny_mnist, other)
    for part in ("train", "t10k"):
        path = other / f"{part}-images-idx3-ubyte.gz"
        content = bytearray(gzip.decompress(path.read_bytes()))
        content[16:] = bytes(255 - byte for byte in content[16:])
        path.write_bytes(gzip.compress(content, 1))
    options = [*SMALL[script], "--out", tmp_path, "--resume"]
    done = run(script, "--data-dir", other, *options, expect=2)
    assert "of another training (fingerprint of the data: " in done.stderr
    run(script, "--data-dir", tmp_path / "missing", *options, expect=2)
    assert "This run is finished" in run(script, "--data-dir", same, *options).stdout


@pytest.mark.parametrize("name, encoding", [
    ("Zürich 数", "ascii"), pytest.param(b"caf\xe9", "utf-8:strict", marks=pytest.mark.skipif(
        sys.platform != "linux", reason="elsewhere names of files are Unicode"))])
def test_a_folder_that_the_terminal_cannot_spell_is_no_error(name, encoding, tiny_mnist, tmp_path):
    out = os.path.join(os.fsencode(tmp_path), os.fsencode(name))
    done = subprocess.run(
        [sys.executable, ROOT / "cnn_train.py", "--data-dir", tiny_mnist, *SMALL["cnn_train"],
         "--out", out], env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True)
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    assert os.path.exists(os.path.join(out, b"metrics.json"))


def test_a_reader_who_leaves_ends_the_run_quietly(tiny_mnist, tmp_path):
    process = subprocess.Popen(
        [sys.executable, ROOT / "cnn_train.py", "--data-dir", tiny_mnist, *SMALL["cnn_train"],
         "--out", tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait(60) == 1


@pytest.mark.parametrize("script", [*PICTURES, "image_captioning", "transfer_learning"])
@pytest.mark.parametrize("package", ["numpy", "matplotlib"])
def test_a_missing_package_is_one_line(script, package):
    hidden = (f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = [{script!r}]\n"
              "import importlib.util; find = importlib.util.find_spec\n"
              f"importlib.util.find_spec = lambda name: None if name == {package!r} else find(name)\n"
              f"sys.modules[{package!r}] = None\n"
              f"runpy.run_path({str(ROOT / script) + '.py'!r}, run_name='__main__')")
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert re.search(f"error: {package} is missing: .*python.* -m pip install", done.stderr)
    assert done.stderr.count("\n") == 1
