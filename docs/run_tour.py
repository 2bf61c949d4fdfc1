"""Runs the cells of tour.ipynb and stores what they print and draw:  python docs/run_tour.py

Jupyter's "Restart kernel and run all cells" does the same; this needs no Jupyter.
"""
import argparse
import ast
import base64
import contextlib
import io
import json
import os
import pathlib
import sys
from unittest import mock

from matplotlib import pyplot

NOTEBOOK = pathlib.Path(__file__).resolve().parent.parent / "tour.ipynb"


def code_cells(notebook):
    """The code cells of a notebook, a dict as JSON gives it."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run(notebook):
    """Run the code cells in order, in one namespace; yields for each the outputs to be stored."""
    pyplot.switch_backend("agg")                # draws without a screen
    namespace = {"__name__": "__main__"}
    for number, cell in enumerate(code_cells(notebook), start=1):
        yield outputs_of("".join(cell["source"]), number, namespace)


def outputs_of(source, number, namespace):
    """Printed text, the figures at each plt.show() and the last expression's value, as stored."""
    outputs, printed = [], io.StringIO()

    def keep_text():
        if printed.getvalue():
            outputs.append({"output_type": "stream", "name": "stdout",
                            "text": lines(printed.getvalue())})
            printed.seek(0)
            printed.truncate()

    def keep_figures():
        keep_text()
        for figure in map(pyplot.figure, pyplot.get_fignums()):
            png = io.BytesIO()
            figure.savefig(png, format="png", bbox_inches="tight")
            data = {"image/png": base64.b64encode(png.getvalue()).decode(),
                    "text/plain": lines(repr(figure))}
            outputs.append({"output_type": "display_data", "data": data, "metadata": {}})
            pyplot.close(figure)

    with contextlib.redirect_stdout(printed), mock.patch.object(pyplot, "show", keep_figures):
        value = evaluate(source, f"<cell {number}>", namespace)
    keep_text()
    if value is not None:
        data = {"text/plain": lines(repr(value))}
        if hasattr(value, "_repr_html_"):
            data = {"text/html": lines(value._repr_html_()), **data}
        outputs.append({"output_type": "execute_result", "data": data, "metadata": {},
                        "execution_count": number})
    return outputs


def evaluate(source, name, namespace):
    """Execute the source; returns the value of its last statement if that is an expression."""
    tree, last = ast.parse(source, name), None
    if tree.body and isinstance(tree.body[-1], ast.Expr):
        last = ast.Expression(tree.body.pop().value)
    exec(compile(tree, name, "exec"), namespace)
    return last and eval(compile(last, name, "eval"), namespace)


def lines(text):
    """Text as notebooks store it."""
    return text.splitlines(keepends=True)


def main(argv=None):
    """Run the notebook in place."""
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    os.chdir(NOTEBOOK.parent)
    sys.path.insert(0, os.getcwd())
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    for number, (cell, outputs) in enumerate(zip(code_cells(notebook), run(notebook)), start=1):
        cell.update(execution_count=number, outputs=outputs)
    text = json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    NOTEBOOK.write_text(text, encoding="utf-8", newline="\n")
    print(f"{NOTEBOOK}: {len(notebook['cells'])} cells, {len(text) / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
