"""The multi-hardware space (arXiv 2008.08178, section 6.1), and the larger space that hardware limits reduce to it.

The paper states: 1 to 4 blocks per stage, expansion 1 to 6, width ratios 0.5 to 2, inverted bottlenecks or fused ones, kernel
size 3 or 5, stride 2 in stages 1, 2, 3, 4 and 6, no squeeze-excite, no h-swish, widths in multiples of 32, and a fixed head.

It does not state the following, which was chosen so that both published networks are members: base widths of MobileNetV3-Large,
rounding half up to multiples of 32, a fixed stem, and a head with widths 960 and 1280.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Literal, TypeAlias

from mhmodels.architecture import Activation, Block, Conv, Rounding, Scaling, SqueezeExcite
from mhmodels.families.rows import IMAGENET, fused, ib
from mhmodels.search.space.catalogue.parts import TUNAS_RATIOS, group, stage, widths
from mhmodels.search.space.decisions import OneOf
from mhmodels.search.space.piece_table import BlockGroup, Template
from mhmodels.search.space.template import ArchitectureSpace

Style: TypeAlias = Literal["model_garden", "tunas"]

V3_LARGE_BASES = (16, 24, 40, 80, 112, 160)
EXPANSIONS = (1, 2, 3, 4, 5, 6)
BOTTLENECKS: tuple[Callable[..., Block], ...] = (ib, fused)
_STRIDES = (2, 2, 2, 1, 2)
_ENDPOINTS = (True, True, False, True, True)
NOTE = (
    "Base widths 16, 24, 40, 80, 112, 160 and rounding half up to multiples of 32 are our reading of section 6.1, which gives"
    " neither; the stem is not searched."
)


def multi_hardware(
    bases: Sequence[int] = V3_LARGE_BASES,
    divisor: int = 32,
    stem_kernels: Sequence[int] = (3,),
    style: Style = "model_garden",
    input_size: int = 224,
    name: str = "multi_hardware",
) -> ArchitectureSpace:
    """The space of section 6.1.

    Args:
        bases: Base widths of the stem and the five stages, in channels.
        divisor: Widths are multiples of this number.
        stem_kernels: Kernel sizes of the first convolution.
        style: `model_garden` has residual connections wherever shapes allow and batch normalisation on the last convolution, as
            TF Model Garden; `tunas` has no residual connection on the first block of a stage and a bias on the last convolution,
            as the code of the paper. Widths and kernel sizes are equal.
        input_size: Side of the input in pixels.
        name: Name of the space; every definition needs its own.
    """
    template = _template(
        [widths(base, TUNAS_RATIOS, divisor) for base in bases],
        [Conv(filters=1, kernel=kernel, stride=2) for kernel in stem_kernels],
        lambda stride, residual: tuple(
            make(kernel, stride, 1, expansion, residual=residual)
            for make, expansion, kernel in product(BOTTLENECKS, EXPANSIONS, (3, 5))
        ),
        style,
        input_size,
    )
    return ArchitectureSpace(name, template, NOTE)


def multi_hardware_unrestricted() -> ArchitectureSpace:
    """The space around MobileNetV3-Large that section 6.1 starts from, before it is restricted to hardware.

    It has kernel sizes 3, 5 and 7, blocks with and without squeeze-excite, ReLU or h-swish (in stem and head as well), and widths
    rounded to multiples of 8 or 32. The limits of the Pixel 4's Edge TPU and Hexagon DSP reduce it to `multi_hardware`.
    """
    activations: tuple[Activation, ...] = ("relu", "hard_swish")
    template = _template(
        [widths(base, TUNAS_RATIOS, 8, 32) for base in V3_LARGE_BASES],
        [Conv(filters=1, kernel=3, stride=2, activation=activation) for activation in activations],
        lambda stride, residual: tuple(
            make(kernel, stride, 1, expansion, residual=residual, squeeze_excite=se, activation=activation)
            for make, expansion, kernel, se, activation in product(
                BOTTLENECKS, EXPANSIONS, (3, 5, 7), (None, SqueezeExcite()), activations
            )
        ),
        "model_garden",
        224,
        activations,
    )
    return ArchitectureSpace("multi_hardware_unrestricted", template, NOTE)


def _template(
    options: Sequence[Sequence[int]],
    stems: Sequence[Block],
    blocks: Callable[[int, bool], tuple[Block, ...]],
    style: Style,
    input_size: int,
    head_activations: Sequence[Activation] = ("relu",),
) -> Template:
    first_residual = style == "model_garden"
    stages = [
        stage(f"stage{i}", choices, blocks(stride, first_residual), blocks(1, True), 3, endpoint=endpoint)
        for i, (choices, stride, endpoint) in enumerate(zip(options[1:], _STRIDES, _ENDPOINTS, strict=True), 2)
    ]
    scaling: Scaling = "above_one" if style == "model_garden" else "always"
    bn = style == "model_garden"
    lasts = [Conv(filters=1, activation=activation) for activation in head_activations]
    hidden = [
        Conv(filters=1, activation=activation, batch_norm=bn, bias=not bn, scaling=scaling) for activation in head_activations
    ]
    groups: list[BlockGroup] = [
        group("stem", "stem", options[0], [stems]),
        *stages,
        group("head", "features", 960, [lasts]),
        group("hidden", "hidden", 1280, [hidden]),
    ]
    rounding = Rounding() if style == "model_garden" else Rounding(divisor=32, minimum=32, mode="half_up")
    return Template(tuple(groups), OneOf("input_size", (input_size,), "resolution"), rounding, preprocessing=IMAGENET)


SPACES = {"multi_hardware": multi_hardware, "multi_hardware_unrestricted": multi_hardware_unrestricted}
