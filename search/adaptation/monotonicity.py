"""Latency monotonicity (arXiv 2111.01203): do two devices rank networks alike, so that one can stand for the other?

The paper decides by the rank correlation of a sample. Here the limits of its confidence interval decide, because the correlation
of a few networks often lies on the wrong side of a threshold.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from mhmodels.formats.checked import Checked
from mhmodels.search.adaptation.rank_interval import LEAST_PAIRS, RankInterval, limits, rank_interval
from mhmodels.search.arrays import Floats
from mhmodels.search.errors import CostModelError

Decision: TypeAlias = Literal["reuse", "adapt", "measure more"]
_Correlation: TypeAlias = Annotated[float, msgspec.Meta(ge=-1, le=1)]
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
_Open: TypeAlias = Annotated[float, msgspec.Meta(gt=0, lt=1)]

MOST_NEEDED = 1000
"""Largest number of networks that a decision asks for."""


class Monotonicity(Checked, frozen=True, kw_only=True):
    """How alike two devices rank networks, and what follows from it.

    Attributes:
        n: Number of networks with a latency on both devices.
        spearman: Spearman's rank correlation of their latencies, -1 to 1.
        low, high: Limits of the confidence interval of the correlation over all networks.
        decision: `reuse` (the latencies of one device can replace those of the other: the interval lies at or above the
            threshold), `adapt` (they must be adapted to the other device: the interval lies below the threshold) or
            `measure more` (the interval contains the threshold).
        needed: For `measure more`, the total number of networks that is expected to decide; None if the decision is made, or if
            the correlation is so near the threshold that 1,000 networks would not decide.
        reason: Reason for the decision, one sentence.

    Example:
        >>> import numpy as np
        >>> from mhmodels.search import monotonicity
        >>> found = monotonicity(np.arange(1, 31), np.arange(1, 31) ** 2)
        >>> found.reason
        'the lower limit 0.999 is not below the threshold 0.9'
    """

    n: _Count
    spearman: _Correlation
    low: _Correlation
    high: _Correlation
    decision: Decision
    needed: _Count | None
    reason: str


class DevicePair(Checked, frozen=True, kw_only=True):
    """How alike two devices of a table rank networks: the attributes of `Monotonicity`, or why they are unknown.

    Attributes:
        first, second: Names of the devices.
        n: Number of networks with a latency on both devices.
        spearman, low, high, decision, needed: As in `Monotonicity`; None where they cannot be computed.
        reason: Reason for the decision, or why there is none.

    Example:
        >>> from mhmodels.search import monotonicity_matrix
        >>> table = monotonicity_matrix({"phone": [5.0, 7, 8, 9, 12], "npu": [1.0, 1, 1, 1, 1]})
        >>> table.pairs[0].decision, table.pairs[0].n
        (None, 5)
    """

    first: str
    second: str
    n: _Count
    spearman: _Correlation | None
    low: _Correlation | None
    high: _Correlation | None
    decision: Decision | None
    needed: _Count | None
    reason: str


class MonotonicityMatrix(Checked, frozen=True, kw_only=True):
    """How alike each two devices of a table rank networks.

    Attributes:
        threshold: Correlation from which one device can stand for another.
        confidence: Confidence of the intervals.
        hardware: Names of the devices, in the order of rows and columns.
        matrix: Spearman's correlation of each two devices, 1 on the diagonal; None where it cannot be computed.
        pairs: Each two devices once, in the order of `hardware`.

    Example:
        >>> import msgspec
        >>> from mhmodels.search import monotonicity_matrix
        >>> table = monotonicity_matrix({"phone": [5.0, 7, 8, 9, 12], "npu": [2.0, 1, 3, 5, 4]})
        >>> msgspec.to_builtins(table)["matrix"]
        ((1.0, 0.8), (0.8, 1.0))
    """

    threshold: _Open
    confidence: _Open
    hardware: tuple[str, ...]
    matrix: tuple[tuple[_Correlation | None, ...], ...]
    pairs: tuple[DevicePair, ...]


def monotonicity(first_ms: ArrayLike, second_ms: ArrayLike, *, threshold: float = 0.9, confidence: float = 0.9) -> Monotonicity:
    """Decides whether the latencies of one device can stand for those of another, from networks that both have measured.

    The measure is the latency monotonicity of One-Proxy (arXiv 2111.01203): Spearman's rank correlation. From 0.9 on, the ranking
    of one device serves the other.

    Args:
        first_ms: (n,), float, latencies of networks on the first device in ms, above 0.
        second_ms: (n,), float, latencies of the same networks in the same order on the second device in ms, above 0.
        threshold: Correlation from which one device can stand for the other, above 0 and below 1.
        confidence: Two-sided confidence of the interval, above 0 and below 1. A decision is wrong with a probability of about
            half of what is missing to 1.

    Returns:
        Correlation, interval and decision.

    Raises:
        CostModelError: There are fewer than 5 networks, all latencies of a device are equal, or a latency is not a finite number
            above 0.

    Example:
        >>> import numpy as np
        >>> from mhmodels.search import monotonicity
        >>> phone = np.linspace(5, 20, 50)
        >>> found = monotonicity(phone, 0.1 * phone**2)
        >>> found.decision, found.spearman, round(found.low, 3)
        ('reuse', 1.0, 1.0)
        >>> monotonicity(phone[:5], phone[:5]).decision
        'measure more'
    """
    _check_options(threshold, confidence)
    first, second = _latencies(first_ms, "first_ms"), _latencies(second_ms, "second_ms")
    if len(first) != len(second):
        raise CostModelError(
            f"arguments 'first_ms' and 'second_ms' have {len(first)} and {len(second)} latencies, expected those of the same "
            "networks in the same order"
        )
    for name, values in (("first_ms", first), ("second_ms", second)):
        missing = int(np.isnan(values).sum())
        if missing:
            raise CostModelError(
                f"argument '{name}': {missing} of {len(values)} latencies are NaN; leave these networks out of both arguments, "
                "or use monotonicity_matrix, which compares the networks that both devices have"
            )
        obstacle = _obstacle(values, f"argument '{name}'")
        if obstacle:
            raise CostModelError(obstacle)
    return _decided(rank_interval(first, second, confidence), threshold, confidence)


def monotonicity_matrix(
    latencies_ms: Mapping[str, ArrayLike], *, threshold: float = 0.9, confidence: float = 0.9
) -> MonotonicityMatrix:
    """Compares each two devices of a table, on the networks that both have measured (arXiv 2111.01203).

    Args:
        latencies_ms: Latencies by the name of the device: (n,), float, ms above 0, of the same networks in the same order. NaN
            marks networks that a device has not measured or does not run.
        threshold, confidence: As in `monotonicity`.

    Returns:
        A pair of devices with fewer than 5 common networks or with equal latencies has None and a reason; the other pairs are
        compared.

    Raises:
        CostModelError: There are fewer than two devices, they have different numbers of networks, or a latency is neither NaN nor
            a finite number above 0.

    Example:
        >>> import numpy as np
        >>> from mhmodels.search import monotonicity_matrix
        >>> phone = np.linspace(5, 20, 50)
        >>> table = monotonicity_matrix({"phone": phone, "tablet": 0.7 * phone, "npu": np.r_[phone[:3], [np.nan] * 47]})
        >>> table.matrix
        ((1.0, 1.0, None), (1.0, 1.0, None), (None, None, 1.0))
        >>> table.pairs[1].reason
        '3 networks have a latency on both devices, expected at least 5: measure more networks'
    """
    _check_options(threshold, confidence)
    columns = {name: _latencies(values, f"latencies_ms[{name!r}]") for name, values in latencies_ms.items()}
    if len(columns) < 2:
        raise CostModelError(f"argument 'latencies_ms' has {len(columns)} devices, expected at least two to compare")
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise CostModelError(f"argument 'latencies_ms': the numbers of networks differ ({lengths}), expected one for all devices")
    pairs = tuple(
        _compared(first, second, columns, threshold, confidence) for first, second in itertools.combinations(columns, 2)
    )
    found = {(pair.first, pair.second): pair.spearman for pair in pairs}
    matrix = tuple(
        tuple(1.0 if row == column else found.get((row, column), found.get((column, row))) for column in columns)
        for row in columns
    )
    return MonotonicityMatrix(threshold=threshold, confidence=confidence, hardware=tuple(columns), matrix=matrix, pairs=pairs)


def _compared(first: str, second: str, columns: Mapping[str, Floats], threshold: float, confidence: float) -> DevicePair:
    both = ~(np.isnan(columns[first]) | np.isnan(columns[second]))
    ms = {name: columns[name][both] for name in (first, second)}
    obstacle = next(filter(None, (_obstacle(values, name) for name, values in ms.items())), "")
    if obstacle:
        nothing = dict.fromkeys(("spearman", "low", "high", "decision", "needed"))
        return DevicePair(first=first, second=second, n=int(both.sum()), reason=obstacle, **nothing)
    result = _decided(rank_interval(ms[first], ms[second], confidence), threshold, confidence)
    return DevicePair(first=first, second=second, **msgspec.structs.asdict(result))


def _decided(interval: RankInterval, threshold: float, confidence: float) -> Monotonicity:
    needed: int | None = None
    decision: Decision = "measure more"
    if interval.low >= threshold:
        decision = "reuse"
        reason = f"the lower limit {three_decimals(interval.low)} is not below the threshold {threshold:g}"
    elif interval.high < threshold:
        decision = "adapt"
        reason = f"the upper limit {three_decimals(interval.high)} is below the threshold {threshold:g}"
    else:
        needed = networks_needed(interval, threshold, confidence)
        limits_shown = f"{three_decimals(interval.low)} and {three_decimals(interval.high)}"
        reason = f"the threshold {threshold:g} lies between the limits {limits_shown}: {_advice(interval, needed)}"
    return Monotonicity(
        n=interval.n,
        spearman=interval.spearman,
        low=interval.low,
        high=interval.high,
        decision=decision,
        needed=needed,
        reason=reason,
    )


def _advice(interval: RankInterval, needed: int | None) -> str:
    spearman = three_decimals(interval.spearman)
    if needed is not None:
        return f"about {needed} networks in total would decide if the correlation stays {spearman}"
    most = max(interval.n, MOST_NEEDED)
    return f"the correlation {spearman} is so near it that {most} networks do not decide; adapt, or choose another threshold"


def three_decimals(value: float) -> str:
    """A correlation or limit as text, rounded down, so that it is on the same side of a threshold as the value."""
    return f"{math.floor(value * 1000 + 1e-9) / 1000:.3f}"


def networks_needed(interval: RankInterval, threshold: float, confidence: float) -> int | None:
    """Number of networks from which the interval would exclude the threshold, if the correlation stayed as it is.

    Args:
        interval: Interval of the sample so far.
        threshold, confidence: As in `monotonicity`.

    Returns:
        A number above that of the sample; None if `MOST_NEEDED` networks would not decide.
    """
    numbers = np.arange(interval.n + 1, MOST_NEEDED + 1)
    errors = interval.jackknife_error * np.sqrt(interval.n / numbers)
    low, high = limits(interval.spearman, numbers, errors, confidence)
    decides = low >= threshold if interval.spearman >= threshold else high < threshold
    return int(numbers[decides.argmax()]) if decides.any() else None


def _check_options(threshold: float, confidence: float) -> None:
    for name, value in (("threshold", threshold), ("confidence", confidence)):
        if not 0 < value < 1:
            raise CostModelError(f"argument '{name}' is {value}, expected a number above 0 and below 1")


def _latencies(values: ArrayLike, name: str) -> Floats:
    """Latencies as an array; NaN is allowed.

    Raises:
        CostModelError: The values are not of shape (n,), or one of them is not a possible latency.
    """
    try:
        ms = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise CostModelError(f"argument '{name}' is not an array of numbers ({error}), expected latencies in ms") from error
    if ms.ndim != 1:
        raise CostModelError(f"argument '{name}' has shape {ms.shape}, expected (n,), one latency for each network")
    wrong = np.flatnonzero((ms <= 0) | np.isinf(ms))
    if len(wrong):
        raise CostModelError(
            f"argument '{name}': {len(wrong)} of {len(ms)} latencies are not finite numbers above 0, the first is "
            f"{ms[wrong[0]]:g} at index {wrong[0]}; leave out networks that do not run on both devices"
        )
    return ms


def _obstacle(ms: Floats, name: str) -> str:
    """Why latencies without NaN cannot be ranked; "" if they can."""
    if len(ms) < LEAST_PAIRS:
        return f"{len(ms)} networks have a latency on both devices, expected at least {LEAST_PAIRS}: measure more networks"
    if np.ptp(ms) == 0:
        return (
            f"{name}: the latencies of all {len(ms)} networks are {ms[0]:g} ms, expected different ones to rank; measure with a "
            "finer clock, or more varied networks"
        )
    return ""
