"""Rewards of a search: accuracy, reduced by the latencies of the network on several hardware.

With f the norm of a network's latencies (equation 4 or 5 of arXiv 2008.08178, `mhmodels.metrics`), t the target and β < 0:

    absolute (equations 6, 7, 8):       r = accuracy + β · |f / t - 1|
    soft-exponential (MnasNet, TuNAS):  r = accuracy · (f / t)^β
    hard-exponential (TuNAS):           r = accuracy · min((f / t)^β, 1)

Equation 6 is the absolute reward with one hardware, equation 7 with the average and equation 8 with the maximum over hardware.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from mhmodels.metrics import f_avg, f_max
from mhmodels.search.arrays import Bools, Floats, Indices
from mhmodels.search.errors import SearchError

Aggregate: TypeAlias = Literal["avg", "max"]
RewardKind: TypeAlias = Literal["absolute", "soft-exponential", "hard-exponential"]


class Reward(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The quantity that a search maximises (equations 6 to 8 of arXiv 2008.08178, and the forms of MnasNet and TuNAS).

    Attributes:
        kind: Form of the reward; docs/search.md has the formulas.
        beta: β, below 0. The paper uses -0.07 for several hardware, TuNAS -0.10 for one.
        target: Target t of f, above 0. A network with f = 1 has the latency of the reference.
        aggregate: Average or maximum of the normalised latencies (equations 4 and 5).
        references: Reference latencies in ms by hardware id (C in equations 4 and 5), above 0. Their order is the order of the
            columns of latencies. Infinity excludes the hardware from f.
        weights: Weight in f by hardware id, at least 0, default 1. A weight of 0 excludes the hardware from f.

    Raises:
        SearchError: A field is out of its range, or no hardware is left.

    Example:
        >>> from mhmodels.search import Reward
        >>> reward = Reward(references={"my-phone": 10.0, "my-npu": 2.0}, target=1.0)
        >>> reward([0.75, 0.75], [[10.0, 2.0], [20.0, 4.0]]).round(6).tolist()
        [0.75, 0.68]
        >>> reward.equation
        '7'
    """

    references: dict[str, float]
    kind: RewardKind = "absolute"
    beta: float = -0.07
    target: float = 1.0
    aggregate: Aggregate = "avg"
    weights: dict[str, float] = {}

    def __post_init__(self) -> None:
        if not self.references:
            raise SearchError("reward: field 'references' is empty, expected a latency in ms for at least one hardware")
        for hardware, value in self.references.items():
            if not value > 0:
                raise SearchError(f"reward: reference latency of '{hardware}' is {value}, expected ms above 0")
        unknown = next((name for name in self.weights if name not in self.references), None)
        if unknown is not None:
            raise SearchError(f"reward: weight of '{unknown}', which has no reference; hardware: {', '.join(self.references)}")
        bad = next((name for name, value in self.weights.items() if not 0 <= value < math.inf), None)
        if bad is not None:
            raise SearchError(f"reward: weight of '{bad}' is {self.weights[bad]}, expected a finite number of at least 0")
        if not self.counted.any():
            raise SearchError("reward: every hardware is removed (infinite reference or weight 0), expected one that counts")
        if not -math.inf < self.beta < 0:
            raise SearchError(f"reward: field 'beta' is {self.beta}, expected a number below 0 (slower networks earn less)")
        if not 0 < self.target < math.inf:
            raise SearchError(
                f"reward: field 'target' is {self.target}, expected a number above 0 (1 is as slow as the references)"
            )

    @property
    def hardware(self) -> tuple[str, ...]:
        """Hardware ids in the order of the columns of latencies."""
        return tuple(self.references)

    @property
    def counted(self) -> Bools:
        """(hardware,), whether each hardware counts: its reference is finite and its weight above 0."""
        return np.isfinite(list(self.references.values())) & (self._importance > 0)

    @property
    def equation(self) -> str:
        """Number of the paper's equation, "" for the multiplicative forms."""
        if self.kind != "absolute":
            return ""
        return "6" if len(self.references) == 1 else {"avg": "7", "max": "8"}[self.aggregate]

    def f(self, latencies_ms: ArrayLike) -> Floats:
        """Computes f, the aggregated normalised latency (equation 4 or 5).

        Args:
            latencies_ms: (n, hardware), ms above 0.

        Returns:
            (n,), dimensionless.

        Raises:
            SearchError: The number of hardware differs, or a latency is missing, zero, negative or infinite.
        """
        latencies = self._checked(latencies_ms)
        norm = f_avg if self.aggregate == "avg" else f_max
        return norm(latencies, np.array(list(self.references.values())), self._importance)

    def binding(self, latencies_ms: ArrayLike) -> Indices:
        """Finds the hardware on which each network is slowest relative to the references.

        Args:
            latencies_ms: (n, hardware), ms above 0.

        Returns:
            (n,), index of the hardware with the largest weighted L / C.

        Raises:
            SearchError: As `f`.
        """
        latencies = self._checked(latencies_ms)
        worst: Indices = (latencies / np.array(list(self.references.values())) * self._importance).argmax(axis=1)
        return worst

    def __call__(self, accuracy: ArrayLike, latencies_ms: ArrayLike) -> Floats:
        """Computes rewards.

        Args:
            accuracy: (n,), fractions from 0 to 1.
            latencies_ms: (n, hardware), ms above 0.

        Returns:
            (n,), rewards.

        Raises:
            SearchError: As `f`; or an accuracy is not a number from 0 to 1, or their number differs.
        """
        return self.of_norm(accuracy, self.f(latencies_ms))

    def of_norm(self, accuracy: ArrayLike, norm: ArrayLike) -> Floats:
        """Computes rewards from known values of f.

        Args:
            accuracy: (n,), fractions from 0 to 1.
            norm: (n,), norms of `f`.

        Returns:
            (n,), rewards.

        Raises:
            SearchError: An accuracy is not a number from 0 to 1, or the lengths differ.
        """
        a, ratio = np.asarray(accuracy, np.float64), np.asarray(norm, np.float64) / self.target
        if a.shape != ratio.shape:
            raise SearchError(f"reward: accuracies are {a.shape} and norms {ratio.shape}, expected one each a network")
        wrong = np.flatnonzero(~((a >= 0) & (a <= 1)))
        if len(wrong):
            raise SearchError(f"reward: accuracy {wrong[0]} is {a.ravel()[wrong[0]]}, expected a fraction from 0 to 1")
        if self.kind == "absolute":
            rewards: Floats = a + self.beta * np.abs(ratio - 1)
            return rewards
        factor = ratio**self.beta
        return a * (np.minimum(factor, 1) if self.kind == "hard-exponential" else factor)

    @property
    def _importance(self) -> Floats:
        return np.array([self.weights.get(name, 1.0) for name in self.references])

    def _checked(self, latencies_ms: ArrayLike) -> Floats:
        latencies = np.asarray(latencies_ms, np.float64)
        if latencies.ndim != 2 or latencies.shape[1] != len(self.references):
            raise SearchError(
                f"reward: latencies are {latencies.shape}, expected (n, {len(self.references)}) for {self.hardware}"
            )
        bad = np.argwhere(~((latencies > 0) & np.isfinite(latencies)))
        if len(bad):
            row, column = (int(i) for i in bad[0])
            raise SearchError(
                f"reward: latency {row} on '{self.hardware[column]}' is {latencies[row, column]} ms, expected one above 0; "
                "restrict the space to what runs there, or leave that hardware out"
            )
        return latencies
