"""`mhmodels search adapt`: a cost model of a new hardware from other hardware and a few measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from mhmodels.cli.common import OutputFile, check_places, emit_json, json_option, note, working
from mhmodels.cli.phone_options import PhoneOptions, phone_settings_options
from mhmodels.search.cli.adapt.options import TargetOptions, target_options
from mhmodels.search.cli.options import conditions, plot_option, seed_option, space_option


@click.command("adapt")
@space_option
@click.option(
    "--source",
    "sources",
    multiple=True,
    required=True,
    metavar="FILE.csv|model.json|ID",
    help="Hardware to adapt from: a file of latencies (all hardware in it but the target), a cost model, or an id with a cost "
    "model in the package, rows in --store or a collection in the package, in this order; may be repeated.",
)
@target_options
@phone_settings_options
@click.option(
    "--method",
    type=click.Choice(["bayesian", "ada-proxy"]),
    default="bayesian",
    show_default=True,
    help="bayesian: Gaussian process whose prior is the sources and the structure of networks, with intervals. ada-proxy: as "
    "published (arXiv 2111.01203), from a single source.",
)
@seed_option("of the networks to choose from")
@plot_option
@click.option(
    "-o", "--output", type=OutputFile(".json"), required=True, metavar="model.json", help="File to write the cost model to."
)
@json_option
def adapt_command(
    space_name: str,
    sources: tuple[str, ...],
    target: TargetOptions,
    phones: PhoneOptions,
    method: Literal["bayesian", "ada-proxy"],
    seed: int,
    plot: Path | None,
    output: Path,
    as_json: bool,
) -> None:
    """Make a cost model of a new hardware from latencies of other hardware and 5 to 50 measurements.

    Networks to measure are chosen by what is still uncertain, in batches of five, and every latency is stored at once: the same
    command continues an interrupted run. If leave-one-out prediction finds the adaptation worse than a source whose latencies are
    only rescaled, the cost model is this source.

    Example: mhmodels search adapt --space multi_hardware --source ethos-u55-128 --target host-cpu-int8 -o host.json
    """
    import numpy as np

    from mhmodels.search.adaptation.sources import prepare_sources
    from mhmodels.search.cli import latency_data
    from mhmodels.search.cli.adapt import display
    from mhmodels.search.cli.adapt.source_words import read_sources
    from mhmodels.search.cli.adapt.target import open_target
    from mhmodels.search.cost_model.fitting import Fit
    from mhmodels.search.space.loading import load_space
    from mhmodels.system.files import write_atomically

    if target.hardware is None and target.data is None:
        raise click.UsageError("give a --target to measure on, or its latencies as --data FILE.csv")
    files = [Path(word) for word in sources if Path(word).suffix]
    check_places({"-o": output, "--plot": plot}, (*files, *latency_data.files_read(target.data, target.store)))
    space = load_space(space_name)
    where = conditions(target.where)
    opened = open_target(space, target, phones, where)
    found = read_sources(space, sources, opened.hardware, target.store)
    if method == "ada-proxy" and len(found) > 1:
        raise click.UsageError(f"--method ada-proxy adapts a single source, found {', '.join(found)}")
    with working(f"fitting {len(found)} sources"):
        prepared = prepare_sources(space, found)
    result = opened.adapt(prepared, seed)
    model = result.adapted.model
    if method == "ada-proxy":
        from mhmodels.search.adaptation.ada_proxy import ada_proxy

        model = ada_proxy(space, next(iter(found.values())), result.encodings, result.ms, opened.origin(result.encodings))
    write_atomically(output, model.to_json())
    note(f"written to {output}")
    document = display.document(prepared, result, model, output, plot)
    if as_json:
        emit_json(document)
    else:
        display.show(document, result, model)
    adapted = result.adapted
    latency_data.draw(plot, Fit(model, result.ms, adapted.predicted_ms, np.arange(len(result.ms)), (), adapted.set_aside))
    display.tell_doubts(prepared, result, model)
