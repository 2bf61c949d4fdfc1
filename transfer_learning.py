"""A pretrained network learns to tell ants from bees.

EECS 545 homework 4, question 5: take a network that was trained on many pictures,
and either fine-tune all of it or train only a new last layer on top of the frozen rest.
Both are compared with the same network trained from scratch. Takes the ants and bees from
data/hymenoptera_data, downloads them, or draws insects of its own; --data-dir takes any
pictures in train/CLASS/ and val/CLASS/. Runs under torchrun on several GPUs or machines, too,
with the accuracy of one process; only on CPUs BatchNorm sees the share of one process alone, for
want of SyncBatchNorm, so that fine-tuning and training from scratch differ a little there, unless
--freeze-batchnorm is given.

N: pictures of a batch, C: classes, S: height and width of the stored pictures.
"""
import argparse
import contextlib
import copy
import hashlib
import io
import os
import socket
import sys
import textwrap
import time

import experiment  # first: it says in one line what is missing
import numpy as np
from data.download import CONNECT_SECONDS, DownloadError, check_that_it_answers
from solver import (CheckpointError, DivergedError, Progress, as_json, fingerprint,
                    save_atomically)

try:
    import torch
    import torch.distributed
    import torchvision
    from torch import nn
except ModuleNotFoundError as missing:
    if __name__ != "__main__":
        raise
    print(f"error: {missing.name} is missing: python -m pip install torch torchvision",
          file=sys.stderr)
    sys.exit(2)

SCRIPT = "transfer_learning"
SCENARIOS = ("finetune", "freeze", "scratch")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet: red, green, blue
MOMENTUM = 0.9
MAX_IMAGE_SIZE = 4096
GPU_CACHE_BYTES = 4_000_000_000  # pictures up to this size are kept in the memory of the GPU


# ---------------------------------------------------------------- the last layer

def last_layer(model):
    """The name of the layer that gives the scores of the classes.

    That is the last linear layer or convolution in the order in which the model lists its
    parts: `fc` of a ResNet, `classifier.1` (a 1x1 convolution) of SqueezeNet, `classifier.3`
    of MobileNetV3. Raises ValueError if the model has neither.
    """
    names = [name for name, module in model.named_modules()
             if isinstance(module, (nn.Linear, nn.Conv2d))]
    if not names:
        raise ValueError(f"last_layer: model expects a linear layer or a convolution, "
                         f"{type(model).__name__} has none")
    return names[-1]


def replace_last_layer(model, num_classes):
    """A copy of the model with a fresh last layer for num_classes classes: (copy, layer).

    An activation right after it is left out: see drop_activation_of_scores.
    """
    model = copy.deepcopy(model)
    name = last_layer(model)
    old = model.get_submodule(name)
    bias = old.bias is not None
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, num_classes, bias=bias)
    else:
        new = nn.Conv2d(old.in_channels, num_classes, old.kernel_size, old.stride,
                        old.padding, bias=bias)
    new = new.to(old.weight.device, old.weight.dtype)
    if not name:  # the model is a single layer
        return new, new
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, new)
    drop_activation_of_scores(model)
    return model, new


def drop_activation_of_scores(model):
    """Replace an activation right after the last layer, in the same Sequential, by nothing.

    SqueezeNet has a ReLU there: once the scores of all classes are negative, they are all 0 and
    no gradient comes back, so that a training with few classes ends there. The names in the
    state dict stay as they are. Changes the model.
    """
    parent, _, attribute = last_layer(model).rpartition(".")
    siblings = model.get_submodule(parent)
    if not isinstance(siblings, nn.Sequential):
        return
    parts = list(siblings.named_children())
    for (name, _), (after, module) in zip(parts, parts[1:]):
        if name == attribute and type(module).__module__ == nn.ReLU.__module__:
            setattr(siblings, after, nn.Identity())


# ---------------------------------------------------------------- batches

class PictureBatches:
    """Batches of normalised pictures (N, 3, size, size) float32 with their labels (N,) int64.

    Cropping, mirroring and normalising happen for a whole batch at a time and on the device,
    so that the network never waits for its data. Under torchrun each process gets its share
    of the same batches that a single process would get.

    Args:
        X: (number, S, S, 3) uint8
        y: (number,) integer labels
        batch_size: pictures of a batch, over all processes; more only where an epoch would
            else end with a batch too small for BatchNorm
        size: height and width of what the network sees, at most S
        augment: in each epoch, shuffle, cut a random rectangle of at least `min_area` of the
            picture out of each and mirror half of them; otherwise cut out the centre
        device: where the batches shall be
        seed: of shuffling and cropping
    """

    def __init__(self, X, y, *, batch_size=32, size=224, augment=False, min_area=0.3,
                 device="cpu", seed=0):
        X, y = np.asarray(X), np.asarray(y)
        if X.ndim != 4 or X.shape[1] != X.shape[2] or X.shape[3] != 3 or X.dtype != np.uint8:
            raise ValueError("PictureBatches: X expects uint8 (number, S, S, 3), "
                             f"got {X.dtype} {X.shape}")
        if y.shape != X.shape[:1] or not len(y):
            raise ValueError(f"PictureBatches: y expects one label for each of the {len(X)} "
                             f"pictures, and at least one, got shape {y.shape}")
        if not 1 <= size <= X.shape[1]:
            raise ValueError(f"PictureBatches: size expects 1 to {X.shape[1]}, got {size}")
        if augment and min(batch_size, len(y)) < 2 * process_count():
            raise ValueError("PictureBatches: batch_size expects at least two pictures for each "
                             f"of {process_count()} processes, got {min(batch_size, len(y))}")
        self.device = torch.device(device)
        self.X = torch.from_numpy(np.ascontiguousarray(X)).permute(0, 3, 1, 2)
        if X.nbytes <= GPU_CACHE_BYTES:
            self.X = self.X.to(self.device)
        self.y = torch.from_numpy(y.astype(np.int64)).to(self.device)
        self.batch_size, self.size, self.augment = batch_size, size, augment
        self.min_area, self.seed = min_area, seed
        self.epoch, self.shared = 0, True
        self.mean, self.std = (torch.tensor(values, device=self.device).view(3, 1, 1)
                               for values in (MEAN, STD))

    def __len__(self):
        return len(self._batches(np.arange(len(self.y))))

    def set_epoch(self, epoch):
        """Choose the order and the crops: the same epoch always gives the same batches."""
        self.epoch = epoch

    def subset(self, indices):
        """The pictures at these indices, in that order, not augmented, whole in each process."""
        part = copy.copy(self)
        part.X, part.y = (values[torch.as_tensor(indices, device=values.device)]
                          for values in (self.X, self.y))
        part.augment = part.shared = False
        return part

    def __iter__(self):
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.y)) if self.augment else np.arange(len(self.y))
        first, step = (process_rank(), process_count()) if self.shared else (0, 1)
        for batch in self._batches(order):
            # All processes draw the crops of all pictures and so agree on each.
            crops = random_crops(rng, len(batch), self.min_area) if self.augment else None
            mine = batch[first::step]
            if len(mine):
                yield self._batch(mine, None if crops is None else crops[first::step])

    def _batches(self, order):
        """`order` in as few pieces of at most batch_size as possible, all about equally long.

        In training, no process gets a single picture of a batch, as BatchNorm needs two: where
        small batches leave too few, they are spread over the other batches.
        """
        pieces = -(-len(order) // self.batch_size)
        if self.augment:
            pieces = min(pieces, len(order) // (2 * process_count()))
        return np.array_split(order, pieces)

    def _batch(self, indices, crops):
        """(x, y) of the pictures at these indices."""
        y = self.y[torch.from_numpy(indices).to(self.device)]
        x = self.X[torch.from_numpy(indices).to(self.X.device)].to(self.device).float() / 255
        if crops is None:
            start = (x.shape[-1] - self.size) // 2
            x = x[..., start:start + self.size, start:start + self.size]
        else:
            grid = nn.functional.affine_grid(torch.from_numpy(crops).to(self.device),
                                             [len(x), 3, self.size, self.size],
                                             align_corners=False)
            x = nn.functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
        x = (x - self.mean) / self.std
        return x.contiguous(memory_format=memory_format(self.device)), y


def random_crops(rng, count, min_area):
    """Random rectangles of a picture, half of them mirrored, for torch's affine_grid.

    The area is uniform from min_area to 1, the aspect ratio from 3/4 to 4/3 (uniform in its
    logarithm), the place uniform among those inside the picture.
    Returns float32 (count, 2, 3), in coordinates from -1 to 1 over the picture.
    """
    area = rng.uniform(min_area, 1, count)
    aspect = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), count))
    extent = np.minimum(np.sqrt(area)[:, None] * np.stack([aspect, 1 / aspect], axis=1) ** 0.5, 1)
    crops = np.zeros((count, 2, 3), dtype=np.float32)
    crops[:, 0, 0] = extent[:, 0] * rng.choice([-1, 1], count)
    crops[:, 1, 1] = extent[:, 1]
    crops[:, :, 2] = rng.uniform(-1, 1, (count, 2)) * (1 - extent)
    return crops


# ---------------------------------------------------------------- device and processes

def choose_device(name="auto"):
    """The torch.device of a name; 'auto' takes an NVIDIA GPU, then Apple's, then the CPU.

    Under torchrun each process of a machine takes a GPU of its own.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else \
            "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError("cpu, cuda or mps is expected")
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise experiment.UserError(f"--device {name} cannot be used: "
                                   f"{str(error).splitlines()[0]}") from None
    return device


@contextlib.contextmanager
def named_lack_of_memory():
    """Within this block, memory that runs out is a UserError that says what to do."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # Only the error of a GPU has a class of its own.
        lacking = isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
            words in str(error) for words in ("allocate memory", "out of memory"))
        if not lacking:
            raise
        raise experiment.UserError("not enough memory: try a smaller --batch-size or a smaller "
                                   f"--image-size ({_first_line(error)})") from None


def memory_format(device):
    """How pictures and filters lie in memory: tensor cores want the channels last."""
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format


def mixed_precision(device):
    """A context in which a GPU that can do so computes in bfloat16 what may be rough."""
    on = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=on)


def _distributed():
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def process_rank():
    """The number of this process among those that train together, from 0."""
    return torch.distributed.get_rank() if _distributed() else 0


def process_count():
    """How many processes train together."""
    return torch.distributed.get_world_size() if _distributed() else 1


def sum_over_processes(tensor):
    """Sum of a tensor over all processes, in each of them; changes the tensor."""
    if process_count() > 1:
        torch.distributed.all_reduce(tensor)
    return tensor


def from_first_process(action):
    """What action() returns or raises in the first process, in all processes.

    Machines need not share a disk, so the first one's files decide for all.
    """
    if process_count() == 1:
        return action()
    outcome = [None, None]
    if process_rank() == 0:
        try:
            outcome[0] = action()
        except Exception as error:  # the others would wait for ever
            outcome[1] = error
    torch.distributed.broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


# ---------------------------------------------------------------- training

def train_model(model, loaders, optimizer, num_epochs, *, criterion=None, scheduler=None,
                frozen=(), checkpoint=None, resume=False, settings=None, label="",
                verbose=True):
    """Train a classifier and leave it with the weights of its best epoch.

    Best is the highest accuracy on the validation data; the earliest of equals.

    Inputs:
    - model: a torch module that turns x into scores (N, C); changed by the training
    - loaders: dict with 'train' and 'val', each a DataLoader or another iterable with a
      length that yields (x, y), y (N,) int64. A set_epoch(epoch) method of a loader, or of
      its sampler, is called before each epoch. Where several processes train together,
      each gives its own share of every batch, and all give equally many batches.
    - optimizer: of the parameters to be trained
    - num_epochs: passes over the training data
    - criterion: loss of (scores, y), a mean over the batch; cross-entropy if None
    - scheduler: stepped after each epoch, if given
    - frozen: modules that stay in evaluation mode: their BatchNorm keeps its running
      statistics and their dropout does nothing
    - checkpoint: path of a file that is replaced after each epoch, or None
    - resume: go on from the checkpoint if there is one. On a CPU the result is then bit for
      bit that of a training that never stopped, provided that the loaders take their random
      numbers from torch: from its global generator, or from the `generator` of a DataLoader
      or its sampler. What they draw from NumPy, `random` or persistent workers goes on anew.
    - settings: what must be the same when a training is resumed; numbers, texts, arrays,
      dicts and lists
    - label: leads each line of the progress
    - verbose: False prints nothing

    Returns a dict: before (loss and accuracy on the validation data before training),
    train_loss, train_accuracy, val_loss, val_accuracy (one number for each epoch; those of
    training are means over the epoch, while the weights changed), best_epoch (from 1),
    seconds (over all resumed runs).
    Raises DivergedError when the loss is no longer finite, CheckpointError for a checkpoint
    that is damaged, cannot be written or belongs to another training.
    """
    if num_epochs < 1:
        raise ValueError(f"train_model: num_epochs expects at least 1, got {num_epochs}")
    started = time.monotonic()
    criterion = nn.CrossEntropyLoss() if criterion is None else criterion
    settings = as_json("train_model", {"epochs": num_epochs, **(settings or {})})
    parts = {"model": model, "optimizer": optimizer}
    if scheduler is not None:
        parts["scheduler"] = scheduler
    saved = None
    if resume and checkpoint is not None:
        saved = from_first_process(lambda: _read_checkpoint(checkpoint))
    if saved is not None:
        history, best = _load_checkpoint(checkpoint, saved, parts, loaders, settings)
    else:
        before = dict(zip(("loss", "accuracy"), evaluate(model, loaders["val"], criterion)))
        history = {"before": before, "train_loss": [], "train_accuracy": [],
                   "val_loss": [], "val_accuracy": [], "best_epoch": 0, "seconds": 0.0}
        best = None
    started -= history["seconds"]
    epochs_done = len(history["val_accuracy"])
    steps = len(loaders["train"])
    progress = Progress(num_epochs * steps, epochs_done * steps, label) \
        if verbose and process_rank() == 0 else None
    network = _parallel(model)
    for epoch in range(epochs_done + 1, num_epochs + 1):
        _set_epoch(loaders["train"], epoch)
        train_loss, train_accuracy = _train_epoch(
            network, model, loaders["train"], criterion, optimizer, frozen, progress,
            f"epoch {epoch}/{num_epochs}")
        if not np.isfinite(train_loss):
            raise DivergedError(f"the loss is {train_loss} in epoch {epoch}: try a learning rate "
                                "ten times smaller, or look for NaN in the weights")
        val_loss, val_accuracy = evaluate(model, loaders["val"], criterion)
        if scheduler is not None:
            scheduler.step()
        if best is None or val_accuracy > max(history["val_accuracy"]):
            best = {name: value.detach().clone() for name, value in model.state_dict().items()}
            history["best_epoch"] = epoch
        for name, value in (("train_loss", train_loss), ("train_accuracy", train_accuracy),
                            ("val_loss", val_loss), ("val_accuracy", val_accuracy)):
            history[name].append(value)
        history["seconds"] = time.monotonic() - started
        if checkpoint is not None and process_rank() == 0:
            _save_checkpoint(checkpoint, parts, loaders, settings, history, best)
        if progress:
            progress.line(f"epoch {epoch}/{num_epochs}  loss {train_loss:.4f}  "
                          f"train {train_accuracy:.4f}  val {val_accuracy:.4f}")
    model.load_state_dict(best)
    return history


def evaluate(model, loader, criterion=None):
    """(loss, accuracy) of a model over all that a loader gives, in evaluation mode.

    Where several processes work together, over what all their loaders give.
    """
    criterion = nn.CrossEntropyLoss() if criterion is None else criterion
    device = next(model.parameters()).device
    totals = torch.zeros(3, device=device)
    model.eval()
    with torch.no_grad():
        for x, y in loader:
            scores, y = _scores(model, x.to(device)), y.to(device)
            totals += _totals(criterion(scores, y), scores, y)
    return _means(totals)


def _train_epoch(network, model, loader, criterion, optimizer, frozen, progress, text):
    """One pass over the training data. Returns its mean (loss, accuracy).

    network: the model, wrapped for several processes if there are several.
    """
    device = next(model.parameters()).device
    totals = torch.zeros(3, device=device)
    model.train()
    for module in frozen:
        module.training = False
    for number, (x, y) in enumerate(loader, start=1):
        scores, y = _scores(network, x.to(device)), y.to(device)
        loss = criterion(scores, y)
        optimizer.zero_grad()
        # Gradients are averaged over processes, so each loss weighs as much as its share
        # of the whole batch: the sum is then the mean over the batch, however it is shared.
        whole = sum_over_processes(torch.tensor(float(len(y)), device=device))
        (loss * (len(y) * process_count() / whole)).backward()
        optimizer.step()
        totals += _totals(loss.detach(), scores.detach(), y)
        if progress:
            progress.step(f"{text}  batch {number}/{len(loader)}")
    if process_count() > 1:
        # Each process has seen other pictures; the first one's running statistics count.
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, src=0)
    return _means(totals)


def _scores(network, x):
    """Scores (N, C) float32 of a batch."""
    with mixed_precision(x.device):
        scores = network(x)
    if not isinstance(scores, torch.Tensor):
        raise ValueError(f"train_model: model expects to return scores (N, C), it returned a "
                         f"{type(scores).__name__}: an architecture with side exits cannot be "
                         "trained here")
    return scores.float()


def _totals(loss, scores, y):
    """What a batch adds to the sums: loss, right answers, samples."""
    right = (scores.argmax(dim=1) == y).sum()
    return torch.stack([loss * len(y), right.float(), torch.full_like(loss, len(y))])


def _means(totals):
    """(loss, accuracy) over all processes, of the sums of _totals."""
    loss, right, count = sum_over_processes(totals).tolist()
    if count == 0:
        raise ValueError("train_model: loaders expects at least one batch of each, got an empty "
                         "loader")
    return loss / count, right / count


def _set_epoch(loader, epoch):
    """Tell a loader or its sampler the number of the epoch, if it wants to know."""
    for listener in (loader, getattr(loader, "sampler", None)):
        if hasattr(listener, "set_epoch"):
            listener.set_epoch(epoch)


def _parallel(model):
    """The model, wrapped so that its gradients are averaged over all processes."""
    if process_count() == 1:
        return model
    device = next(model.parameters()).device
    return nn.parallel.DistributedDataParallel(
        model, device_ids=[device] if device.type == "cuda" else None, broadcast_buffers=False)


def predict(model, loader):
    """What a model says: (probabilities (number, C) float32, labels (number,)), as arrays."""
    device = next(model.parameters()).device
    model.eval()
    probabilities, labels = [], []
    with torch.no_grad():
        for x, y in loader:
            probabilities.append(_scores(model, x.to(device)).softmax(dim=1).cpu())
            labels.append(y.cpu())
    return torch.cat(probabilities).numpy(), torch.cat(labels).numpy()


# ---------------------------------------------------------------- checkpoints

CHECKPOINT_VERSION = 2


def _generators(loaders):
    """The random generators of their own that DataLoaders and their samplers draw from."""
    batch_samplers = [getattr(loaders[part], "batch_sampler", None) for part in ("train", "val")]
    holders = [loaders["train"], loaders["val"], *batch_samplers,
               *(getattr(sampler, "sampler", None) for sampler in batch_samplers)]
    found = [getattr(holder, "generator", None) for holder in holders]
    return [generator for generator in found if isinstance(generator, torch.Generator)]


def _plain(value):
    """A state dict with Python's numbers for NumPy's, which torch.load() would refuse."""
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    if type(value) is dict:
        return {_plain(key): _plain(each) for key, each in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def _save_checkpoint(path, parts, loaders, settings, history, best):
    """Write all that is needed to go on as if nothing had happened."""
    state = {"settings": settings, "history": history, "best": best,
             "rng": torch.get_rng_state(), "cuda_rng": torch.cuda.get_rng_state_all()
             if torch.cuda.is_available() else [],
             "generators": [generator.get_state() for generator in _generators(loaders)],
             **{name: _plain(part.state_dict()) for name, part in parts.items()}}
    content = io.BytesIO()
    torch.save(state, content)
    # torch.load does not notice a flipped bit: a checksum does.
    whole = {"version": CHECKPOINT_VERSION,
             "sha256": hashlib.sha256(content.getbuffer()).hexdigest(),
             "state": torch.frombuffer(content.getbuffer(), dtype=torch.uint8)}
    try:
        save_atomically(path, lambda file: torch.save(whole, file))
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"cannot write the checkpoint {path}: {error}. The last one that "
                              "was written is intact; free some space or choose another --out, "
                              "then use --resume") from None


def _read_checkpoint(path):
    """The bytes of a checkpoint, or None if there is none."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: {error.strerror}") from None


def _load_checkpoint(path, saved, parts, loaders, settings):
    """Put everything back in its place. Returns (history, best).

    saved: the bytes of the checkpoint; path: its name, for messages.
    """
    advice = "Delete it to start afresh"
    whole = _load(path, CheckpointError, advice, saved)
    version = whole.get("version") if isinstance(whole, dict) else None
    if version != CHECKPOINT_VERSION:
        raise CheckpointError(f"{path} has checkpoint format {version}, this program reads "
                              f"{CHECKPOINT_VERSION}. {advice}")
    try:
        content = whole["state"].numpy()
        if hashlib.sha256(content).hexdigest() != whole["sha256"]:
            raise CheckpointError(f"{path} is damaged: its checksum does not match. {advice}")
        state = _load(path, CheckpointError, advice, content)
        for key in {**settings, **state["settings"]}:
            old, new = state["settings"].get(key), settings.get(key)
            if old != new:
                raise CheckpointError(
                    f"{path} is the checkpoint of another training: its {key} is {old}, now "
                    f"{new}. Use the same settings, another --out folder, or start afresh "
                    "without --resume")
        for name, part in parts.items():
            part.load_state_dict(state[name])
        for generator, each in zip(_generators(loaders), state["generators"], strict=True):
            generator.set_state(each)
        torch.set_rng_state(state["rng"])
        if torch.cuda.is_available() and state["cuda_rng"]:
            torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda_rng"]])
        return state["history"], state["best"]
    except CheckpointError:
        raise
    except (KeyError, TypeError, AttributeError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{path} does not fit this training "
                              f"({_first_line(error)}). {advice}") from None


def _load(path, error_type, advice, saved=None):
    """The content of a file of torch.save(); nothing in it is ever executed.

    saved: the bytes of the file, where they have been read already.
    """
    try:
        source = path if saved is None else io.BytesIO(saved)
        return torch.load(source, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise error_type(f"{path} does not exist") from None
    except Exception as error:  # torch.load raises whatever its unpickler meets
        # What torch says of code in a file is about torch's own arguments.
        reason = "it is damaged, or holds more than tensors, numbers and texts" \
            if type(error).__name__ == "UnpicklingError" else _first_line(error)
        raise error_type(f"{path} cannot be read as weights or a checkpoint ({reason}). "
                         f"{advice}") from None


def _first_line(error):
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


# ---------------------------------------------------------------- the scenarios

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
    norms = [module for module in model.modules()
             if isinstance(module, nn.modules.batchnorm._BatchNorm)] if freeze_batchnorm else []
    for norm in norms:
        norm.requires_grad_(False)
    backbone = _without(model, head)
    groups = [{"params": list(head.parameters()), "lr": learning_rate},
              {"params": backbone, "lr": backbone_rate}]
    return model, _train_sgd(model, loaders, groups, num_epochs, frozen=norms, **options)


def freeze(model, loaders, num_classes, *, num_epochs=15, learning_rate=0.003, **options):
    """Give a pretrained network a new last layer and train that alone.

    Everything else stays bit for bit as it was: weights, and running statistics of BatchNorm.

    Inputs:
    - model: the pretrained classifier; it is copied, not changed
    - loaders, num_epochs: see train_model
    - learning_rate: of the new last layer, in the first epoch; falls to 0 along a cosine
    - options: criterion, checkpoint, resume, settings, label and verbose of train_model

    Returns (trained copy, history of train_model).
    """
    model, head = replace_last_layer(model, num_classes)
    for parameter in _without(model, head):
        parameter.requires_grad_(False)
        parameter.grad = None
    groups = [{"params": list(head.parameters()), "lr": learning_rate}]
    frozen = [module for module in model.modules() if module is not head]
    return model, _train_sgd(model, loaders, groups, num_epochs, frozen=frozen, **options)


def _without(model, head):
    """The trainable parameters of a model that are not in its last layer."""
    in_head = {id(parameter) for parameter in head.parameters()}
    return [parameter for parameter in model.parameters()
            if id(parameter) not in in_head and parameter.requires_grad]


def _train_sgd(model, loaders, groups, num_epochs, **options):
    """train_model with momentum and a learning rate that falls along a cosine to 0."""
    optimizer = torch.optim.SGD(groups, lr=groups[0]["lr"], momentum=MOMENTUM)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_epochs)
    return train_model(model, loaders, optimizer, num_epochs, scheduler=scheduler, **options)


# ---------------------------------------------------------------- networks and weights

def build_model(arch, num_classes=1000):
    """A torchvision classifier with random weights, its scores free of any activation.

    Raises UserError for an unknown name.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    if arch not in known:
        raise experiment.UserError(f"--arch {arch} is unknown; torchvision has {', '.join(known)}")
    model = torchvision.models.get_model(arch, weights=None, num_classes=num_classes)
    drop_activation_of_scores(model)
    return model


def load_weights(model, path):
    """A copy of the model with the weights of a state dict that torch.save() wrote.

    Weights of another floating type, such as float16, are converted. The last layer may be
    of another number of classes: the copy takes that of the file. The state dict may be the
    `state_dict` of a larger dict, and that of a DataParallel model.
    Raises UserError if the file cannot be read or its names or shapes are not the model's.
    """
    state = _load(path, experiment.UserError, "A state dict is expected, as torch.save("
                  "model.state_dict(), FILE) writes it")
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(
            isinstance(name, str) and _is_plain_tensor(value) for name, value in state.items()):
        raise experiment.UserError(f"{path} holds no state dict (names and dense tensors of "
                                   "real numbers)")
    state = {name.removeprefix("module."): value for name, value in state.items()}
    head = state.get(f"{last_layer(model)}.weight")
    num_classes = head.shape[0] if head is not None and head.ndim else 0
    model = replace_last_layer(model, num_classes)[0] if num_classes else copy.deepcopy(model)
    expected = {name: value.shape for name, value in model.state_dict().items()}
    faults = {"lacks": sorted(expected.keys() - state.keys()),
              "has too much": sorted(state.keys() - expected.keys()),
              "has another shape for": [
                  f"{name} {tuple(state[name].shape)} instead of {tuple(shape)}"
                  for name, shape in expected.items()
                  if name in state and state[name].shape != shape]}
    if any(faults.values()):
        text = "; it ".join(f"{fault} {_listing(names)}"
                            for fault, names in faults.items() if names)
        raise experiment.UserError(f"{path} does not fit {type(model).__name__}: it {text}")
    model.load_state_dict(state)  # copies into the model's own type
    return model


def _is_plain_tensor(value):
    return isinstance(value, torch.Tensor) and value.layout == torch.strided \
        and not value.is_complex() and not value.is_quantized


def _listing(names, most=6):
    """Names in a line, shortened."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def imagenet_model(arch):
    """A torchvision classifier with its ImageNet weights, downloaded by torchvision once."""
    build_model(arch)  # complains of an unknown name
    weights = torchvision.models.get_model_weights(arch).DEFAULT
    # torchvision waits for ever where nothing answers.
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_SECONDS)
    try:
        cache = os.path.join(torch.hub.get_dir(), "checkpoints", os.path.basename(weights.url))
        if not os.path.exists(cache):
            check_that_it_answers(weights.url, CONNECT_SECONDS)
        return torchvision.models.get_model(arch, weights=weights)
    except (OSError, RuntimeError) as error:  # no network; not what its checksum says
        raise experiment.UserError(
            f"the ImageNet weights of {arch} cannot be had ({_first_line(error)}): give a file "
            "with --weights FILE, or train without with --weights none") from None
    finally:
        socket.setdefaulttimeout(patience)


# ---------------------------------------------------------------- pictures

SCENARIO_NAMES = {"finetune": "fine-tuned", "freeze": "frozen", "scratch": "from scratch"}
SCENARIO_COLOURS = {"finetune": experiment.COLOURS["train"],
                    "freeze": experiment.COLOURS["validation"], "scratch": "0.5"}


def visualize_model(model, loader, class_names, num_images=24, title=None):
    """The first pictures of a loader with their predicted and true class, as a figure.

    Inputs:
    - model: a classifier
    - loader: yields (x, y), x (N, 3, H, W) normalised with the mean and deviation of ImageNet
    - class_names: the names of the C classes; long ones are shortened
    - num_images: how many pictures at most
    - title: of the whole figure

    Returns a matplotlib figure. Above each picture stand the predicted class with its
    probability, and the true class where that is another one.
    """
    probabilities, labels, pictures = [], [], []
    for x, y in loader:
        left = num_images - len(labels)
        if left <= 0:
            break
        said, true = predict(model, [(x[:left], y[:left])])
        probabilities.extend(said)
        labels.extend(true)
        shown = x[:left].cpu().movedim(1, 3) * torch.tensor(STD) + torch.tensor(MEAN)
        pictures.extend(shown.clamp(0, 1).numpy())
    columns = min(6, max(1, len(pictures)))
    rows = max(1, -(-len(pictures) // columns))
    names = [shown_name(name) for name in class_names]
    figure = titled_figure(1.9 * max(columns, 3), 2.2 * rows + 0.5, title)
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for axes in grid:
        axes.set_axis_off()
    for axes, picture, said, label in zip(figure.axes, pictures, probabilities, labels):
        guess = int(said.argmax())
        axes.imshow(picture)
        text = f"{names[guess]} {said[guess]:.0%}"
        axes.set_title(text if guess == label else f"{text}\ntrue: {names[label]}",
                       fontsize=9, parse_math=False,
                       color=experiment.COLOURS["right" if guess == label else "wrong"])
    return figure


def shown_name(name, most=16):
    """The name of a class where there is little room, without what no font can show."""
    text = "".join(letter if letter.isprintable() else "?" for letter in str(name))
    return text if len(text) <= most else text[:most - 1] + "…"


def titled_figure(width, height, title):
    """A figure whose title is text, and no formula where it has dollar signs; long ones wrap."""
    figure = experiment.new_figure(width, height)
    if title:
        letters = int(9 * width)  # matplotlib's own wrapping takes dollar signs for formulas
        figure.suptitle(textwrap.fill(title, letters), parse_math=False)
    return figure


def worst_mistakes(probabilities, labels, most=18):
    """Indices of the pictures that were most confidently misread, the worst first."""
    confidence = probabilities.max(axis=1)
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    return wrong[np.argsort(-confidence[wrong], kind="stable")][:most]


def curves_figure(histories, title):
    """Loss and accuracy after each epoch, of all scenarios."""
    figure = titled_figure(10, 4, title)
    for axes, measure in zip(figure.subplots(1, 2), ("loss", "accuracy")):
        for name, history in histories.items():
            epochs = np.arange(len(history[f"val_{measure}"]) + 1)
            axes.plot(epochs[1:], history[f"train_{measure}"], ".--", alpha=0.6,
                      color=SCENARIO_COLOURS[name])
            axes.plot(epochs, [history["before"][measure], *history[f"val_{measure}"]], ".-",
                      color=SCENARIO_COLOURS[name], label=SCENARIO_NAMES[name])
        axes.set(xlabel="epoch (0: before training)", ylabel=measure)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.grid(alpha=0.3)
    axes.plot([], [], ".--", color="0.3", label="on training pictures")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


# ---------------------------------------------------------------- the script

# Pictures of shapes to pretrain on, of insects for training and for validation.
DRAWN = {False: (3000, 244, 400), True: (120, 40, 40)}
PRETRAINING_EPOCHS = 6
PRETRAINING_RATE = 0.001  # of Adam
# What serves photographs and drawings best. Drawings need no small crops, as they come in all
# places and sizes; a network that has seen only shapes has more to relearn than ImageNet's.
DEFAULTS = {
    "real": {"image_size": 224, "min_area": 0.3, "learning_rate": 0.003, "backbone_rate": 0.0002},
    "synthetic": {"image_size": 48, "min_area": 0.7, "learning_rate": 0.01,
                  "backbone_rate": 0.005}}


def arguments(argv=None):
    """The parsed command line."""
    parser = experiment.argument_parser(
        __doc__.split("\n\n")[0], script=SCRIPT, epochs=15,
        data_dir_help="folder with pictures in train/CLASS/ and val/CLASS/: the ants and bees "
                      "or your own")
    parser.add_argument("--arch", default="resnet18", metavar="NAME",
                        help="a classifier of torchvision: resnet50, squeezenet1_1, ...")
    parser.add_argument("--weights", default="auto", metavar="FILE",
                        help="pretrained weights: a file with a state dict, imagenet (downloaded "
                             "by torchvision), shapes (pretrains on drawn shapes), none, or auto: "
                             "imagenet for photographs, shapes for drawn insects")
    parser.add_argument("--image-size", type=side_of_pictures, metavar="N",
                        help="height and width of what the network sees" + _default("image_size"))
    parser.add_argument("--batch-size", type=experiment.positive_integer, default=32, metavar="N",
                        help="pictures of a step, over all processes; on CPUs, BatchNorm sees the "
                             "share of its own process only")
    for flag, meaning in (("learning_rate", "of the new last layer"),
                          ("backbone_rate", "of the pretrained layers in fine-tuning")):
        parser.add_argument(f"--{flag.replace('_', '-')}", type=learning_rate,
                            metavar="X", help=f"learning rate {meaning}" + _default(flag))
    parser.add_argument("--scratch-rate", type=learning_rate, default=0.01,
                        metavar="X", help="learning rate of training from scratch; all three "
                        "rates fall to 0 along a cosine")
    parser.add_argument("--freeze-batchnorm", action="store_true",
                        help="fine-tune without touching BatchNorm, its running statistics "
                             "included")
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, metavar="NAME",
                        default=list(SCENARIOS),
                        help=f"what to train and compare: some of {', '.join(SCENARIOS)}")
    parser.add_argument("--device", default="auto", metavar="NAME",
                        help="cpu, cuda, mps, or auto for the fastest there is")
    args = experiment.parse(parser, argv, quick={"epochs": 2, "image_size": 48})
    if args.seed >= 2**64:
        parser.error(f"argument --seed: expects an integer below 2**64, got {args.seed}")
    return args


def side_of_pictures(text):
    """For argparse: a height and width that no classifier of torchvision exceeds."""
    value = experiment.positive_integer(text)
    if value > MAX_IMAGE_SIZE:
        raise argparse.ArgumentTypeError(f"expects at most {MAX_IMAGE_SIZE}, got {text}")
    return value


def learning_rate(text):
    """For argparse: a positive number that float32, which the weights are in, can hold."""
    value = experiment.positive_number(text)
    if value > torch.finfo(torch.float32).max:
        raise argparse.ArgumentTypeError(f"expects a number that float32 can hold, got {text}")
    return value


def _default(name):
    """For --help: what is taken if the flag is not given."""
    return (f" (default: {DEFAULTS['real'][name]:g} for photographs, "
            f"{DEFAULTS['synthetic'][name]:g} for drawings)")


def setting(args, kind, name):
    """A flag's value, or what serves this kind of pictures best where it was not given."""
    value = getattr(args, name)
    return DEFAULTS[kind][name] if value is None else value


@contextlib.contextmanager
def together(device):
    """Within this block, the processes that torchrun has started train together, if it has.

    Ctrl-C ends them here, as only here it is known that torchrun is to be called again.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    except KeyboardInterrupt:
        if process_rank() == 0:
            print("\nStopped. Go on with the same call of torchrun and --resume", file=sys.stderr)
        sys.exit(130)
    finally:
        torch.distributed.destroy_process_group()


def first_process_first(action):
    """Call action() in the first process and, when that is done or has failed, in the others."""
    if process_rank() > 0:
        torch.distributed.barrier()
    try:
        return action()
    finally:
        if process_rank() == 0 and process_count() > 1:
            torch.distributed.barrier()


def say(text):
    """Print, in one process only."""
    if process_rank() == 0:
        print(text, flush=True)


def load_pictures(args):
    """Ants and bees, the pictures of --data-dir, or drawn insects. Returns (data, kind)."""
    from data.hymenoptera import find_hymenoptera, load_image_folder
    if args.data != "synthetic":
        try:
            folder = args.data_dir or find_hymenoptera(progress=process_rank() == 0)
            return load_image_folder(folder, stored_side(args, "real"), warn=say), "real"
        except DownloadError as error:
            if args.data == "real":
                raise
            say(f"The ants and bees cannot be had: {' '.join(str(error).split())}")
    from data.synthetic_insects import load_synthetic_insects
    say("*** SYNTHETIC DATA: insects drawn by data/synthetic_insects.py, no photographs. ***\n"
        "*** All figures and pictures of this run are about drawn insects.             ***")
    _, num_train, num_val = DRAWN[args.quick]
    return load_synthetic_insects(args.seed, num_train, num_val,
                                  stored_side(args, "synthetic")), "synthetic"


def stored_side(args, kind):
    """Height and width of the stored pictures: some border is left to be cut off."""
    return round(setting(args, kind, "image_size") * 8 / 7)


def loaders_of(args, data, kind, size, device):
    """The PictureBatches of training and validation; kind is that of these pictures."""
    if args.batch_size < 2 * process_count():
        raise experiment.UserError(f"--batch-size expects at least two pictures for each of "
                                   f"{process_count()} processes, got {args.batch_size}")
    return {part: PictureBatches(data[f"X_{part}"], data[f"y_{part}"], augment=part == "train",
                                 batch_size=args.batch_size, size=size,
                                 min_area=DEFAULTS[kind]["min_area"], device=device, seed=args.seed)
            for part in ("train", "val")}


def on_device(model, device, side):
    """The model where it shall be trained, ready for several processes.

    Raises UserError if it cannot take pictures of side x side pixels or has side exits.
    """
    try:
        with named_lack_of_memory():
            scores = copy.deepcopy(model).train()(torch.zeros(2, 3, side, side))
    except experiment.UserError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        raise experiment.UserError(f"--arch: {type(model).__name__} cannot take pictures of {side} "
                                   f"x {side} pixels ({_first_line(error)})") from None
    if not isinstance(scores, torch.Tensor):
        raise experiment.UserError(f"--arch: {type(model).__name__} has side exits and cannot be "
                                   "trained here")
    model = model.to(device, memory_format=memory_format(device))
    if process_count() > 1 and device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return model


def pretrained_model(args, kind, device):
    """(network, what to call its weights) as --arch and --weights ask.

    The network is None where it has yet to learn from drawn shapes: see pretrain.
    """
    side = setting(args, kind, "image_size")
    weights = args.weights
    if weights == "auto":
        weights = {"real": "imagenet", "synthetic": "shapes"}[kind]
    if weights == "none":
        return on_device(build_model(args.arch), device, side), "no pretrained weights"
    if weights == "imagenet":
        model = first_process_first(lambda: imagenet_model(args.arch))
        return on_device(model, device, side), "ImageNet weights"
    if weights == "shapes":
        return None, "weights learned from drawn shapes"
    model = load_weights(build_model(args.arch), weights)
    return on_device(model, device, side), f"weights of {os.path.basename(weights)}"


def pretrain(args, kind, device, training):
    """A network that has learned to tell drawn shapes apart.

    training: gives the options of train_model for the name of a training.
    """
    from data.synthetic_insects import load_synthetic_shapes
    number = DRAWN[args.quick][0]
    shapes = load_synthetic_shapes(args.seed, number, max(number // 10, 24),
                                   stored_side(args, kind))
    num_classes = len(shapes["classes"])
    size = setting(args, kind, "image_size")
    model = on_device(build_model(args.arch, num_classes), device, size)
    epochs = min(PRETRAINING_EPOCHS, args.epochs)
    optimizer = torch.optim.Adam(model.parameters(), PRETRAINING_RATE)
    history = train_model(
        model, loaders_of(args, shapes, "synthetic", size, device), optimizer, epochs,
        scheduler=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs),
        label=" pretraining", **training("pretraining"))
    say(f"{max(history['val_accuracy']):.2%} of {num_classes} kinds of drawn shapes right")
    return model


def run_scenario(name, args, kind, model, loaders, num_classes, options):
    """Train one of the SCENARIOS. Returns (trained network, history)."""
    torch.manual_seed(args.seed)
    options = {"num_epochs": args.epochs, "label": f"{SCENARIO_NAMES[name]:>12}", **options}
    learning_rate = setting(args, kind, "learning_rate")
    if name == "finetune":
        return finetune(model, loaders, num_classes, learning_rate=learning_rate,
                        backbone_rate=setting(args, kind, "backbone_rate"),
                        freeze_batchnorm=args.freeze_batchnorm, **options)
    if name == "freeze":
        return freeze(model, loaders, num_classes, learning_rate=learning_rate, **options)
    fresh = on_device(build_model(args.arch, num_classes), loaders["train"].device,
                      loaders["train"].size)
    groups = [{"params": list(fresh.parameters()), "lr": args.scratch_rate}]
    return fresh, _train_sgd(fresh, loaders, groups, **options)


def report_on_scenario(name, args, model, loaders, classes, subject):
    """Save the weights of a trained network, and pictures of what it says."""
    save_atomically(os.path.join(args.out, f"{name}.pth"),
                    lambda file: torch.save(model.state_dict(), file))
    val = loaders["val"]
    number = len(val.y)
    probabilities, labels = predict(model, val.subset(np.arange(number)))
    some = np.sort(np.random.default_rng(args.seed).permutation(number)[:24])
    experiment.save_figure(args, f"predictions_{name}.png", visualize_model(
        model, val.subset(some), classes,
        title=f"{SCENARIO_NAMES[name]} {args.arch}: some validation pictures of {subject}"))
    worst = worst_mistakes(probabilities, labels)
    if len(worst):
        experiment.save_figure(args, f"mistakes_{name}.png", visualize_model(
            model, val.subset(worst), classes,
            title=f"{SCENARIO_NAMES[name]} {args.arch}: most confident mistakes on {subject}"))


def summary(metrics, out):
    """What is printed at the end."""
    lines = [f"{'':>12}  {'before':>8}  {'validation':>10}  {'best epoch':>10}  "
             f"{'trained parameters':>18}  {'seconds':>7}"]
    for name in SCENARIOS:
        if name in metrics:
            row = metrics[name]
            lines.append(f"{SCENARIO_NAMES[name]:>12}  {row['before_accuracy']:>8.2%}  "
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
    with together(device), named_lack_of_memory():
        finished = from_first_process(lambda: experiment.finished_summary(args, summary))
        if finished:
            say(finished)
            return
        compare(args, device)


def compare(args, device):
    """Load the pictures, train the scenarios, and save what they came to."""
    started = time.monotonic()
    torch.manual_seed(args.seed)
    data, kind = first_process_first(lambda: load_pictures(args))
    say(f"{name_of_pictures(kind, data['classes'])}: {len(data['y_train']):,} pictures for "
        f"training, {len(data['y_val']):,} for validation")
    loaders = loaders_of(args, data, kind, setting(args, kind, "image_size"), device)
    # Before the older run is removed: this may fail.
    model, weights = pretrained_model(args, kind, device)
    first = process_rank() == 0
    own = [f"{name}.pth" for name in ("pretraining", *SCENARIOS)]
    with experiment.results_folder(args, *own) if first else contextlib.nullcontext():
        if first and not args.resume:
            remove_older_results(args.out)
        metrics, earlier = train_scenarios(args, data, kind, loaders, device, model, weights)
        metrics["seconds"] = round(time.monotonic() - started + earlier, 1)
        if first:
            experiment.save_metrics(args, metrics)
            print(summary(metrics, args.out))


def remove_older_results(out):
    """Remove the pictures and weights of an older run, which may have had other scenarios."""
    for pattern in ("learning_curves.png", "predictions_{}.png", "mistakes_{}.png", "{}.pth"):
        for name in {pattern.format(scenario) for scenario in SCENARIOS}:
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(out, name))


def train_scenarios(args, data, kind, loaders, device, model, weights):
    """Train each scenario and report on it: (metrics, seconds that earlier runs have spent).

    model, weights: of pretrained_model.
    """
    sizes = {f"num_{part}": len(data[f"y_{part}"]) for part in ("train", "val")}
    subject = name_of_pictures(kind, data["classes"])

    settings = {**experiment.config_of(args), **sizes, "seed": args.seed, "data": kind,
                "classes": data["classes"], "hash of the pictures": fingerprint(
                    **{name: data[name] for name in ("X_train", "y_train", "X_val", "y_val")})}

    def training(name, **more):
        return {"checkpoint": experiment.checkpoint_path(args, f"{name}.pth"),
                "resume": args.resume, "settings": {**settings, **more}}

    if model is None:
        model = pretrain(args, kind, device, training)
    pretrained = {"hash of the pretrained weights": fingerprint(
        **{name: value.reshape(-1).cpu().numpy() for name, value in model.state_dict().items()})}
    results, histories, earlier = {}, {}, 0.0
    for name in [name for name in SCENARIOS if name in args.scenarios]:
        started = time.monotonic()
        trained, histories[name] = run_scenario(name, args, kind, model, loaders,
                                                len(data["classes"]),
                                                training(name, **pretrained))
        earlier += max(0.0, histories[name]["seconds"] - (time.monotonic() - started))
        results[name] = result_of(trained, histories[name])
        if process_rank() == 0:
            report_on_scenario(name, args, trained, loaders, data["classes"], subject)
    if process_rank() == 0:
        experiment.save_figure(args, "learning_curves.png", curves_figure(
            histories, f"{args.arch} with {weights}, on {subject}"))
    return {"data": kind, "seed": args.seed, "config": experiment.config_of(args),
            "subject": subject, "classes": data["classes"], **sizes, "weights": weights,
            "device": device.type, "processes": process_count(), **results,
            "history": histories}, earlier


def name_of_pictures(kind, classes):
    """What tables and pictures call the data."""
    if kind == "synthetic":
        return "drawn ants and bees"
    if len(classes) == 2:
        return " and ".join(map(shown_name, classes))
    return f"{len(classes)} classes"


def result_of(model, history):
    """What metrics.json says of one scenario."""
    return {"val_accuracy": max(history["val_accuracy"]),
            "before_accuracy": history["before"]["accuracy"],
            "best_epoch": history["best_epoch"],
            "trained_parameters": sum(parameter.numel() for parameter in model.parameters()
                                      if parameter.requires_grad),
            "seconds": round(history["seconds"], 1)}


if __name__ == "__main__":
    experiment.run(main)
