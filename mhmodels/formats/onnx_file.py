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


class OnnxFile(NamedTuple):
    """Content of an ONNX file.

    Attributes:
        format: `onnx-float32`, `onnx-int8` or `onnx-uint8` where every operator with weights reads activations and weights of
            that type (behind DequantizeLinear); else both types, such as `onnx-uint8 x int8`, several joined with ` + `.
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
            has no input or one without fixed sizes.
    """
    if importlib.util.find_spec("onnx") is None:
        raise FileFormatError(f"{path}: reading ONNX files needs the package onnx: pip install 'mhmodels[onnx]'")
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load_model_from_string(read_bytes(path, MAX_BYTES))
    except (DecodeError, *_DECODER_FAULTS) as error:
        raise FileFormatError(f"{path}: is not a whole ONNX file ({error})") from error
    graph = model.graph
    if not graph.node or not graph.output:
        raise FileFormatError(f"{path}: is not an ONNX file of a network: it has no nodes or no outputs")
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in graph.initializer):
        raise FileFormatError(f"{path}: keeps its weights in other files; save the model with its weights inside")
    return OnnxFile(_format(graph), _input_shape(graph, str(path)), tuple(node.op_type for node in graph.node))


def is_onnx_path(path: str | os.PathLike[str]) -> bool:
    """Returns whether a file is an ONNX file by its name."""
    return Path(path).suffix == SUFFIX


def _input_shape(graph: onnx.GraphProto, source: str) -> tuple[int, ...]:
    stored = {tensor.name for tensor in graph.initializer}
    entry = next((value for value in graph.input if value.name not in stored), None)
    if entry is None:
        raise FileFormatError(f"{source}: has no input")
    sizes = [size.dim_value if size.WhichOneof("value") == "dim_value" else 0 for size in entry.type.tensor_type.shape.dim]
    if not sizes or min(sizes) < 1:
        shown = ", ".join(str(size or "?") for size in sizes)
        raise FileFormatError(f"{source}: input '{entry.name}' has shape ({shown}), expected fixed sizes")
    return tuple(sizes)


def _format(graph: onnx.GraphProto) -> str:
    """Follows from the operators with weights, as `mhmodels.tflite.format.compute_format`; input and outputs do not count."""
    producers = {output: node for node in graph.node for output in node.output}
    stored = {tensor.name: tensor.data_type for tensor in graph.initializer}
    pairs = set()
    for node in graph.node:
        if node.op_type in _WEIGHTED:
            pair = [_type(producers.get(name), stored) for name in node.input[:2]]
            pairs.add(pair[0] if len(set(pair)) == 1 else " x ".join(pair))
    return f"onnx-{' + '.join(sorted(pairs)) or 'float32'}"


def _type(producer: onnx.NodeProto | None, stored: Mapping[str, int]) -> str:
    """Returns the type of the numbers that an operator reads: that of the integers behind a DequantizeLinear, else float32."""
    import onnx

    if producer is None or producer.op_type != "DequantizeLinear":
        return "float32"
    kind = stored.get(producer.input[2], onnx.TensorProto.UNDEFINED) if len(producer.input) > 2 else onnx.TensorProto.UINT8
    known: dict[int, str] = {number: name for name, number in onnx.TensorProto.DataType.items()}
    return known.get(kind, "unknown").lower()
