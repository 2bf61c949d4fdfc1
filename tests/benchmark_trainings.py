"""Whole trainings for tests/benchmark.py: the scripts' own, and a PyTorch twin of each.

The twin begins with the same parameters and takes the same steps: the same mini-batches in the same
order, the same update rule and penalty. Dropout alone draws other random numbers. Settings are the
script's defaults with a constant learning rate; the data are in memory. PyTorch is written as in
its tutorials, without a DataLoader: a mini-batch is indexed.
"""
import time

import numpy as np

import cnn_train
import image_captioning
import mnist_train
from data.coco import CaptionFeatures, load_coco
from data.mnist import load_mnist
from data.synthetic_digits import load_synthetic_digits
from data.synthetic_scenes import load_synthetic_scenes
from rnn import CaptioningRNN
from solver import Solver

HIDDEN = 512                    # units of the two-layer net: one of the sizes that the script tries
DRAWN_DIGITS, DRAWN_SCENES = 2000, 300      # repeated until there are enough


# ---------------------------------------------------------------- PyTorch's networks

def digit_net(hidden_dim, convolution):
    """The two-layer net, or the CNN, on images of digits."""
    from torch import nn
    first, inputs = [], 28 * 28
    if convolution:
        first, inputs = [nn.Conv2d(1, 32, 7, bias=False), nn.ReLU(), nn.MaxPool2d(2)], 32 * 11 * 11
    return nn.Sequential(*first, nn.Flatten(), nn.Linear(inputs, hidden_dim), nn.ReLU(),
                         nn.Linear(hidden_dim, 10))


def caption_net(params, step=False):
    """The parts of the captioning network with our parameters; step: the cell does one step."""
    from torch import nn
    (V, W), (D, H) = params["W_embed"].shape, params["W_proj"].shape
    net = nn.ModuleDict({"project": nn.Linear(D, H), "embed": nn.Embedding(V, W),
                         "cell": (nn.RNNCell if step else nn.RNN)(W, H),
                         "score": nn.Linear(H, V)})
    *_, second_bias = net["cell"].parameters()      # ours has one bias
    second_bias.requires_grad_(False)
    zeros = np.zeros(H, np.float32)
    set_parameters(net, [params[name] for name in ("W_proj", "b_proj")] + [params["W_embed"].T]
                   + [params[name] for name in ("Wx", "Wh", "b")] + [zeros]
                   + [params[name] for name in ("W_vocab", "b_vocab")])
    return net


def set_parameters(net, values):
    """Copy ours into PyTorch's, which keeps its matrices transposed."""
    import torch
    for parameter, value in zip(net.parameters(), values, strict=True):
        value = value.T if value.ndim == 2 else value
        parameter.data = torch.tensor(np.ascontiguousarray(value))


def make_optimiser(net, args):
    """The script's rule; the penalty is on weights and not on biases."""
    import torch
    rules = {"adam": torch.optim.Adam,
             "sgd_momentum": lambda groups, lr: torch.optim.SGD(groups, lr, momentum=0.9)}
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    groups = [{"params": [p for p in parameters if p.ndim > 1],
               "weight_decay": getattr(args, "reg", 0.0)},
              {"params": [p for p in parameters if p.ndim == 1]}]
    return rules[args.update_rule](groups, lr=args.learning_rate)


# ---------------------------------------------------------------- trainings

class Training:
    """One epoch of a script's training.

    folder: of the real data; without it they are drawn. steps: of the epoch (None: the script's).
    shares: None takes the script's default.
    """
    module, steps, whole_epoch = None, None, None

    def __init__(self, folder=None, steps=None, shares=None):
        self.kind = "real" if folder else "synthetic"
        shares = ["--shares", str(shares)] if shares else []
        self.args = self.module.arguments(["--epochs", "1", "--lr-decay", "1", *shares])
        self.samples = self.whole_epoch
        if steps or self.steps:
            self.samples = (steps or self.steps) * self.args.batch_size
        self.data = self.load(folder)

    def rows(self, data):
        """Rows of the training samples: the first ones, again and again where there are too few."""
        return np.arange(self.samples) % len(data["y_train"])

    def ours(self, steps=None):
        """Train the script's Solver, for so many steps; returns it."""
        data = self.data
        if steps:
            rows = np.arange(min(steps * self.args.batch_size, self.samples))
            data = data | {name: data[name][rows] for name in ("X_train", "y_train")}
        solver = self.make_solver(data)
        # As good as no evaluation and no checkpoint.
        solver.checkpoint, solver.num_train_samples = None, 1
        solver.train()
        return solver

    def torch(self, steps=None):
        """Train the twin; returns (net, seconds, loss of every step)."""
        import torch
        net = self.make_net()
        optimiser = make_optimiser(net, self.args)
        data, losses = self.tensors(), []
        size = self.args.batch_size
        count = min(steps * size, self.samples) if steps else self.samples
        started = time.perf_counter()
        order = torch.from_numpy(np.random.default_rng(self.args.seed).permutation(count))
        for batch in order.split(size):
            optimiser.zero_grad()
            loss = self.torch_loss(net, data, batch)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        return net, time.perf_counter() - started, losses


class TwoLayer(Training):
    """The two-layer net, one epoch of MNIST."""
    module, whole_epoch = mnist_train, mnist_train.FULL[0]
    convolution, hidden_dim = False, HIDDEN

    def load(self, folder):
        if folder:
            data = load_mnist(folder)
        else:
            data = load_synthetic_digits(0, min(self.samples, DRAWN_DIGITS), 1, 1)
        rows = self.rows(data)
        return {"X_train": data["X_train"][rows], "y_train": data["y_train"][rows],
                "X_val": data["X_val"][:1], "y_val": data["y_val"][:1]}

    def make_solver(self, data):
        return self.module.make_solver(self.args, data, self.kind, HIDDEN, self.args.seed, "unused")

    def make_net(self):
        net = digit_net(self.hidden_dim, self.convolution)
        set_parameters(net, self.make_solver(self.data).model.params.values())
        return net

    def tensors(self):
        import torch
        return [torch.from_numpy(self.data[name]) for name in ("X_train", "y_train")]

    def torch_loss(self, net, data, batch):
        import torch
        X, y = data
        return torch.nn.functional.cross_entropy(net(X[batch]), y[batch])


class Convolutional(TwoLayer):
    """The CNN, one epoch of MNIST."""
    module, whole_epoch = cnn_train, cnn_train.FULL[0]
    convolution, hidden_dim = True, 100

    def make_solver(self, data):
        return self.module.make_solver(self.args, data, self.kind)


class Captions(Training):
    """The captioning RNN, 200 steps on captions of their real lengths."""
    module, steps = image_captioning, 200

    def __init__(self, folder=None, steps=None, shares=None):
        super().__init__(folder, steps, shares)
        self.args = self.module.with_defaults(self.args, self.kind)

    def load(self, folder):
        data = load_coco(folder) if folder else load_synthetic_scenes(0, DRAWN_SCENES, 60)
        rows, X = self.rows(data), data["X_train"]
        return {"X_train": CaptionFeatures(X.features, X.pictures[rows]),
                "y_train": data["y_train"][rows], "X_val": data["X_val"][np.arange(1)],
                "y_val": data["y_val"][:1], "word_to_idx": data["word_to_idx"]}

    def make_model(self):
        args = self.args
        return CaptioningRNN(self.data["word_to_idx"], self.data["X_train"].shape[1],
                             args.wordvec_dim, args.hidden_dim, args.cell, dropout=args.dropout,
                             feature_dropout=args.feature_dropout, rng=args.seed)

    def make_solver(self, data):
        return Solver(self.make_model(), data, metric=image_captioning.minus_loss_per_word,
                      **image_captioning.experiment.solver_options(self.args))

    def make_net(self):
        return caption_net(self.make_model().params)

    def tensors(self):
        import torch
        X = self.data["X_train"]
        return [torch.from_numpy(part) for part in (X.features, X.pictures, self.data["y_train"])]

    def torch_loss(self, net, data, batch):
        from torch.nn.functional import cross_entropy, dropout
        features, pictures, captions = data
        captions = captions[batch].T                # time-major, as nn.RNN likes it best
        drop, null = self.args.dropout, self.data["word_to_idx"]["<NULL>"]
        h0 = net["project"](dropout(features[pictures[batch]], self.args.feature_dropout))
        h, _ = net["cell"](dropout(net["embed"](captions[:-1]), drop), h0[None])
        scores = net["score"](dropout(h, drop))
        return cross_entropy(scores.flatten(0, 1), captions[1:].flatten(), ignore_index=null,
                             reduction="sum") / len(batch)


TRAININGS = {"E1": TwoLayer, "E2": Convolutional, "E4": Captions}
