"""The super-network in TensorFlow: shared variables, of which a path slices what it needs.

Eager: a path is Python, so only what is active runs and nothing is ever traced again for another network. Batch
normalisation uses the batch's statistics in training and in evaluation (TuNAS: moving averages of other paths are no
statistics of this one).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from mhmodels.blocks import Step
from search.supernet.plan import Layer, Path, Plan, Weight

_ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "linear": tf.identity,
    "relu": tf.nn.relu,
    "relu6": tf.nn.relu6,
    "hard_swish": lambda x: x * tf.nn.relu6(x + 3.0) * (1 / 6),
    "hard_sigmoid": lambda x: tf.nn.relu6(x + 3.0) * (1 / 6),
    "sigmoid": tf.nn.sigmoid,
}

_OTHERS: dict[str, Callable[..., tf.Tensor]] = {
    "add": tf.add,
    "multiply": tf.multiply,
    "pool": lambda x: tf.reduce_mean(x, (1, 2), keepdims=True),
}
DECAYED = ("kernel", "depthwise")
"""Roles that L2 applies to, as in stand-alone training."""


class SuperNetwork:
    """Shared weights and what a path makes of them.

    Args:
        plan: of a space.
        recompute: compute each place anew in the backward pass instead of keeping its inner activations: less memory,
            about a third more time.
    """

    def __init__(self, plan: Plan, *, recompute: bool = False) -> None:
        self.plan, self.recompute = plan, recompute
        self.variables: dict[str, keras.Variable] = {
            name: keras.Variable(_initialiser(weight), shape=weight.shape, name=name.replace("/", "_"))
            for name, weight in plan.weights.items()
        }

    def __call__(self, images: tf.Tensor, path: Path, replica: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs one network on a batch.

        Args:
            images: float32 (n, height, width, channels), normalised.
            path: from `Plan.path`.
            replica: which local copy of the variables is read, under a distribution strategy.

        Returns:
            Logits, float32 (n, classes), and half the sum of squares of the kernels that were read, a scalar.
        """
        x, kernels = self.run(images, path, replica)
        squares = tf.add_n([tf.nn.l2_loss(kernel) for kernel in kernels.values()])
        return tf.reshape(x, (-1, self.plan.classes)), squares

    def run(self, x: tf.Tensor, places: Path, replica: int = 0) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Runs some places of a path on a map.

        Args:
            x: float32 (n, height, width, channels).
            places: in order.
            replica: as of `__call__`.

        Returns:
            The last place's map, and by name the kernels that L2 applies to; of one that several branches read, the
            largest part.
        """
        kernels: dict[str, tf.Tensor] = {}
        for place in places:
            outputs = []
            for branch in place.branches:
                reads = [read for layer in branch for read in layer.reads]
                weights = [self._read(name, shape, replica) for name, shape in reads]
                for (name, shape), weight in zip(reads, weights, strict=True):
                    if self.plan.weights[name].role in DECAYED and (name not in kernels or shape > tuple(kernels[name].shape)):
                        kernels[name] = weight
                run = functools.partial(_branch, branch, self.plan.epsilon)
                outputs.append((tf.recompute_grad(run) if self.recompute and branch else run)(x, *weights))
            x = outputs[0] if len(outputs) == 1 else tf.add_n(outputs) * (1 / len(outputs))
        return x, kernels

    def local(self, replica: int = 0) -> list[Any]:
        """The variables as a local replica has them, in order: what gradients are taken of."""
        return [_local(variable, replica) for variable in self.variables.values()]

    def _read(self, name: str, shape: tuple[int, ...], replica: int) -> tf.Tensor:
        variable = _local(self.variables[name], replica)
        if tuple(variable.shape) == shape:
            return tf.convert_to_tensor(variable)
        return variable[tuple(slice(size) for size in shape)]


def _initialiser(weight: Weight) -> Any:
    """As `mhmodels.builder` begins a network's own weights; fans are those of the whole shared kernel."""
    if weight.role == "kernel":
        return keras.initializers.HeNormal()
    if weight.role == "depthwise":
        return keras.initializers.TruncatedNormal(stddev=math.sqrt(2.0) / weight.shape[0])
    if weight.role == "classifier":
        return keras.initializers.RandomNormal(stddev=0.01)
    return "ones" if weight.role == "gamma" else "zeros"


def _local(variable: keras.Variable, replica: int) -> Any:
    """One replica's part of a distributed variable; any other as it is."""
    value = variable.value
    return value.values[replica] if isinstance(value, tf.distribute.DistributedValues) else value


def _branch(branch: Sequence[Layer], epsilon: float, x: tf.Tensor, *weights: tf.Tensor) -> tf.Tensor:
    """What a branch's layers make of its input; without layers, the input."""
    values, at = {"": x}, 0
    for layer in branch:
        step, count = layer.step, len(layer.reads)
        inputs = [values[source] for source in step.inputs]
        values[step.suffix] = x = (
            _convolution(step, inputs[0], weights[at : at + count], epsilon) if count else _OTHERS[step.kind](*inputs)
        )
        at += count
    return x


def _convolution(step: Step, x: tf.Tensor, weights: Sequence[tf.Tensor], epsilon: float) -> tf.Tensor:
    kernel, *others = weights
    strides = (1, step.stride, step.stride, 1)
    operation = tf.nn.conv2d if step.kind == "conv" else tf.nn.depthwise_conv2d
    x = operation(x, kernel, strides, "SAME")
    if step.bias:
        x = tf.nn.bias_add(x, others.pop(0))
    if step.batch_norm:
        x = _batch_norm(x, *others, epsilon)
    return _ACTIVATIONS[step.activation](x)


def _batch_norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float) -> tf.Tensor:
    """By the statistics of this batch; fused, because in eager execution every operation writes its output to memory."""
    return tf.raw_ops.FusedBatchNormV3(x=x, scale=gamma, offset=beta, mean=[], variance=[], epsilon=epsilon, is_training=True).y
