"""Profiles a space from one sample of whole networks, by main-effects regression.

The paper measures new networks for every unit, layer and block. Here all effects share one sample: a network tells something
about each of its choices.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mhmodels.search.arrays import Bools, Floats
from mhmodels.search.cost_model.regression.robust import SPREADS, far_off, judge, spread
from mhmodels.search.errors import CostModelError
from mhmodels.search.profiling.block_profile import BlockProfile
from mhmodels.search.profiling.contrasts import profile_parts
from mhmodels.search.profiling.differences import block_differences
from mhmodels.search.profiling.estimating import LinearFit, fit_linear
from mhmodels.search.profiling.features import SHARES, EffectColumns, effect_columns, effect_count
from mhmodels.search.profiling.layout import as_profiled, layout_of
from mhmodels.search.profiling.percentiles import PercentileTable
from mhmodels.search.profiling.reference import Cell, ReferenceNetworks
from mhmodels.search.space.search_space import SearchSpace

_FEWEST = 20


def networks_needed(effects: int) -> int:
    """Number of networks that a profile needs: half as many as effects, since layers share much of them.

    Args:
        effects: Number of independent effects.
    """
    return max(_FEWEST, -(-effects // 2))


def profile(
    space: SearchSpace,
    encodings: ArrayLike,
    values: ArrayLike,
    *,
    confidence: float = 0.9,
    robust: bool = True,
    differences: bool = False,
) -> BlockProfile:
    """Estimates what every choice of a space does to a metric of whole networks (arXiv 2109.12426, section 3).

    One robust ridge regression estimates all effects at once. They are relative to the mean network, in which every depth of a
    unit and every choice that occurs is equally likely, whatever the distribution of the sample.

    Args:
        space: Space of the networks.
        encodings: (n, decisions), integers. In FBNet and NAS-Bench-Macro, layers are profiled at the position that the encoding
            gives them; in other spaces, skipped layers are moved to the end of their stage first.
        values: (n,), the metric of each network, finite: latency in ms, accuracy, or any other.
        confidence: Two-sided confidence of the intervals, above 0 and below 1.
        robust: Whether single absurd values are left out: those at least three times above or below the prediction by all others
            and far outside of its usual errors. Without effect if a value is not above 0.
        differences: Whether to estimate the differences between all blocks of a stage too, which `reduce_space` needs.

    Returns:
        Effects with intervals. The intervals contain the true effects with the given probability on average over the effects.

    Raises:
        SpaceError: An encoding is not a member of the space.
        CostModelError: There are too few networks for the number of effects, a value is not finite, or all values are equal.

    Example:
        >>> import numpy as np
        >>> from mhmodels.search import get_space, profile
        >>> space = get_space("fbnet")
        >>> encodings = np.random.default_rng(0).integers(9, size=(200, 22))
        >>> ms = 5 + 0.5 * (encodings[:, 7] == 3)  # layer 8 with kernel size 3 and expansion 6 takes half a millisecond more
        >>> found = profile(space, encodings, ms)
        >>> effect = next(one for one in found.effects if (one.layer, one.choice) == (8, 3))
        >>> effect.block, round(effect.mean, 3)
        ('inverted_bottleneck kernel=3 expansion=6 groups=1', 0.444)
    """
    from threadpoolctl import threadpool_limits

    # Several threads are slower on these small matrices, and change the last digits of the result.
    with threadpool_limits(1, "blas"):
        return _profiled(space, encodings, values, confidence, robust, differences)


def _profiled(
    space: SearchSpace, encodings: ArrayLike, values: ArrayLike, confidence: float, robust: bool, differences: bool
) -> BlockProfile:
    """The profile, with BLAS as it is set."""
    layout = layout_of(space)
    rows = space.check(encodings)
    rows = as_profiled(space, layout).canonical(rows)
    target = _checked(values, len(rows), confidence)
    reference = ReferenceNetworks(space, layout, [np.unique(column).tolist() for column in rows.T])
    if len(rows) < networks_needed(effect_count(reference)):
        # More networks have more of the choices.
        effects = effect_count(ReferenceNetworks(space, layout, [each.tolist() for each in space.allowed]))
        needed = networks_needed(effects)
        raise CostModelError(
            f"{len(rows)} networks for {effects} effects of the choices of space '{space.name}', expected at least {needed}: "
            "measure more networks"
        )
    if np.ptp(target) <= 1e-12 * np.abs(target).max():
        raise CostModelError(
            f"argument 'values': all {len(target)} are {target[0]:g}, expected values that differ between networks"
        )
    columns = effect_columns(reference)
    one_hot = space.one_hot(rows).astype(np.float64)
    kept = _credible(one_hot @ columns.of_one_hot, columns, target) if robust else np.ones(len(target), bool)
    one_hot, target = one_hot[kept], target[kept]
    fit = _best_fit(one_hot @ columns.of_one_hot, columns, target)
    percentiles = PercentileTable(target, confidence)

    def estimate(contrasts: Floats) -> list[tuple[float, float, float]]:
        return _with_limits(fit, contrasts @ columns.of_one_hot, confidence)

    def having(cell: Cell) -> Bools:
        return np.asarray(one_hot[:, reference.starts[cell.column] + cell.choice] > 0)

    level = float(fit.predict((reference.expected() @ columns.of_one_hot)[None])[0])
    parts = profile_parts(
        space, reference, estimate, level, lambda cell: int(having(cell).sum()), lambda cell: percentiles.effects(having(cell))
    )
    return BlockProfile(
        space=space.name,
        method="regression",
        confidence=confidence,
        n=len(target),
        set_aside=int((~kept).sum()),
        level=level,
        error=fit.loo_error,
        differences=block_differences(reference, estimate) if differences else (),
        **parts._asdict(),
    )


def _checked(values: ArrayLike, n: int, confidence: float) -> Floats:
    if not 0 < confidence < 1:
        raise CostModelError(f"argument 'confidence' is {confidence}, expected a number above 0 and below 1")
    try:
        target = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise CostModelError("argument 'values' has elements that are no numbers") from None
    if target.shape != (n,):
        raise CostModelError(f"argument 'values' is {target.shape}, expected ({n},), one value for each encoding")
    wrong = int((~np.isfinite(target)).sum())
    if wrong:
        raise CostModelError(f"argument 'values': {wrong} of {n} are NaN or infinite; leave these networks out")
    return target


def _credible(design: Floats, columns: EffectColumns, values: Floats) -> Bools:
    """Networks without absurd values: those that are far from a fit to the others, which the robust fit of cost models finds.

    That fit is careful and sets aside whole networks of which the effects do not add up; here, these stay.
    """
    if values.min() <= 0:
        return np.ones(len(values), bool)
    typical = float(np.median(values))
    scales = columns.scales(1, 0)
    start = design[:, scales > 0]
    constant = np.ones((len(start), 1))
    kept = judge(
        np.hstack([constant, start]),
        start,
        np.concatenate([[10 * typical], scales[scales > 0] * typical / 10]),
        values,
        relative=False,
    ).kept
    fit = fit_linear(design[kept], values[kept], scales)
    predicted = fit.predict(design)
    predicted[kept] = fit.left_out()
    errors = values - predicted
    many = np.abs(errors - np.median(errors[kept])) > SPREADS * spread(errors[kept])
    return np.asarray(~(far_off(values, predicted, typical / 4, among=kept) & many))


def _best_fit(design: Floats, columns: EffectColumns, values: Floats) -> LinearFit:
    """The fit with the smallest leave-one-out error among the candidates for what layers share."""
    fits = [fit_linear(design, values, columns.scales(*share)) for share in SHARES]
    return min(fits, key=lambda fit: fit.loo_error)


def _with_limits(fit: LinearFit, contrasts: Floats, confidence: float) -> list[tuple[float, float, float]]:
    from scipy.stats import t

    factor = float(t.ppf((1 + confidence) / 2, fit.degrees))
    estimates, errors = fit.estimate(contrasts)
    return [(float(m), float(m - factor * e), float(m + factor * e)) for m, e in zip(estimates, errors, strict=True)]
