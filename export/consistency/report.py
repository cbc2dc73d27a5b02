"""Result of a comparison of the formats of one network."""

from __future__ import annotations

import msgspec


class RunnerReport(msgspec.Struct, frozen=True, kw_only=True):
    """One format on one runner, compared with the float Keras model.

    A runner is Keras; LiteRT with XNNPACK, with its builtin kernels or with its reference kernels; or an accelerator.

    Attributes:
        name: Format and kernels, for example `int8 xnnpack`.
        format: Format of the file.
        kernels: `keras`, `xnnpack`, `builtin`, `reference`, or an accelerator: `hexagon`, `gpu`.
        top1_agreement: Share of pictures with the same best output; null if each output is a decision of its own.
        top5_agreement: Share of the five best outputs that both models have in common; null if each output is a decision of
            its own, or if there are fewer than six outputs.
        mean_drift, max_drift: Mean and maximum absolute difference of the logits (without a softmax, of the outputs), as a
            share of the Keras model's standard deviation. If each output is a decision, those of the output that drifts most.
        same_decisions: Share of decisions that are equal at the threshold.
        sure_same_decisions: Share of equal decisions among the surer half: the decisions whose margin in the Keras model is
            at least the median margin. The margin is the distance to the threshold and to the second best output.
        accuracy: Top-1 accuracy, from 0 to 1; null if the classes of the pictures are unknown.
    """

    name: str
    format: str
    kernels: str
    top1_agreement: float | None
    top5_agreement: float | None
    mean_drift: float
    max_drift: float
    same_decisions: float
    sure_same_decisions: float
    accuracy: float | None


class ThresholdReport(msgspec.Struct, frozen=True, kw_only=True):
    """Decisions by one threshold: the best output if its score reaches the threshold, or whether each output reaches it.

    Attributes:
        value: The threshold, or one for each output.
        all_same: Share of decisions on which all runners agree.
        sure_all_same: The same share among the surer half of the decisions (see `RunnerReport`).
    """

    value: float | tuple[float, ...]
    all_same: float
    sure_all_same: float


class OutputReport(msgspec.Struct, frozen=True, kw_only=True):
    """One output that is a decision of its own.

    Attributes:
        output: Index of the output.
        all_same: Share of pictures on which all runners make the same decision at the threshold.
        drift: Largest mean drift of a runner, as a share of this output's standard deviation.
    """

    output: int
    all_same: float
    drift: float


class ConsistencyReport(msgspec.Struct, frozen=True, kw_only=True):
    """Agreement of the formats and runners of one network.

    Attributes:
        model: Name of the network.
        weights: Origin of the weights.
        pictures: Number of pictures.
        source: Origin of the pictures.
        activation: Last activation of the network: `softmax`, `sigmoid` or `none`. It computes the scores.
        decides: `best` if the decision on a picture is its best output, `each` if every output is a decision.
        runners: Each format on each runner, compared with the float Keras model.
        agreement: Matrix of the shares of equal decisions of every two runners, in the order of `runners`: of best outputs, or,
            if each output is a decision, of decisions at the threshold.
        disagreement: Largest share of these decisions in which two runners differ.
        threshold: Agreement at the requested or default threshold.
        worst_threshold: Agreement at that of 19 thresholds with the fewest equal decisions.
        outputs: One entry for each output if each output is a decision; else empty.
        drift: Largest mean drift of a runner, which `tolerance` limits. Unlike agreement, it does not depend on how close the
            two best classes are, so it is meaningful for untrained networks too.
        not_run: Reason by name of each runner that was not available.
        tolerance: Largest allowed `drift`.
        consistent: Whether `drift` is at most `tolerance`.

    Example:
        >>> from mhmodels.export import ModelRequest, check_consistency
        >>> report = check_consistency(ModelRequest(model="mobilenet_v1@0.25", input_size=(64, 64)), formats=("float32",))
        >>> report.model, report.activation
        ('mobilenet_v1@0.25', 'softmax')
    """

    model: str
    weights: str
    pictures: int
    source: str
    activation: str
    decides: str
    runners: tuple[RunnerReport, ...]
    agreement: tuple[tuple[float, ...], ...]
    disagreement: float
    threshold: ThresholdReport
    worst_threshold: ThresholdReport
    outputs: tuple[OutputReport, ...]
    drift: float
    not_run: dict[str, str]
    tolerance: float
    consistent: bool
