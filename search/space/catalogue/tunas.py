"""The three spaces of TuNAS (arXiv 2008.06120), after google-research `tunas/mobile_search_space_v3.py` (Apache-2.0).

The definitions were written anew from that file; none of its code is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from mhmodels.architecture import Activation, Block, Rounding, SqueezeExcite
from mhmodels.families.rows import IMAGENET, conv, ib, separable
from mhmodels.search.space.catalogue.parts import TUNAS_RATIOS, bottlenecks, group, head, stage, widths
from mhmodels.search.space.decisions import SKIP
from mhmodels.search.space.piece_table import BlockGroup, Template
from mhmodels.search.space.template import ArchitectureSpace

_HALF_UP = Rounding(divisor=8, minimum=8, mode="half_up")
_KERNELS = (3, 5, 7)


def proxylessnas() -> ArchitectureSpace:
    """The ProxylessNAS space of TuNAS: kernel sizes 3, 5, 7 and expansions 3 and 6 at fixed widths."""
    return _proxylessnas("proxylessnas", [(width,) for width in (32, 16, 32, 40, 80, 96, 192, 320, 1280)])


def proxylessnas_enlarged() -> ArchitectureSpace:
    """The enlarged ProxylessNAS space of TuNAS: the same blocks with seven width ratios around powers of two."""
    bases = (16, 16, 16, 32, 64, 128, 256, 512, 1024)
    return _proxylessnas("proxylessnas_enlarged", [widths(base, TUNAS_RATIOS, 8) for base in bases])


def _proxylessnas(name: str, options: Sequence[Sequence[int]]) -> ArchitectureSpace:
    """Stem, separable convolution, five stages of one to four blocks, a single block, the last convolution."""
    strides, expansions = (2, 2, 2, 1, 2), (3, 6)
    separables = tuple(separable(kernel, 1, 1, pointwise_activation="linear") for kernel in _KERNELS)
    stages = [
        stage(
            f"stage{i}",
            options[i],
            bottlenecks(_KERNELS, expansions, strides[i - 2], residual=False),
            bottlenecks(_KERNELS, expansions),
            3,
            endpoint=i in (2, 3, 5),
            markers=int(i in (2, 3, 5)),
        )
        for i in range(2, 7)
    ]
    single = bottlenecks(_KERNELS, expansions, residual=False)
    groups: tuple[BlockGroup, ...] = (
        group("stem", "stem", options[0], [(conv(3, 2, 1),)], markers=1),
        group("separable", "stem", options[1], [separables], markers=1),
        *stages,
        stage("stage7", options[7], single, (), 0, endpoint=True, markers=1),
        head("head", "features", options[8], markers=3, scaling="above_one"),
    )
    return ArchitectureSpace(name, Template(groups, rounding=_HALF_UP, preprocessing=IMAGENET))


def mobilenet_v3_like() -> ArchitectureSpace:
    """The space of TuNAS around MobileNetV3-Large: kernel size, expansion 1 to 6, squeeze-excite, and every width.

    Base widths are powers of two. The stem and all blocks from stage 4 on use h-swish, and gates are sigmoids, as in TuNAS.
    """
    options = [widths(base, TUNAS_RATIOS, 8) for base in (16, 16, 32, 64, 128, 256, 512, 1024)]
    strides = (2, 2, 2, 1, 2)
    separables = tuple(separable(kernel, 1, 1, pointwise_activation="linear", residual=True) for kernel in _KERNELS)
    stages = [
        stage(
            f"stage{i}",
            options[i - 1],
            _v3_blocks(strides[i - 2], i, residual=False),
            _v3_blocks(1, i, residual=True),
            3,
            endpoint=i != 4,
            markers=int(i != 4),
        )
        for i in range(2, 7)
    ]
    stem = tuple(conv(kernel, 2, 1, activation="hard_swish") for kernel in (3, 5))
    groups = (
        group("stem", "stem", options[0], [stem, (*separables, SKIP)], markers=2),
        *stages,
        head("head", "features", options[6], markers=2, activation="hard_swish"),
        head("hidden", "hidden", options[7], markers=1, activation="hard_swish", batch_norm=False, bias=True),
    )
    return ArchitectureSpace("mobilenet_v3_like", Template(groups, rounding=_HALF_UP, preprocessing=IMAGENET))


def _v3_blocks(stride: int, number: int, *, residual: bool) -> tuple[Block, ...]:
    activation: Activation = "relu" if number < 4 else "hard_swish"
    gates = (None, SqueezeExcite(gate="sigmoid"))
    return tuple(
        ib(kernel, stride, 1, expansion, activation=activation, squeeze_excite=se, residual=residual)
        for se, expansion, kernel in product(gates, (1, 2, 3, 4, 5, 6), _KERNELS)
    )


SPACES = {
    "proxylessnas": proxylessnas,
    "proxylessnas_enlarged": proxylessnas_enlarged,
    "mobilenet_v3_like": mobilenet_v3_like,
}
