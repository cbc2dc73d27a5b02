"""Collects latencies: measures what a plan lacks and stores every row at once, so that a collection can be resumed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence

from mhmodels.hardware import DEFAULT_HARDWARE, HardwareCollection
from mhmodels.search.collecting.claims import claimed
from mhmodels.search.collecting.hardware_queue import CollectEvent, RowEvent
from mhmodels.search.collecting.plan import CollectPlan, make_plan
from mhmodels.search.collecting.progress import CollectProgress, CollectReport, Tally
from mhmodels.search.collecting.settings import DEFAULT_SETTINGS, CollectSettings
from mhmodels.search.collecting.workers import run_workers
from mhmodels.search.space.loading import load_space
from mhmodels.search.space.sampling import Sample, sample
from mhmodels.search.space.search_space import SearchSpace
from mhmodels.store import Store

_FAILURES_NAMED = 5


def collect(
    space: SearchSpace | str,
    networks: int | Sample,
    hardware: Sequence[str] = DEFAULT_HARDWARE,
    *,
    store: str | os.PathLike[str] | None = None,
    settings: CollectSettings = DEFAULT_SETTINGS,
    known: HardwareCollection | None = None,
    tell: Callable[[str], None] = lambda _: None,
    advance: Callable[[CollectProgress], None] = lambda _: None,
) -> CollectReport:
    """Measures networks of a space on several hardware and stores the latencies.

    A network that has a row in the store is not measured again, so that the same call continues an interrupted collection.
    `mhmodels.search.stored_latencies` reads the rows.

    Args:
        space: An architecture space, or its name (`mhmodels.search.list_spaces`).
        networks: Number of networks to draw (as `sample` does, with seed 0), or a sample.
        hardware: Hardware ids (`mhmodels hardware` lists them).
        store: Measurements file; None for the default one in `MHMODELS_HOME`.
        settings: Settings of the measurements.
        known: Collection that has the ids; None for the hardware that comes with the package.
        tell: Called with one line for each remark.
        advance: Receives the progress after every row.

    Returns:
        Counts for each hardware; `problems` names what failed.

    Raises:
        SpaceError: The space is tabular, or has fewer members than `networks`.
        UnknownNameError: No space or no hardware has this name.
        MeasurementError: No hardware can be measured, or another process collects on it into the same store.
        StoreError: The store cannot be opened or written.

    Example:
        >>> import tempfile
        >>> from mhmodels.search import CollectSettings, collect
        >>> settings = CollectSettings(reference="")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = collect("multi_hardware", 2, ["ethos-u55-128"], store=f"{folder}/results.db", settings=settings)
        >>> [(tally.hardware, tally.kind, tally.measured) for tally in report.tallies]
        [('ethos-u55-128', 'estimated', 2)]
    """
    chosen = load_space(space) if isinstance(space, str) else space
    drawn = sample(chosen, networks) if isinstance(networks, int) else networks
    with Store(None if store is None else os.fspath(store)) as rows, claimed(rows.path, hardware):
        plan = make_plan(chosen, drawn, hardware, rows, settings, hardware=known)
        return run_plan(plan, chosen, rows, settings, tell=tell, advance=advance)


def run_plan(
    plan: CollectPlan,
    space: SearchSpace,
    store: Store,
    settings: CollectSettings,
    *,
    tell: Callable[[str], None],
    advance: Callable[[CollectProgress], None],
    events: Iterable[CollectEvent] | None = None,
) -> CollectReport:
    """Measures what a plan lacks. Every row is stored before the next one is awaited.

    Args:
        plan: Plan of `make_plan`.
        space: Space of its networks.
        store: Store for the rows.
        settings: Settings of the measurements.
        tell: Called with one line for each remark.
        advance: Receives the progress after every row.
        events: Source of rows and failures; None for this machine and its phones.

    Raises:
        StoreError: A row cannot be stored.
        MhmodelsError: No worker can go on.
    """
    start = time.monotonic()
    tallies = _tallies(plan)
    noisy: dict[tuple[str, str | None], bool] = {}
    for event in run_workers(plan, space, settings, tell) if events is None else events:
        tally = tallies[event.hardware]
        if isinstance(event, RowEvent):
            store.add(event.measurement)
            _count(tally, event)
            if not event.reference:
                noisy[event.hardware, event.measurement.architecture_id] = event.measurement.noisy
                advance(CollectProgress(tally, time.monotonic() - start))
        elif event.gone:
            tally.trouble = event.reason
            tell(f"{event.hardware} is given up: {event.reason}")
        else:
            tally.failed += 1
            tally.failures = [*tally.failures, event.reason][:_FAILURES_NAMED]
    for (hardware, _), still in noisy.items():
        tallies[hardware].noisy += still
    absent = [
        Tally(hardware=name, kind="measured", wanted=len(plan.everything), stored=0, trouble=reason, failures=[])
        for name, reason in plan.absent.items()
    ]
    return CollectReport(tallies=[*tallies.values(), *absent], seconds=time.monotonic() - start)


def _tallies(plan: CollectPlan) -> dict[str, Tally]:
    """The counts at the start, by hardware id."""
    return {
        target.hardware.id: Tally(
            hardware=target.hardware.id,
            kind=target.hardware.kind,
            wanted=len(plan.everything),
            stored=len(target.rows),
            failures=[],
        )
        for target in plan.targets
    }


def _count(tally: Tally, event: RowEvent) -> None:
    if event.reference:
        tally.checks += 1
    elif event.again:
        tally.again += 1
    else:
        tally.measured += 1
        tally.unsupported += not event.measurement.supported
