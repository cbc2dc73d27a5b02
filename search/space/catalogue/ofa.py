"""The spaces of Once-for-All (ICLR 2020, arXiv 1908.09791), after `ofa/imagenet_classification` (MIT); no code is copied.

The spaces of inverted bottlenecks have stages of 2 to 4 blocks with kernel size 3, 5 or 7 and expansion 3, 4 or 6. The space of
bottlenecks decides depth, inner width and width of every stage. The input has 128 to 224 pixels in steps of 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from mhmodels.architecture import MaxPool, Rounding, SqueezeExcite
from mhmodels.block_types import Activation
from mhmodels.families.rows import IMAGENET, bottleneck, conv, ib
from mhmodels.search.space.catalogue.parts import bottlenecks, group, head, stage
from mhmodels.search.space.decisions import SKIP, OneOf
from mhmodels.search.space.piece_table import Template
from mhmodels.search.space.template import ArchitectureSpace

_KERNELS, _EXPANSIONS = (3, 5, 7), (3, 4, 6)
_ROUNDING = Rounding()
_RATIOS, _WIDTHS = (0.2, 0.25, 0.35), (0.65, 0.8, 1.0)
INPUT_SIZES = tuple(range(128, 225, 4))


class _StageFields(TypedDict):
    """What all blocks of a stage have in common."""

    activation: Activation
    squeeze_excite: SqueezeExcite | None


def ofa_mobilenet_v3(
    width: float = 1.2, input_sizes: Sequence[int] = INPUT_SIZES, name: str = "ofa_mobilenet_v3"
) -> ArchitectureSpace:
    """The space around MobileNetV3-Large.

    Args:
        width: Multiplier of all widths, which are rounded to multiples of 8; 1.0 and 1.2 were published.
        input_sizes: Sides of the input in pixels.
        name: Name of the space; every definition needs its own.
    """
    stem, first, *stages = (_ROUNDING(base * width) for base in (16, 16, 24, 40, 80, 112, 160))
    rows = []
    for i, (filters, stride) in enumerate(zip(stages, (2, 2, 2, 1, 2), strict=True), 3):
        fields: _StageFields = {
            "activation": "relu" if i < 5 else "hard_swish",
            "squeeze_excite": SqueezeExcite() if i in (4, 6, 7) else None,
        }
        blocks = bottlenecks(_KERNELS, _EXPANSIONS, **fields)
        start = bottlenecks(_KERNELS, _EXPANSIONS, stride, residual=False, **fields)
        rows.append(stage(f"stage{i}", filters, start, blocks, 2, required=1, endpoint=i != 5))
    groups = (
        group("stem", "stem", stem, [(conv(3, 2, 1, activation="hard_swish"),)]),
        stage("stage2", first, (ib(3, 1, 1, None),), (), 0),
        *rows,
        head("head", "features", _ROUNDING(960 * width), activation="hard_swish"),
        head("hidden", "hidden", _ROUNDING(1280 * width), activation="hard_swish", batch_norm=False),
    )
    return ArchitectureSpace(
        name, Template(groups, OneOf("input_size", tuple(input_sizes), "resolution"), preprocessing=IMAGENET)
    )


def ofa_proxylessnas(
    width: float = 1.3, input_sizes: Sequence[int] = INPUT_SIZES, name: str = "ofa_proxylessnas"
) -> ArchitectureSpace:
    """The space around ProxylessNAS: ReLU6, no squeeze-excite, and a sixth stage with a single block.

    Args:
        width: Multiplier of all widths, which are rounded to multiples of 8; 1.3 was published.
        input_sizes: Sides of the input in pixels.
        name: Name of the space; every definition needs its own.
    """
    stem, first, *stages, last = (_ROUNDING(base * width) for base in (32, 16, 24, 40, 80, 96, 192, 320, 1280))
    rows = []
    for i, (filters, stride) in enumerate(zip(stages, (2, 2, 2, 1, 2, 1), strict=True), 3):
        start = bottlenecks(_KERNELS, _EXPANSIONS, stride, residual=False, activation="relu6")
        blocks = bottlenecks(_KERNELS, _EXPANSIONS, activation="relu6")
        single = i == 8
        rows.append(
            stage(
                f"stage{i}", filters, start, blocks, 0 if single else 2, required=0 if single else 1, endpoint=i in (3, 4, 6, 8)
            )
        )
    groups = (
        group("stem", "stem", stem, [(conv(3, 2, 1, activation="relu6"),)]),
        stage("stage2", first, (ib(3, 1, 1, None, activation="relu6"),), (), 0),
        *rows,
        head("head", "features", last, activation="relu6"),
    )
    return ArchitectureSpace(
        name, Template(groups, OneOf("input_size", tuple(input_sizes), "resolution"), preprocessing=IMAGENET)
    )


def ofa_resnet50(input_sizes: Sequence[int] = INPUT_SIZES, name: str = "ofa_resnet50") -> ArchitectureSpace:
    """The space around ResNet-50-D: its stem with an optional residual convolution, and four stages of bottlenecks.

    Stages have 2, 2, 4 and 2 blocks and up to 2 more. Each block has its own inner width. The widths of stages and stem are those
    of ResNet times 0.65, 0.8 or 1. For the stem's first width, two of these are the same 24 channels, which the encoding of
    Once-for-All distinguishes and this one does not.

    Args:
        input_sizes: Sides of the input in pixels.
        name: Name of the space; every definition needs its own.
    """
    outer = _scaled(64)
    inner = tuple(sorted({_ROUNDING(width // 2) for width in outer}))
    rows = []
    for i, (base, depth, stride) in enumerate(zip((256, 512, 1024, 2048), (2, 2, 4, 2), (1, 2, 2, 2), strict=True), 2):
        first, blocks = (tuple(bottleneck(3, s, 1, ratio, shortcut="average_pool") for ratio in _RATIOS) for s in (stride, 1))
        rows.append(stage(f"stage{i}", _scaled(base), first, blocks, 2, required=depth - 1, endpoint=True))
    groups = (
        group("stem", "stem", inner, [(conv(3, 2, 1),), (conv(3, 1, 1, residual=True), SKIP)]),
        group("stem_outer", "stem", outer, [(conv(3, 1, 1),), (MaxPool(),)]),
        *rows,
    )
    return ArchitectureSpace(
        name, Template(groups, OneOf("input_size", tuple(input_sizes), "resolution"), preprocessing=IMAGENET)
    )


def _scaled(base: int) -> tuple[int, ...]:
    """A width of ResNet times each multiplier, rounded."""
    return tuple(_ROUNDING(base * multiplier) for multiplier in _WIDTHS)


SPACES = {"ofa_mobilenet_v3": ofa_mobilenet_v3, "ofa_proxylessnas": ofa_proxylessnas, "ofa_resnet50": ofa_resnet50}
