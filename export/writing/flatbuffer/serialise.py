"""Serialises the records of a TFLite file.

Source: the TFLite schema, version 3 (schema.fbs), through the classes that ai-edge-litert generates from it. The tables
are built directly: the generated object interface would copy every weight twice more.
"""

from __future__ import annotations

import ai_edge_litert.schema_py_generated as schema
import numpy as np

from mhmodels.export.errors import ExportError
from mhmodels.export.writing.flatbuffer.tables import TableBuilder, TableForm
from mhmodels.export.writing.records import FileModel, FileOperator, FileTensor, OperatorOptions, TensorQuantisation
from mhmodels.export.writing.versions import oldest_runtime
from mhmodels.tflite.schema import FILE_IDENTIFIER, SCHEMA_VERSION

DESCRIPTION = "mhmodels"
SIGNATURE = "serving_default"
MIN_RUNTIME_VERSION = "min_runtime_version"

_ALIGNMENT = 16  # schema.fbs: Buffer.data has force_align 16
_LARGEST_FILE = 2**31 - 2**20  # offsets are signed 32 bits in places; a margin for the tables


def serialise(model: FileModel) -> bytes:
    """Returns the bytes of a TFLite file, which are equal for equal models.

    Raises:
        ExportError: The file would exceed what 32-bit offsets reach.
    """
    sizes = [(_bytes(tensor), tensor.name) for tensor in model.tensors if tensor.data is not None]
    total = sum(size + _ALIGNMENT for size, _ in sizes)
    if total > _LARGEST_FILE:
        raise ExportError(f"layer '{max(sizes)[1]}': the file's weights take {total} bytes, a TFLite file holds at most 2 GB")
    writer = _Writer(total + 1024 * (len(model.tensors) + len(model.operators)) + 65536)
    builder = writer.builder
    # The builder works from the end of the file: what is created first lies last.
    buffers = writer.buffers(model)
    signature = writer.signature(model)
    subgraph, codes = writer.subgraph(model)
    metadata = writer.metadata(len(buffers) - 1)
    description = writer.string(DESCRIPTION)
    operator_codes, subgraphs = writer.offsets(codes), writer.offsets([subgraph])
    signatures, all_metadata, all_buffers = writer.offsets([signature]), writer.offsets([metadata]), writer.offsets(buffers)
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, SCHEMA_VERSION)
    schema.ModelAddOperatorCodes(builder, operator_codes)
    schema.ModelAddSubgraphs(builder, subgraphs)
    schema.ModelAddDescription(builder, description)
    schema.ModelAddBuffers(builder, all_buffers)
    schema.ModelAddMetadata(builder, all_metadata)
    schema.ModelAddSignatureDefs(builder, signatures)
    builder.Finish(schema.ModelEnd(builder), FILE_IDENTIFIER)
    return writer.content()


def _bytes(tensor: FileTensor) -> int:
    return tensor.data.size * np.dtype(tensor.dtype).itemsize if tensor.data is not None else 0


_BUFFER = TableForm(data=(0, "O"))
_QUANTISATION = TableForm(scale=(2, "O"), zero_point=(3, "O"), dimension=(6, "I"))
_TENSOR = TableForm(shape=(0, "O"), buffer=(2, "I"), name=(3, "O"), dtype=(1, "B"), has_rank=(8, "B"))
_QUANTISED_TENSOR = TableForm(
    shape=(0, "O"), buffer=(2, "I"), name=(3, "O"), quantisation=(4, "O"), dtype=(1, "B"), has_rank=(8, "B")
)  # fmt: skip
_PLAIN_OPERATOR = TableForm(code=(0, "I"), inputs=(1, "O"), outputs=(2, "O"))
_OPERATOR = TableForm(code=(0, "I"), inputs=(1, "O"), outputs=(2, "O"), options=(4, "O"), table=(3, "B"))


class _Writer(TableBuilder):
    """Writes tables of the schema from the records; every method returns the offset of its table."""

    def __init__(self, room: int) -> None:
        """Begins an empty file of at most `room` bytes."""
        super().__init__(room, _ALIGNMENT)
        self.options: dict[OperatorOptions, int] = {}

    def buffers(self, model: FileModel) -> list[int]:
        """Writes the empty buffer of all activations, one buffer for each constant, and the buffer of the metadata."""
        version = np.zeros(_ALIGNMENT, np.uint8)
        text = oldest_runtime(model.versions).encode()
        version[: len(text)] = np.frombuffer(text, np.uint8)
        metadata = self._buffer(FileTensor(MIN_RUNTIME_VERSION, version.shape, "uint8", version))
        constants = [self._buffer(tensor) for tensor in reversed(model.tensors) if tensor.data is not None]
        schema.BufferStart(self.builder)
        return [schema.BufferEnd(self.builder), *reversed(constants), metadata]

    def _buffer(self, tensor: FileTensor) -> int:
        assert tensor.data is not None
        return self.table(_BUFFER, self.constant(tensor.data, np.dtype(tensor.dtype), _ALIGNMENT))

    def metadata(self, buffer: int) -> int:
        """Writes the entry that names the buffer of the metadata."""
        name = self.string(MIN_RUNTIME_VERSION)
        schema.MetadataStart(self.builder)
        schema.MetadataAddName(self.builder, name)
        schema.MetadataAddBuffer(self.builder, buffer)
        return int(schema.MetadataEnd(self.builder))

    def subgraph(self, model: FileModel) -> tuple[int, list[int]]:
        """Writes the subgraph and the operator codes that its operators index."""
        codes = {code: i for i, code in enumerate(model.versions)}
        operators = [self._operator(operator, codes[operator.code]) for operator in model.operators]
        tensors, buffer = [], 0
        for tensor in model.tensors:
            buffer += tensor.data is not None
            tensors.append(self._tensor(tensor, buffer if tensor.data is not None else 0))
        name = self.string("main")
        all_tensors, all_operators = self.offsets(tensors), self.offsets(operators)
        inputs, outputs = self.numbers(model.inputs, "i"), self.numbers(model.outputs, "i")
        schema.SubGraphStart(self.builder)
        schema.SubGraphAddTensors(self.builder, all_tensors)
        schema.SubGraphAddInputs(self.builder, inputs)
        schema.SubGraphAddOutputs(self.builder, outputs)
        schema.SubGraphAddOperators(self.builder, all_operators)
        schema.SubGraphAddName(self.builder, name)
        return int(schema.SubGraphEnd(self.builder)), [self._code(*code) for code in model.versions.items()]

    def _code(self, name: str, version: int) -> int:
        code = getattr(schema.BuiltinOperator, name)
        schema.OperatorCodeStart(self.builder)
        # Readers from before the 32-bit field look at the old 8-bit one, where 127 means: see the new one.
        schema.OperatorCodeAddDeprecatedBuiltinCode(self.builder, min(code, 127))
        schema.OperatorCodeAddBuiltinCode(self.builder, code)
        schema.OperatorCodeAddVersion(self.builder, version)
        return int(schema.OperatorCodeEnd(self.builder))

    def _operator(self, operator: FileOperator, code: int) -> int:
        inputs, outputs = self.numbers(operator.inputs, "i"), self.numbers(operator.outputs, "i")
        if operator.options is None:
            return self.table(_PLAIN_OPERATOR, code, inputs, outputs)
        options, kind = self._options(operator.options), getattr(schema.BuiltinOptions, operator.options.table)
        return self.table(_OPERATOR, code, inputs, outputs, options, kind)

    def _options(self, options: OperatorOptions) -> int:
        """Writes the options of an operator; equal ones are written once."""
        if options not in self.options:
            getattr(schema, f"{options.table}Start")(self.builder)
            for field, value in options.fields:
                getattr(schema, f"{options.table}Add{field}")(self.builder, value)
            self.options[options] = int(getattr(schema, f"{options.table}End")(self.builder))
        return self.options[options]

    def _tensor(self, tensor: FileTensor, buffer: int) -> int:
        shape, name = self.numbers(tensor.shape, "i"), self.string(tensor.name)
        kind = getattr(schema.TensorType, tensor.dtype.upper())
        if tensor.quantisation is None:
            return self.table(_TENSOR, shape, buffer, name, kind, True)
        return self.table(_QUANTISED_TENSOR, shape, buffer, name, self._quantisation(tensor.quantisation), kind, True)

    def _quantisation(self, quantisation: TensorQuantisation) -> int:
        scale = self.numbers(quantisation.scale, "f")
        channels = len(quantisation.scale)
        zero_point = self.numbers((quantisation.zero_point,) * channels, "q")
        return self.table(_QUANTISATION, scale, zero_point, quantisation.dimension)

    def signature(self, model: FileModel) -> int:
        """Writes the signature, by whose names callers find inputs and outputs."""
        inputs = self.offsets([self._named(n, t) for n, t in zip(model.input_names, model.inputs, strict=True)])
        outputs = self.offsets([self._named(n, t) for n, t in zip(model.output_names, model.outputs, strict=True)])
        key = self.string(SIGNATURE)
        schema.SignatureDefStart(self.builder)
        schema.SignatureDefAddInputs(self.builder, inputs)
        schema.SignatureDefAddOutputs(self.builder, outputs)
        schema.SignatureDefAddSignatureKey(self.builder, key)
        return int(schema.SignatureDefEnd(self.builder))

    def _named(self, name: str, tensor: int) -> int:
        text = self.string(name)
        schema.TensorMapStart(self.builder)
        schema.TensorMapAddName(self.builder, text)
        schema.TensorMapAddTensorIndex(self.builder, tensor)
        return int(schema.TensorMapEnd(self.builder))
