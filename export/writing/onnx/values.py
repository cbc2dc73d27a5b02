"""How the numbers of an ONNX file are stored: the kernels, biases and quantisation parameters of its tensors.

The scales, zero points and integers are those of the TFLite file of the same network.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mhmodels.export.errors import ExportError
from mhmodels.export.graph.operations import Graph
from mhmodels.export.quantisation.scheme import QuantisedGraph, saturating_gates
from mhmodels.export.writing.numerics import Integer, Real
from mhmodels.export.writing.records import FileTensor, TensorQuantisation
from mhmodels.network import Op


class OnnxActivation(NamedTuple):
    """How a file stores what an operation gives: its element type, and the quantisation parameters of integers."""

    dtype: str
    quantisation: TensorQuantisation | None = None


class OnnxConstant(NamedTuple):
    """A kernel (channels, in / groups, height, width) or a bias (channels,), in the type of the file."""

    name: str
    data: NDArray[np.generic]
    quantisation: TensorQuantisation | None


class OnnxValues(Protocol):
    """A way to store the numbers of a network.

    Attributes:
        dtype: Element type of the network.
        graph: The operations. Gates with a hard-sigmoid are rewritten: their kernels contain (x + 3) / 6, so that limiting the
            result to 0 and 1 completes them.
    """

    @property
    def dtype(self) -> str: ...

    @property
    def graph(self) -> Graph: ...

    def activation(self, name: str) -> OnnxActivation:
        """Returns how the output of an operation is stored.

        Raises:
            ExportError: The tensor has no quantisation parameters.
        """

    def weights(self, op: Op) -> tuple[OnnxConstant, OnnxConstant]:
        """Returns the kernel and the bias of a convolution."""


class RealValues:
    """float32 throughout."""

    dtype = "float32"

    def __init__(self, graph: Graph) -> None:
        self.graph = saturating_gates(graph)

    def activation(self, name: str) -> OnnxActivation:
        """See `OnnxValues`."""
        return OnnxActivation(self.dtype)

    def weights(self, op: Op) -> tuple[OnnxConstant, OnnxConstant]:
        """See `OnnxValues`."""
        # The graph is rewritten, so a gate's activation is no matter of its constants any more.
        return _constants(op, Real(self.graph, "float32").constants(op._replace(activation="linear")))


class IntegerValues:
    """Integers throughout: int8 or uint8 activations and weights, int32 biases.

    An int8 network computes its softmax in uint8, because that of int8 in ONNX Runtime (QLinearSoftmax in 1.20.1) gives -128
    instead of 127 for a score near 1.
    """

    def __init__(self, quantised: QuantisedGraph) -> None:
        self.quantised, self.graph, self.dtype = quantised, quantised.graph, quantised.format
        self._stored = Integer(quantised)
        signed = quantised.format == "int8"
        self._unsigned = {op.name for op in quantised.graph.ops if signed and op.kind == "softmax"}

    def activation(self, name: str) -> OnnxActivation:
        """See `OnnxValues`."""
        stored = OnnxActivation(self.dtype, self._stored.parameters(name))
        return as_type(stored, "uint8") if name in self._unsigned else stored

    def weights(self, op: Op) -> tuple[OnnxConstant, OnnxConstant]:
        """See `OnnxValues`; channels lie on axis 0 of every kernel."""
        return _constants(op, self._stored.constants(op))


def as_type(stored: OnnxActivation, dtype: str) -> OnnxActivation:
    """Returns how the same numbers are stored in another element type: the zero point of uint8 is 128 above that of int8."""
    if dtype == stored.dtype:
        return stored
    if dtype == "float32" or stored.quantisation is None:
        return OnnxActivation(dtype)
    offset = 128 if dtype == "uint8" else -128
    return OnnxActivation(dtype, stored.quantisation._replace(zero_point=stored.quantisation.zero_point + offset))


def _constants(op: Op, stored: tuple[FileTensor, FileTensor]) -> tuple[OnnxConstant, OnnxConstant]:
    """Returns the constants of a convolution in the layout of ONNX from those in the layout of TFLite."""
    kernel, bias = stored
    if kernel.data is None or bias.data is None:
        raise ExportError(f"layer '{op.name}': its kernel or its bias is missing")
    order = (3, 0, 1, 2) if op.kind == "depthwise" else (0, 3, 1, 2)
    return (
        OnnxConstant(kernel.name, kernel.data.transpose(order).astype(kernel.dtype), _on_first_axis(kernel.quantisation)),
        OnnxConstant(bias.name, bias.data.astype(bias.dtype), _on_first_axis(bias.quantisation)),
    )


def _on_first_axis(quantisation: TensorQuantisation | None) -> TensorQuantisation | None:
    return None if quantisation is None else quantisation._replace(dimension=0)
