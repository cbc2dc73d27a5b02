"""Options of `mhmodels search adapt` about the target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mhmodels.cli.common import FiniteRange, store_option
from mhmodels.cli.option_groups import option_group
from mhmodels.search.cli.options import INPUT_FILE, runs_option, threads_option, where_option

if TYPE_CHECKING:
    from mhmodels.hardware.measurement import MeasurementKind

BUDGET = 20


@dataclass(frozen=True)
class TargetOptions:
    """Where latencies of the target come from.

    Attributes:
        hardware: Id of the target; None if only `data` says it.
        data: File of latencies on the target; None to measure.
        kind: Kind of the latencies in the file; None for the kind of the hardware.
        budget: Most networks to measure, or to take from the file; None if not given.
        enough: Rank correlation at which measuring stops.
        runs, threads: As for `search collect`.
        reference: Network that is timed in turns; "" for none, None for the default.
        where: Conditions of the store's rows.
        store: Measurements file; None for the default one.
    """

    hardware: str | None
    data: Path | None
    kind: MeasurementKind | None
    budget: int | None
    enough: float
    runs: int
    threads: int
    reference: str | None
    where: tuple[str, ...]
    store: str | None


target_options = option_group(
    "target",
    TargetOptions,
    click.option(
        "--target",
        "hardware",
        default=None,
        metavar="ID",
        help="Id of the hardware to adapt to (`mhmodels hardware`), or SERIAL/DELEGATE of a phone. Without --data, networks are "
        "measured on it. Default: the hardware of --data.",
    ),
    click.option(
        "--data",
        type=INPUT_FILE,
        default=None,
        metavar="FILE.csv",
        help="Latencies on the target, in the formats of `search fit --data`, instead of measuring. All networks of the file "
        "count; with --budget, as many as would have been measured.",
    ),
    click.option(
        "--kind",
        type=click.Choice(["measured", "estimated", "simulated"]),
        default=None,
        help="Kind of the latencies in --data. Default: the kind of the hardware.",
    ),
    click.option(
        "--budget",
        type=click.IntRange(5, 1000),
        default=None,
        help=f"Most networks to measure on the target, from 5 to 1000.  [default: {BUDGET}]",
    ),
    click.option(
        "--enough",
        type=FiniteRange(0, 1),
        default=0.95,
        show_default=True,
        help="Stop measuring, from 10 networks on, once the 90 % interval of the rank correlation between leave-one-out "
        "predictions and latencies lies above this value. 1 uses the whole budget.",
    ),
    runs_option(),
    threads_option(),
    click.option(
        "--reference",
        default=None,
        metavar="MODEL",
        help="Network whose inferences alternate with those of each measured network on this machine's CPU; '' for none. "
        "Default: mobilenet_v2.",
    ),
    where_option,
    store_option,
)
