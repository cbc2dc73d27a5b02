"""Recognises the network of the zoo that a Keras model is or is built on, and its feature maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import keras

from mhmodels.architecture import Architecture, Conv, Head
from mhmodels.builder import keras_name
from mhmodels.errors import ArchitectureError
from mhmodels.export.errors import ExportError
from mhmodels.export.reading.keras_model.reader import ReadModel
from mhmodels.network import IMAGE, OUTPUT_STRIDES, Endpoint, Network, Op, lower
from mhmodels.registry import zoo
from mhmodels.weights.matching import COMMON_WIDTHS

_ANY_WIDTH = tuple(step / 20 for step in range(1, 41))


class Recognised(NamedTuple):
    """The network that a model is, or is built on.

    Attributes:
        architecture: Architecture of the model, or of its backbone; for an unknown model a frame that only carries sizes.
        backbone: The part of the network that it has of the zoo; None for an unknown one.
    """

    architecture: Architecture
    backbone: Network | None


def endpoints(read: ReadModel, network: Network | None) -> tuple[Endpoint, ...]:
    """Returns the feature maps of a model: its outputs if it ends in maps of its own, else those of its backbone."""
    ops = {op.name: op for op in read.ops}
    ends_in_map = ops[read.outputs[0]].size != (1, 1) and (network is None or read.outputs[0] != network.last_map)
    if len(read.outputs) > 1 or ends_in_map:
        strides = _strides(read)
        return tuple(_endpoint(ops[name], strides[name], level) for level, name in enumerate(read.outputs))
    return () if network is None else tuple(endpoint for endpoint in network.endpoints if endpoint.layer in ops)


def _endpoint(op: Op, stride: int, level: int) -> Endpoint:
    return Endpoint(op.name, stride, op.channels, level, op.keras_layer)


def _strides(read: ReadModel) -> dict[str, int]:
    """Returns the stride of each map, from the strides on the way to it; sizes that do not divide evenly would not show it."""
    strides = {IMAGE: 1}
    for op in read.ops:
        # A gate comes from a pooled map; what it is multiplied with has the size.
        strides[op.name] = (
            read.size[0]
            if op.kind in ("pool", "global_max_pool", "flatten")
            else op.stride * min(strides[name] for name in op.inputs)
        )
    return strides


def recognise(model: keras.Model, read: ReadModel) -> Recognised:
    """Looks for the operations of a model among those of the zoo.

    Raises:
        ExportError: The model has no convolution.
    """
    ops = {op.name: op for op in read.ops}
    classes = read.ops[-1].channels if read.ops else 0
    names = {model.name, *(layer.name for layer in model.layers)}
    everything = [entry.architecture for entry in zoo().values()]
    named = [architecture for architecture in everything if keras_name(architecture.name) in names]
    # A backbone that was built with an output stride has other strides and dilations.
    searches = (
        (named, (*COMMON_WIDTHS, *_ANY_WIDTH), (None, *OUTPUT_STRIDES)),
        (everything, COMMON_WIDTHS, (None,)),
    )
    for candidates, widths, output_strides in searches:
        for candidate in candidates:
            for width in widths:
                found = candidate.at(width_multiplier=width, input_size=read.size, input_channels=read.channels, classes=classes)
                for output_stride in output_strides:
                    backbone = _backbone(found, output_stride)
                    # A model of feature maps ends before its backbone does.
                    if backbone is not None and _contains(ops, backbone):
                        whole = output_stride is None and lower(found).ops == read.ops
                        return Recognised(found if whole else found.at(name=model.name), backbone)
    if not any(op.kind == "conv" for op in read.ops):
        raise ExportError(f"model '{model.name}' has no convolution")
    return Recognised(frame(model.name, read.size, read.channels, classes), None)


def _backbone(architecture: Architecture, output_stride: int | None) -> Network | None:
    try:
        return lower(architecture, top=False, output_stride=output_stride)
    except ArchitectureError:  # it has no such output stride
        return None


def _contains(ops: Mapping[str, Op], backbone: Network) -> bool:
    parts = {op.name: op for op in backbone.ops}
    return bool(ops) and (parts.items() <= ops.items() or ops.items() <= parts.items())


def frame(name: str, size: tuple[int, int], channels: int, classes: int) -> Architecture:
    """Returns an architecture that carries the sizes and the default preprocessing of a network outside the zoo."""
    return Architecture(
        name=name,
        stem=(Conv(filters=classes),),
        stages=(),
        head=Head(),
        input_size=size,
        input_channels=channels,
        classes=classes,
    )


def unknown_frame(model: keras.Model, size: tuple[int, int] | None, error: ExportError) -> Architecture:
    """Returns the frame of a model that could not be read, from its inputs and outputs; raises `error` if they do not tell."""
    shape, output = tuple(model.inputs[0].shape), tuple(model.outputs[0].shape)
    if len(shape) != 4 or output[-1] is None:
        raise error
    height, width = size or (shape[1], shape[2])
    if height is None or width is None or shape[3] is None:
        raise error
    return frame(model.name, (height, width), shape[3], output[-1])
