"""Timings on a machine that others use too: each inference beside one of a reference network.

A virtual machine changes its speed by a quarter within tenths of a second, and stays slow for seconds, without anything in the
machine that tells: no median of one network's timings helps. A reference network that is timed in turns is slowed down in the
same moments. The latency of a network at one common speed of the machine is

    ms = median_i(own_i / reference_i ** elasticity) * undisturbed ** elasticity

where `undisturbed` is the latency of the reference network while nothing disturbs it, and `elasticity` the part of the
reference network's slowing down that the other networks share. Both are estimated from all rows together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from mhmodels.errors import MeasurementError
from mhmodels.hardware.measurement import Measurement, Turns
from mhmodels.hardware.mixing import mixture

Floats: TypeAlias = NDArray[np.float64]

_LEAST, _MOST = 0.5, 1.0
"""Bounds of the elasticity: an estimate from a few rows may be far off, and on a quiet machine it says nothing."""
_SPIKE = 0.35
"""Largest deviation (of the logarithm) that counts: a single inference may take ten times as long as the others."""
_UNDISTURBED = 10.0
"""Percentile of the reference network's timings that counts as undisturbed."""
_STANDARD_ERROR = 1.4826 * 1.2533
"""Standard error of the median = this factor × MAD / √n, assuming normal samples."""


class ReferenceSpeed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The speed of a machine that rows are converted to, stated as the latency of a reference network.

    Attributes:
        reference: Name of the reference network.
        reference_hash: SHA-256 of its file.
        ms: Latency of the reference network while nothing disturbs it.
        elasticity: Part of the reference network's slowing down that other networks share, 0.5 to 1.
    """

    reference: str
    reference_hash: str
    ms: float
    elasticity: float


def common_reference_speed(rows: Sequence[Measurement]) -> ReferenceSpeed | None:
    """Estimates the common speed of rows of one hardware and of equal conditions; None if none was timed in turns.

    Raises:
        MeasurementError: Some rows were timed in turns and others not, or with another reference, or they were taken in
            different conditions otherwise.
    """
    timed = [row for row in rows if row.median_ms is not None]
    kinds = {(row.turns.model, row.turns.model_hash) if row.turns else ("", "") for row in timed}
    if len(kinds) > 1:
        names = ", ".join(sorted(f"{name} ({digest[:8]})" if name else "none" for name, digest in kinds))
        raise MeasurementError(
            f"rows on {timed[0].hardware} were timed in turns with different references, which do not go together: {names}; "
            "use a store of one of them (argument 'store')"
        )
    different = mixture(timed)
    if different is not None:
        raise MeasurementError(f"rows on {timed[0].hardware} come from different conditions: {different}")
    turns = [row.turns for row in timed if row.turns is not None]
    if not turns:
        return None
    return ReferenceSpeed(
        reference=turns[0].model,
        reference_hash=turns[0].model_hash,
        ms=float(np.percentile(np.concatenate([one.reference_ms for one in turns]), _UNDISTURBED)),
        elasticity=_elasticity(turns),
    )


def steady_ms(row: Measurement, speed: ReferenceSpeed | None) -> float | None:
    """Converts a row's latency to a common speed.

    Returns:
        The latency in ms; the median of a row that was not timed in turns, None where the network does not run.
    """
    if speed is None or row.turns is None or row.median_ms is None:
        return row.median_ms
    own, beside = _logarithms(row.turns)
    return float(np.exp(np.median(own - speed.elasticity * beside) + speed.elasticity * np.log(speed.ms)))


def uncertainty(turns: Turns) -> float:
    """Standard error of a row's ratio to its reference, relative."""
    own, beside = _logarithms(turns)
    return float(_STANDARD_ERROR * _deviation(own - beside) / np.sqrt(len(own)))


def _elasticity(turns: Sequence[Turns]) -> float:
    """Estimates the part of the reference network's slowing down that other networks share.

    It is the covariance of both networks' timings over the reference's own covariance, at the same distance in time. A timing
    is off by chance as well, which would bias the estimate towards 0, so no reference inference is on both sides of a product.
    An inference lies one and a half turns from the second reference inference before and after it; reference inferences lie
    one and two turns apart, and the mean of these stands for one and a half.
    """
    felt, own = 0.0, 0.0
    for one in turns:
        network, reference = _deviations(one.own_ms), _deviations(one.reference_ms)
        felt += _covariance(network[2:], reference[:-2]) + _covariance(network[:-1], reference[1:])
        own += _covariance(reference[1:], reference[:-1]) + _covariance(reference[2:], reference[:-2])
    return float(np.clip(felt / own, _LEAST, _MOST)) if own > 0 else _LEAST


def _deviations(times_ms: Sequence[float]) -> Floats:
    logarithms = np.log(np.array(times_ms))
    deviations: Floats = np.clip(logarithms - np.median(logarithms), -_SPIKE, _SPIKE)
    return deviations


def _covariance(one: Floats, other: Floats) -> float:
    return float(np.mean((one - one.mean()) * (other - other.mean()))) if len(one) else 0.0


def _logarithms(turns: Turns) -> tuple[Floats, Floats]:
    """Logarithms of a row's own timings, and of the mean of the reference's timings right before and after each."""
    reference = np.array(turns.reference_ms)
    before = np.concatenate([reference[:1], reference[:-1]])
    return np.log(np.array(turns.own_ms)), np.log((before + reference) / 2)


def _deviation(values: Floats) -> float:
    """Median absolute deviation."""
    return float(np.median(np.abs(values - np.median(values))))
