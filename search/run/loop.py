"""The loop of a search: a method asks for networks, the evaluator and the latencies answer, the log keeps the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np

from mhmodels.search.arrays import Floats
from mhmodels.search.methods.strategies import Ask, CandidateBatch, Method
from mhmodels.search.objective.evaluators import Evaluator
from mhmodels.search.objective.objective import Objective
from mhmodels.search.run.evaluations import EvaluationCache, Evaluations, joined
from mhmodels.search.run.log import SearchLog
from mhmodels.search.space.search_space import Encodings
from mhmodels.version import __version__


class FoundNetwork(NamedTuple):
    """The network that a search found.

    Attributes:
        encoding: (decisions,), canonical.
        accuracy: Fraction from 0 to 1.
        latencies: (hardware,), in ms.
        f: Aggregated normalised latency (equation 4 or 5 of the paper), without unit.
        reward: Reward of accuracy and f.
        binding: Hardware with the largest weighted L/C.
        evaluations: Number of networks that the method asked for, repetitions included.
        networks: Number of different networks among them.
        log: All evaluations, in order; after a search by weight sharing those of the finalists.
    """

    encoding: Encodings
    accuracy: float
    latencies: Floats
    f: float
    reward: float
    binding: str
    evaluations: int
    networks: int
    log: Evaluations


SearchProgress: TypeAlias = Callable[[int, str, float], None]
"""Called with the number of evaluations, the phase of the method, and the best reward so far."""


def header(objective: Objective, evaluator: Evaluator, method: Method, seed: int) -> dict[str, object]:
    """Everything that decides what a search does, as plain values: the header of its log and the provenance of its result.

    Cost models are named by the SHA-256 of their content as this version writes it.
    """
    return {
        **objective.settings(),
        "accuracies": evaluator.identity,
        "method": msgspec.to_builtins(method),
        "seed": seed,
        "mhmodels": __version__,
    }


def search(
    objective: Objective,
    evaluator: Evaluator,
    method: Method,
    seed: int = 0,
    log: SearchLog | None = None,
    progress: SearchProgress | None = None,
) -> FoundNetwork:
    """Runs a search method to its end; continues the search of a log that was begun before.

    Every network is evaluated once; a method that asks for it again gets the same values. A resumed search repeats the method
    from its beginning with the values of the log in place of evaluations, and ends as if it had not been interrupted.

    Args:
        objective: Space, latencies and reward.
        evaluator: Source of accuracies.
        method: Search method from `mhmodels.search.methods.strategies`.
        seed: Random seed of everything that the method draws.
        log: Open log, written as evaluations arrive; None for none.
        progress: Called after every answer with the number of evaluations, the phase and the best reward so far.

    Returns:
        The network that the method chose.

    Raises:
        SearchError: An accuracy is no fraction from 0 to 1, or the log is of a search with other settings.
        StoreError: The log cannot be written.
    """
    before: Evaluations | None = None
    if log is not None:
        log.begin(header(objective, evaluator, method, seed))
        before = log.evaluated()
    known = EvaluationCache(objective, evaluator)
    parts: list[Evaluations] = []
    run = method.run(objective, seed)
    done, best = 0, -np.inf
    ask = next(run)
    while True:
        part = joined([*_pieces(ask, known, before, done, log)])
        parts.append(part)
        done += len(part.accuracy)
        best = max(best, float(part.rewards.max()))
        if progress is not None:
            progress(done, ask.phase, best)
        try:
            ask = run.send(CandidateBatch(part.accuracy, part.latencies, part.f, part.rewards))
        except StopIteration as stop:
            return _found(objective.space.canonical(np.asarray(stop.value)[None]), known, parts)


def _pieces(
    ask: Ask, known: EvaluationCache, before: Evaluations | None, done: int, log: SearchLog | None
) -> Iterator[Evaluations]:
    """Answers a question in pieces: from the log as far as it goes, then from the evaluator; the log keeps each new piece."""
    there = 0 if before is None else min(len(ask.encodings), max(0, len(before.accuracy) - done))
    if before is not None and there:
        yield known.recall(ask._replace(encodings=ask.encodings[:there]), before, done)
    if there < len(ask.encodings):
        statistics = {} if there else ask.statistics
        for piece in known.evaluate(ask._replace(encodings=ask.encodings[there:])):
            if log is not None:
                log.add(ask.phase, piece, statistics)
            statistics = {}
            yield piece


def _found(encoding: Encodings, known: EvaluationCache, parts: list[Evaluations]) -> FoundNetwork:
    log = joined(parts)
    (own,) = known.evaluate(Ask(encoding, "found"))
    return FoundNetwork(
        encoding=encoding[0],
        accuracy=float(own.accuracy[0]),
        latencies=own.latencies[0],
        f=float(own.f[0]),
        reward=float(own.rewards[0]),
        binding=own.binding[0],
        evaluations=len(log.accuracy),
        networks=len(np.unique(log.encodings, axis=0)),
        log=log,
    )


def provenance(settings: Mapping[str, object], found: FoundNetwork, objective: Objective) -> dict[str, object]:
    """The origin of a found network as plain values, for its file.

    Args:
        settings: `header` of the search.
        found: Network that the search found.
        objective: Latencies and reward of the search.
    """
    return {
        **settings,
        "encoding": found.encoding.tolist(),
        "accuracy": found.accuracy,
        "latency_ms": dict(zip(objective.sources, found.latencies.tolist(), strict=True)),
        f"f_{objective.reward.aggregate}": found.f,
        "reward_value": found.reward,
        "binding": found.binding,
        "evaluations": found.evaluations,
        "networks": found.networks,
    }
