"""One decoder for bytes and files, and one list of pictures for calibration, training and evaluation."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mhmodels.preprocessing import decoding
from mhmodels.preprocessing.decoding import PictureError, decode_picture, open_picture, picture_files
from mhmodels.preprocessing.pictures import load_pixels
from mhmodels.training.data.folders import FolderSource
from mhmodels.training.errors import DataError

RED, BLUE, WHITE = (220, 30, 30), (20, 60, 210), (255, 255, 255)


def halves(width: int = 90, height: int = 60) -> np.ndarray[Any, Any]:
    """Red on the left, blue on the right."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[:, : width // 2], rgb[:, width // 2 :] = RED, BLUE
    return rgb


def saved(pixels: Any, file_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(stream, file_format, **options)
    return stream.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _hidden_blue() -> np.ndarray[Any, Any]:
    rgba = np.dstack([halves(), np.full((60, 90), 255, np.uint8)])
    rgba[:, 45:, 3] = 0
    return rgba


RAMP = np.linspace(0, 65535, 5400).reshape(60, 90).astype(np.uint16)
PALETTE = Image.fromarray(halves()).convert("P", palette=Image.Palette.ADAPTIVE)
# Bytes, height and width, and pixels that must be there: (row, column) to colour.
PICTURES: dict[str, tuple[bytes, tuple[int, int], dict[tuple[int, int], tuple[int, int, int]]]] = {
    "plain.png": (saved(halves(), "PNG"), (60, 90), {(5, 5): RED, (5, 80): BLUE}),
    "plain.jpg": (saved(halves(), "JPEG", quality=95), (60, 90), {(5, 5): RED, (5, 80): BLUE}),
    "plain.jfif": (saved(halves(), "JPEG", quality=95), (60, 90), {(5, 5): RED, (5, 80): BLUE}),
    "PLAIN.JPE": (saved(halves(), "JPEG", quality=95), (60, 90), {(5, 5): RED, (5, 80): BLUE}),
    "turned6.jpg": (saved(halves(), "JPEG", quality=95, exif=turned(6)), (90, 60), {(5, 5): RED, (80, 5): BLUE}),
    "turned3.png": (saved(halves(), "PNG", exif=turned(3)), (60, 90), {(5, 5): BLUE, (5, 80): RED}),
    "turned8.webp": (saved(halves(), "WEBP", lossless=True, exif=turned(8)), (90, 60), {(5, 5): BLUE, (80, 5): RED}),
    "ramp16.png": (saved(RAMP, "PNG"), (60, 90), {(0, 0): (0, 0, 0), (30, 0): (128, 128, 128), (59, 89): WHITE}),
    "ramp16.tiff": (saved(RAMP, "TIFF"), (60, 90), {(0, 0): (0, 0, 0), (30, 0): (128, 128, 128), (59, 89): WHITE}),
    "alpha.png": (saved(_hidden_blue(), "PNG"), (60, 90), {(5, 5): RED, (5, 80): WHITE}),
    "alpha.webp": (saved(_hidden_blue(), "WEBP", lossless=True), (60, 90), {(5, 5): RED, (5, 80): WHITE}),
    "grey_alpha.png": (saved(Image.fromarray(_hidden_blue()).convert("LA"), "PNG"), (60, 90), {(5, 80): WHITE}),
    "transparent_index.gif": (saved(PALETTE, "GIF", transparency=PALETTE.getpixel((80, 5))), (60, 90), {(5, 80): WHITE}),
    "palette.bmp": (saved(PALETTE, "BMP"), (60, 90), {(5, 5): RED, (5, 80): BLUE}),
    "cmyk.jpg": (saved(Image.fromarray(halves()).convert("CMYK"), "JPEG", quality=95), (60, 90), {(5, 5): RED}),
    "bits.png": (saved(Image.fromarray(halves()).convert("1", dither=Image.Dither.NONE), "PNG"), (60, 90), {(5, 5): (0, 0, 0)}),
}


@pytest.mark.parametrize("name", PICTURES)
def test_the_same_bytes_give_the_same_pixels(name: str, tmp_path: Path) -> None:
    data, size, colours = PICTURES[name]
    (tmp_path / name).write_bytes(data)
    read = np.asarray(open_picture(tmp_path / name))
    assert np.array_equal(read, np.asarray(decode_picture(data)))
    assert (read.shape, read.dtype) == ((*size, 3), np.uint8)
    for (row, column), colour in colours.items():
        assert np.abs(read[row, column].astype(int) - colour).max() <= 4, (row, column)


@pytest.mark.tensorflow
def test_records_are_decoded_as_files_are(tmp_path: Path) -> None:
    from mhmodels.training.data.tfrecords import RecordSource
    from tests.training.test_tfrecords import write

    path = write(tmp_path / "x.tfrecord", [(data, 0) for data, _, _ in PICTURES.values()])
    source = RecordSource("x", [str(path)], 0)
    for index, (name, (data, _, _)) in enumerate(PICTURES.items()):
        (tmp_path / name).write_bytes(data)
        assert np.array_equal(np.asarray(source.read(index, 0)[0]), np.asarray(open_picture(tmp_path / name))), name
    # What cannot be decoded is told in the same words, too.
    broken = write(tmp_path / "y.tfrecord", [(b"", 0), (b"text", 0), (PICTURES["plain.jpg"][0][:400], 0)])
    source = RecordSource("y", [str(broken)], 0)
    for index, data in enumerate((b"", b"text", PICTURES["plain.jpg"][0][:400])):
        (tmp_path / "broken.png").write_bytes(data)
        with pytest.raises(PictureError) as of_file:
            open_picture(tmp_path / "broken.png")
        with pytest.raises(PictureError) as of_record:
            source.read(index, 0)
        assert str(of_file.value) == str(of_record.value)


def test_calibration_and_training_read_the_same_files(tmp_path: Path) -> None:
    data, elsewhere = PICTURES["plain.jpg"][0], tmp_path / "elsewhere"
    names = ["a.jfif", "B.JPG", "c.JPE", "d.PNG", "sub/e.webp", ".hidden.jpg", "notes.txt"]
    root = tmp_path / "pictures"
    for name in names:
        for folder in (root / "one", elsewhere / "linked", elsewhere / "two"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    (root / "two").symlink_to(elsewhere / "two")  # a class folder that is a link
    (root / "one" / "deep").symlink_to(elsewhere / "linked")  # a linked folder inside a class
    (root / "one" / "file.jpg").symlink_to(elsewhere / "linked" / "a.jfif")
    (root / "one" / "all").symlink_to(root)  # round for ever, and into the other class
    _, report = load_pixels(root, (32, 32))
    source = FolderSource(root)
    trained = [Path(source.where(index)).relative_to(root).as_posix() for index in range(len(source))]
    expected = {f"{folder}/{name}" for folder in ("one", "one/deep", "two") for name in names[:5]} | {"one/file.jpg"}
    assert set(report.read) == expected
    assert trained == sorted(expected)
    assert [source.read(index, 0)[1] for index in range(len(source))] == [0] * 11 + [1] * 5


def test_formats_that_are_not_decoded_are_named(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "x.png").write_bytes(PICTURES["plain.png"][0])
        (tmp_path / label / "y.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    _, report = load_pixels(tmp_path, (32, 32))
    assert [str(one) for one in report.skipped] == [
        f"{label}/y.HEIC (.HEIC files are not read, convert them to .jpg or .png)" for label in ("a", "b")
    ]
    source = FolderSource(tmp_path)
    with pytest.raises(PictureError, match=r"\.HEIC files are not read"):
        source.read(1, 0)


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    for label in ("a", "c"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "x.png").write_bytes(PICTURES["plain.png"][0])
    (tmp_path / "a" / "y.png").symlink_to(tmp_path / "nowhere.png")
    assert picture_files(tmp_path) == ["a/x.png", "a/y.png", "c/x.png"]
    with pytest.raises(PictureError, match="no such file"):
        open_picture(tmp_path / "a" / "y.png")
    # A class that is missing would shift the labels of those after it.
    (tmp_path / "b").symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match=r"links that lead nowhere \('b'\); mend or remove them"):
        FolderSource(tmp_path)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("progressive", [False, True])
def test_large_photographs_are_decoded_at_half_their_size(
    orientation: int, progressive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((801, 600), Image.Resampling.BICUBIC)
    data = saved(smooth, "JPEG", quality=95, exif=turned(orientation), progressive=progressive)
    whole = decode_picture(data)
    # As for a photograph of over 178 million pixels: beyond ours for a whole one, and beyond what Pillow opens.
    monkeypatch.setattr(decoding, "MAX_PIXELS", 801 * 600 - 1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
    half = decode_picture(data)
    assert half.size == ((401, 300) if orientation == 1 else (300, 401))
    expected = np.asarray(whole.resize(half.size, Image.Resampling.BOX), int)
    assert np.abs(np.asarray(half) - expected).mean() < 1.5
    monkeypatch.setattr(decoding, "MAX_JPEG_PIXELS", 801 * 600 - 1)
    with pytest.raises(PictureError, match=r"801x600 pixels, expected at most 0 million; give a smaller copy"):
        decode_picture(data)


def test_files_that_are_too_large_or_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(PICTURES["plain.png"][0])
    monkeypatch.setattr(decoding, "MAX_FILE_BYTES", 100)
    with pytest.raises(PictureError, match=r"\d+ bytes, expected at most 0 MiB"):
        open_picture(path)
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    with pytest.raises(PictureError, match="not a regular file"):
        open_picture(tmp_path / "zero.png")


@pytest.mark.parametrize("name", ["b\nx", "b\rx", "b\x1b[31mx", "b\tx", "b\x85x", "b\u2028x", "\x7f", " "])
def test_class_folders_whose_names_are_no_line(name: str, tmp_path: Path) -> None:
    for label in ("a", name, "c"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "x.png").write_bytes(PICTURES["plain.png"][0])
    message = r"class folders whose names are blank, or have control characters or line ends \('"
    with pytest.raises(DataError, match=message) as told:
        FolderSource(tmp_path)
    assert str(told.value).isprintable()
