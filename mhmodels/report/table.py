"""The comparison as a table for a terminal, in the layout of table 1 of the paper, with footnotes that explain it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from mhmodels.hardware.measurement import RANDOM_WEIGHTS, UNSUPPORTED, MeasurementKind
from mhmodels.report.comparison import Comparison, ComparisonRow

NOISY = "~"
PARTIAL = "*"
NOTHING = "-"
FAILED = "?"


def three_digits(value: float) -> str:
    """Writes a latency as the paper prints it: 54.7, 7.12, 0.345; whole numbers from 100."""
    places = 0 if value >= 99.95 else 1 if value >= 9.995 else 2 if value >= 0.9995 else 3
    return f"{value:.{places}f}"


class ComparisonTable:
    """Prints a comparison, finished or growing, with its footnotes. Headings are abbreviated where the terminal is narrow.

    Args:
        comparison: The comparison.
        paper: Whether to add the norms that the paper printed, kind `published`.

    Example:
        >>> from rich.console import Console
        >>> from mhmodels.report import ComparisonTable, compare_models
        >>> console, comparison = Console(), compare_models(["multi_max"], ["roofline-pixel6-cpu"])
        >>> with console.capture() as printed:
        ...     console.print(ComparisonTable(comparison))
        >>> "MN-Norm" in printed.get()
        True
    """

    def __init__(self, comparison: Comparison, *, paper: bool = False) -> None:
        self.comparison = comparison
        self.paper = paper

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Yields what rich prints."""
        wide = _table(self.comparison, _WIDE, self.paper)
        fits = console.measure(wide, options=options.update(max_width=1000)).maximum <= options.max_width
        yield Text("Latency in ms, batch 1", style="bold")
        yield wide if fits else _table(self.comparison, _NARROW, self.paper)
        yield from (Text(note) for note in footnotes(self.comparison, paper=self.paper))


class _Headings(NamedTuple):
    """Words of the headings, and the largest number of lines of a hardware id."""

    params: str
    madds: str
    norm: str
    published: str
    kinds: dict[str, str]
    id_lines: int


_WIDE = _Headings("params\nM", "MAdds\nM", "MN-Norm\n", "published", {}, 2)
_NARROW = _Headings(
    "par.\nM",
    "MAdd\nM",
    "MN-\nNorm\n",
    "publ.",
    {"measured": "meas.", "estimated": "est.", "simulated": "sim.", "predicted": "pred.", "published": "publ."},
    4,
)


def _table(comparison: Comparison, words: _Headings, paper: bool) -> Table:
    rows = _all_rows(comparison)
    kinds = {column: _column_kinds(rows, column) for column in comparison.hardware}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", padding=(0, 1) if words is _WIDE else (0, 0))
    table.add_column("model", overflow="fold", min_width=12, vertical="bottom")
    numbers: list[RenderableType] = [words.params, words.madds]
    numbers += [_heading(column, kinds[column], words) for column in comparison.hardware]
    numbers += [f"{words.norm}avg", "max"]
    if paper:
        numbers += [f"Pixel 4\navg\n{words.published}", f"max\n{words.published}"]
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True, vertical="bottom")
    for row in comparison.rows:
        table.add_row(*_cells(row, kinds, paper))
    if len(rows) > len(comparison.rows):
        table.add_section()
        table.add_row(*_cells(comparison.reference, kinds, paper), style="dim")
    return table


def line(row: ComparisonRow) -> str:
    """One row as plain text, for logs; every latency has its kind."""
    latencies = ", ".join(f"{column} {_cell(row, column)} {row.kind.get(column, 'failed')}" for column in row.latency_ms)
    return f"{row.label}: {latencies}; MN-Norm avg {_norm(row, row.mn_norm_avg)}, max {_norm(row, row.mn_norm_max)}"


def footnotes(comparison: Comparison, *, paper: bool = False) -> list[str]:
    """Explanations of the table: reference, estimates and their weight, ×, noise, weights, origins."""
    return list(_footnotes(comparison, paper))


def _footnotes(comparison: Comparison, paper: bool) -> Iterator[str]:
    rows = _all_rows(comparison)
    yield (
        f"MN-Norm: latency over that of {comparison.reference.label} on the same hardware; "
        f"avg is the mean over the {len(comparison.hardware)} columns, max the worst of them. Below 1 is faster."
    )
    yield from _estimates(comparison)
    refused: dict[str, list[str]] = {}
    for row in rows:
        for column, reason in row.reason.items():
            if column in row.failed:
                continue
            refused.setdefault(f"{row.label}: {reason}", []).append(column)
    if refused:
        yield f"{UNSUPPORTED} the whole network did not run there, so the model has no MN-Norm:"
        yield from (f"  {', '.join(columns)}: {what}" for what, columns in refused.items())
    failed = [f"{row.label} on {column}" for row in rows for column in row.failed]
    if failed:
        yield f"{FAILED} not measured, because it failed: {', '.join(failed)}; these models have no MN-Norm."
    if comparison.reference.reason:
        yield f"The reference {comparison.reference.label} did not run everywhere, so no model has an MN-Norm."
    if any(row.noisy for row in rows):
        yield f"{NOISY} noisy: timings did not agree, or the machine was busy or slow; it may be off, as may norms made of it."
    partial = {f"{column} {share}" for row in rows for column, share in row.partial.items() if row.latency_ms[column] is not None}
    if partial:
        yield f"{PARTIAL} only in part on the delegate, the CPU ran the rest (nodes: {', '.join(sorted(partial))})."
    if any(weights == RANDOM_WEIGHTS for row in rows for weights in row.weights.values()):
        yield (
            f"Files carry random weights ({RANDOM_WEIGHTS}): good for latency only; "
            "trained ones can move an estimate by 12 to 19 %."
        )
    if paper:
        yield "Pixel 4: as printed in arXiv 2008.08178, Table 1: mean and worst of CPU float, CPU uint8, GPU, DSP and EdgeTPU."
    yield from _origins(comparison)


def _estimates(comparison: Comparison) -> Iterator[str]:
    """Says which columns are not measured, and their share of the average."""
    rows = _all_rows(comparison)
    everything = len(comparison.hardware)
    for kind, meaning in (
        ("estimated", "a compiler's estimate, not a measurement"),
        ("simulated", "a simulator's figure, not a measurement"),
        ("predicted", "a cost model's prediction, not a measurement"),
    ):
        columns = [column for column in comparison.hardware if kind in _column_kinds(rows, column)]
        if columns:
            share = f"{len(columns)} of {everything} columns"
            weight = f"{share} and dominate avg" if 2 * len(columns) > everything else f"{share} of avg"
            each = "each is" if len(columns) > 1 else "is"
            yield f"{kind}: {', '.join(columns)}: {each} {meaning}; they make up {weight}."


def _origins(comparison: Comparison) -> Iterator[str]:
    """One line for all hardware with equal device and versions."""
    groups: dict[str, list[str]] = {}
    for origin in comparison.origins:
        device = "" if origin.device == origin.hardware else origin.device
        threads = f"{origin.threads} thread{'s' if origin.threads > 1 else ''}" if origin.kind == "measured" else ""
        where = ", ".join(filter(None, (origin.kind, device, origin.runtime, origin.compiler, threads)))
        groups.setdefault(where, []).append(origin.hardware)
    yield from (f"{', '.join(columns)}: {where}." for where, columns in groups.items())


def _all_rows(comparison: Comparison) -> tuple[ComparisonRow, ...]:
    """All rows, with the reference last unless it is one of them."""
    asked_for = any(row.label == comparison.reference.label for row in comparison.rows)
    return comparison.rows if asked_for else (*comparison.rows, comparison.reference)


def _column_kinds(rows: Sequence[ComparisonRow], column: str) -> list[MeasurementKind]:
    """Kinds of a column's latencies, or of its refusals where it has none, in the order of the rows."""
    latencies = [row.kind[column] for row in rows if row.latency_ms[column] is not None]
    return list(dict.fromkeys(latencies or [row.kind[column] for row in rows if column in row.kind]))


def _heading(column: str, kinds: Sequence[MeasurementKind], words: _Headings) -> Text:
    """The hardware id over a few lines, then the kind, as narrow as possible."""
    parts = column.replace("/", "-").split("-")
    cut = max(1, len(parts) - words.id_lines + 1)
    kind = kinds[0] if len(kinds) == 1 else "mixed"
    name = "\n".join(["-".join(parts[:cut]), *parts[cut:]])
    return Text.assemble(name, "\n", (words.kinds.get(kind, kind), "italic" if kind == "measured" else "italic yellow"))


def _cells(row: ComparisonRow, kinds: dict[str, list[MeasurementKind]], paper: bool) -> Iterator[RenderableType]:
    yield Text(row.label)
    yield f"{row.params / 1e6:.2f}"
    yield f"{row.madds / 1e6:.0f}"
    for column in row.latency_ms:
        mixed = len(kinds[column]) > 1 and row.latency_ms[column] is not None
        yield Text(_cell(row, column) + (f" {row.kind[column]}" if mixed else ""))
    yield Text(_norm(row, row.mn_norm_avg), "bold")
    yield Text(_norm(row, row.mn_norm_max), "bold")
    if paper:
        yield NOTHING if row.published is None else _two_places(row.published.mn_norm_avg)
        yield NOTHING if row.published is None else _two_places(row.published.mn_norm_max)


def _cell(row: ComparisonRow, column: str) -> str:
    value = row.latency_ms[column]
    if value is None:
        return FAILED if column in row.failed else UNSUPPORTED
    return f"{NOISY if column in row.noisy else ''}{three_digits(value)}{PARTIAL if column in row.partial else ''}"


def _norm(row: ComparisonRow, value: float | None) -> str:
    return f"{NOISY if row.mn_norm_noisy and value is not None else ''}{_two_places(value)}"


def _two_places(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f}"
