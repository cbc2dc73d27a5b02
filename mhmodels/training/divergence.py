"""Detects divergence of training in the step in which it arises.

A finite loss proves nothing, because kernels treat NaN differently: oneDNN's ReLU6 returns 0, others return NaN. Each step
therefore also reports the norm of its gradients, whose sum of squares passes NaN and infinity on in every kernel, and whether
all weights are finite after the update. Both are computed inside the compiled step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray


def gradient_norm(gradients: Iterable[tf.Tensor | None]) -> tf.Tensor:
    """Computes the Euclidean norm of all gradients together.

    Args:
        gradients: Gradients of one floating-point type; None where a weight has no gradient.

    Returns:
        A scalar of that type. It is NaN or infinite if a gradient is, or if its square exceeds the type, which spoils an
        optimizer that averages squares as well.
    """
    squares = [tf.nn.l2_loss(gradient) for gradient in gradients if gradient is not None]
    return tf.sqrt(2.0 * tf.add_n(squares)) if squares else tf.zeros(())


def all_finite(tensors: Iterable[tf.Tensor]) -> tf.Tensor:
    """Returns a bool scalar: whether no value of any tensor is NaN or infinite. Integers are finite."""
    checked = [tf.reduce_all(tf.math.is_finite(tensor)) for tensor in tensors if tensor.dtype.is_floating]
    return tf.reduce_all(tf.stack(checked)) if checked else tf.constant(True)


def scaled_gradient_norm(norm: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """Returns the norm of gradients whose loss was multiplied by a dynamic scale (mixed precision with 16 bits).

    Scaled gradients overflow now and then; the optimizer then skips the update and halves the scale. Only when the scale is no
    longer above 1 are the gradients themselves not finite.

    Args:
        norm: Norm of the scaled gradients.
        scale: Scale of the loss.

    Returns:
        The norm of the unscaled gradients; 0 where it is unknown because the scale made them overflow.
    """
    overflow = tf.logical_and(tf.logical_not(tf.math.is_finite(norm)), scale > 1.0)
    return tf.where(overflow, tf.zeros_like(norm), norm / scale)


def first_not_finite(arrays: Mapping[str, NDArray[np.generic]]) -> str | None:
    """Returns the name of the first array with a NaN or infinite value; None if all are finite."""
    return next((name for name, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()), None)


def first_bad(values: Sequence[float] | NDArray[np.float64]) -> int | None:
    """Returns the index of the first number that is NaN or infinite; None if all are finite."""
    bad = np.flatnonzero(~np.isfinite(values))
    return int(bad[0]) if len(bad) else None
