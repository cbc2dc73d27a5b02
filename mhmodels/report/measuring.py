"""Measures a comparison: every model on every hardware, as files with random weights, the reference first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mhmodels.architecture import Architecture
from mhmodels.errors import MeasurementError, MhmodelsError, StoreError
from mhmodels.hardware import (
    DEFAULT_HARDWARE,
    Hardware,
    HardwareCollection,
    HardwareEntry,
    Job,
    MeasuredRow,
    Measurement,
    answer,
    built_in_hardware,
)
from mhmodels.registry import resolve
from mhmodels.report.building import compare, subjects
from mhmodels.report.comparison import ComparedModel, Comparison, ComparisonRow
from mhmodels.report.failures import MeasurementFailure, failure_text
from mhmodels.system.temporary import temporary_folder

if TYPE_CHECKING:
    from mhmodels.store import Store

USUAL_RUNS = 50


class ComparisonObserver(Protocol):
    """Receives the progress of a comparison."""

    def cell(self, subject: ComparedModel, hardware_id: str) -> None:
        """A latency is about to be measured."""

    def row(self, comparison: Comparison, finished: ComparisonRow) -> None:
        """A row of the table is complete."""


class CellSource(Protocol):
    """Where the latencies of a comparison come from.

    Attributes:
        hardware: Ids of the columns.
    """

    hardware: tuple[str, ...]

    def cell(self, subject: ComparedModel, hardware_id: str) -> Measurement | MeasurementFailure:
        """One latency, a row that says why there is none, or what failed."""


class CellMeasurer:
    """Measures one cell after the other, from files with random weights that it writes as they are needed.

    Args:
        entries: Hardware of the columns, with its runners, by id.
        folder: Folder for the files.
        runs: Timed inferences in a block.
        store: Store to look into and to keep rows in; None for neither.
        fresh: Whether to measure what the store has already.
        tell: Called with one line for every repetition of a noisy measurement.

    Attributes:
        hardware: Ids of the columns.
        asked: Number of latencies asked for.
        known: Number of latencies that the store had.
        ready: Answers that are known already, by (architecture id, hardware id).
        failures: Measurements that failed, by (architecture id, hardware id).
    """

    def __init__(
        self,
        entries: Mapping[str, HardwareEntry],
        folder: Path,
        *,
        runs: int = USUAL_RUNS,
        store: Store | None = None,
        fresh: bool = False,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.hardware = tuple(entries)
        self.asked = self.known = 0
        self.ready: dict[tuple[str, str], MeasuredRow] = {}
        self.failures: dict[tuple[str, str], MeasurementFailure] = {}
        self._entries, self._folder, self._runs, self._store, self._fresh = entries, folder, runs, store, fresh
        self._tell = tell
        self._jobs: dict[tuple[str, str], Job] = {}

    def cell(self, subject: ComparedModel, hardware_id: str) -> Measurement | MeasurementFailure:
        """Answers one cell: from `ready` or the store, else by measuring.

        Returns:
            A row with a latency, a row with the reason why there is none, or what failed.

        Raises:
            StoreError: A row cannot be read or kept.
        """
        key, (hardware, runner) = (subject.id, hardware_id), self._entries[hardware_id]
        self.asked += 1
        if key in self.failures:
            return self.failures[key]
        try:
            measurement, from_store = self.ready.get(key) or answer(
                self.job(subject, hardware), hardware, runner, store=self._store, fresh=self._fresh, tell=self._tell
            )
        except StoreError:
            raise
        except MhmodelsError as error:
            return self.failed(subject, hardware_id, error)
        self.known += from_store
        return measurement

    def failed(self, subject: ComparedModel, hardware_id: str, error: MhmodelsError) -> MeasurementFailure:
        """Notes that the file of a cell could not be written, or that the cell could not be measured."""
        failure = MeasurementFailure(model=subject.label, hardware=hardware_id, status="FAILED", reason=str(error))
        self.failures[subject.id, hardware_id] = failure
        return failure

    def job(self, subject: ComparedModel, hardware: Hardware) -> Job:
        """The file of a model in the format that a hardware takes.

        Raises:
            MeasurementError: Files of this format cannot be made with random weights.
            ExportError: The file cannot be written.
        """
        from mhmodels.export.writing.latency import latency_job

        key = subject.id, hardware.format
        if key not in self._jobs:
            self._jobs[key] = latency_job(subject.architecture, hardware, self._folder, label=subject.label, runs=self._runs)
        return self._jobs[key]


def refuse_unavailable(entries: Mapping[str, HardwareEntry]) -> None:
    """Stops before the first measurement if any hardware cannot be measured from here.

    Raises:
        MeasurementError: With every such hardware and its reason.
    """
    reasons = [(name, runner.unavailable(hardware)) for name, (hardware, runner) in entries.items()]
    missing = [f"{name}: {reason}" for name, reason in reasons if reason]
    if missing:
        raise MeasurementError(
            f"cannot measure on {'; '.join(missing)}; choose others as argument 'hardware' (`mhmodels hardware` lists them)"
        )


def measure_comparison(
    base: ComparedModel, compared: Sequence[ComparedModel], source: CellSource, observer: ComparisonObserver | None = None
) -> Comparison | None:
    """Measures row by row, the reference first so that every later row has its norms at once.

    Args:
        base: Reference model.
        compared: Models, each once. `base` may be one of them and is measured once.
        source: Answers for every cell.
        observer: Called for every cell and every row.

    Returns:
        The comparison; None where every measurement failed.
    """
    cells: dict[tuple[str, str], Measurement] = {}
    failed: dict[tuple[str, str], str] = {}
    result = None
    for subject in dict.fromkeys((base, *compared)):
        for hardware_id in source.hardware:
            if (subject.id, hardware_id) not in (cells.keys() | failed.keys()):
                if observer is not None:
                    observer.cell(subject, hardware_id)
                found = source.cell(subject, hardware_id)
                if isinstance(found, MeasurementFailure):
                    failed[subject.id, hardware_id] = found.reason
                else:
                    cells[subject.id, hardware_id] = found
        if cells:
            result = compare(compared, base, source.hardware, cells, failed)
            finished = next((row for row in (*result.rows, result.reference) if row.label == subject.label), None)
            if finished is not None and observer is not None:
                observer.row(result, finished)
    return result


def compare_models(
    models: Iterable[str | Architecture],
    hardware: Iterable[str] = DEFAULT_HARDWARE,
    *,
    reference: str | Architecture = "mobilenet_v1",
    runs: int = USUAL_RUNS,
    store: Store | None = None,
    fresh: bool = False,
    collection: HardwareCollection | None = None,
) -> Comparison:
    """Measures models on several hardware and computes their multi-hardware norms (arXiv 2008.08178, equations 4 and 5).

    Latencies come from files with random weights, batch 1, one thread.

    Args:
        models: Zoo names such as `multi_max` or `mobilenet_v1@1.25`, paths of architecture files, or architectures.
        hardware: Ids, such as `host-cpu-int8` or `ethos-u55-128`; `list_hardware` has more.
        reference: Model whose latency counts as 1 on each hardware.
        runs: Timed inferences in a block, 1 to 100,000.
        store: Store to look into and to keep rows in; None for neither.
        fresh: Whether to measure what the store has already.
        collection: Collection that has the ids; None for the hardware that comes with the package.

    Returns:
        The comparison; `latency_table` and `records` give it as a table.

    Raises:
        UnknownNameError: No such model or hardware.
        MeasurementError: A hardware cannot be measured from here, or a measurement failed.
        StoreError: The store cannot be read or written.

    Example:
        >>> from mhmodels.report import compare_models
        >>> comparison = compare_models(["multi_max", "multi_avg"], ["roofline-pixel6-cpu", "roofline-pixel4-dsp"])
        >>> [(row["model"], round(row["mn_norm_avg"], 2)) for row in comparison.records()]
        [('multi_max', 0.94), ('multi_avg', 1.12)]
    """
    known = collection or built_in_hardware()
    entries = {name: known.get(name) for name in hardware}
    refuse_unavailable(entries)
    base, *compared = subjects(model if isinstance(model, Architecture) else resolve(model) for model in (reference, *models))
    with temporary_folder("compare") as folder:
        measurer = CellMeasurer(entries, folder, runs=runs, store=store, fresh=fresh)
        result = measure_comparison(base, tuple(dict.fromkeys(compared)), measurer)
    if measurer.failures or result is None:
        raise MeasurementError(failure_text(measurer.failures.values()) or "nothing to measure: no hardware is given")
    return result
