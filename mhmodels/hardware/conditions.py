"""The conditions of a latency: the one key by which tables, metrics, cost models and the store decide what they may mix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec


class Conditions(Mapping[str, object]):
    """Everything but the network that a latency depends on, by field name. Immutable and hashable.

    Settings of the runtime, the compiler or the phone are named one by one, as `configuration.mode`. A setting that is null
    and a setting that is absent are the same condition.

    Attributes:
        key: The conditions as canonical JSON; two rows compare only if their keys are equal.

    Example:
        >>> from mhmodels.hardware import Conditions
        >>> Conditions({"device": "Pixel 4", "configuration.mode": "burst"}) == Conditions({"device": "Pixel 4"})
        False
        >>> Conditions({"device": "Pixel 4", "configuration.mode": None}) == Conditions({"device": "Pixel 4"})
        True
    """

    __slots__ = ("_values", "key")

    def __init__(self, values: Mapping[str, object]) -> None:
        self._values = {name: value for name, value in values.items() if value is not None}
        self.key: str = msgspec.json.encode(self._values, order="deterministic").decode()

    def part(self, names: Iterable[str]) -> Conditions:
        """The conditions of these names only."""
        return Conditions({name: self._values.get(name) for name in names})

    def __getitem__(self, name: str) -> object:
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
