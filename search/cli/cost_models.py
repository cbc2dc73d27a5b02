"""How `mhmodels search fit` and `validate` find latencies and show what a cost model is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mhmodels.cli.common import console, note

if TYPE_CHECKING:
    from mhmodels.search.cost_model.fitting import Fit
    from mhmodels.search.cost_model.latencies.dataset import Latencies
    from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
    from mhmodels.search.cost_model.model import CostModel
    from mhmodels.search.cost_model.statistics import Statistics
    from mhmodels.search.space.search_space import Space


def sources(data: Path | None, store: str | None) -> list[Path]:
    """What `fit` and `validate` go by, with the provenance of a table of the same name: nothing may be written there."""
    from mhmodels.search.cost_model.latencies.provenance import is_provenance

    named = [path for path in (data, Path(store) if store is not None else None) if path is not None]
    return named + [beside for beside in (path.with_suffix(".json") for path in named) if is_provenance(beside)]


def conditions(values: Sequence[str]) -> dict[str, str]:
    """The `--where FIELD=VALUE` options by field.

    Raises:
        click.UsageError: not of that form, or a field twice.
    """
    found: dict[str, str] = {}
    for value in values:
        name, equals, wanted = value.partition("=")
        if not name or not equals or name in found:
            raise click.UsageError(f"--where is '{value}', expected FIELD=VALUE, each field once (configuration.mode=sustained)")
        found[name] = wanted
    return found


def latencies(
    space: Space, data: Path | None, store: str | None, hardware_id: str, kind: Any, where: Mapping[str, str]
) -> Latencies:
    """What `fit` and `validate` go by: a file (and a store for rows without a latency), or a store alone."""
    from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
    from mhmodels.search.cost_model.latencies.reading import read_latencies
    from mhmodels.search.cost_model.latencies.stored import stored_latencies
    from mhmodels.store import Store

    if data is None:
        with Store(store, read_only=True) as rows:
            return stored_latencies(rows, space, hardware_id, where)
    origin = _stated(LatencyOrigin(hardware_id), kind)
    if store is None and where:
        raise click.UsageError("--where chooses rows of a --store, expected one")
    if store is None:
        return read_latencies(data, space, origin)
    with Store(store, read_only=True) as rows:
        return read_latencies(data, space, origin, rows, where)


def _stated(origin: LatencyOrigin, kind: Any) -> LatencyOrigin:
    """The kind as stated, else that of known hardware: a compiler's estimates are not measurements."""
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


def unit_doubts(space: Space, found: Latencies, store: str | None) -> list[str]:
    """What shipped cost models and the store say against the unit of latencies; the store need not exist."""
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


def tell_doubts(model: CostModel) -> None:
    """Says last and loudest what speaks against a model."""
    for doubt in model.doubts:
        note(f"WARNING: {doubt}")
    if model.doubts:
        note("WARNING: the model file carries these warnings, and `search run` refuses it without --force")


def draw(path: Path | None, result: Fit) -> None:
    """Draws figure 4 where a path is given."""
    if path is not None:
        from mhmodels.search.cost_model.plot import scatter

        scatter(result.model, result.true_ms, result.predicted_ms, path)
        note(f"drawn to {path}")


def fit_document(result: Fit, output: Path, plot: Path | None) -> dict[str, Any]:
    """A fit's report as JSON values."""
    model = result.model
    return {
        "path": str(output),
        "plot": None if plot is None else str(plot),
        "space": model.space,
        "schema": model.schema,
        "hardware": model.hardware,
        "kind": model.kind,
        "form": model.form,
        "n": model.n,
        "strength": model.strength,
        "held_out": model.held_out,
        "by_distribution": model.by_distribution,
        "learning_curve": model.learning_curve,
        "baselines": model.baselines,
        "warnings": result.warnings,
        "doubts": model.doubts,
    }


def show_fit(model: CostModel) -> None:
    """Prints a fit's report."""
    out = console()
    # Names are the user's, and their brackets are no markup.
    out.print(
        f"{model.form} cost model of {model.hardware} ({model.kind}) on {model.space}, fitted to {model.n} networks", markup=False
    )
    if model.baselines:
        known = ", ".join(f"{one.model} {one.ms:.4g} ms" for one in model.baselines)
        out.print(f"measured beside them, for the C of rewards: {known}", markup=False)
    rows = [("held out", model.held_out), *((f"  {name}", report) for name, report in model.by_distribution.items())]
    rows += [(f"fitted to {point.n}", point.statistics) for point in model.learning_curve[:-1]]
    out.print(statistics_table(rows), markup=False)


def statistics_table(rows: list[tuple[str, Statistics]]) -> Any:
    """A row for each named report."""
    from rich.table import Table

    table = Table("", "networks", "set aside", "median APE", "MAPE", "RMSE ms", "within 10 %", "R²", "Spearman", "Kendall")
    for name, report in rows:
        ranks = ["" if value is None else f"{value:.4f}" for value in (report.r2, report.spearman, report.kendall)]
        median = "" if report.median_ape is None else f"{report.median_ape:.2%}"
        errors = f"{report.mape:.2%}", f"{report.rmse_ms:.4g}", f"{report.hit_rate_10:.1%}"
        table.add_row(name, str(report.n), str(report.set_aside or ""), median, *errors, *ranks)
    return table
