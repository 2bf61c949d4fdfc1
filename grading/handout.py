"""Writes what students get: the project with the functions emptied that they are to write.

The grader in a hand-out holds no solution. It has a stored key in the place of the modules that
compute answers, and uses it by itself. Which files belong to the project is read from what is
imported when the bodies are gone, so that nothing else that lies in the folder is handed out.
"""
import ast
import collections
import json
import re

from . import report
from .courses import COURSES, DEFAULT

SCRIPTS = ("autograder.py", "mnist_train.py", "cnn_train.py", "image_captioning.py",
           "transfer_learning.py")
AS_THEY_ARE = "LICENSE", "pyproject.toml", "requirements.txt", ".gitignore"
NOTEBOOK = "tour.ipynb"

LARGEST_CASE = 2500         # of numbers: the few larger cases would take most of the key

# What repeats the answer to a function or model of the assignment, and is not graded itself. It is
# emptied or left out with it; the models do without what is left out.
EMPTIED_WITH = {"TwoLayerNet": ("FullyConnectedNet.loss",),
                "ConvNet": ("DeepConvNet.loss", "DeepConvNet._conv_forward"),
                "CaptioningRNN": ("CaptioningRNN._forward",)}
LEFT_OUT_WITH = {"fc_backward": "fc_weights_backward", "conv_backward": "conv_weights_backward"}


def write(folder, names, seed=0):
    """Write a hand-out in which functions of the assignment are emptied; returns what to say of it.

    folder: a pathlib.Path that does not exist yet, or is empty. Raises FileExistsError otherwise,
    and ValueError or SyntaxError, before anything is written, if a function cannot be emptied.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: --handout expects a new or an empty folder")
    functions = [COURSES[DEFAULT].functions[name] for name in names]
    stubs, left_out = collections.defaultdict(dict), set()
    for function in functions:
        is_model = function.kind == "model"
        name = f"{function.name}.loss" if is_model else function.name
        stubs[f"{function.file}.py"][name] = stub(name, returned(function))
        for more in EMPTIED_WITH.get(function.name, ()):
            stubs[f"{function.file}.py"][more] = stub(more, AS_DESCRIBED, NOT_GRADED)
        left_out |= {LEFT_OUT_WITH.get(name)}
    texts, shared = project_files(stubs, left_out)
    for relative, text in texts.items():
        report.write(folder / relative, without_dead_references(text))
    for name in AS_THEY_ARE:
        if (report.HOME / name).is_file():
            report.write(folder / name, (report.HOME / name).read_text(encoding="utf-8"))
    if (report.HOME / NOTEBOOK).is_file():
        notebook = json.loads((report.HOME / NOTEBOOK).read_text(encoding="utf-8"))
        report.write(folder / NOTEBOOK, json.dumps(without_solutions(notebook), indent=1,
                                                   ensure_ascii=False) + "\n")
    report.write(folder / "README.md", readme(functions))
    key = folder / "grading" / "key.npz"
    report.answer_key(seed).save(key, names, largest=LARGEST_CASE)
    told = [f"{folder}: {len(functions)} function{'s' * (len(functions) > 1)} to write in "
            f"{', '.join(stubs)}; "
            f"a key of {key.stat().st_size / 1e6:.1f} MB (seed {seed})"]
    if shared:
        told += ["Kept, because kept functions use them too; read whether they tell too much:",
                 *(f"    {line}" for line in shared)]
    return "\n".join(told)


# ---------------------------------------------------------------- which files

def project_files(stubs, left_out):
    """({name: text} of the .py files that the project's scripts need, emptied; what is shared).

    They are what the scripts import, directly or not. What only an emptied body has imported is not
    needed any more. shared has a line for each file with helpers that stay.
    """
    waiting, texts, shared = [report.HOME / name for name in (*SCRIPTS, *stubs)], {}, []
    while waiting:
        path = waiting.pop()
        relative = path.relative_to(report.HOME).as_posix()
        if path.is_file() and relative not in texts and path.name != "handout.py":
            text = path.read_text(encoding="utf-8")
            if relative in stubs:
                text, helpers = emptied(text, stubs[relative], left_out)
                shared += [f"{relative}: {', '.join(helpers)}"] if helpers else []
            texts[relative] = text
            waiting += imported(path, text)
    if gone := [name for name in stubs if name not in texts]:
        raise ValueError(f"there is no {gone[0]}: name the functions that are to be written")
    return dict(sorted(texts.items())), sorted(shared)


def imported(path, text):
    """The files of the project that a file with this text may import: those that exist count."""
    tree = ast.parse(text, path.name)
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module or ''}.{alias.name}".lstrip(".") for alias in node.names]
        folder = path.parent if getattr(node, "level", 0) else report.HOME
        for parts in (name.split(".") for name in names):
            for depth in range(1, len(parts) + 1):
                target = folder.joinpath(*parts[:depth])
                yield from (target.with_name(f"{target.name}.py"), target / "__init__.py")


# ---------------------------------------------------------------- what is emptied

AS_DESCRIBED = "what the docstring says"
NOT_GRADED = "It is not graded, but other code calls it."


def stub(name, returns, *more):
    """The lines in the place of a body, without indentation."""
    bar = "#" * 71
    said = f"TODO: write {name} between these bars.", f"It returns {returns}.", *more
    return [bar, *(f"# {line:67} #" for line in said), bar,
            f'raise NotImplementedError("{name} is not written yet")',
            bar, f"# {'END OF YOUR CODE':^67} #", bar]


def returned(function):
    """What a function of the assignment returns, in words."""
    if function.kind == "model":
        return AS_DESCRIBED
    names = {"forward": (*function.outputs, "cache"), "rule": ("next_w", "config")}.get(
        function.kind, function.outputs)
    return f"({', '.join(names)})" if len(names) > 1 else names[0]


def emptied(source, stubs, left_out):
    """(text, helpers): a file with stubs {name: lines} in the place of bodies.

    Functions in `left_out` go, and so do private helpers that nothing uses any more. helpers are
    private names that the bodies have used, and that stay because others use them. Raises
    ValueError for a name without a body that stands on lines of its own.
    """
    tree, lines = ast.parse(source), source.splitlines()
    more = {name for names in EMPTIED_WITH.values() for name in names}
    stubs = {name: text for name, text in stubs.items()
             if name in definitions(tree) or name not in more}
    edits = []                          # (first line, last line, what stands there instead)
    went = collections.Counter()        # names in what is gone
    for name, text in stubs.items():
        node = definitions(tree).get(name)
        body = node.body if isinstance(node, ast.FunctionDef) else []
        kept = body[:1] if body and ast.get_docstring(node) else []
        if not body or any(lines[part.lineno - 1][:part.col_offset].strip()
                           for part in body[:len(kept) + 1]):
            raise ValueError(f"{name} cannot be emptied: the project's own file needs a def of it, "
                             "with a body on lines of its own")
        first = kept[0].end_lineno + 1 if kept else body[0].lineno
        while lines[first - 2].strip()[:1] in ("", "#"):
            first -= 1
        indent = " " * (node.col_offset + 4)
        edits.append((first, node.end_lineno, [indent + line for line in text]))
        went += mentioned(node)
        node.body = kept
    leaving = [*left_out & definitions(tree).keys(), *unused(tree)]
    while leaving:
        for name in leaving:
            node = definitions(tree)[name]
            edits.append((first_line(node, lines), node.end_lineno, []))
            went += mentioned(node)
            owner = name.rpartition(".")[0]
            (definitions(tree)[owner] if owner else tree).body.remove(node)
        leaving = unused(tree)
    for first, last, text in sorted(edits, reverse=True):
        lines[first - 1:last] = text
    helpers = [name for name in definitions(tree)
               if is_private(name) and name not in stubs and went[own_name(name)]]
    return "\n".join(lines) + "\n", helpers


def definitions(tree):
    """{name: node} of the functions, classes, methods (Class.method) and constants of a file."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found[node.name] = node
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{method.name}": method for method in node.body
                      if isinstance(method, ast.FunctionDef)}
    return found


def own_name(name):
    """A name without that of the class."""
    return name.rpartition(".")[2]


def is_private(name):
    """Whether a definition is for its own file alone."""
    return own_name(name).startswith("_") and not own_name(name).startswith("__")


def mentioned(node):
    """How often names and attributes occur in code: a Counter."""
    return collections.Counter(
        part.id if isinstance(part, ast.Name) else part.attr for part in ast.walk(node)
        if isinstance(part, (ast.Name, ast.Attribute)))


def unused(tree):
    """The private definitions that only mention themselves."""
    everywhere = mentioned(tree)
    return [name for name, node in definitions(tree).items() if is_private(name)
            and everywhere[own_name(name)] == mentioned(node)[own_name(name)]]


def first_line(node, lines):
    """The number of the first line that goes with a definition: comments and space above it too."""
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    while lines[first - 2].strip().startswith("#"):
        first -= 1
    while not lines[first - 2].strip():
        first -= 1
    return first


# What points to pages that a hand-out lacks: (pattern, what stands there instead).
DEAD = ((r'^ *(?:Derived|All gradients are derived) in docs/derivations\.md.*\n', ""),
        (r' *\(docs/derivations\.md, "[^"]*"\)', ""), (r" docs/teaching\.md tells more\.", ""),
        (r'\n+( *""")$', r"\n\1"),             # an empty line that is now a docstring's last
        (r'^( *""".+[.:])\n *"""$', r'\1"""'))


def without_dead_references(text):
    """A file without references to the derivations and to the page for teachers."""
    if "docs/" in text:
        for pattern, instead in DEAD:
            text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    return text


def without_solutions(notebook):
    """A notebook without outputs, and with a stub in each cell that is tagged "solution"."""
    cells = []
    for cell in notebook["cells"]:
        cell = dict(cell)
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
        if "solution" in cell.get("metadata", {}).get("tags", ()):
            cell.pop("attachments", None)
            cell["source"] = [line + "\n" for line in CELL[:-1]] + CELL[-1:] \
                if cell["cell_type"] == "code" else ["*Your answer.*"]
        cells.append(cell)
    return {**notebook, "cells": cells}


CELL = ["# TODO: write this cell.",
        'raise NotImplementedError("this cell is not written yet")']


# ---------------------------------------------------------------- the page for students

README = """\
# Neural networks by hand, in NumPy

You write layers of neural networks as pairs of functions: `NAME_forward` computes an output, and
`NAME_backward` the gradients. The training loop and the experiments that use them are there.

## Start

You need Python 3.10 or newer. In this folder, run:

```sh
python3 -m venv .venv
.venv/bin/pip install numpy matplotlib
.venv/bin/python autograder.py
```

(On Windows it is `py -m venv .venv`, and `.venv\\Scripts\\` in the place of `.venv/bin/`.) The last
command says what is not written yet: all of it, so far.

## What to write

| file | functions |
| --- | --- |
{table}

Each has a docstring that says what goes in and what comes out. Write between the bars, in the place
of the line that raises `NotImplementedError`. Helper functions of your own may stand anywhere in
the file. That wrong arguments raise ValueError, as some docstrings say, is not asked for. Go through the table from top to bottom: what comes later uses what came before.

## Grade yourself

```sh
.venv/bin/python autograder.py {example}
```

It says which functions are right and, of those that are not, what is wrong and in which case.
`--list` shows all names, `--help` all options. The cases here are of one seed; yours will be
graded with others.

## Train

As soon as the functions are written that they call, these train networks. `--quick` takes seconds,
and where there is no network they draw data of their own:

```sh
.venv/bin/python mnist_train.py --quick
.venv/bin/python cnn_train.py --quick
.venv/bin/python image_captioning.py --quick
```

They learn with `sgd_momentum` and `adam`; before these are written, `--update-rule sgd` takes `sgd`.
"""


def readme(functions):
    """The README of a hand-out in which these functions are to be written."""
    by_file = collections.defaultdict(list)
    for function in functions:
        is_model = function.kind == "model"
        by_file[function.file].append(f"`{function.name}{'.loss' * is_model}`")
    return README.format(
        table="\n".join(f"| `{file}.py` | {', '.join(names)} |" for file, names in by_file.items()),
        example=functions[0].name)
