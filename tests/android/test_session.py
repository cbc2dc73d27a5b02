"""Sessions on the device double, through the real adb: what is run, in which order, and what is left behind."""

from __future__ import annotations

import gzip
import json
import shlex
import shutil
import threading
import time
from pathlib import Path

import pytest

from mhmodels.android_bench.delegates.catalogue import Delegates, load_delegates
from mhmodels.android_bench.delegates.command import DevicePaths, script
from mhmodels.android_bench.device.description import read_facts
from mhmodels.android_bench.device.limits import PhoneLimits
from mhmodels.android_bench.device.settings import SETTINGS
from mhmodels.android_bench.errors import AdbError, CancelledError, NoSpaceError
from mhmodels.android_bench.runner import PhoneRunner, PhoneRunnerOptions
from mhmodels.android_bench.session.rows import PhoneFailure
from mhmodels.android_bench.session.session import Session
from mhmodels.android_bench.session.tasks import PhonePlan
from mhmodels.android_bench.session.workspace import ROOT, Workspace
from mhmodels.android_bench.transport.adb import Adb
from mhmodels.android_bench.transport.phone import Phone
from mhmodels.android_bench.transport.process import run_program
from mhmodels.errors import FileFormatError, MeasurementError
from mhmodels.hardware import Measurement, prepare
from mhmodels.store import Store

from ..hardware import tiny
from .conftest import Bench, MakeDevice, status
from .double import MODERN, Double
from .tools import APPLIED, GOOD, NUMBERS, PROFILE, tool


def row(result: object) -> Measurement:
    assert isinstance(result, Measurement), result
    return result


def failure(result: object) -> PhoneFailure:
    assert isinstance(result, PhoneFailure), result
    return result


def test_a_row(bench: Bench, device: Double, tmp_path: Path) -> None:
    (result,) = bench.run(device)
    found = row(result)
    assert found.median_ms == pytest.approx(0.12)
    assert found.mean_ms == pytest.approx(0.1205)
    assert (found.min_ms, found.max_ms, found.p95_ms) == (0.118, 0.131, 0.125)
    assert (found.init_ms, found.first_ms) == (4.1, 0.19)
    assert (found.runs, found.warmup, found.dram_bytes) == (100, 9, 2621440)
    assert (found.kind, found.format, found.hardware) == ("measured", "float32", f"{device.address}/xnnpack")
    assert found.device.startswith("Double Phone 4 (double/double/double:13/")
    assert found.runtime.startswith("benchmark_model ")
    assert found.configuration["cores"] == "f0"
    state = found.device_state
    assert (state["status"], state["start_c"], state["battery_level"]) == ("OK", 29.4, 83)
    assert state["ci95_ms"] == pytest.approx([0.12, 0.12])
    log = json.loads(gzip.decompress(Path(state["log"]).read_bytes()))
    assert len(log["blocks"]) == 2
    assert "count=50" in log["blocks"][0]["stdout"]
    with Store(tmp_path / "results.db") as store:
        store.add(found)
        assert store.latest([found.hardware]) == []
        assert [entry.median_ms for entry in store] == [found.median_ms]


def test_delegates_take_turns_there_and_back(bench: Bench, device: Double) -> None:
    results = bench.run(device, delegates=("cpu", "xnnpack", "gpu-opencl"), blocks=3)
    assert [status(result) for result in results] == ["OK"] * 3
    names = {"use_xnnpack=false": "c", "use_xnnpack=true": "x", "use_gpu=true": "g"}
    order = "".join(next(short for flag, short in names.items() if flag in command) for command in device.runs())
    assert order == "cxggxccxg"


def test_one_thread_on_the_big_cores_in_place_of_the_shell(bench: Bench, device: Double) -> None:
    bench.run(device)
    command = device.runs()[0].splitlines()[-1]
    words = shlex.split(command)
    assert words[:3] == ["exec", "taskset", "f0"]
    assert {"--num_threads=1", "--num_runs=25", "--use_xnnpack=true"} <= set(words)
    assert len({word.partition("=")[0] for word in words[4:]}) == len(words[4:])
    # What watches the clocks keeps off those cores.
    assert set((device.root / "state/taskset.log").read_text().split()) == {"f0", "f"}


def test_files_are_pushed_once(bench: Bench, device: Double) -> None:
    runner = bench.runner()
    bench.batch(runner, device, ("xnnpack", "cpu"))
    pushed = [command for command in device.commands if ".part" in command and "chmod 755" in command]
    assert len(pushed) == 2
    assert all("sha256sum" in command for command in pushed)
    bench.batch(bench.runner(), device, ("xnnpack",))
    assert len([command for command in device.commands if "chmod 755" in command]) == 2


def test_what_did_not_arrive_whole_is_not_used(bench: Bench, device: Double) -> None:
    (device.root / "system/bin/sha256sum").write_text('#!/bin/sh\necho "0000  $1"\n')
    (device.root / "system/bin/sha256sum").chmod(0o755)
    (result,) = bench.run(device)
    assert "did not arrive whole" in str(failure(result))
    assert not device.runs()


def test_settings_are_changed_meanwhile_and_put_back(bench: Bench, device: Double) -> None:
    settings = device.root / "state/settings"
    (settings / "system").mkdir()
    (settings / "system/screen_brightness").write_text("128\n")
    seen = "settings get system screen_brightness > $DEVICE_ROOT/state/seen"
    bench.run(device, seen + GOOD)
    assert (device.root / "state/seen").read_text().strip() == "0"
    assert (settings / "system/screen_brightness").read_text().strip() == "128"
    assert not (settings / "global/stay_on_while_plugged_in").exists()
    device.commands.clear()
    bench.run(device, prepare=False, fixed_clocks=True)
    assert not [command for command in device.commands if "settings put" in command]
    log = (device.root / "state/cmd.log").read_text().split("\n")
    assert [line.split()[-1] for line in log if "fixed-performance" in line] == ["true", "false"]


def test_a_journal_from_outside_cannot_run_anything(device: Double, phone: Phone) -> None:
    folder = device.root / ROOT.lstrip("/")
    folder.mkdir(parents=True)
    (folder / "restore").write_text("system screen_brightness 77\nsystem x $(touch /data/local/tmp/owned)\nroot a b\n")
    assert Workspace(phone).open() == ["put back system screen_brightness of an earlier session"]
    assert (device.root / "state/settings/system/screen_brightness").read_text().strip() == "77"
    assert not (device.root / "data/local/tmp/owned").exists()


def test_low_battery_and_power_saving(bench: Bench, device: Double) -> None:
    battery = device.root / "state/battery"
    battery.write_text(battery.read_text().replace("level: 83", "level: 12").replace("status: 2", "status: 3"))
    with pytest.raises(MeasurementError, match="12 %, expected at least 30 %"):
        bench.run(device)
    assert row(bench.run(device, limits=PhoneLimits(battery_level=10))[0]).median_ms
    (device.root / "state/settings/global").mkdir(exist_ok=True)
    (device.root / "state/settings/global/low_power").write_text("1\n")
    with pytest.raises(MeasurementError, match="power-saving mode"):
        bench.run(device, limits=PhoneLimits(battery_level=10))
    assert not device.processes()


def test_a_battery_that_runs_low_meanwhile(bench: Bench, device: Double) -> None:
    drain = "sed -i 's/level: 83/level: 12/; s/status: 2/status: 3/' $DEVICE_ROOT/state/battery\n"
    with pytest.raises(MeasurementError, match="12 %, expected at least 30 %"):
        bench.run(device, drain + GOOD)
    assert len(device.runs()) == 1


def test_power_saving_that_comes_on_during_a_block(bench: Bench, device: Double) -> None:
    (result,) = bench.run(device, "settings put global low_power 1\n" + GOOD, blocks=1)
    assert row(result).noisy
    assert any("power-saving" in remark for remark in row(result).device_state["remarks"])


def test_a_warm_phone_is_waited_for(bench: Bench, device: Double) -> None:
    device.set_temperature(45.0)
    with pytest.raises(MeasurementError, match=r"too warm after 1 s \(45.0 °C"):
        bench.run(device, limits=PhoneLimits(poll_s=0.05, cool_down_s=1))
    threading.Timer(0.7, device.set_temperature, [30.0]).start()
    (result,) = bench.run(device, limits=PhoneLimits(poll_s=0.05, cool_down_s=20))
    assert row(result).device_state["start_c"] == 30.0
    device.set_temperature(30.0, status=3)
    with pytest.raises(MeasurementError, match="thermal status severe"):
        bench.run(device, limits=PhoneLimits(poll_s=0.05, cool_down_s=0.2))


def test_each_block_begins_as_cool_as_the_first(bench: Bench, device: Double) -> None:
    heat = "sed -i s/29.4/35.0/ $DEVICE_ROOT/state/thermalservice"
    threading.Timer(2, device.set_temperature, [29.0]).start()
    (result,) = bench.run(device, GOOD + heat, limits=PhoneLimits(poll_s=0.05, cool_down_s=30))
    assert row(result).device_state["waited_s"] > 0.3
    (result,) = bench.run(
        device, "sed -i s/29.0/39.0/ $DEVICE_ROOT/state/thermalservice" + GOOD, limits=PhoneLimits(poll_s=0.05, cool_down_s=0.2)
    )
    assert any("did not cool down" in remark for remark in row(result).device_state["remarks"])
    assert row(result).noisy


def test_throttling_shows(bench: Bench, device: Double) -> None:
    slow = "for f in $DEVICE_ROOT/sys/devices/system/cpu/cpu7/cpufreq/scaling_max_freq; do echo 1000000 > $f; done"
    (result,) = bench.run(device, slow + GOOD)
    assert row(result).device_state["throttled"]
    assert row(result).noisy


def test_throttling_from_before_a_block_shows(bench: Bench, device: Double) -> None:
    slow = "echo 1000000 > $DEVICE_ROOT/sys/devices/system/cpu/cpu7/cpufreq/scaling_max_freq\n"
    _, result = bench.run(device, slow + GOOD, delegates=("xnnpack", "cpu"), blocks=1)
    assert row(result).device_state["throttled"]
    assert row(result).noisy


@pytest.mark.parametrize("code", [255, 0])
def test_fixed_clocks_that_a_phone_refuses(bench: Bench, device: Double, code: int) -> None:
    (device.root / "system/bin/cmd").write_text(f"#!/bin/sh\necho 'Failed to set FIXED_PERFORMANCE mode'\nexit {code}\n")
    with pytest.raises(MeasurementError, match="fixed-performance-mode cannot be changed"):
        bench.run(device, fixed_clocks=True)
    assert not device.runs()
    assert not (device.root / "state/settings/system/screen_brightness").exists()


@pytest.mark.slow
def test_fixed_clocks_after_a_restart(bench: Bench, device: Double) -> None:
    device.drop_on, device.drop_after_s, device.reboots = "exec taskset", 0.2, True
    (result,) = bench.run(device, "sleep 1" + GOOD, fixed_clocks=True, prepare=False, blocks=1)
    assert status(result) == "OK"
    log = (device.root / "state/cmd.log").read_text().splitlines()
    assert [line.split()[-1] for line in log if "fixed-performance" in line] == ["true", "true", "false"]


@pytest.mark.slow
def test_throttling_within_a_block_shows(bench: Bench, device: Double) -> None:
    limit = "$DEVICE_ROOT/sys/devices/system/cpu/cpu7/cpufreq/scaling_max_freq"
    dip = f"sleep 0.3; echo 1000000 > {limit}; sleep 1.2; echo 2841600 > {limit}\n"
    (result,) = bench.run(device, dip + GOOD, blocks=1)
    assert row(result).device_state["throttled"]
    (result,) = bench.run(device, "sleep 1.2\n" + GOOD, blocks=1)
    assert not row(result).device_state["throttled"]


def test_a_run_that_never_ends(bench: Bench, device: Double) -> None:
    stubborn = "trap '' HUP TERM; (trap '' HUP TERM; sleep 300) & sleep 300"
    (result,) = bench.run(device, stubborn, timeout_s=1.0)
    assert failure(result).status == "TIMEOUT"
    assert device.processes() == {}


@pytest.mark.parametrize("features", [MODERN, pytest.param("cmd", marks=pytest.mark.slow)])
def test_the_watchdog_on_the_device(make_device: MakeDevice, adb: Adb, monkeypatch: pytest.MonkeyPatch, features: str) -> None:
    monkeypatch.setattr("mhmodels.android_bench.delegates.command.WATCHDOG_S", 1)
    device = make_device(features=features)
    stubborn = tool(device.root / "data/local/tmp", "trap '' HUP TERM; while :; do sleep 1; done")
    prepared = DevicePaths(f"/data/local/tmp/{stubborn.name}", f"{ROOT}/files/x", "/data")
    text = script(prepared, f"{ROOT}/run/0123456789ab", {"graph": prepared.graph}, {}, owned="true", mask=0, rest=0, timeout_s=0)
    run = Phone(adb, device.address).tool(text, timeout_s=20)
    assert run.rc == 137
    deadline = time.monotonic() + 10
    while device.processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert device.processes() == {}


@pytest.mark.parametrize("shell", ["sh", "mksh", "busybox"])
def test_what_runs_beside_does_not_keep_the_connection(shell: str, tmp_path: Path) -> None:
    """Android's shell is mksh, which keeps copies of redirected streams in other places than the shells of most machines."""
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"no {shell} on this machine (Debian: apt install {shell})")
    prepared = DevicePaths("/bin/echo", "g", "/data")
    text = script(prepared, str(tmp_path / "run"), {"graph": "g"}, {}, owned="true", mask=0, rest=0, timeout_s=0)
    done = run_program([path, *(["sh"] if shell == "busybox" else []), "-c", text], timeout_s=20)
    assert (done.rc, done.stdout, done.stderr, done.stopped) == (0, b"--graph=g\n", b"", "")


def test_what_a_run_leaves_running_is_ended(bench: Bench, device: Double) -> None:
    (result,) = bench.run(device, "sleep 300 </dev/null >/dev/null 2>&1 &" + GOOD)
    assert status(result) == "OK"
    assert device.processes() == {}


def test_a_phone_that_goes_away_once(bench: Bench, device: Double) -> None:
    device.drop_on, device.drop_after_s = "exec taskset", 0.2
    (result,) = bench.run(device, "sleep 1" + GOOD)
    assert status(result) == "OK"
    assert device.drops == 0
    assert len(device.runs()) == 3


@pytest.mark.slow
def test_a_phone_that_keeps_going_away(bench: Bench, device: Double) -> None:
    device.drop_on, device.drop_after_s, device.drops = "exec taskset", 0.1, 99
    results = bench.run(device, "sleep 5" + GOOD, delegates=("xnnpack", "cpu"))
    assert [failure(result).status for result in results] == ["DEVICE_LOST"] * 2


@pytest.mark.slow
def test_a_phone_that_stays_away(bench: Bench, device: Double) -> None:
    device.drop_on, device.drop_after_s, device.away_s = "exec taskset", 0.2, 60
    results = bench.run(device, "sleep 5" + GOOD, delegates=("xnnpack", "cpu"))
    assert [failure(result).status for result in results] == ["DEVICE_LOST"] * 2
    assert "did not come back within 3 s" in str(results[1])
    assert any("could not be tidied up" in line for line in bench.told)


def test_a_phone_that_restarts(bench: Bench, device: Double) -> None:
    device.drop_on, device.drop_after_s, device.reboots, device.away_s = "exec taskset", 0.2, True, 0.5
    (result,) = bench.run(device, "sleep 1" + GOOD)
    # Found again and measured again, whole blocks only.
    assert status(result) == "OK"
    silent = "cat /proc/sys/kernel/random/uuid > $DEVICE_ROOT/proc/sys/kernel/random/boot_id"
    (result,) = bench.run(device, silent + GOOD)
    assert failure(result).status == "DEVICE_LOST"
    assert "restarted" in str(result)


def test_a_phone_that_withdraws_its_permission(bench: Bench, device: Double) -> None:
    device.drop_on, device.drop_after_s = "exec taskset", 0.3
    runner = bench.runner("sleep 3" + GOOD)
    runner.facts(device.address)
    device.auth = "reject"
    results = bench.batch(runner, device, ("xnnpack", "cpu"))
    assert [failure(result).status for result in results] == ["UNAUTHORIZED"] * 2
    assert "unlock the screen" in str(results[0])


def test_a_full_phone(bench: Bench, device: Double) -> None:
    device.capacity = 100
    (result,) = bench.run(device)
    assert failure(result).status == "UNKNOWN"
    assert "storage is full" in str(result)
    device.capacity = None
    (device.root / "state/df").write_text("Filesystem 1K-blocks Used Available Use% Mounted on\n/dev/block 9 9 1000 99% /data\n")
    (result,) = bench.run(device)
    assert "devices --clean" in str(result)
    (device.root / "state/df").write_text("df: cannot read table\n")
    assert status(bench.run(device)[0]) == "OK"


def test_an_old_phone(bench: Bench, make_device: MakeDevice) -> None:
    device = make_device({"ro.build.version.sdk": "23", "ro.build.version.release": "6.0", "ro.soc.model": ""}, features="cmd")
    (device.root / "state/thermalservice").unlink()
    (device.root / "system/bin/sha256sum").write_text("#!/bin/sh\nexit 127\n")
    (device.root / "system/bin/sha256sum").chmod(0o755)
    ok, new = bench.run(device, delegates=("xnnpack", "nnapi"))
    assert row(ok).median_ms == pytest.approx(0.12)
    assert row(ok).device_state["start_c"] == 27.1
    assert "needs Android API 29, this is 23" in row(new).reason
    assert device.processes() == {}
    (result,) = bench.run(device, "exit 3")
    assert failure(result).status == "UNKNOWN"


def test_cores_that_cannot_be_chosen(bench: Bench, device: Double) -> None:
    (device.root / "system/bin/taskset").write_text("#!/bin/sh\nexit 1\n")
    (result,) = bench.run(device)
    assert row(result).configuration["cores"] == "0"
    assert any("cores could not be chosen" in remark for remark in row(result).device_state["remarks"])
    assert "taskset" not in device.runs()[0]


def test_a_tool_for_another_processor(bench: Bench, device: Double, tmp_path: Path) -> None:
    elf = tmp_path / "benchmark_model"
    elf.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00" + (62).to_bytes(2, "little") + bytes(100))
    runner = bench.runner()
    runner = PhoneRunner(
        PhoneRunnerOptions(adb_server=runner.options.adb_server, binaries=(str(elf),), plan=PhonePlan(prepare=False))
    )
    (result,) = bench.batch(runner, device, ("xnnpack",))
    assert failure(result).status == "NOT_EXECUTABLE"
    assert "is for x86_64, the device takes arm64-v8a" in str(result)
    assert not device.runs()


@pytest.mark.slow
def test_where_the_tool_comes_from(bench: Bench, device: Double, home: Path, tmp_path: Path) -> None:
    bare = PhoneRunner(PhoneRunnerOptions(adb_server=bench.runner().options.adb_server, plan=PhonePlan(blocks=1, prepare=False)))
    (result,) = bench.batch(bare, device, ("xnnpack",))
    assert failure(result).status == "NOT_EXECUTABLE"
    assert "android_aarch64_benchmark_model" in str(result)
    on_device = tool(device.root / "data/local/tmp")
    (result,) = bench.batch(PhoneRunner(bare.options), device, ("xnnpack",))
    assert status(result) == "OK"
    assert "/data/local/tmp/benchmark_model --graph" in device.runs()[-1].replace(f"{device.root}", "")
    on_device.unlink()
    (home / "android/arm64-v8a").mkdir(parents=True)
    tool(home / "android/arm64-v8a")
    assert status(bench.batch(PhoneRunner(bare.options), device, ("xnnpack",))[0]) == "OK"
    text = tmp_path / "benchmark_model.txt"
    text.write_text("hello")
    broken = PhoneRunner(PhoneRunnerOptions(adb_server=bare.options.adb_server, binaries=(str(text),)))
    (result,) = bench.batch(broken, device, ("xnnpack",))
    assert "not a program" in str(result)


def test_a_users_delegate_with_its_library(bench: Bench, device: Double, tmp_path: Path) -> None:
    (tmp_path / "own.json").write_text(
        json.dumps(
            {
                "delegates": [
                    {
                        "id": "mine",
                        "title": "Mine",
                        "formats": ["float32"],
                        "files": ["libmine*.so"],
                        "flags": {"external_delegate_path": "{folder}/libmine.so", "external_delegate_options": "a:b c;d:$(id)"},
                        "environment": {"LD_LIBRARY_PATH": "{folder}:/vendor/lib64"},
                        "proof": {"names": ["EXTERNAL"]},
                    }
                ]
            }
        )
    )
    libraries = tmp_path / "libs"
    libraries.mkdir()
    (libraries / "libmine.so").write_bytes(b"1")
    (libraries / "libmine2.so").write_bytes(b"2")
    seen = 'echo "$LD_LIBRARY_PATH" > $DEVICE_ROOT/state/seen; ls "${LD_LIBRARY_PATH%%:*}" >> $DEVICE_ROOT/state/seen\n'
    options = bench.runner(seen + GOOD).options
    own = load_delegates(tmp_path / "own.json")
    runner = PhoneRunner(
        PhoneRunnerOptions(adb_server=options.adb_server, binaries=options.binaries, delegates=own, plan=options.plan)
    )
    (result,) = bench.batch(runner, device, ("mine",))
    assert "needs libmine*.so, which is in none of" in str(failure(result))
    runner = PhoneRunner(
        PhoneRunnerOptions(
            adb_server=options.adb_server,
            binaries=options.binaries,
            delegates=own,
            plan=options.plan,
            libraries=(str(libraries),),
        )
    )
    (result,) = bench.batch(runner, device, ("mine",))
    assert status(result) == "OK"
    assert len(row(result).configuration["libraries"]) == 16
    assert (device.root / "state/seen").read_text().split()[-2:] == ["libmine.so", "libmine2.so"]
    assert "--external_delegate_options=a:b c;d:$(id)" in shlex.split(device.runs()[-1].splitlines()[-1])


PART = GOOD.replace("completely executed by the delegate.", "partially executed by the delegate w/ 2 delegate kernels.")
COUNTED = 'echo "VERBOSE: Replacing 5 out of 8 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 2 partitions." >&2'


def test_full_delegation_on_demand(bench: Bench, device: Double) -> None:
    (result,) = bench.run(device, PART + COUNTED)
    assert row(result).median_ms is not None
    assert (row(result).delegated_nodes, row(result).total_nodes, status(result)) == (5, 8, "PARTIAL")
    (result,) = bench.run(device, PART + COUNTED, require_full=True)
    assert row(result).median_ms is None
    assert "full delegation required: 5/8 nodes" in row(result).reason


def test_blocks_that_disagree(bench: Bench, device: Double) -> None:
    flag = "f=$DEVICE_ROOT/state/turn; if [ -e $f ]; then " + PART + COUNTED + "; else touch $f;" + GOOD + "; fi"
    (result,) = bench.run(device, flag)
    assert failure(result).status == "UNKNOWN"
    assert "disagree" in str(result)


def test_a_delegate_that_fails_is_not_tried_again(bench: Bench, device: Double) -> None:
    none = "echo 'INFO: Though XNNPACK delegate is explicitly applied, the model graph will not be executed by the delegate.'"
    bad, good = bench.run(
        device, f'case "$*" in *use_xnnpack=true*) {none};; *) {APPLIED} ;; esac\n{NUMBERS}', ("xnnpack", "cpu"), blocks=3
    )
    assert (row(bad).median_ms, status(bad)) == (None, "NOT_DELEGATED")
    assert row(good).median_ms
    assert len(device.runs("use_xnnpack=true")) == 1


def test_times_of_the_operators(bench: Bench, device: Double) -> None:
    (result,) = bench.run(device, GOOD + PROFILE, profile=True)
    operators = row(result).device_state["operators"]
    assert [(o["kind"], o["avg_ms"], o["calls"]) for o in operators] == [("CONV_2D", 0.08, 1), ("SOFTMAX", 0.04, 1)]
    assert operators[0]["name"] == "[net/a;net/b, c]:0"
    assert len(device.runs("enable_op_profiling")) == 1
    (result,) = bench.run(device, GOOD, profile=True)
    assert any("no times of operators" in remark for remark in row(result).device_state["remarks"])
    assert row(result).median_ms


@pytest.mark.parametrize("error", [TypeError("no such type"), ValueError("\x1b[2J"), OSError("gone"), FileFormatError("cut off")])
def test_a_comparison_that_fails_costs_no_row(
    bench: Bench, device: Double, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def compare(*_: object) -> None:
        raise error

    monkeypatch.setattr("mhmodels.android_bench.session.session.compare_outputs", compare)
    (result,) = bench.run(device, compare=True, blocks=1, prepare=False)
    assert row(result).median_ms
    assert row(result).device_state["remarks"][-1] == str(error).replace("\x1b", "\ufffd")


def test_outputs_of_another_size_are_not_fetched(bench: Bench, device: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Phone, "pull", lambda *_: pytest.fail("fetched"))
    (result,) = bench.run(device, "head -c 100000 /dev/zero > outputs.bin\n" + GOOD, compare=True, blocks=1, prepare=False)
    assert row(result).device_state["remarks"][-1].startswith("outputs are 100000 bytes, expected ")


def test_one_session_at_a_time(bench: Bench, device: Double) -> None:
    runner = bench.runner()
    facts = runner.facts(device.address)

    def session() -> Session:
        return Session(
            runner.phone(device.address),
            facts,
            PhonePlan(prepare=False),
            lambda choice: runner.delegate_files(device.address, choice),
        )

    entered = threading.Event()

    def second() -> None:
        with session():
            entered.set()

    with session():
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.7)
    assert entered.wait(10)
    thread.join()


def test_a_stop_on_request_leaves_nothing(bench: Bench, device: Double) -> None:
    runner = bench.runner("sleep 60")
    threading.Timer(1.5, runner.cancel.set).start()
    start = time.monotonic()
    with pytest.raises(CancelledError):
        bench.batch(runner, device, ("xnnpack",))
    assert time.monotonic() - start < 15
    assert device.processes() == {}
    assert not (device.root / "state/settings/system/screen_brightness").exists()


NASTY = 'it\'s "a" $(touch /data/local/tmp/owned) `id`\n; rm -rf ~ é'


def test_a_hostile_name(bench: Bench, device: Double, tmp_path: Path) -> None:
    file = tiny.convolutions(tmp_path / "x $(touch owned)'\".tflite", "float32")
    runner = bench.runner()
    hardware = runner.find(f"{device.address}/xnnpack")
    assert hardware is not None
    (result,) = [r for _, _, r in runner.batch(device.address, [(prepare(file, label=NASTY), hardware)])]
    assert row(result).model == NASTY
    assert not list(device.root.rglob("owned"))
    assert not any("$(touch" in command for command in device.commands)


def test_facts(make_device: MakeDevice, adb: Adb) -> None:
    device = make_device()
    facts = read_facts(Phone(adb, device.address), Delegates().libraries())
    assert (facts.title, facts.soc, facts.sdk, facts.abis[0]) == ("Double Phone 4", "QTI SM8150", 33, "arm64-v8a")
    assert facts.gpu == "Qualcomm, Adreno (TM) 640, OpenGL ES 3.2 V@0502.0"
    assert facts.accelerators == ("google-edgetpu",)
    assert facts.libraries == {"/vendor/lib64/libOpenCL.so"}
    assert facts.free_bytes == 95249236 * 1024
    assert f"{facts.big_mask:x}" == "f0"
    bare = make_device({"ro.product.model": "Double X"})
    for core in (bare.root / "sys/devices/system/cpu").glob("cpu?"):
        (core / "cpu_capacity").unlink()
        if core.name > "cpu3":
            (core / "cpufreq/cpuinfo_max_freq").write_text("1800000\n")
    for name in ("SurfaceFlinger", "services", "df"):
        (bare.root / "state" / name).unlink()
    facts = read_facts(Phone(adb, bare.address), Delegates().libraries())
    assert (facts.title, facts.gpu, facts.accelerators, facts.free_bytes) == ("Double X", "", (), None)
    assert f"{facts.big_mask:x}" == "ff"


def test_a_cable_and_the_network_lead_to_one_phone(make_device: MakeDevice, adb: Adb) -> None:
    device = make_device({"ro.serialno": "0A1B", "ro.product.cpu.abilist": "../../x,arm64-v8a,/etc"})
    facts = read_facts(Phone(adb, device.address), Delegates().libraries())
    assert facts.hardware_serial == "0A1B"
    assert facts.abis == ("arm64-v8a",)
    silent = make_device({"ro.serialno": ""})
    assert read_facts(Phone(adb, silent.address), Delegates().libraries()).hardware_serial == silent.address


def test_what_was_pushed_in_part_is_removed(bench: Bench, device: Double, phone: Phone) -> None:
    workspace = Workspace(phone)
    workspace.open()
    device.capacity = 100
    with pytest.raises(NoSpaceError):
        workspace.place({"model.tflite": bench.network})
    files = device.root / ROOT.lstrip("/") / "files"
    assert not list(files.iterdir())
    (files / "0.part").mkdir()
    workspace.close()
    assert not list(files.iterdir())


REFUSES = 'case "$1" in put) exit 1;; esac\n'


def refusing(device: Double, refuses: bool) -> None:
    """Whether the phone lets its settings be changed."""
    program = device.root / "system/bin/settings"
    text = program.read_text().replace(REFUSES, "")
    program.write_text(text.replace("\n", f"\n{REFUSES}", 1) if refuses else text)


def test_what_a_phone_does_not_take_back_stays_written_down(device: Double, phone: Phone) -> None:
    brightness = device.root / "state/settings/system/screen_brightness"
    brightness.parent.mkdir()
    brightness.write_text("99\n")
    first, second = Workspace(phone), Workspace(phone)
    first.open()
    assert first.change(SETTINGS[1:2]) == []
    refusing(device, True)
    assert first.close() == ["system screen_brightness cannot be put back to 99"]
    assert second.open() == ["system screen_brightness of an earlier session cannot be put back to 99"]
    # What it finds now is not what it was.
    assert second.change(SETTINGS[1:2]) == ["system screen_brightness cannot be changed"]
    with pytest.raises(AdbError, match="screen_brightness 99 of an earlier session cannot be put back"):
        Workspace(phone).clean()
    assert brightness.read_text() == "0\n"
    refusing(device, False)
    assert second.close() == []
    assert brightness.read_text() == "99\n"
    assert not (device.root / ROOT.lstrip("/") / "restore").exists()


def test_cleaning_up_after_a_session_that_was_killed(device: Double, phone: Phone) -> None:
    killed = Workspace(phone)
    killed.open()
    killed.change(SETTINGS)
    Workspace(phone).clean()
    assert not list((device.root / "state/settings").rglob("screen_brightness"))
    assert not (device.root / ROOT.lstrip("/")).exists()


def test_cleaning_up(bench: Bench, device: Double, phone: Phone) -> None:
    bench.run(device)
    assert (device.root / ROOT.lstrip("/")).exists()
    Workspace(phone).clean()
    assert not (device.root / ROOT.lstrip("/")).exists()
    with pytest.raises(AdbError, match="cannot be used on a device"):
        Workspace(phone).place({"../x": bench.network})
