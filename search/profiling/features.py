"""Columns of the main-effects regression: choices of each decision, presence of layers, and what layers have in common.

A block has similar effects at several layers. Columns that layers share (of a block, of its kernel size or expansion, in all
stages or in one) carry what is common, and the columns of single layers carry the rest. Ridge regression on all of them shrinks
the effect of a rare choice towards that of the same block elsewhere, and not towards 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mhmodels.search.arrays import Floats
from mhmodels.search.profiling.reference import ReferenceNetworks

SHARES = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (3.0, 1.0))
"""Candidates for the expected magnitude of what all stages share and of what a stage shares, relative to a layer's own effect."""
_OTHERS = 3.0
"""Expected magnitude of the effects of presence, width and resolution, relative to that of a block at a layer."""


class EffectColumns(NamedTuple):
    """Columns as sums of one-hot columns.

    Attributes:
        of_one_hot: (choices, columns), 0 or 1.
        kinds: (columns,), `layer`, `other`, `shared` or `stage`.
    """

    of_one_hot: Floats
    kinds: tuple[str, ...]

    def scales(self, shared: float, stage: float) -> Floats:
        """(columns,), expected magnitude of each weight.

        Args:
            shared: Magnitude of what all stages share, relative to a layer's own effect.
            stage: Magnitude of what the layers of a stage share.
        """
        by_kind = {"layer": 1.0, "other": _OTHERS, "shared": shared, "stage": stage}
        return np.array([by_kind[kind] for kind in self.kinds])


def effect_columns(reference: ReferenceNetworks) -> EffectColumns:
    """Makes the columns of the choices that occur.

    Args:
        reference: Distribution with the choices that occur.
    """
    columns, kinds = list[Floats](), list[str]()
    for kind, places in _columns(reference):
        column = np.zeros(reference.length)
        column[places] = 1
        columns.append(column)
        kinds.append(kind)
    return EffectColumns(np.stack(columns, axis=1), tuple(kinds))


def effect_count(reference: ReferenceNetworks) -> int:
    """Number of independent effects: choices of each decision but one, and the presence of each optional layer.

    Args:
        reference: Distribution with the choices that occur.
    """
    return sum(len(choices) - 1 for choices in reference.choices)


def _columns(reference: ReferenceNetworks) -> Iterator[tuple[str, list[int]]]:
    """Yields kind and places in a one-hot vector of each column."""
    for column in reference.layout.others:
        choices = reference.choices[column]
        yield from (("other", [int(reference.starts[column] + choice)]) for choice in choices if len(choices) > 1)
    shared: dict[tuple[int, str], list[int]] = {}
    for layer in reference.layout.layers:
        blocks = reference.blocks(layer)
        start = int(reference.starts[layer.column])
        if layer.skip in reference.choices[layer.column]:
            yield "other", [start + choice for choice in blocks if choice != layer.skip]
        if len(blocks) > 1:
            yield from (("layer", [start + choice]) for choice in blocks)
        for choice in blocks:
            words = layer.blocks[choice]
            for name in {words, *words.split(" ")}:
                shared.setdefault((0, name), []).append(start + choice)
                shared.setdefault((layer.stage, name), []).append(start + choice)
    for (stage, _), places in shared.items():
        if len(places) > 1:
            yield "stage" if stage else "shared", places
