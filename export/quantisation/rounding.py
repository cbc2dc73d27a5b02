"""How weights become integers."""

from __future__ import annotations

from typing import Literal, TypeAlias

WeightRounding: TypeAlias = Literal["nearest", "compensated"]
"""`nearest` integer each, or one after the other so that later weights compensate the errors of earlier ones."""
