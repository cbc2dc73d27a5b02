"""What `mhmodels search collect` shows: what it will measure, progress bars, and the report at the end."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from rich.table import Table

from mhmodels.cli.common import console, note, progress_console
from mhmodels.search.collecting.plan import CollectPlan
from mhmodels.search.collecting.progress import CollectProgress, CollectReport, unsupported_text

QUIET_S = 30.0
"""Seconds between two lines of progress on a hardware, where stderr is no terminal."""
Advance: TypeAlias = Callable[[CollectProgress], None]
Tell: TypeAlias = Callable[[str], None]


def introduce(plan: CollectPlan) -> None:
    """Prints what is measured beside the samples, what the store has already, and what hardware is left out."""
    if plan.baselines:
        note(f"beside the samples: {', '.join(one.label for one in plan.baselines)}, for the C of rewards (--baseline)")
    for target in plan.targets:
        if target.rows:
            note(f"{target.hardware.id}: {len(target.rows)} of {len(plan.everything)} networks are in the store and are skipped")
    for name, reason in plan.absent.items():
        note(f"{name} is left out: {reason}")


@contextmanager
def progress_bars(plan: CollectPlan) -> Iterator[tuple[Advance, Tell]]:
    """Shows a bar for each hardware; where stderr is no terminal, a line for each hardware every half minute.

    Args:
        plan: What is measured.

    Yields:
        The function that takes progress, and the function that prints a remark above the bars.
    """
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


def show(report: CollectReport) -> None:
    """Prints a row for each hardware."""
    table = Table("hardware", "kind", "networks", "from store", "new", "again", "noisy", "remarks")
    for tally in report.tallies:
        failed = f"{tally.failed} failed" if tally.failed else ""
        checks = f"{tally.checks} checks of drift" if tally.checks else ""
        remarks = [unsupported_text(tally), failed, checks, tally.trouble]
        numbers = (tally.wanted, tally.stored, tally.measured, tally.again, tally.noisy)
        table.add_row(tally.hardware, tally.kind, *map(str, numbers), "; ".join(remark for remark in remarks if remark))
    console().print(table, markup=False)  # reasons and ids have brackets of their own
