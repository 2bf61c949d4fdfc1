"""The hand-out: all that students need, nothing that they are to write, and the same judge."""
import ast
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from grading import handout, judge
from grading.contract import FUNCTIONS, Key
from grading.mistakes import MISTAKES
from grading.report import SOLUTIONS
from mistaken_layers import subject_of, subject_with
from project import ROOT, TOP

# What students are to write, by file; and what else repeats it, and is not graded.
ASKED = {file: [f.name + ".loss" * (f.kind == "model") for f in FUNCTIONS.values()
                if f.file == file] for file in dict.fromkeys(f.file for f in FUNCTIONS.values())}
ALSO = {
    "layers": ["fc_weights_backward", "conv_weights_backward", "_Axis", "_conv_grid", "_axis",
               "_blocks", "_BLOCK_BYTES", "_column_blocks", "_add_columns", "_pool_views"],
    "rnn_layers": ["_rnn_cell", "_rnn_cell_backward", "_over_time", "_over_time_backward", "_rows",
                   "_lstm_cell", "_lstm_cell_backward"],
    "fc_net": ["FullyConnectedNet.loss", "FullyConnectedNet._hidden_forward",
               "FullyConnectedNet._hidden_backward"],
    "cnn": ["DeepConvNet.loss", "DeepConvNet._conv_forward", "DeepConvNet._conv_backward"],
    "rnn": ["CaptioningRNN._forward", "CaptioningRNN._backward", "_unpacked", "_undrop"],
    "optim": []}
# Lines of these bodies that stand in other places too, where they give nothing away: checks of
# arguments, and the names of shapes.
SHARED = {'if mode == "train":', "rows = np.arange(N)", "caches.append(cache)",
          'X = _images("ConvNet", X, self.input_dim, self.dtype)',
          "features, read, wanted, mask = self._batch(features, captions)"}
STUB = "is not written yet"


def run(folder, *words, code=0, **options):
    """What a command says, run in a folder where nothing of this project can be imported from."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
                   "COLUMNS": "80"} | options
    environment.pop("PYTHONPATH", None)
    done = subprocess.run([sys.executable, *map(str, words)], cwd=folder, env=environment,
                          text=True, capture_output=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def without_spaces(text):
    return re.sub(r"\s", "", text)


def removed_lines():
    """Lines of the project that no hand-out may hold: bodies with their comments, from 16 letters
    on, but without docstrings and what is SHARED."""
    for file in ASKED:
        text = (ROOT / f"{file}.py").read_text(encoding="utf-8")
        places = handout.definitions(ast.parse(text))
        for name in ASKED[file] + ALSO[file]:
            node = places[name]
            body = getattr(node, "body", [node])
            described = bool(ast.get_docstring(node)) if hasattr(node, "body") else False
            first = body[0].end_lineno + 1 if described else body[0].lineno
            for line in text.splitlines()[first - 1:node.end_lineno]:
                if len(line.strip()) >= 16 and line.strip() not in SHARED:
                    yield line.strip()


def leaked(texts):
    """The removed lines in texts {name: text}, wherever they stand in a line."""
    packed = {name: without_spaces(text) for name, text in texts.items()}
    return [(name, line) for line in removed_lines() for name, text in packed.items()
            if without_spaces(line) in text]


def texts_of(folder):
    """{name: text} of all files in a hand-out, and of what its key says."""
    texts = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
             for path in folder.rglob("*") if path.is_file() and path.suffix != ".npz"}
    with np.load(folder / "grading" / "key.npz", allow_pickle=False) as file:
        return {**texts, "key.npz": file["index"].tobytes().decode()}


# ---------------------------------------------------------------- parts

def test_a_removed_line_is_found_wherever_it_stands():
    """In the project itself each is found, also by other spaces, in a comment or in a notebook."""
    lines = set(removed_lines())
    assert len(lines) > 250
    project = "".join((ROOT / f"{file}.py").read_text(encoding="utf-8") for file in ASKED)
    assert {line for _, line in leaked({"project": project})} == lines
    assert leaked({"page": "so we write  dw = x.reshape(len(x),-1).T@dout  and are done"})


SOURCE = '''\
"""A file."""
import math

# How long a thing is.
_LONG = 3


def asked(x):
    """The double of x.

    Derived in docs/derivations.md, "Doubling".
    """
    # out = 2·x
    return _twice(x)


def _twice(x):
    return 2 * _shared(x)


# ------------------------------------- others

def other(x):
    """One more. (docs/derivations.md, "More")"""
    return _shared(x)


# Why this helps.
def _shared(x):
    return x


class Model:
    """A model."""

    def loss(self, X):
        return self._part(X) + self._kept(_LONG)

    def _part(self, X):
        return math.exp(X)

    def use(self):
        """Of something."""
        return self._kept(2)

    def _kept(self, X):
        return X
'''


def test_bodies_and_what_only_they_use_are_gone():
    stubs = {name: handout.stub(name, "it") for name in ("asked", "Model.loss")}
    text, helpers = handout.emptied(SOURCE, stubs, {"not here"})
    text = handout.without_dead_references(text)
    tree = ast.parse(text)
    assert list(handout.definitions(tree)) == ["asked", "other", "_shared", "Model", "Model.loss",
                                               "Model.use", "Model._kept"]
    assert helpers == ["_shared", "Model._kept"]
    for gone in ("out = 2", "_LONG", "How long", "derivations", "math.exp"):
        assert gone not in text
    assert '"""The double of x."""' in text and '"""One more."""' in text and "Why this" in text
    assert not re.search(r"\n{4}", text) and text.count(STUB) == 2
    names = {}
    exec(compile(tree, "stubs", "exec"), names)
    with pytest.raises(NotImplementedError, match="asked is not written yet"):
        names["asked"](1)
    with pytest.raises(NotImplementedError, match="Model.loss is not written yet"):
        names["Model"]().loss(1)
    assert names["other"](1) == 1 and names["Model"]().use() == 2


@pytest.mark.parametrize("source", [
    "from mine import asked\n", "asked = print\n", "def asked(x): return 2 * x\n",
    'def asked(x):\n    """Doc."""; return 2 * x\n',
    "if True:\n    def asked(x):\n        return 2 * x\n"])
def test_what_cannot_be_emptied_is_refused(source):
    with pytest.raises(ValueError, match="asked cannot be emptied"):
        handout.emptied(source, {"asked": handout.stub("asked", "it")}, set())


def test_comments_above_a_body_without_docstring_go_too_and_models_may_lack_the_deeper_ones():
    stubs = {name: handout.stub(name, "it") for name in ("asked", "FullyConnectedNet.loss")}
    text, _ = handout.emptied("def asked(x,\n          y=1):  # both\n    # 2·x\n\n    # + y\n"
                              "    return 2 * x + y\n", stubs, set())
    assert text.splitlines()[:3] == ["def asked(x,", "          y=1):  # both", "    " + "#" * 71]


def notebook_of(*cells):
    return {"cells": list(cells), "metadata": {"kernelspec": {"name": "python3"}}, "nbformat": 4,
            "nbformat_minor": 5}


def code_cell(source, *tags):
    return {"cell_type": "code", "source": source, "execution_count": 7, "metadata": {
        "tags": list(tags)} if tags else {}, "outputs": [{"output_type": "stream", "text": ["4"]}]}


def test_solutions_in_a_notebook_are_emptied_and_outputs_dropped():
    told = {"cell_type": "markdown", "source": ["Double x."], "metadata": {}}
    answer = {"cell_type": "markdown", "source": "It doubles.", "metadata": {"tags": ["solution"]}}
    notebook = notebook_of(told, code_cell(["x = 2\n", "x"]), answer,
                           code_cell("2 * x", "slow", "solution"))
    before = json.dumps(notebook)
    emptied = handout.without_solutions(notebook)
    assert json.dumps(notebook) == before
    assert emptied["cells"][0] == told and emptied["metadata"] == notebook["metadata"]
    kept, _, stub = emptied["cells"][1:]
    assert kept["source"] == ["x = 2\n", "x"] and stub["metadata"]["tags"] == ["slow", "solution"]
    assert not re.search(r"doubles|2 \* x|\"4\"|: 7", json.dumps(emptied))
    with pytest.raises(NotImplementedError):
        exec("".join(stub["source"]), {})


def test_the_tour_gives_nothing_away():
    """Cells that are tagged "solution" aside, it may hold no line that students are to write."""
    if not (ROOT / handout.NOTEBOOK).is_file():
        pytest.skip("there is no notebook yet")
    notebook = json.loads((ROOT / handout.NOTEBOOK).read_text(encoding="utf-8"))
    cells = handout.without_solutions(notebook)["cells"]
    assert not leaked({str(number): "".join(cell["source"]) for number, cell in enumerate(cells)})
    assert all(not cell["outputs"] for cell in cells if cell["cell_type"] == "code")


@pytest.mark.parametrize("words, said", [
    (["full"], "full is not empty: --handout expects a new or an empty folder"),
    (["new", "full/notes.py"], "no file"), (["new", "--course", "cs231n"], "no other course"),
    (["new", "fcc"], "there is nothing to grade named fcc")])
def test_what_cannot_be_handed_out_is_refused(tmp_path, words, said):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.py").write_text("x = 1\n")
    done = subprocess.run([sys.executable, ROOT / "autograder.py", "--handout", *words], text=True,
                          cwd=tmp_path, capture_output=True)
    assert done.returncode == 2 and said in done.stderr.splitlines()[-1] and not done.stdout
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "notes.py"]
    if words == ["full"]:
        assert len(done.stderr.splitlines()) == 1


# ---------------------------------------------------------------- the hand-out as a whole

@pytest.fixture(scope="module")
def handed_out(tmp_path_factory):
    """(the hand-out, what was printed): written from a folder with more in it than the project."""
    course = tmp_path_factory.mktemp("course") / "project"
    shutil.copytree(ROOT, course, ignore=shutil.ignore_patterns(
        ".git", ".venv", "results", "__pycache__", "tests", "*.gz", "*.npz", "*.h5", "*.zip"))
    for path in ("data/mnist/train-images.gz", "results/mnist_train/metrics.json", "my_layers.py",
                 ".venv/lib/site.py", "__pycache__/layers.pyc", ".git/config", "data/old.py",
                 "grading/my_mistakes.py"):
        (course / path).parent.mkdir(parents=True, exist_ok=True)
        (course / path).write_text("def fc_forward(x, w, b): ...\n")
    layers = course / "layers.py"           # a body that uses a file of the teacher's own
    text = layers.read_text(encoding="utf-8")
    assert "    x, = arrays(\"relu_forward\"" in text
    layers.write_text(text.replace("    x, = arrays(\"relu_forward\"", "    import my_layers\n"
                                   "    x, = arrays(\"relu_forward\""), encoding="utf-8")
    printed = run(course, "autograder.py", "--handout", "../students")
    return course.parent / "students", printed


def student_of(handed_out, folder):
    """A copy of the hand-out, which a student may write in."""
    return pathlib.Path(shutil.copytree(handed_out[0], folder / "student"))


@pytest.mark.long
def test_the_handout_holds_the_project_and_nothing_else(handed_out):
    folder, printed = handed_out
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {f"{file}.py" for file in ASKED} < files
    assert {"LICENSE", "README.md", "solver.py", "data/coco.py", "grading/key.npz"} < files
    assert {path.name for path in TOP} == {path.name for path in folder.glob("*.py")}
    assert not {f"grading/{name}.py" for name in (*SOLUTIONS, "handout", "my_mistakes")} & files
    folders = {name.rpartition("/")[0] for name in files}
    assert folders == {"", "data", "grading"} and "my_layers.py" not in files
    assert (folder / "grading" / "key.npz").stat().st_size < 8e6
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\w+\.py", readme)) <= files and "docs/" not in readme
    assert all(f"`{name}`" in readme for names in ASKED.values() for name in names)
    assert f"students: {len(FUNCTIONS)} functions to write in layers.py, rnn_layers.py" in printed


@pytest.mark.long
def test_nothing_that_students_are_to_write_is_in_it(handed_out):
    assert not leaked(texts_of(handed_out[0]))


@pytest.mark.long
def test_signatures_and_descriptions_are_kept(handed_out):
    for file in ASKED:
        ours, theirs = (handout.definitions(ast.parse(
            (folder / f"{file}.py").read_text(encoding="utf-8")))
            for folder in (ROOT, handed_out[0]))
        for name in ASKED[file]:
            assert ast.unparse(ours[name].args) == ast.unparse(theirs[name].args)
            first, ours_first = (ast.get_docstring(d[name]) for d in (theirs, ours))
            assert ours_first.startswith(first) and "docs/" not in first


@pytest.mark.long
def test_everything_imports_and_is_graded_as_not_written(handed_out, tmp_path):
    student = student_of(handed_out, tmp_path)
    modules = [path.stem for path in student.glob("*.py") if path.stem != "transfer_learning"]
    run(student, "-c", f"import {', '.join(modules)}, data.coco")
    run(student, "autograder.py", "--json", "verdicts.json", code=1)
    results = json.loads((student / "verdicts.json").read_text())["results"]
    assert list(results) == list(FUNCTIONS)
    for name, result in results.items():        # a way back without a cache waits for the way there
        waits = f"{FUNCTIONS[name].forward} comes first: it raises NotImplementedError"
        assert result["diagnosis"] == judge.NOT_YET or result["diagnosis"].startswith(waits), name
        assert STUB in result["diagnosis"] or result["diagnosis"] == judge.NOT_YET
    told = run(student, "mnist_train.py", "--quick", "--data", "synthetic", code=2)
    assert told.splitlines()[-1] == "error: TwoLayerNet.loss is not written yet"
    # The same in a notebook and by pytest, with no flag either.
    told = run(student, "-c", "from layers import relu_forward\nfrom autograder import check\n"
                              "print(check(relu_forward))")
    assert judge.NOT_YET in told
    run(student, "-m", "pytest", "-q", "autograder.py", "-k", "relu_forward", code=1)
    error = subprocess.run([sys.executable, "autograder.py", "--handout", "again"], cwd=student,
                           text=True, capture_output=True).stderr
    assert "no key" in error and not (student / "again").exists()


def write_our_bodies(student):
    """What a student does: our bodies in the place of the stubs, and helpers where they fit."""
    for file in ASKED:
        path = student / f"{file}.py"
        ours, text = ((folder / path.name).read_text(encoding="utf-8")
                      for folder in (ROOT, student))
        lines = text.splitlines()
        solved, asked = (handout.definitions(ast.parse(code)) for code in (ours, text))

        def source(name):
            return ours.splitlines()[solved[name].lineno - 1:solved[name].end_lineno]

        edits = [(len(lines) + 1, len(lines), ["", *source(name)]) for name in solved
                 if name not in asked and "." not in name]
        edits += [(asked[owner].end_lineno + 1, asked[owner].end_lineno, ["", *source(name)])
                  for name in solved if name not in asked
                  for owner in [name.rpartition(".")[0]] if owner]
        edits += [(node.lineno, node.end_lineno, source(name)) for name, node in asked.items()
                  if isinstance(node, ast.FunctionDef) and STUB in ast.unparse(node)]
        for first, last, new in sorted(edits, key=lambda edit: edit[:2], reverse=True):
            lines[first - 1:last] = new
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.long
def test_who_puts_our_bodies_back_passes_all_and_trains_the_networks(handed_out, tmp_path):
    student = student_of(handed_out, tmp_path)
    write_our_bodies(student)
    run(student, "autograder.py", "--json", "verdicts.json")
    results = json.loads((student / "verdicts.json").read_text())["results"]
    assert {result["status"] for result in results.values()} == {"pass"}
    for script in ("mnist_train", "cnn_train", "image_captioning"):
        run(student, f"{script}.py", "--quick", "--data", "synthetic")
        assert list((student / "results").glob(f"{script}*/metrics.json")), script


SLIPS = [("layers", "dw = x.reshape(len(x), -1).T @ dout\n",
          "dw = x.reshape(len(x), -1).T @ dout / len(x)\n"),
         ("layers", "dx[rows, y] -= 1\n    dx /= N\n", "dx[rows, y] -= 1\n"),
         ("layers", "return dout * (x > 0)\n", "return dout * x\n"),
         ("layers", "x = x - x.max(axis=1, keepdims=True)\n", "x = x + 0\n"),
         ("rnn_layers", "dnext_h * (1 - next_h * next_h)", "dnext_h * (1 - next_h)"),
         ("rnn_layers", "return loss * words_per_sentence, dx", "return loss, dx"),
         ("optim", "(1 - beta1) * dw\n", "dw\n")]


@pytest.mark.long
def test_a_wrong_file_is_told_what_the_whole_grader_tells(handed_out, tmp_path):
    """Word for word, but for the derivations, which students do not have."""
    student = student_of(handed_out, tmp_path)
    texts = {file: (ROOT / f"{file}.py").read_text(encoding="utf-8") for file, *_ in SLIPS}
    for file, right, wrong in SLIPS:
        assert texts[file].count(right) == 1
        texts[file] = texts[file].replace(right, wrong)
    for file, text in texts.items():
        (student / f"{file}.py").write_text(text, encoding="utf-8")
    files = [word for file in texts for word in (f"--{file.replace('_', '-')}", f"{file}.py")]
    told, whole = (run(student, grader / "autograder.py", "-v", *files, code=1)
                   for grader in (student, ROOT))
    assert [line for line in whole.splitlines() if "see docs/" not in line] == told.splitlines()
    assert whole.count("FAIL") >= 6 and "divided by N" in whole


NAMED = ["fc_averages_dw", "relu_masks_by_dout", "softmax_adds_1e_5", "pool_pays_every_tie",
         "rnn_cuts_time", "adam_forgets_the_corrections"]


@pytest.mark.long
@pytest.mark.parametrize("name", NAMED)
def test_a_known_mistake_has_the_same_name_by_the_stored_key(handed_out, name):
    mistake = next(mistake for mistake in MISTAKES if mistake.name == name)
    subject = subject_of(mistake.function)
    functions = subject_with(subject.name, mistake)
    stored = Key.load(handed_out[0] / "grading" / "key.npz")
    ours, theirs = (judge.grade_here(functions, key) for key in (Key(0), stored))
    assert ours[mistake.function].diagnosis == theirs[mistake.function].diagnosis != ""
    assert ours[mistake.function].mistakes == theirs[mistake.function].mistakes


@pytest.mark.long
def test_a_part_can_be_handed_out(tmp_path):
    """The rest is there and works; what both use is named; another seed asks other questions."""
    printed = run(ROOT, "autograder.py", "--handout", tmp_path / "part", "rnn_step", "relu",
                  "--seed", "5")
    student = tmp_path / "part"
    assert "4 functions to write in layers.py, rnn_layers.py; a key of" in printed
    assert "rnn_layers.py: _rnn_cell" in printed and "_rows" not in printed
    assert Key.load(student / "grading" / "key.npz").seed == 5
    told = run(student, "autograder.py", code=1)
    assert "seed 5" in told and "conv" not in told
    assert (student / "README.md").read_text().count("`rnn_step_forward`") == 1
    run(student, "-c", "import numpy as np, layers\nlayers.conv_forward(np.ones((1, 1, 3, 3)), "
                       "np.ones((1, 1, 2, 2)))")
    told = run(student, "-c", "from layers import fc_forward\nfrom autograder import check\n"
                              "check(fc_forward)", code=1)
    assert "ValueError: check: expects functions named relu_forward, " in told.splitlines()[-1]
