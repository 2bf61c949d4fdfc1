"""What the experiment scripts share: flags, data, the results folder, pictures, errors."""
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

try:
    import numpy as np
except ModuleNotFoundError:
    print("error: numpy is missing: python -m pip install numpy matplotlib", file=sys.stderr)
    sys.exit(2)

from data.download import DataError, DownloadError, held_folder
from solver import CheckpointError, DivergedError, save_atomically

COLOURS = {"train": "tab:blue", "validation": "tab:orange", "right": "tab:green",
           "wrong": "tab:red", "other": "0.75"}


class UserError(ValueError):
    """Something that the person at the shell can mend; the message says how."""


# ---------------------------------------------------------------- running a script

class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Tells the defaults, but not that a flag is off or that nothing is set."""

    def _get_help_string(self, action):
        off = action.default is None or action.default is False
        return action.help if off else super()._get_help_string(action)


def argument_parser(description, *, script, epochs, data_dir_help):
    """A parser with the flags that all scripts have."""
    parser = argparse.ArgumentParser(
        prog=f"{script}.py", description=description,
        formatter_class=_HelpFormatter)
    parser.set_defaults(script=script)
    parser.add_argument("--data", choices=("auto", "real", "synthetic"), default="auto",
                        help="auto takes the real data if they are there or can be downloaded, "
                             "else draws synthetic ones and says so")
    parser.add_argument("--data-dir", type=folder, metavar="DIR", help=data_dir_help)
    parser.add_argument("--out", type=folder, metavar="DIR", default=os.path.join("results", script),
                        help="folder for metrics.json, pictures and checkpoints")
    parser.add_argument("--epochs", type=positive_integer, metavar="N", default=epochs,
                        help="passes over the training data")
    parser.add_argument("--seed", type=natural_number, metavar="N", default=0,
                        help="of all random numbers: the same seed gives the same results")
    parser.add_argument("--resume", action="store_true",
                        help="go on from the last checkpoint in --out")
    parser.add_argument("--quick", action="store_true",
                        help="a small run that takes seconds, for trying out")
    return parser


def parse(parser, argv, quick):
    """The arguments; with --quick, the dict `quick` replaces the defaults of its flags."""
    args = parser.parse_args(argv)
    if args.quick:
        parser.set_defaults(**quick)
        args = parser.parse_args(argv)
    if args.data == "synthetic" and args.data_dir:
        parser.error("--data-dir is for real data: leave it out, or leave out --data synthetic")
    return args


def folder(text):
    """For argparse: a path that is not empty."""
    if not text:
        raise argparse.ArgumentTypeError("expects a folder, got nothing")
    return text


def positive_integer(text):
    """For argparse: an integer of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expects an integer of at least 1, got {text}")
    return value


def natural_number(text):
    """For argparse: an integer of at least 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expects an integer of at least 0, got {text}")
    return value


def positive_number(text):
    """For argparse: a finite number above 0."""
    value = float(text)
    if not 0 < value < np.inf:
        raise argparse.ArgumentTypeError(f"expects a number above 0, got {text}")
    return value


def nonnegative_number(text):
    """For argparse: a finite number of at least 0."""
    value = float(text)
    if not 0 <= value < np.inf:
        raise argparse.ArgumentTypeError(f"expects a number of at least 0, got {text}")
    return value


def file_to_write(text):
    """For argparse: a path in a folder that exists, so that no work is done in vain."""
    parent = os.path.dirname(os.path.abspath(text))
    if not text or os.path.isdir(text) or not os.path.isdir(parent):
        raise argparse.ArgumentTypeError(f"expects a file in a folder that exists, got {text!r}")
    return text


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
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:          # closed by whoever started us
            setattr(sys, name, open(os.devnull, "w"))
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")   # a folder's name may be in any script
    try:
        if importlib.util.find_spec("matplotlib") is None:
            raise UserError("matplotlib is missing: python -m pip install matplotlib")
        main()
    except KeyboardInterrupt:
        arguments = [argument for argument in sys.argv if argument != "--resume"]
        print(f"\nStopped. Go on with: {shlex.join([_python(), *arguments, '--resume'])}",
              file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # Who read the output has left (head, less); nothing more can be said to them.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (UserError, DataError, DownloadError, CheckpointError, DivergedError) as error:
        sys.exit(_one_line(error))
    except MemoryError as error:
        sys.exit(_one_line(f"not enough memory: {error}. Try smaller sizes of the model or of "
                           "the batches"))
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        sys.exit(_one_line(f"{place}{error.strerror or error}"))


def _python():
    """What to type for the Python that is running."""
    name = os.path.basename(sys.executable)
    return name if shutil.which(name) == sys.executable else sys.executable


def _one_line(error):
    """Print the error and return the exit code."""
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return 2


# ---------------------------------------------------------------- the results folder

@contextlib.contextmanager
def results_folder(args, *own):
    """Hold the results folder and make it ready.

    own: patterns of the names of this script's checkpoints. A run that starts afresh removes
    the metrics and such checkpoints of an older run, so that they are never taken for its own.
    To be entered once everything else that may fail has succeeded: the older run is gone then.
    """
    checkpoints = os.path.join(args.out, "checkpoints")
    with contextlib.ExitStack() as stack:
        try:
            os.makedirs(checkpoints, exist_ok=True)
            if not stack.enter_context(held_folder(checkpoints)):
                raise UserError(f"{args.out} is in use by another run: wait for it, or choose "
                                "another folder with --out")
            _tidy(args, own)
        except OSError as error:
            raise UserError(f"the results folder cannot be used: {error.filename}: "
                            f"{error.strerror}. Choose another one with --out") from error
        yield


def checkpoint_path(args, name):
    """Where a checkpoint of this name belongs."""
    return os.path.join(args.out, "checkpoints", name)


def _tidy(args, own):
    """Remove what an older run of this script left, unless it is to be resumed."""
    metrics = os.path.join(args.out, "metrics.json")
    _refuse_other_script(args, metrics)
    old = [checkpoint_path(args, name) for pattern in own for suffix in ("", ".tmp")
           for name in glob.glob(pattern + suffix, root_dir=checkpoint_path(args, ""))]
    if not args.resume:
        for path in [*old, metrics]:
            if os.path.exists(path):
                os.remove(path)
    elif not old and not os.path.exists(metrics):
        print(f"No checkpoint in {args.out}: starting afresh.", flush=True)


def _refuse_other_script(args, path):
    """UserError if the metrics at `path` are those of another script."""
    if not os.path.isfile(path):                # opening a pipe would wait for ever
        return
    try:
        with open(path, encoding="utf-8") as file:
            script = json.load(file)["config"]["script"]
    except (ValueError, KeyError, TypeError):
        return
    if script != args.script:
        raise UserError(f"{args.out} holds the results of {script}: choose another folder with "
                        "--out")


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
    path = os.path.join(args.out, "metrics.json")
    if not args.resume or not os.path.isfile(path):
        return None
    try:
        with open(path, encoding="utf-8") as file:
            metrics = json.load(file)
        # Of other data the checkpoints will say so.
        if metrics["config"] != config_of(args) or metrics["seed"] != args.seed \
                or metrics["data_dir"] != _data_dir(args):
            return None
        return f"This run is finished.\n{summary(metrics, args.out)}"
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a run's metrics ({error!r}): delete it") from None


def save_metrics(args, metrics):
    """Write metrics.json, whole or not at all, with where the data were and what it ran on."""
    text = json.dumps({**metrics, "data_dir": _data_dir(args), "environment": environment()},
                      indent=2) + "\n"
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


# ---------------------------------------------------------------- digits

def load_digits(args, num_train, num_val, num_test):
    """MNIST, or drawn digits in its place, as --data, --data-dir and --seed ask.

    Returns (data, kind): data has X_train (num_train, 1, 28, 28) float32 in [0, 1],
    y_train (num_train,) and so on for val and test; kind is 'real' or 'synthetic'.
    """
    sizes = {"train": num_train, "val": num_val, "test": num_test}
    data = None
    if args.data != "synthetic":
        data = _load_mnist(args, sizes)
    kind = "synthetic" if data is None else "real"
    if data is None:
        from data.synthetic_digits import load_synthetic_digits
        print("*** SYNTHETIC DATA: digits drawn by data/synthetic_digits.py, not MNIST. ***\n"
              "*** All figures and pictures of this run are about drawn digits.        ***",
              flush=True)
        data = load_synthetic_digits(args.seed, num_train, num_val, num_test)
    print(f"{digits_name(kind)}: {len(data['X_train']):,} digits for training, "
          f"{len(data['X_val']):,} for validation, {len(data['X_test']):,} for testing",
          flush=True)
    return data, kind


def _load_mnist(args, sizes):
    """The first samples of each part of MNIST, or None where --data auto may do without."""
    from data.mnist import load_mnist
    try:
        data = load_mnist(args.data_dir, progress=True)
    except DownloadError as error:
        if args.data == "real":
            raise
        print(f"MNIST cannot be had: {' '.join(str(error).split())}", flush=True)
        return None
    return {name: value[:sizes[name[2:]]] for name, value in data.items()}


def digits_name(kind):
    """What pictures and tables call the data."""
    return {"real": "MNIST", "synthetic": "synthetic digits"}[kind]


def softmax(scores):
    """Probabilities of (N, C) scores, row by row."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def scores_of(model, X, batch_size=1000):
    """model.loss(X) a batch at a time."""
    return np.concatenate([model.loss(X[start:start + batch_size])
                           for start in range(0, len(X), batch_size)])


def train(args, solver):
    """Train, going on from the checkpoint if --resume asks for it.

    Returns the seconds that earlier runs have spent on it.
    """
    earlier = solver.seconds if args.resume and solver.resume() else 0.0
    solver.train()
    return earlier


def history_of(solver):
    """The Solver's histories as they are kept in metrics.json."""
    return {"loss": solver.loss_history, "train_accuracy": solver.train_acc_history,
            "val_accuracy": solver.val_acc_history}


def report_on_test_set(args, data, scores, name):
    """Draw the confusion matrix and the worst mistakes; returns the test accuracy."""
    predictions = scores.argmax(axis=1)
    save_figure(args, "confusion_matrix.png", confusion_matrix(
        data["y_test"], predictions, 10, f"Test set of {name}"))
    save_figure(args, "mistakes.png", mistakes(
        data["X_test"], data["y_test"], scores,
        f"Most confident mistakes on the test set of {name}"))
    return float(np.mean(predictions == data["y_test"]))


# ---------------------------------------------------------------- pictures

def new_figure(width, height, title=None):
    """An empty matplotlib figure (inches) that needs no display."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=(width, height), layout="constrained", dpi=120)
    if title:
        figure.suptitle(title)
    return figure


def save_figure(args, name, figure):
    """Write a picture into the results folder, whole or not at all."""
    _save(args, name, lambda file: figure.savefig(file, format="png"))


def learning_curves(history, title, metric="accuracy"):
    """Loss of every step, and the training and validation metric after every epoch.

    `history` has loss (a number per step), train_accuracy and val_accuracy (per epoch).
    """
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
    probabilities = softmax(scores)
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
