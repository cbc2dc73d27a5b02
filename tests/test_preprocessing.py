"""Pictures in, network input out: geometry, pixel formats, and everything that can be wrong with a folder of files."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mhmodels.architecture import Preprocessing
from mhmodels.preprocessing.decoding import PictureError, open_picture
from mhmodels.preprocessing.pictures import (
    VIEWS,
    fit_picture,
    load_pictures,
    load_pixels,
    preprocess,
    sample_pictures,
    sample_pixels,
)

WHOLE = Preprocessing(crop_fraction=1.0)
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def photo(width: int = 80, height: int = 60, seed: int = 0) -> Image.Image:
    """A smooth colourful picture, so that JPEG changes little of it."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def jpeg(image: Image.Image, **options: object) -> bytes:
    return encoded(image, "JPEG", **options)


def huge_png(side: int) -> bytes:
    """A PNG of side x side white pixels in a few kilobytes: a decompression bomb."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"\0" * 100_000)
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


CORRUPT = {
    "empty": b"",
    "text": b"I am no picture\n" * 20,
    "zeros": bytes(5000),
    "jpeg_header_only": jpeg(photo())[:40],
    "jpeg_truncated": jpeg(photo(400, 300))[:3000],
    "png_bomb": huge_png(60_000),
    "png_large": huge_png(10_000),
    "tiff_header": b"II*\0" + b"\xff" * 40,
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, seed in (("b.jpg", 1), ("a.JPEG", 2), ("sub/c.jpg", 3)):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(photo(seed=seed)))
    (tmp_path / "pictures" / "labels.txt").write_text("not a picture, and not reported")
    return tmp_path / "pictures"


def test_folder_is_read_in_sorted_order(folder: Path) -> None:
    pictures, report = load_pictures(folder, (32, 32))
    assert pictures.shape == (3, 32, 32, 3)
    assert pictures.dtype == np.float32
    assert report.read == ("a.JPEG", "b.jpg", "sub/c.jpg")
    assert report.found == 3
    assert report.skipped == ()
    again, _ = load_pictures(str(folder), (32, 32))
    np.testing.assert_array_equal(pictures, again)


def test_pixels_and_pictures_are_the_same_pictures(folder: Path) -> None:
    preprocessing = Preprocessing(mean=(100.0, 110.0, 120.0), std=(50.0, 60.0, 70.0), interpolation="bicubic")
    pixels, _ = load_pixels(folder, (40, 32), preprocessing)
    pictures, _ = load_pictures(folder, (40, 32), preprocessing)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (3, 40, 32, 3)
    np.testing.assert_array_equal(preprocess(pixels, preprocessing), pictures)
    expected = (pixels.astype(np.float64) - [100, 110, 120]) / [50, 60, 70]
    np.testing.assert_allclose(pictures, expected, atol=1e-6)


@pytest.mark.parametrize("kind", CORRUPT)
def test_corrupt_picture_is_skipped_named_and_counted(folder: Path, kind: str, recwarn: pytest.WarningsRecorder) -> None:
    (folder / "bad.jpg").write_bytes(CORRUPT[kind])
    pictures, report = load_pictures(folder, (32, 32))
    assert len(pictures) == 3
    assert [skipped.path for skipped in report.skipped] == ["bad.jpg"]
    assert report.found == 4
    assert "bad.jpg" in report.summary()
    assert "3 of 4" in report.summary()
    assert "\n" not in report.summary()
    assert not recwarn.list


def test_every_corrupt_kind_has_a_short_reason(tmp_path: Path) -> None:
    for kind, data in CORRUPT.items():
        (tmp_path / f"{kind}.jpg").write_bytes(data)
    with pytest.raises(PictureError) as error:
        load_pictures(tmp_path)
    message = str(error.value)
    assert str(tmp_path) in message
    assert f"0 of {len(CORRUPT)}" in message
    assert "empty.jpg (empty file)" in message
    assert "text.jpg (not a picture)" in message
    assert "png_large.jpg (10000x10000 pixels" in message
    assert "png_bomb.jpg (over 178 million pixels" in message


@pytest.mark.parametrize("cut", range(1, 400, 7))
def test_truncation_at_any_length_never_crashes(tmp_path: Path, cut: int) -> None:
    for name, data in (("x.jpg", jpeg(photo())), ("x.png", encoded(photo(), "PNG"))):
        path = tmp_path / name
        path.write_bytes(data[: len(data) * cut // 400])
        with pytest.raises(PictureError):
            open_picture(path)


def test_flipped_bytes_never_crash(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    for name, file_format in (("x.jpg", "JPEG"), ("x.png", "PNG"), ("x.tif", "TIFF"), ("x.gif", "GIF")):
        data = encoded(photo(), file_format)
        for _ in range(60):
            damaged = bytearray(data)
            for position in rng.integers(0, len(data), 5):
                damaged[position] = int(rng.integers(0, 256))
            (tmp_path / name).write_bytes(damaged)
            with contextlib.suppress(PictureError):
                assert open_picture(tmp_path / name).mode == "RGB"


def test_missing_folder_file_and_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="nowhere: no such folder"):
        load_pictures(tmp_path / "nowhere")
    (tmp_path / "file.jpg").write_bytes(jpeg(photo()))
    with pytest.raises(PictureError, match=r"file\.jpg: not a folder"):
        load_pictures(tmp_path / "file.jpg")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PictureError, match="no pictures in it"):
        load_pictures(tmp_path / "empty")
    with pytest.raises(PictureError, match="limit is 0"):
        load_pictures(tmp_path, limit=0)
    with pytest.raises(PictureError, match="size is"):
        load_pictures(tmp_path, size=(0, 224))


def test_limit_spreads_over_classes_and_replaces_the_unreadable(tmp_path: Path) -> None:
    for label in "abcd":
        (tmp_path / label).mkdir()
        for i in range(5):
            (tmp_path / label / f"{i}.jpg").write_bytes(jpeg(photo(seed=i)))
    _, report = load_pixels(tmp_path, (32, 32), limit=4)
    assert [path[0] for path in report.read] == ["a", "b", "c", "d"]
    assert report.found == 20
    (tmp_path / "b" / "0.jpg").write_bytes(b"broken")
    pixels, report = load_pixels(tmp_path, (32, 32), limit=4)
    assert len(pixels) == len(report.read) == 4
    assert [skipped.path for skipped in report.skipped] == ["b/0.jpg"]
    _, report = load_pixels(tmp_path, (32, 32), limit=1000)
    assert len(report.read) == 19


def test_links_fifos_and_hidden_files(folder: Path) -> None:
    (folder / "sub" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "._b.jpg").write_bytes(b"what macOS writes")
    (folder / "gone.jpg").symlink_to(folder / "nothing.jpg")
    os.mkfifo(folder / "pipe.jpg")
    _, report = load_pixels(folder, (32, 32))
    assert report.read == ("a.JPEG", "b.jpg", "sub/c.jpg")
    assert dict(report.skipped) == {"gone.jpg": "no such file", "pipe.jpg": "not a regular file"}


def read(tmp_path: Path, image: Image.Image, file_format: str, **options: object) -> np.ndarray:
    path = tmp_path / f"picture.{file_format.lower()}"
    image.save(path, file_format, **options)
    opened = open_picture(path)
    assert opened.mode == "RGB"
    return np.asarray(opened).astype(int)


@pytest.mark.parametrize("kind", ["L JPEG", "L PNG", "1 PNG", "LA PNG", "L GIF", "1 TIFF"])
def test_grey_pictures_get_three_equal_channels(tmp_path: Path, kind: str) -> None:
    mode, file_format = kind.split()
    pixels = read(tmp_path, photo().convert(mode), file_format)
    assert (pixels.min(-1) == pixels.max(-1)).all()


@pytest.mark.parametrize("kind", ["CMYK JPEG", "CMYK TIFF", "P PNG", "P GIF", "YCbCr JPEG"])
def test_other_colour_models_keep_their_colours(tmp_path: Path, kind: str) -> None:
    mode, file_format = kind.split()
    original = photo()
    pixels = read(tmp_path, original.convert(mode), file_format)
    assert np.abs(pixels - np.asarray(original)).mean() < 25


def test_first_of_several_frames_is_taken(tmp_path: Path) -> None:
    others = [Image.new("RGB", (8, 8), BLUE)]
    for file_format in ("GIF", "TIFF", "MPO", "WEBP"):
        pixels = read(tmp_path, Image.new("RGB", (8, 8), RED), file_format, save_all=True, append_images=others)
        assert np.abs(pixels - RED).max() < 4


def test_16_bit_grey_is_scaled_not_cut_off(tmp_path: Path) -> None:
    grey = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    for file_format in ("PNG", "TIFF", "PPM"):
        pixels = read(tmp_path, Image.fromarray(grey), file_format)
        np.testing.assert_array_equal(pixels[..., 0].ravel(), np.arange(256))


def test_float_pictures_are_refused_by_reason(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).random((9, 9)).astype(np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(PictureError, match="mode 'F' have no defined range"):
        open_picture(tmp_path / "x.tif")


def test_transparency_becomes_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (4, 4), (*BLUE, 0))
    image.paste((*RED, 255), (0, 0, 2, 4))
    pixels = read(tmp_path, image, "PNG")
    assert tuple(pixels[0, 0]) == RED
    assert tuple(pixels[0, 3]) == WHITE
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([*RED, *GREEN])
    pixels = read(tmp_path, palette, "PNG", transparency=1)
    assert tuple(pixels[0, 0]) == WHITE


def test_orientation_tag_is_obeyed(tmp_path: Path) -> None:
    image = Image.new("RGB", (60, 40), RED)
    image.paste(BLUE, (30, 0, 60, 40))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right by 90 degrees to show: left (red) goes up
    pixels = read(tmp_path, image, "JPEG", exif=exif, quality=95)
    assert pixels.shape == (60, 40, 3)
    assert pixels[5, 20, 0] > 200 > 50 > pixels[5, 20, 2]
    assert pixels[55, 20, 2] > 200


def test_broken_orientation_tag_leaves_the_picture(tmp_path: Path) -> None:
    data = jpeg(photo(), exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    (tmp_path / "x.jpg").write_bytes(data)
    assert open_picture(tmp_path / "x.jpg").size == (80, 60)


def test_central_square_crop() -> None:
    image = Image.new("RGB", (100, 60), RED)
    image.paste(GREEN, (20, 0, 80, 60))
    assert (fit_picture(image, (32, 32), WHOLE) == GREEN).all()
    image.paste(BLUE, (35, 15, 65, 45))
    assert (fit_picture(image, (30, 30), Preprocessing(crop_fraction=0.5)) == BLUE).all()


def test_other_aspect_ratios_are_cropped_not_stretched() -> None:
    image = Image.new("RGB", (100, 100), RED)
    image.paste(GREEN, (0, 25, 100, 75))
    assert (fit_picture(image, (40, 80), WHOLE) == GREEN).all()
    assert fit_picture(image, (40, 80), WHOLE).shape == (40, 80, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 2)])
def test_tiny_and_thin_pictures(size: tuple[int, int]) -> None:
    assert (fit_picture(Image.new("RGB", size, RED), (33, 47)) == RED).all()


def test_interpolations_differ_and_mirror_mirrors() -> None:
    image = photo(50, 50)
    linear = fit_picture(image, (32, 32))
    assert (linear != fit_picture(image, (32, 32), Preprocessing(interpolation="bicubic"))).any()
    np.testing.assert_array_equal(fit_picture(image, (32, 32), WHOLE, mirror=True), fit_picture(image, (32, 32), WHOLE)[:, ::-1])


def test_preprocess_shapes_and_refusals() -> None:
    pixels = np.full((2, 4, 5, 6, 3), 255, np.uint8)
    assert (preprocess(pixels) == 1.0).all()
    assert preprocess(pixels).shape == pixels.shape
    grey = preprocess(pixels[..., :1], Preprocessing(mean=(0.0,), std=(255.0,)))
    assert (grey == 1.0).all()
    with pytest.raises(PictureError, match="float32 of shape"):
        preprocess(pixels.astype(np.float32))  # type: ignore[arg-type]
    with pytest.raises(PictureError, match="1 channels"):
        preprocess(pixels[..., :1])


def test_sample_pictures_are_varied_and_deterministic() -> None:
    pictures = sample_pictures()
    assert pictures.shape == (13, 224, 224, 3)
    assert pictures.dtype == np.float32
    assert pictures.min() >= -1
    assert pictures.max() <= 1
    np.testing.assert_array_equal(pictures, sample_pictures())
    pixels = sample_pixels(13 * len(VIEWS), (32, 32))
    assert len(np.unique(pixels.reshape(len(pixels), -1), axis=0)) == len(pixels)
    np.testing.assert_array_equal(sample_pixels(40, (32, 32)), pixels[:40])
    for n in (0, -3, 13 * len(VIEWS) + 1):
        with pytest.raises(PictureError, match="expected 1 to 260"):
            sample_pictures(n)


def test_bundled_photographs_are_small_and_attributed() -> None:
    folder = Path(__file__).parent.parent / "mhmodels" / "pictures"
    readme = (folder / "README.md").read_text(encoding="utf-8")
    files = sorted(folder.glob("*.jpg"))
    assert 8 <= len(files) <= 16
    assert sum(file.stat().st_size for file in files) < 700_000
    for file in files:
        assert file.stat().st_size < 60_000
        (row,) = [line for line in readme.splitlines() if line.startswith(f"| {file.name} ")]
        assert any(licence in row for licence in ("CC0 1.0", "CC BY 2.0", "public domain"))
        assert min(Image.open(file).size) == 288
