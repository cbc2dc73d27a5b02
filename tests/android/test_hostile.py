"""Devices and tools that lie, flood, vanish and hang: a status each, no wrong row, and the other devices go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mhmodels.android_bench.session.rows import PhoneFailure
from mhmodels.android_bench.session.workspace import Workspace
from mhmodels.android_bench.transport.phone import Phone
from mhmodels.store import Store

from .conftest import Bench, status
from .double import Double, Server
from .tools import APPLIED, GOOD, NUMBERS, tool

LATER = NUMBERS.replace("avg=120.5", "avg=9e9").replace("max=131", "max=9e9").replace("(avg): 120.5", "(avg): 9e9")
ZERO = NUMBERS.replace(
    "count=50 first=121 curr=120 min=118 max=131 avg=120.5 std=2 p5=118 median=120 p95=125",
    "count=50 first=0 curr=0 min=0 max=0 avg=0 std=0 p5=0 median=0 p95=0",
).replace("(avg): 120.5", "(avg): 0")
BACK = NUMBERS.replace("min=118 max=131", "min=-3599999880 max=131")
GARBAGE = "seq 1 20000 | gzip -n\n"

# name: what the tool does, its status. None of them may give a latency.
HOSTILE = {
    "10 MB without a line end": ("head -c 10000000 /dev/zero | tr '\\0' x" + GOOD, "UNKNOWN"),
    "10 MB of lines beside a good run": ("yes hello | head -c 10000000 >&2\n" + GOOD, "UNKNOWN"),
    "10 MB of lines": ("yes 'INFO: count=1 curr=1' | head -c 10000000\n" + GOOD, "UNKNOWN"),
    "binary garbage and nothing else": (GARBAGE, "UNKNOWN"),
    "terminal codes and nothing else": ("printf '\\033[2J\\033[31mINFO: count=1 curr=5\\033[0m\\n'", "UNKNOWN"),
    "exit code 0 and nothing": ("exit 0", "UNKNOWN"),
    "0 µs": (APPLIED + ZERO, "UNKNOWN"),
    "time set back during the run": (APPLIED + BACK, "UNKNOWN"),
    "time set forward during the run": (APPLIED + LATER, "UNKNOWN"),
    "fills the disk": ("echo 'ERROR: No space left on device' >&2; exit 1", "UNKNOWN"),
    "a latency of the CPU's": ("echo 'WARN: Unconsumed cmdline flags: --use_xnnpack=true'" + NUMBERS, "FLAG_UNSUPPORTED"),
    "a latency without proof": (NUMBERS, "UNKNOWN"),
    "a latency and exit code 1": (GOOD + "exit 1", "UNKNOWN"),
    "a latency and a crash": (GOOD + "kill -SEGV $$", "CRASH"),
    "a latency and an abort": (GOOD + "kill -ABRT $$", "CRASH"),
    "cut off in the middle": (APPLIED + NUMBERS.partition("echo\n")[0] + "kill -KILL $$", "CRASH"),
    "12,000 failures": ("yes 'ERROR: Node number 6 (X) failed to invoke.' | head -12000 >&2\n" + GOOD + "exit 1", "INVOKE_ERROR"),
    "a linker's complaint": ('echo \'CANNOT LINK EXECUTABLE "x": library "y" not found\' >&2; exit 1', "LINK_ERROR"),
    "no such interpreter": ("exec /data/local/tmp/not-there", "NOT_EXECUTABLE"),
    "closes its streams and stays": ("exec >/dev/null 2>&1 </dev/null; sleep 300", "TIMEOUT"),
    "never ends, silent": ("sleep 300", "TIMEOUT"),
    "never ends, talking": ("while true; do echo busy; sleep 0.1; done", "TIMEOUT"),
    "talks without end": ("yes 'INFO: nothing'", "UNKNOWN"),
}


LONG = (
    "10 MB of lines beside a good run",
    "10 MB of lines",
    "talks without end",
    "never ends, silent",
    "closes its streams and stays",
)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] if name in LONG else []) for name in HOSTILE])
def test_no_wrong_row(bench: Bench, device: Double, name: str) -> None:
    body, expected = HOSTILE[name]
    (result,) = bench.run(device, body, blocks=1, timeout_s=1.5 if expected == "TIMEOUT" else 30.0, prepare=False)
    assert status(result) == expected, str(result)
    assert isinstance(result, PhoneFailure) or (result.median_ms is None and result.reason)
    assert device.processes() == {}


@pytest.mark.parametrize("noise", [GARBAGE, "printf '\\033[31m\\n'", "printf '\\377\\376\\n\\r\\n'"])
def test_noise_beside_a_good_run_costs_nothing(bench: Bench, device: Double, noise: str) -> None:
    (result,) = bench.run(device, f"{noise}\necho\n{GOOD}\n{noise}", blocks=1, prepare=False)
    assert not isinstance(result, PhoneFailure), str(result)
    assert result.median_ms == pytest.approx(0.12)


HARNESS = """
import sys
from mhmodels.android_bench import PhonePlan, PhoneRunner, PhoneRunnerOptions
from mhmodels.hardware import prepare
from mhmodels.store import Store
server, serial, binary, network, store = sys.argv[1:]
runner = PhoneRunner(PhoneRunnerOptions(adb_server=server, binaries=(binary,), plan=PhonePlan(blocks=2)))
jobs = [(prepare(network, label=f"net{i}"), runner.find(f"{serial}/{d}")) for i in range(50) for d in ("xnnpack", "cpu")]
with Store(store) as rows:
    for _, _, result in runner.batch(serial, jobs):
        rows.add(result)
        print("row", flush=True)
"""


def harness(server: Server, device: Double, binary: Path, network: Path, store: Path) -> subprocess.Popen[str]:
    words = [server.address, device.address, str(binary), str(network), str(store)]
    return subprocess.Popen([sys.executable, "-c", HARNESS, *words], stdout=subprocess.PIPE, text=True, env=os.environ)


@pytest.mark.parametrize("rows", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_a_killed_harness(bench: Bench, server: Server, device: Double, phone: Phone, tmp_path: Path, rows: int) -> None:
    (device.root / "state/settings/system").mkdir()
    (device.root / "state/settings/system/screen_brightness").write_text("99\n")
    # A tool that outlives the connection, as a wedged driver does.
    slow = tool(tmp_path, "trap '' HUP\nsleep 1\n" + GOOD)
    with harness(server, device, slow, bench.network, tmp_path / "results.db") as process:
        assert process.stdout is not None
        seen = sum(1 for _ in zip(range(rows), process.stdout, strict=False))
        deadline = time.monotonic() + 60
        while not any("benchmark_model" in command for command in device.processes().values()) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen += len(process.stdout.readlines())
    with Store(tmp_path / "results.db") as store:
        assert len(store) >= seen >= rows
        assert all(row.median_ms == pytest.approx(0.12) for row in store)
    assert (device.root / "state/settings/system/screen_brightness").read_text().strip() == "0"
    tidied = Workspace(phone).open()
    assert device.processes() == {}
    assert (device.root / "state/settings/system/screen_brightness").read_text().strip() == "99"
    assert any("screen_brightness" in line for line in tidied)
    # And the lock went with its holder.
    (result,) = bench.run(device, blocks=1)
    assert status(result) == "OK"


def test_an_interrupted_command(bench: Bench, server: Server, device: Double, tmp_path: Path) -> None:
    binary = tool(tmp_path, "sleep 30\n" + GOOD)
    words = ["bench", str(bench.network), "--device", device.address, "--delegate", "xnnpack", "--benchmark-binary", str(binary)]
    command = [sys.executable, "-m", "mhmodels", *words, "--adb-server", server.address, "--store", str(tmp_path / "r.db")]

    def heed_interrupts() -> None:
        # A background job of a script starts with the interrupt ignored, and its children inherit that.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts) as process:
        deadline = time.monotonic() + 60
        while not any("benchmark_model" in command for command in device.processes().values()) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "what was written before is kept" in said
    assert device.processes() == {}
    assert not (device.root / "state/settings/system/screen_brightness").exists()
