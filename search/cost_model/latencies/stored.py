"""Latencies of a measurement store. `Measurement.conditions` decides which rows may be fitted together."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from mhmodels.hardware.host.turns import common_reference_speed, steady_ms
from mhmodels.hardware.measurement import Measurement, MeasurementRequest, steadier
from mhmodels.hardware.mixing import mixture
from mhmodels.search.cost_model.latencies.baselines import stored_baselines
from mhmodels.search.cost_model.latencies.dataset import Latencies, merged
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.errors import CostModelError, SpaceError
from mhmodels.search.space.search_space import Encodings, SearchSpace
from mhmodels.search.space.template import ArchitectureSpace
from mhmodels.store import Store

NO_CONDITIONS: Mapping[str, str] = {}


def stored_latencies(store: Store, space: SearchSpace, hardware: str, where: Mapping[str, str] = NO_CONDITIONS) -> Latencies:
    """Reads the latencies that a collection stored for a space's networks on one hardware.

    Args:
        store: Measurement store.
        space: Space of the networks; the model names of their rows are `SearchSpace.label`.
        hardware: Hardware id.
        where: Conditions that rows must have, by their name in `Measurement.conditions`, for example
            `{"configuration.mode": "burst"}`. Needed where the store has rows of several conditions.

    Raises:
        CostModelError: The store has no such rows, or rows of several conditions.
        StoreError: The store cannot be read.

    Example:
        >>> import tempfile
        >>> from mhmodels.search import CollectSettings, collect, get_space, stored_latencies
        >>> from mhmodels.store import Store
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = f"{folder}/results.db"
        ...     report = collect("multi_hardware", 2, ["ethos-u55-128"], store=path, settings=CollectSettings(reference=""))
        ...     with Store(path) as store:
        ...         latencies = stored_latencies(store, get_space("multi_hardware"), "ethos-u55-128")
        >>> latencies.ms.shape, latencies.origin.kind
        ((2,), 'estimated')
    """
    whole = space.unrestricted()
    named = [row for row in _latest(store, hardware, where=where) if row.model.startswith(f"{space.name}:")]
    found = [row for row in named if _is_member(row, whole)]
    if not found:
        there = ", ".join(store.hardware()) or "none"
        raise CostModelError(
            f"{store.path}: no samples of space '{space.name}' on {hardware} (hardware in it: {there}); measure some with "
            "`mhmodels search collect`, or give a file of latencies (argument 'data')"
        )
    rows = _comparable(found, hardware)
    speed = common_reference_speed(rows)
    encodings, ms, names = [], [], []
    for row in rows:
        steady = steady_ms(row, speed)
        if steady is not None:
            encodings.append(whole.parse(row.model))
            ms.append(steady)
            names.append(_distribution(row))
    origin = _origin(rows, LatencyOrigin(hardware, baselines=stored_baselines(store, rows, speed)))
    remarks = [f"{len(rows) - len(ms)} of {len(rows)} architectures do not run there"] if len(ms) < len(rows) else []
    if len(named) > len(found):
        remarks.append(f"{len(named) - len(found)} rows are of another definition of '{space.name}' and were left out")
    if not ms:
        raise CostModelError(f"{store.path}: none of {len(rows)} samples of '{space.name}' runs on {hardware}")
    return merged(space, np.array(encodings), np.array(ms), names, origin, remarks)


class StoredHardware(NamedTuple):
    """Latencies of all hardware of a store.

    Attributes:
        latencies: Latencies by hardware id.
        left_out: By id of hardware without usable latencies: why.
    """

    latencies: dict[str, Latencies]
    left_out: dict[str, str]


def stored_on_all_hardware(
    store: Store, space: SearchSpace, hardware: Collection[str] = (), where: Mapping[str, str] = NO_CONDITIONS
) -> StoredHardware:
    """Reads the latencies of a space's networks on every hardware of a store.

    Args:
        store: Measurement store.
        space: Space of the networks.
        hardware: Ids to read, of which the store may lack some; empty for all in the store.
        where: As in `stored_latencies`. A condition applies to hardware whose rows have the field: `configuration.mode` chooses
            among the rows of phones and leaves those of compilers as they are.

    Raises:
        CostModelError: No row has a field of `where`.
        StoreError: The store cannot be read.
    """
    found, left_out, unused = dict[str, Latencies](), dict[str, str](), set(where)
    for name in store.hardware():
        if hardware and name not in hardware:
            continue
        fields = {field for row in store.of_hardware(name) for field in row.conditions()} if where else set()
        unused -= fields
        try:
            own = {field: value for field, value in where.items() if field in fields}
            found[name] = stored_latencies(store, space, name, own)
        except CostModelError as error:
            left_out[name] = str(error)
    if unused:
        raise CostModelError(f"{store.path}: no row has a field '{min(unused)}' (argument 'where')")
    return StoredHardware(found, left_out)


def look_up(
    store: Store,
    space: ArchitectureSpace,
    encodings: Sequence[Encodings],
    origin: LatencyOrigin,
    where: Mapping[str, str] = NO_CONDITIONS,
) -> tuple[dict[bytes, float | None], LatencyOrigin]:
    """Looks up the latencies of networks in a store.

    Args:
        store: Measurement store.
        space: Space of the networks.
        encodings: (decisions,) each.
        origin: Hardware of the latencies, and what is known about them.
        where: As in `stored_latencies`.

    Returns:
        Milliseconds by the bytes of the encoding, None where the hardware does not run the network; and the origin of the rows.

    Raises:
        CostModelError: The store has rows of several conditions, or none that `where` admits.
        StoreError: The store cannot be read.
    """
    ids = {encoding.tobytes(): space.build(encoding).architecture_id for encoding in encodings}
    rows = _comparable(_latest(store, origin.hardware, ids.values(), where), origin.hardware)
    speed = common_reference_speed(rows)
    by_id = {row.architecture_id: steady_ms(row, speed) for row in rows}
    known = stored_baselines(store, rows, speed) if rows else ()
    return {key: by_id.get(one) for key, one in ids.items()}, _origin(rows, origin._replace(baselines=known or origin.baselines))


def _latest(
    store: Store, hardware: str, architecture_ids: Iterable[str] | None = None, where: Mapping[str, str] = NO_CONDITIONS
) -> list[Measurement]:
    """The latest row of each network. A network that was timed in turns keeps that row if it was timed alone later."""
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
    """The latest row of each network among those with certain conditions.

    Raises:
        CostModelError: No row has these conditions; the message names those that exist.
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
        alone_after_turns = turns and row.turns is None and earlier is not None and earlier.turns is not None
        if not alone_after_turns:
            best[request] = latest[row.architecture_id] = steadier(best[request], row) if request in best else row
    return list(latest.values())


def _comparable(rows: Sequence[Measurement], hardware: str) -> list[Measurement]:
    """Rows of one hardware, refused if their conditions differ."""
    found = mixture(rows)
    if found is not None:
        name, one, other = found.differing[0]
        choices = " or ".join(shlex.quote(f"{name}={_text(value)}") for value in (one, other))
        raise CostModelError(
            f"latencies on {hardware} come from different conditions and do not go together: {found}; choose one of them: "
            f"{choices} (argument 'where')"
        )
    return list(rows)


def _text(value: object) -> str:
    """The value of a condition as text, "" where a row does not have it."""
    return "" if value is None else value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _origin(rows: Sequence[Measurement], origin: LatencyOrigin) -> LatencyOrigin:
    if not rows:
        return origin
    return LatencyOrigin(origin.hardware, rows[0].kind, rows[0].format, rows[0].environment, origin.baselines)


def _distribution(row: Measurement) -> str:
    """The distribution that `search collect` noted for a row's network, "" if it noted none."""
    noted = row.device_state.get("collect")
    name = noted.get("distribution") if isinstance(noted, dict) else None
    return name if isinstance(name, str) else ""


def _is_member(row: Measurement, space: SearchSpace) -> bool:
    """Whether the row's label means the same network in this space; another version of the space may define it otherwise."""
    if not isinstance(space, ArchitectureSpace):
        return True
    try:
        return space.build(space.parse(row.model)).architecture_id == row.architecture_id
    except SpaceError:
        return False
