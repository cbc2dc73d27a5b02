"""Which layer of a file an operator computes that LiteRT's profiler reports: the profiler tells no names inside a delegate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mhmodels.hardware.layers.file_layers import FileLayer
from mhmodels.hardware.layers.profile import LayerCost, with_shares

_WORDS: dict[str, tuple[str, ...]] = {
    "CONV_2D": ("Convolution", "Fully Connected"),
    "DEPTHWISE_CONV_2D": ("Convolution",),
    "FULLY_CONNECTED": ("Fully Connected", "Matrix Multiply"),
    "TRANSPOSE_CONV": ("Deconvolution",),
    "ADD": ("Add",),
    "SUB": ("Subtract",),
    "MUL": ("Multiply",),
    "MEAN": ("Mean", "Average Pooling"),
    "AVERAGE_POOL_2D": ("Average Pooling", "Mean"),
    "MAX_POOL_2D": ("Max Pooling",),
    "SOFTMAX": ("Softmax",),
    "HARD_SWISH": ("HardSwish", "Hardswish", "Lookup"),
    "LOGISTIC": ("Sigmoid", "Lookup"),
    "PAD": ("Pad",),
    "RESHAPE": ("Reshape", "Copy"),
    "QUANTIZE": ("Convert",),
    "DEQUANTIZE": ("Convert",),
    "RELU": ("Clamp",),
    "RELU6": ("Clamp",),
    "CONCATENATION": ("Concatenate",),
    "RESIZE_BILINEAR": ("Resize",),
}
"""Words in XNNPACK's names of operators, by kind of the TFLite operator that they compute."""


class ProfiledOperator(NamedTuple):
    """An operator as LiteRT reports it.

    Attributes:
        name: Kind of a built-in operator, or XNNPACK's name of an operator in its delegate.
        delegated: Whether it runs in a delegate.
        place: Index in the file of a built-in operator; of a delegated one, index in its part of the delegate.
        ms: Time in ms.
        standard_error: Standard error of the time, in ms.
    """

    name: str
    delegated: bool
    place: int
    ms: float
    standard_error: float


def match_operators(
    operators: Sequence[ProfiledOperator], layers: Sequence[FileLayer]
) -> tuple[tuple[LayerCost, ...], tuple[str, ...], str]:
    """Finds the layer of the file that each operator computes.

    A built-in operator states its index. A delegated one is the next layer, in the order of the file, whose kind its name has a
    word of. What is no layer of its own, such as a conversion, belongs to the layer before it.

    Returns:
        The layers with their costs, the names of layers without an operator of their own, and a note, which is empty unless
        the operators fit no layers of the file; the layers then bear LiteRT's own names.
    """
    owners = _owners(operators, layers)
    if owners is None:
        own = with_shares(
            LayerCost(
                name=f"{place} {one.name}", operator=one.name, position=place, cost=one.ms, standard_error=one.standard_error
            )
            for place, one in enumerate(operators)
        )
        return own, (), "LiteRT's operators could not be matched with the layers of the file, so they bear LiteRT's names."
    parts: dict[int, list[ProfiledOperator]] = {}
    for operator, owner in zip(operators, owners, strict=True):
        parts.setdefault(owner, []).append(operator)
    costs = with_shares(_cost(layers[position], part) for position, part in parts.items())
    return costs, tuple(layer.name for layer in layers if layer.position not in parts), ""


def _owners(operators: Sequence[ProfiledOperator], layers: Sequence[FileLayer]) -> list[int] | None:
    """Position of the layer of each operator; None where a layer with weights would be left without one."""
    free = {layer.position: layer for layer in layers}
    owners: list[int] = []
    for operator in operators:
        found = operator.place if not operator.delegated else _next(operator.name, free.values())
        if found is not None and found in free:
            del free[found]
        elif not operator.delegated:
            return None
        owners.append(found if found is not None else owners[-1] if owners else 0)
    return None if any(layer.macs for layer in free.values()) else owners


def _next(name: str, free: Iterable[FileLayer]) -> int | None:
    """Position of the first free layer of an operator's kind; None if a layer with weights comes before it."""
    for layer in free:
        if any(word in name for word in _WORDS.get(layer.operator, ())):
            return layer.position
        if layer.macs:
            return None
    return None


def _cost(layer: FileLayer, parts: Sequence[ProfiledOperator]) -> LayerCost:
    return LayerCost(
        name=layer.name,
        operator=layer.operator,
        position=layer.position,
        cost=sum(part.ms for part in parts),
        macs=layer.macs,
        moved_bytes=layer.moved_bytes,
        parts=len(parts),
        standard_error=math.hypot(*(part.standard_error for part in parts)),
    )
