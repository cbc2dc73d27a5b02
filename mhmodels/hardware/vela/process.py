"""Child processes that hold Vela, one for every thread that compiles."""

from __future__ import annotations

import os
import subprocess
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path

from mhmodels.errors import MeasurementError
from mhmodels.system.child import Child

CHILD = Path(__file__).with_name("child.py")
_of_thread = threading.local()


def run_vela(arguments: Sequence[str], folder: Path, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Runs Vela in a folder, on the cores of the calling thread. Its output is left there as `stdout` and `stderr` too.

    Args:
        arguments: Arguments of Vela's command line.
        folder: Working folder.
        timeout_s: Longest time in seconds.

    Returns:
        Exit code (below 0 for a signal), and what Vela printed.

    Raises:
        subprocess.TimeoutExpired: Vela took longer and was ended.
        MeasurementError: The process answered something else than an exit code.
    """
    process: _VelaProcess | None = getattr(_of_thread, "process", None)
    if process is None or not process.alive:
        process = _of_thread.process = _VelaProcess()
    code = process.compile(arguments, folder, timeout_s)
    said = [_text(folder / name) for name in ("stdout", "stderr")]
    return subprocess.CompletedProcess(["vela", *arguments], code, *said)


class _VelaProcess:
    """A child process. It ends when nothing refers to it any more, and with this process in any case."""

    def __init__(self) -> None:
        # Threads of a library would not exist after a fork.
        self._child = Child(CHILD, environment={**os.environ, "OPENBLAS_NUM_THREADS": "1"})
        self._owner = os.getpid()
        self._end = weakref.finalize(self, _end, self._child, self._owner)

    @property
    def alive(self) -> bool:
        """Whether the child can compile for this process, and not for one that this process was forked from."""
        return self._owner == os.getpid() and self._end.alive and self._child.alive

    def compile(self, arguments: Sequence[str], folder: Path, timeout_s: float) -> int:
        """Exit code of one compilation, or of the child if the child died."""
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        request = {"cores": cores, "folder": str(folder), "arguments": list(arguments)}
        try:
            return int(self._child.ask(request, time.monotonic() + timeout_s))
        except EOFError:
            return self._child.wait()
        except TimeoutError:
            raise subprocess.TimeoutExpired(["vela", *arguments], timeout_s) from None
        except (ValueError, OverflowError):
            self._end()
            raise MeasurementError("Vela's process answered something else than an exit code; measure again") from None


def _end(child: Child, owner: int) -> None:
    if os.getpid() == owner:
        child.end()


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
