"""Probes hardware for operations that it does not run, with one small network for each operation.

On hardware that can be measured from here the networks are measured, for the SoCs of `mhmodels place` they are compiled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from mhmodels.architecture import Architecture, Block, Conv, Head, MaxPool, SqueezeExcite
from mhmodels.families.rows import bottleneck, conv, ib
from mhmodels.hardware.capabilities import SQUEEZE_EXCITE, Capabilities

if TYPE_CHECKING:
    from mhmodels.hardware import HardwareCollection
    from mhmodels.hardware.placement.socs import PlacementTarget

_SIDE = 32
_KERNELS = (5, 7, 9)
_PLAIN = "plain"
_WITHOUT = (SQUEEZE_EXCITE, "hard_swish", "relu6", "max_pool", "average_pool")


def probes() -> Mapping[str, Architecture]:
    """The probes: small networks, each with one operation that hardware may not run, by its name; `plain` has none."""
    blocks: dict[str, Block] = {
        _PLAIN: ib(3, 1, 32, 2),
        SQUEEZE_EXCITE: ib(3, 1, 32, 2, squeeze_excite=SqueezeExcite()),
        "hard_swish": ib(3, 1, 32, 2, activation="hard_swish"),
        "relu6": ib(3, 1, 32, 2, activation="relu6"),
        "max_pool": MaxPool(),
        "average_pool": bottleneck(3, 2, 32, 0.5, shortcut="average_pool"),
        **{f"kernel {kernel}": ib(kernel, 1, 32, 2) for kernel in _KERNELS},
    }
    return {name: _network(name, block) for name, block in blocks.items()}


def probe(hardware_id: str, known: HardwareCollection | None = None) -> Capabilities:
    """Tries the probes on a hardware. Each probe that does not run as a whole is a limit of the hardware.

    Args:
        hardware_id: Hardware id (`mhmodels hardware` lists them), or the id of a placement target (SM8650, SM8650-uint8).
        known: Collection that has the id; None for the hardware that comes with the package.

    Raises:
        MhmodelsError: The hardware is unknown or cannot be reached, or the plain network does not run.
    """
    from mhmodels.errors import MeasurementError
    from mhmodels.hardware.placement.socs import placement_target

    target = placement_target(hardware_id)
    tried = _measured(hardware_id, known) if target is None else _placed(target)
    refused = tried.refused
    if _PLAIN in refused:
        raise MeasurementError(f"{hardware_id} does not even run a plain inverted bottleneck: {refused[_PLAIN]}")
    kernels = [kernel for kernel in _KERNELS if f"kernel {kernel}" in refused]
    return Capabilities(
        id=hardware_id,
        description=tried.description,
        source=f"found by {len(probes())} {tried.how} probes",
        max_kernel=kernels[0] - 2 if kernels else None,
        without=tuple(name for name in _WITHOUT if name in refused),
    )


class _Tried(NamedTuple):
    """What probes found: why some do not run, by name; the hardware, and how it was asked, in words."""

    refused: Mapping[str, str]
    description: str
    how: str


def _measured(hardware_id: str, known: HardwareCollection | None) -> _Tried:
    from mhmodels.export.writing.latency import latency_job
    from mhmodels.hardware import answer, built_in_hardware
    from mhmodels.system.temporary import temporary_folder

    hardware, runner = (known or built_in_hardware()).get(hardware_id)
    refused: dict[str, str] = {}
    with temporary_folder("probe") as folder:
        for name, architecture in probes().items():
            job = latency_job(architecture, hardware, folder, label=f"probe {name}")
            row = answer(job, hardware, runner, tries=1).measurement
            if row.reason:
                refused[name] = row.reason
    return _Tried(refused, hardware.description, "exported")


def _placed(target: PlacementTarget) -> _Tried:
    from mhmodels.export.writing.latency import latency_bytes
    from mhmodels.hardware.placement.placing import compile_for_soc

    refused: dict[str, str] = {}
    for name, architecture in probes().items():
        content = latency_bytes(architecture, target.format)
        placement = compile_for_soc(content, f"probe {name}", target.soc).placement
        if not placement.whole:
            refused[name] = placement.summary
    soc = target.soc
    return _Tried(refused, f"{soc.title}, HTP v{soc.generation}, {target.format}: placement by Qualcomm's compiler", "compiled")


def _network(name: str, block: Block) -> Architecture:
    head = Head(features=(Conv(filters=32),))
    return Architecture(
        name=f"probe {name}", stem=(conv(3, 2, 32),), stages=((block,),), head=head, input_size=(_SIDE, _SIDE), classes=10
    )
