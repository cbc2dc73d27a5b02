"""From files to stored rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from mhmodels.errors import MeasurementError, StoreError
from mhmodels.hardware import answer, get_hardware, measure, measuring, prepare
from mhmodels.hardware.host import runner as host
from mhmodels.hardware.host.pace import pace_path
from mhmodels.store import Store

from .conftest import SimulatedSession, calm

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


def test_runs_beside_a_reference(tiny_tflite: Files) -> None:
    reference = prepare(tiny_tflite["int8"])
    assert prepare(tiny_tflite["int8"], runs=20, reference=reference).runs == 20
    with pytest.raises(MeasurementError, match="runs is 19, expected a whole number from 20"):
        prepare(tiny_tflite["int8"], runs=19, reference=reference)


def test_an_identical_request_is_answered_from_the_store(
    tiny_tflite: Files, tmp_path: Path, simulated: type[SimulatedSession]
) -> None:
    copy = tmp_path / "copy.tflite"
    copy.write_bytes(tiny_tflite["int8"].read_bytes())
    with Store(tmp_path / "results.db") as store:
        first = measure(tiny_tflite["int8"], "host-cpu-int8", store=store, label="a")
        again = measure(copy, "host-cpu-int8", store=store, label="b")
        assert (again.time, again.median_ms, again.model) == (first.time, first.median_ms, "b")
        assert (len(store), simulated.opened) == (1, 1)
        measure(copy, "host-cpu-int8", store=store, fresh=True)
        assert measure(copy, "host-cpu-int8", store=store, runs=60).runs == 60
        measure(copy, "host-cpu-int8", store=store, architecture_id="cafe")
        assert (len(store), simulated.opened) == (4, 4)


UNSTEADY = [calm(10.0 * 1.1**step) for step in range(10)]


def test_a_noisy_row_is_measured_again_and_the_number_is_bounded(
    tiny_tflite: Files, tmp_path: Path, simulated: type[SimulatedSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three tries a command, each told; a steady row ends it."""
    monkeypatch.setattr(measuring, "TRIES", 3)
    told: list[str] = []
    job, where = prepare(tiny_tflite["int8"], label="net"), get_hardware("host-cpu-int8")
    with Store(tmp_path / "results.db") as store:
        simulated.blocks[:] = UNSTEADY * 10
        first = answer(job, *where, store=store, tell=told.append).measurement
        assert (first.noisy, first.device_state["tries"], simulated.opened, len(store)) == (True, 3, 3, 1)
        assert told == [
            "net on host-cpu-int8: 11 ms is noisy; measured again (2 of 3)",
            "net on host-cpu-int8: 11 ms is noisy; measured again (3 of 3)",
            "net on host-cpu-int8: noisy (3 of 3 tries); the machine is busy or slower than it can be "
            f"(its fastest pace is kept in {pace_path()})",
        ]
        told.clear()
        simulated.blocks[:] = [*UNSTEADY, calm(3.2)]
        steady, from_store = answer(job, *where, store=store, tell=told.append)
        assert (steady.noisy, steady.median_ms, from_store, simulated.opened) == (False, 3.2, False, 5)
        assert told[0] == "net on host-cpu-int8: the stored row is noisy; measured again"
        assert answer(job, *where, store=store).from_store
        assert (simulated.opened, len(store)) == (5, 2)


def test_of_noisy_rows_the_faster_stays(tiny_tflite: Files, tmp_path: Path, simulated: type[SimulatedSession]) -> None:
    """A disturbance only slows down; the slower row is not even stored."""
    with Store(tmp_path / "results.db") as store:
        simulated.blocks[:] = UNSTEADY * 2
        measure(tiny_tflite["int8"], "host-cpu-int8", store=store)
        simulated.blocks[:] = [calm(block.times_ms[0] * 1.5) for block in UNSTEADY] * 2
        row = measure(tiny_tflite["int8"], "host-cpu-int8", store=store)
        assert (row.median_ms, row.noisy, len(store)) == (11.0, True, 1)
        simulated.blocks[:] = [calm(block.times_ms[0] * 0.5) for block in UNSTEADY] * 2
        row = measure(tiny_tflite["int8"], "host-cpu-int8", store=store)
        assert (row.median_ms, row.noisy, len(store)) == (5.5, True, 2)


def test_a_noisy_fresh_row_hides_no_steady_one(tiny_tflite: Files, tmp_path: Path, simulated: type[SimulatedSession]) -> None:
    """It is told and stored, and the next request is answered from the steady one, as tables are."""
    with Store(tmp_path / "results.db") as store:
        steady = measure(tiny_tflite["int8"], "host-cpu-int8", store=store, architecture_id="cafe")
        simulated.blocks[:] = UNSTEADY
        assert measure(tiny_tflite["int8"], "host-cpu-int8", store=store, architecture_id="cafe", fresh=True).noisy
        assert (len(store), simulated.opened) == (2, 2)
        assert measure(tiny_tflite["int8"], "host-cpu-int8", store=store, architecture_id="cafe") == steady
        assert (store.latest(), simulated.opened) == ([steady], 2)


def test_a_row_of_a_slow_machine_is_noisy_once_the_machine_was_faster(
    tiny_tflite: Files, tmp_path: Path, simulated: type[SimulatedSession]
) -> None:
    """At first nobody can know that it is slow."""
    with Store(tmp_path / "results.db") as store:
        simulated.blocks[:] = [calm(15.0, pace_us=72.0)]
        simulated.pace_ns = 72_000
        assert not measure(tiny_tflite["int8"], "host-cpu-int8", store=store).noisy
        simulated.blocks[:], simulated.pace_ns = [calm(10.0, pace_us=50.0)], 50_000
        measure(tiny_tflite["float32"], "host-cpu-float32")
        row = measure(tiny_tflite["int8"], "host-cpu-int8", store=store)
        assert (row.median_ms, row.noisy, len(store)) == (10.0, False, 2)


@pytest.mark.parametrize("name", ["node", "python_build", "python_compiler", "python_version"])
def test_the_pace_of_another_host_or_python_is_none_of_this_one(
    tiny_tflite: Files, tmp_path: Path, simulated: type[SimulatedSession], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A home that hosts share, or an optimised build of the same version, would make every row noisy for ever."""
    with Store(tmp_path / "results.db") as store:
        measure(tiny_tflite["int8"], "host-cpu-int8", store=store)
        value = ("other", "today") if name == "python_build" else "other"
        monkeypatch.setattr(host.platform, name, lambda: value)
        simulated.blocks[:], simulated.pace_ns = [calm(15.0, pace_us=72.0)], 72_000
        assert not measure(tiny_tflite["int8"], "host-cpu-int8", store=store, fresh=True).noisy
        assert measure(tiny_tflite["int8"], "host-cpu-int8", store=store).median_ms == 15.0


def test_a_store_that_cannot_be_written_answers_what_it_has(
    tiny_tflite: Files, tmp_path: Path, simulated: type[SimulatedSession]
) -> None:
    path = tmp_path / "results.db"
    with Store(path) as store:
        simulated.blocks[:] = UNSTEADY * 2
        noisy = measure(tiny_tflite["int8"], "host-cpu-int8", store=store)
    with Store(path, read_only=True) as store:
        assert measure(tiny_tflite["int8"], "host-cpu-int8", store=store) == noisy
        with pytest.raises(StoreError, match=r"results\.db: cannot be written, and not every row"):
            measure(tiny_tflite["float32"], "host-cpu-float32", store=store)
        with pytest.raises(StoreError, match="cannot be written"):
            measure(tiny_tflite["int8"], "host-cpu-int8", store=store, fresh=True)
    assert simulated.opened == 1


def test_a_cpu_of_another_model_is_other_hardware(
    tiny_tflite: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simulated: type[SimulatedSession]
) -> None:
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
