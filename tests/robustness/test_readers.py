"""Damaged and special files: every reader answers with a value or an error of the package, in little time and memory."""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mhmodels.errors import MhmodelsError
from tests.robustness.readers import HOME, READERS, Reader

DEADLINE_S = 60
"""For one file, which takes milliseconds; a loop without end is what it finds."""
MOST_BYTES = 512 << 20
UNREAD = {"names of phones", "cores of phones"}
"""What is remembered is done without where it cannot be read."""
SLOW = {"TFRecords", "accuracies"}
"""They import TensorFlow and scikit-learn."""

INTERESTING = (0, 1, 9, 10, 34, 44, 45, 48, 57, 91, 93, 123, 125, 127, 128, 254, 255)
WORDS = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF, 1 << 20)
TEXTS = (
    b"1e308",
    b"-1",
    b"NaN",
    b"null",
    b"[]",
    b"{}",
    b'"',
    b"9" * 400,
    b"[" * 3000,
    b"\xff",
    b"\x00",
    b"\xe2\x80\xa8",
    b"\n",
    b",",
)


VALUES = (None, -1, 0, 1, 2, 0.5, 1e308, -1e308, 1e-300, 2**31, 2**63, 2**70, "", "x" * 1000, "\0", "/dev/zero", "multi_max",
          [], {}, [[[]]], True, [1, 2], {"a": 1}, "conv", 10**9, 10**5)  # fmt: skip


class DeadlineError(BaseException):
    """Nothing in the product catches it."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MHMODELS_HOME", str(tmp_path / HOME))
    return tmp_path


@contextlib.contextmanager
def deadline() -> Iterator[None]:
    def late(number: int, frame: object) -> None:
        raise DeadlineError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(DEADLINE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def place(reader: Reader, folder: Path) -> Path:
    path = folder / reader.name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def outcome(reader: Reader, path: Path) -> str:
    """`read` or `refused`; any other error is the test's."""
    with deadline():
        try:
            reader.read(path)
        except MhmodelsError:
            return "refused"
    return "read"


def mutated(rng: random.Random, whole: bytes) -> bytes:
    """The file with bytes flipped, words or texts put in, a part repeated, left out or cut off; mostly near its begin."""
    content = bytearray(whole)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        size = max(len(content), 1)
        at = rng.randrange(size) if rng.random() < 0.6 else rng.randrange(min(size, 128))
        change = rng.randrange(8)
        if change < 3:
            content[at : at + 1] = bytes([rng.choice((*INTERESTING, rng.randrange(256)))])
        elif change < 5:
            content[at : at + 4] = struct.pack(rng.choice("<>") + "I", rng.choice((*WORDS, size, rng.randrange(size))))
        elif change == 5:
            content[at : at + rng.choice((0, 1, 4))] = rng.choice(TEXTS)
        elif change == 6:
            length = rng.randrange(1, 200)
            content[at:at] = content[at : at + length] * rng.choice((1, 1, 50))
        else:
            del content[at : rng.choice((len(content), at + rng.randrange(1, 64)))]
    return bytes(content)


def changed(rng: random.Random, whole: bytes) -> bytes:
    """A JSON document with one value somewhere replaced, removed, repeated or renamed."""
    document = json.loads(whole)
    parent, key, node = None, None, document
    while isinstance(node, (dict, list)) and node and (key is None or rng.random() < 0.8):
        parent, key = node, rng.choice(list(node) if isinstance(node, dict) else range(len(node)))
        node = parent[key]
    change = rng.randrange(6)
    if isinstance(parent, dict) and change == 0:
        parent[f"{key}x"] = parent.pop(key)
    elif isinstance(parent, (dict, list)) and change == 1:
        del parent[key]
    elif isinstance(parent, list) and change == 2:
        parent.extend([node] * rng.choice((1, 1000)))
    elif parent is not None:
        parent[key] = rng.choice(VALUES)
    return json.dumps(document).encode()


def damaged(rng: random.Random, whole: bytes) -> bytes:
    """One of both."""
    return changed(rng, whole) if whole[:1] == b"{" and rng.random() < 0.7 and whole.count(b"\n{") == 0 else mutated(rng, whole)


def try_mutants(reader: Reader, folder: Path, count: int, seed: str) -> dict[str, int]:
    whole, path = reader.make(folder), place(reader, folder)
    path.write_bytes(whole)
    seen = {"read": 0, "refused": 0}
    whole_outcome = outcome(reader, path)
    rng = random.Random(seed)
    for number in range(count):
        for beside in path.parent.glob(f"{path.name}-*"):
            beside.unlink()  # SQLite's
        content = damaged(rng, whole)
        path.write_bytes(content)
        try:
            seen[outcome(reader, path)] += 1
        except BaseException:
            kept = Path(f"/tmp/mutant-{path.name}")
            kept.write_bytes(content)
            print(f"mutant {number} of seed {seed!r} is kept as {kept}")
            raise
    return {**seen, whole_outcome: seen[whole_outcome] + 1}


@pytest.mark.parametrize("name", [name for name in READERS if name not in SLOW])
def test_a_few_damaged_files(name: str, home: Path) -> None:
    try_mutants(READERS[name], home, 4, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_many_damaged_files(name: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mhmodels.weights.sources import hdf5

    monkeypatch.setattr(hdf5, "CPU_SECONDS", 1)
    try_mutants(READERS[name], home, 0, name)  # what is imported when it is first needed counts for no file
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seen = try_mutants(READERS[name], home, 30 if "weights" in name else 200, name)
    assert seen["refused"] > 0 or name in UNREAD | {"hash"}
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < MOST_BYTES >> 10, f"{grown} kB more memory"


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 42)


SPECIAL: dict[str, Callable[[Path], None]] = {
    "device": _device,
    "named pipe": os.mkfifo,
    "folder": Path.mkdir,
    "link to itself": _loop,
    "link to nothing": lambda path: path.symlink_to("nowhere"),
    "empty": Path.touch,
    "of 4 TiB, without blocks": _huge,
}
ENDLESS = {("hash", "of 4 TiB, without blocks"), ("hash", "empty")}
FRESH = {"store", "search log"}
"""Made where an empty file, or none, has their name."""
EMPTY_IS_FINE = {"labels", "provenance", "matrix, TOML", "delegates", *FRESH}


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_whole_regular_file(name: str, kind: str, home: Path) -> None:
    if (name, kind) in ENDLESS:
        pytest.skip("a hash takes any size")
    reader = READERS[name]
    path = place(reader, home)
    SPECIAL[kind](path)
    tracemalloc.start()
    try:
        ended = outcome(reader, path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 64 << 20
    fine = (kind == "empty" and name in EMPTY_IS_FINE) or (kind == "link to nothing" and name in FRESH) or name in UNREAD
    assert ended == "refused" or fine, ended


@pytest.mark.parametrize("name", READERS)
def test_names_that_are_not_utf8_or_hold_what_no_name_can(name: str, home: Path) -> None:
    reader = READERS[name]
    if name in SLOW or HOME in reader.name:
        pytest.skip("its file has a name of its own, or it imports much")
    path = place(reader, home)
    whole = reader.make(home)
    path.write_bytes(whole)
    ended = outcome(reader, path)
    other = path.with_name(os.fsdecode(b"\xff\x1b[2J\n") + path.name)
    other.write_bytes(whole)
    assert outcome(reader, other) == ended
    assert outcome(reader, path.with_name("\x00" + path.name)) == ("read" if name == "provenance" else "refused")
