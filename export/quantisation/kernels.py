"""The integers of convolutions: quantised weights and biases."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mhmodels.export.graph.operations import Float32Array, Graph
from mhmodels.export.quantisation.parameters import Quantisation, QuantisedFormat, reproducible
from mhmodels.network import Op

BIAS_LIMIT = 2**31 - 1
_LARGEST_BIAS = 2**30  # leaves room for the products that are added to it
_PIECE = 1 << 16


IntegerWeights: TypeAlias = NDArray[np.int8] | NDArray[np.uint8]

_Ends: TypeAlias = tuple[Float32Array, Float32Array]
"""Smallest and largest weight of each scale, (scales,) each."""


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
    """Returns the integers of a convolution.

    Args:
        graph: Folded weights.
        op: The convolution.
        source: Parameters of its input.
        fmt: The scheme.
        per_channel: Whether int8 weights have one scale per output channel.
    """
    weights, biases, step = graph.kernels[op.name], graph.biases[op.name], graph.kernel_steps.get(op.name)
    finest = np.abs(biases) / (source.scale[0] * np.float32(_LARGEST_BIAS))
    scales = op.channels if per_channel else 1
    rows = weights.reshape(-1, scales)
    ends = None if step is not None else (rows.min(0), rows.max(0))
    if fmt == "uint8":
        quantisation, lowest = _asymmetric(ends, step, float(finest.max())), 1
    else:
        quantisation, lowest = _symmetric(ends, step, finest if per_channel else finest.max(keepdims=True)), -127
    integers = np.empty(rows.shape, fmt)
    _round_into(integers, rows, quantisation, lowest, clip=ends is None or not _fit(ends, quantisation, lowest))
    bias_scale = source.scale[0].astype(np.float64) * quantisation.scale.astype(np.float64)
    bias = np.rint(biases / bias_scale)
    np.clip(bias, -BIAS_LIMIT, BIAS_LIMIT, out=bias)
    return QuantisedKernel(integers.reshape(weights.shape), quantisation, bias.astype(np.int32))


def _fit(ends: _Ends, quantisation: Quantisation, lowest: int) -> bool:
    """Returns whether weights become one of the 255 integers from `lowest` without clipping, which their ends alone tell."""
    low, high = (np.rint(end / quantisation.scale) + quantisation.zero_point for end in ends)
    return bool((low >= lowest).all() and (high <= lowest + 254).all())


def _round_into(integers: IntegerWeights, rows: Float32Array, quantisation: Quantisation, lowest: int, *, clip: bool) -> None:
    """Computes the integers of weights (n, scales), in pieces that fit the cache, which takes a third of the time.

    Args:
        integers: Array (n, scales) that is filled.
        rows: The weights.
        quantisation: Their parameters.
        lowest: Smallest integer; there are 255.
        clip: Whether integers can leave the 255.
    """
    height = max(1, _PIECE // rows.shape[1])
    scratch = np.empty((min(height, len(rows)), rows.shape[1]), np.float32)
    for start in range(0, len(rows), height):
        piece = rows[start : start + height]
        values = np.divide(piece, quantisation.scale, out=scratch[: len(piece)])
        np.rint(values, out=values)
        if quantisation.zero_point:
            values += quantisation.zero_point
        if clip:
            np.clip(values, lowest, lowest + 254, out=values)
        integers[start : start + height] = values


def _symmetric(ends: _Ends | None, step: float | None, finest: Float32Array) -> Quantisation:
    """Returns the parameters of int8 weights, which use -127 to 127, so that no sum of two products overflows 16 bits.

    Scales are at least `finest`, (scales,): at the scale of a channel whose weights are nearly zero its bias would not fit into
    32 bits.
    """
    if ends is None:
        return Quantisation(np.full(len(finest), step, np.float32), 0)
    largest = np.maximum(ends[1], -ends[0])
    scale = np.maximum(largest / np.float32(127.0), np.float32(1e-9))
    return Quantisation(np.maximum(scale, finest).astype(np.float32), 0)


def _asymmetric(ends: _Ends | None, step: float | None, finest: float) -> Quantisation:
    """Returns the parameters of uint8 weights, which use 1 to 255 (TensorFlow's narrow range); the scale is at least `finest`."""
    if ends is None:
        return Quantisation(np.array([step], np.float32), 128)
    low, high = min(float(ends[0][0]), 0.0), max(float(ends[1][0]), 0.0)
    scale = np.float32(max((high - low) / 254.0, 1e-9, finest))
    zero_point = min(max(1 + round(-low / float(scale)), 1), 255)
    scale = reproducible(scale, 1 - zero_point, 255 - zero_point)
    return Quantisation(np.array([scale], np.float32), zero_point)
