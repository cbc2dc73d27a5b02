"""Devices without what phones have: commands, services, a battery; and files of ours that are damaged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from mhmodels.android_bench.cli.devices import devices
from mhmodels.android_bench.delegates.binary import inspect
from mhmodels.android_bench.delegates.catalogue import load_delegates
from mhmodels.android_bench.device.names import name_of, names_path, read_names, set_name
from mhmodels.android_bench.transport.phone import Phone, ScriptResult
from mhmodels.cli.phones import read_matrix
from mhmodels.errors import MeasurementError, MhmodelsError
from mhmodels.hardware import Measurement

from .conftest import Bench, MakeDevice, status
from .double import MODERN, Double, Server

NO_BATTERY = """Current Battery Service state:
  AC powered: true
  status: 1
  present: false
  level: 0
  scale: 100
  temperature: 0
"""
OPTIONAL = ("od", "head", "df", "dumpsys", "settings", "cmd", "taskset", "service", "svc", "input", "sha256sum", "lshal")


def take_away(device: Double, *programs: str) -> None:
    for name in programs:
        program = device.root / "system/bin" / name
        program.write_text(f'#!/bin/sh\necho "/system/bin/sh: {name}: inaccessible or not found" >&2\nexit 127\n')
        program.chmod(0o755)


def test_a_shell_with_next_to_no_commands(bench: Bench, device: Double) -> None:
    take_away(device, *OPTIONAL)
    (result,) = bench.run(device)
    assert isinstance(result, Measurement), str(result)
    assert result.median_ms == pytest.approx(0.12)
    assert result.configuration["cores"] == "0"
    assert result.device_state["battery_level"] is None
    assert any("cores could not be chosen" in remark for remark in result.device_state["remarks"])
    assert not [line for line in bench.told if "put back" in line]


def test_a_shell_without_what_is_needed(bench: Bench, device: Double) -> None:
    take_away(device, "mkdir")
    with pytest.raises(MeasurementError, match="cannot make /data/local/tmp/mhmodels"):
        bench.run(device)
    assert not device.runs()


@pytest.mark.parametrize("features", [MODERN, "cmd"])
def test_a_shell_that_greets(bench: Bench, make_device: MakeDevice, features: str) -> None:
    device = make_device(features=features)
    device.greeting = (
        "echo 'Welcome to Acme OS: 1 of 1 node(s) here'; echo 'WARNING: linker: libacme.so has text relocations' >&2"
    )
    device.drop_on = "sha256sum"
    (result,) = bench.run(device)
    assert status(result) == "OK", str(result)


def test_a_script_whose_answer_is_lost_may_run_again(bench: Bench, device: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    once = Phone.script

    def twice(self: Phone, text: str, **limits: float) -> ScriptResult:
        once(self, text, **limits)
        return once(self, text, **limits)

    monkeypatch.setattr(Phone, "script", twice)
    (result,) = bench.run(device, blocks=1)
    assert status(result) == "OK", str(result)


def test_services_that_hang_cost_their_answers_only(bench: Bench, device: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mhmodels.android_bench.transport.phone.GUARD_S", 0.1)
    (device.root / "system/bin/dumpsys").write_text("#!/bin/sh\nexec sleep 60\n")
    (result,) = bench.run(device, blocks=1)
    assert status(result) == "OK", str(result)
    assert isinstance(result, Measurement)
    assert result.device_state["thermal_status"] is None
    assert device.processes() == {}


PHASES = ("getprop", "taskset f0 true", "settings get", "settings put", "restore", "sha256sum", "chmod 755", "cpuinfo_max_freq")


@pytest.mark.slow
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("reboots", [False, True])
def test_a_break_in_any_phase_costs_nothing(bench: Bench, device: Double, phase: str, reboots: bool) -> None:
    device.drop_on, device.drop_after_s, device.reboots = phase, 0.0, reboots
    (result,) = bench.run(device)
    assert device.drops == 0
    assert status(result) == "OK", str(result)
    assert not list((device.root / "state/settings").rglob("screen_brightness"))


def test_a_device_without_a_battery(bench: Bench, device: Double, server: Server) -> None:
    (device.root / "state/battery").write_text(NO_BATTERY)
    (device.root / "state/thermalservice").unlink()
    (result,) = bench.run(device)
    assert isinstance(result, Measurement)
    state = result.device_state
    assert (state["battery_level"], state["start_c"], state["end_c"]) == (None, None, None)
    shown = CliRunner().invoke(devices, ["--adb-server", server.address], catch_exceptions=False)
    assert "battery" not in shown.output
    assert "0.0 °C" not in shown.output


def test_rows_tell_their_conditions_apart(bench: Bench, device: Double) -> None:
    burst, sustained, bright = (
        bench.run(device, blocks=1, **plan)[0] for plan in ({}, {"mode": "sustained"}, {"prepare": False})
    )
    kept = []
    for result in (burst, sustained, bright):
        assert isinstance(result, Measurement)
        assert {"delegate", "flags", "cores", "mode", "fixed_clocks", "require_full_delegation"} <= set(result.configuration)
        assert result.device_state["clock_limits_khz"] == [1785600] * 4 + [2419200] * 3 + [2841600]
        # A busy machine may end the short run before the first sample.
        assert result.device_state["lowest_clock_limits_khz"] in ([], result.device_state["clock_limits_khz"])
        kept.append(result.environment)
    assert len({str(environment) for environment in kept}) == 3


@pytest.mark.parametrize(
    "damage",
    [
        b"\xff\xfe",
        b"",
        b"[]",
        b'{"A": 1}',
        b'{"A": "\\u001b[2J"}',
        b'{"A": "a/b"}',
        b'{"A": "' + b"x" * 1000 + b'"}',
        b"[" * 100_000,
    ],
)
def test_damaged_names_are_one_message(damage: bytes) -> None:
    set_name("A", "one")
    names_path().write_bytes(damage)
    with pytest.raises(MeasurementError, match="remove it") as caught:
        read_names()
    assert str(names_path()) in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
    with pytest.raises(MeasurementError, match="remove it"):
        name_of("127.0.0.1:5555")


@pytest.mark.parametrize("kind", ["fifo", "zero", "folder", "loop"])
def test_files_that_are_none_are_one_message(tmp_path: Path, kind: str) -> None:
    names_path().parent.mkdir(parents=True)
    for file in (names_path(), tmp_path / "own.toml", tmp_path / "night.toml", tmp_path / "benchmark_model"):
        if kind == "fifo":
            os.mkfifo(file)
        elif kind == "folder":
            file.mkdir()
        else:
            file.symlink_to("/dev/zero" if kind == "zero" else file)
    for read in (
        read_names,
        lambda: load_delegates(tmp_path / "own.toml"),
        lambda: read_matrix(str(tmp_path / "night.toml")),
        lambda: inspect(tmp_path / "benchmark_model", "benchmark_model"),
    ):
        with pytest.raises(MhmodelsError, match="cannot be read"):
            read()
