"""Devices that lie about who they are, lose or change what they were given, and are used by others meanwhile."""

from __future__ import annotations

import io
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from mhmodels.android_bench.cli.devices import devices
from mhmodels.android_bench.delegates.catalogue import Delegates
from mhmodels.android_bench.device.description import read_facts
from mhmodels.android_bench.session.rows import PhoneFailure
from mhmodels.android_bench.session.workspace import ROOT, Workspace
from mhmodels.android_bench.transport.adb import Adb
from mhmodels.android_bench.transport.phone import Phone
from mhmodels.cli.common import step_bar
from mhmodels.cli.main import cli
from mhmodels.errors import MeasurementError
from mhmodels.hardware import Measurement
from mhmodels.store import Store

from ..hardware import tiny
from .conftest import Bench, MakeDevice, status
from .double import Double, Server
from .tools import APPLIED, GOOD, NUMBERS
from .wire import Sync

OURS = ROOT.lstrip("/")


def until(found: Callable[[], object], seconds: float = 20) -> None:
    """Waits for something that another thread or process does."""
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def failure(result: object) -> PhoneFailure:
    assert isinstance(result, PhoneFailure), result
    return result


def on_device(device: Double, *words: str) -> subprocess.Popen[bytes]:
    """Somebody else's process on the device."""
    environment = {**os.environ, "DEVICE_TOKEN": device.token}
    return subprocess.Popen(words, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)


def test_two_computers_on_one_device(bench: Bench, device: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, found = bench.runner("sleep 1\n" + GOOD, blocks=30), []

    def measure() -> None:
        with pytest.raises(MeasurementError, match="another session of mhmodels took it over") as caught:
            bench.batch(first, device, ("xnnpack", "cpu"))
        found.append(caught.value)

    thread = threading.Thread(target=measure)
    thread.start()
    until(lambda: any("benchmark_model --graph=" in command for command in device.processes().values()))
    # Another home stands for another computer: the first one's lock is not seen from there.
    monkeypatch.setenv("MHMODELS_HOME", str(tmp_path / "other"))
    (result,) = bench.run(device, "sleep 0.3\n" + GOOD, blocks=3)
    thread.join()
    assert found
    assert status(result) == "OK"
    assert isinstance(result, Measurement)
    assert result.runs == 150
    assert device.processes() == {}


def test_cleaning_waits_for_a_session(bench: Bench, device: Double, server: Server) -> None:
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.extend(bench.run(device, "sleep 0.7\n" + GOOD, blocks=1)))
    thread.start()
    until(lambda: any("benchmark_model --graph=" in command for command in device.processes().values()))
    cleaned = CliRunner().invoke(devices, ["--clean", device.address, "--adb-server", server.address])
    thread.join()
    assert cleaned.exit_code == 0, cleaned.output
    assert [status(result) for result in results] == ["OK"]  # type: ignore[arg-type]
    assert not (device.root / OURS).exists()


def test_other_peoples_processes_live_on(device: Double, phone: Phone) -> None:
    Workspace(phone).open()
    run, files = "run/0123456789ab", "files/" + "0123456789abcdef" * 2
    paths = (f"{ROOT}/notes", f"{ROOT}-mine/{run}", f"{ROOT}/run/", "/data/local/tmp/benchmark_model", f"x{ROOT}/runs/{run}")
    others = [on_device(device, "sh", "-c", "sleep 60; :", str(device.root) + path) for path in paths]
    ours = [on_device(device, "sh", "-c", "sleep 60; :", f"{device.root}{ROOT}/{part}/x") for part in (run, files)]
    until(lambda: len(device.processes()) >= 2 * len(others + ours))
    try:
        killed = Workspace(phone).sweep() + Workspace(phone).open()
        assert [process.wait(10) for process in ours] == [-9, -9], killed
        assert [process.poll() for process in others] == [None] * len(others)
    finally:
        for process in others:
            os.killpg(process.pid, 9)
            process.wait()


def test_a_sweep_of_a_session_that_lost_its_device_ends_nothing(device: Double, phone: Phone) -> None:
    first, second = Workspace(phone), Workspace(phone)
    first.open()
    second.open()
    theirs = on_device(device, "sh", "-c", "sleep 60; :", f"{device.root}{ROOT}/run/0123456789ab")
    try:
        first.sweep()
        first.close()
        assert theirs.poll() is None
        second.sweep()
        assert theirs.wait(10) == -9
    finally:
        theirs.kill()
        theirs.wait()


@pytest.mark.parametrize("damage", [b"", b"other", None])
def test_what_lies_there_is_not_believed_by_its_name(bench: Bench, device: Double, damage: bytes | None) -> None:
    (first,) = bench.run(device)
    (there,) = device.root.glob(f"{OURS}/files/*/model.tflite")
    # Same size, other content, is the worst.
    there.write_bytes(bytes(there.stat().st_size) if damage is None else damage)
    (again,) = bench.run(device)
    assert [status(first), status(again)] == ["OK", "OK"]
    assert there.read_bytes() == bench.network.read_bytes()


@pytest.mark.parametrize("change", ["short", "other", "nothing"])
def test_a_push_that_stores_something_else(bench: Bench, device: Double, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    whole = Sync._send

    def lying(self: Sync, kind: bytes, path_and_mode: str) -> None:
        whole(self, kind, path_and_mode)
        place = self.place(path_and_mode.rpartition(",")[0])
        content = place.read_bytes()
        place.write_bytes({"short": content[:-1], "other": content[::-1], "nothing": b""}[change])

    monkeypatch.setattr(Sync, "_send", lying)
    first, second = bench.run(device, delegates=("xnnpack", "cpu"))
    for result in (first, second):
        assert failure(result).status == "UNKNOWN"
        assert "did not arrive whole" in str(result)
    assert not device.runs()


def test_a_sync_service_that_hangs_up(bench: Bench, device: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sync, "_send", lambda self, *_: self.stream.write(b"DONE" + bytes(4)))
    (result,) = bench.run(device)
    assert failure(result).status in ("UNKNOWN", "DEVICE_LOST")
    assert not device.runs()
    assert device.processes() == {}


def test_a_network_that_changes_while_it_waits(bench: Bench, device: Double) -> None:
    runner, job = bench.runner(), bench.job()
    bench.network.write_bytes(bench.network.read_bytes() + b"\0")
    hardware = runner.find(f"{device.address}/xnnpack")
    assert hardware is not None
    (result,) = [result for _, _, result in runner.batch(device.address, [(job, hardware)])]
    assert failure(result).status == "UNKNOWN"
    assert "changed since it was read" in str(result)
    assert not device.runs()


def test_another_phone_at_the_same_address(bench: Bench, device: Double) -> None:
    swap = "sed -i s/DOUBLE0001/DOUBLE0002/ $DEVICE_ROOT/state/props\n"
    results = bench.run(device, swap + GOOD, delegates=("xnnpack", "cpu"))
    assert [failure(result).status for result in results] == ["DEVICE_LOST"] * 2
    assert "is another one now (DOUBLE0002" in str(results[0])


def test_another_phone_after_a_break(bench: Bench, device: Double) -> None:
    device.drop_on, device.drop_after_s = "exec taskset", 0.2
    runner = bench.runner("sleep 1.2\n" + GOOD)
    runner.facts(device.address)
    props = device.root / "state/props"
    threading.Timer(0.8, lambda: props.write_text(props.read_text().replace("DOUBLE0001", "DOUBLE0002"))).start()
    results = bench.batch(runner, device, ("xnnpack",))
    assert [failure(result).status for result in results] == ["DEVICE_LOST"]


def test_a_break_right_after_a_run(bench: Bench, device: Double) -> None:
    device.drop_on, device.drop_after_s = "od -An", 0.0
    (result,) = bench.run(device)
    assert status(result) == "OK"
    assert device.drops == 0
    assert len(device.runs()) == 2


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_folder_that_cannot_be_ours(bench: Bench, device: Double, kind: str, tmp_path: Path) -> None:
    place = device.root / OURS
    (tmp_path / "precious/run").mkdir(parents=True)
    (tmp_path / "precious/run/file").write_text("1")
    if kind == "file":
        place.write_text("1")
    else:
        place.symlink_to(tmp_path / "precious")
    with pytest.raises(MeasurementError, match="cannot make /data/local/tmp/mhmodels"):
        bench.run(device)
    assert (tmp_path / "precious/run/file").exists()
    assert not device.runs()


def test_settings_that_somebody_else_wrote_down(device: Double, phone: Phone) -> None:
    Workspace(phone).open()
    (device.root / OURS / "restore").write_text(
        "global adb_enabled 0\nsystem screen_brightness 77\nsystem screen_brightness $(id)\nsecure x 1\n"
    )
    Workspace(phone).open()
    assert (device.root / "state/settings/system/screen_brightness").read_text().strip() == "77"
    assert not (device.root / "state/settings/global").exists()
    assert not (device.root / "state/settings/secure").exists()


def test_a_tool_that_is_ended_from_outside_is_no_cross_in_the_table(bench: Bench, device: Double) -> None:
    (result,) = bench.run(device, "kill -KILL $$")
    assert failure(result).status == "CRASH"
    assert "ended from outside" in str(result)
    (result,) = bench.run(device, "kill -SEGV $$")
    assert status(result) == "CRASH"
    assert isinstance(result, Measurement)
    assert result.median_ms is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("overall=2.5", "overall=1e305"),
        ("overall=2.5", "overall=1e999"),
        ("Init: 4100", "Init: -1"),
        ("Init: 4100", "Init: 1e999"),
    ],
)
def test_numbers_that_no_row_holds(bench: Bench, device: Double, tmp_path: Path, old: str, new: str) -> None:
    (result,) = bench.run(device, APPLIED + NUMBERS.replace(old, new), blocks=1)
    assert isinstance(result, Measurement)
    with Store(tmp_path / "results.db") as store:
        store.add(result)
        assert [row.median_ms for row in store] == [pytest.approx(0.12)]


NASTY = {
    "ro.product.model": "Ph\x1b[2J\x1b]0;owned\x07one\x9b31m ‮[red]x[/red]",
    "ro.product.manufacturer": "A\x08\x08cme",
    "ro.build.fingerprint": "f\x1b[31m" + "x" * 5000,
    "ro.build.version.sdk": "³³",
    "ro.soc.model": "'; DROP TABLE measurements; --",
}


def test_a_phone_whose_names_are_commands_for_the_terminal(
    bench: Bench, make_device: MakeDevice, server: Server, tmp_path: Path
) -> None:
    device = make_device(NASTY)
    state = device.root / "state"
    (state / "battery").write_text(f"  level: {'9' * 5000}\n  temperature: ²\n  status: ٣\n")
    (state / "thermalservice").write_text(
        f"Thermal Status: {'9' * 5000}\nCurrent temperatures from HAL:\n"
        "\tTemperature{mValue=1.2.3, mType=3, mName=\x1b[2J, mStatus=0}\n"
        f"\tTemperature{{mValue={'9' * 400}, mType=3, mName=S, mStatus=0}}\n"
    )
    (state / "df").write_text("Filesystem\n/dev/block 9 9 ² 99% /data\n")
    (device.root / "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq").write_text("²\n")
    for words in ((), ("--json",)):
        shown = CliRunner().invoke(devices, ["--adb-server", server.address, *words], catch_exceptions=False)
        assert shown.exit_code == 0, shown.output
        assert all(c.isprintable() or c == "\n" for c in shown.stdout)
    (result,) = bench.run(device)
    assert isinstance(result, Measurement), str(result)
    assert result.device.isprintable()
    assert len(result.device) < 600
    with Store(tmp_path / "results.db") as store:
        store.add(result)
        assert [row.device for row in store] == [result.device]
    assert json.loads(json.dumps(result.device_state))["battery_level"] is None


def test_a_phones_name_is_no_markup_of_the_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr("mhmodels.cli.common.progress_console", lambda: Console(file=screen, force_terminal=True, width=200))
    with step_bar("preparing") as advance:
        advance("net on Phone [/] 4, xnnpack: block 1/5", 0, 1)
    assert "Phone [/] 4" in screen.getvalue()


def test_more_cores_than_any_phone_has(device: Double, adb: Adb) -> None:
    core = device.root / "sys/devices/system/cpu/cpu99999999"
    (core / "cpufreq").mkdir(parents=True)
    (core / "cpufreq/cpuinfo_max_freq").write_text("9999999\n")
    facts = read_facts(Phone(adb, device.address), Delegates().libraries())
    assert f"{facts.big_mask:x}" == "f0"


def test_words_of_a_delegate_file_stay_words(bench: Bench, device: Double, tmp_path: Path, server: Server) -> None:
    file = tmp_path / "own.toml"
    file.write_text(
        '[[delegates]]\nid = "own"\ntitle = "Own"\nformats = ["float32"]\nlibraries = ["/vendor/lib64/none.so"]\n'
        'flags = {use_xnnpack = "true", x = "$(touch /data/local/tmp/owned) `id`; \' \\" x"}\n'
        'environment = {A = "$(touch /data/local/tmp/owned) \' \\" b"}\nproof = {names = ["XNNPACK"]}\n'
    )
    tool, network = tmp_path / "benchmark_model", tiny.convolutions(tmp_path / "net.tflite", "float32")
    tool.write_text(f'#!/bin/sh\nprintf %s "$A" > $DEVICE_ROOT/state/seen\n{GOOD}')
    tool.chmod(0o755)

    words = [
        "bench",
        str(network),
        "--device",
        device.address,
        "--delegate",
        "own",
        "--delegates-file",
        str(file),
        "--blocks",
        "1",
    ]
    options = ["--benchmark-binary", str(tool), "--adb-server", server.address, "--store", str(tmp_path / "r.db")]
    result = CliRunner().invoke(cli, [*words, *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert (device.root / "state/seen").read_text() == f"$(touch {device.root}/data/local/tmp/owned) ' \" b"
    assert not list(device.root.rglob("owned"))
