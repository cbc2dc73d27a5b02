"""Keras' HDF5 files as sources: `.weights.h5` and `.keras` of Keras 3, the older `.h5` of weights or models; Keras models.

Files are treated as hostile: links out of the file and arrays that are stored elsewhere are refused, and no array is read before
its shape has been checked.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhmodels.errors import WeightsError
from mhmodels.weights.sources.hdf5 import Array, Group, Link, open_file
from mhmodels.weights.sources.source import KERNEL_ROLES, NORM_ROLES, Layer, Part, Variable, WeightsSource, layer_of

if TYPE_CHECKING:
    import keras

INFO_PATH = "mhmodels_weights"
"""Dataset (uint8) with the JSON description in files of ours; Keras ignores it."""

LAYERS_GROUP = "layers"
KERAS_WEIGHTS = "model.weights.h5"
ROLES_BY_CLASS = {
    "conv2d": KERNEL_ROLES,
    "depthwise_conv2d": ("depthwise_kernel", "bias"),
    "dense": KERNEL_ROLES,
    "batch_normalization": NORM_ROLES,
}
"""A layer's variables in the order in which Keras 3 numbers them, by its class."""

NO_KERNELS = ("input_layer", "rescaling", "normalization", "dropout")


class Stored(NamedTuple):
    """A model as a file or an object holds it: its layers, and the models among them.

    Attributes:
        name: Name of the model.
        layers: In the order of the model (`in_order`), or by class and number.
    """

    name: str
    layers: tuple[Layer | Stored, ...]
    in_order: bool


@contextlib.contextmanager
def open_h5(path: str | os.PathLike[str]) -> Iterator[Group]:
    """Opens an HDF5 file, or the one inside a `.keras` file, for reading; gives its root.

    Raises:
        WeightsError: It cannot be read, or is no such file, now or later while it is open.
    """
    with open_file(path, KERAS_WEIGHTS) as opened:
        yield opened.root


def check_keras_file(path: str | os.PathLike[str]) -> None:
    """Reads the weights in a `.keras` file whole in the contained process, before Keras opens them in this one.

    Raises:
        WeightsError: No such file, damaged, or one that unpacks to more than a file of its size may.
    """
    with open_file(path, KERAS_WEIGHTS) as opened:
        opened.check()


def read_h5(file: Group, path: str) -> WeightsSource:
    """Reads names, shapes and order of an open Keras file; arrays are read when their variable is, while it is open.

    Raises:
        WeightsError: No Keras file.
    """
    if LAYERS_GROUP in file.members or "_layer_checkpoint_dependencies" in file.members:
        model, kind = Stored("model", tuple(_keras3_layers(file, path)), in_order=False), "Keras weights file"
    else:
        root = group_at(file, "model_weights", path) if "model_weights" in file.members else file
        if not any(name.startswith("layer_names") for name in root.attributes):
            raise WeightsError(f"{path}: an HDF5 file, but not one that Keras wrote (neither 'layers' nor 'layer_names' in it)")
        model, kind = Stored("model", tuple(_legacy_layers(root, path)), in_order=True), "Keras HDF5 file"
    return _source(path, kind, model)


def _source(path: str, kind: str, model: Stored) -> WeightsSource:
    """The parts of a model, and the names of all its variables."""
    parts = tuple(_parts(model))
    names = tuple(sorted(variable.name for layer in parts[0].layers for variable in layer.variables.values()))
    return WeightsSource(path=path, kind=kind, parts=parts, variables=names)


def _parts(model: Stored) -> Iterator[Part]:
    """What may be the wanted network: the model as a whole, in each order that it may have, and every model inside it.

    A Keras 3 file orders layers by class and number, which says where layers of one class stand among each other, but not
    where a model inside stands: a backbone used as a layer comes before the layers of the head around it.
    """
    whole = Part(model.name, tuple(_flat(model)))
    inner = [layer for layer in model.layers if isinstance(layer, Stored)]
    if inner and not model.in_order:
        yield whole._replace(layers=tuple(_flat(model._replace(layers=(*inner, *model.layers)))))
    yield whole
    for nested in inner:
        yield from _parts(nested)


def _flat(model: Stored) -> Iterator[Layer]:
    """The layers with variables of a model and of those inside it, each once."""
    seen = set[int]()
    for layer in model.layers:
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        if isinstance(layer, Stored):
            yield from _flat(layer)
        elif layer.variables:
            yield layer


def read_model(model: keras.Model) -> WeightsSource:
    """Returns a built Keras model as a source, for example `keras.applications.MobileNetV2(...)`, nested models included."""
    return _source(str(model.name), "Keras model", _object(model))


def _object(model: keras.Model) -> Stored:
    layers = [_object(layer) if getattr(layer, "layers", None) else _object_layer(layer) for layer in model.layers]
    return Stored(str(model.name), tuple(layer for layer in layers if layer is not None), in_order=True)


def _object_layer(layer: keras.layers.Layer) -> Layer | None:
    if not layer.weights or type(layer).__name__ == "Normalization":
        return None
    depthwise = "Depthwise" in type(layer).__name__
    variables = {}
    for weight in layer.weights:
        name = weight.name.split("/")[-1].removesuffix(":0")
        role = "depthwise_kernel" if depthwise and name == "kernel" else name
        shape = tuple(int(side) for side in weight.shape)
        variables[role] = Variable(f"{layer.name}/{name}", shape, str(weight.dtype), functools.partial(_values, weight))
    return layer_of(layer.name, variables)


def _values(weight: keras.Variable) -> NDArray[np.generic]:
    return np.asarray(weight.numpy())


def _keras3_layers(file: Group, path: str) -> Iterator[Layer | Stored]:
    """Layers of a Keras 3 file: groups by class with a running number, variables by number, the layer's name aside."""
    root = group_at(file, LAYERS_GROUP if LAYERS_GROUP in file.members else "_layer_checkpoint_dependencies", path)
    numbered = sorted((*_split(name), name) for name in root.members)
    for class_name, _, name in numbered:
        group = group_at(root, name, path)
        if LAYERS_GROUP in group.members:  # a model used as a layer
            yield Stored(name, tuple(_keras3_layers(group, path)), in_order=False)
            continue
        if "vars" not in group.members or class_name in NO_KERNELS:
            continue
        stored = group_at(group, "vars", path)
        roles = ROLES_BY_CLASS.get(class_name)
        keys = sorted(stored.members, key=lambda key: (len(key), key))
        given = stored.attributes.get("name")
        layer_name = given if isinstance(given, str) else name
        numbers = roles if roles is not None and len(keys) <= len(roles) else tuple(f"{class_name} {key}" for key in keys)
        variables = {role: dataset_variable(stored, key, path) for role, key in zip(numbers, keys, strict=False)}
        yield layer_of(layer_name, variables)


def _split(name: str) -> tuple[str, int]:
    """`conv2d_12` as (`conv2d`, 12); `conv2d` alone is number 0."""
    found = re.fullmatch(r"(.*?)(?:_(\d{1,6}))?", name, re.DOTALL)
    assert found is not None
    return found[1], int(found[2] or 0)


def _legacy_layers(root: Group, path: str) -> Iterator[Layer | Stored]:
    """Layers of an older file: names in attributes, in the order of the model."""
    for layer_name in _texts(root, "layer_names"):
        if layer_name.split("/")[0] not in root.members:
            raise WeightsError(f"{path}: truncated: layer '{layer_name}' is listed but not stored")
        group = group_at(root, layer_name, path)
        # A model used as a layer stores the variables of all its layers in one group, as LAYER/VARIABLE.
        owners: dict[str, dict[str, Variable]] = {}
        for weight_name in _texts(group, "weight_names"):
            variable = dataset_variable(group, weight_name, path)
            owner, _, role = weight_name.rpartition("/")
            role = role.removesuffix(":0")
            spatial = len(variable.shape) == 4 and variable.shape[0] > 1
            if role == "kernel" and spatial and variable.shape[-1] == 1:
                role = "depthwise_kernel"  # Keras 3 calls both kinds `kernel`
            owners.setdefault(owner, {})[role] = variable
        layers = [layer_of(owner.rpartition("/")[2], variables) for owner, variables in owners.items()]
        if len(layers) == 1:
            yield layers[0]._replace(name=layer_name)
        elif layers:
            yield Stored(layer_name, tuple(layers), in_order=True)


def _texts(group: Group, name: str) -> list[str]:
    """A list of names in an attribute, or in several (`NAME0`, `NAME1`, …) where it was too long for one."""
    keys = group.attributes
    parts = [name] if name in keys else sorted((key for key in keys if key.startswith(name)), key=lambda key: (len(key), key))
    return [text for part in parts for text in keys[part]]


def group_at(parent: Group, name: str, path: str) -> Group:
    """A group inside the file, never behind a link that leads out of it.

    Raises:
        WeightsError: There is none.
    """
    found = _inside(parent, name, path)
    if not isinstance(found, Group):
        raise WeightsError(f"{path}: '{found.name}' is an array, expected a group")
    return found


def dataset_variable(parent: Group, name: str, path: str) -> Variable:
    """An array inside the file as a variable.

    Raises:
        WeightsError: There is none, or its values are kept outside the file; when it is read, too, if it holds no numbers.
    """
    found = _inside(parent, name, path)
    if not isinstance(found, Array) or not found.inside:
        raise WeightsError(f"{path}: '{found.name}' is not an array stored in this file")
    return Variable(found.name.lstrip("/"), found.shape, found.dtype, found.read)


def _inside(parent: Group, name: str, path: str) -> Group | Array:
    node: Group | Array = parent
    for step in name.split("/"):
        found = node.members.get(step) if isinstance(node, Group) else None
        if found is None:
            raise WeightsError(f"{path}: truncated or altered: '{name}' is missing in '{parent.name}'")
        if isinstance(found, Link):
            raise WeightsError(f"{path}: '{name}' is a link, expected data stored in this file")
        node = found
    return node
