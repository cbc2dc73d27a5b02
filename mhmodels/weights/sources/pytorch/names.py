"""The names that PyTorch packages give the layers of mobile networks, as data: which layers a block has, in order of execution.

A state dict has names and no order: safetensors sorts them by the alphabet. One row of `SCHEMES` for each naming scheme says how
its names give the order. A further package is a further row.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from mhmodels.families.rows import TorchPackage


class NamingScheme(NamedTuple):
    """The names of one package.

    Attributes:
        origin: The package.
        title: Its name for users.
        marks: Layers of which a state dict of the package has at least one.
        before: Layers before the blocks, in order of execution.
        block: Regular expression of a block's name, whose groups are the numbers that order the blocks; "" where all numbers in
            the names of layers are in order of execution.
        forms: For each kind of block, its layers in order of execution. A block is of the first kind that has all its layers.
        after: Layers after the blocks.
        tops: For a scheme without blocks, the first parts of names in order of execution.
    """

    origin: TorchPackage
    title: str
    marks: tuple[str, ...]
    before: tuple[str, ...] = ()
    block: str = ""
    forms: tuple[tuple[str, ...], ...] = ()
    after: tuple[str, ...] = ()
    tops: tuple[str, ...] = ()


TIMM_SQUEEZE = ("se.conv_reduce", "se.conv_expand")
LUKEMELAS_SQUEEZE = ("_se_reduce", "_se_expand")

SCHEMES = (
    NamingScheme(
        origin="timm",
        title="timm",
        marks=("conv_stem",),
        before=("conv_stem", "bn1"),
        block=r"blocks\.(\d+)\.(\d+)\.",
        forms=(
            ("conv_dw", "bn1", *TIMM_SQUEEZE, "conv_pw", "bn2"),
            ("conv_pw", "bn1", "conv_dw", "bn2", *TIMM_SQUEEZE, "conv_pwl", "bn3"),
            ("conv_exp", "bn1", *TIMM_SQUEEZE, "conv_pwl", "bn2"),
            ("conv", "bn1"),
            (
                "dw_start.conv", "dw_start.bn", "pw_exp.conv", "pw_exp.bn", "dw_mid.conv", "dw_mid.bn",
                "pw_proj.conv", "pw_proj.bn",
            ),
        ),
        after=("conv_head", "bn2", "norm_head", "classifier"),
    ),
    NamingScheme(
        origin="torchvision",
        title="torchvision",
        marks=("features.0.0", "layers.0"),
        tops=("features", "layers", "classifier"),
    ),
    NamingScheme(
        origin="lukemelas",
        title="EfficientNet-PyTorch (lukemelas)",
        marks=("_conv_stem",),
        before=("_conv_stem", "_bn0"),
        block=r"_blocks\.(\d+)\.",
        forms=(
            ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", *LUKEMELAS_SQUEEZE, "_project_conv", "_bn2"),
        ),
        after=("_conv_head", "_bn1", "_fc"),
    ),
)  # fmt: skip

NESTED = ("state_dict", "model", "model_state_dict", "net", "params")
"""Keys under which training programs store a state dict, beside other things."""

NESTED_AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
"""Keys under which they store its exponential moving averages."""

PREFIXES = ("module.", "_orig_mod.", "model.")
"""Beginnings of all names that a wrapper adds: DataParallel, torch.compile, a module around the network."""

IGNORED = ("num_batches_tracked", "total_ops", "total_params")
"""Last parts of names that are no weights: the counter of batch normalisation, and those of a profiler."""

BIASED = ("conv_reduce", "conv_expand", "fc1", "fc2", "_se_reduce", "_se_expand")
"""Last parts of names of convolutions that have a bias and no batch normalisation."""


def scheme_of(layers: Collection[str]) -> NamingScheme | None:
    """Returns the naming scheme of a state dict, or None for names of none of them."""
    return next((scheme for scheme in SCHEMES if any(mark in layers for mark in scheme.marks)), None)


def in_order(layers: Collection[str], scheme: NamingScheme) -> tuple[list[str], list[str]]:
    """Orders layers as the network executes them.

    Args:
        layers: Names of layers.
        scheme: Their naming scheme.

    Returns:
        The layers in order of execution, and those whose names the scheme does not have.
    """
    if not scheme.block:
        known = [name for name in layers if name.split(".")[0] in scheme.tops]
        return sorted(known, key=lambda name: _numbered(name, scheme)), [name for name in layers if name not in known]
    blocks: dict[tuple[int, ...], list[str]] = {}
    others = []
    for name in layers:
        found = re.match(scheme.block, name)
        if found:
            blocks.setdefault(tuple(map(int, found.groups())), []).append(name)
        elif name not in scheme.before and name not in scheme.after:
            others.append(name)
    ordered = [name for name in scheme.before if name in layers]
    for number in sorted(blocks):
        names = {re.sub(scheme.block, "", name, count=1): name for name in blocks[number]}
        form = form_of(names, scheme)
        ordered += [names[part] for part in form if part in names]
        others += [name for part, name in names.items() if part not in form]
    return [*ordered, *(name for name in scheme.after if name in layers)], others


def form_of(parts: Iterable[str], scheme: NamingScheme) -> tuple[str, ...]:
    """Returns the layers of the first kind of block that has all these; for none, of the kind that has most of them."""
    wanted = set(parts)
    whole = next((form for form in scheme.forms if wanted <= set(form)), None)
    return whole or max(scheme.forms, key=lambda form: len(wanted & set(form)))


def neighbour(layer: str, layers: Collection[str], scheme: NamingScheme, step: int) -> str:
    """Returns the name of the layer before (`step` -1) or behind (1) a layer: of the convolution of a normalisation, or back.

    Args:
        layer: Name of the layer.
        layers: Names of all layers, which tell what kind of block it is in.
        scheme: Their naming scheme.
        step: Direction.

    Returns:
        The name, or "" for none.
    """
    for sequence in (scheme.before, scheme.after):
        if layer in sequence:
            at = sequence.index(layer) + step
            return sequence[at] if 0 <= at < len(sequence) else ""
    found = re.match(scheme.block, layer) if scheme.block else None
    if found:
        form = form_of((name.removeprefix(found[0]) for name in layers if name.startswith(found[0])), scheme)
        at = form.index(layer[found.end() :]) + step
        return f"{found[0]}{form[at]}" if 0 <= at < len(form) else ""
    head, _, number = layer.rpartition(".")
    return f"{head}.{int(number) + step}" if number.isdecimal() else ""


def _numbered(name: str, scheme: NamingScheme) -> tuple[int | str, ...]:
    """Key that orders names by their numbers as numbers."""
    first, *rest = name.split(".")
    return (scheme.tops.index(first), *(f"{int(part):09d}" if part.isdecimal() else part for part in rest))
