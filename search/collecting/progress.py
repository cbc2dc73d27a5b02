"""The account of a collection: counts for each hardware, the rate, and what failed."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from mhmodels.errors import MhmodelsError
from mhmodels.hardware import UNSUPPORTED
from mhmodels.hardware.measurement import MeasurementKind


class Tally(msgspec.Struct, kw_only=True):
    """Counts of a collection on one hardware.

    Attributes:
        hardware: Id of the hardware.
        kind: Kind of its latencies.
        wanted: Networks to measure.
        stored: Networks with a row in the store before the collection.
        measured: Networks with a new row, unsupported ones included.
        unsupported: Networks with a new row that says that the hardware does not run them as a whole ("×").
        again: Rows that replaced a noisy, drifted or outlying row.
        noisy: Networks whose new row is still noisy.
        checks: Measurements of the reference network.
        failed: Networks without a result. The next collection tries them again.
        trouble: Why the hardware was given up, or "".
        failures: Reasons of the first five failed networks.
    """

    hardware: str
    kind: MeasurementKind
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


class CollectProgress(NamedTuple):
    """Progress of a collection on one hardware.

    Attributes:
        tally: Counts so far.
        seconds: Time since the start.

    Example:
        >>> from mhmodels.search import CollectProgress
        >>> from mhmodels.search.collecting.progress import Tally
        >>> CollectProgress(Tally(hardware="my-npu", kind="estimated", wanted=100, stored=20, measured=30), 60.0).text
        '2.0 s each, 2 min left'
    """

    tally: Tally
    seconds: float

    @property
    def text(self) -> str:
        """Seconds for each network and the remaining time, as text."""
        if not self.tally.measured:
            return "starting"
        each = self.seconds / self.tally.measured
        left = each * (self.tally.wanted - self.tally.done)
        return f"{each:.1f} s each, {left / 60:.0f} min left" if left >= 90 else f"{each:.1f} s each, {left:.0f} s left"


class CollectReport(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a collection.

    Attributes:
        tallies: Counts for each hardware, absent hardware last.
        seconds: Duration.

    Example:
        >>> from mhmodels.search import CollectReport
        >>> from mhmodels.search.collecting.progress import Tally
        >>> tally = Tally(hardware="my-phone", kind="measured", wanted=10, stored=0, trouble="it was unplugged")
        >>> CollectReport(tallies=[tally], seconds=1.0).problems
        ['my-phone: it was unplugged']
    """

    tallies: list[Tally]
    seconds: float

    @property
    def problems(self) -> list[str]:
        """One line for each hardware that was given up or on which networks failed."""
        lines = [f"{tally.hardware}: {tally.trouble}" for tally in self.tallies if tally.trouble]
        lines += [
            f"{tally.hardware}: {tally.failed} networks could not be measured, the first: {tally.failures[0]}"
            for tally in self.tallies
            if tally.failed and not tally.trouble
        ]
        return lines


def unsupported_text(tally: Tally) -> str:
    """Number of networks that a hardware does not run, as tables show it; "" for none."""
    return f"{tally.unsupported} {UNSUPPORTED}" if tally.unsupported else ""


def raise_problems(report: CollectReport) -> None:
    """Raises an error for a collection that is not complete.

    Raises:
        MhmodelsError: Hardware was given up or networks failed; the text has a line for each problem.
    """
    if report.problems:
        raise MhmodelsError("\n".join([*report.problems, "what was measured is stored; the same command goes on from there"]))
