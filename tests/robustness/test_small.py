"""Single faults of special files and names, each with the answer that is right."""

from __future__ import annotations

import hashlib
import os
import tracemalloc
from pathlib import Path

import click
import msgspec
import pytest

from mhmodels.cli.common import check_places
from mhmodels.errors import FileFormatError, StoreError
from mhmodels.export.graph.operations import random_graph
from mhmodels.export.verification.verified_file import read_with_manifest
from mhmodels.export.writing.writer import write_float
from mhmodels.hardware import prepare
from mhmodels.hardware.host.child import readable
from mhmodels.search.errors import SearchError
from mhmodels.search.methods.strategies import Random
from mhmodels.search.objective.measured_tables import is_collected
from mhmodels.search.run.request import SearchRequest
from mhmodels.store import Store
from mhmodels.system.files import read_bytes, sha256_of
from tests.robustness.readers import SMALL, measurement

BYTE = os.fsdecode(b"\xff")


@pytest.fixture(scope="module")
def content() -> bytes:
    return write_float(random_graph(SMALL))


def test_reading_takes_memory_by_the_size_of_the_file_and_not_by_the_limit(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"content")
    tracemalloc.start()
    try:
        assert read_bytes(tmp_path / "x", limit=1 << 40) == b"content"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_files_whose_size_says_nothing_are_read_up_to_the_limit() -> None:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("no /proc")
    assert read_bytes(status).startswith(b"Name:")
    with pytest.raises(FileFormatError, match="101 bytes, expected at most 100"):
        read_bytes(status, limit=100)


def test_a_hash_of_any_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"content" * 100_000)
    assert sha256_of(tmp_path / "x") == hashlib.sha256(b"content" * 100_000).hexdigest()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileFormatError, match=r"pipe: cannot be read \(a named pipe, expected a regular file\)"):
        sha256_of(tmp_path / "pipe")


@pytest.mark.parametrize("target", ["/dev/zero", "nowhere", "x.manifest.json"])
def test_a_manifest_that_is_no_file_is_not_absent(target: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.tflite").write_bytes(content)
    assert read_with_manifest(tmp_path / "x.tflite").manifest is None
    (tmp_path / "x.manifest.json").symlink_to(target)
    with pytest.raises(FileFormatError, match=r"x\.manifest\.json: cannot be read"):
        read_with_manifest(tmp_path / "x.tflite")


def test_labels_from_names_that_are_not_utf8_can_be_stored(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"{BYTE}net.tflite"
    path.write_bytes(content)
    job = prepare(path)
    assert job.model == "\ufffdnet"
    assert prepare(path, label=f"{BYTE}.json").model == "\ufffd.json"
    with Store(tmp_path / f"{BYTE}.db") as store:
        store.add(measurement(model=job.model))
        assert [row.model for row in store] == ["\ufffdnet"]


def test_the_runtime_gets_names_that_it_can_open(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"{BYTE}.tflite"
    path.write_bytes(content)
    name = readable(str(path))
    name.encode()
    assert Path(name).read_bytes() == content
    assert readable("plain.tflite") == "plain.tflite"


def test_a_search_names_the_file_whose_name_it_cannot_keep() -> None:
    request = SearchRequest(space="nas_bench_macro", method=Random(), evaluator="a.csv")
    request.check_texts()
    with pytest.raises(SearchError, match=r"a\.csv: not UTF-8, but a search keeps the names"):
        msgspec.structs.replace(request, evaluator=f"{BYTE}a.csv").check_texts()


def test_a_link_to_itself_is_a_place_like_others(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to("x")
    check_places({"-o": tmp_path / "x"})
    with pytest.raises(click.UsageError, match="give it a file of its own"):
        check_places({"-o": tmp_path / "x", "--front": tmp_path / "x"})
    with pytest.raises(StoreError, match="leads back to itself"):
        Store(tmp_path / "x")


def test_a_header_without_end_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "x.csv").open("wb") as file:
        file.truncate(1 << 40)
    assert not is_collected(tmp_path / "x.csv")
    (tmp_path / "x.csv").write_text("\ufeffencoding,hardware,kind,ms\n", encoding="utf-8")
    assert is_collected(tmp_path / "x.csv")
