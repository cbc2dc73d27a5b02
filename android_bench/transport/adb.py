"""The `adb` executable as a child process, and where it is."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from mhmodels.android_bench.errors import AdbError
from mhmodels.android_bench.transport.diagnosis import check
from mhmodels.android_bench.transport.listing import ListedDevice, parse_devices
from mhmodels.android_bench.transport.process import ProcessResult, run_program
from mhmodels.android_bench.transport.server import TRACK, server_address, stayed

T = TypeVar("T")
CALL_S = 15.0


class Adb:
    """An adb executable, and the server that it talks to.

    Args:
        executable: Path of the executable; None to look for one.
        server: `HOST:PORT` of a server, which must be running if it is on another machine. None for the server of the environment
            (`ADB_SERVER_SOCKET`, `ANDROID_ADB_SERVER_PORT`), else that of this machine.
        cancel: Stops every running call when set.
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

    def run(self, words: Sequence[str], *, serial: str | None = None, timeout_s: float = CALL_S) -> ProcessResult:
        """Runs adb with arguments, on a device or on none, and returns whatever it answers.

        Raises:
            AdbError: adb cannot be started, or there is no server.
        """
        self._start_server()
        return self._call([*(("-s", serial) if serial else ()), *words], timeout_s)

    def devices(self) -> list[ListedDevice]:
        """Lists every device that the server knows, usable or not.

        Raises:
            AdbError: There is no server to ask.
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
                told.sendall(b"%04x%s" % (len(TRACK), TRACK))
            yield lambda: told is not None and stayed(told, serial)

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

    def _call(self, words: Sequence[str], timeout_s: float) -> ProcessResult:
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
        AdbError: There is none, or the given one is not a program.
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


def _server_words(server: str | None) -> list[str]:
    if not server:
        return []
    host, separator, port = server.rpartition(":")
    if not (separator and host and port.isdigit() and 0 < int(port) < 65536):
        raise AdbError(f"adb server is '{server}', expected HOST:PORT such as 192.168.1.20:5037")
    return ["-H", host.strip("[]"), "-P", port]
