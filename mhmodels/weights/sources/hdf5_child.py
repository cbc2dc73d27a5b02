"""The contained process that reads HDF5 files for `mhmodels.weights.sources.hdf5`: a script of NumPy and h5py alone.

HDF5's library loops or crashes on damaged files. It runs here, under limits of time and memory for each request.
Requests and answers are JSON lines on the channel of `mhmodels.system.child`; the values of an array go into the file that
both processes share, whose descriptor is the script's argument.
"""

from __future__ import annotations

import io
import json
import os
import resource
import socket
import sys
import zipfile
from typing import TypedDict

import h5py

MOST_NODES = 200_000
MOST_DEPTH = 64
MOST_TEXT = 4 << 20
SPARE_MEMORY = 512 << 20
READ_ATTRIBUTES = ("name", "layer_names", "weight_names")


class Hdf5Request(TypedDict, total=False):
    """A request: what to `do`, and what that takes."""

    do: str
    file: int
    path: str
    member: str | None
    limit: int
    name: str


class Refused(Exception):
    """What is wrong with a file, in words for a person."""


class Tree:
    """A file's groups, arrays and links as plain data, in the form that `hdf5.Group` takes."""

    def __init__(self) -> None:
        self.nodes = 0
        self.text = 0
        self.groups: set[int] = set()

    def group(self, group: h5py.Group, depth: int = 0) -> dict[str, object]:
        """One group with everything below it."""
        place = h5py.h5o.get_info(group.id).addr
        # Keras never writes such files; a small one can lead round for ever, or to the same arrays a billion times.
        if place in self.groups or depth >= MOST_DEPTH:
            raise Refused(f"a group in it is held in two places, or lies over {MOST_DEPTH} groups deep")
        self.groups.add(place)
        members: dict[str, object] = {}
        for name in group:
            self._count(name)
            members[name] = self._member(group, name, depth)
        return {"members": members, "attributes": self._attributes(group)}

    def _member(self, group: h5py.Group, name: str, depth: int) -> dict[str, object]:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            return {"link": True}
        found = group[name]
        if isinstance(found, h5py.Group):
            return self.group(found, depth + 1)
        shape = found.shape if isinstance(found, h5py.Dataset) else None
        if shape is None:
            return {"link": False}
        dtype = found.dtype
        return {
            "shape": [int(side) for side in shape],
            "dtype": str(dtype),
            "code": dtype.str if dtype.kind in "fiu" and dtype.itemsize <= 8 else "",
            "size": dtype.itemsize,
            "inside": not (found.external or found.is_virtual),
        }

    def _attributes(self, group: h5py.Group) -> dict[str, object]:
        found: dict[str, object] = {}
        for key in group.attrs:
            if not key.startswith(READ_ATTRIBUTES):
                continue
            value = group.attrs[key]
            texts = [value] if isinstance(value, (str, bytes)) else list(value) if getattr(value, "ndim", 0) == 1 else []
            decoded = [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in texts]
            for text in decoded:
                self._count(text)
            found[key] = decoded[0] if isinstance(value, (str, bytes)) else decoded
        return found

    def _count(self, text: str) -> None:
        self.nodes += 1
        self.text += len(text)
        if self.nodes > MOST_NODES or self.text > MOST_TEXT:
            raise Refused(f"over {MOST_NODES} objects, or names of over {MOST_TEXT} characters")


def opened(path: str, member: str | None, limit: int) -> h5py.File:
    """The HDF5 file at a path, or the one that is a member of a zip file there."""
    if member is None:
        return h5py.File(path, "r")
    with zipfile.ZipFile(path) as archive, archive.open(member) as stream:
        content = stream.read(limit + 1)
        if len(content) > limit:
            raise Refused(f"{member} in it unpacks to over {limit} bytes")
        # To its end, where the checksum is compared.
        stream.read(1)
    return h5py.File(io.BytesIO(content), "r")


def touch(_name: str, found: h5py.Group | h5py.Dataset) -> None:
    """Reads an object's attributes, and an array's values."""
    list(found.attrs.items())
    if isinstance(found, h5py.Dataset):
        found[()]


def allow(seconds: int, memory: int) -> None:
    """Limits what the next request may take; beyond its time the process is killed, beyond its memory the request fails."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = int(usage.ru_utime + usage.ru_stime) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 (pathlib is not needed for anything else here)
        now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    most = now + SPARE_MEMORY + memory
    resource.setrlimit(resource.RLIMIT_AS, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


class Server:
    """Answers requests."""

    def __init__(self, shared: int) -> None:
        self.shared = shared
        self.files: dict[int, h5py.File] = {}

    def answer(self, request: Hdf5Request) -> dict[str, object]:
        """One request: `open` a file under a number, `read` an array of it, `check` all of it, `close` it."""
        number = int(request["file"])
        if request["do"] == "open":
            file = opened(request["path"], request["member"], request["limit"])
            try:
                root = Tree().group(file)
            except BaseException:
                # HDF5 would answer later openings of the file from what it has read of this one.
                file.close()
                raise
            self.files[number] = file
            return {"root": root}
        if request["do"] == "close":
            file = self.files.pop(number, None)
            if file is not None:
                file.close()
            return {}
        if request["do"] == "check":
            self.files[number].visititems(touch)
            return {}
        values = self.files[number][request["name"]][()]
        content = memoryview(values.tobytes()) if values.nbytes else memoryview(b"")
        written = 0
        while written < len(content):
            written += os.pwrite(self.shared, content[written : written + (1 << 26)], written)
        return {"bytes": len(content)}


def main() -> None:
    """Serves requests."""
    channel, server = socket.socket(fileno=int(sys.argv[1])), Server(int(sys.argv[2]))
    for line in channel.makefile("r", encoding="utf-8"):
        request = json.loads(line)
        try:
            allow(request["seconds"], request["memory"])
            answer = server.answer(request)
        except Refused as error:
            answer = {"error": str(error)}
        except MemoryError:
            answer = {"error": "it needs more memory than a file of its size may"}
        except Exception as error:  # h5py, zipfile and zlib raise whatever their parsing meets
            answer = {"error": (str(error).splitlines() or [type(error).__name__])[0][:200]}
        channel.sendall(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
