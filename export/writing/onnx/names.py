"""Names of the tensors of an ONNX file, and paddings that convolutions do themselves. Nothing here imports onnx."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

from mhmodels.export.quantisation.scheme import pre_activation, separate_activation
from mhmodels.export.writing.onnx.values import OnnxValues
from mhmodels.network import IMAGE, Op

Pads: TypeAlias = tuple[int, int, int, int]
"""Rows above and below and columns left and right."""

NO_PADS: Pads = (0, 0, 0, 0)

IMAGE_FIRST = f"{IMAGE}/first"
"""The picture as the first operator reads it, with its channels first."""


class PaddedSource(NamedTuple):
    """An operation whose output is read with zeros around it."""

    name: str
    pads: Pads


def tensor_names(ops: Sequence[Op], outputs: Mapping[str, str], values: OnnxValues, io: str) -> dict[str, str]:
    """Returns the names that outputs of operations have in a file in place of the operation's name.

    Args:
        ops: The written operations.
        outputs: Operations by the names of the outputs.
        values: How the numbers of the file are stored.
        io: Element type of the outputs.
    """
    kinds = {op.name: op.kind for op in ops}
    names = {IMAGE: IMAGE_FIRST}
    for output, name in outputs.items():
        if kinds[name] in ("reshape", "softmax") and io == values.activation(name).dtype:
            names.setdefault(name, output)  # maps, in contrast, are transposed on their way out
    for op in ops:
        if op.name in outputs:  # the output of another operation bears this name
            names.setdefault(op.name, f"{op.name}/inner")
    return names


def folded_pads(ops: Sequence[Op], outputs: Mapping[str, str]) -> dict[str, PaddedSource]:
    """Returns the paddings that are done by all convolutions that read them, by the name of the padding.

    Args:
        ops: The written operations.
        outputs: Operations by the names of the outputs.
    """
    readers = {op.name: {other.kind for other in ops if op.name in other.inputs} for op in ops if op.kind == "pad"}
    return {
        op.name: PaddedSource(op.inputs[0], op.pads)
        for op in ops
        if op.kind == "pad"
        and op.inputs[0] not in readers
        and op.name not in outputs.values()
        and readers[op.name] <= {"conv", "depthwise"}
    }


def layer_tensors(ops: Sequence[Op], outputs: Mapping[str, str], values: OnnxValues, io: str) -> dict[str, str]:
    """Returns the tensors of a file that hold the outputs of operations, by operation, with `IMAGE` and `NAME/pre`.

    Operations without a tensor of their own, which are folded paddings, are left out. Arguments are those of `tensor_names`.
    """
    names, folded = tensor_names(ops, outputs, values, io), folded_pads(ops, outputs)
    places = {IMAGE: names[IMAGE]}
    for op in ops:
        if op.kind in ("conv", "depthwise") and separate_activation(op):
            places[pre_activation(op)] = pre_activation(op)
        if op.name not in folded:
            places[op.name] = names.get(op.name, op.name)
    return places
