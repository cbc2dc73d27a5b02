"""`mhmodels search fit`: a cost model from the latencies of sampled networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from mhmodels.cli.common import (
    FiniteRange,
    OutputFile,
    check_places,
    console,
    emit_json,
    json_option,
    note,
    store_option,
    working,
)
from mhmodels.search.cli.options import INPUT_FILE, conditions, plot_option, seed_option, space_option, where_option

if TYPE_CHECKING:
    from mhmodels.hardware.measurement import MeasurementKind
    from mhmodels.search.cost_model.fitting import Fit
    from mhmodels.search.cost_model.forms import Form
    from mhmodels.search.cost_model.model import CostModel


@click.command("fit")
@click.option(
    "--data",
    type=INPUT_FILE,
    default=None,
    metavar="FILE",
    help="Latencies to fit to: a file of JSON lines, .csv or .tsv with columns `encoding` or `architecture`, and `ms`. "
    "Rows without a latency are looked up in --store. Default: all rows of the store.",
)
@store_option
@space_option
@click.option("--hardware", "hardware_id", required=True, metavar="ID", help="Id of the hardware whose latencies are fitted.")
@where_option
@click.option(
    "--form",
    type=click.Choice(["structural", "coupled", "pairwise"]),
    default=None,
    help="Form of the model: structural (features of operations; predicts any network), coupled (a weight per operation, "
    "position and pair of widths), pairwise (a weight per pair of choices). Default: pairwise for tabular spaces "
    "(nas_bench_201), else structural.",
)
@click.option(
    "--error",
    type=click.Choice(["relative", "absolute"]),
    default="relative",
    show_default=True,
    help="Error that the fit minimises: relative (ms/ms) or absolute (ms).",
)
@click.option("--nonnegative", is_flag=True, help="Exclude weights of the model below 0 ms.")
@click.option(
    "--held-out",
    type=FiniteRange(0.01, 0.9),
    default=0.2,
    show_default=True,
    help="Share of the networks that are held out of the fit, to compute the errors of the model, from 0.01 to 0.9.",
)
@seed_option("of the split into fitted and held-out networks", 2**32 - 1)
@click.option(
    "--kind",
    type=click.Choice(["measured", "estimated", "simulated"]),
    default=None,
    help="Kind of the latencies in --data: measured on a device, estimated by a compiler, or simulated by a roofline. "
    "Default: the kind of the hardware.",
)
@plot_option
@click.option(
    "-o", "--output", type=OutputFile(".json"), required=True, metavar="model.json", help="File to write the cost model to."
)
@json_option
def fit_command(
    data: Path | None,
    store: str | None,
    space_name: str,
    hardware_id: str,
    where: tuple[str, ...],
    form: Form | None,
    error: Literal["relative", "absolute"],
    nonnegative: bool,
    held_out: float,
    seed: int,
    kind: MeasurementKind | None,
    plot: Path | None,
    output: Path,
    as_json: bool,
) -> None:
    """Fit a cost model to the latencies of sampled networks, and report its errors on held-out networks."""
    from mhmodels.search.cli import latency_data
    from mhmodels.search.cli.whole_space import whole_space
    from mhmodels.search.cost_model.fitting import FitOptions, fit
    from mhmodels.system.files import write_atomically

    check_places({"-o": output, "--plot": plot}, latency_data.files_read(data, store))
    space = whole_space(space_name)
    found = latency_data.read(space, data, store, hardware_id, kind, conditions(where))
    for remark in found.remarks:
        note(remark)
    options = FitOptions(form=form, error=error, nonnegative=nonnegative, held_out=held_out, seed=seed)
    with working(f"fitting to {len(found.ms)} networks"):
        doubts = latency_data.unit_doubts(space, found, store)
        result = fit(space, found.encodings, found.ms, found.origin, options, found.distributions, doubts)
    for warning in result.warnings:
        note(f"warning: {warning}")
    write_atomically(output, result.model.to_json())
    note(f"written to {output}")
    if as_json:
        emit_json(document(result, output, plot))
    else:
        show(result.model)
    latency_data.draw(plot, result)
    _tell_doubts(result.model)


def document(result: Fit, output: Path, plot: Path | None) -> dict[str, object]:
    """The report on a fit as JSON values."""
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


def show(model: CostModel) -> None:
    """Prints the report on a fit."""
    from mhmodels.search.cli.statistics_table import statistics_table

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


def _tell_doubts(model: CostModel) -> None:
    """Prints last what speaks against a model."""
    for doubt in model.doubts:
        note(f"WARNING: {doubt}")
    if model.doubts:
        note("WARNING: the model file carries these warnings, and `search run` refuses it without --force")
