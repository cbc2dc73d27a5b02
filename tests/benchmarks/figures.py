"""What benchmarks share: the short form, figures that are reported, and figures that are asserted.

Three kinds of statements, so that a benchmark neither fails on another machine nor rots unseen:

* `report`: figures of this machine, with the target that was set for the machine where they were first measured. Not asserted.
* `holds`: what is true on any machine at any speed: counts, sizes, equal results. Asserted always. A benchmark must have one.
* `at_most`: a ratio of two times measured in turns, with its interval (over processes for files, else over blocks), against a bar
  and a stated tolerance. Asserted in the whole form only.

`make bench` runs the whole form on a quiet machine. `make bench-short` runs every benchmark once, with small networks and without
any assertion about time; CI runs it, so that a broken benchmark is seen.
"""

from __future__ import annotations

import os
from typing import Any

from mhmodels.architecture import Architecture
from mhmodels.hardware.interleaved import TimeRatio
from mhmodels.registry import resolve

SHORT = os.environ.get("MHMODELS_SHORT_BENCHMARKS") == "1"
"""Whether benchmarks run in their short form."""


def choose(whole: Any, short: Any) -> Any:
    """A size for the form that runs."""
    return short if SHORT else whole


def network(name: str) -> Architecture:
    """A network of the zoo: as it is in the whole form, at a quarter of its width and 64 pixels in the short one."""
    return resolve(name).at(width_multiplier=0.25, input_size=64) if SHORT else resolve(name)


class Figures:
    """The statements of one benchmark."""

    def __init__(self, benchmark: Any) -> None:
        """Writes into the record of a benchmark."""
        self.benchmark, self.asserted = benchmark, 0

    def report(self, text: str, **figures: Any) -> None:
        """Prints a line and keeps figures in the benchmark's record."""
        print(f"\n{text}")
        self.benchmark.extra_info.update(figures)

    def holds(self, true: bool, statement: str) -> None:
        """Asserts a statement that does not depend on the clock."""
        self.asserted += 1
        assert true, f"expected: {statement}"

    def at_most(self, ratio: TimeRatio, bar: float, tolerance: float) -> None:
        """Reports a ratio; in the whole form asserts that its interval reaches down to the bar with its tolerance.

        Args:
            ratio: of two times that were measured in turns.
            bar: what it was on the machine that set it.
            tolerance: how much larger the ratio may be on another CPU, as a share of the bar.
        """
        self.report(
            f"ratio {ratio.ratio:.3f} [{ratio.low:.3f}, {ratio.high:.3f}], {ratio.a_ms:.4g} against {ratio.b_ms:.4g} ms, "
            f"bar {bar} with a tolerance of {tolerance:.0%}",
            ratio=ratio.ratio, low=ratio.low, high=ratio.high, a_ms=ratio.a_ms, b_ms=ratio.b_ms, blocks=ratio.blocks,
            processes=ratio.processes, bar=bar, tolerance=tolerance,
        )  # fmt: skip
        assert SHORT or ratio.at_most(bar * (1 + tolerance))
