"""Restricts a space to what several hardware run: the intersection of their limits (equation 1 of arXiv 2008.08178)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

from mhmodels.architecture import Architecture, Block, Rounding
from mhmodels.block_types import with_filters
from mhmodels.blocks import block_steps
from mhmodels.hardware.capabilities import Capabilities, excesses
from mhmodels.network import lower
from mhmodels.search.errors import SpaceError
from mhmodels.search.space.decisions import SKIP, OneOf, describe
from mhmodels.search.space.template import ArchitectureSpace


class Removal(NamedTuple):
    """Choices that one hardware excludes for one reason.

    Attributes:
        hardware: Id of the hardware's limits.
        what: The reason, for example `kernel 7, above 5`.
        decisions: Names of the decisions that lose choices.
        choices: Number of choices that they lose together.
    """

    hardware: str
    what: str
    decisions: tuple[str, ...]
    choices: int

    def __str__(self) -> str:
        first = ", ".join(self.decisions[:3])
        more = f" and {len(self.decisions) - 3} more" if len(self.decisions) > 3 else ""
        return f"{self.hardware}: {self.what}: {self.choices} choices in {first}{more}"


class Restricted(NamedTuple):
    """A restricted space.

    Attributes:
        space: The space that is left.
        removals: What was removed, and because of which hardware.
    """

    space: ArchitectureSpace
    removals: tuple[Removal, ...]


class _Loss(NamedTuple):
    hole: str
    choice: int
    hardware: str
    what: str


def restrict(space: ArchitectureSpace, hardware: Sequence[Capabilities]) -> Restricted:
    """Removes the choices that any of several hardware does not run, or does not run well.

    The result keeps the schema, so that encodings and cost models of one space apply to the other.

    Args:
        space: The space.
        hardware: Limits of each hardware.

    Raises:
        SpaceError: A fixed part of the template, or every choice of a decision, is beyond a limit.

    Example:
        >>> from mhmodels.hardware.capabilities import Capabilities
        >>> from mhmodels.search import get_space, restrict
        >>> limits = Capabilities(id="my-npu", description="An NPU.", source="its manual", max_kernel=3)
        >>> space = get_space("multi_hardware")
        >>> restricted = restrict(space, [limits])
        >>> restricted.space.sizes.distinct < space.sizes.distinct
        True
        >>> print(restricted.removals[0])
        my-npu: kernel 5, above 3: 240 choices in stage2_block1, stage2_block2, stage2_block3 and 17 more
    """
    losses = list(_width_losses(space, hardware))
    lost = {(loss.hole, loss.choice) for loss in losses}
    losses += _block_losses(space, hardware, lost)
    lost = {(loss.hole, loss.choice) for loss in losses}
    allowed = []
    for hole in _holes(space):
        left = [choice for choice in _allowed(space, hole) if (hole.name, choice) not in lost]
        if not left:
            reasons = dict.fromkeys(f"{loss.hardware} rules out {loss.what}" for loss in losses if loss.hole == hole.name)
            choices = ", ".join(describe(hole.choices[i]) for i in _allowed(space, hole)[:3])
            raise SpaceError(
                f"space '{space.name}': nothing is left of '{hole.name}' ({choices}): {'; '.join(reasons)}; "
                "start from a space with more choices there, for example multi_hardware_unrestricted"
            )
        if len(hole.choices) > 1:
            allowed.append(left)
    removals = _account(losses)
    return Restricted(space.restricted(allowed, [str(removal) for removal in removals]), removals)


def _holes(space: ArchitectureSpace) -> Iterator[OneOf[object]]:
    """Decisions in their order, fixed ones included."""
    for group in space.template.groups:
        yield from group.slots
        yield group.width
    yield space.template.input_size


def _allowed(space: ArchitectureSpace, hole: OneOf[object]) -> list[int]:
    for decision, allowed in zip(space.decisions, space.allowed, strict=True):
        if decision.name == hole.name:
            return [int(choice) for choice in allowed]
    return list(range(len(hole.choices)))


def _width_losses(space: ArchitectureSpace, hardware: Iterable[Capabilities]) -> Iterator[_Loss]:
    for limits in hardware:
        multiple = limits.channel_multiple
        for group in space.template.groups:
            for choice in _allowed(space, group.width):
                if group.width.choices[choice] % multiple:
                    yield _Loss(group.width.name, choice, limits.id, f"widths that are no multiple of {multiple}")


def _block_losses(space: ArchitectureSpace, hardware: Sequence[Capabilities], lost: set[tuple[str, int]]) -> Iterator[_Loss]:
    entering: tuple[int, ...] = (3,)
    for group in space.template.groups:
        widths = tuple(group.width.choices[i] for i in _allowed(space, group.width) if (group.width.name, i) not in lost)
        if not widths:
            return  # the caller raises an error
        for place, slot in enumerate(group.slots):
            reads = entering if place == 0 else widths
            for choice in _allowed(space, slot):
                block = slot.choices[choice]
                for limits in hardware if block is not SKIP else ():
                    for what in _beyond(block, reads, widths, place == 0, space.template.rounding, limits):
                        yield _Loss(slot.name, choice, limits.id, what)
        entering = widths


@functools.lru_cache(maxsize=1 << 14)
def _beyond(
    block: Block, reads: tuple[int, ...], widths: tuple[int, ...], first: bool, rounding: Rounding, limits: Capabilities
) -> tuple[str, ...]:
    """Reasons against a block at any of the widths that are left."""
    shape_free = Capabilities(id=limits.id, description="", source="", max_kernel=limits.max_kernel, without=limits.without)
    alone = Architecture(
        name="block", stem=(with_filters(block, widths[0]),), stages=(), rounding=rounding, input_channels=max(reads[0], 1)
    )
    found = dict.fromkeys(excess.what for excess in excesses(lower(alone, size=(8, 8), top=False).ops, shape_free))
    if limits.channel_multiple > 1:
        pairs = list(product(reads, widths) if first else zip(widths, widths, strict=True))
        for read, width in pairs:
            inner = [step for step in block_steps(with_filters(block, width), read, rounding, 1.0) if step.batch_norm]
            if any(step.channels % limits.channel_multiple for step in inner if step.kind == "conv"):
                found[f"inner widths that are no multiple of {limits.channel_multiple}"] = None
                break
    return tuple(found)


def _account(losses: Sequence[_Loss]) -> tuple[Removal, ...]:
    by_reason: dict[tuple[str, str], list[_Loss]] = {}
    for loss in losses:
        by_reason.setdefault((loss.hardware, loss.what), []).append(loss)
    return tuple(
        Removal(hardware, what, tuple(dict.fromkeys(loss.hole for loss in found)), len(found))
        for (hardware, what), found in by_reason.items()
    )
