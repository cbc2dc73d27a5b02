"""The part of the TFLite schema that this package relies on: element types, operators with weights, fused activations.

Operators are named as in the enumeration `BuiltinOperator` of schema.fbs, version 3. Numeric codes and flatbuffer tables come
from the classes that ai-edge-litert generates from the same schema (`generated`).
"""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

FILE_IDENTIFIER = b"TFL3"
"""Bytes 4 to 8 of every TFLite file."""

SCHEMA_VERSION = 3

ELEMENT_TYPES = {
    "FLOAT32": "float32", "FLOAT16": "float16", "INT8": "int8", "UINT8": "uint8", "INT16": "int16", "INT32": "int32",
    "INT64": "int64", "BOOL": "bool",
}  # fmt: skip
"""NumPy's name of the element type of a tensor, by its name in the enumeration `TensorType`."""

CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
"""Operators that change the element type of a tensor and compute nothing else."""


class WeightedOperator(NamedTuple):
    """Where an operator that multiplies activations by weights has the two.

    Attributes:
        activations: Position among its inputs of the tensor that it reads.
        kernel: Position among its inputs of its weights.
        rank: Number of dimensions of the kernel; None where it is not fixed.
        channels: Dimension of the kernel that counts the output channels; None where it is not fixed.
    """

    activations: int
    kernel: int
    rank: int | None = None
    channels: int | None = None


WEIGHTED_OPERATORS: dict[str, WeightedOperator] = {
    "CONV_2D": WeightedOperator(0, 1, rank=4, channels=0),
    "DEPTHWISE_CONV_2D": WeightedOperator(0, 1, rank=4, channels=3),
    "FULLY_CONNECTED": WeightedOperator(0, 1, rank=2, channels=0),
    "TRANSPOSE_CONV": WeightedOperator(2, 1, rank=4, channels=0),
    "CONV_3D": WeightedOperator(0, 1),
    "BATCH_MATMUL": WeightedOperator(0, 1),
}
"""The operators with weights, by name."""

KERNEL_READ_PER_OUTPUT = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
"""Operators that compute each output value from one output channel of their kernel, every weight of it used once."""

FUSED_ACTIVATIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "ADD": "AddOptions",
    "MUL": "MulOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
}
"""Operators that may apply an activation themselves, and the table of the schema that names it."""


def macs_per_output(operator: str, kernel_shape: tuple[int, ...]) -> int:
    """Returns the multiply-accumulates that one output value of an operator takes.

    Args:
        operator: A name in `KERNEL_READ_PER_OUTPUT`.
        kernel_shape: Shape of its kernel, of the rank that `WEIGHTED_OPERATORS` states.

    Example:
        >>> macs_per_output("CONV_2D", (64, 3, 3, 32)), macs_per_output("DEPTHWISE_CONV_2D", (1, 3, 3, 64))
        (288, 9)
    """
    channels = WEIGHTED_OPERATORS[operator].channels
    count = 1
    for dimension, side in enumerate(kernel_shape):
        count *= 1 if dimension == channels else side
    return count


def generated() -> ModuleType:
    """Returns the schema's generated classes; the import takes too long for modules that only need the tables above."""
    from ai_edge_litert import schema_py_generated

    schema: ModuleType = schema_py_generated
    return schema


def enumerated(enumeration: type) -> dict[int, str]:
    """Returns the names of a generated enumeration by their values."""
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}
