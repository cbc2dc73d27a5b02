"""The search spaces by name: every module in this package has a table `SPACES` of functions that make them."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from types import MappingProxyType

from mhmodels.errors import UnknownNameError
from mhmodels.search.space.search_space import Space


@functools.cache
def space_makers() -> Mapping[str, Callable[[], Space]]:
    """Every space's maker by name, sorted."""
    makers: dict[str, Callable[[], Space]] = {}
    for module in sorted(entry.name for entry in pkgutil.iter_modules(__path__)):
        makers.update(getattr(importlib.import_module(f"{__name__}.{module}"), "SPACES", {}))
    return MappingProxyType(dict(sorted(makers.items())))


@functools.cache
def get_space(name: str) -> Space:
    """The space of a name, made once.

    Raises:
        UnknownNameError: no such space; the message offers the nearest.
    """
    try:
        maker = space_makers()[name]
    except KeyError:
        raise UnknownNameError("search space", name, space_makers()) from None
    return maker()
