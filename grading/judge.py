"""Decides: compares what a worker sends with the answer key, and says what is wrong.

The file of a student never runs here. The judge knows no formula either: truths, cases
and the predictions of known mistakes come from the key (contract.Key).
"""
import dataclasses


@dataclasses.dataclass
class Verdict:
    """What is said about one function."""
    name: str
    status: str                     # "pass", "warn", "fail", "missing" or "not judged"
    diagnosis: str = ""             # sentences, the most useful first
    case: str = None                # the smallest failing case
    place: str = None               # an index of an output, as dw[0, 0]
    expected: float = None
    actual: float = None
    mistakes: tuple = ()            # names of the known mistakes that explain it
    derivation: str = None          # a section of docs/derivations.md
    timed_out: bool = False


def grade(files, names, key, *, seconds=30, budget=None, strict=False, allow=(),
          on_verdict=None):
    """{name: Verdict} of the functions in files ({role: path}), which run in a worker."""
    raise NotImplementedError


def grade_here(functions, key):
    """{name: Verdict} of functions of this process ({name: function})."""
    raise NotImplementedError
