"""TwoLayerNet and FullyConnectedNet against PyTorch's autograd and against their own contracts."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fc_net import FullyConnectedNet, TwoLayerNet
from solver import Solver


def twin_loss(params, X, y, reg):
    """(scores, loss, grads) of the same network in PyTorch."""
    p = {name: torch.tensor(value, requires_grad=True) for name, value in params.items()}
    hidden = torch.relu(torch.tensor(X).flatten(1) @ p["W1"] + p["b1"])
    scores = hidden @ p["W2"] + p["b2"]
    loss = F.cross_entropy(scores, torch.tensor(y))
    loss = loss + 0.5 * reg * ((p["W1"] ** 2).sum() + (p["W2"] ** 2).sum())
    loss.backward()
    return scores.detach().numpy(), loss.item(), {name: v.grad.numpy() for name, v in p.items()}


@pytest.mark.parametrize("reg", [0, 0.3])
@pytest.mark.parametrize("shape", [(5, 12), (1, 12), (7, 1, 3, 4)])
def test_matches_torch(shape, reg):
    rng = np.random.default_rng(0)
    model = TwoLayerNet(12, 9, 4, reg=reg, dtype=np.float64, rng=1)
    model.params["b1"] = rng.standard_normal(9)
    X, y = rng.standard_normal(shape), rng.integers(0, 4, shape[0])
    scores, expected_loss, expected = twin_loss(model.params, X, y, reg)
    np.testing.assert_allclose(model.loss(X), scores, atol=1e-12)
    loss, grads = model.loss(X, y)
    assert loss == pytest.approx(expected_loss, abs=1e-12)
    assert grads.keys() == model.params.keys()
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, expected[name], atol=1e-12)


def test_float32_stays_float32_and_nothing_is_changed():
    model = TwoLayerNet(6, 5, 3, reg=0.1, rng=0)
    before = {name: value.copy() for name, value in model.params.items()}
    X = np.random.default_rng(1).standard_normal((4, 6))
    loss, grads = model.loss(X, np.array([0, 1, 2, 0]))
    assert model.loss(X).dtype == np.float32 and loss.dtype == np.float32
    for name, grad in grads.items():
        assert grad.dtype == np.float32
        np.testing.assert_array_equal(model.params[name], before[name])


def test_the_seed_decides_the_weights():
    a, b, c = (TwoLayerNet(rng=seed).params["W1"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()
    assert a.std() == pytest.approx(np.sqrt(2 / 784), rel=0.02)
    assert TwoLayerNet(weight_scale=1e-3, rng=0).params["W1"].std() == pytest.approx(1e-3, rel=0.02)


@pytest.mark.parametrize("call, message", [
    (lambda: TwoLayerNet(hidden_dim=0), "hidden_dim expects a positive integer, got 0"),
    (lambda: TwoLayerNet(input_dim=2.5), "input_dim expects a positive integer"),
    (lambda: TwoLayerNet(6, 5, 3, reg=-1), "reg expects a number of at least 0"),
    (lambda: TwoLayerNet(6, 5, 3).loss(np.ones((2, 7))), r"X expects shape \(N, D...\) with D = 6"),
    (lambda: TwoLayerNet(6, 5, 3).loss(np.ones((2, 6)), [0, 3]), "y expects 0 to 2, got 3"),
])
def test_wrong_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---------------------------------------------------------------- any number of layers

NORMALIZATIONS = None, "batchnorm", "layernorm"
every_normalization = pytest.mark.parametrize("normalization", NORMALIZATIONS)


def deep_net(hidden_dims=(9, 8, 7), **options):
    """A network whose biases, gammas and betas are not those it begins with."""
    model = FullyConnectedNet(hidden_dims, 12, 4, **{"dtype": np.float64, "rng": 1} | options)
    rng = np.random.default_rng(2)
    for name, value in model.params.items():
        if not name.startswith("W"):
            model.params[name] = value + 0.3 * rng.standard_normal(value.shape).astype(value.dtype)
    return model


def batch(N=6, shape=(12,)):
    rng = np.random.default_rng(3)
    return rng.standard_normal((N, *shape)), rng.integers(0, 4, N)


def deep_twin(model, params, X, training):
    """The scores of the same network in PyTorch, without dropout."""
    x = torch.tensor(X).flatten(1)
    for i in range(1, model.num_layers + 1):
        x = x @ params[f"W{i}"] + params[f"b{i}"]
        if i == model.num_layers:
            return x
        if model.normalization == "batchnorm":
            running = [torch.tensor(model.state[f"running_{name}{i}"]) for name in ("mean", "var")]
            x = F.batch_norm(x, *running, params[f"gamma{i}"], params[f"beta{i}"], training)
        elif model.normalization == "layernorm":
            x = F.layer_norm(x, x.shape[1:], params[f"gamma{i}"], params[f"beta{i}"])
        x = torch.relu(x)


@every_normalization
@pytest.mark.parametrize("hidden_dims, shape, reg", [
    ((9, 8, 7), (12,), 0), ((9, 8, 7), (12,), 0.3), ([5], (3, 4), 0.1), ([], (12,), 0.2)])
def test_a_deep_net_matches_torch(normalization, hidden_dims, shape, reg):
    model = deep_net(hidden_dims, normalization=normalization, reg=reg)
    X, y = batch(shape=shape)
    params = {name: torch.tensor(value, requires_grad=True)
              for name, value in model.params.items()}
    np.testing.assert_allclose(
        model.loss(X), deep_twin(model, params, X, training=False).detach(), atol=1e-12)
    expected_loss = F.cross_entropy(deep_twin(model, params, X, training=True), torch.tensor(y))
    expected_loss = expected_loss + 0.5 * reg * sum(
        (value ** 2).sum() for name, value in params.items() if name.startswith("W"))
    expected_loss.backward()
    loss, grads = model.loss(X, y)
    assert loss == pytest.approx(expected_loss.item(), abs=1e-12)
    assert grads.keys() == model.params.keys()
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, params[name].grad, atol=1e-10, err_msg=name)


@every_normalization
@pytest.mark.parametrize("keep", [1, 0.6])
def test_gradients_match_differences(normalization, keep):
    model = deep_net(normalization=normalization, dropout_keep_ratio=keep, seed=5, reg=0.1)
    X, y = batch()
    _, grads = model.loss(X, y)
    rng = np.random.default_rng(4)
    for name, value in model.params.items():
        direction = rng.standard_normal(value.shape)
        losses = []
        for sign in (1, -1):
            model.params[name] = value + sign * 1e-6 * direction
            losses.append(model.loss(X, y)[0])
        model.params[name] = value
        slope = (losses[0] - losses[1]) / 2e-6
        assert slope == pytest.approx(np.vdot(grads[name], direction), abs=1e-7), name


def test_keys_are_those_of_the_course():
    shapes = {name: value.shape for name, value in
              FullyConnectedNet([20, 30], 15, 10, normalization="batchnorm").params.items()}
    assert shapes == {"W1": (15, 20), "b1": (20,), "gamma1": (20,), "beta1": (20,),
                      "W2": (20, 30), "b2": (30,), "gamma2": (30,), "beta2": (30,),
                      "W3": (30, 10), "b3": (10,)}


def test_running_values_come_from_training_and_are_used_after_it():
    model = deep_net(normalization="batchnorm")
    X, y = batch()
    before, inputs = dict(model.state), X @ model.params["W1"] + model.params["b1"]
    assert list(before) == [f"running_{name}{i}" for i in (1, 2, 3) for name in ("mean", "var")]
    model.loss(X)
    assert all(model.state[name] is value for name, value in before.items())
    model.loss(X, y)
    np.testing.assert_allclose(model.state["running_mean1"], 0.1 * inputs.mean(0), rtol=1e-12)
    np.testing.assert_allclose(model.state["running_var1"], 0.9 + 0.1 * inputs.var(0), rtol=1e-12)
    np.testing.assert_array_equal(before["running_mean1"], 0)       # the old arrays are untouched
    # In test mode a sample's scores do not depend on its companions.
    np.testing.assert_allclose(model.loss(X[:1]), model.loss(X)[:1], rtol=1e-12)
    for normalization in (None, "layernorm"):
        assert deep_net(normalization=normalization).state == {}


def test_dropout_is_for_training_and_draws_from_the_generator():
    X, y = batch()
    whole = deep_net()
    model, again, seeded = (deep_net(dropout_keep_ratio=0.5, **more)
                            for more in ({}, {}, {"seed": 3}))
    np.testing.assert_array_equal(model.loss(X), whole.loss(X))
    losses = [model.loss(X, y)[0] for _ in range(3)]
    assert len(set(losses)) == 3 and whole.loss(X, y)[0] not in losses
    assert [again.loss(X, y)[0] for _ in range(3)] == losses
    assert len({seeded.loss(X, y)[0] for _ in range(3)}) == 1


@every_normalization
def test_a_deep_net_keeps_float32_and_changes_nothing(normalization):
    model = deep_net(normalization=normalization, dropout_keep_ratio=0.9, reg=0.1, dtype=np.float32)
    before = {name: value.copy() for name, value in model.params.items()}
    X, y = batch()
    loss, grads = model.loss(X, y)
    assert model.loss(X).dtype == np.float32 and loss.dtype == np.float32
    assert {value.dtype for value in (*grads.values(), *model.state.values())} == \
        {np.dtype(np.float32)}
    for name, value in before.items():
        np.testing.assert_array_equal(model.params[name], value)


def test_batch_normalisation_forgives_weights_that_are_too_small():
    """Five layers: the gradient of the first is lost in four small factors, or not."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 12)).astype(np.float32)
    y = X[:, :4].argmax(axis=1)
    losses = {}
    for normalization in NORMALIZATIONS:
        model = FullyConnectedNet([20] * 4, 12, 4, normalization=normalization, weight_scale=1e-3,
                                  rng=1)
        solver = Solver(model, {"X_train": X, "y_train": y, "X_val": X, "y_val": y},
                        update_rule="sgd_momentum", optim_config={"learning_rate": 0.1},
                        batch_size=20, num_epochs=20)
        solver.train()
        losses[normalization] = np.mean(solver.loss_history[-10:])
    assert losses[None] > 1.3 and max(losses["batchnorm"], losses["layernorm"]) < 1


@pytest.mark.parametrize("call, message", [
    (lambda: FullyConnectedNet(100), "hidden_dims expects a list of positive integers, got 100"),
    (lambda: FullyConnectedNet([5, 0]), r"hidden_dims\[1\] expects a positive integer, got 0"),
    (lambda: FullyConnectedNet([5], num_classes=2.5), "num_classes expects a positive integer"),
    (lambda: FullyConnectedNet([5], dropout_keep_ratio=0), "more than 0 and at most 1, got 0"),
    (lambda: FullyConnectedNet([5], dropout_keep_ratio=1.5), "more than 0 and at most 1, got 1.5"),
    (lambda: FullyConnectedNet([5], normalization="batch"), "'layernorm', got 'batch'"),
    (lambda: FullyConnectedNet([5], reg=-1), "reg expects a number of at least 0"),
    (lambda: FullyConnectedNet([5], 6).loss(np.ones((2, 7))), "X expects shape .* with D = 6"),
])
def test_wrong_input_of_a_deep_net_is_named(call, message):
    with pytest.raises(ValueError, match=f"FullyConnectedNet: .*{message}"):
        call()
