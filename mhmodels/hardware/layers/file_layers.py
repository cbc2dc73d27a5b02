"""The layers of a TFLite file: names, shapes and work of its operators. Layers of ONNX files are read by `onnx_layers.py`."""

from __future__ import annotations

from typing import NamedTuple

from mhmodels.hardware.roofline import operator_work
from mhmodels.tflite.file import Operator, TFLiteFile
from mhmodels.tflite.schema import WEIGHTED_OPERATORS

_SPATIAL_KERNELS = ("CONV_2D", "DEPTHWISE_CONV_2D")


class FileLayer(NamedTuple):
    """An operator of a file.

    Attributes:
        position: Index among the operators of the file, in execution order.
        name: Name of its output tensor; the files that this package writes name it after the layer of the network.
        operator: Kind, such as `CONV_2D`.
        macs: Multiply-accumulates; 0 for operators without weights.
        moved_bytes: Bytes of the tensors that it reads and writes, each counted once.
        kernel: (height, width) of a convolution's kernel; (1, 1) elsewhere.
        in_channels, channels: Channels of its first input and of its output.
        size: (height, width) of its output; (1, 1) where the output is a vector.
        source: Position of the operator that computes its first input; -1 for the input of the network.
    """

    position: int
    name: str
    operator: str
    macs: int
    moved_bytes: int
    kernel: tuple[int, int]
    in_channels: int
    channels: int
    size: tuple[int, int]
    source: int


def file_layers(content: TFLiteFile) -> tuple[FileLayer, ...]:
    """Lists the operators of a file as layers, in execution order.

    Args:
        content: A file that passes `check_plausible`, as every `Job` does.
    """
    writers = {tensor: operator.position for operator in content.operators for tensor in operator.outputs}
    return tuple(_layer(content, operator, writers) for operator in content.operators)


def _layer(content: TFLiteFile, operator: Operator, writers: dict[int, int]) -> FileLayer:
    work = operator_work(content, operator)
    output = content.tensors[operator.outputs[0]] if operator.outputs else None
    read = [tensor for tensor in operator.inputs if tensor >= 0]
    source = content.tensors[read[0]].shape if read else ()
    kernel = (1, 1)
    if operator.kind in _SPATIAL_KERNELS:
        shape = content.tensors[operator.inputs[WEIGHTED_OPERATORS[operator.kind].kernel]].shape
        kernel = (shape[1], shape[2])
    shape = output.shape if output is not None else ()
    return FileLayer(
        operator.position,
        output.name if output is not None else f"operator {operator.position}",
        operator.kind,
        int(work.macs),
        int(work.bytes),
        kernel,
        source[-1] if source else 1,
        shape[-1] if shape else 1,
        (shape[1], shape[2]) if len(shape) == 4 else (1, 1),
        next((writers[tensor] for tensor in read if tensor in writers), -1),
    )
