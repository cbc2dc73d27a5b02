"""Keras models in float32, whatever their dtype policy and keras.json say.

Files are compared with float32 references. A model in half precision would be the less exact of the two.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Float32Array

SINGLE = "float32"


@contextlib.contextmanager
def single_precision() -> Iterator[None]:
    """Makes new layers and tensors float32 with the channels last inside the block, whatever the process or keras.json says."""
    config = keras.config
    before = config.floatx(), config.dtype_policy(), config.image_data_format()
    try:
        config.set_floatx(SINGLE)
        config.set_dtype_policy(SINGLE)
        config.set_image_data_format("channels_last")
        yield
    finally:
        config.set_floatx(before[0])
        config.set_dtype_policy(before[1])
        config.set_image_data_format(before[2])


def is_quantised(layer: keras.layers.Layer) -> bool:
    """Returns whether Keras quantised a layer, whose kernel then holds integers and cannot be read."""
    policy = getattr(layer, "dtype_policy", None)
    return getattr(policy, "quantization_mode", None) is not None or getattr(layer, "quantization_mode", None) is not None


def in_float32(model: keras.Model) -> keras.Model:
    """Returns the model with all layers and weights in float32.

    Args:
        model: Functional or sequential. It is returned as it is where it is float32 already, or where Keras quantised a layer
            of it, which no other policy can compute.

    Raises:
        ExportError: It cannot be built again in float32.
    """
    layers = list(_layers(model))
    if any(map(is_quantised, layers)) or all(map(_is_single, layers)):
        return model
    custom = {type(layer).__name__: type(layer) for layer in layers}
    kind = keras.Sequential if isinstance(model, keras.Sequential) else keras.Model
    try:
        with single_precision(), keras.utils.custom_object_scope(custom):
            rebuilt = kind.from_config(_in_float32(model.get_config()))
            rebuilt.set_weights([np.asarray(keras.ops.convert_to_numpy(value), np.float32) for value in model.weights])
            for layer in _layers(rebuilt):
                if isinstance(layer, keras.layers.Normalization):
                    layer.finalize_state()  # what it computes with follows from its weights
    except Exception as error:  # Keras raises whatever a layer's configuration meets
        policies = sorted({_policy(layer) for layer in layers if not _is_single(layer)})
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ExportError(
            f"model '{model.name}': layers compute in {', '.join(policies)}, and it cannot be built again in float32 ({reason}); "
            "build it with dtype policy 'float32' and give it the same weights"
        ) from error
    return rebuilt


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in getattr(model, "layers", ()):
        yield layer
        yield from _layers(layer)


def _policy(layer: keras.layers.Layer) -> str:
    policy = getattr(layer, "dtype_policy", None)
    return str(getattr(policy, "name", None) or getattr(layer, "dtype", SINGLE) or SINGLE)


def _is_single(layer: keras.layers.Layer) -> bool:
    if isinstance(layer, keras.layers.InputLayer):
        return bool(layer.dtype == SINGLE)
    return _policy(layer) == SINGLE or isinstance(layer, keras.Model)


def _in_float32(node: object) -> object:
    """Returns a configuration with float32 in place of every other real type and of the type of the input."""
    if isinstance(node, (list, tuple)):
        return type(node)(_in_float32(entry) for entry in node)
    if not isinstance(node, dict):
        return node
    changed: dict[str, Any] = {
        key: SINGLE if key == "dtype" and _is_real(value) else _in_float32(value) for key, value in node.items()
    }
    if changed.get("class_name") == "InputLayer":
        changed["config"] = {**changed["config"], "dtype": SINGLE}
    return changed


def _is_real(value: object) -> bool:
    name = value.get("config", {}).get("name") if isinstance(value, dict) else value
    return isinstance(name, str) and name.startswith(("float", "bfloat", "mixed"))


def keras_outputs(model: keras.Model, images: Float32Array) -> list[Float32Array]:
    """Calls a Keras model, and returns one array an output."""
    with single_precision():
        return [np.asarray(output, np.float32) for output in keras.tree.flatten(model(images, training=False))]
