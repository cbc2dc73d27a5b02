"""Runner of Arm Ethos-U NPUs through the Vela compiler: its own estimate, where it places the whole network on the NPU."""

from __future__ import annotations

import csv
import importlib.metadata
import importlib.util
import math
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from mhmodels.errors import FileFormatError, MeasurementError
from mhmodels.hardware.measurement import Environment, Measurement
from mhmodels.hardware.protocol import Hardware, Job, row_identity
from mhmodels.hardware.vela.process import run_vela
from mhmodels.system.temporary import temporary_folder
from mhmodels.tflite.file import read_tflite

TIMEOUT_S = 600.0
NPU_OPERATOR = "CUSTOM:ethos-u"
_TOO_LARGE = re.compile(r"Failed to allocate tensors\. Memory used (\d+), limit (\d+)")
_CONFIG_FILE = "Arm/vela.ini"
# System configuration and memory mode: the defaults of Vela 5.2.0, stated so that they are in every row.
_SYSTEMS = {
    "ethos-u55": ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "ethos-u65": ("Ethos_U65_Client_Server", "Dedicated_Sram_384KB"),
    "ethos-u85": ("Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_384KB"),
}
_MACS = {"ethos-u55": (32, 64, 128, 256), "ethos-u65": (256, 512), "ethos-u85": (128, 256, 512, 1024, 2048)}


def _npu(family: str, macs: int) -> Hardware:
    system, memory = _SYSTEMS[family]
    return Hardware(
        id=f"{family}-{macs}",
        format="int8",
        kind="estimated",
        description=f"Arm {family.replace('ethos-u', 'Ethos-U')}, {macs} MACs a cycle, {system}, {memory}: Vela's estimate",
        # The compiler places operators one by one and reports what it left out, so it accepts or refuses files of any format.
        strict=False,
        configuration={
            "accelerator_config": f"{family}-{macs}",
            "config": _CONFIG_FILE,
            "system_config": system,
            "memory_mode": memory,
            "optimise": "Performance",
        },
    )


TABLE = tuple(_npu(family, macs) for family, sizes in _MACS.items() for macs in sizes)


class Compilation(msgspec.Struct, frozen=True, kw_only=True):
    """Result of compiling a file with Vela.

    Attributes:
        npu_operators, cpu_operators: Numbers of operators as Vela counts them, after its own splitting and fusing.
        left_over: Kinds of operators of the compiled file that the NPU does not run.
        complaints: Vela's reasons for operators on the CPU.
        latency_ms: Estimate in ms for the operators on the NPU; 0.0 if there are none.
        sram_bytes, dram_bytes, flash_bytes: Peak memory.
        too_large: Why the memory is too small; all other fields are then empty.
    """

    npu_operators: int = 0
    cpu_operators: int = 0
    left_over: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()
    latency_ms: float = 0.0
    sram_bytes: int = 0
    dram_bytes: int = 0
    flash_bytes: int = 0
    too_large: str = ""

    @property
    def reason(self) -> str:
        """Why the whole network is not on the NPU; "" if it is."""
        if self.too_large:
            return self.too_large
        if self.cpu_operators or self.left_over or not self.npu_operators:
            total = self.npu_operators + self.cpu_operators
            why = "; ".join(self.complaints[:3]) or "left over: " + ", ".join(self.left_over or ("everything",))
            return f"Vela leaves {self.cpu_operators or len(self.left_over)} of {total} operators on the CPU ({why})"
        if not (math.isfinite(self.latency_ms) and self.latency_ms > 0):
            return f"Vela estimates {self.latency_ms} ms, which is no latency"
        return ""


class VelaRunner:
    """Compiles files for Ethos-U NPUs and reports the compiler's estimate."""

    exclusive = True

    def hardware(self) -> Sequence[Hardware]:
        """Every accelerator configuration of Vela 5.2.0."""
        return TABLE

    def find(self, hardware_id: str) -> Hardware | None:
        """The hardware of an id, from the table."""
        return next((hardware for hardware in TABLE if hardware.id == hardware_id), None)

    def unavailable(self, hardware: Hardware) -> str:
        """Why a hardware cannot be measured: Vela is not installed."""
        # `ethosu` has no __init__, so a module that really exists is looked for.
        try:
            missing = importlib.util.find_spec("ethosu.vela") is None
        except ModuleNotFoundError:
            missing = True
        return f"{hardware.id} needs the Vela compiler, which is not installed (pip install ethos-u-vela)" if missing else ""

    def environment(self, hardware: Hardware) -> Environment:
        """The accelerator, the version of Vela and its configuration."""
        return Environment(
            device=str(hardware.configuration["accelerator_config"]),
            compiler=f"Vela {importlib.metadata.version('ethos-u-vela')}",
            configuration=hardware.configuration,
        )

    def measure(self, job: Job, hardware: Hardware) -> Measurement:
        """Compiles a file, and takes the estimate if every operator is on the NPU.

        Raises:
            MeasurementError: The compiler fails, dies, takes too long, or prints something unknown.
        """
        result = compile_for_npu(job.path, hardware)
        fits = not result.reason
        return Measurement(
            **row_identity(job, hardware, self.environment(hardware)),
            median_ms=result.latency_ms if fits else None,
            sram_bytes=result.sram_bytes if fits else None,
            dram_bytes=result.dram_bytes if fits else None,
            flash_bytes=result.flash_bytes if fits else None,
            runs=1 if fits else 0,
            delegated_nodes=None if result.too_large else result.npu_operators,
            total_nodes=None if result.too_large else result.npu_operators + result.cpu_operators,
            reason=result.reason,
        )


def compile_for_npu(path: Path, hardware: Hardware, timeout_s: float = TIMEOUT_S) -> Compilation:
    """Runs Vela on a file, in a folder of its own.

    Raises:
        MeasurementError: As `VelaRunner.measure`.
    """
    options = [f"--{name.replace('_', '-')}={value}" for name, value in hardware.configuration.items()]
    with temporary_folder("vela") as folder:
        # Vela puts the name of the file into names and lines of its output, so the file gets a fixed name.
        network = folder / "network.tflite"
        network.symlink_to(path.absolute())
        try:
            done = run_vela([*options, "--output-dir=output", network.name], folder, timeout_s)
        except subprocess.TimeoutExpired:
            raise MeasurementError(f"{path}: Vela did not finish within {timeout_s:g} s") from None
        said = done.stdout + "\n" + done.stderr
        if done.returncode and (memory := _TOO_LARGE.search(said)):
            return Compilation(too_large=f"Vela needs {memory[1]} bytes for its tensors, {hardware.id} has {memory[2]}")
        if done.returncode:
            raise _failure(done, path)
        return _read(folder / "output", said, path)


def _failure(done: subprocess.CompletedProcess[str], path: Path) -> MeasurementError:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    said = f" ({lines[-1].strip()[:300]})" if lines else ""
    how = f"exit code {done.returncode}" if done.returncode > 0 else signal.Signals(-done.returncode).name
    return MeasurementError(f"{path}: Vela failed with {how}{said}")


def _read(output: Path, said: str, path: Path) -> Compilation:
    """Reads the summary, the console and the compiled file. The compiled file decides which operators are on the NPU."""
    counts = {unit: re.search(rf"^{unit} operators = (\d+)", said, re.MULTILINE) for unit in ("NPU", "CPU")}
    try:
        (summary,) = list(output.glob("*_summary_*.csv"))
        with summary.open(encoding="utf-8", newline="") as file:
            (row,) = list(csv.DictReader(file))
        npu, cpu = (int(found[1]) if (found := counts[unit]) else 0 for unit in ("NPU", "CPU"))
        if not any(counts.values()):
            raise ValueError("no operator counts")
        compiled = read_tflite(output / "network_vela.tflite")
        return Compilation(
            npu_operators=npu,
            cpu_operators=cpu,
            left_over=tuple(sorted({operator.kind for operator in compiled.operators} - {NPU_OPERATOR})),
            complaints=_complaints(said),
            latency_ms=float(row["inference_time"]) * 1e3,
            sram_bytes=_kibibytes(row["sram_memory_used"]),
            dram_bytes=_kibibytes(row["dram_memory_used"]),
            flash_bytes=_kibibytes(row["on_chip_flash_memory_used"]) + _kibibytes(row["off_chip_flash_memory_used"]),
        )
    except (OSError, ValueError, KeyError, FileFormatError) as error:
        raise MeasurementError(f"{path}: Vela left no readable summary ({error!r}); version 5.2.0 is known to") from error


def _kibibytes(text: str) -> int:
    return round(float(text) * 1024)


def _complaints(said: str) -> tuple[str, ...]:
    """`CONV_2D: Unsupported opType` for each different reason that Vela gives for leaving an operator out."""
    pairs = re.findall(r"^Warning \(supported operators\) operator: (\w+).*\nReason: (.*)$", said, re.MULTILINE)
    # The name of the tensor in brackets would make every line different.
    return tuple(dict.fromkeys(f"{operator}: {re.sub(r' *[(].*[)]$', '', reason)}" for operator, reason in pairs))


RUNNER = VelaRunner()
