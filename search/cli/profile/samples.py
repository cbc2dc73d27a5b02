"""The networks and values that `mhmodels search profile` profiles, and its JSON fields."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from mhmodels.cli.common import note
from mhmodels.errors import FileFormatError
from mhmodels.search.cli import device_latencies
from mhmodels.search.cli.device_latencies import DeviceOptions

if TYPE_CHECKING:
    from mhmodels.search.arrays import Floats
    from mhmodels.search.profiling.block_profile import BlockProfile
    from mhmodels.search.space.search_space import Encodings, SearchSpace

LATENCY = "latency"
_COMPUTED = ("madds", "params")


class MetricSample(NamedTuple):
    """Networks with a metric.

    Attributes:
        encodings: (n, decisions), int16.
        values: (n,).
        is_measured: Whether single values can be wrong.
    """

    encodings: Encodings
    values: Floats
    is_measured: bool = True


def unit_of(metric: str) -> str:
    """Unit of a metric in text, "" if it is unknown."""
    return "ms" if metric == LATENCY else "M" if metric in _COMPUTED else ""


def read(
    space: SearchSpace, metric: str, devices: DeviceOptions, where: Mapping[str, str], count: int, seed: int
) -> dict[str, MetricSample]:
    """Reads, or draws and computes, the values of networks, and prints remarks.

    Args:
        space: Space of the networks.
        metric: `latency`, `madds`, `params`, or a column of the files.
        devices: Files, store and choice of devices.
        where: Conditions of the store's rows.
        count, seed: Number of networks to draw, and random seed.

    Returns:
        By name of the hardware, or of the metric.

    Raises:
        click.UsageError: Options contradict each other, or there is nothing to read.
        MhmodelsError: A file cannot be read, or the metric does not apply to the space.
    """
    from mhmodels.search.profiling.layout import as_profiled, layout_of

    view = as_profiled(space, layout_of(space))
    device_latencies.check_where(devices, where)
    if metric == LATENCY:
        return _latencies(view, devices, where)
    for option, given in (("--store", devices.store), ("--hardware", devices.listed)):
        if given:
            raise click.UsageError(f"{option} is for latencies, not for --metric {metric}")
    if metric not in _COMPUTED:
        if len(devices.data) != 1:
            raise click.UsageError(
                f"--metric {metric} is a column of a table, expected one --data FILE; found {len(devices.data)}"
            )
        return {metric: column(devices.data[0], view, metric)}
    if devices.data:
        raise click.UsageError(f"--metric {metric} is computed for networks that are sampled, expected no --data")
    return {metric: _computed(space, metric, count, seed)}


def profiled(
    space: SearchSpace,
    found: Mapping[str, MetricSample],
    confidence: float,
    *,
    differences: bool = False,
    all_of: bool = False,
) -> dict[str, BlockProfile]:
    """Profiles each hardware. One of several that cannot be profiled is left out with a note.

    Args:
        space: Space of the networks.
        found: Networks by name of the hardware.
        confidence: Confidence of the intervals.
        differences: Whether to estimate the differences between blocks too.
        all_of: Whether none may be left out.

    Raises:
        CostModelError: No hardware can be profiled, or one that may not be left out.
    """
    from mhmodels.search.errors import CostModelError
    from mhmodels.search.profiling.regression import profile

    result = {}
    for name, one in found.items():
        try:
            result[name] = profile(
                space, one.encodings, one.values, confidence=confidence, robust=one.is_measured, differences=differences
            )
        except CostModelError as error:
            if len(found) == 1 or all_of:
                raise type(error)(f"{name}: {error}") from error
            note(f"{name} is left out: {error}")
            continue
        if result[name].missing:
            shown = "; ".join(result[name].missing[:5]) + (" …" if len(result[name].missing) > 5 else "")
            note(f"{name}: {len(result[name].missing)} choices occur in no network and have no effect: {shown}")
        if result[name].set_aside:
            note(f"{name}: {result[name].set_aside} networks with absurd values are left out")
    if not result:
        raise CostModelError(f"none of {len(found)} hardware can be profiled")
    return result


def fields_of(profile: BlockProfile, metric: str) -> dict[str, object]:
    """A profile as JSON values; the names of milliseconds end with `_ms`.

    Args:
        profile: The profile.
        metric: Name of the metric.
    """
    import msgspec

    fields: dict[str, object] = msgspec.to_builtins(profile)
    if metric != LATENCY:
        return fields
    renamed = _renamed(fields)
    assert isinstance(renamed, dict)
    return renamed


_OF_LATENCY = {"mean": "mean_ms", "level": "level_ms", "error": "error_ms", "metric": "metric_ms"}


def _renamed(value: object) -> object:
    if isinstance(value, dict):
        return {_OF_LATENCY.get(name, name): _renamed(inner) for name, inner in value.items()}
    return [_renamed(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _latencies(space: SearchSpace, devices: DeviceOptions, where: Mapping[str, str]) -> dict[str, MetricSample]:
    found = device_latencies.latencies(space, devices, where)
    device_latencies.tell_remarks(found)
    return {name: MetricSample(one.encodings, one.ms) for name, one in found.items()}


def column(path: Path, space: SearchSpace, metric: str) -> MetricSample:
    """Reads a column of a table. Rows without a value, and networks outside of a reduced space, are left out with a note.

    Args:
        path: Table with the columns `encoding` and `metric`.
        space: Space of the networks, as its profile has it.
        metric: Name of the column.

    Raises:
        FileFormatError: The file is no such table.
        MhmodelsError: A row is wrong, or none is left.
    """
    import numpy as np

    from mhmodels.formats.json_files import read_bytes
    from mhmodels.formats.numbers import decimal
    from mhmodels.search.cost_model.latencies.provenance import MAX_BYTES
    from mhmodels.search.cost_model.latencies.rows import encoding_of, read_csv
    from mhmodels.search.errors import CostModelError

    header, rows = read_csv(read_bytes(path, limit=MAX_BYTES), path)
    lacking = [name for name in ("encoding", metric) if name not in header]
    if lacking:
        raise FileFormatError(f"{path}: columns are {header}, expected '{lacking[0]}' (and {', '.join(('encoding', metric))})")
    encodings, values, empty, whole = [], [], 0, space.unrestricted()
    for number, row in rows:
        line = f"{path}: line {number}"
        text = row[metric]
        if text is None or not text.strip():
            empty += 1
            continue
        try:
            values.append(decimal(text))
        except ValueError:
            raise CostModelError(f"{line}: field '{metric}' is {text[:40]!r}, expected a finite decimal number") from None
        encodings.append(encoding_of({"encoding": row["encoding"], "schema": row.get("schema")}, whole, line))
    if empty:
        note(f"{empty} of {len(rows)} rows have no '{metric}' and are left out")
    if not values:
        raise CostModelError(f"{path}: none of {len(rows)} rows has a '{metric}'")
    known = space.canonical(np.array(encodings))
    inside = space.members(known)
    if not inside.all():
        note(f"{len(inside) - int(inside.sum())} of {len(inside)} networks are outside of the reduced space and are left out")
    return MetricSample(known[inside], np.array(values)[inside])


def _computed(space: SearchSpace, metric: str, count: int, seed: int) -> MetricSample:
    import numpy as np

    from mhmodels.search.errors import SpaceError
    from mhmodels.search.profiling.layout import layout_of
    from mhmodels.search.profiling.parameters import parameters
    from mhmodels.search.profiling.reference import ReferenceNetworks
    from mhmodels.search.space.template import ArchitectureSpace

    if not isinstance(space, ArchitectureSpace):
        raise SpaceError(f"space '{space.name}' is tabular: its members have no {metric}; give a table with --data")
    reference = ReferenceNetworks(space, layout_of(space), [choices.tolist() for choices in space.allowed])
    encodings = reference.draw(count, np.random.default_rng(seed))
    values = space.madds(encodings) if metric == "madds" else parameters(space, encodings)
    return MetricSample(encodings, values / 1e6, False)
