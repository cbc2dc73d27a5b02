"""Makes text from files, names and devices safe for terminals."""

from __future__ import annotations

import re

# C0 and C1 controls (with ESC and the 8-bit CSI), DEL, what changes the direction of writing, other line ends, halves of
# surrogate pairs (bytes of a file name that are not UTF-8).
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_KEPT = ("\n", "\t")
MOST_CHARACTERS = 4000


def printable(text: str, limit: int = MOST_CHARACTERS, *, lines: bool = False) -> str:
    r"""Text that a terminal shows and does not obey: control characters become `\x1b`, `\u202e`, …, and long text is cut.

    Args:
        text: Any text.
        limit: Most characters; longer text keeps its begin and its end, which mostly says what to do.
        lines: Keep line breaks and tabs, for messages that have several lines.

    Example:
        >>> printable("a\x1b[2Jb")
        'a\\x1b[2Jb'
    """
    if len(text) > limit:
        left = max(limit - 60, 8)
        text = f"{text[: left * 3 // 4]} … ({len(text) - left} characters left out) … {text[len(text) - left // 4 :]}"
    return _UNSAFE.sub(lambda found: found[0] if lines and found[0] in _KEPT else _escaped(found[0]), text)


def json_text(text: str) -> str:
    r"""JSON for any terminal or pipe: control characters inside its strings become `\u009b`, which reads back as they were."""
    return _UNSAFE.sub(lambda found: found[0] if found[0] in _KEPT else f"\\u{ord(found[0]):04x}", text)


def _escaped(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:
        return f"\\x{number - 0xDC00:02x}"  # a byte that the system could not decode
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
