"""`mhmodels search profile`: what each block at each layer does to the latency of whole networks, or to another metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mhmodels.cli.common import check_places, emit_json, json_option, working
from mhmodels.search.cli import device_latencies
from mhmodels.search.cli.device_latencies import DeviceOptions, profiled_device_options
from mhmodels.search.cli.options import (
    INPUT_FILE,
    PICTURE,
    conditions,
    confidence_option,
    seed_option,
    space_option,
    where_option,
)
from mhmodels.search.cli.profile.views import VIEWS

if TYPE_CHECKING:
    from mhmodels.search.profiling.block_profile import BlockProfile
    from mhmodels.search.profiling.shares import LayerShare


@click.command("profile")
@space_option
@profiled_device_options(
    "Latencies of networks in the formats of `search fit --data`, or any table with a column for --metric; may be repeated. "
    "A column `hardware` names the device of each row. Default: the collections of the space that come with the package."
)
@where_option
@click.option(
    "--cost-model",
    "cost_models",
    type=INPUT_FILE,
    multiple=True,
    metavar="model.json|ID",
    help="Profile what a cost model predicts for -n sampled networks, in place of measured latencies: a file written by "
    "`search fit`, or the hardware id of a model in the package (ethos-u55-128, …); may be repeated.",
)
@click.option(
    "--metric",
    default="latency",
    show_default=True,
    metavar="NAME",
    help="What is profiled: latency; madds or params, which are computed; or the name of a numeric column of --data, for example "
    "accuracy.",
)
@click.option(
    "-n",
    "count",
    type=click.IntRange(1, 100_000),
    default=2000,
    show_default=True,
    help="Number of networks to sample for --metric madds or params and for --cost-model.",
)
@seed_option("for sampling architectures (--metric madds or params, --cost-model)")
@confidence_option
@click.option(
    "--view",
    type=click.Choice(VIEWS),
    default=VIEWS[0],
    show_default=True,
    help="What to print and to draw: the ranking of the blocks with intervals; the map of all effects by block and layer; or the "
    "share of the mean network that each layer accounts for.",
)
@click.option(
    "--plot",
    type=PICTURE,
    default=None,
    metavar="FILE.png",
    help="Draw the view to this file (.png, .svg or .pdf).",
)
@json_option
def profile_command(
    space_name: str,
    data: tuple[Path, ...],
    store: str | None,
    listed: tuple[str, ...],
    where: tuple[str, ...],
    cost_models: tuple[Path, ...],
    metric: str,
    count: int,
    seed: int,
    confidence: float,
    view: str,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Profile the blocks of a space: what each block at each layer does to the latency of whole networks.

    All effects come from measurements of whole networks, by regression. They are differences from the mean network of the space,
    with intervals: an effect is clear where its interval does not contain 0.
    """
    from mhmodels.search.cli.profile import samples, views
    from mhmodels.search.cli.whole_space import whole_space

    space = whole_space(space_name)
    devices = DeviceOptions(data, store, listed, None, where)
    check_places({"--plot": plot}, [*device_latencies.files_read(data, store), *cost_models])
    found = samples.read(space, metric, devices, conditions(where), count, seed, cost_models)
    with working(f"profiling {space.name}"):
        profiles = samples.profiled(space, found, confidence)
        shares = samples.shares(space, metric, found, profiles, required=view == views.SHARE)
    unit = samples.unit_of(metric)
    if as_json:
        emit_json(document(space.name, metric, profiles, shares))
    else:
        views.show(view, profiles, shares, metric, unit)
    if plot is not None:
        views.draw(view, profiles, shares, metric, unit, plot)


def document(
    space: str, metric: str, profiles: Mapping[str, BlockProfile], shares: Mapping[str, Sequence[LayerShare]]
) -> dict[str, object]:
    """The profiles as JSON values: a list by hardware, and for a single one its fields at the top as well.

    Args:
        space: Name of the space.
        metric: Name of the metric; the fields of latencies end with `_ms`.
        profiles: Profiles by name of the hardware, or of the metric.
        shares: Shares of the layers by the same names; where there are none, the list is empty.
    """
    import msgspec

    from mhmodels.search.cli.profile.samples import fields_of

    listed = [
        {"name": name, **fields_of(one, metric), "shares": msgspec.to_builtins(shares.get(name, ()))}
        for name, one in profiles.items()
    ]
    single = listed[0] if len(listed) == 1 else {}
    return {**single, "space": space, "metric": metric, "hardware": listed}
