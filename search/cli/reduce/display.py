"""What `mhmodels search reduce` prints: removed blocks and layers with their numbers, and the size of the space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mhmodels.cli.common import console

if TYPE_CHECKING:
    from rich.table import Table

    from mhmodels.search.cli.reduce.inputs import ReductionProfiles
    from mhmodels.search.profiling.block_profile import Effect
    from mhmodels.search.reduction.reduction import ChoiceCost, Reduction
    from mhmodels.search.space.search_space import SearchSpace

_WIDTH = 80
_MOST = 40


def document(found: Reduction) -> dict[str, object]:
    """A reduction as JSON values."""
    import msgspec

    fields: dict[str, object] = msgspec.to_builtins(found)
    return {"rule": "intervals", **fields}


def rule_document(space: SearchSpace, reduced: SearchSpace, rule: str) -> dict[str, object]:
    """A published reduction as JSON values.

    Args:
        space: The space before.
        reduced: The space after.
        rule: Name of the reduction.
    """
    return {
        "rule": rule,
        "space": space.name,
        "schema": space.schema,
        "removed": [{"decision": name, "choices": words} for name, words in _lost(space, reduced)],
        "log10_before": math.log10(space.sizes.distinct),
        "log10_after": math.log10(reduced.sizes.distinct),
    }


def show(found: Reduction, profiles: ReductionProfiles, space: SearchSpace, reduced: SearchSpace) -> None:
    """Prints a reduction by measurements.

    Args:
        found: The reduction.
        profiles: Profiles that it compares.
        space: The space before.
        reduced: The space after.
    """
    out = console()
    for name, one in profiles.latency.items():
        out.print(f"{name}: {one.n} networks, mean network {one.level:.4g} ms", markup=False, soft_wrap=True)
    for name, rate in found.exchange.items():
        blocks = f"{rate / 100:.3g} by blocks" if rate else "no block has a clear price"
        out.print(
            f"{name}: accuracy for 1 % of latency: {blocks}, {found.depth_exchange[name] / 100:.3g} by blocks and layers",
            markup=False,
            soft_wrap=True,
        )
    _show_blocks(found)
    _show_caps(found)
    if not found.removed and not found.caps:
        out.print("nothing is removed: no block and no last layer is clearly too dear")
    for remark in found.kept:
        out.print(remark, markup=False)
    show_size(space, reduced)


def show_rule(space: SearchSpace, reduced: SearchSpace, rule: str) -> None:
    """Prints a published reduction; the arguments are those of `rule_document`."""
    out = console()
    out.print(f"{rule} removes:", markup=False)
    for name, words in _lost(space, reduced):
        out.print(f"  {name}: {', '.join(words)}", markup=False)
    show_size(space, reduced)


def show_size(space: SearchSpace, reduced: SearchSpace) -> None:
    """Prints the numbers of networks before and after."""
    from mhmodels.search.cli.space import count_text

    before, after = space.sizes.distinct, reduced.sizes.distinct
    console().print(
        f"{space.name}: {count_text(before)} networks before, {count_text(after)} after "
        f"(log10 {math.log10(before):.2f} and {math.log10(after):.2f})"
    )


def _show_blocks(found: Reduction) -> None:
    from mhmodels.search.profiling.words import short

    if not found.removed:
        return
    out, table = console(), _table("unit", "block", "by", "latency %", "accuracy")
    for one in found.removed[:_MOST]:
        unit = str(one.unit) if one.unit else "all"
        table.add_row(unit, short(one.block), short(one.by), _least(one.cost), _numbers(one.accuracy, 1, 4))
    out.print(f"blocks of units that are removed, and faster blocks that remain ({len(found.removed)}):")
    out.print(table, width=_WIDTH)
    if len(found.removed) > _MOST:
        out.print(f"… and {len(found.removed) - _MOST} more, which --json lists")


def _show_caps(found: Reduction) -> None:
    if not found.caps:
        return
    out, table = console(), _table("unit", "layers left", "latency %", "accuracy")
    for one in found.caps:
        table.add_row(str(one.unit), f"up to {one.layers}", _least(one.cost), _numbers(one.accuracy, 1, 4))
    out.print(f"last layers that are removed ({len(found.caps)}):")
    out.print(table, width=_WIDTH)


def _least(costs: Sequence[ChoiceCost]) -> str:
    """The smallest of the costs on several hardware, which is the one that decides."""
    return _numbers(min(costs, key=lambda cost: cost.mean or 0), 100, 1)


def _numbers(effect: Effect, factor: float, most: int) -> str:
    """An effect with its interval, with as many decimals as the interval asks for, up to a number."""
    assert effect.mean is not None
    assert effect.low is not None
    assert effect.high is not None
    mean, low, high = (factor * value for value in (effect.mean, effect.low, effect.high))
    decimals = min(max(1 - math.floor(math.log10(max((high - low) / 2, abs(mean) / 1000, 1e-6))), 0), most)
    return f"{mean:+.{decimals}f} ({low:+.{decimals}f} to {high:+.{decimals}f})"


def _table(*headings: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(*headings, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in table.columns:
        column.justify = "left" if column.header in ("block", "by", "layers left") else "right"
        column.no_wrap = column.justify == "right"
    return table


def _lost(space: SearchSpace, reduced: SearchSpace) -> list[tuple[str, list[str]]]:
    """Decisions that lose choices, with these in words."""
    from mhmodels.search.space.decisions import describe

    return [
        (decision.name, [describe(decision.choices[i]) for i in before if i not in after])
        for decision, before, after in zip(space.decisions, space.allowed, reduced.allowed, strict=True)
        if len(after) < len(before)
    ]
