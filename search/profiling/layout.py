"""Where the decisions of a space stand: units, layers in units, blocks of layers, and decisions on widths and resolutions.

Two kinds of layers can be absent. In most spaces, a stage has a depth, and layer l exists if the depth is at least l. In FBNet
and NAS-Bench-Macro, to skip is a candidate of every layer as any other block, and layers are profiled at the position that the
encoding gives them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from mhmodels.search.space.decisions import SKIP, describe
from mhmodels.search.space.piece_table import BlockGroup
from mhmodels.search.space.search_space import SearchSpace
from mhmodels.search.space.template import ArchitectureSpace

_NUMBERED_THROUGH = ("fbnet",)
"""Spaces whose paper numbers the layers of all stages through: they are one unit."""


class UnitLayer(NamedTuple):
    """A layer with a decision on its block.

    Attributes:
        unit: Number of the unit, from 1.
        layer: Number of the layer in the unit, from 1.
        stage: Number of the stage, from 1; layers of one stage have similar effects.
        column: Column of the encoding.
        blocks: (choices,), the block of each choice, in words that are equal at all layers.
        skip: Index of the choice that the layer is absent; None if there is none.
    """

    unit: int
    layer: int
    stage: int
    column: int
    blocks: tuple[str, ...]
    skip: int | None


class Layout(NamedTuple):
    """Where the decisions of a space stand.

    Attributes:
        layers: Layers with a decision on their block, in network order.
        others: Columns of all other decisions: widths, resolution, optional convolutions of the stem.
        by_depth: Whether layers are absent by the depth of their unit. Otherwise to skip is a block as any other.
    """

    layers: tuple[UnitLayer, ...]
    others: tuple[int, ...]
    by_depth: bool


def layout_of(space: SearchSpace) -> Layout:
    """Finds units and layers of a space. In a tabular space, every decision is a unit with one layer.

    Args:
        space: The space.
    """
    if not isinstance(space, ArchitectureSpace):
        layers = [
            UnitLayer(unit, 1, unit, unit - 1, tuple(map(describe, decision.choices)), None)
            for unit, decision in enumerate(space.decisions, 1)
        ]
        return Layout(tuple(layers), (), False)
    columns = {decision.name: column for column, decision in enumerate(space.decisions)}
    stages = [group for group in space.template.groups if group.part == "stage"]
    stages = [group for group in stages if any(slot.name in columns for slot in group.slots)]
    varying = _varying([slot.choices for group in stages for slot in group.slots])
    through = space.name in _NUMBERED_THROUGH
    found, before = list[UnitLayer](), 0
    for stage, group in enumerate(stages, 1):
        for place, slot in enumerate(group.slots, 1):
            if slot.name in columns:
                blocks = tuple(_words(choice, varying) for choice in slot.choices)
                skip = slot.choices.index(SKIP) if SKIP in slot.choices else None
                unit, layer = (1, before + place) if through else (stage, place)
                found.append(UnitLayer(unit, layer, stage, columns[slot.name], blocks, skip))
        before += len(group.slots)
    taken = {layer.column for layer in found}
    return Layout(
        tuple(found), tuple(column for column in range(len(columns)) if column not in taken), not _skips_anywhere(stages)
    )


def as_profiled(space: SearchSpace, layout: Layout) -> SearchSpace:
    """The space with the canonical form that its profile uses.

    Where to skip is a candidate of every layer, all encodings are canonical: latencies that are read keep their positions.

    Args:
        space: The space.
        layout: Its layout.
    """
    if layout.by_depth or not space.groups:
        return space
    positional = copy.copy(space)
    positional.schema = space.schema
    positional.groups = ()
    return positional


def block_words(layout: Layout) -> tuple[str, ...]:
    """All blocks of a space, each once, in the order of the choices.

    Args:
        layout: Layout of the space.
    """
    words = [block for one in layout.layers for choice, block in enumerate(one.blocks) if is_block(layout, one, choice)]
    return tuple(dict.fromkeys(words))


def is_block(layout: Layout, layer: UnitLayer, choice: int) -> bool:
    """Whether a choice of a layer is one of its blocks: in units with a depth, the absence of the layer is none.

    Args:
        layout: Layout of the space.
        layer: A layer of it.
        choice: Index of the choice.
    """
    return not (layout.by_depth and choice == layer.skip)


def _skips_anywhere(stages: Sequence[BlockGroup]) -> bool:
    """Whether the first layer of a stage has as many choices as the others, with a stand-in for skipping."""
    longer = [stage.slots for stage in stages if any(SKIP in slot.choices for slot in stage.slots[1:])]
    return bool(longer) and all(len({len(slot.choices) for slot in slots}) == 1 for slots in longer)


def _varying(slots: Sequence[tuple[object, ...]]) -> frozenset[str]:
    """Names of the fields in which the blocks of some layer differ: stride or activation, for example, usually do not."""
    fields: set[str] = set()
    for choices in slots:
        by_type: dict[type, list[object]] = {}
        for choice in choices:
            by_type.setdefault(type(choice), []).append(choice)
        for kind, blocks in by_type.items():
            if kind is not type(None) and isinstance(blocks[0], msgspec.Struct):
                names = kind.__struct_fields__  # type: ignore[attr-defined]
                fields.update(name for name in names if len({getattr(block, name) for block in blocks}) > 1)
    return frozenset(fields)


def _words(choice: object, varying: frozenset[str]) -> str:
    """A block in words, with the fields in which the blocks of a layer differ."""
    if not isinstance(choice, msgspec.Struct):
        return describe(choice)
    values = {name: getattr(choice, name) for name in choice.__struct_fields__ if name in varying}
    shown = [
        name if value is True else f"{name}={describe(value)}" for name, value in values.items() if value not in (None, False)
    ]
    return " ".join([str(choice.__struct_config__.tag), *shown])
