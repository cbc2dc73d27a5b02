"""Architecture spaces: search spaces whose members are architectures, built from a template.

A template is a chain of groups (stem convolutions, stages, head convolutions). A group has slots, each with one block or a
decision among several, and one width for all its blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhmodels.architecture import Architecture, Head
from mhmodels.network import lower
from mhmodels.search.arrays import Floats
from mhmodels.search.errors import SpaceError
from mhmodels.search.space.decisions import SKIP, OneOf
from mhmodels.search.space.matching import Matcher
from mhmodels.search.space.piece_table import Features, PieceTable, Template, at_width, gather, madds_of
from mhmodels.search.space.pieces import Piece
from mhmodels.search.space.search_space import Encodings, SearchSpace

ChoiceT = TypeVar("ChoiceT")


class ArchitectureSpace(SearchSpace):
    """A search space whose members are architectures.

    Attributes:
        template: The architecture with its decisions.

    Example:
        >>> from mhmodels.registry import get_architecture
        >>> from mhmodels.search import get_space, sample
        >>> space = get_space("multi_hardware")
        >>> encoding = space.encode(get_architecture("multi_max"))
        >>> space.build(encoding).input_size
        (224, 224)
        >>> space.madds(sample(space, 3).encodings).shape
        (3,)
    """

    tabular = False

    def __init__(self, name: str, template: Template, note: str = "") -> None:
        """Makes the space of a template. Its decisions are those with several choices: blocks of a group before its width.

        Args:
            name: Name of the space.
            template: The architecture with its decisions.
            note: Which parts of the definition are an interpretation of the source.

        Raises:
            SpaceError: Two decisions have the same name, or a decision has no choices.
        """
        self.template = template
        holes = [hole for group in template.groups for hole in (*group.slots, group.width)]
        decisions = [hole for hole in (*holes, template.input_size) if len(hole.choices) > 1]
        self._column = {decision.name: column for column, decision in enumerate(decisions)}
        self._pieces = PieceTable(template, self._column)
        groups = []
        for group in template.groups:
            optional = [self._column[slot.name] for slot in group.slots[1:] if SKIP in slot.choices and len(slot.choices) > 1]
            groups += [optional] if optional else []
        super().__init__(name, decisions, groups, note)

    @property
    def input_sizes(self) -> tuple[int, ...]:
        """Sides of the input in pixels that members may have."""
        return self.template.input_size.choices

    def build(self, encoding: ArrayLike) -> Architecture:
        """Builds the architecture of an encoding (decisions,). Its name is the encoding's `label`.

        Raises:
            SpaceError: The encoding is not a member.
        """
        return self._build(self.check(encoding)[0])

    def build_all(self, encodings: ArrayLike) -> list[Architecture]:
        """Builds the architectures of encodings (n, decisions).

        Raises:
            SpaceError: An encoding is not a member.
        """
        return [self._build(row) for row in self.check(encodings)]

    def encode(self, architecture: Architecture) -> Encodings:
        """Finds the encoding (decisions,) of an architecture, whatever its name and number of classes.

        Raises:
            SpaceError: The architecture is not a member; the message says where it differs.
        """
        side, sides = architecture.input_size[0], self.input_sizes
        if side not in sides or architecture.input_size != (side, side):
            raise SpaceError(f"space '{self.name}': input size is {architecture.input_size}, expected one of {sides}")
        choices = Matcher(self.name, self.template, architecture).choices()
        choices[self.template.input_size.name] = sides.index(side)
        row = np.array([choices[decision.name] for decision in self.decisions], np.int16)
        found: Encodings = self.check(row)[0]  # canonical already: blocks fill a group from its beginning
        self._check_equal(architecture.at(classes=self.template.classes), self.build(found))
        return found

    def contains(self, member: object) -> bool:
        """Whether an encoding (decisions,) or an architecture is a member."""
        if not isinstance(member, Architecture):
            return super().contains(member)
        try:
            self.encode(member)
        except SpaceError:
            return False
        return True

    def rows(self, encodings: Encodings) -> NDArray[np.int32]:
        """(n, slots + 2), the rows of the piece table that each network uses; the last two are pooling and classifier."""
        return self._pieces.rows(encodings)

    @property
    def row_count(self) -> int:
        """Number of rows of the piece table."""
        return self._pieces.row_count

    def pieces(self) -> Iterator[Piece | None]:
        """The piece of every row of the table; None where the block is skipped."""
        return self._pieces.pieces()

    def table(self, features: Features, length: int) -> Floats:
        """Computes values of every row's piece, once for a space and a function.

        Args:
            features: Computes (length,) values of a piece.
            length: Number of values.

        Returns:
            (rows, length), 0 where the block is skipped.
        """
        return self._pieces.values(features, length)

    def madds(self, encodings: ArrayLike) -> Floats:
        """(n,), multiply-accumulates of each network at its input size, as `mhmodels.complexity` counts them.

        Raises:
            SpaceError: An encoding is not a member.
        """
        table = self.table(madds_of, 1)[:, 0]
        return gather(table, self.rows(self.check(encodings)))

    def coupled_features(self) -> tuple[int, int]:
        """Length of TuNAS' coupled feature vector, and the number of its elements that can be 1.

        Every layer of a group with a decision contributes widths written × widths read × operations. After a group's first
        layer, only equal widths occur together.
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

    def _check_equal(self, architecture: Architecture, member: Architecture) -> None:
        """Refuses differences that blocks do not show: input channels, head, or any operation."""
        if architecture.input_channels != member.input_channels:
            raise SpaceError(
                f"space '{self.name}': field 'input_channels' is {architecture.input_channels}, expected {member.input_channels}"
            )
        if architecture.padding != member.padding:
            raise SpaceError(f"space '{self.name}': field 'padding' is '{architecture.padding}', expected '{member.padding}'")
        operations, expected = ([op._replace(name="", inputs=()) for op in lower(one).ops] for one in (architecture, member))
        different = next((pair for pair in zip(operations, expected, strict=False) if pair[0] != pair[1]), None)
        if different is not None or len(operations) != len(expected):
            found, wanted = different or (f"{len(operations)} operations", len(expected))
            raise SpaceError(f"space '{self.name}': found {found}, expected {wanted}, as its members have")

    def _choice(self, row: Sequence[int], decision: OneOf[ChoiceT]) -> ChoiceT:
        column = self._column.get(decision.name)
        return decision.choices[0 if column is None else row[column]]

    def _build(self, row: Encodings) -> Architecture:
        choices = row.tolist()
        parts: dict[str, list[Any]] = {"stem": [], "stage": [], "features": [], "hidden": []}
        for group in self.template.groups:
            width = self._choice(choices, group.width)
            chosen = [self._choice(choices, slot) for slot in group.slots]
            kept = [choice for choice in chosen if choice is not SKIP]
            blocks = [at_width(block, width, group.endpoint and i == len(kept)) for i, block in enumerate(kept, 1)]
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
            padding=self.template.padding,
        )
