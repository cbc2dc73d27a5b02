"""Reads a compiled file, and says which operators of the network stayed outside of the NPU."""

from __future__ import annotations

import struct
from collections import defaultdict, deque
from typing import NamedTuple

from mhmodels.tflite.file import Operator, TFLiteFile
from mhmodels.tflite.schema import generated

NPU_OPERATOR = "CUSTOM:DISPATCH_OP"
"""Operator of a compiled file that runs one partition on the NPU."""


class CompiledContent(NamedTuple):
    """What a compiled file consists of.

    Attributes:
        partitions: Number of operators that run on the NPU.
        left: Operators of the network that stayed outside, as they are in the network's file.
    """

    partitions: int
    left: tuple[Operator, ...]


def read_compiled(compiled: TFLiteFile, network: TFLiteFile) -> CompiledContent:
    """Compares a compiled file with the file that it was compiled from.

    Raises:
        ValueError: It has other inputs, outputs or operators than the network.
    """
    for what, theirs, ours in (
        ("inputs", _interface(compiled, compiled.inputs), _interface(network, network.inputs)),
        ("outputs", _interface(compiled, compiled.outputs), _interface(network, network.outputs)),
    ):
        if theirs != ours:
            raise ValueError(f"the compiled file has the {what} {theirs}, the network {ours}")
    waiting: dict[tuple[str, tuple[str, ...]], deque[Operator]] = defaultdict(deque)
    for operator in network.operators:
        waiting[_key(operator, network)].append(operator)
    left = []
    partitions = 0
    for operator in compiled.operators:
        if operator.kind == NPU_OPERATOR:
            partitions += 1
            continue
        same = waiting[_key(operator, compiled)]
        if not same:
            raise ValueError(f"operator {operator.position} ({operator.kind}) of the compiled file is not in the network")
        left.append(same.popleft())
    return CompiledContent(partitions, tuple(sorted(left, key=lambda operator: operator.position)))


def check_complete(content: bytes) -> None:
    """Checks that the code of every partition, which lies behind the tables of a compiled file, is there to its last byte.

    The compiler ends without an error where a disk is full or a limit of file sizes cuts the file off.

    Raises:
        ValueError: The file ends before the code does, or an operator does not say where its code is.
    """
    from flatbuffers import flexbuffers

    schema = generated()
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    codes = [bytes(code.customCode or b"").decode(errors="replace") for code in model.operatorCodes]
    for operator in model.subgraphs[0].operators:
        if f"CUSTOM:{codes[operator.opcodeIndex]}" == NPU_OPERATOR:
            try:
                options = flexbuffers.Loads(bytes(bytearray(operator.customOptions)))
                end = options["bytecode_offset"] + options["bytecode_size"]
            except (TypeError, KeyError, ValueError, IndexError, struct.error) as error:
                raise ValueError(f"an operator of the compiled file does not say where its code is ({error!r})") from error
            if end > len(content):
                raise ValueError(f"the compiled file is cut off: it has {len(content)} bytes, its code ends at {end}")


def _interface(file: TFLiteFile, positions: tuple[int, ...]) -> list[tuple[str, tuple[int, ...], str]]:
    return [(file.tensors[each].name, file.tensors[each].shape, file.tensors[each].dtype) for each in positions]


def _key(operator: Operator, file: TFLiteFile) -> tuple[str, tuple[str, ...]]:
    return operator.kind, tuple(file.tensors[each].name for each in operator.outputs)
