"""Evaluation of a model: accuracy and loss on the pictures of a source."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import keras
import tensorflow as tf

from mhmodels.architecture import Preprocessing
from mhmodels.preprocessing.decoding import SkippedPicture
from mhmodels.training.data.feed import Feed, Pipeline
from mhmodels.training.losses import LossFunction, label_losses

DistributedBatch: TypeAlias = tuple[tf.Tensor, ...]
"""A distributed batch: pixels, labels and, for evaluation, weights."""
EvaluationStep: TypeAlias = Callable[[DistributedBatch], tf.Tensor]


class Evaluation(NamedTuple):
    """Accuracy and loss of a model on the pictures of a source.

    Attributes:
        pictures: Number of evaluated pictures, without the unreadable ones.
        top1: Share of pictures whose class has the highest score, 0 to 1.
        top5: Share of pictures whose class is among the five highest scores, 0 to 1.
        loss: Mean loss in nats: cross-entropy without label smoothing, or divergence from a teacher.
        skipped: Pictures that could not be read, with the reasons.

    Example:
        >>> from mhmodels.training import Evaluation
        >>> Evaluation(pictures=100, top1=0.9, top5=1.0, loss=0.3, skipped=()).top1
        0.9
    """

    pictures: int
    top1: float
    top5: float
    loss: float
    skipped: tuple[SkippedPicture, ...]


def normaliser(preprocessing: Preprocessing) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function of pixels that computes (pixel - mean) / std in float32 inside a graph."""
    mean = tf.constant(preprocessing.mean, tf.float32)
    std = tf.constant(preprocessing.std, tf.float32)
    return lambda pixels: (tf.cast(pixels, tf.float32) - mean) / std


def right_first(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Returns for each picture whether the logit of its label is the largest one, bool of shape (n,).

    Of equal logits the first one counts, as in a prediction. `in_top_k` would count every one of them, so that a network with
    constant scores would always be right. A picture with a logit that is not finite is never right.

    Args:
        labels: Labels of shape (n,).
        logits: Logits of shape (n, classes).
    """
    return tf.equal(tf.argmax(logits, axis=1, output_type=labels.dtype), labels) & _finite(logits)


def right_among(labels: tf.Tensor, logits: tf.Tensor, count: int) -> tf.Tensor:
    """As `right_first`, for the `count` largest logits."""
    best = tf.math.top_k(logits, count).indices
    return tf.reduce_any(tf.equal(tf.cast(best, labels.dtype), labels[:, None]), axis=1) & _finite(logits)


def _finite(logits: tf.Tensor) -> tf.Tensor:
    return tf.reduce_all(tf.math.is_finite(logits), axis=1)


def make_test_step(
    model: keras.Model, preprocessing: Preprocessing, strategy: tf.distribute.Strategy, loss: LossFunction
) -> EvaluationStep:
    """Returns a function of one distributed batch to (pictures, right, right among five, summed loss), float32 (4,)."""
    normalise = normaliser(preprocessing)

    def replica_step(pixels: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Sums over one replica's part."""
        images = normalise(pixels)
        logits = tf.cast(model(images, training=False), tf.float32)
        # A placeholder (weight 0) has no meaning; nothing of it may count, not even a NaN.
        judged = weights > 0
        found, expected = loss(images, labels, [logits])
        hits = right_first(expected, logits), right_among(expected, logits, min(5, logits.shape[-1]))
        losses = tf.where(judged, found, 0.0)
        right = [tf.reduce_sum(tf.cast(tf.logical_and(hit, judged), tf.float32)) for hit in hits]
        return tf.stack([tf.reduce_sum(weights), *right, tf.reduce_sum(losses)])

    def step(batch: DistributedBatch) -> tf.Tensor:
        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(replica_step, args=batch), axis=None)

    compiled: EvaluationStep = tf.function(step, reduce_retracing=True, autograph=False)
    return compiled


def run_test(test_step: EvaluationStep, feed: Feed, pipeline: Pipeline, strategy: tf.distribute.Strategy) -> Evaluation:
    """Evaluates all pictures of a feed.

    Raises:
        DataError: Too many pictures are unreadable.
    """
    batches = strategy.distribute_datasets_from_function(
        lambda context: feed.evaluation(pipeline._replace(worker=context.input_pipeline_id, workers=context.num_input_pipelines))
    )
    sums = [0.0] * 4
    for batch in batches:
        feed.check()
        sums = [total + float(part) for total, part in zip(sums, test_step(batch), strict=True)]
    feed.check()
    pictures, top1, top5, loss = sums
    # A feed in which nothing is readable has failed its check, unless its recipe allows even that.
    judged = max(pictures, 1.0)
    return Evaluation(int(pictures), top1 / judged, top5 / judged, loss / judged, feed.skipped)


def evaluate(model: keras.Model, feed: Feed, preprocessing: Preprocessing, batch_size: int = 64) -> Evaluation:
    """Evaluates a model with logits (no softmax) on all pictures of a feed, in this process.

    Args:
        model: Model from float32 (n, height, width, 3) to logits (n, classes).
        feed: Feed of the test pictures, at the model's input size.
        preprocessing: Rule whose mean and std normalise the pixels.
        batch_size: Number of pictures computed at once; it does not change the result beyond rounding.

    Raises:
        DataError: Too many pictures are unreadable, or a label is outside the classes.
    """
    strategy = tf.distribute.get_strategy()
    step = make_test_step(model, preprocessing, strategy, label_losses(0.0).test)
    return run_test(step, feed, Pipeline(batch_size, batch_size), strategy)
