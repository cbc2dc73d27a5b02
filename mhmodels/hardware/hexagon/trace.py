"""Reads the schedule behind Qualcomm's estimate, which its compiler leaves with profiling level `optrace`.

The schedule is a document in the form of Chrome's trace viewer inside a binary log. Its events name operations of the compiled
graph by number; the schematic, a file beside the log, translates the numbers into names of the ONNX file's nodes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

_EVENTS = '"traceEvents"'
_NAMES = re.compile(r"^qnn_name_translations = \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"^0x([0-9a-f]+): '([^']*)',$", re.MULTILINE)
_OPERATION = 0xFFFFFFFF
"""Bits of an event's id that hold the number of the operation in the graph as it was given to the compiler."""
_COMPUTING = frozenset({"uses_hmx", "for_hvx"})
"""Flags of events on the matrix unit and the vector units; all other events move data or start and end transfers."""


class TraceEvent(NamedTuple):
    """Something that a unit of the NPU does for an operation.

    Attributes:
        name: Name of the operation's node; "" for the copies of the network's input and output.
        identifier: Identifier of the event's operation in the compiled graph; a layer has many.
        start, cycles: When it starts, and how long it takes, in cycles of the NPU.
        computes: Whether the matrix unit or a vector unit computes; if not, it moves data.
    """

    name: str
    identifier: int
    start: int
    cycles: int
    computes: bool


def read_trace(log: bytes, schematic: str) -> tuple[TraceEvent, ...]:
    """Returns the events of the schedule, in the order in which they start.

    Args:
        log: The log, which has the schedule once or several times.
        schematic: The schematic.

    Raises:
        ValueError: There is no schedule, it has events of another form, or there are no names.
    """
    table = _NAMES.search(schematic)
    names = {int(number, 16): name for number, name in _NAME.findall(table[1])} if table else {}
    if not names:
        raise ValueError("the schematic has no names of operations")
    text = log.decode("latin-1")
    start = text.rfind("{", 0, max(0, text.find(_EVENTS)))
    if start < 0:
        raise ValueError("the log has no schedule")
    try:
        events = json.JSONDecoder().raw_decode(text, start)[0]["traceEvents"]
        found = [_event(event, names) for event in events if event["ph"] == "X"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"the schedule has an event of unknown form ({error!r})") from error
    if not any(event.cycles for event in found):
        raise ValueError("the schedule has no events that take time")
    return tuple(sorted(found, key=lambda event: event.start))


def _event(event: Mapping[str, Any], names: Mapping[int, str]) -> TraceEvent:
    about = event["args"]
    identifier, start, cycles = int(about["id"], 16), int(event["ts"]), int(event["dur"])
    if start < 0 or cycles < 0:
        raise ValueError(f"the schedule has an event at {start} of {cycles} cycles, expected at least 0")
    # A vector unit that takes in the network's input waits for the transfer.
    computes = not _COMPUTING.isdisjoint(about["flags"]) and not about["bw_info"]["is_dma"]
    return TraceEvent(names.get(identifier & _OPERATION, ""), identifier, start, cycles, computes)
