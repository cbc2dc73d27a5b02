"""Phones as hardware: the runner of `SERIAL/delegate` ids."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from mhmodels.android_bench.delegates.binary import find_binary, user_folder
from mhmodels.android_bench.delegates.catalogue import Delegates
from mhmodels.android_bench.delegates.delegate import Delegate, DelegateChoice
from mhmodels.android_bench.delegates.suitability import remark
from mhmodels.android_bench.device.description import PhoneFacts, core_mask, read_facts
from mhmodels.android_bench.device.names import name_of, serial_of
from mhmodels.android_bench.errors import AdbError
from mhmodels.android_bench.session.rows import PhoneFailure, measurement
from mhmodels.android_bench.session.session import Session
from mhmodels.android_bench.session.tasks import DelegateFiles, PhonePlan, PhoneTask
from mhmodels.android_bench.transport.adb import Adb
from mhmodels.android_bench.transport.phone import Phone
from mhmodels.errors import MeasurementError
from mhmodels.hardware import Environment, Hardware, Job, Measurement
from mhmodels.system.files import sha256_of
from mhmodels.system.places import data_path

PhoneResult = Measurement | PhoneFailure


class PhoneRunnerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Files and folders for measurements on phones, and the settings of the measurements.

    Attributes:
        adb: Path of the adb executable. None for the adb of the package adbutils, else the one on PATH or in ANDROID_HOME.
        adb_server: `HOST:PORT` of the adb server. None for ADB_SERVER_SOCKET, else the server of this machine.
        binaries: Paths of `benchmark_model`, one for each ABI of the phones.
        libraries: Folders with the libraries that delegates need.
        delegates: Delegates of the user (`load_delegates`).
        logs: Folder for the raw output of every run. None for `logs` in the data folder of the user.
        plan: Settings of the measurements.
        wait_s: Longest wait in seconds for a phone whose connection was lost. A phone that restarts is seen again after about
            30 s.

    Example:
        >>> from mhmodels.android_bench import PhonePlan, PhoneRunner, PhoneRunnerOptions
        >>> phones = PhoneRunner(PhoneRunnerOptions(binaries=("benchmark_model",), plan=PhonePlan(mode="sustained")))
        >>> phones.known_settings(phones.find("0A1B2C3D/xnnpack"))["mode"]
        'sustained'
    """

    adb: str | None = None
    adb_server: str | None = None
    binaries: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    delegates: tuple[Delegate, ...] = ()
    logs: str | None = None
    plan: PhonePlan = PhonePlan()
    wait_s: float = 60.0


class PhoneRunner:
    """Measures on every phone that adb sees. No adb server is started before a phone's id is used.

    Args:
        options: Files, folders and settings; None for the defaults of `PhoneRunnerOptions`.
        tell: Called with one line for each step.

    Example:
        >>> from mhmodels.android_bench import PhoneRunner
        >>> hardware = PhoneRunner().find("0A1B2C3D/gpu-opencl")
        >>> hardware.id, hardware.format, hardware.kind
        ('0A1B2C3D/gpu-opencl', 'float32', 'measured')
    """

    exclusive = False

    def __init__(self, options: PhoneRunnerOptions | None = None, tell: Callable[[str], None] = lambda _: None) -> None:
        self.options = options or PhoneRunnerOptions()
        self.delegates = Delegates(self.options.delegates)
        self.cancel = threading.Event()
        self.tell = tell
        self._adb: Adb | None = None
        self._phones: dict[str, Phone] = {}
        self._facts: dict[str, PhoneFacts] = {}
        self._delegate_files: dict[tuple[str, str], DelegateFiles] = {}
        self._guard = threading.Lock()

    @property
    def adb(self) -> Adb:
        """The adb executable.

        Raises:
            AdbError: There is none.
        """
        with self._guard:
            if self._adb is None:
                self._adb = Adb(self.options.adb, self.options.adb_server, self.cancel)
            return self._adb

    def hardware(self) -> Sequence[Hardware]:
        """Always empty, so that listing hardware starts no adb server; `mhmodels devices` lists phones."""
        return ()

    def find(self, hardware_id: str) -> Hardware | None:
        """The hardware of `SERIAL/delegate` or `NAME/delegate`, whether the phone is connected or not."""
        phone, slash, text = hardware_id.rpartition("/")
        choice = self.delegates.find(text) if slash and phone and "/" not in phone else None
        if choice is None:
            return None
        return Hardware(
            id=f"{name_of(serial_of(phone))}/{choice.id}",
            format=choice.format,
            kind="measured",
            description=f"phone {phone}, {choice.delegate.title}",
            configuration={"serial": serial_of(phone), "delegate": choice.id},
        )

    def phone(self, serial: str) -> Phone:
        """The device of a serial number."""
        if serial not in self._phones:
            self._phones[serial] = Phone(self.adb, serial, wait_s=self.options.wait_s)
        return self._phones[serial]

    def facts(self, serial: str) -> PhoneFacts:
        """Facts of a phone; the phone is asked once.

        Raises:
            AdbError: The phone does not answer.
        """
        if serial not in self._facts:
            self._facts[serial] = read_facts(self.phone(serial), self.delegates.libraries())
        return self._facts[serial]

    def unavailable(self, hardware: Hardware) -> str:
        """Why a phone cannot be measured: no adb, no such device, or a device that refuses this machine."""
        serial = str(hardware.configuration["serial"])
        try:
            listed = self.phone(serial).listed()
        except AdbError as error:
            return str(error)
        if listed is None:
            return f"no device '{serial}': connect it with its cable, or `adb connect HOST:PORT` (`mhmodels devices` lists them)"
        return listed.problem

    def environment(self, hardware: Hardware) -> Environment:
        """Build of the phone, hash of the tool, driver of the delegate, and settings of the measurement.

        Raises:
            MeasurementError: The phone does not answer, or there is no tool for it.
        """
        serial, choice = str(hardware.configuration["serial"]), self.choice(hardware)
        facts, files = self.facts(serial), self.delegate_files(serial, choice)
        configuration = {
            "flags": choice.flags("{folder}"),
            "cores": f"{core_mask(facts):x}",
            **self.known_settings(hardware),
        }
        if files.libraries:
            configuration["libraries"] = _digest(files)
        gpu = facts.gpu if "gpu" in choice.delegate.id else ""
        return Environment(
            device=f"{facts.title} ({facts.fingerprint or facts.serial})",
            runtime=f"{files.binary.tool} {files.binary.sha256[:16]}",
            driver=gpu or (choice.accelerator if choice.accelerator else ""),
            configuration=configuration,
        )

    def known_settings(self, hardware: Hardware) -> dict[str, object]:
        """The settings in `Measurement.configuration` that are known without asking the phone; None for one that is absent."""
        plan = self.options.plan
        return {
            "delegate": self.choice(hardware).id,
            "mode": plan.mode,
            "fixed_clocks": plan.fixed_clocks,
            "require_full_delegation": plan.require_full,
            # A lit screen warms the phone.
            "settings": None if plan.prepare else "kept",
        }

    def measure(self, job: Job, hardware: Hardware) -> Measurement:
        """Measures one network on one delegate.

        Raises:
            PhoneFailure: The run failed for a reason that is not lasting, such as a lost phone.
            MeasurementError: The phone must not be measured now.
        """
        for result in self.batch(str(hardware.configuration["serial"]), [(job, hardware)]):
            if isinstance(result[2], PhoneFailure):
                raise result[2]
            return result[2]
        raise MeasurementError(f"{hardware.id}: nothing was measured")

    def batch(self, serial: str, requests: Sequence[tuple[Job, Hardware]]) -> Iterator[tuple[Job, Hardware, PhoneResult]]:
        """Measures networks on the delegates of one phone, in turns.

        Yields:
            The job, the hardware, and a row or a failure, as soon as each is settled.

        Raises:
            MeasurementError: The phone must not be measured now, or the measurement was asked to stop.
        """
        facts = self.facts(serial)
        tasks: dict[PhoneTask, tuple[Job, Hardware]] = {}
        for job, hardware in requests:
            tasks[PhoneTask(job, self.choice(hardware))] = (job, hardware)
        for choice in {task.choice.id: task.choice for task in tasks}.values():
            if note := remark(choice.delegate, facts):
                self.tell(f"{facts.title}, {choice.id}: {note}")
        logs = Path(self.options.logs) if self.options.logs else data_path() / "logs"
        session = Session(
            self.phone(serial),
            facts,
            self.options.plan,
            lambda c: self.delegate_files(serial, c),
            cancel=self.cancel,
            tell=self.tell,
        )
        with session:
            for outcome in session.measure(tasks):
                job, hardware = tasks[outcome.task]
                result: PhoneResult
                try:
                    result = measurement(outcome, hardware, self.environment, logs)
                except PhoneFailure as failure:
                    result = failure
                yield job, hardware, result

    def choice(self, hardware: Hardware) -> DelegateChoice:
        """The delegate of a hardware of a phone."""
        return self.delegates.get(str(hardware.configuration["delegate"]))

    def delegate_files(self, serial: str, choice: DelegateChoice) -> DelegateFiles:
        """The tool and the libraries of a delegate on a phone; they are found once.

        Raises:
            MeasurementError: One is missing; the message says where to get it.
        """
        key = serial, choice.delegate.id
        if key not in self._delegate_files:
            facts = self.facts(serial)
            binary = find_binary(choice.delegate.tool, facts, self.phone(serial), self.options.binaries)
            self._delegate_files[key] = DelegateFiles(binary, self._libraries(choice.delegate, facts))
        return self._delegate_files[key]

    def _libraries(self, delegate: Delegate, facts: PhoneFacts) -> dict[str, Path]:
        folders = [*map(Path, self.options.libraries), *(user_folder() / abi for abi in facts.abis)]
        found: dict[str, Path] = {}
        for pattern in delegate.files:
            paths = [path for folder in folders for path in sorted(folder.glob(pattern)) if path.is_file()]
            if not paths:
                where = ", ".join(str(folder) for folder in folders[:2])
                raise MeasurementError(
                    f"delegate '{delegate.id}' needs {pattern}, which is in none of {where}: give its folder as "
                    "argument 'libraries'" + (f" ({delegate.note})" if delegate.note else "")
                )
            for path in paths:
                found.setdefault(path.name, path)
        return found


def _digest(files: DelegateFiles) -> str:
    parts = sorted(f"{name} {sha256_of(path)}" for name, path in files.libraries.items())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
