"""The `adb` executable as a child process: where it is, which server it talks to, and which devices that server sees."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from mhmodels.android_bench.errors import AdbError, DeviceLostError, DeviceUnauthorizedError, NoSpaceError
from mhmodels.android_bench.transport.lines import without_controls
from mhmodels.android_bench.transport.process import Finished, run_program
from mhmodels.errors import MhmodelsError

T = TypeVar("T")
CALL_S = 15.0
# Longest time in seconds that a server takes to report that a device is gone.
TRACK_S, TRACK_BYTES = 1.0, 1 << 20
_TRACK = b"host:track-devices"
# A serial may have spaces, as that of a second phone of one name on the network, so the state is looked for first.
_STATES = "device|offline|unauthorized|authorizing|connecting|recovery|rescue|sideload|bootloader|host|detached|unknown"
_LINE = re.compile(
    rf"^(?P<serial>\S.*?)\s+(?P<state>no permissions(?:[^;]*;[^\[]*\[[^\]]*\])?|(?:{_STATES})(?!\S))(?P<details>.*)$"
)
_OTHER_LINE = re.compile(r"^(?P<serial>\S+)\s+(?P<state>\S+)(?P<details>.*)$")
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

REMEDIES = {
    "unauthorized": "unlock the screen and allow USB debugging from this computer; if it does not ask, unplug and plug it again",
    "authorizing": "unlock the screen and allow USB debugging from this computer",
    "offline": "unplug and plug it again, or `adb reconnect offline`; a device on the network needs `adb connect` again",
    "no permissions": "this user may not open the USB device: install your distribution's udev rules for Android",
    "recovery": "it is in recovery; start Android",
    "sideload": "it is in sideload; start Android",
    "bootloader": "it is in the bootloader; start Android",
}


class Listed(NamedTuple):
    """A line of `adb devices -l`.

    Attributes:
        state: `device` if the device can be used.
        details: `model`, `product` and other properties.
    """

    serial: str
    state: str
    details: dict[str, str]

    @property
    def problem(self) -> str:
        """Why the device cannot be used, and what to do; "" if it can."""
        if self.state == "device":
            return ""
        remedy = next((text for name, text in REMEDIES.items() if self.state.startswith(name)), "it must be running Android")
        return f"device '{self.serial}' is {self.state}: {remedy}"


class Adb:
    """An adb executable, and the server that it talks to.

    Args:
        executable: path of the executable; None to look for one.
        server: `HOST:PORT` of a server, which must be running if it is on another machine. None for the server of the environment
            (`ADB_SERVER_SOCKET`, `ANDROID_ADB_SERVER_PORT`), else that of this machine.
        cancel: stops every running call when set.
    """

    def __init__(
        self, executable: str | os.PathLike[str] | None = None, server: str | None = None, cancel: threading.Event | None = None
    ) -> None:
        self.executable = find_adb(executable)
        self.cancel = cancel
        self._server = _server_words(server)
        self._started = False
        # Each device is measured from its own thread; only the cleaning up of that thread goes on.
        self._ignoring = threading.local()
        self._guard = threading.Lock()

    def run(self, words: Sequence[str], *, serial: str | None = None, timeout_s: float = CALL_S) -> Finished:
        """Runs adb with arguments, on a device or on none, and returns whatever it answers.

        Raises:
            AdbError: adb cannot be started, or there is no server.
        """
        self._start_server()
        return self._call([*(("-s", serial) if serial else ()), *words], timeout_s)

    def devices(self) -> list[Listed]:
        """Lists every device that the server knows, usable or not.

        Raises:
            AdbError: there is no server to ask.
        """
        done = self.run(["devices", "-l"])
        check(done, "adb devices")
        return parse_devices(done.stdout.decode(errors="replace"))

    def connect(self, address: str) -> str:
        """Asks the server to connect to a device on the network; returns adb's answer, which says whether it did."""
        return self.run(["connect", address]).stdout.decode(errors="replace").strip()

    @contextlib.contextmanager
    def watching(self, serial: str) -> Iterator[Callable[[], bool]]:
        """Follows the state of a device while something runs on it.

        Yields:
            A function that tells whether the device was connected all the time. It says so too if the server cannot be asked.
        """
        self._start_server()
        with contextlib.ExitStack() as stack:
            told: socket.socket | None = None
            # A second program would outlive this one if this one is killed.
            with contextlib.suppress(OSError, ValueError):
                told = stack.enter_context(socket.create_connection(server_address(self._server), timeout=CALL_S))
                told.sendall(b"%04x%s" % (len(_TRACK), _TRACK))
            yield lambda: told is not None and _stayed(told, serial)

    def uncancelled(self, action: Callable[[], T]) -> T:
        """Runs an action in spite of a request to stop: cleaning up must not be stopped by what made it necessary."""
        self._ignoring.value = True
        try:
            return action()
        finally:
            self._ignoring.value = False

    def cancelled(self) -> bool:
        """Whether the calling thread was asked to stop."""
        return self.cancel is not None and self.cancel.is_set() and not getattr(self._ignoring, "value", False)

    def _call(self, words: Sequence[str], timeout_s: float) -> Finished:
        try:
            return run_program([str(self.executable), *self._server, *words], timeout_s=timeout_s, cancelled=self.cancelled)
        except OSError as error:
            raise AdbError(f"{self.executable}: cannot be run ({error.strerror})") from error

    def _start_server(self) -> None:
        """Starts a server on this machine first, so that its start-up messages are not part of an answer."""
        with self._guard:
            if self._started:
                return
            if not self._server:
                check(self._call(["start-server"], 30.0), "adb start-server")
            self._started = True


def find_adb(given: str | os.PathLike[str] | None = None) -> Path:
    """Finds the adb executable: the given one, that of the adbutils wheel, that on PATH, or that of an Android SDK.

    Raises:
        AdbError: there is none, or the given one is not a program.
    """
    if given is not None:
        path = Path(given).expanduser()
        if not (path.is_file() and os.access(path, os.X_OK)):
            raise AdbError(f"{path}: not a program, expected the adb executable")
        return path
    name = "adb.exe" if os.name == "nt" else "adb"
    candidates = []
    # Importing the package would import requests and Pillow; only its folder is needed.
    found = importlib.util.find_spec("adbutils")
    candidates += [Path(place, "binaries", name) for place in (found.submodule_search_locations or ()) if found] if found else []
    on_path = shutil.which("adb")
    candidates += [Path(on_path)] if on_path else []
    candidates += [
        Path(os.environ[variable], "platform-tools", name)
        for variable in ("ANDROID_HOME", "ANDROID_SDK_ROOT")
        if os.environ.get(variable)
    ]
    for path in candidates:
        if path.is_file() and os.access(path, os.X_OK):
            return path
    raise AdbError(
        "no adb executable: install Android's platform-tools (Debian: apt install adb) and put adb on PATH, "
        "or set ANDROID_HOME to an SDK that has them"
    )


def parse_devices(text: str) -> list[Listed]:
    """Reads what `adb devices -l` prints."""
    found = []
    for line in without_controls(text).splitlines():
        match = _LINE.match(line.strip()) or _OTHER_LINE.match(line.strip())
        if match is None or line.startswith(("List of devices", "*", "adb server")):
            continue
        pairs = (word.partition(":") for word in match["details"].split() if ":" in word)
        found.append(Listed(match["serial"], match["state"], {name: value for name, _, value in pairs}))
    return found


def server_address(words: Sequence[str]) -> tuple[str, int]:
    """Host and port of the server that adb talks to with these words, else with the environment.

    Raises:
        ValueError: the address is not a TCP address.
    """
    if words:
        return words[1], int(words[3])
    place = os.environ.get("ADB_SERVER_SOCKET")
    if place is None:
        return "localhost", int(os.environ.get("ANDROID_ADB_SERVER_PORT", "5037"))
    kind, _, rest = place.partition(":")
    if kind != "tcp":
        raise ValueError(f"{place} is not an address")
    host, _, port = rest.rpartition(":")
    return host.strip("[]") or "localhost", int(port)


def _stayed(told: socket.socket, serial: str) -> bool:
    """Whether a device was in every list that the server sent, and in those that it sends within a moment."""
    deadline, heard = time.monotonic() + TRACK_S, b""
    with contextlib.suppress(TimeoutError):
        while (left := deadline - time.monotonic()) > 0 and len(heard) < TRACK_BYTES:
            told.settimeout(left)
            try:
                data = told.recv(1 << 16)
            except ConnectionError:
                return False
            heard += data
            if not data or any(state != "device" for state in states_of(heard, serial)):
                return False
    return bool(states_of(heard, serial))


def states_of(heard: bytes, serial: str) -> list[str]:
    """States of a device in a server's answer to `track-devices` (lists with their lengths); "" where it was not connected."""
    found = []
    heard = heard.removeprefix(b"OKAY")
    while (length := re.match(rb"[0-9a-fA-F]{4}", heard)) and len(heard) >= 4 + int(length[0], 16):
        end = 4 + int(length[0], 16)
        lines = parse_devices(heard[4:end].decode(errors="replace"))
        found.append(next((line.state for line in lines if line.serial == serial), ""))
        heard = heard[end:]
    return found


def check(done: Finished, what: str) -> None:
    """Raises the fitting error if a call of adb failed.

    Raises:
        DeviceUnauthorizedError, DeviceLostError, NoSpaceError, AdbError: according to the output of adb.
    """
    if done.rc == 0 and not done.stopped:
        return
    raise diagnose(done, what)


def diagnose(done: Finished, what: str) -> MhmodelsError:
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


def _server_words(server: str | None) -> list[str]:
    if not server:
        return []
    host, separator, port = server.rpartition(":")
    if not (separator and host and port.isdigit() and 0 < int(port) < 65536):
        raise AdbError(f"adb server is '{server}', expected HOST:PORT such as 192.168.1.20:5037")
    return ["-H", host.strip("[]"), "-P", port]
