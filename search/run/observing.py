"""How a search tells what it does: the observer that callers may hand to `run_search`."""

from __future__ import annotations

from typing import Protocol

from mhmodels.search.objective.objective import Objective, Reach
from mhmodels.search.supernet.watching import SilentObserver, WeightSharingObserver


class SearchObserver(WeightSharingObserver, Protocol):
    """Receives the progress of a search; methods run in the process of the search, between two evaluations.

    A search with an evaluator calls `evaluated`; a search by weight sharing calls `stepped` and `finalist_judged` instead.
    """

    def begins(self, objective: Objective, accuracies: str, reach: Reach) -> None:
        """Called once, before the first evaluation.

        Args:
            objective: Space, latencies and reward.
            accuracies: Source of the accuracies, in words and hashes.
            reach: Norms that the space offers, and the share of networks near the target.
        """
        ...

    def evaluated(self, evaluations: int, phase: str, best_reward: float) -> None:
        """Called after every answer of the evaluator.

        Args:
            evaluations: Number of evaluations so far, repetitions included.
            phase: Phase of the method.
            best_reward: Best reward so far.
        """
        ...


class SilentSearchObserver(SilentObserver):
    """An observer that does nothing; subclass it to receive some of the calls."""

    def begins(self, objective: Objective, accuracies: str, reach: Reach) -> None:
        """Does nothing."""

    def evaluated(self, evaluations: int, phase: str, best_reward: float) -> None:
        """Does nothing."""
