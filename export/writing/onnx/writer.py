"""Writes a folded or quantised graph as the bytes of an ONNX file, from the same numbers as the TFLite file.

Input and feature maps have their channels last, as in the TFLite file, so that a program feeds both files alike. A Transpose
stands between them and the operators of ONNX, whose channels come first. Compilers that compute with the channels last, such as
Qualcomm's, remove it together with those that they insert themselves; with the channels of the input first they keep one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Graph
from mhmodels.export.graph.outputs import DEFAULT_OPTIONS, WriterOptions, graph_outputs, written_ops
from mhmodels.export.quantisation.scheme import QuantisedGraph
from mhmodels.export.writing.onnx.emitter import OnnxEmitter
from mhmodels.export.writing.onnx.names import folded_pads, tensor_names
from mhmodels.export.writing.onnx.operators import emit_onnx
from mhmodels.export.writing.onnx.values import IntegerValues, OnnxValues, RealValues, as_type
from mhmodels.export.writing.writer import InterfaceType
from mhmodels.network import IMAGE

OPSET = 17
"""Version of ONNX' operators; the oldest with all that are written is 14 (HardSwish), and runtimes of 2022 read 17."""

IR_VERSION = 8
"""Version of ONNX' file format that belongs to the operators."""

_CHANNELS_FIRST, _CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)


def write_onnx_float(graph: Graph, options: WriterOptions = DEFAULT_OPTIONS) -> bytes:
    """Writes a network of real numbers in float32.

    Args:
        graph: Folded weights.
        options: Pooling, softmax, outputs.

    Returns:
        An ONNX file at batch 1: input `image` float32 (1, height, width, channels), output `scores` float32 (1, classes), or
        the feature maps (1, height, width, channels).

    Raises:
        ExportError: A layer cannot be written; the message names it.
    """
    return _write(RealValues(graph), "float32", options)


def write_onnx_quantised(
    quantised: QuantisedGraph, io: InterfaceType = "uint8", options: WriterOptions = DEFAULT_OPTIONS
) -> bytes:
    """Writes a network of integers, int8 or uint8, in QDQ form.

    Args:
        quantised: Every tensor's parameters.
        io: Element type of input and outputs.
        options: Pooling, softmax, outputs.

    Returns:
        An ONNX file at batch 1, with input and outputs of the shapes of `write_onnx_float`.

    Raises:
        ExportError: A layer cannot be written, or a uint8 network was asked for int8 input; the message says which.
    """
    if quantised.format == "uint8" and io == "int8":
        raise ExportError("a uint8 file has uint8 or float32 input and output, not int8: use format onnx-int8")
    return _write(IntegerValues(quantised), io, options)


def _write(values: OnnxValues, io: str, options: WriterOptions) -> bytes:
    graph = values.graph
    outputs, ops = graph_outputs(graph, options), written_ops(graph, options)
    names = tensor_names(ops, outputs, values, io)
    emitter = OnnxEmitter(values, options.pooling, names, folded_pads(ops, outputs))
    entry = _entry(emitter, io)
    for op in ops:
        emit_onnx(emitter, op)
    exits = [_exit(emitter, name, op, io) for name, op in outputs.items()]
    name = graph.architecture.name
    content = helper.make_graph(emitter.nodes, name, [entry], exits, list(emitter.constants.values()))
    model = helper.make_model(content, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="mhmodels")
    model.ir_version = IR_VERSION
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"'{name}': ONNX' checker refuses the file ({' '.join(str(error).split())[:300]})") from error
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _entry(emitter: OnnxEmitter, io: str) -> onnx.ValueInfoProto:
    """Adds the input and its way to the first operator: the type of the network, channels first."""
    architecture, stored = emitter.values.graph.architecture, emitter.values.activation(IMAGE)
    height, width = architecture.input_size
    channels = architecture.input_channels
    integers = IMAGE if io == stored.dtype else f"{IMAGE}/{stored.dtype}"
    emitter.convert(IMAGE, as_type(stored, io), stored, integers)
    emitter.write(IMAGE, "Transpose", (emitter.real(integers, stored),), {"perm": _CHANNELS_FIRST})
    emitter.shapes[IMAGE] = (1, channels, height, width)
    return _value(IMAGE, io, (1, height, width, channels))


def _exit(emitter: OnnxEmitter, name: str, op: str, io: str) -> onnx.ValueInfoProto:
    """Adds an output: a map with its channels last, in the type that was asked for."""
    tensor, stored, shape = emitter.tensor(op), emitter.values.activation(op), emitter.shapes[op]
    if len(shape) == 4:
        shape = tuple(shape[axis] for axis in _CHANNELS_LAST)
        last = name if io == stored.dtype else f"{name}/last"
        exact = last if stored.quantisation is None else f"{last}/exact"
        emitter.node("Transpose", (emitter.read(op),), exact, {"perm": _CHANNELS_LAST})
        tensor = emitter.quantise(exact, stored, last)
    if tensor != name:
        emitter.convert(tensor, stored, as_type(stored, io), name)
    return _value(name, io, shape)


def _value(name: str, dtype: str, shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
