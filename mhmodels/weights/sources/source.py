"""The common form of weights of other programs: layers in order, whatever file or object they come from.

A reader (`checkpoint`, `keras_file`, `state_dict`) turns its format into a `WeightsSource`; `matching` maps a source onto a
network. Only names and shapes are read until a mapping is found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

LayerKind: TypeAlias = Literal["conv", "depthwise", "batch_norm", "other"]
VariableRole: TypeAlias = str

KERNEL_ROLES = ("kernel", "bias")
NORM_ROLES = ("gamma", "beta", "moving_mean", "moving_variance")


class Variable(NamedTuple):
    """One stored array.

    Attributes:
        name: Name in the source.
        shape: Stored shape; a dense kernel is (in, out).
        dtype: NumPy's name of the type, or the source's own.
        read: Function that returns the array.
        stored: Shape in the source, where `shape` is that of the array transposed for Keras; None where both are the same.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], NDArray[np.generic]]
    stored: tuple[int, ...] | None = None


class Layer(NamedTuple):
    """A convolution, dense layer (kind `conv`, a 1x1 convolution) or batch normalisation, with its variables by role."""

    kind: LayerKind
    name: str
    variables: dict[VariableRole, Variable]


class Part(NamedTuple):
    """A model inside a source: `model`, `backbone`, …; its layers in the order of execution within each kind."""

    name: str
    layers: tuple[Layer, ...]


class WeightsSource(NamedTuple):
    """Weights of another program.

    Attributes:
        path: File, checkpoint prefix, or name of a model object.
        kind: Format in words.
        parts: Models that may be the wanted one, outermost first.
        variables: Names of everything stored that is not training state.
        training_state: Names of optimizer slots, counters and the like.
        averages: Exponential moving averages by the names of their variables, where the optimizer keeps them.
        step: Training step, if it is stored.
        origin: Definer of such networks: `tf_model_garden`, `keras`, or a package of PyTorch.
    """

    path: str
    kind: str
    parts: tuple[Part, ...]
    variables: tuple[str, ...]
    training_state: tuple[str, ...] = ()
    averages: dict[str, Variable] = {}  # noqa: RUF012 - never written to
    step: int | None = None
    origin: Literal["tf_model_garden", "keras", "timm", "torchvision", "lukemelas"] = "keras"


def layer_of(name: str, variables: dict[VariableRole, Variable]) -> Layer:
    """Names the kind of a layer by the variables that it has."""
    roles = set(variables)
    if "depthwise_kernel" in roles and roles <= {"depthwise_kernel", "bias"}:
        renamed = {"kernel" if role == "depthwise_kernel" else role: value for role, value in variables.items()}
        return Layer("depthwise", name, renamed)
    if "kernel" in roles and roles <= set(KERNEL_ROLES) and len(variables["kernel"].shape) in (2, 4):
        return Layer("conv", name, variables)
    if roles & set(NORM_ROLES) and roles <= set(NORM_ROLES):
        return Layer("batch_norm", name, variables)
    return Layer("other", name, variables)
