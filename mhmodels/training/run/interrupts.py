"""Ctrl-C during a long job: the first one lets the job finish its step and write a checkpoint, the second one ends it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """A request of the user to stop the job.

    Attributes:
        made: Whether Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.made = False


@contextmanager
def stop_requests(tell: Callable[[str], None]) -> Iterator[StopRequest]:
    """While the block runs, the first Ctrl-C only sets a flag; the next one raises KeyboardInterrupt as usual.

    In a thread other than the main one, or in a program with its own handler of SIGINT, nothing changes.

    Args:
        tell: Receives a message for the user when the first Ctrl-C arrives.
    """
    request = StopRequest()

    def handle(_number: int, _frame: FrameType | None) -> None:
        if request.made:
            raise KeyboardInterrupt
        request.made = True
        with contextlib.suppress(RuntimeError):  # the signal may arrive within a write to the same stream
            tell("stopping after this step, with a checkpoint; press Ctrl-C again to stop at once, without one")

    own = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not own:
        yield request
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield request
    finally:
        signal.signal(signal.SIGINT, before)
