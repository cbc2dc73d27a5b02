"""Does a file say what its network says? Compared on pictures, at the logits and layer by layer.

The softmax hides errors (its steps are 1/256), and end to end the roundings of a deep network cascade although every
layer is right. So a quantised file is judged layer by layer: each layer is computed from the file's own inputs to it,
with the weights that it should have, and must agree within one step (LSB).
"""

from __future__ import annotations

import os
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from export.graph import ExportError, Floats
from export.quantisation.scheme import QuantisedGraph, pre_activation, representable, separate_activation
from export.runtime import run_file
from mhmodels.network import IMAGE, Op
from mhmodels.tflite_file import Operator, Tensor, TFLiteFile, read_tflite

FLOAT_TOLERANCE = 1e-3
LAYER_TOLERANCE_LSB = 1.0
LAYER_PICTURES = 2

_FILE_KINDS: dict[str, tuple[str, ...]] = {
    "conv": ("CONV_2D", "FULLY_CONNECTED"),
    "depthwise": ("DEPTHWISE_CONV_2D",),
    "add": ("ADD",),
    "multiply": ("MUL",),
    "pool": ("MEAN", "AVERAGE_POOL_2D"),
    "reshape": ("RESHAPE", "SQUEEZE"),
    "softmax": ("SOFTMAX",),
    "hard_swish": ("HARD_SWISH",),
    "sigmoid": ("LOGISTIC",),
}


class ParityError(ExportError):
    """A file that does not agree with its network."""


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """How far a file departs from what it was made from, at the logits over a set of pictures.

    Attributes:
        reference: what it was compared with.
        pictures: how many.
        correlation: Pearson's, over all logits of all pictures.
        mean_error, max_error: absolute difference as a share of the reference logits' standard deviation.
        mean_error_lsb: absolute difference in steps of the file's logits; null for float files.
        top1_agreement: share of pictures with the same largest logit.
        float_correlation, float_top1_agreement: the same against the float network: what quantisation itself costs.
        worst_layer, worst_layer_lsb: largest departure of a layer from its own inputs' result; null for float files.
    """

    reference: str
    pictures: int
    correlation: float
    mean_error: float
    max_error: float
    top1_agreement: float
    mean_error_lsb: float | None = None
    float_correlation: float | None = None
    float_top1_agreement: float | None = None
    worst_layer: str | None = None
    worst_layer_lsb: float | None = None


def parity_of_float(path: str | os.PathLike[str], images: Floats, logits: Floats, tolerance: float = FLOAT_TOLERANCE) -> Parity:
    """Compares a float file with its Keras model.

    Args:
        path: the file.
        images: float32 (n, height, width, channels), normalised.
        logits: float32 (n, classes): the model's, on these pictures.
        tolerance: largest allowed difference, as a share of the logits' standard deviation.

    Raises:
        ParityError: the difference is larger.
    """
    file = read_tflite(path)
    found = run_file(path, images, [_logits_tensor(file).position])[0].reshape(len(images), -1)
    parity = _compare(found, logits, "Keras model")
    if not parity.max_error <= tolerance:
        raise ParityError(
            f"{path}: logits depart from the Keras model by up to {parity.max_error:.2g} of their spread, "
            f"expected at most {tolerance:g}; the file is not kept"
        )
    return parity


def parity_of_quantised(
    path: str | os.PathLike[str],
    quantised: QuantisedGraph,
    images: Floats,
    float_logits: Floats,
    tolerance_lsb: float = LAYER_TOLERANCE_LSB,
) -> Parity:
    """Compares an integer file with its fake-quantised form, layer by layer and at the logits.

    Args:
        path: the file.
        quantised: what it was made from.
        images: float32 (n, height, width, channels), normalised.
        float_logits: float32 (n, classes): the float network's, on these pictures.
        tolerance_lsb: allowed difference of a layer from what its own inputs give, in steps.

    Raises:
        ParityError: a layer departs further; the message names the first.
    """
    from export.fake_quant import simulate

    file = read_tflite(path)
    name = logits_name(quantised.graph.ops)
    tensor = _logits_tensor(file)
    encoded = encode_input(file, images)
    found = dequantise(run_file(path, encoded, [tensor.position])[0], tensor).reshape(len(images), -1)
    expected = simulate(quantised, images, (name,))[name].reshape(len(images), -1)
    worst, worst_lsb = _check_layers(path, file, quantised, encoded[:LAYER_PICTURES], tolerance_lsb)
    against_float = _compare(found, float_logits, "float network")
    return msgspec.structs.replace(
        _compare(found, expected, "fake-quantised network"),
        mean_error_lsb=float(np.abs(found - expected).mean() / tensor.scale[0]),
        float_correlation=against_float.correlation,
        float_top1_agreement=against_float.top1_agreement,
        worst_layer=worst,
        worst_layer_lsb=worst_lsb,
    )


def logits_name(ops: tuple[Op, ...]) -> str:
    """The operation whose output the scores are made of: what precedes the softmax, or the last one."""
    last = ops[-1]
    return last.inputs[0] if last.kind == "softmax" else last.name


def encode_input(file: TFLiteFile, images: Floats) -> NDArray[Any]:
    """Normalised pictures as the file's input takes them: as they are, or quantised by its parameters."""
    entry = file.tensors[file.inputs[0]]
    if entry.dtype == "float32":
        return images
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


def _logits_tensor(file: TFLiteFile) -> Tensor:
    for operator in file.operators:
        if operator.kind == "SOFTMAX":
            return file.tensors[operator.inputs[0]]
    return file.tensors[file.outputs[0]]


def _compare(found: Floats, expected: Floats, reference: str) -> Parity:
    spread = float(expected.std())
    if not spread > 0:
        raise ParityError(f"the {reference}'s logits do not vary over the pictures, so that nothing can be compared")
    error = np.abs(found - expected) / spread
    flat = float(np.corrcoef(found.ravel(), expected.ravel())[0, 1]) if found.std() > 0 else 0.0
    return Parity(
        reference=reference,
        pictures=len(found),
        correlation=flat,
        mean_error=float(error.mean()),
        max_error=float(error.max()),
        top1_agreement=float((found.argmax(1) == expected.argmax(1)).mean()),
    )


def _check_layers(
    path: str | os.PathLike[str], file: TFLiteFile, quantised: QuantisedGraph, encoded: NDArray[Any], tolerance: float
) -> tuple[str, float]:
    """Computes every layer from the file's own inputs to it; returns the worst layer and its departure in steps."""
    from export.fake_quant import layer_output

    places = map_tensors(file, quantised.graph.ops)
    arrays = run_file(path, encoded, list(places.values()))
    values = {name: dequantise(array, file.tensors[places[name]]) for name, array in zip(places, arrays, strict=True)}
    worst, worst_lsb = "", 0.0
    for op in quantised.graph.ops:
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


def map_tensors(file: TFLiteFile, ops: tuple[Op, ...]) -> dict[str, int]:
    """Finds every operation's output tensor in a file by following the graph, whatever the tensors are called.

    Returns:
        Tensor indices by operation name, with `IMAGE` and `NAME/pre`.

    Raises:
        ParityError: an operation is not there.
    """
    entry = file.inputs[0]
    readers = [o for o in file.operators if entry in o.inputs]
    if readers and readers[0].kind in ("QUANTIZE", "DEQUANTIZE"):
        entry = readers[0].outputs[0]
    places, used = {IMAGE: entry}, set[int]()
    for op in ops:
        operator = _find(file, op.name, _FILE_KINDS[op.kind], [places[name] for name in op.inputs], used)
        places[op.name] = operator.outputs[0]
        if op.kind in ("conv", "depthwise") and separate_activation(op):
            places[pre_activation(op)] = operator.outputs[0]
            places[op.name] = _find(file, op.name, _FILE_KINDS[op.activation], [operator.outputs[0]], used).outputs[0]
    return places


def _find(file: TFLiteFile, name: str, kinds: tuple[str, ...], inputs: list[int], used: set[int]) -> Operator:
    for operator in file.operators:
        if operator.position not in used and operator.kind in kinds and set(inputs) <= set(operator.inputs):
            used.add(operator.position)
            return operator
    raise ParityError(f"layer '{name}': the file has no {' or '.join(kinds)} where the network has it")


class FileReport(msgspec.Struct, frozen=True, kw_only=True):
    """What `mhmodels verify` found of a file.

    Attributes:
        precision: what its convolutions compute with.
        operators: count by kind.
        manifest: `agrees`, `absent`, or what differs.
        runtimes_differ: largest difference at the output between LiteRT with and without XNNPACK, in `runtimes_unit`:
            `lsb` (steps of an integer output) or `spread` (standard deviations of a float one).
        against: comparison at the logits, where one was asked for.
    """

    file: str
    sha256: str
    precision: str
    operators: dict[str, int]
    pictures: int
    manifest: str
    runtimes_differ: float
    runtimes_unit: str
    against: Parity | None


def file_logits(path: str | os.PathLike[str], images: Floats) -> Floats:
    """A file's logits (scores, where it has no softmax) on normalised pictures: float32 (n, classes)."""
    file = read_tflite(path)
    tensor = _logits_tensor(file)
    return dequantise(run_file(path, encode_input(file, images), [tensor.position])[0], tensor).reshape(len(images), -1)


def compare_logits(found: Floats, expected: Floats, reference: str) -> Parity:
    """Compares two sets of logits, float32 (n, classes) each.

    Raises:
        ParityError: their class counts differ, or the reference does not vary.
    """
    if found.shape != expected.shape:
        raise ParityError(f"the file gives {found.shape[1]} scores a picture, {reference} gives {expected.shape[1]}")
    return _compare(found, expected, reference)


def runtimes_differ(path: str | os.PathLike[str], images: Floats) -> tuple[float, str]:
    """Largest difference at the first output between LiteRT with XNNPACK and without, and its unit (see `FileReport`).

    Raises:
        ParityError: the output has NaN or infinite values.
    """
    file = read_tflite(path)
    output, inputs = file.tensors[file.outputs[0]], encode_input(file, images)
    with_xnnpack, without = (
        dequantise(run_file(path, inputs, [output.position], kernels=kernels)[0], output) for kernels in ("xnnpack", "builtin")
    )
    if not np.isfinite(with_xnnpack).all():
        raise ParityError(f"{path}: output '{output.name}' has NaN or infinite values on {len(images)} pictures")
    difference = float(np.abs(with_xnnpack - without).max())
    if len(output.scale):
        return difference / float(output.scale[0]), "lsb"
    return difference / max(float(without.std()), 1e-30), "spread"
