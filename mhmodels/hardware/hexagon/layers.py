"""What each layer costs by the schedule behind Qualcomm's estimate (`trace.py`).

The units of the NPU work at the same time, often for several layers. So the cycles of the schedule are divided among the layers,
and their sum is the length of the schedule:

- A cycle in which units compute counts in equal parts for the layers that they compute.
- A cycle in which data only moves counts in equal parts for the layers whose data it is.
- A cycle in which nothing happens counts for the layer that starts next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mhmodels.errors import MeasurementError
from mhmodels.hardware.hexagon.profile import HexagonProfile
from mhmodels.hardware.hexagon.trace import TraceEvent
from mhmodels.hardware.layers.onnx_layers import OnnxLayers, read_onnx_layers
from mhmodels.hardware.layers.profile import LayerCost, LayerProfile, with_shares
from mhmodels.hardware.protocol import Hardware, Job

MEMORY = "DRAM"
_ROUNDING = 0.01


class LayerCycles(NamedTuple):
    """Cycles of a schedule that count for one layer.

    Attributes:
        cycles: All of them.
        waits: Those in which its data moves and no unit computes.
        parts: Number of operations of the compiled graph.
    """

    cycles: float
    waits: float
    parts: int


def profile_trace(trace: Sequence[TraceEvent], estimate: HexagonProfile, job: Job, hardware: Hardware) -> LayerProfile:
    """Makes a profile of a schedule.

    Args:
        trace: The schedule.
        estimate: Qualcomm's estimate of the whole network.
        job, hardware: As in `LayerProfiler.profile_layers`.

    Raises:
        FileFormatError: The shapes of the file's tensors do not follow from the file.
        MeasurementError: The schedule is not as long as the estimate.
    """
    cycles, end = estimate.cycles[0], max(event.start + event.cycles for event in trace)
    if abs(end - cycles) > _ROUNDING * cycles:
        raise MeasurementError(f"{job.path}: Qualcomm's schedule takes {end} cycles, where its estimate is {cycles}")
    onnx = read_onnx_layers(job.path)
    found = divide_cycles(trace, onnx)
    clock_mhz = hardware.configuration["clock_mhz"]
    return LayerProfile(
        hardware=hardware.id,
        model=job.model,
        kind=hardware.kind,
        unit="ms",
        layers=with_shares(_cost(onnx, position, own, clock_mhz) for position, own in found.items()),
        total=cycles / clock_mhz / 1e3,
        merged=onnx.without_cost(found),
        notes=(
            "Layers overlap in Qualcomm's schedule: a cycle counts in equal parts for the layers that are computed in it, or, if "
            "nothing is computed, for the layers whose data moves (limit DRAM).",
            f"{estimate.dram_bytes / 1e6:.1f} MB move between the NPU and the main memory in an inference.",
            "Qualcomm's compiler does not tell the use of the matrix and vector units.",
        ),
    )


def divide_cycles(trace: Sequence[TraceEvent], onnx: OnnxLayers) -> dict[int, LayerCycles]:
    """Divides the cycles of a schedule among the layers of the file, by position.

    Events without a name that is in the file belong to the layer of the event before them.
    """
    owners = list(_owners(trace, onnx))
    shared: dict[int, float] = {}
    waited: dict[int, float] = {}
    for length, layers, computes in _spans(trace, owners):
        for layer in layers:
            shared[layer] = shared.get(layer, 0.0) + length / len(layers)
            waited[layer] = waited.get(layer, 0.0) + (0.0 if computes else length / len(layers))
    parts = Counter(owner for owner, _ in {(owner, event.identifier) for owner, event in zip(owners, trace, strict=True)})
    return {layer: LayerCycles(shared[layer], waited[layer], parts[layer]) for layer in sorted(shared)}


def _owners(trace: Sequence[TraceEvent], onnx: OnnxLayers) -> Iterator[int]:
    found = [onnx.find(event.name) for event in trace]
    last = next((owner for owner in found if owner is not None), 0)
    named = {owner for owner in found if owner is not None}
    for owner in found:
        last = last if owner is None else owner
        yield onnx.owner(last, named)


def _spans(trace: Sequence[TraceEvent], owners: Sequence[int]) -> Iterator[tuple[int, list[int], bool]]:
    """Yields the spans between the moments at which something starts or ends: cycles, layers, and whether a unit computes."""
    changes = sorted(
        change
        for event, owner in zip(trace, owners, strict=True)
        for change in ((event.start, 1, owner, event.computes), (event.start + event.cycles, -1, owner, event.computes))
    )
    running: dict[bool, Counter[int]] = {True: Counter(), False: Counter()}
    before = 0
    for moment, step, owner, computes in changes:
        if moment > before:
            busy = next((kind for kind in (True, False) if running[kind]), None)
            # Where nothing runs, the next change is the start of an event, which may take no time itself.
            yield moment - before, [owner] if busy is None else list(running[busy]), busy is not False
            before = moment
        running[computes][owner] += step
        if not running[computes][owner]:
            del running[computes][owner]


def _cost(onnx: OnnxLayers, position: int, own: LayerCycles, clock_mhz: float) -> LayerCost:
    return onnx.cost(position, own.cycles / clock_mhz / 1e3, MEMORY if 2 * own.waits > own.cycles else "", own.parts)
