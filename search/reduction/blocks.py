"""Blocks and last layers of a space that a reduction may remove, and the choices that are left without them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from mhmodels.search.profiling.differences import WHOLE_NETWORK
from mhmodels.search.profiling.layout import UnitLayer, is_block, layout_of
from mhmodels.search.reduction.evidence import StageBlocks
from mhmodels.search.reduction.reduction import Scope
from mhmodels.search.space.search_space import SearchSpace

FEWEST = 2
"""Blocks of a layer, and depths of a unit, that remain where there were as many."""


class SpaceBlocks:
    """Blocks by unit, and optional layers by unit.

    Attributes:
        words: By unit, the blocks that can be compared: those that at least half of its layers offer. 0 stands for all units.
        units_at_once: Number of units in which a block is judged at once.
    """

    def __init__(self, space: SearchSpace, per: Scope) -> None:
        """Finds blocks and layers.

        Args:
            space: The space; choices that it does not allow are not there.
            per: `unit`, or `network` for all units at once.
        """
        self._space, self._layout = space, layout_of(space)
        self._layers: dict[int, list[UnitLayer]] = {}
        for layer in self._layout.layers:
            self._layers.setdefault(layer.stage if per == "unit" else WHOLE_NETWORK, []).append(layer)
        self.units_at_once = 1 if per == "unit" else len({layer.stage for layer in self._layout.layers})
        self.words: Mapping[int, tuple[str, ...]] = {unit: self._common(unit) for unit in self._layers}

    def decisions_with(self, unit: int, block: str) -> tuple[str, ...]:
        """Names of the decisions of a unit that offer a block."""
        return tuple(
            self._space.decisions[layer.column].name for layer in self._layers[unit] if block in self._offered(layer).values()
        )

    def can_replace(self, unit: int, other: str, block: str) -> bool:
        """Whether a block can be removed for another: it is no absence of layers, and the other is offered wherever it is."""
        layers = [layer for layer in self._layers[unit] if block in self._offered(layer).values()]
        return all(
            other in self._offered(layer).values() and (layer.skip is None or layer.blocks[layer.skip] != block)
            for layer in layers
        )

    def leaves_too_few(self, unit: int, removed: Collection[str]) -> bool:
        """Whether a layer that has several blocks would be left with less than two."""
        for layer in self._layers[unit]:
            offered = self._offered(layer).values()
            if len(offered) >= FEWEST > sum(block not in removed for block in offered):
                return True
        return False

    def stages(self, removed: Collection[tuple[int, str]]) -> list[StageBlocks]:
        """Blocks of the stages that lose some, with the mean number of layers of the stage at uniform depths.

        Args:
            removed: Units and blocks, as in `without`.
        """
        layers: dict[int, list[UnitLayer]] = {}
        for layer in self._layout.layers if self._layout.by_depth else ():
            if self._offered(layer):
                layers.setdefault(layer.stage, []).append(layer)
        found = list[StageBlocks]()
        for stage, own in layers.items():
            every = tuple(dict.fromkeys(block for layer in own for block in self._offered(layer).values()))
            left = tuple(block for block in every if not {(stage, block), (WHOLE_NETWORK, block)} & set(removed))
            optional = sum(layer.skip in self._allowed(layer) for layer in own)
            if left and left != every:
                found.append(StageBlocks(stage, every, left, len(own) - optional / 2))
        return found

    def optional_layers(self) -> Iterator[list[UnitLayer]]:
        """Yields the layers of each unit with a depth that can be absent, the last one first."""
        units: dict[int, list[UnitLayer]] = {}
        for layer in self._layout.layers if self._layout.by_depth else ():
            if layer.skip in self._allowed(layer) and self._offered(layer):
                units.setdefault(layer.unit, []).insert(0, layer)
        yield from units.values()

    def decision(self, layer: UnitLayer) -> str:
        """Name of the decision on a layer."""
        return self._space.decisions[layer.column].name

    def without(self, removed: Collection[tuple[int, str]], capped: Collection[str]) -> dict[str, tuple[int, ...]]:
        """By decision, the choices that are left.

        Args:
            removed: Units and blocks.
            capped: Names of the decisions that can only be skipped.
        """
        left = {
            decision.name: tuple(map(int, allowed))
            for decision, allowed in zip(self._space.decisions, self._space.allowed, strict=True)
        }
        for unit, layers in self._layers.items():
            gone = {block for where, block in removed if where == unit}
            for layer in layers:
                name, lost = self.decision(layer), {i for i, block in self._offered(layer).items() if block in gone}
                left[name] = tuple(choice for choice in left[name] if choice not in lost)
        for layer in self._layout.layers:
            if self.decision(layer) in capped and layer.skip is not None:
                left[self.decision(layer)] = (layer.skip,)
        return left

    def _common(self, unit: int) -> tuple[str, ...]:
        counts = Counter(block for layer in self._layers[unit] for block in self._offered(layer).values())
        return tuple(block for block, count in counts.items() if 2 * count >= len(self._layers[unit]))

    def _allowed(self, layer: UnitLayer) -> list[int]:
        return [int(choice) for choice in self._space.allowed[layer.column]]

    def _offered(self, layer: UnitLayer) -> dict[int, str]:
        """By choice, the blocks of a layer that are allowed; its absence is one in spaces without depths."""
        return {choice: layer.blocks[choice] for choice in self._allowed(layer) if is_block(self._layout, layer, choice)}
