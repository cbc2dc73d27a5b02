"""The background load: how busy the cores beside the timed cores are.

Two threads of one core share its execution units, and all cores share caches, memory and clock. So load on another core moves
a median without adding spread and without taking time from the timed core. Beside a busy second thread of the same core, int8
networks took 9.4 ms instead of 6.0 ms.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from pathlib import Path

QUIET_SHARE = 0.05
WATCH_S = 0.25
_STAT = Path("/proc/stat")


def core_ticks() -> dict[int, tuple[int, int]]:
    """Busy ticks and all clock ticks of each core since this machine started; empty where the system does not tell."""
    try:
        lines = _STAT.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    ticks = {}
    for line in lines:
        name, *fields = line.split()
        if name.startswith("cpu") and name[3:].isdigit():
            # user, nice, system, idle, waiting for I/O, interrupts (2), stolen; guests are in user already.
            counts = [int(field) for field in fields[:8]]
            ticks[int(name[3:])] = (sum(counts) - counts[3] - counts[4], sum(counts))
    return ticks


def background_load(before: Mapping[int, tuple[int, int]], after: Mapping[int, tuple[int, int]], own: Collection[int]) -> float:
    """Background load between two readings of `core_ticks`.

    Args:
        before, after: The readings.
        own: Timed cores, which do not count.

    Returns:
        Busy share of the other cores, 0 to 1; 0 where there are none.
    """
    others = [core for core in after if core in before and core not in own]
    total = sum(after[core][1] - before[core][1] for core in others)
    busy = sum(after[core][0] - before[core][0] for core in others)
    return max(0.0, min(1.0, busy / total)) if total > 0 else 0.0


def wait_for_quiet(own: Collection[int], patience_s: float, share: float = QUIET_SHARE) -> float:
    """Waits until this machine is quiet, but no longer than `patience_s` seconds.

    Args:
        own: Cores that are about to be timed. All cores are watched, these and the others.
        patience_s: Longest wait in seconds; 0 reads the load once.
        share: Busy share, 0 to 1, up to which the machine counts as quiet.

    Returns:
        The busy share that was read last.
    """
    end = time.monotonic() + patience_s
    while True:
        before = core_ticks()
        time.sleep(WATCH_S)
        after = core_ticks()
        seen = max(background_load(before, after, own), background_load(before, after, set(after) - set(own)))
        if seen <= share or time.monotonic() >= end:
            return seen
