"""`idx:DIR`: what the files become, and one clear error for each that cannot be used."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from mhmodels.errors import MhmodelsError
from mhmodels.preprocessing.pictures import fit_picture
from mhmodels.training.data import idx
from mhmodels.training.data.idx_files import MAX_VALUES, read_idx
from mhmodels.training.data.sources import open_data
from mhmodels.training.data.unlabelled import open_pictures
from mhmodels.training.errors import DataError

from .idx_folder import idx_bytes, write_idx
from .tiny import recipe

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def test_pictures_and_labels(tmp_path: Path) -> None:
    write_idx(tmp_path, train=7, test=4)
    data = open_data(f"idx:{tmp_path}")
    assert data.train is not None
    assert data.test is not None
    assert (len(data.train), len(data.test), data.train.classes, data.test.classes) == (7, 4, 3, 3)
    assert (data.train.name, data.test.name) == (f"idx:{tmp_path} train", f"idx:{tmp_path} test")
    assert (data.train.labels, data.train.label_set) == ((), "")
    assert [data.train.read(index, 0)[1] for index in range(7)] == [0, 1, 2, 0, 1, 2, 0]
    # From the bytes themselves: picture 2 of 28 x 28 after a header of 16 bytes.
    stored = np.frombuffer((tmp_path / TEST_IMAGES).read_bytes()[16 + 2 * 784 : 16 + 3 * 784], np.uint8).reshape(28, 28)
    image, label = data.test.read(2, 5)
    assert (image.mode, image.size, label) == ("RGB", (28, 28), 2)
    assert np.array_equal(np.asarray(image), np.repeat(stored[..., None], 3, axis=2))
    assert data.test.where(2) == f"{tmp_path / TEST_IMAGES}, picture 2"


def test_rows_and_columns_are_not_exchanged(tmp_path: Path) -> None:
    write_idx(tmp_path)
    pixels = np.arange(12 * 2 * 3, dtype=np.uint8).reshape(12, 2, 3)
    (tmp_path / TRAIN_IMAGES).write_bytes(idx_bytes(pixels))
    train = open_data(f"idx:{tmp_path}").train
    assert train is not None
    image, _ = train.read(1, 0)
    assert image.size == (3, 2)
    assert np.asarray(image)[..., 0].tolist() == [[6, 7, 8], [9, 10, 11]]


@pytest.mark.parametrize("side", [24, 32, 64])
def test_pictures_get_the_size_of_the_input(tmp_path: Path, side: int) -> None:
    test = open_data(f"idx:{write_idx(tmp_path)}").test
    assert test is not None
    preprocessing = recipe().preprocessing
    assert preprocessing is not None
    pixels = fit_picture(test.read(1, 0)[0], (side, side), preprocessing)
    assert pixels.shape == (side, side, 3)
    assert abs(pixels.mean() - np.asarray(test.read(1, 0)[0]).mean()) < 2


def test_compressed_or_not_is_known_by_content(tmp_path: Path) -> None:
    write_idx(tmp_path)
    before = open_data(f"idx:{tmp_path}").train
    (tmp_path / TRAIN_IMAGES).rename(tmp_path / "train-images.idx3-ubyte")  # still compressed
    unpacked = gzip.decompress((tmp_path / TRAIN_LABELS).read_bytes())
    (tmp_path / TRAIN_LABELS).write_bytes(unpacked)  # no longer compressed
    after = open_data(f"idx:{tmp_path}").train
    assert before is not None
    assert after is not None
    assert after.fingerprint() == before.fingerprint()


def test_the_fingerprint_changes_with_pixels_labels_and_offset(tmp_path: Path) -> None:
    write_idx(tmp_path)

    def fingerprint(label_offset: int | None = None) -> str:
        test = open_data(f"idx:{tmp_path}", label_offset=label_offset).test
        assert test is not None
        return test.fingerprint()

    seen = [fingerprint()]
    assert fingerprint() == seen[0]
    assert fingerprint(0) == seen[0]
    seen.append(fingerprint(1))
    for file in (TEST_IMAGES, TEST_LABELS):
        content = bytearray((tmp_path / file).read_bytes())
        content[-2] ^= 1  # label 1 becomes 0
        (tmp_path / file).write_bytes(content)
        seen.append(fingerprint())
    assert len(set(seen)) == 4
    assert all(text.startswith("6 pictures, ") for text in seen)


def test_label_offset(tmp_path: Path) -> None:
    write_idx(tmp_path, first=1)
    with pytest.raises(DataError, match=r"up to 3, but 1 of these 4 classes have no picture: 0; state the label offset"):
        open_data(f"idx:{tmp_path}")
    shifted, background = (open_data(f"idx:{tmp_path}", label_offset=offset).train for offset in (-1, 0))
    assert shifted is not None
    assert background is not None
    assert (shifted.classes, [shifted.read(index, 0)[1] for index in range(3)]) == (3, [0, 1, 2])
    assert (background.classes, [background.read(index, 0)[1] for index in range(3)]) == (4, [1, 2, 3])
    with pytest.raises(
        DataError, match=r"train-labels-idx1-ubyte.gz: label 0 is -1 with the label offset -2, expected 0 or more"
    ):
        open_data(f"idx:{tmp_path}", label_offset=-2)


def test_test_pictures_in_another_folder(tmp_path: Path) -> None:
    first, second = write_idx(tmp_path / "a"), write_idx(tmp_path / "b", test=9)
    for file in (TEST_IMAGES, TEST_LABELS):
        (first / file).unlink()
    data = open_data(f"idx:{first}", test=f"idx:{second}")
    assert data.test is not None
    assert (len(data.test), data.test.name) == (9, f"idx:{second} test")
    with pytest.raises(DataError, match=r"test data is 'elsewhere', expected idx:DIR as for the training data"):
        open_data(f"idx:{first}", test="elsewhere")


def test_names_of_known_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idx(tmp_path)
    (known,) = idx._LABEL_SETS.values()
    assert len(known.names) == 10
    monkeypatch.setattr(idx, "_LABEL_SETS", {hashlib.sha256(bytes([0, 1, 2] * 4)).hexdigest(): known})
    data = open_data(f"idx:{tmp_path}")
    assert data.train is not None
    assert data.test is not None
    assert data.train.labels == data.test.labels
    assert (data.train.label_set, data.train.labels[9]) == ("fashion-mnist", "Ankle boot")
    shifted = open_data(f"idx:{tmp_path}", label_offset=1).train
    assert shifted is not None
    assert shifted.labels == ()


def test_pictures_without_labels(tmp_path: Path) -> None:
    data = open_pictures(f"idx:{write_idx(tmp_path, first=1)}")
    assert data.train is not None
    assert data.test is not None
    assert (len(data.train), len(data.test), data.train.read(1, 0)[1]) == (12, 6, 0)


def test_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(write_idx(tmp_path / "home") / ".."))
    test = open_data("idx:~/home").test
    assert test is not None
    assert len(test) == 6


def _broken(folder: Path, file: str, content: bytes) -> str:
    """The message about a data set of which one file has other content."""
    write_idx(folder)
    (folder / file).write_bytes(content)
    return _refused(folder)


def _refused(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        open_data(f"idx:{folder}")
    return str(caught.value)


@pytest.mark.parametrize("file", [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS])
def test_a_missing_file_is_named_with_the_names_tried(tmp_path: Path, file: str) -> None:
    (write_idx(tmp_path) / file).unlink()
    part, what = file.split("-")[:2]
    what, number = ("pictures", 3) if what == "images" else ("labels", 1)
    word = file.split("-")[1]
    tried = ", ".join(f"{part}-{word}{sign}idx{number}-ubyte{suffix}" for sign in "-." for suffix in ("", ".gz"))
    assert _refused(tmp_path) == f"{tmp_path}: no file of the {part} {what}, expected one of {tried}"


PIXELS = np.zeros((6, 2, 2), np.uint8)
WHOLE = idx_bytes(PIXELS)
ZIPPED = gzip.compress(WHOLE, mtime=0)
HUGE = bytes((0, 0, 8, 3)) + struct.pack(">3I", 2**32 - 1, 28, 28)


UNUSABLE = {
    "empty": (b"", "is empty, expected an IDX file"),
    "three-bytes": (b"PNG", "begins with the bytes 50 4e 47, expected 00 00 08 03: neither an IDX file nor compressed with gzip"),
    "text": (b"not IDX at all", "begins with the bytes 6e 6f 74 20, expected 00 00 08 03: neither"),
    "float32": (idx_bytes(PIXELS, code=0x0D), "type code 0x0d (float32), expected 0x08 (unsigned byte)"),
    "unknown-type": (idx_bytes(PIXELS, code=0x07), "type code 0x07 (unknown), expected 0x08"),
    "one-dimension": (idx_bytes(np.zeros(6, np.uint8)), "1 dimensions, expected 3 (pictures, rows, columns)"),
    "four-dimensions": (idx_bytes(np.zeros((6, 2, 2, 3), np.uint8)), "4 dimensions, expected 3"),
    "header-cut": (WHOLE[:10], "ends after 10 bytes, within its header of 16: it is truncated"),
    "one-byte-short": (WHOLE[:-1], "has 23 of the 24 values in its header: it is truncated"),
    "one-byte-more": (WHOLE + b"\0", "goes on after the 24 values in its header"),
    "no-pictures": (idx_bytes(np.zeros((0, 2, 2), np.uint8)), "has 0 pictures, 2 rows, 2 columns, expected at least 1 each"),
    "no-rows": (idx_bytes(np.zeros((6, 0, 2), np.uint8)), "has 6 pictures, 0 rows, 2 columns, expected at least 1 each"),
    "huge": (HUGE, f"4294967295 x 28 x 28 values by its header, expected at most {MAX_VALUES}"),
    "gzip-cut": (ZIPPED[:-12], "the gzip data are damaged or truncated (Compressed file ended"),
    "gzip-checksum": (ZIPPED[:-8] + b"\0\0\0\0" + ZIPPED[-4:], "the gzip data are damaged or truncated (CRC check failed"),
    "gzip-block": (ZIPPED[:10] + b"\xff" + ZIPPED[11:], "the gzip data are damaged or truncated (Error -3"),
    "gzip-of-nothing": (gzip.compress(b""), "is empty, expected an IDX file"),
    "fewer-pictures": (idx_bytes(PIXELS[:5]), "6 labels, expected 5, one for each picture of"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_file_that_cannot_be_used(tmp_path: Path, case: str) -> None:
    content, message = UNUSABLE[case]
    told = _broken(tmp_path, TEST_IMAGES, content)
    assert message in told
    assert str(tmp_path / TEST_IMAGES) in told


def test_labels_that_cannot_be_used(tmp_path: Path) -> None:
    def labels(*values: int) -> bytes:
        return idx_bytes(np.array(values, np.uint8))

    told = _broken(tmp_path, TEST_LABELS, labels(0, 1, 2, 3, 0, 1))
    assert f"{TEST_LABELS}: label 3 is 3 with the label offset 0, expected 0 to 2 as in {tmp_path / TRAIN_LABELS}" in told
    told = _broken(tmp_path, TRAIN_LABELS, labels(*[0, 1] * 5, 2, 255))
    assert f"{TRAIN_LABELS}: labels go up to 255, but 252 of these 256 classes have no picture: 3, 4, 5" in told
    told = _broken(tmp_path, TRAIN_LABELS, labels(*[0] * 12))
    assert f"{TRAIN_LABELS}: every label is 0, expected at least 2 classes" in told


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    assert (
        _refused(tmp_path / "nowhere")
        == f"{tmp_path}/nowhere: no such folder, expected the folder of IDX files that idx:DIR names"
    )
    (tmp_path / "file").write_text("x")
    assert _refused(tmp_path / "file").startswith(f"{tmp_path}/file: not a folder")
    with pytest.raises(DataError, match="idx:: no folder is named, expected idx:DIR"):
        open_data("idx:")
    (write_idx(tmp_path) / TRAIN_IMAGES).unlink()
    (tmp_path / TRAIN_IMAGES).mkdir()
    assert _refused(tmp_path).startswith(f"{tmp_path / TRAIN_IMAGES}: cannot be read (")


def test_damage_anywhere_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    """Whatever byte of a compressed file changes: the same values, or an error of the package."""
    path = tmp_path / "file"
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (3, 4, 5)).astype(np.uint8)
    whole = gzip.compress(idx_bytes(values), mtime=0)
    messages = []
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            kept = np.array_equal(read_idx(path, ("pictures", "rows", "columns")), values)
        except MhmodelsError as error:
            messages.append(str(error))
        else:
            assert kept, place
    assert len(messages) > len(whole) // 2
    assert [message for message in messages if not message.startswith(f"{path}: ")] == []
