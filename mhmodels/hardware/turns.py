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
from mhmodels.hardware.measurement import Measurement, Turns

Floats: TypeAlias = NDArray[np.float64]

_GRID = np.linspace(0.5, 1.0, 11)
"""Of elasticities. Spikes in the reference's timings alone pull towards 0, so what a few rows say must be bounded."""
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
    """What rows of one hardware and environment have in common; None if none was timed in turns.

    The elasticity is the one at which what is left of the rows' timings spreads least around each row's median.

    Raises:
        MeasurementError: some rows were timed in turns and others not, or with another reference.
    """
    timed = [row for row in rows if row.median_ms is not None]
    kinds = {(row.turns.model, row.turns.model_hash) if row.turns else ("", "") for row in timed}
    if len(kinds) > 1:
        names = ", ".join(sorted(f"{name} ({digest[:8]})" if name else "none" for name, digest in kinds))
        raise MeasurementError(
            f"rows on {timed[0].hardware} were timed in turns with different references, which do not go together: {names}; "
            "use a store of one of them (--store)"
        )
    turns = [row.turns for row in timed if row.turns is not None]
    if not turns:
        return None
    pairs = [_logarithms(one) for one in turns]
    spread = np.mean([_deviation(own - _GRID[:, None] * beside) for own, beside in pairs], axis=0)
    return Pace(
        reference=turns[0].model,
        reference_hash=turns[0].model_hash,
        ms=float(np.percentile(np.concatenate([one.reference_ms for one in turns]), _UNDISTURBED)),
        elasticity=float(_GRID[spread.argmin()]),
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
    return float(_STANDARD_ERROR * _deviation(own - beside)[()] / np.sqrt(len(own)))


def _logarithms(turns: Turns) -> tuple[Floats, Floats]:
    """Of a row's own timings, and of what the reference took around each: the mean of the one before and the one after."""
    reference = np.array(turns.reference_ms)
    before = np.concatenate([reference[:1], reference[:-1]])
    return np.log(np.array(turns.own_ms)), np.log((before + reference) / 2)


def _deviation(values: Floats) -> Floats:
    """Median absolute deviation over the last axis."""
    median = np.median(values, axis=-1, keepdims=True)
    return np.asarray(np.median(np.abs(values - median), axis=-1))
