"""Which measurements may be mixed in a table, a norm or a cost model: those of equal conditions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from mhmodels.hardware.measurement import Measurement

MEASURABLE_KINDS = ("measured", "estimated", "simulated")
"""Kinds of latencies that come from a device, a compiler or a simulator, and so have conditions."""


class Mixture(NamedTuple):
    """Two rows that may not be mixed, and the conditions in which they differ: (name, value of the first, value of the other).

    Example:
        >>> from mhmodels.hardware import Measurement, mixture
        >>> rows = [
        ...     Measurement(model_hash="0" * 64, model=model, hardware="host-cpu-int8", format="int8", kind="measured",
        ...                 file_bytes=1, device=device, time="2026-01-01", median_ms=1.0)
        ...     for model, device in (("a", "CPU A"), ("b", "CPU B"))
        ... ]
        >>> mixture(rows).differing
        (('device', 'CPU A', 'CPU B'),)
    """

    first: Measurement
    other: Measurement
    differing: tuple[tuple[str, object, object], ...]

    def __str__(self) -> str:
        return "; ".join(
            f"field '{name}' is {_short(one)} for '{self.first.model}' and {_short(other)} for '{self.other.model}'"
            for name, one, other in self.differing
        )


def mixture(rows: Iterable[Measurement]) -> Mixture | None:
    """Finds two rows of one hardware that were taken in different conditions.

    Args:
        rows: Rows of one hardware. Rows without a latency go with any other row, and so do predictions and published
            figures, which have no conditions.

    Returns:
        The first row and the first other row that may not be mixed with it, or None where all rows may be mixed.

    Example:
        >>> from mhmodels.hardware import Measurement, mixture
        >>> rows = [
        ...     Measurement(model_hash="0" * 64, model=model, hardware="R58M/gpu", format="int8", kind="measured", file_bytes=1,
        ...                 device="Pixel 4", time="2026-01-01", median_ms=1.0, configuration={"mode": mode})
        ...     for model, mode in (("a", "burst"), ("b", "sustained"))
        ... ]
        >>> print(mixture(rows))
        field 'configuration.mode' is 'burst' for 'a' and 'sustained' for 'b'
    """
    timed = [row for row in rows if row.supported and row.kind in MEASURABLE_KINDS]
    if not timed:
        return None
    expected = timed[0].conditions()
    for row in timed[1:]:
        own = row.conditions()
        if own != expected:
            names = [name for name in {**expected, **own} if expected.part([name]) != own.part([name])]
            return Mixture(timed[0], row, tuple((name, expected.get(name), own.get(name)) for name in names))
    return None


def _short(value: object) -> str:
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
