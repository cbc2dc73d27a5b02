"""Reads zip archives and `.npz` files within limits: their unpacked size is known before anything is unpacked.

A few kilobytes of zip can hold gigabytes of zeros. Archives of weights and arrays hardly shrink by compression, so the largest
acceptable unpacked size follows from the size of the file.
"""

from __future__ import annotations

import math
import os
import zipfile
from pathlib import Path
from types import ModuleType
from typing import IO

import numpy as np
from numpy.typing import NDArray

SMALL = 256 << 20
"""Bytes that a file of any size may unpack to."""

RATIO = 20
"""Beyond `SMALL`, times that what is unpacked may be larger than the file."""

LARGEST = 4 << 30
"""Bytes that a file may unpack to if its reader does not know better."""

MOST_MEMBERS = 100_000
_NPY: ModuleType = np.lib.format
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class ArchiveError(ValueError):
    """An archive that is damaged, of another kind, or unpacks to more than it may; the text does not name the file."""


def unpacked_limit(size: int, largest: int = LARGEST) -> int:
    """Bytes that a file of `size` bytes may unpack to, at most `largest`."""
    return min(largest, max(SMALL, RATIO * size))


def check_archive(path: str | os.PathLike[str], *, largest: int = LARGEST) -> dict[str, int]:
    """Reads a zip file's directory and adds up what its members declare. Reading a member never gives more than that.

    Args:
        path: The zip file.
        largest: Bytes that it may unpack to, whatever its own size.

    Returns:
        Bytes that each member unpacks to, by name.

    Raises:
        ArchiveError: No regular file, no zip file, other compression than Keras and NumPy use, or too much in it.
        OSError: The file cannot be read.
    """
    if os.path.lexists(path) and not Path(path).is_file():
        raise ArchiveError("not a regular file")
    try:
        limit = unpacked_limit(Path(path).stat().st_size, largest)
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise ArchiveError(f"not a whole zip file ({error})") from error
    for member in members:
        if member.compress_type not in _METHODS or member.flag_bits & 1:
            raise ArchiveError(f"'{member.filename[:80]}' in it is encrypted or compressed by method {member.compress_type}, "
                               "expected stored or deflated")  # fmt: skip
    total = sum(member.file_size for member in members)
    if total > limit or len(members) > MOST_MEMBERS:
        raise ArchiveError(f"it unpacks to {total} bytes in {len(members)} files, expected at most {limit} bytes in "
                           f"{MOST_MEMBERS} for a file of its size")  # fmt: skip
    return {member.filename: member.file_size for member in members}


def load_arrays(path: str | os.PathLike[str], *, largest: int = LARGEST) -> dict[str, NDArray[np.generic]]:
    """Reads an `.npz` file of plain arrays whole.

    Args:
        path: The `.npz` file.
        largest: Largest number of bytes that it may unpack to. A reader that expects arrays of known sizes gives their sum.

    Returns:
        The arrays by name.

    Raises:
        ArchiveError: The file is damaged, not of plain arrays, or has arrays larger than the archive says.
        OSError: The file cannot be read.
    """
    sizes = check_archive(path, largest=largest)
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name, size in sizes.items():
                with archive.open(name) as stream:
                    _check_header(name, stream, size)
                with archive.open(name) as stream:
                    arrays[name.removesuffix(".npy")] = _NPY.read_array(stream, allow_pickle=False)
                    # To its end, where the checksum is compared.
                    stream.read(1)
    except ArchiveError:
        raise
    except Exception as error:  # zlib, zipfile, and NumPy's reading of a header as Python's literals raise whatever they meet
        raise ArchiveError(f"damaged: {_reason(error)}") from error
    return arrays


def _check_header(name: str, stream: IO[bytes], size: int) -> None:
    """Compares what an array's header declares with what is there, before anything is allocated for it."""
    try:
        version = _NPY.read_magic(stream)
    except ValueError as error:
        raise ArchiveError(f"'{name[:80]}' in it is no array: {_reason(error)}") from error
    read = {(1, 0): _NPY.read_array_header_1_0, (2, 0): _NPY.read_array_header_2_0}.get(version)
    if read is None:
        raise ArchiveError(f"'{name[:80]}' in it is an array of version {version}, expected 1.0 or 2.0")
    shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ArchiveError(f"'{name[:80]}' in it holds Python objects, expected plain numbers")
    declared = math.prod(shape) * dtype.itemsize
    if any(side < 0 for side in shape) or declared != size - stream.tell():
        raise ArchiveError(
            f"'{name[:80]}' in it declares {declared} bytes of shape {tuple(shape)}, but holds {size - stream.tell()}"
        )


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
