"""Runs a method of search: asks the evaluator, keeps the log, finds its way back into an interrupted search."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from mhmodels.search.arrays import Floats
from mhmodels.search.errors import SearchError
from mhmodels.search.methods.strategies import Ask, Batch, Method
from mhmodels.search.objective.evaluators import Evaluator
from mhmodels.search.objective.objective import Objective
from mhmodels.search.run.log import Evaluated, SearchLog
from mhmodels.search.space.search_space import Encodings
from mhmodels.version import __version__


class Found(NamedTuple):
    """What a search found.

    Attributes:
        encoding: (decisions,), canonical.
        accuracy: fraction.
        latencies: (hardware,), ms.
        f: the norm.
        reward: of it.
        binding: the hardware on which it is worst.
        evaluations: networks asked for, repetitions included.
        networks: different ones among them.
        log: all of them, in order.
    """

    encoding: Encodings
    accuracy: float
    latencies: Floats
    f: float
    reward: float
    binding: str
    evaluations: int
    networks: int
    log: Evaluated


Progress = Callable[[int, str, float], None]


def header(objective: Objective, evaluator: Evaluator, method: Method, seed: int) -> dict[str, Any]:
    """Everything that decides what a search does: what a log begins with, and a result's provenance.

    Hashes of cost models are those of their content, as this version writes it.
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
    progress: Progress | None = None,
) -> Found:
    """Searches; with a log that was begun before, from where that one ends.

    Networks are evaluated once; a method that asks again is told the same. A resumed search repeats the method's part from
    the beginning, with the values of the log in place of evaluations, and ends as if it had never been interrupted.

    Args:
        objective: space, latencies, reward.
        evaluator: of accuracy.
        method: from `mhmodels.search.methods.strategies`.
        seed: of all that the method draws.
        log: kept as evaluations arrive; None for none.
        progress: called with the number of evaluations, the phase and the best reward so far.

    Raises:
        SearchError: accuracies that are no fractions; a log of a search with other settings.
        StoreError: the log cannot be written.
    """
    before: Evaluated | None = None
    if log is not None:
        log.begin(header(objective, evaluator, method, seed))
        before = log.evaluated()
    known = _Known(objective, evaluator)
    parts: list[Evaluated] = []
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
            ask = run.send(Batch(part.accuracy, part.latencies, part.f, part.rewards))
        except StopIteration as stop:
            return _found(objective.space.canonical(np.asarray(stop.value)[None]), known, parts)


def _pieces(ask: Ask, known: _Known, before: Evaluated | None, done: int, log: SearchLog | None) -> Iterator[Evaluated]:
    """What is asked for: from the log as far as that goes, then from the evaluator, each piece kept as it arrives."""
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


def joined(parts: Sequence[Evaluated]) -> Evaluated:
    """Rows of several parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    return Evaluated(
        phases=tuple(phase for part in parts for phase in part.phases),
        encodings=np.concatenate([part.encodings for part in parts]),
        accuracy=np.concatenate([part.accuracy for part in parts]),
        latencies=np.concatenate([part.latencies for part in parts]),
        f=np.concatenate([part.f for part in parts]),
        rewards=np.concatenate([part.rewards for part in parts]),
        binding=tuple(name for part in parts for name in part.binding),
    )


def front(rows: Evaluated, costs: Floats) -> NDArray[np.int64]:
    """Indices of the networks that no other beats in accuracy and every cost (n, k), most accurate first."""
    goals = np.column_stack([-rows.accuracy, costs])
    _, first = np.unique(goals, axis=0, return_index=True)
    order = first[np.lexsort(goals[first].T[::-1])]
    kept = np.empty(len(order), np.int64)
    count = 0
    for place in order:  # what beats a network comes before it
        if not (goals[kept[:count]] <= goals[place]).all(axis=1).any():
            kept[count] = place
            count += 1
    return kept[:count]


class _Known:
    """Accuracy and latencies of networks that were evaluated, by canonical encoding."""

    def __init__(self, objective: Objective, evaluator: Evaluator) -> None:
        self.objective, self.evaluator = objective, evaluator
        self.values: dict[bytes, tuple[float, Floats]] = {}

    def evaluate(self, ask: Ask) -> Iterator[Evaluated]:
        """Asks the evaluator for what is not known yet; rows come in order, in as many pieces as it answers in."""
        space = self.objective.space
        rows = space.canonical(space.check(ask.encodings))
        keys = [row.tobytes() for row in rows]
        new = {key: row for key, row in zip(keys, rows, strict=True) if key not in self.values}
        if not new:
            yield self._worth(ask, rows, [self.values[key] for key in keys])
            return
        wanted = np.array(list(new.values()), np.int16)
        latencies = dict(zip(new, self.objective.latencies(wanted), strict=True))
        unanswered, start = iter(new), 0
        for accuracies in self._accuracies(wanted):
            self.values.update((key, (one, latencies[key])) for one, key in zip(accuracies, unanswered, strict=False))
            end = next((place for place in range(start, len(keys)) if keys[place] not in self.values), len(keys))
            if end > start:
                yield self._worth(ask, rows[start:end], [self.values[key] for key in keys[start:end]])
            start = end

    def recall(self, ask: Ask, log: Evaluated, start: int) -> Evaluated:
        """The same from a log, which must hold what is asked for now."""
        space = self.objective.space
        rows = space.canonical(space.check(ask.encodings))
        part = slice(start, start + len(rows))
        if not np.array_equal(rows, log.encodings[part]):
            place = next(i for i, row in enumerate(rows) if not np.array_equal(row, log.encodings[start + i]))
            raise SearchError(
                f"the log's evaluation {start + place + 1} is {space.label(log.encodings[start + place])} and this search would "
                f"evaluate {space.label(rows[place])}: the log is of another version; begin a new one (--log)"
            )
        values = list(zip(log.accuracy[part].tolist(), log.latencies[part], strict=True))
        self.values.update(zip((row.tobytes() for row in rows), values, strict=True))
        return self._worth(ask, rows, values)

    def _accuracies(self, rows: Encodings) -> Iterator[list[float]]:
        """The evaluator's answers, all at once or, where it gives an iterator, one by one."""
        try:
            given = self.evaluator.evaluate(rows)
        except StopIteration as error:  # would be taken for the end of this iterator
            raise SearchError(f"evaluator raised StopIteration, expected {len(rows)} accuracies") from error
        if not isinstance(given, Iterator):
            yield self._checked(given, rows)
            return
        answered = 0
        for one in itertools.islice(given, len(rows) + 1):
            if answered < len(rows):
                yield self._checked([one], rows[answered : answered + 1])
            answered += 1
        if answered != len(rows):
            count = f"{answered} accuracies" if answered < len(rows) else "more accuracies than networks"
            raise SearchError(f"evaluator gave {count}, expected {len(rows)}")

    def _checked(self, given: Any, rows: Encodings) -> list[float]:
        try:
            values = np.asarray(given, np.float64)
        except (TypeError, ValueError) as error:
            raise SearchError(f"evaluator gave {str(given)[:60]}, expected {len(rows)} fractions from 0 to 1") from error
        if values.shape != (len(rows),):
            raise SearchError(f"evaluator gave accuracies of shape {values.shape}, expected ({len(rows)},)")
        bad = np.flatnonzero(~((values >= 0) & (values <= 1)))
        if len(bad):
            raise SearchError(
                f"evaluator gave accuracy {values[bad[0]]} for {self.objective.space.label(rows[bad[0]])}, "
                "expected a fraction from 0 to 1"
            )
        return values.tolist()

    def _worth(self, ask: Ask, rows: Encodings, values: list[tuple[float, Floats]]) -> Evaluated:
        reward = self.objective.reward
        accuracy, latencies = np.array([one for one, _ in values]), np.array([row for _, row in values])
        norm = reward.f(latencies)
        binding = tuple(reward.hardware[i] for i in reward.binding(latencies))
        phases = (ask.phase,) * len(rows)
        return Evaluated(phases, rows, accuracy, latencies, norm, reward.of_norm(accuracy, norm), binding)


def _found(encoding: Encodings, known: _Known, parts: list[Evaluated]) -> Found:
    log = joined(parts)
    (own,) = known.evaluate(Ask(encoding, "found"))
    return Found(
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


def provenance(settings: Mapping[str, Any], found: Found, objective: Objective) -> dict[str, Any]:
    """What a result's file says of where it comes from."""
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
