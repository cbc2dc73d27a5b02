"""The test of a reduction: whether the latency of a block or a layer is clear, and its accuracy clearly too little for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mhmodels.search.profiling.block_profile import Effect
from mhmodels.search.reduction.blocks import FEWEST, SpaceBlocks
from mhmodels.search.reduction.evidence import Estimate, Evidence
from mhmodels.search.reduction.reduction import ChoiceCost, DepthCap, RemovedBlock


class _Verdict(NamedTuple):
    """A choice that does not pay.

    Attributes:
        by: The block that replaces it; empty for a layer.
        cost: Latency on each hardware.
        accuracy: Accuracy of the choice.
        margin: Accuracy above what the latency is worth, below 0; largest over the hardware.
    """

    by: str
    cost: tuple[ChoiceCost, ...]
    accuracy: Effect
    margin: float


class Limits(NamedTuple):
    """When a choice does not pay.

    Attributes:
        exchange: Exchange rates by hardware.
        rate: Share of the exchange rate below which accuracy is too dear.
        least_share: Smallest difference of latency that counts.
    """

    exchange: Mapping[str, float]
    rate: float
    least_share: float


class Judge:
    """Tests choices against the exchange rates of the front."""

    def __init__(self, shares: Mapping[str, Evidence], gains: Evidence) -> None:
        """Keeps the evidence.

        Args:
            shares: By hardware, latencies as shares of that of the mean network.
            gains: Accuracies.
        """
        self._shares, self._gains = shares, gains

    def blocks(self, blocks: SpaceBlocks, limits: Limits) -> tuple[tuple[RemovedBlock, ...], tuple[str, ...]]:
        """Finds the blocks that do not pay.

        Args:
            blocks: Blocks of the space.
            limits: When a choice does not pay.

        Returns:
            Removed blocks by unit, and remarks on those that stay so that every layer has a choice.
        """
        removed, kept = list[RemovedBlock](), list[str]()
        for unit in blocks.words:
            verdicts = self._needless(unit, blocks, limits)
            while blocks.leaves_too_few(unit, verdicts):
                block = max(verdicts, key=lambda word: verdicts[word].margin)
                kept.append(
                    f"{_unit(unit)}: {block} stays, although {verdicts[block].by} is faster and its accuracy too dear: "
                    f"{FEWEST} blocks must remain"
                )
                del verdicts[block]
            removed += [
                RemovedBlock(
                    unit=unit, block=block, by=one.by, decisions=blocks.decisions_with(unit, block), cost=one.cost,
                    accuracy=one.accuracy,
                )
                for block, one in verdicts.items()
            ]  # fmt: skip
        return tuple(removed), tuple(kept)

    def caps(self, blocks: SpaceBlocks, limits: Limits) -> tuple[tuple[DepthCap, ...], tuple[str, ...]]:
        """Finds the last layers that do not pay.

        Args:
            blocks: Blocks of the space.
            limits: When a choice does not pay.

        Returns:
            Removed layers by unit, and remarks on those that stay so that every unit has two depths.
        """
        caps, kept = list[DepthCap](), list[str]()
        for layers in blocks.optional_layers():
            for place, layer in enumerate(layers):
                where = (layer.unit, layer.layer)
                costs = {name: one.depth.get(where) for name, one in self._shares.items()}
                verdict = self._verdict(costs, self._gains.depth.get(where), limits)
                if verdict is None:
                    break
                if len(layers) - place < FEWEST:
                    kept.append(
                        f"{_unit(layer.unit)}: layer {layer.layer} stays, although it is too dear: {FEWEST} depths must remain"
                    )
                    break
                caps.append(
                    DepthCap(
                        unit=layer.unit, layers=layer.layer - 1, decision=blocks.decision(layer), cost=verdict.cost,
                        accuracy=verdict.accuracy,
                    )
                )  # fmt: skip
        return tuple(caps), tuple(kept)

    def _needless(self, unit: int, blocks: SpaceBlocks, limits: Limits) -> dict[str, _Verdict]:
        """Blocks that a faster one replaces. The fastest come first, so that what replaces a block stays itself."""
        verdicts = dict[str, _Verdict]()
        survivors = list[str]()
        for block in self._fastest_first(unit, blocks.words[unit]):
            faster = [other for other in survivors if blocks.can_replace(unit, other, block)]
            found = [verdict for other in faster if (verdict := self._against(unit, block, other, limits)) is not None]
            if found:
                verdicts[block] = min(found, key=lambda verdict: verdict.margin)
            else:
                survivors.append(block)
        return verdicts

    def _fastest_first(self, unit: int, words: Sequence[str]) -> list[str]:
        """Blocks that the profiles know, by the number of faster ones on all hardware together."""
        totals = dict[str, int]()
        for block in words:
            known = [faster for one in self._shares.values() if (faster := one.below(unit, block, words)) is not None]
            if known:
                totals[block] = sum(known)
        return sorted(totals, key=lambda block: totals[block])

    def _against(self, unit: int, block: str, other: str, limits: Limits) -> _Verdict | None:
        pair = (unit, block, other)
        costs = {name: one.differences.get(pair) for name, one in self._shares.items()}
        return self._verdict(costs, self._gains.differences.get(pair), limits, other)

    def _verdict(
        self, costs: Mapping[str, Estimate | None], gain: Estimate | None, limits: Limits, by: str = ""
    ) -> _Verdict | None:
        """The verdict on a choice that fails the test on all hardware; None if it pays somewhere, or is unknown."""
        told, margins = list[ChoiceCost](), list[float]()
        for name, cost in costs.items():
            if gain is None or cost is None or cost.low <= 0 or cost.mean < limits.least_share:
                return None
            above = gain.minus(cost.scaled(limits.rate * limits.exchange[name]))
            if above.high >= 0:
                return None
            worth = cost.mean * limits.exchange[name]
            told.append(ChoiceCost(hardware=name, mean=cost.mean, low=cost.low, high=cost.high, worth=worth))
            margins.append(above.mean)
        if gain is None:
            return None
        return _Verdict(by, tuple(told), Effect(mean=gain.mean, low=gain.low, high=gain.high), max(margins))


def _unit(number: int) -> str:
    return f"unit {number}" if number else "all units"
