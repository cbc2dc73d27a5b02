"""A private adb server and devices for it; nothing leaves the loopback, nothing touches the user's own server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from android_bench.adb import Adb, find_adb
from android_bench.errors import AdbError
from android_bench.phone import Phone

from .double import MODERN, Double, Server

MakeDevice = Callable[..., Double]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`MHMODELS_HOME`, empty."""
    place = tmp_path / "home"
    monkeypatch.setenv("MHMODELS_HOME", str(place))
    return place


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
