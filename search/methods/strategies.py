"""Methods of search: each asks for networks, is told what they are worth, and in the end gives one back.

A method is a struct of settings whose `run` is a generator: it yields `Ask`, receives `Batch`, and returns the encoding that
it found. It draws all chance from its seed and knows nothing of evaluators and logs, so that telling it the same values
again brings it to the same point (`mhmodels.search.run.running` resumes a search so).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from mhmodels.search.errors import SearchError
from mhmodels.search.methods.controller import Controller, ControllerSettings
from mhmodels.search.methods.evolution import Floats, Seeds, front_search, regularised, require_pymoo
from mhmodels.search.objective.objective import Objective
from mhmodels.search.space.search_space import Encodings


class Ask(NamedTuple):
    """Networks that a method wants to know about.

    Attributes:
        encodings: (n, decisions).
        phase: of the method, for the log.
        statistics: how the method stood when it asked; empty or plain values.
    """

    encodings: Encodings
    phase: str
    statistics: Mapping[str, Any] = {}


class Batch(NamedTuple):
    """What they are worth, in the order of the question.

    Attributes:
        accuracy: (n,), fractions.
        latencies: (n, hardware), ms.
        f: (n,), norms.
        rewards: (n,).
    """

    accuracy: Floats
    latencies: Floats
    f: Floats
    rewards: Floats


Run: TypeAlias = Generator[Ask, Batch, Encodings]


class _Method(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="method"):
    """Settings with whole numbers of at least 1 in every field that counts something."""

    def __post_init__(self) -> None:
        for field in msgspec.structs.fields(type(self)):
            value = getattr(self, field.name)
            if type(value) is int and value < (0 if field.name == "refinement" else 1):
                raise SearchError(f"method: field '{field.name}' is {value}, expected a whole number of at least 1")


class Random(_Method, frozen=True, kw_only=True, tag="random"):
    """The baseline: different networks at random, the best of them.

    Attributes:
        evaluations: how many.
    """

    evaluations: int = 1000

    @property
    def budget(self) -> int:
        """Networks that will be asked for."""
        return self.evaluations

    def run(self, objective: Objective, seed: int) -> Run:
        """See the module's text."""
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
    """Regularised evolution (Real et al., AAAI 2019, arXiv 1802.01548): the oldest die, whatever they are worth.

    Attributes:
        evaluations: different networks to evaluate.
        population: alive at a time.
        tournament: drawn from the living; the best of them has a child with one decision or more changed.
        children: asked for at a time, for evaluators that work in parallel.
    """

    evaluations: int = 1000
    population: int = 50
    tournament: int = 25
    children: int = 1

    @property
    def budget(self) -> int:
        """Networks that will be asked for."""
        return self.evaluations

    def run(self, objective: Objective, seed: int) -> Run:
        """See the module's text."""
        seeds = yield from self.evolve(objective, seed, None, self.evaluations)
        return seeds.encodings[seeds.values.argmax()]

    def evolve(
        self, objective: Objective, seed: int, start: Seeds | None, evaluations: int, phase: str = "evolution"
    ) -> Generator[Ask, Batch, Seeds]:
        """Evolves from networks of known rewards, or from chance; gives all that it knows."""
        search = regularised(objective.space, seed, start, evaluations, self.population, self.tournament, self.children)
        batch: Batch | None = None
        while True:
            try:
                rows = search.send(None if batch is None else batch.rewards[:, None])
            except StopIteration as stop:
                found: Seeds = stop.value
                return found
            batch = yield Ask(rows, phase)


class NonDominated(_Method, frozen=True, kw_only=True, tag="nsga2"):
    """NSGA-II (Deb et al., 2002): a whole front of accuracy against latency; of it, the best reward is the result.

    Attributes:
        evaluations: different networks to evaluate.
        population: alive at a time, and children a generation.
        each: whether latency on every hardware is a goal of its own, or their norm is one.
    """

    evaluations: int = 2000
    population: int = 100
    each: bool = True

    @property
    def budget(self) -> int:
        """Networks that will be asked for."""
        return self.evaluations

    def run(self, objective: Objective, seed: int) -> Run:
        """See the module's text."""
        references, counted = np.array(list(objective.reward.references.values())), objective.reward.counted
        goals = 1 + (int(counted.sum()) if self.each else 1)
        search = front_search(objective.space, seed, self.evaluations, self.population, goals)
        told: Floats | None = None
        best: tuple[float, Encodings] | None = None
        while True:
            try:
                rows = search.send(told)
            except StopIteration:
                break
            batch = yield Ask(rows, "nsga2")
            costs = (batch.latencies / references)[:, counted] if self.each else batch.f[:, None]
            told = np.column_stack([batch.accuracy, -costs])
            place = int(batch.rewards.argmax())
            if best is None or batch.rewards[place] > best[0]:
                best = (float(batch.rewards[place]), rows[place])
        assert best is not None
        return best[1]


class Reinforce(_Method, frozen=True, kw_only=True, tag="reinforce"):
    """TuNAS' controller, and then a refinement: regularised evolution from networks that the controller sampled.

    A policy of independent choices settles where no single choice improves on the others' average, which need not be the
    optimum; evolution changes single networks and is not bound to that.

    Attributes:
        controller: settings of the controller; there are no weights to warm up here.
        replicas: samples for each update.
        refinement: further evaluations; 0 ends with the policy's argmax.
        population, tournament: of the refinement.
        seeds: its first population: the latest different networks that the policy drew, or the best of all that it drew.
    """

    controller: ControllerSettings
    replicas: int = 1
    refinement: int = 1000
    population: int = 50
    tournament: int = 25
    seeds: Literal["latest", "best"] = "latest"

    @property
    def budget(self) -> int:
        """Networks that will be asked for, repetitions included."""
        return self.controller.steps * self.replicas + 1 + self.refinement

    def run(self, objective: Objective, seed: int) -> Run:
        """See the module's text."""
        space = objective.space
        if self.refinement:
            require_pymoo()
        controller = Controller(space, self.controller, seed)
        known: dict[bytes, tuple[Encodings, float]] = {}
        statistics: dict[str, Any] = {}
        for _ in range(self.controller.steps):
            rows, replaced = controller.sample_warm(self.replicas)
            batch = yield Ask(rows, "reinforce", statistics)
            statistics = controller.told(controller.update(rows, batch.rewards, replaced))
            _remember(known, space.canonical(rows), batch.rewards)
        best = space.canonical(controller.argmax()[None])[0]
        batch = yield Ask(best[None], "argmax", statistics)
        if not self.refinement:
            return best
        _remember(known, best[None], batch.rewards)
        start = Seeds(np.array([row for row, _ in known.values()]), np.array([value for _, value in known.values()]))
        evolution = Evolution(evaluations=self.refinement, population=self.population, tournament=self.tournament)
        chosen = start.best(self.population) if self.seeds == "best" else start.latest(self.population)
        found = yield from evolution.evolve(objective, seed, chosen, self.refinement, phase="refinement")
        # The refinement begins with some of what the controller drew; the best of it may be another.
        best_of = max((found, start), key=lambda seeds: seeds.values.max())
        return best_of.encodings[best_of.values.argmax()]


Method: TypeAlias = Random | Evolution | NonDominated | Reinforce


def _remember(known: dict[bytes, tuple[Encodings, float]], rows: Encodings, rewards: NDArray[np.float64]) -> None:
    for row, value in zip(rows, rewards, strict=True):
        key = row.tobytes()
        known.pop(key, None)  # so that the latest are last
        known[key] = (row, float(value))
