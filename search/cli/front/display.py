"""What `search run` shows of a measured front: progress, its members with predicted and measured latencies, and the errors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mhmodels.cli.common import console, note
from mhmodels.cli.messages import named_options

if TYPE_CHECKING:
    from mhmodels.search.cli.collect_display import Advance, Tell
    from mhmodels.search.collecting.plan import CollectPlan
    from mhmodels.search.run.front.judging import FrontMember, MeasuredFront


@contextmanager
def measuring(plan: CollectPlan) -> Iterator[tuple[Advance, Tell]]:
    """Says how many members are in the store, and shows the progress of the others."""
    from mhmodels.search.cli.collect_display import introduce, progress_bars

    note(f"the front has {len(plan.networks)} members, measured on {', '.join(one.hardware.id for one in plan.targets)}")
    introduce(plan)
    with progress_bars(plan) as shown:
        yield shown


def show_front(front: MeasuredFront, found: str) -> None:
    """Prints the members, the errors of the cost models, and warnings; both tables fit 80 columns for ids of usual length.

    Args:
        front: The measured front.
        found: Label of the network that the search found.
    """
    from rich.table import Table

    out, several = console(), len(front.hardware) > 1
    kinds = dict.fromkeys(report.kind for report in front.hardware)
    kind, all_kinds = next(iter(kinds)) if len(kinds) == 1 else "on hardware", " and ".join(kinds)
    unit = f"f_{front.aggregate}" if several else front.hardware[0].hardware
    first = "predicted" if front.predicted else "in search"
    of = f"{len(front.kept)} of {len(front.members)} members kept by {all_kinds} latencies"
    out.print(f"\nfound front of accuracy and {unit}:\n{of}", markup=False)
    columns = [f"{unit}\n{first}", f"{unit}\n{kind}"] if several else [f"{first} ms", f"{kind} ms"]
    table = Table("member", "accuracy", *columns, "error", "verdict")
    for number, member in enumerate(front.members, 1):
        table.add_row(str(number), f"{member.accuracy:.2%}", *_values(member, several), _verdict(member))
    out.print(table, markup=False)
    _show_errors(front)
    if front.best is not None:
        best = front.members[front.best]
        out.print(f"highest reward by these latencies: {best.measured_reward:.4f}, member {front.best + 1}", markup=False)
    out.print(_place_of_found(front, found), markup=False)
    tell_warnings(front)


def tell_warnings(front: MeasuredFront) -> None:
    """Prints on stderr what limits the result: cost models that are off, noisy latencies, a front of one member."""
    for report in front.hardware:
        if report.noisy:
            note(f"warning: {report.noisy} of {report.members} latencies on {report.hardware} are noisy")
        if report.warning:
            note(f"warning: {named_options(report.warning)}")
    if len(front.members) == 1:
        note(
            "the front has one member, so that no member can be dominated: more --evaluations, or --method nsga2, find a larger "
            "front"
        )


def _show_errors(front: MeasuredFront) -> None:
    from rich.table import Table

    table = Table("hardware", "kind", "members", "median\nerror", "largest\nerror", "held-out\nerror")
    for report in front.hardware:
        of = f"{report.members} of {len(front.members)}"
        errors = (report.median_error, report.largest_error, report.held_out_error)
        cells = ["" if error is None else f"{error:.1%}" for error in errors]
        if report.held_out_statistic:
            cells[-1] += f" {report.held_out_statistic}"
        table.add_row(report.hardware, report.kind, of, *cells)
    console().print(table, markup=False)


def _values(member: FrontMember, several: bool) -> tuple[str, str, str]:
    """Predicted value, measured value, and the relative error of the prediction."""
    if several:
        predicted, measured = member.predicted_f, member.measured_f
    else:
        predicted, measured = float(member.predicted_ms[0]), float(member.measured_ms[0])
    if math.isnan(measured):
        return f"{predicted:.4g}", "", ""
    return f"{predicted:.4g}", f"{measured:.4g}", f"{predicted / measured - 1:+.1%}"


def _verdict(member: FrontMember) -> str:
    return member.verdict if member.dominated_by is None else f"dominated by {member.dominated_by + 1}"


def _place_of_found(front: MeasuredFront, found: str) -> str:
    """Says which member the network is that the search found: the reward chose it, and the front may have no place for it."""
    for number, member in enumerate(front.members, 1):
        if member.label == found:
            return f"the network that the search found is member {number}: {_verdict(member)}"
    return "the network that the search found is no member: another network dominates it"
