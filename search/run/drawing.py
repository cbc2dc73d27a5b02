"""A network as in figure 7 of the paper: its blocks as values, for JSON and the terminal, and as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mhmodels.architecture import Architecture, Block
from mhmodels.blocks import block_steps
from mhmodels.search.errors import SearchError
from mhmodels.search.run.results import NetworkFile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Look(NamedTuple):
    """How blocks of a type are shown.

    Attributes:
        name: Short name of the type.
        picture: Colour in the picture.
        terminal: Colour in a terminal.
    """

    name: str
    picture: str
    terminal: str


LOOKS = {
    "conv": Look("conv", "#bdbdbd", "white"),
    "separable": Look("sep", "#8fbc8f", "green"),
    "inverted_bottleneck": Look("IB", "#8ab4e0", "cyan"),
    "fused_inverted_bottleneck": Look("fused", "#f0b27a", "yellow"),
    "universal_inverted_bottleneck": Look("UIB", "#b5a7d6", "magenta"),
    "bottleneck": Look("bneck", "#d98880", "red"),
    "max_pool": Look("max", "#e5e5e5", "bright_black"),
}
"""Looks by type of block."""
_BOX, _GAP = 0.8, 0.5


class Box(NamedTuple):
    """A block of a network in the drawing.

    Attributes:
        part: `stem`, `stage 2`, …, `head`, `after pooling`.
        kind: Type of the block.
        text: Kernel, expansion and squeeze-excite, for example `k5 e6 SE`.
        kernel: Side of the largest kernel, in pixels.
        channels: Number of channels that the block writes.
        size: (height, width) of the map that the block writes, in pixels.
        stride: Stride of the block.
        residual: Whether the block adds its input.
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
    """The blocks of a network in order, without pooling and classifier."""
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
        found.append(Box(part, kind, _block_text(block, kernel), kernel, channels, size, block.stride, residual))
    return found


def document(file: NetworkFile) -> dict[str, object]:
    """A network as JSON values: what `search show --json` prints."""
    if file.architecture is None:
        return {"space": file.space_name, "choices": file.choices(), "provenance": file.provenance}
    return {
        "name": file.architecture.name,
        "architecture_id": file.architecture.architecture_id,
        "blocks": [box._asdict() for box in boxes(file.architecture)],
        "provenance": file.provenance,
    }


def draw(file: NetworkFile, path: Path) -> None:
    """Draws a network: a box for each block from left to right, as high as the block is wide in channels.

    Args:
        file: Network to draw.
        path: Picture to write; its suffix names the format.

    Raises:
        SearchError: The network is of a tabular space, or matplotlib does not write the format.
    """
    if file.architecture is None:
        raise SearchError(f"space '{file.space_name}' is tabular: its networks have no stages and blocks to draw")
    from mhmodels.system.files import replaced

    figure = _figure(boxes(file.architecture), file.architecture.name)
    try:
        with replaced(path) as beside:
            figure.savefig(beside, dpi=150)
    except ValueError as error:
        raise SearchError(f"{path}: {error}") from error


def _figure(found: list[Box], title: str) -> Figure:
    from matplotlib.figure import Figure

    highest = max(box.channels for box in found if box.part.startswith("st"))
    figure = Figure(figsize=(max(8.0, 0.62 * len(found) + 2), 4.6), layout="constrained")
    axes = figure.add_subplot()
    edges = _left_edges(found)
    for box, x in zip(found, edges, strict=True):
        _draw_box(axes, box, x, highest)
    for part in dict.fromkeys(box.part for box in found):
        own = [(box, x) for box, x in zip(found, edges, strict=True) if box.part == part]
        middle = (own[0][1] + own[-1][1] + _BOX) / 2
        text = f"{part}\n{size_text(own[-1][0].size)}, {own[-1][0].channels} ch."
        axes.text(middle, -0.1, text, ha="center", va="top", fontsize=8)
    _draw_legend(axes, found)
    axes.set_xlim(-0.3, edges[-1] + _BOX + 0.3)
    axes.set_ylim(-0.35, 1.35)
    axes.axis("off")
    axes.set_title(title, fontsize=10)
    return figure


def _draw_legend(axes: Axes, found: list[Box]) -> None:
    from matplotlib.patches import Patch

    kinds = dict.fromkeys(box.kind for box in found)
    patches = [Patch(facecolor=LOOKS[kind].picture, edgecolor="black", label=kind.replace("_", " ")) for kind in kinds]
    patches.append(Patch(facecolor="white", edgecolor="black", hatch="///", label="kernel 5 and above"))
    axes.legend(handles=patches, fontsize=7, loc="upper left", frameon=False)


def _draw_box(axes: Axes, box: Box, x: float, highest: int) -> None:
    from matplotlib.patches import Rectangle

    height, look = min(1.0, 0.15 + 0.85 * box.channels / highest), LOOKS[box.kind]
    patch = Rectangle(
        (x, 0),
        _BOX,
        height,
        facecolor=look.picture,
        edgecolor="black",
        hatch="///" if box.kernel >= 5 else None,
        linewidth=1.6 if box.stride > 1 else 0.7,
    )
    axes.add_patch(patch)
    lines = [look.name, *box.text.split(), *(["/2"] if box.stride == 2 else []), *(["+"] if box.residual else [])]
    axes.text(x + _BOX / 2, height + 0.02, "\n".join(lines), ha="center", va="bottom", fontsize=7)


def _left_edges(found: list[Box]) -> list[float]:
    """Left edges of the boxes, with a gap before every new part."""
    edges, x = [], 0.0
    for i, box in enumerate(found):
        x += _GAP if i and box.part != found[i - 1].part else 0.0
        edges.append(x)
        x += _BOX + 0.08
    return edges


def _block_text(block: Block, kernel: int) -> str:
    expansion = getattr(block, "expansion", None)
    absolute = getattr(block, "expanded_filters", None)
    extra = f" e{expansion:g}" if expansion is not None else f" x{absolute}" if absolute is not None else ""
    return f"k{kernel}{extra}{' SE' if getattr(block, 'squeeze_excite', None) is not None else ''}"


def size_text(size: tuple[int, int]) -> str:
    """Height and width in pixels for people.

    Example:
        >>> size_text((48, 48)), size_text((48, 80))
        ('48²', '48×80')
    """
    height, width = size
    return f"{height}²" if height == width else f"{height}×{width}"


def block_label(box: Box) -> str:
    """A block in words; `!` marks a stride above 1, `+` a residual: `IB k5 e6!`."""
    return f"{LOOKS[box.kind].name} {box.text}{'!' if box.stride > 1 else ''}{'+' if box.residual else ''}"


def origin_lines(provenance: Mapping[str, object]) -> list[str]:
    """The origin of a network in words; a file that somebody else wrote may lack any of its values."""
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
