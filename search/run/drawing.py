"""A network as figure 7 of the paper draws it: stage by stage, a box for each block, its width as its height."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mhmodels.architecture import Architecture, Block
from mhmodels.blocks import block_steps
from mhmodels.search.errors import SearchError
from mhmodels.search.run.results import Result
from mhmodels.search.space.decisions import describe

if TYPE_CHECKING:
    from rich.console import Console

# By block type: its name in a box, its colour in the drawing and in a terminal.
_LOOKS: dict[str, tuple[str, str, str]] = {
    "conv": ("conv", "#bdbdbd", "white"),
    "separable": ("sep", "#8fbc8f", "green"),
    "inverted_bottleneck": ("IB", "#8ab4e0", "cyan"),
    "fused_inverted_bottleneck": ("fused", "#f0b27a", "yellow"),
    "universal_inverted_bottleneck": ("UIB", "#b5a7d6", "magenta"),
    "bottleneck": ("bneck", "#d98880", "red"),
    "max_pool": ("max", "#e5e5e5", "bright_black"),
}
_BOX, _GAP = 0.8, 0.5


class Box(NamedTuple):
    """A block in the drawing.

    Attributes:
        part: `stem`, `stage 2`, …, `head`.
        kind: type of block.
        text: its kernel, expansion and the like.
        kernel: side of its largest kernel.
        channels: that it writes.
        size: (height, width) of the map that it writes, in pixels.
        stride: of the block.
        residual: whether its input is added.
    """

    part: str
    kind: str
    text: str
    kernel: int
    channels: int
    size: tuple[int, int]
    stride: int
    residual: bool


def boxes(architecture: Architecture) -> list[Box]:
    """The network's blocks in order, without pooling and classifier."""
    head = [("head", conv) for conv in architecture.head.features]
    hidden = [("after pooling", conv) for conv in architecture.head.hidden]
    stages = [(f"stage {i}", block) for i, blocks in enumerate(architecture.stages, 2) for block in blocks]
    stem = [("stem", block) for block in architecture.stem]
    found, channels, size = [], architecture.input_channels, architecture.input_size
    parts: list[tuple[str, Block]] = [*stem, *stages, *head, *hidden]
    for part, block in parts:
        steps = block_steps(block, channels, architecture.rounding, architecture.width_multiplier)
        channels = steps[-1].channels
        height, width = size
        size = (1, 1) if part == "after pooling" else (-(-height // block.stride), -(-width // block.stride))
        kernel = max(step.kernel for step in steps)
        residual = any(step.kind == "add" for step in steps)
        kind = str(type(block).__struct_config__.tag)
        found.append(Box(part, kind, _text(block, kernel), kernel, channels, size, block.stride, residual))
    return found


def document(result: Result) -> dict[str, Any]:
    """What `show` prints, as plain values."""
    if result.architecture is None:
        return {"space": _space(result), "choices": _choices(result), "provenance": result.provenance}
    return {
        "name": result.architecture.name,
        "architecture_id": result.architecture.architecture_id,
        "blocks": [box._asdict() for box in boxes(result.architecture)],
        "provenance": result.provenance,
    }


def show(out: Console, result: Result) -> None:
    """Prints a line for each stage, and where the network comes from."""
    from rich.markup import escape
    from rich.table import Table

    if result.architecture is None:
        table = Table("decision", _space(result))
        for name, choice in _choices(result).items():
            table.add_row(name, choice)
        out.print(table)
    else:
        network = result.architecture
        out.print(
            f"[bold]{escape(network.name)}[/] at width {network.width_multiplier:g}, {_size(network.input_size)} pixels",
            highlight=False,
            emoji=False,
        )
        table = Table("", "map", "channels", "blocks (! strides, + adds its input)")
        found = boxes(network)
        for part in dict.fromkeys(box.part for box in found):
            own = [box for box in found if box.part == part]
            blocks = "  ".join(f"[{_LOOKS[box.kind][2]}]{_label(box)}[/]" for box in own)
            table.add_row(part, _size(own[-1].size), str(own[-1].channels), blocks)
        out.print(table)
    for line in _origin(result.provenance):
        out.print(line, highlight=False, markup=False, emoji=False)


def draw(result: Result, path: Path) -> None:
    """Writes the drawing as a picture, its format by the suffix: boxes from left to right, as high as they are wide in channels.

    Raises:
        SearchError: a network of a tabular space, or a suffix that matplotlib does not write.
    """
    if result.architecture is None:
        raise SearchError(f"space '{_space(result)}' is tabular: its networks have no stages and blocks to draw")
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    from mhmodels.system.files import replaced

    found = boxes(result.architecture)
    highest = max(box.channels for box in found if box.part.startswith(("st",)))
    figure = Figure(figsize=(max(8.0, 0.62 * len(found) + 2), 4.6), layout="constrained")
    axes = figure.add_subplot()
    places = _places(found)
    for box, x in zip(found, places, strict=True):
        _draw_box(axes, box, x, highest)
    for part in dict.fromkeys(box.part for box in found):
        own = [(box, x) for box, x in zip(found, places, strict=True) if box.part == part]
        middle = (own[0][1] + own[-1][1] + _BOX) / 2
        axes.text(middle, -0.1, f"{part}\n{_size(own[-1][0].size)}, {own[-1][0].channels} ch.", ha="center", va="top", fontsize=8)
    kinds = dict.fromkeys(box.kind for box in found)
    patches = [Patch(facecolor=_LOOKS[kind][1], edgecolor="black", label=kind.replace("_", " ")) for kind in kinds]
    patches.append(Patch(facecolor="white", edgecolor="black", hatch="///", label="kernel 5 and above"))
    axes.legend(handles=patches, fontsize=7, loc="upper left", frameon=False)
    axes.set_xlim(-0.3, places[-1] + _BOX + 0.3)
    axes.set_ylim(-0.35, 1.35)
    axes.axis("off")
    axes.set_title(result.architecture.name, fontsize=10)
    try:
        with replaced(path) as beside:
            figure.savefig(beside, dpi=150)
    except ValueError as error:
        raise SearchError(f"{path}: {error}") from error


def _draw_box(axes: Any, box: Box, x: float, highest: int) -> None:
    from matplotlib.patches import Rectangle

    height = min(1.0, 0.15 + 0.85 * box.channels / highest)
    hatch = "///" if box.kernel >= 5 else None
    style: dict[str, Any] = {
        "facecolor": _LOOKS[box.kind][1],
        "edgecolor": "black",
        "hatch": hatch,
        "linewidth": 1.6 if box.stride > 1 else 0.7,
    }
    axes.add_patch(Rectangle((x, 0), _BOX, height, **style))
    lines = [_LOOKS[box.kind][0], *box.text.split(), *(["/2"] if box.stride == 2 else []), *(["+"] if box.residual else [])]
    axes.text(x + _BOX / 2, height + 0.02, "\n".join(lines), ha="center", va="bottom", fontsize=7)


def _places(found: list[Box]) -> list[float]:
    """Left edges, with a gap before every new part."""
    places, x = [], 0.0
    for i, box in enumerate(found):
        x += _GAP if i and box.part != found[i - 1].part else 0.0
        places.append(x)
        x += _BOX + 0.08
    return places


def _text(block: Block, kernel: int) -> str:
    expansion = getattr(block, "expansion", None)
    absolute = getattr(block, "expanded_filters", None)
    extra = f" e{expansion:g}" if expansion is not None else f" x{absolute}" if absolute is not None else ""
    return f"k{kernel}{extra}{' SE' if getattr(block, 'squeeze_excite', None) is not None else ''}"


def _size(size: tuple[int, int]) -> str:
    """Height and width as people write them: 48², 48×80."""
    height, width = size
    return f"{height}²" if height == width else f"{height}×{width}"


def _label(box: Box) -> str:
    return f"{_LOOKS[box.kind][0]} {box.text}{'!' if box.stride > 1 else ''}{'+' if box.residual else ''}"


def _space(result: Result) -> str:
    return "" if result.space is None else result.space.name


def _choices(result: Result) -> dict[str, str]:
    if result.space is None or result.encoding is None:
        return {}
    return {d.name: describe(d.choices[int(i)]) for d, i in zip(result.space.decisions, result.encoding, strict=True)}


def _origin(provenance: dict[str, Any]) -> list[str]:
    """Where a network comes from, in words; files that others wrote may lack anything."""
    if not provenance:
        return []
    lines = [
        f"found in space {provenance.get('space')}, seed {provenance.get('seed')}, {provenance.get('evaluations')} evaluations"
    ]
    numbers = {name: value for name, value in provenance.items() if isinstance(value, float)}
    norm = next((name for name in ("f_avg", "f_max") if name in numbers), None)
    if norm is not None and {"accuracy", "reward_value"} <= set(numbers):
        lines.append(
            f"accuracy {numbers['accuracy']:.2%}, {norm} {numbers[norm]:.3f}, reward {numbers['reward_value']:.4f}; worst on "
            f"{provenance.get('binding')}"
        )
    latencies = provenance.get("latency_ms")
    if isinstance(latencies, dict):
        known = [f"{name} {value:.4g}" for name, value in latencies.items() if isinstance(value, float)]
        lines.append(f"ms as the search saw them: {', '.join(known) or 'none'}")
    return lines
