"""How far two sets of outputs lie apart: figures, and the error of a file that does not say what its network says."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from mhmodels.export.errors import ParityError
from mhmodels.export.graph.operations import Float32Array

TOP_K = 5


class OutputParity(msgspec.Struct, frozen=True, kw_only=True):
    """How far one output departs, over all pictures.

    Attributes:
        name: of the output; `scores` are compared before the softmax.
        correlation: Pearson's.
        mean_error, max_error: absolute difference as a share of the reference's standard deviation.
        mean_error_lsb: absolute difference in steps of the file's integers; null for real numbers.
    """

    name: str
    correlation: float
    mean_error: float
    max_error: float
    mean_error_lsb: float | None = None


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """How far a file departs from what it was made from, over a set of pictures. Figures are those of the worst output.

    Attributes:
        reference: what it was compared with.
        pictures: how many.
        correlation: Pearson's, over all values of all pictures.
        mean_error, max_error: absolute difference as a share of the reference's standard deviation.
        top1_agreement: share of pictures with the same largest logit; null for feature maps, several outputs and a single score.
        top5_agreement: share of the five largest logits that both have; null as above, or for fewer than six classes.
        mean_error_lsb: absolute difference in steps of the file's integers; null for float files.
        float_correlation, float_top1_agreement: the same against the float network: what quantisation itself costs.
        worst_layer, worst_layer_lsb: largest departure of a layer from its own inputs' result; null for float files.
        outputs: each output by itself.
    """

    reference: str
    pictures: int
    correlation: float
    mean_error: float
    max_error: float
    top1_agreement: float | None = None
    top5_agreement: float | None = None
    mean_error_lsb: float | None = None
    float_correlation: float | None = None
    float_top1_agreement: float | None = None
    worst_layer: str | None = None
    worst_layer_lsb: float | None = None
    outputs: tuple[OutputParity, ...] = ()


def compare_outputs(
    found: Mapping[str, Float32Array],
    expected: Mapping[str, Float32Array],
    reference: str,
    steps: Mapping[str, float] | None = None,
) -> Parity:
    """Compares outputs by their names.

    Args:
        found, expected: float32 (n, …) by name; (n, classes) are scores and are ranked.
        reference: what `expected` are of, in words.
        steps: size of a step of the found integers, by name.

    Raises:
        ParityError: names or shapes differ, or the reference does not vary.
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
    return msgspec.structs.replace(
        parity,
        top1_agreement=float((first.argmax(1) == scores.argmax(1)).mean()),
        top5_agreement=shared_top(first, scores) if scores.shape[1] > TOP_K else None,
    )


def _in_order(found: Mapping[str, Float32Array], expected: Mapping[str, Float32Array]) -> list[str]:
    """The found names in the order of the expected outputs.

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
    """Pictures, and the sides above 1 of what each has: (n, 1, 1, classes) holds the same values as (n, classes)."""
    return [len(values), *(side for side in values.shape[1:] if side != 1)]


def shared_top(found: Float32Array, expected: Float32Array) -> float:
    """Mean share of the five highest classes of a picture that both rank among their five highest."""
    ours, theirs = (np.argsort(-scores, axis=1, kind="stable")[:, :TOP_K] for scores in (found, expected))
    return float((ours[:, :, None] == theirs[:, None, :]).any(2).mean())
