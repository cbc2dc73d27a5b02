"""timm's `config.json`, which lies beside the weights on the Hugging Face hub: the network's name and its preprocessing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mhmodels.architecture import MAX_INPUT, MIN_INPUT, Preprocessing
from mhmodels.errors import ArchitectureError, WeightsError
from mhmodels.system.files import read_bytes

CONFIG = "config.json"
LARGEST_CONFIG = 4 << 20
PIXELS = 255.0
"""timm states mean and deviation for pixels from 0 to 1, this package for pixels from 0 to 255."""

INTERPOLATIONS = ("bilinear", "bicubic")
CROP_MODES = ("center", None)


class TimmConfig(NamedTuple):
    """What the file states.

    Attributes:
        path: The file.
        architecture: timm's name of the network, without the tag of the weights.
        preprocessing: Preprocessing of the trained network; None where the file states none.
        input_size: (height, width) in pixels; None where the file states none.
        classes: Number of classes; None where the file states none.
        labels: Names of the classes, or none.
        licence: Licence of the weights; None where the file states none.
    """

    path: str
    architecture: str
    preprocessing: Preprocessing | None
    input_size: tuple[int, int] | None
    classes: int | None
    labels: tuple[str, ...]
    licence: str | None


def read_timm_config(weights: str) -> TimmConfig | None:
    """Reads the `config.json` in the folder of a weights file.

    Args:
        weights: Path of the weights file.

    Returns:
        What it states; None if there is no such file, or one that timm did not write.

    Raises:
        WeightsError: The file is damaged, or states a preprocessing that this package does not have.
    """
    path = Path(weights).with_name(CONFIG)
    if not os.path.lexists(path):
        return None
    try:
        content = msgspec.json.decode(read_bytes(path, limit=LARGEST_CONFIG))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WeightsError(f"{path}: not a JSON file ({error}); repair it, or take it away from the weights") from error
    if not isinstance(content, dict) or not isinstance(content.get("architecture"), str):
        return None
    # Files of 2022 have the fields of `pretrained_cfg` at the top.
    nested = content.get("pretrained_cfg")
    fields = {**content, **(nested if isinstance(nested, dict) else {})}
    classes = content.get("num_classes", fields.get("num_classes"))
    if classes is not None and (type(classes) is not int or classes < 0):
        raise _wrong(path, "num_classes", classes, "a whole number")
    return TimmConfig(
        str(path),
        content["architecture"].partition(".")[0],
        _preprocessing(path, fields),
        _input_size(path, fields),
        classes,
        _labels(path, content.get("label_names", fields.get("label_names"))),
        fields["license"] if isinstance(fields.get("license"), str) else None,
    )


def _preprocessing(path: Path, fields: dict[str, Any]) -> Preprocessing | None:
    if "mean" not in fields and "std" not in fields:
        return None
    if fields.get("crop_mode") not in CROP_MODES:
        raise _wrong(path, "crop_mode", fields["crop_mode"], "'center', the only one that this package has")
    interpolation = fields.get("interpolation", "bicubic")
    if interpolation not in INTERPOLATIONS:
        raise _wrong(path, "interpolation", interpolation, f"one of {', '.join(INTERPOLATIONS)}")
    crop = fields.get("crop_pct", 0.875)
    if isinstance(crop, bool) or not isinstance(crop, (int, float)) or not 0 < crop <= 1:
        raise _wrong(path, "crop_pct", crop, "a number above 0 and at most 1")
    try:
        return Preprocessing(
            mean=_pixels(path, "mean", fields.get("mean")),
            std=_pixels(path, "std", fields.get("std")),
            crop_fraction=float(crop),
            interpolation=interpolation,
        )
    except ArchitectureError as error:
        raise WeightsError(f"{path}: {error}") from error


def _pixels(path: Path, field: str, values: object) -> tuple[float, ...]:
    """Returns numbers for pixels from 0 to 1 as numbers for pixels from 0 to 255."""
    if not isinstance(values, list) or not values or not all(type(value) in (int, float) for value in values):
        raise _wrong(path, field, values, "a list of numbers, one a channel")
    return tuple(round(PIXELS * value, 6) for value in values)


def _input_size(path: Path, fields: dict[str, Any]) -> tuple[int, int] | None:
    size = fields.get("input_size")
    if size is None:
        return None
    if not isinstance(size, list) or len(size) != 3 or not all(type(side) is int for side in size):
        raise _wrong(path, "input_size", size, "[channels, height, width]")
    if not all(MIN_INPUT <= side <= MAX_INPUT for side in size[1:]):
        raise _wrong(path, "input_size", size, f"a height and width from {MIN_INPUT} to {MAX_INPUT}")
    return size[1], size[2]


def _labels(path: Path, names: object) -> tuple[str, ...]:
    if names is None:
        return ()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _wrong(path, "label_names", names, "a list of texts")
    return tuple(names)


def _wrong(path: Path, field: str, found: object, expected: str) -> WeightsError:
    return WeightsError(
        f"{path}: field '{field}' is {str(found)[:80]!r}, expected {expected}; repair it, or take the file away from the weights"
    )
