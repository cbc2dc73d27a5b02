"""Rows into the store as they come, and the account of what was done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from mhmodels.errors import MhmodelsError
from mhmodels.hardware import UNSUPPORTED
from mhmodels.hardware.measurement import Kind
from mhmodels.search.collecting.hardware_queue import Event, Row
from mhmodels.search.collecting.plan import Plan, Settings
from mhmodels.search.collecting.workers import run_lanes
from mhmodels.search.space.search_space import Space
from mhmodels.store import Store


class Tally(msgspec.Struct, kw_only=True):
    """What was done on one hardware.

    Attributes:
        kind: of its latencies.
        wanted: networks asked for.
        stored: of them in the store before.
        measured: new rows, those of unsupported networks included.
        unsupported: new rows of networks that do not run there as a whole ("×").
        again: rows replaced because the first was noisy, drifted or an outlier.
        noisy: networks whose new row is noisy still.
        checks: measurements of the reference network.
        failed: networks that came to nothing; they are tried again next time.
        trouble: why it was given up, or "".
        failures: the first reasons for single networks.
    """

    hardware: str
    kind: Kind
    wanted: int
    stored: int
    measured: int = 0
    unsupported: int = 0
    again: int = 0
    noisy: int = 0
    checks: int = 0
    failed: int = 0
    trouble: str = ""
    failures: list[str] = []

    @property
    def done(self) -> int:
        """Networks that have a row."""
        return self.stored + self.measured


class Progress(NamedTuple):
    """How far one hardware is."""

    tally: Tally
    seconds: float

    @property
    def text(self) -> str:
        """Rate and time left, for people."""
        if not self.tally.measured:
            return "starting"
        each = self.seconds / self.tally.measured
        left = each * (self.tally.wanted - self.tally.done)
        return f"{each:.1f} s each, {left / 60:.0f} min left" if left >= 90 else f"{each:.1f} s each, {left:.0f} s left"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run."""

    tallies: list[Tally]
    seconds: float

    @property
    def problems(self) -> list[str]:
        """Hardware that was given up, and networks that came to nothing."""
        lines = [f"{tally.hardware}: {tally.trouble}" for tally in self.tallies if tally.trouble]
        lines += [
            f"{tally.hardware}: {tally.failed} networks came to nothing, the first: {tally.failures[0]}"
            for tally in self.tallies
            if tally.failed and not tally.trouble
        ]
        return lines


def collect(
    plan: Plan,
    space: Space,
    store: Store,
    settings: Settings,
    *,
    tell: Callable[[str], None],
    advance: Callable[[Progress], None],
    events: Iterable[Event] | None = None,
) -> Report:
    """Measures what a plan still lacks; every row is in the store before the next is awaited.

    Args:
        plan: from `make_plan`.
        space: of its networks.
        store: for the rows.
        settings: how to measure.
        tell: is told what people should know.
        advance: is told of every row.
        events: where rows come from; None for this machine and its phones.

    Raises:
        StoreError: a row cannot be kept.
        MhmodelsError: nothing can be measured any more.
    """
    start = time.monotonic()
    tallies = {
        target.hardware.id: Tally(
            hardware=target.hardware.id,
            kind=target.hardware.kind,
            wanted=len(plan.everything),
            stored=len(target.rows),
            failures=[],
        )
        for target in plan.targets
    }
    noisy: dict[tuple[str, str | None], bool] = {}
    for event in run_lanes(plan, space, settings, tell) if events is None else events:
        tally = tallies[event.hardware]
        if isinstance(event, Row):
            store.add(event.measurement)
            _count(tally, event)
            if not event.reference:
                noisy[event.hardware, event.measurement.architecture_id] = event.measurement.noisy
                advance(Progress(tally, time.monotonic() - start))
        elif event.gone:
            tally.trouble = event.reason
            tell(f"{event.hardware} is given up: {event.reason}")
        else:
            tally.failed += 1
            tally.failures = [*tally.failures, event.reason][:5]
    for (hardware, _), still in noisy.items():
        tallies[hardware].noisy += still
    absent = [
        Tally(hardware=name, kind="measured", wanted=len(plan.everything), stored=0, trouble=reason, failures=[])
        for name, reason in plan.absent.items()
    ]
    return Report(tallies=[*tallies.values(), *absent], seconds=time.monotonic() - start)


def _count(tally: Tally, event: Row) -> None:
    if event.reference:
        tally.checks += 1
    elif event.again:
        tally.again += 1
    else:
        tally.measured += 1
        tally.unsupported += not event.measurement.supported


def unsupported_text(tally: Tally) -> str:
    """How many do not run, as tables show it."""
    return f"{tally.unsupported} {UNSUPPORTED}" if tally.unsupported else ""


def raise_problems(report: Report) -> None:
    """Ends a command whose hardware did not all go through.

    Raises:
        MhmodelsError: with a line for each.
    """
    problems: Sequence[str] = report.problems
    if problems:
        raise MhmodelsError("\n".join([*problems, "what was measured is stored; the same command goes on from there"]))
