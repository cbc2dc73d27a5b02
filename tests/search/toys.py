"""Small spaces and objectives whose optimum is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mhmodels.search.objective.objective import Objective
from mhmodels.search.objective.rewards import Reward
from mhmodels.search.space.decisions import OneOf
from mhmodels.search.space.search_space import Encodings, SearchSpace
from mhmodels.search.space.tabular import TabularSpace

Floats = NDArray[np.float64]
BEST = 3


def space(decisions: int = 5, choices: int = 4) -> TabularSpace:
    """Decisions a, b, … of the same number of choices."""
    return TabularSpace("toy", [OneOf(chr(97 + i), tuple(range(choices))) for i in range(decisions)])


class Linear:
    """1 ms and so much more for every unit of every choice."""

    def __init__(self, per_choice: float) -> None:
        self.per_choice = per_choice

    def predict(self, encodings: Encodings) -> Floats:
        return 1.0 + self.per_choice * encodings.sum(axis=1)


def objective(of: SearchSpace | None = None, target: float = 4.0) -> Objective:
    """Two hardware; the second is twice as sensitive."""
    reward = Reward(references={"a": 1.0, "b": 1.0}, target=target, aggregate="max")
    return Objective(of or space(), {"a": Linear(0.1), "b": Linear(0.2)}, reward)


class Share:
    """Accuracy is the share of decisions that take choice `BEST`; counts what it is asked."""

    identity = "share of the best choice"

    def __init__(self, asked: Callable[[int], None] | None = None) -> None:
        self.count, self.asked = 0, asked

    def evaluate(self, encodings: Encodings) -> Floats:
        for _ in encodings:
            self.count += 1
            if self.asked is not None:
                self.asked(self.count)
        return (encodings == BEST).mean(axis=1)
