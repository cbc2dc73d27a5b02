"""What can go wrong in a search that a user can mend."""

from __future__ import annotations

from mhmodels.errors import MhmodelsError


class SpaceError(MhmodelsError, ValueError):
    """An encoding or architecture that is no member of a space, or a space that cannot be."""


class CostModelError(MhmodelsError, ValueError):
    """Latencies that no cost model can be fitted to, or a cost model that does not apply."""


class SearchError(MhmodelsError, ValueError):
    """A search that cannot be run as asked: a target out of reach, values that are no numbers, settings that differ."""
