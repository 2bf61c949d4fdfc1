"""TwoLayerNet against PyTorch's autograd and against its own contract."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fc_net import TwoLayerNet


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
