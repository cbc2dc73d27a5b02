"""A collection as a table for others: a CSV file, and a JSON file beside it that says where the rows come from."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from mhmodels.hardware import Environment, Measurement
from mhmodels.hardware.host.timing import relative_standard_error
from mhmodels.hardware.host.turns import ReferenceSpeed, common_reference_speed, steady_ms, uncertainty
from mhmodels.hardware.measurement import RANDOM_WEIGHTS
from mhmodels.hardware.mixing import mixture
from mhmodels.search.collecting.plan import CollectPlan, CollectTarget, make_target
from mhmodels.search.collecting.settings import CollectSettings, notes
from mhmodels.search.cost_model.latencies.baselines import Baseline, baselines_of
from mhmodels.search.errors import CostModelError
from mhmodels.search.space.search_space import SearchSpace
from mhmodels.store import Store
from mhmodels.system.files import write_atomically
from mhmodels.version import __version__

FORMAT = "mhmodels.latencies/1"
COLUMNS = ("encoding", "distribution", "hardware", "kind", "ms", "unrest", "reference_ms", "time")


class _Part(NamedTuple):
    """The rows of one hardware, by network id, and what they have in common."""

    hardware: str
    rows: Mapping[str, Measurement]
    environment: Environment | None
    speed: ReferenceSpeed | None
    baselines: tuple[Baseline, ...]


def write_table(
    path: Path, plan: CollectPlan, space: SearchSpace, store: Store, settings: CollectSettings, about: Mapping[str, object]
) -> dict[str, int]:
    """Writes the stored rows of a plan's networks, in the order of the sample.

    The columns of the table:

    - `ms`: latency, empty where the hardware does not run the network. Rows that were timed in turns with a reference network are
      converted to a common reference speed (`mhmodels.hardware.host.turns`), which the provenance states.
    - `unrest`: relative standard error of `ms`, empty where nothing was timed.
    - `reference_ms`: latency of the reference network at that time.

    Args:
        path: `FILE.csv`. The provenance is written to `FILE.json` beside it.
        plan: Networks and hardware.
        space: Space of the networks.
        store: Store of the rows.
        settings: How they were measured.
        about: How the networks were drawn, for the provenance.

    Returns:
        Number of rows by hardware id.

    Raises:
        CostModelError: Rows of one hardware were measured in different conditions (`Measurement.conditions`).
        MeasurementError: Rows of one hardware were timed beside different references.
        OSError: A file cannot be written.
    """
    parts = [_part(plan, target, store, settings) for target in plan.targets]
    provenance = {
        "format": FORMAT,
        "space": space.name,
        "schema": space.schema,
        **about,
        "networks": len(plan.networks),
        "rows": {part.hardware: len(part.rows) for part in parts},
        "weights": RANDOM_WEIGHTS,
        "environments": {part.hardware: part.environment for part in parts},
        "baselines": {part.hardware: part.baselines for part in parts},
        "paces": {part.hardware: part.speed for part in parts if part.speed is not None},
        "mhmodels_version": __version__,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_atomically(path, _csv(plan, parts).encode())
    write_atomically(path.with_suffix(".json"), msgspec.json.format(msgspec.json.encode(provenance), indent=1) + b"\n")
    return {part.hardware: len(part.rows) for part in parts}


def _part(plan: CollectPlan, target: CollectTarget, store: Store, settings: CollectSettings) -> _Part:
    name = target.hardware.id
    # The plan knows the rows from before the collection only, so the store is asked again.
    stored = make_target(target.hardware, target.runner, target.environment, plan.everything, store, settings).rows
    environment = _environment(name, list(stored.values()))
    rows = {network.id: stored[network.id] for network in plan.networks if network.id in stored}
    speed = common_reference_speed(list(rows.values()))
    return _Part(
        name, rows, environment, speed, baselines_of([stored[one.id] for one in plan.baselines if one.id in stored], speed)
    )


def _csv(plan: CollectPlan, parts: Sequence[_Part]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for part in parts:
        for network in plan.networks:
            row = part.rows.get(network.id)
            if row is not None:
                writer.writerow([network.label.partition(":")[2], network.distribution, *_cells(row, part.speed)])
    return text.getvalue()


def _cells(row: Measurement, speed: ReferenceSpeed | None) -> list[str]:
    """The columns from `hardware` on."""
    ms = steady_ms(row, speed)
    return [row.hardware, row.kind, "" if ms is None else f"{ms:.7g}", *_disturbance(row), row.time[:19]]


def _disturbance(row: Measurement) -> tuple[str, str]:
    """The columns `unrest` and `reference_ms`."""
    if row.turns is not None:
        return f"{uncertainty(row.turns):.4f}", f"{statistics.median(row.turns.reference_ms):.7g}"
    reference = notes(row).get("reference_ms")
    error = "" if row.mad_ratio is None else f"{relative_standard_error(row):.4f}"
    return error, f"{reference:.7g}" if isinstance(reference, float) else ""


def _environment(name: str, rows: Sequence[Measurement]) -> Environment | None:
    """The common environment of rows, supported ones first."""
    found = mixture(rows)
    if found is not None:
        raise CostModelError(
            f"rows of {name} come from different conditions: {found}; write a table of those of one machine, by giving the same "
            "command there"
        )
    return next((row.environment for row in sorted(rows, key=lambda row: not row.supported)), None)
