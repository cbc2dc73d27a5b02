"""What helps where the NPU refuses an operator, as data. Every entry was seen to help (docs/placement.md says where)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple


class Remedy(NamedTuple):
    """A change of a network that an NPU takes in place of what it refused.

    Attributes:
        text: The change.
        kinds: Kinds of operators that it is for; empty for all.
        dtype: Type of the operator's input; "" for any.
        weights: Type of the operator's second input; "" for any.
        words: Part of the reason of the refusal; "" for any.
    """

    text: str
    kinds: frozenset[str] = frozenset()
    dtype: str = ""
    weights: str = ""
    words: str = ""


_UNSIGNED_ONLY = frozenset({"CEIL", "COS", "EXP", "FLOOR", "LOG_SOFTMAX", "NEG", "POW", "ROUND", "SIGN", "SIN"})
REMEDIES = (
    Remedy("this NPU computes in integers only: give an int8 or uint8 file (--format int8)", words="doesn't support FP16"),
    Remedy("it is taken in uint8: give a uint8 file (--format uint8)", kinds=_UNSIGNED_ONLY, dtype="int8"),
    Remedy(
        "its weights are int8 and its activations float32: give a file whose activations are int8 too (--format int8), or a "
        "float32 file",
        kinds=frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}),
        dtype="float32",
        weights="int8",
    ),
)


def remedy_for(kind: str, dtype: str, weights: str, reason: str) -> str:
    """Returns what helps against the refusal of an operator; "" where nothing is known.

    Args:
        kind: Kind of the operator.
        dtype: Type of its first input.
        weights: Type of its second input; "" if it has none.
        reason: Why it was refused.

    Example:
        >>> remedy_for("SIN", "int8", "", "the library refuses it")
        'it is taken in uint8: give a uint8 file (--format uint8)'
        >>> remedy_for("ATAN2", "float32", "float32", "the plug-in has no such operator")
        ''
    """
    return next((remedy.text for remedy in _matching(kind, dtype, weights, reason)), "")


def _matching(kind: str, dtype: str, weights: str, reason: str) -> Iterator[Remedy]:
    for remedy in REMEDIES:
        if (
            (not remedy.kinds or kind in remedy.kinds)
            and remedy.dtype in ("", dtype)
            and remedy.weights in ("", weights)
            and remedy.words in reason
        ):
            yield remedy
