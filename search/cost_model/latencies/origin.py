"""Where latencies come from."""

from __future__ import annotations

from typing import NamedTuple

from mhmodels.hardware.measurement import Environment, MeasurementKind
from mhmodels.search.cost_model.latencies.baselines import Baseline


class LatencyOrigin(NamedTuple):
    """Hardware and conditions of latencies.

    Attributes:
        hardware: Hardware id.
        kind: Kind of the latencies, as in `Measurement`.
        file_format: Format of the measured files (`float32`, `int8`, …), "" if unknown.
        environment: Device, runtime and configuration; None if unknown.
        baselines: Zoo networks with known latencies in the same conditions.

    Example:
        >>> from mhmodels.search import LatencyOrigin
        >>> LatencyOrigin("my-npu", kind="estimated", file_format="int8").kind
        'estimated'
    """

    hardware: str
    kind: MeasurementKind = "measured"
    file_format: str = ""
    environment: Environment | None = None
    baselines: tuple[Baseline, ...] = ()
