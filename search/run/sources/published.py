"""Published tables of trained networks, checked against what a search needs of them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mhmodels.search.errors import SearchError
from mhmodels.search.objective.benchmark_tables import table_of
from mhmodels.search.space.search_space import SearchSpace
from mhmodels.search.space.tabular import Table

_ARGUMENTS = {"accuracies": "evaluator", "latencies": "latencies"}


def published_table(path: Path, space: SearchSpace, quantity: Literal["accuracies", "latencies"]) -> tuple[Table, str]:
    """Reads a published table of a space.

    Args:
        path: FILE.npz (NAS-Bench-201) or FILE.csv (NAS-Bench-Macro).
        space: Space of the search.
        quantity: Quantity that the search needs.

    Returns:
        The table, and the file's name with its hash.

    Raises:
        FileFormatError: The file is no such table.
        SearchError: The table is of another space or of the other quantity.
    """
    table, identity = table_of(path)
    if table.space.schema != space.schema:
        raise SearchError(f"{path}: a table of space '{table.space.name}', not of '{space.name}'")
    if table.quantity not in ("", quantity):
        raise SearchError(
            f"{path}: has {table.quantity}, expected {quantity}; {table.quantity} are given with argument "
            f"'{_ARGUMENTS[table.quantity]}'"
        )
    return table, identity
