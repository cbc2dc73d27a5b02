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
    gain: Estimate


class ExchangeRates(NamedTuple):
    """Accuracy for the latency of one whole mean network; 0 where no step has a price.

    Attributes:
        blocks: Rate of steps between blocks. Blocks are compared with these only: where all layers are there already, better
            steps to more layers are no alternative. Where no block is clearly more accurate than a faster one, as `all`.
        all: Rate of all steps with a clear price, between blocks and to more layers.
    """

    blocks: float
    all: float


def exchange_rates(
    latency: Evidence, accuracy: Evidence, blocks: Mapping[int, Sequence[str]], least_block: float, least_layer: float
) -> ExchangeRates:
    """Exchange rates of a space on a hardware.

    Args:
        latency: Differences as shares of the latency of the mean network.
        accuracy: Differences of accuracy.
        blocks: Blocks by stage.
        least_block, least_layer: Smallest cost of a block and of a layer that counts.
    """
    between = [step for stage, words in blocks.items() for step in _block_steps(stage, words, latency, accuracy)]
    layers = [_Step(latency.depth[place], gain) for place, gain in accuracy.depth.items() if place in latency.depth]
    # The price of a step that costs hardly anything is not known, but a lower limit of its rate is.
    limits = [(step.gain.mean, max(step.cost.high, least_block)) for step in between]
    priced = [(step.gain.mean, step.cost.mean) for step in between if step.cost.low > 0 and step.cost.mean >= least_block]
    priced += [(step.gain.mean, step.cost.mean) for step in layers if step.cost.low > 0 and step.cost.mean >= least_layer]
    every = _rate(priced)
    return ExchangeRates(_rate(limits) if any(step.gain.low > 0 for step in between) else every, every)


def _rate(steps: Iterable[tuple[float, float]]) -> float:
    """The ratio of gain to cost at which half of the gain of all steps has been bought.

    Args:
        steps: Gain and cost of each step.
    """
    best_first = sorted(((gain, cost) for gain, cost in steps if gain > 0), key=lambda step: -step[0] / step[1])
    left = sum(gain for gain, _ in best_first) / 2
    for gain, cost in best_first:
        left -= gain
        if left <= 0:
            return gain / cost
    return 0.0


def _block_steps(stage: int, blocks: Sequence[str], latency: Evidence, accuracy: Evidence) -> Iterator[_Step]:
    """Steps between the blocks of a stage on the upper left hull of accuracy against latency, from the fastest block on.

    Steps are the differences of pairs, since two blocks may share other layers than a third one.
    """
    known = {block: faster for block in blocks if (faster := latency.below(stage, block, blocks)) is not None}
    here = min(known, key=lambda block: known[block], default=None)
    while here is not None:
        ahead = {block: _step(latency, accuracy, (stage, block, here)) for block in known}
        better = [
            (step.gain.mean / step.cost.mean, step.cost.mean, block, step) for block, step in ahead.items() if step is not None
        ]
        here = None
        if better:
            _, _, here, step = max(better)
            yield step


def _step(latency: Evidence, accuracy: Evidence, pair: tuple[int, str, str]) -> _Step | None:
    """The step to a slower and more accurate block; None if it is not both."""
    cost, gain = latency.differences.get(pair), accuracy.differences.get(pair)
    if cost is None or gain is None or cost.mean <= _ROUNDING or gain.mean <= _ROUNDING:
        return None
    return _Step(cost, gain)
