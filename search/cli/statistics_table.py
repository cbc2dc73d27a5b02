"""The table of a cost model's errors that `fit` and `validate` print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from mhmodels.search.cost_model.statistics import Statistics


def statistics_table(rows: Sequence[tuple[str, Statistics]]) -> Table:
    """A table of errors.

    Args:
        rows: Name and statistics of each set of networks.
    """
    table = Table("", "networks", "set aside", "median APE", "MAPE", "RMSE ms", "within 10 %", "R²", "Spearman", "Kendall")
    for name, report in rows:
        ranks = ["" if value is None else f"{value:.4f}" for value in (report.r2, report.spearman, report.kendall)]
        median = "" if report.median_ape is None else f"{report.median_ape:.2%}"
        errors = f"{report.mape:.2%}", f"{report.rmse_ms:.4g}", f"{report.hit_rate_10:.1%}"
        table.add_row(name, str(report.n), str(report.set_aside or ""), median, *errors, *ranks)
    return table
