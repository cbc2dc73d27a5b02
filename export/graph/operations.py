"""The graph of a network that is ready to be written: its operations, and one kernel and one bias for each convolution.

Batch normalisation is folded into the convolution before it. Runtimes expect it so, and the weights must be quantised after
the folding (Jacob et al., arXiv 1712.05877, section 3.2).
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mhmodels.architecture import Architecture
from mhmodels.complexity import check_size
from mhmodels.export.errors import ExportError
from mhmodels.hardware.measurement import RANDOM_WEIGHTS
from mhmodels.network import Endpoint, Op, lower

if TYPE_CHECKING:
    import keras

Float32Array: TypeAlias = NDArray[np.float32]

Range: TypeAlias = tuple[float, float]
"""Smallest and largest value of a tensor."""

MODEL_WEIGHTS = "model"
_RANDOM_BLOCK = 1 << 20
_RANDOM_SIGMA = 20.0


class Graph(NamedTuple):
    """The operations of a network at batch 1, with folded weights.

    Attributes:
        architecture: What the operations were lowered from.
        ops: In execution order; every size is known. The last is the softmax (or the logits' reshape without one).
        kernels: float32 by operation name; convolutions (height, width, in_channels / groups, channels), depthwise ones
            (height, width, channels, 1).
        biases: float32 (channels,) by operation name, for every convolution.
        weights: Label of their origin: `random-v1`, or `model` for those of a Keras model.
        kernel_steps: For kernels that are whole multiples of a known step (`random-v1`), that step; a quantiser uses it
            as the scale instead of the largest value.
        endpoints: Operations whose outputs are feature maps, the finest first.
        heads: Operation of each output, by the output's name, in a network with several outputs; empty for one output.
    """

    architecture: Architecture
    ops: tuple[Op, ...]
    kernels: Mapping[str, Float32Array]
    biases: Mapping[str, Float32Array]
    weights: str
    kernel_steps: Mapping[str, float]
    endpoints: tuple[Endpoint, ...] = ()
    heads: Mapping[str, str] = {}

    @property
    def convolutions(self) -> tuple[Op, ...]:
        """The convolutions and depthwise convolutions, which have a kernel."""
        return tuple(op for op in self.ops if op.kind in ("conv", "depthwise"))

    def digest(self) -> str:
        """Returns the sha256 of the folded weights as 64 hex digits. It is not cached, because it costs more than folding."""
        digest = hashlib.sha256()
        for name in self.kernels:
            digest.update(np.ascontiguousarray(self.kernels[name]).data)
            digest.update(np.ascontiguousarray(self.biases[name]).data)
        return digest.hexdigest()


def kernel_shape(op: Op) -> tuple[int, int, int, int]:
    """Returns the shape of the kernel of an operation in the layout of Keras, (height, width, in, out)."""
    if op.kind == "depthwise":
        return (op.kernel, op.kernel, op.channels, 1)
    return (op.kernel, op.kernel, op.in_channels // op.groups, op.channels)


def fold(model: keras.Model, architecture: Architecture) -> Graph:
    """Takes the weights of a Keras model of `create_model` and folds batch normalisation into them.

    Args:
        model: As `create_model(architecture)` built it, with the top.
        architecture: Architecture at the model's input size and class count.

    Raises:
        ExportError: A layer is missing or of another shape, or holds NaN or infinite weights.
    """
    network = lower(architecture)
    layers = {layer.name: layer for layer in model.layers}  # Keras' get_layer searches them all each time
    return fold_layers(model.name, layers, architecture, network.ops, network.endpoints)


def fold_layers(
    name: str,
    layers: Mapping[str, keras.layers.Layer],
    architecture: Architecture,
    ops: tuple[Op, ...],
    endpoints: tuple[Endpoint, ...],
) -> Graph:
    """Folds batch normalisation into weights, from layers by the names of their operations.

    Args:
        name: Name of the model, for messages.
        layers: By operation name; `NAME_bn` is the batch normalisation of NAME. A layer is any object with `kernel` and `bias`,
            or with `gamma`, `beta`, `moving_mean`, `moving_variance` and `epsilon`, which are Keras variables or arrays.
        architecture: What the operations were lowered from.
        ops: In execution order.
        endpoints: Operations whose outputs are feature maps.

    Raises:
        ExportError: As `fold`.
    """
    kernels, biases = {}, {}
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is an error with the name of its layer
        for op in ops:
            if op.kind in ("conv", "depthwise"):
                kernels[op.name], biases[op.name] = _folded(name, layers, op)
    return Graph(architecture, ops, kernels, biases, MODEL_WEIGHTS, {}, endpoints)


def _read(variable: keras.Variable) -> Float32Array:
    """Returns the values of a Keras variable or array; they may share its memory."""
    value = getattr(variable, "value", variable)
    # TensorFlow's variables copy twice on their way to NumPy; the tensor that they hold does not copy.
    return np.asarray(value.value() if callable(getattr(value, "value", None)) else value)


def _folded(model: str, layers: Mapping[str, keras.layers.Layer], op: Op) -> tuple[Float32Array, Float32Array]:
    layer = _layer(model, layers, op.name)
    kernel = _read(layer.kernel)
    kernel = kernel[None, None] if kernel.ndim == 2 else kernel  # a dense layer is a convolution of one pixel
    if kernel.shape != kernel_shape(op):
        raise ExportError(f"layer '{op.name}': kernel is {kernel.shape}, expected {kernel_shape(op)}")
    bias = _read(layer.bias).astype(np.float64) if op.bias else np.zeros(op.channels)
    if op.batch_norm:
        norm = _layer(model, layers, f"{op.name}_bn")
        gamma, beta, mean, variance = (
            _read(v).astype(np.float64) if v is not None else absent
            for v, absent in ((norm.gamma, 1.0), (norm.beta, 0.0), (norm.moving_mean, 0.0), (norm.moving_variance, 1.0))
        )
        factor = gamma / np.sqrt(variance + norm.epsilon)
        single = factor.astype(np.float32)
        kernel = kernel * (single[:, None] if op.kind == "depthwise" else single)
        bias = (bias - mean) * factor + beta
    for what, values in (("kernel", kernel), ("bias", bias)):
        # A sum is far cheaper than looking at each value; a sum of finite ones may still overflow.
        if not math.isfinite(values.sum()) and not np.isfinite(values).all():
            raise ExportError(f"layer '{op.name}': the folded {what} has {np.sum(~np.isfinite(values))} NaN or infinite values")
    # A copy where nothing was folded: the array may be the variable's own memory.
    return (kernel if op.batch_norm else kernel.copy()), bias.astype(np.float32)


def _layer(model: str, layers: Mapping[str, keras.layers.Layer], name: str) -> keras.layers.Layer:
    if name not in layers:
        raise ExportError(f"model '{model}' has no layer '{name}': it was not built from this architecture")
    return layers[name]


def random_graph(architecture: Architecture) -> Graph:
    """Returns the graph of a network with random weights for latency measurements.

    The weights are whole multiples of a step, drawn from N(0, 20 steps), clipped to ±127 and seeded by the architecture.

    The kernels are slices of one shared block of integers, because drawing millions of numbers for each of thousands of
    networks would cost more than writing them; an operation's offset depends on the architecture's id and its name. The
    steps keep activations near unit variance, so that no runtime meets denormal or infinite numbers.
    """
    network = check_size(lower(architecture))
    ops = network.ops
    rectified = {op.name for op in ops if op.activation in ("relu", "relu6", "hard_swish")}
    rectified |= {op.name for op in ops if op.kind == "pad" and op.inputs[0] in rectified}
    kernels, steps = {}, {}
    for op in ops:
        if op.kind not in ("conv", "depthwise"):
            continue
        shape = kernel_shape(op)
        fan_in = op.kernel * op.kernel * op.in_channels // op.groups
        gain = 2.0 if op.inputs[0] in rectified else 1.0
        steps[op.name] = float(np.float32(math.sqrt(gain / fan_in) / _RANDOM_SIGMA))
        integers = _random_integers(f"{architecture.architecture_id}/{op.name}", math.prod(shape))
        kernels[op.name] = integers.reshape(shape) * np.float32(steps[op.name])
    biases = {op.name: np.zeros(op.channels, np.float32) for op in ops if op.name in kernels}
    return Graph(architecture, ops, kernels, biases, RANDOM_WEIGHTS, steps, network.endpoints)


def _random_integers(seed: str, count: int) -> Float32Array:
    block = _random_block()
    offset = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "little") % _RANDOM_BLOCK
    more = (offset + count - 1) // _RANDOM_BLOCK
    return block[offset : offset + count] if not more else np.concatenate([block[offset:], *[block] * more])[:count]


@functools.cache
def _random_block() -> Float32Array:
    drawn = np.random.default_rng(20080818).normal(0.0, _RANDOM_SIGMA, _RANDOM_BLOCK)
    return np.clip(np.rint(drawn), -127, 127).astype(np.float32)
