"""One lock for this machine, so that timings and compilers never run over each other, in whatever process."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mhmodels.errors import MeasurementError
from mhmodels.hardware.places import cache_path

SILENT_S = 2.0
POLL_S = 0.05
REMEDY = "set MHMODELS_HOME to a local folder that you can write to"


def lock_path() -> Path:
    """The lock file; named after the machine, because a home folder may be shared between machines."""
    return cache_path() / f"measure-{platform.node() or 'host'}.lock"


@contextmanager
def machine_lock(timeout_s: float = 3600.0, *, shared: bool = False) -> Iterator[None]:
    """Holds the machine's lock; waits for it, and says so on stderr after 2 seconds. Not reentrant.

    The kernel drops the lock with its holder, so a killed process leaves nothing behind to clean up.

    Args:
        timeout_s: how long to wait.
        shared: beside others that share it too, as compilers do, whose estimates do not depend on the time they take.

    Raises:
        MeasurementError: the lock file cannot be made, or nobody let go within `timeout_s` seconds.
    """
    with file_lock(lock_path(), "this machine", timeout_s, shared=shared):
        yield


@contextmanager
def turns_lock(timeout_s: float = 3600.0) -> Iterator[None]:
    """Holds what timings in turns with a reference must not share with each other; as `machine_lock`."""
    with file_lock(lock_path().with_suffix(".turns.lock"), "this machine", timeout_s):
        yield


@contextmanager
def file_lock(
    path: Path,
    subject: str,
    timeout_s: float = 3600.0,
    *,
    shared: bool = False,
    check: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Holds the lock of anything that must be measured by one process at a time; as `machine_lock`.

    Args:
        path: the lock file; made if missing.
        subject: what it stands for, in messages.
        timeout_s: how long to wait.
        shared: see `machine_lock`.
        check: is called again and again while waiting; what it raises ends the wait, for threads that no signal reaches.

    Raises:
        MeasurementError: as `machine_lock`.
    """
    import fcntl

    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX

    with _open(path) as file:
        start, told = time.monotonic(), False
        while True:
            try:
                fcntl.flock(file, mode | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                pass
            except OSError as error:
                raise MeasurementError(f"{path}: cannot be locked ({error.strerror}); {REMEDY}") from error
            waited = time.monotonic() - start
            if waited > timeout_s:
                raise MeasurementError(f"{path}: {_holder(file)} has been measuring for over {timeout_s:.0f} s; stop it or wait")
            if waited > SILENT_S and not told:
                print(f"waiting for {_holder(file)}, which is measuring on {subject} ({path})", file=sys.stderr, flush=True)
                told = True
            check()
            time.sleep(POLL_S)
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        # Closing the file lets go of the lock.
        yield


def _open(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The only mode that creates, keeps what another process wrote, and lets us read and replace it.
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+")
    except OSError as error:
        raise MeasurementError(f"{path}: cannot make the lock file ({error.strerror}); {REMEDY}") from error


def _holder(file: IO[str]) -> str:
    file.seek(0)
    pid = file.read(16).strip()
    return f"process {pid}" if pid.isdigit() else "another process"
