"""Files for latency measurements: random weights and constant ranges, written in milliseconds without TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias, get_args

import msgspec

from mhmodels.architecture import Architecture, Preprocessing
from mhmodels.errors import FileFormatError, MeasurementError
from mhmodels.export.errors import ExportError
from mhmodels.export.formats import file_suffix, is_onnx, number_format
from mhmodels.export.graph.operations import Graph, Range, random_graph
from mhmodels.export.quantisation.scheme import calibrated_tensors, quantise
from mhmodels.export.writing.onnx.tools import check_onnx_tools
from mhmodels.export.writing.writer import write_float, write_quantised
from mhmodels.hardware import Hardware, Job, prepare
from mhmodels.hardware.measurement import RANDOM_WEIGHTS
from mhmodels.hardware.measuring import USUAL_RUNS
from mhmodels.system.files import open_regular, write_atomically
from mhmodels.tflite.schema import FILE_IDENTIFIER

LatencyFormat: TypeAlias = Literal["float32", "int8", "uint8", "onnx-float32", "onnx-int8", "onnx-uint8"]
"""A format that files with random weights are written in."""

FORMATS_WITH_RANDOM_WEIGHTS: tuple[LatencyFormat, ...] = get_args(LatencyFormat)

_RECTIFIED: Range = (0.0, 6.0)
_SIGNED: Range = (-6.0, 6.0)
_PIXELS = Preprocessing(mean=(128.0,) * 3, std=(128.0,) * 3)


def latency_format(fmt: str, hardware_id: str) -> LatencyFormat:
    """Returns the format of the files with random weights that a hardware takes.

    Args:
        fmt: Format of the hardware.
        hardware_id: Id of the hardware, for the message.

    Raises:
        MeasurementError: Files with random weights are not written in this format.

    Example:
        >>> latency_format("int8", "ethos-u55-128")
        'int8'
    """
    for known in FORMATS_WITH_RANDOM_WEIGHTS:
        if fmt == known:
            return known
    raise MeasurementError(
        f"{hardware_id} takes {fmt} files, and files with random weights are made in {', '.join(FORMATS_WITH_RANDOM_WEIGHTS)}: "
        f"export the network in {fmt} and measure the file (`mhmodels bench FILE`), or choose other hardware"
    )


def latency_ranges(graph: Graph) -> dict[str, Range]:
    """Returns ranges for random weights, whose activations have unit variance: 0 to 6 after ReLU, else -6 to 6."""
    rectified = {op.name for op in graph.ops if op.activation in ("relu", "relu6")}
    return {name: _RECTIFIED if name in rectified else _SIGNED for name in calibrated_tensors(graph)}


def latency_bytes(architecture: Architecture, fmt: LatencyFormat) -> bytes:
    """Returns a TFLite or ONNX file with weights `random-v1` for latency measurements; integer files take and give uint8.

    Equal for architectures of one id: the preprocessing, which is no part of the id, is fixed.

    Raises:
        ExportError: A layer cannot be written, or an ONNX file is asked for and onnx is not installed; the message says which.
    """
    graph = random_graph(msgspec.structs.replace(architecture, preprocessing=_PIXELS))
    numbers = number_format(fmt)
    quantised = quantise(graph, latency_ranges(graph), numbers) if numbers in ("int8", "uint8") else None
    if is_onnx(fmt):
        check_onnx_tools(f"{architecture.name} as {fmt}")
        from mhmodels.export.writing.onnx.writer import write_onnx_float, write_onnx_quantised

        return write_onnx_float(graph) if quantised is None else write_onnx_quantised(quantised, "uint8")
    return write_float(graph) if quantised is None else write_quantised(quantised, io="uint8")


def latency_file(architecture: Architecture, fmt: LatencyFormat, directory: Path) -> Path:
    """Returns `NAME_ID_FORMAT.tflite` (or `.onnx`) with random weights, which is written if it does not exist.

    Args:
        architecture: Network at the input size and width to measure.
        fmt: Format of the file: `float32`, `int8`, `uint8`, `onnx-float32`, `onnx-int8` or `onnx-uint8`. Integer files have uint8
            input and output.
        directory: Folder of the file, which is created if it does not exist. Processes may share it: a file appears complete or
            not at all.

    Raises:
        ExportError: A layer cannot be written, or the folder is not writable; the message names it.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mhmodels import resolve
        >>> from mhmodels.export import latency_file
        >>> path = latency_file(resolve("mobilenet_v1@0.25").at(input_size=64), "int8", Path(tempfile.mkdtemp()))
        >>> path.suffix
        '.tflite'
    """
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in architecture.name)[:80]
    path = directory / f"{name}_{architecture.architecture_id}_{fmt}{file_suffix(fmt)}"
    if not (path.is_file() if is_onnx(fmt) else _is_tflite(path)):
        content = latency_bytes(architecture, fmt)
        try:
            write_atomically(path, content)
        except OSError as error:
            raise ExportError(f"{path}: cannot be written ({error.strerror})") from error
    return path


def latency_job(
    architecture: Architecture,
    hardware: Hardware,
    directory: Path,
    *,
    label: str,
    runs: int = USUAL_RUNS,
    threads: int = 1,
    reference: Job | None = None,
) -> Job:
    """Writes a network with random weights in the format that a hardware takes, and returns the job that measures it.

    Args:
        architecture: Network at the input size and width to measure.
        hardware: Hardware that takes the file.
        directory: Folder of the file, which is created if it does not exist.
        label: Name of the model in tables.
        runs, threads, reference: As in `mhmodels.hardware.prepare`.

    Raises:
        MeasurementError: Files with random weights are not written in this format.
        ExportError: As `latency_file`.
    """
    return prepare(
        latency_file(architecture, latency_format(hardware.format, hardware.id), directory),
        label=label,
        architecture_id=architecture.architecture_id,
        weights=RANDOM_WEIGHTS,
        runs=runs,
        threads=threads,
        reference=reference,
    )


def _is_tflite(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return file.read(8)[4:] == FILE_IDENTIFIER
    except (FileFormatError, OSError):
        return False
