"""One latency from several blocks: medians, spread, interval and drift. Times are in ms."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence

import msgspec

from mhmodels.android_bench.output.latency import Latency
from mhmodels.hardware.measurement import NOISY_MAD_RATIO

RESAMPLES = 2000
DRIFT = 0.05


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """Summary of the blocks of one network on one delegate.

    Attributes:
        median_ms: Median of the blocks' medians (of their means, where the tool prints no medians).
        low_ms, high_ms: Bootstrap 95 % interval of the median.
        mean_ms: Mean of all inferences: means of the blocks weighted by their counts.
        min_ms, max_ms: Extremes of all inferences; None if a block does not report them.
        std_ms: Standard deviation of all inferences, from counts, means and deviations of the blocks; None if one is missing.
        p95_ms: Median of the blocks' 95th percentiles; None if one is missing.
        mad_ratio: Median absolute deviation of the blocks over their median.
        drift: Change from the first third of the blocks to the last, over the median; above 0 is slower.
        runs, warmup: Numbers of inferences.
        statistic: Figure of each block: `median` or `mean`.
        blocks_ms: Figures of the blocks in their order.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    mean_ms: float
    min_ms: float | None
    max_ms: float | None
    std_ms: float | None
    p95_ms: float | None
    mad_ratio: float
    drift: float
    runs: int
    warmup: int
    statistic: str
    blocks_ms: tuple[float, ...]

    @property
    def noisy(self) -> bool:
        """Whether the blocks differ by more than 2 %."""
        return self.mad_ratio > NOISY_MAD_RATIO

    @property
    def drifting(self) -> bool:
        """Whether the network got slower or faster by more than 5 %."""
        return abs(self.drift) > DRIFT


def summarise_blocks(blocks: Sequence[Latency], seed: int = 0) -> Series:
    """Summarises blocks.

    Args:
        blocks: Blocks in the order in which they ran, at least one.
        seed: Random seed of the bootstrap.
    """
    # All blocks must have the same kind of figure: means and medians cannot be mixed.
    medians = all(block.median is not None for block in blocks)
    values = [block.value if medians else block.mean for block in blocks]
    middle = statistics.median(values)
    count = sum(block.runs for block in blocks)
    mean = sum(block.mean * block.runs for block in blocks) / count
    picks = random.Random(seed)
    resampled = sorted(statistics.median(picks.choices(values, k=len(values))) for _ in range(RESAMPLES))
    third = max(1, len(values) // 3)
    return Series(
        median_ms=middle,
        low_ms=resampled[int(0.025 * RESAMPLES)],
        high_ms=resampled[int(0.975 * RESAMPLES) - 1],
        mean_ms=mean,
        min_ms=_all(min, [block.min for block in blocks]),
        max_ms=_all(max, [block.max for block in blocks]),
        std_ms=_pooled(blocks, mean, count),
        p95_ms=_all(statistics.median, [block.p95 for block in blocks]),
        mad_ratio=statistics.median(abs(value - middle) for value in values) / middle,
        drift=(statistics.median(values[-third:]) - statistics.median(values[:third])) / middle,
        runs=count,
        warmup=blocks[0].warmup_runs,
        statistic="median" if medians else "mean",
        blocks_ms=tuple(values),
    )


def _all(function: Callable[[list[float]], float], values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(function(known)) if len(known) == len(values) else None


def _pooled(blocks: Sequence[Latency], mean: float, count: int) -> float | None:
    if any(block.std is None for block in blocks):
        return None
    squares = sum(block.runs * ((block.std or 0) ** 2 + (block.mean - mean) ** 2) for block in blocks)
    return math.sqrt(squares / count)
