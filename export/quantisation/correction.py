"""Corrects the integers of a network layer by layer, so that roundings of weights and activations compensate each other.

The float network and the fake-quantised network run side by side on calibration pictures. Each convolution is corrected from
what its input holds in both. *Bias correction* removes the mean difference of each channel of its output (Nagel et al.,
arXiv 1906.04721, section 4.2, measured instead of derived from batch normalisation). *Compensated rounding* rounds the weights
one by one and lets the weights that are still to be rounded compensate the error (Frantar et al., arXiv 2210.17323). Later
layers see the corrected output of earlier ones. Scales, zero points and ranges stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mhmodels.blocks import same_pads
from mhmodels.export.graph.operations import Float32Array, Graph
from mhmodels.export.quantisation.fake_quant import float_layer, rounded, rounded_layer
from mhmodels.export.quantisation.kernels import BIAS_LIMIT, IntegerWeights, QuantisedKernel
from mhmodels.export.quantisation.parameters import WeightRounding
from mhmodels.export.quantisation.scheme import QuantisedGraph
from mhmodels.network import IMAGE, Op

_Floats: TypeAlias = NDArray[np.float64]

CONVOLUTION_ROWS = 6000
DEPTHWISE_ROWS = 1000
ROWS_PER_WEIGHT = 2
"""Compensated rounding needs so many rows of inputs for each weight of an output channel; else weights are rounded to nearest."""

DAMPING = 0.01
"""Share of the mean variance of the inputs that is added to each, so that what few pictures show does not decide alone."""

MEMORY_BYTES = 2 << 30
FEWEST_PICTURES = 8
MOST_PICTURES = 192
_BYTES = 5  # a float32 value and its integer
_BATCH = 8
_SEED = 0
_BLOCK = 128


_Places: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Places of the output of a convolution: picture, row and column of each."""


def mean_inputs(graph: Graph, images: Float32Array) -> dict[str, _Floats]:
    """Returns the mean of what each convolution reads in the float network, at the places where `correct` samples it.

    Args:
        graph: Folded weights.
        images: As for `correct`.

    Returns:
        float64 (weights of an output channel, groups) by operation name.
    """
    images = _affordable(graph, images)
    generator = np.random.default_rng(_SEED)
    means: dict[str, _Floats] = {}
    real = {IMAGE: images}
    for i, op in enumerate(graph.ops):
        if op.kind in ("conv", "depthwise"):
            places = _places(op, len(images), generator)
            means[op.name] = _rows(op, real[op.inputs[0]], 0, *places).mean(0, dtype=np.float64)
        real[op.name] = np.concatenate(
            [
                float_layer(graph, op, {name: real[name][at : at + _BATCH] for name in op.inputs})
                for at in range(0, len(images), _BATCH)
            ]
        )
        _forget(graph, i, real)
    return means


def correct(
    graph: Graph,
    quantised: QuantisedGraph,
    images: Float32Array,
    *,
    means: Mapping[str, _Floats] | None,
    rounding: WeightRounding = "compensated",
) -> QuantisedGraph:
    """Returns the network with corrected weights and biases.

    Args:
        graph: The float network that `quantised` was made from.
        quantised: Its integers, from `scheme.quantise`.
        images: float32 (n, height, width, channels), normalised: calibration pictures. At most 192 of them are used, spread
            evenly, and fewer where they would need more than 2 GiB of memory.
        means: From `mean_inputs` of the same network and pictures, which biases are corrected by. None to leave biases as they
            are.
        rounding: How weights are rounded.
    """
    images = _affordable(graph, images)
    generator = np.random.default_rng(_SEED)
    found = {IMAGE: _stored(quantised, rounded(quantised, images, IMAGE), IMAGE)}
    rewritten = quantised.graph
    for i, op in enumerate(rewritten.ops):
        if op.kind in ("conv", "depthwise"):
            zero = quantised.tensors[op.inputs[0]].zero_point
            places = _places(op, len(images), generator)
            inputs = _real(quantised, _rows(op, found[op.inputs[0]], zero, *places), op.inputs[0])
            kernel = _corrected(rewritten, op, quantised, inputs, None if means is None else means[op.name], rounding)
            quantised = quantised._replace(kernels={**quantised.kernels, op.name: kernel})
        found[op.name] = np.concatenate([_batch(quantised, op, found, at) for at in range(0, len(images), _BATCH)])
        _forget(rewritten, i, found)
    return quantised


def _forget(graph: Graph, position: int, values: dict[str, Any]) -> None:
    """Drops what no operation after a position reads."""
    needed = {name for op in graph.ops[position + 1 :] for name in op.inputs}
    for name in [name for name in values if name not in needed]:
        del values[name]


def _stored(quantised: QuantisedGraph, values: Float32Array, name: str) -> IntegerWeights:
    """Returns the integers of values that are rounded already, which need a quarter of the memory."""
    tensor = quantised.tensors[name]
    stored: IntegerWeights = np.empty(values.shape, quantised.format)
    stored[...] = np.rint(values / tensor.scale[0]) + tensor.zero_point
    return stored


def _real(quantised: QuantisedGraph, stored: IntegerWeights, name: str) -> Float32Array:
    """Returns the real numbers that integers stand for."""
    tensor = quantised.tensors[name]
    return np.asarray((stored.astype(np.float32) - np.float32(tensor.zero_point)) * tensor.scale[0])


def _batch(quantised: QuantisedGraph, op: Op, found: Mapping[str, IntegerWeights], start: int) -> IntegerWeights:
    """Computes one operation of the fake-quantised network on some pictures."""
    inputs = {name: _real(quantised, found[name][start : start + _BATCH], name) for name in op.inputs}
    return _stored(quantised, rounded_layer(quantised, op, inputs), op.name)


def _affordable(graph: Graph, images: Float32Array) -> Float32Array:
    """Returns as many pictures as fit the memory: inputs and outputs of a layer, twice."""
    sizes = [(op.size[0] or 1) * (op.size[1] or 1) * op.channels for op in graph.ops]
    count = min(MOST_PICTURES, max(FEWEST_PICTURES, MEMORY_BYTES // (2 * _BYTES * max(sizes))))
    return images if len(images) <= count else images[np.arange(count) * len(images) // count]


def _places(op: Op, pictures: int, generator: np.random.Generator) -> _Places:
    """Draws places of the output of a convolution."""
    height, width = op.size[0] or 1, op.size[1] or 1
    rows = DEPTHWISE_ROWS if op.kind == "depthwise" else CONVOLUTION_ROWS
    each = min(height * width, max(1, -(-rows // pictures)))
    drawn = [np.sort(generator.choice(height * width, each, replace=False)) for _ in range(pictures)]
    places = np.concatenate(drawn)
    return np.repeat(np.arange(pictures), each), places // width, places % width


def _rows(
    op: Op,
    values: NDArray[Any],
    zero: int,
    picture: NDArray[np.int64],
    row: NDArray[np.int64],
    column: NDArray[np.int64],
) -> NDArray[Any]:
    """Returns what a convolution reads at places of its output, (places, weights, groups); a depthwise channel is a group."""
    padded = _pad(op, values, zero)
    taps = [
        padded[picture, row * op.stride + y * op.dilation, column * op.stride + x * op.dilation]
        for y in range(op.kernel)
        for x in range(op.kernel)
    ]
    groups = op.channels if op.kind == "depthwise" else op.groups
    stacked = np.stack(taps, 1)  # (places, taps, channels)
    split = stacked.reshape(len(stacked), len(taps), groups, -1).transpose(0, 1, 3, 2)
    return np.ascontiguousarray(split.reshape(len(stacked), -1, groups))


def _pad(op: Op, values: NDArray[Any], zero: int) -> NDArray[Any]:
    """Returns values with the zeros that a convolution reads around them; `zero` is the value that stands for 0."""
    if op.padding == "valid":
        return values
    sides = [same_pads(side, op.window, op.stride) for side in values.shape[1:3]]
    return np.pad(values, ((0, 0), *sides, (0, 0)), constant_values=zero) if any(map(any, sides)) else values


def _corrected(
    graph: Graph, op: Op, quantised: QuantisedGraph, inputs: Float32Array, mean: _Floats | None, rounding: WeightRounding
) -> QuantisedKernel:
    """Returns the corrected integers of a convolution.

    Args:
        graph: The float network, with rewritten gates.
        op: The convolution.
        quantised: The network with corrected operations before this one.
        inputs: float32 (places, weights of an output channel, groups), what it reads in the fake-quantised network.
        mean: float64 (weights of an output channel, groups), the mean of what it reads in the float network; None to leave the
            bias as it is.
        rounding: How weights are rounded.
    """
    kernel, source = quantised.kernels[op.name], quantised.tensors[op.inputs[0]]
    weights, groups = _grouped(op, graph.kernels[op.name]), inputs.shape[2]
    scale = np.broadcast_to(kernel.quantisation.scale.astype(np.float64), op.channels).reshape(groups, -1)
    lowest = 1 if quantised.format == "uint8" else -127
    zero = kernel.quantisation.zero_point
    centre = inputs.mean(0, dtype=np.float64) if mean is not None else np.zeros(inputs.shape[1:])
    integers = _grouped(op, kernel.weights).astype(np.float64)
    if rounding == "compensated" and len(inputs) >= ROWS_PER_WEIGHT * weights.shape[2]:
        centred = inputs - centre.astype(np.float32)
        by_group = np.ascontiguousarray(centred.transpose(2, 1, 0))
        moments = (by_group @ np.ascontiguousarray(by_group.transpose(0, 2, 1))).astype(np.float64) / len(centred)
        integers = _compensated(weights, moments, scale[:, :, None], zero, lowest)
        stored: IntegerWeights = np.empty(kernel.weights.shape, quantised.format)
        stored[...] = _ungrouped(op, integers)
        kernel = kernel._replace(weights=stored)
    if mean is not None:
        rounded_weights = (integers - zero) * scale[:, :, None]
        shift = np.einsum("gok,kg->go", weights, mean) - np.einsum("gok,kg->go", rounded_weights, centre)
        wanted = graph.biases[op.name] + shift.ravel()
        steps = np.rint(wanted / (source.scale[0].astype(np.float64) * scale.ravel()))
        kernel = kernel._replace(bias=np.clip(steps, -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32))
    return kernel


def _grouped(op: Op, kernel: NDArray[np.generic]) -> _Floats:
    """Returns a kernel as (groups, output channels of a group, weights of an output channel)."""
    if op.kind == "depthwise":
        return np.ascontiguousarray(kernel.reshape(-1, op.channels).T[:, None, :]).astype(np.float64)
    flat = kernel.reshape(-1, op.groups, op.channels // op.groups)
    return np.ascontiguousarray(flat.transpose(1, 2, 0)).astype(np.float64)


def _ungrouped(op: Op, grouped: _Floats) -> _Floats:
    """Returns a kernel in the layout of `Graph.kernels`."""
    flat = grouped.transpose(2, 0, 1)
    if op.kind == "depthwise":
        return flat.reshape(op.kernel, op.kernel, op.channels, 1)
    return flat.reshape(op.kernel, op.kernel, op.in_channels // op.groups, op.channels)


def _compensated(weights: _Floats, moments: _Floats, scale: _Floats, zero: int, lowest: int) -> _Floats:
    """Rounds weights one by one, inputs of large variance first; the weights after one compensate its rounding error.

    Args:
        weights: (groups, channels, inputs).
        moments: (groups, inputs, inputs), second moments of the inputs.
        scale: (groups, channels, 1).
        zero: Integer that stands for 0.
        lowest: Smallest integer; there are 255.

    Returns:
        Integers (groups, channels, inputs).
    """
    count = weights.shape[2]
    variances = np.einsum("gii->gi", moments).copy()
    order = np.argsort(-variances, axis=1, kind="stable")
    damped = moments + np.eye(count) * (DAMPING * variances.mean(1) + 1e-12)[:, None, None]
    damped = np.take_along_axis(np.take_along_axis(damped, order[:, :, None], 1), order[:, None, :], 2)
    left = np.take_along_axis(weights, order[:, None, :], 2)
    factors = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    rounded_weights = np.empty_like(left)
    for start in range(0, count, _BLOCK):
        end = min(start + _BLOCK, count)
        errors = np.empty((*left.shape[:2], end - start))
        for i in range(start, end):
            one = left[:, :, i : i + 1]
            integer = np.clip(np.rint(one / scale) + zero, lowest, lowest + 254)
            rounded_weights[:, :, i : i + 1] = integer
            error = (one - (integer - zero) * scale) / factors[:, i : i + 1, i : i + 1]
            errors[:, :, i - start : i - start + 1] = error
            left[:, :, i + 1 : end] -= error * factors[:, i : i + 1, i + 1 : end]
        left[:, :, end:] -= errors @ factors[:, start:end, end:]
    result = np.empty_like(rounded_weights)
    np.put_along_axis(result, np.broadcast_to(order[:, None, :], result.shape), rounded_weights, 2)
    return result
