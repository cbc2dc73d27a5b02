"""State dicts of PyTorch as sources: their tensors as layers in order of execution, in the layout of Keras.

PyTorch stores kernels as (out, in, height, width), Keras as (height, width, in, out); dense kernels are (out, in) there and 1x1
convolutions here. `torch_names` orders the layers by their names.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mhmodels.errors import WeightsError
from mhmodels.system.files import open_regular
from mhmodels.weights.sources.pytorch.names import (
    BIASED,
    IGNORED,
    NESTED,
    NESTED_AVERAGES,
    PREFIXES,
    SCHEMES,
    NamingScheme,
    in_order,
    neighbour,
    scheme_of,
)
from mhmodels.weights.sources.pytorch.pickle_file import looks_like_torch, read_pickled
from mhmodels.weights.sources.pytorch.safetensors_file import looks_like_safetensors, read_safetensors
from mhmodels.weights.sources.source import Layer, LayerKind, Part, Variable, WeightsSource

NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
KERNEL = {"weight": "kernel", "bias": "bias"}
FLOATS = ("float16", "bfloat16", "float32", "float64")
SUFFIXES = (".safetensors", ".pth", ".pt")
"""Endings by which a damaged file counts as one of PyTorch; any other file does by its content only."""
SHOWN = 3


def is_state_dict(path: str) -> bool:
    """Returns whether a regular file is of PyTorch, by its content; by its name if it is damaged."""
    with open_regular(path) as file:
        start = file.read(512)
    return looks_like_safetensors(start) or looks_like_torch(path, start) or Path(path).suffix in SUFFIXES


def read_state_dict(path: str) -> WeightsSource:
    """Reads names, shapes and order of a state dict; values are read when their variable is.

    Args:
        path: A safetensors file, or a file of `torch.save`: a state dict, or a dictionary that holds one.

    Raises:
        WeightsError: The file is damaged or holds other things than tensors, its names are of no known package, or a tensor is
            missing; the message names it.
    """
    with open_regular(path) as file:
        start = file.read(512)
    averages: dict[str, Variable] = {}
    if looks_like_safetensors(start) or (Path(path).suffix == ".safetensors" and not looks_like_torch(path, start)):
        kind, own = "safetensors file", read_safetensors(path)
    else:
        kind = "PyTorch file"
        own, averages = _state_dicts(path, read_pickled(path))
    own, averages = _without_prefix(own), _without_prefix(averages)
    ignored = tuple(name for name in own if name.rpartition(".")[2] in IGNORED)
    tensors = {name: variable for name, variable in own.items() if name not in ignored}
    layers, scheme = _layers(path, tensors)
    moving = {name: value for layer in _layers(path, averages)[0] for name, value in _by_name(layer)} if averages else {}
    return WeightsSource(
        path=path,
        kind=f"{kind} with {scheme.title}'s names",
        parts=(Part("state dict", tuple(layers)),),
        variables=tuple(sorted(tensors)),
        training_state=ignored,
        averages=moving,
        origin=scheme.origin,
    )


def _by_name(layer: Layer) -> list[tuple[str, Variable]]:
    return [(variable.name, variable) for variable in layer.variables.values()]


def _state_dicts(path: str, content: object) -> tuple[dict[str, Variable], dict[str, Variable]]:
    """Returns the state dict in what a file holds, and its moving averages if they are there."""
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: holds {_what(content)}, expected a state dict: names with their tensors")
    nested = {key: value for key, value in content.items() if isinstance(value, dict) and _has_tensors(value)}
    own = next((nested[key] for key in NESTED if key in nested), None)
    averages = next((nested[key] for key in NESTED_AVERAGES if key in nested), None)
    if own is None and averages is not None:
        own, averages = averages, None
    if own is None and _has_tensors(content):
        own = content
    if own is None:
        keys = ", ".join(repr(key)[:40] for key in list(content)[:6])
        raise WeightsError(
            f"{path}: a dictionary without a state dict (it has {keys or 'nothing'}), expected names with tensors, or one of the "
            f"keys {', '.join(NESTED)}"
        )
    return _named(path, own), _named(path, averages or {})


def _has_tensors(content: dict[object, object]) -> bool:
    return any(isinstance(value, Variable) for value in content.values())


def _named(path: str, content: dict[object, object]) -> dict[str, Variable]:
    """Returns a state dict whose variables have their names; it holds nothing but tensors."""
    for name, value in content.items():
        if not isinstance(value, Variable) or not isinstance(name, str):
            raise WeightsError(f"{path}: '{str(name)[:80]}' is {_what(value)}, expected a tensor under a name")
    return {str(name): value._replace(name=str(name)) for name, value in content.items() if isinstance(value, Variable)}


def _what(value: object) -> str:
    if isinstance(value, Variable):
        return "a tensor"
    kinds: dict[type, str] = {dict: "a dictionary", list: "a list", tuple: "a tuple", str: "a text"}
    return kinds.get(type(value), f"{value!r}"[:60])


def _without_prefix(tensors: dict[str, Variable]) -> dict[str, Variable]:
    """Takes away what wrappers put before all names."""
    while True:
        found = next((prefix for prefix in PREFIXES if tensors and all(name.startswith(prefix) for name in tensors)), None)
        if found is None:
            return tensors
        tensors = {name[len(found) :]: variable._replace(name=name[len(found) :]) for name, variable in tensors.items()}


def _layers(path: str, tensors: dict[str, Variable]) -> tuple[list[Layer], NamingScheme]:
    """Returns the layers in order of execution, those with unknown names last, and the naming scheme."""
    modules: dict[str, dict[str, Variable]] = {}
    for name, variable in tensors.items():
        module, _, leaf = name.rpartition(".")
        if leaf not in IGNORED:
            modules.setdefault(module, {})[leaf] = variable
    scheme = scheme_of(modules)
    if scheme is None:
        raise WeightsError(
            f"{path}: tensors with names of no known package ({', '.join(list(tensors)[:SHOWN]) or 'none at all'}), expected "
            f"those of {', '.join(each.title for each in SCHEMES)}"
        )
    ordered, others = in_order(modules, scheme)
    layers = [_layer(path, name, modules[name], first=name == ordered[0]) for name in ordered]
    _check_complete(path, layers, scheme)
    return [*layers, *(Layer("other", name, dict(modules[name])) for name in others)], scheme


def _layer(path: str, name: str, leaves: dict[str, Variable], *, first: bool) -> Layer:
    """Returns a layer with its variables as Keras has them; its kind follows from the tensors and their shapes."""
    for leaf, variable in leaves.items():
        if variable.dtype not in FLOATS:
            raise WeightsError(f"{path}: tensor '{name}.{leaf}' is of type {variable.dtype}, expected one of {', '.join(FLOATS)}")
    weight = leaves.get("weight")
    norm = "running_mean" in leaves or "running_var" in leaves or (weight is not None and len(weight.shape) == 1)
    roles = NORM if norm else KERNEL
    if not leaves.keys() <= roles.keys():
        return Layer("other", name, dict(leaves))
    missing = roles.keys() - leaves.keys() - (set() if norm else {"bias"})
    if missing:
        raise WeightsError(f"{path}: tensor '{name}.{min(missing)}' is missing, the others of '{name}' are there; get it anew")
    if norm:
        return Layer("batch_norm", name, {role: leaves[leaf] for leaf, role in roles.items()})
    assert weight is not None
    kind, layout = _layout(weight.shape, first=first)
    if layout is None:
        return Layer("other", name, dict(leaves))
    variables = {"kernel": layout(weight)}
    if "bias" in leaves:
        variables["bias"] = leaves["bias"]
    return Layer(kind, name, variables)


def _layout(shape: tuple[int, ...], *, first: bool) -> tuple[LayerKind, Callable[[Variable], Variable] | None]:
    """Returns the kind of a layer with a kernel of this shape, and the function that brings the kernel into Keras' layout."""
    if len(shape) == 2:
        return "conv", functools.partial(_transposed, axes=(1, 0), dense=True)
    if len(shape) != 4:
        return "other", None
    # A stem that reads one channel has the shape of a depthwise kernel.
    if shape[1] == 1 and shape[2] > 1 and not first:
        return "depthwise", functools.partial(_transposed, axes=(2, 3, 0, 1))
    return "conv", functools.partial(_transposed, axes=(2, 3, 1, 0))


def _transposed(variable: Variable, axes: tuple[int, ...], dense: bool = False) -> Variable:
    def read() -> NDArray[np.generic]:
        """Returns the values in Keras' layout."""
        values = variable.read().transpose(axes)
        return values[None, None] if dense else values

    shape = tuple(variable.shape[axis] for axis in axes)
    return variable._replace(shape=(1, 1, *shape) if dense else shape, read=read, stored=variable.shape)


def _check_complete(path: str, layers: Sequence[Layer], scheme: NamingScheme) -> None:
    """Checks that each normalisation follows a convolution, and that a convolution without normalisation has a bias."""
    names = [layer.name for layer in layers]
    if any(layer.kind == "other" for layer in layers):
        return  # no network has them, which is said where one is wanted
    before: Layer | None = None
    for layer in (*layers, None):
        if layer is not None and layer.kind == "batch_norm" and (before is None or before.kind == "batch_norm"):
            _missing(path, f"{neighbour(layer.name, names, scheme, -1) or 'the convolution before it'}.weight", layer.name)
        if before is not None and _is_bare(before) and (layer is None or layer.kind != "batch_norm"):
            _missing_behind(path, before, names, scheme)
        before = layer


def _is_bare(layer: Layer) -> bool:
    return layer.kind in ("conv", "depthwise") and "bias" not in layer.variables


def _missing_behind(path: str, layer: Layer, names: Collection[str], scheme: NamingScheme) -> None:
    """Reports that a convolution has neither bias nor normalisation, by the name of that which its kind has."""
    kernel = layer.variables["kernel"]
    dense = kernel.stored is not None and len(kernel.stored) == 2
    if dense or layer.name.rpartition(".")[2] in BIASED:
        _missing(path, f"{layer.name}.bias", layer.name)
    _missing(path, f"{neighbour(layer.name, names, scheme, 1) or 'the normalisation behind it'}.weight", layer.name)


def _missing(path: str, tensor: str, beside: str) -> None:
    raise WeightsError(f"{path}: tensor '{tensor}' is missing, which belongs to '{beside}'; get it anew")
