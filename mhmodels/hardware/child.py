"""A contained child process that answers in lines."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

CONTAINED = Path(__file__).with_name("contained.py")
_MOST_LINE_BYTES = 64 << 20


class Child:
    """A script that runs inside the limits of `contained.py`, takes JSON lines and answers with lines.

    Attributes:
        pid: of the process.
    """

    def __init__(
        self,
        script: Path,
        arguments: Sequence[str] = (),
        *,
        cores: Sequence[int] = (),
        errors: IO[bytes] | int = subprocess.DEVNULL,
        environment: Mapping[str, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        """Starts it.

        Args:
            script: knows what is installed, but neither the working directory nor its own folder.
            arguments: of the script.
            cores: to pin it to; none for all.
            errors: where its stderr goes.
            environment: in place of this process's.
            descriptors: open files that it shares with this process.
        """
        # -P: neither the working directory nor the script's own folder may stand before the installed packages.
        command = [sys.executable, "-P", str(CONTAINED), json.dumps(list(cores)), str(script), *arguments]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            bufsize=0,
            env=environment,
            pass_fds=descriptors,
        )
        self._pending = b""
        self.pid = self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def ask(self, document: Any, deadline: float) -> bytes:
        """Sends a line and waits for one; see `line`."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(document).encode() + b"\n")
        except BrokenPipeError:
            raise EOFError from None
        return self.line(deadline)

    def line(self, deadline: float) -> bytes:
        """One line, without its end, however it arrives in pieces.

        Args:
            deadline: by `time.monotonic`.

        Raises:
            TimeoutError: there is none by then.
            EOFError: the child ended.
            OverflowError: a line without end.
        """
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        while b"\n" not in self._pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([output], [], [], left)[0]:
                raise TimeoutError
            piece = os.read(output, 1 << 16)
            if not piece:
                raise EOFError
            self._pending += piece
            if len(self._pending) > _MOST_LINE_BYTES:
                raise OverflowError
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def wait(self) -> int:
        """Its exit code once it ended, below 0 for a signal."""
        return self._process.wait()

    def end(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
