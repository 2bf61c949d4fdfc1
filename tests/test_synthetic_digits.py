"""The drawn digits: form, seeds, variety, and what makes them look like MNIST."""
import numpy as np
import pytest

from data.synthetic_digits import WRITINGS, draw_digits, load_synthetic_digits
from fc_net import TwoLayerNet
from solver import Solver


def draw(digit, count, seed=0):
    return draw_digits(np.full(count, digit), np.random.default_rng(seed))[:, 0]


def test_it_looks_like_the_mnist_loader_to_its_user():
    data = load_synthetic_digits(0, 30, 20, 10)
    for part, size in (("train", 30), ("val", 20), ("test", 10)):
        X, y = data[f"X_{part}"], data[f"y_{part}"]
        assert X.shape == (size, 1, 28, 28) and X.dtype == np.float32
        assert X.min() == 0 and 0.9 < X.max() <= 1
        assert y.shape == (size,) and y.dtype == np.int64 and set(y) <= set(range(10))


def test_the_seed_decides():
    first, again, other = (load_synthetic_digits(seed, 40, 5, 5) for seed in (3, 3, 4))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert not np.array_equal(first["X_train"], other["X_train"])


def test_the_parts_are_independent_of_each_other():
    few, many = load_synthetic_digits(0, 10, 8, 8), load_synthetic_digits(0, 50, 8, 8)
    np.testing.assert_array_equal(few["X_val"], many["X_val"])
    np.testing.assert_array_equal(few["X_test"], many["X_test"])
    assert not np.array_equal(few["X_val"], few["X_test"])


def test_empty_parts_are_allowed():
    assert load_synthetic_digits(0, 0, 3, 0)["X_train"].shape == (0, 1, 28, 28)


@pytest.mark.parametrize("y", [[10], [-1], [1.5], [[1, 2]]])
def test_labels_are_checked(y):
    with pytest.raises(ValueError, match="draw_digits: y expects"):
        draw_digits(np.array(y), np.random.default_rng(0))


@pytest.mark.parametrize("digit", range(10))
def test_every_digit_has_several_ways_and_no_two_drawings_are_equal(digit):
    assert len(WRITINGS[digit]) >= 3
    pictures = draw(digit, 50).reshape(50, -1)
    assert len(np.unique(pictures, axis=0)) == 50


@pytest.mark.parametrize("digit", range(10))
def test_box_and_centre_of_mass_are_those_of_mnist(digit):
    pictures = draw(digit, 200)
    inked = pictures > 0.5
    longer = np.maximum(_extent(inked.any(axis=2)), _extent(inked.any(axis=1)))
    assert 19.5 < longer.mean() < 20.5
    mass = pictures.sum(axis=(1, 2))
    for axis in (1, 2):
        centre = pictures.sum(axis=axis) @ np.arange(28) / mass
        # The middle of 28 pixels, and up to half a pixel from it; a digit with a heavy end
        # stays in the picture.
        assert 13.7 < centre.mean() < 14.3
        assert np.mean(np.abs(centre - 14) <= 0.5 + 1e-5) > 0.95


def _extent(lines):
    """Pixels from the first inked line to the last, for each picture of (N, 28) booleans."""
    return 28 - lines.argmax(axis=1) - lines[:, ::-1].argmax(axis=1)


def test_nothing_is_cut_off_at_the_border():
    for digit in range(10):
        inked = draw(digit, 200) > 0.5
        longer = np.maximum(_extent(inked.any(axis=2)), _extent(inked.any(axis=1)))
        assert longer.min() >= 18


def test_a_network_learns_to_read_them():
    data = load_synthetic_digits(0, 4000, 500, 1000)
    model = TwoLayerNet(784, 64, rng=0)
    Solver(model, data, update_rule="sgd_momentum", num_epochs=6, lr_decay=0.8, seed=0,
           optim_config={"learning_rate": 0.1, "momentum": 0.9}).train()
    accuracy = np.mean(model.loss(data["X_test"]).argmax(axis=1) == data["y_test"])
    assert 0.8 < accuracy < 1
