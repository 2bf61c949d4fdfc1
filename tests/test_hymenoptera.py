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


def picture(colour=(200, 100, 50), format="PNG"):
    """The bytes of a picture file."""
    file = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(file, format)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Two pictures of each class in each part, of a colour that tells the class."""
    for part in ("train", "val"):
        for name, colour in (("cats", (250, 0, 0)), ("dogs", (0, 0, 250))):
            place = tmp_path / "pets" / part / name
            place.mkdir(parents=True)
            for number in range(2):
                (place / f"{number}.png").write_bytes(picture(colour))
    return tmp_path / "pets"


# ---------------------------------------------------------------- reading folders

def test_a_folder_is_read_with_its_labels_and_what_is_skipped_is_counted_in_one_line(
        folder, capsys):
    for part in ("train", "val"):
        X, y = (load_image_folder(folder, side=20)[f"{name}_{part}"] for name in "Xy")
        assert X.shape == (4, 20, 20, 3) and X.dtype == np.uint8
        assert y.tolist() == [0, 0, 1, 1] and y.dtype == np.int64
        np.testing.assert_array_equal(X[:, 0, 0], [[250, 0, 0]] * 2 + [[0, 0, 250]] * 2)
    assert capsys.readouterr().out == ""
    (folder / "train/cats/imageNotFound.gif").write_bytes(picture(format="GIF"))
    (folder / "train/cats/.ipynb_checkpoints").mkdir()
    (folder / "train/cats/.ipynb_checkpoints/a-checkpoint.jpg").write_bytes(picture())
    (folder / "val/dogs/.hidden.png").write_bytes(picture())
    for name in ("0.jpg", "1.jpg"):
        (folder / "val/cats" / name).write_bytes(picture(format="JPEG")[:300])
    (folder / "train/.cache").mkdir()
    data = load_image_folder(folder, side=20)
    assert data["classes"] == ["cats", "dogs"]
    np.testing.assert_array_equal(data["X_val"], X)
    np.testing.assert_array_equal(data["y_val"], y)
    assert data["y_train"].tolist() == [0, 0, 1, 1]
    assert capsys.readouterr().out == ("skipped: 5 hidden, damaged, or of another type "
                                       "(train/cats/.ipynb_checkpoints/a-checkpoint.jpg, ...)\n")


def test_the_pictures_are_those_of_torchvisions_image_folder(folder):
    datasets = pytest.importorskip("torchvision.datasets")
    assert hymenoptera.EXTENSIONS == datasets.folder.IMG_EXTENSIONS
    (folder / "train/cats/a.gif").write_bytes(picture(format="GIF"))
    (folder / "train/cats/more").mkdir()
    (folder / "train/cats/more/b.JPG").write_bytes(picture(format="JPEG"))
    (folder / "train/dogs/c.txt").write_text("no picture")
    theirs = datasets.ImageFolder(folder / "train")
    classes, files, skipped = list_images(folder)
    assert classes == theirs.classes and files["train"] == sorted(theirs.samples)
    assert len(files["train"]) == 5 and len(skipped) == 2


@pytest.mark.parametrize("content", [
    b"", b"this is no picture", picture()[:50], picture(format="JPEG")[:300],
    picture()[:40] + b"\xff" * 60], ids=["empty", "text", "cut PNG", "cut JPEG", "garbled PNG"])
def test_what_does_not_open_is_no_picture(content, tmp_path):
    (tmp_path / "a.png").write_bytes(content)
    assert read_image(tmp_path / "a.png", 8) is None


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2)])
def test_the_largest_centred_square_is_taken_as_the_camera_was_held(axes, tmp_path):
    pixels = np.zeros((10, 30, 3), dtype=np.uint8)
    pixels[:5, 10:20] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(pixels.transpose(axes)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", 10),
                                  pixels[:, 10:20].transpose(axes)[::-1, ::-1])


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
    for part in ("train", "val"):
        (tmp_path / "one" / part / "only").mkdir(parents=True)
    with pytest.raises(DataError, match="at least two classes, has 1"):
        load_image_folder(tmp_path / "one")


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
def server(tmp_path, monkeypatch):
    """find_hymenoptera() downloads server["content"]; if it is None, there is no network."""
    def download(url, path, progress):
        assert url == hymenoptera.URL and path == f"{server['folder']}.zip"
        if server["content"] is None:
            raise DownloadError("no network")
        (tmp_path / "hymenoptera_data.zip").write_bytes(server["content"])

    server = {"content": zip_of(), "folder": tmp_path / "hymenoptera_data"}
    monkeypatch.setattr(hymenoptera, "FOLDER", str(server["folder"]))
    monkeypatch.setattr(hymenoptera, "download", download)
    return server


def test_the_zip_file_is_downloaded_unpacked_checked_and_removed(server):
    folder = find_hymenoptera()
    assert {part: len(files) for part, files in list_images(folder)[1].items()} == \
        {"train": 244, "val": 153}
    assert [path.name for path in server["folder"].parent.iterdir()] == ["hymenoptera_data"]
    server["content"] = None
    assert find_hymenoptera() == folder
    (server["folder"] / "val/bees/0.jpg").unlink()
    with pytest.raises(DataError, match=r"found 244 \+ 152"):
        find_hymenoptera()


@pytest.mark.parametrize("content, message", [
    (zip_of(train=(123, 100)), r"expected 244 \+ 153 pictures of ants and bees, found 223 \+ 153"),
    (zip_of(val=(70, 84)), r"found 244 \+ 154"),
    (zip_of(classes=("ants", "wasps")), r"found 244 \+ 153 pictures of ants and wasps"),
    (zip_of(top="other"), "holds no folder hymenoptera_data"),
    (b"<html>a web page</html>", "is damaged"),
], ids=["train", "val", "classes", "top", "not a zip"])
def test_a_zip_file_of_something_else_is_refused(content, message, server):
    server["content"] = content
    with pytest.raises(DataError, match=f"{message}.*delete") as caught:
        find_hymenoptera()
    assert f"{server['folder']}.zip" in str(caught.value) and "\n" not in str(caught.value)
    assert not server["folder"].exists()
