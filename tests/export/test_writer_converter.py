"""The direct writer against its reference, the TensorFlow converter, and against Keras."""

from __future__ import annotations

import functools
import itertools
import re

import msgspec
import numpy as np
import pytest

from mhmodels.export.graph.operations import fold
from mhmodels.export.graph.outputs import WriterOptions
from mhmodels.export.quantisation.scheme import quantise
from mhmodels.export.writing.latency import latency_ranges
from mhmodels.export.writing.writer import write_float, write_quantised
from mhmodels.registry import list_models, resolve
from tests.export.writer_helpers import BOTTLENECKS, MINI, TINY, Tensor, operators, pixels, random_weights, run, runtime_version
from tests.export.zoo_parity import FORMATS, pairs, row

pytestmark = [pytest.mark.tensorflow, pytest.mark.numeric]

OWN = {
    "tiny": TINY,
    "bottlenecks": BOTTLENECKS,
    "symmetric": msgspec.structs.replace(TINY, name="symmetric", padding="symmetric", input_size=(66, 49)),
    "trailing": msgspec.structs.replace(MINI, name="trailing", padding="trailing", input_size=(65, 48)),
}
# The own ones have every operation; whole networks come with the slow tests.
ZOO = [*OWN, *(pytest.param(name, marks=pytest.mark.slow) for name in ("multi_max", "mobilenet_v3_large"))]
FLOATS = {0: np.float32, 1: np.float16}


def architecture(name):
    return OWN[name] if name in OWN else resolve(name).at(width_multiplier=0.25, input_size=64, classes=10)


@functools.cache
def keras_model(name):
    """A model whose batch normalisation has the statistics of its inputs, and whose scales and biases do something."""
    import keras

    from mhmodels.builder import create_model

    keras.utils.set_random_seed(1)
    rng, model = np.random.default_rng(1), create_model(architecture(name))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            n, layer.momentum = layer.gamma.shape[0], 0.0
            layer.gamma.assign(rng.uniform(0.5, 1.5, n))
            layer.beta.assign(rng.normal(0, 0.3, n))
        elif getattr(layer, "use_bias", False):
            layer.bias.assign(rng.normal(0, 0.3, layer.bias.shape))
    model(rng.normal(size=(8, *model.input_shape[1:])).astype(np.float32), training=True)
    return model


def values(tensor):
    return np.frombuffer(tensor.data, FLOATS[tensor.type]).astype(np.float64)


def assert_same_operators(ours: bytes, reference: bytes) -> None:
    """Same operators, versions, options, shapes and types in the same order; DEQUANTIZE of weights may stand in any."""
    widened = [[o for o in operators(f) if o.inputs[0].type == 1] for f in (ours, reference)]
    got, expected = ([o for o in operators(f) if o.inputs[0].type != 1] for f in (ours, reference))
    assert [(o.code, o.version) for o in got] == [(o.code, o.version) for o in expected]
    assert runtime_version(ours) == runtime_version(reference)
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.options == theirs.options, mine
        for a, b in zip((*mine.inputs, *mine.outputs), (*theirs.inputs, *theirs.outputs), strict=True):
            assert (a.type, a.shape, a.data is None) == (b.type, b.shape, b.data is None), (mine.code, a.name)
    assert sorted(o.inputs[0].shape for o in widened[0]) == sorted(o.inputs[0].shape for o in widened[1])


@pytest.mark.parametrize("name", ZOO)
def test_float_logits_are_keras_logits(name):
    import keras

    model = keras_model(name)
    images = np.random.default_rng(2).normal(size=(4, *architecture(name).input_size, 3)).astype(np.float32)
    expected = keras.Model(model.input, model.get_layer("flatten").output)(images).numpy()
    content = write_float(fold(model, architecture(name)), options=WriterOptions(softmax=False))
    for kernels in ("xnnpack", "reference"):
        got = np.concatenate([run(content, image[None], kernels)["scores"] for image in images])
        assert np.sqrt(np.mean(np.square(got - expected))) < 1e-5 * expected.std()


@pytest.mark.parametrize("float16", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["tiny", pytest.param("bottlenecks", marks=pytest.mark.slow)])
def test_float_file_is_the_converters(name, float16):
    from mhmodels.export.writing.converter import convert_float

    model = keras_model(name)
    ours = write_float(fold(model, OWN[name]), fmt="float16" if float16 else "float32")
    reference = convert_float(model, float16=float16)
    assert_same_operators(ours, reference)
    for mine, theirs in zip(operators(ours), operators(reference), strict=True):
        for a, b in zip(mine.inputs, theirs.inputs, strict=True):
            if a.data is not None and a.type == 0:
                assert np.abs(values(a) - values(b)).max() <= 1e-5 * np.abs(values(b)).max(), a.name
    assert len(ours) <= len(reference)


@functools.cache
def both(name, fmt):
    """Our file and the converter's for one quantised graph."""
    from mhmodels.export.writing.converter import convert_quantised

    graph, rng = random_weights(architecture(name)), np.random.default_rng(3)
    # Ends that are no round numbers, so that scales have all their bits.
    ranges = {tensor: (low * rng.uniform(0.7, 1.2), high * rng.uniform(0.7, 1.2))
              for tensor, (low, high) in latency_ranges(graph).items()}  # fmt: skip
    quantised = quantise(graph, ranges, fmt)
    return write_quantised(quantised), convert_quantised(quantised)


@pytest.mark.parametrize("fmt", ["int8", "uint8"])
@pytest.mark.parametrize("name", ZOO)
def test_quantised_file_is_the_converters(name, fmt):
    ours, reference = both(name, fmt)
    assert_same_operators(ours, reference)
    for mine, theirs in zip(operators(ours), operators(reference), strict=True):
        for a, b in zip((*mine.inputs, *mine.outputs), (*theirs.inputs, *theirs.outputs), strict=True):
            assert_same_numbers(a, b)
    assert len(ours) <= len(reference)


def assert_same_numbers(ours: Tensor, reference: Tensor) -> None:
    assert ours.data == reference.data, ours.name
    assert (ours.zero_point, ours.dimension) == (reference.zero_point, reference.dimension), ours.name
    assert ours.scale == reference.scale, ours.name


@pytest.mark.parametrize("kernels", ["reference", "xnnpack"])
@pytest.mark.parametrize("fmt", ["int8", "uint8"])
@pytest.mark.parametrize("name", ZOO)
def test_quantised_scores_are_the_converters(name, fmt, kernels):
    ours, reference = both(name, fmt)
    for seed in range(3):
        image = pixels(architecture(name), seed)
        (expected,) = run(reference, image, kernels).values()
        got = run(ours, image, kernels)["scores"]
        assert np.array_equal(got, expected)
        assert len(np.unique(got)) > 2


def test_dilated_depthwise_is_tensorflows():
    import tensorflow as tf

    from mhmodels.export.quantisation.fake_quant import run_graph
    from mhmodels.network import lower

    plain = random_weights(architecture("multi_max"))
    graph = plain._replace(ops=lower(plain.architecture, output_stride=16).ops)
    assert any(op.dilation > 1 for op in graph.ops)
    image = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype(np.float32)
    tensors = run_graph(
        graph,
        tf.constant(image),
        lambda op: graph.kernels[op.name],
        lambda op: graph.biases[op.name],
        lambda x, _: x,
    )
    expected = tensors["flatten"].numpy()
    content = write_float(graph, options=WriterOptions(softmax=False))
    assert np.abs(run(content, image, "reference")["scores"] - expected).max() < 1e-5 * expected.std()


def zoo_formats():
    """Every base network in three formats; its variants, which have the same operators, in one, each format in its turn."""
    variants = [name for name in list_models("*") if re.search(r"\.|minimalistic", name)]
    turns = dict(zip(variants, itertools.cycle(FORMATS), strict=False))
    return {name: (turns[name],) if name in turns else FORMATS for name in list_models("*")}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "formats"), zoo_formats().items(), ids=list_models("*"))
def test_every_network_of_the_zoo_is_the_converters(name, formats):
    """Prints lines of the second table of docs/export.md (`-s`)."""
    import keras

    # At a quarter of the width, single gates with random weights are dead on all pictures, and have no range.
    found = list(pairs(resolve(name).at(width_multiplier=0.5, input_size=64, classes=10), formats))
    if formats == FORMATS:
        print("\n" + row(name, found), end="")
    for pair in found:
        assert pair.same_operators, pair.fmt
        assert runtime_version(pair.ours) == runtime_version(pair.converter)
        assert len(pair.ours) <= len(pair.converter)
        if pair.fmt == "float32":
            assert pair.error[0] < 1e-5
        else:
            assert pair.same_numbers, pair.fmt
            assert pair.equal, pair.fmt
            assert len(np.unique(pair.logits[0])) > 2
    keras.utils.clear_session()  # the graphs of all networks would fill gigabytes
