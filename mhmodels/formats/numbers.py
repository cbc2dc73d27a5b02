"""Reads numbers in text that people and programs write: CSV fields and options of the command line.

Python's own `float` and `int` also accept `12_18994`, digits of any script and `infinity`, which are mistakes in a table.
"""

from __future__ import annotations

import math
import re

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def decimal(text: str) -> float:
    """Returns the finite number of a text with ASCII digits, a decimal point and an exponent; surrounding blanks are ignored.

    Raises:
        ValueError: The text is no such number, or the number exceeds a float.
    """
    stripped = text.strip(" \t")
    number = float(stripped) if _DECIMAL.fullmatch(stripped) else math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]!r} is not a decimal number like 12.5")
    return number
