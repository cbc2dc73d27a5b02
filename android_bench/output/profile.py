"""Times of the operators of a profiling run, from the text tables or the CSV of the tool (figure 2 of the paper)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from mhmodels.android_bench.transport.lines import clean, without_controls

_REGULAR = "Operator-wise Profiling Info for Regular Benchmark Runs"
_SECTION = re.compile(r"=+ (Run Order|Top by Computation Time|Summary by node type) =+")
_NODES = re.compile(r"^Number of nodes executed: ([0-9]{1,9})")
MOST_CALLS = 1e9
_COLUMNS = {
    "node type": "kind", "avg ms": "avg_ms", "avg_ms": "avg_ms", "%": "percent", "mem kb": "mem_kb", "times called": "calls",
    "name": "name",
}  # fmt: skip


class OperatorTime(msgspec.Struct, frozen=True, kw_only=True):
    """Time of one node. Nodes are in the order of execution; the node of a delegate stands for all nodes that it replaced.

    Attributes:
        kind: Type of the node, or name of the delegate.
        avg_ms: Mean time in ms.
        percent: Share of the time of all operators, in per cent.
        calls: Calls in one inference.
    """

    kind: str
    name: str
    avg_ms: float
    percent: float | None = None
    mem_kb: float | None = None
    calls: int | None = None


def parse_profile(stdout: bytes) -> tuple[OperatorTime, ...]:
    """Reads the operators of regular runs in their order; empty if the text has no complete table.

    Columns are found by their headings, because older versions have one more column.
    """
    lines = [_unprefixed(raw) for raw in stdout.split(b"\n")]
    starts = [place for place, line in enumerate(lines) if _REGULAR in line]
    if not starts:
        return ()
    found: list[OperatorTime] = []
    in_order = False
    columns: dict[str, int] = {}
    for line in lines[starts[-1] + 1 :]:
        if section := _SECTION.search(line):
            in_order, columns = section[1] == "Run Order", {}
        elif in_order:
            cells = _cells(line)
            if not columns:
                columns = _headings(cells)
            elif operator := _operator(cells, columns):
                found.append(operator)
            elif found:
                in_order = False
        elif (match := _NODES.match(line)) and int(match[1]) != len(found):
            # The inner table of a subgraph or a delegate ends the primary table; an incomplete table does not count.
            return ()
        elif match:
            break
    return tuple(found)


def _unprefixed(raw: bytes) -> str:
    # Leading tabs separate columns here, so only prefixes and terminal codes are removed.
    return clean(raw) if b"=" in raw or b":" in raw[:40] else without_controls(raw.decode(errors="replace").strip("\r\n "))


def _cells(line: str) -> list[str]:
    if "\t" in line:
        return [cell.strip() for cell in line.strip("\t ").split("\t")]
    # Names in the CSV are not quoted and may have commas, but they are the last column.
    return [cell.strip() for cell in line.split(",", 7)]


def _headings(cells: Sequence[str]) -> dict[str, int]:
    names = [cell.strip("[] ").lower() for cell in cells]
    found = {_COLUMNS[name]: place for place, name in enumerate(names) if name in _COLUMNS}
    return found if {"kind", "avg_ms"} <= set(found) else {}


def _operator(cells: Sequence[str], columns: dict[str, int]) -> OperatorTime | None:
    def cell(name: str) -> str:
        place = columns.get(name, -1)
        return cells[place] if 0 <= place < len(cells) else ""

    average = _number(cell("avg_ms"))
    if average is None or not cell("kind"):
        return None
    calls = _number(cell("calls"))
    return OperatorTime(
        kind=cell("kind"),
        name=cell("name"),
        avg_ms=average,
        percent=_number(cell("percent")),
        mem_kb=_number(cell("mem_kb")),
        calls=None if calls is None or calls > MOST_CALLS else int(calls),
    )


def _number(text: str) -> float | None:
    text = text.removesuffix("%").strip()
    return float(text) if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?(e[+-]?[0-9]{1,2})?", text) else None
