"""The exchange rate of a space on a hardware: how much accuracy its better decisions buy for a share of latency.

Effects of blocks and layers add up, so that the Pareto front of expected accuracy against expected latency is made of steps: to a
block that is slower and more accurate, or to one layer more. Each step has a gain and a cost. The exchange rate is the ratio of
gain to cost at which half of the accuracy that all steps together buy has been bought, the best ratios first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from mhmodels.search.reduction.evidence import Estimate, Evidence

_ROUNDING = 1e-12


class _Step(NamedTuple):
    """A step of the front.

    Attributes:
        cost: Latency, as a share of the mean network's.
        gain: Accuracy.
    """

    cost: Estimate
    gain: float


class _Point(NamedTuple):
    block: str
    cost: float
    gain: float


def exchange_rate(
    latency: Evidence, accuracy: Evidence, blocks: Mapping[int, Sequence[str]], least_block: float, least_layer: float
) -> float:
    """Accuracy for the latency of one whole mean network, at the exchange rate of the front; 0 where no step has a price.

    Args:
        latency: Differences as shares of the latency of the mean network.
        accuracy: Differences of accuracy.
        blocks: Blocks by stage.
        least_block, least_layer: Smallest cost of a block and of a layer. Steps that cost less, or not clearly anything, are
            free: they say nothing about the price of accuracy.
    """
    steps = [
        step
        for stage, words in blocks.items()
        for step in _block_steps(stage, words, latency, accuracy)
        if step.cost.mean >= least_block
    ]
    layers = [_Step(latency.depth[place], gain.mean) for place, gain in accuracy.depth.items() if place in latency.depth]
    steps += [step for step in layers if step.cost.mean >= least_layer]
    priced = [step for step in steps if step.cost.low > 0 and step.gain > 0]
    priced.sort(key=lambda step: -step.gain / step.cost.mean)
    left = sum(step.gain for step in priced) / 2
    for step in priced:
        left -= step.gain
        if left <= 0:
            return step.gain / step.cost.mean
    return 0.0


def _block_steps(stage: int, blocks: Sequence[str], latency: Evidence, accuracy: Evidence) -> Iterator[_Step]:
    """Steps between the blocks of a stage on the upper left hull of accuracy against latency, from the fastest block on."""
    points = list[_Point]()
    for block in blocks:
        cost, gain = (metric.offset(stage, block, blocks) for metric in (latency, accuracy))
        if cost is not None and gain is not None:
            points.append(_Point(block, cost, gain))
    here = min(points, key=lambda point: (point.cost, -point.gain), default=None)
    while here is not None:
        following = _steepest(here, points)
        if following is not None and (cost := latency.differences.get((stage, following.block, here.block))) is not None:
            yield _Step(cost, following.gain - here.gain)
        here = following


def _steepest(here: _Point, points: Iterable[_Point]) -> _Point | None:
    ahead = [point for point in points if point.cost - here.cost > _ROUNDING and point.gain - here.gain > _ROUNDING]
    return max(ahead, key=lambda point: ((point.gain - here.gain) / (point.cost - here.cost), point.cost), default=None)
