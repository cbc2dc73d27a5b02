"""What a super-network holds and what a sampled network takes of it, read off a space's template; no TensorFlow here.

Sharing (TuNAS, arXiv 2008.06120, section 4): a network reads the leading channels of the widest weights; pointwise
convolutions are one for all choices of a block type at a place, kernels larger than 1x1 one for each kernel size.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from mhmodels.architecture import Block
from mhmodels.block_types import with_filters
from mhmodels.blocks import Step, block_steps
from mhmodels.network import LOGITS
from mhmodels.search.errors import SpaceError
from mhmodels.search.space.decisions import SKIP, OneOf
from mhmodels.search.space.template import ArchitectureSpace

Shape: TypeAlias = tuple[int, ...]
Role: TypeAlias = Literal["kernel", "depthwise", "classifier", "gamma", "beta", "bias"]

_POOL = "pool"


class Weight(NamedTuple):
    """One shared variable: its role says how it begins and whether L2 applies; its shape is the largest that is read."""

    role: Role
    shape: Shape


class Layer(NamedTuple):
    """A step and the shared weights that it reads, of each its name and the leading part that counts."""

    step: Step
    reads: tuple[tuple[str, Shape], ...]


class Place(NamedTuple):
    """What stands at one place: the mean of its branches, each of them layers that read the place's input.

    A branch without layers passes its input on. There is one branch but while operations are warmed up.
    """

    name: str
    branches: tuple[tuple[Layer, ...], ...]


Path: TypeAlias = tuple[Place, ...]


class Plan:
    """The weights of a super-network, and the path of every encoding through it.

    Args:
        space: whose networks share the weights; choices that a restriction removed get none.
        width_multiplier: of the networks in training; what they cost is another matter.
        classes: of the classifier.
        input_channels: of the pictures.

    Raises:
        SpaceError: the space is tabular or has grouped convolutions, whose leading channels mean nothing.
    """

    def __init__(self, space: Any, width_multiplier: float = 1.0, classes: int = 1000, input_channels: int = 3) -> None:
        if not isinstance(space, ArchitectureSpace):
            raise SpaceError(f"space '{space.name}' is tabular: its networks cannot be built, expected a space of architectures")
        self.space = space
        self.width_multiplier, self.classes, self.input_channels = width_multiplier, classes, input_channels
        self.epsilon = 1e-3
        self._columns = {decision.name: column for column, decision in enumerate(space.decisions)}
        self.weights: dict[str, Weight] = {}
        self._enumerate()

    @property
    def parameters(self) -> int:
        """Numbers in all shared weights."""
        return sum(int(np.prod(weight.shape)) for weight in self.weights.values())

    def path(self, encoding: ArrayLike, mixed: Collection[int] = ()) -> Path:
        """What a network takes of the super-network.

        Args:
            encoding: (decisions,).
            mixed: columns of operations of which every allowed choice runs, and their mean goes on (TuNAS' warm-up).

        Raises:
            SpaceError: not a member.
        """
        row = self.space.check(encoding)[0].tolist()
        places: list[Place] = []
        channels, pooled = self.input_channels, False
        for group in self.space.template.groups:
            if group.part == "hidden" and not pooled:
                places.append(_pool(channels))
                pooled = True
            width = self._chosen(row, group.width)
            for slot in group.slots:
                several = self._columns.get(slot.name, -1) in mixed
                choices = self.options(slot) if several else (self._chosen(row, slot),)
                branches = tuple(self._branch(slot.name, choice, width, channels) for choice in choices)
                if any(branches):
                    places.append(Place(slot.name, branches))
                    channels = next(branch[-1].step.channels for branch in branches if branch)
        places += [] if pooled else [_pool(channels)]
        return (*places, Place(LOGITS, (_classifier(channels, self.classes),)))

    def options(self, hole: OneOf[Any]) -> tuple[Any, ...]:
        """The choices of a hole that the space allows."""
        column = self._columns.get(hole.name)
        return hole.choices if column is None else tuple(hole.choices[i] for i in self.space.allowed[column])

    def everywhere(self) -> Iterator[tuple[str, int, tuple[Layer, ...]]]:
        """Every place of the template, in order, with the channels of a map that it reads and a branch that reads them.

        All that any network has there, so a place comes many times: again for every width of its group, every block and every
        map that reaches it. A place without a block has the empty branch.
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

    def _chosen(self, row: list[int], hole: OneOf[Any]) -> Any:
        column = self._columns.get(hole.name)
        return hole.choices[0 if column is None else row[column]]

    def _branch(self, name: str, choice: Block | None, width: int, channels: int) -> tuple[Layer, ...]:
        if choice is SKIP:
            return ()
        return _layers(name, with_filters(choice, width), channels, self.space, self.width_multiplier)

    def _enumerate(self) -> None:
        """Makes every weight as large as any network reads it."""
        for _, _, branch in self.everywhere():
            self._grow(branch)

    def _grow(self, layers: Iterable[Layer]) -> None:
        for layer in layers:
            for name, shape in layer.reads:
                known = self.weights.get(name)
                largest = shape if known is None else tuple(map(max, known.shape, shape))
                self.weights[name] = Weight(_role(name, layer.step), largest)


@functools.lru_cache(maxsize=1 << 16)
def _layers(name: str, block: Block, channels: int, space: ArchitectureSpace, width_multiplier: float) -> tuple[Layer, ...]:
    steps = block_steps(block, channels, space.template.rounding, width_multiplier)
    prefix = f"{name}/{block.__struct_config__.tag}"
    for step in steps:
        if step.kind == "conv" and step.groups > 1:
            raise SpaceError(
                f"space '{space.name}': '{name}' has a convolution of {step.groups} groups; a super-network shares leading "
                "channels, which are other ones in every group"
            )
    return tuple(Layer(step, _reads(prefix, step)) for step in steps)


def _reads(prefix: str, step: Step) -> tuple[tuple[str, Shape], ...]:
    if step.kind not in ("conv", "depthwise"):
        return ()
    k = step.kernel
    size = f"_{k}x{k}" if k > 1 else ""
    shape = (k, k, step.in_channels, step.channels if step.kind == "conv" else 1)
    per_channel = [*(["bias"] if step.bias else []), *(["gamma", "beta"] if step.batch_norm else [])]
    names = [(f"{prefix}/{step.suffix}{size}/{role}", (step.channels,)) for role in per_channel]
    return ((f"{prefix}/{step.suffix}{size}/kernel", shape), *names)


def _role(name: str, step: Step) -> Role:
    role = name.rpartition("/")[2]
    if role != "kernel":
        return role  # type: ignore[return-value]
    return "classifier" if step.suffix == LOGITS else "depthwise" if step.kind == "depthwise" else "kernel"


def _pool(channels: int) -> Place:
    return Place(_POOL, ((Layer(Step(_POOL, "pool", ("",), channels, channels), ()),),))


def _pools(channels: Iterable[int]) -> Iterator[tuple[str, int, tuple[Layer, ...]]]:
    return ((_POOL, each, _pool(each).branches[0]) for each in channels)


def _classifier(channels: int, classes: int) -> tuple[Layer, ...]:
    step = Step(LOGITS, "conv", ("",), channels, classes, bias=True)
    return (Layer(step, _reads("head", step)),)
