"""Lowering: an architecture as a flat list of operations with names, channels and sizes.

The Keras builder, the counts of parameters and MAdds, the exporter and the cost models interpret this list and know nothing of
blocks; only `mhmodels.blocks` knows what a block type computes. Batch normalisation and activation are a part of the
convolution that they follow, because every runtime fuses them.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Literal, NamedTuple

import msgspec

from mhmodels.architecture import Activation, Architecture, Block, Bottleneck, Conv, Gate, MaxPool, Rounding, Separable
from mhmodels.blocks import OperationKind, block_steps
from mhmodels.errors import ArchitectureError

IMAGE = "image"
LOGITS = "logits"
OUTPUT_STRIDES = (8, 16, 32)


class Op(NamedTuple):
    """One operation with one output, which bears the operation's name.

    Attributes:
        name: Unique; also the Keras layer's name.
        kind: What it computes.
        inputs: Names of the operations (or `IMAGE`) that it reads.
        in_channels, channels: Channels read (of the first input) and written.
        kernel, stride: Of a convolution or a pooling by windows; 1 elsewhere.
        dilation, groups: Of a convolution; 1 elsewhere.
        bias, batch_norm: Whether the convolution has them.
        activation: Applied last; a squeeze-excite gate's is its gate function.
        size: (height, width) of the output; None where the input's is unknown.
        padding: TensorFlow's, of a convolution or a pooling by windows: `valid` in users' Keras models only.
    """

    name: str
    kind: OperationKind
    inputs: tuple[str, ...]
    in_channels: int
    channels: int
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    bias: bool = False
    batch_norm: bool = False
    activation: Activation | Gate = "linear"
    size: tuple[int | None, int | None] = (1, 1)
    padding: Literal["same", "valid"] = "same"

    @property
    def keras_layer(self) -> str:
        """The last of the Keras layers that the builder makes of this operation."""
        return f"{self.name}_act" if self.activation != "linear" else f"{self.name}_bn" if self.batch_norm else self.name


class Endpoint(NamedTuple):
    """A feature map that a decoder may use.

    Attributes:
        layer: Name of the operation that computes it.
        stride: Ratio of the input's size to the map's.
        channels: Number of channels.
        level: Key in TF Model Garden's endpoint dictionary: 2, 3, … in order. Once `output_stride` is reached, all further
            endpoints share a level, of which the last one counts.
        keras_layer: Layer of the Keras model whose output it is; batch normalisation and activation are layers of their own.
    """

    layer: str
    stride: int
    channels: int
    level: int
    keras_layer: str


class Network(NamedTuple):
    """The operations in execution order, the feature endpoints, and the last map before pooling."""

    architecture: Architecture
    ops: tuple[Op, ...]
    endpoints: tuple[Endpoint, ...]
    last_map: str


def lower(
    architecture: Architecture,
    *,
    size: tuple[int | None, int | None] | None = None,
    output_stride: int | None = None,
    top: bool = True,
) -> Network:
    """The operations of a network.

    Args:
        architecture: What to lower.
        size: Input (height, width) in pixels instead of the architecture's own; None entries are unknown sizes.
        output_stride: 8, 16 or 32: once the maps are this much smaller than the input, further strides become dilation
            of the depthwise kernels that follow, and of bottlenecks' (as TF Model Garden: a fused block's full convolution
            loses its stride and is not dilated).
        top: Whether to lower pooling, the convolutions after it, the classifier and the softmax.

    Returns:
        The network. Its last operation is `predictions` (softmax) with `top`, else the last map before pooling.

    Raises:
        ArchitectureError: A block cannot be, `output_stride` is none of those, a plain convolution or pooling strides past it,
            or a block strides from below it to beyond it.
    """
    if output_stride is not None and output_stride not in OUTPUT_STRIDES:
        raise ArchitectureError(f"output_stride is {output_stride!r}, expected 8, 16, 32 or None")
    assembly = _Assembly(architecture, size or architecture.input_size, output_stride)
    for i, block in enumerate(architecture.stem, 1):
        assembly.block("stem" if len(architecture.stem) == 1 else f"stem{i}", block)
    for s, stage in enumerate(architecture.stages, 2):  # the stem is stage 1, as the paper counts
        for b, block in enumerate(stage, 1):
            assembly.block(f"stage{s}_block{b}", block)
    for i, conv in enumerate(architecture.head.features, 1):
        assembly.block(f"head{i}", conv)
    last_map = assembly.at
    if top:
        assembly.top(architecture)
    return Network(architecture, tuple(assembly.ops), tuple(assembly.endpoints), last_map)


class _Assembly:
    """The growing list of operations, and the place in it where the next block attaches."""

    def __init__(self, architecture: Architecture, size: tuple[int | None, int | None], output_stride: int | None) -> None:
        self.rounding, self.width = architecture.rounding, architecture.width_multiplier
        self.ops: list[Op] = []
        self.endpoints: list[Endpoint] = []
        self.at, self.channels, self.size = IMAGE, architecture.input_channels, size
        self.stride, self.dilation, self.output_stride, self.level = 1, 1, output_stride, 2

    def block(self, name: str, block: Block) -> None:
        """Appends a block's operations."""
        dilated = self.output_stride is not None and self.stride >= self.output_stride
        dilation = 1
        if dilated:
            block, dilation = self._dilated(name, block)
        else:
            self._advance(name, block)
        self.ops += _place(name, self.at, block, self.channels, self.rounding, self.width, self.size, dilation)
        last = self.ops[-1]
        self.at, self.channels, self.size = last.name, last.channels, last.size
        if block.endpoint:
            self.endpoints.append(Endpoint(last.name, self.stride, last.channels, self.level, last.keras_layer))
            self.level += self.stride != self.output_stride

    def top(self, architecture: Architecture) -> None:
        """Appends pooling, the convolutions after it, classifier and softmax."""
        self._append(Op("pool", "pool", (self.at,), self.channels, self.channels))
        for i, conv in enumerate(architecture.head.hidden, 1):
            self.block(f"hidden{i}", conv)
        classes = architecture.classes
        self._append(Op(LOGITS, "conv", (self.at,), self.channels, classes, bias=True))
        self._append(Op("flatten", "reshape", (self.at,), classes, classes))
        self._append(Op("predictions", "softmax", (self.at,), classes, classes))

    def _append(self, op: Op) -> None:
        self.ops.append(op)
        self.at, self.channels, self.size = op.name, op.channels, op.size

    def _advance(self, name: str, block: Block) -> None:
        """Counts the stride of a block, which may reach `output_stride` but not exceed it."""
        reached = self.stride * block.stride
        if self.output_stride is not None and block.stride > 1 and reached > self.output_stride:
            raise ArchitectureError(
                f"{name}: field 'stride' is {block.stride} where maps are {self.stride} times smaller than the input, which would"
                f" make them {reached} times, past output_stride {self.output_stride}; give a larger output_stride, or None"
            )
        self.stride = reached

    def _dilated(self, name: str, block: Block) -> tuple[Block, int]:
        """The block without its stride, which is 1 for its residual too, and the dilation that it gets."""
        if block.stride == 1:
            return block, self.dilation
        if isinstance(block, (Conv, MaxPool)):
            what = "plain convolution" if isinstance(block, Conv) else "max pooling"
            raise ArchitectureError(
                f"{name}: a {what} of stride {block.stride} cannot be dilated, so output_stride is"
                f" {self.output_stride} at least here; expected {self.stride * block.stride} or more"
            )
        before, self.dilation = self.dilation, self.dilation * block.stride
        # As TF Model Garden: the first block that loses its stride already dilates, except separable ones (and, as in
        # torchvision's networks, bottlenecks).
        dilation = before if before > 1 or isinstance(block, (Separable, Bottleneck)) else self.dilation
        return msgspec.structs.replace(block, stride=1), dilation


def select_endpoints(network: Network, out_strides: Collection[int] | None = None) -> tuple[Endpoint, ...]:
    """Returns the feature maps of a model, by stride or all.

    Args:
        network: Result of `lower`.
        out_strides: Wanted strides; one map for each, in this order, which is the last endpoint at that stride. None returns
            every endpoint, the finest first, one for each level.

    Raises:
        ArchitectureError: No endpoint has such a stride; the message lists those that there are.
    """
    if out_strides is None:
        chosen = {endpoint.level: endpoint for endpoint in network.endpoints}
        if not chosen:
            raise ArchitectureError(f"architecture '{network.architecture.name}' has no endpoints: mark blocks with 'endpoint'")
        return tuple(chosen.values())
    by_stride = {endpoint.stride: endpoint for endpoint in network.endpoints}
    wanted = tuple(out_strides)
    missing = [stride for stride in wanted if stride not in by_stride]
    if missing or not wanted or len(set(wanted)) < len(wanted):
        raise ArchitectureError(
            f"out_strides is {wanted}, expected different strides out of {', '.join(map(str, by_stride)) or 'none'}"
            f" (the endpoints of '{network.architecture.name}')"
        )
    return tuple(by_stride[stride] for stride in wanted)


def _strided(size: tuple[int | None, int | None], stride: int) -> tuple[int | None, int | None]:
    height, width = size
    return (None if height is None else -(-height // stride), None if width is None else -(-width // stride))


# Searches repeat blocks, often in the same place, hence this cache and that of `block_steps`.
@functools.lru_cache(maxsize=1 << 16)
def _place(
    name: str,
    enter: str,
    block: Block,
    channels: int,
    rounding: Rounding,
    width: float,
    size: tuple[int | None, int | None],
    dilation: int,
) -> tuple[Op, ...]:
    """A block's operations at a place in a network: under a name, behind `enter`, for an input of that size."""
    try:
        steps = block_steps(block, channels, rounding, width)
    except ArchitectureError as error:
        raise ArchitectureError(f"{name}: {error}") from None
    sizes = {"": size}
    ops = []
    for step in steps:
        out = (1, 1) if step.kind == "pool" else _strided(sizes[step.inputs[0]], step.stride)
        sizes[step.suffix] = out
        inputs = tuple([f"{name}_{source}" if source else enter for source in step.inputs])
        dilates = step.kind == "depthwise" or (step.kind == "conv" and step.kernel > 1 and isinstance(block, Bottleneck))
        ops.append(
            Op(
                f"{name}_{step.suffix}", step.kind, inputs, step.in_channels, step.channels, step.kernel, step.stride,
                dilation if dilates else 1, step.groups, step.bias, step.batch_norm, step.activation, out,
            )
        )  # fmt: skip
    return tuple(ops)
