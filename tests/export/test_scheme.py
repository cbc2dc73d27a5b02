"""Integers from ranges: the rules that every runtime relies on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mhmodels.architecture import Preprocessing
from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Graph, random_graph
from mhmodels.export.quantisation.parameters import (
    Granularity,
    QuantisedFormat,
    activation_quantisation,
    input_quantisation,
    representable,
    takes_pixels,
)
from mhmodels.export.quantisation.scheme import QuantisedGraph, calibrated_tensors, pre_activation, quantise
from mhmodels.network import IMAGE
from mhmodels.registry import resolve

FORMATS: list[QuantisedFormat] = ["int8", "uint8"]
LOWEST = {"int8": -128, "uint8": 0}


def quantised(fmt: QuantisedFormat, model: str = "mobilenet_v3_large@0.35", graph: Graph | None = None) -> QuantisedGraph:
    graph = graph or random_graph(resolve(model).at(input_size=64))
    return quantise(graph, dict.fromkeys(calibrated_tensors(graph), (-3.0, 5.0)), fmt)


@given(st.floats(-1e4, 0), st.floats(0, 1e4), st.sampled_from(FORMATS))
def test_a_range_is_covered_and_zero_is_exact(low: float, high: float, fmt: QuantisedFormat) -> None:
    if high - low < 1e-3:
        return
    q = activation_quantisation((low, high), fmt)
    step = float(q.scale[0])
    assert LOWEST[fmt] <= q.zero_point <= LOWEST[fmt] + 255
    bottom, top = representable(q, fmt)
    assert bottom <= low + step
    assert top >= high - step
    assert step == pytest.approx((high - low) / 255, rel=1e-6)


@settings(max_examples=300)
@given(st.floats(-50, 0), st.floats(0.01, 50), st.sampled_from(FORMATS))
def test_a_scale_comes_back_from_the_float32_ends_of_its_range(low: float, high: float, fmt: QuantisedFormat) -> None:
    """The converter is given the ends and divides again: one bit less and its files would not be ours."""
    q = activation_quantisation((low, high), fmt)
    bottom, top = (np.float64(np.float32(end)) for end in representable(q, fmt))
    assert np.float32((top - bottom) / 255.0) == q.scale[0]


@pytest.mark.parametrize("bad", [(0.0, 0.0), (float("nan"), 1.0), (-1.0, float("inf"))])
def test_a_collapsed_or_infinite_range_is_refused(bad: tuple[float, float]) -> None:
    with pytest.raises(ExportError, match="cannot be quantised"):
        activation_quantisation(bad, "int8")


def test_pixels_are_the_input_where_mean_is_whole() -> None:
    exact = Preprocessing(mean=(128.0,) * 3, std=(128.0,) * 3)
    assert takes_pixels(exact)
    assert (input_quantisation(exact, "uint8").zero_point, input_quantisation(exact, "int8").zero_point) == (128, 0)
    pixels = np.arange(256)
    q = input_quantisation(exact, "uint8")
    integers = np.rint((pixels - 128.0) / 128.0 / q.scale[0]) + q.zero_point
    assert (integers == pixels).all()
    assert not takes_pixels(Preprocessing())


@pytest.mark.parametrize("mean", [-20.0, 300.0])
def test_a_mean_that_no_pixel_has_is_no_zero_point(mean: float) -> None:
    outside = Preprocessing(mean=(mean,) * 3, std=(50.0,) * 3)
    assert not takes_pixels(outside)
    q = input_quantisation(outside, "uint8")
    low, high = representable(q, "uint8")
    assert 0 <= q.zero_point <= 255
    assert low <= (0 - mean) / 50 + q.scale[0]
    assert high >= (255 - mean) / 50 - q.scale[0]


def test_the_input_range_is_what_pixels_can_reach() -> None:
    imagenet = resolve("multi_max").preprocessing
    low, high = representable(input_quantisation(imagenet, "uint8"), "uint8")
    expected = [(bound - m) / s for bound in (0, 255) for m, s in zip(imagenet.mean, imagenet.std, strict=True)]
    assert low == pytest.approx(min(expected), abs=0.02)
    assert high == pytest.approx(max(expected), abs=0.02)


@pytest.mark.parametrize("fmt", FORMATS)
def test_fixed_and_shared_parameters(fmt: QuantisedFormat) -> None:
    q = quantised(fmt)
    ops = {op.name: op for op in q.graph.ops}
    for op in ops.values():
        if op.kind in ("pool", "reshape"):
            assert q.tensors[op.name] == q.tensors[op.inputs[0]]
        if op.activation == "hard_sigmoid":
            assert representable(q.tensors[op.name], fmt) == pytest.approx((0.0, 1.0))
        if op.activation == "hard_swish":
            assert pre_activation(op) in q.tensors
    assert q.tensors["predictions"].scale[0] == np.float32(1 / 256)
    assert q.tensors["predictions"].zero_point == LOWEST[fmt]


@pytest.mark.parametrize("fmt", FORMATS)
def test_weights_stay_in_the_narrow_range_and_close(fmt: QuantisedFormat) -> None:
    graph = random_graph(resolve("multi_max@0.35").at(input_size=64))._replace(kernel_steps={})
    q = quantised(fmt, graph=graph)
    low, high = (1, 255) if fmt == "uint8" else (-127, 127)
    for op in graph.convolutions:
        kernel = q.kernels[op.name]
        assert low <= kernel.weights.min()
        assert kernel.weights.max() <= high
        scale = kernel.quantisation.scale
        assert len(scale) == (op.channels if fmt == "int8" else 1)
        along = scale[:, None] if op.kind == "depthwise" and len(scale) > 1 else scale
        real = (kernel.weights.astype(np.int16) - kernel.quantisation.zero_point) * along
        assert (np.abs(real - graph.kernels[op.name]) <= 0.501 * along).all()


@pytest.mark.parametrize("fmt", FORMATS)
def test_latency_weights_survive_exactly(fmt: QuantisedFormat) -> None:
    graph = random_graph(resolve("multi_max@0.5").at(input_size=64))
    q = quantised(fmt, graph=graph)
    everything = np.concatenate([(k.weights.astype(np.int16) - k.quantisation.zero_point).ravel() for k in q.kernels.values()])
    assert np.abs(everything).max() <= 127
    assert everything.std() == pytest.approx(20.0, rel=0.02)


def test_latency_weights_depend_on_the_architecture_alone() -> None:
    one, same, other = (random_graph(resolve(m).at(input_size=64)) for m in ("multi_max@0.5", "multi_max@0.5", "multi_max@0.75"))
    name = "logits"
    assert (one.kernels[name] == same.kernels[name]).all()
    assert not np.array_equal(one.kernels[name][..., :50, :50], other.kernels[name][..., :50, :50])


def test_bias_is_at_input_times_weight_scale() -> None:
    graph = random_graph(resolve("multi_max@0.35").at(input_size=64))
    graph = graph._replace(biases={name: np.full_like(bias, 0.25) for name, bias in graph.biases.items()})
    q = quantised("int8", graph=graph)
    for op in graph.convolutions:
        scale = q.tensors[op.inputs[0]].scale * q.kernels[op.name].quantisation.scale
        assert np.allclose(q.kernels[op.name].bias * scale, 0.25, atol=scale.max())


def test_a_dead_channel_still_has_a_scale() -> None:
    graph = random_graph(resolve("multi_max@0.35").at(input_size=64))
    dead = dict(graph.kernels)
    dead["stem_conv"] = np.zeros_like(dead["stem_conv"])
    q = quantised("int8", graph=graph._replace(kernels=dead, kernel_steps={}))
    assert (q.kernels["stem_conv"].quantisation.scale > 0).all()
    assert not q.kernels["stem_conv"].weights.any()


@pytest.mark.parametrize(("fmt", "granularity"), [("int8", "channel"), ("int8", "tensor"), ("uint8", None)])
def test_a_dead_channel_keeps_its_bias(fmt: QuantisedFormat, granularity: Granularity | None) -> None:
    graph = random_graph(resolve("multi_max@0.35").at(input_size=64))
    name = "stage3_block1_expand"
    dead, biases = graph.kernels[name].copy(), np.full_like(graph.biases[name], 0.7)
    dead[..., 3] = 0.0
    dead[..., 4] *= 1e-9
    if granularity != "channel":
        dead[:] = 0.0
    graph = graph._replace(kernels={**graph.kernels, name: dead}, biases={**graph.biases, name: biases}, kernel_steps={})
    q = quantise(graph, dict.fromkeys(calibrated_tensors(graph), (-3.0, 5.0)), fmt, granularity)
    source = next(op.inputs[0] for op in q.graph.ops if op.name == name)
    kernel = q.kernels[name]
    assert np.abs(kernel.bias).max() <= 2**30 + 64
    assert kernel.bias * kernel.quantisation.scale * q.tensors[source].scale == pytest.approx(biases, rel=0.01)


def test_a_missing_range_names_the_tensor() -> None:
    graph = random_graph(resolve("multi_max@0.35").at(input_size=64))
    ranges = dict.fromkeys(calibrated_tensors(graph), (-1.0, 1.0))
    del ranges["stage3_block1_project"]
    with pytest.raises(ExportError, match="tensor 'stage3_block1_project': no range"):
        quantise(graph, ranges, "int8")


def test_per_channel_uint8_does_not_exist() -> None:
    graph = random_graph(resolve("multi_max@0.35").at(input_size=64))
    with pytest.raises(ExportError, match="use int8"):
        quantise(graph, {}, "uint8", "channel")


def test_every_tensor_has_parameters() -> None:
    q = quantised("int8")
    assert set(q.tensors) >= {IMAGE, *(op.name for op in q.graph.ops)}
