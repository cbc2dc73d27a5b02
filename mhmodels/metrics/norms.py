"""The two multi-hardware norms of the paper (arXiv 2008.08178, equations 4 and 5), as functions of arrays.

    f_avg = mean over i of L_i / C_i          f_max = max over i of L_i / C_i

L_i is the latency of a model on hardware i, and C_i is the reference latency that counts as 1 there: that of MobileNetV1 at
width 1.0 in the paper. Both norms are dimensionless; below 1 is faster than the reference.

The hardware can be weighted in two ways:

* By the reference latencies, as in the paper: C_i / 2 makes hardware i count double. The reference model itself then scores
  above 1, so a target of 1 means something else than before.
* By `weights`, the importance relative to the others: f_avg is the weighted mean, f_max the maximum of L_i / C_i scaled by
  w_i / max(w). The reference model keeps scoring 1 in both, whatever the weights; equal weights change nothing.

C_i = infinity and w_i = 0 both remove hardware i: the norms are over the hardware that remains. (Read literally, an infinite
C_i would keep its zero in the mean and divide by all N. The reference model would then score 1 - 1/N, a search with the target
1 would settle on a slower model for it, and a model that does not run on i at all would stay without a norm.)
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhmodels.errors import MhmodelsError

Floats: TypeAlias = NDArray[np.float64]


class MetricsError(MhmodelsError, ValueError):
    """Latencies, reference latencies or weights that no norm can be computed from."""


def f_avg(latency_ms: ArrayLike, reference_ms: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Normalised average latency (arXiv 2008.08178, equation 4).

    Args:
        latency_ms: L in ms, shape (…, hardware); NaN where the network does not run.
        reference_ms: C in ms, shape (hardware,); infinity removes that hardware.
        weights: Importance of each hardware, at least 0, shape (hardware,); None for equal weights.

    Returns:
        F_avg, dimensionless, shape (…); NaN where a latency that counts is NaN.

    Raises:
        MetricsError: A latency or reference latency is zero or negative, or a reference latency is NaN; shapes do not fit;
            weights are negative or not finite; every hardware is removed.

    Example:
        >>> from mhmodels.metrics import f_avg
        >>> f_avg([[10.0, 4.0], [5.0, 8.0]], [10.0, 8.0]).round(3).tolist()
        [0.75, 0.75]
    """
    ratios, importance = _ratios(latency_ms, reference_ms, weights)
    share = importance / importance.max()  # whose sum is finite, however large they are
    average: Floats = (ratios * share).sum(axis=-1) / share.sum()
    return average


def f_max(latency_ms: ArrayLike, reference_ms: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Normalised maximum latency (arXiv 2008.08178, equation 5).

    Args:
        latency_ms: L in ms, shape (…, hardware); NaN where the network does not run.
        reference_ms: C in ms, shape (hardware,); infinity removes that hardware.
        weights: Importance of each hardware, at least 0, shape (hardware,); None for equal weights.

    Returns:
        F_max, dimensionless, shape (…); NaN where a latency that counts is NaN.

    Raises:
        MetricsError: See `f_avg`.

    Example:
        >>> from mhmodels.metrics import f_max
        >>> f_max([[10.0, 4.0], [5.0, 8.0]], [10.0, 8.0]).round(3).tolist()
        [1.0, 1.0]
    """
    ratios, importance = _ratios(latency_ms, reference_ms, weights)
    maximum: Floats = (ratios * (importance / importance.max())).max(axis=-1)
    return maximum


def _ratios(latency_ms: ArrayLike, reference_ms: ArrayLike, weights: ArrayLike | None) -> tuple[Floats, Floats]:
    """L / C and the importance, both of the hardware that counts only."""
    latency = np.asarray(latency_ms, np.float64)
    c = np.asarray(reference_ms, np.float64)
    if c.ndim != 1 or latency.ndim < 1 or latency.shape[-1] != c.size or c.size == 0:
        raise MetricsError(f"latencies have shape {latency.shape}, references {c.shape}; expected (…, hardware) and (hardware,)")
    importance = np.ones(c.size) if weights is None else np.asarray(weights, np.float64)
    if importance.shape != c.shape:
        raise MetricsError(f"weights have shape {importance.shape}, expected one for each of {c.size} hardware")
    _check_all(latency, np.isnan(latency) | ((latency > 0) & np.isfinite(latency)), "latency", "a finite latency above 0, or NaN")
    _check_all(c, c > 0, "reference latency", "a latency above 0, or infinity to remove that hardware")
    _check_all(importance, (importance >= 0) & np.isfinite(importance), "weight", "a finite weight of at least 0")
    counts = np.isfinite(c) & (importance > 0)
    if not counts.any():
        raise MetricsError(
            f"all {c.size} hardware are removed (infinite reference or weight 0), expected at least one that counts"
        )
    return latency[..., counts] / c[counts], importance[counts]


def _check_all(values: Floats, good: NDArray[np.bool_], what: str, expected: str) -> None:
    if not good.all():
        where = tuple(int(i) for i in np.argwhere(~good)[0])
        raise MetricsError(f"{what} at index {', '.join(map(str, where))} is {values[where]}, expected {expected}")
