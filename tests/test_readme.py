"""The README's examples print what the README says, and its commands are understood."""
import contextlib
import importlib
import io
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = re.findall(r"```sh\n(.*?)```", README, flags=re.DOTALL)
GRADING_COMMAND = "python autograder.py --layers layers.py fc softmax_loss"
LOOP = next(command for command in COMMANDS if command.startswith("for file in submissions/"))


@pytest.fixture(scope="module")
def mistaken(tmp_path_factory):
    """A folder with a copy of layers.py in which two mistakes are planted."""
    folder = tmp_path_factory.mktemp("mistaken")
    source = (ROOT / "layers.py").read_text()
    for right, wrong in (("dw = x.reshape(len(x), -1).T @ dout\n",
                          "dw = x.reshape(len(x), -1).T @ dout / len(x)\n"),
                         ("return loss, dx\n", "return loss, dx * N\n")):
        assert source.count(right) == 1
        source = source.replace(right, wrong)
    (folder / "layers.py").write_text(source)
    shutil.copy(ROOT / "checks.py", folder)
    return folder


@pytest.fixture(scope="module")
def graded(mistaken, tmp_path_factory):
    """A folder with submissions, graded by the README's loop."""
    folder = tmp_path_factory.mktemp("course")
    for name, path in (("ada", ROOT), ("bob", mistaken)):
        (folder / "submissions" / name).mkdir(parents=True)
        for file in ("layers.py", "checks.py"):
            shutil.copy(path / file, folder / "submissions" / name)
    loop = LOOP.replace(".venv/bin/python", shlex.quote(sys.executable))
    loop = loop.replace("autograder.py", shlex.quote(str(ROOT / "autograder.py")))
    subprocess.run(["bash", "-c", loop], cwd=folder, check=False, capture_output=True)
    return folder


def test_every_example_is_followed_by_its_output():
    assert len(EXAMPLES) == README.count("```python") > 0


@pytest.mark.parametrize("code, output", EXAMPLES)
def test_an_example_prints_what_stands_under_it(code, output, graded, monkeypatch):
    monkeypatch.chdir(graded)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    assert printed.getvalue() == output


def test_the_autograder_says_of_planted_mistakes_what_the_readme_says(mistaken):
    assert f"`{GRADING_COMMAND}`" in README
    done = subprocess.run([sys.executable, ROOT / "autograder.py", *GRADING_COMMAND.split()[2:]],
                          cwd=mistaken, capture_output=True, text=True)
    assert done.returncode == 1 and f"```text\n{done.stdout}```" in README, done.stdout


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


def test_every_file_of_the_map_exists_and_no_file_is_missing_from_it():
    rows = re.findall(r"^\| (`[^|]*) \|", README.split("## The map")[1], flags=re.MULTILINE)
    named = {name.rstrip("/") for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert all((ROOT / name).exists() for name in named)
    assert {path.name for path in ROOT.glob("*.py")} <= named


@pytest.mark.parametrize("path, module", re.findall(r"`([\w.]+)` in `(\w+)\.py`", README))
def test_what_the_readme_points_to_is_there(path, module):
    target = importlib.import_module(module)
    for part in path.split("."):
        target = getattr(target, part)
