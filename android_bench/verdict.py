"""What a run is worth: one status, and a latency only where there is positive proof of what was timed.

The tool ends with exit code 0 and the CPU's time when it does not know a delegate's flag, when the platform lacks the
delegate and when the delegate takes no node at all. So success is never assumed: it must be said, and nothing may
contradict it. Evidence of trouble is looked for first, in the order of `EVIDENCE`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from typing import NamedTuple

from android_bench.delegates import Choice
from android_bench.latency import Doubt, Latency, check_plausible, read_latency
from android_bench.output import Output, parse_output
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
        r"|: Permission denied$|(?:benchmark\w*|taskset): not found$",
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
        r"\bTfLite\w{0,60}Delegate\w{0,30} (?:Init|Prepare): |\(TfLite\w{0,60}Delegate\w{0,30}\) failed to prepare"
        r"|Failed to apply \w+ delegate"
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
# Hang-up, interrupt, kill, termination: not what a faulty program dies of.
FROM_OUTSIDE = (129, 130, 137, 143)
_CPU_KERNEL = "TfLiteXNNPackDelegate"
# What a delegate says that gives its work back after it was applied.
_FALLBACK = r"(?i)\bfall(?:s|ing)? ?back (?:to|on) (?:the )?(?:default )?(?:CPU|XNNPACK)\b"


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


def decide(run: ToolRun, choice: Choice, *, result: Result | None = None, placement: Placement | None = None) -> Verdict:
    """Judges a run.

    Args:
        run: how the program ended and what it said.
        choice: what it was meant to run on.
        result, placement: the binary results, where the tool wrote them.
    """
    proof = choice.delegate.proof
    patterns = [pattern for _, pattern in EVIDENCE]
    output = parse_output(run.stdout, run.stderr, (*patterns, _FALLBACK, *proof.must, *proof.never))
    status, reason = _trouble(run, choice, output)
    if status is not None:
        return Verdict(status, reason, None, None, None, output)
    try:
        if run.dropped:
            raise Doubt(f"{run.dropped} bytes of what it said are missing")
        _consistent(output)
        latency = read_latency(output, result)
        check_plausible(latency, run.wall_s)
        status, reason, delegated, total = _delegation(choice, output, placement)
    except Doubt as doubt:
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
        outside = " (ended from outside: out of memory?)" if run.rc in FROM_OUTSIDE else ""
        return Status.CRASH, f"signal {run.rc - 128}{outside}"
    if run.rc:
        return Status.UNKNOWN, f"exit code {run.rc} ({' '.join(output.errors[-1:]) or 'nothing was said'})"
    return None, ""


def _missing_flags(choice: Choice, output: Output) -> list[str]:
    """Flags that this delegate or the measurement rests on and the tool did not take."""
    essential = {*choice.flags(""), "num_threads", "num_runs", "graph"}
    names = [flag.partition("=")[0].lstrip("-") for flag in output.unconsumed]
    return [f"--{name}" for name in names if name in essential]


def _consistent(output: Output) -> None:
    """Nothing was said twice in different words, and one voice said it all."""
    if output.oversized:
        raise Doubt(f"{output.oversized} lines are too long to be any")
    if output.conflicts:
        raise Doubt(f"it contradicts itself: {output.conflicts[0]}")
    if len(output.voices) > 1:
        # The tool uses one stream, delegates another; a line on the wrong one is in somebody's name.
        raise Doubt("the tool's lines come on both streams")
    if _FALLBACK in output.watched:
        raise Doubt(f"something ran elsewhere: {output.watched[_FALLBACK]}")


def _delegation(choice: Choice, output: Output, placement: Placement | None) -> tuple[Status, str, int | None, int | None]:
    """Whether the delegate ran, wholly or in part, by what the tool says for certain."""
    proof = choice.delegate.proof
    for pattern, reason in proof.never.items():
        if pattern in output.watched:
            return Status.DELEGATE_UNAVAILABLE, f"{reason} ({output.watched[pattern]})", None, None
    if proof.plain:
        _check_must(choice, output)
        took = [*_others(choice, output), *output.created]
        took += [name for name, nodes in placement.delegated.items() if nodes] if placement else []
        if took:
            raise Doubt(f"delegates took part that nobody asked for: {', '.join(dict.fromkeys(took))}")
        return Status.OK, "", 0, placement.total if placement else None
    delegated, total = _nodes(choice, output, placement)
    how = next((output.applied[name] for name in proof.names if name in output.applied), "")
    if how == "not" or delegated == 0:
        return Status.NOT_DELEGATED, "the delegate took none of the network, the CPU ran it", 0, total
    if not how and proof.names:
        raise Doubt(f"nothing says that the {' or '.join(proof.names)} delegate was applied")
    if not how and (delegated is None or total is None):
        raise Doubt("nothing says which nodes the delegate took")
    _check_must(choice, output)
    if choice.accelerator and output.accelerators is not None and choice.accelerator not in output.accelerators:
        raise Doubt(f"'{choice.accelerator}' is none of the accelerators that are there ({', '.join(output.accelerators)})")
    whole = delegated == total if delegated is not None and total is not None else None
    if how == "completely" and whole is False:
        raise Doubt(f"it says that all is on the delegate, and that {delegated} of {total} nodes are")
    others = _others(choice, output, named=how != "completely")
    if others:
        raise Doubt(f"it says what {choice.delegate.id} took, and that others took part: {', '.join(others)}")
    if how == "completely" or (not how and whole):
        return Status.OK, "", delegated, total
    counts = f"{delegated}/{total} nodes" if total is not None else "part of the network"
    return Status.PARTIAL, f"{counts} on the delegate, the rest on the CPU", delegated, total


def _check_must(choice: Choice, output: Output) -> None:
    for pattern, reason in choice.delegate.proof.must.items():
        if pattern not in output.watched:
            raise Doubt(reason)


def _others(choice: Choice, output: Output, *, named: bool = False) -> list[str]:
    """Other delegates that took nodes; `named` leaves out those that took a rest, as XNNPACK does by itself."""
    proof = choice.delegate.proof
    found = [name for name, how in output.applied.items() if how != "not" and name not in proof.names]
    if not named:
        ours = _kernels(choice)
        # An entry without patterns takes any kernel for its own but the CPU's.
        ours = ours if proof.kernels or proof.plain else lambda name: name != _CPU_KERNEL
        found += [f"{entry.kernel} ({entry.nodes} nodes)" for entry in output.replaced if entry.nodes and not ours(entry.kernel)]
    return list(dict.fromkeys(found))


def _kernels(choice: Choice) -> Callable[[str], bool]:
    patterns = [re.compile(pattern) for pattern in choice.delegate.proof.kernels]
    return lambda name: any(pattern.fullmatch(name) for pattern in patterns)


def _nodes(choice: Choice, output: Output, placement: Placement | None) -> tuple[int | None, int | None]:
    """Nodes on the delegate and all nodes, from the most exact source that tells; none if two of them cannot both be true."""
    ours = _kernels(choice)
    told: list[tuple[int, int | None]] = []
    if placement is not None:
        if sum(placement.delegated.values()) > placement.total:
            raise Doubt(f"delegates are said to hold more than the network's {placement.total} nodes")
        told.append((sum(nodes for name, nodes in placement.delegated.items() if ours(name)), placement.total))
    entries = [entry for entry in output.replaced if ours(entry.kernel)]
    if entries:
        # The first line of a subgraph knows how many nodes there were before any delegate.
        first = {entry.subgraph: entry.total for entry in reversed(output.replaced)}
        totals = list(first.values())
        total = None if None in totals else sum(value for value in totals if value is not None)
        told.append((sum(entry.nodes for entry in entries), total))
    told += [counts for name, counts in output.simple.items() if ours(name)]
    if len({nodes == total for nodes, total in told if nodes and total is not None}) > 1:
        raise Doubt(f"it says in different ways how many nodes the delegate took: {told}")
    # The GPU's own count leaves out what it folds away, so it only speaks where nothing else does.
    told += [output.split] if "GPU" in choice.delegate.proof.names and output.split is not None else []
    if any(total is not None and nodes > total for nodes, total in told):
        raise Doubt(f"the delegate is said to have taken more nodes than there are: {told}")
    if len({nodes == 0 for nodes, _ in told}) > 1:
        raise Doubt(f"it says in different ways whether the delegate took any node: {told}")
    return told[0] if told else (None, None)
