"""The drawn scenes, their captions and their features."""
import re

import numpy as np
import pytest

from data.coco import decode_captions
from data import synthetic_scenes
from data.synthetic_scenes import (ATTRIBUTES, CELL, CELLS, COLOURS, MARGIN, MOST, RADII, SHAPES,
                                   SIZE, UNEVEN, SceneObject, check_caption, draw_scenes,
                                   load_synthetic_scenes, scene_features, true_captions)
from rnn import CaptioningRNN
from solver import Solver

SCENE = (SceneObject("small", "red", "circle", (10.0, 10.0)),
         SceneObject("large", "blue", "square", (12.0, 40.0)))


@pytest.fixture(scope="module")
def data():
    return load_synthetic_scenes(0, 80, 60)


def sentences(data, part):
    """(scene, sentence) of each caption."""
    scenes = [data[f"scenes_{part}"][i] for i in data[f"X_{part}"].pictures]
    return list(zip(scenes, decode_captions(data[f"y_{part}"], data["idx_to_word"])))


def test_the_form_is_that_of_coco(data):
    V = len(data["idx_to_word"])
    assert data["word_to_idx"] == {word: i for i, word in enumerate(data["idx_to_word"])}
    assert data["folder"] is None
    for part, I in (("train", 80), ("val", 60)):
        X, y = data[f"X_{part}"], data[f"y_{part}"]
        D = MOST * (len(COLOURS) + len(RADII) + len(SHAPES) + CELLS ** 2)
        assert X.features.shape == (I, D) and X.features.dtype == np.float32
        assert X.pictures.dtype == np.int64 and set(X.pictures) == set(range(I))
        assert y.shape == (len(X), 14) and y.dtype == np.int64 and 0 <= y.min() <= y.max() < V
        words = [[data["idx_to_word"][i] for i in row] for row in y]
        for row in words:
            end = row.index("<END>")
            assert row[0] == "<START>" and set(row[end + 1:]) <= {"<NULL>"}
            assert "<UNK>" not in row
        assert len(data[f"urls_{part}"]) == len(data[f"scenes_{part}"]) == I
        assert data[f"pictures_{part}"].shape == (I, SIZE, SIZE, 3)
        assert data[f"pictures_{part}"].dtype == np.uint8


def test_scenes_are_varied(data):
    things = [thing for scene in data["scenes_train"] for thing in scene]
    assert {len(scene) for scene in data["scenes_train"]} == {1, 2, 3}
    for name, values in ATTRIBUTES.items():
        assert {getattr(thing, name) for thing in things} == set(values)
    assert len({picture.tobytes() for picture in data["pictures_train"]}) == 80


def test_a_seed_gives_the_same_and_another_something_else(data):
    again, other = (load_synthetic_scenes(seed, 80, 60) for seed in (0, 1))
    for part in ("train", "val"):
        np.testing.assert_array_equal(again[f"y_{part}"], data[f"y_{part}"])
        np.testing.assert_array_equal(again[f"pictures_{part}"], data[f"pictures_{part}"])
        assert again[f"scenes_{part}"] == data[f"scenes_{part}"]
        assert other[f"scenes_{part}"] != data[f"scenes_{part}"]


def test_the_parts_are_independent(data):
    fewer = load_synthetic_scenes(0, 5, 60)
    np.testing.assert_array_equal(fewer["y_val"], data["y_val"])
    np.testing.assert_array_equal(fewer["pictures_val"], data["pictures_val"])
    assert not set(data["scenes_train"]) & set(data["scenes_val"])


# ---------------------------------------------------------------- captions

def test_every_caption_is_true(data):
    for scene, sentence in sentences(data, "train") + sentences(data, "val"):
        check = check_caption(scene, sentence)
        assert check.true and check.right == check.total and check.total["shape"] >= 1, sentence


def test_captions_of_other_scenes_are_hardly_ever_true(data):
    pairs = sentences(data, "train")
    true = [check_caption(scene, sentence).true
            for (scene, _), (_, sentence) in zip(pairs, pairs[100:])]
    assert len(true) > 50 and np.mean(true) < 0.05


def test_relations_are_never_a_matter_of_taste(data):
    for scene in data["scenes_train"]:
        for first in scene:
            for second in scene:
                for axis in (0, 1):
                    distance = abs(first.centre[axis] - second.centre[axis])
                    assert abs(distance - MARGIN) > 3


@pytest.mark.parametrize("sentence", [
    "a small red circle", "there is a large blue square",
    "a small red circle above a large blue square",
    "there is a small red circle above a large blue square"])
def test_true_sentences(sentence):
    check = check_caption(SCENE, sentence)
    assert check.true and check.right == check.total


@pytest.mark.parametrize("sentence, size, colour, shape", [
    ("a large red circle", (0, 1), (1, 1), (1, 1)),
    ("a small green circle", (1, 1), (0, 1), (1, 1)),
    ("a small red triangle", (1, 1), (1, 1), (0, 1)),
    ("a large blue square above a small red circle", (2, 2), (2, 2), (2, 2)),
    ("a small red circle left of a large blue square", (2, 2), (2, 2), (2, 2)),
    ("a small red circle above a small red circle", (2, 2), (2, 2), (2, 2)),
    ("a small red circle above a large green square", (2, 2), (1, 2), (2, 2)),
    ("a small red circle above", (1, 1), (1, 1), (1, 1)),
    ("red circle", (0, 0), (0, 1), (0, 1)),
    ("above above small", (0, 1), (0, 0), (0, 0)),
    ("a dog", (0, 0), (0, 0), (0, 0)),
    ("", (0, 0), (0, 0), (0, 0))])
def test_what_is_wrong_is_counted(sentence, size, colour, shape):
    check = check_caption(SCENE, sentence)
    assert not check.true
    counts = {name: (check.right[name], check.total[name]) for name in ATTRIBUTES}
    assert counts == {"size": size, "colour": colour, "shape": shape}


def test_twins_are_not_mentioned_in_relations():
    twin = SceneObject("small", "red", "circle", (40.0, 10.0))
    assert true_captions((SCENE[0], twin)) == []
    assert all(not re.search("red circle", text) for text in true_captions((*SCENE, twin)))


# ---------------------------------------------------------------- pictures and features

def test_features_come_from_the_pixels(data):
    features, pictures = data["X_val"].features, data["pictures_val"]
    np.testing.assert_allclose(scene_features(pictures[::-1].copy())[::-1], features, atol=1e-4)
    blank = np.full((1, SIZE, SIZE, 3), 220, np.uint8)
    assert not scene_features(blank).any()


def test_features_name_what_is_drawn(data):
    names = [*COLOURS, *RADII, *SHAPES, (0, 0), (0, 1), (1, 0), (1, 1)]
    right = []
    for seen, scene in zip(data["X_val"].features.reshape(60, -1, MOST), data["scenes_val"]):
        found = [[names[i] for i in np.flatnonzero(one)] for one in seen.T if one.any()]
        places = {(int(thing.centre[1] // CELL), int(thing.centre[0] // CELL)): thing
                  for thing in scene}
        right.append(found == [[thing.colour, thing.size, thing.shape, place]
                               for place, thing in sorted(places.items())])
    assert np.mean(right) > 0.95


def test_validation_is_of_scenes_that_training_has_not_seen():
    """By their features, with scenes of each number of shapes in both parts."""
    data = load_synthetic_scenes(3, 600, 150)
    seen = {row.tobytes() for row in data["X_train"].features}
    assert not seen & {row.tobytes() for row in data["X_val"].features}
    for part in ("train", "val"):
        counts = np.bincount([len(scene) for scene in data[f"scenes_{part}"]]) / len(
            data[f"scenes_{part}"])
        assert (counts[1:] > 0.1).all()


def test_no_shape_is_cut_off_at_the_edge(data):
    for scene in data["scenes_train"]:
        for thing in scene:
            radius = RADII[thing.size] * (1 + UNEVEN)
            middle = SceneObject(thing.size, thing.colour, thing.shape, (SIZE / 2, SIZE / 2))
            areas = [synthetic_scenes._cover(one.shape, radius, one.centre).sum()
                     for one in (thing, middle)]
            assert areas[0] == pytest.approx(areas[1], rel=0.02)


def test_a_shape_is_drawn_in_its_place_size_and_colour():
    # The area of a circle and of a square; a shape's own radius differs by up to 7 %.
    for thing, area in zip(SCENE, (np.pi * RADII["small"] ** 2, (1.78 * RADII["large"]) ** 2)):
        picture = draw_scenes([(thing,)], np.random.default_rng(0))[0] / 255
        assert 0.75 < np.median(picture) < 1, "the ground is light"
        inside = np.linalg.norm(picture - COLOURS[thing.colour], axis=-1) < 0.3
        rows, columns = np.nonzero(inside)
        assert columns.mean() + 0.5 == pytest.approx(thing.centre[0], abs=0.5)
        assert rows.mean() + 0.5 == pytest.approx(thing.centre[1], abs=0.5)
        assert inside.sum() == pytest.approx(area, rel=0.25)


# ---------------------------------------------------------------- learning

def test_a_network_learns_more_than_the_grammar(data):
    """After 40 passes over 80 scenes many of their captions are true; a blind network's are not."""
    model = CaptioningRNN(data["word_to_idx"], data["X_train"].shape[1], 32, 128, rng=0)

    def metric(model, X, y):
        loss, count = model.total_loss(X, y)
        return -loss, count

    # Learning by heart: 80 scenes are too few for others, whose loss would pick the parameters.
    known = data | {"X_val": data["X_train"], "y_val": data["y_train"]}
    Solver(model, known, update_rule="adam", optim_config={"learning_rate": 3e-3},
           batch_size=25, num_epochs=40, metric=metric).train()

    def share_true(features):
        written = decode_captions(model.sample(features, 13), data["idx_to_word"])
        return np.mean([check_caption(scene, text).true
                        for scene, text in zip(data["scenes_train"], written)])

    features = data["X_train"].features
    # Without features all captions are one sentence, which is true of a few scenes.
    assert share_true(features) > max(0.9, share_true(np.zeros_like(features)) + 0.5)
