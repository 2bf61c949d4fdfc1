"""Transfer learning: a network pretrained on many pictures learns to tell ants from bees.

EECS 545 homework 4, question 5: fine-tune all of a pretrained network, or train only a new last
layer on top of the frozen rest. Both are compared with the same network trained from scratch.
The pictures are the ants and bees of data/hymenoptera_data (downloaded if need be), any pictures
in train/CLASS/ and val/CLASS/ of --data-dir, or insects that our own code draws. Several processes
train with the accuracy of one: torchrun --nproc-per-node 2 transfer_learning.py. On CPUs, BatchNorm
then sees the share of one process of each mini-batch, unless --freeze-batchnorm is given.

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
from data.download import DownloadError, download

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
COLOURS = {"finetune": experiment.COLOURS["train"], "freeze": experiment.COLOURS["validation"],
           "scratch": "0.5"}
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
    size, normalize = args.image_size, [v2.ToDtype(torch.float32, scale=True),
                                        v2.Normalize(MEAN, STD)]
    train = Pictures(data["X_train"], data["y_train"], v2.Compose([
        v2.RandomResizedCrop(size, scale=(args.min_area, 1)), v2.RandomHorizontalFlip(),
        *normalize]), args.seed)
    val = Pictures(data["X_val"], data["y_val"], v2.Compose([v2.CenterCrop(size), *normalize]))
    order = DistributedSampler(train, count, rank, seed=args.seed)
    # BatchNorm cannot train on a single picture: an epoch leaves out one that would be alone.
    return {"train": DataLoader(train, share, sampler=order, drop_last=len(order) % share == 1),
            "val": DataLoader(val, share, sampler=range(rank, len(val), count))}


# ---------------------------------------------------------------- processes

def processes():
    """(number of this process from 0, how many processes train together)."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


@contextlib.contextmanager
def first_process_first():
    """The other processes enter this block once the first has left it: it may download."""
    rank, count = processes()
    if rank > 0:
        distributed.barrier()
    try:
        yield
    finally:
        if rank == 0 and count > 1:
            distributed.barrier()


def say(text):
    """Print, in the first process only."""
    if processes()[0] == 0:
        print(text, flush=True)


# ---------------------------------------------------------------- training

def train_model(model, loaders, optimizer, num_epochs, *, criterion=None, scheduler=None,
                frozen=(), checkpoint=None, resume=False, settings=None, label="", verbose=True):
    """Train a classifier and leave it with the weights of its best epoch.

    Best is the highest validation accuracy, the earliest of equals.

    Inputs:
    - model: a torch module that turns x into scores (N, C); changed by the training
    - loaders: dict with 'train' and 'val', each a DataLoader or another iterable with a length
      that yields (x, y), y (N,) int64; set_epoch(epoch) of its sampler and its dataset is called
    - optimizer, scheduler: of torch; the scheduler, if any, steps after each epoch
    - criterion: loss of (scores, y), a mean over the mini-batch; cross-entropy if None
    - frozen: modules that stay in evaluation mode, such as BatchNorm
    - checkpoint, resume: path of a file that is replaced after each epoch, and whether to go on
      from it; on a CPU the result is then bit for bit that of a training that never stopped, if
      all random numbers come from torch's global generator or follow from set_epoch
    - settings: dict, as JSON holds it, of what must be the same when a training is resumed
    - label: leads each line of progress; verbose=False prints nothing

    Returns a dict: before (loss and accuracy on the validation data), train_loss, train_accuracy,
    val_loss, val_accuracy (for each epoch; those of training are means over the epoch, while the
    weights changed), best_epoch (from 1), seconds (over all resumed runs).
    """
    started = time.monotonic()
    rank, count = processes()
    criterion = criterion or nn.CrossEntropyLoss()
    settings = {"epochs": num_epochs, **(settings or {})}
    if resume and checkpoint is not None and os.path.exists(checkpoint):
        history, best = _load(checkpoint, settings, model, optimizer, scheduler)
    else:
        before = dict(zip(("loss", "accuracy"), evaluate(model, loaders["val"], criterion)))
        history = {"before": before, "train_loss": [], "train_accuracy": [], "val_loss": [],
                   "val_accuracy": [], "best_epoch": 0, "seconds": 0.0}
        best = None
    started -= history["seconds"]
    epochs_done, steps = len(history["val_accuracy"]), len(loaders["train"])
    progress = experiment.Progress(num_epochs * steps, epochs_done * steps, label) \
        if verbose and rank == 0 else None
    network = model if count == 1 else nn.parallel.DistributedDataParallel(model)
    for epoch in range(epochs_done + 1, num_epochs + 1):
        set_epoch(loaders["train"], epoch)
        model.train()
        for module in frozen:
            module.training = False
        text = f"epoch {epoch}/{num_epochs}"
        loss, accuracy = _one_pass(
            network, loaders["train"], criterion, optimizer,
            progress and (lambda batch: progress.step(f"{text}  batch {batch}/{steps}")))
        if not np.isfinite(loss):
            raise experiment.UserError(f"the loss is {loss} in epoch {epoch}: try a learning rate "
                                       "ten times smaller, or look for NaN in the weights")
        if count > 1:  # each has seen other pictures: the running statistics of the first count
            for buffer in model.buffers():
                distributed.broadcast(buffer, src=0)
        val_loss, val_accuracy = evaluate(model, loaders["val"], criterion)
        if scheduler:
            scheduler.step()
        if best is None or val_accuracy > max(history["val_accuracy"]):
            best = copy.deepcopy(model.state_dict())
            history["best_epoch"] = epoch
        for name, value in (("train_loss", loss), ("train_accuracy", accuracy),
                            ("val_loss", val_loss), ("val_accuracy", val_accuracy)):
            history[name].append(value)
        history["seconds"] = time.monotonic() - started
        if checkpoint is not None and rank == 0:
            _save(checkpoint, settings, model, optimizer, scheduler, history, best)
        if progress:
            progress.line(f"{text}  loss {loss:.4f}  train {accuracy:.2%}  val {val_accuracy:.2%}")
    model.load_state_dict(best)
    return history


def evaluate(model, loader, criterion=None):
    """Mean (loss, accuracy) of a model over a loader, in evaluation mode; of all processes."""
    model.eval()
    with torch.no_grad():
        return _one_pass(model, loader, criterion or nn.CrossEntropyLoss())


def _one_pass(network, loader, criterion, optimizer=None, report=None):
    """Mean (loss, accuracy) over a loader, of all processes; with an optimizer, train on it."""
    device = next(network.parameters()).device
    totals = np.zeros(3)
    for batch, (x, y) in enumerate(loader, start=1):
        y = y.to(device)
        scores = network(x.to(device))
        loss = criterion(scores, y)
        if optimizer:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        totals += [loss.item() * len(y), (scores.argmax(dim=1) == y).sum().item(), len(y)]
        if report:
            report(batch)
    if processes()[1] > 1:
        totals = torch.from_numpy(totals).to(device)
        distributed.all_reduce(totals)
    loss, right, count = totals.tolist()
    if not count:
        raise ValueError("train_model: loaders expects at least one mini-batch each, got none")
    return loss / count, right / count


def set_epoch(loader, epoch):
    """Tell a loader's sampler and dataset the number of the epoch."""
    for listener in (getattr(loader, "sampler", None), getattr(loader, "dataset", None)):
        if hasattr(listener, "set_epoch"):
            listener.set_epoch(epoch)


def predict(model, loader):
    """(probabilities (number, C) float32, labels (number,)) of all that a loader gives."""
    device = next(model.parameters()).device
    model.eval()
    with torch.no_grad():
        said = [(model(x.to(device)).softmax(dim=1).cpu(), y) for x, y in loader]
    probabilities, labels = map(torch.cat, zip(*said))
    return probabilities.numpy(), labels.numpy()


def _save(path, settings, model, optimizer, scheduler, history, best):
    """Write all that is needed to go on as if nothing had happened."""
    state = optimizer.state_dict()
    tensors = {"rng/torch": torch.get_rng_state(),
               **{f"model/{name}": value for name, value in model.state_dict().items()},
               **{f"best/{name}": value for name, value in best.items()},
               **{f"optimizer/{number}/{name}": value for number, values in state["state"].items()
                  for name, value in values.items()}}
    write_checkpoint(path, settings,
                     {"history": history, "param_groups": state["param_groups"],
                      "scheduler": scheduler and scheduler.state_dict()},
                     {name: value.cpu().numpy() for name, value in tensors.items()})


def _load(path, settings, model, optimizer, scheduler):
    """Put everything back in its place. Returns (history, best)."""
    state, arrays = read_checkpoint(path, settings)
    parts = {"optimizer": {}}
    for name, array in arrays.items():
        part, name = name.split("/", 1)
        parts.setdefault(part, {})[name] = torch.from_numpy(array)
    model.load_state_dict(parts["model"])
    of_parameters = {}
    for name, value in parts["optimizer"].items():
        number, name = name.split("/")
        of_parameters.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": of_parameters, "param_groups": state["param_groups"]})
    if scheduler:
        scheduler.load_state_dict(state["scheduler"])
    torch.set_rng_state(parts["rng"]["torch"])
    return state["history"], parts["best"]


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
    bias = old.bias is not None
    new = nn.Linear(old.in_features, num_classes, bias) if isinstance(old, nn.Linear) else \
        nn.Conv2d(old.in_channels, num_classes, old.kernel_size, old.stride, old.padding, bias=bias)
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
    - options: criterion, checkpoint, resume, settings, label and verbose of train_model

    Returns (trained copy, history of train_model).
    """
    model, head = replace_last_layer(model, num_classes)
    model.requires_grad_(True)
    norms = [module for module in model.modules() if freeze_batchnorm
             and isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.requires_grad_(False)
    of_head = set(head.parameters())
    backbone = [parameter for parameter in model.parameters()
                if parameter.requires_grad and parameter not in of_head]
    groups = [{"params": list(head.parameters()), "lr": learning_rate},
              {"params": backbone, "lr": backbone_rate}]
    return model, _train_sgd(model, loaders, groups, num_epochs, frozen=norms, **options)


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
    cached = {"train": features(model, loaders["train"], views),
              "val": features(model, loaders["val"])}
    seconds = time.monotonic() - started
    groups = [{"params": list(head.parameters()), "lr": learning_rate}]
    history = _train_sgd(nn.Sequential(head, nn.Flatten()), cached, groups, num_epochs, **options)
    history["seconds"] += seconds
    return model, history


def features(model, loader, passes=1):
    """What the last layer gets of the mini-batches of some passes over a loader: [(x, y), ...].

    Raises ValueError if the scores are more than what the layer makes of it, or the mean of that.
    """
    head, device = model.get_submodule(last_layer(model)), next(model.parameters()).device
    seen, batches = [], []
    model.eval()
    with torch.no_grad(), head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])):
        for epoch in range(1, passes + 1):
            set_epoch(loader, epoch)
            for x, y in loader:
                scores, x = model(x.to(device)), seen[-1]
                if x.ndim == 4:  # SqueezeNet: the mean of a 1x1 convolution is that of the mean
                    x = x.mean(dim=(2, 3), keepdim=True)
                ours = head(x).flatten(1)
                if ours.shape != scores.shape or not torch.allclose(ours, scores, 1e-3, 1e-3):
                    raise ValueError(f"freeze: model expects scores that its last layer, "
                                     f"{last_layer(model)}, computes; {type(model).__name__} "
                                     "changes them afterwards")
                batches.append((x, y))
                seen.clear()
    return batches


def _train_sgd(model, loaders, groups, num_epochs, **options):
    """train_model with momentum and a learning rate that falls along a cosine to 0."""
    optimizer = torch.optim.SGD(groups, lr=groups[0]["lr"], momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_epochs)
    return train_model(model, loaders, optimizer, num_epochs, scheduler=scheduler, **options)


# ---------------------------------------------------------------- networks and weights

def build_model(arch):
    """A torchvision classifier with random weights. Raises UserError for an unknown name."""
    known = torchvision.models.list_models(module=torchvision.models)
    if arch not in known:
        raise experiment.UserError(f"--arch {arch} is unknown; torchvision has {', '.join(known)}")
    return torchvision.models.get_model(arch)


def load_weights(model, path):
    """A copy of the model with the weights of a state dict that torch.save() wrote.

    float16 is converted. The last layer takes the file's number of classes. The state dict may be
    the `state_dict` of a larger dict, and that of a DataParallel model.
    """
    try:
        with open(path, "rb") as file:
            state = torch.load(file, map_location="cpu", weights_only=True)
        state = {name.removeprefix("module."): value
                 for name, value in state.get("state_dict", state).items()}
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
    try:
        if not os.path.exists(path):
            download(url, path, max_bytes=4 * 10**9, progress=processes()[0] == 0)
    except DownloadError as error:
        raise experiment.UserError(
            f"the ImageNet weights of {arch} are not available ({error}): give a file with "
            "--weights FILE, or use --weights none") from None
    with open(path, "rb") as file:
        checksum = hashlib.sha256(file.read()).hexdigest()
    if not checksum.startswith(re.search(r"-([0-9a-f]+)\.", url)[1]):  # part of every name
        raise experiment.UserError(f"{path} does not hold the ImageNet weights of {arch} (wrong "
                                   "checksum). Delete it and run again")
    return load_weights(model, path)


def on_device(model, device, size):
    """The model where it is trained. Raises UserError if it cannot take the pictures."""
    try:
        copy.deepcopy(model).train()(torch.zeros(2, 3, size, size)).shape
    except (RuntimeError, ValueError, AssertionError, AttributeError) as error:
        raise experiment.UserError(f"--arch: {type(model).__name__} cannot be trained on pictures "
                                   f"of {size} x {size} pixels ({error})") from None
    if processes()[1] > 1 and device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return model.to(device)


# ---------------------------------------------------------------- figures

def visualize_model(model, loader, class_names, num_images=24, title=None):
    """A figure of the first pictures of a loader.

    Above each stand the predicted class with its probability, and the true class where that is
    another one. The loader yields (x, y), x (N, 3, S, S) normalised with ImageNet's mean and
    deviation; class_names are those of the C classes.
    """
    x, y = [], []
    for pictures, labels in loader:
        x.extend(pictures[:num_images - len(x)])
        y.extend(labels[:num_images - len(y)])
        if len(y) == num_images:
            break
    x, y = torch.stack(x).cpu(), torch.stack(y)
    probabilities, labels = predict(model, [(x, y)])
    names = [name if len(name) <= 16 else f"{name[:15]}…" for name in class_names]
    columns = min(6, len(y))
    rows, width = -(-len(y) // columns), 1.9 * max(columns, 3)
    figure = experiment.new_figure(width, 2.2 * rows + 0.5,
                                   textwrap.fill(title or "", int(9 * width)))
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.set_axis_off()
    for axes, picture, said, label in zip(figure.axes, x.numpy(), probabilities, labels):
        guess = said.argmax()
        axes.imshow(np.clip(picture.transpose(1, 2, 0) * STD + MEAN, 0, 1))
        text = f"{names[guess]} {said[guess]:.0%}"
        axes.set_title(text if guess == label else f"{text}\ntrue: {names[label]}", fontsize=9,
                       color=experiment.COLOURS["right" if guess == label else "wrong"])
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
    axes.plot([], [], ".--", color="0.3", label="on training pictures")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


# ---------------------------------------------------------------- the script

def arguments(argv=None):
    """The parsed command line."""
    parser = experiment.argument_parser(
        __doc__.split("\n\n")[0], script="transfer_learning", epochs=15,
        data_dir_help="folder with pictures in train/CLASS/ and val/CLASS/: the ants and bees "
                      "or your own")
    positive_integer, positive_number = experiment.positive_integer, experiment.positive_number
    default = " (default: {real[%s]:g} for photographs, {synthetic[%s]:g} for drawings)"
    parser.add_argument("--arch", default="resnet18", metavar="NAME",
                        help="a classifier of torchvision: resnet50, squeezenet1_1, ...")
    parser.add_argument("--weights", default="auto", metavar="FILE",
                        help="pretrained weights: a file with a state dict, imagenet (downloaded), "
                             "shapes (pretrains on drawn shapes), none, or auto: imagenet for "
                             "photographs, shapes for drawn insects")
    for name, kind, meaning in (
            ("image_size", positive_integer, "height and width of what the network sees"),
            ("learning_rate", positive_number, "of the new last layer"),
            ("backbone_rate", positive_number, "learning rate of the pretrained layers in "
                                               "fine-tuning")):
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="X", help=meaning
                            + default.replace("%s", name).format(**DEFAULTS))
    parser.add_argument("--scratch-rate", type=positive_number, default=0.01, metavar="X",
                        help="learning rate of training from scratch; all three rates fall to 0 "
                             "along a cosine")
    parser.add_argument("--batch-size", type=positive_integer, default=32, metavar="N",
                        help="mini-batch size, over all processes")
    parser.add_argument("--freeze-batchnorm", action="store_true",
                        help="fine-tune without touching BatchNorm, its running statistics "
                             "included")
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, metavar="NAME",
                        default=list(SCENARIOS),
                        help=f"what to train and compare: some of {', '.join(SCENARIOS)}")
    parser.add_argument("--device", default="auto", metavar="NAME",
                        help="cpu, cuda, mps, or auto for the fastest there is")
    return experiment.parse(parser, argv, quick={"epochs": 2, "image_size": 48})


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


def load_pictures(args):
    """Ants and bees, the pictures of --data-dir, or drawn insects: (data, kind)."""
    if args.data != "synthetic":
        from data.hymenoptera import find_hymenoptera, load_image_folder
        try:
            folder = args.data_dir or find_hymenoptera(progress=processes()[0] == 0)
            return load_image_folder(folder, chosen(args, "real").stored_size, warn=say), "real"
        except DownloadError as error:
            if args.data == "real":
                raise
            say(f"The ants and bees are not available: {' '.join(str(error).split())}")
    from data.synthetic_insects import load_synthetic_insects
    say("*** SYNTHETIC DATA: insects drawn by data/synthetic_insects.py, no photographs. ***\n"
        "*** All figures and pictures of this run are about drawn insects.             ***")
    return load_synthetic_insects(args.seed, *DRAWN[args.quick][1:],
                                  chosen(args, "synthetic").stored_size), "synthetic"


def chosen(args, kind):
    """The arguments, with what serves this kind of pictures best where no flag was given."""
    args = argparse.Namespace(**{**vars(args), **{
        name: getattr(args, name, None) or value for name, value in DEFAULTS[kind].items()}})
    args.stored_size = round(args.image_size * 8 / 7)  # some border is left to be cut off
    return args


def pretrained_model(args, kind, device):
    """(network, what to call its weights) as --arch and --weights ask.

    The network is None where it has yet to learn from drawn shapes: see pretrain.
    """
    weights = args.weights
    if weights == "auto":
        weights = {"real": "imagenet", "synthetic": "shapes"}[kind]
    if weights == "shapes":
        return None, "weights learned from drawn shapes"
    if weights == "none":
        model, name = build_model(args.arch), "no pretrained weights"
    elif weights == "imagenet":
        model, name = imagenet_model(args.arch), "ImageNet weights"
    else:
        model = load_weights(build_model(args.arch), weights)
        name = f"weights of {os.path.basename(weights)}"
    return on_device(model, device, args.image_size), name


def pretrain(args, device, options):
    """A network that has learned to tell drawn shapes apart."""
    from data.synthetic_insects import load_synthetic_shapes
    number, epochs = DRAWN[args.quick][0], min(6, args.epochs)
    shapes = load_synthetic_shapes(args.seed, number, max(number // 10, 24), args.stored_size)
    num_classes = len(shapes["classes"])
    model, _ = replace_last_layer(build_model(args.arch), num_classes)
    model = on_device(model, device, args.image_size)
    optimizer = torch.optim.Adam(model.parameters(), 0.001)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    history = train_model(model, loaders_of(args, shapes), optimizer, epochs, scheduler=scheduler,
                          label=" pretraining", **options)
    say(f"{max(history['val_accuracy']):.2%} of {num_classes} kinds of drawn shapes right")
    return model


def run_scenario(name, args, model, device, loaders, num_classes, options):
    """Train one of the SCENARIOS. Returns (trained network, history)."""
    torch.manual_seed(args.seed)
    options = {"num_epochs": args.epochs, "label": f"{SCENARIOS[name]:>12}", **options}
    if name == "freeze":
        return freeze(model, loaders, num_classes, learning_rate=args.learning_rate, **options)
    if name == "finetune":
        rates = {"learning_rate": args.learning_rate, "backbone_rate": args.backbone_rate,
                 "freeze_batchnorm": args.freeze_batchnorm}
    else:  # from scratch: fine-tuning what never learned anything
        model = on_device(build_model(args.arch), device, args.image_size)
        rates = {"learning_rate": args.scratch_rate, "backbone_rate": args.scratch_rate}
    return finetune(model, loaders, num_classes, **rates, **options)


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
                model, loader, classes, title=f"{SCENARIOS[name]} {args.arch}: {text} {subject}"))


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


def main(argv=None):
    """The whole experiment."""
    experiment.reuse_memory()
    args = arguments(argv)
    device = choose_device(args.device)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:  # started by torchrun
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        finished = experiment.finished_summary(args, summary)
        if finished:
            say(finished)
        else:
            compare(args, device)
    except RuntimeError as error:
        if not re.search("out of memory|allocate memory", str(error)):
            raise
        raise MemoryError(str(error)) from error
    finally:
        if processes()[1] > 1:
            distributed.destroy_process_group()


def compare(args, device):
    """Load the pictures, train the scenarios, and save what they came to."""
    started, first = time.monotonic(), processes()[0] == 0
    torch.manual_seed(args.seed)
    with first_process_first():
        data, kind = load_pictures(args)
        with_defaults = chosen(args, kind)
        model, weights = pretrained_model(with_defaults, kind, device)
    loaders = loaders_of(with_defaults, data)
    classes, numbers = data["classes"], [len(data["y_train"]), len(data["y_val"])]
    subject = "drawn ants and bees" if kind == "synthetic" else \
        " and ".join(classes) if len(classes) == 2 else f"{len(classes)} classes"
    say(f"{subject}: {numbers[0]:,} pictures for training, {numbers[1]:,} for validation")
    config = experiment.config_of(args)
    settings = {**config, "seed": args.seed, "data": kind, "classes": classes,
                "hash of the pictures": digest(
                    data[name] for name in ("X_train", "y_train", "X_val", "y_val"))}

    def options(name):
        return {"checkpoint": experiment.checkpoint_path(args, f"{name}.npz"),
                "resume": args.resume, "settings": settings}

    # From here on, an older run is removed: all else that may fail has been tried.
    own = [f"{name}.npz" for name in ("pretraining", *SCENARIOS)]
    with experiment.results_folder(args, *own) if first else contextlib.nullcontext():
        if first and not args.resume:
            for pattern in ("predictions_{}.png", "mistakes_{}.png", "{}.pth"):
                for path in (os.path.join(args.out, pattern.format(name)) for name in SCENARIOS):
                    if os.path.exists(path):  # of scenarios that are not to be trained this time
                        os.remove(path)
        if model is None:
            model = pretrain(with_defaults, device, options("pretraining"))
        settings["hash of the pretrained weights"] = digest(
            value.cpu().numpy() for value in model.state_dict().values())
        results, histories = {}, {}
        for name in [name for name in SCENARIOS if name in args.scenarios]:
            now = time.monotonic()
            trained, history = run_scenario(name, with_defaults, model, device, loaders,
                                            len(classes), options(name))
            started -= max(0.0, history["seconds"] - (time.monotonic() - now))  # of earlier runs
            histories[name] = history
            results[name] = {
                "val_accuracy": max(history["val_accuracy"]),
                "before_accuracy": history["before"]["accuracy"],
                "best_epoch": history["best_epoch"],
                "trained_parameters": sum(parameter.numel() for parameter in trained.parameters()
                                          if parameter.requires_grad),
                "seconds": round(history["seconds"], 1)}
            if first:
                report_on_scenario(name, args, trained, loaders["val"].dataset, classes, subject)
        if first:
            experiment.save_figure(args, "learning_curves.png", curves_figure(
                histories, f"{args.arch} with {weights}, on {subject}"))
            metrics = {"data": kind, "seed": args.seed, "config": config, "subject": subject,
                       "classes": classes, "num_train": numbers[0], "num_val": numbers[1],
                       "weights": weights, "device": device.type, "processes": processes()[1],
                       **results, "history": histories,
                       "seconds": round(time.monotonic() - started, 1)}
            experiment.save_metrics(args, metrics)
            print(summary(metrics, args.out))


def digest(arrays):
    """A short hash, to tell one data set or network from another."""
    sha256 = hashlib.sha256()
    for array in arrays:
        sha256.update(np.ascontiguousarray(array))
    return sha256.hexdigest()[:16]


if __name__ == "__main__":
    experiment.run(main)
