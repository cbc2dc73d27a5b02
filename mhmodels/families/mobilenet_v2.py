"""MobileNetV2 (arXiv 1801.04381, table 2): expansion t, filters c, repeats n, stride s."""

from __future__ import annotations

import msgspec

from mhmodels.architecture import Architecture, Head, InvertedBottleneck, Rounding
from mhmodels.families.rows import (
    SYMMETRIC,
    TIMM,
    TORCHVISION,
    Counterpart,
    PublicWeights,
    PublishedAccuracy,
    ZooModel,
    conv,
    deeper,
    timm_networks,
    timm_variant,
    timm_weights,
    torchvision_weights,
    variant,
)


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
AS_TIMM = timm_variant(V2)
FIXED = conv(1, 1, 1280, activation="relu6", scaling="never")


def _deep(name: str, width: float, depths: tuple[int, ...]) -> Architecture:
    """Returns timm's V2 that is wider and deeper, its stem and last convolution as wide as ever."""
    stages = tuple(stage[:1] if len(stage) == 1 else (stage[0], stage[-1]) for stage in V2.stages)
    repeats = tuple((1,) if len(stage) == 1 else (1, depth - 1) for stage, depth in zip(stages, depths, strict=True))
    return msgspec.structs.replace(
        AS_TIMM,
        name=name,
        stem=(conv(3, 2, 32, activation="relu6", scaling="never"),),
        stages=deeper(stages, width, repeats),
        head=Head(features=(FIXED,)),
    )


DEEP_NOTE = "timm's networks {0}d: {1} times as wide, {2} times as deep, with the stem and the last convolution of width 1.0."
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
    ZooModel(
        AS_TIMM,
        "MobileNetV2 as timm defines it",
        TIMM,
        (
            PublishedAccuracy(72.98, 1.0, TIMM),
            PublishedAccuracy(65.95, 0.5, TIMM),
            PublishedAccuracy(76.52, 1.4, TIMM),
        ),
        weights=(timm_weights(("mobilenetv2_050.lamb_in1k", 0.5), "mobilenetv2_100.ra_in1k", ("mobilenetv2_140.ra_in1k", 1.4)),),
        note="Symmetric padding and epsilon 1e-5.",
        counterparts=timm_networks(
            ("mobilenetv2_035", 0.35),
            ("mobilenetv2_050", 0.5),
            ("mobilenetv2_075", 0.75),
            "mobilenetv2_100",
            ("mobilenetv2_140", 1.4),
        ),
    ),
    ZooModel(
        _deep("mobilenet_v2_110d.timm", 1.1, (1, 3, 4, 5, 4, 4, 1)),
        "MobileNetV2 110d of timm",
        TIMM,
        (PublishedAccuracy(75.06, 1.0, TIMM),),
        weights=(timm_weights("mobilenetv2_110d.ra_in1k"),),
        note=DEEP_NOTE.format("110", "1.1", "1.2"),
        counterparts=timm_networks("mobilenetv2_110d"),
    ),
    ZooModel(
        _deep("mobilenet_v2_120d.timm", 1.2, (1, 3, 5, 6, 5, 5, 1)),
        "MobileNetV2 120d of timm",
        TIMM,
        (PublishedAccuracy(77.3, 1.0, TIMM),),
        weights=(timm_weights("mobilenetv2_120d.ra_in1k"),),
        note=DEEP_NOTE.format("120", "1.2", "1.4"),
        counterparts=timm_networks("mobilenetv2_120d"),
    ),
    ZooModel(
        timm_variant(V2, "torchvision", preprocessing=TORCHVISION),
        "MobileNetV2 as torchvision defines it",
        "torchvision.models.mobilenet_v2",
        (PublishedAccuracy(71.88, 1.0, "torchvision IMAGENET1K_V1"), PublishedAccuracy(72.15, 1.0, "torchvision IMAGENET1K_V2")),
        weights=(torchvision_weights("mobilenet_v2-b0353104.pth", "mobilenet_v2-7ebf99e0.pth"),),
        note="Symmetric padding and epsilon 1e-5, as mobilenet_v2.timm, and torchvision's preprocessing.",
        counterparts=(Counterpart("torchvision", "mobilenet_v2"),),
    ),
)
