"""The Solver: whole epochs, histories, the best parameters, checkpoints, interruptions."""
import os
import re
import signal
import threading
import traceback

import numpy as np
import pytest

from checkpoint import CheckpointError
from cnn import ConvNet
from fc_net import FullyConnectedNet, TwoLayerNet
from optim import one_cycle
from solver import DivergedError, Solver


def small_data(num_train=47, num_val=13, seed=0):
    rng = np.random.default_rng(seed)
    return {"X_train": rng.standard_normal((num_train, 6)).astype(np.float32),
            "y_train": rng.integers(0, 3, num_train),
            "X_val": rng.standard_normal((num_val, 6)).astype(np.float32),
            "y_val": rng.integers(0, 3, num_val)}


def best_at_first(model, X, y):
    """A metric that only falls: b2 starts at 0."""
    return -np.abs(model.params["b2"]).sum(), 1


def other_pictures():
    return small_data() | {"X_train": np.ones((47, 6), np.float32)}


def small_solver(data=None, **options):
    options = {"update_rule": "adam", "optim_config": {"learning_rate": 0.01}, "lr_decay": 0.9,
               "batch_size": 10, "num_epochs": 3, "seed": 7, **options}
    return Solver(TwoLayerNet(6, 5, 3, rng=1), data or small_data(), **options)


def norm_solver(model=FullyConnectedNet, **options):
    """A training with batch normalisation, and dropout, which draws random numbers too."""
    options = {"update_rule": "adam", "optim_config": {"learning_rate": 0.01}, "batch_size": 10,
               "num_epochs": 3, "seed": 7, "metric": best_at_first, **options}
    return Solver(model([5], 6, 3, dropout_keep_ratio=0.8, normalization="batchnorm", rng=1),
                  small_data(), **options)


class Recorder:
    """A model that notes which samples it was trained on."""

    def __init__(self):
        self.params = {"w": np.zeros(2)}
        self.seen = []

    def loss(self, X, y=None):
        if y is None:
            return np.eye(30)[np.zeros(len(X), dtype=int)]
        self.seen.append(list(X))
        return 1.0, {"w": np.ones(2)}


def assert_same_training(a, b):
    """Parameters, best parameters, states and histories are equal to the last bit."""
    assert a.best_state.keys() == b.best_state.keys()
    for name in a.best_state:
        np.testing.assert_array_equal(a.model.state[name], b.model.state[name])
        np.testing.assert_array_equal(a.best_state[name], b.best_state[name])
        np.testing.assert_array_equal(a._last_state[name], b._last_state[name])
    for name in a.model.params:
        np.testing.assert_array_equal(a.model.params[name], b.model.params[name])
        np.testing.assert_array_equal(a.best_params[name], b.best_params[name])
        assert a.configs[name].keys() == b.configs[name].keys()
        for key, value in a.configs[name].items():
            np.testing.assert_array_equal(value, b.configs[name][key])
    assert a.loss_history == b.loss_history
    assert a.train_acc_history == b.train_acc_history
    assert a.val_acc_history == b.val_acc_history
    assert a.best_val_acc == b.best_val_acc


# ---------------------------------------------------------------- epochs and histories

def test_an_epoch_shows_every_sample_once_in_another_order():
    model = Recorder()
    data = {"X_train": np.arange(23), "y_train": np.arange(23), "X_val": [0], "y_val": [0]}
    solver = Solver(model, data, batch_size=5, num_epochs=2)
    solver.train()
    assert [len(batch) for batch in model.seen] == [5, 5, 5, 5, 3] * 2
    first, second = sum(model.seen[:5], []), sum(model.seen[5:], [])
    assert sorted(first) == sorted(second) == list(range(23))
    assert first != second != list(range(23))


def test_histories_have_one_entry_per_step_and_per_epoch():
    solver = small_solver(extra_metrics={"norm": lambda model: np.linalg.norm(model.params["W1"])})
    solver.train()
    assert len(solver.loss_history) == 3 * 5
    assert len(solver.train_acc_history) == len(solver.val_acc_history) == 3
    assert len(solver.extra_history["norm"]) == 3
    assert solver.best_val_acc == max(solver.val_acc_history)
    assert solver.check_accuracy(solver.X_val, solver.y_val) == solver.best_val_acc


def test_an_extra_metric_may_be_a_list_and_is_resumed(tmp_path):
    options = {"extra_metrics": {"two": lambda model: [model.params["b2"].sum(), 1]},
               "checkpoint": tmp_path / "run.npz"}
    solver = small_solver(**options)
    solver.train()
    assert np.shape(solver.extra_history["two"]) == (3, 2)
    again = small_solver(**options)
    assert again.resume() and again.extra_history == solver.extra_history


def test_learning_rate_decays_after_each_epoch():
    solver = small_solver(optim_config={"learning_rate": 0.08}, lr_decay=0.5, num_epochs=3)
    solver.train()
    assert all(config["learning_rate"] == 0.01 for config in solver.configs.values())


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    runs = [small_solver(seed=seed) for seed in (7, 7, 8)]
    for solver in runs:
        solver.train()
    assert_same_training(runs[0], runs[1])
    assert runs[0].loss_history != runs[2].loss_history


def test_a_tiny_set_is_learned_by_heart():
    solver = small_solver(small_data(num_train=20), batch_size=5, num_epochs=200, lr_decay=1.0,
                          optim_config={"learning_rate": 0.03})
    solver.train()
    assert solver.train_acc_history[-1] == 1.0
    assert solver.loss_history[-1] < 0.05


def test_best_parameters_are_copies_of_the_best_epoch():
    values = iter([0.2, 0.9, 0.5])
    seen = []

    def metric(model, X, y):
        if len(X) == 13:                      # the validation set
            seen.append(model.params["W1"].copy())
            return next(values) * 13, 13
        return 0, len(X)

    solver = small_solver(metric=metric)
    solver.train()
    assert solver.best_val_acc == pytest.approx(0.9)
    np.testing.assert_array_equal(solver.best_params["W1"], seen[1])
    np.testing.assert_array_equal(solver.model.params["W1"], seen[1])
    solver.model.params["W1"][:] = 0
    np.testing.assert_array_equal(solver.best_params["W1"], seen[1])


def test_a_metric_below_zero_still_finds_a_best():
    solver = small_solver(metric=lambda model, X, y: (-100.0 * len(X), len(X)), num_epochs=1)
    solver.train()
    assert solver.best_val_acc == -100 and solver.best_params is not None


def test_the_metric_weighs_batches_by_their_counts():
    solver = small_solver(eval_batch_size=4, metric=lambda model, X, y: (y.sum(), len(y)))
    y = np.arange(13)
    assert solver.check_accuracy(np.zeros((13, 6)), y) == 6


def test_a_sample_is_measured_once_at_most():
    seen = []
    solver = small_solver(metric=lambda model, X, y: (seen.extend(y) or 0, len(y)))
    solver.check_accuracy(np.zeros((13, 6)), np.arange(13), num_samples=12)
    assert len(set(seen)) == len(seen) == 12


def test_training_may_be_extended():
    long, short = (small_solver(num_epochs=number, metric=best_at_first) for number in (4, 2))
    long.train()
    short.train()
    assert not any(np.array_equal(short._last_params[name], short.best_params[name])
                   for name in short.best_params)
    short.num_epochs = 4
    short.train()
    assert_same_training(long, short)


def test_anything_with_a_length_and_index_arrays_serves_as_data():
    class Captions:
        def __init__(self, rows):
            self.rows = rows

        def __len__(self):
            return len(self.rows)

        def __getitem__(self, indices):
            assert isinstance(indices, np.ndarray)
            return self.rows[indices]

    data = small_data()
    plain, wrapped = small_solver(data), small_solver({k: Captions(v) for k, v in data.items()})
    plain.train()
    wrapped.train()
    assert_same_training(plain, wrapped)


class Pictures:
    """Samples of two parts, in what holds them: a dict, a tuple, dates or objects."""

    def __init__(self, number, hold):
        self.number, self.hold = number, hold

    def __len__(self):
        return self.number

    def __getitem__(self, indices):
        return self.hold(np.stack([indices, indices ** 2], axis=1).astype(np.float32),
                         np.ones((len(indices), 3)))


@pytest.mark.parametrize("hold", [
    lambda a, b: {"features": a, "more": b}, lambda a, b: (a, b)])
def test_samples_of_several_parts_can_be_resumed(tmp_path, hold):
    def solver():
        model = Recorder()
        y = np.arange(9) % 3
        model.loss = lambda X, y=None: np.ones((len(X[0]), 3)) if y is None else (
            1.0, {"w": np.ones(2)})
        return Solver(model, {"X_train": Pictures(9, hold), "y_train": y,
                              "X_val": Pictures(9, hold), "y_val": y}, num_epochs=1,
                      metric=lambda model, X, y: (1, 1), checkpoint=tmp_path / "run.npz")

    solver().train()
    assert solver().resume()


def test_whatever_a_rule_keeps_in_its_config_is_saved(tmp_path):
    def rule(w, dw, config):
        count = config.get("count", np.int64(0)) + np.int64(1)
        return w - config["scale"] * dw, config | {
            "count": count, "mean": np.float32(0.5), "seen": [1, {"a": 2.5}],
            "path": np.ones((2, 2))}

    def solver(**options):
        return small_solver(update_rule=rule, checkpoint=tmp_path / "run.npz", lr_decay=1.0,
                            settings={"reg": np.float32(0.1)}, **options)

    options = {"optim_config": {"scale": np.full(1, 0.01, np.float32)}}
    whole = solver(num_epochs=2, **options)
    whole.train()
    solver(num_epochs=1, **options).train()
    resumed = solver(num_epochs=2, **options)
    assert resumed.resume()
    resumed.train()
    assert_same_training(whole, resumed)
    for key, value in whole.configs["W1"].items():
        assert type(resumed.configs["W1"][key]) is type(value), key


def test_a_rule_that_works_in_place_is_resumed_and_extended_to_the_same(tmp_path):
    def rule(w, dw, config):
        velocity = config.setdefault("velocity", np.zeros_like(w))
        velocity *= 0.9
        velocity -= config["learning_rate"] * dw
        w += velocity
        return w, config

    def solver(number):
        return small_solver(update_rule=rule, num_epochs=number, metric=best_at_first,
                            checkpoint=tmp_path / f"{number}.npz")

    whole, extended = solver(4), solver(2)
    whole.train()
    assert best_at_first(whole.model, None, None) == (whole.best_val_acc, 1)
    assert any((whole._last_params[name] != best).any() for name, best in whole.best_params.items())
    extended.train()
    (tmp_path / "2.npz").rename(tmp_path / "4.npz")
    extended.num_epochs = 4
    extended.train()
    assert_same_training(whole, extended)
    resumed = solver(4)
    assert resumed.resume() and resumed.epoch == 2
    resumed.train()
    assert_same_training(whole, resumed)


@pytest.mark.parametrize("shares", [1, 3])
def test_a_model_that_draws_random_numbers_resumes_to_the_same(shares, tmp_path):
    class Drops(TwoLayerNet):
        """Dropout of the inputs."""
        rng = None

        def loss(self, X, y=None):
            return super().loss(X if y is None else X * (self.rng.random(X.shape) < 0.8), y)

    def solver(number):
        model = Drops(6, 5, 3, rng=1)
        model.rng = np.random.default_rng(5)
        return Solver(model, small_data(), batch_size=10, num_epochs=number,
                      optim_config={"learning_rate": 0.1}, checkpoint=tmp_path / "run.npz",
                      shares=shares)

    whole = solver(4)
    whole.train()
    solver(2).train()
    resumed = solver(4)
    assert resumed.resume() and resumed.epoch == 2
    resumed.train()
    assert_same_training(whole, resumed)


# ---------------------------------------------------------------- batch normalisation

def test_the_best_parameters_come_with_the_state_of_their_epoch():
    one, three = norm_solver(num_epochs=1), norm_solver()
    one.train()
    three.train()
    assert three.val_acc_history[0] == max(three.val_acc_history) == three.best_val_acc
    assert set(three.best_state) == {"running_mean1", "running_var1"}
    for name, value in one.model.state.items():
        np.testing.assert_array_equal(three.best_state[name], value)
        np.testing.assert_array_equal(three.model.state[name], value)
        assert (three._last_state[name] != value).all()
        three.model.state[name][:] = 0
        np.testing.assert_array_equal(three.best_state[name], value)


@pytest.mark.parametrize("stop_after", [1, 5, 7, 12])
def test_running_values_are_resumed(tmp_path, stop_after):
    class Interrupts(FullyConnectedNet):
        calls = 0

        def loss(self, X, y=None):
            if y is not None:
                Interrupts.calls += 1
                if Interrupts.calls == stop_after:
                    signal.raise_signal(signal.SIGINT)
            return super().loss(X, y)

    whole, stopped, resumed = norm_solver(), norm_solver(
        Interrupts, checkpoint=tmp_path / "run.npz"), norm_solver(checkpoint=tmp_path / "run.npz")
    whole.train()
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    assert len(stopped.loss_history) == stop_after
    assert resumed.resume()
    resumed.train()
    assert_same_training(whole, resumed)


def test_running_values_go_on_where_they_were_when_a_training_is_extended(tmp_path):
    whole, short = norm_solver(num_epochs=4), norm_solver(checkpoint=tmp_path / "run.npz")
    resumed = norm_solver(checkpoint=tmp_path / "run.npz", num_epochs=4)
    whole.train()
    short.train()
    short.save_checkpoint()                     # the best ones are in the model by now
    resumed.resume()
    resumed.train()
    assert_same_training(whole, resumed)
    short.num_epochs = 4
    short.train()
    assert_same_training(whole, short)


def test_a_new_training_starts_from_the_running_values_of_the_best(tmp_path):
    first, other = norm_solver(checkpoint=tmp_path / "run.npz"), norm_solver(seed=9)
    first.train()
    other.start_from(tmp_path / "run.npz")
    for name, value in first.best_state.items():
        np.testing.assert_array_equal(other.model.state[name], value)
        assert not np.array_equal(first._last_state[name], value)
    plain = small_solver()
    with pytest.raises(CheckpointError, match=r"gamma1 is \(5,\) there, missing here"):
        plain.start_from(tmp_path / "run.npz")


def test_a_model_whose_loss_keeps_a_state_has_one_share():
    with pytest.raises(ValueError, match="shares expects 1 for a model with batch normalisation, "
                                         ".* got 2"):
        norm_solver(shares=2)


# ---------------------------------------------------------------- shares of a mini-batch

def trained(**options):
    """(a solver after training, in float64 with a penalty, its final parameters)."""
    solver = Solver(TwoLayerNet(6, 5, 3, reg=0.3, rng=1, dtype=np.float64), small_data(),
                    update_rule="sgd_momentum", optim_config={"learning_rate": 0.1},
                    batch_size=10, num_epochs=3, metric=best_at_first, **options)
    solver.train()
    return solver, solver._last_params


@pytest.mark.parametrize("shares", [2, 3, 16])
def test_shares_make_the_same_steps_and_count_the_penalty_once(shares):
    """47 samples in batches of 10: the last one has 7, fewer than 16 shares."""
    (whole, expected), (solver, actual) = trained(), trained(shares=shares)
    np.testing.assert_allclose(solver.loss_history, whole.loss_history, rtol=1e-12)
    assert solver.loss_history != whole.loss_history            # it was cut, and added again
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=1e-10, atol=1e-13)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="cores can be chosen on Linux")
def test_the_same_bits_on_one_core_as_on_all():
    cores = os.sched_getaffinity(0)
    whole, _ = trained(shares=4)
    try:
        os.sched_setaffinity(0, {min(cores)})
        alone, _ = trained(shares=4)
    finally:
        os.sched_setaffinity(0, cores)
    assert_same_training(whole, alone)


class Notes(TwoLayerNet):
    """Calls `note` in the threads that compute gradients."""

    def __init__(self, note):
        super().__init__(6, 5, 3, rng=1)
        self.note = note

    def loss(self, X, y=None):
        if y is not None:
            self.note()
        return super().loss(X, y)


def test_each_share_has_a_thread_and_all_of_them_end():
    both, seen = threading.Barrier(2, timeout=10), set()

    def note():
        both.wait()                     # passes only if two shares are computed at once
        seen.add(threading.current_thread().name)

    before = threading.active_count()
    Solver(Notes(note), small_data(num_train=20), batch_size=10, num_epochs=2, shares=2).train()
    assert len(seen) == 2 and threading.main_thread().name not in seen
    assert threading.active_count() == before


def test_an_exception_in_a_share_comes_with_its_own_traceback():
    def fails():
        raise ZeroDivisionError("in a share")

    with pytest.raises(ZeroDivisionError, match="in a share") as caught:
        Solver(Notes(fails), small_data(), shares=2).train()
    assert "fails" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


def test_ctrl_c_ends_a_step_in_shares(tmp_path):
    asked = []

    def note():
        if not asked:
            asked.append(True)
            signal.raise_signal(signal.SIGINT)

    solver = Solver(Notes(note), small_data(), batch_size=10, shares=2,
                    checkpoint=tmp_path / "run.npz")
    with pytest.raises(KeyboardInterrupt):
        solver.train()
    assert len(solver.loss_history) == 1 and (tmp_path / "run.npz").exists()


def test_overflow_in_a_share_is_reported_by_the_loss_alone(recwarn):
    data = small_data()
    data["X_train"] *= 1e38
    with pytest.raises(DivergedError):
        Solver(TwoLayerNet(6, 5, 3, rng=1), data, shares=2).train()
    assert not recwarn.list


# ---------------------------------------------------------------- schedules

def test_a_schedule_sets_rate_and_momentum_of_every_step():
    seen = []

    def rule(w, dw, config):
        seen.append((config["learning_rate"], config["momentum"]))
        return w, config

    schedule = one_cycle(warm_up=0.4, start=0.1, end=0.0, momentum=0.5)
    solver = small_solver(update_rule=rule, optim_config={"learning_rate": 2.0, "momentum": 0.8},
                          schedule=schedule, lr_decay=0.5, num_epochs=2)
    solver.train()
    of_steps = np.array(seen).reshape(10, 4, 2)[:, 0]           # 5 steps an epoch, 4 parameters
    factors = np.array([schedule(step / 10) for step in range(10)])
    decay = np.repeat([1, 0.5], 5)
    np.testing.assert_allclose(of_steps[:, 0], 2 * factors[:, 0] * decay, rtol=1e-12)
    np.testing.assert_allclose(of_steps[:, 1], 0.8 * factors[:, 1], rtol=1e-12)
    assert [config["learning_rate"] for config in solver.configs.values()] == [0.5] * 4


def test_the_momentum_of_adam_is_its_beta1():
    seen = []

    def rule(w, dw, config):
        seen.append(config["beta1"])
        return w, config

    small_solver(update_rule=rule, optim_config={"learning_rate": 1.0, "beta1": 0.9}, num_epochs=2,
                 schedule=one_cycle(warm_up=0.5, momentum=0.5)).train()
    assert seen[0] == 0.9 and min(seen) == pytest.approx(0.45)


def test_a_schedule_without_a_rate_to_multiply_is_refused():
    with pytest.raises(ValueError, match="optim_config expects the learning_rate"):
        small_solver(optim_config={}, schedule=one_cycle())


# ---------------------------------------------------------------- divergence

def test_divergence_names_the_step_and_leaves_the_best():
    class Explodes(TwoLayerNet):
        calls = 0

        def loss(self, X, y=None):
            result = super().loss(X, y)
            if y is None:
                return result
            self.calls += 1
            return (np.nan if self.calls == 8 else result[0]), result[1]

    solver = Solver(Explodes(6, 5, 3, rng=1), small_data(), batch_size=10, lr_decay=0.1,
                    optim_config={"learning_rate": 0.5})
    with pytest.raises(DivergedError, match=r"nan at step 8 \(epoch 2\): .*than 0.5, smaller"):
        solver.train()
    assert solver.best_params is not None and len(solver.val_acc_history) == 1
    assert len(solver.loss_history) == 7


def test_divergence_at_the_first_step_does_not_name_a_rate_that_is_not_known():
    data = small_data()
    data["X_train"][:] = np.inf
    with pytest.raises(DivergedError, match="ten times smaller, smaller initial weights"):
        small_solver(data, optim_config={}).train()


def test_a_metric_that_is_not_a_number_stops_training():
    with pytest.raises(DivergedError, match="validation metric is nan after epoch 1"):
        small_solver(metric=lambda model, X, y: (np.nan, len(X))).train()


# ---------------------------------------------------------------- checkpoints

@pytest.mark.parametrize("stop_after", [1, 5, 7, 12])
@pytest.mark.parametrize("rule", ["sgd", "sgd_momentum", "rmsprop", "adam"])
@pytest.mark.parametrize("more", [{}, {"shares": 3, "schedule": one_cycle(momentum=0.8)}],
                         ids=["plain", "shares and a schedule"])
def test_resuming_equals_never_stopping(tmp_path, more, rule, stop_after):
    whole = small_solver(update_rule=rule, num_epochs=3, **more)
    whole.train()

    class Interrupts(TwoLayerNet):
        calls = 0

        def loss(self, X, y=None):
            if y is not None:
                Interrupts.calls += 1
                if Interrupts.calls == 1 + (stop_after - 1) * more.get("shares", 1):
                    signal.raise_signal(signal.SIGINT)
            return super().loss(X, y)

    options = {"update_rule": rule, "num_epochs": 3, "checkpoint": tmp_path / "run.npz",
               "optim_config": {"learning_rate": 0.01}, "lr_decay": 0.9, "batch_size": 10,
               "seed": 7, **more}
    stopped = Solver(Interrupts(6, 5, 3, rng=1), small_data(), **options)
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    assert len(stopped.loss_history) == stop_after
    resumed = Solver(TwoLayerNet(6, 5, 3, rng=99), small_data(), **options)
    assert resumed.resume()
    assert len(resumed.loss_history) == stop_after
    resumed.train()
    assert_same_training(whole, resumed)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_finished_run_resumes_to_the_same(tmp_path):
    first = small_solver(checkpoint=tmp_path / "run.npz")
    first.train()
    again = small_solver(checkpoint=tmp_path / "run.npz")
    assert again.resume()
    again.train()
    assert_same_training(first, again)
    longer, whole = small_solver(checkpoint=tmp_path / "run.npz", num_epochs=5), \
        small_solver(num_epochs=5)
    longer.resume()
    longer.train()
    whole.train()
    assert_same_training(longer, whole)


def test_resume_without_a_checkpoint_says_so(tmp_path):
    assert not small_solver(checkpoint=tmp_path / "none.npz").resume()


@pytest.mark.parametrize("change, message", [
    ({"batch_size": 11}, r"\(batch_size: 10 then, 11 now\)"),
    ({"update_rule": "sgd"}, "update_rule: adam then, sgd now"),
    ({"seed": 8}, "seed: 7 then, 8 now"),
    ({"optim_config": {"learning_rate": 0.02}}, "optim_config learning_rate: 0.01 then, 0.02 now"),
    ({"lr_decay": 0.8}, "lr_decay: 0.9 then, 0.8 now"),
    ({"shares": 2}, "shares: 1 then, 2 now"),
    ({"schedule": one_cycle()}, r"schedule: None then, one_cycle\(warm_up=0.25, .*\) now"),
    ({"num_train_samples": 30}, "num_train_samples: 1000 then, 30 now"),
    ({"settings": {"data": "drawn digits"}}, "data: MNIST then, drawn digits now"),
    ({"settings": {}}, "data: MNIST then, None now"),
    ({"data": small_data(seed=5)}, "fingerprint of the data: "),
    ({"data": other_pictures()}, "fingerprint of the data: "),
    ({"num_epochs": 2}, "already in epoch 3, beyond the 2 that are asked for"),
    ({"data": small_data(num_train=40)}, "num_train: 47 then, 40 now"),
])
def test_a_checkpoint_of_another_training_is_refused(tmp_path, change, message):
    options = {"checkpoint": tmp_path / "run.npz", "settings": {"data": "MNIST"}}
    small_solver(**options).train()
    assert small_solver(**options).resume()
    with pytest.raises(CheckpointError, match=message):
        small_solver(**options | change).resume()


def test_a_checkpoint_inside_an_epoch_that_is_not_asked_for_is_refused(tmp_path):
    longer = small_solver(checkpoint=tmp_path / "run.npz", num_epochs=2)
    whole, steps = longer.model.loss, []

    def interrupting(X, y=None):
        if y is not None:
            steps.append(len(X))
            if len(steps) == 7:
                signal.raise_signal(signal.SIGINT)
        return whole(X, y)

    longer.model.loss = interrupting
    with pytest.raises(KeyboardInterrupt):
        longer.train()
    with pytest.raises(CheckpointError, match="already in epoch 2, beyond the 1"):
        small_solver(checkpoint=tmp_path / "run.npz", num_epochs=1).resume()


def test_a_checkpoint_saved_after_training_goes_on_from_the_last_parameters(tmp_path):
    short = small_solver(checkpoint=tmp_path / "run.npz", num_epochs=2, metric=best_at_first)
    short.train()
    short.save_checkpoint()
    longer = small_solver(checkpoint=tmp_path / "run.npz", num_epochs=4, metric=best_at_first)
    whole = small_solver(num_epochs=4, metric=best_at_first)
    longer.resume()
    longer.train()
    whole.train()
    assert_same_training(longer, whole)


def test_ctrl_c_while_the_last_epoch_is_measured_is_not_lost(tmp_path):
    def metric(model, X, y, calls=[]):
        calls.append(len(X))
        if len(calls) == 6:                     # of two in each of three epochs
            signal.raise_signal(signal.SIGINT)
        return 1.0, len(X)

    stopped = small_solver(checkpoint=tmp_path / "run.npz", metric=metric)
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    assert stopped.epoch == 3
    again = small_solver(checkpoint=tmp_path / "run.npz", metric=metric)
    assert again.resume() and again.epoch == 3
    again.train()


def test_ignored_interrupts_stay_ignored():
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        solver = small_solver(extra_metrics={
            "interrupt": lambda model: signal.raise_signal(signal.SIGINT) or 0})
        solver.train()
        assert solver.epoch == 3 and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)


def test_seconds_go_on_after_resuming(tmp_path):
    first = small_solver(checkpoint=tmp_path / "run.npz", num_epochs=2)
    first.train()
    again = small_solver(checkpoint=tmp_path / "run.npz")
    again.resume()
    resumed_at = again.seconds
    assert resumed_at == pytest.approx(first.seconds, rel=0.5) and resumed_at > 0
    again.train()
    assert again.seconds > resumed_at


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    small_solver(checkpoint=tmp_path / "run.npz").train()
    other = Solver(TwoLayerNet(6, 9, 3), small_data(), checkpoint=tmp_path / "run.npz",
                   update_rule="adam", optim_config={"learning_rate": 0.01}, lr_decay=0.9,
                   batch_size=10, seed=7)
    with pytest.raises(CheckpointError, match=r"params W1: float32 \(6, 5\) then, float32 \(6, 9\) now"):
        other.resume()


def test_a_damaged_checkpoint_changes_nothing(tmp_path):
    path = tmp_path / "run.npz"
    small_solver(checkpoint=path).train()
    path.write_bytes(path.read_bytes()[:-100])
    solver = small_solver(checkpoint=path)
    before = solver.model.params["W1"].copy()
    with pytest.raises(CheckpointError, match="run.npz is damaged"):
        solver.resume()
    np.testing.assert_array_equal(solver.model.params["W1"], before)
    assert solver.epoch == 0 and solver.loss_history == []


def test_a_new_training_may_start_from_the_best_parameters_of_another(tmp_path):
    path = tmp_path / "run.npz"
    first = small_solver(checkpoint=path, metric=best_at_first)
    first.train()
    other = small_solver(optim_config={"learning_rate": 0.5}, update_rule="sgd", seed=99)
    other.start_from(path)
    for name, value in first.best_params.items():
        np.testing.assert_array_equal(other.model.params[name], value)
        assert not np.array_equal(first._last_params[name], value)
    assert other.epoch == 0 and other.loss_history == [] and other.best_params is None
    other.train()
    assert len(other.loss_history) == 3 * 5


def test_parameters_of_another_network_are_refused(tmp_path):
    path = tmp_path / "run.npz"
    small_solver(checkpoint=path).train()
    for model, message in (
            (TwoLayerNet(6, 9, 3), r"run.npz is of another network: W1 is \(6, 5\) there, \(6, 9\) here"),
            (ConvNet((1, 4, 4), 2, 3, 5, 3), r"W1 is \(6, 5\) there, \(2, 1, 3, 3\) here")):
        solver = Solver(model, small_data())
        before = dict(model.params)
        with pytest.raises(CheckpointError, match=message):
            solver.start_from(path)
        assert all(model.params[name] is before[name] for name in before)


# ---------------------------------------------------------------- progress

def test_nothing_is_printed_unless_asked(capsys):
    small_solver().train()
    assert capsys.readouterr() == ("", "")
    small_solver(verbose=True).train()
    lines = capsys.readouterr().out.splitlines()
    assert [line[:16] for line in lines] == [f"epoch {n}/3  loss " for n in (1, 2, 3)]
    assert all(line.count("%") == 2 and "  val " in line for line in lines)


def test_progress_is_called_after_every_step_and_epoch(capsys):
    said = []

    def progress(solver):
        said.append((solver.batches_done, solver.describe()))

    small_solver(progress=progress).train()
    assert [batch for batch, _ in said] == 3 * [1, 2, 3, 4, 5, 0]
    assert said[0][1].startswith("epoch 1/3  loss ") and "%" not in said[0][1]
    assert all(text.startswith("epoch 3/3  loss ") and "val" in text for _, text in said[-6:])
    assert capsys.readouterr().out == ""


def test_what_is_said_of_an_epoch_can_be_chosen(capsys):
    small_solver(verbose=True, metrics_text=lambda solver: f"epochs: {solver.epoch}").train()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all("  epochs: " in line and "val" not in line for line in lines)


def test_a_notebook_shows_a_table_of_the_epochs():
    solver = small_solver()
    assert "<td>" not in solver._repr_html_() and "not trained yet" in repr(solver)
    solver.train()
    page = solver._repr_html_()
    assert re.findall("<tr><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>", page) == [
        (f"{n + 1}", f"{np.mean(solver.loss_history[5 * n:5 * n + 5]):.4f}",
         f"{solver.train_acc_history[n]:.2%}", f"{solver.val_acc_history[n]:.2%}") for n in range(3)]
    assert "validation accuracy" in page and solver.describe() in repr(solver)

    solver = small_solver(metric=best_at_first)
    solver.train()
    assert "validation metric" in solver._repr_html_() and "%" not in solver._repr_html_()


def test_a_loss_that_explodes_is_short(capsys):
    solver = small_solver(verbose=True, num_epochs=1)
    loss = solver.model.loss
    solver.model.loss = lambda X, y=None: loss(X) if y is None else (1.5e27, loss(X, y)[1])
    solver.train()
    assert "loss 1.5e+27  train" in capsys.readouterr().out


def learnable_data(num_train=200):
    """The label is the largest of the first three features."""
    data = small_data(num_train, num_val=60)
    return data | {f"y_{part}": data[f"X_{part}"][:, :3].argmax(1) for part in ("train", "val")}


@pytest.mark.parametrize("weight_scale, learning_rate, guesses", [(1e-3, 1e-3, 1), (None, 0.1, 0)])
def test_a_training_that_still_guesses_says_so_once(weight_scale, learning_rate, guesses, capsys):
    solver = Solver(TwoLayerNet(6, 5, 3, weight_scale, rng=1), learnable_data(), verbose=True,
                    batch_size=10, num_epochs=3, optim_config={"learning_rate": learning_rate})
    solver.train()
    lines = capsys.readouterr().out.splitlines()
    assert [line.startswith("Still guessing (loss 1.099, log 3): weights too small, wrong ")
            for line in lines] == [False] + [True] * guesses + [False] * 2
    assert all(len(line) <= 100 for line in lines)


def test_only_accuracy_is_compared_with_guessing(capsys):
    Solver(TwoLayerNet(6, 5, 3, 1e-3, rng=1), learnable_data(), verbose=True, num_epochs=1,
           metric=lambda model, X, y: (0.0, len(X))).train()
    out = capsys.readouterr().out
    assert "loss 1.09" in out and "guessing" not in out


# ---------------------------------------------------------------- wrong input

@pytest.mark.parametrize("options, message", [
    ({"update_rule": "adamm"}, "update_rule expects sgd, sgd_momentum, rmsprop, adam"),
    ({"batch_size": 0}, "batch_size expects a positive integer, got 0"),
    ({"batch_size": 2.5}, "batch_size expects a positive integer"),
    ({"num_epochs": -1}, "num_epochs expects a positive integer"),
    ({"lr_decay": "x"}, "lr_decay expects a number of at least 0"),
    ({"data": {"X_train": [1], "y_train": [1]}}, "data expects X_val to hold samples, got None"),
    ({"data": small_data() | {"X_train": np.ones((3, 6)), "y_train": [1]}},
     "X_train and as many y_train, got 3 and 1"),
    ({"data": {**small_data(), "X_val": [], "y_val": []}}, "at least one of X_val .* got 0 and 0"),
    ({"optim_config": {"learning_rat": 1}}, "config knows learning_rate"),
    ({"optim_config": {"learning_rate": -1}}, "'learning_rate'] expects a number of at least 0"),
])
def test_wrong_input_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        small_solver(**options).train()
