"""Fits a source, latencies on one hardware as a function of the network: robust kernel ridge regression, or a cost model."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np

from mhmodels.search.arrays import Floats
from mhmodels.search.cost_model.adapted.features import NetworkFeatures, Standard, network_features, standardised
from mhmodels.search.cost_model.adapted.kernel_source import KernelSource, similarity, write_encodings
from mhmodels.search.cost_model.data import CostModelData
from mhmodels.search.cost_model.fitting import fit_to_all
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.cost_model.regression.ridge import GramSystem
from mhmodels.search.cost_model.regression.robust import spread
from mhmodels.search.errors import CostModelError
from mhmodels.search.space.search_space import Encodings, SearchSpace

FEWEST = 20
"""Fewest networks of a source."""
MOST = 1000
"""Most networks that a source is fitted to; of more, this many are drawn."""
_STRENGTHS = 10.0 ** np.arange(-6.0, 1.1, 0.5)
_SPREADS = 8.0
"""Number of robust standard deviations of the errors beyond which a latency is set aside."""
_ROUNDS = 3
_FAR_BETTER = 0.8
"""Root mean square error of a cost model over that of kernel regression up to which the cost model is taken."""
_MARGIN = 0.5
"""How far predictions may be beyond the latencies of the source, as a log ratio."""


class _KernelFit(NamedTuple):
    """A kernel regression, and (n,) logs of ms of its networks as the others predict them; NaN where one was set aside."""

    source: KernelSource
    left_out: Floats


def fit_source(
    space: SearchSpace, encodings: Encodings, ms: Floats, standard: Standard, origin: LatencyOrigin
) -> KernelSource | CostModelData:
    """Fits the latencies of a source: by kernel regression, or by a cost model where this predicts left-out networks far better.

    Where widths vary, sums over operations follow latencies much more closely; where the parts of a network overlap, they cannot,
    and where both predict equally well, kernel regression is closer for the fastest networks.

    Args:
        space: Space of the networks.
        encodings: (n, decisions), int16, canonical, each once.
        ms: (n,), milliseconds above 0.
        standard: Mean and spread of the features in the space.
        origin: Hardware and conditions of the latencies.

    Raises:
        CostModelError: There are fewer than 20 networks, or all latencies are equal.
    """
    if len(ms) < FEWEST:
        raise CostModelError(
            f"a source has {len(ms)} networks with a latency, expected at least {FEWEST}: measure more or leave it out"
        )
    if np.ptp(ms) == 0:
        raise CostModelError(f"all {len(ms)} latencies of a source are {ms[0]:g} ms: they say nothing about networks")
    if len(ms) > MOST:
        chosen = np.sort(np.random.default_rng(0).permutation(len(ms))[:MOST])
        encodings, ms = encodings[chosen], ms[chosen]
    kernel = _kernel_fit(space, encodings, np.log(ms), standard)
    sums = fit_to_all(space, encodings, ms, origin)
    low, high = np.exp(kernel.source.lowest), np.exp(kernel.source.highest)
    left_out = np.log(np.clip(sums.left_out_ms, low, high))
    both = np.isfinite(kernel.left_out) & np.isfinite(left_out)
    errors = [_loss(predicted[both] - np.log(ms[both])) for predicted in (kernel.left_out, left_out)]
    if not both.any() or errors[1] > _FAR_BETTER**2 * errors[0]:
        return kernel.source
    content = msgspec.structs.asdict(sums.model) | {"floor_ms": float(low)}
    return CostModelData(**content)


def _kernel_fit(space: SearchSpace, encodings: Encodings, logs: Floats, standard: Standard) -> _KernelFit:
    """Robust kernel ridge regression of log latencies (n,)."""
    features = standardised(network_features(space, encodings), standard)
    kept = np.arange(len(logs))
    for _ in range(_ROUNDS):
        fitted = kept
        part = NetworkFeatures(*(values[kept] for values in features))
        centre = float(np.median(logs[kept]))
        dual, left_out = _regression(similarity(part, part), logs[kept] - centre)
        errors = left_out - (logs[kept] - centre)
        usual = np.abs(errors - np.median(errors)) <= _SPREADS * max(spread(errors), 1e-3)
        if usual.all() or usual.sum() < FEWEST:
            break
        kept = kept[usual]
    predicted = np.full(len(logs), np.nan)
    predicted[fitted] = left_out + centre
    source = KernelSource(
        encodings=write_encodings(encodings[fitted]),
        dual=tuple(dual.tolist()),
        centre=centre,
        lowest=float(logs[fitted].min()) - _MARGIN,
        highest=float(logs[fitted].max()) + _MARGIN,
    )
    return _KernelFit(source, predicted)


def _regression(kernel: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Dual weights (n,) with the penalty that predicts left-out targets best, and these predictions (n,)."""
    system, penalties = GramSystem(kernel), _STRENGTHS * np.trace(kernel) / len(kernel)
    errors = [system.loo(target, penalty) for penalty in penalties]
    best = int(np.argmin([_loss(one) for one in errors]))
    return system.dual(target, penalties[best]), target - errors[best]


def _loss(errors: Floats) -> float:
    """Mean square of errors (n,). A wrong latency must not choose the penalty, so each counts up to six standard deviations."""
    return float(np.mean(np.minimum(errors**2, (6 * spread(errors)) ** 2)))
