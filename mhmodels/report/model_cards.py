"""A model card in Markdown, generated from the zoo's data: nothing in it is written by hand for one model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mhmodels.architecture import Architecture
from mhmodels.complexity import complexity
from mhmodels.families.rows import PublicWeights, ZooModel
from mhmodels.network import lower
from mhmodels.registry import zoo

if TYPE_CHECKING:
    from mhmodels.weights.info import Claim

WIDTHS = (0.35, 0.5, 0.75, 1.0, 1.25, 1.4)
NO_WEIGHTS = "None that the zoo knows of and `mhmodels weights import` reads: train the network, or bring a checkpoint."


def model_card(architecture: Architecture) -> str:
    """Writes down what one must know to use a network: origin, sizes, feature maps, preprocessing, accuracies, weights.

    Args:
        architecture: A zoo model at any width, input size and class count, or another architecture. Without a zoo entry of its
            name the card has no origin, accuracies and weights.

    Returns:
        Markdown that ends with a line break.

    Example:
        >>> from mhmodels.report import model_card
        >>> from mhmodels import get_architecture
        >>> model_card(get_architecture("multi_max")).splitlines()[2].partition(",")[0]
        '- Name: `multi_max`'
    """
    entry = zoo().get(architecture.name)
    sections = [
        _head(architecture, entry),
        "## Sizes\n\n" + _sizes(architecture, entry),
        "## Feature maps\n\n" + _feature_maps(architecture),
        "## Preprocessing\n\n" + _preprocessing(architecture),
    ]
    if entry is not None:
        sections += ["## Published accuracy\n\n" + _accuracies(entry), "## Weights\n\n" + _weights(entry)]
    return "\n\n".join(sections) + "\n"


def _head(architecture: Architecture, entry: ZooModel | None) -> str:
    height, width = architecture.input_size
    lines = [f"# {entry.title if entry else architecture.name}", ""]
    width_multiplier, identity = architecture.width_multiplier, architecture.architecture_id
    lines.append(f"- Name: `{architecture.name}`, width {width_multiplier:g}, architecture id `{identity}`")
    if entry is not None:
        lines.append(f"- Origin: {entry.source}")
        if entry.builder:
            lines.append(f"- Builder: `mhmodels.{entry.builder}`")
    else:
        lines.append("- Origin: not of the zoo")
    lines.append(f"- Input: {height}x{width}x{architecture.input_channels}; classes: {architecture.classes}")
    if architecture.padding != "same":
        lines.append(f"- Padding before strides: {architecture.padding}")
    if entry is not None and entry.note:
        lines += ["", entry.note]
    return "\n".join(lines)


def _sizes(architecture: Architecture, entry: ZooModel | None) -> str:
    others = [published.width_multiplier for published in entry.published] if entry else []
    rows = []
    for width in sorted({*WIDTHS, *others, architecture.width_multiplier}):
        counts = complexity(architecture.at(width_multiplier=width))
        rows.append((f"{width:g}", f"{counts.params:,}", f"{counts.params_total:,}", f"{counts.madds / 1e6:,.1f}"))
    height, side = architecture.input_size
    note = (
        f"At {height}x{side} and {architecture.classes} classes. Parameters: convolution kernels, and all variables as Keras"
        " counts them."
    )
    return f"{note}\n\n{_table(('Width', 'Parameters', 'All variables', 'MAdds (M)'), rows)}"


def _feature_maps(architecture: Architecture) -> str:
    network = lower(architecture, top=False)
    if not network.endpoints:
        return "The architecture marks no block as an endpoint."
    height, width = architecture.input_size
    rows = [
        (str(e.level), str(e.stride), f"{-(-height // e.stride)}x{-(-width // e.stride)}x{e.channels}", f"`{e.keras_layer}`")
        for e in network.endpoints
    ]
    return f"At width {architecture.width_multiplier:g}; `create_model(..., features=True)` gives them.\n\n" + _table(
        ("Level", "Stride", "Map", "Keras layer"), rows
    )


def _preprocessing(architecture: Architecture) -> str:
    rule = architecture.preprocessing
    return (
        f"Central square crop of {rule.crop_fraction:g} of the shorter side, {rule.interpolation} resize, then per channel"
        f" (pixel - mean) / std with mean {_numbers(rule.mean)} and std {_numbers(rule.std)}, pixels from 0 to 255."
    )


def _accuracies(entry: ZooModel) -> str:
    if not entry.published:
        return "None that the zoo knows of."
    rows = [(f"{p.top1:g} %", f"{p.width_multiplier:g}", p.source) for p in entry.published]
    return "ImageNet top-1, as others published it; not measured here.\n\n" + _table(("Top-1", "Width", "Source"), rows)


def _weights(entry: ZooModel) -> str:
    # Here, not above: it reads weight files, and with them numpy and h5py.
    from mhmodels.weights.downloading.registered import entries

    name = entry.architecture.name
    lines = [
        f'- `weights="{known.name}"` with `{known.model}`: {known.description}{_claims(known.accuracy)}'
        for known in entries()
        if known.model.partition("@")[0] == name
    ]
    lines += [
        f"- {weights.origin}, at widths {_numbers(weights.width_multipliers)}, read by `mhmodels weights import`{_names(weights)}"
        for weights in entry.weights
    ]
    return "\n".join(lines) or NO_WEIGHTS


def _names(weights: PublicWeights) -> str:
    """Returns the publisher's names of weights and how to get them."""
    return f": {', '.join(weights.names)} ({weights.how})" if weights.names else ""


def _claims(claims: Iterable[Claim]) -> str:
    return "".join(f"; {claim.top1:g} % top-1 on {claim.dataset} ({claim.source})" for claim in claims)


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
