"""The documents: links lead somewhere, quoted code is where it is said to be, tests have the names."""
import ast
import importlib.util
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


def without_code_blocks(text):
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def links(path):
    """(text, target) of every link and picture."""
    return re.findall(r"\[((?:`[^`]*`|[^\]])*)\]\(([^)\s]+)\)", without_code_blocks(path.read_text()))


def anchors(path):
    """The anchors that GitHub gives to a document's headings."""
    headings = re.findall(r"^#+ (.*)$", without_code_blocks(path.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_document
def test_links_lead_somewhere(path):
    for text, target in links(path):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        assert file.exists(), f"[{text}] leads to {name}, which does not exist"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"[{text}] leads to #{anchor}, which is no heading"


def test_the_drawn_figures_can_be_drawn(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("draw_figures", ROOT / "docs" / "draw_figures.py")
    draw_figures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw_figures)
    monkeypatch.setattr(draw_figures, "FOLDER", tmp_path)
    draw_figures.main([])
    shown = re.findall(r"figures/([\w.]+)", (ROOT / "docs" / "derivations.md").read_text())
    assert {path.name for path in tmp_path.iterdir()} == {*shown, "weight_scales.png"}


@every_document
def test_quoted_code_stands_in_the_line_it_is_linked_to(path):
    moved = []
    for text, target in links(path):
        name, _, line = target.partition("#L")
        if not line:
            continue
        code = text.strip("`")
        lines = (path.parent / name).resolve().read_text().splitlines()
        places = [number for number, content in enumerate(lines, start=1)
                  if content.strip().startswith(code)]
        if int(line) not in places:
            moved.append(f"{name}: `{code}` is in line {places}, not {line}")
    assert not moved, "\n".join(moved)


def test_every_test_that_the_derivations_name_exists_and_none_is_unnamed():
    tree = ast.parse((ROOT / "tests" / "test_derivations.py").read_text())
    tests = {node.name for node in tree.body
             if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "derivations.md").read_text()))
    assert named == tests


def sections_of_the_derivations():
    """heading -> text of the section."""
    parts = re.split(r"^## (.*)$", (ROOT / "docs" / "derivations.md").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def gradients(module):
    """Every function of a module that computes gradients, or says where it is derived."""
    for node in ast.parse((ROOT / module).read_text()).body:
        if isinstance(node, ast.FunctionDef):
            public = not node.name.startswith("_") and node.name.endswith(("_backward", "_loss"))
            if public or "docs/derivations.md" in (ast.get_docstring(node) or ""):
                yield pytest.param(module, node, id=node.name)


@pytest.mark.parametrize("module, function", [
    case for module in ("layers.py", "norm_layers.py", "rnn_layers.py")
    for case in gradients(module)])
def test_the_docstring_leads_to_the_derivation_and_that_leads_back(module, function):
    named = re.search(r'Derived in docs/derivations\.md,\s+"([^"]+)"', ast.get_docstring(function))
    assert named, f"{function.name} does not say where it is derived"
    lines = re.findall(rf"\(\.\./{module}#L(\d+)\)", sections_of_the_derivations()[named[1]])
    assert any(function.lineno <= int(line) <= function.end_lineno for line in lines), \
        f'"{named[1]}" has no link to a line of {function.name}'


# What is used and known to be understood by GitHub.
MACROS = set("""bar begin beta bigl bigr Bigl Bigr cdot delta dots end exp frac gamma hat in le left
    lfloor ln log Longleftrightarrow Longrightarrow mathbf mathsf max min mu ne odot partial qquad quad rfloor
    right rho sigma sqrt sum tanh text times varepsilon""".split())


@every_document
def test_mathematics_is_closed(path):
    """Fences, inline formulas, braces and brackets come in pairs."""
    text = path.read_text()
    assert text.count("\n```") % 2 == 0
    blocks = re.findall(r"^```math\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    inline = re.findall(r"\$`(.*?)`\$", without_code_blocks(text), flags=re.DOTALL)
    # GitHub ends a formula at an empty line, and does not begin one beside a letter or digit.
    assert not any("\n\n" in block for block in blocks)
    assert not any("\n" in formula or "|" in formula or "<" in formula for formula in inline)
    assert not re.findall(r"\w\$`|`\$\w", without_code_blocks(text))
    assert without_code_blocks(text).count("$`") == without_code_blocks(text).count("`$")
    for formula in [*blocks, *inline]:
        assert set(re.findall(r"\\([A-Za-z]+)", formula)) <= MACROS, formula
        bare = formula.replace(r"\{", "").replace(r"\}", "")
        assert bare.count("{") == bare.count("}"), formula
        assert formula.count(r"\left") == formula.count(r"\right"), formula
        assert formula.count(r"\begin{") == formula.count(r"\end{"), formula
        assert formula.count(r"\bigl") == formula.count(r"\bigr"), formula
        assert formula.count(r"\Bigl") == formula.count(r"\Bigr"), formula
