"""Draws the blocks of a space in the order of their effect, with intervals: one panel for each hardware."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mhmodels.search.profiling.block_profile import BlockMean, BlockProfile
from mhmodels.search.profiling.panels import COLOURS, FONT_SIZE, MARKERS, panels, same_space, title
from mhmodels.search.profiling.relative import effect_scale
from mhmodels.search.profiling.words import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ROW_INCHES, _WIDTH_INCHES, _MARGIN_INCHES = 0.19, 2.9, 0.9
_COLUMNS = 4


def ranking_plot(profiles: Mapping[str, BlockProfile], path: Path, metric: str = "latency", unit: str = "ms") -> None:
    """Draws a point and an interval for each block, sorted by the mean over the hardware, with one scale for all hardware.

    Colour and marker tell the block's type. Points are hollow where the interval contains 0.

    Args:
        profiles: Profiles of one space by name of the hardware, at least one.
        path: File to write; its suffix (.png, .svg or .pdf) is the format. It appears complete or not at all.
        metric: Name of the metric.
        unit: Unit of the metric, "" if it is unknown.

    Raises:
        CostModelError: There is no profile, or profiles are of several spaces.
        OSError: The file cannot be written.
    """
    from matplotlib.lines import Line2D

    first = same_space(profiles)
    scale = effect_scale(metric, profiles.values())
    means: dict[str, list[float]] = {}
    for one in profiles.values():
        for block in one.blocks:
            means.setdefault(block.block, []).append(scale.factor(one) * (block.mean or 0.0))
    order = sorted(means, key=lambda block: float(np.mean(means[block])))
    kinds = list(dict.fromkeys(short(block.block).split(" ")[0] for block in sorted(first.blocks, key=lambda one: one.block)))
    size = _WIDTH_INCHES, len(order) * _ROW_INCHES + _MARGIN_INCHES
    with panels(list(profiles), _COLUMNS, size, path) as (figure, grid):
        for axes, (name, one) in zip(grid, profiles.items(), strict=True):
            _draw(axes, one.blocks, scale.factor(one), order, kinds)
            axes.set_title(title(name, one, unit).replace(": ", "\n", 1), fontsize=FONT_SIZE, parse_math=False)
        for axes in grid[-min(_COLUMNS, len(grid)) :]:
            axes.set_xlabel(scale.unit, fontsize=FONT_SIZE - 1)
        handles = [
            Line2D([], [], color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], linestyle="", label=kind)
            for i, kind in enumerate(kinds)
        ]
        hollow = Line2D([], [], color="0.3", marker="o", markerfacecolor="white", linestyle="", label="interval contains 0")
        figure.legend(handles=[*handles, hollow], loc="outside lower center", ncols=len(handles) + 1, fontsize=FONT_SIZE)
        figure.suptitle(
            f"Blocks of {first.space}: {scale.label}, {100 * first.confidence:.4g} % intervals\n"
            "left of the line: less than the mean network",
            fontsize=FONT_SIZE + 1,
            parse_math=False,
        )


def _draw(axes: Axes, blocks: tuple[BlockMean, ...], factor: float, order: list[str], kinds: list[str]) -> None:
    axes.axvline(0, color="0.4", linewidth=1)
    for one in blocks:
        assert one.mean is not None
        assert one.low is not None
        assert one.high is not None
        kind, row = kinds.index(short(one.block).split(" ")[0]), order.index(one.block)
        colour = COLOURS[kind % len(COLOURS)]
        axes.plot([factor * one.low, factor * one.high], [row, row], color=colour, linewidth=1.3)
        face = colour if one.is_clear else "white"
        axes.plot(factor * one.mean, row, MARKERS[kind % len(MARKERS)], color=colour, markerfacecolor=face, markersize=4.5)
    axes.set_yticks(range(len(order)), [short(block) for block in order], fontsize=FONT_SIZE - 1, parse_math=False)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.tick_params(axis="x", labelsize=FONT_SIZE - 1)
    axes.grid(axis="both", color="0.92", linewidth=0.7)
    axes.set_axisbelow(True)
