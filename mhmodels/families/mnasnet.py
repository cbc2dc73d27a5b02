"""MnasNet-A1 and -B1 (arXiv 1807.11626, figure 7 and table 1): residuals wherever the shapes allow, ReLU.

Squeeze-excite reduces to a quarter of the block's input width, not of the expanded one, and gates with a sigmoid, as the
authors' code in tensorflow/tpu does; with MobileNetV3's rule the parameters would exceed the published 3.9 M. The authors
publish A1 at other widths too, with the last convolution at 1280 always; B1 they publish at 1.0 only, and it scales as its
relatives MobileNetV2 and ProxylessNAS do.
"""

from __future__ import annotations

from mhmodels.architecture import Architecture, Block, Head, InvertedBottleneck, Scaling, SqueezeExcite
from mhmodels.families.rows import IMAGENET, PublishedAccuracy, ZooModel, conv, ib, separable

PAPER = "arXiv 1807.11626"
SE = SqueezeExcite(of="input", divisor=1, gate="sigmoid")


def _stage(
    repeats: int,
    kernel: int,
    stride: int,
    filters: int,
    expansion: int,
    se: SqueezeExcite | None = None,
    *,
    endpoint: bool = False,
) -> tuple[InvertedBottleneck, ...]:
    return tuple(
        ib(kernel, 1 if i else stride, filters, expansion, squeeze_excite=se, endpoint=endpoint and i == repeats - 1)
        for i in range(repeats)
    )


def _architecture(name: str, stages: tuple[tuple[Block, ...], ...], last: Scaling) -> Architecture:
    return Architecture(
        name=name,
        stem=(conv(3, 2, 32), separable(3, 1, 16, pointwise_activation="linear")),
        stages=stages,
        head=Head(features=(conv(1, 1, 1280, scaling=last),)),
        preprocessing=IMAGENET,
    )


A1 = (
    _stage(2, 3, 2, 24, 6, endpoint=True),
    _stage(3, 5, 2, 40, 3, SE, endpoint=True),
    _stage(4, 3, 2, 80, 6),
    _stage(2, 3, 1, 112, 6, SE, endpoint=True),
    _stage(3, 5, 2, 160, 6, SE),
    _stage(1, 3, 1, 320, 6, endpoint=True),
)

B1 = (
    _stage(3, 3, 2, 24, 3, endpoint=True),
    _stage(3, 5, 2, 40, 3, endpoint=True),
    _stage(3, 5, 2, 80, 6),
    _stage(2, 3, 1, 96, 6, endpoint=True),
    _stage(4, 5, 2, 192, 6),
    _stage(1, 3, 1, 320, 6, endpoint=True),
)

MODELS = (
    ZooModel(
        _architecture("mnasnet_a1", A1, "never"),
        "MnasNet-A1",
        PAPER,
        (
            PublishedAccuracy(75.2, 1.0, PAPER),
            PublishedAccuracy(77.2, 1.4, "tensorflow/tpu"),
            PublishedAccuracy(73.3, 0.75, "tensorflow/tpu"),
        ),
        "MnasNetA1",
    ),
    ZooModel(_architecture("mnasnet_b1", B1, "above_one"), "MnasNet-B1", PAPER, (), "MnasNetB1"),
)
