"""The finalists of a search by weight sharing: the networks that are judged once more, on all validation pictures."""

from __future__ import annotations

import numpy as np

from mhmodels.search.methods.controller import Controller
from mhmodels.search.objective.objective import Objective
from mhmodels.search.space.search_space import Encodings

SAMPLES_PER_FINALIST, NEAR = 64, 0.05


def finalists(controller: Controller, objective: Objective, count: int) -> Encodings:
    """Chooses the networks among which the result is; their latencies are known without judging them.

    The first finalist is the policy's most probable network, where the presence of a block is decided before its kind. Different
    samples of the policy follow: first those whose f is within 5 % of the target, in the order in which they were drawn, then the
    others in the order of their distance from the target. Blocks keep the positions that the policy drew, because the weights of
    these positions were trained.

    Args:
        controller: Policy to sample from; the samples advance its random generator.
        objective: Latencies and target of the samples.
        count: Number of finalists.

    Returns:
        Encodings (n, decisions) with n <= count; fewer if the policy does not draw as many different networks.
    """
    space = objective.space
    best = controller.argmax(skip_first=True)[None]
    rows = np.concatenate([best, controller.sample(SAMPLES_PER_FINALIST * count)])
    _, first = np.unique(space.canonical(rows), axis=0, return_index=True)
    rows = rows[np.sort(first)]
    distance = np.abs(objective.f(rows) / objective.reward.target - 1)
    distance[0] = 0.0  # the most probable network comes first, however far from the target it is
    chosen: Encodings = rows[np.argsort(np.where(distance <= NEAR, 0.0, distance), kind="stable")][:count]
    return chosen
