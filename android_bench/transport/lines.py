"""From the raw bytes of a phone's shell to clean lines of text."""

from __future__ import annotations

import re

MAX_LINE_BYTES = 1 << 16
_ANSI = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\-_]")
# Only the tool's own tags: a line that another program wrote into the log keeps its prefix and so does not count.
_TAG = r"(?:tflite|litert|tensorflow|native)[\w.-]{0,40}"
_LOGCAT = re.compile(
    rf"^\d\d-\d\d \d\d:\d\d:\d\d\.\d{{3}}\s+(?:\S+\s+)?\d+\s+\d+\s+[VDIWEFA]\s+{_TAG}\s*: ?", re.ASCII | re.IGNORECASE
)
_BRIEF_LOGCAT = re.compile(rf"^[VDIWEFA]/{_TAG}\s*\(\s*\d+\): ?", re.ASCII | re.IGNORECASE)
_LEVEL = re.compile(r"^(?:INFO|WARN|WARNING|ERROR|FATAL|VERBOSE): ?")


class LineAssembler:
    """Assembles lines from chunks of any size. A line that is too long takes no memory and is dropped."""

    def __init__(self) -> None:
        self._open = bytearray()
        self._skipping = False
        self.oversized = 0

    def feed(self, data: bytes) -> list[str]:
        """Returns the lines that these bytes complete, clean."""
        found = []
        *ended, rest = data.split(b"\n")
        for part in ended:
            self._append(part)
            if self._skipping:
                self.oversized += 1
            else:
                found.append(clean(bytes(self._open)))
            self._open.clear()
            self._skipping = False
        self._append(rest)
        return found

    def close(self) -> None:
        """Ends the stream. Text without a line end was cut off and is dropped: half a number reads like another number."""
        self.oversized += self._skipping
        self._open.clear()

    def _append(self, part: bytes) -> None:
        if self._skipping or len(self._open) + len(part) > MAX_LINE_BYTES:
            self._skipping = True
            self._open.clear()
        else:
            self._open += part


def clean(raw: bytes) -> str:
    """Removes carriage returns, terminal codes, and the prefixes of logcat and of log levels from a line."""
    text = _ANSI.sub("", raw.decode("utf-8", errors="replace")).strip("\r\0 \t")
    # A progress display overwrites its line, so the last text counts.
    text = text.rsplit("\r", 1)[-1]
    for prefix in (_LOGCAT, _BRIEF_LOGCAT, _LEVEL):
        text = prefix.sub("", text, count=1)
    return without_controls(text.strip())


def without_controls(text: str) -> str:
    """Replaces each character of a phone's text that is not printable by U+FFFD; tabs and line ends stay.

    What a phone prints is parsed and stored, so one character stands for one: leaving nothing would join the digits on both
    sides to another number, and an escape such as `\\x1b` (`mhmodels.system.text.printable`, for text that is only shown)
    would add digits.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
