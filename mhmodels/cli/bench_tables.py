"""What `mhmodels bench` prints: the rows as a table, and the table of the paper for each phone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mhmodels.cli.common import console

if TYPE_CHECKING:
    from mhmodels.architecture import Architecture
    from mhmodels.hardware import MeasuredRow

REFERENCE = "mobilenet_v1"


def print_phone_tables(models: Sequence[Architecture], answers: Sequence[MeasuredRow]) -> None:
    """Prints the table of the paper for every phone on which several models ran everywhere."""
    from mhmodels.report.building import compare, subjects
    from mhmodels.report.table import ComparisonTable

    rows = [row for row, _ in answers if "/" in row.hardware and row.architecture_id]
    known = subjects(models)
    for phone in dict.fromkeys(row.hardware.rpartition("/")[0] for row in rows):
        cells = {(row.architecture_id or "", row.hardware): row for row in rows if row.hardware.rpartition("/")[0] == phone}
        columns = tuple(dict.fromkeys(column for _, column in cells))
        whole = [subject for subject in known if all((subject.id, column) in cells for column in columns)]
        if len(whole) > 1:
            base = next((subject for subject in whole if subject.label == REFERENCE), whole[0])
            console().print(ComparisonTable(compare(whole, base, columns, cells)))


def print_rows(answers: Sequence[MeasuredRow]) -> None:
    """Prints one line for each row, with its kind and with remarks."""
    from rich.markup import escape
    from rich.table import Column, Table

    from mhmodels.hardware import UNSUPPORTED

    titles = ("model", "format", "hardware", "median ms", "kind", "±MAD", "min … max ms", "nodes", "remarks")
    # In a narrow terminal a name goes on in the next line: a part of one is of no use.
    table = Table(*(Column(title, overflow="fold") for title in titles))
    for row, from_store in answers:
        latency = UNSUPPORTED if row.median_ms is None else f"{row.median_ms:.4g}"
        spread = "" if row.mad_ratio is None else f"{row.mad_ratio:.1%}"
        least, most = (row.min_ms, row.max_ms) if row.low_ms is None else (row.low_ms, row.high_ms)
        extremes = "" if least is None or most is None else f"{least:.4g} … {most:.4g}"
        nodes = "" if row.total_nodes is None or row.delegated_nodes is None else f"{row.delegated_nodes}/{row.total_nodes}"
        part = "partly on the CPU" if row.device_state.get("status") == "PARTIAL" and row.supported else ""
        asked = row.device_state.get("requested_runs")
        few = f"{row.runs} of {asked} runs: slow blocks end by time" if isinstance(asked, int) and row.runs < asked else ""
        tries = row.device_state.get("tries", 1)
        noisy = ("noisy" if tries == 1 else f"noisy in {tries} tries") if row.noisy else ""
        remarks = [row.reason, part, few, noisy, "from store" if from_store else ""]
        table.add_row(
            escape(row.model),
            row.format,
            escape(row.hardware),
            latency,
            row.kind,
            spread,
            extremes,
            nodes,
            escape(", ".join(remark for remark in remarks if remark)),
        )
    console().print(table)
