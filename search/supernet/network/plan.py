"""The shared weights of a super-network, and the path of a network through it, derived from a space's template. No TensorFlow.

Sharing follows TuNAS (arXiv 2008.06120, section 4): a network reads the leading channels of the widest weights. All choices of
a block type at a position share one pointwise convolution; kernels larger than 1x1 are one for each kernel size.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from mhmodels.architecture import Block, Padding
from mhmodels.block_types import with_filters
from mhmodels.blocks import BlockStep, block_steps
from mhmodels.network import LOGITS
from mhmodels.search.errors import SpaceError
from mhmodels.search.space.decisions import SKIP, OneOf
from mhmodels.search.space.search_space import SearchSpace
from mhmodels.search.space.template import ArchitectureSpace, ChoiceT

Shape: TypeAlias = tuple[int, ...]
SharedRole: TypeAlias = Literal["kernel", "depthwise", "classifier", "gamma", "beta", "bias"]

_POOL = "pool"


class SharedWeight(NamedTuple):
    """A shared variable.

    Attributes:
        role: Role, which decides the initial values and whether L2 applies.
        shape: Largest shape that any network reads.
    """

    role: SharedRole
    shape: Shape


class SharedLayer(NamedTuple):
    """A step of a network and the shared weights that it reads.

    Attributes:
        step: Operation with its channels.
        reads: Name of each weight, and the shape of its leading part that is read.
        padding: Padding of the network, which decides the zeros before a stride.
    """

    step: BlockStep
    reads: tuple[tuple[str, Shape], ...]
    padding: Padding = "same"


class PathPosition(NamedTuple):
    """The layers at one position of a network: the mean of several branches, which all read the input of the position.

    There is one branch, except while operations are warmed up.

    Attributes:
        name: Name of the position: that of its decision, `pool`, or the classifier's.
        branches: Layers of each branch; a branch without layers passes its input on.
    """

    name: str
    branches: tuple[tuple[SharedLayer, ...], ...]


NetworkPath: TypeAlias = tuple[PathPosition, ...]
"""A network as the positions of the super-network that it uses, in order."""


class SuperNetworkPlan:
    """The weights of a super-network, and the path of every network through it.

    Args:
        space: Space whose networks share weights; choices that a restriction removed get no weights.
        width_multiplier: Width of the networks in training, above 0; latencies are those of the full width.
        classes: Number of classes of the classifier.
        input_channels: Number of channels of the pictures.

    Attributes:
        weights: Shared weights by name.
        epsilon: ε of batch normalisation.

    Raises:
        SpaceError: The space is tabular, or it has grouped convolutions, whose leading channels differ from group to group.
    """

    def __init__(self, space: SearchSpace, width_multiplier: float = 1.0, classes: int = 1000, input_channels: int = 3) -> None:
        if not isinstance(space, ArchitectureSpace):
            raise SpaceError(f"space '{space.name}' is tabular: its networks cannot be built, expected a space of architectures")
        self.space = space
        self.width_multiplier, self.classes, self.input_channels = width_multiplier, classes, input_channels
        self.epsilon = 1e-3
        self._columns = {decision.name: column for column, decision in enumerate(space.decisions)}
        self.weights: dict[str, SharedWeight] = {}
        self._enumerate()

    @property
    def parameters(self) -> int:
        """Number of values in all shared weights."""
        return sum(int(np.prod(weight.shape)) for weight in self.weights.values())

    def path(self, encoding: ArrayLike, mixed: Collection[int] = ()) -> NetworkPath:
        """The path of a network through the super-network.

        Args:
            encoding: Network, (decisions,).
            mixed: Columns of operations of which every allowed choice runs; their mean goes on (warm-up of TuNAS).

        Raises:
            SpaceError: The encoding is no member of the space.
        """
        row = self.space.check(encoding)[0].tolist()
        positions: list[PathPosition] = []
        channels, pooled = self.input_channels, False
        for group in self.space.template.groups:
            if group.part == "hidden" and not pooled:
                positions.append(_pool(channels))
                pooled = True
            width = self._chosen(row, group.width)
            for slot in group.slots:
                several = self._columns.get(slot.name, -1) in mixed
                choices = self.options(slot) if several else (self._chosen(row, slot),)
                branches = tuple(self._branch(slot.name, choice, width, channels) for choice in choices)
                if any(branches):
                    positions.append(PathPosition(slot.name, branches))
                    channels = next(branch[-1].step.channels for branch in branches if branch)
        positions += [] if pooled else [_pool(channels)]
        return (*positions, PathPosition(LOGITS, (_classifier(channels, self.classes),)))

    def options(self, hole: OneOf[ChoiceT]) -> tuple[ChoiceT, ...]:
        """The choices of a decision that the space allows."""
        column = self._columns.get(hole.name)
        return hole.choices if column is None else tuple(hole.choices[i] for i in self.space.allowed[column])

    def everywhere(self) -> Iterator[tuple[str, int, tuple[SharedLayer, ...]]]:
        """Enumerates all branches at all positions of the template.

        Yields:
            Name of the position, number of channels of the map that it reads, and the layers of a branch, in the order of the
            positions. A position comes once for every width of its group, every block and every width of its input; a skipped
            block is the empty branch.
        """
        entering, pooled = {self.input_channels}, False
        for group in self.space.template.groups:
            if group.part == "hidden" and not pooled:
                yield from _pools(entering)
                pooled = True
            leaving: set[int] = set()
            for width in self.options(group.width):
                reads = entering
                for slot in group.slots:
                    found = [
                        (channels, self._branch(slot.name, choice, width, channels))
                        for channels in reads
                        for choice in self.options(slot)
                    ]
                    yield from ((slot.name, *each) for each in found)
                    reads = {branch[-1].step.channels if branch else channels for channels, branch in found}
                leaving |= reads
            entering = leaving
        if not pooled:
            yield from _pools(entering)
        yield from ((LOGITS, channels, _classifier(channels, self.classes)) for channels in entering)

    def _chosen(self, row: list[int], hole: OneOf[ChoiceT]) -> ChoiceT:
        column = self._columns.get(hole.name)
        return hole.choices[0 if column is None else row[column]]

    def _branch(self, name: str, choice: Block | None, width: int, channels: int) -> tuple[SharedLayer, ...]:
        if choice is SKIP:
            return ()
        return _layers(name, with_filters(choice, width), channels, self.space, self.width_multiplier)

    def _enumerate(self) -> None:
        """Gives every weight the largest shape that any network reads."""
        for _, _, branch in self.everywhere():
            self._grow(branch)

    def _grow(self, layers: Iterable[SharedLayer]) -> None:
        for layer in layers:
            for name, shape in layer.reads:
                known = self.weights.get(name)
                largest = shape if known is None else tuple(map(max, known.shape, shape))
                self.weights[name] = SharedWeight(_role(name, layer.step), largest)


@functools.lru_cache(maxsize=1 << 16)
def _layers(name: str, block: Block, channels: int, space: ArchitectureSpace, width_multiplier: float) -> tuple[SharedLayer, ...]:
    steps = block_steps(block, channels, space.template.rounding, width_multiplier)
    prefix = f"{name}/{block.__struct_config__.tag}"
    for step in steps:
        if step.kind == "conv" and step.groups > 1:
            raise SpaceError(
                f"space '{space.name}': '{name}' has a convolution of {step.groups} groups; a super-network shares leading "
                "channels, which are other ones in every group"
            )
    return tuple(SharedLayer(step, _reads(prefix, step), space.template.padding) for step in steps)


def _reads(prefix: str, step: BlockStep) -> tuple[tuple[str, Shape], ...]:
    if step.kind not in ("conv", "depthwise"):
        return ()
    k = step.kernel
    size = f"_{k}x{k}" if k > 1 else ""
    shape = (k, k, step.in_channels, step.channels if step.kind == "conv" else 1)
    per_channel = [*(["bias"] if step.bias else []), *(["gamma", "beta"] if step.batch_norm else [])]
    names = [(f"{prefix}/{step.suffix}{size}/{role}", (step.channels,)) for role in per_channel]
    return ((f"{prefix}/{step.suffix}{size}/kernel", shape), *names)


def _role(name: str, step: BlockStep) -> SharedRole:
    role = name.rpartition("/")[2]
    if role != "kernel":
        return role  # type: ignore[return-value]
    return "classifier" if step.suffix == LOGITS else "depthwise" if step.kind == "depthwise" else "kernel"


def _pool(channels: int) -> PathPosition:
    return PathPosition(_POOL, ((SharedLayer(BlockStep(_POOL, "pool", ("",), channels, channels), ()),),))


def _pools(channels: Iterable[int]) -> Iterator[tuple[str, int, tuple[SharedLayer, ...]]]:
    return ((_POOL, each, _pool(each).branches[0]) for each in channels)


def _classifier(channels: int, classes: int) -> tuple[SharedLayer, ...]:
    step = BlockStep(LOGITS, "conv", ("",), channels, classes, bias=True)
    return (SharedLayer(step, _reads("head", step)),)
