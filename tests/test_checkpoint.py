"""Checkpoints: whole or not at all, never of another training, and no damage goes unnoticed."""
import os
import pickle
import re

import numpy as np
import pytest

import checkpoint
from checkpoint import CheckpointError, read_checkpoint, save_atomically, write_checkpoint


def example(path):
    """A checkpoint with a small array, and one so large that it is read in several pieces."""
    rng = np.random.default_rng(0)
    write_checkpoint(path, {"data": "MNIST", "optim_config": {"learning_rate": 0.1}}, {"epoch": 3}, {
        "params/W1": rng.standard_normal((300, 20)), "params/b1": np.float32([1, 2, 3])})
    return path


def assert_same(actual, expected):
    assert actual[0] == expected[0] and actual[1].keys() == expected[1].keys()
    for name, array in actual[1].items():
        np.testing.assert_array_equal(array, expected[1][name], strict=True)


def test_what_is_written_is_read(tmp_path):
    state, arrays = read_checkpoint(example(tmp_path / "run.npz"))
    assert state == {"epoch": 3} and arrays.keys() == {"params/W1", "params/b1"}
    np.testing.assert_array_equal(arrays["params/b1"], np.float32([1, 2, 3]), strict=True)
    assert os.listdir(tmp_path) == ["run.npz"]


def flipped_bits(content):
    """A few hundred bits: some anywhere, and all in the head of the large array."""
    head = content.index(b"'shape': (300, 20)")
    yield from range(8 * head, 8 * (head + 18))
    yield from np.random.default_rng(0).integers(0, 8 * len(content), 200).tolist()
    yield from np.random.default_rng(1).integers(8 * (len(content) - 600), 8 * len(content), 200).tolist()


def test_no_flipped_bit_goes_unnoticed(tmp_path):
    """The checkpoint is refused, or what is read is what was written: a date, say, does not matter."""
    path = example(tmp_path / "run.npz")
    content, expected = path.read_bytes(), read_checkpoint(path)
    refused = 0
    for bit in flipped_bits(content):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            found = read_checkpoint(path)
        except CheckpointError as error:
            assert str(path) in str(error)
            refused += 1
        else:
            assert_same(found, expected)
    assert refused > 400                        # of 544


@pytest.mark.parametrize("damage", [
    lambda content: b"", lambda content: content[:-1], lambda content: content[:len(content) // 2],
    lambda content: bytes(len(content)), lambda content: b"<!doctype html><title>404</title>"],
    ids=["empty", "one byte short", "half", "zeros", "a web page"])
def test_a_damaged_file_is_named(damage, tmp_path):
    path = example(tmp_path / "run.npz")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=f"{re.escape(str(path))} is damaged, .* Delete it"):
        read_checkpoint(path)


def test_a_file_of_something_else_is_no_checkpoint(tmp_path):
    path = tmp_path / "run.npz"
    with pytest.raises(CheckpointError, match="there is no checkpoint .*run.npz"):
        read_checkpoint(path)
    for arrays in ({"x": np.ones(3)}, {"json": np.array("[]")}, {"json": np.array('{"version": 2}')}):
        np.savez(path, **arrays)
        with pytest.raises(CheckpointError, match="not a checkpoint"):
            read_checkpoint(path)


def test_another_version_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "VERSION", 99)
    path = example(tmp_path / "run.npz")
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="has checkpoint format 99, this program reads 2"):
        read_checkpoint(path)


@pytest.mark.parametrize("change, message", [
    ({"data": "drawn digits"}, r"\(data: MNIST then, drawn digits now\)"),
    ({"optim_config": {"learning_rate": 0.2}}, "optim_config learning_rate: 0.1 then, 0.2 now"),
    ({"reg": 0.1}, "reg: None then, 0.1 now"), ({"data": None}, "data: MNIST then, None now")])
def test_another_training_is_told_by_its_settings(change, message, tmp_path):
    settings = {"data": "MNIST", "optim_config": {"learning_rate": 0.1}}
    path = example(tmp_path / "run.npz")
    read_checkpoint(path, settings)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(path, {**settings, **change})


def test_settings_of_numpy_and_tuples_are_those_that_were_written(tmp_path):
    settings = {"rate": np.float32(0.1), "size": np.int64(3), "shape": (2, 3)}
    write_checkpoint(tmp_path / "run.npz", settings, {}, {})
    read_checkpoint(tmp_path / "run.npz", settings)


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fails(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError):
        save_atomically(path, fails)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]
    with pytest.raises(CheckpointError, match="cannot write the checkpoint .*missing"):
        write_checkpoint(tmp_path / "missing" / "run.npz", {}, {}, {})


def test_a_planted_pickle_is_never_loaded(tmp_path):
    """An array of objects is how code would come in; NumPy must not be asked to unpickle it."""
    class Planted:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "code was run"),)

    path = tmp_path / "run.npz"
    text = np.array('{"version": 2, "settings": {}, "state": {}, "arrays": ["weights"]}')
    np.savez(path, json=text, weights=np.array([Planted()], dtype=object))
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(Planted()))
    with pytest.raises(CheckpointError, match="damaged"):
        read_checkpoint(path)
    assert not (tmp_path / "code was run").exists()
    np.load(path, allow_pickle=True)            # the trap is a real one
    assert (tmp_path / "code was run").exists()
