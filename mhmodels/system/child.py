"""Contained child processes: one that runs to its end, and one that answers in lines on a descriptor of its own.

Requests and answers travel over a socket that only the child's own script knows. The child's standard input is empty, and
whatever it or a library prints on standard output or standard error goes to `errors`: a print is never taken for an answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

CONTAINED = Path(__file__).with_name("contained.py")
_MOST_LINE_BYTES = 64 << 20
_ENDING_S = 30.0
"""How long a process that has closed its channel may take to end."""


def end_name(code: int) -> str:
    """Returns the name of how a process ended: `SIGSEGV` for a signal (code below 0), else `exit code 3`."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def ending(code: int) -> str:
    """Returns how a process ended, behind the word *ended*: `by SIGSEGV`, `with exit code 3`."""
    return f"{'by' if code < 0 else 'with'} {end_name(code)}"


def last_line(output: bytes | str, most: int = 300) -> str:
    """Returns the last line that is not blank of what a process printed, cut to a length; "" if there is none."""
    text = output.decode(errors="replace") if isinstance(output, bytes) else output
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip()[:most] if lines else ""


def run_contained(
    target: Path | str,
    arguments: Sequence[str] = (),
    *,
    timeout_s: float,
    cores: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
    python: Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Runs a script or module inside the limits of `contained.py` to its end.

    Args:
        target: Path of a script, or dotted name of a module.
        arguments: Arguments of the script, from `sys.argv[1]` on.
        timeout_s: Seconds that it may take.
        cores: Numbers of the processor cores to pin it to; none for all.
        environment: Environment variables, in place of those of this process.
        python: Interpreter that runs it, of Python 3.11 or later; None for the one that runs this process.

    Returns:
        Exit code (below 0 for a signal), standard output and standard error.

    Raises:
        subprocess.TimeoutExpired: It took longer, and was killed.
    """
    command = _command(target, arguments, cores, None, str(python or sys.executable))
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, env=environment, check=False)


def _command(target: Path | str, arguments: Sequence[str], cores: Sequence[int], channel: int | None, python: str) -> list[str]:
    settings = json.dumps({"cores": list(cores), "channel": channel, "parent": os.getpid()})
    # -P: neither the working directory nor the script's own folder may stand before the installed packages.
    return [python, "-P", str(CONTAINED), settings, str(target), *arguments]


class Child:
    """A script or module that runs inside the limits of `contained.py` and answers each JSON line with a line.

    The child finds the number of its descriptor in `sys.argv[1]` and its arguments after it.

    Attributes:
        pid: Process id.
    """

    def __init__(
        self,
        target: Path | str,
        arguments: Sequence[str] = (),
        *,
        cores: Sequence[int] = (),
        errors: IO[bytes] | int = subprocess.DEVNULL,
        environment: Mapping[str, str] | None = None,
        descriptors: Sequence[int] = (),
        python: Path | None = None,
    ) -> None:
        """Starts the process.

        Args:
            target: Path of a script, or dotted name of a module. It finds what is installed, but neither the working directory
                nor its own folder.
            arguments: Arguments of the script.
            cores: Cores to pin the process to; empty for all.
            errors: Where standard output and standard error go.
            environment: In place of this process's.
            descriptors: Open files that it shares with this process.
            python: Interpreter that runs it, of Python 3.11 or later; None for the one that runs this process.
        """
        self._channel, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            command = _command(target, arguments, cores, number, str(python or sys.executable))
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                    pass_fds=(number, *descriptors),
                    env=environment,
                )
            except BaseException:
                self._channel.close()
                raise
        self._pending = b""
        self.pid = self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def ask(self, document: object, deadline: float) -> bytes:
        """Sends a document as one line and waits for the answer.

        An interruption ends the process: an answer that nobody waits for must not be taken for that of the next request.

        Args:
            document: Plain values that JSON can express.
            deadline: Time of `time.monotonic` at which waiting ends.

        Returns:
            The answer without its line end.

        Raises:
            TimeoutError: No answer came by the deadline.
            EOFError: The child ended.
            OverflowError: The answer has no end.
        """
        try:
            with _errors_as_end():
                self._until(deadline)
                self._channel.sendall(json.dumps(document).encode() + b"\n")
            return self.line(deadline)
        except EOFError:  # nothing comes any more; how the process ends by itself is for the caller to see
            raise
        except BaseException:
            self.end()
            raise

    def line(self, deadline: float) -> bytes:
        """Waits for one line and returns it without its end, however it arrives in pieces.

        Args:
            deadline: Time of `time.monotonic` at which waiting ends.

        Raises:
            TimeoutError: No line came by then.
            EOFError: The child ended.
            OverflowError: The line has no end.
        """
        while b"\n" not in self._pending:
            with _errors_as_end():
                self._until(deadline)
                piece = self._channel.recv(1 << 16)
            if not piece:
                raise EOFError
            self._pending += piece
            if len(self._pending) > _MOST_LINE_BYTES:
                raise OverflowError
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def wait(self) -> int:
        """Waits for the end of a process whose channel has ended, and returns its exit code, below 0 for a signal.

        One that goes on without a channel is killed.
        """
        try:
            return self._process.wait(_ENDING_S)
        except subprocess.TimeoutExpired:
            self.end()
            return self._process.wait()

    def end(self) -> None:
        """Kills the process."""
        self._process.kill()
        self._process.wait()
        self._channel.close()

    def _until(self, deadline: float) -> None:
        """Bounds the next operation on the channel."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._channel.settimeout(left)


@contextlib.contextmanager
def _errors_as_end() -> Iterator[None]:
    """A channel that fails, or was closed because the process was ended before, has no answer: the child has ended."""
    try:
        yield
    except TimeoutError:
        raise
    except OSError:
        raise EOFError from None
