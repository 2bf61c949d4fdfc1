"""Who may import whom, and what no file may do: read from the source, nothing is run."""
import ast
import sys

import pytest

from project import ROOT, TOP

SOURCES = sorted([*TOP, *(ROOT / "data").glob("*.py")])
EVERYWHERE = {*sys.stdlib_module_names, "numpy"}
TEXT_METHODS = {"read_text", "write_text"}
SCRIPTS = {"mnist_train", "cnn_train", "image_captioning", "transfer_learning"}

# What the published course asks its students to write.
COURSE = {
    "layers": {"fc_forward", "fc_backward", "relu_forward", "relu_backward", "conv_forward",
               "conv_backward", "max_pool_forward", "max_pool_backward", "softmax_loss"},
    "rnn_layers": {"rnn_step_forward", "rnn_step_backward", "rnn_forward", "rnn_backward",
                   "word_embedding_forward", "word_embedding_backward", "temporal_fc_forward",
                   "temporal_fc_backward", "temporal_softmax_loss"},
}

# module -> what it may import beside the standard library and numpy
ALLOWED = {
    "checks": set(),
    "layers": {"checks"},
    "rnn_layers": {"layers", "checks"},
    "norm_layers": {"checks"},
    "optim": {"checks"},
    "checkpoint": set(),
    "solver": {"optim", "checkpoint", "checks"},
    "fc_net": {"layers", "norm_layers", "checks"},
    "cnn": {"layers", "norm_layers", "checks"},
    "rnn": {"layers", "rnn_layers", "norm_layers", "checks"},
    "autograder": {"grading", "pytest"},
    "experiment": {"checkpoint", "optim", "solver", "data", "matplotlib"},
    "mnist_train": {"experiment", "fc_net", "solver"},
    "cnn_train": {"experiment", "cnn", "solver"},
    "image_captioning": {"experiment", "rnn", "solver", "data", "matplotlib"},
    "transfer_learning": {"experiment", "checkpoint", "data", "torch", "torchvision"},
    "data": {"data"},
    "data.coco": {"data", "h5py"},
    "data.hymenoptera": {"data", "PIL", "torchvision"},
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


@pytest.mark.parametrize("name", ["rnn_layers", "fc_net", "cnn", "rnn"])
def test_only_functions_of_the_course_are_imported_from_the_layers(name):
    """So a student's own layers can take the place of ours.

    More may be imported where `except ImportError` does without it, and the LSTM is looked up
    only where it is used.
    """
    tree = ast.parse((ROOT / f"{name}.py").read_text())
    optional = {node for block in ast.walk(tree) if isinstance(block, ast.Try)
                and any(ast.unparse(handler.type) == "ImportError" for handler in block.handlers)
                for statement in block.body for node in ast.walk(statement)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in COURSE and node not in optional:
            more = {alias.name for alias in node.names} - COURSE[node.module]
            assert not more, f"{name} imports {more} from {node.module}"
        elif isinstance(node, ast.Attribute) and getattr(node.value, "id", None) in COURSE:
            assert node.attr.startswith("lstm_"), f"{name} uses {ast.unparse(node)}"


@pytest.mark.parametrize("name", ["fc_net", "cnn"])
def test_the_models_of_the_course_do_without_the_layers_that_normalise(name):
    """So they run in a folder that has a student's layers.py alone."""
    tree = ast.parse((ROOT / f"{name}.py").read_text())
    assert "norm_layers" not in set(imported_modules(tree, top_level_only=True))


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


@pytest.mark.parametrize("path", [*SOURCES, *ROOT.glob("grading/*.py"), *ROOT.glob("docs/*.py")],
                         ids=module_name)
def test_text_files_are_read_and_written_in_utf_8(path):
    """In the encoding of Windows a Greek letter would become another one, or an error."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and (getattr(node.func, "id", None) == "open" or
                                           getattr(node.func, "attr", None) in TEXT_METHODS):
            binary = any(isinstance(mode, ast.Constant) and "b" in mode.value
                         for mode in node.args[1:2])
            named = any(keyword.arg == "encoding" for keyword in node.keywords)
            assert binary or named, f"line {node.lineno}: {ast.unparse(node)}"


def test_only_the_files_of_the_layout_are_at_the_top():
    layout = {*SCRIPTS, "checks", "layers", "solver", "optim", "fc_net", "cnn", "rnn", "rnn_layers",
              "norm_layers", "autograder", "checkpoint", "experiment"}
    assert {path.stem for path in TOP} <= layout
