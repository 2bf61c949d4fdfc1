"""The MNIST loader on small files in both forms, whole and damaged."""
import gzip
import hashlib
import os
import time

import numpy as np
import pytest

import data.download
import data.mnist
from data.download import DataError, DownloadError
from data.mnist import FILES, load_mnist
from test_download import hanging_dns, server, whole  # the first two are fixtures

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = FILES


def idx(magic, array):
    """The bytes of an IDX file."""
    header = np.array([magic, *array.shape], dtype=">u4")
    return header.tobytes() + array.astype(np.uint8).tobytes()


def small_arrays():
    """Images (N, 28, 28) and labels (N,), 60 of them for training and 20 for testing."""
    rng = np.random.default_rng(0)
    return (rng.integers(0, 256, (60, 28, 28), np.uint8), rng.integers(0, 10, 60),
            rng.integers(0, 256, (20, 28, 28), np.uint8), rng.integers(0, 10, 20))


def split_arrays(split):
    """The same as a dict, the first `split` for training and the others for validation."""
    X, y, X_test, y_test = small_arrays()
    return {"X_train": X[:split], "y_train": y[:split], "X_val": X[split:], "y_val": y[split:],
            "X_test": X_test, "y_test": y_test}


def small_files():
    """{name of FILES: content, not zipped}"""
    return {name: idx(2051 if "images" in name else 2049, array)
            for name, array in zip(FILES, small_arrays())}


def write(folder, files, naming=str):
    for name, content in files.items():
        name = naming(name)
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


def unzipped(name):
    return name.removesuffix(".gz")


def dotted(name):
    return name.replace("-idx", ".idx")


def assert_refused(folder, *parts):
    """The folder is refused in one line with these parts."""
    with pytest.raises(DataError) as caught:
        load_mnist(folder, num_val=10)
    text = str(caught.value)
    assert "\n" not in text and all(str(part) in text for part in parts), text


# ---------------------------------------------------------------- the four original files

@pytest.mark.parametrize("naming", [str, unzipped, dotted, lambda name: dotted(unzipped(name))])
def test_values_shapes_and_types(tmp_path, naming):
    write(tmp_path, small_files(), naming)
    result = load_mnist(tmp_path, num_val=10)
    for name, expected in split_arrays(50).items():
        if name.startswith("X"):
            expected = expected[:, np.newaxis] / np.float32(255)
        np.testing.assert_array_equal(result[name], expected, strict=True)
        assert result[name].flags.writeable


@pytest.mark.parametrize("num_val", [60, -1, 5000])
def test_num_val_must_leave_something_to_train_on(tmp_path, num_val):
    write(tmp_path, small_files())
    with pytest.raises(DataError, match=f"60 training images; .* 0 to 59, got {num_val}"):
        load_mnist(tmp_path, num_val=num_val)


@pytest.mark.parametrize("folder, present, lacks", [
    ("nowhere", [], "does not exist, so it lacks"), (".", [], "lacks"),
    (".", [TRAIN_LABELS, TEST_IMAGES], "lacks")])
def test_what_is_missing_is_listed_whole(tmp_path, folder, present, lacks):
    write(tmp_path, {name: small_files()[name] for name in present})
    with pytest.raises(DataError) as caught:
        load_mnist(tmp_path / folder)
    words = str(caught.value)
    assert {name for name in FILES if name in words} == set(FILES) - set(present)
    assert f"{tmp_path / folder} {lacks} t" in words and "put mnist.npz there" in words
    assert data.mnist.MIRRORS[0] in words
    assert sorted(os.listdir(tmp_path)) == sorted(present)


@pytest.mark.parametrize("name, content, message", [
    (TRAIN_IMAGES, small_files()[TRAIN_IMAGES][:-1], "is damaged"),
    (TRAIN_IMAGES, small_files()[TRAIN_IMAGES] + b"x", "is damaged"),
    (TRAIN_IMAGES, b"", "is damaged"),
    (TRAIN_IMAGES, b"<!DOCTYPE html><html></html>", "is damaged"),
    (TRAIN_LABELS, small_files()[TRAIN_IMAGES], "60 whole labels, found uint8 (60, 28, 28)"),
    (TRAIN_IMAGES, small_files()[TRAIN_LABELS], "images of 28 x 28 pixels, found uint8 (60,)"),
    (TEST_IMAGES, idx(2051, np.ones((20, 28, 27))), "28 x 28 pixels, found uint8 (20, 28, 27)"),
    (TRAIN_LABELS, idx(2049, np.ones(59)), "expects 60 whole labels, found uint8 (59,)"),
    (TRAIN_LABELS, idx(2049, np.full(60, 10)), "expects labels from 0 to 9, found 10 to 10")])
@pytest.mark.parametrize("naming", [str, unzipped])
def test_a_damaged_file_is_named(tmp_path, naming, name, content, message):
    write(tmp_path, small_files() | {name: content}, naming)
    assert_refused(tmp_path, tmp_path / naming(name), message, "delete it")


# ---------------------------------------------------------------- the assignment's mnist.npz

def npz(folder, images=lambda X: X, naming=str, **changes):
    """Write mnist.npz: 40 images for training, 20 for validation, 20 for testing."""
    np.savez(folder / "mnist.npz", **{
        naming(name): images(array) if name.startswith("X") else array
        for name, array in (split_arrays(40) | changes).items() if array is not None})


@pytest.mark.parametrize("images", [
    lambda X: X, lambda X: X.reshape(-1, 784), lambda X: X[:, np.newaxis],
    lambda X: X / np.float32(255), lambda X: X.reshape(-1, 784) / np.float32(255),
    lambda X: (X / np.float32(255)).astype(np.float64), lambda X: X.astype(np.int64)],
    ids=["28x28", "flat", "1x28x28", "float", "flat float", "double", "int64"])
def test_every_form_of_npz_gives_what_the_original_files_give(tmp_path, images):
    npz(tmp_path, images)
    (tmp_path / "original").mkdir()
    write(tmp_path / "original", small_files())
    result, expected = load_mnist(tmp_path), load_mnist(tmp_path / "original", num_val=20)
    assert list(result) == list(expected)
    for name in expected:
        np.testing.assert_array_equal(result[name], expected[name], strict=True)


def test_an_npz_without_validation_set_is_split(tmp_path):
    npz(tmp_path, naming=str.lower, X_val=None, y_val=None)
    result = load_mnist(tmp_path, num_val=10)
    assert [len(result[f"y_{part}"]) for part in ("train", "val", "test")] == [30, 10, 20]
    np.testing.assert_array_equal(result["y_val"], small_arrays()[1][30:40])


@pytest.mark.parametrize("name", [TRAIN_IMAGES, "mnist.npz"])
@pytest.mark.parametrize("damage", [
    lambda content: b"", lambda content: b"<html></html>", lambda content: content[:-100],
    lambda content: content[:-4] + b"oops", lambda content: np.lib.format.magic(1, 0) + content,
    lambda content: content[:500] + b"\xff" * 100 + content[600:],
    lambda content: content[:10] + b"\xff" * 100 + content[110:]])
def test_a_damaged_archive_is_named(tmp_path, name, damage):
    npz(tmp_path) if name == "mnist.npz" else write(tmp_path, small_files())
    path = tmp_path / name
    path.write_bytes(damage(path.read_bytes()))
    assert_refused(tmp_path, path, "is damaged", "delete it")


class Opener:
    """Unpickled, it would make a folder: nothing in a data file may run."""
    def __reduce__(self):
        return os.mkdir, ("pickle_was_loaded",)


X = np.zeros((40, 784))


@pytest.mark.parametrize("changes, message", [
    ({"X_test": None}, "lacks X_test (it holds X_train, y_train, X_val, y_val, y_test)"),
    ({"y_val": None}, "lacks y_val"),
    ({"X_val": None}, "lacks X_val"),
    ({"X_train": X[:, 1:]}, "X_train expects images of 28 x 28 pixels, found float64 (40, 783)"),
    ({"X_train": np.zeros((40, 28, 28, 1))}, "found float64 (40, 28, 28, 1)"),
    ({"X_train": X.astype(complex)}, "found complex128"),
    ({"X_train": np.array(0.5)}, "found float64 ()"),
    ({"X_train": X[:0], "y_train": np.zeros(0, int)}, "found float64 (0, 784)"),
    ({"X_train": X + 255}, "X_train expects float64 pixels from 0 to 1, found 255.0 to 255.0"),
    ({"X_train": X * np.nan}, "X_train expects float64 pixels from 0 to 1, found nan"),
    ({"X_train": X.astype(int) - 1}, "X_train expects int64 pixels from 0 to 255, found -1 to -1"),
    ({"y_train": np.zeros(39, int)}, "y_train expects 40 whole labels, found int64 (39,)"),
    ({"y_train": np.zeros((40, 10), int)}, "expects 40 whole labels, found int64 (40, 10)"),
    ({"y_train": np.zeros(40)}, "expects 40 whole labels, found float64 (40,)"),
    ({"y_train": np.full(40, 10)}, "y_train expects labels from 0 to 9, found 10 to 10"),
    ({"y_train": np.array([Opener()] * 40)}, "no archive of plain arrays")])
def test_an_npz_of_something_else_is_one_line(tmp_path, monkeypatch, changes, message):
    monkeypatch.chdir(tmp_path)
    npz(tmp_path, **changes)
    assert_refused(tmp_path, tmp_path / "mnist.npz", message, "delete it")
    assert os.listdir() == ["mnist.npz"]


# ---------------------------------------------------------------- downloading

@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """A folder in the place of data/mnist, which is not there yet."""
    monkeypatch.setattr(data.mnist, "FOLDER", str(tmp_path / "mnist"))
    return tmp_path / "mnist"


@pytest.fixture
def mirrors(server, monkeypatch):
    """Two mirrors, of which the second has the small data set."""
    monkeypatch.setattr(data.mnist, "MIRRORS", (server.url("bad/"), server.url("good/")))
    for name, content in small_files().items():
        zipped = gzip.compress(content)
        server.pages["good/" + name] = whole(zipped)
        monkeypatch.setitem(FILES, name, hashlib.md5(zipped).hexdigest())
    return server


def test_missing_files_are_downloaded_and_the_mirror_that_works_is_asked_first(
        own_folder, mirrors):
    own_folder.mkdir()
    write(own_folder, {TEST_LABELS: small_files()[TEST_LABELS]})
    np.testing.assert_array_equal(load_mnist(num_val=10)["y_val"], small_arrays()[1][50:])
    asked = [f"bad/{TRAIN_IMAGES}", f"good/{TRAIN_IMAGES}", f"good/{TRAIN_LABELS}",
             f"good/{TEST_IMAGES}"]
    assert [name for name, _ in mirrors.asked] == asked
    load_mnist(num_val=10)
    assert len(mirrors.asked) == len(asked)


def test_a_failed_download_lists_all_that_is_missing(own_folder, mirrors):
    mirrors.pages.clear()
    with pytest.raises(DownloadError, match="Not Found") as caught:
        load_mnist()
    assert all(name in str(caught.value) for name in FILES)
    assert {name.split("/")[1] for name, _ in mirrors.asked} == {TRAIN_IMAGES}


def test_download_false_forbids_it(own_folder, mirrors):
    with pytest.raises(DataError, match=TRAIN_IMAGES):
        load_mnist(download=False)
    assert mirrors.asked == []


def test_a_network_that_hangs_costs_the_connect_limit_once(own_folder, hanging_dns, monkeypatch):
    monkeypatch.setattr(data.download, "CONNECT_SECONDS", 0.2)
    start = time.monotonic()
    with pytest.raises(DownloadError, match="no\\s+answer\\s+within"):
        load_mnist()
    assert time.monotonic() - start < 1
    assert not own_folder.exists()
