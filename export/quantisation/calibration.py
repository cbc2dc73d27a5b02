"""Activation ranges from pictures, by a stated method or by the method whose scores come nearest to those of the float network.

One pass over the pictures serves all methods: it keeps the outermost values of every tensor and a moving average of the extremes
of each picture. Wide ranges lose resolution, narrow ranges clip outliers. Which loss is larger depends on the network, so
`choose` compares the methods on held-out pictures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np

from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Float32Array, Graph, Range
from mhmodels.export.quantisation.parameters import Granularity, QuantisedFormat
from mhmodels.export.quantisation.scheme import QuantisedGraph, calibrated_tensors, quantise

CalibrationMethod: TypeAlias = str
"""`min-max`, `moving-average`, or `percentile-P` with P in percent."""

METHODS: tuple[CalibrationMethod, ...] = ("min-max", "moving-average", "percentile-99.99", "percentile-99.9")
"""The methods that `choose` compares."""

FEWEST_PICTURES = 4
FEWEST_TO_CHOOSE = 8
HELD_OUT = 4
"""Every fourth picture is held out to compare methods."""

DECAY = 0.95
"""Share of the moving average that remains after another picture."""

_REMEDY = "give pictures like those of the deployment (argument 'calibration')"


class Calibrated(NamedTuple):
    """Ranges of the tensors of a network, chosen among methods.

    Attributes:
        ranges: (low, high) by tensor name, for `scheme.quantise`, by the method of the smallest error.
        errors: Mean absolute error at the scores by method, as a share of their spread.
    """

    ranges: dict[str, Range]
    errors: Mapping[CalibrationMethod, float]


class _Seen:
    """Statistics of one tensor: its `tail` lowest and highest values, ascending, and the moving average of its extremes."""

    def __init__(self, tail: int) -> None:
        self.tail = tail
        self.lowest = self.highest = np.empty(0, np.float32)
        self.average: tuple[float, float] | None = None

    def add(self, values: Float32Array) -> None:
        """Adds the values of a batch."""
        each = values.reshape(len(values), -1)
        for low, high in zip(each.min(1).tolist(), each.max(1).tolist(), strict=True):
            before = self.average or (low, high)
            self.average = (DECAY * before[0] + (1 - DECAY) * low, DECAY * before[1] + (1 - DECAY) * high)
        flat = values.ravel()
        low, high = _tails(flat, min(self.tail, flat.size))
        self.lowest = np.sort(np.concatenate([self.lowest, low]))[: self.tail]
        self.highest = np.sort(np.concatenate([self.highest, high]))[-self.tail :]

    def range(self, method: CalibrationMethod, cut: int) -> Range:
        """Returns the range by a method; a percentile drops `cut` values at each end."""
        extremes = float(self.lowest[0]), float(self.highest[-1])
        if method == "moving-average":
            assert self.average is not None
            return self.average
        if cut:
            low, high = float(self.lowest[cut]), float(self.highest[-1 - cut])
            # A tensor that is nearly always zero would lose its range altogether.
            return (low, high) if max(high, 0.0) > min(low, 0.0) else extremes
        return extremes


def calibrate(graph: Graph, images: Float32Array, method: CalibrationMethod = "min-max") -> dict[str, Range]:
    """Returns the range of every tensor over a set of pictures.

    Args:
        graph: Folded weights.
        images: float32 (n, height, width, channels), normalised as the network expects.
        method: `min-max`: the extremes. `moving-average`: of each picture's extremes. `percentile-P`: what P percent of all
            values do not exceed, and what P percent are not below.

    Returns:
        (low, high) by tensor name, for `scheme.quantise`.

    Raises:
        ExportError: Unsuitable pictures (too few, of one value, all the same), a tensor that is not finite or never
            changes, or an unknown method; the message names pictures, tensor or method.
    """
    check_pictures(images)
    return ranges_by_method(graph, images, (method,))[method]


class HeldOut(NamedTuple):
    """Pictures that judge quantised forms of a network by their scores.

    Attributes:
        images: float32 (n, height, width, channels), normalised.
        scores: Operation that gives the scores, before a softmax.
        expected: Scores of the float network.
    """

    images: Float32Array
    scores: str
    expected: Float32Array

    def error(self, quantised: QuantisedGraph) -> float:
        """Returns the mean absolute error of the scores, as a share of their standard deviation."""
        from mhmodels.export.quantisation.fake_quant import simulate

        found = simulate(quantised, self.images, (self.scores,))[self.scores]
        return float(np.abs(found - self.expected).mean() / max(float(self.expected.std()), 1e-30))


def hold_out(graph: Graph, images: Float32Array) -> tuple[Float32Array, HeldOut]:
    """Splits pictures into three quarters that calibrate and one quarter that judges.

    Args:
        graph: Folded weights.
        images: float32 (n, height, width, channels), normalised.

    Raises:
        ExportError: Unsuitable pictures, or fewer than 8.
    """
    check_pictures(images, FEWEST_TO_CHOOSE)
    from mhmodels.export.quantisation.fake_quant import observe

    judges = np.arange(len(images)) % HELD_OUT == HELD_OUT - 1
    last = graph.ops[-1]
    scores = last.inputs[0] if last.kind == "softmax" else last.name
    seen: list[Float32Array] = []
    observe(graph, images[judges], (scores,), lambda tensors: seen.append(tensors[scores]))
    return images[~judges], HeldOut(images[judges], scores, np.concatenate(seen))


def choose(
    graph: Graph,
    candidates: Mapping[CalibrationMethod, dict[str, Range]],
    judge: HeldOut,
    fmt: QuantisedFormat,
    granularity: Granularity | None = None,
) -> Calibrated:
    """Returns the ranges of the method whose quantised network gives the scores nearest to those of the float network.

    Args:
        graph: Folded weights.
        candidates: Ranges by method, from `ranges_by_method` on the pictures that `hold_out` leaves.
        judge: From `hold_out`.
        fmt, granularity: As `scheme.quantise`; what is best for one need not be for the other.
    """
    errors = {method: judge.error(quantise(graph, ranges, fmt, granularity)) for method, ranges in candidates.items()}
    return Calibrated(candidates[min(errors, key=lambda method: errors[method])], errors)


def check_method(method: CalibrationMethod) -> float:
    """Returns the share of values that a method drops at each end.

    Raises:
        ExportError: Unknown method.
    """
    if method in ("min-max", "moving-average"):
        return 0.0
    name, _, percent = method.partition("-")
    try:
        share = 1.0 - float(percent) / 100.0
    except ValueError:
        share = -1.0
    if name != "percentile" or not 0.0 < share <= 0.5:
        raise ExportError(
            f"calibration method is '{method}', expected min-max, moving-average, percentile-P (P from 50 to below 100, such as "
            "percentile-99.99) or auto"
        )
    return share


def check_pictures(images: Float32Array, fewest: int = FEWEST_PICTURES) -> None:
    """Rejects pictures whose ranges could not be trusted.

    Raises:
        ExportError: Fewer than `fewest`; NaN or infinite values; most of one value, such as black; all the same.
    """
    if len(images) < fewest:
        raise ExportError(f"{len(images)} calibration pictures, expected at least {fewest}, better 100 or more: {_REMEDY}")
    each = images.reshape(len(images), -1)
    low, high = each.min(1), each.max(1)
    if not np.isfinite([low, high]).all():
        raise ExportError(
            f"{int((~np.isfinite(low + high)).sum())} calibration pictures have NaN or infinite values, expected none"
        )
    plain = int((low == high).sum())
    if 2 * plain > len(images):
        raise ExportError(
            f"{plain} of {len(images)} calibration pictures are of one single value each (such as all black), expected at most "
            f"half: the ranges would collapse; {_REMEDY}"
        )
    if (each == each[0]).all():
        raise ExportError(f"all {len(images)} calibration pictures are the same, expected different ones: {_REMEDY}")


def ranges_by_method(
    graph: Graph, images: Float32Array, methods: tuple[CalibrationMethod, ...]
) -> dict[CalibrationMethod, dict[str, Range]]:
    """Returns the range of every tensor by several methods, from one pass over pictures that are known to be suitable.

    Args:
        graph: Folded weights.
        images: float32 (n, height, width, channels), normalised.
        methods: As `calibrate` takes them.

    Raises:
        ExportError: A tensor is not finite or never changes, or a method is unknown.
    """
    from mhmodels.export.quantisation.fake_quant import observe

    shares = {method: check_method(method) for method in methods}
    seen: dict[str, _Seen] = {}
    sizes: dict[str, int] = {}

    def visit(tensors: Mapping[str, Float32Array]) -> None:
        for name, values in tensors.items():
            if name not in seen:
                sizes[name] = len(images) * (values.size // len(values))
                seen[name] = _Seen(math.floor(sizes[name] * max(shares.values())) + 1)
            seen[name].add(values)

    observe(graph, images, calibrated_tensors(graph), visit)
    for name, kept in seen.items():
        _check_range(name, float(kept.lowest[0]), float(kept.highest[-1]), len(images))
    return {
        method: {name: kept.range(method, math.floor(sizes[name] * share)) for name, kept in seen.items()}
        for method, share in shares.items()
    }


def _check_range(name: str, low: float, high: float, pictures: int) -> None:
    if not np.isfinite([low, high]).all():
        raise ExportError(f"tensor '{name}': values from {low} to {high} over {pictures} calibration pictures, expected finite")
    if low == high == 0.0:
        raise ExportError(
            f"tensor '{name}' is zero on all {pictures} calibration pictures, so it has no range: {_REMEDY}, or check the weights"
        )


def _tails(flat: Float32Array, k: int) -> tuple[Float32Array, Float32Array]:
    """Returns the k lowest and the k highest values, in any order."""
    if k == 1:
        return flat.min(keepdims=True), flat.max(keepdims=True)
    parted = np.partition(flat, (k - 1, flat.size - k))
    return parted[:k], parted[flat.size - k :]
