"""The block types of an architecture as data: their fields and the limits of these.

`mhmodels.blocks` holds what a block computes. Fields at their defaults are left out of files and identities, so that a new
field with a default leaves every stored identity as it is.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

import msgspec

from mhmodels.errors import ArchitectureError
from mhmodels.formats.checked import Checked

Activation: TypeAlias = Literal["linear", "relu", "relu6", "hard_swish"]
Gate: TypeAlias = Literal["hard_sigmoid", "sigmoid"]
Scaling: TypeAlias = Literal["always", "above_one", "never"]
Rectifier: TypeAlias = Literal["linear", "relu", "relu6"]
"""Activations that runtimes compute as a part of an addition."""
Shortcut: TypeAlias = Literal["conv", "average_pool"]
Padding: TypeAlias = Literal["same", "symmetric", "trailing"]

Kernel: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=31)]
Stride: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=4)]
Filters: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=65536)]
Groups: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=65536)]
ExpansionRatio: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=64)]


class _Block(Checked, frozen=True, kw_only=True, cache_hash=True, tag_field="type"):
    """The common part of all blocks: a width and kernel at width multiplier 1.0, a stride, and the mark of a feature endpoint."""

    field_error: ClassVar = ArchitectureError
    type_name: ClassVar[str] = "block"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check()

    def _check(self) -> None:
        """Checks that only this block type needs."""


class Conv(_Block, frozen=True, kw_only=True, tag="conv"):
    """A convolution, then batch normalisation and an activation.

    Attributes:
        filters: Width in channels at width multiplier 1.0.
        kernel: Side of the kernel in pixels, from 1 to 31.
        stride: Stride in pixels, from 1 to 4.
        activation: Activation behind the convolution.
        batch_norm: Whether batch normalisation follows.
        bias: Whether the convolution has a bias.
        groups: Number of channel groups, which divides `filters`.
        scaling: Effect of the width multiplier on `filters`. `always` scales; `above_one` keeps the declared width for
            multipliers below 1 (the last 1x1 of MobileNetV2 and its descendants); `never` keeps it.
        expansion: Width as a multiple of the input channels, rounded; `filters` then states the width at multiplier 1
            (keras.applications' MobileNetV3). None uses `filters`.
        residual: Whether the input is added behind the activation where the stride is 1 and the two widths are equal.
        endpoint: Whether the output is a feature endpoint.
    """

    type_name: ClassVar[str] = "conv"
    filters: Filters
    kernel: Kernel = 1
    stride: Stride = 1
    activation: Activation = "relu"
    batch_norm: bool = True
    bias: bool = False
    groups: Groups = 1
    scaling: Scaling = "always"
    expansion: ExpansionRatio | None = None
    residual: bool = False
    endpoint: bool = False

    def _check(self) -> None:
        if self.filters % self.groups:
            raise ArchitectureError(f"conv: field 'groups' is {self.groups}, which does not divide filters {self.filters}")


class Separable(_Block, frozen=True, kw_only=True, tag="separable"):
    """A depthwise and a pointwise convolution, with batch normalisation after each (MobileNetV1, arXiv 1704.04861).

    Attributes:
        filters: Width in channels at width multiplier 1.0.
        kernel: Side of the depthwise kernel in pixels.
        stride: Stride of the depthwise convolution.
        activation: Activation behind the depthwise convolution.
        pointwise_activation: Activation behind the pointwise convolution.
        residual: Whether the input is added where the stride is 1 and the two widths are equal.
        endpoint: Whether the output is a feature endpoint.
    """

    type_name: ClassVar[str] = "separable"
    filters: Filters
    kernel: Kernel = 3
    stride: Stride = 1
    activation: Activation = "relu"
    pointwise_activation: Activation = "relu"
    residual: bool = False
    endpoint: bool = False


class SqueezeExcite(Checked, frozen=True, kw_only=True):
    """Squeeze-and-excitation on the expanded tensor: global pooling, reduction, expansion, gate.

    Attributes:
        ratio: Reduced width as a share of the width that `of` names.
        of: `expanded` for the expanded width (MobileNetV3), `input` for the block's input width (MnasNet).
        divisor: The reduced width is rounded to multiples of this number.
        activation: Activation behind the reduction.
        gate: Function that computes the gate.
    """

    field_error: ClassVar = ArchitectureError
    ratio: ExpansionRatio = 0.25
    of: Literal["expanded", "input"] = "expanded"
    divisor: Annotated[int, msgspec.Meta(ge=1, le=65536)] = 8
    activation: Activation = "relu"
    gate: Gate = "hard_sigmoid"


class InvertedBottleneck(_Block, frozen=True, kw_only=True, tag="inverted_bottleneck"):
    """1x1 expansion, depthwise convolution, linear 1x1 projection (MobileNetV2, arXiv 1801.04381).

    Attributes:
        filters: Width in channels at width multiplier 1.0.
        kernel: Side of the depthwise kernel in pixels.
        stride: Stride of the depthwise convolution.
        expansion: Expanded width as a multiple of the block's actual input width. Without it and `expanded_filters` the block has
            no expansion convolution.
        expanded_filters: Expanded width in channels, scaled by the width multiplier, in place of `expansion`.
        activation: Activation behind the expansion and the depthwise convolution.
        squeeze_excite: Squeeze-and-excitation behind the depthwise convolution; None for none.
        residual: Whether the input is added where the stride is 1 and the two widths are equal after the width multiplier, as in
            TF Model Garden and keras.applications.
        groups: Number of channel groups of the 1x1 convolutions.
        endpoint: Whether the output is a feature endpoint.
    """

    type_name: ClassVar[str] = "inverted_bottleneck"
    filters: Filters
    kernel: Kernel = 3
    stride: Stride = 1
    expansion: ExpansionRatio | None = None
    expanded_filters: Filters | None = None
    activation: Activation = "relu"
    squeeze_excite: SqueezeExcite | None = None
    residual: bool = True
    groups: Groups = 1
    endpoint: bool = False

    def _check(self) -> None:
        _check_expansion(self.type_name, self.expansion, self.expanded_filters, needed=False)


class FusedInvertedBottleneck(_Block, frozen=True, kw_only=True, tag="fused_inverted_bottleneck"):
    """A full convolution to the expanded width, then a linear 1x1 projection. Fields as in `InvertedBottleneck`."""

    type_name: ClassVar[str] = "fused_inverted_bottleneck"
    filters: Filters
    kernel: Kernel = 3
    stride: Stride = 1
    expansion: ExpansionRatio | None = None
    expanded_filters: Filters | None = None
    activation: Activation = "relu"
    squeeze_excite: SqueezeExcite | None = None
    residual: bool = True
    endpoint: bool = False

    def _check(self) -> None:
        _check_expansion(self.type_name, self.expansion, self.expanded_filters, needed=True)


class UniversalInvertedBottleneck(_Block, frozen=True, kw_only=True, tag="universal_inverted_bottleneck"):
    """MobileNetV4's block (arXiv 2404.10518): optional linear depthwise convolution, expansion, optional depthwise, projection.

    A kernel of 0 leaves that depthwise convolution out. The stride is that of the middle convolution if there is one, else of the
    first.
    """

    type_name: ClassVar[str] = "universal_inverted_bottleneck"
    filters: Filters
    expansion: ExpansionRatio
    start_kernel: Annotated[int, msgspec.Meta(ge=0, le=31)] = 0
    middle_kernel: Annotated[int, msgspec.Meta(ge=0, le=31)] = 0
    stride: Stride = 1
    activation: Activation = "relu"
    residual: bool = True
    endpoint: bool = False

    def _check(self) -> None:
        if self.stride > 1 and not (self.start_kernel or self.middle_kernel):
            raise ArchitectureError(
                f"{self.type_name}: field 'stride' is {self.stride} but both depthwise kernels are 0, so nothing can stride"
            )


class Bottleneck(_Block, frozen=True, kw_only=True, tag="bottleneck"):
    """ResNet's block: 1x1 to the inner width, kxk with the stride, linear 1x1, addition, activation (arXiv 1512.03385).

    The inner width is `expansion` times the output width, rounded. The shortcut is the input itself where the stride is 1 and the
    two widths are equal. Elsewhere `shortcut` brings the input to the output's shape: a 1x1 convolution with the stride (`conv`),
    or average pooling by the stride and a 1x1 convolution (`average_pool`, ResNet-D, arXiv 1812.01187).
    """

    type_name: ClassVar[str] = "bottleneck"
    filters: Filters
    expansion: ExpansionRatio
    kernel: Kernel = 3
    stride: Stride = 1
    activation: Rectifier = "relu"
    shortcut: Shortcut = "conv"
    endpoint: bool = False

    def _check(self) -> None:
        _check_expansion(self.type_name, self.expansion, None, needed=True)


class MaxPool(_Block, frozen=True, kw_only=True, tag="max_pool"):
    """Max pooling; it has as many output channels as input channels."""

    type_name: ClassVar[str] = "max_pool"
    kernel: Kernel = 3
    stride: Stride = 2
    endpoint: bool = False


Block: TypeAlias = (
    Conv | Separable | InvertedBottleneck | FusedInvertedBottleneck | UniversalInvertedBottleneck | Bottleneck | MaxPool
)


def with_filters(block: Block, filters: int) -> Block:
    """Returns the block with another declared width. A block without a width of its own, such as pooling, stays as it is."""
    return block if isinstance(block, MaxPool) else msgspec.structs.replace(block, filters=filters)


def _check_expansion(block: str, expansion: float | None, expanded_filters: int | None, *, needed: bool) -> None:
    given = [value for value in (expansion, expanded_filters) if value is not None]
    if len(given) == 2:
        raise ArchitectureError(f"{block}: fields 'expansion' and 'expanded_filters' are both given, expected one of them")
    if needed and not given:
        raise ArchitectureError(f"{block}: neither 'expansion' nor 'expanded_filters' is given")
