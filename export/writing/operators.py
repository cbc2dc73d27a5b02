"""Writes operations as TFLite operators: a table gives the function for each kind of operation.

The operators are those of the TensorFlow converter, which is the reference: padding SAME even where nothing is padded, ReLU and
ReLU6 fused into the convolution or addition, hard-swish as an operator, a hard-sigmoid gate as relu6(x + 3) times 1/6.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import ai_edge_litert.schema_py_generated as schema
import numpy as np

from mhmodels.export.errors import ExportError
from mhmodels.export.graph.outputs import Pooling
from mhmodels.export.quantisation.scheme import pre_activation
from mhmodels.export.writing.numerics import Numerics
from mhmodels.export.writing.records import FileOperator, FileTensor, OperatorOptions
from mhmodels.export.writing.versions import version
from mhmodels.network import Op


class Emitter:
    """The tensors and operators of a file that is being written.

    Attributes:
        numerics: How numbers are stored.
        pooling: The operator for global pooling.
        names: Names that tensors get in the file in place of their operation's.
        tensors, operators: In file order.
        conversions: DEQUANTIZE operators of float16 weights, which run before all others.
        index: Where the tensors of operations, and shared constants, are.
    """

    def __init__(self, numerics: Numerics, pooling: Pooling, names: Mapping[str, str]) -> None:
        self.numerics, self.pooling, self.names = numerics, pooling, names
        self.tensors: list[FileTensor] = []
        self.operators: list[FileOperator] = []
        self.conversions: list[FileOperator] = []
        self.index: dict[str, int] = {}

    def add(self, tensor: FileTensor, name: str | None = None) -> int:
        """Adds a tensor, under another name if one is given, and returns its index."""
        self.index[tensor.name] = len(self.tensors)
        self.tensors.append(tensor._replace(name=name or self.names.get(tensor.name, tensor.name)))
        return len(self.tensors) - 1

    def activation(self, name: str, shape: tuple[int, ...]) -> int:
        """Adds the tensor that an operation writes and returns its index."""
        return self.add(self.numerics.activation(name, shape))

    def constant(self, tensor: FileTensor) -> int:
        """Adds a constant. One in 16 bits is widened by an operator, which runtimes compute once, when they load the file."""
        if tensor.dtype != "float16":
            return self.add(tensor)
        source = self.add(tensor, f"{tensor.name}/float16")
        widened = self.add(FileTensor(tensor.name, tensor.shape, "float32"))
        self.conversions.append(FileOperator("DEQUANTIZE", version("DEQUANTIZE", "float16"), (source,), (widened,)))
        return widened

    def shared(self, tensor: FileTensor) -> int:
        """Adds a constant that several operators read, once."""
        known = self.index.get(tensor.name)
        return self.constant(tensor) if known is None else known

    def operator(
        self,
        code: str,
        inputs: tuple[int, ...],
        output: int,
        options: OperatorOptions | None = None,
        *,
        groups: int = 1,
        dilation: int = 1,
    ) -> None:
        """Adds an operator in the oldest version that describes it."""
        rescale = self._rescale(inputs, output) if code == "MUL" else 0.0
        number = version(code, self.tensors[inputs[0]].dtype, groups=groups, dilation=dilation, rescale=rescale)
        self.operators.append(FileOperator(code, number, inputs, (output,), options))

    def shape(self, name: str) -> tuple[int, ...]:
        """Returns the shape of the output of an operation, or of the image."""
        return self.tensors[self.index[name]].shape

    def _rescale(self, inputs: tuple[int, ...], output: int) -> float:
        """Returns the product of the input scales over the output scale; 0 for real numbers."""
        scales = [float(q.scale[0]) for t in (*inputs, output) if (q := self.tensors[t].quantisation) is not None]
        return math.prod(scales[:-1]) / scales[-1] if len(scales) > 1 else 0.0


def emit(emitter: Emitter, op: Op) -> None:
    """Writes one operation.

    Raises:
        ExportError: No TFLite operator does this, or a size is unknown; the message names the layer.
    """
    function = _EMITTERS.get(op.kind)
    if function is None:
        raise ExportError(f"layer '{op.name}': the direct writer has no operator for '{op.kind}'; use the TensorFlow engine")
    missing = [name for name in op.inputs if name not in emitter.index]
    if missing:
        raise ExportError(f"layer '{op.name}': its input '{missing[0]}' is not written before it")
    function(emitter, op)


def _int32(name: str, values: tuple[int, ...]) -> FileTensor:
    return FileTensor(name, (len(values),), "int32", np.array(values, np.int32))


def _map_shape(op: Op) -> tuple[int, int, int, int]:
    height, width = op.size
    if height is None or width is None:
        raise ExportError(f"layer '{op.name}': its size is {op.size}, a TFLite file needs a fixed input size")
    return (1, height, width, op.channels)


_PADDINGS = {"same": schema.Padding.SAME, "valid": schema.Padding.VALID}


def _convolution(emitter: Emitter, op: Op) -> None:
    # Gates of an integer network are rewritten: the output's saturation is their activation.
    activation = "linear" if op.activation == "hard_sigmoid" and emitter.numerics.saturates else op.activation
    fused, following = _activation(op, activation)
    shape = _map_shape(op)
    kernel, bias = emitter.numerics.constants(op)
    inputs = (emitter.index[op.inputs[0]], emitter.constant(kernel), emitter.constant(bias))
    output = emitter.activation(op.name if following is None else pre_activation(op), shape)
    window = (("Padding", _PADDINGS[op.padding]), ("StrideW", op.stride), ("StrideH", op.stride))
    rest = (("FusedActivationFunction", fused), ("DilationWFactor", op.dilation), ("DilationHFactor", op.dilation))
    if op.kind == "depthwise":
        options = OperatorOptions("DepthwiseConv2DOptions", (*window, ("DepthMultiplier", 1), *rest))
        emitter.operator("DEPTHWISE_CONV_2D", inputs, output, options, dilation=op.dilation)
    else:
        emitter.operator("CONV_2D", inputs, output, OperatorOptions("Conv2DOptions", (*window, *rest)), groups=op.groups)
    if following is not None:
        following(emitter, output, emitter.activation(op.name, shape))


def _activation(op: Op, activation: str) -> tuple[int, Callable[[Emitter, int, int], None] | None]:
    if activation not in _ACTIVATIONS:
        raise ExportError(f"layer '{op.name}': the direct writer has no activation '{activation}'; use the TensorFlow engine")
    return _ACTIVATIONS[activation]


def _hard_swish(emitter: Emitter, source: int, output: int) -> None:
    emitter.operator("HARD_SWISH", (source,), output)


def _logistic(emitter: Emitter, source: int, output: int) -> None:
    emitter.operator("LOGISTIC", (source,), output)


def _sixth(emitter: Emitter, source: int, output: int) -> None:
    """Writes the multiplication by 1/6 of a hard-sigmoid, after relu6(x + 3)."""
    sixth = emitter.shared(FileTensor("sixth", (), emitter.numerics.stored, np.array(1.0 / 6.0, np.float32)))
    emitter.operator("MUL", (source, sixth), output, OperatorOptions("MulOptions", ()))


_ACTIVATIONS: dict[str, tuple[int, Callable[[Emitter, int, int], None] | None]] = {
    "linear": (schema.ActivationFunctionType.NONE, None),
    "relu": (schema.ActivationFunctionType.RELU, None),
    "relu6": (schema.ActivationFunctionType.RELU6, None),
    "hard_swish": (schema.ActivationFunctionType.NONE, _hard_swish),
    "sigmoid": (schema.ActivationFunctionType.NONE, _logistic),
    "hard_sigmoid": (schema.ActivationFunctionType.RELU6, _sixth),
}
"""Activation to what the convolution does itself, and the operator that does the rest."""


def _elementwise(emitter: Emitter, op: Op) -> None:
    code, table = _ELEMENTWISE[op.kind]
    fused, following = _activation(op, op.activation)
    if following is not None:
        raise ExportError(f"layer '{op.name}': activation '{op.activation}' of '{op.kind}' cannot be fused into {code}")
    inputs = (emitter.index[op.inputs[0]], emitter.index[op.inputs[1]])
    options = OperatorOptions(table, (("FusedActivationFunction", fused),) if fused else ())
    emitter.operator(code, inputs, emitter.activation(op.name, _map_shape(op)), options)


_ELEMENTWISE = {"add": ("ADD", "AddOptions"), "multiply": ("MUL", "MulOptions")}


def _pool(emitter: Emitter, op: Op) -> None:
    source, (_, height, width, channels) = emitter.index[op.inputs[0]], emitter.shape(op.inputs[0])
    output = emitter.activation(op.name, (1, 1, 1, channels))
    if emitter.pooling == "mean":
        axes = emitter.shared(_int32("pool_axes", (1, 2)))
        emitter.operator("MEAN", (source, axes), output, OperatorOptions("ReducerOptions", (("KeepDims", True),)))
        return
    emitter.operator("AVERAGE_POOL_2D", (source,), output, _whole_map(height, width))


def _global_max_pool(emitter: Emitter, op: Op) -> None:
    """Writes MAX_POOL_2D over the map; most drivers lack REDUCE_MAX, which the converter writes."""
    source, (_, height, width, channels) = emitter.index[op.inputs[0]], emitter.shape(op.inputs[0])
    emitter.operator("MAX_POOL_2D", (source,), emitter.activation(op.name, (1, 1, 1, channels)), _whole_map(height, width))


def _whole_map(height: int, width: int) -> OperatorOptions:
    # Stride 1 changes nothing where the window is the whole map, and every driver takes it.
    window = (("Padding", schema.Padding.VALID), ("StrideW", 1), ("StrideH", 1))
    return OperatorOptions("Pool2DOptions", (*window, ("FilterWidth", width), ("FilterHeight", height)))


def _window_pool(emitter: Emitter, op: Op) -> None:
    window = (("Padding", _PADDINGS[op.padding]), ("StrideW", op.stride), ("StrideH", op.stride))
    options = OperatorOptions("Pool2DOptions", (*window, ("FilterWidth", op.kernel), ("FilterHeight", op.kernel)))
    output = emitter.activation(op.name, _map_shape(op))
    emitter.operator(_WINDOW_POOLS[op.kind], (emitter.index[op.inputs[0]],), output, options)


_WINDOW_POOLS = {"max_pool": "MAX_POOL_2D", "average_pool": "AVERAGE_POOL_2D"}


def _pad(emitter: Emitter, op: Op) -> None:
    """Writes PAD, which puts the integer that stands for 0 around an integer map."""
    values = np.array([0, 0, *op.pads, 0, 0], np.int32).reshape(4, 2)
    paddings = emitter.constant(FileTensor(f"{op.name}/paddings", (4, 2), "int32", values))
    output = emitter.activation(op.name, _map_shape(op))
    emitter.operator("PAD", (emitter.index[op.inputs[0]], paddings), output, OperatorOptions("PadOptions", ()))


def _reshape(emitter: Emitter, op: Op) -> None:
    shape = emitter.constant(_int32(f"{op.name}/shape", (1, op.channels)))
    emitter.operator("RESHAPE", (emitter.index[op.inputs[0]], shape), emitter.activation(op.name, (1, op.channels)))


def _flatten(emitter: Emitter, op: Op) -> None:
    """Writes a map as one pixel, which a 1x1 convolution reads as a dense layer does."""
    shape = (1, 1, 1, op.channels)
    constant = emitter.constant(_int32(f"{op.name}/shape", shape))
    emitter.operator("RESHAPE", (emitter.index[op.inputs[0]], constant), emitter.activation(op.name, shape))


def _softmax(emitter: Emitter, op: Op) -> None:
    output = emitter.activation(op.name, emitter.shape(op.inputs[0]))
    emitter.operator("SOFTMAX", (emitter.index[op.inputs[0]],), output, OperatorOptions("SoftmaxOptions", (("Beta", 1.0),)))


_EMITTERS: dict[str, Callable[[Emitter, Op], None]] = {
    "conv": _convolution,
    "depthwise": _convolution,
    "add": _elementwise,
    "multiply": _elementwise,
    "pool": _pool,
    "global_max_pool": _global_max_pool,
    "max_pool": _window_pool,
    "average_pool": _window_pool,
    "pad": _pad,
    "flatten": _flatten,
    "reshape": _reshape,
    "softmax": _softmax,
}
