"""Accuracies of blocks that arXiv 2109.12426 publishes: block means over all layers of the Once-for-All space, in % top-1."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
import numpy as np

from mhmodels.errors import UnknownNameError
from mhmodels.formats.checked import Checked
from mhmodels.search.arrays import Floats
from mhmodels.search.profiling.block_profile import BlockMean, BlockProfile
from mhmodels.search.profiling.differences import block_differences
from mhmodels.search.profiling.layout import layout_of
from mhmodels.search.profiling.reference import ReferenceNetworks
from mhmodels.search.space.search_space import SearchSpace

_FILE = Path(__file__).with_name("published_accuracy.json")
_SAMPLES = 1_000_000
"""Networks for each choice that the paper's means are taken over."""
_Number: TypeAlias = Annotated[float, msgspec.Meta(gt=0)]


class _PublishedMeans(Checked, frozen=True, kw_only=True):
    rounding: _Number
    block_means: dict[str, _Number]


def published_accuracy(space: SearchSpace, confidence: float = 0.95) -> BlockProfile:
    """A profile of accuracy from published block means: `reduce_space` takes it in place of measured accuracies.

    A block has the same effect at every layer, since the means are over all layers. The intervals are those of rounding. There
    are no effects of depth, so that no last layers are removed.

    Args:
        space: A space whose block means are published: `ofa_mobilenet_v3`.
        confidence: Confidence that the profile states, equal to that of the latencies.

    Raises:
        UnknownNameError: No accuracies of the space are published.

    Example:
        >>> from mhmodels.search import get_space, published_accuracy
        >>> found = published_accuracy(get_space("ofa_mobilenet_v3"))
        >>> found.blocks[-1].block, found.blocks[-1].metric
        ('inverted_bottleneck kernel=7 expansion=6', 77.58)
    """
    known = _published()
    if space.name not in known:
        raise UnknownNameError("space with published accuracies", space.name, known, "(or give a table of accuracies)")
    means, rounding = known[space.name].block_means, known[space.name].rounding
    layout = layout_of(space)
    reference = ReferenceNetworks(space, layout, [each.tolist() for each in space.allowed])
    values = np.zeros(reference.length)
    for layer in layout.layers:
        for choice in reference.blocks(layer):
            values[reference.starts[layer.column] + choice] = means[layer.blocks[choice]]

    def estimate(contrasts: Floats) -> list[tuple[float, float, float]]:
        halves = rounding * np.abs(contrasts).sum(axis=1) / 2
        return [
            (float(mean), float(mean - half), float(mean + half)) for mean, half in zip(contrasts @ values, halves, strict=True)
        ]

    level = float(np.mean(list(means.values())))
    blocks = [
        BlockMean(block=block, locations=len(layout.layers), metric=metric, mean=metric - level, low=low, high=low + rounding)
        for block, metric in sorted(means.items(), key=lambda one: one[1])
        for low in [metric - level - rounding / 2]
    ]
    return BlockProfile(
        space=space.name, method="conditional", confidence=confidence, n=_SAMPLES, set_aside=0, level=level, error=None,
        effects=(), blocks=tuple(blocks), depth=(), decisions=(), missing=(), differences=block_differences(reference, estimate),
    )  # fmt: skip


@functools.cache
def _published() -> Mapping[str, _PublishedMeans]:
    return msgspec.json.decode(_FILE.read_bytes(), type=dict[str, _PublishedMeans])
