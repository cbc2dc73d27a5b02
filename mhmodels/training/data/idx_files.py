"""Reads IDX files, the array format of MNIST and Fashion-MNIST, plain or compressed with gzip. `idx` makes a source of them.

An IDX file is: two zero bytes, a type code, the number of dimensions (one byte each); the length of each dimension (4 bytes,
big-endian); the values, the last dimension fastest.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from mhmodels.errors import FileFormatError
from mhmodels.system.files import open_regular
from mhmodels.training.errors import DataError

MAX_VALUES = 1 << 31
"""Largest number of values in a file, which is held in memory: 2.7 million pictures of 28 x 28 pixels."""

_UNSIGNED_BYTE = 0x08
_TYPES = {_UNSIGNED_BYTE: "unsigned byte", 0x09: "signed byte", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}
_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20


def read_idx(path: Path, dimensions: tuple[str, ...]) -> NDArray[np.uint8]:
    """Reads an IDX file of unsigned bytes whole.

    Args:
        path: The file. Whether it is compressed follows from its content, not from its name.
        dimensions: Names of the dimensions that the file must have, for messages.

    Returns:
        The values, uint8, with as many dimensions.

    Raises:
        DataError: The file cannot be read, is no IDX file, has values of another type or other dimensions, is empty, is
            damaged, or is shorter or longer than its header says.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mhmodels.training.data.idx_files import read_idx
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "train-labels-idx1-ubyte"
        ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        ...     read_idx(path, ("labels",))
        array([7, 2, 1], dtype=uint8)
    """
    compressed = False
    try:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open_regular(path))
            compressed = file.peek(2)[:2] == _GZIP
            stream = cast("BinaryIO", stack.enter_context(gzip.GzipFile(fileobj=file))) if compressed else file
            shape = _shape(path, stream.read(4 + 4 * len(dimensions)), dimensions)
            values = _values(path, stream, math.prod(shape))
    except FileFormatError as error:
        raise DataError(str(error)) from error
    except (OSError, EOFError, zlib.error) as error:
        if compressed:
            raise DataError(f"{path}: the gzip data are damaged or truncated ({error}); copy the file again") from error
        raise DataError(f"{path}: cannot be read ({error})") from error
    array: NDArray[np.uint8] = np.frombuffer(values, np.uint8).reshape(shape)
    array.setflags(write=False)
    return array


def _shape(path: Path, header: bytes, dimensions: tuple[str, ...]) -> tuple[int, ...]:
    """Checks a header and returns the lengths of the dimensions."""
    if not header:
        raise DataError(f"{path}: is empty, expected an IDX file")
    magic = bytes((0, 0, _UNSIGNED_BYTE, len(dimensions)))
    begins = f"{path}: begins with the bytes {header[:4].hex(' ')}, expected {magic.hex(' ')}"
    if len(header) < 4 or header[:2] != b"\0\0":
        raise DataError(f"{begins}: neither an IDX file nor compressed with gzip")
    code, count = header[2], header[3]
    if code != _UNSIGNED_BYTE:
        raise DataError(f"{begins}: type code 0x{code:02x} ({_TYPES.get(code, 'unknown')}), expected 0x08 (unsigned byte)")
    if count != len(dimensions):
        raise DataError(f"{begins}: {count} dimensions, expected {len(dimensions)} ({', '.join(dimensions)})")
    size = 4 + 4 * len(dimensions)
    if len(header) < size:
        raise DataError(f"{path}: ends after {len(header)} bytes, within its header of {size}: it is truncated; copy it again")
    shape = struct.unpack(f">{count}I", header[4:])
    if 0 in shape:
        named = ", ".join(f"{length} {name}" for length, name in zip(shape, dimensions, strict=True))
        raise DataError(f"{path}: has {named}, expected at least 1 each")
    if math.prod(shape) > MAX_VALUES:
        raise DataError(f"{path}: {' x '.join(map(str, shape))} values by its header, expected at most {MAX_VALUES}")
    return shape


def _values(path: Path, stream: BinaryIO, count: int) -> bytearray:
    """Reads the values up to the end of the file, where gzip's checksum is. Memory follows the file, not its header."""
    values = bytearray()
    while len(values) <= count and (more := stream.read(min(_CHUNK, count + 1 - len(values)))):
        values += more
    if len(values) < count:
        raise DataError(f"{path}: has {len(values)} of the {count} values in its header: it is truncated; copy it again")
    if len(values) > count:
        raise DataError(f"{path}: goes on after the {count} values in its header; copy it again, or correct the header")
    return values
