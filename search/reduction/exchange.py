"""The exchange rate of a space on a hardware: how much accuracy its better decisions buy for a share of latency.

Effects of blocks and layers add up, so that the Pareto front of expected accuracy against expected latency is made of steps: to a
block that is slower and more accurate, or to one layer more. Each step has a gain and a cost. The exchange rate is the ratio of
gain to cost at which half of the accuracy that all steps together buy has been bought, the best ratios first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from mhmodels.search.reduction.evidence import Evidence


class _Step(NamedTuple):
    cost: float
    gain: float


def exchange_rate(latency: Evidence, accuracy: Evidence, blocks: Mapping[int, Sequence[str]], least_share: float) -> float:
    """Accuracy for the latency of one whole mean network, at the exchange rate of the front; 0 where no step has a price.

    Args:
        latency: Differences as shares of the latency of the mean network.
        accuracy: Differences of accuracy.
        blocks: Blocks by stage.
        least_share: Steps that cost less are free: they say nothing about the price of accuracy.
    """
    steps = [step for stage, words in blocks.items() for step in _block_steps(stage, words, latency, accuracy)]
    steps += [_Step(latency.depth[place].mean, gain.mean) for place, gain in accuracy.depth.items() if place in latency.depth]
    priced = sorted(
        (step for step in steps if step.cost >= least_share and step.gain > 0), key=lambda step: -step.gain / step.cost
    )
    left = sum(step.gain for step in priced) / 2
    for step in priced:
        left -= step.gain
        if left <= 0:
            return step.gain / step.cost
    return 0.0


def _block_steps(stage: int, blocks: Sequence[str], latency: Evidence, accuracy: Evidence) -> Iterator[_Step]:
    """Steps between the blocks of a stage on the upper left hull of accuracy against latency, from the fastest block on."""
    points = []
    for block in blocks:
        cost, gain = (metric.offset(stage, block, blocks) for metric in (latency, accuracy))
        if cost is not None and gain is not None:
            points.append(_Step(cost, gain))
    here = min(points, key=lambda point: (point.cost, -point.gain), default=None)
    while here is not None:
        step = _steepest(here, points)
        if step is None:
            return
        yield step
        here = _Step(here.cost + step.cost, here.gain + step.gain)


def _steepest(here: _Step, points: Iterable[_Step]) -> _Step | None:
    ahead = [
        _Step(point.cost - here.cost, point.gain - here.gain)
        for point in points
        if point.cost - here.cost > 1e-12 and point.gain - here.gain > 1e-12
    ]
    return max(ahead, key=lambda step: (step.gain / step.cost, step.cost), default=None)
