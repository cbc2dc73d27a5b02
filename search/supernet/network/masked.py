"""The super-network with static shapes, for XLA and so for TPUs: compiled once for all networks of a space.

In `mhmodels.search.supernet.network.sliced` every network has shapes of its own, because it slices the weights that it reads.
Here all shapes are the largest that any network has, and a few integers (`MaskedChoice`) say which network runs. Weights beyond
the part that a network reads are 0. Maps are then 0 beyond it as well, and batch statistics, which are per channel, do not
change. A position computes one of its variants, which are branches that differ in their channels only. The other variants cost
compilation, not time. Every network costs as much time as the widest one.

The backward pass keeps only the input of a position and computes the position again. A switch that kept inner maps would reserve
memory for the maps of all variants, and a loop over averaged branches for those of all branches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mhmodels.blocks import Step
from mhmodels.search.supernet.network.plan import NetworkPath, Shape, SharedLayer, SuperNetworkPlan
from mhmodels.search.supernet.network.sliced import DECAYED, run_branch

Branch: TypeAlias = tuple[SharedLayer, ...]
Structure: TypeAlias = tuple[tuple[Step | str, ...], ...]
"""Everything of a branch except its channels: a step and the names of its weights, for each layer."""
Values: TypeAlias = NDArray[np.generic] | tf.Tensor


class MaskedChoice(NamedTuple):
    """A network as numbers: arrays on the host, tensors on a device.

    Sizes are rows and columns, the last two axes of a kernel; a vector has one row.

    Attributes:
        variants: int32 (positions, branches), index of the variant of every branch.
        counts: int32 (positions,), number of branches whose mean goes on.
        sizes: int32 (positions, branches, weights of the position, 2), leading part of each weight that a branch reads.
        read: int32 (weights, 2), largest part of each weight that is read.
        shares: float32 (weights,), factor of L2 for each weight: 1, or the share of a branch in a mean.
    """

    variants: Values
    counts: Values
    sizes: Values
    read: Values
    shares: Values


class MaskedVariant(NamedTuple):
    """Branches that differ in channels only.

    Attributes:
        layers: Layers with the largest number of channels of any branch; empty for a skipped block.
        entering: Number of channels that the variant reads.
    """

    layers: Branch
    entering: int


class MaskedPosition(NamedTuple):
    """A position of the template with all variants that any network has there.

    Attributes:
        name: Name of the position.
        variants: Variants by structure.
        leaving: Largest number of channels that any network writes there; the output of every variant is padded to it.
        weights: Names of the weights that the variants read.
        branches: Largest number of branches whose mean may be taken.
    """

    name: str
    variants: Mapping[Structure, MaskedVariant]
    leaving: int
    weights: tuple[str, ...]
    branches: int


class _Branches(NamedTuple):
    """The part of a choice that belongs to a position; if `taken` is None, the position has one branch."""

    variants: tf.Tensor
    sizes: tf.Tensor
    taken: tf.Tensor | None


class MaskedNetwork:
    """The forward pass of `SuperNetwork` with shapes that do not depend on the network. It holds no weights.

    Attributes:
        plan: Weights and paths of the space.
        sites: Positions of the template, in order.
    """

    def __init__(self, plan: SuperNetworkPlan) -> None:
        """Finds the variants of every position of a plan's template."""
        self.plan = plan
        self.sites = _sites(plan)
        self._most = max(site.branches for site in self.sites)
        self._rows = {name: row for row, name in enumerate(plan.weights)}
        self._widest = max(len(site.weights) for site in self.sites)

    def choice(self, path: NetworkPath, *, several: bool) -> MaskedChoice:
        """A network as arrays.

        Args:
            path: Path from `SuperNetworkPlan.path`.
            several: Whether the arrays have room for positions that average several branches. Functions are compiled once for
                either form.
        """
        branches, positions = self._most if several else 1, {position.name: position for position in path}
        variants = np.zeros((len(self.sites), branches), np.int32)
        counts = np.ones(len(self.sites), np.int32)
        sizes = np.zeros((*variants.shape, self._widest, 2), np.int32)
        read, shares = np.zeros((len(self._rows), 2), np.int32), np.ones(len(self._rows), np.float32)
        for at, site in enumerate(self.sites):
            position = positions.get(site.name)
            here: tuple[Branch, ...] = ((),) if position is None else position.branches
            counts[at] = len(here)
            for number, branch in enumerate(here):
                variants[at, number] = list(site.variants).index(_structure(branch))
                for name, shape in _reads(branch):
                    row, size = self._rows[name], _size(shape)
                    sizes[at, number, site.weights.index(name)] = size
                    read[row], shares[row] = np.maximum(read[row], size), 1 / len(here)
        return MaskedChoice(variants, counts, sizes, read, shares)

    def __call__(self, images: tf.Tensor, weights: Sequence[tf.Tensor], choice: MaskedChoice) -> tf.Tensor:
        """Runs the network of a choice on a batch.

        Args:
            images: Normalised pictures, float32 (n, height, width, channels), with a static shape.
            weights: All weights of the plan, whole and in its order.
            choice: Network as tensors.

        Returns:
            Logits, float32 (n, classes).
        """
        known, x = dict(zip(self.plan.weights, weights, strict=True)), images
        for at, site in enumerate(self.sites):
            several = choice.variants.shape[1] > 1 and site.branches > 1
            own = _Branches(choice.variants[at], choice.sizes[at], choice.counts[at] if several else None)
            x = _at(site, self.plan.epsilon, x, [known[name] for name in site.weights], own)
        return tf.reshape(x, (-1, self.plan.classes))

    def decayed(
        self, gradients: Sequence[tf.Tensor], weights: Sequence[tf.Tensor], choice: MaskedChoice, l2: float
    ) -> list[tf.Tensor]:
        """Adds the gradients of L2 on the parts of the weights that are read.

        Args:
            gradients: Gradients of all weights.
            weights: All weights of the plan.
            choice: Network as tensors.
            l2: Factor of the penalty, l2 / 2 times the sum of the squares; 0 for none.
        """
        result = list(gradients)
        for i, (weight, kind) in enumerate(zip(weights, self.plan.weights.values(), strict=True)):
            if l2 and kind.role in DECAYED:
                factor = tf.cast(l2 * choice.shares[i], weight.dtype)
                result[i] += factor * _masked(weight, kind.shape, choice.read[i])
        return result


def _sites(plan: SuperNetworkPlan) -> tuple[MaskedPosition, ...]:
    found: dict[str, list[tuple[int, Branch]]] = {}
    for name, channels, branch in plan.everywhere():
        found.setdefault(name, []).append((channels, branch))
    choices = {slot.name: len(plan.options(slot)) for group in plan.space.template.groups for slot in group.slots}
    return tuple(_site(name, here, choices.get(name, 1)) for name, here in found.items())


def _site(name: str, found: Sequence[tuple[int, Branch]], branches: int) -> MaskedPosition:
    leaving = max(branch[-1].step.channels if branch else channels for channels, branch in found)
    alike: dict[Structure, list[Branch]] = {}
    for _, branch in found:
        alike.setdefault(_structure(branch), []).append(branch)
    variants = {structure: _variant(each, leaving) for structure, each in alike.items()}
    weights = dict.fromkeys(weight for variant in variants.values() for weight, _ in _reads(variant.layers))
    return MaskedPosition(name, variants, leaving, tuple(weights), branches)


def _structure(branch: Branch) -> Structure:
    """Everything of a branch except its channels."""
    return tuple(
        (layer.step._replace(in_channels=0, channels=0, groups=0), *(name for name, _ in layer.reads)) for layer in branch
    )


def _variant(branches: Sequence[Branch], leaving: int) -> MaskedVariant:
    layers = tuple(_largest(each) for each in zip(*branches, strict=True))
    entering = [layer.step.in_channels for layer in layers if "" in layer.step.inputs]
    return MaskedVariant(layers, max(entering, default=leaving))


def _largest(layers: Sequence[SharedLayer]) -> SharedLayer:
    step = layers[0].step._replace(
        in_channels=max(layer.step.in_channels for layer in layers), channels=max(layer.step.channels for layer in layers)
    )
    shapes = np.array([[_padded(shape) for _, shape in layer.reads] for layer in layers]).max(axis=0).tolist()
    names = [(name, len(shape)) for name, shape in layers[0].reads]
    return SharedLayer(step, tuple((name, tuple(shape[:rank])) for (name, rank), shape in zip(names, shapes, strict=True)))


def _padded(shape: Shape) -> Shape:
    return (*shape, *(0,) * (4 - len(shape)))


def _reads(branch: Branch) -> Iterable[tuple[str, Shape]]:
    return (read for layer in branch for read in layer.reads)


def _size(shape: Shape) -> tuple[int, int]:
    return (1, shape[0]) if len(shape) == 1 else (shape[-2], shape[-1])


def _at(site: MaskedPosition, epsilon: float, x: tf.Tensor, weights: Sequence[tf.Tensor], own: _Branches) -> tf.Tensor:
    """Runs a position on a map: the mean of its branches."""
    shape = (x.shape[0], *_extent(site, x.shape[1:3]), site.leaving)

    def branch(number: tf.Tensor | int, apply: Callable[..., list[tf.Tensor]]) -> list[tf.Tensor]:
        """Applies `apply` to a branch, a function of map and weights."""
        sizes = tf.gather(own.sizes, number)
        runs = [functools.partial(_run, variant, site, epsilon, sizes) for variant in site.variants.values()]
        ways = [functools.partial(apply, run) for run in runs]
        taken: list[tf.Tensor] = ways[0]() if len(ways) == 1 else tf.switch_case(tf.gather(own.variants, number), ways)
        return taken

    def mean(total: tf.Tensor) -> tf.Tensor:
        return total if own.taken is None else total / tf.cast(own.taken, total.dtype)

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def position(*inputs: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], list[tf.Tensor]]]:
        """The output of the position for its input and weights, and the function that computes its gradients."""

        def gradient(upstream: tf.Tensor) -> list[tf.Tensor]:
            pull = functools.partial(_pulled, mean(upstream), inputs)
            shapes = [tuple(each.shape) for each in inputs]
            return _summed(lambda number: branch(number, pull), own.taken, shapes, upstream.dtype)

        (total,) = _summed(lambda number: branch(number, lambda run: [run(*inputs)]), own.taken, [shape], x.dtype)
        return mean(total), gradient

    return position(x, *weights)


def _summed(
    each: Callable[[tf.Tensor | int], list[tf.Tensor]], count: tf.Tensor | None, shapes: Sequence[Shape], dtype: tf.DType
) -> list[tf.Tensor]:
    """Sums the results of the first `count` branches, tensors of these shapes; without a count, the first result."""
    if count is None:
        return each(0)
    sums = [tf.zeros(shape, dtype) for shape in shapes]

    def add(number: tf.Tensor, *sums: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return number + 1, *(total + more for total, more in zip(sums, each(number), strict=True))

    return list(tf.while_loop(lambda number, *_: number < count, add, (tf.constant(0), *sums))[1:])


def _pulled(upstream: tf.Tensor, inputs: Sequence[tf.Tensor], run: Callable[..., tf.Tensor]) -> list[tf.Tensor]:
    """Gradients of a branch with respect to its map and weights; the branch is computed again."""
    own = [tf.identity(each) for each in inputs]  # a tape inside a switch does not see tensors from outside
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(own)
        y = run(*own)
    result: list[tf.Tensor] = tape.gradient(y, own, upstream, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return result


def _run(
    variant: MaskedVariant, site: MaskedPosition, epsilon: float, sizes: tf.Tensor, x: tf.Tensor, *weights: tf.Tensor
) -> tf.Tensor:
    """Runs a variant on a map, and pads its output to the channels that leave the position."""
    at = {name: number for number, name in enumerate(site.weights)}
    read = [_masked(weights[at[name]], shape, sizes[at[name]]) for name, shape in _reads(variant.layers)]
    return _fitted(run_branch(variant.layers, epsilon, _fitted(x, variant.entering), *read), site.leaving)


def _masked(weight: tf.Tensor, shape: Shape, size: tf.Tensor) -> tf.Tensor:
    """The leading part of a weight in a static shape, with 0 beyond the given rows and columns."""
    inside = tf.range(shape[-1]) < size[1]
    if len(shape) > 1:
        inside &= (tf.range(shape[-2]) < size[0])[:, None]
    leading = weight if tuple(weight.shape) == shape else tf.slice(weight, [0] * len(shape), shape)
    return tf.where(inside, leading, tf.zeros((), weight.dtype))


def _fitted(x: tf.Tensor, channels: int) -> tf.Tensor:
    """A map with a given number of channels; cut channels are 0 in every network that reaches this position."""
    known = x.shape[-1]
    if known >= channels:
        return x if known == channels else x[..., :channels]
    return tf.pad(x, [(0, 0), (0, 0), (0, 0), (0, channels - known)])


def _extent(site: MaskedPosition, extent: Iterable[int]) -> tuple[int, ...]:
    """Height and width of the map that a position writes, for those that it reads; all its variants agree."""
    variant = next(iter(site.variants.values()))
    return tuple(_side(variant.layers, side) for side in extent)


def _side(branch: Branch, side: int) -> int:
    sides = {"": side}
    for layer in branch:
        step = layer.step
        read = max(sides[source] for source in step.inputs)
        sides[step.suffix] = side = 1 if step.kind == "pool" else -(-read // step.stride)
    return side
