"""Computes integers from ranges: scales, zero points, quantised weights and biases of every tensor of a network.

There are two schemes. `int8` has symmetric weights, per channel by default, and asymmetric int8 activations (TFLite's
quantisation specification). `uint8` is asymmetric with one scale per tensor, for weights too, as in the runs of the paper and the
drivers of 2020. In both, the output of a softmax has scale 1/256; poolings and reshaping have the parameters of their input,
because runtimes insert a requantisation otherwise; biases are int32 at input scale times weight scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mhmodels.blocks import OperationKind
from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Graph, Range
from mhmodels.export.quantisation.kernels import QuantisedKernel, quantised_kernel
from mhmodels.export.quantisation.parameters import (
    Granularity,
    Quantisation,
    QuantisedFormat,
    activation_quantisation,
    input_quantisation,
)
from mhmodels.network import IMAGE, Op

SHARING: tuple[OperationKind, ...] = ("pool", "global_max_pool", "max_pool", "average_pool", "pad", "flatten", "reshape")
"""Kinds of operations whose output has the parameters of their input."""


class QuantisedGraph(NamedTuple):
    """A graph with the quantisation parameters of every tensor.

    Attributes:
        graph: Operations and float weights; gates are rewritten so that saturation does the clipping.
        format: `int8` or `uint8`.
        tensors: Parameters by tensor name: `IMAGE`, every operation's output, and `NAME/pre` where the activation is an
            operation of its own (hard-swish, sigmoid).
        kernels: By operation name.
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
        ExportError: The scheme does not have it.
    """
    if fmt == "uint8" and granularity == "channel":
        raise ExportError("granularity 'channel' does not exist in uint8 (asymmetric weights have one scale a tensor): use int8")


def quantise(
    graph: Graph, ranges: Mapping[str, Range], fmt: QuantisedFormat, granularity: Granularity | None = None
) -> QuantisedGraph:
    """Computes every integer of a network.

    Args:
        graph: Folded weights.
        ranges: (low, high) by the names of `calibrated_tensors`.
        fmt: The scheme.
        granularity: Of the weights' scales; default per channel for int8. uint8 is per tensor always.

    Raises:
        ExportError: A range is missing or collapsed; the message names the tensor.
    """
    check_granularity(fmt, granularity)
    graph = saturating_gates(graph)
    tensors = {IMAGE: input_quantisation(graph.architecture.preprocessing, fmt)}
    for op in graph.ops:
        _add_tensors(op, tensors, ranges, fmt)
    per_channel = fmt == "int8" and granularity != "tensor"
    kernels = {op.name: quantised_kernel(graph, op, tensors[op.inputs[0]], fmt, per_channel) for op in graph.convolutions}
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
