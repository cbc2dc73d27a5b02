"""Measured latencies of the members of a front from a table, for spaces without networks and for hardware of other people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast, get_args

import numpy as np

from mhmodels.errors import MhmodelsError, UnknownNameError
from mhmodels.formats.json_files import read_bytes
from mhmodels.hardware import Environment, get_hardware
from mhmodels.hardware.measurement import MeasurementKind
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.cost_model.latencies.provenance import MAX_BYTES
from mhmodels.search.cost_model.latencies.reading import read_latencies
from mhmodels.search.cost_model.latencies.rows import file_rows
from mhmodels.search.cost_model.shipping import table_path
from mhmodels.search.errors import SearchError
from mhmodels.search.objective.benchmark_tables import named
from mhmodels.search.run.front.judging import FrontLatencies
from mhmodels.search.run.sources.published import published_table
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.search_space import Encodings, SearchSpace

_KINDS = get_args(MeasurementKind)


class FrontTable(NamedTuple):
    """A table of measured latencies, opened for the hardware of a search.

    Attributes:
        ms: Latency in ms by hardware id and by the bytes of the canonical encoding.
        kinds: Kind of the latencies by hardware id.
        environments: Environment of the latencies by hardware id, where it is known.
        source: Name of the file with its hash.
    """

    ms: Mapping[str, Mapping[bytes, float]]
    kinds: Mapping[str, MeasurementKind]
    environments: Mapping[str, Environment]
    source: str

    def latencies(self, space: SearchSpace, encodings: Encodings) -> FrontLatencies:
        """Looks members up; members that the table does not have get NaN and a reason.

        Args:
            space: Space of the members.
            encodings: (n, decisions).
        """
        keys = [row.tobytes() for row in space.canonical(encodings)]
        ms = np.array([[column.get(key, np.nan) for column in self.ms.values()] for key in keys])
        names, why = list(self.ms), f"{self.source.rpartition(' sha256:')[0]} has none of it"
        reasons = {(int(i), names[j]): why for i, j in np.argwhere(np.isnan(ms))}
        return FrontLatencies(ms, self.kinds, reasons, self.environments, source=self.source)


def open_front_table(path: Path, space: SearchSpace, hardware: Sequence[str]) -> FrontTable:
    """Reads a table of measured latencies.

    Args:
        path: A file as `search fit --data` takes it (JSON lines, `.csv` or `.tsv` with `encoding` or `architecture`, `ms` and,
            for several hardware, `hardware`), the table of NAS-Bench-201 (`.npz`), or the name of a table in the package.
        space: Space of the search.
        hardware: Hardware ids of the search, each of which needs latencies in the table.

    Raises:
        FileFormatError: The file is not such a table.
        SearchError: A hardware has no latencies in the table or latencies of several kinds, or rows do not say of which of
            several hardware they are. The message names the argument `front_latencies`.
        MhmodelsError: The file cannot be read, or a network is not a member of the space.
    """
    path = table_path(path)
    whole = get_space(space.name) if space.restrictions else space
    try:
        return _published(path, whole, hardware) if path.suffix == ".npz" else _collected(path, whole, hardware)
    except MhmodelsError as error:
        raise type(error)(f"argument 'front_latencies': {error}") from error


def _published(path: Path, space: SearchSpace, hardware: Sequence[str]) -> FrontTable:
    table, identity = published_table(path, space, "latencies")
    unknown = next((name for name in hardware if name not in table.columns), None)
    if unknown is not None:
        raise SearchError(f"{path}: no complete column '{unknown}', expected some of {', '.join(table.columns)}")
    rows = np.array([*space])
    ms = {name: dict(zip([row.tobytes() for row in rows], table.evaluate(rows, name).tolist(), strict=True)) for name in hardware}
    return FrontTable(ms, dict.fromkeys(hardware, "published"), {}, identity)


def _collected(path: Path, space: SearchSpace, hardware: Sequence[str]) -> FrontTable:
    kinds = _row_kinds(path, hardware)
    ms, environments = {}, {}
    for name in hardware:
        found = read_latencies(path, space, LatencyOrigin(name, kind=kinds[name]))
        ms[name] = {row.tobytes(): value for row, value in zip(found.encodings, found.ms.tolist(), strict=True)}
        if found.origin.environment is not None:
            environments[name] = found.origin.environment
    return FrontTable(ms, kinds, environments, named(path))


def _row_kinds(path: Path, hardware: Sequence[str]) -> dict[str, MeasurementKind]:
    """Kind of the latencies by hardware: as the rows state it, else that of known hardware, else `measured`."""
    rows = [row for _, row in file_rows(read_bytes(path, limit=MAX_BYTES), path)]
    if len(hardware) > 1 and any(row.get("hardware") is None for row in rows):
        raise SearchError(
            f"{path}: rows without a field 'hardware', but the search has {len(hardware)} ({', '.join(hardware)}): add the "
            "field, or choose one hardware (argument 'hardware')"
        )
    return {name: _kind(path, name, rows) for name in hardware}


def _kind(path: Path, hardware: str, rows: Sequence[Mapping[str, object]]) -> MeasurementKind:
    stated = {row["kind"] for row in rows if row.get("hardware") in (None, hardware) and row.get("kind") is not None}
    if len(stated) > 1:
        raise SearchError(f"{path}: latencies on '{hardware}' are {' and '.join(sorted(map(str, stated)))}, expected one kind")
    if stated:
        kind = str(stated.pop())
        if kind not in _KINDS:
            raise SearchError(f"{path}: field 'kind' of '{hardware}' is {kind!r}, expected one of {', '.join(_KINDS)}")
        return cast(MeasurementKind, kind)
    try:
        return get_hardware(hardware).hardware.kind
    except UnknownNameError:
        return "measured"
