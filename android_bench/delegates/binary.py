"""The benchmark tool that runs on a phone: where it comes from, and whether the phone can run it. Nothing is downloaded."""

from __future__ import annotations

import hashlib
import os
import re
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mhmodels.android_bench.device.description import PhoneFacts
from mhmodels.android_bench.transport.phone import Phone, quote
from mhmodels.errors import FileFormatError, MeasurementError
from mhmodels.system.files import read_bytes
from mhmodels.system.places import data_path

# Android's names of ABIs by ELF machine and class.
_MACHINES = {(183, 2): "arm64-v8a", (40, 1): "armeabi-v7a", (62, 2): "x86_64", (3, 1): "x86", (243, 2): "riscv64"}
# A tool that contains all of TensorFlow has 200 MB.
MOST_BYTES = 1 << 30
_ON_DEVICE = ("/data/local/tmp/{tool}", "/data/local/tmp/{tool}_plus_flex")
URL = "https://storage.googleapis.com/tensorflow-nightly-public/prod/tensorflow/release/lite/tools/nightly/latest"


class Binary(NamedTuple):
    """A benchmark tool.

    Attributes:
        tool: `benchmark_model` or `benchmark_litert_model`.
        local: File on this machine; None if it is on the device already.
        remote: Path on the device; "" until it is pushed.
        sha256: SHA-256 of its content, because the tool has no version number.
        abi: Android's name of its ABI; "" for a script.
    """

    tool: str
    local: Path | None
    remote: str
    sha256: str
    abi: str


def find_binary(tool: str, facts: PhoneFacts, phone: Phone, given: Iterable[str | os.PathLike[str]] = ()) -> Binary:
    """Finds the tool for a device: a given file, one in the user's folder for an ABI of the device, or one on the device.

    Args:
        tool: Name of the tool.
        facts: Facts of the device.
        phone: The device.
        given: Files; one with `litert` in its name stands for `benchmark_litert_model`, any other for `benchmark_model`.

    Raises:
        MeasurementError: There is none, and the message says where to get it; or a given file cannot be read.
    """
    for path in map(Path, given):
        if tool_of(path) == tool:
            return inspect(path, tool)
    for abi in facts.abis:
        path = user_folder() / abi / tool
        if path.is_file():
            return inspect(path, tool)
    places = [place.format(tool=tool) for place in _ON_DEVICE]
    for place in places:
        said = phone.script(f"[ -x {quote(place)} ] && sha256sum {quote(place)}")
        digest = said.stdout.split()[:1]
        if said.rc == 0 and digest and re.fullmatch("[0-9a-f]{64}", digest[0]):
            return Binary(tool, None, place, digest[0], "")
    raise MeasurementError(_missing(tool, facts))


def inspect(path: Path, tool: str) -> Binary:
    """Reads ABI and hash of a tool on this machine.

    Raises:
        MeasurementError: The file cannot be read, or is neither an ELF program nor a script.
    """
    try:
        content = read_bytes(path, MOST_BYTES)
    except FileFormatError as error:
        raise MeasurementError(f"{error}, expected {tool} for Android") from error
    abi = ""
    if content[:4] == b"\x7fELF" and len(content) >= 20:
        machine = struct.unpack_from("<H", content, 18)[0]
        abi = _MACHINES.get((machine, content[4]), f"machine {machine}")
    elif content[:2] != b"#!":
        raise MeasurementError(f"{path}: not a program (starts with {content[:4]!r}), expected {tool} for Android")
    return Binary(tool, path, "", hashlib.sha256(content).hexdigest(), abi)


def tool_of(path: Path) -> str:
    """The tool that a file stands for, by its name."""
    return "benchmark_litert_model" if "litert" in path.name.lower() else "benchmark_model"


def user_folder() -> Path:
    """The user's folder for tools, with a folder for each ABI."""
    return data_path() / "android"


def _missing(tool: str, facts: PhoneFacts) -> str:
    abi = facts.abis[0] if facts.abis else "arm64-v8a"
    platform = "android_aarch64" if abi == "arm64-v8a" else "android_arm"
    where = (
        f"download {URL}/{platform}_benchmark_model" if tool == "benchmark_model" else "build litert/tools of LiteRT with Bazel"
    )
    return (
        f"no {tool} for {facts.title} ({abi}): {where}, then give the file as argument 'binaries' or put it at "
        f"{user_folder() / abi / tool} (docs/phones.md)"
    )
