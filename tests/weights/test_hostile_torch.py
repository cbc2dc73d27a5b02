"""Damaged and hostile files of PyTorch: an answer in bounded time and memory, nothing executed, in the package's words."""

from __future__ import annotations

import os
import pickle
import random
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from mhmodels.errors import MhmodelsError, WeightsError
from mhmodels.weights import import_weights
from mhmodels.weights.sources.pytorch import limits, pickle_file
from mhmodels.weights.sources.pytorch.state_dict import read_state_dict
from tests.weights.torch_files import stand_ins, write_legacy, write_zip

TENSORS = {
    "conv_stem.weight": np.ones((16, 3, 3, 3), np.float32),
    **{f"bn1.{leaf}": np.ones(16, np.float32) for leaf in ("weight", "bias", "running_mean", "running_var")},
}


@pytest.fixture
def safetensors(tmp_path: Path) -> Path:
    """A small whole file."""
    save_file(TENSORS, tmp_path / "x.safetensors")
    return tmp_path / "x.safetensors"


def header(text: bytes, values: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with this header."""
    return struct.pack("<Q", len(text) if length is None else length) + text + values


def one(shape: str, end: int, dtype: str = "F32", start: int = 0) -> bytes:
    """A header with one tensor."""
    return f'{{"conv_stem.weight":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}}}'.encode()


SAFETENSORS = {
    "empty": (b"", r"0 bytes, expected a safetensors file; it is truncated"),
    "cut in the length": (b"\1\0\0", r"3 bytes, expected a safetensors file; it is truncated"),
    "a length beyond the file": (
        header(one("[1]", 4), bytes(4), 1 << 40),
        r"declares a header of 1099511627776 bytes, expected 1 to",
    ),
    "a length of nothing": (header(b"{}", length=0), r"declares a header of 0 bytes"),
    "a length of half the header": (header(one("[1]", 4), bytes(4), 20), r"cannot be read as safetensors, it is damaged"),
    "no JSON": (header(b"{" + b"x" * 50), r"cannot be read as safetensors, it is damaged"),
    "a list": (header(b"[1, 2]"), r"cannot be read as safetensors"),
    "a huge shape": (header(one("[4294967296, 4294967296]", 4), bytes(4)), r"cannot be read as safetensors"),
    "a shape of more than there is": (header(one("[1000000000]", 4000000000), bytes(4)), r"cannot be read as safetensors"),
    "a shape of less": (header(one("[1]", 8), bytes(8)), r"cannot be read as safetensors"),
    "a negative shape": (header(one("[-1]", 4), bytes(4)), r"cannot be read as safetensors"),
    "a place beyond the file": (header(one("[1]", 12, start=8), bytes(4)), r"cannot be read as safetensors"),
    "an unknown type": (header(one("[1]", 4, "F128"), bytes(4)), r"cannot be read as safetensors"),
    "an 8-bit float": (
        header(one("[4]", 4, "F8_E4M3"), bytes(4)),
        r"tensor 'conv_stem\.weight' is of type F8_E4M3, expected one of",
    ),
    "deep nesting": (header(b'{"a":' * 50_000 + b"1" + b"}" * 50_000), r"cannot be read as safetensors"),
}


@pytest.mark.parametrize("what", SAFETENSORS)
def test_safetensors_that_are_not_what_they_declare(what: str, tmp_path: Path) -> None:
    content, said = SAFETENSORS[what]
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=rf"x\.safetensors: .*{said}" if "tensor '" not in said else said) as told:
        import_weights(path, "mobilenet_v3_small.timm", tmp_path / "y.weights.h5")
    assert "\n" not in str(told.value)


def test_truncated_safetensors(safetensors: Path, tmp_path: Path) -> None:
    content = safetensors.read_bytes()
    for size in (9, 60, len(content) // 2, len(content) - 1):
        safetensors.write_bytes(content[:size])
        with pytest.raises(WeightsError, match="truncated"):
            read_state_dict(str(safetensors))


def test_more_tensors_or_longer_headers_than_any_network_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    save_file({f"t{i}.weight": np.zeros(1, np.float32) for i in range(limits.MOST_TENSORS + 1)}, path)
    with pytest.raises(WeightsError, match=r"10001 tensors, expected at most 10000"):
        read_state_dict(str(path))
    path.write_bytes(header(b"{" + b" " * (limits.LARGEST_HEADER + 1) + b"}"))
    with pytest.raises(WeightsError, match=r"declares a header of 8388611 bytes, expected 1 to 8388608"):
        read_state_dict(str(path))


MEMORY_PROGRAM = """
import resource, sys
from mhmodels.errors import WeightsError
from mhmodels.weights import import_weights
import mhmodels.weights.sources.pytorch.state_dict
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    import_weights(sys.argv[1], "mobilenet_v3_small.timm", sys.argv[2])
except WeightsError as error:
    print(error, file=sys.stderr)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_files_of_two_gigabytes_take_no_memory(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{suffix}"
    count = 1 << 29
    if suffix == "safetensors":
        path.write_bytes(header(one(f"[{count}]", 4 * count)))
        size = path.stat().st_size + 4 * count
    else:
        write_legacy(path, stand_ins(TENSORS))
        size = 4 * count
    os.truncate(path, size)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_PROGRAM, str(path), str(tmp_path / "y.weights.h5")],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    assert path.name in done.stderr
    assert int(done.stdout) < 100  # MiB


def evil(command: str) -> Any:
    """An object that would run a command if it were unpickled."""
    return type("Evil", (), {"__reduce__": lambda _: (os.system, (command,))})()


def build_evil(path: Path) -> dict[str, Callable[[str], bytes]]:
    """Pickles that would run a command, by the operations that they use."""

    def inst(command: str) -> bytes:
        return b"(S'" + command.encode() + b"'\nios\nsystem\n."

    def stack_global(command: str) -> bytes:
        return b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c" + bytes([len(command)]) + command.encode() + b"\x85R."

    def new_object(command: str) -> bytes:
        return b"\x80\x02csubprocess\nPopen\n(X" + struct.pack("<I", len(command)) + command.encode() + b"t\x81."

    def extension(command: str) -> bytes:
        return b"\x80\x02\x82\x01."

    return {
        "reduce": lambda command: pickle.dumps({"state_dict": evil(command)}, 2),
        "reduce of protocol 5": lambda command: pickle.dumps({"a": evil(command)}, 5),
        "inst": inst,
        "stack_global": stack_global,
        "new_object": new_object,
        "extension": extension,
    }


@pytest.mark.parametrize("form", ["zip", "legacy", "bare"])
def test_nothing_of_a_pickle_is_executed(form: str, tmp_path: Path) -> None:
    path, witness = tmp_path / "x.pth", tmp_path / "executed"
    head = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    for name, make in build_evil(tmp_path).items():
        content = make(f"touch {witness}")
        if form == "zip":
            write_zip(path, stand_ins(TENSORS), lambda members, content=content: members.update({"data.pkl": content}))
        else:
            path.write_bytes(b"".join(head if form == "legacy" else []) + content)
        with pytest.raises(WeightsError, match=r"x\.pth: ") as told:
            import_weights(path, "mobilenet_v3_small.timm", tmp_path / "y.weights.h5")
        assert "\n" not in str(told.value)
        assert not witness.exists(), name
    assert os.system(f"touch {witness}") == 0
    assert witness.exists()


def test_names_in_a_pickle_are_told(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    for value, said in (
        (evil("true"), r"it names '(posix|nt)\.system'; expected tensors only"),
        (Path("x"), r"it names 'pathlib\.PosixPath'"),
        (np.float64(3), r"it names 'numpy\.\S*multiarray\.scalar'"),
        (complex(1, 2), r"it names '(__builtin__|builtins)\.complex'"),
    ):
        write_zip(path, stand_ins(TENSORS), lambda members, v=value: members.update({"data.pkl": pickle.dumps({"x": v}, 2)}))
        with pytest.raises(WeightsError, match=said):
            read_state_dict(str(path))


def test_what_is_no_state_dict(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    for content, said in (
        ([1, 2], r"holds a list, expected a state dict"),
        ({"epoch": 3}, r"a dictionary without a state dict \(it has 'epoch'\)"),
        ({}, r"a dictionary without a state dict \(it has nothing\)"),
        ({**stand_ins(TENSORS), "extra": 3}, r"'extra' is 3, expected a tensor"),
        ({**stand_ins(TENSORS), 7: stand_ins(TENSORS)["bn1.weight"]}, r"'7' is a tensor, expected a tensor under a name"),
    ):
        for write in (write_zip, write_legacy):
            with pytest.raises(WeightsError, match=said):
                read_state_dict(str(write(path, content)))


ZIPS: dict[str, tuple[Callable[[dict[str, bytes]], Any], str]] = {
    "a missing storage": (lambda members: members.pop("data/0"), r"'archive/data/0' has no bytes, expected 1728 as its tensors"),
    "a short storage": (lambda members: members.update({"data/0": bytes(8)}), r"has 8 bytes, expected 1728"),
    "TorchScript": (lambda members: members.update({"constants.pkl": b""}), r"a TorchScript archive, which holds code"),
    "an odd byte order": (
        lambda members: members.update({"byteorder": b"middle"}),
        r"byte order b'middle', expected little or big",
    ),
    "two descriptions": (lambda members: members.update({"other/data.pkl": b""}), r"2 members named data\.pkl"),
    "a cut description": (
        lambda members: members.update({"data.pkl": members["data.pkl"][:80]}),
        r"damaged or truncated description|no end",
    ),
    "an empty description": (lambda members: members.update({"data.pkl": b""}), r"damaged or truncated description|no end"),
    "text": (lambda members: members.update({"data.pkl": b"hello world"}), r"cannot be read as PyTorch weights"),
}


@pytest.mark.parametrize("what", ZIPS)
def test_zip_files_that_are_not_what_they_declare(what: str, tmp_path: Path) -> None:
    change, said = ZIPS[what]
    path = write_zip(tmp_path / "x.pth", stand_ins(TENSORS), change)
    with pytest.raises(
        WeightsError, match=rf"x\.pth: cannot be read as PyTorch weights \(.*{said}" if "cannot" not in said else said
    ):
        read_state_dict(str(path))


def tensor(offset: int = 0, shape: str = "K\x04\x85", stride: str = "K\x01\x85", count: int = 4) -> bytes:
    """A description with one tensor of these numbers."""
    storage = (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ"
        + struct.pack("<i", count)
        + b"tQ"
    )
    body = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"J" + struct.pack("<i", offset)
    return b"\x80\x02}X\x01\x00\x00\x00a" + body + shape.encode("latin-1") + stride.encode("latin-1") + b"\x89}tRs."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (tensor(offset=1), r"a tensor of shape \[4\] in a storage of 4 values"),
        (tensor(offset=-1), r"a tensor of shape \(4,\)"),
        (tensor(stride="K\x02\x85"), r"a tensor of shape \[4\] in a storage of 4 values"),
        (tensor(stride="J\xff\xff\xff\xff\x85"), r"a tensor of shape \(4,\) and stride \(-1,\)"),
        (tensor(shape="J\xff\xff\xff\x7f\x85", stride="K\x00\x85"), r"a tensor of shape \[2147483647\] in a storage of 4 values"),
        (tensor(shape="K\x02K\x02\x86"), r"a tensor of shape \(2, 2\) and stride \(1,\)"),
        (tensor(count=-4), r"a storage of -4 values"),
        (b"\x80\x02X\xff\xff\xff\x7fabc.", r"damaged or truncated description"),
        (b"\x80\x02r\xff\xff\xff\x7f.", r"damaged or truncated description"),
        (b"\x80\x02" + b"(" * 1000 + b".", r"damaged or truncated description"),
        (b"\x80\x02}]K\x01s.", r"damaged or truncated description"),
        (b"\x80\x02h\x09.", r"damaged or truncated description"),
        (b"\x80\x02\x95.", r"damaged or truncated description|no end"),
    ],
)
def test_descriptions_of_impossible_tensors(content: bytes, said: str, tmp_path: Path) -> None:
    def change(members: dict[str, bytes]) -> None:
        members.update({"data.pkl": content, "data/0": bytes(16)})

    with pytest.raises(WeightsError, match=said):
        read_state_dict(str(write_zip(tmp_path / "x.pth", stand_ins(TENSORS), change)))


def test_legacy_files_that_are_cut_or_altered(tmp_path: Path) -> None:
    path = write_legacy(tmp_path / "x.pth", stand_ins(TENSORS))
    content = path.read_bytes()
    for size, said in (
        (len(content) - 1, "truncated or damaged"),
        (len(content) - 200, "truncated or damaged"),
        (40, "truncated"),
    ):
        path.write_bytes(content[:size])
        with pytest.raises(WeightsError, match=said):
            read_state_dict(str(path))
    path.write_bytes(pickle.dumps({"a": 1}, 2))
    with pytest.raises(WeightsError, match=r"a pickle that torch\.save did not write|damaged"):
        read_state_dict(str(path))
    path.write_bytes(bytes(257) + b"ustar" + bytes(300))
    with pytest.raises(WeightsError, match=r"PyTorch's tar format of 2016"):
        read_state_dict(str(path))
    path.write_bytes(b"hello")
    with pytest.raises(WeightsError, match=r"neither a zip file nor a pickle"):
        read_state_dict(str(path))


def test_a_description_larger_than_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_file, "LARGEST_PICKLE", 100)
    with pytest.raises(WeightsError, match=r"its description has \d+ bytes, expected at most 100"):
        read_state_dict(str(write_zip(tmp_path / "x.pth", stand_ins(TENSORS))))
    with pytest.raises(WeightsError, match=r"damaged or truncated description|no end"):
        read_state_dict(str(write_legacy(tmp_path / "y.pth", stand_ins(TENSORS))))


def test_a_zip_file_that_unpacks_to_much(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(300 << 20))
    with pytest.raises(WeightsError, match=r"it unpacks to 314572800 bytes"):
        read_state_dict(str(path))


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "nothing"])
def test_what_is_no_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(MhmodelsError):
        import_weights(path, "mobilenet_v3_small.timm", tmp_path / "y.weights.h5")
    with pytest.raises(MhmodelsError):
        read_state_dict(str(path))


@pytest.mark.parametrize("suffix", ["safetensors", "zip", "legacy"])
def test_mutated_files_are_read_or_refused(suffix: str, safetensors: Path, tmp_path: Path) -> None:
    """Bytes replaced in files that are otherwise sound; what is read has the values that it declares."""
    paths = {
        "safetensors": safetensors,
        "zip": write_zip(tmp_path / "z.pth", stand_ins(TENSORS)),
        "legacy": write_legacy(tmp_path / "l.pth", stand_ins(TENSORS)),
    }
    content, rng, seen = paths[suffix].read_bytes(), random.Random(suffix), {"read": 0, "refused": 0}
    path = tmp_path / f"x{paths[suffix].suffix}"
    for _ in range(400):
        changed = bytearray(content)
        for _ in range(rng.choice((1, 1, 2, 8))):
            changed[rng.randrange(min(len(changed), 900))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        path.write_bytes(changed if rng.random() < 0.9 else changed[: rng.randrange(len(changed))])
        try:
            source = read_state_dict(str(path))
            for layer in source.parts[0].layers:
                for variable in layer.variables.values():
                    assert variable.read().shape == variable.shape
            seen["read"] += 1
        except MhmodelsError:
            seen["refused"] += 1
    assert min(seen.values()) > 3, seen
