"""Finds the choices of a template that make a given architecture: the inverse of building a member."""

from __future__ import annotations

import functools

from mhmodels.architecture import Architecture, Block, Rounding
from mhmodels.blocks import BlockStep, block_steps
from mhmodels.search.errors import SpaceError
from mhmodels.search.space.decisions import SKIP, OneOf, describe
from mhmodels.search.space.piece_table import ARCHITECTURE_CACHE, BlockGroup, Template, at_width


class Matcher:
    """Matches the blocks of one architecture with a template, group by group."""

    def __init__(self, name: str, template: Template, architecture: Architecture) -> None:
        """Prepares a match.

        Args:
            name: Name of the space, for messages.
            template: Template of the space.
            architecture: Architecture to match.
        """
        self._name, self._template, self._architecture = name, template, architecture
        self._choices: dict[str, int] = {}

    def choices(self) -> dict[str, int]:
        """The choice of every decision, by its name.

        Raises:
            SpaceError: The blocks differ from what the template allows; the message says where.
        """
        architecture = self._architecture
        blocks_of: dict[str, list[Block]] = {
            "stem": list(architecture.stem),
            "features": list(architecture.head.features),
            "hidden": list(architecture.head.hidden),
        }
        stages = iter(architecture.stages)
        channels = architecture.input_channels
        for group in self._template.groups:
            blocks = list(next(stages, ())) if group.part == "stage" else blocks_of[group.part]
            where = f"{group.part} '{group.width.name.rpartition('_')[0]}'"
            channels = self._match_group(group, blocks, channels, where)
            if group.part == "stage" and blocks:
                raise SpaceError(f"space '{self._name}': {where} has {len(blocks)} more blocks than fit ({describe(blocks[0])})")
        left = [*stages, *(block for rest in blocks_of.values() for block in rest)]
        if left:
            raise SpaceError(f"space '{self._name}': {len(left)} stages or blocks too many, the first is {left[0]}")
        return self._choices

    def _match_group(self, group: BlockGroup, blocks: list[Block], channels: int, where: str) -> int:
        """Removes a group's blocks from the list and records its choices; returns the channels that the group writes."""
        architecture = self._architecture
        width: int | None = None
        for slot in group.slots:
            steps = block_steps(blocks[0], channels, architecture.rounding, architecture.width_multiplier) if blocks else ()
            found = None
            if steps and (width is None or steps[-1].channels == width) and steps[-1].channels in group.width.choices:
                found = _lookup(slot, channels, steps[-1].channels, self._template.rounding).get(steps)
            if found is not None:
                width = channels = steps[-1].channels
                blocks.pop(0)
                self._choices[slot.name] = found
            elif SKIP in slot.choices:
                self._choices[slot.name] = slot.choices.index(SKIP)
            else:
                here = f"{describe(blocks[0])} reading {channels} channels" if blocks else "nothing"
                widths = ", ".join(map(str, group.width.choices))
                raise SpaceError(
                    f"space '{self._name}': {where}: found {here}, expected one of {len(slot.choices)} choices of "
                    f"'{slot.name}' at width {width or widths}"
                )
        width = width if width is not None else group.width.choices[0]
        self._choices[group.width.name] = group.width.choices.index(width)
        return width


@functools.lru_cache(maxsize=ARCHITECTURE_CACHE)
def _lookup(slot: OneOf[Block | None], channels: int, width: int, rounding: Rounding) -> dict[tuple[BlockStep, ...], int]:
    """The choice of a slot by what it computes; the first of equal choices."""
    found: dict[tuple[BlockStep, ...], int] = {}
    for index, choice in enumerate(slot.choices):
        if choice is not SKIP:
            found.setdefault(block_steps(at_width(choice, width, False), channels, rounding, 1.0), index)
    return found
