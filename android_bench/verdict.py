"""What a run is worth: one status, and a latency only where there is positive proof of what was timed.

The tool ends with exit code 0 and the CPU's time when it does not know a delegate's flag, when the platform lacks the
delegate and when the delegate takes no node at all. So success is never assumed: it must be said, and nothing may
contradict it. Evidence of trouble is looked for first, in the order of `EVIDENCE`.
"""

from __future__ import annotations

import enum
import math
import re
from typing import NamedTuple

from android_bench.delegates import Choice
from android_bench.output import Count, Output, parse_output
from android_bench.phone import ToolRun
from android_bench.protos import Placement, Result


class Status(enum.StrEnum):
    """How a run ended."""

    OK = "OK"
    PARTIAL = "PARTIAL"
    NOT_DELEGATED = "NOT_DELEGATED"
    FLAG_UNSUPPORTED = "FLAG_UNSUPPORTED"
    DELEGATE_UNAVAILABLE = "DELEGATE_UNAVAILABLE"
    DELEGATE_FAILED = "DELEGATE_FAILED"
    INVOKE_ERROR = "INVOKE_ERROR"
    MODEL_ERROR = "MODEL_ERROR"
    NOT_EXECUTABLE = "NOT_EXECUTABLE"
    LINK_ERROR = "LINK_ERROR"
    CRASH = "CRASH"
    TIMEOUT = "TIMEOUT"
    DEVICE_LOST = "DEVICE_LOST"
    UNAUTHORIZED = "UNAUTHORIZED"
    UNKNOWN = "UNKNOWN"

    @property
    def runs(self) -> bool:
        """Whether there is a latency."""
        return self in (Status.OK, Status.PARTIAL)

    @property
    def lasting(self) -> bool:
        """Whether it says something of network and hardware, and not of this hour, cable or program file."""
        return self in _LASTING


_LASTING = (
    Status.OK, Status.PARTIAL, Status.NOT_DELEGATED, Status.DELEGATE_UNAVAILABLE, Status.DELEGATE_FAILED,
    Status.INVOKE_ERROR, Status.MODEL_ERROR, Status.CRASH,
)  # fmt: skip

EVIDENCE: tuple[tuple[Status, str], ...] = (
    (Status.LINK_ERROR, r"CANNOT LINK EXECUTABLE|error while loading shared libraries|cannot locate symbol"),
    (
        Status.NOT_EXECUTABLE,
        r"can't execute: |not executable: \d+-bit ELF|[Ee]xec format error|inaccessible or not found"
        r"|: (?:.*: )?Permission denied$|(?:benchmark\w*|taskset): not found$",
    ),
    (Status.FLAG_UNSUPPORTED, r"^Failed to parse flag|^Unparsable|^usage: "),
    (
        Status.DELEGATE_UNAVAILABLE,
        r"acceleration is unsupported on this platform|Could not create \w+ delegate"
        r"|Could not find the specified NNAPI accelerator"
        r"|Failed to fetch Hexagon NN version|(?:Failed to|Could not) load (?:the )?(?:external|stable) delegate"
        r"|No (?:GPU|NPU) accelerator|Can not open OpenCL library",
    ),
    (
        Status.DELEGATE_FAILED,
        r"TfLite\w*Delegate\w* (?:Init|Prepare): |\(TfLite\w*Delegate\w*\) failed to prepare|Failed to apply \w+ delegate"
        r"|Restored original execution plan|Failed to compile model",
    ),
    (
        Status.MODEL_ERROR,
        r"Could not open '|model allocation is null|Failed to load model|not a valid Flatbuffer"
        r"|Please specify the name of your TF Lite|Select TensorFlow op\(s\)"
        r"|unresolved custom op|Didn't find op for builtin opcode|Failed to allocate tensors"
        r"|Failed to construct interpreter|Failed to initialize the interpreter",
    ),
    (Status.INVOKE_ERROR, r"failed to invoke|Failed to invoke|^Run failed"),
    (Status.NOT_DELEGATED, r"Disallowed CPU fallback detected"),
)
_RELATIVE = 2e-5
_BLOCK_MS = 0.0051
# adb's own time, and clocks that are not quite alike.
_SLACK_S = 0.5


class Latency(NamedTuple):
    """One block's time, in milliseconds.

    Attributes:
        median: None from tools that print none.
        mean, min, max, std: over `runs`; min, max and std may be missing.
        init, first, warmup: session set-up, first inference, mean of the warm-up.
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
        """What stands for the block: its median, or its mean where there is no other."""
        return self.mean if self.median is None else self.median


class Verdict(NamedTuple):
    """A run's status.

    Attributes:
        reason: why it is not OK; "" if it is.
        latency: only for OK and PARTIAL.
        delegated, total: nodes; None where the tool did not tell.
        output: what was read.
    """

    status: Status
    reason: str
    latency: Latency | None
    delegated: int | None
    total: int | None
    output: Output


class _Doubt(Exception):
    """The output does not hold together."""


def decide(run: ToolRun, choice: Choice, *, result: Result | None = None, placement: Placement | None = None) -> Verdict:
    """Judges a run.

    Args:
        run: how the program ended and what it said.
        choice: what it was meant to run on.
        result, placement: the binary results, where the tool wrote them.
    """
    proof = choice.delegate.proof
    patterns = [pattern for _, pattern in EVIDENCE]
    output = parse_output(run.stdout, run.stderr, (*patterns, *proof.must, *proof.never))
    status, reason = _trouble(run, choice, output)
    if status is not None:
        return Verdict(status, reason, None, None, None, output)
    try:
        if run.dropped:
            raise _Doubt(f"{run.dropped} bytes of what it said are missing")
        latency = _latency(output, result)
        _plausible(latency, run.wall_s)
        status, reason, delegated, total = _delegation(choice, output, placement)
    except _Doubt as doubt:
        return Verdict(Status.UNKNOWN, str(doubt), None, None, None, output)
    return Verdict(status, reason, latency if status.runs else None, delegated, total, output)


def _trouble(run: ToolRun, choice: Choice, output: Output) -> tuple[Status | None, str]:
    """What went wrong, if anything says so."""
    if run.lost:
        return (Status.UNAUTHORIZED if "unauthorized" in run.lost else Status.DEVICE_LOST), run.lost
    if run.stopped == "timeout":
        return Status.TIMEOUT, f"no end within {run.wall_s:.0f} s"
    if run.stopped == "flood":
        return Status.UNKNOWN, "it printed without end"
    missing = _missing_flags(choice, output)
    for status, pattern in EVIDENCE:
        if status is Status.DELEGATE_UNAVAILABLE and missing:
            # After what keeps the program from starting, before what a run without its flags says.
            return Status.FLAG_UNSUPPORTED, f"this {choice.delegate.tool} does not know {', '.join(missing)}"
        # Without a failing exit code a shell's words may be anybody's.
        shell = status in (Status.NOT_EXECUTABLE, Status.LINK_ERROR)
        if pattern in output.watched and not (shell and run.rc == 0):
            return status, output.watched[pattern]
    if run.rc is None:
        return Status.UNKNOWN, "the exit code is not known"
    if run.rc in (126, 127):
        return Status.NOT_EXECUTABLE, f"exit code {run.rc} ({' '.join(output.errors[-1:]) or 'nothing was said'})"
    if run.rc > 128:
        return Status.CRASH, f"signal {run.rc - 128}"
    if run.rc:
        return Status.UNKNOWN, f"exit code {run.rc} ({' '.join(output.errors[-1:]) or 'nothing was said'})"
    return None, ""


def _missing_flags(choice: Choice, output: Output) -> list[str]:
    """Flags that this delegate or the measurement rests on and the tool did not take."""
    essential = {*choice.flags(""), "num_threads", "num_runs", "graph"}
    names = [flag.partition("=")[0].lstrip("-") for flag in output.unconsumed]
    return [f"--{name}" for name in names if name in essential]


def _latency(output: Output, result: Result | None) -> Latency:
    """The measured block, if stages, statistics and final line are all there, once each, and agree."""
    if output.oversized:
        raise _Doubt(f"{output.oversized} lines are too long to be any")
    sequence = output.sequence
    if sequence not in ("RCRCT", "RCRCB", "B", "RCRCTB", "RCRCBT"):
        raise _Doubt(
            f"expected warm-up, runs and a final line, found '{sequence or 'nothing'}' (R stage, C statistics, T end, B block)"
        )
    if sequence == "B":
        latency = _from_block(output)
    else:
        warmup, measured = output.counts
        latency = _from_counts(warmup, measured, output)
    return _with_result(latency, result)


def _from_counts(warmup: Count, measured: Count, output: Output) -> Latency:
    if not (warmup.sound and measured.sound):
        raise _Doubt("a statistics line is not whole")
    if measured.count < 1 or measured.avg is None:
        raise _Doubt(f"{measured.count} inferences were timed")
    low, high = measured.min, measured.max
    for name in ("avg", "min", "max", "median", "p5", "p95", "first", "curr"):
        value = getattr(measured, name)
        if value is None:
            continue
        if not (math.isfinite(value) and value > 0):
            raise _Doubt(f"{name} is {value:g} µs, which is no latency")
        if low is not None and high is not None and not low * (1 - _RELATIVE) <= value <= high * (1 + _RELATIVE):
            raise _Doubt(f"{name} is {value:g} µs, outside of min {low:g} and max {high:g}")
    if measured.std is not None and not (math.isfinite(measured.std) and measured.std >= 0):
        raise _Doubt(f"std is {measured.std:g}")
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
        init=init if init is not None and math.isfinite(init) and init >= 0 else None,
        first=_milliseconds(warmup.first if warmup.first and warmup.first > 0 else None),
        warmup=_milliseconds(warmup.avg if warmup.avg and warmup.avg > 0 else None),
        warmup_runs=warmup.count,
    )


def _milliseconds(microseconds: float | None) -> float | None:
    return None if microseconds is None else microseconds / 1e3


def _same_average(measured: Count, output: Output) -> None:
    """The final line repeats the average; where it differs, one of them is of something else."""
    assert measured.avg is not None
    if "T" in output.sequence:
        timings = output.timings or {}
        final = next((timings[name] for name in ("Inference (avg)", "Inference", "no stats") if name in timings), None)
        if final is None or not math.isclose(final, measured.avg, rel_tol=_RELATIVE):
            raise _Doubt(f"the final line says {final} µs, the statistics {measured.avg:g} µs")
    if "B" in output.sequence:
        final = output.block.get("Inference (avg)")
        if (
            final is None
            or abs(final - measured.avg / 1e3) > _BLOCK_MS + _RELATIVE * final
            or output.block_runs != measured.count
        ):
            raise _Doubt(f"the final block says {final} ms of {output.block_runs} runs, the statistics {measured.avg / 1e3:g} ms")


def _from_block(output: Output) -> Latency:
    """LiteRT's block alone: hundredths of a millisecond, so nothing under one of them."""
    block = output.block
    mean, runs = block.get("Inference (avg)"), output.block_runs
    low, high = block.get("Inference (min)"), block.get("Inference (max)")
    if mean is None or not runs or low is None or high is None:
        raise _Doubt("the block of results is not whole")
    if not (0 < low <= mean + _BLOCK_MS and mean <= high + _BLOCK_MS and math.isfinite(high)):
        raise _Doubt(f"the block says average {mean:g} ms, min {low:g}, max {high:g}")
    return Latency(
        mean=mean,
        runs=runs,
        min=low,
        max=high,
        std=block.get("Inference (std)"),
        init=block.get("Model initialization"),
        first=block.get("Warmup (first)") or None,
        warmup=block.get("Warmup (avg)") or None,
    )


def _with_result(latency: Latency, result: Result | None) -> Latency:
    """Takes the exact numbers of the result file, if it is of the same run."""
    if result is None:
        return latency
    numbers = result.latency_ms
    average = numbers.get("avg")
    wrong = average is None or result.runs != latency.runs
    if wrong or average is None or not math.isclose(average, latency.mean, rel_tol=1e-4, abs_tol=_BLOCK_MS):
        raise _Doubt(f"the result file says {average} ms of {result.runs} runs, the text {latency.mean:g} ms of {latency.runs}")
    median = numbers.get("median")
    if median is not None and not (latency.min or 0) - _BLOCK_MS <= median <= (latency.max or median) + _BLOCK_MS:
        raise _Doubt(f"the result file has a median of {median:g} ms, outside of min and max")
    return latency._replace(median=latency.median or median or None, p95=latency.p95 or numbers.get("p95") or None)


def _plausible(latency: Latency, wall_s: float) -> None:
    """A clock that was set during the run shows: the tool claims more time than passed here."""
    claimed = latency.mean * latency.runs + (latency.warmup or 0) * latency.warmup_runs
    if claimed / 1e3 > wall_s * 1.02 + _SLACK_S:
        raise _Doubt(f"it claims {claimed / 1e3:.1f} s of inferences, but ended after {wall_s:.1f} s: did its clock change?")


def _delegation(choice: Choice, output: Output, placement: Placement | None) -> tuple[Status, str, int | None, int | None]:
    """Whether the delegate ran, wholly or in part, by what the tool says for certain."""
    proof = choice.delegate.proof
    for pattern, reason in proof.never.items():
        if pattern in output.watched:
            return Status.DELEGATE_UNAVAILABLE, f"{reason} ({output.watched[pattern]})", None, None
    if proof.plain:
        _check_must(choice, output)
        took = [name for name, how in output.applied.items() if how != "not"] + output.created
        took += [f"{entry.kernel} ({entry.nodes} nodes)" for entry in output.replaced if entry.nodes]
        took += [name for name, nodes in placement.delegated.items() if nodes] if placement else []
        if took:
            raise _Doubt(f"delegates took part that nobody asked for: {', '.join(dict.fromkeys(took))}")
        return Status.OK, "", 0, placement.total if placement else None
    delegated, total = _nodes(choice, output, placement)
    how = next((output.applied[name] for name in proof.names if name in output.applied), "")
    if how == "not" or delegated == 0:
        return Status.NOT_DELEGATED, "the delegate took none of the network, the CPU ran it", 0, total
    if not how and proof.names:
        raise _Doubt(f"nothing says that the {' or '.join(proof.names)} delegate was applied")
    if not how and (delegated is None or total is None):
        raise _Doubt("nothing says which nodes the delegate took")
    _check_must(choice, output)
    whole = delegated == total if delegated is not None and total is not None else None
    if how == "completely" and whole is False:
        raise _Doubt(f"it says that all is on the delegate, and that {delegated} of {total} nodes are")
    if how == "completely" or (not how and whole):
        return Status.OK, "", delegated, total
    counts = f"{delegated}/{total} nodes" if total is not None else "part of the network"
    return Status.PARTIAL, f"{counts} on the delegate, the rest on the CPU", delegated, total


def _check_must(choice: Choice, output: Output) -> None:
    for pattern, reason in choice.delegate.proof.must.items():
        if pattern not in output.watched:
            raise _Doubt(reason)


def _nodes(choice: Choice, output: Output, placement: Placement | None) -> tuple[int | None, int | None]:
    """Nodes on the delegate and all nodes, from the most exact source that tells."""
    kernels = [re.compile(pattern) for pattern in choice.delegate.proof.kernels]

    def ours(name: str) -> bool:
        return any(kernel.fullmatch(name) for kernel in kernels)

    if placement is not None:
        return sum(nodes for name, nodes in placement.delegated.items() if ours(name)), placement.total
    entries = [entry for entry in output.replaced if ours(entry.kernel)]
    if entries:
        # The first line of a subgraph knows how many nodes there were before any delegate.
        first = {entry.subgraph: entry.total for entry in reversed(output.replaced)}
        totals = list(first.values())
        total = None if None in totals else sum(value for value in totals if value is not None)
        return sum(entry.nodes for entry in entries), total
    if "GPU" in choice.delegate.proof.names and output.split is not None:
        return output.split
    simple = next(((nodes, total) for name, nodes, total in output.simple if ours(name)), None)
    return simple if simple is not None else (None, None)
