"""Activation ranges from real pictures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from export.graph import ExportError, Floats, Graph
from export.quantisation.scheme import Range, calibrated_tensors


def calibrate(graph: Graph, images: Floats) -> dict[str, Range]:
    """Smallest and largest value of every tensor over a set of pictures.

    Args:
        graph: folded weights.
        images: float32 (n, height, width, channels), normalised as the network expects.

    Returns:
        (low, high) by tensor name, for `scheme.quantise`.

    Raises:
        ExportError: a tensor is not finite or never changes; the pictures or the weights are to blame.
    """
    from export.fake_quant import observe

    ranges: dict[str, Range] = {}

    def visit(tensors: Mapping[str, Floats]) -> None:
        for name, values in tensors.items():
            low, high = float(values.min()), float(values.max())
            before = ranges.get(name, (low, high))
            ranges[name] = (min(before[0], low), max(before[1], high))

    observe(graph, images, calibrated_tensors(graph), visit)
    for name, (low, high) in ranges.items():
        if not np.isfinite([low, high]).all():
            raise ExportError(
                f"tensor '{name}': values from {low} to {high} over {len(images)} calibration pictures, expected finite"
            )
        if low == high == 0.0:
            raise ExportError(
                f"tensor '{name}' is zero on all {len(images)} calibration pictures, so it has no range: "
                "give pictures like those of the deployment (--calibration), or check the weights"
            )
    return ranges
