"""`mhmodels search collect`: latencies of many networks on much hardware."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import click

from mhmodels.cli.common import FiniteRange, OutputFile, check_place, check_places, emit_json, json_option, note, store_option
from mhmodels.cli.phone_options import PhoneOptions, phone_options
from mhmodels.search.cli.options import INPUT_FILE, runs_option, seed_option, space_option, threads_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mhmodels.hardware import HardwareCollection
    from mhmodels.search.collecting.settings import CollectSettings
    from mhmodels.search.space.sampling import Sample
    from mhmodels.search.space.search_space import SearchSpace


class Selection(NamedTuple):
    """Which networks of a space are measured.

    Attributes:
        samples: File of networks; None to draw them.
        number: Number of networks to draw.
        seed: Random seed of sampling.
        distribution: Distribution to sample from; None for the default.
    """

    samples: Path | None
    number: int
    seed: int
    distribution: str | None


@click.command("collect")
@click.argument("words", nargs=-1, metavar="[ID]...")
@space_option
@click.option(
    "-n",
    "count",
    type=click.IntRange(1, 10_000_000),
    default=None,
    help="Number of networks to sample, as with `search sample`; give either -n or --samples.",
)
@click.option(
    "--distribution",
    default=None,
    metavar="NAME",
    help="Distribution to sample from: uniform, depth-uniform, window=A:B or mixed, which `mhmodels search sample --help` "
    "explains. Default: mixed; uniform for spaces without networks in window=0.5:2, and if -n is the size of the space.",
)
@seed_option("of sampling")
@click.option(
    "--samples",
    type=INPUT_FILE,
    default=None,
    metavar="FILE.jsonl",
    help="Measure the networks in this file, as written by `search sample`, instead of sampling.",
)
@click.option(
    "--hardware",
    "listed",
    multiple=True,
    metavar="ID...",
    help="Ids of the hardware to measure on, separated by blanks or commas; may be repeated. Default: the default five of "
    "`mhmodels hardware`.",
)
@runs_option()
@threads_option()
@click.option(
    "--reference",
    default=None,
    metavar="MODEL",
    help="Reference model: on this machine's CPU, its inferences alternate with those of each measured network; '' for "
    "none. Default: mobilenet_v2.",
)
@click.option(
    "--baseline",
    "baselines",
    multiple=True,
    metavar="MODEL",
    help="Network of the zoo that is measured in addition to the samples; its latency is the reference latency of search "
    "rewards. May be repeated; '' for none. Default: mobilenet_v1 if the space has its input size.",
)
@click.option(
    "--interval",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Number of networks between two measurements of the reference on a phone.",
)
@click.option(
    "--patience",
    type=FiniteRange(0, 3600),
    default=10.0,
    show_default=True,
    help="Longest wait in seconds for a quiet machine before a noisy network is timed again; only with --reference ''.",
)
@click.option("--once", is_flag=True, help="Do not measure noisy rows and outliers a second time.")
@click.option(
    "--scheduler",
    default=None,
    metavar="ADDRESS",
    help="Address of a dask.distributed scheduler whose workers measure, for example tcp://host:8786. Default: this machine.",
)
@click.option(
    "-o",
    "--output",
    type=OutputFile(".csv"),
    default=None,
    metavar="FILE.csv",
    help="Write all rows of these networks to this table, and their provenance to FILE.json beside it.",
)
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
    """Measure sampled networks on several hardware, as data for cost models.

    Arguments ID are further ids of --hardware, so that its ids may be separated by blanks. Every latency is stored as soon as
    it is measured. Networks whose latency is in the store are not measured again, so the same command continues an
    interrupted run. Noisy latencies and outliers are measured once more at the end. If a hardware
    becomes unavailable or networks fail, all others are still measured, and the exit code is 1.
    """
    if (count is None) == (samples is None):
        raise click.UsageError("give either -n or --samples")
    if samples is not None and distribution is not None:
        raise click.UsageError("--distribution is for -n: the networks of --samples are drawn already")
    from mhmodels.cli.phones import hardware_ids, phone_runner, wanted, with_phones
    from mhmodels.hardware import DEFAULT_HARDWARE, split_ids
    from mhmodels.search.collecting.plan import usual_baselines
    from mhmodels.search.collecting.settings import REFERENCE, CollectSettings
    from mhmodels.search.space.loading import load_space

    if output is not None:
        check_output(output, (samples, None if store is None else Path(store)))
    space, runner = load_space(space_name), phone_runner(phones, store)
    ids = split_ids((*listed, *words))
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
    selection = Selection(samples, count or 0, seed, distribution)
    measure(space, selection, with_phones(runner), ids or DEFAULT_HARDWARE, store, settings, scheduler, output, as_json)


def check_output(output: Path, read: Iterable[Path | None]) -> None:
    """Refuses a table that would overwrite something else, or whose provenance would, before anything is measured.

    Args:
        output: Value of `-o`, FILE.csv.
        read: Files that the command reads.

    Raises:
        click.UsageError: The message names the file that would be overwritten.
    """
    from mhmodels.search.collecting.table import FORMAT
    from mhmodels.search.cost_model.latencies.provenance import is_provenance

    beside = output.with_suffix(".json")
    check_places({"-o": output, "the provenance of -o": beside}, read)
    check_place(beside, _refuse)
    if beside.exists() and not is_provenance(beside):
        raise click.UsageError(
            f"the provenance of -o is '{beside}', where there is something of another format than {FORMAT}: give -o another "
            "name, or move that away"
        )


def _refuse(message: str) -> NoReturn:
    raise click.UsageError(f"the provenance of -o: {message}")


def measure(
    space: SearchSpace,
    selection: Selection,
    known: HardwareCollection,
    hardware: Sequence[str],
    store: str | None,
    settings: CollectSettings,
    scheduler: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Draws or reads networks, measures those that the store lacks, and reports.

    Args:
        space: Space of the networks.
        selection: Which networks.
        known: Hardware that the ids are of.
        hardware: Ids of the hardware to measure on.
        store: Measurements file; None for the default.
        settings: How to measure.
        scheduler: Address of a dask.distributed scheduler; None for this machine.
        output: FILE.csv for all rows of these networks; None for none.
        as_json: Whether to print a JSON document instead of a table.

    Raises:
        MhmodelsError: The input is wrong, or, after everything else is done, hardware vanished or networks failed.
    """
    from mhmodels.search.cli import collect_display as display
    from mhmodels.search.collecting.claims import claimed
    from mhmodels.search.collecting.collect import run_plan
    from mhmodels.search.collecting.plan import make_plan
    from mhmodels.search.collecting.progress import raise_problems
    from mhmodels.search.collecting.table import write_table
    from mhmodels.store import Store

    drawn, about = _drawn(space, selection)
    with Store(store) as rows, claimed(rows.path, hardware):
        plan = make_plan(space, drawn, hardware, rows, settings, hardware=known, remote=scheduler is not None)
        display.introduce(plan)
        with display.progress_bars(plan) as (advance, tell):
            events = None
            if scheduler is not None:
                from mhmodels.search.collecting.cluster import remote_events

                plan, events = remote_events(scheduler, plan, rows, settings, tell)
            report = run_plan(plan, space, rows, settings, tell=tell, advance=advance, events=events)
        if output is not None:
            try:
                write_table(output, plan, space, rows, settings, about)
            except OSError:
                note(f"the rows are kept in {rows.path}: give the same command with another -o")
                raise
            note(f"written to {output}, provenance to {output.with_suffix('.json')}")
        where = str(rows.path)
    if as_json:
        emit_json({"store": where, "space": space.name, "seconds": report.seconds, "hardware": report.tallies})
    else:
        display.show(report)
        note(f"stored in {where}")
    raise_problems(report)


def _drawn(space: SearchSpace, selection: Selection) -> tuple[Sample, dict[str, str | int]]:
    """The networks to measure, and where they come from, for the table's provenance."""
    from mhmodels.search.cost_model.latencies.samples import read_samples
    from mhmodels.search.space.sampling import sample

    if selection.samples is not None:
        return read_samples(selection.samples, space), {"samples": selection.samples.name}
    drawn = sample(space, selection.number, selection.seed, selection.distribution)
    distributions = ", ".join(dict.fromkeys(drawn.distributions))
    return drawn, {"n": selection.number, "seed": selection.seed, "distribution": distributions}
