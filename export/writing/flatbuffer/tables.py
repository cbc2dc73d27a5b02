"""Lays out tables, vectors and strings as FlatBuffers does, for the few forms of tables that a file has hundreds of.

What is created first lies last, as in `flatbuffers.Builder`, whose buffer is shared: rare tables are built by the functions that
are generated from the schema.
"""

from __future__ import annotations

import io
import mmap
import struct
from collections.abc import Sequence
from typing import NamedTuple

import flatbuffers
import numpy as np
from numpy.typing import NDArray

_LENGTH = struct.Struct("<I")
_ROWS = 512
"""Rows that are transposed at a time: what is read of them stays in the first cache, which takes two thirds of the time."""


class TableForm:
    """The layout of tables that are written often, which the builder would find out anew, field by field, for each of them.

    Args:
        fields: Number of each field in the schema, and what it holds: `O` the offset of another table, `I` a 32-bit number, `B` a
            byte. Fields that are left out have their default.
    """

    def __init__(self, **fields: tuple[int, str]) -> None:
        codes = "".join(code for _, code in fields.values()).replace("O", "I")
        self.struct = struct.Struct(f"<i{codes}{'x' * (-struct.calcsize('<' + codes) % 4)}")
        places = [4 + struct.calcsize("<" + codes[:i]) for i in range(len(codes))]
        self.offsets = [
            (i, place) for i, (place, (_, code)) in enumerate(zip(places, fields.values(), strict=True)) if code == "O"
        ]
        slots = [0] * (1 + max(slot for slot, _ in fields.values()))
        for place, (slot, _) in zip(places, fields.values(), strict=True):
            slots[slot] = place
        self.vtable = struct.pack(f"<{2 + len(slots)}H", 4 + 2 * len(slots), self.struct.size, *slots)


class _Constant(NamedTuple):
    """An array whose place in the file is reserved: the offset of its first byte, and the type of its elements in the file."""

    offset: int
    data: NDArray[np.generic]
    dtype: np.dtype[np.generic]


class TableBuilder:
    """Writes tables, vectors and strings; every method returns the offset of what it wrote, counted from the end of the file.

    Attributes:
        builder: Holds everything but the content of constants, which is written when the size of the file is known.
    """

    def __init__(self, room: int, alignment: int) -> None:
        """Begins an empty file.

        Args:
            room: Upper limit of the file's size in bytes.
            alignment: Largest alignment of anything in the file, in bytes.
        """
        self.builder = flatbuffers.Builder(0)
        # Pages that nothing is written to, as those of large constants, take neither memory nor time.
        self.builder.Bytes, self.builder.head = mmap.mmap(-1, room), room
        self.builder.minalign = alignment
        self._vectors: dict[tuple[str, bytes], int] = {}
        self._vtables: dict[TableForm, int] = {}
        self._constants: list[_Constant] = []

    def table(self, form: TableForm, *values: int) -> int:
        """Writes a table of a known form, whose values are in the order of its fields."""
        if form not in self._vtables:
            self._vtables[form] = self._reserve(len(form.vtable), 2)
            self.builder.Bytes[self.builder.head : self.builder.head + len(form.vtable)] = form.vtable
        here = self._reserve(form.struct.size, 4)
        # Offsets count from the end of the file; the file holds the way from a field to what it points to.
        content = list(values)
        for field, place in form.offsets:
            content[field] = here - place - values[field]
        form.struct.pack_into(self.builder.Bytes, self.builder.head, self._vtables[form] - here, *content)
        return here

    def vector(self, content: bytes, count: int, alignment: int = 4) -> int:
        """Writes a vector from the bytes of its elements.

        Args:
            content: The elements; for a string, with the zero byte that ends it.
            count: Number of elements; for a string, without the zero byte.
            alignment: Bytes to align the first element to.
        """
        self._reserve(len(content), alignment)
        here, builder = self._reserve(4, 4), self.builder
        builder.Bytes[builder.head : builder.head + 4 + len(content)] = _LENGTH.pack(count) + content
        return here

    def string(self, text: str) -> int:
        """Writes a string."""
        content = text.encode()
        return self.vector(content + b"\0", len(content))

    def offsets(self, offsets: Sequence[int]) -> int:
        """Writes a vector of tables."""
        end, count = self._reserve(0, 4), len(offsets)
        ways = [end + 4 * (count - i) - offset for i, offset in enumerate(offsets)]
        return self.vector(struct.pack(f"<{count}I", *ways), count)

    def numbers(self, values: Sequence[int] | NDArray[np.generic], code: str) -> int:
        """Writes a vector of numbers; equal ones (shapes, zero points) are written once.

        Args:
            values: The numbers.
            code: Type as `struct` names it: `i` int32, `q` int64, `f` float32.
        """
        if isinstance(values, np.ndarray):
            content = np.asarray(values, f"<{code}").tobytes()
        else:
            content = struct.pack(f"<{len(values)}{code}", *values)
        key = (code, content)
        if key not in self._vectors:
            self._vectors[key] = self.vector(content, len(values), 8 if code == "q" else 4)
        return self._vectors[key]

    def constant(self, data: NDArray[np.generic], dtype: np.dtype[np.generic], alignment: int) -> int:
        """Reserves a vector of bytes for an array.

        Args:
            data: Array of any strides and any type that casts to `dtype`.
            dtype: Type of the elements in the file.
            alignment: Bytes to align the first element to.
        """
        size = data.size * dtype.itemsize
        self._constants.append(_Constant(self._reserve(size, alignment), data, dtype))
        here = self._reserve(4, 4)
        _LENGTH.pack_into(self.builder.Bytes, self.builder.head, size)
        return here

    def content(self) -> bytes:
        """Returns the bytes of the finished file."""
        size = self.builder.Offset()
        written = memoryview(self.builder.Bytes)[self.builder.head :]
        # An in-memory file gives its bytes away without a copy. Large constants are written only once.
        file = io.BytesIO()
        file.seek(size - 1)
        file.write(b"\0")
        with file.getbuffer() as target:
            start = 0
            for constant in reversed(self._constants):
                place = size - constant.offset
                target[start:place] = written[start:place]
                start = place + _write(target, place, constant)
            target[start:] = written[start:]
        return file.getvalue()

    def _reserve(self, size: int, alignment: int) -> int:
        """Moves the start of the file to an aligned place, at least `size` bytes before, and returns its offset.

        Padding needs no writing, because the buffer is made of zeros.
        """
        builder = self.builder
        here = int(len(builder.Bytes) - builder.head + size)
        here += -here % alignment
        builder.head = len(builder.Bytes) - here
        return here


def _write(target: memoryview, place: int, constant: _Constant) -> int:
    """Writes an array, transposing and converting it on the way, and returns its size in bytes."""
    source = constant.data
    content = np.frombuffer(target, constant.dtype, source.size, place).reshape(source.shape)
    for start in range(0, source.shape[-1] if source.ndim else 1, _ROWS):
        piece = (..., slice(start, start + _ROWS)) if source.ndim else ...
        np.copyto(content[piece], source[piece], casting="unsafe")
    return int(content.nbytes)
