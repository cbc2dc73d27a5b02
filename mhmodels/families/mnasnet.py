"""MnasNet-A1 and -B1 (arXiv 1807.11626, figure 7 and table 1): residuals wherever the shapes allow, ReLU.

Squeeze-excite reduces to a quarter of the block's input width, not of the expanded one, and gates with a sigmoid, as the
authors' code in tensorflow/tpu does; with MobileNetV3's rule the parameters would exceed the published 3.9 M. The authors
publish A1 at other widths too, with the last convolution at 1280 always; B1 they publish at 1.0 only, and it scales as its
relatives MobileNetV2 and ProxylessNAS do.
"""

from __future__ import annotations

from mhmodels.architecture import Architecture, Block, Head, InvertedBottleneck, Scaling, SqueezeExcite
from mhmodels.families.rows import (
    IMAGENET,
    TIMM,
    TORCHVISION,
    Counterpart,
    PublishedAccuracy,
    ZooModel,
    conv,
    ib,
    separable,
    timm_networks,
    timm_variant,
    timm_weights,
    torchvision_weights,
)

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

SMALL = (
    _stage(1, 3, 2, 16, 3, endpoint=True),
    _stage(2, 3, 2, 16, 6, endpoint=True),
    _stage(4, 5, 2, 32, 6, SE),
    _stage(3, 3, 1, 32, 6, SE, endpoint=True),
    _stage(3, 5, 2, 88, 6, SE),
    _stage(1, 3, 1, 144, 6, endpoint=True),
)

MNASNET_A1 = _architecture("mnasnet_a1", A1, "never")
MNASNET_B1 = _architecture("mnasnet_b1", B1, "above_one")
FIXED_B1 = _architecture("mnasnet_b1", B1, "never")
B1_NOTE = "Symmetric padding and epsilon 1e-5; the last convolution has 1280 channels at every width."

MODELS = (
    ZooModel(
        MNASNET_A1,
        "MnasNet-A1",
        PAPER,
        (
            PublishedAccuracy(75.2, 1.0, PAPER),
            PublishedAccuracy(77.2, 1.4, "tensorflow/tpu"),
            PublishedAccuracy(73.3, 0.75, "tensorflow/tpu"),
        ),
        "MnasNetA1",
    ),
    ZooModel(MNASNET_B1, "MnasNet-B1", PAPER, (), "MnasNetB1"),
    ZooModel(
        timm_variant(MNASNET_A1),
        "MnasNet-A1 as timm defines it",
        TIMM,
        (PublishedAccuracy(75.45, 1.0, TIMM), PublishedAccuracy(72.99, 0.75, TIMM)),
        weights=(timm_weights(("semnasnet_075.rmsp_in1k", 0.75), "semnasnet_100.rmsp_in1k"),),
        note="Symmetric padding and epsilon 1e-5. timm names it semnasnet.",
        counterparts=timm_networks(("semnasnet_050", 0.5), ("semnasnet_075", 0.75), "semnasnet_100", ("semnasnet_140", 1.4)),
    ),
    ZooModel(
        timm_variant(FIXED_B1),
        "MnasNet-B1 as timm defines it",
        TIMM,
        (PublishedAccuracy(74.65, 1.0, TIMM),),
        weights=(timm_weights("mnasnet_100.rmsp_in1k"),),
        note=B1_NOTE,
        counterparts=timm_networks(("mnasnet_050", 0.5), ("mnasnet_075", 0.75), "mnasnet_100", ("mnasnet_140", 1.4)),
    ),
    ZooModel(
        timm_variant(
            MNASNET_A1,
            stem=(conv(3, 2, 8), separable(3, 1, 8, pointwise_activation="linear", residual=True)),
            stages=SMALL,
        ).at(name="mnasnet_small.timm"),
        "MnasNet-Small as timm defines it",
        TIMM,
        (PublishedAccuracy(66.2, 1.0, TIMM),),
        weights=(timm_weights("mnasnet_small.lamb_in1k"),),
        note="Symmetric padding and epsilon 1e-5; a stem of 8 channels.",
        counterparts=timm_networks("mnasnet_small"),
    ),
    ZooModel(
        timm_variant(FIXED_B1, "torchvision", preprocessing=TORCHVISION),
        "MnasNet-B1 as torchvision defines it",
        "torchvision.models.mnasnet1_0",
        (
            PublishedAccuracy(73.46, 1.0, "torchvision"),
            PublishedAccuracy(67.73, 0.5, "torchvision"),
            PublishedAccuracy(71.18, 0.75, "torchvision"),
            PublishedAccuracy(76.51, 1.3, "torchvision"),
        ),
        weights=(
            torchvision_weights(
                ("mnasnet0.5_top1_67.823-3ffadce67e.pth", 0.5),
                ("mnasnet0_75-7090bc5f.pth", 0.75),
                "mnasnet1.0_top1_73.512-f206786ef8.pth",
                ("mnasnet1_3-a4c69d6f.pth", 1.3),
            ),
        ),
        note=f"{B1_NOTE} As mnasnet_b1.timm, with torchvision's preprocessing.",
        counterparts=(
            Counterpart("torchvision", "mnasnet0_5", 0.5),
            Counterpart("torchvision", "mnasnet0_75", 0.75),
            Counterpart("torchvision", "mnasnet1_0"),
            Counterpart("torchvision", "mnasnet1_3", 1.3),
        ),
    ),
)
