"""Writes operations as ONNX operators: a table gives the function for each kind of operation.

Paddings are explicit, with TensorFlow's asymmetric SAME, and a `pad` operation becomes a part of the convolutions that read it.
Activations of an integer network are left out where the limits of the output's integers have the same effect.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mhmodels.blocks import same_pads
from mhmodels.export.errors import ExportError
from mhmodels.export.quantisation.parameters import LOWEST
from mhmodels.export.quantisation.scheme import pre_activation
from mhmodels.export.writing.onnx.emitter import NO_ATTRIBUTES, OnnxAttributes, OnnxEmitter
from mhmodels.export.writing.onnx.names import NO_PADS, Pads
from mhmodels.export.writing.onnx.values import as_type
from mhmodels.export.writing.records import TensorQuantisation
from mhmodels.network import Op


def emit_onnx(emitter: OnnxEmitter, op: Op) -> None:
    """Writes one operation.

    Raises:
        ExportError: No ONNX operator does this, or a size is unknown; the message names the layer.
    """
    function = _EMITTERS.get(op.kind)
    if function is None:
        raise ExportError(f"layer '{op.name}': the ONNX writer has no operator for '{op.kind}'")
    missing = [name for name in op.inputs if name not in emitter.shapes]
    if missing:
        raise ExportError(f"layer '{op.name}': its input '{missing[0]}' is not written before it")
    function(emitter, op)


def _map_shape(op: Op) -> tuple[int, int, int, int]:
    height, width = op.size
    if height is None or width is None:
        raise ExportError(f"layer '{op.name}': its size is {op.size}, an ONNX file is written with a fixed input size")
    return (1, op.channels, height, width)


def _convolution(emitter: OnnxEmitter, op: Op) -> None:
    source = emitter.padded(op.inputs[0])
    pads = _sum(_window_pads(emitter, op), source.pads)
    inputs = (emitter.read(source.name), *emitter.weights(op))
    window = {"kernel_shape": (op.kernel, op.kernel), "strides": (op.stride, op.stride), "dilations": (op.dilation, op.dilation)}
    groups = op.channels if op.kind == "depthwise" else op.groups
    _write(emitter, op, "Conv", inputs, {**window, "pads": _in_order(pads), "group": groups})


def _window_pads(emitter: OnnxEmitter, op: Op) -> Pads:
    """Returns the zeros that TensorFlow's padding of a window puts around the map."""
    if op.padding == "valid":
        return NO_PADS
    *_, height, width = emitter.shapes[op.inputs[0]]
    return (*same_pads(height, op.window, op.stride), *same_pads(width, op.window, op.stride))


def _sum(first: Pads, second: Pads) -> Pads:
    top, bottom, left, right = (one + other for one, other in zip(first, second, strict=True))
    return top, bottom, left, right


def _in_order(pads: Pads) -> tuple[int, ...]:
    """Returns pads in ONNX' order: the beginnings of both axes, then their ends."""
    top, bottom, left, right = pads
    return top, left, bottom, right


def _write(emitter: OnnxEmitter, op: Op, code: str, inputs: tuple[str, ...], attributes: OnnxAttributes) -> None:
    """Writes the operator of an operation and its activation."""
    emitter.shapes[op.name] = _map_shape(op)
    if op.activation == "linear":
        emitter.write(op.name, code, inputs, attributes)
    elif op.activation in _LIMITS:
        _write_limited(emitter, op, code, inputs, attributes)
    elif op.activation in _SEPARATE and op.kind in ("conv", "depthwise"):
        before = pre_activation(op)
        emitter.shapes[before] = emitter.shapes[op.name]
        emitter.write(before, code, inputs, attributes)
        emitter.write(op.name, _SEPARATE[op.activation], (emitter.read(before),))
    else:
        raise ExportError(f"layer '{op.name}': the ONNX writer has no activation '{op.activation}' of '{op.kind}'")


_SEPARATE = {"hard_swish": "HardSwish", "sigmoid": "Sigmoid"}
"""Activations that read a tensor of their own, which is quantised in an integer file."""

_LIMITS: dict[str, tuple[float, float | None]] = {"relu": (0.0, None), "relu6": (0.0, 6.0), "hard_sigmoid": (0.0, 1.0)}
"""Smallest and largest value behind activations that are limits; a gate's kernel contains the rest of a hard-sigmoid."""


def _write_limited(emitter: OnnxEmitter, op: Op, code: str, inputs: tuple[str, ...], attributes: OnnxAttributes) -> None:
    low, high = _LIMITS[op.activation]
    quantisation = emitter.values.activation(op.name).quantisation
    if quantisation is not None and _saturates(quantisation, LOWEST[emitter.values.dtype], high):
        emitter.write(op.name, code, inputs, attributes)
        return
    before = f"{op.name}/unlimited"
    emitter.shapes[before] = emitter.shapes[op.name]
    emitter.write(before, code, inputs, attributes, parameters=op.name)
    read = emitter.read(before, parameters=op.name)
    if high is None:
        emitter.write(op.name, "Relu", (read,))
        return
    limits = [emitter.constant(f"limit_{value:g}", np.array(value, np.float32)) for value in (low, high)]
    emitter.write(op.name, "Clip", (read, *limits))


def _saturates(quantisation: TensorQuantisation, lowest: int, high: float | None) -> bool:
    """Returns whether the integers of a tensor end where 0 and an upper limit are, so that rounding limits them by itself."""
    highest = lowest + 255
    above = high is None or quantisation.zero_point + round(high / float(quantisation.scale[0])) >= highest
    return quantisation.zero_point == lowest and above


def _elementwise(emitter: OnnxEmitter, op: Op) -> None:
    _write(emitter, op, _ELEMENTWISE[op.kind], (emitter.read(op.inputs[0]), emitter.read(op.inputs[1])), NO_ATTRIBUTES)


_ELEMENTWISE = {"add": "Add", "multiply": "Mul"}


def _pool(emitter: OnnxEmitter, op: Op) -> None:
    source, (_, channels, height, width) = emitter.read(op.inputs[0]), emitter.shapes[op.inputs[0]]
    emitter.shapes[op.name] = (1, channels, 1, 1)
    if emitter.pooling == "mean":
        emitter.write(op.name, "GlobalAveragePool", (source,))
    else:
        emitter.write(op.name, "AveragePool", (source,), {"kernel_shape": (height, width)})


def _global_max_pool(emitter: OnnxEmitter, op: Op) -> None:
    source, (_, channels, *_sides) = emitter.read(op.inputs[0]), emitter.shapes[op.inputs[0]]
    emitter.shapes[op.name] = (1, channels, 1, 1)
    emitter.write(op.name, "GlobalMaxPool", (source,))


def _window_pool(emitter: OnnxEmitter, op: Op) -> None:
    """Writes a pooling by windows; as in TensorFlow, an average does not count the cells outside the map."""
    source, pads = emitter.read(op.inputs[0]), _in_order(_window_pads(emitter, op))
    window = {"kernel_shape": (op.kernel, op.kernel), "strides": (op.stride, op.stride)}
    _write(emitter, op, _WINDOW_POOLS[op.kind], (source,), {**window, "pads": pads})


_WINDOW_POOLS = {"max_pool": "MaxPool", "average_pool": "AveragePool"}


def _pad(emitter: OnnxEmitter, op: Op) -> None:
    """Writes zeros around a map, unless the convolutions that read them add them."""
    emitter.shapes[op.name] = _map_shape(op)
    if op.name in emitter.folded:
        return
    top, left, bottom, right = _in_order(op.pads)
    pads = emitter.constant(f"{op.name}/pads", np.array((0, 0, top, left, 0, 0, bottom, right), np.int64))
    zero = emitter.constant("limit_0", np.array(0.0, np.float32))
    emitter.write(op.name, "Pad", (emitter.read(op.inputs[0]), pads, zero))


def _reshape(emitter: OnnxEmitter, op: Op) -> None:
    emitter.shapes[op.name] = (1, op.channels)
    _write_reshaped(emitter, op, emitter.read(op.inputs[0]))


def _flatten(emitter: OnnxEmitter, op: Op) -> None:
    """Writes a map as one pixel, with its values in TensorFlow's order, in which the dense layer behind it reads them."""
    source = op.inputs[0]
    ordered, (_, channels, height, width) = f"{op.name}/ordered", emitter.shapes[source]
    emitter.shapes[ordered] = (1, height, width, channels)
    emitter.write(ordered, "Transpose", (emitter.read(source),), {"perm": (0, 2, 3, 1)}, parameters=source)
    emitter.shapes[op.name] = (1, op.channels, 1, 1)
    _write_reshaped(emitter, op, emitter.read(ordered, parameters=source))


def _write_reshaped(emitter: OnnxEmitter, op: Op, source: str) -> None:
    shape = emitter.constant(f"{op.name}/shape", np.array(emitter.shapes[op.name], np.int64))
    emitter.write(op.name, "Reshape", (source, shape))


def _softmax(emitter: OnnxEmitter, op: Op) -> None:
    """Writes a softmax, behind a change of type if it is computed in another one than what it reads."""
    source = op.inputs[0]
    emitter.shapes[op.name] = emitter.shapes[source]
    logits, dtype = emitter.values.activation(source), emitter.values.activation(op.name).dtype
    tensor = emitter.tensor(source)
    if dtype != logits.dtype:
        tensor = emitter.quantise(emitter.read(source), as_type(logits, dtype), f"{source}/{dtype}")
    emitter.write(op.name, "Softmax", (emitter.real(tensor, as_type(logits, dtype)),), {"axis": 1})


_EMITTERS: dict[str, Callable[[OnnxEmitter, Op], None]] = {
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
