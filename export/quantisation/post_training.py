"""From calibration pictures to the integers of a network: ranges, and the corrections that win back what rounding loses.

Each correction is stated by the user, or is left to the method `auto`, which keeps it if it lowers the error of the scores on
held-out pictures. With any other method a correction that is not stated is not made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhmodels.export.graph.operations import Float32Array, Graph, Range
from mhmodels.export.quantisation.calibration import (
    METHODS,
    CalibrationMethod,
    HeldOut,
    check_pictures,
    choose,
    hold_out,
    ranges_by_method,
)
from mhmodels.export.quantisation.equalisation import ChannelExponents, equalisation, equalise
from mhmodels.export.quantisation.parameters import Granularity, QuantisedFormat, WeightRounding
from mhmodels.export.quantisation.scheme import QuantisedGraph, quantise


class Corrections(NamedTuple):
    """Corrections after training. None leaves the choice to the method `auto`; other methods do not make it then.

    Attributes:
        equalise: Whether to equalise the ranges of weights across layers.
        bias: Whether to correct the mean error of each channel in the biases.
        rounding: How weights are rounded.
    """

    equalise: bool | None = None
    bias: bool | None = None
    rounding: WeightRounding | None = None

    def stated(self) -> tuple[str, ...]:
        """Returns the arguments that ask for a correction."""
        named = {
            "argument 'equalise'": self.equalise is True,
            "argument 'bias_correction'": self.bias is True,
            "argument 'rounding=compensated'": self.rounding == "compensated",
        }
        return tuple(argument for argument, wanted in named.items() if wanted)


NO_CORRECTIONS = Corrections(False, False, "nearest")


class PostTraining(NamedTuple):
    """The integers of a network, and how they were found.

    Attributes:
        quantised: The network.
        ranges: Activation ranges by tensor.
        method: Calibration method; in words where it was chosen.
        equalisation: Equalisation factors; empty where channels have none.
        bias: Whether biases were corrected.
        rounding: How weights were rounded.
    """

    quantised: QuantisedGraph
    ranges: Mapping[str, Range]
    method: str
    equalisation: ChannelExponents
    bias: bool
    rounding: WeightRounding


class ObservedPictures:
    """Calibration pictures of a network, and what the float network gives on them, which is the same for all integer formats.

    Everything is computed when it is first asked for, and once: the formats of an export share one of these.

    Attributes:
        graph: Folded weights.
        images: float32 (n, height, width, channels), normalised.
    """

    def __init__(self, graph: Graph, images: Float32Array) -> None:
        self.graph, self.images = graph, images
        self._ranges: dict[CalibrationMethod, dict[str, Range]] = {}
        self._split: tuple[ObservedPictures, HeldOut] | None = None
        self._equalised: dict[frozenset[str], tuple[ChannelExponents, ObservedPictures]] = {}
        self._means: Mapping[str, NDArray[np.float64]] | None = None

    def ranges(self, methods: tuple[CalibrationMethod, ...]) -> dict[CalibrationMethod, dict[str, Range]]:
        """Returns activation ranges by method, for pictures that are known to be suitable.

        Raises:
            ExportError: As `ranges_by_method`.
        """
        missing = tuple(method for method in methods if method not in self._ranges)
        if missing:
            self._ranges |= ranges_by_method(self.graph, self.images, missing)
        return {method: self._ranges[method] for method in methods}

    def split(self) -> tuple[ObservedPictures, HeldOut]:
        """Returns three quarters of the pictures for calibration and one quarter that judges.

        Raises:
            ExportError: As `hold_out`.
        """
        if self._split is None:
            calibrating, judge = hold_out(self.graph, self.images)
            self._split = ObservedPictures(self.graph, calibrating), judge
        return self._split

    def equalised(self, outputs: Collection[str]) -> tuple[ChannelExponents, ObservedPictures]:
        """Returns equalisation factors, and the pictures with the equalised network; this one where there are no factors.

        Args:
            outputs: Operations whose outputs the file gives, which equalisation does not change.
        """
        key = frozenset(outputs)
        if key not in self._equalised:
            factors = equalisation(self.graph, outputs)
            other = ObservedPictures(equalise(self.graph, factors), self.images) if factors else self
            self._equalised[key] = factors, other
        return self._equalised[key]

    def corrected(self, quantised: QuantisedGraph, bias: bool, rounding: WeightRounding) -> QuantisedGraph:
        """Returns integers of the network with corrected biases and weights, as `correction.correct` makes them."""
        if not bias and rounding == "nearest":
            return quantised
        from mhmodels.export.quantisation.correction import correct, mean_inputs

        if bias and self._means is None:
            self._means = mean_inputs(self.graph, self.images)
        return correct(self.graph, quantised, self.images, means=self._means if bias else None, rounding=rounding)


def quantise_on_pictures(
    observed: ObservedPictures,
    method: CalibrationMethod | None,
    fmt: QuantisedFormat,
    granularity: Granularity | None = None,
    *,
    corrections: Corrections = NO_CORRECTIONS,
    outputs: Collection[str] = (),
    fixed: Mapping[str, Range] | None = None,
) -> PostTraining:
    """Computes the integers of a network from calibration pictures.

    Args:
        observed: The network and the pictures.
        method: As `calibrate` takes it, or `auto`. None is min-max.
        fmt, granularity: As `scheme.quantise`.
        corrections: What to correct.
        outputs: Operations whose outputs the file gives, which equalisation does not change.
        fixed: Ranges that a rule gives.

    Raises:
        ExportError: As `calibrate` and `choose`.
    """
    if method == "auto":
        return _chosen(observed, fmt, granularity, corrections, outputs, fixed or {})
    check_pictures(observed.images)
    method = method or METHODS[0]
    factors, observed = observed.equalised(outputs) if corrections.equalise else ({}, observed)
    ranges = observed.ranges((method,))[method] | dict(fixed or {})
    bias, rounding = bool(corrections.bias), corrections.rounding or "nearest"
    quantised = observed.corrected(quantise(observed.graph, ranges, fmt, granularity), bias, rounding)
    return PostTraining(quantised, ranges, method, factors, bias, rounding)


def _chosen(
    observed: ObservedPictures,
    fmt: QuantisedFormat,
    granularity: Granularity | None,
    corrections: Corrections,
    outputs: Collection[str],
    fixed: Mapping[str, Range],
) -> PostTraining:
    """Adds one correction after the other, and keeps each that was asked for or lowers the error on the held-out pictures."""
    observed, judge = observed.split()
    calibrated = choose(observed.graph, observed.ranges(METHODS), judge, fmt, granularity)
    method = min(calibrated.errors, key=lambda name: calibrated.errors[name])
    ranges = calibrated.ranges | dict(fixed)
    best = PostTraining(quantise(observed.graph, ranges, fmt, granularity), ranges, method, {}, False, "nearest")
    errors = dict(calibrated.errors)
    least = errors[method]
    factors, equalised = observed.equalised(outputs) if corrections.equalise is not False else ({}, observed)
    if factors:
        ranges = equalised.ranges((method,))[method] | dict(fixed)
        integers = quantise(equalised.graph, ranges, fmt, granularity)
        candidate = best._replace(quantised=integers, ranges=ranges, equalisation=factors)
        errors["equalised"] = judge.error(candidate.quantised)
        if corrections.equalise or errors["equalised"] < least:
            observed, best, least = equalised, candidate, errors["equalised"]
    best, error = _chosen_correction(observed, judge, corrections, best, least)
    words = ", ".join(f"{name} {value:.4f}" for name, value in (errors | error).items())
    return best._replace(
        method=f"{method}, chosen by the mean error at the scores of {len(judge.images)} held-out pictures ({words})"
    )


def _chosen_correction(
    observed: ObservedPictures, judge: HeldOut, corrections: Corrections, plain: PostTraining, least: float
) -> tuple[PostTraining, dict[str, float]]:
    """Returns the network with the corrections that were asked for or lower the error, and the errors that were compared."""
    bias, rounding = corrections.bias is not False, corrections.rounding or "compensated"
    asked = bool(corrections.bias), corrections.rounding or "nearest"
    if (bias, rounding) == (False, "nearest"):
        return plain, {}
    candidate = plain._replace(quantised=observed.corrected(plain.quantised, bias, rounding), bias=bias, rounding=rounding)
    error = judge.error(candidate.quantised)
    name = " and ".join([*(["biases corrected"] if bias else []), *(["compensated rounding"] if rounding != "nearest" else [])])
    if error < least or asked == (bias, rounding):
        return candidate, {name: error}
    bias, rounding = asked
    kept = plain._replace(quantised=observed.corrected(plain.quantised, bias, rounding), bias=bias, rounding=rounding)
    return kept, {name: error}
