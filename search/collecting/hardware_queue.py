"""One hardware being measured: noise, drift, outliers, and noticing that it is gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from mhmodels.errors import MeasurementError, MhmodelsError
from mhmodels.hardware import Job, Measurement, answer
from mhmodels.hardware.host.load import wait_for_quiet
from mhmodels.hardware.host.session import timing_cores
from mhmodels.hardware.host.turns import common_reference_speed, steady_ms, uncertainty
from mhmodels.hardware.measurement import steadier
from mhmodels.search.collecting.plan import Network, Settings, Target, notes, with_notes
from mhmodels.search.cost_model.fitting import FitOptions, Origin, fit
from mhmodels.search.space.search_space import Space

FAILURES = 3
"""So many networks in a row that come to nothing mean that it is the hardware's fault."""
OUTLIER, OUTLIER_SPREADS, ENOUGH = 0.1, 5.0, 60


class Row(NamedTuple):
    """A row to keep. `again`: it takes the place of an earlier one; `reference`: it is of the network that shows drift."""

    hardware: str
    measurement: Measurement
    again: bool = False
    reference: bool = False


class Trouble(NamedTuple):
    """A network that came to nothing lasting, or (`gone`) a hardware that is given up."""

    hardware: str
    reason: str
    gone: bool = False


Event: TypeAlias = Row | Trouble
Emit: TypeAlias = Callable[[Event], None]


class Desk:
    """Measures networks on one hardware; belongs to one lane.

    Attributes:
        gone: whether it is given up.
        queue: what is to be measured again, and why: `noisy`, `drift` or `outlier`.
    """

    def __init__(
        self, target: Target, settings: Settings, emit: Emit, tell: Callable[[str], None], stop: threading.Event
    ) -> None:
        self.target, self.settings, self.gone = target, settings, False
        self.queue: dict[str, str] = {name: "noisy" for name, row in target.rows.items() if target.timed and row.noisy}
        self._emit, self._tell, self._stop = emit, tell, stop
        self._rows = dict(target.rows)
        self._failures = self._count = 0
        self._reference_ms: float | None = None
        self._since: list[str] = []
        self._guard = threading.Lock()
        if self.checked:
            self._take_up()

    @property
    def id(self) -> str:
        """The hardware's id."""
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
        """Whether the reference network is to be measured now."""
        return self.checked and self._count % self.settings.interval == 0 and not self.gone

    def first(self, job: Job, network: Network) -> None:
        """Measures a network for the first time."""
        row = self._measure(job)
        if row is None:
            return
        row = with_notes(row, **self._notes(network))
        if row.noisy and self.target.timed:
            self.queue[network.id] = "noisy"
        with self._guard:
            self._count += 1
            self._since.append(network.id)
            self._rows[network.id] = row
        self._emit(Row(self.id, row))

    def check(self, job: Job) -> None:
        """Measures the reference network; if it drifted, everything since its last measurement is to be measured again."""
        row = self._measure(job)
        if row is not None and row.noisy:
            row = steadier(row, self._measure(job) or row)
        if row is None or row.median_ms is None:
            return
        change = self._change(self._reference_ms, row.median_ms)
        if change:
            self._tell(f"{self.id}: {row.model} takes {change:+.1%}: the {len(self._since)} networks since are measured again")
            self.queue |= dict.fromkeys(self._since, "drift")
        self._reference_ms, self._since = row.median_ms, []
        self._count += 1
        self._emit(Row(self.id, row, reference=True))

    def second(self, job: Job, network: Network) -> None:
        """Measures a network of the queue again; a noisy row is replaced by a steadier one only."""
        why, before = self.queue.pop(network.id), self._rows[network.id]
        row = self._measure(job)
        if row is None or (row.noisy and not _better(row, before)):
            return
        row = with_notes(row, **self._notes(network), why=why, before_ms=before.median_ms)
        self._rows[network.id] = row
        self._count += 1
        self._emit(Row(self.id, row, again=True))

    def find_outliers(self, space: Space, networks: Sequence[Network]) -> None:
        """Queues rows far from a cost model of all rows, unless they were measured again for that already."""
        known = [n for n in networks if n.id in self._rows and self._rows[n.id].median_ms is not None]
        if len(known) < ENOUGH or not self.target.timed:
            return
        rows = [self._rows[network.id] for network in known]
        pace = common_reference_speed(rows)
        ms = np.array([steady_ms(row, pace) for row in rows], np.float64)
        encodings = np.array([network.encoding for network in known])
        model = fit(space, encodings, ms, Origin(self.id), FitOptions(curve=False)).model
        # Log ratios: a tenth is as far off as the tenfold.
        errors = np.abs(np.log(model.bind(space).predict(encodings) / ms))
        limit = max(np.log1p(OUTLIER), OUTLIER_SPREADS * float(np.median(errors)))
        for network, error in zip(known, errors, strict=True):
            if error > limit and notes(self._rows[network.id]).get("why") != "outlier":
                self.queue[network.id] = "outlier"

    def _take_up(self) -> None:
        """Goes on where an earlier process ended: rows say what the reference took before them, so drift is seen again."""
        timed = sorted(self._rows.items(), key=lambda item: item[1].time)
        for name, row in timed:
            ms = notes(row).get("reference_ms")
            if not isinstance(ms, float) or notes(row).get("reference") != self.settings.reference:
                continue
            if ms != self._reference_ms:
                if self._change(self._reference_ms, ms):
                    self.queue |= dict.fromkeys(self._since, "drift")
                self._reference_ms, self._since = ms, []
            if notes(row).get("why") != "drift":
                self._since.append(name)

    def _change(self, before: float | None, now: float) -> float:
        """By how much the reference drifted; 0 if that is within the tolerance."""
        change = now / before - 1 if before else 0.0
        return change if abs(change) > self.settings.tolerance else 0.0

    def _notes(self, network: Network) -> dict[str, Any]:
        reference_ms = self._reference_ms
        drift = {} if reference_ms is None else {"reference": self.settings.reference, "reference_ms": reference_ms}
        return ({"distribution": network.distribution} if network.distribution else {}) | drift

    def _measure(self, job: Job) -> Measurement | None:
        if self.gone or self._stop.is_set():
            return None
        target = self.target
        try:
            row = self._answer(job)
            waits = target.timed and target.runner.exclusive and not self.in_turns and self.settings.patience_s
            if waits and row.noisy:
                # Looking before every timing would cost more than timing the few again that were disturbed.
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
        """No signal reaches a lane's thread: one that waits for another process would hold up the end of the command."""
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
                reason = why or f"{self._failures} networks in a row came to nothing, the last: {error}"
                self._emit(Trouble(self.id, reason, gone=True))
            elif not self.gone:
                self._emit(Trouble(self.id, f"{job.model}: {error}"))

    def _why_not(self) -> str:
        try:
            return self.target.runner.unavailable(self.target.hardware)
        except (MhmodelsError, OSError) as error:
            return str(error)


def _better(row: Measurement, before: Measurement) -> bool:
    """Whether a noisy row takes the place of a noisy one: in turns the one with the smaller standard error, else the faster."""
    if row.turns is None or before.turns is None:
        return steadier(before, row) is row
    return uncertainty(row.turns) < uncertainty(before.turns)
