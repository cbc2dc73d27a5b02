"""MobileNetV2 (arXiv 1801.04381, table 2): expansion t, filters c, repeats n, stride s."""

from __future__ import annotations

from mhmodels.architecture import Architecture, Head, InvertedBottleneck, Rounding
from mhmodels.families.rows import SYMMETRIC, PublicWeights, PublishedAccuracy, ZooModel, conv, variant


def _stage(t: int | None, c: int, n: int, s: int, *, endpoint: bool = False) -> tuple[InvertedBottleneck, ...]:
    return tuple(
        InvertedBottleneck(
            stride=s if i == 0 else 1, filters=c, expansion=t, activation="relu6", endpoint=endpoint and i == n - 1
        )
        for i in range(n)
    )


V2 = Architecture(
    name="mobilenet_v2",
    stem=(conv(3, 2, 32, activation="relu6"),),
    stages=(
        _stage(None, 16, 1, 1),
        _stage(6, 24, 2, 2, endpoint=True),
        _stage(6, 32, 3, 2, endpoint=True),
        _stage(6, 64, 4, 2),
        _stage(6, 96, 3, 1, endpoint=True),
        _stage(6, 160, 3, 2),
        _stage(6, 320, 1, 1, endpoint=True),
    ),
    head=Head(features=(conv(1, 1, 1280, activation="relu6", scaling="above_one"),)),
    preprocessing=SYMMETRIC,
)
WEIGHTS = (PublicWeights("keras.applications.MobileNetV2", (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)),)

MODELS = (
    ZooModel(
        V2,
        "MobileNetV2",
        "arXiv 1801.04381",
        (PublishedAccuracy(72.0, 1.0, "arXiv 1801.04381"), PublishedAccuracy(75.3, 1.25, "arXiv 2008.08178")),
        "MobileNetV2",
        WEIGHTS,
    ),
    ZooModel(
        variant(V2, "keras", rounding=Rounding(whole_blocks=True)),
        "MobileNetV2 as keras.applications defines it",
        "keras.applications.MobileNetV2",
        weights=WEIGHTS,
        note="A block's scaled width is cut to whole channels before it is rounded: differs where the 10 % guard is near"
        " (width 0.56), and at none of the widths with public weights.",
    ),
)
