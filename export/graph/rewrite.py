"""Changes of a graph before it is written: the normalisation of pixels as an operation of its own."""

from __future__ import annotations

import msgspec
import numpy as np

from mhmodels.export.graph.operations import Graph, Range
from mhmodels.network import IMAGE, Op

NORMALISE = "normalise"


def normalise_in_graph(graph: Graph) -> Graph:
    """Returns a graph that takes raw pixels: (pixel - mean) / std stands in front of it as a 1x1 depthwise convolution.

    The normalisation cannot be folded into the first convolution, which pads with zeros: these mean the average colour behind
    the normalisation and black in front of it.
    """
    architecture = graph.architecture
    rule, channels = architecture.preprocessing, architecture.input_channels
    std = np.asarray(rule.std, np.float64)
    op = Op(
        NORMALISE, "depthwise", (IMAGE,), channels, channels, groups=channels, bias=True, size=architecture.input_size
    )  # fmt: skip
    ops = tuple(
        other._replace(inputs=tuple(NORMALISE if name == IMAGE else name for name in other.inputs)) for other in graph.ops
    )
    raw = msgspec.structs.replace(rule, mean=(0.0,) * channels, std=(1.0,) * channels)
    return graph._replace(
        architecture=msgspec.structs.replace(architecture, preprocessing=raw),
        ops=(op, *ops),
        kernels={NORMALISE: (1.0 / std).astype(np.float32).reshape(1, 1, channels, 1), **graph.kernels},
        biases={NORMALISE: (-np.asarray(rule.mean, np.float64) / std).astype(np.float32), **graph.biases},
    )


def normalised_range(graph: Graph) -> Range:
    """Returns the range that the normalisation of a graph gives for pixels from 0 to 255."""
    kernel, bias = graph.kernels[NORMALISE].ravel(), graph.biases[NORMALISE]
    return float(bias.min()), float((255.0 * kernel + bias).max())
