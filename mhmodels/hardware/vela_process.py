"""A child process with Vela in it, one for every thread that compiles."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Sequence
from pathlib import Path

from mhmodels.hardware.host_session import CONTAINED

CHILD = Path(__file__).with_name("vela_child.py")
_of_thread = threading.local()


def run_vela(arguments: Sequence[str], folder: Path, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Runs Vela in a folder, on the cores of the calling thread; `stdout` and `stderr` are left there as well.

    Args:
        arguments: of its command line.
        folder: where relative names begin.
        timeout_s: for all of it.

    Returns:
        Exit code (below 0 for a signal) and what it said.

    Raises:
        subprocess.TimeoutExpired: it took longer; it was ended.
    """
    process: _VelaProcess | None = getattr(_of_thread, "process", None)
    if process is None or not process.alive:
        process = _of_thread.process = _VelaProcess()
    code = process.compile(arguments, folder, timeout_s)
    said = [_text(folder / name) for name in ("stdout", "stderr")]
    return subprocess.CompletedProcess(["vela", *arguments], code, *said)


class _VelaProcess:
    """The child; it ends when nobody refers to it, and with this process in any case."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", str(CONTAINED), "[]", str(CHILD)]
        # Threads of a library would not be there after a fork.
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0, env=environment
        )
        self._owner = os.getpid()
        self._end = weakref.finalize(self, _end, self._child, self._owner)

    @property
    def alive(self) -> bool:
        """Whether it can compile, for this process and not for one that it was forked from."""
        return self._owner == os.getpid() and self._end.alive and self._child.poll() is None

    def compile(self, arguments: Sequence[str], folder: Path, timeout_s: float) -> int:
        """The exit code of one compilation, or of the child if that is what died."""
        assert self._child.stdin is not None
        deadline = time.monotonic() + timeout_s
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        request = {"cores": cores, "folder": str(folder), "arguments": list(arguments)}
        try:
            self._child.stdin.write(json.dumps(request).encode() + b"\n")
            return int(self._line(deadline))
        except (BrokenPipeError, EOFError):
            return self._child.wait()
        except TimeoutError:
            self._end()
            raise subprocess.TimeoutExpired(["vela", *arguments], timeout_s) from None
        except BaseException:  # an answer that nobody waits for must not be taken for that of the next file
            self._end()
            raise

    def _line(self, deadline: float) -> bytes:
        assert self._child.stdout is not None
        output, line = self._child.stdout.fileno(), b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([output], [], [], left)[0]:
                raise TimeoutError
            piece = os.read(output, 64)
            if not piece:
                raise EOFError
            line += piece
        return line


def _end(child: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() != owner:
        return
    child.kill()
    child.wait()
    for stream in (child.stdin, child.stdout):
        if stream is not None:
            stream.close()


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
