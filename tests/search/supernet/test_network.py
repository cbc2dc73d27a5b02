"""The super-network computes what the networks in it compute, with their part of the weights."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

from mhmodels.architecture import Architecture
from mhmodels.network import lower
from mhmodels.search.errors import SpaceError
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.decisions import SKIP
from mhmodels.search.space.template import ArchitectureSpace
from mhmodels.search.supernet.network.plan import SuperNetworkPlan

from . import tiny

pytestmark = [pytest.mark.tensorflow, pytest.mark.numeric]


@pytest.fixture(scope="module")
def pictures() -> Any:
    return np.random.default_rng(3).normal(size=(32, 64, 64, 3)).astype(np.float32)


def _alone(network: Any, path: Any, architecture: Architecture) -> Any:
    """The stand-alone Keras model with the weights that a path reads."""
    from mhmodels.builder import create_model

    model = create_model(architecture, classifier_activation=None, dropout=0.0)
    layers = [layer for place in path for layer in place.branches[0] if layer.reads]
    ops = [op for op in lower(architecture).ops if op.kind in ("conv", "depthwise")]
    assert len(layers) == len(ops)
    for op, layer in zip(ops, layers, strict=True):
        values = {
            name.rpartition("/")[2]: network.weights[name].numpy()[tuple(slice(size) for size in shape)]
            for name, shape in layer.reads
        }
        kernel = model.get_layer(op.name)
        kernel.set_weights([values[role] for role in ("kernel", "bias") if role in values])
        if op.batch_norm:
            norm = model.get_layer(f"{op.name}_bn")
            norm.set_weights([values["gamma"], values["beta"], *norm.get_weights()[2:]])
    return model


@pytest.mark.parametrize(
    ("name", "width"),
    [
        pytest.param("multi_hardware", 0.25, marks=pytest.mark.slow),
        pytest.param("mobilenet_v3_like", 0.25, marks=pytest.mark.slow),
        pytest.param("proxylessnas_enlarged", 0.5, marks=pytest.mark.slow),
    ],
)
def test_a_path_is_the_network_alone(name: str, width: float, pictures: Any, double: None, request: Any) -> None:
    """One of them compiled: XLA takes most of the time, and has seen small networks of every kind in the other tests."""
    if name != "multi_hardware":
        request.getfixturevalue("eager")
    space = get_space(name)
    assert isinstance(space, ArchitectureSpace)
    plan = SuperNetworkPlan(space, width, 10)
    network = tiny.super_network(plan)
    for encoding in space.draw(2, np.random.default_rng(11)):
        architecture = space.build(encoding).at(width_multiplier=width, input_size=64, classes=10)
        path = plan.path(encoding)
        expected = _alone(network, path, architecture)(pictures[:4], training=True).numpy()
        logits = network(pictures[:4].astype(np.float64), path, network.read(path))
        np.testing.assert_allclose(logits.numpy(), expected, atol=1e-7)
        assert np.abs(expected).max() > 1e-2


@pytest.mark.parametrize("padding", ["symmetric", "trailing"])
def test_a_path_of_another_padding_is_the_network_alone(padding: Any, pictures: Any, double: None, eager: None) -> None:
    space = tiny.space(padding=padding)
    plan = SuperNetworkPlan(space, 1.0, 3)
    network = tiny.super_network(plan)
    encoding = space.draw(1, np.random.default_rng(11))[0]
    architecture = space.build(encoding).at(input_size=64, classes=3)
    path = plan.path(encoding)
    for side in (64, 57):
        expected = _alone(network, path, architecture.at(input_size=side))(pictures[:4, :side, :side], training=True).numpy()
        logits = network(pictures[:4, :side, :side].astype(np.float64), path, network.read(path))
        np.testing.assert_allclose(logits.numpy(), expected.reshape(4, 3), atol=1e-7)


@pytest.mark.slow
def test_blocks_behind_a_skipped_one_keep_their_own_weights(pictures: Any) -> None:
    """As in TuNAS: places, not the networks' canonical forms, own the weights."""
    space = tiny.space()
    plan = SuperNetworkPlan(space, 1.0, 3)
    columns = [i for i, decision in enumerate(space.decisions) if decision.name.startswith("stage2_block")]
    row = space.draw(1, np.random.default_rng(0))[0]
    row[columns[1]], row[columns[2]] = space.decisions[columns[1]].choices.index(SKIP), 1
    read = {name.partition("/")[0] for place in plan.path(row) for layer in place.branches[0] for name, _ in layer.reads}
    assert "stage2_block3" in read
    assert "stage2_block2" not in read
    network = tiny.super_network(plan)
    logits = network(pictures, plan.path(row), network.read(plan.path(row)))
    expected = _alone(network, plan.path(row), space.build(row).at(input_size=64, classes=3))(pictures, training=True)
    np.testing.assert_allclose(logits.numpy(), expected.numpy().reshape(32, 3), atol=1e-5)


def test_kernels_are_apart_and_pointwise_convolutions_shared() -> None:
    plan = SuperNetworkPlan(get_space("multi_hardware"))
    there = {name.removeprefix("stage3_block2/") for name in plan.weights if name.startswith("stage3_block2/")}
    kernels = {name.removesuffix("/kernel") for name in there if name.endswith("/kernel")}
    assert kernels == {
        "inverted_bottleneck/expand", "inverted_bottleneck/depthwise_3x3", "inverted_bottleneck/depthwise_5x5",
        "inverted_bottleneck/project", "fused_inverted_bottleneck/fused_3x3", "fused_inverted_bottleneck/fused_5x5",
        "fused_inverted_bottleneck/project",
    }  # fmt: skip
    widest = plan.weights["stage6_block2/inverted_bottleneck/expand/kernel"].shape
    assert widest == (1, 1, 320, 6 * 320)
    assert 150e6 < plan.parameters < 160e6


def test_a_restricted_space_has_no_weights_for_what_it_lacks() -> None:
    space = tiny.space()
    allowed = [
        [i for i in some if decision.tag == "width" or decision.choices[i] is SKIP or decision.choices[i].kernel == 3]
        for decision, some in zip(space.decisions, space.allowed, strict=True)
    ]
    plan = SuperNetworkPlan(space.restricted(allowed))
    assert not [name for name in plan.weights if "5x5" in name]
    assert plan.parameters < SuperNetworkPlan(space).parameters


def test_gradients_reach_what_is_active_only(pictures: Any) -> None:
    import tensorflow as tf

    space = tiny.small()
    plan = SuperNetworkPlan(space, 1.0, 3)
    network = tiny.super_network(plan)
    row = space.draw(1, np.random.default_rng(5))[0]
    path = plan.path(row)
    slices = network.read(path)
    with tf.GradientTape() as tape:
        tape.watch(slices)
        loss = tf.reduce_sum(network(pictures, path, slices) ** 2)
    gradients = tape.gradient(loss, slices)
    l2 = 0.5
    dense, norm = network.spread(gradients, l2)
    assert float(norm) == pytest.approx(np.sqrt(sum(float((each.numpy() ** 2).sum()) for each in dense)), rel=1e-4)
    read = {name: shape for place in path for layer in place.branches[0] for name, shape in layer.reads}
    assert read == {name: tuple(slice_.shape) for name, slice_ in slices.items()}
    for (name, weight), gradient in zip(plan.weights.items(), dense, strict=True):
        assert gradient.shape == weight.shape
        rest = gradient.numpy().copy()
        if name in read:
            part = tuple(slice(size) for size in read[name])
            decay = l2 * slices[name].numpy() if weight.role in ("kernel", "depthwise") else 0.0
            np.testing.assert_allclose(rest[part], gradients[name].numpy() + decay, rtol=1e-5, atol=1e-7)
            assert np.abs(gradients[name]).max() > 0, name
            rest[part] = 0
        assert not rest.any(), name


def test_recomputing_changes_no_gradient(pictures: Any) -> None:
    import tensorflow as tf

    space = tiny.small()
    plan = SuperNetworkPlan(space, 1.0, 3)
    path = plan.path(space.draw(1, np.random.default_rng(5))[0])
    found = []
    for recompute in (False, True):
        network = tiny.super_network(plan, recompute=recompute)
        slices = network.read(path)
        with tf.GradientTape() as tape:
            tape.watch(slices)
            loss = tf.reduce_sum(network(pictures, path, slices) ** 2)
        found.append(tape.gradient(loss, slices))
    for name, kept in found[0].items():
        np.testing.assert_allclose(found[1][name].numpy(), kept.numpy(), rtol=1e-4, atol=1e-5 * np.abs(kept).max())


@pytest.mark.slow
def test_mixed_operations_are_the_mean_of_all_choices(pictures: Any) -> None:
    """TuNAS' warm-up: an optional block's output is its input plus the mean of what the choices add, nothing for skip."""
    space = tiny.space()
    plan = SuperNetworkPlan(space, 1.0, 3)
    network = tiny.super_network(plan)
    column = next(i for i, decision in enumerate(space.decisions) if decision.name == "stage3_block2")
    row = space.draw(1, np.random.default_rng(5))[0]
    path = plan.path(row, mixed=[column])
    at = next(i for i, place in enumerate(path) if place.name == "stage3_block2")
    assert len(path[at].branches) == len(space.decisions[column].choices)
    choices = []
    for choice in range(len(space.decisions[column].choices)):
        row[column] = choice
        choices.append([place for place in plan.path(row)[at:] if place.name == "stage3_block2"])
    slices = network.read(path)
    before = network.run(pictures, path[:at], slices)
    mean = np.mean([network.run(before, places, slices).numpy() for places in choices], axis=0)
    np.testing.assert_allclose(network.run(before, path[at : at + 1], slices).numpy(), mean, atol=1e-5)


@pytest.mark.slow
def test_l2_counts_with_the_share_of_a_branch() -> None:
    """Of an average of all choices, as TuNAS has it; a weight that several of them read counts once."""
    space = tiny.space()
    plan = SuperNetworkPlan(space, 1.0, 3)
    network = tiny.super_network(plan)
    column = next(i for i, decision in enumerate(space.decisions) if decision.name == "stage3_block2")
    path = plan.path(space.draw(1, np.random.default_rng(5))[0], mixed=[column])
    slices = network.read(path)
    zeros = {name: np.zeros(part.shape, np.float32) for name, part in slices.items()}
    dense = dict(zip(plan.weights, network.spread(zeros, 0.5, path=path)[0], strict=True))
    choices = len(space.decisions[column].choices)
    decayed = [name for name in slices if plan.weights[name].role in ("kernel", "depthwise")]
    assert len([name for name in decayed if name.startswith("stage3_block2")]) > 4
    for name in decayed:
        share = 0.5 / choices if name.startswith("stage3_block2") else 0.5
        part = tuple(slice(size) for size in slices[name].shape)
        np.testing.assert_allclose(dense[name].numpy()[part], share * slices[name].numpy(), rtol=1e-5)


@pytest.mark.slow
def test_a_network_that_nobody_has_any_more_is_gone() -> None:
    """Its weights are hundreds of megabytes."""
    network = tiny.super_network(SuperNetworkPlan(tiny.small(), 1.0, 3))
    path = network.plan.path(tiny.small().draw(1, np.random.default_rng(5))[0])
    network.spread(network.read(path), 0.5)
    known = weakref.ref(network)
    del network
    gc.collect()
    assert known() is None


def test_spaces_that_cannot_share_are_refused() -> None:
    with pytest.raises(SpaceError, match="tabular"):
        SuperNetworkPlan(get_space("nas_bench_201"))
