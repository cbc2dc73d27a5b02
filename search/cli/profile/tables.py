"""Tables of `mhmodels search profile`: ranking of the blocks, strongest effects of single layers, and shares of the layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mhmodels.cli.common import console, note

if TYPE_CHECKING:
    from rich.table import Table

    from mhmodels.search.profiling.block_profile import BlockProfile, Effect
    from mhmodels.search.profiling.shares import LayerShare

_WIDTH = 80
_STRONGEST = 10
_LONGEST_BAR = 20
_NEGATIVE = -0.005
"""Share below which a part is negative by more than rounding."""


def print_profile(name: str, profile: BlockProfile, metric: str, unit: str) -> None:
    """Prints a profile.

    Args:
        name: Name of the hardware, or of the metric.
        profile: The profile.
        metric: Name of the metric.
        unit: Unit of the metric, "" if it is unknown.
    """
    from mhmodels.search.profiling.relative import effect_scale
    from mhmodels.search.profiling.words import short

    out, scale = console(), effect_scale(metric, [profile])
    percents = ("of mean",) if scale.percent else ()

    def percent_of(effect: Effect) -> tuple[str, ...]:
        return (f"{scale.factor(profile) * (effect.mean or 0.0):+.1f} %",) if scale.percent else ()

    percent = f"{100 * profile.confidence:.4g} %"
    out.print(
        f"{name} on {profile.space}: {profile.n} networks, mean network {profile.level:.4g} {unit}".rstrip(),
        markup=False,
        soft_wrap=True,
    )
    ranking = _table("block", "layers", f"effect {unit}".rstrip(), f"{percent} interval", *percents)
    for block in profile.blocks:
        ranking.add_row(short(block.block), str(block.locations), *_numbers(block), *percent_of(block))
    out.print(ranking, width=_WIDTH)
    known = [one for one in profile.effects if one.mean is not None]
    strongest = sorted(known, key=lambda one: -abs(one.mean or 0))[:_STRONGEST]
    table = _table("unit", "layer", "block", f"effect {unit}".rstrip(), f"{percent} interval", *percents)
    for one in strongest:
        table.add_row(str(one.unit), str(one.layer), short(one.block), *_numbers(one), *percent_of(one))
    out.print(f"strongest placement effects of {len(known)}, {sum(one.is_clear for one in known)} of them clear:", markup=False)
    out.print(table, width=_WIDTH)
    out.print("effects are differences from the mean network; ~: the interval contains 0\n", markup=False)


def print_shares(shares: Mapping[str, Sequence[LayerShare]], profile: BlockProfile) -> None:
    """Prints the share of each layer.

    Args:
        shares: Shares by name of the hardware.
        profile: A profile of the same networks, for the space and the confidence of the intervals.
    """
    out = console()
    for name, each in shares.items():
        modelled = any(one.p5 is not None for one in each)
        limits = "5 to 95 % of networks" if modelled else f"{100 * profile.confidence:.4g} % interval"
        table = _table("unit.layer", "present", "share", limits, "")
        for one in each:
            low, high = (one.p5, one.p95) if modelled else (one.low, one.high)
            table.add_row(
                one.part, f"{one.present:.0%}", _percent(one.mean), f"{_percent(low)} to {_percent(high)}", _bar(one.mean)
            )
        out.print(f"{name} on {profile.space}: shares of the mean network", markup=False, soft_wrap=True)
        out.print(table, width=_WIDTH)
        rest = 1 - sum(one.mean or 0.0 for one in each)
        if modelled:
            out.print("as the cost model divides latency; networks without the layer count as 0 in the share\n", markup=False)
            if any((one.mean or 0.0) < _NEGATIVE for one in each):
                note(
                    f"warning: {name}: parts with a share below 0: the cost model has weights below 0, whose division means "
                    "nothing; fit it with `search fit --nonnegative`"
                )
        else:
            out.print(f"what every network has: {rest:.1%}, which whole networks do not tell apart\n", markup=False)


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _bar(value: float | None) -> str:
    return "█" * min(max(round(100 * (value or 0.0)), 0), _LONGEST_BAR)


def _table(*headings: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(*headings, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in table.columns:
        column.justify = "left" if column.header in ("block", "") else "right"
        column.no_wrap = True
    return table


def _numbers(effect: Effect) -> tuple[str, str]:
    """An effect and its interval, with as many decimals as the interval is wide."""
    import math

    assert effect.mean is not None
    assert effect.low is not None
    assert effect.high is not None
    half = max((effect.high - effect.low) / 2, abs(effect.mean) / 1000, 1e-6)
    decimals = min(max(1 - math.floor(math.log10(half)), 0), 6)
    mark = "" if effect.is_clear else "~"
    return f"{mark}{effect.mean:+.{decimals}f}", f"{effect.low:+.{decimals}f} to {effect.high:+.{decimals}f}"
