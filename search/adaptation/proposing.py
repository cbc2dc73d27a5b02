"""Proposes which networks to measure next: those whose latency is most uncertain given what is known."""

from __future__ import annotations

import numpy as np

from mhmodels.search.adaptation.process import HYPERPRIOR, fit_process
from mhmodels.search.adaptation.sources import PreparedSources
from mhmodels.search.arrays import Floats, Indices
from mhmodels.search.cost_model.adapted.posterior import clock_step, clock_variance
from mhmodels.search.space.search_space import Encodings

_LEVEL_VARIANCE = 4.0
"""Prior variance of the level of log latencies while networks are chosen: a free level makes all networks equally unknown."""
_FIRST_NOISE = -2.5
"""Log noise variance before anything is measured. Less noise would favour extreme networks over typical ones."""
_LEAST_NOISE = -6.0
_FEWEST = 5
"""Fewest measurements that the variances are fitted to."""


def propose(prepared: PreparedSources, candidates: Encodings, measured: Encodings, measured_ms: Floats, networks: int) -> Indices:
    """Chooses networks to measure, greedily by the variance that remains, so that they differ from each other as well.

    From 5 measurements on, the variances of the prior are fitted to them, so that the next networks settle what this hardware
    is uncertain about.

    Args:
        prepared: Sources of the adaptation.
        candidates: (m, decisions), int16, networks to choose from.
        measured: (n, decisions), int16, networks that are measured; n may be 0.
        measured_ms: (n,), their latencies on the target in ms, above 0.
        networks: Number of networks to choose, at most m.

    Returns:
        (networks,), indices of candidates in the order of the choice; candidates that are measured are not chosen.

    Raises:
        ValueError: There are fewer candidates that are not measured than `networks`.

    Example:
        >>> import numpy as np
        >>> from mhmodels.search import get_space, prepare_sources, propose, sample, shipped_model
        >>> space = get_space("multi_hardware")
        >>> prepared = prepare_sources(space, {"ethos-u55-128": shipped_model(space, "ethos-u55-128")})
        >>> candidates = sample(space, 100).encodings
        >>> len(set(propose(prepared, candidates, candidates[:0], np.empty(0), 5).tolist()))
        5
    """
    from threadpoolctl import threadpool_limits

    known = {row.tobytes() for row in prepared.space.canonical(measured)}
    free = np.array([i for i, row in enumerate(prepared.space.canonical(candidates)) if row.tobytes() not in known], np.int64)
    if len(free) < networks:
        raise ValueError(f"{len(free)} candidates are not measured, expected at least {networks}")
    with threadpool_limits(1, "blas"):
        covariance, noise = _remaining(prepared, candidates[free], measured, measured_ms)
        return free[_greedy(covariance, noise, networks)]


def _remaining(prepared: PreparedSources, candidates: Encodings, measured: Encodings, ms: Floats) -> tuple[Floats, float]:
    """Covariance (m, m) of the candidates' log latencies given the measurements, and the noise variance."""
    prior = prepared.prior
    ours, theirs = prior.features(candidates), prior.features(measured) if len(measured) else None
    variances, noise = np.exp([HYPERPRIOR[name].mean for name in prior.groups]), float(np.exp(_FIRST_NOISE))
    own = prior.kernels(theirs, theirs) if theirs is not None else None
    if own is not None and theirs is not None and len(ms) >= _FEWEST:
        process = fit_process(own, np.log(ms), clock_variance(ms, clock_step(ms)), prior.groups, prior.unit, theirs.mean[:, 0])
        variances, noise = process.variances, max(process.noise, float(np.exp(_LEAST_NOISE)))
    covariance: Floats = np.tensordot(variances, prior.kernels(ours, ours), 1) + _LEVEL_VARIANCE
    if own is not None and theirs is not None:
        between = np.tensordot(variances, prior.kernels(ours, theirs), 1) + _LEVEL_VARIANCE
        known = np.tensordot(variances, own, 1) + _LEVEL_VARIANCE + noise * np.eye(len(ms))
        covariance = covariance - between @ np.linalg.solve(known, between.T)
    return covariance, noise


def _greedy(covariance: Floats, noise: float, networks: int) -> Indices:
    """Indices (networks,) of the largest remaining variance, one after the other."""
    chosen: list[int] = []
    for _ in range(networks):
        variance = np.diag(covariance).copy()
        variance[chosen] = -np.inf
        place = int(variance.argmax())
        chosen.append(place)
        covariance = covariance - np.outer(covariance[:, place], covariance[place]) / (covariance[place, place] + noise)
    return np.array(chosen, np.int64)
