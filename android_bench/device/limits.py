"""Whether a phone may be measured in its condition, and whether heat held it back during a run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import msgspec

from mhmodels.android_bench.device.condition import PhoneCondition

STATUS_NAMES = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
CLOCK_DROP = 0.85


class PhoneLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Conditions in which a phone may be measured.

    Attributes:
        battery_level: Lowest battery level in percent, 0 to 100; not checked while a power supply charges or holds the battery.
        temperature_c: Highest temperature in °C.
        thermal_status: Highest thermal status of Android, 0 to 6.
        above_start_c: Largest temperature above that at the start of the session, in °C, at which a block may begin.
        cool_down_s: Longest wait in seconds for the phone to cool down; 0 does not wait.
        poll_s: Seconds between two readings of the condition while waiting.

    Example:
        >>> from mhmodels.android_bench import PhoneLimits, PhonePlan
        >>> PhonePlan(limits=PhoneLimits(temperature_c=35.0, cool_down_s=600.0)).limits.battery_level
        30
    """

    battery_level: int = 30
    temperature_c: float = 40.0
    thermal_status: int = 1
    above_start_c: float = 1.5
    cool_down_s: float = 300.0
    poll_s: float = 5.0


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
        condition: Condition of the phone now.
        cores: Number of its cores.
        max_khz: Highest clock of any core in kHz; 0 if it is unknown.
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
        before, after: Condition before and after the run.
        lowest_khz: Lowest limits in kHz during the run.
        start_khz: Limits in kHz when the session began; limits that fell before this run are thus noticed.
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
