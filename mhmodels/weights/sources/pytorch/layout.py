"""Names and shapes that PyTorch gives the variables of Keras' layers, for messages to users of PyTorch."""

from __future__ import annotations

from mhmodels.weights.sources.source import LayerKind, VariableRole

NORM_TENSORS = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
KERNEL_TENSORS = {"kernel": "weight", "bias": "bias"}


def tensor_name(kind: LayerKind, role: VariableRole) -> str:
    """Returns the last part of the name of a tensor, such as `weight`, for a variable of a layer."""
    return (NORM_TENSORS if kind == "batch_norm" else KERNEL_TENSORS).get(role, role)


def tensor_shape(kind: LayerKind, role: VariableRole, shape: tuple[int, ...], *, dense: bool = False) -> tuple[int, ...]:
    """Returns the shape that PyTorch gives a variable.

    Args:
        kind: Kind of the layer.
        role: Role of the variable.
        shape: Shape in Keras: (height, width, in, out) for a convolution, (height, width, channels, 1) for a depthwise one.
        dense: Whether the layer is a dense one there, which is a 1x1 convolution here.
    """
    if role != "kernel" or len(shape) != 4:
        return shape
    height, width, before, behind = shape
    if dense:
        return behind, before
    return (before, behind, height, width) if kind == "depthwise" else (behind, before, height, width)
