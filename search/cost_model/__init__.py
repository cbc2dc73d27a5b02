"""Cost models: latency on one hardware as a function of the architecture, fitted to latencies of random samples."""

from __future__ import annotations

from mhmodels.search.cost_model.fitting import FitOptions, fit
from mhmodels.search.cost_model.model import CostModel, load_cost_model

__all__ = ["CostModel", "FitOptions", "fit", "load_cost_model"]
