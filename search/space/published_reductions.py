"""Reductions that arXiv 2109.12426 publishes for its devices (section 5), as named spaces: `ofa_mobilenet_v3/kirin9000-npu`.

Units are numbered from 1, as in the paper: the first stage with a decision on its blocks is unit 1. Widths and input sizes of the
spaces are those of the catalogue, where input sizes are a decision; the paper has 192, 208 and 224 pixels.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec

from mhmodels.formats.checked import Checked
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.decisions import SKIP, OneOf
from mhmodels.search.space.piece_table import BlockGroup
from mhmodels.search.space.search_space import SearchSpace
from mhmodels.search.space.template import ArchitectureSpace

_FILE = Path(__file__).with_name("published_reductions.json")
_Number: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]


class PublishedReduction(Checked, frozen=True, kw_only=True):
    """A published reduction of a space.

    Attributes:
        name: Name of the reduced space: that of the space, `/`, and the device or aim.
        space: Name of the whole space.
        note: The reduction in words.
        without: Removed blocks, each by fields and their values.
        most_layers: By unit, the largest number of layers.
        least_layers: By unit, the smallest number of layers.
        widths: By decision, the only width that is left.
    """

    name: str
    space: str
    note: str
    without: tuple[dict[str, int], ...] = ()
    most_layers: dict[str, _Number] = msgspec.field(default_factory=dict)
    least_layers: dict[str, _Number] = msgspec.field(default_factory=dict)
    widths: dict[str, _Number] = msgspec.field(default_factory=dict)


@functools.cache
def published_reductions() -> Mapping[str, PublishedReduction]:
    """All published reductions, by name.

    Example:
        >>> from mhmodels.search.space.published_reductions import published_reductions
        >>> published_reductions()["ofa_mobilenet_v3/kirin9000-npu"].note
        'Kirin 9000 NPU: no 7x7 kernels'
    """
    found = msgspec.json.decode(_FILE.read_bytes(), type=tuple[PublishedReduction, ...])
    return {one.name: one for one in found}


def published_space(name: str) -> SearchSpace:
    """Makes the reduced space of a published reduction.

    Args:
        name: One of the names of `published_reductions`.
    """
    rule = published_reductions()[name]
    space = get_space(rule.space)
    assert isinstance(space, ArchitectureSpace)
    left = {decision.name: list(range(len(decision.choices))) for decision in space.decisions}
    units = [group for group in space.template.groups if group.part == "stage" and any(len(s.choices) > 1 for s in group.slots)]
    for number, group in enumerate(units, 1):
        _reduce_unit(left, group, rule, str(number))
    for decision in space.decisions:
        if decision.name in rule.widths:
            left[decision.name] = [decision.choices.index(rule.widths[decision.name])]
    return space.restricted(list(left.values()), [name])


def _reduce_unit(left: dict[str, list[int]], group: BlockGroup, rule: PublishedReduction, unit: str) -> None:
    most, least = rule.most_layers.get(unit, len(group.slots)), rule.least_layers.get(unit, 0)
    for layer, slot in enumerate(group.slots, 1):
        if slot.name in left:
            left[slot.name] = [i for i in left[slot.name] if _stays(slot, i, rule, most < layer, layer <= least)]


def _stays(slot: OneOf[object], choice: int, rule: PublishedReduction, absent: bool, present: bool) -> bool:
    block = slot.choices[choice]
    if block is SKIP:
        return not present
    return not absent and not any(all(getattr(block, field) == value for field, value in one.items()) for one in rule.without)
