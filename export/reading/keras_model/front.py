"""Rules for the layers between the pictures of a Keras model and its first operation.

Layers that scale and shift every channel by itself (`Rescaling`, `Normalization`, arithmetic with constants) become a part of
the file's preprocessing: a convolution that pads with zeros pads behind them, so that they cannot go into its weights, but
(pixel - mean) / std does exactly what they do. Layers that change pictures in training only are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import keras
import numpy as np

from mhmodels.export.errors import ExportError
from mhmodels.export.reading.keras_model.operation_list import Float64Array, OperationList
from mhmodels.network import IMAGE


def classes_of(names: tuple[str, ...]) -> tuple[type, ...]:
    """Returns layer classes of Keras by name, as far as this version of Keras has them."""
    return tuple(getattr(keras.layers, name) for name in names if hasattr(keras.layers, name))


TRAINING_ONLY = classes_of((
    "AugMix", "CutMix", "MixUp", "RandAugment", "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter",
    "RandomContrast", "RandomElasticTransform", "RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomGrayscale",
    "RandomHue", "RandomInvert", "RandomPerspective", "RandomPosterization", "RandomRotation", "RandomSaturation",
    "RandomSharpness", "RandomShear", "RandomTranslation", "RandomZoom",
))  # fmt: skip
"""Augmentation: these layers give back their input in inference."""

RESIZING = classes_of(("Resizing", "CenterCrop", "RandomCrop"))
"""Layers that give pictures of their own `height` and `width`, in inference too."""


def identity(reader: OperationList, layer: keras.layers.Layer, inputs: list[str]) -> str:
    """Drops a layer that does nothing; its name may state the preprocessing."""
    if inputs[0] == IMAGE:
        reader.front.state(str(layer.name))
    return inputs[0]


def training_only(reader: OperationList, layer: keras.layers.Layer, inputs: list[str]) -> str:
    """Drops a layer of augmentation."""
    reader.front.dropped.append(f"'{layer.name}' ({type(layer).__name__})")
    return inputs[0]


def resizing(reader: OperationList, layer: keras.layers.Layer, inputs: list[str]) -> str:
    """Drops a layer that resizes pictures, if they have its size already."""
    size = reader.sizes[inputs[0]]
    if size == (layer.height, layer.width):
        return inputs[0]
    raise ExportError(
        f"layer '{layer.name}' ({type(layer).__name__}): makes {layer.height}x{layer.width} pixels of {size[0]}x{size[1]}, which "
        f"no operation does; a file takes pictures of one size: build the model on {layer.height}x{layer.width} pixels without "
        f"this layer, or give argument 'input_size=({layer.height}, {layer.width})' if it takes any size"
    )


def rescaling(reader: OperationList, layer: keras.layers.Layer, inputs: list[str]) -> str:
    """Adds `scale` * x + `offset`, each one number or one a channel."""
    return affine(reader, layer, inputs, layer.scale, layer.offset)


def normalization(reader: OperationList, layer: keras.layers.Layer, inputs: list[str]) -> str:
    """Adds (x - mean) / sqrt(variance), or its inverse."""
    mean, variance = (_channels(reader, layer, value, inputs) for value in (layer.mean, layer.variance))
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    if layer.invert:
        return affine(reader, layer, inputs, deviation, mean)
    return affine(reader, layer, inputs, 1.0 / deviation, -mean / deviation)


def arithmetic(reader: OperationList, operation: keras.Operation, inputs: list[str], arguments: tuple[object, ...]) -> str:
    """Adds arithmetic of a tensor and a constant, as in `x / 127.5 - 1` and in `preprocess_input` of `keras.applications`."""
    first = isinstance(arguments[0], keras.KerasTensor)
    constant = _channels(reader, operation, arguments[1 if first else 0], inputs)
    scale, offset = _ARITHMETIC[type(operation)](constant, first)
    if scale is None:
        raise ExportError(f"operation '{operation.name}' ({type(operation).__name__}): a constant divided by a picture or map")
    return affine(reader, operation, inputs, scale, offset)


def affine(
    reader: OperationList, layer: keras.layers.Layer, inputs: list[str], scale: float | Float64Array, offset: float | Float64Array
) -> str:
    """Makes `scale` * x + `offset` a part of the preprocessing, or else a 1x1 depthwise convolution."""
    source = inputs[0]
    scale, offset = (_channels(reader, layer, value, inputs) for value in (scale, offset))
    if not (np.isfinite(scale).all() and np.isfinite(offset).all()) or (scale == 0).any():
        raise ExportError(
            f"layer '{layer.name}' ({type(layer).__name__}): scales by {scale.tolist()[:4]} and adds {offset.tolist()[:4]}, "
            "expected finite numbers and no scale of 0"
        )
    if reader.is_first(source) and (scale > 0).all():
        reader.front.fold(str(layer.name), scale, offset)
        reader.renew()
        return source
    channels = reader.channels[source]
    name = reader.add(layer, "depthwise", inputs, channels, reader.sizes[source], groups=channels, bias=True)
    reader.layers[name] = SimpleNamespace(kernel=scale.astype(np.float32).reshape(1, 1, -1, 1), bias=offset.astype(np.float32))
    return name


def _channels(reader: OperationList, layer: keras.layers.Layer, value: object, inputs: list[str]) -> Float64Array:
    """Returns one number a channel, from one number for all or from an array of channels."""
    channels = reader.channels[inputs[0]]
    if isinstance(value, (str, bytes)) or value is None:
        raise ExportError(f"layer '{layer.name}' ({type(layer).__name__}): has {value!r} where numbers are expected")
    array = np.asarray(keras.ops.convert_to_numpy(value), np.float64)
    if array.size != 1 and (array.size != channels or array.shape[-1] != channels):
        raise ExportError(
            f"layer '{layer.name}' ({type(layer).__name__}): works with an array of {array.shape}, expected one number, "
            f"or one for each of {channels} channels"
        )
    return np.broadcast_to(array.ravel(), (channels,))


def operations_of(function: Callable[[keras.KerasTensor, keras.KerasTensor], keras.KerasTensor]) -> type:
    """Returns the class of the operation that a function of `keras.ops` adds to a model."""
    tensor = keras.KerasTensor((1, 2, 2, 2))
    return type(function(tensor, tensor)._keras_history.operation)


def _quotient(constant: Float64Array, first: bool) -> tuple[Float64Array | None, Float64Array]:
    with np.errstate(divide="ignore"):
        return (1.0 / constant, 0.0 * constant) if first else (None, constant)


_ARITHMETIC: dict[type, Callable[[Float64Array, bool], tuple[Float64Array | None, Float64Array]]] = {
    operations_of(keras.ops.add): lambda constant, _: (np.ones_like(constant), constant),
    operations_of(keras.ops.multiply): lambda constant, _: (constant, np.zeros_like(constant)),
    operations_of(keras.ops.subtract): lambda constant, first: (
        (np.ones_like(constant), -constant) if first else (-np.ones_like(constant), constant)
    ),
    operations_of(keras.ops.divide): _quotient,
    operations_of(keras.ops.true_divide): _quotient,
}
"""An operation to (scale, offset) of a tensor and a constant, of which the tensor may stand first."""

ARITHMETIC = tuple(_ARITHMETIC)
