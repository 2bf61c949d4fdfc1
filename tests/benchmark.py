"""How fast are the layers? Ours beside PyTorch eager on the CPU, and beside the usual homework.

    python tests/benchmark.py                 all workloads, with 1 and with 2 threads
    python tests/benchmark.py --only W2 W3a   some of them
    python tests/benchmark.py --json FILE     the figures as JSON, too
    python tests/benchmark.py --against DIR   time the project as it is in DIR, too

How it measures:

* Ours and PyTorch's run in processes of their own, in turns, round after round: in one
  process the two thread pools would disturb each other, and a slow minute of the machine
  is to hit both. A figure is the minimum over all rounds.
* OpenBLAS, OpenMP and MKL settings are taken out of the environment: they would pin NumPy
  to other kernels than a user gets.
* Every process times one and the same matrix product as well. Where it, or the workload, is
  not equally fast in at least two rounds, the machine was busy: no ratio is concluded, the
  table says "busy", and the exit code is 3.
* "ours" has called experiment.reuse_memory(), as all scripts do; "bare" has not, like somebody
  who imports the layers and nothing else. With --against, "before" is the project in another
  folder, timed by its own tests/benchmark.py as it reports itself.
* "product limit" is the time that the workload's multiplications would take at the speed of
  a large matrix product, measured beside it, divided by our time: 100 % cannot be beaten
  without doing less arithmetic.
* "extra MB" is the peak of memory (tracemalloc, in a process of its own) beyond what was
  there before and the results: for W1, W2, W4 and W5 of the whole step, intermediate
  activations included; for W3a and W3b of the convolution. A line below the table measures
  the convolution of W2 alone, and with ten times the batch.

Ratios under 1 are faster than PyTorch.
"""
import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
import tracemalloc

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import cnn
import experiment
import fc_net
import layers
import optim
from checkpoint import save_atomically
from experiment import Progress
from rnn import CaptioningRNN

LEARNING_RATE = 0.01


# ---------------------------------------------------------------- workloads

def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def labels(N, C=10):
    return np.random.default_rng(1).integers(0, C, N)


def skip_input_gradient(skip):
    """Let the models skip the gradient of the data, or compute it as with a student's layers."""
    if skip:
        fc_net.fc_weights_backward = layers.fc_weights_backward
        cnn.conv_weights_backward = layers.conv_weights_backward
    else:
        fc_net.fc_weights_backward = lambda dout, cache: layers.fc_backward(dout, cache)[1:]
        cnn.conv_weights_backward = lambda dout, cache: layers.conv_backward(dout, cache)[1]


class DigitNet:
    """One SGD step of a network on a batch of 100 digits."""

    def __init__(self, hidden_dim=100, convolution=False, input_gradient=False):
        self.hidden_dim, self.convolution = hidden_dim, convolution
        self.input_gradient = input_gradient
        self.x = normal(100, 1, 28, 28) if convolution else normal(100, 784)
        self.y = labels(100)

    def numpy_step(self):
        if self.convolution:
            model = cnn.ConvNet(hidden_dim=self.hidden_dim, rng=0)
        else:
            model = fc_net.TwoLayerNet(784, self.hidden_dim, 10, rng=0)
        skip_input_gradient(not self.input_gradient)
        configs = {name: {"learning_rate": LEARNING_RATE} for name in model.params}

        def step():
            loss, grads = model.loss(self.x, self.y)
            for name, dw in grads.items():
                model.params[name], configs[name] = optim.sgd(model.params[name], dw,
                                                              configs[name])
        return step

    def torch_step(self):
        import torch
        from torch import nn
        head = [nn.ReLU(), nn.Linear(self.hidden_dim, 10)]
        if self.convolution:
            net = nn.Sequential(nn.Conv2d(1, 32, 7, bias=False), nn.ReLU(), nn.MaxPool2d(2),
                                nn.Flatten(), nn.Linear(32 * 11 * 11, self.hidden_dim), *head)
        else:
            net = nn.Sequential(nn.Linear(784, self.hidden_dim), *head)
        x = torch.tensor(self.x, requires_grad=self.input_gradient)
        y = torch.tensor(self.y)
        optimiser = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE)

        def step():
            optimiser.zero_grad()
            x.grad = None
            nn.functional.cross_entropy(net(x), y).backward()
            optimiser.step()
        return step

    @property
    def multiplications(self):
        N, H = len(self.x), self.hidden_dim
        if not self.convolution:
            return N * ((3 if self.input_gradient else 2) * 784 * H + 3 * H * 10)
        convolution = N * 32 * 22 * 22 * 49
        return (convolution * (3 if self.input_gradient else 2)
                + N * 3 * (32 * 11 * 11 * H + H * 10))


class Convolution:
    """Forward and backward, with both gradients."""

    def __init__(self, x_shape, w_shape):
        self.x, self.w = normal(*x_shape), normal(*w_shape)
        N, _, H, W = x_shape
        F, _, HH, WW = w_shape
        self.dout = normal(N, F, H - HH + 1, W - WW + 1)

    def numpy_step(self):
        def step():
            out, cache = layers.conv_forward(self.x, self.w)
            return out, layers.conv_backward(self.dout, cache)
        return step

    def torch_step(self):
        import torch
        x, w = (torch.tensor(value, requires_grad=True) for value in (self.x, self.w))
        dout = torch.tensor(self.dout)

        def step():
            x.grad = w.grad = None
            torch.nn.functional.conv2d(x, w).backward(dout)
        return step

    @property
    def multiplications(self):
        return 3 * self.dout.size * self.w[0].size


class Captions:
    """The captioning network on N captions of 16 words: one Adam step, or greedy sampling."""
    T, D, W, H, V = 16, 512, 256, 512, 1004     # words, features, word vector, hidden, vocabulary

    def __init__(self, N, sampling=False):
        self.sampling = sampling
        self.features = normal(N, self.D)
        words = np.random.default_rng(1).integers(3, self.V, (N, self.T + 1))
        words[:, 0], words[:, -1] = 1, 2        # <START> and <END>: no padding, all words count
        self.captions = words
        special = {"<NULL>": 0, "<START>": 1, "<END>": 2}
        self.model = CaptioningRNN({**special, **{f"word {i}": i for i in range(3, self.V)}},
                                   self.D, self.W, self.H, rng=0)

    def numpy_step(self):
        model = self.model
        if self.sampling:
            return lambda: model.sample(self.features, self.T)
        configs = {name: {} for name in model.params}

        def step():
            loss, grads = model.loss(self.features, self.captions)
            for name, dw in grads.items():
                model.params[name], configs[name] = optim.adam(model.params[name], dw,
                                                               configs[name])
        return step

    def torch_step(self):
        import torch
        from torch import nn
        p = {name: torch.tensor(value) for name, value in self.model.params.items()}
        project, score = nn.Linear(self.D, self.H), nn.Linear(self.H, self.V)
        embed = nn.Embedding(self.V, self.W)
        cell = nn.RNNCell(self.W, self.H) if self.sampling else nn.RNN(self.W, self.H)
        for target, source in zip(
                [*project.parameters(), *score.parameters(), *embed.parameters(),
                 *cell.parameters()],
                [p["W_proj"].T, p["b_proj"], p["W_vocab"].T, p["b_vocab"], p["W_embed"],
                 p["Wx"].T, p["Wh"].T, p["b"], torch.zeros(self.H)]):
            target.data = source.contiguous()
        features = torch.tensor(self.features)
        if self.sampling:
            @torch.no_grad()
            def sample():
                h, words = project(features), torch.ones(len(features), dtype=torch.long)
                captions = []
                for _ in range(self.T):
                    h = cell(embed(words), h)
                    words = score(h).argmax(1)
                    captions.append(words)
                return torch.stack(captions, 1)
            return sample
        captions = torch.tensor(self.captions.T.copy())
        parameters = [parameter for part in (project, score, embed, cell)
                      for parameter in part.parameters()]
        optimiser = torch.optim.Adam(parameters)

        def step():
            optimiser.zero_grad()
            h, _ = cell(embed(captions[:-1]), project(features)[None])
            loss = nn.functional.cross_entropy(score(h).reshape(-1, self.V),
                                               captions[1:].reshape(-1), reduction="sum")
            (loss / len(features)).backward()
            optimiser.step()
            return loss / len(features)
        return step

    @property
    def multiplications(self):
        N, D, W, H, V = len(self.features), self.D, self.W, self.H, self.V
        if self.sampling:                       # each word's share of the cell only once
            return N * D * H + V * W * H + N * self.T * (H * H + H * V)
        return 2 * N * D * H + 3 * N * self.T * (W * H + H * H + H * V)


WORKLOADS = {
    "W1": lambda: DigitNet(hidden_dim=500),
    "W1-dx": lambda: DigitNet(hidden_dim=500, input_gradient=True),
    "W1-100": lambda: DigitNet(hidden_dim=100),
    "W2": lambda: DigitNet(convolution=True),
    "W2-dx": lambda: DigitNet(convolution=True, input_gradient=True),
    "W3a": lambda: Convolution((64, 32, 28, 28), (64, 32, 3, 3)),
    "W3b": lambda: Convolution((32, 3, 64, 64), (32, 3, 5, 5)),
    "W4-25": lambda: Captions(25),
    "W4-100": lambda: Captions(100),
    "W5": lambda: Captions(100, sampling=True),
}


# ---------------------------------------------------------------- the usual homework

def loops_forward(x, w):
    """A sum for each output pixel of each image and filter."""
    N, (F, _, HH, WW) = len(x), w.shape
    OH, OW = x.shape[2] - HH + 1, x.shape[3] - WW + 1
    out = np.zeros((N, F, OH, OW), x.dtype)
    for n in range(N):
        for f in range(F):
            for i in range(OH):
                for j in range(OW):
                    out[n, f, i, j] = np.sum(x[n, :, i:i + HH, j:j + WW] * w[f])
    return out


def loops_backward(dout, x, w):
    """The same loops, spreading each dout back."""
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    HH, WW = w.shape[2:]
    for n, f, i, j in np.ndindex(dout.shape):
        dx[n, :, i:i + HH, j:j + WW] += dout[n, f, i, j] * w[f]
        dw[f] += dout[n, f, i, j] * x[n, :, i:i + HH, j:j + WW]
    return dx, dw


def im2col_indices(x, w):
    """The three index arrays that turn images into columns."""
    C, HH, WW = w.shape[1:]
    OH, OW = x.shape[2] - HH + 1, x.shape[3] - WW + 1
    channel = np.repeat(np.arange(C), HH * WW)[:, None]
    row = np.tile(np.repeat(np.arange(HH), WW), C)[:, None] + np.repeat(np.arange(OH), OW)
    column = np.tile(np.arange(WW), C * HH)[:, None] + np.tile(np.arange(OW), OH)
    return channel, row, column


def im2col_forward(x, w):
    """One matrix product with columns gathered by fancy indices."""
    channel, row, column = im2col_indices(x, w)
    columns = x[:, channel, row, column]
    OH, OW = x.shape[2] - w.shape[2] + 1, x.shape[3] - w.shape[3] + 1
    return (w.reshape(len(w), -1) @ columns).reshape(len(x), len(w), OH, OW)


def im2col_backward(dout, x, w):
    """The columns' gradient scattered by np.add.at."""
    channel, row, column = im2col_indices(x, w)
    columns = x[:, channel, row, column]
    rows = dout.reshape(len(x), len(w), -1)
    dw = (rows @ columns.transpose(0, 2, 1)).sum(axis=0).reshape(w.shape)
    dx = np.zeros_like(x)
    np.add.at(dx, (slice(None), channel, row, column), w.reshape(len(w), -1).T @ rows)
    return dx, dw


def windows_forward(x, w):
    """sliding_window_view and tensordot."""
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(2, 3))
    return np.tensordot(windows, w, axes=((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)


def windows_backward(dout, x, w):
    """The same for both gradients: dx is the full convolution with the flipped filter."""
    HH, WW = w.shape[2:]
    windows = np.lib.stride_tricks.sliding_window_view(x, (HH, WW), axis=(2, 3))
    dw = np.tensordot(dout, windows, axes=((0, 2, 3), (0, 2, 3)))
    padded = np.pad(dout, ((0, 0), (0, 0), (HH - 1, HH - 1), (WW - 1, WW - 1)))
    spread = np.lib.stride_tricks.sliding_window_view(padded, (HH, WW), axis=(2, 3))
    dx = np.tensordot(spread, w[:, :, ::-1, ::-1], axes=((1, 4, 5), (0, 2, 3)))
    return dx.transpose(0, 3, 1, 2), dw


def ours_backward(dout, x, w):
    """The project's, with a cache made outside of the clock's reach: it is just (x, w)."""
    return layers.conv_backward(dout, (x, w))


HOMEWORK = {
    "loops": (loops_forward, loops_backward, 1),
    "fancy-indexed im2col, np.add.at": (im2col_forward, im2col_backward, 5),
    "sliding_window_view, tensordot": (windows_forward, windows_backward, 5),
    "this project": (lambda x, w: layers.conv_forward(x, w)[0], ours_backward, 40),
}


def homework_rows():
    """Milliseconds of W2's convolution, forward and backward with both gradients."""
    x, w = normal(100, 1, 28, 28), normal(32, 1, 7, 7)
    dout = normal(100, 32, 22, 22)
    expected = None
    rows = []
    for name, (forward, backward, repetitions) in HOMEWORK.items():
        results = [forward(x, w), *backward(dout, x, w)]
        expected = expected or results
        for actual, right in zip(results, expected):
            np.testing.assert_allclose(actual, right, atol=1e-3 * np.abs(right).max())
        rows.append({"version": name,
                     "forward_ms": fastest(lambda: forward(x, w), repetitions),
                     "backward_ms": fastest(lambda: backward(dout, x, w), repetitions)})
    return rows


# ---------------------------------------------------------------- one process

def fastest(function, repetitions=None, seconds=0.6):
    """The least milliseconds of many calls."""
    times = []
    end = time.perf_counter() + seconds
    while len(times) < (repetitions or 10) or (repetitions is None and time.perf_counter() < end):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


def product_gflops(size=1024):
    """Billions of floating-point operations a second of one large float32 matrix product."""
    a, b = normal(size, size), normal(size, size)
    out = np.empty_like(a)
    np.matmul(a, b, out=out)
    return 2 * size ** 3 / fastest(lambda: np.matmul(a, b, out=out), seconds=0.3) / 1e6


def time_ours(names):
    """Runs in a process without PyTorch."""
    gflops = product_gflops()
    result = {"gflops": gflops, "ms": {}, "limit": {}}
    for name in names:
        workload = WORKLOADS[name]()
        result["ms"][name] = fastest(workload.numpy_step())
        result["limit"][name] = 2 * workload.multiplications / gflops / 1e6 / result["ms"][name]
    return result


def time_torch(names):
    """Runs in a process of its own; its product is timed by PyTorch."""
    import torch
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    a, b = torch.tensor(normal(1024, 1024)), torch.tensor(normal(1024, 1024))
    gflops = 2 * 1024 ** 3 / fastest(lambda: torch.mm(a, b), seconds=0.3) / 1e6
    return {"gflops": gflops, "version": torch.__version__,
            "ms": {name: fastest(WORKLOADS[name]().torch_step()) for name in names}}


def peak_extra_bytes(function):
    """The peak of traced memory during a call, beyond the results."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    result = function()
    peak = tracemalloc.get_traced_memory()[1]
    returned = sum(array.nbytes for array in flat(result))
    tracemalloc.stop()
    return peak - before - returned


def flat(result):
    """The arrays in nested tuples."""
    if isinstance(result, np.ndarray):
        return [result]
    return [array for part in result or () for array in flat(part)]


def measure_memory(names):
    """Peak extra bytes of every workload, and of the convolution for two batch sizes."""
    result = {"workloads": {}, "convolution": {}}
    for name in names:
        workload = WORKLOADS[name]()
        step = workload.numpy_step()
        result["workloads"][name] = peak_extra_bytes(step)
    for name, x_shape, w_shape in (("W2", (100, 1, 28, 28), (32, 1, 7, 7)),
                                   ("W2, 1000 images", (1000, 1, 28, 28), (32, 1, 7, 7)),
                                   ("W3a", (64, 32, 28, 28), (64, 32, 3, 3)),
                                   ("W3a, 640 images", (640, 32, 28, 28), (64, 32, 3, 3)),
                                   ("W3b", (32, 3, 64, 64), (32, 3, 5, 5))):
        result["convolution"][name] = peak_extra_bytes(Convolution(x_shape, w_shape).numpy_step())
    return result


def time_ours_with_reuse(names):
    """The same with experiment.reuse_memory(), as the scripts train."""
    experiment.reuse_memory()
    return time_ours(names)


CHILDREN = {"ours": time_ours_with_reuse, "bare": time_ours, "torch": time_torch,
            "memory": measure_memory, "homework": lambda names: homework_rows()}


def child(kind, names, threads, script=__file__):
    """Run one of CHILDREN in a fresh process with so many threads; returns its result."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("OPENBLAS_", "OMP_", "MKL_", "GOTO_", "BLIS_"))}
    environment |= {name: str(threads) for name in
                    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run([sys.executable, script, "--child", kind, "--only", *names],
                          env=environment, capture_output=True, text=True)
    if done.returncode:
        raise experiment.UserError(f"the {kind} process failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)


# ---------------------------------------------------------------- all of it

def steady(values, tolerance):
    """Whether at least two of the rounds came as close to the best as the tolerance."""
    best, second = sorted(values)[:2]
    return second <= best * (1 + tolerance)


def row(name, threads, results, extra_bytes, tolerance=0.1):
    """The figures of one workload with so many threads; results: kind -> what each round gave."""
    times = {kind: [result["ms"][name] for result in rounds] for kind, rounds in results.items()}
    quiet = all(steady(values, tolerance) for kind in ("ours", "torch") for values in
                (times[kind], [1 / result["gflops"] for result in results[kind]]))
    ms = {f"{kind}_ms": min(values) for kind, values in times.items()}
    ours = results["ours"]
    gflops = max(result["gflops"] for result in ours)
    multiply_ms = ours[0]["limit"][name] * ours[0]["ms"][name] * ours[0]["gflops"] / gflops
    return {"workload": name, "threads": threads, **ms,
            "ratio": ms["ours_ms"] / ms["torch_ms"] if quiet else None, "quiet": quiet,
            "product_limit": multiply_ms / ms["ours_ms"], "gflops": gflops,
            "extra_mb": extra_bytes / 1e6}


def table(rows):
    """The figures for the eye."""
    against = "before_ms" in rows[0]
    lines = [f"{'workload':<9}{'threads':>8}{'ours ms':>10}{'PyTorch ms':>12}{'ratio':>8}"
             f"{'product limit':>15}{'extra MB':>10}{'bare/ours':>11}"
             + f"{'before ms':>11}{'ours/before':>13}" * against]
    for r in rows:
        ratio = f"{r['ratio']:.2f}" if r["quiet"] else "busy"
        lines.append(f"{r['workload']:<9}{r['threads']:>8}{r['ours_ms']:>10.2f}"
                     f"{r['torch_ms']:>12.2f}{ratio:>8}{r['product_limit']:>15.0%}"
                     f"{r['extra_mb']:>10.1f}{r['bare_ms'] / r['ours_ms']:>11.2f}"
                     + (f"{r['before_ms']:>11.2f}{r['ours_ms'] / r['before_ms']:>13.2f}"
                        if against else ""))
    return "\n".join(lines)


def report(result):
    """Everything that is printed."""
    lines = [result["machine"], "", table(result["rows"]), "",
             "Extra memory of the convolution, forward and backward: " + ", ".join(
                 f"{name} {size / 1e6:.1f} MB" for name, size in result["convolution"].items())]
    if result["homework"]:
        lines += ["", f"{'W2 convolution, 1 thread':<34}{'forward ms':>12}{'backward ms':>13}"]
        lines += [f"{r['version']:<34}{r['forward_ms']:>12.2f}{r['backward_ms']:>13.2f}"
                  for r in result["homework"]]
    if not all(r["quiet"] for r in result["rows"]):
        lines += ["", "busy: the rounds differ too much for a conclusion. Stop what else is "
                  "running and measure again."]
    return "\n".join(lines)


def measure(names, thread_counts, rounds, homework, against=None):
    """All figures, as a dict."""
    scripts = {"ours": __file__, "torch": __file__, "bare": __file__}
    if against:
        scripts["before"] = str(pathlib.Path(against, "tests", "benchmark.py"))
    results = {threads: {kind: [] for kind in scripts} for threads in thread_counts}
    started = time.monotonic()
    progress = Progress(rounds * len(thread_counts) * len(scripts), label="benchmark")
    for _ in range(rounds):
        for threads in thread_counts:
            for kind, script in scripts.items():
                results[threads][kind].append(
                    child("ours" if kind == "before" else kind, names, threads, script))
                progress.step(f"{kind} with {threads} threads")
    progress.end()
    memory = child("memory", names, 1)
    homework_times = child("homework", names, 1) if homework else []
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python "
                   f"{platform.python_version()}, NumPy {np.__version__}, "
                   f"PyTorch {results[thread_counts[0]]['torch'][0]['version']}, float32, "
                   f"minimum of {rounds} rounds",
        "rows": [row(name, threads, results[threads], memory["workloads"][name])
                 for name in names for threads in thread_counts],
        "convolution": memory["convolution"],
        "homework": homework_times,
        "seconds": round(time.monotonic() - started, 1),
    }


def main():
    """Parse, measure, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, metavar="W",
                        help=f"some of {', '.join(WORKLOADS)}")
    parser.add_argument("--threads", nargs="+", type=experiment.positive_integer, default=[1, 2],
                        metavar="N", help="numbers of threads (default: 1 2)")
    parser.add_argument("--rounds", type=experiment.positive_integer, default=5, metavar="N",
                        help="processes of each kind, at least 2 (default: 5)")
    parser.add_argument("--json", type=experiment.file_to_write, metavar="FILE",
                        help="write the figures there, too")
    parser.add_argument("--against", type=experiment.folder, metavar="DIR",
                        help="another version of this project, to be timed in turns with this one")
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    args = parser.parse_args()
    names = args.only or list(WORKLOADS)
    if args.child:
        json.dump(CHILDREN[args.child](names), sys.stdout)
        return
    result = measure(names, args.threads, max(2, args.rounds), homework=args.only is None,
                     against=args.against)
    print(report(result), flush=True)
    if args.json:
        save_atomically(args.json, lambda file: file.write(
            json.dumps(result, indent=2).encode()))
    if not all(r["quiet"] for r in result["rows"]):
        sys.exit(3)


if __name__ == "__main__":
    experiment.run(main)
