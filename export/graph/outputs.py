"""Which operations of a graph the outputs of a file are, and which operations they depend on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Float32Array, Graph
from mhmodels.network import Op

Pooling: TypeAlias = Literal["mean", "avgpool"]
"""TFLite operator of global average pooling: MEAN or AVERAGE_POOL_2D."""

SCORES = "scores"
"""Name of the output of a file with a single output that is no feature map."""


class WriterOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Variants of the operators that are written to a file.

    Attributes:
        pooling: Operator of the global average pooling: `mean` for MEAN, `avgpool` for AVERAGE_POOL_2D, for drivers without
            MEAN.
        softmax: Whether to write the softmax; without it the outputs are logits.
        features: Whether to write a feature extractor without classifier, whose outputs are the feature maps `stride4`,
            `stride8`, ….

    Example:
        >>> WriterOptions(features=True).softmax
        True
    """

    pooling: Pooling = "mean"
    softmax: bool = True
    features: bool = False


DEFAULT_OPTIONS = WriterOptions()


def graph_outputs(graph: Graph, options: WriterOptions) -> Mapping[str, str]:
    """Returns operations by the names that their outputs have in the file.

    Raises:
        ExportError: Feature maps are wanted of a network without endpoints.
    """
    if not options.features:
        heads = graph.heads or {SCORES: graph.ops[-1].name}
        return heads if options.softmax else logits_of(graph, heads)
    endpoints = graph.endpoints
    if not endpoints:
        raise ExportError(f"architecture '{graph.architecture.name}' has no endpoints: mark blocks with 'endpoint' for features")
    outputs: dict[str, str] = {}
    for endpoint in endpoints:
        repeats = sum(other.stride == endpoint.stride for other in endpoints)
        outputs[f"stride{endpoint.stride}" + (f"_{endpoint.layer}" if repeats > 1 else "")] = endpoint.layer
    return outputs


def logits_of(graph: Graph, outputs: Mapping[str, str]) -> dict[str, str]:
    """Returns the operations that outputs are made of: what precedes a softmax, or the output itself where it is none.

    Args:
        graph: The network.
        outputs: Operations by the names of the outputs.
    """
    ops = {op.name: op for op in graph.ops}
    return {name: ops[op].inputs[0] if ops[op].kind == "softmax" else op for name, op in outputs.items()}


def compared_ops(graph: Graph, options: WriterOptions) -> Mapping[str, str]:
    """Returns the operations at which a file is compared, by the names of its outputs: for scores what their softmax reads."""
    outputs = graph_outputs(graph, options)
    return outputs if options.features else logits_of(graph, outputs)


def written_ops(graph: Graph, options: WriterOptions) -> tuple[Op, ...]:
    """Returns the operations that the outputs of a file depend on, in execution order."""
    wanted, needed = set(graph_outputs(graph, options).values()), []
    for op in reversed(graph.ops):
        if op.name in wanted:
            wanted.update(op.inputs)
            needed.append(op)
    return tuple(needed[::-1])


def flat_scores(values: Float32Array) -> Float32Array:
    """Returns scores as (n, classes), whatever dimensions of size 1 are between."""
    return values.reshape(len(values), -1)
