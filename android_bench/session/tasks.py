"""What is measured on a phone and how (plan, tasks, tools), and how each task ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec

from mhmodels.android_bench.delegates.binary import Binary
from mhmodels.android_bench.delegates.command import Mode
from mhmodels.android_bench.delegates.delegate import DelegateChoice
from mhmodels.android_bench.device.limits import PhoneLimits
from mhmodels.android_bench.output.profile import OperatorTime
from mhmodels.android_bench.session.blocks import PhoneBlock
from mhmodels.android_bench.session.extras import OutputComparison
from mhmodels.android_bench.session.series import Series
from mhmodels.android_bench.verdict.verdict import FROM_OUTSIDE, RunStatus
from mhmodels.hardware import Job


class PhonePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the measurements on a phone.

    Attributes:
        blocks: Number of blocks of each network on each delegate.
        mode: `burst` runs short blocks, each after a cool-down; `sustained` runs blocks of a minute each without pauses.
        limits: Battery level and temperature at which the phone may be measured.
        timeout_s: Longest duration of one run of `benchmark_model` in seconds.
        require_full: Whether to store no latency for a network that runs only partly on its delegate.
        profile: Whether to measure the time of each operator in one additional run.
        compare: Whether to compare the outputs with those of the CPU in one additional run.
        prepare: Whether to darken the screen and keep the phone awake during the measurement.
        fixed_clocks: Whether to measure in Android's fixed performance mode.

    Example:
        >>> from mhmodels.android_bench import PhonePlan
        >>> PhonePlan(mode="sustained", blocks=3).timeout_s
        300.0
    """

    blocks: int = 5
    mode: Mode = "burst"
    limits: PhoneLimits = PhoneLimits()
    timeout_s: float = 300.0
    require_full: bool = False
    profile: bool = False
    compare: bool = False
    prepare: bool = True
    fixed_clocks: bool = False


@dataclass(frozen=True, eq=False)
class PhoneTask:
    """A network on a delegate. Each object is a task of its own."""

    job: Job
    choice: DelegateChoice


class DelegateFiles(NamedTuple):
    """Files on this machine that a delegate needs: its tool, and its libraries by name."""

    binary: Binary
    libraries: Mapping[str, Path]


class PhoneOutcome(NamedTuple):
    """How a task ended.

    Attributes:
        series: Summary of the blocks, only where there is a latency.
        blocks: All runs, including failed ones.
        operators, comparison: Results of the further runs, if they were asked for.
        remarks: Remarks for people.
        disturbed: Whether heat or power saving held the phone back during any block.
    """

    task: PhoneTask
    status: RunStatus
    reason: str
    series: Series | None
    blocks: tuple[PhoneBlock, ...] = ()
    operators: tuple[OperatorTime, ...] = ()
    comparison: OutputComparison | None = None
    remarks: tuple[str, ...] = ()
    disturbed: bool = False

    @property
    def lasting(self) -> bool:
        """Whether the outcome is a property of network and hardware. A tool that was ended from outside is not."""
        ended = self.status is RunStatus.CRASH and bool(self.blocks) and self.blocks[-1].run.rc in FROM_OUTSIDE
        return self.status.lasting and not ended

    @property
    def throttled(self) -> bool:
        """Whether heat held the phone back during any block."""
        return any(block.throttled for block in self.blocks)
