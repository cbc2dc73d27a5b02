"""How well predictions meet latencies."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mhmodels.formats.checked import Checked


class Statistics(Checked, frozen=True, kw_only=True):
    """Over n architectures that were not trained on.

    Attributes:
        n: how many count.
        mape: mean of |predicted - true| / true.
        rmse_ms: root mean square error.
        hit_rate_10: share within 10 % of the truth (nn-Meter's measure).
        r2: coefficient of determination; None for a constant truth.
        spearman, kendall: rank correlations; None where either side is constant.
        median_ape: median of |predicted - true| / true, over those set aside too; None in files of earlier versions.
        set_aside: further architectures whose latency is far off and counts only in `median_ape`.
    """

    n: int
    mape: float
    rmse_ms: float
    hit_rate_10: float
    r2: float | None
    spearman: float | None
    kendall: float | None
    median_ape: float | None = None
    set_aside: int = 0


def statistics(true_ms: ArrayLike, predicted_ms: ArrayLike, counted: ArrayLike | None = None) -> Statistics:
    """Compares latencies (n,) with predictions (n,), in ms; `counted` (n,) says which count, all if that would leave none."""
    from scipy.stats import kendalltau, spearmanr

    true, predicted = np.asarray(true_ms, np.float64), np.asarray(predicted_ms, np.float64)
    median = float(np.median(np.abs(predicted - true) / true))
    total = len(true)
    if counted is not None and np.any(counted):
        true, predicted = true[np.asarray(counted, bool)], predicted[np.asarray(counted, bool)]
    error = predicted - true
    relative = np.abs(error) / true
    # A sum of squares around a rounded mean need not be 0 where all are equal.
    varied = len(true) > 1 and np.ptp(true) > 0
    ranked = varied and np.ptp(predicted) > 0
    return Statistics(
        n=len(true),
        mape=float(relative.mean()),
        rmse_ms=float(np.sqrt((error**2).mean())),
        hit_rate_10=float((relative <= 0.1).mean()),
        r2=1 - float((error**2).sum() / ((true - true.mean()) ** 2).sum()) if varied else None,
        spearman=float(spearmanr(true, predicted)[0]) if ranked else None,
        kendall=float(kendalltau(true, predicted)[0]) if ranked else None,
        median_ape=median,
        set_aside=total - len(true),
    )
