"""What a step of the super-network costs beside the networks that it samples, trained alone.

The batch is TuNAS' 128 for each architecture. CPU seconds of the process, so that other load counts less, in turns, warmed up.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mhmodels.hardware.interleaved import ratio_of_medians

from .figures import SHORT, Figures, choose

pytestmark = pytest.mark.tensorflow

WIDTH, SIDE, BATCH, NETWORKS = 0.25, choose(64, 32), choose(128, 4), choose(6, 2)
MEMORY = """
import sys
from tests.benchmarks import test_supernet as own
together = own.super_step() if sys.argv[1] == "super" else None
step = own.alone_step(1) if together is None else lambda: together(1)
before = own.resident()
step()
step()
print(own.peak() - before)
"""


def networks() -> tuple[Any, Any]:
    from mhmodels.search.space.catalogue import get_space
    from tests.search.supernet import tiny

    space = tiny.small() if SHORT else get_space("multi_hardware")
    return space, space.draw(NETWORKS, np.random.default_rng(0))


def pictures() -> tuple[Any, Any]:
    import tensorflow as tf

    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (BATCH, SIDE, SIDE, 3)).astype(np.uint8)
    return tf.constant(pixels), tf.constant(rng.integers(0, 10, BATCH).astype(np.int32))


def super_step() -> Callable[[int], None]:
    """Trains the super-network with one of the networks."""
    import itertools

    import msgspec
    import tensorflow as tf

    from mhmodels.search.supernet.network.plan import SuperNetworkPlan
    from mhmodels.search.supernet.network.sliced import SuperNetwork
    from mhmodels.search.supernet.presets import PRESETS
    from mhmodels.search.supernet.training.replicas import Trainer

    space, rows = networks()
    plan = SuperNetworkPlan(space, WIDTH, 10)
    preset = msgspec.structs.replace(PRESETS["quick"], batch_size=BATCH)
    assert preset.preprocessing is not None
    trainer = Trainer(lambda: SuperNetwork(plan), preset, preset.preprocessing, tf.distribute.get_strategy())
    paths, batches = [plan.path(row) for row in rows], itertools.repeat(pictures())
    return lambda which: void(trainer.train(1, [paths[which]], batches))


def alone_step(which: int) -> Callable[[], None]:
    """Trains a network alone, as `mhmodels train` does."""
    import tensorflow as tf

    from mhmodels.builder import create_model
    from mhmodels.training.evaluation import normaliser
    from mhmodels.training.named_recipes import RECIPES
    from mhmodels.training.optimisation import cross_entropy, make_optimizer

    space, rows = networks()
    recipe = RECIPES["digits"]
    model = create_model(
        space.build(rows[which]).at(width_multiplier=WIDTH, input_size=SIDE, classes=10), classifier_activation=None, dropout=0.0
    )
    optimizer = make_optimizer(recipe, 1e-3)
    optimizer.build(model.trainable_variables)
    assert recipe.preprocessing is not None
    normalise = normaliser(recipe.preprocessing)
    pixels, labels = pictures()

    @tf.function(autograph=False)  # type: ignore[misc]
    def step() -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(cross_entropy(labels, model(normalise(pixels), training=True), 0.0))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    return lambda: void(step().numpy())


def void(_: Any) -> None:
    pass


def peak() -> int:
    """The most memory that this process ever held, in bytes; what `getrusage` tells begins with the parent's."""
    return _memory("VmHWM")


def resident() -> int:
    """What it holds now."""
    return _memory("VmRSS")


def _memory(field: str) -> int:
    return int(Path("/proc/self/status").read_text().partition(f"{field}:")[2].split()[0]) * 1024


def cpu_ms(step: Callable[[], None]) -> float:
    """CPU time of one step of this process, on all its cores."""
    begun = time.process_time()
    step()
    return 1000 * (time.process_time() - begun)


def test_a_step_costs_at_most_half_more(benchmark: Any, figures: Figures) -> None:
    from mhmodels.search.supernet.network.sliced import compiled_functions

    together, repeats = super_step(), choose(5, 1)
    steps = [(lambda which=which: together(which), alone_step(which)) for which in range(NETWORKS)]  # type: ignore[misc]
    for pair in steps:
        for step in pair:
            step()
    traces = compiled_functions()
    blocks = np.array([[[cpu_ms(step) for step in pair] for pair in steps] for _ in range(repeats)])
    shared, alone = blocks.mean(axis=1).T  # of all networks, for every block
    benchmark.pedantic(together, args=(0,), rounds=choose(3, 1))
    figures.holds(compiled_functions() == traces, "a network that was trained before compiles nothing more")
    figures.report(
        f"a step takes {np.mean(shared):.0f} ms of CPU time in the super-network, {np.mean(alone):.0f} ms alone",
        shared_ms=float(np.mean(shared)), alone_ms=float(np.mean(alone)),
    )  # fmt: skip
    figures.at_most(ratio_of_medians(shared.tolist(), alone.tolist()), bar=1.5, tolerance=0.0)


def test_activations_take_at_most_half_more(benchmark: Any, figures: Figures) -> None:
    """By the growth of a fresh process over two steps with one network; weights and slots are there before."""
    grown = {}

    def grow() -> None:
        for which in ("super", "alone"):
            done = subprocess.run([sys.executable, "-c", MEMORY, which], capture_output=True, text=True, check=True)
            grown[which] = int(done.stdout.splitlines()[-1])

    benchmark.pedantic(grow, rounds=1)
    figures.report(
        f"two steps take {grown['super'] / 1e6:.0f} MB in the super-network, {grown['alone'] / 1e6:.0f} MB alone",
        **{f"{name}_bytes": value for name, value in grown.items()},
    )
    figures.holds(min(grown.values()) > 0, "steps take memory, so that their ratio means something")
    assert SHORT or grown["super"] <= 1.5 * grown["alone"]
