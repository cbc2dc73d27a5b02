"""A space around MobileNetV2 (arXiv 1801.04381). One-Proxy searches such a space without a definition; this one is ours."""

from __future__ import annotations

from mhmodels.families.rows import SYMMETRIC, conv, ib
from mhmodels.search.space.catalogue.parts import bottlenecks, group, head, stage, widths
from mhmodels.search.space.piece_table import Template
from mhmodels.search.space.template import ArchitectureSpace

_KERNELS, _EXPANSIONS = (3, 5, 7), (3, 4, 6)
_RATIOS = (0.75, 1.0, 1.25)
_ROWS = ((24, 2), (32, 2), (64, 2), (96, 1), (160, 2))
NOTE = "Our definition: One-Proxy and others search 'a MobileNet-V2 space' without defining it. MobileNetV2 itself is a member."


def mobilenet_v2_space() -> ArchitectureSpace:
    """The stages of MobileNetV2 with 1 to 4 blocks, kernel size 3, 5 or 7, expansion 3, 4 or 6, and 0.75 to 1.25 of the width."""
    blocks = bottlenecks(_KERNELS, _EXPANSIONS, activation="relu6")
    stages = [
        stage(
            f"stage{i}",
            widths(filters, _RATIOS, 8),
            bottlenecks(_KERNELS, _EXPANSIONS, stride, activation="relu6"),
            blocks,
            3,
            endpoint=i in (3, 4, 6),
        )
        for i, (filters, stride) in enumerate(_ROWS, 3)
    ]
    groups = (
        group("stem", "stem", 32, [(conv(3, 2, 1, activation="relu6"),)]),
        stage("stage2", 16, (ib(3, 1, 1, None, activation="relu6"),), (), 0),
        *stages,
        stage("stage8", widths(320, _RATIOS, 8), blocks, (), 0, endpoint=True),
        head("head", "features", 1280, activation="relu6", scaling="above_one"),
    )
    return ArchitectureSpace("mobilenet_v2_space", Template(groups, preprocessing=SYMMETRIC), NOTE)


SPACES = {"mobilenet_v2_space": mobilenet_v2_space}
