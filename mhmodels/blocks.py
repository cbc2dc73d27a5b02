"""What each block type computes, as steps. A new block type is one function here and one line in the table below it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

from mhmodels.architecture import (
    Activation,
    Block,
    Bottleneck,
    Conv,
    FusedInvertedBottleneck,
    Gate,
    InvertedBottleneck,
    MaxPool,
    Padding,
    Rounding,
    Separable,
    SqueezeExcite,
    UniversalInvertedBottleneck,
)
from mhmodels.errors import ArchitectureError

OperationKind: TypeAlias = Literal[
    "conv", "depthwise", "add", "multiply", "pool", "global_max_pool", "max_pool", "average_pool", "pad", "flatten", "reshape",
    "softmax",
]  # fmt: skip
"""`pool` is global average pooling; the other two have a kernel and a stride. `pad` puts zeros around a map."""
WINDOWED: tuple[OperationKind, ...] = ("conv", "depthwise", "max_pool", "average_pool")
"""Kinds that have a kernel and a stride."""


MAX_CHANNELS = 1 << 22
"""Widths that grow with the channels read would grow without end in a network of many blocks."""


class BlockStep(NamedTuple):
    """An operation inside a block, before it has a place in a network: inputs are suffixes, '' is the block's input."""

    suffix: str
    kind: OperationKind
    inputs: tuple[str, ...]
    in_channels: int
    channels: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    bias: bool = False
    batch_norm: bool = False
    activation: Activation | Gate = "linear"


def window_pads(step: BlockStep, padding: Padding) -> tuple[int, int] | None:
    """Returns the rows (and columns) of zeros before and behind the map that a step reads; None where it pads as SAME.

    Raises:
        ArchitectureError: A window with an even side cannot be padded symmetrically.
    """
    # Average pooling divides by the number of pixels in its window, so that zeros would change the average.
    if padding == "same" or step.kernel == 1 or step.kind == "average_pool":
        return None
    if padding == "symmetric" and step.kernel % 2 == 0:
        raise ArchitectureError(f"kernel is {step.kernel}, expected an odd number where field 'padding' is 'symmetric'")
    if step.stride == 1 or (padding == "trailing" and step.kind != "depthwise"):
        return None
    return (step.kernel // 2, step.kernel // 2) if padding == "symmetric" else (0, 1)


def padded_side(side: int, step: BlockStep, padding: Padding) -> int:
    """Returns the side of the map that a step writes, for that which it reads; below 1 where the window does not fit."""
    pads = window_pads(step, padding)
    return -(-side // step.stride) if pads is None else (side + sum(pads) - step.kernel) // step.stride + 1


def same_pads(side: int, window: int, stride: int) -> tuple[int, int]:
    """Returns the zeros that TensorFlow's SAME puts before and behind a map; of an odd number most lie behind it.

    Args:
        side: Rows (or columns) of the map.
        window: Rows that the window covers: of a dilated kernel, the gaps included.
        stride: Stride of the window.
    """
    total = max((-(-side // stride) - 1) * stride + window - side, 0)
    return total // 2, total - total // 2


def scaled_filters(filters: int, rounding: Rounding, width: float, scaling: str = "always") -> int:
    """Returns the number of channels that a declared width has under a width multiplier; the declared width at 1.0."""
    if scaling == "never" or width == 1.0 or (scaling == "above_one" and width < 1.0):
        return filters
    return rounding(filters * width)


def _block_filters(filters: int, rounding: Rounding, width: float) -> int:
    """As `scaled_filters`, for the output of a block that is not a plain convolution."""
    if width == 1.0:
        return filters
    return rounding(int(filters * width) if rounding.whole_blocks else filters * width)


@functools.lru_cache(maxsize=1 << 16)
def block_steps(block: Block, channels: int, rounding: Rounding, width: float) -> tuple[BlockStep, ...]:
    """The steps of a block that reads so many channels, at a width multiplier.

    Raises:
        ArchitectureError: The widths do not go together or are beyond all use; the message names the block type.
    """
    steps = _LOWERINGS[type(block)](block, channels, rounding, width)
    widest = max(steps, key=lambda step: step.channels)
    if widest.channels > MAX_CHANNELS:
        raise ArchitectureError(
            f"{block.type_name}: '{widest.suffix}' writes {widest.channels} channels, expected at most {MAX_CHANNELS}: declare "
            "fewer filters, a smaller expansion, or a smaller width multiplier"
        )
    return steps


def _conv(block: Conv, channels: int, rounding: Rounding, width: float) -> tuple[BlockStep, ...]:
    if block.expansion is None:
        filters = scaled_filters(block.filters, rounding, width, block.scaling)
    else:
        filters = block.filters if width == 1.0 else rounding(channels * block.expansion)
    if channels % block.groups or filters % block.groups:
        raise ArchitectureError(
            f"conv: field 'groups' is {block.groups}, expected a divisor of the {channels} channels read and {filters} written"
        )
    step = BlockStep(
        "conv", "conv", ("",), channels, filters, block.kernel, block.stride,
        block.groups, block.bias, block.batch_norm, block.activation,
    )  # fmt: skip
    return (step, *_residual(block.residual, block.stride, channels, filters, "conv"))


def _depthwise(suffix: str, source: str, channels: int, kernel: int, stride: int, activation: Activation) -> BlockStep:
    return BlockStep(suffix, "depthwise", (source,), channels, channels, kernel, stride, channels, False, True, activation)


def _pointwise(
    suffix: str, source: str, channels: int, filters: int, activation: Activation = "linear", groups: int = 1
) -> BlockStep:
    if channels % groups or filters % groups:
        raise ArchitectureError(
            f"field 'groups' is {groups}, expected a divisor of the {channels} channels read and {filters} written by '{suffix}'"
        )
    return BlockStep(suffix, "conv", (source,), channels, filters, groups=groups, batch_norm=True, activation=activation)


def _residual(wanted: bool, stride: int, channels: int, filters: int, source: str) -> tuple[BlockStep, ...]:
    if not wanted or stride != 1 or channels != filters:
        return ()
    return (BlockStep("add", "add", ("", source), filters, filters),)


def _separable(block: Separable, channels: int, rounding: Rounding, width: float) -> tuple[BlockStep, ...]:
    filters = _block_filters(block.filters, rounding, width)
    return (
        _depthwise("depthwise", "", channels, block.kernel, block.stride, block.activation),
        _pointwise("project", "depthwise", channels, filters, block.pointwise_activation),
        *_residual(block.residual, block.stride, channels, filters, "project"),
    )


def _expanded(
    block: InvertedBottleneck | FusedInvertedBottleneck | UniversalInvertedBottleneck,
    channels: int,
    rounding: Rounding,
    width: float,
) -> int | None:
    absolute = getattr(block, "expanded_filters", None)
    if absolute is not None:
        return scaled_filters(absolute, rounding, width)
    return None if block.expansion is None else rounding(channels * block.expansion)


def _squeeze_excite(se: SqueezeExcite, source: str, entering: int, channels: int) -> tuple[BlockStep, ...]:
    base = channels if se.of == "expanded" else entering
    reduced = Rounding(divisor=se.divisor, minimum=se.divisor)(max(1, int(base * se.ratio)))
    return (
        BlockStep("squeeze", "pool", (source,), channels, channels),
        BlockStep("reduce", "conv", ("squeeze",), channels, reduced, bias=True, activation=se.activation),
        BlockStep("gate", "conv", ("reduce",), reduced, channels, bias=True, activation=se.gate),
        BlockStep("excite", "multiply", (source, "gate"), channels, channels),
    )


def _inverted_bottleneck(block: InvertedBottleneck, channels: int, rounding: Rounding, width: float) -> tuple[BlockStep, ...]:
    filters = _block_filters(block.filters, rounding, width)
    expanded = _expanded(block, channels, rounding, width)
    inner = channels if expanded is None else expanded
    steps = () if expanded is None else (_pointwise("expand", "", channels, expanded, block.activation, block.groups),)
    depthwise = _depthwise("depthwise", "expand" if steps else "", inner, block.kernel, block.stride, block.activation)
    return (*steps, depthwise, *_projected(block, depthwise.suffix, channels, inner, filters))


def _fused_inverted_bottleneck(
    block: FusedInvertedBottleneck, channels: int, rounding: Rounding, width: float
) -> tuple[BlockStep, ...]:
    filters = _block_filters(block.filters, rounding, width)
    inner = _expanded(block, channels, rounding, width)
    assert inner is not None
    fused = BlockStep(
        "fused", "conv", ("",), channels, inner, block.kernel, block.stride, batch_norm=True, activation=block.activation
    )
    return (fused, *_projected(block, "fused", channels, inner, filters))


def _projected(
    block: InvertedBottleneck | FusedInvertedBottleneck, source: str, channels: int, inner: int, filters: int
) -> tuple[BlockStep, ...]:
    """Returns squeeze-excite if there is one, the linear projection, and the residual addition."""
    excite = () if block.squeeze_excite is None else _squeeze_excite(block.squeeze_excite, source, channels, inner)
    groups = block.groups if isinstance(block, InvertedBottleneck) else 1
    return (
        *excite,
        _pointwise("project", "excite" if excite else source, inner, filters, groups=groups),
        *_residual(block.residual, block.stride, channels, filters, "project"),
    )


def _universal_inverted_bottleneck(
    block: UniversalInvertedBottleneck, channels: int, rounding: Rounding, width: float
) -> tuple[BlockStep, ...]:
    filters = _block_filters(block.filters, rounding, width)
    inner = rounding(channels * block.expansion)
    steps: list[BlockStep] = []
    if block.start_kernel:
        stride = 1 if block.middle_kernel else block.stride
        steps.append(_depthwise("start", "", channels, block.start_kernel, stride, "linear"))
    steps.append(_pointwise("expand", "start" if steps else "", channels, inner, block.activation))
    if block.middle_kernel:
        steps.append(_depthwise("depthwise", "expand", inner, block.middle_kernel, block.stride, block.activation))
    steps.append(_pointwise("project", steps[-1].suffix, inner, filters))
    return (*steps, *_residual(block.residual, block.stride, channels, filters, "project"))


def _bottleneck(block: Bottleneck, channels: int, rounding: Rounding, width: float) -> tuple[BlockStep, ...]:
    filters = _block_filters(block.filters, rounding, width)
    inner = rounding(filters * block.expansion)
    middle = BlockStep(
        "middle", "conv", ("reduce",), inner, inner, block.kernel, block.stride, batch_norm=True, activation=block.activation
    )
    shortcut = _shortcut(block, channels, filters)
    return (
        _pointwise("reduce", "", channels, inner, block.activation),
        middle,
        _pointwise("expand", "middle", inner, filters),
        *shortcut,
        BlockStep(
            "add", "add", (shortcut[-1].suffix if shortcut else "", "expand"), filters, filters, activation=block.activation
        ),
    )


def _shortcut(block: Bottleneck, channels: int, filters: int) -> tuple[BlockStep, ...]:
    """What brings a bottleneck's input to its output's shape; nothing where it has that already."""
    if block.stride == 1 and channels == filters:
        return ()
    if block.stride == 1 or block.shortcut == "conv":
        return (BlockStep("shortcut", "conv", ("",), channels, filters, 1, block.stride, batch_norm=True),)
    # Of parallel branches TensorFlow's converter writes that first whose name is first: reduce before this one.
    subsample = BlockStep("subsample", "average_pool", ("",), channels, channels, block.stride, block.stride)
    return (subsample, _pointwise("shortcut", "subsample", channels, filters))


def _max_pool(block: MaxPool, channels: int, *_: object) -> tuple[BlockStep, ...]:
    return (BlockStep("pool", "max_pool", ("",), channels, channels, block.kernel, block.stride),)


_LOWERINGS: dict[type, Callable[..., tuple[BlockStep, ...]]] = {
    Conv: _conv,
    Separable: _separable,
    InvertedBottleneck: _inverted_bottleneck,
    FusedInvertedBottleneck: _fused_inverted_bottleneck,
    UniversalInvertedBottleneck: _universal_inverted_bottleneck,
    Bottleneck: _bottleneck,
    MaxPool: _max_pool,
}
