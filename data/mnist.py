"""MNIST: 60,000 + 10,000 handwritten digits (http://yann.lecun.com/exdb/mnist/) as arrays.

The four files are in the IDX format, big-endian: a magic number (2051 for images, 2049 for
labels), the number of items, for images the height and the width, then one byte per value.

N: number of images, of 28 x 28 pixels and one channel.
"""
import gzip
import math
import operator
import os
import zlib

import numpy as np

from data.download import DataError, download as download_file

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mnist")
MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/",
           "https://storage.googleapis.com/cvdf-datasets/mnist/")
# name: (md5, bytes) of the compressed file
FILES = {
    "train-images-idx3-ubyte": ("f68b3c2dcbeaaa9fbdd348bbdeb94873", 9_912_422),
    "train-labels-idx1-ubyte": ("d53e105ee54ea40749a09fcbcd1e9432", 28_881),
    "t10k-images-idx3-ubyte": ("9fb629c4189551a2d022fa330f9573f3", 1_648_877),
    "t10k-labels-idx1-ubyte": ("ec29112dd5afa0611ce80d1b7f02629c", 4_542),
}
HEIGHT = WIDTH = 28
NUM_CLASSES = 10
IMAGES_MAGIC, LABELS_MAGIC = 2051, 2049


def load_mnist(data_dir=None, *, download=True, progress=False, num_val=5000):
    """Read MNIST; the last num_val training images become the validation set.

    Inputs:
    - data_dir: folder with the four files, gzipped or not, under their usual names; nothing
      is ever written into it. None means data/mnist, where missing files are downloaded.
    - download: False forbids downloading
    - progress: True prints the progress of downloads; see data.download
    - num_val: size of the validation set

    Returns a dict:
    - X_train (N - num_val, 1, 28, 28), X_val (num_val, 1, 28, 28), X_test (N_test, 1, 28, 28):
      float32 in [0, 1], 0 is the background
    - y_train, y_val, y_test: int64 labels 0 to 9, of the same lengths

    Raises DataError if a file is missing or damaged or num_val leaves nothing to train on,
    DownloadError if a download fails.
    """
    num_val = operator.index(num_val)
    folder = FOLDER if data_dir is None else os.fspath(data_dir)
    paths = {name: _find(folder, name) for name in FILES}
    missing = [name for name, path in paths.items() if path is None]
    if missing and (data_dir is not None or not download):
        state = "lacks" if os.path.isdir(folder) else \
            "is no folder, so it lacks" if os.path.exists(folder) else "does not exist, so it lacks"
        raise DataError(f"MNIST: {folder} {state} {', '.join(f'{name}.gz' for name in missing)}: "
                        f"get what is missing from {MIRRORS[0]}")
    paths.update(_download(missing, folder, progress))

    X, y = _read_pair(paths["train-images-idx3-ubyte"], paths["train-labels-idx1-ubyte"])
    X_test, y_test = _read_pair(paths["t10k-images-idx3-ubyte"], paths["t10k-labels-idx1-ubyte"])
    if not 0 <= num_val < len(X):
        raise DataError(f"MNIST: {folder} has {len(X):,} training images; of them num_val are "
                        f"taken for validation, which expects 0 to {len(X) - 1}, got {num_val}")
    split = len(X) - num_val
    return {"X_train": X[:split], "y_train": y[:split],
            "X_val": X[split:], "y_val": y[split:],
            "X_test": X_test, "y_test": y_test}


def _find(folder, name):
    """The path of a file, unpacked (faster to read) or gzipped, or None."""
    dotted = name.replace("-idx", ".idx")
    for candidate in (name, dotted, name + ".gz", dotted + ".gz"):
        path = os.path.join(folder, candidate)
        if os.path.isfile(path):
            return path
    return None


def _download(names, folder, progress):
    """Fetch files into folder. Returns their paths by name."""
    mirrors = list(MIRRORS)
    paths = {}
    for name in names:
        md5, size = FILES[name]
        paths[name] = os.path.join(folder, name + ".gz")
        urls = [mirror + name + ".gz" for mirror in mirrors]
        url = download_file(urls, paths[name], md5=md5, size=size, progress=progress)
        # The mirror that worked comes first: a dead one costs its seconds only once.
        mirrors.sort(key=lambda mirror: url is None or not url.startswith(mirror))
    return paths


def _read_pair(images_path, labels_path):
    """Images (N, 1, 28, 28) float32 in [0, 1] and their labels (N,) int64."""
    images = _read_idx(images_path, IMAGES_MAGIC, "images", (HEIGHT, WIDTH))
    labels = _read_idx(labels_path, LABELS_MAGIC, "labels", ())
    if len(images) != len(labels):
        raise DataError(f"{images_path} has {len(images):,} images but {labels_path} has "
                        f"{len(labels):,} labels: {_remedy('both')}")
    if labels.max() >= NUM_CLASSES:
        raise DataError(f"{labels_path} is damaged (label {labels.max()}, expected 0 to "
                        f"{NUM_CLASSES - 1}): {_remedy('it')}")
    X = np.divide(images, 255, dtype=np.float32).reshape(-1, 1, HEIGHT, WIDTH)
    return X, labels.astype(np.int64)


def _read_idx(path, magic, kind, item_shape):
    """The uint8 array (N, *item_shape) of an IDX file; `kind` is what it holds, for errors."""
    content = _read(path)
    header_size = 4 * (2 + len(item_shape))
    if len(content) < header_size:
        raise _damaged(path, f"{len(content)} bytes are too few for an IDX file")
    found_magic, count, *shape = np.frombuffer(content[:header_size], dtype=">u4").tolist()
    if found_magic != magic:
        raise _damaged(path, f"magic number {found_magic}, expected {magic} for {kind}")
    if shape != list(item_shape):
        raise _damaged(path, f"{kind} of {' x '.join(map(str, shape))} pixels, "
                             f"expected {' x '.join(map(str, item_shape))}")
    if count == 0:
        raise _damaged(path, f"it holds no {kind}")
    size = header_size + count * math.prod(item_shape)
    if len(content) != size:
        raise _damaged(path, f"{len(content):,} bytes, expected {size:,} for {count:,} {kind}")
    return np.frombuffer(content, dtype=np.uint8, offset=header_size).reshape(-1, *item_shape)


def _read(path):
    """The content of a file, unzipped if its name ends in .gz."""
    try:
        with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
            return file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(path, str(error)) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def _damaged(path, reason):
    return DataError(f"{path} is damaged ({reason}): {_remedy('it')}")


def _remedy(what):
    return f"delete {what} and download {what} again"
