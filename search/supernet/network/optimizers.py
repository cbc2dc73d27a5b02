"""Update rules on shared weights: one fused kernel a weight, because all of them move in every step.

Also weights that no sampled network reads move, by their momentum, as in TuNAS. Keras' optimizers compute the same in a
dozen passes over memory, which costs more than a small network's backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import tensorflow as tf

from mhmodels.training.recipes import SGD, Adam, RMSProp

Update: TypeAlias = Callable[[Any, Sequence[Any], tf.Tensor, tf.Tensor, tf.Tensor], None]


class UpdateRule(NamedTuple):
    """How weights follow gradients.

    Attributes:
        slots: variables beside every weight, of its shape, which begin at 0.
        update: of the weight's handle, its slots' handles, the gradient, the learning rate and the step from 1, float32.
    """

    slots: tuple[str, ...]
    update: Update


def make_rule(optimizer: RMSProp | Adam | SGD) -> UpdateRule:
    """The rule of an optimizer as recipes and presets state it; the numbers are those of Keras' optimizers."""
    if isinstance(optimizer, RMSProp):
        return _rmsprop(optimizer)
    return _adam(optimizer) if isinstance(optimizer, Adam) else _sgd(optimizer)


def _rmsprop(settings: RMSProp) -> UpdateRule:
    def update(weight: Any, slots: Sequence[Any], gradient: tf.Tensor, rate: tf.Tensor, _step: tf.Tensor) -> None:
        tf.raw_ops.ResourceApplyRMSProp(
            var=weight, ms=slots[0], mom=slots[1], lr=rate, rho=settings.decay, momentum=settings.momentum,
            epsilon=settings.epsilon, grad=gradient,
        )  # fmt: skip

    return UpdateRule(("velocity", "momentum"), update)


def _adam(settings: Adam) -> UpdateRule:
    def update(weight: Any, slots: Sequence[Any], gradient: tf.Tensor, rate: tf.Tensor, step: tf.Tensor) -> None:
        tf.raw_ops.ResourceApplyAdam(
            var=weight, m=slots[0], v=slots[1], beta1_power=settings.beta_1**step, beta2_power=settings.beta_2**step,
            lr=rate, beta1=settings.beta_1, beta2=settings.beta_2, epsilon=settings.epsilon, grad=gradient,
        )  # fmt: skip

    return UpdateRule(("momentum", "velocity"), update)


def _sgd(settings: SGD) -> UpdateRule:
    def update(weight: Any, slots: Sequence[Any], gradient: tf.Tensor, rate: tf.Tensor, _step: tf.Tensor) -> None:
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=weight, accum=slots[0], lr=rate, grad=gradient, momentum=settings.momentum, use_nesterov=settings.nesterov
        )

    return UpdateRule(("momentum",), update)
