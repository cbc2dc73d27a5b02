"""Errors of spaces, cost models and searches that users can fix."""

from __future__ import annotations

from mhmodels.errors import MhmodelsError


class SpaceError(MhmodelsError, ValueError):
    """An encoding or architecture is not a member of a space, or the definition of a space is wrong."""


class CostModelError(MhmodelsError, ValueError):
    """Latencies cannot be fitted, or a cost model does not apply to a space, network or hardware."""


class SearchError(MhmodelsError, ValueError):
    """A search cannot run as requested, for example because its target is out of reach."""
