"""What each layer costs on this machine's CPU, by LiteRT's profiler.

The profiler (in the C library of ai-edge-litert 2.3.0, which the Python interpreter does not offer) times every operator inside
XNNPACK's delegate. That is why it is used here, and not differences between files that are cut after each block: those would
time whole runs, but the error of a difference of two runs is larger than most layers.

Short blocks with and without the profiler alternate, so that the sum of the layers can be compared with a latency that the
profiler did not lengthen. A disturbance only slows down, and it is often shorter than an inference, so the fastest quarter of
the times of each operator counts, and the fastest quarter of the inferences without the profiler, by the time for which their
thread had its core.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mhmodels.errors import MeasurementError
from mhmodels.hardware.host.matching import ProfiledOperator, match_operators
from mhmodels.hardware.host.pace import remember_pace
from mhmodels.hardware.host.session import TIMEOUT_S, ChildSession
from mhmodels.hardware.host.timing import SLOW_PACE
from mhmodels.hardware.layers.file_layers import file_layers
from mhmodels.hardware.layers.profile import LayerProfile
from mhmodels.hardware.protocol import Hardware, Job
from mhmodels.tflite.file import TFLiteFile, read_tflite

CHILD = Path(__file__).with_name("profile_child.py")
BLOCKS, LEAST_BLOCKS, RUNS = 40, 5, 5
"""Number of blocks of each kind, smallest number of them, and largest number of inferences in a block."""
BLOCK_S, SESSION_S = 0.25, 60.0
"""Seconds that a block should take, and seconds after which no further block begins."""
_FASTEST, _PARTS = 0.25, 4
_APART = 0.1
"""Largest difference between the sum over the layers and the total, relative, that is no disturbance."""
_AGAIN = "run this again on a quiet machine"


class ProfiledRuns(NamedTuple):
    """What alternating blocks gave.

    Attributes:
        operators: Operators in the order in which they ran.
        total_ms: Latency in ms without the profiler.
        profiled_ms: Latency in ms with it.
        runs: Number of inferences of each kind.
        pace_us: Pace in us of this machine in the fastest quarter of the blocks (`host.pace`).
    """

    operators: tuple[ProfiledOperator, ...]
    total_ms: float
    profiled_ms: float
    runs: int
    pace_us: float


def profile_layers(job: Job, hardware: Hardware, pace_key: str) -> LayerProfile:
    """Runs a file with LiteRT's profiler.

    Args:
        job, hardware: As in `LayerProfiler.profile_layers`.
        pace_key: What the pace of this machine depends on.

    Raises:
        MeasurementError: The runtime refuses the file, dies on it, takes too long, or has no profiler that is known here.
    """
    content = read_tflite(job.path)
    found = profiled_runs(job, content, xnnpack=hardware.configuration["kernels"] == "XNNPACK")
    if not any(operator.ms for operator in found.operators):
        raise MeasurementError(f"{job.path}: no layer takes a microsecond, in which LiteRT's profiler counts")
    covered = sum(operator.ms for operator in found.operators) / found.total_ms
    costs, merged, note = match_operators(found.operators, file_layers(content))
    slower = found.profiled_ms / found.total_ms - 1
    pace = found.pace_us / remember_pace(pace_key, found.pace_us)
    slow, apart = pace > SLOW_PACE, abs(covered - 1) > _APART
    notes = [
        f"Mean of the fastest quarter of {found.runs} times; the total comes from as many inferences in between without the "
        f"profiler, which changes the latency by {100 * slower:+.1f} %.",
        "LiteRT does not tell whether memory or computation limits a layer, nor the utilisation of the CPU.",
        *([note] if note else []),
        *([f"The machine was slower than it can be, by {100 * (pace - 1):.0f} %: {_AGAIN}."] * slow),
        *([f"The layers add up to {covered:.0%} of the total: the machine was disturbed; {_AGAIN}."] * apart),
    ]
    return LayerProfile(
        hardware=hardware.id,
        model=job.model,
        kind=hardware.kind,
        unit="ms",
        layers=costs,
        total=found.total_ms,
        merged=merged,
        noisy=slow or apart,
        notes=tuple(notes),
    )


def profiled_runs(job: Job, content: TFLiteFile, *, xnnpack: bool) -> ProfiledRuns:
    """Times blocks with and without the profiler in turns.

    Raises:
        MeasurementError: As `profile_layers`.
    """
    inputs = {str(i): (content.tensors[i].dtype, list(content.tensors[i].shape)) for i in content.inputs}
    settings = {"path": str(job.path), "xnnpack": xnnpack, "threads": job.threads, "inputs": inputs}
    with ChildSession(CHILD, job.path, settings, threads=job.threads, timeout_s=TIMEOUT_S) as session:
        runs = max(1, min(RUNS, int(BLOCK_S * 1e9 / session.about["ns"])))
        plain: list[dict[str, Any]] = []
        profiled: list[dict[str, Any]] = []
        end = time.monotonic() + SESSION_S
        while len(plain) < BLOCKS and (len(plain) < LEAST_BLOCKS or time.monotonic() < end):
            plain.append(session.ask({"runs": runs, "profiled": False}))
            profiled.append(session.ask({"runs": runs, "profiled": True}))
    operators = profiled[0]["operators"]
    if any(block["operators"] != operators for block in profiled):
        raise MeasurementError(f"{job.path}: two blocks ran different operators, so that their times cannot be compared")
    times = [ns for block in plain for ns in block["ns"]]
    rows = [us for block in profiled for us in block["us"]]
    timed = [_timed(name, [row[place] for row in rows]) for place, name in enumerate(operators)]
    return ProfiledRuns(
        operators=tuple(timed),
        total_ms=statistics.fmean(fastest(times)) / 1e6,
        profiled_ms=statistics.fmean(fastest([ns for block in profiled for ns in block["ns"]])) / 1e6,
        runs=len(times),
        pace_us=statistics.fmean(fastest([block["pace_ns"] for block in profiled])) / 1e3,
    )


def fastest(times: Sequence[int]) -> list[int]:
    """The fastest quarter of some timings, at least one of them.

    Example:
        >>> fastest([4, 1, 9, 3, 8, 7, 6, 5])
        [1, 3]
    """
    return sorted(times)[: max(1, int(_FASTEST * len(times)))]


def _timed(name: Sequence[object], times_us: Sequence[int]) -> ProfiledOperator:
    """The mean of the fastest quarter: the profiler counts whole microseconds, so that a mean is finer than a median.

    The standard error comes from the same means of four parts of the times.
    """
    parts = [statistics.fmean(fastest(times_us[start::_PARTS])) for start in range(min(_PARTS, len(times_us)))]
    error = statistics.stdev(parts) / math.sqrt(len(parts)) if len(parts) > 1 else 0.0
    tag, delegated, index = name
    middle = statistics.fmean(fastest(times_us))
    return ProfiledOperator(str(tag), bool(delegated), int(str(index)), middle / 1e3, error / 1e3)
