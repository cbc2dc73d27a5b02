"""Runner of Rockchip's NPUs: the cycles of Rockchip's compiler, where the NPU runs the whole network and all of it has cycles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mhmodels.errors import MeasurementError
from mhmodels.hardware.layers.profile import LayerProfile
from mhmodels.hardware.measurement import Environment, Measurement
from mhmodels.hardware.protocol import Hardware, Job, no_layer_costs, row_identity
from mhmodels.hardware.rknn import compile as compiler
from mhmodels.hardware.rknn.chips import CHIPS, Chip
from mhmodels.hardware.rknn.layers import profile_table
from mhmodels.hardware.rknn.table import RknnLayer, read_table
from mhmodels.hardware.tools.catalogue import ROCKCHIP
from mhmodels.hardware.tools.runner import OnnxToolRunner
from mhmodels.hardware.tools.running import ask_tool
from mhmodels.system.temporary import temporary_folder

TIMEOUT_S = 600.0
COMPILER = "RKNN-Toolkit2 2.5.0"
NEGLIGIBLE = ("exSoftmax13", "Reshape")
"""Kinds of operators that may have no cycles, or run on the CPU, at the end of a network, for up to `NEGLIGIBLE_OUTPUTS` values.

Every classifier ends with them. The softmax of 1,000 scores reads and writes 2 kB, a five-thousandth of the traffic of Multi-MAX;
on a CPU core of 1.8 GHz it takes below 0.06 ms at 100 cycles a score, and as long for every network with as many classes.
"""
NEGLIGIBLE_OUTPUTS = 4096
_PROGRAM = Path(compiler.__file__)


def _hardware(chip: Chip) -> Hardware:
    one_of = f", one of {chip.cores} NPU cores" if chip.cores > 1 else ""
    equal = f"; equal to {chip.same_cycles}" if chip.same_cycles else ""
    return Hardware(
        id=f"rknn-{chip.target}",
        format="onnx-int8",
        kind="estimated",
        description=f"Rockchip {chip.name} ({chip.product}){one_of}, int8: Rockchip's cycles at an assumed clock of "
        f"{chip.clock_mhz:g} MHz, only ratios count{equal}",
        configuration={
            "target_platform": chip.target,
            "npu_cores": 1,
            "assumed_clock_mhz": chip.clock_mhz,
            "optimization_level": 3,
        },
    )


TABLE = tuple(_hardware(chip) for chip in CHIPS)


class RknnCompilation(NamedTuple):
    """Result of compiling a file.

    Attributes:
        layers: Layers of the compiled network; empty if there is none.
        refusal: Why the compiler gave up; "" if it did not.
    """

    layers: tuple[RknnLayer, ...]
    refusal: str = ""

    @property
    def cycles(self) -> int:
        """Sum over all layers, which run one after the other."""
        return sum(layer.cycles for layer in self.layers)

    @property
    def on_cpu(self) -> tuple[RknnLayer, ...]:
        """Layers that the NPU does not run, negligible ones too."""
        return tuple(layer for layer in self.layers if layer.unit != "NPU")

    @property
    def significant(self) -> tuple[RknnLayer, ...]:
        """Layers that a latency of the network has to cover: all but negligible ones behind the last layer with cycles."""
        last = max((place for place, layer in enumerate(self.layers) if layer.cycles), default=-1)
        return tuple(layer for place, layer in enumerate(self.layers) if place < last or not _negligible(layer))

    @property
    def reason(self) -> str:
        """Why there is no latency of the whole network; "" if there is one."""
        if self.refusal:
            return f"Rockchip's compiler refuses the network ({self.refusal})"
        left_over = [layer for layer in self.significant if layer.unit != "NPU"]
        if left_over:
            return f"Rockchip's compiler leaves {_kinds(left_over)} to the CPU"
        uncosted = [layer for layer in self.significant if not layer.cycles]
        if uncosted:
            return f"Rockchip's table leaves out {len(uncosted)} operators ({_kinds(uncosted)}): not costed"
        return "" if self.cycles else "Rockchip's table has no cycles"


class RknnRunner(OnnxToolRunner):
    """Compiles ONNX files for Rockchip's NPUs and reports the compiler's cycles at the assumed clock."""

    table, tool = TABLE, ROCKCHIP

    def environment(self, hardware: Hardware) -> Environment:
        """The chip, the version of the compiler and its configuration."""
        device = f"{hardware.configuration['target_platform'].upper()}, one NPU core"
        return Environment(device=device, compiler=COMPILER, configuration=hardware.configuration)

    def measure(self, job: Job, hardware: Hardware) -> Measurement:
        """Compiles a file, and takes the cycles if the NPU runs the whole network and every operator has some.

        Raises:
            MeasurementError: The compiler dies, takes too long, or prints something unknown.
        """
        result = compile_for_rknn(job.path, hardware)
        identity = row_identity(job, hardware, self.environment(hardware))
        total = len(result.layers) or None
        nodes = None if total is None else total - len(result.on_cpu)
        if result.reason:
            return Measurement(**identity, reason=result.reason, delegated_nodes=nodes, total_nodes=total)
        return Measurement(
            **identity,
            median_ms=result.cycles / hardware.configuration["assumed_clock_mhz"] / 1e3,
            runs=1,
            delegated_nodes=nodes,
            total_nodes=total,
            device_state={
                "cycles": result.cycles,
                "ddr_cycles": sum(layer.ddr_cycles for layer in result.layers),
                "npu_cycles": sum(layer.npu_cycles for layer in result.layers),
                "dram_traffic_bytes": round(1024 * sum(layer.traffic_kb for layer in result.layers)),
            },
        )

    def profile_layers(self, job: Job, hardware: Hardware) -> LayerProfile:
        """Compiles a file, and reads the cost of each layer from the compiler's table.

        Raises:
            MeasurementError: As `measure`; or the network has no latency as a whole, so that its layers explain none.
        """
        result = compile_for_rknn(job.path, hardware)
        if result.reason:
            raise no_layer_costs(job, hardware, result.reason)
        return profile_table(result.layers, job, hardware)


def compile_for_rknn(path: Path, hardware: Hardware, timeout_s: float = TIMEOUT_S) -> RknnCompilation:
    """Compiles an ONNX file for the chip of a hardware, in a folder of its own.

    Raises:
        MeasurementError: As `RknnRunner.measure`.
    """
    with temporary_folder("rknn") as folder:
        # The compiler refuses names that do not end with .onnx in lower case, and a refusal is stored for every name of a file.
        file = folder / "network.onnx"
        file.symlink_to(path.absolute())
        request = {"file": str(file), "folder": str(folder), "target": hardware.configuration["target_platform"]}
        said = ask_tool(ROCKCHIP, _PROGRAM, request, timeout_s=timeout_s)
    if said.answer is None:
        return RknnCompilation((), said.refusal)
    try:
        return RknnCompilation(read_table(said.said))
    except ValueError as error:
        raise MeasurementError(f"{path}: {COMPILER} printed nothing readable ({error})") from error


def _negligible(layer: RknnLayer) -> bool:
    return layer.operator in NEGLIGIBLE and layer.outputs is not None and layer.outputs <= NEGLIGIBLE_OUTPUTS


def _kinds(layers: Iterable[RknnLayer]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in Counter(layer.operator for layer in layers).most_common(3))


RUNNER = RknnRunner()
