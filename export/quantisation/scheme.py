"""Computes integers from ranges: scales, zero points, quantised weights and biases of every tensor of a network.

There are two schemes. `int8` has symmetric weights, per channel by default, and asymmetric int8 activations (TFLite's
quantisation specification). `uint8` is asymmetric with one scale per tensor, for weights too, as in the runs of the paper and the
drivers of 2020. In both, the output of a softmax has scale 1/256; poolings and reshaping have the parameters of their input,
because runtimes insert a requantisation otherwise; biases are int32 at input scale times weight scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mhmodels.architecture import Preprocessing
from mhmodels.blocks import Kind
from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Float32Array, Graph, Range
from mhmodels.network import IMAGE, Op

QuantisedFormat: TypeAlias = Literal["int8", "uint8"]
Granularity: TypeAlias = Literal["channel", "tensor"]

_LOWEST: dict[str, int] = {"int8": -128, "uint8": 0}
SHARING: tuple[Kind, ...] = ("pool", "global_max_pool", "max_pool", "average_pool", "flatten", "reshape")
"""Kinds of operations whose output has the parameters of their input."""
_BIAS_LIMIT = 2**31 - 1
_LARGEST_BIAS = 2**30  # leaves room for the products that are added to it
_PIECE = 1 << 16


class Quantisation(NamedTuple):
    """How the integers of a tensor stand for real numbers: real = scale * (integer - zero_point).

    Attributes:
        scale: float32 (1,), or (channels,) for a kernel that is quantised per channel.
        zero_point: integer that stands for 0.
    """

    scale: Float32Array
    zero_point: int


class QuantisedKernel(NamedTuple):
    """The integers of a convolution.

    Attributes:
        weights: in the layout of `Graph.kernels`.
        quantisation: parameters of the weights.
        bias: int32 (channels,).
    """

    weights: NDArray[np.int16]
    quantisation: Quantisation
    bias: NDArray[np.int32]


class QuantisedGraph(NamedTuple):
    """A graph with the quantisation parameters of every tensor.

    Attributes:
        graph: operations and float weights; gates are rewritten so that saturation does the clipping.
        format: `int8` or `uint8`.
        tensors: parameters by tensor name: `IMAGE`, every operation's output, and `NAME/pre` where the activation is an
            operation of its own (hard-swish, sigmoid).
        kernels: by operation name.
    """

    graph: Graph
    format: QuantisedFormat
    tensors: Mapping[str, Quantisation]
    kernels: Mapping[str, QuantisedKernel]


def separate_activation(op: Op) -> bool:
    """Returns whether an integer runtime computes the activation as an operation of its own, on a quantised tensor."""
    return op.activation in ("hard_swish", "sigmoid")


def pre_activation(op: Op) -> str:
    """Returns the name of the tensor between a convolution and its separate activation."""
    return f"{op.name}/pre"


def calibrated_tensors(graph: Graph) -> tuple[str, ...]:
    """Returns the names of the tensors whose ranges must be observed. The other ranges follow from rules."""
    names: list[str] = []
    for op in graph.ops:
        if separate_activation(op):
            names.append(pre_activation(op))
        if op.kind not in SHARING and fixed_range(op) is None:
            names.append(op.name)
    return tuple(names)


def fixed_range(op: Op) -> Range | None:
    """Returns the range of the output of an operation, if a rule fixes it; None where it must be observed or is shared."""
    if op.kind == "softmax" or op.activation == "sigmoid":
        return 0.0, 255 / 256
    return (0.0, 1.0) if op.activation == "hard_sigmoid" else None


def check_granularity(fmt: QuantisedFormat, granularity: Granularity | None) -> None:
    """Checks that a scheme has a granularity.

    Raises:
        ExportError: the scheme does not have it.
    """
    if fmt == "uint8" and granularity == "channel":
        raise ExportError("granularity 'channel' does not exist in uint8 (asymmetric weights have one scale a tensor): use int8")


def input_quantisation(preprocessing: Preprocessing, fmt: QuantisedFormat) -> Quantisation:
    """Returns the parameters of the input picture, which follow from the preprocessing alone.

    With one whole mean and one std for all channels the integers are the pixels themselves (uint8; int8 is 128 lower).
    Otherwise they cover the normalised picture's possible range.
    """
    mean, std = preprocessing.mean, preprocessing.std
    if takes_pixels(preprocessing):
        return Quantisation(np.array([1.0 / std[0]], np.float32), round(mean[0]) + _LOWEST[fmt])
    low = min((0.0 - m) / s for m, s in zip(mean, std, strict=True))
    high = max((255.0 - m) / s for m, s in zip(mean, std, strict=True))
    return activation_quantisation((low, high), fmt)


def takes_pixels(preprocessing: Preprocessing) -> bool:
    """Returns whether raw uint8 pixels are the quantised input: one whole mean from 0 to 255 and one std for all channels."""
    mean = float(preprocessing.mean[0])
    return len(set(preprocessing.mean)) == 1 and len(set(preprocessing.std)) == 1 and mean.is_integer() and 0 <= mean <= 255


def activation_quantisation(observed: Range, fmt: QuantisedFormat) -> Quantisation:
    """Returns asymmetric parameters that cover a range and represent zero exactly.

    Raises:
        ExportError: the range is empty, reversed or not finite.
    """
    low, high = min(observed[0], 0.0), max(observed[1], 0.0)
    if not np.isfinite([low, high]).all() or high <= low:
        raise ExportError(f"range {observed} cannot be quantised: expected finite values that differ")
    scale = np.float32((high - low) / 255.0)
    zero_point = int(np.clip(round(-low / float(scale)), 0, 255))
    scale = _reproducible(scale, 0 - zero_point, 255 - zero_point)
    return Quantisation(np.array([scale], np.float32), zero_point + _LOWEST[fmt])


def representable(quantisation: Quantisation, fmt: QuantisedFormat) -> Range:
    """Returns the smallest and the largest real number that the integers of a tensor stand for."""
    scale, lowest = float(quantisation.scale[0]), _LOWEST[fmt]
    return (lowest - quantisation.zero_point) * scale, (lowest + 255 - quantisation.zero_point) * scale


def quantise(
    graph: Graph, ranges: Mapping[str, Range], fmt: QuantisedFormat, granularity: Granularity | None = None
) -> QuantisedGraph:
    """Computes every integer of a network.

    Args:
        graph: folded weights.
        ranges: (low, high) by the names of `calibrated_tensors`.
        fmt: the scheme.
        granularity: of the weights' scales; default per channel for int8. uint8 is per tensor always.

    Raises:
        ExportError: a range is missing or collapsed; the message names the tensor.
    """
    check_granularity(fmt, granularity)
    graph = saturating_gates(graph)
    tensors = {IMAGE: input_quantisation(graph.architecture.preprocessing, fmt)}
    for op in graph.ops:
        _add_tensors(op, tensors, ranges, fmt)
    per_channel = fmt == "int8" and granularity != "tensor"
    kernels = {op.name: _kernel(graph, op, tensors[op.inputs[0]], fmt, per_channel) for op in graph.convolutions}
    return QuantisedGraph(graph, fmt, tensors, kernels)


def _add_tensors(op: Op, tensors: dict[str, Quantisation], ranges: Mapping[str, Range], fmt: QuantisedFormat) -> None:
    def observed(name: str) -> Quantisation:
        """Returns the parameters of a calibrated tensor."""
        if name not in ranges:
            raise ExportError(f"tensor '{name}': no range was calibrated")
        try:
            return activation_quantisation(ranges[name], fmt)
        except ExportError as error:
            raise ExportError(f"tensor '{name}': {error}") from None

    if separate_activation(op):
        tensors[pre_activation(op)] = observed(pre_activation(op))
    if op.kind in SHARING:
        tensors[op.name] = tensors[op.inputs[0]]
    elif (fixed := fixed_range(op)) is not None:
        tensors[op.name] = activation_quantisation(fixed, fmt)
    else:
        tensors[op.name] = observed(op.name)


def saturating_gates(graph: Graph) -> Graph:
    """Rewrites hard-sigmoid gates: folds (x + 3) / 6 into the weights, whose saturation at 0 and 1 then clips."""
    kernels, biases = dict(graph.kernels), dict(graph.biases)
    for op in graph.convolutions:
        if op.activation == "hard_sigmoid":
            kernels[op.name] = kernels[op.name] / np.float32(6.0)
            biases[op.name] = (biases[op.name] + np.float32(3.0)) / np.float32(6.0)
    steps = {op.name: graph.kernel_steps[op.name] / (6.0 if op.activation == "hard_sigmoid" else 1.0)
             for op in graph.convolutions if op.name in graph.kernel_steps}  # fmt: skip
    return graph._replace(kernels=kernels, biases=biases, kernel_steps=steps)


def _kernel(graph: Graph, op: Op, source: Quantisation, fmt: QuantisedFormat, per_channel: bool) -> QuantisedKernel:
    weights, step = graph.kernels[op.name], graph.kernel_steps.get(op.name)
    finest = np.abs(graph.biases[op.name]) / (source.scale[0] * np.float32(_LARGEST_BIAS))
    if fmt == "uint8":
        quantisation, lowest = _asymmetric(weights, step, float(finest.max())), 1
    else:
        quantisation, lowest = _symmetric(op, weights, step, per_channel, finest), -127
    integers = _rounded(weights.reshape(-1, op.channels), quantisation, lowest).reshape(weights.shape)
    bias_scale = source.scale[0].astype(np.float64) * quantisation.scale.astype(np.float64)
    bias = np.rint(graph.biases[op.name] / bias_scale)
    return QuantisedKernel(integers, quantisation, np.clip(bias, -_BIAS_LIMIT, _BIAS_LIMIT).astype(np.int32))


def _rounded(rows: Float32Array, quantisation: Quantisation, lowest: int) -> NDArray[np.int16]:
    """Returns the integers of weights (n, channels), computed in pieces that fit the cache, which takes a third of the time."""
    integers = np.empty(rows.shape, np.int16)
    height = max(1, _PIECE // rows.shape[1])
    scratch = np.empty((min(height, len(rows)), rows.shape[1]), np.float32)
    for start in range(0, len(rows), height):
        piece = rows[start : start + height]
        values = np.divide(piece, quantisation.scale, out=scratch[: len(piece)])
        np.rint(values, out=values)
        values += quantisation.zero_point
        np.clip(values, lowest, lowest + 254, out=values)
        integers[start : start + height] = values
    return integers


def _symmetric(op: Op, weights: Float32Array, step: float | None, per_channel: bool, finest: Float32Array) -> Quantisation:
    """Returns the parameters of int8 weights, which use -127 to 127, so that no sum of two products overflows 16 bits.

    Scales are at least `finest`, (channels,): at the scale of a channel whose weights are nearly zero its bias would not fit into
    32 bits.
    """
    channels = op.channels if per_channel else 1
    if step is not None:
        return Quantisation(np.full(channels, step, np.float32), 0)
    if per_channel:
        largest = np.abs(weights).max(axis=(0, 1, 3) if op.kind == "depthwise" else (0, 1, 2))
    else:
        largest, finest = np.abs(weights).max(keepdims=True).reshape(1), finest.max(keepdims=True)
    scale = np.maximum(largest / np.float32(127.0), np.float32(1e-9))
    return Quantisation(np.maximum(scale, finest).astype(np.float32), 0)


def _asymmetric(weights: Float32Array, step: float | None, finest: float) -> Quantisation:
    """Returns the parameters of uint8 weights, which use 1 to 255 (TensorFlow's narrow range); the scale is at least `finest`."""
    if step is not None:
        return Quantisation(np.array([step], np.float32), 128)
    low, high = min(float(weights.min()), 0.0), max(float(weights.max()), 0.0)
    scale = np.float32(max((high - low) / 254.0, 1e-9, finest))
    zero_point = int(np.clip(1 + round(-low / float(scale)), 1, 255))
    scale = _reproducible(scale, 1 - zero_point, 255 - zero_point)
    return Quantisation(np.array([scale], np.float32), zero_point)


def _reproducible(scale: np.float32, lowest: int, highest: int) -> np.float32:
    """Returns the nearest scale that follows from the float32 ends of its range, which is how the converter computes it.

    Args:
        scale: wanted.
        lowest, highest: integers of the range's ends, counted from the zero point.
    """
    for _ in range(8):
        low, high = np.float32(lowest * scale), np.float32(highest * scale)
        again = np.float32((np.float64(high) - np.float64(low)) / (highest - lowest))
        if again == scale:
            break
        scale = again
    return scale
