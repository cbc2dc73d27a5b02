"""Weights that were trained with another padding than this package's: the input sizes at which scores agree, and warnings.

keras.applications.MobileNet (V1) pads the map before every strided convolution with ((0, 1), (0, 1)). This package pads as SAME
does, which is the same only where the map's sides are even. keras.applications' V2 and V3 pad as SAME at every size.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Literal, TypeAlias

from mhmodels.architecture import Architecture
from mhmodels.errors import PaddingWarning
from mhmodels.network import IMAGE, lower
from mhmodels.registry import get_architecture
from mhmodels.weights.matching import Match, same_network, targets
from mhmodels.weights.sources.source import WeightsSource

TrainedPadding: TypeAlias = Literal["same", "bottom_right"]

_BOTTOM_RIGHT = ("mobilenet_v1", "mobilenet_v1.keras")
"""Networks that keras.applications builds with ((0, 1), (0, 1)) before strided convolutions."""


def padding_of(source: WeightsSource, found: Match) -> TrainedPadding:
    """Returns the padding that weights were trained with, as far as their source tells.

    Args:
        source: Source of the weights.
        found: Network in it. Layers with this package's names were trained with its padding.
    """
    names = {target.name for target in targets(found.architecture)}
    if source.origin != "keras" or {layer.name for layer in found.part.layers} <= names:
        return "same"
    network = found.architecture
    candidates = (
        get_architecture(name).at(width_multiplier=network.width_multiplier, input_channels=network.input_channels)
        for name in _BOTTOM_RIGHT
    )
    return "bottom_right" if any(same_network(one, network) for one in candidates) else "same"


def agreeing_sizes(architecture: Architecture) -> int:
    """Returns the number of which both sides of the input must be a multiple, so that every strided map is even."""
    ops = lower(architecture, top=False).ops
    return math.prod(op.stride for op in ops if op.stride > 1)


def is_exact(architecture: Architecture, size: Sequence[int | None]) -> bool:
    """Returns whether both paddings are the same at an input size: no strided map has an odd side."""
    if None in size:
        return False
    height, width = size
    sizes = {IMAGE: (height, width)}
    for op in lower(architecture, size=(height, width), top=False).ops:
        before = sizes[op.inputs[0]]
        if op.stride > 1 and op.kernel > 1 and any(side is None or side % 2 for side in before):
            return False
        sizes[op.name] = op.size
    return True


def warn_at_import(path: str, architecture: Architecture) -> None:
    """Warns at which input sizes the scores of weights with the other padding will agree."""
    step = agreeing_sizes(architecture)
    warnings.warn(
        f"{path}: keras.applications' {architecture.name} pads ((0, 1), (0, 1)) before strides, this package as SAME: scores "
        f"agree at input sizes that are multiples of {step} ({step * 6}, {step * 7}, …) and differ at others",
        PaddingWarning,
        stacklevel=3,
    )


def warn_at_size(path: str, architecture: Architecture, size: Sequence[int | None]) -> None:
    """Warns where weights with the other padding are used at a size at which scores differ."""
    if is_exact(architecture, size):
        return
    step = agreeing_sizes(architecture)
    height, width = size
    at = "at sizes that are no multiples of it" if None in size else f"at {height}x{width}"
    warnings.warn(
        f"{path}: weights of keras.applications, which pads ((0, 1), (0, 1)) before strides; scores differ from its {at}, "
        f"because a map before a stride has an odd side there: use an input size that is a multiple of {step}, or train further",
        PaddingWarning,
        stacklevel=3,
    )
