"""What a change of one block saves: the changed network is written, and its latency found out as that of the network itself.

A change is judged on hardware alone: what it costs in accuracy is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import msgspec

from mhmodels.advice.changes import Candidate, candidates
from mhmodels.architecture import Architecture
from mhmodels.complexity import complexity
from mhmodels.errors import ArchitectureError, MeasurementError
from mhmodels.export.errors import ExportError
from mhmodels.hardware import HardwareEntry, Job, LayerProfile, answer
from mhmodels.hardware.interleaved import compare_files

MOST_CHANGES = 40
"""Largest number of changed networks for one advice."""
RUNS = 5
"""Inferences in each of the 20 blocks that two networks are timed in, in turns."""
CLEAR_SHARE = 0.01
"""Smallest share of a measured latency that counts as a difference, beside a 95 % interval without 0."""

ChangeProgress: TypeAlias = Callable[[str, int, int], None]
"""Called before each changed network, with its text, the number of finished ones, and the number of all."""


class ChangeResult(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one change of one block does to the whole network.

    Attributes:
        block: Prefix of the names of the block's layers, such as `stage3_block1`.
        change: Name of the change.
        text: Fields before and after, such as `kernel 5 -> 3`.
        latency: Latency of the changed network, in the unit of the profile; None where there is none.
        saves: Latency of the network minus that of the changed one; below 0 where the change makes it slower.
        saves_share: `saves` as a share of the latency of the network.
        low, high: 95 % interval of `saves`, where latencies are measured; None for estimates.
        clear: Whether the two latencies really differ. Estimates that are not equal do; measured latencies do if the interval
            is on one side of 0 and the difference is at least 1 %.
        madds, params: Change of multiply-accumulates and parameters; below 0 where there are fewer.
        reason: Why there is no latency, or "".

    Example:
        >>> from mhmodels.advice import ChangeResult
        >>> ChangeResult(block="stage3_block1", change="smaller kernel", text="kernel 5 -> 3", latency=3.1, saves=0.1,
        ...              saves_share=0.03, clear=True, madds=-2408448, params=-3072).reason
        ''
    """

    block: str
    change: str
    text: str
    madds: int
    params: int
    latency: float | None = None
    saves: float | None = None
    saves_share: float | None = None
    low: float | None = None
    high: float | None = None
    clear: bool = False
    reason: str = ""


def try_changes(
    architecture: Architecture,
    prefixes: Sequence[str],
    profile: LayerProfile,
    job: Job,
    entry: HardwareEntry,
    folder: Path,
    advance: ChangeProgress = lambda *_: None,
) -> tuple[ChangeResult, ...]:
    """Tries every change of some blocks, at most 40.

    Args:
        architecture: The network.
        prefixes: Blocks to change, by the prefix of their layers' names, the most important first.
        profile: Profile of the network, with its latency.
        job: File of the network.
        entry: Hardware and its runner.
        folder: Folder for the files of the changed networks.
        advance: Receives the progress.

    Returns:
        The results, the largest clear saving first; changes without a latency, such as on measured hardware other than this
        machine's CPU, which cannot time two files in turns, come last and state the reason.
    """
    chosen = tuple(islice(candidates(architecture, tuple(prefixes), profile.channel_multiple), MOST_CHANGES))
    return tuple(sorted(_results(architecture, chosen, profile, job, entry, folder, advance), key=_rank))


def _results(
    architecture: Architecture,
    chosen: Sequence[Candidate],
    profile: LayerProfile,
    job: Job,
    entry: HardwareEntry,
    folder: Path,
    advance: ChangeProgress,
) -> Iterator[ChangeResult]:
    from mhmodels.export.writing.latency import latency_job

    before = complexity(architecture)
    for number, candidate in enumerate(chosen):
        advance(f"{candidate.place.prefix}: {candidate.text}", number, len(chosen))
        after = complexity(candidate.architecture)
        result = ChangeResult(
            block=candidate.place.prefix,
            change=candidate.change.name,
            text=candidate.text,
            madds=after.madds - before.madds,
            params=after.params - before.params,
        )
        try:
            changed = latency_job(candidate.architecture, entry.hardware, folder, label=job.model, threads=job.threads)
            find = _measured if entry.hardware.kind == "measured" else _estimated
            yield find(result, profile, job, changed, entry)
        except (ArchitectureError, ExportError, MeasurementError) as error:
            yield msgspec.structs.replace(result, reason=str(error))
        else:
            changed.path.unlink(missing_ok=True)


def _estimated(result: ChangeResult, profile: LayerProfile, _: Job, changed: Job, entry: HardwareEntry) -> ChangeResult:
    """Asks the tool for the latency of the changed network."""
    row = answer(changed, *entry).measurement
    if row.median_ms is None:
        return msgspec.structs.replace(result, reason=row.reason)
    saves = profile.total - row.median_ms
    return msgspec.structs.replace(
        result, latency=row.median_ms, saves=saves, saves_share=saves / profile.total, clear=saves != 0
    )


def _measured(result: ChangeResult, profile: LayerProfile, job: Job, changed: Job, entry: HardwareEntry) -> ChangeResult:
    """Times the changed network and the network itself in turns, so that both meet the same disturbances."""
    ratio = compare_files(changed.path, job.path, entry.hardware.id, threads=job.threads, runs=RUNS, undisturbed=True)
    total = profile.total
    saves, low, high = (total * (1 - value) for value in (ratio.ratio, ratio.high, ratio.low))
    return msgspec.structs.replace(
        result,
        latency=total * ratio.ratio,
        saves=saves,
        saves_share=saves / total,
        low=low,
        high=high,
        clear=abs(1 - ratio.ratio) >= CLEAR_SHARE and (low > 0 or high < 0),
    )


def _rank(result: ChangeResult) -> tuple[bool, bool, float]:
    return result.saves is None, not result.clear, -(result.saves or 0.0)
