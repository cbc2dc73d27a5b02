"""What an export starts from: a network with weights, as a Keras model and as a folded graph.

Weights come from a file, from a user's own `.keras` model, or are seeded random numbers that behave like trained ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from export.graph import ExportError, Floats, Graph, fold, fold_layers
from export.keras_files import load_keras_file
from export.keras_graph import Read, read_model
from export.pictures import CALIBRATION_PICTURES, read_pictures
from mhmodels.architecture import Architecture, Conv, Head
from mhmodels.builder import create_model, keras_name
from mhmodels.json_files import plain_text
from mhmodels.network import IMAGE, Endpoint, Op, lower
from mhmodels.registry import zoo
from mhmodels.system.files import sha256_of
from mhmodels.weights.info import Labels, Learned, WeightsInfo
from mhmodels.weights.loading import ATTRIBUTE, load_weights
from mhmodels.weights.matching import COMMON_WIDTHS
from mhmodels.weights.registered import locate

SEED = 0
_STATISTICS_PIXELS = CALIBRATION_PICTURES * 224 * 224
_FEWEST_STATISTICS = 8
_ANY_WIDTH = tuple(step / 20 for step in range(1, 41))


class Source(NamedTuple):
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

    def check_ending(self, features: bool) -> None:
        """Refuses what a file of scores, or with `features` of feature maps, cannot be made of without leaving something out.

        Raises:
            ExportError: several outputs, or a map, where a file of scores has one output; the message names them.
        """
        if features:
            return
        outputs = self.model.outputs
        if len(outputs) > 1:
            names = ", ".join(f"'{output._keras_history.operation.name}'" for output in outputs)
            raise ExportError(
                f"model '{self.model.name}' has {len(outputs)} outputs ({names}), a file of scores has one: "
                "give --features if they are feature maps, or a model with one of them"
            )
        if self.graph is not None and self.graph.ops[-1].size != (1, 1):
            last = self.graph.ops[-1].name
            raise ExportError(f"layer '{last}' gives a map, not scores: give --features, or a model with a classifier")

    def compute(self, images: Floats, names: Sequence[str]) -> dict[str, Floats]:
        """What the Keras model gives on pictures.

        Args:
            images: float32 (n, height, width, channels), normalised.
            names: operations; with no graph any one name stands for the model's output.

        Returns:
            float32 arrays by name, batch first.
        """
        wanted = {name: self.model.outputs[0] if self.graph is None else self.tensors[name] for name in names}
        try:
            outputs = keras.Model(self.model.inputs[0], wanted)
        except ValueError as error:  # Keras: the tensor belongs to a model that is used as a layer
            raise ExportError(
                f"{', '.join(names)}: inside a model that is used as a layer, so not to be compared with"
            ) from error
        # Called directly, not through `predict`, which compiles a function for a handful of pictures.
        parts = [outputs(images[i : i + 8], training=False) for i in range(0, len(images), 8)]
        return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in names}


def load_source(architecture: Architecture, weights: str | Path | None, images: Floats | None = None) -> Source:
    """Builds a network and gives it weights.

    Args:
        architecture: at the wanted width, input size and class count.
        weights: path of a weights file, a registered name, or None for seeded random weights.
        images: float32 (n, height, width, channels), normalised; random weights take their batch statistics from them, as
            far as `_few` goes. None: the bundled photographs, so that equal architectures get equal weights.

    Raises:
        MhmodelsError: the weights do not fit, or are not finite; the message says which.
    """
    if weights is None:
        keras.utils.set_random_seed(SEED)
        model = create_model(architecture, dropout=0.0)
        images = _few(read_pictures(None, architecture).images if images is None else images)
        _calibrate_statistics(model, architecture, images)
        label = f"random, seed {SEED}, batch statistics from {len(images)} pictures (untrained: scores mean nothing)"
        graph = fold(model, architecture)
        return Source(model, architecture, graph, label, _built_tensors(model, graph))
    model = create_model(architecture, dropout=0.0)
    path = locate(weights, architecture)
    info = load_weights(model, path, architecture)
    architecture = getattr(model, ATTRIBUTE, architecture)
    label = f"{plain_text(path.name)}, sha256 {sha256_of(path)}"
    graph = fold(model, architecture)
    tensors = _built_tensors(model, graph)
    if info is None:
        return Source(model, architecture, graph, label, tensors)
    return Source(model, architecture, graph, label, tensors, labels=info.labels, learned=info.learned)


def _built_tensors(model: keras.Model, graph: Graph) -> dict[str, keras.KerasTensor]:
    layers = {layer.name: layer for layer in model.layers}
    return {op.name: layers[op.keras_layer].output for op in graph.ops}


def weights_info(weights: str | Path | None, architecture: Architecture) -> WeightsInfo | None:
    """What a weights file says of itself; None for a plain Keras file, or without weights."""
    from mhmodels.weights.files import read_info

    return None if weights is None else read_info(locate(weights, architecture))


def keras_source(path: str | Path, size: tuple[int, int] | None = None) -> Source:
    """Reads a `.keras` file: a network of `create_model`, possibly with a head of the user's own.

    Args:
        path: the file.
        size: (height, width) for a model that takes any.

    Raises:
        WeightsError: it cannot be read as a Keras model.
        ExportError: its input is not one picture, or its weights are not finite.
    """
    file = Path(path)
    model = load_keras_file(file)
    label = f"{plain_text(file.name)}, sha256 {sha256_of(file)}"
    return model_source(model, label, size)


def model_source(model: keras.Model, label: str, size: tuple[int, int] | None = None) -> Source:
    """A Keras model in memory as a source; see `keras_source`."""
    try:
        read = read_model(model, size)
    except ExportError as error:
        return Source(model, _unknown_frame(model, size, error), None, label, {}, missing=str(error))
    architecture, backbone = _identify(model, read)
    graph = fold_layers(model.name, read.layers, architecture, read.ops, _endpoints(read, backbone))
    known = None if backbone is None else f"{backbone.name}@{backbone.width_multiplier:g}"
    return Source(model, architecture, graph, label, read.tensors, backbone=known)


def _endpoints(read: Read, backbone: Architecture | None) -> tuple[Endpoint, ...]:
    """The feature maps of a model: its outputs where it ends in maps of its own, else those of its backbone that it has."""
    ops = {op.name: op for op in read.ops}
    network = None if backbone is None else lower(backbone, top=False)
    ends_in_map = ops[read.outputs[0]].size != (1, 1) and (network is None or read.outputs[0] != network.last_map)
    if len(read.outputs) > 1 or ends_in_map:
        strides = _strides(read)
        return tuple(_endpoint(ops[name], strides[name], level) for level, name in enumerate(read.outputs))
    return () if network is None else tuple(endpoint for endpoint in network.endpoints if endpoint.layer in ops)


def _endpoint(op: Op, stride: int, level: int) -> Endpoint:
    return Endpoint(op.name, stride, op.channels, level, op.keras_layer)


def _strides(read: Read) -> dict[str, int]:
    """How many times smaller than the input each map is: the strides on its way, which sizes that do not divide hide."""
    strides = {IMAGE: 1}
    for op in read.ops:
        # A gate comes from a pooled map; what it is multiplied with has the size.
        strides[op.name] = read.size[0] if op.kind == "pool" else op.stride * min(strides[name] for name in op.inputs)
    return strides


def _identify(model: keras.Model, read: Read) -> tuple[Architecture, Architecture | None]:
    """The architecture that a model is of, and that of its backbone; without one a frame that only carries sizes."""
    ops = {op.name: op for op in read.ops}
    classes = read.ops[-1].channels
    names = {model.name, *(layer.name for layer in model.layers)}
    named = [entry.architecture for entry in zoo().values() if keras_name(entry.architecture.name) in names]
    others = [entry.architecture for entry in zoo().values()]
    for candidates, widths in ((named, (*COMMON_WIDTHS, *_ANY_WIDTH)), (others, COMMON_WIDTHS)):
        for candidate in candidates:
            for width in widths:
                found = candidate.at(width_multiplier=width, input_size=read.size, input_channels=read.channels, classes=classes)
                backbone = {op.name: op for op in lower(found, top=False).ops}
                # A model of feature maps ends before its backbone does.
                if backbone.items() <= ops.items() or ops.items() <= backbone.items():
                    whole = lower(found).ops == read.ops
                    return (found if whole else found.at(name=model.name)), found
    first = next((op for op in read.ops if op.kind == "conv"), None)
    if first is None:
        raise ExportError(f"model '{model.name}' has no convolution")
    return _frame(model.name, read.size, read.channels, classes), None


def _frame(name: str, size: tuple[int, int], channels: int, classes: int) -> Architecture:
    """Carries what an export needs to know of a network that is in no table: sizes and the default preprocessing."""
    return Architecture(
        name=name,
        stem=(Conv(filters=classes),),
        stages=(),
        head=Head(),
        input_size=size,
        input_channels=channels,
        classes=classes,
    )


def _unknown_frame(model: keras.Model, size: tuple[int, int] | None, error: ExportError) -> Architecture:
    shape, output = tuple(model.inputs[0].shape), tuple(model.outputs[0].shape)
    if len(shape) != 4 or len(model.outputs) != 1 or output[-1] is None:
        raise error
    height, width = size or (shape[1], shape[2])
    if height is None or width is None or shape[3] is None:
        raise error
    return _frame(model.name, (height, width), shape[3], output[-1])


def _few(images: Floats) -> Floats:
    """As many pictures as go through a network at once in bounded memory: 64 of 224x224 pixels, fewer of larger ones."""
    height, width = images.shape[1:3]
    return images[: min(CALIBRATION_PICTURES, max(_FEWEST_STATISTICS, _STATISTICS_PIXELS // (height * width)))]


def _calibrate_statistics(model: keras.Model, architecture: Architecture, images: Floats) -> None:
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
