"""Collecting latencies of many networks on many hardware: resumable, steady, spread over devices and machines."""

from __future__ import annotations

from mhmodels.search.collecting.collect import Progress, Report, Tally, collect
from mhmodels.search.collecting.plan import Settings, Target, make_plan

__all__ = ["Progress", "Report", "Settings", "Tally", "Target", "collect", "make_plan"]
