"""Keras' HDF5 files as sources: `.weights.h5` and `.keras` of Keras 3, and the older `.h5` of weights or whole models.

Also a Keras model object. Files are hostile until shown otherwise: links out of the file and arrays kept elsewhere are
refused, and no array is read before its shape has been found right.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from mhmodels.errors import MhmodelsError, WeightsError
from mhmodels.weights.source import KERNEL_ROLES, NORM_ROLES, Layer, Part, Source, Variable, layer_of

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

LARGEST = 4 << 30
"""Bytes that the weights inside a `.keras` file may unpack to; a small zip file can hold a disk full of zeros."""

NO_KERNELS = ("input_layer", "rescaling", "normalization", "dropout")


class Stored(NamedTuple):
    """A model as a file or an object holds it: its layers, and the models among them.

    Attributes:
        name: of the model.
        layers: in the order of the model (`in_order`), or by class and number.
    """

    name: str
    layers: tuple[Layer | Stored, ...]
    in_order: bool


@contextlib.contextmanager
def open_h5(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """Opens an HDF5 file, or the one inside a `.keras` file, for reading.

    Raises:
        WeightsError: it cannot be read, or is no such file, now or later while it is open.
    """
    try:
        with contextlib.ExitStack() as stack:
            file: Any = Path(path)
            if zipfile.is_zipfile(path):
                archive = stack.enter_context(zipfile.ZipFile(path))
                file = stack.enter_context(_member(archive, str(path)))
            yield stack.enter_context(h5py.File(file, "r"))
    except MhmodelsError:
        raise
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, zipfile.BadZipFile, EOFError) as error:
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(
            f"{path}: cannot be read as Keras weights ({reason}); expected a whole .weights.h5, .h5 or .keras file"
        ) from error


def _member(archive: zipfile.ZipFile, path: str) -> IO[bytes]:
    if KERAS_WEIGHTS not in archive.namelist():
        raise WeightsError(f"{path}: a zip file without {KERAS_WEIGHTS}, expected one that Keras saved (.keras)")
    size = archive.getinfo(KERAS_WEIGHTS).file_size
    if size > LARGEST:
        raise WeightsError(f"{path}: {KERAS_WEIGHTS} in it unpacks to {size} bytes, expected at most {LARGEST}")
    return archive.open(KERAS_WEIGHTS)


def read_h5(file: h5py.File, path: str) -> Source:
    """Reads names, shapes and order of an open Keras file; arrays are read when their variable is, while it is open.

    Raises:
        WeightsError: no Keras file.
    """
    if LAYERS_GROUP in file or "_layer_checkpoint_dependencies" in file:
        model, kind = Stored("model", tuple(_keras3_layers(file, path)), in_order=False), "Keras weights file"
    else:
        root = group_at(file, "model_weights", path) if "model_weights" in file else file
        if not any(name.startswith("layer_names") for name in root.attrs):
            raise WeightsError(f"{path}: an HDF5 file, but not one that Keras wrote (neither 'layers' nor 'layer_names' in it)")
        model, kind = Stored("model", tuple(_legacy_layers(root, path)), in_order=True), "Keras HDF5 file"
    return _source(path, kind, model)


def _source(path: str, kind: str, model: Stored) -> Source:
    """The parts of a model, and the names of all its variables."""
    parts = tuple(_parts(model))
    names = tuple(sorted(variable.name for layer in parts[0].layers for variable in layer.variables.values()))
    return Source(path=path, kind=kind, parts=parts, variables=names)


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


def read_model(model: Any) -> Source:
    """A built Keras model as a source, for example `keras.applications.MobileNetV2(...)`; models inside it are entered."""
    return _source(str(model.name), "Keras model", _object(model))


def _object(model: Any) -> Stored:
    layers = [_object(layer) if getattr(layer, "layers", None) else _object_layer(layer) for layer in model.layers]
    return Stored(str(model.name), tuple(layer for layer in layers if layer is not None), in_order=True)


def _object_layer(layer: Any) -> Layer | None:
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


def _values(weight: Any) -> NDArray[Any]:
    return np.asarray(weight.numpy())


def _keras3_layers(file: h5py.File, path: str) -> Iterator[Layer | Stored]:
    """Layers of a Keras 3 file: groups by class with a running number, variables by number, the layer's name aside."""
    root = group_at(file, LAYERS_GROUP if LAYERS_GROUP in file else "_layer_checkpoint_dependencies", path)
    numbered = sorted((*_split(name), name) for name in root)
    for class_name, _, name in numbered:
        group = group_at(root, name, path)
        if LAYERS_GROUP in group:  # a model used as a layer
            yield Stored(name, tuple(_keras3_layers(group, path)), in_order=False)
            continue
        if "vars" not in group or class_name in NO_KERNELS:
            continue
        stored = group_at(group, "vars", path)
        roles = ROLES_BY_CLASS.get(class_name)
        keys = sorted(stored, key=lambda key: (len(key), key))
        given = stored.attrs.get("name")
        layer_name = given if isinstance(given, str) else name
        numbers = roles if roles is not None and len(keys) <= len(roles) else tuple(f"{class_name} {key}" for key in keys)
        variables = {role: dataset_variable(stored, key, path) for role, key in zip(numbers, keys, strict=False)}
        yield layer_of(layer_name, variables)


def _split(name: str) -> tuple[str, int]:
    """`conv2d_12` as (`conv2d`, 12); `conv2d` alone is number 0."""
    found = re.fullmatch(r"(.*?)(?:_(\d{1,6}))?", name, re.DOTALL)
    assert found is not None
    return found[1], int(found[2] or 0)


def _legacy_layers(root: h5py.Group, path: str) -> Iterator[Layer | Stored]:
    """Layers of an older file: names in attributes, in the order of the model."""
    for layer_name in _texts(root, "layer_names"):
        if layer_name not in root:
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


def _texts(group: h5py.Group, name: str) -> list[str]:
    """A list of names in an attribute, or in several (`NAME0`, `NAME1`, …) where it was too long for one."""
    parts = [name] if name in group.attrs else sorted((k for k in group.attrs if k.startswith(name)), key=lambda k: (len(k), k))
    return [value.decode() if isinstance(value, bytes) else str(value) for part in parts for value in group.attrs[part]]


def group_at(parent: h5py.Group, name: str, path: str) -> h5py.Group:
    """A group inside the file, never behind a link that leads out of it.

    Raises:
        WeightsError: there is none.
    """
    found = _inside(parent, name, path)
    if not isinstance(found, h5py.Group):
        raise WeightsError(f"{path}: '{found.name}' is an array, expected a group")
    return found


def dataset_variable(parent: h5py.Group, name: str, path: str) -> Variable:
    """An array inside the file as a variable.

    Raises:
        WeightsError: there is none, or its values are kept outside the file; when it is read, too, if it holds no numbers.
    """
    found = _inside(parent, name, path)
    if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
        raise WeightsError(f"{path}: '{found.name}' is not an array stored in this file")

    def read() -> NDArray[Any]:
        if found.dtype.kind not in "fiu" or found.dtype.itemsize > 8:
            raise WeightsError(
                f"{path}: '{found.name}' is of type {found.dtype}, expected floats or whole numbers of up to 8 bytes"
            )
        return np.asarray(found[()])

    return Variable(found.name.lstrip("/"), tuple(int(side) for side in found.shape), str(found.dtype), read)


def _inside(parent: h5py.Group, name: str, path: str) -> Any:
    node: Any = parent
    for step in name.split("/"):
        if not isinstance(node, h5py.Group) or step not in node:
            raise WeightsError(f"{path}: truncated or altered: '{name}' is missing in '{parent.name}'")
        if not isinstance(node.get(step, getlink=True), h5py.HardLink):
            raise WeightsError(f"{path}: '{name}' is a link, expected data stored in this file")
        node = node[step]
    return node
