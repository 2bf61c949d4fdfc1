"""Reading pictures from folders, and getting the ants and bees. No network is used."""
import io
import shutil
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from data import hymenoptera
from data.download import DataError, NetworkUnreachable
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


def zip_of(train=(124, 120), val=(70, 83), classes=("ants", "bees"), top="hymenoptera_data"):
    """The bytes of a zip file that is laid out like hymenoptera_data.zip."""
    file = io.BytesIO()
    content = picture(4, 4)
    with zipfile.ZipFile(file, "w") as archive:
        for part, counts in (("train", train), ("val", val)):
            for name, count in zip(classes, counts):
                for number in range(count):
                    archive.writestr(f"{top}/{part}/{name}/{number}.png", content)
    return file.getvalue()


@pytest.fixture
def empty_place(tmp_path, monkeypatch):
    """find_hymenoptera() looks into an empty folder; returns the path of the zip file there."""
    monkeypatch.setattr(hymenoptera, "FOLDER", str(tmp_path / "hymenoptera_data"))
    return tmp_path / "hymenoptera_data.zip"


# ---------------------------------------------------------------- reading folders

def test_a_folder_is_read_with_its_labels_and_names(folder):
    data = load_image_folder(folder, side=20)
    assert data["classes"] == ["cats", "dogs"]
    for part in ("train", "val"):
        X, y = data[f"X_{part}"], data[f"y_{part}"]
        assert X.shape == (4, 20, 20, 3) and X.dtype == np.uint8
        assert y.tolist() == [0, 0, 1, 1] and y.dtype == np.int64
        np.testing.assert_array_equal(X[:, 0, 0], [[250, 0, 0]] * 2 + [[0, 0, 250]] * 2)
    assert data["names_val"][2] == str((folder / "val/dogs/0.png").relative_to(folder))


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


RAMP = np.arange(0, 250, 10, dtype=np.uint8).reshape(5, 5)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK"])
def test_pictures_of_all_kinds_become_rgb(mode, tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(RAMP).convert(mode).save(path)
    np.testing.assert_array_equal(read_image(path, 5), np.stack([RAMP] * 3, axis=2))


@pytest.mark.parametrize("name, dtype", [
    ("a.png", "<u2"), ("a.tif", "<u2"), ("a.tif", ">u2"), ("a.tif", "<i4")])
def test_grey_of_16_bits_keeps_its_shades(name, dtype, tmp_path):
    Image.fromarray((RAMP.astype(np.uint32) * 257).astype(dtype)).save(tmp_path / name)
    np.testing.assert_array_equal(read_image(tmp_path / name, 5), np.stack([RAMP] * 3, axis=2))


@pytest.mark.parametrize("values", [RAMP / np.float32(255), RAMP.astype(np.int32) * 10**6])
def test_values_of_unknown_range_are_refused(values, tmp_path):
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match="a.tif is not a readable picture .*not of 8 or 16 bits"):
        read_image(tmp_path / "a.tif", 5)


@pytest.mark.parametrize("content", [
    b"", b"this is no picture", picture()[:50], picture(format="JPEG")[:300],
    picture()[:40] + b"\xff" * 60], ids=["empty", "text", "cut PNG", "cut JPEG", "garbled PNG"])
def test_a_damaged_picture_is_skipped_with_its_name(content, folder):
    (folder / "train/cats/damaged.png").write_bytes(content)
    warnings = []
    data = load_image_folder(folder, side=8, warn=warnings.append)
    assert len(warnings) == 1 and "damaged.png" in warnings[0] and "\n" not in warnings[0]
    assert data["y_train"].tolist() == [0, 0, 1, 1] and len(data["X_train"]) == 4
    assert not any("damaged" in name for name in data["names_train"])


def test_ctrl_c_does_not_wait_for_all_pictures(folder, monkeypatch):
    for number in range(2, 200):
        (folder / f"train/cats/{number}.png").write_bytes(picture())
    read = []

    def slow_reading(path, side):
        time.sleep(0.01)
        read.append(path)
        raise DataError("broken")

    def interrupt(text):
        raise KeyboardInterrupt

    monkeypatch.setattr(hymenoptera, "read_image", slow_reading)
    with pytest.raises(KeyboardInterrupt):
        load_image_folder(folder, side=8, warn=interrupt)
    assert len(read) < 150


def test_pictures_are_held_in_memory_once(folder):
    for number in range(2, 40):
        shutil.copy(folder / "train/cats/0.png", folder / f"train/cats/{number}.png")
    (folder / "train/cats/1.png").write_bytes(b"no picture")
    side = 256
    tracemalloc.start()
    try:
        data = load_image_folder(folder, side, warn=lambda text: None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    pictures = data["X_train"].nbytes + data["X_val"].nbytes
    assert peak < 1.5 * pictures
    assert (data["X_train"][data["y_train"] == 0, 0, 0] == [250, 0, 0]).all()


def test_files_that_do_not_claim_to_be_pictures_are_left_out(folder):
    (folder / "train/cats/notes.txt").write_text("not a picture")
    (folder / "train/cats/.hidden.png").write_bytes(picture())
    (folder / "train/.cache").mkdir()
    assert len(list_images(folder)[1]["train"]) == 4


def test_pictures_in_folders_below_a_class_belong_to_it(folder):
    (folder / "val/dogs/more").mkdir()
    (folder / "val/dogs/more/2.JPG").write_bytes(picture(format="JPEG"))
    assert load_image_folder(folder, side=8)["y_val"].tolist() == [0, 0, 1, 1, 1]


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
    with pytest.raises(DataError, match="birds holds no picture that can be read"):
        load_image_folder(folder, warn=lambda text: None)


def test_one_class_is_not_enough(tmp_path):
    for part in ("train", "val"):
        (tmp_path / part / "only").mkdir(parents=True)
    with pytest.raises(DataError, match="at least two classes, has 1"):
        list_images(tmp_path)


def test_side_is_checked(folder):
    with pytest.raises(ValueError, match="side expects at least 1"):
        load_image_folder(folder, side=0)


# ---------------------------------------------------------------- getting the ants and bees

@pytest.mark.parametrize("train", [(124, 120), (124, 121)])
def test_a_zip_file_is_unpacked_checked_and_removed(train, empty_place):
    empty_place.write_bytes(zip_of(train))
    folder = find_hymenoptera(download=False)
    assert not empty_place.exists()
    assert {part: len(files) for part, files in list_images(folder)[1].items()} == \
        {"train": sum(train), "val": 153}
    assert find_hymenoptera(download=False) == folder


@pytest.mark.parametrize("content, message", [
    (zip_of(train=(124, 100)), "train has 224 pictures instead of 244 or 245"),
    (zip_of(val=(70, 84)), "val has 154 pictures instead of 153"),
    (zip_of(classes=("ants", "wasps")), "ants, wasps instead of ants, bees"),
    (zip_of(top="other"), "holds no folder hymenoptera_data"),
    (b"<html>a web page</html>", "is damaged"),
], ids=["train", "val", "classes", "top", "not a zip"])
def test_a_zip_file_of_the_wrong_structure_is_refused(content, message, empty_place):
    empty_place.write_bytes(content)
    with pytest.raises(DataError, match=message):
        find_hymenoptera(download=False)


def test_a_folder_that_lost_pictures_is_refused(empty_place):
    empty_place.write_bytes(zip_of())
    folder = empty_place.with_suffix("")
    find_hymenoptera(download=False)
    (folder / "val/bees/0.png").unlink()
    with pytest.raises(DataError, match="152 pictures instead of 153"):
        find_hymenoptera(download=False)


def test_it_is_downloaded_when_it_is_not_there(empty_place, monkeypatch):
    calls = []

    def fake_download(url, path, **options):
        calls.append((url, options["max_bytes"]))
        empty_place.write_bytes(zip_of())

    monkeypatch.setattr(hymenoptera, "download_file", fake_download)
    find_hymenoptera()
    find_hymenoptera()
    assert calls == [(hymenoptera.URL, hymenoptera.MAX_BYTES)]


def test_no_download_where_it_is_forbidden_and_errors_pass(empty_place, monkeypatch):
    def unreachable(url, path, **options):
        raise NetworkUnreachable("no mirror")

    monkeypatch.setattr(hymenoptera, "download_file", unreachable)
    with pytest.raises(DataError, match="does not exist: get and unpack"):
        find_hymenoptera(download=False)
    with pytest.raises(NetworkUnreachable):
        find_hymenoptera()
