"""The errors that failed calls of adb stand for, from its output."""

from __future__ import annotations

import re

from mhmodels.android_bench.errors import AdbError, DeviceLostError, DeviceUnauthorizedError, NoSpaceError
from mhmodels.android_bench.transport.lines import without_controls
from mhmodels.android_bench.transport.listing import REMEDIES
from mhmodels.android_bench.transport.process import ProcessResult
from mhmodels.errors import MhmodelsError

_LOST = re.compile(
    r"device '[^']*' not found|device not found|device offline|no devices|error: closed|protocol fault|"
    r"connection reset|Connection refused|cannot connect to daemon|daemon still not running|device still connecting|: (?-i:EOF)$",
    re.IGNORECASE | re.MULTILINE,
)
# The output of a script and names of files may have any words, so only adb's own lines count, without what they quote.
_ADBS_OWN = re.compile(r"^\s*(?:adb:|error:|\*).*$", re.IGNORECASE | re.MULTILINE)
_QUOTED = re.compile(r"'[^'\n]*'")
_UNAUTHORIZED = re.compile(r"device unauthorized|device still authorizing", re.IGNORECASE)
_FULL = re.compile(r"No space left on device|ENOSPC|Disk quota exceeded", re.IGNORECASE)


def check(done: ProcessResult, what: str) -> None:
    """Raises the fitting error if a call of adb failed.

    Raises:
        DeviceUnauthorizedError, DeviceLostError, NoSpaceError, AdbError: According to the output of adb.
    """
    if done.rc == 0 and not done.stopped:
        return
    raise diagnose(done, what)


def diagnose(done: ProcessResult, what: str) -> MhmodelsError:
    """The error that a failed call of adb stands for."""
    said = (done.stderr + b"\n" + done.stdout).decode(errors="replace")
    last = without_controls(" ".join(said.split()))[-300:]
    if done.stopped:
        return DeviceLostError(f"{what}: no answer within {done.wall_s:.0f} s ({done.stopped})")
    if _UNAUTHORIZED.search(said):
        return DeviceUnauthorizedError(f"{what}: the device is unauthorized: {REMEDIES['unauthorized']}")
    if _FULL.search(said):
        return NoSpaceError(f"{what}: the device's storage is full ({last})")
    own = "\n".join(_QUOTED.sub("''", line.strip()) for line in _ADBS_OWN.findall(said))
    if _LOST.search(own) or (done.rc == 255 and not last):
        return DeviceLostError(f"{what}: the device went away ({last or 'connection closed'})")
    return AdbError(f"{what}: adb failed with exit code {done.rc} ({last})")
