"""What people expect of a Python project: to be installed, and to run on any system and console."""
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from autograder import check
from fc_net import TwoLayerNet
from project import ROOT, TOP
from solver import Solver
from test_scripts import SMALL, both_scripts, run, tiny_mnist

try:
    import tomllib
except ModuleNotFoundError:                     # Python 3.10, where pytest brings it
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PROGRAMS = sorted(path.relative_to(ROOT).as_posix()
                  for path in (*TOP, *ROOT.glob("docs/*.py"), *ROOT.glob("tests/*.py"))
                  if "__main__" in path.read_text(encoding="utf-8") and "test_" not in path.name)


# ---------------------------------------------------------------- installing

def test_requirements_txt_lists_what_the_tests_need():
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["captions"], *extras["transfer"], *extras["test"]]
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = {line for line in lines if line and not line.startswith("#")}
    assert listed == {name for name in wanted if not name.startswith(PROJECT["name"])}


def test_installing_puts_no_module_into_site_packages(tmp_path):
    installed = {dist.name: dist.version for dist in importlib.metadata.distributions()}
    if "pip" not in installed or int(installed.get("setuptools", "0").split(".")[0]) < 77:
        pytest.skip("building needs pip and setuptools 77; uv makes environments without them")
    for path in (*ROOT.glob("*.*"), *ROOT.glob("data/*.py"), *ROOT.glob("grading/*.py")):
        if path.is_file():
            copy = tmp_path / "copy" / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
                    "--no-build-isolation", "--target", tmp_path / "installed", tmp_path / "copy"],
                   check=True)
    assert [path.name for path in (tmp_path / "installed").iterdir()] == \
        [f"{PROJECT['name'].replace('-', '_')}-{PROJECT['version']}.dist-info"]


def test_one_version_everywhere():
    done = subprocess.run([sys.executable, ROOT / "autograder.py", "--version"],
                          capture_output=True, text=True)
    version = re.escape(PROJECT["version"])
    assert re.fullmatch(rf"autograder\.py {version}\+[0-9a-f]{{8}}\n", done.stdout), done.stdout
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(rf'^version: "{version}"$', citation, re.MULTILINE)
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {version}\b", changes, re.MULTILINE)


# ---------------------------------------------------------------- false warnings on macOS

# Read by Python at its start: every a @ b in a module of the project warns as NumPy with Apple's
# Accelerate does, if NumPy is told to warn of divisions by zero.
ACCELERATE = """
import ast, builtins, importlib.machinery, sys, warnings

class Accelerate(ast.NodeTransformer):
    def visit_BinOp(self, node):
        self.generic_visit(node)
        if not isinstance(node.op, ast.MatMult):
            return node
        return ast.Call(ast.Name("product", ast.Load()), [node.left, node.right], [])

def product(a, b):
    if sys.modules["numpy"].geterr()["divide"] == "warn":
        warnings.warn("divide by zero encountered in matmul", RuntimeWarning, stacklevel=2)
    return a @ b

def get_code(loader, name, original=importlib.machinery.SourceFileLoader.get_code):
    path = loader.get_filename(name)
    if not path.startswith(ROOT):
        return original(loader, name)
    tree = ast.fix_missing_locations(Accelerate().visit(ast.parse(loader.get_data(path))))
    return compile(tree, path, "exec", dont_inherit=True)

builtins.product = product
importlib.machinery.SourceFileLoader.get_code = get_code
"""
AVERAGED = """
import warnings

def fc_forward(x, w, b):
    return x.reshape(len(x), -1) @ w + b, (x, w, b)

def fc_backward(dout, cache):
    warnings.warn("divide by zero encountered in matmul", RuntimeWarning)
    x, w, b = cache
    return (dout @ w.T).reshape(x.shape), x.reshape(len(x), -1).T @ dout / len(x), dout.sum(axis=0)
"""


@pytest.fixture
def accelerate(tmp_path):
    """An environment in which matrix products of the project give false warnings."""
    (tmp_path / "sitecustomize.py").write_text(f"ROOT = {str(ROOT)!r}\n{ACCELERATE}",
                                               encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    code = "import numpy, layers; layers.fc_forward(numpy.eye(2), numpy.eye(2), numpy.ones(2))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment,
                          capture_output=True, text=True, check=True)
    assert "RuntimeWarning: divide by zero encountered in matmul" in done.stderr
    return environment


@both_scripts
def test_false_warnings_of_products_are_not_shown_by_scripts(
        script, tiny_mnist, tmp_path, accelerate):
    done = run(script, "--data-dir", tiny_mnist, *SMALL[script], "--out", tmp_path / "out",
               env=accelerate)
    assert done.stderr == ""


@pytest.mark.long
def test_false_warnings_of_products_are_not_shown_by_captioning(tmp_path, accelerate):
    done = run("image_captioning", "--data", "synthetic", "--quick", "--out", tmp_path / "out",
               env=accelerate)
    assert done.stderr == ""


def test_false_warnings_of_products_change_no_verdict_and_are_not_shown(tmp_path, accelerate):
    file = tmp_path / "layers.py"
    said = []
    for source in (AVERAGED, AVERAGED.replace("warnings.warn", "print")):
        file.write_text(source, encoding="utf-8")
        done = subprocess.run([sys.executable, ROOT / "autograder.py", file, "fc"], env=accelerate,
                              capture_output=True, text=True)
        assert done.stderr == ""
        said.append(done.stdout)
    assert said[0] == said[1] and "dw is divided by N" in said[0]


def test_false_warnings_of_products_are_not_shown_in_a_notebook(recwarn):
    names = {}
    exec(AVERAGED, names)
    report = check(names["fc_forward"], names["fc_backward"])
    assert report.right == ["fc_forward"] and not recwarn.list


def test_false_warnings_of_products_are_not_shown_while_a_solver_trains(recwarn):
    class Divides(TwoLayerNet):
        def loss(self, X, y=None):
            np.ones(1) / 0
            return super().loss(X, y)

    X, y = np.eye(4), np.arange(4)
    Solver(Divides(4, 3, 4, rng=0), {"X_train": X, "y_train": y, "X_val": X, "y_val": y},
           num_epochs=1).train()
    assert not recwarn.list


def test_false_warnings_of_products_are_not_shown_by_pytest(tmp_path):
    test = tmp_path / "test_product.py"
    test.write_text("import warnings\n\n\ndef test_product():\n    warnings.warn("
                    "'divide by zero encountered in matmul', RuntimeWarning)\n", encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c",
                           ROOT / "pyproject.toml", test], capture_output=True, text=True)
    assert "1 passed in" in done.stdout and "warning" not in done.stdout, done.stdout


# ---------------------------------------------------------------- consoles

@pytest.mark.parametrize("program", PROGRAMS)
def test_help_is_shown_on_any_console(program):
    done = subprocess.run([sys.executable, ROOT / program, "--help"], capture_output=True,
                          env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert done.returncode == 0 and b"usage: " in done.stdout, done.stderr


@pytest.mark.long
@pytest.mark.parametrize("script", ["image_captioning", "transfer_learning"])
def test_a_quick_run_prints_on_any_console(script, tmp_path):
    done = subprocess.run([sys.executable, ROOT / f"{script}.py", "--quick", "--data", "synthetic",
                           "--out", tmp_path / "Σ数"], capture_output=True,
                          env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert done.returncode == 0, done.stderr
    assert rb"\u03a3\u6570" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are Unicode")
def test_the_name_of_a_student_may_be_no_text(tmp_path):
    folder = os.path.join(os.fsencode(tmp_path), b"all", b"Jos\xe9")
    os.makedirs(folder)
    shutil.copy(ROOT / "layers.py", os.fsdecode(folder))
    shutil.copy(ROOT / "checks.py", os.fsdecode(folder))
    done = subprocess.run([sys.executable, ROOT / "autograder.py", "--submissions", "all", "--out",
                           "out", "relu"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Jos\\udce9,2.0," in (tmp_path / "out" / "grades.csv").read_text(encoding="utf-8")
    page = (tmp_path / "out" / "class.html").read_text(encoding="utf-8")
    assert 'href="students/Jos%E9.txt"' in page
    assert os.path.exists(os.path.join(os.fsencode(tmp_path), b"out/students/Jos\xe9.txt"))


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_verdicts_are_shown_on_any_console(encoding, tmp_path):
    (tmp_path / "layers.py").write_text(AVERAGED, encoding="utf-8")
    done = subprocess.run([sys.executable, ROOT / "autograder.py", tmp_path / "layers.py", "fc"],
                          capture_output=True,
                          env={**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C"})
    dot = {"ascii": b"?", "cp1252": b"\xb7"}[encoding]
    assert done.returncode == 1 and b"by N (or N" + dot + b"T)" in done.stdout
    assert done.stderr == b""
