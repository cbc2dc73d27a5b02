"""A phone's condition at a moment: temperature, battery, clocks."""

from __future__ import annotations

import re
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
BATTERY_SENSOR, SKIN_SENSOR = 2, 3


class PhoneCondition(msgspec.Struct, frozen=True, kw_only=True):
    """Condition of a phone at a moment; None where the phone does not tell.

    Attributes:
        thermal_status: Thermal status of Android, 0 (none) to 6 (shutdown).
        skin_c, battery_c: Temperatures of skin and battery in °C.
        sensors_c: Temperatures in °C by name of the sensor, for every sensor that is fitted.
        battery_level: Charge in per cent; None for a device without a battery.
        charging: Whether the battery is charging or full.
        draining: Whether the battery loses charge. A power supply keeps one that is full, or does not charge, from it.
        power_save: Whether the power-saving mode is on.
        awake: Whether the screen is on.
        clock_limits_khz: Highest clock in kHz that each core is allowed at this moment.
        load: Load average of the last minute.
        boot_id: Identifier that changes with every start.
        identity: Serial number and build, see `identity_of`.
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
        AdbError: The phone does not answer.
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
