"""Networks of the zoo that were measured beside a space's samples: rewards are stated in latencies of such (equations 4, 5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from mhmodels.hardware.measurement import Measurement
from mhmodels.hardware.turns import Pace, steady_ms
from mhmodels.store import Store

BASELINE = "mobilenet_v1"
"""The network whose latencies are the C of rewards if nothing else is wanted."""


class Baseline(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A network whose latency was measured where the data come from, at the same pace.

    Attributes:
        model: its name.
        architecture_id: of it.
        ms: its latency.
    """

    model: str
    architecture_id: str
    ms: float


def baselines_of(rows: Iterable[Measurement], pace: Pace | None) -> tuple[Baseline, ...]:
    """Latencies of rows at a pace; networks that do not run there have none."""
    found = [(row, steady_ms(row, pace)) for row in rows]
    return tuple(
        Baseline(model=row.model, architecture_id=str(row.architecture_id), ms=ms) for row, ms in found if ms is not None
    )


def stored_baselines(store: Store, beside: Sequence[Measurement], pace: Pace | None) -> tuple[Baseline, ...]:
    """What a store has of networks outside of spaces, measured as the samples were.

    Args:
        store: that has the samples.
        beside: the samples' rows: of one hardware, environment, format and number of threads.
        pace: theirs.

    Raises:
        StoreError: the store cannot be read.
    """
    like = beside[0]
    rows = store.latest(
        [like.hardware],
        format=like.format,
        weights=like.weights,
        threads=like.threads,
        environment=like.environment,
    )
    # Members of spaces are named SPACE:ENCODING.
    return baselines_of([row for row in rows if ":" not in row.model and _timed_alike(row, pace)], pace)


def _timed_alike(row: Measurement, pace: Pace | None) -> bool:
    own = row.turns.model_hash if row.turns else ""
    return own == (pace.reference_hash if pace else "")
