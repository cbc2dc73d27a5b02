"""Hardware as data, and who measures on it. A new family of hardware is one more runner in the table."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from mhmodels.errors import UnknownNameError
from mhmodels.formats.checked import Checked
from mhmodels.hardware.measurement import Environment, Kind, Measurement

DEFAULT_HARDWARE = ("host-cpu-float32", "host-cpu-int8", "ethos-u55-128", "ethos-u65-256", "ethos-u85-256")


class Hardware(Checked, frozen=True, kw_only=True):
    """One thing to measure on.

    Attributes:
        id: as in `--hardware`.
        format: of the files it takes: float32, float16, int8 or uint8.
        kind: of the latencies it gives.
        description: for people.
        strict: files of other formats are refused; else the runner judges them itself, as a compiler does.
        turns: it can time a reference network in turns with the one in question (`Job.reference`).
        configuration: what the runner needs to know, JSON values only.
    """

    id: str
    format: str
    kind: Kind
    description: str
    strict: bool = True
    turns: bool = False
    configuration: dict[str, Any] = msgspec.field(default_factory=dict)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A checked request: this file, so often.

    Attributes:
        path: absolute path of the .tflite file.
        model_hash, file_bytes, format: of its content.
        model: label for tables.
        architecture_id, weights: as in `Measurement`.
        batch: first dimension of the first input.
        runs: timed inferences a block.
        threads: of the runtime.
        reference: a network to time in turns with this one, on hardware with `turns`; None times this one alone.
    """

    path: Path
    model_hash: str
    file_bytes: int
    format: str
    model: str
    architecture_id: str | None
    weights: str
    batch: int
    runs: int
    threads: int
    reference: Job | None = None


class Runner(Protocol):
    """Measures on one family of hardware.

    Attributes:
        exclusive: it uses this machine, so nothing else may be timed meanwhile; compilers may run beside each other.
    """

    exclusive: bool

    def hardware(self) -> Sequence[Hardware]:
        """What there is to measure on, here and now."""

    def find(self, hardware_id: str) -> Hardware | None:
        """The hardware of that id, also one that `hardware` does not list; None if it is none of this family's."""

    def unavailable(self, hardware: Hardware) -> str:
        """Why it cannot be measured from here; "" if it can."""

    def environment(self, hardware: Hardware) -> Environment:
        """What a latency measured now would depend on."""

    def measure(self, job: Job, hardware: Hardware) -> Measurement:
        """One latency, or a row with the reason why the network does not run there as a whole.

        Raises:
            MeasurementError: neither could be found out.
        """


_BUILT_IN = {
    "host": "mhmodels.hardware.host.runner",
    "vela": "mhmodels.hardware.vela.runner",
    "roofline": "mhmodels.hardware.roofline",
}
_registered: dict[str, Runner] = {}


def register(family: str, runner: Runner) -> None:
    """Adds a family of hardware, or replaces the one of that name."""
    _registered[family] = runner


def runners() -> dict[str, Runner]:
    """All runners by family, those of this package first."""
    built_in = {family: importlib.import_module(module).RUNNER for family, module in _BUILT_IN.items()}
    return {**built_in, **_registered}


def list_hardware() -> list[tuple[Hardware, Runner]]:
    """Everything that the runners list, the default five first."""
    found = [(hardware, runner) for runner in runners().values() for hardware in runner.hardware()]
    rank = {name: place for place, name in enumerate(DEFAULT_HARDWARE)}
    return sorted(found, key=lambda entry: rank.get(entry[0].id, len(rank)))


def get_hardware(hardware_id: str) -> tuple[Hardware, Runner]:
    """The hardware of an id, with its runner.

    Raises:
        UnknownNameError: no runner knows it; the message offers the nearest ids.
    """
    for runner in runners().values():
        hardware = runner.find(hardware_id)
        if hardware is not None:
            return hardware, runner
    known = [hardware.id for hardware, _ in list_hardware()]
    raise UnknownNameError("hardware", hardware_id, known, "(`mhmodels hardware` shows all)")


def split_hardware(words: Iterable[str], listed: Iterable[str] = ()) -> tuple[list[str], list[str]]:
    """Sorts a command line's words into targets and hardware ids.

    `--hardware A B`, `--hardware A,B` and `--hardware A --hardware B` then mean the same: a word that names a hardware
    and no file is one, wherever it stands.

    Args:
        words: positional arguments.
        listed: values of `--hardware`.

    Returns:
        Other words, and hardware ids, each once, in their order.

    Raises:
        UnknownNameError: a value of `--hardware` that no runner knows.
    """
    ids = [get_hardware(part)[0].id for value in listed for part in value.split(",") if part]
    targets = []
    for word in words:
        parts = [part for part in word.split(",") if part]
        if parts and not Path(word).exists() and all(_known(part) for part in parts):
            ids += parts
        else:
            targets.append(word)
    return targets, list(dict.fromkeys(ids))


def _known(hardware_id: str) -> bool:
    return any(runner.find(hardware_id) is not None for runner in runners().values())
