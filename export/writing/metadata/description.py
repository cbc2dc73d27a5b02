"""What the metadata of an exported file states."""

from __future__ import annotations

import msgspec

from mhmodels.architecture import Architecture, Preprocessing
from mhmodels.export.writing.labels import OutputLabels

AUTHOR = "mhmodels"
LABELS_FILE = "labels.txt"
"""Name of the labels file that is packed behind a file."""


class MetadataDescription(msgspec.Struct, frozen=True, kw_only=True):
    """What the metadata of a file states.

    Attributes:
        mean, std: Normalisation of the input, in pixel units: (pixel - mean) / std.
        labels: One line for each output; empty without labels.
        colour: Whether the input is an RGB picture.
    """

    name: str
    version: str
    description: str
    author: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: tuple[str, ...]
    colour: bool


def describe(
    architecture: Architecture, preprocessing: Preprocessing, labels: OutputLabels, fmt: str, weights: str
) -> MetadataDescription:
    """Returns the description of an exported file.

    Args:
        architecture: Architecture of the network.
        preprocessing: What the file's input takes; mean 0 and std 1 for raw pixels.
        labels: Labels of its outputs.
        fmt: Its format.
        weights: Where they come from, in words.
    """
    from mhmodels.version import __version__

    height, width = architecture.input_size
    crop = f"central crop of {preprocessing.crop_fraction:.1%}, {preprocessing.interpolation} resizing"
    return MetadataDescription(
        name=f"{architecture.name} (width {architecture.width_multiplier:g}, {fmt})",
        version=__version__,
        description=f"{architecture.classes} scores for a picture of {width} x {height} pixels ({crop}). Weights: {weights}",
        author=AUTHOR,
        mean=preprocessing.mean,
        std=preprocessing.std,
        labels=labels.lines() if labels.names else (),
        colour=architecture.input_channels == 3,
    )
