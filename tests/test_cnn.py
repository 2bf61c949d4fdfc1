"""The convolutional networks: sizes, gradients, agreement with PyTorch twins, learning."""
import numpy as np
import pytest
import torch
from torch import nn

import cnn_train
from cnn import ConvNet, DeepConvNet
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


def deep_net(**options):
    """A deep network whose biases, gammas and betas are not those it begins with."""
    options = {"input_dim": (2, 9, 8), "num_filters": (3, 4), "hidden_dim": 5, "num_classes": 4,
               "rng": 0, "dtype": np.float64} | options
    model, rng = DeepConvNet(**options), np.random.default_rng(2)
    for name, value in model.params.items():
        if not name.startswith("W"):
            model.params[name] = value + 0.3 * rng.standard_normal(value.shape).astype(value.dtype)
    return model


def deep_twin(model, params, X, training):
    """The scores of the deep network in PyTorch, as it is named: ReLU before pooling."""
    x, last = torch.tensor(X), model.num_convs
    for i in range(1, last + 1):
        x = nn.functional.conv2d(x, params[f"W{i}"], padding=params[f"W{i}"].shape[2] // 2)
        running = [torch.tensor(model.state[f"running_{name}{i}"]) for name in ("mean", "var")]
        x = torch.relu(nn.functional.batch_norm(x, *running, params[f"gamma{i}"],
                                                params[f"beta{i}"], training))
        x = x if i % 2 else nn.functional.max_pool2d(x, 2)
    hidden = torch.relu(x.flatten(1) @ params[f"W{last + 1}"] + params[f"b{last + 1}"])
    return hidden @ params[f"W{last + 2}"] + params[f"b{last + 2}"]


@pytest.mark.parametrize("options, N", [
    ({}, 6), ({"reg": 0.3}, 5), ({"num_filters": [2], "filter_size": 5}, 4),
    ({"num_filters": (2, 3, 2), "filter_size": 1, "hidden_dim": 1}, 3)])
def test_a_deep_net_matches_torch(options, N):
    model = deep_net(**options)
    X, y = batch(N)
    params = {name: torch.tensor(value, requires_grad=True)
              for name, value in model.params.items()}
    np.testing.assert_allclose(
        model.loss(X), deep_twin(model, params, X, training=False).detach(), atol=1e-12)
    expected = nn.functional.cross_entropy(deep_twin(model, params, X, training=True),
                                           torch.tensor(y))
    expected = expected + 0.5 * model.reg * sum(
        (value ** 2).sum() for name, value in params.items() if name.startswith("W"))
    expected.backward()
    loss, grads = model.loss(X, y)
    assert loss == pytest.approx(expected.item(), abs=1e-12)
    assert grads.keys() == model.params.keys()
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, params[name].grad, atol=1e-10, err_msg=name)


def test_the_sizes_of_a_deep_net():
    shapes = {name: value.shape for name, value in DeepConvNet(num_filters=(4, 8)).params.items()}
    assert shapes == {
        "W1": (4, 1, 3, 3), "gamma1": (4,), "beta1": (4,),
        "W2": (4, 4, 3, 3), "gamma2": (4,), "beta2": (4,),
        "W3": (8, 4, 3, 3), "gamma3": (8,), "beta3": (8,),
        "W4": (8, 8, 3, 3), "gamma4": (8,), "beta4": (8,),
        "W5": (8 * 7 * 7, 128), "b5": (128,), "W6": (128, 10), "b6": (10,)}


def test_running_values_come_from_training_and_are_used_after_it():
    model = deep_net()
    X, y = batch()
    before = dict(model.state)
    assert list(before) == [f"running_{name}{i}" for i in (1, 2, 3, 4) for name in ("mean", "var")]
    model.loss(X)
    model.feature_maps(X)
    assert all(model.state[name] is value for name, value in before.items())
    model.loss(X, y)
    maps = nn.functional.conv2d(torch.tensor(X), torch.tensor(model.params["W1"]), padding=1)
    var, mean = (value.numpy() for value in torch.var_mean(maps, (0, 2, 3), correction=0))
    np.testing.assert_allclose(model.state["running_mean1"], 0.1 * mean, rtol=1e-10)
    np.testing.assert_allclose(model.state["running_var1"], 0.9 + 0.1 * var, rtol=1e-10)
    np.testing.assert_allclose(model.loss(X[:1]), model.loss(X)[:1], rtol=1e-10)


@pytest.mark.parametrize("make", [small_net, deep_net])
def test_feature_maps_are_those_of_the_first_filters(make):
    model, (X, _) = make(), batch()
    maps = nn.functional.conv2d(torch.tensor(X), torch.tensor(model.params["W1"]),
                                padding=0 if make is small_net else 1)
    if make is deep_net:
        maps = nn.functional.batch_norm(
            maps, *map(torch.tensor, (model.state["running_mean1"], model.state["running_var1"],
                                      model.params["gamma1"], model.params["beta1"])))
    np.testing.assert_allclose(model.feature_maps(X), torch.relu(maps), atol=1e-12)


@pytest.mark.parametrize("make", [small_net, deep_net])
def test_the_pictures_show_every_filter_beside_its_map_and_what_colours_mean(make):
    model = make(input_dim=(1, 9, 8), num_filters=7 if make is small_net else (7, 2))
    image = np.random.default_rng(3).random((1, 9, 8))
    filters, maps = model.params["W1"][:, 0], model.feature_maps(image[None])[0]
    alone = cnn_train.filters_figure(model, "MNIST")
    beside = cnn_train.feature_maps_figure(model, image, "MNIST")
    for figure in (alone, beside):
        assert figure.get_suptitle().startswith("All 7 filters of the first convolution")
        assert "MNIST" in figure.get_suptitle()
    *squares, bar = alone.axes
    shown = [axes.images[0] for axes in squares]
    np.testing.assert_array_equal([square.get_array() for square in shown], filters)
    assert {square.get_clim() for square in shown} == {(-abs(filters).max(), abs(filters).max())}
    assert "red" in bar.get_xlabel() and "blue" in bar.get_xlabel()
    shown = [axes.images[0] for axes in beside.axes if axes.images]
    np.testing.assert_array_equal(shown[0].get_array(), image[0])
    np.testing.assert_array_equal([square.get_array() for square in shown[1::2]], filters)
    np.testing.assert_array_equal([square.get_array() for square in shown[2::2]], maps)
    assert {square.get_clim() for square in shown[2::2]} == {(0, maps.max())}
    labels = " ".join(axes.get_xlabel() for axes in beside.axes)
    assert "red" in labels and "response after the ReLU" in labels


@pytest.mark.parametrize("make", [small_net, deep_net])
def test_gradients_match_differences(make):
    model = make(reg=0.1)
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


@pytest.mark.parametrize("make", [small_net, deep_net])
def test_scores_have_one_column_per_class_and_nothing_is_changed(make):
    model = make()
    X, y = batch()
    params, images = {k: v.copy() for k, v in model.params.items()}, X.copy()
    assert model.loss(X).shape == (6, 4)
    model.loss(X, y)
    np.testing.assert_array_equal(X, images)
    for name, value in model.params.items():
        np.testing.assert_array_equal(value, params[name])


@pytest.mark.parametrize("make", [small_net, deep_net])
def test_the_dtype_is_that_of_the_parameters(make):
    model = make(dtype=np.float32)
    loss, grads = model.loss(*batch())
    kept = [*grads.values(), *getattr(model, "state", {}).values()]
    assert loss.dtype == np.float32 and {value.dtype for value in kept} == {np.dtype(np.float32)}


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


@pytest.mark.parametrize("options, message", [
    ({"filter_size": 4}, "filter_size expects an odd number, .* got 4"),
    ({"filter_size": 0}, "filter_size expects a positive integer"),
    ({"input_dim": (28, 28)}, r"input_dim expects \(C, H, W\)"),
    ({"num_filters": 3}, "num_filters expects a list of 1 to 3 numbers for images of 9x8"),
    ({"num_filters": []}, "num_filters expects a list of 1 to 3 numbers"),
    ({"num_filters": [1, 1, 1, 1]}, "num_filters expects a list of 1 to 3 numbers"),
    ({"num_filters": [3, 0]}, r"num_filters\[1\] expects a positive integer, got 0"),
    ({"reg": -1}, "reg expects")])
def test_sizes_of_a_deep_net_are_checked(options, message):
    with pytest.raises(ValueError, match=f"DeepConvNet: {message}"):
        deep_net(**options)


@pytest.mark.parametrize("make, name", [(small_net, "ConvNet"), (deep_net, "DeepConvNet")])
@pytest.mark.parametrize("shape", [(6, 2, 9, 9), (6, 144), (6, 1, 9, 8)])
def test_images_are_checked(make, name, shape):
    with pytest.raises(ValueError, match=f"^{name}: X expects (images of )?shape"):
        make().loss(np.zeros(shape))


def test_the_largest_filter_fits():
    assert small_net(filter_size=7).loss(batch()[0]).shape == (6, 4)


@pytest.mark.parametrize("make", [small_net, deep_net])
def test_the_seed_decides_the_weights(make):
    first, again, other = make(rng=3), make(rng=3), make(rng=4)
    np.testing.assert_array_equal(first.params["W1"], again.params["W1"])
    assert not np.array_equal(first.params["W1"], other.params["W1"])


@pytest.mark.parametrize("make, num_filters", [(small_net, 8), (deep_net, (8, 8))])
def test_a_tiny_set_overfits(make, num_filters):
    X, y = batch(20)
    model = make(num_filters=num_filters, hidden_dim=30, dtype=np.float32)
    data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    solver = Solver(model, data, update_rule="adam", optim_config={"learning_rate": 1e-2},
                    num_epochs=30, batch_size=10)
    solver.train()
    assert solver.best_val_acc == 1
    assert solver.loss_history[-1] < 0.05
