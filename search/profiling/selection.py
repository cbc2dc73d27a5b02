"""Leaves out networks that were selected by their size, which distort effects.

In a sample of networks with similar MAdds, a network with an expensive block has cheap ones elsewhere. Where effects of blocks
multiply, as with widths, the regression then finds effects that are too small, and its intervals miss the true ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mhmodels.search.arrays import Bools
from mhmodels.search.profiling.features import effect_count
from mhmodels.search.profiling.layout import layout_of
from mhmodels.search.profiling.reference import ReferenceNetworks
from mhmodels.search.profiling.regression import networks_needed
from mhmodels.search.space.search_space import SearchSpace


def unselected(distributions: Sequence[str]) -> Bools:
    """(n,), whether each network was drawn without regard to its size.

    Args:
        distributions: (n,), distribution of each network as `sample` names it, "" where unknown.
    """
    return np.array([not each.startswith("window") for each in distributions], bool)


def enough(space: SearchSpace, n: int) -> bool:
    """Whether networks are enough to profile a space.

    Args:
        space: The space.
        n: Number of networks.
    """
    reference = ReferenceNetworks(space, layout_of(space), [each.tolist() for each in space.allowed])
    return n >= networks_needed(effect_count(reference))
