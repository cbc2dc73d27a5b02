"""Which of two files is faster: blocks of both in turns, and an interval for the ratio of their medians.

On a shared machine the median of 50 inferences moves by up to 17 % within minutes. Blocks A B A B … are disturbed alike, and the
bootstrap resamples them in pairs, so that common disturbances cancel.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import msgspec

from mhmodels.errors import MeasurementError
from mhmodels.hardware.collection import get_hardware
from mhmodels.hardware.host.session import HostSession
from mhmodels.hardware.machine_lock import machine_lock
from mhmodels.hardware.measuring import check_format, prepare

MINIMUM_BLOCKS = 20
RESAMPLES = 10_000

BlockTimer = Callable[[], Sequence[float]]


class TimeRatio(msgspec.Struct, frozen=True, kw_only=True):
    """Time of A over time of B.

    Attributes:
        ratio: Median of A's block medians over that of B's; below 1 means that A is faster.
        low, high: Bootstrap 95 % interval of the ratio.
        a_ms, b_ms: The two medians in ms.
        blocks: Number of blocks of each.
        runs: Number of timings in a block.

    Example:
        >>> from mhmodels.hardware.interleaved import ratio_of_medians
        >>> ratio = ratio_of_medians([1.0, 1.1, 1.0], [2.0, 2.2, 2.0])
        >>> ratio.ratio, ratio.at_most(0.6)
        (0.5, True)
    """

    ratio: float
    low: float
    high: float
    a_ms: float
    b_ms: float
    blocks: int
    runs: int

    def at_most(self, bar: float) -> bool:
        """Whether a bound is met: the lower end of the interval is at or below it."""
        return self.low <= bar


def ratio_of_medians(a_ms: Sequence[float], b_ms: Sequence[float], *, runs: int = 1, seed: int = 0) -> TimeRatio:
    """The ratio of two series of block medians that were made in turns.

    Args:
        a_ms, b_ms: Medians in ms, one for each block, of equal length, each above 0.
        runs: Number of timings in a block, for the record.
        seed: Random seed of the bootstrap.

    Raises:
        MeasurementError: There are no blocks, the numbers of blocks differ, or an entry is not above 0.

    Example:
        >>> from mhmodels.hardware.interleaved import ratio_of_medians
        >>> ratio_of_medians([1.0, 1.1, 1.0], [2.0, 2.2, 2.0]).ratio
        0.5
    """
    import numpy as np

    if len(a_ms) != len(b_ms) or not a_ms:
        raise MeasurementError(f"{len(a_ms)} blocks of A and {len(b_ms)} of B, expected as many of each and at least one")
    a, b = np.asarray(a_ms, np.float64), np.asarray(b_ms, np.float64)
    if not (np.isfinite(a) & np.isfinite(b) & (a > 0) & (b > 0)).all():
        raise MeasurementError("a block median is not a finite number above 0")
    picks = np.random.default_rng(seed).integers(0, len(a), (RESAMPLES, len(a)))
    low, high = np.quantile(np.median(a[picks], axis=1) / np.median(b[picks], axis=1), (0.025, 0.975))
    middle_a, middle_b = float(np.median(a)), float(np.median(b))
    return TimeRatio(
        ratio=middle_a / middle_b, low=float(low), high=float(high), a_ms=middle_a, b_ms=middle_b, blocks=len(a), runs=runs
    )


def interleaved_ratio(a: BlockTimer, b: BlockTimer, *, blocks: int = MINIMUM_BLOCKS) -> TimeRatio:
    """Runs blocks A B A B … and compares their medians.

    Args:
        a, b: Each makes one block and returns its timings in ms.
        blocks: Number of blocks of each, at least 20.

    Raises:
        MeasurementError: `blocks` is below 20, or a timing is not above 0.
    """
    if blocks < MINIMUM_BLOCKS:
        raise MeasurementError(f"blocks is {blocks}, expected at least {MINIMUM_BLOCKS} for an interval that means something")
    medians: tuple[list[float], list[float]] = ([], [])
    runs = 0
    for _ in range(blocks):
        for side, block in zip(medians, (a, b), strict=True):
            times = block()
            runs = len(times)
            side.append(statistics.median(times))
    return ratio_of_medians(*medians, runs=runs)


def timed(call: Callable[[], object], runs: int = 10) -> BlockTimer:
    """Makes a block out of a callable: `runs` calls, timed one by one."""

    def block() -> list[float]:
        """Timings in ms, one for each call."""
        times = []
        for _ in range(runs):
            start = time.perf_counter_ns()
            call()
            times.append((time.perf_counter_ns() - start) / 1e6)
        return times

    return block


def compare_files(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    hardware_id: str,
    *,
    blocks: int = MINIMUM_BLOCKS,
    runs: int = 10,
    threads: int = 1,
    undisturbed: bool = False,
) -> TimeRatio:
    """Time of one .tflite file over that of another on this machine's CPU, both loaded at the same time on the same core.

    Args:
        a, b: Files of the format that the hardware takes.
        hardware_id: One of the `host-cpu-…` hardware.
        blocks: Number of blocks of each file, at least 20.
        runs: Number of inferences in a block.
        threads: Threads of the runtime.
        undisturbed: Whether only the fastest inference of each block counts, by the time for which its thread had its core (with
            several threads, by its whole time). Other processes then hardly widen the interval.

    Raises:
        FileFormatError: A file is damaged or of another format.
        MeasurementError: The hardware is not a CPU of this machine, or a file could not be timed.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mhmodels import get_architecture
        >>> from mhmodels.export.writing.latency import latency_file
        >>> from mhmodels.hardware import compare_files
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     small, large = (
        ...         latency_file(get_architecture("mobilenet_v1").at(width_multiplier=width, input_size=32), "int8", Path(folder))
        ...         for width in (0.25, 1.0)
        ...     )
        ...     ratio = compare_files(small, large, "host-cpu-int8", runs=3)
        >>> ratio.high < 1
        True
    """
    hardware, _ = get_hardware(hardware_id)
    if "kernels" not in hardware.configuration:
        raise MeasurementError(f"{hardware_id} is not timed on this machine; a ratio needs one of the host-cpu-… hardware")
    with machine_lock(), ExitStack() as stack:
        sessions = []
        for file in (a, b):
            job = prepare(file, threads=threads)
            check_format(job, hardware)
            xnnpack = hardware.configuration["kernels"] == "XNNPACK"
            sessions.append(stack.enter_context(HostSession(job.path, xnnpack=xnnpack, threads=threads)))
        first, second = (_timer(session, runs, undisturbed=undisturbed) for session in sessions)
        return interleaved_ratio(first, second, blocks=blocks)


def _timer(session: HostSession, runs: int, *, undisturbed: bool) -> BlockTimer:
    """Makes a block out of a session: all its timings, or its fastest one."""

    def block() -> Sequence[float]:
        """Timings in ms."""
        times = session.block(runs)
        return [min(session.own_ms or times)] if undisturbed else times

    return block
