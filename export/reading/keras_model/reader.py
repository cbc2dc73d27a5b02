"""Reads the list of operations of a Keras model from its layers, for models with a head of the user's own.

A model of `mhmodels.builder` gives exactly the operations that it was built from, with a 1x1 convolution for a dense layer behind
the pooling. A layer without an operation is rejected by its name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Unpack

import keras

from mhmodels.blocks import OperationKind
from mhmodels.export.errors import ExportError
from mhmodels.export.reading.keras_model.layers import operation_of
from mhmodels.export.reading.keras_model.operation_list import Front, OpFields, Size
from mhmodels.export.reading.keras_model.zeros import without_paddings_of_same
from mhmodels.network import IMAGE, Op

if TYPE_CHECKING:
    from keras.src.ops.node import Node

FLATTEN = "flatten"


class ReadModel(NamedTuple):
    """The operations of a model.

    Attributes:
        ops: In execution order.
        layers: Keras layers with weights, by operation name; `NAME_bn` for its batch normalisation.
        tensors: Keras tensors that are the operations' outputs; those inside a model used as a layer are that model's.
        outputs: Operations that the model's outputs are.
        size: (height, width) of the input.
        channels: Of the input.
        front: What stands before the first operation.
    """

    ops: tuple[Op, ...]
    layers: dict[str, keras.layers.Layer]
    tensors: dict[str, keras.KerasTensor]
    outputs: tuple[str, ...]
    size: tuple[int, int]
    channels: int
    front: Front


class UnreadError(ExportError):
    """A model that has no list of operations.

    Attributes:
        front: What stands before its first operation, as far as it was read.
    """

    def __init__(self, message: str, front: Front) -> None:
        super().__init__(message)
        self.front = front


def read_model(model: keras.Model, size: tuple[int, int] | None = None) -> ReadModel:
    """Reads a functional or sequential model with one picture as its input.

    Args:
        model: Built; models inside it are entered.
        size: (height, width) for a model that takes any.

    Raises:
        UnreadError: A layer has no operation; the message names it.
        ExportError: The model's input is not one picture, or has no size.
    """
    inputs = getattr(model, "inputs", None)
    if not inputs or len(inputs) != 1 or len(inputs[0].shape) != 4:
        shapes = [tuple(entry.shape) for entry in inputs or ()]
        raise ExportError(f"model '{model.name}': inputs are {shapes}, expected one picture (batch, height, width, channels)")
    _, height, width, channels = inputs[0].shape
    if channels is None:
        raise ExportError(f"model '{model.name}': its input has no known number of channels")
    if size is None:
        if height is None or width is None:
            raise ExportError(f"model '{model.name}': takes pictures of any size, a file needs one: give argument 'input_size'")
        size = (height, width)
    elif (height, width) not in ((None, None), size):
        raise ExportError(
            f"model '{model.name}': built for {height}x{width} pixels, argument 'input_size' asks for {size[0]}x{size[1]}"
        )
    reader = _Reader(size, channels)
    try:
        _check_call(model)
        reader.bind(inputs[0], IMAGE)
        outputs = [reader.output(output) for output in model.outputs]
        if len(outputs) == 1:
            outputs = [reader.finished(outputs[0], FLATTEN)]
        else:
            # Of several outputs, vectors are scores and maps are maps, whatever their size.
            pairs = zip(outputs, model.outputs, strict=True)
            outputs = [reader.finished(name, f"{name}_{FLATTEN}") if len(tensor.shape) == 2 else name for name, tensor in pairs]
    except ExportError as error:
        raise UnreadError(str(error), reader.front) from error
    ops = without_paddings_of_same(tuple(reader.ops.values()), {IMAGE: size}, outputs)
    return ReadModel(ops, reader.layers, reader.tensors, tuple(outputs), size, channels, reader.front)


class _Reader:
    """The list of operations so far, and the operation of each Keras tensor."""

    def __init__(self, size: tuple[int, int], channels: int) -> None:
        self.ops: dict[str, Op] = {}
        self.layers: dict[str, keras.layers.Layer] = {}
        self.tensors: dict[str, keras.KerasTensor] = {}
        self.seen: set[int] = set()
        self.sizes: dict[str, Size] = {IMAGE: size}
        self.channels = {IMAGE: channels}
        self.values: dict[int, tuple[str, int]] = {}
        self.changes: dict[str, int] = {}
        self.readers: dict[str, str] = {}
        self.front = Front(channels)

    def bind(self, tensor: keras.KerasTensor, name: str) -> None:
        """Notes that a tensor is the output of an operation in its present form."""
        self.values[id(tensor)] = (name, self.changes.get(name, 0))

    def value(self, tensor: keras.KerasTensor) -> str:
        """Returns the operation whose output a tensor is, after reading the layers before it."""
        waiting = [tensor]
        while waiting:
            current = waiting[-1]
            if id(current) in self.values:
                waiting.pop()
                continue
            layer, node = _producer(current)
            inputs = list(node.input_tensors)
            missing = [entry for entry in inputs if id(entry) not in self.values]
            if missing:
                waiting.extend(missing)  # the last first: an addition's branch before its shortcut, as the builder has them
                continue
            name = self.apply(layer, node, current)
            self.bind(current, name)
            self.tensors[name] = current
        return self.read(tensor, "output")

    def output(self, tensor: keras.KerasTensor) -> str:
        """Returns the operation of an output of the model, into which nothing may be fused any more."""
        name = self.value(tensor)
        if name == IMAGE:
            raise ExportError("an output of the model is its input, which no operation computes")
        self.readers.setdefault(name, "output")
        return name

    def read(self, tensor: keras.KerasTensor, reader: str) -> str:
        """Returns the name of the operation that a reader reads."""
        name, change = self.values[id(tensor)]
        if self.changes.get(name, 0) != change:
            raise _read_early(name, reader)
        return name

    def is_first(self, name: str) -> bool:
        """Returns whether a value is the picture and no operation has read it yet."""
        return name == IMAGE and IMAGE not in self.readers

    def renew(self) -> None:
        """Marks the picture as changed, so that tensors that stood for it before may not be read any more."""
        self.changes[IMAGE] = self.changes.get(IMAGE, 0) + 1

    def apply(self, layer: keras.layers.Layer, node: Node, output: keras.KerasTensor) -> str:
        """Adds a layer as a node calls it, and returns the operation whose output is that of the layer."""
        if isinstance(layer, keras.Model):
            return self._inner(layer, list(node.input_tensors), output)
        kind = type(layer).__name__
        if id(layer) in self.seen and getattr(layer, "weights", None):
            raise ExportError(f"layer '{layer.name}' ({kind}) is used twice; a file cannot share weights between operations")
        self.seen.add(id(layer))
        names = [self.read(entry, layer.name) for entry in node.input_tensors]
        return operation_of(self, layer, names, tuple(output.shape), node.arguments.args)

    def _inner(self, model: keras.Model, inputs: list[keras.KerasTensor], output: keras.KerasTensor) -> str:
        """Adds a model that is used as a layer."""
        _check_call(model)
        if id(model) in self.seen:
            raise ExportError(f"model '{model.name}' is used twice; a file cannot share weights between operations")
        self.seen.add(id(model))
        for inner, outer in zip(model.inputs, inputs, strict=True):
            self.bind(inner, self.read(outer, model.name))
        return self.value(model.outputs[output._keras_history.tensor_index])

    def add(
        self,
        layer: keras.layers.Layer,
        kind: OperationKind,
        inputs: list[str],
        channels: int,
        size: Size,
        **more: Unpack[OpFields],
    ) -> str:
        """Adds an operation under a layer's name."""
        name = str(layer.name)
        if name in self.ops or name == IMAGE:
            raise ExportError(f"layer '{name}': two layers have this name")
        self.ops[name] = Op(name, kind, tuple(inputs), self.channels[inputs[0]], channels, size=size, **more)
        self.sizes[name], self.channels[name] = size, channels
        for source in inputs:
            self.readers.setdefault(source, name)
        return name

    def change(self, name: str, **fields: Unpack[OpFields]) -> str:
        """Fuses something into an operation, whose output no operation may have read before."""
        if name in self.readers:
            raise _read_early(name, self.readers[name])
        self.ops[name] = self.ops[name]._replace(**fields)
        self.changes[name] = self.changes.get(name, 0) + 1
        return name

    def finished(self, output: str, flatten: str) -> str:
        """Ends a classifier as the builder does, with an operation that flattens the scores before the softmax."""
        softmax = self.ops.pop(output) if self.ops[output].kind == "softmax" else None
        last = self.ops[output if softmax is None else softmax.inputs[0]]
        if last.size != (1, 1):
            return output
        flat = f"{flatten}_scores" if flatten in self.ops else flatten  # a layer of the user's has that name
        self.ops[flat] = Op(flat, "reshape", (last.name,), last.channels, last.channels)
        self._logits(last.name, flat)
        if softmax is None:
            return flat
        self.ops[output] = softmax._replace(inputs=(flat,))
        return output

    def _logits(self, name: str, flat: str) -> None:
        """Makes the Keras tensor before a softmax that is the activation of a layer, which has no such tensor."""
        layer = self.layers.get(name)
        if name not in self.tensors and layer is not None:
            linear = type(layer).from_config({**layer.get_config(), "name": f"{name}_linear", "activation": "linear"})
            self.tensors[name] = linear(layer.input)
            linear.set_weights(layer.get_weights())
        self.tensors[flat] = self.tensors.get(name)


def output_names(model: keras.Model) -> tuple[str, ...]:
    """Returns the names of the outputs of a model: those of their layers, numbered where a layer gives several."""
    names: list[str] = []
    for tensor in model.outputs:
        layer = str(tensor._keras_history.operation.name)
        count = sum(name == layer or name.startswith(f"{layer}_output") for name in names)
        names.append(f"{layer}_output{count + 1}" if layer in names else layer)
    return tuple(names)


def _check_call(model: keras.Model) -> None:
    """Rejects a model whose `call` is not that of Keras."""
    if type(model).call not in (keras.Model.call, keras.Sequential.call, _FUNCTIONAL.call):
        raise ExportError(
            f"model '{model.name}' ({type(model).__name__}): has a `call` of its own, which no list of operations follows from; "
            "float formats of it can be had with argument 'engine=tensorflow'"
        )


_INPUT = keras.Input((1,), name="nothing")
_FUNCTIONAL: type[keras.Model] = type(keras.Model(_INPUT, _INPUT, name="nothing"))
"""The class of functional models, for which Keras has no public name."""


def _read_early(name: str, reader: str) -> ExportError:
    if name == IMAGE:
        return ExportError(
            f"'{reader}' reads the picture before another layer scales it, which the file's preprocessing does; scale it once"
        )
    return ExportError(
        f"layer '{name}': '{reader}' reads it before its batch normalisation or activation, which a file fuses into it"
    )


def _producer(tensor: keras.KerasTensor) -> tuple[keras.Operation, Node]:
    """Returns the layer that made a Keras tensor, and the node that lists its inputs."""
    history = tensor._keras_history
    return history.operation, history.operation._inbound_nodes[history.node_index]
