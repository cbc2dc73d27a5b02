"""Where an export's weights come from: a weights file, or seeded random numbers that behave like a trained network."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from export.graph import ExportError, Floats, Graph, fold
from mhmodels.architecture import Architecture
from mhmodels.builder import create_model
from mhmodels.network import lower

SEED = 0


class Source(NamedTuple):
    """A network with weights, ready to be exported and to be compared with.

    Attributes:
        model: the Keras model, with the top.
        graph: the same, folded.
        label: where the weights come from, in words.
    """

    model: keras.Model
    graph: Graph
    label: str

    def logits(self, images: Floats) -> Floats:
        """The Keras model's scores before the softmax, float32 (n, classes)."""
        outputs = keras.Model(self.model.input, self.model.get_layer("flatten").output)
        # Called directly, not through `predict`, which compiles a function for a handful of pictures.
        return np.concatenate([np.asarray(outputs(images[i : i + 8], training=False)) for i in range(0, len(images), 8)])


def load_source(architecture: Architecture, weights: Path | None, images: Floats) -> Source:
    """Builds the network and gives it weights.

    Args:
        architecture: at the wanted width, input size and class count.
        weights: a `.weights.h5` file, or None for seeded random weights.
        images: float32 (n, height, width, channels), normalised; random weights take their batch statistics from them.

    Raises:
        ArchitectureError: the weights do not fit.
        ExportError: the weights are not finite.
    """
    if weights is None:
        keras.utils.set_random_seed(SEED)
        model = create_model(architecture, dropout=0.0)
        _calibrate_statistics(model, architecture, images)
        label = f"random, seed {SEED}, batch statistics from {len(images)} pictures (untrained: scores mean nothing)"
    else:
        model = create_model(architecture, weights=str(weights), dropout=0.0)
        label = f"{weights.name}, sha256 {hashlib.sha256(weights.read_bytes()).hexdigest()}"
    return Source(model, fold(model, architecture), label)


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
