"""Networks of the zoo that were measured beside a space's samples: rewards are stated in latencies of such (equations 4, 5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from mhmodels.hardware.host.turns import ReferenceSpeed, steady_ms
from mhmodels.hardware.measurement import Measurement
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


def baselines_of(rows: Iterable[Measurement], pace: ReferenceSpeed | None) -> tuple[Baseline, ...]:
    """Latencies of rows at a pace; those of networks that do not run there, or that were timed otherwise, are left out."""
    alike = [row for row in rows if (row.turns.model_hash if row.turns else "") == _reference(pace)]
    found = [(row, steady_ms(row, pace)) for row in alike]
    return tuple(
        Baseline(model=row.model, architecture_id=str(row.architecture_id), ms=ms) for row, ms in found if ms is not None
    )


def stored_baselines(store: Store, beside: Sequence[Measurement], pace: ReferenceSpeed | None) -> tuple[Baseline, ...]:
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
        beside=_reference(pace),
    )
    return baselines_of([row for row in rows if ":" not in row.model], pace)  # members of spaces are named SPACE:ENCODING


def _reference(pace: ReferenceSpeed | None) -> str:
    return pace.reference_hash if pace else ""
