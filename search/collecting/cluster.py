"""Collecting over a dask.distributed cluster: compilers and devices of other hosts, one task a network and hardware.

What a worker can measure on is its resource: `machine` for a host's own CPU and its compilers, which share it, and
`phone-SERIAL` for a phone. So a device does one thing at a time in the cluster, and the locks of `mhmodels.hardware` guard it
against other processes of its host too. Rows are stored here, as they come.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from mhmodels.architecture import Architecture
from mhmodels.errors import MeasurementError, MhmodelsError
from mhmodels.hardware import Environment, Hardware, HardwareCollection, HardwareEntry, Measurement, answer, built_in_hardware
from mhmodels.search.collecting.hardware_queue import FAILURES, Event, Row, Trouble
from mhmodels.search.collecting.plan import Network, Plan, Settings, Target, reference_network, target, with_notes
from mhmodels.search.collecting.workers import Files
from mhmodels.store import Store
from mhmodels.system.files import temporary_folder
from mhmodels.version import __version__

if TYPE_CHECKING:
    from distributed import Client

MACHINE = "machine"
CONNECT_S, POLL_S, DESERTED_S = 5, 1.0, 60.0
AHEAD = 2
"""Tasks handed out for each worker: one to work on, one to wait."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement, as a worker gets it; the architecture is its file, `reference` a zoo network to time in turns with it."""

    hardware: str
    label: str
    architecture: str
    runs: int
    threads: int
    reference: str = ""


class Outcome(NamedTuple):
    """A worker's answer: a row as JSON, or why there is none; `gone` if the hardware is no longer there."""

    row: bytes | None
    reason: str = ""
    gone: bool = False


class _Place(NamedTuple):
    target: Target
    workers: list[str]


def resource_of(hardware: Hardware) -> str:
    """The worker resource that a hardware takes."""
    serial = hardware.configuration.get("serial")
    return f"phone-{serial}" if serial else MACHINE


def work(task: Task) -> Outcome:
    """Runs on a worker: writes the network with random weights, takes the device's lock, measures."""
    settings = Settings(runs=task.runs, threads=task.threads, reference=task.reference)
    try:
        hardware, runner = _hardware(task.hardware)
        architecture = Architecture.from_json(task.architecture, source=task.label)
        architecture = msgspec.structs.replace(architecture, name=task.label)
        with temporary_folder("collect") as folder:
            job = Files(folder, settings).job(architecture, hardware.format, reference=reference_network(settings))
            return Outcome(msgspec.json.encode(answer(job, hardware, runner).measurement))
    except (MhmodelsError, OSError) as error:
        return Outcome(None, str(error), bool(look(task.hardware)[1]))


def look(hardware_id: str) -> tuple[bytes, str, str]:
    """Runs on a worker: what its rows depend on (JSON), why it cannot measure there, and its version of mhmodels."""
    try:
        hardware, runner = _hardware(hardware_id)
        why_not = runner.unavailable(hardware)
        return (b"" if why_not else msgspec.json.encode(runner.environment(hardware), order="sorted")), why_not, __version__
    except MhmodelsError as error:
        return b"", str(error), __version__


def _hardware(hardware_id: str) -> HardwareEntry:
    """As `get_hardware`; a worker sees the phones of its host without being told how to."""
    return (_with_phones() if "/" in hardware_id else built_in_hardware()).get(hardware_id)


@functools.cache
def _with_phones() -> HardwareCollection:
    """One runner for all tasks of a worker, since it keeps what it has found out about its phones."""
    from mhmodels.android_bench.runner import PhoneRunner

    return built_in_hardware().with_runner("phones", PhoneRunner())


def remote_events(
    address: str, plan: Plan, store: Store, settings: Settings, tell: Callable[[str], None]
) -> tuple[Plan, Iterator[Event]]:
    """Connects to a scheduler, finds who can measure what, and gives the plan that is left with the rows to come.

    Raises:
        MeasurementError: dask.distributed is not installed, nobody answers at the address, no worker can measure any of the
            hardware, or workers differ in what their rows depend on.
        StoreError: the store cannot be read.
    """
    client = _connect(address)
    try:
        places, absent = [], dict(plan.absent)
        for one in plan.targets:
            environment, workers, why_not = _find(client, one.hardware)
            if environment is None:
                absent[one.hardware.id] = why_not
                tell(f"{one.hardware.id} is left out: {why_not}")
            else:
                left = target(one.hardware, one.runner, environment, plan.everything, store, settings)
                places.append(_Place(left, workers))
        if not places:
            raise MeasurementError(f"{address}: " + "; ".join(absent.values()))
    except BaseException:
        client.close()
        raise
    return plan._replace(targets=[place.target for place in places], absent=absent), _events(client, places, settings)


def _connect(address: str) -> Client:
    try:
        from distributed import Client
    except ImportError:
        raise MeasurementError("--scheduler needs dask.distributed: pip install 'mhmodels[cluster]'") from None
    try:
        # No `set_as_default`, and nothing started: this is a guest of a cluster that somebody else runs.
        return Client(address, timeout=CONNECT_S, set_as_default=False, name="mhmodels-collect")
    except (OSError, ValueError, TypeError) as error:
        raise MeasurementError(f"no dask scheduler answers at '{address}' ({error}); start one with `dask scheduler`") from error


def _find(client: Client, hardware: Hardware) -> tuple[Environment | None, list[str], str]:
    """The workers that can measure on a hardware, which must agree on what rows depend on; or why there are none."""
    hardware_id, resource = hardware.id, resource_of(hardware)
    known = client.scheduler_info(n_workers=-1)["workers"]
    offering = [name for name, facts in known.items() if facts.get("resources", {}).get(resource)]
    if not offering:
        return (
            None,
            [],
            (
                f"none of the cluster's {len(known)} workers offers the resource '{resource}': start one on its host with "
                f'`dask worker ADDRESS --nthreads 1 --resources "{resource}=1"`'
            ),
        )
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


def _events(client: Client, places: Sequence[_Place], settings: Settings) -> Iterator[Event]:
    """Hands out tasks a few at a time, and gives rows as they come; leaves nothing behind in the cluster."""
    waiting = [(place, network) for network_work in _in_turns(places) for place, network in network_work]
    waiting.reverse()
    most = AHEAD * len({name for place in places for name in place.workers}) + len(places)
    flying: dict[Any, tuple[_Place, Network]] = {}
    failures = dict.fromkeys((place.target.hardware.id for place in places), 0)
    gone: set[str] = set()
    away: dict[str, float] = {}
    try:
        while waiting or flying:
            while waiting and len(flying) < most:
                place, network = waiting.pop()
                if place.target.hardware.id not in gone:
                    flying[_submit(client, place, network, settings)] = place, network
            finished = _finished(client, flying)
            for future in finished:
                place, network = flying.pop(future)
                yield from _settle(future, place.target.hardware.id, network, failures, gone)
                future.release()
            for name in [] if finished else _stranded(client, flying, away):
                gone.add(name)
                yield Trouble(name, f"its workers have been away for {DESERTED_S:.0f} s", gone=True)
                for future in [one for one, (place, _) in flying.items() if place.target.hardware.id == name]:
                    future.cancel()
                    del flying[future]
                del away[name]
    finally:
        for future in flying:
            future.cancel()
        client.close()


def _in_turns(places: Sequence[_Place]) -> Iterator[list[tuple[_Place, Network]]]:
    """Networks in order, each on all hardware that still lacks it."""
    pending = [({network.id for network in place.target.pending}, place) for place in places]
    order = {network.id: network for place in places for network in place.target.pending}
    for name, network in order.items():
        yield [(place, network) for ids, place in pending if name in ids]


def _submit(client: Client, place: _Place, network: Network, settings: Settings) -> Any:
    task = Task(
        hardware=place.target.hardware.id,
        label=network.label,
        architecture=network.architecture.to_json().decode(),
        runs=settings.runs,
        threads=settings.threads,
        reference=settings.reference if place.target.hardware.turns else "",
    )
    return client.submit(
        work,
        task,
        workers=place.workers,
        resources={resource_of(place.target.hardware): 1},
        pure=False,
        retries=0,
        allow_other_workers=False,
    )


def _finished(client: Client, flying: dict[Any, Any]) -> list[Any]:
    from distributed import wait

    if not flying:
        return []
    try:
        # `wait` asks for a current client, which this one is for nobody else.
        with client.as_current():
            return list(wait(list(flying), timeout=POLL_S, return_when="FIRST_COMPLETED").done)
    except TimeoutError:
        return []


def _stranded(client: Client, flying: dict[Any, tuple[_Place, Network]], since: dict[str, float]) -> list[str]:
    """Hardware whose workers have all been away for a minute; `since` remembers from when on.

    Raises:
        MeasurementError: the scheduler itself is gone.
    """
    lost = MeasurementError("the dask scheduler is gone; what was measured is stored, the same command goes on from there")
    if client.status not in ("running", "connecting"):
        raise lost
    try:
        living = set(client.scheduler_info(n_workers=-1)["workers"]) if client.status == "running" else set()
    except OSError:
        raise lost from None
    now = time.monotonic()
    for place, _ in flying.values():
        if living.isdisjoint(place.workers):
            since.setdefault(place.target.hardware.id, now)
        else:
            since.pop(place.target.hardware.id, None)
    return [name for name, start in since.items() if now - start > DESERTED_S]


def _settle(future: Any, hardware: str, network: Network, failures: dict[str, int], gone: set[str]) -> Iterator[Event]:
    if hardware in gone:
        return
    if future.status == "finished":
        outcome: Outcome = future.result()
    else:
        outcome = Outcome(None, f"the task was lost ({future.exception() if future.status == 'error' else future.status})")
    if outcome.row is not None:
        failures[hardware] = 0
        row = msgspec.json.decode(outcome.row, type=Measurement)
        yield Row(hardware, with_notes(row, distribution=network.distribution) if network.distribution else row)
        return
    failures[hardware] += 1
    if outcome.gone or failures[hardware] >= FAILURES:
        gone.add(hardware)
        yield Trouble(hardware, outcome.reason, gone=True)
    else:
        yield Trouble(hardware, outcome.reason)
