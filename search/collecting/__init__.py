"""Collects latencies of many networks on many hardware: resumable, robust to noise and drift, on devices and clusters."""

from __future__ import annotations

from mhmodels.search.collecting.collect import collect, run_plan
from mhmodels.search.collecting.plan import CollectPlan, CollectSettings, CollectTarget, make_plan
from mhmodels.search.collecting.progress import CollectProgress, CollectReport, Tally

__all__ = [
    "CollectPlan",
    "CollectProgress",
    "CollectReport",
    "CollectSettings",
    "CollectTarget",
    "Tally",
    "collect",
    "make_plan",
    "run_plan",
]
