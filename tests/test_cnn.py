"""The convolutional network: sizes, gradients, agreement with a PyTorch twin, learning."""
import numpy as np
import pytest
import torch
from torch import nn

from cnn import ConvNet
from solver import Solver


def small_net(**options):
    options = {"input_dim": (2, 9, 8), "num_filters": 3, "filter_size": 4, "hidden_dim": 5,
               "num_classes": 4, "rng": 0, "dtype": np.float64} | options
    return ConvNet(**options)


def batch(N=6, shape=(2, 9, 8), num_classes=4):
    rng = np.random.default_rng(1)
    return rng.standard_normal((N, *shape)), rng.integers(0, num_classes, N)


def test_defaults_are_the_courses():
    shapes = {name: value.shape for name, value in ConvNet().params.items()}
    assert shapes == {"W1": (32, 1, 7, 7), "W2": (32 * 11 * 11, 100), "b2": (100,),
                      "W3": (100, 10), "b3": (10,)}
    assert {value.dtype for value in ConvNet().params.values()} == {np.dtype(np.float32)}


def torch_loss(model, X, y):
    """(loss, gradients) of the network as it is named: ReLU before pooling."""
    params = {name: torch.tensor(value, requires_grad=True)
              for name, value in model.params.items()}
    maps = nn.functional.max_pool2d(torch.relu(nn.functional.conv2d(
        torch.tensor(X), params["W1"])), 2)
    hidden = torch.relu(maps.flatten(1) @ params["W2"] + params["b2"])
    scores = hidden @ params["W3"] + params["b3"]
    loss = nn.functional.cross_entropy(scores, torch.tensor(y))
    loss = loss + 0.5 * model.reg * sum((params[name] ** 2).sum() for name in ("W1", "W2", "W3"))
    loss.backward()
    return loss.item(), {name: value.grad.numpy() for name, value in params.items()}


@pytest.mark.parametrize("options, N", [
    ({}, 6), ({}, 1), ({"reg": 0.3}, 5), ({"input_dim": (1, 7, 10), "filter_size": 2}, 4),
    ({"input_dim": (3, 6, 6), "filter_size": 5, "num_filters": 1, "hidden_dim": 1}, 3)])
def test_loss_and_gradients_match_torch(options, N):
    model = small_net(**options)
    X, y = batch(N, model.input_dim)
    loss, grads = model.loss(X, y)
    expected_loss, expected = torch_loss(model, X, y)
    assert loss == pytest.approx(expected_loss, abs=1e-12)
    assert list(grads) == list(model.params)
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, expected[name], atol=1e-10)


def test_gradients_match_differences():
    model = small_net(reg=0.1)
    X, y = batch()
    _, grads = model.loss(X, y)
    rng = np.random.default_rng(2)
    for name, value in model.params.items():
        for _ in range(5):
            direction = rng.standard_normal(value.shape)
            losses = []
            for sign in (1, -1):
                model.params[name] = value + sign * 1e-6 * direction
                losses.append(model.loss(X, y)[0])
            model.params[name] = value
            slope = (losses[0] - losses[1]) / 2e-6
            assert slope == pytest.approx(np.vdot(grads[name], direction), abs=1e-7)


def test_scores_have_one_column_per_class_and_nothing_is_changed():
    model = small_net()
    X, y = batch()
    params, images = {k: v.copy() for k, v in model.params.items()}, X.copy()
    assert model.loss(X).shape == (6, 4)
    model.loss(X, y)
    np.testing.assert_array_equal(X, images)
    for name, value in model.params.items():
        np.testing.assert_array_equal(value, params[name])


def test_the_dtype_is_that_of_the_parameters():
    loss, grads = small_net(dtype=np.float32).loss(*batch())
    assert loss.dtype == np.float32 and {g.dtype for g in grads.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("options, message", [
    ({"filter_size": 8}, r"filter_size expects less than 8 for images of 9x8"),
    ({"filter_size": 0}, "filter_size expects a positive integer"),
    ({"input_dim": (28, 28)}, r"input_dim expects \(C, H, W\)"),
    ({"input_dim": (1, 28.0, 28)}, "H expects a positive integer"),
    ({"num_filters": True}, "num_filters expects a positive integer"),
    ({"reg": -1}, "reg expects")])
def test_sizes_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        small_net(**options)


@pytest.mark.parametrize("shape", [(6, 2, 9, 9), (6, 144), (6, 1, 9, 8)])
def test_images_are_checked(shape):
    with pytest.raises(ValueError, match="ConvNet: X expects (images of )?shape"):
        small_net().loss(np.zeros(shape))


def test_the_largest_filter_fits():
    assert small_net(filter_size=7).loss(batch()[0]).shape == (6, 4)


def test_the_seed_decides_the_weights():
    first, again, other = small_net(rng=3), small_net(rng=3), small_net(rng=4)
    np.testing.assert_array_equal(first.params["W1"], again.params["W1"])
    assert not np.array_equal(first.params["W1"], other.params["W1"])


def test_a_tiny_set_overfits():
    X, y = batch(20)
    model = small_net(num_filters=8, hidden_dim=30, dtype=np.float32)
    data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    solver = Solver(model, data, update_rule="adam", optim_config={"learning_rate": 1e-2},
                    num_epochs=30, batch_size=10)
    solver.train()
    assert solver.best_val_acc == 1
    assert solver.loss_history[-1] < 0.05
