"""pymoo's genetic algorithms with the mutation and crossover of a space.

pymoo is an optional dependency, so this module is imported by `mhmodels.search.methods.evolution.require_pymoo` only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.soo.nonconvex.ga import GA
from pymoo.core.crossover import Crossover
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.survival import Survival
from pymoo.core.termination import NoTermination
from pymoo.operators.selection.tournament import TournamentSelection

from mhmodels.search.space.search_space import Encodings, SearchSpace


class _Mutate(Mutation):  # type: ignore[misc]  # pymoo has no types
    """Changes one or more decisions of every child."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self.space = space

    def _do(self, problem: Problem, X: Encodings, *args: object, random_state: Any = None, **rest: object) -> Encodings:
        return self.space.mutate(X.astype(np.int16), random_state)


class _Copy(Crossover):  # type: ignore[misc]  # pymoo has no types
    """Copies the only parent as a new individual."""

    def __init__(self) -> None:
        super().__init__(n_parents=1, n_offsprings=1, prob=1.0)

    def _do(self, problem: Problem, X: Encodings, *args: object, **rest: object) -> Encodings:
        return X.copy()


class _Cross(Crossover):  # type: ignore[misc]  # pymoo has no types
    """Takes each decision from one of two parents."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__(n_parents=2, n_offsprings=1, prob=0.9)
        self.space = space

    def _do(self, problem: Problem, X: Encodings, *args: object, random_state: Any = None, **rest: object) -> Encodings:
        return self.space.crossover(X[0].astype(np.int16), X[1].astype(np.int16), random_state)[None]


class _Oldest(Survival):  # type: ignore[misc]  # pymoo has no types
    """Keeps the youngest; populations are in order of age."""

    def _do(self, problem: Problem, pop: Population, *args: object, n_survive: int | None = None, **rest: object) -> Population:
        return pop[len(pop) - (n_survive or 0) :]


class _Unseen(DuplicateElimination):  # type: ignore[misc]  # pymoo has no types
    """Drops networks that occurred in this population or an earlier one."""

    def __init__(self, seen: dict[bytes, None]) -> None:
        super().__init__()
        self.seen = seen

    def _do(self, pop: Population, other: Population | None, is_duplicate: NDArray[np.bool_]) -> NDArray[np.bool_]:
        if other is None:  # pymoo asks about the children alone first, then about others, which `seen` has
            for place, row in enumerate(pop.get("X")):
                key = row.astype(np.int16).tobytes()
                is_duplicate[place] = key in self.seen
                self.seen[key] = None
        return is_duplicate


def genetic(space: SearchSpace, seed: int, rows: Encodings, seen: dict[bytes, None], tournament: int, children: int) -> GA:
    """Sets up regularised evolution, whose first infill is `rows`; arguments as `evolution.regularised`."""
    algorithm = GA(
        pop_size=len(rows),
        sampling=Population.new("X", rows),
        selection=TournamentSelection(func_comp=_best, pressure=tournament),
        crossover=_Copy(),
        mutation=_Mutate(space),
        survival=_Oldest(filter_infeasible=False),
        eliminate_duplicates=_Unseen(seen),
        n_offsprings=children,
    )
    return algorithm.setup(_problem(space, 1), termination=NoTermination(), seed=seed)


def fronts(space: SearchSpace, seed: int, rows: Encodings, seen: dict[bytes, None], goals: int) -> NSGA2:
    """Sets up NSGA-II, whose first infill is `rows`; arguments as `evolution.front_search`."""
    algorithm = NSGA2(
        pop_size=len(rows),
        sampling=Population.new("X", rows),
        crossover=_Cross(space),
        mutation=_Mutate(space),
        eliminate_duplicates=_Unseen(seen),
    )
    return algorithm.setup(_problem(space, goals), termination=NoTermination(), seed=seed)


def _best(pop: Population, drawn: NDArray[np.int64], **_: object) -> NDArray[np.int64]:
    """The best individual of each row of drawn ones."""
    goal = pop.get("F")[:, 0]
    winners: NDArray[np.int64] = drawn[np.arange(len(drawn)), goal[drawn].argmin(axis=1)][:, None]
    return winners


def _problem(space: SearchSpace, goals: int) -> Problem:
    return Problem(n_var=len(space.decisions), n_obj=goals, xl=0, xu=space.cardinalities - 1, vtype=int)
