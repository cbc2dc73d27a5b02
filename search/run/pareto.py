"""The Pareto front of a search: networks that no other network beats in accuracy and latency."""

from __future__ import annotations

from typing import TypedDict

import msgspec
import numpy as np
from numpy.typing import NDArray

from mhmodels.search.arrays import Floats
from mhmodels.search.methods.dominance import non_dominated
from mhmodels.search.objective.objective import Objective
from mhmodels.search.run.evaluations import Evaluations

FRONT_FORMAT = "mhmodels.front/1"


class FrontNetwork(TypedDict):
    """A network on a Pareto front; latencies in ms by hardware."""

    encoding: list[int]
    label: str
    accuracy: float
    latency_ms: dict[str, float]
    f: float
    reward: float


class FrontDocument(TypedDict):
    """The values of the file of a Pareto front."""

    format: str
    space: str
    schema: str
    hardware: list[str]
    aggregate: str
    of: str
    networks: list[FrontNetwork]


def pareto_front(rows: Evaluations, costs: Floats) -> NDArray[np.int64]:
    """Finds the networks that no other network beats in accuracy and in every cost.

    Args:
        rows: N evaluated networks.
        costs: (n, k) costs, the lower the better.

    Returns:
        Indices of the networks on the front, the most accurate first; of equal networks the first.

    Example:
        >>> from types import SimpleNamespace
        >>> import numpy as np
        >>> from mhmodels.search import pareto_front
        >>> rows = SimpleNamespace(accuracy=np.array([0.7, 0.8, 0.6]))
        >>> pareto_front(rows, costs=np.array([[1.0], [2.0], [3.0]])).tolist()
        [1, 0]
    """
    return non_dominated(np.column_stack([-rows.accuracy, costs]))


def front_document(objective: Objective, rows: Evaluations, each: bool) -> FrontDocument:
    """The Pareto front of a search as the values of its file.

    Args:
        objective: Space, latencies and reward of the search.
        rows: Evaluated networks.
        each: Whether the latency on every hardware is a cost of its own, except where its weight is 0; otherwise the only cost
            is f, the aggregated normalised latency.
    """
    costs: Floats = rows.latencies[:, objective.reward.counted] if each else rows.f[:, None]
    hardware, encodings = list(objective.sources), objective.space.canonical(rows.encodings)
    networks: list[FrontNetwork] = [
        {
            "encoding": encodings[i].tolist(),
            "label": objective.space.label(encodings[i]),
            "accuracy": float(rows.accuracy[i]),
            "latency_ms": dict(zip(hardware, rows.latencies[i].tolist(), strict=True)),
            "f": float(rows.f[i]),
            "reward": float(rows.rewards[i]),
        }
        for i in pareto_front(rows, costs)
    ]
    return {
        "format": FRONT_FORMAT,
        "space": objective.space.name,
        "schema": objective.space.schema,
        "hardware": hardware,
        "aggregate": objective.reward.aggregate,
        "of": "every hardware" if each else "f",
        "networks": networks,
    }


def front_file(document: FrontDocument) -> bytes:
    """The content of the file of a Pareto front."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"
