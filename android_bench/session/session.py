"""A session on one phone: one lock, blocks of all delegates in turns, cool-down between them, everything put back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType

import msgspec

from mhmodels.android_bench.delegates.catalogue import Delegates
from mhmodels.android_bench.delegates.command import TIMINGS, DevicePaths
from mhmodels.android_bench.delegates.delegate import DelegateChoice
from mhmodels.android_bench.device import limits as phone_limits
from mhmodels.android_bench.device.condition import PhoneCondition, read_condition
from mhmodels.android_bench.device.description import PhoneFacts, core_mask, rest_mask, restarted
from mhmodels.android_bench.device.settings import FIXED_CLOCKS, SETTINGS
from mhmodels.android_bench.errors import AdbError, CancelledError, DeviceLostError, DeviceUnauthorizedError
from mhmodels.android_bench.output.profile import OperatorTime
from mhmodels.android_bench.session.blocks import BlockRunner, PhoneBlock
from mhmodels.android_bench.session.extras import OutputComparison, compare_outputs, profile_operators
from mhmodels.android_bench.session.series import summarise_blocks
from mhmodels.android_bench.session.tasks import DelegateFiles, PhoneOutcome, PhonePlan, PhoneTask
from mhmodels.android_bench.session.workspace import Workspace, device_lock
from mhmodels.android_bench.transport.lines import without_controls
from mhmodels.android_bench.transport.phone import Phone
from mhmodels.android_bench.verdict.verdict import RunStatus
from mhmodels.errors import MeasurementError, MhmodelsError


class Session:
    """Exclusive use of one phone; a context manager.

    Args:
        phone, facts: The device.
        plan: How to measure.
        delegate_files: Finds the files that a delegate needs, or raises MeasurementError.
        cancel: Stops between and during runs when set.
        tell: Called with one line for each step.
    """

    def __init__(
        self,
        phone: Phone,
        facts: PhoneFacts,
        plan: PhonePlan,
        delegate_files: Callable[[DelegateChoice], DelegateFiles],
        *,
        cancel: threading.Event | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.phone, self.facts, self.plan, self.delegate_files = phone, facts, plan, delegate_files
        self.workspace = Workspace(phone)
        self.warnings: list[str] = []
        self._cancel, self._tell = cancel, tell
        self._start_c: float | None = None
        self._boot_id = ""
        self._stack = ExitStack()
        self._runner = BlockRunner(
            phone,
            self.workspace,
            mask=core_mask(facts),
            rest=rest_mask(facts),
            timing=TIMINGS[plan.mode],
            timeout_s=plan.timeout_s,
            cool=self._cool,
        )

    def __enter__(self) -> Session:
        self._stack.enter_context(device_lock(self.facts.hardware_serial, self._cancelled))
        try:
            for line in self.workspace.open():
                self._tell(f"{self.facts.title}: {line}")
            # Callbacks run in reverse order: settings are put back first, then what still runs is ended.
            self._stack.callback(self._tidy)
            self._preflight()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def measure(self, tasks: Iterable[PhoneTask]) -> Iterator[PhoneOutcome]:
        """Measures networks on delegates. All delegates of a network take turns, block by block.

        Yields:
            One outcome for each task, as soon as it is settled. A lost phone settles the remaining tasks at once.

        Raises:
            CancelledError: The measurement was asked to stop.
        """
        waiting = list(tasks)
        while waiting:
            group = [task for task in waiting if task.job.model == waiting[0].job.model]
            try:
                for outcome in self._group(group):
                    waiting.remove(outcome.task)
                    yield outcome
            except (DeviceLostError, DeviceUnauthorizedError) as error:
                unauthorized = isinstance(error, DeviceUnauthorizedError)
                status = RunStatus.UNAUTHORIZED if unauthorized else RunStatus.DEVICE_LOST
                yield from (PhoneOutcome(task, status, str(error), None) for task in waiting)
                return

    def _group(self, tasks: Sequence[PhoneTask]) -> Iterator[PhoneOutcome]:
        ready: dict[PhoneTask, DevicePaths] = {}
        for task in tasks:
            prepared = self._prepare(task)
            if isinstance(prepared, PhoneOutcome):
                yield prepared
            else:
                ready[task] = prepared
        blocks: dict[PhoneTask, list[PhoneBlock]] = {task: [] for task in ready}
        for turn in range(self.plan.blocks):
            # The order alternates, so that no delegate always follows the one that heats most.
            for task in list(ready) if turn % 2 == 0 else list(reversed(ready)):
                self._tell(f"{task.job.model} on {self.facts.title}, {task.choice.id}: block {turn + 1}/{self.plan.blocks}")
                runs = -(-task.job.runs // self.plan.blocks)
                block = self._runner.block(task.choice, ready[task], runs=runs, threads=task.job.threads, placement=turn == 0)
                if block.after is not None:
                    self._check_identity(block.after)
                blocks[task].append(block)
                if not block.verdict.status.runs:
                    del ready[task]
                    yield PhoneOutcome(task, block.verdict.status, block.verdict.reason, None, tuple(blocks[task]))
        for task, prepared in ready.items():
            yield self._settle(task, blocks[task], prepared)

    def _settle(self, task: PhoneTask, blocks: Sequence[PhoneBlock], prepared: DevicePaths) -> PhoneOutcome:
        """Combines the blocks of a task, if they agree."""
        last = blocks[0].verdict
        # Only the first block reports where each node ran, so other blocks may know less, but may not differ.
        counts = {block.verdict.delegated for block in blocks if block.verdict.delegated is not None}
        if len({block.verdict.status for block in blocks}) > 1 or len(counts) > 1:
            return PhoneOutcome(
                task, RunStatus.UNKNOWN, "its blocks disagree about what ran on the delegate", None, tuple(blocks)
            )
        latencies = [block.verdict.latency for block in blocks if block.verdict.latency is not None]
        if last.status is RunStatus.PARTIAL and self.plan.require_full:
            return PhoneOutcome(task, RunStatus.PARTIAL, f"full delegation required: {last.reason}", None, tuple(blocks))
        remarks = list(self.warnings)
        operators, comparison = self._extras(task, prepared, remarks)
        hot = next((block.hot for block in blocks if block.hot), "")
        remarks += [f"did not cool down: {hot}"] if hot else []
        saving = any(block.saving for block in blocks)
        remarks += ["its power-saving mode came on during a block"] if saving else []
        series = summarise_blocks(latencies)
        remarks += [f"{series.runs} of {task.job.runs} runs: slow blocks end by time"] if series.runs < task.job.runs else []
        # In sustained mode the effect of heat is what is measured.
        disturbed = saving or any(block.throttled for block in blocks) or bool(hot and self.plan.mode == "burst")
        return PhoneOutcome(
            task, last.status, last.reason, series, tuple(blocks), operators, comparison, tuple(remarks), disturbed
        )

    def _extras(
        self, task: PhoneTask, prepared: DevicePaths, remarks: list[str]
    ) -> tuple[tuple[OperatorTime, ...], OutputComparison | None]:
        """Makes the further runs that were asked for; if one fails, only its result is missing."""
        operators: tuple[OperatorTime, ...] = ()
        comparison = None
        try:
            if self.plan.profile:
                operators = profile_operators(self._runner, self.workspace, task.choice, prepared, task.job.threads)
            if self.plan.compare:
                comparison = self._compare(task, prepared)
        except CancelledError:
            raise
        # A type that NumPy does not know or a file that cannot be read must not cost the latency.
        except (MhmodelsError, OSError, TypeError, ValueError) as error:
            remarks.append(without_controls(str(error) or repr(error)))
        return operators, comparison

    def _compare(self, task: PhoneTask, prepared: DevicePaths) -> OutputComparison:
        cpu = Delegates().for_format("cpu", task.job.format)
        beside = self._prepare(PhoneTask(task.job, cpu))
        if isinstance(beside, PhoneOutcome):
            raise MeasurementError(f"no outputs of the CPU to compare with: {beside.reason}")
        return compare_outputs(self._runner, self.workspace, task.job, task.choice, prepared, (cpu, beside))

    def _prepare(self, task: PhoneTask) -> DevicePaths | PhoneOutcome:
        """Pushes the files of a task, unless they are on the device already; or says why it cannot run."""
        delegate, free = task.choice.delegate, self.facts.free_bytes
        if self.facts.sdk and self.facts.sdk < delegate.min_sdk:
            reason = f"needs Android API {delegate.min_sdk}, this is {self.facts.sdk}"
            return PhoneOutcome(task, RunStatus.DELEGATE_UNAVAILABLE, reason, None)
        try:
            binary, libraries = self.delegate_files(task.choice)
        except AdbError:
            raise
        except MeasurementError as error:
            return PhoneOutcome(task, RunStatus.NOT_EXECUTABLE, str(error), None)
        if binary.abi and self.facts.abis and binary.abi not in self.facts.abis:
            reason = f"{binary.local} is for {binary.abi}, the device takes {', '.join(self.facts.abis)}"
            return PhoneOutcome(task, RunStatus.NOT_EXECUTABLE, reason, None)
        try:
            tool = binary.remote
            if binary.local is not None:
                expected = {binary.tool: binary.sha256}
                tool = self.workspace.place({binary.tool: binary.local}, expected=expected, free_bytes=free) + f"/{binary.tool}"
            expected = {"model.tflite": task.job.model_hash}
            graph = self.workspace.place({"model.tflite": task.job.path}, expected=expected, free_bytes=free)
            folder = self.workspace.place(libraries, free_bytes=free) if libraries else graph
        except (DeviceLostError, DeviceUnauthorizedError, CancelledError):
            raise
        except AdbError as error:
            return PhoneOutcome(task, RunStatus.UNKNOWN, str(error), None)
        return DevicePaths(tool, f"{graph}/model.tflite", folder)

    def _preflight(self) -> None:
        """Refuses a phone that must not be measured now, waits for one that is too warm, and changes its settings.

        Raises:
            MeasurementError: The phone may not be measured; the message says what to do.
        """
        now = self._look()
        self._refuse(now)
        if phone_limits.too_hot(now, self.plan.limits):
            self._tell(f"{self.facts.title}: waiting for it to cool down ({phone_limits.too_hot(now, self.plan.limits)})")
        now, _, hot = self._cool()
        if hot:
            raise MeasurementError(
                f"{self.facts.title} ({self.phone.serial}) is too warm after {self.plan.limits.cool_down_s:.0f} s ({hot}): "
                "let it lie open and cool, or wait longer (argument 'cool_down_s')"
            )
        self._start_c = now.temperature_c
        max_khz = max((core.max_khz for core in self.facts.cores), default=0)
        self.warnings += phone_limits.warnings(now, len(self.facts.cores), max_khz)
        if not core_mask(self.facts):
            self.warnings.append("its cores could not be chosen: the system places the threads")
        settings = (*(SETTINGS if self.plan.prepare else ()), *((FIXED_CLOCKS,) if self.plan.fixed_clocks else ()))
        self.warnings += self.workspace.change(settings) if settings else []
        # Fixed clocks are lower.
        now = read_condition(self.phone) if self.plan.fixed_clocks else now
        self._runner.start_khz = now.clock_limits_khz

    def _refuse(self, now: PhoneCondition) -> None:
        """Refuses a phone whose condition forbids measuring.

        Raises:
            MeasurementError: It does.
        """
        reasons = phone_limits.obstacles(now, self.plan.limits)
        if reasons:
            raise MeasurementError(f"{self.facts.title} ({self.phone.serial}) cannot be measured: {'; '.join(reasons)}")

    def _cool(self) -> tuple[PhoneCondition, float, str]:
        """Waits until a block may begin. A battery that ran low meanwhile ends the session.

        Raises:
            MeasurementError: The phone must not be measured any more.
        """
        limits = self.plan.limits
        if self.plan.mode == "sustained" and self._start_c is not None:
            limits = msgspec.structs.replace(limits, cool_down_s=0.0)
        found = phone_limits.cool_down(self._look, limits, self._start_c, self._cancel)
        self._refuse(found[0])
        return found

    def _look(self) -> PhoneCondition:
        """The phone's condition; that of the end of the last run is used while it is fresh."""
        now = self._runner.take_last() or read_condition(self.phone)
        self._check_identity(now)
        if restarted(self._boot_id, now.boot_id):
            # The fixed clocks are gone after a restart, and rows would still claim them.
            self.workspace.apply_again()
        self._boot_id = now.boot_id or self._boot_id
        return now

    def _cancelled(self) -> bool:
        return self._cancel is not None and self._cancel.is_set()

    def _check_identity(self, now: PhoneCondition) -> None:
        """Refuses another phone: after a break, an address on the network may be that of another one.

        Raises:
            DeviceLostError: It is another phone.
        """
        known = self.facts.identity
        if known and now.identity and known != now.identity:
            raise DeviceLostError(
                f"device '{self.phone.serial}' is another one now ({now.identity} instead of {known}): connect to the right one"
            )

    def _tidy(self) -> None:
        """Puts settings back and ends what still runs. What a vanished phone keeps is cleaned up by the next session."""
        try:
            for line in self.phone.adb.uncancelled(self.workspace.close):
                self._tell(f"{self.facts.title}: {line}, the next session tries again")
        except AdbError as error:
            self._tell(f"{self.facts.title}: could not be tidied up, the next session will do it ({error})")
