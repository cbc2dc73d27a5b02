"""From files to stored rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from mhmodels.errors import MeasurementError
from mhmodels.hardware import host, measure, prepare
from mhmodels.store import Store

Files = dict[str, Path]


@pytest.mark.parametrize(
    ("file", "found"),
    [("float32", "float32"), ("int8", "int8"), ("uint8", "uint8"), ("hybrid", "float32 x int8"), ("sine", "int8")],
)
def test_the_format_is_that_of_the_kernels(tiny_tflite: Files, file: str, found: str) -> None:
    assert prepare(tiny_tflite[file]).format == found


@pytest.mark.parametrize("runs", [0, -1, 2.5, 10**9, True])
def test_runs_that_cannot_be(tiny_tflite: Files, runs: int) -> None:
    with pytest.raises(MeasurementError, match="runs is"):
        prepare(tiny_tflite["int8"], runs=runs)


def test_fewer_than_50_runs_are_50(tiny_tflite: Files) -> None:
    assert prepare(tiny_tflite["int8"], runs=3).runs == 50
    assert prepare(tiny_tflite["int8"], runs=60).runs == 60


def test_an_identical_request_is_answered_from_the_store(tiny_tflite: Files, tmp_path: Path) -> None:
    copy = tmp_path / "copy.tflite"
    copy.write_bytes(tiny_tflite["int8"].read_bytes())
    with Store(tmp_path / "results.db") as store:
        first = measure(tiny_tflite["int8"], "host-cpu-int8", store=store, label="a")
        again = measure(copy, "host-cpu-int8", store=store, label="b")
        assert (again.time, again.median_ms, again.model) == (first.time, first.median_ms, "b")
        assert len(store) == 1
        assert measure(copy, "host-cpu-int8", store=store, fresh=True).time != first.time
        assert measure(copy, "host-cpu-int8", store=store, runs=60).runs == 60
        measure(copy, "host-cpu-int8", store=store, architecture_id="cafe")
        assert len(store) == 4


def test_a_cpu_of_another_model_is_other_hardware(tiny_tflite: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path / "results.db") as store:
        measure(tiny_tflite["int8"], "host-cpu-int8", store=store)
        monkeypatch.setattr(host, "cpu_identity", lambda: "another CPU")
        assert measure(tiny_tflite["int8"], "host-cpu-int8", store=store).device == "another CPU"
        assert len(store) == 2


def test_what_does_not_run_is_stored_too(tiny_tflite: Files, tmp_path: Path) -> None:
    with Store(tmp_path / "results.db") as store:
        first = measure(tiny_tflite["float32"], "ethos-u55-128", store=store)
        assert measure(tiny_tflite["float32"], "ethos-u55-128", store=store, runs=500) == first
        assert [row.reason for row in store] == [first.reason]
