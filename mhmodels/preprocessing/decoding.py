"""Picture files: which files of a folder are pictures, and their decoding to upright 8-bit RGB.

This is the only decoder of the project. Calibration, training, evaluation and verification read pictures through it, from
folders and TFRecords alike, so that the same bytes give the same pixels everywhere. `mhmodels.preprocessing.pictures` crops,
resizes and normalises them.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from mhmodels.errors import MhmodelsError

UNREAD_SUFFIXES = frozenset({".heic", ".heif", ".avif", ".jxl", ".jp2", ".dng", ".cr2", ".nef", ".arw"})
"""Photographs in formats that are not decoded. They are found and named as skipped, never left out silently."""

SUFFIXES = UNREAD_SUFFIXES | {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm",
}  # fmt: skip
"""Endings, in lower case, by which a folder is searched for pictures; a file with another one is no picture."""

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""What a file's content may be, whatever its ending: never formats that start other programs, such as EPS."""

MAX_PIXELS = 89_478_485
"""A picture with more pixels than this is not decoded whole, because it could take all memory."""

MAX_JPEG_PIXELS = 256_000_000
"""A JPEG of more than `MAX_PIXELS` and up to this many pixels (phones of 108 and 200 megapixels) is decoded at half its width
and height, by the decoder's own scaling: more than any network's input in any case."""

MAX_FILE_BYTES = 512 << 20
"""A picture file that is larger is not read."""


class PictureError(MhmodelsError, ValueError):
    """Pictures cannot be read: the folder does not exist, nothing in it is readable, or pixels have the wrong shape."""


class SkippedPicture(NamedTuple):
    """A file with the ending of a picture that could not be used.

    Attributes:
        path: Path relative to the folder, with `/`.
        reason: Reason in a few words.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path} ({self.reason})"


def picture_files(root: Path, outside: Collection[Path] = ()) -> list[str]:
    """Lists the picture files in a folder and below it.

    Linked folders are entered, each real folder once, so that a link to a parent causes no endless loop. Linked files count as
    files. Hidden files are left out: `._x.jpg` beside `x.jpg` holds macOS's metadata of the file.

    Args:
        root: The folder.
        outside: Real paths of folders that are not entered, whatever links to them.

    Returns:
        Paths relative to `root`, with `/`, sorted.

    Raises:
        PictureError: A folder cannot be listed.
    """
    return sorted(_walk(root, set(outside)))


def _walk(root: Path, seen: set[Path]) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise PictureError(f"{error.filename}: cannot be listed ({error.strerror})") from error

    for folder, folders, files in os.walk(root, onerror=refuse, followlinks=True):
        real = Path(folder).resolve()
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        for name in files:
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield (Path(folder) / name).relative_to(root).as_posix()


def open_picture(path: str | os.PathLike[str]) -> Image.Image:
    """Reads one picture file as upright 8-bit RGB; see `decode_picture`.

    Raises:
        PictureError: With the reason alone (the caller knows the file).
    """
    path = Path(path)
    if not path.is_file():
        raise PictureError("not a regular file" if path.exists() else "no such file")
    size = path.stat().st_size
    if size == 0:
        raise PictureError("empty file")
    if size > MAX_FILE_BYTES:
        raise PictureError(f"{size} bytes, expected at most {MAX_FILE_BYTES >> 20} MiB")
    if path.suffix.lower() in UNREAD_SUFFIXES:
        raise PictureError(f"{path.suffix} files are not read, convert them to .jpg or .png")
    try:
        with path.open("rb") as stream:
            return _picture(stream)
    except OSError as error:
        raise PictureError(_reason(error)) from error


def decode_picture(data: bytes) -> Image.Image:
    """Decodes the bytes of a picture file to upright 8-bit RGB.

    The camera's orientation tag is obeyed; transparent parts become white; 16-bit grey is scaled to 8 bit; of several
    frames the first is taken; CMYK, palette and grey pictures are converted. A JPEG of more than `MAX_PIXELS` pixels is
    decoded at half its width and height.

    Raises:
        PictureError: With the reason alone (the caller knows where the bytes are from).
    """
    if not data:
        raise PictureError("empty file")
    return _picture(io.BytesIO(data))


def _picture(stream: IO[bytes]) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Damaged metadata of a good picture is no news; its pixels, if damaged, raise.
            warnings.simplefilter("ignore")
            with _opened(stream) as image:
                file_format = image.format
                _bound(image)
                image.load()
                return _to_rgb(_upright(image), file_format)
    except PictureError:
        raise
    except Exception as error:  # Pillow's readers raise whatever their parsing meets: OSError, SyntaxError, struct.error, …
        raise PictureError(_reason(error)) from error


def _opened(stream: IO[bytes]) -> Image.Image:
    """The picture with only its header read."""
    try:
        return Image.open(stream, formats=FORMATS)
    except Image.DecompressionBombError:
        # Pillow refuses by the number of pixels; a JPEG of that many can still be decoded at a part of its size.
        stream.seek(0)
        if stream.read(3) != b"\xff\xd8\xff":
            raise
        stream.seek(0)
        factory, _ = Image.OPEN["JPEG"]
        return factory(stream, "")


def _bound(image: Image.Image) -> None:
    """Makes a large JPEG be decoded at half its size, and refuses what is too large all the same."""
    width, height = image.size
    if width * height <= MAX_PIXELS:
        return
    most = MAX_JPEG_PIXELS if image.format in ("JPEG", "MPO") else MAX_PIXELS
    if width * height <= most:
        image.draft(None, (width // 2, height // 2))
    if image.width * image.height > MAX_PIXELS:
        raise PictureError(f"{width}x{height} pixels, expected at most {most // 10**6} million; give a smaller copy")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # an orientation tag that cannot be parsed: the picture as it is stored
        return image


def _to_rgb(image: Image.Image, file_format: str | None) -> Image.Image:
    # Both formats hold at most 16 bit; Pillow widens them to 32, depending on its version.
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format in ("PNG", "PPM")):
        values: NDArray[np.float32] = np.asarray(image).astype(np.float32)
        return Image.fromarray(np.clip(values / 257 + 0.5, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        # Convert would cut off at 255 and give a white picture.
        raise PictureError(f"pixels of mode '{image.mode}' have no defined range, expected 8 or 16 bit")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "not a picture"
    if isinstance(error, Image.DecompressionBombError):
        return f"over {2 * MAX_PIXELS // 10**6} million pixels, expected at most {MAX_PIXELS // 10**6} million"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    return f"cannot be decoded: {error or type(error).__name__}".replace("\n", " ")[:160]
