"""PyTorch's `.pth` files: where the values of tensors lie, in both forms that `torch.save` has written.

`torch.save` pickles a description of tensors and stores their values beside it: in a zip file since PyTorch 1.6, behind the
pickle before. `interpreter` reads the description.
"""

from __future__ import annotations

import functools
import io
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mhmodels.errors import WeightsError
from mhmodels.formats.archives import ArchiveError, check_archive
from mhmodels.system.files import open_regular
from mhmodels.weights.sources.pytorch.interpreter import (
    ADVICE,
    BoundedReader,
    Interpreter,
    PickleProblem,
    TorchStorage,
    TorchTensor,
)
from mhmodels.weights.sources.pytorch.limits import LARGEST_PICKLE
from mhmodels.weights.sources.source import Variable

ZIP_START = b"PK"
PICKLE_START = b"\x80"
DESCRIPTION = "data.pkl"
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
TAR_MARK = (257, b"ustar")
NESTED_DEPTH = 3
"""Dictionaries inside each other that may hold a state dict."""
ByteOrder: TypeAlias = Literal["<", ">"]


def looks_like_torch(path: str, start: bytes) -> bool:
    """Returns whether a file is one of `torch.save`, of any age.

    Args:
        path: The file.
        start: Its first 512 bytes.
    """
    if start.startswith(ZIP_START):
        try:
            with zipfile.ZipFile(path) as archive:
                return any(name == DESCRIPTION or name.endswith(f"/{DESCRIPTION}") for name in archive.namelist())
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError):
            return Path(path).suffix in (".pth", ".pt")
    return start.startswith(PICKLE_START) or start[TAR_MARK[0] :].startswith(TAR_MARK[1])


def read_pickled(path: str) -> object:
    """Reads the description in a file of `torch.save`: dictionaries, lists, numbers, texts, and tensors as `Variable`.

    Args:
        path: The file, of any version of PyTorch.

    Raises:
        WeightsError: The file is damaged, or holds anything but tensors, numbers and texts; nothing of it is executed.
    """
    with open_regular(path) as file:
        start = file.read(512)
    try:
        if start.startswith(ZIP_START):
            return _read_zip(path)
        if start[TAR_MARK[0] :].startswith(TAR_MARK[1]):
            raise PickleProblem("PyTorch's tar format of 2016, which is not read; load and save it with a later PyTorch")
        if not start.startswith(PICKLE_START):
            raise PickleProblem("neither a zip file nor a pickle, expected what torch.save writes")
        return _read_legacy(path)
    except (PickleProblem, ArchiveError) as error:
        raise WeightsError(f"{path}: cannot be read as PyTorch weights ({error})") from error
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        raise WeightsError(f"{path}: cannot be read as PyTorch weights ({str(error)[:200]}); get it anew") from error


def _read_zip(path: str) -> object:
    sizes = check_archive(path)
    found = [name for name in sizes if name == DESCRIPTION or name.endswith(f"/{DESCRIPTION}")]
    if len(found) != 1:
        raise PickleProblem(f"{len(found)} members named {DESCRIPTION} in the zip file, expected one as torch.save writes")
    folder = found[0].removesuffix(DESCRIPTION)
    if f"{folder}constants.pkl" in sizes:
        raise PickleProblem(f"a TorchScript archive, which holds code; {ADVICE}")
    if sizes[found[0]] > LARGEST_PICKLE:
        raise PickleProblem(f"its description has {sizes[found[0]]} bytes, expected at most {LARGEST_PICKLE}")
    with zipfile.ZipFile(path) as archive:
        content = archive.read(found[0])
        order = archive.read(f"{folder}byteorder")[:8] if f"{folder}byteorder" in sizes else b"little"
    if order.strip() not in (b"little", b"big"):
        raise PickleProblem(f"byte order {order!r}, expected little or big")
    described = Interpreter(BoundedReader(io.BytesIO(content), LARGEST_PICKLE)).run()
    # The last storage is kept, because several tensors may lie in one.
    read = functools.lru_cache(maxsize=1)(functools.partial(_member, path))

    def locate(tensor: TorchTensor) -> Callable[[], bytes]:
        member, size = f"{folder}data/{tensor.storage.key}", _bytes_of(tensor.storage)
        if sizes.get(member) != size:
            raise PickleProblem(f"'{member}' has {sizes.get(member, 'no')} bytes, expected {size} as its tensors declare")
        return functools.partial(read, member)

    return _with_values(described, locate, ">" if order.strip() == b"big" else "<", path)


def _member(path: str, member: str) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(member)


def _read_legacy(path: str) -> object:
    """Reads the form before PyTorch 1.6: five pickles, then for each storage its count and its values."""
    with open_regular(path) as file:
        total = file.seek(0, 2)
        file.seek(0)
        stream = BoundedReader(file, LARGEST_PICKLE)
        magic, protocol, system = (Interpreter(stream).run() for _ in range(3))
        if magic != LEGACY_MAGIC:
            raise PickleProblem("a pickle that torch.save did not write")
        if protocol != LEGACY_PROTOCOL or not isinstance(system, dict) or system.get("little_endian") is not True:
            raise PickleProblem(f"protocol {protocol!r} with {system!r}, expected {LEGACY_PROTOCOL} and little-endian values")
        described = Interpreter(stream).run()
        keys = Interpreter(stream).run()
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise PickleProblem("no list of storages behind the description")
        places = _legacy_places(file, stream.tell(), keys, _storages(described), total)

    read = functools.lru_cache(maxsize=1)(functools.partial(_region, path))

    def locate(tensor: TorchTensor) -> Callable[[], bytes]:
        if tensor.storage.key not in places:
            raise PickleProblem(f"storage '{tensor.storage.key}' is not in it; it is truncated")
        return functools.partial(read, places[tensor.storage.key], _bytes_of(tensor.storage))

    return _with_values(described, locate, "<", path)


def _legacy_places(file: IO[bytes], at: int, keys: list[str], storages: dict[str, TorchStorage], total: int) -> dict[str, int]:
    """Returns where the values of each storage begin, after the count that stands before them."""
    places = {}
    for key in keys:
        storage = storages.get(key)
        if storage is None:
            raise PickleProblem(f"storage '{key[:80]}' belongs to no tensor")
        file.seek(at)
        head = file.read(8)
        count = struct.unpack("<q", head)[0] if len(head) == 8 else None
        if count != storage.values or at + 8 + _bytes_of(storage) > total:
            raise PickleProblem(
                f"storage '{key}' has {'no' if count is None else count} values in the {max(0, total - at - 8)} bytes that are "
                f"left, expected {storage.values}; it is truncated or damaged"
            )
        places[key] = at + 8
        at += 8 + _bytes_of(storage)
    return places


def _region(path: str, at: int, size: int) -> bytes:
    with open_regular(path) as file:
        file.seek(at)
        return file.read(size)


def _bytes_of(storage: TorchStorage) -> int:
    return storage.values * _dtype(storage.dtype).itemsize


def _dtype(name: str) -> np.dtype[Any]:
    """Returns a type by name; `bfloat16` is ml_dtypes', which Keras brings."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def _tensors(described: object) -> Iterator[TorchTensor]:
    """Every tensor in a description, however deep, each container visited once."""
    seen: set[int] = set()
    stack = [described]
    while stack:
        node = stack.pop()
        if isinstance(node, TorchTensor):
            yield node
        elif isinstance(node, (dict, list, tuple)) and id(node) not in seen:
            seen.add(id(node))
            stack += node.values() if isinstance(node, dict) else node


def _storages(described: object) -> dict[str, TorchStorage]:
    return {tensor.storage.key: tensor.storage for tensor in _tensors(described)}


def _with_values(
    described: object,
    locate: Callable[[TorchTensor], Callable[[], bytes]],
    order: ByteOrder,
    path: str,
    depth: int = NESTED_DEPTH,
) -> object:
    """Replaces the tensors in the dictionaries of a description by variables; other values stay."""
    if isinstance(described, TorchTensor):
        return Variable("", described.shape, described.storage.dtype, _reader(described, locate(described), order, path))
    if not isinstance(described, dict) or not depth:
        return described
    return {key: _with_values(value, locate, order, path, depth - 1) for key, value in described.items()}


def _reader(tensor: TorchTensor, content: Callable[[], bytes], order: ByteOrder, path: str) -> Callable[[], NDArray[np.generic]]:
    def read() -> NDArray[np.generic]:
        """Returns the values, when they are wanted."""
        dtype = _dtype(tensor.storage.dtype)
        try:
            values = np.frombuffer(content(), dtype if tensor.storage.dtype == "bfloat16" else dtype.newbyteorder(order))
        except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise WeightsError(f"{path}: cannot be read as PyTorch weights ({str(error)[:200]}); get it anew") from error
        if len(values) != tensor.storage.values:
            raise WeightsError(f"{path}: storage '{tensor.storage.key}' is truncated; get it anew")
        steps = tuple(step * dtype.itemsize for step in tensor.stride)
        return np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, steps, writeable=False)

    return read
