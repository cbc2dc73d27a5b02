"""The content of a TFLite file as plain records, before it is serialised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mhmodels.export.graph.operations import Float32Array


class TensorQuantisation(NamedTuple):
    """The `QuantizationParameters` of a tensor: float32 scales (one, or one a channel), a zero point, the channels' axis."""

    scale: Float32Array
    zero_point: int
    dimension: int = 0


class FileTensor(NamedTuple):
    """One tensor of the file.

    Attributes:
        name: Unique.
        shape: Static.
        dtype: NumPy's name of the element type: float32, float16, int32, uint8 or int8.
        data: Constant content of that shape, any strides and any dtype that casts to `dtype`; None for an activation.
        quantisation: None for real numbers.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    data: NDArray[np.generic] | None = None
    quantisation: TensorQuantisation | None = None


class OperatorOptions(NamedTuple):
    """A table of the `BuiltinOptions` union: its name in the schema, and fields as the generated `Add…` functions name them."""

    table: str
    fields: tuple[tuple[str, float], ...]


class FileOperator(NamedTuple):
    """One operator: its `BuiltinOperator` name, the version that it needs, indices of its tensors, and its options."""

    code: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: OperatorOptions | None = None


class FileModel(NamedTuple):
    """One subgraph with its signature.

    Attributes:
        tensors, operators: In file order; operators in execution order.
        versions: Version of each operator, by its `BuiltinOperator` name.
        inputs, outputs: Tensor indices.
        input_names, output_names: Their names in the signature.
    """

    tensors: Sequence[FileTensor]
    operators: Sequence[FileOperator]
    versions: Mapping[str, int]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
