"""Draws the heat map of rank correlations between devices (the figure of arXiv 2111.01203)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mhmodels.search.adaptation.monotonicity import MonotonicityMatrix
from mhmodels.search.arrays import Floats
from mhmodels.system.files import replaced
from mhmodels.system.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

_CELL_INCHES = 0.44
_MARGIN_INCHES = 1.6
"""Space for the colour bar and the title. The layout adds the space of the names."""
_LETTER_INCHES = 0.075
"""Width of a letter of a name."""
_COLOURS = "viridis"
"""Sequential colours that people with any colour vision tell apart."""


def heat_map(found: MonotonicityMatrix, path: Path, title: str = "") -> None:
    """Draws Spearman's correlation of each two devices as a coloured cell with its value.

    Cells of pairs without a correlation are grey and hatched. The picture grows with the number of devices and the length of
    their names.

    Args:
        found: Correlations of the devices.
        path: File to write; its suffix (.png, .svg or .pdf) is the format. It appears complete or not at all.
        title: Title of the picture; "" for none.

    Raises:
        OSError: The file cannot be written.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    values = np.array([[np.nan if value is None else value for value in row] for row in found.matrix])
    size = len(values) * _CELL_INCHES + _MARGIN_INCHES + _LETTER_INCHES * max(map(len, found.hardware))
    figure = Figure(figsize=(max(size + 1, 0.1 * len(title)), size), layout="constrained")
    axes = figure.add_subplot()
    colours = colormaps[_COLOURS]
    image = axes.imshow(values, cmap=colours, vmin=_lowest(values), vmax=1)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label("Spearman's rank correlation", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    _hatch_unknown(axes, values)
    _print_values(axes, values, colours)
    # Names are the users': a `$` in one begins no formula, and control characters have no glyph.
    names = [printable(name) for name in found.hardware]
    axes.set_xticks(range(len(values)), names, rotation=90, fontsize=8, parse_math=False)
    axes.set_yticks(range(len(values)), names, fontsize=8, parse_math=False)
    axes.tick_params(length=0)
    if title:
        axes.set_title(title, fontsize=9, parse_math=False)
    with replaced(path) as beside:
        figure.savefig(beside, dpi=150)


def _lowest(values: Floats) -> float:
    """The value of the darkest colour: 0, or -1 where there are negative correlations."""
    return -1.0 if np.nanmin(values) < 0 else 0.0


def _hatch_unknown(axes: Axes, values: Floats) -> None:
    from matplotlib.patches import Rectangle

    for row, column in np.argwhere(np.isnan(values)):
        cell = Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor="0.85", edgecolor="0.6", hatch="///", linewidth=0)
        cell.set_in_layout(False)
        axes.add_patch(cell)


def _print_values(axes: Axes, values: Floats, colours: Colormap) -> None:
    """Prints the value of each cell, dark on light colours and light on dark ones."""
    lowest = _lowest(values)
    for row, column in np.argwhere(np.isfinite(values)):
        value = values[row, column]
        red, green, blue, _ = colours((value - lowest) / (1 - lowest))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        colour = "white" if dark else "black"
        text = axes.text(column, row, f"{value:z.2f}", ha="center", va="center", fontsize=8, color=colour)
        text.set_in_layout(False)  # it lies inside of the axes, and the layout would measure each
