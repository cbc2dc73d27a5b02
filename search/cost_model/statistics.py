"""Statistics of how well predictions match latencies."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mhmodels.formats.checked import Checked

LEAST_SPEARMAN = 0.9
"""Rank correlation with held-out latencies below which a search would be guided by chance."""


class Statistics(Checked, frozen=True, kw_only=True):
    """Errors of predictions for networks that the model was not fitted to.

    Attributes:
        n: Number of networks that count.
        mape: Mean of |predicted - true| / true.
        rmse_ms: Root mean square error in ms.
        hit_rate_10: Share of predictions within 10 % of the latency (the measure of nn-Meter).
        r2: Coefficient of determination; None if all latencies are equal.
        spearman, kendall: Rank correlations; None if all latencies or all predictions are equal.
        median_ape: Median of |predicted - true| / true, networks that were set aside included; None in files of earlier versions.
        set_aside: Number of further networks whose latency is far off. They count in `median_ape` only.
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
    """Compares predictions with latencies.

    Args:
        true_ms: (n,), latencies in ms, above 0.
        predicted_ms: (n,), predictions in ms.
        counted: (n,), truth values, networks that count; None for all. If it excludes all networks, all count.
    """
    from scipy.stats import kendalltau, spearmanr

    true, predicted = np.asarray(true_ms, np.float64), np.asarray(predicted_ms, np.float64)
    median = float(np.median(np.abs(predicted - true) / true))
    total = len(true)
    if counted is not None and np.any(counted):
        true, predicted = true[np.asarray(counted, bool)], predicted[np.asarray(counted, bool)]
    error = predicted - true
    relative = np.abs(error) / true
    # Rounding of the mean leaves a sum of squares above 0 even where all latencies are equal.
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


def rank_doubt(report: Statistics) -> str:
    """Warning that held-out networks are ranked too badly to guide a search, "" if they are not."""
    if report.spearman is None or report.spearman >= LEAST_SPEARMAN:
        return ""
    return (
        f"held-out networks are ranked with a Spearman correlation of {report.spearman:.3f}, expected at least {LEAST_SPEARMAN:g}"
    )
