"""What `mhmodels place` prints for people: a table of verdicts, what was refused, and the SoCs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mhmodels.cli.common import console

if TYPE_CHECKING:
    from mhmodels.hardware import Placement, PlacementSoc, RefusedOperator

_MOST_GROUPS = 6


def print_placements(placements: Sequence[Placement]) -> None:
    """Prints a row for each verdict, and below the table what was refused and what helps."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    headings = ("network", "format", "SoC", "whole", "taken", "parts", "MB in", "MB out")
    table = Table(*headings, box=box.SIMPLE, show_edge=False, padding=(0, 1, 0, 0))
    table.columns[0].overflow = "fold"
    for column in table.columns[4:]:
        column.justify = "right"
    for one in placements:
        taken = f"{one.operators_taken}/{one.operators}"
        moved = (_megabytes(one.ddr_read_bytes), _megabytes(one.ddr_write_bytes))
        table.add_row(escape(one.model), one.format, one.soc, "yes" if one.whole else "no", taken, str(one.partitions), *moved)
    out = console()
    out.print(table)
    out.print("MB in, MB out: read from and written to the main memory in an inference")
    for one in placements:
        if not one.whole:
            for line in _refusals(one):
                out.print(escape(line), soft_wrap=True)
    for compiler in dict.fromkeys(one.compiler for one in placements):
        seconds = sum(one.seconds for one in placements)
        out.print(f"compiler: {compiler}; {seconds:.1f} s for {len(placements)} verdict{'s' if len(placements) > 1 else ''}")


def print_socs(socs: Sequence[PlacementSoc]) -> None:
    """Prints the SoCs that networks can be placed on."""
    from rich import box
    from rich.table import Table

    table = Table("SoC", "on the market", "made for", "NPU", "listed by Google", box=box.SIMPLE)
    for soc in socs:
        table.add_row(soc.name, soc.product or "-", soc.device, f"HTP v{soc.generation}", "yes" if soc.listed else "")
    console().print(table)


def _megabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:.2f}"


def _refusals(one: Placement) -> list[str]:
    """Returns the refused operators in words, those of one kind and reason together."""
    where = f"{one.soc} ({one.product})" if one.product else one.soc
    groups: dict[tuple[str, str, str], list[RefusedOperator]] = {}
    for operator in one.refused:
        groups.setdefault((operator.kind, operator.reason, operator.remedy), []).append(operator)
    outside = "1 operator stays" if len(one.refused) == 1 else f"{len(one.refused)} operators stay"
    lines = [f"{one.model} on {where}: {one.refusal or f'{outside} outside of the NPU'}"]
    lines += [f"  {_group(operators)}: {reason}" for (_, reason, _), operators in list(groups.items())[:_MOST_GROUPS]]
    if len(groups) > _MOST_GROUPS:
        lines.append(f"  and {len(groups) - _MOST_GROUPS} more kinds and reasons; --json lists all")
    remedies = dict.fromkeys(operator.remedy for operator in one.refused if operator.remedy)
    return lines + [f"  remedy: {remedy}" for remedy in remedies]


def _group(operators: Sequence[RefusedOperator]) -> str:
    first = operators[0]
    if len(operators) == 1:
        return f"operator {first.position} ({first.kind}) '{first.tensor}'"
    return f"{len(operators)} {first.kind}, the first is operator {first.position} '{first.tensor}'"
