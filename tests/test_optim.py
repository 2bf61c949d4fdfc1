"""Every update rule follows PyTorch's trajectory, changes no argument and refuses wrong values."""
import numpy as np
import pytest
import torch

import optim
from test_layers import assert_error_names

# rule, config, PyTorch's optimiser with the same meaning
RULES = {
    "sgd": (optim.sgd, {"learning_rate": 0.05}, lambda p: torch.optim.SGD(p, lr=0.05)),
    "sgd_momentum": (optim.sgd_momentum, {"learning_rate": 0.02, "momentum": 0.8},
                     lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.8)),
    "nesterov": (optim.sgd_momentum, {"learning_rate": 0.02, "momentum": 0.8, "nesterov": True},
                 lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.8, nesterov=True)),
    "rmsprop": (optim.rmsprop, {"learning_rate": 0.03, "decay_rate": 0.95, "epsilon": 1e-7},
                lambda p: torch.optim.RMSprop(p, lr=0.03, alpha=0.95, eps=1e-7)),
    "adam": (optim.adam, {"learning_rate": 0.04, "beta1": 0.8, "beta2": 0.99, "epsilon": 1e-7},
             lambda p: torch.optim.Adam(p, lr=0.04, betas=(0.8, 0.99), eps=1e-7)),
    "adam with weight decay": (optim.adam, {"learning_rate": 0.04, "weight_decay": 0.1},
                               lambda p: torch.optim.AdamW(p, lr=0.04, weight_decay=0.1)),
}
all_rules = pytest.mark.parametrize("rule, config, twin", RULES.values(), ids=RULES)


def gradient(w):
    """Of a bumpy bowl, so that the trajectory bends; for arrays and tensors alike."""
    return 3 * w + 2 * w ** 3 - 1


@all_rules
def test_trajectory_matches_torch(rule, config, twin):
    w = np.random.default_rng(0).standard_normal((4, 3))
    tensor = torch.tensor(w, requires_grad=True)
    optimiser = twin([tensor])
    for _ in range(100):
        w, config = rule(w, gradient(w), config)
        tensor.grad = gradient(tensor.detach())
        optimiser.step()
        np.testing.assert_allclose(w, tensor.detach().numpy(), rtol=0, atol=1e-10)


@all_rules
def test_nothing_is_changed_and_float32_stays(rule, config, twin):
    rng = np.random.default_rng(1)
    w = rng.standard_normal((4, 3)).astype(np.float32)
    _, config = rule(w, w + 1, {**config, "learning_rate": np.float64(0.1)})
    dw = rng.standard_normal((4, 3)).astype(np.float32)
    kept = {name: np.copy(value) for name, value in config.items()}
    w_before, dw_before = w.copy(), dw.copy()
    first_w, first_config = rule(w, dw, config)
    second_w, second_config = rule(w, dw, config)
    np.testing.assert_array_equal(w, w_before)
    np.testing.assert_array_equal(dw, dw_before)
    np.testing.assert_array_equal(first_w, second_w)
    assert first_w.dtype == np.float32 and not np.shares_memory(first_w, w)
    assert config.keys() == kept.keys() == first_config.keys()
    for name in config:
        np.testing.assert_array_equal(config[name], kept[name])
        np.testing.assert_array_equal(first_config[name], second_config[name])
        if isinstance(first_config[name], np.ndarray):
            assert first_config[name].dtype == np.float32


@all_rules
def test_defaults_reach_the_minimum(rule, config, twin):
    w, config = np.full(3, 4.0), {"learning_rate": 0.02}
    for _ in range(1000):
        w, config = rule(w, 2 * (w - 3), config)
    np.testing.assert_allclose(w, 3, atol=0.05)


def test_a_larger_weight_decay_leaves_smaller_weights():
    sizes = []
    for weight_decay in (0, 0.1, 1):
        w, config = np.ones(5), {"weight_decay": weight_decay, "learning_rate": 0.01}
        for _ in range(50):
            w, config = optim.adam(w, np.zeros(5), config)
        sizes.append(w[0])
    assert 1 == sizes[0] > sizes[1] > sizes[2]
    assert sizes[2] == pytest.approx((1 - 0.01) ** 50)


@all_rules
@pytest.mark.parametrize("wrong, message", [
    ({"learning_rate": -0.1}, "config['learning_rate'] expects a number of at least 0"),
    ({"learning_rate": float("nan")}, "config['learning_rate'] expects a number of at least 0"),
    ({"learning_rate": "fast"}, "config['learning_rate'] expects a number of at least 0"),
    ({"lr": 0.1}, "config knows learning_rate"),
    (["lr"], "config expects a dict, got ['lr']"),
])
def test_wrong_config_is_named(rule, config, twin, wrong, message):
    assert_error_names(rule, (np.ones(3), np.ones(3), wrong), message)


@pytest.mark.parametrize("rule, wrong, message", [
    (optim.sgd_momentum, {"momentum": 1},
     "config['momentum'] expects a number of at least 0 and below 1, got 1"),
    (optim.sgd_momentum, {"velocity": np.ones(4)}, "config['velocity'] expects shape (3,), got (4,)"),
    (optim.rmsprop, {"decay_rate": -0.1}, "config['decay_rate'] expects"),
    (optim.adam, {"beta1": 1.5}, "config['beta1'] expects"),
    (optim.adam, {"epsilon": -1e-8}, "config['epsilon'] expects"),
])
def test_wrong_entries_of_single_rules_are_named(rule, wrong, message):
    assert_error_names(rule, (np.ones(3), np.ones(3), wrong), message)


@all_rules
def test_weights_and_gradient_of_different_shapes_are_refused(rule, config, twin):
    assert_error_names(rule, (np.ones(3), np.ones(1), config), "dw expects shape (3,), got (1,)")
