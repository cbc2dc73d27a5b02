"""What benchmark_model and benchmark_litert_model print, read into data: all generations of the format.

Nothing here decides what a run is worth; see `verdict`. Times are in microseconds, as the tool prints them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from android_bench.lines import LineAssembler

_NUMBER = r"[+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_COUNT = re.compile(r"^count=(\d+)\b(.*)$")
_PAIR = re.compile(rf"^(first|curr|min|max|avg|std|p5|median|p95)=({_NUMBER})(\s*\(all same\))?$")
_STAGE = re.compile(r"^Running benchmark for at least (\d+) iterations? and at least ")
_TIMINGS = re.compile(r"^(?:Average inference|Inference) timings in us: (.+)$")
_TIMING = re.compile(rf"^(Warmup \(avg\)|Warmup|Init|First inference|Inference \(avg\)|Inference|no stats): ({_NUMBER})$")
_APPLIED = re.compile(
    r"^(?:Explicitly a|A)pplied (\S+) delegate, and the model graph will be (completely|partially) executed "
    r"(?:by|w/) the delegate"
)
_NOT_APPLIED = re.compile(
    r"^Though (\S+) delegate is (?:explicitly )?applied, the model graph will not be executed by the delegate"
)
_REPLACING = re.compile(
    r"^Replacing (\d+) (?:out of (\d+) )?node\(s\) with delegate \(([^)]*)\) node, yielding (\d+) partitions?"
    r"(?: for (?:the whole graph|subgraph (\d+)))?"
)
_SPLIT = re.compile(r"^(\d+) operations will run on the GPU, and the remaining (\d+) operations will run on the CPU")
_NO_SPLIT = re.compile(r"^No operations will run on the GPU, and all (\d+) operations will run on the CPU")
_SIMPLE = re.compile(r"(\S+) delegate: (\d+) nodes delegated out of (\d+) nodes with (\d+) partitions")
_CREATED = re.compile(r"^(\S+) delegate created\.")
_PARAMETER = re.compile(r"^([A-Za-z#][\w #/().-]{0,80}?)\s*:\s*\[(.*)\]$")
_ACCELERATORS = re.compile(r"^NNAPI accelerators available: \[(.*)\]$")
_UNCONSUMED = re.compile(r"^Unconsumed cmdline flags: (.*)$")
_MEMORY = re.compile(
    rf"^(?:Peak memory footprint|Memory footprint delta from the start of the tool) \(MB\): init=({_NUMBER}) overall=({_NUMBER})"
)
_PEAK = re.compile(rf"^Overall peak memory footprint \(MB\) via periodic monitoring: ({_NUMBER})")
_SOURCE = re.compile(r"^\[[\w./-]+:\d+\]\s*")
_BLOCK = re.compile(
    rf"^(Model initialization|Warmup \((?:first|avg)\)|Inference \((?:avg|min|max|std)\)):"
    rf"\s+({_NUMBER})(?: ms)?(?: \((\d+) runs\))?$"
)
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
        counts: statistics, warm-up first.
        timings: the final line by its own words.
        block: LiteRT's block by its own words, in milliseconds.
        block_runs: inferences that the block's average is of.
        applied: by delegate name: `completely`, `partially` or `not`.
        created: names of delegates that were made.
        replaced, split, simple: three ways of telling what was delegated: nodes; (on the GPU, on the CPU); (name, nodes, all).
        parameters: echoed settings by title.
        accelerators: what NNAPI offers; None if it did not say.
        unconsumed: flags that the tool does not know, with dashes and values.
        watched: of the patterns asked for, those seen, with the first line.
        errors: lines that look like trouble, the first few.
        oversized: lines that were too long to be any.
        memory_mb: init, overall and peak, as far as told.
    """

    sequence: str = ""
    counts: list[Count] = []
    timings: dict[str, float] | None = None
    block: dict[str, float] = {}
    block_runs: int | None = None
    applied: dict[str, str] = {}
    created: list[str] = []
    replaced: list[Replaced] = []
    split: tuple[int, int] | None = None
    simple: list[tuple[str, int, int]] = []
    parameters: dict[str, str] = {}
    accelerators: list[str] | None = None
    unconsumed: list[str] = []
    watched: dict[str, str] = {}
    errors: list[str] = []
    oversized: int = 0
    memory_mb: dict[str, float] = {}


class OutputParser:
    """Reads both streams as they come, in chunks of any size.

    Args:
        watch: regular expressions; the result tells which of them a line matched.
    """

    def __init__(self, watch: Iterable[str] = ()) -> None:
        self._watch = [(pattern, re.compile(pattern)) for pattern in watch]
        self._streams = {"stdout": LineAssembler(), "stderr": LineAssembler()}
        self.output = Output(
            counts=[],
            block={},
            applied={},
            created=[],
            replaced=[],
            simple=[],
            parameters={},
            unconsumed=[],
            watched={},
            errors=[],
        )

    def feed(self, stream: str, data: bytes) -> None:
        """Takes the next bytes of `stdout` or `stderr`; an old phone sends both as one."""
        for line in self._streams[stream].feed(data):
            self._line(line)

    def close(self) -> Output:
        """Ends both streams."""
        for assembler in self._streams.values():
            assembler.close()
        self.output.oversized = sum(assembler.oversized for assembler in self._streams.values())
        return self.output

    def _line(self, line: str) -> None:
        # LiteRT names the source file of every line.
        line = _SOURCE.sub("", line)
        # What the tool says for us to read is short; noise can be long, and patterns slow on it.
        if not line or len(line) > READABLE:
            return
        for pattern, expression in self._watch:
            if pattern not in self.output.watched and expression.search(line):
                self.output.watched[pattern] = line[:300]
        if not (self._numbers(line) or self._delegation(line)):
            self._rest(line)

    def _numbers(self, line: str) -> bool:
        out = self.output
        if _STAGE.match(line):
            out.sequence += "R"
        elif match := _COUNT.match(line):
            out.sequence += "C"
            # A tool gone wild must not fill our memory with statistics.
            if len(out.counts) < MAX_NOTES:
                out.counts.append(_count(int(match[1][:18]), match[2]))
        elif match := _TIMINGS.match(line):
            out.sequence += "T"
            found = [_TIMING.match(part.strip()) for part in match[1].split(",")]
            if all(found) and out.timings is None:
                out.timings = {m[1]: float(m[2]) for m in found if m}
        elif match := _BLOCK.match(line):
            out.sequence += "" if out.sequence.endswith("B") else "B"
            out.block[match[1]] = float(match[2])
            if match[1] == "Inference (avg)" and match[3]:
                out.block_runs = int(match[3])
        elif match := _MEMORY.match(line):
            out.memory_mb.update(init=float(match[1]), overall=float(match[2]))
        elif match := _PEAK.match(line):
            out.memory_mb["peak"] = float(match[1])
        else:
            return False
        return True

    def _delegation(self, line: str) -> bool:
        out = self.output
        if match := _APPLIED.match(line):
            out.applied[match[1]] = match[2]
        elif match := _NOT_APPLIED.match(line):
            out.applied[match[1]] = "not"
        elif match := _REPLACING.match(line):
            total = int(match[2]) if match[2] else None
            if len(out.replaced) < MAX_NOTES:
                out.replaced.append(Replaced(match[3], int(match[1]), total, int(match[4]), int(match[5] or 0)))
        elif match := _SPLIT.match(line):
            out.split = int(match[1]), int(match[1]) + int(match[2])
        elif match := _NO_SPLIT.match(line):
            out.split = 0, int(match[1])
        elif match := _SIMPLE.search(line):
            if len(out.simple) < MAX_NOTES:
                out.simple.append((match[1], int(match[2]), int(match[3])))
        elif match := _CREATED.match(line):
            if len(out.created) < MAX_NOTES:
                out.created.append(match[1])
        else:
            return False
        return True

    def _rest(self, line: str) -> None:
        out = self.output
        if match := _ACCELERATORS.match(line):
            out.accelerators = [name.strip() for name in match[1].split(",") if name.strip()]
        elif match := _UNCONSUMED.match(line):
            out.unconsumed += match[1].split()[:MAX_NOTES]
        elif match := _PARAMETER.match(line):
            if len(out.parameters) < 200:
                out.parameters.setdefault(match[1].strip(), match[2])
        elif len(out.errors) < MAX_NOTES:
            out.errors.append(line[:300])


def parse_output(stdout: bytes, stderr: bytes = b"", watch: Iterable[str] = ()) -> Output:
    """Reads a finished run; see `OutputParser`."""
    parser = OutputParser(watch)
    parser.feed("stdout", stdout)
    parser.feed("stderr", stderr)
    return parser.close()


def _count(count: int, rest: str) -> Count:
    """One statistics line; what does not read as one is marked."""
    words = rest.replace("(all same)", "").split()
    same = "(all same)" in rest
    found = [_PAIR.match(word) for word in words]
    names = [match[1] for match in found if match]
    values: dict[str, float] = {match[1]: float(match[2]) for match in found if match}
    sound = all(found) and len(set(names)) == len(names) and (count == 0) == (not words)
    curr = values.get("curr")
    if sound and curr is not None and (same or (count == 1 and "avg" not in values)):
        # One run, or all alike: the tool prints that one number only.
        values = {**dict.fromkeys(("first", "min", "max", "avg", "p5", "median", "p95"), curr), "std": 0.0, **values}
    return Count(count=count, sound=sound and (count == 0 or "avg" in values), **values)
