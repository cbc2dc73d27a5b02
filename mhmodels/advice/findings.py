"""One line for each costly layer: what its figures tell. The rules are a table, of which the first that fit count."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from mhmodels.hardware import LayerCost, LayerProfile
from mhmodels.hardware.layers.file_layers import FileLayer

MOST_FINDINGS = 2
LOW_USE, HIGH_USE = 0.25, 0.8
"""Utilisation of the MAC array below which the shape of a layer does not suit it, and above which only less work helps."""
FEW_CHANNELS = 16
_LEAST_MACS_SHARE = 0.01
"""Share of the network's multiply-accumulates from which the rate of a layer counts for the highest rate."""


Finding: TypeAlias = Callable[[LayerCost, FileLayer, LayerProfile], str]
"""Says something about a layer from its figures; "" where it does not apply."""


class LayerAdvice(NamedTuple):
    """What the figures of one layer say.

    Attributes:
        layer: Name of the layer.
        text: One or two facts with what follows from them.

    Example:
        >>> from mhmodels.advice import LayerAdvice
        >>> LayerAdvice("stem_conv", "reads only 3 channels").layer
        'stem_conv'
    """

    layer: str
    text: str


def _memory(layer: LayerCost, shape: FileLayer, _: LayerProfile) -> str:
    if layer.bound != "memory":
        return ""
    what = f"waits for {layer.memory or 'memory'}: {bytes_text(shape.moved_bytes)}"
    ratio = f", {shape.macs / shape.moved_bytes:.1f} MACs a byte" if shape.macs and shape.moved_bytes else ""
    return f"{what}{ratio}; {'fewer channels' if _pixels(shape) == 1 else 'a smaller map or fewer channels'} would move less"


def _one_pixel(layer: LayerCost, shape: FileLayer, _: LayerProfile) -> str:
    if not shape.macs or _pixels(shape) > 1 or layer.bound == "memory":
        return ""
    return f"one output pixel: each of {shape.macs / 1e6:.2f} M weights is used once; fewer channels mean fewer weights"


def _few_channels(layer: LayerCost, shape: FileLayer, _: LayerProfile) -> str:
    if shape.operator != "CONV_2D" or shape.in_channels >= FEW_CHANNELS:
        return ""
    return f"reads only {shape.in_channels} channels{_use(layer, ' and uses')}"


def _multiple(layer: LayerCost, shape: FileLayer, profile: LayerProfile) -> str:
    multiple = profile.channel_multiple
    if not shape.macs or shape.channels % multiple == 0 or layer.bound == "memory":
        return ""
    padded = math.ceil(shape.channels / multiple) * multiple
    return f"{shape.channels} channels take the MAC array as long as {padded} (multiples of {multiple})"


def _depthwise(layer: LayerCost, shape: FileLayer, _: LayerProfile) -> str:
    if shape.operator != "DEPTHWISE_CONV_2D" or layer.utilisation is None or layer.utilisation >= LOW_USE:
        return ""
    return f"depthwise, so each value reads one channel:{_use(layer, ' uses')}; fewer expanded channels would shorten it"


def _kernel(_: LayerCost, shape: FileLayer, __: LayerProfile) -> str:
    height, width = shape.kernel
    return f"a {height}x{width} kernel needs {height * width / 9:.1f} times the MACs of 3x3" if height * width > 9 else ""


def _no_macs(_: LayerCost, shape: FileLayer, __: LayerProfile) -> str:
    if shape.macs:
        return ""
    if shape.operator == "HARD_SWISH":
        return f"hard-swish on its own: {bytes_text(shape.moved_bytes)}; a relu is a part of the convolution before it"
    return f"no multiplications with weights: moves {bytes_text(shape.moved_bytes)}"


def _rate(layer: LayerCost, shape: FileLayer, profile: LayerProfile) -> str:
    """For tools that tell no utilisation: the rate of a layer beside the network's highest among layers with enough work."""
    if layer.utilisation is not None or not shape.macs or not layer.cost or profile.unit != "ms":
        return ""
    enough = _LEAST_MACS_SHARE * sum(each.macs or 0 for each in profile.layers)
    best = max((each.macs / each.cost for each in profile.layers if each.cost and (each.macs or 0) >= enough and each.macs),
               default=0.0)  # fmt: skip
    return f"{_rate_text(shape.macs / layer.cost)} GMACs/s, where the network's fastest layer has {_rate_text(best)}"


def _well_used(layer: LayerCost, _: FileLayer, __: LayerProfile) -> str:
    if layer.utilisation is None or layer.utilisation < HIGH_USE:
        return ""
    return f"{_use(layer, 'uses')}; only less work would shorten it"


def _otherwise(layer: LayerCost, shape: FileLayer, _: LayerProfile) -> str:
    each = (
        f"{shape.macs / (_pixels(shape) * shape.channels):.0f} MACs for each of {_pixels(shape) * shape.channels:,} output values"
    )
    return f"{each}{_use(layer, ' use')}"


RULES: tuple[Finding, ...] = (
    _memory, _one_pixel, _few_channels, _multiple, _depthwise, _kernel, _no_macs, _rate, _well_used,
)  # fmt: skip


def findings(profile: LayerProfile, layers: tuple[FileLayer, ...], top: int) -> tuple[LayerAdvice, ...]:
    """Says for each of the costliest layers what its figures tell.

    Args:
        profile: Costs of the layers.
        layers: Layers of the file.
        top: Number of layers.
    """
    shapes = {layer.name: layer for layer in layers}
    chosen = profile.costliest(top)
    return tuple(LayerAdvice(each.name, _text(each, shapes.get(each.name), profile)) for each in chosen)


def _text(layer: LayerCost, shape: FileLayer | None, profile: LayerProfile) -> str:
    if shape is None:
        return "not a layer of the file, so only its time is known"
    said = [text for rule in RULES if (text := rule(layer, shape, profile))] or [_otherwise(layer, shape, profile)]
    return "; ".join(said[:MOST_FINDINGS])


def bytes_text(count: int) -> str:
    """A number of bytes for people.

    Example:
        >>> bytes_text(999), bytes_text(404608), bytes_text(1609088)
        ('999 B', '405 kB', '1.6 MB')
    """
    return f"{count} B" if count < 1e3 else f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def _rate_text(macs_per_ms: float) -> str:
    """A rate in GMACs/s, with one decimal below 1,000."""
    return f"{macs_per_ms / 1e6:,.{1 if macs_per_ms < 1e9 else 0}f}"


def _pixels(shape: FileLayer) -> int:
    return shape.size[0] * shape.size[1]


def _use(layer: LayerCost, verb: str) -> str:
    return "" if layer.utilisation is None else f"{verb} {layer.utilisation:.0%} of the MAC array"
