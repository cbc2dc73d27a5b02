"""The block types of an architecture, as data: their fields, and what values these may have.

What a block computes stands in `mhmodels.blocks`. Fields at their defaults are left out of files and identities, so that a
new field with a default leaves every stored identity as it is.
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

Kernel: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=31)]
Stride: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=4)]
Filters: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=65536)]
Groups: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=65536)]
Ratio: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=64)]


class _Block(Checked, frozen=True, kw_only=True, cache_hash=True, tag_field="type"):
    """What every block has: kernel and filters at width 1.0, a stride, and whether its output is a feature endpoint."""

    field_error: ClassVar = ArchitectureError
    type_name: ClassVar[str] = "block"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check()

    def _check(self) -> None:
        """Checks that only this block type needs."""


class Conv(_Block, frozen=True, kw_only=True, tag="conv"):
    """A convolution, then batch normalisation and an activation.

    `scaling` says what the width multiplier does to `filters`: `always`; `above_one` keeps the declared width for
    multipliers below 1 (the last 1x1 of MobileNetV2 and its descendants); `never`. With `expansion` the width is that
    many times the channels read, rounded, and `filters` is what this gives at multiplier 1 (keras.applications' V3).
    `residual` adds the input, behind the activation, wherever the stride is 1 and the two widths are equal.
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
    expansion: Ratio | None = None
    residual: bool = False
    endpoint: bool = False

    def _check(self) -> None:
        if self.filters % self.groups:
            raise ArchitectureError(f"conv: field 'groups' is {self.groups}, which does not divide filters {self.filters}")


class Separable(_Block, frozen=True, kw_only=True, tag="separable"):
    """Depthwise then pointwise convolution, batch normalisation after each (MobileNetV1, arXiv 1704.04861).

    `activation` follows the depthwise convolution, `pointwise_activation` the pointwise one.
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
    """Squeeze-and-excitation on the expanded tensor: pool, reduce, gate.

    The reduced width is `ratio` times the `expanded` width (MobileNetV3) or the block's `input` width (MnasNet), rounded
    to `divisor`.
    """

    field_error: ClassVar = ArchitectureError
    ratio: Ratio = 0.25
    of: Literal["expanded", "input"] = "expanded"
    divisor: Annotated[int, msgspec.Meta(ge=1, le=65536)] = 8
    activation: Activation = "relu"
    gate: Gate = "hard_sigmoid"


class InvertedBottleneck(_Block, frozen=True, kw_only=True, tag="inverted_bottleneck"):
    """1x1 expansion, depthwise kxk, linear 1x1 projection (MobileNetV2, arXiv 1801.04381).

    The expanded width is `expansion` times the block's actual input width, or `expanded_filters` (absolute, scaled by
    the width multiplier). With neither there is no expansion convolution at all. `residual` adds the input wherever the
    stride is 1 and the two widths are equal after the width multiplier, as TF Model Garden and keras.applications do.
    """

    type_name: ClassVar[str] = "inverted_bottleneck"
    filters: Filters
    kernel: Kernel = 3
    stride: Stride = 1
    expansion: Ratio | None = None
    expanded_filters: Filters | None = None
    activation: Activation = "relu"
    squeeze_excite: SqueezeExcite | None = None
    residual: bool = True
    groups: Groups = 1
    endpoint: bool = False

    def _check(self) -> None:
        _check_expansion(self.type_name, self.expansion, self.expanded_filters, needed=False)


class FusedInvertedBottleneck(_Block, frozen=True, kw_only=True, tag="fused_inverted_bottleneck"):
    """A full kxk convolution to the expanded width in place of expansion and depthwise, then the linear projection."""

    type_name: ClassVar[str] = "fused_inverted_bottleneck"
    filters: Filters
    kernel: Kernel = 3
    stride: Stride = 1
    expansion: Ratio | None = None
    expanded_filters: Filters | None = None
    activation: Activation = "relu"
    squeeze_excite: SqueezeExcite | None = None
    residual: bool = True
    endpoint: bool = False

    def _check(self) -> None:
        _check_expansion(self.type_name, self.expansion, self.expanded_filters, needed=True)


class UniversalInvertedBottleneck(_Block, frozen=True, kw_only=True, tag="universal_inverted_bottleneck"):
    """MobileNetV4's block (arXiv 2404.10518): optional linear depthwise, expansion, optional depthwise, projection.

    A kernel of 0 leaves that depthwise convolution out. The stride sits on the middle one if there is one, else on the
    first.
    """

    type_name: ClassVar[str] = "universal_inverted_bottleneck"
    filters: Filters
    expansion: Ratio
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
    """1x1 to the inner width, kxk with the stride, linear 1x1, the shortcut added, then the activation (arXiv 1512.03385).

    The inner width is `expansion` times the width *written*, rounded. The shortcut is the input itself wherever the stride
    is 1 and the two widths are equal. Elsewhere `shortcut` says what brings it to the output's shape: a
    1x1 convolution with the stride (`conv`), or average pooling by the stride and then a 1x1 convolution (`average_pool`,
    ResNet-D, arXiv 1812.01187).
    """

    type_name: ClassVar[str] = "bottleneck"
    filters: Filters
    expansion: Ratio
    kernel: Kernel = 3
    stride: Stride = 1
    activation: Rectifier = "relu"
    shortcut: Shortcut = "conv"
    endpoint: bool = False

    def _check(self) -> None:
        _check_expansion(self.type_name, self.expansion, None, needed=True)


class MaxPool(_Block, frozen=True, kw_only=True, tag="max_pool"):
    """Max pooling, which writes as many channels as it reads."""

    type_name: ClassVar[str] = "max_pool"
    kernel: Kernel = 3
    stride: Stride = 2
    endpoint: bool = False


Block: TypeAlias = (
    Conv | Separable | InvertedBottleneck | FusedInvertedBottleneck | UniversalInvertedBottleneck | Bottleneck | MaxPool
)


def with_filters(block: Block, filters: int) -> Block:
    """The block with another declared width; one that has none of its own, as pooling, is what it was."""
    return block if isinstance(block, MaxPool) else msgspec.structs.replace(block, filters=filters)


def _check_expansion(block: str, expansion: float | None, expanded_filters: int | None, *, needed: bool) -> None:
    given = [value for value in (expansion, expanded_filters) if value is not None]
    if len(given) == 2:
        raise ArchitectureError(f"{block}: fields 'expansion' and 'expanded_filters' are both given, expected one of them")
    if needed and not given:
        raise ArchitectureError(f"{block}: neither 'expansion' nor 'expanded_filters' is given")
