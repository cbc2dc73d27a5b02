"""The whole adaptation of a new hardware: choose networks, measure them, stop when the interval says enough, adapt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from mhmodels.search.adaptation.adapting import FEWEST, Adapted, adapt
from mhmodels.search.adaptation.proposing import propose
from mhmodels.search.adaptation.rank_interval import RankInterval, rank_interval
from mhmodels.search.adaptation.sources import PreparedSources
from mhmodels.search.arrays import Floats
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.errors import CostModelError
from mhmodels.search.space.sampling import sample
from mhmodels.search.space.search_space import Encodings, SearchSpace

CANDIDATES = 600
"""Number of networks that the next ones are chosen from."""
BATCH = 5
"""Networks that are measured before the next ones are chosen."""
_EARLIEST = 10
"""Fewest measurements at which measuring stops early."""
StopReason: TypeAlias = Literal["enough", "budget", "candidates"]
"""Why measuring ended: the interval lies above the wanted correlation, the budget is used up, or no candidate is left."""


class AdaptStep(NamedTuple):
    """What is known after some measurements.

    Attributes:
        measured: Number of networks with a latency.
        interval: Rank correlation of leave-one-out predictions with the latencies, with its confidence interval; None if the
            latencies do not vary yet.

    Example:
        >>> from mhmodels.search import AdaptStep
        >>> AdaptStep(5, None).measured
        5
    """

    measured: int
    interval: RankInterval | None


class MeasuredAdaptation(NamedTuple):
    """An adaptation with the networks that were measured for it.

    Attributes:
        adapted: The adapted cost model.
        encodings: (n, decisions), networks with a latency.
        ms: (n,), their latencies in ms.
        steps: State after each batch.
        stopped: Why measuring ended.
        failed: Number of networks that the target did not run.

    Example:
        >>> from mhmodels.search import LatencyOrigin, adapt_by_measuring, get_space, prepare_sources, sample, shipped_model
        >>> space = get_space("multi_hardware")
        >>> source = shipped_model(space, "ethos-u65-256")
        >>> result = adapt_by_measuring(
        ...     prepare_sources(space, {"ethos-u65-256": source}),
        ...     sample(space, 50).encodings,
        ...     measure=source.bind(space).predict,
        ...     origin=lambda rows: LatencyOrigin("my-npu"),
        ...     budget=5,
        ... )
        >>> result.stopped, len(result.ms), result.failed
        ('budget', 5, 0)
    """

    adapted: Adapted
    encodings: Encodings
    ms: Floats
    steps: tuple[AdaptStep, ...]
    stopped: StopReason
    failed: int


def candidate_networks(space: SearchSpace, seed: int = 0) -> Encodings:
    """Random networks (600, decisions) of a space, or all of a smaller one, from which the measured ones are chosen.

    Args:
        space: Space of the networks.
        seed: Random seed.
    """
    return sample(space, min(CANDIDATES, space.sizes.distinct), seed).encodings


def adapt_by_measuring(
    prepared: PreparedSources,
    candidates: Encodings,
    measure: Callable[[Encodings], Floats],
    origin: Callable[[Encodings], LatencyOrigin],
    budget: int,
    *,
    enough: float = 0.95,
    confidence: float = 0.9,
    doubts: Sequence[str] = (),
    advance: Callable[[AdaptStep], None] = lambda _: None,
) -> MeasuredAdaptation:
    """Measures networks in batches of five, chosen by what is still uncertain, and adapts the sources to them.

    The choice depends on the arguments and the latencies only. With a `measure` that keeps what it has measured, a repeated call
    therefore continues an interrupted one.

    Args:
        prepared: Sources of the adaptation.
        candidates: (m, decisions), int16, networks to choose from.
        measure: Measures networks (k, decisions) on the target: (k,) ms, NaN where the target does not run a network.
        origin: Gives the conditions of the latencies of networks (n, decisions) that were measured.
        budget: Most networks to measure, at least 5.
        enough: Rank correlation of leave-one-out predictions at which measuring stops, once 10 networks are measured and the
            lower limit of its interval reaches it.
        confidence: Two-sided confidence of this interval.
        doubts: As for `adapt`.
        advance: Receives the state after each batch.

    Returns:
        The adapted model with its measurements.

    Raises:
        CostModelError: Fewer than 5 networks run on the target, or all take equally long.

    Example:
        >>> from mhmodels.search import LatencyOrigin, adapt_by_measuring, get_space, prepare_sources, sample, shipped_model
        >>> space = get_space("multi_hardware")
        >>> source = shipped_model(space, "ethos-u55-128")
        >>> slow = source.bind(space)
        >>> result = adapt_by_measuring(
        ...     prepare_sources(space, {"ethos-u55-128": source}),
        ...     sample(space, 100).encodings,
        ...     measure=lambda rows: 3 * slow.predict(rows),
        ...     origin=lambda rows: LatencyOrigin("my-npu"),
        ...     budget=20,
        ... )
        >>> result.stopped, result.adapted.model.n
        ('enough', 10)
    """
    rows, ms = candidates[:0], np.empty(0)
    remaining, tried, steps = candidates, 0, list[AdaptStep]()
    stopped: StopReason = "budget"
    adapted: Adapted | None = None
    while tried < budget:
        number = min(BATCH, budget - tried, len(remaining))
        if not number:
            stopped = "candidates"
            break
        chosen = propose(prepared, remaining, rows, ms, number)
        batch = remaining[chosen]
        remaining = np.delete(remaining, chosen, axis=0)
        latencies, tried = measure(batch), tried + number
        ran = np.isfinite(latencies)
        rows, ms = np.concatenate([rows, batch[ran]]), np.concatenate([ms, latencies[ran]])
        if len(ms) >= FEWEST and np.ptp(ms) > 0:
            adapted = adapt(prepared.space, prepared, rows, ms, origin(rows), doubts)
        steps.append(AdaptStep(len(ms), _interval(adapted, ms, confidence)))
        advance(steps[-1])
        low = steps[-1].interval.low if steps[-1].interval is not None else -1.0
        if len(ms) >= _EARLIEST and low >= enough and tried < budget:
            stopped = "enough"
            break
    if len(ms) < FEWEST:
        raise CostModelError(
            f"{len(ms)} of {tried} measured networks run on the target, expected at least {FEWEST}: see the failures above, or "
            "restrict the space to what the hardware runs"
        )
    # Latencies that are all equal are refused here.
    adapted = adapted or adapt(prepared.space, prepared, rows, ms, origin(rows), doubts)
    return MeasuredAdaptation(adapted, rows, ms, tuple(steps), stopped, tried - len(ms))


def _interval(adapted: Adapted | None, ms: Floats, confidence: float) -> RankInterval | None:
    if adapted is None or np.ptp(adapted.predicted_ms) == 0:
        return None
    return rank_interval(adapted.predicted_ms, ms, confidence)
