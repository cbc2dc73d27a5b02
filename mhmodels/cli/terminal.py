"""What the command line does with its terminal: safe output, closed streams, signals that end a process in an orderly way."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from types import FrameType
from typing import TextIO

from mhmodels.system.text import printable


class SafeText(io.TextIOWrapper):
    r"""A text stream that shows control characters instead of sending them: `\x1b[2J` from a file's name clears no screen.

    Attributes:
        trusted: The stream below, for text that was made safe before colours were added to it (rich).
    """

    def __init__(self, trusted: io.TextIOWrapper) -> None:
        trusted.reconfigure(errors="replace", write_through=True)  # a terminal that is not UTF-8 is no reason for a traceback
        super().__init__(
            trusted.buffer,
            encoding=trusted.encoding,
            errors="replace",
            write_through=True,
            line_buffering=trusted.line_buffering,
        )
        self.trusted = trusted

    def write(self, text: str) -> int:
        """Writes text with control characters escaped, other than line ends and tabs."""
        super().write(printable(text, len(text), lines=True))
        return len(text)


class TerminatedError(KeyboardInterrupt):
    """A signal asks the process to end; it unwinds as after Ctrl-C, so that temporary files and children go."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def prepare() -> None:
    """Makes the standard streams safe and the process end in an orderly way on SIGTERM and SIGHUP."""
    # The next file to be opened would get the number of a closed stream, and prints would go into a database.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = _safe(sys.stdout), _safe(sys.stderr)
    process = os.getpid()

    def end(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second one ends at once
        if os.getpid() != process:
            os._exit(128 + number)  # a fork of this process has nothing of its own to clean up
        raise TerminatedError(number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # `nohup` ignores SIGHUP, and that holds
            signal.signal(number, end)


def trusted(stream: TextIO) -> TextIO:
    """The stream for text that is safe already."""
    return stream.trusted if isinstance(stream, SafeText) else stream


def silence(stream: TextIO) -> None:
    """Sends what is still to come on a stream nowhere, after its reader left: Python would complain when it flushes."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _safe(stream: TextIO | None) -> TextIO:
    if stream is None:  # it was closed when Python started
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123
    return SafeText(stream) if isinstance(stream, io.TextIOWrapper) and not isinstance(stream, SafeText) else stream
