"""The README's examples print what the README says, and its commands are understood."""
import contextlib
import importlib
import io
import re
import shlex
import shutil
import subprocess
import sys

import pytest

import layers
import norm_layers
import rnn_layers
from grading.courses import COURSES
from project import ROOT, TOP

README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, flags=re.DOTALL)
GRADING_COMMANDS = (
    "python autograder.py my_layers.py fc softmax_loss",
    "python autograder.py --submissions submissions --out results/grades fc relu softmax_loss",
)


@pytest.fixture(scope="module")
def classroom(tmp_path_factory):
    """A folder with my_layers.py, in which two mistakes are planted, and two submissions."""
    folder = tmp_path_factory.mktemp("course")
    source = (ROOT / "layers.py").read_text()
    for right, wrong in (("dw = x.reshape(len(x), -1).T @ dout\n",
                          "dw = x.reshape(len(x), -1).T @ dout / len(x)\n"),
                         ("dx[rows, y] -= 1\n    dx /= N\n", "dx[rows, y] -= 1\n")):
        assert source.count(right) == 1
        source = source.replace(right, wrong)
    (folder / "my_layers.py").write_text(source)
    shutil.copy(ROOT / "checks.py", folder)
    for student, path in (("ada", ROOT / "layers.py"), ("bob", folder / "my_layers.py")):
        (folder / "submissions" / student).mkdir(parents=True)
        for file in (path, ROOT / "checks.py"):
            shutil.copy(file, folder / "submissions" / student)
    return folder


def test_every_example_is_followed_by_its_output():
    assert len(EXAMPLES) == README.count("```python") > 0


@pytest.mark.parametrize("code, output", EXAMPLES)
def test_an_example_prints_what_stands_under_it(code, output):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    assert printed.getvalue() == output


@pytest.mark.parametrize("command", GRADING_COMMANDS)
def test_the_autograder_says_what_the_readme_says(command, classroom):
    assert command in README
    done = subprocess.run([sys.executable, ROOT / "autograder.py", *command.split()[2:]],
                          cwd=classroom, capture_output=True, text=True)
    assert f"```text\n{done.stdout}```" in README, done.stdout


def test_every_flag_and_file_of_the_commands_exists():
    scripts = re.findall(r"python ([\w/]+\.py)([^\n`;|]*)", README)
    assert len(scripts) > 5
    for path, arguments in scripts:
        assert (ROOT / path).exists(), path
        module = path.removesuffix(".py")
        if module == "transfer_learning":
            pytest.importorskip("torchvision")
        if "/" not in path and hasattr(importlib.import_module(module), "arguments"):
            importlib.import_module(module).arguments(shlex.split(arguments))


def layers_of_the_readme():
    """{function: (link to its derivation, what it is graded as)} of the table of layers."""
    table = README.split("## The layers")[1].split("\n## ")[0]
    rows = [row.strip("| ").split(" | ") for row in re.findall(r"^\| `.*", table, re.MULTILINE)]
    return {name: (link, graded) for names, _, link, graded in rows
            for name in re.findall(r"`(\w+)`", names)}


def test_the_table_of_layers_has_every_layer_and_no_other():
    pairs = {name.removesuffix("_forward") for module in (layers, norm_layers, rnn_layers)
             for name in vars(module) if re.fullmatch(r"[a-z]\w*_(forward|loss)", name)}
    assert set(layers_of_the_readme()) == pairs


@pytest.mark.parametrize("name, row", layers_of_the_readme().items())
def test_a_layer_is_graded_as_its_row_says(name, row):
    names = {"EECS 545": name, "CS231n": name}
    names |= dict(re.findall(r"(\S+) \(`(\w+)`\)", row[1]))
    names = {course: re.sub("(.*)_naive", r"\1_forward_naive", name)
             for course, name in names.items()}
    for course in COURSES.values():
        functions = {f"{names[course.title]}_forward", names[course.title]}
        is_graded = bool(functions & set(course.functions))
        assert is_graded == (course.title in row[1]), f"graded for {course.title}: {is_graded}"


def test_every_file_of_the_map_exists_and_no_file_is_missing_from_it():
    rows = re.findall(r"^\| (`[^|]*) \|", README.split("## The map")[1], flags=re.MULTILINE)
    named = {name.rstrip("/") for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert all((ROOT / name).exists() for name in named)
    assert {path.name for path in TOP} <= named


@pytest.mark.parametrize("path, module", re.findall(r"`([\w.]+)` in `(\w+)\.py`", README))
def test_what_the_readme_points_to_is_there(path, module):
    target = importlib.import_module(module)
    for part in path.split("."):
        target = getattr(target, part)
