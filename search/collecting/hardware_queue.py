"""The queue of one hardware: measures its networks, and repeats measurements that are noisy, drifted or outlying.

The module knows one hardware at a time. `workers.py` decides in which threads the queues of several hardware run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from mhmodels.errors import MeasurementError, MhmodelsError
from mhmodels.hardware import Job, Measurement, answer
from mhmodels.hardware.host.load import wait_for_quiet
from mhmodels.hardware.host.session import timing_cores
from mhmodels.hardware.host.turns import common_reference_speed, steady_ms, uncertainty
from mhmodels.hardware.measurement import steadier
from mhmodels.search.collecting.plan import CollectNetwork, CollectTarget
from mhmodels.search.collecting.settings import CollectSettings, notes, with_notes
from mhmodels.search.cost_model.fitting import FitOptions, fit
from mhmodels.search.cost_model.latencies.origin import LatencyOrigin
from mhmodels.search.cost_model.regression.robust import far_off
from mhmodels.search.space.search_space import SearchSpace

FAILURES = 3
"""Number of consecutive failures after which the hardware, not the network, is considered broken."""
OUTLIER, OUTLIER_SPREADS = 1.1, 3.4
"""A row is an outlier if it differs from the prediction by more than this factor and by this many robust standard deviations."""
ENOUGH = 60
"""Number of rows from which on a cost model is reliable enough to find outliers."""


class RowEvent(NamedTuple):
    """A new row for the store.

    Attributes:
        hardware: Id of the hardware.
        measurement: The row.
        again: Whether the row replaces an earlier one.
        reference: Whether the row is of the reference network, which shows drift.
    """

    hardware: str
    measurement: Measurement
    again: bool = False
    reference: bool = False


class FailureEvent(NamedTuple):
    """A network that could not be measured, or a hardware that is given up.

    Attributes:
        hardware: Id of the hardware.
        reason: What happened, for people.
        gone: Whether the hardware is given up.
    """

    hardware: str
    reason: str
    gone: bool = False


CollectEvent: TypeAlias = RowEvent | FailureEvent
Emit: TypeAlias = Callable[[CollectEvent], None]


class HardwareQueue:
    """Measures networks on one hardware. One worker owns the queue; compilers may call `first` from several threads.

    Attributes:
        target: The hardware with the networks that it lacks.
        settings: How to measure.
        gone: Whether the hardware is given up.
        repeats: Why each network is to be measured again, by network id: `noisy`, `drift` or `outlier`.
    """

    def __init__(
        self, target: CollectTarget, settings: CollectSettings, emit: Emit, tell: Callable[[str], None], stop: threading.Event
    ) -> None:
        """Takes over the target's stored rows.

        Args:
            target: The hardware with the networks that it lacks.
            settings: How to measure.
            emit: Receives every row and every failure.
            tell: Called with one line for each remark.
            stop: Ends the queue once it is set.
        """
        self.target, self.settings, self.gone = target, settings, False
        self.repeats: dict[str, str] = {name: "noisy" for name, row in target.rows.items() if target.timed and row.noisy}
        self._emit, self._tell, self._stop = emit, tell, stop
        self._rows = dict(target.rows)
        self._failures = self._count = 0
        self._reference_ms: float | None = None
        self._since: list[str] = []
        self._guard = threading.Lock()
        if self.checked:
            self._restore_reference()

    @property
    def id(self) -> str:
        """Id of the hardware."""
        return self.target.hardware.id

    @property
    def in_turns(self) -> bool:
        """Whether every network is timed in turns with the reference network."""
        return self.target.hardware.turns and bool(self.settings.reference)

    @property
    def checked(self) -> bool:
        """Whether the reference network is measured at intervals."""
        return self.target.timed and bool(self.settings.reference) and not self.in_turns

    @property
    def check_due(self) -> bool:
        """Whether the reference network should be measured now."""
        return self.checked and self._count % self.settings.interval == 0 and not self.gone

    def first(self, job: Job, network: CollectNetwork) -> None:
        """Measures a network for the first time."""
        row = self._measure(job)
        if row is None:
            return
        row = with_notes(row, **self._notes(network))
        if row.noisy and self.target.timed:
            self.repeats[network.id] = "noisy"
        with self._guard:
            self._count += 1
            self._since.append(network.id)
            self._rows[network.id] = row
        self._emit(RowEvent(self.id, row))

    def check(self, job: Job) -> None:
        """Measures the reference network. If its latency drifted, all networks since the last check are measured again."""
        row = self._measure(job)
        if row is not None and row.noisy:
            row = steadier(row, self._measure(job) or row)
        if row is None or row.median_ms is None:
            return
        change = self._change(self._reference_ms, row.median_ms)
        if change:
            self._tell(f"{self.id}: {row.model} takes {change:+.1%}: the {len(self._since)} networks since are measured again")
            self.repeats |= dict.fromkeys(self._since, "drift")
        self._reference_ms, self._since = row.median_ms, []
        self._count += 1
        self._emit(RowEvent(self.id, row, reference=True))

    def second(self, job: Job, network: CollectNetwork) -> None:
        """Measures a network of `repeats` again. Only a steadier row replaces a noisy one."""
        why, before = self.repeats.pop(network.id), self._rows[network.id]
        row = self._measure(job)
        if row is None or (row.noisy and not _better(row, before)):
            return
        row = with_notes(row, **self._notes(network), why=why, before_ms=before.median_ms)
        self._rows[network.id] = row
        self._count += 1
        self._emit(RowEvent(self.id, row, again=True))

    def find_outliers(self, space: SearchSpace, networks: Sequence[CollectNetwork]) -> None:
        """Adds rows to `repeats` that are far from a cost model of all rows. Each row is repeated for this reason once.

        Args:
            space: Space of the networks.
            networks: Members of the space; those without a latency are ignored.
        """
        known = [n for n in networks if n.id in self._rows and self._rows[n.id].median_ms is not None]
        if len(known) < ENOUGH or not self.target.timed:
            return
        rows = [self._rows[network.id] for network in known]
        speed = common_reference_speed(rows)
        ms = np.array([steady_ms(row, speed) for row in rows], np.float64)
        encodings = np.array([network.encoding for network in known])
        model = fit(space, encodings, ms, LatencyOrigin(self.id), FitOptions(curve=False)).model
        predicted = model.bind(space).predict(encodings)
        off = far_off(ms, predicted, float(np.median(ms)) / 4, OUTLIER, spreads=OUTLIER_SPREADS)
        for network, outlying in zip(known, off, strict=True):
            if outlying and notes(self._rows[network.id]).get("why") != "outlier":
                self.repeats[network.id] = "outlier"

    def _restore_reference(self) -> None:
        """Finds drift that an earlier process left behind: every row notes the reference's latency at its time."""
        timed = sorted(self._rows.items(), key=lambda item: item[1].time)
        for name, row in timed:
            ms = notes(row).get("reference_ms")
            if not isinstance(ms, float) or notes(row).get("reference") != self.settings.reference:
                continue
            if ms != self._reference_ms:
                if self._change(self._reference_ms, ms):
                    self.repeats |= dict.fromkeys(self._since, "drift")
                self._reference_ms, self._since = ms, []
            if notes(row).get("why") != "drift":
                self._since.append(name)

    def _change(self, before: float | None, now: float) -> float:
        """Relative change of the reference's latency; 0 within the tolerance."""
        change = now / before - 1 if before else 0.0
        return change if abs(change) > self.settings.tolerance else 0.0

    def _notes(self, network: CollectNetwork) -> dict[str, object]:
        reference_ms = self._reference_ms
        drift = {} if reference_ms is None else {"reference": self.settings.reference, "reference_ms": reference_ms}
        return ({"distribution": network.distribution} if network.distribution else {}) | drift

    def _measure(self, job: Job) -> Measurement | None:
        """A row, or None after a failure or a stop."""
        if self.gone or self._stop.is_set():
            return None
        target = self.target
        try:
            row = self._answer(job)
            waits = target.timed and target.runner.exclusive and not self.in_turns and self.settings.patience_s
            if waits and row.noisy:
                # Waiting for a quiet machine before every timing would cost more than repeating the few disturbed ones.
                wait_for_quiet(timing_cores(job.threads), self.settings.patience_s)
                row = steadier(row, self._answer(job))
        except (MhmodelsError, OSError) as error:
            self._failed(job, error)
            return None
        self._failures = 0
        return row

    def _answer(self, job: Job) -> Measurement:
        return answer(job, self.target.hardware, self.target.runner, tries=1, check_wanted=self._check_wanted).measurement

    def _check_wanted(self) -> None:
        """Signals do not reach a worker's thread, so a measurement that waits for another process asks here whether to go on."""
        if self._stop.is_set():
            raise MeasurementError("the collection is being stopped")

    def _failed(self, job: Job, error: Exception) -> None:
        if self._stop.is_set():
            return
        with self._guard:
            self._failures += 1
            why = self._why_not()
            if not self.gone and (why or self._failures >= FAILURES):
                self.gone = True
                reason = why or f"{self._failures} networks in a row could not be measured, the last: {error}"
                self._emit(FailureEvent(self.id, reason, gone=True))
            elif not self.gone:
                self._emit(FailureEvent(self.id, f"{job.model}: {error}"))

    def _why_not(self) -> str:
        """Why the hardware cannot be used any more, "" if it can."""
        try:
            return self.target.runner.unavailable(self.target.hardware)
        except (MhmodelsError, OSError) as error:
            return str(error)


def _better(row: Measurement, before: Measurement) -> bool:
    """Whether a noisy row should replace another noisy row.

    Rows that were timed in turns are compared by standard error, other rows by `steadier`.
    """
    if row.turns is None or before.turns is None:
        return steadier(before, row) is row
    return uncertainty(row.turns) < uncertainty(before.turns)
