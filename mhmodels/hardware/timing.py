"""Statistics of repeated timings. Times are in ms."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import msgspec

from mhmodels.errors import MeasurementError
from mhmodels.hardware.company import QUIET_SHARE
from mhmodels.hardware.measurement import NOISY_MAD_RATIO, Measurement


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A block of timings in numbers; all in ms but `runs`, the ratio, and two shares.

    Attributes:
        stolen: share of the block's time in which the core worked for somebody else.
        company: busy share of the cores beside it.
    """

    median_ms: float
    mean_ms: float
    min_ms: float
    max_ms: float
    std_ms: float
    p95_ms: float
    mad_ratio: float
    runs: int
    stolen: float = 0.0
    company: float = 0.0

    @property
    def unrest(self) -> float:
        """The largest of spread (MAD over median), time lost to others, and company, which moves a median without spread.

        Company counts in proportion: as much as is allowed of it weighs what is allowed of the others.
        """
        return _unrest(self.mad_ratio, self.stolen, self.company)

    @property
    def noisy(self) -> bool:
        """Whether spread or time lost to others is over 2 %, or other cores were busy for over 5 % of the time."""
        return self.unrest > NOISY_MAD_RATIO


def summarise(times_ms: Sequence[float], stolen: float = 0.0, company: float = 0.0) -> Summary:
    """Median, spread and tail of a block.

    Args:
        times_ms: one entry an inference, each above 0.
        stolen, company: see `Summary`.

    Raises:
        MeasurementError: no entry, or one that is not a finite number above 0.
    """
    if not times_ms:
        raise MeasurementError("a block of timings is empty, expected at least one")
    wrong = next((time for time in times_ms if not (math.isfinite(time) and time > 0)), None)
    if wrong is not None:
        raise MeasurementError(f"a timing of {wrong!r} ms is not one: expected a finite number above 0")
    ordered = sorted(times_ms)
    median = statistics.median(ordered)
    return Summary(
        median_ms=median,
        # fmean may round to one ulp outside its own data.
        mean_ms=min(max(statistics.fmean(ordered), ordered[0]), ordered[-1]),
        min_ms=ordered[0],
        max_ms=ordered[-1],
        std_ms=statistics.pstdev(ordered),
        # Nearest rank: always one of the timings, also for few of them.
        p95_ms=ordered[math.ceil(0.95 * len(ordered)) - 1],
        mad_ratio=statistics.median(abs(time - median) for time in ordered) / median,
        runs=len(ordered),
        stolen=stolen,
        company=company,
    )


def steadiest(block: Callable[[], Summary], repeats: int = 5) -> Summary:
    """Repeats a block until it is not noisy, else keeps the one with the least unrest.

    Args:
        block: makes one block of timings.
        repeats: how often at most.
    """
    best = block()
    for _ in range(repeats - 1):
        if not best.noisy:
            break
        best = min(best, block(), key=lambda summary: summary.unrest)
    return best


def unrest(row: Measurement) -> float:
    """`Summary.unrest` of a stored row; 0 where nothing was timed."""
    return _unrest(row.mad_ratio or 0.0, row.device_state.get("stolen", 0.0), row.device_state.get("company", 0.0))


def disturbed(row: Measurement) -> bool:
    """Whether other processes took part of the core's time, or kept other cores busy."""
    return row.device_state.get("stolen", 0.0) > NOISY_MAD_RATIO or row.device_state.get("company", 0.0) > QUIET_SHARE


def _unrest(mad_ratio: float, stolen: float, company: float) -> float:
    return max(mad_ratio, stolen, company * NOISY_MAD_RATIO / QUIET_SHARE)
