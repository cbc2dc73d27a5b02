"""Moves finished files under their names, in one step or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mhmodels.system.temporary import temporary_name

_RENAME_NOREPLACE = 1
_AT_FDCWD = -100


def move_all(moves: Mapping[Path, Path], overwrite: bool) -> None:
    """Moves files under their names, the first one last; if one cannot be moved, all names are as they were before."""
    for path in moves.values():
        check_replaceable(path)
        if not overwrite and os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    with contextlib.ExitStack() as kept:
        before = {path: kept.enter_context(_kept(path)) for path in moves.values() if os.path.lexists(path)}
        moved: list[Path] = []
        try:
            for beside, path in reversed(list(moves.items())):
                move(beside, path, overwrite)
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
    second = path.with_name(temporary_name())
    try:
        try:
            os.link(path, second, follow_symlinks=False)
        except OSError:
            shutil.copy2(path, second, follow_symlinks=False)
        yield second
    finally:
        second.unlink(missing_ok=True)


def move(beside: Path, path: Path, overwrite: bool) -> None:
    check_replaceable(path)
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


def check_replaceable(path: Path) -> None:
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
