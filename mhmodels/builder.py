"""Builds a Keras model from an architecture, by interpreting the operations of `mhmodels.network`.

The builder works with the TensorFlow, JAX and torch backends: it uses only layers of Keras 3 and no custom objects, so that a
saved `.keras` file loads anywhere. Layers are named after their operations; batch normalisation and activation add `_bn` and
`_act`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Sequence

import keras

from mhmodels.architecture import Architecture, check_input_size, check_width_multiplier
from mhmodels.complexity import check_size
from mhmodels.errors import ArchitectureError
from mhmodels.network import IMAGE, LOGITS, Network, Op, lower, select_endpoints
from mhmodels.preprocessing.layer import layer_name
from mhmodels.registry import resolve
from mhmodels.weights.loading import ATTRIBUTE, load_weights
from mhmodels.weights.stated import weighted_network

BATCH_NORM_MOMENTUM = 0.99

ACTIVATIONS: dict[str, Callable[[str], keras.layers.Layer]] = {
    "relu": lambda name: keras.layers.ReLU(name=name),
    "relu6": lambda name: keras.layers.ReLU(max_value=6.0, name=name),
    "hard_swish": lambda name: keras.layers.Activation("hard_silu", name=name),
    "hard_sigmoid": lambda name: keras.layers.Activation("hard_sigmoid", name=name),
    "sigmoid": lambda name: keras.layers.Activation("sigmoid", name=name),
}


def create_model(
    model: str | Architecture,
    *,
    input_shape: Sequence[int | None] | None = None,
    include_top: bool = True,
    weights: str | os.PathLike[str] | None = None,
    input_tensor: keras.KerasTensor | None = None,
    pooling: str | None = None,
    classes: int | None = None,
    classifier_activation: str | None = "softmax",
    name: str | None = None,
    width_multiplier: float | None = None,
    dropout: float = 0.2,
    features: bool = False,
    out_strides: Collection[int] | None = None,
    output_stride: int | None = None,
) -> keras.Model:
    """Builds a Keras model; arguments, result, errors and an example as in `mhmodels.create_model`."""
    architecture = resolve(model) if isinstance(model, str) else model
    if width_multiplier is not None:
        architecture = architecture.at(width_multiplier=check_width_multiplier(width_multiplier))
    _check_options(pooling, dropout, features, out_strides)
    if weights is not None and isinstance(model, str) and input_tensor is None:
        # Before anything is built: what the weights state, and whether it is what was asked for.
        asked = {"classes": classes, "input_channels": None if input_shape is None else tuple(input_shape)[-1]}
        architecture = weighted_network(architecture, weights, asked, top=include_top and not features).architecture
    image, size, channels = _input(architecture, input_shape, input_tensor)
    architecture = architecture.at(input_channels=channels, classes=classes)

    network = check_size(lower(architecture, size=size, output_stride=output_stride, top=include_top and not features))
    maps = [endpoint.layer for endpoint in select_endpoints(network, out_strides)] if features else []
    # Does nothing: its name carries the rule into every file and model that the network becomes a part of.
    prepared = keras.layers.Identity(name=layer_name(architecture.preprocessing))(image)
    tensors = _tensors(network, prepared, maps, dropout, classifier_activation)
    if features:
        output = [tensors[layer] for layer in maps]
    else:
        output = _pooled(tensors[network.ops[-1].name], None if include_top else pooling)
    source = image if input_tensor is None else keras.utils.get_source_inputs(image)
    built = keras.Model(source, output, name=name or keras_name(architecture.name))
    setattr(built, ATTRIBUTE, architecture)
    if weights is not None:
        load_weights(built, weights, architecture)
    return built


def _tensors(
    network: Network, image: keras.KerasTensor, maps: Collection[str], dropout: float, classifier_activation: str | None
) -> dict[str, keras.KerasTensor]:
    """Returns the output of every operation by its name; with `maps`, nothing is built after the last of them."""
    tensors = {IMAGE: image}
    for op in network.ops:
        if maps and tensors.keys() >= set(maps):
            break
        if op.name == LOGITS and dropout:
            tensors[op.inputs[0]] = keras.layers.Dropout(dropout, name="dropout")(tensors[op.inputs[0]])
        if op.kind == "softmax":
            tensors[op.name] = _classifier_activation(classifier_activation, op.name)(tensors[op.inputs[0]])
        else:
            tensors[op.name] = apply_op(op, [tensors[source] for source in op.inputs], network.architecture)
    return tensors


def keras_name(name: str) -> str:
    """Returns a name without slashes and dots, which Keras and some of its tools do not allow in model names."""
    return "".join(c if c.isalnum() or c in "_-" else "_" for c in name)


def apply_op(op: Op, inputs: list[keras.KerasTensor], architecture: Architecture) -> keras.KerasTensor:
    """Adds the Keras layers of one operation to their inputs and returns the output tensor."""
    x = op_layer(op)(inputs if len(inputs) > 1 else inputs[0])
    if op.batch_norm:
        x = keras.layers.BatchNormalization(
            momentum=BATCH_NORM_MOMENTUM, epsilon=architecture.batch_norm_epsilon, name=f"{op.name}_bn"
        )(x)
    return x if op.activation == "linear" else ACTIVATIONS[op.activation](f"{op.name}_act")(x)


def op_layer(op: Op) -> keras.layers.Layer:
    """Returns the layer that is named after an operation."""
    if op.kind == "conv" or op.kind == "depthwise":
        return _convolution(op)
    if op.kind == "add":
        return keras.layers.Add(name=op.name)
    if op.kind == "multiply":
        return keras.layers.Multiply(name=op.name)
    if op.kind == "pool":
        return keras.layers.GlobalAveragePooling2D(keepdims=True, data_format="channels_last", name=op.name)
    if op.kind == "max_pool" or op.kind == "average_pool":
        pooling = keras.layers.MaxPooling2D if op.kind == "max_pool" else keras.layers.AveragePooling2D
        return pooling(op.kernel, op.stride, padding=op.padding, data_format="channels_last", name=op.name)
    if op.kind == "pad":
        top, bottom, left, right = op.pads
        return keras.layers.ZeroPadding2D(((top, bottom), (left, right)), data_format="channels_last", name=op.name)
    if op.kind == "reshape":
        return keras.layers.Reshape((op.channels,), name=op.name)
    raise ValueError(f"{op.name}: no Keras layer for operation kind '{op.kind}'")


def _convolution(op: Op) -> keras.layers.Layer:
    shared = {
        "strides": op.stride,
        "padding": op.padding,
        "data_format": "channels_last",
        "dilation_rate": op.dilation,
        "use_bias": op.bias,
        "name": op.name,
    }
    if op.kind == "depthwise":
        # He-normal by hand: Keras takes a depthwise kernel's fan-in for kernel * kernel * channels.
        init = keras.initializers.TruncatedNormal(stddev=math.sqrt(2.0) / op.kernel)
        return keras.layers.DepthwiseConv2D(op.kernel, depthwise_initializer=init, **shared)
    classifier = op.name == LOGITS
    init = keras.initializers.RandomNormal(stddev=0.01) if classifier else keras.initializers.HeNormal()
    return keras.layers.Conv2D(op.channels, op.kernel, groups=op.groups, kernel_initializer=init, **shared)


def _classifier_activation(activation: str | None, name: str) -> keras.layers.Layer:
    """Returns the last layer, which computes in float32 under mixed precision, and in float64 where everything does."""
    dtype = "float64" if keras.config.dtype_policy().compute_dtype == "float64" else "float32"
    return keras.layers.Activation(activation or "linear", name=name, dtype=dtype)


def _check_options(pooling: str | None, dropout: float, features: bool, out_strides: Collection[int] | None) -> None:
    if pooling not in (None, "avg", "max"):
        raise ArchitectureError(f"pooling is {pooling!r}, expected None, 'avg' or 'max'")
    if not 0 <= dropout < 1:
        raise ArchitectureError(f"dropout is {dropout!r}, expected a number from 0 up to but not 1")
    if features and pooling is not None:
        raise ArchitectureError(f"pooling is {pooling!r} and features is True: expected one of them")
    if out_strides is not None and not features:
        raise ArchitectureError("out_strides is given without features=True, expected both or none")


def _pooled(features: keras.KerasTensor, pooling: str | None) -> keras.KerasTensor:
    if pooling == "avg":
        return keras.layers.GlobalAveragePooling2D(data_format="channels_last", name="avg_pool")(features)
    if pooling == "max":
        return keras.layers.GlobalMaxPooling2D(data_format="channels_last", name="max_pool")(features)
    return features


def _input(
    architecture: Architecture, input_shape: Sequence[int | None] | None, input_tensor: keras.KerasTensor | None
) -> tuple[keras.KerasTensor, tuple[int | None, int | None], int]:
    """Returns the input tensor, its (height, width) and its number of channels."""
    shape = input_shape
    if input_tensor is not None:
        if not keras.backend.is_keras_tensor(input_tensor) or len(input_tensor.shape) != 4:
            raise ArchitectureError(f"input_tensor is {input_tensor!r}, expected a Keras tensor (batch, height, width, channels)")
        shape = tuple(input_tensor.shape[1:])
        if input_shape is not None and tuple(input_shape) != shape:
            raise ArchitectureError(f"input_shape is {tuple(input_shape)}, but input_tensor has {shape}")
    if shape is None:
        shape = (*architecture.input_size, architecture.input_channels)
    if len(shape) != 3:
        raise ArchitectureError(f"input_shape is {tuple(shape)}, expected (height, width, channels)")
    height, width, channels = shape
    for side in (height, width):
        if side is not None:
            check_input_size(side)
    if channels is None:
        raise ArchitectureError(f"input_shape is {tuple(shape)}, expected a known number of channels")
    image = keras.Input((height, width, channels), name=IMAGE) if input_tensor is None else input_tensor
    return image, (height, width), channels


__all__ = ["Network", "apply_op", "create_model", "load_weights", "op_layer"]
