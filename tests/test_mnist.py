"""The MNIST loader on small IDX files, whole and damaged."""
import functools
import gzip
import hashlib
import os
import time

import numpy as np
import pytest

import data.mnist
from data.download import DataError, DownloadError, NetworkUnreachable, download
from data.mnist import FILES, load_mnist
from test_download import hanging_dns  # a fixture

TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS = FILES
IMAGES_MAGIC, LABELS_MAGIC = 0x00000803, 0x00000801


def idx(magic, array):
    """The bytes of an IDX file."""
    header = np.array([magic, *array.shape], dtype=">u4")
    return header.tobytes() + array.astype(np.uint8).tobytes()


def small_set(num_train=60, num_test=20, seed=0):
    """(file contents by name, arrays by name) of a small data set."""
    rng = np.random.default_rng(seed)
    arrays = {TRAIN_IMAGES: rng.integers(0, 256, (num_train, 28, 28)),
              TRAIN_LABELS: rng.integers(0, 10, num_train),
              TEST_IMAGES: rng.integers(0, 256, (num_test, 28, 28)),
              TEST_LABELS: rng.integers(0, 10, num_test)}
    contents = {name: idx(IMAGES_MAGIC if "images" in name else LABELS_MAGIC, array)
                for name, array in arrays.items()}
    return contents, arrays


def gzipped_as(name):
    return name + ".gz"


def dotted(name):
    return name.replace("-idx", ".idx")


def write_set(folder, contents, naming=gzipped_as):
    for name, content in contents.items():
        file_name = naming(name)
        zipped = gzip.compress(content) if file_name.endswith(".gz") else content
        (folder / file_name).write_bytes(zipped)


@pytest.mark.parametrize("naming", [str, gzipped_as, dotted, lambda name: dotted(name) + ".gz"])
def test_values_shapes_and_types(tmp_path, naming):
    contents, arrays = small_set()
    write_set(tmp_path, contents, naming)
    result = load_mnist(tmp_path, num_val=10)
    assert {name: (value.shape, value.dtype) for name, value in result.items()} == {
        "X_train": ((50, 1, 28, 28), np.float32), "y_train": ((50,), np.int64),
        "X_val": ((10, 1, 28, 28), np.float32), "y_val": ((10,), np.int64),
        "X_test": ((20, 1, 28, 28), np.float32), "y_test": ((20,), np.int64)}
    images = arrays[TRAIN_IMAGES].reshape(60, 1, 28, 28)
    np.testing.assert_array_almost_equal_nulp(result["X_train"],
                                              (images[:50] / 255).astype(np.float32), 1)
    np.testing.assert_array_almost_equal_nulp(result["X_val"],
                                              (images[50:] / 255).astype(np.float32), 1)
    assert result["X_train"].min() == 0 and result["X_train"].max() == 1
    np.testing.assert_array_equal(result["y_train"], arrays[TRAIN_LABELS][:50])
    np.testing.assert_array_equal(result["y_val"], arrays[TRAIN_LABELS][50:])
    np.testing.assert_array_equal(result["y_test"], arrays[TEST_LABELS])
    np.testing.assert_array_equal(np.rint(result["X_test"][:, 0] * 255), arrays[TEST_IMAGES])


def test_an_unpacked_file_is_preferred(tmp_path):
    contents, arrays = small_set()
    write_set(tmp_path, contents, str)
    write_set(tmp_path, small_set(seed=1)[0], gzipped_as)
    np.testing.assert_array_equal(load_mnist(tmp_path, num_val=10)["y_test"], arrays[TEST_LABELS])


def test_results_can_be_written_to(tmp_path):
    write_set(tmp_path, small_set()[0])
    for value in load_mnist(tmp_path, num_val=10).values():
        value[0] = 0


@pytest.mark.parametrize("num_val", [60, 61, -1, 5000])
def test_num_val_must_leave_something_to_train_on(tmp_path, num_val):
    write_set(tmp_path, small_set()[0])
    with pytest.raises(DataError, match=f"60 training images; .* num_val .* 0 to 59, got {num_val}"):
        load_mnist(tmp_path, num_val=num_val)


def test_num_val_is_an_integer(tmp_path):
    with pytest.raises(TypeError):
        load_mnist(tmp_path, num_val=0.1)


@pytest.mark.parametrize("naming", [str, gzipped_as])
@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named_and_nothing_is_written(tmp_path, name, naming):
    contents, _ = small_set()
    del contents[name]
    write_set(tmp_path, contents, naming)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(DataError) as caught:
        load_mnist(tmp_path, num_val=10)
    assert name in str(caught.value) and str(tmp_path) in str(caught.value)
    assert not any(other in str(caught.value) for other in contents)
    assert sorted(os.listdir(tmp_path)) == before


def test_a_missing_folder(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        load_mnist(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def image_file(shape=(60, 28, 28), magic=IMAGES_MAGIC):
    return idx(magic, np.ones(shape))


@pytest.mark.parametrize("name, content, message", [
    (TRAIN_IMAGES, image_file()[:-1], "47,055 bytes, expected 47,056 for 60 images"),
    (TRAIN_IMAGES, image_file() + b"x", "47,057 bytes, expected 47,056"),
    (TEST_LABELS, idx(LABELS_MAGIC, np.ones(20))[:-1], "27 bytes, expected 28 for 20 labels"),
    (TRAIN_IMAGES, b"", "0 bytes are too few"),
    (TRAIN_IMAGES, image_file()[:15], "15 bytes are too few"),
    (TEST_IMAGES, image_file(magic=LABELS_MAGIC), "magic number 2049, expected 2051 for images"),
    (TRAIN_LABELS, image_file(), "magic number 2051, expected 2049 for labels"),
    (TRAIN_IMAGES, b"<!DOCTYPE html><html></html>", "magic number 1008813135"),
    (TEST_IMAGES, image_file((20, 28, 27)), "28 x 27 pixels, expected 28 x 28"),
    (TEST_IMAGES, image_file((0, 28, 28)), "holds no images"),
    (TRAIN_LABELS, idx(LABELS_MAGIC, np.full(60, 10)), "label 10, expected 0 to 9"),
    (TRAIN_IMAGES, np.array([IMAGES_MAGIC, 2**32 - 1, 28, 28], ">u4").tobytes(), "expected"),
])
@pytest.mark.parametrize("naming", [str, gzipped_as])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path, naming, name, content, message):
    contents, _ = small_set()
    contents[name] = content
    write_set(tmp_path, contents, naming)
    assert_damaged(tmp_path, naming(name), message)


def assert_damaged(folder, file_name, message):
    with pytest.raises(DataError, match=message) as caught:
        load_mnist(folder, num_val=10)
    text = str(caught.value)
    assert str(folder / file_name) in text and "download it again" in text and "\n" not in text


@pytest.mark.parametrize("damage", [
    lambda zipped: zipped[:-1], lambda zipped: zipped[:100], lambda zipped: zipped[:-4] + b"oops",
    lambda zipped: zipped + b"trailing garbage", lambda zipped: b"not gzip",
    lambda zipped: zipped[:200] + b"\xff" * 100 + zipped[300:], lambda zipped: b""])
@pytest.mark.parametrize("name", [TRAIN_IMAGES, TEST_IMAGES])
def test_a_damaged_gzip_file_is_named_with_the_remedy(tmp_path, name, damage):
    write_set(tmp_path, small_set()[0])
    path = tmp_path / (name + ".gz")
    path.write_bytes(damage(path.read_bytes()))
    assert_damaged(tmp_path, path.name, "is damaged")


@pytest.mark.parametrize("images, labels", [(TRAIN_IMAGES, TRAIN_LABELS),
                                            (TEST_IMAGES, TEST_LABELS)])
def test_images_and_labels_that_do_not_belong_together(tmp_path, images, labels):
    contents, _ = small_set()
    contents[images] = image_file((5, 28, 28))
    contents[labels] = idx(LABELS_MAGIC, np.ones(4))
    write_set(tmp_path, contents)
    with pytest.raises(DataError, match="5 images but .* 4 labels: delete both") as caught:
        load_mnist(tmp_path, num_val=1)
    assert images in str(caught.value) and labels in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    write_set(tmp_path, small_set()[0])

    def broken_open(*args):
        raise PermissionError(13, "Permission denied")
    monkeypatch.setattr(gzip, "open", broken_open)
    with pytest.raises(DataError, match=f"{TRAIN_IMAGES}.gz cannot be read: Permission denied"):
        load_mnist(tmp_path)


# ---------------------------------------------------------------- downloading

@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """A folder in the place of data/mnist."""
    monkeypatch.setattr(data.mnist, "FOLDER", str(tmp_path / "mnist"))
    return tmp_path / "mnist"


@pytest.fixture
def mirror(monkeypatch):
    """Downloads come from this dict by address; the addresses asked for are in its `asked`."""
    class Mirror(dict):
        asked = []

    mirror = Mirror()
    mirror.asked = []

    def fake_download(urls, path, *, md5, size, progress):
        mirror.asked.append(urls[0])
        for url in urls:
            content = mirror.get(url)
            if content is not None:
                assert hashlib.md5(content).hexdigest() == md5 and len(content) == size
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "wb") as file:
                    file.write(content)
                return url
        raise DownloadError("no mirror has it")
    monkeypatch.setattr(data.mnist, "download_file", fake_download)
    return mirror


def publish(mirror, monkeypatch, address, contents):
    """Put a small data set on a mirror, with checksums to match."""
    for name, content in contents.items():
        zipped = gzip.compress(content, mtime=0)
        mirror[f"{address}{name}.gz"] = zipped
        monkeypatch.setitem(FILES, name, (hashlib.md5(zipped).hexdigest(), len(zipped)))


def test_the_own_folder_is_read_without_a_download(own_folder, mirror):
    own_folder.mkdir()
    contents, arrays = small_set()
    write_set(own_folder, contents)
    np.testing.assert_array_equal(load_mnist(num_val=10)["y_test"], arrays[TEST_LABELS])
    assert mirror.asked == []


def test_missing_files_are_downloaded_and_the_mirror_that_works_is_asked_first(
        own_folder, mirror, monkeypatch):
    contents, arrays = small_set()
    publish(mirror, monkeypatch, data.mnist.MIRRORS[1], contents)
    own_folder.mkdir()
    write_set(own_folder, {TEST_LABELS: contents[TEST_LABELS]})
    np.testing.assert_array_equal(load_mnist(num_val=10)["y_val"], arrays[TRAIN_LABELS][50:])
    first, second = data.mnist.MIRRORS
    assert mirror.asked == [f"{first}{TRAIN_IMAGES}.gz", f"{second}{TRAIN_LABELS}.gz",
                            f"{second}{TEST_IMAGES}.gz"]
    load_mnist(num_val=10)
    assert len(mirror.asked) == 3


def test_a_failed_download_is_reported(own_folder, mirror):
    with pytest.raises(DownloadError, match="no mirror"):
        load_mnist()
    assert len(mirror.asked) == 1, "further files need not be tried"


def test_download_false_forbids_it(own_folder, mirror):
    with pytest.raises(DataError, match=f"lacks {TRAIN_IMAGES}"):
        load_mnist(download=False)
    assert mirror.asked == []


@pytest.mark.parametrize("connect_seconds, limit", [
    (0.5, 2), pytest.param(None, 10, marks=pytest.mark.slow)])
def test_a_network_that_hangs_costs_the_connect_limit_once(
        own_folder, hanging_dns, monkeypatch, connect_seconds, limit):
    if connect_seconds is not None:
        monkeypatch.setattr(data.mnist, "download_file",
                            functools.partial(download, connect_seconds=connect_seconds))
    start = time.monotonic()
    with pytest.raises(NetworkUnreachable, match="no answer within"):
        load_mnist()
    assert time.monotonic() - start < limit
    assert not own_folder.exists()
