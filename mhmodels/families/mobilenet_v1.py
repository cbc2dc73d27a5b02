"""MobileNetV1 (arXiv 1704.04861), as TF Model Garden: widths rounded to whole channels, at least 8; and as Keras."""

from __future__ import annotations

from mhmodels.architecture import Architecture, Conv, Rounding, Separable
from mhmodels.families.rows import SYMMETRIC, PublicWeights, PublishedAccuracy, ZooModel, variant


def _row(stride: int, filters: int, *, endpoint: bool = False) -> Separable:
    return Separable(stride=stride, filters=filters, activation="relu6", pointwise_activation="relu6", endpoint=endpoint)


V1 = Architecture(
    name="mobilenet_v1",
    stem=(Conv(kernel=3, stride=2, filters=32, activation="relu6"),),
    stages=(
        (_row(1, 64),),
        (_row(2, 128), _row(1, 128, endpoint=True)),
        (_row(2, 256), _row(1, 256, endpoint=True)),
        (_row(2, 512), _row(1, 512), _row(1, 512), _row(1, 512), _row(1, 512), _row(1, 512, endpoint=True)),
        (_row(2, 1024), _row(1, 1024, endpoint=True)),
    ),
    rounding=Rounding(divisor=1),
    preprocessing=SYMMETRIC,
)
WEIGHTS = (PublicWeights("keras.applications.MobileNet", (0.25, 0.5, 0.75, 1.0)),)

MODELS = (
    ZooModel(
        V1,
        "MobileNetV1",
        "arXiv 1704.04861",
        (PublishedAccuracy(70.6, 1.0, "arXiv 1704.04861"), PublishedAccuracy(75.1, 1.25, "arXiv 2008.08178")),
        "MobileNetV1",
        WEIGHTS,
    ),
    ZooModel(
        variant(V1, "keras", rounding=Rounding(divisor=1, minimum=1, mode="floor"), padding="trailing"),
        "MobileNetV1 as keras.applications defines it",
        "keras.applications.MobileNet",
        weights=WEIGHTS,
        note="Scaled widths are cut to whole channels, where mobilenet_v1 rounds to the nearest and to 8 at least. Maps before a "
        "stride are padded behind only.",
    ),
)
