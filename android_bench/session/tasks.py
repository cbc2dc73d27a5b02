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
from mhmodels.android_bench.device.condition import PhoneLimits
from mhmodels.android_bench.output.profile import OperatorTime
from mhmodels.android_bench.session.blocks import PhoneBlock
from mhmodels.android_bench.session.extras import OutputComparison
from mhmodels.android_bench.session.series import Series
from mhmodels.android_bench.verdict.verdict import FROM_OUTSIDE, RunStatus
from mhmodels.hardware import Job


class PhonePlan(msgspec.Struct, frozen=True, kw_only=True):
    """How to measure.

    Attributes:
        blocks: of each network on each delegate.
        mode: `burst` with cool-down before each block, or `sustained`, a minute each without.
        limits: of battery and heat.
        timeout_s: for one run of the tool, in all.
        require_full: a network that is only in part on its delegate has no latency.
        profile: one more run for the times of the operators.
        compare: one more run to compare the outputs with the CPU's.
        prepare: darken the screen and keep the phone awake meanwhile.
        fixed_clocks: Android's fixed performance mode meanwhile.
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
    """A network on a delegate; each object is a task of its own."""

    job: Job
    choice: DelegateChoice


class Kit(NamedTuple):
    """What a delegate needs from this machine: its tool, and its libraries by their names."""

    binary: Binary
    libraries: Mapping[str, Path]


class PhoneOutcome(NamedTuple):
    """How a task ended.

    Attributes:
        series: only where there is a latency.
        blocks: every run, failed ones too.
        operators, comparison: if they were asked for.
        remarks: for people.
        disturbed: the phone could not do its best during any block: heat, power saving.
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
        """Whether it says something of network and hardware; a tool that was ended from outside does not."""
        ended = self.status is RunStatus.CRASH and bool(self.blocks) and self.blocks[-1].run.rc in FROM_OUTSIDE
        return self.status.lasting and not ended

    @property
    def throttled(self) -> bool:
        """Whether heat held the phone back during any block."""
        return any(block.throttled for block in self.blocks)
