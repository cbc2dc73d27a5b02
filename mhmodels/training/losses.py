"""What a training step minimises: cross-entropy with labels, or the distance to the scores of a teacher.

Regularisation (L2, `optimisation.l2_penalty`) is added by the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import keras
import tensorflow as tf

from mhmodels.training.optimisation import cross_entropy
from mhmodels.training.recipes import Distillation

_SMALLEST_VARIANCE = 1e-9


class PictureLosses(NamedTuple):
    """Losses of a batch, and the classes that count as right.

    Attributes:
        losses: float32 (n,), in nats.
        expected: int32 (n,), the class of each picture.
    """

    losses: tf.Tensor
    expected: tf.Tensor


LossFunction: TypeAlias = Callable[[tf.Tensor, tf.Tensor, Sequence[tf.Tensor]], PictureLosses]
"""(normalised pictures, labels, outputs) -> losses of the pictures. The first output is the logits, float32 (n, classes)."""


class RunLosses(NamedTuple):
    """The loss functions of a run.

    Attributes:
        train: Loss that training minimises.
        test: Loss that evaluations report, of the logits alone.
        features: Tensors of the trained model that `train` takes as outputs after the logits.
    """

    train: LossFunction
    test: LossFunction
    features: Sequence[keras.KerasTensor] = ()


def label_losses(smoothing: float) -> RunLosses:
    """Returns the cross-entropy with the labels; `smoothing` is the label smoothing in training."""
    return RunLosses(_cross_entropy(smoothing), _cross_entropy(0.0))


def distillation_losses(
    teacher: keras.Model, distillation: Distillation, features: Sequence[keras.KerasTensor] = ()
) -> RunLosses:
    """Returns the distance to the scores and features of a teacher; labels have no effect.

    The training loss is T² KL(softmax(teacher / T) ‖ softmax(student / T)) (Hinton et al., arXiv 1503.02531, section 2), plus
    the mean squared difference of each feature map as a share of the variance of the teacher's, averaged over the maps. The
    factor T² keeps the size of the gradients for every temperature T. Evaluations report the divergence at T = 1. The class that
    counts as right is the teacher's best one, so that the accuracy of the student is its agreement with the teacher.

    Args:
        teacher: Model from normalised pictures to logits and feature maps, in the order of `features`. It is not trained.
        distillation: Temperature and weight of the features.
        features: Feature maps of the student.
    """
    return RunLosses(_distance(teacher, distillation.temperature, distillation.features), _distance(teacher, 1.0, 0.0), features)


def _cross_entropy(smoothing: float) -> LossFunction:
    def losses(_images: tf.Tensor, labels: tf.Tensor, outputs: Sequence[tf.Tensor]) -> PictureLosses:
        return PictureLosses(cross_entropy(labels, outputs[0], smoothing), labels)

    return losses


def _distance(teacher: keras.Model, temperature: float, weight: float) -> LossFunction:
    def losses(images: tf.Tensor, labels: tf.Tensor, outputs: Sequence[tf.Tensor]) -> PictureLosses:
        wanted, *maps = (tf.stop_gradient(tf.cast(each, tf.float32)) for each in tf.nest.flatten(teacher(images, training=False)))
        target = tf.nn.log_softmax(wanted / temperature)
        distance = target - tf.nn.log_softmax(outputs[0] / temperature)
        total = temperature**2 * tf.reduce_sum(tf.exp(target) * distance, axis=1)
        found = outputs[1:]
        if weight and found:
            total += weight / len(found) * tf.add_n([_feature_distance(*pair) for pair in zip(maps, found, strict=True)])
        return PictureLosses(total, tf.argmax(wanted, axis=1, output_type=labels.dtype))

    return losses


def _feature_distance(wanted: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
    """Returns the mean squared difference of each picture's map as a share of the variance over the batch, float32 (n,)."""
    axes = list(range(1, len(wanted.shape)))
    return tf.reduce_mean(tf.square(wanted - found), axes) / (tf.math.reduce_variance(wanted) + _SMALLEST_VARIANCE)
