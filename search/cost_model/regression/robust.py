"""Robust fits: finds latencies that are wrong, judged by fits to the others, and the weight of each of the rest.

A measured latency says nothing about its own credibility. In a least-squares fit a wrong latency pulls the model towards itself,
and with errors relative to the measured latency a low one outweighs all others. Here a latency is compared with the prediction of
a fit without it (leave-one-out), as a log ratio, so that a tenth and the tenfold are equally far off. The fit starts from log
latencies that are clipped at both ends, and then alternates between judging latencies and fitting to the credible ones.

Some latencies are far off and still right: a cell without a path from input to output is folded into a constant and takes a
thousandth of the time. Such networks resemble each other, while wrong measurements hit networks at random. So a latency that is
far off is accepted where being far off is predictable from the network, again by leave-one-out.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from mhmodels.search.arrays import Bools, Floats
from mhmodels.search.cost_model.regression.ridge import Design, RidgeSystem, ridge

FAR = 3.0
"""Factor between latency and prediction beyond which a latency is far off, if the model is usually much closer."""
SPREADS = 6.0
"""Number of robust standard deviations of the log ratios beyond which a latency is far off."""
_ERROR_SPREADS = 3.0
"""Number of robust standard deviations of the relative errors beyond which a latency is far off."""
_NEAR = 1.5
"""Factor between latency and prediction beyond which a latency is set aside while the fit is still being refined."""
_ROUNDS = 4
_FLOORS = (1.0, 0.5, 0.25, 0.1, 0.05)
"""Candidates for the latency from which on errors are relative, as shares of the median."""
_RANK_LOSS = 0.001
"""Loss of Spearman correlation that a lower floor may cost."""
_FEWEST_SIMILAR = 4
"""Number of latencies that must be far off before a pattern is sought in them."""
_CHANCE = 0.02
"""Share of random marks that a pattern would explain by chance."""


class Judged(NamedTuple):
    """Latencies as a robust fit sees them.

    Attributes:
        kept: (n,), the latencies to fit to.
        scale: (n,), in ms: errors are relative to it. The fitted latency, at least `floor`.
        floor: Latency in ms from which on errors are relative.
        spearman: Rank correlation of leave-one-out predictions with the kept latencies, with these scales and with equal ones.
    """

    kept: Bools
    scale: Floats
    floor: float
    spearman: tuple[float, float]


def spread(log_ratios: Floats) -> float:
    """Robust standard deviation: 1.4826 × median absolute deviation, which is the standard deviation of normal values."""
    return float(1.4826 * np.median(np.abs(log_ratios - np.median(log_ratios))))


def far_off(
    ms: Floats,
    predicted: Floats,
    floor: float,
    factor: float = FAR,
    *,
    spreads: float = SPREADS,
    among: Bools | None = None,
) -> Bools:
    """Finds latencies that are far from their predictions, and much farther than usual.

    Args:
        ms: (n,), latencies in ms, above 0.
        predicted: (n,), predictions in ms by a model in which the latency itself has no part.
        floor: Latency in ms below which errors are no longer relative.
        factor: Smallest factor between latency and prediction that counts as far, above 1.
        spreads: Smallest number of robust standard deviations of the log ratios that counts as far.
        among: (n,), rows that define what is usual; None for all.

    Returns:
        (n,), True where the latency is far off.
    """
    scale = np.maximum(predicted, floor)
    errors, ratios = (ms - predicted) / scale, np.log(ms / np.maximum(predicted, floor / 20))
    usual_ratios, usual_errors = (ratios, errors) if among is None else (ratios[among], errors[among])
    far = np.abs(ratios - np.median(usual_ratios)) > max(np.log(factor), spreads * spread(usual_ratios))
    # A fit that is off by a few ms for all networks is off by a large factor for the fastest ones.
    return np.asarray(far & (np.abs(errors - np.median(usual_errors)) > _ERROR_SPREADS * spread(usual_errors)))


class Resemblance:
    """Finds patterns in marks on the rows of a design. All sets of marks share one decomposition of the design."""

    def __init__(self, design: Design, scales: Floats) -> None:
        """Remembers a design; nothing is computed before it is needed.

        Args:
            design: (n, features) with the constant first.
            scales: (features,), as in `RidgeSystem`.
        """
        self._design, self._scales = design, scales

    def predictable(self, marked: Bools) -> Bools:
        """Finds the marked rows whose mark is predictable from the design, beyond chance: they are marked for a reason.

        Args:
            marked: (n,).

        Returns:
            (n,), True for marked rows that resemble other marked rows.
        """
        none = np.zeros(len(marked), bool)
        if marked.sum() < _FEWEST_SIMILAR or marked.all():
            return none
        scores = self._system.solve(marked - marked.mean()).left_out
        # If marks are random, the scores of marked rows are distributed as those of unmarked rows.
        limit = float(np.quantile(scores[~marked], 1 - _CHANCE))
        above = marked & (scores > limit)
        expected = _CHANCE * marked.sum()
        return above if above.sum() > expected + 3 * np.sqrt(expected) + 1 else none

    @functools.cached_property
    def _system(self) -> RidgeSystem:
        return RidgeSystem(self._design, self._scales / self._scales[1:].max())


def judge(design: Design, start: Floats, scales: Floats, ms: Floats, *, relative: bool) -> Judged:
    """Finds latencies that contradict a fit to the others, and the scale of each error.

    Args:
        design: (n, features) with the constant first, NumPy or SciPy sparse.
        start: (n, k), features that explain log latencies roughly.
        scales: (features,), as in `RidgeSystem`.
        ms: (n,), latencies in ms, above 0.
        relative: Whether errors are relative to the latency; otherwise all scales are the median.
    """
    typical = float(np.median(ms))
    resemblance = Resemblance(design, scales)
    kept = ~_far_from_start(start, ms)
    accepted = np.zeros(len(ms), bool)
    scale = np.full(len(ms), typical)
    for _ in range(_ROUNDS):
        predicted = _predict(design, scales, ms, scale, kept)
        scale = np.maximum(predicted, typical / 4) if relative else scale
        off = far_off(ms, predicted, typical / 4, _NEAR, among=kept)
        low = ms < predicted
        similar = resemblance.predictable(off & low)
        # High latencies have no upper bound: a fit that has accepted one must explain it in the next round.
        above = resemblance.predictable(off & ~low & ~accepted)
        accepted |= above
        found = ~off | similar | above
        if (found == kept).all():
            break
        kept = found
    return _scaled(design, scales, ms, kept, typical, relative)


def scaled_rows(design: Design, factors: Floats) -> Design:
    """A design (n, features), NumPy or SciPy sparse, with each row multiplied by its factor (n,)."""
    return design * factors[:, None] if isinstance(design, np.ndarray) else design.multiply(factors[:, None]).tocsr()


def _far_from_start(start: Floats, ms: Floats) -> Bools:
    """Latencies far from a fit to clipped log latencies."""
    logs = np.log(ms)
    middle, width = np.median(logs), 3 * max(spread(logs), 0.05)
    centred = start - start.mean(axis=0)
    size = centred.std(axis=0)
    columns = np.divide(centred, size, out=np.zeros_like(centred), where=size > 1e-9)
    target = np.clip(logs, middle - width, middle + width)
    found = ridge(columns, target - target.mean(), np.full(columns.shape[1], 1.0))
    ratios = logs - (found.left_out + target.mean())
    off = np.abs(ratios - np.median(ratios))
    # At least a fifth is set aside. The next fit, in which it has no part, accepts what is right.
    return np.asarray(off > min(float(np.quantile(off, 0.8)), max(np.log(_NEAR), 3.5 * spread(ratios))))


def _predict(design: Design, scales: Floats, ms: Floats, scale: Floats, kept: Bools) -> Floats:
    """Latencies (n,) predicted by a fit to the kept rows without the row itself."""
    places = np.flatnonzero(kept)
    weights = 1 / scale[places]
    found = ridge(scaled_rows(design[places], weights), ms[places] * weights, scales)
    predicted = np.asarray(design @ found.weights)
    predicted[places] = found.left_out * scale[places]
    return predicted


def _scaled(design: Design, scales: Floats, ms: Floats, kept: Bools, typical: float, relative: bool) -> Judged:
    """Chooses the latency from which on errors are relative: the best fit among those that rank latencies well."""
    equal = np.full(len(ms), typical)
    predicted = _predict(design, scales, ms, equal, kept)
    absolute = _spearman(ms[kept], predicted[kept])
    if not relative:
        return Judged(kept, equal, typical, (absolute, absolute))
    candidates = []
    for floor in _FLOORS:
        scale = np.maximum(predicted, floor * typical)
        predicted = _predict(design, scales, ms, scale, kept)
        error = np.abs(predicted - ms) / np.maximum(np.maximum(predicted, ms), 1e-300)
        judged = Judged(kept, scale, floor * typical, (_spearman(ms[kept], predicted[kept]), absolute))
        candidates.append((float(np.minimum(error[kept], 1).mean()), judged))
    best = max(absolute, *(judged.spearman[0] for _, judged in candidates))
    allowed = [one for one in candidates if one[1].spearman[0] >= best - _RANK_LOSS]
    if not allowed:
        return max((judged for _, judged in candidates), key=lambda judged: judged.spearman)
    return min(allowed, key=lambda one: one[0])[1]


def _spearman(ms: Floats, predicted: Floats) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(ms, predicted)[0]) if np.ptp(ms) > 0 and np.ptp(predicted) > 0 else 0.0
