"""Which pictures a network classifies with confidence: those where its best class is far ahead of the second.

On an ambiguous picture two classes have nearly the same score, and the smallest rounding exchanges them. Agreement among
confident pictures shows whether a file is wrong, agreement among all pictures also shows how ambiguous the pictures are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mhmodels.export.graph.operations import Float32Array

CONFIDENT_LEAD = 0.3
"""Lead of the best probability over the second from which a picture counts as confident."""


def softmax(logits: Float32Array) -> Float32Array:
    """Returns the probabilities (n, classes) of logits."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)


def leads(scores: Float32Array) -> Float32Array:
    """Returns how far the best score of each picture is ahead of the second, float32 (n,); infinite for a single score."""
    if scores.shape[1] < 2:
        return np.full(len(scores), np.inf, np.float32)
    ordered = np.sort(scores, axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2], np.float32)


def confident(scores: Float32Array) -> NDArray[np.bool_]:
    """Returns which pictures are confident.

    Args:
        scores: float32 (n, classes), logits, or probabilities that add up to 1.

    Example:
        >>> confident(np.array([[5.0, 1.0, 0.0], [2.0, 1.9, 0.0], [0.9, 0.05, 0.05]], np.float32)).tolist()
        [True, False, True]
    """
    probable = bool((scores >= 0).all() and np.allclose(scores.sum(1), 1.0, atol=1e-3))
    return np.asarray(leads(scores if probable else softmax(scores)) >= CONFIDENT_LEAD)
