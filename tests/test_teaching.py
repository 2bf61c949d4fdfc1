"""docs/teaching.md: its examples print what it says, and it names every field and flag."""
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import autograder
from grading import report
from grading.judge import Verdict
from test_readme import classroom  # noqa: F401, a fixture

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEACHING = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
OTTER = """
def test_case(points):
    def mark(function):
        function.points = points
        return function
    return mark
"""
# Displays what expressions are worth, as a notebook does.
RUN_CELL = """
import ast, sys
names = {}
for statement in ast.parse(sys.stdin.read()).body:
    exec(compile(ast.Interactive([statement]), "cell", "single"), names)
"""


def with_python(folder):
    """The environment, where `python` and `python3` are this Python."""
    (folder / "bin").mkdir()
    for name in ("python", "python3"):
        (folder / "bin" / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (folder / "bin" / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "COLUMNS": "80"}


def apply(changes, folder):
    """Add the lines of a diff to files, beside the lines that it shows."""
    for name, *lines in (part.splitlines() for part in changes.split("--- ")[1:]):
        old, new = ("".join(f"{line[1:]}\n" for line in lines if line[:1] in signs)
                    for signs in (" ", " +"))
        text = (folder / name).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{name}: {old}"
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="the examples are for a POSIX shell")
def test_the_examples_of_the_document_print_what_stands_under_them(classroom):
    """All in their order and in one folder, as a reader would try them."""
    for folder in ("grading", "data"):
        shutil.copytree(ROOT / folder, classroom / folder,
                        ignore=shutil.ignore_patterns("mnist", "coco_*", "hymenoptera_data"))
    for path in ROOT.glob("*.py"):
        shutil.copy(path, classroom)
    (classroom / "otter").mkdir()
    (classroom / "otter" / "test_files.py").write_text(OTTER)
    environment = {**with_python(classroom), "PYTHONPATH": str(classroom)}
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", TEACHING, re.MULTILINE | re.DOTALL)
    assert {language for language, _ in blocks} == {"python", "sh", "text", "json", "console",
                                                    "diff"}
    printed = None
    for language, block in blocks:
        path = re.match(r"# (\S+\.py)\n", block)
        if language == "json":
            (classroom / "points.json").write_text(block)
        elif language == "diff":
            apply(block, classroom)
        elif language == "text":
            assert printed == block
        elif path:
            (classroom / path[1]).parent.mkdir(exist_ok=True)
            (classroom / path[1]).write_text(block)
        elif language in ("python", "sh"):
            command = [sys.executable, "-c", RUN_CELL] if language == "python" else ["bash"]
            done = subprocess.run(command, input=block, text=True, capture_output=True,
                                  cwd=classroom, env=environment)
            printed = done.stdout
            assert "Traceback" not in done.stderr, done.stderr
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "test_my_layers.py"], text=True,
                          capture_output=True, cwd=classroom, env=environment)
    assert "1 passed" in done.stdout
    done = subprocess.run([sys.executable, "-c", "import tests.q1, my_layers as m\n"
                           "tests.q1.test_relu(m.relu_forward, m.relu_backward)"],
                          capture_output=True, cwd=classroom, env=environment)
    assert done.returncode == 0 and not done.stderr


def test_the_document_names_every_field_and_flag():
    record = report.as_json(report.Report({"sgd": Verdict("sgd", "pass")}), {"sgd": 1}, [],
                            "eecs545")
    table = TEACHING.split("## The fields of --json")[1]
    rows = re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE)
    fields = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert fields == {*record, *record["results"]["sgd"]}
    flags = set(re.findall(r"(?<![\w-])(--[a-z][a-z-]+)", re.sub(r"```console.*?```", "", TEACHING,
                                                                 flags=re.DOTALL)))
    assert flags <= {flag for action in autograder.parser_of_commands()._actions
                     for flag in action.option_strings}
