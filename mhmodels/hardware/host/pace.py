"""The fastest pace known of this machine, kept between commands, by which a slow machine is recognised.

The pace is the time of a short reference loop that always does the same work (`host.child.pace_ns`). A virtual machine with a
shared core runs this loop, and networks, up to 50 % slower for seconds or for hours, and nothing else shows that.
"""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path

from mhmodels.errors import FileFormatError
from mhmodels.hardware.host.timing import SLOW_PACE
from mhmodels.hardware.measurement import Measurement
from mhmodels.system.files import read_bytes, write_atomically
from mhmodels.system.places import cache_path

_MOST_BYTES = 1 << 20
_IMPLAUSIBLE = 4.0
"""Factor by which a remembered pace may be faster than a measured one; beyond it, it is of another machine, or damaged."""


def pace_path() -> Path:
    """File with the fastest paces in us, by what they depend on. It can be deleted and fills again."""
    return cache_path() / "pace.json"


def fastest_pace(key: str) -> float:
    """Fastest known pace of a key in us; 0 if none is known."""
    return _read().get(key, 0.0)


def remember_pace(key: str, seen_us: float) -> float:
    """Keeps a pace if it is the fastest of its key.

    Args:
        key: What the pace depends on.
        seen_us: Pace in us that was just measured.

    Returns:
        The fastest pace of the key in us. A pace that cannot be written is not kept.
    """
    known = _read()
    fastest = known.get(key, 0.0)
    if not seen_us > 0:
        return fastest
    if fastest > 0 and fastest <= seen_us < _IMPLAUSIBLE * fastest:
        return fastest
    with contextlib.suppress(OSError):
        write_atomically(pace_path(), json.dumps({**known, key: seen_us}).encode())
    return seen_us


def outdated(row: Measurement) -> bool:
    """Whether a row was timed while the machine was slower than the pace that is known by now."""
    key, pace = row.device_state.get("pace_key"), row.device_state.get("pace_us")
    if not isinstance(key, str) or not isinstance(pace, float):
        return False
    return fastest_pace(key) * SLOW_PACE < pace < fastest_pace(key) * _IMPLAUSIBLE


def _read() -> dict[str, float]:
    """The known paces; empty if the file is missing or damaged."""
    try:
        found = json.loads(read_bytes(pace_path(), _MOST_BYTES))
    except (FileFormatError, ValueError, RecursionError):
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {key: us for key, us in pairs if isinstance(us, float) and math.isfinite(us) and us > 0}
