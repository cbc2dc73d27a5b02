"""Which hardware there is: an explicit, immutable collection of runners, and the runners that come with the package."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from mhmodels.errors import UnknownNameError
from mhmodels.hardware.protocol import Hardware, Runner

DEFAULT_HARDWARE = ("host-cpu-float32", "host-cpu-int8", "ethos-u55-128", "ethos-u65-256", "ethos-u85-256")
HARDWARE_SETS: Mapping[str, tuple[str, ...]] = {
    "default": DEFAULT_HARDWARE,
    # As the paper's five: CPU in both formats, a phone's DSP or NPU, and two other NPUs.
    "paper-like": ("host-cpu-float32", "host-cpu-int8", "hexagon-sa8255", "rknn-rk3588", "ethos-u85-256"),
}
"""Names of sets of hardware, which stand for their ids wherever ids of hardware are listed."""

BUILT_IN_FAMILIES = {
    "host": "mhmodels.hardware.host.runner",
    "gpu": "mhmodels.hardware.gpu.runner",
    "vela": "mhmodels.hardware.vela.runner",
    "hexagon": "mhmodels.hardware.hexagon.runner",
    "rknn": "mhmodels.hardware.rknn.runner",
    "roofline": "mhmodels.hardware.roofline",
}
"""By family the module whose `RUNNER` measures on it. A new family of hardware is one more line here."""


class HardwareEntry(NamedTuple):
    """A hardware, and the runner that measures on it.

    Example:
        >>> from mhmodels.hardware import get_hardware
        >>> entry = get_hardware("roofline-40")
        >>> entry.runner.unavailable(entry.hardware)
        ''
    """

    hardware: Hardware
    runner: Runner


def split_ids(values: Iterable[str]) -> list[str]:
    """Splits lists of hardware ids at commas, and puts the ids of a set in the place of its name.

    Args:
        values: Ids and names of sets (`HARDWARE_SETS`), several joined by commas.

    Returns:
        Ids in their order, as often as they are named.

    Example:
        >>> split_ids(["default,hexagon-sa8255"])[-2:]
        ['ethos-u85-256', 'hexagon-sa8255']
    """
    parts = [part for value in values for part in value.split(",") if part]
    return [name for part in parts for name in HARDWARE_SETS.get(part, (part,))]


class HardwareCollection:
    """Runners by family. Immutable: `with_runner` makes another collection.

    Args:
        runners: By name of the family. Where two families know an id, the first one has it.

    Example:
        >>> from mhmodels.hardware import built_in_hardware
        >>> hardware, runner = built_in_hardware().get("ethos-u55-128")
        >>> hardware.format, hardware.kind
        ('int8', 'estimated')
    """

    __slots__ = ("runners",)

    def __init__(self, runners: Mapping[str, Runner]) -> None:
        self.runners: Mapping[str, Runner] = MappingProxyType(dict(runners))

    def __repr__(self) -> str:
        return f"<HardwareCollection of {', '.join(self.runners)}>"

    def with_runner(self, family: str, runner: Runner) -> HardwareCollection:
        """A collection with one more family of hardware; a family of that name is replaced."""
        return HardwareCollection({**self.runners, family: runner})

    def entries(self) -> list[HardwareEntry]:
        """Everything that the runners list, the default five first."""
        found = [HardwareEntry(hardware, runner) for runner in self.runners.values() for hardware in runner.hardware()]
        rank = {name: place for place, name in enumerate(DEFAULT_HARDWARE)}
        return sorted(found, key=lambda entry: rank.get(entry.hardware.id, len(rank)))

    def get(self, hardware_id: str) -> HardwareEntry:
        """The hardware of an id, also of one that `entries` does not list, such as `roofline-40` or `SERIAL/xnnpack`.

        Raises:
            UnknownNameError: No runner knows the id; the message offers the nearest ids.
        """
        for runner in self.runners.values():
            hardware = runner.find(hardware_id)
            if hardware is not None:
                return HardwareEntry(hardware, runner)
        known = [entry.hardware.id for entry in self.entries()]
        raise UnknownNameError("hardware", hardware_id, known, "(`mhmodels hardware` shows all)")

    def __contains__(self, hardware_id: str) -> bool:
        return any(runner.find(hardware_id) is not None for runner in self.runners.values())

    def split_words(self, words: Iterable[str], listed: Iterable[str] = ()) -> tuple[list[str], list[str]]:
        """Sorts words into models or files, and hardware ids.

        `A B`, `A,B`, and A and B in `listed` then mean the same: a word that names a hardware and no file is a hardware,
        wherever it stands.

        Args:
            words: Models, files, hardware ids and names of sets (`HARDWARE_SETS`), several ids joined by commas.
            listed: Hardware ids and names of sets only, likewise.

        Returns:
            Models and files, and hardware ids, each once, in their order.

        Raises:
            UnknownNameError: An id in `listed` that no runner knows.
        """
        ids = [self.get(part).hardware.id for part in split_ids(listed)]
        targets = []
        for word in words:
            parts = split_ids([word])
            if parts and not Path(word).exists() and all(part in self for part in parts):
                ids += parts
            else:
                targets.append(word)
        return targets, list(dict.fromkeys(ids))


def built_in_hardware() -> HardwareCollection:
    """The hardware that comes with the package: this host's CPU, Arm Ethos-U (Vela), Qualcomm Hexagon, Rockchip, and rooflines.

    Example:
        >>> from mhmodels.hardware import built_in_hardware
        >>> "roofline-40" in built_in_hardware()
        True
    """
    return HardwareCollection({family: importlib.import_module(module).RUNNER for family, module in BUILT_IN_FAMILIES.items()})


def get_hardware(hardware_id: str) -> HardwareEntry:
    """A hardware that comes with the package, by its id.

    Raises:
        UnknownNameError: No such hardware; the message offers the nearest ids.

    Example:
        >>> from mhmodels.hardware import get_hardware
        >>> get_hardware("ethos-u85-256").hardware.kind
        'estimated'
    """
    return built_in_hardware().get(hardware_id)


def list_hardware() -> list[HardwareEntry]:
    """All hardware that comes with the package, the default five first.

    Example:
        >>> from mhmodels.hardware import list_hardware
        >>> [entry.hardware.id for entry in list_hardware()][:2]
        ['host-cpu-float32', 'host-cpu-int8']
    """
    return built_in_hardware().entries()
