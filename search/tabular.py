"""Spaces whose members are looked up in a table instead of built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from search.errors import SpaceError
from search.space import Space


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
        keys = self._keys(rows)
        self._order: NDArray[Any] = np.argsort(keys, kind="stable")
        self._sorted: NDArray[Any] = keys[self._order]
        twice = np.flatnonzero(self._sorted[1:] == self._sorted[:-1])
        if len(twice):
            raise SpaceError(f"space '{space.name}': {space.label(rows[self._order[twice[0]]])} is there twice, expected once")

    def evaluate(self, encodings: ArrayLike, column: str) -> NDArray[np.float64]:
        """Values (n,) of members.

        Raises:
            SpaceError: not members, not in the table, or no such column.
        """
        if column not in self.columns:
            raise SpaceError(f"space '{self.space.name}': no column '{column}', expected one of {', '.join(self.columns)}")
        rows = self.space.canonical(self.space.check(encodings))
        keys = self._keys(rows)
        places = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        missing = np.flatnonzero(self._sorted[places] != keys)
        if len(missing):
            raise SpaceError(f"space '{self.space.name}': {self.space.label(rows[missing[0]])} is not in the table")
        values: NDArray[np.float64] = self.columns[column][self._order[places]]
        return values

    def _keys(self, rows: NDArray[np.int16]) -> NDArray[np.int64]:
        """One number for each member; tabular spaces are small, so it fits."""
        weights = np.concatenate([[1], np.cumprod(self.space.cardinalities[:0:-1])])[::-1]
        return rows.astype(np.int64) @ weights.astype(np.int64)
