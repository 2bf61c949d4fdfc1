"""What the experiment scripts share: flags, the results folder, progress, data, pictures, errors."""
import argparse
import contextlib
import ctypes
import glob
import importlib.util
import json
import os
import platform
import shlex
import shutil
import sys
import textwrap
import time

try:
    import fcntl
except ImportError:                             # Windows
    fcntl = None


def python():
    """What to type for the Python that is running: .venv/bin/python, as in the README, if it is that."""
    path, name = os.path.relpath(sys.executable), os.path.basename(sys.executable)
    if not path.startswith(os.pardir):
        return path
    return name if shutil.which(name) == sys.executable else sys.executable


try:
    import numpy as np
except ModuleNotFoundError:
    print(f"error: numpy is missing: {python()} -m pip install numpy matplotlib", file=sys.stderr)
    sys.exit(2)

from checkpoint import CheckpointError, save_atomically
from data.download import DataError, DownloadError
from solver import DivergedError

COLOURS = {"train": "tab:blue", "validation": "tab:orange", "right": "tab:green",
           "wrong": "tab:red", "other": "0.75"}


class UserError(ValueError):
    """Something that the person at the shell can mend; the message says how."""


# ---------------------------------------------------------------- flags

class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Tells the defaults, but not that a flag is off or that nothing is set."""

    def _get_help_string(self, action):
        off = action.default is None or action.default is False
        return action.help if off else super()._get_help_string(action)


def argument_parser(description, *, script, epochs, data_dir_help):
    """A parser with the flags that all scripts have."""
    parser = argparse.ArgumentParser(
        prog=f"{script}.py", description=description, formatter_class=_HelpFormatter)
    parser.set_defaults(script=script)
    parser.add_argument("--data", choices=("auto", "real", "synthetic"), default="auto",
                        help="auto takes the real data if they are there or can be downloaded, "
                             "else draws synthetic ones and says so")
    parser.add_argument("--data-dir", type=folder, metavar="DIR", help=data_dir_help)
    parser.add_argument("--out", type=folder, metavar="DIR", default=os.path.join("results", script),
                        help="folder for metrics.json, pictures and checkpoints; with --quick it "
                             f"is results/{script}_quick by default")
    parser.add_argument("--epochs", type=positive_integer, metavar="N", default=epochs,
                        help="passes over the training data")
    parser.add_argument("--seed", type=natural_number, metavar="N", default=0,
                        help="of all random numbers: the same seed gives the same results")
    parser.add_argument("--resume", action="store_true",
                        help="go on from the last checkpoint in --out, to the same result as if it "
                             "had never stopped")
    parser.add_argument("--quick", action="store_true",
                        help="a small run that takes seconds, for trying out")
    return parser


def training_flags(parser, *, learning_rate, lr_decay, batch_size=100, reg=None):
    """Add the flags of scripts that train with the Solver, with a script's own defaults."""
    parser.add_argument("--init", type=existing_file, metavar="CHECKPOINT",
                        help="begin a new training from the parameters in this checkpoint")
    parser.add_argument("--learning-rate", type=positive_number, default=learning_rate, metavar="X",
                        help="of the first epoch")
    parser.add_argument("--lr-decay", type=positive_number, default=lr_decay, metavar="X",
                        help="the learning rate is multiplied by it after each epoch")
    parser.add_argument("--batch-size", type=positive_integer, default=batch_size, metavar="N",
                        help="samples in a mini-batch")
    if reg is not None:
        parser.add_argument("--reg", type=nonnegative_number, default=reg, metavar="X",
                            help="strength of the L2 penalty on the weights")


def parse(parser, argv, quick):
    """The arguments; with --quick, the dict `quick` replaces the defaults of its flags."""
    args = parser.parse_args(argv)
    if args.quick:
        parser.set_defaults(out=os.path.join("results", f"{args.script}_quick"), **quick)
        args = parser.parse_args(argv)
    if args.data == "synthetic" and args.data_dir:
        parser.error("--data-dir is for real data: leave it out, or leave out --data synthetic")
    return args


def _flag(expected, convert, accepts=lambda value: True):
    """A type for argparse, which otherwise answers with the name of a Python function."""
    def parsed(text):
        try:
            value = convert(text)
        except ValueError:
            value = None
        if value is None or not accepts(value):
            raise argparse.ArgumentTypeError(f"expects {expected}, got {text!r}")
        return value
    return parsed


folder = _flag("a folder", str, bool)
existing_file = _flag("a file that exists", str, os.path.isfile)
file_to_write = _flag("a file in a folder that exists", str, lambda text: bool(text) and (
    not os.path.isdir(text) and os.path.isdir(os.path.dirname(os.path.abspath(text)))))
positive_integer = _flag("a whole number of at least 1", int, lambda value: value >= 1)
positive_integers = _flag("whole numbers of at least 1, separated by spaces", int,
                          lambda value: value >= 1)
natural_number = _flag("a whole number of at least 0", int, lambda value: value >= 0)
positive_number = _flag("a number above 0", float, lambda value: 0 < value < np.inf)
nonnegative_number = _flag("a number of at least 0", float, lambda value: 0 <= value < np.inf)
share = _flag("a number from 0 to below 1", float, lambda value: 0 <= value < 1)


# ---------------------------------------------------------------- running a script

def reuse_memory():
    """Tell glibc to keep freed memory for the next array; nothing where there is no glibc.

    By default it returns large freed blocks to Linux, and the next array of that size costs more
    in page faults than in arithmetic. Measured with one thread (docs/results.md, "Speed", last
    column): without this call a step of the CNN takes 1.6 times as long, one of the captioning RNN
    1.05 times. The price is that a process keeps its peak memory, which rises by at most 2 MB in
    those workloads. Has no effect on arrays that exist already, so call it first.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt, mmap_threshold, trim_threshold = ctypes.CDLL(None).mallopt, -3, -1
        if not mallopt(mmap_threshold, 1 << 30):
            mallopt(mmap_threshold, 1 << 25)    # older versions of glibc refuse more than 32 MB
        mallopt(trim_threshold, 1 << 30)


def run(main):
    """Call main() and turn what a person can mend into one line and exit code 2."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")   # a folder's name may be in any script
    try:
        if importlib.util.find_spec("matplotlib") is None:
            raise UserError(f"matplotlib is missing: {python()} -m pip install matplotlib")
        main()
    except KeyboardInterrupt:
        arguments = [argument for argument in sys.argv if argument != "--resume"]
        print(f"\nStopped. Go on with: {shlex.join([python(), *arguments, '--resume'])}",
              file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # Who read the output has left (head, less); nothing more can be said to them.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (UserError, DataError, DownloadError, CheckpointError, DivergedError) as error:
        text = str(error)
    except MemoryError as error:
        text = f"not enough memory: {error}. Try smaller sizes of the model or of the mini-batches"
    except OSError as error:
        text = f"{error.filename or ''}: {error.strerror or error}".lstrip(": ")
    else:
        return
    print(f"error: {' '.join(text.split())}", file=sys.stderr)
    sys.exit(2)


def say(text):
    """Print, in lines of at most 100 characters."""
    print(textwrap.fill(" ".join(text.split()), 100, break_long_words=False, break_on_hyphens=False),
          flush=True)


class Progress:
    """Progress with the time left: one rewritten line on a terminal, else only whole lines.

    Args: the number of steps of all, those done before, and a label that leads each line.
    """

    def __init__(self, total_steps, steps_done=0, label="", stream=None):
        self.total_steps = total_steps
        self.steps_done = self.steps_at_start = steps_done
        self.label = label + "  " if label else ""
        self.stream = sys.stdout if stream is None else stream
        self.on_terminal = self.stream.isatty()
        self.started = time.monotonic()
        self.shown = -np.inf

    def step(self, text):
        """One step is done; shows at most ten of them a second."""
        self.steps_done += 1
        now = time.monotonic()
        if self.on_terminal and now - self.shown >= 0.1:
            self.shown = now
            # Only a line that fits can be rewritten.
            line = f"{self.label}{text}  {self._time_left()}"
            self._rewrite(line[:shutil.get_terminal_size().columns - 1])

    def line(self, text):
        """A line that stays, after an epoch."""
        text = f"{self.label}{text}  {self._time_left()}"
        if self.on_terminal:
            self._rewrite(text)
            self.end()
        else:
            print(text, file=self.stream, flush=True)

    def end(self):
        """Leave the rewritten line as it stands."""
        if self.on_terminal:
            print(file=self.stream, flush=True)

    def _rewrite(self, text):
        # \033[K clears what a longer line has left.
        print(f"\r{text}\033[K", end="", file=self.stream, flush=True)

    def _time_left(self):
        elapsed = time.monotonic() - self.started
        steps_now = self.steps_done - self.steps_at_start
        if self.steps_done >= self.total_steps or steps_now == 0:
            return f"{elapsed:.1f} s"
        seconds = elapsed / steps_now * (self.total_steps - self.steps_done)
        return f"{int(seconds // 60)}:{int(seconds % 60):02d} left"


class LastLine(Progress):
    """Progress of one training among many: only the line of its last epoch stays."""

    def line(self, text):
        """The last line stays; the others are shown on a terminal until the next step."""
        if self.steps_done >= self.total_steps:
            super().line(text)


# ---------------------------------------------------------------- the results folder

@contextlib.contextmanager
def results_folder(args, *own):
    """Hold the results folder and make it ready.

    own: patterns of the names of this script's checkpoints. A run that starts afresh removes the
    metrics and such checkpoints of a previous run, so that they are never taken for its own. To be
    entered once everything else that may fail has succeeded: the previous run is gone then.
    """
    checkpoints = checkpoint_path(args, "")
    with contextlib.ExitStack() as stack:
        try:
            os.makedirs(checkpoints, exist_ok=True)
            if fcntl:
                lock = os.open(checkpoints, os.O_RDONLY)
                stack.callback(os.close, lock)
                with contextlib.suppress(OSError):      # some network drives have no locks
                    try:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        raise UserError(f"{args.out} is in use by another run: wait for it, or "
                                        "choose another folder with --out") from None
            _tidy(args, own)
        except OSError as error:
            raise UserError(f"the results folder cannot be used: {error.filename}: "
                            f"{error.strerror}. Choose another one with --out") from error
        yield


def checkpoint_path(args, name):
    """Where a checkpoint of this name belongs."""
    return os.path.join(args.out, "checkpoints", name)


def _tidy(args, own):
    """Say what is replaced, and remove it; of a run that is resumed nothing is."""
    script = _metrics(args).get("config", {}).get("script", args.script)
    if script != args.script:
        raise UserError(f"{args.out} holds the results of {script}: choose another folder with "
                        "--out")
    metrics = os.path.join(args.out, "metrics.json")
    old = [checkpoint_path(args, name) for pattern in own for suffix in ("", ".tmp")
           for name in glob.glob(pattern + suffix, root_dir=checkpoint_path(args, ""))]
    if args.resume and old:
        return
    if args.resume:
        say(f"No checkpoint of this training in {args.out}: starting afresh.")
    if old or os.path.exists(metrics):
        state = "finished" if os.path.exists(metrics) else "unfinished"
        say(f"Replacing the {state} run in {args.out}: its checkpoints, metrics.json and pictures.")
    for path in [*old, metrics]:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)


def _metrics(args):
    """The metrics.json in the results folder, or {} if there is none that can be read."""
    try:
        with open(os.path.join(args.out, "metrics.json"), encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def config_of(args):
    """The arguments that decide the result, as they are kept in metrics.json."""
    return {name: value for name, value in vars(args).items()
            if name not in ("out", "resume", "data_dir", "seed", "yes")}


def _data_dir(args):
    """Where the data come from, told apart from other folders; None where the loaders decide."""
    return None if args.data_dir is None else os.path.realpath(args.data_dir)


def finished_summary(args, summary):
    """What to print if --resume asks for a run that is complete, else None.

    summary: summary(metrics, out) -> text, which the script prints at its end.
    """
    metrics = _metrics(args) if args.resume else {}
    # Of other data the checkpoints will say so.
    if [metrics.get(name) for name in ("config", "seed", "data_dir")] != \
            [config_of(args), args.seed, _data_dir(args)]:
        return None
    return f"This run is finished.\n{summary(metrics, args.out)}"


def save_metrics(args, metrics):
    """Write metrics.json, whole or not at all, with the settings, the data's folder and the machine."""
    text = json.dumps({"seed": args.seed, "config": config_of(args), **metrics,
                       "data_dir": _data_dir(args), "environment": environment()}, indent=2) + "\n"
    _save(args, "metrics.json", lambda file: file.write(text.encode()))


def environment():
    """What times and the last bits of results depend on; PyTorch only where it is used."""
    versions = {name: sys.modules[name].__version__ for name in ("numpy", "torch")
                if name in sys.modules}
    threads = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS")
    return {"machine": platform.machine(), "cores": os.cpu_count(),
            "threads": int(threads) if (threads or "").isdecimal() else None,
            "python": platform.python_version(), **versions}


def _save(args, name, write):
    """Call write(file) for a file of the results folder, whole or not at all."""
    path = os.path.join(args.out, name)
    try:
        save_atomically(path, write)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}. Training is complete and "
                        "its checkpoints are intact: free some space and go on with "
                        "--resume") from error


# ---------------------------------------------------------------- training

def prepare(args, *solvers):
    """Go on from the checkpoints (--resume) or begin with given parameters (--init), if asked to.

    Comes before results_folder, so that a refusal leaves everything as it was.
    """
    for solver in solvers:
        resumed = args.resume and solver.resume()
        if args.init and not resumed:
            solver.start_from(args.init)


def train(solver, label="", progress=Progress):
    """Train with a progress line."""
    solver.progress = progress(solver.num_epochs * solver.batches_per_epoch,
                               len(solver.loss_history), label)
    solver.train()


# ---------------------------------------------------------------- digits

def load_digits(args, num_train, num_val, num_test):
    """MNIST, or drawn digits in its place, as --data, --data-dir and --seed ask.

    Returns (data, kind): data has X_train (num_train, 1, 28, 28) float32 in [0, 1],
    y_train (num_train,) and so on for val and test; kind is 'real' or 'synthetic'.
    """
    from data.mnist import load_mnist
    from data.synthetic_digits import load_synthetic_digits
    kind = "synthetic" if args.data == "synthetic" else "real"
    if kind == "real":
        sizes = {"train": num_train, "val": num_val, "test": num_test}
        try:
            data = load_mnist(args.data_dir, progress=True)
            data = {name: value[:sizes[name[2:]]] for name, value in data.items()}
        except DownloadError as error:
            if args.data == "real":
                raise
            say(f"MNIST is not available: {error}")
            kind = "synthetic"
    if kind == "synthetic":
        print("*** SYNTHETIC DATA: digits drawn by data/synthetic_digits.py, not MNIST. ***\n"
              "*** All figures and pictures of this run are about drawn digits.        ***",
              flush=True)
        data = load_synthetic_digits(args.seed, num_train, num_val, num_test)
    say(f"{digits_name(kind)}: {len(data['X_train']):,} digits for training, "
        f"{len(data['X_val']):,} for validation, {len(data['X_test']):,} for testing")
    if args.reg:
        say("The loss on the screen includes the L2 penalty of --reg.")
    return data, kind


def digits_name(kind):
    """What pictures and tables call the data."""
    return {"real": "MNIST", "synthetic": "synthetic digits"}[kind]


def scores_of(model, X, batch_size=1000):
    """model.loss(X) a batch at a time."""
    return np.concatenate([model.loss(X[start:start + batch_size])
                           for start in range(0, len(X), batch_size)])


def digits_report(args, data, kind, solver, title):
    """Draw the pictures of a trained model that both networks have; returns its metrics."""
    name = digits_name(kind)
    history = {"loss": solver.loss_history, "train_accuracy": solver.train_acc_history,
               "val_accuracy": solver.val_acc_history}
    scores = scores_of(solver.model, data["X_test"])
    predictions = scores.argmax(axis=1)
    save_figure(args, "learning_curves.png", learning_curves(history, f"{title} on {name}"))
    save_figure(args, "confusion_matrix.png", confusion_matrix(
        data["y_test"], predictions, 10, f"Test set of {name}"))
    save_figure(args, "mistakes.png", mistakes(
        data["X_test"], data["y_test"], scores,
        f"Most confident mistakes on the test set of {name}"))
    sizes = {f"num_{part}": len(data[f"y_{part}"]) for part in ("train", "val", "test")}
    return {"data": kind, **sizes,
            "test_accuracy": float(np.mean(predictions == data["y_test"])),
            "val_accuracy": solver.best_val_acc, "history": history}


# ---------------------------------------------------------------- pictures

def new_figure(width, height, title=None):
    """An empty matplotlib figure (inches) that needs no display."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), layout="constrained", dpi=120)
    if title:
        figure.suptitle(title)
    return figure


def save_figure(args, name, figure):
    """Write a picture into the results folder, whole or not at all; that of a quick run says so."""
    if args.quick:
        figure.suptitle(f"{figure.get_suptitle()} (quick run)".strip())
    _save(args, name, lambda file: figure.savefig(file, format="png"))


def learning_curves(history, title, metric="accuracy"):
    """Loss of every step, and the training and validation metric after every epoch.

    `history` has loss (a number per step), train_accuracy and val_accuracy (per epoch).
    """
    from matplotlib.ticker import PercentFormatter
    figure = new_figure(10, 4, title)
    left, right = figure.subplots(1, 2)
    epochs = np.arange(1, len(history["val_accuracy"]) + 1)
    losses = np.array(history["loss"])
    position = np.arange(1, len(losses) + 1) * len(epochs) / len(losses)
    left.plot(position, losses, "." if len(losses) == 1 else "-", color=COLOURS["other"],
              linewidth=0.5, label="each step")
    window = max(1, len(losses) // (4 * len(epochs)))
    if window > 1:
        smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
        left.plot(position[window - 1:], smooth, color=COLOURS["train"],
                  label=f"mean of {window} steps")
    left.set(xlabel="epoch", ylabel="training loss", yscale="log")
    left.legend()
    right.plot(epochs, history["train_accuracy"], ".-", color=COLOURS["train"],
               label="training (sample)")
    right.plot(epochs, history["val_accuracy"], ".-", color=COLOURS["validation"],
               label="validation")
    right.set(xlabel="epoch", ylabel=metric)
    if metric == "accuracy":
        right.yaxis.set_major_formatter(PercentFormatter(1))
    right.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    right.legend(loc="lower right")         # accuracies rise
    return figure


def confusion_matrix(y, predictions, num_classes, title):
    """How often each class (rows) was taken for each class (columns)."""
    counts = np.zeros((num_classes, num_classes), dtype=int)
    np.add.at(counts, (y, predictions), 1)
    wrong = counts * (1 - np.eye(num_classes, dtype=int))
    figure = new_figure(6.5, 6, title)
    axes = figure.subplots()
    # The colour shows mistakes only: on the diagonal it would drown them.
    axes.imshow(wrong, cmap="Reds", vmin=0, vmax=max(1, wrong.max()))
    for row in range(num_classes):
        for column in range(num_classes):
            dark = wrong[row, column] > 0.6 * wrong.max() > 0
            axes.text(column, row, counts[row, column], ha="center", va="center", fontsize=8,
                      color="white" if dark else "black",
                      weight="bold" if row == column else "normal")
    axes.set(xlabel="predicted", ylabel="true",
             xticks=range(num_classes), yticks=range(num_classes))
    return figure


def mistakes(X, y, scores, title, rows=4, columns=6):
    """The pictures that were most confidently misread, each with its probabilities."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    predictions = scores.argmax(axis=1)
    wrong = np.flatnonzero(predictions != y)
    confidence = probabilities[wrong, predictions[wrong]]
    shown = wrong[np.argsort(-confidence, kind="stable")][:rows * columns]
    rows = max(1, -(-len(shown) // columns))
    figure = new_figure(1.7 * columns, 2.3 * rows + 0.6, title)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    if not len(shown):
        grid.flat[columns // 2].text(0, 0.5, "no mistakes", ha="center")
    classes = np.arange(probabilities.shape[1])
    for axes, sample in zip(grid.flat, shown):
        read, true = predictions[sample], y[sample]
        colours = [COLOURS["right"] if c == true else COLOURS["wrong"] if c == read else
                   COLOURS["other"] for c in classes]
        # The picture stands on the bars of its probabilities, in one pair of axes: matplotlib
        # needs most of its time for axes and the labels of their ticks.
        axes.set_axis_on()
        axes.imshow(X[sample].reshape(28, 28), cmap="gray_r", extent=(-0.5, 9.5, 4, 14))
        axes.bar(classes, 3.5 * probabilities[sample], color=colours)
        axes.set(ylim=(0, 14), xticks=[read, true], yticks=[],
                 title=f"true {true}, read {read}")
        axes.title.set_fontsize(9)
        axes.tick_params(labelsize=8, length=0, pad=1)
        axes.spines[["left", "right", "top"]].set_visible(False)
    return figure
