"""Computes a quantised graph in floating point, which integer files are checked against.

Every tensor is rounded to what its integers can represent (Jacob et al., arXiv 1712.05877, section 3). The TensorFlow converter
gets the same function, with fake-quantisation nodes in place of the rounding.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from mhmodels.export.graph.operations import Float32Array, Graph
from mhmodels.export.quantisation.parameters import representable
from mhmodels.export.quantisation.scheme import QuantisedGraph, pre_activation, saturating_gates, separate_activation
from mhmodels.network import IMAGE, Op

Round = Callable[[tf.Tensor, str], tf.Tensor]
"""(tensor, its name) -> the tensor as its integers represent it."""

Weights = Callable[[Op], tf.Tensor]
"""Operation -> its kernel as TensorFlow lays it out, (height, width, in, out) or (height, width, channels, 1)."""

_FUSED: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {"relu": tf.nn.relu, "relu6": tf.nn.relu6}


def run_graph(
    graph: Graph, image: tf.Tensor, weights: Weights, biases: Callable[[Op], tf.Tensor], rounding: Round
) -> dict[str, tf.Tensor]:
    """Computes every tensor of a graph with TensorFlow.

    Args:
        graph: What to compute.
        image: float32 (batch, height, width, channels), normalised.
        weights: Gives each kernel.
        biases: Gives each bias, (channels,).
        rounding: Applied to the image and to every result.

    Returns:
        Tensors by operation name; with `NAME/pre` for separate activations.
    """
    tensors = {IMAGE: rounding(image, IMAGE)}
    for op in graph.ops:
        inputs = [tensors[name] for name in op.inputs]
        with _scope(op):
            if op.kind in ("conv", "depthwise"):
                x = _convolve(op, inputs[0], weights(op)) + biases(op)
                if separate_activation(op):
                    x = tensors[pre_activation(op)] = rounding(x, pre_activation(op))
                tensors[op.name] = rounding(_activate(op, x), op.name)
            else:
                tensors[op.name] = rounding(_plain(op, inputs), op.name)
    return tensors


def _scope(op: Op) -> contextlib.AbstractContextManager[object]:
    """Names the nodes of a graph after their operation, because the converter orders parallel branches by name."""
    if tf.executing_eagerly():
        return contextlib.nullcontext()
    scope: contextlib.AbstractContextManager[object] = tf.name_scope("op_" + re.sub(r"[^A-Za-z0-9_.]", "_", op.name))
    return scope


def _convolve(op: Op, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    if op.kind == "depthwise":
        return tf.nn.depthwise_conv2d(
            x, kernel, [1, op.stride, op.stride, 1], op.padding.upper(), dilations=[op.dilation, op.dilation]
        )
    return tf.nn.conv2d(x, kernel, op.stride, op.padding.upper(), dilations=op.dilation)


def _activate(op: Op, x: tf.Tensor) -> tf.Tensor:
    if op.activation == "hard_swish":
        return x * tf.nn.relu6(x + 3.0) * (1.0 / 6.0)
    if op.activation == "sigmoid":
        return tf.sigmoid(x)
    # A hard-sigmoid gate arrives rewritten (`saturating_gates`): the rounding's saturation does its clipping.
    return _FUSED.get(op.activation, tf.identity)(x)


def _plain(op: Op, inputs: list[tf.Tensor]) -> tf.Tensor:
    """Computes an operation without weights, its activation included."""
    return _activate(op, _PLAIN[op.kind](op, inputs))


_PLAIN: dict[str, Callable[[Op, list[tf.Tensor]], tf.Tensor]] = {
    "add": lambda _, x: x[0] + x[1],
    "multiply": lambda _, x: x[0] * x[1],
    "pool": lambda _, x: tf.reduce_mean(x[0], [1, 2], keepdims=True),
    "global_max_pool": lambda _, x: tf.reduce_max(x[0], [1, 2], keepdims=True),
    "max_pool": lambda op, x: tf.nn.max_pool2d(x[0], op.kernel, op.stride, op.padding.upper()),
    "average_pool": lambda op, x: tf.nn.avg_pool2d(x[0], op.kernel, op.stride, op.padding.upper()),
    "pad": lambda op, x: tf.pad(x[0], [(0, 0), op.pads[:2], op.pads[2:], (0, 0)]),
    "flatten": lambda op, x: tf.reshape(x[0], [x[0].shape[0] or -1, 1, 1, op.channels]),
    "reshape": lambda op, x: tf.reshape(x[0], [x[0].shape[0] or -1, op.channels]),
    "softmax": lambda _, x: tf.nn.softmax(x[0]),
}


def simulate(quantised: QuantisedGraph, images: Float32Array, names: tuple[str, ...]) -> dict[str, Float32Array]:
    """Runs the fake-quantised network on pictures.

    Args:
        quantised: With all parameters fixed.
        images: float32 (n, height, width, channels), normalised.
        names: Operations whose outputs to return.

    Returns:
        Float32 arrays by name, batch first.
    """

    def rounding(x: tf.Tensor, name: str) -> tf.Tensor:
        low, high = representable(quantised.tensors[name], quantised.format)
        scale = quantised.tensors[name].scale[0]
        return tf.round(tf.clip_by_value(x, low, high) / scale) * scale

    def weights(op: Op) -> tf.Tensor:
        return tf.constant(dequantised_kernel(quantised, op))

    # Eagerly: tracing a network once costs more than running it on a few dozen pictures.
    def run(batch: tf.Tensor) -> dict[str, tf.Tensor]:
        tensors = run_graph(quantised.graph, batch, weights, lambda op: dequantised_bias(quantised, op), rounding)
        return {name: tensors[name] for name in names}

    parts = [run(tf.constant(images[i : i + 16])) for i in range(0, len(images), 16)]
    return {name: tf.concat([part[name] for part in parts], 0).numpy() for name in names}


def layer_output(quantised: QuantisedGraph, op: Op, values: Mapping[str, Float32Array]) -> dict[str, Float32Array]:
    """Computes one operation from given inputs, before rounding.

    Args:
        quantised: With all parameters fixed.
        op: The operation.
        values: What its inputs hold, float32 (n, height, width, channels); with a separate activation also `NAME/pre`.

    Returns:
        The real-valued result by tensor name: `NAME`, and `NAME/pre` for a separate activation.
    """
    inputs = [tf.constant(values[name]) for name in op.inputs]
    if op.kind not in ("conv", "depthwise"):
        return {op.name: _plain(op, inputs).numpy()}
    x = _convolve(op, inputs[0], dequantised_kernel(quantised, op)) + dequantised_bias(quantised, op)
    if not separate_activation(op):
        return {op.name: _activate(op, x).numpy()}
    pre = pre_activation(op)
    return {pre: x.numpy(), op.name: _activate(op, tf.constant(values[pre])).numpy()}


def float_layer(graph: Graph, op: Op, values: Mapping[str, Float32Array]) -> Float32Array:
    """Computes one operation of a float network from given inputs.

    Args:
        graph: Folded weights.
        op: The operation.
        values: What its inputs hold, float32 (n, height, width, channels).
    """
    inputs = [tf.constant(values[name]) for name in op.inputs]
    if op.kind not in ("conv", "depthwise"):
        return np.asarray(_plain(op, inputs).numpy())
    x = _convolve(op, inputs[0], graph.kernels[op.name]) + graph.biases[op.name]
    if op.activation == "hard_sigmoid":
        return np.asarray((tf.nn.relu6(x + 3.0) * (1.0 / 6.0)).numpy())
    return np.asarray(_activate(op, x).numpy())


def dequantised_kernel(quantised: QuantisedGraph, op: Op) -> Float32Array:
    """Returns the real numbers that the integers of a kernel stand for, in the layout of Keras."""
    kernel = quantised.kernels[op.name]
    scale = kernel.quantisation.scale
    if op.kind == "depthwise" and len(scale) > 1:
        scale = scale[:, None]
    return (kernel.weights.astype("float32") - kernel.quantisation.zero_point) * scale


def dequantised_bias(quantised: QuantisedGraph, op: Op) -> Float32Array:
    """Returns the real numbers that the integers of a bias stand for, (channels,)."""
    kernel = quantised.kernels[op.name]
    scale = quantised.tensors[op.inputs[0]].scale * kernel.quantisation.scale
    return np.asarray(kernel.bias.astype("float32") * scale)


def observe(
    graph: Graph, images: Float32Array, names: tuple[str, ...], visit: Callable[[Mapping[str, Float32Array]], None]
) -> None:
    """Runs the float network on pictures in small batches and hands the named tensors to `visit`, for calibration.

    Args:
        graph: Folded weights.
        images: float32 (n, height, width, channels), normalised.
        names: Tensors to show, `NAME/pre` included.
        visit: Called once a batch.
    """
    graph = saturating_gates(graph)
    gates = {op.name for op in graph.ops if op.activation == "hard_sigmoid"}

    def run(batch: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the tensors of one batch."""
        tensors = run_graph(
            graph,
            batch,
            lambda op: graph.kernels[op.name],
            lambda op: graph.biases[op.name],
            lambda x, name: tf.clip_by_value(x, 0.0, 1.0) if name in gates else x,
        )
        return {name: tensors[name] for name in names}

    for i in range(0, len(images), 8):
        visit({name: tensor.numpy() for name, tensor in run(tf.constant(images[i : i + 8])).items()})
