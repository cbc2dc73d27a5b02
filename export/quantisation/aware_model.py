"""What a quantisation-aware model holds: its float network, its graph, and the ranges that it learned."""

from __future__ import annotations

import os
from typing import Unpack

import keras
import numpy as np

from mhmodels.builder import keras_name
from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Float32Array, Graph, Range, fold_layers
from mhmodels.export.quantisation.aware_assembly import Assembly, AwareLayers, AwareRecord
from mhmodels.export.quantisation.aware_layers import EMA, FoldedConvolution, Quantise, QuantisedImage, nudged
from mhmodels.export.quantisation.scheme import calibrated_tensors
from mhmodels.network import IMAGE, LOGITS, lower
from mhmodels.weights.info import Learned, WeightsInfo
from mhmodels.weights.writing import WeightsDescription, write_weights


def is_aware(model: keras.Model) -> bool:
    """Returns whether `quantize_aware` made a model."""
    return any(isinstance(layer, QuantisedImage) for layer in model.layers)


def float_twin(model: keras.Model) -> tuple[keras.Model, dict[str, keras.KerasTensor]]:
    """Returns the float network in a quantisation-aware model, as a model that shares its variables and rounds nothing.

    Returns:
        A model from what the file takes to the scores, and its Keras tensors by the names of the operations.
    """
    made = made_as(model)
    image = keras.Input((*made.architecture.input_size, made.architecture.input_channels), name=IMAGE)
    twin = Assembly(image, made, AwareLayers(_float_layers(model), {}, {}), 0, EMA, rounded=False)
    output = twin.output()
    return keras.Model(image, output, name=keras_name(made.architecture.name)), twin.tensors


def made_as(model: keras.Model) -> AwareRecord:
    """Returns the record of a quantisation-aware model, also of one that was saved and loaded.

    Raises:
        ExportError: It is none.
    """
    image = next((layer for layer in model.layers if isinstance(layer, QuantisedImage)), None)
    if image is None:
        raise ExportError(f"model '{model.name}' is not quantisation-aware: make one with quantize_aware(model)")
    return AwareRecord.from_record(image.record, f"model '{model.name}'")


def aware_graph(model: keras.Model) -> tuple[Graph, dict[str, Range]]:
    """Returns what the writer needs of a quantisation-aware model: its graph and its ranges.

    `quantise(graph, ranges, made_as(model).format, made_as(model).granularity)` fixes the integers that the model rounds to.

    Raises:
        ExportError: Not quantisation-aware, weights that are not finite, or a tensor whose range was never set or collapsed.
    """
    made = made_as(model)
    endpoints = () if made.own else lower(made.architecture).endpoints
    graph = fold_layers(model.name, _float_layers(model), made.architecture, made.ops, endpoints)
    ranges = {layer.tensor: _learned_range(layer) for layer in learning_layers(model)}
    missing = [name for name in calibrated_tensors(graph) if name not in ranges]
    if missing:
        raise ExportError(f"model '{model.name}' has no range for tensor '{missing[0]}': it was not made by quantize_aware")
    return graph, ranges


def learned(model: keras.Model) -> Learned:
    """Returns the ranges of a quantisation-aware model as a weights file carries them."""
    made, (_, ranges) = made_as(model), aware_graph(model)
    steps = max((int(_values(layer.steps)) for layer in _folded(model) if layer.norm is not None), default=0)
    return Learned(format=made.format, granularity=made.granularity, steps=steps, ranges=ranges)


def save_aware(model: keras.Model, path: str | os.PathLike[str], **description: Unpack[WeightsDescription]) -> WeightsInfo:
    """Writes the float weights and the learned ranges of a quantisation-aware model into one weights file.

    The file loads like any other (`create_model(weights=…)`); `mhmodels export` finds the ranges in it.

    Args:
        model: Trained model of `quantize_aware`.
        path: Path that ends with `.weights.h5`.
        description: `labels`, `source`, `licence`, `accuracy` and `step`, as in `mhmodels.weights.save_weights`.

    Raises:
        ExportError: The model is not quantisation-aware, has no learned ranges, or has a head of the user's own.
        WeightsError: The weights are not finite; the file cannot be written.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from mhmodels import create_model
        >>> from mhmodels.export import quantize_aware, save_aware
        >>> aware = quantize_aware(create_model("mobilenet_v1@0.25", input_shape=(32, 32, 3), classes=4))
        >>> _ = aware(np.random.default_rng(0).normal(size=(8, 32, 32, 3)), training=True)  # a step sets the ranges
        >>> info = save_aware(aware, Path(tempfile.mkdtemp(), "aware.weights.h5"))
        >>> info.learned.format
        'int8'
    """
    if made_as(model).own:
        raise ExportError(
            f"model '{model.name}' has a head of its own, and a weights file holds a network of the zoo: save the model, "
            "model.save('NAME.keras'), and export that file"
        )
    arrays: dict[tuple[str, str], Float32Array] = {}
    for layer in _folded(model):
        arrays[layer.name, "kernel"] = _values(layer.convolution.kernel)
        if layer.convolution.use_bias:
            arrays[layer.name, "bias"] = _values(layer.convolution.bias)
        if layer.norm is not None:
            for role in ("gamma", "beta", "moving_mean", "moving_variance"):
                arrays[layer.norm.name, role] = _values(getattr(layer.norm, role))
    return write_weights(path, made_as(model).architecture, arrays, learned=learned(model), **description)


def _values(variable: keras.Variable) -> Float32Array:
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float32)


def _float_layers(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Returns the float layers of a model by operation name; `NAME_bn` is the batch normalisation of NAME."""
    layers = {folded.name: folded.convolution for folded in _folded(model)}
    return layers | {f"{folded.name}_bn": folded.norm for folded in _folded(model) if folded.norm is not None}


def _folded(model: keras.Model) -> list[FoldedConvolution]:
    return [layer for layer in model.layers if isinstance(layer, FoldedConvolution)]


def block_outputs(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """Returns the feature maps of a quantisation-aware model that a distillation compares, by operation.

    These are the sums of residual connections and the convolutions without activation, which end the blocks of a network.
    """
    kinds = ("conv", "add")
    names = [op.name for op in made_as(model).ops if op.kind in kinds and op.activation == "linear" and op.name != LOGITS]
    return {name: model.get_layer(f"{name}_range").output for name in names}


def hold_kernels(model: keras.Model) -> keras.Model:
    """Excludes the kernels of a quantisation-aware model from training, and returns the model.

    A distillation learns biases and batch normalisation, which compensate the rounding errors of the kernels. Kernels that move
    are rounded anew in each step, which costs more than a distillation of some hundred pictures wins.
    """
    for layer in _folded(model):
        layer.convolution.kernel.trainable = False
    return model


def step_sizes(model: keras.Model) -> dict[str, Float32Array]:
    """Returns the natural step of each bias and batch normalisation of a quantisation-aware model, by the path of the variable.

    A variable that is added to a tensor (bias, beta) has the span of the range of this tensor, and a factor (gamma) has its own
    magnitude.
    """
    spans = {layer.tensor: np.ptp(_values(layer.range)) for layer in learning_layers(model)}
    sizes: dict[str, Float32Array] = {}
    for layer in _folded(model):
        span = np.asarray(spans.get(f"{layer.name}/pre", spans.get(layer.name, 1.0)), np.float32)
        if layer.convolution.use_bias:
            sizes[layer.convolution.bias.path] = span
        if layer.norm is not None and layer.norm.beta is not None:
            sizes[layer.norm.beta.path] = span
        if layer.norm is not None and layer.norm.gamma is not None:
            sizes[layer.norm.gamma.path] = np.abs(_values(layer.norm.gamma))
    return sizes


def learning_layers(model: keras.Model) -> list[Quantise]:
    return [layer for layer in model.layers if isinstance(layer, Quantise) and layer.fixed is None]


def _learned_range(layer: Quantise) -> Range:
    if float(_values(layer.seen)) == 0:
        raise ExportError(f"tensor '{layer.tensor}' has no range yet: train the model, or give quantize_aware calibrated ranges")
    low, high = (float(value) for value in _values(layer.range))
    if not np.isfinite([low, high]).all() or max(high, 0.0) <= min(low, 0.0):
        raise ExportError(
            f"tensor '{layer.tensor}': its learned range is {low:g} to {high:g}, so that nothing passes through it any more; "
            "a lower learning rate or an earlier checkpoint may help"
        )
    # The grid's own ends: computed in float32, where training rounded, so that the zero point cannot fall elsewhere.
    ends = nudged(np.float32(low), np.float32(high))
    return float(ends[0]), float(ends[1])
