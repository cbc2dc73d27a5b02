"""Latency tables and the multi-hardware norms f_avg and f_max of the paper (arXiv 2008.08178, equations 4 and 5)."""

from __future__ import annotations

from mhmodels.metrics.latency_table import KINDS, LatencyTable, Norms, Reference
from mhmodels.metrics.norms import Floats, MetricsError, f_avg, f_max

__all__ = ["KINDS", "Floats", "LatencyTable", "MetricsError", "Norms", "Reference", "f_avg", "f_max"]
