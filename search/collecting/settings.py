"""Settings of a collection, and the notes by which stored rows say how they were collected."""

from __future__ import annotations

import msgspec

from mhmodels.architecture import Architecture
from mhmodels.hardware import Measurement
from mhmodels.registry import resolve

NOTES = "collect"
"""Key of `Measurement.device_state` under which a row notes how it was collected."""
REFERENCE = "mobilenet_v2"
"""Default reference network."""


class CollectSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to measure the networks of a collection.

    Attributes:
        runs: Timed inferences of each block, as in `mhmodels.hardware.measure`.
        threads: Threads of the runtime.
        reference: Zoo network that shows disturbances, or "" for none. Hardware that supports it times every network in turns
            with the reference (`mhmodels.hardware.host.turns`); other hardware measures the reference at intervals.
        interval: Number of networks between two measurements of the reference, on hardware that does not time in turns.
        tolerance: Relative change of the reference's latency between two of its measurements above which the networks
            between them are measured again.
        patience_s: Seconds to wait for a busy machine to become quiet, for each timing.
        again: Whether noisy, drifted and outlying networks are measured a second time.
        baselines: Zoo networks to measure beside the samples. Rewards use their latencies as references.

    Example:
        >>> from mhmodels.search import CollectSettings
        >>> CollectSettings(runs=100, threads=4, baselines=("mobilenet_v1",)).reference
        'mobilenet_v2'
    """

    runs: int = 50
    threads: int = 1
    reference: str = REFERENCE
    interval: int = 20
    tolerance: float = 0.03
    patience_s: float = 10.0
    again: bool = True
    baselines: tuple[str, ...] = ()


DEFAULT_SETTINGS = CollectSettings()


def reference_network(settings: CollectSettings) -> Architecture | None:
    """The reference network of the settings, named as in the settings; None if they have none.

    Raises:
        MhmodelsError: No network has this name.
    """
    return named_network(settings.reference) if settings.reference else None


def notes(row: Measurement) -> dict[str, object]:
    """How a row was collected, by key; empty for a row that was measured otherwise."""
    found = row.device_state.get(NOTES)
    return found if isinstance(found, dict) else {}


def with_notes(row: Measurement, **values: object) -> Measurement:
    """A copy of a row with more notes."""
    return msgspec.structs.replace(row, device_state={**row.device_state, NOTES: {**notes(row), **values}})


def named_network(name: str) -> Architecture:
    """The network of a name, as the architecture's own name.

    Raises:
        MhmodelsError: No network has this name.
    """
    return msgspec.structs.replace(resolve(name), name=name)
