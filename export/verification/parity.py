"""Figures of how far two sets of outputs lie apart."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from mhmodels.export.errors import ParityError
from mhmodels.export.graph.operations import Float32Array
from mhmodels.export.verification.confidence import confident
from mhmodels.export.writing.manifest import OutputParity, Parity

TOP_K = 5


def compare_outputs(
    found: Mapping[str, Float32Array],
    expected: Mapping[str, Float32Array],
    reference: str,
    steps: Mapping[str, float] | None = None,
) -> Parity:
    """Compares outputs by their names.

    Args:
        found, expected: float32 (n, …) by name; (n, classes) are scores and are ranked.
        reference: What `expected` are of, in words.
        steps: Size of a step of the found integers, by name.

    Raises:
        ParityError: Names or shapes differ, or the reference does not vary.
    """
    if len(found) != len(expected):
        raise ParityError(f"the file gives {', '.join(found)}, the {reference} gives {', '.join(expected)}")
    pairs = list(zip(_in_order(found, expected), expected, strict=True))
    outputs = tuple(_compare(name, found[own], expected[name], reference, (steps or {}).get(own)) for own, name in pairs)
    lsb = [output.mean_error_lsb for output in outputs if output.mean_error_lsb is not None]
    parity = Parity(
        reference=reference,
        pictures=len(next(iter(found.values()))),
        correlation=min(output.correlation for output in outputs),
        mean_error=max(output.mean_error for output in outputs),
        max_error=max(output.max_error for output in outputs),
        mean_error_lsb=max(lsb) if lsb else None,
        outputs=outputs,
    )
    (own, name), *others = pairs
    scores = expected[name]
    if others or scores.ndim != 2 or scores.shape[1] < 2:
        return parity
    first = found[own].reshape(scores.shape)
    same, sure = first.argmax(1) == scores.argmax(1), confident(scores)
    return msgspec.structs.replace(
        parity,
        top1_agreement=float(same.mean()),
        confident_pictures=int(sure.sum()),
        confident_top1_agreement=float(same[sure].mean()) if sure.any() else None,
        top5_agreement=shared_top(first, scores) if scores.shape[1] > TOP_K else None,
    )


def _in_order(found: Mapping[str, Float32Array], expected: Mapping[str, Float32Array]) -> list[str]:
    """Returns the found names in the order of the expected outputs.

    Converters name outputs as they like: where the names are not the same, outputs correspond by their places.
    """
    return list(expected if found.keys() == expected.keys() else found)


def _compare(name: str, found: Float32Array, expected: Float32Array, reference: str, step: float | None) -> OutputParity:
    if _sides(found) == _sides(expected):
        found = found.reshape(expected.shape)
    if found.shape != expected.shape:
        what = f"{found.shape[1:]} values a picture, the {reference} gives {expected.shape[1:]}"
        raise ParityError(f"output '{name}': the file gives {what}")
    spread = float(expected.std())
    if not spread > 0:
        raise ParityError(f"output '{name}': the {reference}'s do not vary over the pictures, so that nothing can be compared")
    difference = np.abs(found - expected)
    correlation = float(np.corrcoef(found.ravel(), expected.ravel())[0, 1]) if found.std() > 0 else 0.0
    return OutputParity(
        name=name,
        correlation=correlation,
        mean_error=float(difference.mean()) / spread,
        max_error=float(difference.max()) / spread,
        mean_error_lsb=None if step is None else float(difference.mean()) / step,
    )


def _sides(values: Float32Array) -> list[int]:
    """Returns the shape without sides of 1: (n, 1, 1, classes) holds the same values as (n, classes)."""
    return [len(values), *(side for side in values.shape[1:] if side != 1)]


def shared_top(found: Float32Array, expected: Float32Array) -> float:
    """Returns the mean share of the five highest classes of a picture that both rank among their five highest."""
    ours, theirs = (np.argsort(-scores, axis=1, kind="stable")[:, :TOP_K] for scores in (found, expected))
    return float((ours[:, :, None] == theirs[:, None, :]).any(2).mean())
