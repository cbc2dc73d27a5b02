"""One device behind adb: scripts with an exit code, long runs, files, and waiting for a lost connection."""

from __future__ import annotations

import re
import secrets
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mhmodels.android_bench.errors import AdbError, CancelledError, DeviceLostError, DeviceUnauthorizedError
from mhmodels.android_bench.transport.adb import Adb
from mhmodels.android_bench.transport.diagnosis import diagnose
from mhmodels.android_bench.transport.lines import without_controls
from mhmodels.android_bench.transport.listing import ListedDevice
from mhmodels.android_bench.transport.process import ProcessResult, Stopped

SCRIPT_S = 20.0
# A phone answers long before it has completely started.
BOOT_S = 120.0
# Between two looks for a device that is away.
AGAIN_S = 0.5
ATTEMPTS = 3
ADBS_OWN_RC = 255
# Longest time in seconds of a command in a script that may hang.
GUARD_S = 4.0
# Devices without the second shell protocol take a command of one old packet at most.
OLD_SCRIPT_BYTES = 4000
_HERE = "echo here; getprop sys.boot_completed 2>/dev/null"
_CODE = re.compile(rb"[0-9]{1,3}")
_ADDRESS = re.compile(r"^(\[[0-9a-fA-F:.]+\]|[\w.-]+):\d+$")


class ScriptResult(NamedTuple):
    """Exit code of a script on the device, and its two streams (one stream on old devices)."""

    rc: int
    stdout: str
    stderr: str


class ToolRun(NamedTuple):
    """How a program on the device ended.

    Attributes:
        rc: Exit code on the device, 128 + n for a signal; None where it is unknown.
        stdout, stderr: Raw output; old devices send both as stdout.
        wall_s: Duration in seconds as seen from this machine, including adb's own time.
        stopped: Why this machine ended it, or "".
        dropped: Number of bytes that are missing from the streams.
        lost: Message of adb if the connection broke, or "".
    """

    rc: int | None
    stdout: bytes
    stderr: bytes
    wall_s: float
    stopped: Stopped = ""
    dropped: int = 0
    lost: str = ""


class Phone:
    """A device by its serial number.

    Args:
        adb: Executable and server.
        serial: Serial number as `adb devices` lists it.
        wait_s: Longest wait in seconds for a device that went away; one that is seen starting gets `BOOT_S` more.

    Attributes:
        tells_start: Whether the device is known to report that it has started; then that is waited for, too.
    """

    def __init__(self, adb: Adb, serial: str, *, wait_s: float = 30.0) -> None:
        self.adb, self.serial, self.wait_s, self.tells_start = adb, serial, wait_s, False
        self._features: frozenset[str] | None = None

    @property
    def features(self) -> frozenset[str]:
        """Features of the device's adbd, such as `shell_v2`.

        Raises:
            AdbError: The device cannot be asked.
        """
        if self._features is None:
            done = self._retrying(["features"], SCRIPT_S, "asking for features")
            self._features = frozenset(done.stdout.decode(errors="replace").split())
        return self._features

    def listed(self) -> ListedDevice | None:
        """The server's line about this device; None if there is none."""
        return next((line for line in self.adb.devices() if line.serial == self.serial), None)

    def script(self, text: str, *, timeout_s: float = SCRIPT_S) -> ScriptResult:
        """Runs a short shell script. It must be safe to run again, because it is run again if the connection breaks.

        Args:
            text: POSIX shell script; text from outside must be quoted (`quote`).
            timeout_s: Longest time of one attempt in seconds.

        Raises:
            DeviceUnauthorizedError, DeviceLostError, AdbError: There is no complete answer.
        """
        self._check_length(text)
        for attempt in range(ATTEMPTS):
            mark = f"mh-{secrets.token_hex(8)}"
            # The script prints its exit code itself: old devices do not report it, and a broken connection looks like one. Text
            # before the first mark is a greeting.
            done = self._adb(["shell", f"echo {mark}-\n(\n{text}\n) </dev/null\necho {mark} $?"], timeout_s)
            body, found, rc = done.stdout.replace(b"\r\n", b"\n").rpartition(f"{mark} ".encode())
            body = body.partition(f"{mark}-\n".encode())[2]
            if found and _CODE.fullmatch(rc.strip()):
                return ScriptResult(int(rc), body.decode(errors="replace"), done.stderr.decode(errors="replace"))
            # Without the last line, adb's own exit code means a cut connection, whatever the script has printed by then.
            cut = done.rc == ADBS_OWN_RC and not done.stopped
            self._recover(done._replace(stdout=b"", stderr=b"") if cut else done, "running a script", attempt)
        raise DeviceLostError(f"device '{self.serial}': the connection broke {ATTEMPTS} times in a row")

    def tool(self, text: str, *, timeout_s: float) -> ToolRun:
        """Runs a script that ends in `exec PROGRAM …` once. A failing program is a result, not an error.

        Raises:
            AdbError: adb itself cannot be run.
            CancelledError: The measurement was asked to stop.
        """
        modern = "shell_v2" in self.features
        mark = f"mh-{secrets.token_hex(8)}"
        # Without `exec` the program would outlive the connection; old devices need a shell around it to print the exit code.
        command = text if modern else f"sh -c {quote(text)}\necho {mark} $?"
        self._check_length(command)
        with self.adb.watching(self.serial) as stayed:
            done = self._adb(["shell", command], timeout_s)
            rc: int | None = done.rc
            stdout = done.stdout
            if not modern:
                body, found, code = stdout.replace(b"\r\n", b"\n").rpartition(f"{mark} ".encode())
                rc = int(code) if found and _CODE.fullmatch(code.strip()) else None
                stdout = body if found else stdout
            # adb's own exit code for a cut connection, which a program may have as well; old devices print the program's code.
            cut = rc is None or (modern and rc == ADBS_OWN_RC and not stayed())
        lost = "" if done.stopped else self._loss(done, rc, cut)
        return ToolRun(None if done.stopped or lost else rc, stdout, done.stderr, done.wall_s, done.stopped, done.dropped, lost)

    def push(self, local: Path, remote: str, *, timeout_s: float = 600.0) -> None:
        """Copies a file to the device.

        Raises:
            DeviceLostError, NoSpaceError, AdbError: The file is not completely there.
        """
        self._retrying(["push", str(local.absolute()), remote], timeout_s, f"pushing '{local.name}'")

    def pull(self, remote: str, local: Path, *, timeout_s: float = 120.0) -> None:
        """Copies a file or folder from the device.

        Raises:
            DeviceLostError, AdbError: The file is not completely here.
        """
        self._retrying(["pull", remote, str(local.absolute())], timeout_s, f"pulling '{remote}'")

    def wait_back(self) -> None:
        """Waits until the device answers again and has started; connects to a device on the network again.

        Raises:
            DeviceLostError: The device stays away.
            DeviceUnauthorizedError: The device is back and refuses this machine.
            CancelledError: The measurement was asked to stop.
        """
        allowed, start = self.wait_s, time.monotonic()
        while True:
            self._check_cancelled()
            line = self.listed()
            if line is not None and line.state == "unauthorized":
                raise DeviceUnauthorizedError(line.problem)
            here, started = self._here() if line is not None and line.state == "device" else (False, False)
            if here and started:
                return
            if here:
                # While Android starts, programs are slower, and `settings` and `dumpsys` do not work yet.
                allowed = self.wait_s + BOOT_S
            if time.monotonic() - start > allowed:
                raise DeviceLostError(
                    f"device '{self.serial}' did not come back within {allowed:.0f} s"
                    + (f"; {line.problem}" if line and line.problem else "; check its cable, or its power if it restarted")
                )
            if not here and _ADDRESS.match(self.serial):
                if line is not None:
                    self.adb.run(["disconnect", self.serial])
                self.adb.connect(self.serial)
            time.sleep(AGAIN_S)

    def _here(self) -> tuple[bool, bool]:
        """Whether the device answers, and whether it has started."""
        lines = [line.strip() for line in self._adb(["shell", _HERE], 5.0).stdout.splitlines()]
        after = lines[lines.index(b"here") + 1 :] if b"here" in lines else []
        return b"here" in lines, not self.tells_start or after[:1] == [b"1"]

    def _adb(self, words: Sequence[str], timeout_s: float) -> ProcessResult:
        done = self.adb.run(words, serial=self.serial, timeout_s=timeout_s)
        if done.stopped == "cancelled":
            raise CancelledError(f"device '{self.serial}': stopped on request")
        return done

    def _retrying(self, words: Sequence[str], timeout_s: float, what: str) -> ProcessResult:
        what = f"device '{self.serial}': {what}"
        for attempt in range(ATTEMPTS):
            done = self._adb(words, timeout_s)
            if done.rc == 0 and not done.stopped:
                return done
            self._recover(done, what, attempt)
        raise DeviceLostError(f"{what}: the connection broke {ATTEMPTS} times in a row")

    def _recover(self, done: ProcessResult, what: str, attempt: int) -> None:
        """Waits for a device whose connection broke; any other failure is raised."""
        if done.rc == 0 and not done.stopped:
            # adb reports success, but the last line of the script is missing: the stream was cut.
            error: Exception = DeviceLostError(f"{what}: the answer is incomplete")
        else:
            error = diagnose(done, what)
        if not isinstance(error, DeviceLostError) or attempt + 1 == ATTEMPTS:
            raise error
        self.wait_back()

    def _loss(self, done: ProcessResult, rc: int | None, cut: bool) -> str:
        """Message of adb about a broken connection; "" if the program itself ended."""
        if cut:
            said = without_controls(" ".join(done.stderr.decode(errors="replace").split()))[-200:]
            return f"device '{self.serial}': the connection was cut during the run ({said or 'adb said nothing'})"
        tail = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        # The tool may print words that adb uses too, so only lines that start like adb's own count.
        if rc == 1 and tail and tail[0].startswith(("error:", "adb:")):
            error = diagnose(done, f"device '{self.serial}'")
            if isinstance(error, (DeviceLostError, DeviceUnauthorizedError)):
                return str(error)
        return ""

    def _check_length(self, text: str) -> None:
        if "shell_v2" not in self.features and len(text.encode()) > OLD_SCRIPT_BYTES:
            raise AdbError(f"device '{self.serial}': a script of {len(text.encode())} bytes is too long for its old adbd")

    def _check_cancelled(self) -> None:
        if self.adb.cancelled():
            raise CancelledError(f"device '{self.serial}': stopped on request")


def quote(value: str | Path) -> str:
    """Quotes a text as one word of a device's shell.

    Raises:
        AdbError: The text has a NUL, which no command line can have.
    """
    text = str(value)
    if "\0" in text:
        raise AdbError(f"{text!r} holds a NUL character, which cannot be passed to a device")
    return shlex.quote(text)


def guarded(command: str) -> str:
    """A command that is ended after a few seconds where the device has `timeout`.

    A service that hangs then costs only its own answer.
    """
    return f"$(command -v timeout >/dev/null 2>&1 && echo timeout {GUARD_S}) {command}"


def sections(commands: Mapping[str, str]) -> tuple[str, str]:
    """Makes a script that runs several commands and keeps their outputs apart; for `split_sections`.

    Returns:
        The script, and the random mark that separates the outputs.
    """
    secret = secrets.token_hex(6)
    return "\n".join(f"echo; echo '@@{secret} {name}'\n{command}" for name, command in commands.items()), secret


def split_sections(text: str, secret: str) -> dict[str, str]:
    """Splits the output of a script of `sections` into outputs by name."""
    found = {}
    for part in text.split(f"@@{secret} ")[1:]:
        name, _, body = part.partition("\n")
        found[name.strip()] = body.strip("\r\n")
    return found
