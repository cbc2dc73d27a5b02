"""What `mhmodels advise` prints: the costliest layers, what their figures say, and what changes would save; 80 columns wide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mhmodels.cli.common import console

if TYPE_CHECKING:
    from rich.table import Table

    from mhmodels.advice import Advice, ChangeResult
    from mhmodels.hardware import LayerCost, LayerProfile
    from mhmodels.hardware.layers.file_layers import FileLayer

WIDTH = 80
_SHOWN_CHANGES = 12
_SHORT = {"fused_inverted_bottleneck": "fused IB", "inverted_bottleneck": "IB", "expanded_filters": "expanded", "_": "-"}
_OPERATORS = {"CONV_2D": "conv", "DEPTHWISE_CONV_2D": "dw", "FULLY_CONNECTED": "dense"}


def print_advice(advice: Advice, top: int) -> None:
    """Prints advice as text."""
    profile = advice.profile
    _wrapped(
        f"{profile.model} on {profile.hardware}: {profile.total:.4g} {profile.unit}, {profile.kind}{', noisy' * profile.noisy}; "
        f"{len(profile.layers)} layers add up to {profile.covered:.1%}"
    )
    console().print(_layer_table(advice, top), width=WIDTH)
    for number, finding in enumerate(advice.findings, 1):
        _wrapped(f"{number:2d}  {finding.layer}: {finding.text}.")
    if profile.merged:
        shown = ", ".join(profile.merged[:3]) + (f" and {len(profile.merged) - 3} more" if len(profile.merged) > 3 else "")
        _wrapped(f"Layers without a cost of their own, computed in another or not at all: {shown}.", before="\n")
    for text in profile.notes:
        _wrapped(text)
    _print_changes(advice)


def _layer_table(advice: Advice, top: int) -> Table:
    """The costliest layers: with what limits them where the tool tells that, else with the standard errors of their costs."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    profile, shapes = advice.profile, {shape.name: shape for shape in advice.shapes}
    told = any(layer.bound for layer in profile.layers)
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
    table.add_column("", justify="right")
    table.add_column("layer", max_width=24, no_wrap=True, overflow="ellipsis")
    used = any(layer.utilisation is not None for layer in profile.layers)
    last = ("limit", *(["MAC use"] if used else [])) if told else ("std. error",)
    for name in ("operation", "output", profile.unit, "share", *last):
        table.add_column(name, justify="left" if name in ("operation", "output", "limit") else "right", no_wrap=True)
    for number, layer in enumerate(profile.costliest(top), 1):
        shape = shapes.get(layer.name)
        values = (_limit(layer), *([_percent(layer.utilisation)] if used else [])) if told else (_error(layer),)
        spent = amount(layer.cost, profile.total)
        table.add_row(
            str(number), escape(layer.name), operation(layer, shape), output(shape), spent, f"{layer.share:.1%}", *values
        )
    return table


def _limit(layer: LayerCost) -> str:
    return (layer.memory or layer.bound).removeprefix("off-chip ").removeprefix("on-chip ")


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"


def _error(layer: LayerCost) -> str:
    return "" if layer.standard_error is None else f"{layer.standard_error:.4f}"


def operation(layer: LayerCost, shape: FileLayer | None) -> str:
    """An operator with its kernel, such as `dw 5x5`."""
    name = _OPERATORS.get(layer.operator)
    if name is None or shape is None:
        return layer.operator.lower()[:12]
    return name if name == "dense" else f"{name} {shape.kernel[0]}x{shape.kernel[1]}"


def output(shape: FileLayer | None) -> str:
    """Height, width and channels of what a layer writes."""
    return "" if shape is None else f"{shape.size[0]}x{shape.size[1]}x{shape.channels}"


def amount(value: float, total: float) -> str:
    """A part of a total, in ms or cycles, with three decimals; one more for totals below 1, none for parts from 100 on."""
    return f"{value:.0f}" if value >= 100 else f"{value:.{3 if total >= 1 else 4}f}"


def _print_changes(advice: Advice) -> None:
    if advice.no_changes:
        _wrapped(advice.no_changes, before="\n")
        return
    clear = [change for change in advice.changes if change.clear and change.saves is not None]
    saving = [change for change in clear if (change.saves or 0) > 0]
    unit = advice.profile.unit
    if saving:
        click.echo(f"\nWhat changes of these blocks save, of {advice.profile.total:.4g} {unit}:")
        console().print(_change_table(saving[:_SHOWN_CHANGES], advice.profile), width=WIDTH)
    else:
        click.echo("\nNo change that was tried makes the network faster.")
    counts = {
        "save less than these": len(saving) - len(saving[:_SHOWN_CHANGES]),
        "make it slower": len(clear) - len(saving),
        "make no clear change": sum(not change.clear and not change.reason for change in advice.changes),
        "give no latency": sum(bool(change.reason) for change in advice.changes),
    }
    rest = ", ".join(f"{number} {text}" for text, number in counts.items() if number)
    if rest:
        _wrapped(f"Of {len(advice.changes)} changes that were tried, {rest} (--json lists all).")
    _wrapped("Accuracy was not looked at: a changed network has to be trained again.")


def _change_table(changes: Sequence[ChangeResult], profile: LayerProfile) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    table.add_column("block", no_wrap=True)
    table.add_column("change", ratio=1)
    measured = any(change.low is not None for change in changes)
    for name in (f"saves {profile.unit}", *(["95 % in"] if measured else []), "share", "MAdds M", "params k"):
        table.add_column(name, justify="right", no_wrap=True)
    for change in changes:
        spread = "" if change.low is None or change.high is None else f"{change.low:.2f}..{change.high:.2f}"
        table.add_row(
            change.block, _short(change.text), amount(change.saves or 0.0, profile.total), *([spread] if measured else []),
            f"{change.saves_share:.1%}", signed(change.madds, 1e6), signed(change.params, 1e3),
        )  # fmt: skip
    return table


def _short(text: str) -> str:
    for name, short in _SHORT.items():
        text = text.replace(name, short)
    return text


def signed(count: int, unit: float) -> str:
    """A change of a count with its sign, in a unit such as 1e6."""
    return "0" if not count else f"{count / unit:+,.{1 if abs(count) >= unit else 2}f}"


def _wrapped(text: str, before: str = "") -> None:
    click.echo(before + click.wrap_text(text, WIDTH, subsequent_indent="    "))
