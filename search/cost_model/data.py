"""Latencies to fit to: JSON lines, CSV, or the measurement store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from mhmodels.errors import FileFormatError
from mhmodels.hardware.measurement import Environment, Measurement
from mhmodels.hardware.turns import common_pace, steady_ms
from mhmodels.json_files import read_bytes
from mhmodels.store import Store
from search.cost_model.baselines import Baseline, stored_baselines
from search.cost_model.fitting import Origin
from search.cost_model.model import CostModel, encoding_hashes
from search.cost_model.rows import file_rows, latency_of, placed
from search.errors import CostModelError, SpaceError
from search.sampling import Sample
from search.space import Encodings, Space
from search.template import ArchitectureSpace

MAX_BYTES = 2 << 30
_ALIKE = 1.1


class Latencies(NamedTuple):
    """What was read.

    Attributes:
        encodings: (n, decisions), canonical, each once.
        ms: (n,).
        distributions: (n,), "" where unknown; empty if all are.
        origin: of the latencies.
        remarks: for people: what was left out or put together.
    """

    encodings: Encodings
    ms: NDArray[np.float64]
    distributions: tuple[str, ...]
    origin: Origin
    remarks: tuple[str, ...]


class _Marked(msgspec.Struct, frozen=True):
    """A file that says of itself that it is the provenance of a table."""

    format: Literal["mhmodels.latencies/1"]


class Provenance(_Marked, frozen=True):
    """What `search collect` writes beside its table, as far as it matters here."""

    environments: dict[str, Environment | None]
    baselines: dict[str, tuple[Baseline, ...]] = {}
    space: str = ""
    schema: str = ""


def write_samples(sample: Sample, space: Space, path: Path) -> None:
    """Writes JSON lines, one a network: what `read_latencies` reads once `ms` is added. The file appears whole or not at all.

    A network of an architecture space carries its architecture file, id and MAdds, so that others can build and time it.
    """
    from mhmodels.system.files import replaced

    madds = space.madds(sample.encodings) if isinstance(space, ArchitectureSpace) else None
    with replaced(path) as beside, beside.open("wb") as file:
        for i, row in enumerate(sample.encodings):
            line: dict[str, Any] = {
                "space": space.name,
                "schema": space.schema,
                "encoding": row.tolist(),
                "distribution": sample.distributions[i],
            }
            if isinstance(space, ArchitectureSpace) and madds is not None:
                architecture = space.build(row)
                line |= {"architecture_id": architecture.architecture_id, "madds": int(madds[i])}
                line["architecture"] = msgspec.Raw(msgspec.json.format(architecture.to_json(), indent=-1))
            file.write(msgspec.json.encode(line) + b"\n")


def read_latencies(path: str | os.PathLike[str], space: Space, origin: Origin, store: Store | None = None) -> Latencies:
    """Reads JSON lines, or CSV with a header (`.csv`).

    Every row has `encoding` (a list, or `3:0:…`) or `architecture` (an architecture file's content; in CSV its path or a zoo
    name), and `ms` (or `latency_ms`, `median_ms`). Where it has no latency but the store has one of that architecture on the
    hardware, that counts. `distribution` may name what it was drawn from, and `hardware` where it was measured: rows of other
    hardware are left out. Of a table that `search collect -o` wrote the environment is known from its provenance.

    Args:
        path: the file.
        space: what encodings belong to.
        origin: of the latencies; of those in the store kind, format and environment are taken from there.
        store: for rows without a latency.

    Raises:
        FileFormatError: it cannot be read, or a row is wrong; the message has the line.
        SpaceError: a row is no member of the space, or the provenance is of another space or version.
        CostModelError: a latency that is zero, negative, infinite or beyond all measure, or none at all.
    """
    path = Path(path)
    origin = _with_provenance(origin, provenance_of(path, space))
    text = read_bytes(path, limit=MAX_BYTES)
    everything = file_rows(text, path)
    rows = [(number, row) for number, row in everything if row.get("hardware") in (None, origin.hardware)]
    if everything and not rows:
        known = ", ".join(sorted({str(row["hardware"]) for _, row in everything}))
        raise CostModelError(f"{path}: no row is of hardware '{origin.hardware}'; those that there are: {known}")
    members = [(placed(row, space, f"{path}: line {number}"), latency_of(row, f"{path}: line {number}")) for number, row in rows]
    stored: dict[bytes, float | None] = {}
    if store is not None and isinstance(space, ArchitectureSpace):
        lacking = [encoding for encoding, value in members if value is None]
        if lacking:
            stored, origin = _looked_up(store, space, lacking, origin)
    encodings, ms, names, absent = [], [], [], 0
    for (_, row), (encoding, own) in zip(rows, members, strict=True):
        value = stored.get(encoding.tobytes()) if own is None else own
        if value is None:
            absent += 1
            continue
        encodings.append(encoding)
        ms.append(value)
        names.append(str(row.get("distribution") or ""))
    remarks = [f"{absent} of {len(rows)} architectures have no latency and were left out"] if absent else []
    if not text.endswith(b"\n"):
        remarks.append(f"{path}: the last line has no line end; if the file was cut off, its last latency is not whole")
    if store is not None and rows and not any(own is None for _, own in members):
        remarks.append(f"{store.path} was not looked at: every row of {path} has a latency of its own")
    if not encodings:
        raise CostModelError(
            f"{path}: none of {len(rows)} architectures has a latency: add 'ms' to each line, or give the store that was measured"
        )
    return _merged(space, np.array(encodings), np.array(ms), names, origin, remarks)


def is_provenance(path: Path) -> bool:
    """Whether a file is one that `search collect` wrote beside a table."""
    if not path.is_file():
        return False
    try:
        msgspec.json.decode(read_bytes(path, limit=MAX_BYTES), type=_Marked)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def provenance_of(path: Path, space: Space) -> Provenance | None:
    """What `search collect` wrote beside a table (FILE.csv); None where there is no such file.

    Raises:
        SpaceError: it is of another space or version, whose encodings mean other networks.
    """
    beside = path.with_suffix(".json")
    if path.suffix.lower() != ".csv" or not beside.is_file():
        return None
    try:
        found = msgspec.json.decode(read_bytes(beside, limit=MAX_BYTES), type=Provenance)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # a file of the user's that only has the same name
    if found.schema not in ("", space.schema):
        raise SpaceError(
            f"{path}: {beside.name} beside it says that its encodings are of space '{found.space}' with schema {found.schema}, "
            f"but space '{space.name}' has {space.schema}: another space or version"
        )
    return found


def _with_provenance(origin: Origin, found: Provenance | None) -> Origin:
    """The environment and baselines of a table, unless they are known."""
    if found is None or origin.environment is not None:
        return origin
    name = origin.hardware
    return origin._replace(environment=found.environments.get(name), baselines=found.baselines.get(name, ()))


def _looked_up(
    store: Store, space: ArchitectureSpace, encodings: Sequence[Encodings], origin: Origin
) -> tuple[dict[bytes, float | None], Origin]:
    """The store's latencies of members, by encoding, and where they come from."""
    ids = {encoding.tobytes(): space.build(encoding).architecture_id for encoding in encodings}
    rows = _comparable(_latest(store, origin.hardware, ids.values()), origin.hardware)
    pace = common_pace(rows)
    by_id = {row.architecture_id: steady_ms(row, pace) for row in rows}
    known = stored_baselines(store, rows, pace) if rows else ()
    return {key: by_id.get(one) for key, one in ids.items()}, _origin(rows, origin._replace(baselines=known or origin.baselines))


def _latest(store: Store, hardware: str, architecture_ids: Iterable[str] | None = None) -> list[Measurement]:
    """Rows of a hardware; of networks that were timed in turns those, for `bench` may have timed one alone since."""
    ids = None if architecture_ids is None else list(architecture_ids)
    rows = store.latest([hardware], ids)
    references = {row.turns.model_hash for row in rows if row.turns is not None}
    if len(references) != 1:
        return rows
    in_turns = {row.architecture_id: row for row in store.latest([hardware], ids, beside=references.pop())}
    return [in_turns.get(row.architecture_id, row) for row in rows]


def read_members(path: str | os.PathLike[str], space: Space) -> Sample:
    """The networks of a file of samples; latencies do not matter. Errors as `read_latencies`."""
    path = Path(path)
    provenance_of(path, space)
    text = read_bytes(path, limit=MAX_BYTES)
    rows = file_rows(text, path)
    encodings = [placed(row, space, f"{path}: line {number}") for number, row in rows]
    if not encodings:
        raise FileFormatError(f"{path}: no networks, expected one a line")
    return Sample(np.array(encodings), tuple(str(row.get("distribution") or "") for _, row in rows))


def stored_latencies(store: Store, space: Space, hardware: str) -> Latencies:
    """The store's rows of a space's samples on a hardware: their models are named by `Space.label`.

    Raises:
        CostModelError: there are none, or they come from different environments.
    """
    named = [row for row in _latest(store, hardware) if row.model.startswith(f"{space.name}:")]
    found = [row for row in named if _is_member(row, space)]
    if not found:
        there = ", ".join(store.hardware()) or "none"
        raise CostModelError(
            f"{store.path}: no samples of space '{space.name}' on {hardware} (hardware in it: {there}); measure some with "
            "`mhmodels search collect`, or give a file of latencies with --data"
        )
    rows = _comparable(found, hardware)
    pace = common_pace(rows)
    encodings, ms, names = [], [], []
    for row in rows:
        steady = steady_ms(row, pace)
        if steady is not None:
            encodings.append(space.parse(row.model))
            ms.append(steady)
            # As `search collect` leaves it.
            names.append(str(row.device_state.get("collect", {}).get("distribution", "")))
    origin = _origin(rows, Origin(hardware, baselines=stored_baselines(store, rows, pace)))
    remarks = [f"{len(rows) - len(ms)} of {len(rows)} architectures do not run there"] if len(ms) < len(rows) else []
    if len(named) > len(found):
        remarks.append(f"{len(named) - len(found)} rows are of another definition of '{space.name}' and were left out")
    if not ms:
        raise CostModelError(f"{store.path}: none of {len(rows)} samples of '{space.name}' runs on {hardware}")
    return _merged(space, np.array(encodings), np.array(ms), names, origin, remarks)


def _is_member(row: Measurement, space: Space) -> bool:
    """Whether the row's label means the same network in this space: a space of the same name may be declared otherwise."""
    if not isinstance(space, ArchitectureSpace):
        return True
    try:
        return space.build(space.parse(row.model)).architecture_id == row.architecture_id
    except SpaceError:
        return False


def unseen_latencies(found: Latencies, model: CostModel, space: Space) -> Latencies:
    """Leaves out what a model was fitted to.

    Raises:
        CostModelError: nothing else is left.
    """
    known = set(model.trained_on)
    keep = np.array([digest not in known for digest in encoding_hashes(space, found.encodings)])
    if not keep.any():
        raise CostModelError(
            f"all {len(keep)} architectures were trained on, expected others: the held-out statistics in the model file are of "
            "those that were not"
        )
    if keep.all():
        return found
    remark = f"{len(keep) - keep.sum()} of {len(keep)} architectures were trained on and are left out"
    names = tuple(name for name, kept in zip(found.distributions, keep, strict=False) if kept)
    return Latencies(found.encodings[keep], found.ms[keep], names, found.origin, (*found.remarks, remark))


def _comparable(rows: Sequence[Measurement], hardware: str) -> list[Measurement]:
    """Refuses rows of one hardware that come from different devices, versions, formats or settings."""
    places = {(row.environment.device, row.runtime, row.compiler, row.driver, row.format, row.threads, row.kind) for row in rows}
    if len(places) > 1:
        first, second, *_ = sorted(places)
        raise CostModelError(
            f"latencies on {hardware} come from {len(places)} different places and do not go together, for example {first} and "
            f"{second}; use a store of one of them (--store)"
        )
    return list(rows)


def _origin(rows: Sequence[Measurement], origin: Origin) -> Origin:
    if not rows:
        return origin
    return Origin(origin.hardware, rows[0].kind, rows[0].format, rows[0].environment, origin.baselines)


def _merged(
    space: Space, encodings: Encodings, ms: NDArray[np.float64], names: Sequence[str], origin: Origin, remarks: list[str]
) -> Latencies:
    """Puts several latencies of one network together as their median."""
    unique, first, place = np.unique(space.canonical(encodings), axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = place.ravel()
    by_place: list[list[float]] = [[] for _ in range(len(unique))]
    for i, value in zip(place.tolist(), ms.tolist(), strict=True):
        by_place[i].append(value)
    medians = np.array([float(np.median(values)) for values in by_place])
    if len(unique) < len(ms):
        factor = max(max(values) / min(values) for values in by_place)
        remarks.append(
            f"{len(ms) - len(unique)} repeated architectures: the median of their latencies counts"
            + (f"; those of one differ up to {factor:.2g}-fold" if factor > _ALIKE else "")
        )
    known = tuple(names[first[i]] for i in order) if any(names) else ()
    return Latencies(unique[order], medians[order], known, origin, tuple(remarks))
