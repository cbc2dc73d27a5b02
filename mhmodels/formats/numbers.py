"""Numbers in text that people and programs write: CSV fields and options of the command line.

Python's own `float` and `int` also read `12_18994`, digits of any script and `infinity`: in a table each of these is a slip.
"""

from __future__ import annotations

import math
import re

_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def decimal(text: str) -> float:
    """The finite number that a text is: ASCII digits, a decimal point, an exponent; blanks around it do not matter.

    Raises:
        ValueError: it is none, or too large for a float.
    """
    stripped = text.strip(" \t")
    number = float(stripped) if _DECIMAL.fullmatch(stripped) else math.nan
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]!r} is not a decimal number like 12.5")
    return number
