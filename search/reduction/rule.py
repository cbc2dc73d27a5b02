"""The automatic rule: removes blocks and last layers whose accuracy costs clearly too much latency."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mhmodels.search.errors import CostModelError
from mhmodels.search.profiling.block_profile import BlockProfile
from mhmodels.search.reduction.blocks import SpaceBlocks
from mhmodels.search.reduction.evidence import average, evidence_of
from mhmodels.search.reduction.exchange import exchange_rates
from mhmodels.search.reduction.judging import Judge, Limits
from mhmodels.search.reduction.reduction import HardwareAggregate, Reduction, Scope
from mhmodels.search.space.search_space import SearchSpace

AVERAGE = "average"
"""Name of several hardware together."""


def reduce_space(
    space: SearchSpace,
    latency: Mapping[str, BlockProfile],
    accuracy: BlockProfile | None,
    *,
    aggregate: HardwareAggregate = "avg",
    per: Scope = "unit",
    rate: float = 0.25,
    depth_rate: float = 0.75,
    least_share: float = 0.01,
) -> Reduction:
    """Removes blocks and last layers that do not pay on some hardware (after arXiv 2109.12426, section 5).

    A block is removed from a unit where a faster block remains, and both of these are clear, that is, hold for whole intervals of
    differences:

    - Its latency: the interval of the difference lies above 0, and the difference is at least `least_share` of the mean network.
    - Its accuracy: the gain is less than `rate` times what better steps between blocks buy for that latency (`exchange`). A block
      that is not more accurate at all is the special case without gain.

    The last layer of a unit is removed by the same test with `depth_rate` and `depth_exchange`. Two blocks and two depths of a
    unit remain. Profiles with 95 % intervals remove fewer choices wrongly than those with 90 %.

    Args:
        space: The space, or what earlier limits left of it.
        latency: Profiles of latency by hardware, with `differences`.
        accuracy: Profile of accuracy, with `differences`: more is better, in any unit.
        aggregate: `avg`: relative latencies are averaged over the hardware first. `worst`: a choice is removed only if it fails
            the test, against the same block, on each hardware.
        per: `unit` judges blocks in each unit. `network` judges them in all units at once, which needs fewer measurements.
        rate: Share of the exchange rate below which accuracy is too dear, from 0 to 1. With 0, only choices without any gain of
            accuracy are removed.
        depth_rate: The same for last layers, from 0 to 1.
        least_share: Smallest difference of latency in a unit that counts, as a share of the mean network, at least 0.

    Returns:
        What was removed and why; `Reduction.restrict` makes the space.

    Raises:
        CostModelError: There is no accuracy or no hardware, a profile is of another space or lacks `differences`, or an argument
            is out of range.

    Example:
        >>> import numpy as np
        >>> from mhmodels.search import get_space, profile, reduce_space
        >>> space = get_space("nas_bench_macro")
        >>> rows = space.draw(300, np.random.default_rng(0))
        >>> ms = 5 + (rows == 1).sum(axis=1) + 9.0 * (rows == 2).sum(axis=1)  # 5x5 kernels are slow ...
        >>> percent = 70 + (rows > 0).sum(axis=1)  # ... and as accurate as 3x3
        >>> profiles = [profile(space, rows, values, differences=True) for values in (ms, percent)]
        >>> found = reduce_space(space, {"my-npu": profiles[0]}, profiles[1])
        >>> len(found.removed), found.removed[0].block
        (3, 'inverted_bottleneck kernel=5 expansion=6')
        >>> found.restrict(space).sizes.positional
        256
    """
    _check_arguments(aggregate, per, {"rate": rate, "depth_rate": depth_rate}, least_share)
    if accuracy is None:
        raise CostModelError(
            "argument 'accuracy' is None, expected a profile of accuracy: without it, every slow block would look needless"
        )
    if not latency:
        raise CostModelError("argument 'latency' is empty, expected a profile of at least one hardware")
    _check_profiles(space, {**latency, "accuracy": accuracy})
    shares = {name: evidence_of(one, 1 / _level(name, one)) for name, one in latency.items()}
    if aggregate == "avg" and len(shares) > 1:
        shares = {AVERAGE: average(list(shares.values()))}
    gains = evidence_of(accuracy)
    blocks = SpaceBlocks(space, per)
    least_block = least_share * blocks.units_at_once
    rates = {name: exchange_rates(one, gains, blocks.words, least_block, least_share) for name, one in shares.items()}
    exchange, depth_exchange = ({name: each[i] for name, each in rates.items()} for i in (0, 1))
    judge = Judge(shares, gains)
    removed, kept_blocks = judge.blocks(blocks, Limits(exchange, rate, least_block))
    gone = [(one.unit, one.block) for one in removed]
    stages = blocks.stages(gone)
    judge = Judge({name: one.with_blocks(stages) for name, one in shares.items()}, gains.with_blocks(stages))
    caps, kept_layers = judge.caps(blocks, Limits(depth_exchange, depth_rate, least_share))
    allowed = blocks.without(gone, [one.decision for one in caps])
    restricted = space.restricted(list(allowed.values()))
    return Reduction(
        space=space.name,
        schema=space.schema,
        hardware=tuple(latency),
        aggregate=aggregate,
        per=per,
        confidence=accuracy.confidence,
        rate=float(rate),
        depth_rate=float(depth_rate),
        least_share=float(least_share),
        exchange=exchange,
        depth_exchange=depth_exchange,
        removed=removed,
        caps=caps,
        kept=(*kept_blocks, *kept_layers),
        allowed=allowed,
        log10_before=math.log10(space.sizes.distinct),
        log10_after=math.log10(restricted.sizes.distinct),
    )


def _check_arguments(aggregate: str, per: str, rates: Mapping[str, float], least_share: float) -> None:
    for name, value, expected in (("aggregate", aggregate, ("avg", "worst")), ("per", per, ("unit", "network"))):
        if value not in expected:
            raise CostModelError(f"argument '{name}' is {value!r}, expected one of {', '.join(expected)}")
    for name, rate in rates.items():
        if not 0 <= rate <= 1:
            raise CostModelError(f"argument '{name}' is {rate}, expected a number from 0 to 1")
    if not 0 <= least_share < math.inf:
        raise CostModelError(f"argument 'least_share' is {least_share}, expected a finite number of at least 0")


def _check_profiles(space: SearchSpace, profiles: Mapping[str, BlockProfile]) -> None:
    for name, one in profiles.items():
        if one.space != space.name:
            raise CostModelError(f"{name}: the profile is of space '{one.space}', expected '{space.name}'")
        if not one.differences:
            raise CostModelError(
                f"{name}: the profile has no differences between blocks, expected profile(..., differences=True)"
            )
    levels = sorted({one.confidence for one in profiles.values()})
    if len(levels) > 1:
        raise CostModelError(f"profiles have intervals of {' and '.join(map(str, levels))} confidence, expected the same")


def _level(name: str, profile: BlockProfile) -> float:
    if profile.level <= 0:
        raise CostModelError(f"{name}: the mean network takes {profile.level:g} ms, expected more than 0: not a latency")
    return profile.level
