"""Which of two files is faster: blocks of both in turns in several fresh processes, and an interval for the ratio of their times.

On a shared machine the median of 50 inferences moves by up to 17 % within minutes. Blocks A B A B … are disturbed alike, so that
common disturbances cancel in their ratio.

A process keeps what it was given when it started, such as the places of its memory, and with it a speed that differs from that of
the next process by some percent, for the same file. More blocks do not average this away. So the ratio of two files is taken in
several pairs of fresh processes, and its interval tells how these ratios scatter. An interval from the blocks of one pair is too
narrow for a statement on files.
"""

from __future__ import annotations

import math
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
MINIMUM_PROCESSES = 2
USUAL_PROCESSES = 5
RESAMPLES = 10_000

BlockTimer = Callable[[], Sequence[float]]


class TimeRatio(msgspec.Struct, frozen=True, kw_only=True):
    """Time of A over time of B.

    Attributes:
        ratio: Median of A's block medians over that of B's; below 1 means that A is faster. Over several pairs of processes
            the geometric mean of their ratios.
        low, high: 95 % interval of the ratio: over several pairs of processes the t interval of the logarithms of their
            ratios, within one the bootstrap interval over its blocks.
        a_ms, b_ms: The two medians in ms; over several pairs of processes the medians of theirs.
        blocks: Number of blocks of each, in each process.
        runs: Number of timings in a block.
        processes: Number of pairs of processes.

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
    processes: int = 1

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


def ratio_over_processes(pairs: Sequence[TimeRatio]) -> TimeRatio:
    """The ratio over several pairs of processes, with the t interval of the logarithms of their ratios.

    Args:
        pairs: Ratio within each pair, at least 2.

    Raises:
        MeasurementError: There are fewer than 2 pairs.

    Example:
        >>> from mhmodels.hardware.interleaved import ratio_of_medians, ratio_over_processes
        >>> pairs = [ratio_of_medians([a], [1.0]) for a in (0.98, 1.0, 1.03)]
        >>> over = ratio_over_processes(pairs)
        >>> round(over.low, 2), round(over.ratio, 2), round(over.high, 2)
        (0.94, 1.0, 1.07)
    """
    from scipy.special import stdtrit

    if len(pairs) < MINIMUM_PROCESSES:
        raise MeasurementError(
            f"{len(pairs)} pairs of processes, expected at least {MINIMUM_PROCESSES}: how they scatter is the interval"
        )
    logs = [math.log(pair.ratio) for pair in pairs]
    middle = statistics.fmean(logs)
    margin = float(stdtrit(len(logs) - 1, 0.975)) * statistics.stdev(logs) / math.sqrt(len(logs))
    return TimeRatio(
        ratio=math.exp(middle),
        low=math.exp(middle - margin),
        high=math.exp(middle + margin),
        a_ms=statistics.median(pair.a_ms for pair in pairs),
        b_ms=statistics.median(pair.b_ms for pair in pairs),
        blocks=pairs[0].blocks,
        runs=pairs[0].runs,
        processes=len(pairs),
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
    processes: int = USUAL_PROCESSES,
    blocks: int = MINIMUM_BLOCKS,
    runs: int = 10,
    threads: int = 1,
    undisturbed: bool = False,
) -> TimeRatio:
    """Time of one .tflite file over that of another on this machine's CPU, on the same core.

    Each file is loaded in a fresh process of its own, and blocks of both alternate. This is repeated with new processes; every
    second time B is loaded and timed first. The interval is over these pairs of processes.

    Args:
        a, b: Files of the format that the hardware takes.
        hardware_id: One of the `host-cpu-…` hardware.
        processes: Number of pairs of processes, at least 2. Fewer give a wider interval.
        blocks: Number of blocks of each file in each process, at least 20.
        runs: Number of inferences in a block.
        threads: Threads of the runtime.
        undisturbed: Whether only the fastest inference of each block counts, by the time for which its thread had its core (with
            several threads, by its whole time). Other processes then hardly widen the interval.

    Raises:
        FileFormatError: A file is damaged or of another format.
        MeasurementError: The hardware is not a CPU of this machine, a file could not be timed, or `processes` or `blocks` is too
            small.

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
        ...     ratio = compare_files(small, large, "host-cpu-int8", processes=3, runs=3)
        >>> ratio.ratio < 1
        True
    """
    hardware, _ = get_hardware(hardware_id)
    if "kernels" not in hardware.configuration:
        raise MeasurementError(f"{hardware_id} is not timed on this machine; a ratio needs one of the host-cpu-… hardware")
    if processes < MINIMUM_PROCESSES:
        raise MeasurementError(f"processes is {processes}, expected at least {MINIMUM_PROCESSES}: their scatter is the interval")
    xnnpack = hardware.configuration["kernels"] == "XNNPACK"
    with machine_lock():
        jobs = [prepare(file, threads=threads) for file in (a, b)]
        for job in jobs:
            check_format(job, hardware)
        pairs = []
        for turn in range(processes):
            order = (0, 1) if turn % 2 == 0 else (1, 0)
            with ExitStack() as stack:
                sessions = {i: stack.enter_context(HostSession(jobs[i].path, xnnpack=xnnpack, threads=threads)) for i in order}
                timers = [_timer(sessions[i], runs, undisturbed=undisturbed) for i in order]
                pair = interleaved_ratio(*timers, blocks=blocks)
            pairs.append(pair if order == (0, 1) else _swapped(pair))
        return ratio_over_processes(pairs)


def _swapped(pair: TimeRatio) -> TimeRatio:
    """Returns the ratio of B to A as that of A to B."""
    return msgspec.structs.replace(
        pair, ratio=1 / pair.ratio, low=1 / pair.high, high=1 / pair.low, a_ms=pair.b_ms, b_ms=pair.a_ms
    )


def _timer(session: HostSession, runs: int, *, undisturbed: bool) -> BlockTimer:
    """Makes a block out of a session: all its timings, or its fastest one."""

    def block() -> Sequence[float]:
        """Timings in ms."""
        times = session.block(runs)
        return [min(session.own_ms or times)] if undisturbed else times

    return block
