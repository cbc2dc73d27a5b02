"""Public names of a package that are imported from their modules on first use, so that importing the package stays light."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping


def lazy_names(package: str, module_of: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Makes the functions `__getattr__` and `__dir__` of a package.

    Args:
        package: `__name__` of the package.
        module_of: Module of each lazy name, relative to the package, for example `{"simulate": "roofline"}`.

    Returns:
        `__getattr__`, which imports a name from its module, and `__dir__`, which lists the package's `__all__`.
    """

    def load(name: str) -> object:
        """Imports a public name.

        Raises:
            AttributeError: The package has no such name.
        """
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{module_of[name]}"), name)

    def names() -> list[str]:
        """The public names."""
        return sorted(sys.modules[package].__all__)

    return load, names
