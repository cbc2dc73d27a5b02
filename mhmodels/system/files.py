"""Reads files of users within limits, and writes files that are whole or absent.

Every writer of the package uses this module, which gives all of them the same guarantees:

- A file appears under its name when it is complete and synced, or not at all, also after `kill -9` or a power cut.
- Temporary files lie in the folder of their target under unpredictable names (`.mhm-PID-RANDOM.partial…`), are never created
  through a symbolic link, and get the permissions that the user's umask gives any new file.
- The next process that writes into a folder removes what a killed process left there. A temporary file counts as left behind
  if a process of this machine created it that is dead, and nobody holds its lock (`flock`). Files of running processes are
  therefore never touched, also where several machines share a folder and locks do not cross it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mhmodels.errors import FileFormatError
from mhmodels.system.moving import check_replaceable, move, move_all
from mhmodels.system.temporary import TEMPORARY, folder_lock, make_folder, sweep, temporary_file, temporary_name

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Opens a regular file for reading; links to regular files are followed.

    Raises:
        FileFormatError: The file cannot be opened, or is a device, a pipe, a socket or a folder: these have no end, or wait.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe waits until somebody writes to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise FileFormatError(f"{_shown(path)}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise FileFormatError(f"{_shown(path)}: cannot be read ({error})") from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = next((words for is_kind, words in _KINDS if is_kind(mode)), "something else")
        raise FileFormatError(f"{_shown(path)}: cannot be read ({kind}, expected a regular file)")
    return os.fdopen(descriptor, "rb")


def read_bytes(path: str | os.PathLike[str], limit: int = 64 << 20) -> bytes:
    """Reads a regular file whole.

    Args:
        path: The file.
        limit: Largest size in bytes; at most `limit + 1` bytes are read, whatever the file says of its size.

    Raises:
        FileFormatError: The file cannot be read, is not a regular file, or is larger than `limit` bytes.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            data = b"" if size > limit else _read(file, size, limit)
        except OSError as error:
            raise FileFormatError(f"{_shown(path)}: cannot be read ({error.strerror})") from error
    if max(size, len(data)) > limit:
        raise FileFormatError(f"{_shown(path)}: {max(size, len(data))} bytes, expected at most {limit}")
    return data


def _read(file: io.BufferedReader, size: int, limit: int) -> bytes:
    """At most `limit + 1` bytes. What is allocated follows the size of the file, which is 0 under /proc whatever is in it."""
    data = file.read(size + 1)
    if len(data) <= size:
        return data
    while len(data) <= limit and (more := file.read(min(1 << 20, limit + 1 - len(data)))):
        data += more
    return data


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Sha256 of a regular file as 64 hexadecimal digits, read in pieces.

    Raises:
        FileFormatError: The file cannot be read, or is not a regular file.
    """
    with open_regular(path) as file:
        try:
            return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise FileFormatError(f"{_shown(path)}: cannot be read ({error.strerror})") from error


@contextmanager
def replaced(path: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[Path]:
    """Writes a file whole: yields a temporary file beside `path`, which becomes `path` when the block ends without an error.

    Args:
        path: The file to write; its folder is created if it is missing.
        overwrite: Whether an existing file is replaced. If not, checking and renaming are one step.

    Yields:
        The empty temporary file. It has the suffixes of `path`, because libraries choose formats by them.

    Raises:
        FileExistsError: `path` exists and `overwrite` is False.
        OSError: The file cannot be written; `filename` is `path`. Nothing is left behind.
    """
    path = Path(path)
    with _named(path):
        make_folder(path.parent)
        sweep(path.parent)
        with temporary_file(path) as beside:
            yield beside
            _sync(beside)
            with folder_lock(path.parent):
                move(beside, path, overwrite)
            _sync(path.parent)


def write_atomically(path: str | os.PathLike[str], content: bytes, *, overwrite: bool = True) -> None:
    """Writes a small file whole; arguments and errors as in `replaced`."""
    with replaced(path, overwrite=overwrite) as beside:
        beside.write_bytes(content)


@contextmanager
def replaced_together(*paths: Path, overwrite: bool = True) -> Iterator[tuple[Path, ...]]:
    """Writes files of one folder that belong together, as `replaced`: all of them appear, or all names stay as they were.

    Args:
        paths: The files. The first one appears last, so that whoever sees it finds the others too.
        overwrite: Whether existing files are replaced. If not, nothing is changed where any of them exists.

    Yields:
        The temporary files, in the same order.

    Raises:
        FileExistsError: One of them exists and `overwrite` is False.
        OSError: A file cannot be written; the files that were there before are restored.
    """
    folder = paths[0].parent
    with contextlib.ExitStack() as stack:
        stack.enter_context(_named(paths[0]))
        make_folder(folder)
        sweep(folder)
        beside = tuple(stack.enter_context(temporary_file(path)) for path in paths)
        yield beside
        for file in beside:
            _sync(file)
        with folder_lock(folder):
            move_all(dict(zip(beside, paths, strict=True)), overwrite)
        _sync(folder)


def move_finished(part: Path, path: Path) -> None:
    """Moves a finished file of the same folder under its name in one step, synced, in place of what is there.

    Raises:
        OSError: It cannot be moved; `filename` is `path`.
    """
    with _named(path):
        _sync(part)
        with folder_lock(path.parent):
            move(part, path, overwrite=True)
        _sync(path.parent)


def nearest_folder(path: Path) -> Path:
    """Returns the nearest folder above a path that exists, absolute: what decides whether the path can be written."""
    return next(folder for folder in path.absolute().parents if os.path.lexists(folder))


def try_place(path: Path) -> None:
    """Checks that a file can be written under a name by creating one of that very name in a temporary folder beside it.

    Args:
        path: The file. Where its folder is missing, the nearest existing folder is tried, with the missing ones in it.

    Raises:
        OSError: It cannot be written, or is a folder; `filename` is `path`, and nothing is left behind.
    """
    absolute = path.absolute()
    with _named(path):
        check_replaceable(path)
        place = nearest_folder(path)
        sweep(place)
        folder = place / temporary_name()
        folder.mkdir(mode=0o700)
        try:
            tried = folder / absolute.relative_to(place)
            tried.parent.mkdir(parents=True, exist_ok=True)
            tried.touch()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors name the file that the caller asked for: nobody knows the temporary one."""
    try:
        yield
    except OSError as error:
        told = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes, os.PathLike)) else None
        if told is None or TEMPORARY.match(Path(told).name):
            error.filename, error.filename2 = str(path), None
        raise


def _shown(path: str | os.PathLike[str]) -> str:
    return os.fsdecode(os.fspath(path))
