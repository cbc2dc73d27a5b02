"""Percentile effects: what a choice does to the fastest and the slowest networks, with intervals.

Networks of one sample are resampled, because the networks with a choice are among all networks. Independent samples need no
resampling: the limits of a quantile are order statistics.
"""

from __future__ import annotations

import numpy as np

from mhmodels.search.arrays import Bools, Floats

LEVELS = (0.05, 0.95)
"""Probabilities of the quantiles."""
FEWEST = 20
"""Number of networks with a choice from which its 5 and 95 % quantiles are estimated."""
_RESAMPLES = 200


def percentile_effects(values: Floats, base: Floats, confidence: float) -> tuple[tuple[float, float | None, float | None], ...]:
    """Differences between the quantiles of two independent samples.

    The limits of a quantile are the order statistics whose ranks the binomial distribution of its rank gives. The limits of the
    difference combine them (method of variance estimates recovery, Zou and Donner 2008).

    Args:
        values: (n,), metric of the networks with a choice.
        base: (m,), metric of the networks of the mean network's sample.
        confidence: Two-sided confidence of the intervals.

    Returns:
        (effect, low, high) for each of `LEVELS`; low and high are None if a sample has fewer than 20 networks.
    """
    ordered = np.sort(values), np.sort(base)
    found: list[tuple[float, float | None, float | None]] = []
    for level in LEVELS:
        these, those = (_order_limits(each, level, confidence) for each in ordered)
        mean = these[0] - those[0]
        if min(len(values), len(base)) < FEWEST:
            found.append((mean, None, None))
            continue
        below = float(np.hypot(these[0] - these[1], those[2] - those[0]))
        above = float(np.hypot(these[2] - these[0], those[0] - those[1]))
        found.append((mean, mean - below, mean + above))
    return tuple(found)


def _order_limits(ordered: Floats, level: float, confidence: float) -> tuple[float, float, float]:
    """A quantile of sorted values (n,), and the values at the limits of its rank."""
    from scipy.stats import norm

    n = len(ordered)
    half = float(norm.ppf((1 + confidence) / 2)) * np.sqrt(level * (1 - level) / n)
    quantile, low, high = np.quantile(ordered, [level, max(level - half, 0), min(level + half, 1)])
    return float(quantile), float(low), float(high)


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
