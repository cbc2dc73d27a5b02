"""What `mhmodels search profile` prints for people: the ranking of the blocks, and the strongest effects of single layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mhmodels.cli.common import console

if TYPE_CHECKING:
    from rich.table import Table

    from mhmodels.search.profiling.block_profile import BlockProfile, Effect

_WIDTH = 80
_STRONGEST = 10


def print_profile(name: str, profile: BlockProfile, unit: str) -> None:
    """Prints a profile.

    Args:
        name: Name of the hardware, or of the metric.
        profile: The profile.
        unit: Unit of the metric, "" if it is unknown.
    """
    from mhmodels.search.profiling.words import short

    out = console()
    percent = f"{100 * profile.confidence:.4g} %"
    out.print(
        f"{name} on {profile.space}: {profile.n} networks, mean network {profile.level:.4g} {unit}".rstrip(),
        markup=False,
        soft_wrap=True,
    )
    ranking = _table("block", "layers", f"effect {unit}".rstrip(), f"{percent} interval")
    for block in profile.blocks:
        ranking.add_row(short(block.block), str(block.locations), *_numbers(block))
    out.print(ranking, width=_WIDTH)
    known = [one for one in profile.effects if one.mean is not None]
    strongest = sorted(known, key=lambda one: -abs(one.mean or 0))[:_STRONGEST]
    table = _table("unit", "layer", "block", f"effect {unit}".rstrip(), f"{percent} interval")
    for one in strongest:
        table.add_row(str(one.unit), str(one.layer), short(one.block), *_numbers(one))
    out.print(f"strongest placement effects of {len(known)}, {sum(one.is_clear for one in known)} of them clear:", markup=False)
    out.print(table, width=_WIDTH)
    out.print("effects are differences from the mean network; ~: the interval contains 0\n", markup=False)


def _table(*headings: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(*headings, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in table.columns:
        column.justify = "left" if column.header == "block" else "right"
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
