"""Search methods: each asks for networks, receives their rewards, and returns the best network.

A method is a struct of settings whose `run` is a generator: it yields `Ask`, receives `CandidateBatch`, and returns the encoding
that it found. It takes all randomness from its seed and knows neither evaluators nor logs. Therefore the same values bring it to
the same point again, which is how `mhmodels.search.run` resumes a search.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from mhmodels.search.arrays import Floats
from mhmodels.search.errors import SearchError
from mhmodels.search.methods.controller import Controller, ControllerSettings
from mhmodels.search.methods.evolution import EvaluatedNetworks, front_search, regularised, require_pymoo
from mhmodels.search.methods.front_evolution import front_evolution
from mhmodels.search.objective.objective import Objective
from mhmodels.search.space.search_space import Encodings


class Ask(NamedTuple):
    """Networks that a method asks for.

    Attributes:
        encodings: (n, decisions), int16.
        phase: Phase of the method, for the log.
        statistics: State of the method as plain values, for the log; may be empty.
    """

    encodings: Encodings
    phase: str
    statistics: Mapping[str, object] = {}


class CandidateBatch(NamedTuple):
    """Values of the networks of an `Ask`, in the same order.

    Attributes:
        accuracy: (n,), fractions from 0 to 1.
        latencies: (n, hardware), ms.
        f: (n,), norms of the latencies.
        rewards: (n,), rewards.
    """

    accuracy: Floats
    latencies: Floats
    f: Floats
    rewards: Floats


MethodRun: TypeAlias = Generator[Ask, CandidateBatch, Encodings]


class _Method(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="method"):
    """Settings whose integer fields are at least 1 (`refinement` at least 0)."""

    def __post_init__(self) -> None:
        for field in msgspec.structs.fields(type(self)):
            value = getattr(self, field.name)
            if type(value) is int and value < (0 if field.name == "refinement" else 1):
                raise SearchError(f"method: field '{field.name}' is {value}, expected a whole number of at least 1")


class Random(_Method, frozen=True, kw_only=True, tag="random"):
    """Random search, the baseline: the best of different random networks.

    Attributes:
        evaluations: Number of networks to evaluate, at least 1.

    Example:
        >>> from mhmodels.search import Random
        >>> Random(evaluations=100).budget
        100
    """

    evaluations: int = 1000

    @property
    def budget(self) -> int:
        """Number of networks that the method asks for."""
        return self.evaluations

    def run(self, objective: Objective, seed: int) -> MethodRun:
        """Runs the method as a generator, which yields networks to evaluate and returns the best encoding (decisions,)."""
        space, rng = objective.space, np.random.default_rng(seed)
        seen: dict[bytes, None] = {}
        best: tuple[float, Encodings] | None = None
        misses = 0
        while len(seen) < min(self.evaluations, space.sizes.distinct) and misses < 1000:
            drawn = [row for row in space.draw(min(64, self.evaluations - len(seen)), rng) if row.tobytes() not in seen]
            rows = np.array(list({row.tobytes(): row for row in drawn}.values()))
            misses = 0 if len(rows) else misses + 1
            if len(rows):
                batch = yield Ask(rows, "random")
                seen.update(dict.fromkeys(row.tobytes() for row in rows))
                place = int(batch.rewards.argmax())
                if best is None or batch.rewards[place] > best[0]:
                    best = (float(batch.rewards[place]), rows[place])
        assert best is not None
        return best[1]


class Evolution(_Method, frozen=True, kw_only=True, tag="evolution"):
    """Regularised evolution (Real et al., AAAI 2019, arXiv 1802.01548): the oldest network is removed in each step.

    Attributes:
        evaluations: Number of different networks to evaluate, at least 1.
        population: Size of the population, at least 1.
        tournament: Number of networks drawn from the population. The best of them has a child with one or more decisions changed.
        children: Number of networks to ask for at a time, for evaluators that work in parallel.

    Example:
        >>> from mhmodels.search import Evolution
        >>> Evolution(evaluations=500, population=100, tournament=10).budget
        500
    """

    evaluations: int = 1000
    population: int = 50
    tournament: int = 25
    children: int = 1

    @property
    def budget(self) -> int:
        """Number of networks that the method asks for."""
        return self.evaluations

    def run(self, objective: Objective, seed: int) -> MethodRun:
        """Runs the method as a generator, which yields networks to evaluate and returns the best encoding (decisions,)."""
        networks = yield from self.evolve(objective, seed, None, self.evaluations)
        best: Encodings = networks.encodings[networks.values.argmax()]
        return best

    def evolve(
        self, objective: Objective, seed: int, start: EvaluatedNetworks | None, evaluations: int, phase: str = "evolution"
    ) -> Generator[Ask, CandidateBatch, EvaluatedNetworks]:
        """Evolves a population.

        Args:
            objective: Objective of the search.
            seed: Random seed.
            start: First population; None for a random one.
            evaluations: Number of networks to ask for.
            phase: Phase for the log.

        Returns:
            All networks with their rewards, those of `start` first.
        """
        search = regularised(objective.space, seed, start, evaluations, self.population, self.tournament, self.children)
        batch: CandidateBatch | None = None
        while True:
            try:
                rows = search.send(None if batch is None else batch.rewards[:, None])
            except StopIteration as stop:
                found: EvaluatedNetworks = stop.value
                return found
            batch = yield Ask(rows, phase)


class NonDominated(_Method, frozen=True, kw_only=True, tag="nsga2"):
    """NSGA-II (Deb et al., 2002): a Pareto front of accuracy and latency, of which the best reward is the result.

    Attributes:
        evaluations: Number of different networks to evaluate, at least 1.
        population: Size of the population, and number of children of a generation, at least 1.
        each: Whether the latency on each hardware is an objective of its own; otherwise f is the only objective besides accuracy.

    Example:
        >>> from mhmodels.search import NonDominated
        >>> NonDominated(evaluations=1000, each=False).budget
        1000
    """

    evaluations: int = 2000
    population: int = 100
    each: bool = True

    @property
    def budget(self) -> int:
        """Number of networks that the method asks for."""
        return self.evaluations

    def run(self, objective: Objective, seed: int) -> MethodRun:
        """Runs the method as a generator, which yields networks to evaluate and returns the best encoding (decisions,)."""
        search = front_search(objective.space, seed, self.evaluations, self.population, _goals(objective, self.each))
        return (yield from _front_run(objective, search, self.each, "nsga2"))


class FrontEvolution(_Method, frozen=True, kw_only=True, tag="front-evolution"):
    """Evolution whose population is the Pareto front, as Profiling Neural Blocks searches (CIKM 2021, arXiv 2109.12426).

    In every generation, random members of the front of all networks so far have children. In each unit of a child, a layer is
    added, a layer is removed, or a block is swapped, with the unit's probability. The result is the network of the best reward.

    Attributes:
        evaluations: Number of different networks to evaluate, at least 1. The default is that of the paper: 100 random networks,
            then 10 generations.
        population: Number of networks to begin with, at least 1: those of `start`, and random ones.
        children: Number of networks of a generation, at least 1.
        probabilities: Probability that a unit changes, from 0 to 1, in the order of the units; the last one holds for all further
            units, and is above 0. A unit is a stage; every decision outside stages is a unit after them. For the paper's NPU:
            `(0.25, 0.25, 0.25, 0.5)`.
        start: Encodings to begin with, each a tuple of choices, such as the networks of a profile that are members of the reduced
            space. They are evaluated as all others, so that an evaluator that knows them saves their cost.
        each: As in `NonDominated`.

    Example:
        >>> from mhmodels.search import FrontEvolution
        >>> FrontEvolution(evaluations=600, population=30, children=57, probabilities=(0.25, 0.25, 0.25, 0.5)).budget
        600
    """

    evaluations: int = 2100
    population: int = 100
    children: int = 200
    probabilities: tuple[float, ...] = (0.5,)
    start: tuple[tuple[int, ...], ...] = ()
    each: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.probabilities
        if not given or not all(0 <= one <= 1 for one in given) or not given[-1]:
            raise SearchError(
                f"method: field 'probabilities' is {given}, expected numbers from 0 to 1, the last one above 0 (it holds for all "
                "further units)"
            )

    @property
    def budget(self) -> int:
        """Number of networks that the method asks for."""
        return self.evaluations

    def run(self, objective: Objective, seed: int) -> MethodRun:
        """Runs the method as a generator, which yields networks to evaluate and returns the best encoding (decisions,)."""
        start = objective.space.check(self.start) if self.start else None
        search = front_evolution(
            objective.space, seed, self.evaluations, self.population, self.children, self.probabilities, start
        )
        return (yield from _front_run(objective, search, self.each, "front-evolution"))


class Reinforce(_Method, frozen=True, kw_only=True, tag="reinforce"):
    """The controller of TuNAS, followed by regularised evolution from networks that the controller drew.

    A policy of independent decisions converges where no single choice improves the average over the others, which need not be the
    optimum. Evolution changes single networks and does not have this limit.

    Attributes:
        controller: Hyperparameters of the controller; there are no weights to warm up here.
        replicas: Number of samples for each update, at least 1.
        refinement: Number of evaluations of the evolution, at least 0; 0 returns the argmax of the policy.
        population, tournament: As in `Evolution`.
        seeds: First population of the evolution: the latest different networks that the policy drew, or the best of all.

    Example:
        >>> from mhmodels.search import ControllerSettings, Reinforce
        >>> Reinforce(controller=ControllerSettings(steps=5000), replicas=2, refinement=1000).budget
        11001
    """

    controller: ControllerSettings
    replicas: int = 1
    refinement: int = 1000
    population: int = 50
    tournament: int = 25
    seeds: Literal["latest", "best"] = "latest"

    @property
    def budget(self) -> int:
        """Number of networks that the method asks for, repetitions included."""
        return self.controller.steps * self.replicas + 1 + self.refinement

    def run(self, objective: Objective, seed: int) -> MethodRun:
        """Runs the method as a generator, which yields networks to evaluate and returns the best encoding (decisions,)."""
        space = objective.space
        if self.refinement:
            require_pymoo()
        controller = Controller(space, self.controller, seed)
        known: dict[bytes, tuple[Encodings, float]] = {}
        statistics: dict[str, object] = {}
        for _ in range(self.controller.steps):
            rows, replaced = controller.sample_warm(self.replicas)
            batch = yield Ask(rows, "reinforce", statistics)
            statistics = controller.log_values(controller.update(rows, batch.rewards, replaced))
            _remember(known, space.canonical(rows), batch.rewards)
        best: Encodings = space.canonical(controller.argmax()[None])[0]
        batch = yield Ask(best[None], "argmax", statistics)
        if not self.refinement:
            return best
        _remember(known, best[None], batch.rewards)
        start = EvaluatedNetworks(np.array([row for row, _ in known.values()]), np.array([value for _, value in known.values()]))
        evolution = Evolution(evaluations=self.refinement, population=self.population, tournament=self.tournament)
        chosen = start.best(self.population) if self.seeds == "best" else start.latest(self.population)
        found = yield from evolution.evolve(objective, seed, chosen, self.refinement, phase="refinement")
        # The evolution starts from some of the controller's networks; the best network may be another one.
        best_of = max((found, start), key=lambda networks: networks.values.max())
        best = best_of.encodings[best_of.values.argmax()]
        return best


Method: TypeAlias = Random | Evolution | NonDominated | FrontEvolution | Reinforce


def _goals(objective: Objective, each: bool) -> int:
    """Number of goals of a search for a front: accuracy, and f or the latency on each hardware that counts."""
    return 1 + (int(objective.reward.counted.sum()) if each else 1)


def _front_run(objective: Objective, search: Generator[Encodings, Floats | None, None], each: bool, phase: str) -> MethodRun:
    """Tells a search for a front accuracies and negative costs of its networks, and returns the network of the best reward."""
    references, counted = np.array(list(objective.reward.references.values())), objective.reward.counted
    told: Floats | None = None
    best: tuple[float, Encodings] | None = None
    while True:
        try:
            rows = search.send(told)
        except StopIteration:
            break
        batch = yield Ask(rows, phase)
        costs = (batch.latencies / references)[:, counted] if each else batch.f[:, None]
        told = np.column_stack([batch.accuracy, -costs])
        place = int(batch.rewards.argmax())
        if best is None or batch.rewards[place] > best[0]:
            best = (float(batch.rewards[place]), rows[place])
    assert best is not None
    return best[1]


def _remember(known: dict[bytes, tuple[Encodings, float]], rows: Encodings, rewards: NDArray[np.float64]) -> None:
    for row, value in zip(rows, rewards, strict=True):
        key = row.tobytes()
        known.pop(key, None)  # so that the latest are last
        known[key] = (row, float(value))
