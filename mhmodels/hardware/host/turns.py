"""Timings on a machine that others use too: each inference beside one of a reference network.

A virtual machine changes its speed by a quarter within tenths of a second, and stays slow for seconds, without anything in the
machine that tells: no median of one network's timings helps. A reference network timed in turns feels the same moments. What
a network would take at one common pace is

    ms = median_i(own_i / reference_i ** elasticity) * pace ** elasticity

where `pace` is what the reference takes while nobody disturbs, and `elasticity` how much of the reference's slowing down
the networks feel, both found from the rows together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from mhmodels.errors import MeasurementError
from mhmodels.hardware.conditions import mixture
from mhmodels.hardware.measurement import Measurement, Turns

Floats: TypeAlias = NDArray[np.float64]

_LEAST, _MOST = 0.5, 1.0
"""Of elasticities: what a few rows say must be bounded, and on a quiet machine they say nothing."""
_SPIKE = 0.35
"""Deviations count up to this much: a single inference may take ten times as long as the others."""
_UNDISTURBED = 10.0
"""Percentile of the reference's timings at which it counts as undisturbed."""
_STANDARD_ERROR = 1.4826 * 1.2533
"""Of a median, times its deviations' median, over the root of their number, if these are normal."""


class Pace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The common pace of rows.

    Attributes:
        reference: the reference network.
        reference_hash: sha256 of its file.
        ms: what it takes undisturbed.
        elasticity: see the module.
    """

    reference: str
    reference_hash: str
    ms: float
    elasticity: float


def common_pace(rows: Sequence[Measurement]) -> Pace | None:
    """The pace of rows of one hardware that were taken in the same conditions; None if none was timed in turns.

    Raises:
        MeasurementError: some rows were timed in turns and others not, or with another reference, or they were taken in
            different conditions otherwise.
    """
    timed = [row for row in rows if row.median_ms is not None]
    kinds = {(row.turns.model, row.turns.model_hash) if row.turns else ("", "") for row in timed}
    if len(kinds) > 1:
        names = ", ".join(sorted(f"{name} ({digest[:8]})" if name else "none" for name, digest in kinds))
        raise MeasurementError(
            f"rows on {timed[0].hardware} were timed in turns with different references, which do not go together: {names}; "
            "use a store of one of them (--store)"
        )
    different = mixture(timed)
    if different is not None:
        raise MeasurementError(f"rows on {timed[0].hardware} come from different conditions: {different}")
    turns = [row.turns for row in timed if row.turns is not None]
    if not turns:
        return None
    return Pace(
        reference=turns[0].model,
        reference_hash=turns[0].model_hash,
        ms=float(np.percentile(np.concatenate([one.reference_ms for one in turns]), _UNDISTURBED)),
        elasticity=_elasticity(turns),
    )


def steady_ms(row: Measurement, pace: Pace | None) -> float | None:
    """A row's latency at a pace; its median where it was not timed in turns, None where the network does not run."""
    if pace is None or row.turns is None or row.median_ms is None:
        return row.median_ms
    own, beside = _logarithms(row.turns)
    return float(np.exp(np.median(own - pace.elasticity * beside) + pace.elasticity * np.log(pace.ms)))


def uncertainty(turns: Turns) -> float:
    """Standard error of a row's ratio to its reference, relative."""
    own, beside = _logarithms(turns)
    return float(_STANDARD_ERROR * _deviation(own - beside) / np.sqrt(len(own)))


def _elasticity(turns: Sequence[Turns]) -> float:
    """How much of the reference's slowing down rows feel: their covariance with it over its own, at the same distance in time.

    A timing is off by chance as well, which would look as if less were felt; so no reference inference stands on both sides. An
    inference lies one and a half turns from the second reference inference before and after it, and references lie one and two
    turns apart, whose mean stands for one and a half.
    """
    felt, own = 0.0, 0.0
    for one in turns:
        network, reference = _deviations(one.own_ms), _deviations(one.reference_ms)
        felt += _covariance(network[2:], reference[:-2]) + _covariance(network[:-1], reference[1:])
        own += _covariance(reference[1:], reference[:-1]) + _covariance(reference[2:], reference[:-2])
    return float(np.clip(felt / own, _LEAST, _MOST)) if own > 0 else _LEAST


def _deviations(times_ms: Sequence[float]) -> Floats:
    logarithms = np.log(np.array(times_ms))
    return np.clip(logarithms - np.median(logarithms), -_SPIKE, _SPIKE)


def _covariance(one: Floats, other: Floats) -> float:
    return float(np.mean((one - one.mean()) * (other - other.mean()))) if len(one) else 0.0


def _logarithms(turns: Turns) -> tuple[Floats, Floats]:
    """Of a row's own timings, and of what the reference took around each: the mean of the one before and the one after."""
    reference = np.array(turns.reference_ms)
    before = np.concatenate([reference[:1], reference[:-1]])
    return np.log(np.array(turns.own_ms)), np.log((before + reference) / 2)


def _deviation(values: Floats) -> float:
    """Median absolute deviation."""
    return float(np.median(np.abs(values - np.median(values))))
