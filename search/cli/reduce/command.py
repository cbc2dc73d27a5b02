"""`mhmodels search reduce`: removes blocks and last layers that do not pay on some hardware, and writes the reduced space."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from mhmodels.cli.common import FiniteRange, OutputFile, check_places, emit_json, json_option, note, working
from mhmodels.search.cli import device_latencies
from mhmodels.search.cli.device_latencies import DeviceOptions, profiled_device_options
from mhmodels.search.cli.options import conditions, confidence_of, given_options, space_option, where_option

if TYPE_CHECKING:
    from mhmodels.search.reduction.reduction import HardwareAggregate, Scope
    from mhmodels.search.space.search_space import SearchSpace


@click.command("reduce")
@space_option
@profiled_device_options(
    "Latencies of networks in the formats of `search fit --data`; may be repeated. A column `hardware` names the device of each "
    "row. Default: the collections of the space that come with the package."
)
@where_option
@click.option(
    "--accuracy",
    default=None,
    metavar="FILE.csv",
    help="Accuracies of networks: a table with the columns `encoding` and `accuracy`, in any unit. `published`: the block means "
    "of arXiv 2109.12426, for ofa_mobilenet_v3. Required, except with --rule.",
)
@click.option(
    "--rule",
    default=None,
    metavar="NAME",
    help="Apply a published reduction in place of measurements, for example kirin9000-npu; `mhmodels search space` lists them.",
)
@click.option(
    "--aggregate",
    type=click.Choice(["avg", "worst"]),
    default="avg",
    show_default=True,
    help="How several hardware count: avg averages their relative latencies; worst removes only what loses on each of them.",
)
@click.option(
    "--per",
    type=click.Choice(["unit", "network"]),
    default="unit",
    show_default=True,
    help="Where a block is judged and removed: in each unit, or in all units at once, which needs fewer measurements.",
)
@click.option(
    "--rate",
    type=FiniteRange(0, 1),
    default=0.25,
    show_default=True,
    help="Share of the exchange rate, the accuracy that better steps between blocks buy for latency, below which a block is too "
    "dear: from 0 (only blocks without any gain of accuracy go) to 1.",
)
@click.option(
    "--depth-rate",
    type=FiniteRange(0, 1),
    default=0.75,
    show_default=True,
    help="The same share for the last layer of a unit, from 0 to 1; its rate is that of blocks and layers together.",
)
@click.option(
    "--least-share",
    type=FiniteRange(0, 1),
    default=0.01,
    show_default=True,
    help="Smallest difference of latency in a unit that counts, as a share of the mean network's latency, for example 0.01 for "
    "1 %.",
)
@confidence_of(0.95)
@click.option(
    "-o",
    "--output",
    type=OutputFile(".json"),
    default=None,
    metavar="FILE.json",
    help="Write the reduced space to this file, which every --space takes. Default: only print.",
)
@json_option
def reduce_command(
    space_name: str,
    data: tuple[Path, ...],
    store: str | None,
    listed: tuple[str, ...],
    where: tuple[str, ...],
    accuracy: str | None,
    rule: str | None,
    aggregate: str,
    per: str,
    rate: float,
    depth_rate: float,
    least_share: float,
    confidence: float,
    output: Path | None,
    as_json: bool,
) -> None:
    """Cut a space to the blocks and depths that pay on given hardware, by measurements of whole networks.

    A block goes where a faster block of the same unit is clearly faster and the accuracy that it costs is clearly too small: less
    than a share (--rate) of what other decisions buy for that latency. The last layer of a unit goes by the same test. Two blocks
    and two depths remain of every unit.

    Example: mhmodels search reduce --space nas_bench_macro --accuracy accuracies.csv -o reduced.json
    """
    from mhmodels.search.cli.reduce import display, inputs
    from mhmodels.search.space.loading import load_space

    read = [Path(word) for word in (accuracy, space_name) if word is not None and word.endswith((".csv", ".json"))]
    check_places({"-o": output}, [*read, *device_latencies.files_read(data, store)])
    space = load_space(space_name)
    if rule is not None:
        inputs.refuse_with_rule(given_options(click.get_current_context()))
        reduced = inputs.by_rule(space, rule)
        document = display.rule_document(space, reduced, rule)
    else:
        if accuracy is None:
            raise click.UsageError(
                "--accuracy FILE.csv is missing: without accuracies every slow block would look needless; `--accuracy published` "
                "has those of ofa_mobilenet_v3, --rule applies a published reduction"
            )
        devices = DeviceOptions(data, store, listed, None, where)
        profiles = inputs.profiles(space, devices, conditions(where), accuracy, confidence)
        with working(f"reducing {space.name}"):
            from mhmodels.search.reduction.rule import reduce_space

            found = reduce_space(
                space,
                profiles.latency,
                profiles.accuracy,
                aggregate=cast("HardwareAggregate", aggregate),
                per=cast("Scope", per),
                rate=rate,
                depth_rate=depth_rate,
                least_share=least_share,
            )
        reduced = found.restrict(space)
        document = display.document(found)
    if output is not None:
        _write(output, reduced, document)
    if as_json:
        emit_json({**document, "path": None if output is None else str(output)})
    elif rule is not None:
        display.show_rule(space, reduced, rule)
    else:
        display.show(found, profiles, space, reduced)


def _write(path: Path, reduced: SearchSpace, document: dict[str, object]) -> None:
    from mhmodels.search.space.space_file import space_file
    from mhmodels.system.files import write_atomically

    provenance = {name: value for name, value in document.items() if name not in ("space", "schema", "allowed")}
    write_atomically(path, space_file(reduced, provenance))
    note(f"written to {path}: `--space {path}` of every command takes it")
