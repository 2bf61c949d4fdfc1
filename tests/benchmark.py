"""How fast is it? Ours beside PyTorch eager on the CPU: whole trainings and single steps.

    python tests/benchmark.py --mnist DIR --captions DIR    everything, with 1 and with 2 threads
    python tests/benchmark.py --only E2 W3a   some of it
    python tests/benchmark.py --busy          the CNN's epoch beside a busy process, too
    python tests/benchmark.py --growth        how time and memory grow, too
    python tests/benchmark.py --json FILE     the figures as JSON, too
    python tests/benchmark.py --against DIR   time the steps of the project in DIR, too

How it measures:

* Ours and PyTorch's run in processes of their own, in turns, round after round: in one
  process the two thread pools would disturb each other, and a slow minute of the machine
  is to hit both.
* E1, E2 and E4 are trainings as the scripts do them, see tests/benchmark_trainings.py: seconds,
  the median over all rounds. With more than one thread, a script that cuts its mini-batches into
  shares does so here, too, and BLAS has one thread in that process. Without --mnist and
  --captions the data are drawn, and the output says so.
* W1 to W5 are single steps and layers: milliseconds, the minimum over all rounds.
* OpenBLAS, OpenMP and MKL settings are taken out of the environment: they would pin NumPy
  to other kernels than a user gets.
* The spread says how well the rounds agree. For E it is the middle half of the rounds as a share of
  the median; for W, by how much the second fastest round is slower than the fastest. W's
  processes all time the same matrix product, which counts as well. Where the spread is above
  10 %, the machine was busy: no ratio is concluded, the table says "busy", and the exit code is 3.
* "ours" has called experiment.reuse_memory(), as all scripts do; "bare" has not, like somebody
  who imports the layers and nothing else. With --against, "before" is the project in another
  folder, timed by its own tests/benchmark.py as it reports itself.
* "products" is the time that the workload's multiplications would take at the speed of
  a large matrix product, measured beside it, as a share of our time: 100 % cannot be beaten
  without doing less arithmetic. The floor is the ratio that would be left if only that were needed.
* "extra MB" is the peak of memory (tracemalloc, in a process of its own) beyond what was
  there before and the results: for W1, W2, W4 and W5 of the whole step, intermediate
  activations included; for W3 of the convolution. A line below the tables measures
  the convolution of W2 alone, and with ten times the batch.

Ratios under 1 are faster than PyTorch.
"""
import argparse
import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
import tracemalloc
from typing import NamedTuple

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import benchmark_trainings
import cnn
import experiment
import fc_net
import layers
import optim
import usual_homework
from benchmark_trainings import TRAININGS
from checkpoint import save_atomically
from experiment import Progress
from rnn import CaptioningRNN

LEARNING_RATE = 0.01
WARM_UP = 5                     # steps before a training is timed
TOLERANCE = 0.1                 # spread up to which the machine counts as quiet
FACTORS = 1, 4, 16              # by which sizes grow


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
        net = benchmark_trainings.digit_net(self.hidden_dim, self.convolution)
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

    def __init__(self, x_shape, w_shape, stride=1, pad=0):
        self.x, self.w = normal(*x_shape), normal(*w_shape)
        self.conv_param = {"stride": stride, "pad": pad}
        (N, _, *sizes), (F, _, *windows) = x_shape, w_shape
        OH, OW = (1 + (size + 2 * pad - window) // stride for size, window in zip(sizes, windows))
        self.dout = normal(N, F, OH, OW)

    def numpy_step(self):
        def step():
            out, cache = layers.conv_forward(self.x, self.w, None, self.conv_param)
            return out, layers.conv_backward(self.dout, cache)
        return step

    def torch_step(self):
        import torch
        x, w = (torch.tensor(value, requires_grad=True) for value in (self.x, self.w))
        dout = torch.tensor(self.dout)

        def step():
            x.grad = w.grad = None
            torch.nn.functional.conv2d(x, w, stride=self.conv_param["stride"],
                                       padding=self.conv_param["pad"]).backward(dout)
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
        net = benchmark_trainings.caption_net(self.model.params, step=self.sampling)
        project, embed, cell, score = (net[part] for part in ("project", "embed", "cell", "score"))
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
        optimiser = torch.optim.Adam([p for p in net.parameters() if p.requires_grad])

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
    "W3a-s2": lambda: Convolution((64, 32, 28, 28), (64, 32, 3, 3), stride=2, pad=1),
    "W3b-s2": lambda: Convolution((32, 3, 64, 64), (32, 3, 5, 5), stride=2, pad=1),
    "W4-25": lambda: Captions(25),
    "W4-100": lambda: Captions(100),
    "W5": lambda: Captions(100, sampling=True),
}


# ---------------------------------------------------------------- the usual homework

def ours_backward(dout, x, w):
    """The project's, with a cache made outside of the clock's reach: it is just (x, w)."""
    return layers.conv_backward(dout, (x, w))


HOMEWORK = {
    "loops": (usual_homework.loops_forward, usual_homework.loops_backward, 1),
    "fancy-indexed im2col, np.add.at": (
        usual_homework.im2col_forward, usual_homework.im2col_backward, 5),
    "sliding_window_view, tensordot": (
        usual_homework.windows_forward, usual_homework.windows_backward, 5),
    "this project": (lambda x, w: layers.conv_forward(x, w)[0], ours_backward, 40),
}


def homework_rows(args):
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


def time_ours(args):
    """Milliseconds of steps. Runs in a process without PyTorch."""
    gflops = product_gflops()
    result = {"gflops": gflops, "ms": {}, "limit": {}}
    for name in args.only:
        workload = WORKLOADS[name]()
        result["ms"][name] = fastest(workload.numpy_step())
        result["limit"][name] = 2 * workload.multiplications / gflops / 1e6 / result["ms"][name]
    return result


def time_ours_with_reuse(args):
    """The same with experiment.reuse_memory(), as the scripts train."""
    experiment.reuse_memory()
    return time_ours(args)


def use_threads():
    """Give PyTorch as many threads as the process is to have; returns PyTorch."""
    import torch
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    return torch


def time_torch(args):
    """Milliseconds of PyTorch's steps; its product is timed by PyTorch."""
    torch = use_threads()
    a, b = torch.tensor(normal(1024, 1024)), torch.tensor(normal(1024, 1024))
    gflops = 2 * 1024 ** 3 / fastest(lambda: torch.mm(a, b), seconds=0.3) / 1e6
    return {"gflops": gflops,
            "ms": {name: fastest(WORKLOADS[name]().torch_step()) for name in args.only}}


def training(args):
    """The training that a process is to time."""
    name, = args.only
    folder = args.captions if name == "E4" else args.mnist
    return TRAININGS[name](folder, args.steps, args.shares)


def train_ours(args):
    """Seconds of one of TRAININGS."""
    experiment.reuse_memory()
    run = training(args)
    run.ours(WARM_UP)
    return run.ours().seconds


def train_torch(args):
    """Seconds of its twin."""
    use_threads()
    run = training(args)
    run.torch(WARM_UP)
    return run.torch()[1]


def peak_bytes(function):
    """(peak of traced memory during a call beyond what was there before, bytes of its results)."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    result = function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - before, sum(array.nbytes for array in flat(result))


def peak_extra_bytes(function):
    """The peak of traced memory during a call, beyond the results."""
    peak, returned = peak_bytes(function)
    return peak - returned


def flat(result):
    """The arrays in nested tuples."""
    if isinstance(result, np.ndarray):
        return [result]
    return [array for part in result or () for array in flat(part)]


def measure_memory(args):
    """Peak extra bytes of every workload, and of the convolution for two batch sizes."""
    result = {"workloads": {}, "convolution": {}}
    for name in args.only:
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


# ---------------------------------------------------------------- growth

def cnn_step(N=25, F=8, pixels=22 * 22):
    """A training step of the CNN: N images, F filters, so many pixels after the convolution."""
    side = round(pixels ** 0.5) + 6
    model = cnn.ConvNet((1, side, side), num_filters=F, rng=0)
    X, y = normal(N, 1, side, side), labels(N)
    return lambda: updated(model, *model.loss(X, y))


def captions_step(N=10, T=8, V=500):
    """A training step of the captioning RNN: N captions of T words, V words to choose from."""
    words = {"<NULL>": 0, **{f"word {i}": i for i in range(1, V)}}
    model = CaptioningRNN(words, 512, 256, 512, rng=0)
    captions = np.random.default_rng(0).integers(1, V, (N, T + 1))
    features = normal(N, 512)
    return lambda: updated(model, *model.loss(features, captions))


def updated(model, loss, grads):
    """The parameters after a step of Adam, as a tuple of arrays."""
    return tuple(optim.adam(w, grads[name])[0] for name, w in model.params.items())


GROWTH = {                      # (network, axis) -> smallest size, the step of a size
    ("CNN", "N"): (25, lambda size: cnn_step(N=size)),
    ("CNN", "F"): (8, lambda size: cnn_step(F=size)),
    ("CNN", "H·W"): (24 * 24, lambda size: cnn_step(pixels=size)),
    ("captions", "N"): (10, lambda size: captions_step(N=size)),
    ("captions", "T"): (8, lambda size: captions_step(T=size)),
    ("captions", "V"): (500, lambda size: captions_step(V=size)),
}


def slope(sizes, values):
    """The exponent: 1 where values grow like sizes, 2 where they grow like their squares."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def measure_growth(args):
    """Time and peak memory of a step along each axis of GROWTH, and the machine's memory."""
    experiment.reuse_memory()
    axes = []
    for (network, axis), (smallest, make_step) in GROWTH.items():
        sizes, times, peaks = [smallest * factor for factor in FACTORS], [], []
        for size in sizes:
            step = make_step(size)
            times.append(fastest(step, seconds=1))
            peaks.append(peak_bytes(step)[0] / 1e6)
        axes.append({"network": network, "axis": axis, "sizes": sizes, "ms": times, "mb": peaks,
                     "time_slope": slope(sizes, times), "memory_slope": slope(sizes, peaks)})
    return {"axes": axes,
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")}


# ---------------------------------------------------------------- processes

CHILDREN = {"ours": time_ours_with_reuse, "bare": time_ours, "torch": time_torch,
            "train ours": train_ours, "train torch": train_torch, "memory": measure_memory,
            "homework": homework_rows, "growth": measure_growth}


class Job(NamedTuple):
    """A process: one of CHILDREN, of which workloads, with how many threads."""
    kind: str
    names: tuple = ()
    threads: int = 1
    busy: bool = False          # whether another process keeps a core busy
    before: bool = False        # whether it is the project of --against


def shares_of(job):
    """The shares of a training of ours: the script's default where there are threads for them."""
    return 1 if job.threads == 1 else TRAININGS[job.names[0]].module.arguments([]).shares


def child(job, args):
    """Run a job in a fresh process; returns its result."""
    script, threads, flags = __file__, job.threads, []
    if job.before:              # an older version knows none of the flags below
        script = str(pathlib.Path(args.against, "tests", "benchmark.py"))
    elif job.kind.startswith("train"):
        shares = shares_of(job)
        if job.kind == "train ours" and shares > 1:
            threads = 1         # those of BLAS
        flags = [f"--shares={shares}"]
        flags += [f"--{name}={value}" for name, value in (
            ("mnist", args.mnist), ("captions", args.captions), ("steps", args.steps)) if value]
    only = ["--only", *job.names] if job.names else []
    with busy_core() if job.busy else contextlib.nullcontext():
        return in_a_process(script, threads, "--child", job.kind, *only, *flags)


def in_a_process(script, threads, *arguments):
    """What a script prints as JSON, in a fresh process with so many threads."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("OPENBLAS_", "OMP_", "MKL_", "GOTO_", "BLIS_"))}
    environment |= {name: str(threads) for name in
                    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run([sys.executable, script, *arguments], env=environment,
                          capture_output=True, text=True)
    if done.returncode:
        raise experiment.UserError(f"{' '.join(arguments)} failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)


@contextlib.contextmanager
def busy_core():
    """Another process that keeps a core busy."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


# ---------------------------------------------------------------- all of it

def step_figures(results, name, extra_bytes):
    """The figures of a step in milliseconds; results: kind -> what each round gave."""
    times = {kind: [result["ms"][name] for result in rounds] for kind, rounds in results.items()}
    ms = {kind: min(values) for kind, values in times.items()}
    ours = results["ours"]
    spread = max(map(second_to_best, (times["ours"], times["torch"], *(
        [1 / result["gflops"] for result in results[kind]] for kind in ("ours", "torch")))))
    gflops = max(result["gflops"] for result in ours)
    multiply_ms = ours[0]["limit"][name] * ours[0]["ms"][name] * ours[0]["gflops"] / gflops
    return {**ms, "ratio": ms["ours"] / ms["torch"] if spread <= TOLERANCE else None,
            "spread": spread, "products": multiply_ms / ms["ours"], "gflops": gflops,
            "extra_mb": extra_bytes / 1e6}


def second_to_best(values):
    """By how much the second smallest is larger than the smallest."""
    best, second = sorted(values)[:2]
    return second / best - 1


def training_figures(results, tolerance=TOLERANCE):
    """The figures of a training in seconds; results: kind -> the seconds of each round."""
    medians = {kind: float(np.median(values)) for kind, values in results.items()}
    spread = max(float(np.subtract(*np.percentile(values, [75, 25]))) / medians[kind]
                 for kind, values in results.items())
    ratio = medians["ours"] / medians["torch"]
    return {**medians, "ratio": ratio if spread <= tolerance else None, "spread": spread}


def threads_name(threads):
    """What the JSON and the tables call a number of threads."""
    return f"{threads} thread{'s' * (threads > 1)}"


def data_names(args):
    """Where the data of the trainings are from, and how many steps are made of them."""
    return {**{name: os.path.basename(os.path.abspath(folder)) if folder else "drawn"
               for name, folder in (("digits", args.mnist), ("captions", args.captions))},
            "steps": args.steps or "all"}


def jobs_of(args):
    """The processes of a round."""
    steps, whole = ([name for name in args.only if name in kind] for kind in (WORKLOADS, TRAININGS))
    jobs = []
    for threads in args.threads:
        if steps:
            jobs += [Job(kind, tuple(steps), threads) for kind in ("ours", "torch", "bare")]
            jobs += [Job("ours", tuple(steps), threads, before=True)] if args.against else []
        jobs += trainings_of(whole, threads)
    if args.busy:
        jobs += trainings_of(["E2"], max(args.threads), busy=True)
    return jobs


def trainings_of(names, threads, busy=False):
    """Ours and its twin, in turns."""
    return [Job(f"train {whose}", (name,), threads, busy)
            for name in names for whose in ("ours", "torch")]


def machine(rounds):
    """What all figures depend on."""
    return (f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
            f"NumPy {np.__version__}, PyTorch {importlib.metadata.version('torch')}, float32, "
            f"{rounds} rounds")


def save_json(path, result):
    """Write a result, whole or not at all."""
    save_atomically(path, lambda file: file.write(json.dumps(result, indent=1).encode()))


def measure(args):
    """All figures, as a dict."""
    started = time.monotonic()
    jobs = jobs_of(args)
    results = {job: [] for job in jobs}
    progress = Progress(args.rounds * len(jobs), label="benchmark")
    for _ in range(args.rounds):
        for job in jobs:
            results[job].append(child(job, args))
            progress.step(f"{job.kind}, {threads_name(job.threads)}")
    progress.end()
    figures = {"machine": machine(args.rounds),
               "data": data_names(args), "unit of E": "seconds", "unit of W": "milliseconds",
               **tables(args, results)}
    if args.growth:
        figures["growth"] = child(Job("growth"), args)
    if args.everything:
        figures["homework"] = child(Job("homework"), args)
    return figures | {"seconds": round(time.monotonic() - started, 1)}


def tables(args, results):
    """The figures of all jobs: "2 threads" -> workload -> figures, and the like."""
    steps = tuple(name for name in args.only if name in WORKLOADS)
    memory = child(Job("memory", steps), args) if steps else {}
    found = {}
    for threads in args.threads:
        of_steps = {"before" if job.before else job.kind: rounds for job, rounds in results.items()
                    if job.threads == threads and job.names == steps}
        found[threads_name(threads)] = trained(results, threads) | {
            name: step_figures(of_steps, name, memory["workloads"][name]) for name in steps}
    if args.busy:
        found["busy"] = trained(results, max(args.threads), busy=True)
    return found | ({"convolution": memory["convolution"]} if steps else {})


def trained(results, threads, busy=False):
    """The figures of the trainings with so many threads."""
    by_name = {}
    for job, rounds in results.items():
        if job.kind.startswith("train") and (job.threads, job.busy) == (threads, busy):
            by_name.setdefault(job.names[0], {})[job.kind.removeprefix("train ")] = rounds
    tolerance = np.inf if busy else TOLERANCE       # beside another program no time is steady
    return {name: training_figures(rounds, tolerance)
            | {"shares": shares_of(Job("", (name,), threads))} for name, rounds in by_name.items()}


# ---------------------------------------------------------------- what is printed

def aligned(rows):
    """A Markdown table that can be read as it stands; the first row is the heading."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [" | ".join([row[0].ljust(widths[0]),
                         *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))])
             for row in rows]
    rule = " | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    return "\n".join(f"| {line} |" for line in [lines[0], rule, *lines[1:]])


def ratio_text(figures):
    """The ratio, or "busy"."""
    return "busy" if figures["ratio"] is None else f"{figures['ratio']:.2f}"


def threads_table(figures):
    """What was measured with one number of threads; figures: workload -> figures."""
    against = any("before" in row for row in figures.values())
    heading = ["", "ours", "PyTorch", "ratio", "floor", "products", "spread", "extra MB",
               "bare/ours"]
    rows = [heading + ["before", "ours/before"] * against]
    for name, row in figures.items():
        unit = "s" if name in TRAININGS else "ms"
        cells = [name, f"{row['ours']:.2f} {unit}", f"{row['torch']:.2f} {unit}", ratio_text(row)]
        if unit == "s":
            cells += ["", "", f"{row['spread']:.0%}"] + [""] * (2 + 2 * against)
        else:
            floor = row["products"] * row["ours"] / row["torch"]
            cells += [f"{floor:.2f}", f"{row['products']:.0%}", f"{row['spread']:.0%}",
                      f"{row['extra_mb']:.1f}", f"{row['bare'] / row['ours']:.2f}"]
            if against:
                cells += [f"{row['before']:.2f} ms", f"{row['ours'] / row['before']:.2f}"]
        rows.append(cells)
    return aligned(rows)


def speed(result):
    """The tables for all numbers of threads."""
    data = result["data"]
    parts = [f"Data of E: digits {data['digits']}, captions {data['captions']}, "
             f"{data['steps']} steps."]
    for name, figures in result.items():
        if name.endswith(("thread", "threads")):
            cut = [f"{row['shares']} for {training}" for training, row in figures.items()
                   if row.get("shares", 1) > 1]
            parts += [f"**{name}**" + (f" (shares: {', '.join(cut)})" if cut else ""),
                      threads_table(figures)]
    if "busy" in all_ratios(result):
        parts.append("busy: the rounds differ too much for a conclusion. Stop what else is running "
                     "and measure again.")
    return "\n\n".join(parts)


def busy(result):
    """The CNN's epoch beside another busy process."""
    if "busy" not in result:
        return "Not measured: run it with --busy."
    row = result["busy"]["E2"]
    return (f"E2 beside one busy process: ours {row['ours']:.1f} s, PyTorch {row['torch']:.1f} s, "
            f"ratio {ratio_text(row)}, spread {row['spread']:.0%}.")


def growth(result):
    """Exponents of time and memory, and what fits into memory."""
    if "growth" not in result:
        return "Not measured: run it with --growth."
    rows = [["step", "grows with", "from", "to", "time", "memory", "ms", "MB"]]
    for axis in result["growth"]["axes"]:
        rows.append([axis["network"], axis["axis"], str(axis["sizes"][0]), str(axis["sizes"][-1]),
                     *(f"{axis[name]:.2f}{' (!)' * (axis[name] > 1.1)}"
                       for name in ("time_slope", "memory_slope")),
                     *(" ".join(f"{value:.3g}" for value in axis[unit]) for unit in ("ms", "mb"))])
    memory = result["growth"]["memory_bytes"]
    images = memory / (28 * 28 * 4 + 8)
    return (f"{aligned(rows)}\n\nAs float32 arrays, {images / 1e6:.1f} million images of 28x28 and "
            f"their labels fill the {memory / 1e9:.1f} GB of this machine. Given as np.memmap they "
            "stay on the disk: an epoch then needs 8 bytes for each, for their order.")


def memory_passage(result):
    """Extra memory of the convolution."""
    return "Extra memory of the convolution, forward and backward: " + ", ".join(
        f"{name} {size / 1e6:.1f} MB" for name, size in result["convolution"].items()) + "."


def homework(result):
    """The usual versions of W2's convolution."""
    return aligned([["W2 convolution, 1 thread", "forward ms", "backward ms"]] + [
        [row["version"], f"{row['forward_ms']:.2f}", f"{row['backward_ms']:.2f}"]
        for row in result["homework"]])


PASSAGES = {"speed": speed, "busy": busy, "growth": growth, "convolution": memory_passage,
            "homework": homework}


def report(result):
    """Everything that is printed."""
    return "\n\n".join([result["machine"], speed(result)] + [
        passage(result) for name, passage in PASSAGES.items() if name in result])


def all_ratios(result):
    """The ratios as they are printed."""
    return [ratio_text(row) for figures in result.values() if isinstance(figures, dict)
            for row in figures.values() if isinstance(row, dict) and "ratio" in row]


def ratios_figure(result):
    """A picture: the ratio of every workload, a bar for each number of threads."""
    tables = {name: result[name] for name in result if name.endswith(("thread", "threads"))}
    names = list(next(iter(tables.values())))
    figure = experiment.new_figure(9, 4.5, "Time of ours / time of PyTorch: below 1 ours is faster")
    axes = figure.subplots()
    width = 0.8 / len(tables)
    for place, (threads, figures) in enumerate(tables.items()):
        bars = axes.bar(np.arange(len(names)) + (place + 0.5) * width - 0.4,
                        [figures[name]["ratio"] or 0 for name in names], width, label=threads)
        axes.bar_label(bars, [ratio_text(figures[name]) for name in names], fontsize=7)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(names)), labels=names)
    axes.set(ylabel="ratio")
    axes.legend()
    return figure


def arguments(argv=None):
    """The parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*TRAININGS, *WORKLOADS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME",
                        help=f"some of {', '.join(names)}")
    parser.add_argument("--threads", nargs="+", type=experiment.positive_integer, default=[1, 2],
                        metavar="N", help="numbers of threads (default: 1 2)")
    parser.add_argument("--rounds", type=experiment.positive_integer, default=5, metavar="N",
                        help="processes of each kind, at least 2 (default: 5)")
    parser.add_argument("--mnist", type=experiment.folder, metavar="DIR",
                        help="folder of MNIST, for E1 and E2")
    parser.add_argument("--captions", type=experiment.folder, metavar="DIR",
                        help="folder in the layout of COCO's captions, for E4")
    parser.add_argument("--steps", type=experiment.positive_integer, metavar="N",
                        help="shorter trainings, for trying out")
    parser.add_argument("--busy", action="store_true",
                        help="E2 while another process keeps a core busy, too")
    parser.add_argument("--growth", action="store_true",
                        help="how time and memory of a step grow, too")
    parser.add_argument("--json", type=experiment.file_to_write, metavar="FILE",
                        help="write the figures there, too")
    parser.add_argument("--against", type=experiment.folder, metavar="DIR",
                        help="another version of this project, whose steps are timed in turns")
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    parser.add_argument("--shares", type=experiment.positive_integer, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    args.everything, args.only = args.only is None, args.only or names
    args.rounds = max(2, args.rounds)
    return args


def main(argv=None):
    """Parse, measure, report."""
    args = arguments(argv)
    if args.child:
        json.dump(CHILDREN[args.child](args), sys.stdout)
        return
    result = measure(args)
    print(report(result), flush=True)
    if args.json:
        save_json(args.json, result)
    if "busy" in all_ratios(result):
        sys.exit(3)


if __name__ == "__main__":
    experiment.run(main)
