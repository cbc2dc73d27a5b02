"""Spaces whose members are looked up in a table instead of built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhmodels.search.errors import SpaceError
from mhmodels.search.space.search_space import Space


class TabularSpace(Space):
    """A space without architectures: the protocol of `Space`, and `evaluate` from tables that are attached to it."""

    def attach(self, encodings: ArrayLike, **columns: ArrayLike) -> Table:
        """A table of this space's members.

        Args:
            encodings: (n, decisions), each once.
            columns: (n,) values by name, for example `accuracy=…`, `pixel3=…`; NaN where there is none.

        Raises:
            SpaceError: not members, a member twice, or a column of another length.
        """
        return Table(self, encodings, columns)

    def build(self, encoding: ArrayLike) -> NoReturn:
        """Refuses: there is no architecture to export, measure or train.

        Raises:
            SpaceError: always.
        """
        raise SpaceError(
            f"space '{self.name}' is tabular: its members are looked up and have no architecture to export or measure; "
            "use an architecture space (`mhmodels search space`)"
        )


class Table:
    """Known values of a small space's members.

    Attributes:
        space: of the members.
        columns: values by name.
        quantity: what the values are: `accuracies`, `latencies`, or empty if the file does not say.
    """

    def __init__(self, space: Space, encodings: ArrayLike, columns: Mapping[str, ArrayLike], quantity: str = "") -> None:
        """See `TabularSpace.attach`; of any space that is small enough."""
        self.space, self.quantity = space, quantity
        rows = space.canonical(space.check(encodings))
        self.columns = {name: np.asarray(values, np.float64) for name, values in columns.items()}
        for name, values in self.columns.items():
            if values.shape != (len(rows),):
                raise SpaceError(f"space '{space.name}': column '{name}' is {values.shape}, expected ({len(rows)},)")
        # The rows themselves, as bytes: numbers made of them overflow in large spaces.
        self._places: dict[bytes, int] = {}
        for place, row in enumerate(rows):
            if self._places.setdefault(row.tobytes(), place) != place:
                raise SpaceError(f"space '{space.name}': {space.label(row)} is there twice, expected once")

    def evaluate(self, encodings: ArrayLike, column: str) -> NDArray[np.float64]:
        """Values (n,) of members.

        Raises:
            SpaceError: not members, not in the table, or no such column.
        """
        if column not in self.columns:
            raise SpaceError(f"space '{self.space.name}': no column '{column}', expected one of {', '.join(self.columns)}")
        rows = self.space.canonical(self.space.check(encodings))
        places = [self._places.get(row.tobytes(), -1) for row in rows]
        if -1 in places:
            raise SpaceError(f"space '{self.space.name}': {self.space.label(rows[places.index(-1)])} is not in the table")
        values: NDArray[np.float64] = self.columns[column][places]
        return values
