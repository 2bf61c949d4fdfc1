"""Reading pictures from folders, and getting the ants and bees. No network is used."""
import io
import time
import zipfile

import numpy as np
import pytest

from data import hymenoptera
from data.download import DataError, DownloadError
from data.hymenoptera import find_hymenoptera, list_images, load_image_folder, read_image

Image = pytest.importorskip("PIL.Image")


def picture(width=40, height=30, colour=(200, 100, 50), format="PNG"):
    """The bytes of a picture file."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, format)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Two pictures of each class in each part, of a colour that tells the class."""
    for part in ("train", "val"):
        for name, colour in (("cats", (250, 0, 0)), ("dogs", (0, 0, 250))):
            place = tmp_path / "pets" / part / name
            place.mkdir(parents=True)
            for number in range(2):
                (place / f"{number}.png").write_bytes(picture(colour=colour))
    return tmp_path / "pets"


# ---------------------------------------------------------------- reading folders

def test_a_folder_is_read_with_its_labels(folder):
    said = []
    data = load_image_folder(folder, side=20, warn=said.append)
    assert data["classes"] == ["cats", "dogs"] and said == []
    for part in ("train", "val"):
        X, y = data[f"X_{part}"], data[f"y_{part}"]
        assert X.shape == (4, 20, 20, 3) and X.dtype == np.uint8
        assert y.tolist() == [0, 0, 1, 1] and y.dtype == np.int64
        np.testing.assert_array_equal(X[:, 0, 0], [[250, 0, 0]] * 2 + [[0, 0, 250]] * 2)


def test_the_pictures_are_those_of_torchvisions_image_folder(folder):
    datasets = pytest.importorskip("torchvision.datasets")
    assert hymenoptera.EXTENSIONS == datasets.folder.IMG_EXTENSIONS
    (folder / "train/cats/a.gif").write_bytes(picture(format="GIF"))
    (folder / "train/cats/more").mkdir()
    (folder / "train/cats/more/b.JPG").write_bytes(picture(format="JPEG"))
    (folder / "train/dogs/c.txt").write_text("no picture")
    theirs = datasets.ImageFolder(folder / "train")
    classes, files = list_images(folder)
    assert classes == theirs.classes and files["train"] == sorted(theirs.samples)
    assert len(files["train"]) == 5


def test_what_is_skipped_is_counted_in_one_line(folder):
    (folder / "train/cats/imageNotFound.gif").write_bytes(picture(format="GIF"))
    (folder / "train/cats/.ipynb_checkpoints").mkdir()
    (folder / "train/cats/.ipynb_checkpoints/a-checkpoint.jpg").write_bytes(picture())
    (folder / "val/dogs/.hidden.png").write_bytes(picture())
    for name in ("0.jpg", "1.jpg"):
        (folder / "val/cats" / name).write_bytes(picture(format="JPEG")[:300])
    (folder / "train/.cache").mkdir()
    said = []
    data = load_image_folder(folder, side=8, warn=said.append)
    assert data["y_train"].tolist() == data["y_val"].tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(data["X_val"][:, 0, 0], [[250, 0, 0]] * 2 + [[0, 0, 250]] * 2)
    assert said == ["skipped: 2 hidden (train/cats/.ipynb_checkpoints, ...), 1 of another type "
                    "(train/cats/imageNotFound.gif), 2 damaged (val/cats/0.jpg, ...)"]


@pytest.mark.parametrize("content", [
    b"", b"this is no picture", picture()[:50], picture(format="JPEG")[:300],
    picture()[:40] + b"\xff" * 60], ids=["empty", "text", "cut PNG", "cut JPEG", "garbled PNG"])
def test_what_does_not_open_is_no_picture(content, tmp_path):
    (tmp_path / "a.png").write_bytes(content)
    assert read_image(tmp_path / "a.png", 8) is None


def test_a_picture_too_large_to_decode_is_no_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    (tmp_path / "a.png").write_bytes(picture())
    assert read_image(tmp_path / "a.png", 8) is None


def test_the_largest_centred_square_is_taken(tmp_path):
    pixels = np.zeros((10, 30, 3), dtype=np.uint8)
    pixels[:, 10:20] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray(pixels.transpose(1, 0, 2)).save(tmp_path / "tall.png")
    for name in ("wide.png", "tall.png"):
        assert (read_image(tmp_path / name, 5) == 255).all()


def test_orientation_of_the_camera_is_respected(tmp_path):
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", 8), pixels[::-1])


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_pictures_of_all_kinds_become_rgb(mode, tmp_path):
    ramp = np.arange(0, 250, 10, dtype=np.uint8).reshape(5, 5)
    Image.fromarray(ramp).convert(mode).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif", 5), np.stack([ramp] * 3, axis=2))


def test_ctrl_c_does_not_wait_for_all_pictures(folder, monkeypatch):
    for number in range(2, 200):
        (folder / f"train/cats/{number}.png").write_bytes(picture())
    read = []

    def reading(path, side):
        read.append(path)
        if len(read) == 1:
            raise KeyboardInterrupt
        time.sleep(0.01)

    monkeypatch.setattr(hymenoptera, "read_image", reading)
    with pytest.raises(KeyboardInterrupt):
        load_image_folder(folder, side=8)
    assert len(read) < 150


def test_wrong_layouts_are_named(folder, tmp_path):
    with pytest.raises(DataError, match="train.* does not exist"):
        load_image_folder(tmp_path / "nowhere")
    (folder / "train/birds").mkdir()
    with pytest.raises(DataError, match="birds in one of them only"):
        load_image_folder(folder)
    (folder / "val/birds").mkdir()
    with pytest.raises(DataError, match="birds holds no pictures"):
        load_image_folder(folder)
    for part in ("train", "val"):
        (folder / part / "birds/0.png").write_text("no picture")
    with pytest.raises(DataError, match="birds holds no picture that opens"):
        load_image_folder(folder)


def test_one_class_is_not_enough(tmp_path):
    for part in ("train", "val"):
        (tmp_path / part / "only").mkdir(parents=True)
    with pytest.raises(DataError, match="at least two classes, has 1"):
        list_images(tmp_path)


# ---------------------------------------------------------------- getting the ants and bees

def zip_of(train=(123, 121), val=(70, 83), classes=("ants", "bees"), top="hymenoptera_data"):
    """The bytes of a zip file that is laid out like hymenoptera_data.zip."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for part, counts in (("train", train), ("val", val)):
            for name, count in zip(classes, counts):
                for number in range(count):
                    archive.writestr(f"{top}/{part}/{name}/{number}.jpg", b"")
        archive.writestr(f"{top}/train/ants/imageNotFound.gif", b"")
    return file.getvalue()


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """find_hymenoptera() looks into an empty folder; returns the path of the zip file there."""
    monkeypatch.setattr(hymenoptera, "FOLDER", str(tmp_path / "hymenoptera_data"))
    return tmp_path / "hymenoptera_data.zip"


def test_a_zip_file_is_unpacked_checked_and_removed(archive):
    archive.write_bytes(zip_of())
    folder = find_hymenoptera(download=False)
    assert {part: len(files) for part, files in list_images(folder)[1].items()} == \
        {"train": 244, "val": 153}
    assert not archive.exists() and find_hymenoptera(download=False) == folder


@pytest.mark.parametrize("content, message", [
    (zip_of(train=(123, 100)), r"expected 244 \+ 153 pictures of ants and bees, found 223 \+ 153"),
    (zip_of(val=(70, 84)), r"found 244 \+ 154"),
    (zip_of(classes=("ants", "wasps")), r"found 244 \+ 153 pictures of ants and wasps"),
    (zip_of(top="other"), "holds no folder hymenoptera_data"),
    (b"<html>a web page</html>", "is damaged"),
], ids=["train", "val", "classes", "top", "not a zip"])
def test_a_zip_file_of_something_else_is_refused(content, message, archive):
    archive.write_bytes(content)
    with pytest.raises(DataError, match=f"{message}.*delete") as caught:
        find_hymenoptera(download=False)
    assert str(archive) in str(caught.value) and "\n" not in str(caught.value)
    assert not archive.with_suffix("").exists()


def test_a_folder_that_lost_pictures_is_refused(archive):
    archive.write_bytes(zip_of())
    folder = archive.with_suffix("")
    find_hymenoptera(download=False)
    (folder / "val/bees/0.jpg").unlink()
    with pytest.raises(DataError, match=r"found 244 \+ 152"):
        find_hymenoptera(download=False)


def test_it_is_downloaded_only_when_allowed_and_not_there(archive, monkeypatch):
    def unreachable(url, path, **options):
        assert url == hymenoptera.URL
        raise DownloadError("no network")

    monkeypatch.setattr(hymenoptera, "download_file", unreachable)
    with pytest.raises(DataError, match="does not exist: get and unpack"):
        find_hymenoptera(download=False)
    with pytest.raises(DownloadError, match="no network"):
        find_hymenoptera()
    monkeypatch.setattr(hymenoptera, "download_file",
                        lambda url, path, progress: archive.write_bytes(zip_of()))
    assert find_hymenoptera() == str(archive.with_suffix(""))
