"""Judges the found Pareto front by measured latencies: which members stay, and how far the cost models are off."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

import msgspec
import numpy as np

from mhmodels.hardware.measurement import Environment, MeasurementKind
from mhmodels.search.arrays import Floats, Indices
from mhmodels.search.cost_model.data import CostModelData
from mhmodels.search.cost_model.predictor import Predictor
from mhmodels.search.errors import SearchError
from mhmodels.search.objective.objective import Objective
from mhmodels.search.run.evaluations import Evaluations, selected
from mhmodels.search.run.pareto import pareto_front
from mhmodels.search.space.search_space import Encodings

FrontVerdict: TypeAlias = Literal["kept", "dominated", "no latency"]
"""Result for a member. `no latency` means that a hardware that counts did not run it, so that it cannot be compared."""
_NAMED = 10
"""Number of members that a message names."""
_SIGNIFICANT = 0.05
"""Probability of the sign test below which the errors on the front count as larger than the held-out errors."""
_CLEARLY = 2.0
"""Ratio of the median error on the front to the median held-out error above which no test is needed."""


class FrontLatencies(NamedTuple):
    """Latencies of the members of a front, as measured on the hardware or read from a table.

    Attributes:
        ms: (n, hardware), float64, ms above 0, NaN where there is no latency. The hardware is in the order of the objective.
        kinds: Kind of the latencies by hardware id; `measured` for hardware that is not named.
        reasons: Why there is no latency, by (index of the member, hardware id).
        environments: Environment of the latencies by hardware id; hardware whose environment is unknown is left out.
        noisy: Number of noisy latencies by hardware id.
        source: Table of the latencies with its hash; empty for latencies of the store.

    Example:
        >>> import numpy as np
        >>> from mhmodels.search import FrontLatencies
        >>> FrontLatencies(np.array([[3.2], [np.nan]]), kinds={"my-npu": "estimated"}).ms.shape
        (2, 1)
    """

    ms: Floats
    kinds: Mapping[str, MeasurementKind] = {}
    reasons: Mapping[tuple[int, str], str] = {}
    environments: Mapping[str, Environment] = {}
    noisy: Mapping[str, int] = {}
    source: str = ""


class FrontMember(NamedTuple):
    """A member of the found Pareto front with its predicted and its measured latencies.

    Attributes:
        encoding: (decisions,), int16, canonical.
        label: Space and choices, for example `nas_bench_macro:2:1:…`.
        accuracy: Fraction from 0 to 1.
        predicted_ms, measured_ms: (hardware,), float64, ms; a measured latency is NaN where there is none.
        predicted_f, measured_f: Aggregated normalised latency (equation 4 or 5), NaN without a latency on hardware that counts.
        predicted_reward, measured_reward: Reward of the accuracy and of f, NaN without f.
        verdict: Whether the member stays on the front.
        dominated_by: Index of a kept member that dominates this one; None unless the verdict is `dominated`.
        reasons: Why there is no latency, by hardware id.
    """

    encoding: Encodings
    label: str
    accuracy: float
    predicted_ms: Floats
    measured_ms: Floats
    predicted_f: float
    measured_f: float
    predicted_reward: float
    measured_reward: float
    verdict: FrontVerdict
    dominated_by: int | None
    reasons: dict[str, str]


class FrontHardware(msgspec.Struct, frozen=True, kw_only=True):
    """How well the latencies of the search agree with the measured ones on one hardware.

    Attributes:
        hardware: Hardware id.
        kind: Kind of the measured latencies.
        members: Number of members with a latency.
        missing: Number of members without one.
        noisy: Number of noisy latencies.
        median_error, largest_error: Of |predicted - measured| / measured over the members; None if no member has a latency.
        held_out_error: The same error as the cost model states it for held-out networks; None if the search took its latencies
            from a table.
        held_out_statistic: Statistic of `held_out_error`: `median`, or `mean` for files of earlier versions, which have no
            median; empty without a cost model.
        warning: Why the cost model should not be relied on near this front, or "".
    """

    hardware: str
    kind: MeasurementKind
    members: int
    missing: int
    noisy: int
    median_error: float | None
    largest_error: float | None
    held_out_error: float | None
    held_out_statistic: Literal["median", "mean", ""]
    warning: str


class MeasuredFront(NamedTuple):
    """A found Pareto front, judged by measured latencies.

    Attributes:
        members: Members in the order of the found front, the most accurate first.
        hardware: Agreement of predicted and measured latencies, by hardware in the order of the objective.
        aggregate: Aggregation of f, `avg` or `max`.
        predicted: Whether cost models predicted the latencies of the search; False if they come from a table.
        source: Table of the measured latencies with its hash; empty for latencies of the store.

    Example:
        >>> import numpy as np
        >>> from mhmodels.search import FrontLatencies, Random, SearchRequest, judge_front, run_search
        >>> request = SearchRequest(space="nas_bench_macro", latencies="nas_bench_macro", method=Random(evaluations=40))
        >>> result = run_search(request, accuracy=lambda space, encodings: encodings.mean(axis=1) / 2)
        >>> members = result.front_members()
        >>> front = judge_front(result.objective, members, FrontLatencies(members.latencies * 1.1))
        >>> front.kept.tolist() == list(range(len(members.accuracy)))
        True
    """

    members: tuple[FrontMember, ...]
    hardware: tuple[FrontHardware, ...]
    aggregate: str
    predicted: bool
    source: str = ""

    @property
    def kept(self) -> Indices:
        """Indices of the members that stay on the front."""
        return np.array([i for i, member in enumerate(self.members) if member.verdict == "kept"], np.int64)

    @property
    def best(self) -> int | None:
        """Index of the member with the highest reward by measured latencies; None if no member has one.

        A dominated member may have the highest reward, because the absolute reward also reduces the reward of networks that are
        faster than the target.
        """
        rewards = np.array([member.measured_reward for member in self.members])
        return None if np.isnan(rewards).all() else int(np.nanargmax(rewards))

    @property
    def missing(self) -> tuple[str, ...]:
        """One line for each hardware and reason with the members, numbered from 1, that have no latency there."""
        members: dict[tuple[str, str], list[int]] = {}
        for number, member in enumerate(self.members, 1):
            for hardware, reason in member.reasons.items():
                members.setdefault((hardware, reason), []).append(number)
        return tuple(f"{hardware}: no latency of {_numbered(found)}: {reason}" for (hardware, reason), found in members.items())


def front_members(rows: Evaluations) -> Evaluations:
    """The Pareto front of accuracy against f, the aggregated normalised latency; with one hardware, against its latency.

    Args:
        rows: Evaluated networks.

    Returns:
        The members of the front, the most accurate first.
    """
    return selected(rows, pareto_front(rows, rows.f[:, None]))


def dominators(accuracy: Floats, cost: Floats) -> list[int | None]:
    """Finds the members that another member dominates: at least as accurate, at most as costly, and one of both strictly.

    Members of equal accuracy and cost do not dominate each other.

    Args:
        accuracy: (n,).
        cost: (n,), the lower the better; NaN for members that are not compared.

    Returns:
        For each member the index of a member that dominates it and that no member dominates: the most accurate of these, among
        equally accurate ones the first. None for the others.

    Example:
        >>> import numpy as np
        >>> dominators(np.array([0.8, 0.7, 0.6]), np.array([2.0, 3.0, np.nan]))
        [None, 0, None]
    """
    # A comparison with NaN is false, so that a member without cost neither dominates nor is dominated.
    better_or_equal = (accuracy[:, None] >= accuracy) & (cost[:, None] <= cost)
    strictly = (accuracy[:, None] > accuracy) | (cost[:, None] < cost)
    beats = better_or_equal & strictly
    beats &= ~beats.any(axis=0)[:, None]
    order = np.argsort(-accuracy, kind="stable")
    return [next((int(i) for i in order if beats[i, j]), None) for j in range(len(accuracy))]


def judge_front(objective: Objective, members: Evaluations, latencies: FrontLatencies) -> MeasuredFront:
    """Drops the members of a found front that are dominated by measured latencies (One-Proxy, arXiv 2111.01203, section 4).

    Members are compared by accuracy and, if one hardware counts, by its measured latency; if several count, by f, the aggregated
    normalised latency of the reward (equation 4 or 5 of arXiv 2008.08178), computed from measured latencies. A member without a
    latency on hardware that counts is neither kept nor dropped as dominated, and dominates no other member.

    Args:
        objective: Objective of the search.
        members: Members of the found front, as `SearchResult.front_members` returns them.
        latencies: Their measured latencies.

    Returns:
        The members with both latencies and their verdicts.

    Raises:
        SearchError: There are no members, the latencies have another shape, or one is neither NaN nor a finite number above 0.

    Example:
        >>> import numpy as np
        >>> from mhmodels.search import FrontLatencies, Random, SearchRequest, judge_front, run_search
        >>> request = SearchRequest(
        ...     space="nas_bench_macro", latencies="nas_bench_macro", hardware=("ethos-u55-128",), method=Random(evaluations=40)
        ... )
        >>> result = run_search(request, accuracy=lambda space, encodings: encodings.mean(axis=1) / 2)
        >>> members = result.front_members()
        >>> measured = members.latencies.copy()
        >>> measured[0], measured[1] = 1.0, 2.0  # the most accurate member is faster than the second one
        >>> front = judge_front(result.objective, members, FrontLatencies(measured))
        >>> front.members[1].verdict, front.members[1].dominated_by
        ('dominated', 0)
    """
    measured = _checked(objective, members, latencies.ms)
    reward, counted = objective.reward, objective.reward.counted
    complete = np.isfinite(measured[:, counted]).all(axis=1)
    f, rewards = np.full(len(measured), np.nan), np.full(len(measured), np.nan)
    if complete.any():
        # Hardware of weight 0 may lack a latency; any number in its place leaves f as it is.
        f[complete] = reward.f(np.where(np.isnan(measured), 1.0, measured)[complete])
        rewards[complete] = reward.of_norm(members.accuracy[complete], f[complete])
    cost = np.where(complete, measured[:, counted][:, 0], np.nan) if counted.sum() == 1 else f
    beaten = dominators(members.accuracy, cost)
    names = list(objective.sources)
    encodings = objective.space.canonical(members.encodings)
    judged = tuple(
        FrontMember(
            encoding=encodings[i],
            label=objective.space.label(encodings[i]),
            accuracy=float(members.accuracy[i]),
            predicted_ms=members.latencies[i],
            measured_ms=measured[i],
            predicted_f=float(members.f[i]),
            measured_f=float(f[i]),
            predicted_reward=float(members.rewards[i]),
            measured_reward=float(rewards[i]),
            verdict="no latency" if not complete[i] else "kept" if beaten[i] is None else "dominated",
            dominated_by=beaten[i],
            reasons={
                name: latencies.reasons.get((i, name), "it was not measured")
                for name, ms in zip(names, measured[i], strict=True)
                if np.isnan(ms)
            },
        )
        for i in range(len(measured))
    )
    reports = tuple(
        _agreement(objective, name, members.latencies[:, place], measured[:, place], latencies)
        for place, name in enumerate(names)
    )
    predicted = any(isinstance(source, Predictor) for source in objective.sources.values())
    return MeasuredFront(judged, reports, reward.aggregate, predicted, latencies.source)


def _numbered(numbers: list[int]) -> str:
    """Numbers of members as text, the first ten of them."""
    first = ", ".join(map(str, numbers[:_NAMED]))
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return f"member {first}" if len(numbers) == 1 else f"members {first}{more}"


def _checked(objective: Objective, members: Evaluations, ms: Floats) -> Floats:
    measured = np.asarray(ms, np.float64)
    expected = (len(members.accuracy), len(objective.sources))
    if not expected[0]:
        raise SearchError("measured front: there are no members, expected at least one")
    if measured.shape != expected:
        raise SearchError(f"measured front: latencies are {measured.shape}, expected {expected} (members, hardware)")
    bad = np.argwhere(~(np.isnan(measured) | (np.isfinite(measured) & (measured > 0))))
    if len(bad):
        row, column = (int(i) for i in bad[0])
        raise SearchError(
            f"measured front: the latency of member {row + 1} on '{list(objective.sources)[column]}' is {measured[row, column]} "
            "ms, expected a finite number above 0, or NaN where the member does not run"
        )
    return measured


def _agreement(
    objective: Objective, hardware: str, predicted: Floats, measured: Floats, latencies: FrontLatencies
) -> FrontHardware:
    """Compares predicted and measured latencies (n,) on one hardware."""
    there = ~np.isnan(measured)
    errors = np.abs(predicted[there] - measured[there]) / measured[there]
    source = objective.sources[hardware]
    model = source.model if isinstance(source, Predictor) else None
    return FrontHardware(
        hardware=hardware,
        kind=latencies.kinds.get(hardware, "measured"),
        members=int(there.sum()),
        missing=int((~there).sum()),
        noisy=latencies.noisy.get(hardware, 0),
        median_error=float(np.median(errors)) if len(errors) else None,
        largest_error=float(errors.max()) if len(errors) else None,
        held_out_error=None if model is None else _held_out_error(model)[0],
        held_out_statistic="" if model is None else _held_out_error(model)[1],
        warning="" if model is None else _warning(model, errors, latencies.environments.get(hardware)),
    )


def _held_out_error(model: CostModelData) -> tuple[float, Literal["median", "mean"]]:
    """Median error of a cost model on held-out networks; the mean for files of earlier versions, which have no median.

    The mean of errors is usually larger than their median, so that fewer fronts are warned of.
    """
    stated = model.held_out.median_ape
    return (model.held_out.mape, "mean") if stated is None else (stated, "median")


def _warning(model: CostModelData, errors: Floats, environment: Environment | None) -> str:
    """Warning that a cost model is less accurate on the front than it states for held-out networks, "" if it is not."""
    stated, statistic = _held_out_error(model)
    if not len(errors) or not exceeds(errors, stated):
        return ""
    differing = _differences(model.environment, environment)
    why = f"; the conditions differ: {differing}" if differing else ""
    return (
        f"{model.hardware}: the median error of the cost model on the front is {np.median(errors):.1%}, the {statistic} error on "
        f"held-out networks is {stated:.1%}{why}; the model is less accurate near this front than it states: measure networks "
        "like these (`mhmodels search collect`), fit again and search again"
    )


def exceeds(errors: Floats, stated: float) -> bool:
    """Whether errors on a front are larger than a stated median, and not by chance.

    By chance, half of the errors are above the median of held-out errors. The one-sided sign test decides with a probability of
    5 %; a median of more than twice the stated one needs no test, because small fronts are too small for it.

    Args:
        errors: (n,), relative errors.
        stated: Median of the held-out errors.

    Example:
        >>> import numpy as np
        >>> exceeds(np.array([0.01, 0.03]), 0.02), exceeds(np.array([0.03] * 5), 0.02)
        (False, True)
    """
    median = float(np.median(errors))
    if median <= stated:
        return False
    n, above = len(errors), int((errors > stated).sum())
    chance = sum(math.comb(n, k) for k in range(above, n + 1)) / 2**n
    return median > _CLEARLY * stated or chance < _SIGNIFICANT


def _differences(one: Environment | None, other: Environment | None) -> str:
    """Fields in which two environments differ, with both values; "" if they agree or one is unknown."""
    if one is None or other is None:
        return ""
    there, here = ({**msgspec.structs.asdict(each), **each.configuration} for each in (one, other))
    return "; ".join(
        f"'{name}' is {there.get(name)!r} for the cost model and {here.get(name)!r} for the front"
        for name in {**there, **here}
        if name != "configuration" and there.get(name) != here.get(name)
    )
