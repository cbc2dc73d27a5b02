"""Compares the operations that were read from a Keras model with what the model computes.

Files are compared with the operations that they were made from. This module checks, once for all formats, that these operations
are those of the model: it computes them in float32 and compares the result with the Keras model, after the last activation.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mhmodels.export.errors import ExportError, ParityError
from mhmodels.export.graph.operations import Float32Array, Graph
from mhmodels.export.opening.source import ExportSource
from mhmodels.export.tolerances import FLOAT_TOLERANCE
from mhmodels.network import IMAGE

READING_PICTURES = 8
_RELATIVE = 1e-6
"""`FLOAT_TOLERANCE` for outputs that hardly vary, as a share of the largest."""


def check_reading(source: ExportSource, images: Float32Array) -> None:
    """Compares the operations of a source with its Keras model, on a few pictures.

    Args:
        source: With a graph.
        images: float32 (n, height, width, channels), as the graph takes them.

    Raises:
        ParityError: They differ; the message names the first operation that does, as far as it can be told.
    """
    images, graph = images[:READING_PICTURES], source.known
    expected, values = source.outputs_of(images), compute(graph, images)
    for name, wanted in zip(source.outputs or (graph.ops[-1].name,), expected, strict=True):
        worst, allowed = _difference(values[name], wanted)
        if not worst <= allowed:
            raise ParityError(
                f"model '{source.model.name}': its layers were read as operations that give other outputs than Keras, by up to "
                f"{worst:.3g} (expected at most {allowed:.3g}){_first_departing(source, graph, values, images)}; no file is "
                "written. Please report the layer; float formats may be had with argument 'engine=tensorflow'"
            )


def compute(graph: Graph, images: Float32Array) -> dict[str, Float32Array]:
    """Computes every tensor of a graph on pictures, in float32, by operation name."""
    from mhmodels.export.quantisation.fake_quant import float_layer

    values: dict[str, Float32Array] = {IMAGE: images}
    for op in graph.ops:
        values[op.name] = float_layer(graph, op, values)
    return values


def _difference(found: Float32Array, wanted: Float32Array) -> tuple[float, float]:
    """Returns the largest difference and the largest allowed one."""
    if found.size != wanted.size:
        return float("inf"), 0.0
    difference = np.abs(found.reshape(len(found), -1) - wanted.reshape(len(wanted), -1))
    return float(difference.max()), max(FLOAT_TOLERANCE * float(wanted.std()), _RELATIVE * float(np.abs(wanted).max()))


def _first_departing(source: ExportSource, graph: Graph, values: Mapping[str, Float32Array], images: Float32Array) -> str:
    for op in graph.ops:
        if source.tensors.get(op.name) is None:
            continue
        try:
            wanted = source.compute(images, (op.name,))[op.name]
        except ExportError:  # inside a model that is used as a layer
            continue
        worst, allowed = _difference(values[op.name], wanted)
        if not worst <= allowed:
            return f"; the first that departs is '{op.name}'"
    return ""
