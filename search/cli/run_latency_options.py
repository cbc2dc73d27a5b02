"""Options of `search run` for latencies: cost models or a table, and the hardware that counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from mhmodels.cli.option_groups import option_group
from mhmodels.search.cli.options import INPUT_FILE


@dataclass(frozen=True)
class LatencyOptions:
    """Where latencies come from, and which hardware counts."""

    cost_models: tuple[Path, ...]
    latencies: Path | None
    force: bool
    hardware: tuple[str, ...]
    limits: tuple[str, ...]

    @property
    def hardware_ids(self) -> tuple[str, ...]:
        """Ids of the hardware, also of those that were joined by commas."""
        from mhmodels.hardware.collection import split_ids

        return tuple(split_ids(self.hardware))


latency_options = option_group(
    "latency",
    LatencyOptions,
    click.option(
        "--cost-model",
        "cost_models",
        type=INPUT_FILE,
        multiple=True,
        metavar="model.json|ID",
        help="Cost model that predicts the latencies on one hardware: a file written by `search fit`, or the hardware id of a "
        "model in the package (ethos-u55-128, …). Give one per hardware.",
    ),
    click.option(
        "--latencies",
        type=INPUT_FILE,
        default=None,
        metavar="FILE.npz|FILE.csv|NAME",
        help="Table of latencies, instead of cost models: the table of NAS-Bench-201 (.npz), a file written by `search "
        "collect -o` (.csv), or a table in the package (nas_bench_macro).",
    ),
    click.option("--force", is_flag=True, help="Use cost models even if their files mark them as doubtful."),
    click.option(
        "--hardware",
        multiple=True,
        metavar="ID",
        help="Ids of the hardware to search for, joined by commas; each must have a cost model or a column of the table. May "
        "be repeated. Default: all hardware of the cost models or the table.",
    ),
    click.option(
        "--limits",
        multiple=True,
        metavar="ID",
        help="Search only networks that all of this hardware runs: ids of declared profiles (pixel4-edgetpu-2020, "
        "hexagon-2020) or of hardware, joined by commas; may be repeated.",
    ),
)
