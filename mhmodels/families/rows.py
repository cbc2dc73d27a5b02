"""Short row constructors, so that a family reads like the table in its paper: kernel, stride, filters, expansion."""

from __future__ import annotations

from typing import NamedTuple, TypedDict, Unpack

import msgspec

from mhmodels.architecture import (
    Activation,
    Architecture,
    Block,
    Bottleneck,
    Conv,
    FusedInvertedBottleneck,
    InvertedBottleneck,
    Preprocessing,
    Scaling,
    Separable,
    SqueezeExcite,
    UniversalInvertedBottleneck,
)
from mhmodels.block_types import Rectifier, Shortcut

IMAGENET = Preprocessing(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), interpolation="bicubic")
"""Mean and standard deviation of ImageNet's training pictures: what the paper's and TuNAS's recipes subtract."""

SYMMETRIC = Preprocessing()
"""Pixels to -1..1: the original MobileNets and keras.applications."""


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


class Published(NamedTuple):
    """A published accuracy: ImageNet top-1 in percent, at which width, by whom."""

    top1: float
    width_multiplier: float
    source: str


class PublicWeights(NamedTuple):
    """Trained ImageNet weights that others publish and `mhmodels weights import` reads: where, and at which widths."""

    origin: str
    width_multipliers: tuple[float, ...]


class ZooModel(NamedTuple):
    """One entry of the zoo: the network and where it comes from.

    Attributes:
        architecture: at width 1.0 and the input size of the published figures.
        title: the name in its publication.
        source: the publication.
        published: accuracies, with who published them.
        builder: name of the callable in `mhmodels` that builds it; "" for a variant, which is built by its zoo name.
        weights: where trained weights can be had; empty if nowhere.
        note: what distinguishes a variant, or what one must know to compare its figures.
    """

    architecture: Architecture
    title: str
    source: str
    published: tuple[Published, ...] = ()
    builder: str = ""
    weights: tuple[PublicWeights, ...] = ()
    note: str = ""


def conv(kernel: int, stride: int, filters: int, **fields: Unpack[ConvFields]) -> Conv:
    """A convolution with batch normalisation."""
    return Conv(kernel=kernel, stride=stride, filters=filters, **fields)


def separable(kernel: int, stride: int, filters: int, **fields: Unpack[SeparableFields]) -> Separable:
    """A depthwise-separable convolution."""
    return Separable(kernel=kernel, stride=stride, filters=filters, **fields)


def ib(kernel: int, stride: int, filters: int, expansion: float | None, **fields: Unpack[InvertedFields]) -> InvertedBottleneck:
    """An inverted bottleneck; expansion None: no expansion convolution."""
    return InvertedBottleneck(kernel=kernel, stride=stride, filters=filters, expansion=expansion, **fields)


def fused(kernel: int, stride: int, filters: int, expansion: float, **fields: Unpack[FusedFields]) -> FusedInvertedBottleneck:
    """A fused inverted bottleneck."""
    return FusedInvertedBottleneck(kernel=kernel, stride=stride, filters=filters, expansion=expansion, **fields)


def bottleneck(kernel: int, stride: int, filters: int, expansion: float, **fields: Unpack[BottleneckFields]) -> Bottleneck:
    """A ResNet bottleneck; expansion: its inner width as a share of its filters."""
    return Bottleneck(kernel=kernel, stride=stride, filters=filters, expansion=expansion, **fields)


def uib(
    start: int, middle: int, stride: int, filters: int, expansion: float, **fields: Unpack[UniversalFields]
) -> UniversalInvertedBottleneck:
    """A universal inverted bottleneck; a depthwise kernel of 0 is left out."""
    return UniversalInvertedBottleneck(
        start_kernel=start, middle_kernel=middle, stride=stride, filters=filters, expansion=expansion, **fields
    )


def variant(base: Architecture, suffix: str, **fields: object) -> Architecture:
    """The same network with other fields, under the name `BASE.SUFFIX`."""
    return msgspec.structs.replace(base, name=f"{base.name}.{suffix}", **fields)


def with_fields(stages: tuple[tuple[Block, ...], ...], **fields: object) -> tuple[tuple[Block, ...], ...]:
    """The same stages with these fields in every block: `with_fields(STAGES, activation="relu", kernel=3)`."""
    return tuple(tuple(msgspec.structs.replace(block, **fields) for block in stage) for stage in stages)
