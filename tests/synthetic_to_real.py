"""How well do drawn digits stand in for MNIST? Train on drawn ones only, test on the real ones.

    python tests/synthetic_to_real.py --data-dir FOLDER_OF_MNIST
    python tests/synthetic_to_real.py --json FILE          the figures as JSON, too

Prints the accuracy of both networks on the 10,000 real test images. Nothing is chosen by
the real images: the best epoch is that with the best accuracy on drawn validation digits.
"""
import argparse
import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import numpy as np

import experiment
from checkpoint import save_atomically
from cnn import ConvNet
from data.mnist import load_mnist
from data.synthetic_digits import load_synthetic_digits
from fc_net import TwoLayerNet
from solver import Solver


def real_accuracy(model, drawn, real, seed, label, **options):
    """Train on drawn digits; the share of the real test images that is then read right."""
    solver = Solver(model, drawn, lr_decay=0.8, batch_size=100, seed=seed, **options)
    experiment.train(solver, label)
    predictions = experiment.scores_of(model, real["X_test"]).argmax(axis=1)
    return float(np.mean(predictions == real["y_test"]))


def main():
    """The experiment."""
    experiment.reuse_memory()
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data-dir", metavar="DIR", help="folder with the four MNIST files")
    parser.add_argument("--seed", type=experiment.natural_number, default=0, metavar="N",
                        help="of the drawn digits, the initial weights and the batches "
                             "(default: 0)")
    parser.add_argument("--json", type=experiment.file_to_write, metavar="FILE",
                        help="write the figures there, too")
    args = parser.parse_args()
    real = load_mnist(args.data_dir, progress=True)
    started = time.monotonic()
    drawn = load_synthetic_digits(args.seed, 55_000, 5_000, 0)
    print(f"60,000 digits drawn in {time.monotonic() - started:.1f} seconds", flush=True)
    fully_connected = real_accuracy(
        TwoLayerNet(784, 512, reg=1e-4, rng=args.seed), drawn, real, args.seed,
        update_rule="sgd_momentum", optim_config={"learning_rate": 0.1, "momentum": 0.9},
        num_epochs=8, label="two layers")
    convolutional = real_accuracy(
        ConvNet(reg=1e-3, rng=args.seed), drawn, real, args.seed, update_rule="adam",
        optim_config={"learning_rate": 1e-3}, num_epochs=8, label="convolution")
    if args.json:
        result = {"seed": args.seed, "two_layer_network": fully_connected,
                  "convolutional_network": convolutional,
                  "seconds": round(time.monotonic() - started, 1),
                  "environment": experiment.environment()}
        save_atomically(args.json, lambda file: file.write(json.dumps(result, indent=2).encode()))
    print("Trained on drawn digits alone, right of the 10,000 test images of MNIST:\n"
          f"two-layer network {fully_connected:.2%}\nconvolutional network {convolutional:.2%}")


if __name__ == "__main__":
    experiment.run(main)
