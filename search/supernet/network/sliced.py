"""The super-network in TensorFlow: shared variables, of which every network slices the part that it reads.

A path is a Python object, so only active layers run. A branch is one compiled function for all widths: there is a function for
each order of layers, kernel size and stride, not for each network, so that tracing ends after a few dozen functions. Batch
normalisation uses the statistics of the batch in training and in evaluation, as in TuNAS: moving averages of other paths are no
statistics of a path.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf

from mhmodels.search.supernet.network.branch import empty_tensor, run_branch
from mhmodels.search.supernet.network.plan import NetworkPath, SharedLayer, SharedWeight, SuperNetworkPlan
from mhmodels.training.divergence import gradient_norm

Slices: TypeAlias = dict[str, tf.Tensor]
ConcreteFunction: TypeAlias = tf.types.experimental.ConcreteFunction

DECAYED = ("kernel", "depthwise")
"""Roles of the weights that L2 applies to, as in the training of a single network."""


class SuperNetwork:
    """The shared weights, and the forward pass of a network through them.

    Attributes:
        plan: Weights and paths of the space.
        recompute: Whether the backward pass computes each position again instead of keeping its inner activations: less memory,
            about a third more time.
        weights: Shared variables by name, in the order of the plan.
    """

    def __init__(self, plan: SuperNetworkPlan, *, recompute: bool = False) -> None:
        """Makes the weights with random initial values; see the attributes."""
        self.plan, self.recompute = plan, recompute
        self.weights: dict[str, tf.Variable] = {
            name: tf.Variable(_initialiser(weight)(weight.shape), name=name) for name, weight in plan.weights.items()
        }
        self._names = {name: i for i, name in enumerate(plan.weights)}
        self._slicers: dict[int, Callable[[tf.Tensor], list[tf.Tensor]]] = {}
        self._spreaders: dict[tuple[int, bool], ConcreteFunction] = {}

    def read(self, path: NetworkPath, replica: int = 0) -> Slices:
        """Slices the weights that a path reads; of a weight that several branches read, the largest part.

        Args:
            path: Path from `SuperNetworkPlan.path`.
            replica: Index of the local replica whose copy of the weights is read.

        Returns:
            Slices by name of the weight.
        """
        largest: dict[str, tuple[int, ...]] = {}
        for position in path:
            for branch in position.branches:
                for layer in branch:
                    for name, shape in layer.reads:
                        known = largest.get(name)
                        largest[name] = shape if known is None else tuple(map(max, known, shape))
        sizes = np.zeros((len(self._names), 4), np.int32)
        for name, shape in largest.items():
            sizes[self._names[name], : len(shape)] = shape
        # One call for all slices: hundreds of calls from Python cost more time than the convolutions.
        read = self._slicer(replica)(tf.constant(sizes))
        return {name: read[self._names[name]] for name in largest}

    def __call__(self, images: tf.Tensor, path: NetworkPath, slices: Slices) -> tf.Tensor:
        """Runs a network on a batch.

        Args:
            images: Normalised pictures, float32 (n, height, width, channels).
            path: Path from `SuperNetworkPlan.path`.
            slices: Weights of the path, from `read`.

        Returns:
            Logits, float32 (n, classes).
        """
        return tf.reshape(self.run(images, path, slices), (-1, self.plan.classes))

    def run(self, x: tf.Tensor, positions: NetworkPath, slices: Slices) -> tf.Tensor:
        """Runs some positions of a path on a map.

        Args:
            x: Map, float32 (n, height, width, channels).
            positions: Positions to run, in order.
            slices: Their weights, from `read`.

        Returns:
            Map that the last position writes.
        """
        for position in positions:
            outputs = []
            for branch in position.branches:
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
        """Pads gradients of slices to gradients of whole weights, and adds the gradients of L2 on active kernels.

        Args:
            gradients: Gradients of the slices that `read` gave, by name.
            l2: Factor of the penalty: l2 / 2 times the sum of the squares of the active parts of all kernels.
            replica: Index of the local replica, as for `read`.
            path: Path that was read; where several branches are averaged, L2 counts with the share of a branch, as in TuNAS.

        Returns:
            A gradient for every weight, in order and of the weight's shape; and the norm of all gradients together, a scalar.
        """
        rows = [gradients.get(name, empty_tensor(len(weight.shape))) for name, weight in self.plan.weights.items()]
        decay = np.full(len(self._names), l2, np.float32)
        for name, branches in _averaged(path).items():
            decay[self._names[name]] = l2 / branches
        *dense, norm = called(self._spreader(replica, bool(l2)), [*rows, tf.constant(decay)])
        return dense, norm

    def _slicer(self, replica: int) -> Callable[[tf.Tensor], list[tf.Tensor]]:
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

    def _spreader(self, replica: int, decaying: bool) -> ConcreteFunction:
        if (replica, decaying) not in self._spreaders:
            variables = [local(variable, replica) for variable in self.weights.values()]
            self._spreaders[replica, decaying] = _spreader(list(self.plan.weights.values()), variables, decaying)
        return self._spreaders[replica, decaying]


def _spreader(weights: Sequence[SharedWeight], variables: Sequence[tf.Variable], decaying: bool) -> ConcreteFunction:
    """Compiles a function from gradients of slices and factors of L2 to gradients of whole weights and their norm."""

    def decayed(gradient: tf.Tensor, l2: tf.Tensor, weight: SharedWeight, variable: tf.Variable) -> tf.Tensor:
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


def called(function: ConcreteFunction, arguments: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Calls a concrete function with flat arguments and flat results.

    TensorFlow's ordinary call inspects hundreds of arguments in Python, which costs more than the function itself.

    Args:
        function: Concrete function.
        arguments: All its arguments, flat.
    """
    outputs: list[tf.Tensor] = tf.raw_ops.StatefulPartitionedCall(
        args=[*arguments, *function.captured_inputs], Tout=[output.dtype for output in function.outputs], f=function
    )
    return outputs


def _averaged(path: NetworkPath) -> dict[str, int]:
    """Number of branches that are averaged, by weight, for the weights of positions with several branches."""
    several = [position for position in path if len(position.branches) > 1]
    return {
        name: len(position.branches)
        for position in several
        for branch in position.branches
        for layer in branch
        for name, _ in layer.reads
    }


def local(variable: tf.Variable, replica: int) -> tf.Variable:
    """The component of a distributed variable on a local replica; any other variable as it is."""
    return variable.values[replica] if isinstance(variable, tf.distribute.DistributedValues) else variable


def _initialiser(weight: SharedWeight) -> keras.Initializer:
    """Initial values as in `mhmodels.builder`; fan-in and fan-out are those of the whole shared kernel."""
    if weight.role == "kernel":
        return keras.initializers.HeNormal()
    if weight.role == "depthwise":
        return keras.initializers.TruncatedNormal(stddev=math.sqrt(2.0) / weight.shape[0])
    if weight.role == "classifier":
        return keras.initializers.RandomNormal(stddev=0.01)
    return keras.initializers.Ones() if weight.role == "gamma" else keras.initializers.Zeros()


def _leading(weight: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
    return weight if tuple(weight.shape) == shape else tf.slice(weight, [0] * len(shape), shape)


def _of_any_width(branch: tuple[SharedLayer, ...]) -> tuple[SharedLayer, ...]:
    """A branch without names of weights and numbers of channels, which `run_branch` takes from the weights; ranks stay."""
    return tuple(
        SharedLayer(
            layer.step._replace(in_channels=0, channels=0, groups=0),
            tuple(("", (0,) * len(shape)) for _, shape in layer.reads),
            layer.padding,
        )
        for layer in branch
    )


@functools.cache
def _compiled(branch: tuple[SharedLayer, ...], epsilon: float, dtype: tf.DType) -> Callable[..., tf.Tensor]:
    """Compiles `run_branch` for a map and weights of any size; eager execution took a quarter of the time of a step."""
    ranks = [len(shape) for layer in branch for _, shape in layer.reads]
    signature = [tf.TensorSpec([None] * rank, dtype) for rank in (4, *ranks)]
    compiled: Callable[..., tf.Tensor] = tf.function(
        functools.partial(run_branch, branch, epsilon), autograph=False, input_signature=signature
    )
    return compiled


def compiled_functions() -> int:
    """Number of functions for branches that this process has compiled."""
    return _compiled.cache_info().misses
