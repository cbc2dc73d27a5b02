"""A phone's condition at a moment (temperature, battery, clocks), and whether it may be measured in this condition."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from mhmodels.android_bench.device.cores import CLOCK_LIMITS
from mhmodels.android_bench.transport.lines import without_controls
from mhmodels.android_bench.transport.phone import Phone, guarded, sections, split_sections

_HAL = re.compile(r"Current temperatures from HAL:(.*?)(?:\n\S|\Z)", re.DOTALL)
_SENSOR = re.compile(r"Temperature\{mValue=(-?\d{1,6}(?:\.\d+)?), mType=(\d{1,6}), mName=([^,}]*), mStatus=(\d+)\}", re.ASCII)
_STATUS = re.compile(r"Thermal Status: (\d{1,3})\b", re.ASCII)
_BATTERY = re.compile(r"^\s*(level|scale|status|temperature): (-?\d{1,6})\s*$", re.MULTILINE | re.ASCII)
_NO_BATTERY = re.compile(r"^\s*present: false\s*$", re.MULTILINE)
_POWERED = re.compile(r"^\s*[\w ]{1,20} powered: (true|false)\s*$", re.MULTILINE)
# Android's BatteryManager: charging, not charging, full.
CHARGING, NOT_CHARGING, FULL = 2, 4, 5
IDENTITY = "getprop ro.serialno; getprop ro.build.fingerprint"
STATUS_NAMES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
BATTERY_SENSOR, SKIN_SENSOR = 2, 3
CLOCK_DROP = 0.85


class PhoneCondition(msgspec.Struct, frozen=True, kw_only=True):
    """Condition of a phone at a moment; None where the phone does not tell.

    Attributes:
        thermal_status: thermal status of Android, 0 (none) to 6 (shutdown).
        skin_c, battery_c: temperatures of skin and battery in °C.
        sensors_c: temperatures in °C by name of the sensor, for every sensor that is fitted.
        battery_level: charge in per cent; None for a device without a battery.
        charging: whether the battery is charging or full.
        draining: whether the battery loses charge. A power supply keeps one that is full, or does not charge, from it.
        power_save: whether the power-saving mode is on.
        awake: whether the screen is on.
        clock_limits_khz: highest clock in kHz that each core is allowed at this moment.
        load: load average of the last minute.
        boot_id: identifier that changes with every start.
        identity: serial number and build, see `identity_of`.
    """

    thermal_status: int | None = None
    skin_c: float | None = None
    battery_c: float | None = None
    sensors_c: dict[str, float] = {}
    battery_level: int | None = None
    charging: bool | None = None
    draining: bool | None = None
    power_save: bool | None = None
    awake: bool | None = None
    clock_limits_khz: tuple[int, ...] = ()
    load: float | None = None
    boot_id: str = ""
    identity: str = ""

    @property
    def temperature_c(self) -> float | None:
        """Temperature in °C that decides: that of the skin's sensor, else that of the battery."""
        return self.skin_c if self.skin_c is not None else self.battery_c


class PhoneLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions in which a phone may be measured.

    Attributes:
        battery_level: lowest charge in per cent, 0 to 100. It does not count while a power supply holds or charges the battery.
        temperature_c: highest temperature in °C.
        thermal_status: highest thermal status of Android, 0 to 6.
        above_start_c: how many °C warmer than at the start of the session a block may begin.
        cool_down_s: longest wait in seconds for the phone to cool down; 0 does not wait.
        poll_s: seconds between two readings of the condition while waiting.
    """

    battery_level: int = 30
    temperature_c: float = 40.0
    thermal_status: int = 1
    above_start_c: float = 1.5
    cool_down_s: float = 300.0
    poll_s: float = 5.0


def condition_script(**more: str) -> tuple[str, str]:
    """The script that reads the condition and runs further commands at the same time, and its mark (see `sections`)."""
    return sections(
        {
            **more,
            "thermal": f"{guarded('dumpsys thermalservice')} 2>/dev/null",
            "battery": f"{guarded('dumpsys battery')} 2>/dev/null",
            "saver": f"{guarded('settings get global low_power')} 2>/dev/null",
            "power": f"{guarded('dumpsys power')} 2>/dev/null | grep -m1 mWakefulness=",
            "clocks": f"cat {CLOCK_LIMITS} 2>/dev/null",
            "load": "cat /proc/loadavg 2>/dev/null",
            "boot": "cat /proc/sys/kernel/random/boot_id 2>/dev/null",
            "identity": IDENTITY,
        }
    )


def read_condition(phone: Phone) -> PhoneCondition:
    """Reads the condition of a phone.

    Raises:
        AdbError: the phone does not answer.
    """
    script, secret = condition_script()
    return parse_condition(split_sections(phone.script(script).stdout, secret))


def parse_condition(found: dict[str, str]) -> PhoneCondition:
    """Reads the output of the script."""
    thermal = found.get("thermal", "").replace("\r", "")
    # Temperatures under "cached" may be hours old.
    current = _HAL.search(thermal)
    sensors: dict[str, float] = {}
    by_type: dict[int, list[float]] = {}
    for value, kind, name, _ in _SENSOR.findall(current[1] if current else ""):
        # Exactly zero is a sensor that is not fitted.
        if float(value):
            sensors[without_controls(name)[:80]] = float(value)
            by_type.setdefault(int(kind), []).append(float(value))
    status = _STATUS.search(thermal)
    battery = parse_battery(found.get("battery", "").replace("\r", ""))
    battery_c = battery.celsius
    if battery_c is None and battery.present:
        battery_c = max(by_type.get(BATTERY_SENSOR, []), default=None)
    saver, power = found.get("saver", "").strip(), found.get("power", "")
    load = found.get("load", "").split()
    return PhoneCondition(
        thermal_status=int(status[1]) if status else None,
        skin_c=max(by_type.get(SKIN_SENSOR, []), default=None),
        battery_c=battery_c,
        sensors_c=sensors,
        battery_level=battery.level,
        charging=battery.charging,
        draining=battery.draining,
        power_save={"1": True, "0": False}.get(saver),
        awake="Awake" in power if "mWakefulness=" in power else None,
        clock_limits_khz=parse_clocks(found.get("clocks", "")),
        load=float(load[0]) if load and re.fullmatch(r"[0-9]{1,6}\.[0-9]+", load[0]) else None,
        boot_id=without_controls(found.get("boot", "").strip())[:64],
        identity=identity_of(found.get("identity", "")),
    )


class Battery(NamedTuple):
    """Content of `dumpsys battery`; None where it is missing, or where there is no battery."""

    level: int | None = None
    charging: bool | None = None
    draining: bool | None = None
    celsius: float | None = None
    present: bool = True


def parse_battery(text: str) -> Battery:
    """Reads `dumpsys battery`. The numbers of a device without a battery mean nothing, and neither do impossible ones."""
    if _NO_BATTERY.search(text):
        return Battery(present=False)
    numbers = {name: int(value) for name, value in _BATTERY.findall(text)}
    scale = numbers.get("scale", 100)
    level = round(100 * numbers["level"] / scale) if "level" in numbers and scale > 0 else -1
    status, celsius = numbers.get("status"), numbers.get("temperature", 0) / 10
    powered = "true" in _POWERED.findall(text)
    return Battery(
        level=level if 0 <= level <= 100 else None,
        charging=None if status is None else status in (CHARGING, FULL),
        draining=None if status is None else not (status in (CHARGING, FULL) or (status == NOT_CHARGING and powered)),
        # Exactly zero is a sensor that is not fitted.
        celsius=celsius if celsius and "temperature" in numbers else None,
    )


def identity_of(text: str) -> str:
    """The output of `IDENTITY` as one line."""
    return without_controls(" ".join(text.split()))[:300]


def parse_clocks(text: str) -> tuple[int, ...]:
    """Clocks of the cores in kHz, as sysfs lists them."""
    return tuple(int(word) for word in text.split() if re.fullmatch("[0-9]{1,12}", word))


def lowest_clocks(text: str, before: PhoneCondition) -> tuple[int, ...]:
    """Lowest limit of each core's clock during a run, from the lines of a sampler; lines without all cores do not count."""
    samples = [parse_clocks(line) for line in text.splitlines()]
    whole = [sample for sample in samples if len(sample) == len(before.clock_limits_khz)]
    return tuple(min(clocks) for clocks in zip(*whole, strict=True))


def obstacles(condition: PhoneCondition, limits: PhoneLimits) -> list[str]:
    """Reasons why a phone must not be measured now."""
    found = []
    level = condition.battery_level
    held = condition.charging or condition.draining is False
    if level is not None and level < limits.battery_level and not held:
        found.append(
            f"its battery is at {level} %, expected at least {limits.battery_level} %: charge it, or allow less "
            "(argument 'battery_level')"
        )
    if condition.power_save:
        found.append("its power-saving mode is on: turn it off")
    return found


def too_hot(condition: PhoneCondition, limits: PhoneLimits, start_c: float | None = None) -> str:
    """Why a block must not begin yet; "" if it may."""
    status, heat = condition.thermal_status, condition.temperature_c
    if status is not None and status > limits.thermal_status:
        return f"thermal status {STATUS_NAMES[min(status, 6)]}"
    allowed = limits.temperature_c if start_c is None else min(limits.temperature_c, start_c + limits.above_start_c)
    return f"{heat:.1f} °C, expected at most {allowed:.1f}" if heat is not None and heat > allowed else ""


def warnings(condition: PhoneCondition, cores: int, max_khz: int = 0) -> list[str]:
    """What makes latencies worse than they could be, though they can be measured.

    Args:
        condition: condition of the phone now.
        cores: number of its cores.
        max_khz: highest clock of any core in kHz; 0 if it is unknown.
    """
    found = []
    allowed = max(condition.clock_limits_khz, default=0)
    if allowed and allowed < CLOCK_DROP * max_khz:
        found.append(f"its clocks are limited to {allowed / 1e3:.0f} MHz of {max_khz / 1e3:.0f} from the start")
    if condition.awake is False:
        found.append("its screen is off: some phones then keep programs on the slow cores")
    if condition.load is not None and cores and condition.load > cores / 2:
        found.append(f"something else is running on it (load {condition.load:.1f})")
    if condition.thermal_status is None:
        found.append("it does not tell its thermal status (Android 10 and later do)")
    return found


def throttled(
    before: PhoneCondition, after: PhoneCondition, lowest_khz: tuple[int, ...] = (), start_khz: tuple[int, ...] = ()
) -> bool:
    """Whether heat held a phone back during a run: the phone says so, or the clocks of its cores were limited at any time.

    Args:
        before, after: condition before and after the run.
        lowest_khz: lowest limits in kHz during the run.
        start_khz: limits in kHz when the session began; limits that fell before this run are thus noticed.
    """
    if max(before.thermal_status or 0, after.thermal_status or 0) >= 2:
        return True
    limits = before.clock_limits_khz, after.clock_limits_khz, lowest_khz
    # If a core appears or disappears, the lists cannot be compared.
    starts = [start_khz] if len(start_khz) == len(before.clock_limits_khz) else []
    pairs = (zip(early, late, strict=False) for early in (*starts, before.clock_limits_khz) for late in limits)
    return any(late < CLOCK_DROP * early for both in pairs for early, late in both)


def cool_down(
    read: Callable[[], PhoneCondition], limits: PhoneLimits, start_c: float | None, cancel: threading.Event | None = None
) -> tuple[PhoneCondition, float, str]:
    """Waits until a phone is cool enough, or has been waited for long enough.

    Returns:
        Its condition then, the seconds waited, and why it is still too warm ("" if it is not).
    """
    begin = time.monotonic()
    pause = cancel or threading.Event()
    while True:
        condition = read()
        reason = too_hot(condition, limits, start_c)
        waited = time.monotonic() - begin
        if not reason or waited >= limits.cool_down_s or pause.is_set():
            return condition, waited, reason
        pause.wait(min(limits.poll_s, limits.cool_down_s - waited))
