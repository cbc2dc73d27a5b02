"""Draws the effects of blocks by layer as heat maps, one for each hardware."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mhmodels.search.errors import CostModelError
from mhmodels.search.profiling.block_profile import BlockProfile, PlacementEffect
from mhmodels.search.profiling.words import short
from mhmodels.system.files import replaced
from mhmodels.system.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

_CELL_INCHES = (0.34, 0.22)
"""Width and height of a cell."""
_MARGINS_INCHES = (3.2, 1.3)
"""Space for the names of blocks and the colour bar, and for title and layers."""
_COLOURS = "RdBu_r"
"""Diverging colours, red for more and blue for less, that people with any colour vision tell apart."""


def effect_map(profiles: Mapping[str, BlockProfile], path: Path, unit: str = "ms") -> None:
    """Draws the placement effect of each block at each layer as a coloured cell.

    Cells whose interval contains 0 have a grey point, and layers without the block are grey and hatched. Colours end at the 98 %
    quantile of the effects' magnitudes.

    Args:
        profiles: Profiles of one space by name of the hardware, at least one.
        path: File to write; its suffix (.png, .svg or .pdf) is the format. It appears complete or not at all.
        unit: Unit of the metric, "" if it is unknown.

    Raises:
        CostModelError: There is no profile, or profiles are of several spaces.
        OSError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    if len({one.space for one in profiles.values()}) != 1:
        raise CostModelError(f"argument 'profiles' has {len(profiles)} profiles, expected at least one, all of the same space")
    first = next(iter(profiles.values()))
    places = list(dict.fromkeys((one.unit, one.layer) for one in first.effects))
    blocks = list(dict.fromkeys(one.block for one in first.effects))
    width = len(places) * _CELL_INCHES[0] + _MARGINS_INCHES[0]
    height = len(profiles) * (len(blocks) * _CELL_INCHES[1] + _MARGINS_INCHES[1])
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(len(profiles), 1, squeeze=False)[:, 0]
    for each, (name, profile) in zip(axes, profiles.items(), strict=True):
        image = _draw(each, profile.effects, places, blocks)
        bar = figure.colorbar(image, ax=each, shrink=0.8, extend="both")
        bar.set_label(f"effect {f'({unit})' if unit else ''}".strip(), fontsize=8)
        bar.ax.tick_params(labelsize=8)
        title = f"{printable(name)}: {profile.space}, {profile.n} networks, mean {profile.level:.4g} {unit}".rstrip()
        each.set_title(title, fontsize=9, parse_math=False)
    with replaced(path) as beside:
        figure.savefig(beside, dpi=150)


def _draw(axes: Axes, effects: tuple[PlacementEffect, ...], places: list[tuple[int, int]], blocks: list[str]) -> AxesImage:
    from matplotlib.colors import Normalize

    values = np.full((len(blocks), len(places)), np.nan)
    unclear = []
    for one in effects:
        row, column = blocks.index(one.block), places.index((one.unit, one.layer))
        if one.mean is not None:
            values[row, column] = one.mean
            if not one.is_clear:
                unclear.append((column, row))
    known = np.abs(values[np.isfinite(values)])
    most = float(np.quantile(known, 0.98)) if len(known) else 1.0
    image = axes.imshow(values, cmap=_COLOURS, norm=Normalize(-(most or 1.0), most or 1.0), aspect="auto")
    axes.patch.set(facecolor="0.9", hatch="///", edgecolor="0.7")
    if unclear:
        columns, rows = zip(*unclear, strict=True)
        axes.scatter(columns, rows, s=7, color="0.45", linewidths=0)
    axes.set_yticks(range(len(blocks)), [short(block) for block in blocks], fontsize=7, parse_math=False)
    several = len({unit for unit, _ in places}) > 1 and len({layer for _, layer in places}) > 1
    single = len({layer for _, layer in places}) == 1
    labels = [f"{unit}.{layer}" if several else str(unit if single else layer) for unit, layer in places]
    axes.set_xticks(range(len(places)), labels, fontsize=7)
    caption = "unit.layer" if several else "unit" if single else "layer"
    axes.set_xlabel(f"{caption}    (grey point: the interval contains 0; hatched: no such block)", fontsize=7)
    for place in range(1, len(places)):
        if several and places[place][0] != places[place - 1][0]:
            axes.axvline(place - 0.5, color="0.2", linewidth=1)
    axes.tick_params(length=0)
    return image
