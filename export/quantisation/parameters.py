"""Quantisation parameters of single tensors: how their integers stand for real numbers."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from mhmodels.architecture import Preprocessing
from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Float32Array, Range

QuantisedFormat: TypeAlias = Literal["int8", "uint8"]
Granularity: TypeAlias = Literal["channel", "tensor"]
WeightRounding: TypeAlias = Literal["nearest", "compensated"]
"""Weights become the `nearest` integer each, or one after the other, so that later ones compensate the errors of earlier ones."""

LOWEST: dict[str, int] = {"int8": -128, "uint8": 0}
"""Smallest integer of activations, by format."""


class Quantisation(NamedTuple):
    """How the integers of a tensor stand for real numbers: real = scale * (integer - zero_point).

    Attributes:
        scale: float32 (1,), or (channels,) for a kernel that is quantised per channel.
        zero_point: Integer that stands for 0.
    """

    scale: Float32Array
    zero_point: int


def input_quantisation(preprocessing: Preprocessing, fmt: QuantisedFormat) -> Quantisation:
    """Returns the parameters of the input picture, which follow from the preprocessing alone.

    With one whole mean and one std for all channels the integers are the pixels themselves (uint8; int8 is 128 lower).
    Otherwise they cover the normalised picture's possible range.
    """
    mean, std = preprocessing.mean, preprocessing.std
    if takes_pixels(preprocessing):
        return Quantisation(np.array([1.0 / std[0]], np.float32), round(mean[0]) + LOWEST[fmt])
    low = min((0.0 - m) / s for m, s in zip(mean, std, strict=True))
    high = max((255.0 - m) / s for m, s in zip(mean, std, strict=True))
    return activation_quantisation((low, high), fmt)


def takes_pixels(preprocessing: Preprocessing) -> bool:
    """Returns whether raw uint8 pixels are the quantised input: one whole mean from 0 to 255 and one std for all channels."""
    mean = float(preprocessing.mean[0])
    return len(set(preprocessing.mean)) == 1 and len(set(preprocessing.std)) == 1 and mean.is_integer() and 0 <= mean <= 255


def activation_quantisation(observed: Range, fmt: QuantisedFormat) -> Quantisation:
    """Returns asymmetric parameters that cover a range and represent zero exactly.

    Raises:
        ExportError: The range is empty, reversed or not finite.
    """
    low, high = min(observed[0], 0.0), max(observed[1], 0.0)
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        raise ExportError(f"range {observed} cannot be quantised: expected finite values that differ")
    scale = np.float32((high - low) / 255.0)
    zero_point = min(max(round(-low / float(scale)), 0), 255)
    scale = reproducible(scale, 0 - zero_point, 255 - zero_point)
    return Quantisation(np.array([scale], np.float32), zero_point + LOWEST[fmt])


def representable(quantisation: Quantisation, fmt: QuantisedFormat) -> Range:
    """Returns the smallest and the largest real number that the integers of a tensor stand for."""
    scale, lowest = float(quantisation.scale[0]), LOWEST[fmt]
    return (lowest - quantisation.zero_point) * scale, (lowest + 255 - quantisation.zero_point) * scale


def reproducible(scale: np.float32, lowest: int, highest: int) -> np.float32:
    """Returns the nearest scale that follows from the float32 ends of its range, which is how the converter computes it.

    Args:
        scale: Wanted.
        lowest, highest: Integers of the range's ends, counted from the zero point.
    """
    double = float(scale)  # products of integers and a float32 are exact in double precision
    for _ in range(8):
        low, high = float(np.float32(lowest * double)), float(np.float32(highest * double))
        again = float(np.float32((high - low) / (highest - lowest)))
        if again == double:
            break
        double = again
    return np.float32(double)
