"""`mhmodels search`: spaces, samples, cost models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

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
from mhmodels.cli.messages import OptionNamingGroup
from mhmodels.cli.phones import PhoneOptions, phone_options
from mhmodels.errors import MhmodelsError
from mhmodels.search.cli.run import resume_command, run_command, show_command

if TYPE_CHECKING:
    from mhmodels.search.cost_model.model import CostModel
    from mhmodels.search.cost_model.predicting import PredictedRow

F = TypeVar("F", bound=Callable[..., Any])
_FILE = click.Path(path_type=Path, dir_okay=False)


def _space_option(command: F) -> F:
    return click.option("--space", "space_name", required=True, metavar="NAME", help="See `mhmodels search space`.")(command)


def _plot_option(command: F) -> F:
    kind = OutputFile(".png", ".svg", ".pdf")
    return click.option("--plot", type=kind, default=None, metavar="FILE.png", help="Predicted against true, unseen networks.")(
        command
    )


def _where_option(command: F) -> F:
    return click.option(
        "--where",
        multiple=True,
        metavar="FIELD=VALUE",
        help="Only rows of the store that were taken in this condition, for example configuration.mode=sustained or threads=1.",
    )(command)


def _limits_options(command: F) -> F:
    command = click.option(
        "--hardware",
        "limits",
        multiple=True,
        metavar="ID...",
        help="Only what all of these run: declared profiles (pixel4-edgetpu-2020, hexagon-2020), or hardware ids.",
    )(command)
    return click.option("--probe", is_flag=True, help="Find out what hardware without a profile runs, by exported probes.")(
        command
    )


@click.group("search", cls=OptionNamingGroup, context_settings={"help_option_names": ["-h", "--help"]})
def search() -> None:
    """Search spaces, cost models, and the search for networks that suit several hardware.

    From nothing to a cost model: `collect` latencies of sampled networks, `fit`, `validate`, `predict`.
    """


for _command in (run_command, resume_command, show_command):
    search.add_command(_command)


@search.command("space")
@click.argument("words", nargs=-1, metavar="[NAME]")
@_limits_options
@click.option("--member", "members", multiple=True, metavar="MODEL", help="Say whether MODEL is a member and runs there.")
@json_option
def space_command(words: tuple[str, ...], limits: tuple[str, ...], probe: bool, members: tuple[str, ...], as_json: bool) -> None:
    """One search space: its decisions, its exact size, what hardware takes away from it. Without NAME: all of them."""
    from mhmodels.search.cli import spaces as space_cli
    from mhmodels.search.space.catalogue import get_space, space_makers

    spaces = [get_space(words[0])] if words else [get_space(one) for one in space_makers()]
    if not words:
        if limits or members:
            raise click.UsageError("--hardware and --member need the NAME of a space")
        if as_json:
            emit_json({"spaces": [space_cli.document(space) for space in spaces]})
            return
        console().print(space_cli.listing(spaces))
        return
    profiles = space_cli.profiles((*limits, *words[1:]), probe)  # `--hardware A B` as well as A,B
    space, removals = space_cli.restricted(spaces[0], profiles)
    checked = [space_cli.membership(space, model, profiles) for model in members]
    if as_json:
        emit_json({**space_cli.document(space), "removed": [removal._asdict() for removal in removals], "members": checked})
        return
    space_cli.show(space, removals, checked)


@search.command("sample")
@_space_option
@click.option("-n", "count", type=click.IntRange(1, 10_000_000), required=True, help="How many networks.")
@click.option(
    "--distribution",
    default=None,
    metavar="uniform|depth-uniform|window=A:B|mixed",
    help="Window in MAdds of MobileNetV1; mixed is half depth-uniform, half window=0.5:2.  [default: mixed; uniform for tables, "
    "small networks, whole spaces]",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Random seed of sampling.")
@_limits_options
@click.option("-o", "--output", type=OutputFile(), required=True, metavar="FILE.jsonl", help="JSON lines, one a network.")
@json_option
def sample_command(
    space_name: str,
    count: int,
    distribution: str | None,
    seed: int,
    limits: tuple[str, ...],
    probe: bool,
    output: Path,
    as_json: bool,
) -> None:
    """Draw different networks from a space, reproducibly."""
    from mhmodels.search.cli import spaces as space_cli
    from mhmodels.search.cost_model.latencies.samples import write_samples
    from mhmodels.search.space.catalogue import get_space
    from mhmodels.search.space.sampling import sample

    space, _ = space_cli.restricted(get_space(space_name), space_cli.profiles(limits, probe))
    drawn = sample(space, count, seed, distribution)
    write_samples(drawn, space, output)
    counts = {name: drawn.distributions.count(name) for name in dict.fromkeys(drawn.distributions)}
    if as_json:
        emit_json({"path": str(output), "space": space.name, "schema": space.schema, "n": count, "distributions": counts})
        return
    note(f"{output}: {count} networks of {space.name} ({', '.join(f'{n} {name}' for name, n in counts.items())})")


@search.command("collect")
@click.argument("words", nargs=-1, metavar="[ID]...")
@_space_option
@click.option("-n", "count", type=click.IntRange(1, 10_000_000), default=None, help="How many networks; drawn as by `sample`.")
@click.option("--distribution", default=None, metavar="NAME", help="Distribution to sample from, as in `search sample`.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Random seed of sampling.")
@click.option("--samples", type=_FILE, default=None, metavar="FILE.jsonl", help="These networks in place of drawn ones.")
@click.option("--hardware", "listed", multiple=True, metavar="ID...", help="Where to measure. [default: the default five]")
@click.option("--runs", type=click.IntRange(20, 100_000), default=50, show_default=True, help="Timed runs a block.")
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True, help="Threads of the runtime.")
@click.option(
    "--reference",
    default=None,
    metavar="MODEL",
    help="Model to time in turns with each network; '' for none. Default: mobilenet_v2.",
)
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    metavar="MODEL",
    help="Zoo network to measure beside the samples as a reference latency of rewards; '' for none. Default: mobilenet_v1 if its "
    "input size fits.",
)
@click.option(
    "--interval",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="On phones: networks between two measurements of the reference.",
)
@click.option(
    "--patience", type=FiniteRange(0, 3600), default=10.0, show_default=True, help="Seconds to wait for a quiet machine."
)
@click.option("--once", is_flag=True, help="Measure nothing a second time: neither noisy rows nor outliers.")
@click.option("--scheduler", default=None, metavar="ADDRESS", help="Address of a dask.distributed cluster to measure on.")
@click.option("-o", "--output", type=OutputFile(".csv"), default=None, metavar="FILE.csv", help="All rows of these networks.")
@phone_options
@store_option
@json_option
def collect_command(
    words: tuple[str, ...],
    space_name: str,
    count: int | None,
    distribution: str | None,
    seed: int,
    samples: Path | None,
    listed: tuple[str, ...],
    runs: int,
    threads: int,
    reference: str | None,
    baselines: tuple[str, ...],
    interval: int,
    patience: float,
    once: bool,
    scheduler: str | None,
    output: Path | None,
    phones: PhoneOptions,
    store: str | None,
    as_json: bool,
) -> None:
    """Measure many networks on much hardware, for cost models.

    Every row is stored as it comes and no network is measured twice on a hardware, so a run that ended, however it ended,
    goes on when the same command is given again. Networks that were noisy are then tried once more. Exit code 1 if a
    hardware vanished or networks failed, after all others are done.
    """
    if (count is None) == (samples is None):
        raise click.UsageError("give either -n or --samples")
    if samples is not None and distribution is not None:
        raise click.UsageError("--distribution is for -n: the networks of --samples are drawn already")
    from mhmodels.cli.phones import hardware_ids, phone_runner, wanted, with_phones
    from mhmodels.hardware import DEFAULT_HARDWARE
    from mhmodels.search.cli import collect_display as collect_cli
    from mhmodels.search.collecting.plan import REFERENCE, CollectSettings, usual_baselines
    from mhmodels.search.space.catalogue import get_space

    if output is not None:
        collect_cli.check_output(output, (samples, None if store is None else Path(store)))
    space, runner = get_space(space_name), phone_runner(phones, store)
    ids = [part for value in (*listed, *words) for part in value.split(",") if part]
    ids += hardware_ids(wanted(phones, runner), runner)
    settings = CollectSettings(
        runs=runs,
        threads=threads,
        reference=REFERENCE if reference is None else reference,
        interval=interval,
        patience_s=patience,
        again=not once,
        baselines=tuple(filter(None, baselines)) if baselines else usual_baselines(space),
    )
    draw = samples if samples is not None else (count or 0, seed, distribution)
    collect_cli.run(space, draw, ids or DEFAULT_HARDWARE, store, settings, scheduler, output, as_json, with_phones(runner))


@search.command("fit")
@click.option(
    "--data", type=_FILE, default=None, metavar="FILE", help="JSON lines, .csv or .tsv: encoding or architecture, and ms."
)
@store_option
@_space_option
@click.option("--hardware", "hardware_id", required=True, metavar="ID", help="Hardware of the latencies.")
@_where_option
@click.option(
    "--form",
    type=click.Choice(["structural", "coupled", "pairwise"]),
    default=None,
    help="Form of the model. Default: pairwise for tabular spaces, else structural.",
)
@click.option(
    "--error",
    type=click.Choice(["relative", "absolute"]),
    default="relative",
    show_default=True,
    help="Error that the fit minimises: relative (ms/ms) or absolute (ms).",
)
@click.option("--nonnegative", is_flag=True, help="Rule out weights below 0.")
@click.option("--held-out", type=FiniteRange(0.01, 0.9), default=0.2, show_default=True, help="Share of held-out networks.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Random seed of the split.")
@click.option(
    "--kind", type=click.Choice(["measured", "estimated", "simulated"]), default=None, help="Kind of the latencies in --data."
)
@_plot_option
@click.option("-o", "--output", type=OutputFile(".json"), required=True, metavar="model.json", help="The cost model.")
@json_option
def fit_command(
    data: Path | None,
    store: str | None,
    space_name: str,
    hardware_id: str,
    where: tuple[str, ...],
    form: Any,
    error: Any,
    nonnegative: bool,
    held_out: float,
    seed: int,
    kind: Any,
    plot: Path | None,
    output: Path,
    as_json: bool,
) -> None:
    """Fit a cost model to latencies of sampled networks, and say how well it does on networks that it has not seen."""
    from mhmodels.search.cli import cost_models as cost_model_cli
    from mhmodels.search.cost_model.fitting import FitOptions, fit
    from mhmodels.search.space.catalogue import get_space
    from mhmodels.system.files import write_atomically

    check_places({"-o": output, "--plot": plot}, cost_model_cli.sources(data, store))
    space = get_space(space_name)
    found = cost_model_cli.latencies(space, data, store, hardware_id, kind, cost_model_cli.conditions(where))
    for remark in found.remarks:
        note(remark)
    options = FitOptions(form=form, error=error, nonnegative=nonnegative, held_out=held_out, seed=seed)
    with working(f"fitting to {len(found.ms)} networks"):
        doubts = cost_model_cli.unit_doubts(space, found, store)
        result = fit(space, found.encodings, found.ms, found.origin, options, found.distributions, doubts)
    for warning in result.warnings:
        note(f"warning: {warning}")
    write_atomically(output, result.model.to_json())
    note(f"written to {output}")
    if as_json:
        emit_json(cost_model_cli.fit_document(result, output, plot))
    else:
        cost_model_cli.show_fit(result.model)
    cost_model_cli.draw(plot, result)
    cost_model_cli.tell_doubts(result.model)


@search.command("validate")
@click.option("--cost-model", "model_path", type=_FILE, required=True, metavar="model.json", help="The cost model.")
@click.option("--data", type=_FILE, default=None, metavar="FILE", help="Other networks with latencies, as for `fit`.")
@store_option
@click.option("--space", "space_name", default=None, metavar="NAME", help="Space of the data's encodings. Default: the model's.")
@click.option("--hardware", "hardware_id", default=None, metavar="ID", help="Hardware of the latencies. Default: the model's.")
@_where_option
@_plot_option
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
    """Compare a cost model with latencies that it was not fitted to."""
    import msgspec
    import numpy as np

    from mhmodels.search.cli import cost_models as cost_model_cli
    from mhmodels.search.cost_model.fitting import Fit
    from mhmodels.search.cost_model.latencies.dataset import unseen_latencies
    from mhmodels.search.cost_model.model import load_cost_model, naming
    from mhmodels.search.cost_model.regression.robust import far_off
    from mhmodels.search.cost_model.statistics import statistics
    from mhmodels.search.space.catalogue import get_space

    check_places({"--plot": plot}, (model_path, *cost_model_cli.sources(data, store)))
    model = load_cost_model(model_path)
    space = get_space(space_name or model.space)
    with naming(model_path):
        model.check(space=space, hardware=hardware_id)
    chosen = cost_model_cli.conditions(where)
    found = unseen_latencies(cost_model_cli.latencies(space, data, store, model.hardware, None, chosen), model, space)
    for remark in found.remarks:
        note(remark)
    predicted = model.bind(space).predict(found.encodings)
    absurd = far_off(found.ms, predicted, float(np.median(predicted)) / 4)
    report = statistics(found.ms, predicted, ~absurd)
    for doubt in (*cost_model_cli.unit_doubts(space, found, store), *model.doubts):
        note(f"WARNING: {doubt}")
    judged = msgspec.structs.replace(model, held_out=report)
    cost_model_cli.draw(plot, Fit(judged, found.ms, predicted, np.arange(len(found.ms)), (), absurd))
    if as_json:
        emit_json({"cost_model": str(model_path), "hardware": model.hardware, "space": space.name, "statistics": report})
        return
    console().print(cost_model_cli.statistics_table([(f"{report.n} networks", report)]))


@search.command("predict")
@click.argument("models", nargs=-1, metavar="MODEL...")
@click.option(
    "--cost-model",
    "paths",
    type=_FILE,
    multiple=True,
    required=True,
    metavar="model.json|ID",
    help="One or several; ID: one that comes with the package (ethos-u55-128, …).",
)
@click.option("--space", "space_name", default="multi_hardware", show_default=True, metavar="NAME", help="Of models named by ID.")
@click.option("--hardware", "hardware_ids", multiple=True, metavar="ID", help="Refuse cost models of any other hardware.")
@click.option("--samples", type=_FILE, default=None, metavar="FILE.jsonl", help="Networks as `search sample` writes them.")
@json_option
def predict_command(
    models: tuple[str, ...],
    paths: tuple[Path, ...],
    space_name: str,
    hardware_ids: tuple[str, ...],
    samples: Path | None,
    as_json: bool,
) -> None:
    """Latency from cost models, without building or measuring anything.

    A structural model takes any network at the input size that it was fitted for. Networks unlike the space that it was
    fitted on are predicted less well, and are marked as outside.

    If a MODEL is unknown, a cost model does not apply to it, or one of several cost models cannot be read, the others are
    still predicted; every failure is named at the end, and the exit code is 1.
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
        _print_predictions(rows, loaded, used)
    if failures:
        raise MhmodelsError("\n".join(_failure_text(failure) for failure in failures))


def _cost_model(space_name: str, word: Path, hardware_ids: tuple[str, ...]) -> CostModel:
    """Loads a cost model, and tells what must be known of it."""
    from mhmodels.search.cost_model.model import load_cost_model, naming
    from mhmodels.search.cost_model.shipping import model_path, remark_on

    path = model_path(space_name, word)
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
    """One failure as a line; an error that names a cost model's file needs no more."""
    if not failure["model"]:
        return failure["error"]
    return f"'{failure['model']}'{' on ' if failure['hardware'] else ''}{failure['hardware']}: {failure['error']}"


def _print_predictions(rows: list[PredictedRow], loaded: Sequence[CostModel], paths: Sequence[Path]) -> None:
    from rich.table import Table

    several = len({model.hardware for model in loaded}) < len(loaded)
    names = [f"{model.hardware}{f' ({path})' if several else ''}" for model, path in zip(loaded, paths, strict=True)]
    table = Table("model", *(f"{name}\nms, predicted" for name in names), "")
    for row in rows:
        values = [entry.ms for entry in row.latency_ms]
        cells = ["?" if value is None else f"{value:.4g}" for value in values]
        outside = ", ".join(dict.fromkeys(entry.space for entry in row.latency_ms if not entry.inside))
        unseen = ", ".join(dict.fromkeys(kind for entry in row.latency_ms for kind in entry.unseen))
        remarks = [f"outside {outside}" if outside else "", f"kernels never seen: {unseen}" if unseen else ""]
        table.add_row(row.model, *cells, "; ".join(remark for remark in remarks if remark))
    console().print(table, markup=False)  # names and labels are the user's
