"""The drawn insects and shapes."""
import numpy as np
import pytest

from data.synthetic_insects import (INSECTS, SHAPES, Canvas, load_synthetic_insects,
                                    load_synthetic_shapes)

both = pytest.mark.parametrize("load, classes", [(load_synthetic_insects, INSECTS),
                                                 (load_synthetic_shapes, SHAPES)])


@both
def test_shapes_types_and_balance(load, classes):
    data = load(0, 26, 24, side=20)
    assert data["classes"] == classes
    for part, count in (("train", 26), ("val", 24)):
        X, y = data[f"X_{part}"], data[f"y_{part}"]
        assert X.shape == (count, 20, 20, 3) and X.dtype == np.uint8
        assert y.shape == (count,) and y.dtype == np.int64
        counts = np.bincount(y, minlength=len(classes))
        assert counts.max() - counts.min() <= 1 and len(counts) == len(classes)


@both
def test_a_seed_gives_the_same_pictures_and_another_others(load, classes):
    first, again, other = (load(seed, 24, 12, side=16) for seed in (1, 1, 2))
    for name in ("X_train", "y_train", "X_val", "y_val"):
        np.testing.assert_array_equal(first[name], again[name])
    assert (first["X_train"] != other["X_train"]).any()
    np.testing.assert_array_equal(load(1, 24, 20, side=16)["X_train"], first["X_train"])


@both
def test_no_two_pictures_are_alike(load, classes):
    data = load(0, 40, 20, side=16)
    pictures = {picture.tobytes() for part in ("train", "val") for picture in data[f"X_{part}"]}
    assert len(pictures) == 60


def test_colour_alone_does_not_tell_the_insects():
    """The nearest class by mean colour is right hardly more often than by chance."""
    data = load_synthetic_insects(0, 200, 200, side=32)
    colour, val_colour = (data[f"X_{part}"].mean(axis=(1, 2)) for part in ("train", "val"))
    centres = np.stack([colour[data["y_train"] == label].mean(axis=0) for label in (0, 1)])
    guess = np.linalg.norm(val_colour[:, None] - centres, axis=2).argmin(axis=1)
    assert (guess == data["y_val"]).mean() < 0.65


# ---------------------------------------------------------------- the canvas

def painted(canvas):
    """Whether each pixel was painted white."""
    return canvas.pixels[..., 0] > 0.5


def canvas(side=101):
    return Canvas(side, np.zeros((side, side, 3)))


def test_areas_are_those_of_geometry():
    # A picture covers an area of 4; pixels stand for (2 / 100)² each.
    for paint, area in (
            (lambda c: c.ellipse((0.1, -0.2), (0.6, 0.3), (1, 1, 1), 0.5), np.pi * 0.6 * 0.3),
            (lambda c: c.line((-0.4, 0.1), (0.4, 0.3), 0.2, (1, 1, 1)),
             np.hypot(0.8, 0.2) * 0.2 + np.pi * 0.1**2),
            (lambda c: c.polygon(np.array([(0.5, 0), (0, 0.5), (-0.5, 0), (0, -0.5)]), (1, 1, 1)),
             0.5)):
        paper = canvas()
        paint(paper)
        assert painted(paper).sum() * 0.02**2 == pytest.approx(area, rel=0.05)


def test_place_turns_scales_and_moves():
    paper = canvas()
    paper.place((0.5, 0.0), np.pi / 2, 0.5)
    paper.ellipse((0.6, 0), (0.2, 0.2), (1, 1, 1))  # a quarter turn: right is down
    rows, columns = np.nonzero(painted(paper))
    assert columns.mean() == pytest.approx(75, abs=1) and rows.mean() == pytest.approx(65, abs=1)
    assert np.ptp(rows) == pytest.approx(10, abs=2)


def test_stripes_stay_on_what_they_are_painted_on():
    paper = canvas()
    cover = paper.ellipse((0, 0), (0.5, 0.3), (1, 1, 1))
    before = painted(paper)
    paper.stripes(cover, (0, 0), 0, [-0.2, 0.2], 0.1, (0, 0, 0))
    gone = before & ~painted(paper)
    assert 0 < gone.sum() < before.sum() / 2 and not (painted(paper) & ~before).any()
