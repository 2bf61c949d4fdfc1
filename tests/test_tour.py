"""tour.ipynb runs offline and prints the figures that are stored in it."""
import importlib.util
import json
import math
import pathlib
import re
import socket
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location("run_tour", ROOT / "docs" / "run_tour.py")
run_tour = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run_tour)

TEXT = run_tour.NOTEBOOK.read_text(encoding="utf-8")
NOTEBOOK = json.loads(TEXT)
CELLS = run_tour.code_cells(NOTEBOOK)
STORED = [cell["outputs"] for cell in CELLS]
NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)")


def texts(outputs):
    """What the outputs of a cell say in text and HTML, picture by picture, in their order."""
    for output in outputs:
        if output["output_type"] == "stream":
            yield "".join(output["text"])
        elif output["output_type"] == "display_data":
            yield "a picture"
        else:
            yield from ("".join(output["data"][kind]) for kind in sorted(output["data"]))


def differences(outputs, stored):
    """(text, stored text) of the pieces that differ.

    BLAS libraries add in different orders, which changes the last bits of a sum and, now and then,
    how a number is rounded: its last printed digit may differ by one. Whole numbers are equal.
    """
    new, old = list(texts(outputs)), list(texts(stored))
    if len(new) != len(old):
        return [(new, old)]
    return [(a, b) for a, b in zip(new, old) if not same(NUMBER.split(a), NUMBER.split(b))]


def same(new, old):
    """Whether two texts, split into other text and numbers by turns, say the same."""
    return len(new) == len(old) and new[::2] == old[::2] and all(
        math.isclose(float(a), float(b), rel_tol=0, abs_tol=1.01 * last_digit(b))
        for a, b in zip(new[1::2], old[1::2]))


def last_digit(number):
    """What one unit of the last digit is worth: 0.01 in 3.14, and 0 in a whole number."""
    digits, _, exponent = number.partition("e")
    decimals = len(digits.partition(".")[2])
    return 10.0 ** (int(exponent or 0) - decimals) if decimals or exponent else 0.0


@pytest.fixture
def offline(monkeypatch):
    """No connection and no other program, from the project's folder."""
    def refuse(*_, **__):
        raise AssertionError("the notebook uses the network or starts a program")
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.chdir(ROOT)


def test_the_cells_print_what_is_stored_in_less_than_three_minutes(offline):
    started = time.monotonic()
    for cell, outputs, stored in zip(CELLS, run_tour.run(NOTEBOOK), STORED):
        for new, old in differences(outputs, stored):
            pytest.fail(f"run python docs/run_tour.py: under the cell {cell['id']} stands\n{old}\n"
                        f"and it gives\n{new}", pytrace=False)
    assert time.monotonic() - started < 180


def test_a_changed_figure_or_word_is_seen():
    """Each number in the stored outputs, changed alone by two units of its last digit, is found."""
    pieces = [text for stored in STORED for text in texts(stored)]
    assert sum(len(NUMBER.findall(text)) for text in pieces) > 100
    for text in pieces:
        parts = NUMBER.split(text)
        assert same(parts, parts)
        for place, part in enumerate(parts[:40]):
            step = 2 * last_digit(part) or 1 if place % 2 else None
            changed = part + "x" if step is None else f"{float(part) + step}"
            assert not same([*parts[:place], changed, *parts[place + 1:]], parts)


def test_a_missing_picture_is_seen():
    pictures = [stored for stored in STORED
                if any(output["output_type"] == "display_data" for output in stored)]
    assert len(pictures) >= 6
    for stored in pictures:
        assert differences([output for output in stored
                            if output["output_type"] != "display_data"], stored)


def test_it_is_small_and_complete():
    assert 20 <= len(NOTEBOOK["cells"]) <= 30
    assert len(TEXT.encode()) < 1_000_000
    assert [cell["execution_count"] for cell in CELLS] == list(range(1, len(CELLS) + 1))


def test_its_links_lead_somewhere():
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    assert len(links) >= 3 and all((ROOT / link).exists() for link in links)


def test_it_is_a_valid_notebook():
    """What the schema of nbformat 4.5 asks for and Jupyter would complain about."""
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in NOTEBOOK["cells"]]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"[\w-]{1,64}", id) for id in ids)
    code = {"cell_type", "id", "metadata", "source"}
    for cell in NOTEBOOK["cells"]:
        more = {"execution_count", "outputs"} if cell["cell_type"] == "code" else set()
        assert set(cell) == code | more
    fields = {"stream": {"name", "text"}, "display_data": {"data", "metadata"},
              "execute_result": {"data", "metadata", "execution_count"}}
    for output in sum(STORED, []):
        assert set(output) == {"output_type"} | fields[output["output_type"]]


def test_the_other_cells_run_when_the_solutions_are_emptied(offline):
    """A hand-out empties the cells with the tag "solution"."""
    emptied = [{**cell, "source": []} if "solution" in cell["metadata"].get("tags", []) else cell
               for cell in CELLS]
    assert sum(cell["source"] == [] for cell in emptied) == 2
    for cell, outputs, stored in zip(emptied, run_tour.run({"cells": emptied}), STORED):
        assert bool(outputs) == bool(stored and cell["source"])


@pytest.fixture
def opened_alone(tmp_path, monkeypatch):
    """Runs the first cell in a folder that lacks the project; returns the commands it starts."""
    commands = []

    def run(command, check):
        commands.append(command)
        (tmp_path / command[-1]).mkdir()
        (tmp_path / command[-1] / "layers.py").touch()

    def first_cell(address):
        monkeypatch.chdir(tmp_path)
        source = "".join(CELLS[0]["source"])
        assert source.count('REPOSITORY = ""') == 1
        exec(source.replace('REPOSITORY = ""', f"REPOSITORY = {address!r}"), {})
        return commands

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr("sys.path", [])
    return first_cell


def test_the_project_is_cloned_once_where_it_is_not_there(opened_alone, tmp_path):
    address = "https://example.org/layers.git"
    for _ in range(2):                          # as after a restart of the kernel
        commands = opened_alone(address)
        assert pathlib.Path.cwd() == tmp_path / "project" == pathlib.Path(sys.path[0])
    assert commands == [["git", "clone", "--depth", "1", address, "project"]]


def test_a_missing_address_is_asked_for(opened_alone):
    with pytest.raises(FileNotFoundError, match="write its address into REPOSITORY"):
        opened_alone("")
