"""What a step of the super-network costs beside the networks that it samples, trained alone.

    pytest --benchmark-only tests/benchmarks/test_supernet.py

The batch is TuNAS' 128 for each architecture. CPU seconds of the process, so that other load does not count; after warm-up.
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

pytestmark = pytest.mark.tensorflow

WIDTH, SIDE, BATCH, NETWORKS = 0.25, 64, 128, 6
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
    from search.spaces import get_space

    space = get_space("multi_hardware")
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

    from search.supernet.network import SuperNetwork
    from search.supernet.plan import Plan
    from search.supernet.presets import PRESETS
    from search.supernet.training import Trainer

    space, rows = networks()
    plan = Plan(space, WIDTH, 10)
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
    from mhmodels.training.optimisation import cross_entropy, make_optimizer
    from mhmodels.training.recipes import RECIPES

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


def seconds(step: Callable[[], None], repeats: int = 3) -> float:
    step()
    begun = time.process_time()
    for _ in range(repeats):
        step()
    return (time.process_time() - begun) / repeats


def test_a_step_costs_at_most_half_more(benchmark: Any) -> None:
    together = super_step()
    shared = [seconds(lambda which=which: together(which)) for which in range(NETWORKS)]  # type: ignore[misc]
    alone = [seconds(alone_step(which)) for which in range(NETWORKS)]
    benchmark.pedantic(together, args=(0,), rounds=3, warmup_rounds=1)
    benchmark.extra_info.update(shared_s=float(np.mean(shared)), alone_s=float(np.mean(alone)))
    assert np.mean(shared) <= 1.5 * np.mean(alone)


def test_activations_take_at_most_half_more(benchmark: Any) -> None:
    """By the growth of a fresh process over two steps with one network; weights and slots are there before."""
    grown = {}
    for which in ("super", "alone"):
        done = subprocess.run([sys.executable, "-c", MEMORY, which], capture_output=True, text=True, check=True)
        grown[which] = int(done.stdout)
    benchmark.pedantic(lambda: None)
    benchmark.extra_info.update({f"{name}_bytes": value for name, value in grown.items()})
    assert grown["super"] <= 1.5 * grown["alone"]
