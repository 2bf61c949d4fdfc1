"""What the scripts share: progress, flags in words, hints that can be typed, pictures of quick runs."""
import argparse
import os
import re
import sys

import numpy as np
import pytest

import experiment
from experiment import Progress
from fc_net import TwoLayerNet
from solver import Solver


class Stream(list):
    def __init__(self, terminal):
        self.terminal = terminal

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.append(text)

    def flush(self):
        return None


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands until it is told to move: clock.now += 1."""
    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(experiment, "time", clock)
    return clock


# ---------------------------------------------------------------- progress

def test_progress_is_one_line_per_epoch_in_a_file():
    stream = Stream(terminal=False)
    progress = Progress(20, label="run", stream=stream)
    for epoch in range(2):
        for _ in range(10):
            progress.step("step")
        progress.line(f"epoch {epoch + 1}")
    lines = "".join(stream).splitlines()
    assert len(lines) == 2 and lines[0].startswith("run  epoch 1") and "left" in lines[0]
    assert "left" not in lines[1]


def test_progress_rewrites_one_line_on_a_terminal():
    stream = Stream(terminal=True)
    progress = Progress(2, stream=stream)
    progress.step("step 1")
    progress.step("step 2")                    # too soon after the first to be shown
    progress.line("epoch 1")
    text = "".join(stream)
    assert text.count("\n") == 1 and text.count("\r") == 2 and "step 2" not in text


def test_the_time_left_is_that_of_the_steps_so_far(clock):
    stream = Stream(terminal=False)
    progress = Progress(100, steps_done=40, stream=stream)
    for _ in range(10):
        clock.now += 2
        progress.step("")
    progress.line("half")
    assert "".join(stream).strip() == "half  1:40 left"


def test_a_line_that_does_not_fit_the_terminal_is_cut(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    stream = Stream(terminal=True)
    Progress(2, stream=stream).step("x" * 50)
    assert "".join(stream) == "\r" + "x" * 19 + "\033[K"


def test_a_line_that_stays_is_whole(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    stream = Stream(terminal=True)
    Progress(1, stream=stream).line("x" * 50)
    assert "x" * 50 in "".join(stream)


def test_the_longest_running_line_fits_a_terminal(monkeypatch, clock):
    monkeypatch.setenv("COLUMNS", "80")
    stream = Stream(terminal=True)
    progress = Progress(300, label="[7/8] 1024 units", stream=stream)
    clock.now += 1                              # 299 steps are left, of a second each
    progress.step("epoch 15/15  loss 0.0633  train 98.76%  val 97.65%")
    assert re.search(r"\d:\d\d left\033", "".join(stream))


def small_training(weight_scale=None):
    rng = np.random.default_rng(0)
    data = {f"X_{part}": rng.standard_normal((20, 6)) for part in ("train", "val")}
    data |= {f"y_{part}": data[f"X_{part}"][:, :3].argmax(1) for part in ("train", "val")}
    return Solver(TwoLayerNet(6, 5, 3, weight_scale, rng=1), data, num_epochs=3, batch_size=10,
                  optim_config={"learning_rate": 0.1})


def test_the_line_of_each_epoch_stays_or_of_the_last_alone(capsys):
    experiment.train(small_training(), "run")
    lines = capsys.readouterr().out.splitlines()
    assert [line[:14] for line in lines] == [f"run  epoch {n}/3" for n in (1, 2, 3)]
    assert all(line.count("%") == 2 and "  val " in line for line in lines)
    experiment.train(small_training(), every_epoch=False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 and lines[0].startswith("epoch 3/3  loss ")


@pytest.mark.parametrize("terminal", [False, True])
def test_a_training_that_still_guesses_says_so_on_a_line_of_its_own(terminal, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    experiment.train(small_training(weight_scale=1e-3), every_epoch=False)
    lines = capsys.readouterr().out.splitlines()
    guess, = (line for line in lines if "guessing" in line)
    assert guess.startswith("Still guessing (loss 1.1") and guess.endswith("unscaled data?")


def test_a_training_that_stops_leaves_a_whole_line_on_a_terminal(capsys, monkeypatch):
    solver = small_training()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(solver, "check_accuracy", lambda *_: float("nan"))
    with pytest.raises(ArithmeticError):
        experiment.train(solver)
    assert capsys.readouterr().out.endswith("\n")


# ---------------------------------------------------------------- flags and hints

@pytest.mark.parametrize("kind, text, message", [
    ("positive_integer", "two", "expects a whole number of at least 1, got 'two'"),
    ("positive_integers", "16,32", "expects whole numbers separated by spaces, got '16,32'"),
    ("natural_number", "-1", "expects a whole number of at least 0"),
    ("positive_number", "inf", "expects a number above 0, got 'inf'"),
    ("nonnegative_number", "nan", "expects a number of at least 0"),
    ("share", "1", "expects a number from 0 to below 1"), ("folder", "", "expects a folder"),
    ("file_to_write", "no/such/folder/x", "expects a file in a folder that exists")])
def test_a_wrong_flag_is_answered_in_words(kind, text, message):
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(message)):
        getattr(experiment, kind)(text)


def test_a_right_flag_is_a_value(tmp_path):
    assert experiment.positive_integer("3") == 3 and experiment.share("0.5") == 0.5
    assert experiment.file_to_write(str(tmp_path / "x")) == str(tmp_path / "x")


def arguments(*typed):
    parser = experiment.argument_parser("What it does.", script="mine", epochs=9, data_dir_help="")
    return experiment.parse(parser, typed, quick={"epochs": 2})


def test_a_quick_run_has_a_folder_of_its_own():
    assert arguments().out == os.path.join("results", "mine")
    quick = arguments("--quick")
    assert (quick.out, quick.epochs) == (os.path.join("results", "mine_quick"), 2)
    assert arguments("--quick", "--out", "x", "--epochs", "5").out == "x"


def test_a_fresh_run_replaces_the_last_one_in_a_folder_of_any_name(tmp_path, capsys):
    args = arguments("--out", str(tmp_path / "run [1]"))
    old = experiment.checkpoint_path(args, "mine.npz")
    os.makedirs(os.path.dirname(old))
    open(old, "w").close()
    with experiment.results_folder(args, "*.npz"):
        assert not os.path.exists(old)
    assert "Replacing the unfinished run in" in capsys.readouterr().out


def test_the_picture_of_a_quick_run_says_so(tmp_path):
    for quick in ([], ["--quick"]):
        figure = experiment.new_figure(1, 1, "Digits")
        experiment.save_figure(arguments("--out", str(tmp_path), *quick), "x.png", figure)
        assert figure.get_suptitle() == " ".join(["Digits"] + ["(quick run)"] * len(quick))


def texts_of(figure):
    """The texts that a figure shows, by where they are in it."""
    from matplotlib.text import Text
    figure.draw_without_rendering()
    return {text.get_text(): text.get_window_extent() for text in figure.findobj(Text)
            if text.get_visible() and text.get_text()}


def test_the_confusion_matrix_says_what_it_is_and_that_colour_means_errors():
    figure = experiment.confusion_matrix([0, 0, 1, 2, 2, 2], [0, 1, 1, 0, 0, 2], 3, "Confusion")
    axes, bar = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("digit that the network reads", "true digit")
    assert bar.get_ylabel().startswith("errors")
    np.testing.assert_array_equal(axes.images[0].get_array(), [[0, 1, 0], [0, 0, 0], [2, 0, 0]])
    assert axes.images[0].get_clim() == (0, 2)
    assert [text.get_text() for text in axes.texts] == list("110" "010" "201")
    shown = texts_of(experiment.confusion_matrix([0, 1], [0, 1], 2, "No errors"))
    assert {"No errors", "0", "1"} <= shown.keys()


def test_mistakes_are_told_with_their_probabilities_and_how_many_there_are():
    scores = np.log([[0.9, 0.1], [0.25, 0.75], [0.0004, 0.9996]])
    figure = experiment.mistakes(np.zeros((3, 1, 28, 28)), np.array([0, 0, 0]), scores, "Mistakes")
    assert [axes.get_title() for axes in figure.axes] == [
        "read 1: 100.0%\ntrue 0: 0.0%", "read 1: 75.0%\ntrue 0: 25.0%"]
    assert figure.get_suptitle().startswith("Mistakes: 2 of 2\n")
    none = experiment.mistakes(np.zeros((1, 1, 28, 28)), np.array([0]), scores[:1], "Mistakes")
    assert none.get_suptitle() == "Mistakes: none"


def test_the_learning_curves_say_over_what_the_mean_is():
    history = {"loss": np.linspace(2, 1, 80), "train_accuracy": [0.5, 0.6],
               "val_accuracy": [0.4, 0.5]}
    figure = experiment.learning_curves(history, "Learning")
    left, right = figure.axes
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["each mini-batch", "mean of the last 10 (a quarter of an epoch)"]
    np.testing.assert_allclose(left.lines[1].get_ydata()[0], history["loss"][:10].mean())
    assert left.lines[1].get_xdata()[0] == 0.25
    assert [axes.get_xlabel() for axes in (left, right)] == ["epoch", "epoch"]
    figure.draw_without_rendering()
    boxes = [part.get_window_extent() for part in (*figure.legends, left, right)]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_the_pictures_need_no_eye_for_red_and_green():
    """Right and wrong, training and validation differ in the eyes of who sees no red, too."""
    from matplotlib.colors import to_rgb
    # Brettel's and Viénot's simplification: deuteranopes see red and green as their mean.
    seen = {name: (sum(to_rgb(colour)[:2]) / 2, to_rgb(colour)[2])
            for name, colour in experiment.COLOURS.items()}
    for one, other in (("right", "wrong"), ("train", "validation")):
        assert np.linalg.norm(np.subtract(seen[one], seen[other])) > 0.3


def test_a_hint_names_python_as_it_is_typed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    assert experiment.python() == os.path.join(".venv", "bin", "python")
    monkeypatch.setattr(sys, "executable", "/opt/elsewhere/bin/python3")
    assert experiment.python() == "/opt/elsewhere/bin/python3"
    # What Windows says of another drive.
    monkeypatch.setattr(os.path, "relpath", lambda path: int("path is on another mount"))
    assert experiment.python() == "/opt/elsewhere/bin/python3"


def test_what_is_said_has_lines_of_at_most_100_characters(capsys):
    experiment.say("word " * 50 + "http://" + "x" * 200)
    lines = capsys.readouterr().out.splitlines()
    assert [len(line) <= 100 for line in lines] == [True, True, True, False]


@pytest.mark.parametrize("error", [
    experiment.UserError("word " * 50 + "a/long/path/" * 10), MemoryError("1 TB " * 40)])
def test_an_error_is_told_whole_in_lines_of_at_most_100_characters(error, capsys):
    def fails():
        raise error

    with pytest.raises(SystemExit) as stopped:
        experiment.run(fails)
    told = capsys.readouterr().err
    assert stopped.value.code == 2 and told.startswith("error: ")
    assert " ".join(str(error).split()) in " ".join(told.split())
    assert all(len(line) <= 100 or " " not in line for line in told.splitlines())


def test_a_long_wrong_flag_is_told_in_lines_of_at_most_100_characters(capsys):
    with pytest.raises(SystemExit):
        arguments("--epochs", "12 or thirteen " * 10)
    assert all(len(line) <= 100 for line in capsys.readouterr().err.splitlines())
