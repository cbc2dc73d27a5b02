"""Tabular spaces: search spaces whose members are looked up in a table instead of built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhmodels.search.errors import SpaceError
from mhmodels.search.space.decisions import OneOf
from mhmodels.search.space.search_space import Encodings, SearchSpace

MemberStructure: TypeAlias = Callable[[Encodings], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Computes from encodings (n, decisions) what a hardware executes: totals (n, a), and sums by class of operation (n, b)."""


class TabularSpace(SearchSpace):
    """A space without architectures. Values of its members come from tables that are attached to it.

    Attributes:
        structure: What a hardware executes of a member, for latencies that are adapted from other hardware; None if unknown.

    Example:
        >>> from mhmodels.search import OneOf, TabularSpace
        >>> space = TabularSpace("mine", [OneOf("operation", ("skip", "conv")), OneOf("width", (16, 32))])
        >>> table = space.attach([[0, 0], [1, 1]], accuracy=[0.5, 0.7])
        >>> table.evaluate([[1, 1]], "accuracy").tolist()
        [0.7]
    """

    def __init__(
        self,
        name: str,
        decisions: Sequence[OneOf[object]],
        groups: Sequence[Sequence[int]] = (),
        note: str = "",
        structure: MemberStructure | None = None,
    ) -> None:
        """Makes a space.

        Args:
            name: Name of the space.
            decisions: The decisions in the order of an encoding.
            groups: Columns of optional blocks that can be exchanged, in network order.
            note: Which parts of the definition are an interpretation of the source.
            structure: What a hardware executes of a member; None if unknown.

        Raises:
            SpaceError: Two decisions have the same name, a decision has no choices, or the decisions of a group differ.
        """
        super().__init__(name, decisions, groups, note)
        self.structure = structure

    def attach(self, encodings: ArrayLike, **columns: ArrayLike) -> Table:
        """Makes a table of members.

        Args:
            encodings: (n, decisions), integers, each member once.
            columns: (n,) values by name, for example `accuracy=…`, `pixel3=…`; NaN where a value is missing.

        Raises:
            SpaceError: An encoding is not a member or occurs twice, or a column has another length.
        """
        return Table(self, encodings, columns)

    def build(self, encoding: ArrayLike) -> NoReturn:
        """Refuses to build an architecture, since members have none.

        Raises:
            SpaceError: Always.
        """
        raise SpaceError(
            f"space '{self.name}' is tabular: its members are looked up and have no architecture to export or measure; "
            "use an architecture space (`mhmodels search space`)"
        )


class Table:
    """Values of the members of a small space.

    Attributes:
        space: Space of the members.
        columns: (n,) float64 values by name.
        quantity: What the values are: `accuracies`, `latencies`, or "" if unknown.
    """

    def __init__(self, space: SearchSpace, encodings: ArrayLike, columns: Mapping[str, ArrayLike], quantity: str = "") -> None:
        """Makes a table.

        Args:
            space: Space of the members, tabular or not.
            encodings: (n, decisions), integers, each member once.
            columns: (n,) values by name; NaN where a value is missing.
            quantity: What the values are: `accuracies`, `latencies`, or "" if unknown.

        Raises:
            SpaceError: An encoding is not a member or occurs twice, or a column has another length.
        """
        self.space, self.quantity = space, quantity
        rows = space.canonical(space.check(encodings))
        self.columns = {name: np.asarray(values, np.float64) for name, values in columns.items()}
        for name, values in self.columns.items():
            if values.shape != (len(rows),):
                raise SpaceError(f"space '{space.name}': column '{name}' is {values.shape}, expected ({len(rows)},)")
        # Keys are the bytes of the rows, because a number made of a row overflows in large spaces.
        self._places: dict[bytes, int] = {}
        for place, row in enumerate(rows):
            if self._places.setdefault(row.tobytes(), place) != place:
                raise SpaceError(f"space '{space.name}': {space.label(row)} is there twice, expected once")

    def evaluate(self, encodings: ArrayLike, column: str) -> NDArray[np.float64]:
        """Looks values up.

        Args:
            encodings: (n, decisions), integers.
            column: Name of the column.

        Returns:
            (n,), float64.

        Raises:
            SpaceError: An encoding is not a member or not in the table, or the table has no such column.
        """
        if column not in self.columns:
            raise SpaceError(f"space '{self.space.name}': no column '{column}', expected one of {', '.join(self.columns)}")
        rows = self.space.canonical(self.space.check(encodings))
        places = [self._places.get(row.tobytes(), -1) for row in rows]
        if -1 in places:
            raise SpaceError(f"space '{self.space.name}': {self.space.label(rows[places.index(-1)])} is not in the table")
        values: NDArray[np.float64] = self.columns[column][places]
        return values
