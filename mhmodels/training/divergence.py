"""Signs that training has diverged, found in the step in which they arise.

A finite loss proves nothing: kernels differ in what they make of NaN (oneDNN's ReLU6 returns 0, others return NaN). Each step
therefore also reports the norm of its gradients, whose sum of squares passes NaN and infinity on in every kernel, and whether
all weights are finite after the update. Both run inside the compiled step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray


def gradient_norm(gradients: Iterable[tf.Tensor | None]) -> tf.Tensor:
    """The Euclidean norm of all gradients together.

    Args:
        gradients: of one floating-point type; None where a weight has no gradient.

    Returns:
        A scalar of that type. NaN or infinite if a gradient is, or if its square exceeds the type: an optimizer that averages
        squares is then spoilt as well.
    """
    squares = [tf.nn.l2_loss(gradient) for gradient in gradients if gradient is not None]
    return tf.sqrt(2.0 * tf.add_n(squares)) if squares else tf.zeros(())


def all_finite(tensors: Iterable[tf.Tensor]) -> tf.Tensor:
    """Whether no value of any tensor is NaN or infinite, a bool scalar; integers are finite."""
    checked = [tf.reduce_all(tf.math.is_finite(tensor)) for tensor in tensors if tensor.dtype.is_floating]
    return tf.reduce_all(tf.stack(checked)) if checked else tf.constant(True)


def scaled_gradient_norm(norm: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """The norm of gradients whose loss was multiplied by a dynamic scale (mixed precision in 16 bits).

    Scaled gradients overflow now and then; the optimizer then skips the update and halves the scale. Only when the scale is no
    longer above 1 are the gradients themselves not finite.

    Args:
        norm: of the scaled gradients.
        scale: of the loss.

    Returns:
        The norm of the unscaled gradients; 0 where it cannot be known because the scale made them overflow.
    """
    overflow = tf.logical_and(tf.logical_not(tf.math.is_finite(norm)), scale > 1.0)
    return tf.where(overflow, tf.zeros_like(norm), norm / scale)


def first_not_finite(arrays: Mapping[str, NDArray[np.generic]]) -> str | None:
    """The name of the first array with a NaN or infinite value; None if all are finite."""
    return next((name for name, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()), None)


def first_bad(values: Sequence[float] | NDArray[np.float64]) -> int | None:
    """The index of the first number that is NaN or infinite; None if all are finite."""
    bad = np.flatnonzero(~np.isfinite(values))
    return int(bad[0]) if len(bad) else None
