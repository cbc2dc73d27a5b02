"""Asking a runner what each layer of a file costs."""

from __future__ import annotations

from contextlib import nullcontext

from mhmodels.errors import MeasurementError
from mhmodels.hardware.collection import HardwareCollection, HardwareEntry, built_in_hardware
from mhmodels.hardware.layers.profile import LayerProfile
from mhmodels.hardware.machine_lock import machine_lock
from mhmodels.hardware.measuring import check
from mhmodels.hardware.protocol import Job, LayerProfiler


def profile_layers(job: Job, hardware_id: str, *, hardware: HardwareCollection | None = None) -> LayerProfile:
    """Finds out what each layer of a file costs on a hardware.

    Args:
        job: The file (`prepare`).
        hardware_id: Identifier, such as `ethos-u65-256`.
        hardware: Collection that has the id; None for the hardware that comes with the package.

    Raises:
        UnknownNameError: No such hardware.
        FileFormatError: The file is not of the format that the hardware takes.
        MeasurementError: The hardware does not tell the cost of layers, cannot be reached from here, or does not run the network
            as a whole.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mhmodels import get_architecture
        >>> from mhmodels.export.writing.latency import latency_file
        >>> from mhmodels.hardware import prepare, profile_layers
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     job = prepare(latency_file(get_architecture("mobilenet_v1").at(width_multiplier=0.25), "int8", Path(folder)))
        ...     profile = profile_layers(job, "ethos-u55-128")
        >>> profile.costliest(1)[0].name, round(profile.covered, 3)
        ('logits', 1.0)
    """
    known = hardware or built_in_hardware()
    entry = known.get(hardware_id)
    profiler = layer_profiler(entry, known)
    check(job, *entry)
    alone = machine_lock(shared=entry.hardware.kind != "measured") if entry.runner.exclusive else nullcontext()
    with alone:
        return profiler.profile_layers(job, entry.hardware)


def layer_profiler(entry: HardwareEntry, known: HardwareCollection) -> LayerProfiler:
    """Returns the runner of a hardware that tells the cost of layers.

    Raises:
        MeasurementError: It does not; the message names the hardware that does.
    """
    if isinstance(entry.runner, LayerProfiler):
        return entry.runner
    able = ", ".join(each.hardware.id for each in known.entries() if isinstance(each.runner, LayerProfiler)) or "none"
    raise MeasurementError(f"{entry.hardware.id} does not tell what each layer costs; hardware that does: {able}")
