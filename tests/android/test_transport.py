"""The transport: the real adb client and server against the device double."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from mhmodels.android_bench.errors import AdbError, CancelledError, DeviceLostError, DeviceUnauthorizedError, NoSpaceError
from mhmodels.android_bench.transport.adb import Adb, find_adb
from mhmodels.android_bench.transport.diagnosis import diagnose
from mhmodels.android_bench.transport.listing import parse_devices
from mhmodels.android_bench.transport.phone import Phone, quote, sections, split_sections
from mhmodels.android_bench.transport.process import Capture, ProcessResult, run_program
from mhmodels.android_bench.transport.server import server_address, states_of

from .conftest import MakeDevice
from .double import MODERN, Double, Server


def test_exit_codes_and_streams_are_kept_apart(phone: Phone) -> None:
    said = phone.script("echo out; echo err >&2; exit 7")
    assert (said.rc, said.stdout, said.stderr) == (7, "out\n", "err\n")
    assert phone.script("true").rc == 0
    run = phone.tool("echo out; echo err >&2; exec sh -c 'kill -9 $$'", timeout_s=10)
    assert (run.rc, run.stdout, run.stderr) == (137, b"out\n", b"err\n")


def test_an_old_phone_has_exit_codes_too(make_device: MakeDevice, adb: Adb) -> None:
    phone = Phone(adb, make_device(features="cmd").address)
    said = phone.script("echo out; echo err >&2; exit 7")
    assert said.rc == 7
    assert sorted(said.stdout.split()) == ["err", "out"]
    run = phone.tool("exec sh -c 'echo tool; exit 3'", timeout_s=10)
    assert (run.rc, run.stdout) == (3, b"tool\n")
    with pytest.raises(AdbError, match="too long"):
        phone.script("true\n" * 1000)


def test_nothing_from_outside_reaches_the_shell(phone: Phone, device: Double) -> None:
    nasty = "a'b\"c $(touch /data/local/tmp/owned) `id` \n ; | & é \\"
    assert phone.script(f"printf %s {quote(nasty)}").stdout.encode() == nasty.replace("/data", f"{device.root}/data").encode()
    assert not (device.root / "data/local/tmp/owned").exists()
    with pytest.raises(AdbError, match="NUL"):
        quote("a\0b")


@pytest.mark.parametrize("size", [0, 1, 65536, 3_000_001])
def test_files_arrive_whole(phone: Phone, device: Double, tmp_path: Path, size: int) -> None:
    local = tmp_path / "it's a $(name).bin"
    local.write_bytes(bytes(i % 251 for i in range(size)))
    phone.push(local, "/data/local/tmp/x.bin")
    assert (device.root / "data/local/tmp/x.bin").read_bytes() == local.read_bytes()
    phone.pull("/data/local/tmp/x.bin", tmp_path / "back.bin")
    assert (tmp_path / "back.bin").read_bytes() == local.read_bytes()


def test_folders_come_back(phone: Phone, device: Double, tmp_path: Path) -> None:
    folder = device.root / "data/local/tmp/out"
    folder.mkdir()
    (folder / "a").write_text("1")
    (folder / "b").write_text("2")
    phone.pull("/data/local/tmp/out", tmp_path / "out")
    assert {f.name: f.read_text() for f in (tmp_path / "out").iterdir()} == {"a": "1", "b": "2"}


def test_where_a_phone_does_not_let_write(phone: Phone, device: Double, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 1000)
    with pytest.raises(AdbError, match="Permission denied"):
        phone.push(tmp_path / "f", "/system/x")
    device.capacity = 100
    with pytest.raises(NoSpaceError, match="No space left"):
        phone.push(tmp_path / "f", "/data/local/tmp/f")
    with pytest.raises(AdbError, match="nothing-here"):
        phone.pull("/data/local/tmp/nothing-here", tmp_path / "g")


def test_several_devices_and_their_states(make_device: MakeDevice, adb: Adb) -> None:
    good, closed = make_device(), make_device(auth="reject")
    by_serial = {line.serial: line for line in adb.devices()}
    assert by_serial[good.address].problem == ""
    assert by_serial[good.address].details["model"] == "Phone_4"
    assert "allow USB debugging" in by_serial[closed.address].problem
    with pytest.raises(DeviceUnauthorizedError, match="unlock the screen"):
        Phone(adb, closed.address, wait_s=1).script("true")
    with pytest.raises(DeviceLostError, match="did not come back within 1 s"):
        Phone(adb, "no-such-serial", wait_s=1).script("true")


def test_what_adb_lists() -> None:
    text = (
        "* daemon started successfully\nList of devices attached\n"
        "0A1B2C               device usb:1-2 product:flame model:Pixel_4 device:flame transport_id:1\n"
        "adb-X-y._adb-tls-connect._tcp offline transport_id:2\n"
        "FFFF no permissions (user in plugdev group; are your udev rules wrong?); see [http://developer.android.com/tools]"
        " usb:1-3 transport_id:3\n\n"
    )
    first, second, third = parse_devices(text)
    assert first.details["model"] == "Pixel_4"
    assert (first.problem, second.state) == ("", "offline")
    assert "adb reconnect" in second.problem
    assert "udev" in third.problem


def test_serials_with_spaces() -> None:
    name = "adb-0A1B (2)._adb-tls-connect._tcp"
    for line, state in (
        (f"{name} device product:flame model:Pixel_4 device:flame transport_id:3", "device"),
        (f"{name}\tunauthorized transport_id:3", "unauthorized"),
        (
            f"{name} no permissions; see [http://developer.android.com/tools]",
            "no permissions; see [http://developer.android.com/tools]",
        ),
    ):
        (found,) = parse_devices(f"List of devices attached\n{line}\n")
        assert (found.serial, found.state) == (name, state)
    # A state that no adb has had yet.
    assert [(line.serial, line.state) for line in parse_devices("0A1B      dozing usb:1-2 device:x\n")] == [("0A1B", "dozing")]


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        ("adb: error: failed to read copy response: EOF", True),
        ("adb: error: failed to copy 'a' to 'b': EOF", True),
        ("error: device '0A1B' not found", True),
        ("adb: device offline", True),
        ("* cannot connect to daemon at tcp:127.0.0.1:5037: Connection refused", True),
        ("adb: error: cannot stat '/tmp/EOF/device offline.tflite': No such file or directory", False),
        ("adb: error: failed to copy '/tmp/x: EOF' to '/data/x': remote couldn't create file: Permission denied", False),
        ("a delegate says: device offline\nand its file ends: EOF", False),
    ],
)
def test_what_adb_says_of_a_lost_device(said: str, lost: bool) -> None:
    error = diagnose(ProcessResult(1, b"", said.encode(), 0.1, "", 0), "pushing")
    assert isinstance(error, DeviceLostError) == lost


def test_a_phone_that_restarted_is_waited_for_until_it_has_started(phone: Phone, device: Double) -> None:
    count = "n=$DEVICE_ROOT/state/asked; echo >> $n; [ $(wc -l < $n) -gt 2 ] && echo 1"
    getprop = device.root / "system/bin/getprop"
    getprop.write_text(f'#!/bin/sh\ncase "$1" in sys.boot_completed) {count};; *) echo 33;; esac\n')
    phone.wait_back()  # a device that never told is not asked to
    assert len((device.root / "state/asked").read_text()) == 1
    phone.tells_start = True
    phone.wait_back()
    assert len((device.root / "state/asked").read_text()) == 3


def test_a_broken_connection_is_mended(phone: Phone, device: Double) -> None:
    device.drop_on, device.drop_after_s = "sleep", 0.1
    said = phone.script("sleep 0.5; echo done")
    assert said.stdout == "done\n"
    assert len([c for c in device.commands if "sleep" in c]) == 2


def test_a_connection_that_breaks_in_the_middle_of_an_answer(phone: Phone, device: Double) -> None:
    device.drop_on, device.drop_after_s = "sleep", 0.3
    assert phone.script("echo some; echo trouble >&2; sleep 0.6; echo rest").stdout == "some\nrest\n"


def test_a_run_is_not_repeated_when_the_connection_breaks(phone: Phone, device: Double) -> None:
    device.drop_on, device.drop_after_s = "sleep", 0.2
    run = phone.tool("echo start; exec sleep 20", timeout_s=10)
    assert run.rc is None
    assert run.lost
    assert run.wall_s < 8
    phone.wait_back()
    assert phone.script("echo again").stdout == "again\n"


@pytest.mark.parametrize("features", [MODERN, "cmd"])
def test_a_program_that_ends_with_adbs_own_code(make_device: MakeDevice, adb: Adb, features: str) -> None:
    phone = Phone(adb, make_device(features=features).address, wait_s=5)
    run = phone.tool("echo out; exec sh -c 'exit 255'", timeout_s=10)
    assert (run.rc, run.lost, run.stdout) == (255, "", b"out\n")
    other = make_device(features=features)
    other.drop_on, other.drop_after_s = "sleep", 0.2
    lost = Phone(adb, other.address, wait_s=5).tool("exec sleep 20", timeout_s=10)
    assert lost.rc is None
    assert "connection was cut" in lost.lost


def test_a_break_of_another_device_is_none_of_ours(make_device: MakeDevice, adb: Adb) -> None:
    device, other = make_device(), make_device()
    threading.Timer(0.2, other.break_off).start()
    run = Phone(adb, device.address).tool("sleep 0.4; exec sh -c 'exit 255'", timeout_s=10)
    assert (run.rc, run.lost) == (255, "")


def test_what_a_server_tells_of_a_device() -> None:
    lists = ("A\tdevice\n", "A\tdevice\nB (2)\toffline\n", "", "A\toffline\n")
    heard = b"OKAY" + b"".join(b"%04x%s" % (len(text), text.encode()) for text in lists)
    assert states_of(heard, "A") == ["device", "device", "", "offline"]
    assert states_of(heard, "B (2)") == ["", "offline", "", ""]
    assert states_of(heard[:-3], "A") == ["device", "device", ""]
    assert states_of(b"FAIL0003why", "A") == states_of(b"\xff\xff", "A") == states_of(b"", "A") == []


def test_which_server_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ADB_SERVER_SOCKET", "ANDROID_ADB_SERVER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert server_address(["-H", "::1", "-P", "5038"]) == ("::1", 5038)
    assert server_address([]) == ("localhost", 5037)
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "6000")
    assert server_address([]) == ("localhost", 6000)
    for place, address in (("tcp:5040", ("localhost", 5040)), ("tcp:h:1", ("h", 1)), ("tcp:[::1]:2", ("::1", 2))):
        monkeypatch.setenv("ADB_SERVER_SOCKET", place)
        assert server_address([]) == address
    monkeypatch.setenv("ADB_SERVER_SOCKET", "localfilesystem:/tmp/adb")
    with pytest.raises(ValueError, match="is not an address"):
        server_address([])


def test_total_time_limits(phone: Phone, device: Double) -> None:
    start = time.monotonic()
    run = phone.tool("while true; do echo busy; sleep 0.1; done", timeout_s=1)
    assert (run.stopped, run.rc) == ("timeout", None)
    assert b"busy" in run.stdout
    device.hang_on = "never"
    with pytest.raises(DeviceLostError, match=r"broke 3 times|no answer"):
        phone.script("echo never", timeout_s=0.5)
    assert time.monotonic() - start < 20


def test_a_stop_on_request(server: Server, device: Double) -> None:
    cancel = threading.Event()
    phone = Phone(Adb(server=server.address, cancel=cancel), device.address)
    threading.Timer(0.5, cancel.set).start()
    with pytest.raises(CancelledError):
        phone.tool("exec sleep 30", timeout_s=60)


def test_a_flood_is_bounded() -> None:
    done = run_program(["sh", "-c", "yes 0123456789"], timeout_s=30, flood_bytes=8 << 20)
    assert done.stopped == "flood"
    assert len(done.stdout) <= 2 << 20
    assert set(done.stdout.split(b"\n")) <= {b"0123456789", b""}
    assert done.dropped > 5 << 20


def test_what_is_kept_of_long_output() -> None:
    capture = Capture(head=10, tail=10)
    capture.feed(b"first\nsecond\nthird\nfourth\nlast\n")
    assert capture.result() == (b"first\nlast\n", 20)
    capture = Capture(head=10, tail=10)
    capture.feed(b"x" * 100)
    assert capture.result() == (b"", 100)


def test_a_slow_link(phone: Phone, device: Double, tmp_path: Path) -> None:
    device.bytes_per_s = 400_000
    (tmp_path / "f").write_bytes(b"y" * 300_000)
    start = time.monotonic()
    phone.push(tmp_path / "f", "/data/local/tmp/f")
    assert time.monotonic() - start > 0.5
    assert (device.root / "data/local/tmp/f").stat().st_size == 300_000


def test_outputs_of_several_commands() -> None:
    script, secret = sections({"a": "echo 1", "b": "false", "c": "printf 'x\\ny'"})
    done = run_program(["sh", "-c", script], timeout_s=5)
    assert split_sections(done.stdout.decode(), secret) == {"a": "1", "b": "", "c": "x\ny"}


def test_where_adb_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AdbError, match="not a program"):
        find_adb(tmp_path / "adb")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ANDROID_HOME", raising=False)
    with pytest.raises(AdbError, match="platform-tools"):
        find_adb()
    sdk = tmp_path / "sdk/platform-tools/adb"
    sdk.parent.mkdir(parents=True)
    sdk.write_text("#!/bin/sh\n")
    sdk.chmod(0o755)
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path / "sdk"))
    assert find_adb() == sdk
    with pytest.raises(AdbError, match="HOST:PORT"):
        Adb(sdk, server="nowhere")
