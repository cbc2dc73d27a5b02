"""What each layer costs by the table that Rockchip's compiler prints: cycles of computing and of transfers.

The cycles of a layer are the larger one of both, and their sum is the estimate of the whole network (`runner.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mhmodels.errors import MeasurementError
from mhmodels.hardware.layers.onnx_layers import OnnxLayers, read_onnx_layers
from mhmodels.hardware.layers.profile import LayerCost, LayerProfile, with_shares
from mhmodels.hardware.protocol import Hardware, Job
from mhmodels.hardware.rknn.table import RknnLayer

MEMORY = "DDR"


def profile_table(rows: Sequence[RknnLayer], job: Job, hardware: Hardware) -> LayerProfile:
    """Makes a profile of a table in which the whole network has cycles.

    Raises:
        FileFormatError: The shapes of the file's tensors do not follow from the file.
        MeasurementError: No layer has cycles.
    """
    clock_mhz = hardware.configuration["assumed_clock_mhz"]
    traffic_mb = 1024 * sum(row.traffic_kb for row in rows) / 1e6
    costs, merged = match_rows(rows, read_onnx_layers(job.path), clock_mhz)
    return LayerProfile(
        hardware=hardware.id,
        model=job.model,
        kind=hardware.kind,
        unit="ms",
        layers=costs,
        total=sum(row.cycles for row in rows) / clock_mhz / 1e3,
        merged=merged,
        notes=(
            f"Rockchip's compiler counts cycles; the clock of {clock_mhz:g} MHz is assumed, so only shares and ratios count.",
            f"{traffic_mb:.1f} MB move between the NPU and the main memory in an inference.",
            "Rockchip's compiler adds the layers up, as if none ran while another one does; it does not tell the use of the MAC "
            "array.",
        ),
    )


def match_rows(rows: Iterable[RknnLayer], onnx: OnnxLayers, clock_mhz: float) -> tuple[tuple[LayerCost, ...], tuple[str, ...]]:
    """Adds the rows of each layer of the file up.

    A row is named after the tensor that its first operator writes, such as `Conv:NAME_ConvAdd` for a convolution with the
    addition behind it. A row with a name that is not in the file belongs to the layer of the row before it.

    Args:
        rows: Rows of Rockchip's table.
        onnx: Layers of the file.
        clock_mhz: Clock of the NPU.

    Returns:
        The layers that cost something, in the order of the network, and the names of the others.

    Raises:
        MeasurementError: No row has cycles, or rows before all known ones have some.
    """
    parts: dict[int, list[RknnLayer]] = {}
    owner: int | None = None
    for row in rows:
        found = onnx.find(row.name.partition(":")[2])
        owner = owner if found is None else found
        if not row.cycles:
            continue
        if owner is None:
            raise MeasurementError(f"Rockchip's table begins with '{row.name}', which is no layer of the file")
        parts.setdefault(owner, []).append(row)
    costs = with_shares(_cost(onnx, onnx.owner(position, parts), own, clock_mhz) for position, own in parts.items())
    known = {cost.position for cost in costs}
    return costs, onnx.without_cost(known)


def _cost(onnx: OnnxLayers, position: int, rows: Sequence[RknnLayer], clock_mhz: float) -> LayerCost:
    waits = sum(row.ddr_cycles for row in rows) > sum(row.npu_cycles for row in rows)
    cycles = sum(row.cycles for row in rows)
    return onnx.cost(position, cycles / clock_mhz / 1e3, MEMORY if waits else "", len(rows))
