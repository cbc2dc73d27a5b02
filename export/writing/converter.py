"""Converts networks with TensorFlow's converter, which is the reference for the direct writer."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Float32Array
from mhmodels.export.graph.outputs import DEFAULT_OPTIONS, graph_outputs
from mhmodels.export.quantisation.fake_quant import dequantised_bias, dequantised_kernel, run_graph
from mhmodels.export.quantisation.parameters import representable
from mhmodels.export.quantisation.scheme import QuantisedGraph
from mhmodels.export.reading.keras_model.reader import output_names
from mhmodels.export.writing.writer import InterfaceType
from mhmodels.network import IMAGE, Op
from mhmodels.system.quiet import quiet_native

OUTPUT = "scores"


def convert_float(model: keras.Model, *, float16: bool = False, size: tuple[int, int] | None = None) -> bytes:
    """Converts a Keras model at batch 1.

    Args:
        model: With one picture as its input.
        float16: Store weights in 16 bits.
        size: (height, width) for a model that takes any.

    Returns:
        A TFLite file with built-in operators only.

    Raises:
        ExportError: The converter refuses the model.
    """
    _, height, width, channels = model.input_shape
    signature = [tf.TensorSpec((1, *(size or (height, width)), channels), tf.float32, IMAGE)]
    names = output_names(model) if len(model.outputs) > 1 else (OUTPUT,)

    def run(image: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = keras.tree.flatten(model(image, training=False))
        return _in_order(dict(zip(names, outputs, strict=True)))

    function = tf.function(run, input_signature=signature, autograph=False)
    with quiet_native():
        # Frozen first: by way of a SavedModel, as `from_keras_model` goes, the same conversion takes five times as long.
        frozen = convert_variables_to_constants_v2(function.get_concrete_function())
        converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
        if float16:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.target_spec.supported_types = [tf.float16]
        return _convert(converter)


def convert_quantised(quantised: QuantisedGraph, *, io: InterfaceType = "uint8") -> bytes:
    """Converts a graph with fake-quantisation nodes that carry exactly the given parameters.

    Args:
        quantised: `int8` or `uint8` throughout.
        io: Type of the input and output tensors; `uint8` files only take `uint8` here.

    Raises:
        ExportError: The converter refuses the graph.
    """
    if quantised.format == "uint8":
        if io != "uint8":
            raise ExportError(f"the TensorFlow engine writes uint8 files with uint8 input and output, not '{io}'")
        return _convert_uint8(quantised)
    return _convert_int8(quantised, io)


def _convert_int8(quantised: QuantisedGraph, io: InterfaceType) -> bytes:
    function = tf.function(
        lambda image: _in_order(_fake_quantised(quantised, image)),
        input_signature=[tf.TensorSpec(_input_shape(quantised), tf.float32, IMAGE)],
        autograph=False,
    )
    with quiet_native():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(io)
        return _convert(converter)


def _convert_uint8(quantised: QuantisedGraph) -> bytes:
    graph = tf.Graph()
    with quiet_native(), graph.as_default():
        image = tf.compat.v1.placeholder(tf.float32, _input_shape(quantised), IMAGE)
        outputs = [tf.identity(output, name) for name, output in _fake_quantised(quantised, image).items()]
        with tf.compat.v1.Session(graph=graph) as session:
            converter = tf.compat.v1.lite.TFLiteConverter.from_session(session, [image], outputs)
            converter.inference_type = tf.uint8
            entry = quantised.tensors[IMAGE]
            # The converter's (mean, std) are the integer that stands for zero, and integers per unit.
            converter.quantized_input_stats = {IMAGE: (entry.zero_point, 1.0 / float(entry.scale[0]))}
            return _convert(converter)


def _in_order(outputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Returns outputs under keys that sort in their order, because TensorFlow orders the outputs of a function by key."""
    if len(outputs) == 1:
        return dict(outputs)
    return {f"output_{i:04d}": tf.identity(output, name) for i, (name, output) in enumerate(outputs.items())}


def _input_shape(quantised: QuantisedGraph) -> tuple[int, int, int, int]:
    architecture = quantised.graph.architecture
    return (1, *architecture.input_size, architecture.input_channels)


def _fake_quantised(quantised: QuantisedGraph, image: tf.Tensor) -> dict[str, tf.Tensor]:
    """Computes the outputs with fake-quantisation nodes, by their names."""

    def rounding(x: tf.Tensor, name: str) -> tf.Tensor:
        op = ops.get(name)
        if op is not None and op.kind == "reshape":
            return x
        low, high = representable(quantised.tensors[name], quantised.format)
        return tf.quantization.fake_quant_with_min_max_args(x, low, high)

    ops = {op.name: op for op in quantised.graph.ops}
    tensors = run_graph(
        quantised.graph,
        image,
        lambda op: _fake_quantised_kernel(quantised, op),
        lambda op: tf.constant(_varied(dequantised_bias(quantised, op))),
        rounding,
    )
    return {name: tensors[op] for name, op in graph_outputs(quantised.graph, DEFAULT_OPTIONS).items()}


def _fake_quantised_kernel(quantised: QuantisedGraph, op: Op) -> tf.Tensor:
    # The numbers that the integers stand for, not the raw weights: the converter rounds with a scale of its own in double
    # precision, where a number halfway between two integers (about one in 100,000) falls to the other one.
    weights = dequantised_kernel(quantised, op)
    kernel = quantised.kernels[op.name].quantisation
    # 1..255 and -127..127: TensorFlow's narrow range in both schemes.
    lowest = 1 if quantised.format == "uint8" else -127
    low, high = ((lowest + step - kernel.zero_point) * kernel.scale for step in (0, 254))
    if len(kernel.scale) == 1:
        return tf.quantization.fake_quant_with_min_max_args(weights, float(low[0]), float(high[0]), narrow_range=True)
    if op.kind != "depthwise":
        return tf.quantization.fake_quant_with_min_max_vars_per_channel(weights, low, high, narrow_range=True)
    # The quantised axis must be TFLite's (1, k, k, channels) last one, or the file comes out invalid.
    flat = tf.constant(weights.reshape(1, op.kernel, op.kernel, op.channels))
    flat = tf.quantization.fake_quant_with_min_max_vars_per_channel(flat, low, high, narrow_range=True)
    return tf.reshape(flat, weights.shape)


def _varied(bias: Float32Array) -> Float32Array:
    """Varies a bias of equal values by one ulp: the converter (2.19) would use the scale of the first channel for all."""
    if len(bias) < 2 or not bias[0] or (bias != bias[0]).any():
        return bias
    varied = bias.copy()
    varied[0] = np.nextafter(bias[0], np.float32(np.inf))
    return varied


def _convert(converter: tf.lite.TFLiteConverter) -> bytes:
    try:
        return bytes(converter.convert())
    except Exception as error:  # the converter raises its own ConverterError, RuntimeError and ValueError
        raise ExportError(f"the TensorFlow converter refused the network: {str(error).splitlines()[0]}") from error
