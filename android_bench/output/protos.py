"""Decoding the two binary results of newer tools: BenchmarkResult and ModelRuntimeDetails of LiteRT (proto2 wire format)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from mhmodels.android_bench.transport.lines import without_controls
from mhmodels.errors import FileFormatError

MAX_BYTES = 64 << 20
_LATENCY = ("avg", "min", "max", "std", "median", "p5", "p95", "init", "first", "warmup")


class BenchmarkResult(NamedTuple):
    """The numbers of a BenchmarkResult, which are exact where the text is rounded.

    Attributes:
        latency_ms: Latencies in ms by name: avg, min, max, std, median, p5, p95, init, first, warmup; missing ones are left out.
        runs, warmup_runs: Numbers of inferences; None if missing.
    """

    latency_ms: dict[str, float]
    runs: int | None
    warmup_runs: int | None


class DelegatedNodes(NamedTuple):
    """Where the nodes of the primary graph ran.

    Attributes:
        total: Number of nodes in the file.
        delegated: Number of nodes that a delegate replaced, by the name of the delegate.
    """

    total: int
    delegated: dict[str, int]


def read_result(data: bytes) -> BenchmarkResult:
    """Decodes a BenchmarkResult.

    Raises:
        FileFormatError: The data are incomplete or something else.
    """
    latency: dict[str, float] = {}
    runs: dict[int, int] = {}
    for number, value in _fields(data):
        if number == 2 and isinstance(value, bytes):
            for inner, bits in _fields(value):
                if isinstance(bits, float) and 1 <= inner <= len(_LATENCY):
                    latency[_LATENCY[inner - 1]] = bits
        elif number == 4 and isinstance(value, bytes):
            runs.update({inner: bits for inner, bits in _fields(value) if isinstance(bits, int)})
    return BenchmarkResult(latency, runs.get(2), runs.get(3))


def read_placement(data: bytes) -> DelegatedNodes:
    """Decodes ModelRuntimeDetails: the number of nodes, and those that delegates replaced.

    Raises:
        FileFormatError: The data are incomplete, something else, or hold no graph.
    """
    graph = next((value for number, value in _fields(data) if number == 2 and isinstance(value, bytes)), None)
    if graph is None:
        raise FileFormatError("model runtime info: holds no graph")
    delegated: dict[str, int] = {}
    total = 0
    for node in (value for number, value in _fields(graph) if number == 3 and isinstance(value, bytes)):
        details = next((value for number, value in _fields(node) if number == 8 and isinstance(value, bytes)), None)
        if details is None:
            # Nodes that a delegate replaced stay in the list, so this counts all nodes of the file.
            total += 1
            continue
        name, replaced = "", 0
        for number, value in _fields(details):
            if number == 1 and isinstance(value, bytes):
                name = without_controls(value.decode(errors="replace"))[:80]
            elif number == 2:
                replaced += 1 if isinstance(value, int) else _varints(value)
        delegated[name] = delegated.get(name, 0) + replaced
    return DelegatedNodes(total, delegated)


def _varints(packed: int | float | bytes) -> int:
    """Number of values in a packed field: each ends in a byte below 128."""
    return sum(byte < 0x80 for byte in packed) if isinstance(packed, bytes) else 0


def _fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Numbers and values of the fields: varints as int, 32 bits as float, 64 bits as float, lengths as bytes."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, kind = key >> 3, key & 7
        value: int | float | bytes
        if kind == 0:
            value, place = _varint(data, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value = struct.unpack("<d" if kind == 1 else "<f", _slice(data, place, size))[0]
            place += size
        elif kind == 2:
            size, place = _varint(data, place)
            value = _slice(data, place, size)
            place += size
        else:
            raise FileFormatError(f"benchmark result: wire type {kind} at byte {place}, expected 0, 1, 2 or 5")
        yield number, value


def _slice(data: bytes, place: int, size: int) -> bytes:
    if place + size > len(data):
        raise FileFormatError(f"benchmark result: cut off at byte {len(data)}, expected {place + size}")
    return data[place : place + size]


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        byte = _slice(data, place, 1)[0]
        place += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, place
    raise FileFormatError("benchmark result: a number of over ten bytes")
