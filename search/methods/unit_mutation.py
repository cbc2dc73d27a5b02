"""The mutation of Profiling Neural Blocks (arXiv 2109.12426): in each unit add a layer, remove a layer, or swap a block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mhmodels.search.profiling.layout import layout_of
from mhmodels.search.space.search_space import Encodings, SearchSpace


class _Layer(NamedTuple):
    """A layer that can change: its column, the index of its absence if that is allowed, and its allowed blocks."""

    column: int
    skip: int | None
    blocks: tuple[int, ...]


class UnitMutation:
    """Changes at most one layer of each unit. A unit is a stage; every decision outside stages is a unit of one layer.

    A unit changes with its probability. It then adds a layer with a random block, removes a layer, or gives a layer another
    block: one of the changes that the unit's depth and its allowed choices leave, each equally likely.

    Example:
        >>> import numpy as np
        >>> from mhmodels.search import get_space
        >>> from mhmodels.search.methods.unit_mutation import UnitMutation
        >>> space = get_space("ofa_mobilenet_v3")
        >>> parent = space.draw(1, np.random.default_rng(0))[0]
        >>> child = UnitMutation(space, [0.0, 1.0, 0.0]).child(parent, np.random.default_rng(0))
        >>> np.flatnonzero(child != parent).tolist()  # columns 4 to 7 are the second unit
        [7]
    """

    def __init__(self, space: SearchSpace, probabilities: Sequence[float]) -> None:
        """Finds what can change.

        Args:
            space: Space of the networks; only allowed choices are taken.
            probabilities: Probability that a unit changes, from 0 to 1, in the order of the units; the last one holds for all
                further units.
        """
        self._space = space
        layout = layout_of(space)
        units: dict[int, list[_Layer]] = {}
        for layer in layout.layers:
            units.setdefault(layer.stage, []).append(self._layer(layer.column, layer.skip))
        units |= {len(units) + place: [self._layer(column, None)] for place, column in enumerate(layout.others, 1)}
        rates = [*probabilities, *[probabilities[-1]] * len(units)]
        self._units = list(zip(units.values(), rates, strict=False))

    def child(self, parent: Encodings, rng: np.random.Generator) -> Encodings:
        """Makes a child (decisions,), canonical; it equals its parent if no unit changes.

        Args:
            parent: (decisions,), a member of the space.
            rng: Random generator.
        """
        row = parent.copy()
        for layers, rate in self._units:
            if rng.random() < rate:
                self._change(row, layers, rng)
        found: Encodings = self._space.canonical(row[None])[0]
        return found

    def _layer(self, column: int, skip: int | None) -> _Layer:
        allowed = [int(choice) for choice in self._space.allowed[column]]
        return _Layer(column, skip if skip in allowed else None, tuple(choice for choice in allowed if choice != skip))

    def _change(self, row: Encodings, layers: Sequence[_Layer], rng: np.random.Generator) -> None:
        """Adds, removes or swaps one layer of a unit in place."""
        present = [layer for layer in layers if row[layer.column] != layer.skip]
        changes: list[list[tuple[int, tuple[int, ...]]]] = [
            [(layer.column, layer.blocks) for layer in layers if row[layer.column] == layer.skip and layer.blocks],
            [(layer.column, (layer.skip,)) for layer in present if layer.skip is not None],
            [(layer.column, layer.blocks) for layer in present if len(layer.blocks) > 1],
        ]
        possible = [places for places in changes if places]
        if possible:
            places = possible[rng.integers(len(possible))]
            column, choices = places[rng.integers(len(places))]
            others = [choice for choice in choices if choice != row[column]]
            row[column] = others[rng.integers(len(others))]
