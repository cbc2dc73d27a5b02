"""Scores and decisions by the last activation: a table of endings with decisions worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mhmodels.architecture import Architecture, Conv
from mhmodels.export.consistency.decisions import DecisionRule, ending_of, rule_of
from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Graph, random_graph
from mhmodels.network import Op

TINY = Architecture(name="t", stem=(Conv(filters=4, stride=2),), stages=(), input_size=(32, 32), classes=3)


def graph(channels: int, activation: str, *, softmax: bool = False) -> Graph:
    ops = [Op("dense", "conv", ("pool",), 4, channels, activation=activation)]  # type: ignore[arg-type]
    ops.append(Op("flatten", "reshape", ("dense",), channels, channels))
    if softmax:
        ops.append(Op("scores", "softmax", ("flatten",), channels, channels))
    return random_graph(TINY)._replace(ops=tuple(ops))


@pytest.mark.parametrize(
    ("channels", "activation", "softmax", "expected"),
    [
        (5, "linear", True, DecisionRule("softmax", best=True)),
        (1, "sigmoid", False, DecisionRule("sigmoid", best=False)),
        (5, "sigmoid", False, DecisionRule("sigmoid", best=False)),
        (1, "hard_sigmoid", False, DecisionRule("sigmoid", best=False)),
        (5, "linear", False, DecisionRule("none", best=True)),
        (1, "linear", False, DecisionRule("none", best=False)),
        (1, "relu", False, DecisionRule("none", best=False)),
    ],
)
def test_the_rule_follows_the_last_activation(channels: int, activation: str, softmax: bool, expected: DecisionRule) -> None:
    assert rule_of(graph(channels, activation, softmax=softmax)) == expected


def test_the_user_may_say_how_decisions_are_made() -> None:
    assert rule_of(graph(4, "linear"), "each") == DecisionRule("none", best=False)
    assert rule_of(graph(4, "sigmoid"), "best") == DecisionRule("sigmoid", best=True)
    with pytest.raises(ExportError, match="the network has 1 output, of which there is no best: use argument 'decide=each'"):
        rule_of(graph(1, "sigmoid"), "best")
    assert ending_of(random_graph(TINY)) == "softmax"


def test_a_single_sigmoid_output_is_no_softmax() -> None:
    """A softmax over one output is 1 whatever the score: every runner would decide the same."""
    rule = DecisionRule("sigmoid", best=False)
    scores = rule.scores(np.array([[0.2], [0.7], [0.49]], np.float32), quantised=True)
    assert scores.ravel().tolist() == pytest.approx([0.2, 0.7, 0.49])
    assert float(rule.threshold(scores)) == 0.5
    assert rule.decisions(scores, rule.threshold(scores)).ravel().tolist() == [0, 1, 0]
    assert rule.margins(scores, rule.threshold(scores)).ravel().tolist() == pytest.approx([0.3, 0.2, 0.01], abs=1e-6)


def test_labels_are_decided_each() -> None:
    rule = DecisionRule("sigmoid", best=False)
    scores = np.array([[0.9, 0.6, 0.1], [0.4, 0.5, 0.3]], np.float32)
    assert rule.decisions(scores, np.float32(0.5)).tolist() == [[1, 1, 0], [0, 1, 0]]  # type: ignore[arg-type]


def test_regression_is_judged_at_each_outputs_own_median() -> None:
    rule = DecisionRule("none", best=False)
    outputs = np.array([[1.0, 100.0], [2.0, 300.0], [3.0, 200.0]], np.float32)
    assert rule.scores(outputs, quantised=False) is outputs
    assert rule.threshold(outputs).tolist() == [2.0, 200.0]
    assert rule.decisions(outputs, rule.threshold(outputs)).tolist() == [[0, 0], [1, 1], [1, 1]]
    drifts = rule.drifts(outputs + np.float32([0.0, 10.0]), outputs, step=0.0)
    assert drifts[:, 0].max() == 0
    assert drifts[:, 1] == pytest.approx(10 / outputs[:, 1].std())


def test_logits_keep_their_scale() -> None:
    rule = DecisionRule("none", best=True)
    outputs = np.array([[5.0, -2.0], [1.0, 3.0], [-4.0, -5.0]], np.float32)
    assert float(rule.threshold(outputs)) == 3.0
    assert rule.decisions(outputs, rule.threshold(outputs)).ravel().tolist() == [0, 1, -1]
    assert rule.margins(outputs, np.asarray(np.float32(3.0))).ravel().tolist() == [2.0, 0.0, 1.0]


def test_a_label_that_hardly_varies_does_not_drift_by_its_rounding() -> None:
    rule = DecisionRule("sigmoid", best=False)
    expected = np.full((4, 2), 0.01, np.float32)
    expected[:, 1] = [0.1, 0.9, 0.2, 0.8]
    found = np.round(expected * 256) / np.float32(256)
    assert rule.drifts(found, expected, step=1 / 256).mean(0).max() < 0.2


@settings(max_examples=50)
@given(st.integers(1, 6), st.integers(0, 2**32 - 1), st.sampled_from(["softmax", "sigmoid", "none"]), st.booleans())
def test_decisions_that_are_further_from_another_than_two_scores_differ_are_the_same(
    outputs: int, seed: int, ending: str, best: bool
) -> None:
    """The margin is what it says: a change of every score by less than half of it changes no decision."""
    rule = DecisionRule(ending, best=best)  # type: ignore[arg-type]
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0, 1, (20, outputs)).astype(np.float32)
    threshold = rule.threshold(scores)
    margins = np.minimum(rule.margins(scores, threshold), 1.0)
    changed = scores + 0.49 * margins * rng.uniform(-1, 1, scores.shape).astype(np.float32)
    same = rule.decisions(scores, threshold) == rule.decisions(changed, threshold)
    assert same[margins > 1e-5].all()
