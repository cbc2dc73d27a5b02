"""Lowering: an architecture as a flat list of operations with names, channels and sizes.

The Keras builder, the counts of parameters and MAdds, the exporter and the cost models interpret this list and know nothing of
blocks; only `mhmodels.blocks` knows what a block type computes. Batch normalisation and activation are a part of the
convolution that they follow, because every runtime fuses them.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from mhmodels.architecture import Activation, Architecture, Block, Bottleneck, Conv, Gate, MaxPool, Padding, Rounding, Separable
from mhmodels.blocks import BlockStep, OperationKind, block_steps, padded_side, same_pads, window_pads
from mhmodels.errors import ArchitectureError

IMAGE = "image"
LOGITS = "logits"
OUTPUT_STRIDES = (8, 16, 32)
WindowPadding: TypeAlias = Literal["same", "valid"]
NOT_NEGATIVE = ("relu", "relu6", "sigmoid", "hard_sigmoid")
"""Activations whose values zeros do not exceed, so that a maximum over a map with zeros around it is that of the map."""


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
        padding: TensorFlow's, of a convolution or a pooling by windows: `valid` behind a `pad`, and in users' Keras models.
        pads: Rows above and below and columns left and right that a `pad` adds; none elsewhere.
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
    padding: WindowPadding = "same"
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def window(self) -> int:
        """Rows that the kernel covers, the gaps of a dilated one included."""
        return (self.kernel - 1) * self.dilation + 1

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
        self.rounding, self.width, self.padding = architecture.rounding, architecture.width_multiplier, architecture.padding
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
        if isinstance(block, MaxPool) and self.padding != "same" and block.stride > 1:
            self._check_not_negative(name)
        place = (self.rounding, self.width, self.size, dilation, self.padding)
        self.ops += _place(name, self.at, block, self.channels, *place)
        last = self.ops[-1]
        self.at, self.channels, self.size = last.name, last.channels, last.size
        if block.endpoint:
            self.endpoints.append(Endpoint(last.name, self.stride, last.channels, self.level, last.keras_layer))
            self.level += self.stride != self.output_stride

    def _check_not_negative(self, name: str) -> None:
        """Refuses zeros around a map for a maximum that they would change."""
        before = self.ops[-1].activation if self.ops else "no activation"
        if before not in NOT_NEGATIVE:
            raise ArchitectureError(
                f"{name}: max pooling with a stride stands behind '{before}', expected one of {', '.join(NOT_NEGATIVE)} where "
                f"field 'padding' is '{self.padding}': zeros around negative values would be their maximum"
            )

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


def _strided(size: tuple[int | None, int | None], step: BlockStep, padding: Padding) -> tuple[int | None, int | None]:
    height, width = (None if side is None else padded_side(side, step, padding) for side in size)
    if min(height or 1, width or 1) < 1:
        raise ArchitectureError(
            f"a map of {size} is too small for a {step.kernel}x{step.kernel} window with stride {step.stride}"
        )
    return height, width


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
    padding: Padding,
) -> tuple[Op, ...]:
    """A block's operations at a place in a network: under a name, behind `enter`, for an input of that size."""
    try:
        steps = block_steps(block, channels, rounding, width)
        return tuple(_operations(name, enter, block, steps, size, dilation, padding))
    except ArchitectureError as error:
        raise ArchitectureError(f"{name}: {error}") from None


def _operations(
    name: str,
    enter: str,
    block: Block,
    steps: tuple[BlockStep, ...],
    size: tuple[int | None, int | None],
    dilation: int,
    padding: Padding,
) -> Iterator[Op]:
    sizes = {"": size}
    for step in steps:
        read = sizes[step.inputs[0]]
        pads = window_pads(step, padding)
        out = (1, 1) if step.kind == "pool" else _strided(read, step, padding)
        if step.kind == "add" and any(sizes[source] != out for source in step.inputs):
            raise ArchitectureError(f"'add' reads maps of {' and '.join(str(sizes[source]) for source in step.inputs)}")
        sizes[step.suffix] = out
        inputs = tuple([f"{name}_{source}" if source else enter for source in step.inputs])
        same = pads is None or all(side is not None and pads == same_pads(side, step.kernel, step.stride) for side in read)
        if pads is not None and not same:
            pad = _pad(f"{name}_pad", inputs, step, read, pads)
            inputs = (pad.name,)
            yield pad
        dilates = step.kind == "depthwise" or (step.kind == "conv" and step.kernel > 1 and isinstance(block, Bottleneck))
        yield Op(
            f"{name}_{step.suffix}", step.kind, inputs, step.in_channels, step.channels, step.kernel, step.stride,
            dilation if dilates else 1, step.groups, step.bias, step.batch_norm, step.activation, out,
            "same" if same else "valid",
        )  # fmt: skip


def _pad(name: str, inputs: tuple[str, ...], step: BlockStep, size: tuple[int | None, int | None], pads: tuple[int, int]) -> Op:
    """The operation that puts zeros around the map that a step reads."""
    height, width = (None if side is None else side + sum(pads) for side in size)
    return Op(name, "pad", inputs, step.in_channels, step.in_channels, size=(height, width), pads=(*pads, *pads))
