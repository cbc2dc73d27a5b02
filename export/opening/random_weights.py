"""Seeded random weights that behave like trained ones, for networks that are exported without weights."""

from __future__ import annotations

import keras
import numpy as np

from mhmodels.architecture import Architecture
from mhmodels.builder import create_model
from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Float32Array
from mhmodels.export.reading.pictures import CALIBRATION_PICTURES
from mhmodels.network import lower

SEED = 0
_STATISTICS_PIXELS = CALIBRATION_PICTURES * 224 * 224
_FEWEST_STATISTICS = 8


def random_model(architecture: Architecture, images: Float32Array) -> tuple[keras.Model, str]:
    """Builds a network with seeded random weights and batch statistics from pictures.

    Args:
        architecture: Network at the wanted width, input size and class count.
        images: float32 (n, height, width, channels), normalised. Of them `few_pictures` are used.

    Returns:
        The model, and the label of its weights.

    Raises:
        ExportError: The batch statistics are not finite.
    """
    keras.utils.set_random_seed(SEED)
    model = create_model(architecture, dropout=0.0)
    images = few_pictures(images)
    _calibrate_statistics(model, architecture, images)
    return model, f"random, seed {SEED}, batch statistics from {len(images)} pictures (untrained: scores mean nothing)"


def few_pictures(images: Float32Array) -> Float32Array:
    """Returns as many pictures as go through a network at once in bounded memory: 64 of 224x224 pixels, fewer of larger ones."""
    height, width = images.shape[1:3]
    return images[: min(CALIBRATION_PICTURES, max(_FEWEST_STATISTICS, _STATISTICS_PIXELS // (height * width)))]


def _calibrate_statistics(model: keras.Model, architecture: Architecture, images: Float32Array) -> None:
    """Sets batch statistics from pictures in one pass, and offsets and gains with which the network is not chaotic.

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
