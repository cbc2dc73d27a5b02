"""Blocks of an architecture by the names of their layers, and an architecture with one of its blocks replaced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from mhmodels.architecture import Architecture, Block, Conv, Rounding
from mhmodels.network import lower

BlockPart: TypeAlias = Literal["stem", "stages", "features", "hidden"]


class Place(NamedTuple):
    """A block in an architecture.

    Attributes:
        prefix: Beginning of the names of its layers, such as `stage3_block1`.
        part: Field of the architecture, or of its head, that holds the block.
        row: Index of the stage; 0 elsewhere.
        column: Index of the block in its stage or part.
        block: The block itself.
        in_channels: Channels that the block reads.
        rounding: Rule by which widths are rounded.
        width: Width multiplier.
    """

    prefix: str
    part: BlockPart
    row: int
    column: int
    block: Block
    in_channels: int
    rounding: Rounding
    width: float


def places(architecture: Architecture) -> dict[str, Place]:
    """Lists the blocks of an architecture by the prefix that `lower` gives the names of their layers."""
    read: dict[str, int] = {}
    for op in lower(architecture).ops:
        read.setdefault(op.name.rpartition("_")[0], op.in_channels)
    alone = len(architecture.stem) == 1
    named: list[tuple[str, BlockPart, int, int, Block]] = [
        *(("stem" if alone else f"stem{i + 1}", "stem", 0, i, block) for i, block in enumerate(architecture.stem)),
        *(
            (f"stage{s + 2}_block{b + 1}", "stages", s, b, block)
            for s, stage in enumerate(architecture.stages)
            for b, block in enumerate(stage)
        ),
        *((f"head{i + 1}", "features", 0, i, block) for i, block in enumerate(architecture.head.features)),
        *((f"hidden{i + 1}", "hidden", 0, i, block) for i, block in enumerate(architecture.head.hidden)),
    ]
    rule, width = architecture.rounding, architecture.width_multiplier
    return {name: Place(name, part, row, column, block, read[name], rule, width) for name, part, row, column, block in named}


def place_of(layer: str, known: dict[str, Place]) -> Place | None:
    """Returns the block that a layer belongs to; None for the classifier and for layers of no block."""
    return next((place for prefix, place in known.items() if layer.startswith(f"{prefix}_")), None)


def with_block(architecture: Architecture, place: Place, change: Callable[[Block], Block], *, whole_stage: bool) -> Architecture:
    """Returns the architecture with a changed block.

    Args:
        architecture: Architecture that has the block.
        place: The block.
        change: Makes the new block from the old one.
        whole_stage: Whether to change every block of the stage that is as wide as this one, because the residual additions of
            a stage need equal widths.
    """
    if place.part == "stages":
        row = architecture.stages[place.row]
        new = tuple(
            change(block) if i == place.column or (whole_stage and _as_wide(block, place.block)) else block
            for i, block in enumerate(row)
        )
        stages = (*architecture.stages[: place.row], new, *architecture.stages[place.row + 1 :])
        return msgspec.structs.replace(architecture, stages=stages)
    if place.part == "stem":
        return msgspec.structs.replace(architecture, stem=_replaced(architecture.stem, place.column, change))
    head = architecture.head
    convs: tuple[Conv, ...] = head.features if place.part == "features" else head.hidden
    head = msgspec.structs.replace(head, **{place.part: _replaced(convs, place.column, change)})
    return msgspec.structs.replace(architecture, head=head)


def _replaced(blocks: tuple[Block, ...], column: int, change: Callable[[Block], Block]) -> tuple[Block, ...]:
    return tuple(change(block) if i == column else block for i, block in enumerate(blocks))


def _as_wide(block: Block, other: Block) -> bool:
    return getattr(block, "filters", None) == getattr(other, "filters", 0)
