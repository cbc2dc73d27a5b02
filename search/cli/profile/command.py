"""`mhmodels search profile`: what each block at each layer does to the latency of whole networks, or to another metric."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mhmodels.cli.common import check_places, emit_json, json_option, note, working
from mhmodels.search.cli import device_latencies
from mhmodels.search.cli.device_latencies import DeviceOptions, profiled_device_options
from mhmodels.search.cli.options import (
    PICTURE,
    conditions,
    confidence_option,
    seed_option,
    space_option,
    where_option,
)

if TYPE_CHECKING:
    from mhmodels.search.profiling.block_profile import BlockProfile


@click.command("profile")
@space_option
@profiled_device_options(
    "Latencies of networks in the formats of `search fit --data`, or any table with a column for --metric; may be repeated. "
    "A column `hardware` names the device of each row. Default: the collections of the space that come with the package."
)
@where_option
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
    help="Number of networks to sample for --metric madds or params.",
)
@seed_option("for sampling architectures (--metric madds or params)")
@confidence_option
@click.option(
    "--plot",
    type=PICTURE,
    default=None,
    metavar="FILE.png",
    help="Draw a heat map of the effects of blocks by layer, one for each hardware, to this file (.png, .svg or .pdf).",
)
@json_option
def profile_command(
    space_name: str,
    data: tuple[Path, ...],
    store: str | None,
    listed: tuple[str, ...],
    where: tuple[str, ...],
    metric: str,
    count: int,
    seed: int,
    confidence: float,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Profile the blocks of a space: what each block at each layer does to the latency of whole networks.

    All effects come from measurements of whole networks, by regression. They are differences from the mean network of the space,
    with intervals: an effect is clear where its interval does not contain 0.
    """
    from mhmodels.search.cli.profile import samples
    from mhmodels.search.cli.profile.tables import print_profile
    from mhmodels.search.cli.whole_space import whole_space

    space = whole_space(space_name)
    devices = DeviceOptions(data, store, listed, None, where)
    check_places({"--plot": plot}, device_latencies.files_read(data, store))
    found = samples.read(space, metric, devices, conditions(where), count, seed)
    with working(f"profiling {space.name}"):
        profiles = samples.profiled(space, found, confidence)
    unit = samples.unit_of(metric)
    if as_json:
        emit_json(document(space.name, metric, profiles))
    else:
        for name, one in profiles.items():
            print_profile(name, one, unit)
    if plot is not None:
        from mhmodels.search.profiling.heat_map import effect_map

        effect_map(profiles, plot, unit)
        note(f"drawn to {plot}")


def document(space: str, metric: str, profiles: dict[str, BlockProfile]) -> dict[str, object]:
    """The profiles as JSON values: a list by hardware, and for a single one its fields at the top as well.

    Args:
        space: Name of the space.
        metric: Name of the metric; the fields of latencies end with `_ms`.
        profiles: Profiles by name of the hardware, or of the metric.
    """
    from mhmodels.search.cli.profile.samples import fields_of

    listed = [{"name": name, **fields_of(one, metric)} for name, one in profiles.items()]
    single = listed[0] if len(listed) == 1 else {}
    return {**single, "space": space, "metric": metric, "hardware": listed}
