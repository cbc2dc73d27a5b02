"""The number format that a TFLite file computes in, as `bench`, `compare`, `verify`, `export` and manifests name it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from mhmodels.tflite.schema import CONVERSIONS, WEIGHTED_OPERATORS

if TYPE_CHECKING:
    from mhmodels.tflite.file import TFLiteFile

FileFormat: TypeAlias = Literal["float32", "float16", "int8", "uint8"]
"""A format that files are exported in; files of others may compute in more (see `compute_format`)."""

FORMATS: tuple[FileFormat, ...] = ("float32", "float16", "int8", "uint8")


def compute_format(content: TFLiteFile) -> str:
    """Returns the format that a file computes in.

    It follows from the operators with weights. The types of the inputs and outputs of the file do not count, because
    QUANTIZE and DEQUANTIZE may stand there.

    Args:
        content: The parsed file.

    Returns:
        `float32`, `float16` (float32 activations, weights stored in 16 bits), `int8` or `uint8` where the activations and
        weights of every operator have that type; else both types, such as `float32 x int8` for a file of dynamic range
        or `int16 x int8` for one with 16-bit activations. Several are joined with ` + `. `empty` without operators.
    """
    types = [tensor.dtype for tensor in content.tensors]
    operators = content.operators
    stored = {o.outputs[0]: types[o.inputs[0]] for o in operators if o.kind == "DEQUANTIZE" and o.inputs and o.outputs}
    pairs = set()
    for operator in operators:
        weighted = WEIGHTED_OPERATORS.get(operator.kind)
        if weighted is not None and len(operator.inputs) > max(weighted.activations, weighted.kernel):
            source, kernel = operator.inputs[weighted.activations], operator.inputs[weighted.kernel]
            if min(source, kernel) >= 0:
                pairs.add((types[source], stored.get(kernel, types[kernel])))
    if not pairs:
        pairs = {(types[tensor],) * 2 for o in operators if o.kind not in CONVERSIONS for tensor in o.outputs[:1]}
    names = sorted(_pair_name(*pair) for pair in pairs)
    return " + ".join(names) or "empty"


def _pair_name(activations: str, weights: str) -> str:
    """Returns the name of a format by the types of an operator's activations and weights."""
    if activations == weights:
        return activations
    return "float16" if (activations, weights) == ("float32", "float16") else f"{activations} x {weights}"
