"""`mhmodels compare`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from mhmodels.cli.common import console, emit_json, json_option, note, progress_console, store_option
from mhmodels.cli.phone_answers import PhoneAnswers, PhoneRequest
from mhmodels.cli.phone_options import PhoneOptions, phone_options
from mhmodels.cli.phones import hardware_ids, phone_runner, wanted, with_phones
from mhmodels.errors import MeasurementError, MhmodelsError
from mhmodels.report.failures import MeasurementFailure, failure_text

if TYPE_CHECKING:
    from mhmodels.architecture import Architecture
    from mhmodels.hardware import HardwareEntry
    from mhmodels.report.comparison import ComparedModel, Comparison, ComparisonRow
    from mhmodels.report.measuring import CellMeasurer, ComparisonObserver


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option(
    "--hardware",
    "listed",
    multiple=True,
    metavar="ID...",
    help="Ids of the hardware to measure on, such as host-cpu-int8 or SERIAL/gpu-opencl, separated by blanks or commas; "
    "may be repeated. Default: the default five of `mhmodels hardware`, which are this host's CPU in two formats and "
    "three Ethos-U.",
)
@click.option(
    "--reference",
    default="mobilenet_v1",
    show_default=True,
    metavar="MODEL",
    help="Reference model: MN-Norm divides each latency by that of this model on the same hardware.",
)
@click.option(
    "--runs",
    type=click.IntRange(1, 100_000),
    default=50,
    show_default=True,
    help="Number of timed inferences per block; on a phone, over all blocks together.",
)
@click.option("--fresh", is_flag=True, help="Measure even if the store already has the latency.")
@click.option(
    "--paper",
    is_flag=True,
    help="Add the MN-Norms that the paper states for the Pixel 4, for the models that occur in the paper.",
)
@phone_options
@store_option
@json_option
def compare(
    models: tuple[str, ...],
    listed: tuple[str, ...],
    reference: str,
    runs: int,
    fresh: bool,
    paper: bool,
    phones: PhoneOptions,
    store: str | None,
    as_json: bool,
) -> None:
    """Compare models on several hardware: latencies, and their normalised average and maximum (MN-Norm).

    Latencies are measured with files with random weights, at batch 1, with one thread. They are kept in the store and not
    measured again unless they are noisy (~). If the store has every latency, it need not be writable. MN-Norm divides every
    latency by that of the reference model on the same hardware: avg is its mean over the hardware, max its maximum. Phones
    are columns like any other hardware: give --hardware SERIAL/xnnpack, or --device and --delegate.

    If a model or a phone fails, the others are still compared. The table shows ? for each failure, every failure is listed at
    the end with its reason, and the exit code is 1.
    """
    from mhmodels.hardware import DEFAULT_HARDWARE
    from mhmodels.registry import resolve
    from mhmodels.report.building import subjects
    from mhmodels.report.measuring import CellMeasurer, measure_comparison, refuse_unavailable
    from mhmodels.report.table import ComparisonTable
    from mhmodels.store import Store
    from mhmodels.system.temporary import temporary_folder

    runner = phone_runner(phones, store)
    known = with_phones(runner)
    targets, ids = known.split_words(models, listed)
    ids += hardware_ids(wanted(phones, runner), runner)
    if not targets:
        raise click.UsageError("Missing argument 'MODEL...': every word names a hardware.")
    architectures, failures = _resolved(targets)
    base, *compared = subjects((resolve(reference), *architectures))
    entries = {name: known.get(name) for name in ids or DEFAULT_HARDWARE}
    # Phones that are not connected may still have rows.
    refuse_unavailable({name: entry for name, entry in entries.items() if entry.runner is not runner})
    with temporary_folder("compare") as folder, Store(store, read_only=None) as rows:
        bench = CellMeasurer(entries, folder, runs=runs, store=rows, fresh=fresh, tell=note)
        on_phones = {name: entry for name, entry in entries.items() if entry.runner is runner}
        measure_on_phones(bench, (base, *compared), on_phones, PhoneAnswers(runner, rows, fresh=fresh, remember=True))
        with _observer(len({subject.id for subject in (base, *compared)}) * len(entries), paper) as observer:
            result = measure_comparison(base, tuple(dict.fromkeys(compared)), bench, observer)
    failures += bench.failures.values()
    if result is None:
        raise MeasurementError(failure_text(failures))
    if bench.known:
        note(f"{bench.known} of {bench.asked} latencies from the store; --fresh measures them again")
    if as_json:
        emit_json(document(result) | {"failures": failures})
    else:
        console().print(ComparisonTable(result, paper=paper))
    if failures:
        raise MeasurementError(failure_text(failures))


def _resolved(targets: Sequence[str]) -> tuple[list[Architecture], list[MeasurementFailure]]:
    """Networks of the names that are known, and failures of the others.

    Raises:
        MhmodelsError: The only name is unknown.
    """
    from mhmodels.registry import resolve

    found, failures = [], []
    for target in targets:
        try:
            found.append(resolve(target))
        except MhmodelsError as error:
            if len(targets) == 1:
                raise
            failures.append(
                MeasurementFailure(model=target, hardware="every hardware", status="UNKNOWN_MODEL", reason=str(error))
            )
    return found, failures


def measure_on_phones(
    bench: CellMeasurer, subjects: Sequence[ComparedModel], entries: Mapping[str, HardwareEntry], answers: PhoneAnswers
) -> None:
    """Measures the cells of phones ahead of all others: phones at the same time, the delegates of each phone in turns.

    Failures are noted for `CellMeasurer.cell`; what was measured is kept.

    Args:
        bench: Measurer that gets the answers and failures.
        subjects: Models to measure.
        entries: Phones' delegates of the columns, by id.
        answers: Measures on phones.

    Raises:
        StoreError: A row cannot be kept.
    """
    asked: dict[tuple[str, str], tuple[str, str]] = {}
    requests = []
    for subject in dict.fromkeys(subjects):
        for hardware_id, (hardware, _) in entries.items():
            try:
                requests.append(PhoneRequest(bench.job(subject, hardware), hardware))
                asked[subject.label, hardware.id] = subject.id, hardware_id
            except MhmodelsError as error:
                bench.failed(subject, hardware_id, error)
    for (job, hardware), result in answers.answers(requests):
        if isinstance(result, MeasurementFailure):
            bench.failures[asked[job.model, hardware.id]] = result
        else:
            bench.ready[asked[job.model, hardware.id]] = result


def document(comparison: Comparison) -> dict[str, object]:
    """The JSON document: fields of the comparison, with the reference in short."""
    reference = comparison.reference
    return {
        "hardware": comparison.hardware,
        "reference": {
            "model": reference.model,
            "width_multiplier": reference.width_multiplier,
            "latency_ms": reference.latency_ms,
            "kind": reference.kind,
            "reason": reference.reason,
            "noisy": reference.noisy,
        },
        "rows": comparison.rows,
        "origins": comparison.origins,
    }


class _LineDisplay:
    """Writes one line for each finished row, for logs."""

    def cell(self, subject: ComparedModel, hardware_id: str) -> None:
        """Says nothing."""

    def row(self, comparison: Comparison, finished: ComparisonRow) -> None:
        from mhmodels.report.table import line

        note(line(finished))


@contextmanager
def _observer(cells: int, paper: bool) -> Iterator[ComparisonObserver]:
    """A progress bar over a growing table where stderr is a terminal, else a line for each row."""
    if not sys.stderr.isatty():
        yield _LineDisplay()
        return
    terminal = progress_console()
    from rich.console import Group
    from rich.live import Live
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from mhmodels.report.table import ComparisonTable

    progress = Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
        console=terminal,
        auto_refresh=False,
    )
    task = progress.add_task("", total=cells)
    # Drawn between measurements only: a thread that redraws would disturb timings on this machine.
    live = Live(progress, console=terminal, auto_refresh=False, transient=True)

    class Drawn:
        started = 0

        def cell(self, subject: ComparedModel, hardware_id: str) -> None:
            progress.update(task, completed=self.started, description=f"{subject.label} on {hardware_id}")
            self.started += 1
            live.refresh()

        def row(self, comparison: Comparison, finished: ComparisonRow) -> None:
            live.update(Group(progress, ComparisonTable(comparison, paper=paper)), refresh=True)

    with live:
        yield Drawn()
