"""Compares the layers of a file with those of a network or of another file, to find the first that departs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from mhmodels.export.errors import ParityError
from mhmodels.export.graph.operations import Float32Array, Graph
from mhmodels.export.tolerances import FLOAT_TOLERANCE, LAYER_PICTURES
from mhmodels.export.verification.file_graph import dequantise, is_activation, map_tensors
from mhmodels.export.verification.runtimes.litert import run_file
from mhmodels.network import Op
from mhmodels.tflite.file import Operator, TFLiteFile
from mhmodels.tflite.format import compute_format
from mhmodels.tflite.schema import CONVERSIONS

LIMITS = {"float32": FLOAT_TOLERANCE, "float16": 1e-2, "int8": 0.25, "uint8": 0.25}
"""Root mean square difference of a layer, as a share of its spread, above which it departs. Rounding to 8 bits costs a few
hundredths; another weight or a wrong padding far more."""
FLOOR_STEPS = 4
"""A spread of fewer steps counts as these: a gate that hardly varies is all rounding, and one step of it is no departure."""


class LayerParity(msgspec.Struct, frozen=True, kw_only=True):
    """How far one layer departs."""

    layer: str
    error: float


class LayerReport(msgspec.Struct, frozen=True, kw_only=True):
    """How far the layers of a file depart, in order.

    Attributes:
        method: What each was compared with.
        limit: Error above which a layer departs.
        first_departing: Name of the first such layer; null if there is none.
        layers: All of them; empty where they cannot be told apart, and then `reason` says why.
    """

    method: str
    limit: float
    first_departing: str | None
    layers: tuple[LayerParity, ...]
    reason: str = ""


def not_compared(reason: str) -> LayerReport:
    """Returns a report without layers that states the reason."""
    return LayerReport(method="", limit=0.0, first_departing=None, layers=(), reason=reason)


def against_network(
    path: str | os.PathLike[str], file: TFLiteFile, ops: Sequence[Op], graph: Graph, encoded: NDArray[np.generic]
) -> LayerReport:
    """Computes every layer with the weights of a network from the inputs that a file gives it, and compares the results.

    Args:
        path, file: The file.
        ops: Operations of the network that the file has.
        graph: The network.
        encoded: Pictures as the file's input takes them, (n, height, width, channels).
    """
    from mhmodels.export.quantisation.fake_quant import float_layer

    method, limit = "the network's layer on the file's own inputs", LIMITS.get(compute_format(file), LIMITS["int8"])
    try:
        places = map_tensors(file, tuple(ops))
    except ParityError as error:
        return LayerReport(method=method, limit=limit, first_departing=None, layers=(), reason=str(error))
    arrays = run_file(path, encoded[:LAYER_PICTURES], list(places.values()))
    values = {name: dequantise(array, file.tensors[places[name]]) for name, array in zip(places, arrays, strict=True)}
    steps = {name: file.tensors[place].scale for name, place in places.items()}
    pairs = ((op.name, values[op.name], float_layer(graph, op, values), _floor(steps[op.name])) for op in ops)
    return _report(method, limit, pairs)


def against_file(
    path: str | os.PathLike[str],
    file: TFLiteFile,
    other_path: str | os.PathLike[str],
    other: TFLiteFile,
    inputs: tuple[NDArray[np.generic], NDArray[np.generic]],
) -> LayerReport:
    """Compares the results of the operators of two files in order. Differences add up on the way.

    Args:
        inputs: The same pictures as each of the files takes them.
    """
    method = "the other file's operator at the same place"
    limit = max(LIMITS.get(compute_format(one), LIMITS["int8"]) for one in (file, other))
    ours, theirs = _inner(file), _inner(other)
    if [operator.kind for operator in ours] != [operator.kind for operator in theirs]:
        reason = "the two files do not have the same operators in the same order"
        return LayerReport(method=method, limit=limit, first_departing=None, layers=(), reason=reason)
    sides = []
    for where, one, operators, encoded in ((path, file, ours, inputs[0]), (other_path, other, theirs, inputs[1])):
        tensors = [one.tensors[operator.outputs[0]] for operator in operators]
        arrays = run_file(where, encoded[:LAYER_PICTURES], [tensor.position for tensor in tensors])
        sides.append([dequantise(array, tensor) for array, tensor in zip(arrays, tensors, strict=True)])
    results = [file.tensors[operator.outputs[0]] for operator in ours]
    floors = [_floor(tensor.scale) for tensor in results]
    return _report(method, limit, zip([tensor.name for tensor in results], *sides, floors, strict=True))


def _inner(file: TFLiteFile) -> list[Operator]:
    """Returns the operators that compute activations.

    Conversions at the ends or of stored weights are left out, and so is the arithmetic on shapes (SHAPE, STRIDED_SLICE, PACK)
    that TensorFlow's converter writes for a dynamic batch: whole numbers without a scale stand for no activation.
    """
    return [
        operator
        for operator in file.operators
        if operator.kind not in CONVERSIONS and operator.outputs and is_activation(file.tensors[operator.outputs[0]])
    ]


def _floor(scale: Float32Array) -> float:
    """Returns the smallest standard deviation that a difference is a share of."""
    return max(FLOOR_STEPS * float(scale[0]) if len(scale) else 0.0, 1e-12)


def _report(method: str, limit: float, pairs: Iterator[tuple[str, Float32Array, Float32Array, float]]) -> LayerReport:
    layers: list[LayerParity] = []
    for name, found, expected, floor in pairs:
        if found.shape != expected.shape:
            reason = f"layer '{name}': {found.shape[1:]} here, {expected.shape[1:]} there"
            return LayerReport(method=method, limit=limit, first_departing=name, layers=tuple(layers), reason=reason)
        difference = float(np.sqrt(np.mean(np.square(found - expected, dtype=np.float64))))
        layers.append(LayerParity(layer=name, error=difference / max(float(expected.std()), floor)))
    first = next((layer.layer for layer in layers if not layer.error <= limit), None)
    return LayerReport(method=method, limit=limit, first_departing=first, layers=tuple(layers))


def saturation(path: str | os.PathLike[str], file: TFLiteFile, encoded: NDArray[np.generic]) -> Mapping[str, float]:
    """Returns the share of the values of each computed tensor that lie at an end of its integers, the largest first.

    The lower end does not count where it stands for zero: that is what a ReLU gives.

    Args:
        path, file: The file; without integer tensors the result is empty.
        encoded: Pictures as the file's input takes them.
    """
    tensors = [
        tensor
        for operator in _inner(file)
        for tensor in (file.tensors[operator.outputs[0]],)
        if tensor.data is None and len(tensor.scale) == 1 and tensor.dtype in ("int8", "uint8", "int16")
    ]
    if not tensors:
        return {}
    shares = {}
    for tensor, values in zip(tensors, run_file(path, encoded[:LAYER_PICTURES], [t.position for t in tensors]), strict=True):
        info = np.iinfo(tensor.dtype)
        ends = values == info.max
        if tensor.zero_point[0] != info.min:
            ends |= values == info.min
        shares[tensor.name] = float(ends.mean()) if ends.size else 0.0
    return dict(sorted(shares.items(), key=lambda item: -item[1]))
