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
        return tuple(part for value in self.hardware for part in value.split(","))


latency_options = option_group(
    "latency",
    LatencyOptions,
    click.option(
        "--cost-model",
        "cost_models",
        type=INPUT_FILE,
        multiple=True,
        metavar="model.json|ID",
        help="Cost model that predicts latencies, one for each hardware: a file, or the id of one that comes with the package "
        "(ethos-u55-128, …).",
    ),
    click.option(
        "--latencies",
        type=INPUT_FILE,
        default=None,
        metavar="FILE.npz|FILE.csv|NAME",
        help="Table of latencies in place of cost models: a published one, a file that `search collect -o` wrote, or one that "
        "comes with the package (nas_bench_macro).",
    ),
    click.option("--force", is_flag=True, help="Use cost models that their files mark as doubtful, too."),
    click.option(
        "--hardware",
        multiple=True,
        metavar="ID",
        help="Ids of the hardware to search for, joined by commas, of those that have a cost model or a column of the table. "
        "Default: all of them.",
    ),
    click.option(
        "--limits",
        multiple=True,
        metavar="ID",
        help="Search only networks that all of this hardware runs: capability profiles or hardware ids (`search space`).",
    ),
)
