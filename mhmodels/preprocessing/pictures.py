"""From picture files to a network's input: central crop, resize, normalisation; and the bundled photographs.

Pictures exist in two forms: pixels (uint8, what a phone's camera gives and what quantised files take) and normalised pictures
(float32, by the architecture's `Preprocessing`). `preprocess` turns the first form into the second.
"""

from __future__ import annotations

import importlib.resources
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mhmodels.architecture import Preprocessing
from mhmodels.preprocessing.decoding import PictureError, SkippedPicture, decode_picture, open_picture, picture_files

DEFAULT = Preprocessing()


class PictureReport(NamedTuple):
    """Which pictures of a folder were read.

    Attributes:
        folder: The folder as it was given.
        found: Number of picture files in the folder and below it.
        read: Files that were read, relative to the folder, in the order of the array's first axis.
        skipped: Files that were tried and could not be used, by path. With a limit, others may not have been tried.
    """

    folder: str
    found: int
    read: tuple[str, ...]
    skipped: tuple[SkippedPicture, ...]

    def summary(self) -> str:
        """One line for people: how many were read, and every skipped file (at most ten) with its reason."""
        text = f"{self.folder}: {len(self.read)} of {self.found} pictures read"
        if not self.skipped:
            return text
        named = "; ".join(map(str, self.skipped[:10]))
        return f"{text}, {len(self.skipped)} skipped: {named}{'; …' if len(self.skipped) > 10 else ''}"


def preprocess(pixels: NDArray[np.uint8], preprocessing: Preprocessing = DEFAULT) -> NDArray[np.float32]:
    """Normalises pixels: (pixel - mean) / std for each channel. It neither crops nor resizes.

    Args:
        pixels: uint8 of shape (…, height, width, channels).
        preprocessing: Rule whose `mean` and `std` have one value a channel, or one for all.

    Returns:
        Float32 of the same shape.

    Raises:
        PictureError: The pixels are not uint8, or have a number of channels that the rule does not fit.
    """
    if pixels.dtype != np.uint8 or pixels.ndim < 3:
        raise PictureError(
            f"pixels are {pixels.dtype} of shape {pixels.shape}, expected uint8 of shape (…, height, width, channels)"
        )
    if len(preprocessing.mean) not in (1, pixels.shape[-1]):
        raise PictureError(
            f"pixels have {pixels.shape[-1]} channels, preprocessing.mean {len(preprocessing.mean)} values; expected as many or 1"
        )
    pictures = pixels.astype(np.float32)
    pictures -= np.asarray(preprocessing.mean, np.float32)
    pictures /= np.asarray(preprocessing.std, np.float32)
    return pictures


def load_pictures(
    folder: str | os.PathLike[str],
    size: tuple[int, int] = (224, 224),
    preprocessing: Preprocessing = DEFAULT,
    limit: int | None = None,
) -> tuple[NDArray[np.float32], PictureReport]:
    """Reads a folder's pictures as a network's input.

    Args:
        folder: Searched with everything below it, in sorted order.
        size: (height, width) of the result in pixels.
        preprocessing: Crop, interpolation, mean and std.
        limit: Largest number of pictures, spread evenly over the sorted list, because a data set is usually sorted by
            class; None reads all. Unreadable ones are replaced by others.

    Returns:
        Pictures, float32 of shape (n, height, width, 3), and the report that names what was read and skipped.

    Raises:
        PictureError: The folder does not exist, is no folder, cannot be listed, or holds no readable picture.
    """
    pixels, report = load_pixels(folder, size, preprocessing, limit)
    return preprocess(pixels, preprocessing), report


def load_pixels(
    folder: str | os.PathLike[str],
    size: tuple[int, int] = (224, 224),
    preprocessing: Preprocessing = DEFAULT,
    limit: int | None = None,
) -> tuple[NDArray[np.uint8], PictureReport]:
    """As `load_pictures`, cropped and resized but not normalised: uint8 of shape (n, height, width, 3), RGB.

    Raises:
        PictureError: The folder does not exist, is no folder, cannot be listed, or holds no readable picture.
    """
    root = Path(folder)
    _check_size(size)
    if not root.is_dir():
        raise PictureError(f"{folder}: {'not a folder' if root.exists() else 'no such folder'}, expected a folder of pictures")
    if limit is not None and limit < 1:
        raise PictureError(f"limit is {limit}, expected at least 1 picture")
    paths = picture_files(root)
    read: dict[str, NDArray[np.uint8]] = {}
    skipped = []
    for path in _spread(paths, limit):
        try:
            read[path] = fit_picture(open_picture(root / path), size, preprocessing)
        except PictureError as error:
            skipped.append(SkippedPicture(path, str(error)))
        if len(read) == limit:
            break
    report = PictureReport(str(folder), len(paths), tuple(sorted(read)), tuple(sorted(skipped)))
    if not read:
        what = report.summary() if paths else f"{folder}: no pictures in it or below it"
        raise PictureError(f"{what}; expected files such as .jpg or .png")
    return np.stack([read[path] for path in report.read]), report


def fit_picture(
    image: Image.Image,
    size: tuple[int, int],
    preprocessing: Preprocessing = DEFAULT,
    *,
    position: tuple[float, float] = (0.5, 0.5),
    mirror: bool = False,
) -> NDArray[np.uint8]:
    """Crops a picture to the aspect ratio of `size` and resizes it; a square `size` takes a square of the shorter side.

    The interpolation averages where it shrinks (Pillow's antialiasing), unlike `tf.image.resize` by default.

    Args:
        image: RGB picture.
        size: (height, width) of the result in pixels.
        preprocessing: Rule whose `crop_fraction` of the largest such crop is kept and whose `interpolation` resizes it.
        position: (down, right) of the crop within the free room, each from 0 to 1; the centre by default.
        mirror: Whether left and right are exchanged.

    Returns:
        Uint8 of shape (height, width, 3).

    Raises:
        PictureError: `size` is not two positive numbers.
    """
    height, width = _check_size(size)
    scale = preprocessing.crop_fraction * min(image.width / width, image.height / height)
    crop_width = min(image.width, max(1, round(width * scale)))
    crop_height = min(image.height, max(1, round(height * scale)))
    top = int((image.height - crop_height) * position[0])
    left = int((image.width - crop_width) * position[1])
    resample = Image.Resampling.BICUBIC if preprocessing.interpolation == "bicubic" else Image.Resampling.BILINEAR
    # Not resize(box=…): its filter also reads beyond the box.
    fitted = image.crop((left, top, left + crop_width, top + crop_height)).resize((width, height), resample)
    return np.asarray(ImageOps.mirror(fitted) if mirror else fitted, np.uint8)


class _View(NamedTuple):
    """A part of a photograph: the share of the central crop's side, where it lies (down, right), mirrored or not."""

    share: float
    position: tuple[float, float]
    mirror: bool


def _views() -> Iterator[_View]:
    """The views of every photograph, the most useful first: whole, three quarters at the corners, halves; each both ways."""
    corners = ((0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0))
    for share, positions in ((1.0, ((0.5, 0.5),)), (0.75, corners), (0.5, ((0.5, 0.5), *corners))):
        for mirror in (False, True):
            for position in positions:
                yield _View(share, position, mirror)


VIEWS = tuple(_views())


def sample_pictures(
    n: int | None = None, size: tuple[int, int] = (224, 224), preprocessing: Preprocessing = DEFAULT
) -> NDArray[np.float32]:
    """Real photographs for calibration and parity checks where the user gives none.

    The 13 files of `mhmodels/pictures` (authors and licences in its README.md), always in the same order. Beyond 13 the
    same photographs come again as other views: mirrored, then crops at the corners (0.75 and 0.5 of the side), up to 260.
    Views of one photograph are related, so 260 of them hold less variety than 260 photographs.

    Args:
        n: How many; None for one of each photograph.
        size: (height, width) in pixels.
        preprocessing: Crop, interpolation, mean and std.

    Returns:
        Float32 of shape (n, height, width, 3). The first k of n pictures are those that k alone would give.

    Raises:
        PictureError: `n` is below 1 or above what there is.
    """
    return preprocess(sample_pixels(n, size, preprocessing), preprocessing)


def sample_pixels(
    n: int | None = None, size: tuple[int, int] = (224, 224), preprocessing: Preprocessing = DEFAULT
) -> NDArray[np.uint8]:
    """As `sample_pictures`, not normalised: uint8 of shape (n, height, width, 3), RGB.

    Raises:
        PictureError: `n` is below 1 or above what there is.
    """
    package = importlib.resources.files("mhmodels.pictures")
    files = sorted((entry for entry in package.iterdir() if entry.name.endswith(".jpg")), key=lambda entry: entry.name)
    n = len(files) if n is None else n
    if not 1 <= n <= len(files) * len(VIEWS):
        most = len(files) * len(VIEWS)
        raise PictureError(f"{n} sample pictures asked for, expected 1 to {most}: give a folder of pictures for more")
    images = [decode_picture(entry.read_bytes()) for entry in files[:n]]
    pixels = np.empty((n, *_check_size(size), 3), np.uint8)
    for i in range(n):
        round_, photo = divmod(i, len(files))
        # Another photograph gets another view in the same round, so that a round is not all left or all mirrored.
        view = VIEWS[0] if round_ == 0 else VIEWS[1:][(round_ - 1 + photo) % (len(VIEWS) - 1)]
        pixels[i] = _fit_view(images[photo], size, preprocessing, view)
    return pixels


def _fit_view(image: Image.Image, size: tuple[int, int], preprocessing: Preprocessing, view: _View) -> NDArray[np.uint8]:
    fraction = preprocessing.crop_fraction * view.share
    part = Preprocessing(crop_fraction=fraction, interpolation=preprocessing.interpolation)
    return fit_picture(image, size, part, position=view.position, mirror=view.mirror)


def _check_size(size: tuple[int, int]) -> tuple[int, int]:
    if len(size) != 2 or any(not isinstance(side, int) or side < 1 for side in size):
        raise PictureError(f"size is {size!r}, expected (height, width) in whole pixels of at least 1")
    return size


def _spread(paths: Sequence[str], limit: int | None) -> Iterator[str]:
    """`limit` paths evenly over the list, then the others as replacements; with no limit, all in order."""
    if limit is None or limit >= len(paths):
        yield from paths
        return
    chosen = {i * len(paths) // limit for i in range(limit)}
    yield from (paths[i] for i in sorted(chosen))
    yield from (path for i, path in enumerate(paths) if i not in chosen)
