"""Measurements that failed, as data. Light to import, because command lines share it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class MeasurementFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A measurement that gave neither a latency nor a lasting reason why there is none; asking again may help.

    Attributes:
        model: Label of the model.
        hardware: Id of the hardware.
        status: `FAILED` on this machine; on a phone a name of `mhmodels.android_bench.verdict.verdict.RunStatus`.
        reason: Why it failed, for people.
    """

    model: str
    hardware: str
    status: str
    reason: str


def failure_text(failures: Iterable[MeasurementFailure]) -> str:
    """Writes failures down, a line for each reason with all models and hardware that it holds for."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for failure in failures:
        grouped.setdefault((failure.status, failure.reason), []).append(f"{failure.model} on {failure.hardware}")
    return "\n".join(f"{', '.join(where)}: {status}: {reason}" for (status, reason), where in grouped.items())
