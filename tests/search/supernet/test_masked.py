"""The masked form computes what the sliced form computes, by functions that are compiled once.

Most of it runs without a compiler, operation by operation. What is compiled is small, because XLA compiles every variant of a
place forwards and backwards: ten seconds for a stage of two blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhmodels.search.run.log import SearchLog
from mhmodels.search.space.catalogue import get_space
from mhmodels.search.space.decisions import SKIP
from mhmodels.search.space.template import ArchitectureSpace
from mhmodels.search.supernet.network.plan import SuperNetworkPlan
from mhmodels.search.supernet.presets import PolicySettings
from tests.training.tiny import CLASSES, SIDE

from . import tiny
from .test_loop import NO_WARM_UP, child, finished

pytestmark = [pytest.mark.tensorflow, pytest.mark.numeric]
L2 = 0.5


class Both:
    """One super-network's logits and dense gradients of a weighted sum of them, masked and sliced."""

    def __init__(self, space: ArchitectureSpace, width: float = 1.0, *, compiled: bool = False) -> None:
        import tensorflow as tf

        from mhmodels.search.supernet.network.masked import MaskedNetwork

        self.plan = SuperNetworkPlan(space, width, CLASSES)
        self.network, self.masked_network = tiny.super_network(self.plan), MaskedNetwork(self.plan)
        self.masked: Any = tf.function(self._masked, autograph=False, jit_compile=True) if compiled else self._masked
        rng = np.random.default_rng(3)
        self.pictures = rng.normal(size=(4, SIDE, SIDE, 3))
        self.cotangent = rng.normal(size=(4, CLASSES))

    @property
    def weights(self) -> list[Any]:
        return [variable.read_value() for variable in self.network.weights.values()]

    def inputs(self, path: Any, *, several: bool, pictures: Any = None) -> tuple[Any, ...]:
        import tensorflow as tf

        weights = self.weights
        choice = self.masked_network.choice(path, several=several)
        shown = tf.constant(self.pictures if pictures is None else pictures, weights[0].dtype)
        return weights, shown, type(choice)(*map(tf.constant, choice))

    def compare(self, path: Any, *, several: bool = False, tolerance: float = 1e-7) -> None:
        weights, pictures, choice = self.inputs(path, several=several)
        logits, dense = self.masked(weights, pictures, choice)
        expected, gradients = self._sliced(path, pictures)
        np.testing.assert_allclose(logits.numpy(), expected.numpy(), atol=tolerance)
        assert np.abs(expected).max() > 1e-3
        reads: dict[str, list[Any]] = {}
        for name, shape in (read for place in path for branch in place.branches for layer in branch for read in layer.reads):
            reads.setdefault(name, []).append(tuple(map(slice, shape)))
        for name, found, wanted in zip(self.plan.weights, dense, gradients, strict=True):
            np.testing.assert_allclose(found.numpy(), wanted, atol=tolerance, err_msg=name)
            outside = np.ones(found.shape, bool)
            for part in reads.get(name, []):
                outside[part] = False
            assert not found.numpy()[outside].any(), name

    def _masked(self, weights: list[Any], pictures: Any, choice: Any) -> Any:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(weights)
            logits = self.masked_network(pictures, weights, choice)
            total = tf.reduce_sum(logits * tf.cast(self.cotangent, logits.dtype))
        return logits, self.masked_network.decayed(tape.gradient(total, weights), weights, choice, L2)

    def _sliced(self, path: Any, pictures: Any) -> Any:
        import tensorflow as tf

        slices = self.network.read(path)
        with tf.GradientTape() as tape:
            tape.watch(slices)
            logits = self.network(pictures, path, slices)
            total = tf.reduce_sum(logits * tf.cast(self.cotangent, logits.dtype))
        gradients = tape.gradient(total, slices)
        dense = {name: np.zeros(weight.shape) for name, weight in self.plan.weights.items()}
        for name, branches in ((name, len(place.branches)) for place in path for name in _names(place)):
            decay = L2 / branches if self.plan.weights[name].role in ("kernel", "depthwise") else 0.0
            dense[name][tuple(map(slice, slices[name].shape))] = gradients[name] + decay * slices[name]
        return logits, list(dense.values())


def _names(place: Any) -> list[str]:
    return [name for branch in place.branches for layer in branch for name, _ in layer.reads]


def operations(space: ArchitectureSpace) -> list[int]:
    return [i for i, decision in enumerate(space.decisions) if decision.tag == "operation"]


def test_places_know_what_any_network_has_there() -> None:
    from mhmodels.search.supernet.network.masked import MaskedNetwork

    space = tiny.space()
    plan = SuperNetworkPlan(space, 1.0, CLASSES)
    masked = MaskedNetwork(plan)
    sites = {site.name: site for site in masked.sites}
    assert list(sites) == [
        "stem_block1", "stage2_block1", "stage2_block2", "stage2_block3", "stage3_block1", "stage3_block2", "head_block1", "pool",
        "logits",
    ]  # fmt: skip
    # Inverted bottleneck or fused, kernel 3 or 5; behind the first block with a residual connection, or no block.
    assert [len(sites[f"stage2_block{i}"].variants) for i in (1, 2, 3)] == [4, 5, 5]
    assert [sites[f"stage2_block{i}"].branches for i in (1, 2)] == [8, 9]
    assert [site.leaving for site in masked.sites] == [8, 16, 16, 16, 24, 24, 32, 32, CLASSES]
    assert {name for site in masked.sites for name in site.weights} == set(plan.weights)
    row = space.draw(1, np.random.default_rng(0))[0]
    column = next(i for i, decision in enumerate(space.decisions) if decision.name == "stage3_block2")
    row[column] = space.decisions[column].choices.index(SKIP)
    choice, last = masked.choice(plan.path(row), several=False), list(sites).index("stage3_block2")
    assert list(sites["stage3_block2"].variants)[choice.variants[last, 0]] == ()
    assert not choice.sizes[last].any()
    assert {each.dtype for each in choice} == {np.dtype(np.int32), np.dtype(np.float32)}
    shapes = [each.shape for each in choice]
    assert shapes == [each.shape for each in masked.choice(plan.path(space.draw(1, np.random.default_rng(1))[0]), several=False)]


@pytest.mark.parametrize(
    ("name", "width"),
    [
        ("tiny", 1.0),
        ("symmetric", 1.0),
        pytest.param("multi_hardware", 0.25, marks=pytest.mark.slow),
        pytest.param("mobilenet_v3_like", 0.25, marks=pytest.mark.slow),
    ],
)
def test_logits_and_gradients_are_those_of_the_sliced_form(name: str, width: float, double: None, eager: None) -> None:
    own = {"tiny": tiny.space(), "symmetric": tiny.space(padding="symmetric")}
    space = own[name] if name in own else get_space(name)
    assert isinstance(space, ArchitectureSpace)
    both = Both(space, width)
    for row in space.draw(2 if name == "tiny" else 1, np.random.default_rng(11)):
        both.compare(both.plan.path(row))


@pytest.mark.parametrize("some", [slice(None), slice(1, 3)], ids=["all", "some"])
@pytest.mark.slow
def test_places_of_several_branches_are_those_of_the_sliced_form(some: slice, double: None, eager: None) -> None:
    space = tiny.space()
    both = Both(space)
    row = space.draw(1, np.random.default_rng(5))[0]
    both.compare(both.plan.path(row, operations(space)[some]), several=True)
    both.compare(both.plan.path(row), several=True)


def test_channels_without_variance_have_gradients() -> None:
    """Masked channels are 0 everywhere; black pictures make all others so, too."""
    both = Both(tiny.small())
    path = both.plan.path(both.plan.space.draw(1, np.random.default_rng(5))[0])
    for pictures in (both.pictures, np.zeros_like(both.pictures)):
        logits, dense = both.masked(*both.inputs(path, several=False, pictures=pictures))
        assert all(np.isfinite(each).all() for each in (logits, *dense))


@pytest.mark.slow
@pytest.mark.parametrize("several", [False, True])
def test_one_compiled_function_computes_all_networks(several: bool, double: None) -> None:
    """XLA refuses what has no static shape."""
    space = tiny.small()
    both = Both(space, compiled=True)
    for row in space.draw(3, np.random.default_rng(11)):
        both.compare(both.plan.path(row, operations(space)[:2] if several else ()), several=several)
    _, dense = both.masked(*both.inputs(both.plan.path(row), several=several, pictures=np.zeros_like(both.pictures)))
    assert all(np.isfinite(each).all() for each in dense)
    assert both.masked.experimental_get_tracing_count() == 1


def _batches(count: int) -> Iterator[tuple[Any, Any]]:
    import tensorflow as tf

    rng = np.random.default_rng(2)
    for _ in range(count):
        pixels, labels = rng.integers(0, 256, (8, SIDE, SIDE, 3)), rng.integers(0, CLASSES, 8)
        yield tf.constant(pixels, tf.uint8), tf.constant(labels, tf.int32)


def _trainer(kind: Any, plan: SuperNetworkPlan, architectures: int) -> Any:
    import keras

    from mhmodels.search.supernet.network.sliced import SuperNetwork
    from mhmodels.training.strategies import make_strategy

    keras.utils.set_random_seed(1)
    return kind(lambda: SuperNetwork(plan), tiny.preset(architectures=architectures), tiny.PREPROCESSING, make_strategy("none"))


def _trained(trainer: Any, paths: Sequence[Sequence[Any]]) -> list[Any]:
    """What some steps tell (losses, accuracies, the gradients' norm), and what is judged at the end."""
    batches = _batches(100)
    steps = [np.asarray(told) for step, each in enumerate(paths) for told in trainer.train(step, each, batches)]
    judged = [trainer.judge(paths[-1], batches, one_batch=one_batch) for one_batch in (True, False)]
    return [*steps, *judged, trainer.accuracy(paths[0][0], *next(batches))]


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["eager", "compiled"])
def compiled(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether functions are functions, or run operation by operation."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(not request.param)
    yield request.param
    tf.config.run_functions_eagerly(False)


@pytest.mark.slow
def test_steps_are_those_of_the_sliced_form(compiled: bool) -> None:
    from mhmodels.search.supernet.training.masked import MaskedTrainer
    from mhmodels.search.supernet.training.replicas import Trainer

    space = tiny.small()
    plan = SuperNetworkPlan(space, 1.0, CLASSES)
    rows = space.draw(6, np.random.default_rng(4)).reshape(3, 2, -1)
    paths = [[plan.path(row) for row in two] for two in rows]
    sliced, masked = (_trainer(kind, plan, 2) for kind in (Trainer, MaskedTrainer))
    for found, expected in zip(_trained(masked, paths), _trained(sliced, paths), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert masked.traces == (2 if compiled else 0)  # to train and to judge
    moved = masked.values()
    assert {name: value.shape for name, value in moved.items()} == {name: v.shape for name, v in sliced.values().items()}
    for name, expected in sliced.values().items():
        np.testing.assert_allclose(moved[name], expected, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_a_search_with_static_shapes_teaches_its_controller_the_same(tmp_path: Path) -> None:
    from mhmodels.search.supernet.loop import search_supernet

    logits = []
    for static in (False, True):
        preset = tiny.preset(policy=PolicySettings(learning_rate=0.05, delay=0.25))
        with SearchLog(tmp_path / f"{static}.db") as log:
            request = tiny.request(tmp_path / str(static), space=tiny.small(), preset=preset, log=log, static_shapes=static)
            logits.append(search_supernet(request).logits)
    np.testing.assert_allclose(logits[1], logits[0], atol=1e-4)
    assert np.abs(logits[0]).max() > 0.01


@pytest.mark.slow
def test_two_replicas_with_static_shapes_are_one(tmp_path: Path) -> None:
    """Operation by operation: that XLA compiles them is shown above, and takes minutes for three devices."""
    preset = {"architectures": 2, "steps": 12, "policy": {"learning_rate": 0.05, "delay": 0.0, **NO_WARM_UP}}
    options = {"preset": preset, "small": True, "static_shapes": True, "eager": True}
    one = finished(child(tmp_path / "one", options))
    two = finished(child(tmp_path / "two", {**options, "strategy": "mirrored", "devices": 2}))
    np.testing.assert_allclose(two["logits"], one["logits"], atol=1e-4)
    np.testing.assert_allclose(two["losses"], one["losses"], atol=1e-4)
    assert two["norm"] == pytest.approx(one["norm"], rel=1e-4)
    assert np.abs(one["logits"]).max() > 0.05
