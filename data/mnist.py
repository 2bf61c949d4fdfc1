"""MNIST: 60,000 + 10,000 handwritten digits (http://yann.lecun.com/exdb/mnist/) as arrays.

Read from the four original files or from the assignment's mnist.npz. The original files are in
the IDX format, big-endian: a number whose last byte is the number of axes, the length of each
axis, then one byte per value.

N: number of images, of 28 x 28 pixels and one channel.
"""
import gzip
import os
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
    folder = FOLDER if data_dir is None else os.fspath(data_dir)
    if os.path.isfile(os.path.join(folder, NPZ)):
        parts = _read_npz(os.path.join(folder, NPZ))
    else:
        paths = _paths(folder, download and data_dir is None, progress)
        parts = {"train": _checked(*map(_read_idx, paths[:2]), *paths[:2]),
                 "test": _checked(*map(_read_idx, paths[2:]), *paths[2:])}
    if "val" not in parts:
        X, y = parts["train"]
        split = len(X) - num_val
        if not 0 < split <= len(X):
            raise DataError(f"MNIST: {folder} has {len(X):,} training images; of them num_val are "
                            f"taken for validation, which expects 0 to {len(X) - 1}, got {num_val}")
        parts |= {"train": (X[:split], y[:split]), "val": (X[split:], y[split:])}
    return {f"{name}_{part}": array for part in ("train", "val", "test")
            for name, array in zip("Xy", parts[part])}


def _paths(folder, download, progress):
    """The paths of the four original files, downloaded where that is allowed."""
    missing = [name for name in FILES if not _find(folder, name)]
    lacks = "lacks" if os.path.isdir(folder) else "does not exist, so it lacks"
    lacking = f"MNIST: {folder} {lacks} {', '.join(missing)}. Get what is missing from " \
              f"{MIRRORS[0]} or put {NPZ} there."
    if missing and not download:
        raise DataError(lacking)
    mirrors = list(MIRRORS)
    try:
        for name in missing:
            url = download_file([mirror + name for mirror in mirrors], os.path.join(folder, name),
                                md5=FILES[name], progress=progress)
            # The mirror that worked comes first: a dead one costs its seconds only once.
            mirrors.sort(key=lambda mirror: mirror + name != url)
    except DownloadError as error:
        raise DownloadError(f"{lacking} {error}") from error
    return [_find(folder, name) for name in FILES]


def _find(folder, name):
    """The path of a file, unpacked (faster to read) or gzipped, or None."""
    dotted = name.replace("-idx", ".idx")       # as some copies of MNIST are named
    paths = [os.path.join(folder, n) for n in (name[:-3], dotted[:-3], name, dotted)]
    return next(filter(os.path.isfile, paths), None)


def _read_idx(path):
    """The uint8 array of an IDX file, unzipped if its name ends in .gz."""
    try:
        with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
            content = file.read()
        shape = np.frombuffer(content, ">u4", count=content[3], offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + shape.nbytes).reshape(shape)
    except (OSError, EOFError, zlib.error, ValueError, IndexError) as error:
        raise DataError(f"{path} is damaged ({error}): {REMEDY}") from None


def _read_npz(path):
    """{'train': (X, y), 'test': (X, y)}, and 'val' if it is there, from the assignment's file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name.replace("x_", "X_"): np.asarray(file[name]) for name in file.files}
    except Exception as error:          # of a damaged file NumPy raises almost anything
        raise DataError(f"{path} is damaged, or no archive of plain arrays "
                        f"({type(error).__name__}): {REMEDY}") from error
    keys = {part: (f"X_{part}", f"y_{part}") for part in ("train", "val", "test")}
    if "X_val" not in arrays and "y_val" not in arrays:
        del keys["val"]
    lacking = [key for pair in keys.values() for key in pair if key not in arrays]
    if lacking:
        raise DataError(f"{path} lacks {', '.join(lacking)} (it holds {', '.join(arrays)}): "
                        f"{REMEDY}")
    return {part: _checked(arrays[X], arrays[y], f"{path}: {X}", f"{path}: {y}")
            for part, (X, y) in keys.items()}


def _checked(X, y, X_name, y_name):
    """Images (N, 1, 28, 28) float32 in [0, 1] and labels (N,) int64 of what was read."""
    white, fault = 1 if X.dtype.kind == "f" else 255, None
    shapes = (784,), (28, 28), (1, 28, 28)
    if X.shape[1:] not in shapes or X.dtype.kind not in "fiu" or not len(X):
        fault = f"{X_name} expects images of 28 x 28 pixels, found {X.dtype} {X.shape}"
    elif y.shape != X.shape[:1] or y.dtype.kind not in "iu":
        fault = f"{y_name} expects {len(X):,} whole labels, found {y.dtype} {y.shape}"
    elif not (0 <= X.min() and X.max() <= white):       # NaN compares as false
        fault = f"{X_name} expects {X.dtype} pixels from 0 to {white}, found {X.min()} to {X.max()}"
    elif not 0 <= y.min() <= y.max() <= 9:
        fault = f"{y_name} expects labels from 0 to 9, found {y.min()} to {y.max()}"
    if fault:
        raise DataError(f"{fault}: {REMEDY}")
    return np.divide(X, white, dtype=np.float32).reshape(-1, 1, 28, 28), y.astype(np.int64)
