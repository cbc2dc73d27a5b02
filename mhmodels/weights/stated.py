"""The class count and input size that weights state of their network, before anything is built."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mhmodels.architecture import Architecture
from mhmodels.errors import WeightsError
from mhmodels.weights.downloading.registered import locate
from mhmodels.weights.files import read_info
from mhmodels.weights.info import WeightsInfo
from mhmodels.weights.matching import same_network


class Weighted(NamedTuple):
    """A network as its weights state it.

    Attributes:
        architecture: The network, with the class count and input size of its weights where nothing else was asked for.
        notes: What the weights decided, in words; empty where the network had it already.
        path: The weights file; None without weights.
        info: Description in the file; None for a plain Keras file, or without weights.
    """

    architecture: Architecture
    notes: tuple[str, ...] = ()
    path: Path | None = None
    info: WeightsInfo | None = None


def weighted_network(
    architecture: Architecture, weights: str | os.PathLike[str] | None, changes: Mapping[str, Any], *, top: bool = True
) -> Weighted:
    """Returns a network with changes, and with what its weights state where nothing was changed.

    Only the description of the file is read, so that a misfit is reported before a model is built.

    Args:
        architecture: Network at the wanted width.
        weights: Path of a weights file, a registered name, or None. A plain Keras file states nothing.
        changes: Wanted `input_size`, `input_channels` and `classes`; None for no change.
        top: Whether the classifier is wanted; without it the class count does not matter.

    Raises:
        WeightsError: The weights cannot be obtained, are of another network, or have another class count than wanted.
        UnknownNameError: `weights` is neither a file nor a registered name.
    """
    asked = {name: value for name, value in changes.items() if value is not None}
    architecture = architecture.at(**asked)
    if weights is None:
        return Weighted(architecture)
    path = locate(weights, architecture)
    info = read_info(path)
    if info is None:
        return Weighted(architecture, path=path)
    own = info.network(str(path))
    classifier = top and info.holds == "the whole network"
    check_network(str(path), own, architecture, classes=classifier and "classes" in asked)
    taken: dict[str, Any] = {}
    if classifier and own.classes != architecture.classes:
        taken["classes"] = own.classes
    if "input_size" not in asked and own.input_size != architecture.input_size:
        taken["input_size"] = own.input_size
    notes = tuple(f"{_words(name, value)}, as the weights say" for name, value in taken.items())
    return Weighted(architecture.at(**taken), notes, path, info)


def check_network(path: str, own: Architecture, architecture: Architecture, *, classes: bool) -> None:
    """Checks that weights belong to a network, at any input size and, unless `classes` is set, any class count.

    Args:
        path: Name of the weights file, for messages.
        own: Network of the weights.
        architecture: Network that they are wanted for.
        classes: Whether the class count must be equal.

    Raises:
        WeightsError: They belong to another network.
    """
    if own.input_channels != architecture.input_channels:
        raise WeightsError(
            f"{path}: for pictures of {own.input_channels} channels, expected {architecture.input_channels} as the model "
            f"reads; build it with input_shape=(…, …, {own.input_channels})"
        )
    if classes and own.classes != architecture.classes:
        raise WeightsError(
            f"{path}: {own.classes} classes, expected {architecture.classes} as the model has; build it with "
            f"classes={own.classes}, or with include_top=False and a classifier of your own"
        )
    if not same_network(own, architecture):
        raise WeightsError(
            f"{path}: weights of {own.name} at width {own.width_multiplier:g} ({own.architecture_id}), expected "
            f"{architecture.name} at width {architecture.width_multiplier:g}; build '{own.name}@{own.width_multiplier:g}', "
            "or give weights of the network that you build"
        )


def _words(name: str, value: Any) -> str:
    return f"{value} classes" if name == "classes" else f"input of {value[0]}x{value[1]} pixels"
