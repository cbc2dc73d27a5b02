"""Places a .tflite file on the NPU of a SoC, and compiles it ahead of time."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mhmodels.errors import FileFormatError, MeasurementError
from mhmodels.hardware.placement import plugin
from mhmodels.hardware.placement.compiled_file import check_complete, read_compiled
from mhmodels.hardware.placement.plugin_output import NOT_KNOWN, PluginOutput, last_words, read_plugin_output
from mhmodels.hardware.placement.remedies import remedy_for
from mhmodels.hardware.placement.socs import PlacementSoc, get_placement_soc
from mhmodels.hardware.placement.verdict import Placement, RefusedOperator
from mhmodels.hardware.plausible import check_plausible
from mhmodels.hardware.tools.catalogue import QUALCOMM
from mhmodels.hardware.tools.running import ask_tool
from mhmodels.system.child import ending
from mhmodels.system.files import read_bytes
from mhmodels.system.temporary import temporary_folder
from mhmodels.tflite.file import MAX_BYTES, Operator, TFLiteFile, parse_tflite
from mhmodels.tflite.format import compute_format

TIMEOUT_S = 600.0
COMPILER = "LiteRT 2.2.0, QAIRT 2.51"
_PROGRAM = Path(plugin.__file__)
_LARGEST_LOG = 256 << 20


class CompiledNetwork(NamedTuple):
    """A file after its compilation for a SoC.

    Attributes:
        placement: The verdict.
        content: The compiled file; None where there is none. It is complete only if the placement is whole.
    """

    placement: Placement
    content: bytes | None


def place_file(file: str | os.PathLike[str], soc: str, *, timeout_s: float = TIMEOUT_S) -> Placement:
    """Says whether the NPU of a SoC runs a .tflite file as a whole. No phone is needed; Qualcomm's own compiler decides.

    Args:
        file: Path of the file.
        soc: Name of the SoC, such as SM8650 (`PLACEMENT_SOCS` has all).
        timeout_s: Seconds that the compilation may take.

    Raises:
        FileFormatError: The file is damaged, of another kind, compiled already, or of no fixed sizes.
        UnknownNameError: No such SoC.
        MeasurementError: The tool `qualcomm` is not installed, crashes, hangs, or says something that contradicts itself.

    Example:
        >>> from mhmodels.hardware import place_file
        >>> place_file("multi_max_w1_224_int8.tflite", "SM8650").whole  # doctest: +SKIP
        True
    """
    path = Path(file)
    return compile_for_soc(read_bytes(path, MAX_BYTES), str(path), get_placement_soc(soc), timeout_s=timeout_s).placement


def compile_for_soc(data: bytes, source: str, soc: PlacementSoc, *, timeout_s: float = TIMEOUT_S) -> CompiledNetwork:
    """Compiles a file for a SoC.

    Args:
        data: Content of a .tflite file.
        source: Name of the file, for messages.
        soc: The SoC.
        timeout_s: Seconds that the compilation may take.

    Raises:
        FileFormatError, MeasurementError: As `place_file`.
    """
    network = parse_tflite(data, source=source)
    check_plausible(network, source)
    with temporary_folder("placement") as folder:
        file, output = folder / "network.tflite", folder / "compiled.tflite"
        file.write_bytes(data)
        request = {"file": str(file), "output": str(output), "folder": str(folder), "soc": soc.name}
        start = time.monotonic()
        code = _run(request, source, timeout_s)
        seconds = time.monotonic() - start
        stdout, stderr = (_text(folder / name, source) for name in (plugin.STDOUT, plugin.STDERR))
        content = output.read_bytes() if code == 0 and output.is_file() and output.stat().st_size else None
    if code < 0:
        raise MeasurementError(f"{source}: the compiler was ended {ending(code)}{_words(stdout, stderr)}")
    try:
        said = read_plugin_output(stdout, stderr)
        return CompiledNetwork(
            _placement(network, source, soc, said, code, content, seconds, last_words(stdout, stderr)), content
        )
    except (ValueError, FileFormatError) as error:
        words = f"; exit code {code}{_words(stdout, stderr)}" if code else ""
        raise MeasurementError(f"{source}: {COMPILER} for {soc.name} gave no usable answer: {error}{words}") from error


def _run(request: dict[str, str], source: str, timeout_s: float) -> int:
    """Runs the compiler and returns its exit code."""
    try:
        said = ask_tool(QUALCOMM, _PROGRAM, request, timeout_s=timeout_s)
    except MeasurementError as error:
        raise MeasurementError(f"{source}: {error}") from error
    code = None if said.answer is None else said.answer.get("code")
    if not isinstance(code, int):
        raise MeasurementError(f"{source}: {QUALCOMM.name} answered {said.answer}, expected an exit code")
    return code


def _placement(
    network: TFLiteFile,
    source: str,
    soc: PlacementSoc,
    said: PluginOutput,
    code: int,
    content: bytes | None,
    seconds: float,
    words: str,
) -> Placement:
    """Joins what the compiler said and what it wrote.

    Raises:
        ValueError, FileFormatError: They contradict each other.
    """
    _check_run(network, soc, said)
    left: Sequence[Operator] = network.operators
    refusal = ""
    if content is not None:
        left = _left(network, said, content)
    elif said.taken and code:
        left = [operator for operator in network.operators if operator.position in said.reasons]
        refusal = f"the compiler gave up on {said.taken} operators that it had taken ({words or f'exit code {code}'})"
    elif said.taken:
        raise ValueError(f"it took {said.taken} operators and wrote no file")
    return Placement(
        model=source,
        format=compute_format(network),
        soc=soc.name,
        product=soc.product,
        whole=not left and said.partitions == 1 and not refusal,
        operators_taken=said.taken,
        operators=said.operators,
        partitions=said.partitions,
        refused=tuple(_refused(operator, network, said) for operator in left),
        refusal=refusal,
        ddr_read_bytes=said.read_bytes,
        ddr_write_bytes=said.write_bytes,
        compiled_bytes=None if content is None else len(content),
        seconds=seconds,
        compiler=COMPILER,
    )


def _left(network: TFLiteFile, said: PluginOutput, content: bytes) -> tuple[Operator, ...]:
    """Returns the operators outside of the NPU, from the compiled file: that nothing was refused in words proves nothing."""
    partitions, left = read_compiled(parse_tflite(content, source="the compiled file"), network)
    check_complete(content)
    if partitions != said.partitions or len(left) != said.operators - said.taken:
        raise ValueError(
            f"it counts {said.taken} operators in {said.partitions} partitions, the compiled file has {partitions} partitions "
            f"and leaves {len(left)} of {said.operators} operators"
        )
    if said.read_bytes is None:
        raise ValueError("it compiled a graph and gave no memory traffic")
    return left


def _check_run(network: TFLiteFile, soc: PlacementSoc, said: PluginOutput) -> None:
    if said.operators != len(network.operators):
        raise ValueError(f"it counts {said.operators} operators, the file has {len(network.operators)}")
    if (said.soc_model, said.generation) != (soc.soc_model, soc.generation):
        raise ValueError(
            f"it compiled for SoC {said.soc_model} with HTP v{said.generation}, expected {soc.soc_model} with v{soc.generation}"
        )


def _refused(operator: Operator, network: TFLiteFile, said: PluginOutput) -> RefusedOperator:
    types = [network.tensors[each].dtype if each >= 0 else "" for each in operator.inputs]
    dtype, weights = (*types, "", "")[:2]
    unsaid = NOT_KNOWN if operator.kind.startswith("CUSTOM:") else "the compiler gives no reason"
    reason = said.reasons.get(operator.position, unsaid)
    return RefusedOperator(
        position=operator.position,
        kind=operator.kind,
        tensor=network.tensors[operator.outputs[0]].name if operator.outputs else "",
        reason=reason,
        remedy=remedy_for(operator.kind, dtype, weights, reason),
    )


def _text(path: Path, source: str) -> str:
    try:
        return read_bytes(path, _LARGEST_LOG).decode(errors="replace")
    except FileFormatError as error:
        raise MeasurementError(f"{source}: what the compiler printed cannot be read ({error})") from error


def _words(stdout: str, stderr: str) -> str:
    words = last_words(stdout, stderr)
    return f" ({words})" if words else ""
