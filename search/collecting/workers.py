"""Worker threads: hardware that shares a resource is measured by one worker, other hardware by workers beside it.

The timings of this machine run in one worker, one at a time. Its compilers run in parallel, because an estimate does not depend
on how long the compiler takes. If every timing is made in turns with a reference network, which is slowed down by the same load,
the compilers have a worker of their own on the remaining cores. Every phone has a worker.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import SimpleQueue

from mhmodels.architecture import Architecture
from mhmodels.errors import MhmodelsError
from mhmodels.export.errors import ExportError
from mhmodels.hardware import Job
from mhmodels.hardware.host.session import timing_cores, usable_cores
from mhmodels.search.collecting.hardware_queue import CollectEvent, Emit, FailureEvent, HardwareQueue
from mhmodels.search.collecting.latency_files import LatencyFiles
from mhmodels.search.collecting.plan import THIS_MACHINE, CollectNetwork, CollectPlan
from mhmodels.search.collecting.settings import CollectSettings, reference_network
from mhmodels.search.space.search_space import SearchSpace
from mhmodels.system.temporary import temporary_folder

CHUNK = 8
"""Networks whose files exist at the same time."""
COMPILERS = "compilers"
"""Name of the worker of this machine's compilers, where they have one of their own."""


class Worker:
    """Measures on hardware that shares a resource: timings one after the other, compilers in parallel on `cores`."""

    def __init__(
        self,
        queues: Sequence[HardwareQueue],
        plan: CollectPlan,
        space: SearchSpace,
        settings: CollectSettings,
        emit: Emit,
        stop: threading.Event,
        cores: Collection[int],
    ) -> None:
        """Prepares a worker; `run` does the work.

        Args:
            queues: The hardware that shares the resource.
            plan: The networks.
            space: Space of the networks.
            settings: How to measure.
            emit: Receives every row and every failure.
            stop: Ends the worker once it is set.
            cores: Cores for compilers.
        """
        self.queues, self.plan, self.space, self.settings, self.cores = queues, plan, space, settings, cores
        self._emit, self._stop = emit, stop
        self._reference = reference_network(settings)

    def run(self) -> None:
        """Measures everything pending, then everything that must be repeated."""
        # A thread's cores are those of the processes that it starts. A compiler's process lives as long as its thread.
        compilers = ThreadPoolExecutor(len(self.cores), initializer=_pin_to, initargs=(self.cores,))
        with temporary_folder("collect") as folder, compilers as pool:
            files = LatencyFiles(folder, self.settings)
            waiting = {queue.id: {network.id for network in queue.target.pending} for queue in self.queues}
            wanted = [n for n in self.plan.everything if any(n.id in ids for ids in waiting.values())]
            for chunk in _chunks(wanted, CHUNK):
                self._chunk(files, pool, [(queue, n) for queue in self.queues for n in chunk if n.id in waiting[queue.id]])
            if self.settings.again:
                for queue in self.queues:
                    self._repeat(files, queue)

    def _chunk(self, files: LatencyFiles, pool: ThreadPoolExecutor, work: list[tuple[HardwareQueue, CollectNetwork]]) -> None:
        """Runs the timings network by network, so that formats see the same conditions, and then the compilers."""
        order = {network.id: place for place, (_, network) in enumerate(work)}
        for queue, network in sorted((pair for pair in work if pair[0].target.timed), key=lambda pair: order[pair[1].id]):
            if queue.check_due and self._reference is not None:
                self._with_job(files, queue, self._reference, queue.check, keep=True)
            self._with_job(files, queue, network.architecture, functools.partial(queue.first, network=network))
        futures: list[Future[None]] = []
        try:
            for queue, network in (pair for pair in work if not pair[0].target.timed):
                start = functools.partial(_submit, pool, futures, queue, network)
                self._with_job(files, queue, network.architecture, start)
        finally:
            wait(futures)  # the compilers read the files until then
        for future in futures:
            future.result()  # raises what the thread did not foresee
        files.clear()

    def _repeat(self, files: LatencyFiles, queue: HardwareQueue) -> None:
        if not queue.gone and not self._stop.is_set():
            queue.find_outliers(self.space, self.plan.networks)
        for place, network in enumerate([n for n in self.plan.everything if n.id in queue.repeats]):
            if queue.checked and place % self.settings.interval == 0 and self._reference is not None:
                self._with_job(files, queue, self._reference, queue.check, keep=True)
            self._with_job(files, queue, network.architecture, functools.partial(queue.second, network=network))
            files.clear()

    def _with_job(
        self,
        files: LatencyFiles,
        queue: HardwareQueue,
        architecture: Architecture,
        use: Callable[[Job], object],
        *,
        keep: bool = False,
    ) -> None:
        if queue.gone or self._stop.is_set():
            return
        try:
            beside = self._reference if queue.in_turns else None
            job = files.job(architecture, queue.target.hardware, reference=beside, keep=keep)
        except ExportError as error:
            if isinstance(error.__cause__, OSError):
                raise  # a full disk stops the next network as well
            self._emit(FailureEvent(queue.id, f"{architecture.name}: {error}"))
            return
        use(job)


def run_workers(
    plan: CollectPlan, space: SearchSpace, settings: CollectSettings, tell: Callable[[str], None]
) -> Iterator[CollectEvent]:
    """Runs a thread for each worker. When the caller leaves the iterator, workers end after their current measurement.

    Args:
        plan: Networks and hardware.
        space: Space of the networks.
        settings: How to measure.
        tell: Called with one line for each remark.

    Yields:
        Rows and failures in the order of their arrival.

    Raises:
        MhmodelsError: A worker could not go on, for example because the disk is full.
    """
    events: SimpleQueue[CollectEvent | Exception | None] = SimpleQueue()
    stop = threading.Event()
    workers = _by_worker([HardwareQueue(target, settings, events.put, tell, stop) for target in plan.targets], settings.threads)
    cores = _compiler_cores(workers, settings.threads)

    def run(queues: list[HardwareQueue]) -> None:
        """The thread of a worker; None in `events` tells that it ended."""
        try:
            Worker(queues, plan, space, settings, events.put, stop, cores).run()
        except Exception as error:  # raised again in the main thread
            events.put(error)
        finally:
            events.put(None)

    threads = [threading.Thread(target=run, args=(queues,), name=name) for name, queues in workers.items()]
    for thread in threads:
        thread.start()
    try:
        left = len(threads)
        while left:
            event = events.get()
            if event is None:
                left -= 1
            elif isinstance(event, Exception):
                raise _explained(event)
            else:
                yield event
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _explained(error: Exception) -> Exception:
    """An error of the system as one that users understand; other errors as they are."""
    if not isinstance(error, OSError) or isinstance(error, MhmodelsError):
        return error
    explained = MhmodelsError(f"{error.filename or 'a temporary file'}: {error.strerror}; what was measured is kept")
    explained.__cause__ = error
    return explained


def _by_worker(queues: Sequence[HardwareQueue], threads: int) -> dict[str, list[HardwareQueue]]:
    """Queues by the resource that they share. The timings of this machine take `threads` of its cores."""
    here = [queue for queue in queues if queue.target.resource == THIS_MACHINE]
    timed = [queue for queue in here if queue.target.timed]
    apart = all(queue.in_turns for queue in timed) and (len(timed) in (0, len(here)) or bool(_other_cores(threads)))
    workers: dict[str, list[HardwareQueue]] = {}
    for queue in queues:
        compiles = queue.target.resource == THIS_MACHINE and not queue.target.timed
        workers.setdefault(COMPILERS if compiles and apart else queue.target.resource, []).append(queue)
    return workers


def _compiler_cores(workers: Mapping[str, Sequence[HardwareQueue]], threads: int) -> set[int]:
    """Cores for compilers: all, or all but those for timing if compilers run beside timings."""
    return _other_cores(threads) if COMPILERS in workers and THIS_MACHINE in workers else set(usable_cores())


def _other_cores(threads: int) -> set[int]:
    return set(usable_cores()) - set(timing_cores(threads))


def _pin_to(cores: Collection[int]) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def _submit(
    pool: ThreadPoolExecutor, futures: list[Future[None]], queue: HardwareQueue, network: CollectNetwork, job: Job
) -> None:
    futures.append(pool.submit(queue.first, job, network))


def _chunks(items: list[CollectNetwork], size: int) -> Iterator[list[CollectNetwork]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
