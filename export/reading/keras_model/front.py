"""What stands in a Keras model between its pictures and its first operation.

Layers that scale and shift every channel by itself (`Rescaling`, `Normalization`, arithmetic with constants) become a part of
the file's preprocessing: a convolution that pads with zeros pads behind them, so that they cannot go into its weights, but
(pixel - mean) / std does exactly what they do. Layers that change pictures in training only are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from mhmodels.architecture import Preprocessing
from mhmodels.export.errors import ExportError
from mhmodels.network import IMAGE
from mhmodels.preprocessing.layer import stated_rule

Float64Array = NDArray[np.float64]
Size = tuple[int | None, int | None]


def classes_of(names: tuple[str, ...]) -> tuple[type, ...]:
    """Keras' layer classes by name, as far as this version of Keras has them."""
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


class StatingLayer(NamedTuple):
    """A layer that states the preprocessing of what reaches it, which is `scale` * input + `offset` there."""

    layer: str
    rule: Preprocessing
    scale: Float64Array
    offset: Float64Array


class Front:
    """How the first operation's input follows from the model's: `scale` * input + `offset`, channel by channel.

    Attributes:
        folded: layers that this is made of.
        dropped: layers that change pictures in training only.
        stated: what layers state of the preprocessing on the way.
    """

    def __init__(self, channels: int) -> None:
        self.scale: Float64Array = np.ones(channels)
        self.offset: Float64Array = np.zeros(channels)
        self.folded: list[str] = []
        self.dropped: list[str] = []
        self.stated: list[StatingLayer] = []

    @property
    def changes(self) -> bool:
        """Whether the two differ."""
        return bool(self.folded)

    def fold(self, name: str, scale: Float64Array, offset: Float64Array) -> None:
        """Adds a layer that scales and shifts what is there so far."""
        self.scale, self.offset = self.scale * scale, self.offset * scale + offset
        self.folded.append(name)

    def state(self, name: str) -> None:
        """Notes what a layer's name states, if it states anything."""
        rule = stated_rule(name)
        if rule is not None:
            self.stated.append(StatingLayer(name, rule, self.scale, self.offset))

    def model_input(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the Keras model takes, from what the file takes."""
        if not self.changes:
            return images
        return ((images - self.offset) / self.scale).astype(np.float32)


class Entrance(Protocol):
    """The growing operation list, as far as layers in front of it need it; see `layers.OperationList`."""

    front: Front
    layers: dict[str, Any]
    sizes: dict[str, Size]
    channels: dict[str, int]

    def is_first(self, name: str) -> bool:
        """Whether a value is the picture, and no operation has read it so far."""

    def renew(self) -> None:
        """Makes the picture another one: what stood for it before may not be read any more."""

    def add(self, layer: Any, kind: Any, inputs: list[str], channels: int, size: Size, **more: Any) -> str:
        """Adds an operation under a layer's name, which it returns."""


def identity(reader: Entrance, layer: Any, inputs: list[str]) -> str:
    """A layer that does nothing; its name may state the preprocessing."""
    if inputs[0] == IMAGE:
        reader.front.state(str(layer.name))
    return inputs[0]


def training_only(reader: Entrance, layer: Any, inputs: list[str]) -> str:
    """A layer of augmentation, which is left out."""
    reader.front.dropped.append(f"'{layer.name}' ({type(layer).__name__})")
    return inputs[0]


def resizing(reader: Entrance, layer: Any, inputs: list[str]) -> str:
    """A layer that gives pictures of one size, which is left out where they have it already."""
    size = reader.sizes[inputs[0]]
    if size == (layer.height, layer.width):
        return inputs[0]
    raise ExportError(
        f"layer '{layer.name}' ({type(layer).__name__}): makes {layer.height}x{layer.width} pixels of {size[0]}x{size[1]}, which "
        f"no operation does; a file takes pictures of one size: build the model on {layer.height}x{layer.width} pixels without "
        f"this layer, or give --input-size {layer.height}x{layer.width} if it takes any size"
    )


def rescaling(reader: Entrance, layer: Any, inputs: list[str]) -> str:
    """`scale` * x + `offset`, both one number or one a channel."""
    return affine(reader, layer, inputs, layer.scale, layer.offset)


def normalization(reader: Entrance, layer: Any, inputs: list[str]) -> str:
    """(x - mean) / sqrt(variance), or its inverse."""
    mean, variance = (_channels(reader, layer, value, inputs) for value in (layer.mean, layer.variance))
    deviation = np.maximum(np.sqrt(variance), keras.config.epsilon())
    if layer.invert:
        return affine(reader, layer, inputs, deviation, mean)
    return affine(reader, layer, inputs, 1.0 / deviation, -mean / deviation)


def arithmetic(reader: Entrance, operation: Any, inputs: list[str], arguments: tuple[Any, ...]) -> str:
    """A tensor and a constant, as `x / 127.5 - 1` and `keras.applications`' `preprocess_input` have it."""
    first = isinstance(arguments[0], keras.KerasTensor)
    constant = _channels(reader, operation, arguments[1 if first else 0], inputs)
    scale, offset = _ARITHMETIC[type(operation)](constant, first)
    if scale is None:
        raise ExportError(f"operation '{operation.name}' ({type(operation).__name__}): a constant divided by a picture or map")
    return affine(reader, operation, inputs, scale, offset)


def affine(reader: Entrance, layer: Any, inputs: list[str], scale: Any, offset: Any) -> str:
    """`scale` * x + `offset` channel by channel: a part of the preprocessing, or else a 1x1 depthwise convolution."""
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


def _channels(reader: Entrance, layer: Any, value: Any, inputs: list[str]) -> Float64Array:
    """One number a channel, of one for all or of an array that has only channels."""
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


def operations_of(function: Any) -> type:
    """The class of what a function of `keras.ops` adds to a model."""
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
