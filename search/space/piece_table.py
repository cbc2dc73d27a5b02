"""The table of a template's pieces: what can stand at each position, so that values of a network are sums over table rows.

The cost of a slot depends only on its block, the width that it reads and the width that it writes. The table has a row for each
such combination, and two slots at the end for pooling and the classifier.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from mhmodels.architecture import Architecture, Block, Conv, Padding, Preprocessing, Rounding
from mhmodels.block_types import with_filters
from mhmodels.complexity import layer_complexity
from mhmodels.network import lower
from mhmodels.search.arrays import Floats
from mhmodels.search.space.decisions import SKIP, OneOf
from mhmodels.search.space.pieces import Piece
from mhmodels.search.space.search_space import Encodings

TemplatePart: TypeAlias = Literal["stem", "stage", "features", "hidden"]
Features: TypeAlias = Callable[[Piece], Floats]
"""Computes values (length,) of a piece."""
ARCHITECTURE_CACHE = 1 << 16
"""Entries of the caches of blocks and pieces."""


class BlockGroup(NamedTuple):
    """Consecutive blocks with the same width.

    Attributes:
        part: Part of the architecture. Each `stage` group is a stage; other groups are concatenated.
        slots: Decisions in order. Their choices are blocks, whose `filters` are ignored, or `SKIP`.
        width: Channels that every block writes.
        endpoint: Whether the last block is an endpoint (feature map).
        markers: Number of layers without weights that TuNAS' feature vector counts here (activations, endpoints, pooling).

    Example:
        >>> from mhmodels.families.rows import conv
        >>> from mhmodels.search import BlockGroup, OneOf
        >>> stem = BlockGroup("stem", (OneOf("stem_block", (conv(3, 2, 1), conv(5, 2, 1))),), OneOf("stem_width", (16,), "width"))
        >>> len(stem.slots[0].choices)
        2
    """

    part: TemplatePart
    slots: tuple[OneOf[Block | None], ...]
    width: OneOf[int]
    endpoint: bool = False
    markers: int = 0


class Template(NamedTuple):
    """An architecture with decisions in it.

    Attributes:
        groups: Blocks from stem to head.
        input_size: Side of the input in pixels.
        rounding: Rule for inner widths.
        classes: Number of classes.
        preprocessing: Preprocessing of pictures.
        padding: Padding of windows with a stride, as in `Architecture`.

    Example:
        >>> from mhmodels.families.rows import conv, ib
        >>> from mhmodels.search import SKIP, ArchitectureSpace, BlockGroup, OneOf, Template
        >>> blocks = (ib(3, 1, 1, 3), ib(5, 1, 1, 6))
        >>> stem = BlockGroup("stem", (OneOf("stem_block", (conv(3, 2, 1),)),), OneOf("stem_width", (16,), "width"))
        >>> slots = (OneOf("block1", blocks), OneOf("block2", (*blocks, SKIP)))
        >>> stage = BlockGroup("stage", slots, OneOf("stage_width", (16, 32), "width"))
        >>> head = BlockGroup("features", (OneOf("head_block", (conv(1, 1, 1),)),), OneOf("head_width", (64,), "width"))
        >>> space = ArchitectureSpace("mine", Template((stem, stage, head), classes=10))
        >>> space.sizes.distinct
        12
    """

    groups: tuple[BlockGroup, ...]
    input_size: OneOf[int] = OneOf("input_size", (224,), "resolution")
    rounding: Rounding = Rounding()
    classes: int = 1000
    preprocessing: Preprocessing = Preprocessing()
    padding: Padding = "same"


class _Slot(NamedTuple):
    """Layout of a slot's rows: row = start + ((resolution * entering + read) * widths + written) * choices + choice.

    All but the first slot of a group read the width that they write, so that `entering` has one element.
    """

    group: int
    place: int
    choices: tuple[Block | None, ...]
    column: int | None
    entering: tuple[int, ...]
    start: int
    size: int


_POOLING, _CLASSIFIER = -2, -1
"""Places of the slots at the end."""


class PieceTable:
    """Rows of a template's pieces."""

    def __init__(self, template: Template, columns: Mapping[str, int]) -> None:
        """Prepares the table; nothing is computed before it is needed.

        Args:
            template: The template.
            columns: Column of the encoding by decision name; decisions with a single choice have none.
        """
        self._template, self._columns = template, columns
        self._values: dict[Features, Floats] = {}

    def rows(self, encodings: Encodings) -> NDArray[np.int32]:
        """(n, slots + 2), the rows that each network uses; the last two are pooling and classifier."""
        resolution = self._choices(encodings, self._template.input_size)
        widths = [self._choices(encodings, group.width) for group in self._template.groups]
        result = np.empty((len(encodings), len(self._slots)), np.int32)
        for place, slot in enumerate(self._slots):
            count = len(self._template.groups[slot.group].width.choices) if slot.place >= 0 else 1
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

    @property
    def row_count(self) -> int:
        """Number of rows."""
        return self._slots[-1].start + self._slots[-1].size

    def pieces(self) -> Iterator[Piece | None]:
        """The piece of every row; None where the block is skipped."""
        for slot in self._slots:
            for side in self._template.input_size.choices:
                # Pooling reads the output of its group, and the classifier reads what has been pooled.
                size = 1 if slot.place == _CLASSIFIER else self._sides[side][slot.group][max(slot.place, -1)]
                for channels in slot.entering:
                    if slot.place < 0:
                        yield _end(slot.place, channels, size, self._template.classes)
                        continue
                    for width in self._template.groups[slot.group].width.choices:
                        for choice in slot.choices:
                            read = channels if slot.place == 0 else width
                            block = at_width(choice, width, False)
                            yield _piece(block, read, size, self._template.rounding, self._template.padding)

    def values(self, features: Features, length: int) -> Floats:
        """(rows, length), the values of every row's piece, computed once for each function; 0 where the block is skipped."""
        known = self._values.get(features)
        if known is None:
            known = np.zeros((self.row_count, length))
            seen: dict[Piece, Floats] = {}
            for row, piece in enumerate(self.pieces()):
                if piece is not None:
                    if piece not in seen:
                        seen[piece] = features(piece)
                    known[row] = seen[piece]
            self._values[features] = known
        return known

    @functools.cached_property
    def _slots(self) -> tuple[_Slot, ...]:
        slots: list[_Slot] = []
        entering: tuple[int, ...] = (3,)
        start = last = 0
        resolutions = len(self._template.input_size.choices)

        def add(
            group: int, place: int, choices: tuple[Block | None, ...], column: int | None, reads: tuple[int, ...], widths: int
        ) -> None:
            """Appends a slot."""
            nonlocal start
            size = resolutions * len(reads) * widths * len(choices)
            slots.append(_Slot(group, place, choices, column, reads, start, size))
            start += size

        for number, group in enumerate(self._template.groups):
            widths = group.width.choices
            for place, slot in enumerate(group.slots):
                reads = entering if place == 0 else (0,)
                add(number, place, slot.choices, self._columns.get(slot.name), reads, len(widths))
            entering = widths
            if group.part != "hidden":
                last = number
        # Pooling reads the last map before the hidden layers, the classifier reads the last layer.
        add(last, _POOLING, (None,), None, self._template.groups[last].width.choices, 1)
        add(len(self._template.groups) - 1, _CLASSIFIER, (None,), None, entering, 1)
        return tuple(slots)

    @functools.cached_property
    def _sides(self) -> dict[int, list[list[int]]]:
        """By input side and group: the side of the map that each slot reads, and last that of the group's output."""
        result: dict[int, list[list[int]]] = {}
        for side in self._template.input_size.choices:
            at, result[side] = side, []
            for group in self._template.groups:
                sides = [1 if group.part == "hidden" else at]
                for slot in group.slots:
                    stride = next((choice.stride for choice in slot.choices if choice is not SKIP), 1)
                    sides.append(-(-sides[-1] // stride))
                result[side].append(sides)
                at = sides[-1]
        return result

    def _choices(self, encodings: Encodings, decision: OneOf[int]) -> NDArray[np.int32]:
        column = self._columns.get(decision.name)
        return np.zeros(len(encodings), np.int32) if column is None else encodings[:, column].astype(np.int32)


def gather(values: Floats, rows: NDArray[np.int32]) -> Floats:
    """Sums the values of a table over the rows that each network uses.

    Args:
        values: (rows,), or (rows, k) for k values of each row.
        rows: (n, slots), as `PieceTable.rows` returns them.

    Returns:
        (n,), or (n, k).
    """
    total = np.zeros((len(rows), *values.shape[1:]))
    for column in rows.T:
        total += values[column]
    return total


def madds_of(piece: Piece) -> Floats:
    """(1,), multiply-accumulates of a piece."""
    return np.array([sum(layer_complexity(op).madds for op in piece.ops)], np.float64)


@functools.lru_cache(maxsize=ARCHITECTURE_CACHE)
def at_width(choice: Block | None, width: int, endpoint: bool) -> Block | None:
    """A choice of a slot as a block that writes `width` channels; `SKIP` stays."""
    return SKIP if choice is SKIP else msgspec.structs.replace(with_filters(choice, width), endpoint=endpoint)


@functools.lru_cache(maxsize=ARCHITECTURE_CACHE)  # all but the first block of a stage are the same pieces
def _piece(block: Block | None, channels: int, side: int, rounding: Rounding, padding: Padding) -> Piece | None:
    if block is SKIP:
        return None
    alone = Architecture(name="block", stem=(block,), stages=(), rounding=rounding, input_channels=channels, padding=padding)
    return Piece(lower(alone, size=(side, side), top=False).ops, (side, side))


def _end(place: int, channels: int, side: int, classes: int) -> Piece:
    """Pooling, or classifier and softmax, of a map with `channels` channels."""
    alone = Architecture(name="end", stem=(Conv(filters=channels),), stages=(), classes=classes)
    ops = lower(alone, size=(side, side)).ops[1:]
    return Piece(ops[:1] if place == _POOLING else ops[1:], (side, side))
