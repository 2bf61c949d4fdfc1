"""Long runs: memory does not grow, threads do not meet, and equal seeds give equal bits.

Thread counts. NumPy's matrix product may split its sums in another way for another number of BLAS
threads, and sums in another order round in another way. Each product differs by a few units in the
last place; training carries the difference on and enlarges it. After the 60 steps below float32
parameters agree to THREAD_TOLERANCE, relative to the largest of an array.
"""
import hashlib
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from cnn import ConvNet
from fc_net import TwoLayerNet
from solver import Solver
from test_scripts import ROOT

THREAD_TOLERANCE = 1e-5


def digits(num_train, num_val=100, seed=0):
    """Images of noise with a bar at a height that tells the label."""
    rng = np.random.default_rng(seed)
    data = {}
    for part, count in (("train", num_train), ("val", num_val)):
        X = rng.random((count, 1, 28, 28), dtype=np.float32)
        y = rng.integers(0, 10, count)
        X[np.arange(count), 0, 2 * y + 4] = 3
        data |= {f"X_{part}": X, f"y_{part}": y}
    return data


def fc_training(epochs, num_train=600, hidden_dim=300, seed=0, **options):
    model = TwoLayerNet(784, hidden_dim, 10, reg=1e-4, rng=seed)
    return Solver(model, digits(num_train), update_rule="sgd_momentum", num_epochs=epochs, seed=seed,
                  optim_config={"learning_rate": 0.01}, batch_size=100, **options)


def cnn_training(epochs, num_train=200, seed=0, **options):
    model = ConvNet(num_filters=8, filter_size=5, hidden_dim=50, reg=1e-3, rng=seed)
    return Solver(model, digits(num_train), update_rule="adam", num_epochs=epochs, seed=seed,
                  optim_config={"learning_rate": 1e-3}, batch_size=50, **options)


TRAININGS = {"fc_net": fc_training, "cnn": cnn_training}
every_training = pytest.mark.parametrize("name", TRAININGS)


def results(solver):
    """Everything that training leaves, as bytes."""
    arrays = [*solver.model.params.values(), *solver.best_params.values(),
              *(np.array(history) for history in (solver.loss_history, solver.train_acc_history,
                                                  solver.val_acc_history))]
    for config in solver.configs.values():
        arrays += [np.asarray(value) for value in config.values()]
    return b"".join(array.tobytes() for array in arrays)


def trained(name, *arguments, **options):
    solver = TRAININGS[name](*arguments, **options)
    solver.train()
    return solver


# ---------------------------------------------------------------- memory

# Run in a process of its own, whose memory nothing else uses.
MEASURE = """
import json, os, sys
import experiment
import test_long_runs as runs

experiment.reuse_memory()       # what is free stays resident, so that sizes do not depend on chance

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

name, checkpoint, epochs = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
sizes = []
solver = runs.TRAININGS[name](epochs[0], checkpoint=checkpoint)
for number in epochs:
    solver.num_epochs = number
    solver.train()
    sizes.append(resident())
print(json.dumps(sizes))
"""


def in_a_process(code, *arguments, **environment):
    """What a fresh Python process prints, as JSON."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True,
                          text=True, env={**os.environ, "PYTHONPATH": path, **environment})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check_memory(name, epochs, growth, tmp_path, capsys):
    # A second thread of BLAS fills buffers of its own, 0.6 MB in all, when chance gives it work.
    before, after = in_a_process(MEASURE, name, tmp_path / "run.npz", json.dumps(epochs),
                                 OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
    with capsys.disabled():
        print(f"\n{name}: {before / 1e6:.1f} MB after {epochs[0]} epochs, "
              f"{after / 1e6:.1f} MB after {epochs[1]}")
    assert after < (1 + growth) * before


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="Linux tells the resident size")
@every_training
def test_memory_does_not_grow(name, tmp_path, capsys):
    # So few steps add up to little: 16 kB lost in each are 3 % (fc_net) and 2 % (cnn).
    check_memory(name, [5, 30], 0.01, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="Linux tells the resident size")
@every_training
def test_memory_after_200_epochs_is_that_after_5(name, tmp_path, capsys):
    check_memory(name, [5, 200], 0.05, tmp_path, capsys)


# ---------------------------------------------------------------- threads

def check_threads(trainings):
    """All at once they give the bits that they give one after the other."""
    alone = [results(trained(*training)) for training in trainings]
    together, failures = [None] * len(trainings), []
    barrier = threading.Barrier(len(trainings))

    def work(place):
        try:
            barrier.wait()
            together[place] = results(trained(*trainings[place]))
        except Exception as error:              # an error in a thread is a failure of the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(trainings))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and together == alone


def test_two_trainings_in_threads_do_not_disturb_each_other():
    check_threads([("fc_net", 3), ("cnn", 2)])


@pytest.mark.slow
def test_many_trainings_in_threads_do_not_disturb_each_other():
    check_threads([(name, 10 * (2 if name == "fc_net" else 1), 200 + 100 * (place % 2))
                   for place, name in enumerate(2 * ["fc_net", "cnn"])])


# ---------------------------------------------------------------- reproducibility

DIGEST = """
import hashlib, json, sys
import test_long_runs as runs
print(json.dumps(hashlib.sha256(runs.results(runs.trained(sys.argv[1], 3))).hexdigest()))
"""
PARAMETERS = """
import json, sys
import test_long_runs as runs
solver = runs.trained(sys.argv[1], 10, 600 if sys.argv[1] == "fc_net" else 300)
print(json.dumps({name: value.ravel()[::7].tolist() for name, value in solver.model.params.items()}))
"""
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
                    "VECLIB_MAXIMUM_THREADS")


@every_training
def test_the_same_seed_gives_the_same_bits_in_two_processes(name):
    here = hashlib.sha256(results(trained(name, 3))).hexdigest()
    first, second = (in_a_process(DIGEST, name, PYTHONHASHSEED=seed) for seed in ("1", "2"))
    assert first == second == here
    assert first != hashlib.sha256(results(trained(name, 3, seed=1))).hexdigest()


@every_training
def test_other_numbers_of_threads_agree_to_the_tolerance(name, capsys):
    runs = [in_a_process(PARAMETERS, name, **dict.fromkeys(THREAD_VARIABLES, str(threads)))
            for threads in (1, 2, 4)]
    largest = 0
    for other in runs[1:]:
        for key, expected in runs[0].items():
            actual, expected = np.array(other[key]), np.array(expected)
            largest = max(largest, np.abs(actual - expected).max() / np.abs(expected).max())
    with capsys.disabled():
        print(f"\n{name}: 1, 2 and 4 threads differ by {largest:.1e} at most")
    assert largest < THREAD_TOLERANCE
