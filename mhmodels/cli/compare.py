"""`mhmodels compare`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from mhmodels.cli.common import console, emit_json, json_option, note, progress_console, store_option
from mhmodels.cli.phone_answers import MeasurementFailure, PhoneAnswers, PhoneRequest, failure_text
from mhmodels.cli.phones import PhoneOptions, hardware_ids, phone_options, phone_runner, wanted, with_phones
from mhmodels.errors import MeasurementError, MhmodelsError, StoreError

if TYPE_CHECKING:
    from mhmodels.android_bench.runner import PhoneRunner
    from mhmodels.architecture import Architecture
    from mhmodels.hardware import Answer, Hardware, Job, Measurement, Runner
    from mhmodels.report.comparison import ComparedModel, Comparison, ComparisonRow
    from mhmodels.store import Store

HardwareById: TypeAlias = "Mapping[str, tuple[Hardware, Runner]]"


@click.command()
@click.argument("models", nargs=-1, required=True, metavar="MODEL...")
@click.option(
    "--hardware",
    "listed",
    multiple=True,
    metavar="ID...",
    help="Hardware to measure on; may be repeated. Default: two of this host's CPU and three Ethos-U (`mhmodels hardware`).",
)
@click.option("--reference", default="mobilenet_v1", show_default=True, metavar="MODEL", help="Model whose latency counts as 1.")
@click.option("--runs", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Timed runs in a block.")
@click.option("--fresh", is_flag=True, help="Measure again what the store has already.")
@click.option("--paper", is_flag=True, help="Add the paper's Pixel 4 columns beside, where it has the model.")
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
    """The multi-hardware table: latency on every hardware, and the normalised average and maximum.

    Latencies come from files with random weights, batch 1, one thread. What was measured is kept in the store and not
    measured again, unless it was noisy (~). A store that cannot be written is enough if it has every row. MN-Norm divides
    every latency by the reference's on the same hardware: avg is the mean of these, max the worst. Phones are columns like
    any other: --hardware SERIAL/xnnpack, or --device and --delegate.

    If a model or a phone fails, the others are still compared, ? stands for what failed, every failure is listed at the
    end with its reason, and the exit code is 1.
    """
    from mhmodels.hardware import DEFAULT_HARDWARE
    from mhmodels.registry import resolve
    from mhmodels.report.comparison import subjects
    from mhmodels.report.table import ComparisonTable
    from mhmodels.store import Store
    from mhmodels.system.files import temporary_folder

    runner = phone_runner(phones, store)
    known = with_phones(runner)
    targets, ids = known.split_words(models, listed)
    ids += hardware_ids(wanted(phones, runner), runner)
    if not targets:
        raise click.UsageError("Missing argument 'MODEL...': every word names a hardware.")
    architectures, failures = _resolved(targets)
    base, *compared = subjects((resolve(reference), *architectures))
    places = {name: known.get(name) for name in ids or DEFAULT_HARDWARE}
    # Phones that are not there may still have rows.
    refuse_unavailable({name: place for name, place in places.items() if place[1] is not runner})
    with temporary_folder("compare") as folder, Store(store, read_only=None) as rows:
        bench = CellMeasurer(places, folder, runs, rows, fresh)
        bench.measure_on_phones((base, *compared), runner)
        with _screen(len({subject.id for subject in (base, *compared)}) * len(places), paper) as screen:
            result = collect(base, tuple(dict.fromkeys(compared)), bench, screen)
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
    """The networks of the names that mean one, and the failures of the others.

    Raises:
        MhmodelsError: the only name means nothing.
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


def refuse_unavailable(places: HardwareById) -> None:
    """Stops before the first measurement if any hardware cannot be measured from here.

    Raises:
        MeasurementError: with every such hardware and its reason.
    """
    reasons = [(name, runner.unavailable(hardware)) for name, (hardware, runner) in places.items()]
    missing = [f"{name}: {reason}" for name, reason in reasons if reason]
    if missing:
        raise MeasurementError(
            f"cannot measure on {'; '.join(missing)} (choose others with --hardware; `mhmodels hardware` lists them)"
        )


class CellMeasurer:
    """Measures one cell after the other, from files that it writes as they are needed.

    Attributes:
        hardware: ids of the columns.
        asked: latencies asked for.
        known: those of them that the store had.
        failures: by (architecture id, hardware id), measurements that failed.
    """

    def __init__(self, places: HardwareById, folder: Path, runs: int, store: Store, fresh: bool) -> None:
        self.hardware = tuple(places)
        self.asked = self.known = 0
        self._places, self._folder, self._runs, self._store, self._fresh = places, folder, runs, store, fresh
        self._jobs: dict[tuple[str, str], Job] = {}
        self._ready: dict[tuple[str, str], Answer] = {}
        self.failures: dict[tuple[str, str], MeasurementFailure] = {}

    def measure_on_phones(self, subjects: Sequence[ComparedModel], phones: PhoneRunner) -> None:
        """Measures the cells of phones ahead of all others: phones side by side, each one's delegates in turns.

        What fails is noted for `cell`; what was measured is kept.

        Raises:
            StoreError: a row cannot be kept.
        """
        asked: dict[tuple[str, str], tuple[str, str]] = {}
        requests = []
        for subject in dict.fromkeys(subjects):
            for hardware_id, (hardware, runner) in self._places.items():
                if runner is not phones:
                    continue
                try:
                    requests.append(PhoneRequest(self._job(subject, hardware), hardware))
                    asked[subject.label, hardware.id] = subject.id, hardware_id
                except MhmodelsError as error:
                    self._failed(subject, hardware_id, error)
        for (job, hardware), result in PhoneAnswers(phones, self._store, fresh=self._fresh, remember=True).answers(requests):
            if isinstance(result, MeasurementFailure):
                self.failures[asked[job.model, hardware.id]] = result
            else:
                self._ready[asked[job.model, hardware.id]] = result

    def cell(self, subject: ComparedModel, hardware_id: str) -> Measurement | MeasurementFailure:
        """One latency, a row that says why there is none, or what failed.

        Raises:
            StoreError: a row cannot be read or kept.
        """
        from mhmodels.hardware import answer

        key, (hardware, runner) = (subject.id, hardware_id), self._places[hardware_id]
        self.asked += 1
        if key in self.failures:
            return self.failures[key]
        try:
            measurement, from_store = self._ready.get(key) or answer(
                self._job(subject, hardware), hardware, runner, store=self._store, fresh=self._fresh, tell=note
            )
        except StoreError:
            raise
        except MhmodelsError as error:
            return self._failed(subject, hardware_id, error)
        self.known += from_store
        return measurement

    def _failed(self, subject: ComparedModel, hardware_id: str, error: MhmodelsError) -> MeasurementFailure:
        """Notes that a cell could not be written or measured."""
        failure = MeasurementFailure(model=subject.label, hardware=hardware_id, status="FAILED", reason=str(error))
        self.failures[subject.id, hardware_id] = failure
        return failure

    def _job(self, subject: ComparedModel, hardware: Hardware) -> Job:
        from mhmodels.export.writing.latency import latency_file, latency_format
        from mhmodels.hardware import prepare

        key = subject.id, hardware.format
        if key not in self._jobs:
            path = latency_file(subject.architecture, latency_format(hardware.format, hardware.id), self._folder)
            self._jobs[key] = prepare(path, label=subject.label, architecture_id=subject.id, weights="random-v1", runs=self._runs)
        return self._jobs[key]


class ComparisonDisplay:
    """Tells people how far it is; this one says nothing."""

    def cell(self, subject: ComparedModel, hardware_id: str) -> None:
        """A latency is about to be measured."""

    def row(self, comparison: Comparison, finished: ComparisonRow) -> None:
        """A row of the table is complete."""


def collect(
    base: ComparedModel, compared: Sequence[ComparedModel], bench: CellMeasurer, screen: ComparisonDisplay
) -> Comparison | None:
    """Measures row by row, the reference first so that every later row has its norms at once.

    Args:
        base: the reference.
        compared: each once; `base` may be one of them and is measured once.
        bench: answers for every cell.
        screen: is told of every cell and every row.

    Returns:
        The comparison; None where every measurement failed.
    """
    from mhmodels.report.comparison import compare as build

    cells: dict[tuple[str, str], Measurement] = {}
    failed: dict[tuple[str, str], str] = {}
    result = None
    for subject in dict.fromkeys((base, *compared)):
        for hardware_id in bench.hardware:
            if (subject.id, hardware_id) not in (cells.keys() | failed.keys()):
                screen.cell(subject, hardware_id)
                found = bench.cell(subject, hardware_id)
                if isinstance(found, MeasurementFailure):
                    failed[subject.id, hardware_id] = found.reason
                else:
                    cells[subject.id, hardware_id] = found
        if cells:
            result = build(compared, base, bench.hardware, cells, failed)
            for row in (*result.rows, result.reference):
                if row.label == subject.label:
                    screen.row(result, row)
                    break
    return result


def document(comparison: Comparison) -> dict[str, Any]:
    """The JSON document: the comparison's own fields, the reference's row in short."""
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


class _LineDisplay(ComparisonDisplay):
    """For logs: one line a finished row."""

    def row(self, comparison: Comparison, finished: ComparisonRow) -> None:
        from mhmodels.report.table import line

        note(line(finished))


@contextmanager
def _screen(cells: int, paper: bool) -> Iterator[ComparisonDisplay]:
    """A progress bar over a growing table where stderr is a terminal, lines where it is not."""
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
    # Drawn between measurements only: a thread that redraws would disturb what is timed on this host.
    live = Live(progress, console=terminal, auto_refresh=False, transient=True)

    class Drawn(ComparisonDisplay):
        started = 0

        def cell(self, subject: ComparedModel, hardware_id: str) -> None:
            progress.update(task, completed=self.started, description=f"{subject.label} on {hardware_id}")
            self.started += 1
            live.refresh()

        def row(self, comparison: Comparison, finished: ComparisonRow) -> None:
            live.update(Group(progress, ComparisonTable(comparison, paper=paper)), refresh=True)

    with live:
        yield Drawn()
