"""Phones on the command line: their options, and how they enter the hardware registry (`android_bench`)."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click
import msgspec

from mhmodels.cli.common import FiniteRange, note
from mhmodels.errors import MhmodelsError

if TYPE_CHECKING:
    from android_bench.runner import PhoneRunner
    from mhmodels.hardware import Answer, Environment, Hardware, Job, Measurement
    from mhmodels.store import Store

F = TypeVar("F", bound=Callable[..., Any])
DEFAULT_DELEGATES = ("xnnpack", "xnnpack-int8", "gpu-opencl")


class Request(NamedTuple):
    """A file on a phone's delegate."""

    job: Job
    hardware: Hardware


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A request that came to nothing lasting; asking again may help.

    Attributes:
        status: as `android_bench.verdict.Status` names it.
    """

    model: str
    hardware: str
    status: str
    reason: str


class Matrix(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A night's work: every model on every delegate of every phone.

    Attributes:
        models: names, architecture files or .tflite files.
        devices: serials or names; empty for every usable phone.
        delegates: ids.
    """

    models: tuple[str, ...]
    devices: tuple[str, ...] = ()
    delegates: tuple[str, ...] = DEFAULT_DELEGATES


_OPTIONS = (
    click.option(
        "--device", "devices", multiple=True, metavar="SERIAL|NAME", help="Phone; repeat for several (`mhmodels devices`)."
    ),
    click.option(
        "--delegate", "delegates", multiple=True, metavar="ID", help=f"Delegate on it. [default: {', '.join(DEFAULT_DELEGATES)}]"
    ),
    click.option(
        "--benchmark-binary",
        "binaries",
        multiple=True,
        type=click.Path(exists=True, dir_okay=False),
        help="benchmark_model for the phone's ABI (arm64 or arm32): TensorFlow publishes nightly builds, docs/phones.md says "
        "where and how to build one. Nothing is downloaded.",
    ),
    click.option(
        "--libraries", multiple=True, type=click.Path(exists=True, file_okay=False), help="Folder with delegates' libraries."
    ),
    click.option(
        "--delegates-file", type=click.Path(exists=True, dir_okay=False), help="Delegates of your own (docs/phones.md)."
    ),
    click.option(
        "--require-full-delegation", is_flag=True, help="No latency for a network that is only in part on its delegate."
    ),
    click.option(
        "--blocks", type=click.IntRange(1, 1000), default=5, show_default=True, help="Blocks on a phone, delegates in turns."
    ),
    click.option(
        "--mode",
        type=click.Choice(("burst", "sustained")),
        default="burst",
        show_default=True,
        help="Short blocks with cool-down, or a minute each without.",
    ),
    click.option(
        "--cool-down",
        type=FiniteRange(0, 7200),
        default=300.0,
        show_default=True,
        help="Seconds to wait for it to cool down.",
    ),
    click.option(
        "--min-battery", type=click.IntRange(0, 100), default=30, show_default=True, help="Per cent, if it is not charging."
    ),
    click.option("--timeout", type=FiniteRange(1, 36_000), default=300.0, show_default=True, help="Seconds for one run."),
    click.option("--profile", is_flag=True, help="One more run for the times of the operators."),
    click.option("--compare-outputs", is_flag=True, help="One more run to compare the outputs with the CPU's."),
    click.option("--keep-settings", is_flag=True, help="Leave the phone's screen as it is; else it is darkened and put back."),
    click.option("--fixed-clocks", is_flag=True, help="Android's fixed performance mode meanwhile."),
    click.option("--adb", type=click.Path(), default=None, help="The adb executable."),
    click.option("--adb-server", default=None, metavar="HOST:PORT", help="Another adb server than this machine's."),
)


class PhoneOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options by their names."""

    devices: tuple[str, ...]
    delegates: tuple[str, ...]
    binaries: tuple[str, ...]
    libraries: tuple[str, ...]
    delegates_file: str | None
    require_full_delegation: bool
    blocks: int
    mode: Any
    cool_down: float
    min_battery: int
    timeout: float
    profile: bool
    compare_outputs: bool
    keep_settings: bool
    fixed_clocks: bool
    adb: str | None
    adb_server: str | None


def phone_options(command: F) -> F:
    """Adds the options of phones; the command gets them as one `phones`."""

    @functools.wraps(command)
    def collected(**values: Any) -> Any:
        phones = PhoneOptions(**{name: values.pop(name) for name in PhoneOptions.__struct_fields__})
        return command(phones=phones, **values)

    for option in reversed(_OPTIONS):
        collected = option(collected)
    return collected  # type: ignore[return-value]


def install(phones: PhoneOptions, store: str | None) -> PhoneRunner:
    """Puts phones into the hardware registry.

    Args:
        phones: the options.
        store: the store's path; raw logs go beside it.

    Raises:
        DelegateError: the user's delegates cannot be.
    """
    from android_bench.condition import Limits
    from android_bench.delegates import load_delegates
    from android_bench.runner import Options, PhoneRunner
    from android_bench.session import Plan
    from mhmodels.hardware import register

    plan = Plan(
        blocks=phones.blocks,
        mode=phones.mode,
        limits=Limits(battery_level=phones.min_battery, cool_down_s=phones.cool_down),
        timeout_s=phones.timeout,
        require_full=phones.require_full_delegation,
        profile=phones.profile,
        compare=phones.compare_outputs,
        prepare=not phones.keep_settings,
        fixed_clocks=phones.fixed_clocks,
    )
    options = Options(
        adb=phones.adb,
        adb_server=phones.adb_server,
        binaries=phones.binaries,
        libraries=phones.libraries,
        delegates=load_delegates(phones.delegates_file) if phones.delegates_file else (),
        logs=str(Path(store).with_suffix(".logs")) if store else None,
        plan=plan,
    )
    runner = PhoneRunner(options)
    register("phones", runner)
    return runner


def wanted(phones: PhoneOptions, runner: PhoneRunner, matrix: Matrix | None = None) -> list[tuple[str, str]]:
    """Phones and delegates that `--device` and `--delegate`, or a matrix, ask for; none if nobody asks for any.

    Raises:
        UnknownNameError: no such delegate.
        UsageError: a delegate without a phone, and not exactly one phone is there.
    """
    devices, delegates = phones.devices, phones.delegates or DEFAULT_DELEGATES
    if matrix is not None:
        devices, delegates = devices or matrix.devices, phones.delegates or matrix.delegates
        devices = devices or tuple(line.serial for line in runner.adb.devices() if not line.problem)
    elif phones.delegates and not devices:
        usable = [line.serial for line in runner.adb.devices() if not line.problem]
        if len(usable) != 1:
            raise click.UsageError(f"--delegate needs a --device: {len(usable)} phones are there ({', '.join(usable) or 'none'})")
        devices = tuple(usable)
    wrong = next((device for device in devices if not device or "/" in device), None)
    if wrong is not None:
        raise MhmodelsError(f"device '{wrong}': expected a serial or name as `mhmodels devices` lists them")
    for delegate in delegates:
        runner.delegates.get(delegate)
    return [(device, delegate) for device in devices for delegate in delegates]


def hardware_ids(pairs: Sequence[tuple[str, str]], runner: PhoneRunner, fmt: str | None = None) -> list[str]:
    """Hardware ids of phones and delegates; for a file, those whose delegate takes its format, in that format.

    Raises:
        DelegateError: none of them takes it.
    """
    from android_bench.errors import DelegateError

    ids, refused = [], None
    for device, delegate in pairs:
        try:
            choice = runner.delegates.get(delegate) if fmt is None else runner.delegates.for_format(delegate, fmt)
        except DelegateError as error:
            refused = error
            continue
        if fmt is None or choice.format == fmt:
            ids.append(f"{device}/{choice.id}")
    if not ids and refused is not None:
        raise refused
    return list(dict.fromkeys(ids))


def read_matrix(path: str) -> Matrix:
    """Reads a matrix: TOML or JSON.

    Raises:
        MhmodelsError: it cannot be read, or a field is wrong.
    """
    file = Path(path)
    decode = msgspec.json.decode if file.suffix == ".json" else msgspec.toml.decode
    try:
        return decode(file.read_bytes(), type=Matrix)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MhmodelsError(f"{file}: not a matrix of models, devices and delegates ({error})") from error


class Phones:
    """Measures many requests: phones at the same time, each phone's in turns.

    Args:
        runner: of the phones.
        store: looked into first, and given each row as it arrives.
        fresh: measures even if the store has an answer.
        remember: takes a phone's latest rows for a report if it cannot be asked what it is now: not connected, no tool given.
        tell: is told what is going on.
    """

    def __init__(
        self, runner: PhoneRunner, store: Store, *, fresh: bool, remember: bool = False, tell: Callable[[str], None] = note
    ) -> None:
        self._runner, self._store, self._fresh, self._remember = runner, store, fresh, remember and not fresh
        self._tell = runner.tell = tell
        self._told: set[str] = set()

    def answers(self, requests: Sequence[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        """One answer a request, those from the store first.

        Raises:
            StoreError: a row cannot be kept.
        """
        from mhmodels.hardware import Answer

        waiting: dict[str, list[Request]] = {}
        known: dict[str, str] = {}
        for request in {(job.model_hash, job.model, hardware.id): Request(job, hardware) for job, hardware in requests}.values():
            found = self._known(request, known)
            if found is None:
                waiting.setdefault(str(request.hardware.configuration["serial"]), []).append(request)
            else:
                yield request, found
        for request, result in self._side_by_side(waiting):
            if isinstance(result, Failure):
                yield request, result
            else:
                self._store.add(result)
                yield request, Answer(result, False)

    def _known(self, request: Request, problems: dict[str, str]) -> Answer | Failure | None:
        """The store's answer, or that the phone is out of reach; None if it must be measured."""
        from mhmodels.hardware import Answer

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
            if _status(error, ""):
                # It took a minute to find that the phone does not answer: once is enough.
                problems[serial] = str(error)
            return self._remembered(request, str(error)) or _failure(request, _status(error, "NOT_EXECUTABLE"), str(error))
        found = None if self._fresh else self._find(job, hardware.id, environment)
        if found is None or self._lacks(found):
            return None
        return Answer(msgspec.structs.replace(found, model=job.model), True)

    def _find(self, job: Job, hardware_id: str, environment: Environment) -> Measurement | None:
        """The store's row; a slow network's too, whose blocks ended by time before they had all runs."""
        found = self._store.find(job, hardware_id, environment)
        if found is None:
            found = self._store.find(msgspec.structs.replace(job, runs=1), hardware_id, environment)
            asked = found.device_state.get("requested_runs") if found is not None else None
            return found if isinstance(asked, int) and asked >= job.runs else None
        return found

    def _lacks(self, row: Measurement) -> bool:
        """Whether something was asked for besides the latency that a row was measured without."""
        plan = self._runner.options.plan
        asked = [name for name, wanted in (("operators", plan.profile), ("outputs", plan.compare)) if wanted]
        return row.supported and not all(name in row.device_state for name in asked)

    def _remembered(self, request: Request, problem: str) -> Answer | None:
        """The latest row of the same file there, whatever phone and tool were then."""
        from mhmodels.hardware import Answer

        job, hardware = request
        if not self._remember or job.architecture_id is None:
            return None
        rows = self._store.latest([hardware.id], [job.architecture_id], format=job.format, weights=job.weights)
        row = next((row for row in rows if row.model_hash == job.model_hash and row.threads == job.threads), None)
        if row is not None and problem not in self._told:
            self._told.add(problem)
            self._tell(f"{hardware.id.rpartition('/')[0]}: from the store, {row.time[:10]}; not asked again: {problem}")
        return None if row is None else Answer(msgspec.structs.replace(row, model=job.model), True)

    def _side_by_side(self, waiting: Mapping[str, list[Request]]) -> Iterator[tuple[Request, Measurement | Failure]]:
        """A thread a phone; the store belongs to this one."""
        queue: SimpleQueue[tuple[Request, Measurement | Failure] | str] = SimpleQueue()
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
            # Runs end, settings go back, then we go.
            self._runner.cancel.set()
            raise
        finally:
            for thread in threads:
                thread.join()

    def _by_phone(self, serials: Iterable[str]) -> list[list[str]]:
        """The serials of each phone: one that is there by cable and on the network must not be measured beside itself."""
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
        queue: SimpleQueue[tuple[Request, Measurement | Failure] | str],
        waiting: Mapping[str, Sequence[Request]],
    ) -> None:
        for serial in serials:
            self._one(serial, queue, waiting[serial])

    def _one(
        self, serial: str, queue: SimpleQueue[tuple[Request, Measurement | Failure] | str], requests: Sequence[Request]
    ) -> None:
        left = list(requests)
        try:
            for job, hardware, result in self._runner.batch(serial, left.copy()):
                request = Request(job, hardware)
                left.remove(request)
                failed = isinstance(result, Exception)
                queue.put((request, _failure(request, result.status, result.reason) if failed else result))  # type: ignore[arg-type, union-attr]
        except Exception as error:  # whatever it is, the other phones go on, and it is told
            for request in left:
                queue.put((request, _failure(request, _status(error, "UNKNOWN"), str(error) or repr(error))))
        finally:
            queue.put(serial)


def _failure(request: Request, status: str, reason: str) -> Failure:
    return Failure(model=request.job.model, hardware=request.hardware.id, status=status, reason=reason)


def failure_text(failures: Sequence[Failure]) -> str:
    """What came to nothing, a line for each reason with everything that it holds for."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for failure in failures:
        grouped.setdefault((failure.status, failure.reason), []).append(f"{failure.model} on {failure.hardware}")
    return "\n".join(f"{', '.join(places)}: {status}: {reason}" for (status, reason), places in grouped.items())


def _status(error: Exception, otherwise: str) -> str:
    from android_bench.errors import DeviceLostError, DeviceUnauthorizedError

    if isinstance(error, DeviceUnauthorizedError):
        return "UNAUTHORIZED"
    return "DEVICE_LOST" if isinstance(error, DeviceLostError) else otherwise
