"""Transfer learning: a network pretrained on many pictures learns to tell ants from bees.

EECS 545 homework 4, question 5: fine-tune all of a pretrained network, or train only a new last
layer on top of the frozen rest. Both are compared with the same network trained from scratch.
The pictures are the ants and bees of data/hymenoptera_data (downloaded if need be), any pictures
in train/CLASS/ and val/CLASS/ of --data-dir, or insects that our own code draws. Several processes
train with the accuracy of one: torchrun --nproc-per-node 2 transfer_learning.py. BatchNorm then
sees the share of one process of each mini-batch, unless --freeze-batchnorm is given.

N: mini-batch size, C: number of classes, S: height and width of a picture.
"""
import argparse
import contextlib
import copy
import hashlib
import os
import re
import sys
import textwrap
import time

import experiment  # first: it says in one line what is missing
import numpy as np
from checkpoint import read_checkpoint, save_atomically, write_checkpoint
from data.download import DownloadError, download, file_hash

# "OMP: Error #15" and the end of Python here mean that NumPy and PyTorch each bring an OpenMP
# library, as conda's NumPy with MKL beside pip's PyTorch does. No exception can be caught. Install
# both with pip into a new .venv: KMP_DUPLICATE_LIB_OK=TRUE hides the message, not the danger.
try:
    import torch
    import torchvision
    from torch import distributed, nn
    from torch.utils.data import DataLoader, Dataset, DistributedSampler
    from torchvision.transforms import v2
except ModuleNotFoundError as missing:
    if __name__ != "__main__":
        raise
    print(f"error: {missing.name} is missing: python -m pip install torch torchvision",
          file=sys.stderr)
    sys.exit(2)

SCENARIOS = {"finetune": "fine-tuned", "freeze": "frozen", "scratch": "from scratch"}
COLOURS = {"finetune": "tab:blue", "freeze": "tab:orange", "scratch": "0.5"}
MEASURES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet: red, green, blue
# Drawn pictures: shapes to pretrain on, insects to train and to validate on; with --quick, fewer.
DRAWN = {False: (3000, 244, 400), True: (120, 40, 40)}
# What serves photographs and drawings best. Drawings need no small crops, as they come in all
# places and sizes; a network that has seen only shapes has more to relearn than ImageNet's.
DEFAULTS = {
    "real": {"image_size": 224, "min_area": 0.3, "learning_rate": 0.003, "backbone_rate": 0.0002},
    "synthetic": {"image_size": 48, "min_area": 0.7, "learning_rate": 0.01,
                  "backbone_rate": 0.005}}


# ---------------------------------------------------------------- pictures in mini-batches

class Pictures(Dataset):
    """Pictures (number, S, S, 3) uint8 as (x, y): what the transform makes of one, and its label.

    Random crops depend on seed, epoch and index alone: they are the same after --resume and
    whichever of several processes gets the picture.
    """

    def __init__(self, X, y, transform, seed=0):
        self.X, self.y = torch.from_numpy(X).permute(0, 3, 1, 2), y
        self.transform, self.seed, self.epoch = transform, seed, 0

    def set_epoch(self, epoch):
        """Choose the crops."""
        self.epoch = epoch

    def __len__(self):
        return len(self.y)

    def __getitem__(self, index):
        seed = np.random.SeedSequence([self.seed, self.epoch, index]).generate_state(1)[0]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(seed))
            return self.transform(self.X[index]), int(self.y[index])


def loaders_of(args, data):
    """DataLoaders 'train' (shuffled, cropped at random, half of them mirrored) and 'val'.

    Each process gets its share of the mini-batches that a single process would get.
    """
    rank, count = processes()
    share = args.batch_size // count
    if share < 2:
        raise experiment.UserError("--batch-size expects at least two pictures for each of "
                                   f"{count} processes, got {args.batch_size}")
    normalize = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    augmented = v2.Compose([v2.RandomResizedCrop(args.image_size, scale=(args.min_area, 1)),
                            v2.RandomHorizontalFlip(), *normalize])
    centred = v2.Compose([v2.CenterCrop(args.image_size), *normalize])
    train = Pictures(data["X_train"], data["y_train"], augmented, args.seed)
    val = Pictures(data["X_val"], data["y_val"], centred)
    order = DistributedSampler(train, count, rank, seed=args.seed)
    # BatchNorm cannot train on a single picture: an epoch leaves out one that would be alone.
    return {"train": DataLoader(train, share, sampler=order, drop_last=len(order) % share == 1),
            "val": DataLoader(val, share, sampler=range(rank, len(val), count))}


def set_epoch(loader, epoch):
    """Tell a loader's sampler and dataset the number of the epoch, if they want to know."""
    for listener in (getattr(loader, "sampler", None), getattr(loader, "dataset", None)):
        if hasattr(listener, "set_epoch"):
            listener.set_epoch(epoch)


def processes():
    """(number of this process from 0, how many processes train together)."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


# ---------------------------------------------------------------- training

def train_model(model, loaders, optimizer, scheduler, num_epochs, *,
                criterion=nn.functional.cross_entropy, checkpoint=None, resume=False,
                settings=None, label=""):
    """Train a classifier and leave it with the weights of its best epoch.

    Best is the highest validation accuracy, the earliest of equals. BatchNorm whose weights do
    not require gradients keeps its running statistics as well.

    Inputs:
    - model: a torch module that turns x into scores (N, C); changed by the training
    - loaders: dict with 'train' and 'val', each a DataLoader or a list of (x, y), y (N,) int64
    - optimizer, scheduler: of torch; the scheduler steps after each epoch
    - criterion: loss of (scores, y), a mean over the mini-batch
    - checkpoint, resume: path of a file that is replaced after each epoch, and whether to go on
      from it; on a CPU the result is then bit for bit that of a training that never stopped, if
      all random numbers come from torch's global generator or follow from set_epoch
    - settings: dict, as JSON holds it, of what must be the same when a training is resumed
    - label: leads each line of progress

    Returns a dict: before (loss and accuracy on the validation data), train_loss, train_accuracy,
    val_loss, val_accuracy (for each epoch; those of training are means over the epoch, while the
    weights changed), best_epoch (from 1), seconds (over all resumed runs).
    """
    started = time.monotonic()
    rank, count = processes()
    settings = {"epochs": num_epochs, **(settings or {})}
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    if resume and os.path.exists(checkpoint):
        history, best = _load(checkpoint, settings, parts)
    else:
        loss, accuracy = one_pass(model, loaders["val"], criterion)
        history = {"before": {"loss": loss, "accuracy": accuracy},
                   **{name: [] for name in MEASURES}, "best_epoch": 0, "seconds": 0.0}
        best = None
    started -= history["seconds"]
    epochs_done, steps = len(history["val_accuracy"]), len(loaders["train"])
    progress = experiment.Progress(num_epochs * steps, epochs_done * steps, label)
    network = model if count == 1 else nn.parallel.DistributedDataParallel(model)
    for epoch in range(epochs_done + 1, num_epochs + 1):
        set_epoch(loaders["train"], epoch)
        text = f"epoch {epoch}/{num_epochs}"
        loss, accuracy = one_pass(network, loaders["train"], criterion, optimizer,
                                  lambda batch: progress.step(f"{text}  batch {batch}/{steps}"))
        if not np.isfinite(loss):
            raise experiment.UserError(f"the loss is {loss} in epoch {epoch}: try a learning rate "
                                       "ten times smaller, or look for NaN in the weights")
        if count > 1:  # each has seen other pictures: the running statistics of the first count
            for buffer in model.buffers():
                distributed.broadcast(buffer, src=0)
        val_loss, val_accuracy = one_pass(model, loaders["val"], criterion)
        scheduler.step()
        if best is None or val_accuracy > max(history["val_accuracy"]):
            best = copy.deepcopy(model.state_dict())
            history["best_epoch"] = epoch
        for name, value in zip(MEASURES, (loss, accuracy, val_loss, val_accuracy)):
            history[name].append(value)
        history["seconds"] = time.monotonic() - started
        if checkpoint and rank == 0:
            _save(checkpoint, settings, parts, history, best)
        progress.line(f"{text}  loss {loss:.4f}  train {accuracy:.2%}  val {val_accuracy:.2%}")
    model.load_state_dict(best)
    return history


def one_pass(model, loader, criterion=nn.functional.cross_entropy, optimizer=None,
             report=lambda batch: None):
    """Mean (loss, accuracy) over a loader, of all processes; with an optimizer, train on it.

    report(batch) is called after each mini-batch, with its number from 1.
    """
    device, training = next(model.parameters()).device, optimizer is not None
    model.train(training)
    for norm in batchnorms(model):
        norm.train(training and norm.weight.requires_grad)
    totals = np.zeros(3)
    with torch.set_grad_enabled(training):
        for batch, (x, y) in enumerate(loader, start=1):
            y = y.to(device)
            scores = model(x.to(device))
            loss = criterion(scores, y)
            if training:
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            totals += [loss.item() * len(y), (scores.argmax(dim=1) == y).sum().item(), len(y)]
            report(batch)
    if processes()[1] > 1:
        totals = torch.from_numpy(totals).to(device)
        distributed.all_reduce(totals)
    loss, right, count = totals.tolist()
    return loss / count, right / count


def batchnorms(model):
    """The BatchNorm layers of a model."""
    return [module for module in model.modules()
            if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def predict(model, loader):
    """(probabilities (number, C) float32, labels (number,)) of all that a loader gives."""
    device = next(model.parameters()).device
    model.eval()
    with torch.no_grad():
        said = [(model(x.to(device)).softmax(dim=1).cpu(), y) for x, y in loader]
    probabilities, labels = map(torch.cat, zip(*said))
    return probabilities.numpy(), labels.numpy()


def _save(path, settings, parts, history, best):
    """Write all that is needed to go on as if nothing had happened."""
    optimizer = parts["optimizer"].state_dict()
    tensors = {"rng/torch": torch.get_rng_state(),
               **{f"model/{name}": value for name, value in parts["model"].state_dict().items()},
               **{f"best/{name}": value for name, value in best.items()},
               **{f"optimizer/{number}/{name}": value
                  for number, values in optimizer["state"].items()
                  for name, value in values.items()}}
    write_checkpoint(path, settings, {"history": history, "param_groups": optimizer["param_groups"],
                                      "scheduler": parts["scheduler"].state_dict()},
                     {name: value.cpu().numpy() for name, value in tensors.items()})


def _load(path, settings, parts):
    """Put everything back in its place. Returns (history, best)."""
    state, arrays = read_checkpoint(path, settings)
    found = {"optimizer": {}}
    for name, array in arrays.items():
        part, name = name.split("/", 1)
        found.setdefault(part, {})[name] = torch.from_numpy(array)
    of_parameters = {}
    for name, value in found["optimizer"].items():
        number, name = name.split("/")
        of_parameters.setdefault(int(number), {})[name] = value
    parts["model"].load_state_dict(found["model"])
    parts["optimizer"].load_state_dict({"state": of_parameters,
                                        "param_groups": state["param_groups"]})
    parts["scheduler"].load_state_dict(state["scheduler"])
    torch.set_rng_state(found["rng"]["torch"])
    return state["history"], found["best"]


# ---------------------------------------------------------------- the scenarios

def last_layer(model):
    """The name of the layer that gives the scores: the last linear layer or convolution.

    `fc` of a ResNet, `classifier.1` (a 1x1 convolution) of SqueezeNet, `heads.head` of a ViT.
    """
    return [name for name, module in model.named_modules()
            if isinstance(module, (nn.Linear, nn.Conv2d))][-1]


def replace_last_layer(model, num_classes):
    """A copy of the model with a new last layer for num_classes classes: (copy, layer)."""
    model, name = copy.deepcopy(model), last_layer(model)
    old = model.get_submodule(name)
    new = nn.Linear(old.in_features, num_classes) if isinstance(old, nn.Linear) else \
        nn.Conv2d(old.in_channels, num_classes, old.kernel_size)
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, new.to(old.weight.device))
    if isinstance(model, torchvision.models.SqueezeNet):
        # Its ReLU behind the scores passes no gradient once the scores of all classes are
        # negative: with few classes that happens, and training ends there.
        model.classifier[2] = nn.Identity()
    return model, new


def finetune(model, loaders, num_classes, *, num_epochs=15, learning_rate=0.003,
             backbone_rate=0.0002, freeze_batchnorm=False, **options):
    """Give a pretrained network a new last layer and train all of it.

    Inputs:
    - model: the pretrained classifier; it is copied, not changed
    - loaders, num_epochs: see train_model
    - learning_rate: of the new last layer, in the first epoch; falls to 0 along a cosine
    - backbone_rate: the same, of the pretrained layers
    - freeze_batchnorm: leave BatchNorm as it was pretrained, weights and running statistics
    - options: criterion, checkpoint, resume, settings and label of train_model

    Returns (trained copy, history of train_model).
    """
    model, head = replace_last_layer(model, num_classes)
    model.requires_grad_(True)
    for norm in batchnorms(model):
        norm.requires_grad_(not freeze_batchnorm)
    of_head = set(head.parameters())
    backbone = [weights for weights in model.parameters() if weights not in of_head]
    groups = [{"params": list(head.parameters()), "lr": learning_rate},
              {"params": backbone, "lr": backbone_rate}]
    return model, _train_sgd(model, loaders, groups, num_epochs, **options)


def freeze(model, loaders, num_classes, *, num_epochs=15, learning_rate=0.003, views=4, **options):
    """Give a pretrained network a new last layer and train that alone.

    Everything else stays bit for bit as it was: weights, and running statistics of BatchNorm. So
    its features can be computed once, of `views` passes over the training data, each with random
    crops of its own. An epoch is all of them. For the other inputs see finetune.

    Returns (trained copy, history of train_model).
    """
    started = time.monotonic()
    model, head = replace_last_layer(model, num_classes)
    model.requires_grad_(False)
    head.requires_grad_(True)
    cached = {"train": features(model, head, loaders["train"], views),
              "val": features(model, head, loaders["val"])}
    seconds = time.monotonic() - started
    groups = [{"params": list(head.parameters()), "lr": learning_rate}]
    history = _train_sgd(nn.Sequential(head, nn.Flatten()), cached, groups, num_epochs, **options)
    history["seconds"] += seconds
    return model, history


def features(model, head, loader, passes=1):
    """What the last layer gets of the mini-batches of some passes over a loader: [(x, y), ...]."""
    inputs, batches = [], []
    device = next(model.parameters()).device
    model.eval()
    with torch.no_grad(), head.register_forward_pre_hook(lambda _, given: inputs.extend(given)):
        for epoch in range(1, passes + 1):
            set_epoch(loader, epoch)
            for x, y in loader:
                model(x.to(device))
                x = inputs.pop()
                # SqueezeNet takes the mean of its scores: that is the score of the mean.
                batches.append((x if x.ndim == 2 else x.mean(dim=(2, 3), keepdim=True), y))
    return batches


def _train_sgd(model, loaders, groups, num_epochs, **options):
    """train_model with momentum and a learning rate that falls along a cosine to 0."""
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_epochs)
    return train_model(model, loaders, optimizer, scheduler, num_epochs, **options)


# ---------------------------------------------------------------- networks and weights

def build_model(arch):
    """A torchvision classifier with random weights. Raises UserError for an unknown name."""
    known = torchvision.models.list_models(module=torchvision.models)
    if arch not in known:
        raise experiment.UserError(f"--arch {arch} is unknown; torchvision has {', '.join(known)}")
    return torchvision.models.get_model(arch)


def check_size(arch, size):
    """Raise UserError if a network cannot be trained on pictures of size x size pixels."""
    with torch.device("meta"):  # shapes without numbers
        model = build_model(arch)
        try:
            model(torch.zeros(2, 3, size, size)).shape  # GoogLeNet has several outputs
        except (RuntimeError, ValueError, AssertionError, AttributeError) as error:
            raise experiment.UserError(
                f"--arch: {type(model).__name__} cannot be trained on pictures of {size} x {size} "
                f"pixels ({error})") from None


def load_weights(model, path):
    """A copy of the model with the weights of a state dict that torch.save() wrote.

    float16 is converted. The last layer takes the file's number of classes.
    """
    try:
        with open(path, "rb") as file:
            state = torch.load(file, map_location="cpu", weights_only=True)
        model, _ = replace_last_layer(model, len(state[f"{last_layer(model)}.weight"]))
        model.load_state_dict(state)
    except OSError:
        raise
    except Exception as error:  # torch.load raises whatever its unpickler meets
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", 300, placeholder=" ...")
        raise experiment.UserError(
            f"{path} is not a state dict of {type(model).__name__}, as torch.save("
            f"model.state_dict(), FILE) writes it ({reason})") from None
    return model


def imagenet_model(arch):
    """A torchvision classifier with its ImageNet weights, downloaded to torch.hub's folder once."""
    model = build_model(arch)
    url = torchvision.models.get_model_weights(arch).DEFAULT.url
    path = os.path.join(torch.hub.get_dir(), "checkpoints", os.path.basename(url))
    if not os.path.exists(path):
        download(url, path, max_bytes=4 * 10**9, progress=True)
    beginning = re.search(r"-([0-9a-f]+)\.", url)[1]  # of the checksum, in every file's name
    if not file_hash(path, "sha256").startswith(beginning):
        raise experiment.UserError(f"{path} does not hold the ImageNet weights of {arch} (wrong "
                                   "checksum). Delete it and run again")
    return load_weights(model, path)


def choose_device(name="auto"):
    """The torch.device of a name; 'auto' takes an NVIDIA GPU, then Apple's, then the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else \
            "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise experiment.UserError(f"--device {name} cannot be used ({error})") from None
    if name == "cuda":  # under torchrun, each process takes a GPU of its own
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device(name)


# ---------------------------------------------------------------- figures

def visualize_model(model, loader, class_names, num_images=24, title=""):
    """A figure of the first pictures of a loader.

    Above each stand the predicted class with its probability, and the true class where that is
    another one. The loader yields (x, y), x (N, 3, S, S) normalised with ImageNet's mean and
    deviation; class_names are those of the C classes.
    """
    columns = min(6, num_images)
    rows, width = -(-num_images // columns), 1.9 * max(columns, 3)
    figure = experiment.new_figure(width, 2.2 * rows + 0.5, textwrap.fill(title, int(9 * width)))
    for x, y in loader:
        probabilities, _ = predict(model, [(x, y)])
        for picture, said, label in zip(x, probabilities, y):
            if len(figure.axes) == num_images:
                return figure
            axes = figure.add_subplot(rows, columns, len(figure.axes) + 1)
            axes.set_axis_off()
            axes.imshow(np.clip(picture.numpy().transpose(1, 2, 0) * STD + MEAN, 0, 1))
            guess = said.argmax()
            text = f"{class_names[guess][:16]} {said[guess]:.0%}"
            right = guess == label
            axes.set_title(text if right else f"{text}\ntrue: {class_names[label][:16]}",
                           fontsize=9, color=experiment.COLOURS["right" if right else "wrong"])
    return figure


def curves_figure(histories, title):
    """Loss and accuracy after each epoch, of all scenarios."""
    figure = experiment.new_figure(10, 4, title)
    for axes, measure in zip(figure.subplots(1, 2), ("loss", "accuracy")):
        for name, history in histories.items():
            epochs = np.arange(len(history[f"val_{measure}"]) + 1)
            axes.plot(epochs[1:], history[f"train_{measure}"], ".--", alpha=0.6,
                      color=COLOURS[name])
            axes.plot(epochs, [history["before"][measure], *history[f"val_{measure}"]], ".-",
                      color=COLOURS[name], label=SCENARIOS[name])
        axes.set(xlabel="epoch (0: before training)", ylabel=measure)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.plot([], [], ".-", color="0.3", label="validation pictures")
    axes.plot([], [], ".--", color="0.3", label="training pictures")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


# ---------------------------------------------------------------- the script

def arguments(argv=None):
    """The parsed command line."""
    parser = experiment.argument_parser(
        __doc__.split("\n\n")[0], script="transfer_learning", epochs=15,
        data_dir_help="folder with pictures in train/CLASS/ and val/CLASS/: the ants and bees "
                      "or your own")
    positive_integer, positive_number = experiment.positive_integer, experiment.positive_number
    parser.add_argument("--arch", default="resnet18", metavar="NAME",
                        help="a classifier of torchvision: resnet50, squeezenet1_1, ...")
    parser.add_argument("--weights", default="auto", metavar="FILE",
                        help="pretrained weights: a file with a state dict, imagenet (downloaded), "
                             "shapes (pretrains on drawn shapes), none, or auto: imagenet for "
                             "photographs, shapes for drawn insects")
    for flag, kind, meaning in (
            ("--image-size", positive_integer, "height and width of what the network sees"),
            ("--learning-rate", positive_number, "of the new last layer"),
            ("--backbone-rate", positive_number, "of the pretrained layers in fine-tuning")):
        real, drawn = (values[flag[2:].replace("-", "_")] for values in DEFAULTS.values())
        parser.add_argument(flag, type=kind, metavar="X", help=f"{meaning} (default: {real:g} for "
                            f"photographs, {drawn:g} for drawings)")
    parser.add_argument("--scratch-rate", type=positive_number, default=0.01, metavar="X",
                        help="learning rate of training from scratch; all three rates fall to 0 "
                             "along a cosine")
    parser.add_argument("--batch-size", type=positive_integer, default=32, metavar="N",
                        help="mini-batch size, over all processes")
    parser.add_argument("--freeze-batchnorm", action="store_true",
                        help="fine-tune all but BatchNorm and its running statistics")
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, metavar="NAME",
                        default=list(SCENARIOS),
                        help=f"what to train and compare: some of {', '.join(SCENARIOS)}")
    parser.add_argument("--device", default="auto", metavar="NAME",
                        help="cpu, cuda, mps, or auto for the fastest there is")
    return experiment.parse(parser, argv, quick={"epochs": 2, "image_size": 48})


def chosen(args, kind):
    """The arguments, with what serves this kind of pictures best where no flag was given."""
    given = {name: value for name, value in vars(args).items() if value is not None}
    args = argparse.Namespace(**{**vars(args), **DEFAULTS[kind], **given})
    args.stored_size = round(args.image_size * 8 / 7)  # some border is left to be cut off
    if args.weights == "auto":
        args.weights = {"real": "imagenet", "synthetic": "shapes"}[kind]
    return args


def load_pictures(args):
    """Ants and bees, the pictures of --data-dir, or drawn insects: (data, kind)."""
    if args.data != "synthetic":
        from data.hymenoptera import find_hymenoptera, load_image_folder
        try:
            folder = args.data_dir or find_hymenoptera(progress=True)
            return load_image_folder(folder, chosen(args, "real").stored_size), "real"
        except DownloadError as error:
            if args.data == "real":
                raise
            experiment.say(f"The ants and bees are not available: {error}")
    from data.synthetic_insects import load_synthetic_insects
    print("*** SYNTHETIC DATA: insects drawn by data/synthetic_insects.py, no photographs. ***\n"
          "*** All figures and pictures of this run are about drawn insects.             ***",
          flush=True)
    return load_synthetic_insects(args.seed, *DRAWN[args.quick][1:],
                                  chosen(args, "synthetic").stored_size), "synthetic"


def pretrained_model(args):
    """(network, what to call its weights); the network is None if it has yet to see shapes."""
    if args.weights == "shapes":
        return None, "weights learned from drawn shapes"
    if args.weights == "none":
        return build_model(args.arch), "no pretrained weights"
    if args.weights == "imagenet":
        return imagenet_model(args.arch), "ImageNet weights"
    return load_weights(build_model(args.arch), args.weights), \
        f"weights of {os.path.basename(args.weights)}"


def pretrain(args, device, options):
    """A network that has learned to tell drawn shapes apart."""
    from data.synthetic_insects import load_synthetic_shapes
    number, epochs = DRAWN[args.quick][0], min(6, args.epochs)
    shapes = load_synthetic_shapes(args.seed, number, max(number // 10, 24), args.stored_size)
    model, _ = replace_last_layer(build_model(args.arch).to(device), len(shapes["classes"]))
    optimizer = torch.optim.Adam(model.parameters(), 0.001)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    history = train_model(model, loaders_of(args, shapes), optimizer, scheduler, epochs,
                          label=" pretraining", **options)
    print(f"{max(history['val_accuracy']):.2%} of {len(shapes['classes'])} kinds of drawn shapes "
          "right", flush=True)
    return model


def run_scenario(name, args, model, loaders, num_classes, options):
    """Train one of the SCENARIOS. Returns (trained network, history)."""
    torch.manual_seed(args.seed)
    options = {"num_epochs": args.epochs, "label": f"{SCENARIOS[name]:>12}", **options}
    if name == "freeze":
        return freeze(model, loaders, num_classes, learning_rate=args.learning_rate, **options)
    rates = args.learning_rate, args.backbone_rate
    if name == "scratch":  # fine-tuning what never learned anything
        model = build_model(args.arch).to(next(model.parameters()).device)
        rates = args.scratch_rate, args.scratch_rate
    return finetune(model, loaders, num_classes, learning_rate=rates[0], backbone_rate=rates[1],
                    freeze_batchnorm=args.freeze_batchnorm and name == "finetune", **options)


def report_on_scenario(name, args, model, pictures, classes, subject):
    """Save the weights of a trained network, and figures of what it says of validation pictures."""
    save_atomically(os.path.join(args.out, f"{name}.pth"),
                    lambda file: torch.save(model.state_dict(), file))
    probabilities, labels = predict(model, DataLoader(pictures, args.batch_size))
    some = np.sort(np.random.default_rng(args.seed).permutation(len(labels))[:24])
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    worst = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:18]
    for stem, shown, text in (("predictions", some, "some validation pictures of"),
                              ("mistakes", worst, "most confident mistakes on")):
        if len(shown):
            loader = DataLoader(pictures, args.batch_size, sampler=shown.tolist())
            experiment.save_figure(args, f"{stem}_{name}.png", visualize_model(
                model, loader, classes, len(shown),
                f"{SCENARIOS[name]} {args.arch}: {text} {subject}, with the class that it predicts "
                "and its probability"))


def summary(metrics, out):
    """What is printed at the end."""
    lines = [f"{'':>12}  {'before':>8}  {'validation':>10}  {'best epoch':>10}  "
             f"{'trained parameters':>18}  {'seconds':>7}"]
    for name in SCENARIOS:
        if row := metrics.get(name):
            lines.append(f"{SCENARIOS[name]:>12}  {row['before_accuracy']:>8.2%}  "
                         f"{row['val_accuracy']:>10.2%}  {row['best_epoch']:>10}  "
                         f"{row['trained_parameters']:>18,}  {row['seconds']:>7.1f}")
    table = "\n".join(lines)
    return (f"\n{metrics['config']['arch']} with {metrics['weights']}, on {metrics['subject']}, "
            f"{metrics['num_train']:,} pictures for training and {metrics['num_val']:,} for "
            f"validation\n\n{table}\n\n{metrics['seconds']:.0f} seconds on {metrics['device']}. "
            f"Pictures, weights and metrics.json are in {out}")


def digest(arrays):
    """A short hash, to tell one data set or network from another."""
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]


def main(argv=None):
    """The whole experiment."""
    experiment.reuse_memory()
    args = arguments(argv)
    device = choose_device(args.device)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:  # started by torchrun
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    if processes()[0] > 0:  # only the first process speaks
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    try:
        print(compare(args, device))
    except RuntimeError as error:
        if not re.search("out of memory|allocate memory", str(error)):
            raise
        raise MemoryError(str(error)) from error
    finally:
        if processes()[1] > 1:
            distributed.destroy_process_group()


def compare(args, device):
    """Load the pictures, train the scenarios, and save what they came to. Returns the summary."""
    started, config, (rank, count) = time.monotonic(), experiment.config_of(args), processes()
    torch.manual_seed(args.seed)
    if rank > 0:
        distributed.barrier()  # until the first process has downloaded what is needed
    data, kind = load_pictures(args)
    given, args, classes = args, chosen(args, kind), data["classes"]
    check_size(args.arch, args.image_size)
    model, weights = pretrained_model(args)
    if rank == 0 and count > 1:
        distributed.barrier()
    loaders = loaders_of(args, data)
    subject = "drawn ants and bees" if kind == "synthetic" else \
        " and ".join(classes) if len(classes) == 2 else f"{len(classes)} classes"
    metrics = {"data": kind, "seed": args.seed, "config": config, "subject": subject,
               "classes": classes, "num_train": len(data["y_train"]),
               "num_val": len(data["y_val"]), "weights": weights, "device": device.type,
               "processes": count, "history": {}}
    print(f"{subject}: {metrics['num_train']:,} pictures for training, {metrics['num_val']:,} for "
          "validation", flush=True)
    settings = {**config, "seed": args.seed, "data": kind, "classes": classes,
                "hash of the pictures": digest(data[name] for name in data if name != "classes")}

    def options(name):
        return {"checkpoint": experiment.checkpoint_path(args, f"{name}.npz"),
                "resume": args.resume, "settings": settings}

    # From here on, an older run is removed: all else that may fail has been tried.
    own = [f"{name}.npz" for name in ("pretraining", *SCENARIOS)]
    with contextlib.nullcontext() if rank else experiment.results_folder(given, *own):
        if rank == 0 and not args.resume:
            for name in SCENARIOS:  # some may not be trained this time
                for file in (f"predictions_{name}.png", f"mistakes_{name}.png", f"{name}.pth"):
                    with contextlib.suppress(FileNotFoundError):
                        os.remove(os.path.join(args.out, file))
        if model is None:
            model = pretrain(args, device, options("pretraining"))
        settings["hash of the pretrained weights"] = digest(
            value.cpu().numpy() for value in model.state_dict().values())
        model = model.to(device)
        for name in (name for name in SCENARIOS if name in args.scenarios):
            trained, history = run_scenario(name, args, model, loaders, len(classes), options(name))
            metrics["history"][name] = history
            metrics[name] = {
                "val_accuracy": max(history["val_accuracy"]),
                "before_accuracy": history["before"]["accuracy"],
                "best_epoch": history["best_epoch"],
                "trained_parameters": sum(parameter.numel() for parameter in trained.parameters()
                                          if parameter.requires_grad),
                "seconds": round(history["seconds"], 1)}
            if rank == 0:
                report_on_scenario(name, args, trained, loaders["val"].dataset, classes, subject)
        # A run that was resumed has trained for longer than this part of it took.
        trained = sum(history["seconds"] for history in metrics["history"].values())
        metrics["seconds"] = round(max(time.monotonic() - started, trained), 1)
        if rank == 0:
            experiment.save_figure(args, "learning_curves.png", curves_figure(
                metrics["history"], f"{args.arch} with {weights}, on {subject}"))
            metrics = experiment.save_metrics(given, metrics)
        return summary(metrics, args.out)


if __name__ == "__main__":
    experiment.run(main)
