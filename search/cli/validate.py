"""`mhmodels search validate`: a cost model against latencies that it was not fitted to."""

from __future__ import annotations

from pathlib import Path

import click

from mhmodels.cli.common import check_places, console, emit_json, json_option, note, store_option
from mhmodels.search.cli.options import INPUT_FILE, conditions, plot_option, where_option


@click.command("validate")
@click.option(
    "--cost-model", "model_path", type=INPUT_FILE, required=True, metavar="model.json", help="File of the cost model to validate."
)
@click.option(
    "--data",
    type=INPUT_FILE,
    default=None,
    metavar="FILE",
    help="Latencies to compare with, in the formats of `search fit --data`; networks that the model was fitted to are "
    "left out. Default: all rows of the store.",
)
@store_option
@click.option(
    "--space", "space_name", default=None, metavar="NAME", help="Search space of the encodings. Default: the model's space."
)
@click.option(
    "--hardware", "hardware_id", default=None, metavar="ID", help="Id of the hardware of the latencies. Default: the model's."
)
@where_option
@plot_option
@json_option
def validate_command(
    model_path: Path,
    data: Path | None,
    store: str | None,
    space_name: str | None,
    hardware_id: str | None,
    where: tuple[str, ...],
    plot: Path | None,
    as_json: bool,
) -> None:
    """Compare the predictions of a cost model with latencies that it was not fitted to."""
    import msgspec
    import numpy as np

    from mhmodels.search.cli import latency_data
    from mhmodels.search.cli.statistics_table import statistics_table
    from mhmodels.search.cli.whole_space import whole_space
    from mhmodels.search.cost_model.fitting import Fit
    from mhmodels.search.cost_model.latencies.dataset import unseen_latencies
    from mhmodels.search.cost_model.model import load_cost_model, naming
    from mhmodels.search.cost_model.regression.robust import far_off
    from mhmodels.search.cost_model.statistics import statistics

    check_places({"--plot": plot}, (model_path, *latency_data.files_read(data, store)))
    model = load_cost_model(model_path)
    space = whole_space(space_name or model.space)
    with naming(model_path):
        model.check(space=space, hardware=hardware_id)
    chosen = conditions(where)
    found = unseen_latencies(latency_data.read(space, data, store, model.hardware, None, chosen), model, space)
    for remark in found.remarks:
        note(remark)
    with naming(model_path):
        predicted = model.bind(space).predict(found.encodings)
    implausible = far_off(found.ms, predicted, float(np.median(predicted)) / 4)
    report = statistics(found.ms, predicted, ~implausible)
    for doubt in (*latency_data.unit_doubts(space, found, store), *model.doubts):
        note(f"WARNING: {doubt}")
    judged = msgspec.structs.replace(model, held_out=report)
    latency_data.draw(plot, Fit(judged, found.ms, predicted, np.arange(len(found.ms)), (), implausible))
    if as_json:
        emit_json({"cost_model": str(model_path), "hardware": model.hardware, "space": space.name, "statistics": report})
        return
    console().print(statistics_table([(f"{report.n} networks", report)]))
