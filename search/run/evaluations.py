"""Evaluated networks: as columns, and in memory, so that each is evaluated once and a log answers before the evaluator."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhmodels.search.arrays import Floats
from mhmodels.search.errors import SearchError
from mhmodels.search.methods.strategies import Ask
from mhmodels.search.objective.evaluators import Evaluator
from mhmodels.search.objective.objective import Objective
from mhmodels.search.space.search_space import Encodings


class Evaluations(NamedTuple):
    """Evaluated networks, in order.

    Attributes:
        phases: (n,), phase of the method.
        encodings: (n, decisions).
        accuracy: (n,), fractions from 0 to 1.
        latencies: (n, hardware), in ms.
        f: (n,), aggregated normalised latency.
        rewards: (n,).
        binding: (n,), hardware with the largest weighted L/C.
    """

    phases: tuple[str, ...]
    encodings: Encodings
    accuracy: NDArray[np.float64]
    latencies: NDArray[np.float64]
    f: NDArray[np.float64]
    rewards: NDArray[np.float64]
    binding: tuple[str, ...]


def joined(parts: Sequence[Evaluations]) -> Evaluations:
    """Concatenates evaluations in order."""
    if len(parts) == 1:
        return parts[0]
    return Evaluations(
        phases=tuple(phase for part in parts for phase in part.phases),
        encodings=np.concatenate([part.encodings for part in parts]),
        accuracy=np.concatenate([part.accuracy for part in parts]),
        latencies=np.concatenate([part.latencies for part in parts]),
        f=np.concatenate([part.f for part in parts]),
        rewards=np.concatenate([part.rewards for part in parts]),
        binding=tuple(name for part in parts for name in part.binding),
    )


def selected(rows: Evaluations, indices: ArrayLike) -> Evaluations:
    """Selects evaluations.

    Args:
        rows: N evaluations.
        indices: (k,), integers, indices of the evaluations in their new order.
    """
    places = np.asarray(indices, np.int64)
    return Evaluations(
        phases=tuple(rows.phases[i] for i in places),
        encodings=rows.encodings[places],
        accuracy=rows.accuracy[places],
        latencies=rows.latencies[places],
        f=rows.f[places],
        rewards=rows.rewards[places],
        binding=tuple(rows.binding[i] for i in places),
    )


class EvaluationCache:
    """Accuracies and latencies of evaluated networks, by canonical encoding; asks the evaluator for the others."""

    def __init__(self, objective: Objective, evaluator: Evaluator) -> None:
        """Begins empty.

        Args:
            objective: Latencies and reward.
            evaluator: Source of accuracies.
        """
        self.objective, self.evaluator = objective, evaluator
        self.values: dict[bytes, tuple[float, Floats]] = {}

    def evaluate(self, ask: Ask) -> Iterator[Evaluations]:
        """Evaluates networks; those that are known are not evaluated again.

        Args:
            ask: Networks that the method asks for.

        Yields:
            Evaluations in the order of the question, in as many pieces as the evaluator answers in.

        Raises:
            SearchError: The evaluator gives no fractions, or another number of them than of networks.
        """
        space = self.objective.space
        rows = space.canonical(space.check(ask.encodings))
        keys = [row.tobytes() for row in rows]
        new = {key: row for key, row in zip(keys, rows, strict=True) if key not in self.values}
        if not new:
            yield self._rewarded(ask, rows, [self.values[key] for key in keys])
            return
        wanted = np.array(list(new.values()), np.int16)
        latencies = dict(zip(new, self.objective.latencies(wanted), strict=True))
        unanswered, start = iter(new), 0
        for accuracies in self._accuracies(wanted):
            self.values.update((key, (one, latencies[key])) for one, key in zip(accuracies, unanswered, strict=False))
            end = next((place for place in range(start, len(keys)) if keys[place] not in self.values), len(keys))
            if end > start:
                yield self._rewarded(ask, rows[start:end], [self.values[key] for key in keys[start:end]])
            start = end

    def recall(self, ask: Ask, log: Evaluations, start: int) -> Evaluations:
        """Takes evaluations from a log instead of the evaluator.

        Args:
            ask: Networks that the method asks for.
            log: Evaluations of the log.
            start: Number of evaluations before the question.

        Raises:
            SearchError: The log holds other networks at this point.
        """
        space = self.objective.space
        rows = space.canonical(space.check(ask.encodings))
        part = slice(start, start + len(rows))
        if not np.array_equal(rows, log.encodings[part]):
            place = next(i for i, row in enumerate(rows) if not np.array_equal(row, log.encodings[start + i]))
            raise SearchError(
                f"the log's evaluation {start + place + 1} is {space.label(log.encodings[start + place])} and this search would "
                f"evaluate {space.label(rows[place])}: the log is of another version; begin a new one (argument 'log')"
            )
        values = list(zip(log.accuracy[part].tolist(), log.latencies[part], strict=True))
        self.values.update(zip((row.tobytes() for row in rows), values, strict=True))
        return self._rewarded(ask, rows, values)

    def _accuracies(self, rows: Encodings) -> Iterator[list[float]]:
        """The evaluator's answers: all at once or, if it gives an iterator, one by one."""
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

    def _checked(self, given: ArrayLike, rows: Encodings) -> list[float]:
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
        found: list[float] = values.tolist()
        return found

    def _rewarded(self, ask: Ask, rows: Encodings, values: list[tuple[float, Floats]]) -> Evaluations:
        reward = self.objective.reward
        accuracy, latencies = np.array([one for one, _ in values]), np.array([row for _, row in values])
        norm = reward.f(latencies)
        binding = tuple(reward.hardware[i] for i in reward.binding(latencies))
        phases = (ask.phase,) * len(rows)
        return Evaluations(phases, rows, accuracy, latencies, norm, reward.of_norm(accuracy, norm), binding)
