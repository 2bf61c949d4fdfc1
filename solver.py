"""One training loop for every model: batches, steps, metrics, checkpoints."""
import hashlib
import json
import os
import shutil
import signal
import sys
import threading
import time

import numpy as np

import optim
from checks import arrays, indices, number

HISTORIES = "loss_history", "train_acc_history", "val_acc_history"
# What a decaying or growing learning rate is kept between.
SMALLEST, LARGEST = np.finfo(float).tiny, np.finfo(float).max


def accuracy(model, X, y):
    """The default metric: (samples whose largest score is at their label, samples).

    The total is NaN where a score is: argmax would take it for the largest.
    Raises ValueError for labels that are not integers, out of range or too few.
    """
    scores, = arrays("accuracy", scores=(model.loss(X), "NC"))
    y = indices("accuracy", "y", y, scores.shape[:1], scores.shape[1])
    right = np.nan if np.isnan(scores).any() else int(np.sum(np.argmax(scores, axis=1) == y))
    return right, len(y)


def _both_metrics(solver):
    """The default of what is said of an epoch."""
    return f"train {solver.train_acc_history[-1]:.4f}  val {solver.val_acc_history[-1]:.4f}"


class DivergedError(ArithmeticError):
    """The loss or the metric is no longer a finite number."""


class CheckpointError(ValueError):
    """A checkpoint cannot be written, is damaged, or belongs to another training."""


class Solver:
    """Trains a model by mini-batch gradient descent.

    A model has `params` (name -> array), `loss(X) -> scores` and
    `loss(X, y) -> (loss, grads)` with grads keyed like params. If loss draws random
    numbers (dropout), then from a numpy.random.Generator called `rng`, whose state goes
    into the checkpoints. The Solver knows nothing else of it, nor what the samples are:

        solver = Solver(model, data, update_rule="adam", num_epochs=5)
        solver.train()
        model.loss(X_test)        # now with the best parameters

    Args:
        model: see above
        data: dict with X_train, y_train, X_val, y_val; anything that has a length
            and takes an array of indices will do
        update_rule: name of a rule in optim.py, or such a function
        optim_config: the rule's hyperparameters, for example {'learning_rate': 0.1}
        lr_decay: the learning rate is multiplied by it after each epoch
        batch_size: samples of a step; the last batch of an epoch may be smaller
        num_epochs: each is one pass over the shuffled training samples
        metric: metric(model, X, y) -> (total, count) of a batch of samples; the
            larger total / count, the better. Accuracy by default.
        extra_metrics: name -> function(model) -> number, or list of as many numbers every
            time, evaluated after every epoch
        describe: describe(solver) -> what the progress line says of the last epoch's
            metrics; by default the metric of both parts
        num_train_samples: the training metric is taken over so many samples, the
            same ones every time (all if fewer)
        eval_batch_size: samples evaluated at once by check_accuracy
        seed: of the shuffling; a Solver owns its random generator
        checkpoint: path of the .npz that is written after each epoch, and when
            training is interrupted
        settings: what else decides the result, such as the model's hyperparameters,
            as a dict that JSON can hold: a checkpoint made with others is refused
        verbose: show progress on standard output
        label: what the progress line calls this training

    Attributes:
        loss_history: a number for every step
        train_acc_history, val_acc_history: the metric after every epoch
        extra_history: name -> a number, or a list of numbers, for every epoch
        best_val_acc, best_params: the best validation metric so far and a copy of
            the parameters that gave it (None before the first epoch ends)
        epoch: epochs completed
        seconds: spent in train(), over all resumed runs
    """

    def __init__(self, model, data, *, update_rule="sgd", optim_config=None, lr_decay=1.0,
                 batch_size=100, num_epochs=10, metric=accuracy, extra_metrics=None,
                 describe=None, num_train_samples=1000, eval_batch_size=1000, seed=0,
                 checkpoint=None, settings=None, verbose=False, label=""):
        if not isinstance(getattr(model, "params", None), dict) or \
                not callable(getattr(model, "loss", None)):
            raise ValueError("Solver: model expects an object with a dict `params` and a method "
                             f"`loss`, got {type(model).__name__}")
        for name, value in model.params.items():
            if not isinstance(value, np.ndarray):
                raise ValueError(f"Solver: model expects arrays as its params, {name!r} is a "
                                 f"{type(value).__name__}")
        self.model = model
        self.X_train, self.y_train = _samples(data, "train")
        self.X_val, self.y_val = _samples(data, "val")
        self.update_rule = _rule(update_rule)
        optim_config = {name: value.item() if isinstance(value, np.generic) else value
                        for name, value in _dict("optim_config", optim_config).items()}
        self.lr_decay = _positive("lr_decay", lr_decay)
        self.batch_size = _positive_integer("batch_size", batch_size)
        self.num_epochs = _positive_integer("num_epochs", num_epochs)
        self.metric = _function("metric", metric)
        self.extra_metrics = {name: _function(f"extra_metrics[{name!r}]", function)
                              for name, function in _dict("extra_metrics", extra_metrics).items()}
        self.describe = _both_metrics if describe is None else _function("describe", describe)
        self.num_train_samples = _positive_integer("num_train_samples", num_train_samples)
        self.eval_batch_size = _positive_integer("eval_batch_size", eval_batch_size)
        self.seed = _natural_number("seed", seed)
        self.checkpoint = _path("checkpoint", checkpoint)
        self.verbose = verbose
        self.label = label

        self.configs = {name: dict(optim_config) for name in model.params}
        self.epoch = 0
        self.seconds = 0.0
        self.loss_history = []
        self.train_acc_history = []
        self.val_acc_history = []
        self.extra_history = {name: [] for name in self.extra_metrics}
        self.best_val_acc = -np.inf
        self.best_params = None
        self._rng = np.random.default_rng(self.seed)
        rng = getattr(model, "rng", None)
        self._model_rng = rng if isinstance(rng, np.random.Generator) else None
        self._order = None           # the epoch's order of samples, while inside an epoch
        self._batches_done = 0       # batches of this epoch that were stepped on
        self._last_params = None     # the parameters to go on from, once the best are in the model
        self._settings = {
            "update_rule": getattr(self.update_rule, "__name__", type(self.update_rule).__name__),
            "optim_config": optim_config, "lr_decay": self.lr_decay,
            "batch_size": self.batch_size, "seed": self.seed,
            "num_train_samples": self.num_train_samples, "num_train": len(self.X_train),
            "params": {name: [list(value.shape), str(value.dtype)]
                       for name, value in model.params.items()},
            "data": fingerprint(X_train=self.X_train, y_train=self.y_train,
                                 X_val=self.X_val, y_val=self.y_val),
        } | {f"settings[{key!r}]": value for key, value in _dict("settings", settings).items()}
        self._settings = as_json("Solver", self._settings)

    # ------------------------------------------------------------ training

    @property
    def batches_per_epoch(self):
        return -(-len(self.X_train) // self.batch_size)

    def train(self):
        """Train until num_epochs are complete, then load the best parameters into the model.

        Raises DivergedError when the loss or the metric stops being a number;
        best_params then still holds the best so far. Ctrl-C ends the step under way,
        writes the checkpoint and raises KeyboardInterrupt; a second one does not wait.
        """
        if self._last_params is not None:
            self.model.params.update(self._last_params)
            self._last_params = None
        self._started = time.monotonic() - self.seconds
        progress = Progress(self.num_epochs * self.batches_per_epoch,
                            self.epoch * self.batches_per_epoch + self._batches_done,
                            self.label) if self.verbose else None
        # Overflow is reported once, by the check of the loss, and not by NumPy's warnings.
        with _DelayedInterrupt() as interrupt, np.errstate(over="ignore", invalid="ignore"):
            while self.epoch < self.num_epochs:
                self._train_epoch(interrupt, progress)
                self._end_epoch(progress)
                if interrupt.requested:
                    raise KeyboardInterrupt
        self._last_params = dict(self.model.params)
        self.model.params.update(_copies(self.best_params))

    def _train_epoch(self, interrupt, progress):
        """Step on the batches of this epoch that are still to do."""
        if self._order is None:
            self._epoch_rng_state = self._rng.bit_generator.state
            self._order = self._rng.permutation(len(self.X_train))
        while self._batches_done < self.batches_per_epoch:
            start = self._batches_done * self.batch_size
            self._step(self._order[start:start + self.batch_size])
            self._batches_done += 1
            if progress:
                progress.step(f"epoch {self.epoch + 1}/{self.num_epochs}  "
                              f"loss {self.loss_history[-1]:.4f}{self._accuracies()}")
            if interrupt.requested:
                if progress:
                    progress.end()
                self._count_seconds()
                if self.checkpoint:
                    self.save_checkpoint()
                raise KeyboardInterrupt

    def _step(self, indices):
        """One step of gradient descent on the samples at these indices."""
        loss, grads = _pair("model.loss", "a number and a dict of gradients",
                            self.model.loss(self.X_train[indices], self.y_train[indices]))
        if np.ndim(loss) or not isinstance(grads, dict):
            raise ValueError("Solver: model.loss expects to return a number and a dict of "
                             f"gradients, got a {type(loss).__name__} and a {type(grads).__name__}")
        if not np.isfinite(loss):
            step = len(self.loss_history) + 1
            raise DivergedError(
                f"the loss is {loss} at step {step} (epoch {self.epoch + 1}): try a learning rate "
                f"ten times smaller{self._than_now()}, smaller initial weights, or "
                "look for NaN and infinity in the data")
        if grads.keys() != self.model.params.keys():
            raise ValueError(f"Solver: model.loss expects gradients for "
                             f"{', '.join(self.model.params)}, got {', '.join(grads)}")
        for name, dw in grads.items():
            self.model.params[name], self.configs[name] = self.update_rule(
                self.model.params[name], dw, self.configs[name])
        self.loss_history.append(float(loss))

    def _count_seconds(self):
        self.seconds = time.monotonic() - self._started

    def _end_epoch(self, progress):
        """Decay the learning rate, measure, keep the best, write the checkpoint."""
        for config in self.configs.values():
            if "learning_rate" in config:
                # A rate of 0 or infinity would be refused; the loss tells what such rates do.
                config["learning_rate"] = float(np.clip(
                    config["learning_rate"] * self.lr_decay, SMALLEST, LARGEST))
        self.epoch += 1
        self._order, self._batches_done = None, 0
        train_acc = self.check_accuracy(self.X_train, self.y_train, self.num_train_samples)
        val_acc = self.check_accuracy(self.X_val, self.y_val)
        if np.isnan(val_acc):
            raise DivergedError(f"the validation metric is {val_acc} after epoch {self.epoch}: "
                                "try a smaller learning rate, or look for NaN in the data")
        self.train_acc_history.append(train_acc)
        self.val_acc_history.append(val_acc)
        if self.best_params is None or val_acc > self.best_val_acc:
            self.best_val_acc = val_acc
            self.best_params = _copies(self.model.params)
        for name, function in self.extra_metrics.items():
            value = np.asarray(function(self.model))
            if value.dtype.kind not in "iuf":
                raise ValueError(f"Solver: extra_metrics[{name!r}] expects to return a number or a "
                                 f"list of numbers, got {value[()]!r:.80}")
            self.extra_history[name].append(value.astype(float).tolist())
        self._count_seconds()
        if self.checkpoint:
            self.save_checkpoint()
        if progress:
            losses = self.loss_history[-self.batches_per_epoch:]
            progress.line(f"epoch {self.epoch}/{self.num_epochs}  "
                          f"loss {np.mean(losses):.4f}{self._accuracies()}")

    def _than_now(self):
        """' than' the learning rate in force, where the update rule has one and has told it."""
        config = next(iter(self.configs.values()))
        return f" than {config['learning_rate']:g}" if "learning_rate" in config else ""

    def _accuracies(self):
        """The last metrics, for the progress line."""
        return f"  {self.describe(self)}" if self.val_acc_history else ""

    def check_accuracy(self, X, y, num_samples=None):
        """The metric over (X, y), or over num_samples of them drawn with a fixed seed.

        Raises ValueError where X and y do not go together or the metric counts nothing.
        """
        X, y = _paired("X", X, "y", y)
        if num_samples is not None:
            num_samples = _positive_integer("num_samples", num_samples)
        indices = np.arange(len(X))
        if num_samples is not None and num_samples < len(X):
            indices = np.sort(np.random.default_rng(self.seed).choice(
                len(X), num_samples, replace=False))
        total, count = 0, 0
        for start in range(0, len(indices), self.eval_batch_size):
            batch = indices[start:start + self.eval_batch_size]
            batch_total, batch_count = _pair("metric", "(total, count)",
                                             self.metric(self.model, X[batch], y[batch]))
            total += batch_total
            count += batch_count
        if not count > 0:
            raise ValueError(f"Solver: metric expects to count something, got a count of {count}")
        return float(total / count)

    # ------------------------------------------------------------ checkpoints

    def save_checkpoint(self):
        """Write all that is needed to go on as if nothing had happened.

        The .npz is written beside the old one and then takes its place, so that
        there is a whole checkpoint at every moment.
        """
        params = self.model.params if self._last_params is None else self._last_params
        arrays = {f"params/{name}": value for name, value in params.items()}
        if self.best_params is not None:
            arrays |= {f"best/{name}": value for name, value in self.best_params.items()}
        numbers = {}
        for name, config in self.configs.items():
            of_numpy = {key: value for key, value in config.items()
                        if isinstance(value, (np.ndarray, np.generic))}
            numbers[name] = {key: value for key, value in config.items() if key not in of_numpy}
            arrays |= {f"config/{name}/{key}": value for key, value in of_numpy.items()}
        for name in HISTORIES:
            arrays[f"history/{name}"] = np.array(getattr(self, name), dtype=np.float64)
        for name, values in self.extra_history.items():
            arrays[f"extra/{name}"] = np.array(values, dtype=np.float64)
        inside_epoch = self._order is not None
        state = {
            "settings": self._settings, "epoch": self.epoch, "configs": numbers,
            "batches_done": self._batches_done, "inside_epoch": inside_epoch,
            "rng": self._epoch_rng_state if inside_epoch else self._rng.bit_generator.state,
            "model_rng": None if self._model_rng is None else self._model_rng.bit_generator.state,
            "best_val_acc": self.best_val_acc, "seconds": self.seconds,
        }
        write_checkpoint(self.checkpoint, state, arrays)

    def resume(self):
        """Go on from the checkpoint, if there is one. Returns whether there was.

        Raises CheckpointError when it is damaged or comes from another training.
        """
        if self.checkpoint is None:
            raise ValueError("Solver: resume expects a checkpoint path, got None")
        if not os.path.exists(self.checkpoint):
            return False
        state, arrays = read_checkpoint(self.checkpoint)
        advice = "another --out folder, or start afresh without --resume"
        old = state["settings"] if isinstance(state.get("settings"), dict) else {}
        for key in [*self._settings, *(old.keys() - self._settings.keys())]:
            if old.get(key) != self._settings.get(key):
                raise CheckpointError(
                    f"{self.checkpoint} is the checkpoint of another training: its {key} is "
                    f"{old.get(key)}, now {self._settings.get(key)}. Use the same settings, "
                    f"{advice}")
        part = {"best": None, "config": {}, "extra": {}}
        for key, value in arrays.items():
            group, _, name = key.partition("/")
            part[group] = {**(part.get(group) or {}), name: value}
        try:
            fault = self._fault(state, part)
            rng = np.random.default_rng()
            rng.bit_generator.state = state["rng"]
            for key, value in part["config"].items():
                name, _, entry = key.rpartition("/")
                # [()] makes a NumPy number again of what was one, and leaves an array as it is.
                state["configs"][name][entry] = value[()]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            fault = f"{type(error).__name__}: {error}"
        if fault:
            raise CheckpointError(f"{self.checkpoint} holds no training that can be gone on with "
                                  f"({fault}). Delete it to start afresh")
        if state["epoch"] + state["inside_epoch"] > self.num_epochs:
            raise CheckpointError(
                f"{self.checkpoint} is already in epoch {state['epoch'] + state['inside_epoch']}, "
                f"beyond the {self.num_epochs} that are asked for. Ask for more, use {advice}")
        self.model.params.update(part["params"])
        self.best_params = part["best"]
        self.best_val_acc = state["best_val_acc"]
        self.configs = state["configs"]
        for name in HISTORIES:
            setattr(self, name, part["history"][name].tolist())
        self.extra_history = {name: part["extra"].get(name, np.zeros(0)).tolist()
                              for name in self.extra_metrics}
        self.epoch = state["epoch"]
        self.seconds = state["seconds"]
        self._batches_done = state["batches_done"]
        self._rng = rng
        if self._model_rng is not None and state.get("model_rng"):
            self._model_rng.bit_generator.state = state["model_rng"]
        self._order = None
        self._last_params = None
        return True

    def _fault(self, state, part):
        """What does not fit together in a checkpoint of these settings, or None.

        Its checksum is right, so that this is somebody's doing; may raise what bad types raise.
        """
        epoch, batches = state["epoch"], state["batches_done"]
        if type(epoch) is not int or type(batches) is not int or epoch < 0 \
                or not 0 <= batches <= self.batches_per_epoch:
            return f"epoch {epoch!r}, batch {batches!r}"
        if not state["seconds"] >= 0 or np.isnan(state["best_val_acc"]):
            return f"{state['seconds']!r} seconds, best metric {state['best_val_acc']!r}"
        expected = {name: (value.shape, value.dtype) for name, value in self.model.params.items()}
        for group in ("params", "best") if epoch else ("params",):
            found = {name: (value.shape, value.dtype) for name, value in part[group].items()}
            if found != expected:
                return f"{group} are not the arrays of the model"
        lengths = [len(part["history"][name]) for name in HISTORIES]
        if part["history"].keys() != set(HISTORIES) or \
                lengths != [epoch * self.batches_per_epoch + batches, epoch, epoch]:
            return f"histories of {lengths} entries"
        return None if state["configs"].keys() == expected.keys() else "configs of other parameters"


# ---------------------------------------------------------------- checkpoint files

CHECKPOINT_VERSION = 1


def write_checkpoint(path, state, arrays):
    """Write a JSON-able dict and named arrays to one .npz, whole or not at all.

    The file carries a format version and the SHA-256 of its contents.
    Raises CheckpointError when it cannot be written.
    """
    try:
        text = json.dumps({"version": CHECKPOINT_VERSION, **state})
    except TypeError as error:
        raise CheckpointError(f"cannot write the checkpoint {path}: {error}. The config of an "
                              "update rule may hold arrays, numbers, texts, and lists and dicts "
                              "of numbers and texts") from None
    members = {**arrays, "state": np.array(text), "sha256": np.array(_digest(text, arrays))}
    try:
        save_atomically(path, lambda file: np.savez(file, **members))
    except OSError as error:
        kept = "The last one that was written is intact: g" if os.path.exists(path) else "G"
        raise CheckpointError(f"cannot write the checkpoint {path}: {error.strerror or error}. "
                              f"{kept}o on with --resume once the folder can be written to, free "
                              "some space, or choose another --out folder") from error


def read_checkpoint(path):
    """The (state, arrays) that write_checkpoint wrote, verified.

    Raises CheckpointError for anything that is not a whole checkpoint of this version.
    """
    advice = "Delete it to start afresh"
    if os.path.exists(path) and not os.path.isfile(path):
        raise CheckpointError(f"{path} is no file, a checkpoint is expected there. Remove it")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        text, digest = str(arrays.pop("state")), str(arrays.pop("sha256"))
        state = json.loads(text)
    except OSError as error:
        raise CheckpointError(f"cannot read the checkpoint {path}: "
                              f"{error.strerror or error}") from error
    except Exception as error:                  # a flipped bit makes zipfile raise almost anything
        raise CheckpointError(f"{path} is not a checkpoint, or is damaged ({error}). "
                              f"{advice}") from error
    version = state.get("version") if isinstance(state, dict) else None
    if version != CHECKPOINT_VERSION:
        raise CheckpointError(f"{path} has checkpoint format {version}, this "
                              f"program reads {CHECKPOINT_VERSION}. {advice}")
    if digest != _digest(text, arrays):
        raise CheckpointError(f"{path} is damaged: its checksum does not match. {advice}")
    return state, arrays


def _digest(text, arrays):
    """SHA-256 over the state and the name, type, shape and bytes of every array."""
    sha256 = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        sha256.update(f"{name} {array.dtype.str} {arrays[name].shape}".encode())
        sha256.update(array.data)
    return sha256.hexdigest()


def as_json(owner, settings):
    """The settings as they come back from a checkpoint.

    Raises ValueError, in the name of `owner`, for what cannot be kept.
    """
    def plain(value):
        if isinstance(value, (np.ndarray, np.generic)):
            return value.tolist()
        raise TypeError(f"not a {type(value).__name__}")

    kept = {}
    for name, value in settings.items():
        try:
            kept[name] = json.loads(json.dumps(value, default=plain, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{owner}: {name} expects finite numbers, texts, arrays, and lists and "
                             f"dicts of these ({error}), got {value!r}") from None
    return kept


def fingerprint(**parts):
    """A short hash of up to 200 samples of each, to tell one data set from another."""
    sha256 = hashlib.sha256()
    for name, samples in parts.items():
        some = np.linspace(0, len(samples) - 1, min(len(samples), 200)).astype(int)
        try:
            batch = samples[some]
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"Solver: data expects {name} to take an array of indices, as arrays "
                             f"do ({error}), got a {type(samples).__name__}") from None
        for array in _arrays_in(batch):
            sha256.update(array.tobytes())
    return sha256.hexdigest()[:16]


def _arrays_in(samples):
    """The arrays of a batch: of itself, or of the dicts, tuples and lists that it consists of."""
    if isinstance(samples, (dict, tuple, list)):
        for part in samples.values() if isinstance(samples, dict) else samples:
            yield from _arrays_in(part)
        return
    array = np.asarray(samples)
    if array.dtype.hasobject:
        raise ValueError("Solver: data expects samples that are arrays of numbers, or dicts, "
                         f"tuples and lists of such arrays; got a {type(samples).__name__} of "
                         "objects")
    yield array


def save_atomically(path, write):
    """Call write(file) on a temporary file beside `path`, then put it in its place.

    Whoever reads `path` sees the old file or the new one, never a part. What a
    killed process leaves behind has a fixed name and is replaced by the next run.
    """
    path = os.fspath(path)
    temporary = path + ".tmp"
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        if os.path.exists(temporary):
            os.remove(temporary)
        if isinstance(error, OSError) and error.filename == temporary:
            error.filename = path               # the name that the caller knows
        raise


# ---------------------------------------------------------------- progress and interruption

class Progress:
    """Progress with the time left: one rewritten line on a terminal, else only whole lines.

    Args: the number of steps of all, those done before, and a label that leads each line.
    """

    def __init__(self, total_steps, steps_done=0, label="", stream=None):
        self.total_steps = total_steps
        self.steps_done = self.steps_at_start = steps_done
        self.label = label + "  " if label else ""
        self.stream = sys.stdout if stream is None else stream
        self.on_terminal = self.stream.isatty()
        self.started = time.monotonic()
        self.shown = -np.inf

    def step(self, text):
        """One step is done; shows at most ten of them a second."""
        self.steps_done += 1
        now = time.monotonic()
        if self.on_terminal and now - self.shown >= 0.1:
            self.shown = now
            # Only a line that fits can be rewritten.
            line = f"{self.label}{text}  {self._time_left()}"
            self._rewrite(line[:shutil.get_terminal_size().columns - 1])

    def line(self, text):
        """A line that stays, after an epoch."""
        text = f"{self.label}{text}  {self._time_left()}"
        if self.on_terminal:
            self._rewrite(text)
            self.end()
        else:
            print(text, file=self.stream, flush=True)

    def end(self):
        """Leave the rewritten line as it stands."""
        if self.on_terminal:
            print(file=self.stream, flush=True)

    def _rewrite(self, text):
        # \033[K clears what a longer line has left.
        print(f"\r{text}\033[K", end="", file=self.stream, flush=True)

    def _time_left(self):
        elapsed = time.monotonic() - self.started
        steps_now = self.steps_done - self.steps_at_start
        if self.steps_done >= self.total_steps or steps_now == 0:
            return f"{elapsed:.1f} s"
        seconds = elapsed / steps_now * (self.total_steps - self.steps_done)
        return f"{int(seconds // 60)}:{int(seconds % 60):02d} left"


class _DelayedInterrupt:
    """Within this block, the first Ctrl-C only sets `requested`; the second acts as usual.

    An exception in the middle of an update would leave half of the parameters stepped on.
    Signals reach the main thread alone: elsewhere this does nothing, and neither where
    they are ignored (nohup, a background job) or handled outside of Python.
    """

    def __init__(self):
        self.requested = False

    def __enter__(self):
        self.previous = signal.getsignal(signal.SIGINT)
        self.installed = threading.current_thread() is threading.main_thread() and \
            self.previous not in (signal.SIG_IGN, None)
        if self.installed:
            signal.signal(signal.SIGINT, self._request)
        return self

    def _request(self, *_):
        self.requested = True
        signal.signal(signal.SIGINT, self.previous)

    def __exit__(self, *_):
        if self.installed:
            signal.signal(signal.SIGINT, self.previous)


# ---------------------------------------------------------------- arguments

def _samples(data, part):
    """(X, y) of one part of the data, checked to go together."""
    names = f"X_{part}", f"y_{part}"
    if not isinstance(data, dict):
        raise ValueError(f"Solver: data expects a dict with X_train, y_train, X_val and y_val, "
                         f"got {type(data).__name__}")
    for name in names:
        if name not in data:
            raise ValueError(f"Solver: data expects X_train, y_train, X_val and y_val; "
                             f"{name} is missing")
    return _paired(names[0], data[names[0]], names[1], data[names[1]])


def _paired(X_name, X, y_name, y):
    """(X, y), checked to be as long as each other; lists become arrays."""
    values = []
    for name, value in ((X_name, X), (y_name, y)):
        try:
            if isinstance(value, (list, tuple)):
                value = np.asarray(value)
            len(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"Solver: data expects arrays of samples, {name} is none: "
                             f"{error}") from None
        if isinstance(value, (str, bytes, dict, set)) or getattr(value, "dtype", None) == object:
            raise ValueError(f"Solver: data expects arrays of samples, {name} is none: it is a "
                             f"{type(value).__name__} of objects")
        values.append(value)
    X, y = values
    if len(X) != len(y):
        raise ValueError(f"Solver: data expects as many {y_name} as {X_name}, {len(X)}, "
                         f"got {len(y)}")
    if len(X) == 0:
        raise ValueError(f"Solver: data expects at least one sample in {X_name}, got none")
    return X, y


def _rule(update_rule):
    """The update rule as a function."""
    rules = ("sgd", "sgd_momentum", "rmsprop", "adam")
    if callable(update_rule):
        return update_rule
    if update_rule not in rules:
        raise ValueError(f"Solver: update_rule expects {', '.join(rules)} or a function, "
                         f"got {update_rule!r}")
    return getattr(optim, update_rule)


def _positive(name, value):
    if number("Solver", name, value) == 0:
        raise ValueError(f"Solver: {name} expects a positive number, got {value!r}")
    return float(value)


def _positive_integer(name, value):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"Solver: {name} expects a positive integer, got {value!r}")
    return int(value)


def _natural_number(name, value):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ValueError(f"Solver: {name} expects an integer of at least 0, got {value!r}")
    return int(value)


def _function(name, value):
    if not callable(value):
        raise ValueError(f"Solver: {name} expects a function, got {value!r}")
    return value


def _dict(name, value):
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"Solver: {name} expects a dict or None, got {value!r}")
    return dict(value or {})


def _path(name, value):
    if value is None:
        return None
    try:
        path = os.fsdecode(value)
    except TypeError:
        path = ""
    if not path or "\0" in path:
        raise ValueError(f"Solver: {name} expects a path or None, got {value!r}")
    return path


def _pair(name, wanted, result):
    """The two parts of what a function of the user returned, or ValueError."""
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise ValueError(f"Solver: {name} expects to return {wanted}, got {result!r:.80}")
    return result


def _copies(params):
    return {name: value.copy() for name, value in params.items()}
