"""The space of FBNet (arXiv 1812.03443, tables 1 and 2): 22 layers with nine candidate blocks each.

The channel shuffle after grouped convolutions is left out, because no block type has one. A skipped layer that would change the
shape is a 1x1 convolution, as in the code of FBNet. The candidates have the order of `fbnet_latency.npz`.
"""

from __future__ import annotations

from mhmodels.architecture import Block
from mhmodels.families.rows import IMAGENET, conv, ib
from mhmodels.search.space.catalogue.parts import group, head
from mhmodels.search.space.decisions import SKIP, OneOf
from mhmodels.search.space.piece_table import BlockGroup, Template
from mhmodels.search.space.template import ArchitectureSpace

_STAGES = ((16, 1, 1), (24, 4, 2), (32, 4, 2), (64, 4, 2), (112, 4, 1), (184, 4, 2), (352, 1, 1))
_CANDIDATES = ((3, 1, 1), (3, 1, 2), (3, 3, 1), (3, 6, 1), (5, 1, 1), (5, 1, 2), (5, 3, 1), (5, 6, 1))
NOTE = "Without the channel shuffle behind grouped convolutions. Nine candidates everywhere; the last is to skip the layer."


def fbnet(input_size: int = 224) -> ArchitectureSpace:
    """22 layers of fixed width, each with kernel size 3 or 5, expansion 1, 3 or 6 (or 1 with two groups), or skipped.

    Args:
        input_size: Side of the input in pixels.
    """
    groups: list[BlockGroup] = [group("stem", "stem", 16, [(conv(3, 2, 1),)])]
    entering = 16
    for number, (width, layers, stride) in enumerate(_STAGES, 2):
        same = stride == 1 and width == entering
        first: tuple[Block | None, ...] = (*_blocks(stride, residual=same), SKIP if same else conv(1, stride, 1))
        rest = (*_blocks(1, residual=True), SKIP)
        endpoint = number in (3, 4, 6, 8)
        groups.append(group(f"stage{number}", "stage", width, [first, *[rest] * (layers - 1)], endpoint=endpoint))
        entering = width
    groups.append(head("head", "features", 1984))
    return ArchitectureSpace(
        "fbnet", Template(tuple(groups), OneOf("input_size", (input_size,), "resolution"), preprocessing=IMAGENET), NOTE
    )


def _blocks(stride: int, *, residual: bool) -> tuple[Block, ...]:
    return tuple(ib(kernel, stride, 1, expansion, groups=groups, residual=residual) for kernel, expansion, groups in _CANDIDATES)


SPACES = {"fbnet": fbnet}
