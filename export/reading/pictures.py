"""Pictures for calibration and parity, in the form that a network takes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from mhmodels.architecture import Architecture, Preprocessing
from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Float32Array
from mhmodels.formats.checked import Checked
from mhmodels.formats.json_files import plain_text
from mhmodels.preprocessing.pictures import load_pictures, preprocess, sample_pixels

CALIBRATION_PICTURES = 64
LARGEST_FOLDER = CALIBRATION_PICTURES * 8
BUNDLED = "bundled photographs"


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """The form of the pictures of a file of which nothing else is known; unlike an architecture it has any size."""

    input_size: tuple[int, int]
    input_channels: int
    preprocessing: Preprocessing


Framed = TypeVar("Framed", Architecture, Frame)


class Calibration(Checked, frozen=True, kw_only=True):
    """The pictures that the ranges of an integer file come from.

    Attributes:
        source: The folder, `bundled photographs`, or `quantisation-aware training`.
        method: How ranges follow from what was seen.
        skipped: Picture files that could not be read.
        equalisation: Equalisation factors, by the first tensor that has them: one whole number for each channel, in eighths of
            the exponent of 2, separated by spaces. Empty without equalisation.
        bias_correction: Whether the mean error of each channel was corrected in the biases.
        rounding: How weights were rounded: `nearest` or `compensated`.
    """

    source: str
    pictures: int
    method: str = "min-max"
    skipped: tuple[str, ...] = ()
    equalisation: dict[str, str] = msgspec.field(default_factory=dict)
    bias_correction: bool = False
    rounding: str = "nearest"


class InputPictures(NamedTuple):
    """Normalised pictures, float32 (n, height, width, channels), and where they come from."""

    images: Float32Array
    calibration: Calibration


def read_pictures(folder: Path | None, architecture: Architecture | Frame, limit: int = LARGEST_FOLDER) -> InputPictures:
    """Reads calibration pictures from a folder, or the bundled photographs.

    A network of other than 3 channels takes a folder of `.npy` arrays (height, width, channels): uint8 is normalised,
    float32 taken as it is. Of more than `limit` files in a folder so many are read, spread evenly over their sorted names.

    Raises:
        PictureError: No such folder, or nothing readable in it.
        ExportError: An array does not fit.
    """
    if folder is None:
        images = photographs(CALIBRATION_PICTURES, architecture)
        return InputPictures(images, Calibration(source=BUNDLED, pictures=len(images)))
    if architecture.input_channels != 3:
        images = _arrays(folder, architecture, limit)
        return InputPictures(images, Calibration(source=plain_text(str(folder)), pictures=len(images)))
    images, report = load_pictures(folder, architecture.input_size, architecture.preprocessing, limit=limit)
    skipped = tuple(plain_text(f"{picture.path}: {picture.reason}") for picture in report.skipped)
    return InputPictures(images, Calibration(source=plain_text(str(folder)), pictures=len(images), skipped=skipped))


def photographs(count: int, architecture: Architecture | Frame) -> Float32Array:
    """Returns bundled photographs for any number of channels: one channel is grey, more than three repeat the colours."""
    channels = architecture.input_channels
    pixels = sample_pixels(count, architecture.input_size, architecture.preprocessing)
    if channels == 1:
        pixels = np.rint(pixels.mean(-1, keepdims=True)).astype(np.uint8)
    elif channels != 3:
        pixels = pixels[..., [channel % 3 for channel in range(channels)]]
    return preprocess(pixels, architecture.preprocessing)


def fit_preprocessing(architecture: Framed) -> Framed:
    """Returns the architecture or frame with one mean and one standard deviation for each of its input channels."""
    fitted = fit_rule(architecture.preprocessing, architecture.input_channels)
    return architecture if fitted is architecture.preprocessing else msgspec.structs.replace(architecture, preprocessing=fitted)


def fit_rule(rule: Preprocessing, channels: int) -> Preprocessing:
    """Returns the rule with one mean and one standard deviation a channel, the averages of its own where their number differs."""
    if len(rule.mean) == channels:
        return rule
    mean, std = (sum(values) / len(values) for values in (rule.mean, rule.std))
    return msgspec.structs.replace(rule, mean=(mean,) * channels, std=(std,) * channels)


def pixels_of(images: Float32Array, preprocessing: Preprocessing) -> Float32Array:
    """Returns the pixels (float32 whole numbers from 0 to 255) that normalised pictures were made from."""
    pixels = images * np.asarray(preprocessing.std, np.float32) + np.asarray(preprocessing.mean, np.float32)
    return np.asarray(np.clip(np.rint(pixels), 0, 255), np.float32)


def _arrays(folder: Path, architecture: Architecture | Frame, limit: int) -> Float32Array:
    shape = (*architecture.input_size, architecture.input_channels)
    paths = sorted(path for path in folder.glob("*.npy") if path.is_file()) if folder.is_dir() else []
    if not paths:
        raise ExportError(
            f"{folder}: no .npy file in it; pictures of {architecture.input_channels} channels are read from arrays of shape "
            f"{shape}, uint8 (pixels) or float32 (normalised)"
        )
    images, count = [], min(limit, len(paths))
    for path in (paths[i * len(paths) // count] for i in range(count)):
        array = _array(path)
        if array.shape != shape or array.dtype not in (np.uint8, np.float32):
            raise ExportError(f"{path}: {array.dtype} of shape {array.shape}, expected uint8 or float32 of shape {shape}")
        image = preprocess(np.asarray(array), architecture.preprocessing) if array.dtype == np.uint8 else np.asarray(array)
        if not np.isfinite(image).all():
            raise ExportError(f"{path}: NaN or infinite values, expected finite ones")
        images.append(image)
    return np.stack(images)


def _array(path: Path) -> NDArray[np.generic]:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy evaluates a header as Python's literals: SyntaxError, OSError, EOFError, ValueError, …
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise ExportError(f"{path}: cannot be read as an array ({reason})") from error
    if not isinstance(array, np.ndarray):
        raise ExportError(f"{path}: an archive of arrays (.npz), expected one array (.npy)")
    return array
