"""Which latencies of a sample are absurd, judged by fits to the others, and how much each of the rest weighs in a fit.

A measured latency says nothing about its own credibility: in a least-squares fit a wrong one drags the model towards itself,
and with errors relative to the measured latency a low one outweighs all others. Here a latency is compared with what a fit
without it predicts (leave-one-out), as a log ratio, so that a tenth and the tenfold are equally far off. The fit starts from
log latencies that are cut off at both ends, then alternates between judging and fitting to what is credible.

Latencies that are far off and still legitimate exist: a cell without a path from input to output is folded into a constant and
takes a thousandth. Such networks resemble each other, and wrong measurements hit networks at random. So a latency that is far off
is readmitted where being far off is predictable from the network, again by leave-one-out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhmodels.search.cost_model.ridge import ridge

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

FAR = 3.0
"""A latency so many times more or less than predicted is pointed out, if the model is usually much closer."""
SPREADS = 6.0
"""Factor on the usual spread of log ratios (1.4826 MAD) beyond which a latency is far off."""
_ERRORS = 3.0
_NEAR = 1.5
_ROUNDS = 4
_FLOORS = (1.0, 0.5, 0.25, 0.1, 0.05)
_RANK_LOSS = 0.001
_ALIKE = 4
_CHANCE = 0.02


class Judged(NamedTuple):
    """Latencies as a robust fit sees them.

    Attributes:
        kept: (n,), those to fit to.
        scale: (n,) in ms, that an error of each is relative to: the fitted latency, no less than `floor`.
        floor: latency from which on errors are relative, in ms.
        spearman: rank correlation of leave-one-out predictions with kept latencies: with these scales, and with equal ones.
    """

    kept: Bools
    scale: Floats
    floor: float
    spearman: tuple[float, float]


def spread(log_ratios: Floats) -> float:
    """Robust standard deviation: 1.4826 times the median absolute deviation."""
    return float(1.4826 * np.median(np.abs(log_ratios - np.median(log_ratios))))


def far_off(ms: Floats, predicted: Floats, floor: float, factor: float = FAR, among: Bools | None = None) -> Bools:
    """Which latencies (n,) lie over `factor` times from predictions (n,) that they had no part in, and far beyond what is usual.

    Args:
        ms: latencies, above 0.
        predicted: in ms.
        floor: latency below which errors are no longer relative, in ms.
        factor: at least this far.
        among: rows that say what is usual; None for all.
    """
    scale = np.maximum(predicted, floor)
    errors, ratios = (ms - predicted) / scale, np.log(ms / np.maximum(predicted, floor / 20))
    usual_ratios, usual_errors = (ratios, errors) if among is None else (ratios[among], errors[among])
    far = np.abs(ratios - np.median(usual_ratios)) > max(np.log(factor), SPREADS * spread(usual_ratios))
    # Where a fit is a few ms off for all, it is many times off for the fastest.
    return np.asarray(far & (np.abs(errors - np.median(usual_errors)) > _ERRORS * spread(usual_errors)))


def predictable(design: Any, scales: Floats, marked: Bools) -> Bools:
    """Which of the marked rows resemble other marked ones, more than chance would have it: they are marked for a reason.

    Args:
        design: (n, features) with the constant first.
        scales: (features,), as in `ridge`.
        marked: (n,).
    """
    none = np.zeros(len(marked), bool)
    if marked.sum() < _ALIKE or marked.all():
        return none
    scores = ridge(design, marked - marked.mean(), scales / scales[1:].max()).left_out
    # Where marks are random, a marked row's score is one of an unmarked row.
    limit = float(np.quantile(scores[~marked], 1 - _CHANCE))
    above = marked & (scores > limit)
    expected = _CHANCE * marked.sum()
    return above if above.sum() > expected + 3 * np.sqrt(expected) + 1 else none


def judge(design: Any, start: Floats, scales: Floats, ms: Floats, *, relative: bool) -> Judged:
    """Finds latencies that a fit to the others does not believe, and the scale of each one's error.

    Args:
        design: (n, features) with the constant first, NumPy or SciPy sparse.
        start: (n, k), features that explain log latencies roughly.
        scales: (features,), as in `ridge`.
        ms: (n,), above 0.
        relative: whether errors are relative to the latency; otherwise all scales are the median.
    """
    typical = float(np.median(ms))
    kept = ~_far_from_start(start, ms)
    readmitted = np.zeros(len(ms), bool)
    scale = np.full(len(ms), typical)
    for _ in range(_ROUNDS):
        predicted = _predict(design, scales, ms, scale, kept)
        scale = np.maximum(predicted, typical / 4) if relative else scale
        off = far_off(ms, predicted, typical / 4, _NEAR, kept)
        low = ms < predicted
        alike = predictable(design, scales, off & low)
        # Above there is no bound to what a wrong latency does: a fit that has it must explain it.
        above = predictable(design, scales, off & ~low & ~readmitted)
        readmitted |= above
        found = ~off | alike | above
        if (found == kept).all():
            break
        kept = found
    return _scaled(design, scales, ms, kept, typical, relative)


def _far_from_start(start: Floats, ms: Floats) -> Bools:
    """By a fit to log latencies, of which those at both ends are cut off."""
    logs = np.log(ms)
    middle, width = np.median(logs), 3 * max(spread(logs), 0.05)
    centred = start - start.mean(axis=0)
    size = centred.std(axis=0)
    columns = np.divide(centred, size, out=np.zeros_like(centred), where=size > 1e-9)
    target = np.clip(logs, middle - width, middle + width)
    found = ridge(columns, target - target.mean(), np.full(columns.shape[1], 1.0))
    ratios = logs - (found.left_out + target.mean())
    off = np.abs(ratios - np.median(ratios))
    # A fifth waits in any case: what is good is readmitted by the next fit, which it has no part in.
    return np.asarray(off > min(float(np.quantile(off, 0.8)), max(np.log(_NEAR), 3.5 * spread(ratios))))


def _predict(design: Any, scales: Floats, ms: Floats, scale: Floats, kept: Bools) -> Floats:
    """Latencies (n,) predicted by a fit to what is kept, without the row itself."""
    places = np.flatnonzero(kept)
    weights = 1 / scale[places]
    found = ridge(scaled_rows(design[places], weights), ms[places] * weights, scales)
    predicted = np.asarray(design @ found.weights)
    predicted[places] = found.left_out * scale[places]
    return predicted


def scaled_rows(design: Any, factors: Floats) -> Any:
    """A design (n, features), NumPy or SciPy sparse, with each row times its factor."""
    return design * factors[:, None] if isinstance(design, np.ndarray) else design.multiply(factors[:, None]).tocsr()


def _scaled(design: Any, scales: Floats, ms: Floats, kept: Bools, typical: float, relative: bool) -> Judged:
    """Chooses from which latency on errors are relative: as far down as the ranking of latencies does not suffer."""
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
    return (
        min(allowed, key=lambda one: one[0])[1] if allowed else max((one for _, one in candidates), key=lambda one: one.spearman)
    )


def _spearman(ms: Floats, predicted: Floats) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(ms, predicted)[0]) if np.ptp(ms) > 0 and np.ptp(predicted) > 0 else 0.0
