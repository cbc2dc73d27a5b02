"""Tiny .tflite files written with the schema's object API: no converter, so a whole set takes milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

TYPES = {"float32": (0, np.float32), "int32": (2, np.int32), "uint8": (3, np.uint8), "int8": (9, np.int8)}
CONV_2D, DEQUANTIZE, CUSTOM, SIN = 3, 6, 32, 66


class TinyModel:
    """Collects tensors and operators of one subgraph."""

    def __init__(self, kind: str) -> None:
        import ai_edge_litert.schema_py_generated as schema

        self.schema: Any = schema
        self.kind = kind
        self.tensors: list[Any] = []
        self.buffers: list[Any] = [schema.BufferT()]
        self.operators: list[Any] = []
        self.codes: list[int] = []
        self.custom = b""
        self.random = np.random.default_rng(7)

    def tensor(self, name: str, shape: tuple[int, ...], kind: str, data: Any = None, scale: float = 0.05) -> int:
        s = self.schema
        tensor = s.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name, list(shape), TYPES[kind][0], 0
        if data is not None:
            buffer = s.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data, TYPES[kind][1]).tobytes(), np.uint8)
            self.buffers.append(buffer)
            tensor.buffer = len(self.buffers) - 1
        if kind != "float32" and self.kind != "float32":
            tensor.quantization = s.QuantizationParametersT()
            tensor.quantization.scale = [scale]
            tensor.quantization.zeroPoint = [128 if kind == "uint8" else 0]
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def operator(self, code: int, inputs: list[int], outputs: list[int], options_type: int = 0, options: Any = None) -> None:
        operator = self.schema.OperatorT()
        if code not in self.codes:
            self.codes.append(code)
        operator.opcodeIndex = self.codes.index(code)
        operator.inputs, operator.outputs = inputs, outputs
        operator.builtinOptionsType, operator.builtinOptions = options_type, options
        self.operators.append(operator)

    def conv(self, source: int, name: str, size: int, channels: int) -> int:
        weights = {"float32": 0.1, "int8": 20, "uint8": 20}[self.kind] * self.random.standard_normal((channels, 1, 1, channels))
        weights = weights + 128 if self.kind == "uint8" else weights
        kernel = self.tensor(f"{name}/kernel", weights.shape, self.kind, weights)
        bias_kind = "float32" if self.kind == "float32" else "int32"
        bias = self.tensor(f"{name}/bias", (channels,), bias_kind, np.zeros(channels), scale=0.0025)
        output = self.tensor(name, (1, size, size, channels), self.kind)
        options = self.schema.Conv2DOptionsT()
        options.padding, options.strideH, options.strideW = 0, 1, 1
        self.operator(CONV_2D, [source, kernel, bias], [output], 1, options)
        return output

    def save(self, path: Path, inputs: list[int], outputs: list[int]) -> Path:
        import flatbuffers

        s = self.schema
        graph, model = s.SubGraphT(), s.ModelT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs, graph.name = (
            self.tensors,
            self.operators,
            inputs,
            outputs,
            "main",
        )
        model.version, model.subgraphs, model.buffers, model.description = 3, [graph], self.buffers, "tiny"
        model.operatorCodes = []
        for code in self.codes:
            entry = s.OperatorCodeT()
            # int8 convolutions came with version 3, int8 DEQUANTIZE with 2.
            version = {CONV_2D: 3, DEQUANTIZE: 2}.get(code, 1) if self.kind == "int8" else 1
            entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, min(code, 127), version
            if code == CUSTOM and self.custom:
                entry.customCode = self.custom
            model.operatorCodes.append(entry)
        builder = flatbuffers.Builder(4096)
        builder.Finish(model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path


def convolutions(path: Path, kind: str, layers: int = 2, size: int = 8, channels: int = 8) -> Path:
    """A chain of 1x1 convolutions."""
    model = TinyModel(kind)
    source = at = model.tensor("input", (1, size, size, channels), kind)
    for layer in range(layers):
        at = model.conv(at, f"conv{layer}", size, channels)
    return model.save(path, [source], [at])


def with_float_sine(path: Path) -> Path:
    """int8 convolution, then DEQUANTIZE and a float SIN: no NPU takes the end of it."""
    model = TinyModel("int8")
    source = model.tensor("input", (1, 8, 8, 8), "int8")
    quantised = model.conv(source, "conv", 8, 8)
    real = model.tensor("real", (1, 8, 8, 8), "float32")
    model.operator(DEQUANTIZE, [quantised], [real])
    sine = model.tensor("sine", (1, 8, 8, 8), "float32")
    model.operator(SIN, [real], [sine])
    return model.save(path, [source], [sine])


def hybrid(path: Path) -> Path:
    """Float activations with int8 weights, as post-training dynamic-range quantisation makes them."""
    model = TinyModel("float32")
    source = model.tensor("input", (1, 8, 8, 8), "float32")
    kernel = model.tensor("kernel", (8, 1, 1, 8), "int8", np.ones((8, 1, 1, 8)))
    model.tensors[kernel].quantization = model.schema.QuantizationParametersT()
    model.tensors[kernel].quantization.scale, model.tensors[kernel].quantization.zeroPoint = [0.01], [0]
    bias = model.tensor("bias", (8,), "float32", np.zeros(8))
    output = model.tensor("output", (1, 8, 8, 8), "float32")
    options = model.schema.Conv2DOptionsT()
    options.padding, options.strideH, options.strideW = 0, 1, 1
    model.operator(CONV_2D, [source, kernel, bias], [output], 1, options)
    return model.save(path, [source], [output])
