"""From operations to TFLite operators: one table from an operation's kind to the function that writes it.

The sequence is the TensorFlow converter's, which is the reference: padding SAME even where nothing is padded, ReLU and
ReLU6 fused into the convolution, hard-swish on its own, a hard-sigmoid gate as relu6(x + 3) times a constant 1/6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import ai_edge_litert.schema_py_generated as schema
import numpy as np

from export.graph import ExportError
from export.quantisation.scheme import pre_activation, separate_activation
from export.writer.flatbuffer import Operator, Options, Tensor
from export.writer.numerics import Numerics
from export.writer.versions import version
from mhmodels.network import IMAGE, Op

Pooling = Literal["mean", "avgpool"]
SCORES = "scores"

_FUSED = {
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
    "hard_sigmoid": schema.ActivationFunctionType.RELU6,
}
_SEPARATE = {"hard_swish": "HARD_SWISH", "sigmoid": "LOGISTIC"}


class Emitter:
    """The file as it grows.

    Attributes:
        tensors, operators: in file order.
        conversions: DEQUANTIZE operators of float16 weights, which run before all others.
        renamed: names that tensors get in place of their operation's.
    """

    def __init__(self, numerics: Numerics, pooling: Pooling) -> None:
        self.numerics, self.pooling = numerics, pooling
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self.conversions: list[Operator] = []
        self.renamed: dict[str, str] = {}
        self.index: dict[str, int] = {}

    def add(self, tensor: Tensor) -> int:
        """Adds a tensor and returns its index."""
        name = self.renamed.get(tensor.name, tensor.name)
        self.index[tensor.name] = len(self.tensors)
        self.tensors.append(tensor._replace(name=name))
        return len(self.tensors) - 1

    def activation(self, name: str, shape: tuple[int, ...]) -> int:
        """Adds an activation and returns its index."""
        return self.add(self.numerics.activation(name, shape))

    def constant(self, tensor: Tensor) -> int:
        """Adds a constant; one stored in 16 bits is widened first, which runtimes do once, when they load the file."""
        if tensor.dtype != "float16":
            return self.add(tensor)
        source = self.add(tensor._replace(name=f"{tensor.name}/float16"))
        widened = self.add(Tensor(tensor.name, tensor.shape, "float32"))
        self.conversions.append(Operator("DEQUANTIZE", version("DEQUANTIZE", "float16"), (source,), (widened,)))
        return widened

    def axes(self, name: str, values: tuple[int, ...]) -> int:
        """Adds a short constant of int32."""
        return self.add(Tensor(name, (len(values),), "int32", np.array(values, np.int32)))

    def operator(self, code: str, inputs: tuple[int, ...], output: int, options: Options | None = None, *,
                 groups: int = 1, dilation: int = 1, rescale: float = 0.0) -> None:  # fmt: skip
        """Adds an operator at the oldest version that can do this."""
        number = version(code, self.tensors[inputs[0]].dtype, groups=groups, dilation=dilation, rescale=rescale)
        self.operators.append(Operator(code, number, inputs, (output,), options))

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of an operation's output, or of the image."""
        return self.tensors[self.index[name]].shape


def emit(emitter: Emitter, op: Op) -> None:
    """Writes one operation.

    Raises:
        ExportError: no TFLite operator does this, or a size is unknown; the message names the layer.
    """
    function = _EMITTERS.get(op.kind)
    if function is None:
        raise ExportError(f"layer '{op.name}': the direct writer has no operator for '{op.kind}'; use the TensorFlow engine")
    missing = [name for name in op.inputs if name not in emitter.index]
    if missing:
        raise ExportError(f"layer '{op.name}': its input '{missing[0]}' is not written before it")
    function(emitter, op)


def _map_shape(op: Op) -> tuple[int, int, int, int]:
    height, width = op.size
    if height is None or width is None:
        raise ExportError(f"layer '{op.name}': its size is {op.size}, a TFLite file needs a fixed input size")
    return (1, height, width, op.channels)


def _convolution(emitter: Emitter, op: Op) -> None:
    numerics, shape = emitter.numerics, _map_shape(op)
    kernel, bias = numerics.constants(op)
    inputs = (emitter.index[op.inputs[0]], emitter.constant(kernel), emitter.constant(bias))
    saturating = numerics.dtype != "float32"
    gate = op.activation == "hard_sigmoid" and not saturating
    written = pre_activation(op) if separate_activation(op) or gate else op.name
    if written == op.name or numerics.dtype != "float32":
        output = emitter.activation(written, shape)
    else:
        output = emitter.add(Tensor(written, shape, numerics.dtype))
    fused = schema.ActivationFunctionType.NONE if op.activation == "hard_sigmoid" and saturating else _FUSED.get(op.activation, 0)
    common = (("Padding", schema.Padding.SAME), ("StrideW", op.stride), ("StrideH", op.stride))
    tail = (("FusedActivationFunction", fused), ("DilationWFactor", op.dilation), ("DilationHFactor", op.dilation))
    if op.kind == "depthwise":
        options = Options("DepthwiseConv2DOptions", (*common, ("DepthMultiplier", 1), *tail))
        emitter.operator("DEPTHWISE_CONV_2D", inputs, output, options, dilation=op.dilation)
    else:
        emitter.operator("CONV_2D", inputs, output, Options("Conv2DOptions", (*common, *tail)), groups=op.groups)
    if gate:
        sixth = emitter.constant(Tensor(f"{op.name}/sixth", (), numerics.stored, np.float32(1.0 / 6.0).reshape(())))
        emitter.operator("MUL", (output, sixth), emitter.activation(op.name, shape), Options("MulOptions", ()))
    elif separate_activation(op):
        emitter.operator(_SEPARATE[op.activation], (output,), emitter.activation(op.name, shape))


def _add(emitter: Emitter, op: Op) -> None:
    inputs = (emitter.index[op.inputs[0]], emitter.index[op.inputs[1]])
    emitter.operator("ADD", inputs, emitter.activation(op.name, _map_shape(op)), Options("AddOptions", ()))


def _multiply(emitter: Emitter, op: Op) -> None:
    scale = emitter.numerics.scale
    inputs = (emitter.index[op.inputs[0]], emitter.index[op.inputs[1]])
    output = emitter.activation(op.name, _map_shape(op))
    rescale = scale(op.inputs[0]) * scale(op.inputs[1]) / (scale(op.name) or 1.0)
    emitter.operator("MUL", inputs, output, Options("MulOptions", ()), rescale=rescale)


def _pool(emitter: Emitter, op: Op) -> None:
    source, (_, height, width, channels) = emitter.index[op.inputs[0]], emitter.shape(op.inputs[0])
    if emitter.pooling == "mean":
        axes = emitter.index.get("pool_axes")
        axes = emitter.axes("pool_axes", (1, 2)) if axes is None else axes
        output = emitter.activation(op.name, (1, 1, 1, channels))
        emitter.operator("MEAN", (source, axes), output, Options("ReducerOptions", (("KeepDims", True),)))
        return
    fields = (
        ("Padding", schema.Padding.VALID),
        ("StrideW", 1),
        ("StrideH", 1),
        ("FilterWidth", width),
        ("FilterHeight", height),
    )
    output = emitter.activation(op.name, (1, 1, 1, channels))
    emitter.operator("AVERAGE_POOL_2D", (source,), output, Options("Pool2DOptions", fields))


def _reshape(emitter: Emitter, op: Op) -> None:
    shape = emitter.axes(f"{op.name}/shape", (1, op.channels))
    inputs = (emitter.index[op.inputs[0]], shape)
    emitter.operator("RESHAPE", inputs, emitter.activation(op.name, (1, op.channels)))


def _softmax(emitter: Emitter, op: Op) -> None:
    output = emitter.activation(op.name, emitter.shape(op.inputs[0]))
    emitter.operator("SOFTMAX", (emitter.index[op.inputs[0]],), output, Options("SoftmaxOptions", (("Beta", 1.0),)))


_EMITTERS: dict[str, Callable[[Emitter, Op], None]] = {
    "conv": _convolution,
    "depthwise": _convolution,
    "add": _add,
    "multiply": _multiply,
    "pool": _pool,
    "reshape": _reshape,
    "softmax": _softmax,
}

__all__ = ["IMAGE", "SCORES", "Emitter", "Pooling", "emit"]
