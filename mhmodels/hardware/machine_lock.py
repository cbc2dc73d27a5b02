"""One lock for this machine, so that timings and compilers of different processes do not disturb each other."""

from __future__ import annotations

import contextlib
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mhmodels.errors import MeasurementError
from mhmodels.system import locks
from mhmodels.system.places import cache_path

SILENT_S = 2.0
REMEDY = "set MHMODELS_HOME to a local folder that you can write to"


def lock_path() -> Path:
    """The lock file. It is named after the machine, because machines may share a home folder."""
    return cache_path() / f"measure-{platform.node() or 'host'}.lock"


@contextmanager
def machine_lock(timeout_s: float = 3600.0, *, shared: bool = False, check: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds the lock of this machine. Waits for it, and says so on stderr after 2 s. The lock is not reentrant.

    The kernel drops the lock with its holder, so a killed process leaves nothing behind.

    Args:
        timeout_s: Longest wait in seconds.
        shared: Whether others may share the lock, as compilers do, whose estimates do not depend on the time they take.
        check: Called repeatedly while waiting; an exception that it raises ends the wait.

    Raises:
        MeasurementError: The lock file cannot be made, or the lock was not free within `timeout_s` seconds.
    """
    with file_lock(lock_path(), "this machine", timeout_s, shared=shared, check=check):
        yield


@contextmanager
def turns_lock(timeout_s: float = 3600.0, *, check: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds the lock of timings in turns with a reference, which must not run beside each other; as `machine_lock`."""
    with file_lock(lock_path().with_suffix(".turns.lock"), "this machine", timeout_s, check=check):
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
        path: Lock file; it is made if it does not exist.
        subject: What the lock stands for, in messages.
        timeout_s: Longest wait in seconds.
        shared: Whether others may share the lock.
        check: Called repeatedly while waiting, for threads that no signal reaches; an exception that it raises ends the wait.

    Raises:
        MeasurementError: As `machine_lock`.
    """
    told = False

    def waiting(holder: str, waited_s: float) -> None:
        nonlocal told
        if waited_s > SILENT_S and not told:
            print(f"waiting for {holder}, which is measuring on {subject} ({path})", file=sys.stderr, flush=True)
            told = True
        check()

    # Only errors of taking the lock are translated, not those of the block.
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locks.file_lock(path, timeout_s=timeout_s, shared=shared, waiting=waiting))
        except locks.LockHeldError as error:
            raise MeasurementError(
                f"{path}: {error.holder} has been measuring for over {timeout_s:.0f} s; stop it or wait"
            ) from error
        except locks.LockFileError as error:
            raise MeasurementError(f"{path}: cannot make the lock file ({error}); {REMEDY}") from error
        yield
