"""A small convolutional network learns to read digits.

EECS 545 homework 4, question 3: train conv - relu - 2x2 max pool - fc - relu - fc - softmax
on MNIST and report the accuracy on the test set. Takes MNIST from data/mnist or --data-dir,
else downloads it, else draws digits of its own.
"""
import os
import time

if __name__ == "__main__":
    # Before NumPy is imported: the Solver has threads of its own, which matrix products would only
    # disturb.
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ.setdefault(name, "1")

import experiment  # first: it says in one line what is missing
import numpy as np
from cnn import ConvNet
from layers import conv_forward
from solver import Solver

# Samples for training, validation and testing.
FULL = (55_000, 5_000, 10_000)
QUICK = (3_000, 1_000, 1_000)


def arguments(argv=None):
    """The parsed command line."""
    parser = experiment.argument_parser(
        __doc__.split("\n\n")[0], script="cnn_train", epochs=3,
        data_dir_help="folder with the four MNIST files (train-images-idx3-ubyte.gz ...)")
    for flag, default, meaning in (
            ("--num-filters", 32, "filters of the convolution"),
            ("--filter-size", 7, "height and width of a filter"),
            ("--hidden-dim", 100, "units of the fully connected layer")):
        parser.add_argument(flag, type=experiment.positive_integer, default=default, metavar="N",
                            help=meaning)
    experiment.training_flags(parser, update_rule="adam", learning_rate=0.004, batch_size=100,
                              shares=2, reg=0.0)
    return experiment.parse(parser, argv, quick={"epochs": 2})


def make_solver(args, data, kind):
    """The training. UserError for sizes that do not fit."""
    try:
        model = ConvNet(data["X_train"].shape[1:], args.num_filters, args.filter_size,
                        args.hidden_dim, 10, reg=args.reg, rng=args.seed)
    except ValueError as error:
        raise experiment.UserError(str(error)) from None
    return Solver(model, data, **experiment.solver_options(args),
                  checkpoint=experiment.checkpoint_path(args, "cnn.npz"),
                  settings={"data": experiment.DIGITS[kind], "reg": args.reg, "init": args.init})


def summary(metrics, out):
    """What is printed at the end."""
    return (f"\n{metrics['test_accuracy']:.2%} of the test set of "
            f"{experiment.DIGITS[metrics['data']]} right "
            f"(validation {metrics['val_accuracy']:.2%}).\n"
            f"{metrics['seconds']:.0f} seconds. Pictures and metrics.json are in {out}")


def filters_figure(model, title):
    """The learned filters of the first channel."""
    filters = model.params["W1"][:, 0]
    limit = np.abs(filters).max()
    return experiment.picture_grid(filters, title, 8, cmap="RdBu_r", vmin=-limit, vmax=limit)


def feature_maps_figure(model, image, title):
    """One digit, and what every filter makes of it after the ReLU."""
    maps = np.maximum(conv_forward(image[None], model.params["W1"])[0][0], 0)
    digit = image[0] * maps.max()           # in the colours of the maps
    return experiment.picture_grid([digit, *maps], title, 11, vmin=0, vmax=maps.max())


def main(argv=None):
    """The whole experiment."""
    experiment.reuse_memory()
    args = arguments(argv)
    finished = experiment.finished_summary(args, summary)
    if finished:
        print(finished)
        return
    started = time.monotonic()
    data, kind = experiment.load_digits(args, *(QUICK if args.quick else FULL))
    solver, name = make_solver(args, data, kind), experiment.DIGITS[kind]
    experiment.prepare(args, solver)
    earlier = solver.seconds
    with experiment.results_folder(args, "cnn.npz"):
        experiment.train(solver)
        experiment.save_figure(args, "filters.png", filters_figure(
            solver.model, f"Filters learned from {name}"))
        experiment.save_figure(args, "feature_maps.png", feature_maps_figure(
            solver.model, data["X_test"][0], f"What the filters see in one digit ({name})"))
        metrics = experiment.digits_report(args, data, kind, solver, "Convolutional network")
        metrics["seconds"] = round(time.monotonic() - started + earlier, 1)
        experiment.save_metrics(args, metrics)
    print(summary(metrics, args.out))


if __name__ == "__main__":
    experiment.run(main)
