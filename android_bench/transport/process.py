"""Running a program with a time limit, bounded memory and a way to stop it from another thread."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import IO, Literal, NamedTuple, TypeAlias

Stopped: TypeAlias = Literal["", "timeout", "flood", "cancelled"]

HEAD_BYTES, TAIL_BYTES = 1 << 20, 1 << 20
FLOOD_BYTES = 64 << 20
_SLICE_S = 0.2


class ProcessResult(NamedTuple):
    """How a program ended, and what it printed.

    Attributes:
        rc: Exit code; negative for a signal on this machine.
        stdout, stderr: The first and the last mebibyte of each stream; whole lines on both sides of a gap.
        wall_s: Duration in seconds.
        stopped: Why this process ended it, or "".
        dropped: Number of bytes of both streams that are missing.
    """

    rc: int
    stdout: bytes
    stderr: bytes
    wall_s: float
    stopped: Stopped
    dropped: int


class Capture:
    """Keeps the beginning and the end of a stream, whatever is between them."""

    def __init__(self, head: int = HEAD_BYTES, tail: int = TAIL_BYTES) -> None:
        self._limits = head, tail
        self._head, self._tail = bytearray(), bytearray()
        self.total = 0

    def feed(self, data: bytes) -> None:
        """Takes the next bytes."""
        self.total += len(data)
        head, tail = self._limits
        room = head - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        # Twice the size before cutting, so that a long stream is not copied for every chunk.
        if len(self._tail) > 2 * tail:
            del self._tail[: len(self._tail) - tail]

    def result(self) -> tuple[bytes, int]:
        """The kept bytes, and the number of missing bytes; with a gap, both sides of it end at whole lines."""
        tail = bytes(self._tail[-self._limits[1] :])
        head = bytes(self._head)
        if len(head) + len(tail) < self.total:
            # Half a line at the gap could read as another number.
            head, tail = head[: head.rfind(b"\n") + 1], tail[tail.find(b"\n") + 1 :] if b"\n" in tail else b""
        return head + tail, self.total - len(head) - len(tail)


def run_program(
    command: Sequence[str],
    *,
    timeout_s: float,
    cancelled: Callable[[], bool] = lambda: False,
    flood_bytes: int = FLOOD_BYTES,
) -> ProcessResult:
    """Runs a program without input until it ends or is ended.

    Args:
        command: Program and arguments; no shell is involved.
        timeout_s: Longest duration in seconds, whether the program prints something or not.
        cancelled: Is asked now and then; True ends the program.
        flood_bytes: Number of printed bytes after which the program is ended.

    Raises:
        OSError: The program cannot be started.
    """
    start = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        captures = {process.stdout: Capture(), process.stderr: Capture()}
        try:
            stopped = _drain(captures, start + timeout_s, cancelled, flood_bytes)
            if not stopped:
                stopped = _await(process, start + timeout_s)
        finally:
            if process.poll() is None:
                process.kill()
        rc = process.wait()
        (out, lost_out), (err, lost_err) = captures[process.stdout].result(), captures[process.stderr].result()
    return ProcessResult(rc, out, err, time.monotonic() - start, stopped, lost_out + lost_err)


def _drain(captures: dict[IO[bytes], Capture], deadline: float, cancelled: Callable[[], bool], most: int) -> Stopped:
    with selectors.DefaultSelector() as selector:
        for pipe in captures:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                return "timeout"
            if cancelled():
                return "cancelled"
            for key, _ in selector.select(min(left, _SLICE_S)):
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fileobj)
                    continue
                captures[key.fileobj].feed(data)  # type: ignore[index]
                if sum(capture.total for capture in captures.values()) > most:
                    return "flood"
    return ""


def _await(process: subprocess.Popen[bytes], deadline: float) -> Stopped:
    """Waits for a program that has closed both its streams; it has usually ended already."""
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return "timeout"
    return ""
