"""The positions of a super-network with all their variants, for the masked form of the network. No TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from mhmodels.blocks import BlockStep
from mhmodels.search.supernet.network.plan import Shape, SharedLayer, SuperNetworkPlan

Branch: TypeAlias = tuple[SharedLayer, ...]
Structure: TypeAlias = tuple[tuple[BlockStep | str, ...], ...]
"""Everything of a branch except its channels: a step and the names of its weights, for each layer."""


class MaskedVariant(NamedTuple):
    """Branches that differ in channels only.

    Attributes:
        layers: Layers with the largest number of channels of any branch; empty for a skipped block.
        entering: Number of channels that the variant reads.
    """

    layers: Branch
    entering: int


class MaskedPosition(NamedTuple):
    """A position of the template with all variants that any network has there.

    Attributes:
        name: Name of the position.
        variants: Variants by structure.
        leaving: Largest number of channels that any network writes there; the output of every variant is padded to it.
        weights: Names of the weights that the variants read.
        branches: Largest number of branches whose mean may be taken.
    """

    name: str
    variants: Mapping[Structure, MaskedVariant]
    leaving: int
    weights: tuple[str, ...]
    branches: int


def masked_positions(plan: SuperNetworkPlan) -> tuple[MaskedPosition, ...]:
    found: dict[str, list[tuple[int, Branch]]] = {}
    for name, channels, branch in plan.everywhere():
        found.setdefault(name, []).append((channels, branch))
    choices = {slot.name: len(plan.options(slot)) for group in plan.space.template.groups for slot in group.slots}
    return tuple(_site(name, here, choices.get(name, 1)) for name, here in found.items())


def _site(name: str, found: Sequence[tuple[int, Branch]], branches: int) -> MaskedPosition:
    leaving = max(branch[-1].step.channels if branch else channels for channels, branch in found)
    alike: dict[Structure, list[Branch]] = {}
    for _, branch in found:
        alike.setdefault(structure_of(branch), []).append(branch)
    variants = {structure: _variant(each, leaving) for structure, each in alike.items()}
    weights = dict.fromkeys(weight for variant in variants.values() for weight, _ in reads_of(variant.layers))
    return MaskedPosition(name, variants, leaving, tuple(weights), branches)


def structure_of(branch: Branch) -> Structure:
    """Everything of a branch except its channels."""
    return tuple(
        (layer.step._replace(in_channels=0, channels=0, groups=0), *(name for name, _ in layer.reads)) for layer in branch
    )


def _variant(branches: Sequence[Branch], leaving: int) -> MaskedVariant:
    layers = tuple(_largest(each) for each in zip(*branches, strict=True))
    entering = [layer.step.in_channels for layer in layers if "" in layer.step.inputs]
    return MaskedVariant(layers, max(entering, default=leaving))


def _largest(layers: Sequence[SharedLayer]) -> SharedLayer:
    step = layers[0].step._replace(
        in_channels=max(layer.step.in_channels for layer in layers), channels=max(layer.step.channels for layer in layers)
    )
    shapes = np.array([[_padded(shape) for _, shape in layer.reads] for layer in layers]).max(axis=0).tolist()
    names = [(name, len(shape)) for name, shape in layers[0].reads]
    reads = tuple((name, tuple(shape[:rank])) for (name, rank), shape in zip(names, shapes, strict=True))
    return SharedLayer(step, reads, layers[0].padding)


def _padded(shape: Shape) -> Shape:
    return (*shape, *(0,) * (4 - len(shape)))


def reads_of(branch: Branch) -> Iterable[tuple[str, Shape]]:
    return (read for layer in branch for read in layer.reads)


def size_of(shape: Shape) -> tuple[int, int]:
    return (1, shape[0]) if len(shape) == 1 else (shape[-2], shape[-1])
