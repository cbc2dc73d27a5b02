"""Latencies of hardware that does not exist: a source, and targets that differ from it in a known way."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import spearmanr

from mhmodels.search.adaptation.adapting import Adapted, adapt
from mhmodels.search.adaptation.sources import PreparedSources, prepare_sources
from mhmodels.search.cost_model.adapted.features import network_features
from mhmodels.search.cost_model.latencies.dataset import Latencies
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.search_space import SearchSpace

SPACES = ("nas_bench_201", "fbnet", "multi_hardware")
SOURCE = slice(0, 250)
"""Networks of the source."""
MEASURED = slice(250, 400)
"""Networks from which those measured on the target are drawn; the source does not have them."""
REST = slice(400, None)
"""Networks that predictions are judged by."""


class World(NamedTuple):
    """Networks of a space with the latencies of a source.

    Attributes:
        space: The space.
        rows: (n, decisions), different networks.
        ms: (n,), latencies on the source, without noise.
        kernels: (n,), number of kernels that a network launches; for cells, operations of the longest path.
        prepared: The source, fitted to noisy latencies of `SOURCE`.
    """

    space: SearchSpace
    rows: Any
    ms: Any
    kernels: Any
    prepared: PreparedSources


def table(rows: Any, ms: Any) -> Latencies:
    return Latencies(rows, np.asarray(ms, np.float64), (), LatencyOrigin("source"), ())


@functools.cache
def world(name: str) -> World:
    space = get_space(name)
    drawn = np.unique(space.draw(620, np.random.default_rng(3)), axis=0)
    rows = np.random.default_rng(4).permutation(drawn)
    totals, _, choices = network_features(space, rows)
    if space.tabular:
        weights = np.random.default_rng(5).uniform(0.5, 1, choices.shape[1])
        ms = 1 + choices @ (weights * np.tile([0, 0.3, 2, 6, 1.5], 6))
    else:
        macs, moved = totals[:, 1], totals[:, 2] + totals[:, 3]
        ms = 5 * macs / macs.mean() + 5 * moved / moved.mean()
    noisy = (ms * noise(len(ms), 0.01, 1))[SOURCE]
    return World(space, rows, ms, totals[:, 0], prepare_sources(space, {"source": table(rows[SOURCE], noisy)}))


def noise(n: int, sd: float, seed: int = 2) -> Any:
    """Factors (n,) of measurement errors."""
    return np.exp(sd * np.random.default_rng(seed).standard_normal(n))


def launch_bound(here: World, share: float = 2.0) -> Any:
    """Latencies (n,) of a device that pays for each kernel that it launches, and little for what the source pays for."""
    return 1 + 0.3 * here.ms / here.ms.std() + share * here.kernels / here.kernels.std()


def drawn(n: int, seed: int) -> Any:
    """Indices of measured networks."""
    return np.random.default_rng(seed).permutation(np.arange(MEASURED.start, MEASURED.stop))[:n]


def adapted(here: World, target: Any, n: int, seed: int = 0) -> Adapted:
    """Adapts the source to n measurements of latencies (all networks) on a target."""
    chosen = drawn(n, seed)
    return adapt(here.space, here.prepared, here.rows[chosen], target[chosen], "target")


def rank(found: Any, target: Any) -> float:
    """Spearman correlation."""
    return float(spearmanr(found, target)[0])


def rest_rank(here: World, result: Adapted, target: Any) -> float:
    """Spearman correlation on the networks that neither the source nor the adaptation has seen."""
    return rank(result.model.bind(here.space).predict(here.rows[REST]), target[REST])
