"""Keras objects from a recipe: schedule, optimizer, loss terms, settings of batch normalisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from mhmodels.network import LOGITS
from mhmodels.training.recipes import SGD, Adam, LearningRate, Recipe, RMSProp

StepSizes: TypeAlias = Mapping[str, NDArray[np.float32]]
"""How far a step moves each variable at learning rate 1, by the path of the variable: arrays that broadcast to its shape."""

Schedule: TypeAlias = keras.optimizers.schedules.LearningRateSchedule | float


def make_schedule(rate: LearningRate, batch_size: int, steps: int) -> Schedule:
    """Returns the learning rate as a function of the step, over a whole run of `steps`."""
    peak, warmup = rate.peak_at(batch_size), round(rate.warmup * steps)
    if rate.decay == "cosine":
        if not warmup:
            return keras.optimizers.schedules.CosineDecay(peak, steps)
        return keras.optimizers.schedules.CosineDecay(0.0, max(1, steps - warmup), warmup_target=peak, warmup_steps=warmup)
    if not warmup:
        return peak
    return keras.optimizers.schedules.PolynomialDecay(0.0, warmup, peak)


class ScaledAdam(keras.optimizers.Adam):  # type: ignore[misc]
    """Adam whose learning rate is multiplied by a factor for each variable.

    Adam moves every variable by about the learning rate per step, whatever the size of its gradient. Variables of different
    magnitudes need steps of different sizes.

    Args:
        factors: Scalars or arrays of the shape of the variable, by the path of the variable.
        settings: As Keras' Adam takes them.
    """

    def __init__(self, factors: StepSizes, **settings: object) -> None:
        super().__init__(**settings)
        self._factors = factors

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Updates one variable."""
        path = self._trainable_variables[self._get_variable_index(variable)].path
        factor = tf.constant(self._factors[path], variable.dtype)
        super().update_step(gradient, variable, tf.cast(learning_rate, variable.dtype) * factor)


def make_optimizer(recipe: Recipe, schedule: Schedule, step_sizes: StepSizes | None = None) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a recipe; with `ema` it also averages the weights.

    Args:
        recipe: Settings.
        schedule: Learning rate.
        step_sizes: Factors of the learning rate by variable, for Adam only; None for 1.
    """
    shared: dict[str, object] = {"learning_rate": schedule}
    if recipe.ema is not None:
        shared |= {"use_ema": True, "ema_momentum": recipe.ema, "ema_overwrite_frequency": None}
    chosen = recipe.optimizer
    if step_sizes is not None:
        assert isinstance(chosen, Adam)
        return ScaledAdam(step_sizes, beta_1=chosen.beta_1, beta_2=chosen.beta_2, epsilon=chosen.epsilon, **shared)
    if isinstance(chosen, RMSProp):
        return keras.optimizers.RMSprop(rho=chosen.decay, momentum=chosen.momentum, epsilon=chosen.epsilon, **shared)
    if isinstance(chosen, Adam):
        return keras.optimizers.Adam(beta_1=chosen.beta_1, beta_2=chosen.beta_2, epsilon=chosen.epsilon, **shared)
    assert isinstance(chosen, SGD)
    return keras.optimizers.SGD(momentum=chosen.momentum, nesterov=chosen.nesterov, **shared)


def set_batch_norm(model: keras.Model, momentum: float, synchronised: bool) -> None:
    """Sets momentum and synchronisation of all batch normalisations of a model, before the model is traced."""
    for layer in _layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = momentum
            layer.synchronized = synchronised


def decayed_kernels(model: keras.Model) -> list[keras.Variable]:
    """Returns the variables that L2 applies to: kernels of convolutions, full and depthwise, without the classifier's."""
    return [
        variable
        for variable in model.trainable_variables
        if variable.name == "kernel" and len(variable.shape) == 4 and LOGITS not in variable.path.split("/")
    ]


def l2_penalty(kernels: list[keras.Variable], l2: float) -> tf.Tensor:
    """Returns l2 / 2 times the sum of squared kernels, a scalar."""
    return tf.add_n([tf.nn.l2_loss(tf.cast(kernel.value, tf.float32)) for kernel in kernels]) * l2


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor, smoothing: float) -> tf.Tensor:
    """Computes the softmax cross-entropy of each picture.

    Args:
        labels: int32 of shape (n,).
        logits: float32 of shape (n, classes).
        smoothing: Share of the target that is spread over all classes.

    Returns:
        Float32 of shape (n,), in nats.
    """
    classes = logits.shape[-1]
    target = tf.one_hot(labels, classes, on_value=1 - smoothing + smoothing / classes, off_value=smoothing / classes)
    return tf.nn.softmax_cross_entropy_with_logits(target, logits)


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yields all layers, those of nested models too."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)
