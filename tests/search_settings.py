"""Which settings reach a good result soonest? How the scripts' defaults were found.

    python tests/search_settings.py cnn_train --data-dir FOLDER_OF_MNIST
    python tests/search_settings.py cnn_train --data-dir FOLDER_OF_MNIST --test
    python tests/search_settings.py "cnn_train --model deep" --data-dir FOLDER_OF_MNIST

Trains a script's network with each of the settings in CANDIDATES, the first of which are those of
earlier versions, with several seeds, and prints what comes out on the validation data. --test looks
at the test digits: once, with the script's defaults, and seeds that the search has not seen.
"""
import argparse
import itertools
import json
import os
import pathlib
import sys
import time

if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")      # as the scripts with shares do

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import cnn_train
import experiment
import image_captioning
import mnist_train
from checkpoint import save_atomically


def flags(**lists):
    """All combinations of values, as command lines: learning_rate=[...] is --learning-rate."""
    for values in itertools.product(*lists.values()):
        yield " ".join(f"--{name.replace('_', '-')} {value}" for name, value in zip(lists, values))


CANDIDATES = {
    "mnist_train": [
        "--update-rule sgd_momentum --learning-rate 0.2 --lr-decay 0.8 --batch-size 100 "
        "--epochs 15 --reg 5e-5",
        *flags(update_rule=["sgd_momentum"], learning_rate=[0.4, 0.8], batch_size=[100, 128],
               epochs=[3, 4, 5], reg=[5e-5, 2e-4]),
        *flags(update_rule=["adam"], learning_rate=[0.004, 0.008], batch_size=[128],
               epochs=[3, 5], reg=[5e-5])],
    "cnn_train": [
        "--update-rule sgd_momentum --learning-rate 0.05 --lr-decay 0.75 --batch-size 100 "
        "--epochs 12 --reg 1e-3",
        *flags(update_rule=["sgd_momentum"], learning_rate=[0.1, 0.2], batch_size=[100],
               epochs=[2, 3], reg=[5e-4]),
        *flags(update_rule=["adam"], learning_rate=[0.002, 0.004], batch_size=[100],
               epochs=[2, 3], reg=[0])],
    "cnn_train --model deep": [
        *flags(learning_rate=[0.003, 0.006, 0.012], shift=[1, 2], epochs=[2])],
    "cnn_train --model deep --epochs 1": [
        *flags(learning_rate=[0.003, 0.006, 0.012], shift=[0, 1, 2])],
    "image_captioning": [
        "--update-rule adam --learning-rate 1e-3 --lr-decay 0.88 --epochs 15",
        "--learning-rate 1e-3 --epochs 10",
        *flags(learning_rate=[2e-3], epochs=[8, 10, 12]),
        "--cell lstm --update-rule adam --learning-rate 1e-3 --lr-decay 0.87 --epochs 9",
        *flags(cell=["lstm"], learning_rate=[2e-3], epochs=[7])],
}
HIDDEN = 512                    # units of the two-layer network: one size is enough to compare


def load(script, line):
    """(data, kind) of a script with these flags."""
    script, *own = script.split()
    module, line = sys.modules[script], " ".join([*own, line])
    args = module.arguments(line.split())
    return module.load_captions(args) if script == "image_captioning" else \
        experiment.load_digits(args, *module.FULL)


def make_solver(script, line, data, kind):
    """The training of a script with these flags, without checkpoints."""
    script, *own = script.split()
    module, line = sys.modules[script], " ".join([*own, line])
    args = module.arguments(line.split())
    if script == "image_captioning":
        args = module.with_defaults(args, kind)
    size = [HIDDEN, args.seed, "unused"] if script == "mnist_train" else []
    solver = module.make_solver(args, data, kind, *size)
    solver.checkpoint = None
    return solver


def trained(solver, data, test):
    """What a training has come to."""
    solver.train()
    run = {"seed": solver.seed, "seconds": solver.seconds, "validation": solver.best_val_acc}
    if "BLEU" in solver.extra_history:
        run["BLEU-4"] = max(scores[3] for scores in solver.extra_history["BLEU"])
    if test:
        run["test"] = solver.check_accuracy(data["X_test"], data["y_test"])
    return run


def summarised(line, runs):
    """Means over the seeds, and the least and the largest."""
    values = {name: [run[name] for run in runs] for name in runs[0] if name != "seed"}
    return {"flags": line, "runs": runs,
            **{name: {"mean": float(np.mean(some)), "min": min(some), "max": max(some)}
               for name, some in values.items()}}


def described(result):
    """A line of what is printed."""
    words = [f"{name} {result[name]['mean']:.4f} ({result[name]['min']:.4f} to "
             f"{result[name]['max']:.4f})"
             for name in ("test", "validation", "BLEU-4") if name in result]
    return f"{'  '.join(words)}  {result['seconds']['mean']:6.1f} s  {result['flags'] or 'defaults'}"


def main():
    """Parse, train, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", choices=CANDIDATES, help="with flags that all settings have")
    parser.add_argument("--data-dir", type=experiment.folder, required=True, metavar="DIR")
    parser.add_argument("--seeds", type=experiment.positive_integer, default=3, metavar="N")
    parser.add_argument("--test", action="store_true", help="the defaults, on the test digits")
    parser.add_argument("--json", type=experiment.file_to_write, metavar="FILE")
    args = parser.parse_args()
    experiment.reuse_memory()
    started = time.monotonic()
    data, kind = load(args.script, f"--data-dir {args.data_dir}")
    first, results = 100 if args.test else 0, []
    for line in [""] if args.test else CANDIDATES[args.script]:
        solvers = (make_solver(args.script, f"{line} --seed {seed}", data, kind)
                   for seed in range(first, first + args.seeds))
        results.append(summarised(line, [trained(solver, data, args.test) for solver in solvers]))
        print(described(results[-1]), flush=True)
    if args.json:
        save_atomically(args.json, lambda file: file.write(json.dumps(
            {"environment": experiment.environment(), "seeds": args.seeds, "results": results,
             "seconds": round(time.monotonic() - started, 1)}, indent=1).encode()))


if __name__ == "__main__":
    experiment.run(main)
