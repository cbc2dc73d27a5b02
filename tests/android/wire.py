"""The ADB wire protocol, the device's end of it: packets, streams and the sync service (AOSP, protocol.txt and SYNC.TXT)."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

CNXN, AUTH, OPEN, OKAY, CLSE, WRTE = (
    int.from_bytes(name, "little") for name in (b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"CLSE", b"WRTE")
)
AUTH_TOKEN, AUTH_PUBLIC_KEY = 1, 3
VERSION, MAX_PAYLOAD = 0x01000001, 256 * 1024
_HEADER = struct.Struct("<6I")
_STAT2 = struct.Struct("<4sIQQIIIIQqqq")


class Gone(Exception):
    """The other end closed the stream or the connection."""


class Stream:
    """One service's two-way stream; one packet is in the air until the other end confirms it."""

    def __init__(self, connection: Connection, local: int, remote: int) -> None:
        self.connection, self.local, self.remote = connection, local, remote
        self.closed = threading.Event()
        self.on_close: Callable[[], None] = lambda: None
        self._inbox: queue.Queue[bytes] = queue.Queue()
        self._buffer = b""
        self._ready = threading.Semaphore(1)
        self._writing = threading.Lock()

    def write(self, data: bytes) -> None:
        with self._writing:
            for start in range(0, len(data), MAX_PAYLOAD):
                while not self._ready.acquire(timeout=0.1):
                    if self.closed.is_set():
                        raise Gone
                if self.closed.is_set():
                    raise Gone
                self.connection.send(WRTE, self.local, self.remote, data[start : start + MAX_PAYLOAD])

    def read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            try:
                self._buffer += self._inbox.get(timeout=0.1)
            except queue.Empty:
                if self.closed.is_set():
                    raise Gone from None
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def confirmed(self) -> None:
        self._ready.release()

    def received(self, data: bytes) -> None:
        self._inbox.put(data)

    def close(self) -> None:
        if not self.closed.is_set():
            self.closed.set()
            with contextlib.suppress(OSError):
                self.connection.send(CLSE, self.local, self.remote)
            self.connection.streams.pop(self.local, None)

    def hang_up(self) -> None:
        self.closed.set()
        self.on_close()


class Connection:
    """One connection from an adb server; `device` opens services and decides what happens."""

    def __init__(self, device: Device, sock: socket.socket) -> None:
        self.device, self.sock = device, sock
        self.streams: dict[int, Stream] = {}
        self._next = 1
        self._sending = threading.Lock()

    def send(self, command: int, arg0: int, arg1: int, data: bytes = b"") -> None:
        self.device.slow_down(len(data))
        with self._sending:
            self.sock.sendall(_HEADER.pack(command, arg0, arg1, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF) + data)

    def serve(self) -> None:
        with contextlib.suppress(OSError, Gone):
            while True:
                self._handle(*self._receive())
        for stream in list(self.streams.values()):
            stream.hang_up()
        with contextlib.suppress(OSError):
            self.sock.close()

    def drop(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def _receive(self) -> tuple[int, int, int, bytes]:
        command, arg0, arg1, size, _, magic = _HEADER.unpack(self._exactly(_HEADER.size))
        if magic != command ^ 0xFFFFFFFF:
            raise Gone
        data = self._exactly(size)
        self.device.slow_down(size)
        return command, arg0, arg1, data

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.sock.recv(size - len(data))
            if not part:
                raise Gone
            data += part
        return data

    def _handle(self, command: int, arg0: int, arg1: int, data: bytes) -> None:
        if command == CNXN or (command == AUTH and arg0 == AUTH_PUBLIC_KEY and self.device.auth == "accept"):
            if self.device.auth == "none" or command == AUTH:
                self.send(CNXN, VERSION, MAX_PAYLOAD, self.device.banner())
            else:
                self.send(AUTH, AUTH_TOKEN, 0, os.urandom(20))
        elif command == AUTH and arg0 != AUTH_PUBLIC_KEY:
            self.send(AUTH, AUTH_TOKEN, 0, os.urandom(20))
        elif command == OPEN:
            stream = Stream(self, self._next, arg0)
            self.streams[self._next] = stream
            self._next += 1
            self.send(OKAY, stream.local, stream.remote)
            name = data.rstrip(b"\0").decode(errors="surrogateescape")
            threading.Thread(target=self._service, args=(stream, name), daemon=True).start()
        elif command in (OKAY, WRTE, CLSE) and arg1 in self.streams:
            stream = self.streams[arg1]
            if command == OKAY:
                stream.confirmed()
            elif command == WRTE:
                stream.received(data)
                self.send(OKAY, stream.local, stream.remote)
            else:
                self.streams.pop(arg1, None)
                stream.hang_up()

    def _service(self, stream: Stream, name: str) -> None:
        with contextlib.suppress(Gone, OSError):
            self.device.service(stream, name)
        stream.close()


class Device:
    """What a connection needs of a device."""

    auth = "none"

    def banner(self) -> bytes:
        raise NotImplementedError

    def slow_down(self, size: int) -> None:
        raise NotImplementedError

    def service(self, stream: Stream, name: str) -> None:
        raise NotImplementedError


class Sync:
    """The sync service: stat, list, push, pull below a folder that stands for the device's root.

    Args:
        stream: the opened `sync:`.
        place: where a device's path is on this machine.
        writable: whether a device's path may be written to.
        room: bytes that still fit.
    """

    def __init__(
        self, stream: Stream, place: Callable[[str], Path], writable: Callable[[str], bool], room: Callable[[], int]
    ) -> None:
        self.stream, self.place, self.writable, self.room = stream, place, writable, room

    def serve(self) -> None:
        actions = {
            b"STAT": self._stat, b"STA2": self._stat2, b"LST2": self._stat2, b"LIST": self._list, b"LIS2": self._list2,
            b"SEND": self._send, b"RECV": self._recv,
        }  # fmt: skip
        while True:
            kind, size = struct.unpack("<4sI", self.stream.read(8))
            if kind not in actions:
                return
            actions[kind](kind, self.stream.read(size).decode(errors="surrogateescape"))

    def _stat(self, kind: bytes, path: str) -> None:
        try:
            found = self.place(path).stat()
            numbers = found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime)
        except OSError:
            numbers = 0, 0, 0
        self.stream.write(struct.pack("<4s3I", b"STAT", *numbers))

    def _stat2(self, kind: bytes, path: str) -> None:
        place = self.place(path)
        self.stream.write(_stat2(kind, place, follow=kind == b"STA2"))

    def _entries(self, path: str) -> Iterator[Path]:
        with contextlib.suppress(OSError):
            yield from self.place(path).iterdir()

    def _list(self, kind: bytes, path: str) -> None:
        for entry in self._entries(path):
            found, name = entry.lstat(), entry.name.encode()
            self.stream.write(
                struct.pack("<4s4I", b"DENT", found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime), len(name)) + name
            )
        self.stream.write(struct.pack("<4s4I", b"DONE", 0, 0, 0, 0))

    def _list2(self, kind: bytes, path: str) -> None:
        for entry in self._entries(path):
            name = entry.name.encode()
            self.stream.write(_stat2(b"DNT2", entry, follow=False) + struct.pack("<I", len(name)) + name)
        self.stream.write(b"DONE" + bytes(_STAT2.size))

    def _send(self, kind: bytes, path_and_mode: str) -> None:
        path, _, mode = path_and_mode.rpartition(",")
        problem = "" if self.writable(path) else f"couldn't create file: Permission denied: {path}"
        content = bytearray()
        while True:
            part, size = struct.unpack("<4sI", self.stream.read(8))
            if part == b"DONE":
                break
            data = self.stream.read(size)
            if not problem and len(content) + size > self.room():
                problem = "write failed: No space left on device"
            content += data if not problem else b""
        place = self.place(path)
        if not problem:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
            place.chmod((int(mode) & 0o777) | stat.S_IRUSR | stat.S_IWUSR)
        self.stream.write(struct.pack("<4sI", b"FAIL", len(problem)) + problem.encode() if problem else b"OKAY" + bytes(4))

    def _recv(self, kind: bytes, path: str) -> None:
        try:
            content = self.place(path).read_bytes()
        except OSError as error:
            said = f"open failed: {error.strerror}".encode()
            self.stream.write(struct.pack("<4sI", b"FAIL", len(said)) + said)
            return
        for start in range(0, len(content), 65536):
            part = content[start : start + 65536]
            self.stream.write(struct.pack("<4sI", b"DATA", len(part)) + part)
        self.stream.write(struct.pack("<4sI", b"DONE", 0))


def _stat2(kind: bytes, place: Path, *, follow: bool) -> bytes:
    try:
        s = place.stat() if follow else place.lstat()
    except OSError as error:
        return _STAT2.pack(kind, error.errno or 1, *(0,) * 10)
    times = int(s.st_atime), int(s.st_mtime), int(s.st_ctime)
    return _STAT2.pack(kind, 0, s.st_dev, s.st_ino, s.st_mode, s.st_nlink, s.st_uid, s.st_gid, s.st_size, *times)
