"""Short constructors of blocks, so that a family reads like the table in its paper: kernel, stride, filters, expansion."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias, TypedDict, Unpack

import msgspec

from mhmodels.architecture import (
    Activation,
    Architecture,
    Block,
    Bottleneck,
    Conv,
    FusedInvertedBottleneck,
    InvertedBottleneck,
    MaxPool,
    Preprocessing,
    Rounding,
    Scaling,
    Separable,
    SqueezeExcite,
    UniversalInvertedBottleneck,
)
from mhmodels.block_types import Rectifier, Shortcut, with_filters

IMAGENET = Preprocessing(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), interpolation="bicubic")
"""Mean and standard deviation of ImageNet's training pictures: what the paper's and TuNAS's recipes subtract."""

SYMMETRIC = Preprocessing()
"""Pixels to -1..1: the original MobileNets and keras.applications."""

TORCHVISION = msgspec.structs.replace(IMAGENET, interpolation="bilinear")
"""torchvision's first preset: shorter side to 256, central crop of 224, bilinear."""


TIMM = "timm"
TIMM_HOW = "huggingface.co/timm/NAME: model.safetensors, with config.json beside it"
TORCHVISION_HOW = "download.pytorch.org/models/NAME"


class ConvFields(TypedDict, total=False):
    """Fields of a `Conv` besides kernel, stride and filters."""

    activation: Activation
    batch_norm: bool
    bias: bool
    groups: int
    scaling: Scaling
    expansion: float | None
    residual: bool
    endpoint: bool


class SeparableFields(TypedDict, total=False):
    """Fields of a `Separable` besides kernel, stride and filters."""

    activation: Activation
    pointwise_activation: Activation
    residual: bool
    endpoint: bool


class UniversalFields(TypedDict, total=False):
    """Fields of a `UniversalInvertedBottleneck` besides kernels, stride, filters and expansion."""

    activation: Activation
    residual: bool
    endpoint: bool


class FusedFields(UniversalFields, total=False):
    """Fields of a `FusedInvertedBottleneck` besides kernel, stride, filters and expansion."""

    squeeze_excite: SqueezeExcite | None


class InvertedFields(FusedFields, total=False):
    """Fields of an `InvertedBottleneck` besides kernel, stride, filters and expansion."""

    expanded_filters: int | None
    groups: int


class BottleneckFields(TypedDict, total=False):
    """Fields of a `Bottleneck` besides kernel, stride, filters and expansion."""

    activation: Rectifier
    shortcut: Shortcut
    endpoint: bool


class PublishedAccuracy(NamedTuple):
    """A published accuracy.

    Attributes:
        top1: Top-1 accuracy on ImageNet in percent.
        width_multiplier: Width of the network.
        source: Publisher of the figure.
    """

    top1: float
    width_multiplier: float
    source: str


class PublicWeights(NamedTuple):
    """Trained ImageNet weights that others publish and `mhmodels weights import` reads.

    Attributes:
        origin: Publisher or address.
        width_multipliers: Widths for which there are weights.
        names: The publisher's names of the weights at these widths; empty where the origin says it all.
        how: How to get the file, where it takes more than the import.
    """

    origin: str
    width_multipliers: tuple[float, ...]
    names: tuple[str, ...] = ()
    how: str = ""


TorchPackage: TypeAlias = Literal["timm", "torchvision", "lukemelas"]


class Counterpart(NamedTuple):
    """A network of a PyTorch package that the zoo's network computes at a width; `mhmodels weights import` takes its state dict.

    Attributes:
        package: Package that defines it.
        name: Its name there.
        width_multiplier: Width of the zoo's network.
    """

    package: TorchPackage
    name: str
    width_multiplier: float = 1.0


class ZooModel(NamedTuple):
    """One entry of the zoo: a network and its origin.

    Attributes:
        architecture: Network at width 1.0 and the input size of the published figures.
        title: Name in its publication.
        source: The publication.
        published: Published accuracies.
        builder: Name of the function in `mhmodels` that builds it; "" for a variant, which is built by its zoo name.
        weights: Trained weights that others publish.
        note: Difference from the plain network, or what one must know to compare its figures.
        counterparts: Networks of PyTorch packages that it computes.
    """

    architecture: Architecture
    title: str
    source: str
    published: tuple[PublishedAccuracy, ...] = ()
    builder: str = ""
    weights: tuple[PublicWeights, ...] = ()
    note: str = ""
    counterparts: tuple[Counterpart, ...] = ()


def conv(kernel: int, stride: int, filters: int, **fields: Unpack[ConvFields]) -> Conv:
    """Returns a convolution with batch normalisation."""
    return Conv(kernel=kernel, stride=stride, filters=filters, **fields)


def separable(kernel: int, stride: int, filters: int, **fields: Unpack[SeparableFields]) -> Separable:
    """Returns a depthwise-separable convolution."""
    return Separable(kernel=kernel, stride=stride, filters=filters, **fields)


def ib(kernel: int, stride: int, filters: int, expansion: float | None, **fields: Unpack[InvertedFields]) -> InvertedBottleneck:
    """Returns an inverted bottleneck; expansion None leaves the expansion convolution out."""
    return InvertedBottleneck(kernel=kernel, stride=stride, filters=filters, expansion=expansion, **fields)


def fused(kernel: int, stride: int, filters: int, expansion: float, **fields: Unpack[FusedFields]) -> FusedInvertedBottleneck:
    """Returns a fused inverted bottleneck."""
    return FusedInvertedBottleneck(kernel=kernel, stride=stride, filters=filters, expansion=expansion, **fields)


def bottleneck(kernel: int, stride: int, filters: int, expansion: float, **fields: Unpack[BottleneckFields]) -> Bottleneck:
    """Returns a ResNet bottleneck; `expansion` is its inner width as a share of its output width."""
    return Bottleneck(kernel=kernel, stride=stride, filters=filters, expansion=expansion, **fields)


def uib(
    start: int, middle: int, stride: int, filters: int, expansion: float, **fields: Unpack[UniversalFields]
) -> UniversalInvertedBottleneck:
    """Returns a universal inverted bottleneck; a kernel of 0 leaves that depthwise convolution out."""
    return UniversalInvertedBottleneck(
        start_kernel=start, middle_kernel=middle, stride=stride, filters=filters, expansion=expansion, **fields
    )


def variant(base: Architecture, suffix: str, **fields: object) -> Architecture:
    """Returns the same network with other fields, under the name `BASE.SUFFIX`."""
    return msgspec.structs.replace(base, name=f"{base.name}.{suffix}", **fields)


def timm_variant(base: Architecture, suffix: str = "timm", **fields: object) -> Architecture:
    """Returns a network as timm trains it: symmetric padding, epsilon 1e-5, ImageNet's mean and deviation, bicubic resizing."""
    return variant(base, suffix, **{"padding": "symmetric", "batch_norm_epsilon": 1e-5, "preprocessing": IMAGENET, **fields})


def timm_networks(*names: tuple[str, float] | str) -> tuple[Counterpart, ...]:
    """Returns networks of timm as counterparts: names, or (name, width multiplier)."""
    return tuple(Counterpart("timm", *((name,) if isinstance(name, str) else name)) for name in names)


def timm_weights(*names: tuple[str, float] | str) -> PublicWeights:
    """Returns weights of timm on the Hugging Face hub: names, or (name, width multiplier)."""
    pairs = [(name, 1.0) if isinstance(name, str) else name for name in names]
    return PublicWeights("timm", tuple(width for _, width in pairs), tuple(name for name, _ in pairs), TIMM_HOW)


def torchvision_weights(*names: tuple[str, float] | str) -> PublicWeights:
    """Returns weights of torchvision: names of files, or (name, width multiplier)."""
    pairs = [(name, 1.0) if isinstance(name, str) else name for name in names]
    return PublicWeights("torchvision", tuple(width for _, width in pairs), tuple(name for name, _ in pairs), TORCHVISION_HOW)


def deeper(
    stages: tuple[tuple[Block, ...], ...], width: float, repeats: tuple[tuple[int, ...], ...]
) -> tuple[tuple[Block, ...], ...]:
    """Returns stages scaled in width and depth, as EfficientNet's rule gives them.

    Args:
        stages: Stages at width 1.0.
        width: Factor of all filters, which are then rounded to multiples of 8 with TF Model Garden's guard.
        repeats: For each stage, how often each of its blocks stands there. Repetitions have no stride; the last block is the
            stage's endpoint if the stage has one.
    """
    rounding = Rounding()
    scaled = []
    for stage, counts in zip(stages, repeats, strict=True):
        blocks: list[Block] = []
        for block, count in zip(stage, counts, strict=True):
            wide = with_filters(block, rounding(block.filters * width)) if not isinstance(block, MaxPool) else block
            blocks += [msgspec.structs.replace(wide, endpoint=False, **({} if i == 0 else {"stride": 1})) for i in range(count)]
        blocks[-1] = msgspec.structs.replace(blocks[-1], endpoint=stage[-1].endpoint)
        scaled.append(tuple(blocks))
    return tuple(scaled)


def with_fields(stages: tuple[tuple[Block, ...], ...], **fields: object) -> tuple[tuple[Block, ...], ...]:
    """Returns the same stages with these fields in every block: `with_fields(STAGES, activation="relu", kernel=3)`."""
    return tuple(tuple(msgspec.structs.replace(block, **fields) for block in stage) for stage in stages)
