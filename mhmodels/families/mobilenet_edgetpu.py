"""MobileNet-EdgeTPU (arXiv 2003.02838): fused inverted bottlenecks where the maps are large, no squeeze-excite."""

from __future__ import annotations

import msgspec

from mhmodels.architecture import Architecture, Head
from mhmodels.families.rows import (
    IMAGENET,
    SYMMETRIC,
    TIMM,
    PublishedAccuracy,
    ZooModel,
    conv,
    fused,
    ib,
    timm_networks,
    timm_variant,
)

EDGETPU = Architecture(
    name="mobilenet_edgetpu",
    stem=(conv(3, 2, 32),),
    stages=(
        (conv(1, 1, 16, activation="linear"),),  # a fused block of expansion 1 is its projection
        (fused(3, 2, 32, 8), fused(3, 1, 32, 4), fused(3, 1, 32, 4), fused(3, 1, 32, 4, endpoint=True)),
        (fused(3, 2, 48, 8), fused(3, 1, 48, 4), fused(3, 1, 48, 4), fused(3, 1, 48, 4, endpoint=True)),
        (ib(3, 2, 96, 8), ib(3, 1, 96, 4), ib(3, 1, 96, 4), ib(3, 1, 96, 4)),
        (
            ib(3, 1, 96, 8, residual=False),
            ib(3, 1, 96, 4),
            ib(3, 1, 96, 4),
            ib(3, 1, 96, 4, endpoint=True),
        ),
        (ib(5, 2, 160, 8), ib(5, 1, 160, 4), ib(5, 1, 160, 4), ib(5, 1, 160, 4)),
        (ib(3, 1, 192, 8, endpoint=True),),
    ),
    head=Head(features=(conv(1, 1, 1280, scaling="above_one"),)),
    preprocessing=SYMMETRIC,
)

MODELS = (
    ZooModel(
        EDGETPU,
        "MobileNet-EdgeTPU",
        "arXiv 2003.02838",
        (PublishedAccuracy(75.6, 1.0, "arXiv 2003.02838 (int8)"), PublishedAccuracy(76.2, 1.0, "arXiv 2008.08178")),
        "MobileNetEdgeTPU",
    ),
    ZooModel(
        timm_variant(
            EDGETPU,
            stages=((conv(1, 1, 16),), *EDGETPU.stages[1:]),
            head=Head(features=(conv(1, 1, 1280, scaling="never"),)),
            preprocessing=msgspec.structs.replace(IMAGENET, crop_fraction=0.9),
        ),
        "MobileNet-EdgeTPU as timm defines it",
        TIMM,
        note="Symmetric padding, epsilon 1e-5, and ReLU behind the first 1x1 convolution. No trained weights are public.",
        counterparts=timm_networks("mobilenet_edgetpu_100"),
    ),
)
