"""Pictures in folders: ants and bees (hymenoptera_data.zip), or anybody's in the same layout.

    FOLDER/train/CLASS/picture.jpg
    FOLDER/val/CLASS/picture.jpg

The ants and bees are those of PyTorch's tutorial on transfer learning: 244 pictures for training
and 153 for validation. The zip file also has train/ants/imageNotFound.gif, a placeholder that says
"not found". Like torchvision's ImageFolder, we take no GIF.

N: number of pictures, S: their height and width in pixels after reading.
"""
import concurrent.futures
import os

import numpy as np

from data.download import DataError, download as download_file, unpack_zip

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hymenoptera_data")
URL = "https://download.pytorch.org/tutorial/hymenoptera_data.zip"
WHOLE = "244 + 153 pictures of ants and bees"
PARTS = ("train", "val")
# torchvision.datasets.folder.IMG_EXTENSIONS
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def find_hymenoptera(*, download=True, progress=False):
    """The folder with the ants and bees, downloaded and unpacked if need be.

    Inputs:
    - download: False forbids downloading
    - progress: print the progress of the download

    Returns the path of a folder for load_image_folder.
    Raises DataError if the folder is missing or does not hold the pictures that it should,
    DownloadError if it cannot be downloaded or stored.
    """
    if os.path.isdir(FOLDER) and os.listdir(FOLDER):
        _check_hymenoptera(FOLDER)
        return FOLDER
    archive = FOLDER + ".zip"
    if not os.path.exists(archive) and not download:
        raise DataError(f"{FOLDER} does not exist: get and unpack {URL}")
    download_file(URL, archive, progress=progress)
    unpack_zip(archive, FOLDER, "hymenoptera_data", _check_hymenoptera)
    os.remove(archive)
    return FOLDER


def _check_hymenoptera(folder):
    """Raise DataError unless a folder has the classes and the numbers of the ants and bees."""
    classes, files = list_images(folder)
    found = f"{len(files['train'])} + {len(files['val'])} pictures of {' and '.join(classes)}"
    if found != WHOLE:
        raise DataError(f"expected {WHOLE}, found {found}: delete {FOLDER} and {FOLDER}.zip and "
                        "run again")


def list_images(folder):
    """The classes and the pictures of a folder with train/ and val/, each with a folder per class.

    Pictures are what torchvision's ImageFolder takes: files with one of EXTENSIONS, at any
    depth. Hidden files and folders are left out.

    Returns (classes, files): the sorted names of the classes, and for 'train' and 'val'
    a sorted list of (path, label), the label being the place of the class in `classes`.
    Raises DataError for a missing part, fewer than two classes, different classes in the
    two parts, or a class without a picture.
    """
    return _scan(os.fspath(folder))[:2]


def _scan(folder):
    """(classes, files) as list_images returns them, and {reason: paths} of what was left out."""
    skipped = {"hidden": [], "of another type": []}
    classes = {part: _classes(os.path.join(folder, part)) for part in PARTS}
    if classes["train"] != classes["val"]:
        odd = sorted(set(classes["train"]) ^ set(classes["val"]))
        raise DataError(f"{folder} has different classes in train and val: {', '.join(odd)} "
                        "in one of them only")
    files = {part: [(path, label) for label, name in enumerate(classes[part])
                    for path in _pictures(os.path.join(folder, part, name), skipped)]
             for part in PARTS}
    return classes["train"], files, skipped


def _classes(path):
    """The sorted names of the folders in train/ or val/."""
    if not os.path.isdir(path):
        raise DataError(f"{path} does not exist: pictures are expected in "
                        f"{os.path.join(path, 'CLASS')}")
    classes = sorted(name for name in os.listdir(path)
                     if os.path.isdir(os.path.join(path, name)) and not name.startswith("."))
    if len(classes) < 2:
        raise DataError(f"{path} expects a folder for each of at least two classes, "
                        f"has {len(classes)}")
    return classes


def _pictures(folder, skipped):
    """The sorted paths of the pictures of a class; what is left out goes to `skipped`."""
    pictures = []
    for place, folders, names in os.walk(folder, followlinks=True):
        skipped["hidden"] += [os.path.join(place, name) for name in folders + names
                              if name.startswith(".")]
        folders[:] = [name for name in folders if not name.startswith(".")]    # to go on with
        for name in (name for name in names if not name.startswith(".")):
            kind = pictures if name.lower().endswith(EXTENSIONS) else skipped["of another type"]
            kind.append(os.path.join(place, name))
    if not pictures:
        raise DataError(f"{folder} holds no pictures ({', '.join(EXTENSIONS)})")
    return sorted(pictures)


def load_image_folder(folder, side=256, *, warn=print):
    """Read all pictures below a folder into memory: 3 side² bytes for each.

    Inputs:
    - folder: laid out as list_images() says
    - side: S; see read_image
    - warn: called with one line of text that counts what was skipped, if anything was: hidden
      files, files of another type, pictures that do not open

    Returns a dict:
    - X_train (N, S, S, 3), X_val (N_val, S, S, 3): uint8, red, green, blue
    - y_train (N,), y_val (N_val,): int64 labels
    - classes: the names of the labels
    Raises DataError if the layout is wrong or a class has no picture that opens.
    """
    folder = os.fspath(folder)
    classes, files, skipped = _scan(folder)
    skipped["damaged"] = []
    data = {"classes": classes}
    for part in PARTS:
        X, y = _load_part(files[part], side, skipped["damaged"])
        data |= {f"X_{part}": X, f"y_{part}": y}
        for label in set(range(len(classes))) - set(y.tolist()):
            raise DataError(f"{os.path.join(folder, part, classes[label])} holds no picture that "
                            "opens")
    counts = [f"{len(paths)} {reason} ({os.path.relpath(paths[0], folder)}"
              f"{', ...' * (len(paths) > 1)})" for reason, paths in skipped.items() if paths]
    if counts:
        warn(f"skipped: {', '.join(counts)}")
    return data


def _load_part(files, side, damaged):
    """(X, y) of a list of (path, label); paths that do not open are appended to `damaged`."""
    X = np.empty((len(files), side, side, 3), dtype=np.uint8)
    y = np.array([label for _, label in files], dtype=np.int64)

    def read_into_row(row):
        image = read_image(files[row][0], side)
        if image is None:
            return False
        X[row] = image
        return True

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        opened = np.array(list(pool.map(read_into_row, range(len(files)))))
    damaged += [files[row][0] for row in np.flatnonzero(~opened)]
    return (X, y) if opened.all() else (X[opened], y[opened])


def read_image(path, side):
    """The largest centred square of a picture, scaled to side x side pixels.

    Returns a uint8 array (side, side, 3): red, green, blue; None if the file does not open as
    a picture. The orientation that a camera noted is respected.
    """
    from PIL import Image, ImageOps     # comes with matplotlib and with torchvision
    try:
        with Image.open(path) as image:
            image.draft("RGB", (side, side))    # a JPEG need not be decoded larger than used
            image = ImageOps.exif_transpose(image).convert("RGB")
            short = min(image.size)
            left, top = ((length - short) // 2 for length in image.size)
            square = image.crop((left, top, left + short, top + short))
            return np.asarray(square.resize((side, side), Image.Resampling.BILINEAR))
    except Exception:                   # of a damaged file Pillow raises almost anything
        return None
