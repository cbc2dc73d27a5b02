"""Checks that a latency of a file can mean something: it is whole, has fixed sizes, and is not compiled for other hardware.

Without them a file given by mistake would get a meaningless latency, or a lasting "does not run".
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from mhmodels.errors import FileFormatError
from mhmodels.tflite.file import Operator, Tensor, TFLiteFile
from mhmodels.tflite.schema import WEIGHTED_OPERATORS

MAX_TENSOR_BYTES = 1 << 32
"""Largest size of a tensor, far above any feature map or kernel of a network for phones."""

_COMPILED = {
    "CUSTOM:ethos-u": "compiled by Vela for an Arm Ethos-U NPU",
    "CUSTOM:edgetpu-custom-op": "compiled for a Coral Edge TPU",
    "CUSTOM:DISPATCH_OP": "compiled ahead of time by LiteRT for the NPU of one SoC",
}


def check_plausible(content: TFLiteFile, source: str) -> None:
    """Refuses a file that cannot be measured in a meaningful way.

    Args:
        content: Content of the file, from `read_tflite`.
        source: Name of the file, for the message.

    Raises:
        FileFormatError: The file cannot be measured; the message says what is wrong, and where.
    """
    problem = next(_problems(content), None)
    if problem is not None:
        raise FileFormatError(f"{source}: {problem}")


def check_not_compiled(content: TFLiteFile, source: str) -> None:
    """Refuses a file that is compiled for other hardware, which no runtime of this machine can run.

    Args:
        content: Content of the file, from `read_tflite`.
        source: Name of the file, for the message.

    Raises:
        FileFormatError: The file is compiled; the message says for what.
    """
    problem = next(_compiled(content), None)
    if problem is not None:
        raise FileFormatError(f"{source}: {problem}")


def _compiled(content: TFLiteFile) -> Iterator[str]:
    for operator in content.operators:
        if operator.kind in _COMPILED:
            yield (
                f"{_COMPILED[operator.kind]} (operator {operator.kind.removeprefix('CUSTOM:')}), "
                "so nothing else can run or compile it; give the .tflite file that it was compiled from"
            )


def _problems(content: TFLiteFile) -> Iterator[str]:
    yield from _compiled(content)
    for position in content.inputs:
        yield from _input_problems(content.tensors[position])
    written = {position for operator in content.operators for position in operator.outputs} | set(content.inputs)
    read = {position for operator in content.operators for position in operator.inputs if position >= 0}
    for position in sorted(written | read | set(content.outputs)):
        yield from _size_problems(content.tensors[position], computed=position in written)
    for operator in content.operators:
        yield from _kernel_problems(operator, content)


def _input_problems(tensor: Tensor) -> Iterator[str]:
    if any(size < 0 for size in tensor.signature[1:]):
        yield (
            f"input '{tensor.name}' has no fixed size (its signature is {tensor.signature}); convert the model with a fixed "
            "height and width"
        )


def _size_problems(tensor: Tensor, *, computed: bool) -> Iterator[str]:
    least = 1 if computed else 0
    if any(size < least for size in tensor.shape):
        yield f"tensor '{tensor.name}': shape {tensor.shape}, expected sizes of at least {least}"
    elif math.prod(tensor.shape) * element_bytes(tensor) > MAX_TENSOR_BYTES:
        yield f"tensor '{tensor.name}': shape {tensor.shape} of {tensor.dtype} is over {MAX_TENSOR_BYTES >> 30} GiB"
    elif not computed and not tensor.stored and 0 not in tensor.shape:
        yield f"tensor '{tensor.name}': the file has no data for it, and no operator writes it"


def _kernel_problems(operator: Operator, content: TFLiteFile) -> Iterator[str]:
    weighted = WEIGHTED_OPERATORS.get(operator.kind)
    if weighted is None or weighted.rank is None or weighted.channels is None:
        return
    rank, channels = weighted.rank, weighted.channels
    where = f"operator {operator.position} ({operator.kind})"
    if len(operator.inputs) <= weighted.kernel or operator.inputs[weighted.kernel] < 0 or not operator.outputs:
        yield f"{where}: has no kernel or no output"
        return
    kernel, output = content.tensors[operator.inputs[weighted.kernel]], content.tensors[operator.outputs[0]]
    if len(kernel.shape) != rank:
        yield f"{where}: kernel '{kernel.name}' has shape {kernel.shape}, expected {rank} dimensions"
    elif not output.shape or output.shape[-1] != kernel.shape[channels]:
        yield (
            f"{where}: output '{output.name}' has shape {output.shape}, expected {kernel.shape[channels]} channels as the kernel "
            f"{kernel.shape}"
        )


def element_bytes(tensor: Tensor) -> int:
    """Bytes of one value of a tensor; 1 for types that NumPy does not know."""
    return int(np.dtype(tensor.dtype).itemsize) if tensor.dtype in np.sctypeDict else 1
