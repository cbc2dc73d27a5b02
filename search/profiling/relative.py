"""How effects are shown: relative to the mean network where the metric has a natural zero, otherwise in the metric's own unit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from mhmodels.search.profiling.block_profile import BlockProfile

RELATIVE = ("latency", "madds", "params")
"""Metrics whose effects are shown in % of the mean network, so that several hardware compare."""


class EffectScale(NamedTuple):
    """Scale of the effects in a table or picture.

    Attributes:
        metric: Name of the metric.
        percent: Whether effects are in % of the mean network of their profile.
    """

    metric: str
    percent: bool

    @property
    def unit(self) -> str:
        """Unit of the scaled effects in words."""
        return "% of the mean network" if self.percent else self.metric

    @property
    def label(self) -> str:
        """Caption of an axis."""
        return f"effect on {self.metric} (% of the mean network)" if self.percent else f"effect on {self.metric}"

    def factor(self, profile: BlockProfile) -> float:
        """Factor from the effects of a profile to the scaled ones."""
        return 100 / profile.level if self.percent else 1.0


def effect_scale(metric: str, profiles: Iterable[BlockProfile]) -> EffectScale:
    """Chooses the scale.

    Args:
        metric: Name of the metric.
        profiles: Profiles that are shown together.
    """
    return EffectScale(metric, metric in RELATIVE and all(one.level > 0 for one in profiles))
