"""One run of the tool on a phone, from the condition before it to the condition and the files after it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from mhmodels.android_bench.delegates.command import (
    CLOCKS,
    PLACEMENT,
    RESULT,
    TAKEN_RC,
    BlockDuration,
    DevicePaths,
    arguments,
    script,
)
from mhmodels.android_bench.delegates.delegate import DelegateChoice
from mhmodels.android_bench.device.condition import PhoneCondition, condition_script, lowest_clocks, parse_condition
from mhmodels.android_bench.device.description import restarted
from mhmodels.android_bench.device.limits import throttled
from mhmodels.android_bench.errors import AdbError
from mhmodels.android_bench.output.protos import read_placement, read_result
from mhmodels.android_bench.session.workspace import SWEEP, TAKEN, Workspace
from mhmodels.android_bench.transport.phone import Phone, ToolRun, split_sections
from mhmodels.android_bench.verdict.verdict import RunStatus, Verdict, decide
from mhmodels.errors import FileFormatError

T = TypeVar("T")
CLOCK_BYTES = 1 << 15
FRESH_S = 1.0
# As hexadecimal text they must fit into the kept output of a script; a network of 1,000 nodes takes 100 KiB.
FILE_BYTES = {RESULT: 1 << 14, PLACEMENT: 1 << 18}
Cool = Callable[[], tuple[PhoneCondition, float, str]]


class PhoneBlock(NamedTuple):
    """A finished run.

    Attributes:
        script: Script that ran on the device.
        before, after: Condition of the phone; `after` is None where the phone was gone.
        waited_s: Seconds waited for the phone to cool down.
        hot: Why it was still too warm, or "".
        lowest_khz: Lowest limit in kHz of each core's clock during the run; empty where it is unknown.
        start_khz: Limits in kHz when the session began.
    """

    verdict: Verdict
    run: ToolRun
    script: str
    before: PhoneCondition
    after: PhoneCondition | None
    waited_s: float
    hot: str
    lowest_khz: tuple[int, ...] = ()
    start_khz: tuple[int, ...] = ()

    @property
    def throttled(self) -> bool:
        """Whether heat held the phone back before, during or after the run."""
        return self.after is not None and throttled(self.before, self.after, self.lowest_khz, self.start_khz)

    @property
    def saving(self) -> bool:
        """Whether the phone began to save power during the run."""
        return self.after is not None and bool(self.after.power_save)


class BlockRunner:
    """Runs blocks on one phone.

    Args:
        phone, workspace: The device, and the working folder on it.
        mask: Bit mask of the cores to use; 0 for all.
        rest: Bit mask of the other cores; 0 for none.
        timing: Duration of a block.
        timeout_s: Longest duration of a run in seconds.
        cool: Waits until the phone may run.

    Attributes:
        start_khz: Limits of the clocks in kHz when the session began; empty until they are known.
    """

    def __init__(
        self, phone: Phone, workspace: Workspace, *, mask: int, rest: int, timing: BlockDuration, timeout_s: float, cool: Cool
    ) -> None:
        self.phone, self.workspace = phone, workspace
        self.mask, self.rest, self.timing, self.timeout_s, self._cool = mask, rest, timing, timeout_s, cool
        self.start_khz: tuple[int, ...] = ()
        self._last: tuple[PhoneCondition | None, float] = (None, 0.0)

    def block(self, choice: DelegateChoice, prepared: DevicePaths, *, runs: int, threads: int, placement: bool) -> PhoneBlock:
        """Makes a timed run, and repeats it once if the phone went away during it and came back.

        Raises:
            DeviceLostError, DeviceUnauthorizedError, AdbError: The phone stays away.
            CancelledError: The measurement was asked to stop.
        """
        block = self._once(choice, prepared, runs, threads, placement)
        if block.verdict.status is RunStatus.DEVICE_LOST:
            # A loose cable happens once; a second loss is the phone.
            self.phone.wait_back()
            self.workspace.sweep()
            block = self._once(choice, prepared, runs, threads, placement)
        return block

    def plain(self, choice: DelegateChoice, prepared: DevicePaths, run: str, flags: Mapping[str, str]) -> ToolRun:
        """Makes a run that is not timed, with given flags; whatever it leaves running is ended."""
        done = self.phone.tool(self._script(choice, prepared, run, flags), timeout_s=self.timeout_s)
        self.workspace.check_taken(done.rc == TAKEN_RC)
        self.workspace.sweep()
        return done

    def _once(self, choice: DelegateChoice, prepared: DevicePaths, runs: int, threads: int, placement: bool) -> PhoneBlock:
        before, waited, hot = self._cool()
        folder = self.workspace.new_run()
        flags = arguments(choice, prepared, folder, runs=runs, threads=threads, timing=self.timing, placement=placement)
        text = self._script(choice, prepared, folder, flags)
        try:
            run = self.phone.tool(text, timeout_s=self.timeout_s)
        except BaseException:
            self._sweep_if_possible()
            raise
        if run.lost:
            return PhoneBlock(decide(run, choice), run, text, before, None, waited, hot)
        self.workspace.check_taken(run.rc == TAKEN_RC)
        after, files = self._after(folder)
        verdict = decide(run, choice, result=_read(files[RESULT], read_result), placement=_read(files[PLACEMENT], read_placement))
        if restarted(before.boot_id, after.boot_id):
            verdict = verdict._replace(status=RunStatus.DEVICE_LOST, reason="the device restarted during the run", latency=None)
        return PhoneBlock(verdict, run, text, before, after, waited, hot, lowest_clocks(files[CLOCKS], before), self.start_khz)

    def _script(self, choice: DelegateChoice, prepared: DevicePaths, run: str, flags: Mapping[str, str]) -> str:
        environment = choice.environment(prepared.folder)
        cores = {"mask": self.mask, "rest": self.rest}
        return script(prepared, run, flags, environment, owned=self.workspace.owned, timeout_s=self.timeout_s, **cores)

    def _after(self, folder: str) -> tuple[PhoneCondition, dict[str, str]]:
        """Reads condition and result files after a run, and ends what the run left behind, in one script."""
        # One script, because a connection that breaks between two scripts would cost a finished run.
        reads = {name: f"od -An -v -tx1 -N {most} {_apart(folder)}/{name} 2>/dev/null" for name, most in FILE_BYTES.items()}
        reads[CLOCKS] = f"head -c {CLOCK_BYTES} {_apart(folder)}/{CLOCKS} 2>/dev/null"
        text, secret = condition_script(sweep=self.workspace.mine(SWEEP), **reads)
        found = split_sections(self.phone.script(text).stdout, secret)
        self.workspace.check_taken(found.get("sweep", "").strip() == TAKEN)
        condition = parse_condition(found)
        self._last = condition, time.monotonic()
        return condition, {name: found.get(name, "") for name in reads}

    def take_last(self) -> PhoneCondition | None:
        """The condition after the last run, once and only while it is fresh."""
        (condition, when), self._last = self._last, (None, 0.0)
        return condition if time.monotonic() - when < FRESH_S else None

    def _sweep_if_possible(self) -> None:
        """Cleans up after an interruption. The next session cleans up too, so a phone that is gone is ignored."""
        with contextlib.suppress(AdbError):
            self.phone.adb.uncancelled(self.workspace.sweep)


def _apart(path: str) -> str:
    """Writes a path as two words for the shell, so that the command line of a cleaning script does not look like one of ours."""
    return path.replace("/mhmodels/", "/mhmodel''s/")


def _read(hexadecimal: str, decode: Callable[[bytes], T]) -> T | None:
    """Decodes a result file from `od`; a missing, incomplete or damaged one gives None."""
    try:
        data = bytes.fromhex("".join(hexadecimal.split()))
        return decode(data) if data else None
    except (ValueError, FileFormatError):
        return None
