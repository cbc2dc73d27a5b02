"""MobileNetV4's convolutional networks (arXiv 2404.10518), at the input sizes of the paper: 224, 256 and 384."""

from __future__ import annotations

from mhmodels.architecture import Architecture, Block, Conv, Head
from mhmodels.families.rows import IMAGENET, PublishedAccuracy, ZooModel, conv, fused, uib

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

MODELS = (
    ZooModel(
        _architecture("mobilenet_v4_conv_small", 224, conv(3, 2, 32), SMALL),
        "MobileNetV4-Conv-Small",
        PAPER,
        (PublishedAccuracy(73.8, 1.0, PAPER),),
        "MobileNetV4ConvSmall",
    ),
    ZooModel(
        _architecture("mobilenet_v4_conv_medium", 256, conv(3, 2, 32), MEDIUM),
        "MobileNetV4-Conv-Medium",
        PAPER,
        (PublishedAccuracy(79.9, 1.0, PAPER),),
        "MobileNetV4ConvMedium",
    ),
    ZooModel(
        _architecture("mobilenet_v4_conv_large", 384, conv(3, 2, 24), LARGE),
        "MobileNetV4-Conv-Large",
        PAPER,
        (PublishedAccuracy(82.9, 1.0, PAPER),),
        "MobileNetV4ConvLarge",
    ),
)
