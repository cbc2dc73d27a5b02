"""Reading the latency of a run from the output of the tool, with checks of everything that must hold between its numbers."""

from __future__ import annotations

import math
from typing import NamedTuple

from mhmodels.android_bench.output.parsing import StatisticsLine, ToolOutput
from mhmodels.android_bench.output.protos import BenchmarkResult

_RELATIVE = 2e-5
_BLOCK_MS = 0.0051
# Three years: no set-up takes longer, and no store takes infinity.
_HUGE_MS = 1e11
# The tool counts whole microseconds: less than a tenth of one is in another unit, or no time at all.
_LEAST_MS = 1e-4
# Tolerance for adb's own time and for clocks that differ slightly.
_SLACK_S = 0.5
# A loop spends most of its time in inferences. If the share is smaller than this, the time is in another unit.
_LEAST_PART = 0.01


class Latency(NamedTuple):
    """Latency of one block, in ms.

    Attributes:
        median: Median inference; None where the tool does not print it.
        mean, min, max, std: Statistics over `runs` inferences; min, max and std may be missing.
        init: Set-up of the session.
        first: First inference.
        warmup: Mean of the warm-up.
    """

    mean: float
    runs: int
    median: float | None = None
    min: float | None = None
    max: float | None = None
    std: float | None = None
    p95: float | None = None
    init: float | None = None
    first: float | None = None
    warmup: float | None = None
    warmup_runs: int = 0

    @property
    def value(self) -> float:
        """The figure that stands for the block: its median, or its mean where there is no median."""
        return self.mean if self.median is None else self.median


class UnclearOutputError(Exception):
    """The output contradicts itself or is incomplete."""


def read_latency(output: ToolOutput, result: BenchmarkResult | None) -> Latency:
    """Reads the measured block if stages, statistics and final line are all there, once each, and agree."""
    sequence = output.sequence
    if sequence not in ("RCRCT", "RCRCB", "B", "RCRCTB", "RCRCBT"):
        raise UnclearOutputError(
            f"expected warm-up, runs and a final line, found '{sequence or 'nothing'}' (R stage, C statistics, T end, B block)"
        )
    if sequence == "B":
        latency = _from_block(output)
    else:
        warmup, measured = output.counts
        latency = _from_counts(warmup, measured, output)
    return _with_result(latency, result)


def _from_counts(warmup: StatisticsLine, measured: StatisticsLine, output: ToolOutput) -> Latency:
    if not (warmup.sound and measured.sound):
        raise UnclearOutputError("a statistics line is not whole")
    if measured.count < 1 or measured.avg is None:
        raise UnclearOutputError(f"{measured.count} inferences were timed")
    low, high = measured.min, measured.max
    for name in ("avg", "min", "max", "median", "p5", "p95", "first", "curr"):
        value = getattr(measured, name)
        if value is None:
            continue
        if not (math.isfinite(value) and value > 0):
            raise UnclearOutputError(f"{name} is {value:g} µs, which is no latency")
        if low is not None and high is not None and not low * (1 - _RELATIVE) <= value <= high * (1 + _RELATIVE):
            raise UnclearOutputError(f"{name} is {value:g} µs, outside of min {low:g} and max {high:g}")
    if measured.std is not None and not (math.isfinite(measured.std) and measured.std >= 0):
        raise UnclearOutputError(f"std is {measured.std:g}")
    _one_distribution(measured)
    _as_announced(measured, output)
    _same_average(measured, output)
    timings, block = output.timings or {}, output.block
    init = timings["Init"] / 1e3 if "Init" in timings else block.get("Model initialization")
    return Latency(
        mean=measured.avg / 1e3,
        runs=measured.count,
        median=_milliseconds(measured.median),
        min=_milliseconds(low),
        max=_milliseconds(high),
        std=_milliseconds(measured.std),
        p95=_milliseconds(measured.p95),
        init=_sane(init),
        first=_sane(_milliseconds(warmup.first)) or None,
        warmup=_sane(_milliseconds(warmup.avg)) or None,
        warmup_runs=warmup.count,
    )


def _milliseconds(microseconds: float | None) -> float | None:
    return None if microseconds is None else microseconds / 1e3


def _sane(number: float | None) -> float | None:
    """A number that is not the latency itself: None if it cannot be right, while the latency stays valid."""
    return number if number is not None and math.isfinite(number) and 0 <= number < _HUGE_MS else None


def _one_distribution(measured: StatisticsLine) -> None:
    """Checks that the statistics can be of one list of times; printed numbers are rounded or cut to whole microseconds."""
    parts = [value for value in (measured.p5, measured.median, measured.p95) if value is not None]
    if parts != sorted(parts):
        raise UnclearOutputError(f"percentiles are out of order ({', '.join(f'{value:g}' for value in parts)})")
    low, high, mean, std = measured.min, measured.max, measured.avg, measured.std
    if std is None or mean is None:
        return
    slack = 1.5 + 1e-3 * mean
    if low is not None and high is not None and std > (high - low) / 2 + slack:
        raise UnclearOutputError(f"std is {std:g} µs between min {low:g} and max {high:g}")
    if measured.median is not None and abs(measured.median - mean) > std * 1.01 + slack:
        raise UnclearOutputError(f"median {measured.median:g} and average {mean:g} µs are further apart than std {std:g}")


def _as_announced(measured: StatisticsLine, output: ToolOutput) -> None:
    """Checks that the loop ended after the announced inferences and seconds, or at its limit."""
    stage, claimed = output.stages[1], measured.count * (measured.avg or 0) / 1e6
    if claimed < stage.min_secs * _LEAST_PART:
        raise UnclearOutputError(
            f"{claimed:g} s of inferences in a stage of at least {stage.min_secs:g} s: are these microseconds?"
        )
    if measured.count < stage.iterations and stage.max_secs is not None and claimed < stage.max_secs / 2:
        raise UnclearOutputError(f"{measured.count} inferences in {claimed:g} s, at least {stage.iterations} were announced")


def _same_average(measured: StatisticsLine, output: ToolOutput) -> None:
    """Checks that the final line repeats the average; if it differs, one of the two is of something else."""
    assert measured.avg is not None
    if "T" in output.sequence:
        timings = output.timings or {}
        final = next((timings[name] for name in ("Inference (avg)", "Inference", "no stats") if name in timings), None)
        if final is None or not math.isclose(final, measured.avg, rel_tol=_RELATIVE):
            raise UnclearOutputError(f"the final line says {final} µs, the statistics {measured.avg:g} µs")
    if "B" in output.sequence:
        final = output.block.get("Inference (avg)")
        if (
            final is None
            or abs(final - measured.avg / 1e3) > _BLOCK_MS + _RELATIVE * final
            or output.block_runs != measured.count
        ):
            raise UnclearOutputError(
                f"the final block says {final} ms of {output.block_runs} runs, the statistics {measured.avg / 1e3:g} ms"
            )


def _from_block(output: ToolOutput) -> Latency:
    """Reads a LiteRT block alone. It has hundredths of a millisecond, so a latency below one of them is refused."""
    block = output.block
    mean, runs = block.get("Inference (avg)"), output.block_runs
    low, high = block.get("Inference (min)"), block.get("Inference (max)")
    if mean is None or not runs or low is None or high is None:
        raise UnclearOutputError("the block of results is not whole")
    if not (0 < low <= mean + _BLOCK_MS and mean <= high + _BLOCK_MS and math.isfinite(high)):
        raise UnclearOutputError(f"the block says average {mean:g} ms, min {low:g}, max {high:g}")
    return Latency(
        mean=mean,
        runs=runs,
        min=low,
        max=high,
        std=_sane(block.get("Inference (std)")),
        init=_sane(block.get("Model initialization")),
        first=_sane(block.get("Warmup (first)")) or None,
        warmup=_sane(block.get("Warmup (avg)")) or None,
    )


def _with_result(latency: Latency, result: BenchmarkResult | None) -> Latency:
    """Takes the exact numbers of the result file, if the file is of the same run."""
    if result is None:
        return latency
    numbers = result.latency_ms
    average = numbers.get("avg")
    wrong = average is None or result.runs != latency.runs
    if wrong or average is None or not math.isclose(average, latency.mean, rel_tol=1e-4, abs_tol=_BLOCK_MS):
        raise UnclearOutputError(
            f"the result file says {average} ms of {result.runs} runs, the text {latency.mean:g} ms of {latency.runs}"
        )
    low, high = latency.min or 0.0, latency.max or _HUGE_MS
    for name in ("min", "median", "p95", "max"):
        value = numbers.get(name)
        # Zero is a field that was not set.
        if value and not (0 < value < _HUGE_MS and low - _BLOCK_MS <= value <= high + _BLOCK_MS):
            raise UnclearOutputError(f"the result file has {name} {value:g} ms, the text min {low:g} and max {high:g}")
    return latency._replace(median=latency.median or numbers.get("median") or None, p95=latency.p95 or numbers.get("p95") or None)


def check_plausible(latency: Latency, wall_s: float) -> None:
    """Refuses a time that is longer than what passed on this machine: the clock was set during the run."""
    if latency.value < _LEAST_MS:
        raise UnclearOutputError(f"{latency.value:g} ms is no latency")
    claimed = latency.mean * latency.runs + (latency.warmup or 0) * latency.warmup_runs
    if claimed / 1e3 > wall_s * 1.02 + _SLACK_S:
        raise UnclearOutputError(
            f"it claims {claimed / 1e3:.1f} s of inferences, but ended after {wall_s:.1f} s: did its clock change?"
        )
