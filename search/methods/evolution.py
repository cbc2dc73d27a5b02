"""Evolution over a space with pymoo: regularised evolution, and NSGA-II for Pareto fronts.

pymoo keeps the populations, selects parents and survivors; the space defines mutation and crossover. Both searches are
generators: they yield encodings that they have not yielded before, and receive their values, of which larger is better.
"""

from __future__ import annotations

from collections.abc import Generator
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mhmodels.search.arrays import Floats, Indices
from mhmodels.search.errors import SearchError
from mhmodels.search.space.search_space import Encodings, SearchSpace

if TYPE_CHECKING:
    from pymoo.core.population import Population

_REMEDY = (
    "pymoo is not installed; `pip install 'mhmodels[search]'`, "
    "or choose another method (argument 'method', or `Reinforce(refinement=0)`)"
)


class EvaluatedNetworks(NamedTuple):
    """Networks with known values.

    Attributes:
        encodings: (n, decisions), int16, canonical, each once.
        values: (n,), float64; larger is better.
    """

    encodings: Encodings
    values: Floats

    def best(self, n: int) -> EvaluatedNetworks:
        """The n best networks, the worst of them first, so that it is the oldest of a population."""
        order = np.argsort(self.values, kind="stable")[-n:]
        return EvaluatedNetworks(self.encodings[order], self.values[order])

    def latest(self, n: int) -> EvaluatedNetworks:
        """The last n networks in their order."""
        return EvaluatedNetworks(self.encodings[-n:], self.values[-n:])


def regularised(
    space: SearchSpace,
    seed: int,
    start: EvaluatedNetworks | None,
    evaluations: int,
    population: int,
    tournament: int,
    children: int = 1,
) -> Generator[Encodings, Floats | None, EvaluatedNetworks]:
    """Regularised evolution: the child of the best of a few networks replaces the oldest network.

    Args:
        space: Space to search.
        seed: Random seed.
        start: First population; None for a random one, which counts as evaluations.
        evaluations: Number of networks to yield.
        population, tournament, children: As in `mhmodels.search.methods.strategies.Evolution`.

    Yields:
        Encodings (n, decisions); expects values (n, 1).

    Returns:
        All networks with their values, those of `start` first.
    """
    pymoo = require_pymoo()
    rng = np.random.default_rng(seed)
    seen: dict[bytes, None] = {}
    rows = _different(space, population, rng) if start is None else start.encodings
    if len(rows) < population and start is not None:  # a policy that converged early has drawn few networks
        rows = np.concatenate([rows, _different(space, population - len(rows), rng, {row.tobytes() for row in rows})])
    algorithm = pymoo.genetic(space, seed, rows, seen, tournament=min(tournament, len(rows)), children=children)
    kept = EvaluatedNetworks(rows[:0], np.zeros(0)) if start is None else start
    left, first = evaluations, start
    while left > 0:
        infills = algorithm.infill()
        if infills is None or not len(infills):
            break  # every network that it can reach was yielded
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
            kept = EvaluatedNetworks(np.concatenate([kept.encodings, asked[new]]), np.concatenate([kept.values, given[new]]))
        infills.set("F", -given[:, None])
        algorithm.advance(infills=infills)
    return kept


def front_search(
    space: SearchSpace, seed: int, evaluations: int, population: int, goals: int
) -> Generator[Encodings, Floats | None, None]:
    """NSGA-II: crossover and mutation; survival by Pareto fronts and by distance within them.

    Args:
        space: Space to search.
        seed: Random seed.
        evaluations: Number of networks to yield.
        population: Size of the population.
        goals: Number of values of each network.

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


def _cut(infills: Population, asked: Encodings, given: Floats, unknown: Indices) -> tuple[Population, Encodings, Floats]:
    """Leaves out the last networks without a value where the budget ends."""
    keep = ~np.isnan(given)
    keep[unknown] = True
    return infills[keep], asked[keep], given[keep]


def _different(space: SearchSpace, n: int, rng: np.random.Generator, taken: set[bytes] | None = None) -> Encodings:
    """Draws n different networks, or all if the space has fewer."""
    n = min(n, space.sizes.distinct)
    found: dict[bytes, Encodings] = {}
    for _ in range(1000):
        for row in space.draw(n, rng):
            if row.tobytes() not in (taken or ()):
                found.setdefault(row.tobytes(), row)
        if len(found) >= n:
            break
    return np.array(list(found.values())[:n], np.int16).reshape(-1, len(space.decisions))


def require_pymoo() -> ModuleType:
    """Imports the module of operators, whose base classes are pymoo's. Call it before anything is evaluated.

    Raises:
        SearchError: Pymoo is not installed.
    """
    try:
        from mhmodels.search.methods import pymoo_operators
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "pymoo":
            raise
        raise SearchError(_REMEDY) from error
    return pymoo_operators
