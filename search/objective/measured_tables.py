"""Tables of measured latencies (`search collect -o FILE.csv`), which replace cost models where every member was measured."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mhmodels.errors import FileFormatError
from mhmodels.search.cost_model.latencies.dataset import Latencies
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.cost_model.latencies.provenance import MAX_BYTES, provenance_of
from mhmodels.search.cost_model.latencies.reading import read_latencies
from mhmodels.search.cost_model.latencies.rows import read_csv
from mhmodels.search.errors import SearchError
from mhmodels.search.objective.benchmark_tables import named
from mhmodels.search.objective.evaluators import TableLatency
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.search_space import SearchSpace
from mhmodels.search.space.tabular import Table
from mhmodels.system.files import open_regular, read_bytes

_LONGEST_HEADER = 1 << 16
_COLUMNS = {"encoding", "hardware", "kind", "ms"}


class MeasuredTable(NamedTuple):
    """Latencies of all members of a space.

    Attributes:
        sources: Latencies by hardware id.
        medians: Median latency in ms by hardware id.
    """

    sources: dict[str, TableLatency]
    medians: dict[str, float]


def is_collected(path: Path) -> bool:
    """Whether a file is a table that `search collect` wrote, by suffix and columns."""
    return path.suffix == ".csv" and path.is_file() and set(_header(path)) >= _COLUMNS


def measured_latencies(path: Path, space: SearchSpace, hardware: Sequence[str] = ()) -> MeasuredTable:
    """Reads a table that `search collect -o` wrote.

    Args:
        path: `FILE.csv`. A provenance beside it (`FILE.json`) must be of the same space.
        space: Space to search. All its members must have a latency, since a search may ask for any of them.
        hardware: Hardware ids to read; empty for all in the file.

    Raises:
        FileFormatError: The file is not such a table.
        SpaceError: The provenance is of another space or version.
        SearchError: A hardware is not in the file or has latencies of several kinds, or a member has no latency.
    """
    kinds = _kinds(path)
    unknown = next((name for name in hardware if name not in kinds), None)
    if unknown is not None or not kinds:
        raise SearchError(f"{path}: no latencies on '{unknown}', expected some of {', '.join(kinds) or 'none: it has no rows'}")
    provenance_of(path, space)
    whole, identity = get_space(space.name), named(path)
    sources, medians = {}, {}
    for name in dict.fromkeys(hardware or kinds):
        if len(kinds[name]) > 1:
            raise SearchError(f"{path}: latencies on '{name}' are {' and '.join(sorted(kinds[name]))}, expected one kind")
        found = read_latencies(path, whole, LatencyOrigin(name))
        _check_members(path, space, name, found)
        table = Table(whole, found.encodings, {name: found.ms}, "latencies")
        sources[name] = TableLatency(table, name, f"{identity}:{name} ({next(iter(kinds[name]))})")
        medians[name] = float(np.median(found.ms))
    return MeasuredTable(sources, medians)


def _check_members(path: Path, space: SearchSpace, hardware: str, found: Latencies) -> None:
    """Refuses a table that lacks members: large spaces by their number, small ones by looking up every member."""
    there, wanted = len(found.ms), space.sizes.distinct
    missing = wanted if wanted > there else 0
    example = ""
    if not missing:
        known = {row.tobytes() for row in found.encodings}
        lacking = [row for row in space if row.tobytes() not in known]
        missing, example = len(lacking), f", for example {space.label(lacking[0])}" if lacking else ""
    if missing:
        raise SearchError(
            f"{path}: {there} networks have a latency on '{hardware}', and space '{space.name}' has {wanted}{example}: a search "
            f"may ask for any of them. Measure the others (`mhmodels search collect --space {space.name} -n {wanted} -o …`; "
            "networks that do not run there have none), or fit a cost model (`mhmodels search fit`, argument 'cost_model')"
        )


def _header(path: Path) -> list[str]:
    try:
        with open_regular(path) as file:
            line = file.readline(_LONGEST_HEADER)
        return next(csv.reader([line.decode("utf-8-sig")], strict=True), [])
    except (FileFormatError, OSError, UnicodeDecodeError, csv.Error):
        return []


def _kinds(path: Path) -> dict[str, set[str]]:
    """Kinds of latencies in the file, by hardware id."""
    found: dict[str, set[str]] = {}
    seen: set[tuple[str, str, str]] = set()
    content = read_bytes(path, limit=MAX_BYTES)
    try:
        for number, row in read_csv(content, path)[1]:
            if not row["hardware"] or None in row.values():
                raise FileFormatError(f"{path}: a line has no hardware or too few fields: the file is cut off")
            latency = row["encoding"], row["hardware"], row["kind"]
            if latency in seen:
                raise FileFormatError(f"{path}: line {number}: a second latency of {latency[0]} on '{latency[1]}', expected one")
            seen.add(latency)
            found.setdefault(row["hardware"], set()).add(row["kind"])
    except KeyError as error:
        raise FileFormatError(f"{path}: not what `search collect` writes ({error})") from error
    if not content.endswith(b"\n"):
        raise FileFormatError(f"{path}: the last line has no line end: the file is cut off, and its last latency may be")
    return found
