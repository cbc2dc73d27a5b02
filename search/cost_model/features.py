"""Features of the structural cost model: sums over the operations of a network, by kind of kernel.

For every kind of kernel, the features are the number of kernels, their MACs (exact, and as hardware that processes blocks of
channels counts them), the elements read, written and stored, and roofline terms max(MACs, ridge × elements) for several ridge
points (arXiv 2404.10518 models time as a sum of such terms). In addition, a signature identifies what a block computes at its
position, so that a model can learn how far a block deviates from its features wherever it occurs.
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np

from mhmodels.complexity import layer_complexity
from mhmodels.network import Op
from mhmodels.search.arrays import Floats
from mhmodels.search.space.pieces import Piece

VERSION = 1
"""Version of the features, stored in every model file: features of another version have another meaning."""

RIDGES = (4.0, 16.0, 64.0, 256.0)
_KINDS = (
    "pointwise", "grouped", "conv3", "conv5", "conv7", "depthwise3", "depthwise3s2", "depthwise5", "depthwise5s2",
    "depthwise7", "depthwise7s2", "dense", "add", "multiply", "pool", "softmax", "hard_swish",
    # New kinds are appended, so that the meaning and position of existing features do not change.
    "max_pool", "average_pool", "pad",
)  # fmt: skip
QUANTITIES = ("count", "macs", "macs_8x8", "macs_16x32", "read", "written", "stored", *(f"roof{ridge:g}" for ridge in RIDGES))
NAMES = tuple(f"{kind}.{quantity}" for kind in _KINDS for quantity in QUANTITIES)
_SIGNED = (
    "kind", "in_channels", "channels", "kernel", "stride", "dilation", "groups", "bias", "batch_norm", "activation", "size",
)  # fmt: skip
_START = {kind: i * len(QUANTITIES) for i, kind in enumerate(_KINDS)}


@functools.lru_cache(maxsize=1 << 18)
def structural(piece: Piece) -> Floats:
    """Features (len(NAMES),) of a piece, float64, read-only. The features of a network are the sum over its pieces."""
    result = np.zeros(len(NAMES))
    for op in piece.ops:
        if op.kind == "reshape":
            continue
        kind, values = _kind(op), quantities(op, piece.read_size(op))
        result[_START[kind] : _START[kind] + len(values)] += values
        if op.activation == "hard_swish":
            written = _area(op.size) * op.channels
            extra = _values(0.0, 0.0, 0.0, written, written, 0.0)
            result[_START["hard_swish"] : _START["hard_swish"] + len(extra)] += extra
    result.flags.writeable = False
    return result


@functools.lru_cache(maxsize=1 << 18)
def signature(piece: Piece) -> str:
    """Hash of what a piece computes and on which sizes, 12 hexadecimal digits; names of operations do not matter."""
    place = {op.name: i for i, op in enumerate(piece.ops)}
    content = [[place.get(source, -1) for source in op.inputs] + _signed(op) for op in piece.ops]
    return hashlib.sha256(repr((piece.size, content)).encode()).hexdigest()[:12]


def _signed(op: Op) -> list[str]:
    """The fields of an operation that signatures hash. A new field may be added only where it is not the default value."""
    return (
        [str(getattr(op, name)) for name in _SIGNED]
        + ([] if op.padding == "same" else [op.padding])
        + ([str(op.pads)] if any(op.pads) else [])
    )


def _kind(op: Op) -> str:
    if op.kind == "depthwise":
        size = 3 if op.kernel <= 3 else 5 if op.kernel <= 5 else 7
        return f"depthwise{size}{'s2' if op.stride > 1 else ''}"
    if op.kind == "conv":
        if op.size == (1, 1):
            return "dense"
        if op.groups > 1:
            return "grouped"
        return "pointwise" if op.kernel == 1 else "conv3" if op.kernel <= 3 else "conv5" if op.kernel <= 5 else "conv7"
    return op.kind


def quantities(op: Op, read_size: tuple[int, int]) -> tuple[float, ...]:
    """Values of `QUANTITIES` of an operation.

    Args:
        op: The operation, without the activation that it ends with.
        read_size: Height and width of its input.
    """
    area = _area(op.size)
    layer = layer_complexity(op)
    read = _area(read_size) * op.in_channels * (2 if op.kind == "add" else 1)
    window = op.kernel * op.kernel * area
    if op.kind == "depthwise":
        blocks = [float(window * _up(op.channels, size)) for size in (8, 32)]
    elif op.kind == "conv":
        inputs = op.in_channels // op.groups
        blocks = [float(window * _up(inputs, i) * _up(op.channels, o)) for i, o in ((8, 8), (16, 32))]
    else:
        blocks = [0.0, 0.0]
    return _values(layer.madds, blocks[0], blocks[1], read, area * op.channels, layer.params)


def _values(macs: float, small: float, large: float, read: float, written: float, stored: float) -> tuple[float, ...]:
    moved = read + written + stored
    return (1.0, macs, small, large, read, written, stored, *(max(macs, ridge * moved) for ridge in RIDGES))


def _up(channels: int, multiple: int) -> int:
    return -(-channels // multiple) * multiple


def _area(size: tuple[int | None, int | None]) -> int:
    return (size[0] or 1) * (size[1] or 1)
