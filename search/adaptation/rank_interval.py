"""Spearman's rank correlation of paired values, with a confidence interval.

The interval is symmetric on Fisher's z scale (z = artanh of the correlation). Its standard error is the larger of two:

- the formula of Bonett and Wright (Psychometrika 65, 2000), √((1 + r²/2) / (n − 3)), which assumes that the values are a monotone
  function of normal ones;
- the jackknife, which assumes no distribution, but varies much for few pairs.

`examples/monotonicity_coverage.py` measures how often this interval and others contain the correlation over all networks.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mhmodels.search.arrays import Floats
from mhmodels.search.errors import CostModelError

LEAST_PAIRS = 5
"""Number of pairs below which no interval is computed: the formula divides by n − 3, and the jackknife leaves one pair out."""
MOST_LEFT_OUT = 1000
"""Number of pairs above which the jackknife uses a random subset of this size, because its time is quadratic."""


class RankInterval(NamedTuple):
    """Spearman's correlation of a sample, and its confidence interval.

    Attributes:
        n: Number of pairs that count.
        excluded: Number of pairs that were left out because one of their values is NaN.
        spearman: Spearman's correlation of the sample, -1 to 1; ties have mean ranks.
        low, high: Limits of the interval, -1 to 1, with low <= spearman <= high.
        jackknife_error: Jackknife's standard error on Fisher's z scale, at least 0.
    """

    n: int
    excluded: int
    spearman: float
    low: float
    high: float
    jackknife_error: float


def rank_interval(first: ArrayLike, second: ArrayLike, confidence: float = 0.9) -> RankInterval:
    """Computes Spearman's correlation of paired values and its two-sided confidence interval.

    The result is deterministic. It does not depend on the order of the pairs, unless there are more than `MOST_LEFT_OUT`.

    Args:
        first, second: (n,), values of any unit. A pair with NaN is excluded and counted.
        confidence: Probability that the interval contains the correlation of the population, above 0 and below 1.

    Raises:
        CostModelError: The arguments differ in shape, fewer than `LEAST_PAIRS` pairs are left, or the values of one argument are
            all equal.
    """
    one, other = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if one.ndim != 1 or one.shape != other.shape:
        raise CostModelError(f"arguments 'first' and 'second' have shapes {one.shape} and {other.shape}, expected (n,) for both")
    both = ~(np.isnan(one) | np.isnan(other))
    n, excluded = int(both.sum()), int((~both).sum())
    one, other = one[both], other[both]
    if n < LEAST_PAIRS:
        raise CostModelError(f"{n} pairs of values, expected at least {LEAST_PAIRS} for an interval of their rank correlation")
    for name, values in (("first", one), ("second", other)):
        if np.ptp(values) == 0:
            raise CostModelError(f"argument '{name}': all {n} values are {values[0]:g}, expected different ones to rank")
    spearman = correlation(one, other)
    error = jackknife_error(one, other)
    low, high = limits(spearman, n, error, confidence)
    return RankInterval(n, excluded, spearman, float(low), float(high), error)


def limits(spearman: float, n: ArrayLike, jackknife_error: ArrayLike, confidence: float) -> tuple[Floats, Floats]:
    """Computes the limits of the interval.

    Args:
        spearman: Correlation of the sample, -1 to 1.
        n: Number or numbers of pairs, above 3.
        jackknife_error: Jackknife's standard error on the z scale, of the shape of `n`.
        confidence: Two-sided confidence, above 0 and below 1.

    Returns:
        Lower and upper limits, of the shape of `n`. The upper limit is 1 if the sample's correlation is 1: without any
        disagreement in the sample, nothing speaks for a lower one; likewise -1.
    """
    pairs = np.asarray(n, np.float64)
    z = fisher_z(spearman, pairs)
    half = NormalDist().inv_cdf((1 + confidence) / 2) * np.maximum(bonett_wright_error(spearman, pairs), jackknife_error)
    return np.minimum(np.tanh(z - half), spearman), np.maximum(np.tanh(z + half), spearman)


def fisher_z(spearman: ArrayLike, n: ArrayLike) -> Floats:
    """Fisher's z of correlations of n pairs.

    A correlation of 1 counts as the middle between 1 and the next lower value, which is that of one exchange of neighbours, so
    that z is finite.
    """
    pairs = np.asarray(n, np.float64)
    largest = 1 - 6 / (pairs * (pairs**2 - 1))
    z: Floats = np.arctanh(np.clip(spearman, -largest, largest))
    return z


def bonett_wright_error(spearman: float, n: ArrayLike) -> Floats:
    """Standard error of Fisher's z of Spearman's correlation of n pairs, by the formula of Bonett and Wright."""
    error: Floats = np.sqrt((1 + spearman**2 / 2) / (np.asarray(n, np.float64) - 3))
    return error


def correlation(first: Floats, second: Floats) -> float:
    """Spearman's correlation of values without NaN, (n,) each, of which not all are equal."""
    x, y = (ranks - ranks.mean() for ranks in (mean_ranks(first), mean_ranks(second)))
    return float(np.clip((x @ y) / np.sqrt((x @ x) * (y @ y)), -1, 1))


def mean_ranks(values: Floats) -> Floats:
    """Ranks from 1; equal values have the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[place.ravel()]
    return ranks


def jackknife_error(first: Floats, second: Floats) -> float:
    """Jackknife's standard error of Fisher's z of Spearman's correlation.

    Args:
        first, second: (n,), values without NaN. Of more than `MOST_LEFT_OUT` pairs, a random subset counts.
    """
    n = len(first)
    if n > MOST_LEFT_OUT:
        subset = np.random.default_rng(0).choice(n, MOST_LEFT_OUT, replace=False)
        first, second = first[subset], second[subset]
    m = len(first)
    z = fisher_z(leave_one_out(first, second), m - 1)
    # A standard error falls with the root of the number of pairs.
    return float(np.sqrt((m - 1) / m * ((z - z.mean()) ** 2).sum()) * np.sqrt(m / n))


def leave_one_out(first: Floats, second: Floats) -> Floats:
    """Spearman's correlation without each of the n pairs in turn, (n,); 0 where the other values of a side are all equal.

    Args:
        first, second: (n,), values without NaN.
    """
    n = len(first)
    above_x, above_y = _above(first), _above(second)
    x, y = above_x.sum(axis=1) - n / 2, above_y.sum(axis=1) - n / 2
    # Without pair k, the rank of i falls by above[i, k]; the mean of the ranks moves from n / 2 to (n - 1) / 2.
    moved_x, moved_y = x[:, None] - above_x + 0.5, y[:, None] - above_y + 0.5
    np.fill_diagonal(moved_x, 0)
    np.fill_diagonal(moved_y, 0)
    products = [np.einsum("ik,ik->k", one, other) for one, other in ((moved_x, moved_y), (moved_x, moved_x), (moved_y, moved_y))]
    scale = np.sqrt(products[1] * products[2])
    return np.divide(products[0], scale, out=np.zeros(n), where=scale > 1e-9)


def _above(values: Floats) -> Floats:
    """1 where value i is larger than value k, 0.5 where they are equal, (n, n)."""
    larger: Floats = (values[:, None] > values) + 0.5 * (values[:, None] == values)
    return larger
