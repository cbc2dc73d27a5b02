"""The advice about one network on one hardware: its costliest layers, what their figures say, and what changes would save."""

from __future__ import annotations

import os

import msgspec

from mhmodels.advice.findings import LayerAdvice, findings
from mhmodels.advice.places import place_of, places
from mhmodels.advice.savings import ChangeProgress, ChangeResult, try_changes
from mhmodels.architecture import Architecture
from mhmodels.errors import MeasurementError
from mhmodels.hardware import (
    HardwareCollection,
    HardwareEntry,
    Job,
    LayerProfile,
    built_in_hardware,
    check_format,
    prepare,
    profile_layers,
)
from mhmodels.hardware.layers.file_layers import FileLayer
from mhmodels.hardware.layers.profiling import layer_profiler
from mhmodels.hardware.layers.reading import read_layers
from mhmodels.system.temporary import temporary_folder

TOP = 10
_FILE = (
    "A file is only profiled: without its architecture no block of it can be changed and estimated again. Give the model instead "
    "(a name of the zoo, or an architecture file) to see what changes would save."
)


class Advice(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Advice about one network on one hardware.

    Attributes:
        profile: Costs of all layers.
        shapes: Layers of the file, with their shapes.
        findings: What the figures of the costliest layers say, the costliest first.
        changes: What changes of their blocks would save, the largest saving first.
        no_changes: Why no changes were tried; "" if they were.

    Example:
        >>> from mhmodels.advice import advise
        >>> from mhmodels import get_architecture
        >>> small = get_architecture("multi_max").at(width_multiplier=0.25, input_size=64)
        >>> advice = advise(small, "ethos-u55-128", top=3, changes=False)
        >>> len(advice.findings), advice.no_changes
        (3, 'No changes were asked for.')
    """

    profile: LayerProfile
    shapes: tuple[FileLayer, ...]
    findings: tuple[LayerAdvice, ...]
    changes: tuple[ChangeResult, ...] = ()
    no_changes: str = ""


def advise(
    target: Architecture | str | os.PathLike[str],
    hardware_id: str,
    *,
    top: int = TOP,
    changes: bool = True,
    label: str | None = None,
    hardware: HardwareCollection | None = None,
    advance: ChangeProgress = lambda *_: None,
) -> Advice:
    """Finds the layers of a network that cost most on a hardware, and what changing their blocks would save.

    Args:
        target: Network, which gets random weights; or the path of a .tflite or .onnx file, which is only profiled.
        hardware_id: Identifier of hardware that tells the cost of layers, such as `ethos-u65-256`, `host-cpu-int8` or
            `rknn-rk3588`.
        top: Number of layers to say something about, from 1.
        changes: Whether to try changes of the blocks that these layers belong to.
        label: Name of the network in results; None for its own.
        hardware: Collection that has the id; None for the hardware that comes with the package.
        advance: Receives the progress of the changes.

    Raises:
        UnknownNameError: No such hardware.
        FileFormatError: The file is no TFLite or ONNX file, or not of the format that the hardware takes.
        MeasurementError: The hardware does not tell the cost of layers, cannot be reached from here, or does not run the network
            as a whole.

    Example:
        >>> from mhmodels import get_architecture
        >>> from mhmodels.advice import advise
        >>> small = get_architecture("multi_max").at(width_multiplier=0.25, input_size=64)
        >>> advice = advise(small, "ethos-u55-128", top=1)
        >>> all(change.saves >= 0 for change in advice.changes[:1])
        True
    """
    if top < 1:
        raise MeasurementError(f"top is {top}, expected at least 1 layer (argument 'top')")
    known = hardware or built_in_hardware()
    entry = known.get(hardware_id)
    layer_profiler(entry, known)  # before a file is written
    if not isinstance(target, Architecture):
        return _profiled(prepare(target, label=label), entry, known, top, _FILE)
    from mhmodels.export.writing.latency import latency_job

    with temporary_folder("advise") as folder:
        job = latency_job(target, entry.hardware, folder, label=label or target.name)
        advice = _profiled(job, entry, known, top, "" if changes else "No changes were asked for.")
        if not changes:
            return advice
        blocks = _blocks(target, [finding.layer for finding in advice.findings])
        if not blocks:
            return msgspec.structs.replace(advice, no_changes="None of these layers belongs to a block that can be changed.")
        tried = try_changes(target, blocks, advice.profile, job, entry, folder, advance)
    return msgspec.structs.replace(advice, changes=tried)


def _profiled(job: Job, entry: HardwareEntry, known: HardwareCollection, top: int, no_changes: str) -> Advice:
    check_format(job, entry.hardware)
    profile = profile_layers(job, entry.hardware.id, hardware=known)
    layers = read_layers(job.path)
    return Advice(profile=profile, shapes=layers, findings=findings(profile, layers, top), no_changes=no_changes)


def _blocks(architecture: Architecture, layers: list[str]) -> list[str]:
    """Prefixes of the blocks that layers belong to, each once, in the order of the layers."""
    known = places(architecture)
    found = (place_of(layer, known) for layer in layers)
    return list(dict.fromkeys(place.prefix for place in found if place is not None))
