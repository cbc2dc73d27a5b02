"""`mhmodels search predict`: latencies from cost models, without measuring anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mhmodels.cli.common import console, emit_json, json_option, note
from mhmodels.errors import MhmodelsError
from mhmodels.search.cli.options import INPUT_FILE

if TYPE_CHECKING:
    from mhmodels.search.cost_model.model import CostModel
    from mhmodels.search.cost_model.predicting import PredictedLatency, PredictedRow


@click.command("predict")
@click.argument("models", nargs=-1, metavar="MODEL...")
@click.option(
    "--cost-model",
    "paths",
    type=INPUT_FILE,
    multiple=True,
    required=True,
    metavar="model.json|ID",
    help="Cost model: a file written by `search fit`, or the hardware id of a model in the package (ethos-u55-128, …); "
    "may be repeated.",
)
@click.option(
    "--space",
    "space_name",
    default="multi_hardware",
    show_default=True,
    metavar="NAME",
    help="Search space of the cost models that are given by hardware id.",
)
@click.option(
    "--hardware",
    "hardware_ids",
    multiple=True,
    metavar="ID",
    help="Accept only cost models of this hardware; may be repeated.",
)
@click.option(
    "--samples",
    type=INPUT_FILE,
    default=None,
    metavar="FILE.jsonl",
    help="Also predict the networks in this file, as written by `search sample`.",
)
@json_option
def predict_command(
    models: tuple[str, ...],
    paths: tuple[Path, ...],
    space_name: str,
    hardware_ids: tuple[str, ...],
    samples: Path | None,
    as_json: bool,
) -> None:
    """Predict latencies with cost models, without building or measuring anything.

    A structural cost model predicts any network of the input size that it was fitted for. Networks that are not members of the
    search space of the model are predicted less accurately, and are marked as outside.

    If a MODEL is unknown, a cost model does not apply to it, or one of several cost models cannot be read, the others are
    still predicted, every failure is listed at the end, and the exit code is 1.
    """
    if not models and samples is None:
        raise click.UsageError("nothing to predict: give a MODEL or --samples")
    from mhmodels.search.cost_model.predicting import predict_models, predict_samples

    failures: list[dict[str, str]] = []

    def failed(name: str, hardware: str, error: MhmodelsError) -> None:
        failures.append({"model": name, "hardware": hardware, "error": str(error)})

    loaded, used = [], []
    for word in paths:
        try:
            loaded.append(_cost_model(space_name, word, hardware_ids))
            used.append(word)
        except MhmodelsError as error:
            if len(paths) == 1:
                raise
            failed("", str(word), error)
    rows = predict_models(models, loaded, failed) + (predict_samples(samples, loaded) if samples is not None else [])
    if as_json:
        emit_json({"rows": rows, "failed": failures})
    elif rows:
        _show(rows, loaded, used)
    if failures:
        raise MhmodelsError("\n".join(_failure_text(failure) for failure in failures))


def _cost_model(space_name: str, word: Path, hardware_ids: tuple[str, ...]) -> CostModel:
    """Loads a cost model, and prints what must be known of it."""
    from mhmodels.search.cost_model.model import load_cost_model, naming
    from mhmodels.search.cost_model.shipping import model_path, remark_on
    from mhmodels.search.space.loading import load_space

    path = model_path(load_space(space_name).name, word)
    model = load_cost_model(path)
    with naming(path):
        if hardware_ids and model.hardware not in hardware_ids:
            model.check(hardware=hardware_ids[0])
    if remark := remark_on(model, path):
        note(remark)
    for doubt in model.doubts:
        note(f"warning: {path}: {doubt}")
    return model


def _failure_text(failure: dict[str, str]) -> str:
    """One failure as a line; an error that names the file of a cost model needs no more."""
    if not failure["model"]:
        return failure["error"]
    return f"'{failure['model']}'{' on ' if failure['hardware'] else ''}{failure['hardware']}: {failure['error']}"


def _show(rows: list[PredictedRow], loaded: Sequence[CostModel], paths: Sequence[Path]) -> None:
    """Prints a row for each network, a column for each cost model."""
    from rich.table import Table

    several = len({model.hardware for model in loaded}) < len(loaded)
    names = [f"{model.hardware}{f' ({path})' if several else ''}" for model, path in zip(loaded, paths, strict=True)]
    table = Table("model", *(f"{name}\nms, predicted" for name in names), "remark")
    for row in rows:
        cells = [_cell(entry) for entry in row.latency_ms]
        outside = ", ".join(dict.fromkeys(entry.space for entry in row.latency_ms if not entry.inside))
        unseen = ", ".join(dict.fromkeys(kind for entry in row.latency_ms for kind in entry.unseen))
        remarks = [f"outside {outside}" if outside else "", f"kernels never seen: {unseen}" if unseen else ""]
        table.add_row(row.model, *cells, "; ".join(remark for remark in remarks if remark))
    console().print(table, markup=False)  # names and labels are the user's


def _cell(entry: PredictedLatency) -> str:
    """A prediction in ms, with its 90 % interval where the cost model has one."""
    if entry.ms is None:
        return "?"
    known = entry.low_ms is not None and entry.high_ms is not None
    return f"{entry.ms:.4g} ({entry.low_ms:.3g} to {entry.high_ms:.3g})" if known else f"{entry.ms:.4g}"
