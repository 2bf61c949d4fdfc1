"""Pictures in folders: ants and bees (hymenoptera_data.zip), or anybody's in the same layout.

    FOLDER/train/CLASS/picture.jpg
    FOLDER/val/CLASS/picture.jpg

The ants and bees are those of PyTorch's tutorial on transfer learning: 244 pictures for training,
one of which says "image not found", and 153 for validation.

N: number of pictures, S: their height and width in pixels after reading.
"""
import concurrent.futures
import operator
import os
import struct

import numpy as np

from data.download import DataError, download as download_file, unpack_zip

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.join(HERE, "hymenoptera_data")
URL = "https://download.pytorch.org/tutorial/hymenoptera_data.zip"
CLASSES = ["ants", "bees"]
# The zip file has changed over the years by one picture, so it has no checksum to rely on.
SIZES = {"train": (244, 245), "val": (153,)}
MAX_BYTES = 100_000_000
EXTENSIONS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm")


def find_hymenoptera(*, download=True, progress=False):
    """The folder with the ants and bees, downloaded and unpacked if need be.

    Inputs:
    - download: False forbids downloading
    - progress: True prints the progress of the download; see data.download

    Returns the path of a folder for load_image_folder.
    Raises DataError if the folder is missing or does not hold the pictures that it should,
    DownloadError if it cannot be downloaded or stored.
    """
    if not os.path.isdir(FOLDER) or not os.listdir(FOLDER):
        archive = FOLDER + ".zip"
        if not os.path.exists(archive):
            if not download:
                raise DataError(f"{FOLDER} does not exist: get and unpack {URL}")
            download_file(URL, archive, max_bytes=MAX_BYTES, progress=progress)
        unpack_zip(archive, FOLDER, top="hymenoptera_data", max_bytes=2 * MAX_BYTES)
        try:
            _check_hymenoptera(FOLDER)
        except DataError as error:
            raise DataError(f"{error}: delete {FOLDER} and {archive}, then try again") from None
        os.remove(archive)
    else:
        _check_hymenoptera(FOLDER)
    return FOLDER


def _check_hymenoptera(folder):
    """Raise DataError unless a folder has the classes and the numbers of the ants and bees."""
    classes, files = list_images(folder)
    if classes != CLASSES:
        raise DataError(f"{folder} has the classes {', '.join(classes)} instead of "
                        f"{', '.join(CLASSES)}")
    for part, sizes in SIZES.items():
        if len(files[part]) not in sizes:
            raise DataError(f"{os.path.join(folder, part)} has {len(files[part])} pictures "
                            f"instead of {' or '.join(map(str, sizes))}")


def list_images(folder):
    """The classes and the files of a folder with train/ and val/, each with a folder per class.

    Files whose name is hidden or has no picture's extension are left out.

    Returns (classes, files): the sorted names of the classes, and for 'train' and 'val'
    a sorted list of (path, label), the label being the place of the class in `classes`.
    Raises DataError for a missing part, fewer than two classes, different classes in the
    two parts, or a class without a file.
    """
    folder = os.fspath(folder)
    names = {part: _classes(folder, part) for part in ("train", "val")}
    if names["train"] != names["val"]:
        odd = sorted(set(names["train"]) ^ set(names["val"]))
        raise DataError(f"{folder} has different classes in train and val: {', '.join(odd)} "
                        "in one of them only")
    files = {part: [(path, label) for label, name in enumerate(classes)
                    for path in _files(os.path.join(folder, part, name))]
             for part, classes in names.items()}
    return names["train"], files


def _classes(folder, part):
    """The sorted names of the folders in one part."""
    path = os.path.join(folder, part)
    if not os.path.isdir(path):
        raise DataError(f"{path} does not exist: pictures are expected in "
                        f"{os.path.join(folder, 'train', 'CLASS')} and "
                        f"{os.path.join(folder, 'val', 'CLASS')}")
    with os.scandir(path) as entries:
        classes = sorted(entry.name for entry in entries
                         if entry.is_dir() and not entry.name.startswith("."))
    if len(classes) < 2:
        raise DataError(f"{path} expects a folder for each of at least two classes, "
                        f"has {len(classes)}")
    return classes


def _files(folder):
    """The sorted paths of the pictures in a folder and the folders below."""
    paths = sorted(os.path.join(place, name) for place, _, names in os.walk(folder)
                   for name in names if not name.startswith(".")
                   and name.lower().endswith(EXTENSIONS))
    if not paths:
        raise DataError(f"{folder} holds no pictures ({', '.join(EXTENSIONS)})")
    return paths


def load_image_folder(folder, side=256, *, warn=print):
    """Read all pictures below a folder into memory: 3 side² bytes for each.

    A file that cannot be read as a picture is skipped and named to `warn`.

    Inputs:
    - folder: laid out as list_images() says
    - side: S; see read_image
    - warn: called with one line of text for each file that is skipped

    Returns a dict:
    - X_train (N, S, S, 3), X_val (N_val, S, S, 3): uint8, red, green, blue
    - y_train (N,), y_val (N_val,): int64 labels
    - names_train, names_val: the paths below `folder`, as lists
    - classes: the names of the labels
    Raises DataError if the layout is wrong or a class has no readable picture.
    """
    side = operator.index(side)
    if side < 1:
        raise ValueError(f"load_image_folder: side expects at least 1 pixel, got {side}")
    folder = os.fspath(folder)
    classes, files = list_images(folder)
    data = {"classes": classes}
    for part in ("train", "val"):
        X, y, names = _load_part(folder, files[part], side, warn)
        for label, name in enumerate(classes):
            if label not in y:
                raise DataError(f"{os.path.join(folder, part, name)} holds no picture that "
                                "can be read")
        data |= {f"X_{part}": X, f"y_{part}": y, f"names_{part}": names}
    return data


def _load_part(folder, files, side, warn):
    """(X, y, names) of a list of (path, label)."""
    X = np.empty((len(files), side, side, 3), dtype=np.uint8)
    y, names = [], []

    def read_into_row(row):
        X[row] = read_image(files[row][0], side)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        readings = [pool.submit(read_into_row, row) for row in range(len(files))]
        try:
            for row, (reading, (path, label)) in enumerate(zip(readings, files)):
                try:
                    reading.result()
                except DataError as error:
                    warn(f"skipped: {error}")
                    continue
                if row > len(y):  # close the gap that skipped files have left
                    X[len(y)] = X[row]
                y.append(label)
                names.append(os.path.relpath(path, folder))
        except BaseException:  # Ctrl-C shall not wait for all the other pictures
            pool.shutdown(cancel_futures=True)
            raise
    return X[:len(y)], np.array(y, dtype=np.int64), names


def read_image(path, side):
    """The largest centred square of a picture, scaled to side x side pixels.

    Returns a uint8 array (side, side, 3): red, green, blue. Pictures in grey, of 16 bits or
    with a palette are converted, and what a camera noted about its orientation is respected.
    Raises DataError if the file is not a picture, is damaged or has values of unknown range.
    """
    from PIL import Image, ImageOps  # comes with matplotlib and with torchvision
    try:
        with Image.open(path) as image:
            image.draft("RGB", (side, side))  # a JPEG need not be decoded larger than used
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith(("I", "F")):
                image = Image.fromarray(_eight_bits(np.asarray(image)))
            image = image.convert("RGB")
            short = min(image.size)
            left, top = ((length - short) // 2 for length in image.size)
            square = image.crop((left, top, left + short, top + short))
            return np.asarray(square.resize((side, side), Image.Resampling.BILINEAR))
    except (OSError, SyntaxError, ValueError, EOFError, struct.error,
            Image.DecompressionBombError) as error:
        raise DataError(f"{path} is not a readable picture "
                        f"({' '.join(str(error).split())})") from None


def _eight_bits(grey):
    """Grey values of 16 bits as uint8: Pillow's own conversion cuts them off at 255."""
    if not np.issubdtype(grey.dtype, np.integer) or grey.min() < 0 or grey.max() > 65535:
        raise ValueError("its values are not of 8 or 16 bits: save it as a usual grey picture")
    return np.round(grey / 257).astype(np.uint8)
