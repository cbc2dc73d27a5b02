"""Collecting over a dask.distributed cluster: the compilers and devices of other hosts, one task for each measurement.

A worker announces what it can measure on as a resource: `machine` for the CPU of its host and the compilers, which share it, and
`phone-SERIAL` for a phone. So each device does one task at a time in the cluster, and the locks of `mhmodels.hardware` protect it
from other processes of its host. This process stores the rows as they arrive.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgspec

from mhmodels.errors import MeasurementError
from mhmodels.hardware import Environment, Hardware, Measurement
from mhmodels.search.collecting.cluster_tasks import ClusterTask, TaskAnswer, look, resource_of, work
from mhmodels.search.collecting.hardware_queue import FAILURES, CollectEvent, FailureEvent, RowEvent
from mhmodels.search.collecting.plan import CollectNetwork, CollectPlan, CollectTarget, make_target
from mhmodels.search.collecting.settings import CollectSettings, with_notes
from mhmodels.store import Store
from mhmodels.version import __version__

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_S, POLL_S = 5, 1.0
DESERTED_S = 60.0
"""Seconds without any of its workers after which a hardware is given up."""
AHEAD = 2
"""Tasks handed out for each worker: one to work on and one to wait."""


class _Assignment(NamedTuple):
    """A hardware with the workers that can measure on it."""

    target: CollectTarget
    workers: list[str]


_Flying: TypeAlias = "dict[Future, tuple[_Assignment, CollectNetwork]]"


def remote_events(
    address: str, plan: CollectPlan, store: Store, settings: CollectSettings, tell: Callable[[str], None]
) -> tuple[CollectPlan, Iterator[CollectEvent]]:
    """Connects to a scheduler and finds the workers that can measure.

    Args:
        address: Address of the scheduler, for example `tcp://10.0.0.1:8786`.
        plan: Plan of `make_plan(remote=True)`.
        store: Store of the rows.
        settings: How to measure.
        tell: Called with one line for each remark.

    Returns:
        The plan of what is left to measure, and the rows and failures to come, for `run_plan`.

    Raises:
        MeasurementError: Dask.distributed is not installed, no scheduler answers, no worker can measure on any of the hardware,
            or workers have different environments.
        StoreError: The store cannot be read.
    """
    client = _connect(address)
    try:
        assignments, absent = [], dict(plan.absent)
        for one in plan.targets:
            environment, workers, why_not = _find(client, one.hardware)
            if environment is None:
                absent[one.hardware.id] = why_not
                tell(f"{one.hardware.id} is left out: {why_not}")
            else:
                left = make_target(one.hardware, one.runner, environment, plan.everything, store, settings)
                assignments.append(_Assignment(left, workers))
        if not assignments:
            raise MeasurementError(f"{address}: " + "; ".join(absent.values()))
    except BaseException:
        client.close()
        raise
    left_plan = plan._replace(targets=[assignment.target for assignment in assignments], absent=absent)
    return left_plan, _events(client, assignments, settings)


def _connect(address: str) -> Client:
    try:
        from distributed import Client
    except ImportError:
        raise MeasurementError("a scheduler needs dask.distributed: pip install 'mhmodels[cluster]'") from None
    try:
        # This process is a guest of the cluster: it does not become the default client and starts nothing.
        return Client(address, timeout=CONNECT_S, set_as_default=False, name="mhmodels-collect")
    except (OSError, ValueError, TypeError) as error:
        raise MeasurementError(f"no dask scheduler answers at '{address}' ({error}); start one with `dask scheduler`") from error


def _find(client: Client, hardware: Hardware) -> tuple[Environment | None, list[str], str]:
    """The workers that can measure on a hardware and their common environment, or why there are none."""
    hardware_id, resource = hardware.id, resource_of(hardware)
    known = client.scheduler_info(n_workers=-1)["workers"]
    offering = [name for name, facts in known.items() if facts.get("resources", {}).get(resource)]
    if not offering:
        why_not = (
            f"none of the cluster's {len(known)} workers offers the resource '{resource}': start one on its host with "
            f'`dask worker ADDRESS --nthreads 1 --resources "{resource}=1"`'
        )
        return None, [], why_not
    found = client.run(look, hardware_id, workers=offering)
    able = {name: seen for name, (seen, why_not, version) in found.items() if not why_not and version == __version__}
    if not able:
        name, (_, why_not, version) = next(iter(found.items()))
        return None, [], f"worker {name}: {why_not or f'mhmodels is {version} there and {__version__} here'}"
    if len(set(able.values())) > 1:
        (first, one), (second, other) = list({seen: (name, seen) for name, seen in able.items()}.values())[:2]
        raise MeasurementError(
            f"{hardware_id} is not the same on all workers: {first} has {one.decode()}, {second} has {other.decode()}; "
            f"offer '{resource}' on workers of one kind only, since their rows do not go together"
        )
    return msgspec.json.decode(next(iter(able.values())), type=Environment), list(able), ""


def _events(client: Client, assignments: Sequence[_Assignment], settings: CollectSettings) -> Iterator[CollectEvent]:
    """Hands out a few tasks at a time and yields rows as they arrive; cancels its tasks when it is closed."""
    waiting = list(_in_turns(assignments))
    waiting.reverse()
    most = AHEAD * len({name for assignment in assignments for name in assignment.workers}) + len(assignments)
    flying: _Flying = {}
    failures = dict.fromkeys((assignment.target.hardware.id for assignment in assignments), 0)
    gone: set[str] = set()
    away: dict[str, float] = {}
    try:
        while waiting or flying:
            while waiting and len(flying) < most:
                assignment, network = waiting.pop()
                if assignment.target.hardware.id not in gone:
                    flying[_submit(client, assignment, network, settings)] = assignment, network
            finished = _finished(client, flying)
            for future in finished:
                assignment, network = flying.pop(future)
                yield from _settle(future, assignment.target.hardware.id, network, failures, gone)
                future.release()
            for name in [] if finished else _stranded(client, flying, away):
                gone.add(name)
                yield FailureEvent(name, f"its workers have been away for {DESERTED_S:.0f} s", gone=True)
                for future in [one for one, (assignment, _) in flying.items() if assignment.target.hardware.id == name]:
                    future.cancel()
                    del flying[future]
                del away[name]
    finally:
        for future in flying:
            future.cancel()
        client.close()


def _in_turns(assignments: Sequence[_Assignment]) -> Iterator[tuple[_Assignment, CollectNetwork]]:
    """Networks in order, each on all hardware that lacks it."""
    pending = [({network.id for network in assignment.target.pending}, assignment) for assignment in assignments]
    order = {network.id: network for assignment in assignments for network in assignment.target.pending}
    for name, network in order.items():
        for ids, assignment in pending:
            if name in ids:
                yield assignment, network


def _submit(client: Client, assignment: _Assignment, network: CollectNetwork, settings: CollectSettings) -> Future:
    task = ClusterTask(
        hardware=assignment.target.hardware.id,
        label=network.label,
        architecture=network.architecture.to_json().decode(),
        runs=settings.runs,
        threads=settings.threads,
        reference=settings.reference if assignment.target.hardware.turns else "",
    )
    return client.submit(
        work,
        task,
        workers=assignment.workers,
        resources={resource_of(assignment.target.hardware): 1},
        pure=False,
        retries=0,
        allow_other_workers=False,
    )


def _finished(client: Client, flying: _Flying) -> list[Future]:
    from distributed import wait

    if not flying:
        return []
    try:
        # `wait` needs a current client, and this client is nobody's default.
        with client.as_current():
            return list(wait(list(flying), timeout=POLL_S, return_when="FIRST_COMPLETED").done)
    except TimeoutError:
        return []


def _stranded(client: Client, flying: _Flying, since: dict[str, float]) -> list[str]:
    """Hardware whose workers have all been away for `DESERTED_S`.

    Args:
        client: Connection to the scheduler.
        flying: Tasks that are handed out.
        since: When the workers of each hardware went away; updated here.

    Raises:
        MeasurementError: The scheduler itself is gone.
    """
    lost = MeasurementError("the dask scheduler is gone; what was measured is stored, the same command goes on from there")
    if client.status not in ("running", "connecting"):
        raise lost
    try:
        living = set(client.scheduler_info(n_workers=-1)["workers"]) if client.status == "running" else set()
    except OSError:
        raise lost from None
    now = time.monotonic()
    for assignment, _ in flying.values():
        if living.isdisjoint(assignment.workers):
            since.setdefault(assignment.target.hardware.id, now)
        else:
            since.pop(assignment.target.hardware.id, None)
    return [name for name, start in since.items() if now - start > DESERTED_S]


def _settle(
    future: Future, hardware: str, network: CollectNetwork, failures: dict[str, int], gone: set[str]
) -> Iterator[CollectEvent]:
    """The event of a finished task; `FAILURES` in a row give the hardware up."""
    if hardware in gone:
        return
    if future.status == "finished":
        answer: TaskAnswer = future.result()
    else:
        answer = TaskAnswer(None, f"the task was lost ({future.exception() if future.status == 'error' else future.status})")
    if answer.row is not None:
        failures[hardware] = 0
        row = msgspec.json.decode(answer.row, type=Measurement)
        yield RowEvent(hardware, with_notes(row, distribution=network.distribution) if network.distribution else row)
        return
    failures[hardware] += 1
    if answer.gone or failures[hardware] >= FAILURES:
        gone.add(hardware)
        yield FailureEvent(hardware, answer.reason, gone=True)
    else:
        yield FailureEvent(hardware, answer.reason)
