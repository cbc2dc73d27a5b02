"""Differences between the blocks of a stage, with intervals of the difference: both blocks' errors have much in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from mhmodels.search.arrays import Floats
from mhmodels.search.profiling.block_profile import BlockDifference
from mhmodels.search.profiling.contrasts import Estimator
from mhmodels.search.profiling.layout import UnitLayer, block_words
from mhmodels.search.profiling.reference import ReferenceNetworks

WHOLE_NETWORK = 0
"""Stage number of differences between networks that have one or the other block in all stages."""


def block_differences(reference: ReferenceNetworks, estimate: Estimator) -> tuple[BlockDifference, ...]:
    """Estimates the differences between all blocks of each stage, and of the whole network.

    To skip a layer is a block where it is a candidate of every layer, and none in units with a depth.

    Args:
        reference: Distribution that gives the presence of optional layers.
        estimate: Estimates contrasts.
    """
    stages: dict[int, list[UnitLayer]] = {WHOLE_NETWORK: list(reference.layout.layers)}
    for layer in reference.layout.layers:
        stages.setdefault(layer.stage, []).append(layer)
    presence = reference.expected()
    pairs, contrasts = list[tuple[int, str, str, int]](), list[Floats]()
    for stage, layers in stages.items():
        for block, other, shared, contrast in _pairs(reference, layers, presence):
            pairs.append((stage, block, other, shared))
            contrasts.append(contrast)
    found = estimate(np.stack(contrasts)) if contrasts else []
    return tuple(
        BlockDifference(stage=stage, block=block, other=other, layers=shared, mean=mean, low=low, high=high)
        for (stage, block, other, shared), (mean, low, high) in zip(pairs, found, strict=True)
    )


def _pairs(reference: ReferenceNetworks, layers: Sequence[UnitLayer], presence: Floats) -> Iterator[tuple[str, str, int, Floats]]:
    """Yields each pair of blocks with the number of layers that offer both, and the contrast of using one or the other there."""
    places = [
        {layer.blocks[choice]: int(reference.starts[layer.column]) + choice for choice in reference.blocks(layer)}
        for layer in layers
    ]
    weights = [float(presence[list(one.values())].sum()) for one in places]
    for block, other in combinations(block_words(reference.layout), 2):
        contrast = np.zeros(reference.length)
        shared = 0
        for one, weight in zip(places, weights, strict=True):
            if block in one and other in one:
                contrast[one[block]], contrast[one[other]] = weight, -weight
                shared += 1
        if shared:
            yield block, other, shared, contrast
