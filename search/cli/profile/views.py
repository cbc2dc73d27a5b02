"""What `mhmodels search profile --view` shows, as tables for the terminal and as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mhmodels.cli.common import console, note

if TYPE_CHECKING:
    from mhmodels.search.profiling.block_profile import BlockProfile
    from mhmodels.search.profiling.shares import LayerShare

BLOCKS, MAP, SHARE = VIEWS = ("blocks", "map", "share")


def show(
    view: str, profiles: Mapping[str, BlockProfile], shares: Mapping[str, Sequence[LayerShare]], metric: str, unit: str
) -> None:
    """Prints a view.

    Args:
        view: One of `VIEWS`.
        profiles: Profiles by name of the hardware, or of the metric.
        shares: Shares of the layers, by the same names.
        metric: Name of the metric.
        unit: Unit of the metric, "" if it is unknown.
    """
    from mhmodels.search.cli.profile.tables import print_profile, print_shares
    from mhmodels.search.cli.profile.text_map import text_map
    from mhmodels.search.profiling.relative import effect_scale

    if view == MAP:
        for line in text_map(profiles, effect_scale(metric, profiles.values())):
            console().print(line, soft_wrap=True)
    elif view == SHARE:
        print_shares(shares, next(iter(profiles.values())))
    else:
        for name, one in profiles.items():
            print_profile(name, one, metric, unit)


def draw(
    view: str,
    profiles: Mapping[str, BlockProfile],
    shares: Mapping[str, Sequence[LayerShare]],
    metric: str,
    unit: str,
    path: Path,
) -> None:
    """Draws a view.

    Args:
        view, profiles, shares, metric, unit: As in `show`.
        path: Picture to write.
    """
    from mhmodels.search.profiling.heat_map import effect_map
    from mhmodels.search.profiling.ranking_plot import ranking_plot
    from mhmodels.search.profiling.share_plot import share_plot

    if view == SHARE:
        first = next(iter(profiles.values()))
        caption = f"Where the {metric} of the mean network of {first.space} is spent\n{share_source(shares, first)}"
        share_plot(shares, path, caption)
    else:
        (effect_map if view == MAP else ranking_plot)(profiles, path, metric, unit)
    note(f"drawn to {path}")


def share_source(shares: Mapping[str, Sequence[LayerShare]], profile: BlockProfile) -> str:
    """Says where shares come from.

    Args:
        shares: Shares by name of the hardware.
        profile: A profile, for the confidence of the intervals.
    """
    if any(one.p5 is not None for each in shares.values() for one in each):
        return "as the cost models divide it among the layers"
    return f"optional layers: what their presence adds, with {100 * profile.confidence:.4g} % intervals"
