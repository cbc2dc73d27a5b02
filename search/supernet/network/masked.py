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
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mhmodels.blocks import padded_side
from mhmodels.search.supernet.network.branch import run_branch
from mhmodels.search.supernet.network.masked_positions import (
    Branch,
    MaskedPosition,
    MaskedVariant,
    masked_positions,
    reads_of,
    size_of,
    structure_of,
)
from mhmodels.search.supernet.network.plan import NetworkPath, Shape, SuperNetworkPlan
from mhmodels.search.supernet.network.sliced import DECAYED

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
        self.sites = masked_positions(plan)
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
                variants[at, number] = list(site.variants).index(structure_of(branch))
                for name, shape in reads_of(branch):
                    row, size = self._rows[name], size_of(shape)
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
    read = [_masked(weights[at[name]], shape, sizes[at[name]]) for name, shape in reads_of(variant.layers)]
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
        sides[step.suffix] = side = 1 if step.kind == "pool" else padded_side(read, step, layer.padding)
    return side
