"""How a search by weight sharing ends: which networks are judged once more, and what shared weights say of any network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mhmodels.search.errors import SearchError
from mhmodels.search.methods.controller import Controller
from mhmodels.search.objective.objective import Objective
from mhmodels.search.space.search_space import Encodings
from mhmodels.search.supernet.record import Request

DRAWN_A_FINALIST, NEAR = 64, 0.05


def finalists(controller: Controller, objective: Objective, count: int) -> Encodings:
    """Networks to choose the result from: what they cost is known without judging them.

    First the policy's most probable network, a block's presence decided before its kind; then different samples of the policy
    in the order in which they were drawn, those within 5 % of the target before the others, which are in the order of their
    distance from it. Blocks stay where the policy drew them: their weights were trained there.

    Args:
        controller: is advanced by the samples.
        objective: prices the samples.
        count: how many, fewer if the policy does not draw as many.
    """
    space = objective.space
    best = controller.argmax(skip_first=True)[None]
    rows = np.concatenate([best, controller.sample(DRAWN_A_FINALIST * count)])
    _, first = np.unique(space.canonical(rows), axis=0, return_index=True)
    rows = rows[np.sort(first)]
    off = np.abs(objective.f(rows) / objective.reward.target - 1)
    off[0] = 0.0  # the most probable one, wherever it lies
    return rows[np.argsort(np.where(off <= NEAR, 0.0, off), kind="stable")][:count]


def shared_accuracies(search: Request | Path, encodings: ArrayLike) -> NDArray[np.float64]:
    """What a finished search's shared weights say of networks, on all its validation pictures.

    Args:
        search: its request, or the log of one that was begun from the command line (`FILE.db`, `FILE.search` beside it). Nothing
            of it is changed.
        encodings: (n, decisions). Blocks are read at the places that they have here: a canonical encoding has those of a stage
            in front, where a policy may have drawn others.

    Returns:
        Accuracies (n,), shares.

    Raises:
        SearchError: the search was not brought to its end, or has other settings than the request.
        SpaceError: not members.
        MhmodelsError: data, cost models or checkpoints that are gone.
    """
    from mhmodels.search.supernet.loop import Search
    from mhmodels.search.supernet.watching import Silent

    request = requested(search) if isinstance(search, Path) else search
    rows = request.space.check(encodings)
    run = Search(request._replace(log=None, resume=True), Silent(), finished=True)
    run.load()
    if run.progress.step < run.preset.steps:
        raise SearchError(
            f"{request.folder}: the search stands at step {run.progress.step} of {run.preset.steps}; resume it to its end first"
        )
    return run.validated(rows)


def requested(log: Path) -> Request:
    """The request of a search that the command line began.

    Args:
        log: its `FILE.db`.

    Raises:
        SearchError: not the log of a search by weight sharing.
        MhmodelsError: data or cost models that are gone.
    """
    from mhmodels.search.cli.supernet import loop_request
    from mhmodels.search.run.request import load_request, make_objective
    from mhmodels.training.strategies import make_strategy

    asked = load_request(log)
    if not asked.options:
        raise SearchError(f"{log}: a search by {asked.method.__class__.__name__}, expected one by weight sharing (--data)")
    return loop_request(asked, make_objective(asked), make_strategy("none"), None, log)
