"""Cross-layer equalisation after Nagel et al. (arXiv 1906.04721, section 4.1), limited to factors that are exact before rounding.

A positive factor for a channel of a tensor commutes with ReLU, addition, pooling and zero padding. So the operations that write
the channel are multiplied by the factor and the operations that read it are divided by it: the float network computes the same
outputs, and the weights use their grid better. Tensors that are linked by additions, poolings or gates share their factors.

ReLU6 does not commute with a factor, because its limit of 6 is one number for all channels. A channel behind a ReLU6 gets a
factor only where the weights prove, by interval arithmetic from the range of pixels, that it stays below 6 before and after
the factor.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Float32Array, Graph
from mhmodels.export.graph.rewrite import NORMALISE
from mhmodels.network import IMAGE, Op

ChannelExponents: TypeAlias = Mapping[str, tuple[int, ...]]
"""Factors of the channels of tensors as whole multiples of 1/8 in the exponent of 2, by the first tensor that has them."""

EXPONENT_STEPS = 8
LARGEST_EXPONENT = 8.0
ROUNDS = 12
RELU6_LIMIT = 6.0

_PASSING = ("pool", "global_max_pool", "max_pool", "average_pool", "pad", "reshape")
_HOMOGENEOUS = ("linear", "relu", "relu6")


class ScalingGroup(NamedTuple):
    """Tensors whose channels must have the same factors.

    Attributes:
        tensors: Names of the operations that give them, in execution order.
        writers: The convolutions among these operations.
        readers: The convolutions that read one of the tensors.
        channels: Number of channels.
        limits: float64 (channels,), the largest exact factor of each channel; infinite where there is no ReLU6, and 0 where no
            factor but 1 is exact.
    """

    tensors: tuple[str, ...]
    writers: tuple[Op, ...]
    readers: tuple[Op, ...]
    channels: int
    limits: NDArray[np.float64]


def scaling_groups(graph: Graph, outputs: Collection[str] = ()) -> tuple[ScalingGroup, ...]:
    """Returns the groups of tensors whose channels can have factors.

    Args:
        graph: Folded weights.
        outputs: Operations whose outputs must stay as they are, because the file gives them.
    """
    ops = {op.name: op for op in graph.ops}
    roots: dict[str, str] = {}

    def root(name: str) -> str:
        while roots.setdefault(name, name) != name:
            name = roots[name]
        return name

    fixed = {IMAGE, NORMALISE, *outputs}
    read = {name for op in graph.ops for name in op.inputs}
    for op in graph.ops:
        linked, kept = _links(op, ops)
        for name in linked:
            roots[root(name)] = root(op.name)
        fixed.update(kept)
        if op.activation not in _HOMOGENEOUS or op.name not in read:
            fixed.add(op.name)
    unscaled = {root(name) for name in fixed}
    members: dict[str, list[str]] = {}
    for op in graph.ops:
        if root(op.name) not in unscaled:
            members.setdefault(root(op.name), []).append(op.name)
    bounds = upper_bounds(graph) if members else {}
    return tuple(group for names in members.values() if (group := _group(graph, ops, names, bounds)) is not None)


def _links(op: Op, ops: Mapping[str, Op]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the inputs that share the factors of the output of an operation, and the inputs that must have none."""
    if op.kind in ("conv", "depthwise"):
        return (), ()
    if op.kind == "add" or op.kind in _PASSING:
        return op.inputs, ()
    if op.kind == "flatten" and op.inputs[0] in ops and ops[op.inputs[0]].size == (1, 1):
        return op.inputs, ()
    if op.kind == "multiply":
        gates = [name for name in op.inputs if name in ops and ops[name].activation not in _HOMOGENEOUS]
        gate = gates[-1] if gates else op.inputs[-1]
        return tuple(name for name in op.inputs if name != gate), (gate,)
    return (), (*op.inputs, op.name)


def _group(
    graph: Graph, ops: Mapping[str, Op], names: list[str], bounds: Mapping[str, NDArray[np.float64]]
) -> ScalingGroup | None:
    writers = tuple(ops[name] for name in names if name in graph.kernels)
    readers = tuple(op for op in graph.convolutions if op.inputs[0] in names)
    channels = ops[names[0]].channels
    if not writers or not readers or any(ops[name].channels != channels for name in names):
        return None
    limits = np.full(channels, np.inf)
    for name in names:
        if ops[name].activation == "relu6":
            bound = np.maximum(bounds[name], 1e-12)
            limits = np.minimum(limits, np.where(bound <= RELU6_LIMIT, RELU6_LIMIT / bound, 0.0))
    return None if not limits.any() else ScalingGroup(tuple(names), writers, readers, channels, limits)


def upper_bounds(graph: Graph) -> dict[str, NDArray[np.float64]]:
    """Returns what each channel cannot exceed before the activation of its operation, for any picture: float64 (channels,)."""
    rule = graph.architecture.preprocessing
    mean, std = np.asarray(rule.mean, np.float64), np.asarray(rule.std, np.float64)
    ranges = {IMAGE: _padded((0.0 - mean) / std, (255.0 - mean) / std, graph.architecture.input_channels)}
    bounds: dict[str, NDArray[np.float64]] = {}
    for op in graph.ops:
        low, high = _interval(graph, op, [ranges[name] for name in op.inputs])
        bounds[op.name] = high
        ranges[op.name] = _activated(op, low, high)
    return bounds


def _padded(
    low: NDArray[np.float64], high: NDArray[np.float64], channels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the range of a channel including the zeros of padding."""
    return np.broadcast_to(np.minimum(low, 0.0), channels), np.broadcast_to(np.maximum(high, 0.0), channels)


def _interval(
    graph: Graph, op: Op, inputs: list[tuple[NDArray[np.float64], NDArray[np.float64]]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = np.minimum(inputs[0][0], 0.0), np.maximum(inputs[0][1], 0.0)
    if op.name in graph.kernels:
        kernel, bias = graph.kernels[op.name].astype(np.float64), graph.biases[op.name].astype(np.float64)
        up, down = np.maximum(kernel, 0.0).sum((0, 1)), np.minimum(kernel, 0.0).sum((0, 1))
        if op.kind == "depthwise":
            up, down = up[:, 0], down[:, 0]
            return bias + up * low + down * high, bias + up * high + down * low
        each = op.channels // op.groups
        lows, highs = (np.repeat(side.reshape(op.groups, -1), each, axis=0).T for side in (low, high))
        return bias + (up * lows + down * highs).sum(0), bias + (up * highs + down * lows).sum(0)
    if op.kind == "add":
        return low + np.minimum(inputs[1][0], 0.0), high + np.maximum(inputs[1][1], 0.0)
    if op.kind in _PASSING or (op.kind == "flatten" and len(low) == op.channels):
        return low, high
    if op.kind == "multiply":
        products = [one * other for one in (low, high) for other in (inputs[1][0], inputs[1][1])]
        return np.minimum.reduce(products), np.maximum.reduce(products)
    return np.full(op.channels, -np.inf), np.full(op.channels, np.inf)


def _activated(op: Op, low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if op.activation in ("sigmoid", "hard_sigmoid") or op.kind == "softmax":
        return np.zeros_like(low), np.ones_like(high)
    if op.activation == "relu6":
        return np.clip(low, 0.0, RELU6_LIMIT), np.clip(high, 0.0, RELU6_LIMIT)
    if op.activation == "relu":
        return np.maximum(low, 0.0), np.maximum(high, 0.0)
    if op.activation == "hard_swish":
        return np.full_like(low, -0.375), np.maximum(high, 0.0)
    return low, high


def equalisation(graph: Graph, outputs: Collection[str] = ()) -> ChannelExponents:
    """Returns factors with which writers and readers of each channel have weights of the same range.

    A factor is the square root of the ratio of the readers' range to the writers' (equation 11 of the paper), repeated over all
    groups until nothing changes, limited to what is exact, and rounded to 1/8 in the exponent of 2.

    Args:
        graph: Folded weights.
        outputs: Operations whose outputs must stay as they are.
    """
    groups = scaling_groups(graph, outputs)
    logs = [np.zeros(group.channels) for group in groups]
    kernels = dict(graph.kernels)
    for _ in range(ROUNDS):
        moved = 0.0
        for i, group in enumerate(groups):
            writing = np.max([_written_ranges(op, kernels[op.name]) for op in group.writers], axis=0)
            reading = np.max([_read_ranges(op, kernels[op.name]) for op in group.readers], axis=0)
            known = (writing > 0) & (reading > 0)
            wanted = np.where(known, np.log2(np.where(known, reading, 1.0) / np.where(known, writing, 1.0)) / 2, 0.0) + logs[i]
            limits = np.log2(np.where(group.limits > 0, group.limits, 1.0))
            limited = np.where(group.limits > 0, np.minimum(np.clip(wanted, -LARGEST_EXPONENT, LARGEST_EXPONENT), limits), 0.0)
            _scale(kernels, None, group, np.exp2(limited - logs[i]))
            moved = max(moved, float(np.abs(limited - logs[i]).max()))
            logs[i] = limited
        if moved < 0.5 / EXPONENT_STEPS:
            break
    exponents = {group.tensors[0]: np.floor(log * EXPONENT_STEPS).astype(int) for group, log in zip(groups, logs, strict=True)}
    return {name: tuple(values.tolist()) for name, values in exponents.items() if values.any()}


def equalise(graph: Graph, exponents: ChannelExponents) -> Graph:
    """Returns a graph whose channels have factors. Its outputs are those of `graph` to the precision of float32.

    Args:
        graph: Folded weights.
        exponents: From `equalisation` of the same network.

    Raises:
        ExportError: A tensor has no such channels, or cannot have factors.
    """
    groups = {group.tensors[0]: group for group in scaling_groups(graph)}
    kernels, biases, steps = dict(graph.kernels), dict(graph.biases), dict(graph.kernel_steps)
    for name, values in exponents.items():
        group = groups.get(name)
        if group is None or group.channels != len(values):
            raise ExportError(f"tensor '{name}' cannot have {len(values)} equalisation factors: they are of another network")
        _scale(kernels, biases, group, np.exp2(np.asarray(values) / EXPONENT_STEPS))
        for op in (*group.writers, *group.readers):
            steps.pop(op.name, None)
    return graph._replace(kernels=kernels, biases=biases, kernel_steps=steps)


def exponent_texts(exponents: ChannelExponents) -> dict[str, str]:
    """Returns factors as a manifest states them."""
    return {name: " ".join(map(str, values)) for name, values in exponents.items()}


def exponents_of(texts: Mapping[str, str]) -> ChannelExponents:
    """Returns the factors that a manifest states.

    Raises:
        ExportError: They are not whole numbers, or out of range.
    """
    limit = int(LARGEST_EXPONENT * EXPONENT_STEPS)
    exponents = {}
    for name, text in texts.items():
        words = text.split()
        if not all(len(word) < 5 and word.removeprefix("-").isdecimal() for word in words) or any(
            abs(int(word)) > limit for word in words
        ):
            raise ExportError(f"equalisation of tensor '{name}': expected whole numbers from -{limit} to {limit}")
        exponents[name] = tuple(map(int, words))
    return exponents


def _scale(
    kernels: dict[str, Float32Array], biases: dict[str, Float32Array] | None, group: ScalingGroup, factors: NDArray[np.float64]
) -> None:
    """Multiplies the writers of a group by the factors of its channels and divides its readers by them."""
    single = factors.astype(np.float32)
    for op in group.writers:
        kernels[op.name] = kernels[op.name] * (single[:, None] if op.kind == "depthwise" else single)
        if biases is not None:
            biases[op.name] = biases[op.name] * single
    for op in group.readers:
        divisors = single[:, None]
        if op.kind != "depthwise" and op.groups > 1:
            divisors = np.repeat(single.reshape(op.groups, -1), op.channels // op.groups, axis=0).T
        kernels[op.name] = kernels[op.name] / divisors


def _written_ranges(op: Op, kernel: Float32Array) -> Float32Array:
    """Returns the largest absolute weight of each output channel."""
    return np.asarray(np.abs(kernel).max((0, 1, 3) if op.kind == "depthwise" else (0, 1, 2)))


def _read_ranges(op: Op, kernel: Float32Array) -> Float32Array:
    """Returns the largest absolute weight of each input channel."""
    if op.kind == "depthwise":
        return _written_ranges(op, kernel)
    largest = np.abs(kernel).max((0, 1))  # (in / groups, out)
    return np.asarray(largest.reshape(len(largest), op.groups, -1).max(2).T.ravel())
