"""Evolution whose population is the Pareto front of all networks so far: the search of Profiling Neural Blocks (2109.12426).

The search is a generator: it yields encodings that it has not yielded before, and receives their values, of which larger is
better.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial

import numpy as np

from mhmodels.search.arrays import Floats
from mhmodels.search.methods.dominance import non_dominated
from mhmodels.search.methods.unit_mutation import UnitMutation
from mhmodels.search.space.search_space import Encodings, SearchSpace

_TRIES = 200
"""Networks that are drawn at most for each new one, before the space counts as exhausted."""


def front_evolution(
    space: SearchSpace,
    seed: int,
    evaluations: int,
    population: int,
    children: int,
    probabilities: Sequence[float],
    start: Encodings | None = None,
) -> Generator[Encodings, Floats | None, None]:
    """Mutates random members of the current Pareto front; the next front is that of the old one and the children.

    Args:
        space: Space to search.
        seed: Random seed.
        evaluations: Number of networks to yield.
        population: Number of networks to begin with: those of `start`, and random ones.
        children: Number of networks of a generation.
        probabilities: Probability that a unit changes, in the order of the units; see `UnitMutation`.
        start: (n, decisions), networks to begin with, all of which are yielded; None for random ones only.

    Yields:
        Encodings (n, decisions), canonical; expects values (n, goals).
    """
    rng = np.random.default_rng(seed)
    mutation = UnitMutation(space, probabilities)
    rows = np.empty((0, len(space.decisions)), np.int16) if start is None else _each_once(space.canonical(start))[:evaluations]
    seen = {row.tobytes() for row in rows}
    left = evaluations
    rows = np.concatenate([rows, _new(space, lambda: space.draw(1, rng)[0], min(population, left) - len(rows), seen)])
    front, values = rows[:0], None
    while len(rows):
        told = np.asarray((yield rows), np.float64)
        left -= len(rows)
        front, values = np.concatenate([front, rows]), told if values is None else np.concatenate([values, told])
        kept = non_dominated(-values)
        front, values = front[kept], values[kept]
        rows = _new(space, partial(_child, mutation, front, rng), min(children, left), seen)


def _each_once(rows: Encodings) -> Encodings:
    """Each row once, in order."""
    first: Encodings = rows[np.sort(np.unique(rows, axis=0, return_index=True)[1])]
    return first


def _child(mutation: UnitMutation, front: Encodings, rng: np.random.Generator) -> Encodings:
    return mutation.child(front[rng.integers(len(front))], rng)


def _new(space: SearchSpace, draw: Callable[[], Encodings], n: int, seen: set[bytes]) -> Encodings:
    """Draws up to n networks that were not drawn before, and remembers them."""
    found: list[Encodings] = []
    tries = 0
    while len(found) < n and tries < _TRIES * n:
        row, tries = draw(), tries + 1
        key = row.tobytes()
        if key not in seen:
            seen.add(key)
            found.append(row)
    return np.array(found, np.int16).reshape(-1, len(space.decisions))
