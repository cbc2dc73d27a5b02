"""An architecture with holes: search spaces whose samples are architectures.

A template is a chain of groups (stem convolutions, stages, head convolutions). A group has slots, each with a block or one
of several, and one width for all of them. Every slot's cost depends on its block, the width that it reads and the width
that it writes alone, so a space has a table with a row for each such combination (`rows`): MAdds, coupled features and
latency predictions of an encoding are sums over the rows that it touches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhmodels.architecture import Architecture, Block, Conv, Head, Preprocessing, Rounding
from mhmodels.block_types import with_filters
from mhmodels.blocks import Step, block_steps
from mhmodels.complexity import layer_complexity
from mhmodels.network import lower
from mhmodels.search.errors import SpaceError
from mhmodels.search.space.pieces import Piece
from mhmodels.search.space.search_space import SKIP, Encodings, OneOf, Space, describe

Part: TypeAlias = Literal["stem", "stage", "features", "hidden"]
Features: TypeAlias = Callable[[Piece], NDArray[np.float64]]
ARCHITECTURE_CACHE = 1 << 16


class Group(NamedTuple):
    """Blocks of one width.

    Attributes:
        part: where it goes; a stage is a stage of its own, other parts are flat lists.
        slots: in order; choices are blocks, whose `filters` do not count, or `SKIP`.
        width: channels that every block writes.
        endpoint: whether the last block is a feature map.
        markers: layers without weights that TuNAS' feature vector counts here (activations, endpoints, pooling).
    """

    part: Part
    slots: tuple[OneOf, ...]
    width: OneOf
    endpoint: bool = False
    markers: int = 0


class Template(NamedTuple):
    """The whole network; what is not a hole stands here."""

    groups: tuple[Group, ...]
    input_size: OneOf = OneOf("input_size", (224,), "resolution")
    rounding: Rounding = Rounding()
    classes: int = 1000
    preprocessing: Preprocessing = Preprocessing()


class _Slot(NamedTuple):
    """A slot's place in the table: row = start + ((resolution * entering + read) * widths + written) * choices + choice.

    For all but the first slot of a group the width read is the width written: `entering` is 1 then.
    """

    group: int
    place: int
    choices: tuple[Any, ...]
    column: int | None
    entering: tuple[int, ...]
    start: int
    size: int


class ArchitectureSpace(Space):
    """A search space that yields architectures."""

    tabular = False

    def __init__(self, name: str, template: Template, note: str = "") -> None:
        """Finds the decisions of a template: holes with more than one choice, a group's blocks before its width."""
        self.template = template
        holes = [hole for group in template.groups for hole in (*group.slots, group.width)]
        decisions = [hole for hole in (*holes, template.input_size) if len(hole.choices) > 1]
        self._column = {decision.name: column for column, decision in enumerate(decisions)}
        groups = []
        for group in template.groups:
            optional = [self._column[slot.name] for slot in group.slots[1:] if SKIP in slot.choices and len(slot.choices) > 1]
            groups += [optional] if optional else []
        super().__init__(name, decisions, groups, note)

    @property
    def input_sizes(self) -> tuple[int, ...]:
        """Sides of the input in pixels that a network may have."""
        return self.template.input_size.choices

    def build(self, encoding: ArrayLike) -> Architecture:
        """The architecture of an encoding (1-D), named by `label`.

        Raises:
            SpaceError: not a member.
        """
        return self._build(self.check(encoding)[0])

    def build_all(self, encodings: ArrayLike) -> list[Architecture]:
        """The architectures of encodings (n, decisions)."""
        return [self._build(row) for row in self.check(encodings)]

    def encode(self, architecture: Architecture) -> Encodings:
        """The encoding (1-D) of a member: of any architecture with the same operations, whatever its names or classes.

        Raises:
            SpaceError: not a member; the message says where it departs.
        """
        row = np.zeros(len(self.decisions), np.int16)
        side, sides = architecture.input_size[0], self.input_sizes
        if side not in sides or architecture.input_size != (side, side):
            raise SpaceError(f"space '{self.name}': input size is {architecture.input_size}, expected one of {sides}")
        self._set(row, self.template.input_size, sides.index(side))
        self._match(row, architecture)
        found = self.check(row)[0]  # canonical already: blocks fill a group from its beginning
        self._check_alike(architecture.at(classes=self.template.classes), self.build(found))
        return found

    def _check_alike(self, architecture: Architecture, member: Architecture) -> None:
        """Refuses what the blocks do not show: channels of the picture, head, anything that changes an operation."""
        if architecture.input_channels != member.input_channels:
            raise SpaceError(
                f"space '{self.name}': field 'input_channels' is {architecture.input_channels}, expected {member.input_channels}"
            )
        operations, expected = ([op._replace(name="", inputs=()) for op in lower(one).ops] for one in (architecture, member))
        different = next((pair for pair in zip(operations, expected, strict=False) if pair[0] != pair[1]), None)
        if different is not None or len(operations) != len(expected):
            found, wanted = different or (f"{len(operations)} operations", len(expected))
            raise SpaceError(f"space '{self.name}': found {found}, expected {wanted}, as its members have")

    def contains(self, member: Any) -> bool:
        """Whether an encoding (1-D) or an architecture is a member."""
        if not isinstance(member, Architecture):
            return super().contains(member)
        try:
            self.encode(member)
        except SpaceError:
            return False
        return True

    def rows(self, encodings: Encodings) -> NDArray[np.int32]:
        """(n, slots + 2): the table's rows that each network touches; the last two are pooling and classifier."""
        resolution = self._index(encodings, self.template.input_size)
        widths = [self._index(encodings, group.width) for group in self.template.groups]
        result = np.empty((len(encodings), len(self._slots)), np.int32)
        for place, slot in enumerate(self._slots):
            count = len(self.template.groups[slot.group].width.choices) if slot.place >= 0 else 1
            row = resolution * len(slot.entering) if len(slot.entering) > 1 else resolution
            if len(slot.entering) > 1:
                row = row + widths[slot.group - 1 if slot.place >= 0 else slot.group]
            if count > 1:
                row = row * count + widths[slot.group]
            if len(slot.choices) > 1:
                row = row * len(slot.choices)
                row = row + (encodings[:, slot.column] if slot.column is not None else 0)
            result[:, place] = slot.start + row
        return result

    @functools.cached_property
    def row_count(self) -> int:
        """Rows of the table."""
        return self._slots[-1].start + self._slots[-1].size

    def pieces(self) -> Iterator[Piece | None]:
        """For every row of the table what stands at that place; None where the block is skipped."""
        for slot in self._slots:
            for side in self.input_sizes:
                # Pooling reads its group's output, and the classifier what has been pooled.
                size = 1 if slot.place == -1 else self._sides[side][slot.group][max(slot.place, -1)]
                for channels in slot.entering:
                    if slot.place < 0:
                        yield _end(slot.place, channels, size, self.template.classes)
                        continue
                    for width in self.template.groups[slot.group].width.choices:
                        for choice in slot.choices:
                            read = channels if slot.place == 0 else width
                            yield _piece(_at_width(choice, width, False), read, size, self.template.rounding)

    def table(self, features: Features, length: int) -> NDArray[np.float64]:
        """(rows, length): what a function makes of every row's piece, computed once for a space and a function."""
        known = self._tables.get(features)
        if known is None:
            known = np.zeros((self.row_count, length))
            seen: dict[Piece, NDArray[np.float64]] = {}
            for row, piece in enumerate(self.pieces()):
                if piece is not None:
                    if piece not in seen:
                        seen[piece] = features(piece)
                    known[row] = seen[piece]
            self._tables[features] = known
        return known

    def madds(self, encodings: ArrayLike) -> NDArray[np.float64]:
        """Multiply-accumulates of each network at its input size, as `mhmodels.complexity` counts them."""
        table = self.table(_madds, 1)[:, 0]
        return gather(table, self.rows(self.check(encodings)))

    def coupled_features(self) -> tuple[int, int]:
        """Length of TuNAS' coupled feature vector, and how many of its elements can ever be 1.

        For every layer of a group that has something to decide: widths written x widths read x operations. Behind a
        group's first layer only equal widths ever occur together.
        """
        declared = effective = 0
        read = 1
        for group in self.template.groups:
            widths = len(group.width.choices)
            if widths > 1 or any(len(slot.choices) > 1 for slot in group.slots):
                for place, slot in enumerate(group.slots):
                    pairs, possible = (widths * read, widths * read) if place == 0 else (widths * widths, widths)
                    if pairs * len(slot.choices) > 1:
                        declared += pairs * len(slot.choices)
                        effective += possible * len(slot.choices)
                if widths > 1:
                    declared += group.markers * widths * widths
                    effective += group.markers * widths
            read = widths
        return declared, effective

    @functools.cached_property
    def _slots(self) -> tuple[_Slot, ...]:
        slots: list[_Slot] = []
        start, entering, last = 0, (3,), 0
        resolutions = len(self.input_sizes)

        def add(
            group: int, place: int, choices: tuple[Any, ...], column: int | None, reads: tuple[int, ...], widths: int
        ) -> None:
            """A slot of the table, behind the last one."""
            nonlocal start
            size = resolutions * len(reads) * widths * len(choices)
            slots.append(_Slot(group, place, choices, column, reads, start, size))
            start += size

        for number, group in enumerate(self.template.groups):
            widths = group.width.choices
            for place, slot in enumerate(group.slots):
                reads = entering if place == 0 else (0,)
                add(number, place, slot.choices, self._column.get(slot.name), reads, len(widths))
            entering = widths
            if group.part != "hidden":
                last = number
        # Pooling reads the last map, the classifier what comes last of all.
        add(last, -2, (None,), None, self.template.groups[last].width.choices, 1)
        add(len(self.template.groups) - 1, -1, (None,), None, entering, 1)
        return tuple(slots)

    @functools.cached_property
    def _tables(self) -> dict[Features, NDArray[np.float64]]:
        return {}

    @functools.cached_property
    def _sides(self) -> dict[int, list[list[int]]]:
        """By input side and group, the side of the map that each slot reads, and last that of the group's output."""
        result: dict[int, list[list[int]]] = {}
        for side in self.input_sizes:
            at, result[side] = side, []
            for group in self.template.groups:
                sides = [1 if group.part == "hidden" else at]
                for slot in group.slots:
                    stride = next((choice.stride for choice in slot.choices if choice is not SKIP), 1)
                    sides.append(-(-sides[-1] // stride))
                result[side].append(sides)
                at = sides[-1]
        return result

    def _index(self, encodings: Encodings, hole: OneOf) -> NDArray[np.int32]:
        column = self._column.get(hole.name)
        return np.zeros(len(encodings), np.int32) if column is None else encodings[:, column].astype(np.int32)

    def _set(self, row: Encodings, hole: OneOf, choice: int) -> None:
        column = self._column.get(hole.name)
        if column is not None:
            row[column] = choice

    def _choice(self, row: Sequence[int], hole: OneOf) -> Any:
        column = self._column.get(hole.name)
        return hole.choices[0 if column is None else row[column]]

    def _build(self, row: Encodings) -> Architecture:
        choices = row.tolist()
        parts: dict[str, list[Any]] = {"stem": [], "stage": [], "features": [], "hidden": []}
        for group in self.template.groups:
            width = self._choice(choices, group.width)
            chosen = [self._choice(choices, slot) for slot in group.slots]
            kept = [choice for choice in chosen if choice is not SKIP]
            blocks = [_at_width(block, width, group.endpoint and i == len(kept)) for i, block in enumerate(kept, 1)]
            if group.part == "stage":
                parts["stage"].append(tuple(blocks))
            else:
                parts[group.part] += blocks
        side = self._choice(choices, self.template.input_size)
        return Architecture(
            name=self.label(row),
            stem=tuple(parts["stem"]),
            stages=tuple(parts["stage"]),
            head=Head(features=tuple(parts["features"]), hidden=tuple(parts["hidden"])),
            rounding=self.template.rounding,
            input_size=(side, side),
            classes=self.template.classes,
            preprocessing=self.template.preprocessing,
        )

    def _match(self, row: Encodings, architecture: Architecture) -> None:
        lists: dict[str, list[Block]] = {
            "stem": list(architecture.stem),
            "features": list(architecture.head.features),
            "hidden": list(architecture.head.hidden),
        }
        stages = iter(architecture.stages)
        channels = architecture.input_channels
        for number, group in enumerate(self.template.groups):
            blocks = list(next(stages, ())) if group.part == "stage" else lists[group.part]
            where = f"{group.part} '{group.width.name.rpartition('_')[0]}'"
            channels = self._match_group(row, number, group, blocks, channels, architecture, where)
            if group.part == "stage" and blocks:
                raise SpaceError(f"space '{self.name}': {where} has {len(blocks)} more blocks than fit ({describe(blocks[0])})")
        left = [*stages, *(block for rest in lists.values() for block in rest)]
        if left:
            raise SpaceError(f"space '{self.name}': {len(left)} stages or blocks too many, the first is {left[0]}")

    def _match_group(
        self,
        row: Encodings,
        number: int,
        group: Group,
        blocks: list[Block],
        channels: int,
        architecture: Architecture,
        where: str,
    ) -> int:
        """Takes a group's blocks off the list and sets its decisions; gives the channels that it writes."""
        width: int | None = None
        for slot in group.slots:
            steps = block_steps(blocks[0], channels, architecture.rounding, architecture.width_multiplier) if blocks else ()
            found = None
            if steps and (width is None or steps[-1].channels == width) and steps[-1].channels in group.width.choices:
                found = _lookup(slot, channels, steps[-1].channels, self.template.rounding).get(steps)
            if found is not None:
                width = channels = steps[-1].channels
                blocks.pop(0)
                self._set(row, slot, found)
            elif SKIP in slot.choices:
                self._set(row, slot, slot.choices.index(SKIP))
            else:
                here = f"{describe(blocks[0])} reading {channels} channels" if blocks else "nothing"
                widths = ", ".join(map(str, group.width.choices))
                raise SpaceError(
                    f"space '{self.name}': {where}: found {here}, expected one of {len(slot.choices)} choices of "
                    f"'{slot.name}' at width {width or widths}"
                )
        width = width if width is not None else group.width.choices[0]
        self._set(row, group.width, group.width.choices.index(width))
        return width


def gather(values: NDArray[np.float64], rows: NDArray[np.int32]) -> NDArray[np.float64]:
    """Sums a table's values over the rows that each network touches: (rows,) and (n, slots) to (n,)."""
    total = np.zeros(len(rows))
    for column in rows.T:
        total += values[column]
    return total


@functools.lru_cache(maxsize=ARCHITECTURE_CACHE)
def _at_width(choice: Block | None, width: int, endpoint: bool) -> Any:
    return SKIP if choice is SKIP else msgspec.structs.replace(with_filters(choice, width), endpoint=endpoint)


@functools.lru_cache(maxsize=ARCHITECTURE_CACHE)
def _lookup(slot: OneOf, channels: int, width: int, rounding: Rounding) -> dict[tuple[Step, ...], int]:
    """From what a block computes to the choice that computes it; of equal choices the first."""
    found: dict[tuple[Step, ...], int] = {}
    for index, choice in enumerate(slot.choices):
        if choice is not SKIP:
            found.setdefault(block_steps(_at_width(choice, width, False), channels, rounding, 1.0), index)
    return found


@functools.lru_cache(maxsize=ARCHITECTURE_CACHE)  # the blocks of a stage after its first are the same pieces
def _piece(block: Block | None, channels: int, side: int, rounding: Rounding) -> Piece | None:
    if block is SKIP:
        return None
    alone = Architecture(name="block", stem=(block,), stages=(), rounding=rounding, input_channels=channels)
    return Piece(lower(alone, size=(side, side), top=False).ops, (side, side))


def _end(place: int, channels: int, side: int, classes: int) -> Piece:
    """Pooling (-2), or classifier and softmax (-1), behind a map of so many channels."""
    alone = Architecture(name="end", stem=(Conv(filters=channels),), stages=(), classes=classes)
    ops = lower(alone, size=(side, side)).ops[1:]
    return Piece(ops[:1] if place == -2 else ops[1:], (side, side))


def _madds(piece: Piece) -> NDArray[np.float64]:
    return np.array([sum(layer_complexity(op).madds for op in piece.ops)], np.float64)
