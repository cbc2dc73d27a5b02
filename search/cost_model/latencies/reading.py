"""Latencies of a file: JSON lines or a table, completed from a measurement store."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from mhmodels.errors import FileFormatError
from mhmodels.formats.json_files import read_bytes
from mhmodels.hardware.measurement import Environment
from mhmodels.search.cost_model.latencies.dataset import Latencies, merged
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.cost_model.latencies.provenance import MAX_BYTES, provenance_of, with_provenance
from mhmodels.search.cost_model.latencies.rows import encoding_of, file_rows, latency_of
from mhmodels.search.cost_model.latencies.stored import NO_CONDITIONS, look_up
from mhmodels.search.errors import CostModelError
from mhmodels.search.space.search_space import Encodings, SearchSpace
from mhmodels.search.space.template import ArchitectureSpace
from mhmodels.store import Store


class _Line(NamedTuple):
    """A network of a file with its own latency, if the file has one, and its distribution, "" if unknown."""

    encoding: Encodings
    ms: float | None
    distribution: str


def read_latencies(
    path: str | os.PathLike[str],
    space: SearchSpace,
    origin: LatencyOrigin | str,
    store: Store | None = None,
    where: Mapping[str, str] = NO_CONDITIONS,
) -> Latencies:
    """Reads the latencies of a file.

    The file has JSON lines, or is a table with a header (`.csv` with commas, `.tsv` with tabs). A row has:

    - `encoding`, as a list or `3:0:…`, or `architecture`, as an object, a zoo name or a path;
    - `ms` (or `latency_ms`, `median_ms`), absent where the hardware does not run the network, or where the store has it;
    - optionally `schema`, which must be the space's, `distribution`, and `hardware`: rows of other hardware are left out.

    The environment of a table that `search collect` wrote is taken from the provenance beside it.

    Args:
        path: The file.
        space: Space that the networks belong to.
        origin: Hardware of the latencies, or its id. Kind, format and environment are taken from the store for its rows.
        store: Measurement store for rows without a latency.
        where: As in `stored_latencies`.

    Raises:
        FileFormatError: The file cannot be read, or a row is wrong; the message has its line.
        SpaceError: A network is not a member of the space, or the provenance is of another space or version.
        CostModelError: A latency is not a finite number of milliseconds above 0, or there is none at all; or latencies of the
            file and of the store come from different conditions.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mhmodels.search import get_space, read_latencies
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "latencies.csv")
        ...     _ = path.write_text("architecture,ms\\nmulti_max,12.5\\nmulti_avg,10.1\\n")
        ...     latencies = read_latencies(path, get_space("multi_hardware"), "my-phone")
        >>> latencies.ms.tolist()
        [12.5, 10.1]
    """
    path = Path(path)
    origin = with_provenance(LatencyOrigin(origin) if isinstance(origin, str) else origin, provenance_of(path, space))
    text = read_bytes(path, limit=MAX_BYTES)
    lines = _lines(text, path, space.unrestricted(), origin.hardware)
    stored: dict[bytes, float | None] = {}
    lacking = [line.encoding for line in lines if line.ms is None]
    if store is not None and isinstance(space, ArchitectureSpace) and lacking:
        table = origin.environment if len(lacking) < len(lines) else None
        stored, origin = look_up(store, space.unrestricted(), lacking, origin, where)
        if table is not None and origin.environment is not None and any(ms is not None for ms in stored.values()):
            _check_alike(path, table, origin.environment)
    remarks = [*_cut_off(text, path)]
    if store is not None and lines and not lacking:
        remarks.append(f"{store.path} was not looked at: every row of {path} has a latency of its own")
    return _merged_lines(lines, stored, space, origin, path, remarks)


def read_all_hardware(path: str | os.PathLike[str], space: SearchSpace, hardware: Collection[str] = ()) -> dict[str, Latencies]:
    """Reads the latencies of every hardware of a file, in one pass.

    Args:
        path: File in a format of `read_latencies`. Where no row names a hardware, the file is of one, named as the file without
            its suffix.
        space: Space that the networks belong to.
        hardware: Ids to read, of which the file may lack some; empty for all in the file.

    Returns:
        Latencies by hardware id, in the order of the file.

    Raises:
        FileFormatError: The file cannot be read, a row is wrong, or only some rows name a hardware.
        SpaceError: A network is not a member of the space, or the provenance is of another space or version.
        CostModelError: A latency is not a finite number of milliseconds above 0, there is none at all on a hardware, or a
            hardware has latencies of several kinds.
    """
    path = Path(path)
    provenance, whole = provenance_of(path, space), space.unrestricted()
    text = read_bytes(path, limit=MAX_BYTES)
    found = {}
    for name, rows in _rows_by_hardware(text, path).items():
        if hardware and name not in hardware:
            continue
        kinds = sorted({str(row["kind"]) for _, row in rows if row.get("kind") is not None})
        if len(kinds) > 1:
            raise CostModelError(
                f"{path}: latencies on '{name}' are {' and '.join(kinds)}, expected one kind: give each its own hardware id"
            )
        lines = [_line(row, whole, where) for where, row in rows]
        origin = with_provenance(LatencyOrigin(name), provenance)
        found[name] = _merged_lines(lines, {}, space, origin, path, _cut_off(text, path))
    return found


def hardware_in(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Ids of the hardware that `read_all_hardware` finds in a file, in the order of the file.

    Raises:
        FileFormatError: As for `read_all_hardware`.
    """
    path = Path(path)
    return tuple(_rows_by_hardware(read_bytes(path, limit=MAX_BYTES), path))


def _merged_lines(
    lines: Sequence[_Line],
    stored: Mapping[bytes, float | None],
    space: SearchSpace,
    origin: LatencyOrigin,
    path: Path,
    remarks: Sequence[str],
) -> Latencies:
    """Merges the rows of one hardware, with latencies of a store by the bytes of the encoding for rows without one."""
    timed = [
        (line.encoding, ms, line.distribution)
        for line in lines
        if (ms := stored.get(line.encoding.tobytes()) if line.ms is None else line.ms) is not None
    ]
    absent = len(lines) - len(timed)
    left_out = [f"{absent} of {len(lines)} architectures have no latency and were left out"] if absent else []
    if not timed:
        raise CostModelError(
            f"{path}: none of {len(lines)} architectures has a latency on '{origin.hardware}': add 'ms' to each line, or give a "
            "store of measurements"
        )
    encodings, values, names = zip(*timed, strict=True)
    return merged(space, np.array(encodings), np.array(values), names, origin, [*left_out, *remarks])


def _cut_off(text: bytes, path: Path) -> list[str]:
    """A remark on a file whose last line may be cut off."""
    if text.endswith(b"\n"):
        return []
    return [f"{path}: the last line has no line end; if the file was cut off, its last latency is not whole"]


def _check_alike(path: Path, table: Environment, stored: Environment) -> None:
    """Refuses to complete a table from rows of a store that were taken elsewhere, with other software or in another mode."""
    one, other = ({**msgspec.structs.asdict(each), **each.configuration} for each in (table, stored))
    differing = [name for name in {**one, **other} if name != "configuration" and one.get(name) != other.get(name)]
    if differing:
        found = "; ".join(
            f"'{name}' is {one.get(name)!r} in the table and {other.get(name)!r} in the store" for name in differing
        )
        raise CostModelError(f"{path}: its latencies and those of the store come from different conditions: {found}")


def _lines(text: bytes, path: Path, space: SearchSpace, hardware: str) -> Sequence[_Line]:
    """The rows of a hardware, and those that name none."""
    everything = file_rows(text, path)
    rows = [(f"{path}: line {number}", row) for number, row in everything if row.get("hardware") in (None, hardware)]
    if everything and not rows:
        known = ", ".join(sorted({str(row["hardware"]) for _, row in everything}))
        raise CostModelError(f"{path}: no row is of hardware '{hardware}'; those that there are: {known}")
    return [_line(row, space, where) for where, row in rows]


def _line(row: Mapping[str, object], space: SearchSpace, where: str) -> _Line:
    return _Line(encoding_of(row, space, where), latency_of(row, where), str(row.get("distribution") or ""))


def _rows_by_hardware(text: bytes, path: Path) -> dict[str, list[tuple[str, Mapping[str, object]]]]:
    """The rows of each hardware, with file and line for messages."""
    rows = [(f"{path}: line {number}", row) for number, row in file_rows(text, path)]
    nameless = [where for where, row in rows if row.get("hardware") is None]
    if len(nameless) == len(rows):
        return {path.stem: rows}
    if nameless:
        raise FileFormatError(f"{nameless[0]}: no 'hardware', which other lines have; expected it on every line or on none")
    found: dict[str, list[tuple[str, Mapping[str, object]]]] = {}
    for where, row in rows:
        found.setdefault(str(row["hardware"]), []).append((where, row))
    return found
