"""Which settings reach a good accuracy soonest? How the scripts' defaults were found.

    python tests/search_settings.py cnn_train --data-dir FOLDER_OF_MNIST
    python tests/search_settings.py cnn_train --data-dir FOLDER_OF_MNIST --test

Trains a script's network with each of the settings in CANDIDATES, on MNIST's training digits, with
several seeds, and prints accuracies on the validation digits. --test looks at the test digits:
once, for the script's defaults, with seeds that the search has not seen.
"""
import argparse
import importlib
import itertools
import json
import pathlib
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import experiment
from checkpoint import save_atomically
from data.mnist import load_mnist


def flags(**lists):
    """All combinations of values, as command lines: learning_rate=[...] is --learning-rate."""
    for values in itertools.product(*lists.values()):
        yield " ".join(f"--{name.replace('_', '-')} {value}" for name, value in zip(lists, values))


CANDIDATES = {
    "mnist_train": [
        "--update-rule sgd_momentum --learning-rate 0.2 --lr-decay 0.8 --batch-size 100 "
        "--epochs 15 --reg 5e-5",
        *flags(update_rule=["sgd_momentum"], learning_rate=[0.2, 0.4], batch_size=[100],
               epochs=[3, 5], reg=[5e-5]),
        *flags(update_rule=["adam"], learning_rate=[0.004, 0.008], batch_size=[100, 256],
               epochs=[3, 5], reg=[0, 5e-5])],
    "cnn_train": [
        "--update-rule sgd_momentum --learning-rate 0.05 --lr-decay 0.75 --batch-size 100 "
        "--epochs 12 --reg 1e-3",
        *flags(update_rule=["sgd_momentum"], learning_rate=[0.05, 0.1], batch_size=[100],
               epochs=[3], reg=[5e-4]),
        *flags(update_rule=["adam"], learning_rate=[0.002, 0.004], batch_size=[100, 256],
               epochs=[2, 3], reg=[0, 5e-4])],
}
HIDDEN = 512                    # units of the two-layer network: one size is enough to compare


def make_solver(module, args, data):
    """The training of a script, which writes no checkpoint."""
    size = [] if module.__name__ == "cnn_train" else [HIDDEN, args.seed, "unused"]
    solver = module.make_solver(args, data, "real", *size)
    solver.checkpoint = None
    return solver


def measured(module, line, seeds, data, test):
    """The figures of one command line: of every seed, accuracies and seconds."""
    rows = []
    for seed in seeds:
        args = module.arguments([*line.split(), "--seed", str(seed)])
        solver = make_solver(module, args, data)
        solver.train()
        row = {"seed": seed, "val_accuracy": solver.best_val_acc, "seconds": solver.seconds}
        if test:
            row["test_accuracy"] = solver.check_accuracy(data["X_test"], data["y_test"])
        rows.append(row)
    return {"flags": line, "runs": rows}


def described(result):
    """A line: means over the seeds, and the range."""
    words = []
    for name in ("test_accuracy", "val_accuracy"):
        values = [row[name] for row in result["runs"] if name in row]
        if values:
            words.append(f"{name.removesuffix('_accuracy')} {np.mean(values):.2%} "
                         f"({min(values):.2%} to {max(values):.2%})")
    seconds = np.mean([row["seconds"] for row in result["runs"]])
    return f"{'  '.join(words)}  {seconds:6.1f} s  {result['flags'] or 'defaults'}"


def main():
    """Parse, train, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", choices=CANDIDATES)
    parser.add_argument("--data-dir", type=experiment.folder, metavar="DIR",
                        help="folder with the four MNIST files")
    parser.add_argument("--seeds", type=experiment.positive_integer, default=3, metavar="N")
    parser.add_argument("--test", action="store_true", help="the defaults, on the test digits")
    parser.add_argument("--json", type=experiment.file_to_write, metavar="FILE")
    args = parser.parse_args()
    experiment.reuse_memory()
    module = importlib.import_module(args.script)
    data = load_mnist(args.data_dir, progress=True)
    first = 100 if args.test else 0
    results = []
    for line in [""] if args.test else CANDIDATES[args.script]:
        results.append(measured(module, line, range(first, first + args.seeds), data, args.test))
        print(described(results[-1]), flush=True)
    if args.json:
        save_atomically(args.json, lambda file: file.write(
            json.dumps({"environment": experiment.environment(), "results": results},
                       indent=1).encode()))


if __name__ == "__main__":
    experiment.run(main)
