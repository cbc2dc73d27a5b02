"""Damaged and hostile HDF5, .keras and .npz files: an answer in bounded time and memory, in the package's words."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from mhmodels.errors import MhmodelsError, WeightsError
from mhmodels.formats import archives
from mhmodels.formats.archives import ArchiveError, load_arrays
from mhmodels.registry import resolve
from mhmodels.weights import import_weights, open_weights, read_info, read_weights, write_weights
from mhmodels.weights.sources import hdf5
from mhmodels.weights.sources.keras_file import check_keras_file
from tests.weights.helpers import random_arrays

DATA = Path(__file__).with_name("data")
ARCHITECTURE = resolve("multi_max@0.25").at(classes=4)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "good.weights.h5"
    write_weights(path, ARCHITECTURE, random_arrays(ARCHITECTURE))
    return path


@pytest.mark.parametrize("name", ["min_keras3.weights.h5", "min_legacy.h5"])
def test_files_that_hdf5_never_comes_to_an_end_with(name: str, good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "CPU_SECONDS", 0)
    with pytest.raises(WeightsError, match=rf"{name}: damaged: HDF5 does not come to an end with it"), open_weights(DATA / name):
        pass
    monkeypatch.undo()
    # The next file is read by a new child.
    assert read_weights(good)[0].architecture_id == ARCHITECTURE.architecture_id


def test_the_same_file_inside_a_keras_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "x.keras", "w") as archive:
        archive.write(DATA / "min_keras3.weights.h5", "model.weights.h5")
    monkeypatch.setattr(hdf5, "CPU_SECONDS", 0)
    with pytest.raises(WeightsError, match="does not come to an end with it"):
        check_keras_file(tmp_path / "x.keras")


def _huge(file: h5py.File) -> None:
    file.create_dataset("layers/dense/vars/0", (1 << 34,), "f4", chunks=(1 << 16,), compression="gzip")


def _huge_by_fill_value(file: h5py.File) -> None:
    file.create_dataset("layers/dense/vars/0", (1 << 20, 1 << 14), "f8", fillvalue=1.0, chunks=(1, 64))


def _many(file: h5py.File) -> None:
    for index in range(40):
        file.create_dataset(f"layers/dense_{index}/vars/0", (1 << 22,), "f4", chunks=(1 << 20,), compression="gzip")


def _cycle(file: h5py.File) -> None:
    dense = file.create_group("layers/dense")
    dense["vars"] = file["layers"]


def _deep(file: h5py.File) -> None:
    file["/".join(["layers"] * 100)] = np.zeros(3)


def _doubling(file: h5py.File) -> None:
    """Two links to one group at each of 30 levels: 2^30 paths through a small file."""
    group = file.create_group("layers")
    for _ in range(30):
        below = group.create_group("a")
        group["b"] = below
        group = below


def _long_names(file: h5py.File) -> None:
    file.create_group("layers").attrs["layer_names"] = ["x" * 30_000] * 1
    for index in range(200):
        file.create_group(f"layers/{index}").attrs["name"] = "x" * 30_000


HOSTILE: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "an array of 64 GiB": (_huge, r"its arrays take 68719476736 bytes, expected at most 268435456 for a file of its size"),
    "128 GiB of one value": (_huge_by_fill_value, r"its arrays take \d{12} bytes, expected at most 268435456"),
    "many arrays": (_many, r"its arrays take 671088640 bytes, expected at most 268435456"),
    "a group in itself": (_cycle, r"held in two places"),
    "a hundred levels": (_deep, r"over 64 groups deep"),
    "doubled links": (_doubling, r"held in two places"),
    "long names": (_long_names, r"names of over 4194304 characters"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_small_files_that_declare_much(what: str, tmp_path: Path) -> None:
    make, message = HOSTILE[what]
    with h5py.File(tmp_path / "x.weights.h5", "w") as file:
        make(file)
    assert (tmp_path / "x.weights.h5").stat().st_size < 16 << 20
    with pytest.raises(WeightsError, match=rf"x\.weights\.h5: .*{message}"):
        read_info(tmp_path / "x.weights.h5")


def test_what_the_child_needs_beyond_its_memory(tmp_path: Path) -> None:
    # A chunk is larger than its array: HDF5 wants memory for the whole of it.
    with h5py.File(tmp_path / "x.h5", "w") as file:
        dataset = file.create_dataset("layers/dense/vars/0", (1,), "f4", maxshape=(None,), chunks=(1 << 29,), compression="gzip")
        dataset.id.write_direct_chunk((0,), b"x\x9cnothing")
    with open_weights(tmp_path / "x.h5") as opened, pytest.raises(WeightsError, match=r"cannot be read as Keras weights"):
        opened.source.parts[0].layers[0].variables["kernel"].read()


def test_a_child_that_was_killed_is_started_anew(good: Path) -> None:
    read_info(good)
    with open_weights(good) as opened:
        pid = hdf5._readers[-1]._child.pid
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WeightsError, match=r"reads it was killed \(SIGKILL\).*try again"):
            next(iter(opened.variables.values())).read()
        with pytest.raises(WeightsError, match="SIGKILL"):
            next(iter(opened.variables.values())).read()
    for _ in range(3):
        assert read_info(good) is not None
        os.kill(hdf5._readers[-1]._child.pid, signal.SIGKILL)
        hdf5._readers[-1]._child.wait()
    assert read_info(good) is not None
    assert hdf5._readers[-1]._child.pid != pid
    for thread in [thread for thread in threading.enumerate() if thread.name == "mhmodels-hdf5"][:-1]:
        thread.join(60)
        assert not thread.is_alive()


def test_the_shared_file_keeps_no_array(good: Path) -> None:
    with open_weights(good) as opened:
        assert next(iter(opened.variables.values())).read().size
        assert os.fstat(hdf5._readers[-1]._shared.fileno()).st_size == 0


def test_the_child_outlives_the_thread_that_needed_it_first(good: Path) -> None:
    for reader in hdf5._readers:
        reader.end()
    thread = threading.Thread(target=read_info, args=(good,))
    thread.start()
    thread.join()
    pid = hdf5._readers[-1]._child.pid
    with open_weights(good) as first, open_weights(good) as second:
        assert hdf5._readers[-1]._child.pid == pid
        for one, other in zip(first.variables.values(), second.variables.values(), strict=True):
            assert np.array_equal(one.read(), other.read())


def test_the_child_ends_with_its_process(good: Path) -> None:
    program = (
        "import os, sys; from mhmodels.weights import read_info; from mhmodels.weights.sources import hdf5; "
        "read_info(sys.argv[1]); print(hdf5._readers[-1]._child.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(good)], capture_output=True, text=True, check=False, timeout=120)
    pid = int(done.stdout)
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return
        threading.Event().wait(0.1)
    pytest.fail("the child still runs")


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "nothing"])
def test_what_is_no_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.weights.h5"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(WeightsError, match="no such file" if kind == "nothing" else "not a regular file"):
        read_weights(path)
    with pytest.raises(MhmodelsError):
        import_weights(path, "multi_max", tmp_path / "y.weights.h5")


def keras_zip(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _declaring(content: bytes, size: int) -> bytes:
    """A zip file whose directory declares that its first member unpacks to `size` bytes."""
    at = content.index(b"PK\1\2") + 24
    return content[:at] + struct.pack("<I", size) + content[at + 4 :]


def _damaged(content: bytes) -> bytes:
    at = content.index(b"model.weights.h5") + 40
    return content[:at] + bytes(byte ^ 255 for byte in content[at : at + 20]) + content[at + 20 :]


def test_keras_files_that_unpack_to_much_or_are_damaged(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "SMALL", 8 << 20)
    monkeypatch.setattr(archives, "RATIO", 1)
    weights = {"model.weights.h5": good.read_bytes()}
    cases = {
        "zeros": (
            keras_zip({"model.weights.h5": bytes(9 << 20)}),
            r"it unpacks to 9437184 bytes in 1 files, expected at most",
        ),
        "beside": (keras_zip({**weights, "assets/x": bytes(9 << 20)}), r"it unpacks to \d+ bytes in 2 files, expected at most"),
        "declared": (_declaring(keras_zip(weights), 3 << 30), r"it unpacks to 3221225472 bytes"),
        "understated": (_declaring(keras_zip(weights), 5000), r"cannot be read"),
        "lzma": (keras_zip(weights, zipfile.ZIP_LZMA), r"compressed by method 14, expected stored or deflated"),
        "bzip2": (keras_zip(weights, zipfile.ZIP_BZIP2), r"compressed by method 12, expected stored or deflated"),
        "deflate": (_damaged(keras_zip(weights)), r"cannot be read as Keras weights \(.*(Error|Bad|CRC|header)"),
        "none": (keras_zip({"config.json": b"{}"}), r"a zip file without model\.weights\.h5"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / f"{name}.keras").write_bytes(content)
        with pytest.raises(WeightsError, match=rf"{name}\.keras: .*{message}"):
            check_keras_file(tmp_path / f"{name}.keras")
    (tmp_path / "good.keras").write_bytes(keras_zip(weights))
    check_keras_file(tmp_path / "good.keras")


def npz(**members: bytes) -> bytes:
    return keras_zip({f"{name}.npy": content for name, content in members.items()})


def npy(array: Any, *, shape: str | None = None) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    content = stream.getvalue()
    if shape is None:
        return content
    old = f"'shape': {array.shape}, }}".encode()
    new = f"'shape': {shape}, }}".encode()
    at = content.index(old)
    return content[:at] + (new + content[at + len(old) :])[: 128 - at - 1].ljust(127 - at) + b"\n" + content[128:]


NPZ = {
    "much": (lambda: npz(a=npy(np.zeros(2 << 20))), r"it unpacks to \d+ bytes in 1 files, expected at most"),
    "a header of more": (
        lambda: npz(a=npy(np.zeros(3), shape="(30000000000,)")),
        r"declares 240000000000 bytes .*, but holds 24",
    ),
    "a header of less": (lambda: npz(a=npy(np.zeros(3), shape="(2,)")), r"declares 16 bytes of shape \(2,\), but holds 24"),
    "a negative side": (lambda: npz(a=npy(np.zeros(3), shape="(-3,)")), r"but holds 24"),
    "a header that is no literal": (lambda: npz(a=npy(np.zeros(3), shape="(3,")), r"."),
    "objects": (lambda: npz(a=_pickled()), r"holds Python objects"),
    "text": (lambda: npz(a=b"text"), r"is no array"),
    "no zip file": (lambda: b"PK\3\4 no archive", r"not a whole zip file"),
    "cut off": (lambda: npz(a=npy(np.zeros(3)))[:-30], r"not a whole zip file"),
}


def _pickled() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([{}]), allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize("what", NPZ)
def test_npz_files_that_are_not_what_they_declare(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "SMALL", 1 << 20)
    make, message = NPZ[what]
    (tmp_path / "x.npz").write_bytes(make())
    with pytest.raises(ArchiveError, match=message):
        load_arrays(tmp_path / "x.npz")


def test_npz_files_that_are_sound(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(12.0).reshape(3, 4),
        "empty": np.zeros((0, 3)),
        "scalar": np.array(3),
        "names": np.array(["x", "yz"]),
    }
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **arrays)
        read = load_arrays(tmp_path / "x.npz")
        assert read.keys() == arrays.keys()
        for name, array in arrays.items():
            assert np.array_equal(read[name], array)
            assert read[name].dtype == array.dtype
    with pytest.raises(OSError):
        load_arrays(tmp_path / "nowhere.npz")


def test_large_archives_may_unpack_to_more() -> None:
    assert archives.unpacked_limit(1000) == 256 << 20
    assert archives.unpacked_limit(100 << 20) == 2000 << 20
    assert archives.unpacked_limit(1 << 40) == 4 << 30


@pytest.mark.tensorflow
def test_keras_files_whose_layers_declare_more_than_they_hold(tmp_path: Path) -> None:
    import keras
    from keras.src.backend.common import global_state

    from mhmodels.export.reading.keras_model.files import load_keras_file

    image = keras.Input((64, 64, 3))
    hidden = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, name="c")(image))
    model = keras.Model(image, keras.layers.Dense(7, name="d")(hidden))
    model.save(tmp_path / "good.keras")
    loaded = load_keras_file(tmp_path / "good.keras")
    assert all(np.array_equal(a, b) for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True))
    with zipfile.ZipFile(tmp_path / "good.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = members["config.json"]
    cases = {
        "units": (config.replace(b'"units": 7', b'"units": 7000000000'), r"declare variables of \d{12} bytes, expected at most"),
        "filters": (config.replace(b'"filters": 8', b'"filters": 90000000'), r"incompatible with the layer"),
        "kernel": (config.replace(b'"kernel_size": [3, 3]', b'"kernel_size": [60, 60000]'), r"declare variables|Keras model"),
        "no JSON": (b"{", r"cannot be read as a Keras model"),
        "no text": (b"\xff\xfe", r"cannot be read as a Keras model"),
        "no model": (json.dumps({"class_name": "Dense", "config": {"units": 3}}).encode(), r"Keras model"),
        "nested": (b"[" * 100_000 + b"]" * 100_000, r"cannot be read as a Keras model"),
    }
    for name, (changed, message) in cases.items():
        assert changed != config
        (tmp_path / f"{name}.keras").write_bytes(keras_zip({**members, "config.json": changed}))
        with pytest.raises(WeightsError, match=message):
            load_keras_file(tmp_path / f"{name}.keras")
    # Keras would allocate what is left in this list when the next model is built.
    assert not global_state.get_global_attribute("uninitialized_variables")


@pytest.mark.tensorflow
def test_the_layers_of_a_keras_file_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    from mhmodels.export.reading.keras_model.files import load_keras_file

    image = keras.Input((32, 32, 3))
    hidden = keras.layers.BatchNormalization()(
        keras.layers.Conv2D(8, 3)(keras.layers.Normalization(mean=3.0, variance=2.0)(image))
    )
    model = keras.Model(image, keras.layers.Dropout(0.5, seed=3)(keras.layers.Dense(7)(hidden)))
    model.compile("adam", "mse")
    model.save(tmp_path / "model.keras")
    made: list[str] = []
    build = keras.layers.Conv2D.build
    monkeypatch.setattr(keras.layers.Conv2D, "build", lambda layer, shape: made.append(layer.name) or build(layer, shape))  # type: ignore[func-returns-value]
    loaded = load_keras_file(tmp_path / "model.keras")
    assert len(made) == 1
    assert all(np.array_equal(a, b) for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True))
    pixels = np.random.default_rng(0).uniform(size=(2, 32, 32, 3)).astype(np.float32)
    assert np.array_equal(loaded(pixels, training=False), model(pixels, training=False))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".weights.h5", ".keras", ".npz"])
def test_mutated_files_are_read_or_refused(suffix: str, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes of the structure, not of the arrays, replaced in files that are otherwise sound."""
    monkeypatch.setattr(hdf5, "CPU_SECONDS", 1)
    small = tmp_path / "small.weights.h5"
    with h5py.File(small, "w") as file:
        for index in range(3):
            group = file.create_group(f"layers/conv2d_{index}/vars")
            group.attrs["name"] = f"layer{index}"
            group["0"] = np.full((1, 1, 4, 3), index, np.float32)
    contents = {
        ".weights.h5": small.read_bytes(),
        ".keras": keras_zip({"model.weights.h5": small.read_bytes(), "config.json": b"{}"}),
        ".npz": npz(a=npy(np.arange(5.0)), b=npy(np.ones((3, 2)))),
    }
    rng, path = random.Random(suffix), tmp_path / f"x{suffix}"
    seen = {"read": 0, "refused": 0}
    for _ in range(400):
        content = bytearray(contents[suffix])
        for _ in range(rng.choice((1, 1, 2, 8))):
            content[rng.randrange(len(content))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        path.write_bytes(content if rng.random() < 0.9 else content[: rng.randrange(len(content))])
        try:
            if suffix == ".npz":
                load_arrays(path)
            else:
                with open_weights(path) as opened:
                    for variable in opened.variables.values():
                        variable.read()
                check_keras_file(path)
            seen["read"] += 1
        except (MhmodelsError, ArchiveError):
            seen["refused"] += 1
    assert min(seen.values()) > 10, seen
