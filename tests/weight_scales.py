"""How much does the scale of the initial weights matter, with and without batch normalisation?

    python tests/weight_scales.py --data-dir FOLDER_OF_MNIST
    python tests/weight_scales.py --json FILE          the figures as JSON, too

CS231n's experiment: a network of five layers is trained on a part of MNIST from initial weights of
many sizes. docs/draw_figures.py draws what comes out.
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
from data.mnist import load_mnist
from fc_net import FullyConnectedNet
from solver import Solver

SCALES = np.logspace(-4, 0, 13)
NUM_TRAIN, EPOCHS = 1_000, 10


def trained(data, normalization, scale, seed):
    """(best validation accuracy, mean loss of the last epoch) of one training."""
    model = FullyConnectedNet([100] * 4, normalization=normalization, weight_scale=scale, rng=seed)
    solver = Solver(model, data, update_rule="adam", optim_config={"learning_rate": 1e-3},
                    batch_size=50, num_epochs=EPOCHS, seed=seed)
    solver.train()
    return solver.best_val_acc, float(np.mean(solver.loss_history[-solver.batches_per_epoch:]))


def main():
    """The experiment."""
    experiment.reuse_memory()
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data-dir", metavar="DIR", help="folder with the four MNIST files")
    parser.add_argument("--seed", type=experiment.natural_number, default=0, metavar="N",
                        help="of the initial weights and the batches (default: 0)")
    parser.add_argument("--json", type=experiment.file_to_write, metavar="FILE",
                        help="write the figures there, too")
    args = parser.parse_args()
    data = load_mnist(args.data_dir, progress=True)
    data |= {name: data[name][:NUM_TRAIN] for name in ("X_train", "y_train")}
    started = time.monotonic()
    result = {"seed": args.seed, "scales": SCALES.tolist()}
    print("weight scale  normalization  validation   loss")
    for name, normalization in (("plain", None), ("batchnorm", "batchnorm")):
        accuracies, losses = [], []
        for scale in SCALES:
            accuracy, loss = trained(data, normalization, scale, args.seed)
            print(f"{scale:12.2g}  {name:>13}  {accuracy:10.2%}  {loss:.2g}", flush=True)
            accuracies.append(accuracy)
            losses.append(loss)
        result[name] = {"accuracies": accuracies, "losses": losses, "lowest": min(accuracies),
                        "highest": max(accuracies)}
    if args.json:
        result |= {"seconds": round(time.monotonic() - started, 1),
                   "environment": experiment.environment()}
        save_atomically(args.json, lambda file: file.write(json.dumps(result, indent=2).encode()))


if __name__ == "__main__":
    experiment.run(main)
