"""The layers of an ONNX file: names, shapes and work of its operators, without the nodes that only quantise and dequantise."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mhmodels.errors import FileFormatError
from mhmodels.hardware.layers.file_layers import FileLayer
from mhmodels.hardware.layers.profile import LayerCost

if TYPE_CHECKING:
    import onnx

_CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")
_NAMES = {
    "Gemm": "FULLY_CONNECTED",
    "MatMul": "FULLY_CONNECTED",
    "HardSwish": "HARD_SWISH",
    "Sigmoid": "LOGISTIC",
    "GlobalAveragePool": "MEAN",
    "ReduceMean": "MEAN",
    "AveragePool": "AVERAGE_POOL_2D",
    "MaxPool": "MAX_POOL_2D",
    "Concat": "CONCATENATION",
}
"""Names of TFLite operators that are not the ONNX name in capitals."""

_ACTIVATIONS = ("RELU", "CLIP", "HARD_SWISH")


class OnnxLayers(NamedTuple):
    """Layers of an ONNX file.

    Attributes:
        layers: Layers in the order of the file, with the names of TFLite operators.
        writers: Position of the layer that computes a tensor, by name of the tensor; quantised and dequantised copies of the
            tensor belong to the same layer.
    """

    layers: tuple[FileLayer, ...]
    writers: dict[str, int]

    def find(self, tool_name: str) -> int | None:
        """Position of the layer that a tool names after a tensor, perhaps with suffixes such as `_ConvAdd`; None if unknown."""
        name = tool_name
        while name not in self.writers and "_" in name:
            name = name.rpartition("_")[0]
        return self.writers.get(name)

    def owner(self, position: int, found: Collection[int]) -> int:
        """Position of the layer that a cost belongs to.

        A tool may name a convolution and the activation behind it after the activation; the cost is then the convolution's.

        Args:
            position: Layer that the tool names.
            found: Positions of all layers that it names.
        """
        layer = self.layers[position]
        fused = layer.operator in _ACTIVATIONS and layer.source >= 0 and layer.source not in found
        return layer.source if fused and self.layers[layer.source].macs else position

    def cost(self, position: int, cost: float, memory: str, parts: int) -> LayerCost:
        """Returns the cost of a layer.

        Args:
            position: The layer.
            cost: Its cost, in the unit of the profile.
            memory: Memory that limits the layer; "" where computing does.
            parts: Number of the tool's operations that the cost is the sum of.
        """
        layer = self.layers[position]
        return LayerCost(
            name=layer.name,
            operator=layer.operator,
            position=position,
            cost=cost,
            macs=layer.macs,
            moved_bytes=layer.moved_bytes,
            bound="memory" if memory else "compute",
            memory=memory,
            parts=parts,
        )

    def without_cost(self, known: Collection[int]) -> tuple[str, ...]:
        """Returns the names of the layers that are not at known positions, in the order of the file."""
        return tuple(layer.name for layer in self.layers if layer.position not in known)


class _Tensor(NamedTuple):
    shape: tuple[int, ...]
    item_bytes: int

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.item_bytes


def read_onnx_layers(path: Path) -> OnnxLayers:
    """Lists the operators of an ONNX file as layers.

    Args:
        path: A file that `prepare` has checked.

    Raises:
        FileFormatError: The shape of a tensor does not follow from the file.
    """
    import onnx
    from onnx import shape_inference

    try:
        graph = shape_inference.infer_shapes(onnx.load(path), strict_mode=True).graph
    except shape_inference.InferenceError as error:
        raise FileFormatError(f"{path}: the shapes of its tensors do not follow from the file ({error})") from error
    return _Reader(graph, path).read()


class _Reader:
    def __init__(self, graph: onnx.GraphProto, path: Path) -> None:
        self.graph, self.path = graph, path
        self.tensors = _tensors(graph)
        conversions = [node for node in graph.node if node.op_type in _CONVERSIONS]
        # The quantised tensor behind a DequantizeLinear, and the one that a QuantizeLinear makes.
        self.before = {node.output[0]: node.input[0] for node in conversions}
        self.after = {node.input[0]: node.output[0] for node in reversed(conversions) if node.op_type == "QuantizeLinear"}

    def read(self) -> OnnxLayers:
        layers: list[FileLayer] = []
        writers: dict[str, int] = {}
        for node in self.graph.node:
            if node.op_type in _CONVERSIONS:
                if node.input[0] in writers:
                    writers[node.output[0]] = writers[node.input[0]]
                continue
            writers.update(dict.fromkeys(node.output, len(layers)))
            layers.append(self._layer(node, len(layers), writers))
        return OnnxLayers(tuple(layers), writers)

    def _layer(self, node: onnx.NodeProto, position: int, writers: dict[str, int]) -> FileLayer:
        inputs = [name for name in node.input if name]
        name = self.after.get(node.output[0], node.output[0])
        read, written = self._tensor(inputs[0]) if inputs else _Tensor((), 0), self._tensor(name)
        kernel = self._tensor(inputs[1]).shape if node.op_type in ("Conv", "Gemm", "MatMul") else ()
        moved = sum(self._stored(each).bytes for each in inputs) + written.bytes
        return FileLayer(
            position,
            name,
            _operator(node, read.shape, kernel),
            _macs(node, read.shape, written.shape, kernel),
            moved,
            (kernel[2], kernel[3]) if len(kernel) == 4 else (1, 1),
            _channels(read.shape),
            _channels(written.shape),
            (written.shape[2], written.shape[3]) if len(written.shape) == 4 else (1, 1),
            next((writers[each] for each in inputs if each in writers), -1),
        )

    def _stored(self, name: str) -> _Tensor:
        """A tensor as it lies in memory: quantised, if the operator reads it through a DequantizeLinear."""
        return self._tensor(self.before.get(name, name))

    def _tensor(self, name: str) -> _Tensor:
        if name not in self.tensors:
            raise FileFormatError(f"{self.path}: the shape of tensor '{name}' does not follow from the file")
        return self.tensors[name]


def _tensors(graph: onnx.GraphProto) -> dict[str, _Tensor]:
    """Shapes and sizes of values by name, without those of unknown shape."""
    from onnx import helper

    found = {
        tensor.name: _Tensor(tuple(tensor.dims), helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
        for tensor in graph.initializer
    }
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        shape = tuple(size.dim_value for size in kind.shape.dim)
        if all(size > 0 for size in shape) and kind.elem_type and value.name not in found:
            found[value.name] = _Tensor(shape, helper.tensor_dtype_to_np_dtype(kind.elem_type).itemsize)
    return found


def _operator(node: onnx.NodeProto, read: tuple[int, ...], kernel: tuple[int, ...]) -> str:
    if node.op_type == "Conv":
        depthwise = len(kernel) == 4 and kernel[1] == 1 and _channels(read) > 1
        return "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    kind: str = node.op_type
    return _NAMES.get(kind, kind.upper())


def _macs(node: onnx.NodeProto, read: tuple[int, ...], written: tuple[int, ...], kernel: tuple[int, ...]) -> int:
    """Multiply-accumulates: for each output value as many as it reads weights."""
    if node.op_type == "Conv":
        return math.prod(written) * math.prod(kernel[1:])
    flipped = any(value.name == "transA" and value.i for value in node.attribute)
    return math.prod(written) * read[0 if flipped else -1] if node.op_type in ("Gemm", "MatMul") and read else 0


def _channels(shape: tuple[int, ...]) -> int:
    """Channels of a map, which ONNX has in its second dimension; the last dimension of anything else."""
    return shape[1] if len(shape) == 4 else shape[-1] if shape else 1
