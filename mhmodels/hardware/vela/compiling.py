"""Compiling a file with Vela: what the compiler says about the whole network, and the folder that it writes."""

from __future__ import annotations

import csv
import math
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from mhmodels.errors import FileFormatError, MeasurementError
from mhmodels.hardware.protocol import Hardware
from mhmodels.hardware.vela.process import run_vela
from mhmodels.system.child import end_name, last_line
from mhmodels.system.temporary import temporary_folder
from mhmodels.tflite.file import read_tflite

TIMEOUT_S = 600.0
NPU_OPERATOR = "CUSTOM:ethos-u"
_TOO_LARGE = re.compile(r"Failed to allocate tensors\. Memory used (\d+), limit (\d+)")


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


class VelaOutput(NamedTuple):
    """What Vela left after compiling a file.

    Attributes:
        folder: Folder with the compiled file, the summary and, if asked for, the table of layers.
        said: What Vela printed.
        too_large: Why the memory is too small; the folder is then empty.
    """

    folder: Path
    said: str
    too_large: str = ""


@contextmanager
def vela_output(
    path: Path, hardware: Hardware, timeout_s: float = TIMEOUT_S, options: Sequence[str] = ()
) -> Iterator[VelaOutput]:
    """Runs Vela on a file, in a folder of its own, which is removed at the end of the block.

    Args:
        path: File to compile.
        hardware: Hardware whose configuration is Vela's options.
        timeout_s: Longest time in seconds.
        options: Further options of Vela.

    Raises:
        MeasurementError: The compiler fails, dies or takes too long.
    """
    configured = [f"--{name.replace('_', '-')}={value}" for name, value in hardware.configuration.items()]
    with temporary_folder("vela") as folder:
        # Vela puts the name of the file into names and lines of its output, so the file gets a fixed name.
        network = folder / "network.tflite"
        network.symlink_to(path.absolute())
        try:
            done = run_vela([*configured, *options, "--output-dir=output", network.name], folder, timeout_s)
        except subprocess.TimeoutExpired:
            raise MeasurementError(f"{path}: Vela did not finish within {timeout_s:g} s") from None
        said = done.stdout + "\n" + done.stderr
        memory = _TOO_LARGE.search(said) if done.returncode else None
        if done.returncode and memory is None:
            raise _failure(done, path)
        why = f"Vela needs {memory[1]} bytes for its tensors, {hardware.id} has {memory[2]}" if memory else ""
        yield VelaOutput(folder / "output", said, why)


def compile_for_npu(path: Path, hardware: Hardware, timeout_s: float = TIMEOUT_S) -> Compilation:
    """Compiles a file and reads what Vela says about the whole network.

    Raises:
        MeasurementError: As `VelaRunner.measure`.
    """
    with vela_output(path, hardware, timeout_s) as output:
        return read_compilation(output, path)


def read_compilation(output: VelaOutput, path: Path) -> Compilation:
    """Reads what Vela says about the whole network.

    Raises:
        MeasurementError: The output cannot be understood.
    """
    return Compilation(too_large=output.too_large) if output.too_large else _read(output.folder, output.said, path)


def read_summary(output: Path) -> dict[str, str]:
    """Reads the summary table, which has one row.

    Raises:
        OSError, ValueError: It is missing or has another form.
    """
    (summary,) = list(output.glob("*_summary_*.csv"))
    with summary.open(encoding="utf-8", newline="") as file:
        (row,) = list(csv.DictReader(file))
    return row


def _failure(done: subprocess.CompletedProcess[str], path: Path) -> MeasurementError:
    words = last_line(done.stderr) or last_line(done.stdout)
    return MeasurementError(f"{path}: Vela failed with {end_name(done.returncode)}{f' ({words})' if words else ''}")


def _read(output: Path, said: str, path: Path) -> Compilation:
    """Reads the summary, the console and the compiled file. The compiled file decides which operators are on the NPU."""
    counts = {unit: re.search(rf"^{unit} operators = (\d+)", said, re.MULTILINE) for unit in ("NPU", "CPU")}
    try:
        row = read_summary(output)
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
