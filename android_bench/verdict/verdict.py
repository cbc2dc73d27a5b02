"""The verdict on a run: one status, and a latency only where the output proves what was timed.

The tool ends with exit code 0 and the time of the CPU when it does not know a delegate's flag, when the platform lacks the
delegate, and when the delegate takes no node at all. So success is never assumed: the output must say it (`proof`), and nothing
may contradict it. Evidence of trouble is looked for first, in the order of `EVIDENCE`.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from mhmodels.android_bench.delegates.delegate import DelegateChoice
from mhmodels.android_bench.output.latency import Latency, UnclearOutputError, check_plausible, read_latency
from mhmodels.android_bench.output.parsing import ToolOutput, parse_output
from mhmodels.android_bench.output.protos import BenchmarkResult, DelegatedNodes
from mhmodels.android_bench.transport.phone import ToolRun
from mhmodels.android_bench.verdict.proof import find_share


class RunStatus(enum.StrEnum):
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
        """Whether the run has a latency."""
        return self in (RunStatus.OK, RunStatus.PARTIAL)

    @property
    def lasting(self) -> bool:
        """Whether the status is a property of network and hardware, and not of the moment, the cable or the program file."""
        return self in _LASTING


_LASTING = (
    RunStatus.OK, RunStatus.PARTIAL, RunStatus.NOT_DELEGATED, RunStatus.DELEGATE_UNAVAILABLE, RunStatus.DELEGATE_FAILED,
    RunStatus.INVOKE_ERROR, RunStatus.MODEL_ERROR, RunStatus.CRASH,
)  # fmt: skip

EVIDENCE: tuple[tuple[RunStatus, str], ...] = (
    (RunStatus.LINK_ERROR, r"CANNOT LINK EXECUTABLE|error while loading shared libraries|cannot locate symbol"),
    (
        RunStatus.NOT_EXECUTABLE,
        r"can't execute: |not executable: \d+-bit ELF|[Ee]xec format error|inaccessible or not found"
        r"|: Permission denied$|(?:benchmark\w*|taskset): not found$",
    ),
    (RunStatus.FLAG_UNSUPPORTED, r"^Failed to parse flag|^Unparsable|^usage: "),
    (
        RunStatus.DELEGATE_UNAVAILABLE,
        r"acceleration is unsupported on this platform|Could not create \w+ delegate"
        r"|Could not find the specified NNAPI accelerator"
        r"|Failed to fetch Hexagon NN version|(?:Failed to|Could not) load (?:the )?(?:external|stable) delegate"
        r"|No (?:GPU|NPU) accelerator|Can not open OpenCL library",
    ),
    (
        RunStatus.DELEGATE_FAILED,
        r"\bTfLite\w{0,60}Delegate\w{0,30} (?:Init|Prepare): |\(TfLite\w{0,60}Delegate\w{0,30}\) failed to prepare"
        r"|Failed to apply \w+ delegate"
        r"|Restored original execution plan|Failed to compile model",
    ),
    (
        RunStatus.MODEL_ERROR,
        r"Could not open '|model allocation is null|Failed to load model|not a valid Flatbuffer"
        r"|Please specify the name of your TF Lite|Select TensorFlow op\(s\)"
        r"|unresolved custom op|Didn't find op for builtin opcode|Failed to allocate tensors"
        r"|Failed to construct interpreter|Failed to initialize the interpreter",
    ),
    (RunStatus.INVOKE_ERROR, r"failed to invoke|Failed to invoke|^Run failed"),
    (RunStatus.NOT_DELEGATED, r"Disallowed CPU fallback detected"),
)
# Hang-up, interrupt, kill and termination come from outside; a faulty program does not die of them.
FROM_OUTSIDE = (129, 130, 137, 143)
# Status for each `DelegatedShare.part`.
_PARTS = {
    "all": RunStatus.OK, "some": RunStatus.PARTIAL, "none": RunStatus.NOT_DELEGATED,
    "unavailable": RunStatus.DELEGATE_UNAVAILABLE,
}  # fmt: skip
# Linux and Android have signals up to 64, so a higher exit code is not a signal.
_LAST_SIGNAL = 128 + 64


class Verdict(NamedTuple):
    """The verdict on a run.

    Attributes:
        reason: Why the status is not OK; "" if it is.
        latency: Latency of the block, for OK and PARTIAL only.
        delegated, total: Nodes on the delegate and all nodes; None where the tool does not print them.
        output: What the tool printed.
    """

    status: RunStatus
    reason: str
    latency: Latency | None
    delegated: int | None
    total: int | None
    output: ToolOutput


def decide(
    run: ToolRun, choice: DelegateChoice, *, result: BenchmarkResult | None = None, placement: DelegatedNodes | None = None
) -> Verdict:
    """Judges a run.

    Args:
        run: How the program ended, and what it printed.
        choice: Delegate that the network was meant for.
        result, placement: Binary results, where the tool wrote them.
    """
    proof = choice.delegate.proof
    patterns = [pattern for _, pattern in EVIDENCE]
    output = parse_output(run.stdout, run.stderr, (*patterns, *proof.must, *proof.never), proof.may)
    status, reason = _trouble(run, choice, output)
    if status is not None:
        return Verdict(status, reason, None, None, None, output)
    try:
        if run.dropped:
            raise UnclearOutputError(f"{run.dropped} bytes of what it said are missing")
        _consistent(output)
        latency = read_latency(output, result)
        check_plausible(latency, run.wall_s)
        share = find_share(choice, output, placement)
    except UnclearOutputError as doubt:
        return Verdict(RunStatus.UNKNOWN, str(doubt), None, None, None, output)
    status = _PARTS[share.part]
    return Verdict(status, share.reason, latency if status.runs else None, share.delegated, share.total, output)


def _trouble(run: ToolRun, choice: DelegateChoice, output: ToolOutput) -> tuple[RunStatus | None, str]:
    """The first evidence of trouble, if there is any."""
    if run.lost:
        return (RunStatus.UNAUTHORIZED if "unauthorized" in run.lost else RunStatus.DEVICE_LOST), run.lost
    if run.stopped == "timeout":
        return RunStatus.TIMEOUT, f"no end within {run.wall_s:.0f} s"
    if run.stopped == "flood":
        return RunStatus.UNKNOWN, "it printed without end"
    missing = _missing_flags(choice, output)
    for status, pattern in EVIDENCE:
        if status is RunStatus.DELEGATE_UNAVAILABLE and missing:
            # Checked after what keeps the program from starting, and before what a run without its flags prints.
            return RunStatus.FLAG_UNSUPPORTED, f"this {choice.delegate.tool} does not know {', '.join(missing)}"
        # Words of a shell are evidence only with a failing exit code: other programs may print them too.
        shell = status in (RunStatus.NOT_EXECUTABLE, RunStatus.LINK_ERROR)
        if pattern in output.watched and not (shell and run.rc == 0):
            return status, output.watched[pattern]
    if run.rc is None:
        return RunStatus.UNKNOWN, "the exit code is not known"
    if run.rc in (126, 127):
        return RunStatus.NOT_EXECUTABLE, f"exit code {run.rc} ({' '.join(output.errors[-1:]) or 'nothing was said'})"
    if 128 < run.rc <= _LAST_SIGNAL:
        outside = " (ended from outside: out of memory?)" if run.rc in FROM_OUTSIDE else ""
        return RunStatus.CRASH, f"signal {run.rc - 128}{outside}"
    if run.rc:
        return RunStatus.UNKNOWN, f"exit code {run.rc} ({' '.join(output.errors[-1:]) or 'nothing was said'})"
    return None, ""


def _missing_flags(choice: DelegateChoice, output: ToolOutput) -> list[str]:
    """Flags that the delegate or the measurement depends on and that the tool did not take."""
    essential = {*choice.flags(""), "num_threads", "num_runs", "graph"}
    names = [flag.partition("=")[0].lstrip("-") for flag in output.unconsumed]
    return [f"--{name}" for name in names if name in essential]


def _consistent(output: ToolOutput) -> None:
    """Checks that nothing was printed twice with different values, and that one stream has it all."""
    if output.oversized:
        raise UnclearOutputError(f"{output.oversized} lines are too long to be any")
    if output.conflicts:
        raise UnclearOutputError(f"it contradicts itself: {output.conflicts[0]}")
    if len(output.streams) > 1:
        # The tool uses one stream and delegates the other; a line on the wrong stream is not the tool's.
        raise UnclearOutputError("the tool's lines come on both streams")
    if output.taken_back:
        raise UnclearOutputError(f"something ran elsewhere: {output.taken_back[0]}")
