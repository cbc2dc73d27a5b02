"""Quantisation-aware training for Keras 3: turns a trained float model into one that trains with the roundings of its file.

`quantize_aware` interprets the list of operations that the builder and the writer use too, and knows no families of networks.
The model that it returns trains like any Keras model. `aware_graph` then gives the graph and the ranges for the writer, and
`save_aware` writes a weights file with the learned ranges, which an export uses in place of calibration pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypedDict, Unpack

import keras
import msgspec

from mhmodels.architecture import Architecture
from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Float32Array, Range, fold, fold_layers
from mhmodels.export.quantisation.aware_assembly import Assembly, AwareLayers, AwareRecord, built_layers, read_layers
from mhmodels.export.quantisation.aware_layers import EMA
from mhmodels.export.quantisation.aware_model import is_aware, learning_layers
from mhmodels.export.quantisation.calibration import calibrate
from mhmodels.export.quantisation.parameters import Granularity, QuantisedFormat
from mhmodels.export.quantisation.scheme import check_granularity
from mhmodels.export.reading.input_rule import input_rule
from mhmodels.export.reading.keras_model.reader import read_model
from mhmodels.export.reading.keras_model.recognise import recognise
from mhmodels.export.reading.pictures import fit_preprocessing
from mhmodels.network import lower
from mhmodels.weights.loading import ATTRIBUTE

FREEZE_AFTER = 400


class AwareSettings(TypedDict, total=False):
    """Settings of `quantize_aware` that training may choose."""

    freeze_after: int
    ema: float


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
    """Inserts the roundings of an integer file into a trained model.

    Args:
        model: Trained model of `create_model` with the classifier (scores or logits), or a functional model with a head of your
            own whose layers `mhmodels export` can write. The result shares all variables with this model.
        architecture: Architecture of `model` or of its backbone. None for the architecture that `create_model` noted on the
            model, or that its layers state. Its preprocessing determines how the input is rounded.
        fmt: `int8` (symmetric weights) or `uint8` (asymmetric weights).
        granularity: One scale of int8 weights per output `channel` or per `tensor`. None for `channel`. uint8 weights always
            have one scale per tensor.
        ranges: Initial activation ranges, by tensor name. None to take them from the first batch.
        freeze_after: Number of training steps with batch statistics. Afterwards batch normalisation uses its moving statistics
            without updating them, as in the file.
        ema: Momentum of the moving average of the activation ranges, from 0 to below 1.

    Returns:
        A functional model with the same input. In inference (`training=False`) it computes what the file computes, except for
        the rounding of biases (int32) and of the softmax's output. `model.save("NAME.keras")` saves the whole model, and
        `mhmodels export NAME.keras` writes the file. `save_aware` writes a weights file, for networks of the zoo only.

    Raises:
        ExportError: A layer is missing, unknown or computes in half precision, the model is already quantisation-aware or has
            several outputs, or a setting is out of range.

    Example:
        >>> from mhmodels import create_model
        >>> from mhmodels.export import quantize_aware
        >>> model = create_model("mobilenet_v1@0.25", input_shape=(32, 32, 3), classes=4)
        >>> aware = quantize_aware(model, fmt="int8")
        >>> aware.name, aware.output_shape
        ('mobilenet_v1_int8', (None, 4))
    """
    if is_aware(model):
        raise ExportError(f"model '{model.name}' is quantisation-aware already: train it, or give the float model")
    check_granularity(fmt, granularity)
    if not 0 <= ema < 1 or freeze_after < 0:
        raise ExportError(f"ema is {ema}, freeze_after {freeze_after}; expected a share from 0 to below 1, and 0 steps or more")
    granularity = granularity or ("channel" if fmt == "int8" else "tensor")
    if _is_built(model, architecture):
        architecture = _known_architecture(model, architecture)
        fold(model, architecture)  # names what is missing, foreign or not finite
        made, layers, image = AwareRecord(architecture, fmt, granularity), built_layers(model), model.input
    else:
        made, layers, image = _own_network(model, architecture, fmt, granularity)
    output = Assembly(image, made, layers, freeze_after, ema).output()
    aware = keras.Model(model.input, output, name=f"{model.name}_{fmt}")
    if not made.own:
        setattr(aware, ATTRIBUTE, made.architecture)
    for layer in learning_layers(aware):
        if ranges is not None:
            if layer.tensor not in ranges:
                raise ExportError(f"tensor '{layer.tensor}': no range was given, expected one for each calibrated tensor")
            layer.set_range(*ranges[layer.tensor])
    return aware


def aware_transform(
    images: Float32Array,
    fmt: QuantisedFormat,
    architecture: Architecture,
    *,
    granularity: Granularity | None = None,
    **settings: Unpack[AwareSettings],
) -> Callable[[keras.Model], keras.Model]:
    """Returns `quantize_aware` as a function of the model alone, as the training loop takes it; it calibrates on pictures first.

    Args:
        images: float32 (n, height, width, channels), normalised: training pictures.
        fmt, architecture, granularity, settings: As `quantize_aware`.
    """
    check_granularity(fmt, granularity)

    def transform(model: keras.Model) -> keras.Model:
        ranges = calibrate(fold(model, architecture), images)
        return quantize_aware(model, architecture, fmt, granularity=granularity, ranges=ranges, **settings)

    return transform


def _is_built(model: keras.Model, architecture: Architecture | None) -> bool:
    """Returns whether a model is a whole one of `create_model`, from its input to the last layer of its classifier."""
    if architecture is None and getattr(model, ATTRIBUTE, None) is None:
        return False
    last = lower(_known_architecture(model, architecture)).ops[-1].name
    return len(model.outputs) == 1 and model.outputs[0]._keras_history.operation.name == last


def _own_network(
    model: keras.Model, architecture: Architecture | None, fmt: QuantisedFormat, granularity: Granularity
) -> tuple[AwareRecord, AwareLayers, keras.KerasTensor]:
    """Returns record and layers of a model with a head of the user's own, and the tensor that its first operation reads."""
    height, width = model.input_shape[1:3]
    size = None if architecture is None or None not in (height, width) else architecture.input_size
    read = read_model(model, size)
    if len(read.outputs) > 1:
        raise ExportError(
            f"model '{model.name}' has {len(read.outputs)} outputs, quantisation-aware training takes one: make one "
            "quantisation-aware, keras.Model(model.input, model.outputs[0])"
        )
    if read.front.dropped:
        raise ExportError(
            f"model '{model.name}': {', '.join(read.front.dropped)} change pictures in training: change them in the data "
            "pipeline, and give a model that begins behind these layers"
        )
    frame = recognise(model, read).architecture
    rule = input_rule(model.name, read.front, None)
    known = architecture.preprocessing if architecture is not None else rule.preprocessing
    if known is None:
        raise ExportError(
            f"{rule.missing.partition(';')[0]}: give quantize_aware an architecture that has it, such as the backbone's"
        )
    frame = fit_preprocessing(msgspec.structs.replace(frame, preprocessing=known, name=model.name))
    fold_layers(model.name, read.layers, frame, read.ops, ())  # names what is not finite
    image = model.input
    if read.front.changes:
        image = keras.layers.Rescaling(read.front.scale.tolist(), read.front.offset.tolist(), name="file_input")(image)
    return AwareRecord(frame, fmt, granularity, read.ops), read_layers(read), image


def _known_architecture(model: keras.Model, architecture: Architecture | None) -> Architecture:
    architecture = architecture or getattr(model, ATTRIBUTE, None)
    if architecture is None:
        raise ExportError(f"model '{model.name}' does not say what network it is: give quantize_aware its architecture")
    height, width = model.input_shape[1:3]
    return architecture if height is None or width is None else architecture.at(input_size=(height, width))
