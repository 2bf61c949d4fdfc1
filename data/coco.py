"""COCO captions in the layout of CS231n's coco_captioning folder: features, captions, addresses.

    coco2014_captions.h5                train_captions, train_image_idxs, val_captions, ...
    coco2014_vocab.json                 idx_to_word, word_to_idx
    train2014_vgg16_fc7[_pca].h5        features: a row for each picture
    train2014_urls.txt                  line i is the address, or the path, of picture i
    the same two for val2014

Any data set in this layout can be read. A picture has several captions, and its features
are stored once: 400,135 captions of COCO share 82,783 rows.

N: captions, T: words of a caption (<START> and <END> included, then <NULL>), I: pictures,
D: features of a picture, V: words of the vocabulary.
"""
import hashlib
import json
import os
import shutil

import numpy as np

from data.download import DataError, DownloadError, download as download_file, unpack_zip

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "coco_captioning")
URLS = ("http://cs231n.stanford.edu/coco_captioning.zip",
        "https://cs231n.stanford.edu/coco_captioning.zip")
MAX_BYTES, MAX_UNPACKED = 2 * 10 ** 9, 5 * 10 ** 9
CAPTIONS, VOCABULARY = "coco2014_captions.h5", "coco2014_vocab.json"
# sha256 of files in the zip file, where they are known
SHA256 = {
    CAPTIONS: "4035d7ff55145f1f01b9ee9f3e24eb6ba6da3bdcd69f927c75390f11f74f891d",
    "train2014_vgg16_fc7_pca.h5":
        "ec0a10c585909761d15778a1c4a5dbad92e1672853d9b5bad08e6a36fd21c779",
    "val2014_vgg16_fc7_pca.h5": "6619466e3385ef1e913fae9470ef802df283675533ce0dc34d88abac5e7d1cf9",
    "train2014_urls.txt": "7616ec66526a3acc4ad323aef4ca6642a6bb9e7e4ad4f1541786dc07e6841ae2",
}
SPECIAL_WORDS = ("<NULL>", "<START>", "<END>", "<UNK>")


class CaptionFeatures:
    """The features of each caption's picture, (N, D), without a copy for each caption.

    Has a length, takes an array of indices and gives an array: what the Solver asks of data.

    Attributes: features (I, D) float32, a row for each picture; pictures (N,) int64, the
    picture of each caption.
    """

    def __init__(self, features, pictures):
        self.features, self.pictures = features, pictures

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, indices):
        return self.features[self.pictures[indices]]

    @property
    def shape(self):
        """(N, D)."""
        return len(self.pictures), self.features.shape[1]


def load_coco(data_dir=None, *, pca=True, confirm=None, progress=False):
    """Read the captions, the features and the vocabulary.

    Inputs:
    - data_dir: folder in the layout above; nothing is ever written into it. None means
      data/coco_captioning, which is downloaded if it is missing.
    - pca: True takes the 512 principal components, False all 4,096 features
    - confirm: function without arguments, called before about 1 GB is downloaded; a false
      answer, or None in its place, forbids it
    - progress: True prints the progress of the download; see data.download

    Returns a dict:
    - X_train, X_val: CaptionFeatures (N, D), float32
    - y_train, y_val: captions (N, T), int64 word ids
    - urls_train, urls_val: lists of I addresses or paths; paths are relative to `folder`
    - idx_to_word: list of V words; word_to_idx: dict
    - folder: where the files are

    Raises DataError if a file is missing, damaged or does not fit the others, DownloadError
    if the data cannot be downloaded or may not be.
    """
    folder = FOLDER if data_dir is None else os.fspath(data_dir)
    features_name = "{}2014_vgg16_fc7" + ("_pca" if pca else "") + ".h5"
    names = [CAPTIONS, VOCABULARY, *(pattern.format(part) for part in ("train", "val")
                                     for pattern in (features_name, "{}2014_urls.txt"))]
    if data_dir is None and not (os.path.isdir(folder) and os.listdir(folder)):
        _download(folder, confirm, progress)
    missing = [name for name in names if not os.path.isfile(os.path.join(folder, name))]
    if missing:
        state = "lacks" if os.path.isdir(folder) else \
            "is no folder, so it lacks" if os.path.exists(folder) else "does not exist, so it lacks"
        remedy = f"get and unpack {URLS[0]}"
        if not pca and all(os.path.isfile(os.path.join(folder, name.replace("fc7", "fc7_pca")))
                           for name in missing):
            remedy = "leave out --no-pca"
        raise DataError(f"COCO captions: {folder} {state} {', '.join(missing)}: {remedy}")
    idx_to_word, word_to_idx = _read_vocabulary(os.path.join(folder, VOCABULARY))
    data = {"idx_to_word": idx_to_word, "word_to_idx": word_to_idx, "folder": folder}
    for part in ("train", "val"):
        urls_path = os.path.join(folder, f"{part}2014_urls.txt")
        features_path = os.path.join(folder, features_name.format(part))
        urls = _read_lines(urls_path)
        features = _read_hdf5(features_path, "features", 2, "f").astype(np.float32, copy=False)
        if len(features) != len(urls):
            raise DataError(f"{features_path} has {len(features):,} rows but {urls_path} "
                            f"{len(urls):,} lines: get both anew")
        if not np.isfinite(features).all():
            raise DataError(f"{features_path} is damaged (numbers that are not finite): get it "
                            "anew")
        captions, pictures = _read_captions(os.path.join(folder, CAPTIONS), part, word_to_idx,
                                            len(features))
        data |= {f"X_{part}": CaptionFeatures(features, pictures), f"y_{part}": captions,
                 f"urls_{part}": urls}
    widths = [data[f"X_{part}"].shape[1] for part in ("train", "val")]
    if widths[0] != widths[1]:
        raise DataError(f"{features_path} has {widths[1]:,} features of a picture but the "
                        f"training's {widths[0]:,}: get both anew")
    return data


def decode_captions(captions, idx_to_word):
    """Sentences of (N, T) word ids, or one sentence of (T,): the words up to <END>."""
    captions = np.asarray(captions)
    if captions.ndim == 1:
        return decode_captions(captions[np.newaxis], idx_to_word)[0]
    sentences = []
    for caption in captions:
        words = [idx_to_word[i] for i in caption]
        if "<END>" in words:
            words = words[:words.index("<END>")]
        sentences.append(" ".join(word for word in words if word not in ("<START>", "<NULL>")))
    return sentences


def encode_captions(sentences, word_to_idx, length=17):
    """Word ids (N, length) of N sentences: <START>, the words, <END>, then <NULL>.

    Words are what stands between spaces, in lower case; one that the vocabulary lacks
    becomes <UNK>, and what does not fit before <END> is cut off.
    Raises ValueError where length leaves no room for <START> and <END>, or the vocabulary
    has neither a word nor <UNK>.
    """
    if length < 2:
        raise ValueError(f"encode_captions: length expects at least 2, got {length!r}")
    unknown = word_to_idx.get("<UNK>")
    captions = np.full((len(sentences), length), word_to_idx["<NULL>"], dtype=np.int64)
    for caption, sentence in zip(captions, sentences):
        words = ["<START>", *sentence.lower().split()[:length - 2], "<END>"]
        ids = [word_to_idx.get(word, unknown) for word in words]
        if None in ids:
            raise ValueError(f"encode_captions: word_to_idx expects the word "
                             f"{words[ids.index(None)]!r}, or <UNK> in its place")
        caption[:len(words)] = ids
    return captions


def _download(folder, confirm, progress):
    """Fetch, unpack and verify the folder, if that is agreed to.

    It gets its name only once its files are known to be right: nothing else is ever loaded.
    """
    if confirm is None or not confirm():
        raise DownloadError(f"{folder} does not exist, and it is about 1 GB to download: get and "
                            f"unpack {URLS[0]} there, or allow the download with --yes")
    archive, unverified = folder + ".zip", folder + ".unverified"
    download_file(URLS, archive, max_bytes=MAX_BYTES, progress=progress, verified_later=True)
    try:
        unpack_zip(archive, unverified, top="coco_captioning", max_bytes=MAX_UNPACKED)
        _verify(unverified)
    except DataError:                           # the next run is to get it anew
        shutil.rmtree(unverified, ignore_errors=True)
        os.remove(archive)
        raise
    if os.path.isdir(folder):
        os.rmdir(folder)                        # it is empty, and in the way on Windows
    os.rename(unverified, folder)
    os.remove(archive)


def _verify(folder):
    """Raise DataError unless the files of a folder have the hashes that are known."""
    wrong = [name for name, sha256 in SHA256.items()
             if _sha256(os.path.join(folder, name)) != sha256]
    if wrong:
        raise DataError(f"{URLS[0]} is not what it should be (the sha256 of {', '.join(wrong)} "
                        "differs), so it was removed: try again, or get it elsewhere")


def _sha256(path):
    """The hash of a file, or None if there is none."""
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_vocabulary(path):
    """(idx_to_word, word_to_idx), checked to be each other's inverse."""
    try:
        with open(path, encoding="utf-8") as file:
            vocabulary = json.load(file)
        idx_to_word, word_to_idx = list(vocabulary["idx_to_word"]), dict(vocabulary["word_to_idx"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path} is no vocabulary ({type(error).__name__}: {error}): get it "
                        "anew") from None
    inverse = {word: i for i, word in enumerate(idx_to_word)} \
        if all(isinstance(word, str) for word in idx_to_word) else None
    # A word that occurs twice has one id only: the dict is then smaller than the list.
    if word_to_idx != inverse or len(inverse) != len(idx_to_word):
        raise DataError(f"{path} is damaged (idx_to_word and word_to_idx do not match): get it "
                        "anew")
    lacking = [word for word in SPECIAL_WORDS if word not in word_to_idx]
    if lacking:
        raise DataError(f"{path} lacks the words {', '.join(lacking)}")
    return idx_to_word, inverse             # whose ids are integers, not 4.0


def _read_lines(path):
    """The lines of a text file."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def _read_hdf5(path, name, ndim, kind):
    """One array of an HDF5 file, checked for its number of axes and for its kind."""
    try:
        import h5py
    except ModuleNotFoundError:
        raise DataError("h5py, which reads COCO's features, is missing: python -m pip install "
                        "h5py") from None
    try:
        with h5py.File(path, "r") as file:
            array = file[name][()]
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise DataError(f"{path} is damaged or lacks {name} ({error}): get it anew") from None
    if not isinstance(array, np.ndarray) or array.ndim != ndim or array.dtype.kind not in kind \
            or not array.size:
        raise DataError(f"{path} is damaged ({name} expects {ndim} axes of type {kind}, got "
                        f"{getattr(array, 'dtype', type(array).__name__)} "
                        f"{getattr(array, 'shape', '')}): get it anew")
    return array


def _read_captions(path, part, word_to_idx, I):
    """(captions (N, T), pictures (N,)) of one part, checked.

    Ids are within the vocabulary and the pictures, and captions run from <START> to <END>.
    """
    captions = _read_hdf5(path, f"{part}_captions", 2, "iu").astype(np.int64)
    pictures = _read_hdf5(path, f"{part}_image_idxs", 1, "iu").astype(np.int64)
    if len(captions) != len(pictures):
        raise DataError(f"{path}: {part}_captions has {len(captions):,} rows but "
                        f"{part}_image_idxs {len(pictures):,}: get it anew")
    for name, values, upper, what in (
            (f"{part}_captions", captions, len(word_to_idx), "the vocabulary"),
            (f"{part}_image_idxs", pictures, I, "the pictures")):
        outside = (values < 0) | (values >= upper)
        if outside.any():
            row = int(np.argwhere(outside)[0][0])
            raise DataError(f"{path}: {name} holds {values[outside][0]} in row {row}, but {what} "
                            f"end at {upper - 1}")
    broken = (captions[:, 0] != word_to_idx["<START>"]) | \
        ~(captions == word_to_idx["<END>"]).any(axis=1)
    if broken.any():
        raise DataError(f"{path}: row {broken.argmax()} of {part}_captions does not run from "
                        "<START> to <END>: get it anew")
    return captions, pictures
