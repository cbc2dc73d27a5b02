"""Maps a TFLite file to its network: tensors by operation, inputs from pictures, outputs as real numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mhmodels.export.errors import ParityError
from mhmodels.export.graph.operations import Float32Array
from mhmodels.export.graph.outputs import SCORES, flat_scores
from mhmodels.export.quantisation.scheme import pre_activation, separate_activation
from mhmodels.export.verification.runtimes.litert import RuntimeKernels, run_file
from mhmodels.network import IMAGE, Op
from mhmodels.tflite.file import Operator, Tensor, TFLiteFile, read_tflite
from mhmodels.tflite.schema import CONVERSIONS

_SAME_VALUES = (*CONVERSIONS, "RESHAPE", "SQUEEZE")

_FILE_KINDS: dict[str, tuple[str, ...]] = {
    "conv": ("CONV_2D", "FULLY_CONNECTED"),
    "depthwise": ("DEPTHWISE_CONV_2D",),
    "add": ("ADD",),
    "multiply": ("MUL",),
    "pool": ("MEAN", "AVERAGE_POOL_2D"),
    "global_max_pool": ("MAX_POOL_2D",),
    "max_pool": ("MAX_POOL_2D",),
    "average_pool": ("AVERAGE_POOL_2D",),
    "pad": ("PAD", "PADV2"),
    "flatten": ("RESHAPE",),
    "reshape": ("RESHAPE", "SQUEEZE"),
    "softmax": ("SOFTMAX",),
    "hard_swish": ("HARD_SWISH",),
    "sigmoid": ("LOGISTIC",),
}


def encode_input(file: TFLiteFile, images: Float32Array) -> NDArray[np.generic]:
    """Returns pictures as the input of a file takes them: unchanged, or quantised by its parameters."""
    entry = file.tensors[file.inputs[0]]
    if entry.dtype == "float32":
        return images
    if entry.dtype not in ("uint8", "int8", "int16") or len(entry.scale) != 1 or not entry.scale[0] > 0:
        scales = entry.scale.tolist()[:4]
        raise ParityError(f"input '{entry.name}' is {entry.dtype} with scales {scales}, expected integers with one scale above 0")
    info = np.iinfo(entry.dtype)
    integers: NDArray[np.generic] = np.clip(np.rint(images / entry.scale[0]) + entry.zero_point[0], info.min, info.max).astype(
        entry.dtype
    )
    return integers


def dequantise(values: NDArray[np.generic], tensor: Tensor) -> Float32Array:
    """Returns the real numbers that the values of a tensor stand for."""
    if not len(tensor.scale):
        return values.astype(np.float32)
    return np.asarray((values.astype(np.int32) - tensor.zero_point[0]) * tensor.scale[0], np.float32)


def is_activation(tensor: Tensor) -> bool:
    """Returns whether a computed tensor holds real numbers, as floats or as quantised integers."""
    return tensor.dtype in ("float32", "float16") or bool(len(tensor.scale))


def compared_tensors(file: TFLiteFile, *, before_softmax: bool = True) -> dict[str, Tensor]:
    """Returns the tensors at which a file is compared, by the names of its outputs. A single output that is no map is `scores`.

    Args:
        file: The parsed file.
        before_softmax: Compares an output that a softmax gives by what that softmax reads. Without it every output is
            compared as it is, after its activation.
    """
    places = {output: _softmax_input(file, output) if before_softmax else output for output in file.outputs}
    outputs = [file.tensors[output] for output in file.outputs]
    if len(outputs) == 1 and (places[file.outputs[0]] != file.outputs[0] or len(outputs[0].shape) < 4):
        return {SCORES: file.tensors[places[file.outputs[0]]]}
    return {tensor.name: file.tensors[places[tensor.position]] for tensor in outputs}


def _softmax_input(file: TFLiteFile, output: int) -> int:
    """Returns the tensor that the softmax of an output reads, or the output itself if it has no softmax."""
    makers = {tensor: operator for operator in file.operators for tensor in operator.outputs}
    seen, place = set[int](), output
    while place in makers and place not in seen and makers[place].inputs:
        seen.add(place)
        kind, source = makers[place].kind, makers[place].inputs[0]
        if source < 0 or kind not in (*_SAME_VALUES, "SOFTMAX"):
            break
        if kind == "SOFTMAX":
            return source
        place = source
    return output


def file_outputs(
    path: str | os.PathLike[str], images: Float32Array, *, kernels: RuntimeKernels = "builtin", before_softmax: bool = True
) -> dict[str, Float32Array]:
    """Runs a file on pictures and returns its outputs.

    Args:
        path: The file.
        images: float32 (n, height, width, channels), as its network expects them.
        kernels: Who computes; XNNPACK keeps no inner tensors, so that with it the softmax is in the result.
        before_softmax: As `compared_tensors` takes it.

    Returns:
        Float32 by name: `scores` (n, classes), or maps (n, height, width, channels).
    """
    file = read_tflite(path)
    tensors = compared_tensors(file, before_softmax=before_softmax)
    values = run_file(path, encode_input(file, images), [tensor.position for tensor in tensors.values()], kernels=kernels)
    outputs = {name: dequantise(value, tensor) for (name, tensor), value in zip(tensors.items(), values, strict=True)}
    return {name: flat_scores(value) if name == SCORES else value for name, value in outputs.items()}


def file_logits(path: str | os.PathLike[str], images: Float32Array) -> Float32Array:
    """Returns the logits of a classifier file (its scores, if it has no softmax) on normalised pictures: float32 (n, classes)."""
    return next(iter(file_outputs(path, images).values()))


def steps(tensors: Mapping[str, Tensor]) -> dict[str, float]:
    """Returns the step of each tensor that holds integers. A step of 0, which a damaged file may have, is left out."""
    return {name: float(tensor.scale[0]) for name, tensor in tensors.items() if len(tensor.scale) and tensor.scale[0] > 0}


def map_tensors(file: TFLiteFile, ops: tuple[Op, ...]) -> dict[str, int]:
    """Finds the output tensor of every operation in a file by following the graph, whatever the names of the tensors.

    Returns:
        Tensor indices by operation name, with `IMAGE` and `NAME/pre`.

    Raises:
        ParityError: An operation is not there.
    """
    entry = file.inputs[0]
    readers = [o for o in file.operators if entry in o.inputs]
    if readers and readers[0].kind in CONVERSIONS and readers[0].outputs:
        entry = readers[0].outputs[0]
    places, used = {IMAGE: entry}, set[int]()
    heads = _leading_to_heads(file, ops)
    for op in ops:
        operator = _find(file, op, _FILE_KINDS[op.kind], [places[name] for name in op.inputs], used, heads.get(op.name))
        places[op.name] = operator.outputs[0]
        if op.kind in ("conv", "depthwise") and separate_activation(op):
            places[pre_activation(op)] = operator.outputs[0]
            places[op.name] = _find(file, op, _FILE_KINDS[op.activation], [operator.outputs[0]], used).outputs[0]
        elif op.activation == "hard_sigmoid" and not len(file.tensors[operator.outputs[0]].scale):
            places[op.name] = _find(file, op, ("MUL",), [operator.outputs[0]], used).outputs[0]
    return places


def _leading_to_heads(file: TFLiteFile, ops: tuple[Op, ...]) -> dict[str, set[int]]:
    """Returns the operators that lead to the same heads as each operation, by its name, for a network with several heads.

    Heads of one width read the same tensor, and converters order them as they like; outputs keep their order.
    """
    read = {name for op in ops for name in op.inputs}
    last = [op.name for op in ops if op.name not in read]
    if len(last) != len(file.outputs) or len(last) < 2:
        return {}
    wanted = {name: {place} for place, name in enumerate(last)}
    for op in reversed(ops):
        for name in op.inputs:
            wanted.setdefault(name, set()).update(wanted[op.name])
    reached = {output: {place} for place, output in enumerate(file.outputs)}
    leading: dict[int, set[int]] = {}
    for operator in reversed(file.operators):
        leading[operator.position] = set().union(*(reached.get(tensor, set()) for tensor in operator.outputs))
        for tensor in operator.inputs:
            reached.setdefault(tensor, set()).update(leading[operator.position])
    return {op.name: {place for place, heads in leading.items() if heads == wanted[op.name]} for op in ops}


def _find(
    file: TFLiteFile, op: Op, kinds: tuple[str, ...], inputs: list[int], used: set[int], among: set[int] | None = None
) -> Operator:
    """Returns the operator that reads these inputs. Of several, as at two branches, it is one that writes as many channels.

    Operators of `among` come first.
    """
    found = [
        operator
        for operator in file.operators
        if operator.position not in used and operator.kind in kinds and operator.outputs and set(inputs) <= set(operator.inputs)
    ]
    if not found:
        raise ParityError(f"layer '{op.name}': the file has no {' or '.join(kinds)} where the network has it")
    found = [one for one in found if among is not None and one.position in among] or found
    operator = next((one for one in found if file.tensors[one.outputs[0]].shape[-1:] == (op.channels,)), found[0])
    used.add(operator.position)
    return operator
