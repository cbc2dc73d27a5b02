"""How far a file may depart from its network, and on how many pictures the two are compared."""

from __future__ import annotations

FLOAT_TOLERANCE = 1e-3
"""Largest difference between float32 computations of one network, as a share of the standard deviation of the outputs.

float32 rounds at about 1e-6 of it, through a deep network at about 1e-5.
"""

FLOAT16_TOLERANCE = 0.1
"""The same where one side has float16 weights: 11 significant bits, whose roundings add up through a deep network."""

QUANTISED_CORRELATION = 0.95
"""Smallest correlation of the outputs where one side computes in integers, whose roundings no fixed difference describes."""

DRIFT_TOLERANCE = 0.2
"""Largest mean drift of the logits between the formats of one network, as a share of their standard deviation."""

LAYER_TOLERANCE_LSB = 1.0
"""Largest departure of a layer of an integer file from what its own inputs give, in steps of its output."""

PARITY_PICTURES = 26
"""Number of bundled photographs, on which files are compared unless a folder of pictures is given."""

LAYER_PICTURES = 2
"""Number of pictures for comparisons of every layer, whose outputs are all kept in memory."""


def tolerance_of(*formats: str) -> float | None:
    """Returns the largest allowed difference between the outputs of networks of these formats.

    Args:
        formats: As `mhmodels.tflite.format.compute_format` names them.

    Returns:
        A share of the standard deviation of the outputs. None where a format holds integers: these are judged by
        `QUANTISED_CORRELATION` instead.

    Example:
        >>> tolerance_of("float32", "float16"), tolerance_of("float32", "int8")
        (0.1, None)
    """
    kinds = {kind for fmt in formats for kind in fmt.split(" + ")}
    if kinds == {"float32"}:
        return FLOAT_TOLERANCE
    return FLOAT16_TOLERANCE if kinds <= {"float32", "float16"} else None
