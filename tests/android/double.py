"""A phone without the phone: an unprivileged, loopback-only device that speaks ADB, with a folder for a file system."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from .phone_files import PIXEL, SHELL, THERMAL, furnish
from .wire import Connection, Device, Gone, Stream, Sync

# A process may look at itself.
ROOTS = r"data|sdcard|sys|vendor|system|proc(?!/\$\$)|odm|product"
_ABSOLUTE = re.compile(rf"(?<![\w./-])/({ROOTS})(?=[/\s'\";:)]|$)")
MODERN = "shell_v2,cmd,stat_v2,ls_v2,fixed_push_mkdir"


class Double(Device):
    """One device; start it, connect an adb server to `address`, and turn the knobs while it runs.

    Attributes:
        root: its file system.
        auth: `none`, `accept` or `reject` (then it is unauthorized for good).
        features: of its adbd; "" for an old phone without shell_v2, which merges streams and has no exit codes.
        hang_on: commands that are opened and never answered.
        drop_on: commands during which the connection breaks, after `drop_after_s`; `drops` counts down.
        away_s: how long it refuses connections after a break; it restarted if `reboots`.
        bytes_per_s: of its link, 0 for no limit.
        capacity: bytes that its storage takes in pushes, None for no limit.
        greeting: script that its shell runs before every command.
        commands: every shell command it got.
    """

    def __init__(self, root: Path, props: dict[str, str] | None = None, *, features: str = MODERN) -> None:
        self.root, self.features = root, features
        self.token = uuid.uuid4().hex
        self.auth = "none"
        self.hang_on, self.drop_on = "", ""
        self.drops, self.drop_after_s, self.away_s, self.reboots = 1, 0.3, 0.0, False
        self.bytes_per_s, self.capacity = 0, None
        self.greeting = ""
        self.commands: list[str] = []
        self.props = {**PIXEL, **(props or {})}
        furnish(root, self.props, sys.executable)
        self._connections: list[Connection] = []
        self._back_at = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        # adb looks for emulators on these ports by itself.
        while 5554 <= self._listener.getsockname()[1] <= 5700:
            self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def banner(self) -> bytes:
        names = ("ro.product.name", "ro.product.model", "ro.product.device")
        pairs = "".join(f"{name}={self.props.get(name, '')};" for name in names)
        return f"device::{pairs}features={self.features}".encode()

    def slow_down(self, size: int) -> None:
        if self.bytes_per_s:
            time.sleep(size / self.bytes_per_s)

    def place(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def service(self, stream: Stream, name: str) -> None:
        kind, _, command = name.partition(":")
        words = kind.split(",")
        if words[0] == "sync":
            Sync(stream, self.place, lambda p: p.startswith(("/data/local/tmp", "/sdcard")), self._room).serve()
        elif words[0] in ("shell", "exec"):
            self.commands.append(command)
            if self.hang_on and re.search(self.hang_on, command):
                stream.closed.wait(60)
                return
            if self.drops > 0 and self.drop_on and re.search(self.drop_on, command):
                self.drops -= 1
                threading.Timer(self.drop_after_s, self.break_off).start()
            self._shell(stream, command, "v2" in words, words[0] == "exec")

    def break_off(self) -> None:
        """Breaks every connection; restarts if told to."""
        self._back_at = time.monotonic() + self.away_s
        for connection in self._connections:
            connection.drop()
        if self.reboots:
            self.kill_processes()
            (self.root / "proc/sys/kernel/random/boot_id").write_text(str(uuid.uuid4()))

    def processes(self) -> dict[int, str]:
        """Command lines by id of everything that runs on this device."""
        found = {}
        mark = f"DEVICE_TOKEN={self.token}".encode()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if mark in (entry / "environ").read_bytes() and (entry / "cmdline").read_bytes():
                        found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return found

    def set_temperature(self, celsius: float, status: int = 0) -> None:
        """Makes the skin that warm."""
        text = THERMAL.replace("29.4", f"{celsius}").replace("Thermal Status: 0", f"Thermal Status: {status}")
        (self.root / "state/thermalservice").write_text(text)

    def runs(self, pattern: str = "") -> list[str]:
        """Commands that ran the tool, in their order."""
        return [command for command in self.commands if "\nexec " in command and pattern in command]

    def kill_processes(self) -> None:
        for pid in self.processes():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        self._listener.close()
        for connection in self._connections:
            connection.drop()
        self.kill_processes()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                if time.monotonic() < self._back_at:
                    sock.close()
                    continue
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection = Connection(self, sock)
                self._connections.append(connection)
                threading.Thread(target=connection.serve, daemon=True).start()

    def _room(self) -> int:
        if self.capacity is None:
            return 1 << 40
        return self.capacity - sum(p.stat().st_size for p in (self.root / "data").rglob("*") if p.is_file())

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.root}/system/bin:/usr/bin:/bin",
            "DEVICE_ROOT": str(self.root),
            "DEVICE_TOKEN": self.token,
            "HOME": "/",
        }

    def _start(self, command: str, *, merged: bool) -> subprocess.Popen[bytes]:
        if "/proc/[" in command:
            self._show_processes()
        rewritten = _ABSOLUTE.sub(lambda match: f"{self.root}/{match[1]}", command)
        return subprocess.Popen(
            [SHELL, "-c", f"{self.greeting}\n{rewritten}" if self.greeting else rewritten],
            cwd=self.root,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merged else subprocess.PIPE,
            start_new_session=True,
        )

    def _show_processes(self) -> None:
        """Makes the device's own processes visible below its /proc, and nobody else's."""
        folder = self.root / "proc"
        running = {str(pid) for pid in self.processes()}
        for entry in folder.iterdir():
            if entry.name.isdigit() and entry.name not in running:
                entry.unlink(missing_ok=True)
        for pid in running:
            with contextlib.suppress(FileExistsError):
                (folder / pid).symlink_to(f"/proc/{pid}")

    def _shell(self, stream: Stream, command: str, modern: bool, raw: bool) -> None:
        process = self._start(command, merged=not modern)
        # What adbd does when the other end goes away: a hang-up for the shell it started, and for nothing else.
        stream.on_close = lambda: process.poll() is None and process.send_signal(signal.SIGHUP)  # type: ignore[assignment]
        if stream.closed.is_set():
            stream.on_close()
        old = not modern and not raw
        readers = [threading.Thread(target=_copy, args=(process.stdout, stream, 1 if modern else None, old), daemon=True)]
        if modern:
            readers.append(threading.Thread(target=_copy, args=(process.stderr, stream, 2, False), daemon=True))
        for reader in readers:
            reader.start()
        rc = process.wait()
        for reader in readers:
            reader.join()
        if modern:
            stream.write(struct.pack("<BIB", 3, 1, rc if rc >= 0 else 128 - rc))


def _copy(pipe: object, stream: Stream, number: int | None, terminal: bool) -> None:
    with contextlib.suppress(Gone, OSError):
        while data := os.read(pipe.fileno(), 32768):  # type: ignore[attr-defined]
            if terminal:
                data = data.replace(b"\n", b"\r\n")
            stream.write(data if number is None else struct.pack("<BI", number, len(data)) + data)


class Server:
    """A private adb server: the real one, on a port and in a home of its own."""

    def __init__(self, adb: Path, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.adb, self.address = adb, f"127.0.0.1:{self.port}"
        environment = {
            "HOME": str(home),
            "PATH": "/usr/bin:/bin",
            "TMPDIR": str(home),
            "ADB_MDNS": "0",
            "ADB_MDNS_AUTO_CONNECT": "0",
        }
        self._log = (home / "server.log").open("wb")
        self._process = subprocess.Popen(
            [str(adb), "-L", f"tcp:{self.port}", "server", "nodaemon"],
            env=environment,
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        self._wait_until_it_listens()

    def _wait_until_it_listens(self) -> None:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.05)
        raise RuntimeError("the private adb server did not start")

    def call(self, *words: str) -> str:
        command: Sequence[str] = [str(self.adb), "-H", "127.0.0.1", "-P", str(self.port), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        return done.stdout + done.stderr

    def connect(self, device: Double) -> str:
        said = self.call("connect", device.address)
        for _ in range(100):
            lines = self.call("devices")
            if re.search(rf"{device.address}\t(device|unauthorized)", lines):
                return said
            time.sleep(0.05)
        raise RuntimeError(f"{device.address} did not appear: {said}, {lines}")

    def disconnect(self, device: Double) -> None:
        self.call("disconnect", device.address)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        self._log.close()
