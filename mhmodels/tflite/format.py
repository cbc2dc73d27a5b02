"""Which number format a TFLite file computes in: the one answer for `bench`, `compare`, `verify`, `export` and manifests."""

from __future__ import annotations

from mhmodels.tflite.file import TFLiteFile

# Operators with weights, and the positions of input and weights among their tensors.
_KERNELS = {
    "CONV_2D": (0, 1),
    "DEPTHWISE_CONV_2D": (0, 1),
    "FULLY_CONNECTED": (0, 1),
    "TRANSPOSE_CONV": (2, 1),
    "CONV_3D": (0, 1),
    "BATCH_MATMUL": (0, 1),
}


def compute_format(content: TFLiteFile) -> str:
    """The format that a file computes in.

    The types of the file's input and outputs do not count, because QUANTIZE and DEQUANTIZE may stand there.

    Args:
        content: the parsed file.

    Returns:
        `float32`, `float16` (float32 activations, weights stored in 16 bits), `int8` or `uint8` where activations and
        weights of every kernel have that type; else both types, such as `float32 x int8` for a file of dynamic range
        or `int16 x int8` for one with 16-bit activations. Several are joined with ` + `. `empty` without operators.
    """
    types = [tensor.dtype for tensor in content.tensors]
    operators = content.operators
    stored = {o.outputs[0]: types[o.inputs[0]] for o in operators if o.kind == "DEQUANTIZE" and o.inputs and o.outputs}
    pairs = set()
    for operator in operators:
        positions = _KERNELS.get(operator.kind)
        if positions and len(operator.inputs) > max(positions):
            source, kernel = (operator.inputs[position] for position in positions)
            if min(source, kernel) >= 0:
                pairs.add((types[source], stored.get(kernel, types[kernel])))
    if not pairs:
        pairs = {(types[tensor],) * 2 for o in operators if o.kind not in ("QUANTIZE", "DEQUANTIZE") for tensor in o.outputs[:1]}
    names = sorted(_pair_name(*pair) for pair in pairs)
    return " + ".join(names) or "empty"


def _pair_name(source: str, weights: str) -> str:
    if source == weights:
        return source
    return "float16" if (source, weights) == ("float32", "float16") else f"{source} x {weights}"
