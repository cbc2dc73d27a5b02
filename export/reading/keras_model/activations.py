"""Activations of Keras layers: part of the operation before them, or a softmax of their own.

Functions are told apart by identity, never by name: a function that is called `softmax` may compute anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import keras
import tensorflow as tf

from mhmodels.block_types import Activation, Gate, Rectifier
from mhmodels.export.reading.keras_model.operation_list import LayerRule, OperationList, refuse

Fused: TypeAlias = Activation | Gate | Literal["softmax"]
"""An activation of an operation, or the softmax, which is an operation of its own."""

_activations, _ops = keras.activations, keras.ops
_ACTIVATIONS: tuple[tuple[Fused, tuple[Callable[..., tf.Tensor], ...]], ...] = (
    ("linear", (_activations.linear, tf.identity)),
    ("relu", (_activations.relu, _ops.relu, tf.nn.relu)),
    ("relu6", (_activations.relu6, _ops.relu6, tf.nn.relu6)),
    ("hard_swish", (_activations.hard_silu, _ops.hard_silu, _ops.hard_swish)),
    ("hard_sigmoid", (_activations.hard_sigmoid, _ops.hard_sigmoid)),
    ("sigmoid", (_activations.sigmoid, _ops.sigmoid, tf.nn.sigmoid)),
    ("softmax", (_activations.softmax, _ops.softmax, tf.nn.softmax)),
)
"""Operations' activations, and the functions that compute them."""


def rectifier(reader: OperationList, layer: keras.layers.Layer, inputs: list[str]) -> str:
    """Fuses a rectifier, which is a layer of its own or the activation of another layer."""
    limits: dict[float | None, Fused] = {None: "relu", 6.0: "relu6"}
    if layer.max_value not in limits or layer.negative_slope or layer.threshold:
        raise refuse(layer, f"max_value {layer.max_value}, negative_slope {layer.negative_slope}: only ReLU and ReLU6 exist")
    return fuse(reader, layer, inputs[0], limits[layer.max_value])


def activation_of(reader: OperationList, layer: keras.layers.Layer, inputs: list[str]) -> str:
    """Fuses the `activation` of a layer: a function of Keras, or a `ReLU` layer with limits of its own."""
    function = layer.activation
    if type(function) is keras.layers.ReLU:
        return rectifier(reader, function, inputs)
    for activation, functions in _ACTIVATIONS:
        if any(function is one for one in functions):
            return fuse(reader, layer, inputs[0], activation)
    name, known = getattr(function, "__name__", type(function).__name__), [activation for activation, _ in _ACTIVATIONS]
    alike = f"; a function of that name that is not Keras' own ({getattr(function, '__module__', '?')})" if name in known else ""
    raise refuse(layer, f"activation '{name}' has no operator{alike}; expected Keras' own {', '.join(known)}")


def function_of(activation: Fused) -> LayerRule:
    """Returns the rule for an activation that is a layer or operation of its own."""
    return lambda reader, layer, inputs: fuse(reader, layer, inputs[0], activation)


def fuse(reader: OperationList, layer: keras.layers.Layer, source: str, activation: Fused) -> str:
    """Makes an activation a part of the operation before it, or a softmax of its own."""
    if activation == "linear":
        return source
    if activation == "softmax":
        if reader.sizes[source] != (1, 1):
            raise refuse(layer, f"a softmax over a map of {reader.sizes[source]}, expected one over classes")
        if layer.name not in reader.ops:
            return reader.add(layer, "softmax", [source], reader.channels[source], (1, 1))
        renamed = keras.layers.Softmax(name=f"{layer.name}_softmax")  # the dense layer has its own name already
        return reader.add(renamed, "softmax", [source], reader.channels[source], (1, 1))
    op = reader.ops.get(source)
    weighted = op is not None and op.kind in ("conv", "depthwise")
    added = op is not None and op.kind == "add" and activation in get_args(Rectifier)
    if op is None or not (weighted or added) or op.activation != "linear":
        raise refuse(layer, f"activation '{activation}' stands behind no convolution, dense layer or addition that could do it")
    return reader.change(source, activation=activation)
