"""Pareto dominance among rows of goals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mhmodels.search.arrays import Floats


def non_dominated(goals: Floats) -> NDArray[np.int64]:
    """Finds the rows that no other row beats.

    Args:
        goals: (n, goals), the lower the better.

    Returns:
        Indices of the rows for which no other row is at most as large in every goal, in lexicographic order of their goals; of
        equal rows the first.

    Example:
        >>> import numpy as np
        >>> from mhmodels.search.methods.dominance import non_dominated
        >>> non_dominated(np.array([[3.0, 1.0], [1.0, 2.0], [3.0, 2.0]])).tolist()
        [1, 0]
    """
    _, first = np.unique(goals, axis=0, return_index=True)
    order = first[np.lexsort(goals[first].T[::-1])]
    kept = np.empty(len(order), np.int64)
    count = 0
    for row in order:  # what beats a row comes before it
        if not (goals[kept[:count]] <= goals[row]).all(axis=1).any():
            kept[count] = row
            count += 1
    return kept[:count]
