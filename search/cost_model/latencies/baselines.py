"""Zoo networks that are measured beside a space's samples, as reference latencies of rewards (equations 4 and 5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mhmodels.formats.checked import Checked
from mhmodels.hardware.host.turns import ReferenceSpeed, steady_ms
from mhmodels.hardware.measurement import Measurement
from mhmodels.store import Store

BASELINE = "mobilenet_v1"
"""Network whose latencies are the default references of rewards (C in equations 4 and 5)."""


class Baseline(Checked, frozen=True, kw_only=True):
    """A network with a latency measured in the same conditions as the data of a cost model.

    Attributes:
        model: Name of the network.
        architecture_id: Id of its architecture.
        ms: Latency in ms, above 0.
    """

    model: str
    architecture_id: str
    ms: float


def baselines_of(rows: Iterable[Measurement], speed: ReferenceSpeed | None) -> tuple[Baseline, ...]:
    """Latencies of rows at a common reference speed.

    Args:
        rows: Rows of one hardware.
        speed: Reference speed of the samples, None if they were not timed in turns. Rows with another reference network are left
            out, and so are networks that the hardware does not run.
    """
    alike = [row for row in rows if (row.turns.model_hash if row.turns else "") == _reference(speed)]
    found = [(row, steady_ms(row, speed)) for row in alike]
    return tuple(
        Baseline(model=row.model, architecture_id=str(row.architecture_id), ms=ms) for row, ms in found if ms is not None
    )


def stored_baselines(store: Store, beside: Sequence[Measurement], speed: ReferenceSpeed | None) -> tuple[Baseline, ...]:
    """Latencies of networks outside of spaces that a store has, measured in the same conditions as samples.

    Args:
        store: Measurement store.
        beside: Rows of the samples, at least one, all with the same `Measurement.conditions`.
        speed: Their reference speed.

    Raises:
        StoreError: The store cannot be read.
    """
    like = next((row for row in beside if row.supported), beside[0])
    rows = store.latest(
        [like.hardware],
        format=like.format,
        weights=like.weights,
        threads=like.threads,
        environment=like.environment,
        beside=_reference(speed),
    )
    conditions = like.conditions()
    # Members of spaces are named SPACE:ENCODING.
    return baselines_of([row for row in rows if ":" not in row.model and row.conditions() == conditions], speed)


def _reference(speed: ReferenceSpeed | None) -> str:
    return speed.reference_hash if speed else ""
