"""Quantisation-aware training for Keras 3: from a trained float model to one that learns with the file's roundings in it.

`quantize_aware` interprets the same operation list as the builder and the writer, so it knows no families. What it
returns trains like any Keras model; `aware_graph` then gives exactly what the writer needs, and `save_aware` writes a
weights file that carries the learned ranges, from which `mhmodels export` works without calibration pictures.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import keras
import msgspec
import numpy as np

from export.graph import ExportError, Floats, Graph, fold
from export.quantisation.aware_layers import FoldedConvolution, Grid, Quantise, QuantisedImage, nudged
from export.quantisation.calibration import calibrate
from export.quantisation.scheme import (
    SHARING,
    Granularity,
    QuantisedFormat,
    Range,
    calibrated_tensors,
    check_granularity,
    fixed_range,
    input_quantisation,
    pre_activation,
    representable,
    separate_activation,
)
from mhmodels.architecture import Architecture
from mhmodels.network import IMAGE, Op, lower
from mhmodels.weights.files import write_weights
from mhmodels.weights.info import Learned, WeightsInfo
from mhmodels.weights.loading import ATTRIBUTE

FREEZE_AFTER = 400
EMA = 0.99


class Aware(NamedTuple):
    """What a quantisation-aware model was made as."""

    architecture: Architecture
    format: QuantisedFormat
    granularity: Granularity


def quantize_aware(
    model: keras.Model,
    architecture: Architecture | None = None,
    fmt: QuantisedFormat = "int8",
    *,
    granularity: Granularity | None = None,
    ranges: Mapping[str, Range] | None = None,
    freeze_after: int = FREEZE_AFTER,
    ema: float = EMA,
) -> keras.Model:
    """Puts the roundings of an integer file into a trained model.

    Args:
        model: of `create_model` with the top, with scores or logits; trained, because rounding rarely helps early
            training. It shares all variables with the result.
        architecture: what `model` was built from; None takes what `create_model` noted on it. Its preprocessing decides
            how the input is rounded.
        fmt: `int8` (symmetric weights) or `uint8` (asymmetric, per tensor).
        granularity: of the weights' scales; default per channel for int8. uint8 is per tensor always.
        ranges: where activation ranges start, from `calibrate`; without them the first batch sets them.
        freeze_after: training steps with batch statistics; after them batch normalisation uses, and no longer updates,
            its moving statistics, as the file will.
        ema: share of its range that a tensor keeps in each step.

    Returns:
        A functional model on the same input. In inference (`training=False`) it computes what the file computes, except
        for the rounding of biases (int32, very fine) and of the softmax's output.

    Raises:
        ExportError: a layer is missing or foreign, computes in half precision, or a setting is out of range.
    """
    architecture = _known_architecture(model, architecture)
    check_granularity(fmt, granularity)
    if not 0 <= ema < 1 or freeze_after < 0:
        raise ExportError(f"ema is {ema}, freeze_after {freeze_after}; expected a share from 0 to below 1, and 0 steps or more")
    made = Aware(architecture, fmt, granularity or ("channel" if fmt == "int8" else "tensor"))
    fold(model, architecture)  # names what is missing, foreign or not finite
    output = _Assembly(model, made, freeze_after, ema).output()
    aware = keras.Model(model.input, output, name=f"{model.name}_{fmt}")
    setattr(aware, ATTRIBUTE, architecture)
    for layer in _learning(aware):
        if ranges is not None:
            if layer.tensor not in ranges:
                raise ExportError(f"tensor '{layer.tensor}': no range was given, expected one for each calibrated tensor")
            layer.set_range(*ranges[layer.tensor])
    return aware


def aware_transform(
    images: Floats, fmt: QuantisedFormat, architecture: Architecture, *, granularity: Granularity | None = None, **settings: Any
) -> Callable[[keras.Model], keras.Model]:
    """`quantize_aware` as the training loop takes it: a function of the model alone, which calibrates on pictures first.

    Args:
        images: float32 (n, height, width, channels), normalised: training pictures.
        fmt, architecture, granularity, settings: as `quantize_aware`.
    """
    check_granularity(fmt, granularity)

    def transform(model: keras.Model) -> keras.Model:
        ranges = calibrate(fold(model, architecture), images)
        return quantize_aware(model, architecture, fmt, granularity=granularity, ranges=ranges, **settings)

    return transform


class _Assembly:
    """The model under construction: the float model's layers with roundings between them."""

    def __init__(self, model: keras.Model, made: Aware, freeze_after: int, ema: float) -> None:
        self.model, self.made, self.freeze_after, self.ema = model, made, freeze_after, ema
        self.layers = {layer.name: layer for layer in model.layers}
        self.grid: Grid = "asymmetric" if made.format == "uint8" else made.granularity
        self.roundings: dict[str, Quantise] = {}
        self.tensors: dict[str, Any] = {IMAGE: self._image()}

    def output(self) -> Any:
        """Applies every operation."""
        for op in lower(self.made.architecture).ops:
            inputs = [self.tensors[name] for name in op.inputs]
            if op.kind in ("conv", "depthwise"):
                self.tensors[op.name] = self._convolution(op, inputs[0])
            else:
                x = self._layer(op.name)(inputs if len(inputs) > 1 else inputs[0])
                if op.activation != "linear":
                    x = self._layer(f"{op.name}_act")(x)  # an addition's, which a file computes with it
                self.tensors[op.name] = self._shared(op, x) if op.kind in SHARING else self._own(op, x)
        return self.tensors[op.name]

    def _image(self) -> Any:
        made = self.made
        bounds = representable(input_quantisation(made.architecture.preprocessing, made.format), made.format)
        record = {
            "architecture": msgspec.json.decode(made.architecture.to_json()),
            "format": made.format,
            "granularity": made.granularity,
        }
        return QuantisedImage(record, tensor=IMAGE, fixed=bounds, name="quantised_image")(self.model.input)

    def _convolution(self, op: Op, x: Any) -> Any:
        norm = self._layer(f"{op.name}_bn") if op.batch_norm else None
        before = self.layers.get("dropout")
        if before is not None and op.name == "logits":
            x = before(x)
        gate = op.activation == "hard_sigmoid"
        x = FoldedConvolution(self._layer(op.name), norm, self.grid, gate, self.freeze_after, name=op.name)(x)
        if separate_activation(op):
            x = self._rounding(pre_activation(op), None)(x)
        # A hard-sigmoid's slope and offset are in the weights; its clipping is the rounding's.
        if op.activation != "linear" and not gate:
            x = self._layer(f"{op.name}_act")(x)
        return self._own(op, x)

    def _own(self, op: Op, x: Any) -> Any:
        """Rounded to a grid of its own. The softmax is left: its steps of 1/256 would leave the loss no gradient."""
        return x if op.kind == "softmax" else self._rounding(op.name, fixed_range(op))(x)

    def _shared(self, op: Op, x: Any) -> Any:
        """Rounded to the grid of its input; reshaping leaves the numbers as they are."""
        rounding = self.roundings[op.name] = self.roundings[op.inputs[0]]
        return x if op.kind == "reshape" else rounding(x, observe=False)

    def _rounding(self, tensor: str, fixed: Range | None) -> Quantise:
        layer = Quantise(tensor, self.ema, fixed, name=f"{tensor.replace('/', '_')}_range")
        self.roundings[tensor] = layer
        return layer

    def _layer(self, name: str) -> keras.layers.Layer:
        if name not in self.layers:
            raise ExportError(f"model '{self.model.name}' has no layer '{name}': it was not built from this architecture")
        return self.layers[name]


def made_as(model: keras.Model) -> Aware:
    """What a quantisation-aware model is of; works on a reloaded one.

    Raises:
        ExportError: it is none.
    """
    image = next((layer for layer in model.layers if isinstance(layer, QuantisedImage)), None)
    if image is None:
        raise ExportError(f"model '{model.name}' is not quantisation-aware: make one with quantize_aware(model)")
    record = image.record
    architecture = Architecture.from_json(msgspec.json.encode(record["architecture"]), source=f"model '{model.name}'")
    return Aware(architecture, record["format"], record["granularity"])


def aware_graph(model: keras.Model) -> tuple[Graph, dict[str, Range]]:
    """What the writer needs of a quantisation-aware model.

    `quantise(graph, ranges, made_as(model).format, made_as(model).granularity)` fixes the integers that the model rounds to.

    Raises:
        ExportError: not quantisation-aware, weights that are not finite, or a tensor whose range was never set or collapsed.
    """
    architecture = made_as(model).architecture
    graph = fold(_float_layers(model), architecture)
    ranges = {layer.tensor: _learned_range(layer) for layer in _learning(model)}
    missing = [name for name in calibrated_tensors(graph) if name not in ranges]
    if missing:
        raise ExportError(f"model '{model.name}' has no range for tensor '{missing[0]}': it was not made by quantize_aware")
    return graph, ranges


def learned(model: keras.Model) -> Learned:
    """The ranges of a quantisation-aware model as a weights file carries them."""
    made, (_, ranges) = made_as(model), aware_graph(model)
    steps = max((int(_values(layer.steps)) for layer in _folded(model) if layer.norm is not None), default=0)
    return Learned(format=made.format, granularity=made.granularity, steps=steps, ranges=ranges)


def save_aware(model: keras.Model, path: str | os.PathLike[str], **description: Any) -> WeightsInfo:
    """Writes the float weights and the learned ranges of a quantisation-aware model into one weights file.

    The file loads like any other (`create_model(weights=…)`); `mhmodels export` finds the ranges in it.

    Args:
        model: from `quantize_aware`, trained.
        path: ends with `.weights.h5`.
        description: labels, source, licence, accuracy, step as `mhmodels.weights.files.write_weights` takes them.

    Raises:
        ExportError: see `aware_graph`.
        WeightsError: the weights are not finite; the file cannot be written.
    """
    arrays: dict[Any, Floats] = {}
    for layer in _folded(model):
        arrays[layer.name, "kernel"] = _values(layer.convolution.kernel)
        if layer.convolution.use_bias:
            arrays[layer.name, "bias"] = _values(layer.convolution.bias)
        if layer.norm is not None:
            for role in ("gamma", "beta", "moving_mean", "moving_variance"):
                arrays[layer.norm.name, role] = _values(getattr(layer.norm, role))
    return write_weights(path, made_as(model).architecture, arrays, learned=learned(model), **description)


def _values(variable: Any) -> Floats:
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float32)


def _known_architecture(model: keras.Model, architecture: Architecture | None) -> Architecture:
    architecture = architecture or getattr(model, ATTRIBUTE, None)
    if architecture is None:
        raise ExportError(f"model '{model.name}' does not say what network it is: give quantize_aware its architecture")
    height, width = model.input_shape[1:3]
    return architecture if height is None or width is None else architecture.at(input_size=(height, width))


def _float_layers(model: keras.Model) -> Any:
    """The float layers inside, in the form that `fold` reads."""
    inside = [layer for folded in _folded(model) for layer in (folded.convolution, folded.norm) if layer is not None]
    return SimpleNamespace(name=model.name, layers=inside)


def _folded(model: keras.Model) -> list[FoldedConvolution]:
    return [layer for layer in model.layers if isinstance(layer, FoldedConvolution)]


def _learning(model: keras.Model) -> list[Quantise]:
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
