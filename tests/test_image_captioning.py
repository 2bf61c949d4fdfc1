"""The captioning script: BLEU worked by hand, captions of pictures, the script in use."""
import io
import json
import math
import re
from types import SimpleNamespace

import h5py
import matplotlib.image
import numpy as np
import pytest
from PIL import Image

import image_captioning
from experiment import Progress
from data.synthetic_scenes import load_synthetic_scenes
from image_captioning import bleu, page_of_captions, references_of
from test_coco import VAL, write
from test_scripts import run


# ---------------------------------------------------------------- BLEU

def test_bleu_of_what_a_reference_says():
    assert bleu(["a dog runs on the grass"], [["x", "a dog runs on the grass"]]) == [1.0] * 4


def test_bleu_worked_by_hand():
    """Candidate and references of the same length: no brevity penalty.

    a cat sat on a mat / the cat sat on the mat: words cat, sat, on, mat of 6 are right, the
    pairs cat-sat and sat-on of 5, the triple cat-sat-on of 4, no four words of 3.
    """
    expected = [4 / 6, math.sqrt(4 / 6 * 2 / 5), (4 / 6 * 2 / 5 * 1 / 4) ** (1 / 3), 0]
    assert bleu(["a cat sat on a mat"], [["the cat sat on the mat"]]) == pytest.approx(expected)


def test_bleu_clips_repeated_words():
    """The example of the paper: 'the' is right twice of seven times."""
    references = [["the cat is on the mat", "there is a cat on the mat"]]
    assert bleu(["the the the the the the the"], references)[:2] == pytest.approx([2 / 7, 0])


def test_bleu_penalises_short_captions():
    """3 words right of 3, against the closest reference of 5: exp(1 - 5/3)."""
    references = [["a dog runs very fast", "a dog runs on the green grass"]]
    assert bleu(["a dog runs"], references)[0] == pytest.approx(math.exp(1 - 5 / 3))


def test_bleu_takes_the_shorter_of_two_equally_close_references():
    """4 words: 3 and 5 are as close, the 3 counts, so nothing is penalised."""
    assert bleu(["a b c d"], [["a b c", "a b c d e"]])[0] == pytest.approx(1)


def test_bleu_is_of_the_corpus_and_not_an_average():
    """2 of 2 and 1 of 4 words: 3 of 6."""
    assert bleu(["a b", "c x y z"], [["a b"], ["c d e f"]])[0] == pytest.approx(3 / 6)


def test_bleu_of_nothing_is_zero():
    assert bleu(["", ""], [["a"], ["b"]]) == [0.0] * 4


def test_bleu_needs_as_many_references_as_candidates():
    with pytest.raises(ValueError, match="longer than"):
        bleu(["a"], [["a"], ["b"]])


# ---------------------------------------------------------------- the script

@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """A folder in COCO's layout: the one word of a caption is the largest of 4 features."""
    folder = tmp_path_factory.mktemp("coco")
    rng = np.random.default_rng(0)
    features = {part: rng.standard_normal((count, 4)).astype(np.float32)
                for part, count in (("train", 60), ("val", 20))}
    write(folder, urls=["x"])
    with h5py.File(folder / "coco2014_captions.h5", "w") as file:
        for part, rows in features.items():
            captions = np.zeros((len(rows), 5), np.int32)
            captions[:, 0], captions[:, 1], captions[:, 2] = 1, 3 + rows.argmax(axis=1), 2
            file[f"{part}_captions"] = np.repeat(captions, 2, axis=0)
            file[f"{part}_image_idxs"] = np.repeat(np.arange(len(rows)), 2)
    for part, rows in features.items():
        with h5py.File(folder / f"{part}2014_vgg16_fc7_pca.h5", "w") as file:
            file["features"] = rows
        (folder / f"{part}2014_urls.txt").write_text(
            "".join(f"{part}{i}.png\n" for i in range(len(rows))))
    matplotlib.image.imsave(folder / "val0.png", np.zeros((8, 9, 3)))
    return folder


SMALL = ["--hidden-dim", "16", "--wordvec-dim", "8", "--epochs", "2", "--batch-size", "20"]
PICTURES = {"learning_curves.png", "captions_train.png", "captions_val.png"}


@pytest.mark.long
@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_a_run_leaves_metrics_and_pictures(coco, tmp_path, cell):
    done = run("image_captioning", *SMALL, "--cell", cell, "--data-dir", coco, "--out", tmp_path)
    assert "BLEU-4" in done.stdout and coco.name in done.stdout
    assert len(re.findall(r"^epoch ./2  loss .*  a word \d\.\d+ val \d\.\d+  BLEU( \d+){4}  ",
                          done.stdout, re.MULTILINE)) == 2
    assert {path.name for path in tmp_path.glob("*.png")} == PICTURES
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["data"] == "real" and len(metrics["bleu"]) == len(metrics["bleu_beam"]) == 4
    assert metrics["val_loss_per_word"] == pytest.approx(
        min(metrics["history"]["val_loss_per_word"]))
    assert len(metrics["history"]["loss"]) == 2 * 6
    assert metrics["train_loss"] > 0
    for n in range(1, 5):
        scores = metrics["history"][f"bleu_{n}_of_subset"]
        assert len(scores) == 2 and all(0 <= score <= 1 for score in scores)
    assert metrics["config"]["dropout"] == 0.4      # of photographs; drawn scenes have none
    assert len(metrics["samples"]["val"]) == 8
    assert len(metrics["samples"]["train"][0]["references"]) == 2
    again = run("image_captioning", *SMALL, "--cell", cell, "--data-dir", coco, "--out", tmp_path,
                "--resume")
    assert "This run is finished" in again.stdout
    other = run("image_captioning", *SMALL, "--cell", {"rnn": "lstm", "lstm": "rnn"}[cell],
                "--data-dir", coco, "--out", tmp_path, "--resume")
    assert other.stdout.count("No checkpoint of this training") == 1
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"rnn.npz", "lstm.npz"}


def test_the_longest_line_of_an_epoch_fits_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    solver = SimpleNamespace(train_acc_history=[-2.5], val_acc_history=[-2.5],
                             extra_history={"BLEU": [[0.7, 0.5, 0.3, 0.1]]})
    stream = io.StringIO()
    progress = Progress(600, stream=stream)
    progress.started -= 1                       # 599 steps are left, of a second each
    progress.steps_done = 1
    progress.line(f"epoch 15/15  loss 26.1234  {image_captioning.described(solver)}")
    assert "9:59 left" in stream.getvalue() and len(stream.getvalue().rstrip()) <= 79


def test_defaults_go_with_the_data_unless_they_are_given():
    args = image_captioning.arguments(["--dropout", "0.125"])
    real, drawn = (image_captioning.with_defaults(args, kind) for kind in ("real", "synthetic"))
    assert (real.wordvec_dim, drawn.wordvec_dim) == (256, 128)
    assert real.dropout == drawn.dropout == 0.125
    assert real.feature_dropout > drawn.feature_dropout == 0
    args = image_captioning.arguments(["--cell", "lstm"])
    assert real.epochs > image_captioning.with_defaults(args, "real").epochs
    assert drawn.epochs == image_captioning.with_defaults(args, "synthetic").epochs
    overfit = image_captioning.with_defaults(image_captioning.arguments(["--overfit", "5"]), "real")
    assert overfit.dropout == overfit.feature_dropout == 0


@pytest.mark.parametrize("folder, name", [
    (None, "COCO"), ("x/coco_captioning/", "COCO"), ("coco_captioning_flickr8k", "Flickr8k"),
    ("photos", "photos")])
def test_the_folder_tells_the_name_of_the_data(folder, name):
    args = image_captioning.arguments(["--data-dir", folder] if folder else [])
    assert image_captioning.data_name(args, "real") == name
    assert image_captioning.data_name(args, "synthetic") == "synthetic scenes"


def test_overfitting_brings_the_loss_near_zero(coco, tmp_path):
    run("image_captioning", "--overfit", "20", "--hidden-dim", "64", "--epochs", "50",
        "--data-dir", coco, "--out", tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["history"]["loss"][-1] < 0.1
    # One-word captions, some of them <UNK>: all are written again.
    assert metrics["bleu"][0] == metrics["bleu_beam"][0] == 1


def test_by_heart_are_learned_captions_of_different_pictures(coco):
    X = image_captioning.load_coco(coco)["X_train"]
    assert image_captioning._different(X)[:4].tolist() == [0, 2, 4, 6]
    X.features[1] = X.features[0]
    assert image_captioning._different(X).tolist() == [0, *range(4, 120, 2)]


@pytest.mark.long
def test_overfitting_drawn_scenes_brings_the_loss_near_zero(tmp_path):
    run("image_captioning", "--overfit", "20", "--hidden-dim", "256", "--epochs", "100",
        "--data", "synthetic", "--quick", "--out", tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["history"]["loss"][-1] < 0.1
    assert metrics["captions_true"] == 1


@pytest.mark.long
def test_quick_draws_scenes_offline(tmp_path):
    done = run("image_captioning", "--quick", "--data", "synthetic", "--out", tmp_path)
    assert "*** SYNTHETIC DATA" in done.stdout
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["data"] == "synthetic"
    assert 0 <= metrics["captions_true"] <= 1
    assert set(metrics["words_right"]) == {"size", "colour", "shape"}


@pytest.mark.parametrize("arguments, message", [
    (["--data-dir", "nowhere"], "nowhere does not exist, so it lacks coco2014_captions.h5"),
    (["--data", "real"], "allow the download with --yes"),
    (["--cell", "gru"], "invalid choice: 'gru'"),
    (["--dropout", "1"], "--dropout: expects a number from 0 to below 1"),
    (["--overfit", "0"], "at least 1")])
def test_wrong_use_is_one_line_and_exit_code_2(tmp_path, arguments, message):
    done = run("image_captioning", *arguments, "--out", tmp_path, expect=2, stdin=-3)
    assert message in done.stderr


@pytest.mark.parametrize("answer, agreed", [
    ("y", True), (" Yes ", True), ("", False), ("no", False), (EOFError(), False)])
def test_the_question_before_a_download(monkeypatch, answer, agreed):
    def typed(question):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr("builtins.input", typed)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    assert image_captioning._agrees(image_captioning.arguments([])) is agreed


def test_nobody_is_asked_where_nobody_can_answer(monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
    assert not image_captioning._agrees(image_captioning.arguments([]))
    assert image_captioning._agrees(image_captioning.arguments(["--yes"]))


def test_pictures_that_are_gone_are_empty_frames_with_a_word(coco):
    loaded = image_captioning.load_coco(coco)
    loaded["urls_val"][1] = "http://127.0.0.1:9/none.jpg"
    found, *gone = image_captioning.load_pictures(loaded, "val", range(3))
    assert found.shape[:2] == (8, 9) and gone == [None, None]
    figure = page_of_captions(loaded, "val", np.arange(3), ["a", "b", ""], "title")
    written = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert written == 2 * ["picture not available"] and len(figure.axes[0].images) == 1
    assert [axes.get_title("left") for axes in figure.axes] == ["a", "b", "(no word)"]
    assert all(axes.get_xlabel().count("· ") == 2 for axes in figure.axes)


def test_a_network_that_does_not_answer_costs_five_seconds_a_page(coco, monkeypatch):
    asked = []

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    def hangs(address, timeout):
        asked.append(address)
        clock.now += timeout
        raise TimeoutError

    clock = Clock()
    monkeypatch.setattr(image_captioning, "time", clock)
    monkeypatch.setattr(image_captioning.urllib.request, "urlopen", hangs)
    loaded = image_captioning.load_coco(coco)
    loaded["urls_val"][:6] = ["http://example.invalid/x.jpg"] * 6
    assert image_captioning.load_pictures(loaded, "val", range(6)) == 6 * [None]
    assert len(asked) == 1 and clock.now == 5


def test_texts_of_a_page_stay_in_their_columns(coco):
    loaded = image_captioning.load_coco(coco)
    loaded["idx_to_word"][3:7] = ["woman", "$", "$x^{$", "snowboarding"]
    sentences = ["a man and a woman in warm winter coats are mowing meadows " * 2, "woman " * 17]
    figure = page_of_captions(loaded, "val", np.arange(8), 4 * sentences, "title")
    figure.draw_without_rendering()
    boxes = []
    for axes in figure.axes:
        for text in (axes._left_title, axes.xaxis.label):
            box = text.get_window_extent()
            assert axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
            assert 0 <= box.y0 and box.y1 <= figure.bbox.y1
            boxes.append(box)
    assert len(boxes) == 16
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_of_many_references_some_are_shown_and_the_others_counted():
    shown = image_captioning._some_references([f"a dog runs {n} times" for n in range(5)])
    assert shown.splitlines() == ["· a dog runs 0 times", "· a dog runs 1 times",
                                  "· a dog runs 2 times", "   and 2 more"]
    assert "more" not in image_captioning._some_references(["a dog", "a cat", "a bee"])


def test_captions_of_drawn_scenes_say_whether_they_are_true():
    data = load_synthetic_scenes(0, 20, 20)
    true = references_of(data, "val", np.arange(1))[0][0]
    figure = page_of_captions(data, "val", np.array([0, 0]), [true, "nonsense"], "title")
    right, wrong = (axes._left_title for axes in figure.axes)
    assert " ".join(right.get_text().split()) == f"true: {true}"
    assert wrong.get_text() == "FALSE: nonsense"
    assert right.get_color() != wrong.get_color()


def test_grey_pictures_are_grey(coco, tmp_path):
    loaded = image_captioning.load_coco(coco) | {"folder": tmp_path}
    loaded["urls_val"][0] = "grey.png"
    Image.fromarray(np.full((8, 9), 51, np.uint8)).save(tmp_path / "grey.png")
    image = page_of_captions(loaded, "val", np.arange(1), ["a"], "title").axes[0].images[0]
    np.testing.assert_allclose(image.to_rgba(image.get_array())[0, 0], [0.2, 0.2, 0.2, 1])


def test_a_picture_too_large_to_unpack_is_none(coco, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    loaded = image_captioning.load_coco(coco) | {"folder": tmp_path}
    loaded["urls_val"][0] = "large.jpg"
    Image.new("RGB", (8, 9)).save(tmp_path / "large.jpg")
    assert image_captioning.load_pictures(loaded, "val", [0]) == [None]


def test_references_are_all_captions_of_a_picture(tmp_path):
    loaded = image_captioning.load_coco(write(tmp_path / "coco"))
    assert references_of(loaded, "train", np.array([0, 1])) == [["a dog runs"], ["a dog", "<UNK>"]]
    assert references_of(loaded, "val", np.array([0])) == [["dog runs", "runs"]] and len(VAL) == 2
