"""Multi-AVG and Multi-MAX: the networks that the paper's search found (arXiv 2008.08178, figure 7).

The plain names follow TF Model Garden: divisor 8, residual wherever the shapes allow, batch normalisation on the last
convolution. The `_seg` networks are its variants for dense prediction. The `.tunas` variants follow the paper's own code:
multiples of 32 by half-up rounding of every width, absolute expansions, no residual on the first block of a stage, a bias
and no batch normalisation after pooling.
"""

from __future__ import annotations

import msgspec

from mhmodels.architecture import Architecture, Block, Conv, Head, InvertedBottleneck, Rounding
from mhmodels.families.rows import IMAGENET, PublicWeights, PublishedAccuracy, ZooModel, conv, ib

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

AVG_SEG = (*AVG[:-1], (ib(3, 2, 192, 6), ib(5, 1, 96, 2), ib(5, 1, 96, 4), ib(5, 1, 96, 4, endpoint=True)))
MAX_SEG = (*MAX[:-1], (ib(3, 2, 160, 6), ib(5, 1, 96, 2), ib(3, 1, 96, 4), ib(5, 1, 96, 320 / 96, endpoint=True)))

STEM = (conv(3, 2, 32),)
LAST = conv(1, 1, 960)
LAST_SEG = conv(1, 1, 448, endpoint=True)


def _model_garden(name: str, stages: tuple[tuple[Block, ...], ...], last: Conv = LAST) -> Architecture:
    head = Head(features=(last,), hidden=(conv(1, 1, 1280, scaling="above_one"),))
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
    head = Head(features=(LAST,), hidden=(conv(1, 1, 1280, batch_norm=False, bias=True),))
    rounding = Rounding(divisor=32, minimum=32, mode="half_up")
    return Architecture(name=name, stem=STEM, stages=tuple(rows), head=head, rounding=rounding, preprocessing=IMAGENET)


SEG_NOTE = "Half the width after the last stride, for dense prediction; the convolution before pooling is an endpoint too."
SEG_WEIGHTS = PublicWeights(
    "TF Model Garden, gs://tf_model_garden/vision/mobilenet/v3.5multiavg_seg_float/ (users report the bucket closed:"
    " tensorflow/models #13610)",
    (1.0,),
)
TUNAS_NOTE = (
    "Every width rounds to multiples of 32, half up; no residual on the first block of a stage; a bias instead of batch"
    " normalisation on the last convolution. Equal in kernels and MAdds at width 1.0."
)

MODELS = (
    ZooModel(
        _model_garden("multi_avg", AVG),
        "Multi-AVG",
        PAPER,
        (PublishedAccuracy(75.8, 1.0, PAPER), PublishedAccuracy(75.27, 1.0, "TF Model Garden")),
        "MultiAVG",
    ),
    ZooModel(
        _tunas("multi_avg.tunas", AVG),
        "Multi-AVG as TuNAS defines it",
        PAPER,
        (PublishedAccuracy(75.8, 1.0, PAPER),),
        note=TUNAS_NOTE,
    ),
    ZooModel(
        _model_garden("multi_avg_seg", AVG_SEG, LAST_SEG),
        "Multi-AVG for segmentation",
        "TF Model Garden",
        (PublishedAccuracy(73.35, 1.0, "TF Model Garden"),),
        "MultiAVGSeg",
        (SEG_WEIGHTS,),
        SEG_NOTE,
    ),
    ZooModel(_model_garden("multi_max", MAX), "Multi-MAX", PAPER, (PublishedAccuracy(74.9, 1.0, PAPER),), "MultiMAX"),
    ZooModel(
        _tunas("multi_max.tunas", MAX),
        "Multi-MAX as TuNAS defines it",
        PAPER,
        (PublishedAccuracy(74.9, 1.0, PAPER),),
        note=TUNAS_NOTE,
    ),
    ZooModel(
        _model_garden("multi_max_seg", MAX_SEG, LAST_SEG),
        "Multi-MAX for segmentation",
        "TF Model Garden",
        builder="MultiMAXSeg",
        note=SEG_NOTE,
    ),
)
