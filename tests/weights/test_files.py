"""Weight files by themselves: what they say, what is checked, and what happens when the disk is full. No TensorFlow."""

from __future__ import annotations

import hashlib
import json
import resource
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mhmodels.errors import MhmodelsError, WeightsError
from mhmodels.families.rows import IMAGENET
from mhmodels.formats import archives
from mhmodels.registry import resolve
from mhmodels.weights import Claim, Labels, content_hash, read_info, read_weights, write_weights
from mhmodels.weights.sources import keras_file
from mhmodels.weights.sources.keras_file import INFO_PATH
from tests.weights.helpers import random_arrays

ARCHITECTURE = resolve("multi_max@0.25").at(classes=4)
ARRAYS = random_arrays(ARCHITECTURE)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.weights.h5"
    labels = Labels(name="pets", names=("cat", "dog", "cow"), background="first")
    claim = Claim(top1=97.5, dataset="pets test", source="us")
    write_weights(path, ARCHITECTURE, ARRAYS, labels=labels, source="made here", licence="CC0-1.0", accuracy=(claim,), step=7)
    return path


def test_a_file_says_what_it_is(file: Path) -> None:
    info, arrays = read_weights(file)
    assert info.network() == ARCHITECTURE
    assert (info.labels.name, info.labels.offset, info.labels.names) == ("pets", 1, ("cat", "dog", "cow"))
    assert (info.source, info.licence, info.step, info.accuracy[0].top1) == ("made here", "CC0-1.0", 7, 97.5)
    assert info.preprocessing == IMAGENET
    assert arrays.keys() == ARRAYS.keys()
    assert all(np.array_equal(arrays[key], ARRAYS[key]) for key in ARRAYS)
    assert read_info(file) == info


def test_the_hash_is_of_the_content_as_documented(file: Path) -> None:
    digest = hashlib.sha256()
    for layer, role in sorted(ARRAYS):
        array = ARRAYS[layer, role]
        digest.update(f"{layer}/{role} float32 {'x'.join(map(str, array.shape))}\n".encode() + array.astype("<f4").tobytes())
    assert read_weights(file)[0].sha256 == digest.hexdigest()


def test_the_hash_is_not_of_the_layout(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.weights.h5"
    with h5py.File(file) as old, h5py.File(copy, "w", libver="latest") as new:
        for name in sorted(old, reverse=True):
            old.copy(name, new)
        kernel = new["layers/conv2d/vars/0"]
        values = kernel[()]
        del new["layers/conv2d/vars/0"]
        new["layers/conv2d/vars"].create_dataset("0", data=values, compression="gzip", chunks=True)
    assert copy.read_bytes() != file.read_bytes()
    assert read_weights(copy)[0].sha256 == read_weights(file)[0].sha256


@settings(max_examples=40)
@given(key=st.sampled_from(sorted(ARRAYS)), bit=st.integers(0, 31), data=st.data())
def test_every_bit_counts(key: tuple[str, str], bit: int, data: st.DataObject) -> None:
    changed = ARRAYS[key].copy()
    at = data.draw(st.integers(0, changed.size - 1))
    changed.view(np.uint32).reshape(-1)[at] ^= np.uint32(1 << bit)
    assert content_hash({**ARRAYS, key: changed}) != content_hash(ARRAYS)


def _rewrite_info(opened: h5py.File, **fields: Any) -> None:
    info = json.loads(opened[INFO_PATH][()].tobytes())
    del opened[INFO_PATH]
    opened[INFO_PATH] = np.frombuffer(json.dumps({**info, **fields}).encode(), np.uint8)


def _replace(opened: h5py.File, name: str, value: Any) -> None:
    if name in opened:
        del opened[name]
    opened[name] = value


def _value(opened: h5py.File) -> None:
    opened["layers/conv2d_3/vars/0"][0, 0, 0, 0] += 1


KERNEL = "layers/conv2d/vars/0"
TAMPERED: dict[str, tuple[Callable[[h5py.File], Any], str]] = {
    "a value": (_value, r"content has sha256 .* the file was altered or damaged"),
    "a shape": (lambda f: _replace(f, KERNEL, np.zeros((3, 3, 3, 9), "f")), r"its own description says \[3, 3, 3, 8\]"),
    "a missing layer": (lambda f: f.__delitem__("layers/conv2d_5"), r"is missing, its own description says"),
    "a further layer": (lambda f: _replace(f, "layers/dense/vars/0", np.zeros((2, 2))), r"its own description says missing"),
    "a link out": (lambda f: _replace(f, KERNEL, h5py.ExternalLink("/etc/passwd", "/x")), r"is a link, expected data"),
    "a soft link": (lambda f: _replace(f, "layers/conv2d", h5py.SoftLink("/layers/conv2d_1")), r"is a link, expected data"),
    "an id": (lambda f: _rewrite_info(f, architecture_id="0" * 16), r"field 'architecture_id' is 0{16}"),
    "a version": (lambda f: _rewrite_info(f, format="mhmodels.weights/9"), r"field 'format' is 'mhmodels.weights/9', expected"),
    "a field": (lambda f: _rewrite_info(f, step="many"), r"Expected `int \| null`, got `str` - at `\$.step`"),
    "an array as description": (lambda f: _replace(f, INFO_PATH, np.zeros((9, 9))), r"expected at most 4 MiB of uint8"),
}  # fmt: skip


@pytest.mark.parametrize("what", TAMPERED)
def test_altered_files_are_told(file: Path, what: str) -> None:
    change, message = TAMPERED[what]
    with h5py.File(file, "r+") as opened:
        change(opened)
    with pytest.raises(MhmodelsError, match=message):
        read_weights(file)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 0.999), flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), max_size=4))
def test_broken_files_are_an_error_or_intact(file: Path, cut: float, flips: list[tuple[float, int]]) -> None:
    good = file.read_bytes()
    data = bytearray(good if cut > 0.9 else good[: int(len(good) * cut)])
    for at, flip in flips:
        if data:
            data[int(at * len(data))] ^= flip
    broken = file.with_name("broken.weights.h5")
    broken.write_bytes(data)
    try:
        _, arrays = read_weights(broken)
    except MhmodelsError:
        return
    assert content_hash(arrays) == content_hash(ARRAYS)


def test_files_of_something_else(tmp_path: Path) -> None:
    text, empty, foreign = tmp_path / "a.h5", tmp_path / "b.h5", tmp_path / "c.h5"
    text.write_text("no weights")
    empty.touch()
    with h5py.File(foreign, "w") as opened:
        opened["measurements"] = np.zeros(3)
    for path, message in ((text, "cannot be read as Keras"), (empty, "cannot be read as Keras"), (foreign, "not one that Keras")):
        with pytest.raises(WeightsError, match=message):
            read_weights(path)
    with pytest.raises(WeightsError, match="cannot be read"):
        read_weights(tmp_path / "nowhere.h5")


@pytest.mark.parametrize("values", [np.array([b"x" * 4096]), np.zeros(1, np.complex128), np.zeros(1, "V9")])
def test_arrays_of_other_than_numbers_are_not_read(tmp_path: Path, values: Any) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as opened:
        opened["a"] = values
    with keras_file.open_h5(tmp_path / "x.h5") as root:
        variable = keras_file.dataset_variable(root, "a", "x.h5")
        with pytest.raises(WeightsError, match=r"'/a' is of type .* expected floats or whole numbers of up to 8 bytes"):
            variable.read()


def test_a_group_with_a_line_end_in_its_name(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as opened:
        opened["layers/conv\n2d/vars/0"] = np.zeros((1, 1, 1, 1))
    with keras_file.open_h5(tmp_path / "x.h5") as root:
        (layer,) = keras_file.read_h5(root, "x.h5").parts[0].layers
    assert layer.name == "conv\n2d"


def test_a_zip_file_that_unpacks_to_more_than_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "x.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(5000))
    monkeypatch.setattr(archives, "SMALL", 4999)
    with pytest.raises(WeightsError, match=r"x\.keras: .*it unpacks to 5000 bytes in 1 files, expected at most 4999 bytes"):
        read_info(tmp_path / "x.keras")


def test_a_description_that_could_not_be_read_is_not_written(tmp_path: Path) -> None:
    labels = Labels(names=("a" * (5 << 20), "b", "c", "d"))
    with pytest.raises(
        WeightsError, match=r"its description would be \d+ bytes, expected at most 4194304; leave the names of the 4"
    ):
        write_weights(tmp_path / "x.weights.h5", ARCHITECTURE, ARRAYS, labels=labels)
    assert not list(tmp_path.iterdir())


def test_arrays_that_are_not_the_network_s(tmp_path: Path) -> None:
    path = tmp_path / "x.weights.h5"
    with pytest.raises(WeightsError, match=r"logits/bias is \[4\], expected \[5\]"):
        write_weights(path, ARCHITECTURE.at(classes=5), ARRAYS)
    with pytest.raises(WeightsError, match=r"ends with \.weights\.h5"):
        write_weights(tmp_path / "x.h5", ARCHITECTURE, ARRAYS)
    with pytest.raises(WeightsError, match="2 names for 4 outputs"):
        write_weights(path, ARCHITECTURE, ARRAYS, labels=Labels(names=("a", "b")))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_last_good_file(file: Path) -> None:
    before = file.read_bytes()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(WeightsError, match=r"cannot be written \(File too large\); the file that was there is unchanged"):
            write_weights(file, ARCHITECTURE, random_arrays(ARCHITECTURE, 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(WeightsError, match="cannot be written"):
        write_weights(tmp_path / "f" / "x.weights.h5", ARCHITECTURE, ARRAYS)
