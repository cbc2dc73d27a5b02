"""Draws how latency is distributed over the depth of the mean network: a line for each hardware."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mhmodels.search.errors import CostModelError
from mhmodels.search.profiling.panels import COLOURS, FONT_SIZE, MARKERS, panels
from mhmodels.search.profiling.shares import LayerShare
from mhmodels.system.text import printable


def share_plot(shares: Mapping[str, Sequence[LayerShare]], path: Path, caption: str) -> None:
    """Draws the share of each layer, with its interval where there is one.

    Args:
        shares: Shares of the layers of one space, by name of the hardware, at least one.
        path: File to write; its suffix (.png, .svg or .pdf) is the format. It appears complete or not at all.
        caption: Title: space, and where the shares come from.

    Raises:
        CostModelError: There are no shares.
        OSError: The file cannot be written.
    """
    longest: Sequence[LayerShare] = max(shares.values(), key=len, default=())
    parts = list(dict.fromkeys(one.part for each in (longest, *shares.values()) for one in each))
    if not parts:
        raise CostModelError("argument 'shares' has no layers, expected shares of at least one hardware")
    places = np.arange(len(parts))
    apart = np.linspace(-0.25, 0.25, len(shares)) if len(shares) > 1 else np.zeros(1)
    with panels([caption], 1, (max(0.42 * len(parts) + 1.2, 5.0), 4.0), path) as (figure, (axes,)):
        for i, (name, each) in enumerate(shares.items()):
            colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
            found = {one.part: one for one in each if one.mean is not None}
            means = np.array([100 * (found[part].mean or 0.0) if part in found else np.nan for part in parts])
            axes.plot(places + apart[i], means, color=colour, marker=marker, markersize=4.5, linewidth=0.8, label=printable(name))
            for part, one in found.items():
                if one.low is not None and one.high is not None:
                    axes.plot([parts.index(part) + apart[i]] * 2, [100 * one.low, 100 * one.high], color=colour, linewidth=1.2)
        axes.axhline(0, color="0.4", linewidth=1)
        for place in range(1, len(parts)):
            if parts[place].split(".")[0] != parts[place - 1].split(".")[0]:
                axes.axvline(place - 0.5, color="0.8", linewidth=1)
        axes.set_xticks(places, parts, fontsize=FONT_SIZE - 1, rotation=90 if max(map(len, parts)) > 3 else 0)
        axes.set_xlim(-0.6, len(parts) - 0.4)
        axes.set_xlabel("unit.layer, from input to output", fontsize=FONT_SIZE)
        axes.set_ylabel("share of the total (%)", fontsize=FONT_SIZE)
        axes.tick_params(axis="y", labelsize=FONT_SIZE - 1)
        axes.grid(axis="y", color="0.9", linewidth=0.7)
        axes.set_title(caption, fontsize=FONT_SIZE + 1, parse_math=False)
        figure.legend(loc="outside lower center", ncols=min(len(shares), 4), fontsize=FONT_SIZE)
