"""The space of NAS-Bench-Macro (Su et al., CVPR 2021, arXiv 2103.11922): 6 561 small networks, all trained on CIFAR-10."""

from __future__ import annotations

from mhmodels.architecture import Preprocessing
from mhmodels.families.rows import conv, ib
from mhmodels.search.space.catalogue.parts import group, head
from mhmodels.search.space.decisions import SKIP, OneOf
from mhmodels.search.space.piece_table import Template
from mhmodels.search.space.template import ArchitectureSpace

STAGES = ((64, 2), (128, 3), (256, 3))
"""Channels and layers of each stage; the first layer has stride 2."""
CIFAR_10 = Preprocessing(mean=(125.3, 123.0, 113.9), std=(63.0, 62.1, 66.7), crop_fraction=1.0)
NOTE = "Encodings are the benchmark's strings. Its 6 561 strings are 3 969 networks: identities in a stage may stand anywhere."


def nas_bench_macro() -> ArchitectureSpace:
    """Eight layers for 32x32 pixels and 10 classes: identity, kernel 3 with expansion 3, or kernel 5 with expansion 6.

    In a layer that changes the shape, the identity is a linear 1x1 convolution with stride 2, as in the benchmark's code.
    """
    stages = []
    for number, (width, layers) in enumerate(STAGES, 2):
        changing = (conv(1, 2, 1, activation="linear"), ib(3, 2, 1, 3), ib(5, 2, 1, 6))
        keeping = (SKIP, ib(3, 1, 1, 3), ib(5, 1, 1, 6))
        stages.append(group(f"stage{number}", "stage", width, [changing, *[keeping] * (layers - 1)], endpoint=True))
    groups = (group("stem", "stem", 32, [(conv(3, 1, 1),)]), *stages, head("head", "features", 1280))
    template = Template(groups, OneOf("input_size", (32,), "resolution"), classes=10, preprocessing=CIFAR_10)
    return ArchitectureSpace("nas_bench_macro", template, NOTE)


SPACES = {"nas_bench_macro": nas_bench_macro}
