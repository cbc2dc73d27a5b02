"""What a training step minimises: cross-entropy with labels, or the distance to the scores of a teacher.

Regularisation (L2, `optimisation.l2_penalty`) is added by the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import keras
import tensorflow as tf

from mhmodels.training.optimisation import cross_entropy
from mhmodels.training.recipes import Distillation


class PictureLosses(NamedTuple):
    """Losses of a batch, and the classes that count as right.

    Attributes:
        losses: float32 (n,), in nats.
        expected: int32 (n,), the class of each picture.
    """

    losses: tf.Tensor
    expected: tf.Tensor


LossFunction: TypeAlias = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], PictureLosses]
"""(normalised pictures, labels, float32 logits) -> losses of the pictures."""


class RunLosses(NamedTuple):
    """The loss functions of a run.

    Attributes:
        train: Loss that training minimises.
        test: Loss that evaluations report.
    """

    train: LossFunction
    test: LossFunction


def label_losses(smoothing: float) -> RunLosses:
    """Returns the cross-entropy with the labels; `smoothing` is the label smoothing in training."""
    return RunLosses(_cross_entropy(smoothing), _cross_entropy(0.0))


def distillation_losses(teacher: keras.Model, distillation: Distillation) -> RunLosses:
    """Returns the divergence from the scores of a teacher; labels have no effect.

    The training loss is T² KL(softmax(teacher / T) ‖ softmax(student / T)) (Hinton et al., arXiv 1503.02531, section 2). The
    factor T² keeps the size of the gradients for every temperature T. Evaluations report the divergence at T = 1. The class that
    counts as right is the teacher's best one, so that the accuracy of the student is its agreement with the teacher.

    Args:
        teacher: Model from normalised pictures to logits. It is not trained.
        distillation: The temperature.
    """
    return RunLosses(_divergence(teacher, distillation.temperature), _divergence(teacher, 1.0))


def _cross_entropy(smoothing: float) -> LossFunction:
    def losses(_images: tf.Tensor, labels: tf.Tensor, logits: tf.Tensor) -> PictureLosses:
        return PictureLosses(cross_entropy(labels, logits, smoothing), labels)

    return losses


def _divergence(teacher: keras.Model, temperature: float) -> LossFunction:
    def losses(images: tf.Tensor, labels: tf.Tensor, logits: tf.Tensor) -> PictureLosses:
        wanted = tf.stop_gradient(tf.cast(teacher(images, training=False), tf.float32))
        target = tf.nn.log_softmax(wanted / temperature)
        distance = target - tf.nn.log_softmax(logits / temperature)
        divergence = temperature**2 * tf.reduce_sum(tf.exp(target) * distance, axis=1)
        return PictureLosses(divergence, tf.argmax(wanted, axis=1, output_type=labels.dtype))

    return losses
