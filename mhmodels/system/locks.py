"""Locks between processes: a file whose `flock` a process holds. The kernel releases it when the process ends, however it ends.

A lock file holds the process id of its holder and stays when the lock is released: removing it would let two processes hold
two files of one name. Symbolic links are not followed, so a lock can never write into another file.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mhmodels.system.temporary import make_folder

POLL_S = 0.05


class LockFileError(Exception):
    """The lock file cannot be made or locked; the text says why."""


class LockHeldError(Exception):
    """Another process holds the lock.

    Attributes:
        holder: Description of the process that holds the lock.
    """

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"{path} is held by {holder}")
        self.holder = holder


@contextmanager
def file_lock(
    path: Path,
    *,
    timeout_s: float = 0.0,
    shared: bool = False,
    waiting: Callable[[str, float], None] = lambda _holder, _waited_s: None,
) -> Iterator[None]:
    """Holds the lock of a file for the duration of the block. Not reentrant.

    Args:
        path: The lock file; it is created, with its folder, if it is missing.
        timeout_s: Seconds to wait for another holder; 0 to try once, `math.inf` for no limit.
        shared: Whether to hold it together with others that share it.
        waiting: Called every 0.05 s of waiting with the holder in words and the seconds waited so far. An exception in it ends
            the wait.

    Raises:
        LockHeldError: Another process held it for `timeout_s` seconds.
        LockFileError: The file cannot be created or locked.
    """
    import fcntl

    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with _open(path) as file:
        start = time.monotonic()
        while True:
            try:
                fcntl.flock(file, mode | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waited = time.monotonic() - start
            except OSError as error:
                raise LockFileError(f"{path}: {error.strerror}") from error
            if waited >= timeout_s:
                raise LockHeldError(path, _holder(file))
            waiting(_holder(file), waited)
            time.sleep(POLL_S)
        file.truncate(0)
        file.seek(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        # Closing the file releases the lock.
        yield


def _open(path: Path) -> IO[bytes]:
    # The only mode that creates, keeps what another process wrote, and allows reading and replacing it.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        make_folder(path.parent)
        descriptor = os.open(path, flags, 0o644)
    except OSError as error:
        raise LockFileError(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise LockFileError(f"{path}: not a regular file")
    return os.fdopen(descriptor, "r+b", buffering=0)


def _holder(file: IO[bytes]) -> str:
    file.seek(0)
    pid = file.read(16).strip()
    return f"process {pid.decode()}" if pid.isdigit() else "another process"
