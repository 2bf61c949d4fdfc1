"""One training loop for every model: shuffle, step, and at the end of an epoch measure and keep."""
import contextlib
import copy
import hashlib
import math
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import optim
from checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from checks import arrays, indices, number, positive_integers

RULES = "sgd", "sgd_momentum", "rmsprop", "adam"


def accuracy(model, X, y):
    """The default metric: (samples whose largest score is at their label, samples).

    The total is NaN where a score is: argmax would take it for the largest.
    Raises ValueError for labels that are not integers, out of range or too few.
    """
    scores, = arrays("accuracy", scores=(model.loss(X), "NC"))
    y = indices("accuracy", "y", y, scores.shape[:1], scores.shape[1])
    right = np.nan if np.isnan(scores).any() else int(np.sum(np.argmax(scores, axis=1) == y))
    return right, len(y)


class DivergedError(ArithmeticError):
    """The loss or the metric is no longer a finite number."""


class Solver:
    """Trains a model by mini-batch gradient descent.

    A model has `params` (name -> array), `loss(X) -> scores` and `loss(X, y) -> (loss, grads)` with
    grads keyed like params. If loss draws random numbers (dropout), then from a
    numpy.random.Generator called `rng`, whose state goes into the checkpoints. If loss(X, y) keeps
    something else (running values of batch normalisation), then in a dict `state` (name -> array,
    no name that params has), which is kept with the parameters, the best with the best. The Solver
    knows nothing else of a model, nor what the samples are:

        solver = Solver(model, data, update_rule="adam", num_epochs=5)
        solver.train()
        model.loss(X_test)        # now with the best parameters

    Args:
        model: see above
        data: dict with X_train, y_train, X_val, y_val; anything that has a length and takes an
            array of indices will do
        update_rule: name of a rule in optim.py, or such a function
        optim_config: the rule's hyperparameters, for example {'learning_rate': 0.1}
        lr_decay: the learning rate is multiplied by it after each epoch
        schedule: schedule(done) -> (factor of the learning rate, factor of the momentum) of a step,
            where done is the share of all steps that came before it, as optim.one_cycle()
        batch_size: samples of a mini-batch; the last one of an epoch may be smaller
        num_epochs: each is one pass over the shuffled training samples
        metric: metric(model, X, y) -> (total, count) of a batch of samples; the larger
            total / count, the better. Accuracy by default.
        extra_metrics: name -> function(model) -> number or list of numbers, called after each epoch
        metrics_text: metrics_text(solver) -> what describe() says of the metrics
        num_train_samples: the training metric is taken over so many samples, the same ones every
            time (all if fewer)
        eval_batch_size: samples evaluated at once by check_accuracy
        seed: of the shuffling; a Solver owns its random generator
        shares: a mini-batch is cut into so many parts, each computed by a thread of its own (NumPy
            lets others work during every large operation). The result depends on this number, but
            not on the machine's. To be of use, BLAS must not have threads too: set
            OPENBLAS_NUM_THREADS=1 (or MKL_, VECLIB_) in the environment before NumPy is imported.
            model.loss and metric must not change the model, so one with `state` needs shares=1;
            one that draws random numbers gets a generator for each share.
        checkpoint: path of the .npz that is written after each epoch, and on Ctrl-C
        settings: what else decides the result, such as the model's hyperparameters, as a dict that
            JSON can hold: a checkpoint made with others is refused
        verbose: print a line for each epoch
        progress: in place of verbose, progress(solver) is called after each step and each epoch

    Attributes:
        loss_history: a number for every step
        train_acc_history, val_acc_history: the metric after every epoch
        extra_history: name -> a number, or a list of numbers, for every epoch
        seconds_history: the seconds in train() until the end of every epoch
        best_val_acc, best_params: the best validation metric so far and a copy of the parameters
            that gave it (None before the first epoch ends)
        best_state: a copy of the model's `state` at that time
        epoch: epochs completed
        seconds: spent in train(), over all resumed runs
    """

    def __init__(self, model, data, *, update_rule="sgd", optim_config=None, lr_decay=1.0,
                 schedule=None, batch_size=100, num_epochs=10, metric=accuracy, extra_metrics=None,
                 metrics_text=None, num_train_samples=1000, eval_batch_size=1000, seed=0, shares=1,
                 checkpoint=None, settings=None, verbose=False, progress=None):
        if not callable(update_rule) and update_rule not in RULES:
            raise ValueError(f"Solver: update_rule expects {', '.join(RULES)} or a function, "
                             f"got {update_rule!r}")
        self.model = model
        self.X_train, self.y_train = _samples(data, "X_train", "y_train")
        self.X_val, self.y_val = _samples(data, "X_val", "y_val")
        self.update_rule = update_rule if callable(update_rule) else getattr(optim, update_rule)
        self.optim_config = copy.deepcopy(optim_config or {})
        self.lr_decay, self.schedule = number("Solver", "lr_decay", lr_decay), schedule
        if schedule and "learning_rate" not in self.optim_config:
            raise ValueError("Solver: optim_config expects the learning_rate that the schedule "
                             f"multiplies, got {self.optim_config}")
        sizes = positive_integers("Solver", batch_size=batch_size, num_epochs=num_epochs,
                                  num_train_samples=num_train_samples,
                                  eval_batch_size=eval_batch_size, shares=shares)
        self.batch_size, self.num_epochs, self.num_train_samples, self.eval_batch_size, \
            self.shares = sizes
        if self.shares > 1 and self._model_state():
            raise ValueError("Solver: shares expects 1 for a model with batch normalisation, whose "
                             f"statistics are those of whole mini-batches, got {self.shares}")
        self.metric, self.extra_metrics = metric, extra_metrics or {}
        self.metrics_text = metrics_text or _accuracies
        number("Solver", "seed", seed)
        self.seed = int(seed)
        self.checkpoint = None if checkpoint is None else os.fsdecode(checkpoint)
        self.progress = progress or (_print_epoch if verbose else lambda solver: None)

        self.configs = {name: copy.deepcopy(self.optim_config) for name in model.params}
        self.epoch, self.seconds = 0, 0.0
        self.loss_history, self.train_acc_history, self.val_acc_history = [], [], []
        self.seconds_history = []
        self.extra_history = {name: [] for name in self.extra_metrics}
        self.best_val_acc, self.best_params, self.best_state = -np.inf, None, {}
        # What to go on from, once the best parameters and their state are in the model.
        self._last_params, self._last_state = None, {}
        self._rng = np.random.default_rng(seed)     # as it was when the epoch began
        # Those of the shares, which draw nothing from the one that shuffles.
        self._rngs = [self._model_rng()] if self.shares == 1 else self._rng.spawn(self.shares)
        self._map = map             # while training with shares, that of a pool of threads
        self.settings = {
            **(settings or {}), "seed": self.seed, "batch_size": self.batch_size,
            "shares": self.shares,
            "schedule": schedule and str(getattr(schedule, "__name__", schedule)),
            "epochs of the schedule": schedule and self.num_epochs,
            "update_rule": getattr(self.update_rule, "__name__", type(self.update_rule).__name__),
            "optim_config": self.optim_config, "lr_decay": self.lr_decay,
            "num_train_samples": self.num_train_samples, "num_train": len(self.X_train),
            "params": {name: f"{w.dtype} {w.shape}" for name, w in model.params.items()},
            "fingerprint of the data": fingerprint(self.X_train, self.y_train, self.X_val,
                                                   self.y_val)}

    @property
    def batches_per_epoch(self):
        return -(-len(self.X_train) // self.batch_size)

    @property
    def batches_done(self):
        """Batches of the present epoch that were stepped on."""
        return len(self.loss_history) - self.epoch * self.batches_per_epoch

    # ------------------------------------------------------------ training

    def train(self):
        """Train until num_epochs are complete, then load the best parameters into the model.

        Raises DivergedError when the loss or the metric stops being a number; best_params then
        still holds the best so far. Ctrl-C ends the step under way, writes the checkpoint and
        raises KeyboardInterrupt; a second one does not wait.
        """
        self.model.params.update(self._last_params or {})
        self._model_state().update(self._last_state)
        self._last_params, self._last_state = None, {}
        started = time.monotonic() - self.seconds
        with _delayed_interrupt() as interrupted, self._threads(), np.errstate(**_QUIET):
            while self.epoch < self.num_epochs:
                # A copy, so that an epoch that is broken off gets the same order again.
                order = copy.deepcopy(self._rng).permutation(len(self.X_train))
                done, size = self.batches_done, self.batch_size
                for start in range(done * size, len(order), size):
                    self._step(order[start:start + size])
                    self.progress(self)
                    if interrupted:
                        break
                else:
                    self._end_epoch()
                    self.seconds_history.append(time.monotonic() - started)
                self.seconds = time.monotonic() - started
                if self.checkpoint:
                    self.save_checkpoint()
                if interrupted:
                    raise KeyboardInterrupt
                self.progress(self)
        self._last_params, self._last_state = dict(self.model.params), dict(self._model_state())
        self.model.params.update(copy.deepcopy(self.best_params))
        self._model_state().update(copy.deepcopy(self.best_state))

    @contextlib.contextmanager
    def _threads(self):
        """Within it, self._map works in as many threads as there are shares."""
        if self.shares == 1:
            yield
            return
        with ThreadPoolExecutor(self.shares, initializer=lambda: np.seterr(**_QUIET)) as pool:
            self._map = pool.map
            try:
                yield
            finally:
                self._map = map

    def _step(self, batch):
        """One step of gradient descent on the samples at these indices."""
        params = self.model.params
        loss, grads = self._gradients(batch)
        if not np.isfinite(loss):
            rate = self.optim_config.get("learning_rate")
            than = "" if rate is None else f" than {rate:g}"
            raise DivergedError(
                f"the loss is {loss} at step {len(self.loss_history) + 1} (epoch {self.epoch + 1}):"
                f" try a learning rate ten times smaller{than}, smaller initial weights, or look "
                "for NaN and infinity in the data")
        factors = self._factors()

        def updated(name):
            config = self.configs[name]
            scheduled = {key: config[key] * factor for key, factor in factors.items()
                         if key in config}
            w, after = self.update_rule(params[name], grads[name], {**config, **scheduled})
            return w, {**after, **{key: config[key] for key in scheduled}}

        for name, (w, config) in zip(params, list(self._map(updated, params))):
            params[name], self.configs[name] = w, config
        self.loss_history.append(float(loss))

    def _factors(self):
        """What the schedule multiplies in this step: entry of a config -> factor."""
        if self.schedule is None:
            return {}
        rate, momentum = self.schedule(
            len(self.loss_history) / (self.num_epochs * self.batches_per_epoch))
        return {"learning_rate": rate, "momentum": momentum, "beta1": momentum}

    def _gradients(self, batch):
        """(loss, grads) of the samples at these indices."""
        if self.shares == 1:
            return self.model.loss(self.X_train[batch], self.y_train[batch])
        parts = np.array_split(batch, min(self.shares, len(batch)))
        losses, grads = zip(*self._map(self._gradients_of_share, parts, self._rngs))
        # Means over shares make the mean over the batch, each with its share of the samples. The
        # penalty is in each of them, and these shares add up to 1. The order is fixed, so that the
        # last bits are, too.
        weights = [len(part) / len(batch) for part in parts]
        return (sum(weight * loss for weight, loss in zip(weights, losses)),
                {name: sum(weight * grad[name] for weight, grad in zip(weights, grads))
                 for name in self.model.params})

    def _gradients_of_share(self, part, rng):
        """(loss, grads) of some samples, with this generator in the place of the model's."""
        model = copy.copy(self.model)           # the parameters are the same arrays
        if self._model_rng():
            model.rng = rng
        return model.loss(self.X_train[part], self.y_train[part])

    def _end_epoch(self):
        """Measure, keep the best, decay the learning rate, move on to the next order."""
        train_acc = self.check_accuracy(self.X_train, self.y_train, self.num_train_samples)
        val_acc = self.check_accuracy(self.X_val, self.y_val)
        if np.isnan(val_acc):
            raise DivergedError(f"the validation metric is {val_acc} after epoch {self.epoch + 1}: "
                                "try a smaller learning rate, or look for NaN in the data")
        extra = {name: np.asarray(function(self.model), float).tolist()
                 for name, function in self.extra_metrics.items()}
        self.epoch += 1
        self.train_acc_history.append(train_acc)
        self.val_acc_history.append(val_acc)
        for name, value in extra.items():
            self.extra_history[name].append(value)
        if self.best_params is None or val_acc > self.best_val_acc:
            self.best_val_acc, self.best_params = val_acc, copy.deepcopy(self.model.params)
            self.best_state = copy.deepcopy(self._model_state())
        for config in self.configs.values():
            if "learning_rate" in config:
                config["learning_rate"] *= self.lr_decay
        self._rng.permutation(len(self.X_train))

    def check_accuracy(self, X, y, num_samples=None):
        """The metric over (X, y), or over num_samples of them drawn with a fixed seed."""
        X, y = _samples({"X": X, "y": y}, "X", "y")
        chosen = np.arange(len(X))
        if num_samples is not None and num_samples < len(X):
            rng = np.random.default_rng(self.seed)
            chosen = np.sort(rng.choice(len(X), num_samples, replace=False))
        batches = [chosen[start:start + self.eval_batch_size]
                   for start in range(0, len(chosen), self.eval_batch_size)]
        totals, counts = zip(*self._map(
            lambda batch: self.metric(self.model, X[batch], y[batch]), batches))
        return float(sum(totals) / sum(counts))

    # ------------------------------------------------------------ progress

    def describe(self):
        """One line: the loss of the last step, or of the epoch that has just ended, and metrics."""
        within = self.batches_done > 0
        loss = np.mean(self.loss_history[-1 if within else -self.batches_per_epoch:])
        digits = ".4f" if abs(loss) < 1e5 else ".1e"
        metrics = f"  {self.metrics_text(self)}" if self.val_acc_history else ""
        return f"epoch {self.epoch + within}/{self.num_epochs}  loss {loss:{digits}}{metrics}"

    def __repr__(self):
        return f"<Solver: {self.describe() if self.loss_history else 'not trained yet'}>"

    def _repr_html_(self):
        """A table of the epochs, as notebooks show it."""
        name, form = ("accuracy", ".2%") if self.metric is accuracy else ("metric", ".4f")
        rows = [f"<th>epoch</th><th>mean loss</th><th>training {name}</th>"
                f"<th>validation {name}</th>"]
        for epoch, accuracies in enumerate(zip(self.train_acc_history, self.val_acc_history)):
            steps = slice(epoch * self.batches_per_epoch, (epoch + 1) * self.batches_per_epoch)
            row = (epoch + 1, f"{np.mean(self.loss_history[steps]):.4f}",
                   *(f"{value:{form}}" for value in accuracies))
            rows.append("".join(f"<td>{value}</td>" for value in row))
        return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"

    def still_guessing(self):
        """A line for a training that has learned nothing in its first epoch, else ''."""
        if self.epoch != 1 or self.batches_done or self.metric is not accuracy:
            return ""
        some = np.arange(min(len(self.X_val), self.eval_batch_size))
        scores = self.model.loss(self.X_val[some])
        loss = np.mean(np.logaddexp.reduce(scores, axis=1) - scores[some, self.y_val[some]])
        classes = scores.shape[1]
        # Who gives each class the same probability has the loss log C.
        if abs(loss - math.log(classes)) >= 0.01 * math.log(classes):
            return ""
        return (f"Still guessing (loss {loss:.3f}, log {classes}): weights too small, wrong "
                "learning rate or unscaled data?")

    # ------------------------------------------------------------ checkpoints

    def save_checkpoint(self):
        """Write all that is needed to go on as if nothing had happened."""
        params = self.model.params if self._last_params is None else self._last_params
        arrays = {"loss_history/": np.array(self.loss_history)}
        arrays |= {f"params/{name}": value for name, value in params.items()}
        arrays |= {f"best/{name}": value for name, value in (self.best_params or {}).items()}
        state = self._last_state or self._model_state()
        arrays |= {f"state/{name}": value for name, value in state.items()}
        arrays |= {f"best state/{name}": value for name, value in self.best_state.items()}
        configs = {name: {} for name in self.configs}
        for name, config in self.configs.items():
            for key, value in config.items():
                if isinstance(value, (np.ndarray, np.generic)):
                    arrays[f"config/{name}/{key}"] = value
                else:
                    configs[name][key] = value
        write_checkpoint(self.checkpoint, self.settings, {
            "epoch": self.epoch, "seconds": self.seconds, "best_val_acc": self.best_val_acc,
            "train_acc_history": self.train_acc_history, "val_acc_history": self.val_acc_history,
            "extra_history": self.extra_history, "seconds_history": self.seconds_history,
            "configs": configs, "rng": self._rng.bit_generator.state,
            "rngs": [rng and rng.bit_generator.state for rng in self._rngs]}, arrays)

    def resume(self):
        """Go on from the checkpoint, if there is one. Returns whether there was.

        Raises CheckpointError when it is damaged or comes from another training.
        """
        if not os.path.exists(self.checkpoint):
            return False
        state, saved = read_checkpoint(self.checkpoint, self.settings)
        losses = saved.pop("loss_history/").tolist()
        if len(losses) > self.num_epochs * self.batches_per_epoch:
            epoch = -(-len(losses) // self.batches_per_epoch)
            raise CheckpointError(
                f"{self.checkpoint} is already in epoch {epoch}, beyond the {self.num_epochs} that "
                "are asked for. Ask for more, use another --out folder, or start afresh without "
                "--resume")
        self.loss_history, self._last_params, self._last_state = losses, None, {}
        self._rng.bit_generator.state = state.pop("rng")
        for rng, saved_state in zip(self._rngs, state.pop("rngs")):
            if rng and saved_state:
                rng.bit_generator.state = saved_state
        vars(self).update(state)            # epoch, seconds, configs, the best and the histories
        self.model.params.update(_part(saved, "params/"))
        self._model_state().update(_part(saved, "state/"))
        self.best_params = _part(saved, "best/") or None
        self.best_state = _part(saved, "best state/")
        for name, config in self.configs.items():
            # [()] makes a NumPy number again of what was one, and leaves an array as it is.
            config |= {key: value[()] for key, value in _part(saved, f"config/{name}/").items()}
        return True

    def _model_rng(self):
        rng = getattr(self.model, "rng", None)
        return rng if isinstance(rng, np.random.Generator) else None

    def _model_state(self):
        return getattr(self.model, "state", {})

    def start_from(self, path):
        """Take the best parameters and their state, but nothing else, from a checkpoint.

        Raises CheckpointError when it cannot be read or is of another network.
        """
        _, saved = read_checkpoint(path)
        found = _part(saved, "best/") or _part(saved, "params/")
        found |= _part(saved, "best state/") or _part(saved, "state/")
        wanted = {**self.model.params, **self._model_state()}
        for name in {**wanted, **found}:
            there, here = (part[name].shape if name in part else "missing"
                           for part in (found, wanted))
            if there != here:
                raise CheckpointError(f"{path} is of another network: {name} is {there} there, "
                                      f"{here} here")
        for part in (self.model.params, self._model_state()):
            part.update({name: found[name].astype(value.dtype) for name, value in part.items()})


# Overflow is reported once, by the check of the loss, and not by NumPy's warnings. On macOS some of
# them are false: with Apple's Accelerate, NumPy warns of divisions in matrix products.
_QUIET = {"divide": "ignore", "over": "ignore", "invalid": "ignore"}


@contextlib.contextmanager
def _delayed_interrupt():
    """A list that the first Ctrl-C makes true; the second acts as usual.

    An exception in the middle of an update would leave half of the parameters stepped on. Only the
    main thread may handle signals; where they are ignored (nohup, a background job) they stay so.
    """
    requests, previous = [], signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or \
            previous is not signal.default_int_handler:
        yield requests
        return

    def request(*_):
        requests.append(True)
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, request)
    try:
        yield requests
    finally:
        signal.signal(signal.SIGINT, previous)


def fingerprint(*parts):
    """A short hash of up to 200 samples of each part, to tell one data set from another.

    Samples that are not arrays (a dict of them, say) are not told apart.
    """
    sha256 = hashlib.sha256()
    for samples in parts:
        some = samples[np.linspace(0, len(samples) - 1, min(len(samples), 200)).astype(int)]
        if isinstance(some, np.ndarray):
            sha256.update(some.tobytes())
    return sha256.hexdigest()[:16]


def _samples(data, X_name, y_name):
    """Two entries of the data, lists as arrays, checked to be as many as each other."""
    pair = []
    for name in (X_name, y_name):
        samples = data.get(name)
        if not hasattr(samples, "__len__") or not hasattr(samples, "__getitem__"):
            raise ValueError(f"Solver: data expects {name} to hold samples, got {samples!r:.80}")
        pair.append(np.asarray(samples) if isinstance(samples, (list, tuple)) else samples)
    if not 0 < len(pair[0]) == len(pair[1]):
        raise ValueError(f"Solver: data expects at least one of {X_name} and as many {y_name}, "
                         f"got {len(pair[0])} and {len(pair[1])}")
    return pair


def _accuracies(solver):
    """The default metrics_text: accuracies are in percent."""
    form = ".2%" if solver.metric is accuracy else ".4f"
    return f"train {solver.train_acc_history[-1]:{form}}  val {solver.val_acc_history[-1]:{form}}"


def _print_epoch(solver):
    """The progress of `verbose`."""
    if solver.batches_done == 0:
        print("\n".join(filter(None, (solver.describe(), solver.still_guessing()))), flush=True)


def _part(saved, prefix):
    """The arrays whose names begin with the prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in saved.items()
            if name.startswith(prefix)}
