"""The request for a model, and the resolved request before anything is built. This module needs no Keras."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from mhmodels.architecture import Architecture
from mhmodels.export.errors import NoEffectError
from mhmodels.export.reading.pictures import fit_preprocessing
from mhmodels.export.reading.stated_rule import StatedRule
from mhmodels.preprocessing.layer import file_rule
from mhmodels.registry import is_keras_file, resolve
from mhmodels.weights.info import WeightsInfo
from mhmodels.weights.stated import weighted_network

if TYPE_CHECKING:
    import keras


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A model with its weights and the changes to it.

    Attributes:
        model: Zoo name, NAME@WIDTH, path of an architecture file or of a `.keras` file, an architecture, or a functional or
            sequential Keras model.
        weights: Path of a weights file, or name of registered weights. None for seeded random weights.
        preprocessing: Preprocessing that the user states. None for the preprocessing that the network, its weights or its
            layers state.
        width_multiplier: Factor on the channel counts of all layers, above 0 and at most 16. None for that of the model.
        input_size: (height, width) in pixels. None for that of an architecture, else of the weights, else of the model.
        input_channels: Number of channels of the input. None for that of the model.
        classes: Number of classes. None for that of an architecture, else of the weights, else of the model.

    Example:
        >>> ModelRequest(model="multi_max@0.5", input_size=(192, 192)).classes is None
        True
    """

    model: str | Path | Architecture | keras.Model
    weights: str | Path | None = None
    preprocessing: StatedRule | None = None
    width_multiplier: float | None = None
    input_size: tuple[int, int] | None = None
    input_channels: int | None = None
    classes: int | None = None


class ResolvedModel(NamedTuple):
    """A request whose names, sizes and weights are checked.

    Attributes:
        request: The request.
        architecture: The network at its width, size and class count, with the preprocessing that its weights expect and one
            mean and one standard deviation per channel. None for a built model, whose architecture is read when it is opened.
        weights: Path of the weights file. None without weights.
        info: Description in the weights file. None for a plain Keras file, or without weights.
        notes: Remarks on the sizes that the weights decided.
    """

    request: ModelRequest
    architecture: Architecture | None
    weights: Path | None = None
    info: WeightsInfo | None = None
    notes: tuple[str, ...] = ()


def resolve_model(request: ModelRequest, *, top: bool = True) -> ResolvedModel:
    """Resolves a request: looks names up, applies the changes, and locates the weights and reads their description.

    Args:
        request: The request.
        top: Whether the classifier is exported; without it the class count of the weights does not matter.

    Raises:
        NoEffectError: The request states weights, a width, channels or classes for a built model; the message names the field.
        MhmodelsError: A name is unknown, the network does not take the size or width, or the weights are of another network.

    Example:
        >>> resolve_model(ModelRequest(model="multi_max@0.5", input_size=(192, 192))).architecture.input_size
        (192, 192)
    """
    network = requested_network(request)
    if network is None:
        return ResolvedModel(request, None)
    asked = {"input_size": request.input_size, "input_channels": request.input_channels, "classes": request.classes}
    if isinstance(request.model, Architecture):  # an architecture is at the size and class count that its caller wants
        asked = {name: getattr(network, name) for name in asked}
    weighted = weighted_network(network, request.weights, asked, top=top)
    network, stated = weighted.architecture, None
    if weighted.path is not None:
        stated = file_rule(weighted.path) if weighted.info is None else weighted.info.preprocessing
    rule = stated or network.preprocessing
    if request.preprocessing is not None:
        rule = request.preprocessing.over(rule)
    network = fit_preprocessing(msgspec.structs.replace(network, preprocessing=rule))
    return ResolvedModel(request, network, weighted.path, weighted.info, weighted.notes)


def requested_network(request: ModelRequest) -> Architecture | None:
    """Returns the network of a request with the changes to it, before its weights are read; None for a built model.

    Raises:
        NoEffectError, MhmodelsError: See `resolve_model`.
    """
    model = request.model
    if isinstance(model, Architecture):
        network = model
    elif isinstance(model, (str, Path)) and not is_keras_file(str(model)):
        network = resolve(str(model))
    else:
        _refuse_changes(request)
        return None
    return network.at(
        width_multiplier=request.width_multiplier,
        input_size=request.input_size,
        input_channels=request.input_channels,
        classes=request.classes,
    )


def _refuse_changes(request: ModelRequest) -> None:
    """Refuses the changes that a built model cannot take: all except an input size, if the size of the model is open."""
    shown = request.model if isinstance(request.model, (str, Path)) else f"model '{getattr(request.model, 'name', '')}'"
    for name in ("weights", "width_multiplier", "input_channels", "classes"):
        if getattr(request, name) is not None:
            raise NoEffectError(f"argument '{name}': {shown} is a built model, which has its own")
