"""Opens models: from a request, a `.keras` file or a Keras model in memory to an `ExportSource`."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import keras

from mhmodels.architecture import Architecture
from mhmodels.builder import create_model
from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Float32Array, Graph, fold, fold_layers
from mhmodels.export.opening.model_request import ModelRequest, ResolvedModel, resolve_model
from mhmodels.export.opening.random_weights import random_model
from mhmodels.export.opening.source import ExportSource
from mhmodels.export.quantisation.aware_model import aware_graph, float_twin, is_aware, learned, made_as
from mhmodels.export.reading.input_rule import input_rule
from mhmodels.export.reading.keras_model.files import load_keras_file
from mhmodels.export.reading.keras_model.operation_list import Front
from mhmodels.export.reading.keras_model.precision import in_float32, single_precision
from mhmodels.export.reading.keras_model.reader import UnreadError, output_names, read_model
from mhmodels.export.reading.keras_model.recognise import endpoints, recognise, unknown_frame
from mhmodels.export.reading.pictures import read_pictures
from mhmodels.formats.json_files import plain_text
from mhmodels.system.files import sha256_of
from mhmodels.weights.loading import load_weights

IN_MEMORY = "Keras model in memory"
"""Label of the weights of a Keras model that was not read from a file."""

ModelLike: TypeAlias = str | Path | Architecture | ModelRequest | ResolvedModel | keras.Model | ExportSource
"""What can be opened: a MODEL as on the command line, a request, a Keras model in memory, or a source, which is open."""


def open_model(model: ModelLike, images: Float32Array | None = None) -> ExportSource:
    """Opens a model with its weights and changes. `export`, `verify` and `consistency` all use this function.

    The arrays of a weights file are read once. The description in the file was read before, when the request was resolved, so
    that weights of another network are refused before anything is built.

    Args:
        model: Zoo name, NAME@WIDTH, path of an architecture file or of a `.keras` file, an architecture, a `ModelRequest` that
            also states weights and changes, or a functional or sequential Keras model.
        images: float32 (n, height, width, channels), pictures that the batch statistics of random weights are computed from,
            normalised as the network expects. None for the bundled photographs, so that equal architectures get equal weights.

    Raises:
        MhmodelsError: A name is unknown, the network does not take a size, the weights do not fit or are not finite, or the
            file cannot be read as a Keras model.

    Example:
        >>> from mhmodels.export import ModelRequest, open_model
        >>> source = open_model(ModelRequest(model="mobilenet_v1@0.25", input_size=(64, 64)))
        >>> len(source.graph.convolutions)
        28
    """
    if isinstance(model, ExportSource):
        return model
    if not isinstance(model, (ModelRequest, ResolvedModel)):
        model = ModelRequest(model=model)
    resolved = model if isinstance(model, ResolvedModel) else resolve_model(model)
    request = resolved.request
    if resolved.architecture is not None:
        with single_precision():
            return _built(resolved, resolved.architecture, images)
    if isinstance(request.model, (str, Path)):
        source = keras_source(request.model, request.input_size)
    else:
        assert isinstance(request.model, keras.Model), f"{request.model!r}: expected a Keras model"
        source = model_source(request.model, IN_MEMORY, request.input_size)
    return source.stated(request.preprocessing)


def _built(resolved: ResolvedModel, architecture: Architecture, images: Float32Array | None) -> ExportSource:
    """Builds a network and gives it weights."""
    path = resolved.weights
    if path is None:
        model, label = random_model(architecture, read_pictures(None, architecture).images if images is None else images)
        graph = fold(model, architecture)
        return ExportSource(model, architecture, graph, label, _built_tensors(model, graph))
    model = create_model(architecture, dropout=0.0)
    info = load_weights(model, path, architecture)
    label = f"{plain_text(path.name)}, sha256 {sha256_of(path)}"
    graph = fold(model, architecture)
    tensors = _built_tensors(model, graph)
    if info is None:
        return ExportSource(model, architecture, graph, label, tensors)
    return ExportSource(model, architecture, graph, label, tensors, labels=info.labels, learned=info.learned)


def _built_tensors(model: keras.Model, graph: Graph) -> dict[str, keras.KerasTensor]:
    """Returns the Keras tensors of the operations of a model of `create_model`."""
    layers = {layer.name: layer for layer in model.layers}
    return {op.name: layers[op.keras_layer].output for op in graph.ops}


def keras_source(path: str | Path, size: tuple[int, int] | None = None) -> ExportSource:
    """Reads a `.keras` file: a network of `create_model`, possibly with a head of the user's own.

    Args:
        path: Path of the file.
        size: (height, width) for a model that takes any input size.

    Raises:
        WeightsError: The file cannot be read as a Keras model.
        ExportError: The input of the model is not one picture, or the weights are not finite.
    """
    file = Path(path)
    with single_precision():
        model = load_keras_file(file)
    label = f"{plain_text(file.name)}, sha256 {sha256_of(file)}"
    return model_source(model, label, size)


def model_source(model: keras.Model, label: str, size: tuple[int, int] | None = None) -> ExportSource:
    """Returns a Keras model in memory as a source, in float32."""
    if is_aware(model):
        return _aware_source(model, label)
    model = in_float32(model)
    with single_precision():
        try:
            read = read_model(model, size)
        except ExportError as error:
            return _unread(model, label, size, error)
    architecture, backbone = recognise(model, read)
    graph = fold_layers(model.name, read.layers, architecture, read.ops, endpoints(read, backbone))
    if len(read.outputs) > 1:
        graph = graph._replace(heads=dict(zip(output_names(model), read.outputs, strict=True)))
    source = ExportSource(
        model, architecture, graph, label, read.tensors, outputs=read.outputs, front=read.front, notes=_notes(read.front),
        backbone=None if backbone is None else f"{backbone.architecture.name}@{backbone.architecture.width_multiplier:g}",
    )  # fmt: skip
    return source.with_rule(input_rule(model.name, read.front, None))


def _aware_source(model: keras.Model, label: str) -> ExportSource:
    """Returns a quantisation-aware model as a source: its float network, and the ranges that it learned."""
    graph, _ = aware_graph(model)
    with single_precision():
        twin, tensors = float_twin(model)
    notes = (
        "made of a quantisation-aware model, with the ranges that it learned; save_aware writes them into a weights file, if it "
        "is a network of the zoo",
    )
    return ExportSource(twin, made_as(model).architecture, graph, label, tensors, learned=learned(model), notes=notes)


def _unread(model: keras.Model, label: str, size: tuple[int, int] | None, error: ExportError) -> ExportSource:
    """Returns a model without a list of operations as a source for TensorFlow's converter; layers in front stay in it."""
    source = ExportSource(model, unknown_frame(model, size, error), None, label, {}, missing=str(error))
    front = error.front if isinstance(error, UnreadError) else Front(source.architecture.input_channels)
    rule = input_rule(model.name, front, None)
    return source.with_rule(rule._replace(preprocessing=rule.entering))


def _notes(front: Front) -> tuple[str, ...]:
    notes = []
    if front.dropped:
        notes.append(f"left out, because they change pictures in training only: {', '.join(front.dropped)}")
    if front.folded:
        notes.append(
            f"a part of the file's preprocessing, which its manifest states, and no longer of the network: "
            f"{', '.join(map(repr, front.folded))}"
        )
    return tuple(notes)
