"""Temporary files and folders, their locks, and the removal of what killed processes left behind."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import platform
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMPORARY = re.compile(r"^\.mhm-(\d+)-([0-9a-f]{8})[0-9a-f]{16}\.partial")
"""Names of temporary files: process id, mark of the machine, random part."""
_FOLDER = re.compile(r"^mhmodels-[a-z]+-(\d+)-[0-9a-z_]+$")


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


def sweep(folder: Path) -> None:
    """Removes temporary files, and folders in which places were tried, that killed processes left in a folder."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            found = TEMPORARY.match(entry.name)
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
def temporary_file(path: Path) -> Iterator[Path]:
    """An empty file beside `path` whose lock this process holds; it is gone after the block unless it was moved."""
    import fcntl

    # The name of the target is no part of it: a long one would make this one too long.
    suffixes = "".join(path.suffixes[-2:]) if len("".join(path.suffixes[-2:])) <= 32 else ""
    beside = path.with_name(temporary_name() + suffixes)
    descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield beside
    finally:
        beside.unlink(missing_ok=True)
        os.close(descriptor)


def temporary_name() -> str:
    return f".mhm-{os.getpid()}-{_machine()}{secrets.token_hex(8)}.partial"


@functools.cache
def _machine() -> str:
    """A mark of this machine: process ids are of one machine."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
