"""Adds a metadata buffer and packed files to a finished TFLite file, without moving its content."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from typing import Protocol

import ai_edge_litert.schema_py_generated as schema
import flatbuffers

from mhmodels.tflite.schema import FILE_IDENTIFIER

_ALIGNMENT = 16
_EPOCH = (1980, 1, 1, 0, 0, 0)


def attach_buffer(content: bytes, name: str, data: bytes) -> bytes:
    """Returns a TFLite file with one more metadata entry.

    A new root table is written before the old file; everything else stays where it lies, aligned as it was.

    Args:
        content: The file, of our own writer or of TensorFlow's.
        name: Name of the entry.
        data: Its buffer.
    """
    old = content + bytes(-len(content) % _ALIGNMENT)
    builder = flatbuffers.Builder(len(old) + len(data) + 65536)
    builder.head -= len(old)
    builder.Bytes[builder.head :] = old
    builder.minalign = _ALIGNMENT  # the length stays a multiple of it, so that old offsets stay on their boundaries
    model = schema.Model.GetRootAs(content, 0)
    tables = _Tables(builder, model, len(old))
    buffer = tables.buffer(data)
    buffers = [*(tables.offset(model.Buffers(i)) for i in range(model.BuffersLength())), buffer]
    entry = tables.metadata(name, len(buffers) - 1)
    entries = [*(tables.offset(model.Metadata(i)) for i in range(model.MetadataLength())), entry]
    all_buffers, all_entries = tables.vector(buffers), tables.vector(entries)
    schema.ModelStart(builder)
    schema.ModelAddVersion(builder, model.Version())
    tables.keep(4 + 2 * 1, schema.ModelAddOperatorCodes)
    tables.keep(4 + 2 * 2, schema.ModelAddSubgraphs)
    tables.keep(4 + 2 * 3, schema.ModelAddDescription)
    schema.ModelAddBuffers(builder, all_buffers)
    tables.keep(4 + 2 * 5, schema.ModelAddMetadataBuffer)
    schema.ModelAddMetadata(builder, all_entries)
    tables.keep(4 + 2 * 7, schema.ModelAddSignatureDefs)
    builder.Finish(schema.ModelEnd(builder), FILE_IDENTIFIER)
    return bytes(builder.Output())


class _Generated(Protocol):
    """A table as the schema's generated classes read it."""

    _tab: flatbuffers.table.Table


class _Tables:
    """Tables of the old file and new ones; the builder counts offsets from the end of the file."""

    def __init__(self, builder: flatbuffers.Builder, model: schema.Model, length: int) -> None:
        self.builder, self.model, self.length = builder, model, length

    def offset(self, table: _Generated) -> int:
        """Returns the offset of a table of the old file."""
        return self.length - int(table._tab.Pos)

    def keep(self, field: int, add: Callable[[flatbuffers.Builder, int], object]) -> None:
        """Copies the reference of a field of the old root to a vector or text, if the field is set."""
        table = self.model._tab
        at = table.Offset(field)
        if at:
            add(self.builder, self.length - int(table.Indirect(table.Pos + at)))

    def vector(self, offsets: list[int]) -> int:
        """Writes a vector of tables and returns its offset."""
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def buffer(self, data: bytes) -> int:
        """Writes a buffer with its data on the boundary that the schema asks for, and returns its offset."""
        self.builder.StartVector(1, len(data), _ALIGNMENT)
        self.builder.head -= len(data)
        self.builder.Bytes[self.builder.head : self.builder.head + len(data)] = data
        self.builder.vectorNumElems = len(data)
        vector = self.builder.EndVector()
        schema.BufferStart(self.builder)
        schema.BufferAddData(self.builder, vector)
        return int(schema.BufferEnd(self.builder))

    def metadata(self, name: str, buffer: int) -> int:
        """Writes the entry that names a buffer, and returns its offset."""
        text = self.builder.CreateString(name)
        schema.MetadataStart(self.builder)
        schema.MetadataAddName(self.builder, text)
        schema.MetadataAddBuffer(self.builder, buffer)
        return int(schema.MetadataEnd(self.builder))


def attach_files(content: bytes, files: Mapping[str, bytes]) -> bytes:
    """Returns a TFLite file with other files packed behind it in an uncompressed zip archive, as tflite-support packs labels.

    Equal for equal files: the archive bears no time.
    """
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream, "a") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)
    return stream.getvalue()
