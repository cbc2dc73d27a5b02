"""Comparisons of models on several hardware, as data and as tables, and model cards.

from mhmodels.report import compare_models
comparison = compare_models(["multi_max", "multi_avg"], hardware=["host-cpu-int8", "ethos-u55-128"])
table = comparison.latency_table()             # a mhmodels.metrics.LatencyTable
frame = pandas.DataFrame(comparison.records())
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mhmodels.lazy import lazy_names

if TYPE_CHECKING:
    from mhmodels.report.comparison import Comparison, ComparisonRow
    from mhmodels.report.measuring import compare_models
    from mhmodels.report.model_cards import model_card
    from mhmodels.report.table import ComparisonTable

__all__ = ["Comparison", "ComparisonRow", "ComparisonTable", "compare_models", "model_card"]

_MODULE_OF = {
    "Comparison": "comparison", "ComparisonRow": "comparison", "ComparisonTable": "table", "compare_models": "measuring",
    "model_card": "model_cards",
}  # fmt: skip

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)
