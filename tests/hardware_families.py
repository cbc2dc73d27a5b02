"""Families of hardware that tests add to those of the package, as a module of its own would add one."""

from __future__ import annotations

import sys
from types import ModuleType

from mhmodels.hardware import Runner
from mhmodels.hardware.collection import BUILT_IN_FAMILIES


def add_family(name: str, runner: Runner) -> None:
    """Lets every collection that is made from now on have a runner, or another one under the same name."""
    module = ModuleType(f"{__name__}_{name}")
    vars(module)["RUNNER"] = runner
    sys.modules[module.__name__] = module
    BUILT_IN_FAMILIES[name] = module.__name__


def remove_family(name: str) -> None:
    """Takes back `add_family`."""
    sys.modules.pop(BUILT_IN_FAMILIES.pop(name, ""), None)
