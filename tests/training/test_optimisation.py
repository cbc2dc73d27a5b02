"""Schedules, loss terms and optimizers against what they are defined by."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from mhmodels.training.named_recipes import RECIPES
from mhmodels.training.recipes import SGD, Adam, LearningRate, RMSProp

from .tiny import architecture, recipe

pytestmark = [pytest.mark.tensorflow, pytest.mark.numeric]


def rates(rate: LearningRate, batch: int, steps: int) -> list[float]:
    from mhmodels.training.optimisation import make_schedule

    schedule: Any = make_schedule(rate, batch, steps)
    return [float(schedule(step)) if callable(schedule) else schedule for step in range(steps)]


def test_warm_up_then_cosine() -> None:
    found = rates(LearningRate(peak=0.5, reference_batch=4, warmup=0.1), batch=8, steps=100)
    wanted = [step / 10 for step in range(10)] + [0.5 * (1 + math.cos(math.pi * step / 90)) for step in range(90)]
    assert found == pytest.approx(wanted, abs=1e-6)
    assert rates(LearningRate(peak=0.5), 8, 50) == pytest.approx(
        [0.25 * (1 + math.cos(math.pi * i / 50)) for i in range(50)], abs=1e-6
    )
    assert rates(LearningRate(peak=0.5, decay="constant"), 8, 3) == [0.5] * 3
    assert rates(LearningRate(peak=1.0, decay="constant", warmup=0.5), 8, 8) == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 1, 1])


def test_smoothed_cross_entropy_is_keras() -> None:
    import keras

    from mhmodels.training.optimisation import cross_entropy

    logits = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    labels = np.array([0, 1, 2, 3, 4, 0], np.int32)
    reference = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1, reduction="none")
    assert np.allclose(cross_entropy(labels, logits, 0.1), reference(np.eye(5)[labels], logits), rtol=1e-5)


def test_of_equal_logits_the_first_is_the_answer() -> None:
    import tensorflow as tf

    from mhmodels.training.evaluation import right_among, right_first

    labels = tf.constant([0, 1, 2, 3])
    same = tf.zeros((4, 4))
    assert right_first(labels, same).numpy().tolist() == [True, False, False, False]
    assert right_among(labels, same, 2).numpy().tolist() == [True, True, False, False]
    different = tf.constant([[3.0, 1, 2, 0]] * 4)
    assert right_first(labels, different).numpy().tolist() == [True, False, False, False]
    assert right_among(labels, different, 2).numpy().tolist() == [True, False, True, False]
    broken = tf.fill((4, 4), float("nan"))
    assert not right_first(labels, broken).numpy().any()
    assert not right_among(labels, broken, 4).numpy().any()


def test_l2_is_on_convolution_and_depthwise_kernels_only() -> None:
    from mhmodels.builder import create_model
    from mhmodels.network import lower
    from mhmodels.training.optimisation import decayed_kernels, l2_penalty

    model = create_model("multi_max@0.25", input_shape=(64, 64, 3), classes=10)
    from mhmodels.registry import resolve

    wanted = [op.name for op in lower(resolve("multi_max@0.25")).ops if op.kind in ("conv", "depthwise") and op.name != "logits"]
    found = decayed_kernels(model)
    assert [variable.path.split("/")[0] for variable in found] == wanted
    total = sum(float((variable.numpy() ** 2).sum()) for variable in found)
    assert float(l2_penalty(found, 4e-5)) == pytest.approx(4e-5 / 2 * total, rel=1e-5)


def test_batch_norm_settings_reach_models_inside_models() -> None:
    import keras

    from mhmodels.builder import create_model
    from mhmodels.training.optimisation import set_batch_norm

    inner = create_model(architecture())
    image = keras.Input(inner.input_shape[1:])
    set_batch_norm(keras.Model(image, inner(image)), momentum=0.7, synchronised=True)
    layers = [layer for layer in inner.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(layers) > 3
    assert {(layer.momentum, layer.synchronized) for layer in layers} == {(0.7, True)}


@pytest.mark.parametrize("settings", [RMSProp(), Adam(), SGD(nesterov=True)])
def test_optimizers_take_the_recipes_figures(settings: Any) -> None:
    from mhmodels.training.optimisation import make_optimizer

    config = make_optimizer(recipe(optimizer=settings, ema=0.999), 0.1).get_config()
    names = {"decay": "rho"}
    for field in settings.__struct_fields__:
        assert config[names.get(field, field)] == getattr(settings, field)
    assert (config["use_ema"], config["ema_momentum"]) == (True, 0.999)
    assert not make_optimizer(recipe(), 0.1).get_config()["use_ema"]


def test_rmsprop_is_tensorflow_1s_update() -> None:
    """v = 0.9 v + 0.1 g^2; m = 0.9 m + lr g / sqrt(v + 1); w -= m (epsilon under the root)."""
    import keras

    from mhmodels.training.optimisation import make_optimizer

    optimizer = make_optimizer(RECIPES["paper"], 0.5)
    weight = keras.Variable([1.0])
    value, square, momentum = 1.0, 0.0, 0.0
    for gradient in (2.0, -1.0, 3.0):
        optimizer.apply([keras.ops.array([gradient])], [weight])
        square = 0.9 * square + 0.1 * gradient**2
        momentum = 0.9 * momentum + 0.5 * gradient / math.sqrt(square + 1)
        value -= momentum
        assert float(weight[0]) == pytest.approx(value, rel=1e-5)
