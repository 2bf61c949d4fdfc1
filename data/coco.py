"""COCO captions in the layout of CS231n's coco_captioning folder: features, captions, addresses.

    coco2014_captions.h5                train_captions, train_image_idxs, val_captions, ...
    coco2014_vocab.json                 idx_to_word, word_to_idx
    train2014_vgg16_fc7[_pca].h5        features: a row for each picture
    train2014_urls.txt                  line i is the address, or the path, of picture i
    train2014_images.txt                line i is the path of picture i: read if there are no urls
    the same three for val2014; without the last two, pictures cannot be shown

Any data set in this layout can be read. A picture has several captions, and its features
are stored once: 400,135 captions of COCO share 82,783 rows.

N: captions, T: words of a caption (<START> and <END> included, then <NULL>), I: pictures,
D: features of a picture, V: words of the vocabulary.
"""
import json
import os

import numpy as np

from data.download import (DataError, DownloadError, download as download_file, file_hash,
                           unpack_zip)

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "coco_captioning")
URLS = ("http://cs231n.stanford.edu/coco_captioning.zip",
        "https://cs231n.stanford.edu/coco_captioning.zip")
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
    - progress: print the progress of the download

    Returns a dict:
    - X_train, X_val: CaptionFeatures (N, D), float32
    - y_train, y_val: captions (N, T), int64 word ids
    - urls_train, urls_val: lists of I addresses or paths, '' where there is none; paths are
      relative to `folder`
    - idx_to_word: list of V words; word_to_idx: dict
    - folder: where the files are

    Raises DataError if a file is missing, damaged or does not fit the others, DownloadError
    if the data cannot be downloaded or may not be.
    """
    folder = FOLDER if data_dir is None else os.fspath(data_dir)
    if data_dir is None and not (os.path.isdir(folder) and os.listdir(folder)):
        _download(folder, confirm, progress)
    features = {part: f"{part}2014_vgg16_fc7{'_pca' * pca}.h5" for part in ("train", "val")}
    missing = [name for name in (CAPTIONS, VOCABULARY, *features.values())
               if not os.path.isfile(os.path.join(folder, name))]
    if missing:
        lacks = "lacks" if os.path.isdir(folder) else "does not exist, so it lacks"
        remedy = "get" if pca else "leave out --no-pca, or get"
        raise DataError(f"COCO captions: {folder} {lacks} {', '.join(missing)}: {remedy} and "
                        f"unpack {URLS[0]}")
    idx_to_word, word_to_idx = _read_vocabulary(os.path.join(folder, VOCABULARY))
    data = {"idx_to_word": idx_to_word, "word_to_idx": word_to_idx, "folder": folder}
    for part in ("train", "val"):
        X = _read_hdf5(os.path.join(folder, features[part]), "features", 2, "f")
        captions, pictures = _read_captions(os.path.join(folder, CAPTIONS), part,
                                            len(idx_to_word), len(X))
        data |= {f"X_{part}": CaptionFeatures(X.astype(np.float32, copy=False), pictures),
                 f"y_{part}": captions, f"urls_{part}": _read_addresses(folder, part, len(X))}
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
    """
    captions = np.full((len(sentences), length), word_to_idx["<NULL>"], dtype=np.int64)
    for caption, sentence in zip(captions, sentences):
        words = ["<START>", *sentence.lower().split()[:length - 2], "<END>"]
        caption[:len(words)] = [word_to_idx[word if word in word_to_idx else "<UNK>"]
                                for word in words]
    return captions


def _download(folder, confirm, progress):
    """Fetch, unpack and verify the folder, if that is agreed to."""
    if confirm is None or not confirm():
        raise DownloadError(f"{folder} does not exist, and it is about 1 GB to download: get and "
                            f"unpack {URLS[0]} there, or allow the download with --yes")
    archive = folder + ".zip"
    download_file(URLS, archive, max_bytes=2 * 10 ** 9, progress=progress)

    def verify(unpacked):
        wrong = [name for name, sha256 in SHA256.items()
                 if file_hash(os.path.join(unpacked, name), "sha256") != sha256]
        if wrong:
            raise DataError(f"{archive} is not what it should be (the sha256 of "
                            f"{', '.join(wrong)} differs): delete it and try again")

    unpack_zip(archive, folder, "coco_captioning", verify)
    os.remove(archive)


def _read_vocabulary(path):
    """(idx_to_word, word_to_idx), checked to be each other's inverse."""
    try:
        with open(path, encoding="utf-8") as file:
            vocabulary = json.load(file)
        idx_to_word = list(vocabulary["idx_to_word"])
        word_to_idx = {word: i for i, word in enumerate(idx_to_word)}
        if vocabulary["word_to_idx"] != word_to_idx:
            raise ValueError("idx_to_word and word_to_idx do not match")
        if not set(SPECIAL_WORDS) <= set(idx_to_word):
            raise ValueError(f"not all of {' '.join(SPECIAL_WORDS)} are in it")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no vocabulary ({type(error).__name__}: {error}): get it "
                        "again") from None
    return idx_to_word, word_to_idx


def _read_addresses(folder, part, I):
    """An address or path for each of I pictures, '' where the folder names none."""
    for name in (f"{part}2014_urls.txt", f"{part}2014_images.txt"):
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                addresses = file.read().splitlines()
            if len(addresses) != I:
                raise DataError(f"{path} has {len(addresses):,} lines for {I:,} pictures: get it "
                                "again, or delete it to do without pictures")
            return addresses
    return [""] * I


def _read_hdf5(path, name, ndim, kind):
    """One array of an HDF5 file, checked for its number of axes and for its kind."""
    try:
        import h5py
        with h5py.File(path, "r") as file:
            array = file[name][()]
    except ModuleNotFoundError:
        raise DataError("h5py, which reads COCO's features, is missing: python -m pip install "
                        "h5py") from None
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise DataError(f"{path} is damaged or lacks {name} ({error}): get it again") from None
    if array.ndim != ndim or array.dtype.kind not in kind or not array.size:
        raise DataError(f"{path}: {name} expects {ndim} axes of type {kind}, got {array.dtype} "
                        f"{array.shape}: get it again")
    return array


def _read_captions(path, part, V, I):
    """(captions (N, T), pictures (N,)) of one part, checked to be within V words and I pictures."""
    captions = _read_hdf5(path, f"{part}_captions", 2, "iu").astype(np.int64)
    pictures = _read_hdf5(path, f"{part}_image_idxs", 1, "iu").astype(np.int64)
    if len(captions) != len(pictures):
        raise DataError(f"{path}: {part}_captions has {len(captions):,} rows but "
                        f"{part}_image_idxs {len(pictures):,}: get it again")
    for name, values, count in (("captions", captions, V), ("image_idxs", pictures, I)):
        if values.min() < 0 or values.max() >= count:
            raise DataError(f"{path}: {part}_{name} expects 0 to {count - 1}, found {values.min()} "
                            f"to {values.max()}: get it again")
    return captions, pictures
