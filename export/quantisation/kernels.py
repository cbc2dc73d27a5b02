"""The integers of convolutions: quantised weights and biases."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mhmodels.export.graph.operations import Float32Array, Graph
from mhmodels.export.quantisation.parameters import Quantisation, QuantisedFormat, reproducible
from mhmodels.network import Op

_BIAS_LIMIT = 2**31 - 1
_LARGEST_BIAS = 2**30  # leaves room for the products that are added to it
_PIECE = 1 << 16


IntegerWeights: TypeAlias = NDArray[np.int8] | NDArray[np.uint8]


class QuantisedKernel(NamedTuple):
    """The integers of a convolution.

    Attributes:
        weights: int8 or uint8, as the file stores them, in the layout of `Graph.kernels`.
        quantisation: Parameters of the weights.
        bias: int32 (channels,).
    """

    weights: IntegerWeights
    quantisation: Quantisation
    bias: NDArray[np.int32]


def quantised_kernel(graph: Graph, op: Op, source: Quantisation, fmt: QuantisedFormat, per_channel: bool) -> QuantisedKernel:
    weights, step = graph.kernels[op.name], graph.kernel_steps.get(op.name)
    finest = np.abs(graph.biases[op.name]) / (source.scale[0] * np.float32(_LARGEST_BIAS))
    if fmt == "uint8":
        quantisation, lowest = _asymmetric(weights, step, float(finest.max())), 1
    else:
        quantisation, lowest = _symmetric(op, weights, step, per_channel, finest), -127
    integers = np.empty((weights.size // op.channels, op.channels), fmt)
    _round_into(integers, weights.reshape(integers.shape), quantisation, lowest)
    bias_scale = source.scale[0].astype(np.float64) * quantisation.scale.astype(np.float64)
    bias = np.rint(graph.biases[op.name] / bias_scale)
    return QuantisedKernel(
        integers.reshape(weights.shape), quantisation, np.clip(bias, -_BIAS_LIMIT, _BIAS_LIMIT).astype(np.int32)
    )


def _round_into(integers: IntegerWeights, rows: Float32Array, quantisation: Quantisation, lowest: int) -> None:
    """Computes the integers of weights (n, channels), in pieces that fit the cache, which takes a third of the time."""
    height = max(1, _PIECE // rows.shape[1])
    scratch = np.empty((min(height, len(rows)), rows.shape[1]), np.float32)
    for start in range(0, len(rows), height):
        piece = rows[start : start + height]
        values = np.divide(piece, quantisation.scale, out=scratch[: len(piece)])
        np.rint(values, out=values)
        if quantisation.zero_point:
            values += quantisation.zero_point
        np.clip(values, lowest, lowest + 254, out=values)
        integers[start : start + height] = values


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
    scale = reproducible(scale, 1 - zero_point, 255 - zero_point)
    return Quantisation(np.array([scale], np.float32), zero_point)
