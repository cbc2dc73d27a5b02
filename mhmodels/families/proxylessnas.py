"""ProxylessNAS-Mobile (arXiv 1812.00332) as TuNAS writes it: ReLU, and a separable stem without a final activation."""

from __future__ import annotations

from mhmodels.architecture import Architecture, Head, InvertedBottleneck
from mhmodels.families.rows import IMAGENET, PublishedAccuracy, ZooModel, conv, ib, separable


def _stage(filters: int, stride: int, *rows: tuple[int, int], endpoint: bool = False) -> tuple[InvertedBottleneck, ...]:
    """Returns a stage from rows of (kernel, expansion). Its first block has the stride and no residual."""
    return tuple(
        ib(k, 1 if i else stride, filters, e, residual=i > 0, endpoint=endpoint and i == len(rows) - 1)
        for i, (k, e) in enumerate(rows)
    )


MODELS = (
    ZooModel(
        Architecture(
            name="proxylessnas_mobile",
            stem=(conv(3, 2, 32), separable(3, 1, 16, pointwise_activation="linear")),
            stages=(
                _stage(32, 2, (5, 3), (3, 3), endpoint=True),
                _stage(40, 2, (7, 3), (3, 3), (5, 3), (5, 3), endpoint=True),
                _stage(80, 2, (7, 6), (5, 3), (5, 3), (5, 3)),
                _stage(96, 1, (5, 6), (5, 3), (5, 3), (5, 3), endpoint=True),
                _stage(192, 2, (7, 6), (7, 6), (7, 3), (7, 3)),
                _stage(320, 1, (7, 6), endpoint=True),
            ),
            head=Head(features=(conv(1, 1, 1280, scaling="above_one"),)),
            preprocessing=IMAGENET,
        ),
        "ProxylessNAS-Mobile",
        "arXiv 1812.00332",
        (PublishedAccuracy(74.9, 1.0, "arXiv 2008.08178"),),
        "ProxylessNASMobile",
    ),
)
