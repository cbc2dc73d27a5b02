"""Checks an ONNX file against its network at export time, as `export_check` checks TFLite files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhmodels.export.errors import ParityError
from mhmodels.export.graph.operations import Float32Array, Graph
from mhmodels.export.graph.outputs import SCORES, WriterOptions, compared_ops, flat_scores, graph_outputs, written_ops
from mhmodels.export.quantisation.scheme import QuantisedGraph
from mhmodels.export.tolerances import FLOAT_TOLERANCE, LAYER_PICTURES, LAYER_TOLERANCE_LSB
from mhmodels.export.verification.export_check import float_parity, quantised_parity, worst_layer
from mhmodels.export.verification.runtimes.onnx_cpu import run_onnx_file
from mhmodels.export.writing.manifest import Parity
from mhmodels.export.writing.onnx.names import layer_tensors
from mhmodels.export.writing.onnx.values import IntegerValues, OnnxActivation, OnnxValues, RealValues, as_type
from mhmodels.export.writing.writer import InterfaceType
from mhmodels.network import IMAGE


def check_onnx_float_file(
    path: str | os.PathLike[str],
    graph: Graph,
    images: Float32Array,
    expected: Mapping[str, Float32Array],
    options: WriterOptions,
    tolerance: float = FLOAT_TOLERANCE,
) -> Parity:
    """Compares a float ONNX file, run by ONNX Runtime, with its Keras model.

    Args:
        path: The file.
        graph: What it was made from.
        images: float32 (n, height, width, channels), as the file takes them.
        expected: The model's outputs on these pictures, by name, before their softmax.
        options: With which the file was written.
        tolerance: Largest allowed difference, as a share of the outputs' standard deviation.

    Raises:
        ParityError: The difference is larger.
    """
    found = _outputs(path, RealValues(graph), "float32", images, options)
    return float_parity(path, found, expected, tolerance)


def check_onnx_quantised_file(
    path: str | os.PathLike[str],
    quantised: QuantisedGraph,
    io: InterfaceType,
    images: Float32Array,
    expected: Mapping[str, Float32Array],
    options: WriterOptions,
) -> Parity:
    """Compares an integer ONNX file, run by ONNX Runtime, with its fake-quantised form, layer by layer and at the outputs.

    Args:
        path: The file.
        quantised: What it was made from.
        io: Element type of the input and the outputs of the file.
        images: float32 (n, height, width, channels), as the file's network takes them.
        expected: The float network's outputs on these pictures, by name.
        options: With which the file was written.

    Raises:
        ParityError: A layer departs further than a step; the message names the first.
    """
    encoded = encode_onnx_input(quantised, io, images)
    found = _outputs(path, IntegerValues(quantised), io, encoded, options)
    values = onnx_layer_values(path, quantised, io, encoded[:LAYER_PICTURES], options)
    worst = worst_layer(path, quantised, written_ops(quantised.graph, options), values)
    return quantised_parity(quantised, found, images, expected, options, worst)


def encode_onnx_input(quantised: QuantisedGraph, io: InterfaceType, images: Float32Array) -> NDArray[np.generic]:
    """Returns pictures as the input of an integer file takes them: quantised by its parameters, or as they are for float32."""
    quantisation = as_type(IntegerValues(quantised).activation(IMAGE), io).quantisation
    if quantisation is None:
        return images
    info = np.iinfo(io)
    integers = np.rint(images / quantisation.scale[0]) + quantisation.zero_point
    encoded: NDArray[np.generic] = np.clip(integers, info.min, info.max).astype(io)
    return encoded


def onnx_layer_values(
    path: str | os.PathLike[str],
    quantised: QuantisedGraph,
    io: InterfaceType,
    encoded: NDArray[np.generic],
    options: WriterOptions,
) -> dict[str, Float32Array]:
    """Returns what every layer of an integer file gives on encoded pictures, as real numbers, by the name of its operation.

    Maps are (n, height, width, channels). A padding that a convolution does itself is computed here.
    """
    from mhmodels.export.quantisation.fake_quant import layer_output

    values, ops = IntegerValues(quantised), written_ops(quantised.graph, options)
    tensors = layer_tensors(ops, graph_outputs(quantised.graph, options), values, io)
    arrays = run_onnx_file(path, encoded, list(tensors.values()))
    found = {
        name: _real(array.transpose(0, 2, 3, 1) if array.ndim == 4 else array, values.activation(name))
        for name, array in zip(tensors, arrays, strict=True)
    }
    for op in ops:
        if op.name not in found:
            found.update(layer_output(quantised, op, found))
    return found


class _Place(NamedTuple):
    """A tensor of a file, and how its numbers are stored."""

    tensor: str
    stored: OnnxActivation


class _Places(NamedTuple):
    """Where a file is compared, by the names of its outputs.

    Attributes:
        compared: What a softmax reads, or the output itself.
        scores: Outputs that a softmax gives.
    """

    compared: dict[str, _Place]
    scores: dict[str, _Place]


def _places(values: OnnxValues, io: str, options: WriterOptions) -> _Places:
    outputs, compared = graph_outputs(values.graph, options), compared_ops(values.graph, options)
    inner = layer_tensors(written_ops(values.graph, options), outputs, values, io)
    ends = {name: _Place(name, as_type(values.activation(op), io)) for name, op in outputs.items()}
    scores = {name: end for name, end in ends.items() if compared[name] != outputs[name]}
    logits = {name: _Place(inner[compared[name]], values.activation(compared[name])) for name in scores}
    return _Places({**ends, **logits}, scores)


def _outputs(
    path: str | os.PathLike[str], values: OnnxValues, io: str, encoded: NDArray[np.generic], options: WriterOptions
) -> dict[str, Float32Array]:
    """Runs a file on encoded pictures and returns its outputs before their softmax, as real numbers; scores are (n, classes).

    Raises:
        ParityError: A softmax departs from that of the logits by more than a step.
    """
    places = _places(values, io, options)
    wanted = [*places.compared.values(), *places.scores.values()]
    arrays = run_onnx_file(path, encoded, [place.tensor for place in wanted])
    numbers = [_real(array, place.stored) for array, place in zip(arrays, wanted, strict=True)]
    found = dict(zip(places.compared, numbers, strict=False))
    for (name, place), scores in zip(places.scores.items(), numbers[len(found) :], strict=True):
        quantisation = place.stored.quantisation
        limit = FLOAT_TOLERANCE if quantisation is None else (LAYER_TOLERANCE_LSB + 0.5) * float(quantisation.scale[0])
        shifted = np.exp(found[name] - found[name].max(-1, keepdims=True))
        difference = float(np.abs(scores - shifted / shifted.sum(-1, keepdims=True)).max())
        if not difference <= limit:
            raise ParityError(f"{path}: output '{name}' departs by {difference:.2g} from the softmax of its logits, expected at "
                              f"most {limit:.2g}; the file is not kept")  # fmt: skip
    return {name: flat_scores(value) if name == SCORES else value for name, value in found.items()}


def _real(values: NDArray[np.generic], stored: OnnxActivation) -> Float32Array:
    """Returns the real numbers that the values of a tensor stand for."""
    if stored.quantisation is None:
        return values.astype(np.float32)
    return np.asarray((values.astype(np.int32) - stored.quantisation.zero_point) * stored.quantisation.scale[0], np.float32)
