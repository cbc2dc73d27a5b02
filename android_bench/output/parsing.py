"""Parser of the output of benchmark_model and benchmark_litert_model, for all versions of the format.

The parser does not decide whether a run counts; `verdict` does. Times are in microseconds, as the tool prints them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from mhmodels.android_bench.output import formats
from mhmodels.android_bench.transport.lines import LineAssembler

T = TypeVar("T")
# Settings that decide which processor runs the network.
_DECISIVE = frozenset((
    "graph", "use xnnpack", "use gpu", "use nnapi", "use hexagon", "nnapi accelerator name", "disable nnapi cpu",
    "external delegate path", "external delegate options",
))  # fmt: skip
MAX_NOTES = 40
READABLE = 2000


class StatisticsLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of statistics. A missing number is None; `sound` is False where the line cannot be trusted."""

    count: int
    first: float | None = None
    curr: float | None = None
    min: float | None = None
    max: float | None = None
    avg: float | None = None
    std: float | None = None
    p5: float | None = None
    median: float | None = None
    p95: float | None = None
    sound: bool = True


class Stage(msgspec.Struct, frozen=True):
    """Announcement of a stage: least inferences, least seconds and most seconds (None where the tool does not say)."""

    iterations: int
    min_secs: float
    max_secs: float | None


class Replaced(msgspec.Struct, frozen=True):
    """`Replacing X out of Y node(s)`: the delegate, the subgraph and both numbers. `total` is None in old versions."""

    kernel: str
    nodes: int
    total: int | None
    partitions: int
    subgraph: int


class ToolOutput(msgspec.Struct, kw_only=True):
    """Everything that one run printed.

    Attributes:
        sequence: Order of the lines on their stream: `R` for a stage's heading, `C` for a line of statistics, `T` for the final
            timings, `B` for a LiteRT block.
        stages: Announcements of the stages, warm-up first.
        counts: Statistics of the stages, warm-up first.
        streams: Streams on which the tool itself printed; a sound run uses one.
        conflicts: Lines that contradict an earlier line.
        timings: Numbers of the final line by name.
        block: Numbers of a LiteRT block by name, in milliseconds.
        block_runs: Number of inferences that the average of the block is over.
        applied: `completely`, `partially` or `not` by name of the delegate.
        created: Names of delegates that were created.
        replaced: Nodes that were delegated, from the `Replacing` lines.
        split: (nodes on the GPU, all nodes), from the GPU delegate.
        simple: (nodes, all nodes) by name of the delegate.
        parameters: Echoed settings by title, in lower case.
        accelerators: Accelerators that NNAPI offers; None if the tool did not list them.
        unconsumed: Flags that the tool does not know, with dashes and values.
        watched: Patterns of `watch` that a line matched, each with the first such line.
        taken_back: First lines that say that a delegate did not do its work in the end.
        errors: First lines that look like an error.
        oversized: Number of lines that were too long to be read.
        memory_mb: Init, overall and peak memory in MB, where the tool prints it.
    """

    sequence: str = ""
    stages: list[Stage] = []
    counts: list[StatisticsLine] = []
    streams: set[str] = set()
    conflicts: list[str] = []
    timings: dict[str, float] | None = None
    block: dict[str, float] = {}
    block_runs: int | None = None
    applied: dict[str, str] = {}
    created: list[str] = []
    replaced: list[Replaced] = []
    split: tuple[int, int] | None = None
    simple: dict[str, tuple[int, int]] = {}
    parameters: dict[str, str] = {}
    accelerators: list[str] | None = None
    unconsumed: list[str] = []
    watched: dict[str, str] = {}
    taken_back: list[str] = []
    errors: list[str] = []
    oversized: int = 0
    memory_mb: dict[str, float] = {}


class OutputParser:
    """Parses both streams as they arrive, in chunks of any size.

    Args:
        watch: Regular expressions; `ToolOutput.watched` tells which of them a line matched.
        may: Regular expressions of lines that never count as `ToolOutput.taken_back`.
    """

    def __init__(self, watch: Iterable[str] = (), may: Iterable[str] = ()) -> None:
        self._watch = [(pattern, re.compile(pattern)) for pattern in watch]
        self._may = [formats.DEFAULTS, formats.PARAMETER, *map(re.compile, may)]
        self._streams = {"stdout": LineAssembler(), "stderr": LineAssembler()}
        self.output = ToolOutput()

    def feed(self, stream: str, data: bytes) -> None:
        """Takes the next bytes of `stdout` or `stderr`; an old phone sends both as one stream."""
        for line in self._streams[stream].feed(data):
            self._line(line, stream)

    def close(self) -> ToolOutput:
        """Ends both streams."""
        for assembler in self._streams.values():
            assembler.close()
        self.output.oversized = sum(assembler.oversized for assembler in self._streams.values())
        return self.output

    def _line(self, line: str, stream: str) -> None:
        # LiteRT puts the source file before every line.
        line = formats.SOURCE.sub("", line)
        if not line:
            return
        # Lines to be read are short except for a name at their end; other lines can be long, and patterns are slow on them.
        start = line[:READABLE]
        for pattern, expression in self._watch:
            if pattern not in self.output.watched and expression.search(start):
                self.output.watched[pattern] = start[:300]
        if self._delegation(start, stream):
            return
        self._look_back(start)
        if len(line) > READABLE:
            return
        if not self._numbers(line, stream):
            self._rest(line)

    def _look_back(self, line: str) -> None:
        out = self.output
        if len(out.taken_back) < MAX_NOTES and formats.TAKEN_BACK.search(line) and not any(may.search(line) for may in self._may):
            out.taken_back.append(line[:300])

    def _numbers(self, line: str, stream: str) -> bool:
        out = self.output
        if match := formats.STAGE.match(line):
            self._speaks("R", stream)
            if len(out.stages) < MAX_NOTES:
                out.stages.append(Stage(int(match[1]), float(match[2]), float(match[3]) if match[3] else None))
        elif match := formats.COUNT.match(line):
            self._speaks("C", stream)
            # A faulty tool must not fill the memory with statistics.
            if len(out.counts) < MAX_NOTES:
                out.counts.append(_count(int(match[1]), match[2]))
        elif match := formats.TIMINGS.match(line):
            self._speaks("T", stream)
            found = [formats.TIMING.match(part.strip()) for part in match[1].split(",")]
            if all(found) and out.timings is None:
                out.timings = {m[1]: float(m[2]) for m in found if m}
        elif match := formats.BLOCK.match(line):
            self._block(line, match)
        elif match := formats.MEMORY.match(line):
            out.memory_mb.update(init=float(match[1]), overall=float(match[2]))
        elif match := formats.PEAK.match(line):
            out.memory_mb["peak"] = float(match[1])
        else:
            return False
        return True

    def _speaks(self, what: str, stream: str) -> None:
        self.output.streams.add(stream)
        if len(self.output.sequence) < MAX_NOTES:
            self.output.sequence += what

    def _block(self, line: str, match: re.Match[str]) -> None:
        """Reads a line of a LiteRT block; a second block, or a unit other than milliseconds, invalidates it."""
        out = self.output
        if match[1] in out.block or not (match[3] or match[1] == "Inference (std)"):
            self._conflict(line)
        if not out.sequence.endswith("B") and len(out.sequence) < MAX_NOTES:
            out.sequence += "B"
        out.block[match[1]] = float(match[2])
        if match[1] == "Inference (avg)" and match[4]:
            out.block_runs = int(match[4])

    def _delegation(self, line: str, stream: str) -> bool:
        out = self.output
        if match := formats.APPLIED.match(line) or formats.NOT_APPLIED.match(line):
            out.streams.add(stream)
            self._once(out.applied, match[1], match[2] if match.re is formats.APPLIED else "not", line)
        elif match := formats.REPLACING.match(line):
            total = int(match[2]) if match[2] else None
            if len(out.replaced) < MAX_NOTES:
                out.replaced.append(Replaced(match[3], int(match[1]), total, int(match[4]), int(match[5] or 0)))
        elif line.startswith("Replacing ") and "node(s) with delegate" in line:
            # A line of this kind that no version of the tool prints: its meaning is unknown.
            self._conflict(line)
        elif match := formats.SPLIT.match(line) or formats.NO_SPLIT.match(line):
            split = (int(match[1]), int(match[1]) + int(match[2])) if match.re is formats.SPLIT else (0, int(match[1]))
            if out.split not in (None, split):
                self._conflict(line)
            out.split = split
        elif match := formats.SIMPLE.match(line):
            self._once(out.simple, match[1], (int(match[2]), int(match[3])), line)
        elif match := formats.CREATED.match(line):
            if len(out.created) < MAX_NOTES:
                out.created.append(match[1])
        else:
            return False
        return True

    def _once(self, known: dict[str, T], name: str, value: T, line: str) -> None:
        """Keeps the first value of something that may be printed once; another value for the same name is a conflict."""
        if len(known) < MAX_NOTES and known.setdefault(name, value) != value:
            self._conflict(line)

    def _conflict(self, line: str) -> None:
        if len(self.output.conflicts) < MAX_NOTES:
            self.output.conflicts.append(line[:300])

    def _rest(self, line: str) -> None:
        out = self.output
        if match := formats.ACCELERATORS.match(line):
            names = [name.strip() for name in match[1].split(",") if name.strip()]
            if out.accelerators not in (None, names):
                self._conflict(line)
            out.accelerators = names
        elif match := formats.UNCONSUMED.match(line):
            out.unconsumed += match[1].split()[:MAX_NOTES]
        elif match := formats.PARAMETER.match(line):
            title = match[1].strip().lower()
            known = out.parameters.setdefault(title, match[2]) if len(out.parameters) < 200 else match[2]
            # Nothing depends on the other parameters, so they may be printed twice.
            if known != match[2] and title in _DECISIVE:
                self._conflict(line)
        elif len(out.errors) < MAX_NOTES:
            out.errors.append(line[:300])


def parse_output(stdout: bytes, stderr: bytes = b"", watch: Iterable[str] = (), may: Iterable[str] = ()) -> ToolOutput:
    """Parses a finished run; see `OutputParser`."""
    parser = OutputParser(watch, may)
    parser.feed("stdout", stdout)
    parser.feed("stderr", stderr)
    return parser.close()


def _count(count: int, rest: str) -> StatisticsLine:
    """Reads one line of statistics; a line that does not read as one is marked as not sound."""
    words = rest.replace("(all same)", "").split()
    same = "(all same)" in rest
    found = [formats.PAIR.match(word) for word in words]
    names = [match[1] for match in found if match]
    values: dict[str, float] = {match[1]: float(match[2]) for match in found if match}
    sound = all(found) and len(set(names)) == len(names) and (count == 0) == (not words)
    curr = values.get("curr")
    if sound and curr is not None and (same or (count == 1 and "avg" not in values)):
        # With one run, or equal times, the tool prints one number only.
        values = {**dict.fromkeys(("first", "min", "max", "avg", "p5", "median", "p95"), curr), "std": 0.0, **values}
    return StatisticsLine(count=count, sound=sound and (count == 0 or "avg" in values), **values)
