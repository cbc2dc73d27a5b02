"""MobileNetV1 (arXiv 1704.04861), as TF Model Garden: widths rounded to whole channels, at least 8; as Keras; and as timm."""

from __future__ import annotations

import msgspec

from mhmodels.architecture import Architecture, Conv, Head, Rounding, Separable
from mhmodels.families.rows import (
    SYMMETRIC,
    TIMM,
    PublicWeights,
    PublishedAccuracy,
    ZooModel,
    conv,
    timm_networks,
    timm_variant,
    timm_weights,
    variant,
)


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
BICUBIC = msgspec.structs.replace(SYMMETRIC, interpolation="bicubic")
AS_TIMM = timm_variant(V1, rounding=Rounding(), preprocessing=BICUBIC)
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
    ZooModel(
        AS_TIMM,
        "MobileNetV1 as timm defines it",
        TIMM,
        (PublishedAccuracy(75.38, 1.0, TIMM), PublishedAccuracy(76.92, 1.25, TIMM)),
        weights=(timm_weights("mobilenetv1_100.ra4_e3600_r224_in1k", ("mobilenetv1_125.ra4_e3600_r224_in1k", 1.25)),),
        note="Symmetric padding, epsilon 1e-5, widths rounded to multiples of 8.",
        counterparts=timm_networks("mobilenetv1_100", ("mobilenetv1_125", 1.25)),
    ),
    ZooModel(
        timm_variant(
            AS_TIMM,
            preprocessing=BICUBIC,
            head=Head(features=(conv(1, 1, 1024, activation="relu6", scaling="above_one"),)),
        ).at(name="mobilenet_v1_100h.timm"),
        "MobileNetV1 with a convolution before pooling, as timm defines it",
        TIMM,
        (PublishedAccuracy(75.66, 1.0, TIMM),),
        weights=(timm_weights("mobilenetv1_100h.ra4_e3600_r224_in1k"),),
        note="As mobilenet_v1.timm, with a 1x1 convolution to 1024 channels before pooling.",
        counterparts=timm_networks("mobilenetv1_100h"),
    ),
)
