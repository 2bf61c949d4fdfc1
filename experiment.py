"""What the scripts share: flags, the results folder, progress, data, pictures, errors."""
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
import warnings

try:
    import fcntl
except ImportError:                             # Windows
    fcntl = None


def python():
    """What to type for the Python that is running: .venv/bin/python, say, as in the README."""
    try:
        path = os.path.relpath(sys.executable)
    except ValueError:                          # Windows: it is on another drive
        return sys.executable
    return sys.executable if path.startswith(os.pardir) else path


try:
    import numpy as np
except ModuleNotFoundError:
    print(f"error: numpy is missing: {python()} -m pip install numpy matplotlib", file=sys.stderr)
    sys.exit(2)

from checkpoint import CheckpointError, save_atomically
from data.download import DataError, DownloadError
from optim import one_cycle
from solver import RULES, DivergedError

DIGITS = {"real": "MNIST", "synthetic": "drawn digits"}     # what pictures and tables call them
# Told apart by colour-blind people, too: no green beside red or orange.
COLOURS = {"train": "tab:blue", "validation": "tab:orange", "right": "tab:blue",
           "wrong": "tab:red", "other": "0.75"}


class UserError(ValueError):
    """Something that the person at the shell can mend; the message says how."""


# ---------------------------------------------------------------- flags

class _Parser(argparse.ArgumentParser):
    """Says what is wrong in lines of at most 100 characters."""

    def error(self, message):
        self.print_usage(sys.stderr)
        say(f"{self.prog}: error: {message}", sys.stderr)
        sys.exit(2)


def argument_parser(description, *, script, epochs, data_dir_help):
    """A parser with the flags that all scripts have."""
    parser = _Parser(prog=f"{script}.py", description=description,
                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.set_defaults(script=script)
    parser.add_argument("--data", choices=("auto", "real", "synthetic"), default="auto",
                        help="auto takes the real data if they are there or can be downloaded, "
                             "else draws synthetic ones and says so")
    parser.add_argument("--data-dir", type=folder, metavar="DIR", help=data_dir_help)
    parser.add_argument("--out", type=folder, default=os.path.join("results", script),
                        metavar="DIR",
                        help="folder for metrics.json, pictures and checkpoints; with --quick it "
                             f"is results/{script}_quick by default")
    parser.add_argument("--epochs", type=positive_integer, metavar="N", default=epochs,
                        help="passes over the training data")
    parser.add_argument("--seed", type=natural_number, metavar="N", default=0,
                        help="of all random numbers: the same seed gives the same results")
    parser.add_argument("--resume", action="store_true",
                        help="go on from the last checkpoint in --out, to the same result as if it "
                             "had never stopped; of a finished run draw the pictures again")
    parser.add_argument("--quick", action="store_true",
                        help="a small run that takes seconds, for trying out")
    return parser


def training_flags(parser, *, update_rule, learning_rate, batch_size, shares, lr_decay=None,
                   reg=None):
    """Add the flags of scripts that train with the Solver, with a script's own defaults."""
    parser.add_argument("--init", metavar="CHECKPOINT",
                        help="begin a new training from the parameters in this checkpoint")
    parser.add_argument("--update-rule", choices=RULES, default=update_rule, help="see optim.py")
    parser.add_argument("--learning-rate", type=positive_number, default=learning_rate, metavar="X",
                        help="the largest one")
    parser.add_argument("--lr-decay", type=positive_number, default=lr_decay, metavar="X",
                        help="multiply the learning rate by X after each epoch; without it the rate "
                             "rises in the first quarter of all steps, then falls to 0 (one cycle)")
    parser.add_argument("--batch-size", type=positive_integer, default=batch_size, metavar="N",
                        help="samples in a mini-batch")
    parser.add_argument("--shares", type=positive_integer, default=shares, metavar="N",
                        help="parts of a mini-batch that are computed at once, each by a thread: at "
                             "most one for each core; last digits of results depend on it")
    if reg is not None:
        parser.add_argument("--reg", type=nonnegative_number, default=reg, metavar="X",
                            help="strength of the L2 penalty on the weights")


def solver_options(args):
    """What these flags and --epochs and --seed ask of the Solver."""
    return {"update_rule": args.update_rule,
            "optim_config": {"learning_rate": args.learning_rate}, "lr_decay": args.lr_decay or 1.0,
            "schedule": None if args.lr_decay else one_cycle(momentum=0.8),
            "batch_size": args.batch_size, "num_epochs": args.epochs, "seed": args.seed,
            "shares": args.shares}


def parse(parser, argv, quick):
    """The arguments; with --quick, the dict `quick` replaces the defaults of its flags."""
    args = parser.parse_args(argv)
    if args.quick:
        parser.set_defaults(out=os.path.join("results", f"{args.script}_quick"), **quick)
        args = parser.parse_args(argv)
    if args.data == "synthetic" and args.data_dir:
        parser.error("--data-dir is for real data: leave it out, or leave out --data synthetic")
    return args


def _flag(expected, convert, accepts):
    """A type for argparse, which otherwise answers with the name of a Python function."""
    def parsed(text):
        try:
            value = convert(text)
            if accepts(value):
                return value
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"expects {expected}, got {text!r}")
    return parsed


folder = _flag("a folder", str, bool)
file_to_write = _flag("a file in a folder that exists", str,
                      lambda path: os.path.isdir(os.path.dirname(path) or "."))
positive_integer = _flag("a whole number of at least 1", int, lambda value: value >= 1)
positive_integers = _flag("whole numbers separated by spaces", int, lambda value: value >= 1)
natural_number = _flag("a whole number of at least 0", int, lambda value: value >= 0)
positive_number = _flag("a number above 0", float, lambda value: 0 < value < np.inf)
nonnegative_number = _flag("a number of at least 0", float, lambda value: 0 <= value < np.inf)
share = _flag("a number from 0 to below 1", float, lambda value: 0 <= value < 1)


# ---------------------------------------------------------------- running a script

def reuse_memory():
    """Tell glibc to keep freed memory for the next array; nothing where there is no glibc.

    By default it returns large freed blocks to Linux, and the next array of that size costs more
    in page faults than in arithmetic: "bare/ours" in docs/performance.md says how many times as
    long a step takes without this call. The price is that a process keeps its peak memory. Has no
    effect on arrays that exist already, so call it first.
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
    # On macOS, NumPy with Apple's Accelerate warns of divisions in matrix products that have none.
    warnings.filterwarnings("ignore", ".* encountered in matmul", RuntimeWarning)
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
    except (UserError, DataError, DownloadError, CheckpointError, DivergedError,
            NotImplementedError) as error:          # of a layer in a hand-out, not yet written
        text = str(error)
    except MemoryError as error:
        text = f"not enough memory: {error}. Try smaller sizes of the model or of the mini-batches"
    except OSError as error:
        text = f"{error.filename or ''}: {error.strerror or error}".lstrip(": ")
    else:
        return
    say(f"error: {text}", sys.stderr)
    sys.exit(2)


def say(text, file=None):
    """Print, in lines of at most 100 characters; a long path or command is not broken."""
    lines = textwrap.fill(" ".join(text.split()), 100, break_long_words=False,
                          break_on_hyphens=False)
    print(lines, file=file, flush=True)


class Progress:
    """Progress with the time left: one rewritten line on a terminal, else only whole lines.

    Args: the number of steps of all, those done before, and a label that leads each line.
    """

    def __init__(self, total_steps, steps_done=0, label="", stream=None):
        self.total_steps = total_steps
        self.steps_done = self.steps_at_start = steps_done
        self.label = label and f"{label}  "
        self.stream = sys.stdout if stream is None else stream
        self.started = time.monotonic()
        self.shown = None                       # when the line that can be rewritten was

    def step(self, text):
        """One step is done; shows at most ten of them a second."""
        self.steps_done += 1
        now = time.monotonic()
        if self.stream.isatty() and (self.shown is None or now - self.shown >= 0.1):
            self.shown = now
            # Only a line that fits can be rewritten; \033[K clears what a longer one has left.
            line = f"{self.label}{text}  {self._time_left()}"
            line = line[:shutil.get_terminal_size().columns - 1]
            print(f"\r{line}\033[K", end="", file=self.stream, flush=True)

    def line(self, text):
        """A line that stays."""
        start, end = ("", "") if self.shown is None else ("\r", "\033[K")
        print(f"{start}{self.label}{text}  {self._time_left()}{end}", file=self.stream, flush=True)
        self.shown = None

    def end(self):
        """Leave the line that is being rewritten as it stands."""
        if self.shown is not None:
            print(file=self.stream, flush=True)
        self.shown = None

    def _time_left(self):
        elapsed = time.monotonic() - self.started
        steps_now = self.steps_done - self.steps_at_start
        if self.steps_done >= self.total_steps or steps_now == 0:
            return f"{elapsed:.1f} s"
        seconds = elapsed / steps_now * (self.total_steps - self.steps_done)
        return f"{int(seconds // 60)}:{int(seconds % 60):02d} left"


# ---------------------------------------------------------------- the results folder

@contextlib.contextmanager
def results_folder(args, *own):
    """Hold the results folder and make it ready.

    own: patterns of the names of this script's checkpoints. A run that starts afresh removes the
    metrics and such checkpoints of a previous run, so that they are never taken for its own. To be
    entered once everything else that may fail has succeeded: the previous run is gone then.
    """
    with contextlib.ExitStack() as stack:
        try:
            os.makedirs(checkpoint_path(args, ""), exist_ok=True)
            if fcntl:
                lock = os.open(checkpoint_path(args, ""), os.O_RDONLY)
                stack.callback(os.close, lock)
                _lock(lock, args.out)
            _tidy(args, own)
        except OSError as error:
            raise UserError(f"the results folder cannot be used: {error.filename}: "
                            f"{error.strerror}. Choose another one with --out") from error
        yield


def _lock(descriptor, out):
    """Keep other runs out of the folder until the descriptor is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"{out} is in use by another run: wait for it, or choose another folder "
                        "with --out") from None
    except OSError:
        pass                                    # some network drives have no locks


def checkpoint_path(args, name):
    """Where a checkpoint of this name belongs."""
    return os.path.join(args.out, "checkpoints", name)


def _tidy(args, own):
    """Say what is replaced, and remove it; of a run that is resumed nothing is."""
    script = _metrics(args).get("config", {}).get("script", args.script)
    if script != args.script:
        raise UserError(f"{args.out} holds the results of {script}: choose another folder with "
                        "--out")
    old = [path for pattern in own for suffix in ("", ".tmp")
           for path in glob.glob(glob.escape(checkpoint_path(args, "")) + pattern + suffix)]
    if args.resume and old:
        if _finished(args):
            say("This run is finished: its pictures are drawn again.")
        return
    if args.resume:
        say(f"No checkpoint of this training in {args.out}: starting afresh.")
    metrics = os.path.join(args.out, "metrics.json")
    finished = os.path.exists(metrics)
    if old or finished:
        say(f"Replacing the {'finished' if finished else 'unfinished'} run in {args.out}: its "
            "checkpoints, metrics.json and pictures.")
    for path in [*old, metrics] if finished else old:
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


def _finished(args):
    """Whether --resume asks for a run that is complete: then only its pictures are drawn again."""
    metrics, config = _metrics(args), config_of(args)
    return args.resume and (metrics.get("seed"), metrics.get("config")) == (args.seed, config)


def save_metrics(args, metrics):
    """Write metrics.json with the settings, the data's folder and the machine.

    Those of a finished run stay: they say how long its training took, and where. Returns what the
    file holds.
    """
    if _finished(args):
        return _metrics(args)
    metrics = {"seed": args.seed, "config": config_of(args),
               "data_dir": args.data_dir and os.path.realpath(args.data_dir),
               **metrics, "environment": environment()}
    text = json.dumps(metrics, indent=2)
    _save(args, "metrics.json", lambda file: file.write(text.encode() + b"\n"))
    return metrics


def environment():
    """What times and the last bits of results depend on; PyTorch only where it is used."""
    versions = {name: sys.modules[name].__version__ for name in ("numpy", "torch")
                if name in sys.modules}
    threads = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS")
    return {"processor": processor(), "machine": platform.machine(), "cores": os.cpu_count(),
            "threads": int(threads) if (threads or "").isdecimal() else None,
            "python": platform.python_version(), **versions}


def processor():
    """The processor's name, '' where the system does not tell; Linux has it in /proc/cpuinfo."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file
                     if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor()


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


def train(solver, label="", every_epoch=True):
    """Train with a progress line; that of each epoch stays, or only that of the last one."""
    progress = Progress(solver.num_epochs * solver.batches_per_epoch, len(solver.loss_history),
                        label)

    def show(solver):
        if solver.batches_done:
            progress.step(solver.describe())
        elif every_epoch or solver.epoch == solver.num_epochs:
            progress.line(solver.describe())
        guess = solver.still_guessing()
        if guess:
            progress.end()
            say(guess)

    solver.progress = show
    try:
        solver.train()
    finally:
        progress.end()


# ---------------------------------------------------------------- digits

def load_real_or_drawn(args, name, things, real, drawn):
    """(real(), 'real'), or (drawn(), 'synthetic') if --data says so or there is no download."""
    reason = ""
    if args.data != "synthetic":
        try:
            return real(), "real"
        except DownloadError as error:
            if args.data == "real":
                raise
            reason = f"{name} is not available: {error}"
    print(f"*** SYNTHETIC DATA: {things} drawn by data/synthetic_{things}.py, not {name}. ***\n"
          f"*** All figures and pictures of this run are about drawn {things}. ***", flush=True)
    if reason:
        say(reason)
    return drawn(), "synthetic"


def load_digits(args, num_train, num_val, num_test):
    """MNIST, or drawn digits in its place, as --data, --data-dir and --seed ask.

    Returns (data, kind): data has X_train (num_train, 1, 28, 28) float32 in [0, 1],
    y_train (num_train,) and so on for val and test; kind is 'real' or 'synthetic'.
    """
    from data.mnist import load_mnist
    from data.synthetic_digits import load_synthetic_digits
    data, kind = load_real_or_drawn(
        args, "MNIST", "digits", lambda: load_mnist(args.data_dir, progress=True),
        lambda: load_synthetic_digits(args.seed, num_train, num_val, num_test))
    sizes = {"train": num_train, "val": num_val, "test": num_test}
    data = {name: value[:sizes[name[2:]]] for name, value in data.items()}
    say(f"{DIGITS[kind]}: {len(data['X_train']):,} digits for training, "
        f"{len(data['X_val']):,} for validation, {len(data['X_test']):,} for testing")
    if args.reg:
        say("The loss on the screen includes the L2 penalty of --reg.")
    return data, kind


def scores_of(model, X, batch_size=1000):
    """model.loss(X) a batch at a time."""
    return np.concatenate([model.loss(X[start:start + batch_size])
                           for start in range(0, len(X), batch_size)])


def digits_report(args, data, kind, solver, title):
    """Draw the pictures of a trained model that both networks have; returns its metrics."""
    name = DIGITS[kind]
    history = {"loss": solver.loss_history, "train_accuracy": solver.train_acc_history,
               "val_accuracy": solver.val_acc_history}
    scores = scores_of(solver.model, data["X_test"])
    predictions = scores.argmax(axis=1)
    save_figure(args, "learning_curves.png", learning_curves(history, f"{title} on {name}"))
    save_figure(args, "confusion_matrix.png", confusion_matrix(
        data["y_test"], predictions, 10, f"Confusion matrix of the test set of {name}"))
    save_figure(args, "mistakes.png", mistakes(
        data["X_test"], data["y_test"], scores,
        f"Most confident mistakes on the test set of {name}"))
    sizes = {f"num_{part}": len(data[f"y_{part}"]) for part in ("train", "val", "test")}
    return {"data": kind, **sizes,
            "test_accuracy": float(np.mean(predictions == data["y_test"])),
            "val_accuracy": solver.best_val_acc, "seconds_to": seconds_to(solver),
            "history": history}


def note_on_digits(kind):
    """A line at the end of what is printed, '' for MNIST."""
    return "" if kind == "real" else \
        "\nThese were drawn digits: the figures in README.md are of MNIST, and differ."


def seconds_to(solver):
    """Seconds of training after which the validation accuracy was first so high, or None."""
    return {f"{share:.1%}": next((round(seconds, 2) for seconds, accuracy in zip(
                solver.seconds_history, solver.val_acc_history) if accuracy >= share), None)
            for share in (0.97, 0.98, 0.983, 0.99, 0.992)}


# ---------------------------------------------------------------- pictures

def new_figure(width, height, title):
    """An empty matplotlib figure (inches) that needs no display."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), layout="constrained", dpi=120)
    figure.suptitle(title)
    return figure


def save_figure(args, name, figure):
    """Write a picture into the results folder, whole or not at all; that of a quick run says so."""
    if args.quick:
        figure.suptitle(f"{figure.get_suptitle()} (quick run)")
    _save(args, name, lambda file: figure.savefig(file, format="png"))


def learning_curves(history, title, metric="accuracy"):
    """Loss of every step, and the training and validation metric after every epoch.

    `history` has loss (a number per step), train_accuracy and val_accuracy (per epoch).
    """
    from matplotlib.ticker import LogFormatter, PercentFormatter
    figure = new_figure(10, 4, title)
    left, right = figure.subplots(1, 2)
    epochs = np.arange(1, len(history["val_accuracy"]) + 1)
    losses = np.array(history["loss"])
    position = np.arange(1, len(losses) + 1) * len(epochs) / len(losses)
    left.plot(position, losses, color=COLOURS["other"], linewidth=0.5, label="each mini-batch")
    window = max(1, len(losses) // (4 * len(epochs)))
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    left.plot(position[window - 1:], smooth, color=COLOURS["train"],
              label=f"mean of the last {window} (a quarter of an epoch)")
    left.set(xlabel="epoch", ylabel="training loss (log scale)", yscale="log")
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_formatter(LogFormatter())
    figure.legend(handles=left.lines, loc="outside lower left", ncols=2, fontsize=8)
    for part, label in (("train", "training data (a sample)"), ("val", "validation data")):
        right.plot(epochs, history[f"{part}_accuracy"], ".-", label=label)
    right.set(xlabel="epoch", ylabel=metric)
    if metric == "accuracy":
        right.yaxis.set_major_formatter(PercentFormatter(1))
    right.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    figure.legend(handles=right.lines, loc="outside lower right", ncols=2, fontsize=8)
    return figure


def confusion_matrix(y, predictions, num_classes, title):
    """How often each class (rows) was taken for each class (columns)."""
    counts = np.zeros((num_classes, num_classes), dtype=int)
    np.add.at(counts, (y, predictions), 1)
    figure = new_figure(7.5, 6.5, title)
    axes = figure.subplots()
    # The colour shows mistakes only: on the diagonal it would drown them.
    errors = counts * (1 - np.eye(num_classes, dtype=int))
    image = axes.imshow(errors, cmap="Reds", alpha=0.7, vmin=0, vmax=max(1, errors.max()))
    for (row, column), count in np.ndenumerate(counts):
        axes.text(column, row, count, ha="center", va="center", fontsize=9,
                  weight="bold" if row == column else "normal")
    axes.set(xlabel="digit that the network reads", ylabel="true digit",
             xticks=range(num_classes), yticks=range(num_classes))
    bar = figure.colorbar(image, label="errors (bold on the diagonal: digits read right)")
    bar.locator.set_params(integer=True, min_n_ticks=1)
    bar.update_ticks()
    return figure


def mistakes(X, y, scores, title):
    """The 24 pictures that were most confidently misread, with the probabilities in percent."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    read = scores.argmax(axis=1)
    wrong = np.flatnonzero(read != y)
    shown = wrong[np.argsort(-probabilities[wrong, read[wrong]], kind="stable")][:24]
    titles = ["\n".join(f"{word} {digit}: {probabilities[i, digit]:.1%}"
                        for word, digit in (("read", read[i]), ("true", y[i]))) for i in shown]
    return picture_grid(
        X[shown].reshape(-1, 28, 28),
        f"{title}: {len(shown)} of {len(wrong)}\nabove each digit, what the network reads and what "
        "is true, with the probabilities that it gives them" if titles else f"{title}: none",
        8, titles, cmap="gray_r")


def picture_grid(pictures, title, columns, titles=None, key=None, **options):
    """A page of pictures (N, H, W), each with a title if there are any; options are imshow's.

    key: what the colours mean, under a colour bar.
    """
    rows = max(1, -(-len(pictures) // columns))
    width, height = (1.3, 1.7) if titles else (1, 1)
    figure = new_figure(width * columns, height * rows + 0.7 + 0.8 * bool(key), title)
    for place, picture in enumerate(pictures):
        axes = figure.add_subplot(rows, columns, place + 1)
        image = axes.imshow(picture, **options)
        axes.set_axis_off()
        if titles:
            axes.set_title(titles[place], fontsize=9)
    if key:
        colour_bar(figure, image, figure.axes, key)
    return figure


def colour_bar(figure, image, axes, label):
    """A thin bar under axes of the figure: which colours of the image mean which numbers."""
    from matplotlib.ticker import MaxNLocator
    inches = figure.bbox.height / figure.get_dpi()
    bar = figure.colorbar(image, ax=axes, label=label, location="bottom", aspect=60,
                          fraction=0.12 / inches, pad=0.1 / inches)
    bar.locator = MaxNLocator(5)
    bar.update_ticks()
