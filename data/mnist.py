"""MNIST: 60,000 + 10,000 handwritten digits (http://yann.lecun.com/exdb/mnist/) as arrays.

Read from the four original files or from the assignment's mnist.npz. The original files are in
the IDX format, big-endian: a magic number (2051 for images, 2049 for labels), the number of
items, for images the height and the width, then one byte per value.

N: number of images, of 28 x 28 pixels and one channel.
"""
import gzip
import math
import operator
import os
import textwrap
import zlib

import numpy as np

from data.download import DataError, DownloadError, download as download_file

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mnist")
MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/",
           "https://storage.googleapis.com/cvdf-datasets/mnist/")
FILES = {   # name: md5
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
NPZ = "mnist.npz"
REMEDY = "delete it and get it again"


def load_mnist(data_dir=None, *, download=True, progress=False, num_val=5000):
    """Read MNIST; the last num_val training images become the validation set.

    Inputs:
    - data_dir: folder with mnist.npz, or with the four original files, gzipped or not; nothing
      is ever written into it. None means data/mnist, where missing files are downloaded.
      mnist.npz holds X_train y_train X_test y_test and may hold X_val y_val (or x_train ...):
      images (N, 784), (N, 28, 28) or (N, 1, 28, 28), floats 0 to 1 or integers 0 to 255.
      It is preferred where both are there.
    - download: False forbids downloading
    - progress: print the progress of downloads
    - num_val: size of the validation set; ignored where mnist.npz has one

    Returns a dict:
    - X_train (N - num_val, 1, 28, 28), X_val (num_val, 1, 28, 28), X_test (N_test, 1, 28, 28):
      float32 in [0, 1], 0 is the background
    - y_train, y_val, y_test: int64 labels 0 to 9, of the same lengths

    Raises DataError if a file is missing or damaged or num_val leaves nothing to train on,
    DownloadError if a download fails.
    """
    folder, num_val = FOLDER if data_dir is None else os.fspath(data_dir), operator.index(num_val)
    if os.path.isfile(os.path.join(folder, NPZ)):
        parts = _read_npz(os.path.join(folder, NPZ))
    else:
        parts = _read_original(*_paths(folder, download and data_dir is None, progress))
    if "val" not in parts:
        X, y = parts["train"]
        if not 0 <= num_val < len(X):
            raise DataError(f"MNIST: {folder} has {len(X):,} training images; of them num_val are "
                            f"taken for validation, which expects 0 to {len(X) - 1}, got {num_val}")
        split = len(X) - num_val
        parts |= {"train": (X[:split], y[:split]), "val": (X[split:], y[split:])}
    return {f"{name}_{part}": array for part in ("train", "val", "test")
            for name, array in zip("Xy", parts[part])}


def _paths(folder, download, progress):
    """The paths of the four original files, downloaded where that is allowed."""
    missing = [name for name in FILES if not _find(folder, name)]
    if missing:
        lacks = "lacks" if os.path.isdir(folder) else "does not exist, so it lacks"
        lacking = _lines(f"MNIST: {folder} {lacks} {', '.join(missing)}. Get what is missing from "
                         f"{MIRRORS[0]} or put {NPZ} there.")
        if not download:
            raise DataError(lacking)
        try:
            _download(missing, folder, progress)
        except DownloadError as error:
            raise DownloadError(f"{lacking}\n{_lines(str(error))}") from error
    return [_find(folder, name) for name in FILES]


def _lines(text):
    """A text in lines of at most 100 characters, with room for 'error: ' before the first."""
    return textwrap.fill(text, 93, break_long_words=False, break_on_hyphens=False)


def _find(folder, name):
    """The path of a file, unpacked (faster to read) or gzipped, or None."""
    dotted = name.replace("-idx", ".idx")
    for candidate in (name[:-3], dotted[:-3], name, dotted):
        path = os.path.join(folder, candidate)
        if os.path.isfile(path):
            return path
    return None


def _download(names, folder, progress):
    """Fetch files into a folder."""
    mirrors = list(MIRRORS)
    for name in names:
        url = download_file([mirror + name for mirror in mirrors], os.path.join(folder, name),
                            md5=FILES[name], progress=progress)
        # The mirror that worked comes first: a dead one costs its seconds only once.
        mirrors.sort(key=lambda mirror: url is None or not url.startswith(mirror))


def _read_original(images, labels, test_images, test_labels):
    """{'train': (X, y), 'test': (X, y)} from the paths of the four original files."""
    return {part: _checked(_read_idx(X, 2051, 28, 28), _read_idx(y, 2049), y)
            for part, X, y in (("train", images, labels), ("test", test_images, test_labels))}


def _read_idx(path, magic, *item_shape):
    """The uint8 array (N, *item_shape) of an IDX file, unzipped if its name ends in .gz."""
    try:
        with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}): {REMEDY}") from None
    count = int.from_bytes(content[4:8], "big")
    header = np.array([magic, count, *item_shape], dtype=">u4").tobytes()
    size = len(header) + count * math.prod(item_shape)
    if not content.startswith(header):
        raise DataError(f"{path} is not the IDX file that its name says: {REMEDY}")
    if len(content) != size:
        raise DataError(f"{path} is damaged (expected {size:,} bytes unzipped, found "
                        f"{len(content):,}): {REMEDY}")
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(count, *item_shape)


def _read_npz(path):
    """{'train': (X, y), 'test': (X, y)}, and 'val' if it is there, from the assignment's file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            names = file.files
            arrays = {name.lower(): np.asarray(file[name]) for name in names}
    except Exception as error:          # of a damaged file NumPy raises almost anything
        raise DataError(f"{path} is damaged, or no archive of plain arrays "
                        f"({type(error).__name__}): {REMEDY}") from error
    parts = ["train", "test"] + ["val"] * ("x_val" in arrays or "y_val" in arrays)
    lacking = [f"{name}_{part}" for part in parts for name in "Xy"
               if f"{name}_{part}".lower() not in arrays]
    if lacking:
        raise DataError(f"{path} lacks {', '.join(lacking)} (it holds {', '.join(names)}): "
                        f"{REMEDY}")
    return {part: _checked(arrays[f"x_{part}"], arrays[f"y_{part}"], f"{path} ({part})")
            for part in parts}


def _checked(X, y, where):
    """Images (N, 1, 28, 28) float32 in [0, 1] and labels (N,) int64 of what was read."""
    white, fault = 1 if X.dtype.kind == "f" else 255, None
    shapes = (784,), (28, 28), (1, 28, 28)
    if X.shape[1:] not in shapes or X.dtype.kind not in "fiu" or not len(X):
        fault = f"images of 28 x 28 pixels, found {X.dtype} {X.shape}"
    elif y.shape != X.shape[:1] or y.dtype.kind not in "iu":
        fault = f"{len(X):,} whole labels, found {y.dtype} {y.shape}"
    elif not (0 <= X.min() and X.max() <= white):       # NaN compares as false
        fault = f"{X.dtype} pixels from 0 to {white}, found {X.min()} to {X.max()}"
    elif not 0 <= y.min() <= y.max() <= 9:
        fault = f"labels from 0 to 9, found {y.min()} to {y.max()}"
    if fault:
        raise DataError(f"{where}: expected {fault}: {REMEDY}")
    return np.divide(X, white, dtype=np.float32).reshape(-1, 1, 28, 28), y.astype(np.int64)
