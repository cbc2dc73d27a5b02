"""What a comparison of the formats of one network finds."""

from __future__ import annotations

import msgspec


class RunnerReport(msgspec.Struct, frozen=True, kw_only=True):
    """One format on one runner, compared with the float Keras model.

    Attributes:
        top1_agreement: Share of pictures with the same best output; null where each output is a decision of its own.
        top5_agreement: Share of the five best outputs that both have; null as above, and below six outputs.
        mean_drift, max_drift: Absolute difference of the logits (outputs, without a softmax) as a share of the Keras
            model's standard deviation; where each output is judged, of the output that drifts most.
        same_decisions: Share of decisions that are the same at the threshold.
        sure_same_decisions: The same share among the surer half of the decisions: those whose margin in the Keras model,
            from the threshold and from the second best output, is at least the median margin.
        accuracy: Where the pictures' classes are known.
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
        all_same: Share of decisions that every runner makes alike.
        sure_all_same: The same share among the surer half of the decisions, see `RunnerReport`.
    """

    value: float | tuple[float, ...]
    all_same: float
    sure_all_same: float


class OutputReport(msgspec.Struct, frozen=True, kw_only=True):
    """One output that is a decision of its own.

    Attributes:
        output: Its index.
        all_same: Share of pictures on which every runner decides the same at the threshold.
        drift: Largest mean drift of a runner, as a share of this output's standard deviation.
    """

    output: int
    all_same: float
    drift: float


class ConsistencyReport(msgspec.Struct, frozen=True, kw_only=True):
    """How far the formats and runners of one network agree.

    Attributes:
        activation: The network's last one: `softmax`, `sigmoid` or `none`. Scores follow it.
        decides: `best` output, or `each` output.
        agreement: Share of decisions that are the same, runner by runner, in the order of `runners`: the best outputs, or
            each output's decisions at the threshold.
        disagreement: Largest share of these decisions in which two runners differ.
        threshold: At the value that was asked for, or at the default (see `decisions.DecisionRule.threshold`).
        drift: Largest mean drift of a runner, which `tolerance` limits: unlike agreement it does not depend on how close
            the best two classes happen to be, so that it also judges untrained networks.
        worst_threshold: Of 19 thresholds the one with the fewest equal decisions.
        outputs: Every output by itself where each is a decision; else empty.
        not_run: Runners that were not at hand, and why.

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
