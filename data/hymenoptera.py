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

from data.download import DataError, download, unpack_zip

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hymenoptera_data")
URL = "https://download.pytorch.org/tutorial/hymenoptera_data.zip"
WHOLE = "244 + 153 pictures of ants and bees"
# torchvision.datasets.folder.IMG_EXTENSIONS
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def find_hymenoptera(progress=False):
    """The folder with the ants and bees, downloaded and unpacked if need be.

    progress: print the progress of the download
    Raises DataError if the folder does not hold the pictures that it should, DownloadError if it
    cannot be downloaded or stored.
    """
    if os.path.isdir(FOLDER) and os.listdir(FOLDER):
        _check_hymenoptera(FOLDER)
        return FOLDER
    archive = FOLDER + ".zip"
    download(URL, archive, progress=progress)
    unpack_zip(archive, FOLDER, "hymenoptera_data", _check_hymenoptera)
    os.remove(archive)
    return FOLDER


def _check_hymenoptera(folder):
    """Raise DataError unless a folder has the classes and the numbers of the ants and bees."""
    classes, files, _ = list_images(folder)
    found = f"{len(files['train'])} + {len(files['val'])} pictures of {' and '.join(classes)}"
    if found != WHOLE:
        raise DataError(f"expected {WHOLE}, found {found}: delete {FOLDER} and {FOLDER}.zip and "
                        "run again")


def list_images(folder):
    """The classes and the pictures of a folder with train/ and val/, each with a folder per class.

    Pictures are what torchvision's ImageFolder takes: files with one of EXTENSIONS, at any
    depth. Hidden files, and all in hidden folders, are left out.

    Returns (classes, files, skipped): the sorted names of the classes; for 'train' and 'val' a
    sorted list of (path, label), the label being the place of the class in `classes`; the paths
    of what was left out.
    Raises DataError for a missing part, fewer than two classes, different classes in the
    two parts, or a class without a picture.
    """
    classes = {part: _classes(os.path.join(folder, part)) for part in ("train", "val")}
    if classes["train"] != classes["val"]:
        odd = sorted(set(classes["train"]) ^ set(classes["val"]))
        raise DataError(f"{folder} has different classes in train and val: {', '.join(odd)} "
                        "in one of them only")
    files, skipped = {"train": [], "val": []}, []
    for part in files:
        for label, name in enumerate(classes[part]):
            pictures, others = _pictures(os.path.join(folder, part, name))
            files[part] += [(path, label) for path in pictures]
            skipped += others
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


def _pictures(folder):
    """The sorted paths of the pictures of a class, and of all other files."""
    pictures, others = [], []
    for place, _, names in os.walk(folder, followlinks=True):
        for path in (os.path.join(place, name) for name in names):
            hidden = f"{os.sep}." in path[len(folder):]
            (others if hidden or not path.lower().endswith(EXTENSIONS) else pictures).append(path)
    if not pictures:
        raise DataError(f"{folder} holds no pictures ({', '.join(EXTENSIONS)})")
    return sorted(pictures), sorted(others)


def load_image_folder(folder, side=256):
    """Read all pictures below a folder into memory: 3 side² bytes for each.

    Inputs: folder, laid out as list_images() says; side, S.
    One printed line counts what was skipped, if anything was: hidden files, files of another
    type, pictures that do not open.

    Returns a dict:
    - X_train (N, S, S, 3), X_val (N_val, S, S, 3): uint8, red, green, blue
    - y_train (N,), y_val (N_val,): int64 labels
    - classes: the names of the labels
    Raises DataError if the layout is wrong or a class has no picture that opens.
    """
    classes, files, skipped = list_images(folder)
    data = {"classes": classes}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for part in files:
            X, y = [], []
            images = pool.map(lambda file: read_image(file[0], side), files[part])
            for (path, label), image in zip(files[part], images):
                if image is None:
                    skipped.append(path)
                else:
                    X.append(image)
                    y.append(label)
            for label in set(range(len(classes))) - set(y):
                raise DataError(f"{os.path.join(folder, part, classes[label])} holds no picture "
                                "that opens")
            data[f"X_{part}"], data[f"y_{part}"] = np.stack(X), np.array(y, dtype=np.int64)
    if skipped:
        print(f"skipped: {len(skipped)} hidden, damaged, or of another type "
              f"({os.path.relpath(skipped[0], folder)}{', ...' * (len(skipped) > 1)})", flush=True)
    return data


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
