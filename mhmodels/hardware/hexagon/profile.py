"""Reads the profile that Qualcomm's compiler writes: its estimate with bounds, memory traffic, and operators without a cost."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

_COLUMNS = ("Time", "Unit of Measurement", "Event Identifier")
_CYCLES = "Simulated (Accelerator exec cycles{})"
_MICROSECONDS = "Simulated (Accelerator exec time us{})"
_BOUNDS = ("", " (lower estimate)", " (upper estimate)")
_TRAFFIC = ("Input Fill", "Intermediate Fill", "Intermediate Spill", "Output Spill")
_SCHEDULE = "OBJECT"
"""Unit of the row for the schedule, which has no number (`trace.py`)."""
_MISSING = "Missing Ops (Number of Ops with no Costs associated)"


class HexagonProfile(NamedTuple):
    """An estimate of Qualcomm's compiler.

    Attributes:
        cycles: Estimate, low and high bound in cycles of the NPU.
        microseconds: The same in µs, rounded down to whole ones.
        dram_bytes: Bytes that move between the NPU and the main memory in an inference.
        uncosted: Number of operators whose cost the estimator does not know.
    """

    cycles: tuple[int, int, int]
    microseconds: tuple[int, int, int]
    dram_bytes: int
    uncosted: int


def read_profile(text: str) -> HexagonProfile | None:
    """Returns the estimate in a profile; None where it has none, because the compiler estimates nothing for this SoC.

    The profile of one network may be there several times, once for every time that the compiler finished its graph.

    Raises:
        ValueError: The text is no profile of a network that was compiled as one graph; the message says what is wrong.
    """
    rows = list(csv.DictReader(io.StringIO(text)))
    if not rows or any(column not in rows[0] for column in _COLUMNS):
        raise ValueError(f"expected columns {', '.join(_COLUMNS)}")
    found: dict[str, list[int]] = {}
    for row in rows:
        if row["Unit of Measurement"] == _SCHEDULE:
            continue
        found.setdefault(row["Event Identifier"], []).append(int(row["Time"]))
    cycles = [_value(found, _CYCLES.format(bound)) for bound in _BOUNDS]
    microseconds = [_value(found, _MICROSECONDS.format(bound)) for bound in _BOUNDS]
    if all(value is None for value in (*cycles, *microseconds)):
        return None
    traffic = sum(_value(found, name) or 0 for name in _TRAFFIC)
    return HexagonProfile(_three(cycles), _three(microseconds), traffic, _value(found, _MISSING) or 0)


def _value(found: dict[str, list[int]], name: str) -> int | None:
    values = set(found.get(name, ()))
    if len(values) > 1:
        raise ValueError(f"'{name}' has several values: {sorted(values)}")
    return values.pop() if values else None


def _three(values: Sequence[int | None]) -> tuple[int, int, int]:
    known = [value for value in values if value is not None]
    if len(known) != 3 or not 0 < known[1] <= known[0] <= known[2]:
        raise ValueError(f"estimate and bounds are {values}, expected low <= estimate <= high above 0")
    return known[0], known[1], known[2]
