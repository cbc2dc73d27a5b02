"""A figure with one panel for each hardware."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mhmodels.search.errors import CostModelError
from mhmodels.search.profiling.block_profile import BlockProfile
from mhmodels.system.files import replaced
from mhmodels.system.text import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FONT_SIZE = 9
"""Size of titles and axis labels; tick labels are one smaller."""
_SMALLEST = (6.6, 2.6)
"""Smallest width of a figure and height of a panel in inches: the title fits."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that people with any colour vision tell apart (Okabe and Ito)."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Markers of the same series, for readers without colours."""


def same_space(profiles: Mapping[str, BlockProfile]) -> BlockProfile:
    """Returns one of the profiles.

    Args:
        profiles: Profiles by name of the hardware.

    Raises:
        CostModelError: There is no profile, or profiles are of several spaces.
    """
    if len({one.space for one in profiles.values()}) != 1:
        raise CostModelError(f"argument 'profiles' has {len(profiles)} profiles, expected at least one, all of the same space")
    return next(iter(profiles.values()))


def blocks_of(profile: BlockProfile) -> list[str]:
    """Blocks of a profile in the order of the choices, the absence of a layer last."""
    return list(dict.fromkeys(one.block for one in profile.effects))


def places_of(profile: BlockProfile) -> list[tuple[int, int]]:
    """(unit, layer) of each layer of a profile, in network order."""
    return list(dict.fromkeys((one.unit, one.layer) for one in profile.effects))


def place_labels(places: list[tuple[int, int]]) -> tuple[list[str], str]:
    """Labels of the layers, and what they number.

    Args:
        places: (unit, layer) of each layer.
    """
    units, layers = ({place[i] for place in places} for i in (0, 1))
    if len(units) > 1 and len(layers) > 1:
        return [f"{unit}.{layer}" for unit, layer in places], "unit.layer"
    if len(units) > 1:
        return [str(unit) for unit, _ in places], "unit"
    return [str(layer) for _, layer in places], "layer"


@contextmanager
def panels(names: list[str], columns: int, panel: tuple[float, float], path: Path) -> Iterator[tuple[Figure, list[Axes]]]:
    """Makes a figure with a panel for each name; writes it at the end.

    Args:
        names: Names of the panels.
        columns: Largest number of panels beside each other.
        panel: Width and height of a panel in inches; it is larger where the title needs it.
        path: File to write; its suffix (.png, .svg or .pdf) is the format. It appears complete or not at all.

    Yields:
        The figure and the axes of each panel, with common scales.

    Raises:
        OSError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    across = min(columns, len(names))
    down = -(-len(names) // across)
    size = max(panel[0] * across, _SMALLEST[0]), max(panel[1], _SMALLEST[1]) * down
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).ravel()
    for unused in grid[len(names) :]:
        unused.set_visible(False)
    for below in grid[max(len(names) - across, 0) : len(names)]:
        below.tick_params(labelbottom=True)
    yield figure, list(grid[: len(names)])
    with replaced(path) as beside:
        figure.savefig(beside, dpi=100)


def title(name: str, profile: BlockProfile, unit: str) -> str:
    """Title of the panel of a hardware.

    Args:
        name: Name of the hardware, or of the metric.
        profile: Its profile.
        unit: Unit of the metric, "" if it is unknown.
    """
    return f"{printable(name)}: {profile.n} networks, mean {profile.level:.4g} {unit}".rstrip()
