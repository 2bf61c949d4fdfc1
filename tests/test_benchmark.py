"""The benchmark: twins take the same steps, ideas compute the same, reports say what there is."""
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import benchmark
import benchmark_ideas
import benchmark_trainings
import layers
import optim
from benchmark import Job
from rnn import CaptioningRNN

STEP = {"ours": 2.0, "torch": 4.0, "bare": 3.0, "ratio": 0.5, "spread": 0.02, "products": 0.75,
        "gflops": 80.0, "extra_mb": 4.25}
TRAINING = {"ours": 9.0, "torch": 12.0, "ratio": 0.75, "spread": 0.05, "shares": 2}
RESULT = {                      # as --json writes it, but of two workloads
    "machine": "a machine", "data": {"digits": "mnist", "captions": "drawn", "steps": "all"},
    "1 thread": {"E2": TRAINING | {"shares": 1}, "W1": STEP},
    "2 threads": {"E2": TRAINING, "W1": STEP | {"ratio": None}},
    "busy": {"E2": TRAINING}, "convolution": {"W2": 4e6},
    "growth": {"memory_bytes": 31440000, "axes": [
        {"network": "CNN", "axis": "N", "sizes": [25, 400], "ms": [1, 30], "mb": [2, 4],
         "time_slope": 1.23, "memory_slope": 0.25}]},
    "homework": [{"version": "loops", "forward_ms": 13.0, "backward_ms": 17.0}]}


def rows(text):
    """Cells of every line of the tables in a text."""
    return [[cell.strip() for cell in line[1:-1].split("|")]
            for line in text.splitlines() if line.startswith("|")]


# ---------------------------------------------------------------- trainings

def parameters(net):
    """PyTorch's in the shapes of ours."""
    return [(p.T if p.ndim == 2 else p).detach().numpy() for p in net.parameters()]


@pytest.mark.parametrize("name, shares", [("E1", 1), ("E2", 2)])
def test_the_twin_of_a_digit_network_learns_the_same(name, shares):
    training = benchmark_trainings.TRAININGS[name](steps=3, shares=shares)
    ours = training.ours()
    net, seconds, losses = training.torch()
    assert len(ours.loss_history) == len(losses) == 3 and seconds > 0
    for actual, expected in zip(parameters(net), ours.model.params.values(), strict=True):
        np.testing.assert_allclose(actual, expected, atol=2e-4)     # a step is 10 to 40 times that


def test_the_twin_of_the_captions_learns_the_same():
    training = benchmark_trainings.Captions(steps=3, shares=2)
    assert not training.args.dropout            # as for all drawn scenes
    ours = training.ours()
    net, _, losses = training.torch()
    np.testing.assert_allclose(losses, ours.loss_history, rtol=1e-5)
    for actual, name in zip((net["embed"].weight, net["score"].bias), ("W_embed", "b_vocab")):
        np.testing.assert_allclose(actual.detach(), ours.model.params[name], atol=1e-4)


def test_the_data_are_repeated_where_there_are_too_few(monkeypatch):
    monkeypatch.setattr(benchmark_trainings, "DRAWN_DIGITS", 60)
    training = benchmark_trainings.Convolutional(steps=1)
    X = training.data["X_train"]
    assert len(X) == len(training.data["y_train"]) == training.args.batch_size
    np.testing.assert_array_equal(X[60:], X[:40])


# ---------------------------------------------------------------- processes

@pytest.mark.parametrize("job, threads, flags", [
    (Job("train ours", ("E2",), 2), 1, ["--shares=2", "--mnist=digits", "--steps=7"]),
    (Job("train torch", ("E2",), 2), 2, ["--shares=2", "--mnist=digits", "--steps=7"]),
    (Job("train ours", ("E2",), 1), 1, ["--shares=1", "--mnist=digits", "--steps=7"]),
    (Job("train ours", ("E1",), 2), 2, ["--shares=1", "--mnist=digits", "--steps=7"]),
    (Job("ours", ("W1", "W2"), 2), 2, []),
    (Job("ours", ("W1", "W2"), 2, before=True), 2, [])])
def test_shares_take_the_place_of_the_threads_of_blas(job, threads, flags, monkeypatch):
    monkeypatch.setattr(benchmark, "in_a_process", lambda *command: command)
    args = benchmark.arguments(["--mnist", "digits", "--steps", "7", "--against", "old"])
    script, *command = benchmark.child(job, args)
    assert script == ("old/tests/benchmark.py" if job.before else benchmark.__file__)
    assert command == [threads, "--child", job.kind, "--only", *job.names, *flags]


def test_a_round_times_ours_and_the_twin_in_turns():
    jobs = benchmark.jobs_of(benchmark.arguments(["--only", "E1", "W1", "--busy"]))
    assert [(job.kind, *job.names, job.threads) for job in jobs if not job.busy] == [
        (*kind, threads) for threads in (1, 2) for kind in (
            ("ours", "W1"), ("torch", "W1"), ("bare", "W1"),
            ("train ours", "E1"), ("train torch", "E1"))]
    assert [(job.kind, *job.names) for job in jobs if job.busy] == [
        ("train ours", "E2"), ("train torch", "E2")]


# ---------------------------------------------------------------- figures

def test_a_training_counts_with_its_median_unless_the_machine_was_busy():
    quiet = benchmark.training_figures({"ours": [4, 1, 4.1], "torch": [8, 8.2, 8.1]}, 2.0)
    assert quiet["ours"] == 4 and quiet["torch"] == 8.1 and quiet["ratio"] == 4 / 8.1
    assert quiet["spread"] == pytest.approx((4.05 - 2.5) / 4)
    assert benchmark.training_figures({"ours": [4, 1], "torch": [8, 8]})["ratio"] is None


@pytest.mark.parametrize("second_round, ratio", [(2.1, 0.5), (2.4, None)])
def test_a_step_counts_with_its_minimum_unless_the_machine_was_busy(second_round, ratio):
    def rounds(*times):
        return [{"ms": {"W1": ms}, "gflops": 80.0, "limit": {"W1": 1.5 / ms}} for ms in times]

    figures = benchmark.step_figures({"ours": rounds(2.0, second_round), "torch": rounds(4.0, 4.1),
                                      "bare": rounds(3.0, 9.0)}, "W1", 4_250_000)
    assert figures == STEP | {"ratio": ratio, "spread": pytest.approx(second_round / 2 - 1)}


def test_slopes_are_the_exponents_of_growth():
    sizes = np.array([10, 40, 160])
    assert benchmark.slope(sizes, 3 * sizes ** 1.5) == pytest.approx(1.5)


def test_updates_keep_the_shapes_that_a_step_of_growth_needs():
    step = benchmark.cnn_step(N=4, F=3, pixels=64)
    assert [w.shape for w in step()][0] == (3, 1, 7, 7)
    peak, returned = benchmark.peak_bytes(step)
    assert peak > returned > 0


# ---------------------------------------------------------------- reports

def test_the_tables_say_ratio_and_floor():
    one, two = (rows(benchmark.threads_table(RESULT[name])) for name in ("1 thread", "2 threads"))
    assert one[2][:7] == ["E2", "9.00 s", "12.00 s", "0.75", "", "", "5%"]
    assert one[3] == ["W1", "2.00 ms", "4.00 ms", "0.50", "0.38", "75%", "2%", "4.2", "1.50"]
    assert two[3][3] == "busy"
    before = rows(benchmark.threads_table({"W1": STEP | {"before": 8.0}, "E2": TRAINING}))
    assert before[2][-2:] == ["8.00 ms", "0.25"] and len(set(map(len, before))) == 1


def test_the_report_says_everything_that_was_measured():
    text = benchmark.report(RESULT)
    for said in ("digits mnist, captions drawn", "**2 threads** (shares: 2 for E2)",
                 "busy: the rounds differ", "ours 9.0 s, PyTorch 12.0 s, ratio 0.75",
                 "1.23 (!)", " 0.25 |", "0.0 million images", "W2 4.0 MB", "13.00"):
        assert said in text
    alone = {name: RESULT[name] for name in ("machine", "data", "1 thread")}
    assert "busy" not in benchmark.report(alone)


def test_the_picture_has_a_bar_for_every_ratio():
    axes, = benchmark.ratios_figure(RESULT).axes
    assert [bar.get_height() for bar in axes.patches] == [0.75, 0.5, 0.75, 0]


def test_the_table_of_ideas():
    row = {"idea": "a trick", "workload": "W1", "ours": 2.0, "other": 3.0, "ratio": 1.5}
    assert rows(benchmark_ideas.report({"ideas": [row]}))[2] == ["a trick", "W1", "2.00", "3.00",
                                                                "1.50"]


# ---------------------------------------------------------------- ideas compute the same

@pytest.mark.parametrize("ours, idea", [
    (optim.adam, benchmark_ideas.adam_in_chunks),
    (optim.sgd_momentum, benchmark_ideas.momentum_in_place)])
def test_an_update_in_place_is_the_update(ours, idea):
    rng = np.random.default_rng(0)
    w = rng.standard_normal((300, 200)).astype(np.float32)      # two chunks
    expected, after, actual, config = w, {}, w.copy(), {}
    for _ in range(3):
        dw = rng.standard_normal(w.shape).astype(np.float32)
        expected, after = ours(expected, dw, after)
        actual, config = idea(actual, dw, config)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


def test_the_other_samplings_write_the_same_captions():
    workload = benchmark.Captions(8, sampling=True)
    model, features = workload.model, workload.features
    np.testing.assert_array_equal(benchmark_ideas.sample_in_place(model, features, 5),
                                  model.sample(features, 5))
    model.params["b_vocab"][model.end] = 2.0
    expected = model.sample(features, 9, beam=3)
    assert (expected == model.null).any() and isinstance(model, CaptioningRNN)
    model.__class__ = benchmark_ideas.SkipsFinished
    np.testing.assert_array_equal(model.sample(features, 9, beam=3), expected)


def test_wide_products_are_the_convolution(monkeypatch):
    monkeypatch.setattr(layers, "_BLOCK_BYTES", 20_000)         # several blocks
    workload = benchmark.Convolution((5, 3, 9, 8), (4, 3, 3, 2))
    arguments = workload.x, workload.w, workload.dout
    for wide, narrow in zip(benchmark_ideas.wide_convolution(*arguments),
                            benchmark_ideas.narrow_convolution(*arguments)):
        np.testing.assert_allclose(wide, narrow, atol=1e-4)
