"""The forward pass of one branch of a super-network: its operations in TensorFlow."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from mhmodels.blocks import BlockStep, window_pads
from mhmodels.search.supernet.network.plan import SharedLayer

_ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "relu": tf.nn.relu,
    "relu6": tf.nn.relu6,
    "hard_swish": lambda x: x * tf.nn.relu6(x + 3.0) * (1 / 6),
    "hard_sigmoid": lambda x: tf.nn.relu6(x + 3.0) * (1 / 6),
    "sigmoid": tf.nn.sigmoid,
}

_OTHERS: dict[str, Callable[..., tf.Tensor]] = {
    "add": lambda _, __, x, y: tf.add(x, y),
    "multiply": lambda _, __, x, y: tf.multiply(x, y),
    "pool": lambda _, __, x: tf.reduce_mean(x, (1, 2), keepdims=True),
    "max_pool": lambda step, window, x: tf.nn.max_pool2d(x, step.kernel, step.stride, window),
    "average_pool": lambda step, window, x: tf.nn.avg_pool2d(x, step.kernel, step.stride, window),
}


def run_branch(branch: Sequence[SharedLayer], epsilon: float, x: tf.Tensor, *weights: tf.Tensor) -> tf.Tensor:
    """Runs the layers of a branch; a branch without layers gives its input.

    Args:
        branch: Layers of the branch.
        epsilon: ε of batch normalisation.
        x: Map, (n, height, width, channels).
        weights: Weights of all layers, in the order in which the layers read them.
    """
    values, at = {"": x}, 0
    for layer in branch:
        step, count = layer.step, len(layer.reads)
        inputs = [values[source] for source in step.inputs]
        pads = window_pads(step, layer.padding)
        if pads is not None:
            inputs = [tf.pad(inputs[0], [(0, 0), pads, pads, (0, 0)])]
        window = "SAME" if pads is None else "VALID"
        if count:
            x = _convolution(step, inputs[0], window, weights[at : at + count], epsilon)
        else:
            x = _OTHERS[step.kind](step, window, *inputs)
        values[step.suffix] = x = x if step.activation == "linear" else _ACTIVATIONS[step.activation](x)
        at += count
    return x


def _convolution(step: BlockStep, x: tf.Tensor, window: str, weights: Sequence[tf.Tensor], epsilon: float) -> tf.Tensor:
    kernel, *others = weights
    strides = [1, step.stride, step.stride, 1]
    if step.kind == "conv":
        x = tf.raw_ops.Conv2D(input=x, filter=kernel, strides=strides, padding=window)
    else:
        x = tf.raw_ops.DepthwiseConv2dNative(input=x, filter=kernel, strides=strides, padding=window)
    if step.bias:
        x = tf.raw_ops.BiasAdd(value=x, bias=others.pop(0))
    if step.batch_norm:
        gamma, beta = others
        x = _batch_norm(x, gamma, beta, epsilon)
    return x


def _batch_norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float) -> tf.Tensor:
    """Batch normalisation by the statistics of this batch."""
    none = empty_tensor(1)
    return tf.raw_ops.FusedBatchNormV3(
        x=x, scale=gamma, offset=beta, mean=none, variance=none, epsilon=epsilon, is_training=True
    ).y


@functools.cache
def empty_tensor(rank: int) -> tf.Tensor:
    """An empty tensor; not made at import, because the workers of a strategy must find TensorFlow unused."""
    with tf.init_scope():
        return tf.zeros((0,) * rank)
