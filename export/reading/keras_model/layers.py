"""Finds the operation of each Keras layer: a rule for each class adds it to a list, or fuses it into the last operation.

Classes and functions are told apart by identity, never by name: a user's subclass of `Conv2D`, or a function that is called
`softmax`, may compute anything.
"""

from __future__ import annotations

from collections.abc import Callable

import keras

from mhmodels.blocks import OperationKind
from mhmodels.export.reading.keras_model.activations import activation_of, function_of, rectifier
from mhmodels.export.reading.keras_model.front import (
    ARITHMETIC,
    RESIZING,
    TRAINING_ONLY,
    arithmetic,
    classes_of,
    identity,
    normalization,
    operations_of,
    rescaling,
    resizing,
    training_only,
)
from mhmodels.export.reading.keras_model.operation_list import LayerRule, OperationList, Size, refuse
from mhmodels.export.reading.keras_model.precision import is_quantised
from mhmodels.network import WindowPadding

_NOTHING_IN_INFERENCE = classes_of((
    "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "SpatialDropout2D",
))  # fmt: skip
_SHAPES_ONLY = (keras.layers.Flatten, keras.layers.Reshape)
_ops = keras.ops


def operation_of(
    reader: OperationList,
    layer: keras.layers.Layer,
    inputs: list[str],
    shape: tuple[int | None, ...],
    arguments: tuple[object, ...] = (),
) -> str:
    """Adds the operation of a layer, and returns the name of the operation whose output is that of the layer.

    Args:
        reader: The list to add it to.
        layer: Of Keras.
        inputs: Operations that it reads.
        shape: Of its output, batch first.
        arguments: What it is called with, constants included.

    Raises:
        ExportError: No operation does what the layer does.
    """
    kind = type(layer)
    if is_quantised(layer):
        raise refuse(
            layer,
            f"was quantised by Keras (dtype policy '{layer.dtype_policy.name}'), so that its kernel holds integers; give the "
            "model as it was before quantize(): argument 'formats=int8' or uint8 quantises it for TFLite",
        )
    if kind in ARITHMETIC and len(inputs) == 1:
        return arithmetic(reader, layer, inputs, arguments)
    if kind is keras.layers.Pipeline:
        for inner in layer.layers:
            inputs = [operation_of(reader, inner, inputs, shape)]
        return inputs[0]
    rule = _RULES.get(kind)
    if rule is None:
        raise refuse(layer, f"the direct writer has no operator for it; {_derived(kind)}")
    _check_last_axis(layer, shape)
    return rule(reader, layer, inputs)


def _derived(kind: type) -> str:
    """Returns the remedy for a layer of a class that has no rule."""
    known = next((base for base in kind.__mro__[1:] if base in _RULES), None)
    if known is not None:
        return (
            f"it is derived from {known.__name__} and may compute something else; build the model with {known.__name__} itself "
            "if it does not. Float formats of this model can be had with argument 'engine=tensorflow'"
        )
    return "float formats of this model can be had with argument 'engine=tensorflow'"


def _strided(layer: keras.layers.Layer, size: Size, window: int, stride: int) -> Size:
    """Returns the size of the map that a window gives which moves by a stride."""

    def side(length: int | None) -> int | None:
        if length is None:
            return None
        if layer.padding == "same":
            return -(-length // stride)
        if length < window:
            raise refuse(layer, f"its window of {window} is larger than the map of {size}")
        return (length - window) // stride + 1

    return side(size[0]), side(size[1])


def _check_last_axis(layer: keras.layers.Layer, shape: tuple[int | None, ...]) -> None:
    """Rejects a layer that divides the channels or works along another axis than the last.

    Args:
        layer: The layer.
        shape: Of its output, batch first.
    """
    kind = type(layer)
    if kind in _SHAPES_ONLY and any(side != 1 for side in shape[1:-1]):
        raise refuse(layer, f"gives {shape[1:]}, expected all values in the last dimension")
    if kind in _SOFTMAX:
        axes = layer.axis if isinstance(layer.axis, (list, tuple)) else (layer.axis,)
        if [axis % len(shape) for axis in axes] != [len(shape) - 1]:
            raise refuse(layer, f"axis is {layer.axis} of {len(shape)} dimensions, expected the last")


def _window(layer: keras.layers.Layer) -> tuple[int, int, int]:
    """Returns (kernel, stride, dilation) of a convolution whose sizes a file can have."""
    kernel, stride, dilation = _square(
        layer, kernel_size=layer.kernel_size, strides=layer.strides, dilation_rate=layer.dilation_rate
    )
    return kernel, stride, dilation


def _square(layer: keras.layers.Layer, **sides: tuple[int, int]) -> tuple[int, ...]:
    """Returns one side of each of the sizes of a layer, that of the window first, if a file can have them."""
    if any(len(set(side)) > 1 for side in sides.values()):
        raise refuse(layer, f"{', '.join(sides)} must be square")
    _check_data_format(layer)
    first, *others = (side[0] for side in sides.values())
    if layer.padding not in ("same", "valid"):
        raise refuse(layer, f"padding is '{layer.padding}', expected 'same' or 'valid'")
    return (first, *others)


def _padding(layer: keras.layers.Layer, window: int) -> WindowPadding:
    """Returns the padding of a window. One of a single pixel pads nothing, for which the converter writes SAME."""
    own: WindowPadding = layer.padding
    return "same" if window == 1 else own


def _check_data_format(layer: keras.layers.Layer) -> None:
    if layer.data_format != "channels_last":
        raise refuse(layer, f"data_format is '{layer.data_format}', expected 'channels_last'")


def _conv(reader: OperationList, layer: keras.layers.Layer, inputs: list[str]) -> str:
    kernel, stride, dilation = _window(layer)
    size = _strided(layer, reader.sizes[inputs[0]], dilation * (kernel - 1) + 1, stride)
    name = reader.add(
        layer, "conv", inputs, layer.filters, size,
        kernel=kernel, stride=stride, dilation=dilation, groups=layer.groups, bias=layer.use_bias,
        padding=_padding(layer, kernel),
    )  # fmt: skip
    return _with_weights(reader, layer, name)


def _depthwise(reader: OperationList, layer: keras.layers.Layer, inputs: list[str]) -> str:
    if layer.depth_multiplier != 1:
        raise refuse(layer, f"depth_multiplier is {layer.depth_multiplier}, expected 1")
    kernel, stride, dilation = _window(layer)
    channels = reader.channels[inputs[0]]
    size = _strided(layer, reader.sizes[inputs[0]], dilation * (kernel - 1) + 1, stride)
    name = reader.add(
        layer, "depthwise", inputs, channels, size,
        kernel=kernel, stride=stride, dilation=dilation, groups=channels, bias=layer.use_bias, padding=_padding(layer, kernel),
    )  # fmt: skip
    return _with_weights(reader, layer, name)


def _dense(reader: OperationList, layer: keras.layers.Layer, inputs: list[str]) -> str:
    name = reader.add(layer, "conv", inputs, layer.units, reader.sizes[inputs[0]], bias=layer.use_bias)
    return _with_weights(reader, layer, name)


def _with_weights(reader: OperationList, layer: keras.layers.Layer, name: str) -> str:
    reader.layers[name] = layer
    return activation_of(reader, layer, [name])


def _batch_norm(reader: OperationList, layer: keras.layers.Layer, inputs: list[str]) -> str:
    op = reader.ops.get(inputs[0])
    if op is None or op.kind not in ("conv", "depthwise") or op.batch_norm or op.activation != "linear":
        raise refuse(layer, "stands behind no convolution or dense layer, so that it cannot be folded into one")
    if layer.axis not in (-1, 3) and not (isinstance(layer.axis, (list, tuple)) and list(layer.axis) in ([-1], [3])):
        raise refuse(layer, f"axis is {layer.axis}, expected the channels")
    reader.layers[f"{op.name}_bn"] = layer
    return reader.change(op.name, batch_norm=True)


def _join(kind: OperationKind) -> LayerRule:
    def rule(reader: OperationList, layer: keras.layers.Layer, inputs: list[str]) -> str:
        if len(inputs) != 2:
            raise refuse(layer, f"has {len(inputs)} inputs, expected 2")
        height, width, channels = _broadcast(layer, *((*reader.sizes[name], reader.channels[name]) for name in inputs))
        return reader.add(layer, kind, inputs, channels, (height, width))

    return rule


def _broadcast(layer: keras.layers.Layer, *shapes: tuple[int | None, int | None, int]) -> tuple[int | None, int | None, int]:
    """Returns the shape of the result of two maps (height, width, channels), of which sides of 1 are repeated."""
    for sides in zip(*shapes, strict=True):
        if len(set(sides) - {1}) > 1:
            raise refuse(layer, f"its inputs are {' and '.join(map(str, shapes))}, expected sides that are equal or 1")
    height, width, channels = (next((side for side in sides if side != 1), 1) for sides in zip(*shapes, strict=True))
    assert channels is not None
    return height, width, channels


def _window_pool(kind: OperationKind) -> LayerRule:
    def rule(reader: OperationList, layer: keras.layers.Layer, inputs: list[str]) -> str:
        kernel, stride = _square(layer, pool_size=layer.pool_size, strides=layer.strides)
        size, padding = _strided(layer, reader.sizes[inputs[0]], kernel, stride), _padding(layer, kernel)
        return reader.add(layer, kind, inputs, reader.channels[inputs[0]], size, kernel=kernel, stride=stride, padding=padding)

    return rule


def _zero_padding(reader: OperationList, layer: keras.layers.Layer, inputs: list[str]) -> str:
    _check_data_format(layer)
    (top, bottom), (left, right) = layer.padding
    if not any((top, bottom, left, right)):
        return inputs[0]
    height, width = reader.sizes[inputs[0]]
    size = (None if height is None else height + top + bottom, None if width is None else width + left + right)
    return reader.add(layer, "pad", inputs, reader.channels[inputs[0]], size, pads=(top, bottom, left, right))


def _global_pool(kind: OperationKind) -> LayerRule:
    def rule(reader: OperationList, layer: keras.layers.Layer, inputs: list[str]) -> str:
        _check_data_format(layer)
        return reader.add(layer, kind, inputs, reader.channels[inputs[0]], (1, 1))

    return rule


def _flatten(reader: OperationList, layer: keras.layers.Layer, inputs: list[str]) -> str:
    height, width = reader.sizes[inputs[0]]
    if (height, width) == (1, 1):
        return inputs[0]
    if height is None or width is None or getattr(layer, "data_format", "channels_last") != "channels_last":
        raise refuse(layer, f"flattens a map of {(height, width)} with the channels not last, or of unknown size")
    return reader.add(layer, "flatten", inputs, height * width * reader.channels[inputs[0]], (1, 1))


def _unary(function: Callable[[keras.KerasTensor], keras.KerasTensor]) -> type:
    """Returns the class of the operation that a function of `keras.ops` with one tensor adds to a model."""
    return operations_of(lambda tensor, _: function(tensor))


def _nothing(_: OperationList, __: keras.layers.Layer, inputs: list[str]) -> str:
    return inputs[0]


_layers = keras.layers
_SOFTMAX = (_layers.Softmax, _unary(_ops.softmax))
_RULES: dict[type, LayerRule] = {
    _layers.Conv2D: _conv,
    _layers.DepthwiseConv2D: _depthwise,
    _layers.Dense: _dense,
    _layers.BatchNormalization: _batch_norm,
    _layers.ReLU: rectifier,
    _layers.Activation: activation_of,
    **dict.fromkeys(_SOFTMAX, function_of("softmax")),
    _unary(_ops.relu): function_of("relu"),
    _unary(_ops.relu6): function_of("relu6"),
    _unary(_ops.hard_silu): function_of("hard_swish"),
    _unary(_ops.hard_sigmoid): function_of("hard_sigmoid"),
    _unary(_ops.sigmoid): function_of("sigmoid"),
    _layers.Add: _join("add"),
    operations_of(_ops.add): _join("add"),
    _layers.Multiply: _join("multiply"),
    operations_of(_ops.multiply): _join("multiply"),
    _layers.GlobalAveragePooling2D: _global_pool("pool"),
    _layers.GlobalMaxPooling2D: _global_pool("global_max_pool"),
    _layers.MaxPooling2D: _window_pool("max_pool"),
    _layers.AveragePooling2D: _window_pool("average_pool"),
    _layers.ZeroPadding2D: _zero_padding,
    **dict.fromkeys(_SHAPES_ONLY, _flatten),
    **dict.fromkeys(_NOTHING_IN_INFERENCE, _nothing),
    _layers.Identity: identity,
    _layers.Rescaling: rescaling,
    _layers.Normalization: normalization,
    **dict.fromkeys(TRAINING_ONLY, training_only),
    **dict.fromkeys(RESIZING, resizing),
}
"""A Keras layer's or operation's class to the operation that it is. Others are refused."""
