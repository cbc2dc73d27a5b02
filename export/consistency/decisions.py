"""Makes scores and decisions of the outputs of a network, by its last activation."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Float32Array, Graph

Ending: TypeAlias = Literal["softmax", "sigmoid", "none"]
Decide: TypeAlias = Literal["auto", "best", "each"]

_SCORE_STEPS = 256
"""A quantised softmax gives multiples of 1/256, whatever its input."""
_FLOOR_STEPS = 4
"""A spread of fewer steps of a quantised output counts as these: an output that hardly varies is all rounding."""


class DecisionRule(NamedTuple):
    """The rule that makes scores of outputs, and decisions of scores.

    Attributes:
        ending: The last activation. `softmax` outputs are compared as logits and become scores by a softmax; `sigmoid`
            outputs are scores already; without an activation (`none`) they are taken as they are.
        best: The decision of a picture is its best output, if that reaches the threshold, else none. Otherwise each
            output is a decision of its own: whether it reaches the threshold.
    """

    ending: Ending
    best: bool

    def scores(self, outputs: Float32Array, quantised: bool) -> Float32Array:
        """Returns the scores (n, outputs) of a runner, as a file with the last activation of the network gives them."""
        if self.ending != "softmax":
            return outputs
        powers = np.exp(outputs - outputs.max(1, keepdims=True))
        scores: Float32Array = powers / powers.sum(1, keepdims=True)
        if not quantised:
            return scores
        return np.asarray(np.minimum(np.rint(scores * _SCORE_STEPS), _SCORE_STEPS - 1) / _SCORE_STEPS, np.float32)

    def threshold(self, scores: Float32Array) -> Float32Array:
        """Returns the default threshold, () or (outputs,), from the scores of the float model.

        0.5 for a sigmoid; 0.5 or, if that is lower, the median best score for a softmax; else the median.
        """
        if self.ending == "sigmoid":
            return np.array(0.5, np.float32)
        if not self.best:
            return np.asarray(np.median(scores, axis=0), np.float32)
        middle = np.asarray(np.median(scores.max(1)), np.float32)
        return np.minimum(np.float32(0.5), middle) if self.ending == "softmax" else middle

    def thresholds(self, scores: Float32Array) -> list[Float32Array]:
        """Returns 19 thresholds to try: scores of 0.05, 0.10, … 0.95, or these quantiles of the outputs of the float model."""
        shares = [step / 20 for step in range(1, 20)]
        if self.ending != "none":
            return [np.array(share, np.float32) for share in shares]
        values = scores.max(1) if self.best else scores
        return [np.asarray(np.quantile(values, share, axis=0), np.float32) for share in shares]

    def decisions(self, scores: Float32Array, threshold: Float32Array) -> NDArray[np.int64]:
        """Returns (n, 1) the best output, or -1 below the threshold; or (n, outputs) 1 where an output reaches it, else 0."""
        if not self.best:
            return (scores >= threshold).astype(np.int64)
        return np.where(scores.max(1) >= threshold, scores.argmax(1), -1)[:, None]

    def margins(self, scores: Float32Array, threshold: Float32Array) -> Float32Array:
        """Returns the distance of each decision from the threshold and, for the best output, from the second best."""
        if not self.best:
            return np.asarray(np.abs(scores - threshold), np.float32)
        ordered = np.sort(scores, axis=1)
        ahead = ordered[:, -1] - ordered[:, -2] if scores.shape[1] > 1 else np.full(len(scores), np.inf)
        return np.minimum(ahead, np.abs(ordered[:, -1] - threshold))[:, None].astype(np.float32)

    def drifts(self, found: Float32Array, expected: Float32Array, step: float) -> Float32Array:
        """Returns absolute differences (n, outputs) as shares of the standard deviation of the float outputs.

        Args:
            found: Outputs of a runner.
            expected: Outputs of the float model.
            step: Quantisation step of the runner's integer outputs; 0 for real numbers.

        Returns:
            With decisions by the best output, shares of the standard deviation over all outputs; else of each output's own.
        """
        difference = np.abs(found - expected)
        if self.best:
            return np.asarray(difference / np.float32(max(float(expected.std()), 1e-12)), np.float32)
        floor = _FLOOR_STEPS * (1.0 / _SCORE_STEPS if self.ending == "sigmoid" else step)
        spread: Float32Array = np.maximum(expected.std(axis=0), np.float32(max(floor, 1e-3 * float(expected.std()), 1e-12)))
        return np.asarray(difference / spread, np.float32)


def ending_of(graph: Graph) -> Ending:
    """Returns the last activation of a network with one output."""
    ops = {op.name: op for op in graph.ops}
    last = graph.ops[-1]
    while last.kind == "reshape":
        last = ops[last.inputs[0]]
    if last.kind == "softmax":
        return "softmax"
    return "sigmoid" if last.activation in ("sigmoid", "hard_sigmoid") else "none"


def rule_of(graph: Graph, decide: Decide = "auto") -> DecisionRule:
    """Returns the rule for the outputs of a network.

    Args:
        graph: With one output of scores.
        decide: `best` output or `each` output; `auto` takes the best of a softmax or of several outputs without an
            activation, which are logits mostly, and each of a sigmoid's and a single output.

    Raises:
        ExportError: The best of a single output.
    """
    ending, outputs = ending_of(graph), graph.ops[-1].channels
    if decide == "best" and outputs < 2:
        raise ExportError(
            f"argument 'decide=best': the network has {outputs} output, of which there is no best: use argument 'decide=each'"
        )
    best = ending == "softmax" or (ending == "none" and outputs > 1) if decide == "auto" else decide == "best"
    return DecisionRule(ending, best)
