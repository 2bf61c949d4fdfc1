"""The Solver: whole epochs, histories, the best parameters, checkpoints, interruptions."""
import collections
import os
import re
import signal
import threading

import numpy as np
import pytest

from fc_net import TwoLayerNet
from solver import (CheckpointError, DivergedError, Progress, Solver, read_checkpoint,
                    save_atomically, write_checkpoint)


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
    """Parameters, best parameters, state and histories are equal to the last bit."""
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
    lambda a, b: {"features": a, "more": b}, lambda a, b: (a, b), lambda a, b: [a, {"b": b}],
    lambda a, b: a.astype(int).astype("datetime64[D]")])
def test_samples_of_several_parts_can_be_resumed(tmp_path, hold):
    def solver(hold):
        model = Recorder()
        y = np.arange(9) % 3
        model.loss = lambda X, y=None: np.ones((len(X[0]), 3)) if y is None else (
            1.0, {"w": np.ones(2)})
        return Solver(model, {"X_train": Pictures(9, hold), "y_train": y,
                              "X_val": Pictures(9, hold), "y_val": y}, num_epochs=1,
                      metric=lambda model, X, y: (1, 1), checkpoint=tmp_path / "run.npz")

    solver(hold).train()
    assert solver(hold).resume()
    with pytest.raises(CheckpointError, match="another training: its data"):
        solver(lambda a, b: hold(a + 1, b)).resume()


def test_samples_of_objects_are_refused():
    data = small_data() | {"X_train": Pictures(47, lambda a, b: np.array([a, b, None], object))}
    with pytest.raises(ValueError, match="Solver: data expects samples that are arrays of numbers"):
        Solver(Recorder(), data)


def test_whatever_a_rule_keeps_in_its_config_is_saved(tmp_path):
    def rule(w, dw, config):
        count = config.get("count", np.int64(0)) + np.int64(1)
        return w - config["scale"] * dw, config | {
            "count": count, "mean": np.float32(0.5), "on": np.bool_(True), "seen": [1, {"a": 2.5}],
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


def test_what_cannot_be_kept_is_refused(tmp_path):
    for value in (object(), np.nan, [1j]):
        with pytest.raises(ValueError, match=r"Solver: settings\['what'\] expects finite numbers"):
            small_solver(settings={"what": value})
    solver = small_solver(update_rule=lambda w, dw, config: (w, {"open": {1, 2}}),
                          checkpoint=tmp_path / "run.npz")
    with pytest.raises(CheckpointError, match="cannot write the checkpoint .*set is not JSON"):
        solver.train()
    assert os.listdir(tmp_path) == []


def test_two_solvers_in_threads_do_not_disturb_each_other():
    alone, together = small_solver(num_epochs=20), [small_solver(num_epochs=20) for _ in range(2)]
    alone.train()
    threads = [threading.Thread(target=solver.train) for solver in together]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for solver in together:
        assert_same_training(alone, solver)


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

    solver = Solver(Explodes(6, 5, 3, rng=1), small_data(), batch_size=10,
                    optim_config={"learning_rate": 0.5})
    with pytest.raises(DivergedError, match=r"nan at step 8 \(epoch 2\): try a learning rate .*0.5"):
        solver.train()
    assert solver.best_params is not None and len(solver.val_acc_history) == 1
    assert len(solver.loss_history) == 7


def test_divergence_at_the_first_step_does_not_name_a_rate_that_is_not_known():
    data = small_data()
    data["X_train"][:] = np.inf
    with pytest.raises(DivergedError, match="ten times smaller, smaller initial weights"):
        small_solver(data, optim_config={}).train()


@pytest.mark.parametrize("lr_decay", [1e-200, 1e200])
def test_a_learning_rate_stays_positive_and_finite(lr_decay):
    solver = small_solver(update_rule="sgd", lr_decay=lr_decay, num_epochs=4)
    try:
        solver.train()
    except DivergedError:
        assert lr_decay > 1
    assert all(0 < config["learning_rate"] < np.inf for config in solver.configs.values())


def test_a_metric_that_is_not_a_number_stops_training():
    with pytest.raises(DivergedError, match="validation metric is nan after epoch 1"):
        small_solver(metric=lambda model, X, y: (np.nan, len(X))).train()


# ---------------------------------------------------------------- checkpoints

@pytest.mark.parametrize("stop_after", [1, 5, 7, 12])
@pytest.mark.parametrize("rule", ["sgd", "sgd_momentum", "rmsprop", "adam"])
def test_resuming_equals_never_stopping(tmp_path, rule, stop_after):
    whole = small_solver(update_rule=rule, num_epochs=3)
    whole.train()

    class Interrupts(TwoLayerNet):
        calls = 0

        def loss(self, X, y=None):
            if y is not None:
                self.calls += 1
                if self.calls == stop_after:
                    signal.raise_signal(signal.SIGINT)
            return super().loss(X, y)

    options = {"update_rule": rule, "num_epochs": 3, "checkpoint": tmp_path / "run.npz",
               "optim_config": {"learning_rate": 0.01}, "lr_decay": 0.9, "batch_size": 10,
               "seed": 7}
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
    with pytest.raises(ValueError, match="checkpoint path"):
        small_solver().resume()


@pytest.mark.parametrize("change, message", [
    ({"batch_size": 11}, "its batch_size is 10, now 11"),
    ({"update_rule": "sgd"}, "its update_rule is adam, now sgd"),
    ({"seed": 8}, "its seed is 7, now 8"),
    ({"optim_config": {"learning_rate": 0.02}}, "its optim_config is"),
    ({"lr_decay": 0.8}, "its lr_decay is 0.9, now 0.8"),
    ({"num_train_samples": 30}, "its num_train_samples is 1000, now 30"),
    ({"settings": {"reg": 0.1}}, r"its settings\['reg'\] is None, now 0.1"),
    ({"data": small_data(seed=5)}, "its data is"),
    ({"data": other_pictures()}, "its data is"),
    ({"num_epochs": 2}, "already in epoch 3, beyond the 2 that are asked for"),
    ({"data": small_data(num_train=40)}, "its num_train is 47, now 40"),
])
def test_a_checkpoint_of_another_training_is_refused(tmp_path, change, message):
    small_solver(checkpoint=tmp_path / "run.npz").train()
    with pytest.raises(CheckpointError, match=message):
        small_solver(checkpoint=tmp_path / "run.npz", **change).resume()


def test_a_checkpoint_with_other_settings_is_refused(tmp_path):
    options = {"checkpoint": tmp_path / "run.npz", "num_epochs": 1}
    small_solver(settings={"reg": 0.1}, **options).train()
    assert small_solver(settings={"reg": 0.1}, **options).resume()
    for settings, message in (({"reg": 0.2}, "is 0.1, now 0.2"), ({}, "is 0.1, now None")):
        with pytest.raises(CheckpointError, match=message):
            small_solver(settings=settings, **options).resume()


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
    with pytest.raises(CheckpointError, match="its params is"):
        other.resume()


def test_damaged_checkpoints_are_refused(tmp_path):
    path = tmp_path / "run.npz"
    small_solver(checkpoint=path, num_epochs=1).train()
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [whole[:length] for length in (0, 1, len(whole) // 2, len(whole) - 1)]
    for place in rng.integers(0, len(whole), 100):
        damaged.append(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1:])
    refused = 0
    for content in [*damaged, b"<html>not found</html>"]:
        path.write_bytes(content)
        solver = small_solver(checkpoint=path)
        before = solver.model.params["W1"].copy()
        try:
            solver.resume()
        except CheckpointError as error:
            refused += 1
            assert str(path) in str(error)
            np.testing.assert_array_equal(solver.model.params["W1"], before)
        else:
            # A flip in the zip's own bookkeeping (a date, say) may leave all contents whole.
            path.write_bytes(whole)
            intact = small_solver(checkpoint=path)
            intact.resume()
            for name, value in intact.model.params.items():
                np.testing.assert_array_equal(solver.model.params[name], value)
    assert refused > 80


def taken_out(*names):
    return lambda state, arrays: [arrays.pop(name) for name in names]


@pytest.mark.parametrize("edit", [
    taken_out("params/W1"), taken_out("best/b2"), taken_out("history/loss_history"),
    taken_out("params/W1", "params/b1", "params/W2", "params/b2"),
    lambda state, arrays: arrays.update({"params/W1": np.ones((2, 2), np.float32)}),
    lambda state, arrays: arrays.update({"best/W1": arrays["best/W1"].astype(float)}),
    lambda state, arrays: arrays.update({"history/loss_history": np.ones(2)}),
    lambda state, arrays: arrays.update({"history/checkpoint": np.array("elsewhere.npz")}),
    lambda state, arrays: arrays.update({"config/W9/m": np.ones(2)}),
    lambda state, arrays: state.update(epoch=-3), lambda state, arrays: state.update(epoch=1.5),
    lambda state, arrays: state.update(batches_done=99), lambda state, arrays: state.pop("configs"),
    lambda state, arrays: state.update(configs={}), lambda state, arrays: state.pop("rng"),
    lambda state, arrays: state.update(rng={"bit_generator": "none"}),
    lambda state, arrays: state.update(seconds="x"),
    lambda state, arrays: state.update(best_val_acc=None),
    lambda state, arrays: state.update(settings=[])])
def test_what_does_not_fit_together_is_refused_and_nothing_is_taken_over(tmp_path, edit):
    """Somebody has edited the checkpoint and made a checksum for it."""
    path = tmp_path / "run.npz"
    small_solver(checkpoint=path).train()
    state, arrays = read_checkpoint(path)
    del state["version"]
    edit(state, arrays)
    write_checkpoint(path, state, arrays)
    solver = small_solver(checkpoint=path)
    before = {name: value.copy() for name, value in solver.model.params.items()}
    with pytest.raises(CheckpointError, match=re.escape(str(path))):
        solver.resume()
    assert solver.epoch == 0 and solver.checkpoint == str(path) and solver.loss_history == []
    for name, value in before.items():
        np.testing.assert_array_equal(solver.model.params[name], value)


def test_a_checkpoint_that_is_no_file_is_refused(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(CheckpointError, match=f"{name} is no file"):
            small_solver(checkpoint=tmp_path / name).resume()


def test_a_checkpoint_of_another_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("solver.CHECKPOINT_VERSION", 99)
    write_checkpoint(tmp_path / "run.npz", {}, {"a": np.ones(3)})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="has checkpoint format 99"):
        read_checkpoint(tmp_path / "run.npz")


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fails(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError):
        save_atomically(path, fails)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]
    with pytest.raises(CheckpointError, match="cannot write the checkpoint .*missing"):
        write_checkpoint(tmp_path / "missing" / "run.npz", {}, {})


# ---------------------------------------------------------------- progress

class Stream(list):
    def __init__(self, terminal):
        self.terminal = terminal

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.append(text)

    def flush(self):
        return None


def test_progress_is_one_line_per_epoch_in_a_file():
    stream = Stream(terminal=False)
    progress = Progress(20, label="run", stream=stream)
    for epoch in range(2):
        for _ in range(10):
            progress.step("step")
        progress.line(f"epoch {epoch + 1}")
    lines = "".join(stream).splitlines()
    assert len(lines) == 2 and lines[0].startswith("run  epoch 1") and "left" in lines[0]
    assert "left" not in lines[1]


def test_progress_rewrites_one_line_on_a_terminal():
    stream = Stream(terminal=True)
    progress = Progress(2, stream=stream)
    progress.step("step 1")
    progress.step("step 2")                    # too soon after the first to be shown
    progress.line("epoch 1")
    text = "".join(stream)
    assert text.count("\n") == 1 and text.count("\r") == 2 and "step 2" not in text


def test_a_line_that_does_not_fit_the_terminal_is_cut(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    stream = Stream(terminal=True)
    Progress(2, stream=stream).step("x" * 50)
    assert "".join(stream) == "\r" + "x" * 19 + "\033[K"


def test_nothing_is_printed_unless_asked(capsys):
    small_solver().train()
    assert capsys.readouterr() == ("", "")
    small_solver(verbose=True, label="mine").train()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all("mine  epoch" in line and "  val " in line for line in lines)


def test_what_is_said_of_an_epoch_can_be_chosen(capsys):
    small_solver(verbose=True, describe=lambda solver: f"epochs: {solver.epoch}").train()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all("  epochs: " in line and "val" not in line for line in lines)
    with pytest.raises(ValueError, match="describe expects a function"):
        small_solver(describe="loss")


def test_a_line_that_stays_is_whole_and_the_longest_of_the_scripts_fits(monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    stream = Stream(terminal=True)
    Progress(1, stream=stream).line("x" * 50)
    assert "x" * 50 in "".join(stream)
    stream.clear()
    monkeypatch.setenv("COLUMNS", "80")
    progress = Progress(300, label="[7/8] 1024 units", stream=stream)
    progress.started -= 1                      # 299 steps are left, of a second each
    progress.step(f"epoch 15/15  loss 0.0633{small_solver_with_history()._accuracies()}")
    assert re.search(r"\d:\d\d left", "".join(stream))


def small_solver_with_history():
    solver = small_solver()
    solver.train_acc_history, solver.val_acc_history = [0.9876], [0.9765]
    return solver


# ---------------------------------------------------------------- wrong input

@pytest.mark.parametrize("options, message", [
    ({"update_rule": "adamm"}, "update_rule expects sgd, sgd_momentum, rmsprop, adam"),
    ({"batch_size": 0}, "batch_size expects a positive integer, got 0"),
    ({"batch_size": 2.5}, "batch_size expects a positive integer"),
    ({"num_epochs": -1}, "num_epochs expects a positive integer"),
    ({"lr_decay": 0}, "lr_decay expects a positive number"),
    ({"lr_decay": "x"}, "lr_decay expects a number of at least 0"),
    ({"data": {"X_train": [1], "y_train": [1]}}, "X_val is missing"),
    ({"data": {"X_train": np.ones((3, 6)), "y_train": [1]}}, "as many y_train as X_train, 3, got 1"),
    ({"data": {**small_data(), "X_val": [], "y_val": []}}, "at least one sample in X_val"),
    ({"optim_config": {"learning_rat": 1}}, "config knows learning_rate"),
    ({"optim_config": {"learning_rate": -1}}, "'learning_rate'] expects a number of at least 0"),
])
def test_wrong_input_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        small_solver(**options).train()


@pytest.mark.parametrize("loss, message", [
    (lambda X, y: None, "model.loss expects to return a number and a dict"),
    (lambda X, y: (1.0, None), "model.loss expects .*got a float and a NoneType"),
    (lambda X, y: (1.0, [np.ones(2)]), "model.loss expects .*got a float and a list"),
    (lambda X, y: (np.ones(3), {"w": np.ones(2)}), "model.loss expects .*got a ndarray"),
])
def test_what_a_model_returns_is_checked(loss, message):
    model = Recorder()
    model.loss = loss
    with pytest.raises(ValueError, match=message):
        Solver(model, small_data()).train()


@pytest.mark.parametrize("options, message", [
    ({"metric": lambda model, X, y: 0.5}, r"metric expects to return \(total, count\), got 0.5"),
    ({"metric": lambda model, X, y: None}, "metric expects to return"),
    ({"metric": lambda model, X, y: (1, 2, 3)}, "metric expects to return"),
    ({"extra_metrics": {"size": lambda model: None}}, r"extra_metrics\['size'\] expects .*None"),
])
def test_what_a_metric_returns_is_checked(options, message):
    with pytest.raises(ValueError, match=f"Solver: {message}"):
        small_solver(num_epochs=1, **options).train()


@pytest.mark.parametrize("samples", [
    range(47), bytearray(47), memoryview(bytes(47)), collections.deque(range(47))])
def test_samples_must_take_an_array_of_indices(samples):
    with pytest.raises(ValueError, match="Solver: data expects X_train to take an array"):
        small_solver(small_data() | {"X_train": samples})


def test_params_must_be_arrays():
    model = Recorder()
    model.params = {"w": [1.0, 2.0]}
    with pytest.raises(ValueError, match="arrays as its params, 'w' is a list"):
        Solver(model, small_data())


@pytest.mark.parametrize("path", ["", "a\0b", 3.5])
def test_an_impossible_path_is_refused(path):
    with pytest.raises(ValueError, match="checkpoint expects a path or None"):
        small_solver(checkpoint=path)


def test_gradients_must_be_named_like_the_parameters():
    model = Recorder()
    model.params["v"] = np.zeros(1)
    with pytest.raises(ValueError, match="gradients for w, v, got w"):
        Solver(model, {"X_train": [1], "y_train": [0], "X_val": [0], "y_val": [0]}).train()
