"""HDF5 files of other programs, read in a contained process: groups and arrays as plain objects, values on demand.

One damaged byte makes HDF5's library loop for ever or crash. This process therefore never opens such a file itself: a child
(`hdf5_child.py`, inside the limits of `mhmodels.system.contained`) describes it, and reads each array on request under limits of
processor time and memory. The child is started once and serves all files of a process.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import signal
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

from mhmodels.errors import MhmodelsError, WeightsError
from mhmodels.formats.archives import ArchiveError, check_archive, unpacked_limit
from mhmodels.system.child import Child, end_name

SCRIPT = Path(__file__).with_name("hdf5_child.py")
CPU_SECONDS = 5
"""Processor time for any request, most of which take milliseconds; large files and arrays have more."""

WALL_SECONDS = 300.0
"""Time for an answer, whatever the processor does: a file on a network drive may keep the child waiting."""


class Link(NamedTuple):
    """A member that holds no data of this file: a soft or external link, or neither group nor array."""

    name: str


class Described(TypedDict, total=False):
    """A group, an array or a link of a file as the child describes it."""

    members: dict[str, Described]
    attributes: dict[str, str | list[str]]
    link: bool
    shape: list[int]
    dtype: str
    code: str
    size: int
    inside: bool


class Hdf5Answer(TypedDict, total=False):
    """An answer of the child: what was asked for, or an error."""

    root: Described
    bytes: int
    error: str


class Array:
    """An array of an open file.

    Attributes:
        name: Path in the file, from the root.
        shape: Shape of the array.
        dtype: NumPy's name of its type.
        inside: Whether its values are in this file.
    """

    def __init__(self, file: Opened, name: str, described: Described) -> None:
        self.name = name
        self.shape: tuple[int, ...] = tuple(described["shape"])
        self.dtype: str = described["dtype"]
        self.inside: bool = described["inside"]
        self._file, self._code, self._size = file, described["code"], int(described["size"])

    @property
    def nbytes(self) -> int:
        """Number of bytes of its values in memory."""
        total = self._size
        for side in self.shape:
            total *= side
        return total

    def read(self) -> NDArray[np.generic]:
        """Its values.

        Raises:
            WeightsError: They are no numbers of up to 8 bytes, are damaged, or take longer or more memory than they may.
        """
        if not self._code:
            raise WeightsError(
                f"{self._file.path}: '{self.name}' is of type {self.dtype}, expected floats or whole numbers of up to 8 bytes"
            )
        values: NDArray[np.generic] = self._file.values(self).view(self._code).reshape(self.shape)
        return values


class Group:
    """A group of an open file: its members by name, and those attributes in which Keras keeps names."""

    def __init__(self, file: Opened, name: str, described: Described) -> None:
        self.name = name or "/"
        self.attributes: dict[str, str | list[str]] = described["attributes"]
        self.members: dict[str, Group | Array | Link] = {
            key: _node(file, f"{name}/{key}", member) for key, member in described["members"].items()
        }


def _node(file: Opened, name: str, described: Described) -> Group | Array | Link:
    if "members" in described:
        return Group(file, name, described)
    return Link(name) if "link" in described else Array(file, name, described)


class Opened:
    """A file that the child has open."""

    def __init__(self, path: str, member: str | None, limit: int) -> None:
        self.path = path
        self._limit = limit
        self._reader = _reader()
        self._number, described = self._reader.open(path, member, limit)
        self.root = Group(self, "", described)
        try:
            self._check_size()
        except WeightsError:
            self.close()
            raise

    def _check_size(self) -> None:
        """Adds up what its arrays declare: a small file can declare terabytes of one repeated value."""
        total = sum(array.nbytes for array in self.arrays())
        if total > self._limit:
            raise WeightsError(
                f"{self.path}: its arrays take {total} bytes, expected at most {self._limit} for a file of its size; "
                "it is damaged or hostile"
            )

    def arrays(self) -> Iterator[Array]:
        """Every array that is stored in the file."""
        groups = [self.root]
        while groups:
            members = groups.pop().members.values()
            groups += [member for member in members if isinstance(member, Group)]
            yield from (member for member in members if isinstance(member, Array) and member.inside)

    def check(self) -> None:
        """Reads all of it, for whoever opens the file in this process afterwards.

        Raises:
            WeightsError: Something in it is damaged.
        """
        sizes = [array.nbytes for array in self.arrays()]
        self._reader.check(self.path, self._number, sum(sizes), max(sizes, default=0))

    def values(self, array: Array) -> NDArray[np.uint8]:
        """The bytes of an array, writable."""
        return self._reader.read(self.path, self._number, array.name, array.nbytes)

    def close(self) -> None:
        """Closes it in the child."""
        self._reader.close(self._number)


class Reader:
    """The child process, and the file that it shares with this process.

    Attributes:
        process: Id of the process that started it.
        ended: Event that is set when it is no longer needed.
    """

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.process = os.getpid()
        self._lock = threading.Lock()
        self._count = 0
        self._shared = _shared_file()
        descriptor = self._shared.fileno()
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "HDF5_PLUGIN_PRELOAD": "::"}
        self._child = Child(SCRIPT, [str(descriptor)], environment=environment, descriptors=(descriptor,))

    @property
    def alive(self) -> bool:
        """Whether it can be asked, by this process."""
        return self.process == os.getpid() and self._child.alive

    def open(self, path: str, member: str | None, limit: int) -> tuple[int, Described]:
        """Describes a file; returns its number and its root."""
        with self._lock:
            self._count += 1
            request = {"do": "open", "path": str(Path(path).resolve()), "member": member, "limit": limit}
            # A zip file's member is held in memory; of the rest only names and places are.
            seconds = CPU_SECONDS + (Path(path).stat().st_size >> 22)
            answer = self._ask(path, self._count, request, seconds, 3 * limit if member else 0)
            return self._count, answer["root"]

    def read(self, path: str, number: int, name: str, size: int) -> NDArray[np.uint8]:
        """The bytes of an array."""
        with self._lock:
            request = {"do": "read", "name": name}
            try:
                answer = self._ask(path, number, request, CPU_SECONDS + (size >> 24), 3 * size)
                if answer["bytes"] != size:
                    raise WeightsError(f"{path}: '{name}' has {answer['bytes']} bytes, expected {size}; the file is damaged")
                content, done = bytearray(size), 0
                while done < size:
                    done += os.preadv(self._shared.fileno(), [memoryview(content)[done:]], done)
                return np.frombuffer(content, np.uint8)
            finally:
                # It takes memory as long as it has a size.
                self._shared.truncate(0)

    def check(self, path: str, number: int, total: int, largest: int) -> None:
        """Reads every array and every attribute, and keeps none."""
        with self._lock:
            self._ask(path, number, {"do": "check"}, CPU_SECONDS + (total >> 24), 3 * largest)

    def close(self, number: int) -> None:
        """Forgets a file; nothing is said if the child has ended."""
        with self._lock, contextlib.suppress(WeightsError):
            if self.alive:
                self._ask("", number, {"do": "close"}, CPU_SECONDS, 0)

    def _ask(self, path: str, number: int, request: Mapping[str, object], seconds: int, memory: int) -> Hdf5Answer:
        try:
            line = self._child.ask(
                {**request, "file": number, "seconds": seconds, "memory": memory}, time.monotonic() + WALL_SECONDS
            )
        except TimeoutError:
            raise WeightsError(f"{path}: HDF5 did not finish reading it in {WALL_SECONDS:g} s; get the file anew") from None
        except OverflowError:
            raise WeightsError(f"{path}: names in it without end; get the file anew") from None
        except EOFError:
            raise WeightsError(f"{path}: {self._death(seconds)}") from None
        answer: Hdf5Answer = json.loads(line)
        if "error" in answer:
            raise WeightsError(
                f"{path}: cannot be read as Keras weights ({answer['error']}); expected a whole .weights.h5, .h5 or .keras file"
            )
        return answer

    def _death(self, seconds: int) -> str:
        code = self._child.wait()
        if code == -signal.SIGKILL:
            return "the process that reads it was killed (SIGKILL), as a machine without free memory does; try again"
        if code == -signal.SIGXCPU:
            return f"damaged: HDF5 does not come to an end with it ({seconds} s of processor time); get the file anew"
        return f"damaged: HDF5 crashes on it ({end_name(code)}); get the file anew"

    def end(self) -> None:
        """Ends the child."""
        self._child.end()
        self.ended.set()


def _shared_file() -> IO[bytes]:
    """Returns a file without a name, which disappears with the last process that has it open."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("mhmodels-weights"), "w+b")
    return tempfile.TemporaryFile()


_readers: list[Reader] = []
_starting = threading.Lock()


def _reader() -> Reader:
    """Returns the child of this process, started when it is first needed and again after a file has ended it."""
    with _starting:
        if not _readers or not _readers[-1].alive:
            _end()
            _readers[:] = [_start()]
        return _readers[-1]


def _start() -> Reader:
    """Starts the child from a thread of its own: a child ends with its starting thread, and this one outlives the caller's."""
    started: queue.Queue[Reader | Exception] = queue.Queue()

    def stay() -> None:
        try:
            reader = Reader()
        except Exception as error:
            started.put(error)
        else:
            started.put(reader)
            reader.ended.wait()

    threading.Thread(target=stay, name="mhmodels-hdf5", daemon=True).start()
    reader = started.get()
    if isinstance(reader, Exception):
        raise reader
    return reader


@atexit.register
def _end() -> None:
    for reader in _readers:
        if reader.process == os.getpid():
            reader.end()


@contextlib.contextmanager
def open_file(path: str | os.PathLike[str], member: str) -> Iterator[Opened]:
    """Opens an HDF5 file, or the one that a zip file holds, in the child.

    Args:
        path: Path of either.
        member: Its name in a zip file.

    Raises:
        WeightsError: No regular file, none of HDF5, damaged, or one that unpacks to more than a file of its size may.
    """
    text, place = os.fspath(path), Path(path)
    try:
        if not place.is_file():
            raise WeightsError(f"{text}: cannot be read ({'no such file' if not place.exists() else 'not a regular file'})")
        limit = unpacked_limit(place.stat().st_size)
        packed = zipfile.is_zipfile(place)
        if packed and member not in check_archive(place):
            raise WeightsError(f"{text}: a zip file without {member}, expected one that Keras saved (.keras)")
        opened = Opened(text, member if packed else None, limit)
    except MhmodelsError:
        raise
    except (OSError, ArchiveError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise WeightsError(
            f"{text}: cannot be read as Keras weights ({reason}); expected a whole .weights.h5, .h5 or .keras file"
        ) from error
    try:
        yield opened
    finally:
        opened.close()
