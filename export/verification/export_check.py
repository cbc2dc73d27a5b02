"""Checks a file against its network at export time: on pictures, at the outputs and layer by layer.

The softmax hides errors, because its steps are 1/256, and the roundings of a deep network add up although every layer is right.
So a quantised file is checked layer by layer: each layer is computed from the inputs that the file gives it, with the weights
that it should have, and must agree within one step (LSB).
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from mhmodels.export.errors import ParityError
from mhmodels.export.graph.operations import Float32Array
from mhmodels.export.graph.outputs import (
    DEFAULT_OPTIONS,
    SCORES,
    WriterOptions,
    compared_ops,
    flat_scores,
    written_ops,
)
from mhmodels.export.quantisation.parameters import representable
from mhmodels.export.quantisation.scheme import QuantisedGraph
from mhmodels.export.tolerances import FLOAT_TOLERANCE, LAYER_PICTURES, LAYER_TOLERANCE_LSB
from mhmodels.export.verification.file_graph import compared_tensors, dequantise, encode_input, file_outputs, map_tensors
from mhmodels.export.verification.parity import compare_outputs
from mhmodels.export.verification.runtimes.litert import run_file
from mhmodels.export.writing.manifest import Parity
from mhmodels.network import Op
from mhmodels.tflite.file import TFLiteFile, read_tflite


def check_float_file(
    path: str | os.PathLike[str],
    images: Float32Array,
    expected: Mapping[str, Float32Array],
    tolerance: float = FLOAT_TOLERANCE,
    *,
    before_softmax: bool = True,
) -> Parity:
    """Compares a float file with its Keras model.

    Args:
        path: The file.
        images: float32 (n, height, width, channels), as the file takes them.
        expected: The model's outputs on these pictures, by name.
        tolerance: Largest allowed difference, as a share of the outputs' standard deviation.
        before_softmax: Whether `expected` are logits; else they are scores, after the final activation.

    Raises:
        ParityError: The difference is larger.
    """
    return float_parity(path, file_outputs(path, images, before_softmax=before_softmax), expected, tolerance)


def float_parity(
    path: str | os.PathLike[str],
    found: Mapping[str, Float32Array],
    expected: Mapping[str, Float32Array],
    tolerance: float = FLOAT_TOLERANCE,
) -> Parity:
    """Compares the outputs of a float file with those of its Keras model.

    Args:
        path: The file, for the message.
        found, expected: Outputs of the file and of the model on the same pictures, by name.
        tolerance: Largest allowed difference, as a share of the outputs' standard deviation.

    Raises:
        ParityError: The difference is larger.
    """
    parity = compare_outputs(found, expected, "Keras model")
    if not parity.max_error <= tolerance:
        raise ParityError(
            f"{path}: outputs depart from the Keras model's by up to {parity.max_error:.2g} of their spread, "
            f"expected at most {tolerance:g}; the file is not kept"
        )
    return parity


def check_quantised_file(
    path: str | os.PathLike[str],
    quantised: QuantisedGraph,
    images: Float32Array,
    expected: Mapping[str, Float32Array],
    options: WriterOptions = DEFAULT_OPTIONS,
    tolerance_lsb: float = LAYER_TOLERANCE_LSB,
) -> Parity:
    """Compares an integer file with its fake-quantised form, layer by layer and at the outputs.

    Args:
        path: The file.
        quantised: What it was made from.
        images: float32 (n, height, width, channels), as the file's network takes them.
        expected: The float network's outputs on these pictures, by name.
        options: With which the file was written.
        tolerance_lsb: Allowed difference of a layer from what its own inputs give, in steps.

    Raises:
        ParityError: A layer departs further; the message names the first.
    """
    file = read_tflite(path)
    tensors = compared_tensors(file)
    encoded = encode_input(file, images)
    values = run_file(path, encoded, [tensor.position for tensor in tensors.values()])
    found = {name: dequantise(value, tensor) for (name, tensor), value in zip(tensors.items(), values, strict=True)}
    ops = written_ops(quantised.graph, options)
    layers = _layer_values(path, file, ops, encoded[:LAYER_PICTURES])
    worst = worst_layer(path, quantised, ops, layers, tolerance_lsb)
    return quantised_parity(quantised, found, images, expected, options, worst)


def quantised_parity(
    quantised: QuantisedGraph,
    found: Mapping[str, Float32Array],
    images: Float32Array,
    expected: Mapping[str, Float32Array],
    options: WriterOptions,
    worst: tuple[str, float],
) -> Parity:
    """Compares the outputs of an integer file with those of its fake-quantised form and of the float network.

    Args:
        quantised: What the file was made from.
        found: Outputs of the file, as real numbers, by name.
        images: float32 (n, height, width, channels), as the file's network takes them.
        expected: The float network's outputs on these pictures, by name.
        options: With which the file was written.
        worst: The layer with the largest departure, and this departure in steps.
    """
    from mhmodels.export.quantisation.fake_quant import simulate

    places = compared_ops(quantised.graph, options)
    simulated = simulate(quantised, images, tuple(places.values()))
    wanted = {name: simulated[op] for name, op in places.items()}
    found, wanted = ({name: flat_scores(v) if name == SCORES else v for name, v in side.items()} for side in (found, wanted))
    against_float = compare_outputs(found, expected, "float network")
    steps = {name: float(quantised.tensors[op].scale[0]) for name, op in places.items()}
    return msgspec.structs.replace(
        compare_outputs(found, wanted, "fake-quantised network", steps),
        float_correlation=against_float.correlation,
        float_top1_agreement=against_float.top1_agreement,
        float_confident_pictures=against_float.confident_pictures,
        float_confident_top1_agreement=against_float.confident_top1_agreement,
        worst_layer=worst[0],
        worst_layer_lsb=worst[1],
    )


def _layer_values(
    path: str | os.PathLike[str], file: TFLiteFile, ops: tuple[Op, ...], encoded: NDArray[np.generic]
) -> dict[str, Float32Array]:
    """Returns what every layer of a file gives on encoded pictures, as real numbers, by the name of its operation."""
    places = map_tensors(file, ops)
    arrays = run_file(path, encoded, list(places.values()))
    _check_shapes(path, file, {places[name]: array for name, array in zip(places, arrays, strict=True)})
    return {name: dequantise(array, file.tensors[places[name]]) for name, array in zip(places, arrays, strict=True)}


def worst_layer(
    path: str | os.PathLike[str],
    quantised: QuantisedGraph,
    ops: tuple[Op, ...],
    values: Mapping[str, Float32Array],
    tolerance: float = LAYER_TOLERANCE_LSB,
) -> tuple[str, float]:
    """Computes every layer from the inputs that a file gives it, and returns the worst layer and its departure in steps.

    Args:
        path: The file, for the message.
        quantised: What the file was made from.
        ops: The operations that are in the file.
        values: What the layers of the file give, as real numbers, (n, height, width, channels), by the name of the operation.
        tolerance: Largest allowed departure in steps.

    Raises:
        ParityError: A layer departs further; the message names the first.
    """
    from mhmodels.export.quantisation.fake_quant import layer_output

    worst, worst_lsb = "", 0.0
    for op in ops:
        for name, expected in layer_output(quantised, op, values).items():
            low, high = representable(quantised.tensors[name], quantised.format)
            scale = float(quantised.tensors[name].scale[0])
            error = float(np.abs(np.clip(expected, low, high) - values[name]).max()) / scale
            # A result between two integers may go either way: half a step is no departure.
            departure = max(0.0, error - 0.5)
            if departure > tolerance:
                raise ParityError(f"{path}: layer '{name}' departs by {departure:.1f} steps from what its own inputs give, "
                                  f"expected at most {tolerance:g}; the file is not kept")  # fmt: skip
            if departure > worst_lsb:
                worst, worst_lsb = name, departure
    return worst, worst_lsb


def _check_shapes(path: str | os.PathLike[str], file: TFLiteFile, arrays: Mapping[int, NDArray[np.generic]]) -> None:
    """Checks that the tensors have the shapes that the file states, which compilers and delegates go by, when it runs."""
    for position, array in arrays.items():
        tensor = file.tensors[position]
        if tensor.shape[1:] != array.shape[1:]:
            raise ParityError(f"{path}: tensor '{tensor.name}' is {tensor.shape} in the file and (1, "
                              f"{str(array.shape[1:])[1:]} when it runs; the file is not kept")  # fmt: skip
