"""Accuracies of any networks with the shared weights of a finished search."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhmodels.search.errors import SearchError
from mhmodels.search.supernet.loop import WeightSharingSearch
from mhmodels.search.supernet.request import WeightSharingRequest
from mhmodels.search.supernet.watching import SilentObserver


def shared_accuracies(request: WeightSharingRequest, encodings: ArrayLike) -> NDArray[np.float64]:
    """Judges networks with the shared weights of a finished search, on all its validation pictures.

    Args:
        request: Request of the search; `mhmodels.search.run.weight_sharing.load_weight_sharing` reads it from a log. No file of
            the search is changed.
        encodings: Networks, (n, decisions), integers. Blocks are read at the positions that they have in the encoding: a
            canonical encoding has the blocks of a stage in front, where a policy may have drawn others.

    Returns:
        Accuracies (n,), fractions from 0 to 1.

    Raises:
        SearchError: The search is not finished, or it has other settings than the request.
        SpaceError: An encoding is no member of the space.
        MhmodelsError: Data, cost models or checkpoints are gone.
    """
    rows = request.space.check(encodings)
    search = WeightSharingSearch(request._replace(log=None, resume=True), SilentObserver(), finished=True)
    search.load()
    if search.progress.step < search.preset.steps:
        raise SearchError(
            f"{request.folder}: the search stands at step {search.progress.step} of {search.preset.steps}; resume it to its end "
            "first"
        )
    return search.validated(rows)
