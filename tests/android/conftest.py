"""A private adb server and devices for it; nothing leaves the loopback, nothing touches the user's own server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mhmodels.android_bench.device.limits import PhoneLimits
from mhmodels.android_bench.errors import AdbError
from mhmodels.android_bench.runner import PhoneResult, PhoneRunner, PhoneRunnerOptions
from mhmodels.android_bench.session.rows import PhoneFailure
from mhmodels.android_bench.session.tasks import PhonePlan
from mhmodels.android_bench.transport.adb import Adb, find_adb
from mhmodels.android_bench.transport.phone import Phone
from mhmodels.hardware import Job, prepare

from ..hardware import tiny
from .double import MODERN, Double, Server
from .tools import GOOD, tool

MakeDevice = Callable[..., Double]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`MHMODELS_HOME`, empty."""
    place = tmp_path / "home"
    monkeypatch.setenv("MHMODELS_HOME", str(place))
    return place


@pytest.fixture(autouse=True)
def _looks_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that broke off is back at once here."""
    monkeypatch.setattr("mhmodels.android_bench.transport.phone.AGAIN_S", 0.05)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The real adb server on a private port with a private home."""
    try:
        adb = find_adb()
    except AdbError as error:
        pytest.skip(f"no adb executable on this machine: {error}")
    running = Server(adb, tmp_path_factory.mktemp("adb"))
    yield running
    running.stop()


@pytest.fixture
def make_device(server: Server, tmp_path: Path) -> Iterator[MakeDevice]:
    """Makes devices and connects them."""
    devices: list[Double] = []

    def make(props: dict[str, str] | None = None, *, features: str = MODERN, auth: str = "none") -> Double:
        props = {"ro.serialno": f"DOUBLE{len(devices) + 1:04}", **(props or {})}
        device = Double(tmp_path / f"device{len(devices)}", props, features=features)
        device.auth = auth
        devices.append(device)
        server.connect(device)
        return device

    yield make
    for device in devices:
        server.disconnect(device)
        device.stop()


@pytest.fixture
def device(make_device: MakeDevice) -> Double:
    """One modern phone."""
    return make_device()


@pytest.fixture
def adb(server: Server) -> Adb:
    """adb, talking to the private server."""
    return Adb(server=server.address)


@pytest.fixture
def phone(adb: Adb, device: Double) -> Phone:
    """The modern phone as the harness sees it."""
    return Phone(adb, device.address, wait_s=5)


class Bench:
    """A runner with a scripted tool, and a way to run networks on a device with it."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._server, self._folder = server, folder
        self.told: list[str] = []
        self.network = tiny.convolutions(folder / "net.tflite", "float32")

    def runner(self, body: str = GOOD, **plan: object) -> PhoneRunner:
        settings: dict[str, object] = {
            "blocks": 2,
            "timeout_s": 20.0,
            "limits": PhoneLimits(poll_s=0.05, cool_down_s=2.0),
            **plan,
        }
        folder = self._folder / f"tool{len(list(self._folder.iterdir()))}"
        folder.mkdir()
        options = PhoneRunnerOptions(
            adb_server=self._server.address,
            binaries=(str(tool(folder, body)),),
            plan=PhonePlan(**settings),  # type: ignore[arg-type]
            wait_s=3.0,
        )
        return PhoneRunner(options, tell=self.told.append)

    def job(self, label: str = "net", file: Path | None = None) -> Job:
        return prepare(file or self.network, label=label)

    def run(
        self, device: Double, body: str = GOOD, delegates: tuple[str, ...] = ("xnnpack",), **plan: object
    ) -> list[PhoneResult]:
        return self.batch(self.runner(body, **plan), device, delegates)

    def batch(self, runner: PhoneRunner, device: Double, delegates: tuple[str, ...], label: str = "net") -> list[PhoneResult]:
        hardware = [runner.find(f"{device.address}/{delegate}") for delegate in delegates]
        job = self.job(label)
        results = {h.id: result for _, h, result in runner.batch(device.address, [(job, h) for h in hardware if h is not None])}
        return [results[f"{device.address}/{delegate}"] for delegate in delegates]


@pytest.fixture
def bench(server: Server, tmp_path: Path) -> Bench:
    """Measures scripted tools on a device."""
    folder = tmp_path / "bench"
    folder.mkdir()
    return Bench(server, folder)


def status(result: PhoneResult) -> str:
    """The name of the status of a row or failure."""
    return result.status if isinstance(result, PhoneFailure) else str(result.device_state["status"])
