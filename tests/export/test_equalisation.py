"""Equalisation is exact before rounding, is limited to what is exact, and restores a network with unbalanced channels."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from mhmodels.architecture import Architecture, Conv, Head, InvertedBottleneck, SqueezeExcite
from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Graph
from mhmodels.export.quantisation.equalisation import (
    EXPONENT_STEPS,
    equalisation,
    equalise,
    exponent_texts,
    exponents_of,
    scaling_groups,
    upper_bounds,
)
from mhmodels.export.quantisation.post_training import Corrections, ObservedPictures, quantise_on_pictures
from mhmodels.preprocessing.pictures import sample_pictures
from tests.export.writer_helpers import TINY, random_weights

pytestmark = pytest.mark.tensorflow


def plain(activation: Any = "relu6", **changes: Any) -> Architecture:
    """A small network of inverted bottlenecks with residuals."""
    block = InvertedBottleneck(filters=16, expansion=3, activation=activation, **changes)
    return Architecture(
        name="plain",
        stem=(Conv(filters=8, kernel=3, stride=2, activation=activation),),
        stages=((block, block, msgspec.structs.replace(block, stride=2)), (msgspec.structs.replace(block, kernel=5),)),
        head=Head(features=(Conv(filters=32, activation=activation),)),
        input_size=(32, 40),
        classes=10,
    )


def outputs(graph: Graph, images: Any) -> dict[str, Any]:
    """All tensors of the float network."""
    from mhmodels.export.quantisation.fake_quant import float_layer

    values = {"image": images}
    for op in graph.ops:
        values[op.name] = float_layer(graph, op, values)
    return values


def unbalanced(graph: Graph, names: tuple[str, ...], seed: int = 0) -> Graph:
    """Multiplies the channels of groups by powers of 2 that cancel: the float network stays as it is."""
    generator = np.random.default_rng(seed)
    groups = {group.tensors[0]: group for group in scaling_groups(graph)}
    return equalise(
        graph, {name: tuple((8 * generator.integers(-5, 5, groups[name].channels)).tolist()) for name in names if name in groups}
    )


NETWORKS = {
    "every kind of operation": TINY,
    "relu6": plain(),
    "relu": plain("relu"),
    "hard-swish": plain("hard_swish"),
    "squeeze-excite": plain("relu", squeeze_excite=SqueezeExcite()),
    "sigmoid gate": plain("relu6", squeeze_excite=SqueezeExcite(gate="sigmoid")),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_float_network_stays_as_it_is_on_any_picture(name: str, seed: int) -> None:
    architecture = NETWORKS[name]
    graph = random_weights(architecture, seed)
    exponents = equalisation(graph)
    assert exponents
    noise = np.random.default_rng(seed).integers(0, 256, (4, *architecture.input_size, 3))
    noise[0], noise[1], noise[2] = 0, 255, 255 * (noise[2] > 127)  # the extremes that interval arithmetic must cover
    rule = architecture.preprocessing
    images = ((noise - np.array(rule.mean)) / np.array(rule.std)).astype(np.float32)
    before, after = outputs(graph, images), outputs(equalise(graph, exponents), images)
    last = graph.ops[-2].name
    assert np.abs(after[last] - before[last]).max() <= 2e-5 * max(1.0, float(np.abs(before[last]).max()))
    for group in scaling_groups(graph):
        if group.tensors[0] in exponents:
            factors = np.exp2(np.array(exponents[group.tensors[0]]) / EXPONENT_STEPS)
            for tensor in group.tensors:
                np.testing.assert_allclose(after[tensor], before[tensor] * factors, rtol=2e-3, atol=2e-4 * float(factors.max()))


def test_a_dilated_network_stays_as_it_is() -> None:
    from mhmodels.network import lower

    graph = random_weights(plain("relu"))
    graph = graph._replace(ops=lower(graph.architecture, output_stride=None).ops)
    ops = tuple(op._replace(dilation=2) if op.kind == "depthwise" and op.stride == 1 else op for op in graph.ops)
    graph = graph._replace(ops=ops)
    images = np.random.default_rng(0).normal(size=(2, 32, 40, 3)).astype(np.float32)
    before, after = outputs(graph, images), outputs(equalise(graph, equalisation(graph)), images)
    np.testing.assert_allclose(after["logits"], before["logits"], rtol=1e-4, atol=1e-4)


def test_no_value_exceeds_its_bound() -> None:
    graph = random_weights(plain())
    images = sample_pictures(8, graph.architecture.input_size, graph.architecture.preprocessing)
    bounds, values = upper_bounds(graph), outputs(graph, images)
    for op in graph.ops:
        if op.activation == "linear" and op.kind in ("conv", "add"):
            assert (values[op.name].reshape(-1, op.channels).max(0) <= bounds[op.name] + 1e-4).all(), op.name


def test_nothing_is_scaled_through_activations_that_do_not_commute() -> None:
    graph = random_weights(plain("hard_swish"))
    activated = {op.name for op in graph.ops if op.activation == "hard_swish"}
    assert activated
    assert not activated & {name for group in scaling_groups(graph) for name in group.tensors}


def test_a_channel_that_may_reach_six_keeps_its_scale() -> None:
    graph = random_weights(plain())
    name = "stage2_block1_expand"
    biases = {**graph.biases, name: graph.biases[name] + np.float32(50.0)}
    assert name not in equalisation(graph._replace(biases=biases))


def test_outputs_keep_their_scale() -> None:
    graph = random_weights(plain("relu"))
    assert "stage2_block3_project" in equalisation(graph)
    assert "stage2_block3_project" not in equalisation(graph, ("stage2_block3_project",))


@pytest.mark.parametrize("fmt", ["uint8", "int8"])
def test_unbalanced_channels_are_restored(fmt: Any) -> None:
    """Channels whose weights differ by factors up to 1,000 leave one scale a tensor next to nothing of the smaller ones."""
    balanced = random_weights(plain("relu"))
    graph = unbalanced(balanced, tuple(group.tensors[0] for group in scaling_groups(balanced)))
    images = sample_pictures(16, graph.architecture.input_size, graph.architecture.preprocessing)
    expected = outputs(graph, images)["logits"]
    np.testing.assert_allclose(expected, outputs(balanced, images)["logits"], rtol=1e-4, atol=1e-5)

    def error(corrections: Corrections) -> float:
        from mhmodels.export.quantisation.fake_quant import simulate

        made = quantise_on_pictures(
            ObservedPictures(graph, images), None, fmt, "tensor" if fmt == "int8" else None, corrections=corrections
        )
        return float(np.abs(simulate(made.quantised, images, ("logits",))["logits"] - expected).mean() / expected.std())

    assert error(Corrections(equalise=True)) < 0.25 * error(Corrections())


def test_factors_of_another_network_are_refused() -> None:
    with pytest.raises(ExportError, match="of another network"):
        equalise(random_weights(plain("relu")), {"stage2_block1_expand": (1, 2, 3)})
    with pytest.raises(ExportError, match="of another network"):
        equalise(random_weights(plain("relu")), {"nothing": (1,)})


@pytest.mark.parametrize("text", ["1 x", "65", "99999999999999999999", "1.5", "-65"])
def test_what_a_manifest_cannot_state_is_refused(text: str) -> None:
    with pytest.raises(ExportError, match="equalisation of tensor 'a'"):
        exponents_of({"a": text})


def test_factors_survive_the_manifest() -> None:
    exponents = equalisation(random_weights(TINY))
    assert exponents_of(exponent_texts(exponents)) == exponents
