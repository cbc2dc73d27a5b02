"""A collection as a table for others: CSV, with what it came from in a JSON file beside it."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from mhmodels.hardware import Environment, Measurement
from mhmodels.hardware.conditions import mixture
from mhmodels.hardware.host.timing import relative_standard_error
from mhmodels.hardware.host.turns import ReferenceSpeed, common_reference_speed, steady_ms, uncertainty
from mhmodels.search.collecting.plan import WEIGHTS, Plan, Settings, notes
from mhmodels.search.collecting.plan import target as plan_target
from mhmodels.search.cost_model.latencies.baselines import baselines_of
from mhmodels.search.errors import CostModelError
from mhmodels.search.space.search_space import Space
from mhmodels.store import Store
from mhmodels.system.files import write_atomically
from mhmodels.version import __version__

FORMAT = "mhmodels.latencies/1"
COLUMNS = ("encoding", "distribution", "hardware", "kind", "ms", "unrest", "reference_ms", "time")


def write_table(
    path: Path, plan: Plan, space: Space, store: Store, settings: Settings, about: Mapping[str, Any]
) -> dict[str, int]:
    """Writes the rows that the store has of a plan's networks, in the order in which they were drawn.

    `ms` is empty where a network does not run; of rows timed in turns with a reference network it is at their common pace
    (`hardware.host.turns`), which the provenance names. `unrest` is the relative standard error of these; else that of the row
    (`mhmodels.hardware.host.timing.relative_standard_error`), empty where nothing was timed. `reference_ms` is what the
    reference network took around that time.

    Args:
        path: `FILE.csv`; `FILE.json` beside it gets the provenance.
        plan: whose networks and hardware.
        space: of the networks.
        store: with the rows.
        settings: how they were measured.
        about: how they were drawn, for the provenance.

    Returns:
        Rows by hardware.

    Raises:
        CostModelError: rows of one hardware come from several environments.
        MeasurementError: they were timed beside different references.
        OSError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    counts, environments, paces, baselines = {}, {}, {}, {}
    for target in plan.targets:
        name = target.hardware.id
        # What was there when the plan was made, and what came since.
        now = plan_target(target.hardware, target.runner, target.environment, plan.everything, store, settings).rows
        environments[name] = _environment(name, list(now.values()))
        rows = {network.id: now[network.id] for network in plan.networks if network.id in now}
        paces[name] = common_reference_speed(list(rows.values()))
        counts[name] = len(rows)
        baselines[name] = baselines_of([now[one.id] for one in plan.baselines if one.id in now], paces[name])
        for network in plan.networks:
            if network.id in rows:
                writer.writerow([network.label.partition(":")[2], network.distribution, *_cells(rows[network.id], paces[name])])
    provenance = {
        "format": FORMAT,
        "space": space.name,
        "schema": space.schema,
        **about,
        "networks": len(plan.networks),
        "rows": counts,
        "weights": WEIGHTS,
        "environments": environments,
        "baselines": baselines,
        "paces": {name: pace for name, pace in paces.items() if pace is not None},
        "mhmodels_version": __version__,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_atomically(path, text.getvalue().encode())
    write_atomically(path.with_suffix(".json"), msgspec.json.format(msgspec.json.encode(provenance), indent=1) + b"\n")
    return counts


def _cells(row: Measurement, pace: ReferenceSpeed | None) -> list[str]:
    ms = steady_ms(row, pace)
    return [row.hardware, row.kind, "" if ms is None else f"{ms:.7g}", *_disturbance(row), row.time[:19]]


def _disturbance(row: Measurement) -> tuple[str, str]:
    """The columns `unrest` and `reference_ms`."""
    if row.turns is not None:
        return f"{uncertainty(row.turns):.4f}", f"{statistics.median(row.turns.reference_ms):.7g}"
    reference = notes(row).get("reference_ms")
    return "" if row.mad_ratio is None else f"{relative_standard_error(row):.4f}", f"{reference:.7g}" if isinstance(
        reference, float
    ) else ""


def _environment(name: str, rows: Sequence[Measurement]) -> Environment | None:
    found = mixture(rows)
    if found is not None:
        raise CostModelError(
            f"rows of {name} come from different conditions: {found}; write a table of those of one machine, by giving the same "
            "command there"
        )
    return next((row.environment for row in sorted(rows, key=lambda row: not row.supported)), None)
