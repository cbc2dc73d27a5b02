"""MobileNetV3 (arXiv 1905.02244, tables 1 and 2), and the minimalistic form: kernels of 3, ReLU, no squeeze-excite."""

from __future__ import annotations

import msgspec

from mhmodels.architecture import Activation, Architecture, Block, Head, InvertedBottleneck, SqueezeExcite
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
    ib,
    timm_networks,
    timm_variant,
    timm_weights,
    torchvision_weights,
    variant,
    with_fields,
)

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


def _as_timm(base: Architecture) -> Architecture:
    """Returns a network as timm defines it: the stem keeps its width below 1, and the last convolution at every width."""
    stem = msgspec.structs.replace(base.stem[0], scaling="above_one")
    hidden = msgspec.structs.replace(base.head.hidden[0], scaling="never")
    return timm_variant(base, stem=(stem,), head=Head(features=base.head.features, hidden=(hidden,)))


def _as_torchvision(base: Architecture) -> Architecture:
    """Returns a network as torchvision defines it: expanded widths scale like all others, and the last convolution too."""
    channels, stages = 16, []
    for stage in base.stages:
        blocks = []
        for block in stage:
            assert isinstance(block, InvertedBottleneck)
            expanded = None if block.expansion is None else 8 * round(channels * block.expansion / 8)
            blocks.append(msgspec.structs.replace(block, expansion=None, expanded_filters=expanded))
            channels = block.filters
        stages.append(tuple(blocks))
    last = msgspec.structs.replace(base.head.features[0], expansion=6)
    hidden = msgspec.structs.replace(base.head.hidden[0], scaling="always")
    return variant(
        base, "torchvision", stages=tuple(stages), head=Head(features=(last,), hidden=(hidden,)), padding="symmetric",
        preprocessing=TORCHVISION,
    )  # fmt: skip


def _deep(base: Architecture) -> Architecture:
    """Returns timm's 150d: 1.5 times as wide and 1.2 times as deep, with the last convolution of width 1.0."""
    conv24, first, last = base.stem[0], base.head.features[0], base.head.hidden[0]
    wide = msgspec.structs.replace(first, filters=1440)
    stages = deeper(tuple(_distinct(stage) for stage in base.stages), 1.5, ((2,), (1, 2), (1, 3), (1, 2, 2), (1, 2), (1, 3)))
    return msgspec.structs.replace(
        base, name="mobilenet_v3_large_150d.timm", stem=(msgspec.structs.replace(conv24, filters=24),), stages=stages,
        head=Head(features=(wide, wide), hidden=(last,)), input_size=(256, 256),
        preprocessing=msgspec.structs.replace(SYMMETRIC, crop_fraction=0.95),
    )  # fmt: skip


def _distinct(stage: tuple[Block, ...]) -> tuple[Block, ...]:
    """Returns the first block of a stage and one of each run of equal blocks behind it, endpoints aside."""
    plain = [msgspec.structs.replace(block, endpoint=False) for block in stage[1:]]
    kept = [block for i, block in enumerate(stage[1:]) if i == len(plain) - 1 or plain[i] != plain[i + 1]]
    return (stage[0], *kept)


def _entries(
    base: Architecture,
    title: str,
    builder: str,
    published: tuple[PublishedAccuracy, ...],
    weights: tuple[PublicWeights, PublicWeights],
    counterparts: tuple[Counterpart, ...],
) -> tuple[ZooModel, ZooModel]:
    """Returns a network twice: as TF Model Garden scales it, and as keras.applications does.

    The first of the weights are those of keras.applications, the others are of the network as TF Model Garden scales it.
    """
    stem = msgspec.structs.replace(base.stem[0], scaling="never")
    last = msgspec.structs.replace(base.head.features[0], expansion=6)
    as_keras = variant(base, "keras", stem=(stem,), head=Head(features=(last,), hidden=base.head.hidden))
    return (
        ZooModel(base, title, PAPER, published, builder, weights, counterparts=counterparts),
        ZooModel(
            as_keras,
            f"{title} as keras.applications defines it",
            weights[0].origin,
            weights=weights[:1],
            note="The stem keeps 16 channels at every width, and the last convolution before pooling is six times as wide as"
            f" the rounded map that it reads. At the widths with public weights both are as in {base.name}.",
        ),
    )


PLAIN_LARGE = _architecture("mobilenet_v3_large", LARGE, (960, 1280), HS)
PLAIN_SMALL = _architecture("mobilenet_v3_small", SMALL, (576, 1024), HS)
TIMM_LARGE = _as_timm(PLAIN_LARGE)
# timm writes the second expansion of the second stage as 3.67, where 88 / 24 gives other widths at some multipliers.
TIMM_SMALL = _as_timm(
    msgspec.structs.replace(PLAIN_SMALL, stages=(SMALL[0], (SMALL[1][0], ib(3, 1, 24, 3.67, endpoint=True)), *SMALL[2:]))
)
TIMM_NOTE = (
    "Symmetric padding and epsilon 1e-5. The stem has 16 channels at widths below 1; the convolution after pooling has the same"
    " width always."
)
TORCHVISION_NOTE = (
    "Symmetric padding and torchvision's preprocessing. Expanded widths and the convolution after pooling scale as all others do;"
    " the convolution before pooling is six times as wide as the map that it reads."
)

MODELS = (
    *_entries(
        PLAIN_LARGE,
        "MobileNetV3-Large",
        "MobileNetV3Large",
        (PublishedAccuracy(75.2, 1.0, PAPER), PublishedAccuracy(75.3, 1.0, "arXiv 2008.08178")),
        (
            PublicWeights("keras.applications.MobileNetV3Large", (0.75, 1.0)),
            timm_weights(("tf_mobilenetv3_large_075.in1k", 0.75), "tf_mobilenetv3_large_100.in1k"),
        ),
        timm_networks(("tf_mobilenetv3_large_075", 0.75), "tf_mobilenetv3_large_100"),
    ),
    *_entries(
        _minimalistic("mobilenet_v3_large_minimalistic", LARGE, (960, 1280)),
        "MobileNetV3-Large minimalistic",
        "MobileNetV3LargeMinimalistic",
        (PublishedAccuracy(72.3, 1.0, "TF slim"), PublishedAccuracy(74.9, 1.25, "arXiv 2008.08178")),
        (
            PublicWeights("keras.applications.MobileNetV3Large(minimalistic=True)", (1.0,)),
            timm_weights("tf_mobilenetv3_large_minimal_100.in1k"),
        ),
        timm_networks("tf_mobilenetv3_large_minimal_100"),
    ),
    *_entries(
        PLAIN_SMALL,
        "MobileNetV3-Small",
        "MobileNetV3Small",
        (PublishedAccuracy(67.4, 1.0, PAPER), PublishedAccuracy(67.5, 1.0, "TF slim")),
        (
            PublicWeights("keras.applications.MobileNetV3Small", (0.75, 1.0)),
            timm_weights(("tf_mobilenetv3_small_075.in1k", 0.75), "tf_mobilenetv3_small_100.in1k"),
        ),
        timm_networks(("tf_mobilenetv3_small_075", 0.75), "tf_mobilenetv3_small_100"),
    ),
    *_entries(
        _minimalistic("mobilenet_v3_small_minimalistic", SMALL, (576, 1024)),
        "MobileNetV3-Small minimalistic",
        "MobileNetV3SmallMinimalistic",
        (PublishedAccuracy(61.9, 1.0, "TF slim"),),
        (
            PublicWeights("keras.applications.MobileNetV3Small(minimalistic=True)", (1.0,)),
            timm_weights("tf_mobilenetv3_small_minimal_100.in1k"),
        ),
        timm_networks("tf_mobilenetv3_small_minimal_100"),
    ),
    ZooModel(
        TIMM_LARGE,
        "MobileNetV3-Large as timm defines it",
        TIMM,
        (PublishedAccuracy(75.77, 1.0, TIMM), PublishedAccuracy(76.31, 1.0, "timm, ra4_e3600_r224_in1k")),
        weights=(
            timm_weights(
                "mobilenetv3_large_100.ra_in1k",
                "mobilenetv3_large_100.ra4_e3600_r224_in1k",
                "mobilenetv3_large_100.miil_in21k_ft_in1k",
            ),
        ),
        note=TIMM_NOTE,
        counterparts=timm_networks(("mobilenetv3_large_075", 0.75), "mobilenetv3_large_100"),
    ),
    ZooModel(
        _deep(TIMM_LARGE),
        "MobileNetV3-Large 150d of timm",
        TIMM,
        (PublishedAccuracy(80.94, 1.0, TIMM),),
        weights=(timm_weights("mobilenetv3_large_150d.ra4_e3600_r256_in1k"),),
        note="1.5 times as wide and 1.2 times as deep as mobilenet_v3_large.timm, with its last convolution; input 256.",
        counterparts=timm_networks("mobilenetv3_large_150d"),
    ),
    ZooModel(
        TIMM_SMALL,
        "MobileNetV3-Small as timm defines it",
        TIMM,
        (
            PublishedAccuracy(67.66, 1.0, TIMM),
            PublishedAccuracy(57.91, 0.5, TIMM),
            PublishedAccuracy(65.23, 0.75, TIMM),
        ),
        weights=(
            timm_weights(
                ("mobilenetv3_small_050.lamb_in1k", 0.5),
                ("mobilenetv3_small_075.lamb_in1k", 0.75),
                "mobilenetv3_small_100.lamb_in1k",
            ),
        ),
        note=TIMM_NOTE,
        counterparts=timm_networks(("mobilenetv3_small_050", 0.5), ("mobilenetv3_small_075", 0.75), "mobilenetv3_small_100"),
    ),
    ZooModel(
        _as_torchvision(PLAIN_LARGE),
        "MobileNetV3-Large as torchvision defines it",
        "torchvision.models.mobilenet_v3_large",
        (PublishedAccuracy(74.04, 1.0, "torchvision IMAGENET1K_V1"), PublishedAccuracy(75.27, 1.0, "torchvision IMAGENET1K_V2")),
        weights=(torchvision_weights("mobilenet_v3_large-8738ca79.pth", "mobilenet_v3_large-5c1a4163.pth"),),
        note=TORCHVISION_NOTE,
        counterparts=(Counterpart("torchvision", "mobilenet_v3_large"),),
    ),
    ZooModel(
        _as_torchvision(PLAIN_SMALL),
        "MobileNetV3-Small as torchvision defines it",
        "torchvision.models.mobilenet_v3_small",
        (PublishedAccuracy(67.67, 1.0, "torchvision IMAGENET1K_V1"),),
        weights=(torchvision_weights("mobilenet_v3_small-047dcff4.pth"),),
        note=TORCHVISION_NOTE,
        counterparts=(Counterpart("torchvision", "mobilenet_v3_small"),),
    ),
)
