"""The adb server itself, asked over its own protocol: its address, and the states of a device while something runs on it."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Sequence

from mhmodels.android_bench.transport.listing import parse_devices

# Longest time in seconds that a server takes to report that a device is gone.
TRACK_S, TRACK_BYTES = 1.0, 1 << 20
TRACK = b"host:track-devices"


def server_address(words: Sequence[str]) -> tuple[str, int]:
    """Host and port of the server that adb talks to with these words, else with the environment.

    Raises:
        ValueError: The address is not a TCP address.
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


def stayed(told: socket.socket, serial: str) -> bool:
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
