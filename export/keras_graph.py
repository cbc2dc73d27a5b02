"""The operation list of a Keras model, read off its layers: for models that were trained with a head of the user's own.

What `mhmodels.builder` builds gives back exactly the operations that it was built from; a dense layer behind the pooling is
a 1x1 convolution there. A layer that has no such operation is refused by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import keras

from export.graph import ExportError
from mhmodels.block_types import Rectifier
from mhmodels.blocks import Kind
from mhmodels.network import IMAGE, Op

Size = tuple[int | None, int | None]

FLATTEN = "flatten"

_NOTHING_IN_INFERENCE = (
    "Dropout", "SpatialDropout2D", "GaussianDropout", "GaussianNoise", "AlphaDropout", "ActivityRegularization", "Identity",
)  # fmt: skip
_SHAPES_ONLY = ("Flatten", "Reshape")
_ACTIVATIONS = {
    "linear": "linear",
    "relu": "relu",
    "relu6": "relu6",
    "hard_silu": "hard_swish",
    "hard_swish": "hard_swish",
    "hard_sigmoid": "hard_sigmoid",
    "sigmoid": "sigmoid",
    "softmax": "softmax",
}
"""Keras' names to the operations'."""


class Read(NamedTuple):
    """A model's operations.

    Attributes:
        ops: in execution order.
        layers: Keras layers with weights, by operation name; `NAME_bn` for its batch normalisation.
        tensors: Keras tensors that are the operations' outputs; those inside a model used as a layer are that model's.
        outputs: operations that the model's outputs are.
        size: (height, width) of the input.
        channels: of the input.
    """

    ops: tuple[Op, ...]
    layers: dict[str, Any]
    tensors: dict[str, Any]
    outputs: tuple[str, ...]
    size: tuple[int, int]
    channels: int


def read_model(model: keras.Model, size: tuple[int, int] | None = None) -> Read:
    """Reads a functional or sequential model with one picture as its input.

    Args:
        model: built; models inside it are entered.
        size: (height, width) for a model that takes any.

    Raises:
        ExportError: a layer has no operation, or the model's input is not one picture; the message names the layer.
    """
    inputs = getattr(model, "inputs", None)
    if not inputs or len(inputs) != 1 or len(inputs[0].shape) != 4:
        shapes = [tuple(entry.shape) for entry in inputs or ()]
        raise ExportError(f"model '{model.name}': inputs are {shapes}, expected one picture (batch, height, width, channels)")
    _, height, width, channels = inputs[0].shape
    if channels is None:
        raise ExportError(f"model '{model.name}': its input has no known number of channels")
    if size is None:
        if height is None or width is None:
            raise ExportError(f"model '{model.name}': takes pictures of any size, a file needs one: give --input-size")
        size = (height, width)
    elif (height, width) not in ((None, None), size):
        raise ExportError(f"model '{model.name}': built for {height}x{width} pixels, --input-size asks for {size[0]}x{size[1]}")
    reader = _Reader(size, channels)
    reader.bind(inputs[0], IMAGE)
    outputs = [reader.output(output) for output in model.outputs]
    if len(outputs) == 1:
        outputs = [reader.finished(outputs[0])]
    return Read(tuple(reader.ops.values()), reader.layers, reader.tensors, tuple(outputs), size, channels)


class _Reader:
    """The growing operation list, and which operation each Keras tensor is."""

    def __init__(self, size: tuple[int, int], channels: int) -> None:
        self.ops: dict[str, Op] = {}
        self.layers: dict[str, Any] = {}
        self.tensors: dict[str, Any] = {}
        self.seen: set[int] = set()
        self.sizes: dict[str, Size] = {IMAGE: size}
        self.channels = {IMAGE: channels}
        self.values: dict[int, tuple[str, int]] = {}
        self.changes: dict[str, int] = {}
        self.readers: dict[str, str] = {}

    def bind(self, tensor: Any, name: str) -> None:
        """Notes that a tensor is what an operation gives, as far as it is known now."""
        self.values[id(tensor)] = (name, self.changes.get(name, 0))

    def value(self, tensor: Any) -> str:
        """The operation that a tensor is the output of; reads the layers before it first."""
        waiting = [tensor]
        while waiting:
            current = waiting[-1]
            if id(current) in self.values:
                waiting.pop()
                continue
            layer, inputs = _producer(current)
            missing = [entry for entry in inputs if id(entry) not in self.values]
            if missing:
                waiting.extend(missing)  # the last first: an addition's branch before its shortcut, as the builder has them
                continue
            name = self.apply(layer, inputs, current)
            self.bind(current, name)
            self.tensors[name] = current
        return self.read(tensor, "output")

    def output(self, tensor: Any) -> str:
        """The operation that an output of the model is: nothing may be fused into it any more."""
        name = self.value(tensor)
        if name == IMAGE:
            raise ExportError("an output of the model is its input, which no operation computes")
        self.readers.setdefault(name, "output")
        return name

    def read(self, tensor: Any, reader: str) -> str:
        """The operation's name for a reader, unless what it reads was fused away."""
        name, change = self.values[id(tensor)]
        if self.changes.get(name, 0) != change:
            raise _read_early(name, reader)
        return name

    def apply(self, layer: Any, inputs: list[Any], output: Any) -> str:
        """Adds a layer; returns the operation whose output is the layer's."""
        if getattr(layer, "outputs", None) and hasattr(layer, "layers"):
            return self._inner(layer, inputs, output)
        kind = type(layer).__name__
        if id(layer) in self.seen:
            raise ExportError(f"layer '{layer.name}' ({kind}) is used twice; a file cannot share weights between operations")
        self.seen.add(id(layer))
        names = [self.read(entry, layer.name) for entry in inputs]
        if kind in _NOTHING_IN_INFERENCE:
            return names[0]
        rule = _RULES.get(kind)
        if rule is None:
            raise ExportError(
                f"layer '{layer.name}' ({kind}): the direct writer has no operator for it; "
                "float formats of this model can be had with --engine tensorflow"
            )
        _check_last_axis(layer, tuple(output.shape))
        return rule(self, layer, names)

    def _inner(self, model: Any, inputs: list[Any], output: Any) -> str:
        """A model used as a layer."""
        if id(model) in self.seen:
            raise ExportError(f"model '{model.name}' is used twice; a file cannot share weights between operations")
        self.seen.add(id(model))
        for inner, outer in zip(model.inputs, inputs, strict=True):
            self.bind(inner, self.read(outer, model.name))
        return self.value(model.outputs[output._keras_history.tensor_index])

    def add(self, layer: Any, kind: Kind, inputs: list[str], channels: int, size: Size, **more: Any) -> str:
        """Adds an operation under a layer's name."""
        name = str(layer.name)
        if name in self.ops or name == IMAGE:
            raise ExportError(f"layer '{name}': two layers have this name")
        self.ops[name] = Op(name, kind, tuple(inputs), self.channels[inputs[0]], channels, size=size, **more)
        self.sizes[name], self.channels[name] = size, channels
        for source in inputs:
            self.readers.setdefault(source, name)
        return name

    def change(self, name: str, **fields: Any) -> str:
        """Fuses something into an operation; tensors that stood for it before no longer do, nor may any have been read."""
        if name in self.readers:
            raise _read_early(name, self.readers[name])
        self.ops[name] = self.ops[name]._replace(**fields)
        self.changes[name] = self.changes.get(name, 0) + 1
        return name

    def finished(self, output: str) -> str:
        """Ends a classifier as the builder does: its scores flattened before the softmax."""
        softmax = self.ops.pop(output) if self.ops[output].kind == "softmax" else None
        last = self.ops[output if softmax is None else softmax.inputs[0]]
        if last.size != (1, 1):
            return output
        self.ops[FLATTEN] = Op(FLATTEN, "reshape", (last.name,), last.channels, last.channels)
        self._logits(last.name)
        if softmax is None:
            return FLATTEN
        self.ops[output] = softmax._replace(inputs=(FLATTEN,))
        return output

    def _logits(self, name: str) -> None:
        """Finds the Keras tensor before a softmax that is the layer's own activation, where there is none: makes it."""
        layer = self.layers.get(name)
        if name not in self.tensors and layer is not None:
            linear = type(layer).from_config({**layer.get_config(), "name": f"{name}_linear", "activation": "linear"})
            self.tensors[name] = linear(layer.input)
            linear.set_weights(layer.get_weights())
        self.tensors[FLATTEN] = self.tensors.get(name)


def _read_early(name: str, reader: str) -> ExportError:
    return ExportError(
        f"layer '{name}': '{reader}' reads it before its batch normalisation or activation, which a file fuses into it"
    )


def _producer(tensor: Any) -> tuple[Any, list[Any]]:
    """The layer that made a Keras tensor, and what it read."""
    history = tensor._keras_history
    return history.operation, list(history.operation._inbound_nodes[history.node_index].input_tensors)


def _strided(size: Size, stride: int) -> Size:
    height, width = size
    return (None if height is None else -(-height // stride), None if width is None else -(-width // stride))


def _refuse(layer: Any, what: str) -> ExportError:
    return ExportError(f"layer '{layer.name}' ({type(layer).__name__}): {what}")


def _check_last_axis(layer: Any, shape: tuple[int | None, ...]) -> None:
    """Refuses a layer that divides the channels, or works along others: an operation has them last and knows no second axis.

    Args:
        layer: the layer.
        shape: of its output, batch first.
    """
    kind = type(layer).__name__
    if kind in _SHAPES_ONLY and any(side != 1 for side in shape[1:-1]):
        raise _refuse(layer, f"gives {shape[1:]}, expected all values in the last dimension")
    if kind == "Softmax":
        axes = layer.axis if isinstance(layer.axis, (list, tuple)) else (layer.axis,)
        if [axis % len(shape) for axis in axes] != [len(shape) - 1]:
            raise _refuse(layer, f"axis is {layer.axis} of {len(shape)} dimensions, expected the last")


def _window(layer: Any) -> tuple[int, int, int]:
    """(kernel, stride, dilation) of a convolution that TFLite's SAME padding describes."""
    kernel, stride, dilation = _square(
        layer, kernel_size=layer.kernel_size, strides=layer.strides, dilation_rate=layer.dilation_rate
    )
    return kernel, stride, dilation


def _square(layer: Any, **sides: tuple[int, int]) -> tuple[int, ...]:
    """One side of each of a layer's sizes, the window's first, where the file can have them."""
    if any(len(set(side)) > 1 for side in sides.values()):
        raise _refuse(layer, f"{', '.join(sides)} must be square")
    if layer.data_format != "channels_last":
        raise _refuse(layer, f"data_format is '{layer.data_format}', expected 'channels_last'")
    first, *others = (side[0] for side in sides.values())
    if layer.padding != "same" and first != 1:
        raise _refuse(layer, f"padding is '{layer.padding}', expected 'same'")
    return (first, *others)


def _conv(reader: _Reader, layer: Any, inputs: list[str]) -> str:
    kernel, stride, dilation = _window(layer)
    size = _strided(reader.sizes[inputs[0]], stride)
    name = reader.add(
        layer, "conv", inputs, layer.filters, size,
        kernel=kernel, stride=stride, dilation=dilation, groups=layer.groups, bias=layer.use_bias,
    )  # fmt: skip
    return _with_weights(reader, layer, name)


def _depthwise(reader: _Reader, layer: Any, inputs: list[str]) -> str:
    if layer.depth_multiplier != 1:
        raise _refuse(layer, f"depth_multiplier is {layer.depth_multiplier}, expected 1")
    kernel, stride, dilation = _window(layer)
    channels, size = reader.channels[inputs[0]], _strided(reader.sizes[inputs[0]], stride)
    name = reader.add(
        layer, "depthwise", inputs, channels, size,
        kernel=kernel, stride=stride, dilation=dilation, groups=channels, bias=layer.use_bias,
    )  # fmt: skip
    return _with_weights(reader, layer, name)


def _dense(reader: _Reader, layer: Any, inputs: list[str]) -> str:
    name = reader.add(layer, "conv", inputs, layer.units, reader.sizes[inputs[0]], bias=layer.use_bias)
    return _with_weights(reader, layer, name)


def _with_weights(reader: _Reader, layer: Any, name: str) -> str:
    reader.layers[name] = layer
    return _activation(reader, layer, [name])


def _batch_norm(reader: _Reader, layer: Any, inputs: list[str]) -> str:
    op = reader.ops.get(inputs[0])
    if op is None or op.kind not in ("conv", "depthwise") or op.batch_norm or op.activation != "linear":
        raise _refuse(layer, "stands behind no convolution or dense layer, so that it cannot be folded into one")
    if layer.axis not in (-1, 3) and not (isinstance(layer.axis, (list, tuple)) and list(layer.axis) in ([-1], [3])):
        raise _refuse(layer, f"axis is {layer.axis}, expected the channels")
    reader.layers[f"{op.name}_bn"] = layer
    return reader.change(op.name, batch_norm=True)


def _relu(reader: _Reader, layer: Any, inputs: list[str]) -> str:
    """A rectifier: a layer of its own, or another layer's activation."""
    limits = {None: "relu", 6.0: "relu6"}
    if layer.max_value not in limits or layer.negative_slope or layer.threshold:
        raise _refuse(layer, f"max_value {layer.max_value}, negative_slope {layer.negative_slope}: only ReLU and ReLU6 exist")
    return _fuse(reader, layer, inputs[0], limits[layer.max_value])


def _activation(reader: _Reader, layer: Any, inputs: list[str]) -> str:
    """What a layer's `activation` is: mostly a function, which Keras names; a `ReLU` layer has its limits itself."""
    activation = layer.activation
    if isinstance(activation, keras.layers.ReLU):
        return _relu(reader, activation, inputs)
    return _fuse(reader, layer, inputs[0], getattr(activation, "__name__", type(activation).__name__))


def _softmax(reader: _Reader, layer: Any, inputs: list[str]) -> str:
    return _fuse(reader, layer, inputs[0], "softmax")


def _fuse(reader: _Reader, layer: Any, source: str, keras_name: str) -> str:
    """An activation: part of the convolution before it, or a softmax of its own."""
    activation = _ACTIVATIONS.get(keras_name)
    if activation is None:
        raise _refuse(layer, f"activation '{keras_name}' has no operator; expected one of {', '.join(sorted(_ACTIVATIONS))}")
    if activation == "linear":
        return source
    if activation == "softmax":
        if reader.sizes[source] != (1, 1):
            raise _refuse(layer, f"a softmax over a map of {reader.sizes[source]}, expected one over classes")
        if layer.name not in reader.ops:
            return reader.add(layer, "softmax", [source], reader.channels[source], (1, 1))
        renamed = keras.layers.Softmax(name=f"{layer.name}_softmax")  # the dense layer has its own name already
        return reader.add(renamed, "softmax", [source], reader.channels[source], (1, 1))
    op = reader.ops.get(source)
    weighted = op is not None and op.kind in ("conv", "depthwise")
    added = op is not None and op.kind == "add" and activation in get_args(Rectifier)
    if op is None or not (weighted or added) or op.activation != "linear":
        raise _refuse(layer, f"activation '{keras_name}' stands behind no convolution, dense layer or addition that could do it")
    return reader.change(source, activation=activation)


def _join(kind: Kind) -> Callable[[_Reader, Any, list[str]], str]:
    def rule(reader: _Reader, layer: Any, inputs: list[str]) -> str:
        if len(inputs) != 2:
            raise _refuse(layer, f"has {len(inputs)} inputs, expected 2")
        height, width, channels = _broadcast(layer, *((*reader.sizes[name], reader.channels[name]) for name in inputs))
        return reader.add(layer, kind, inputs, channels, (height, width))

    return rule


def _broadcast(layer: Any, *shapes: tuple[int | None, int | None, int]) -> tuple[int | None, int | None, int]:
    """Shape of what two maps (height, width, channels) give together: a side of 1 is repeated, whichever of them has it."""
    for sides in zip(*shapes, strict=True):
        if len(set(sides) - {1}) > 1:
            raise _refuse(layer, f"its inputs are {' and '.join(map(str, shapes))}, expected sides that are equal or 1")
    height, width, channels = (next((side for side in sides if side != 1), 1) for sides in zip(*shapes, strict=True))
    assert channels is not None
    return height, width, channels


def _window_pool(kind: Kind) -> Callable[[_Reader, Any, list[str]], str]:
    def rule(reader: _Reader, layer: Any, inputs: list[str]) -> str:
        kernel, stride = _square(layer, pool_size=layer.pool_size, strides=layer.strides)
        size = _strided(reader.sizes[inputs[0]], stride)
        return reader.add(layer, kind, inputs, reader.channels[inputs[0]], size, kernel=kernel, stride=stride)

    return rule


def _pool(reader: _Reader, layer: Any, inputs: list[str]) -> str:
    return reader.add(layer, "pool", inputs, reader.channels[inputs[0]], (1, 1))


def _flatten(reader: _Reader, layer: Any, inputs: list[str]) -> str:
    if reader.sizes[inputs[0]] != (1, 1):
        raise _refuse(layer, f"flattens a map of {reader.sizes[inputs[0]]}; expected global average pooling before it")
    return inputs[0]


_RULES: dict[str, Callable[[_Reader, Any, list[str]], str]] = {
    "Conv2D": _conv,
    "DepthwiseConv2D": _depthwise,
    "Dense": _dense,
    "BatchNormalization": _batch_norm,
    "ReLU": _relu,
    "Activation": _activation,
    "Softmax": _softmax,
    "Add": _join("add"),
    "Multiply": _join("multiply"),
    "GlobalAveragePooling2D": _pool,
    "MaxPooling2D": _window_pool("max_pool"),
    "AveragePooling2D": _window_pool("average_pool"),
    **dict.fromkeys(_SHAPES_ONLY, _flatten),
}
"""A Keras layer's class to the operation that it is. Other layers are refused."""
