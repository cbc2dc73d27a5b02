"""Evolution over a space, by pymoo: regularised evolution, and NSGA-II for fronts.

pymoo keeps populations, selects and survives; what a network is, and how it changes, is the space's. Both searches are
generators: they yield encodings that were never asked for before, and are sent their values, larger being better.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mhmodels.search.errors import SearchError
from mhmodels.search.space.search_space import Encodings, Space

Floats: TypeAlias = NDArray[np.float64]
_REMEDY = "pymoo is not installed; `pip install 'mhmodels[search]'`, or use `Reinforce(refinement=0)` (argument 'method')"


class Seeds(NamedTuple):
    """Networks of known worth.

    Attributes:
        encodings: (n, decisions), canonical, each once.
        values: (n,), larger is better.
    """

    encodings: Encodings
    values: Floats

    def best(self, n: int) -> Seeds:
        """The n best, the worst of them first, which makes it the oldest of a population."""
        order = np.argsort(self.values, kind="stable")[-n:]
        return Seeds(self.encodings[order], self.values[order])

    def latest(self, n: int) -> Seeds:
        """The last n, in their order."""
        return Seeds(self.encodings[-n:], self.values[-n:])


def regularised(
    space: Space, seed: int, start: Seeds | None, evaluations: int, population: int, tournament: int, children: int = 1
) -> Generator[Encodings, Floats | None, Seeds]:
    """Regularised evolution: a child of the best of a few, in the place of the oldest.

    Args:
        space: searched.
        seed: of everything that is drawn.
        start: the first population; None for a random one, which counts as evaluations.
        evaluations: networks to ask for.
        population, tournament, children: see `mhmodels.search.methods.strategies.Evolution`.

    Yields:
        Encodings (n, decisions); expects values (n, 1).

    Returns:
        Every network with its value, those of `start` first.
    """
    pymoo = require_pymoo()
    rng = np.random.default_rng(seed)
    seen: dict[bytes, None] = {}
    rows = _different(space, population, rng) if start is None else start.encodings
    if len(rows) < population and start is not None:  # a policy that settled early knows few networks
        rows = np.concatenate([rows, _different(space, population - len(rows), rng, {row.tobytes() for row in rows})])
    algorithm = pymoo.genetic(space, seed, rows, seen, tournament=min(tournament, len(rows)), children=children)
    kept = Seeds(rows[:0], np.zeros(0)) if start is None else start
    left, first = evaluations, start
    while left > 0:
        infills = algorithm.infill()
        if infills is None or not len(infills):
            break  # every network within reach is known
        asked = infills.get("X").astype(np.int16)
        given = np.full(len(asked), np.nan)
        if first is not None:
            given[: len(first.values)] = first.values
            first = None
        unknown = np.flatnonzero(np.isnan(given))[:left]
        infills, asked, given = _cut(infills, asked, given, unknown)
        new = np.isnan(given)
        if new.any():
            given[new] = np.asarray((yield asked[new]), np.float64)[:, 0]
            left -= int(new.sum())
            kept = Seeds(np.concatenate([kept.encodings, asked[new]]), np.concatenate([kept.values, given[new]]))
        infills.set("F", -given[:, None])
        algorithm.advance(infills=infills)
    return kept


def front_search(
    space: Space, seed: int, evaluations: int, population: int, goals: int
) -> Generator[Encodings, Floats | None, None]:
    """NSGA-II: crossover and mutation, survival by fronts and by distance in them.

    Yields:
        Encodings (n, decisions); expects values (n, goals).
    """
    pymoo = require_pymoo()
    rows = _different(space, min(population, evaluations), np.random.default_rng(seed))
    algorithm = pymoo.fronts(space, seed, rows, {}, goals)
    left = evaluations
    while left > 0:
        infills = algorithm.infill()
        if infills is None or not len(infills):
            break
        infills = infills[:left]
        values = yield infills.get("X").astype(np.int16)
        left -= len(infills)
        infills.set("F", -np.asarray(values, np.float64))
        algorithm.advance(infills=infills)


def _cut(infills: Any, asked: Encodings, given: Floats, unknown: NDArray[np.int64]) -> tuple[Any, Encodings, Floats]:
    """Leaves out the last unknown ones where the budget ends."""
    keep = ~np.isnan(given)
    keep[unknown] = True
    return infills[keep], asked[keep], given[keep]


def _different(space: Space, n: int, rng: np.random.Generator, taken: set[bytes] | None = None) -> Encodings:
    """Different networks at random, as many as there are if there are fewer."""
    n = min(n, space.sizes.distinct)
    found: dict[bytes, Encodings] = {}
    for _ in range(1000):
        for row in space.draw(n, rng):
            if row.tobytes() not in (taken or ()):
                found.setdefault(row.tobytes(), row)
        if len(found) >= n:
            break
    return np.array(list(found.values())[:n], np.int16).reshape(-1, len(space.decisions))


def require_pymoo() -> Any:
    """Our operators, whose base classes are pymoo's; to be called before anything is evaluated.

    Raises:
        SearchError: pymoo is not installed.
    """
    try:
        from mhmodels.search.methods import pymoo_operators
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "pymoo":
            raise
        raise SearchError(_REMEDY) from error
    return pymoo_operators
