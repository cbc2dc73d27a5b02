"""MobileNetV3 (arXiv 1905.02244, tables 1 and 2), and the minimalistic form: kernels of 3, ReLU, no squeeze-excite."""

from __future__ import annotations

from mhmodels.architecture import Activation, Architecture, Block, Head, SqueezeExcite
from mhmodels.families.rows import SYMMETRIC, Published, ZooModel, conv, ib, with_fields

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


MODELS = (
    ZooModel(
        _architecture("mobilenet_v3_large", LARGE, (960, 1280), HS),
        "MobileNetV3-Large",
        PAPER,
        (Published(75.2, 1.0, PAPER), Published(75.3, 1.0, "arXiv 2008.08178")),
    ),
    ZooModel(
        _architecture(
            "mobilenet_v3_large_minimalistic",
            with_fields(LARGE, kernel=3, activation="relu", squeeze_excite=None),
            (960, 1280),
            "relu",
        ),
        "MobileNetV3-Large minimalistic",
        PAPER,
        (Published(72.3, 1.0, "TF slim"), Published(74.9, 1.25, "arXiv 2008.08178")),
    ),
)
