"""The fused update rules are Keras' optimizers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mhmodels.training.recipes import SGD, Adam, LearningRate, Recipe, RMSProp

pytestmark = [pytest.mark.tensorflow, pytest.mark.numeric]


@pytest.mark.parametrize(
    "optimizer",
    [RMSProp(), RMSProp(decay=0.8, momentum=0.5, epsilon=1e-3), Adam(), Adam(beta_1=0.0), SGD(), SGD(nesterov=True)],
    ids=repr,
)
def test_a_rule_is_keras_optimizer(optimizer: Any) -> None:
    import keras
    import tensorflow as tf

    from mhmodels.search.supernet.network.optimizers import make_rule
    from mhmodels.training.optimisation import make_optimizer

    rng = np.random.default_rng(0)
    begin = rng.normal(size=(3, 4)).astype(np.float32)
    gradients = [rng.normal(size=(3, 4)).astype(np.float32) * (0.0 if step in (3, 4) else 1.0) for step in range(8)]
    rate = LearningRate(peak=0.05)
    theirs = keras.Variable(begin)
    keras_optimizer = make_optimizer(Recipe(name="x", epochs=1, batch_size=1, optimizer=optimizer, learning_rate=rate), rate.peak)
    rule = make_rule(optimizer)
    ours = tf.Variable(begin)
    slots = [tf.Variable(tf.zeros_like(ours)) for _ in rule.slots]
    for step, gradient in enumerate(gradients, 1):
        keras_optimizer.apply([tf.constant(gradient)], [theirs])
        handles = [slot.handle for slot in slots]
        rule.update(ours.handle, handles, tf.constant(gradient), tf.constant(rate.peak), tf.constant(float(step)))
        np.testing.assert_allclose(ours.numpy(), np.asarray(theirs), rtol=1e-4, atol=1e-6)
    assert np.abs(ours.numpy() - begin).max() > 0.05
