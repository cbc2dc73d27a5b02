"""Reading a TFLite file without a runtime: tensors, operators, quantisation, every index and size checked.

Pure Python on the schema of ai-edge-litert, so that a hostile file is an error message and never a crash.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhmodels.errors import FileFormatError

MAX_BYTES = 1 << 31
_DTYPES: dict[str, Any] = {
    "FLOAT32": np.float32, "FLOAT16": np.float16, "INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16,
    "INT32": np.int32, "INT64": np.int64, "BOOL": np.bool_,
}  # fmt: skip


class Tensor(NamedTuple):
    """A tensor of the main graph.

    Attributes:
        dtype: NumPy dtype name (`float32`, `int8`, …), or the schema's name in lower case where NumPy has none.
        scale: float32 (1,) or (channels,); empty where the tensor is not quantised.
        axis: quantised dimension.
        data: the constant's values in `shape`; None for computed tensors.
    """

    position: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int
    data: NDArray[Any] | None


class Operator(NamedTuple):
    """An operator: the schema's name of it, and positions of the tensors that it reads (-1: absent) and writes."""

    position: int
    kind: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    activation: str


class TFLiteFile(NamedTuple):
    """The main graph of a file."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    description: str

    def format(self) -> str:
        """`float32`, `float16`, `int8`, `uint8`: the type of what the convolutions compute with."""
        for operator in self.operators:
            if operator.kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
                kind = self.tensors[operator.inputs[1]].dtype
                return self._float_format() if kind == "float32" else kind
        return self.tensors[self.inputs[0]].dtype

    def _float_format(self) -> str:
        return "float16" if any(t.dtype == "float16" and t.data is not None for t in self.tensors) else "float32"


def read_tflite(path: str | os.PathLike[str]) -> TFLiteFile:
    """Reads a file.

    Raises:
        FileFormatError: it cannot be read, is truncated, is not TFLite, or contradicts itself; the message names it.
    """
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read ({error.strerror})") from error
    return parse_tflite(data, source=str(path))


def parse_tflite(data: bytes, source: str = "file") -> TFLiteFile:
    """Parses the bytes of a file; see `read_tflite`."""
    if len(data) < 16 or data[4:8] != b"TFL3":
        found = repr(bytes(data[4:8])) if len(data) >= 8 else f"{len(data)} bytes"
        raise FileFormatError(f"{source}: not a TFLite file (identifier is {found}, expected b'TFL3')")
    if len(data) > MAX_BYTES:
        raise FileFormatError(f"{source}: over {MAX_BYTES} bytes, expected a smaller file")
    from ai_edge_litert import schema_py_generated as schema

    try:
        model = schema.Model.GetRootAs(data, 0)
        return _read(model, schema)
    except FileFormatError as error:
        raise FileFormatError(f"{source}: {error}") from None
    except Exception as error:  # flatbuffers has no verifier in Python: whatever it trips over, the file is at fault
        raise FileFormatError(f"{source}: truncated or damaged TFLite file ({type(error).__name__}: {error})") from error


def _read(model: Any, schema: Any) -> TFLiteFile:
    if model.SubgraphsLength() < 1:
        raise FileFormatError("has no graph")
    graph = model.Subgraphs(0)
    kinds = _operator_kinds(model, schema)
    dtypes = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    activations = {value: name for name, value in vars(schema.ActivationFunctionType).items() if isinstance(value, int)}
    count = graph.TensorsLength()
    if count > 1_000_000 or graph.OperatorsLength() > 1_000_000:
        raise FileFormatError(f"claims {count} tensors and {graph.OperatorsLength()} operators")
    tensors = tuple(_tensor(model, graph.Tensors(i), i, dtypes) for i in range(count))
    operators = tuple(_operator(graph.Operators(i), i, kinds, activations, schema) for i in range(graph.OperatorsLength()))
    inputs = tuple(int(i) for i in np.atleast_1d(graph.InputsAsNumpy()))
    outputs = tuple(int(i) for i in np.atleast_1d(graph.OutputsAsNumpy()))
    if not inputs or not outputs:
        raise FileFormatError("has no input or no output")
    for where, indices in (
        ("inputs", inputs),
        ("outputs", outputs),
        *((f"operator {o.position}", o.inputs + o.outputs) for o in operators),
    ):
        for i in indices:
            if not -1 <= i < count:
                raise FileFormatError(f"{where}: tensor {i} does not exist (there are {count})")
    description = model.Description()
    return TFLiteFile(tensors, operators, inputs, outputs, description.decode(errors="replace") if description else "")


def _operator_kinds(model: Any, schema: Any) -> list[tuple[str, int]]:
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    kinds = []
    for i in range(model.OperatorCodesLength()):
        code = model.OperatorCodes(i)
        # Codes over 127 live in the wide field only; old writers filled the narrow one only.
        value = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        custom = code.CustomCode()
        kind = f"CUSTOM:{custom.decode(errors='replace')}" if custom else names.get(value, f"UNKNOWN_{value}")
        kinds.append((kind, code.Version()))
    return kinds


def _tensor(model: Any, tensor: Any, index: int, dtypes: dict[int, str]) -> Tensor:
    name = tensor.Name().decode(errors="replace") if tensor.Name() else f"tensor {index}"
    kind = dtypes.get(tensor.Type(), f"type {tensor.Type()}")
    dtype = _DTYPES.get(kind)
    shape = tuple(int(v) for v in np.atleast_1d(tensor.ShapeAsNumpy())) if tensor.ShapeLength() else ()
    scale, zero_point, axis = np.zeros(0, np.float32), np.zeros(0, np.int64), 0
    quantisation = tensor.Quantization()
    if quantisation is not None and quantisation.ScaleLength():
        scale = np.array(quantisation.ScaleAsNumpy(), np.float32)
        zero_point = (
            np.array(quantisation.ZeroPointAsNumpy(), np.int64) if quantisation.ZeroPointLength() else np.zeros(1, np.int64)
        )
        axis = quantisation.QuantizedDimension()
        if not np.isfinite(scale).all() or (scale < 0).any():
            raise FileFormatError(f"tensor '{name}': scales are not finite numbers of at least 0")
        if len(scale) > 1 and not (0 <= axis < len(shape) and shape[axis] == len(scale)):
            raise FileFormatError(f"tensor '{name}': {len(scale)} scales for axis {axis} of shape {shape}")
    if not 0 <= tensor.Buffer() < model.BuffersLength():
        raise FileFormatError(f"tensor '{name}': buffer {tensor.Buffer()} does not exist (there are {model.BuffersLength()})")
    data = _data(model.Buffers(tensor.Buffer()), name, shape, dtype)
    return Tensor(index, name, shape, np.dtype(dtype).name if dtype else kind.lower(), scale, zero_point, axis, data)


def _data(buffer: Any, name: str, shape: tuple[int, ...], dtype: Any) -> NDArray[Any] | None:
    if buffer.DataLength() == 0 or dtype is None:
        return None
    raw = buffer.DataAsNumpy()
    if min(shape, default=1) < 0 or math.prod(shape) * np.dtype(dtype).itemsize != len(raw):
        raise FileFormatError(f"tensor '{name}': {len(raw)} bytes of data for shape {shape} of {np.dtype(dtype).name}")
    values: NDArray[Any] = np.frombuffer(raw.tobytes(), dtype).reshape(shape)
    return values


def _operator(operator: Any, index: int, kinds: list[tuple[str, int]], activations: dict[int, str], schema: Any) -> Operator:
    if not 0 <= operator.OpcodeIndex() < len(kinds):
        raise FileFormatError(f"operator {index}: code {operator.OpcodeIndex()} does not exist (there are {len(kinds)})")
    kind, version = kinds[operator.OpcodeIndex()]
    inputs = tuple(int(i) for i in np.atleast_1d(operator.InputsAsNumpy())) if operator.InputsLength() else ()
    outputs = tuple(int(i) for i in np.atleast_1d(operator.OutputsAsNumpy())) if operator.OutputsLength() else ()
    return Operator(index, kind, version, inputs, outputs, _fused_activation(operator, kind, activations, schema))


def _fused_activation(operator: Any, kind: str, activations: dict[int, str], schema: Any) -> str:
    options = {
        "CONV_2D": schema.Conv2DOptions,
        "DEPTHWISE_CONV_2D": schema.DepthwiseConv2DOptions,
        "FULLY_CONNECTED": schema.FullyConnectedOptions,
        "ADD": schema.AddOptions,
        "MUL": schema.MulOptions,
        "AVERAGE_POOL_2D": schema.Pool2DOptions,
    }.get(kind)
    table = operator.BuiltinOptions()
    if options is None or table is None:
        return "NONE"
    read = options()
    read.Init(table.Bytes, table.Pos)
    return activations.get(read.FusedActivationFunction(), "UNKNOWN")
