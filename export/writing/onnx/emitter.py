"""The nodes and constants of an ONNX file that is being written.

ONNX keeps maps as (1, channels, height, width). Every operation of the network writes one tensor, which bears the name of the
operation or of an output. In an integer file this tensor holds integers: QuantizeLinear writes it, and DequantizeLinear, whose
output is `NAME/real`, gives it to the operators that read it. Runtimes compute an operator between these nodes in integers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from mhmodels.export.writing.onnx.names import NO_PADS, PaddedSource
from mhmodels.export.writing.onnx.values import OnnxActivation, OnnxConstant, OnnxValues
from mhmodels.network import Op

OnnxAttributes: TypeAlias = Mapping[str, int | tuple[int, ...]]

NO_ATTRIBUTES: OnnxAttributes = {}


class OnnxEmitter:
    """Nodes and constants in file order.

    Attributes:
        values: How numbers are stored.
        pooling: Operator of the global average pooling, as in `WriterOptions`.
        names: Names that tensors get in the file in place of their operation's.
        folded: Paddings that their readers do themselves, by the name of the padding.
        nodes, constants: In file order.
        shapes: Shape of each operation's output, (1, channels, height, width) or (1, channels), by the operation's name.
    """

    def __init__(self, values: OnnxValues, pooling: str, names: dict[str, str], folded: Mapping[str, PaddedSource]) -> None:
        self.values, self.pooling, self.names, self.folded = values, pooling, names, folded
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._dequantised: set[str] = set()

    def tensor(self, name: str) -> str:
        """Returns the name of an operation's output in the file."""
        return self.names.get(name, name)

    def node(self, code: str, inputs: Sequence[str], output: str, attributes: OnnxAttributes = NO_ATTRIBUTES) -> str:
        """Adds a node and returns the name of its output."""
        self.nodes.append(helper.make_node(code, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, name: str, data: NDArray[np.generic]) -> str:
        """Adds a constant, once, and returns its name."""
        if name not in self.constants:
            self.constants[name] = onnx.numpy_helper.from_array(np.ascontiguousarray(data).reshape(data.shape), name)
        return name

    def read(self, name: str, parameters: str | None = None) -> str:
        """Returns the tensor of real numbers that an operation writes, behind a DequantizeLinear if it holds integers.

        Args:
            name: Operation whose output is read.
            parameters: Operation whose quantisation parameters the output has. None for `name`.
        """
        return self.real(self.tensor(name), self.values.activation(parameters or name))

    def real(self, tensor: str, stored: OnnxActivation) -> str:
        """Returns the real numbers of a tensor; the DequantizeLinear of a tensor of integers is added once."""
        if stored.quantisation is None:
            return tensor
        output = f"{tensor}/real"
        if tensor not in self._dequantised:
            self._dequantised.add(tensor)
            self.node("DequantizeLinear", (tensor, *self._parameters(tensor, stored)), output)
        return output

    def write(
        self,
        name: str,
        code: str,
        inputs: Sequence[str],
        attributes: OnnxAttributes = NO_ATTRIBUTES,
        *,
        parameters: str | None = None,
    ) -> None:
        """Adds a node that computes an operation's output, and a QuantizeLinear behind it if the output holds integers.

        Args:
            name: Operation whose output is written.
            code: Operator.
            inputs: Tensors that it reads.
            attributes: Attributes of the operator.
            parameters: Operation whose quantisation parameters the output has. None for `name`.
        """
        stored, tensor = self.values.activation(parameters or name), self.tensor(name)
        if stored.quantisation is None:
            self.node(code, inputs, tensor, attributes)
        else:
            self.quantise(self.node(code, inputs, f"{tensor}/exact", attributes), stored, tensor)

    def quantise(self, real: str, stored: OnnxActivation, output: str) -> str:
        """Adds a QuantizeLinear, if the output holds integers, and returns the tensor that holds the numbers."""
        if stored.quantisation is None:
            return real
        return self.node("QuantizeLinear", (real, *self._parameters(output, stored)), output)

    def convert(self, tensor: str, stored: OnnxActivation, wanted: OnnxActivation, output: str) -> None:
        """Adds what writes the numbers of a tensor into another one in another type; nothing if both are the same tensor."""
        if tensor == output:
            return
        if wanted.dtype == stored.dtype:
            self.node("Identity", (tensor,), output)
        elif wanted.quantisation is None:
            self.node("DequantizeLinear", (tensor, *self._parameters(tensor, stored)), output)
        else:
            self.quantise(self.real(tensor, stored), wanted, output)

    def weights(self, op: Op) -> tuple[str, str]:
        """Adds the kernel and the bias of a convolution and returns the tensors of real numbers that hold them."""
        kernel, bias = (self._weights(stored) for stored in self.values.weights(op))
        return kernel, bias

    def _weights(self, stored: OnnxConstant) -> str:
        tensor, quantisation = self.constant(stored.name, stored.data), stored.quantisation
        if quantisation is None:
            return tensor
        axis = {"axis": quantisation.dimension} if len(quantisation.scale) > 1 else {}
        parameters = self._parameters(tensor, OnnxActivation(stored.data.dtype.name, quantisation))
        return self.node("DequantizeLinear", (tensor, *parameters), f"{tensor}/real", axis)

    def _parameters(self, tensor: str, stored: OnnxActivation) -> tuple[str, str]:
        """Returns the constants of a tensor's scale and zero point: scalars, or one each per channel."""
        assert stored.quantisation is not None
        shape = (-1,) if len(stored.quantisation.scale) > 1 else ()
        scale = np.asarray(stored.quantisation.scale, np.float32).reshape(shape)
        zero_point = np.full(scale.shape, stored.quantisation.zero_point, stored.dtype)
        return self.constant(f"{tensor}/scale", scale), self.constant(f"{tensor}/zero_point", zero_point)

    def padded(self, name: str) -> PaddedSource:
        """Returns what an operator reads: a padding that was folded into its readers gives its own input and its pads."""
        return self.folded.get(name, PaddedSource(name, NO_PADS))
