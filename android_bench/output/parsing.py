"""What benchmark_model and benchmark_litert_model print, read into data: all generations of the format.

Nothing here decides what a run is worth; see `verdict`. Times are in microseconds, as the tool prints them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from mhmodels.android_bench.output import formats
from mhmodels.android_bench.transport.lines import LineAssembler

T = TypeVar("T")
# Settings that decide what runs where.
_DECISIVE = frozenset((
    "graph", "use xnnpack", "use gpu", "use nnapi", "use hexagon", "nnapi accelerator name", "disable nnapi cpu",
    "external delegate path", "external delegate options",
))  # fmt: skip
MAX_NOTES = 40
READABLE = 2000


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """One statistics line. Absent numbers are None; `sound` is False where the line cannot be trusted."""

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
    """What a stage was to be: so many inferences and seconds at least, and so many seconds at most (None: not told)."""

    iterations: int
    min_secs: float
    max_secs: float | None


class Replaced(msgspec.Struct, frozen=True):
    """`Replacing X out of Y node(s)`: by which delegate, in which subgraph. `total` is None in old versions."""

    kernel: str
    nodes: int
    total: int | None
    partitions: int
    subgraph: int


class Output(msgspec.Struct, kw_only=True):
    """Everything of one run.

    Attributes:
        sequence: `R` for a stage's heading, `C` for a statistics line, `T` for the final timings, `B` for LiteRT's block, as
            they came on their stream.
        stages: headings, warm-up first.
        counts: statistics, warm-up first.
        voices: the streams on which the tool itself spoke; it uses one.
        conflicts: lines that say otherwise than an earlier one.
        timings: the final line by its own words.
        block: LiteRT's block by its own words, in milliseconds.
        block_runs: inferences that the block's average is of.
        applied: by delegate name: `completely`, `partially` or `not`.
        created: names of delegates that were made.
        replaced, split, simple: three ways of telling what was delegated: nodes; (on the GPU, all); by name (nodes, all).
        parameters: echoed settings by title, in lower case.
        accelerators: what NNAPI offers; None if it did not say.
        unconsumed: flags that the tool does not know, with dashes and values.
        watched: of the patterns asked for, those seen, with the first line.
        taken_back: lines that tell of work which a delegate did not do in the end, the first few.
        errors: lines that look like trouble, the first few.
        oversized: lines that were too long to be any.
        memory_mb: init, overall and peak, as far as told.
    """

    sequence: str = ""
    stages: list[Stage] = []
    counts: list[Count] = []
    voices: set[str] = set()
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
    """Reads both streams as they come, in chunks of any size.

    Args:
        watch: regular expressions; the result tells which of them a line matched.
        may: regular expressions of lines that are never `taken_back`.
    """

    def __init__(self, watch: Iterable[str] = (), may: Iterable[str] = ()) -> None:
        self._watch = [(pattern, re.compile(pattern)) for pattern in watch]
        self._may = [formats.DEFAULTS, formats.PARAMETER, *map(re.compile, may)]
        self._streams = {"stdout": LineAssembler(), "stderr": LineAssembler()}
        self.output = Output()

    def feed(self, stream: str, data: bytes) -> None:
        """Takes the next bytes of `stdout` or `stderr`; an old phone sends both as one."""
        for line in self._streams[stream].feed(data):
            self._line(line, stream)

    def close(self) -> Output:
        """Ends both streams."""
        for assembler in self._streams.values():
            assembler.close()
        self.output.oversized = sum(assembler.oversized for assembler in self._streams.values())
        return self.output

    def _line(self, line: str, stream: str) -> None:
        # LiteRT names the source file of every line.
        line = formats.SOURCE.sub("", line)
        if not line:
            return
        # What the tool says for us to read is short, but for a name at its end; noise can be long, and patterns slow on it.
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
            # A tool gone wild must not fill our memory with statistics.
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
        self.output.voices.add(stream)
        if len(self.output.sequence) < MAX_NOTES:
            self.output.sequence += what

    def _block(self, line: str, match: re.Match[str]) -> None:
        """A line of LiteRT's block; a second block, or another unit than milliseconds, makes it worth nothing."""
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
            out.voices.add(stream)
            self._once(out.applied, match[1], match[2] if match.re is formats.APPLIED else "not", line)
        elif match := formats.REPLACING.match(line):
            total = int(match[2]) if match[2] else None
            if len(out.replaced) < MAX_NOTES:
                out.replaced.append(Replaced(match[3], int(match[1]), total, int(match[4]), int(match[5] or 0)))
        elif line.startswith("Replacing ") and "node(s) with delegate" in line:
            # Of this kind, and not as any version writes it: what it meant to say is not known.
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
        """Keeps the first of what may be said once; another value for the same name is a contradiction."""
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
            # Others may be said twice, of which nothing depends on.
            if known != match[2] and title in _DECISIVE:
                self._conflict(line)
        elif len(out.errors) < MAX_NOTES:
            out.errors.append(line[:300])


def parse_output(stdout: bytes, stderr: bytes = b"", watch: Iterable[str] = (), may: Iterable[str] = ()) -> Output:
    """Reads a finished run; see `OutputParser`."""
    parser = OutputParser(watch, may)
    parser.feed("stdout", stdout)
    parser.feed("stderr", stderr)
    return parser.close()


def _count(count: int, rest: str) -> Count:
    """One statistics line; what does not read as one is marked."""
    words = rest.replace("(all same)", "").split()
    same = "(all same)" in rest
    found = [formats.PAIR.match(word) for word in words]
    names = [match[1] for match in found if match]
    values: dict[str, float] = {match[1]: float(match[2]) for match in found if match}
    sound = all(found) and len(set(names)) == len(names) and (count == 0) == (not words)
    curr = values.get("curr")
    if sound and curr is not None and (same or (count == 1 and "avg" not in values)):
        # One run, or all alike: the tool prints that one number only.
        values = {**dict.fromkeys(("first", "min", "max", "avg", "p5", "median", "p95"), curr), "std": 0.0, **values}
    return Count(count=count, sound=sound and (count == 0 or "avg" in values), **values)
