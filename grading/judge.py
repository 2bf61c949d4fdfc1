"""Decides: compares what a worker sends with the answer key, and says what is wrong.

The file of a student never runs here. The judge knows no formula either: cases, truths and
what known mistakes would give come from the key (contract.Key).

fail        a wrong number or shape, or an exception, on what the assignment asks for; memory of
            earlier calls; a changed parameter
warn        right there, but with a weakness that the text names
not judged  a backward pass that cannot be tried because its own forward pass is wrong
"""
import collections
import concurrent.futures
import dataclasses
import itertools
import math
import pathlib
import re
import time

import numpy as np

from . import contract
from .contract import FUNCTIONS, TOLERANCE
from .worker import GARBLED, At, Direct, Ended, Given, Process

SMALL = 500                 # numbers in a case; properties are looked at in these alone
RETURNED = 100_000          # of more numbers it is not looked whether a call has changed them
DOUBLE_PRECISION = 1e-8     # float64 results between this and the tolerance have float32's digits
# Training goes wrong when a function changes these; all others only belong to the caller.
PARAMETERS = {"w", "b", "Wx", "Wh", "W", "y", "captions", "params"}
REFUSALS = ("ValueError", "AssertionError", "MemoryError")
TYPELESS = ("list", "float", "int")
NOT_WRITTEN = "it is not written yet, or a return is missing"
NEEDS_TO_WRITE = "fails for arrays that must not be written to"
FEW_DIGITS = ("only about 7 digits are right for float64 inputs: something on the way is float32, "
              "or a small number is added")


@dataclasses.dataclass
class Verdict:
    """What is said about one function."""
    name: str
    status: str                     # "pass", "warn", "fail", "missing" or "not judged"
    diagnosis: str = ""             # a sentence on each line, the most useful first
    case: str = None                # the smallest failing case
    place: str = None               # an index of an output, as dw[0, 0]
    expected: float = None
    actual: float = None
    mistakes: tuple = ()            # names of the known mistakes that explain it
    derivation: str = None          # a section of docs/derivations.md
    timed_out: bool = False


# ---------------------------------------------------------------- what was found

@dataclasses.dataclass(eq=False)
class Finding:
    """One thing that went wrong in one case."""
    message: str
    case: object = None
    output: str = None              # the name of the output that is wrong
    difference: object = None
    actual: object = None           # the wrong array, or contract.Raised


class Misbehaviour(Exception):
    """What came back is nothing that could be compared; carries the sentence."""


class Trial:
    """The course of one function through its cases."""

    def __init__(self, function):
        self.name, self.function = function.name, function
        self.failures, self.warnings = [], []
        self.outcomes = []          # (case, {output: array})
        self.case = None            # the one that is being tried
        self.takes_dtype = True     # whether results are to have the dtype of the inputs

    def fail(self, message, **details):
        """Note what is wrong; a weakness only, if the case goes beyond the assignment."""
        if self.case and self.case.if_wrong == "warn":
            self.warn(self.case.advice)
        else:
            self.failures.append(Finding(message, self.case, **details))

    def warn(self, message):
        """Note a weakness, once, whatever the sizes."""
        if message.partition(":")[0] not in [known.partition(":")[0] for known in self.warnings]:
            self.warnings.append(message)

    def threw(self, owner, error):
        """Note an exception."""
        if self.case.if_refused == "warn" and error["type"] in REFUSALS:
            self.warn(self.case.advice)
        elif self.case.layout == "readonly" and "read-only" in error["message"]:
            if self.function.kind != "rule":        # rules may work in place
                self.warn(NEEDS_TO_WRITE)
        else:
            self.fail(f"{owner} {told(error)}",
                      actual=contract.Raised(error["type"], error["message"]))

    def changes(self, owner, name):
        """Note that a call has changed an argument."""
        if name in PARAMETERS:
            self.fail(f"{owner} changes {name} in place: training goes on with a wrong {name}; "
                      "work on a copy")
        else:
            self.warn(f"{owner} changes {name}, which belongs to the caller: work on a copy")


def told(error):
    """What was thrown, from the student's point of view."""
    text, line = error.get("text", ""), error.get("line")
    where = f" ({error['file']}, line {line}{': ' + text if text else ''})" if line else ""
    word = re.search(r"\b(breakpoint|set_trace|input|quit|exit|_exit)\(", text)
    if error["type"] == "BdbQuit":          # it is raised a line later
        return "stops in the debugger: breakpoint() or set_trace() is left over from debugging"
    if error["type"] in ("SystemExit", "EOFError") and word:
        return f"stops at {word[1]}(), left over from debugging{where}"
    if error["type"] == "Missing":
        return f"cannot go on: {error['message']}{where}"
    if error["type"] == "NotImplementedError":
        return f"raises NotImplementedError: it is not written yet{where}"
    removed = re.match(r"module 'numpy' has no attribute '(\w+)'|`np\.(\w+)` was removed",
                       error["message"])
    if removed:
        name = removed[1] or removed[2]
        instead = f": write {REMOVED[name]}" if name in REMOVED else ""
        return f"uses np.{name}, which NumPy {np.__version__} does not have{instead}{where}"
    message = f": {error['message'][:200]}" if error["message"] else ""
    return f"raises {error['type']}{message}{where}"


REMOVED = {"float": "float", "int": "int", "bool": "bool", "object": "object", "str": "str",
           "complex": "complex", "float_": "np.float64", "product": "np.prod", "Inf": "np.inf",
           "NaN": "np.nan", "cumproduct": "np.cumprod", "in1d": "np.isin", "row_stack": "np.vstack",
           "alltrue": "np.all", "sometrue": "np.any", "long": "int", "trapz": "np.trapezoid"}


# ---------------------------------------------------------------- results

def entries_of(owner, entry, names):
    """{name: entry} of a result that is to be a tuple, or one thing if there is one name."""
    if entry["type"] == "NoneType":
        raise Misbehaviour(f"{owner} returns None: {NOT_WRITTEN}")
    if len(names) == 1:
        if entry["type"] == "tuple":
            raise Misbehaviour(f"{owner} returns a tuple, not the array {names[0]} alone")
        return {names[0]: entry}
    if "parts" not in entry or entry["length"] != len(names):
        size = f" of {entry['length']}" if "parts" in entry else ""
        raise Misbehaviour(f"{owner} returns a {entry['type']}{size}, not the tuple "
                           f"({', '.join(names)})")
    return dict(zip(names, entry["parts"]))


def array_of(trial, owner, name, entry):
    """The array in an entry. Misbehaviour unless it is one of floating-point numbers."""
    if entry["type"] == "NoneType":
        raise Misbehaviour(f"{owner} returns None for {name}: {NOT_WRITTEN}")
    if entry["type"] in ("matrix", "MaskedArray", "tuple") or \
            "array" not in entry and "dtype" not in entry:
        raise Misbehaviour(f"{owner} returns a {entry['type']} for {name}, not a NumPy array")
    if "array" not in entry:
        raise Misbehaviour(f"{owner} returns {name} of shape {tuple(entry['shape'])} and dtype "
                           f"{entry['dtype']}, which cannot be taken for numbers")
    if entry["array"].dtype.kind != "f":
        raise Misbehaviour(f"{owner} returns {name} of dtype {entry['array'].dtype}, "
                           "not floating-point numbers")
    if entry["type"] == "list":
        trial.warn(f"{name} is a list: return a NumPy array, np.array({name})")
    return entry["array"]


def judge_output(trial, owner, name, entry):
    """Compare one output with the truth; returns the array, or None."""
    case = trial.case
    try:
        array = array_of(trial, owner, name, entry)
    except Misbehaviour as error:
        trial.fail(str(error))
        return None
    truth = case.truth[name]
    if name == "loss" and array.shape == (1,):
        trial.warn("loss is an array of one number, not a scalar")
        array = array[0]
    if array.shape != truth.shape:
        trial.fail(f"{name} has shape {array.shape}, not {truth.shape}", output=name, actual=array)
        return array
    found = difference(trial, name, truth, array)
    if found and found.advice:
        trial.warn(found.advice)
    elif found:
        word = "is wrong" if math.isfinite(found.actual) else \
            "is not a number" if math.isnan(found.actual) else "is infinite"
        trial.fail(f"{name} {word}", output=name, difference=found, actual=array)
    elif trial.takes_dtype and array.dtype != case.dtype and entry["type"] not in TYPELESS and (
            name != "loss" or array.dtype.itemsize < case.dtype.itemsize):
        trial.warn(f"gives {array.dtype} for {case.dtype} inputs: give np.zeros and np.empty the "
                   f"dtype of the input (here {name})")
    return array


def difference(trial, name, truth, array):
    """What is wrong with an array; a lack of digits is only worth a warning."""
    case, floor = trial.case, trial.case.floor(name)
    is_rounded = array.dtype.itemsize < case.dtype.itemsize
    tolerance = TOLERANCE[np.dtype(np.float32) if is_rounded else case.dtype]
    values = array.astype(float)
    found = truth.difference(values, tolerance, floor)
    fine = floor if name == "loss" else 100 * floor
    # In large cases the central differences themselves have fewer digits.
    if not found and trial.takes_dtype and not is_rounded and case.dtype == np.float64 and \
            case.size <= SMALL and truth.difference(values, DOUBLE_PRECISION, fine):
        trial.warn(FEW_DIGITS)
    return found


def is_same(entry, value):
    """Whether an entry holds just these numbers."""
    if isinstance(value, dict):
        return "entries" in entry and set(entry["entries"]) == set(value) and \
            all(is_same(entry["entries"][key], np.asarray(part)) for key, part in value.items())
    array = entry.get("array")
    value = np.asarray(value)
    return array is not None and array.shape == value.shape and \
        np.array_equal(array, value, equal_nan=value.dtype.kind == "f")


def are_same(entries, others):
    """Whether two results hold the same numbers."""
    return len(entries) == len(others) and all(map(hold_same, entries, others))


def hold_same(entry, other):
    """Whether two entries hold the same numbers."""
    if "array" in entry:
        return is_same(other, entry["array"])
    parts, others = entry.get("entries", {}), other.get("entries", {})
    return set(parts) == set(others) and all(hold_same(parts[key], others[key]) for key in parts)


def parts_of(entry):
    """The entries of a tuple that were asked for, or the entry alone."""
    return [part for part in entry.get("parts", [entry]) if "array" in part]


# ---------------------------------------------------------------- scripts

def sent(case, value, layout=None):
    """A value of a case on its way to the worker: in the case's dtype and layout."""
    if isinstance(value, dict):
        return dict(value)
    if not isinstance(value, (np.ndarray, np.generic)):
        return value
    value = np.asarray(value)
    return Given(value.astype(case.dtype) if value.dtype == np.float64 else value,
                 layout or case.layout)


def at_all(names):
    """What is kept under these names."""
    return [At(name) for name in names]


def perturbed(case):
    """Other numbers of the same shapes, for a call in between."""
    return [sent(case, value if isinstance(value, dict) else contract.other_values(value))
            for value in case.inputs.values()]


def kept(case, values):
    """Steps that have values at hand under their names."""
    return [["keep", name, sent(case, value)] for name, value in values.items()]


def got(case, names):
    """Steps that send arguments back, where that does not take long."""
    return [["get", At(name), None] for name in names] if case.size <= RETURNED else []


class Line:
    """Scripts that wait for a worker, and what is to be done with each reply."""

    def __init__(self, trial, work):
        self.trial, self.work = trial, work

    def through(self, cases, scripts, judge):
        """Try small cases, then large ones if nothing has failed. scripts(case) -> list of scripts,
        judge(case, replies). All scripts are sent at once: the worker need not wait."""
        for is_large in (False, True):
            wave = [case for case in cases if (case.size > SMALL) == is_large]
            if is_large and self.trial.failures:
                return
            planned = [(case, scripts(case)) for case in wave]
            for _, lines in planned:
                for script in lines:
                    self.work.send(script)
            for case, lines in planned:
                self.trial.case = case
                judge(case, [self.reply(script) for script in lines])

    def reply(self, script):
        """The reply to a script. Ended unless it is what may be said to that."""
        reply = self.work.receive()
        done = script[:reply.get("step", len(script))]
        if not is_well_formed(reply) or len(reply["results"]) != sum(
                step[0] in ("get", "signature") for step in done):
            raise Ended(GARBLED)
        return reply


def is_well_formed(reply):
    """Whether a reply has the layout of one; it comes from where a student's code runs."""
    try:
        error = reply.get("error", {"type": "", "message": ""})
        words = error["type"], error["message"], error.get("text", ""), error.get("file", "")
        return all(map(is_entry, reply["results"])) and is_all(str, *words) and \
            is_all(int, reply.get("step", 0), error.get("line") or 0)
    except (KeyError, TypeError, AttributeError):
        return False


def is_entry(entry):
    """Whether a part of a reply describes a value, or the arguments of a function."""
    return is_all(str, entry["type"], entry.get("dtype", "")) and \
        ("array" not in entry or type(entry["array"]) is np.ndarray) and \
        is_all(list, entry.get("shape", []), entry.get("names", [])) and \
        is_all(int, entry.get("length", 0)) and all(map(is_entry, entry.get("parts", ()))) and \
        all(map(is_entry, entry.get("entries", {}).values()))


def is_all(kind, *values):
    """Whether all values are of a type."""
    return all(type(value) is kind for value in values)


# ---------------------------------------------------------------- forward passes and losses

def forward_scripts(function, case):
    """A call, what it leaves of its arguments, and one in between."""
    name, parts = function.name, parts_asked(function)
    first = [["attempt", name, [sent(case, v) for v in case.before.values()], {}, "before"]] \
        if case.before else []
    first += [*kept(case, case.inputs), ["call", name, at_all(case.inputs), {}, "result"],
              ["get", At("result"), parts], *got(case, case.inputs)]
    if case.size > SMALL:
        return [first]
    between = [["call", name, perturbed(case), {}, "other"], ["get", At("result"), parts]]
    return [first, between, *([same_arrays(function, case)] if is_plain(case) else [])]


def parts_asked(function):
    """Which entries of a result are to be sent: all but the cache."""
    if function.kind == "forward":
        return [True] * len(function.outputs) + [False]
    return [True] * len(function.outputs) if len(function.outputs) > 1 else None


def is_plain(case):
    """Whether a case is one in which properties that need not be tried everywhere are."""
    return case.label == "" and case.dtype == np.float64 and case.layout == "plain"


def same_arrays(function, case):
    """A script: arrays that hold other numbers than in the call before, and new ones with them.

    Whoever remembers results by the identity of an array, as weights that are updated in place
    keep theirs, gives stale ones.
    """
    name, parts = function.name, parts_asked(function)
    others = dict(zip(case.inputs, perturbed(case)))
    return [*kept(case, case.inputs), ["call", name, at_all(case.inputs), {}, "result"],
            *(["fill", At(key), value] for key, value in others.items()
              if isinstance(value, Given)),
            ["call", name, at_all(case.inputs), {}, "result"], ["get", At("result"), parts],
            ["call", name, list(others.values()), {}, "result"], ["get", At("result"), parts]]


def judge_forward(trial, case, replies):
    """The output of a forward pass, or loss and gradient."""
    name, function = trial.name, trial.function
    first, *more = replies
    if "error" in first:
        trial.threw(name, first["error"])
        return
    names = (*function.outputs, "cache") if function.kind == "forward" else function.outputs
    result, *arguments = first["results"]
    try:
        entries = entries_of(name, result, names)
    except Misbehaviour as error:
        trial.fail(str(error))
        return
    arrays = {output: judge_output(trial, name, output, entries[output])
              for output in function.outputs}
    trial.outcomes.append((case, {k: v for k, v in arrays.items() if v is not None}))
    for argument, entry in zip(case.inputs, arguments):
        if not is_same(entry, case.fresh(case.inputs[argument])):
            trial.changes(name, argument)
    if more and "error" not in more[0] and not are_same(parts_of(result),
                                                       parts_of(more[0]["results"][0])):
        trial.fail(f"{name} overwrites the result of an earlier call: return a new array each time")
    if more[1:] and "error" not in more[1] and not are_same(*map(parts_of, more[1]["results"])):
        trial.fail(f"{name} remembers results by the identity of an array: when the numbers in it "
                   "are changed, the result must follow")


# ---------------------------------------------------------------- backward passes

def backward_scripts(function, case):
    """Forward, other calls of it, backward; then what a second call gives, in small cases."""
    name, forward = function.name, FUNCTIONS[function.forward]
    cache, parts = At("forward", len(forward.outputs)), parts_asked(function)
    arguments, douts = list(case.inputs), douts_of(function, case)
    before = [sent(case, value) for value in (case.before or {}).values()]
    first = [
        *([["attempt", forward.name, before, {}, "before"]] if before else []),
        *kept(case, case.inputs), ["call", forward.name, at_all(arguments), {}, "forward"],
        ["get", At("forward"), parts_asked(forward)], *got(case, arguments),
        # What backward needs must be in the cache, and not in a global variable.
        ["attempt", forward.name, perturbed(case), {}, "other"],
        *(["attempt", forward.name, [sent(case, contract.other_values(v))
                                     for v in case.inputs.values()], {}, "other"]
          for value in case.inputs.values() if isinstance(value, dict)),
        *kept(case, douts), ["call", name, [*at_all(douts), cache], {}, "result"],
        ["get", At("result"), parts], *got(case, [*arguments, *douts]),
        *([["get", At("forward"), parts_asked(forward)]] if case.size <= RETURNED else [])]
    if case.size > SMALL:
        return [first]
    return [first, again_script(function, case, cache, douts),
            [["call", name, [*(sent(case, np.full_like(d, np.nan), "plain")
                               for d in douts.values()), cache], {}, "broken"],
             ["get", At("broken"), parts]],
            [["call", forward.name, [sent(case, v) for v in case.inputs.values()], {}, "forward"],
             ["call", name, [*(sent(case, 2 * d) for d in douts.values()), cache], {}, "other"],
             ["get", At("result"), parts]]]


def again_script(function, case, cache, douts):
    """The same call again; one with another dout in the same arrays; one with the sum of both."""
    name, parts = function.name, parts_asked(function)
    others = others_of(douts)
    return [["call", name, [*(sent(case, d) for d in douts.values()), cache], {}, "again"],
            ["get", At("again"), parts],
            *(["keep", key, sent(case, dout, "plain")] for key, dout in douts.items()),
            ["call", name, [*at_all(douts), cache], {}, "again"],
            *(["fill", At(key), sent(case, other)] for key, other in others.items()),
            ["call", name, [*at_all(douts), cache], {}, "again"], ["get", At("again"), parts],
            ["call", name, [*(sent(case, douts[k] + others[k], "plain") for k in douts), cache], {},
             "again"], ["get", At("again"), parts]]


def douts_of(function, case):
    """{argument: upstream gradient} of a backward pass."""
    douts = case.dout if isinstance(case.dout, tuple) else (case.dout,)
    return dict(zip(function.arguments, douts))


def others_of(douts):
    """Other upstream gradients of the same size."""
    return {key: np.random.default_rng(dout.size).standard_normal(dout.shape) * np.abs(dout).max()
            for key, dout in douts.items()}


class Backward:
    """Judges a backward pass by the cache of its own forward pass."""

    def __init__(self, trial):
        self.trial, self.forward = trial, FUNCTIONS[trial.function.forward]
        self.fault = None           # what is wrong with the forward pass

    def judge(self, case, replies):
        """All gradients of a case, and what else can be seen there."""
        trial, name = self.trial, self.trial.name
        first, *more = replies
        results = first["results"]
        before = len(trial.failures)
        if results:
            self.judge_forward(case, results[0])
        if "error" in first:
            if len(results) < 1 + len(got(case, case.inputs)) or not results:
                if not (case.if_refused == "warn" or case.if_wrong == "warn"):
                    self.fault = self.fault or told(first["error"])
                    trial.fail(f"{self.forward.name} {told(first['error'])}")
                return
            trial.threw(name, first["error"])
            return
        after_forward = results[1:1 + len(got(case, case.inputs))]
        result, *after = results[1 + len(after_forward):]
        entries = gradients_of(trial, case, result)
        if entries is None:
            return
        self.judge_changes(case, results[0], after_forward, after)
        if more and len(trial.failures) == before:
            self.judge_more(case, entries, more)

    def judge_forward(self, case, entry):
        """Note what is wrong with the forward pass, which is blamed for it itself."""
        silent = Trial(self.forward)
        silent.case = case
        try:
            entries = entries_of(self.forward.name, entry, (*self.forward.outputs, "cache"))
            for output in self.forward.outputs:
                judge_output(silent, self.forward.name, output, entries[output])
        except Misbehaviour as error:
            silent.fail(str(error))
        if silent.failures:
            self.fault = self.fault or silent.failures[0].message

    def judge_changes(self, case, out, after_forward, after):
        """What the call has changed: arguments of the forward pass, dout, the forward output."""
        trial, name = self.trial, self.trial.name
        if not after:
            return
        arguments, rest = after[:len(after_forward)], after[len(after_forward):]
        for argument, old, new in zip(case.inputs, after_forward, arguments):
            if not hold_same(old, new):
                trial.changes(name, argument)
        douts = douts_of(trial.function, case)
        for (key, dout), entry in zip(douts.items(), rest):
            if not is_same(entry, case.fresh(dout)):
                trial.changes(name, key)
        if not are_same(parts_of(out), parts_of(rest[len(douts)])):
            trial.fail(f"{name} changes the output of {self.forward.name}, which belongs to the "
                       "caller")

    def judge_more(self, case, entries, replies):
        """A second call with the cache; linearity; NaN; buffers."""
        trial, name = self.trial, self.trial.name
        again, broken, other = replies
        if "error" in again:
            trial.warn("cannot be called twice with the same cache: then it "
                       f"{told(again['error'])}")
        elif not are_same(entries, parts_of(again["results"][0])):
            trial.warn("a second call with the same cache gives something else: "
                       "the function changes its cache")
        else:
            self.must_be_linear(case, entries, *map(parts_of, again["results"][1:]))
            self.must_show_nan(again["results"][1], broken)
        if "error" not in other and not are_same(entries, parts_of(other["results"][0])):
            trial.fail(f"{name} overwrites the gradients of an earlier call: return new arrays")

    def must_be_linear(self, case, first, second, both):
        """Gradients for the sum of two upstream gradients are the sums."""
        outputs = self.trial.function.outputs
        if not len(first) == len(second) == len(both) == len(outputs):
            return
        for output, *entries in zip(outputs, first, second, both):
            a, b, c = (entry["array"].astype(float) for entry in entries)
            with np.errstate(all="ignore"):
                size = max(np.abs(a).max(), np.abs(b).max(), case.floor(output))
                most = TOLERANCE[case.dtype] * size
                if a.shape != c.shape or not np.abs(a + b - c).max() <= most:
                    dout = " and ".join(self.trial.function.arguments[:-1])
                    self.trial.fail(f"{output} is not linear in {dout}: for the sum of two "
                                    "upstream gradients it must be the sum of their gradients")
                    return

    def must_show_nan(self, second, broken):
        """Where dout is not a number, no gradient that depends on it may be one."""
        dout = " and ".join(self.trial.function.arguments[:-1])
        hidden = "error" in broken
        if not hidden:
            pairs = zip(parts_of(second), parts_of(broken["results"][0]))
            hidden = any(a["array"].shape != b["array"].shape or
                         np.isfinite(b["array"][a["array"] != 0]).any() for a, b in pairs)
        if hidden:
            self.trial.warn(f"does not pass on NaN in {dout}: a broken number should be seen, not "
                            "turned into another")


def gradients_of(trial, case, result):
    """Compare the gradients of a case; returns their entries, or None if they are none."""
    outputs = trial.function.outputs
    try:
        entries = entries_of(trial.name, result, outputs)
    except Misbehaviour as error:
        trial.fail(str(error))
        return None
    arrays = {output: judge_output(trial, trial.name, output, entries[output])
              for output in outputs}
    trial.outcomes.append((case, {k: v for k, v in arrays.items() if v is not None}))
    return parts_of(result)


def published_scripts(function, case):
    """Backward alone, with a cache of the published contents."""
    cache, douts = cache_of(case), douts_of(function, case)
    pack = [["pack", at_all(cache), "cache"]] if isinstance(case.cache, tuple) else []
    arguments = [*at_all(douts), At("cache") if pack else At(*cache)]
    return [[*kept(case, cache), *pack, *kept(case, douts),
             ["call", function.name, arguments, {}, "result"],
             ["get", At("result"), parts_asked(function)], *got(case, [*douts, *cache])]]


def cache_of(case):
    """{name: value} of a published cache; what is no argument of the forward pass has a number."""
    parts = case.cache if isinstance(case.cache, tuple) else (case.cache,)
    names = {id(value): name for name, value in case.inputs.items()}
    return {names.get(id(part), f"cache[{k}]"): part for k, part in enumerate(parts)}


def judge_published(trial, case, reply):
    """The gradients that a published cache gives, and what the call has changed."""
    if "error" in reply:
        trial.threw(trial.name, reply["error"])
        return
    result, *after = reply["results"]
    gradients_of(trial, case, result)
    given = {**douts_of(trial.function, case), **cache_of(case)}
    for (name, value), entry in zip(given.items(), after):
        if not is_same(entry, case.fresh(value)):
            trial.changes(trial.name, name)


def judge_backward(function, cases, work, has_forward, trial):
    """The Trial that counts, and what is wrong with the forward pass or None.

    A backward pass is right with the cache of its own forward pass, or with one of the
    published contents where its own forward pass is wrong.
    """
    backward = Backward(trial)
    backward.fault = None if has_forward else "is missing"
    if has_forward:
        Line(trial, work).through(cases, lambda case: backward_scripts(function, case),
                                  backward.judge)
        if not trial.failures or not backward.fault:
            return trial, None
    published = Trial(function)
    with_cache = [case for case in cases if case.cache is not None]
    Line(published, work).through(with_cache, lambda case: published_scripts(function, case),
                                  lambda case, replies: judge_published(published, case, *replies))
    if with_cache and not published.failures:
        return published, None
    if has_forward and trial.outcomes and fits_own_forward(trial, work):
        trial.fits = True
        return trial, backward.fault
    cannot_work = not with_cache or all(
        isinstance(finding.actual, contract.Raised)
        and finding.actual.exception != "NotImplementedError" for finding in published.failures)
    published.not_judged = cannot_work
    return published, backward.fault


def fits_own_forward(trial, work):
    """Whether wrong gradients are the right ones of a forward pass that is wrong itself."""
    function, forward = trial.function, FUNCTIONS[trial.function.forward]
    wrong = [finding.case for finding in trial.failures if finding.difference]
    case = min(wrong, key=lambda case: case.size, default=None)
    gradients = next((arrays for tried, arrays in trial.outcomes if tried is case), {})
    if case is None or case.size > 150 or case.dtype != np.float64:
        return False
    douts, step = list(douts_of(function, case).values()), 1e-4
    parts, scripts = parts_asked(forward), []
    for output in function.outputs:
        value = case.inputs[output[1:]]
        for place, sign in itertools.product(np.ndindex(value.shape), (1, -1)):
            moved = value.copy()
            moved[place] += sign * step
            inputs = [sent(case, part, "plain")
                      for part in {**case.inputs, output[1:]: moved}.values()]
            scripts.append([["call", forward.name, inputs, {}, "moved"],
                            ["get", At("moved"), parts]])
    for script in scripts:
        work.send(script)
    line, losses = Line(trial, work), []
    for reply in [line.reply(script) for script in scripts]:
        outs = [] if "error" in reply else parts_of(reply["results"][0])
        if [out["array"].shape for out in outs] != [dout.shape for dout in douts]:
            return False
        losses.append(sum(np.sum(out["array"] * dout) for out, dout in zip(outs, douts)))
    slopes = (np.array(losses[::2]) - losses[1::2]) / (2 * step)
    for output in function.outputs:
        size = case.inputs[output[1:]].size
        own, slopes = slopes[:size], slopes[size:]
        actual = gradients.get(output)
        if actual is None or actual.size != size or \
                not np.allclose(actual.ravel(), own, rtol=1e-4, atol=1e-4 * np.abs(own).max()):
            return False
    return True


# ---------------------------------------------------------------- update rules

def rule_scripts(function, case):
    """All steps from the first weights; between them, steps of another parameter of this shape."""
    name, inputs = function.name, case.inputs
    config = dict(inputs["config"])
    decay, rate = config.pop("lr_decay", 1), config["learning_rate"]
    w, state = At("w"), At("config")
    script = [["keep", "w", sent(case, inputs["w"])], ["keep", "config", config],
              ["keep", "other w", sent(case, inputs["w"] + 1, "plain")],
              ["keep", "other config", dict(config)]]
    other = [At("other w"), At("other config")]
    for t, dw in enumerate(inputs["dws"]):
        if t == 2:                  # a run that is resumed: everything must be in config
            script += [["copy", state, "copied"]]
            state = At("copied")
        result = f"result {t % 2}"
        script += [["keep", "dw", sent(case, dw)], ["call", name, [w, At("dw"), state], {}, result],
                   ["get", At(result), [True, False]], ["get", At("dw"), None]]
        w, state = At(result, 0), At(result, 1)
        if decay != 1:
            script.append(["put", state, "learning_rate", rate * decay ** (t + 1)])
        # Another parameter of this shape: the state must be in config, and not global.
        script += [["attempt", name, [other[0], sent(case, -dw), other[1]], {}, f"other {t % 2}"],
                   ["get", At(result), [True, False]]]
        other = [At(f"other {t % 2}", 0), At(f"other {t % 2}", 1)]
    return [script]


def judge_rule(trial, case, replies):
    """The weights after every step."""
    reply, = replies
    name, path = trial.name, []
    dws = case.inputs["dws"]
    try:
        for dw, (result, gradient, later) in zip(dws, triples(reply["results"])):
            entries = entries_of(name, result, ("next_w", "config"))
            w = array_of(trial, name, "next_w", entries["next_w"])
            if w.shape != dw.shape:
                raise Misbehaviour(f"{name} returns next_w of shape {w.shape} for w of shape "
                                   f"{dw.shape}")
            kind = entries["config"]["type"]
            if kind not in ("dict", "OrderedDict", "defaultdict"):
                raise Misbehaviour(f"{name} returns a {kind} for config, not the dict that the "
                                   "next call needs")
            if gradient and not is_same(gradient, case.fresh(dw)):
                trial.changes(name, "dw")
            if later and not are_same(parts_of(result), parts_of(later)):
                raise Misbehaviour(f"{name} overwrites the weights of an earlier call")
            path.append(w)
        if "error" in reply:
            trial.threw(name, reply["error"])
            return
        trial.outcomes.append((case, {"w": np.array(path)}))
        judge_output(trial, name, "w", {"type": "ndarray", "array": np.array(path)})
    except Misbehaviour as error:
        trial.fail(str(error))


def triples(results):
    """Three results for each step; None for those that an exception has cut off."""
    return itertools.zip_longest(*(results[k::3] for k in range(3)))


# ---------------------------------------------------------------- models

class ModelLine:
    """Scripts for a model, and what is said to their replies."""

    def __init__(self, trial, case, accepted):
        self.trial, self.case, self.name = trial, case, trial.name
        options = {"dtype": At("numpy", f".{case.dtype.name}"), "reg": case.inputs.get("reg", 0.0)}
        self.options = {name: Given(value) if isinstance(value, tuple) else value for name, value in
                        {**case.constructor, **{
                            name: value for name, value in options.items()
                            if accepted["free"] or name in accepted["names"]}}.items()}
        self.data = list(trial.function.arguments)
        self.wanted = [name for name in case.inputs if f"d{name}" in case.truth]

    def scripts(self):
        """Loss and scores of a model with given parameters; then with others, in place and anew."""
        model, case = At("model"), self.case
        loss, params = At("model", ".loss"), At("model", ".params")
        batch = [At(name) for name in self.data]
        other = ["call", loss, [sent(case, 1.5 * case.inputs[self.data[0]]), batch[1]], {}, "other"]
        first = [["call", self.name, [], self.options, "model"], ["get", params, None],
                 *self.filled(params), *kept(case, {name: case.inputs[name] for name in self.data}),
                 other,             # another batch before this one: nothing may be kept from it
                 *([["call", loss, batch[:1], {}, "scores"], ["get", At("scores"), None]]
                   if "scores" in case.truth else []),
                 ["call", loss, batch, {}, "result"], ["get", At("result"), [True, True]],
                 *(["get", At(name), None] for name in self.data), ["get", params, None],
                 other, ["get", At("result"), [True, True]]]
        return [first, self.changed(model, 1.25, in_place=True), self.changed(model, 0.75)]

    def filled(self, params, factor=1.0, in_place=False):
        """Steps that give a model the parameters of the case, times a factor."""
        step = ["fill"] if in_place else ["put"]
        for name in self.wanted:
            value = sent(self.case, factor * self.case.inputs[name], "plain")
            yield step + ([At(*params.path, name), value] if in_place else [params, name, value])

    def changed(self, model, factor, in_place=False):
        """A script: the loss with other parameters, and that of a new model that has them."""
        batch = [At(name) for name in self.data]
        return [*self.filled(At("model", ".params"), factor, in_place),
                ["call", At("model", ".loss"), batch, {}, "seen"],
                ["get", At("seen"), [True, False]],
                ["call", self.name, [], self.options, "new"],
                *self.filled(At("new", ".params"), factor),
                ["call", At("new", ".loss"), batch, {}, "fresh"],
                ["get", At("fresh"), [True, False]]]

    def judge(self, case, replies):
        """What a case has given."""
        first, *changes = replies
        results, failures = first["results"], len(self.trial.failures)
        try:
            if results:
                self.judge_start(results[0])
            if "error" in first:
                self.trial.threw(self.name if not results else f"{self.name}.loss", first["error"])
                return
            self.judge_loss(results)
        except Misbehaviour as error:
            self.trial.fail(str(error))
        if len(self.trial.failures) > failures:
            return                  # a loss that is wrong anyway tells nothing of what it has seen
        ways = "the arrays got other numbers", "there are other arrays in it"
        for reply, how in zip(changes, ways):
            if "error" not in reply and not are_near(*reply["results"], TOLERANCE[case.dtype]):
                self.trial.fail(f"{self.name}.loss does not see that params has changed ({how})")
                return

    def judge_start(self, entry):
        """The parameters that a new model has."""
        params, name = entry.get("entries"), self.name
        if params is None or set(params) != set(self.wanted):
            has = sorted(params) if params is not None else f"of type {entry['type']}"
            raise Misbehaviour(f"{name}.params has the keys {has}, not {sorted(self.wanted)}")
        *weights, _ = (key for key in self.wanted if key.startswith("W"))
        for key in self.wanted:
            array, shape = params[key].get("array"), self.case.inputs[key].shape
            if array is None or array.shape != shape:
                got = array.shape if array is not None else f"none: it is a {params[key]['type']}"
                raise Misbehaviour(f"{name}.params[{key!r}] has shape {got}, not {shape}")
            if "dtype" in self.options and array.dtype != self.case.dtype:
                self.trial.warn(f"{name}.params[{key!r}] is {array.dtype} though "
                                f"dtype={self.case.dtype} was asked for")
            if not np.isfinite(array).all():
                raise Misbehaviour(f"{name}.params[{key!r}] starts with numbers that are not "
                                   "finite")
            units = array.reshape(len(array), -1) if array.ndim == 4 else array.T
            if key in weights and key != "Wh" and len(units) > 1 and (units == units[0]).all():
                raise Misbehaviour(f"{name}.params[{key!r}] starts with the same numbers for each "
                                   "unit, and units that are equal learn the same: random ones are "
                                   "needed")

    def judge_loss(self, results):
        """Scores, loss, gradients, and what the call has left alone."""
        trial, case, owner = self.trial, self.case, f"{self.name}.loss"
        _, *results = results
        arrays = {}
        trial.outcomes.append((case, arrays))
        if "scores" in case.truth:
            arrays["scores"] = judge_output(trial, owner, "scores", results.pop(0))
        result, *data, params, later = results
        entries = entries_of(owner, result, ("loss", "grads"))
        arrays["loss"] = judge_output(trial, owner, "loss", entries["loss"])
        grads = entries["grads"].get("entries")
        if grads is None or set(grads) != set(self.wanted):
            has = sorted(grads) if grads is not None else f"a {entries['grads']['type']}"
            raise Misbehaviour(f"{owner} returns gradients for {has}, not {sorted(self.wanted)}")
        for key in self.wanted:
            arrays[f"d{key}"] = judge_output(trial, owner, f"d{key}", grads[key])
        for key in [key for key, array in arrays.items() if array is None]:
            del arrays[key]
        for key, entry in zip(self.data, data):
            if not is_same(entry, case.fresh(case.inputs[key])):
                trial.changes(owner, key)
        if not is_same(params, {key: case.inputs[key].astype(case.dtype) for key in self.wanted}):
            trial.changes(owner, "params")
        if not hold_same(entries["grads"], later.get("parts", [{}, {}])[1]):
            trial.fail(f"{owner} overwrites the gradients of an earlier call")


def are_near(result, other, tolerance):
    """Whether two losses are the same but for rounding."""
    losses = [float(part["parts"][0].get("array", np.array(np.nan)).ravel()[:1].sum())
              for part in (result, other) if part.get("parts")]
    return len(losses) == 2 and abs(losses[0] - losses[1]) <= tolerance * max(1, abs(losses[1]))


def judge_model(function, cases, work, trial):
    """Try a model. What its constructor does not take is not asked of it."""
    trial.case = cases[0]
    script = [["signature", function.name]]
    work.send(script)
    accepted = Line(trial, work).reply(script)["results"][0]
    takes = {name: accepted["free"] or name in accepted["names"] for name in ("reg", "dtype")}
    trial.takes_dtype = takes["dtype"]
    cases = [case for case in cases if (takes["reg"] or not case.inputs.get("reg")) and
             (takes["dtype"] or case.dtype == np.float64)]
    lines = {id(case): ModelLine(trial, case, accepted) for case in cases}
    Line(trial, work).through(cases, lambda case: lines[id(case)].scripts(),
                              lambda case, replies: lines[id(case)].judge(case, replies))


# ---------------------------------------------------------------- diagnosis

def equals(actual, predicted, case, output):
    """Whether what came is what a mistake gives."""
    if isinstance(predicted, contract.Raised) or isinstance(actual, contract.Raised):
        return type(actual) is type(predicted) and actual.exception == predicted.exception and \
            is_alike(actual.message, predicted.message)
    if actual.shape != predicted.shape:
        return False
    with np.errstate(over="ignore"):        # what float32 cannot hold is infinite in both
        predicted = predicted.astype(actual.dtype).astype(float)
    # Whether an overflow ends as inf or as NaN depends on how the formula is written.
    actual, predicted = (np.where(np.isfinite(array), array, np.nan)
                         for array in (actual.astype(float), predicted))
    scale = max(np.abs(predicted[np.isfinite(predicted)]).max(initial=0), case.floor(output))
    return np.allclose(actual, predicted, rtol=0, atol=TOLERANCE[case.dtype] * scale,
                       equal_nan=True)


def is_alike(message, predicted):
    """Whether an exception says what was predicted, but for sizes and names."""
    words, wanted = (set(re.findall(r"[a-z]{3,}", text)) for text in (message, predicted))
    return len(words & wanted) >= 0.6 * len(wanted)


class Explanation:
    """Looks for known mistakes that give just what a function gave, where it is wrong."""

    def __init__(self, trial, key):
        self.trial, self.key = trial, key
        self.known = {}             # id of a case -> {mistake: Prediction}
        self.sentences = {}         # mistake -> sentence

    def predictions(self, case):
        """{mistake: {output: array or Raised}} in a case; computed once."""
        if id(case) not in self.known:
            found = list(self.key.predictions(self.trial.name, case))
            self.known[id(case)] = {p.mistake: p.outputs for p in found}
            self.sentences |= {p.mistake: p.sentence for p in found}
        return self.known[id(case)]

    def of(self, output):
        """Names of the mistakes that explain an output, the best first."""
        failures = [f for f in self.trial.failures if f.actual is not None
                    and (f.output == output or isinstance(f.actual, contract.Raised))]
        # Mistakes are computed in float64; the same mistake made in float32 overflows earlier.
        failures = [f for f in failures if f.case.dtype == np.float64] or failures
        # Where the learning rate falls, several slips come together.
        failures = [f for f in failures
                    if "lr_decay" not in f.case.inputs.get("config", ())] or failures
        wrong = {id(f.case) for f in failures}
        right = [case for case, arrays in self.trial.outcomes
                 if output in arrays and id(case) not in wrong and case.if_wrong == "fail"]
        fitting = None
        for failure in chosen(failures):
            here = {name for name, outputs in self.predictions(failure.case).items()
                    if output in outputs and
                    equals(failure.actual, outputs[output], failure.case, output)}
            fitting = here if fitting is None else fitting & here
            if not fitting:
                return []
        # Of two mistakes that fit, the better one predicts no failure that did not occur.
        surplus = {name: sum(output in self.predictions(case).get(name, ()) for case in right[:12])
                   for name in fitting or ()}
        order = list(self.sentences)
        least = min(surplus.values(), default=0)
        return sorted((name for name in surplus if surplus[name] == least), key=order.index)


def chosen(failures):
    """Some of many failures: the smallest, and some of the others."""
    if len(failures) <= 16:
        return failures
    return [*failures[:10], *failures[10::max(1, (len(failures) - 10) // 6)]]


def explained(trial, key):
    """(sentences, names of the mistakes, outputs without an explanation) of what went wrong."""
    explanation, found = Explanation(trial, key), {}
    wrong = [f for f in trial.failures if f.actual is not None]
    outputs = list(dict.fromkeys(f.output for f in wrong if f.output)) or \
        list(trial.function.outputs if wrong else ())
    for output in outputs:
        found[output] = explanation.of(output)
    # One mistake that explains several outputs is one diagnosis.
    reach = collections.Counter(name for names in found.values() for name in names)
    for output, names in found.items():
        found[output] = [name for name in names if reach[name] == max(map(reach.get, names))]
    best = {output: names[0] for output, names in found.items() if names}
    sentences = []
    for name in dict.fromkeys(best.values()):
        where = ", ".join(output for output in outputs if best.get(output) == name)
        sentences.append(f"{where}: {explanation.sentences[name]}")
    names = [name for names in found.values() for name in names]
    return sentences, tuple(dict.fromkeys(names)), [o for o in outputs if o not in best]


def relations_of(finding):
    """What a wrong array has to do with the right one: sentences that hold, the best first."""
    truth, actual = getattr(finding.case.truth[finding.output], "array", None), finding.actual
    if truth is None or truth.size < 2 or not actual.size:
        return []
    scale = np.abs(truth).max()

    def same(a, b):
        return a.shape == b.shape and np.allclose(a, b, rtol=1e-5, atol=1e-6 * scale)

    found = []
    with np.errstate(all="ignore"):
        if truth.ndim > 1 and same(actual, truth.T):
            found.append("it is the transpose of what is asked for")
        for axes in some_axes(actual.ndim):
            if same(actual.sum(axis=axes), truth) or \
                    same(actual.sum(axis=axes, keepdims=True), truth):
                found.append(f"summed over {axis_words(axes)} it would be right")
        for axes in some_axes(truth.ndim):
            kept = truth.sum(axis=axes, keepdims=True)
            if kept.size < truth.size and any(same(actual, other) for other in (
                    kept, truth.sum(axis=axes), np.broadcast_to(kept, truth.shape))):
                found.append(f"it is summed over {axis_words(axes)}, which is to stay")
        if actual.shape == truth.shape:
            return found + factors(actual, truth, finding.case)
        if actual.size == truth.size and same(actual.reshape(truth.shape), truth):
            found.append("the numbers are right, and their shape is not")
    return found


def some_axes(count):
    """All single axes and pairs of axes of so many."""
    return [axes for k in (1, 2) for axes in itertools.combinations(range(count), k)]


def axis_words(axes):
    """ "axis 0" or "axes 0 and 1". """
    return f"ax{'i' if len(axes) == 1 else 'e'}s {' and '.join(map(str, axes))}"


def factors(actual, truth, case):
    """Where the factor may come from, if a wrong array is the right one times a number."""
    factor = float(np.sum(actual * truth) / np.sum(truth * truth))
    if not math.isfinite(factor) or factor == 0 or \
            not np.allclose(actual, factor * truth, rtol=1e-5, atol=1e-6 * np.abs(truth).max()):
        return []
    sizes = [(f"axis {axis} of {name}", size) for name, value in case.inputs.items()
             if isinstance(value, np.ndarray) for axis, size in enumerate(value.shape) if size > 1]
    found = [f"it is {word} the length of {where}" for where, size in sizes
             for word, ratio in (("divided by", 1 / size), ("multiplied by", size))
             if math.isclose(factor, ratio, rel_tol=1e-4)]
    return found + [f"it is {factor:.5g} times what is asked for"]


def order_of_results(trial):
    """A sentence, if the results of a layer would all be right in another order."""
    names = trial.function.outputs
    outcomes = [(case, arrays) for case, arrays in trial.outcomes if case.if_wrong == "fail"][:40]
    if trial.function.kind not in ("backward", "loss") or len(names) < 2 or not outcomes or \
            any(isinstance(finding.actual, contract.Raised) for finding in trial.failures) or \
            any(set(arrays) != set(names) for _, arrays in outcomes):
        return None
    for order in itertools.permutations(names):
        if order != names and all(
                array.shape == case.truth[name].shape and case.truth[name].difference(
                    array.astype(float), TOLERANCE[case.dtype], case.floor(name)) is None
                for case, arrays in outcomes for name, array in zip(order, map(arrays.get, names))):
            return f"the results come in the wrong order: ({', '.join(order)}) is returned where " \
                   f"({', '.join(names)}) is asked for"
    return None


def how_often(failures):
    """In which cases it happens, where these are few and special."""
    failing = list({id(f.case): f.case for f in failures if f.case}.values())
    labels = [label for label in dict.fromkeys(case.label for case in failing) if label]
    if not failing or len(failing) > 6 or len(labels) < len(set(case.label for case in failing)):
        return ""
    return f" (only here: {', '.join(labels)})"


def unknown_sentences(trial, outputs):
    """What is said about outputs that no known mistake explains; those alike share a line."""
    alike = {}
    for output in outputs:
        failures = [f for f in trial.failures if f.output == output]
        if failures:
            what = failures[0].message.removeprefix(output) + how_often(failures)
            alike.setdefault(f"{what}: {why_wrong(failures)}", []).append(output)
    return [", ".join(names) + (what if len(names) == 1 else re.sub("^ is", " are", what, count=1))
            for what, names in alike.items()]


def why_wrong(failures):
    """What holds for a wrong output in several cases, or that nothing is known."""
    if all(not finding.actual.any() for finding in failures):
        return "0 everywhere, as if it were not written yet"
    # In the larger ones of the small cases the lengths of axes differ.
    telling = [f for f in failures if f.case.size <= SMALL and
               getattr(f.case.truth[f.output], "array", np.zeros(0)).size > 1][-3:]
    relations = [relations_of(finding) for finding in telling]
    holding = [words for words in relations[0] if all(words in other for other in relations)] \
        if relations else []
    return holding[0] if holding else "an unknown mistake"


def same_cause(message):
    """A message without its numbers: the same exception with other sizes is one cause."""
    return re.sub(r"\d+", "#", message)


def sentences_of(trial, key):
    """(sentences, names of mistakes), the most useful first."""
    order = order_of_results(trial)
    if order:
        return [order], ()
    named, mistakes, unknown = explained(trial, key)
    causes = {}
    for finding in trial.failures:
        is_explained = named and isinstance(finding.actual, contract.Raised)
        if not finding.output and not is_explained:
            causes.setdefault(same_cause(finding.message), []).append(finding)
    beside = [group[0].message + how_often(group) for group in causes.values()]
    return [*named, *beside[:2], *unknown_sentences(trial, unknown)], mistakes


# ---------------------------------------------------------------- verdicts

def verdict_of(trial, key):
    """The Verdict that follows from a Trial."""
    function = trial.function
    if not trial.failures:
        return Verdict(trial.name, "warn" if trial.warnings else "pass",
                       "\n".join(without_consequences(trial)))
    sentences, mistakes = sentences_of(trial, key)
    # The smallest case in which one number can be pointed at says more than a sum.
    wrong = [f for f in trial.failures if f.output]
    pointed = [f for f in wrong if f.difference and isinstance(f.difference.place, tuple)]
    first = (pointed or wrong or trial.failures)[0]
    verdict = Verdict(trial.name, "fail", "\n".join(sentences),
                      first.case and first.case.describe(), mistakes=mistakes,
                      derivation=function.section)
    if first.difference:
        place = first.difference.place
        verdict.place = f"{first.output}{list(place) if place else ''}" \
            if isinstance(place, tuple) else f"{first.output}, {place}"
        verdict.expected, verdict.actual = first.difference.expected, first.difference.actual
    return verdict


def without_consequences(trial):
    """The warnings of a trial, without those that follow from another one."""
    follows = set()
    if any(" changes " in words for words in trial.warnings):
        follows.add(NEEDS_TO_WRITE)
    if trial.function.kind == "loss" and len(trial.warnings) > 1:
        follows.add(FEW_DIGITS)         # a small number in the log costs digits
    return [words for words in trial.warnings if words not in follows]


def verdict_on_backward(trial, fault, key):
    """The Verdict on a backward pass, whose own forward pass may be at fault."""
    forward = trial.function.forward
    if fault and getattr(trial, "not_judged", False):
        return Verdict(trial.name, "not judged", f"{forward} comes first: it {fault_words(fault)}",
                       derivation=trial.function.section)
    verdict = verdict_of(trial, key)
    if fault and getattr(trial, "fits", False):
        verdict.diagnosis = (f"these are the right gradients of the {forward} of this file, which "
                             "is wrong itself: mend that first")
        verdict.mistakes = ()
    elif fault and verdict.status == "fail":
        verdict.diagnosis = f"{forward} {fault_words(fault)}: mend that first\n{verdict.diagnosis}"
    return verdict


def fault_words(fault):
    """What is wrong with a forward pass, as the end of a sentence."""
    return fault if re.match(r"is missing|raises|stops|uses|cannot", fault) else \
        f"gives a wrong result ({fault})"


def verdict_when_ended(trial, ended, key):
    """The Verdict where the function hangs, dies or garbles; what was found before is kept."""
    verdict, case = verdict_of(trial, key), trial.case
    sentence = f"{trial.name} {told_end(ended)}"
    if case is not None and case.if_refused == "warn" and ended.timed_out:
        sentence, is_harmless = case.advice, True
    else:
        # Whoever is right in all small cases is slow, and not in an endless loop.
        is_harmless = ended.timed_out and case is not None and case.size > SMALL
    failed = verdict.status == "fail"
    status = "warn" if is_harmless and not failed else "fail"
    lines = [verdict.diagnosis, sentence] if failed else [sentence, verdict.diagnosis]
    return dataclasses.replace(
        verdict, status=status, diagnosis="\n".join(filter(None, lines)), timed_out=ended.timed_out,
        case=verdict.case or case and case.describe(), derivation=trial.function.section)


def told_end(ended):
    """Why nobody answers any more, as the end of a sentence about a function."""
    text = str(ended)
    if ended.timed_out and text.startswith("too slow"):
        return f"is {text}: an endless loop, or does it wait for something?"
    return f"cannot be judged: {text}"


# ---------------------------------------------------------------- grading

def grade_one(work, name, key, seconds, cases):
    """The Verdict on one function of a worker; cases() gives its cases."""
    function, trial = FUNCTIONS[name], Trial(FUNCTIONS[name])
    try:
        about = work.begin(seconds)
        early = verdict_on_file(about, name, work)
        if early:
            return early
        trial, verdict = examined(function, trial, work, about, key, cases())
        return verdict
    except Ended as ended:
        return verdict_when_ended(trial, ended, key)
    finally:
        work.end()


def examined(function, trial, work, about, key, cases):
    """(Trial, Verdict) of a function that is there."""
    if function.kind == "backward":
        has_forward = function.forward in about["callable"]
        found, fault = judge_backward(function, cases, work, has_forward, trial)
        return found, verdict_on_backward(found, fault, key)
    if function.kind == "model":
        judge_model(function, cases, work, trial)
    else:
        scripts, judge = (rule_scripts, judge_rule) if function.kind == "rule" else \
            (forward_scripts, judge_forward)
        Line(trial, work).through(cases, lambda case: scripts(function, case),
                                  lambda case, replies: judge(trial, case, replies))
    return trial, verdict_of(trial, key)


def verdict_on_file(about, name, work):
    """The Verdict if the file cannot be imported, or does not hold the function; else None."""
    file = pathlib.Path(work.settings["path"]).name if isinstance(work, Process) else "this process"
    if "error" in about:
        error = about["error"]
        if error["type"] == "SyntaxError" and not error.get("line"):
            return Verdict(name, "fail", f"{file} cannot be read: {error['message']}")
        return Verdict(name, "fail", f"{file} cannot be imported: it {told(error)}")
    if name not in about["defined"]:
        return Verdict(name, "missing", f"there is no {name} in {file}")
    if name not in about["callable"]:
        return Verdict(name, "fail", f"{name} is no function but of type {about['defined'][name]}")
    return None


def grade(files, names, key, *, seconds=30, budget=None, strict=False, allow=(), on_verdict=None):
    """{name: Verdict} of the functions in files ({role: path}), which run in a worker.

    seconds limits the computing for each function, budget the time for all of them. strict makes
    each warning a failure. allow names libraries that differentiate by themselves.
    """
    ends, verdicts = time.monotonic() + (budget or math.inf), {}

    def settle(verdict):
        if strict and verdict.status == "warn":
            verdict.status = "fail"
        verdicts[verdict.name] = verdict
        if on_verdict:
            on_verdict(verdict)

    by_path = {}
    for name in names:
        path = files.get(FUNCTIONS[name].file)
        if path is None or not pathlib.Path(path).is_file():
            settle(Verdict(name, "missing", f"there is no file {path}" if path else
                           f"no file was given for {FUNCTIONS[name].file}"))
        else:
            by_path.setdefault(path, []).append(name)
    with concurrent.futures.ThreadPoolExecutor(1) as ahead:
        # While a worker is at one function, the cases of the next ones are computed.
        cases = {name: ahead.submit(key.cases, name) for some in by_path.values() for name in some}
        for path, some in by_path.items():
            grade_file(path, some, key, cases, settle, allow,
                       lambda: min(seconds, ends - time.monotonic()))
        for future in cases.values():
            future.cancel()
    return {name: verdicts[name] for name in names}


def grade_file(path, names, key, cases, settle, allow, time_left):
    """Settle the verdicts on the functions of one file."""
    # A forward pass that is needed for its backward pass has to be asked for too.
    asked = dict.fromkeys(n for name in names for n in (FUNCTIONS[name].forward, name) if n)
    work = Process(path, asked, allow)
    try:
        about = None
        for name in names:
            if time_left() <= 0:
                settle(Verdict(name, "not judged", "the time for the whole run was over before "
                               "this function", timed_out=True))
                continue
            known = about and verdict_on_file(about, name, work)
            if not known:
                known = grade_one(work, name, key, time_left(), cases[name].result)
                about = work.about if about is None else about
            settle(with_stand_ins(known, about) if name == names[0] else known)
    finally:
        work.stop()


def with_stand_ins(verdict, about):
    """The first verdict on a file, which also tells what the file imports in vain."""
    missing = about.get("missing") if about else None
    if not missing:
        return verdict
    sentence = "; ".join(missing.values()) + ": only functions that use it are affected"
    lines = filter(None, (verdict.diagnosis, sentence))
    return dataclasses.replace(verdict, diagnosis="\n".join(lines))


def grade_here(functions, key):
    """{name: Verdict} of functions of this process ({name: function})."""
    work = Direct(functions)
    with np.errstate(all="ignore"):         # wrong functions may well return infinities
        return {name: grade_one(work, name, key, math.inf, lambda name=name: key.cases(name))
                for name in functions}
