"""Measures the members of a found front on the hardware of the search, by the workers and the store of `search collect`."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from mhmodels.errors import InterruptedJobError, MeasurementError, UnknownNameError
from mhmodels.hardware import Environment, HardwareCollection, built_in_hardware
from mhmodels.hardware.host.turns import common_reference_speed, steady_ms
from mhmodels.search.collecting.claims import claimed
from mhmodels.search.collecting.collect import run_plan
from mhmodels.search.collecting.hardware_queue import CollectEvent, FailureEvent
from mhmodels.search.collecting.plan import CollectPlan, CollectTarget, make_plan, make_target
from mhmodels.search.collecting.progress import CollectProgress
from mhmodels.search.collecting.settings import DEFAULT_SETTINGS, CollectSettings
from mhmodels.search.collecting.workers import run_workers
from mhmodels.search.objective.objective import Objective
from mhmodels.search.run.front.judging import FrontLatencies, MeasuredFront, judge_front
from mhmodels.search.run.request import RequestError
from mhmodels.search.space.sampling import Sample
from mhmodels.search.space.search_space import Encodings, SearchSpace
from mhmodels.search.space.template import ArchitectureSpace
from mhmodels.store import Store

if TYPE_CHECKING:
    from mhmodels.search.run.search import SearchResult

Shown: TypeAlias = Callable[
    [CollectPlan], AbstractContextManager[tuple[Callable[[CollectProgress], None], Callable[[str], None]]]
]
"""Opens the display of a plan; the block gets the function that takes progress and the function that takes remarks."""
StorePath: TypeAlias = "str | os.PathLike[str] | None"
_REMEDY = (
    "leave the hardware out of the search (argument 'hardware'), or give latencies that were measured elsewhere (argument "
    "'front_latencies')"
)


@contextmanager
def show_nothing(_: CollectPlan) -> Iterator[tuple[Callable[[CollectProgress], None], Callable[[str], None]]]:
    """A display that shows nothing."""
    yield (lambda _: None), (lambda _: None)


def absent_hardware(
    space: SearchSpace,
    hardware: Sequence[str],
    store: StorePath = None,
    settings: CollectSettings = DEFAULT_SETTINGS,
    known: HardwareCollection | None = None,
) -> dict[str, str]:
    """Plans to measure a random network, without measuring it, to find what would fail later.

    Args:
        space: Space of the networks.
        hardware: Hardware ids.
        store: Measurements file; None for the default one.
        settings: Settings of the measurements.
        known: Collection that has the ids; None for the hardware that comes with the package.

    Returns:
        By id of hardware that cannot be measured from here: why.

    Raises:
        SpaceError: The space is tabular.
        UnknownNameError: No hardware or reference network has this name.
        MeasurementError: No hardware can be measured, or one takes a format without random weights.
        StoreError: The store cannot be opened or written.
    """
    one = space.draw(1, np.random.default_rng(0))
    with Store(None if store is None else os.fspath(store)) as rows:
        rows.check_writable()
        return make_plan(space, Sample(one, ()), hardware, rows, settings, hardware=known).absent


def check_measurable(
    objective: Objective,
    store: StorePath = None,
    settings: CollectSettings = DEFAULT_SETTINGS,
    known: HardwareCollection | None = None,
) -> None:
    """Checks before a search that its front can be measured: networks, hardware, formats and store. Nothing is measured.

    Args:
        objective: Objective of the search, whose hardware is meant.
        store: Measurements file; None for the default one.
        settings: Settings of the measurements, without baselines.
        known: Collection that has the hardware; None for the hardware that comes with the package.

    Raises:
        RequestError: The space is tabular, so that there are no networks to measure.
        MeasurementError: A hardware is unknown, cannot be reached from here, or takes a format without random weights.
        StoreError: The store cannot be opened or written.
        UnknownNameError: The reference network is unknown.
    """
    space = objective.space
    if not isinstance(space, ArchitectureSpace):
        raise RequestError(
            f"space '{space.name}' is tabular, so that argument 'measure_front' has no networks to measure: give a table of "
            "measured latencies (argument 'front_latencies')"
        )
    for hardware in objective.sources:
        _check_known(hardware, known)
    try:
        absent = absent_hardware(space, list(objective.sources), store, settings, known)
    except MeasurementError as error:
        raise MeasurementError(f"the front cannot be measured (argument 'measure_front'): {error}; {_REMEDY}") from error
    if absent:
        why = "; ".join(f"{hardware}: {reason}" for hardware, reason in absent.items())
        raise MeasurementError(f"the front cannot be measured (argument 'measure_front'): {why}; {_REMEDY}")


def measure_latencies(
    space: SearchSpace,
    encodings: Encodings,
    hardware: Sequence[str],
    *,
    store: StorePath = None,
    settings: CollectSettings = DEFAULT_SETTINGS,
    known: HardwareCollection | None = None,
    shown: Shown = show_nothing,
) -> FrontLatencies:
    """Measures networks on hardware. Every latency is stored as soon as it is known, and stored ones are not measured again.

    Args:
        space: Space of architectures.
        encodings: (n, decisions), different networks.
        hardware: Hardware ids.
        store: Measurements file; None for the default one.
        settings: Settings of the measurements. Stored rows of other settings or environments are not reused.
        known: Collection that has the ids; None for the hardware that comes with the package.
        shown: Opens a display of the progress.

    Raises:
        MeasurementError: No hardware can be measured, or another process measures on it into the same store.
        StoreError: The store cannot be opened or written.
        InterruptedJobError: The user pressed Ctrl-C; what was measured is stored.
    """
    failures: list[FailureEvent] = []
    with Store(None if store is None else os.fspath(store)) as rows, claimed(rows.path, hardware):
        try:
            plan = make_plan(space, Sample(encodings, ()), hardware, rows, settings, hardware=known)
            with shown(plan) as (advance, tell), closing(_recorded(plan, space, settings, tell, failures)) as events:
                run_plan(plan, space, rows, settings, tell=tell, advance=advance, events=events)
        except KeyboardInterrupt as error:
            raise InterruptedJobError(
                f"the latencies of the front that were measured are kept in {rows.path}: the same command continues from there"
            ) from error
        kinds = {name: (known or built_in_hardware()).get(name).hardware.kind for name in hardware}
        return _found(plan, space, encodings, hardware, rows, settings, failures)._replace(kinds=kinds)


def measure_front(
    result: SearchResult,
    *,
    store: StorePath = None,
    settings: CollectSettings = DEFAULT_SETTINGS,
    known: HardwareCollection | None = None,
    shown: Shown = show_nothing,
) -> MeasuredFront:
    """Measures the Pareto front of a finished search on its hardware, and drops members that are dominated by measured latencies.

    This is the last step of One-Proxy (arXiv 2111.01203): cost models are wrong where a search looks for fast networks, so the
    found members are measured. The members are those of `SearchResult.front_members`. A call that was interrupted is repeated
    without measuring again what is in the store.

    Args:
        result: Finished search with a space of architectures.
        store: Measurements file; None for the default one in `MHMODELS_HOME`.
        settings: Settings of the measurements.
        known: Collection that has the hardware; None for the hardware that comes with the package.
        shown: Opens a display of the progress.

    Returns:
        The members with predicted and measured latencies and their verdicts.

    Raises:
        RequestError: The space is tabular, or the search ended with a single network that was judged.
        MeasurementError: A hardware is unknown or cannot be reached from here, or another process measures on it into the store.
        StoreError: The store cannot be opened or written.
        InterruptedJobError: The user pressed Ctrl-C; what was measured is stored.

    Example:
        >>> import tempfile
        >>> from mhmodels.search import Random, SearchRequest, measure_front, run_search
        >>> request = SearchRequest(
        ...     space="multi_hardware", cost_models=("ethos-u55-128",), method=Random(evaluations=10), target=1.5
        ... )
        >>> result = run_search(request, accuracy=lambda space, encodings: space.madds(encodings) / 1e10)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     front = measure_front(result, store=f"{folder}/results.db")
        >>> {member.verdict for member in front.members} <= {"kept", "dominated"}, front.hardware[0].kind
        (True, 'estimated')
    """
    members, objective = result.front_members(), result.objective
    check_measurable(objective, store, settings, known)
    latencies = measure_latencies(
        objective.space, members.encodings, list(objective.sources), store=store, settings=settings, known=known, shown=shown
    )
    return judge_front(objective, members, latencies)


def _check_known(hardware: str, known: HardwareCollection | None) -> None:
    try:
        (known or built_in_hardware()).get(hardware)
    except UnknownNameError as error:
        raise MeasurementError(f"the front cannot be measured (argument 'measure_front'): {error}; {_REMEDY}") from error


def _recorded(
    plan: CollectPlan, space: SearchSpace, settings: CollectSettings, tell: Callable[[str], None], failures: list[FailureEvent]
) -> Generator[CollectEvent, None, None]:
    """Passes the events of the workers on and keeps the failures, whose number in a report is limited."""
    for event in run_workers(plan, space, settings, tell):
        if isinstance(event, FailureEvent):
            failures.append(event)
        yield event


def _found(
    plan: CollectPlan,
    space: SearchSpace,
    encodings: Encodings,
    hardware: Sequence[str],
    store: Store,
    settings: CollectSettings,
    failures: Sequence[FailureEvent],
) -> FrontLatencies:
    """The latencies in the store after the measuring, at the common speed of this machine where a reference shows it."""
    ids = {network.label: network.id for network in plan.networks}
    members = [ids[space.label(row)] for row in space.canonical(encodings)]
    places = {target.hardware.id: target for target in plan.targets}
    ms = np.full((len(members), len(hardware)), np.nan)
    environments: dict[str, Environment] = {}
    reasons: dict[tuple[int, str], str] = {}
    noisy: dict[str, int] = {}
    for column, name in enumerate(hardware):
        target = places.get(name)
        if target is None:
            reasons.update({(i, name): plan.absent[name] for i in range(len(members))})
            continue
        if target.environment is not None:
            environments[name] = target.environment
        stored = make_target(target.hardware, target.runner, target.environment, plan.networks, store, settings).rows
        speed = common_reference_speed(list(stored.values()))
        noisy[name] = sum(row.noisy for row in stored.values())
        why = _failure_reasons(plan, target, failures)
        for i, network in enumerate(members):
            row = stored.get(network)
            value = None if row is None else steady_ms(row, speed)
            if value is not None:
                ms[i, column] = value
            else:
                reasons[i, name] = row.reason if row is not None else why.get(network, why.get("", "it was not measured"))
    return FrontLatencies(ms, reasons=reasons, environments=environments, noisy=noisy)


def _failure_reasons(plan: CollectPlan, target: CollectTarget, failures: Sequence[FailureEvent]) -> dict[str, str]:
    """Reasons of failed networks by architecture id; under "" why the hardware was given up."""
    own = [event for event in failures if event.hardware == target.hardware.id]
    ids = {network.architecture.name: network.id for network in plan.networks}
    found: dict[str, str] = {}
    for event in own:
        name, _, reason = event.reason.partition(": ")
        if event.gone:
            found[""] = event.reason
        elif name in ids:
            found[ids[name]] = reason
    return found
