"""What `fit` and `validate` share: the latencies that their options name, doubts about their unit, and the picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mhmodels.cli.common import note

if TYPE_CHECKING:
    from mhmodels.hardware.measurement import MeasurementKind
    from mhmodels.search.cost_model.fitting import Fit
    from mhmodels.search.cost_model.latencies.dataset import Latencies
    from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
    from mhmodels.search.space.search_space import SearchSpace


def files_read(data: Path | None, store: str | None) -> list[Path]:
    """Files that `fit` and `validate` read, with the provenance beside a table: nothing may be written there.

    Args:
        data: Value of `--data`.
        store: Value of `--store`.
    """
    from mhmodels.search.cost_model.latencies.provenance import is_provenance

    named = [path for path in (data, Path(store) if store is not None else None) if path is not None]
    return named + [beside for beside in (path.with_suffix(".json") for path in named) if is_provenance(beside)]


def read(
    space: SearchSpace,
    data: Path | None,
    store: str | None,
    hardware_id: str,
    kind: MeasurementKind | None,
    where: Mapping[str, str],
) -> Latencies:
    """Reads latencies from a file, with a store for rows without one, or from a store alone.

    Args:
        space: Space of the encodings.
        data: Value of `--data`; None for the store alone.
        store: Value of `--store`; None for the default store.
        hardware_id: Hardware of the latencies.
        kind: Kind of the latencies in the file; None for the kind of the hardware.
        where: Conditions of the store's rows.

    Raises:
        click.UsageError: There are conditions and no store.
        MhmodelsError: A file cannot be read, or holds no latency of the hardware.
    """
    from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
    from mhmodels.search.cost_model.latencies.reading import read_latencies
    from mhmodels.search.cost_model.latencies.stored import stored_latencies
    from mhmodels.store import Store

    if data is None:
        with Store(store, read_only=True) as rows:
            return stored_latencies(rows, space, hardware_id, where)
    origin = _origin(LatencyOrigin(hardware_id), kind)
    if store is None and where:
        raise click.UsageError("--where chooses rows of a --store, expected one")
    if store is None:
        return read_latencies(data, space, origin)
    with Store(store, read_only=True) as rows:
        return read_latencies(data, space, origin, rows, where)


def _origin(origin: LatencyOrigin, kind: MeasurementKind | None) -> LatencyOrigin:
    """Adds the kind as stated, else that of known hardware: the estimates of a compiler are not measurements."""
    from mhmodels.errors import UnknownNameError
    from mhmodels.hardware import get_hardware

    try:
        known = get_hardware(origin.hardware)[0]
    except UnknownNameError:
        if kind is None:
            note(
                f"'{origin.hardware}' is no hardware that is known here: its latencies count as measured (--kind says otherwise)"
            )
        return origin._replace(kind=kind or "measured")
    return origin._replace(kind=kind or known.kind, file_format=known.format)


def unit_doubts(space: SearchSpace, found: Latencies, store: str | None) -> list[str]:
    """Compares latencies with shipped cost models and the store, and doubts their unit where they are far off.

    Args:
        space: Space of the encodings.
        found: Latencies, supposed to be in ms.
        store: Value of `--store`; the store need not exist.
    """
    from mhmodels.errors import StoreError
    from mhmodels.search.cost_model.latencies.units import unit_doubt
    from mhmodels.store import Store

    hardware = found.origin.hardware
    try:
        with Store(store, read_only=True) as rows:
            doubt = unit_doubt(space, found.encodings, found.ms, hardware, rows)
    except StoreError:
        doubt = unit_doubt(space, found.encodings, found.ms, hardware)
    return [doubt] if doubt else []


def draw(path: Path | None, result: Fit) -> None:
    """Draws predicted against true latencies (figure 4 of the paper) where a path is given."""
    if path is not None:
        from mhmodels.search.cost_model.plot import scatter

        scatter(result.model, result.true_ms, result.predicted_ms, path)
        note(f"drawn to {path}")
