"""`mhmodels search monotonicity`: whether devices rank networks alike, so that one can stand for another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mhmodels.cli.common import FiniteRange, check_places, emit_json, json_option, note, working
from mhmodels.search.cli import device_latencies
from mhmodels.search.cli.device_latencies import DeviceOptions, device_options
from mhmodels.search.cli.options import PICTURE, conditions, confidence_option, space_option

if TYPE_CHECKING:
    from mhmodels.search.adaptation.monotonicity import DevicePair, MonotonicityMatrix


@click.command("monotonicity")
@space_option
@device_options
@click.option(
    "--threshold",
    type=FiniteRange(0, 1, min_open=True, max_open=True),
    default=0.9,
    show_default=True,
    help="Rank correlation from which the latencies of one device can stand for those of another.",
)
@confidence_option
@click.option(
    "--plot",
    type=PICTURE,
    default=None,
    metavar="FILE.png",
    help="Draw a heat map of the rank correlations of all devices to this file (.png, .svg or .pdf).",
)
@json_option
def monotonicity_command(
    space_name: str, devices: DeviceOptions, threshold: float, confidence: float, plot: Path | None, as_json: bool
) -> None:
    """Test whether devices rank the networks of a space alike, so that the latencies of one can stand for those of another.

    The rank correlation (Spearman) of each two devices has a confidence interval, which decides: `reuse` (it lies at or above the
    threshold), `adapt` (it lies below), or `measure more` (it contains the threshold).
    """
    from mhmodels.search.adaptation.monotonicity import monotonicity_matrix
    from mhmodels.search.cli.monotonicity_tables import print_pairs
    from mhmodels.search.space.loading import load_space

    space = load_space(space_name)
    where = conditions(devices.where)
    check_places({"--plot": plot}, device_latencies.files_read(devices.data, devices.store))
    found = device_latencies.read(space, devices, where)
    with working(f"comparing {len(found)} devices"):
        result = monotonicity_matrix(found, threshold=threshold, confidence=confidence)
    pairs = [pair for pair in result.pairs if devices.source in (None, pair.first, pair.second)]
    if as_json:
        emit_json(document(space.name, result, pairs))
    else:
        print_pairs(space.name, pairs, result)
    if plot is not None:
        from mhmodels.search.adaptation.heat_map import heat_map

        heat_map(result, plot, f"Latency monotonicity on {space.name}")
        note(f"drawn to {plot}")


def document(space: str, result: MonotonicityMatrix, pairs: list[DevicePair]) -> dict[str, object]:
    """The result as JSON values.

    Args:
        space: Name of the space.
        result: Comparison of all devices.
        pairs: Pairs of it that were asked for.
    """
    return {
        "space": space,
        "threshold": result.threshold,
        "confidence": result.confidence,
        "hardware": result.hardware,
        "matrix": result.matrix,
        "pairs": pairs,
    }
