"""Statistics of repeated timings, and the rule by which a latency counts as noisy. Times are in ms unless a name says otherwise.

A disturbed machine is only ever slower, often by half and for seconds, and it is steady meanwhile, so the spread within a block
of timings does not show it. A latency therefore comes from sound blocks (`judge`), and counts only if the three fastest of them
agree.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from mhmodels.errors import MeasurementError
from mhmodels.hardware.measurement import Measurement

LEAST_BLOCKS, MOST_BLOCKS = 3, 10
NOISY_STANDARD_ERROR = 0.01
"""Relative standard error above which a median is noisy."""
SLOW_PACE = 1.15
"""Pace over the fastest pace above which a block is unsound."""
INTERRUPTED = 0.02
"""Share of an inference's time above which it counts as interrupted, if other processes had its core for it."""
SHIFTED = 0.02
"""Relative change of the median by interrupted inferences above which a block is unsound."""
_CLOCK_MS = 0.001
# Standard error of the median of three values = 1.2533 / √3 × standard deviation, which is estimated as range / 1.693.
_ERROR_OF_RANGE = 1.2533 / (1.693 * math.sqrt(3))


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Statistics of a block of timings, in ms, with the names that they have in a `Measurement`.

    `mad_ratio` is the median absolute deviation over the median.
    """

    median_ms: float
    mean_ms: float
    min_ms: float
    max_ms: float
    std_ms: float
    p95_ms: float
    mad_ratio: float
    runs: int


class TimedBlock(NamedTuple):
    """Timings that were made without a pause.

    Attributes:
        times_ms: Timings in ms, one for each inference, each above 0.
        own_ms: Time in ms of each inference for which the thread had its core; empty where that is unknown.
        pace_us: Time in us of the reference loop beside the block, the slower of before and after; 0 where it was not measured.
        background_load: Busy share of the other cores during the block, 0 to 1.
    """

    times_ms: Sequence[float]
    own_ms: Sequence[float] = ()
    pace_us: float = 0.0
    background_load: float = 0.0

    @property
    def stolen(self) -> float:
        """Share of the block's time for which other processes had the core, 0 to 1."""
        return max(0.0, 1.0 - sum(self.own_ms) / sum(self.times_ms)) if self.own_ms else 0.0

    @property
    def shift(self) -> float:
        """Relative change of the median by interrupted inferences; 1 where more than half were interrupted."""
        if not self.own_ms:
            return 0.0
        pairs = zip(self.times_ms, self.own_ms, strict=True)
        calm = [time for time, own in pairs if time - own <= max(INTERRUPTED * time, _CLOCK_MS)]
        if 2 * len(calm) < len(self.times_ms):
            return 1.0
        return statistics.median(self.times_ms) / statistics.median(calm) - 1


class HostTiming(NamedTuple):
    """Result of several blocks.

    Attributes:
        summary: Statistics of the block that stands for all.
        block: This block.
        noisy: Whether the median may be wrong.
        uncertainty: Relative standard error of the median; if fewer than three blocks are sound, the size of the disturbance.
        blocks_ms: Medians of all blocks in their order.
    """

    summary: Summary
    block: TimedBlock
    noisy: bool
    uncertainty: float
    blocks_ms: tuple[float, ...]


def summarise(times_ms: Sequence[float]) -> Summary:
    """Median, spread and tail of a block.

    Args:
        times_ms: Timings in ms, one for each inference, each above 0.

    Raises:
        MeasurementError: There is no timing, or one is not a finite number above 0.
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
        # fmean may round to one ulp outside the range of its data.
        mean_ms=min(max(statistics.fmean(ordered), ordered[0]), ordered[-1]),
        min_ms=ordered[0],
        max_ms=ordered[-1],
        std_ms=statistics.pstdev(ordered),
        # Nearest rank gives one of the timings, also for few of them.
        p95_ms=ordered[math.ceil(0.95 * len(ordered)) - 1],
        mad_ratio=statistics.median(abs(time - median) for time in ordered) / median,
        runs=len(ordered),
    )


def judge(blocks: Sequence[TimedBlock], fastest_us: float = 0.0) -> HostTiming:
    """Combines blocks into one latency.

    A block is sound if the machine ran within 15 % of its fastest pace and interrupted inferences move the median by at most
    2 %. The latency is the middle of the three fastest sound blocks. It is noisy if its relative standard error is over 1 %, or
    if there are fewer than three sound blocks; then the fastest block is shown, because disturbances only slow inferences down.

    Args:
        blocks: Blocks, at least one.
        fastest_us: Fastest known pace of this machine in us; 0 if none is known.

    Raises:
        MeasurementError: A block is empty, or a timing is not a finite number above 0.
    """
    summaries = [summarise(block.times_ms) for block in blocks]
    paces = [pace for pace in (fastest_us, *(block.pace_us for block in blocks)) if pace > 0]
    fastest = min(paces, default=0.0)
    doubts = [_doubt(block, fastest) for block in blocks]
    order = sorted(range(len(blocks)), key=lambda place: summaries[place].median_ms)
    best = [place for place in order if doubts[place] == 0][:LEAST_BLOCKS]
    medians = [summaries[place].median_ms for place in best]
    if len(best) == LEAST_BLOCKS:
        error = _ERROR_OF_RANGE * (medians[-1] / medians[0] - 1)
        kept, noisy = best[1], error > NOISY_STANDARD_ERROR
    else:
        kept, noisy = (best or order)[0], True
        error = max(doubts[kept], NOISY_STANDARD_ERROR)
    return HostTiming(summaries[kept], blocks[kept], noisy, error, tuple(summary.median_ms for summary in summaries))


def settle(block: Callable[[], TimedBlock | None], fastest_us: float = 0.0) -> HostTiming:
    """Makes blocks until they are not noisy together, at least three and at most ten.

    Args:
        block: Makes one block; None ends, once there is one.
        fastest_us: Fastest known pace of this machine in us; 0 if none is known.

    Raises:
        MeasurementError: As `judge`, or no block was made.
    """
    blocks: list[TimedBlock] = []
    while len(blocks) < MOST_BLOCKS:
        one = block()
        if one is None:
            break
        blocks.append(one)
        if len(blocks) >= LEAST_BLOCKS and not judge(blocks, fastest_us).noisy:
            break
    if not blocks:
        raise MeasurementError("no block of timings was finished")
    return judge(blocks, fastest_us)


def relative_standard_error(row: Measurement) -> float:
    """Relative standard error of a stored row's median (ms/ms); 0 where nothing was timed.

    Rows of earlier versions do not have it: for these it is the larger of spread (MAD over median) and share of stolen time.
    """
    found = row.device_state.get("uncertainty")
    if isinstance(found, float):
        return found
    stolen = row.device_state.get("stolen")
    return max(row.mad_ratio or 0.0, stolen if isinstance(stolen, float) else 0.0)


def _doubt(block: TimedBlock, fastest_us: float) -> float:
    """Relative size of the disturbance that makes a block unsound; 0 for a sound block."""
    slow = block.pace_us / fastest_us - 1 if block.pace_us > 0 < fastest_us else 0.0
    return max(slow if slow > SLOW_PACE - 1 else 0.0, block.shift if block.shift > SHIFTED else 0.0)
