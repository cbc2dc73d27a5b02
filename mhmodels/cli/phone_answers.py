"""Answers of phones to a command's requests: from the store, or measured, all phones at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

import click
import msgspec

from mhmodels.cli.common import note
from mhmodels.cli.messages import with_options
from mhmodels.errors import MhmodelsError
from mhmodels.report.failures import MeasurementFailure

if TYPE_CHECKING:
    from mhmodels.android_bench.runner import PhoneRunner
    from mhmodels.hardware import Environment, Hardware, Job, MeasuredRow, Measurement
    from mhmodels.store import Store


class PhoneRequest(NamedTuple):
    """A file to measure on a phone's delegate."""

    job: Job
    hardware: Hardware


class PhoneAnswers:
    """Measures many requests: phones at the same time, the requests of one phone in turns.

    Args:
        runner: Runner of the phones.
        store: Store that is looked into first, and that gets each row as it arrives.
        fresh: Whether to measure what the store has already.
        remember: Whether to take the latest rows of a phone that cannot be asked for its condition, because it is not connected
            or no tool is given; for reports.
        tell: Called with one line for each step.
    """

    def __init__(
        self, runner: PhoneRunner, store: Store, *, fresh: bool, remember: bool = False, tell: Callable[[str], None] = note
    ) -> None:
        self._runner, self._store, self._fresh, self._remember = runner, store, fresh, remember and not fresh
        self._tell = runner.tell = tell
        self._told: set[str] = set()
        # The command is asked for here, because the threads of the phones have no click context.
        context = click.get_current_context(silent=True)
        self._command = context.command if context is not None else None

    def answers(self, requests: Sequence[PhoneRequest]) -> Iterator[tuple[PhoneRequest, MeasuredRow | MeasurementFailure]]:
        """Answers requests, those from the store first. A noisy row of the store is measured again, once.

        Yields:
            Each request with its answer or failure.

        Raises:
            StoreError: A row cannot be kept.
        """
        from mhmodels.hardware import MeasuredRow

        waiting: dict[str, list[PhoneRequest]] = {}
        known: dict[str, str] = {}
        for request in {
            (job.model_hash, job.model, hardware.id): PhoneRequest(job, hardware) for job, hardware in requests
        }.values():
            found = self._known(request, known)
            if found is None:
                waiting.setdefault(str(request.hardware.configuration["serial"]), []).append(request)
            else:
                yield request, found
        if waiting:
            self._store.check_writable()
        for request, result in self._side_by_side(waiting):
            if isinstance(result, MeasurementFailure):
                yield request, result
            else:
                self._store.add(result)
                yield request, MeasuredRow(result, False)

    def _text(self, error: Exception | str) -> str:
        """The text of an error, with options in the place of arguments."""
        text = str(error) or repr(error)
        return text if self._command is None else with_options(text, self._command)

    def _known(self, request: PhoneRequest, problems: dict[str, str]) -> MeasuredRow | MeasurementFailure | None:
        """The store's answer, or the failure that the phone cannot be reached; None if the request must be measured."""
        from mhmodels.hardware import MeasuredRow

        job, hardware = request
        serial = str(hardware.configuration["serial"])
        if serial not in problems:
            problems[serial] = self._runner.unavailable(hardware)
        if problems[serial]:
            status = "UNAUTHORIZED" if "unauthorized" in problems[serial] else "DEVICE_LOST"
            return self._remembered(request, problems[serial]) or _failure(request, status, problems[serial])
        try:
            environment: Environment = self._runner.environment(hardware)
        except MhmodelsError as error:
            text = self._text(error)
            if _status(error, ""):
                # Finding out that a phone does not answer takes a minute, so it is done once.
                problems[serial] = text
            return self._remembered(request, text) or _failure(request, _status(error, "NOT_EXECUTABLE"), text)
        found = None if self._fresh else self._store.find(job, hardware.id, environment)
        if found is None or self._lacks(found):
            return None
        if found.noisy and not self._store.read_only:
            self._tell(f"{job.model} on {hardware.id}: the stored row is noisy; measured again")
            return None
        return MeasuredRow(msgspec.structs.replace(found, model=job.model), True)

    def _lacks(self, row: Measurement) -> bool:
        """Whether the row was measured without something that is asked for besides the latency."""
        plan = self._runner.options.plan
        asked = [name for name, wanted in (("operators", plan.profile), ("outputs", plan.compare)) if wanted]
        return row.supported and not all(name in row.device_state for name in asked)

    def _remembered(self, request: PhoneRequest, problem: str) -> MeasuredRow | None:
        """The latest row of the same file, measured as asked for now, with whatever phone and tool there were then."""
        from mhmodels.hardware import MeasuredRow

        job, hardware = request
        if not self._remember or job.architecture_id is None:
            return None
        row = self._store.latest_of_file(job, hardware.id, self._runner.known_settings(hardware))
        if row is not None and problem not in self._told:
            self._told.add(problem)
            self._tell(f"{hardware.id.rpartition('/')[0]}: from the store, {row.time[:10]}; not asked again: {problem}")
        return None if row is None else MeasuredRow(msgspec.structs.replace(row, model=job.model), True)

    def _side_by_side(
        self, waiting: Mapping[str, list[PhoneRequest]]
    ) -> Iterator[tuple[PhoneRequest, Measurement | MeasurementFailure]]:
        """Measures with one thread for each phone; the store belongs to the calling thread."""
        queue: SimpleQueue[tuple[PhoneRequest, Measurement | MeasurementFailure] | str] = SimpleQueue()
        threads = [threading.Thread(target=self._each, args=(serials, queue, waiting)) for serials in self._by_phone(waiting)]
        for thread in threads:
            thread.start()
        try:
            left = len(waiting)
            while left:
                result = queue.get()
                if isinstance(result, str):
                    left -= 1
                else:
                    yield result
        except BaseException:
            # The runs end and the settings are put back before this process ends.
            self._runner.cancel.set()
            raise
        finally:
            for thread in threads:
                thread.join()

    def _by_phone(self, serials: Iterable[str]) -> list[list[str]]:
        """Serial numbers by phone: one that is connected by cable and network must not be measured beside itself."""
        phones: dict[str, list[str]] = {}
        for serial in serials:
            phones.setdefault(self._runner.facts(serial).hardware_serial, []).append(serial)
        for same in phones.values():
            if len(same) > 1:
                self._tell(f"{' and '.join(same)} are the same phone: one is measured after the other")
        return list(phones.values())

    def _each(
        self,
        serials: Sequence[str],
        queue: SimpleQueue[tuple[PhoneRequest, Measurement | MeasurementFailure] | str],
        waiting: Mapping[str, Sequence[PhoneRequest]],
    ) -> None:
        for serial in serials:
            self._one(serial, queue, waiting[serial])

    def _one(
        self,
        serial: str,
        queue: SimpleQueue[tuple[PhoneRequest, Measurement | MeasurementFailure] | str],
        requests: Sequence[PhoneRequest],
    ) -> None:
        from mhmodels.android_bench.session.rows import PhoneFailure

        left = list(requests)
        try:
            for job, hardware, result in self._runner.batch(serial, left.copy()):
                request = PhoneRequest(job, hardware)
                left.remove(request)
                if isinstance(result, PhoneFailure):
                    queue.put((request, _failure(request, result.status, self._text(result.reason))))
                else:
                    queue.put((request, result))
        except Exception as error:  # whatever it is, the other phones go on, and it is reported
            for request in left:
                queue.put((request, _failure(request, _status(error, "UNKNOWN"), self._text(error))))
        finally:
            queue.put(serial)


def _failure(request: PhoneRequest, status: str, reason: str) -> MeasurementFailure:
    return MeasurementFailure(model=request.job.model, hardware=request.hardware.id, status=status, reason=reason)


def _status(error: Exception, otherwise: str) -> str:
    from mhmodels.android_bench.errors import DeviceLostError, DeviceUnauthorizedError

    if isinstance(error, DeviceUnauthorizedError):
        return "UNAUTHORIZED"
    return "DEVICE_LOST" if isinstance(error, DeviceLostError) else otherwise
