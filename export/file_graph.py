"""A TFLite file beside the network that it is of: its tensors by operation, its input from pictures, its outputs as numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.graph import Floats
from export.parity import ParityError
from export.quantisation.scheme import pre_activation, separate_activation
from export.runtime import Kernels, run_file
from export.writer import SCORES
from mhmodels.network import IMAGE, Op
from mhmodels.tflite_file import Operator, Tensor, TFLiteFile, read_tflite

BORDERS = ("QUANTIZE", "DEQUANTIZE")

_FILE_KINDS: dict[str, tuple[str, ...]] = {
    "conv": ("CONV_2D", "FULLY_CONNECTED"),
    "depthwise": ("DEPTHWISE_CONV_2D",),
    "add": ("ADD",),
    "multiply": ("MUL",),
    "pool": ("MEAN", "AVERAGE_POOL_2D"),
    "global_max_pool": ("MAX_POOL_2D",),
    "max_pool": ("MAX_POOL_2D",),
    "average_pool": ("AVERAGE_POOL_2D",),
    "flatten": ("RESHAPE",),
    "reshape": ("RESHAPE", "SQUEEZE"),
    "softmax": ("SOFTMAX",),
    "hard_swish": ("HARD_SWISH",),
    "sigmoid": ("LOGISTIC",),
}


def encode_input(file: TFLiteFile, images: Floats) -> NDArray[Any]:
    """Pictures as the file's input takes them: as they are, or quantised by its parameters."""
    entry = file.tensors[file.inputs[0]]
    if entry.dtype == "float32":
        return images
    if entry.dtype not in ("uint8", "int8", "int16") or len(entry.scale) != 1 or not entry.scale[0] > 0:
        scales = entry.scale.tolist()[:4]
        raise ParityError(f"input '{entry.name}' is {entry.dtype} with scales {scales}, expected integers with one scale above 0")
    info = np.iinfo(entry.dtype)
    integers: NDArray[Any] = np.clip(np.rint(images / entry.scale[0]) + entry.zero_point[0], info.min, info.max).astype(
        entry.dtype
    )
    return integers


def dequantise(values: NDArray[Any], tensor: Tensor) -> Floats:
    """The real numbers that a tensor's values stand for."""
    if not len(tensor.scale):
        return values.astype(np.float32)
    return ((values.astype(np.int32) - tensor.zero_point[0]) * tensor.scale[0]).astype(np.float32)


def compared_tensors(file: TFLiteFile) -> dict[str, Tensor]:
    """The tensors by which a file is compared: what a softmax reads as `scores`, else every output; maps by their names."""
    for operator in file.operators:
        if operator.kind == "SOFTMAX" and len(file.outputs) == 1 and operator.inputs and operator.inputs[0] >= 0:
            return {SCORES: file.tensors[operator.inputs[0]]}
    if len(file.outputs) == 1 and len(file.tensors[file.outputs[0]].shape) < 4:
        return {SCORES: file.tensors[file.outputs[0]]}
    return {file.tensors[output].name: file.tensors[output] for output in file.outputs}


def file_outputs(path: str | os.PathLike[str], images: Floats, *, kernels: Kernels = "builtin") -> dict[str, Floats]:
    """What a file gives on pictures, before its softmax.

    Args:
        path: the file.
        images: float32 (n, height, width, channels), as its network expects them.
        kernels: who computes; XNNPACK keeps no inner tensors, so that with it the softmax is in the result.

    Returns:
        float32 by name: `scores` (n, classes), or maps (n, height, width, channels).
    """
    file = read_tflite(path)
    tensors = compared_tensors(file)
    values = run_file(path, encode_input(file, images), [tensor.position for tensor in tensors.values()], kernels=kernels)
    outputs = {name: dequantise(value, tensor) for (name, tensor), value in zip(tensors.items(), values, strict=True)}
    return {name: flat(value) if name == SCORES else value for name, value in outputs.items()}


def file_logits(path: str | os.PathLike[str], images: Floats) -> Floats:
    """A classifier file's logits (scores, where it has no softmax) on normalised pictures: float32 (n, classes)."""
    return next(iter(file_outputs(path, images).values()))


def flat(values: Floats) -> Floats:
    """Scores as (n, classes), whatever ones are between."""
    return values.reshape(len(values), -1)


def steps(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """Size of a step of each tensor that holds integers; a damaged file's may be 0, and is left out."""
    return {name: float(tensor.scale[0]) for name, tensor in tensors.items() if len(tensor.scale) and tensor.scale[0] > 0}


def map_tensors(file: TFLiteFile, ops: tuple[Op, ...]) -> dict[str, int]:
    """Finds every operation's output tensor in a file by following the graph, whatever the tensors are called.

    Returns:
        Tensor indices by operation name, with `IMAGE` and `NAME/pre`.

    Raises:
        ParityError: an operation is not there.
    """
    entry = file.inputs[0]
    readers = [o for o in file.operators if entry in o.inputs]
    if readers and readers[0].kind in BORDERS and readers[0].outputs:
        entry = readers[0].outputs[0]
    places, used = {IMAGE: entry}, set[int]()
    for op in ops:
        operator = _find(file, op, _FILE_KINDS[op.kind], [places[name] for name in op.inputs], used)
        places[op.name] = operator.outputs[0]
        if op.kind in ("conv", "depthwise") and separate_activation(op):
            places[pre_activation(op)] = operator.outputs[0]
            places[op.name] = _find(file, op, _FILE_KINDS[op.activation], [operator.outputs[0]], used).outputs[0]
        elif op.activation == "hard_sigmoid" and not len(file.tensors[operator.outputs[0]].scale):
            places[op.name] = _find(file, op, ("MUL",), [operator.outputs[0]], used).outputs[0]
    return places


def _find(file: TFLiteFile, op: Op, kinds: tuple[str, ...], inputs: list[int], used: set[int]) -> Operator:
    """The operator that reads these inputs; of several, as a bottleneck's two branches begin, one that writes the same width."""
    found = [
        operator
        for operator in file.operators
        if operator.position not in used and operator.kind in kinds and operator.outputs and set(inputs) <= set(operator.inputs)
    ]
    if not found:
        raise ParityError(f"layer '{op.name}': the file has no {' or '.join(kinds)} where the network has it")
    operator = next((one for one in found if file.tensors[one.outputs[0]].shape[-1:] == (op.channels,)), found[0])
    used.add(operator.position)
    return operator
