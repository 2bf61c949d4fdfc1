"""Who may import whom, and what no file may do: read from the source, nothing is run."""
import ast
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = sorted([*ROOT.glob("*.py"), *(ROOT / "data").glob("*.py")])
EVERYWHERE = {*sys.stdlib_module_names, "numpy"}
SCRIPTS = {"mnist_train", "cnn_train", "image_captioning", "transfer_learning"}

# module -> what it may import beside the standard library and numpy
ALLOWED = {
    "layers": set(),
    "rnn_layers": {"layers"},
    "optim": {"layers"},        # for its reuse of memory
    "solver": {"layers", "optim"},  # layers for its checks of arguments
    "fc_net": {"layers"},
    "cnn": {"layers"},
    "rnn": {"layers", "rnn_layers"},
    "autograder": {"torch", "pytest"},
    "experiment": {"solver", "data", "matplotlib"},
    "mnist_train": {"experiment", "fc_net", "solver"},
    "cnn_train": {"experiment", "cnn", "layers", "solver"},
    "image_captioning": {"experiment", "rnn", "solver", "data", "matplotlib"},
    "transfer_learning": {"experiment", "solver", "data", "torch", "torchvision"},
    "data": {"data"},
    "data.coco": {"data", "h5py"},
    "data.hymenoptera": {"data", "PIL"},
}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def allowed(name):
    return ALLOWED.get(name, ALLOWED["data"] if name.startswith("data") else None)


def imported_modules(tree, top_level_only=False):
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0] if node.level == 0 else "data"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_follow_the_arrows(path):
    name = module_name(path)
    assert allowed(name) is not None, f"{name} has no place in the layout"
    imported = set(imported_modules(ast.parse(path.read_text())))
    assert imported <= EVERYWHERE | allowed(name), f"{name} imports {imported - EVERYWHERE}"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_optional_packages_are_imported_where_they_are_used(path):
    """h5py and matplotlib are no condition for importing anything; nobody imports pyplot."""
    tree = ast.parse(path.read_text())
    assert not {"h5py", "matplotlib"} & set(imported_modules(tree, top_level_only=True))
    assert "pyplot" not in path.read_text()


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_imports_have_no_side_effects(path):
    """At the top level there are definitions only: no call but under __main__."""
    for node in ast.parse(path.read_text()).body:
        assert not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)), \
            f"line {node.lineno} does something on import"


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_what_is_public_has_a_docstring(path):
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def test_only_the_files_of_the_layout_are_at_the_top():
    layout = {*SCRIPTS, "layers", "solver", "optim", "fc_net", "cnn", "rnn", "rnn_layers",
              "autograder", "experiment"}
    assert {path.stem for path in ROOT.glob("*.py")} <= layout
