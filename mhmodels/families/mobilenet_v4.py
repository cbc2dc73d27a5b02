"""MobileNetV4's convolutional networks (arXiv 2404.10518), at the input sizes of the paper: 224, 256 and 384."""

from __future__ import annotations

import msgspec

from mhmodels.architecture import Architecture, Block, Conv, Head
from mhmodels.families.rows import (
    IMAGENET,
    TIMM,
    PublishedAccuracy,
    ZooModel,
    conv,
    fused,
    timm_networks,
    timm_variant,
    timm_weights,
    uib,
)

PAPER = "arXiv 2404.10518"


def _architecture(name: str, size: int, stem: Conv, stages: tuple[tuple[Block, ...], ...]) -> Architecture:
    return Architecture(
        name=name,
        stem=(stem,),
        stages=stages,
        head=Head(features=(conv(1, 1, 960),), hidden=(conv(1, 1, 1280, scaling="above_one"),)),
        input_size=(size, size),
        preprocessing=IMAGENET,
    )


SMALL: tuple[tuple[Block, ...], ...] = (
    (conv(3, 2, 32), conv(1, 1, 32, endpoint=True)),
    (conv(3, 2, 96), conv(1, 1, 64, endpoint=True)),
    (
        uib(5, 5, 2, 96, 3),
        uib(0, 3, 1, 96, 2),
        uib(0, 3, 1, 96, 2),
        uib(0, 3, 1, 96, 2),
        uib(0, 3, 1, 96, 2),
        uib(3, 0, 1, 96, 4, endpoint=True),
    ),
    (
        uib(3, 3, 2, 128, 6),
        uib(5, 5, 1, 128, 4),
        uib(0, 5, 1, 128, 4),
        uib(0, 5, 1, 128, 3),
        uib(0, 3, 1, 128, 4),
        uib(0, 3, 1, 128, 4, endpoint=True),
    ),
)

MEDIUM: tuple[tuple[Block, ...], ...] = (
    (fused(3, 2, 48, 4, endpoint=True),),
    (uib(3, 5, 2, 80, 4), uib(3, 3, 1, 80, 2, endpoint=True)),
    (
        uib(3, 5, 2, 160, 6),
        uib(3, 3, 1, 160, 4),
        uib(3, 3, 1, 160, 4),
        uib(3, 5, 1, 160, 4),
        uib(3, 3, 1, 160, 4),
        uib(3, 0, 1, 160, 4),
        uib(0, 0, 1, 160, 2),
        uib(3, 0, 1, 160, 4, endpoint=True),
    ),
    (
        uib(5, 5, 2, 256, 6),
        uib(5, 5, 1, 256, 4),
        uib(3, 5, 1, 256, 4),
        uib(3, 5, 1, 256, 4),
        uib(0, 0, 1, 256, 4),
        uib(3, 0, 1, 256, 4),
        uib(3, 5, 1, 256, 2),
        uib(5, 5, 1, 256, 4),
        uib(0, 0, 1, 256, 4),
        uib(0, 0, 1, 256, 4),
        uib(5, 0, 1, 256, 2, endpoint=True),
    ),
)

LARGE: tuple[tuple[Block, ...], ...] = (
    (fused(3, 2, 48, 4, endpoint=True),),
    (uib(3, 5, 2, 96, 4), uib(3, 3, 1, 96, 4, endpoint=True)),
    (
        uib(3, 5, 2, 192, 4),
        *(uib(3, 3, 1, 192, 4),) * 3,
        uib(3, 5, 1, 192, 4),
        *(uib(5, 3, 1, 192, 4),) * 5,
        uib(3, 0, 1, 192, 4, endpoint=True),
    ),
    (
        uib(5, 5, 2, 512, 4),
        *(uib(5, 5, 1, 512, 4),) * 3,
        uib(5, 0, 1, 512, 4),
        uib(5, 3, 1, 512, 4),
        *(uib(5, 0, 1, 512, 4),) * 2,
        uib(5, 3, 1, 512, 4),
        uib(5, 5, 1, 512, 4),
        *(uib(5, 0, 1, 512, 4),) * 2,
        uib(5, 0, 1, 512, 4, endpoint=True),
    ),
)


def _as_timm(base: Architecture) -> Architecture:
    """Returns a network as timm defines it: a stem that keeps its width below 1, and a last convolution that keeps it always."""
    stem = msgspec.structs.replace(base.stem[0], scaling="above_one")
    hidden = msgspec.structs.replace(base.head.hidden[0], scaling="never")
    rule = IMAGENET if base is CONV_SMALL else msgspec.structs.replace(IMAGENET, crop_fraction=0.95)
    return timm_variant(base, stem=(stem,), head=Head(features=base.head.features, hidden=(hidden,)), preprocessing=rule)


CONV_SMALL = _architecture("mobilenet_v4_conv_small", 224, conv(3, 2, 32), SMALL)
CONV_MEDIUM = _architecture("mobilenet_v4_conv_medium", 256, conv(3, 2, 32), MEDIUM)
CONV_LARGE = _architecture("mobilenet_v4_conv_large", 384, conv(3, 2, 24), LARGE)
TIMM_NOTE = (
    "Symmetric padding and epsilon 1e-5. The stem keeps its width below 1; the convolution after pooling has 1280 channels at"
    " every width."
)

MODELS = (
    ZooModel(
        CONV_SMALL,
        "MobileNetV4-Conv-Small",
        PAPER,
        (PublishedAccuracy(73.8, 1.0, PAPER),),
        "MobileNetV4ConvSmall",
    ),
    ZooModel(
        CONV_MEDIUM,
        "MobileNetV4-Conv-Medium",
        PAPER,
        (PublishedAccuracy(79.9, 1.0, PAPER),),
        "MobileNetV4ConvMedium",
    ),
    ZooModel(
        CONV_LARGE,
        "MobileNetV4-Conv-Large",
        PAPER,
        (PublishedAccuracy(82.9, 1.0, PAPER),),
        "MobileNetV4ConvLarge",
    ),
    ZooModel(
        _as_timm(CONV_SMALL),
        "MobileNetV4-Conv-Small as timm defines it",
        TIMM,
        (PublishedAccuracy(73.76, 1.0, TIMM), PublishedAccuracy(64.76, 0.5, TIMM)),
        weights=(
            timm_weights(
                ("mobilenetv4_conv_small_050.e3000_r224_in1k", 0.5),
                "mobilenetv4_conv_small.e2400_r224_in1k",
                "mobilenetv4_conv_small.e1200_r224_in1k",
                "mobilenetv4_conv_small.e3600_r256_in1k",
            ),
        ),
        note=TIMM_NOTE,
        counterparts=timm_networks(
            ("mobilenetv4_conv_small_035", 0.35), ("mobilenetv4_conv_small_050", 0.5), "mobilenetv4_conv_small"
        ),
    ),
    ZooModel(
        _as_timm(CONV_MEDIUM),
        "MobileNetV4-Conv-Medium as timm defines it",
        TIMM,
        (PublishedAccuracy(79.93, 1.0, TIMM),),
        weights=(
            timm_weights(
                "mobilenetv4_conv_medium.e500_r256_in1k",
                "mobilenetv4_conv_medium.e500_r224_in1k",
                "mobilenetv4_conv_medium.e250_r384_in12k_ft_in1k",
            ),
        ),
        note=TIMM_NOTE,
        counterparts=timm_networks("mobilenetv4_conv_medium"),
    ),
    ZooModel(
        _as_timm(CONV_LARGE),
        "MobileNetV4-Conv-Large as timm defines it",
        TIMM,
        (PublishedAccuracy(82.95, 1.0, TIMM),),
        weights=(timm_weights("mobilenetv4_conv_large.e600_r384_in1k", "mobilenetv4_conv_large.e500_r256_in1k"),),
        note=TIMM_NOTE,
        counterparts=timm_networks("mobilenetv4_conv_large"),
    ),
)
