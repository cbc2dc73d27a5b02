"""The heat map of a profile in a terminal: a character for each block and layer, several hardware side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

    from mhmodels.search.profiling.block_profile import BlockProfile
    from mhmodels.search.profiling.relative import EffectScale

WIDTH = 80
_LESS, _MORE, _UNCLEAR, _UNKNOWN, _NONE = "-=", "+*#", ".", "?", " "
_STYLES = {"-": "cyan", "=": "blue", "+": "yellow", "*": "red", "#": "bold red"}
_STEPS = (1.0, 2.0, 5.0)


def text_map(profiles: Mapping[str, BlockProfile], scale: EffectScale) -> list[Text]:
    """Draws the placement effects as lines of at most 80 characters.

    Args:
        profiles: Profiles of one space by name of the hardware.
        scale: Scale of the effects.

    Returns:
        Lines; colours only repeat what the characters say.
    """
    from rich.text import Text

    from mhmodels.search.profiling.panels import blocks_of, places_of
    from mhmodels.search.profiling.words import short

    first = next(iter(profiles.values()))
    blocks, places = blocks_of(first), places_of(first)
    label = min(max(len(short(block)) for block in blocks), 24)
    column = len(_header(places)[0])
    beside = max((WIDTH - label) // (column + 2), 1)
    step = _step([scale.factor(one) * (e.mean or 0.0) for one in profiles.values() for e in one.effects])
    names, lines = list(profiles), []
    for start in range(0, len(names), beside):
        shown = names[start : start + beside]
        lines.append(Text(" " * label + "".join(f"  {_cut(name, column):<{column}}" for name in shown)))
        lines += [Text(" " * label + "".join(f"  {header}" for _ in shown)) for header in _header(places)]
        cells = {name: _cells(profiles[name], scale.factor(profiles[name]), step) for name in shown}
        for block in blocks:
            line = Text(f"{_cut(short(block), label):<{label}}")
            for name in shown:
                line.append("  ")
                _append_row(line, [cells[name].get((place, block), _NONE) for place in places], places)
            lines.append(line)
        lines.append(Text(""))
    return [*lines, *(Text(one) for one in _legend(step, scale))]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _header(places: Sequence[tuple[int, int]]) -> list[str]:
    """Lines that number units and layers: one digit each, units apart by a blank; tens in a line of their own."""
    units = len({unit for unit, _ in places}) > 1
    layers = len({layer for _, layer in places}) > 1
    lines = []
    if units and layers:
        lines.append(_spread([str(unit % 10) if layer == 1 else " " for unit, layer in places], places))
    numbers = [layer if layers else unit for unit, layer in places]
    if max(numbers) > 9:
        lines.append(_spread([str(n // 10) if n % 10 == 0 else " " for n in numbers], places))
    lines.append(_spread([str(n % 10) for n in numbers], places))
    return lines


def _is_first(i: int, places: Sequence[tuple[int, int]]) -> bool:
    """Whether a layer begins a unit that has several layers, after another unit."""
    return i > 0 and places[i][0] != places[i - 1][0] and len({layer for _, layer in places}) > 1


def _spread(characters: Sequence[str], places: Sequence[tuple[int, int]]) -> str:
    return "".join(f" {each}" if _is_first(i, places) else each for i, each in enumerate(characters))


def _append_row(line: Text, characters: Sequence[str], places: Sequence[tuple[int, int]]) -> None:
    for i, each in enumerate(characters):
        line.append(" " if _is_first(i, places) else "")
        line.append(each, style=_STYLES.get(each, ""))


def _cells(profile: BlockProfile, factor: float, step: float) -> dict[tuple[tuple[int, int], str], str]:
    found = {}
    for one in profile.effects:
        if one.mean is None:
            found[(one.unit, one.layer), one.block] = _UNKNOWN
            continue
        size = abs(factor * one.mean) / step
        marks = _MORE if one.mean > 0 else _LESS
        level = min(int(size >= 1) + int(size >= 3), len(marks) - 1)
        found[(one.unit, one.layer), one.block] = marks[level] if one.is_clear else _UNCLEAR
    return found


def _step(effects: Sequence[float]) -> float:
    """A third of the strongest effects but a few, as 1, 2 or 5 times a power of ten."""
    ordered = sorted(map(abs, effects))
    strong = ordered[int(0.98 * (len(ordered) - 1))] if ordered else 0.0
    if strong <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(strong / 3))
    return next((power * each for each in reversed(_STEPS) if power * each <= strong / 3), power)


def _legend(step: float, scale: EffectScale) -> list[str]:
    return [
        f"{scale.label}:",
        f"  #  more than +{3 * step:g}    *  +{step:g} to +{3 * step:g}    +  0 to +{step:g}",
        f"  =  less than -{step:g}    -  -{step:g} to 0    .  interval contains 0",
        "  ?  in no network      blank  no such block",
    ]
