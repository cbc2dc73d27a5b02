"""MobileNetV3 (arXiv 1905.02244, tables 1 and 2), and the minimalistic form: kernels of 3, ReLU, no squeeze-excite."""

from __future__ import annotations

import msgspec

from mhmodels.architecture import Activation, Architecture, Block, Head, SqueezeExcite
from mhmodels.families.rows import SYMMETRIC, PublicWeights, PublishedAccuracy, ZooModel, conv, ib, variant, with_fields

PAPER = "arXiv 1905.02244"
SE = SqueezeExcite()
HS: Activation = "hard_swish"

LARGE: tuple[tuple[Block, ...], ...] = (
    (ib(3, 1, 16, None),),
    (ib(3, 2, 24, 4), ib(3, 1, 24, 3, endpoint=True)),
    (
        ib(5, 2, 40, 3, squeeze_excite=SE),
        ib(5, 1, 40, 3, squeeze_excite=SE),
        ib(5, 1, 40, 3, squeeze_excite=SE, endpoint=True),
    ),
    (
        ib(3, 2, 80, 6, activation=HS),
        ib(3, 1, 80, 2.5, activation=HS),
        ib(3, 1, 80, 2.3, activation=HS),
        ib(3, 1, 80, 2.3, activation=HS),
    ),
    (
        ib(3, 1, 112, 6, activation=HS, squeeze_excite=SE),
        ib(3, 1, 112, 6, activation=HS, squeeze_excite=SE, endpoint=True),
    ),
    (
        ib(5, 2, 160, 6, activation=HS, squeeze_excite=SE),
        ib(5, 1, 160, 6, activation=HS, squeeze_excite=SE),
        ib(5, 1, 160, 6, activation=HS, squeeze_excite=SE, endpoint=True),
    ),
)


SMALL: tuple[tuple[Block, ...], ...] = (
    (ib(3, 2, 16, None, squeeze_excite=SE, endpoint=True),),
    (ib(3, 2, 24, 72 / 16), ib(3, 1, 24, 88 / 24, endpoint=True)),
    (
        ib(5, 2, 40, 4, activation=HS, squeeze_excite=SE),
        ib(5, 1, 40, 6, activation=HS, squeeze_excite=SE),
        ib(5, 1, 40, 6, activation=HS, squeeze_excite=SE),
    ),
    (
        ib(5, 1, 48, 3, activation=HS, squeeze_excite=SE),
        ib(5, 1, 48, 3, activation=HS, squeeze_excite=SE, endpoint=True),
    ),
    (
        ib(5, 2, 96, 6, activation=HS, squeeze_excite=SE),
        ib(5, 1, 96, 6, activation=HS, squeeze_excite=SE),
        ib(5, 1, 96, 6, activation=HS, squeeze_excite=SE, endpoint=True),
    ),
)


def _architecture(
    name: str, stages: tuple[tuple[Block, ...], ...], widths: tuple[int, int], activation: Activation
) -> Architecture:
    return Architecture(
        name=name,
        stem=(conv(3, 2, 16, activation=activation),),
        stages=stages,
        head=Head(
            features=(conv(1, 1, widths[0], activation=activation),),
            hidden=(conv(1, 1, widths[1], activation=activation, batch_norm=False, bias=True, scaling="above_one"),),
        ),
        preprocessing=SYMMETRIC,
    )


def _minimalistic(name: str, stages: tuple[tuple[Block, ...], ...], widths: tuple[int, int]) -> Architecture:
    return _architecture(name, with_fields(stages, kernel=3, activation="relu", squeeze_excite=None), widths, "relu")


def _entries(
    base: Architecture, title: str, builder: str, published: tuple[PublishedAccuracy, ...], weights: PublicWeights
) -> tuple[ZooModel, ZooModel]:
    """Returns a network twice: as TF Model Garden scales it, and as keras.applications does."""
    stem = msgspec.structs.replace(base.stem[0], scaling="never")
    last = msgspec.structs.replace(base.head.features[0], expansion=6)
    as_keras = variant(base, "keras", stem=(stem,), head=Head(features=(last,), hidden=base.head.hidden))
    return (
        ZooModel(base, title, PAPER, published, builder, (weights,)),
        ZooModel(
            as_keras,
            f"{title} as keras.applications defines it",
            weights.origin,
            weights=(weights,),
            note="The stem keeps 16 channels at every width, and the last convolution before pooling is six times as wide as"
            f" the rounded map that it reads. At the widths with public weights both are as in {base.name}.",
        ),
    )


MODELS = (
    *_entries(
        _architecture("mobilenet_v3_large", LARGE, (960, 1280), HS),
        "MobileNetV3-Large",
        "MobileNetV3Large",
        (PublishedAccuracy(75.2, 1.0, PAPER), PublishedAccuracy(75.3, 1.0, "arXiv 2008.08178")),
        PublicWeights("keras.applications.MobileNetV3Large", (0.75, 1.0)),
    ),
    *_entries(
        _minimalistic("mobilenet_v3_large_minimalistic", LARGE, (960, 1280)),
        "MobileNetV3-Large minimalistic",
        "MobileNetV3LargeMinimalistic",
        (PublishedAccuracy(72.3, 1.0, "TF slim"), PublishedAccuracy(74.9, 1.25, "arXiv 2008.08178")),
        PublicWeights("keras.applications.MobileNetV3Large(minimalistic=True)", (1.0,)),
    ),
    *_entries(
        _architecture("mobilenet_v3_small", SMALL, (576, 1024), HS),
        "MobileNetV3-Small",
        "MobileNetV3Small",
        (PublishedAccuracy(67.4, 1.0, PAPER), PublishedAccuracy(67.5, 1.0, "TF slim")),
        PublicWeights("keras.applications.MobileNetV3Small", (0.75, 1.0)),
    ),
    *_entries(
        _minimalistic("mobilenet_v3_small_minimalistic", SMALL, (576, 1024)),
        "MobileNetV3-Small minimalistic",
        "MobileNetV3SmallMinimalistic",
        (PublishedAccuracy(61.9, 1.0, "TF slim"),),
        PublicWeights("keras.applications.MobileNetV3Small(minimalistic=True)", (1.0,)),
    ),
)
