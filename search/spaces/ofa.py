"""Once-for-All's inverted-bottleneck spaces (ICLR 2020; facts in `ofa/imagenet_classification`, MIT, read and not copied).

Every stage has 2 to 4 blocks of kernel 3, 5 or 7 and expansion 3, 4 or 6; the input is 128 to 224 pixels in steps of 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mhmodels.architecture import Rounding, SqueezeExcite
from mhmodels.families.rows import IMAGENET, conv, ib
from search.space import OneOf
from search.spaces.parts import bottlenecks, group, head, stage
from search.template import ArchitectureSpace, Template

_KERNELS, _EXPANSIONS = (3, 5, 7), (3, 4, 6)
_ROUNDING = Rounding()
INPUT_SIZES = tuple(range(128, 225, 4))


def ofa_mobilenet_v3(
    width: float = 1.2, input_sizes: Sequence[int] = INPUT_SIZES, name: str = "ofa_mobilenet_v3"
) -> ArchitectureSpace:
    """Around MobileNetV3-Large.

    Args:
        width: multiplier of all widths, rounded to multiples of 8; 1.0 and 1.2 were published.
        input_sizes: sides of the input in pixels.
        name: of the space; another definition needs another one.
    """
    stem, first, *stages = (_ROUNDING(base * width) for base in (16, 16, 24, 40, 80, 112, 160))
    rows = []
    for i, (filters, stride) in enumerate(zip(stages, (2, 2, 2, 1, 2), strict=True), 3):
        fields: dict[str, Any] = {
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
    """Around ProxylessNAS: ReLU6 and no squeeze-excite, a sixth stage of a single block.

    Args:
        width: multiplier of all widths, rounded to multiples of 8; 1.3 was published.
        input_sizes: sides of the input in pixels.
        name: of the space; another definition needs another one.
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


SPACES = {"ofa_mobilenet_v3": ofa_mobilenet_v3, "ofa_proxylessnas": ofa_proxylessnas}
