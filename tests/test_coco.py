"""The loader of captions on a tiny folder made here, whole and damaged, and from a small server."""
import hashlib
import io
import json
import zipfile

import h5py
import numpy as np
import pytest

import data.coco
import data.download
from data.coco import CaptionFeatures, decode_captions, encode_captions, load_coco
from data.download import DataError, DownloadError
from test_download import ranged, server, whole  # server is a fixture

WORDS = ["<NULL>", "<START>", "<END>", "<UNK>", "a", "dog", "runs"]
VOCABULARY = {"idx_to_word": WORDS, "word_to_idx": {word: i for i, word in enumerate(WORDS)}}
TRAIN = [[1, 4, 5, 2, 0], [1, 4, 5, 6, 2], [1, 3, 2, 0, 0]]
VAL = [[1, 5, 6, 2, 0], [1, 6, 2, 0, 0]]


def write(folder, *, captions=None, vocabulary=None, features=None, urls=None, pca="_pca",
          widths=(4, 4)):
    """A folder in COCO's layout: 2 training pictures, 1 for validation, 3 + 2 captions."""
    folder.mkdir(exist_ok=True)
    arrays = {"train_captions": np.array(TRAIN, np.int32),
              "train_image_idxs": np.array([1, 0, 1], np.int32),
              "val_captions": np.array(VAL, np.int32),
              "val_image_idxs": np.array([0, 0], np.int32)} | (captions or {})
    with h5py.File(folder / "coco2014_captions.h5", "w") as file:
        for name, array in arrays.items():
            if isinstance(array, str):
                file.create_group(name)
            elif array is not None:
                file[name] = array
    (folder / "coco2014_vocab.json").write_text(
        vocabulary if isinstance(vocabulary, str) else json.dumps(vocabulary or VOCABULARY))
    for part, count, width in (("train", 2, widths[0]), ("val", 1, widths[1])):
        rows = np.arange(width * count, dtype=np.float32).reshape(count, width) \
            if features is None else features
        with h5py.File(folder / f"{part}2014_vgg16_fc7{pca}.h5", "w") as file:
            file["features"] = rows
        lines = [f"http://example.org/{part}{i}.jpg" for i in range(count)] if urls is None \
            else urls
        (folder / f"{part}2014_urls.txt").write_text("".join(f"{line}\n" for line in lines))
    return folder


def test_a_whole_folder(tmp_path):
    loaded = load_coco(write(tmp_path / "coco"))
    np.testing.assert_array_equal(loaded["y_train"], TRAIN)
    np.testing.assert_array_equal(loaded["y_val"], VAL)
    assert loaded["y_train"].dtype == np.int64
    X = loaded["X_train"]
    assert len(X) == 3 and X.shape == (3, 4)
    np.testing.assert_array_equal(X[np.array([0, 1])], [[4, 5, 6, 7], [0, 1, 2, 3]])
    assert X[np.array([0])].dtype == np.float32
    assert loaded["urls_val"] == ["http://example.org/val0.jpg"]
    assert loaded["word_to_idx"]["dog"] == 5 and loaded["idx_to_word"] == WORDS


def test_the_published_folder_may_lack_the_addresses_of_the_pictures(tmp_path):
    folder = write(tmp_path / "coco")
    (folder / "train2014_images.txt").write_text("train2014/a.jpg\n" * 2)
    (folder / "val2014_images.txt").write_text("val2014/a.jpg\n")
    assert load_coco(folder)["urls_val"] == ["http://example.org/val0.jpg"]
    (folder / "train2014_urls.txt").unlink()
    assert load_coco(folder)["urls_train"] == ["train2014/a.jpg"] * 2
    (folder / "train2014_images.txt").unlink()
    assert load_coco(folder)["urls_train"] == ["", ""]


def test_features_are_stored_once_for_all_captions_of_a_picture():
    features = np.zeros((3, 1000), np.float32)
    X = CaptionFeatures(features, np.zeros(100_000, np.int64))
    assert len(X) == 100_000 and X.features is features
    assert X[np.arange(2)].shape == (2, 1000)


def test_all_features_instead_of_the_principal_components(tmp_path):
    folder = write(tmp_path / "coco", pca="")
    assert load_coco(folder, pca=False)["X_val"].shape == (2, 4)
    with pytest.raises(DataError, match="lacks train2014_vgg16_fc7_pca.h5, val2014_vgg16_fc7_pca"):
        load_coco(folder)
    with pytest.raises(DataError, match="lacks train2014_vgg16_fc7.h5, .*: leave out --no-pca, or"):
        load_coco(write(tmp_path / "other"), pca=False)


@pytest.mark.parametrize("damage, message", [
    ({"captions": {"train_captions": np.array([[1, 7, 2]] * 3)}},
     "train_captions expects 0 to 6, found 1 to 7"),
    ({"captions": {"val_captions": np.array([[1, 4, 2], [1, -1, 2]])}},
     "val_captions expects 0 to 6, found -1 to 4"),
    ({"captions": {"train_image_idxs": np.array([0, 2, 1])}},
     "train_image_idxs expects 0 to 1, found 0 to 2"),
    ({"captions": {"train_image_idxs": np.array([0, 1])}}, "3 rows but train_image_idxs 2"),
    ({"captions": {"val_captions": None}}, "damaged or lacks val_captions"),
    ({"captions": {"train_captions": "group"}}, "damaged or lacks train_captions"),
    ({"captions": {"train_captions": np.ones((3, 5))}}, "train_captions expects 2 axes"),
    ({"captions": {"train_captions": np.ones(3, int)}}, "train_captions expects 2 axes"),
    ({"captions": {"train_captions": np.ones((0, 5), int)}}, "train_captions expects 2 axes"),
    ({"features": np.zeros((2, 4), int)}, "features expects 2 axes of type f"),
    ({"urls": ["a", "b", "c"]}, "train2014_urls.txt has 3 lines for 2 pictures"),
    ({"vocabulary": {"idx_to_word": WORDS}}, "no vocabulary"),
    ({"vocabulary": "<html></html>"}, "no vocabulary"),
    ({"vocabulary": [1]}, "no vocabulary"),
    ({"vocabulary": {**VOCABULARY, "idx_to_word": [["a"], *WORDS[1:]]}}, "no vocabulary"),
    ({"vocabulary": {**VOCABULARY, "idx_to_word": ["a", *WORDS]}}, "do not match"),
    ({"vocabulary": {"idx_to_word": ["a"], "word_to_idx": {"a": 0}}}, "not all of <NULL> <START>")])
def test_what_is_damaged_is_named(tmp_path, damage, message):
    folder = write(tmp_path / "coco", **damage)
    with pytest.raises(DataError, match=message) as error:
        load_coco(folder)
    assert str(folder) in str(error.value) and "get it again" in str(error.value)


@pytest.mark.parametrize("name", ["coco2014_captions.h5", "train2014_vgg16_fc7_pca.h5",
                                  "coco2014_vocab.json"])
def test_a_truncated_or_missing_file_or_folder_is_named(tmp_path, name):
    path = write(tmp_path / "coco") / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=name):
        load_coco(path.parent)
    path.unlink()
    with pytest.raises(DataError, match=f"lacks {name}"):
        load_coco(path.parent)
    with pytest.raises(DataError, match="nowhere does not exist, so it lacks coco2014_captions"):
        load_coco(tmp_path / "nowhere")


# ---------------------------------------------------------------- words

def test_decoding_stops_at_end_and_leaves_padding_out():
    captions = np.array([[1, 4, 5, 2, 6], [1, 3, 0, 0, 0], [2, 4, 4, 4, 4]])
    assert decode_captions(captions, WORDS) == ["a dog", "<UNK>", ""]
    assert decode_captions(captions[0], WORDS) == "a dog"


def test_encoding_is_the_way_back():
    word_to_idx = {word: i for i, word in enumerate(WORDS)}
    captions = encode_captions(["A dog runs", "a cat", "", "a a a a a a"], word_to_idx, 5)
    np.testing.assert_array_equal(captions, [[1, 4, 5, 6, 2], [1, 4, 3, 2, 0], [1, 2, 0, 0, 0],
                                             [1, 4, 4, 4, 2]])
    assert decode_captions(captions[:3], WORDS) == ["a dog runs", "a <UNK>", ""]


def test_a_vocabulary_needs_unknown_only_for_unknown_words():
    word_to_idx = {word: i for i, word in enumerate(["<NULL>", "<START>", "<END>", "dog"])}
    np.testing.assert_array_equal(encode_captions(["dog"], word_to_idx, 3), [[1, 3, 2]])


# ---------------------------------------------------------------- download

def zipped(folder):
    """coco_captioning.zip, made of a folder."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"coco_captioning/{path.name}")
    return content.getvalue()


@pytest.fixture
def source(tmp_path, server, monkeypatch):
    """A tiny folder whose zip file the loader takes for the real one."""
    monkeypatch.setattr(data.coco, "FOLDER", str(tmp_path / "data" / "coco_captioning"))
    monkeypatch.setattr(data.coco, "URLS", (server.url("coco.zip"),))
    monkeypatch.setattr(data.download, "PAUSES", (0, 0.01))
    source = write(tmp_path / "source")
    monkeypatch.setattr(data.coco, "SHA256", {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in source.iterdir()})
    return source


def test_a_cut_download_goes_on_and_is_unpacked(tmp_path, source, server):
    content = zipped(source)
    server.pages["coco.zip"] = ranged(content, breaks_at=[len(content) // 2])
    (tmp_path / "data" / "coco_captioning").mkdir(parents=True)     # empty, it counts as none
    np.testing.assert_array_equal(load_coco(confirm=lambda: True)["y_val"], VAL)
    assert [asked for _, asked in server.asked] == [None, f"bytes={len(content) // 2}-"]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["coco_captioning"]


@pytest.mark.parametrize("confirm", [None, lambda: False])
def test_nothing_is_downloaded_unasked(tmp_path, source, server, confirm):
    with pytest.raises(DownloadError, match="about 1 GB to download"):
        load_coco(confirm=confirm)
    assert server.asked == [] and not (tmp_path / "data").exists()


def test_other_content_than_expected_is_refused(tmp_path, source, server, monkeypatch):
    monkeypatch.setitem(data.coco.SHA256, "train2014_urls.txt", "0" * 64)
    server.pages["coco.zip"] = whole(zipped(source))
    with pytest.raises(DataError, match="zip is not .* sha256 of train2014_urls.txt .*delete it"):
        load_coco(confirm=lambda: True)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["coco_captioning.zip"]
