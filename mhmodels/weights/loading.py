"""Loading weights into a Keras model, and saving them from one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mhmodels.architecture import Architecture, Padding, Preprocessing
from mhmodels.errors import WeightsError
from mhmodels.network import LOGITS
from mhmodels.preprocessing.layer import file_rule, state_rule
from mhmodels.weights.downloading.registered import locate
from mhmodels.weights.files import WeightsFile, open_weights, read_arrays
from mhmodels.weights.info import Arrays, Claim, Labels, Learned, WeightsInfo
from mhmodels.weights.matching import Target, match, targets
from mhmodels.weights.padding import padding_of, warn_at_size
from mhmodels.weights.stated import check_network
from mhmodels.weights.writing import write_weights

if TYPE_CHECKING:
    import keras

ATTRIBUTE = "mhmodels_architecture"
"""Attribute of a model that `create_model` built: its architecture, with the preprocessing of the weights in it."""


def load_weights(
    model: keras.Model, weights: str | os.PathLike[str], architecture: Architecture | None = None
) -> WeightsInfo | None:
    """Loads weights into a model that `create_model` built, all of them or none.

    A weights file of this package is checked: hash, network and number of classes. In a plain Keras file, of this package or of
    `keras.applications`, the network is found by its structure. A model without the top takes its part of a whole network,
    whatever the number of classes. Afterwards the model carries the preprocessing that the file states.

    Args:
        model: Keras model whose layers are named after the network's operations.
        weights: Path of a `.weights.h5`, `.h5` or `.keras` file, or a registered name.
        architecture: Architecture of the model; None takes the one that `create_model` noted on it.

    Returns:
        Description of the file; None for a plain Keras file.

    Raises:
        WeightsError: The weights are missing, unreadable, altered, of another network or number of classes, or cannot be
            downloaded.

    Example:
        >>> from mhmodels import create_model
        >>> from mhmodels.weights import load_weights
        >>> model = create_model("multi_max@0.25", input_shape=(64, 64, 3), classes=10)
        >>> load_weights(model, "digits64").labels.names[:3]
        ('0', '1', '2')
    """
    architecture = architecture or getattr(model, ATTRIBUTE, None)
    if architecture is None:
        raise WeightsError(f"model '{model.name}' does not say what network it is: give load_weights its architecture")
    path = str(locate(weights, architecture))
    wanted = _layers_of(model, architecture)
    with open_weights(path) as file:
        if file.info is None:
            arrays, padding = _plain_arrays(file, architecture, wanted)
        else:
            classes = any(target.name == LOGITS for target in wanted)
            check_network(path, file.info.network(path), architecture, classes=classes)
            arrays, padding = read_arrays(file, path), file.info.padding
        info = file.info
    _assign(model, path, wanted, arrays)
    warn_at_size(path, architecture, padding, model.inputs[0].shape[1:3])
    rule = info.preprocessing if info is not None else file_rule(path)
    if rule is not None:
        carry(model, architecture, rule)
    return info


def carry(model: keras.Model, architecture: Architecture, rule: Preprocessing) -> None:
    """Makes a model carry a preprocessing: on its architecture, and into every file that it is saved to."""
    setattr(model, ATTRIBUTE, msgspec.structs.replace(architecture, preprocessing=rule))
    state_rule(model, rule)


def save_weights(
    model: keras.Model,
    architecture: Architecture,
    path: str | os.PathLike[str],
    *,
    labels: Labels | None = None,
    source: str = "",
    licence: str | None = None,
    accuracy: tuple[Claim, ...] = (),
    step: int | None = None,
    learned: Learned | None = None,
) -> WeightsInfo:
    """Writes the weights of a model to a file with a description. The file appears whole or not at all.

    Args:
        model: Keras model whose layers are named after the network's operations.
        architecture: Architecture of the model.
        path: Path that ends with `.weights.h5`.
        labels: Meaning of the outputs.
        source: Origin of the weights, in words.
        licence: Licence of the weights, as an SPDX name where there is one.
        accuracy: Accuracies that are claimed for them.
        step: Number of training steps.
        learned: Ranges of quantisation-aware training.

    Returns:
        The description that the file carries.

    Raises:
        WeightsError: The model is not that network, the weights are not finite, or the file cannot be written.

    Example:
        >>> from mhmodels import create_model, resolve
        >>> from mhmodels.weights import Labels, read_info, save_weights
        >>> network = resolve("multi_max@0.25").at(input_size=64, classes=2)
        >>> _ = save_weights(create_model(network), network, "mine.weights.h5", labels=Labels(names=("cat", "dog")))
        >>> read_info("mine.weights.h5").labels.names
        ('cat', 'dog')
    """
    arrays = model_arrays(model, architecture)
    return write_weights(
        path,
        architecture,
        arrays,
        labels=labels,
        source=source,
        licence=licence,
        accuracy=accuracy,
        step=step,
        learned=learned,
    )


def model_arrays(model: keras.Model, architecture: Architecture) -> Arrays:
    """Copies the arrays of a model.

    Args:
        model: Keras model whose layers are named after the network's operations.
        architecture: Architecture of the model.

    Returns:
        Float32 arrays by (layer name, role).

    Example:
        >>> from mhmodels import create_model, resolve
        >>> from mhmodels.weights import model_arrays
        >>> network = resolve("multi_max@0.25")
        >>> model_arrays(create_model(network), network)["stem_conv", "kernel"].shape
        (3, 3, 3, 8)
    """
    return {
        (target.name, role): np.array(getattr(model.get_layer(target.name), role).numpy(), np.float32)
        for target in _layers_of(model, architecture)
        for role in target.shapes
    }


def _layers_of(model: keras.Model, architecture: Architecture) -> tuple[Target, ...]:
    """The network's layers with variables that a model has: all of them, or those below the top, or below an endpoint."""
    names = {layer.name for layer in model.layers}
    return tuple(target for target in targets(architecture) if target.name in names)


def _plain_arrays(file: WeightsFile, architecture: Architecture, wanted: tuple[Target, ...]) -> tuple[Arrays, Padding]:
    """The network's arrays from a Keras file that says nothing of itself, and the padding that they were trained with."""
    classes = architecture.classes if any(target.name == LOGITS for target in wanted) else None
    found = match(file.source, architecture, width=architecture.width_multiplier, classes=classes)
    arrays: Arrays = {}
    for (layer, role), variable in found.variables.items():
        value = np.asarray(variable.read(), np.float32)
        arrays[layer, role] = value[None, None] if layer == LOGITS and value.ndim == 2 else value
    return arrays, padding_of(file.source, found)


def _assign(model: keras.Model, path: str, wanted: tuple[Target, ...], arrays: Arrays) -> None:
    """Assigns every variable, after all have been found to be there with the right shape."""
    pairs = []
    for target in wanted:
        layer = model.get_layer(target.name)
        for role in target.shapes:
            variable, value = getattr(layer, role), arrays.get((target.name, role))
            if value is None:
                remedy = "build with include_top=False" if target.name == LOGITS else "give a file with the whole network"
                raise WeightsError(f"{path}: no {target.name}/{role} in it, the model has one; {remedy}")
            if tuple(variable.shape) != value.shape:
                raise WeightsError(
                    f"{path}: {target.name}/{role} is {list(value.shape)}, expected {list(variable.shape)} as the model has"
                )
            pairs.append((variable, value))
    for variable, value in pairs:
        variable.assign(value)
