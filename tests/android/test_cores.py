"""The cores that a network is measured on: the same ones whether some of them sleep or not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mhmodels.android_bench.delegates.catalogue import Delegates
from mhmodels.android_bench.device.cores import Core, merge, parse_cores
from mhmodels.android_bench.device.description import PhoneFacts, core_mask, read_facts
from mhmodels.android_bench.transport.adb import Adb
from mhmodels.android_bench.transport.phone import Phone
from mhmodels.system.places import cache_path

from .conftest import MakeDevice
from .double import Double


@pytest.fixture(autouse=True)
def light_work(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Eight busy loops would starve this machine; one test has the real ones."""
    if "slow" not in request.keywords:
        for module in ("cores", "description"):
            monkeypatch.setattr(f"mhmodels.android_bench.device.{module}.WAKE", "p=; sleep 0.01")


def cpu(device: Double, number: int) -> Path:
    return device.root / f"sys/devices/system/cpu/cpu{number}"


def without_capacities(device: Double) -> None:
    """As kernels before 4.14 are: only clocks tell how fast a core is."""
    for number in range(8):
        (cpu(device, number) / "cpu_capacity").unlink()


def sleep(device: Double, *numbers: int) -> None:
    for number in numbers:
        shutil.rmtree(cpu(device, number) / "cpufreq")
    awake = [str(number) for number in range(8) if number not in numbers]
    (device.root / "sys/devices/system/cpu/online").write_text(f"{','.join(awake)}\n")


def facts(device: Double, adb: Adb) -> PhoneFacts:
    return read_facts(Phone(adb, device.address), Delegates().libraries())


def mask(device: Double, adb: Adb) -> str:
    return f"{core_mask(facts(device, adb)):x}"


@pytest.mark.parametrize(
    ("numbers", "old"), [((7,), True), ((4, 5, 6, 7), True), ((4, 5, 6, 7), False), ((0,), True), ((0, 1, 2, 3), False)]
)
def test_sleeping_cores_do_not_change_the_mask(device: Double, adb: Adb, numbers: tuple[int, ...], old: bool) -> None:
    if old:
        without_capacities(device)
    assert mask(device, adb) == "f0"
    sleep(device, *numbers)
    assert mask(device, adb) == "f0"


def test_a_policy_tells_of_its_sleeping_cores(device: Double, adb: Adb) -> None:
    without_capacities(device)
    for first, members, khz in ((0, "0 1 2 3", 1785600), (4, "4 5 6", 2419200), (7, "7", 2841600)):
        policy = device.root / f"sys/devices/system/cpu/cpufreq/policy{first}"
        policy.mkdir(parents=True)
        (policy / "related_cpus").write_text(f"{members}\n")
        (policy / "cpuinfo_max_freq").write_text(f"{khz}\n")
    sleep(device, 1, 5, 7)
    assert [core.max_khz for core in facts(device, adb).cores] == [1785600] * 4 + [2419200] * 3 + [2841600]
    assert mask(device, adb) == "f0"


def test_cores_that_wake_under_load(device: Double, adb: Adb) -> None:
    without_capacities(device)
    kept = device.root / "state/cpufreq7"
    (cpu(device, 7) / "cpufreq").rename(kept)
    # The system's `sleep`, which is only used once there is work for all cores.
    program = device.root / "system/bin/sleep"
    program.write_text(f'#!/bin/sh\n[ -d {kept} ] && mv {kept} {cpu(device, 7)}/cpufreq\nexec /bin/sleep "$@"\n')
    program.chmod(0o755)
    assert mask(device, adb) == "f0"


@pytest.mark.slow
def test_the_work_ends(device: Double, adb: Adb) -> None:
    without_capacities(device)
    sleep(device, 7)
    assert mask(device, adb) == "0"
    assert device.processes() == {}


def test_cores_that_were_never_seen_awake_are_not_guessed(device: Double, adb: Adb) -> None:
    without_capacities(device)
    sleep(device, 4, 5, 6, 7)
    # Not all cores, and not the slow ones that are awake: the row says that none could be chosen.
    assert mask(device, adb) == "0"


def test_a_memory_of_another_phone_is_none(make_device: MakeDevice, adb: Adb) -> None:
    first, second = make_device(), make_device()
    assert mask(first, adb) == "f0"
    without_capacities(second)
    sleep(second, 7)
    assert mask(second, adb) == "0"


@pytest.mark.parametrize("damage", [b"\xff", b'{"a": [1]}', b"[" * 100_000])
def test_a_damaged_memory_remembers_nothing(device: Double, adb: Adb, damage: bytes) -> None:
    cache_path().mkdir(parents=True)
    (cache_path() / "phone-cores.json").write_bytes(damage)
    assert mask(device, adb) == "f0"
    without_capacities(device)
    sleep(device, 7)
    assert mask(device, adb) == "f0"


def test_a_memory_that_cannot_be_written_is_no_failure(device: Double, adb: Adb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MHMODELS_HOME", "/dev/null/home")
    assert mask(device, adb) == "f0"


def test_a_mask_whose_cores_all_sleep_is_tried_under_load(device: Double, adb: Adb) -> None:
    program = device.root / "system/bin/taskset"
    flag = device.root / "state/tried"
    program.write_text(
        f'#!/bin/sh\n[ -e {flag} ] || {{ touch {flag}; echo "Invalid argument" >&2; exit 1; }}\nshift\nexec "$@"\n'
    )
    assert mask(device, adb) == "f0"
    program.unlink()
    assert mask(device, adb) == "0"


def test_what_is_no_core() -> None:
    text = "cpu0 1 2\n0 1785600 0\n1 0 0\n2 x 0\n3 1 2 3\n99 1 1\n4 -1 0\n"
    assert parse_cores(text) == (Core(0, 1785600, 0), Core(1, 0, 0))
    assert parse_cores(text, "1785600 0 1 77 x\n\n5\n") == (Core(0, 1785600, 0), Core(1, 1785600, 0))
    assert merge([Core(1, 0, 5)], [Core(1, 7, 8), Core(2, 1, 1)]) == (Core(1, 7, 5),)
