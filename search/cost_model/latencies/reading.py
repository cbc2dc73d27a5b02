"""Latencies to fit to: JSON lines, CSV, or the measurement store."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from mhmodels.errors import FileFormatError
from mhmodels.formats.json_files import read_bytes
from mhmodels.hardware.conditions import mixture
from mhmodels.hardware.host.turns import common_reference_speed, steady_ms
from mhmodels.hardware.measurement import Environment, Measurement, MeasurementRequest, steadier
from mhmodels.search.cost_model.fitting import Origin
from mhmodels.search.cost_model.latencies.baselines import Baseline, stored_baselines
from mhmodels.search.cost_model.latencies.rows import file_rows, latency_of, placed
from mhmodels.search.cost_model.model import CostModel, encoding_hashes
from mhmodels.search.errors import CostModelError, SpaceError
from mhmodels.search.space.sampling import Sample
from mhmodels.search.space.search_space import Encodings, Space
from mhmodels.search.space.template import ArchitectureSpace
from mhmodels.store import Store

MAX_BYTES = 2 << 30
_ALIKE = 1.1
_OWN_FIELDS = {"environments", "baselines", "schema"}
NO_CONDITIONS: Mapping[str, str] = {}


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
    space: str
    schema: str
    baselines: dict[str, tuple[Baseline, ...]] = {}


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


def read_latencies(
    path: str | os.PathLike[str],
    space: Space,
    origin: Origin,
    store: Store | None = None,
    where: Mapping[str, str] = NO_CONDITIONS,
) -> Latencies:
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
        where: conditions of the store's rows, as of `Measurement.conditions`, to choose among several.

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
            stored, origin = _looked_up(store, space, lacking, origin, where)
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
    """What `search collect` wrote beside a table (FILE.csv); None where there is no such file, or a JSON file of something else.

    Raises:
        FileFormatError: it is damaged.
        SpaceError: it is of another space or version, whose encodings mean other networks.
    """
    beside = path.with_suffix(".json")
    if path.suffix.lower() != ".csv" or not os.path.lexists(beside):
        return None
    content = read_bytes(beside, limit=MAX_BYTES)
    try:
        document = msgspec.json.decode(content)
        if not _is_of_tables(document):
            return None  # a file of something else that only has the same name, for example a cost model
        found = msgspec.json.decode(content, type=Provenance)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FileFormatError(
            f"{beside}: damaged, expected the provenance of {path.name} that `search collect` writes ({error}); restore it, "
            "or move it away (then environment, baselines and space of the table are unknown)"
        ) from error
    if found.schema != space.schema:
        raise SpaceError(
            f"{path}: {beside.name} beside it says that its encodings are of space '{found.space}' with schema {found.schema}, "
            f"but space '{space.name}' has {space.schema}: another space or version"
        )
    return found


def _is_of_tables(document: Any) -> bool:
    """Whether a JSON document is a provenance of some version, or what is left of one."""
    if not isinstance(document, dict):
        return False
    stated = document.get("format")
    return stated.startswith("mhmodels.latencies/") if isinstance(stated, str) else len(_OWN_FIELDS & set(document)) > 1


def _with_provenance(origin: Origin, found: Provenance | None) -> Origin:
    """The environment and baselines of a table, unless they are known."""
    if found is None or origin.environment is not None:
        return origin
    name = origin.hardware
    return origin._replace(environment=found.environments.get(name), baselines=found.baselines.get(name, ()))


def _looked_up(
    store: Store, space: ArchitectureSpace, encodings: Sequence[Encodings], origin: Origin, where: Mapping[str, str]
) -> tuple[dict[bytes, float | None], Origin]:
    """The store's latencies of members, by encoding, and where they come from."""
    ids = {encoding.tobytes(): space.build(encoding).architecture_id for encoding in encodings}
    rows = _comparable(_latest(store, origin.hardware, ids.values(), where), origin.hardware)
    pace = common_reference_speed(rows)
    by_id = {row.architecture_id: steady_ms(row, pace) for row in rows}
    known = stored_baselines(store, rows, pace) if rows else ()
    return {key: by_id.get(one) for key, one in ids.items()}, _origin(rows, origin._replace(baselines=known or origin.baselines))


def _latest(
    store: Store, hardware: str, architecture_ids: Iterable[str] | None = None, where: Mapping[str, str] = NO_CONDITIONS
) -> list[Measurement]:
    """Rows of a hardware; of networks that were timed in turns those, for `bench` may have timed one alone since."""
    ids = None if architecture_ids is None else list(architecture_ids)
    if where:
        return _latest_where(store, hardware, None if ids is None else set(ids), where)
    rows = store.latest([hardware], ids)
    references = {row.turns.model_hash for row in rows if row.turns is not None}
    if len(references) != 1:
        return rows
    in_turns = {row.architecture_id: row for row in store.latest([hardware], ids, beside=references.pop())}
    return [in_turns.get(row.architecture_id, row) for row in rows]


def _latest_where(store: Store, hardware: str, ids: Collection[str] | None, where: Mapping[str, str]) -> list[Measurement]:
    """The same of rows taken in certain conditions only.

    Raises:
        CostModelError: no row has them; the message says what there is.
    """
    rows = [row for row in store.of_hardware(hardware) if ids is None or row.architecture_id in ids]
    for name, wanted in where.items():
        there = sorted({_text(row.conditions().get(name)) for row in rows})
        rows = [row for row in rows if _text(row.conditions().get(name)) == wanted]
        if not rows:
            known = f"it is {' or '.join(map(repr, there))}" if there else f"there are none on {hardware}"
            raise CostModelError(f"{store.path}: no latencies where '{name}' is '{wanted}': {known}")
    turns = any(row.turns is not None for row in rows)
    best: dict[MeasurementRequest, Measurement] = {}
    latest: dict[str | None, Measurement] = {}
    for row in rows:
        earlier, request = latest.get(row.architecture_id), row.request()
        if not (turns and row.turns is None and earlier is not None and earlier.turns is not None):
            best[request] = latest[row.architecture_id] = steadier(best[request], row) if request in best else row
    return list(latest.values())


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


def stored_latencies(store: Store, space: Space, hardware: str, where: Mapping[str, str] = NO_CONDITIONS) -> Latencies:
    """The store's rows of a space's samples on a hardware: their models are named by `Space.label`.

    Args:
        store: with the rows.
        space: of the samples.
        hardware: where they were timed.
        where: conditions of the rows, as of `Measurement.conditions`, to choose among several: `{"configuration.mode": "burst"}`.

    Raises:
        CostModelError: there are none, or they come from different environments.
    """
    named = [row for row in _latest(store, hardware, where=where) if row.model.startswith(f"{space.name}:")]
    found = [row for row in named if _is_member(row, space)]
    if not found:
        there = ", ".join(store.hardware()) or "none"
        raise CostModelError(
            f"{store.path}: no samples of space '{space.name}' on {hardware} (hardware in it: {there}); measure some with "
            "`mhmodels search collect`, or give a file of latencies with --data"
        )
    rows = _comparable(found, hardware)
    pace = common_reference_speed(rows)
    encodings, ms, names = [], [], []
    for row in rows:
        steady = steady_ms(row, pace)
        if steady is not None:
            encodings.append(space.parse(row.model))
            ms.append(steady)
            names.append(_distribution(row))
    origin = _origin(rows, Origin(hardware, baselines=stored_baselines(store, rows, pace)))
    remarks = [f"{len(rows) - len(ms)} of {len(rows)} architectures do not run there"] if len(ms) < len(rows) else []
    if len(named) > len(found):
        remarks.append(f"{len(named) - len(found)} rows are of another definition of '{space.name}' and were left out")
    if not ms:
        raise CostModelError(f"{store.path}: none of {len(rows)} samples of '{space.name}' runs on {hardware}")
    return _merged(space, np.array(encodings), np.array(ms), names, origin, remarks)


def _distribution(row: Measurement) -> str:
    """What `search collect` notes of a row's network; "" where there is no such note, or something else in its place."""
    noted = row.device_state.get("collect")
    name = noted.get("distribution") if isinstance(noted, dict) else None
    return name if isinstance(name, str) else ""


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
    """Refuses rows of one hardware that were taken in different conditions."""
    found = mixture(rows)
    if found is not None:
        name, one, other = found.differing[0]
        raise CostModelError(
            f"latencies on {hardware} come from different conditions and do not go together: {found}; choose one of them "
            f"(--where {shlex.quote(f'{name}={_text(one)}')} or --where {shlex.quote(f'{name}={_text(other)}')})"
        )
    return list(rows)


def _text(value: Any) -> str:
    """A condition as `--where` takes it; empty where a row does not have it."""
    return "" if value is None else value if isinstance(value, str) else msgspec.json.encode(value).decode()


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
