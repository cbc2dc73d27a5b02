"""Safetensors files: names and shapes from the header, which the safetensors library checks; values one tensor at a time.

The library compares the declared shapes and places with the size of the file before it gives a name. No value is read until its
tensor has a place in a network, so that a file of any size takes the memory of its largest tensor.
"""

from __future__ import annotations

import contextlib
import functools
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mhmodels.errors import WeightsError
from mhmodels.system.files import open_regular
from mhmodels.weights.sources.pytorch.limits import LARGEST_HEADER, MOST_TENSORS
from mhmodels.weights.sources.source import Variable

DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
"""Types of the format by NumPy's names; others, such as 8-bit floats, are refused."""

LENGTH_BYTES = 8


def looks_like_safetensors(start: bytes) -> bool:
    """Returns whether the first bytes of a file are a header of safetensors: a length, then JSON."""
    return len(start) > LENGTH_BYTES and start[LENGTH_BYTES : LENGTH_BYTES + 1] == b"{"


def read_safetensors(path: str) -> dict[str, Variable]:
    """Reads the names and shapes of a safetensors file; values are read when their tensor is.

    Args:
        path: The file.

    Returns:
        The tensors by name, in the order of the file.

    Raises:
        WeightsError: The file is truncated, its header is damaged or does not fit its size, or a tensor is of a type that is not
            supported.
    """
    _check_length(path)
    with _reading(path), _opened(path) as file:
        names = list(file.keys())
        if len(names) > MOST_TENSORS:
            raise WeightsError(f"{path}: {len(names)} tensors, expected at most {MOST_TENSORS}")
        slices = {name: file.get_slice(name) for name in names}
        described = {name: (tuple(each.get_shape()), str(each.get_dtype())) for name, each in slices.items()}
    reader = _Reader(path)
    return {name: _variable(reader, name, shape, dtype) for name, (shape, dtype) in described.items()}


def _check_length(path: str) -> None:
    """Checks the length of the header against the size of the file, before the library reads so many bytes."""
    with open_regular(path) as file:
        size = file.seek(0, 2)
        file.seek(0)
        start = file.read(LENGTH_BYTES)
    if len(start) < LENGTH_BYTES:
        raise WeightsError(f"{path}: {size} bytes, expected a safetensors file; it is truncated, get it anew")
    (declared,) = struct.unpack("<Q", start)
    largest = min(size - LENGTH_BYTES, LARGEST_HEADER)
    if not 0 < declared <= largest:
        raise WeightsError(
            f"{path}: declares a header of {declared} bytes, expected 1 to {largest} in a file of {size} bytes; it is truncated "
            "or no safetensors file, get it anew"
        )


class _Reader:
    """Reads the values of a file's tensors one by one; the file is opened for the first of them."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file: Any = None  # the library gives no types

    def read(self, name: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
        """Returns the values of one tensor."""
        with _reading(self.path):
            if self._file is None:
                self._file = _opened(self.path)
            values: NDArray[np.generic] = self._file.get_tensor(name)
        if values.shape != shape:
            raise WeightsError(
                f"{self.path}: tensor '{name}' has {list(values.shape)}, expected {list(shape)}: the file has changed"
            )
        return values


def _variable(reader: _Reader, name: str, shape: tuple[int, ...], code: str) -> Variable:
    dtype = DTYPES.get(code)
    if dtype is None:
        raise WeightsError(f"{reader.path}: tensor '{name[:120]}' is of type {code}, expected one of {', '.join(DTYPES)}")
    return Variable(name, shape, dtype, functools.partial(reader.read, name, shape))


def _opened(path: str) -> Any:
    """Opens a file. The library is imported here, because building networks does not need it."""
    from safetensors import safe_open

    return safe_open(path, framework="np", backend="pread")


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
    """Turns what the library raises of a file into one error that names the file."""
    from safetensors import SafetensorError

    try:
        yield
    except WeightsError:
        raise
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(
            f"{Path(path)}: cannot be read as safetensors, it is damaged or truncated ({reason}); get it anew"
        ) from error
