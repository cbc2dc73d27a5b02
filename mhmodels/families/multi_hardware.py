"""Multi-AVG and Multi-MAX: the networks that the paper's search found (arXiv 2008.08178, figure 7).

The plain names follow TF Model Garden: divisor 8, residual wherever the shapes allow, batch normalisation on the last
convolution. The `.tunas` variants follow the paper's own code: multiples of 32 by half-up rounding of every width,
absolute expansions, no residual on the first block of a stage, a bias and no batch normalisation after pooling.
"""

from __future__ import annotations

import msgspec

from mhmodels.architecture import Architecture, Block, Head, InvertedBottleneck, Rounding
from mhmodels.families.rows import IMAGENET, Published, ZooModel, conv, ib

PAPER = "arXiv 2008.08178"

AVG = (
    (ib(3, 2, 32, 3), ib(3, 1, 32, 2, endpoint=True)),
    (ib(5, 2, 64, 5), ib(3, 1, 64, 3), ib(3, 1, 64, 2), ib(3, 1, 64, 3, endpoint=True)),
    (ib(5, 2, 128, 6), ib(3, 1, 128, 3), ib(3, 1, 128, 3), ib(3, 1, 128, 3)),
    (ib(3, 1, 160, 6), ib(3, 1, 160, 4, endpoint=True)),
    (ib(3, 2, 192, 6), ib(5, 1, 192, 4), ib(5, 1, 192, 4), ib(5, 1, 192, 4, endpoint=True)),
)

MAX = (
    (ib(3, 2, 32, 3, endpoint=True),),
    (ib(5, 2, 64, 6), ib(3, 1, 64, 2), ib(3, 1, 64, 2, endpoint=True)),
    (ib(5, 2, 128, 6), ib(3, 1, 128, 4), ib(3, 1, 128, 3), ib(3, 1, 128, 3)),
    (ib(3, 1, 128, 6), ib(3, 1, 128, 3, endpoint=True)),
    (ib(3, 2, 160, 6), ib(5, 1, 160, 4), ib(3, 1, 160, 5), ib(5, 1, 160, 4, endpoint=True)),
)

STEM = (conv(3, 2, 32),)


def _model_garden(name: str, stages: tuple[tuple[Block, ...], ...]) -> Architecture:
    head = Head(features=(conv(1, 1, 960),), hidden=(conv(1, 1, 1280, scaling="above_one"),))
    return Architecture(name=name, stem=STEM, stages=stages, head=head, preprocessing=IMAGENET)


def _tunas(name: str, stages: tuple[tuple[InvertedBottleneck, ...], ...]) -> Architecture:
    rows, channels = [], STEM[0].filters
    for stage in stages:
        row = []
        for i, block in enumerate(stage):
            assert block.expansion is not None
            expanded = int(channels * block.expansion)
            row.append(msgspec.structs.replace(block, expansion=None, expanded_filters=expanded, residual=i > 0))
            channels = block.filters
        rows.append(tuple(row))
    head = Head(features=(conv(1, 1, 960),), hidden=(conv(1, 1, 1280, batch_norm=False, bias=True),))
    rounding = Rounding(divisor=32, minimum=32, mode="half_up")
    return Architecture(name=name, stem=STEM, stages=tuple(rows), head=head, rounding=rounding, preprocessing=IMAGENET)


MODELS = (
    ZooModel(
        _model_garden("multi_avg", AVG),
        "Multi-AVG",
        PAPER,
        (Published(75.8, 1.0, PAPER), Published(75.27, 1.0, "TF Model Garden")),
    ),
    ZooModel(_tunas("multi_avg.tunas", AVG), "Multi-AVG as TuNAS defines it", PAPER, (Published(75.8, 1.0, PAPER),)),
    ZooModel(_model_garden("multi_max", MAX), "Multi-MAX", PAPER, (Published(74.9, 1.0, PAPER),)),
    ZooModel(_tunas("multi_max.tunas", MAX), "Multi-MAX as TuNAS defines it", PAPER, (Published(74.9, 1.0, PAPER),)),
)
