"""Groups and widths that the definitions of several spaces share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Unpack

from mhmodels.architecture import Block, Conv, Rounding
from mhmodels.families.rows import ConvFields, InvertedFields, ib
from mhmodels.search.space.decisions import SKIP, OneOf
from mhmodels.search.space.piece_table import BlockGroup, TemplatePart

TUNAS_RATIOS = (0.5, 0.625, 0.75, 1.0, 1.25, 1.5, 2.0)


def widths(base: int, ratios: Iterable[float], *divisors: int) -> tuple[int, ...]:
    """Widths of a search: a base width times each ratio, rounded as TuNAS does.

    Args:
        base: Base width in channels.
        ratios: Multipliers.
        divisors: Widths are rounded half up to multiples of each of these.

    Returns:
        Different widths in ascending order.
    """
    rules = [Rounding(divisor=divisor, minimum=divisor, mode="half_up") for divisor in divisors]
    return tuple(sorted({rule(base * ratio) for ratio in ratios for rule in rules}))


def group(
    name: str,
    part: TemplatePart,
    width: int | Sequence[int],
    blocks: Sequence[Sequence[Block | None]],
    *,
    endpoint: bool = False,
    markers: int = 0,
) -> BlockGroup:
    """A group with decisions `NAME_block1`, …, and `NAME_width`.

    Args:
        name: Prefix of the decisions' names.
        part: Part of the architecture.
        width: Width in channels, or several to choose from.
        blocks: Choices of each slot.
        endpoint: Whether the last block is an endpoint (feature map).
        markers: As in `BlockGroup`.
    """
    slots = tuple(OneOf(f"{name}_block{i}", tuple(choices)) for i, choices in enumerate(blocks, 1))
    options = (width,) if isinstance(width, int) else tuple(width)
    return BlockGroup(part, slots, OneOf(f"{name}_width", options, "width"), endpoint, markers)


def stage(
    name: str,
    width: int | Sequence[int],
    first: Sequence[Block | None],
    repeated: Sequence[Block],
    optional: int,
    *,
    required: int = 0,
    endpoint: bool = False,
    markers: int = 0,
) -> BlockGroup:
    """A stage: a first block, then required blocks, then blocks that can be skipped.

    Args:
        name: Prefix of the decisions' names.
        width: Width in channels, or several to choose from.
        first: Choices of the first block.
        repeated: Choices of all other blocks.
        optional: Number of blocks that can be skipped.
        required: Number of blocks between these and the first.
        endpoint: Whether the last block is an endpoint (feature map).
        markers: As in `BlockGroup`.
    """
    blocks = [first, *[repeated] * required, *[(*repeated, SKIP)] * optional]
    return group(name, "stage", width, blocks, endpoint=endpoint, markers=markers)


def bottlenecks(
    kernels: Iterable[int], expansions: Iterable[float], stride: int = 1, **fields: Unpack[InvertedFields]
) -> tuple[Block, ...]:
    """Inverted bottlenecks with every expansion and kernel size; the kernel size changes fastest, as in the vectors of TuNAS."""
    return tuple(ib(kernel, stride, 1, expansion, **fields) for expansion, kernel in product(expansions, kernels))


def head(
    name: str, part: TemplatePart, width: int | Sequence[int], *, markers: int = 0, **fields: Unpack[ConvFields]
) -> BlockGroup:
    """A group of the head with a single 1x1 convolution."""
    return group(name, part, width, [(Conv(filters=1, **fields),)], markers=markers)
