"""The distribution of networks that effects are relative to: every depth of a unit and every choice is equally likely.

Effects are differences between expectations over this distribution, whatever the distribution of the measured networks is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mhmodels.search.arrays import Floats, Indices
from mhmodels.search.profiling.layout import Layout, UnitLayer, is_block
from mhmodels.search.space.search_space import Encodings, SearchSpace


class Cell(NamedTuple):
    """A choice of a decision.

    Attributes:
        column: Column of the encoding.
        choice: Index of the choice.
    """

    column: int
    choice: int


class ReferenceNetworks:
    """Networks with independent units, uniform depths, and uniform choices of each existing layer and other decision.

    Attributes:
        layout: Layout of the space.
        choices: (columns,), by column the choices that occur.
        starts: (columns,), place of the first choice of each column in a one-hot vector.
        length: Length of a one-hot vector.
    """

    def __init__(self, space: SearchSpace, layout: Layout, choices: Sequence[Sequence[int]]) -> None:
        """Makes the distribution.

        Args:
            space: The space.
            layout: Its layout.
            choices: By column, the choices that occur, at least one each.
        """
        self.layout, self.choices = layout, [np.asarray(each, np.int16) for each in choices]
        self.starts: Indices = np.concatenate([[0], np.cumsum(space.cardinalities)[:-1]])
        self.length = int(space.cardinalities.sum())
        units: dict[int, list[UnitLayer]] = {}
        for layer in layout.layers:
            units.setdefault(layer.unit, []).append(layer)
        self._units = units
        self._layers = {layer.column: layer for layer in layout.layers}

    def blocks(self, layer: UnitLayer) -> list[int]:
        """Indices of the blocks of a layer that occur, without its absence in units with a depth."""
        return [int(choice) for choice in self.choices[layer.column] if is_block(self.layout, layer, int(choice))]

    def is_optional(self, layer: UnitLayer) -> bool:
        """Whether a layer of a unit with a depth is absent in some networks and present in others."""
        return self.layout.by_depth and layer.skip in self.choices[layer.column] and bool(self.blocks(layer))

    def expected(self, cell: Cell | None = None) -> Floats:
        """(length,), the probability of every choice, given a choice.

        Args:
            cell: A choice that occurs; None for no condition.
        """
        result = np.zeros(self.length)
        for column in self.layout.others:
            result[self.starts[column] + self.choices[column]] = 1 / len(self.choices[column])
        for layers in self._units.values():
            self._fill(result, layers, self._depths(layers, cell))
        if cell is not None and self._is_fixed(cell):
            start = self.starts[cell.column]
            result[start : start + int(self.choices[cell.column].max()) + 1] = 0
            result[start + cell.choice] = 1
        return result

    def added(self, layer: UnitLayer) -> Floats:
        """(length,), what an optional layer adds: networks whose unit ends with it, less those whose unit ends before it.

        Args:
            layer: An optional layer of a unit with a depth.
        """
        layers = self._units[layer.unit]
        with_it, without = np.zeros(self.length), np.zeros(self.length)
        depth = self._number(layer)
        self._fill(with_it, layers, np.array([depth]))
        self._fill(without, layers, np.array([depth - 1]))
        difference: Floats = with_it - without
        return difference

    def _fill(self, result: Floats, layers: Sequence[UnitLayer], depths: Indices) -> None:
        """Writes the probabilities of the choices of a unit whose numbers of optional layers are equally likely."""
        optional = 0
        for layer in layers:
            blocks = self.blocks(layer)
            optional += self.is_optional(layer)
            present = float((depths >= optional).mean()) if self.is_optional(layer) else float(bool(blocks))
            if blocks:
                result[self.starts[layer.column] + np.array(blocks)] = present / len(blocks)
            if self.layout.by_depth and layer.skip is not None:
                result[self.starts[layer.column] + layer.skip] = 1 - present

    def draw(self, n: int, rng: np.random.Generator, cell: Cell | None = None) -> Encodings:
        """Draws networks, repetitions included.

        Args:
            n: Number of networks.
            rng: Random generator.
            cell: A choice that all networks have; None for no condition. A layer with a block exists in all networks.

        Returns:
            (n, decisions), int16.
        """
        rows = self._drawn(n, rng, {unit: self._depths(layers, cell) for unit, layers in self._units.items()})
        if cell is not None:
            rows[:, cell.column] = cell.choice
        return rows

    def draw_depth(self, n: int, rng: np.random.Generator, layer: UnitLayer, present: bool) -> Encodings:
        """Draws networks whose unit ends with an optional layer, or with the layer before it.

        Args:
            n: Number of networks.
            rng: Random generator.
            layer: An optional layer of a unit with a depth.
            present: Whether the layer is the last one; otherwise it is absent.

        Returns:
            (n, decisions), int16.
        """
        depths = {unit: self._depths(layers, None) for unit, layers in self._units.items()}
        depths[layer.unit] = np.array([self._number(layer) - (not present)])
        return self._drawn(n, rng, depths)

    def _drawn(self, n: int, rng: np.random.Generator, depths: Mapping[int, Indices]) -> Encodings:
        """Draws networks with numbers of optional layers, by unit, that are equally likely."""
        rows = np.empty((n, len(self.choices)), np.int16)
        for column in self.layout.others:
            rows[:, column] = rng.choice(self.choices[column], n)
        for unit, layers in self._units.items():
            drawn = rng.choice(depths[unit], n)
            optional = 0
            for layer in layers:
                optional += self.is_optional(layer)
                blocks = self.blocks(layer)
                rows[:, layer.column] = rng.choice(np.array(blocks, np.int16), n) if blocks else layer.skip
                if self.is_optional(layer):
                    rows[drawn < optional, layer.column] = layer.skip
        return rows

    def _number(self, layer: UnitLayer) -> int:
        """Number of an optional layer among the optional layers of its unit, from 1."""
        return [one.column for one in self._units[layer.unit] if self.is_optional(one)].index(layer.column) + 1

    def _is_fixed(self, cell: Cell) -> bool:
        layer = self._layers.get(cell.column)
        return layer is None or cell.choice in self.blocks(layer)

    def _depths(self, layers: Sequence[UnitLayer], cell: Cell | None) -> Indices:
        """Numbers of optional layers of a unit that are equally likely, given a choice."""
        optional = [layer.column for layer in layers if self.is_optional(layer)]
        depths = np.arange(len(optional) + 1)
        if cell is None or cell.column not in optional:
            return depths
        needed = optional.index(cell.column) + 1
        absent = cell.choice == self._layers[cell.column].skip
        return depths[depths < needed] if absent else depths[depths >= needed]
