"""What was tried to make it faster and lost, each beside what the project does.

    python tests/benchmark_ideas.py --json FILE

Each side runs in processes of its own, in turns; a figure is the minimum over all rounds, in
milliseconds of a step. Trainings use drawn data. An idea with a ratio well below 1 has won.
"""
import argparse
import json
import math
import sys
import time
from typing import Callable, NamedTuple

import numpy as np

import benchmark
import layers
import optim
from benchmark import WORKLOADS, experiment, fastest, labels, normal
from benchmark_trainings import TRAININGS
from fc_net import TwoLayerNet
from rnn import CaptioningRNN

STEPS = 30                      # of a training
CHUNK = 1 << 15                 # numbers of an array that are updated at a time


def updated_by(rule, workload):
    """W4 or W1 with this update rule."""
    if workload == "W1":
        model, batch = TwoLayerNet(784, 500, 10, rng=0), (normal(100, 784), labels(100))
    else:
        captions = WORKLOADS[workload]()
        model, batch = captions.model, (captions.features, captions.captions)
    configs = {name: {} for name in model.params}

    def step():
        for name, dw in model.loss(*batch)[1].items():
            model.params[name], configs[name] = rule(model.params[name], dw, configs[name])
    return fastest(step)


def adam_in_chunks(w, dw, config):
    """optim.adam with its defaults, in place and in chunks that stay in the cache."""
    config = config or {"m": np.zeros(w.size, w.dtype), "v": np.zeros(w.size, w.dtype), "t": 0}
    config["t"] += 1
    correction, scratch = math.sqrt(1 - 0.999 ** config["t"]), np.empty(CHUNK, w.dtype)
    arrays = w.reshape(-1), dw.reshape(-1), config["m"], config["v"]
    for start in range(0, w.size, CHUNK):
        p, g, m, v = (array[start:start + CHUNK] for array in arrays)
        s = scratch[:len(p)]
        m *= 0.9
        m += np.multiply(g, 0.1, out=s)
        v *= 0.999
        v += np.multiply(np.multiply(g, g, out=s), 0.001, out=s)
        np.add(np.sqrt(v, out=s), 1e-8 * correction, out=s)
        p -= np.multiply(np.divide(m, s, out=s), 1e-3 * correction / (1 - 0.9 ** config["t"]),
                         out=s)
    return w, config


def momentum_in_place(w, dw, config):
    """optim.sgd_momentum with its defaults, in place."""
    velocity = config.setdefault("velocity", np.zeros_like(w))
    velocity *= 0.9
    velocity -= np.multiply(dw, 0.01, out=dw)
    w += velocity
    return w, config


def gathered(reuse):
    """A gradient of the two-layer net of E1 on images that are gathered from many."""
    X, y, rng = normal(20_000, 784), labels(20_000), np.random.default_rng(0)
    model, buffer = TwoLayerNet(784, 512, 10, rng=0), normal(256, 784)

    def step():
        batch = rng.integers(0, len(X), 256)
        images = np.take(X, batch, axis=0, out=buffer, mode="clip") if reuse else X[batch]
        model.loss(images, y[batch])
    return fastest(step)


def trained(name, shares):
    """A step of a training that cuts its mini-batches into shares."""
    run = TRAININGS[name](steps=STEPS, shares=shares)
    run.ours(benchmark.WARM_UP)
    return 1e3 * min(run.ours().seconds for _ in range(2)) / STEPS


def called(function, name, *fields):
    """A function on the arrays of a workload."""
    workload = WORKLOADS[name]()
    return fastest(lambda: function(*(getattr(workload, field) for field in fields)))


def sample_in_place(model, features, T):
    """Greedy decoding in which every step overwrites the arrays of the last one."""
    p, N = model.params, len(features)
    h = features @ p["W_proj"] + p["b_proj"]
    vectors, a, recurrent, scores = (np.empty((N, p[name].shape[1]), h.dtype)
                                     for name in ("W_embed", "Wx", "Wh", "W_vocab"))
    words, captions = np.full(N, model.start), np.empty((N, T), int)
    for t in range(T):
        np.take(p["W_embed"], words, axis=0, out=vectors, mode="clip")
        np.add(np.matmul(vectors, p["Wx"], out=a), p["b"], out=a)
        a += np.matmul(h, p["Wh"], out=recurrent)
        np.tanh(a, out=h)
        np.add(np.matmul(h, p["W_vocab"], out=scores), p["b_vocab"], out=scores)
        captions[:, t] = scores.argmax(axis=1, out=words)
    return captions


class SkipsFinished(CaptioningRNN):
    """Computes nothing for captions that have ended."""

    def _step(self, words, state, banned):
        going_on = np.flatnonzero((words != self.end) & (words != self.null))
        scores, state = super()._step(words[going_on], [part[going_on] for part in state], banned)
        wholes = [np.zeros((len(words), part.shape[1]), part.dtype) for part in (scores, *state)]
        for whole, part in zip(wholes, (scores, *state)):
            whole[going_on] = part
        return wholes[0], wholes[1:]


def beam_searched(model_class):
    """20 captions by beam search, a third of whose rows have ended, as in captions of people."""
    model = WORKLOADS["W5"]().model
    model.__class__ = model_class
    model.params["b_vocab"][model.end] = 1.0
    return fastest(lambda: model.sample(normal(20, 512), 17, beam=5, length_norm=0.7))


def with_blocks(workload, megabytes):
    """A convolution whose blocks have this size."""
    layers._BLOCK_BYTES = int(megabytes * 2 ** 20)
    return fastest(WORKLOADS[workload]().numpy_step())


def narrow_convolution(x, w, dout):
    """(out, dw) as the project computes them, by a product for each image."""
    out, cache = layers.conv_forward(x, w)
    return out, layers.conv_weights_backward(dout, cache)


def wide_convolution(x, w, dout):
    """(out, dw) by one product for all images of a block."""
    filters, out, dw = w.reshape(len(w), -1), np.empty_like(dout), 0
    grid = layers._conv_grid("wide_convolution", x, w)
    for backward in (False, True):
        for block, columns in layers._column_blocks(x, w, grid):
            side_by_side = columns.transpose(1, 0, 2).reshape(w[0].size, -1)
            if backward:
                dw = dw + dout[block].swapaxes(0, 1).reshape(len(w), -1) @ side_by_side.T
            else:
                rows = filters @ side_by_side
                out[block] = rows.reshape(len(w), -1, *out.shape[2:]).swapaxes(0, 1)
    return out, dw.reshape(w.shape)


class Idea(NamedTuple):
    """measure(*ours) and measure(*other) give milliseconds; threads are those of BLAS for each."""
    name: str
    workload: str
    measure: Callable
    ours: tuple
    other: tuple
    threads: tuple = (1, 1)


CAPTIONS, IMAGES = ("W5", "model", "features", "T"), ("W3a", "x", "w", "dout")
IDEAS = [
    Idea("Adam in place, in chunks that stay in the cache", "W4-100", updated_by,
         (optim.adam, "W4-100"), (adam_in_chunks, "W4-100")),
    Idea("momentum in place", "W1", updated_by, (optim.sgd_momentum, "W1"),
         (momentum_in_place, "W1")),
    Idea("mini-batch gathered into a reused buffer", "E1", gathered, (False,), (True,)),
    Idea("BLAS with 2 threads in place of 2 shares", "E2", trained, ("E2", 2), ("E2", 1), (1, 2)),
    Idea("BLAS with 2 threads in place of 2 shares", "E4", trained, ("E4", 2), ("E4", 1), (1, 2)),
    Idea("2 shares in place of BLAS with 2 threads", "E1", trained, ("E1", 1), ("E1", 2), (2, 1)),
    Idea("4 shares in place of 2", "E2", trained, ("E2", 2), ("E2", 4)),
    Idea("4 shares in place of 2", "E4", trained, ("E4", 2), ("E4", 4)),
    Idea("sampling that keeps one step's arrays", "W5", called,
         (CaptioningRNN.sample, *CAPTIONS), (sample_in_place, *CAPTIONS)),
    Idea("beam search that skips finished captions", "20 captions", beam_searched,
         (CaptioningRNN,), (SkipsFinished,)),
    *(Idea(f"blocks of {size} MB in place of 3", name, with_blocks, (name, 3), (name, size))
      for name in ("W2", "W3a", "W3b") for size in (0.5, 1, 2, 6)),
    Idea("one wide product in place of one for each image", "W3a without dx", called,
         (narrow_convolution, *IMAGES), (wide_convolution, *IMAGES)),
]


def measure(rounds):
    """The minimum of all rounds, for each idea."""
    started, times = time.monotonic(), [([], []) for _ in IDEAS]
    for _ in range(rounds):
        for number, idea in enumerate(IDEAS):
            for side, threads in enumerate(idea.threads):
                times[number][side].append(benchmark.in_a_process(
                    __file__, threads, "--child", str(number), str(side)))
    rows = [{"idea": idea.name, "workload": idea.workload, "ours": min(ours), "other": min(other),
             "ratio": min(other) / min(ours)} for idea, (ours, other) in zip(IDEAS, times)]
    return {"machine": benchmark.machine(rounds), "ideas": rows,
            "seconds": round(time.monotonic() - started, 1)}


def report(result):
    """The table."""
    return benchmark.aligned([["idea", "workload", "ours ms", "idea ms", "ratio"]] + [
        [row["idea"], row["workload"], f"{row['ours']:.2f}", f"{row['other']:.2f}",
         f"{row['ratio']:.2f}"] for row in result["ideas"]])


PASSAGES = {"ideas": report}


def main():
    """Parse, measure, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=experiment.positive_integer, default=3, metavar="N")
    parser.add_argument("--json", type=experiment.file_to_write, metavar="FILE")
    parser.add_argument("--child", type=int, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        experiment.reuse_memory()
        idea = IDEAS[args.child[0]]
        json.dump(idea.measure(*(idea.ours, idea.other)[args.child[1]]), sys.stdout)
        return
    result = measure(args.rounds)
    print(report(result))
    if args.json:
        benchmark.save_json(args.json, result)


if __name__ == "__main__":
    experiment.run(main)
