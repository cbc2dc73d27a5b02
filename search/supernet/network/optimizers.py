"""Update rules for shared weights: one fused kernel for each weight, because all weights move in every step.

Weights that no sampled network reads move as well, by their momentum, as in TuNAS. Keras' optimizers compute the same numbers
in a dozen passes over memory, which cost more time than the backward pass of a small network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import tensorflow as tf

from mhmodels.training.recipes import SGD, Adam, RMSProp

Update: TypeAlias = Callable[[tf.Tensor, Sequence[tf.Tensor], tf.Tensor, tf.Tensor, tf.Tensor], None]


class UpdateRule(NamedTuple):
    """An update rule.

    Attributes:
        slots: Names of the variables beside every weight, which have its shape and begin at 0.
        update: Function that moves a weight: it takes the handle of the weight, the handles of its slots, the gradient, the
            learning rate and the step, which counts from 1, as float32.
    """

    slots: tuple[str, ...]
    update: Update


def make_rule(optimizer: RMSProp | Adam | SGD) -> UpdateRule:
    """The update rule of an optimizer; it computes the same numbers as the optimizer in Keras.

    Args:
        optimizer: Settings as in recipes and presets.
    """
    if isinstance(optimizer, RMSProp):
        return _rmsprop(optimizer)
    return _adam(optimizer) if isinstance(optimizer, Adam) else _sgd(optimizer)


def _rmsprop(settings: RMSProp) -> UpdateRule:
    def update(weight: tf.Tensor, slots: Sequence[tf.Tensor], gradient: tf.Tensor, rate: tf.Tensor, _step: tf.Tensor) -> None:
        tf.raw_ops.ResourceApplyRMSProp(
            var=weight, ms=slots[0], mom=slots[1], lr=rate, rho=settings.decay, momentum=settings.momentum,
            epsilon=settings.epsilon, grad=gradient,
        )  # fmt: skip

    return UpdateRule(("velocity", "momentum"), update)


def _adam(settings: Adam) -> UpdateRule:
    def update(weight: tf.Tensor, slots: Sequence[tf.Tensor], gradient: tf.Tensor, rate: tf.Tensor, step: tf.Tensor) -> None:
        tf.raw_ops.ResourceApplyAdam(
            var=weight, m=slots[0], v=slots[1], beta1_power=settings.beta_1**step, beta2_power=settings.beta_2**step,
            lr=rate, beta1=settings.beta_1, beta2=settings.beta_2, epsilon=settings.epsilon, grad=gradient,
        )  # fmt: skip

    return UpdateRule(("momentum", "velocity"), update)


def _sgd(settings: SGD) -> UpdateRule:
    def update(weight: tf.Tensor, slots: Sequence[tf.Tensor], gradient: tf.Tensor, rate: tf.Tensor, _step: tf.Tensor) -> None:
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=weight, accum=slots[0], lr=rate, grad=gradient, momentum=settings.momentum, use_nesterov=settings.nesterov
        )

    return UpdateRule(("momentum",), update)
