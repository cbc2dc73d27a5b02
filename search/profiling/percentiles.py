"""Percentile effects: what a choice does to the fastest and the slowest networks, with bootstrap intervals."""

from __future__ import annotations

import numpy as np

from mhmodels.search.arrays import Bools, Floats

LEVELS = (0.05, 0.95)
"""Probabilities of the quantiles."""
FEWEST = 20
"""Number of networks with a choice from which its 5 and 95 % quantiles are estimated."""
_RESAMPLES = 200


class PercentileTable:
    """Values of a sample, resampled once for all choices. The seed is fixed: equal samples give equal intervals."""

    def __init__(self, values: Floats, confidence: float) -> None:
        """Resamples the networks.

        Args:
            values: (n,).
            confidence: Two-sided confidence of the intervals.
        """
        rng = np.random.default_rng(0)
        n = len(values)
        self._order = np.argsort(values, kind="stable")
        self._sorted = values[self._order]
        counts = [np.bincount(rng.integers(n, size=n), minlength=n) for _ in range(_RESAMPLES)]
        self._counts = np.array([np.ones(n, int), *counts], np.float64)
        self._limits = [(1 - confidence) / 2, (1 + confidence) / 2]
        self._all = self._quantiles(self._sorted, self._counts)

    def effects(self, having: Bools) -> tuple[tuple[float, float, float], ...] | None:
        """Differences between the quantiles of the networks with a choice and of all networks.

        Args:
            having: (n,), networks with the choice.

        Returns:
            (effect, low, high) for each of `LEVELS`; None if too few networks have the choice.
        """
        if having.sum() < FEWEST:
            return None
        ordered = having[self._order]
        differences = self._quantiles(self._sorted[ordered], self._counts[:, ordered]) - self._all
        limits = np.quantile(differences[:, 1:], self._limits, axis=1)
        return tuple(
            (float(each[0]), float(low), float(high)) for each, low, high in zip(differences, limits[0], limits[1], strict=True)
        )

    @staticmethod
    def _quantiles(ordered: Floats, counts: Floats) -> Floats:
        """(levels, resamples), quantiles of sorted values (m,) with counts (resamples, m), interpolated between values."""
        # Each value stands at the middle of its share of the sample.
        ends = np.cumsum(counts, axis=1)
        totals = np.maximum(ends[:, -1:], 1)
        middles = (ends - counts / 2) / totals
        found = [[np.interp(level, row, ordered) for row in middles] for level in LEVELS]
        return np.array(found)
