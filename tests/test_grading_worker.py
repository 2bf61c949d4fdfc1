"""The process of a submission: what it may not do, and what that costs whom."""
import pathlib
import time

import numpy as np
import pytest

from grading import contract, judge, worker

ROOT = pathlib.Path(__file__).resolve().parent.parent
ATTACKS = sorted(path.stem for path in (ROOT / "tests" / "attacks").glob("*.py"))
KEY = contract.Key(0)

RELU = """

import numpy as np


def relu_forward(x):
    return np.maximum(x, 0), x


def relu_backward(dout, cache):
    return dout * (cache > 0)
"""
FC = RELU + """

def fc_forward(x, w, b):
    return x.reshape(len(x), -1) @ w + b, (x, w, b)
"""
OTHERS = ["relu_forward", "relu_backward"]


def graded(folder, source, names=("fc_forward", *OTHERS), **options):
    """The verdicts on a file with this source."""
    path = folder / "layers.py"
    if isinstance(source, bytes):
        path.write_bytes(source)
    else:
        path.write_text(source)
    return judge.grade({"layers": path}, list(names), KEY, **{"seconds": 2, **options})


# ---------------------------------------------------------------- attacks

SAID = {
    "reads_the_grader": "shape", "imports_the_references": "the grader cannot be imported",
    "writes_to_the_pipe": "channel", "forges_replies": "", "forks": "may not start",
    "starts_a_process": "may not start", "exits": "exit code 0", "sleeps": "too slow for 2 seconds",
    "loops": "too slow for 2 seconds", "computes_later": "returns a Later",
    "returns_too_much": "shape (1048576, 1048576)", "reaches_for_c": "may not start",
    "raises_without_end": "raises Endless", "opens_a_socket": "may not start",
}


@pytest.mark.long
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_loses_its_own_points_alone(tmp_path, monkeypatch, name):
    monkeypatch.setenv("GRADER", f"{ROOT}/grading:{ROOT}")
    source = (ROOT / "tests" / "attacks" / f"{name}.py").read_text() + RELU
    start = time.monotonic()
    verdicts = graded(tmp_path, source)
    assert verdicts["fc_forward"].status == "fail", verdicts["fc_forward"]
    assert SAID.get(name, "") in verdicts["fc_forward"].diagnosis, verdicts["fc_forward"]
    assert {verdicts[other].status for other in OTHERS} == {"pass"}, verdicts
    assert time.monotonic() - start < 60
    assert (tmp_path / "layers.py").read_text() == source
    assert [path.name for path in tmp_path.iterdir()] == ["layers.py"]


def test_the_attacks_are_many():
    assert len(ATTACKS) >= 25 and set(SAID) <= set(ATTACKS)


@pytest.mark.parametrize("said", [
    {}, {"defined": 3}, {"error": {"type": [], "message": "", "file": "", "text": "", "line": 1}},
    {"defined": {"fc_forward": 1}, "callable": [], "missing": {}}, {"results": []}])
def test_a_file_that_forges_its_introduction_fails_with_a_sentence(tmp_path, said):
    source = f"""import json, os
text = json.dumps({said}).encode()
for descriptor in range(3, 30):
    try:
        os.write(descriptor, (8 + len(text)).to_bytes(8, "big") + len(text).to_bytes(8, "big") + text)
    except OSError:
        pass
"""
    for verdict in graded(tmp_path, source + FC).values():
        assert verdict.status == "fail" and "channel" in verdict.diagnosis, verdict


@pytest.mark.parametrize("reply", [
    None, [], "bye", {}, {"results": None}, {"results": [None]}, {"results": [{}]},
    {"results": [{"type": 3}]}, {"results": [{"type": "a", "array": "b"}]},
    {"results": [{"type": "tuple", "parts": [None], "length": 1}]},
    {"results": [{"type": "tuple", "parts": 5}]}, {"results": [], "error": "e"},
    {"results": [], "error": {"type": "E", "message": 3}}, {"results": [], "step": "x"}])
def test_what_is_no_reply_is_refused(reply):
    assert not judge.is_well_formed(reply)


@pytest.mark.parametrize("data", [
    b"", b"\0" * 8, b"\0" * 7 + b"\x02{}{}", b"\0" * 7 + b"\x30" + b'{"#": ["|O", [3], "plain"]}'.ljust(48),
    b"\0" * 7 + b"\x20" + b'{"#": ["<f8", [-3], "plain"]}'.ljust(32), b"\0" * 7 + b"\x08" + b"[" * 8,
    b"\0" * 6 + b"\xff\xff" + b"[" * 0xffff])
def test_what_is_no_frame_is_refused(data):
    with pytest.raises(ValueError):
        worker.decode(data)


@pytest.mark.parametrize("layout, flag", [
    ("plain", lambda a: a.flags.c_contiguous), ("fortran", lambda a: a.flags.f_contiguous),
    ("strided", lambda a: a.strides[0] < 0), ("readonly", lambda a: not a.flags.writeable)])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int8", "uint32", "bool"])
def test_arrays_come_as_they_were_sent(layout, flag, dtype):
    array = np.arange(12).reshape(3, 4).astype(dtype)
    there = worker.decode(worker.encode([worker.Given(array, layout)])[8:])[0]
    assert there.dtype == array.dtype and np.array_equal(there, array) and flag(there)


# ---------------------------------------------------------------- accidents

FILES = {       # a file -> part of what is said about each function in it
    "def f(:": "line 1: def f(:",
    "x = 1\n1 / 0": "raises ZeroDivisionError: division by zero (layers.py, line 2: 1 / 0)",
    "import numpy as np\nKIND = np.float": "uses np.float, which NumPy",
    "quit()": "stops at quit(), left over from debugging (layers.py, line 1",
    "import sys\nsys.exit()": "stops at exit(), left over",
    "input('how many?')": "stops at input(), left over",
    "breakpoint()": "breakpoint() or set_trace() is left over",
    "import pdb; pdb.set_trace()": "breakpoint() or set_trace() is left over",
    "import os; os._exit(1)": "exit code 1",
    "while True: pass": "too slow",
    "import argparse\np = argparse.ArgumentParser()\np.add_argument('file')\np.parse_args()": "SystemExit",
    "from numpy import float_": "cannot import name 'float_'",
}


@pytest.mark.parametrize("source", FILES)
def test_a_file_that_cannot_be_imported_says_why(tmp_path, source):
    for verdict in graded(tmp_path, f"{source}\n{FC}", seconds=1).values():
        assert verdict.status == "fail" and FILES[source] in verdict.diagnosis, verdict
        assert "<string>" not in verdict.diagnosis


@pytest.mark.parametrize("content, said", [
    (FC.encode("utf-16"), "UTF-16"), (FC.encode().replace(b"len", b"\0len"), "NUL"),
    (b"# \xff\n" + FC.encode(), "not saved as UTF-8")])
def test_a_file_that_is_no_text_says_so(tmp_path, content, said):
    verdict = graded(tmp_path, content)["fc_forward"]
    assert verdict.status == "fail" and said in verdict.diagnosis and "line None" not in verdict.diagnosis


def test_a_notebook_says_how_to_export_it(tmp_path):
    (tmp_path / "layers.ipynb").write_text("{}")
    verdict, = judge.grade({"layers": tmp_path / "layers.ipynb"}, ["fc_forward"], KEY).values()
    assert verdict.status == "fail" and "nbconvert --to script" in verdict.diagnosis


@pytest.mark.parametrize("top", [
    "import argparse\np = argparse.ArgumentParser()\np.add_argument('--lr')\nprint(p.parse_args())",
    "import missing_plots.pyplot as plt\nplt.rcParams['size'] = 3\nplt.style.use('x')",
    "from missing_ide import *\nfrom missing.a.b import c",
    "try:\n    import missing\nexcept ImportError:\n    missing = None\nassert missing is None",
    "import torch\nimport torch.nn as nn\nclass Net(nn.Module):\n    pass",
    "print('x' * 10**6)", "import warnings\nwarnings.warn('x')", "import matplotlib.pyplot as plt",
    "import numpy as np\nnp.seterr(all='raise')\nwarnings = np.random.seed(3)"])
def test_what_does_no_harm_at_the_top_of_a_file(tmp_path, top):
    assert {v.status for v in graded(tmp_path, f"{top}\n{FC}").values()} == {"pass"}


def test_a_missing_import_costs_only_the_functions_that_use_it(tmp_path):
    verdicts = graded(tmp_path, "import missing_logsumexp as m\n" + RELU +
                      "\n\ndef fc_forward(x, w, b):\n    return m.dot(x, w) + b, x\n")
    assert verdicts["fc_forward"].status == "fail"
    assert "missing_logsumexp is not there" in verdicts["fc_forward"].diagnosis.splitlines()[0]
    assert "line 16" in verdicts["fc_forward"].diagnosis
    assert {verdicts[name].status for name in OTHERS} == {"pass"}
    assert not any(verdicts[name].diagnosis for name in OTHERS)


def test_a_backward_pass_by_torch_is_refused_unless_allowed(tmp_path):
    source = """import torch


def relu_forward(x):
    return x * (x > 0), x


def relu_backward(dout, cache):
    x = torch.tensor(cache.copy(), requires_grad=True)
    torch.relu(x).backward(torch.tensor(dout.copy()))
    return x.grad.numpy()
"""
    verdicts = graded(tmp_path, source, OTHERS)
    assert verdicts["relu_forward"].status == "pass"
    assert verdicts["relu_backward"].status == "fail"
    assert "differentiates by itself" in verdicts["relu_backward"].diagnosis
    pytest.importorskip("torch")
    allowed = graded(tmp_path, source, OTHERS, allow=("torch",), seconds=60)
    assert allowed["relu_backward"].status == "pass", allowed


@pytest.mark.parametrize("name", ["student", "student.txt"])
def test_a_file_may_have_any_name_be_a_link_and_have_neighbours(tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "submission.txt").write_text("import helper\n" + FC)
    (tmp_path / "helper.py").write_text("")
    (tmp_path / name).symlink_to(tmp_path / "elsewhere" / "submission.txt")
    verdict, = judge.grade({"layers": tmp_path / name}, ["fc_forward"], KEY).values()
    assert verdict.status == "pass", verdict


def test_neighbours_may_be_imported_with_a_dot_or_without(tmp_path):
    (tmp_path / "helper.py").write_text("from .other import b\nimport other\n")
    (tmp_path / "other.py").write_text("b = 1\n")
    verdicts = graded(tmp_path, "from .helper import b\nfrom . import other\nimport other\n" + FC)
    assert {verdict.status for verdict in verdicts.values()} == {"pass"}, verdicts
    for name, verdict in graded(tmp_path, "from ..layers import relu_forward\n" + FC).items():
        assert verdict.status == "fail" and "lie in one folder" in verdict.diagnosis, (name, verdict)


def test_what_is_thrown_names_the_students_own_last_line(tmp_path):
    (tmp_path / "helper.py").write_text("import numpy as np\n\n\ndef product(a, b):\n    return np.dot(a, b.T)\n")
    for source, said in (("import helper\ndef fc_forward(x, w, b):\n    return helper.product(x, w), 0\n",
                          "helper.py, line 5"),
                         ("import numpy as np\ndef fc_forward(x, w, b):\n    return np.dot(x, w.T), 0\n",
                          "layers.py, line 3: return np.dot(x, w.T), 0"),
                         ("def fc_forward(x, w):\n    return 0\n", "positional argument")):
        diagnosis = graded(tmp_path, source, ["fc_forward"])["fc_forward"].diagnosis
        assert said in diagnosis and "site-packages" not in diagnosis
        assert diagnosis.count("Error") == 1, diagnosis


def test_there_are_limits(tmp_path):
    resource = pytest.importorskip("resource")
    source = FC.replace("return x.r", """import resource
    for name, most in (("AS", 2 ** 31), ("CPU", 3), ("FSIZE", 2 ** 26), ("CORE", 0)):
        assert 0 <= resource.getrlimit(getattr(resource, "RLIMIT_" + name))[1] <= most, name
    return x.r""")
    assert graded(tmp_path, source, ["fc_forward"])["fc_forward"].status == "pass"
    assert resource.getrlimit(resource.RLIMIT_CPU)[1] == resource.RLIM_INFINITY


def test_each_function_has_a_process_of_its_own(tmp_path):
    source = FC + "\nimport os\nCALLS = []\ndef _(x):\n    pass\n" + """
def relu_forward(x):
    CALLS.append(1)
    return np.maximum(x, 0), x


def relu_backward(dout, cache):
    assert len(CALLS) < 2000
    return dout * (cache > 0)
"""
    assert {v.status for v in graded(tmp_path, source).values()} == {"pass"}


def test_direct_and_process_give_the_same_verdicts(tmp_path):
    source = FC.replace("+ b", "- b")
    scope = {}
    exec(source, scope)
    functions = {name: scope[name] for name in ("fc_forward", *OTHERS)}
    apart, here = graded(tmp_path, source), judge.grade_here(functions, KEY)
    assert apart == here and here["fc_forward"].status == "fail"
