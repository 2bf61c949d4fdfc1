"""A convolutional network learns to read digits.

EECS 545 homework 4, question 3: train conv - relu - 2x2 max pool - fc - relu - fc - softmax
on MNIST and report the accuracy on the test set. With --model deep, in the manner of CS231n:
six convolutions with batch normalisation, and digits that are shifted a little in training.
Takes MNIST from data/mnist or --data-dir, else downloads it, else draws digits of its own.
"""
import argparse
import os
import time
from typing import NamedTuple

if __name__ == "__main__":
    # Before NumPy is imported: the Solver has threads of its own, which matrix products would only
    # disturb.
    for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ.setdefault(name, "1")

import experiment  # first: it says in one line what is missing
import numpy as np
from cnn import ConvNet, DeepConvNet
from solver import Solver

# Samples for training, validation and testing.
FULL = (55_000, 5_000, 10_000)
QUICK = (3_000, 1_000, 1_000)
POOLINGS = 3                    # of the deep network
WEIGHT = "weight (red: ink raises the response, blue: lowers it)"
TITLES = {"small": "Convolutional network", "deep": "Deep convolutional network"}


class ByModel(NamedTuple):
    """A flag's default for each network."""
    small: float
    deep: float

    def __str__(self):
        return f"{self.small}, with --model deep {self.deep}"


def arguments(argv=None):
    """The parsed command line."""
    parser = experiment.argument_parser(
        __doc__.split("\n\n")[0], script="cnn_train", epochs=ByModel(3, 5),
        data_dir_help="folder with the four MNIST files (train-images-idx3-ubyte.gz ...)")
    parser.add_argument("--model", choices=ByModel._fields, default="small",
                        help="small is the course's network; deep has six convolutions with batch "
                             "normalisation and takes minutes")
    for flag, default, meaning in (
            ("--num-filters", ByModel(32, 12), "filters of the convolution; of the deep network's "
             "first two, which has twice as many after each pooling"),
            ("--filter-size", ByModel(7, 3), "height and width of a filter"),
            ("--hidden-dim", ByModel(100, 128), "units of the fully connected layer")):
        parser.add_argument(flag, type=experiment.positive_integer, default=default, metavar="N",
                            help=meaning)
    parser.add_argument("--shift", type=experiment.natural_number, default=ByModel(0, 1),
                        metavar="N", help="in training each digit is moved by up to N pixels, up "
                        "or down and left or right")
    experiment.training_flags(parser, update_rule="adam", learning_rate=ByModel(0.004, 0.012),
                              batch_size=100, shares=ByModel(2, 1), reg=0.0)
    args = experiment.parse(parser, argv, quick={"epochs": 2})
    return argparse.Namespace(**{
        flag: getattr(value, args.model) if isinstance(value, ByModel) else value
        for flag, value in vars(args).items()})


class Shifted:
    """Images (N, C, H, W), each moved by up to `most` pixels, up or down and left or right.

    images[indices] draws the moves from the seed and from all of these indices. So an image moves
    differently in each epoch, where it is in another mini-batch each time, and yet in the same way
    when a training is repeated or resumed. What comes in at the borders is 0.
    """

    def __init__(self, images, most, seed):
        self.images, self.most, self.seed = images, most, seed

    def __len__(self):
        return len(self.images)

    def __getitem__(self, indices):
        rng = np.random.default_rng([self.seed, *indices])
        up, left = rng.integers(0, 2 * self.most + 1, (2, len(indices)))
        border = self.most, self.most
        padded = np.pad(self.images[indices], ((0, 0), (0, 0), border, border))
        # windows[n, :, i, j] is image n, moved by i - most pixels up and j - most to the left.
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.images.shape[2:], (2, 3))
        return windows[np.arange(len(indices)), :, up, left]


def make_solver(args, data, kind):
    """The training. UserError for sizes that do not fit."""
    network, filters = ConvNet, args.num_filters
    if args.model == "deep":
        network, filters = DeepConvNet, [args.num_filters * 2 ** i for i in range(POOLINGS)]
    images = data["X_train"]
    if args.shift:
        data = data | {"X_train": Shifted(images, args.shift, args.seed)}
    try:
        model = network(images.shape[1:], filters, args.filter_size, args.hidden_dim, 10,
                        reg=args.reg, rng=args.seed)
        return Solver(model, data, **experiment.solver_options(args),
                      checkpoint=experiment.checkpoint_path(args, "cnn.npz"),
                      settings={"data": experiment.DIGITS[kind], "model": args.model,
                                "reg": args.reg, "init": args.init, "shift": args.shift})
    except ValueError as error:
        raise experiment.UserError(str(error)) from None


def summary(metrics, out):
    """What is printed at the end."""
    return (f"\n{metrics['test_accuracy']:.2%} of the test set of "
            f"{experiment.DIGITS[metrics['data']]} right "
            f"(validation {metrics['val_accuracy']:.2%}).\n"
            f"{metrics['seconds']:.0f} seconds. Pictures and metrics.json are in {out}"
            f"{experiment.note_on_digits(metrics['data'])}")


def filters_figure(model, name):
    """The learned filters of the first convolution and channel."""
    filters = model.params["W1"][:, 0]
    return experiment.picture_grid(
        filters, f"All {len(filters)} filters of the first convolution, learned from {name}", 8,
        key=WEIGHT, **colours_of(filters))


def colours_of(filters):
    """Options of imshow that show 0 white, negative weights blue and positive ones red."""
    limit = np.abs(filters).max()
    return {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}


def feature_maps_figure(model, image, name):
    """One digit, and each filter of the first convolution beside what it makes of it."""
    maps, filters = model.feature_maps(image[None])[0], model.params["W1"][:, 0]
    columns = 6
    rows = -(-len(maps) // columns)
    figure = experiment.new_figure(
        11, 0.7 * rows + 1.7, f"All {len(maps)} filters of the first convolution, each beside its "
        f"map of one digit of {name}")
    left, right = figure.subfigures(1, 2, width_ratios=(1.2, columns))
    digit = left.subplots()
    digit.imshow(image[0], cmap="gray_r")
    digit.set_title("the digit", fontsize=10)
    # A narrow empty column after each pair.
    grid = right.subplots(rows, 3 * columns, squeeze=False, width_ratios=[1, 1, 0.2] * columns)
    for axes in [digit, *grid.flat]:
        axes.set_axis_off()
    for place, (weights, responses) in enumerate(zip(filters, maps)):
        beside = grid[place // columns, place % columns * 3:]
        weights = beside[0].imshow(weights, **colours_of(filters))
        responses = beside[1].imshow(responses, vmin=0, vmax=maps.max())
    experiment.colour_bar(right, responses, grid, "map: response after the ReLU")
    experiment.colour_bar(right, weights, grid, f"filter: {WEIGHT}")
    return figure


def main(argv=None):
    """The whole experiment."""
    experiment.reuse_memory()
    args = arguments(argv)
    started = time.monotonic()
    data, kind = experiment.load_digits(args, *(QUICK if args.quick else FULL))
    solver, name = make_solver(args, data, kind), experiment.DIGITS[kind]
    experiment.prepare(args, solver)
    earlier = solver.seconds
    with experiment.results_folder(args, "cnn.npz"):
        experiment.train(solver)
        experiment.save_figure(args, "filters.png", filters_figure(solver.model, name))
        experiment.save_figure(args, "feature_maps.png", feature_maps_figure(
            solver.model, data["X_test"][0], name))
        metrics = experiment.digits_report(args, data, kind, solver, TITLES[args.model])
        metrics["seconds"] = round(time.monotonic() - started + earlier, 1)
        metrics = experiment.save_metrics(args, metrics)
    print(summary(metrics, args.out))


if __name__ == "__main__":
    experiment.run(main)
