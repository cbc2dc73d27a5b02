"""Runner of Qualcomm's Hexagon NPUs: the estimate of Qualcomm's compiler, where it places the whole network on the NPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mhmodels.errors import FileFormatError, MeasurementError
from mhmodels.formats.onnx_file import read_onnx
from mhmodels.hardware.hexagon import estimate
from mhmodels.hardware.hexagon.layers import profile_trace
from mhmodels.hardware.hexagon.profile import HexagonProfile, read_profile
from mhmodels.hardware.hexagon.socs import SOCS, Soc
from mhmodels.hardware.hexagon.trace import TraceEvent, read_trace
from mhmodels.hardware.layers.profile import LayerProfile
from mhmodels.hardware.measurement import Environment, Measurement
from mhmodels.hardware.placement.socs import PLACEMENT_SOCS
from mhmodels.hardware.protocol import Hardware, Job, no_layer_costs, row_identity
from mhmodels.hardware.tools.catalogue import QUALCOMM
from mhmodels.hardware.tools.runner import OnnxToolRunner
from mhmodels.hardware.tools.running import ask_tool
from mhmodels.system.temporary import temporary_folder

TIMEOUT_S = 600.0
NPU_OPERATOR = "EPContext"
COMPILER = "QAIRT 2.51 (onnxruntime-qnn 2.7.0)"
_PROGRAM = Path(estimate.__file__)
_PRECISIONS = {"": ("onnx-int8", "int8"), "-uint8": ("onnx-uint8", "uint8"), "-fp16": ("onnx-float32", "float16")}
"""By ending of the id the format of the files, and what the NPU computes in."""


def _hardware(soc: Soc, suffix: str) -> Hardware:
    fmt, precision = _PRECISIONS[suffix]
    others = "" if suffix else "; also -uint8, -fp16"
    generation = f"HTP v{soc.generation}" + (f", the generation of {soc.phones}" if soc.phones else "")
    return Hardware(
        id=f"hexagon-{soc.name.lower()}{suffix}",
        format=fmt,
        kind="estimated",
        description=f"Qualcomm {soc.name} ({soc.product}), {generation}, {precision}: Qualcomm's estimate{others}",
        configuration={
            "soc_model": soc.soc_model,
            "htp_generation": soc.generation,
            "clock_mhz": soc.clock_mhz,
            "vtcm_mb": soc.vtcm_mb,
            "precision": precision,
            "graph_optimization": 3,
        },
    )


def _without_estimate(hardware_id: str) -> Hardware | None:
    """Returns a SoC for which the compiler estimates nothing; its description says what else there is."""
    soc = next((soc for soc in PLACEMENT_SOCS if hardware_id == f"hexagon-{soc.name.lower()}"), None)
    if soc is None:
        return None
    distance = min(abs(other.generation - soc.generation) for other in SOCS)
    near = [other for other in SOCS if abs(other.generation - soc.generation) == distance]
    ids = ", ".join(f"hexagon-{other.name.lower()} (v{other.generation})" for other in near)
    return Hardware(
        id=hardware_id,
        format="onnx-int8",
        kind="estimated",
        description=f"Qualcomm's compiler estimates no latency for {soc.title}, HTP v{soc.generation}; the nearest with "
        f"estimates: {ids}; `mhmodels place --soc {soc.name}` says whether it runs a network as a whole",
    )


TABLE = tuple(_hardware(soc, suffix) for suffix in _PRECISIONS for soc in SOCS)


class HexagonCompilation(NamedTuple):
    """Result of compiling a file.

    Attributes:
        profile: The estimate; None if there is none.
        partitions: Number of graphs on the NPU.
        left_over: Kinds of operators outside of them, with their numbers.
        operators: Number of operators of the file.
        refusal: Why the compiler gave up; "" if it did not.
        trace: Schedule behind the estimate; empty if it was not asked for.
    """

    profile: HexagonProfile | None
    partitions: int
    left_over: Counter[str]
    operators: int
    refusal: str = ""
    trace: tuple[TraceEvent, ...] = ()

    @property
    def reason(self) -> str:
        """Why there is no latency of the whole network; "" if there is one."""
        if self.refusal:
            return f"Qualcomm's compiler refuses the network ({self.refusal})"
        if self.left_over or self.partitions != 1:
            names = ", ".join(f"{number} {kind}" for kind, number in self.left_over.most_common(3)) or "no operator"
            return f"Qualcomm's compiler makes {self.partitions} partitions of the network and leaves {names} to the CPU"
        if self.profile is None:
            return "Qualcomm's compiler gives no estimate for this SoC"
        if self.profile.uncosted:
            return f"Qualcomm's estimate leaves out {self.profile.uncosted} operators whose cost it does not know"
        return ""


class HexagonRunner(OnnxToolRunner):
    """Compiles ONNX files for Hexagon NPUs and reports the compiler's estimate."""

    table, tool = TABLE, QUALCOMM

    def hardware(self) -> Sequence[Hardware]:
        """Every SoC for which the compiler estimates latencies, in int8; ids with -uint8 and -fp16 exist beside each."""
        return TABLE[: len(SOCS)]

    def find(self, hardware_id: str) -> Hardware | None:
        """The hardware of an id: from the table, or a SoC without estimates, which is `unavailable`."""
        return super().find(hardware_id) or _without_estimate(hardware_id)

    def unavailable(self, hardware: Hardware) -> str:
        """Why a hardware cannot be measured: it has no estimates, or Qualcomm's tool or the package onnx is not installed."""
        if "soc_model" not in hardware.configuration:
            return f"{hardware.id}: {hardware.description}"
        return super().unavailable(hardware)

    def environment(self, hardware: Hardware) -> Environment:
        """The SoC, the version of the compiler and its configuration."""
        generation = hardware.configuration["htp_generation"]
        return Environment(
            device=f"{hardware.id.split('-')[1].upper()}, HTP v{generation}",
            compiler=COMPILER,
            configuration=hardware.configuration,
        )

    def measure(self, job: Job, hardware: Hardware) -> Measurement:
        """Compiles a file, and takes the estimate if the whole network is one graph on the NPU.

        Raises:
            MeasurementError: The compiler dies, takes too long, or writes something unknown.
        """
        result = compile_for_hexagon(job.path, hardware)
        identity = row_identity(job, hardware, self.environment(hardware))
        on_cpu = result.left_over.total()
        nodes = None if result.refusal else result.operators - on_cpu
        if result.reason or result.profile is None:
            return Measurement(**identity, reason=result.reason, delegated_nodes=nodes, total_nodes=result.operators)
        median, low, high = (cycles / hardware.configuration["clock_mhz"] / 1e3 for cycles in result.profile.cycles)
        return Measurement(
            **identity,
            median_ms=median,
            low_ms=low,
            high_ms=high,
            runs=1,
            delegated_nodes=nodes,
            total_nodes=result.operators,
            device_state={"cycles": result.profile.cycles[0], "dram_traffic_bytes": result.profile.dram_bytes},
        )

    def profile_layers(self, job: Job, hardware: Hardware) -> LayerProfile:
        """Compiles a file, and divides the cycles of the schedule behind the estimate among the layers.

        Raises:
            MeasurementError: As `measure`; or the network has no latency as a whole, so that its layers explain none.
        """
        result = compile_for_hexagon(job.path, hardware, trace=True)
        if result.reason or result.profile is None:
            raise no_layer_costs(job, hardware, result.reason)
        return profile_trace(result.trace, result.profile, job, hardware)


def compile_for_hexagon(
    path: Path, hardware: Hardware, timeout_s: float = TIMEOUT_S, *, trace: bool = False
) -> HexagonCompilation:
    """Compiles an ONNX file for the SoC of a hardware, in a folder of its own.

    Args:
        path: The file.
        hardware: The hardware.
        timeout_s: Seconds that the compilation may take.
        trace: Whether to read the schedule behind the estimate, too.

    Raises:
        MeasurementError: As `HexagonRunner.measure`.
    """
    settings = hardware.configuration
    operators = read_onnx(path).operators
    with temporary_folder("hexagon") as folder:
        request = {
            "file": str(path.absolute()),
            "folder": str(folder),
            "soc_model": settings["soc_model"],
            "generation": settings["htp_generation"],
            "trace": trace,
        }
        said = ask_tool(QUALCOMM, _PROGRAM, request, timeout_s=timeout_s)
        if said.answer is None:
            return HexagonCompilation(None, 0, Counter(), len(operators), said.refusal)
        if said.answer.get("compiled") is None:
            return HexagonCompilation(None, 0, Counter(operators), len(operators))
        try:
            kinds = Counter(read_onnx(folder / estimate.COMPILED).operators)
            # Several partitions have an estimate each, and none of them is the network's.
            whole = kinds == {NPU_OPERATOR: 1}
            profile = read_profile((folder / estimate.PROFILE).read_text(encoding="utf-8")) if whole else None
            events = _read_trace(folder) if trace and profile is not None else ()
        except (OSError, ValueError, FileFormatError) as error:
            raise MeasurementError(f"{path}: {COMPILER} left nothing readable ({error})") from error
    if profile is not None:
        _check_clock(profile, settings["clock_mhz"], path)
    return HexagonCompilation(profile, kinds.pop(NPU_OPERATOR, 0), kinds, len(operators), trace=events)


def _read_trace(folder: Path) -> tuple[TraceEvent, ...]:
    schematics = list(folder.glob(estimate.SCHEMATIC))
    if len(schematics) != 1:
        raise ValueError(f"{len(schematics)} schematics, expected one")
    return read_trace((folder / estimate.TRACE).read_bytes(), schematics[0].read_text(encoding="utf-8", errors="replace"))


def _check_clock(profile: HexagonProfile, clock_mhz: float, path: Path) -> None:
    """Refuses an estimate whose µs do not follow from its cycles at the known clock: it would be of another device."""
    for cycles, microseconds in zip(profile.cycles, profile.microseconds, strict=True):
        if not microseconds - 1 <= cycles / clock_mhz <= microseconds + 2:
            raise MeasurementError(
                f"{path}: {COMPILER} says {cycles} cycles and {microseconds} µs, which is not a clock of {clock_mhz:g} MHz"
            )


RUNNER = HexagonRunner()
