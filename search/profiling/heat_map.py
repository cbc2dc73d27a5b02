"""Draws the effects of blocks by layer as heat maps, one for each hardware."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mhmodels.search.arrays import Floats
from mhmodels.search.profiling.block_profile import BlockProfile
from mhmodels.search.profiling.panels import FONT_SIZE, blocks_of, panels, place_labels, places_of, same_space, title
from mhmodels.search.profiling.relative import effect_scale
from mhmodels.search.profiling.words import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

_CELL_INCHES = (0.3, 0.21)
"""Width and height of a cell."""
_MARGINS_INCHES = (1.3, 0.75)
"""Space for the names of blocks, and for title and layers."""
_COLOURS = "RdBu_r"
"""Diverging colours, red for more and blue for less, that people with any colour vision tell apart."""


def effect_map(profiles: Mapping[str, BlockProfile], path: Path, metric: str = "latency", unit: str = "ms") -> None:
    """Draws the placement effect of each block at each layer as a coloured cell, with one scale for all hardware.

    Cells whose interval contains 0 have a grey point, and blocks that a layer or the sample does not have are grey and hatched.
    Colours end at the 98 % quantile of the effects' magnitudes.

    Args:
        profiles: Profiles of one space by name of the hardware, at least one.
        path: File to write; its suffix (.png, .svg or .pdf) is the format. It appears complete or not at all.
        metric: Name of the metric.
        unit: Unit of the metric, "" if it is unknown.

    Raises:
        CostModelError: There is no profile, or profiles are of several spaces.
        OSError: The file cannot be written.
    """
    first = same_space(profiles)
    places, blocks = places_of(first), blocks_of(first)
    scale = effect_scale(metric, profiles.values())
    values = {name: _values(one, scale.factor(one), places, blocks) for name, one in profiles.items()}
    known = np.abs(np.concatenate([each[np.isfinite(each)] for each in values.values()]))
    most = float(np.quantile(known, 0.98)) if len(known) and known.max() > 0 else 1.0
    size = len(places) * _CELL_INCHES[0] + _MARGINS_INCHES[0], len(blocks) * _CELL_INCHES[1] + _MARGINS_INCHES[1]
    with panels(list(profiles), 2, size, path) as (figure, grid):
        for axes, (name, one) in zip(grid, profiles.items(), strict=True):
            image = _draw(axes, one, values[name], most, places, blocks)
            axes.set_title(title(name, one, unit), fontsize=FONT_SIZE, parse_math=False)
        bar = figure.colorbar(image, ax=grid, extend="both", shrink=1 / np.sqrt(-(-len(grid) // 2)), pad=0.01)
        bar.set_label(f"{scale.label}\nred more, blue less", fontsize=FONT_SIZE)
        bar.ax.tick_params(labelsize=FONT_SIZE - 1)
        figure.suptitle(
            f"What each block at each layer of {first.space} does to {metric}\n"
            "grey point: the interval contains 0; hatched: no such block, or in no network",
            fontsize=FONT_SIZE + 1,
            parse_math=False,
        )


def _values(profile: BlockProfile, factor: float, places: list[tuple[int, int]], blocks: list[str]) -> Floats:
    """(blocks, layers), scaled effects; NaN where there is none."""
    values = np.full((len(blocks), len(places)), np.nan)
    for one in profile.effects:
        if one.mean is not None:
            values[blocks.index(one.block), places.index((one.unit, one.layer))] = factor * one.mean
    return values


def _draw(
    axes: Axes, profile: BlockProfile, values: Floats, most: float, places: list[tuple[int, int]], blocks: list[str]
) -> AxesImage:
    from matplotlib.colors import Normalize

    image = axes.imshow(values, cmap=_COLOURS, norm=Normalize(-most, most), aspect="auto")
    axes.patch.set(facecolor="0.9", hatch="///", edgecolor="0.7")
    unclear = [one for one in profile.effects if one.mean is not None and not one.is_clear]
    if unclear:
        columns = [places.index((one.unit, one.layer)) for one in unclear]
        axes.scatter(columns, [blocks.index(one.block) for one in unclear], s=6, color="0.4", linewidths=0)
    axes.set_yticks(range(len(blocks)), [short(block) for block in blocks], fontsize=FONT_SIZE - 1, parse_math=False)
    labels, caption = place_labels(places)
    crowded = max(map(len, labels)) > 2
    axes.set_xticks(range(len(places)), labels, fontsize=FONT_SIZE - 2 if crowded else FONT_SIZE - 1)
    axes.set_xlabel(f"{caption} (input at the left)", fontsize=FONT_SIZE - 1)
    for place in range(1, len(places)):
        if caption == "unit.layer" and places[place][0] != places[place - 1][0]:
            axes.axvline(place - 0.5, color="0.2", linewidth=1)
    axes.tick_params(length=0)
    return image
