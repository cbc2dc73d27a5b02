"""Text from elsewhere on a terminal."""

from __future__ import annotations

import unicodedata

import pytest

from mhmodels.system.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\r\nb\tc", r"a\x0d\x0ab\x09c"),
        ("evil\u202etxt.exe\u2069", r"evil\u202etxt.exe\u2069"),
        ("line\u2028end", r"line\u2028end"),
        ("\udcff.db", r"\xff.db"),
        ("\ud800", r"\ud800"),
        ("Blümchen 花 🌼", "Blümchen 花 🌼"),
    ],
)
def test_control_characters_are_shown_and_not_obeyed(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_every_control_character_of_unicode_is_escaped() -> None:
    for number in range(0x10000):
        character = chr(number)
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
            assert printable(character).isascii()
            assert printable(character).isprintable()


def test_long_text_keeps_its_begin_and_end() -> None:
    shown = printable("begin" + "x" * 500_000 + "end", 200)
    assert len(shown) <= 200
    assert shown.startswith("begin")
    assert shown.endswith("end")
    assert "left out" in shown
    assert len(printable("\x1b" * 500_000, 200)) <= 1000


def test_lines_are_kept_where_asked_for() -> None:
    assert printable("a\n\tb\x1b", lines=True) == "a\n\tb\\x1b"
