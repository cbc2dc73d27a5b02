"""The store: what it keeps, what it refuses, and what a killed writer loses (nothing that was committed)."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mhmodels.errors import StoreError
from mhmodels.hardware import Environment, Job, Measurement
from mhmodels.hardware.measurement import Turns
from mhmodels.store import VERSION, Store, default_path

HASH = "ab" * 32
CPU = Environment(device="CPU A", runtime="LiteRT 2.3.0", configuration={"kernels": "XNNPACK", "b": 1})
JOB = Job(
    path=Path("net.tflite"), model_hash=HASH, file_bytes=10, format="int8", model="net", architecture_id=None,
    weights="unknown", batch=1, runs=50, threads=1,
)  # fmt: skip


def row(**changes: Any) -> Measurement:
    fields: dict[str, Any] = {
        "model_hash": HASH, "model": "net", "hardware": "host-cpu-int8", "format": "int8", "kind": "measured",
        "file_bytes": 10, "time": "2026-01-01T00:00:00+00:00", "median_ms": 2.5, "runs": 50, "architecture_id": "cafe",
        **msgspec.structs.asdict(CPU), **changes,
    }  # fmt: skip
    return Measurement(**fields)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "results.db"


def test_rows_come_back(path: Path) -> None:
    rows = [row(), row(median_ms=None, reason="operators on the CPU", runs=0), row(device_state={"load": 1.5})]
    with Store(path) as store:
        for each in rows:
            store.add(each)
    with Store(path) as store:
        assert list(store) == rows
        assert len(store) == 3


def test_find_wants_all_equal(path: Path) -> None:
    def found(job: Job = JOB, hardware: str = "host-cpu-int8", environment: Environment = CPU) -> bool:
        return store.find(job, hardware, environment) is not None

    change = msgspec.structs.replace
    with Store(path) as store:
        store.add(row(runs=100, weights="random-v1"))
        assert found()
        assert found(environment=change(CPU, configuration={"b": 1, "kernels": "XNNPACK"}))
        assert found(change(JOB, runs=100, architecture_id="cafe", weights="random-v1"))
        for job in (
            change(JOB, runs=101),
            change(JOB, model_hash="cd" * 32),
            change(JOB, threads=2),
            change(JOB, architecture_id="beef"),
            change(JOB, weights="ef" * 32),
        ):
            assert not found(job)
        assert not found(hardware="host-cpu-uint8")
        for field, value in {"device": "CPU B", "runtime": "LiteRT 2.4.0", "compiler": "x", "configuration": {}}.items():
            assert not found(environment=change(CPU, **{field: value}))


def test_find_gives_the_latest(path: Path) -> None:
    with Store(path) as store:
        for latency in (1.0, 2.0):
            store.add(row(median_ms=latency))
        found = store.find(JOB, "host-cpu-int8", CPU)
        assert found is not None
        assert found.median_ms == 2.0


def test_a_noisy_row_hides_none_that_is_not(path: Path) -> None:
    """`bench --fresh` and phones store every row; tables, fits and `bench` go on with the sound one."""

    def found() -> list[float | None]:
        rows = [store.find(JOB, "host-cpu-int8", CPU), *store.latest(), *store.latest(beside="", environment=CPU)]
        return [each and each.median_ms for each in rows]

    with Store(path) as store:
        for latency, noisy, expected in (
            (13.0, True, 13.0),
            (12.0, True, 12.0),
            (14.0, True, 12.0),
            (8.0, False, 8.0),
            (7.0, True, 8.0),
            (9.0, False, 9.0),
            (11.57, True, 9.0),
        ):
            store.add(row(median_ms=latency, noisy=noisy))
            assert found() == [expected] * 3
        # What is another request is not compared.
        store.add(row(median_ms=20.0, noisy=True, device="CPU B"))
        assert found() == [9.0, 20.0, 9.0]
        store.add(row(median_ms=None, reason="no", runs=0))
        assert found() == [None] * 3


def test_rows_timed_in_turns_answer_only_beside_that_reference(path: Path) -> None:
    """A row of the other kind hides none; where a network does not run, no reference was needed."""
    beside = msgspec.structs.replace(JOB, reference=msgspec.structs.replace(JOB, model_hash="ee" * 32))
    other = msgspec.structs.replace(JOB, reference=msgspec.structs.replace(JOB, model_hash="ff" * 32))
    turns = Turns(model="mobilenet_v2", model_hash="ee" * 32, own_ms=(3.0,), reference_ms=(1.0,))

    def found(store: Store) -> list[float | None]:
        rows = [store.find(job, "host-cpu-int8", CPU) for job in (JOB, beside, other)]
        return [each and each.median_ms for each in rows]

    def latest(store: Store) -> list[list[float | None]]:
        return [[each.median_ms for each in store.latest(beside=digest)] for digest in ("", "ee" * 32, "ff" * 32)]

    with Store(path) as store:
        store.add(row(turns=turns, median_ms=3.0))
        assert (found(store), latest(store)) == ([None, 3.0, None], [[], [3.0], []])
        store.add(row(median_ms=2.0))
        assert (found(store), latest(store)) == ([2.0, 3.0, None], [[2.0], [3.0], []])
        store.add(row(median_ms=None, reason="no", runs=0))
        assert store.find(other, "host-cpu-int8", CPU) is not None
        assert latest(store) == [[None]] * 3


def test_what_was_not_timed_answers_any_number_of_runs(path: Path) -> None:
    with Store(path) as store:
        store.add(row(hardware="npu", kind="estimated", runs=1))
        store.add(row(hardware="npu2", kind="estimated", runs=0, median_ms=None, reason="no"))
        assert store.find(JOB, "npu", CPU)
        assert store.find(JOB, "npu2", CPU)


def test_a_row_whose_blocks_ended_by_time_answers_what_it_was_measured_for(path: Path) -> None:
    """A slow network's row has fewer runs than were asked for, and would else be measured at every request."""
    change = msgspec.structs.replace
    with Store(path) as store:
        store.add(row(runs=7, device_state={"requested_runs": 1000}))
        found = [store.find(change(JOB, runs=runs), "host-cpu-int8", CPU) for runs in (7, 50, 1000, 1001)]
        assert [each is not None for each in found] == [True, True, True, False]


def test_latest_by_hardware_and_architecture(path: Path) -> None:
    with Store(path) as store:
        for latency, hardware, architecture in ((1, "a", "x"), (2, "a", "x"), (3, "b", "x"), (4, "a", "y"), (5, "a", None)):
            store.add(row(median_ms=float(latency), hardware=hardware, architecture_id=architecture))
        store.add(row(median_ms=6.0, hardware="b", architecture_id="x", format="uint8"))
        store.add(row(median_ms=7.0, hardware="b", architecture_id="y", device="CPU B"))

        def latencies(*words: Any, **options: Any) -> list[float | None]:
            return [found.median_ms for found in store.latest(*words, **options)]

        assert latencies() == [2, 4, 6, 7]
        assert latencies(["a"]) == [2, 4]
        assert latencies(["a", "b"], ["x"], format="int8") == [2, 3]
        assert latencies(environment=CPU, format="int8") == [2, 4, 3]
        assert latencies([]) == []
        assert latencies(None, [str(i) for i in range(100_000)]) == []


def test_the_file_refuses_what_is_no_latency(path: Path) -> None:
    with Store(path):
        pass
    for latency in (0, -1, float("inf")):
        with sqlite3.connect(path) as raw, pytest.raises(sqlite3.IntegrityError, match="CHECK"):
            raw.execute(
                "INSERT INTO measurements (time, model_hash, model, weights, hardware, format, kind, threads, batch, runs,"
                " median_ms, environment, document) VALUES ('', '', '', '', '', '', '', 1, 1, 1, ?, '', '')",
                (latency,),
            )


WRITER = """
import sys
import msgspec
from mhmodels.hardware import Measurement
from mhmodels.store import Store
row = msgspec.json.decode(sys.argv[2], type=Measurement)
with Store(sys.argv[1]) as store:
    for number in range(1, 100_000):
        store.add(msgspec.structs.replace(row, median_ms=float(number)))
        print(number, flush=True)
"""


def test_kill_9_loses_no_committed_row(path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(path), msgspec.json.encode(row()).decode()]
    for _ in range(3):
        with Store(path) as store:
            before = len(store)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(25):
                said = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            said = max([said, *(int(line) for line in writer.stdout.read().split("\n")[:-1])])
        with Store(path) as store:
            kept = [found.median_ms for found in store][before:]
        # One more may have been committed and not yet announced.
        assert kept[:said] == [float(number) for number in range(1, said + 1)]
        assert len(kept) <= said + 1


OPENER = "import sys; from mhmodels.store import Store; Store(sys.argv[1]).close()"


def test_many_processes_make_one_store(path: Path) -> None:
    crowd = [subprocess.Popen([sys.executable, "-c", OPENER, path], stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for process in crowd:
        _, said = process.communicate()
        assert process.returncode == 0, said
    with Store(path) as store:
        assert len(store) == 0


def test_a_full_disk_keeps_what_was_stored(path: Path) -> None:
    with Store(path) as store:
        store.add(row())
        store._connection.execute("PRAGMA max_page_count = 1")
        with pytest.raises(StoreError, match=r"full.*free some space"):
            store.add(row(device_state={"long": "x" * 100_000}))
    with Store(path) as store:
        assert list(store) == [row()]


def test_two_writers_share_a_file(path: Path) -> None:
    with Store(path) as one, Store(path) as two:
        one.add(row(median_ms=1.0))
        two.add(row(median_ms=2.0))
        assert [found.median_ms for found in one] == [1.0, 2.0]


def test_a_locked_store_is_a_message(path: Path) -> None:
    with Store(path, timeout_s=0.05) as store:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"results\.db: database is locked.*another process"):
            store.add(row())
        holder.execute("ROLLBACK")
        holder.close()
        store.add(row())


def _sqlite_of_others(path: Path) -> None:
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE photographs (id)")


def _unmarked(path: Path) -> None:
    Store(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA user_version = 0")
    raw.close()


def _newer(path: Path) -> None:
    Store(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute(f"PRAGMA user_version = {VERSION + 1}")
        raw.execute("PRAGMA journal_mode = DELETE")


def _damaged(path: Path) -> None:
    with Store(path) as store:
        for _ in range(50):
            store.add(row())
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA journal_mode = DELETE")
    path.write_bytes(path.read_bytes()[:6000])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_sqlite_of_others, "not a measurement store.*1 tables"),
        (lambda path: path.write_text("model,ms\n"), "not a measurement store.*starts with b'model,ms'"),
        (lambda path: path.write_bytes(b"SQLite format 3\0" + b"\xff" * 200), "damaged|not a database"),
        (_newer, f"version {VERSION + 1}, expected at most {VERSION}; upgrade"),
        (_unmarked, "no mark of our version"),
        (_damaged, "malformed.*damaged"),
    ],
)
def test_a_file_that_is_none_of_ours_is_left_alone(tmp_path: Path, make: Any, message: str) -> None:
    path = tmp_path / "results.db"
    make(path)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=f"(?s)results\\.db: .*({message})"), Store(path) as store:
        list(store)
    assert path.read_bytes() == before


def test_paths_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "results.db", Path("/dev/null")):
        with pytest.raises(StoreError, match="argument 'store'"):
            Store(path)


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    path.touch()
    with Store(path) as store:
        store.add(row())
        assert len(store) == 1


def test_read_only(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(path).close()
    # Root may write anything, so the answer of the system is set.
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != path or mode != os.W_OK)
    with pytest.raises(StoreError, match=r"read-only.*argument 'store'"):
        Store(path)


def test_what_cannot_be_written_is_open_for_reading_where_that_is_wanted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(path, read_only=None) as store:
        assert not store.read_only
        store.add(row())
    for place in (path, path.parent):
        monkeypatch.setattr(os, "access", lambda asked, mode, place=place: Path(asked) != place or mode != os.W_OK)
        with Store(path, read_only=None) as store:
            assert store.read_only
            assert [each.median_ms for each in store] == [2.5]
            for refused in (store.check_writable, lambda store=store: store.add(row())):
                with pytest.raises(StoreError, match=r"cannot be written.*argument 'store'"):
                    refused()
        with pytest.raises(StoreError, match="read-only"):
            Store(path)


def test_reading_makes_and_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match="no such file, expected a measurement store"):
        Store(path, read_only=True)
    assert not path.parent.exists()
    with Store(path) as store:
        store.add(row())
        with Store(path, read_only=True) as reader:
            assert (len(reader), reader.hardware()) == (1, ["host-cpu-int8"])
            with pytest.raises(StoreError, match="cannot be written"):
                reader.add(row())
    before = path.read_bytes()
    # Somebody else's folder: without a file beside the store, readers could not open it.
    monkeypatch.setattr(os, "access", lambda _place, mode: mode != os.W_OK)
    with Store(path, read_only=True) as reader:
        assert [each.median_ms for each in reader] == [2.5]
        assert [place.name for place in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before
    path.write_bytes(b"")
    with pytest.raises(StoreError, match="empty, expected a measurement store"):
        Store(path, read_only=True)


def test_rows_changed_by_hand_are_named(path: Path) -> None:
    with Store(path) as store:
        store.add(row())
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE measurements SET document = '{}'")
    with Store(path) as store, pytest.raises(StoreError, match="row 1 is not a measurement"):
        list(store)


def test_the_default_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MHMODELS_HOME", str(tmp_path / "home"))
    assert default_path() == tmp_path / "home" / "results.db"
    with Store() as store:
        assert store.path == default_path()
    monkeypatch.delenv("MHMODELS_HOME")
    assert default_path().parent.name == "mhmodels"


def test_a_null_setting_and_an_absent_one_are_the_same_environment(path: Path) -> None:
    with Store(path) as store:
        store.add(row(configuration={"mode": "burst", "cores": None}))
        for settings in ({"mode": "burst"}, {"mode": "burst", "cores": None}, {"other": None, "mode": "burst"}):
            environment = msgspec.structs.replace(CPU, configuration=settings)
            assert store.find(JOB, "host-cpu-int8", environment) is not None
            assert len(store.latest(environment=environment)) == 1
        assert store.find(JOB, "host-cpu-int8", msgspec.structs.replace(CPU, configuration={"mode": "sustained"})) is None


TURNS = Turns(model="r", model_hash="r" * 64, own_ms=(3.0,), reference_ms=(1.0,))


@pytest.mark.parametrize(
    "change",
    [
        {}, {"configuration": {**CPU.configuration, "x": None}}, {"time": "2027-01-01T00:00:00+00:00"}, {"model": "other name"},
        {"runs": 70}, {"kind": "simulated"}, {"device": "CPU B"}, {"format": "uint8"}, {"threads": 2}, {"batch": 2},
        {"runtime": "x"}, {"driver": "x"}, {"compiler": "x"}, {"configuration": {"mode": "sustained"}}, {"turns": TURNS},
        {"weights": "random-v1"}, {"model_hash": "cd" * 32},
    ],
)  # fmt: skip
def test_latest_groups_rows_by_their_request(path: Path, change: dict[str, Any]) -> None:
    """The columns that the store groups by are `Measurement.request()`: a noisy repetition gives way to an earlier row."""
    first, second = row(), row(**change, noisy=True, median_ms=9.0)
    with Store(path) as store:
        store.add(first)
        store.add(second)
        (found,) = store.latest()
        assert (found == first) == (first.request() == second.request())


def test_latest_of_a_file_is_of_the_settings_that_are_asked_for(path: Path) -> None:
    job = msgspec.structs.replace(JOB, architecture_id="cafe")

    def found(store: Store, **settings: Any) -> float | None:
        latest = store.latest_of_file(job, "host-cpu-int8", settings)
        return latest and latest.median_ms

    with Store(path) as store:
        assert found(store) is None
        for ms, settings, more in (
            (1.0, {"mode": "burst"}, {}),
            (2.0, {"mode": "sustained"}, {}),
            (3.0, {"mode": "burst", "settings": "kept"}, {}),
            (4.0, {"mode": "sustained"}, {"noisy": True}),
            (5.0, {"mode": "burst"}, {"threads": 2}),
            (6.0, {"mode": "burst"}, {"turns": TURNS}),
        ):
            store.add(row(median_ms=ms, configuration=settings, **more))
        assert [found(store, mode=mode, settings=None) for mode in ("burst", "sustained")] == [1.0, 2.0]
        assert [found(store, mode="burst", settings="kept"), found(store, mode="burst"), found(store)] == [3.0, 3.0, 2.0]
        assert found(store, mode="neither") is None
