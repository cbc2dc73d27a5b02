"""Fields of a cost model that say what it is of: space, hardware and conditions of the latencies, time and version of the fit."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TypedDict

from mhmodels.hardware.measurement import Environment, MeasurementKind
from mhmodels.search.cost_model.latencies.baselines import Baseline
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.space.search_space import SearchSpace
from mhmodels.search.space.template import ArchitectureSpace


class OriginFields(TypedDict):
    """The fields of `CostModel` of the same names."""

    space: str
    schema: str
    input_sizes: tuple[int, ...]
    hardware: str
    kind: MeasurementKind
    file_format: str
    environment: Environment | None
    baselines: tuple[Baseline, ...]
    created: str
    mhmodels_version: str


def origin_fields(space: SearchSpace, origin: LatencyOrigin) -> OriginFields:
    """The fields of a cost model that is fitted now.

    Args:
        space: Space of the networks.
        origin: Hardware and conditions of the latencies.
    """
    from mhmodels.version import __version__

    return OriginFields(
        space=space.name,
        schema=space.schema,
        input_sizes=space.input_sizes if isinstance(space, ArchitectureSpace) else (),
        hardware=origin.hardware,
        kind=origin.kind,
        file_format=origin.file_format,
        environment=origin.environment,
        baselines=origin.baselines,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        mhmodels_version=__version__,
    )
