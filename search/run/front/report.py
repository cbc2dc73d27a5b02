"""A measured front as plain values: what `search run` writes to the file of `--front` and prints as JSON."""

from __future__ import annotations

import math
from typing import TypedDict

from mhmodels.search.objective.objective import Objective
from mhmodels.search.run.front.judging import FrontHardware, FrontMember, FrontVerdict, MeasuredFront
from mhmodels.search.run.pareto import FRONT_FORMAT, FrontDocument, FrontNetwork


class MemberMeasurement(TypedDict):
    """What was measured of a member; values that are missing are None.

    `latency_ms` is by hardware, `dominated_by` is the label of a kept member, and `reasons` says by hardware why there is no
    latency.
    """

    latency_ms: dict[str, float | None]
    f: float | None
    reward: float | None
    verdict: FrontVerdict
    dominated_by: str | None
    reasons: dict[str, str]


class MeasuredFrontNetwork(FrontNetwork):
    """A member of a measured front: as the search saw it, and as measured."""

    measured: MemberMeasurement


class FrontSummary(TypedDict):
    """The measured front as a whole.

    `kept` has the labels of the members that stay, `best` that of the member with the highest reward by measured latencies,
    `hardware` the errors of the cost models and the kinds of the latencies.
    """

    kept: list[str]
    best: str | None
    source: str
    hardware: list[FrontHardware]


class MeasuredFrontDocument(FrontDocument):
    """The values of the file of a measured front; `networks` are of the type `MeasuredFrontNetwork`."""

    measured: FrontSummary


def measured_document(objective: Objective, front: MeasuredFront) -> MeasuredFrontDocument:
    """A measured front as the values of its file: the format of `front_document` with the field `measured`.

    Args:
        objective: Objective of the search.
        front: The front, judged by measured latencies.
    """
    hardware, labels = list(objective.sources), [member.label for member in front.members]
    networks: list[FrontNetwork] = [_network(member, hardware, labels) for member in front.members]
    return {
        "format": FRONT_FORMAT,
        "space": objective.space.name,
        "schema": objective.space.schema,
        "hardware": hardware,
        "aggregate": front.aggregate,
        "of": "f",
        "networks": networks,
        "measured": {
            "kept": [labels[i] for i in front.kept],
            "best": None if front.best is None else labels[front.best],
            "source": front.source or "store",
            "hardware": list(front.hardware),
        },
    }


def _network(member: FrontMember, hardware: list[str], labels: list[str]) -> MeasuredFrontNetwork:
    return {
        "encoding": member.encoding.tolist(),
        "label": member.label,
        "accuracy": member.accuracy,
        "latency_ms": dict(zip(hardware, member.predicted_ms.tolist(), strict=True)),
        "f": member.predicted_f,
        "reward": member.predicted_reward,
        "measured": {
            "latency_ms": dict(zip(hardware, map(_known, member.measured_ms.tolist()), strict=True)),
            "f": _known(member.measured_f),
            "reward": _known(member.measured_reward),
            "verdict": member.verdict,
            "dominated_by": None if member.dominated_by is None else labels[member.dominated_by],
            "reasons": member.reasons,
        },
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
