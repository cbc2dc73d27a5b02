"""Writes a folded or quantised graph as the bytes of a TFLite file, without TensorFlow.

The TensorFlow converter is the reference: files have the same operators in the same order, the same shapes and numbers.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Graph
from mhmodels.export.graph.outputs import DEFAULT_OPTIONS, WriterOptions, graph_outputs, written_ops
from mhmodels.export.quantisation.scheme import QuantisedGraph
from mhmodels.export.writing.flatbuffer.serialise import serialise
from mhmodels.export.writing.numerics import Integer, Numerics, Real
from mhmodels.export.writing.operators import Emitter, emit
from mhmodels.export.writing.records import FileModel, FileTensor
from mhmodels.export.writing.versions import file_versions
from mhmodels.network import IMAGE

InterfaceType: TypeAlias = Literal["uint8", "int8", "float32"]


def write_float(
    graph: Graph, *, fmt: Literal["float32", "float16"] = "float32", options: WriterOptions = DEFAULT_OPTIONS
) -> bytes:
    """Writes a network of real numbers, in float32 or with float16 weights.

    Args:
        graph: Folded weights.
        fmt: How the weights are stored; float16 ones are widened when the file is loaded.
        options: Pooling, softmax, outputs.

    Returns:
        A TFLite file at batch 1: input `image` float32 (1, height, width, channels), output `scores` float32
        (1, classes), or the feature maps.

    Raises:
        ExportError: A layer cannot be written, or does not fit float16; the message names it.
    """
    return _write(Real(graph, fmt), "float32", options)


def write_quantised(quantised: QuantisedGraph, *, io: InterfaceType = "uint8", options: WriterOptions = DEFAULT_OPTIONS) -> bytes:
    """Writes a network of integers, int8 or uint8.

    Args:
        quantised: Every tensor's parameters.
        io: Element type of input and outputs. Where it is not the network's own, the file begins and ends in QUANTIZE
            (or DEQUANTIZE to float32) operators.
        options: Pooling, softmax, outputs.

    Returns:
        A TFLite file at batch 1, as `write_float`'s.

    Raises:
        ExportError: A layer cannot be written, or a uint8 network was asked for int8 input; the message says which.
    """
    if quantised.format == "uint8" and io == "int8":
        raise ExportError("a uint8 file has uint8 or float32 input and output, not int8: use format int8")
    return _write(Integer(quantised), io, options)


def _write(numerics: Numerics, io: str, options: WriterOptions) -> bytes:
    graph = numerics.graph
    outputs = graph_outputs(graph, options)
    names = {tensor: name for name, tensor in outputs.items()} if io == numerics.dtype else {}
    emitter = Emitter(numerics, options.pooling, names)
    entry = _entry(emitter, io)
    for op in written_ops(graph, options):
        emit(emitter, op)
    exits = tuple([_exit(emitter, name, tensor, io) for name, tensor in outputs.items()])
    operators = [*emitter.conversions, *emitter.operators]
    versions = file_versions((operator.code, operator.version) for operator in operators)
    return serialise(FileModel(emitter.tensors, operators, versions, (entry,), exits, (IMAGE,), tuple(outputs)))


def _entry(emitter: Emitter, io: str) -> int:
    """Adds the input tensor; where its type is not that of the network, a QUANTIZE operator follows it."""
    architecture, dtype = emitter.numerics.graph.architecture, emitter.numerics.dtype
    image = emitter.numerics.activation(IMAGE, (1, *architecture.input_size, architecture.input_channels))
    if io == dtype:
        return emitter.add(image)
    entry = emitter.add(_as(image, io))
    emitter.operator("QUANTIZE", (entry,), emitter.add(image, f"{IMAGE}/{dtype}"))
    return entry


def _exit(emitter: Emitter, name: str, tensor: str, io: str) -> int:
    """Adds an output tensor, behind a QUANTIZE or DEQUANTIZE operator where its type is not that of the network."""
    inner = emitter.index[tensor]
    if io == emitter.numerics.dtype:
        return inner
    output = emitter.add(_as(emitter.tensors[inner], io), name)
    emitter.operator("DEQUANTIZE" if io == "float32" else "QUANTIZE", (inner,), output)
    return output


def _as(tensor: FileTensor, io: str) -> FileTensor:
    """Returns an int8 tensor as uint8, with a zero point 128 higher, or as real numbers."""
    if io == "float32":
        return tensor._replace(dtype=io, quantisation=None)
    assert tensor.quantisation is not None
    outside = tensor.quantisation._replace(zero_point=tensor.quantisation.zero_point + 128)
    return tensor._replace(dtype=io, quantisation=outside)
