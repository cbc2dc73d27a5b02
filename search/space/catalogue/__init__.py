"""Search spaces by name. Every module of this package has a table `SPACES` of functions that make spaces."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from types import MappingProxyType

from mhmodels.errors import UnknownNameError
from mhmodels.search.space.search_space import SearchSpace


@functools.cache
def space_makers() -> Mapping[str, Callable[[], SearchSpace]]:
    """Functions that make the spaces, by name, sorted."""
    makers: dict[str, Callable[[], SearchSpace]] = {}
    for module in sorted(entry.name for entry in pkgutil.iter_modules(__path__)):
        makers.update(getattr(importlib.import_module(f"{__name__}.{module}"), "SPACES", {}))
    return MappingProxyType(dict(sorted(makers.items())))


def list_spaces() -> list[str]:
    """Names of all search spaces, sorted.

    Example:
        >>> from mhmodels.search import list_spaces
        >>> "multi_hardware" in list_spaces()
        True
    """
    return list(space_makers())


@functools.cache
def get_space(name: str) -> SearchSpace:
    """Returns the search space of a name. It is made once.

    Args:
        name: Name of a space, see `list_spaces`.

    Raises:
        UnknownNameError: No space has this name; the message offers the nearest names.

    Example:
        >>> from mhmodels.search import get_space
        >>> get_space("nas_bench_201")
        <TabularSpace nas_bench_201: 6 decisions, 1.56e+04 networks>
    """
    try:
        maker = space_makers()[name]
    except KeyError:
        raise UnknownNameError("search space", name, space_makers()) from None
    return maker()
