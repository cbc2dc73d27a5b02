"""Parameters of many networks of a space at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mhmodels.complexity import layer_complexity
from mhmodels.search.arrays import Floats
from mhmodels.search.space.piece_table import gather
from mhmodels.search.space.pieces import Piece
from mhmodels.search.space.template import ArchitectureSpace


def parameters(space: ArchitectureSpace, encodings: ArrayLike) -> Floats:
    """(n,), elements of all convolution kernels and the classifier, as `mhmodels.complexity` counts `params`.

    Args:
        space: Space of the networks.
        encodings: (n, decisions), integers.

    Raises:
        SpaceError: An encoding is not a member.
    """
    table = space.table(_params_of, 1)[:, 0]
    return gather(table, space.rows(space.check(encodings)))


def _params_of(piece: Piece) -> Floats:
    return np.array([sum(layer_complexity(op).params for op in piece.ops)], np.float64)
