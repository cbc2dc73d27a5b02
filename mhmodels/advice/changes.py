"""Changes of a block that may make a network faster, as a table. What one saves is found out by trying it (`savings.py`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import msgspec

from mhmodels.advice.places import Place, places, with_block
from mhmodels.architecture import (
    Architecture,
    Block,
    Conv,
    FusedInvertedBottleneck,
    InvertedBottleneck,
    Separable,
    UniversalInvertedBottleneck,
)
from mhmodels.blocks import scaled_filters
from mhmodels.errors import ArchitectureError
from mhmodels.network import lower

BlockChange: TypeAlias = Callable[[Block, Place, int], Block | None]
"""Makes the changed block from a block, its place and the channel multiple of the hardware; None where it does not apply."""

KERNELS = (3, 5, 7, 9, 11, 13, 15)
EXPANSIONS = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
_EXPANDED = (InvertedBottleneck, FusedInvertedBottleneck, UniversalInvertedBottleneck)
_BOTTLENECKS = (InvertedBottleneck, FusedInvertedBottleneck)


class Change(NamedTuple):
    """A change of a block.

    Attributes:
        name: What it does.
        types: Types of the blocks that it applies to.
        change: How a block is changed.
        whole_stage: Whether it changes the width of the block, and so the whole stage.
    """

    name: str
    types: tuple[type[Block], ...]
    change: BlockChange
    whole_stage: bool = False


class Candidate(NamedTuple):
    """A network with one change.

    Attributes:
        place: The block that is changed.
        change: The change.
        text: The fields before and after, such as `kernel 5 -> 3`.
        architecture: The changed network.
    """

    place: Place
    change: Change
    text: str
    architecture: Architecture


def _lower(field: str, ladder: tuple[float, ...]) -> BlockChange:
    """Sets a field to the next smaller value of a ladder."""

    def change(block: Block, _: Place, __: int) -> Block | None:
        value = getattr(block, field, None)
        smaller = [step for step in ladder if value is not None and step < value]
        return msgspec.structs.replace(block, **{field: smaller[-1]}) if smaller else None

    return change


def _instead(field: str, old: object, new: object) -> BlockChange:
    """Replaces a value of a field; an `old` of None stands for every other value than `new`."""

    def change(block: Block, _: Place, __: int) -> Block | None:
        value = getattr(block, field, new)
        return msgspec.structs.replace(block, **{field: new}) if value != new and old in (None, value) else None

    return change


def _scaled(field: str, factor: float) -> BlockChange:
    """Multiplies a declared width, rounded to whole multiples of the rounding rule's divisor."""

    def change(block: Block, place: Place, _: int) -> Block | None:
        value, step = getattr(block, field, None), place.rounding.divisor
        new = max(step, round((value or 0) * factor / step) * step)
        return None if value is None or new >= value else msgspec.structs.replace(block, **{field: new})

    return change


def _filters_to_multiple(towards: Callable[[float], int]) -> BlockChange:
    """Makes the channels that a block writes a multiple of what the MAC array takes."""

    def change(block: Block, place: Place, multiple: int) -> Block | None:
        filters = getattr(block, "filters", None)
        if filters is None:
            return None
        channels = scaled_filters(filters, place.rounding, place.width)
        new = _declared(channels, towards, multiple, place.width)
        return None if new is None else msgspec.structs.replace(block, filters=new)

    return change


def _expanded_to_multiple(towards: Callable[[float], int]) -> BlockChange:
    """Makes the expanded channels of a block a multiple of what the MAC array takes."""

    def change(block: Block, place: Place, multiple: int) -> Block | None:
        expansion, absolute = getattr(block, "expansion", None), getattr(block, "expanded_filters", None)
        if expansion is None and absolute is None:
            return None
        inner = place.rounding(place.in_channels * expansion) if expansion else place.rounding((absolute or 0) * place.width)
        new = _declared(inner, towards, multiple, place.width)
        return None if new is None else msgspec.structs.replace(block, expansion=None, expanded_filters=new)

    return change


def _declared(channels: int, towards: Callable[[float], int], multiple: int, width: float) -> int | None:
    """Declared width of the next multiple of channels; None if they are one already."""
    target = towards(channels / multiple) * multiple
    return None if channels % multiple == 0 or target < multiple else max(1, round(target / width))


def _fused(block: Block, _: Place, __: int) -> Block | None:
    """One full convolution in place of the expansion and the depthwise convolution."""
    if not isinstance(block, InvertedBottleneck) or block.groups > 1 or not (block.expansion or block.expanded_filters):
        return None
    return FusedInvertedBottleneck(**{field: getattr(block, field) for field in FusedInvertedBottleneck.__struct_fields__})


def _unfused(block: Block, _: Place, __: int) -> Block | None:
    """An expansion and a depthwise convolution in place of one full convolution."""
    return InvertedBottleneck(**{field: getattr(block, field) for field in FusedInvertedBottleneck.__struct_fields__})


CHANGES = (
    Change("smaller kernel", (*_BOTTLENECKS, Conv, Separable), _lower("kernel", KERNELS)),
    Change("smaller start kernel", (UniversalInvertedBottleneck,), _lower("start_kernel", (0, *KERNELS))),
    Change("smaller middle kernel", (UniversalInvertedBottleneck,), _lower("middle_kernel", KERNELS)),
    Change("smaller expansion", _EXPANDED, _lower("expansion", EXPANSIONS)),
    Change("smaller expansion", _BOTTLENECKS, _scaled("expanded_filters", 0.75)),
    Change("no squeeze-excite", _BOTTLENECKS, _instead("squeeze_excite", None, None)),
    Change("relu instead of hard-swish", (*_EXPANDED, Conv), _instead("activation", "hard_swish", "relu")),
    Change("fused convolution", (InvertedBottleneck,), _fused),
    Change("depthwise convolution", (FusedInvertedBottleneck,), _unfused),
    Change("expanded channels up to a multiple", _BOTTLENECKS, _expanded_to_multiple(math.ceil)),
    Change("expanded channels down to a multiple", _BOTTLENECKS, _expanded_to_multiple(math.floor)),
    Change("channels up to a multiple", (*_EXPANDED, Conv, Separable), _filters_to_multiple(math.ceil), whole_stage=True),
    Change("channels down to a multiple", (*_EXPANDED, Conv, Separable), _filters_to_multiple(math.floor), whole_stage=True),
    Change("a quarter fewer filters", (Conv, Separable), _scaled("filters", 0.75), whole_stage=True),
)
"""Every change that is tried. A new one is one more line."""


def candidates(architecture: Architecture, prefixes: tuple[str, ...], multiple: int = 1) -> Iterator[Candidate]:
    """Makes every network that differs from an architecture in one change of one of some blocks.

    Networks that cannot be built, and those with another number of residual additions, are left out.

    Args:
        architecture: The network.
        prefixes: Blocks to change, by the prefix of their layers' names.
        multiple: Number that the hardware pads channels to a multiple of; 1 if it does not.

    Example:
        >>> from mhmodels import get_architecture
        >>> [each.text for each in candidates(get_architecture("multi_max"), ("stage3_block1",))]
        ['kernel 5 -> 3', 'expansion 6 -> 5', 'inverted_bottleneck -> fused_inverted_bottleneck']
    """
    known, seen, additions = places(architecture), {lower(architecture).ops}, _additions(architecture)
    for prefix in prefixes:
        place = known[prefix]
        for change in CHANGES:
            candidate = _candidate(architecture, place, change, multiple)
            if candidate is None or (ops := lower(candidate.architecture).ops) in seen:
                continue
            seen.add(ops)
            if _additions(candidate.architecture) == additions:
                yield candidate


def _candidate(architecture: Architecture, place: Place, change: Change, multiple: int) -> Candidate | None:
    if not isinstance(place.block, change.types):
        return None
    try:
        new = change.change(place.block, place, multiple)
        if new is None:
            return None
        changed = with_block(
            architecture,
            place,
            lambda block: change.change(block, place._replace(block=block), multiple) or block,
            whole_stage=change.whole_stage,
        )
        lower(changed)
    except ArchitectureError:
        return None
    everywhere = " in the stage" if change.whole_stage and place.part == "stages" else ""
    return Candidate(place, change, _difference(place.block, new) + everywhere, changed)


def _additions(architecture: Architecture) -> int:
    return sum(op.kind == "add" for op in lower(architecture).ops)


def _difference(old: Block, new: Block) -> str:
    """The fields that differ, or the two types."""
    if type(old) is not type(new):
        return f"{old.__struct_config__.tag} -> {new.__struct_config__.tag}"
    pairs = [(field, getattr(old, field), getattr(new, field)) for field in old.__struct_fields__]
    differing = {field: (a, b) for field, a, b in pairs if a != b}
    if {"expansion", "expanded_filters"} <= set(differing):  # one takes the other's place
        return f"expansion {_shown(differing['expansion'][0])} -> expanded_filters {differing['expanded_filters'][1]}"
    return ", ".join(f"{field} {_shown(a)} -> {_shown(b)}" for field, (a, b) in differing.items())


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else "yes" if isinstance(value, msgspec.Struct) else str(value).lower()
