"""The list of operations that a Keras model is read into, and what stands before its first operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias, TypedDict, Unpack

import keras
import numpy as np
from numpy.typing import NDArray

from mhmodels.architecture import Preprocessing
from mhmodels.block_types import Activation, Gate
from mhmodels.blocks import OperationKind
from mhmodels.export.errors import ExportError
from mhmodels.network import Op, WindowPadding
from mhmodels.preprocessing.layer import stated_rule

Float64Array: TypeAlias = NDArray[np.float64]
Size: TypeAlias = tuple[int | None, int | None]
"""(height, width) in pixels, as far as they are known."""


class StatingLayer(NamedTuple):
    """A layer that states the preprocessing of what reaches it, which is `scale` * input + `offset` there."""

    layer: str
    rule: Preprocessing
    scale: Float64Array
    offset: Float64Array


class Front:
    """The way from the input of a model to that of its first operation: `scale` * input + `offset`, channel by channel.

    Attributes:
        folded: Layers that this is made of.
        dropped: Layers that change pictures in training only.
        stated: What layers state of the preprocessing on the way.
    """

    def __init__(self, channels: int) -> None:
        self.scale: Float64Array = np.ones(channels)
        self.offset: Float64Array = np.zeros(channels)
        self.folded: list[str] = []
        self.dropped: list[str] = []
        self.stated: list[StatingLayer] = []

    @property
    def changes(self) -> bool:
        """Whether the two inputs differ."""
        return bool(self.folded)

    def fold(self, name: str, scale: Float64Array, offset: Float64Array) -> None:
        """Adds a layer that scales and shifts the values so far."""
        self.scale, self.offset = self.scale * scale, self.offset * scale + offset
        self.folded.append(name)

    def state(self, name: str) -> None:
        """Notes the preprocessing that the name of a layer states, if it states one."""
        rule = stated_rule(name)
        if rule is not None:
            self.stated.append(StatingLayer(name, rule, self.scale, self.offset))

    def model_input(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns the input of the Keras model for an input of the file."""
        if not self.changes:
            return images
        return ((images - self.offset) / self.scale).astype(np.float32)


class OpFields(TypedDict, total=False):
    """Fields of an `Op` besides name, kind, inputs, channels and size."""

    kernel: int
    stride: int
    dilation: int
    groups: int
    bias: bool
    batch_norm: bool
    activation: Activation | Gate
    padding: WindowPadding
    pads: tuple[int, int, int, int]


class OperationList(Protocol):
    """The list that rules add operations to.

    Attributes:
        ops: By name, in execution order.
        layers: Keras layers with weights, by operation name; `NAME_bn` for its batch normalisation.
        sizes: (height, width) of each operation's output.
        channels: Of each operation's output.
        front: What stands before the first operation.
    """

    front: Front
    ops: dict[str, Op]
    layers: dict[str, keras.layers.Layer]
    sizes: dict[str, Size]
    channels: dict[str, int]

    def add(
        self,
        layer: keras.layers.Layer,
        kind: OperationKind,
        inputs: list[str],
        channels: int,
        size: Size,
        **more: Unpack[OpFields],
    ) -> str:
        """Adds an operation under a layer's name, which it returns."""

    def change(self, name: str, **fields: Unpack[OpFields]) -> str:
        """Fuses something into an operation, whose name it returns."""

    def is_first(self, name: str) -> bool:
        """Returns whether a value is the picture and no operation has read it yet."""

    def renew(self) -> None:
        """Marks the picture as changed, so that tensors that stood for it before may not be read any more."""


LayerRule: TypeAlias = Callable[[OperationList, keras.layers.Layer, list[str]], str]
"""Adds the operation of a layer that reads these operations to a list, or fuses it into the last one; returns the operation whose
output is that of the layer."""


def refuse(layer: keras.layers.Layer, what: str) -> ExportError:
    """Returns the error that a layer has no operation; the message names the layer and its class."""
    return ExportError(f"layer '{layer.name}' ({type(layer).__name__}): {what}")
