"""Lanes: hardware that shares something takes turns in one thread, the others run beside it.

This machine is one lane: its timings come one at a time, its compilers beside each other, because an estimate does not
depend on the time that it takes. If all its timings are made in turns with a reference network, which feels the same
company, the compilers are a lane of their own, on the other cores, if there are any. Every phone is a lane.
"""

from __future__ import annotations

import functools
import os
import queue
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import cast

from mhmodels.architecture import Architecture
from mhmodels.errors import MhmodelsError
from mhmodels.export.errors import ExportError
from mhmodels.export.writing.latency import LatencyFormat, latency_file
from mhmodels.hardware import Job, prepare
from mhmodels.hardware.host.session import timing_cores, usable_cores
from mhmodels.search.collecting.hardware_queue import Desk, Emit, Event, Trouble
from mhmodels.search.collecting.plan import THIS_MACHINE, WEIGHTS, Network, Plan, Settings, reference_network
from mhmodels.search.space.search_space import Space
from mhmodels.system.files import temporary_folder

CHUNK = 8
COMPILERS = "compilers"


class Files:
    """Files with random weights, written when first asked for and gone after each chunk."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder, self.settings = folder, settings
        self._jobs: dict[tuple[str, str, bool], Job] = {}

    def job(
        self, architecture: Architecture, file_format: str, *, reference: Architecture | None = None, keep: bool = False
    ) -> Job:
        """The request to measure a network.

        Args:
            architecture: named as its rows are to be.
            file_format: float32, int8 or uint8.
            reference: to be timed in turns with it.
            keep: beyond the chunk.

        Raises:
            ExportError: no such file can be made.
        """
        key = architecture.architecture_id, file_format, reference is not None
        if key not in self._jobs:
            beside = None if reference is None else self.job(reference, file_format, keep=True)
            folder = self.folder / ("kept" if keep else "chunk")
            path = latency_file(architecture, cast("LatencyFormat", file_format), folder)
            self._jobs[key] = prepare(
                path,
                label=architecture.name,
                architecture_id=architecture.architecture_id,
                weights=WEIGHTS,
                runs=self.settings.runs,
                threads=self.settings.threads,
                reference=beside,
            )
        return self._jobs[key]

    def clear(self) -> None:
        """Ends a chunk."""
        for key, job in list(self._jobs.items()):
            if job.path.parent.name == "chunk":
                job.path.unlink(missing_ok=True)
                del self._jobs[key]


class Lane:
    """Hardware that takes turns; its compilers run on `cores`."""

    def __init__(
        self,
        desks: Sequence[Desk],
        plan: Plan,
        space: Space,
        settings: Settings,
        emit: Emit,
        stop: threading.Event,
        cores: Collection[int],
    ) -> None:
        self.desks, self.plan, self.space, self.settings, self.cores = desks, plan, space, settings, cores
        self._emit, self._stop = emit, stop
        self._reference = reference_network(settings)

    def run(self) -> None:
        """Everything pending, then everything that is to be measured again."""
        # A thread's cores are those of the processes that it starts; a compiler's process stays as long as its thread.
        compilers = ThreadPoolExecutor(len(self.cores), initializer=_stay_on, initargs=(self.cores,))
        with temporary_folder("collect") as folder, compilers as pool:
            files = Files(folder, self.settings)
            waiting = {desk.id: {network.id for network in desk.target.pending} for desk in self.desks}
            wanted = [n for n in self.plan.everything if any(n.id in ids for ids in waiting.values())]
            for chunk in _chunks(wanted, CHUNK):
                self._chunk(files, pool, [(desk, n) for desk in self.desks for n in chunk if n.id in waiting[desk.id]])
            if self.settings.again:
                for desk in self.desks:
                    self._again(files, desk)

    def _chunk(self, files: Files, pool: ThreadPoolExecutor, work: list[tuple[Desk, Network]]) -> None:
        """Timings one by one, network by network so that formats see the same conditions; then the compilers."""
        order = {network.id: place for place, (_, network) in enumerate(work)}
        for desk, network in sorted((pair for pair in work if pair[0].target.timed), key=lambda pair: order[pair[1].id]):
            if desk.check_due and self._reference is not None:
                self._with_job(files, desk, self._reference, desk.check, keep=True)
            self._with_job(files, desk, network.architecture, functools.partial(desk.first, network=network))
        futures: list[Future[None]] = []
        try:
            for desk, network in (pair for pair in work if not pair[0].target.timed):
                start = functools.partial(_submit, pool, futures, desk, network)
                self._with_job(files, desk, network.architecture, start)
        finally:
            wait(futures)  # the files are theirs until then
        for future in futures:
            future.result()  # what went wrong there in an unforeseen way must not pass in silence
        files.clear()

    def _again(self, files: Files, desk: Desk) -> None:
        if not desk.gone and not self._stop.is_set():
            desk.find_outliers(self.space, self.plan.networks)
        for place, network in enumerate([n for n in self.plan.everything if n.id in desk.queue]):
            if desk.checked and place % self.settings.interval == 0 and self._reference is not None:
                self._with_job(files, desk, self._reference, desk.check, keep=True)
            self._with_job(files, desk, network.architecture, functools.partial(desk.second, network=network))
            files.clear()

    def _with_job(
        self, files: Files, desk: Desk, architecture: Architecture, use: Callable[[Job], object], *, keep: bool = False
    ) -> None:
        if desk.gone or self._stop.is_set():
            return
        try:
            beside = self._reference if desk.in_turns else None
            job = files.job(architecture, desk.target.hardware.format, reference=beside, keep=keep)
        except ExportError as error:
            if isinstance(error.__cause__, OSError):
                raise  # a full disk is no network's fault, and the next one's file would not find room either
            self._emit(Trouble(desk.id, f"{architecture.name}: {error}"))
            return
        use(job)


def run_lanes(plan: Plan, space: Space, settings: Settings, tell: Callable[[str], None]) -> Iterator[Event]:
    """A thread a lane; what they find out, as it comes. When the caller leaves, they end with what they are at.

    Raises:
        MhmodelsError: a lane could not go on, for example because the disk is full.
    """
    events: queue.SimpleQueue[Event | Exception | None] = queue.SimpleQueue()
    stop = threading.Event()
    lanes = _lanes([Desk(target, settings, events.put, tell, stop) for target in plan.targets], settings.threads)
    cores = _compiler_cores(lanes, settings.threads)

    def run(desks: list[Desk]) -> None:
        """A lane's thread; its end is None in the queue."""
        try:
            Lane(desks, plan, space, settings, events.put, stop, cores).run()
        except Exception as error:  # the main thread raises it again
            events.put(error)
        finally:
            events.put(None)

    threads = [threading.Thread(target=run, args=(desks,), name=name) for name, desks in lanes.items()]
    for thread in threads:
        thread.start()
    try:
        left = len(threads)
        while left:
            event = events.get()
            if event is None:
                left -= 1
            elif isinstance(event, OSError) and not isinstance(event, MhmodelsError):
                raise MhmodelsError(
                    f"{event.filename or 'a temporary file'}: {event.strerror}; what was measured is kept"
                ) from event
            elif isinstance(event, Exception):
                raise event
            else:
                yield event
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _lanes(desks: Sequence[Desk], threads: int) -> dict[str, list[Desk]]:
    """Desks by what they share: `threads` of this machine's cores are for its timings."""
    here = [desk for desk in desks if desk.target.lane == THIS_MACHINE]
    timed = [desk for desk in here if desk.target.timed]
    apart = all(desk.in_turns for desk in timed) and (len(timed) in (0, len(here)) or bool(_other_cores(threads)))
    lanes: dict[str, list[Desk]] = {}
    for desk in desks:
        compiles = desk.target.lane == THIS_MACHINE and not desk.target.timed
        lanes.setdefault(COMPILERS if compiles and apart else desk.target.lane, []).append(desk)
    return lanes


def _compiler_cores(lanes: Mapping[str, Sequence[Desk]], threads: int) -> set[int]:
    """Where compilers run: all cores, but those for timing if they run beside timings."""
    return _other_cores(threads) if COMPILERS in lanes and THIS_MACHINE in lanes else set(usable_cores())


def _other_cores(threads: int) -> set[int]:
    return set(usable_cores()) - set(timing_cores(threads))


def _stay_on(cores: Collection[int]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def _submit(pool: ThreadPoolExecutor, futures: list[Future[None]], desk: Desk, network: Network, job: Job) -> None:
    futures.append(pool.submit(desk.first, job, network))


def _chunks(items: list[Network], size: int) -> Iterator[list[Network]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
