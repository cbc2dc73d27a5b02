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
import ctypes
import errno
import functools
import hashlib
import io
import os
import platform
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mhmodels.errors import FileFormatError

_TEMPORARY = re.compile(r"^\.mhm-(\d+)-([0-9a-f]{8})[0-9a-f]{16}\.partial")
_FOLDER = re.compile(r"^mhmodels-[a-z]+-(\d+)-[0-9a-z_]+$")
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_RENAME_NOREPLACE = 1
_AT_FDCWD = -100


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Opens a regular file for reading; links to regular files are followed.

    Raises:
        FileFormatError: the file cannot be opened, or is a device, a pipe, a socket or a folder: these have no end, or wait.
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
        path: the file.
        limit: largest size in bytes; at most `limit + 1` bytes are read, whatever the file says of its size.

    Raises:
        FileFormatError: the file cannot be read, is not a regular file, or is larger than `limit` bytes.
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
        FileFormatError: the file cannot be read, or is not a regular file.
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
        with _temporary(path) as beside:
            yield beside
            _sync(beside)
            with folder_lock(path.parent):
                _move(beside, path, overwrite)
            _sync(path.parent)


def write_atomically(path: str | os.PathLike[str], content: bytes, *, overwrite: bool = True) -> None:
    """Writes a small file whole; arguments and errors as in `replaced`."""
    with replaced(path, overwrite=overwrite) as beside:
        beside.write_bytes(content)


@contextmanager
def published(*paths: Path, overwrite: bool = True) -> Iterator[tuple[Path, ...]]:
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
        beside = tuple(stack.enter_context(_temporary(path)) for path in paths)
        yield beside
        for file in beside:
            _sync(file)
        with folder_lock(folder):
            _move_all(dict(zip(beside, paths, strict=True)), overwrite)
        _sync(folder)


def move_finished(part: Path, path: Path) -> None:
    """Moves a finished file of the same folder under its name in one step, synced, in place of what is there.

    Raises:
        OSError: it cannot be moved; `filename` is `path`.
    """
    with _named(path):
        _sync(part)
        with folder_lock(path.parent):
            _move(part, path, overwrite=True)
        _sync(path.parent)


@contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """Creates a folder in the system's place for temporary files and removes it at the end of the block.

    A killed process cannot remove its folder; the next call of this function removes it, in whichever process.

    Args:
        purpose: Lower-case letters that become a part of the folder's name.

    Yields:
        The folder.
    """
    sweep_folders()
    owned = Path(tempfile.mkdtemp(prefix=f"mhmodels-{purpose}-{os.getpid()}-"))
    try:
        # The lock marks the outer folder as in use; writers of files lock the folder that they write into.
        with folder_lock(owned):
            folder = owned / "files"
            folder.mkdir()
            yield folder
    finally:
        shutil.rmtree(owned, ignore_errors=True)


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, without a lock file; processes of this package wait for each other. Not reentrant."""
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # A file system without locks leaves what each single renaming guarantees.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Creates a folder and its missing parents.

    Raises:
        OSError: It cannot be created; `NotADirectoryError` where a file has its name.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error


def try_place(path: Path) -> None:
    """Checks that a file can be written under a name by creating one of that very name in a temporary folder beside it.

    Args:
        path: The file. Where its folder is missing, the nearest existing folder is tried, with the missing ones in it.

    Raises:
        OSError: It cannot be written, or is a folder; `filename` is `path`, and nothing is left behind.
    """
    absolute = path.absolute()
    with _named(path):
        _check_replaceable(path)
        place = next(folder for folder in absolute.parents if os.path.lexists(folder))
        sweep(place)
        folder = place / _temporary_name()
        folder.mkdir(mode=0o700)
        try:
            tried = folder / absolute.relative_to(place)
            tried.parent.mkdir(parents=True, exist_ok=True)
            tried.touch()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Removes temporary files, and folders in which places were tried, that killed processes left in a folder."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            found = _TEMPORARY.match(entry.name)
            if found and found[2] == _machine() and not _runs(int(found[1])) and not entry.is_symlink():
                _remove_unheld(Path(entry.path))


def sweep_folders() -> None:
    """Removes temporary folders that killed processes of this user left behind."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(tempfile.gettempdir()):
            found = _FOLDER.match(entry.name)
            ours = found and entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.getuid()
            if found and ours and not _runs(int(found[1])):
                _remove_unheld(Path(entry.path))


def _remove_unheld(path: Path) -> None:
    import fcntl

    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
        finally:
            os.close(descriptor)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """An empty file beside `path` whose lock this process holds; it is gone after the block unless it was moved."""
    import fcntl

    # The name of the target is no part of it: a long one would make this one too long.
    suffixes = "".join(path.suffixes[-2:]) if len("".join(path.suffixes[-2:])) <= 32 else ""
    beside = path.with_name(_temporary_name() + suffixes)
    descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield beside
    finally:
        beside.unlink(missing_ok=True)
        os.close(descriptor)


def _temporary_name() -> str:
    return f".mhm-{os.getpid()}-{_machine()}{secrets.token_hex(8)}.partial"


@functools.cache
def _machine() -> str:
    """A mark of this machine: process ids are of one machine."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _move_all(moves: Mapping[Path, Path], overwrite: bool) -> None:
    """Moves files under their names, the first one last; if one cannot be moved, all names are as they were before."""
    for path in moves.values():
        _check_replaceable(path)
        if not overwrite and os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    with contextlib.ExitStack() as kept:
        before = {path: kept.enter_context(_kept(path)) for path in moves.values() if os.path.lexists(path)}
        moved: list[Path] = []
        try:
            for beside, path in reversed(list(moves.items())):
                _move(beside, path, overwrite)
                moved.append(path)
        except BaseException:
            for path in moved:
                if path in before:
                    before[path].replace(path)
                else:
                    path.unlink(missing_ok=True)
            raise


@contextmanager
def _kept(path: Path) -> Iterator[Path]:
    """A second name of a file, or a copy where the file system has no hard links, for the duration of the block."""
    second = path.with_name(_temporary_name())
    try:
        try:
            os.link(path, second, follow_symlinks=False)
        except OSError:
            shutil.copy2(path, second, follow_symlinks=False)
        yield second
    finally:
        second.unlink(missing_ok=True)


def _move(beside: Path, path: Path, overwrite: bool) -> None:
    _check_replaceable(path)
    if overwrite:
        beside.replace(path)
    elif not _rename_without_replacing(beside, path):
        try:
            os.link(beside, path, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:
            # No hard links either, as in some network file systems. The folder's lock is held.
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            beside.replace(path)


def _check_replaceable(path: Path) -> None:
    """Refuses to put a file in the place of a folder, a device or a pipe, such as /dev/null or what /dev/stdout links to."""
    with contextlib.suppress(FileNotFoundError):
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))


def _rename_without_replacing(source: Path, target: Path) -> bool:
    """Linux's `renameat2`; False where the system or the file system has no such call.

    Raises:
        FileExistsError: `target` exists.
    """
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if not call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE):
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS):
        return False
    raise OSError(number, os.strerror(number), str(target))


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
        if told is None or _TEMPORARY.match(Path(told).name):
            error.filename, error.filename2 = str(path), None
        raise


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _shown(path: str | os.PathLike[str]) -> str:
    return os.fsdecode(os.fspath(path))
