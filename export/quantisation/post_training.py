"""From calibration pictures to the integers of a network: ranges, and the corrections that win back what rounding loses.

Each correction is stated by the user, or is left to the method `auto`, which keeps it if it lowers the error of the scores on
held-out pictures. With any other method a correction that is not stated is not made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from mhmodels.export.graph.operations import Float32Array, Graph, Range
from mhmodels.export.quantisation.calibration import METHODS, CalibrationMethod, HeldOut, calibrate, choose, hold_out
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


def quantise_on_pictures(
    graph: Graph,
    images: Float32Array,
    method: CalibrationMethod | None,
    fmt: QuantisedFormat,
    granularity: Granularity | None = None,
    *,
    corrections: Corrections = NO_CORRECTIONS,
    outputs: Collection[str] = (),
    fixed: Mapping[str, Range] | None = None,
    known: Mapping[str, Range] | None = None,
) -> PostTraining:
    """Computes the integers of a network from calibration pictures.

    Args:
        graph: Folded weights.
        images: float32 (n, height, width, channels), normalised.
        method: As `calibrate` takes it, or `auto`. None is min-max.
        fmt, granularity: As `scheme.quantise`.
        corrections: What to correct.
        outputs: Operations whose outputs the file gives, which equalisation does not change.
        fixed: Ranges that a rule gives.
        known: Ranges of an earlier call with the same graph, pictures and method, which spare a pass over the pictures.

    Raises:
        ExportError: As `calibrate` and `choose`.
    """
    if method == "auto":
        return _chosen(graph, images, fmt, granularity, corrections, outputs, fixed or {})
    method, factors = method or METHODS[0], equalisation(graph, outputs) if corrections.equalise else {}
    if factors:
        graph, known = equalise(graph, factors), None
    ranges = dict(known or calibrate(graph, images, method)) | dict(fixed or {})
    bias, rounding = bool(corrections.bias), corrections.rounding or "nearest"
    quantised = _corrected(graph, quantise(graph, ranges, fmt, granularity), images, bias, rounding)
    return PostTraining(quantised, ranges, method, factors, bias, rounding)


def _chosen(
    graph: Graph,
    images: Float32Array,
    fmt: QuantisedFormat,
    granularity: Granularity | None,
    corrections: Corrections,
    outputs: Collection[str],
    fixed: Mapping[str, Range],
) -> PostTraining:
    """Adds one correction after the other, and keeps each that was asked for or lowers the error on the held-out pictures."""
    images, judge = hold_out(graph, images)
    calibrated = choose(graph, images, judge, fmt, granularity)
    method = min(calibrated.errors, key=lambda name: calibrated.errors[name])
    ranges = calibrated.ranges | dict(fixed)
    best = PostTraining(quantise(graph, ranges, fmt, granularity), ranges, method, {}, False, "nearest")
    errors = dict(calibrated.errors)
    least = errors[method]
    factors = equalisation(graph, outputs) if corrections.equalise is not False else {}
    if factors:
        equalised = equalise(graph, factors)
        ranges = calibrate(equalised, images, method, checked=True) | dict(fixed)
        candidate = best._replace(quantised=quantise(equalised, ranges, fmt, granularity), ranges=ranges, equalisation=factors)
        errors["equalised"] = judge.error(candidate.quantised)
        if corrections.equalise or errors["equalised"] < least:
            graph, best, least = equalised, candidate, errors["equalised"]
    best, error = _chosen_correction(graph, images, judge, corrections, best, least)
    words = ", ".join(f"{name} {value:.4f}" for name, value in (errors | error).items())
    return best._replace(
        method=f"{method}, chosen by the mean error at the scores of {len(judge.images)} held-out pictures ({words})"
    )


def _chosen_correction(
    graph: Graph, images: Float32Array, judge: HeldOut, corrections: Corrections, plain: PostTraining, least: float
) -> tuple[PostTraining, dict[str, float]]:
    """Returns the network with the corrections that were asked for or lower the error, and the errors that were compared."""
    bias, rounding = corrections.bias is not False, corrections.rounding or "compensated"
    asked = bool(corrections.bias), corrections.rounding or "nearest"
    if (bias, rounding) == (False, "nearest"):
        return plain, {}
    candidate = plain._replace(quantised=_corrected(graph, plain.quantised, images, bias, rounding), bias=bias, rounding=rounding)
    error = judge.error(candidate.quantised)
    name = " and ".join([*(["biases corrected"] if bias else []), *(["compensated rounding"] if rounding != "nearest" else [])])
    if error < least or asked == (bias, rounding):
        return candidate, {name: error}
    bias, rounding = asked
    kept = plain._replace(quantised=_corrected(graph, plain.quantised, images, bias, rounding), bias=bias, rounding=rounding)
    return kept, {name: error}


def _corrected(
    graph: Graph, quantised: QuantisedGraph, images: Float32Array, bias: bool, rounding: WeightRounding
) -> QuantisedGraph:
    if not bias and rounding == "nearest":
        return quantised
    from mhmodels.export.quantisation.correction import correct

    return correct(graph, quantised, images, bias=bias, rounding=rounding)
