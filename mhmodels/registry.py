"""Names to networks: the zoo's tables, `NAME@WIDTH`, architecture files."""

from __future__ import annotations

import fnmatch
import functools
import importlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from mhmodels.architecture import Architecture, load_architecture
from mhmodels.errors import ArchitectureError, UnknownNameError
from mhmodels.families.rows import ZooModel

FAMILIES = (
    "multi_hardware",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3",
    "mobilenet_edgetpu",
    "proxylessnas",
)


@functools.cache
def zoo() -> Mapping[str, ZooModel]:
    """Every network of the zoo by name.

    Raises:
        ArchitectureError: two tables declare one name.
    """
    entries: dict[str, ZooModel] = {}
    for family in FAMILIES:
        for entry in importlib.import_module(f"mhmodels.families.{family}").MODELS:
            name = entry.architecture.name
            if name in entries:
                raise ArchitectureError(f"family '{family}' declares '{name}', which another family declares already")
            entries[name] = entry
    return MappingProxyType(entries)


def list_models(pattern: str = "*") -> list[str]:
    """Names that match a shell pattern (`mobilenet_v3*`), sorted; variants such as `multi_max.tunas` included."""
    return sorted(name for name in zoo() if fnmatch.fnmatchcase(name, pattern.lower()))


def get_architecture(name: str) -> Architecture:
    """The architecture that the zoo has under a name, at width 1.0, 224x224 and 1000 classes.

    Raises:
        UnknownNameError: no such name; the message offers the nearest.
    """
    try:
        return zoo()[name].architecture
    except KeyError:
        raise UnknownNameError("model", name, zoo(), "(`mhmodels list` shows all)") from None


def resolve(model: str) -> Architecture:
    """What a MODEL argument means: a zoo name, `NAME@WIDTH`, or the path of an architecture file.

    Args:
        model: for example `multi_max`, `multi_max.tunas`, `mobilenet_v1@1.25`, `found.json`, `found.json@0.5`.

    Returns:
        The architecture, at the stated width if one is stated.

    Raises:
        UnknownNameError: neither a zoo name nor a file.
        ArchitectureError: the width is not a number in range.
        FileFormatError: the file is not an architecture.
    """
    base, at, width = model.rpartition("@")
    if not at or Path(model).is_file():
        base, width = model, ""
    looks_like_file = base.endswith(".json") or "/" in base
    architecture = load_architecture(base) if looks_like_file else get_architecture(base)
    if not at or not width:
        return architecture
    try:
        multiplier = float(width)
    except ValueError:
        raise ArchitectureError(
            f"model '{model}': width multiplier is '{width}', expected a number as in '{base}@1.25'"
        ) from None
    return architecture.at(width_multiplier=multiplier)
