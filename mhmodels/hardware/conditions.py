"""The conditions of a latency: the one key by which tables, metrics, cost models and the store decide what they may mix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from mhmodels.hardware.measurement import Measurement

MEASURABLE_KINDS = ("measured", "estimated", "simulated")
"""Kinds of latencies that come from a device, a compiler or a simulator, and so have conditions."""


class Conditions(Mapping[str, Any]):
    """Everything but the network that a latency depends on, by field name. Immutable and hashable.

    Settings of the runtime, the compiler or the phone are named one by one, as `configuration.mode`. A setting that is null
    and a setting that is absent are the same condition.

    Attributes:
        key: the conditions as canonical JSON; two rows compare only if their keys are equal.

    Example:
        >>> Conditions({"device": "Pixel 4", "configuration.mode": "burst"}) == Conditions({"device": "Pixel 4"})
        False
        >>> Conditions({"device": "Pixel 4", "configuration.mode": None}) == Conditions({"device": "Pixel 4"})
        True
    """

    __slots__ = ("_values", "key")

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = {name: value for name, value in values.items() if value is not None}
        self.key: str = msgspec.json.encode(self._values, order="deterministic").decode()

    def part(self, names: Iterable[str]) -> Conditions:
        """The conditions of these names only."""
        return Conditions({name: self._values.get(name) for name in names})

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Conditions) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"Conditions({self._values!r})"


class Mixture(NamedTuple):
    """Two rows that may not be mixed, and the conditions in which they differ: (name, value of the first, value of the other)."""

    first: Measurement
    other: Measurement
    differing: tuple[tuple[str, Any, Any], ...]

    def __str__(self) -> str:
        return "; ".join(
            f"field '{name}' is {_short(one)} for '{self.first.model}' and {_short(other)} for '{self.other.model}'"
            for name, one, other in self.differing
        )


def mixture(rows: Iterable[Measurement]) -> Mixture | None:
    """Finds two rows of one hardware that were taken in different conditions.

    Args:
        rows: rows of one hardware. Rows without a latency go with any other row, and so do predictions and published
            figures, which have no conditions.

    Returns:
        The first row and the first other row that may not be mixed with it, or None where all rows may be mixed.
    """
    timed = [row for row in rows if row.supported and row.kind in MEASURABLE_KINDS]
    if not timed:
        return None
    expected = timed[0].conditions()
    for row in timed[1:]:
        own = row.conditions()
        if own != expected:
            names = [
                name
                for name in {**expected, **own}
                if Conditions({name: expected.get(name)}) != Conditions({name: own.get(name)})
            ]
            return Mixture(timed[0], row, tuple((name, expected.get(name), own.get(name)) for name in names))
    return None


def _short(value: Any) -> str:
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
