"""Reads a TFLite file without a runtime: tensors, operators and quantisation, with every index and size checked.

The reader is pure Python on the schema of ai-edge-litert, so that a hostile file gives an error message and never a crash.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhmodels.errors import FileFormatError
from mhmodels.system.files import read_bytes
from mhmodels.tflite.schema import ELEMENT_TYPES, FILE_IDENTIFIER, FUSED_ACTIVATIONS, enumerated, generated

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as generated_schema

MAX_BYTES = 1 << 31
MAX_ENTRIES = 100_000
"""Largest number of tensors, operators, operator codes and buffers each; real files have a few hundred."""
MAX_RANK = 16


class Tensor(NamedTuple):
    """A tensor of the main graph.

    Attributes:
        position: Index among the tensors of the file.
        name: As stored; `tensor N` for an empty one.
        shape: Static shape.
        dtype: NumPy dtype name (`float32`, `int8`, …), or the schema's name in lower case where NumPy has none.
        scale: float32 (1,) or (channels,); empty where the tensor is not quantised.
        axis: Quantised dimension.
        data: The constant's values in `shape`; None for computed tensors.
        stored: Whether the file holds its values, or the runtime keeps them between inferences (a variable).
        signature: `shape` with -1 for sizes that are only known when the file runs; empty where all are fixed.
    """

    position: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int
    data: NDArray[np.generic] | None
    stored: bool = False
    signature: tuple[int, ...] = ()


class Operator(NamedTuple):
    """An operator of the main graph.

    Attributes:
        position: Index among the operators of the file, in execution order.
        kind: Name in the enumeration `BuiltinOperator`, or `CUSTOM:NAME`.
        version: Version of the operator's definition.
        inputs: Indices of the tensors that it reads; -1 for an optional one that is absent.
        outputs: Indices of the tensors that it writes.
        activation: Name of the activation that it applies itself; `NONE` for none.
    """

    position: int
    kind: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    activation: str


class TFLiteFile(NamedTuple):
    """The main graph of a file.

    Attributes:
        tensors: By index.
        operators: In execution order.
        inputs, outputs: Indices of tensors.
        description: Free text in the file.
    """

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    description: str


def read_tflite(path: str | os.PathLike[str]) -> TFLiteFile:
    """Reads a TFLite file.

    Args:
        path: The file, of at most 2 GiB.

    Returns:
        Its main graph. Constants are views of the bytes that were read.

    Raises:
        FileFormatError: The file cannot be read, is truncated, is not TFLite, or contradicts itself; the message names it.
    """
    return parse_tflite(read_bytes(path, MAX_BYTES), source=str(path))


def parse_tflite(data: bytes, source: str = "file") -> TFLiteFile:
    """Parses the bytes of a file.

    Args:
        data: Content of the file.
        source: Name of the file, for messages.

    Raises:
        FileFormatError: As `read_tflite`.
    """
    if len(data) < 16 or data[4:8] != FILE_IDENTIFIER:
        if source.lower().endswith(".onnx"):
            raise FileFormatError(f"{source}: an ONNX file, expected a TFLite file: `mhmodels export` writes one of each format "
                                  "whose name does not begin with 'onnx-'")  # fmt: skip
        found = repr(bytes(data[4:8])) if len(data) >= 8 else f"{len(data)} bytes"
        raise FileFormatError(f"{source}: not a TFLite file (identifier is {found}, expected {FILE_IDENTIFIER!r})")
    if len(data) > MAX_BYTES:
        raise FileFormatError(f"{source}: over {MAX_BYTES} bytes, expected a smaller file")
    schema = generated()
    try:
        return _Reader(schema.Model.GetRootAs(data, 0), schema, len(data)).file()
    except FileFormatError as error:
        raise FileFormatError(f"{source}: {error}") from None
    except Exception as error:  # flatbuffers has no verifier in Python: whatever it trips over, the file is at fault
        raise FileFormatError(f"{source}: truncated or damaged TFLite file ({type(error).__name__}: {error})") from error


class _Reader:
    """Reads the tables of one file, and copies at most four times its size, whatever a hostile file claims."""

    def __init__(self, model: generated_schema.Model, schema: ModuleType, size: int) -> None:
        self.model, self.schema, self.size = model, schema, size
        self.budget = 4 * size + (1 << 16)
        self.dtypes, self.activations = enumerated(schema.TensorType), enumerated(schema.ActivationFunctionType)

    def file(self) -> TFLiteFile:
        """Returns the main graph."""
        model = self.model
        self.buffers = self.count(model.BuffersLength(), "buffers")
        if self.count(model.SubgraphsLength(), "graphs") < 1:
            raise FileFormatError("has no graph")
        graph = model.Subgraphs(0)
        kinds = self.operator_kinds()
        tensors = tuple(self.tensor(graph.Tensors(i), i) for i in range(self.count(graph.TensorsLength(), "tensors")))
        operators = tuple(
            self.operator(graph.Operators(i), i, kinds) for i in range(self.count(graph.OperatorsLength(), "operators"))
        )
        inputs = self.integers(graph.InputsLength(), graph.InputsAsNumpy, "inputs")
        outputs = self.integers(graph.OutputsLength(), graph.OutputsAsNumpy, "outputs")
        if not inputs or not outputs:
            raise FileFormatError("has no input or no output")
        _check_indices(inputs, outputs, operators, len(tensors))
        return TFLiteFile(tensors, operators, inputs, outputs, self.text(model.Description()))

    def count(self, claimed: int, what: str) -> int:
        """Returns a number of tables after checking it: each takes at least four bytes."""
        if not 0 <= claimed <= min(MAX_ENTRIES, self.size // 4):
            raise FileFormatError(f"claims {claimed} {what}")
        return claimed

    def spend(self, amount: int, what: str) -> None:
        """Counts what is copied: tables of a hostile file may all point to the same long vector."""
        self.budget -= amount
        if self.budget < 0:
            raise FileFormatError(f"{what}: the file's tables refer to more than it holds")

    def text(self, raw: bytes | None) -> str:
        """Returns a name."""
        self.spend(len(raw or b""), "names")
        return raw.decode(errors="replace") if raw else ""

    def integers(self, length: int, read: Callable[[], Iterable[int]], what: str) -> tuple[int, ...]:
        """Returns a vector of whole numbers; an absent one is empty."""
        if not length:
            return ()
        self.spend(8 * length, what)
        return tuple(int(value) for value in read())

    def operator_kinds(self) -> list[tuple[str, int]]:
        """Returns name and version of each operator code."""
        names = enumerated(self.schema.BuiltinOperator)
        kinds = []
        for i in range(self.count(self.model.OperatorCodesLength(), "operator codes")):
            code = self.model.OperatorCodes(i)
            # Codes over 127 live in the wide field only; old writers filled the narrow one only.
            value = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
            custom = self.text(code.CustomCode())
            kinds.append((f"CUSTOM:{custom}" if custom else names.get(value, f"UNKNOWN_{value}"), code.Version()))
        return kinds

    def tensor(self, tensor: generated_schema.Tensor, index: int) -> Tensor:
        """Returns one tensor, with a view of its constant."""
        name = self.text(tensor.Name()) or f"tensor {index}"
        kind = self.dtypes.get(tensor.Type(), f"type {tensor.Type()}")
        dtype = ELEMENT_TYPES.get(kind)
        if tensor.ShapeLength() > MAX_RANK:
            raise FileFormatError(f"tensor '{name}': {tensor.ShapeLength()} dimensions, expected at most {MAX_RANK}")
        shape = self.integers(tensor.ShapeLength(), tensor.ShapeAsNumpy, name)
        scale, zero_point, axis = self.quantisation(tensor.Quantization(), name, shape, dtype)
        if not 0 <= tensor.Buffer() < self.buffers:
            raise FileFormatError(f"tensor '{name}': buffer {tensor.Buffer()} does not exist (there are {self.buffers})")
        buffer = self.model.Buffers(tensor.Buffer())
        data = _data(buffer, name, shape, dtype)
        stored = bool(buffer.DataLength() or buffer.Size() or tensor.ExternalBuffer() or tensor.IsVariable())
        signature = self.integers(tensor.ShapeSignatureLength(), tensor.ShapeSignatureAsNumpy, name)
        dtype_name = np.dtype(dtype).name if dtype else kind.lower()
        return Tensor(index, name, shape, dtype_name, scale, zero_point, axis, data, stored, signature)

    def quantisation(
        self, table: generated_schema.QuantizationParameters | None, name: str, shape: tuple[int, ...], dtype: str | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], int]:
        """Returns scales, zero points and axis of a tensor."""
        if table is None or not table.ScaleLength():
            return np.zeros(0, np.float32), np.zeros(0, np.int64), 0
        count, zeros = table.ScaleLength(), table.ZeroPointLength()
        self.spend(4 * count + 8 * zeros, name)
        scale = np.array(table.ScaleAsNumpy(), np.float32)
        zero_point = np.array(table.ZeroPointAsNumpy(), np.int64) if zeros else np.zeros(1, np.int64)
        axis = table.QuantizedDimension()
        if not np.isfinite(scale).all() or (scale < 0).any():
            raise FileFormatError(f"tensor '{name}': scales are not finite numbers of at least 0")
        if len(scale) > 1 and not (0 <= axis < len(shape) and shape[axis] == len(scale)):
            raise FileFormatError(f"tensor '{name}': {len(scale)} scales for axis {axis} of shape {shape}")
        if len(zero_point) not in (1, len(scale)):
            raise FileFormatError(f"tensor '{name}': {len(zero_point)} zero points for {len(scale)} scales")
        if dtype is not None and np.issubdtype(dtype, np.integer):
            info = np.iinfo(dtype)
            if zero_point.min() < info.min or zero_point.max() > info.max:
                raise FileFormatError(f"tensor '{name}': zero point {zero_point[0]} is no {np.dtype(dtype).name}")
        return scale, zero_point, axis

    def operator(self, operator: generated_schema.Operator, index: int, kinds: list[tuple[str, int]]) -> Operator:
        """Returns one operator."""
        if not 0 <= operator.OpcodeIndex() < len(kinds):
            raise FileFormatError(f"operator {index}: code {operator.OpcodeIndex()} does not exist (there are {len(kinds)})")
        kind, version = kinds[operator.OpcodeIndex()]
        inputs = self.integers(operator.InputsLength(), operator.InputsAsNumpy, f"operator {index}")
        outputs = self.integers(operator.OutputsLength(), operator.OutputsAsNumpy, f"operator {index}")
        return Operator(index, kind, version, inputs, outputs, self.fused_activation(operator, kind))

    def fused_activation(self, operator: generated_schema.Operator, kind: str) -> str:
        """Returns the name of the activation that an operator applies itself."""
        options, table = FUSED_ACTIVATIONS.get(kind), operator.BuiltinOptions()
        if options is None or table is None:
            return "NONE"
        read = getattr(self.schema, options)()
        read.Init(table.Bytes, table.Pos)
        return self.activations.get(read.FusedActivationFunction(), "UNKNOWN")


def _check_indices(inputs: tuple[int, ...], outputs: tuple[int, ...], operators: tuple[Operator, ...], count: int) -> None:
    """Checks that every index is of a tensor; only an input of an operator may be absent (-1)."""
    places = [("inputs", inputs, 0), ("outputs", outputs, 0)]
    for operator in operators:
        where = f"operator {operator.position}"
        places += [(where, operator.inputs, -1), (where, operator.outputs, 0)]
    for where, indices, lowest in places:
        for i in indices:
            if not lowest <= i < count:
                raise FileFormatError(f"{where}: tensor {i} does not exist (there are {count})")


def _data(buffer: generated_schema.Buffer, name: str, shape: tuple[int, ...], dtype: str | None) -> NDArray[np.generic] | None:
    if buffer.DataLength() == 0 or dtype is None:
        return None
    raw = buffer.DataAsNumpy()
    if min(shape, default=1) < 0 or math.prod(shape) * np.dtype(dtype).itemsize != len(raw):
        raise FileFormatError(f"tensor '{name}': {len(raw)} bytes of data for shape {shape} of {np.dtype(dtype).name}")
    values: NDArray[np.generic] = raw.view(dtype).reshape(shape)  # a view: many tensors may share one buffer
    return values
