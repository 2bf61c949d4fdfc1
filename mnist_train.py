"""A two-layer network learns to read digits, with the hidden-layer size that does best.

EECS 545 homework 4, question 2: train fc - relu - fc - softmax with several hidden-layer sizes,
choose by validation accuracy, train again with the best, and report the accuracy on the test set.
Takes MNIST from data/mnist or --data-dir, else downloads it, else draws digits of its own.
"""
import textwrap
import time

import experiment  # first: it says in one line what is missing
import numpy as np
from fc_net import TwoLayerNet
from solver import Solver

# Samples for training, validation and testing.
FULL = (55_000, 5_000, 10_000)
QUICK = (5_000, 1_000, 2_000)


def arguments(argv=None):
    """The parsed command line."""
    parser = experiment.argument_parser(
        __doc__.split("\n\n")[0], script="mnist_train", epochs=4,
        data_dir_help="folder with the four MNIST files (train-images-idx3-ubyte.gz ...)")
    parser.add_argument("--hidden-sizes", type=experiment.positive_integers, nargs="+", metavar="H",
                        default=[16, 32, 64, 128, 256, 512, 1024],
                        help="hidden-layer sizes to try, separated by spaces")
    experiment.training_flags(parser, update_rule="sgd_momentum", learning_rate=0.8, batch_size=128,
                              shares=1, reg=2e-4)
    return experiment.parse(parser, argv, quick={
        "epochs": 3, "hidden_sizes": [8, 16, 32, 64, 96, 128], "batch_size": 32,
        "learning_rate": 0.2})


def make_solver(args, data, kind, hidden_dim, seed, checkpoint):
    """A training with one hidden-layer size."""
    model = TwoLayerNet(28 * 28, hidden_dim, 10, reg=args.reg, rng=seed)
    return Solver(model, data, **experiment.solver_options(args) | {"seed": seed},
                  checkpoint=experiment.checkpoint_path(args, checkpoint),
                  settings={"data": experiment.DIGITS[kind], "reg": args.reg, "init": args.init})


def sizes_table(sizes, best):
    """One line for each hidden size."""
    lines = [f"{'hidden units':>12}  {'validation':>10}  {'parameters':>10}  {'seconds':>7}"]
    for row in sizes:
        mark = "  <- best" if row["hidden_size"] == best else ""
        lines.append(f"{row['hidden_size']:>12}  {row['val_accuracy']:>10.2%}  "
                     f"{row['parameters']:>10,}  {row['seconds']:>7.1f}{mark}")
    return "\n".join(lines)


def summary(metrics, out):
    """What is printed at the end."""
    name = experiment.DIGITS[metrics["data"]]
    again = (f"Trained again with {metrics['best_hidden_size']} hidden units: "
             f"{metrics['test_accuracy']:.2%} of the test set of {name} right "
             f"(validation {metrics['val_accuracy']:.2%}).")
    return (f"\n{sizes_table(metrics['sizes'], metrics['best_hidden_size'])}\n\n"
            f"{textwrap.fill(again, 100)}\n"
            f"{metrics['seconds']:.0f} seconds. Pictures and metrics.json are in {out}"
            f"{experiment.note_on_digits(metrics['data'])}")


def hidden_sizes_figure(sizes, best, title):
    """Validation accuracy against the number of hidden units."""
    figure = experiment.new_figure(7, 4.5, title)
    axes = figure.subplots()
    hidden = [row["hidden_size"] for row in sizes]
    accuracies = [row["val_accuracy"] for row in sizes]
    # One place for each size, so that close ones do not overlap.
    places = range(len(hidden))
    axes.plot(places, accuracies, "o-", color=experiment.COLOURS["validation"])
    for place, size, accuracy in zip(places, hidden, accuracies):
        axes.annotate(f"{accuracy:.2%}", (place, accuracy), xytext=(4, -13), ha="left",
                      textcoords="offset points", fontsize=9,
                      weight="bold" if size == best else "normal",
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})
    axes.set(xlabel="hidden units", ylabel="validation accuracy")
    axes.set_xticks(places, labels=hidden, rotation=45 if len(hidden) > 12 else 0)
    axes.yaxis.set_major_formatter("{x:.1%}")
    axes.margins(x=0.12, y=0.1)
    axes.grid(alpha=0.3)
    return figure


def first_layer_figure(model, name):
    """The weights of the 60 hidden units that the second layer listens to most."""
    W1, W2 = model.params["W1"], model.params["W2"]
    loudest = np.argsort(-np.linalg.norm(W2, axis=1), kind="stable")[:60]
    weights = W1[:, loudest] / np.abs(W1[:, loudest]).max(axis=0)
    return experiment.picture_grid(
        weights.T.reshape(-1, 28, 28),
        f"Weights of {len(loudest)} of the {len(W2)} hidden units, learned from {name}:\n"
        "those with the largest weights to the scores", 10,
        key="weight / largest one of the unit (red: ink raises its output, blue: lowers it)",
        cmap="RdBu_r", vmin=-1, vmax=1)


def main(argv=None):
    """The whole experiment."""
    experiment.reuse_memory()
    args = arguments(argv)
    started = time.monotonic()
    data, kind = experiment.load_digits(args, *(QUICK if args.quick else FULL))
    sizes = sorted(set(args.hidden_sizes))
    first = {size: make_solver(args, data, kind, size, args.seed, f"hidden_{size}.npz")
             for size in sizes}
    # Another seed: the first run was chosen for its luck, too.
    again = {size: make_solver(args, data, kind, size, args.seed + 1, f"best_{size}.npz")
             for size in sizes}
    experiment.prepare(args, *first.values(), *again.values())
    with experiment.results_folder(args, "hidden_*.npz", "best_*.npz"):
        metrics = train_all(args, data, kind, first, again)
        metrics["seconds"] = round(time.monotonic() - started + metrics["seconds"], 1)
        metrics = experiment.save_metrics(args, metrics)
    print(summary(metrics, args.out))


def train_all(args, data, kind, first, again):
    """Train with each size and again with the best; returns the metrics."""
    earlier = sum(solver.seconds for solver in first.values())      # before this run
    rows = []
    for number, (size, solver) in enumerate(first.items(), start=1):
        experiment.train(solver, f"[{number}/{len(first) + 1}] {size} units", every_epoch=False)
        rows.append({"hidden_size": size, "val_accuracy": solver.best_val_acc,
                     "parameters": sum(p.size for p in solver.model.params.values()),
                     "seconds": round(solver.seconds, 2)})
    best = max(rows, key=lambda row: row["val_accuracy"])["hidden_size"]
    solver = again[best]
    earlier += solver.seconds
    experiment.train(solver, f"[{len(first) + 1}/{len(first) + 1}] again {best}", every_epoch=False)
    name = experiment.DIGITS[kind]
    experiment.save_figure(args, "hidden_sizes.png", hidden_sizes_figure(
        rows, best, f"How many hidden units? Bold: the best on {name}"))
    experiment.save_figure(args, "first_layer.png", first_layer_figure(
        solver.model, name))
    return experiment.digits_report(args, data, kind, solver, f"{best} hidden units") | {
        "best_hidden_size": best, "sizes": rows, "seconds": earlier}


if __name__ == "__main__":
    experiment.run(main)
