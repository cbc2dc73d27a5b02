"""Names to networks: the zoo's tables, `NAME@WIDTH`, architecture files."""

from __future__ import annotations

import fnmatch
import functools
import importlib
import pkgutil
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from mhmodels import families
from mhmodels.architecture import Architecture, load_architecture
from mhmodels.errors import ArchitectureError, FileFormatError, UnknownNameError
from mhmodels.families.rows import ZooModel
from mhmodels.formats.json_files import plain_text

if TYPE_CHECKING:
    from mhmodels.network import Endpoint


@functools.cache
def zoo() -> Mapping[str, ZooModel]:
    """Every network of the zoo by name: the `MODELS` of every module in `mhmodels/families`.

    Raises:
        ArchitectureError: Two tables declare one name.
    """
    entries: dict[str, ZooModel] = {}
    for family in sorted(module.name for module in pkgutil.iter_modules(families.__path__)):
        for entry in getattr(importlib.import_module(f"{families.__name__}.{family}"), "MODELS", ()):
            name = entry.architecture.name
            if name in entries:
                raise ArchitectureError(f"family '{family}' declares '{name}', which another family declares already")
            entries[name] = entry
    return MappingProxyType(entries)


def list_models(
    pattern: str = "*",
    *,
    max_params: float | None = None,
    max_madds: float | None = None,
    max_input_size: int | None = None,
) -> list[str]:
    """Lists the names of the zoo, sorted, variants such as `multi_max.tunas` included.

    Args:
        pattern: Shell pattern that names must match, for example `mobilenet_v3*`.
        max_params: Largest number of parameters (`Complexity.params`) at width 1.0; None for no limit.
        max_madds: Largest number of multiply-accumulates at width 1.0 and the network's own input size; None for no limit.
        max_input_size: Largest side of the input in pixels; None for no limit.

    Returns:
        The names.

    Example:
        >>> from mhmodels import list_models
        >>> list_models("multi_*", max_params=4e6)
        ['multi_avg_seg', 'multi_max_seg']
    """
    from mhmodels.complexity import complexity

    names = sorted(name for name in zoo() if fnmatch.fnmatchcase(name, pattern.lower()))
    if max_input_size is not None:
        names = [name for name in names if max(zoo()[name].architecture.input_size) <= max_input_size]
    if max_params is None and max_madds is None:
        return names
    counts = {name: complexity(zoo()[name].architecture) for name in names}
    return [
        name
        for name in names
        if (max_params is None or counts[name].params <= max_params) and (max_madds is None or counts[name].madds <= max_madds)
    ]


def endpoints(
    model: str | Architecture,
    *,
    width_multiplier: float | None = None,
    out_strides: Collection[int] | None = None,
    output_stride: int | None = None,
) -> tuple[Endpoint, ...]:
    """Lists the feature maps that `create_model(model, features=True, …)` returns, without building anything.

    Args:
        model: A zoo name, `NAME@WIDTH`, the path of an architecture file, or an `Architecture`.
        width_multiplier: Factor in place of the model's own; None keeps that.
        out_strides: Wanted strides, as in `create_model`; None for all endpoints.
        output_stride: 8, 16, 32 or None, as in `create_model`.

    Returns:
        Layer name, stride, channels and level of each map, in the order of the model's outputs.

    Raises:
        MhmodelsError: An argument is out of range; the message says which and what there is.

    Example:
        >>> from mhmodels import endpoints
        >>> [(each.stride, each.channels) for each in endpoints("multi_max", out_strides=(8, 16, 32))]
        [(8, 64), (16, 128), (32, 160)]
    """
    from mhmodels.network import lower, select_endpoints

    architecture = resolve(model) if isinstance(model, str) else model
    network = lower(architecture.at(width_multiplier=width_multiplier), output_stride=output_stride, top=False)
    return select_endpoints(network, out_strides)


def get_architecture(name: str) -> Architecture:
    """Returns the architecture of a zoo name, at width 1.0, its published input size and 1000 classes.

    Args:
        name: Name in the zoo, as `list_models` lists them.

    Raises:
        UnknownNameError: The zoo has no such name; the message suggests the nearest names.

    Example:
        >>> from mhmodels import get_architecture
        >>> get_architecture("mobilenet_v2").input_size
        (224, 224)
    """
    try:
        return zoo()[name].architecture
    except KeyError:
        raise UnknownNameError("model", name, zoo(), "(`mhmodels list` shows all)") from None


def is_keras_file(model: str) -> bool:
    """Whether a MODEL argument is a `.keras` file: some networks of the zoo (`mobilenet_v2.keras`) have names that end so."""
    return model.endswith(".keras") and model not in zoo()


_STATE_DICT = (
    "a PyTorch file; import its weights with `mhmodels weights import {model} --model NAME -o NAME.weights.h5`. This expects "
    "{expected}"
)
_FILES = {
    ".keras": "a Keras model, which `mhmodels export`, `consistency` and `verify --against` take; this expects {expected}",
    ".h5": "Keras' HDF5 file. If it holds weights, give the name of their network, and {model} as its weights (argument "
    "'weights'). If it holds a whole model, save it as .keras first: "
    "keras.models.load_model('{model}').save('{stem}.keras')",
    ".hdf5": "Keras' HDF5 file; rename it to .h5, which Keras reads. If it holds weights, give the name of their network and "
    "the file as its weights (argument 'weights'). If it holds a whole model, save it as .keras first: "
    "keras.models.load_model('{stem}.h5').save('{stem}.keras')",
    ".tflite": "a TFLite file, which `mhmodels verify` and `bench` take; this expects {expected}",
    ".onnx": "an ONNX file, which is not read; this expects {expected}",
    ".pb": "a TensorFlow graph, which is not read. Load it in TensorFlow, and import its weights with `mhmodels weights import`",
    ".pt": _STATE_DICT,
    ".pth": _STATE_DICT,
    ".safetensors": _STATE_DICT,
}
"""What files are that a MODEL argument is mistaken for, by their ending."""


def _mistaken(model: str) -> str | None:
    """What a file is that is no architecture, and what to do with it."""
    path = Path(model)
    text = _FILES.get(path.suffix.lower())
    if text is None:
        return None
    expected = "a name of the zoo, NAME@WIDTH, or an architecture file (.json)"
    return text.format(model=plain_text(model), stem=plain_text(str(path.with_suffix(""))), expected=expected)


def resolve(model: str) -> Architecture:
    """Returns the architecture that a MODEL argument of the command line stands for.

    Args:
        model: A zoo name, `NAME@WIDTH`, or the path of an architecture file, which may have `@WIDTH` behind it too. Examples:
            `multi_max`, `multi_max.tunas`, `mobilenet_v1@1.25`, `found.json`, `found.json@0.5`.

    Returns:
        The architecture, at the stated width if one is stated.

    Raises:
        UnknownNameError: `model` is neither a zoo name nor a file.
        ArchitectureError: The width is not a number in range.
        FileFormatError: The file is not an architecture; for files of known kinds the message says which command takes them.

    Example:
        >>> from mhmodels import resolve
        >>> resolve("mobilenet_v1@1.25").width_multiplier
        1.25
    """
    base, at, width = model.rpartition("@")
    if not at or Path(model).is_file():
        base, at, width = model, "", ""
    mistaken = None if base in zoo() else _mistaken(base)
    if mistaken is not None:
        missing = "" if Path(base).is_file() else "no such file; by its name "
        raise FileFormatError(f"{plain_text(base)}: {missing}{mistaken}")
    looks_like_file = base.endswith(".json") or "/" in base
    architecture = load_architecture(base) if looks_like_file else get_architecture(base)
    if not at:
        return architecture
    try:
        multiplier = float(width)
    except ValueError:
        raise ArchitectureError(
            f"model '{model}': width multiplier is '{width}', expected a number as in '{base}@1.25'"
        ) from None
    return architecture.at(width_multiplier=multiplier)
