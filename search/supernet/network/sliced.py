"""The super-network in TensorFlow: shared variables, of which a path slices what it needs.

A path is Python, so only what is active runs. What a branch does is one compiled function for all widths: a function for
each order of layers, kernel and stride that occurs, not for each network, so tracing ends after a few dozen. Batch
normalisation uses the batch's statistics in training and in evaluation (TuNAS: moving averages of other paths are no
statistics of this one).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from mhmodels.blocks import Step
from mhmodels.search.supernet.network.plan import NetworkPath, SharedLayer, SharedWeight, SuperNetworkPlan
from mhmodels.training.divergence import gradient_norm

Slices: TypeAlias = dict[str, tf.Tensor]

_ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "relu": tf.nn.relu,
    "relu6": tf.nn.relu6,
    "hard_swish": lambda x: x * tf.nn.relu6(x + 3.0) * (1 / 6),
    "hard_sigmoid": lambda x: tf.nn.relu6(x + 3.0) * (1 / 6),
    "sigmoid": tf.nn.sigmoid,
}

_OTHERS: dict[str, Callable[..., tf.Tensor]] = {
    "add": lambda _, x, y: tf.add(x, y),
    "multiply": lambda _, x, y: tf.multiply(x, y),
    "pool": lambda _, x: tf.reduce_mean(x, (1, 2), keepdims=True),
    "max_pool": lambda step, x: tf.nn.max_pool2d(x, step.kernel, step.stride, "SAME"),
    "average_pool": lambda step, x: tf.nn.avg_pool2d(x, step.kernel, step.stride, "SAME"),
}
DECAYED = ("kernel", "depthwise")
"""Roles that L2 applies to, as in stand-alone training."""


class SuperNetwork:
    """Shared weights and what a path makes of them.

    Attributes:
        plan: of the space.
        recompute: compute each place anew in the backward pass instead of keeping its inner activations: less memory,
            about a third more time.
        weights: by name, as the plan has them.
    """

    def __init__(self, plan: SuperNetworkPlan, *, recompute: bool = False) -> None:
        """Makes the weights, at random; see the attributes."""
        self.plan, self.recompute = plan, recompute
        self.weights: dict[str, tf.Variable] = {
            name: tf.Variable(_initialiser(weight)(weight.shape), name=name) for name, weight in plan.weights.items()
        }
        self._names = {name: i for i, name in enumerate(plan.weights)}
        self._slicers: dict[int, Any] = {}
        self._spreaders: dict[tuple[int, bool], Any] = {}

    def read(self, path: NetworkPath, replica: int = 0) -> Slices:
        """The parts of the weights that a path reads, by name; of one that several branches read, the largest.

        Args:
            path: from `SuperNetworkPlan.path`.
            replica: which local copy of the weights is read, under a distribution strategy.
        """
        largest: dict[str, tuple[int, ...]] = {}
        for place in path:
            for branch in place.branches:
                for layer in branch:
                    for name, shape in layer.reads:
                        known = largest.get(name)
                        largest[name] = shape if known is None else tuple(map(max, known, shape))
        sizes = np.zeros((len(self._names), 4), np.int32)
        for name, shape in largest.items():
            sizes[self._names[name], : len(shape)] = shape
        # One call for all: hundreds of slices, each with its own way through Python, cost more than the convolutions.
        read = self._slicer(replica)(tf.constant(sizes))
        return {name: read[self._names[name]] for name in largest}

    def __call__(self, images: tf.Tensor, path: NetworkPath, slices: Slices) -> tf.Tensor:
        """Runs one network on a batch.

        Args:
            images: float32 (n, height, width, channels), normalised.
            path: from `SuperNetworkPlan.path`.
            slices: its weights, from `read`.

        Returns:
            Logits, float32 (n, classes).
        """
        return tf.reshape(self.run(images, path, slices), (-1, self.plan.classes))

    def run(self, x: tf.Tensor, places: NetworkPath, slices: Slices) -> tf.Tensor:
        """Runs some places of a path on a map, float32 (n, height, width, channels), and gives the last one's."""
        for place in places:
            outputs = []
            for branch in place.branches:
                reads = [read for layer in branch for read in layer.reads]
                weights = [_leading(slices[name], shape) for name, shape in reads]
                outputs.append(self._run(branch, x, weights))
            x = outputs[0] if len(outputs) == 1 else tf.add_n(outputs) * (1 / len(outputs))
        return x

    def _run(self, branch: tuple[SharedLayer, ...], x: tf.Tensor, weights: Sequence[tf.Tensor]) -> tf.Tensor:
        if not branch:
            return x
        run = _compiled(_of_any_width(branch), self.plan.epsilon, x.dtype)
        return (tf.recompute_grad(run) if self.recompute else run)(x, *weights)

    def spread(self, gradients: Slices, l2: float, replica: int = 0, path: NetworkPath = ()) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Gradients of slices as gradients of whole weights, those of L2 on active kernels added.

        Args:
            gradients: by name, of what `read` gave.
            l2: the penalty is l2 / 2 times the sum of the squares of all kernels' active parts.
            replica: as of `read`.
            path: that was read; where several branches are averaged, L2 counts with a branch's share, as in TuNAS.

        Returns:
            For every weight, in order, a tensor of its shape; and the norm of all of them together, a scalar.
        """
        rows = [gradients.get(name, _nothing(len(weight.shape))) for name, weight in self.plan.weights.items()]
        decay = np.full(len(self._names), l2, np.float32)
        for name, branches in _averaged(path).items():
            decay[self._names[name]] = l2 / branches
        *dense, norm = called(self._spreader(replica, bool(l2)), [*rows, tf.constant(decay)])
        return dense, norm

    def _slicer(self, replica: int) -> Any:
        if replica not in self._slicers:
            variables = [local(variable, replica) for variable in self.weights.values()]

            def slices(sizes: tf.Tensor) -> list[tf.Tensor]:
                return [
                    tf.slice(variable, [0] * len(variable.shape), sizes[i, : len(variable.shape)])
                    for i, variable in enumerate(variables)
                ]

            signature = [tf.TensorSpec((len(variables), 4), tf.int32)]
            self._slicers[replica] = tf.function(slices, autograph=False, input_signature=signature)
        return self._slicers[replica]

    def _spreader(self, replica: int, decaying: bool) -> Any:
        if (replica, decaying) not in self._spreaders:
            variables = [local(variable, replica) for variable in self.weights.values()]
            self._spreaders[replica, decaying] = _spreader(list(self.plan.weights.values()), variables, decaying)
        return self._spreaders[replica, decaying]


def _spreader(weights: Sequence[SharedWeight], variables: Sequence[Any], decaying: bool) -> Any:
    """A function of every weight's gradient and L2 to gradients of the weights' own shapes, and their norm."""

    def decayed(gradient: tf.Tensor, l2: tf.Tensor, weight: SharedWeight, variable: Any) -> tf.Tensor:
        if decaying and weight.role in DECAYED:
            gradient += tf.cast(l2, variable.dtype) * tf.slice(variable, [0] * len(weight.shape), tf.shape(gradient))
        return gradient

    def padded(gradient: tf.Tensor, weight: SharedWeight) -> tf.Tensor:
        size = tf.shape(gradient)
        return tf.ensure_shape(tf.pad(gradient, tf.stack([tf.zeros_like(size), weight.shape - size], 1)), weight.shape)

    def dense(gradients: list[tf.Tensor], decay: tf.Tensor) -> list[tf.Tensor]:
        active = [decayed(*each) for each in zip(gradients, tf.unstack(decay), weights, variables, strict=True)]
        # Of the active parts only: the rest is 0, and far larger.
        return [*(padded(*each) for each in zip(active, weights, strict=True)), gradient_norm(active)]

    shapes = [
        tf.TensorSpec([None] * len(weight.shape), variable.dtype) for weight, variable in zip(weights, variables, strict=True)
    ]
    return tf.function(dense, autograph=False).get_concrete_function(shapes, tf.TensorSpec((len(weights),), tf.float32))


def called(function: Any, arguments: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """What a concrete function gives, flat as its arguments: Python's look at hundreds of them takes longer than the function."""
    outputs: list[tf.Tensor] = tf.raw_ops.StatefulPartitionedCall(
        args=[*arguments, *function.captured_inputs], Tout=[output.dtype for output in function.outputs], f=function
    )
    return outputs


def _averaged(path: NetworkPath) -> dict[str, int]:
    """Of the weights that places of several branches read, how many branches their place averages."""
    several = [place for place in path if len(place.branches) > 1]
    return {
        name: len(place.branches) for place in several for branch in place.branches for layer in branch for name, _ in layer.reads
    }


def local(variable: Any, replica: int) -> Any:
    """One replica's part of a distributed variable; any other as it is."""
    return variable.values[replica] if isinstance(variable, tf.distribute.DistributedValues) else variable


def _initialiser(weight: SharedWeight) -> Any:
    """As `mhmodels.builder` begins a network's own weights; fans are those of the whole shared kernel."""
    if weight.role == "kernel":
        return keras.initializers.HeNormal()
    if weight.role == "depthwise":
        return keras.initializers.TruncatedNormal(stddev=math.sqrt(2.0) / weight.shape[0])
    if weight.role == "classifier":
        return keras.initializers.RandomNormal(stddev=0.01)
    return keras.initializers.Ones() if weight.role == "gamma" else keras.initializers.Zeros()


@functools.cache
def _nothing(rank: int) -> tf.Tensor:
    """An empty tensor; not made at import, because several workers must find TensorFlow unused."""
    with tf.init_scope():
        return tf.zeros((0,) * rank)


def _leading(weight: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
    return weight if tuple(weight.shape) == shape else tf.slice(weight, [0] * len(shape), shape)


def _of_any_width(branch: tuple[SharedLayer, ...]) -> tuple[SharedLayer, ...]:
    """A branch without names of weights and numbers of channels, which `run_branch` sees on the weights; ranks stay."""
    return tuple(
        SharedLayer(
            layer.step._replace(in_channels=0, channels=0, groups=0),
            tuple(("", (0,) * len(shape)) for _, shape in layer.reads),
        )
        for layer in branch
    )


@functools.cache
def _compiled(branch: tuple[SharedLayer, ...], epsilon: float, dtype: Any) -> Any:
    """`run_branch` as a function of a map and weights of any size: op by op, Python took a quarter of a step."""
    ranks = [len(shape) for layer in branch for _, shape in layer.reads]
    signature = [tf.TensorSpec([None] * rank, dtype) for rank in (4, *ranks)]
    return tf.function(functools.partial(run_branch, branch, epsilon), autograph=False, input_signature=signature)


def compiled_functions() -> int:
    """How many of them this process has made."""
    return _compiled.cache_info().misses


def run_branch(branch: Sequence[SharedLayer], epsilon: float, x: tf.Tensor, *weights: tf.Tensor) -> tf.Tensor:
    """What a branch's layers make of its input; without layers, the input."""
    values, at = {"": x}, 0
    for layer in branch:
        step, count = layer.step, len(layer.reads)
        inputs = [values[source] for source in step.inputs]
        x = _convolution(step, inputs[0], weights[at : at + count], epsilon) if count else _OTHERS[step.kind](step, *inputs)
        values[step.suffix] = x = x if step.activation == "linear" else _ACTIVATIONS[step.activation](x)
        at += count
    return x


def _convolution(step: Step, x: tf.Tensor, weights: Sequence[tf.Tensor], epsilon: float) -> tf.Tensor:
    kernel, *others = weights
    strides = [1, step.stride, step.stride, 1]
    if step.kind == "conv":
        x = tf.raw_ops.Conv2D(input=x, filter=kernel, strides=strides, padding="SAME")
    else:
        x = tf.raw_ops.DepthwiseConv2dNative(input=x, filter=kernel, strides=strides, padding="SAME")
    if step.bias:
        x = tf.raw_ops.BiasAdd(value=x, bias=others.pop(0))
    if step.batch_norm:
        gamma, beta = others
        x = _batch_norm(x, gamma, beta, epsilon)
    return x


def _batch_norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float) -> tf.Tensor:
    """By the statistics of this batch."""
    none = _nothing(1)
    return tf.raw_ops.FusedBatchNormV3(
        x=x, scale=gamma, offset=beta, mean=none, variance=none, epsilon=epsilon, is_training=True
    ).y
