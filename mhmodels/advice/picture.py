"""A profile as a picture, as figure 2 of the paper: the share of each layer of the latency over the depth of the network."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mhmodels.errors import MeasurementError
from mhmodels.hardware import LayerCost, LayerProfile

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

BOUND_COLOURS = {"compute": "#4477aa", "memory": "#ee6677", "": "#bbbbbb"}
"""Colours by what limits a layer."""
KIND_COLOURS = {"CONV_2D": "#4477aa", "DEPTHWISE_CONV_2D": "#228833", "FULLY_CONNECTED": "#66ccee", "": "#ccbb44"}
"""Colours by operator, where the tool does not tell what limits a layer; "" is every other operator."""
_BOUND_NAMES = {"compute": "limited by computation", "memory": "limited by memory", "": "not told"}
_KIND_NAMES = {
    "CONV_2D": "convolution",
    "DEPTHWISE_CONV_2D": "depthwise convolution",
    "FULLY_CONNECTED": "fully connected",
    "": "other operators",
}
_LINE = "#333333"
_NAMED = 10
_LONGEST_NAME = 32
_STAGE = re.compile(r"^(?:stage(\d+)|(stem|head|hidden|logits|pool)\d*)(?:_|$)")


def draw_profile(profile: LayerProfile, path: str | os.PathLike[str]) -> None:
    """Draws the share of each layer over the depth of the network, and the cumulative share.

    Args:
        profile: Profile to draw.
        path: File to write, which is replaced whole; its suffix names the format: .png or .svg.

    Raises:
        MeasurementError: matplotlib does not write the format.

    Example:
        >>> from mhmodels.advice import draw_profile
        >>> from mhmodels.hardware import LayerCost, LayerProfile
        >>> layers = (LayerCost(name="conv", operator="CONV_2D", position=0, cost=0.5, share=1.0, bound="compute"),)
        >>> profile = LayerProfile(hardware="my-npu", model="net", kind="estimated", unit="ms", layers=layers, total=0.5)
        >>> draw_profile(profile, "layers.png")
        >>> Path("layers.png").read_bytes()[1:4]
        b'PNG'
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from mhmodels.system.files import replaced

    figure = Figure(figsize=(11.5, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    title = f"{profile.model} on {profile.hardware}: {profile.total:.4g} {profile.unit}, {profile.kind}"
    axes.set_title(title, fontsize=11, parse_math=False)
    groups = _draw_bars(axes, profile)
    _draw_cumulative(axes.twinx(), profile)
    _number_costliest(axes, profile)
    _draw_stages(axes, profile)
    figure.legend(handles=_legend(profile, groups), fontsize=8, loc="outside right upper", frameon=False, handlelength=1.2)
    try:
        with replaced(Path(path)) as beside:
            figure.savefig(beside, dpi=150)
    except ValueError as error:
        raise MeasurementError(f"{path}: {error}") from error


def _draw_bars(axes: Axes, profile: LayerProfile) -> dict[str, str]:
    """Draws a bar for each layer; returns the names of the groups by colour."""
    told = any(layer.bound for layer in profile.layers)
    colours, names = (BOUND_COLOURS, _BOUND_NAMES) if told else (KIND_COLOURS, _KIND_NAMES)
    groups = [_group(layer, told=told) for layer in profile.layers]
    shares = [100 * layer.share for layer in profile.layers]
    axes.bar(range(len(shares)), shares, width=0.85, color=[colours[group] for group in groups])
    axes.set_xlim(-0.8, len(shares) - 0.2)
    axes.set_ylim(0, 1.1 * max(shares))
    axes.set_ylabel("share of the latency (%)")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    return {colours[group]: names[group] for group in colours if group in groups}


def _group(layer: LayerCost, *, told: bool) -> str:
    return layer.bound if told else layer.operator if layer.operator in KIND_COLOURS else ""


def _draw_cumulative(axes: Axes, profile: LayerProfile) -> None:
    total, sums = 0.0, []
    for layer in profile.layers:
        total += 100 * layer.share
        sums.append(total)
    axes.plot(range(len(sums)), sums, color=_LINE, linewidth=1.2)
    axes.set_ylim(0, 110)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel("cumulative share (%)")


def _number_costliest(axes: Axes, profile: LayerProfile) -> None:
    """Writes the ranks of the costliest layers above their bars; the legend has their names."""
    ranks = {layer.position: rank for rank, layer in enumerate(profile.costliest(_NAMED), 1)}
    for place, layer in enumerate(profile.layers):
        if layer.position in ranks:
            at = (place, 100 * layer.share)
            axes.annotate(str(ranks[layer.position]), at, textcoords="offset points", xytext=(0, 2), fontsize=8, ha="center")


def _legend(profile: LayerProfile, groups: dict[str, str]) -> list[Artist]:
    """Colours, the line, and the names of the costliest layers."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    names = [
        f"{rank}  {layer.name[-_LONGEST_NAME:]}, {layer.share:.1%}".replace("$", r"\$")
        for rank, layer in enumerate(profile.costliest(_NAMED), 1)
    ]
    return [
        *(Patch(color=colour, label=name) for colour, name in groups.items()),
        Line2D([], [], color=_LINE, label="cumulative share"),
        *(Patch(alpha=0, label=name) for name in names),
    ]


def _draw_stages(axes: Axes, profile: LayerProfile) -> None:
    """Names the stages below the axis, with a line where one ends; without stages, the axis counts the layers."""
    spans = list(_spans(profile))
    if len(spans) < 2 or len(spans) > len(profile.layers) / 2:
        axes.set_xlabel("layer")
        return
    axes.set_xticks([(first + last) / 2 for _, first, last in spans], [name for name, _, _ in spans], fontsize=8, rotation=30)
    axes.tick_params(axis="x", length=0)
    for _, first, _ in spans[1:]:
        axes.axvline(first - 0.5, color="#999999", linewidth=0.6, linestyle=":")
    axes.set_xlabel("depth of the network")


def _spans(profile: LayerProfile) -> Iterator[tuple[str, int, int]]:
    """Names of stages with the places of their first and last layers; what follows the stages is one span."""
    name, first = "", 0
    for place, layer in enumerate(profile.layers):
        found = _STAGE.match(layer.name)
        stage = f"stage {found[1]}" if found and found[1] else "stem" if place == 0 or name == "stem" else "head"
        if found is not None and found[2] == "stem":
            stage = "stem"
        if stage != name:
            if name:
                yield name, first, place - 1
            name, first = stage, place
    yield name, first, len(profile.layers) - 1
