"""What each layer costs by Vela's own table (`--verbose-performance`), which Vela 5.2.0 writes as `NAME_per-layer.csv`.

A row is one operation of the NPU. Its cycles are the largest of the cycles of the NPU and of the access cycles of each memory,
and the sum over all rows is the estimate of the whole network.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from mhmodels.errors import MeasurementError
from mhmodels.hardware.layers.file_layers import FileLayer, file_layers
from mhmodels.hardware.layers.profile import LayerCost, LayerProfile, with_shares
from mhmodels.hardware.protocol import Hardware, Job
from mhmodels.hardware.vela.compiling import read_compilation, read_summary, vela_output
from mhmodels.tflite.file import read_tflite

MEMORIES = {"SRAM": "SRAM AC", "DRAM": "DRAM AC", "on-chip flash": "OnFlash AC", "off-chip flash": "OffFlash AC"}
"""Columns of access cycles by memory."""
_COLUMNS = ("Original Operator", "Name", "Op Cycles", "NPU", "MAC Count", *MEMORIES.values())
# Vela's names of operators that are not the TFLite name without its underscores.
_NAMES = {"AVGPOOL": "AVERAGEPOOL2D", "MAXPOOL": "MAXPOOL2D", "SIGMOID": "LOGISTIC"}
_CHANNELS = {"ethos-u55-32": 4, "ethos-u85-512": 16, "ethos-u85-1024": 16, "ethos-u85-2048": 16}
_USUAL_CHANNELS = 8
_ROUNDING = 1e-3
CHANNEL_SOURCE = "depth of the smallest output block of the MAC array: Vela, architecture_features.py and ethos_u85.cpp"


class VelaRow(NamedTuple):
    """A row of Vela's table.

    Attributes:
        operator: Kind of the file's operator that it belongs to, in Vela's words.
        name: Name of the tensor that it writes.
        cycles: Cycles that count for the estimate.
        npu: Cycles of the NPU itself.
        access: Access cycles by memory.
        macs: Multiply-accumulates.
    """

    operator: str
    name: str
    cycles: int
    npu: int
    access: dict[str, int]
    macs: int

    @property
    def memory(self) -> str:
        """Memory whose access takes longer than the computation; "" where the computation takes longest."""
        slowest = max(self.access, key=lambda memory: self.access[memory])
        return slowest if self.access[slowest] > self.npu else ""


def profile_layers(job: Job, hardware: Hardware) -> LayerProfile:
    """Compiles a file and reads the cost of each layer.

    Raises:
        MeasurementError: The compiler fails, its table cannot be read, or the network is not on the NPU as a whole.
    """
    with vela_output(job.path, hardware, options=["--verbose-performance"]) as output:
        compilation = read_compilation(output, job.path)
        if compilation.reason:
            raise MeasurementError(f"{hardware.id} does not run '{job.model}' as a whole, so its layers have no costs: "
                                   f"{compilation.reason}")  # fmt: skip
        rows = read_rows(output.folder / "network_per-layer.csv", job.path)
        clock_hz, cycles = _summary(output.folder, job.path)
    listed = sum(row.cycles for row in rows)
    if abs(listed - cycles) > _ROUNDING * cycles:
        raise MeasurementError(f"{job.path}: the rows of Vela's table of layers add up to {listed} cycles, where its summary has "
                               f"{cycles:.0f}: the table is cut off")  # fmt: skip
    layers, merged = match_rows(rows, file_layers(read_tflite(job.path)), clock_hz, _macs_per_cycle(hardware))
    return LayerProfile(
        hardware=hardware.id,
        model=job.model,
        kind=hardware.kind,
        unit="ms",
        layers=layers,
        total=compilation.latency_ms,
        merged=merged,
        channel_multiple=_CHANNELS.get(hardware.id, _USUAL_CHANNELS),
        channel_source=CHANNEL_SOURCE,
        notes=("Vela adds the layers up, as if none ran while another one does.",),
    )


def read_rows(path: Path, source: Path) -> list[VelaRow]:
    """Reads Vela's table of layers.

    Args:
        path: The table.
        source: Compiled file, for messages.

    Raises:
        MeasurementError: The table is missing, lacks a column, has a field that is no number, or has no rows.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            missing = [column for column in _COLUMNS if column not in (table.fieldnames or ())]
            if missing:
                raise ValueError(f"column '{missing[0]}' is missing")
            rows = [_row(fields, number) for number, fields in enumerate(table, 2)]
        if not rows:
            raise ValueError("no rows")
    except (OSError, ValueError, csv.Error) as error:
        raise MeasurementError(f"{source}: Vela left no readable table of layers ({path.name}: {error}); version 5.2.0 is known "
                               "to") from error  # fmt: skip
    return rows


def match_rows(
    rows: Sequence[VelaRow], layers: Sequence[FileLayer], clock_hz: float, macs_per_cycle: int
) -> tuple[tuple[LayerCost, ...], tuple[str, ...]]:
    """Adds the rows of each layer of the file up.

    A row belongs to the operator that writes the tensor of its name, or to the operator of its kind before it, such as the
    convolution before a fused activation. Rows with tensors of Vela's own belong to the next row of the same operator.

    Args:
        rows: Rows of Vela's table.
        layers: Layers of the compiled file.
        clock_hz: Clock of the NPU.
        macs_per_cycle: Multiply-accumulates of the whole MAC array in a cycle.

    Returns:
        The layers that cost something, in the order of the network, and the names of the others.
    """
    writers = {layer.name: layer for layer in layers}
    found: dict[int, list[VelaRow]] = {}
    waiting: list[VelaRow] = []
    for row in rows:
        waiting.append(row)
        if row.name not in writers:
            continue
        for one in waiting:
            same = one.operator == row.operator
            owner = _owner(row if same else one, writers[row.name], layers)
            found.setdefault(owner.position, []).append(one)
        waiting = []
    if waiting:  # tensors of Vela's own at the very end belong to the last layer
        found.setdefault(max(found, default=0), []).extend(waiting)
    costs = [_cost(layers[position], own, clock_hz, macs_per_cycle) for position, own in found.items()]
    known = {cost.position for cost in costs if cost.cost > 0}
    merged = tuple(layer.name for layer in layers if layer.position not in known)
    return with_shares(cost for cost in costs if cost.cost > 0), merged


def _owner(row: VelaRow, layer: FileLayer, layers: Sequence[FileLayer]) -> FileLayer:
    """The layer of a row's kind among a layer and those before it; the layer itself if there is none."""
    wanted = row.operator.upper()
    at: FileLayer | None = layer
    while at is not None:
        if at.operator.replace("_", "") == _NAMES.get(wanted, wanted):
            return at
        at = layers[at.source] if at.source >= 0 and at.macs == 0 else None
    return layer


def _cost(layer: FileLayer, rows: Iterable[VelaRow], clock_hz: float, macs_per_cycle: int) -> LayerCost:
    rows = tuple(rows)
    cycles, macs = sum(row.cycles for row in rows), sum(row.macs for row in rows)
    weight: dict[str, int] = {}
    for row in rows:
        weight[row.memory] = weight.get(row.memory, 0) + row.cycles
    memory = max(weight, key=lambda name: weight[name])
    return LayerCost(
        name=layer.name,
        operator=layer.operator,
        position=layer.position,
        cost=1e3 * cycles / clock_hz,
        macs=macs,
        moved_bytes=layer.moved_bytes,
        bound="memory" if memory else "compute",
        memory=memory,
        utilisation=min(1.0, macs / (macs_per_cycle * cycles)) if cycles else None,
        parts=sum(row.cycles > 0 for row in rows),
    )


def _row(fields: dict[str, str], line: int) -> VelaRow:
    numbers: dict[str, int] = {}
    for column in _COLUMNS[2:]:
        text = fields[column]
        try:
            numbers[column] = int(float(text))
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"line {line}: column '{column}' is {text!r}, expected a number") from None
        if numbers[column] < 0:
            raise ValueError(f"line {line}: column '{column}' is {text!r}, expected at least 0")
    if not fields["Name"]:  # the last column: the line was cut
        raise ValueError(f"line {line} ends before column 'Name'")
    return VelaRow(
        operator=fields["Original Operator"],
        name=fields["Name"],
        cycles=numbers["Op Cycles"],
        npu=numbers["NPU"],
        access={memory: numbers[column] for memory, column in MEMORIES.items()},
        macs=numbers["MAC Count"],
    )


def _summary(folder: Path, source: Path) -> tuple[float, float]:
    """Clock of the NPU in Hz, and cycles of the whole network."""
    try:
        row = read_summary(folder)
        clock, cycles = float(row["core_clock"]), float(row["cycles_total"])
    except (OSError, ValueError, KeyError) as error:
        raise MeasurementError(f"{source}: Vela's summary states no clock or cycles ({error!r}); version 5.2.0 does") from error
    if not (0 < clock < float("inf") and 0 < cycles < float("inf")):
        raise MeasurementError(f"{source}: Vela's summary states {clock:g} Hz and {cycles:g} cycles, expected numbers above 0")
    return clock, cycles


def _macs_per_cycle(hardware: Hardware) -> int:
    """The number at the end of an accelerator configuration, such as 256 in `ethos-u65-256`."""
    return int(str(hardware.configuration["accelerator_config"]).rpartition("-")[2])
