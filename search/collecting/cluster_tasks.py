"""Tasks of a collection over a dask.distributed cluster: the functions that run on its workers.

`cluster.py` connects to the scheduler and hands out the tasks.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import msgspec

from mhmodels.architecture import Architecture
from mhmodels.errors import MhmodelsError
from mhmodels.hardware import Hardware, HardwareCollection, HardwareEntry, answer, built_in_hardware
from mhmodels.search.collecting.latency_files import LatencyFiles
from mhmodels.search.collecting.settings import CollectSettings, reference_network
from mhmodels.system.temporary import temporary_folder
from mhmodels.version import __version__

MACHINE = "machine"
"""Worker resource of a host's own CPU and its compilers."""


class ClusterTask(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement, as a worker receives it.

    Attributes:
        hardware: Hardware id.
        label: Model name of the row.
        architecture: Architecture file (JSON).
        runs, threads: As in `CollectSettings`.
        reference: Zoo network to time in turns with it, "" for none.
    """

    hardware: str
    label: str
    architecture: str
    runs: int
    threads: int
    reference: str = ""


class TaskAnswer(NamedTuple):
    """A worker's answer.

    Attributes:
        row: The row as JSON, None after a failure.
        reason: Why there is no row.
        gone: Whether the worker has lost the hardware.
    """

    row: bytes | None
    reason: str = ""
    gone: bool = False


def resource_of(hardware: Hardware) -> str:
    """Worker resource that measurements on a hardware occupy: `machine`, or `phone-SERIAL`."""
    serial = hardware.configuration.get("serial")
    return f"phone-{serial}" if serial else MACHINE


def work(task: ClusterTask) -> TaskAnswer:
    """Measures one network on a worker: writes its file with random weights, takes the device's lock, measures."""
    settings = CollectSettings(runs=task.runs, threads=task.threads, reference=task.reference)
    try:
        hardware, runner = _hardware(task.hardware)
        architecture = Architecture.from_json(task.architecture, source=task.label)
        architecture = msgspec.structs.replace(architecture, name=task.label)
        with temporary_folder("collect") as folder:
            job = LatencyFiles(folder, settings).job(architecture, hardware, reference=reference_network(settings))
            return TaskAnswer(msgspec.json.encode(answer(job, hardware, runner).measurement))
    except (MhmodelsError, OSError) as error:
        return TaskAnswer(None, str(error), bool(look(task.hardware)[1]))


def look(hardware_id: str) -> tuple[bytes, str, str]:
    """Asks a worker about a hardware.

    Returns:
        Environment of its rows as JSON (empty if it cannot measure), why it cannot measure ("" if it can), and its version of
        mhmodels.
    """
    try:
        hardware, runner = _hardware(hardware_id)
        why_not = runner.unavailable(hardware)
        return (b"" if why_not else msgspec.json.encode(runner.environment(hardware), order="sorted")), why_not, __version__
    except MhmodelsError as error:
        return b"", str(error), __version__


def _hardware(hardware_id: str) -> HardwareEntry:
    """Hardware and runner of an id; a worker knows the phones of its host."""
    return (_with_phones() if "/" in hardware_id else built_in_hardware()).get(hardware_id)


@functools.cache
def _with_phones() -> HardwareCollection:
    """The hardware of a worker. All its tasks share one phone runner, which remembers what it found out about its phones."""
    from mhmodels.android_bench.runner import PhoneRunner

    return built_in_hardware().with_runner("phones", PhoneRunner())
