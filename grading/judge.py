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

from .contract import TOLERANCE, Dropped, Exact, Following, Raised, Truth, other_values
from .worker import GARBLED, At, Direct, Ended, Given, Process, described

SMALL = 500                 # numbers in a case; properties are looked at in these alone
RETURNED = 100_000          # of more numbers it is not looked whether a call has changed them
DOUBLE_PRECISION = 1e-8     # float64 results between this and the tolerance have float32's digits
# Training goes wrong when a function changes these; all others only belong to the caller.
PARAMETERS = {"w", "b", "Wx", "Wh", "W", "y", "captions", "params"}
REFUSALS = ("ValueError", "AssertionError", "MemoryError")
NOT_YET = "not written yet"
NOT_WRITTEN = "it is not written yet, or a return is missing"
IN_VAIN = "only functions that use it are affected"     # the end of a sentence on an import
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

    # No fields: what is written to files does not hold these.
    is_stub = False                 # whether nothing is written yet
    wrong = ()                      # of each wrong output with two axes, the Finding to be drawn


@dataclasses.dataclass(eq=False)
class Finding:
    """One thing that went wrong in one case."""
    message: str
    case: object = None
    output: str = None              # the name of the output that is wrong
    difference: object = None
    actual: object = None           # the wrong array, or contract.Raised
    seen: dict = dataclasses.field(default_factory=dict)    # other outputs that it depends on


class Misbehaviour(Exception):
    """What came back is nothing that could be compared; carries the sentence."""


# ---------------------------------------------------------------- scripts and replies

@dataclasses.dataclass
class Reply:
    """What a worker says to a script."""
    seen: dict                      # label of a "get" step -> the entry that describes a value
    error: dict = None              # what was thrown


def get(at, parts=None, label=None):
    """A step that sends back what is there. The label stays here."""
    at = At(at) if isinstance(at, str) else at
    return ["get", at, parts, label or at.path[0]]


def sent(case, value, layout=None):
    """A value of a case on its way to the worker: in the case's dtype and layout."""
    if isinstance(value, dict):
        return {key: sent(case, part, "plain") for key, part in value.items()}
    if not isinstance(value, (np.ndarray, np.generic)):
        return value
    return Given(case.cast(value), layout or case.layout)


def kept(case, values, layout=None):
    """Steps that have values at hand under their names."""
    return [["keep", name, sent(case, value, layout)] for name, value in values.items()]


def at_all(names):
    """What is kept under these names."""
    return [At(name) for name in names]


def got(case, names, suffix="", state=()):
    """Steps that send arguments back, where that does not take long; those in state always."""
    return [get(name, label=name + suffix) for name in names
            if case.size <= RETURNED or name in state]


def parts_asked(function):
    """Which entries of a result are to be sent: all but the cache."""
    if function.kind == "forward":
        return [True] * len(function.outputs) + [False]
    return [True] * len(function.outputs) if len(function.outputs) > 1 else None


def perturbed(case):
    """Other numbers of the same shapes, for a call in between."""
    return [sent(case, value if isinstance(value, dict) else other_values(value))
            for value in case.inputs.values()]


def opening(function, case, slot):
    """The first call of a forward pass, and what it leaves of its arguments."""
    before = [sent(case, value) for value in (case.before or {}).values()]
    return [*([["seed", 0]] if case.is_random else []),
            *([["attempt", function.name, before, {}, "before"]] if before else []),
            *kept(case, case.inputs), ["call", function.name, at_all(case.inputs), {}, slot],
            get(slot, parts_asked(function)), *got(case, case.inputs, state=function.state)]


def douts_of(function, case):
    """{argument: upstream gradient} of a backward pass."""
    douts = case.dout if isinstance(case.dout, tuple) else (case.dout,)
    return dict(zip(function.arguments, douts))


def is_well_formed(reply):
    """Whether a reply has the layout of one; it comes from where a student's code runs."""
    try:
        error = reply.get("error", {"type": "", "message": ""})
        words = error["type"], error["message"], error.get("text", ""), error.get("file", "")
        return all(map(is_entry, reply["results"])) and {*map(type, words)} == {str} and \
            type(reply.get("step", 0)) is type(error.get("line") or 0) is int
    except (KeyError, TypeError, AttributeError):
        return False


def is_entry(entry):
    """Whether a part of a reply describes a value, or the arguments of a function."""
    return type(entry["type"]) is type(entry.get("dtype", "")) is str and \
        ("array" not in entry or type(entry["array"]) is np.ndarray) and \
        type(entry.get("shape", [])) is type(entry.get("names", [])) is list and \
        type(entry.get("length", 0)) is int and all(map(is_entry, entry.get("parts", ()))) and \
        all(map(is_entry, entry.get("entries", {}).values()))


def parts_of(entry):
    """The entries of a tuple that were asked for, or the entry alone."""
    return [part for part in entry.get("parts", [entry]) if "array" in part]


def are_same(result, other):
    """Whether two results hold the same numbers."""
    parts, others = parts_of(result), parts_of(other)
    return len(parts) == len(others) and all(map(hold_same, parts, others))


def hold_same(entry, other):
    """Whether two entries hold the same numbers."""
    if "array" in entry:
        return "array" in other and hold_equal(entry["array"], other["array"])
    parts, others = entry.get("entries", {}), other.get("entries", {})
    return set(parts) == set(others) and all(hold_same(parts[key], others[key]) for key in parts)


def hold_equal(array, other):
    """Whether two arrays hold the same numbers; most have the same bytes, which is soon seen."""
    return array.dtype == other.dtype and array.shape == other.shape and \
        array.tobytes() == other.tobytes() or np.array_equal(array, other, equal_nan=True)


# ---------------------------------------------------------------- a trial

class Trial:
    """The course of one function through its cases. There is a subclass for each kind of function:
    scripts(case) makes what is sent to the worker for a case, and judge(case, *replies) notes what
    the replies show, or raises Misbehaviour."""

    def __init__(self, function, work=None, functions=None):
        """functions {name: Function}: those of the course."""
        self.function, self.work = function, work
        self.name = self.owner = function.name      # the owner of a result may be a method
        self.failures, self.warnings = [], []
        self.outcomes = []          # (case, {output: array})
        self.seen = {}              # {output: array} of the forward pass in the case being tried
        self.case = None            # the one that is being tried
        self.takes_dtype = True     # whether results are to have the dtype of the inputs

    def examine(self, cases, defined=()):
        """Try small cases, then large ones if nothing has failed. All scripts are sent at once:
        the worker need not wait. defined: the functions that are there."""
        for is_large in (False, True):
            if is_large and self.failures:
                return
            planned = []
            for case in cases:
                if (case.size > SMALL) == is_large:
                    planned.append((case, self.scripts(case)))
                    self.send(planned[-1][1])
            for case, scripts in planned:
                self.take(case, self.replies(scripts))

    def take(self, case, replies):
        """Judge the replies to the scripts of a case."""
        self.case = case
        try:
            self.judge(case, *replies)
        except Misbehaviour as error:
            self.fail(str(error))

    def send(self, scripts):
        """Hand over scripts."""
        self.work.send([[step[:3] if step[0] == "get" else step for step in script]
                        for script in scripts])

    def replies(self, scripts):
        """Yields the Reply to each script. Ended unless it is what may be said to that."""
        said = self.work.receive().get("replies")
        if type(said) is not list or len(said) != len(scripts):
            raise Ended(GARBLED)
        for script, reply in zip(scripts, said):
            if not is_well_formed(reply):
                raise Ended(GARBLED)
            labels = [step[-1] for step in script[:reply.get("step", len(script))]
                      if step[0] in ("get", "signature")]
            if len(reply["results"]) != len(labels):
                raise Ended(GARBLED)
            yield Reply(dict(zip(labels, reply["results"])), reply.get("error"))

    def ask(self, script):
        """The Reply to a script that is sent now."""
        self.send([script])
        return next(self.replies([script]))

    def fail(self, message, **details):
        """Note what is wrong; a weakness only, if the case goes beyond the assignment."""
        if self.case and self.case.if_wrong == "warn":
            self.warn(self.case.advice)
        else:
            self.failures.append(Finding(message, self.case, seen=self.seen, **details))

    def warn(self, message):
        """Note a weakness, once, whatever the sizes."""
        if message.partition(":")[0] not in [known.partition(":")[0] for known in self.warnings]:
            self.warnings.append(message)

    def threw(self, error):
        """Note an exception."""
        if self.case.if_refused == "warn" and error["type"] in REFUSALS:
            self.warn(self.case.advice)
        elif self.case.layout == "readonly" and "read-only" in error["message"]:
            if self.function.kind != "rule":        # rules may work in place
                self.warn(NEEDS_TO_WRITE)
        else:
            cause = f"{error['message']}: {IN_VAIN}\n" if error["type"] == "Missing" else ""
            self.fail(f"{cause}{self.owner} {told(error)}",
                      actual=Raised(error["type"], error["message"]))

    def must_be_kept(self, before, after):
        """Note which arguments {name: entry} a call has changed."""
        for name in before:
            if name not in after or hold_same(before[name], after[name]):
                continue
            if name in PARAMETERS:
                self.fail(f"{self.owner} changes {name} in place: training goes on with a wrong "
                          f"{name}; work on a copy")
            else:
                self.warn(f"{self.owner} changes {name}, which belongs to the caller: work on a "
                          "copy")

    def entries(self, result, names):
        """{name: entry} of a result that is to be a tuple, or one thing if there is one name."""
        kind = result["type"]
        if kind == "NoneType":
            raise Misbehaviour(f"{self.owner} returns None: {NOT_WRITTEN}")
        if len(names) == 1:
            if kind == "tuple":
                raise Misbehaviour(f"{self.owner} returns a tuple, not the array {names[0]} alone")
            return {names[0]: result}
        if "parts" not in result or result["length"] != len(names):
            size = f" of {result['length']}" if "parts" in result else ""
            raise Misbehaviour(f"{self.owner} returns a {kind}{size}, not the tuple "
                               f"({', '.join(names)})")
        return dict(zip(names, result["parts"]))

    def array(self, name, entry):
        """The array in an entry. Misbehaviour unless it is one of floating-point numbers."""
        kind, array = entry["type"], entry.get("array")
        if kind == "NoneType":
            wrong = f"None for {name}: {NOT_WRITTEN}"
        elif kind in ("matrix", "MaskedArray", "tuple") or array is None and "dtype" not in entry:
            wrong = f"a {kind} for {name}, not a NumPy array"
        elif array is None:
            wrong = (f"{name} of shape {tuple(entry['shape'])} and dtype {entry['dtype']}, which "
                     "cannot be taken for numbers")
        elif array.dtype.kind != "f":
            wrong = f"{name} of dtype {array.dtype}, not floating-point numbers"
        else:
            if kind == "list":
                self.warn(f"{name} is a list: return a NumPy array, np.array({name})")
            return array
        raise Misbehaviour(f"{self.owner} returns {wrong}")

    def compare(self, entries):
        """Compare outputs {name: entry} with the truths, and keep the arrays."""
        arrays = {}
        for name, entry in entries.items():
            try:
                arrays[name] = self.array(name, entry)
            except Misbehaviour as error:
                self.fail(str(error))
                continue
            if name == "loss" and arrays[name].shape == (1,):
                self.warn("loss is an array of one number, not a scalar")
                arrays[name] = arrays[name][0]
            self.compare_array(name, arrays[name], entry["type"])
        self.outcomes.append((self.case, arrays))

    def compare_array(self, name, array, kind):
        """Compare one output, which came as an array, a list or a number."""
        case, truth = self.case, self.case.truth[name]
        if array.shape != truth.shape:
            self.fail(f"{name} has shape {array.shape}, not {truth.shape}", output=name,
                      actual=array)
            return
        found = self.difference(name, truth, array)
        if found and found.advice:
            self.warn(found.advice)
        elif found:
            word = "is wrong" if math.isfinite(found.actual) else \
                "is not a number" if math.isnan(found.actual) else "is infinite"
            self.fail(f"{name} {word}", output=name, difference=found, actual=array)
        elif self.takes_dtype and array.dtype != case.dtype and \
                kind not in ("list", "float", "int") and \
                (name != "loss" or array.dtype.itemsize < case.dtype.itemsize):
            self.warn(f"gives {array.dtype} for {case.dtype} inputs: give np.zeros and np.empty "
                      f"the dtype of the input (here {name})")

    def difference(self, name, truth, array):
        """What is wrong with an array; a lack of digits is only worth a warning."""
        case, floor, truth = self.case, self.case.floor(name), truth.given(self.seen)
        is_rounded = array.dtype.itemsize < case.dtype.itemsize
        tolerance = TOLERANCE[np.dtype(np.float32) if is_rounded else case.dtype]
        values, fine = array.astype(float, copy=False), floor if name == "loss" else 100 * floor
        # In large cases the central differences themselves have fewer digits.
        is_precise = self.takes_dtype and not is_rounded and case.dtype == np.float64 and \
            case.size <= SMALL
        if is_precise and truth.difference(values, DOUBLE_PRECISION, fine) is None:
            return None
        found = truth.difference(values, tolerance, floor)
        if is_precise and not found:
            self.warn(FEW_DIGITS)
        return found


def told(error):
    """What was thrown, from the student's point of view."""
    kind, message = error["type"], error["message"]
    text, line = error.get("text", ""), error.get("line")
    where = f" ({error['file']}, line {line}{': ' + text if text else ''})" if line else ""
    word = re.search(r"\b(breakpoint|set_trace|input|quit|exit|_exit)\(", text)
    removed = re.match(r"module 'numpy' has no attribute '(\w+)'|`np\.(\w+)` was removed", message)
    if kind == "BdbQuit":                   # it is raised a line later
        return "stops in the debugger: breakpoint() or set_trace() is left over from debugging"
    if kind in ("SystemExit", "EOFError") and word:
        return f"stops at {word[1]}(), left over from debugging{where}"
    if kind == "Missing":
        return f"uses what is not there{where}"
    if kind == "NotImplementedError":
        return f"raises NotImplementedError: it is not written yet{where}"
    if removed:
        name = removed[1] or removed[2]
        instead = f": write {REMOVED[name]}" if name in REMOVED else ""
        return f"uses np.{name}, which NumPy {np.__version__} does not have{instead}{where}"
    return f"raises {kind}{': ' + message[:200] if message else ''}{where}"


REMOVED = {**{name: name for name in ("float", "int", "bool", "object", "str", "complex")},
           "float_": "np.float64", "product": "np.prod", "Inf": "np.inf", "NaN": "np.nan",
           "cumproduct": "np.cumprod", "row_stack": "np.vstack", "long": "int"}


# ---------------------------------------------------------------- forward passes and losses

class Forward(Trial):
    """A forward pass, or a loss with its gradient."""

    def scripts(self, case):
        """A call, and in small cases one in between."""
        first = opening(self.function, case, "result")
        if case.size > SMALL:
            return [first]
        between = [["call", self.name, perturbed(case), {}, "other"],
                   get("result", parts_asked(self.function))]
        if case.is_random:
            return [first, between, self.drawn_again(case)]
        is_plain = (case.label, case.dtype, case.layout) == ("", np.float64, "plain")
        return [first, between, *([self.same_arrays(case)] if is_plain else [])]

    def drawn_again(self, case):
        """A script: the same call, with another state of NumPy's generator before it."""
        inputs = [sent(case, value) for value in case.inputs.values()]
        return [["seed", 1], ["call", self.name, inputs, {}, "more"],
                get("more", parts_asked(self.function))]

    def same_arrays(self, case):
        """A script: arrays that hold other numbers than in the call before, and new ones with them.

        Whoever remembers results by the identity of an array, as weights that are updated in place
        keep theirs, gives stale ones.
        """
        others, parts = dict(zip(case.inputs, perturbed(case))), parts_asked(self.function)
        # A dict among the arguments comes afresh: batch normalisation changes it.
        call = ["call", self.name, [At(key) if isinstance(value, Given) else value
                                    for key, value in others.items()], {}, "result"]
        return [*kept(case, case.inputs), call,
                *(["fill", At(key), value] for key, value in others.items()
                  if isinstance(value, Given)),
                call, get("result", parts, "filled"),
                ["call", self.name, list(others.values()), {}, "result"],
                get("result", parts, "new")]

    def judge(self, case, first, between=None, more=None):
        """The outputs, and whether a call touches its arguments or earlier results."""
        function, name = self.function, self.name
        if first.error:
            self.threw(first.error)
            return
        names = (*function.outputs, "cache") if function.kind == "forward" else function.outputs
        result = first.seen["result"]
        entries = self.entries(result, names)
        self.compare({output: entries[output] for output in function.outputs} |
                     self.left(first.seen))
        given = {key: value for key, value in case.inputs.items() if key not in function.state}
        self.must_be_kept(fresh_entries(case, given), first.seen)
        if between and not between.error and not are_same(result, between.seen["result"]):
            self.fail(f"{name} overwrites the result of an earlier call: return a new array each "
                      "time")
        if more and not more.error and "filled" in more.seen and \
                not are_same(more.seen["filled"], more.seen["new"]):
            self.fail(f"{name} remembers results by the identity of an array: when the numbers in "
                      "it are changed, the result must follow")
        if more and not more.error and "more" in more.seen:
            is_same = are_same(result, more.seen["more"])
            if has_seed(case) and not is_same:
                self.fail(f"{name} draws other numbers with the same seed: call "
                          "np.random.seed(seed) before it draws, if there is a seed")
            elif is_same and not has_seed(case) and draws_many(case):
                self.fail(f"{name} draws the same numbers in every call: call np.random.seed only "
                          "if there is a seed, and draw in every call")

    def left(self, seen):
        """{output: entry} of what a call has left in a dict among its arguments."""
        argument, *keys = self.function.state or ("",)
        if argument not in seen:
            return {}
        entries = seen[argument].get("entries", {})
        for key in keys:
            if key not in entries:
                self.fail(f"{key} is not stored: {self.name} puts it into {argument}[{key!r}]")
        return {key: entries[key] for key in keys if key in entries}


def has_seed(case):
    """Whether an argument of a case holds a seed."""
    return any("seed" in value for value in case.inputs.values() if isinstance(value, dict))


def draws_many(case):
    """Whether so much is drawn in a case that two calls are not the same by chance."""
    return any(isinstance(truth, Dropped) and truth.p < 1 and truth.values.size > 40
               for truth in case.truth.values())


def fresh_entries(case, values):
    """{name: entry} of values of a case as they were sent."""
    return {name: described(value) if isinstance(value, dict) else
            {"array": np.asarray(case.cast(value))} for name, value in values.items()}


# ---------------------------------------------------------------- backward passes

class Backward(Trial):
    """A backward pass, with the cache of its own forward pass.

    It is right with that, or with a cache of the published contents where its own forward pass is
    wrong.
    """

    def __init__(self, function, work, functions):
        super().__init__(function, work)
        self.forward = functions[function.forward]
        self.fault = None           # what is wrong with the forward pass
        self.forwards = []          # (case, Reply) with its results
        self.judged = self          # the trial that counts
        self.fits = self.cannot_be_tried = self.needs_published_cache = False

    def examine(self, cases, defined=()):
        """See Trial."""
        if self.forward.name in defined:
            super().examine(cases)
            if not self.failures:
                return
            self.fault = self.fault_of_forward()
        else:
            self.fault = "is missing"
        published = Published(self.function, self.work)
        with_cache = [case for case in cases if case.cache is not None]
        published.examine(with_cache)
        if not self.fault:
            self.needs_published_cache = bool(with_cache) and not published.failures and all(
                found.output or isinstance(found.actual, Raised) for found in self.failures)
        elif with_cache and not published.failures:
            self.judged, self.fault = published, None
        elif self.fits_own_forward():
            self.fits = True
        else:
            self.judged = published
            self.cannot_be_tried = all(
                isinstance(found.actual, Raised) and not raised(found, "NotImplementedError")
                for found in published.failures)

    def scripts(self, case):
        """Forward, other calls of it, backward; then what a second call gives, in small cases."""
        function, forward = self.function, self.forward.name
        douts, inputs = douts_of(function, case), list(case.inputs)
        first = [
            *opening(self.forward, case, "forward"),
            # What backward needs must be in the cache, and not in a global variable.
            ["attempt", forward, perturbed(case), {}, "other"],
            *(["attempt", forward, [sent(case, other_values(v)) for v in case.inputs.values()], {},
               "other"] for value in case.inputs.values() if isinstance(value, dict)),
            # Whoever draws once more on the way back must not draw the same by chance.
            *([["seed", 1]] if case.is_random else []),
            *kept(case, douts), self.call(at_all(douts), "result"),
            get("result", parts_asked(function)), *got(case, [*inputs, *douts], " later"),
            *([get("forward", parts_asked(self.forward), "forward later")]
              if case.size <= RETURNED else [])]
        if case.size > SMALL:
            return [first]
        broken = [sent(case, np.full_like(dout, np.nan), "plain") for dout in douts.values()]
        doubled = [sent(case, 2 * dout) for dout in douts.values()]
        return [first, self.again(case, douts),
                [self.call(broken, "broken"), get("broken", parts_asked(function))],
                [["call", forward, [sent(case, v) for v in case.inputs.values()], {}, "forward"],
                 self.call(doubled, "other"), get("result", parts_asked(function))]]

    def call(self, douts, slot):
        """A step that calls the function with the cache."""
        return ["call", self.name, [*douts, At("forward", len(self.forward.outputs))], {}, slot]

    def again(self, case, douts):
        """The same call again; one with another dout in the same arrays; one with their sum."""
        parts = parts_asked(self.function)
        others = {key: np.random.default_rng(dout.size).standard_normal(dout.shape)
                  * np.abs(dout).max() for key, dout in douts.items()}
        sums = [sent(case, douts[key] + others[key], "plain") for key in douts]
        return [self.call([sent(case, dout) for dout in douts.values()], "again"),
                get("again", parts), *kept(case, douts, "plain"), self.call(at_all(douts), "again"),
                *(["fill", At(key), sent(case, other)] for key, other in others.items()),
                self.call(at_all(douts), "again"), get("again", parts, "others"),
                self.call(sums, "again"), get("again", parts, "sums")]

    def judge(self, case, first, *more):
        """All gradients of a case, and what else can be seen there."""
        seen, before = first.seen, len(self.failures)
        self.forwards.append((case, first))
        if "forward" not in seen and "warn" not in (case.if_refused, case.if_wrong):
            self.fail(f"{self.forward.name} {told(first.error)}")
        if first.error:
            if "forward" in seen:
                self.threw(first.error)
            return
        self.seen = arrays_of(self.forward, seen["forward"])
        self.compare(self.entries(seen["result"], self.function.outputs))
        if case.size <= RETURNED:
            after = {label.removesuffix(" later"): seen[label] for label in seen
                     if label.endswith(" later")}
            old = {name: seen[name] for name in case.inputs}
            self.must_be_kept(old | fresh_entries(case, douts_of(self.function, case)), after)
            if not are_same(seen["forward"], after["forward"]):
                self.fail(f"{self.name} changes the output of {self.forward.name}, which belongs "
                          "to the caller")
        if more and len(self.failures) == before:
            self.judge_more(case, seen["result"], *more)

    def fault_of_forward(self):
        """What is wrong with the forward pass, or None; it is blamed for its results itself."""
        for case, reply in self.forwards:
            if "forward" in reply.seen:
                silent = Forward(self.forward)
                silent.take(case, [Reply({"result": reply.seen["forward"]})])
                if silent.failures:
                    return silent.failures[0].message
            elif "warn" not in (case.if_refused, case.if_wrong):
                return told(reply.error)
        return None

    def judge_more(self, case, result, again, broken, other):
        """A second call with the cache; linearity; NaN; buffers."""
        if again.error:
            self.warn(f"cannot be called twice with the same cache: then it {told(again.error)}")
        elif not are_same(result, again.seen["again"]):
            self.warn("a second call with the same cache gives something else: the function "
                      "changes its cache")
        else:
            others, sums = (parts_of(again.seen[label]) for label in ("others", "sums"))
            self.must_be_linear(case, parts_of(result), others, sums)
            self.must_show_nan(others, broken)
        if not other.error and not are_same(result, other.seen["result"]):
            self.fail(f"{self.name} overwrites the gradients of an earlier call: return new arrays")

    def must_be_linear(self, case, first, second, both):
        """Gradients for the sum of two upstream gradients are the sums."""
        outputs, dout = self.function.outputs, " and ".join(self.function.arguments[:-1])
        if not len(first) == len(second) == len(both) == len(outputs):
            return
        for output, *entries in zip(outputs, first, second, both):
            a, b, c = (entry["array"].astype(float) for entry in entries)
            with np.errstate(all="ignore"):
                most = TOLERANCE[case.dtype] * max(np.abs(a).max(), np.abs(b).max(),
                                                   case.floor(output))
                if a.shape != c.shape or not np.abs(a + b - c).max() <= most:
                    self.fail(f"{output} is not linear in {dout}: for the sum of two upstream "
                              "gradients it must be the sum of their gradients")
                    return

    def must_show_nan(self, whole, broken):
        """Where dout is not a number, no gradient that depends on it may be one."""
        pairs = [] if broken.error else zip(whole, parts_of(broken.seen["broken"]))
        if broken.error or any(a["array"].shape != b["array"].shape or
                               np.isfinite(b["array"][a["array"] != 0]).any() for a, b in pairs):
            dout = " and ".join(self.function.arguments[:-1])
            self.warn(f"does not pass on NaN in {dout}: a broken number should be seen, not turned "
                      "into another")

    def fits_own_forward(self):
        """Whether wrong gradients are the right ones of a forward pass that is wrong itself."""
        wrong = [finding.case for finding in self.failures if finding.difference]
        case = min(wrong, key=lambda case: case.size, default=None)
        if case is None or case.size > 150 or case.dtype != np.float64:
            return False
        gradients = next(arrays for tried, arrays in self.outcomes if tried is case)
        return all(output in gradients and self.is_slope(case, output[1:], gradients[output])
                   for output in self.function.outputs)

    def is_slope(self, case, name, gradient):
        """Whether a gradient is that of the own forward pass, by central differences."""
        value, douts = case.inputs[name], list(douts_of(self.function, case).values())
        step, losses = 1e-4, []
        for place, sign in itertools.product(np.ndindex(value.shape), (1, -1)):
            moved = value.copy()
            moved[place] += sign * step
            inputs = [sent(case, part, "plain") for part in {**case.inputs, name: moved}.values()]
            reply = self.ask([["call", self.forward.name, inputs, {}, "moved"],
                              get("moved", parts_asked(self.forward))])
            outs = [] if reply.error else [p["array"] for p in parts_of(reply.seen["moved"])]
            if [out.shape for out in outs] != [dout.shape for dout in douts]:
                return False
            losses.append(sum(np.sum(out * dout) for out, dout in zip(outs, douts)))
        slopes = (np.array(losses[::2]) - losses[1::2]) / (2 * step)
        return gradient.size == slopes.size and np.isfinite(slopes).all() and np.allclose(
            gradient.ravel(), slopes, rtol=1e-4, atol=1e-4 * np.abs(slopes).max())


class Published(Trial):
    """A backward pass alone, with a cache of the published contents."""

    def scripts(self, case):
        """One call."""
        cache, douts = cache_of(case), douts_of(self.function, case)
        is_tuple = isinstance(case.cache, tuple)
        pack = [["pack", at_all(cache), "cache"]] if is_tuple else []
        arguments = [*at_all(douts), At("cache") if is_tuple else At(*cache)]
        return [[*kept(case, cache), *pack, *kept(case, douts),
                 ["call", self.name, arguments, {}, "result"],
                 get("result", parts_asked(self.function)), *got(case, [*douts, *cache])]]

    def judge(self, case, reply):
        """The gradients, and what the call has changed."""
        if reply.error:
            self.threw(reply.error)
            return
        self.seen = {truth.leader: truth.kept for truth in case.truth.values()
                     if isinstance(truth, Following)}
        self.compare(self.entries(reply.seen["result"], self.function.outputs))
        given = {**douts_of(self.function, case), **cache_of(case)}
        self.must_be_kept(fresh_entries(case, given), reply.seen)


def arrays_of(function, result):
    """{output: array} of the result of a forward pass, as far as it holds some."""
    return {name: part["array"] for name, part in zip(function.outputs, result.get("parts", ()))
            if "array" in part}


def cache_of(case):
    """{name: value} of a published cache; what is no argument of the forward pass has a number."""
    parts = case.cache if isinstance(case.cache, tuple) else (case.cache,)
    names = {id(value): name for name, value in case.inputs.items()}
    return {names.get(id(part), f"cache[{k}]"): part for k, part in enumerate(parts)}


# ---------------------------------------------------------------- update rules

class Rule(Trial):
    """An update rule."""

    def scripts(self, case):
        """All steps from the first weights; between them, steps of another parameter of this shape:
        the state must be in config, and not global. Then the first step once more."""
        config = dict(case.inputs["config"])
        decay, rate = config.pop("lr_decay", 1), config["learning_rate"]
        script = [["keep", "w", sent(case, case.inputs["w"])], ["keep", "config", config],
                  ["keep", "other w", sent(case, case.inputs["w"] + 1, "plain")],
                  ["keep", "other config", dict(config)]]
        w, state, other = At("w"), At("config"), [At("other w"), At("other config")]
        for t, dw in enumerate(case.inputs["dws"]):
            if t == 2:                  # a run that is resumed: everything must be in config
                script.append(["copy", state, "copied"])
                state = At("copied")
            result, others = f"result {t % 2}", f"other {t % 2}"
            script += [["keep", "dw", sent(case, dw)],
                       ["call", self.name, [w, At("dw"), state], {}, result],
                       get(result, [True, False], f"result of {t}"), get("dw", label=f"dw of {t}")]
            w, state = At(result, 0), At(result, 1)
            if decay != 1:
                script.append(["put", state, "learning_rate", rate * decay ** (t + 1)])
            script += [["attempt", self.name, [other[0], sent(case, -dw), other[1]], {}, others],
                       get(result, [True, False], f"later {t}")]
            other = [At(others, 0), At(others, 1)]
        first = [sent(case, case.inputs["w"]), sent(case, case.inputs["dws"][0]), dict(config)]
        return [script, [["call", self.name, first, {}, "again"], get("again", [True, False])]]

    def judge(self, case, reply, again):
        """The weights after every step."""
        name, path, seen = self.name, [], reply.seen
        if "result of 0" in seen and not again.error and \
                not are_same(seen["result of 0"], again.seen["again"]):
            raise Misbehaviour(f"{name} keeps its state outside of config, where all parameters "
                               "share it: the same call gives something else later")
        for t, dw in enumerate(case.inputs["dws"]):
            if f"result of {t}" not in seen:
                break
            result = seen[f"result of {t}"]
            entries = self.entries(result, ("next_w", "config"))
            w, kind = self.array("next_w", entries["next_w"]), entries["config"]["type"]
            if w.shape != dw.shape:
                raise Misbehaviour(f"{name} returns next_w of shape {w.shape} for w of shape "
                                   f"{dw.shape}")
            if kind not in ("dict", "OrderedDict", "defaultdict"):
                raise Misbehaviour(f"{name} returns a {kind} for config, not the dict that the "
                                   "next call needs")
            if f"dw of {t}" in seen:
                self.must_be_kept(fresh_entries(case, {"dw": dw}), {"dw": seen[f"dw of {t}"]})
            if not are_same(result, seen.get(f"later {t}", result)):
                raise Misbehaviour(f"{name} overwrites the weights of an earlier call")
            path.append(w)
        if reply.error:
            self.threw(reply.error)
        else:
            self.compare({"w": {"type": "ndarray", "array": np.array(path)}})


# ---------------------------------------------------------------- models

class Model(Trial):
    """A model. What its constructor does not take is not asked of it."""

    def examine(self, cases, defined=()):
        """See Trial."""
        self.case, self.data = cases[0], self.function.arguments
        accepted = self.ask([["signature", self.name]]).seen[self.name]
        self.takes = [name for name in ("reg", "dtype")
                      if accepted["free"] or name in accepted["names"]]
        self.takes_dtype = "dtype" in self.takes
        super().examine([case for case in cases if
                         ("reg" in self.takes or not case.inputs.get("reg")) and
                         ("dtype" in self.takes or case.dtype == np.float64)])

    def scripts(self, case):
        """Loss and scores of a model with given parameters; then with others, in place and anew."""
        loss, params = At("model", ".loss"), At("model", ".params")
        batch, both = at_all(self.data), [True, True]
        # Another batch before this one: nothing may be kept from it.
        other = ["call", loss, [sent(case, 1.5 * case.inputs[self.data[0]]), batch[1]], {}, "other"]
        scores = [["call", loss, batch[:1], {}, "scores"], get("scores")] \
            if "scores" in case.truth else []
        first = [self.new_model(case, "model"), get(params, label="start"),
                 *filled(case, "model", 1.0),
                 *kept(case, {name: case.inputs[name] for name in self.data}), other, *scores,
                 ["call", loss, batch, {}, "result"], get("result", both),
                 *(get(name) for name in self.data), get(params, label="params"),
                 other, get("result", both, "later")]
        return [first, self.changed(case, 1.25, in_place=True), self.changed(case, 0.75)]

    def new_model(self, case, slot):
        """A step that makes a model."""
        options = dict(case.constructor)
        if "reg" in self.takes:
            options["reg"] = case.inputs.get("reg", 0.0)
        if "dtype" in self.takes:
            options["dtype"] = At("numpy", f".{case.dtype.name}")
        options = {name: Given(value) if isinstance(value, tuple) else value
                   for name, value in options.items()}
        return ["call", self.name, [], options, slot]

    def changed(self, case, factor, in_place=False):
        """A script: the loss with other parameters, and that of a new model that has them."""
        batch = at_all(self.data)
        return [*filled(case, "model", factor, in_place),
                ["call", At("model", ".loss"), batch, {}, "seen"], get("seen", [True, False]),
                self.new_model(case, "new"), *filled(case, "new", factor),
                ["call", At("new", ".loss"), batch, {}, "fresh"], get("fresh", [True, False])]

    def judge(self, case, first, *changes):
        """What a case has given."""
        failures = len(self.failures)
        self.owner = f"{self.name}.loss" if first.seen else self.name
        if "start" in first.seen:
            self.judge_start(case, first.seen["start"])
        if first.error:
            self.threw(first.error)
            return
        self.judge_loss(case, first.seen)
        if len(self.failures) > failures:
            return                  # a loss that is wrong anyway tells nothing of what it has seen
        ways = "the arrays got other numbers", "there are other arrays in it"
        for reply, how in zip(changes, ways):
            if not reply.error and not are_near(*reply.seen.values(), TOLERANCE[case.dtype]):
                self.fail(f"{self.owner} does not see that params has changed ({how})")
                return

    def judge_start(self, case, entry):
        """The parameters that a new model has."""
        wanted, params = wanted_of(case), entry.get("entries")
        if params is None or set(params) != set(wanted):
            has = sorted(params) if params is not None else f"of type {entry['type']}"
            raise Misbehaviour(f"{self.name}.params has the keys {has}, not {sorted(wanted)}")
        *weights, _ = (key for key in wanted if key.startswith("W"))
        for key in wanted:
            array, shape = params[key].get("array"), case.inputs[key].shape
            name = f"{self.name}.params[{key!r}]"
            if array is None or array.shape != shape:
                got = array.shape if array is not None else f"none: it is a {params[key]['type']}"
                raise Misbehaviour(f"{name} has shape {got}, not {shape}")
            if self.takes_dtype and array.dtype != case.dtype:
                self.warn(f"{name} is {array.dtype} though dtype={case.dtype} was asked for")
            if not np.isfinite(array).all():
                raise Misbehaviour(f"{name} starts with numbers that are not finite")
            units = array.reshape(len(array), -1) if array.ndim == 4 else array.T
            if key in weights and key != "Wh" and len(units) > 1 and (units == units[0]).all():
                raise Misbehaviour(f"{name} starts with the same numbers for each unit, and units "
                                   "that are equal learn the same: random ones are needed")

    def judge_loss(self, case, seen):
        """Scores, loss, gradients, and what the call has left alone."""
        wanted = wanted_of(case)
        if "scores" in case.truth:
            self.compare({"scores": seen["scores"]})
        entries = self.entries(seen["result"], ("loss", "grads"))
        self.compare({"loss": entries["loss"]})
        grads = entries["grads"].get("entries")
        if grads is None or set(grads) != set(wanted):
            has = sorted(grads) if grads is not None else f"a {entries['grads']['type']}"
            raise Misbehaviour(f"{self.owner} returns gradients for {has}, not {sorted(wanted)}")
        self.compare({f"d{key}": grads[key] for key in wanted})
        data = {name: case.inputs[name] for name in self.data}
        self.must_be_kept(fresh_entries(case, data), seen)
        params = {name: described(case.inputs[name].astype(case.dtype)) for name in wanted}
        self.must_be_kept({"params": {"entries": params}}, seen)
        if not hold_same(entries["grads"], seen["later"].get("parts", [{}, {}])[1]):
            self.fail(f"{self.owner} overwrites the gradients of an earlier call")


def wanted_of(case):
    """The names of the parameters of a model."""
    return [name for name in case.inputs if f"d{name}" in case.truth]


def filled(case, slot, factor, in_place=False):
    """Steps that give a model the parameters of a case, times a factor."""
    for name in wanted_of(case):
        value = sent(case, factor * case.inputs[name], "plain")
        yield ["fill", At(slot, ".params", name), value] if in_place else \
            ["put", At(slot, ".params"), name, value]


def are_near(result, other, tolerance):
    """Whether two losses are the same but for rounding."""
    losses = [float(part["parts"][0].get("array", np.array(np.nan)).ravel()[:1].sum())
              for part in (result, other) if part.get("parts")]
    return len(losses) == 2 and abs(losses[0] - losses[1]) <= tolerance * max(1, abs(losses[1]))


TRIALS = {"forward": Forward, "loss": Forward, "backward": Backward, "rule": Rule, "model": Model}


# ---------------------------------------------------------------- diagnosis

def equals(failure, predicted, output):
    """Whether what came in a Finding is what a mistake gives."""
    case, actual = failure.case, failure.actual
    if isinstance(predicted, Truth):
        return not isinstance(actual, Raised) and actual.shape == predicted.shape and \
            predicted.given(failure.seen).difference(
                actual.astype(float), TOLERANCE[case.dtype], case.floor(output)) is None
    if isinstance(predicted, Raised) or isinstance(actual, Raised):
        if type(actual) is not type(predicted) or actual.exception != predicted.exception:
            return False
        # The same message, but for sizes and names.
        words, wanted = (set(re.findall(r"[a-z]{3,}", raised.message))
                         for raised in (actual, predicted))
        return len(words & wanted) >= 0.6 * len(wanted)
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


class Explanation:
    """Looks for known mistakes that give just what a function gave, where it is wrong."""

    def __init__(self, trial, key):
        self.trial, self.key = trial, key
        self.known = {}             # id of a case -> {mistake: {output: array, Truth or Raised}}
        self.sentences = {}         # mistake -> sentence

    def predictions(self, case):
        """{mistake: {output: array, Truth or Raised}} in a case; computed once."""
        if id(case) not in self.known:
            found = list(self.key.predictions(self.trial.name, case))
            self.known[id(case)] = {p.mistake: p.outputs for p in found}
            self.sentences |= {p.mistake: p.sentence for p in found}
        return self.known[id(case)]

    def of(self, output):
        """Names of the mistakes that explain an output, the best first."""
        name = self.trial.name
        failures = [f for f in self.trial.failures if f.actual is not None
                    and (f.output == output or isinstance(f.actual, Raised))
                    and self.key.explains(name, f.case)]
        # Mistakes are computed in float64; the same mistake made in float32 overflows earlier.
        failures = [f for f in failures if f.case.dtype == np.float64] or failures
        # Where the learning rate falls, several slips come together.
        failures = [f for f in failures
                    if "lr_decay" not in f.case.inputs.get("config", ())] or failures
        wrong = {id(f.case) for f in failures}
        if len(failures) > 16:          # the smallest, and some of the others
            failures = [*failures[:10], *failures[10::max(1, (len(failures) - 10) // 6)]]
        fitting = None
        for failure in failures:
            here = {name for name, outputs in self.predictions(failure.case).items()
                    if output in outputs and equals(failure, outputs[output], output)}
            fitting = here if fitting is None else fitting & here
            if not fitting:
                return []
        # Of two mistakes that fit, the better one predicts no failure that did not occur.
        right = [case for case, arrays in self.trial.outcomes if output in arrays
                 and id(case) not in wrong and case.if_wrong == "fail"
                 and self.key.explains(name, case)]
        surplus = {name: sum(output in self.predictions(case).get(name, ()) for case in right[:12])
                   for name in fitting or ()}
        least = min(surplus.values(), default=0)
        return [name for name in self.sentences if surplus.get(name) == least]


def explained(trial, key):
    """(sentences, names of the mistakes, outputs without an explanation) of what went wrong."""
    explanation = Explanation(trial, key)
    wrong = [f for f in trial.failures if f.actual is not None]
    # An exception leaves no output; a mistake that raises is known for each output it reaches.
    outputs = list(dict.fromkeys(f.output for f in wrong if f.output)) or \
        list(wrong[0].case.truth if wrong else ())
    found = {output: explanation.of(output) for output in outputs}
    # One mistake that explains several outputs is one diagnosis.
    reach = collections.Counter(itertools.chain(*found.values()))
    best = {}                       # mistake -> the outputs that it explains
    for output, names in found.items():
        found[output] = [name for name in names if reach[name] == max(map(reach.get, names))]
        for name in found[output][:1]:
            best.setdefault(name, []).append(output)
    sentences = [f"{', '.join(best[name])}: {explanation.sentences[name]}" for name in best]
    return (sentences, tuple(dict.fromkeys(itertools.chain(*found.values()))),
            [output for output in outputs if not found[output]])


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
        for axes, words in some_axes(actual.ndim):
            if any(same(actual.sum(axis=axes, keepdims=keep), truth) for keep in (True, False)):
                found.append(f"summed over {words} it would be right")
        for axes, words in some_axes(truth.ndim):
            kept = truth.sum(axis=axes, keepdims=True)
            if kept.size < truth.size and any(same(actual, other) for other in (
                    kept, truth.sum(axis=axes), np.broadcast_to(kept, truth.shape))):
                found.append(f"it is summed over {words}, which is to stay")
        if actual.shape == truth.shape:
            return found + factors(actual, truth, finding.case)
        if actual.size == truth.size and same(actual.reshape(truth.shape), truth):
            found.append("the numbers are right, and their shape is not")
    return found


def some_axes(count):
    """All single axes and pairs of axes of so many, and words for them."""
    return [*(((axis,), f"axis {axis}") for axis in range(count)),
            *((axes, "axes {} and {}".format(*axes))
              for axes in itertools.combinations(range(count), 2))]


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
            any(isinstance(finding.actual, Raised) for finding in trial.failures) or \
            any(set(arrays) != set(names) for _, arrays in outcomes):
        return None

    def is_right(case, name, array):
        truth = case.truth[name]
        return array.shape == truth.shape and truth.difference(
            array.astype(float), TOLERANCE[case.dtype], case.floor(name)) is None

    for order in itertools.permutations(names):
        if order != names and all(is_right(case, name, arrays[other]) for case, arrays in outcomes
                                  for name, other in zip(order, names)):
            return f"the results come in the wrong order: ({', '.join(order)}) is returned where " \
                   f"({', '.join(names)}) is asked for"
    return None


def how_often(failures):
    """In which cases it happens, where these are few and special."""
    labels = {id(f.case): f.case.label for f in failures if f.case}.values()
    if not 0 < len(labels) <= 6 or "" in labels:
        return ""
    return f" (only here: {', '.join(dict.fromkeys(labels))})"


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
    first, *others = [relations_of(finding) for finding in telling] or [[]]
    return next((words for words in first if all(words in other for other in others)),
                "an unknown mistake")


def sentences_of(trial, key):
    """(sentences, names of mistakes), the most useful first."""
    order = order_of_results(trial)
    if order:
        return [order], ()
    named, mistakes, unknown = explained(trial, key)
    causes = {}                     # the same exception with other sizes is one cause
    for finding in trial.failures:
        is_explained = named and isinstance(finding.actual, Raised)
        if not finding.output and not is_explained:
            causes.setdefault(re.sub(r"\d+", "#", finding.message), []).append(finding)
    beside = [group[0].message + how_often(group) for group in causes.values()]
    return [*named, *beside[:2], *unknown_sentences(trial, unknown)], mistakes


# ---------------------------------------------------------------- verdicts

def verdict_of(trial, key):
    """The Verdict that follows from a Trial."""
    if not trial.failures:
        return Verdict(trial.name, "warn" if trial.warnings else "pass",
                       "\n".join(without_consequences(trial)))
    if not trial.outcomes and all(raised(finding, "NotImplementedError")
                                  for finding in trial.failures):
        verdict = Verdict(trial.name, "fail", NOT_YET)
        verdict.is_stub = True
        return verdict
    sentences, mistakes = sentences_of(trial, key)
    # The smallest case in which one number can be pointed at says more than a sum.
    wrong = [f for f in trial.failures if f.output]
    pointed = [f for f in wrong if f.difference and isinstance(f.difference.place, tuple)]
    first = (pointed or wrong or trial.failures)[0]
    verdict = Verdict(trial.name, "fail", "\n".join(sentences),
                      first.case and first.case.describe(), mistakes=mistakes,
                      derivation=trial.function.section)
    verdict.is_stub = not any(arrays for _, arrays in trial.outcomes) and \
        all(finding.message.endswith(NOT_WRITTEN) for finding in trial.failures)
    verdict.wrong = worth_drawing(trial.failures)
    if first.difference:
        place = first.difference.place
        verdict.place = f"{first.output}{list(place) if place else ''}" \
            if isinstance(place, tuple) else f"{first.output}, {place}"
        verdict.expected, verdict.actual = first.difference.expected, first.difference.actual
    return verdict


def worth_drawing(failures):
    """For each output with at least two axes, the case that shows most and can yet be read."""
    def shown(finding):
        rows, columns = finding.actual.shape[-2:]
        return rows * columns if max(rows, columns) <= 8 else 0

    best = {}
    for finding in failures:
        if finding.output and finding.actual.ndim >= 2 and finding.case.size <= SMALL and (
                isinstance(finding.case.truth[finding.output], Exact) or
                finding.difference and isinstance(finding.difference.place, tuple)):
            other = best.setdefault(finding.output, finding)
            if shown(finding) > shown(other):
                best[finding.output] = finding
    return tuple(best.values())


def raised(finding, exception):
    """Whether an exception of this name is what went wrong."""
    return isinstance(finding.actual, Raised) and finding.actual.exception == exception


def without_consequences(trial):
    """The warnings of a trial, without those that follow from another one."""
    follows = set()
    if any(" changes " in words for words in trial.warnings):
        follows.add(NEEDS_TO_WRITE)
    if trial.function.kind == "loss" and len(trial.warnings) > 1:
        follows.add(FEW_DIGITS)         # a small number in the log costs digits
    return [words for words in trial.warnings if words not in follows]


def verdict_on_backward(trial, key):
    """The Verdict on a backward pass, whose own forward pass may be at fault."""
    forward, verdict = trial.forward.name, verdict_of(trial.judged, key)
    if trial.needs_published_cache:
        verdict.diagnosis = ("right with the cache that the assignment describes, but not with "
                             f"that of the {forward} of this file\n{verdict.diagnosis}")
    if not trial.fault or verdict.diagnosis == NOT_YET:
        return verdict
    fault = trial.fault if re.match("is missing|raises|stops|uses|cannot", trial.fault) else \
        f"gives a wrong result ({trial.fault})"
    if trial.cannot_be_tried:
        return Verdict(trial.name, "not judged", f"{forward} comes first: it {fault}",
                       derivation=trial.function.section)
    if trial.fits:
        verdict.diagnosis = (f"these are the right gradients of the {forward} of this file, which "
                             "is wrong itself: mend that first")
        verdict.mistakes = verdict.wrong = ()
    elif verdict.status == "fail":
        verdict.diagnosis = f"{forward} {fault}: mend that first\n{verdict.diagnosis}"
    return verdict


def verdict_when_ended(trial, ended, key):
    """The Verdict where the function hangs, dies or garbles; what was found before is kept."""
    verdict, case, text = verdict_of(trial, key), trial.case, str(ended)
    sentence = f"{trial.name} cannot be judged: {text}"
    if ended.timed_out and text.startswith("too slow"):
        sentence = f"{trial.name} is {text}: an endless loop, or does it wait for something?"
    # Whoever is right in all small cases is slow, and not in an endless loop.
    is_harmless = ended.timed_out and case is not None and case.size > SMALL
    if ended.timed_out and case is not None and case.if_refused == "warn":
        sentence, is_harmless = case.advice, True
    failed = verdict.status == "fail"
    lines = [verdict.diagnosis, sentence] if failed else [sentence, verdict.diagnosis]
    return dataclasses.replace(
        verdict, status="warn" if is_harmless and not failed else "fail",
        diagnosis="\n".join(filter(None, lines)), timed_out=ended.timed_out,
        case=verdict.case or case and case.describe(), derivation=trial.function.section)


# ---------------------------------------------------------------- grading

def grade_one(work, name, key, seconds, cases, notes=()):
    """The Verdict on one function of a worker; cases() gives its cases. notes is the set of what
    has been told of imports in the run."""
    function = key.functions[name]
    trial = TRIALS[function.kind](function, work, key.functions)
    try:
        try:
            about = work.begin(seconds)
        except Ended as ended:
            about = {"ended": ended}
        early = verdict_on_file(about, name, work)
        if early:
            return early
        trial.examine(cases(), about["callable"])
        verdict = (verdict_on_backward if trial.function.forward else verdict_of)(trial, key)
        for missing in about["missing"].values():
            note = f"{missing}: {IN_VAIN}"
            if note not in notes and note not in verdict.diagnosis:
                verdict.diagnosis += "\n" * bool(verdict.diagnosis) + note
            notes.add(note)
        return verdict
    except Ended as ended:
        return verdict_when_ended(trial, ended, key)
    finally:
        work.end()


def verdict_on_file(about, name, work):
    """The Verdict if the file cannot be imported, or does not hold the function; else None."""
    file = pathlib.Path(work.settings["path"]).name if isinstance(work, Process) else "this process"
    if "ended" in about:
        ended, text = about["ended"], str(about["ended"])
        if ended.timed_out:
            text = f"it is {text}: is there an endless loop, a training or an input() outside of " \
                   "all functions?"
        return Verdict(name, "fail", f"{file} cannot be imported: {text}",
                       timed_out=ended.timed_out)
    if "error" in about:
        error = about["error"]
        if error["type"] == "SyntaxError" and not error.get("line"):
            return Verdict(name, "fail", f"{file} cannot be read: {error['message']}")
        return Verdict(name, "fail", f"{file} cannot be imported: it {told(error)}")
    if name not in about["defined"]:
        return Verdict(name, "missing", f"not in {file}")
    if name not in about["callable"]:
        return Verdict(name, "fail", f"{name} is no function but of type {about['defined'][name]}")
    return None


def grade(files, names, key, *, seconds=30, budget=None, strict=False, allow=(), on_verdict=None):
    """{name: Verdict} of the functions in files, which run in a worker.

    files is {function: path}, or {role: path} for all functions of a role, as "layers". seconds
    limits the computing for each function, budget the time for all of them. strict makes each
    warning a failure. allow names libraries that differentiate by themselves.
    """
    ends, verdicts, notes = time.monotonic() + (budget or math.inf), {}, set()

    def settle(verdict):
        if strict and verdict.status == "warn":
            verdict.status = "fail"
        verdicts[verdict.name] = verdict
        if on_verdict:
            on_verdict(verdict)

    by_path = {}
    for name in names:
        path = files.get(name, files.get(key.functions[name].file))
        if path and pathlib.Path(path).is_file():
            by_path.setdefault(path, []).append(name)
        else:
            settle(Verdict(name, "missing", f"there is no file {path}" if path else
                           "not in the files given"))
    with concurrent.futures.ThreadPoolExecutor(1) as ahead:
        # While a worker is at one function, the cases of the next ones are computed.
        cases = {name: ahead.submit(key.cases, name) for some in by_path.values() for name in some}
        try:
            for path, some in by_path.items():
                for verdict in verdicts_on_file(
                        path, some, key, cases, allow,
                        lambda: min(seconds, ends - time.monotonic()), notes):
                    settle(verdict)
        finally:                    # Ctrl-C waits for no cases of functions to come
            for future in cases.values():
                future.cancel()
    return {name: verdicts[name] for name in names}


def verdicts_on_file(path, names, key, cases, allow, time_left, notes):
    """Yields the verdicts on the functions of one file."""
    # A forward pass that is needed for its backward pass has to be asked for too.
    asked = dict.fromkeys(n for name in names for n in (key.functions[name].forward, name) if n)
    work, stuck = Process(path, asked, allow), set()
    try:
        for name in names:
            forward = key.functions[name].forward
            if time_left() <= 0:
                yield Verdict(name, "not judged", "the time for the whole run was over before "
                              "this function", timed_out=True)
            elif forward in stuck and not work.unfit:   # it would hang there once more
                yield Verdict(name, "not judged", f"{forward} comes first: it does not end",
                              derivation=key.functions[name].section)
            else:
                verdict = grade_one(work, name, key, time_left(), cases[name].result, notes)
                if verdict.status == "fail" and verdict.timed_out:
                    stuck.add(name)
                yield verdict
    finally:
        work.stop()


def grade_here(functions, key):
    """{name: Verdict} of functions of this process ({name: function})."""
    work = Direct(functions)
    with np.errstate(all="ignore"):         # wrong functions may well return infinities
        return {name: grade_one(work, name, key, math.inf, lambda name=name: key.cases(name))
                for name in functions}
