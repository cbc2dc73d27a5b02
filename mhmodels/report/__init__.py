"""Comparisons of models on several hardware, as data and as tables, and model cards.

from mhmodels.report import compare_models
comparison = compare_models(["multi_max", "multi_avg"], hardware=["host-cpu-int8", "ethos-u55-128"])
table = comparison.latency_table()             # a mhmodels.metrics.LatencyTable
frame = pandas.DataFrame(comparison.records())
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mhmodels.report.comparison import Comparison, ComparisonRow
    from mhmodels.report.measuring import compare_models
    from mhmodels.report.model_cards import model_card
    from mhmodels.report.table import ComparisonTable

__all__ = ["Comparison", "ComparisonRow", "ComparisonTable", "compare_models", "model_card"]

_HOMES = {
    "Comparison": "comparison", "ComparisonRow": "comparison", "ComparisonTable": "table", "compare_models": "measuring",
    "model_card": "model_cards",
}  # fmt: skip


def __getattr__(name: str) -> object:
    """Imports a public name when it is first used, because tables and measuring import more than a command line needs."""
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
