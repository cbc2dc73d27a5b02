"""Reads what a measurement has to know of an ONNX file: its number format, its input, its operators."""

from __future__ import annotations

import importlib.util
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mhmodels.errors import FileFormatError
from mhmodels.system.files import read_bytes

if TYPE_CHECKING:
    import onnx

SUFFIX = ".onnx"
MAX_BYTES = 1 << 31
"""The largest size of a protobuf message, which an ONNX file is."""

_DECODER_FAULTS = (ValueError, IndexError, KeyError, TypeError, RecursionError, struct.error)
"""What protobuf's decoder in Python raises, beside its own error, where bytes are damaged."""
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_INTEGER_WEIGHTED = ("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "QGemm", "MatMulNBits")
"""Operators with weights that compute in integers themselves, without DequantizeLinear."""
_FRACTIONS = ("float16", "bfloat16", "float32", "float64")


class OnnxFile(NamedTuple):
    """Content of an ONNX file.

    Attributes:
        format: `onnx-float32`, `onnx-int8` or `onnx-uint8` where every operator with weights reads activations and weights of
            that type (behind DequantizeLinear); else both types, such as `onnx-uint8 x int8`, or the kind of an operator that
            computes in integers itself, such as `onnx-QLinearConv`; several joined with ` + `. `onnx-float16` where weights are
            float16.
        shape: Shape of the first input.
        operators: Kind of every node, in file order.
    """

    format: str
    shape: tuple[int, ...]
    operators: tuple[str, ...]


def read_onnx(path: str | os.PathLike[str]) -> OnnxFile:
    """Reads an ONNX file.

    Raises:
        FileFormatError: The package onnx is not installed; the file cannot be read, is none, keeps its weights in other files, or
            has no input, or one without fixed sizes.
    """
    reason = onnx_missing()
    if reason:
        raise FileFormatError(f"{path}: cannot be read: {reason}")
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    content = read_bytes(path, MAX_BYTES)
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, *_DECODER_FAULTS) as error:
        raise FileFormatError(f"{path}: is not a whole ONNX file ({error})") from error
    graph = model.graph
    if not graph.node or not graph.output:
        raise FileFormatError(f"{path}: is not an ONNX file of a network: it has no nodes or no outputs")
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in graph.initializer):
        raise FileFormatError(f"{path}: keeps its weights in other files; save the model with its weights inside")
    return OnnxFile(_format(graph), _input_shape(graph, str(path)), tuple(node.op_type for node in graph.node))


def onnx_missing() -> str:
    """Says that the package onnx is not installed, with the command that installs it; "" if it is."""
    found = importlib.util.find_spec("onnx") is not None
    return "" if found else "the package onnx is not installed: pip install 'mhmodels[onnx]'"


def is_onnx_path(path: str | os.PathLike[str]) -> bool:
    """Returns whether a file is an ONNX file by its name."""
    return Path(path).suffix.lower() == SUFFIX


def _input_shape(graph: onnx.GraphProto, source: str) -> tuple[int, ...]:
    stored = {tensor.name for tensor in graph.initializer}
    entries = [value for value in graph.input if value.name not in stored]
    if not entries:
        raise FileFormatError(f"{source}: has no input")
    first, *_ = [_sizes(entry, source) for entry in entries]
    return first


def _sizes(entry: onnx.ValueInfoProto, source: str) -> tuple[int, ...]:
    sizes = [size.dim_value if size.WhichOneof("value") == "dim_value" else 0 for size in entry.type.tensor_type.shape.dim]
    if not sizes or min(sizes) < 1:
        shown = ", ".join(str(size or "?") for size in sizes)
        raise FileFormatError(f"{source}: input '{entry.name}' has shape ({shown}), expected fixed sizes")
    return tuple(sizes)


def _format(graph: onnx.GraphProto) -> str:
    """Follows from the operators with weights, as `mhmodels.tflite.format.compute_format`; input and outputs do not count."""
    producers = {output: node for node in graph.node for output in node.output}
    stored = {tensor.name: tensor.data_type for tensor in graph.initializer}
    stored |= {
        node.output[0]: value.t.data_type
        for node in graph.node
        if node.op_type == "Constant"
        for value in node.attribute
        if value.name == "value"
    }
    found = set()
    for node in graph.node:
        if node.op_type in _WEIGHTED:
            types = [_type(name, producers, stored) for name in node.input[:2]]
            # Activations that no DequantizeLinear gives are of the type of the weights, where these are numbers with fractions.
            known = [each for each in types if each] or ["float32"]
            usual = known[0] if known[0] in _FRACTIONS else "float32"
            pair = [each or usual for each in types]
            found.add(pair[0] if len(set(pair)) == 1 else " x ".join(pair))
        elif node.op_type in _INTEGER_WEIGHTED:
            found.add(node.op_type)
    return f"onnx-{' + '.join(sorted(found)) or 'float32'}"


def _type(name: str, producers: Mapping[str, onnx.NodeProto], stored: Mapping[str, int]) -> str:
    """Returns the type of the numbers that an operator reads: integers behind DequantizeLinear, a constant's type, or ""."""
    producer = producers.get(name)
    if producer is None or producer.op_type != "DequantizeLinear":
        return _name(stored[name]) if name in stored else ""
    # DequantizeLinear has the type of its zero point; without one it takes that of its input.
    sources = [*producer.input[2:3], producer.input[0]]
    quantiser = producers.get(producer.input[0])
    if quantiser is not None and quantiser.op_type == "QuantizeLinear":
        sources += quantiser.input[2:3]
    numbers = [stored[source] for source in sources if source in stored]
    if not numbers and len(producer.input) > 2 and producer.input[2]:
        return "unknown"
    return _name(numbers[0]) if numbers else "uint8"


def _name(data_type: int) -> str:
    """Returns the name of a type, as NumPy has it."""
    import onnx

    names: dict[int, str] = {number: name for name, number in onnx.TensorProto.DataType.items()}
    return {"float": "float32", "double": "float64"}.get(name := names.get(data_type, "unknown").lower(), name)
