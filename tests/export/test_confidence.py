"""Which pictures count as confident, and agreement among them."""

from __future__ import annotations

from typing import Any

import numpy as np

from mhmodels.export.consistency.decisions import DecisionRule
from mhmodels.export.verification.confidence import CONFIDENT_LEAD, confident, leads, softmax
from mhmodels.export.verification.parity import compare_outputs


def logits(*rows: tuple[float, ...]) -> Any:
    return np.array(rows, np.float32)


def test_the_lead_decides() -> None:
    gap = float(np.log((1 + CONFIDENT_LEAD) / (1 - CONFIDENT_LEAD)))  # two classes: tanh(gap / 2) is the lead
    assert confident(logits((gap + 0.01, 0.0), (gap - 0.01, 0.0), (0.0, 5.0))).tolist() == [True, False, True]


def test_probabilities_are_taken_as_they_are() -> None:
    assert confident(logits((0.6, 0.2, 0.2), (0.4, 0.3, 0.3))).tolist() == [True, False]


def test_a_single_score_has_no_rival() -> None:
    assert np.isinf(leads(logits((1.0,), (2.0,)))).all()


def test_decisions_and_parity_share_the_lead() -> None:
    scores = softmax(np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32))
    margins = DecisionRule("softmax", True).margins(scores, np.array(0.0, np.float32))[:, 0]
    np.testing.assert_array_equal(margins, np.minimum(leads(scores), scores.max(1)))


def test_agreement_among_confident_pictures_ignores_ambiguous_ones() -> None:
    expected = logits((9.0, 0.0, 0.0), (0.0, 9.0, 0.0), (1.0, 1.01, 0.0))
    found = logits((9.0, 0.0, 0.0), (0.0, 9.0, 0.0), (1.01, 1.0, 0.0))
    parity = compare_outputs({"scores": found}, {"scores": expected}, "float network")
    assert (parity.confident_pictures, parity.confident_top1_agreement) == (2, 1.0)
    assert parity.top1_agreement is not None
    assert round(parity.top1_agreement, 3) == 0.667


def test_without_confident_pictures_there_is_no_agreement_among_them() -> None:
    expected = logits((0.1, 0.0), (0.0, 0.1))
    parity = compare_outputs({"scores": expected}, {"scores": expected}, "float network")
    assert (parity.confident_pictures, parity.confident_top1_agreement) == (0, None)
