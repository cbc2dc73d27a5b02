"""Reads the table of layers that Rockchip's compiler prints: where each layer runs, and its cycles."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_TITLE = "Network Layer Information Table"
_LINE = re.compile(r"^D RKNN: \[[\d:.]+\] ?(.*)$")
_RULE = re.compile(r"^-{20,}$")
_COLUMNS = ("ID", "OpType", "DataType", "Target", "InputShape", "OutputShape", "Cycles(DDR/NPU/Total)", "RW(KB)", "FullName")
_SPARSE = "SparseRatio"
"""A further column for chips that skip weights of zero; layers without weights leave it empty."""
_ROW = re.compile(
    r"^(?P<id>\d+) +(?P<operator>\S+) +(?P<type>\S+) +(?P<unit>\S+) +\S+ +(?P<output>\S+) +"
    r"(?P<ddr>\d+)/(?P<npu>\d+)/(?P<total>\d+) +(?:\S+% +)?(?P<kb>\d+(?:\.\d+)?) +(?P<name>\S+) *$"
)
_SHAPE = re.compile(r"^\((\d+(?:,\d+)*)\)$")
_ENDS = ("InputOperator", "OutputOperator")


class RknnLayer(NamedTuple):
    """A layer, as Rockchip's compiler prints it.

    Attributes:
        name: Name of its last operator; the compiler shortens long names.
        operator: Kind of operator, several that the compiler joined in one word, such as `ConvAdd`.
        number_type: Type of the numbers, such as INT8.
        unit: NPU or CPU.
        cycles: Estimated cycles: the larger one of the next two. 0 where the compiler does not estimate any.
        ddr_cycles, npu_cycles: Cycles of transfers to and from the main memory, and of computing.
        traffic_kb: Data that moves between NPU and main memory, in units of 1,024 bytes.
        outputs: Number of values that the layer gives; None where the table does not say.
    """

    name: str
    operator: str
    number_type: str
    unit: str
    cycles: int
    ddr_cycles: int
    npu_cycles: int
    traffic_kb: float
    outputs: int | None


def read_table(log: str) -> tuple[RknnLayer, ...]:
    """Returns the layers in the table of a log, without the network's input and output.

    Raises:
        ValueError: The log has no table or several, the table has other columns, is not complete, or has no layers.
    """
    lines = [found[1].strip() for found in map(_LINE.match, log.splitlines()) if found]
    starts = [place for place, line in enumerate(lines) if line == _TITLE]
    if len(starts) != 1:
        raise ValueError(f"expected one '{_TITLE}', found {len(starts)}")
    rows = list(_rows(lines[starts[0] + 1 :]))
    if [int(row["id"]) for row in rows] != list(range(len(rows))):
        raise ValueError("the layers in the table are not numbered from 0 on")
    if not rows or rows[0]["operator"] != _ENDS[0] or rows[-1]["operator"] != _ENDS[1]:
        raise ValueError(f"the table does not go from {_ENDS[0]} to {_ENDS[1]}")
    layers = tuple(_layer(row) for row in rows if row["operator"] not in _ENDS)
    if not layers:
        raise ValueError("the table has no layers")
    return layers


def _rows(lines: list[str]) -> Iterator[re.Match[str]]:
    """Yields the rows between the second and the third rule behind the title."""
    rules = [place for place, line in enumerate(lines) if _RULE.match(line)][:3]
    if len(rules) != 3 or rules[1] != rules[0] + 2:
        raise ValueError("the table is not complete")
    columns = [column for column in lines[rules[0] + 1].split() if column != _SPARSE]
    if columns != list(_COLUMNS):
        raise ValueError(f"the table has columns {', '.join(columns)}, expected {', '.join(_COLUMNS)}")
    for line in lines[rules[1] + 1 : rules[2]]:
        row = _ROW.match(line)
        if row is None:
            raise ValueError(f"'{line}' is no row of the table")
        yield row


def _layer(row: re.Match[str]) -> RknnLayer:
    total, ddr, npu = (int(row[name]) for name in ("total", "ddr", "npu"))
    if total != max(ddr, npu):
        raise ValueError(f"layer {row['id']} has {total} cycles, expected the larger one of {ddr} and {npu}")
    shape = _SHAPE.match(row["output"])
    outputs = math.prod(map(int, shape[1].split(","))) if shape else None
    return RknnLayer(row["name"], row["operator"], row["type"], row["unit"], total, ddr, npu, float(row["kb"]), outputs)
