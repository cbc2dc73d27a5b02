"""EfficientNet-Lite0 (tensorflow/tpu): EfficientNet-B0 without squeeze-excite, ReLU6, stem and head of fixed width."""

from __future__ import annotations

from mhmodels.architecture import Architecture, Head, InvertedBottleneck, Preprocessing
from mhmodels.families.rows import PublishedAccuracy, ZooModel, conv, ib

SOURCE = "arXiv 1905.11946; tensorflow/tpu efficientnet/lite"


def _stage(
    repeats: int, kernel: int, stride: int, filters: int, expansion: int | None, *, endpoint: bool = False
) -> tuple[InvertedBottleneck, ...]:
    return tuple(
        ib(kernel, 1 if i else stride, filters, expansion, activation="relu6", endpoint=endpoint and i == repeats - 1)
        for i in range(repeats)
    )


MODELS = (
    ZooModel(
        Architecture(
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
        ),
        "EfficientNet-Lite0",
        SOURCE,
        (PublishedAccuracy(75.1, 1.0, "tensorflow/tpu"), PublishedAccuracy(74.4, 1.0, "tensorflow/tpu (int8)")),
        "EfficientNetLite0",
    ),
)
