"""How `mhmodels search collect` shows what it does."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

from mhmodels.cli.common import check_place, check_places, console, emit_json, note, progress_console
from mhmodels.hardware import HardwareCollection
from mhmodels.search.collecting.claims import claimed
from mhmodels.search.collecting.collect import run_plan
from mhmodels.search.collecting.plan import CollectPlan, CollectSettings, make_plan
from mhmodels.search.collecting.progress import CollectProgress, CollectReport, raise_problems, unsupported_text
from mhmodels.search.collecting.table import FORMAT, write_table
from mhmodels.search.cost_model.latencies.provenance import is_provenance
from mhmodels.search.cost_model.latencies.samples import read_samples
from mhmodels.search.space.sampling import sample
from mhmodels.search.space.search_space import Space
from mhmodels.store import Store

QUIET_S = 30.0


def check_output(output: Path, read: Iterable[Path | None]) -> None:
    """Refuses a table, or its provenance beside it, that would take the place of something else, before anything is measured.

    Args:
        output: FILE.csv.
        read: files that the command reads.

    Raises:
        click.UsageError: which, and of what.
    """
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


def run(
    space: Space,
    draw: tuple[int, int, str | None] | Path,
    hardware: Sequence[str],
    store: str | None,
    settings: CollectSettings,
    scheduler: str | None,
    output: Path | None,
    as_json: bool,
    known: HardwareCollection,
) -> None:
    """Samples or reads networks, measures what the store lacks, reports.

    Args:
        space: what they are of.
        draw: count, seed and distribution, or a file of samples.
        hardware: ids.
        store: the measurements file; None for the default.
        settings: how to measure.
        scheduler: address of a dask.distributed scheduler, or None for this machine.
        output: FILE.csv for all rows of these networks; None for none.
        as_json: prints a document instead of a table.
        known: collection that has the ids.

    Raises:
        MhmodelsError: bad input, or, after everything else is done, hardware that vanished or networks that failed.
    """
    if isinstance(draw, Path):
        drawn = read_samples(draw, space)
        about: dict[str, Any] = {"samples": draw.name}
    else:
        drawn = sample(space, *draw)
        about = {"n": draw[0], "seed": draw[1], "distribution": ", ".join(dict.fromkeys(drawn.distributions))}
    with Store(store) as rows, claimed(rows.path, hardware):
        plan = make_plan(space, drawn, hardware, rows, settings, hardware=known, remote=scheduler is not None)
        _introduce(plan)
        with _progress(plan) as (advance, tell):
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
        console().print(_table(report), markup=False)  # reasons and ids have brackets of their own
        note(f"stored in {where}")
    raise_problems(report)


def _introduce(plan: CollectPlan) -> None:
    if plan.baselines:
        note(f"beside the samples: {', '.join(one.label for one in plan.baselines)}, for the C of rewards (--baseline)")
    for target in plan.targets:
        if target.rows:
            note(f"{target.hardware.id}: {len(target.rows)} of {len(plan.everything)} networks are in the store and are skipped")
    for name, reason in plan.absent.items():
        note(f"{name} is left out: {reason}")


@contextmanager
def _progress(plan: CollectPlan) -> Iterator[tuple[Callable[[CollectProgress], None], Callable[[str], None]]]:
    """A bar for each hardware; where stderr is no terminal, a line for each every half minute."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bars

    err = progress_console()
    text = functools.partial(TextColumn, markup=False)
    columns = (text("{task.fields[name]}"), BarColumn(), MofNCompleteColumn(), text("{task.description}"))
    with Bars(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        tasks = {
            target.hardware.id: bars.add_task(
                "starting", total=len(plan.everything), completed=len(target.rows), name=target.hardware.id
            )
            for target in plan.targets
        }
        told = dict.fromkeys(tasks, time.monotonic())

        def advance(progress: CollectProgress) -> None:
            tally, now = progress.tally, time.monotonic()
            bars.update(tasks[tally.hardware], completed=tally.done, description=progress.text)
            if not err.is_terminal and now - told[tally.hardware] > QUIET_S:
                told[tally.hardware] = now
                note(f"{tally.hardware}: {tally.done}/{tally.wanted}, {progress.text}")

        yield advance, (functools.partial(bars.console.print, markup=False) if err.is_terminal else note)


def _table(report: CollectReport) -> Any:
    from rich.table import Table

    table = Table("hardware", "kind", "networks", "from store", "new", "again", "noisy", "remarks")
    for tally in report.tallies:
        failed = f"{tally.failed} failed" if tally.failed else ""
        checks = f"{tally.checks} checks of drift" if tally.checks else ""
        remarks = [unsupported_text(tally), failed, checks, tally.trouble]
        numbers = (tally.wanted, tally.stored, tally.measured, tally.again, tally.noisy)
        table.add_row(tally.hardware, tally.kind, *map(str, numbers), "; ".join(remark for remark in remarks if remark))
    return table
