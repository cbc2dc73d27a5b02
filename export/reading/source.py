"""What an export starts from: a network with weights, as a Keras model and as a folded graph.

Weights come from a file, from a user's own `.keras` model, or are seeded random numbers that behave like trained ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import msgspec
import numpy as np

from mhmodels.architecture import Architecture, Preprocessing
from mhmodels.builder import create_model
from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Float32Array, Graph, fold, fold_layers
from mhmodels.export.graph.outputs import SCORES, WriterOptions, compared_ops, flat_scores
from mhmodels.export.quantisation.aware import aware_graph, float_twin, is_aware, learned, made_as
from mhmodels.export.reading.input_rule import InputRule, input_rule
from mhmodels.export.reading.keras_model.files import load_keras_file
from mhmodels.export.reading.keras_model.front import Front
from mhmodels.export.reading.keras_model.precision import in_float32, single_precision
from mhmodels.export.reading.keras_model.reader import UnreadError, output_names, read_model
from mhmodels.export.reading.keras_model.recognise import endpoints, recognise, unknown_frame
from mhmodels.export.reading.pictures import CALIBRATION_PICTURES, read_pictures
from mhmodels.export.reading.reading_check import keras_outputs
from mhmodels.export.reading.stated_rule import StatedRule
from mhmodels.formats.json_files import plain_text
from mhmodels.network import IMAGE, lower
from mhmodels.preprocessing.layer import file_rule
from mhmodels.system.files import sha256_of
from mhmodels.weights.downloading.registered import locate
from mhmodels.weights.info import Labels, Learned, WeightsInfo
from mhmodels.weights.loading import ATTRIBUTE, load_weights

SEED = 0
_STATISTICS_PIXELS = CALIBRATION_PICTURES * 224 * 224
_FEWEST_STATISTICS = 8


class ExportSource(NamedTuple):
    """A network with weights, ready to be exported and to be compared with.

    Attributes:
        model: the Keras model.
        architecture: its name, width, input and preprocessing; the network itself where `whole` says so.
        graph: the model's operations with folded weights; None where a layer of a user's model has no operation.
        missing: why there is no graph.
        label: where the weights come from, in words.
        tensors: Keras tensors of the model to compare with, by the name of the operation.
        labels: what the outputs mean, if the weights say so.
        learned: ranges that quantisation-aware training left with the weights.
        backbone: NAME@WIDTH of what a user's model was built on, if it was recognised.
        outputs: operations that the model's outputs are; empty for the last one alone.
        front: what stands in the model before the first operation and is a part of the file's preprocessing; None for nothing.
        rule: the preprocessing as far as it is known, for a user's model; None for a network of ours.
        notes: what a user should know of how the model was read.
    """

    model: keras.Model
    architecture: Architecture
    graph: Graph | None
    label: str
    tensors: Mapping[str, keras.KerasTensor]
    missing: str = ""
    labels: Labels = Labels()
    learned: Learned | None = None
    backbone: str | None = None
    outputs: tuple[str, ...] = ()
    front: Front | None = None
    rule: InputRule | None = None
    notes: tuple[str, ...] = ()

    @property
    def known(self) -> Graph:
        """The graph.

        Raises:
            ExportError: there is none; the message names the layer.
        """
        if self.graph is None:
            raise ExportError(self.missing)
        return self.graph

    @property
    def whole(self) -> bool:
        """Whether `architecture` is exactly this network, rather than what its backbone was built from."""
        return self.graph is not None and lower(self.architecture).ops == self.graph.ops

    def stated(self, rule: StatedRule | None) -> ExportSource:
        """The source with what a user states of its pictures.

        Raises:
            ExportError: it is stated for another number of channels.
        """
        if rule is None:
            return self
        if self.rule is None:
            known = self.architecture.preprocessing
            return self._replace(architecture=msgspec.structs.replace(self.architecture, preprocessing=rule.over(known)))
        front = self.front or Front(self.architecture.input_channels)
        return _with_rule(self, input_rule(self.model.name, front, rule))

    @property
    def rule_known(self) -> bool:
        """Whether it is known how pictures become the network's input."""
        return self.rule is None or self.rule.preprocessing is not None

    def check_rule(self) -> None:
        """Refuses a model of which that is unknown, where ranges or numbers would depend on it.

        Raises:
            ExportError: see above; the message says what to state.
        """
        if self.rule is not None and self.rule.preprocessing is None:
            raise ExportError(f"{self.rule.missing}; without it only float files can be exported")

    @property
    def file_model(self) -> keras.Model:
        """The Keras model from what a file takes: where layers in front are a part of the preprocessing, with their inverse."""
        if self.front is None or not self.front.changes:
            return self.model
        with single_precision():
            image = keras.Input((*self.architecture.input_size, self.architecture.input_channels), name=IMAGE)
            scale, offset = 1.0 / self.front.scale, -self.front.offset / self.front.scale
            inverse = keras.layers.Rescaling(scale.tolist(), offset.tolist(), name="to_pixels")
            return keras.Model(image, self.model(inverse(image)), name=self.model.name)

    def outputs_of(self, images: Float32Array) -> list[Float32Array]:
        """What the Keras model gives for what a file takes, float32, output by output, after the last activation."""
        return keras_outputs(self.model, self._entering(images))

    def _entering(self, images: Float32Array) -> Float32Array:
        return images if self.front is None else self.front.model_input(images)

    def check_ending(self, features: bool) -> None:
        """Refuses what a file of scores, or with `features` of feature maps, cannot be made of without leaving something out.

        Raises:
            ExportError: maps where scores are wanted, or scores where maps are; the message names them.
        """
        if features:
            self._check_maps()
            return
        maps = [len(output.shape) == 4 for output in self.model.outputs]
        if len(maps) > 1 and all(maps):
            names = ", ".join(f"'{name}'" for name in output_names(self.model))
            raise ExportError(f"model '{self.model.name}' gives {len(maps)} maps ({names}), not scores: give --features")
        if len(maps) == 1 and self.graph is not None and self.graph.ops[-1].size != (1, 1):
            last = self.graph.ops[-1].name
            raise ExportError(f"layer '{last}' gives a map, not scores: give --features, or a model with a classifier")

    def _check_maps(self) -> None:
        pairs = zip(output_names(self.model), self.model.outputs, strict=True)
        scores = [name for name, output in pairs if len(output.shape) == 2]
        if len(self.model.outputs) > 1 and scores:
            raise ExportError(f"model '{self.model.name}': output '{scores[0]}' is scores, not a map: leave --features out")

    def expected(self, images: Float32Array, options: WriterOptions) -> dict[str, Float32Array]:
        """What a file of this network must give on pictures, by the names of the file's outputs.

        Args:
            images: float32 (n, height, width, channels), normalised as a file takes them.
            options: of the file.

        Returns:
            float32 arrays, batch first. With a graph, scores are those before their softmax; without one every output is
            as the model gives it, after its activation.
        """
        if self.graph is None:
            names = output_names(self.model)
            return self.compute(images, names if len(names) > 1 else (SCORES,))
        places = compared_ops(self.graph, options)
        computed = self.compute(images, tuple(places.values()))
        return {name: flat_scores(computed[op]) if name == SCORES else computed[op] for name, op in places.items()}

    def compute(self, images: Float32Array, names: Sequence[str]) -> dict[str, Float32Array]:
        """What the Keras model gives on pictures.

        Args:
            images: float32 (n, height, width, channels), normalised as a file takes them.
            names: operations; with no graph one name for each of the model's outputs, whatever it is.

        Returns:
            float32 arrays by name, batch first.
        """
        known = dict(zip(names, self.model.outputs, strict=False)) if self.graph is None else self.tensors
        wanted = {name: known[name] for name in names}
        try:
            outputs = keras.Model(self.model.inputs[0], wanted)
        except ValueError as error:  # Keras: the tensor belongs to a model that is used as a layer
            raise ExportError(
                f"{', '.join(names)}: inside a model that is used as a layer, so not to be compared with"
            ) from error
        # Called directly, not through `predict`, which compiles a function for a handful of pictures.
        images = self._entering(images)
        with single_precision():
            parts = [outputs(images[i : i + 8], training=False) for i in range(0, len(images), 8)]
        return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in names}


def load_source(architecture: Architecture, weights: str | Path | None, images: Float32Array | None = None) -> ExportSource:
    """Builds a network and gives it weights.

    Args:
        architecture: at the wanted width, input size and class count.
        weights: path of a weights file, a registered name, or None for seeded random weights.
        images: float32 (n, height, width, channels), normalised; random weights take their batch statistics from them, as
            far as `_few` goes. None: the bundled photographs, so that equal architectures get equal weights.

    Raises:
        MhmodelsError: the weights do not fit, or are not finite; the message says which.
    """
    with single_precision():
        return _loaded(architecture, weights, images)


def _loaded(architecture: Architecture, weights: str | Path | None, images: Float32Array | None) -> ExportSource:
    if weights is None:
        keras.utils.set_random_seed(SEED)
        model = create_model(architecture, dropout=0.0)
        images = _few(read_pictures(None, architecture).images if images is None else images)
        _calibrate_statistics(model, architecture, images)
        label = f"random, seed {SEED}, batch statistics from {len(images)} pictures (untrained: scores mean nothing)"
        graph = fold(model, architecture)
        return ExportSource(model, architecture, graph, label, _built_tensors(model, graph))
    model = create_model(architecture, dropout=0.0)
    path = locate(weights, architecture)
    info = load_weights(model, path, architecture)
    architecture = getattr(model, ATTRIBUTE, architecture)
    label = f"{plain_text(path.name)}, sha256 {sha256_of(path)}"
    graph = fold(model, architecture)
    tensors = _built_tensors(model, graph)
    if info is None:
        return ExportSource(model, architecture, graph, label, tensors)
    return ExportSource(model, architecture, graph, label, tensors, labels=info.labels, learned=info.learned)


def _built_tensors(model: keras.Model, graph: Graph) -> dict[str, keras.KerasTensor]:
    layers = {layer.name: layer for layer in model.layers}
    return {op.name: layers[op.keras_layer].output for op in graph.ops}


def weights_info(weights: str | Path | None, architecture: Architecture) -> WeightsInfo | None:
    """What a weights file says of itself; None for a plain Keras file, or without weights."""
    from mhmodels.weights.files import read_info

    return None if weights is None else read_info(locate(weights, architecture))


def weights_rule(weights: str | Path | None, architecture: Architecture) -> Preprocessing | None:
    """The preprocessing that a weights file or a `.keras` file with the weights states; None where it states none."""
    if weights is None:
        return None
    info = weights_info(weights, architecture)
    return file_rule(locate(weights, architecture)) if info is None else info.preprocessing


def keras_source(path: str | Path, size: tuple[int, int] | None = None) -> ExportSource:
    """Reads a `.keras` file: a network of `create_model`, possibly with a head of the user's own.

    Args:
        path: the file.
        size: (height, width) for a model that takes any.

    Raises:
        WeightsError: it cannot be read as a Keras model.
        ExportError: its input is not one picture, or its weights are not finite.
    """
    file = Path(path)
    with single_precision():
        model = load_keras_file(file)
    label = f"{plain_text(file.name)}, sha256 {sha256_of(file)}"
    return model_source(model, label, size)


def model_source(model: keras.Model, label: str, size: tuple[int, int] | None = None) -> ExportSource:
    """A Keras model in memory as a source, in float32; see `keras_source`."""
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
    return _with_rule(source, input_rule(model.name, read.front, None))


def _aware_source(model: keras.Model, label: str) -> ExportSource:
    """A quantisation-aware model: its float network, and the ranges that it learned."""
    graph, _ = aware_graph(model)
    with single_precision():
        twin, tensors = float_twin(model)
    notes = (
        "made of a quantisation-aware model, with the ranges that it learned; save_aware writes them into a weights file, if it "
        "is a network of the zoo",
    )
    return ExportSource(twin, made_as(model).architecture, graph, label, tensors, learned=learned(model), notes=notes)


def _unread(model: keras.Model, label: str, size: tuple[int, int] | None, error: ExportError) -> ExportSource:
    """A model without a list of operations, as TensorFlow's converter may take it: layers in front stay in it."""
    source = ExportSource(model, unknown_frame(model, size, error), None, label, {}, missing=str(error))
    front = error.front if isinstance(error, UnreadError) else Front(source.architecture.input_channels)
    rule = input_rule(model.name, front, None)
    return _with_rule(source, rule._replace(preprocessing=rule.entering))


def _with_rule(source: ExportSource, rule: InputRule) -> ExportSource:
    known = rule.preprocessing or source.architecture.preprocessing
    return source._replace(architecture=msgspec.structs.replace(source.architecture, preprocessing=known), rule=rule)


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


def _few(images: Float32Array) -> Float32Array:
    """As many pictures as go through a network at once in bounded memory: 64 of 224x224 pixels, fewer of larger ones."""
    height, width = images.shape[1:3]
    return images[: min(CALIBRATION_PICTURES, max(_FEWEST_STATISTICS, _STATISTICS_PIXELS // (height * width)))]


def _calibrate_statistics(model: keras.Model, architecture: Architecture, images: Float32Array) -> None:
    """Makes random weights behave: batch statistics from the pictures in one pass, and a network that is not chaotic.

    At Keras' defaults a deep random network is chaotic: 1 % noise on the picture changes its logits beyond recognition,
    and no comparison of formats would mean anything. Trained networks are not, because most units are active and residual
    branches refine rather than replace. So offsets before activations are 1, and residual branches are scaled to 0.3.
    """
    ops = {op.name: op for op in lower(architecture).ops}
    branches = {op.inputs[1] for op in ops.values() if op.kind == "add"}
    norms = {name: model.get_layer(f"{name}_bn") for name, op in ops.items() if op.batch_norm}
    momenta = {name: layer.momentum for name, layer in norms.items()}
    for name, layer in norms.items():
        layer.beta.assign(np.full(layer.beta.shape, 0.0 if ops[name].activation == "linear" else 1.0, np.float32))
        layer.gamma.assign(np.full(layer.gamma.shape, 0.3 if name in branches else 1.0, np.float32))
        layer.momentum = 0.0
    model(images, training=True)
    for name, layer in norms.items():
        layer.momentum = momenta[name]
        if not all(np.isfinite(value).all() for value in layer.get_weights()):
            raise ExportError(f"layer '{layer.name}': batch statistics over {len(images)} pictures are not finite")
