"""Builds a comparison from measurements: labels and sizes of the models, latencies, norms against the reference."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import msgspec

from mhmodels.architecture import Architecture
from mhmodels.complexity import complexity
from mhmodels.hardware.measurement import Measurement
from mhmodels.metrics import LatencyTable
from mhmodels.published import published, published_row
from mhmodels.report.comparison import ColumnOrigin, ComparedModel, Comparison, ComparisonRow, PublishedNorms

Cells: TypeAlias = Mapping[tuple[str, str], Measurement]
"""Measurements by (architecture id, hardware id)."""


NOTHING_FAILED: Mapping[tuple[str, str], str] = {}


def subjects(architectures: Iterable[Architecture]) -> tuple[ComparedModel, ...]:
    """Makes the models of a comparison: labels and sizes. Equal networks with one name give equal models.

    Two different networks with one name and width get their architecture ids into their labels.
    """
    found: dict[str, ComparedModel] = {}
    result = []
    for architecture in architectures:
        label = (
            architecture.name if architecture.width_multiplier == 1 else f"{architecture.name}@{architecture.width_multiplier:g}"
        )
        if label in found and found[label].id != architecture.architecture_id:
            label = f"{label}#{architecture.architecture_id[:8]}"
        if label not in found:
            counts = complexity(architecture)
            found[label] = ComparedModel(label=label, architecture=architecture, params=counts.params, madds=counts.madds)
        result.append(found[label])
    return tuple(result)


def compare(
    compared: Sequence[ComparedModel],
    reference: ComparedModel,
    hardware: Sequence[str],
    cells: Cells,
    failed: Mapping[tuple[str, str], str] = NOTHING_FAILED,
) -> Comparison:
    """Builds the comparison of those models that have all their cells; others are left out, so that a table can grow.

    Args:
        compared: Models in the order of the table.
        reference: Model whose latencies count as 1; its cells must all be there.
        hardware: Ids of the columns. A column without any measurement is left out, and so is a model without any.
        cells: Measurements of `compared` and `reference` on `hardware`.
        failed: Errors of failed measurements by (architecture id, hardware id), in place of cells.

    Raises:
        KeyError: A cell of the reference is neither measured nor failed.
        MetricsError: Rows of one hardware were taken in different conditions.
    """
    ready = [
        subject for subject in compared if all((subject.id, column) in (cells.keys() | failed.keys()) for column in hardware)
    ]
    # A row of the store may have another name for the same file.
    every = {subject.label: subject for subject in (*ready, reference)}
    by_column = {column: [s for s in every.values() if (s.id, column) not in failed] for column in hardware}
    hardware = tuple(column for column, measured in by_column.items() if measured)
    measurements = [
        msgspec.structs.replace(cells[subject.id, column], model=subject.label)
        for column in hardware
        for subject in by_column[column]
    ]
    table = LatencyTable.from_measurements(measurements, list(every), hardware)
    lines = {label: _row(subject, reference, hardware, cells, failed, table) for label, subject in every.items()}
    rows = tuple(lines[subject.label] for subject in ready)
    return Comparison(
        hardware=hardware,
        reference=lines[reference.label],
        rows=tuple(row for row in rows if len(row.failed) < len(hardware)),
        origins=tuple(_origin(column, [cells[subject.id, column] for subject in by_column[column]]) for column in hardware),
    )


def _row(
    subject: ComparedModel,
    reference: ComparedModel,
    hardware: Sequence[str],
    cells: Cells,
    failed: Mapping[tuple[str, str], str],
    table: LatencyTable,
) -> ComparisonRow:
    architecture = subject.architecture
    errors = {column: failed[subject.id, column] for column in hardware if (subject.id, column) in failed}
    row = {column: cells[subject.id, column] for column in hardware if column not in errors}
    norms = table.select([subject.label]).norms(table.reference(reference.label)) if _runs(reference, hardware, cells) else None
    average, maximum = (None, None) if norms is None else (_number(norms.average[0]), _number(norms.maximum[0]))
    slowest = None
    if maximum is not None:
        slowest = max(hardware, key=lambda column: (row[column].median_ms or 0) / (cells[reference.id, column].median_ms or 1))
    return ComparisonRow(
        model=architecture.name,
        label=subject.label,
        architecture_id=subject.id,
        width_multiplier=architecture.width_multiplier,
        input_size=architecture.input_size,
        classes=architecture.classes,
        params=subject.params,
        madds=subject.madds,
        latency_ms={column: row[column].median_ms if column in row else None for column in hardware},
        kind={column: cell.kind for column, cell in row.items()},
        reason={column: cell.reason for column, cell in row.items() if not cell.supported} | errors,
        failed=tuple(errors),
        noisy=tuple(column for column, cell in row.items() if cell.noisy),
        partial={column: _share(cell) for column, cell in row.items() if cell.device_state.get("status") == "PARTIAL"},
        weights={column: cell.weights for column, cell in row.items()},
        mn_norm_avg=average,
        mn_norm_max=maximum,
        mn_norm_noisy=average is not None and bool(table.noisy_norms(reference.label)[table.models.index(subject.label)]),
        slowest=slowest,
        published=_published(subject),
    )


def _share(cell: Measurement) -> str:
    return f"{cell.delegated_nodes}/{cell.total_nodes}" if cell.total_nodes else "part"


def _runs(reference: ComparedModel, hardware: Sequence[str], cells: Cells) -> bool:
    return all((reference.id, column) in cells and cells[reference.id, column].supported for column in hardware)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _published(subject: ComparedModel) -> PublishedNorms | None:
    """The paper's row of this name, unless the file only borrows the name or the input size differs."""
    from mhmodels.errors import MhmodelsError
    from mhmodels.registry import get_architecture

    row = published_row(subject.label)
    try:
        zoo = get_architecture(subject.architecture.name)
    except MhmodelsError:
        return None
    if row is None or zoo.at(width_multiplier=subject.architecture.width_multiplier).architecture_id != subject.id:
        return None
    return PublishedNorms(
        source=published().source,
        device=published().device,
        mn_norm_avg=row.mn_norm_avg,
        mn_norm_max=row.mn_norm_max,
        latency_ms=row.latency_ms,
    )


def _origin(hardware: str, cells: Sequence[Measurement]) -> ColumnOrigin:
    cell = next((cell for cell in cells if cell.supported), cells[0])
    return ColumnOrigin(
        hardware=hardware,
        kind=cell.kind,
        device=cell.device,
        runtime=cell.runtime,
        compiler=cell.compiler,
        format=cell.format,
        threads=cell.threads,
    )
