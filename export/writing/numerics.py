"""How the numbers of a file are stored: types and parameters of tensors, and constants of convolutions.

The walk over the operations (`mhmodels.export.writing.operators`) is the same for all formats. Real and integer files differ only
in the two classes of this module.
"""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Graph, kernel_shape
from mhmodels.export.quantisation.parameters import Quantisation
from mhmodels.export.quantisation.scheme import QuantisedGraph
from mhmodels.export.writing.records import FileTensor, TensorQuantisation
from mhmodels.network import Op

_FLOAT16_LIMIT = float(np.finfo(np.float16).max)


class Numerics(Protocol):
    """A way to store the numbers of a network.

    Attributes:
        dtype: Element type of activations.
        stored: Element type of weights in the file; where it is float16, a DEQUANTIZE precedes each use.
        graph: The operations.
        saturates: Whether hard-sigmoid gates are rewritten so that their output's limits do the clipping.
    """

    @property
    def dtype(self) -> str: ...

    @property
    def stored(self) -> str: ...

    @property
    def graph(self) -> Graph: ...

    @property
    def saturates(self) -> bool: ...

    def activation(self, name: str, shape: tuple[int, ...]) -> FileTensor:
        """Returns the tensor that an operation writes."""

    def constants(self, op: Op) -> tuple[FileTensor, FileTensor]:
        """Returns the kernel of a convolution in the layout of TFLite, and its bias."""


def _layout(op: Op, kernel: NDArray[np.generic]) -> NDArray[np.generic]:
    """Returns a view in the layout of TFLite: (channels, h, w, in / groups), depthwise (1, h, w, channels)."""
    if kernel.shape != kernel_shape(op):
        raise ExportError(f"layer '{op.name}': kernel is {kernel.shape}, expected {kernel_shape(op)}")
    if op.kind == "depthwise":
        return kernel[..., 0][None]
    return kernel.transpose(3, 0, 1, 2)


class Real:
    """float32 activations; weights in float32 or float16."""

    dtype = "float32"
    saturates = False

    def __init__(self, graph: Graph, stored: Literal["float32", "float16"]) -> None:
        self.graph, self.stored = graph, stored

    def activation(self, name: str, shape: tuple[int, ...]) -> FileTensor:
        """See `Numerics`."""
        return FileTensor(name, shape, self.dtype)

    def constants(self, op: Op) -> tuple[FileTensor, FileTensor]:
        """See `Numerics`; a hard-sigmoid gate's bias is raised by 3, as relu6(x + 3) / 6 needs it."""
        kernel, bias = _layout(op, self.graph.kernels[op.name]), self.graph.biases[op.name]
        if op.activation == "hard_sigmoid":
            bias = bias + np.float32(3.0)
        if self.stored == "float16":
            for what, values in (("kernel", kernel), ("bias", bias)):
                largest = float(max(values.max(), -values.min()))
                if largest > _FLOAT16_LIMIT:
                    raise ExportError(f"layer '{op.name}': the {what} holds {largest:g}, float16 ends at {_FLOAT16_LIMIT:g}")
        return (
            FileTensor(f"{op.name}/kernel", kernel.shape, self.stored, kernel),
            FileTensor(f"{op.name}/bias", bias.shape, self.stored, bias),
        )


class Integer:
    """Quantised throughout: int8 or uint8 activations and weights, int32 biases (TFLite's quantisation specification)."""

    saturates = True

    def __init__(self, quantised: QuantisedGraph) -> None:
        self.quantised, self.graph = quantised, quantised.graph
        self.dtype = self.stored = quantised.format
        self._lowest = -128 if quantised.format == "int8" else 0

    def activation(self, name: str, shape: tuple[int, ...]) -> FileTensor:
        """See `Numerics`.

        Raises:
            ExportError: The tensor has no parameters.
        """
        return FileTensor(name, shape, self.dtype, None, self.parameters(name))

    def parameters(self, name: str) -> TensorQuantisation:
        """Returns the quantisation parameters of a tensor.

        Raises:
            ExportError: The tensor has none.
        """
        parameters = self.quantised.tensors.get(name)
        if parameters is None:
            raise ExportError(f"layer '{name}': its output has no quantisation parameters")
        return TensorQuantisation(*parameters)

    def constants(self, op: Op) -> tuple[FileTensor, FileTensor]:
        """See `Numerics`; per-channel scales lie on axis 0 of a convolution's kernel and 3 of a depthwise one's."""
        integers, weights, bias = self.quantised.kernels[op.name]
        kernel = _layout(op, integers)
        axis = 3 if op.kind == "depthwise" and len(weights.scale) > 1 else 0
        source = self.quantised.tensors[op.inputs[0]]
        bias_scale = _double(source, 255, self._lowest) * _double(weights, 254, self._lowest + 1)
        return (
            FileTensor(f"{op.name}/kernel", kernel.shape, self.dtype, kernel, TensorQuantisation(*weights, axis)),
            FileTensor(f"{op.name}/bias", bias.shape, "int32", bias, TensorQuantisation(bias_scale.astype(np.float32), 0)),
        )


def _double(quantisation: Quantisation, steps: int, lowest: int) -> NDArray[np.float64]:
    """Returns a scale in double precision as the converter recovers it from the float32 ends of a range.

    It multiplies these for a bias' scale; the product of the float32 scales would differ in the last bit.
    """
    low, high = ((lowest + step - quantisation.zero_point) * quantisation.scale for step in (0, steps))
    return (high.astype(np.float64) - low.astype(np.float64)) / steps
