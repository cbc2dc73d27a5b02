"""What profiles tell about choosing one block instead of another: differences of one metric, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from mhmodels.search.profiling.block_profile import BlockProfile, Effect

Key = TypeVar("Key")


class Estimate(NamedTuple):
    """A difference with its interval, which is symmetric.

    Attributes:
        mean: The difference.
        half: Half of the width of its interval.
    """

    mean: float
    half: float

    @property
    def low(self) -> float:
        """Lower limit."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """Upper limit."""
        return self.mean + self.half

    def scaled(self, factor: float) -> Estimate:
        """The difference times a number."""
        return Estimate(self.mean * factor, self.half * abs(factor))

    def plus(self, other: Estimate) -> Estimate:
        """The sum with an estimate with independent errors."""
        return Estimate(self.mean + other.mean, math.hypot(self.half, other.half))

    def minus(self, other: Estimate) -> Estimate:
        """The difference to an estimate with independent errors."""
        return Estimate(self.mean - other.mean, math.hypot(self.half, other.half))


class StageBlocks(NamedTuple):
    """Blocks of a stage before and after a reduction.

    Attributes:
        stage: Number of the stage.
        every: All its blocks.
        left: Its blocks that are left.
        layers: Mean number of layers of the stage, which differences between its blocks are the sum of.
    """

    stage: int
    every: tuple[str, ...]
    left: tuple[str, ...]
    layers: float


class Evidence(NamedTuple):
    """Differences of one metric.

    Attributes:
        differences: By (stage, block, other), what `block` changes against `other`; each pair in both orders.
        depth: By (unit, layer), what the presence of a last layer changes.
    """

    differences: Mapping[tuple[int, str, str], Estimate]
    depth: Mapping[tuple[int, int], Estimate]

    def below(self, stage: int, block: str, blocks: Sequence[str]) -> int | None:
        """Number of blocks with a smaller value than a block; None where the block is unknown.

        Args:
            stage: Number of the stage; 0 for the whole network.
            block: The block.
            blocks: The blocks to compare with. Means would not do, since pairs of blocks share different layers.
        """
        found = [self.differences.get((stage, block, other)) for other in blocks]
        known = [one.mean for one in found if one is not None]
        return sum(mean > 0 for mean in known) if known else None

    def with_blocks(self, stages: Sequence[StageBlocks]) -> Evidence:
        """The same with layers that have the blocks that are left, instead of the mean of all.

        A removed block that is slow makes every layer look slow, also those that never have it again.

        Args:
            stages: Stages that lose blocks, and are units with a depth.
        """
        depth = dict(self.depth)
        for stage in stages:
            change = self._change(stage)
            for unit, layer in self.depth if change is not None else ():
                if unit == stage.stage and change is not None:
                    depth[unit, layer] = self.depth[unit, layer].plus(change)
        return Evidence(self.differences, depth)

    def _change(self, stage: StageBlocks) -> Estimate | None:
        """What a layer changes by having one of the blocks that are left instead of one of all, on average over the stage."""
        pairs = [
            self.differences.get((stage.stage, block, other)) for block in stage.left for other in stage.every if other != block
        ]
        known = [one for one in pairs if one is not None]
        if not known or len(known) < len(pairs):
            return None
        each = 1 / (len(stage.left) * len(stage.every) * stage.layers)
        # Errors of differences to one block have much in common: the halves add up as if they were the same.
        return Estimate(sum(one.mean for one in known) * each, sum(one.half for one in known) * each)


def evidence_of(profile: BlockProfile, factor: float = 1.0) -> Evidence:
    """Reads the differences of a profile.

    Args:
        profile: Profile with `differences`.
        factor: Number that all differences are multiplied with.
    """
    differences = {}
    for pair in profile.differences:
        known = _estimate(pair)
        if known is not None:
            differences[pair.stage, pair.block, pair.other] = known.scaled(factor)
            differences[pair.stage, pair.other, pair.block] = known.scaled(-factor)
    depth = {(one.unit, one.layer): _estimate(one) for one in profile.depth}
    return Evidence(differences, {place: one.scaled(factor) for place, one in depth.items() if one is not None})


def average(each: Sequence[Evidence]) -> Evidence:
    """Means over several hardware of what all of them know; their errors are independent.

    Args:
        each: Evidence of each hardware, as shares of the latency of its mean network.
    """
    return Evidence(_mean([one.differences for one in each]), _mean([one.depth for one in each]))


def _mean(tables: Sequence[Mapping[Key, Estimate]]) -> dict[Key, Estimate]:
    count = len(tables)
    return {
        key: Estimate(sum(one[key].mean for one in tables) / count, math.hypot(*(one[key].half for one in tables)) / count)
        for key in tables[0]
        if all(key in one for one in tables)
    }


def _estimate(effect: Effect) -> Estimate | None:
    if effect.mean is None or effect.low is None or effect.high is None:
        return None
    return Estimate(effect.mean, (effect.high - effect.low) / 2)
